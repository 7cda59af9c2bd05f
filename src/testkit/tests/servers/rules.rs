//! Rooms by rule with whole servers: people from personnel files, in real rooms, who come and go with their posts.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::{collections::BTreeSet, time::Duration};

use audit::Actor;
use http::Method;
use intake::{Date, How};
use organisation::{State, calendar::begin_of};
use personnel::{Answer as DeskAnswer, FileBytes, Import, Order as DeskOrder};
use rules::{Answer, Done, Order, RuleId};
use ruma::{OwnedRoomId, RoomId};
use serde_json::{Value, json};
use testkit::{Net, Preset, Server, User};

use crate::staff::decide;

const HEADER: &str = "職員番号,氏名,所属,職名,発令日,アカウント\n";

const BEFORE: &str = "\
1,山田 花子,総務部　防災課,課長,2020-04-01,hanako\n\
2,田中 太郎,総務部　防災課,主査,2020-04-01,taro\n\
3,佐藤 次郎,総務部　人事課,課長,2020-04-01,jiro\n";

/// 田中 太郎 goes to 人事課.
const AFTER: &str = "\
1,山田 花子,総務部　防災課,課長,2020-04-01,hanako\n\
2,田中 太郎,総務部　人事課,主査,2026-04-01,taro\n\
3,佐藤 次郎,総務部　人事課,課長,2020-04-01,jiro\n";

fn day(text: &str) -> Date {
    text.parse().unwrap()
}

/// A personnel file becomes a set that is approved and applied.
async fn take(server: &Server, rows: &str, on: &str) {
    let desk = server.look(|house| house.personnel.clone());
    let by = Actor::operator("uid 1000");
    let import = Import {
        file: FileBytes::new(format!("{HEADER}{rows}").into_bytes()),
        how: How::default(),
        mapping: None,
        source: "人事".to_owned(),
        body: Some("首長部局".to_owned()),
        makes_new: true,
        day: Some(day(on)),
        at: None,
        same: Vec::new(),
        other: Vec::new(),
        is_part: false,
    };
    let order = DeskOrder::Import(Box::new(import));
    let DeskAnswer::Imported(imported) = desk.carry_out(server.name(), order, &by).await.unwrap() else {
        panic!("no import")
    };
    let (id, _) = imported.set.unwrap();
    decide(server, server.name(), id).await;
    match desk.carry_out(server.name(), DeskOrder::Apply { id }, &by).await.unwrap() {
        DeskAnswer::Set(_, set) => assert_eq!(set.state, State::Applied),
        other => panic!("{other:?}"),
    }
}

async fn ask(server: &Server, order: Order) -> Answer {
    let rules = server.look(|house| house.rules.clone());
    rules.carry_out(server.name(), order, &Actor::operator("uid 1000")).await.unwrap()
}

async fn run(server: &Server) -> Done {
    match ask(server, Order::Run).await {
        Answer::Done(done) => done,
        other => panic!("{other:?}"),
    }
}

async fn set(server: &Server, wish: &Value, from: Option<Date>) -> RuleId {
    let wish = Box::new(serde_json::from_value(wish.clone()).unwrap());
    match ask(server, Order::Set { rule: None, wish, from, until: None }).await {
        Answer::Rule(id) => id,
        other => panic!("{other:?}"),
    }
}

/// A room for each 課 with a month to hand over, in a space for each 部.
async fn set_both(server: &Server) -> RuleId {
    set_both_from(server, None).await
}

async fn set_both_from(server: &Server, from: Option<Date>) -> RuleId {
    let space = json!({ "key": "space", "space": true, "name": "{unit}" });
    let above = json!({ "title": "部", "units": { "depth": [0, 0] }, "members": "below", "rooms": [space] });
    set(server, &above, from).await;
    let room = json!({ "key": "main", "name": "{unit} 連絡", "topic": "{path}" });
    let units = json!({ "named": ["*課"] });
    let of_sections = json!({ "title": "課", "units": units, "hand_over_days": 30, "rooms": [room] });
    set(server, &of_sections, from).await
}

