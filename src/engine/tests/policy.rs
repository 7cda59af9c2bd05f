//! The points at which a deployment says no.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use pdu::Draft;
use room::{Denial, Error, Policy, tables::ROOMS};
use ruma::{OwnedRoomId, RoomId, events::StateEventType};
use serde_json::{json, value::RawValue};

use super::net::{Net, message, state, user};
use crate::{CreateRoom, InitialState, Invitee, Joining, Preset, Profile, ProfileChange, Txn};

/// Nobody says what holds this word, from when it is on.
struct Word(&'static str, AtomicBool);

impl Word {
    fn barred(word: &'static str) -> Arc<Self> {
        Arc::new(Self(word, AtomicBool::new(true)))
    }
}

impl Policy for Word {
    fn send(&self, _: Option<&RoomId>, draft: &Draft) -> Result<(), Denial> {
        if self.1.load(Ordering::SeqCst) && draft.content.get().contains(self.0) {
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
    net.set_policy(Word::barred("マイナンバー"));
    let a = net.server(&["a.test"]).await;
    let hanako = user("@hanako:a.test");
    let room: OwnedRoomId = a.public_room(&hanako).await;
    a.say(&hanako, &room, "こんにちは").await;
    assert!(is_denied(a.engine.send(&room, message(&hanako, "マイナンバー 1234"), None).await));
    let topic = state(&hanako, "m.room.topic", "", &json!({ "topic": "マイナンバー" }));
    assert!(is_denied(a.engine.send(&room, topic, None).await));
    let said = a.say(&hanako, &room, "後").await;
    assert!(is_denied(a.engine.redact(&hanako, &room, &said, Some("マイナンバー"), None).await));
    assert_eq!(a.bodies(&room).await, ["こんにちは", "後"]);
}

#[tokio::test]
async fn a_policy_sees_what_a_new_room_is_made_of_and_leaves_none_behind() {
    let net = Net::default();
    net.set_policy(Word::barred("マイナンバー"));
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
        assert!(is_denied(a.engine.create(&hanako, wishes.clone()).await), "{wishes:?}");
    }
    let rooms = a.store.scan(&ROOMS, store::Range::all(), store::Order::Ascending, 9).await.unwrap();
    assert_eq!(rooms.len(), 0);
}

#[tokio::test]
async fn a_policy_sees_words_that_are_spelled_with_escapes() {
    let net = Net::default();
    net.set_policy(Word::barred("secret"));
    let a = net.server(&["a.test"]).await;
    let hanako = user("@hanako:a.test");
    let room = a.public_room(&hanako).await;
    let content = RawValue::from_string(r#"{"msgtype":"m.text","body":"se\u0063ret"}"#.to_owned()).unwrap();
    assert!(is_denied(a.engine.send(&room, Draft { content, ..message(&hanako, "") }, None).await));
    assert_eq!(a.bodies(&room).await.len(), 0);
}

#[tokio::test]
async fn a_policy_sees_names_and_reasons_of_memberships() {
    let net = Net::default();
    net.set_policy(Word::barred("secret"));
    let a = net.server(&["a.test"]).await;
    let b = net.server(&["b.test"]).await;
    let (hanako, taro, jiro) = (user("@hanako:a.test"), user("@taro:a.test"), user("@jiro:b.test"));
    let (room, far) = (a.public_room(&hanako).await, b.public_room(&jiro).await);
    a.join(&taro, &room, "a.test").await.unwrap();
    let why = Some("secret");
    let named = Profile { displayname: Some("secret".to_owned()), avatar_url: None };
    let engine = &a.engine;
    assert!(is_denied(engine.kick(&hanako, &room, &taro, why).await));
    assert!(is_denied(engine.ban(&hanako, &room, &taro, why).await));
    assert!(is_denied(engine.unban(&hanako, &room, &taro, why).await));
    assert!(is_denied(engine.leave(&taro, &room, why).await));
    assert!(is_denied(engine.invite(&hanako, &room, &jiro, &Profile::default(), why).await));
    assert!(is_denied(
        engine.update_profile(&taro, &room, &ProfileChange::DisplayName(named.displayname.clone())).await
    ));
    let via = ["b.test".try_into().unwrap()];
    let joining = Joining { profile: named.clone(), ..Joining::default() };
    assert!(is_denied(engine.join(&taro, &far, &via, joining).await));
    assert!(is_denied(engine.knock(&taro, &far, &via, &named, None).await));
    let invite = vec![Invitee { user_id: taro.clone(), profile: named }];
    assert!(is_denied(engine.create(&hanako, CreateRoom { invite, ..CreateRoom::default() }).await));
    engine.leave(&taro, &room, None).await.unwrap();
}

#[tokio::test]
async fn a_request_that_was_served_is_answered_as_it_was_whatever_the_policy_says_now() {
    let net = Net::default();
    let word = Arc::new(Word("secret", AtomicBool::new(false)));
    net.set_policy(word.clone());
    let a = net.server(&["a.test"]).await;
    let hanako = user("@hanako:a.test");
    let room = a.public_room(&hanako).await;
    let txn = Txn { device: "DEVICE".into(), id: "1".into() };
    let said = a.engine.send(&room, message(&hanako, "secret"), Some(&txn)).await.unwrap();
    word.1.store(true, Ordering::SeqCst);
    assert_eq!(a.engine.send(&room, message(&hanako, "secret"), Some(&txn)).await.unwrap(), said);
    let other = Txn { id: "2".into(), ..txn };
    assert!(is_denied(a.engine.send(&room, message(&hanako, "secret"), Some(&other)).await));
}
