//! What is of the moment, and what users of services need for encryption.

use std::collections::BTreeSet;

use bytes::Bytes;
use http::{Method, StatusCode};
use serde_json::{Value, json};
use store::{Batch, Table, Tuning};
use testkit::{Net, Preset, Server, User};

use super::service::{Record, Service, bridged};

/// A bridge that wants all there is, by names that bridges of today write.
async fn town(more: &str) -> (Service, Net, Server) {
    let irc = Service::new("irc").await;
    let net = Net::with_presence();
    let server = net.server_with_services("kanazawa.test", &[irc.registration_with(more)]).await;
    (irc, net, server)
}

/// What was told under both of the names of a field, once for each transaction that was taken.
fn told(record: &Record, names: [&str; 2]) -> Vec<Value> {
    let mut known = BTreeSet::new();
    let taken = record.transactions().filter(|heard| heard.is_taken && known.insert(heard.path.clone()));
    let told = taken.filter_map(|heard| {
        let value = heard.body.get(names[0])?;
        assert_eq!(Some(value), heard.body.get(names[1]), "both names say the same");
        Some(value.clone())
    });
    told.collect()
}

const TO_DEVICE: [&str; 2] = ["to_device", "de.sorunome.msc2409.to_device"];
const EPHEMERAL: [&str; 2] = ["ephemeral", "de.sorunome.msc2409.ephemeral"];

fn ephemeral(record: &Record, kind: &str) -> Vec<Value> {
    let all = told(record, EPHEMERAL).into_iter().flat_map(|list| list.as_array().cloned().unwrap());
    all.filter(|event| event["type"] == kind).collect()
}

async fn type_in(user: &User, room: &ruma::RoomId) {
    let path = format!("/rooms/{room}/typing/{}", user.id());
    user.call(Method::PUT, &path, Some(&json!({ "typing": true, "timeout": 20_000 }))).await;
}

#[tokio::test]
async fn who_types_reads_and_is_there_is_told_of_rooms_of_the_service_by_old_and_new_names() {
    for flag in
        ["receive_ephemeral: true", "de.sorunome.msc2409.push_ephemeral: true", "push_ephemeral: true"]
    {
        let (irc, _net, server) = town(flag).await;
        let hanako = server.user("hanako").await;
        let room = bridged(&irc, &server, &hanako).await;
        let bot = irc.bot(&server);
        make_device(&bot, "BRIDGE").await;
        let message = json!({ "messages": { bot.id().as_str(): { "BRIDGE": { "number": 1 } } } });
        hanako.call(Method::PUT, "/sendToDevice/m.test/1", Some(&message)).await;
        let of_devices = irc.until(|record| !told(record, TO_DEVICE).is_empty()).await;
        assert_eq!(told(&of_devices, TO_DEVICE)[0][0]["content"]["number"], 1, "{flag}");
        let private = hanako.create_room(Preset::PrivateChat).await;
        let (inside, outside) = (hanako.send(&room, "ここ").await, hanako.send(&private, "そこ").await);
        type_in(&hanako, &private).await;
        type_in(&hanako, &room).await;
        let typing = irc.until(|record| !ephemeral(record, "m.typing").is_empty()).await;
        let expected =
            json!({ "type": "m.typing", "room_id": room, "content": { "user_ids": [hanako.id()] } });
        assert_eq!(ephemeral(&typing, "m.typing")[0], expected);

        let read = async |room: &ruma::RoomId, event: &ruma::EventId, kind: &str| {
            hanako
                .call(Method::POST, &format!("/rooms/{room}/receipt/{kind}/{event}"), Some(&json!({})))
                .await;
        };
        read(&private, &outside, "m.read").await;
        read(&room, &inside, "m.read.private").await;
        read(&room, &inside, "m.read").await;
        let receipts = irc.until(|record| !ephemeral(record, "m.receipt").is_empty()).await;
        for receipt in ephemeral(&receipts, "m.receipt") {
            assert_eq!(receipt["room_id"], room.as_str());
            let kinds = receipt["content"][inside.as_str()].as_object().unwrap();
            assert_eq!(kinds.keys().collect::<Vec<_>>(), ["m.read"], "private ones are nobody's business");
            assert!(kinds["m.read"][hanako.id().as_str()]["ts"].is_number());
        }

        // Somebody who shares no room with the service is there before.
        let stranger = server.user("taro").await;
        stranger.create_room(Preset::PrivateChat).await;
        let online = json!({ "presence": "online", "status_msg": "内緒" });
        let presence = format!("/presence/{}/status", stranger.id());
        stranger.call(Method::PUT, &presence, Some(&online)).await;
        let presence = format!("/presence/{}/status", hanako.id());
        hanako
            .call(Method::PUT, &presence, Some(&json!({ "presence": "online", "status_msg": "窓口" })))
            .await;
        let there = irc.until(|record| !ephemeral(record, "m.presence").is_empty()).await;
        let shown = ephemeral(&there, "m.presence");
        assert!(shown.iter().all(|it| it["sender"] != stranger.id().as_str()), "{shown:?}");
        assert!(
            shown
                .iter()
                .any(|it| it["sender"] == hanako.id().as_str() && it["content"]["presence"] == "online")
        );
        for event in ephemeral(&there, "m.typing") {
            assert_eq!(event["room_id"], room.as_str());
        }
    }
}