/// The room that the rules have made for a unit.
async fn room_of(server: &Server, unit: &str) -> OwnedRoomId {
    let Answer::Shown(shown) = ask(server, Order::Show { day: None }).await else { panic!() };
    let found = shown.rooms.iter().find(|room| room.unit.as_deref() == Some(unit));
    found.unwrap_or_else(|| panic!("{shown:?}")).room.as_str().try_into().unwrap()
}

fn in_path(room: &RoomId) -> String {
    room.as_str().replace('!', "%21").replace(':', "%3A")
}

/// Who is in a room, by localpart, as one of them sees it.
async fn members(user: &User, room: &RoomId) -> Vec<String> {
    let answer = user.call(Method::GET, &format!("/rooms/{}/joined_members", in_path(room)), None).await;
    let users = answer["joined"].as_object().unwrap().keys();
    let mut users: Vec<_> = users.map(|user| user[1..].split(':').next().unwrap().to_owned()).collect();
    users.retain(|user| user != "_rooms");
    users.sort();
    users
}

async fn levels(user: &User, room: &RoomId) -> Value {
    user.call(Method::GET, &format!("/rooms/{}/state/m.room.power_levels", in_path(room)), None).await
}

async fn joined(user: &User) -> BTreeSet<String> {
    let answer = user.call(Method::GET, "/joined_rooms", None).await;
    let rooms = answer["joined_rooms"].as_array().unwrap().iter();
    rooms.map(|room| room.as_str().unwrap().to_owned()).collect()
}

