//! Which handler answers what.

use std::sync::Arc;

use ruma::api::client as c;
use web::{Method, Routes};

use crate::{
    ClientApi, account_data, accounts, backups, capabilities, contacts, create, dehydrated, delayed, devices,
    directory, discovery, email_page, fallback, filters, hierarchy, history, keys, login, membership, misc,
    moderation, notices, notifications, presence, profile, push_rules, receipts, register, relations, search,
    send, services, shared_secret, sign_in_pages, state, summary, tags, threads, to_device, unsubscribe_page,
    upgrade, user_directory,
};

/// The path of a room's summary that matrix-js-sdk asks, beside the one that ruma knows.
const OLD_SUMMARY: &str = "/_matrix/client/unstable/im.nheko.summary/summary/{room}";
const SUBMIT_WORD: &str = "/_yakuba/client/email/submit_token";
const EMAIL_PAGE: &str = "/_yakuba/client/email";
const UNSUBSCRIBE: &str = "/_yakuba/client/unsubscribe";
const FALLBACK: &str = "/_matrix/client/v3/auth/{auth_type}/fallback/web";
const SSO: &str = "/_matrix/client/v3/login/sso/redirect";
const LOGIN_PAGE: &str = "/_matrix/static/client/login/";
const THREE_PIDS: &str = "/_matrix/client/v3/account/3pid";
const DATA: &str = "/_matrix/client/unstable/org.matrix.msc3391/user/{user}/account_data/{type}";
const ROOM_DATA: &str =
    "/_matrix/client/unstable/org.matrix.msc3391/user/{user}/rooms/{room}/account_data/{type}";
const RTC_TRANSPORTS: &str = "/_matrix/client/unstable/org.matrix.msc4143/rtc/transports";
const DELAYED: &str = "/_matrix/client/unstable/org.matrix.msc4140/delayed_events";
const DELAYED_ONE: &str = "/_matrix/client/unstable/org.matrix.msc4140/delayed_events/{delay_id}";
const DELAYED_CANCEL: &str = "/_matrix/client/unstable/org.matrix.msc4140/delayed_events/{delay_id}/cancel";
const DELAYED_RESTART: &str = "/_matrix/client/unstable/org.matrix.msc4140/delayed_events/{delay_id}/restart";
const DELAYED_SEND: &str = "/_matrix/client/unstable/org.matrix.msc4140/delayed_events/{delay_id}/send";
const DEHYDRATED: &str = "/_matrix/client/unstable/org.matrix.msc3814.v1/dehydrated_device";
const DEHYDRATED_EVENTS: &str =
    "/_matrix/client/unstable/org.matrix.msc3814.v1/dehydrated_device/{device_id}/events";
const THREAD_SUBSCRIPTION: &str =
    "/_matrix/client/unstable/io.element.msc4306/rooms/{room}/thread/{event}/subscription";
const NOTICE: &str = "/_synapse/admin/v1/send_server_notice";
const NOTICE_ONCE: &str = "/_synapse/admin/v1/send_server_notice/{txn_id}";
const SHARED_SECRET: &str = "/_synapse/admin/v1/register";

/// All routes of the client interface but those of `/sync`.
pub fn routes(api: Arc<ClientApi>) -> Routes<ClientApi> {
    let routes = Routes::new(api);
    in_rooms(about_rooms(about_keys(about_users(about_server(routes)))))
}

