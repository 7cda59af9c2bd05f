//! Application services: as whom they act, and what they keep for themselves.

use std::sync::Arc;

use account::{AppService, Namespace, NewAppService, Settings};
use base::Clock;
use serde_json::{Value, json};

use super::town::{Answer, PASSWORD, Person, Town, open_registration};

const IRC: &str = "token-of-the-irc-bridge";
const SMS: &str = "token-of-the-sms-bridge";

const REGISTER: &str = "/_matrix/client/v3/register";
const LOGIN: &str = "/_matrix/client/v3/login";

/// A bridge that has for itself what begins with its name, and looks after staff as well.
fn bridge(name: &str, token: &str, limits_users: bool) -> Arc<AppService> {
    let names = |expression: &str, exclusive| Namespace::new(expression, exclusive).unwrap();
    Arc::new(AppService::new(NewAppService {
        id: name.to_owned(),
        sender: format!("@_{name}:hs1").try_into().unwrap(),
        as_token: token.to_owned(),
        users: vec![names(&format!("@_{name}_.*"), true), names("@staff_", false)],
        aliases: vec![names(&format!("#_{name}_.*:hs1"), true)],
        limits_users,
        told: Default::default(),
    }))
}

async fn town() -> Town {
    Town::serving(vec![bridge("irc", IRC, false), bridge("sms", SMS, true)]).await
}

/// A request of a service, as whom its path says.
async fn by(town: &Town, token: &str, method: &str, path: &str, body: Value) -> Answer {
    town.raw("hs1", method, path, Some(token), body.to_string().into_bytes()).await
}

fn v3(path: &str, user: &str) -> String {
    let sign = if path.contains('?') { '&' } else { '?' };
    format!("/_matrix/client/v3{path}{sign}user_id={user}")
}

async fn register(town: &Town, token: &str, name: &str) -> Answer {
    let body = json!({ "type": "m.login.application_service", "username": name, "inhibit_login": true });
    by(town, token, "POST", REGISTER, body).await
}

