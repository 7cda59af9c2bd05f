//! Which rooms and people concern a service by its namespaces, and across servers.

use http::{Method, StatusCode};
use ruma::{OwnedRoomId, RoomId};
use serde_json::{Value, json};
use testkit::{Net, Preset, User};

use super::service::{Service, bridged, town};

const GHOST: &str = "@_irc_taro:kanazawa.test";

/// A registration whose namespaces of users, aliases and rooms are these, as YAML.
fn with_namespaces(service: &Service, users: &str, aliases: &str, rooms: &str) -> String {
    let whole = service.registration();
    let (head, _) = whole.split_once("namespaces:").unwrap();
    let list = |expression: &str| match expression {
        "" => "[]".to_owned(),
        expression => format!("\n  - exclusive: false\n    regex: '{expression}'"),
    };
    format!(
        "{head}namespaces:\n  users: {}\n  aliases: {}\n  rooms: {}\n",
        list(users),
        list(aliases),
        list(rooms)
    )
}

async fn make_ghost(bot: &User, name: &str) {
    let ghost = json!({ "type": "m.login.application_service", "username": name, "inhibit_login": true });
    bot.call(Method::POST, "/register", Some(&ghost)).await;
}

async fn join_as(bot: &User, ghost: &str, room: &RoomId) {
    bot.call(Method::POST, &format!("/rooms/{room}/join?user_id={ghost}"), Some(&json!({}))).await;
}

/// A room of two servers, made by the one that is named first.
async fn shared(owner: &User, guest: &User) -> OwnedRoomId {
    let room = owner.create_room(Preset::PublicChat).await;
    guest.join(&room, owner.id().server_name().as_str()).await;
    room
}

#[tokio::test]
async fn a_room_that_is_named_concerns_a_service_while_somebody_of_its_authority_is_there() {
    let irc = Service::new("irc").await;
    let net = Net::new();
    let registration = with_namespaces(&irc, "", "", "!");
    // Another authority of the process is another town.
    let server = net.process_with_services(&["kanazawa.test", "wajima.test"], &[registration]).await;
    let (hanako, jiro) = (server.user("hanako").await, server.user("jiro").await);
    let taro = server.user_of("wajima.test", "taro").await;
    let room = taro.create_room(Preset::PublicChat).await;
    taro.send(&room, "だれもいない").await;
    hanako.join(&room, "kanazawa.test").await;
    taro.send(&room, "一人いる").await;
    jiro.join(&room, "kanazawa.test").await;
    hanako.leave(&room).await;
    taro.send(&room, "まだ一人いる").await;
    jiro.leave(&room).await;
    taro.send(&room, "もういない").await;
    hanako.join(&room, "kanazawa.test").await;
    taro.send(&room, "またいる").await;
    let record = irc.until(|record| record.texts().contains(&"またいる".to_owned())).await;
    assert_eq!(record.texts(), ["一人いる", "まだ一人いる", "またいる"]);
    // Also who comes first and who goes last.
    let moves =
        |event: &&Value| event["type"] == "m.room.member" && event["state_key"] == hanako.id().as_str();
    let moves = record
        .events()
        .iter()
        .filter(moves)
        .map(|event| event["content"]["membership"].clone())
        .collect::<Vec<_>>();
    assert_eq!(moves, ["join", "leave", "join"]);
    // What is of the other town's network it is not asked for either.
    let asked = json!({ "third_party_instance_id": "irc|libera" });
    let path = format!("/directory/list/appservice/libera/{room}");
    irc.bot(&server).join(&room, "kanazawa.test").await;
    irc.bot(&server).call(Method::PUT, &path, Some(&json!({ "visibility": "public" }))).await;
    for (user, shown) in [(&hanako, 1), (&taro, 0)] {
        for query in [&asked, &json!({ "include_all_networks": true })] {
            let answer = user.call(Method::POST, "/publicRooms", Some(query)).await;
            assert_eq!(answer["chunk"].as_array().unwrap().len(), shown, "{query}");
        }
    }
}

