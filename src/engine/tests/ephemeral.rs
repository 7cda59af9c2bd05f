//! Receipts and typing.

use std::time::Duration;

use room::{Error, read::view::Viewer};
use ruma::UserId;
use serde_json::Value;

use super::{
    net::{Net, message, user},
    reading::relate,
    receipts::receipts,
};

#[tokio::test]
async fn receipts_and_typing_of_other_servers_count_only_for_their_own_members() {
    use room::read::receipts::{NewReceipt, ReceiptKind};
    let net = Net::default();
    let (a, b) = (net.server(&["a.test"]).await, net.server(&["b.test"]).await);
    let (hanako, taro) = (user("@hanako:a.test"), user("@taro:b.test"));
    let room = a.public_room(&hanako).await;
    b.join(&taro, &room, "a.test").await.unwrap();
    let event = a.say(&hanako, &room, "一").await;
    let receipt = |who: &UserId| NewReceipt {
        user_id: who.to_owned(),
        kind: ReceiptKind::Public,
        thread: None,
        event_id: event.clone(),
        ts: 5,
    };
    let origin = taro.server_name();
    let all = vec![receipt(&hanako), receipt(&taro), receipt(&user("@other:b.test"))];
    a.rooms.receive_receipts(origin, &room, all).await.unwrap();
    let serial = a.rooms.room(&room).await.unwrap().unwrap().serial;
    let noted = receipts(&a, &hanako, &room, Default::default()).await;
    assert_eq!(noted.iter().map(|receipt| &receipt.user_id).collect::<Vec<_>>(), [&taro]);

    for who in [&hanako, &taro, &user("@other:b.test")] {
        a.rooms.receive_typing(origin, &room, who, true).await.unwrap();
    }
    assert_eq!(a.rooms.typing_in(serial), std::slice::from_ref(&taro));
    assert!(a.rooms.typing_changes_since(Default::default()).is_empty(), "not ours to tell others");
    a.rooms.set_typing(&hanako, &room, Some(Duration::from_secs(9))).await.unwrap();
    let changes = a.rooms.typing_changes_since(Default::default());
    assert_eq!((changes.len(), changes[0].typing, &changes[0].user_id), (1, true, &hanako));
    assert!(a.rooms.typing_changes_since(changes[0].position).is_empty());
}

#[tokio::test]
async fn a_transaction_id_is_shown_to_the_device_that_sent_it() {
    let server = Net::default().server(&["a.test"]).await;
    let hanako = user("@hanako:a.test");
    let room = server.public_room(&hanako).await;
    let txn = crate::Txn { device: "PHONE".into(), id: "m1".into() };
    let event = server.engine.send(&room, message(&hanako, "一"), Some(&txn)).await.unwrap();
    for (device, shown) in [("PHONE", true), ("DESKTOP", false)] {
        let device = ruma::OwnedDeviceId::from(device);
        let viewer = Viewer { device: Some(&device), ..Viewer::user(&hanako) };
        let look = server.rooms.event_for(&viewer, &room, &event).await.unwrap();
        let json: Value = serde_json::from_str(look.to_json(base::Timestamp(0)).get()).unwrap();
        assert_eq!(json["unsigned"].get("transaction_id").is_some(), shown);
        assert_eq!(json["room_id"], room.as_str());
    }
}

#[tokio::test]
async fn of_many_receipts_at_once_by_one_user_none_is_given_up_and_the_newest_stays() {
    use room::read::receipts::ReceiptKind::Public;
    let net = Net::default();
    let (a, hanako) = (net.server(&["a.test"]).await, user("@hanako:a.test"));
    let room = a.public_room(&hanako).await;
    let mut events = Vec::new();
    // More than a few, and so few that they are asked in their order, each time: the oldest wins first.
    for number in 0..30 {
        events.push(a.say(&hanako, &room, &number.to_string()).await);
    }

    let set = events.iter().map(|event| a.rooms.set_receipt(&hanako, &room, Public, None, event));
    futures_util::future::try_join_all(set).await.unwrap();

    let serial = a.rooms.room(&room).await.unwrap().unwrap().serial;
    let receipt = a.rooms.receipt(serial, &hanako, Public, None).await.unwrap().unwrap();
    assert_eq!(Some(&receipt.event_id), events.last());
}

