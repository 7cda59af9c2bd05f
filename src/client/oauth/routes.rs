//! Which handler answers what.

use std::sync::Arc;

use ruma::api::client::discovery::get_authorization_server_metadata;
use web::{Method, Routes};

use super::{
    account as own,
    api::{
        ACCOUNT, AUTHORIZE, DEVICE, LINK, OAuthApi, REGISTER, REVOKE, SIGN_IN, SIGN_UP, TOKEN, UPSTREAM,
        UPSTREAM_CALLBACK, UPSTREAM_SIGN_OUT,
    },
    consent, devices, endpoints, metadata, rendezvous, second_step, sign_in, sign_up, upstream,
    upstream_sign_out,
};
use crate::{
    for_app::FOR_APP,
    second_step::{FIRST_FACTOR, SECOND_STEP},
};

const WELL_KNOWN: &str = "/.well-known/oauth-authorization-server";
const RENDEZVOUS: &str = "/_matrix/client/unstable/org.matrix.msc4108/rendezvous";
const RENDEZVOUS_ONE: &str = "/_matrix/client/unstable/org.matrix.msc4108/rendezvous/{id}";

/// The routes of signing in by OAuth 2.0, of its pages, and of the letterboxes by which devices meet.
pub fn oauth_routes(api: Arc<OAuthApi>) -> Routes<()> {
    let pages = pages::routes(api.pages.clone());
    Routes::new(api)
        .raw_ruma::<get_authorization_server_metadata::v1::Request, _, _, _>(metadata::metadata)
        .raw(Method::GET, WELL_KNOWN, metadata::metadata)
        .raw(Method::POST, REGISTER, endpoints::register)
        .raw(Method::POST, TOKEN, endpoints::token)
        .raw(Method::POST, REVOKE, endpoints::revoke)
        .raw(Method::POST, DEVICE, endpoints::begin_device)
        .raw(Method::GET, AUTHORIZE, consent::ask)
        .raw(Method::POST, AUTHORIZE, consent::decide)
        .raw(Method::GET, LINK, devices::ask)
        .raw(Method::POST, LINK, devices::decide)
        .raw(Method::GET, SIGN_IN, sign_in::ask)
        .raw(Method::POST, SIGN_IN, sign_in::sign_in)
        .raw(Method::POST, SECOND_STEP, second_step::show)
        .raw(Method::POST, FIRST_FACTOR, second_step::set_up)
        .raw(Method::GET, UPSTREAM, upstream::begin)
        .raw(Method::GET, UPSTREAM_CALLBACK, upstream::come_back)
        .raw(Method::POST, UPSTREAM_SIGN_OUT, upstream_sign_out::take)
        .raw(Method::GET, FOR_APP, upstream::ask_for_app)
        .raw(Method::POST, FOR_APP, upstream::sign_in_for_app)
        .raw(Method::GET, SIGN_UP, sign_up::ask)
        .raw(Method::POST, SIGN_UP, sign_up::sign_up)
        .raw(Method::GET, ACCOUNT, own::show)
        .raw(Method::POST, ACCOUNT, own::change)
        .raw(Method::POST, RENDEZVOUS, rendezvous::put_up)
        .raw(Method::GET, RENDEZVOUS_ONE, rendezvous::read)
        .raw(Method::PUT, RENDEZVOUS_ONE, rendezvous::write)
        .raw(Method::DELETE, RENDEZVOUS_ONE, rendezvous::take_down)
        .erase()
        .merge(pages)
}