#[tokio::test]
async fn a_service_that_does_not_ask_for_it_is_told_events_alone() {
    let (irc, _net, server) = town("").await;
    let hanako = server.user("hanako").await;
    let room = bridged(&irc, &server, &hanako).await;
    type_in(&hanako, &room).await;
    hanako.send(&room, "一").await;
    let record = irc.until(|record| record.texts().len() == 1).await;
    for heard in record.transactions() {
        assert_eq!(heard.body.as_object().unwrap().keys().collect::<Vec<_>>(), ["events"]);
    }
}

fn as_device(path: &str, device: &str) -> String {
    format!("{path}?device_id={device}")
}

async fn make_device(bot: &User, device: &str) -> StatusCode {
    let path = format!("/_matrix/client/v3/devices/{device}");
    bot.ask(Method::PUT, &path, Some(&json!({ "display_name": "Bridge" }))).await.0
}

#[tokio::test]
async fn a_service_makes_names_and_removes_devices_of_its_users_without_being_asked_for_a_password() {
    let (irc, _net, server) = town("").await;
    let bot = irc.bot(&server);
    assert_eq!(make_device(&bot, "BRIDGE").await, StatusCode::CREATED);
    assert_eq!(make_device(&bot, "BRIDGE").await, StatusCode::OK);
    let whoami = |query: &str| format!("/_matrix/client/v3/account/whoami{query}");
    let ask = async |query: &str| {
        let (status, body) = bot.ask(Method::GET, &whoami(query), None).await;
        (status, serde_json::from_str::<Value>(&body).unwrap())
    };
    for query in [
        "?device_id=BRIDGE",
        "?org.matrix.msc3202.device_id=BRIDGE",
        "?device_id=BRIDGE&org.matrix.msc3202.device_id=BRIDGE",
    ] {
        let (status, answer) = ask(query).await;
        assert_eq!((status, &answer["device_id"]), (StatusCode::OK, &json!("BRIDGE")), "{query}");
    }
    assert_eq!(ask("?device_id=BRIDGE&org.matrix.msc3202.device_id=OTHER").await.0, StatusCode::BAD_REQUEST);
    let (status, answer) = ask("?device_id=OTHER").await;
    assert_eq!((status, &answer["errcode"]), (StatusCode::BAD_REQUEST, &json!("M_UNKNOWN_DEVICE")));

    let keys =
        json!({ "one_time_keys": { "curve25519:AAAAAQ": "bm90IGEga2V5IGJ1dCBsb25nIGVub3VnaCBmb3IgaXQ" } });
    let upload = as_device("/_matrix/client/v3/keys/upload", "BRIDGE");
    let (status, answer) = bot.ask(Method::POST, &upload, Some(&keys)).await;
    assert_eq!(status, StatusCode::OK, "{answer}");

    let gone = bot.ask(Method::DELETE, "/_matrix/client/v3/devices/BRIDGE", Some(&json!({}))).await;
    assert_eq!(gone.0, StatusCode::OK, "{}", gone.1);
    assert_eq!(ask("?device_id=BRIDGE").await.0, StatusCode::BAD_REQUEST);
    make_device(&bot, "A").await;
    make_device(&bot, "B").await;
    let both = json!({ "devices": ["A", "B"] });
    let gone = bot.ask(Method::POST, "/_matrix/client/v3/delete_devices", Some(&both)).await;
    assert_eq!(gone.0, StatusCode::OK, "{}", gone.1);
    assert_eq!(bot.call(Method::GET, "/devices", None).await["devices"], json!([]));
    // A person's device is made by signing in.
    let hanako = server.user("hanako").await;
    assert_eq!(make_device(&hanako, "NEW").await, StatusCode::NOT_FOUND);
}