fn about_server(routes: Routes<ClientApi>) -> Routes<ClientApi> {
    routes
        .ruma(discovery::versions)
        .raw_ruma::<c::discovery::discover_homeserver::Request, _, _, _>(discovery::well_known)
        .raw_ruma::<c::discovery::discover_support::Request, _, _, _>(discovery::support)
        .raw(Method::GET, RTC_TRANSPORTS, discovery::rtc_transports)
        .raw_ruma::<c::discovery::get_capabilities::v3::Request, _, _, _>(capabilities::get_capabilities)
        .ruma(login::login_types)
        .raw_ruma::<c::session::login::v3::Request, _, _, _>(login::log_in)
        .raw_ruma::<c::session::get_login_token::v1::Request, _, _, _>(login::get_token)
        .raw_ruma::<c::session::sso_login::v3::Request, _, _, _>(sign_in_pages::show_sso)
        .raw_ruma::<c::session::sso_login_with_provider::v3::Request, _, _, _>(sign_in_pages::show_sso_of)
        .raw(Method::POST, SSO, sign_in_pages::sign_in_for_app)
        .raw_ruma::<c::session::login_fallback::Request, _, _, _>(sign_in_pages::show_login)
        .raw(Method::POST, LOGIN_PAGE, sign_in_pages::log_in)
        .raw_ruma::<c::uiaa::get_uiaa_fallback_page::v3::Request, _, _, _>(fallback::show)
        .raw(Method::POST, FALLBACK, fallback::submit)
        .raw(Method::GET, EMAIL_PAGE, email_page::show)
        .raw(Method::POST, EMAIL_PAGE, email_page::confirm)
        .raw(Method::GET, UNSUBSCRIBE, unsubscribe_page::show)
        .raw(Method::POST, UNSUBSCRIBE, unsubscribe_page::end)
        .ruma(login::refresh)
        .ruma(login::log_out)
        .ruma(login::log_out_everywhere)
        .raw_ruma::<c::account::register::v3::Request, _, _, _>(register::register)
        .ruma(register::username_available)
        .ruma(register::registration_token_validity)
        .raw(Method::GET, SHARED_SECRET, shared_secret::nonce)
        .raw(Method::POST, SHARED_SECRET, shared_secret::register)
        .raw_ruma::<c::voip::get_turn_server_info::v3::Request, _, _, _>(misc::turn_server)
        .raw_ruma::<c::thirdparty::get_protocols::v3::Request, _, _, _>(services::protocols)
        .raw_ruma::<c::thirdparty::get_protocol::v3::Request, _, _, _>(services::protocol)
        .raw_ruma::<c::thirdparty::get_location_for_protocol::v3::Request, _, _, _>(services::locations)
        .raw_ruma::<c::thirdparty::get_location_for_room_alias::v3::Request, _, _, _>(services::location)
        .raw_ruma::<c::thirdparty::get_user_for_protocol::v3::Request, _, _, _>(services::users)
        .raw_ruma::<c::thirdparty::get_user_for_user_id::v3::Request, _, _, _>(services::user)
        .ruma(services::ping)
        .ruma(services::set_visibility)
        .raw_ruma::<c::search::search_events::v3::Request, _, _, _>(search::search)
}

