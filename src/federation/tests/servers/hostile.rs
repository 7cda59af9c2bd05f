//! A server that means harm, among honest ones.

use hostile::{Conduct, Hostile};
use serde_json::json;

use crate::net::{Net, Node};

const A: &str = "kanazawa.test";
const ALICE: &str = "@alice:kanazawa.test";

#[tokio::test]
async fn what_a_hostile_member_says_rightly_is_taken_and_what_it_tampers_with_is_not() {
    let net = Net::default();
    let a = Node::start(&net, &[A]).await;
    let mallory = Hostile::new("mallory.test");
    net.add(&mallory);
    let room = a.create_room(ALICE).await;

    let mut joined = mallory.join(&net, A, &room, "eve").await;
    let first = joined.message("eve", "hello");
    let second = joined.message("eve", "again");
    let tampered = mallory.tamper(&joined, &first, |event| event["sender"] = json!("@admin:mallory.test"));
    let answer = mallory.send(&net, A, &[first.json, tampered.json, second.json]).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    a.until_said(&room, &["hello", "again"]).await;

    // What happens in the room reaches it, like every member.
    a.say(ALICE, &room, "welcome").await;
    let told = mallory.until_asked("/send/", 1).await;
    assert!(told.iter().any(|asked| asked.body.to_string().contains("welcome")), "{told:?}");
}

#[tokio::test]
async fn a_member_that_hangs_does_not_hold_up_the_others() {
    let net = Net::default();
    let (a, b) = (Node::start(&net, &[A]).await, Node::start(&net, &["wajima.test"]).await);
    let mallory = Hostile::new("mallory.test");
    net.add(&mallory);
    let room = a.create_room(ALICE).await;
    mallory.join(&net, A, &room, "eve").await;
    b.join("@bob:wajima.test", &room, A).await;
    mallory.on("/send/", Conduct::Hang);

    a.say(ALICE, &room, "is anybody there?").await;
    mallory.until_asked("/send/", 1).await;
    b.until_said(&room, &["is anybody there?"]).await;
}
