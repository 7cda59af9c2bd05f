//! The hostile server does what it is told.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use async_trait::async_trait;
use base::ByteSize;
use bytes::Bytes;
use federation::{Budget, Transport, TransportError};
use http::{Request, Response};
use ruma::ServerName;
use serde_json::{Value, json};

use crate::{Conduct, Hostile};

/// The way to the one server that there is.
struct Road(Hostile);

#[async_trait]
impl Transport for Road {
    async fn send(&self, _: &ServerName, request: Request<Bytes>) -> Result<Response<Bytes>, TransportError> {
        self.0.carry(request).await
    }
}

fn request(path: &str, budget: Budget) -> Request<Bytes> {
    let mut request = Request::get(path).body(Bytes::new()).unwrap();
    request.extensions_mut().insert(budget);
    request
}

const BUDGET: Budget = Budget { deadline: Duration::from_millis(50), response: ByteSize::kib(4) };

#[tokio::test]
async fn it_is_honest_until_it_is_told_otherwise() {
    let mallory = Hostile::new("mallory.test");
    let keys = mallory.carry(request("/_matrix/key/v2/server", BUDGET)).await.unwrap();
    let keys: Value = serde_json::from_slice(keys.body()).unwrap();
    assert_eq!(keys["server_name"], "mallory.test");

    mallory.on("/key/", Conduct::Hang);
    let hung = mallory.carry(request("/_matrix/key/v2/server", BUDGET)).await;
    assert!(matches!(hung, Err(TransportError::Deadline(_))));

    mallory.on("/key/", Conduct::Drip(json!({ "server_name": "x" }), Duration::from_millis(20)));
    let slow = mallory.carry(request("/_matrix/key/v2/server", BUDGET)).await;
    assert!(matches!(slow, Err(TransportError::Deadline(_))));

    mallory.on("/key/", Conduct::Break(json!({ "server_name": "x" }), 5));
    let broken = mallory.carry(request("/_matrix/key/v2/server", BUDGET)).await;
    assert!(matches!(broken, Err(TransportError::Broken(_))));

    mallory.on("/key/", Conduct::Flood(1 << 40));
    let flooded = mallory.carry(request("/_matrix/key/v2/server", BUDGET)).await;
    assert!(matches!(flooded, Err(TransportError::TooLarge(_))));
    assert_eq!(mallory.asked("/key/").len(), 5);
}

#[tokio::test]
async fn a_long_list_is_json() {
    let mallory = Hostile::new("mallory.test");
    mallory.on("/state_ids/", Conduct::list(r#"{"ids":["#, 2_500, |n| format!("\"${n}\""), "]}"));
    let budget = Budget { deadline: Duration::from_secs(30), response: ByteSize::mib(1) };
    let answer = mallory.carry(request("/_matrix/federation/v1/state_ids/x", budget)).await.unwrap();
    let list: Value = serde_json::from_slice(answer.body()).unwrap();
    assert_eq!(list["ids"].as_array().unwrap().len(), 2_500);
    assert_eq!(list["ids"][2_499], "$2499");
}

#[tokio::test]
async fn it_joins_a_room_of_another_and_builds_on_it() {
    for version in ["6", "10", "11", "12"] {
        let (host, guest) = (Hostile::new("host.test"), Hostile::new("guest.test"));
        let room = host.found("alice", version);
        let mut joined = guest.join(&Road(host.clone()), "host.test", &room.id, "eve").await;
        assert_eq!(joined.version, version);
        let message = joined.message("eve", "hello");
        let version = pdu::RoomVersion::parse(version).unwrap();
        let read = pdu::Pdu::parse(version, message.json.to_string().as_bytes()).unwrap();
        assert_eq!(read.event_id().as_str(), message.id);
        assert_eq!(read.prev_events().len(), 1);
        assert!(read.auth_events().len() >= 2, "{:?}", read.auth_events());
        let forged = guest.forge(&joined, &message, |event| event["depth"] = json!(7_000));
        assert_ne!(forged.id, message.id);
    }
}
