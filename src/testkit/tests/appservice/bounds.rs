//! How much a service is told and asked at once, and what is kept for one that is registered no more.

use std::{collections::BTreeSet, time::Duration};

use futures_util::future::join_all;
use http::{Method, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use store::{Batch, Position, Range, Table, Tuning};
use testkit::{Net, Preset, User};

use super::service::{Conduct, Heard, Record, Service, bridged, town};

const ROOMS: &str = "/_matrix/app/v1/rooms/";

/// Names that are asked for at once, and that are remembered.
const AT_ONCE: usize = 32;
const MOST_REMEMBERED: usize = 1_000;

fn asked(service: &Service, path: &str) -> usize {
    service.record().requests.iter().filter(|heard| heard.path.starts_with(path)).count()
}

async fn find(user: &User, name: &str) -> StatusCode {
    let path = format!("/_matrix/client/v3/directory/room/%23_irc_{name}:kanazawa.test");
    user.ask(Method::GET, &path, None).await.0
}

#[tokio::test]
async fn who_looks_for_many_names_at_once_keeps_a_service_that_hangs_no_busier_than_it_may_be() {
    let irc = Service::new("irc").await;
    let (net, server) = town(&[&irc]).await;
    let hanako = server.user("hanako").await;
    irc.will(Conduct::Hangs);
    let names: Vec<String> = (0..AT_ONCE).map(|number| format!("n{number}")).collect();
    let waiting = join_all(names.iter().map(|name| find(&hanako, name)));
    let more = async {
        irc.until(|record| record.requests.len() == AT_ONCE).await;
        // Nobody waits for one more, which is not asked for.
        assert_eq!(find(&hanako, "more").await, StatusCode::NOT_FOUND);
        assert_eq!(asked(&irc, ROOMS), AT_ONCE);
        net.advance(Duration::from_secs(11));
    };
    let (found, ()) = tokio::join!(waiting, more);
    assert!(found.iter().all(|status| *status == StatusCode::NOT_FOUND));
    // The places are free again.
    irc.will(Conduct::Fails(404));
    assert_eq!(find(&hanako, "later").await, StatusCode::NOT_FOUND);
    assert_eq!(asked(&irc, ROOMS), AT_ONCE + 1);
}

#[tokio::test]
async fn of_names_that_nobody_makes_the_newest_are_not_asked_for_again_and_no_other_waits_for_them() {
    let irc = Service::new("irc").await;
    let (net, server) = town(&[&irc]).await;
    let hanako = server.user("hanako").await;
    irc.will(Conduct::Fails(404));
    for number in 0..MOST_REMEMBERED + 5 {
        find(&hanako, &format!("n{number}")).await;
        // Each is older than the next.
        net.advance(Duration::from_millis(1));
    }
    assert_eq!(asked(&irc, ROOMS), MOST_REMEMBERED + 5, "who asks for many keeps nobody from asking");
    find(&hanako, &format!("n{}", MOST_REMEMBERED + 4)).await;
    find(&hanako, "n5").await;
    assert_eq!(asked(&irc, ROOMS), MOST_REMEMBERED + 5);
    net.advance(Duration::from_secs(61));
    find(&hanako, "n5").await;
    find(&hanako, "other").await;
    assert_eq!(asked(&irc, ROOMS), MOST_REMEMBERED + 7);
}

#[tokio::test]
async fn a_transaction_of_long_messages_ends_at_its_size_and_stays_the_same_when_it_is_repeated() {
    const LARGEST: usize = 768 << 10;
    const LONG: usize = 40_000;
    let irc = Service::new("irc").await;
    let (net, server) = town(&[&irc]).await;
    let hanako = server.user("hanako").await;
    let room = bridged(&irc, &server, &hanako).await;
    irc.until(|record| record.events().len() == 1).await;
    irc.will(Conduct::Fails(500));
    hanako.send(&room, "始め").await;
    irc.until(|record| record.requests.len() == 2).await;
    let mut events = Vec::new();
    for number in 0..40 {
        let text = format!("{number} {}", "x".repeat(LONG));
        events.push(hanako.send(&room, &text).await);
    }
    // The first is taken; the next one is as large as one may be, and is not.
    let small = irc.record().transactions().last().unwrap().path.clone();
    irc.answers(&small, 200, json!({}));
    let ids = |heard: &Heard| -> Vec<Value> {
        heard.body["events"].as_array().unwrap().iter().map(|event| event["event_id"].clone()).collect()
    };
    let record = irc.later(&net, |record| record.transactions().any(|heard| ids(heard).len() > 1)).await;
    let first = record.transactions().find(|heard| ids(heard).len() > 1).unwrap().clone();
    let length = first.body.to_string().len();
    // Written anew here, and without what goes along.
    assert!((LARGEST - 2 * LONG..=LARGEST).contains(&length), "{length}");
    // What its events look like grows meanwhile, and the next process sends the same ones nevertheless.
    for event in &events[..10] {
        let edit = json!({
            "msgtype": "m.text", "body": "* e", "m.new_content": { "msgtype": "m.text", "body": "y".repeat(LONG) },
            "m.relates_to": { "rel_type": "m.replace", "event_id": event },
        });
        let path = format!("/rooms/{room}/send/m.room.message/edit{event}").replace('$', "%24");
        hanako.call(Method::PUT, &path, Some(&edit)).await;
    }
    server.crash_and_restart().await;
    irc.will(Conduct::Takes);
    let told =
        |record: &Record| record.events().iter().filter(|event| event["type"] == "m.room.message").count();
    let record = irc.later(&net, |record| told(record) >= 50).await;
    let mut again = record.transactions().filter(|heard| heard.path == first.path);
    assert!(again.all(|heard| ids(heard) == ids(&first)), "the same id, the same events");
    let taken = record.transactions().filter(|heard| heard.is_taken && ids(heard).contains(&ids(&first)[0]));
    let taken: Vec<&str> = taken.map(|heard| &*heard.path).collect();
    assert_eq!(taken, [first.path], "the same events, the same id");
    assert_eq!(told(&record), 50, "each once");
}

/// What was told under a name, once for each transaction that was taken.
fn told(record: &Record, name: &str) -> Vec<Value> {
    let mut known = BTreeSet::new();
    let taken = record.transactions().filter(|heard| heard.is_taken && known.insert(heard.path.clone()));
    taken.filter_map(|heard| heard.body.get(name).cloned()).collect()
}

async fn with_devices() -> (Service, Net, testkit::Server) {
    let irc = Service::new("irc").await;
    let net = Net::new();
    let more = "receive_ephemeral: true\norg.matrix.msc3202: true";
    let server = net.server_with_services("kanazawa.test", &[irc.registration_with(more)]).await;
    (irc, net, server)
}

#[tokio::test]
async fn messages_to_devices_are_told_a_hundred_at_a_time_in_their_order_and_each_once() {
    const MESSAGES: u64 = 230;
    let (irc, net, server) = with_devices().await;
    let (hanako, bot) = (server.user("hanako").await, irc.bot(&server));
    for device in ["A", "B"] {
        bot.call(Method::PUT, &format!("/devices/{device}"), Some(&json!({}))).await;
    }
    irc.until(|record| !told(record, "device_one_time_keys_count").is_empty()).await;
    let room = bridged(&irc, &server, &hanako).await;
    irc.will(Conduct::Fails(500));
    hanako.send(&room, "止まる").await;
    irc.until(|record| record.transactions().any(|heard| !heard.is_taken)).await;
    for number in 0..MESSAGES {
        let content = json!({ "number": number });
        let message = json!({ "messages": { bot.id().as_str(): { "A": content, "B": content } } });
        hanako.call(Method::PUT, &format!("/sendToDevice/m.test/{number}"), Some(&message)).await;
    }
    irc.will(Conduct::Takes);
    let messages = |record: &Record, device: &str| -> Vec<u64> {
        let all = told(record, "to_device").into_iter().flat_map(|list| list.as_array().cloned().unwrap());
        let own = all.filter(|message| message["to_device_id"] == device);
        own.map(|message| message["content"]["number"].as_u64().unwrap()).collect()
    };
    let has_all = |record: &Record, device: &str| messages(record, device).contains(&(MESSAGES - 1));
    let record = irc.later(&net, |record| has_all(record, "A") && has_all(record, "B")).await;
    for device in ["A", "B"] {
        assert_eq!(messages(&record, device), (0..MESSAGES).collect::<Vec<_>>(), "{device}");
    }
    assert!(told(&record, "to_device").iter().all(|list| list.as_array().unwrap().len() <= 100));
}

#[tokio::test]
async fn of_many_devices_a_hundred_are_told_at_a_time_and_in_the_end_all() {
    const DEVICES: usize = 150;
    let (irc, net, server) = with_devices().await;
    let (hanako, bot) = (server.user("hanako").await, irc.bot(&server));
    let room = bridged(&irc, &server, &hanako).await;
    irc.until(|record| record.events().len() == 1).await;
    irc.will(Conduct::Fails(500));
    hanako.send(&room, "止まる").await;
    irc.until(|record| record.transactions().any(|heard| !heard.is_taken)).await;
    for number in 0..DEVICES {
        bot.call(Method::PUT, &format!("/devices/D{number:03}"), Some(&json!({}))).await;
    }
    let content = json!({ "a": 1 });
    let message = json!({ "messages": { bot.id().as_str(): { "D149": content } } });
    hanako.call(Method::PUT, "/sendToDevice/m.test/1", Some(&message)).await;
    irc.will(Conduct::Takes);
    let devices = |lists: &Value| -> Vec<String> {
        lists[bot.id().as_str()].as_object().unwrap().keys().cloned().collect()
    };
    let counts = |record: &Record| told(record, "device_one_time_keys_count");
    let known = |record: &Record| counts(record).iter().flat_map(devices).collect::<BTreeSet<_>>().len();
    let record =
        irc.later(&net, |record| known(record) == DEVICES && !told(record, "to_device").is_empty()).await;
    assert!(counts(&record).iter().all(|lists| devices(lists).len() <= 100));
}

#[tokio::test]
async fn whose_devices_changed_is_told_for_every_user_of_a_service_however_many_have_devices() {
    // More than are looked at for one transaction.
    const GHOSTS: usize = 60;
    let (irc, net, server) = with_devices().await;
    let (hanako, bot) = (server.user("hanako").await, irc.bot(&server));
    let room = hanako.create_room(Preset::PublicChat).await;
    for number in 0..GHOSTS {
        let ghost = json!({ "type": "m.login.application_service", "username": format!("_irc_{number:02}") });
        bot.call(Method::POST, "/register", Some(&ghost)).await;
    }
    // The last of them alone is in a room with others.
    let path = format!("/rooms/{room}/join?user_id=@_irc_{:02}:kanazawa.test", GHOSTS - 1);
    bot.call(Method::POST, &path, Some(&json!({}))).await;
    let changed = |record: &Record, user: &User| {
        let mut all = told(record, "device_lists").into_iter();
        all.any(|lists| lists["changed"].as_array().unwrap().contains(&json!(user.id())))
    };
    irc.later(&net, |record| changed(record, &hanako)).await;
    let taro = server.user("taro").await;
    taro.join(&room, "kanazawa.test").await;
    irc.later(&net, |record| changed(record, &taro)).await;
    // Once: with what happens next, and as time passes, it is not told again.
    let next = server.user("jiro").await;
    next.join(&room, "kanazawa.test").await;
    let record = irc.later(&net, |record| changed(record, &next)).await;
    let of_taro = |lists: &Value| lists["changed"].as_array().unwrap().contains(&json!(taro.id()));
    assert_eq!(told(&record, "device_lists").iter().filter(|lists| of_taro(lists)).count(), 1);
}

#[tokio::test]
async fn whose_devices_changed_while_nothing_was_taken_is_told_by_the_next_process() {
    let (irc, net, server) = with_devices().await;
    let (hanako, bot) = (server.user("hanako").await, irc.bot(&server));
    bot.call(Method::PUT, "/devices/A", Some(&json!({}))).await;
    let room = bridged(&irc, &server, &hanako).await;
    let changed = |record: &Record, user: &User| {
        let mut all = told(record, "device_lists").into_iter();
        all.any(|lists| lists["changed"].as_array().unwrap().contains(&json!(user.id())))
    };
    irc.later(&net, |record| changed(record, &hanako)).await;
    irc.will(Conduct::Fails(500));
    hanako.send(&room, "止まる").await;
    irc.until(|record| record.transactions().any(|heard| !heard.is_taken)).await;
    let taro = server.user("taro").await;
    taro.join(&room, "kanazawa.test").await;
    server.crash_and_restart().await;
    irc.will(Conduct::Takes);
    irc.later(&net, |record| changed(record, &taro)).await;
}

#[tokio::test]
async fn for_a_service_without_an_address_nothing_waits() {
    let (irc, sms) = (Service::new("irc").await, Service::new("sms").await);
    let net = Net::new();
    let lines: Vec<String> = irc.registration().lines().map(str::to_owned).collect();
    let nowhere = lines.iter().map(|line| if line.starts_with("url:") { "url: null" } else { line });
    let registrations = [nowhere.collect::<Vec<_>>().join("\n"), sms.registration()];
    let server = net.server_with_services("kanazawa.test", &registrations).await;
    let hanako = server.user("hanako").await;
    let room = bridged(&irc, &server, &hanako).await;
    sms.bot(&server).join(&room, "kanazawa.test").await;
    hanako.send(&room, "二人いる").await;
    sms.until(|record| record.texts() == ["二人いる"]).await;
    let store = server.look(|house| house.store.clone());
    let waiting = store.scan(&WAITING, Range::prefix(&"irc"), store::Order::Ascending, 1).await.unwrap();
    assert!(waiting.is_empty() && irc.record().requests.is_empty());
    let path = "/_matrix/client/v1/appservice/irc/ping";
    let (status, answer) = irc.bot(&server).ask(Method::POST, path, Some(&json!({}))).await;
    assert!(status == StatusCode::BAD_REQUEST && answer.contains("M_URL_NOT_SET"), "{answer}");
}

#[tokio::test]
async fn what_a_service_was_told_of_keys_it_is_not_told_again_and_one_that_does_not_ask_is_never() {
    let (irc, net, server) = with_devices().await;
    let sms = Service::new("sms").await;
    let only_moments = sms.registration_with("receive_ephemeral: true");
    let elsewhere = net.server_with_services("wajima.test", &[only_moments]).await;
    for (service, server, has_counts) in [(&irc, &server, true), (&sms, &elsewhere, false)] {
        let (hanako, bot) = (server.user("hanako").await, service.bot(server));
        bot.call(Method::PUT, "/devices/A", Some(&json!({}))).await;
        let fallback = json!({ "fallback_keys": { "curve25519:AAAAAQ": "bm90IGEga2V5IGJ1dCBsb25nIGVub3VnaCBmb3IgaXQ" } });
        bot.call(Method::POST, "/keys/upload?device_id=A", Some(&fallback)).await;
        let has_key = |record: &Record| {
            let all = told(record, "device_unused_fallback_key_types");
            all.last().is_some_and(|types| types[bot.id().as_str()]["A"] == json!(["curve25519"]))
        };
        if has_counts {
            service.until(has_key).await;
        }
        let before = told(&service.record(), "device_one_time_keys_count").len();
        for number in 0..2 {
            let message = json!({ "messages": { bot.id().as_str(): { "A": { "a": number } } } });
            hanako.call(Method::PUT, &format!("/sendToDevice/m.test/{number}"), Some(&message)).await;
            service.until(|record| told(record, "to_device").len() > number).await;
        }
        let record = service.record();
        assert_eq!(told(&record, "device_one_time_keys_count").len(), before);
        assert_eq!(before > 0, has_counts);
    }
}

#[tokio::test]
async fn what_services_say_of_networks_is_bounded_and_odd_parts_cost_themselves_alone() {
    let (irc, sms) = (Service::new("irc").await, Service::new("sms").await);
    let net = Net::new();
    let registrations = [sms.registration(), irc.registration_with("protocols: [irc]")];
    let server = net.server_with_services("kanazawa.test", &registrations).await;
    let hanako = server.user("hanako").await;
    let get = async |path: &str| {
        let (_, body) = hanako.ask(Method::GET, &format!("/_matrix/client/v3/thirdparty/{path}"), None).await;
        serde_json::from_str::<Value>(&body).unwrap()
    };
    let someone = json!({ "userid": "@_irc_a:kanazawa.test", "protocol": "irc", "fields": {} });
    let mut many = vec![someone.clone(); 1_100];
    many.insert(0, json!("odd"));
    irc.answers("/_matrix/app/v1/thirdparty/user", 200, json!(many));
    let own = "access_token=a&user_id=b&device_id=c&org.matrix.msc3202.device_id=d";
    assert_eq!(get(&format!("user/irc?{own}&nick=a")).await, json!(vec![someone.clone(); 1_000]));
    // What concerns us and not the network is not told.
    assert_eq!(asked(&irc, "/_matrix/app/v1/thirdparty/user/irc?nick=a"), 1);
    assert_eq!(get("user?userid=@_irc_a:kanazawa.test").await.as_array().unwrap().len(), 1_000);
    assert_eq!(asked(&sms, "/"), 0, "it leads to no network");

    let instance = json!({ "desc": "libera", "network_id": "libera", "fields": {} });
    let mut odd = vec![instance.clone(); 1_100];
    odd.insert(0, json!(1));
    irc.answers("/_matrix/app/v1/thirdparty/protocol/irc", 200, json!({ "instances": odd }));
    let instances = get("protocol/irc").await["instances"].as_array().unwrap().clone();
    assert_eq!(instances.len(), 1_000);
    assert!(instances.iter().all(|instance| instance["instance_id"] == "irc|libera"));
    // A whole answer that is too large is none.
    irc.answers("/_matrix/app/v1/thirdparty/user/irc", 200, json!([{ "userid": "x".repeat(1 << 20) }]));
    assert_eq!(get("user/irc").await, json!([]));
    // A list where an object should be is none.
    irc.answers("/_matrix/app/v1/thirdparty/protocol/irc", 200, json!([]));
    assert_eq!(get("protocols").await, json!({}));
    irc.will(Conduct::Hangs);
    irc.forget_answers();
    let before = asked(&irc, "/");
    let later = async {
        irc.until(|record| record.requests.len() > before).await;
        net.advance(Duration::from_secs(6));
    };
    assert_eq!(tokio::join!(get("protocols"), later).0, json!({}));
}

#[tokio::test]
async fn of_a_long_answer_to_a_ping_the_beginning_is_told() {
    let irc = Service::new("irc").await;
    let (_net, server) = town(&[&irc]).await;
    irc.answers("/_matrix/app/v1/ping", 500, json!("x".repeat(10_000)));
    let path = "/_matrix/client/v1/appservice/irc/ping";
    let (status, answer) = irc.bot(&server).ask(Method::POST, path, Some(&json!({}))).await;
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!((status, &answer["errcode"]), (StatusCode::BAD_GATEWAY, &json!("M_BAD_STATUS")));
    assert_eq!(answer["body"].as_str().unwrap().len(), 4_096);
}

/// An event that waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct ItemRow {
    room: u64,
    event: u64,
    since: u64,
}
store::row!(ItemRow, schema = 1);

