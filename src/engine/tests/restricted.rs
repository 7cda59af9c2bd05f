//! Joins that somebody has to grant.

use room::{Error, tables::Membership};
use ruma::{OwnedRoomId, OwnedUserId};
use serde_json::{Value, json, value::RawValue};

use super::net::{Net, Server, state, user};
use crate::{CreateRoom, Joining};

/// A room of 花子 that members of her lobby may join.
async fn restricted(server: &Server, hanako: &OwnedUserId) -> (OwnedRoomId, OwnedRoomId) {
    let lobby = server.public_room(hanako).await;
    let room = server.engine.create(hanako, CreateRoom::default()).await.unwrap();
    let rule = json!({
        "join_rule": "restricted",
        "allow": [{ "type": "m.room_membership", "room_id": lobby }],
    });
    server.engine.send(&room, state(hanako, "m.room.join_rules", "", &rule), None).await.unwrap();
    (lobby, room)
}

#[tokio::test]
async fn nobody_grants_his_own_join_by_spelling_it_otherwise() {
    let server = Net::default().server(&["a.test"]).await;
    let (hanako, jiro) = (user("@hanako:a.test"), user("@jiro:a.test"));
    let (_, room) = restricted(&server, &hanako).await;
    for key in ["join_authorised_via_users_server", "join\\u005fauthorised_via_users_server"] {
        let mut draft = state(&jiro, "m.room.member", jiro.as_str(), &json!({}));
        let content = format!(r#"{{"membership":"join","{key}":"@hanako:a.test"}}"#);
        draft.content = RawValue::from_string(content).unwrap();
        let refused = server.engine.send(&room, draft, None).await;
        assert!(matches!(refused, Err(Error::Forbidden(_))), "{key}: {refused:?}");
    }
    let content = json!({ "join_authorised_via_users_server": hanako }).as_object().unwrap().clone();
    let joining = Joining { content, ..Joining::default() };
    assert!(server.engine.join(&jiro, &room, &[], joining).await.is_err());
    assert_eq!(server.membership(&jiro, &room).await, None);
}

#[tokio::test]
async fn a_join_sent_as_state_is_granted_like_any_other() {
    // The lobby's member lives on another authority than the one who may grant.
    let server = Net::default().server(&["a.test", "c.test"]).await;
    let (hanako, jiro) = (user("@hanako:a.test"), user("@jiro:c.test"));
    let (lobby, room) = restricted(&server, &hanako).await;
    server.join(&jiro, &lobby, "a.test").await.unwrap();
    let join = json!({ "membership": "join", "displayname": "次郎" });
    server.engine.send(&room, state(&jiro, "m.room.member", jiro.as_str(), &join), None).await.unwrap();
    assert_eq!(server.membership(&jiro, &room).await, Some(Membership::Join));
    let join = server.timeline(&room).await.pop().unwrap();
    let content: Value = serde_json::from_str(join.pdu().content_str()).unwrap();
    assert_eq!(content["join_authorised_via_users_server"], "@hanako:a.test");
    assert_eq!(content["displayname"], "次郎");
    assert!(join.pdu().json_str().contains("\"a.test\":{"));
}