/// AS5
#[tokio::test]
async fn what_needs_no_device_takes_one_of_the_user_and_refuses_any_other() {
    let (irc, _net, server) = town("").await;
    let (hanako, bot) = (server.user("hanako").await, irc.bot(&server));
    let room = bridged(&irc, &server, &hanako).await;
    make_device(&bot, "BRIDGE").await;
    // Somebody else's is none of the user's.
    let others = hanako.call(Method::GET, "/account/whoami", None).await["device_id"].clone();
    let said = json!({ "msgtype": "m.text", "body": "x" });
    let user = bot.id();
    for (method, path, body) in [
        (Method::GET, "joined_rooms".to_owned(), None),
        (Method::GET, "sync".to_owned(), None),
        (Method::GET, format!("rooms/{room}/members"), None),
        (Method::PUT, format!("rooms/{room}/send/m.room.message/1"), Some(&said)),
        (Method::PUT, format!("user/{user}/account_data/m.test"), Some(&said)),
        (Method::GET, "../v1/media/config".to_owned(), None),
    ] {
        let path = format!("/_matrix/client/v3/{path}").replace("v3/../", "");
        let (status, answer) = bot.ask(method.clone(), &as_device(&path, "BRIDGE"), body).await;
        assert_eq!(status, StatusCode::OK, "{path}: {answer}");
        for device in ["OTHER", others.as_str().unwrap()] {
            let (status, answer) = bot.ask(method.clone(), &as_device(&path, device), body).await;
            assert_eq!(status, StatusCode::BAD_REQUEST, "{path}: {answer}");
            assert!(answer.contains("\"M_UNKNOWN_DEVICE\""), "{path}: {answer}");
        }
    }
}

#[tokio::test]
async fn devices_of_a_service_are_told_messages_counts_of_keys_and_whose_devices_changed() {
    let (irc, net, server) = town("de.sorunome.msc2409.push_ephemeral: true\norg.matrix.msc3202: true").await;
    let hanako = server.user("hanako").await;
    let bot = irc.bot(&server);
    make_device(&bot, "BRIDGE").await;
    let room = bridged(&irc, &server, &hanako).await;
    let keys =
        json!({ "one_time_keys": { "curve25519:AAAAAQ": "bm90IGEga2V5IGJ1dCBsb25nIGVub3VnaCBmb3IgaXQ" } });
    let upload = as_device("/_matrix/client/v3/keys/upload", "BRIDGE");
    assert_eq!(bot.ask(Method::POST, &upload, Some(&keys)).await.0, StatusCode::OK);

    let send = async |number: u32| {
        let message = json!({ "messages": { bot.id().as_str(): { "BRIDGE": { "number": number } } } });
        hanako.call(Method::PUT, &format!("/sendToDevice/m.test/{number}"), Some(&message)).await;
    };
    let messages = |record: &Record| -> Vec<Value> {
        told(record, TO_DEVICE).into_iter().flat_map(|list| list.as_array().cloned().unwrap()).collect()
    };
    for number in 0..3 {
        send(number).await;
    }
    let record = irc.until(|record| messages(record).len() >= 3).await;
    let expected = json!({ "type": "m.test", "sender": hanako.id(), "content": { "number": 0 },
        "to_user_id": bot.id(), "to_device_id": "BRIDGE" });
    assert_eq!(messages(&record)[0], expected);
    // While it takes nothing, all waits; each is told once.
    irc.will(super::service::Conduct::Fails(500));
    for number in 3..6 {
        send(number).await;
    }
    irc.until(|record| record.transactions().any(|heard| !heard.is_taken)).await;
    irc.will(super::service::Conduct::Takes);
    let record = irc.later(&net, |record| messages(record).len() >= 6).await;
    let numbers: Vec<u64> =
        messages(&record).iter().map(|it| it["content"]["number"].as_u64().unwrap()).collect();
    assert_eq!(numbers, [0, 1, 2, 3, 4, 5]);

    const COUNTS: [&str; 2] = ["device_one_time_keys_count", "org.matrix.msc3202.device_one_time_keys_count"];
    let count = |record: &Record| -> Option<u64> {
        told(record, COUNTS).last()?[bot.id().as_str()]["BRIDGE"]["curve25519"].as_u64()
    };
    let record = irc.until(|record| count(record) == Some(1)).await;
    assert!(record.transactions().any(|heard| heard.body.get("device_unused_fallback_key_types").is_some()));
    let claim = json!({ "one_time_keys": { bot.id().as_str(): { "BRIDGE": "curve25519" } } });
    hanako.call(Method::POST, "/keys/claim", Some(&claim)).await;
    irc.until(|record| {
        count(record) == Some(0)
            || told(record, COUNTS)
                .last()
                .is_some_and(|it| it[bot.id().as_str()]["BRIDGE"].get("curve25519").is_none())
    })
    .await;

    // A new member's devices are to be looked up.
    const LISTS: [&str; 2] = ["device_lists", "org.matrix.msc3202.device_lists"];
    let taro = server.user("taro").await;
    taro.join(&room, "kanazawa.test").await;
    let changed = |record: &Record, user: &User| {
        let all = told(record, LISTS);
        all.iter().any(|lists| lists["changed"].as_array().unwrap().contains(&json!(user.id())))
    };
    irc.later(&net, |record| changed(record, &taro)).await;
}