/// A transaction under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct SendingRow {
    id: String,
    through: u64,
}
store::row!(SendingRow, schema = 1);

static WAITING: Table<(String, u64), ItemRow> = Table::new(310, "appservice.waiting", Tuning::Queue);
static SENDING: Table<String, SendingRow> = Table::new(311, "appservice.sending", Tuning::Small);
static BEGUN: Table<String, u64> = Table::new(312, "appservice.begun", Tuning::Small);
static LISTS: Table<String, u64> = Table::new(313, "appservice.lists", Tuning::Small);

#[tokio::test]
async fn what_is_kept_for_a_service_that_is_registered_no_more_goes_and_nothing_of_the_others() {
    let irc = Service::new("irc").await;
    let (net, server) = town(&[&irc]).await;
    let hanako = server.user("hanako").await;
    let room = bridged(&irc, &server, &hanako).await;
    irc.until(|record| record.events().len() == 1).await;
    irc.will(Conduct::Fails(500));
    hanako.send(&room, "待っている").await;
    irc.until(|record| record.transactions().any(|heard| !heard.is_taken)).await;
    let store = server.look(|house| house.store.clone());
    let mut batch = Batch::new();
    batch.put(&WAITING, &("gone", 7), &ItemRow { room: 1, event: 1, since: 1 });
    batch.put(&SENDING, "gone", &SendingRow { id: "a".to_owned(), through: 7 });
    batch.put(&BEGUN, "gone", &0);
    batch.put(&LISTS, "gone", &0);
    store.commit(batch).await.unwrap();
    drop(store);
    server.crash_and_restart().await;
    irc.will(Conduct::Takes);
    irc.later(&net, |record| record.texts() == ["待っている"]).await;
    let store = server.look(|house| house.store.clone());
    while store.get(&BEGUN, "gone").await.unwrap().is_some() {
        tokio::task::yield_now().await;
    }
    assert_eq!(store.get(&SENDING, "gone").await.unwrap(), None);
    assert_eq!(store.get(&LISTS, "gone").await.unwrap(), None);
    let waiting = store.scan(&WAITING, Range::prefix(&"gone"), store::Order::Ascending, 1).await.unwrap();
    assert!(waiting.is_empty());
    assert!(store.get(&BEGUN, "irc").await.unwrap().is_some());
}