fn about_users(routes: Routes<ClientApi>) -> Routes<ClientApi> {
    routes
        .ruma(accounts::whoami)
        .raw_ruma::<c::account::change_password::v3::Request, _, _, _>(accounts::change_password)
        .raw_ruma::<c::account::deactivate::v3::Request, _, _, _>(accounts::deactivate)
        .raw_ruma::<c::account::get_3pids::v3::Request, _, _, _>(contacts::list)
        .raw(Method::POST, THREE_PIDS, contacts::add_as_before)
        .raw_ruma::<c::account::add_3pid::v3::Request, _, _, _>(contacts::add)
        .raw_ruma::<c::account::bind_3pid::v3::Request, _, _, _>(contacts::bind)
        .raw_ruma::<c::account::unbind_3pid::v3::Request, _, _, _>(contacts::unbind)
        .raw_ruma::<c::account::delete_3pid::v3::Request, _, _, _>(contacts::delete)
        .raw_ruma::<c::account::request_registration_token_via_email::v3::Request, _, _, _>(
            contacts::token_to_register,
        )
        .raw_ruma::<c::account::request_password_change_token_via_email::v3::Request, _, _, _>(
            contacts::token_to_reset,
        )
        .raw_ruma::<c::account::request_3pid_management_token_via_email::v3::Request, _, _, _>(
            contacts::token_to_add,
        )
        .raw(Method::POST, SUBMIT_WORD, contacts::submit_token)
        .raw_ruma::<c::account::request_registration_token_via_msisdn::v3::Request, _, _, _>(
            contacts::no_telephones,
        )
        .raw_ruma::<c::account::request_password_change_token_via_msisdn::v3::Request, _, _, _>(
            contacts::no_telephones,
        )
        .raw_ruma::<c::account::request_3pid_management_token_via_msisdn::v3::Request, _, _, _>(
            contacts::no_telephones,
        )
        .ruma(accounts::request_openid_token)
        .ruma(moderation::whois)
        .ruma(moderation::is_locked)
        .ruma(moderation::lock)
        .ruma(moderation::is_suspended)
        .ruma(moderation::suspend)
        .raw(Method::POST, NOTICE, notices::send)
        .raw(Method::PUT, NOTICE_ONCE, notices::send_once)
        .ruma(devices::devices)
        .ruma(devices::device)
        .raw_ruma::<c::device::update_device::v3::Request, _, _, _>(devices::rename)
        .raw_ruma::<c::device::delete_device::v3::Request, _, _, _>(devices::remove)
        .raw_ruma::<c::device::delete_devices::v3::Request, _, _, _>(devices::remove_many)
        .ruma(account_data::set)
        .ruma(account_data::get)
        .ruma(account_data::set_of_room)
        .ruma(account_data::get_of_room)
        .raw(Method::DELETE, DATA, account_data::remove)
        .raw(Method::DELETE, ROOM_DATA, account_data::remove_of_room)
        .raw_ruma::<c::tag::create_tag::v3::Request, _, _, _>(tags::create_tag)
        .raw_ruma::<c::tag::delete_tag::v3::Request, _, _, _>(tags::delete_tag)
        .raw_ruma::<c::tag::get_tags::v3::Request, _, _, _>(tags::get_tags)
        .raw_ruma::<c::filter::create_filter::v3::Request, _, _, _>(filters::create)
        .raw_ruma::<c::filter::get_filter::v3::Request, _, _, _>(filters::get)
        .raw_ruma::<c::profile::get_profile::v3::Request, _, _, _>(profile::get)
        .raw_ruma::<c::profile::get_profile_field::v3::Request, _, _, _>(profile::get_field)
        .raw_ruma::<c::profile::set_profile_field::v3::Request, _, _, _>(profile::set_field)
        .raw_ruma::<c::profile::delete_profile_field::v3::Request, _, _, _>(profile::delete_field)
        .raw_ruma::<c::push::get_pushrules_all::v3::Request, _, _, _>(push_rules::all)
        .raw_ruma::<c::push::get_pushrules_global_scope::v3::Request, _, _, _>(push_rules::global)
        .ruma(push_rules::get)
        .raw_ruma::<c::push::set_pushrule::v3::Request, _, _, _>(push_rules::put)
        .ruma(push_rules::delete)
        .ruma(push_rules::get_enabled)
        .ruma(push_rules::set_enabled)
        .ruma(push_rules::get_actions)
        .ruma(push_rules::set_actions)
        .raw_ruma::<c::to_device::send_event_to_device::v3::Request, _, _, _>(to_device::send)
        .ruma(notifications::notifications)
        .ruma(notifications::pushers)
        .raw_ruma::<c::push::set_pusher::v3::Request, _, _, _>(notifications::set_pusher)
        .ruma(presence::get)
        .ruma(presence::set)
        .ruma(user_directory::search)
        .ruma(misc::report_user)
}

fn about_keys(routes: Routes<ClientApi>) -> Routes<ClientApi> {
    routes
        .raw_ruma::<c::keys::upload_keys::v3::Request, _, _, _>(keys::upload)
        .raw_ruma::<c::keys::get_keys::v3::Request, _, _, _>(keys::query)
        .raw_ruma::<c::keys::claim_keys::v3::Request, _, _, _>(keys::claim)
        .raw_ruma::<c::keys::get_key_changes::v3::Request, _, _, _>(keys::changes)
        .raw_ruma::<c::keys::upload_signing_keys::v3::Request, _, _, _>(keys::upload_signing)
        .raw_ruma::<c::keys::upload_signatures::v3::Request, _, _, _>(keys::upload_signatures)
        .raw_ruma::<c::backup::create_backup_version::v3::Request, _, _, _>(backups::create)
        .raw_ruma::<c::backup::get_latest_backup_info::v3::Request, _, _, _>(backups::latest)
        .raw_ruma::<c::backup::get_backup_info::v3::Request, _, _, _>(backups::get)
        .raw_ruma::<c::backup::update_backup_version::v3::Request, _, _, _>(backups::update)
        .raw_ruma::<c::backup::delete_backup_version::v3::Request, _, _, _>(backups::delete)
        .raw_ruma::<c::backup::add_backup_keys::v3::Request, _, _, _>(backups::put_all)
        .raw_ruma::<c::backup::add_backup_keys_for_room::v3::Request, _, _, _>(backups::put_of_room)
        .raw_ruma::<c::backup::add_backup_keys_for_session::v3::Request, _, _, _>(backups::put_one)
        .raw_ruma::<c::backup::get_backup_keys::v3::Request, _, _, _>(backups::get_all)
        .raw_ruma::<c::backup::get_backup_keys_for_room::v3::Request, _, _, _>(backups::get_of_room)
        .raw_ruma::<c::backup::get_backup_keys_for_session::v3::Request, _, _, _>(backups::get_one)
        .raw_ruma::<c::backup::delete_backup_keys::v3::Request, _, _, _>(backups::delete_all)
        .raw_ruma::<c::backup::delete_backup_keys_for_room::v3::Request, _, _, _>(backups::delete_of_room)
        .raw_ruma::<c::backup::delete_backup_keys_for_session::v3::Request, _, _, _>(backups::delete_one)
        .raw(Method::PUT, DEHYDRATED, dehydrated::put)
        .raw(Method::GET, DEHYDRATED, dehydrated::get)
        .raw(Method::DELETE, DEHYDRATED, dehydrated::remove)
        .raw(Method::GET, DEHYDRATED_EVENTS, dehydrated::events)
        .raw(Method::POST, DEHYDRATED_EVENTS, dehydrated::events_by_post)
}

