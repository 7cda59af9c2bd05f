//! Messages to devices as other servers send them.

use std::time::Duration;

use account::{Actor, Credentials, LogIn};
use base::Clock;
use hostile::{Conduct, Hostile};
use http::StatusCode;
use ruma::DeviceId;
use serde_json::{Value, json};
use store::Position;
use to_device::{Messages, Sending};

use crate::{
    net::{Net, Node, sender_config, user},
    strange_names::within,
    strangers::ask,
};

const A: &str = "kanazawa.test";
const ALICE: &str = "@alice:kanazawa.test";
const BOB: &str = "@bob:wajima.test";
const PASSWORD: &str = "correct horse";

/// Two servers; alice of the first one has a device.
async fn with_alice() -> (Net, Node, Node) {
    let net = Net::default();
    let (a, b) = (Node::start(&net, &[A]).await, Node::start(&net, &["wajima.test"]).await);
    a.make_account(ALICE).await;
    let alice = user(ALICE);
    a.accounts.set_password(&alice, PASSWORD, &Actor::operator("test")).await.unwrap();
    let request = LogIn {
        credentials: Credentials::NameAndPassword { name: "alice".into(), password: PASSWORD.into() },
        device_id: Some("PHONE".into()),
        device_name: None,
        refresh: false,
        from: None,
        agent: None,
    };
    a.accounts.log_in(alice.server_name(), request).await.unwrap();
    (net, a, b)
}

fn unit(name: &str, text: &str) -> Value {
    let messages = json!({ ALICE: { "PHONE": { "text": text } } });
    let content = json!({ "sender": BOB, "type": "m.test", "message_id": name, "messages": messages });
    json!({ "edu_type": "m.direct_to_device", "content": content })
}

/// Sends a transaction in the name of bob's server.
async fn transaction(net: &Net, id: &str, edus: &[Value]) -> StatusCode {
    let body = json!({ "origin": "wajima.test", "origin_server_ts": 1, "pdus": [], "edus": edus });
    let uri = format!("/_matrix/federation/v1/send/{id}");
    let (status, answer) = ask(net, "PUT", &uri, Some(&body.to_string())).await;
    assert_eq!(answer, json!({ "pdus": {} }));
    status
}

async fn told(node: &Node) -> Vec<String> {
    let (alice, phone) = (user(ALICE), <&DeviceId>::from("PHONE"));
    let page = node.to_device.news(&alice, phone, Position::START, node.store.head(), 100).await.unwrap();
    let text = |content: &[u8]| {
        serde_json::from_slice::<Value>(content).unwrap()["text"].as_str().unwrap().to_owned()
    };
    page.messages.iter().map(|message| text(&message.content)).collect()
}

#[tokio::test]
async fn a_message_that_is_wrong_or_too_large_costs_no_other_and_none_comes_twice() {
    let (net, a, _b) = with_alice().await;
    let with = |path: &str, value: Value| {
        let mut unit = unit("odd", "odd");
        *unit.pointer_mut(path).unwrap() = value;
        unit
    };
    let mut edus = vec![
        with("/content/sender", json!("@mallory:hostile.test")),
        with("/content/sender", json!(ALICE)),
        with("/content/sender", json!(7)),
        with("/content/type", json!(null)),
        with("/content/message_id", json!({})),
        with("/content/messages", json!([])),
        with("/content", json!("nonsense")),
        with("/content/messages/@alice:kanazawa.test/PHONE", json!({ "a": "x".repeat(2 << 20) })),
        json!({ "edu_type": "m.direct_to_device" }),
        unit("1", "1"),
    ];
    // What is odd within one costs that alone.
    let mut odd = unit("2", "2");
    let messages = odd.pointer_mut("/content/messages").unwrap().as_object_mut().unwrap();
    messages.insert("nobody".to_owned(), json!({ "A": {} }));
    messages.insert("@x:kanazawa.test".to_owned(), json!("nonsense"));
    messages[ALICE].as_object_mut().unwrap().insert("X".to_owned(), json!(["nonsense"]));
    edus.push(odd);
    edus.push(unit("3", "3"));
    edus.push(unit("1", "once more in the same transaction"));
    assert_eq!(transaction(&net, "first", &edus).await, StatusCode::OK);
    assert_eq!(told(&a).await, ["1", "2", "3"]);

    // Under another name of the transaction, and after a crash.
    assert_eq!(transaction(&net, "second", &edus).await, StatusCode::OK);
    let a = a.crash_and_restart().await;
    assert_eq!(transaction(&net, "third", &[unit("3", "again"), unit("4", "4")]).await, StatusCode::OK);
    assert_eq!(told(&a).await, ["1", "2", "3", "4"]);
}