#[tokio::test]
async fn a_service_that_is_new_is_not_told_what_was_before_it_also_after_the_next_start() {
    let irc = Service::new("irc").await;
    let (net, server) = town(&[&irc]).await;
    let hanako = server.user("hanako").await;
    let room = bridged(&irc, &server, &hanako).await;
    hanako.send(&room, "前").await;
    irc.until(|record| record.texts() == ["前"]).await;
    let store = server.look(|house| house.store.clone());
    // Nothing is on its way any more, which would be told again.
    while store.get(&SENDING, "irc").await.unwrap().is_some() {
        tokio::task::yield_now().await;
    }
    drop(store);
    // As if it had been registered just now, beside others that read from the beginning.
    for restart in 0..2 {
        let mut batch = Batch::new();
        if restart == 0 {
            batch.delete(&BEGUN, "irc");
        }
        batch.set_cursor("appservice", Position(0));
        server
            .crash_and_restart_with(async |store| {
                store.commit(batch).await.unwrap();
            })
            .await;
        let text = format!("後 {restart}");
        hanako.send(&room, &text).await;
        irc.later(&net, |record| record.texts().contains(&text)).await;
    }
    let told = irc.record().texts();
    assert_eq!(told.iter().filter(|text| *text == "前").count(), 1, "{told:?}");
}