#[tokio::test]
async fn a_device_without_keys_is_told_so_with_events_until_it_has_some() {
    let (irc, _net, server) = town("org.matrix.msc3202: true").await;
    let hanako = server.user("hanako").await;
    let bot = irc.bot(&server);
    let room = bridged(&irc, &server, &hanako).await;
    make_device(&bot, "BRIDGE").await;
    const COUNTS: &str = "device_one_time_keys_count";
    let of_bridge = |heard: &super::service::Heard| heard.body[COUNTS][bot.id().as_str()]["BRIDGE"].clone();
    irc.until(|record| record.transactions().any(|heard| of_bridge(heard)["signed_curve25519"] == 0)).await;

    let told_with = async |text: &str| {
        hanako.send(&room, text).await;
        let record = irc.until(|record| record.texts().contains(&text.to_owned())).await;
        let has_it = |heard: &&super::service::Heard| heard.is_taken && heard.body.to_string().contains(text);
        of_bridge(record.transactions().find(has_it).unwrap())
    };
    assert_eq!(told_with("鍵がない").await["signed_curve25519"], 0);
    assert_eq!(told_with("まだない").await["signed_curve25519"], 0);
    let keys =
        json!({ "one_time_keys": { "curve25519:AAAAAQ": "bm90IGEga2V5IGJ1dCBsb25nIGVub3VnaCBmb3IgaXQ" } });
    let upload = as_device("/_matrix/client/v3/keys/upload", "BRIDGE");
    assert_eq!(bot.ask(Method::POST, &upload, Some(&keys)).await.0, StatusCode::OK);
    irc.until(|record| record.transactions().any(|heard| of_bridge(heard)["curve25519"] == 1)).await;
    assert_eq!(told_with("鍵がある").await, Value::Null, "what it knows it is not told again");
}