#[tokio::test]
async fn a_receipt_for_an_event_that_nobody_knows_is_refused_and_moves_nothing_back() {
    use room::read::receipts::{NewReceipt, ReceiptKind::Public};
    let net = Net::default();
    let (a, b) = (net.server(&["a.test"]).await, net.server(&["b.test"]).await);
    let (hanako, taro) = (user("@hanako:a.test"), user("@taro:b.test"));
    let room = a.public_room(&hanako).await;
    b.join(&taro, &room, "a.test").await.unwrap();
    let (old, new) = (a.say(&hanako, &room, "一").await, a.say(&hanako, &room, "二").await);
    let unknown = ruma::EventId::parse("$unknown").unwrap();
    let other = a.public_room(&hanako).await;
    let elsewhere = a.say(&hanako, &other, "他").await;
    a.rooms.set_receipt(&hanako, &room, Public, None, &new).await.unwrap();
    for event in [&unknown, &elsewhere] {
        let refused = a.rooms.set_receipt(&hanako, &room, Public, None, event).await;
        assert!(matches!(refused, Err(Error::NoEvent(_))), "{refused:?}");
    }
    a.rooms.set_receipt(&hanako, &room, Public, None, &old).await.unwrap();
    let serial = a.rooms.room(&room).await.unwrap().unwrap().serial;
    let at = async |who: &UserId| a.rooms.receipt(serial, who, Public, None).await.unwrap().unwrap().event_id;
    assert_eq!(at(&hanako).await, new);

    // What another server says of events that we lack is told apart by when it was read.
    let receive = async |event: &ruma::EventId, ts: u64| {
        let receipt =
            NewReceipt { user_id: taro.clone(), kind: Public, thread: None, event_id: event.to_owned(), ts };
        a.rooms.receive_receipts(taro.server_name(), &room, vec![receipt]).await.unwrap();
    };
    receive(&unknown, 5).await;
    receive(&old, 4).await;
    assert_eq!(at(&taro).await, unknown);
    receive(&new, 6).await;
    assert_eq!(at(&taro).await, new);
    receive(&unknown, 5).await;
    assert_eq!(at(&taro).await, new);
}

#[tokio::test]
async fn receipts_of_another_server_are_bounded_in_length_and_number() {
    use room::read::receipts::{NewReceipt, ReceiptKind::Public};
    let net = Net::default();
    let (a, b) = (net.server(&["a.test"]).await, net.server(&["b.test"]).await);
    let (hanako, taro) = (user("@hanako:a.test"), user("@taro:b.test"));
    let room = a.public_room(&hanako).await;
    b.join(&taro, &room, "a.test").await.unwrap();
    let event = a.say(&hanako, &room, "一").await;
    let receive = async |threads: Vec<String>| {
        let receipt = |(ts, thread): (usize, String)| NewReceipt {
            user_id: taro.clone(),
            kind: Public,
            thread: Some(thread),
            event_id: event.clone(),
            ts: ts as u64,
        };
        let all = threads.into_iter().enumerate().map(receipt).collect();
        a.rooms.receive_receipts(taro.server_name(), &room, all).await.unwrap();
        receipts(&a, &hanako, &room, Default::default()).await
    };
    let long = format!("${}", "x".repeat(255));
    assert!(receive(vec!["x".to_owned(), "mainly".to_owned(), String::new(), long]).await.is_empty());
    assert_eq!(receive(vec!["main".to_owned()]).await.len(), 1);
    for part in 0..10 {
        receive((0..30).map(|number| format!("$thread{part}x{number}")).collect()).await;
    }
    let kept = receive(vec!["$last".to_owned()]).await;
    assert!(kept.len() <= 100, "{}", kept.len());
    let threads: Vec<_> = kept.iter().filter_map(|receipt| receipt.thread.as_deref()).collect();
    assert!(threads.contains(&"main") && threads.contains(&"$last"), "{threads:?}");
    assert!(!threads.contains(&"$thread0x0"), "the oldest are gone");
    let kept = receive((0..200).map(|number| format!("$many{number}")).collect()).await;
    let threads: Vec<_> = kept.iter().filter_map(|receipt| receipt.thread.as_deref()).collect();
    assert_eq!(threads.len(), 64 + 1, "those of a single unit as well");
    assert!(threads.contains(&"main") && threads.contains(&"$many199") && threads.contains(&"$many136"));
}