/// What nginx takes of a request if nobody says otherwise.
const USUAL: usize = 1 << 20;

#[tokio::test]
async fn transactions_are_smaller_than_what_proxies_take_however_much_waits() {
    let irc = Service::new("irc").await;
    let net = Net::new();
    let more = "receive_ephemeral: true\norg.matrix.msc3202: true";
    let server = net.server_with_services("kanazawa.test", &[irc.registration_with(more)]).await;
    let hanako = server.user("hanako").await;
    let (room, bot) = (bridged(&irc, &server, &hanako).await, irc.bot(&server));
    bot.call(Method::PUT, "/devices/BRIDGE", Some(&json!({}))).await;
    irc.until(|record| record.events().len() == 1).await;
    irc.will(Conduct::Fails(500));
    let mut texts = Vec::new();
    for number in 0..40 {
        let text = format!("{number}{}", "長い話".repeat(4_500));
        hanako.send(&room, &text).await;
        let content = json!({ "number": number, "long": "x".repeat(50_000) });
        let message = json!({ "messages": { bot.id().as_str(): { "BRIDGE": content } } });
        hanako.call(Method::PUT, &format!("/sendToDevice/m.test/{number}"), Some(&message)).await;
        texts.push(text);
    }
    irc.will(Conduct::Takes);
    let numbers = |record: &Record| -> Vec<u64> {
        let mut known = BTreeSet::new();
        let taken = record.transactions().filter(|heard| heard.is_taken && known.insert(&heard.path));
        let messages =
            taken.flat_map(|heard| heard.body["to_device"].as_array().cloned().unwrap_or_default());
        messages.map(|message| message["content"]["number"].as_u64().unwrap()).collect()
    };
    let record = irc.later(&net, |it| it.texts().len() >= 40 && numbers(it).len() >= 40).await;
    assert_eq!(record.texts(), texts, "all, in order, once");
    assert_eq!(numbers(&record), (0..40).collect::<Vec<_>>());
    for heard in record.transactions() {
        assert!(heard.size_bytes < USUAL / 10 * 8, "{} bytes", heard.size_bytes);
    }
}

