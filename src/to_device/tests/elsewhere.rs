//! What goes to other servers, and what comes from them.

use ruma::{ServerName, server_name};
use serde_json::{Value, json};
use store::{Batch, MemoryDisk, Order, Position, Range};

use super::{Town, to, town, town_on, user};
use crate::{
    Incoming, Outcome, ToDevice,
    tables::{COUNT, OUTBOX_USE, TAKEN, TAKEN_ORDER, TAKEN_USE},
};

fn ours() -> &'static ServerName {
    server_name!("kanazawa.test")
}

fn wajima() -> &'static ServerName {
    server_name!("wajima.test")
}

fn unit(sender: &str, name: &str, devices: &[&str], text: &str) -> Incoming {
    Incoming {
        sender: user(sender),
        kind: "test".to_owned(),
        message_id: name.to_owned(),
        messages: to(devices, text),
    }
}

async fn with_taro() -> Town {
    with_taro_on(&MemoryDisk::default()).await
}

async fn with_taro_on(disk: &MemoryDisk) -> Town {
    let town = town_on(disk).await;
    for id in ["taro", "@saburo:nanao.test"] {
        town.sign_up(id).await;
        town.log_in(id, "DESK").await;
    }
    town
}

#[tokio::test]
async fn what_goes_to_another_server_waits_for_it_until_it_has_it() {
    let town = town().await;
    let both =
        to(&["@jiro:wajima.test/A", "@jiro:wajima.test/*", "@x:hostile.test/A", "@y:suzu.test/B"], "一");
    town.send("1", &both).await.unwrap();
    town.send("2", &to(&["@jiro:wajima.test/A"], "二")).await.unwrap();
    town.send("2", &to(&["@jiro:wajima.test/A"], "二")).await.unwrap();
    let suzu = server_name!("suzu.test");
    let due = town.to_device.due().await.unwrap();
    assert_eq!(due, [(ours().to_owned(), suzu.to_owned()), (ours().to_owned(), wajima().to_owned())]);
    let units = town.to_device.units(ours(), wajima(), Position::START, 9).await.unwrap();
    let read = |json: &[u8]| serde_json::from_slice::<Value>(json).unwrap();
    let first = read(&units[0].json);
    assert_eq!(first["edu_type"], "m.direct_to_device");
    assert_eq!(first["content"]["sender"], user("hanako").as_str());
    assert_eq!(
        first["content"]["messages"]["@jiro:wajima.test"],
        json!({ "A": { "text": "一" }, "*": { "text": "一" } })
    );
    assert_eq!(
        read(&units[1].json)["content"]["messages"]["@jiro:wajima.test"],
        json!({ "A": { "text": "二" } })
    );
    assert_ne!(first["content"]["message_id"], read(&units[1].json)["content"]["message_id"]);
    assert_eq!(units.len(), 2);
    let rest = town.to_device.units(ours(), wajima(), units[0].position, 9).await.unwrap();
    assert_eq!(rest, units[1..]);
    assert_eq!((town.counted("queued"), town.counted("not contacted")), (3, 1));

    // The log tells the sender of it.
    let changes = town.store.changes(Position::START, 100).await.unwrap();
    let told = changes.iter().filter(|change| change.kind == crate::OUTGOING);
    let told: Vec<usize> = told.map(|change| crate::destinations_of(&change.payload).len()).collect();
    assert_eq!(told, [2, 1]);

    for (delivered, is_new) in [(&units[..1], true), (&units[..1], false), (&units[1..], true)] {
        let mut batch = Batch::new();
        town.to_device.put_delivered(&mut batch, ours(), wajima(), delivered);
        assert_eq!(town.store.commit(batch).await.is_ok(), is_new, "once");
    }
    let mut batch = Batch::new();
    ToDevice::put_forgotten(&mut batch, ours(), suzu);
    town.store.commit(batch).await.unwrap();
    assert_eq!(town.to_device.due().await.unwrap(), []);
    assert!(town.store.scan(&OUTBOX_USE, Range::all(), Order::Ascending, 9).await.unwrap().is_empty());
}

#[tokio::test]
async fn of_names_that_nobody_knows_a_user_has_few_tried_and_loses_nothing_else() {
    let town = town().await;
    let names: Vec<String> = (0..2_500).map(|number| format!("@x:invented{number}.test/A")).collect();
    let mut all: Vec<&str> = names.iter().map(String::as_str).collect();
    all.push("@jiro:wajima.test/A");
    town.send("1", &to(&all, "一")).await.unwrap();
    assert_eq!(town.to_device.due().await.unwrap().len(), 2_001);
    assert_eq!((town.counted("queued"), town.counted("not contacted")), (2_001, 500));
    assert_eq!(town.to_device.units(ours(), wajima(), Position::START, 9).await.unwrap().len(), 1);
}

