//! Bad input gets its proper error, never a 500.

use super::kit::server;

const SEND: &str = "/_matrix/client/v3/rooms/!a:b.test/send/m.room.message/1";
const CREATE: &str = "/_matrix/client/v3/createRoom";

#[tokio::test]
async fn what_is_no_json_is_told_apart_from_json_of_the_wrong_shape() {
    let server = server();
    for (body, errcode) in [
        (&b"{"[..], "M_NOT_JSON"),
        (b"{\"name\": 1", "M_NOT_JSON"),
        (b"not json", "M_NOT_JSON"),
        (b"{\"name\": \"\xff\"}", "M_NOT_JSON"),
        (b"{\"\xff\": 1}", "M_NOT_JSON"),
        (b"{\"unknown\": {\"\xff\": \"\xff\"}}", "M_NOT_JSON"),
        (br#"{"unknown": "\ud800"}"#, "M_NOT_JSON"),
        (br#"{"\udc00": 1}"#, "M_NOT_JSON"),
        (br#"{"unknown": "\ud83d\u0041"}"#, "M_NOT_JSON"),
        (b"{\"name\": NaN}", "M_NOT_JSON"),
        (b"{\"name\": 7}", "M_BAD_JSON"),
        (b"[]", "M_BAD_JSON"),
        (b"\"text\"", "M_BAD_JSON"),
        (b"{\"invite\": [\"nobody\"]}", "M_BAD_JSON"),
    ] {
        let answer = server.post(CREATE, body).await;
        assert!(answer.is(400, errcode), "{} gave {:?}", String::from_utf8_lossy(body), answer.body);
    }
    assert!(server.post(CREATE, "{\"name\": \"役場\"}").await.is(403, "M_FORBIDDEN"));
    assert!(server.post(CREATE, r#"{"name": "\\ud800 \ud83c\udfe2"}"#).await.is(403, "M_FORBIDDEN"));
}

#[tokio::test]
async fn a_handler_that_reads_the_body_itself_refuses_in_the_same_way() {
    let server = server();
    assert!(server.put(SEND, "{").await.is(400, "M_NOT_JSON"));
    assert!(server.put(SEND, &b"{\"\xff\": 1}"[..]).await.is(400, "M_NOT_JSON"));
    assert_eq!(server.put(SEND, "{\"body\": 1}").await.body["content"]["body"], 1);
}

#[tokio::test]
async fn a_body_over_the_limit_of_its_route_is_too_large() {
    let server = server();
    let body = format!("{{\"body\": \"{}\"}}", "a".repeat(1_024));
    assert!(server.put(SEND, body).await.is(413, "M_TOO_LARGE"));
}

#[tokio::test]
async fn deep_nesting_is_refused_and_does_not_overflow_the_stack() {
    let server = server();
    for open in ["[", "{\"a\":"] {
        let deep = open.repeat(200_000);
        let answer = server.post(CREATE, deep).await;
        assert!(answer.is(400, "M_BAD_JSON"), "{:?}", answer.body);
    }
    let within_text = format!("{{\"name\": \"{}\"}}", "[\\\"".repeat(500));
    assert!(server.post(CREATE, within_text).await.is(403, "M_FORBIDDEN"));
}

#[tokio::test]
async fn paths_that_are_no_text_or_no_ids_are_invalid_parameters() {
    let server = server();
    for path in [
        "/_matrix/client/v3/rooms/%ff%fe/state/m.room.name/a",
        "/_matrix/client/v3/rooms/not-a-room/state/m.room.name/a",
    ] {
        let answer = server.get(path).await;
        assert!(answer.is(400, "M_INVALID_PARAM"), "{path}: {:?}", answer.body);
    }
}

#[tokio::test]
async fn a_part_of_a_path_that_nobody_needs_so_long_is_refused_and_not_kept() {
    let server = server();
    let send = |txn: String| format!("/_matrix/client/v3/rooms/!a:b.test/send/m.room.message/{txn}");
    assert_eq!(server.put(&send("x".repeat(1_024)), "{}").await.status, 200);
    assert!(server.put(&send("x".repeat(1_025)), "{}").await.is(400, "M_INVALID_PARAM"));
}