#[tokio::test]
async fn receipts_that_others_keep_to_themselves_take_no_place_among_those_that_are_told() {
    use room::read::receipts::{NewReceipt, ReceiptKind};
    let server = Net::default().server(&["a.test"]).await;
    let hanako = user("@hanako:a.test");
    let room = server.public_room(&hanako).await;
    let event = server.say(&hanako, &room, "一").await;
    let info = server.rooms.room(&room).await.unwrap().unwrap();
    let receipt = |user_id, kind| NewReceipt { user_id, kind, thread: None, event_id: event.clone(), ts: 5 };
    let open = receipt(user("@open:a.test"), ReceiptKind::Public);
    server.rooms.note_receipts(&info, &[open], false).await.unwrap();
    let hidden: Vec<_> =
        (0..2_001).map(|number| receipt(user(&format!("@u{number}:a.test")), ReceiptKind::Private)).collect();
    for some in hidden.chunks(500) {
        server.rooms.note_receipts(&info, some, false).await.unwrap();
    }

    let told = receipts(&server, &hanako, &room, Default::default()).await;
    let users: Vec<_> = told.iter().map(|receipt| receipt.user_id.as_str()).collect();
    assert_eq!(users, ["@open:a.test"]);
}

#[tokio::test]
async fn typing_of_one_who_hangs_up_before_the_answer_is_told_once_and_to_all() {
    let server = Net::default().server(&["a.test"]).await;
    let hanako = user("@hanako:a.test");
    let room = server.public_room(&hanako).await;
    let serial = server.rooms.room(&room).await.unwrap().unwrap().serial;
    let mut request = Box::pin(server.rooms.set_typing(&hanako, &room, Some(Duration::from_secs(30))));
    // So far that it is being told; it is in effect once it is heard.
    loop {
        let is_done = std::future::poll_fn(|cx| std::task::Poll::Ready(request.as_mut().poll(cx).is_ready()));
        assert!(!is_done.await, "it is to be dropped on its way");
        if server.engine.rooms().is_telling_typing() {
            break;
        }
        tokio::task::yield_now().await;
    }
    drop(request);

    for _ in 0..100_000 {
        if !server.rooms.typing_changes_since(Default::default()).is_empty() {
            break;
        }
        tokio::task::yield_now().await;
    }
    let changes = server.rooms.typing_changes_since(Default::default());
    assert_eq!(changes.iter().map(|change| &change.user_id).collect::<Vec<_>>(), [&hanako]);
    assert_eq!(server.rooms.typing_since(serial, changes[0].position), None);
}

#[tokio::test]
async fn of_others_the_newest_two_thousand_receipts_of_a_room_are_told_and_of_the_user_himself_all() {
    use room::read::receipts::{NewReceipt, ReceiptKind::Public};
    const USERS: usize = 33;
    const THREADS: usize = 61;
    let net = Net::default();
    let (a, b) = (net.server(&["a.test"]).await, net.server(&["b.test"]).await);
    let hanako = user("@hanako:a.test");
    let room = a.public_room(&hanako).await;
    let event = a.say(&hanako, &room, "一").await;
    // Older than all others.
    a.rooms.set_receipt(&hanako, &room, Public, Some("main"), &event).await.unwrap();
    let users: Vec<_> = (0..USERS).map(|number| user(&format!("@u{number}:b.test"))).collect();
    for who in &users {
        b.join(who, &room, "a.test").await.unwrap();
    }
    b.deliver(&a).await;
    a.settled().await;
    for who in &users {
        let receipt = |thread| NewReceipt {
            user_id: who.clone(),
            kind: Public,
            thread: Some(format!("$thread{thread}")),
            event_id: event.clone(),
            ts: 5,
        };
        let receipts = (0..THREADS).map(receipt).collect();
        a.rooms.receive_receipts(who.server_name(), &room, receipts).await.unwrap();
    }
    let told = async |after| receipts(&a, &hanako, &room, after).await;

    let all = told(Default::default()).await;
    let (own, others): (Vec<_>, Vec<_>) = all.iter().partition(|receipt| receipt.user_id == hanako);
    assert_eq!((own.len(), others.len()), (1, 2_000));
    let of = |number: usize| others.iter().filter(|receipt| receipt.user_id == users[number]).count();
    let left_out = USERS * THREADS - 2_000;
    assert_eq!(
        [of(0), of(1), of(USERS - 1)],
        [THREADS - left_out, THREADS, THREADS],
        "the oldest are left out"
    );
    let newest = others.iter().map(|receipt| receipt.position).max().unwrap();
    assert!(told(newest).await.is_empty(), "nothing is told again");
}