#[tokio::test]
async fn what_is_too_large_for_what_stands_before_a_service_is_told_in_smaller_transactions() {
    let irc = Service::new("irc").await;
    let (net, server) = town(&[&irc]).await;
    let hanako = server.user("hanako").await;
    let room = bridged(&irc, &server, &hanako).await;
    irc.until(|record| record.events().len() == 1).await;
    irc.will(Conduct::Fails(500));
    let mut texts = Vec::new();
    for number in 0..20 {
        let text = format!("{number}{}", "x".repeat(30_000));
        hanako.send(&room, &text).await;
        texts.push(text);
    }
    irc.will(Conduct::TakesUpTo(100_000));
    let has_all = |record: &Record| {
        let taken = |heard: &&Heard| heard.size_bytes <= 100_000 && heard.is_taken;
        let events = record.transactions().filter(taken).flat_map(|heard| heard.body["events"].as_array());
        events.flatten().filter(|event| event["type"] == "m.room.message").count() >= 20
    };
    let record = irc.later(&net, has_all).await;
    let mut told = Vec::new();
    let mut ids = BTreeSet::new();
    for heard in record.transactions().filter(|heard| heard.size_bytes <= 100_000 && heard.is_taken) {
        assert!(ids.insert(heard.path.clone()), "each once");
        for event in heard.body["events"].as_array().unwrap() {
            told.extend(event["content"]["body"].as_str().map(str::to_owned));
        }
    }
    assert_eq!(told, texts);
    // A transaction that was too large was none: its id stands for nothing else.
    for heard in record.transactions().filter(|heard| heard.size_bytes > 100_000) {
        assert!(!ids.contains(&heard.path), "{}", heard.path);
    }
}

