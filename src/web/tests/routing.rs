//! Which requests meet which handlers, and what every answer carries.

use http::{Method, Request};

use super::kit::{Server, request, server};
use crate::Body;

#[tokio::test]
async fn an_endpoint_answers_on_its_stable_and_its_older_paths() {
    let server = server();
    for version in ["v3", "r0"] {
        let answer = server.get(&format!("/_matrix/client/{version}/account/whoami")).await;
        assert_eq!(answer.body["user_id"], "@hanako:wajima.test");
    }
}

#[tokio::test]
async fn a_token_counts_in_the_query_too() {
    let server = server();
    let path = "/_matrix/client/v3/account/whoami?access_token=token-of-taro";
    let answer = server.ask(Request::get(path).body(Body::empty()).unwrap()).await;
    assert_eq!(answer.body["user_id"], "@taro:wajima.test");
}

#[tokio::test]
async fn a_state_event_with_an_empty_key_is_asked_for_with_and_without_the_slash() {
    let server = server();
    for end in ["m.room.name", "m.room.name/"] {
        let answer = server.get(&format!("/_matrix/client/v3/rooms/!a:b.test/state/{end}")).await;
        assert_eq!(answer.status, 200, "{:?}", answer.body);
        assert_eq!((&answer.body["type"], &answer.body["key"]), (&"m.room.name".into(), &"".into()));
    }
    let answer = server.get("/_matrix/client/v3/rooms/!a:b.test/state/m.room.member/@a%2Fb:c.test").await;
    assert_eq!(answer.body["key"], "@a/b:c.test");
}

#[tokio::test]
async fn an_unknown_path_is_404_and_a_wrong_method_405_both_unrecognised() {
    let server = server();
    assert!(server.get("/_matrix/client/v3/tea").await.is(404, "M_UNRECOGNIZED"));
    assert!(server.post("/_matrix/client/v3/account/whoami", "{}").await.is(405, "M_UNRECOGNIZED"));
}

#[tokio::test]
async fn a_missing_and_an_unknown_token_are_told_apart() {
    let server = server();
    let path = "/_matrix/client/v3/account/whoami";
    let without = server.ask(Request::get(path).body(Body::empty()).unwrap()).await;
    assert!(without.is(401, "M_MISSING_TOKEN"), "{:?}", without.body);

    let unknown = Request::get(path).header("authorization", "Bearer nonsense").body(Body::empty()).unwrap();
    let unknown = server.ask(unknown).await;
    assert!(unknown.is(401, "M_UNKNOWN_TOKEN"));
    assert_eq!(unknown.body["soft_logout"], false);

    let expired = Request::get(path).header("authorization", "bearer expired").body(Body::empty()).unwrap();
    assert_eq!(server.ask(expired).await.body["soft_logout"], true);
}

#[tokio::test]
async fn every_answer_carries_the_cors_headers_and_a_request_id() {
    let server = server();
    let asked = [
        request(Method::GET, "/_matrix/client/v3/account/whoami", ""),
        request(Method::GET, "/nowhere", ""),
        request(Method::DELETE, "/_matrix/client/v3/account/whoami", ""),
        request(Method::GET, "/panic", ""),
        request(Method::OPTIONS, "/_matrix/client/v3/account/whoami", ""),
        request(Method::OPTIONS, "/nowhere", ""),
    ];
    for request in asked {
        let answer = server.ask(request).await;
        assert_eq!(answer.headers["access-control-allow-origin"], "*");
        assert!(answer.headers.contains_key("x-request-id"));
    }
}

#[tokio::test]
async fn a_preflight_has_no_effect_but_its_headers() {
    let server = server();
    let answer = server.ask(request(Method::OPTIONS, "/panic", "")).await;
    assert_eq!(answer.status, 204);
    assert!(answer.headers["access-control-allow-methods"].to_str().unwrap().contains("PUT"));
}

#[tokio::test]
async fn a_panic_costs_its_request_only_and_is_counted() {
    let server = server();
    let answer = server.get("/panic").await;
    assert!(answer.is(500, "M_UNKNOWN"));
    assert_eq!(server.get("/health").await.status, 200);
    let metrics = server.metrics.render();
    assert!(metrics.contains("yakuba_web_request_panics_total 1"));
    assert!(
        metrics.contains(r#"yakuba_web_requests_total{endpoint="GET /panic",status="5xx"} 1"#),
        "{metrics}"
    );
    assert!(metrics.contains("yakuba_web_requests_in_flight 0"));
}

#[tokio::test]
async fn who_asks_too_often_learns_when_to_come_back() {
    let answer = server().get("/limited").await;
    assert!(answer.is(429, "M_LIMIT_EXCEEDED"));
    assert_eq!(answer.body["retry_after_ms"], 1_500);
    assert_eq!(answer.headers["retry-after"], "2");
}

#[tokio::test]
async fn an_unsigned_request_of_a_server_is_refused() {
    let server: Server = server();
    let answer = server.put("/_matrix/federation/v1/send/1", r#"{"origin":"a.test","pdus":[]}"#).await;
    assert!(answer.is(401, "M_UNAUTHORIZED"));
}

#[tokio::test]
async fn two_handlers_for_one_path_are_found_at_the_start() {
    use std::sync::Arc;

    use base::{Clock, Metrics, Random};

    use crate::{
        ApiError, Faces, Kit, NoSignatures, Open, RawCall, Response, Routes, TokenCheck, TokenError, User,
    };

    struct Nobody;

    #[async_trait::async_trait]
    impl TokenCheck for Nobody {
        async fn authenticate(
            &self,
            _: &str,
            _: &ruma::ServerName,
            _: Option<crate::Address>,
        ) -> Result<User, TokenError> {
            Err(TokenError::Missing)
        }
    }

    async fn nothing(_: Arc<()>, _: RawCall<Open>) -> Result<Response, ApiError> {
        Err(ApiError::unrecognized())
    }

    let kit = Kit::new(
        Arc::new(Nobody),
        Arc::new(NoSignatures),
        Faces::single(ruma::server_name!("a.test").to_owned()),
        Clock::system(),
        &Random::seeded(1),
        &Metrics::new(),
    );
    let one = Routes::new(Arc::new(())).raw(Method::GET, "/a/{x}", nothing);
    let other = Routes::new(Arc::new(())).raw(Method::GET, "/a/{y}", nothing);
    let error = crate::router(one.merge(other), Arc::new(kit)).unwrap_err();
    assert_eq!(error.to_string(), "two handlers for GET /a/{p0}");
}