#[tokio::test]
async fn a_room_concerns_a_service_while_it_has_an_alias_of_its_namespace() {
    let irc = Service::new("irc").await;
    let net = Net::new();
    let registration = with_namespaces(&irc, "", "#_irc_.*", "");
    let server = net.server_with_services("kanazawa.test", &[registration]).await;
    let (hanako, bot) = (server.user("hanako").await, irc.bot(&server));
    let (room, next) =
        (hanako.create_room(Preset::PublicChat).await, hanako.create_room(Preset::PublicChat).await);
    hanako.send(&room, "名前がない").await;
    let alias = |name: &str| format!("/directory/room/%23{name}:kanazawa.test");
    hanako.call(Method::PUT, &alias("irc"), Some(&json!({ "room_id": room }))).await;
    hanako.send(&room, "ほかの名前").await;
    for room in [&room, &next] {
        bot.join(room, "kanazawa.test").await;
    }
    for name in ["_irc_town", "_irc_city"] {
        bot.call(Method::PUT, &alias(name), Some(&json!({ "room_id": room }))).await;
    }
    bot.call(Method::PUT, &alias("_irc_next"), Some(&json!({ "room_id": next }))).await;
    for room in [&room, &next] {
        bot.leave(room).await;
    }
    // At once, though what was known of the room is older; and as it was when something happened, however long after that it
    // is looked at.
    hanako.send(&room, "名前がある").await;
    bot.call(Method::DELETE, &alias("_irc_town"), None).await;
    hanako.send(&room, "もう一つある").await;
    bot.call(Method::DELETE, &alias("_irc_city"), None).await;
    hanako.send(&room, "もうない").await;
    hanako.send(&next, "次の部屋").await;
    let record = irc.until(|record| record.texts().contains(&"次の部屋".to_owned())).await;
    assert_eq!(record.texts(), ["名前がある", "もう一つある", "次の部屋"]);
}

#[tokio::test]
async fn who_is_named_concerns_a_service_wherever_he_is_from_where_its_authority_is() {
    let irc = Service::new("irc").await;
    let net = Net::new();
    let wajima = net.server("wajima.test").await;
    let (taro, jiro) = (wajima.user("taro").await, wajima.user("jiro").await);
    let registration = with_namespaces(&irc, "@taro:", "", "");
    let kanazawa = net.server_with_services("kanazawa.test", &[registration]).await;
    let hanako = kanazawa.user("hanako").await;
    let room = shared(&hanako, &taro).await;
    jiro.join(&room, "kanazawa.test").await;
    jiro.send(&room, "名のない人").await;
    taro.send(&room, "名のある人").await;
    hanako.kick(&room, taro.id()).await;
    // What others say is told where users of its are alone; and he is none, though he is named.
    let is_kick =
        |event: &Value| event["sender"] == hanako.id().as_str() && event["state_key"] == taro.id().as_str();
    let record = irc.until(|record| record.events().iter().any(is_kick)).await;
    assert_eq!(record.texts(), ["名のある人"]);
    for event in record.events() {
        let concerns = [&event["sender"], &event["state_key"]].iter().any(|it| **it == taro.id().as_str());
        assert!(concerns, "{event}");
    }
}

#[tokio::test]
async fn who_is_named_concerns_nobody_where_the_authority_of_the_service_is_not() {
    let irc = Service::new("irc").await;
    let net = Net::new();
    let registration = with_namespaces(&irc, "@taro:", "", "");
    let server = net.process_with_services(&["kanazawa.test", "wajima.test"], &[registration]).await;
    let hanako = server.user("hanako").await;
    let (taro, jiro) =
        (server.user_of("wajima.test", "taro").await, server.user_of("wajima.test", "jiro").await);
    let room = taro.create_room(Preset::PublicChat).await;
    jiro.join(&room, "wajima.test").await;
    taro.send(&room, "だれもいない").await;
    hanako.join(&room, "wajima.test").await;
    // Though he is of this process, he is none of its users: what others say there is not told.
    jiro.send(&room, "名のない人").await;
    taro.send(&room, "いる").await;
    irc.until(|record| record.texts().contains(&"いる".to_owned())).await;
    assert_eq!(irc.record().texts(), ["いる"]);
}

#[tokio::test]
async fn of_a_network_to_which_a_service_leads_the_people_of_its_authority_hear_alone() {
    let irc = Service::new("irc").await;
    let net = Net::new();
    let registration = irc.registration_with("protocols: [irc]");
    let server = net.process_with_services(&["kanazawa.test", "wajima.test"], &[registration]).await;
    irc.answers("/_matrix/app/v1/thirdparty/protocol/irc", 200, json!({ "icon": "mxc://a/b" }));
    let (hanako, taro) = (server.user("hanako").await, server.user_of("wajima.test", "taro").await);
    let protocols = async |user: &User| user.call(Method::GET, "/thirdparty/protocols", None).await;
    assert!(protocols(&hanako).await["irc"].is_object());
    assert_eq!(protocols(&taro).await, json!({}));
    let path = "/_matrix/client/v3/thirdparty/user/irc?nick=a";
    assert_eq!(taro.ask(Method::GET, path, None).await.0, StatusCode::NOT_FOUND);
}