/// Lets it be noon of a day.
fn at(net: &Net, on: &str) {
    let noon = begin_of(day(on)).unwrap().millis() + 43_200_000;
    net.set_forward(Duration::from_millis(noon.checked_sub(net.now().millis()).unwrap()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_moves_is_in_the_new_room_with_its_history_and_out_of_the_old_one_after_the_hand_over() {
    let net = Net::new();
    let server = net.server("kanazawa.test").await;
    let (hanako, taro, jiro) =
        (server.user("hanako").await, server.user("taro").await, server.user("jiro").await);
    take(&server, BEFORE, "2020-04-01").await;
    set_both(&server).await;
    run(&server).await;
    let (bosai, jinji) = (room_of(&server, "防災課").await, room_of(&server, "人事課").await);
    let space = room_of(&server, "総務部").await;
    assert_eq!(members(&taro, &bosai).await, ["hanako", "taro"]);
    assert_eq!(members(&jiro, &space).await, ["hanako", "jiro", "taro"]);
    // Nobody was invited: the rooms are there with the next sync, and nothing waits for an answer.
    let sync = taro.call(Method::GET, "/sync?timeout=0", None).await;
    assert!(sync["rooms"]["join"][bosai.as_str()].is_object(), "{sync}");
    assert!(sync["rooms"]["invite"].as_object().is_none_or(|invites| invites.is_empty()), "{sync}");
    assert_eq!(levels(&taro, &bosai).await["users"], json!({ "@hanako:kanazawa.test": 50 }));
    let state = taro.state(&space).await;
    let children = state.iter().filter(|event| event["type"] == "m.space.child");
    let children: BTreeSet<_> = children.filter_map(|event| event["state_key"].as_str()).collect();
    assert_eq!(children, BTreeSet::from([bosai.as_str(), jinji.as_str()]));
    jiro.send(&jinji, "引き継ぎ資料").await;

    at(&net, "2026-04-02");
    take(&server, AFTER, "2026-04-01").await;
    run(&server).await;
    assert_eq!(members(&jiro, &jinji).await, ["jiro", "taro"]);
    assert_eq!(taro.history(&jinji).await, ["引き継ぎ資料"]);
    // He reads on where he was, and says nothing more.
    hanako.send(&bosai, "四月の予定").await;
    assert!(taro.history(&bosai).await.contains(&"四月の予定".to_owned()));
    taro.try_send(&bosai, "まだいます").await.unwrap_err();
    assert!(run(&server).await.is_nothing());

    at(&net, "2026-05-02");
    run(&server).await;
    assert_eq!(members(&hanako, &bosai).await, ["hanako"]);
    assert_eq!(joined(&taro).await, BTreeSet::from([jinji.to_string(), space.to_string()]));
    let page = {
        let store = server.look(|house| house.store.clone());
        let filter = audit::Filter::default();
        audit::list(&store, server.name(), &filter, store::Position::START).await.unwrap()
    };
    let rows: Vec<_> = page.found.into_iter().filter_map(|row| row.record).collect();
    let left = rows.iter().filter(|row| row.what == "rules.leave").map(|row| row.whom.as_str());
    assert_eq!(left.collect::<Vec<_>>(), ["@taro:kanazawa.test"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_servers_in_a_room_see_who_comes_and_goes_and_a_crash_between_does_no_harm() {
    let net = Net::new();
    let (server, other) = (net.server("kanazawa.test").await, net.server("wajima.test").await);
    let hanako = server.user("hanako").await;
    for name in ["taro", "jiro"] {
        server.user(name).await;
    }
    let ken = other.user("ken").await;
    take(&server, BEFORE, "2020-04-01").await;
    set_both(&server).await;
    run(&server).await;
    let bosai = room_of(&server, "防災課").await;
    hanako.invite(&bosai, ken.id()).await;
    ken.join(&bosai, "kanazawa.test").await;
    assert_eq!(members(&ken, &bosai).await, ["hanako", "ken", "taro"]);

    at(&net, "2026-05-02");
    take(&server, AFTER, "2026-04-01").await;
    // The server follows by itself; wherever it is when it dies, it goes on.
    server.crash_and_restart().await;
    run(&server).await;
    assert!(run(&server).await.is_nothing());
    assert_eq!(members(&hanako, &bosai).await, ["hanako", "ken"]);
    let wait = async {
        while members(&ken, &bosai).await != ["hanako", "ken"] {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), wait).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_room_made_by_hand_is_given_to_the_rule_by_who_has_all_power_and_by_nobody_else() {
    let net = Net::new();
    let (server, other) = (net.server("kanazawa.test").await, net.server("wajima.test").await);
    let taro = server.user("taro").await;
    server.user("hanako").await;
    server.user("jiro").await;
    let ken = other.user("ken").await;
    take(&server, BEFORE, "2020-04-01").await;
    // From the next day on, so that no room is made before.
    let rule = set_both_from(&server, Some(day("2026-04-02"))).await;
    let adopt = |room: &RoomId, unit: &str| Order::Adopt {
        room: room.to_owned(),
        rule,
        unit: unit.to_owned(),
        key: "main".to_owned(),
    };
    let foreign = ken.create_room(Preset::PublicChat).await;
    taro.join(&foreign, "wajima.test").await;
    let rules = server.look(|house| house.rules.clone());
    let by = Actor::operator("uid 1000");
    let refused = rules.carry_out(server.name(), adopt(&foreign, "防災課"), &by).await.unwrap_err();
    assert!(refused.words().is_some(), "{refused}");

    // Who makes a room of version 12 has all power for ever: it never becomes the unit's.
    let make = async |version: &str| {
        let wishes = json!({ "preset": "private_chat", "name": "手作り", "room_version": version });
        taro.create_room_with(&wishes).await
    };
    let own = make("12").await;
    let refused = rules.carry_out(server.name(), adopt(&own, "防災課"), &by).await.unwrap_err();
    assert!(refused.words().is_some_and(|words| words.ja.contains("12")), "{refused}");
    let room = make("11").await;
    ask(&server, adopt(&room, "防災課")).await;
    at(&net, "2026-04-02");
    run(&server).await;
    assert_eq!(room_of(&server, "防災課").await, room);
    let users = levels(&taro, &room).await["users"].clone();
    assert_eq!(users, json!({ "@_rooms:kanazawa.test": 100, "@hanako:kanazawa.test": 50 }));
    assert_eq!(members(&taro, &room).await, ["hanako", "taro"]);
}
