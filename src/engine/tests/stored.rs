//! Events as if they had been read.

use std::sync::Arc;

use bytes::Bytes;
use pdu::{Pdu, RoomVersion};
use room::{
    EventSerial, RoomSerial, Root,
    read::event::StoredEvent,
    tables::{EventMeta, Place, Verdict},
};
use ruma::OwnedEventId;
use store::{Position, Stamped};

pub(crate) fn stored(serial: u64, kind: &str, state_key: Option<&str>, content: &str) -> Arc<StoredEvent> {
    let ids =
        |count: u64| (0..count).map(|n| format!(r#""${:043}""#, serial + n)).collect::<Vec<_>>().join(",");
    let state_key = state_key.map(|key| format!(r#","state_key":"{key}""#)).unwrap_or_default();
    let json = format!(
        r#"{{"auth_events":[{}],"content":{content},"depth":7,"hashes":{{"sha256":"{:043}"}},"origin_server_ts":1800000000000,"prev_events":[{}],"room_id":"!abcdefghijklmnopqr:kanazawa.example.jp","sender":"@shokuin{serial}:kanazawa.example.jp"{state_key},"signatures":{{"kanazawa.example.jp":{{"ed25519:1":"{:086}"}}}},"type":"{kind}"}}"#,
        ids(3),
        serial,
        ids(1),
        serial,
    );
    let id: OwnedEventId = format!("${serial:043}").try_into().unwrap();
    let pdu = Pdu::from_stored(
        RoomVersion::parse("11").unwrap(),
        Bytes::from(json.into_bytes().into_boxed_slice()),
        id.clone(),
    );
    let meta = EventMeta {
        event_id: id,
        verdict: Verdict::Accepted,
        place: Place::Live,
        depth: 7,
        before: Root::EMPTY,
        after: Root::EMPTY,
        auth: (0..3).map(EventSerial).collect(),
        txn: None,
        redacted_by: None,
        replaces: None,
        covers_previous: true,
        partial: false,
    };
    let stamped = Stamped { position: Position(serial), value: meta };
    Arc::new(StoredEvent::new(RoomSerial(1), EventSerial(serial), pdu.unwrap(), stamped))
}
