//! Messages between devices of ours.

use account::Actor;
use store::{Batch, MemoryDisk, Order, Position, Range};

use super::{to, town, town_on, user};
use crate::{
    Error, Messages,
    inbox::PAGE,
    shares::{MOST_WAITING, MOST_WAITING_BYTES},
    tables::{BYTES, COUNT, INBOX, INBOX_USE, SERVED},
};

#[tokio::test]
async fn a_message_waits_until_its_device_says_that_it_has_it() {
    let town = town().await;
    town.sign_up("taro").await;
    town.log_in("taro", "DESK").await;
    let (nothing, start) = town.told("taro", "DESK", Position::START).await;
    assert!(nothing.is_empty());
    town.send("1", &to(&["taro/DESK"], "一")).await.unwrap();
    town.send("2", &to(&["taro/DESK"], "二")).await.unwrap();
    let (page, place) = town.news("taro", "DESK", start).await;
    assert_eq!(
        (page.messages[0].sender.as_str(), page.messages[0].kind.as_str()),
        (user("hanako").as_str(), "test")
    );
    assert_eq!(town.told("taro", "DESK", start).await, (vec!["一".to_owned(), "二".to_owned()], place));
    assert_eq!(town.told("taro", "DESK", place).await.0, Vec::<String>::new());
    assert_eq!(town.told("taro", "DESK", start).await.0, Vec::<String>::new(), "it said that it has them");
    for table in [COUNT, BYTES] {
        let key = (user("taro").to_string(), "DESK".to_owned(), table);
        assert_eq!(town.store.get(&INBOX_USE, &key).await.unwrap(), None, "nothing is counted");
    }
}

#[tokio::test]
async fn a_request_is_served_once_also_after_a_restart_and_by_each_device_and_type_for_itself() {
    let disk = MemoryDisk::default();
    let town = town_on(&disk).await;
    town.sign_up("taro").await;
    town.log_in("taro", "DESK").await;
    for text in ["一", "もう一度"] {
        town.send("1", &to(&["taro/DESK"], text)).await.unwrap();
    }
    town.store.close().await.unwrap();
    let town = town_on(&disk).await;
    town.send("1", &to(&["taro/DESK"], "再起動")).await.unwrap();
    let both = to(&["taro/DESK"], "二");
    let (hanako, messages) = (user("hanako"), &both);
    for (device, kind) in [("PHONE", "other"), ("TABLET", "test")] {
        let (user, device) = (&*hanako, device.into());
        town.to_device.send(crate::Sending { user, device, kind, txn: "1", messages }).await.unwrap();
    }
    assert_eq!(town.told("taro", "DESK", Position::START).await.0, ["一", "二", "二"]);
}

#[tokio::test]
async fn the_same_request_many_times_at_once_is_served_once() {
    let town = town().await;
    town.sign_up("taro").await;
    town.log_in("taro", "DESK").await;
    let messages = to(&["taro/DESK"], "一");
    let (town, messages) = (&town, &messages);
    let sending = (0..20).map(|_| async move { town.send("1", messages).await.unwrap() });
    let mut all = Vec::new();
    for one in sending {
        all.push(Box::pin(one));
    }
    // All begin before any is at its end.
    futures(all).await;
    assert_eq!(town.told("taro", "DESK", Position::START).await.0, ["一"]);
}