/// AS1
#[tokio::test]
async fn what_comes_late_after_a_link_broke_is_told_once() {
    let irc = Service::new("irc").await;
    let net = Net::new();
    let kanazawa = net.server_with_services("kanazawa.test", &[irc.registration()]).await;
    let wajima = net.server("wajima.test").await;
    let (hanako, taro) = (kanazawa.user("hanako").await, wajima.user("taro").await);
    let room = bridged(&irc, &kanazawa, &hanako).await;
    taro.join(&room, "kanazawa.test").await;
    let link = net.link(&kanazawa, &wajima);
    let mut texts = Vec::new();
    for round in 0..3 {
        link.cut();
        for number in 0..5 {
            let (here, there) = (format!("金沢 {round} {number}"), format!("輪島 {round} {number}"));
            hanako.send(&room, &here).await;
            taro.send(&room, &there).await;
            texts.extend([here, there]);
        }
        link.heal();
        let newest = texts.last().unwrap().clone();
        for _ in 0..20 {
            net.advance(std::time::Duration::from_secs(60));
            let seen = hanako.sync(std::time::Duration::ZERO).await;
            if seen.has_message(&room, &newest) {
                break;
            }
        }
        hanako.sync_until(|seen| seen.has_message(&room, &newest)).await;
    }
    let record = irc.until(|record| texts.iter().all(|text| record.texts().contains(text))).await;
    let mut told = record.texts();
    told.sort();
    texts.sort();
    assert_eq!(told, texts, "each once");
}

/// AS8
#[tokio::test]
async fn a_bot_among_its_own_exclusive_names_is_told_what_concerns_it() {
    let irc = Service::new("irc").await;
    let net = Net::new();
    // As registrations are written that name the bot with its server, between the marks of begin and end.
    let own = irc.registration().replace("'@_irc_.*'", "'^@(ircbot|_irc_.*):kanazawa\\.test$'");
    let server = net.server_with_services("kanazawa.test", &[own]).await;
    let hanako = server.user("hanako").await;
    let bot = irc.bot(&server);
    let asked = json!({ "type": "m.login.application_service", "username": "ircbot", "inhibit_login": true });
    let (status, answer) = bot.ask(Method::POST, "/_matrix/client/v3/register", Some(&asked)).await;
    // It was made at the start; what a bridge does there is to go on.
    assert!(status == StatusCode::BAD_REQUEST && answer.contains("M_USER_IN_USE"), "{answer}");
    make_ghost(&bot, "_irc_taro").await;
    let room = bridged(&irc, &server, &hanako).await;
    hanako.send(&room, "聞こえますか").await;
    irc.until(|record| record.texts() == ["聞こえますか"]).await;
}

/// AS10
#[tokio::test]
async fn an_alias_alone_shows_a_service_no_members_and_a_ghost_in_the_room_does() {
    let irc = Service::new("irc").await;
    let (_net, server) = town(&[&irc]).await;
    let (hanako, bot) = (server.user("hanako").await, irc.bot(&server));
    make_ghost(&bot, "_irc_taro").await;
    let wishes = json!({ "preset": "private_chat", "invite": [GHOST] });
    let room = hanako.create_room_with(&wishes).await;
    // The alias leads to a room in which the service has nobody.
    join_as(&bot, GHOST, &room).await;
    let alias = format!("/directory/room/%23_irc_town:kanazawa.test?user_id={GHOST}");
    bot.call(Method::PUT, &alias, Some(&json!({ "room_id": room }))).await;
    let members = async |user: &str| {
        let path = format!("/_matrix/client/v3/rooms/{room}/joined_members{user}");
        bot.ask(Method::GET, &path, None).await.0
    };
    assert_eq!(members("").await, StatusCode::FORBIDDEN);
    assert_eq!(members(&format!("?user_id={GHOST}")).await, StatusCode::OK);
    bot.call(Method::POST, &format!("/rooms/{room}/leave?user_id={GHOST}"), Some(&json!({}))).await;
    assert_eq!(members("").await, StatusCode::FORBIDDEN);
}