#[tokio::test]
async fn a_device_is_told_of_as_many_keys_as_before_when_it_has_uploaded_as_many_as_were_claimed() {
    let (irc, net, server) = town("org.matrix.msc3202: true").await;
    let hanako = server.user("hanako").await;
    let bot = irc.bot(&server);
    let room = bridged(&irc, &server, &hanako).await;
    make_device(&bot, "BRIDGE").await;
    const COUNTS: &str = "device_one_time_keys_count";
    let upload = async |id: &str| {
        let keys = json!({ "one_time_keys": { id: "bm90IGEga2V5IGJ1dCBsb25nIGVub3VnaCBmb3IgaXQ" } });
        let path = as_device("/_matrix/client/v3/keys/upload", "BRIDGE");
        assert_eq!(bot.ask(Method::POST, &path, Some(&keys)).await.0, StatusCode::OK);
    };
    let told_of_one = |record: &Record| {
        let of_bridge = |heard: &&super::service::Heard| {
            heard.is_taken && heard.body[COUNTS][bot.id().as_str()]["BRIDGE"]["curve25519"] == 1
        };
        record.transactions().filter(of_bridge).count()
    };
    upload("curve25519:AAAAAQ").await;
    irc.until(|record| told_of_one(record) == 1).await;

    // All of it while a transaction is on its way: the number of before is the one that is found after it.
    irc.will(super::service::Conduct::Fails(500));
    hanako.send(&room, "届かない").await;
    irc.until(|record| record.transactions().any(|heard| !heard.is_taken)).await;
    upload("curve25519:AAAAAg").await;
    let claim = json!({ "one_time_keys": { bot.id().as_str(): { "BRIDGE": "curve25519" } } });
    hanako.call(Method::POST, "/keys/claim", Some(&claim)).await;
    irc.will(super::service::Conduct::Takes);
    irc.later(&net, |record| told_of_one(record) == 2).await;
}

/// Two bridges that look after the same people.
async fn neighbours() -> (Service, Service, Net, Server) {
    let (irc, sms) = (Service::new("irc").await, Service::new("sms").await);
    let net = Net::new();
    let shared = |service: &Service, own: &str| {
        let whole = service.registration_with("receive_ephemeral: true\norg.matrix.msc3202: true");
        let own = format!("exclusive: true\n    regex: '{own}'");
        assert!(whole.contains(&own));
        whole.replace(&own, "exclusive: false\n    regex: '@shared_.*'")
    };
    let registrations = [shared(&irc, "@_irc_.*"), shared(&sms, "@_sms_.*")];
    let server = net.server_with_services("kanazawa.test", &registrations).await;
    (irc, sms, net, server)
}

#[tokio::test]
async fn of_two_services_that_share_a_user_each_is_told_what_comes_for_the_device_that_it_made() {
    let (irc, sms, _net, server) = neighbours().await;
    let (hanako, bot) = (server.user("hanako").await, irc.bot(&server));
    let ghost =
        json!({ "type": "m.login.application_service", "username": "shared_taro", "inhibit_login": true });
    bot.call(Method::POST, "/register", Some(&ghost)).await;
    let taro = "@shared_taro:kanazawa.test";
    for (service, device) in [(&irc, "IRC"), (&sms, "SMS")] {
        let path = format!("/devices/{device}?user_id={taro}");
        service.bot(&server).call(Method::PUT, &path, Some(&json!({}))).await;
    }
    let content = |device: &str| json!({ "for": device });
    let all = json!({ "messages": { taro: { "IRC": content("IRC"), "SMS": content("SMS") } } });
    hanako.call(Method::PUT, "/sendToDevice/m.test/1", Some(&all)).await;
    let devices_in = |record: &Record| -> BTreeSet<String> {
        let told = told(record, ["to_device", "de.sorunome.msc2409.to_device"]);
        let messages = told.into_iter().flat_map(|list| list.as_array().cloned().unwrap());
        messages.map(|message| message["to_device_id"].as_str().unwrap().to_owned()).collect()
    };
    let counted = |record: &Record| -> BTreeSet<String> {
        let told =
            told(record, ["device_one_time_keys_count", "org.matrix.msc3202.device_one_time_keys_count"]);
        told.iter().filter_map(|all| all[taro].as_object()).flat_map(|it| it.keys().cloned()).collect()
    };
    for (service, device) in [(&irc, "IRC"), (&sms, "SMS")] {
        let own = BTreeSet::from([device.to_owned()]);
        service.until(|record| devices_in(record) == own && counted(record) == own).await;
    }
    // Also when both have had time for more.
    hanako.call(Method::PUT, "/sendToDevice/m.test/2", Some(&all)).await;
    for (service, device) in [(&irc, "IRC"), (&sms, "SMS")] {
        let twice = |record: &Record| {
            let told = told(record, ["to_device", "de.sorunome.msc2409.to_device"]);
            told.iter().map(|list| list.as_array().unwrap().len()).sum::<usize>() >= 2
        };
        let record = service.until(twice).await;
        let own = BTreeSet::from([device.to_owned()]);
        assert_eq!((devices_in(&record), counted(&record)), (own.clone(), own));
    }
}

