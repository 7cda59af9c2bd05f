//! Invites of people who had no user id when they were invited.

use pdu::Authority;
use room::{Error, tables::Membership};
use ruma::{CanonicalJsonObject, CanonicalJsonValue, OwnedRoomId, OwnedUserId, events::StateEventType};
use serde_json::{Value, json};

use super::net::{Net, Server, authority, user};
use crate::{Profile, ThirdPartyInvite, draft::draft};

const TOKEN: &str = "abc";

/// Says in a room that the owner of some address is invited, if an identity server knows him by this token.
async fn invite_address(a: &Server, sender: &OwnedUserId, room: &OwnedRoomId, key: &str) {
    let keys = json!([{ "public_key": key, "key_validity_url": "https://id.test/valid" }]);
    let content = json!({
        "display_name": "t...@b...", "public_key": key, "key_validity_url": "https://id.test/valid",
        "public_keys": keys,
    });
    let draft = draft(sender, StateEventType::RoomThirdPartyInvite, TOKEN, &content);
    a.engine.send(room, draft, None).await.unwrap();
}

/// What an identity server signs of an id's owner.
fn signed(by: &Authority, owner: &OwnedUserId, token: &str) -> Value {
    let text = |text: &str| CanonicalJsonValue::String(text.to_owned());
    let mut proof: CanonicalJsonObject =
        [("mxid".to_owned(), text(owner.as_str())), ("token".to_owned(), text(token))].into();
    by.sign_json(&mut proof);
    json!(proof)
}

fn bound(room: &OwnedRoomId, sender: &OwnedUserId, target: &OwnedUserId, signed: &Value) -> ThirdPartyInvite {
    ThirdPartyInvite {
        room_id: room.clone(),
        sender: sender.clone(),
        target: target.clone(),
        display_name: None,
        signed: serde_json::value::to_raw_value(signed).unwrap(),
    }
}

#[tokio::test]
async fn whoever_owns_the_invited_address_is_invited_by_the_inviters_server_and_nobody_else() {
    let net = Net::default();
    let (a, b) = (net.server(&["a.test"]).await, net.server(&["b.test"]).await);
    let (hanako, taro, jiro) = (user("@hanako:a.test"), user("@taro:b.test"), user("@jiro:b.test"));
    let room = a.public_room(&hanako).await;
    let (identity, other) = (authority("id.test"), authority("liar.test"));
    invite_address(&a, &hanako, &room, &identity.public_key_base64()).await;
    let accept = async |invite: ThirdPartyInvite| {
        b.engine.accept_third_party_invite(&invite, &Profile::default()).await
    };

    let proof = signed(&identity, &taro, TOKEN);
    // Each signature is tried with each key, so there are not many.
    let mut many = proof.clone();
    for number in 0..10 {
        many["signatures"][format!("{number}.test")] = json!({ "ed25519:1": "AAAA" });
    }
    for (what, invite) in [
        ("many signatures", bound(&room, &hanako, &taro, &many)),
        ("somebody else's proof", bound(&room, &hanako, &jiro, &proof)),
        ("signed by another", bound(&room, &hanako, &taro, &signed(&other, &taro, TOKEN))),
        ("another token", bound(&room, &hanako, &taro, &signed(&identity, &taro, "xyz"))),
        ("another inviter", bound(&room, &user("@saburo:a.test"), &taro, &proof)),
        ("another room", bound(&"!x:a.test".try_into().unwrap(), &hanako, &taro, &proof)),
        ("no proof", bound(&room, &hanako, &taro, &json!({ "mxid": taro }))),
        ("a long one", bound(&room, &hanako, &taro, &json!({ "mxid": taro, "token": "x".repeat(5_000) }))),
    ] {
        assert!(accept(invite).await.is_err(), "{what}");
        assert_eq!(a.membership(&taro, &room).await, None, "{what}");
    }
    // Another server asks for a user who is not its own.
    let invite = bound(&room, &hanako, &taro, &proof);
    let stolen = a.engine.exchange_third_party_invite("c.test".try_into().unwrap(), &invite).await;
    assert!(matches!(stolen, Err(Error::NotAllowed(_))));

    accept(bound(&room, &hanako, &taro, &proof)).await.unwrap();
    assert_eq!(a.membership(&taro, &room).await, Some(Membership::Invite));
    let info = a.rooms.room(&room).await.unwrap().unwrap();
    let event = a.rooms.current_state_event(&info, "m.room.member", taro.as_str()).await.unwrap().unwrap();
    let content: Value = serde_json::from_str(event.pdu().content_str()).unwrap();
    assert_eq!(content["third_party_invite"], json!({ "display_name": "t...@b...", "signed": proof }));
    // Told again, nothing happens.
    accept(bound(&room, &hanako, &taro, &proof)).await.unwrap();
    b.join(&taro, &room, "a.test").await.unwrap();
    assert_eq!(a.membership(&taro, &room).await, Some(Membership::Join));
    accept(bound(&room, &hanako, &taro, &proof)).await.unwrap();
    assert_eq!(a.membership(&taro, &room).await, Some(Membership::Join));
}