/// AS11, AS13
#[tokio::test]
async fn what_ghosts_send_stands_in_the_order_of_their_requests_and_once_however_often_they_repeat_it() {
    let irc = Service::new("irc").await;
    let (_net, server) = town(&[&irc]).await;
    let (hanako, bot) = (server.user("hanako").await, irc.bot(&server));
    let room = bridged(&irc, &server, &hanako).await;
    let ghosts = ["@_irc_taro:kanazawa.test", "@_irc_jiro:kanazawa.test"];
    for ghost in ghosts {
        make_ghost(&bot, &ghost[1..ghost.find(':').unwrap()]).await;
        join_as(&bot, ghost, &room).await;
    }
    let send = async |ghost: &str, number: usize| {
        let path = format!("/rooms/{room}/send/m.room.message/{number}?user_id={ghost}");
        let said = json!({ "msgtype": "m.text", "body": format!("{number} 行目") });
        bot.call(Method::PUT, &path, Some(&said)).await["event_id"].clone()
    };
    let mut texts = Vec::new();
    for number in 0..20 {
        // The one who waits too long asks again while the first request may still be under way.
        let ghost = ghosts[number % 2];
        let (one, again, third) = tokio::join!(send(ghost, number), send(ghost, number), send(ghost, number));
        assert!(one == again && again == third, "one event");
        texts.push(format!("{number} 行目"));
    }
    // While one's request is under way comes the other's.
    for number in (20..80).step_by(2) {
        tokio::join!(biased; send(ghosts[0], number), send(ghosts[1], number + 1));
        texts.extend([number, number + 1].map(|number| format!("{number} 行目")));
    }
    let told = irc.until(|record| record.texts().len() >= texts.len()).await;
    assert_eq!(told.texts(), texts);
    let times: Vec<u64> = told
        .events()
        .iter()
        .filter(|event| event["type"] == "m.room.message")
        .map(|event| event["origin_server_ts"].as_u64().unwrap())
        .collect();
    assert!(times.is_sorted(), "{times:?}");
    assert_eq!(hanako.history(&room).await, texts);
}

/// AS2
#[tokio::test]
async fn a_bot_syncs_on_its_device_as_itself_whatever_else_is_asked_for() {
    let irc = Service::new("irc").await;
    let (_net, server) = town(&[&irc]).await;
    let (hanako, bot) = (server.user("hanako").await, irc.bot(&server));
    let room = bridged(&irc, &server, &hanako).await;
    bot.call(Method::PUT, "/devices/BRIDGE", Some(&json!({}))).await;
    let path = |since: &str| {
        format!(
            "/sync?timeout=0&user_id={}&device_id=BRIDGE&org.matrix.msc3202.device_id=BRIDGE&set_presence=offline\
             &use_state_after=true&org.matrix.msc4222.use_state_after=true{since}",
            bot.id()
        )
    };
    let first = bot.call(Method::GET, &path(""), None).await;
    assert!(
        first["rooms"]["join"][room.as_str()].is_object() && first["device_one_time_keys_count"].is_object()
    );
    let message = json!({ "messages": { bot.id().as_str(): { "BRIDGE": { "a": 1 } } } });
    hanako.call(Method::PUT, "/sendToDevice/m.test/1", Some(&message)).await;
    let next = bot
        .call(Method::GET, &path(&format!("&since={}", first["next_batch"].as_str().unwrap())), None)
        .await;
    assert_eq!(next["to_device"]["events"][0]["content"]["a"], 1);
}

#[tokio::test]
async fn an_invitation_of_a_ghost_from_elsewhere_is_told_and_what_ends_it() {
    let (irc, sms) = (Service::new("irc").await, Service::new("sms").await);
    let net = Net::new();
    let registrations = [irc.registration(), sms.registration()];
    let kanazawa = net.server_with_services("kanazawa.test", &registrations).await;
    let taro = net.server("wajima.test").await.user("taro").await;
    let bot = irc.bot(&kanazawa);
    make_ghost(&bot, "_irc_taro").await;
    let room = taro.create_room(Preset::PrivateChat).await;
    let memberships = |record: &super::service::Record| -> Vec<Value> {
        let events = record.events();
        let own =
            events.iter().filter(|event| event["room_id"] == room.as_str() && event["state_key"] == GHOST);
        own.map(|event| event["content"]["membership"].clone()).collect()
    };
    taro.invite(&room, ruma::user_id!("@_irc_taro:kanazawa.test")).await;
    irc.until(|record| memberships(record) == ["invite"]).await;
    taro.kick(&room, ruma::user_id!("@_irc_taro:kanazawa.test")).await;
    irc.until(|record| memberships(record) == ["invite", "leave"]).await;
    assert!(sms.record().transactions().next().is_none(), "it concerns nobody else");
}

#[tokio::test]
async fn a_service_is_told_which_senders_are_of_another_one_and_of_nobody_else() {
    // Names that it has to itself; and names that it shares with people, of which it registered one.
    for (exclusive, names) in [(true, "@_sms_.*"), (false, "@.*")] {
        senders_of_another(exclusive, names).await;
    }
}

