//! Who is sent what is said: the servers that are in the room then, whatever is read when, at a cost that
//! does not follow their number.

use hostile::{Hosted, Hostile};
use room::read::servers::RoomServers;
use ruma::RoomId;

use crate::net::{Net, Node, name, user};

const A: &str = "kanazawa.test";
const B: &str = "wajima.test";
const ALICE: &str = "@alice:kanazawa.test";
const BOB: &str = "@bob:wajima.test";

/// Whether a transaction to this server had this text in it.
fn was_sent(server: &Hostile, text: &str) -> bool {
    server.asked("/send/").iter().any(|asked| asked.body.to_string().contains(text))
}

async fn guest(net: &Net, number: usize, room: &RoomId) -> (Hostile, Hosted) {
    let guest = Hostile::new(&format!("s{number}.test"));
    net.add(&guest);
    let hosted = guest.join(net, A, room, "eve").await;
    (guest, hosted)
}

#[tokio::test]
async fn after_a_kill_what_was_said_goes_to_those_who_were_there_then() {
    let net = Net::default();
    let (a, b) = (Node::start(&net, &[A]).await, Node::start(&net, &[B]).await);
    let room = a.create_room(ALICE).await;
    b.join(BOB, &room, A).await;
    // What is said is in his queue, and the log is read again from before it.
    net.cut(B);
    a.say(ALICE, &room, "to his face").await;
    let (late, _) = guest(&net, 1, &room).await;
    a.engine.kick(&user(ALICE), &room, &user(BOB), None).await.unwrap();
    a.say(ALICE, &room, "behind his back").await;
    a.until(&room, async || was_sent(&late, "behind his back")).await;
    let before = late.asked("/send/").len();

    let a = a.crash_and_restart().await;
    net.mend(B);
    b.until(&room, async || b.membership(&room, BOB).await == Some(room::tables::Membership::Leave)).await;
    a.until(&room, async || late.asked("/send/").len() > before).await;
    a.until(&room, async || a.sender.is_idle()).await;
    assert_eq!(b.said(&room).await, ["to his face"]);
    assert!(was_sent(&late, "behind his back"));
    assert!(!was_sent(&late, "to his face"), "it came later");
}

#[tokio::test]
async fn a_change_of_membership_reads_no_more_where_there_are_more_servers() {
    let mut rows = Vec::new();
    for servers in [3, 30] {
        let net = Net::default();
        let a = Node::start(&net, &[A]).await;
        let room = a.create_room(ALICE).await;
        let mut guests = Vec::new();
        for number in 0..servers {
            guests.push(guest(&net, number, &room).await);
        }
        a.say(ALICE, &room, "hello").await;
        a.until(&room, async || a.sender.is_idle()).await;

        let before = a.scanned();
        a.engine.kick(&user(ALICE), &room, &user("@eve:s1.test"), None).await.unwrap();
        a.say(ALICE, &room, "he is gone").await;
        a.until(&room, async || {
            guests.iter().all(|(guest, _)| guest.name() == "s1.test" || was_sent(guest, "he is gone"))
        })
        .await;
        assert!(was_sent(&guests[1].0, "m.room.member") && !was_sent(&guests[1].0, "he is gone"));
        rows.push(a.scanned() - before);
    }
    assert!(rows[1] <= rows[0] + 10, "rows with few servers and with many: {rows:?}");
}

#[tokio::test]
async fn a_set_of_servers_is_the_same_whichever_way_it_came_to_a_state() {
    let net = Net::default();
    let a = Node::start(&net, &[A]).await;
    let room = a.create_room(ALICE).await;
    let info = a.rooms.room(&room).await.unwrap().unwrap();
    let now = async || a.rooms.servers_now(&[info.serial]).await.unwrap().remove(&info.serial).unwrap();
    let mut sets = vec![now().await];
    for number in 0..3 {
        guest(&net, number, &room).await;
        sets.push(now().await);
    }
    a.join("@amy:kanazawa.test", &room, A).await;
    sets.push(now().await);
    a.engine.kick(&user(ALICE), &room, &user("@eve:s1.test"), None).await.unwrap();
    sets.push(now().await);
    a.engine.leave(&user("@amy:kanazawa.test"), &room, None).await.unwrap();
    sets.push(now().await);
    assert_eq!(sets[4].iter().collect::<Vec<_>>(), [A, "s0.test", "s1.test", "s2.test"]);
    assert!(!sets[6].includes(&name("s1.test")) && sets[6].includes(&name(A)));

    for to in &sets {
        let mut from_nothing = RoomServers::default();
        a.rooms.move_servers(info.serial, &mut from_nothing, to.root()).await.unwrap();
        assert_eq!(&from_nothing, to);
        for from in &sets {
            let mut servers = from.clone();
            let gone = a.rooms.move_servers(info.serial, &mut servers, to.root()).await.unwrap();
            assert_eq!(&servers, to);
            let expected: Vec<_> = from.iter().filter(|server| !to.includes(server)).cloned().collect();
            assert_eq!(gone, expected);
        }
    }
}

#[tokio::test]
async fn who_is_told_all_is_not_kept_in_memory() {
    let net = Net::default();
    let a = Node::start(&net, &[A]).await;
    let room = a.create_room(ALICE).await;
    let (peer, _) = guest(&net, 1, &room).await;
    for text in ["one", "two"] {
        a.say(ALICE, &room, text).await;
        a.until(&room, async || was_sent(&peer, text)).await;
        a.until(&room, async || a.sender.peers().is_empty()).await;
        assert!(a.sender.is_idle());
    }
}
