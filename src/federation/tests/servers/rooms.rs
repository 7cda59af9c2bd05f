//! Rooms across servers.

use std::time::Duration;

use room::{read::receipts::ReceiptKind, tables::Membership};

use crate::net::{Net, Node, name, user};

const A: &str = "kanazawa.test";
const B: &str = "wajima.test";
const ALICE: &str = "@alice:kanazawa.test";
const BOB: &str = "@bob:wajima.test";

#[tokio::test]
async fn two_servers_invite_join_and_talk_both_ways() {
    let net = Net::default();
    let (a, b) = (Node::start(&net, &[A]).await, Node::start(&net, &[B]).await);
    let room = a.create_room(ALICE).await;
    b.make_account(BOB).await;
    a.invite(ALICE, &room, BOB).await;
    b.join(BOB, &room, A).await;
    a.say(ALICE, &room, "one").await;
    b.until_said(&room, &["one"]).await;
    b.say(BOB, &room, "two").await;
    a.until_said(&room, &["one", "two"]).await;
    a.say(ALICE, &room, "three").await;
    b.until_said(&room, &["one", "two", "three"]).await;

    let info = b.rooms.room(&room).await.unwrap().unwrap();
    assert_eq!(b.rooms.servers_in_room(info.serial).await.unwrap(), [name(A), name(B)]);
}

#[tokio::test]
async fn a_join_is_not_sent_back_to_the_server_that_helped() {
    let net = Net::default();
    let (a, b) = (Node::start(&net, &[A]).await, Node::start(&net, &[B]).await);
    let room = a.create_room(ALICE).await;
    b.make_account(BOB).await;
    a.invite(ALICE, &room, BOB).await;
    b.join(BOB, &room, A).await;
    b.until(&room, async || a.sender.is_idle() && b.sender.is_idle()).await;
    let sent: Vec<String> = net.asked().into_iter().filter(|line| line.contains("/send/")).collect();
    assert_eq!(sent, Vec::<String>::new(), "an invite goes by `/invite`, a join by `/send_join`");
}

#[tokio::test]
async fn authorities_of_one_process_need_no_network() {
    let net = Net::default();
    let host = Node::start(&net, &[A, B]).await;
    let room = host.create_room(ALICE).await;
    host.invite(ALICE, &room, BOB).await;
    host.join(BOB, &room, A).await;
    host.say(ALICE, &room, "one").await;
    host.say(BOB, &room, "two").await;
    host.until_said(&room, &["one", "two"]).await;
    host.until(&room, async || host.sender.is_idle()).await;
    assert_eq!(net.asked(), Vec::<String>::new());
    assert!(host.sender.peers().is_empty());
}

#[tokio::test]
async fn who_joins_through_us_is_made_known_to_the_others() {
    const C: &str = "ishikawa.test";
    const CAROL: &str = "@carol:ishikawa.test";
    let net = Net::default();
    let (a, b, c) =
        (Node::start(&net, &[A]).await, Node::start(&net, &[B]).await, Node::start(&net, &[C]).await);
    let room = a.create_room(ALICE).await;
    b.join(BOB, &room, A).await;
    c.join(CAROL, &room, A).await;
    b.until(&room, async || b.membership(&room, CAROL).await == Some(Membership::Join)).await;
    c.say(CAROL, &room, "from c").await;
    b.until_said(&room, &["from c"]).await;
    b.say(BOB, &room, "from b").await;
    c.until_said(&room, &["from c", "from b"]).await;
    a.until_said(&room, &["from c", "from b"]).await;
}

#[tokio::test]
async fn authorities_of_one_process_speak_each_in_its_own_name() {
    const NANAO: &str = "nanao.test";
    const NAOKO: &str = "@naoko:nanao.test";
    let net = Net::default();
    let (host, b) = (Node::start(&net, &[A, NANAO]).await, Node::start(&net, &[B]).await);
    let room = host.create_room(ALICE).await;
    host.join(NAOKO, &room, A).await;
    b.join(BOB, &room, NANAO).await;
    host.say(ALICE, &room, "one").await;
    b.until_said(&room, &["one"]).await;
    host.say(NAOKO, &room, "two").await;
    b.until_said(&room, &["one", "two"]).await;
    host.rooms.set_typing(&user(NAOKO), &room, Some(Duration::from_secs(20))).await.unwrap();
    let info = b.rooms.room(&room).await.unwrap().unwrap();
    b.until(&room, async || b.rooms.typing_in(info.serial) == [user(NAOKO)]).await;
}