#[tokio::test]
async fn while_nothing_can_be_kept_a_transaction_is_refused_whole_and_comes_again() {
    let (net, a, _b) = with_alice().await;
    a.take_disk_away();
    let body =
        json!({ "origin": "wajima.test", "origin_server_ts": 1, "pdus": [], "edus": [unit("1", "1")] });
    let uri = "/_matrix/federation/v1/send/first";
    let (status, _) = ask(&net, "PUT", uri, Some(&body.to_string())).await;
    assert!(status.is_server_error(), "{status}");
    let a = a.crash_and_restart().await;
    assert_eq!(transaction(&net, "first", &[unit("1", "1")]).await, StatusCode::OK);
    assert_eq!(told(&a).await, ["1"]);
}

/// Alice sends a text to a device elsewhere.
async fn send(node: &Node, to: &str, text: &str) {
    let messages: Messages = serde_json::from_value(json!({ to: { "A": { "text": text } } })).unwrap();
    let (user, device) = (user(ALICE), <&DeviceId>::from("PHONE"));
    let sending = Sending { user: &user, device, kind: "m.test", txn: text, messages: &messages };
    node.to_device.send(sending).await.unwrap();
}

#[tokio::test]
async fn what_waits_for_a_name_that_never_answers_is_forgotten_with_it() {
    let net = Net::default();
    let (clock, hand) = Clock::manual(1_800_000_000_000);
    let a = Node::with(&net, A, sender_config(), clock).await;
    send(&a, "@x:nowhere.test", "1").await;
    assert_eq!(a.to_device.due().await.unwrap().len(), 1);
    let hour = Duration::from_secs(60 * 60);
    let is_forgotten = async || a.to_device.due().await.unwrap().is_empty();
    within(&hand, 2 * hour, Duration::from_secs(60), async || {
        net.asked().iter().any(|line| line.starts_with("nowhere.test"))
    })
    .await;
    assert!(!is_forgotten().await, "it is tried for a day");
    within(&hand, 60 * hour, Duration::from_secs(60), is_forgotten).await;
}

#[tokio::test]
async fn a_peer_that_refuses_them_for_good_gets_what_comes_after_them() {
    let net = Net::default();
    let a = Node::start(&net, &[A]).await;
    let b = Hostile::new("wajima.test");
    net.add(&b);
    b.on("/send/", Conduct::refuse(413, "M_TOO_LARGE"));
    for text in ["1", "2", "3", "4", "5"] {
        send(&a, BOB, text).await;
    }
    let is_done = async || a.to_device.due().await.unwrap().is_empty();
    tokio::time::timeout(Duration::from_secs(60), async {
        while !is_done().await {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("they are given up, one by one");
    b.on("/send/", Conduct::Honest);
    send(&a, BOB, "6").await;
    tokio::time::timeout(Duration::from_secs(60), async {
        while !(is_done().await && a.sender.is_idle()) {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("it is taken");
    let last = b.asked("/send/").pop().unwrap();
    assert!(last.body.to_string().contains("\"text\":\"6\""), "{last:?}");
}
