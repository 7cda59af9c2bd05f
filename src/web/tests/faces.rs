//! Which authority a request meets.

use http::Request;
use ruma::{OwnedServerName, server_name};

use super::kit::server_with;
use crate::{Body, Faces, TlsName};

fn two() -> Faces {
    let kanazawa: OwnedServerName = server_name!("kanazawa.test").to_owned();
    let wajima: OwnedServerName = server_name!("wajima.test:8448").to_owned();
    Faces::new((kanazawa, vec!["matrix.kanazawa.test".to_owned()]), [(wajima, vec![])])
}

async fn who_answers(host: &str, tls_name: Option<&str>) -> Option<String> {
    let server = server_with(two());
    let mut request = Request::get("/_matrix/client/v3/account/whoami")
        .header("authorization", "Bearer token-of-hanako")
        .header("host", host)
        .body(Body::empty())
        .unwrap();
    if let Some(name) = tls_name {
        request.extensions_mut().insert(TlsName(name.into()));
    }
    let answer = server.ask(request).await;
    answer.body["user_id"].as_str().map(str::to_owned)
}

#[tokio::test]
async fn the_host_decides_among_several_authorities() {
    for (host, user) in [
        ("kanazawa.test", "@hanako:kanazawa.test"),
        ("KANAZAWA.test:8008", "@hanako:kanazawa.test"),
        ("matrix.kanazawa.test:443", "@hanako:kanazawa.test"),
        ("wajima.test:8448", "@hanako:wajima.test:8448"),
        ("wajima.test", "@hanako:wajima.test:8448"),
    ] {
        assert_eq!(who_answers(host, None).await.as_deref(), Some(user), "{host}");
    }
    assert_eq!(who_answers("suzu.test", None).await, None);
    assert_eq!(
        who_answers("127.0.0.1", Some("wajima.test")).await.as_deref(),
        Some("@hanako:wajima.test:8448")
    );
}

#[tokio::test]
async fn an_unknown_host_is_not_found_except_where_no_face_is_needed() {
    let server = server_with(two());
    let ask = |path: &str| Request::get(path).header("host", "suzu.test").body(Body::empty()).unwrap();
    assert!(server.ask(ask("/_matrix/client/versions")).await.is(404, "M_NOT_FOUND"));
    assert_eq!(server.ask(ask("/health")).await.status, 200);
}

#[test]
fn a_single_authority_answers_any_host() {
    let faces = Faces::single(server_name!("wajima.test").to_owned());
    assert_eq!(faces.find(Some("10.0.0.7:8008"), None).unwrap().server_name(), "wajima.test");
    assert_eq!(faces.find(None, None).unwrap().server_name(), "wajima.test");
}