#[tokio::test]
async fn a_hundred_are_shown_typing_in_a_room_and_who_comes_later_when_one_of_them_ceases() {
    let server = Net::default().server(&["a.test"]).await;
    let room = server.public_room(&user("@owner:a.test")).await;
    let serial = server.rooms.room(&room).await.unwrap().unwrap().serial;
    let users: Vec<_> = (0..101).map(|number| user(&format!("@u{number}:a.test"))).collect();
    let long = Some(Duration::from_secs(30));
    for who in &users {
        server.join(who, &room, "a.test").await.unwrap();
        server.rooms.set_typing(who, &room, long).await.unwrap();
    }
    let (first, last) = (&users[0], &users[100]);
    let shown = server.rooms.typing_in(serial);
    assert_eq!((shown.len(), shown.contains(last)), (100, false));

    server.rooms.set_typing(first, &room, None).await.unwrap();
    server.rooms.set_typing(last, &room, long).await.unwrap();
    let shown = server.rooms.typing_in(serial);
    assert_eq!((shown.len(), shown.contains(first), shown.contains(last)), (100, false, true));
}

#[tokio::test]
async fn nobody_types_in_a_room_that_he_is_out_of() {
    for step in ["leave", "kick", "ban"] {
        let net = Net::default();
        let (a, b) = (net.server(&["a.test"]).await, net.server(&["b.test"]).await);
        let (hanako, taro, jiro) = (user("@hanako:a.test"), user("@taro:b.test"), user("@jiro:a.test"));
        let room = a.public_room(&hanako).await;
        b.join(&taro, &room, "a.test").await.unwrap();
        a.join(&jiro, &room, "a.test").await.unwrap();
        a.rooms.receive_typing(taro.server_name(), &room, &taro, true).await.unwrap();
        a.rooms.set_typing(&jiro, &room, Some(Duration::from_secs(30))).await.unwrap();
        let serial = a.rooms.room(&room).await.unwrap().unwrap().serial;
        assert_eq!(a.rooms.typing_in(serial).len(), 2);
        let since = a.store.head();
        for who in [&taro, &jiro] {
            match step {
                "kick" => a.engine.kick(&hanako, &room, who, None).await.unwrap(),
                "ban" => a.engine.ban(&hanako, &room, who, None).await.unwrap(),
                _ if who == &jiro => a.engine.leave(&jiro, &room, None).await.unwrap(),
                _ => {
                    b.engine.leave(&taro, &room, None).await.unwrap();
                    b.deliver(&a).await;
                    a.settled().await;
                }
            }
        }
        assert!(a.rooms.typing_in(serial).is_empty(), "{step}");
        assert_eq!(a.rooms.typing_since(serial, since), Some(Vec::new()), "{step}: clients hear of it");
    }
}

#[tokio::test]
async fn a_receipt_of_a_thread_names_an_event_of_that_thread() {
    use room::read::receipts::ReceiptKind::Public;
    let server = Net::default().server(&["a.test"]).await;
    let hanako = user("@hanako:a.test");
    let room = server.public_room(&hanako).await;
    let root = server.say(&hanako, &room, "題").await;
    let beside = server.say(&hanako, &room, "別").await;
    let answer = relate(&server, &hanako, &room, ("m.thread", root.as_str()), "答").await;
    let edit = relate(&server, &hanako, &room, ("m.replace", &answer), "答え").await;
    let (root, beside) = (root.as_str(), beside.as_str());
    for (event, thread, is_right) in [
        (root, "main", true),
        (beside, "main", true),
        (answer.as_str(), "main", false),
        (edit.as_str(), "main", false),
        (root, root, true),
        (answer.as_str(), root, true),
        (edit.as_str(), root, true),
        (beside, root, false),
        (beside, "$nobody_knows_it", false),
    ] {
        let id = <&ruma::EventId>::try_from(event).unwrap();
        let set = server.rooms.set_receipt(&hanako, &room, Public, Some(thread), id).await;
        assert_eq!(set.is_ok(), is_right, "{event} in {thread}");
    }
}