async fn senders_of_another(exclusive: bool, names: &str) {
    let (irc, sms) = (Service::new("irc").await, Service::new("sms").await);
    let of_sms = sms.registration().replace(
        "exclusive: true\n    regex: '@_sms_.*'",
        &format!("exclusive: {exclusive}\n    regex: '{names}'"),
    );
    assert!(of_sms.contains(names));
    let net = Net::new();
    let server = net.server_with_services("kanazawa.test", &[irc.registration(), of_sms]).await;
    let hanako = server.user("hanako").await;
    let room = bridged(&irc, &server, &hanako).await;
    let others = sms.bot(&server);
    make_ghost(&others, "_sms_taro").await;
    join_as(&others, "@_sms_taro:kanazawa.test", &room).await;
    let is_join = |event: &Value| event["state_key"] == "@_sms_taro:kanazawa.test";
    irc.until(|record| record.events().iter().any(is_join)).await;
    let say = async |who: &User, text: &str, of: &str| {
        let content = json!({ "msgtype": "m.text", "body": text });
        let path = format!("/rooms/{room}/send/m.room.message/{text}{of}");
        who.call(Method::PUT, &path, Some(&content)).await;
        irc.until(|record| record.texts().contains(&text.to_owned())).await
    };
    let named_with = |record: &super::service::Record, text: &str| {
        let has_it =
            |events: &Value| events.as_array().unwrap().iter().any(|event| event["content"]["body"] == text);
        let told = record.transactions().find(|told| has_it(&told.body["events"])).unwrap();
        told.body.get("jp.yakuba.services").cloned()
    };

    let record = say(&hanako, "human", "").await;
    assert_eq!(named_with(&record, "human"), None);
    let record = say(&others, "ghost", "?user_id=@_sms_taro:kanazawa.test").await;
    assert_eq!(named_with(&record, "ghost"), Some(json!(["@_sms_taro:kanazawa.test"])));
    // Its own are no others'.
    make_ghost(&irc.bot(&server), "_irc_jiro").await;
    join_as(&irc.bot(&server), "@_irc_jiro:kanazawa.test", &room).await;
    let record = say(&irc.bot(&server), "own", "?user_id=@_irc_jiro:kanazawa.test").await;
    assert_eq!(named_with(&record, "own"), None);
}

/// tuwunel#72: a service for double puppets names everybody, for itself alone nobody.
#[tokio::test]
async fn a_service_that_names_everybody_takes_nobody_from_the_service_that_has_them_to_itself() {
    let irc = Service::new("irc").await;
    let net = Net::new();
    let puppets = "id: doublepuppet\nurl: null\nas_token: token-of-the-double-puppets\nhs_token: not-used-by-us-as-it-has-no-address\n\
                   sender_localpart: doublepuppet\nrate_limited: false\nnamespaces:\n  users:\n  - exclusive: false\n    \
                   regex: '@.*:kanazawa\\.test'\n";
    let registrations = [puppets.to_owned(), irc.registration()];
    let server = net.server_with_services("kanazawa.test", &registrations).await;
    let (hanako, bot) = (server.user("hanako").await, irc.bot(&server));
    make_ghost(&bot, "_irc_taro").await;
    bot.call(Method::PUT, &format!("/devices/BRIDGE?user_id={GHOST}"), Some(&json!({}))).await;
    let room = bridged(&irc, &server, &hanako).await;
    join_as(&bot, GHOST, &room).await;
    let whoami = format!("/account/whoami?user_id={GHOST}&device_id=BRIDGE");
    assert_eq!(bot.call(Method::GET, &whoami, None).await["device_id"], "BRIDGE");

    let puppet = server.service("doublepuppet", "token-of-the-double-puppets");
    let send = format!("/rooms/{room}/send/m.room.message/1?user_id={}", hanako.id());
    puppet.call(Method::PUT, &send, Some(&json!({ "msgtype": "m.text", "body": "電話から" }))).await;
    irc.until(|record| record.texts() == ["電話から"]).await;
    let taken =
        json!({ "type": "m.login.application_service", "username": "_irc_jiro", "inhibit_login": true });
    let (status, answer) = puppet.ask(Method::POST, "/_matrix/client/v3/register", Some(&taken)).await;
    assert!(status == StatusCode::BAD_REQUEST && answer.contains("M_EXCLUSIVE"), "{answer}");
    // It may act for the bridge's ghost as well, which it names; the bridge's device is the bridge's.
    let whoami = format!("/_matrix/client/v3/account/whoami?user_id={GHOST}&device_id=BRIDGE");
    let (status, answer) = puppet.ask(Method::GET, &whoami, None).await;
    assert!(status == StatusCode::BAD_REQUEST && answer.contains("M_UNKNOWN_DEVICE"), "{answer}");
}
