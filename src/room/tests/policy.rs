//! The points at which a deployment says no.

use std::sync::Arc;

use pdu::Draft;
use ruma::{OwnedRoomId, RoomId, events::StateEventType};
use serde_json::json;

use super::net::{Net, message, state, user};
use crate::{CreateRoom, Denial, Error, InitialState, Policy, Preset, tables::ROOMS};

/// Nobody says what holds this word.
struct Word(&'static str);

impl Policy for Word {
    fn send(&self, _: Option<&RoomId>, draft: &Draft) -> Result<(), Denial> {
        if draft.content.get().contains(self.0) {
            return Err(Denial {
                public: "この言葉は使えません".to_owned(), private: "a word".to_owned()
            });
        }
        Ok(())
    }
}

fn is_denied<T: std::fmt::Debug>(outcome: Result<T, Error>) -> bool {
    matches!(outcome, Err(Error::Denied(_)))
}

#[tokio::test]
async fn a_policy_sees_the_content_of_what_is_sent() {
    let net = Net::default();
    net.set_policy(Arc::new(Word("マイナンバー")));
    let a = net.server(&["a.test"]).await;
    let hanako = user("@hanako:a.test");
    let room: OwnedRoomId = a.public_room(&hanako).await;
    a.say(&hanako, &room, "こんにちは").await;
    assert!(is_denied(a.rooms.send(&room, message(&hanako, "マイナンバー 1234"), None).await));
    let topic = state(&hanako, "m.room.topic", "", &json!({ "topic": "マイナンバー" }));
    assert!(is_denied(a.rooms.send(&room, topic, None).await));
    let said = a.say(&hanako, &room, "後").await;
    assert!(is_denied(a.rooms.redact(&hanako, &room, &said, Some("マイナンバー"), None).await));
    assert_eq!(a.bodies(&room).await, ["こんにちは", "後"]);
}

#[tokio::test]
async fn a_policy_sees_what_a_new_room_is_made_of_and_leaves_none_behind() {
    let net = Net::default();
    net.set_policy(Arc::new(Word("マイナンバー")));
    let a = net.server(&["a.test"]).await;
    let hanako = user("@hanako:a.test");
    let content = serde_json::value::to_raw_value(&json!({ "topic": "マイナンバー" })).unwrap();
    let topic = InitialState { kind: StateEventType::RoomTopic, state_key: String::new(), content };
    let purpose = json!({ "org.example.purpose": "マイナンバー" }).as_object().cloned().unwrap();
    let levels = json!({ "org.example": "マイナンバー" }).as_object().cloned().unwrap();
    for wishes in [
        CreateRoom { name: Some("マイナンバー".to_owned()), ..CreateRoom::default() },
        CreateRoom { topic: Some("マイナンバー".to_owned()), ..CreateRoom::default() },
        CreateRoom { initial_state: vec![topic], ..CreateRoom::default() },
        CreateRoom { creation_content: purpose, ..CreateRoom::default() },
        CreateRoom { settled_levels: Some(levels), ..CreateRoom::default() },
    ] {
        let wishes = CreateRoom { preset: Preset::PublicChat, ..wishes };
        assert!(is_denied(a.rooms.create(&hanako, wishes.clone()).await), "{wishes:?}");
    }
    let rooms = a.store.scan(&ROOMS, store::Range::all(), store::Order::Ascending, 9).await.unwrap();
    assert_eq!(rooms.len(), 0);
}
