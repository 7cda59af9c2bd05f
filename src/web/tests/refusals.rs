//! What is told when another server refuses, or our own store.

use http::{Method, Request};
use room::RemoteError;
use ruma::server_name;

use super::kit::{request, server};
use crate::{ApiError, Body};

fn told(status: u16, code: &str) -> (u16, String) {
    let refused = RemoteError::Refused {
        server: server_name!("peer.test").to_owned(),
        status,
        code: code.to_owned(),
        message: "x".repeat(10_000),
        room_version: None,
    };
    let error = ApiError::from(room::Error::from(refused));
    assert!(error.message().len() < 400);
    (error.status().as_u16(), error.errcode().to_owned())
}

#[test]
fn another_servers_trouble_with_us_never_signs_our_user_out() {
    for (status, code) in [
        (401, "M_UNKNOWN_TOKEN"),
        (401, "M_MISSING_TOKEN"),
        (401, "M_UNAUTHORIZED"),
        (403, "M_USER_DEACTIVATED"),
        (401, "M_USER_LOCKED"),
        (403, "M_CONSENT_NOT_GIVEN"),
        (404, "M_UNRECOGNIZED"),
        (400, "M_NOT_JSON"),
        (200, "M_UNKNOWN_TOKEN"),
        (401, ""),
        (500, "M_UNKNOWN"),
        (418, "something of its own"),
        // Or our user would be sent to our administrators, for the other server's limit.
        (403, "M_RESOURCE_LIMIT_EXCEEDED"),
    ] {
        assert_eq!(told(status, code), (502, "M_UNKNOWN".to_owned()), "{status} {code}");
    }
}

#[test]
fn a_refusal_that_is_the_users_matter_is_passed_on_with_the_status_that_its_errcode_has() {
    for (status, code, ours) in [
        (403, "M_FORBIDDEN", 403),
        (401, "M_FORBIDDEN", 403),
        (404, "M_NOT_FOUND", 404),
        (400, "M_INCOMPATIBLE_ROOM_VERSION", 400),
        (400, "M_UNABLE_TO_GRANT_JOIN", 400),
        (429, "M_LIMIT_EXCEEDED", 429),
    ] {
        assert_eq!(told(status, code), (ours, code.to_owned()));
    }
}

#[test]
fn a_room_whose_members_are_not_known_is_not_there_for_who_asks_for_them() {
    let room = ruma::room_id!("!r:a.test").to_owned();
    let error = ApiError::from(room::Error::MembersLacking(room));
    assert_eq!((error.status().as_u16(), error.errcode()), (404, "M_UNABLE_DUE_TO_PARTIAL_STATE"));
}

#[tokio::test]
async fn who_cannot_be_checked_because_the_store_cannot_be_read_may_come_again() {
    let server = server();
    for (method, path, authorization) in [
        (Method::GET, "/_matrix/client/v3/account/whoami", "Bearer unreadable"),
        (Method::PUT, "/_matrix/federation/v1/send/raw", "X-Matrix unreadable"),
    ] {
        let request = Request::builder().method(method).uri(path).header("authorization", authorization);
        let answer = server.ask(request.body(Body::empty()).unwrap()).await;
        assert!(answer.is(503, "M_UNKNOWN"), "{path}: {} {}", answer.status, answer.body);
        assert!(answer.headers.contains_key("retry-after"));
    }
    assert_eq!(server.ask(request(Method::GET, "/_matrix/client/v3/account/whoami", "")).await.status, 200);
}
