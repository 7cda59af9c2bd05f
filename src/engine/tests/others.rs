//! What is said where nobody else is does not go into the log as news for other servers.

use ruma::OwnedRoomId;
use serde_json::json;
use store::{Moved, Position, Topic};

use super::net::{Net, Server, message, state, user};

/// Whether something happened for other servers since a position.
fn moved(server: &Server, since: Position) -> Moved {
    server.store.moved(Topic::destination("*"), since)
}

/// Whether what is said now in a room is news for other servers.
async fn is_news(server: &Server, room: &OwnedRoomId, who: &str) -> bool {
    let before = server.store.head();
    server.say(&user(who), room, "訓練です").await;
    moved(server, before) == Moved::Maybe
}

#[tokio::test]
async fn what_is_said_among_us_is_no_news_for_others_until_somebody_of_them_comes() {
    let net = Net::default();
    let a = net.server(&["a.test", "aa.test"]).await;
    let b = net.server(&["b.test"]).await;
    let (hanako, jiro, taro) = (user("@hanako:a.test"), user("@jiro:aa.test"), user("@taro:b.test"));
    let room = a.public_room(&hanako).await;
    assert_eq!(moved(&a, Position::START), Moved::No);
    assert!(!is_news(&a, &room, "@hanako:a.test").await);
    // Another authority of ours is no other server, and state that is of us alone changes nothing.
    a.join(&jiro, &room, "a.test").await.unwrap();
    let topic = state(&hanako, "m.room.topic", "", &json!({ "topic": "題" }));
    a.engine.send(&room, topic, None).await.unwrap();
    assert!(!is_news(&a, &room, "@jiro:aa.test").await);
    // Nor is who was invited and has not come there.
    a.invite(&hanako, &room, &taro).await.unwrap();
    assert!(!is_news(&a, &room, "@jiro:aa.test").await);
    b.join(&taro, &room, "a.test").await.unwrap();
    assert!(is_news(&a, &room, "@hanako:a.test").await);
    assert!(is_news(&b, &room, "@taro:b.test").await);
    a.deliver(&b).await;
    b.deliver(&a).await;
    assert!(a.bodies(&room).await.ends_with(&b.bodies(&room).await));

    // Once he has left, nobody needs to hear what is said; that is noticed when the room is read anew.
    b.engine.leave(&taro, &room, None).await.unwrap();
    b.deliver(&a).await;
    let again = net.server_over(&["a.test", "aa.test"], &a.disk, a.store.clone()).await;
    assert!(!is_news(&again, &room, "@hanako:a.test").await);
    b.join(&taro, &room, "a.test").await.unwrap();
    assert!(is_news(&a, &room, "@hanako:a.test").await);
}

#[tokio::test]
async fn what_is_said_while_others_come_in_reaches_them() {
    let net = Net::default();
    let (a, b) = (net.server(&["a.test"]).await, net.server(&["b.test"]).await);
    let (hanako, taro) = (user("@hanako:a.test"), user("@taro:b.test"));
    for _ in 0..20 {
        let room = a.public_room(&hanako).await;
        a.say(&hanako, &room, "前").await;
        let say = async {
            let mut said = Vec::new();
            for index in 0..20 {
                let id = a.engine.send(&room, message(&hanako, &index.to_string()), None).await.unwrap();
                said.push(id);
            }
            said
        };
        let (joined, said) = tokio::join!(b.join(&taro, &room, "a.test"), say);
        joined.unwrap();
        let (head, info) = (a.store.head(), a.engine.rooms().room(&room).await.unwrap().unwrap());
        // All that stands behind his join in the log.
        let log = a.store.changes(Position::START, usize::MAX).await.unwrap();
        let mut has_come = false;
        let mut heard = 0;
        for change in log.iter().filter(|change| change.position <= head) {
            let entry = room::log::Entry::decode(change.kind, &change.payload).unwrap();
            let Some(room::log::Entry::Event(entry)) = entry else { continue };
            if entry.room != info.serial {
                continue;
            }
            if entry.member.is_some_and(|(user, _)| user == taro) {
                has_come = true;
            } else if has_come {
                assert!(entry.outgoing);
                heard += 1;
            }
        }
        assert!(has_come && heard <= said.len());
        assert!(is_news(&a, &room, "@hanako:a.test").await);
    }
}

#[tokio::test]
async fn another_process_over_the_same_store_that_lets_somebody_in_is_noticed() {
    let net = Net::default();
    let one = net.server(&["a.test"]).await;
    let b = net.server(&["b.test"]).await;
    let (hanako, taro) = (user("@hanako:a.test"), user("@taro:b.test"));
    let room = one.public_room(&hanako).await;
    assert!(!is_news(&one, &room, "@hanako:a.test").await);
    // Made last, it is the one that others reach.
    let two = net.server_over(&["a.test"], &one.disk, one.store.clone()).await;
    b.join(&taro, &room, "a.test").await.unwrap();
    assert!(is_news(&one, &room, "@hanako:a.test").await);
    assert!(is_news(&two, &room, "@hanako:a.test").await);
}