fn about_rooms(routes: Routes<ClientApi>) -> Routes<ClientApi> {
    routes
        .ruma(create::create_room)
        .raw_ruma::<c::membership::join_room_by_id_or_alias::v3::Request, _, _, _>(
            membership::join_by_id_or_alias,
        )
        .raw_ruma::<c::membership::join_room_by_id::v3::Request, _, _, _>(membership::join_by_id)
        .raw_ruma::<c::knock::knock_room::v3::Request, _, _, _>(membership::knock)
        .ruma(membership::leave)
        .ruma(membership::forget)
        .ruma(membership::invite)
        .ruma(membership::kick)
        .ruma(membership::ban)
        .ruma(membership::unban)
        .ruma(membership::joined_rooms)
        .ruma(directory::create_alias)
        .ruma(directory::get_alias)
        .ruma(directory::delete_alias)
        .ruma(directory::room_aliases)
        .ruma(directory::get_visibility)
        .ruma(directory::set_visibility)
        .raw_ruma::<c::directory::get_public_rooms::v3::Request, _, _, _>(directory::public_rooms)
        .raw_ruma::<c::directory::get_public_rooms_filtered::v3::Request, _, _, _>(
            directory::search_public_rooms,
        )
        .ruma(upgrade::upgrade)
        .ruma(membership::mutual_rooms)
        .raw_ruma::<c::room::get_summary::v1::Request, _, _, _>(summary::room_summary)
        .raw(Method::GET, OLD_SUMMARY, summary::room_summary)
        .raw_ruma::<c::space::get_hierarchy::v1::Request, _, _, _>(hierarchy::hierarchy)
        .ruma(misc::report_room)
        .ruma(misc::report_event)
}

fn in_rooms(routes: Routes<ClientApi>) -> Routes<ClientApi> {
    routes
        .raw_ruma::<c::message::send_message_event::v3::Request, _, _, _>(delayed::message)
        .raw_ruma::<c::state::send_state_event::v3::Request, _, _, _>(delayed::state)
        .ruma(send::redact)
        .raw(Method::GET, DELAYED, delayed::all)
        .raw(Method::GET, DELAYED_ONE, delayed::one)
        .raw(Method::POST, DELAYED_ONE, delayed::update)
        .raw(Method::POST, DELAYED_CANCEL, delayed::cancel)
        .raw(Method::POST, DELAYED_RESTART, delayed::restart)
        .raw(Method::POST, DELAYED_SEND, delayed::send_now)
        .raw_ruma::<c::state::get_state_events::v3::Request, _, _, _>(state::all)
        .raw_ruma::<c::state::get_state_event_for_key::v3::Request, _, _, _>(state::one)
        .raw_ruma::<c::membership::get_member_events::v3::Request, _, _, _>(state::members)
        .raw_ruma::<c::membership::joined_members::v3::Request, _, _, _>(state::joined_members)
        .raw_ruma::<c::message::get_message_events::v3::Request, _, _, _>(history::messages)
        .raw_ruma::<c::context::get_context::v3::Request, _, _, _>(history::context)
        .ruma(history::event)
        .ruma(history::event_at_time)
        .ruma(relations::related)
        .ruma(relations::related_so)
        .ruma(relations::related_so_of_type)
        .ruma(relations::threads)
        .raw(Method::GET, THREAD_SUBSCRIPTION, threads::subscription)
        .raw(Method::PUT, THREAD_SUBSCRIPTION, threads::subscribe)
        .raw(Method::DELETE, THREAD_SUBSCRIPTION, threads::unsubscribe)
        .ruma(receipts::receipt)
        .ruma(receipts::read_markers)
        .raw_ruma::<c::typing::create_typing_event::v3::Request, _, _, _>(receipts::typing)
}