#[tokio::test]
async fn a_service_is_left_alone_for_as_long_as_it_wishes() {
    for wish in [
        "Retry-After: 300\r\n",
        "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\nRetry-After: Sun, 06 Nov 1994 08:54:37 GMT\r\n",
    ] {
        let irc = Service::new("irc").await;
        let (net, server) = town(&[&irc]).await;
        let hanako = server.user("hanako").await;
        let room = bridged(&irc, &server, &hanako).await;
        irc.until(|record| record.events().len() == 1).await;
        irc.will(Conduct::FailsWith(429, wish));
        hanako.send(&room, "待つ").await;
        irc.until(|record| record.transactions().any(|heard| !heard.is_taken)).await;
        let begun = net.now();
        irc.will(Conduct::Takes);
        irc.later(&net, |record| record.texts() == ["待つ"]).await;
        let waited = net.now().since(begun);
        assert!(waited >= Duration::from_secs(300), "{waited:?}");
    }
}

#[tokio::test]
async fn messages_to_devices_that_are_too_large_together_are_told_one_by_one_and_one_that_is_alone_keeps_nothing_back()
 {
    let (irc, net, server) = with_devices().await;
    let (hanako, bot) = (server.user("hanako").await, irc.bot(&server));
    bot.call(Method::PUT, "/devices/A", Some(&json!({}))).await;
    irc.until(|record| !told(record, "device_one_time_keys_count").is_empty()).await;
    let room = bridged(&irc, &server, &hanako).await;
    irc.until(|record| record.events().len() == 1).await;
    irc.will(Conduct::TakesUpTo(60_000));
    let write = async |number: usize, length: usize| {
        let content = json!({ "number": number, "text": "x".repeat(length) });
        let message = json!({ "messages": { bot.id().as_str(): { "A": content } } });
        hanako.call(Method::PUT, &format!("/sendToDevice/m.test/{number}"), Some(&message)).await;
    };
    for number in 0..4 {
        write(number, 25_000).await;
    }
    // Under its two names no transaction takes it.
    write(4, 40_000).await;
    write(5, 10).await;
    hanako.send(&room, "待たない").await;
    let numbers = |record: &Record| -> Vec<u64> {
        let mut known = BTreeSet::new();
        let taken = record.transactions().filter(|heard| heard.size_bytes <= 60_000);
        let taken = taken.filter(|heard| heard.is_taken && known.insert(heard.path.clone()));
        let lists = taken.filter_map(|heard| heard.body.get("to_device")?.as_array());
        lists.flatten().map(|message| message["content"]["number"].as_u64().unwrap()).collect()
    };
    let record = irc.later(&net, |record| numbers(record).contains(&5) && record.texts().len() == 1).await;
    assert_eq!(numbers(&record), [0, 1, 2, 3, 5]);
}