#[tokio::test]
async fn an_invited_address_has_a_bounded_number_of_keys() {
    let net = Net::default();
    let a = net.server(&["a.test"]).await;
    let hanako = user("@hanako:a.test");
    let room = a.public_room(&hanako).await;
    for (count, is_allowed) in [(20, true), (21, false)] {
        let key = authority("id.test").public_key_base64();
        let content = json!({ "display_name": "t", "public_key": key, "key_validity_url": "https://id.test/",
            "public_keys": vec![json!({ "public_key": key }); count] });
        let draft = draft(&hanako, StateEventType::RoomThirdPartyInvite, &count.to_string(), &content);
        let sent = a.engine.send(&room, draft, None).await;
        assert_eq!(sent.is_ok(), is_allowed, "{count}: {sent:?}");
    }
}

#[tokio::test]
async fn an_invited_address_of_a_user_of_the_inviters_server_needs_nobody_else() {
    let net = Net::default();
    let a = net.server(&["a.test"]).await;
    let (hanako, taro) = (user("@hanako:a.test"), user("@taro:a.test"));
    let room = a.public_room(&hanako).await;
    let identity = authority("id.test");
    invite_address(&a, &hanako, &room, &identity.public_key_base64()).await;
    let proof = signed(&identity, &taro, TOKEN);
    let invite = bound(&room, &hanako, &taro, &proof);
    a.engine.accept_third_party_invite(&invite, &Profile::default()).await.unwrap();
    assert_eq!(a.membership(&taro, &room).await, Some(Membership::Invite));
}

#[tokio::test]
async fn two_users_of_one_server_take_up_their_invites_at_once() {
    for is_there in [false, true] {
        let net = Net::default();
        let (a, b) = (net.server(&["a.test"]).await, net.server(&["b.test"]).await);
        let (hanako, taro, jiro) = (user("@hanako:a.test"), user("@taro:b.test"), user("@jiro:b.test"));
        let room = a.public_room(&hanako).await;
        let identity = authority("id.test");
        if is_there {
            b.join(&user("@saburo:b.test"), &room, "a.test").await.unwrap();
        }
        invite_address(&a, &hanako, &room, &identity.public_key_base64()).await;
        let (profile, proof) = (Profile::default(), |owner| signed(&identity, owner, TOKEN));
        let invites = [&taro, &jiro].map(|owner| bound(&room, &hanako, owner, &proof(owner)));
        let (one, other) = tokio::join!(
            b.engine.accept_third_party_invite(&invites[0], &profile),
            b.engine.accept_third_party_invite(&invites[1], &profile)
        );
        one.unwrap();
        other.unwrap();
        for owner in [&taro, &jiro] {
            assert_eq!(a.membership(owner, &room).await, Some(Membership::Invite));
            b.join(owner, &room, "a.test").await.unwrap();
        }
    }
}
