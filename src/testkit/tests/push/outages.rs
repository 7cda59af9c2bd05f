//! Gateways that fail in the ways that were met elsewhere: for hours, at peaks, for one host, with a proxy's page.

use std::collections::BTreeMap;

use testkit::Log;

use super::*;

/// How often a gateway had this outcome, as operators see it.
fn outcomes(server: &Server, gateway: &Gateway, outcome: &str) -> u64 {
    let shown = server.look(|house| house.metrics.render());
    let line = format!("gateway=\"http://{}\",outcome=\"{outcome}\"", gateway.address);
    let found =
        shown.lines().find(|shown| shown.starts_with("yakuba_push_notifications") && shown.contains(&line));
    found.map_or(0, |line| line.rsplit_once(' ').unwrap().1.parse().unwrap())
}

#[tokio::test]
async fn a_gateway_without_a_subscriber_is_asked_for_hours_and_its_rejection_counts_at_once() {
    let (net, server) = net().await;
    let (hanako, taro, room) = two(&server).await;
    let gateway = Gateway::new().await;
    gateway.will(Conduct::Fails(507));
    set(&taro, &pusher("k1", &gateway.url())).await;
    hanako.send(&room, "一").await;
    for _ in 0..30 {
        let before = gateway.heard().requests;
        gateway.later(&net, |heard| heard.requests > before).await;
        assert_eq!(keys(&taro).await, ["k1"]);
    }
    gateway.will(Conduct::Rejects("k1"));
    gateway.later(&net, |heard| heard.taken.len() == 1).await;
    let gone = async {
        while !keys(&taro).await.is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.unwrap();
}

#[tokio::test]
async fn what_a_gateway_does_not_take_at_its_peak_is_told_later_in_its_order_and_counted() {
    let (net, server) = net().await;
    let (hanako, taro) = (server.user("hanako").await, server.user("taro").await);
    let gateway = Gateway::new().await;
    gateway.will(Conduct::Fails(429));
    set(&taro, &pusher("k1", &gateway.url())).await;
    let mut sent = Vec::new();
    for _ in 0..4 {
        let room = room_of(&hanako, &[&taro]).await;
        sent.push(hanako.send(&room, "朝").await);
    }
    gateway.later(&net, |heard| heard.requests >= 3).await;
    gateway.will(Conduct::Takes);
    let told = gateway.later(&net, |heard| heard.taken.len() >= sent.len()).await.taken;
    let told: Vec<&str> = told.iter().filter_map(|told| told["event_id"].as_str()).collect();
    assert_eq!(told, sent.iter().map(|event| event.as_str()).collect::<Vec<_>>());
    // An answer is counted a moment after it was given; time may have passed for one that was on its way.
    let counted = async {
        let count = |outcomes_of: &[&str]| -> u64 {
            outcomes_of.iter().map(|outcome| outcomes(&server, &gateway, outcome)).sum()
        };
        loop {
            let heard = gateway.heard();
            let refused = u64::try_from(heard.requests - heard.taken.len()).unwrap();
            if count(&["failed"]) > 0
                && count(&["failed", "late"]) == refused
                && count(&["taken"]) == u64::try_from(heard.taken.len()).unwrap()
            {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, counted).await.unwrap();
}

#[tokio::test]
async fn a_host_that_lets_nobody_in_delays_no_other_and_is_named_to_the_operator() {
    const USERS: usize = 6;
    let (net, server) = net().await;
    let hanako = server.user("hanako").await;
    let (closed, open) = (Gateway::new().await, Gateway::new().await);
    closed.will(Conduct::Hangs);
    let room = hanako.create_room(Preset::PublicChat).await;
    for number in 0..USERS {
        let user = server.user(&format!("user{number}")).await;
        user.join(&room, "kanazawa.test").await;
        let gateway = if number % 2 == 0 { &closed } else { &open };
        set(&user, &pusher(&format!("k{number}"), &gateway.url())).await;
    }
    for number in 1..=3 {
        hanako.send(&room, "一").await;
        open.taken(number * USERS / 2).await;
    }
    while outcomes(&server, &closed, "late") + outcomes(&server, &closed, "unreached") < 3 {
        net.advance(Duration::from_secs(16));
        tokio::time::sleep(MOMENT / 10).await;
    }
    let others = ["late", "unreached", "failed"].map(|outcome| outcomes(&server, &open, outcome));
    assert_eq!((others, outcomes(&server, &open, "taken")), ([0, 0, 0], 9));
}

#[tokio::test]
async fn a_room_that_rings_for_nobody_is_read_without_a_word_to_the_phone() {
    let (_net, server) = net().await;
    let (hanako, taro, room) = two(&server).await;
    let quiet = room_of(&hanako, &[&taro]).await;
    let gateway = Gateway::new().await;
    set(&taro, &pusher("k1", &gateway.url())).await;
    let rule = json!({ "actions": [], "conditions": [
        { "kind": "event_match", "key": "room_id", "pattern": quiet } ] });
    taro.call(Method::PUT, &format!("/pushrules/global/override/{quiet}"), Some(&rule)).await;
    for _ in 0..3 {
        let event = hanako.send(&quiet, "静かに").await;
        read(&taro, &quiet, event.as_str()).await;
    }
    let event = hanako.send(&room, "一").await;
    // What comes later in the log is told later.
    let told = gateway.taken(1).await;
    assert_eq!((told[0]["event_id"].as_str(), gateway.heard().requests), (Some(event.as_str()), 1));
    read(&taro, &quiet, hanako.send(&quiet, "静かに").await.as_str()).await;
    hanako.send(&room, "二").await;
    let told = gateway.taken(2).await;
    assert_eq!((&told[1]["counts"]["unread"], gateway.heard().requests), (&json!(2), 2));
}

#[tokio::test]
async fn what_waits_when_a_server_is_killed_is_told_once_after_its_start() {
    const USERS: usize = 50;
    const PUSHERS: usize = 20;
    let (net, server) = net().await;
    let hanako = server.user("hanako").await;
    let gateway = Gateway::new().await;
    gateway.will(Conduct::Fails(503));
    let room = hanako.create_room(Preset::PublicChat).await;
    for number in 0..USERS {
        let user = server.user(&format!("user{number}")).await;
        user.join(&room, "kanazawa.test").await;
        for key in 0..PUSHERS {
            set(&user, &pusher(&format!("k{number}-{key}"), &gateway.url())).await;
        }
    }
    let event = hanako.send(&room, "全員へ").await;
    // All of one event are written down together.
    gateway.until(|heard| heard.requests > 0).await;

    server.crash_and_restart().await;
    gateway.will(Conduct::Takes);
    net.advance(HOUR);

    let told = gateway.taken(USERS * PUSHERS).await;
    let mut by_key: BTreeMap<&str, usize> = BTreeMap::new();
    for told in &told {
        assert_eq!(told["event_id"], event.as_str());
        *by_key.entry(told["devices"][0]["pushkey"].as_str().unwrap()).or_default() += 1;
    }
    assert_eq!(by_key.len(), USERS * PUSHERS);
    assert!(by_key.values().all(|count| *count == 1), "{by_key:?}");
}

#[tokio::test]
async fn a_proxys_page_costs_the_log_one_short_line_without_the_page_and_the_key() {
    let log = Log::new();
    let (net, server) = net().await;
    let (hanako, taro, room) = two(&server).await;
    let gateway = Gateway::new().await;
    gateway.will(Conduct::Fails(403));
    set(&taro, &pusher("confidential-key", &gateway.url())).await;
    let event = hanako.send(&room, "一").await;
    gateway.later(&net, |heard| heard.requests >= 3).await;
    gateway.will(Conduct::Takes);
    let told = gateway.later(&net, |heard| heard.taken.len() == 1).await.taken;
    assert_eq!(told[0]["event_id"], event.as_str());

    let refused = log.with("refuses a notification");
    // One for each request, but for those for which time passed before their answer.
    assert!((1..gateway.heard().requests).contains(&refused.len()), "{refused:#?}");
    assert!(refused.iter().all(|line| line.contains("status=403") && line.len() < 300), "{refused:#?}");
    for secret in ["Forbidden by the proxy", "confidential-key"] {
        let told = log.with(secret);
        assert!(told.is_empty(), "{told:#?}");
    }
}

#[tokio::test]
async fn where_the_newest_is_deleted_or_read_in_its_thread_what_waited_before_it_is_told_and_nothing_twice() {
    let (net, server) = net().await;
    let (hanako, taro, room) = two(&server).await;
    let gateway = Gateway::new().await;
    set(&taro, &pusher("k1", &gateway.url())).await;
    hanako.send(&room, "伝わったもの").await;
    gateway.taken(1).await;
    let put = async |path: String, content: Value| {
        let told = hanako.call(Method::PUT, &format!("/rooms/{room}/{path}"), Some(&content)).await;
        told["event_id"].as_str().unwrap().to_owned()
    };
    let thread = |root: &str| json!({ "rel_type": "m.thread", "event_id": root });
    let after_the_outage = async |count: usize| {
        gateway.will(Conduct::Takes);
        gateway.later(&net, |heard| heard.taken.len() >= count).await.taken[count - 1].clone()
    };

    gateway.will(Conduct::Fails(502));
    let important = hanako.send(&room, "重要なお知らせ").await;
    let wrong = hanako.send(&room, "まちがい").await;
    put(format!("redact/{wrong}/r1"), json!({})).await;
    let told = after_the_outage(2).await;
    assert_eq!((told["event_id"].as_str(), &told["counts"]["unread"]), (Some(important.as_str()), &json!(2)));

    gateway.will(Conduct::Fails(502));
    let main = hanako.send(&room, "本線の大事な連絡").await;
    let content = json!({ "msgtype": "m.text", "body": "枝", "m.relates_to": thread(important.as_str()) });
    let branch = put("send/m.room.message/t1".to_owned(), content).await;
    let receipt = json!({ "thread_id": important });
    taro.call(Method::POST, &format!("/rooms/{room}/receipt/m.read/{branch}"), Some(&receipt)).await;
    let told = after_the_outage(3).await;
    assert_eq!((told["event_id"].as_str(), &told["counts"]["unread"]), (Some(main.as_str()), &json!(3)));

    // All before it was told: only the number is put right.
    gateway.will(Conduct::Fails(502));
    let wrong = hanako.send(&room, "まちがい").await;
    put(format!("redact/{wrong}/r2"), json!({})).await;
    let other = room_of(&hanako, &[&taro]).await;
    let last = hanako.send(&other, "別の部屋").await;
    let told = after_the_outage(4).await;
    assert_eq!((told["event_id"].as_str(), &told["counts"]["unread"]), (Some(last.as_str()), &json!(4)));
    assert_eq!(gateway.heard().taken.len(), 4);
}

#[tokio::test]
async fn a_gateway_is_left_alone_for_as_long_as_it_wishes_by_seconds_and_by_a_date() {
    for wish in [
        "Retry-After: 500\r\n",
        "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\nRetry-After: Sun, 06 Nov 1994 08:57:57 GMT\r\n",
    ] {
        let (net, server) = net().await;
        let (hanako, taro, room) = two(&server).await;
        let gateway = Gateway::new().await;
        gateway.will(Conduct::FailsWith(429, wish));
        set(&taro, &pusher("k1", &gateway.url())).await;
        hanako.send(&room, "待つ").await;
        gateway.until(|heard| heard.requests == 1).await;
        let begun = net.now();
        gateway.will(Conduct::Takes);
        let mut heard = gateway.heard.clone();
        loop {
            net.advance(Duration::from_secs(50));
            let found = tokio::time::timeout(MOMENT, heard.wait_for(|heard| !heard.taken.is_empty())).await;
            if found.is_ok() {
                break;
            }
        }
        let waited = net.now().since(begun);
        assert!(waited >= Duration::from_secs(500), "{waited:?}");
    }
}

#[tokio::test]
async fn an_answer_that_is_no_text_of_ours_rejects_nobody_and_keeps_nothing_waiting() {
    let (_net, server) = net().await;
    let (hanako, taro, room) = two(&server).await;
    let gateway = Gateway::new().await;
    set(&taro, &pusher("k1", &gateway.url())).await;
    // A page in Shift_JIS; a list of keys in it, and in UTF-16; nothing; and no list.
    let answers: [&'static [u8]; 6] = [
        b"<title>\x8e\xf3\x82\xaf\x8e\xe6\x82\xe8</title>",
        b"{\"rejected\":[\"\x8c\xae\"]}",
        b"\xff\xfe{\0}\0",
        b"",
        b"[]",
        b"{\"rejected\":{\"k1\":true}}",
    ];
    for (place, answer) in answers.into_iter().enumerate() {
        gateway.will(Conduct::Says(answer));
        hanako.send(&room, &place.to_string()).await;
        gateway.taken(place + 1).await;
    }
    gateway.will(Conduct::Takes);
    hanako.send(&room, "最後").await;
    let told = gateway.taken(7).await;
    assert_eq!(told[6]["content"]["body"], "最後");
    assert_eq!(keys(&taro).await, ["k1"]);
}

/// element-x-ios#3151: no client shows such an invitation, so nothing would take the number away again.
#[tokio::test]
async fn an_invitation_by_who_is_ignored_neither_rings_nor_counts() {
    let (_net, server) = net().await;
    let (hanako, taro, room) = two(&server).await;
    let mallory = server.user("mallory").await;
    let gateway = Gateway::new().await;
    set(&taro, &pusher("k1", &gateway.url())).await;
    let list = format!("/user/{}/account_data/m.ignored_user_list", taro.id());
    let ignores = json!({ "ignored_users": { (mallory.id().as_str()): {} } });
    taro.call(Method::PUT, &list, Some(&ignores)).await;
    let lure = mallory.create_room(Preset::PrivateChat).await;
    mallory.invite(&lure, taro.id()).await;
    let event = hanako.send(&room, "一").await;
    let told = gateway.taken(1).await;
    assert_eq!((told[0]["room_id"].as_str(), &told[0]["counts"]["unread"]), (Some(room.as_str()), &json!(1)));
    read(&taro, &room, event.as_str()).await;
    let told = gateway.taken(2).await;
    assert!(matches!(told[1]["counts"]["unread"].as_u64(), None | Some(0)), "{told:?}");
}