#[tokio::test]
async fn beyond_the_bound_of_an_outbox_the_newest_is_not_kept() {
    let town = town().await;
    let mut batch = Batch::new();
    batch.add(&OUTBOX_USE, &(ours().as_str(), wajima().as_str(), COUNT), 49_999);
    town.store.commit(batch).await.unwrap();
    for txn in ["1", "2"] {
        town.send(txn, &to(&["@jiro:wajima.test/A", "@x:suzu.test/A"], "一")).await.unwrap();
    }
    assert_eq!(town.to_device.units(ours(), wajima(), Position::START, 9).await.unwrap().len(), 1);
    assert_eq!((town.counted("queued"), town.counted("outbox full")), (3, 1));
}

#[tokio::test]
async fn a_unit_is_taken_once_however_often_it_comes_and_after_a_restart() {
    let disk = MemoryDisk::default();
    let town = with_taro_on(&disk).await;
    let twice = || {
        vec![
            unit("@jiro:wajima.test", "a", &["taro/DESK"], "一"),
            unit("@jiro:wajima.test", "a", &["taro/DESK"], "一"),
        ]
    };
    let outcomes = town.to_device.receive(wajima(), ours(), &twice()).await.unwrap();
    assert_eq!(outcomes, [Outcome::Taken, Outcome::Duplicate]);
    town.store.close().await.unwrap();
    let town = town_on(&disk).await;
    let outcomes = town.to_device.receive(wajima(), ours(), &twice()).await.unwrap();
    assert_eq!(outcomes, [Outcome::Duplicate, Outcome::Duplicate]);
    // Of another server, or for another authority, it is another one.
    let other = [unit("@x:suzu.test", "a", &["taro/DESK"], "二")];
    town.to_device.receive(server_name!("suzu.test"), ours(), &other).await.unwrap();
    let nanao = server_name!("nanao.test");
    let units = [unit("@jiro:wajima.test", "a", &["@saburo:nanao.test/DESK"], "三")];
    assert_eq!(town.to_device.receive(wajima(), nanao, &units).await.unwrap(), [Outcome::Taken]);
    assert_eq!(town.told("taro", "DESK", Position::START).await.0, ["一", "二"]);
    assert_eq!(town.told("@saburo:nanao.test", "DESK", Position::START).await.0, ["三"]);
}

#[tokio::test]
async fn what_is_wrong_with_a_unit_costs_no_other() {
    let town = with_taro().await;
    let mut odd =
        unit("@jiro:wajima.test", "odd", &["taro/DESK", "@saburo:nanao.test/DESK", "@far:away.test/A"], "二");
    let list = serde_json::value::RawValue::from_string("[1]".to_owned()).unwrap();
    odd.messages.get_mut(&user("taro")).unwrap().insert("X".to_owned(), list);
    let units = [
        unit("@jiro:suzu.test", "a", &["taro/DESK"], "in another's name"),
        unit("taro", "b", &["taro/DESK"], "in our name"),
        unit("@jiro:wajima.test", "", &["taro/DESK"], "without a name"),
        unit("@jiro:wajima.test", &"x".repeat(256), &["taro/DESK"], "with a long one"),
        unit("@jiro:wajima.test", "c", &["taro/GONE"], "for nobody"),
        unit("@jiro:wajima.test", "d", &["taro/*"], "一"),
        odd,
    ];
    let outcomes = town.to_device.receive(wajima(), ours(), &units).await.unwrap();
    use Outcome::{Refused, Taken};
    assert_eq!(outcomes, [Refused, Refused, Refused, Refused, Taken, Taken, Taken]);
    assert_eq!(town.told("taro", "DESK", Position::START).await.0, ["一", "二"]);
    assert_eq!(town.told("@saburo:nanao.test", "DESK", Position::START).await.0, Vec::<String>::new());
    assert_eq!(town.counted("left out"), 3);
    assert_eq!(town.store.scan(&TAKEN, Range::all(), Order::Ascending, 9).await.unwrap().len(), 2);
}

#[tokio::test]
async fn names_of_units_are_forgotten_with_time_and_beyond_their_bound() {
    let town = with_taro().await;
    let receive = async |name: &str| {
        let units = [unit("@jiro:wajima.test", name, &["taro/DESK"], name)];
        town.to_device.receive(wajima(), ours(), &units).await.unwrap()[0]
    };
    for name in ["a", "b", "c"] {
        assert_eq!(receive(name).await, Outcome::Taken);
    }
    let rows = town.store.scan(&TAKEN_ORDER, Range::all(), Order::Ascending, 9).await.unwrap();
    assert_eq!(town.to_device.forget(0, rows[0].1.at).await.unwrap(), 0);
    assert_eq!(town.to_device.forget(0, rows[0].1.at + 1).await.unwrap(), 3);
    assert_eq!(receive("a").await, Outcome::Taken, "it is new again");
    let mut batch = Batch::new();
    batch.add(&TAKEN_USE, wajima().as_str(), 50_000 - 1);
    town.store.commit(batch).await.unwrap();
    assert_eq!(receive("d").await, Outcome::Taken);
    assert_eq!(receive("d").await, Outcome::Duplicate, "the newest is known");
    assert_eq!(
        town.store.scan(&TAKEN, Range::all(), Order::Ascending, 9).await.unwrap().len(),
        1,
        "a is not"
    );
}
