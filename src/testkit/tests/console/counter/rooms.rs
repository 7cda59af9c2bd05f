//! A room that people made comes under a rule: asked for by who moderates it, agreed to by who heads the unit.

use audit::Actor;
use duties::Duty;
use http::StatusCode;
use rules::{Answer, Order};
use serde_json::json;
use testkit::Net;

use super::{approve, ask, chiefs};
use crate::{browser::Browser, changes, holder, rows};

const ASK: &str = "/_yakuba/counter/ask/adopt_room";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_moderator_asks_and_the_head_of_the_unit_agrees() {
    let net = Net::new();
    let server = net.server("kanazawa.test").await;
    let [mut chief, ..] = chiefs(&server).await;
    let mut officer = holder(&server, "jinji", Duty::Personnel).await.1;
    let (hanako, taro, jiro) =
        (server.user("hanako").await, server.user("taro").await, server.user("jiro").await);
    changes::apply(&server, (&mut officer, &mut chief), changes::FILE).await;
    let rules = server.look(|house| house.rules.clone());
    let room = json!({ "key": "main", "name": "{unit} 連絡" });
    // From tomorrow on, so that the rule makes no rooms of its own before.
    let wish = json!({ "title": "課", "units": { "named": ["*課"] }, "rooms": [room] });
    let wish = Box::new(serde_json::from_value(wish).unwrap());
    let from = Some("2026-04-02".parse().unwrap());
    let order = Order::Set { rule: None, wish, from, until: None };
    let by = Actor::operator("root");
    let Answer::Rule(rule) = rules.carry_out(server.name(), order, &by).await.unwrap() else { panic!() };
    let made = json!({ "preset": "private_chat", "name": "手作り", "room_version": "11" });
    let room = taro.create_room_with(&made).await;
    let place = format!("{}:main", rule.0);
    let fields = [
        ("field-room", room.as_str()),
        ("field-unit", "防災課"),
        ("field-place", place.as_str()),
        ("reason", "課の部屋にするため"),
    ];
    // Who is not in it does not ask, whether or not there is such a room.
    let mut other = Browser::of(&server, &jiro).await;
    let mut refused = Vec::new();
    for id in [room.as_str(), "!none:kanazawa.test"] {
        let mut fields = fields;
        fields[0].1 = id;
        let answer = other.post(ASK, ASK, &fields).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST);
        refused.push(answer.text.contains("モデレーターか人事担当"));
    }
    assert_eq!(refused, [true, true]);
    let mut asker = Browser::of(&server, &taro).await;
    let case = ask(&mut asker, ASK, &fields).await;
    assert!(asker.open(&case).await.contains("防災課 課長"), "it waits for who heads the unit");
    let mut head = Browser::of(&server, &hanako).await;
    let answer = approve(&mut head, &case).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text);
    let page = head.open(&case).await;
    assert!(page.contains("実施済み"), "{page}");
    let Answer::Shown(shown) = rules.carry_out(server.name(), Order::Show { day: None }, &by).await.unwrap()
    else {
        panic!()
    };
    assert_eq!(shown.rooms.len(), 1);
    assert!(shown.rooms[0].is_adopted && shown.rooms[0].room == room.as_str());
    assert_eq!(rows(&server, server.name(), "rules.adopt").await.len(), 1);
    let carried_out = rows(&server, server.name(), "case.carry_out").await;
    let last = carried_out.last().unwrap();
    assert!(last.after.iter().any(|(name, value)| name == "kind" && value == "adopt_room"), "{last:?}");
    // A personnel officer who is not in the room asks: two agree, neither of whom is he.
    let theirs = jiro.create_room_with(&made).await;
    let mut of_officer = fields;
    (of_officer[0].1, of_officer[1].1) = (theirs.as_str(), "人事課");
    let case = ask(&mut officer, ASK, &of_officer).await;
    let mut other_head = Browser::of(&server, &jiro).await;
    approve(&mut other_head, &case).await;
    let page = other_head.open(&case).await;
    assert!(page.contains("承認待ち") && page.contains("@chief:kanazawa.test"), "{page}");
    approve(&mut chief, &case).await;
    assert!(chief.open(&case).await.contains("実施済み"));
    // A second room for the same place: it is refused when it is asked for.
    let second = taro.create_room_with(&made).await;
    let mut fields = fields;
    fields[0].1 = second.as_str();
    let answer = asker.post(ASK, ASK, &fields).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert!(answer.text.contains("すでにあります"), "{}", answer.text);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_moderates_the_room_no_more_when_it_is_agreed_to_has_asked_in_vain() {
    let net = Net::new();
    let server = net.server("kanazawa.test").await;
    let [mut chief, ..] = chiefs(&server).await;
    let mut officer = holder(&server, "jinji", Duty::Personnel).await.1;
    let (hanako, taro, jiro) =
        (server.user("hanako").await, server.user("taro").await, server.user("jiro").await);
    changes::apply(&server, (&mut officer, &mut chief), changes::FILE).await;
    let rules = server.look(|house| house.rules.clone());
    let room = json!({ "key": "main", "name": "{unit} 連絡" });
    let wish = json!({ "title": "課", "units": { "named": ["*課"] }, "rooms": [room] });
    let wish = Box::new(serde_json::from_value(wish).unwrap());
    let from = Some("2026-04-02".parse().unwrap());
    let order = Order::Set { rule: None, wish, from, until: None };
    let by = Actor::operator("root");
    let Answer::Rule(rule) = rules.carry_out(server.name(), order, &by).await.unwrap() else { panic!() };
    let made = json!({ "preset": "private_chat", "name": "手作り", "room_version": "11" });
    let room = taro.create_room_with(&made).await;
    taro.invite(&room, jiro.id()).await;
    jiro.join(&room, "kanazawa.test").await;
    let levels = |of_taro: i64| json!({ "users": { taro.id().as_str(): of_taro, jiro.id().as_str(): 100 } });
    taro.set_state(&room, "m.room.power_levels", "", &levels(100)).await;
    let place = format!("{}:main", rule.0);
    let fields = [
        ("field-room", room.as_str()),
        ("field-unit", "防災課"),
        ("field-place", place.as_str()),
        ("reason", "課の部屋にするため"),
    ];
    let mut asker = Browser::of(&server, &taro).await;
    let case = ask(&mut asker, ASK, &fields).await;
    // The others have taken it from him: it is for them to say what becomes of their room.
    taro.set_state(&room, "m.room.power_levels", "", &levels(0)).await;
    let mut head = Browser::of(&server, &hanako).await;
    let answer = approve(&mut head, &case).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text);
    let page = head.open(&case).await;
    assert!(page.contains("実施できませんでした") && page.contains("モデレーター"), "{page}");
    let Answer::Shown(shown) = rules.carry_out(server.name(), Order::Show { day: None }, &by).await.unwrap()
    else {
        panic!()
    };
    assert_eq!(shown.rooms.len(), 0);
    // He is one again: it is tried once more, and done.
    jiro.set_state(&room, "m.room.power_levels", "", &levels(100)).await;
    asker.post(&case, &case, &[("do", "retry")]).await;
    assert!(asker.open(&case).await.contains("実施済み"));
}