#[tokio::test]
async fn what_is_sent_to_a_device_of_a_service_comes_as_it_was_written() {
    let (irc, _net, server) = town("receive_ephemeral: true").await;
    let (hanako, bot) = (server.user("hanako").await, irc.bot(&server));
    make_device(&bot, "BRIDGE").await;
    // Whoever reads it and writes it anew writes it otherwise.
    let content = r#"{"b":{"z":"[1, 2]"},"a":[1.50,"\u65e5"]}"#;
    let body = format!(r#"{{"messages":{{"{}":{{"BRIDGE":{content}}}}}}}"#, bot.id());
    let path = "/_matrix/client/v3/sendToDevice/m.test/1";
    let (status, answer) = hanako.ask_text(Method::PUT, path, Some(body.as_str())).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let has_it = |record: &Record| record.transactions().any(|heard| heard.raw.contains(content));
    irc.until(has_it).await;
}

static SERVICE_DEVICES: Table<(String, String), Bytes> =
    Table::new(156, "account.service_devices", Tuning::Small);

#[tokio::test]
async fn a_device_from_before_its_maker_was_noted_is_of_who_registered_its_user_or_claims_it_first() {
    let (irc, sms, _net, server) = neighbours().await;
    let (one, other) = (irc.bot(&server), sms.bot(&server));
    let ghost =
        json!({ "type": "m.login.application_service", "username": "shared_taro", "inhibit_login": true });
    one.call(Method::POST, "/register", Some(&ghost)).await;
    server.user("shared_hanako").await;
    let (taro, hanako) = ("@shared_taro:kanazawa.test", "@shared_hanako:kanazawa.test");
    let device = |user: &str| format!("/_matrix/client/v3/devices/BRIDGE?user_id={user}");
    let mut batch = Batch::new();
    for user in [taro, hanako] {
        assert_eq!(one.ask(Method::PUT, &device(user), Some(&json!({}))).await.0, StatusCode::CREATED);
        batch.put(&SERVICE_DEVICES, &(user, "BRIDGE"), &Bytes::new());
    }
    let store = server.look(|house| house.store.clone());
    store.commit(batch).await.unwrap();
    drop(store);
    server.crash_and_restart().await;

    let acts = async |bot: &User, user: &str| {
        let path = format!("/_matrix/client/v3/account/whoami?user_id={user}&device_id=BRIDGE");
        bot.ask(Method::GET, &path, None).await.0
    };
    assert_eq!((acts(&one, taro).await, acts(&other, taro).await), (StatusCode::OK, StatusCode::BAD_REQUEST));
    // Nobody knows whose this one is, as a person's account is no service's.
    assert_eq!((acts(&one, hanako).await, acts(&other, hanako).await), (StatusCode::OK, StatusCode::OK));
    assert_eq!(other.ask(Method::PUT, &device(hanako), Some(&json!({}))).await.0, StatusCode::OK);
    assert_eq!(
        (acts(&one, hanako).await, acts(&other, hanako).await),
        (StatusCode::BAD_REQUEST, StatusCode::OK)
    );
    let content = json!({ "messages": { taro: { "BRIDGE": {} }, hanako: { "BRIDGE": {} } } });
    server.user("jiro").await.call(Method::PUT, "/sendToDevice/m.test/1", Some(&content)).await;
    for (service, user) in [(&irc, taro), (&sms, hanako)] {
        let to = |record: &Record| -> Vec<String> {
            let told = told(record, ["to_device", "de.sorunome.msc2409.to_device"]);
            let messages = told.into_iter().flat_map(|list| list.as_array().cloned().unwrap());
            messages.map(|message| message["to_user_id"].as_str().unwrap().to_owned()).collect()
        };
        let record = service.until(|record| !to(record).is_empty()).await;
        assert_eq!(to(&record), [user]);
    }
}