async fn room_of(town: &Town, user: &str) -> String {
    let made = by(town, IRC, "POST", &v3("/createRoom", user), json!({})).await.ok();
    made["room_id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn nobody_acts_as_the_servers_own_users_however_wide_his_namespaces_are_nor_is_told_anything_in_their_place()
 {
    let wide = AppService::new(NewAppService {
        id: "wide".to_owned(),
        sender: "@_wide:hs1".try_into().unwrap(),
        as_token: IRC.to_owned(),
        users: vec![Namespace::new("@.*", false).unwrap()],
        aliases: Vec::new(),
        limits_users: true,
        told: Default::default(),
    });
    let town = Town::serving(vec![Arc::new(wide)]).await;
    let (somu, hanako) = (town.admin("somu").await, town.user("hanako").await);
    town.accounts.steward("hs1".try_into().unwrap()).await.unwrap();
    let notice = |user: &str| json!({ "user_id": user, "content": { "msgtype": "m.text", "body": "x" } });
    let send = "/_synapse/admin/v1/send_server_notice";
    somu.post(send, notice(&hanako.id)).await.ok();
    let own = ["@_rooms:hs1", "@_server:hs1"];
    for user in own {
        // It would be as much as making him one of those who are told things.
        somu.post(send, notice(user)).await.fails(400, "M_INVALID_PARAM");
        by(&town, IRC, "GET", &v3("/account/whoami", user), json!({})).await.fails(403, "M_FORBIDDEN");
        let body = json!({ "type": "m.login.application_service", "identifier": { "type": "m.id.user", "user": user } });
        by(&town, IRC, "POST", LOGIN, body).await.fails(403, "M_FORBIDDEN");
        let user: &ruma::UserId = user.try_into().unwrap();
        let by = audit::Actor::operator("test");
        town.accounts.set_password(user, PASSWORD, &by).await.unwrap_err();
        town.accounts.close_account(user, &by).await.unwrap_err();
    }
    let whoami = by(&town, IRC, "GET", &v3("/account/whoami", &hanako.id), json!({})).await.ok();
    assert_eq!(whoami["user_id"], hanako.id.as_str());
}

#[tokio::test]
async fn a_service_acts_as_itself_and_as_the_users_of_its_namespaces_that_have_accounts() {
    let town = town().await;
    let whoami = "/_matrix/client/v3/account/whoami";
    let own = by(&town, IRC, "GET", whoami, json!({})).await.ok();
    assert_eq!(own, json!({ "user_id": "@_irc:hs1" }), "it acts on no device");

    by(&town, IRC, "GET", &v3("/account/whoami", "@_irc_taro:hs1"), json!({}))
        .await
        .fails(403, "M_FORBIDDEN");
    register(&town, IRC, "_irc_taro").await.ok();
    let taro = by(&town, IRC, "GET", &v3("/account/whoami", "@_irc_taro:hs1"), json!({})).await.ok();
    assert_eq!(taro["user_id"], "@_irc_taro:hs1");
    // The token does as well in the query, where bridges of old put it.
    let path = format!("{}&access_token={IRC}", v3("/account/whoami", "@_irc_taro:hs1"));
    assert_eq!(town.ask("GET", &path, json!({})).await.ok(), taro);

    town.user("hanako").await;
    register(&town, SMS, "_sms_jiro").await.ok();
    for other in ["@hanako:hs1", "@_sms_jiro:hs1", "@_sms:hs1", "@_irc_taro:hs2", "@_irc_taro:elsewhere.test"]
    {
        by(&town, IRC, "GET", &v3("/account/whoami", other), json!({})).await.fails(403, "M_FORBIDDEN");
    }
    by(&town, IRC, "GET", &v3("/account/whoami", "taro"), json!({})).await.fails(400, "M_INVALID_PARAM");
    let twice = format!("{}&user_id=@_irc:hs1", v3("/account/whoami", "@_irc_taro:hs1"));
    by(&town, IRC, "GET", &twice, json!({})).await.fails(400, "M_INVALID_PARAM");
    // At another authority there is no such token.
    let elsewhere = town.raw("hs2", "GET", whoami, Some(IRC), Vec::new()).await;
    elsewhere.fails(401, "M_UNKNOWN_TOKEN");
    // Nobody else acts as another.
    let hanako = town.person("hs1", &login(&town, "hanako").await);
    let told = hanako.get("/account/whoami?user_id=@_irc_taro:hs1").await.ok();
    assert_eq!(told["user_id"], "@hanako:hs1");
}

async fn login(town: &Town, name: &str) -> Value {
    let body = json!({ "type": "m.login.password", "user": name, "password": PASSWORD });
    town.ask("POST", LOGIN, body).await.ok()
}

#[tokio::test]
async fn a_service_sees_what_its_users_may_see_and_no_more() {
    let town = town().await;
    register(&town, IRC, "_irc_taro").await.ok();
    register(&town, IRC, "_irc_jiro").await.ok();
    let hanako = town.user("hanako").await;
    let room = hanako.create_room(json!({ "preset": "private_chat", "invite": ["@_irc_taro:hs1"] })).await;

    let messages = format!("/rooms/{room}/messages?dir=b");
    for outside in ["@_irc:hs1", "@_irc_jiro:hs1"] {
        for path in [messages.as_str(), &format!("/rooms/{room}/state"), &format!("/rooms/{room}/members")] {
            by(&town, IRC, "GET", &v3(path, outside), json!({})).await.fails(403, "M_FORBIDDEN");
        }
        let send = format!("/rooms/{room}/send/m.room.message/1");
        let said = json!({ "msgtype": "m.text", "body": "x" });
        by(&town, IRC, "PUT", &v3(&send, outside), said).await.fails(403, "M_FORBIDDEN");
    }
    let join = format!("/rooms/{room}/join");
    by(&town, IRC, "POST", &v3(&join, "@_irc_taro:hs1"), json!({})).await.ok();
    by(&town, IRC, "GET", &v3(&messages, "@_irc_taro:hs1"), json!({})).await.ok();
    by(&town, IRC, "GET", &v3(&messages, "@_irc:hs1"), json!({})).await.fails(403, "M_FORBIDDEN");
    by(&town, SMS, "GET", &v3(&messages, "@_irc_taro:hs1"), json!({})).await.fails(403, "M_FORBIDDEN");
}

#[tokio::test]
async fn a_service_has_not_the_power_of_administrators_among_its_users() {
    let town = town().await;
    let somu = town.admin("staff_somu").await;
    let lock = "/_matrix/client/v1/admin/lock/@staff_somu:hs1";
    somu.get(lock).await.ok();
    let path = format!("{lock}?user_id=@staff_somu:hs1");
    by(&town, IRC, "GET", &path, json!({})).await.fails(403, "M_FORBIDDEN");
    // Nor by a session of theirs.
    let asked = json!({ "type": "m.login.application_service",
        "identifier": { "type": "m.id.user", "user": "staff_somu" } });
    by(&town, IRC, "POST", "/_matrix/client/v3/login", asked).await.fails(403, "M_FORBIDDEN");
}

#[tokio::test]
async fn a_service_is_bound_as_the_guest_is_for_whom_it_acts() {
    let all = AppService::new(NewAppService {
        id: "desk".to_owned(),
        sender: "@desk:hs1".try_into().unwrap(),
        as_token: IRC.to_owned(),
        users: vec![Namespace::new("@.*:hs1", false).unwrap()],
        aliases: Vec::new(),
        limits_users: false,
        told: Default::default(),
    });
    let settings = Settings { guests: true, services: vec![Arc::new(all)], ..open_registration() };
    let town = Town::posting(Clock::system(), settings).await;
    let guest = town.ask("POST", &format!("{REGISTER}?kind=guest"), json!({})).await.ok();
    let guest = guest["user_id"].as_str().unwrap();
    by(&town, IRC, "POST", &v3("/createRoom", "@desk:hs1"), json!({})).await.ok();

    let whoami = by(&town, IRC, "GET", &v3("/account/whoami", guest), json!({})).await.ok();
    assert_eq!(whoami["is_guest"], true);
    let refused = by(&town, IRC, "POST", &v3("/createRoom", guest), json!({})).await;
    refused.fails(403, "M_GUEST_ACCESS_FORBIDDEN");
}

#[tokio::test]
async fn what_a_service_keeps_for_itself_nobody_else_gets() {
    let town = town().await;
    let people =
        |name: &str| json!({ "auth": { "type": "m.login.dummy" }, "username": name, "password": PASSWORD });
    for name in ["_irc", "_IRC_taro", "_irc_taro", "_sms_x"] {
        town.ask("POST", REGISTER, people(name)).await.fails(400, "M_EXCLUSIVE");
        let available = format!("/_matrix/client/v3/register/available?username={name}");
        town.ask("GET", &available, json!({})).await.fails(400, "M_EXCLUSIVE");
    }
    town.ask("POST", REGISTER, people("staff_hanako")).await.ok();
    for name in ["_sms_x", "_sms", "hanako"] {
        register(&town, IRC, name).await.fails(400, "M_EXCLUSIVE");
    }
    register(&town, IRC, "staff_taro").await.ok();
    register(&town, IRC, "staff_taro").await.fails(400, "M_USER_IN_USE");

    let hanako = town.user("hanako").await;
    let room = hanako.create_room(json!({ "preset": "public_chat" })).await;
    let alias = |name: &str| format!("/_matrix/client/v3/directory/room/%23{name}:hs1");
    let body = json!({ "room_id": room });
    hanako.put(&alias("_irc_x"), body.clone()).await.fails(400, "M_EXCLUSIVE");
    let named = json!({ "room_alias_name": "_irc_x" });
    hanako.post("/createRoom", named.clone()).await.fails(400, "M_EXCLUSIVE");
    by(&town, SMS, "POST", "/_matrix/client/v3/createRoom", named.clone()).await.fails(400, "M_EXCLUSIVE");
    let outside = json!({ "room_alias_name": "x" });
    by(&town, IRC, "POST", "/_matrix/client/v3/createRoom", outside).await.fails(400, "M_EXCLUSIVE");
    by(&town, IRC, "POST", "/_matrix/client/v3/createRoom", named).await.ok();
    hanako.ask("DELETE", &alias("_irc_x"), json!({})).await.fails(400, "M_EXCLUSIVE");
    by(&town, IRC, "DELETE", &alias("_irc_x"), json!({})).await.ok();
}

#[tokio::test]
async fn only_a_service_registers_and_signs_in_as_one() {
    let town = town().await;
    let body = json!({ "type": "m.login.application_service", "username": "_irc_taro" });
    town.ask("POST", REGISTER, body.clone()).await.fails(401, "M_MISSING_TOKEN");
    by(&town, "no-token-of-anybody", "POST", REGISTER, body.clone()).await.fails(401, "M_UNKNOWN_TOKEN");
    let hanako = town.user("hanako").await;
    by(&town, &hanako.token, "POST", REGISTER, body.clone()).await.fails(401, "M_UNKNOWN_TOKEN");
    let guest = format!("{REGISTER}?kind=guest");
    by(&town, IRC, "POST", &guest, body.clone()).await.fails(403, "M_GUEST_ACCESS_FORBIDDEN");
    let made = by(&town, IRC, "POST", REGISTER, body).await.ok();
    let taro = town.person("hs1", &made);
    assert_eq!(taro.get("/account/whoami").await.ok()["device_id"], taro.device.as_str());

    let login = |user: &str| {
        let identifier = json!({ "type": "m.id.user", "user": user });
        json!({ "type": "m.login.application_service", "identifier": identifier })
    };
    town.ask("POST", LOGIN, login("_irc_taro")).await.fails(401, "M_MISSING_TOKEN");
    by(&town, &hanako.token, "POST", LOGIN, login("_irc_taro")).await.fails(401, "M_UNKNOWN_TOKEN");
    by(&town, IRC, "POST", LOGIN, login("hanako")).await.fails(400, "M_EXCLUSIVE");
    by(&town, IRC, "POST", LOGIN, login("_irc_nobody")).await.fails(403, "M_FORBIDDEN");
    let session = by(&town, IRC, "POST", LOGIN, login("@_irc_taro:hs1")).await.ok();
    town.person("hs1", &session).get("/account/whoami").await.ok();
    let flows = town.ask("GET", LOGIN, json!({})).await.ok();
    let flows: Vec<&str> =
        flows["flows"].as_array().unwrap().iter().filter_map(|it| it["type"].as_str()).collect();
    assert!(flows.contains(&"m.login.application_service"), "{flows:?}");
}

/// A device of `_irc_taro`.
async fn device_of_taro(town: &Town) -> Person<'_> {
    let body =
        json!({ "type": "m.login.application_service", "username": "_irc_taro", "device_id": "PHONE" });
    let made = by(town, IRC, "POST", REGISTER, body).await.ok();
    town.person("hs1", &made)
}

#[tokio::test]
async fn what_is_about_a_device_is_done_on_one_that_the_user_has() {
    let town = town().await;
    let taro = device_of_taro(&town).await;
    let user = "@_irc_taro:hs1";
    let on = |path: &str, device: &str| format!("{}&device_id={device}", v3(path, user));
    let told = by(&town, IRC, "GET", &on("/account/whoami", "PHONE"), json!({})).await.ok();
    assert_eq!(told["device_id"], "PHONE");
    let of_old = format!("{}&org.matrix.msc3202.device_id=PHONE", v3("/account/whoami", user));
    assert_eq!(by(&town, IRC, "GET", &of_old, json!({})).await.ok()["device_id"], "PHONE");
    for unknown in ["TABLET", "phone"] {
        let path = on("/account/whoami", unknown);
        by(&town, IRC, "GET", &path, json!({})).await.fails(400, "M_UNKNOWN_DEVICE");
    }
    by(&town, IRC, "GET", &on("/account/whoami", ""), json!({})).await.fails(400, "M_INVALID_PARAM");

    by(&town, IRC, "POST", &v3("/keys/upload", user), json!({})).await.fails(400, "M_MISSING_PARAM");
    by(&town, IRC, "POST", &on("/keys/upload", "PHONE"), json!({})).await.ok();
    by(&town, IRC, "POST", &v3("/logout", user), json!({})).await.fails(400, "M_MISSING_PARAM");
    taro.post("/logout", json!({})).await.ok();
    let gone = on("/account/whoami", "PHONE");
    by(&town, IRC, "GET", &gone, json!({})).await.fails(400, "M_UNKNOWN_DEVICE");
}

#[tokio::test]
async fn a_user_who_is_locked_or_gone_is_so_for_his_service_at_once() {
    let town = town().await;
    let somu = town.admin("somu").await;
    register(&town, IRC, "_irc_taro").await.ok();
    let whoami = v3("/account/whoami", "@_irc_taro:hs1");
    by(&town, IRC, "GET", &whoami, json!({})).await.ok();
    let lock = "/_matrix/client/v1/admin/lock/@_irc_taro:hs1";
    somu.put(lock, json!({ "locked": true })).await.ok();
    by(&town, IRC, "GET", &whoami, json!({})).await.fails(401, "M_USER_LOCKED");
    somu.put(lock, json!({ "locked": false })).await.ok();
    by(&town, IRC, "GET", &whoami, json!({})).await.ok();
    let taro: ruma::OwnedUserId = "@_irc_taro:hs1".try_into().unwrap();
    town.close(&taro).await;
    by(&town, IRC, "GET", &whoami, json!({})).await.fails(403, "M_FORBIDDEN");
}

#[tokio::test]
async fn a_service_alone_says_when_something_was_said() {
    let town = town().await;
    register(&town, IRC, "_irc_taro").await.ok();
    let hanako = town.user("hanako").await;
    let taro = "@_irc_taro:hs1";
    let room = room_of(&town, taro).await;
    let send = |txn: &str, ts: &str| format!("/rooms/{room}/send/m.room.message/{txn}?ts={ts}");
    let said = json!({ "msgtype": "m.text", "body": "x" });
    let time_of = async |event: &Value| {
        let path = format!("/rooms/{room}/event/{}", event["event_id"].as_str().unwrap());
        by(&town, IRC, "GET", &v3(&path, taro), json!({})).await.ok()["origin_server_ts"].as_u64().unwrap()
    };
    let event = by(&town, IRC, "PUT", &v3(&send("1", "1641168000000"), taro), said.clone()).await.ok();
    assert_eq!(time_of(&event).await, 1_641_168_000_000);
    let again = by(&town, IRC, "PUT", &v3(&send("1", "1641168000001"), taro), said.clone()).await.ok();
    assert_eq!(again, event);
    let state = format!("/rooms/{room}/state/m.room.topic/?ts=5");
    let event = by(&town, IRC, "PUT", &v3(&state, taro), json!({ "topic": "x" })).await.ok();
    assert_eq!(time_of(&event).await, 5);
    // A time to come is none: others could not verify the event, nor what stands on it.
    for (number, ahead) in [1_000, 5 * 24 * 60 * 60 * 1_000, 1 << 52].into_iter().enumerate() {
        let now = base::Clock::system().now().0;
        let path = send(&format!("ahead{number}"), &(now + ahead).to_string());
        let event = by(&town, IRC, "PUT", &v3(&path, taro), said.clone()).await.ok();
        let told = time_of(&event).await;
        assert!(told >= now && told <= base::Clock::system().now().0, "{told}");
    }
    for wrong in ["-1", "soon", "9007199254740992", "1.5"] {
        let path = v3(&send(&format!("w{wrong}"), wrong), taro);
        by(&town, IRC, "PUT", &path, said.clone()).await.fails(400, "M_INVALID_PARAM");
    }

    let own = hanako.create_room(json!({})).await;
    let path = format!("/rooms/{own}/send/m.room.message/1?ts=5");
    let event = hanako.put(&path, said).await.ok();
    let path = format!("/rooms/{own}/event/{}", event["event_id"].as_str().unwrap());
    let told = hanako.get(&path).await.ok()["origin_server_ts"].as_u64().unwrap();
    assert!(told > 1_641_168_000_000, "what a user says of the time counts for nothing");
}

#[tokio::test]
async fn only_users_of_a_service_that_is_limited_are() {
    // The clock stands still: all of it is one moment, however busy the machine is.
    let (clock, _hand) = Clock::manual(1_700_000_000_000);
    let town = Town::serving_at(clock, vec![bridge("irc", IRC, false), bridge("sms", SMS, true)]).await;
    register(&town, IRC, "_irc_taro").await.ok();
    register(&town, SMS, "_sms_taro").await.ok();
    // More than may be asked at once.
    let many = web::Class::Read.default_rate().burst + 100;
    let statuses = async |token: &str, user: &str| {
        let mut last = 200;
        for _ in 0..many {
            last = last.max(by(&town, token, "GET", &v3("/account/whoami", user), json!({})).await.status);
        }
        last
    };
    assert_eq!(statuses(IRC, "@_irc_taro:hs1").await, 200);
    assert_eq!(statuses(SMS, "@_sms:hs1").await, 200, "its own user is not limited");
    assert_eq!(statuses(SMS, "@_sms_taro:hs1").await, 429);
}

// C102
#[tokio::test]
async fn a_service_that_is_not_limited_joins_invites_and_makes_rooms_as_fast_as_it_likes() {
    // The clock stands still: all of it is one moment.
    let (clock, _hand) = Clock::manual(1_700_000_000_000);
    let town = Town::serving_at(clock, vec![bridge("irc", IRC, false), bridge("sms", SMS, true)]).await;
    for (token, name) in [(IRC, "irc"), (SMS, "sms")] {
        for user in ["taro", "jiro"] {
            register(&town, token, &format!("_{name}_{user}")).await.ok();
        }
    }
    // In each round he makes a room with an invite, invites, and joins: more than may be done at once.
    let rounds = web::Class::Membership.default_rate().burst / 3 + 40;
    let worst = async |token: &str, name: &str| {
        let (taro, jiro) = (format!("@_{name}_taro:hs1"), format!("@_{name}_jiro:hs1"));
        let mut worst = 200;
        for number in 0..rounds {
            let body = json!({ "invite": [jiro], "creation_content": { "number": number } });
            let made = by(&town, token, "POST", &v3("/createRoom", &taro), body).await;
            worst = worst.max(made.status);
            let Some(room) = made.body["room_id"].as_str() else { break };
            let asked = json!({ "user_id": format!("@_{name}:hs1") });
            let invite = v3(&format!("/rooms/{room}/invite"), &taro);
            worst = worst.max(by(&town, token, "POST", &invite, asked).await.status);
            let join = v3(&format!("/rooms/{room}/join"), &jiro);
            worst = worst.max(by(&town, token, "POST", &join, json!({})).await.status);
        }
        worst
    };
    assert_eq!(worst(IRC, "irc").await, 200);
    assert_eq!(worst(SMS, "sms").await, 429);
}

// A11
#[tokio::test]
async fn a_ghost_of_a_service_that_is_not_limited_says_a_thousand_things_in_a_moment() {
    // The clock stands still: all of it is one moment.
    let (clock, _hand) = Clock::manual(1_700_000_000_000);
    let town = Town::serving_at(clock, vec![bridge("irc", IRC, false), bridge("sms", SMS, true)]).await;
    let taken = async |token: &str, name: &str| {
        register(&town, token, name).await.ok();
        let ghost = format!("@{name}:hs1");
        let made = by(&town, token, "POST", &v3("/createRoom", &ghost), json!({})).await;
        let room = made.body["room_id"].as_str().unwrap().to_owned();
        for number in 0..1_000 {
            let path = v3(&format!("/rooms/{room}/send/m.room.message/{number}"), &ghost);
            let body = json!({ "msgtype": "m.text", "body": "x" });
            let answer = by(&town, token, "PUT", &path, body).await;
            if answer.status != 200 {
                answer.fails(429, "M_LIMIT_EXCEEDED");
                return number;
            }
        }
        1_000
    };
    assert_eq!(taken(IRC, "_irc_taro").await, 1_000);
    let burst = taken(SMS, "_sms_taro").await;
    assert!(0 < burst && burst < 1_000, "{burst}");
}

#[tokio::test]
async fn a_service_signs_in_as_nobody_who_is_locked_or_gone() {
    let town = town().await;
    let somu = town.admin("somu").await;
    register(&town, IRC, "_irc_taro").await.ok();
    let asked = json!({ "type": "m.login.application_service",
        "identifier": { "type": "m.id.user", "user": "_irc_taro" } });
    let lock = "/_matrix/client/v1/admin/lock/@_irc_taro:hs1";
    somu.put(lock, json!({ "locked": true })).await.ok();
    by(&town, IRC, "POST", LOGIN, asked.clone()).await.fails(401, "M_USER_LOCKED");
    somu.put(lock, json!({ "locked": false })).await.ok();
    by(&town, IRC, "POST", LOGIN, asked.clone()).await.ok();
    town.close(ruma::user_id!("@_irc_taro:hs1")).await;
    by(&town, IRC, "POST", LOGIN, asked).await.fails(403, "M_USER_DEACTIVATED");
}

#[tokio::test]
async fn a_service_is_bound_as_the_suspended_user_is_for_whom_it_acts() {
    let town = town().await;
    let somu = town.admin("somu").await;
    register(&town, IRC, "_irc_taro").await.ok();
    let room = room_of(&town, "@_irc_taro:hs1").await;
    let suspend = "/_matrix/client/v1/admin/suspend/@_irc_taro:hs1";
    somu.put(suspend, json!({ "suspended": true })).await.ok();
    let send = v3(&format!("/rooms/{room}/send/m.room.message/1"), "@_irc_taro:hs1");
    let said = json!({ "msgtype": "m.text", "body": "x" });
    by(&town, IRC, "PUT", &send, said).await.fails(403, "M_USER_SUSPENDED");
    let messages = v3(&format!("/rooms/{room}/messages?dir=b"), "@_irc_taro:hs1");
    by(&town, IRC, "GET", &messages, json!({})).await.ok();
}

#[tokio::test]
async fn a_service_makes_and_removes_devices_within_bounds_and_none_of_administrators() {
    let town = town().await;
    town.admin("staff_somu").await;
    register(&town, IRC, "_irc_taro").await.ok();
    let device = |user: &str, device: &str| v3(&format!("/devices/{device}"), user);
    let (taro, somu) = ("@_irc_taro:hs1", "@staff_somu:hs1");
    for wrong in ["D".repeat(256), "D".repeat(5_000)] {
        by(&town, IRC, "PUT", &device(taro, &wrong), json!({})).await.fails(400, "M_INVALID_PARAM");
        let body =
            json!({ "type": "m.login.application_service", "username": "_irc_jiro", "device_id": wrong });
        by(&town, IRC, "POST", REGISTER, body).await.fails(400, "M_INVALID_PARAM");
    }
    // Refused before anything was made.
    by(&town, IRC, "GET", &v3("/account/whoami", "@_irc_jiro:hs1"), json!({}))
        .await
        .fails(403, "M_FORBIDDEN");
    for name in ["A", "B", "C"] {
        assert_eq!(by(&town, IRC, "PUT", &device(taro, name), json!({})).await.status, 201);
    }
    let left = async |user: &str| -> Vec<String> {
        let devices = by(&town, IRC, "GET", &v3("/devices", user), json!({})).await.ok();
        let devices = devices["devices"].as_array().unwrap().iter();
        devices.map(|device| device["device_id"].as_str().unwrap().to_owned()).collect()
    };
    by(&town, IRC, "DELETE", &device(taro, "A"), json!({})).await.ok();
    assert_eq!(left(taro).await, ["B", "C"]);
    by(&town, IRC, "POST", &v3("/delete_devices", taro), json!({ "devices": ["C", "gone"] })).await.ok();
    by(&town, IRC, "DELETE", &device(taro, "gone"), json!({})).await.ok();
    assert_eq!(left(taro).await, ["B"]);

    let own = left(somu).await;
    by(&town, IRC, "PUT", &device(somu, "NEW"), json!({})).await.fails(403, "M_FORBIDDEN");
    by(&town, IRC, "DELETE", &device(somu, &own[0]), json!({})).await.fails(403, "M_FORBIDDEN");
    let all = json!({ "devices": own });
    by(&town, IRC, "POST", &v3("/delete_devices", somu), all).await.fails(403, "M_FORBIDDEN");
    assert_eq!(left(somu).await, own);
}

#[tokio::test]
async fn a_service_changes_the_signing_keys_of_its_users_unasked_and_gives_nobody_a_session_of_no_device() {
    let town = town().await;
    let taro = device_of_taro(&town).await;
    let user = "@_irc_taro:hs1";
    let get_token = "/_matrix/client/v1/login/get_token";
    let bare = format!("{get_token}?user_id={user}");
    by(&town, IRC, "POST", &bare, json!({})).await.fails(400, "M_MISSING_PARAM");
    let upload = format!("{}&device_id={}", v3("/keys/device_signing/upload", user), taro.device);
    by(&town, IRC, "POST", &upload, json!({})).await.fails(400, "M_MISSING_PARAM");
    let master = |key: &str| {
        let keys = json!({ format!("ed25519:{key}"): key });
        json!({ "master_key": { "user_id": user, "usage": ["master"], "keys": keys } })
    };
    // A person would be asked for a password at the second one.
    for key in ["11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo", "PUAXw+hDiVqStwqnTRt+vJyYLM8uxJaMwM1V8Sr0Zgw"]
    {
        by(&town, IRC, "POST", &upload, master(key)).await.ok();
    }
}

#[tokio::test]
async fn a_service_shows_rooms_in_directories_by_names_of_a_bounded_length() {
    let town = town().await;
    register(&town, IRC, "_irc_taro").await.ok();
    let room = room_of(&town, "@_irc_taro:hs1").await;
    let path = |network: &str| v3(&format!("/directory/list/appservice/{network}/{room}"), "@_irc_taro:hs1");
    let shown = json!({ "visibility": "public" });
    by(&town, IRC, "PUT", &path(&"n".repeat(1_000)), shown.clone()).await.fails(400, "M_INVALID_PARAM");
    by(&town, IRC, "PUT", &path("libera"), shown.clone()).await.ok();
    by(&town, IRC, "PUT", &path("libera"), shown).await.ok();
}

fn login_as(user: &str, device: &str) -> Value {
    json!({ "type": "m.login.application_service", "identifier": { "type": "m.id.user", "user": user },
        "device_id": device })
}

#[tokio::test]
async fn a_device_is_of_the_service_that_made_it_where_two_share_its_user() {
    let town = town().await;
    // A colleague for whom both bridges act.
    let colleague = town.user("staff_hanako").await;
    let user = "@staff_hanako:hs1";
    let device = |device: &str| v3(&format!("/devices/{device}"), user);
    let whoami = |device: &str| format!("{}&device_id={device}", v3("/account/whoami", user));
    assert_eq!(by(&town, IRC, "PUT", &device("IRC"), json!({})).await.status, 201);
    let session = by(&town, SMS, "POST", LOGIN, login_as("staff_hanako", "SMS")).await.ok();
    assert_eq!(by(&town, IRC, "PUT", &device("IRC2"), json!({})).await.status, 201);
    assert_eq!(by(&town, SMS, "PUT", &device("SMS2"), json!({})).await.status, 201);

    for (one, own, others) in [(IRC, "IRC", "SMS"), (SMS, "SMS", "IRC")] {
        by(&town, one, "GET", &whoami(own), json!({})).await.ok();
        by(&town, one, "GET", &whoami(others), json!({})).await.fails(400, "M_UNKNOWN_DEVICE");
        by(&town, one, "PUT", &device(others), json!({})).await.fails(403, "M_FORBIDDEN");
        by(&town, one, "DELETE", &device(others), json!({})).await.fails(403, "M_FORBIDDEN");
        let both = json!({ "devices": [own, others] });
        by(&town, one, "POST", &v3("/delete_devices", user), both).await.fails(403, "M_FORBIDDEN");
        by(&town, one, "POST", LOGIN, login_as("staff_hanako", others)).await.fails(403, "M_FORBIDDEN");
        assert_eq!(by(&town, one, "PUT", &device(own), json!({})).await.status, 200);
    }
    // The colleague's own one she shares with both, as she does her account.
    let phone = colleague.device.as_str();
    by(&town, SMS, "GET", &whoami(phone), json!({})).await.ok();

    // Who ends all that is theirs ends nothing of the other's, also by a session.
    let again = by(&town, SMS, "POST", LOGIN, login_as("staff_hanako", "SMS2")).await.ok();
    town.person("hs1", &again).post("/logout/all", json!({})).await.ok();
    by(&town, IRC, "GET", &whoami("IRC2"), json!({})).await.ok();
    by(&town, SMS, "GET", &whoami("SMS"), json!({})).await.fails(400, "M_UNKNOWN_DEVICE");
    town.person("hs1", &session).get("/account/whoami").await.fails(401, "M_UNKNOWN_TOKEN");
    assert_eq!(by(&town, SMS, "PUT", &device("SMS"), json!({})).await.status, 201);
    by(&town, IRC, "POST", &v3("/logout/all", user), json!({})).await.ok();
    by(&town, SMS, "GET", &whoami("SMS"), json!({})).await.ok();
    by(&town, IRC, "GET", &whoami("IRC"), json!({})).await.fails(400, "M_UNKNOWN_DEVICE");
    by(&town, SMS, "DELETE", &device("SMS"), json!({})).await.ok();
    // A name that is free again is whosever makes it.
    assert_eq!(by(&town, IRC, "PUT", &device("SMS"), json!({})).await.status, 201);
    by(&town, SMS, "GET", &whoami("SMS"), json!({})).await.fails(400, "M_UNKNOWN_DEVICE");
    // And a person who signs in on it takes it back.
    let body = json!({ "type": "m.login.password", "user": "staff_hanako", "password": PASSWORD,
        "device_id": "SMS" });
    town.ask("POST", LOGIN, body).await.ok();
    by(&town, SMS, "GET", &whoami("SMS"), json!({})).await.ok();
}

#[tokio::test]
async fn a_service_that_acts_on_no_device_is_told_to_name_one_and_no_device_comes_of_it() {
    let town = town().await;
    register(&town, IRC, "_irc_taro").await.ok();
    let user = "@_irc_taro:hs1";
    let pusher = json!({ "kind": "http", "app_id": "a", "pushkey": "k", "lang": "ja", "app_display_name": "A",
        "device_display_name": "D", "data": { "url": "https://push.test/_matrix/push/v1/notify" } });
    let key = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo";
    let master = json!({ "master_key": { "user_id": user, "usage": ["master"],
        "keys": { format!("ed25519:{key}"): key } } });
    for (method, path, body) in [
        ("POST", "/pushers/set", pusher),
        ("POST", "/keys/upload", json!({})),
        ("POST", "/keys/device_signing/upload", master),
        ("POST", "/logout", json!({})),
    ] {
        by(&town, IRC, method, &v3(path, user), body).await.fails(400, "M_MISSING_PARAM");
    }
    let dehydrated =
        format!("/_matrix/client/unstable/org.matrix.msc3814.v1/dehydrated_device?user_id={user}");
    let left = json!({ "device_id": "LEFT", "device_data": { "algorithm": "a" } });
    let answer = by(&town, IRC, "PUT", &dehydrated, left).await;
    assert_eq!(answer.status, 400, "{}", answer.text);
    let nameless = by(&town, IRC, "PUT", &v3("/devices/", user), json!({})).await;
    assert!(matches!(nameless.status, 400 | 404), "{}", nameless.text);
    for body in [
        json!({ "type": "m.login.application_service", "username": "_irc_jiro", "device_id": "" }),
        json!({ "type": "m.login.application_service", "username": "_irc_jiro", "device_id": 1 }),
    ] {
        assert_eq!(by(&town, IRC, "POST", REGISTER, body).await.status, 400);
    }
    assert_eq!(by(&town, IRC, "POST", LOGIN, login_as("_irc_taro", "")).await.status, 400);
    let devices = by(&town, IRC, "GET", &v3("/devices", user), json!({})).await.ok();
    assert_eq!(devices["devices"], json!([]));
    by(&town, IRC, "GET", &v3("/account/whoami", "@_irc_jiro:hs1"), json!({}))
        .await
        .fails(403, "M_FORBIDDEN");
}

#[tokio::test]
async fn a_service_closes_the_accounts_of_its_ghosts_unasked_and_of_nobody_else() {
    let town = town().await;
    for name in ["_irc_taro", "_irc_jiro", "staff_ghost"] {
        register(&town, IRC, name).await.ok();
    }
    town.user("staff_hanako").await;
    let close = |user: &str| v3("/account/deactivate", user);
    // A person for whom it acts, its own user, and one that another service has registered.
    for (token, user) in [(IRC, "@staff_hanako:hs1"), (IRC, "@_irc:hs1"), (SMS, "@staff_ghost:hs1")] {
        by(&town, token, "POST", &close(user), json!({})).await.fails(403, "M_FORBIDDEN");
        by(&town, token, "GET", &v3("/account/whoami", user), json!({})).await.ok();
    }
    by(&town, SMS, "POST", &close("@_irc_jiro:hs1"), json!({})).await.fails(403, "M_FORBIDDEN");
    by(&town, IRC, "POST", &close("@_irc_taro:hs1"), json!({ "erase": "yes" }))
        .await
        .fails(400, "M_BAD_JSON");

    for user in ["@_irc_taro:hs1", "@staff_ghost:hs1"] {
        let answer = by(&town, IRC, "POST", &close(user), json!({ "erase": true })).await.ok();
        assert_eq!(answer["id_server_unbind_result"], "no-support");
        by(&town, IRC, "GET", &v3("/account/whoami", user), json!({})).await.fails(403, "M_FORBIDDEN");
    }
    by(&town, IRC, "POST", &close("@_irc_taro:hs1"), json!({})).await.fails(403, "M_FORBIDDEN");
    register(&town, IRC, "_irc_taro").await.fails(400, "M_USER_IN_USE");
    by(&town, IRC, "GET", &v3("/account/whoami", "@_irc_jiro:hs1"), json!({})).await.ok();
}

#[tokio::test]
async fn a_service_takes_away_any_alias_that_is_its_alone_and_no_other() {
    let town = town().await;
    for name in ["_irc_taro", "_irc_jiro"] {
        register(&town, IRC, name).await.ok();
    }
    let room = room_of(&town, "@_irc_taro:hs1").await;
    let alias = |name: &str, user: &str| v3(&format!("/directory/room/%23{name}:hs1"), user);
    let (taro, jiro) = ("@_irc_taro:hs1", "@_irc_jiro:hs1");
    let there = json!({ "room_id": room });
    by(&town, IRC, "PUT", &alias("_irc_town", taro), there.clone()).await.ok();
    by(&town, SMS, "DELETE", &alias("_irc_town", "@_sms:hs1"), json!({})).await.fails(400, "M_EXCLUSIVE");
    // By another ghost, who is not in the room, and by the bridge itself.
    by(&town, IRC, "DELETE", &alias("_irc_town", jiro), json!({})).await.ok();
    by(&town, IRC, "PUT", &alias("_irc_town", taro), there).await.ok();
    by(&town, IRC, "DELETE", &alias("_irc_town", "@_irc:hs1"), json!({})).await.ok();
    by(&town, IRC, "DELETE", &alias("_irc_town", jiro), json!({})).await.fails(404, "M_NOT_FOUND");

    let hanako = town.user("hanako").await;
    let hers = hanako.create_room(json!({ "room_alias_name": "town" })).await;
    assert!(!hers.is_empty());
    by(&town, IRC, "DELETE", &alias("town", jiro), json!({})).await.fails(400, "M_EXCLUSIVE");
}
