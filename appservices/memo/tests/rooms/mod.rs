//! Whose room is which, and who finds it.

use std::{net::SocketAddr, time::Duration};

use bot_kit::{Batch, Store, Table};
use bot_testing::Stage;
use http::{Method, StatusCode};
use ruma::RoomId;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use testkit::{Net, Seen, User};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::{
    people::{BOT, direct_room, hears, memo_room},
    stage,
};

/// The alias of a user's room as it once was, from which everybody could tell whether he has one.
fn old_alias(user: &User) -> String {
    let digest = Sha256::digest(user.id().as_bytes());
    let hash: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    format!("%23_memo_{hash}:kanazawa.test")
}

async fn is_alias(user: &User, alias: &str) -> bool {
    let path = format!("/_matrix/client/v3/directory/room/{alias}");
    user.ask(Method::GET, &path, None).await.0 == StatusCode::OK
}

fn canonical(seen: &Seen, room: &RoomId) -> Option<String> {
    let alias = seen.room(room).state("m.room.canonical_alias", "")?.get("alias")?.as_str()?.to_owned();
    Some(alias.replace('#', "%23"))
}

/// The bot, asked by its own token.
fn bot(stage: &Stage) -> User {
    stage.server.service("memo", &stage.as_token())
}

#[tokio::test]
async fn nobody_can_tell_from_a_user_id_whether_there_is_a_memo_room_and_rooms_of_old_aliases_are_found() {
    let stage = stage("").await;
    let hanako = stage.server.user("hanako").await;
    let room = memo_room(&hanako).await;
    let old = old_alias(&hanako);
    let seen = hanako.sync_until(|seen| canonical(seen, &room).is_some()).await;
    let keyed = canonical(&seen, &room).unwrap();
    assert!(is_alias(&hanako, &keyed).await && !is_alias(&hanako, &old).await);

    // As it was before: an alias that follows from the user id, in a store that says no more.
    let make_old = async |replaced: &str| {
        let bot = bot(&stage);
        let path = format!("/directory/room/{replaced}");
        bot.call(Method::DELETE, &path, None).await;
        bot.call(Method::PUT, &format!("/directory/room/{old}"), Some(&json!({ "room_id": room }))).await;
        let alias = json!({ "alias": old.replace("%23", "#") });
        bot.call(Method::PUT, &format!("/rooms/{room}/state/m.room.canonical_alias"), Some(&alias)).await;
        hanako.sync_until(|seen| canonical(seen, &room).as_deref() == Some(&*old)).await;
    };
    stage.stop_bot().await;
    make_old(&keyed).await;
    let path = stage.directory.path().join("data/bot.redb");
    let store = Store::open(&path).unwrap();
    let mut batch = Batch::new();
    batch.delete(&Table::<()>::new("rooms with keyed aliases"), hanako.id().as_str());
    store.commit(batch).await.unwrap();
    drop(store);
    stage.start_bot().await;
    hanako.sync_until(|seen| canonical(seen, &room).as_deref() == Some(&*keyed)).await;
    assert!(is_alias(&hanako, &keyed).await && !is_alias(&hanako, &old).await);

    // The same with no store at all.
    stage.stop_bot().await;
    make_old(&keyed).await;
    std::fs::remove_file(&path).unwrap();
    stage.start_bot().await;
    let direct = direct_room(&hanako).await;
    hears(&hanako, &direct, |text| text.contains(room.as_str())).await;
    hanako.sync_until(|seen| canonical(seen, &room).as_deref() == Some(&*keyed)).await;
    assert!(is_alias(&hanako, &keyed).await && !is_alias(&hanako, &old).await);
}

async fn permit(user: &User, rules: Value) {
    let path = format!("/user/{}/account_data/m.invite_permission_config", user.id());
    user.call(Method::PUT, &path, Some(&rules)).await;
}

#[tokio::test]
async fn who_blocks_the_bots_invites_is_told_so_and_keeps_his_room() {
    let stage = stage("").await;
    let hanako = stage.server.user("hanako").await;
    let room = memo_room(&hanako).await;
    hanako.send(&room, "大事なメモ").await;
    hanako.leave(&room).await;
    hanako.sync_until(|seen| seen.room(&room).section == "leave").await;
    permit(&hanako, json!({ "default_action": "block" })).await;
    let direct = direct_room(&hanako).await;
    hears(&hanako, &direct, |text| text.contains("招待できませんでした")).await;

    permit(&hanako, json!({})).await;
    direct_room(&hanako).await;
    hanako.sync_until(|seen| seen.is_invited(&room)).await;
    hanako.join(&room, "kanazawa.test").await;
    assert!(hanako.history(&room).await.contains(&"大事なメモ".to_owned()));
}

#[tokio::test]
async fn a_room_that_the_bot_was_put_out_of_is_made_anew() {
    let stage = stage("").await;
    let hanako = stage.server.user("hanako").await;
    let room = memo_room(&hanako).await;
    bot(&stage).leave(&room).await;
    let other = memo_room(&hanako).await;
    assert_ne!(other, room);
    hanako.send(&other, "一覧").await;
    hears(&hanako, &other, |text| text.contains("メモはありません")).await;
}

/// A way to a homeserver on which requests to leave a room hang, as those do that wait for the room's own server.
async fn way_where_leaving_hangs(door: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let way = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let Ok(byte) = stream.read_u8().await else { return };
                    head.push(byte);
                }
                let head = String::from_utf8(head).unwrap();
                if head.lines().next().unwrap().contains("/leave ") {
                    std::future::pending::<()>().await;
                }
                // Each connection is for one request, so that the way sees all of them.
                let head = head.replacen("\r\n", "\r\nconnection: close\r\n", 1);
                let mut home = TcpStream::connect(door).await.unwrap();
                home.write_all(head.as_bytes()).await.unwrap();
                // Either side may hang up first.
                tokio::io::copy_bidirectional(&mut stream, &mut home).await.ok();
            });
        }
    });
    way
}

#[tokio::test]
async fn a_homeserver_that_hangs_while_invites_of_strangers_are_refused_delays_nobody() {
    let net = Net::new();
    let mut stage = Stage::without_bot(&net, "kanazawa.test", env!("CARGO_BIN_EXE_yakuba-memo"), "").await;
    stage.door = way_where_leaving_hangs(stage.door).await;
    stage.set("");
    stage.start_bot().await;
    let hanako = stage.server.user("hanako").await;
    let room = memo_room(&hanako).await;
    // More than there are rooms served at a time.
    for name in ["mallory.test", "trudy.test"] {
        let mallory = net.hostile(name).await;
        for number in 0..16 {
            let eve = format!("eve{number}");
            let mut own = mallory.found(&eve, "11");
            let content = json!({ "membership": "invite", "is_direct": true });
            let invite = own.event(&eve, "m.room.member", Some(BOT), content);
            let room = own.id.as_str().replace('!', "%21");
            let uri = format!("/_matrix/federation/v2/invite/{room}/{}", invite.id);
            let body = json!({ "room_version": "11", "event": invite.json, "invite_room_state": [] });
            let answer = mallory.ask(&net.outside(), "kanazawa.test", "PUT", &uri, Some(&body)).await;
            assert_eq!(answer.status, 200, "{}", answer.text);
            net.advance(Duration::from_millis(1));
        }
    }
    hanako.send(&room, "一覧").await;
    hears(&hanako, &room, |text| text.contains("メモはありません")).await;
}
