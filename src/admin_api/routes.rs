//! Which handler answers what.

use std::sync::Arc;

use web::{Method, Routes};

use crate::{
    AdminApi, about, accounts, deletions, devices, files, openapi, reading, reports, rooms, servers,
    statistics, tokens,
};

/// A path of this API.
macro_rules! v1 {
    ($path:literal) => {
        concat!("/_synapse/admin/v1/", $path)
    };
}

/// A path of its second version.
macro_rules! v2 {
    ($path:literal) => {
        concat!("/_synapse/admin/v2/", $path)
    };
}

const ACCOUNT: &str = v2!("users/{user}");
const DEVICE: &str = v2!("users/{user}/devices/{device}");
const TOKEN: &str = v1!("registration_tokens/{token}");
const OWN_FILES: &str = v1!("users/{user}/media");
const FILE: &str = v1!("media/{server}/{id}");
const ADMIN: &str = v1!("users/{user}/admin");
const BLOCK: &str = v1!("rooms/{room}/block");
const ROOM: &str = v1!("rooms/{room}");
const REPORT: &str = v1!("event_reports/{report}");
const PEER: &str = v1!("federation/destinations/{destination}");

/// All routes of the admin API but those that `client` has: notices, and registration by the shared secret.
pub fn routes(api: Arc<AdminApi>) -> Routes<AdminApi> {
    about_others(about_files(about_rooms(about_users(Routes::new(api)))))
}

fn about_users(routes: Routes<AdminApi>) -> Routes<AdminApi> {
    let (get, put, post, delete) = (Method::GET, Method::PUT, Method::POST, Method::DELETE);
    routes
        .raw(get.clone(), v2!("users"), accounts::list)
        .raw(get.clone(), "/_synapse/admin/v3/users", accounts::list_v3)
        .raw(get.clone(), ACCOUNT, accounts::get)
        .raw(put.clone(), ACCOUNT, accounts::put)
        .raw(get.clone(), ADMIN, accounts::is_admin)
        .raw(put.clone(), ADMIN, accounts::set_admin)
        .raw(post.clone(), v1!("deactivate/{user}"), accounts::deactivate)
        .raw(post.clone(), v1!("reset_password/{user}"), accounts::reset_password)
        .raw(put.clone(), v1!("suspend/{user}"), accounts::suspend)
        .raw(get.clone(), v1!("whois/{user}"), accounts::whois)
        .raw(get.clone(), v1!("users/{user}/joined_rooms"), accounts::joined_rooms)
        .raw(get.clone(), v1!("users/{user}/memberships"), accounts::memberships)
        .raw(get.clone(), v1!("users/{user}/accountdata"), accounts::account_data)
        .raw(get.clone(), v1!("users/{user}/pushers"), accounts::pushers)
        .raw(get.clone(), v1!("username_available"), accounts::is_available)
        .raw(get.clone(), v1!("threepid/{medium}/users/{address}"), accounts::by_address)
        .raw(get.clone(), v1!("auth_providers/{provider}/users/{external_id}"), accounts::by_identity)
        .raw(get.clone(), v2!("users/{user}/devices"), devices::list)
        .raw(get.clone(), DEVICE, devices::get)
        .raw(put.clone(), DEVICE, devices::rename)
        .raw(delete.clone(), DEVICE, devices::remove)
        .raw(post.clone(), v2!("users/{user}/delete_devices"), devices::remove_many)
        .raw(get.clone(), v1!("registration_tokens"), tokens::list)
        .raw(post, v1!("registration_tokens/new"), tokens::add)
        .raw(get, TOKEN, tokens::get)
        .raw(put, TOKEN, tokens::change)
        .raw(delete, TOKEN, tokens::remove)
}

fn about_rooms(routes: Routes<AdminApi>) -> Routes<AdminApi> {
    let (get, put, post, delete) = (Method::GET, Method::PUT, Method::POST, Method::DELETE);
    routes
        .raw(get.clone(), v1!("rooms"), rooms::list)
        .raw(get.clone(), ROOM, rooms::get)
        .raw(get.clone(), v1!("rooms/{room}/members"), rooms::members)
        .raw(get.clone(), v1!("rooms/{room}/state"), reading::state)
        .raw(get.clone(), v1!("rooms/{room}/messages"), reading::messages)
        .raw(get.clone(), v1!("rooms/{room}/context/{event}"), reading::context)
        .raw(get.clone(), v1!("rooms/{room}/forward_extremities"), rooms::forward_extremities)
        .raw(get.clone(), BLOCK, rooms::is_blocked)
        .raw(put, BLOCK, rooms::block)
        .raw(post.clone(), v1!("join/{room}"), rooms::join)
        .raw(post.clone(), v1!("rooms/{room}/make_room_admin"), rooms::make_admin)
        .raw(delete.clone(), ROOM, deletions::delete_and_wait)
        .raw(post, v1!("rooms/{room}/delete"), deletions::delete_and_wait)
        .raw(delete, v2!("rooms/{room}"), deletions::delete)
        .raw(get.clone(), v2!("rooms/{room}/delete_status"), deletions::status_of_room)
        .raw(get, v2!("rooms/delete_status/{delete_id}"), deletions::status)
}

fn about_files(routes: Routes<AdminApi>) -> Routes<AdminApi> {
    let (get, post, delete) = (Method::GET, Method::POST, Method::DELETE);
    routes
        .raw(get.clone(), OWN_FILES, files::of_user)
        .raw(delete.clone(), OWN_FILES, files::delete_of_user)
        .raw(get.clone(), FILE, files::get)
        .raw(delete, FILE, files::delete)
        .raw(post.clone(), v1!("media/delete"), files::delete_old)
        .raw(post.clone(), v1!("media/{server}/delete"), files::delete_old_of)
        .raw(post.clone(), v1!("media/quarantine/{server}/{id}"), files::withhold)
        .raw(post.clone(), v1!("media/unquarantine/{server}/{id}"), files::release)
        .raw(post.clone(), v1!("media/protect/{id}"), files::protect)
        .raw(post.clone(), v1!("media/unprotect/{id}"), files::unprotect)
        .raw(post.clone(), v1!("user/{user}/media/quarantine"), files::withhold_of_user)
        .raw(get.clone(), v1!("room/{room}/media"), files::of_room)
        .raw(post.clone(), v1!("room/{room}/media/quarantine"), files::withhold_of_room)
        .raw(post, v1!("purge_media_cache"), files::let_copies_go)
        .raw(get, v1!("statistics/users/media"), statistics::of_media)
}

fn about_others(routes: Routes<AdminApi>) -> Routes<AdminApi> {
    routes
        .raw(Method::GET, v1!("federation/destinations"), servers::list)
        .raw(Method::GET, PEER, servers::get)
        .raw(Method::GET, v1!("federation/destinations/{destination}/rooms"), servers::rooms)
        .raw(Method::POST, v1!("federation/destinations/{destination}/reset_connection"), servers::retry)
        .raw(Method::GET, v1!("event_reports"), reports::list)
        .raw(Method::GET, REPORT, reports::get)
        .raw(Method::DELETE, REPORT, reports::remove)
        .raw(Method::GET, openapi::DOCUMENT, openapi::show)
        .raw(Method::GET, v1!("server_version"), about::server_version)
        .raw(Method::GET, v1!("background_updates/status"), about::updates)
        .raw(Method::GET, v1!("background_updates/enabled"), about::updates_enabled)
}