#[tokio::test]
async fn a_kicked_user_hears_of_it_although_nobody_of_his_server_is_left() {
    let net = Net::default();
    let (a, b) = (Node::start(&net, &[A]).await, Node::start(&net, &[B]).await);
    let room = a.create_room(ALICE).await;
    b.join(BOB, &room, A).await;
    a.say(ALICE, &room, "to his face").await;
    a.engine.kick(&user(ALICE), &room, &user(BOB), None).await.unwrap();
    a.say(ALICE, &room, "behind his back at once").await;
    b.until(&room, async || b.membership(&room, BOB).await == Some(Membership::Leave)).await;
    a.say(ALICE, &room, "behind his back").await;
    a.until(&room, async || a.sender.is_idle()).await;
    assert_eq!(b.said(&room).await, ["to his face"]);
}

#[tokio::test]
async fn an_invite_can_be_refused_and_a_room_left() {
    let net = Net::default();
    let (a, b) = (Node::start(&net, &[A]).await, Node::start(&net, &[B]).await);
    let room = a.create_room(ALICE).await;
    b.make_account(BOB).await;
    a.invite(ALICE, &room, BOB).await;
    b.engine.leave(&user(BOB), &room, None).await.unwrap();
    a.until(&room, async || a.membership(&room, BOB).await == Some(Membership::Leave)).await;
    b.join(BOB, &room, A).await;
    b.engine.leave(&user(BOB), &room, None).await.unwrap();
    a.until(&room, async || a.membership(&room, BOB).await == Some(Membership::Leave)).await;
}

#[tokio::test]
async fn nobody_is_invited_who_does_not_exist() {
    let net = Net::default();
    let (a, b) = (Node::start(&net, &[A]).await, Node::start(&net, &[B]).await);
    let room = a.create_room(ALICE).await;
    let profile = engine::Profile::default();
    let refused = a.engine.invite(&user(ALICE), &room, &user("@nobody:wajima.test"), &profile, None).await;
    assert!(matches!(refused, Err(room::Error::Remote(room::RemoteError::Refused { status: 403, .. }))));
    assert!(b.rooms.room(&room).await.unwrap().is_none());
}

#[tokio::test]
async fn typing_and_receipts_cross_and_private_receipts_do_not() {
    let net = Net::default();
    let (a, b) = (Node::start(&net, &[A]).await, Node::start(&net, &[B]).await);
    let room = a.create_room(ALICE).await;
    b.join(BOB, &room, A).await;
    a.say(ALICE, &room, "one").await;
    b.until_said(&room, &["one"]).await;
    let read = b.events(&room).await.pop().unwrap().event_id().to_owned();

    let bob = user(BOB);
    b.rooms.set_receipt(&bob, &room, ReceiptKind::Private, None, &read).await.unwrap();
    b.rooms.set_receipt(&bob, &room, ReceiptKind::Public, Some("main"), &read).await.unwrap();
    b.rooms.set_receipt(&bob, &room, ReceiptKind::Public, None, &read).await.unwrap();
    b.rooms.set_typing(&bob, &room, Some(Duration::from_secs(20))).await.unwrap();
    let info = a.rooms.room(&room).await.unwrap().unwrap();
    let receipt = async |kind, thread| a.rooms.receipt(info.serial, &bob, kind, thread).await.unwrap();
    a.until(&room, async || a.rooms.typing_in(info.serial) == [bob.clone()]).await;
    a.until(&room, async || receipt(ReceiptKind::Public, None).await.is_some()).await;
    a.until(&room, async || receipt(ReceiptKind::Public, Some("main")).await.is_some()).await;
    assert_eq!(receipt(ReceiptKind::Public, None).await.unwrap().event_id, read);
    assert!(receipt(ReceiptKind::Private, None).await.is_none());

    b.rooms.set_typing(&bob, &room, None).await.unwrap();
    a.until(&room, async || a.rooms.typing_in(info.serial).is_empty()).await;
}

#[tokio::test]
async fn an_alias_of_another_server_is_found() {
    let net = Net::default();
    let (a, b) = (Node::start(&net, &[A]).await, Node::start(&net, &[B]).await);
    let room = a.create_room(ALICE).await;
    let alias = ruma::RoomAliasId::parse("#saigai:kanazawa.test").unwrap();
    let by = account::Actor::user(&user(ALICE), false, None);
    a.engine.create_alias(&user(ALICE), &alias, &room, &by).await.unwrap();
    let found = b.engine.resolve_alias(Some(&user(BOB)), &alias).await.unwrap();
    assert_eq!(found.room_id, room);
    assert_eq!(found.servers, [name(A)]);
    let unknown = ruma::RoomAliasId::parse("#nothing:kanazawa.test").unwrap();
    assert!(b.engine.resolve_alias(Some(&user(BOB)), &unknown).await.is_err());
}