/// Drives all of these together.
async fn futures(mut all: Vec<std::pin::Pin<Box<impl Future<Output = ()>>>>) {
    std::future::poll_fn(|context| {
        all.retain_mut(|one| one.as_mut().poll(context).is_pending());
        if all.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
}

#[tokio::test]
async fn a_star_reaches_all_devices_of_a_user_and_who_is_named_gets_what_is_for_him() {
    let town = town().await;
    for name in ["taro", "jiro"] {
        town.sign_up(name).await;
        town.log_in(name, "A").await;
        town.log_in(name, "B").await;
    }
    let mut messages = to(&["taro/*", "jiro/B", "jiro/GONE", "nobody/*", "nobody/A", "taro/"], "皆");
    messages.extend(to(&["saburo/*"], "皆"));
    messages.get_mut(&user("taro")).unwrap().insert("B".to_owned(), super::content("乙"));
    town.send("1", &messages).await.unwrap();
    for (name, device, texts) in [
        ("taro", "A", vec!["皆"]),
        ("taro", "B", vec!["乙"]),
        ("jiro", "A", vec![]),
        ("jiro", "B", vec!["皆"]),
    ] {
        assert_eq!(town.told(name, device, Position::START).await.0, texts, "{name} {device}");
    }
    let rows = town.store.scan(&INBOX, Range::all(), Order::Ascending, 100).await.unwrap();
    assert_eq!(rows.len(), 3, "nothing is kept for who is not there");
    // All of one's own devices as well, also the one that sends.
    town.sign_up("hanako").await;
    town.log_in("hanako", "PHONE").await;
    town.send("2", &to(&["hanako/*"], "自")).await.unwrap();
    assert_eq!(town.told("hanako", "PHONE", Position::START).await.0, ["自"]);
}

#[tokio::test]
async fn many_messages_come_in_pages_and_in_their_order() {
    let town = town().await;
    town.sign_up("taro").await;
    town.log_in("taro", "DESK").await;
    let all: Vec<String> = (0..2 * PAGE + 50).map(|number| number.to_string()).collect();
    for text in &all {
        town.send(text, &to(&["taro/DESK"], text)).await.unwrap();
    }
    let (mut place, mut told) = (Position::START, Vec::new());
    for part in [PAGE, PAGE, 50, 0] {
        let (texts, next) = town.told("taro", "DESK", place).await;
        assert_eq!(texts.len(), part);
        told.extend(texts);
        place = next;
    }
    assert_eq!(told, all);
    let large = "x".repeat(60_000);
    for number in 0..40 {
        town.send(&format!("large {number}"), &to(&["taro/DESK"], &large)).await.unwrap();
    }
    let (texts, _) = town.told("taro", "DESK", place).await;
    assert_eq!(texts.len(), 17, "as many as a page has room for");
}

#[tokio::test]
async fn what_waits_for_a_device_goes_with_it_and_meets_no_other_of_its_name() {
    let town = town().await;
    town.sign_up("taro").await;
    town.log_in("taro", "DESK").await;
    town.log_in("taro", "PHONE").await;
    town.send("1", &to(&["taro/*"], "一")).await.unwrap();
    town.log_out("taro", "DESK").await;
    town.send("2", &to(&["taro/*"], "二")).await.unwrap();
    town.log_in("taro", "DESK").await;
    town.send("3", &to(&["taro/*"], "三")).await.unwrap();
    assert_eq!(town.told("taro", "DESK", Position::START).await.0, ["三"]);
    assert_eq!(town.told("taro", "PHONE", Position::START).await.0, ["一", "二", "三"]);
    town.accounts.close_account(&user("taro"), &Actor::operator("test")).await.unwrap();
    assert!(town.store.scan(&INBOX, Range::all(), Order::Ascending, 100).await.unwrap().is_empty());
    assert!(town.store.scan(&INBOX_USE, Range::all(), Order::Ascending, 100).await.unwrap().is_empty());
}

#[tokio::test]
async fn nothing_is_kept_for_a_device_that_ends_while_it_is_sent_to() {
    let town = town().await;
    town.sign_up("taro").await;
    town.log_in("taro", "DESK").await;
    let taro = user("taro");
    let standing = town.accounts.standing(&[(&taro, "DESK".into())]).await.unwrap().pop().flatten().unwrap();
    town.log_out("taro", "DESK").await;
    let mut batch = Batch::new();
    standing.require(&mut batch);
    assert!(town.store.commit(batch).await.is_err(), "that it is gone is noticed");
    town.log_in("taro", "DESK").await;
    let messages = to(&["taro/DESK"], "一");
    let (sent, ()) = tokio::join!(town.send("1", &messages), town.log_out("taro", "DESK"));
    sent.unwrap();
    assert!(town.store.scan(&INBOX, Range::all(), Order::Ascending, 100).await.unwrap().is_empty());
}

#[tokio::test]
async fn beyond_the_bound_the_newest_is_not_kept_and_the_sender_reaches_the_others() {
    for (what, most) in [(COUNT, MOST_WAITING), (BYTES, MOST_WAITING_BYTES)] {
        let town = town().await;
        town.sign_up("taro").await;
        town.log_in("taro", "FULL").await;
        town.log_in("taro", "PHONE").await;
        town.send("1", &to(&["taro/*"], "一")).await.unwrap();
        let key = (user("taro").to_string(), "FULL".to_owned(), what);
        let used = town.store.get(&INBOX_USE, &key).await.unwrap().unwrap().0;
        let mut batch = Batch::new();
        batch.add(&INBOX_USE, &key, most - used);
        town.store.commit(batch).await.unwrap();
        town.send("2", &to(&["taro/*"], "二")).await.unwrap();
        assert_eq!(town.told("taro", "FULL", Position::START).await.0, ["一"]);
        assert_eq!(town.told("taro", "PHONE", Position::START).await.0, ["一", "二"]);
        assert_eq!((town.counted("stored"), town.counted("full")), (3, 1));
    }
}

#[tokio::test]
async fn what_is_no_message_is_refused_whole() {
    let town = town().await;
    town.sign_up("taro").await;
    town.log_in("taro", "DESK").await;
    let with = |json: String| {
        let mut messages = to(&["taro/DESK"], "一");
        let bad = serde_json::value::RawValue::from_string(json).unwrap();
        messages.get_mut(&user("taro")).unwrap().insert("X".to_owned(), bad);
        messages
    };
    for json in ["[]".to_owned(), "3".to_owned(), format!("{}1{}", "{\"a\":".repeat(101), "}".repeat(101))] {
        assert!(matches!(town.send("1", &with(json)).await, Err(Error::BadMessage(_))));
    }
    let large = format!("{{\"a\":\"{}\"}}", "x".repeat(64 * 1024));
    assert!(matches!(town.send("1", &with(large)).await, Err(Error::TooLarge(_))));
    assert!(matches!(town.send(&"x".repeat(256), &Messages::new()).await, Err(Error::InvalidParam(_))));
    // Only what goes to other servers has to be canonical JSON.
    let fraction = with("{\"a\":1.5}".to_owned());
    town.send("2", &fraction).await.unwrap();
    let elsewhere = [(user("@x:wajima.test"), fraction[&user("taro")].clone())].into();
    assert!(matches!(town.send("3", &elsewhere).await, Err(Error::BadMessage(_))));
    assert_eq!(town.told("taro", "DESK", Position::START).await.0, ["一"]);
}

#[tokio::test]
async fn what_was_served_is_forgotten_after_a_while() {
    let town = town().await;
    town.sign_up("taro").await;
    town.log_in("taro", "DESK").await;
    town.send("0", &to(&["taro/GONE"], "nothing is kept of it")).await.unwrap();
    let messages = to(&["taro/DESK"], "一");
    town.send("1", &messages).await.unwrap();
    let before = town.store.scan(&SERVED, Range::all(), Order::Ascending, 9).await.unwrap();
    assert_eq!(town.to_device.forget(before[0].1, 0).await.unwrap(), 0);
    assert_eq!(town.to_device.forget(before[0].1 + 1, 0).await.unwrap(), 1);
    assert!(town.store.scan(&SERVED, Range::all(), Order::Ascending, 9).await.unwrap().is_empty());
    // By itself as well.
    town.send("1", &messages).await.unwrap();
    while !town.store.scan(&SERVED, Range::all(), Order::Ascending, 9).await.unwrap().is_empty() {
        town.clock.advance(std::time::Duration::from_secs(7 * 60 * 60));
        tokio::task::yield_now().await;
    }
}

#[test]
fn inboxes_that_are_empty_are_charged_what_they_take() {
    let metrics = base::Metrics::new();
    let (cache, in_use) = meter::kept(|| {
        let cache = crate::to_device::quiet(&metrics, base::ByteSize::mib(8));
        for n in 0..2_000_u64 {
            let key = (user(&format!("shokuin{n}")), ruma::OwnedDeviceId::from("ABCDEFGHIJ"));
            cache.insert(key, std::sync::Arc::new(store::UpTo::new(Position(n))));
        }
        cache
    });
    meter::assert_charged("quiet inboxes", cache.bytes(), in_use);
}
