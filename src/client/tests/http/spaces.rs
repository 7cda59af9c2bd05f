//! Spaces and summaries over HTTP.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use serde_json::{Value, json};

use crate::{
    others::Others,
    town::{Person, Town},
};

/// A server with any number of open rooms.
fn open_rooms() -> Arc<Others> {
    Others::who_tell(|_, room_id| {
        let room = json!({ "room_id": room_id, "num_joined_members": 1, "join_rule": "public" });
        Some(json!({ "room": room }).to_string())
    })
}

async fn child(person: &Person<'_>, space: &str, room: &str, content: Value) {
    person.put(&format!("/rooms/{space}/state/m.space.child/{room}"), content).await.ok();
}

fn ids(answer: &Value) -> Vec<&str> {
    answer["rooms"].as_array().unwrap().iter().map(|room| room["room_id"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_space_is_walked_depth_first_and_page_by_page() {
    let town = Town::new().await;
    let hanako = town.user("hanako").await;
    let taro = town.user("taro").await;
    let space = json!({ "preset": "public_chat", "creation_content": { "type": "m.space" } });
    let root = hanako.create_room(space.clone()).await;
    let below = hanako.create_room(space).await;
    let open = hanako.create_room(json!({ "preset": "public_chat", "name": "open" })).await;
    let closed = hanako.create_room(json!({ "preset": "private_chat" })).await;
    let via = json!({ "via": ["hs1"] });
    child(&hanako, &root, &below, json!({ "via": ["hs1"], "order": "a" })).await;
    child(&hanako, &root, &closed, json!({ "via": ["hs1"], "order": "b", "suggested": true })).await;
    child(&hanako, &root, "!gone:hs3", via.clone()).await;
    child(&hanako, &below, &open, via.clone()).await;
    child(&hanako, &below, &root, via).await;
    let path = format!("/_matrix/client/v1/rooms/{root}/hierarchy");

    let all = hanako.get(&path).await.ok();
    assert_eq!(ids(&all), [&root, &below, &open, &closed]);
    assert_eq!(all["rooms"][0]["children_state"].as_array().unwrap().len(), 3);
    assert_eq!(all["rooms"][2]["name"], "open");
    assert!(all.get("next_batch").is_none());
    assert_eq!(ids(&taro.get(&path).await.ok()), [&root, &below, &open]);
    assert_eq!(ids(&hanako.get(&format!("{path}?max_depth=1")).await.ok()), [&root, &below, &closed]);
    assert_eq!(ids(&hanako.get(&format!("{path}?suggested_only=true")).await.ok()), [&root, &closed]);
    let first = hanako.get(&format!("{path}?limit=3")).await.ok();
    let next = first["next_batch"].as_str().unwrap();
    assert_eq!(ids(&hanako.get(&format!("{path}?limit=3&from={next}")).await.ok()), [&closed]);
    for changed in ["suggested_only=true", "max_depth=1"] {
        hanako.get(&format!("{path}?{changed}&from={next}")).await.fails(400, "M_INVALID_PARAM");
    }
    let closed = format!("/_matrix/client/v1/rooms/{closed}/hierarchy");
    taro.get(&closed).await.fails(403, "M_FORBIDDEN");
}

#[tokio::test]
async fn a_summary_is_for_those_who_may_join() {
    let town = Town::new().await;
    let hanako = town.user("hanako").await;
    let taro = town.user("taro").await;
    let space = hanako.create_room(json!({ "preset": "public_chat" })).await;
    let allow = json!([{ "type": "m.room_membership", "room_id": space }]);
    let rules = json!({ "join_rule": "restricted", "allow": allow });
    let restricted = hanako
        .create_room(json!({ "initial_state": [{ "type": "m.room.join_rules", "content": rules }] }))
        .await;
    let path = format!("/_matrix/client/v1/room_summary/{restricted}");

    let shown = hanako.get(&path).await.ok();
    assert_eq!(shown["allowed_room_ids"], json!([space]));
    assert_eq!((&shown["membership"], &shown["num_joined_members"]), (&json!("join"), &json!(1)));
    taro.get(&path).await.fails(404, "M_NOT_FOUND");
    taro.post(&format!("/join/{space}"), json!({})).await.ok();
    assert_eq!(taro.get(&path).await.ok()["membership"], "leave");
    let open = format!("/_matrix/client/v1/room_summary/{space}");
    let shown = town.ask("GET", &open, Value::Null).await.ok();
    assert!(shown.get("allowed_room_ids").is_none() && shown.get("membership").is_none());
    let old = format!("/_matrix/client/unstable/im.nheko.summary/rooms/{space}/summary");
    assert_eq!(taro.get(&old).await.ok()["room_id"], space);
    let mutual = format!("/_matrix/client/v1/mutual_rooms?user_id={}", hanako.id);
    assert_eq!(taro.get(&mutual).await.ok()["joined"], json!([space]));
}

/// All pages of a hierarchy; none of the rooms may come twice.
async fn walk(person: &Person<'_>, space: &str, limit: usize) -> (BTreeSet<String>, usize) {
    let path = format!("/_matrix/client/v1/rooms/{space}/hierarchy?limit={limit}");
    let (mut seen, mut pages, mut from) = (BTreeSet::new(), 0, String::new());
    loop {
        let page = person.get(&format!("{path}{from}")).await.ok();
        pages += 1;
        assert!(pages < 100, "a walk has an end");
        for room in ids(&page) {
            assert!(seen.insert(room.to_owned()), "{room} came twice");
        }
        match page["next_batch"].as_str() {
            Some(next) => from = format!("&from={next}"),
            None => return (seen, pages),
        }
    }
}

async fn space_of(person: &Person<'_>, rooms: usize, via: impl Fn(usize) -> Value) -> String {
    let children: Vec<Value> = (0..rooms)
        .map(|number| {
            json!({ "type": "m.space.child", "state_key": format!("!r{number:03}:hs3"), "content": { "via": via(number) } })
        })
        .collect();
    let wishes = json!({ "creation_content": { "type": "m.space" }, "initial_state": children });
    person.create_room(wishes).await
}

#[tokio::test]
async fn a_space_of_many_rooms_elsewhere_is_walked_to_its_end() {
    let town = Town::beside(open_rooms()).await;
    let hanako = town.user("hanako").await;
    let space = space_of(&hanako, 120, |_| json!(["hs3"])).await;

    for limit in [7, 50, 100] {
        let (seen, pages) = walk(&hanako, &space, limit).await;
        assert_eq!(seen.len(), 121, "{limit}");
        assert!(pages >= 121 / limit);
    }
    // A page that is asked for twice is the same page, and a lost walk begins anew where it was.
    let path = format!("/_matrix/client/v1/rooms/{space}/hierarchy?limit=10");
    let next = hanako.get(&path).await.ok()["next_batch"].as_str().unwrap().to_owned();
    let page = hanako.get(&format!("{path}&from={next}")).await.ok();
    assert_eq!(ids(&hanako.get(&format!("{path}&from={next}")).await.ok()), ids(&page));
    assert_eq!(ids(&hanako.get(&format!("{path}&from=h3_10_999999_all")).await.ok()), ids(&page));
    hanako.get(&format!("{path}&from=nonsense")).await.fails(400, "M_INVALID_PARAM");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_hangs_hides_only_its_own_rooms() {
    let town = Town::beside(open_rooms()).await;
    let hanako = town.user("hanako").await;
    let via = |number: usize| if number.is_multiple_of(5) { json!(["hung"]) } else { json!(["hung", "hs3"]) };
    let space = space_of(&hanako, 60, via).await;
    let (seen, _) = walk(&hanako, &space, 100).await;
    assert_eq!(seen.len(), 1 + 60 - 12);
}

#[tokio::test]
async fn an_odd_entry_hides_neither_a_child_nor_a_restricted_room() {
    let town = Town::new().await;
    let hanako = town.user("hanako").await;
    let taro = town.user("taro").await;
    let space = hanako
        .create_room(json!({ "preset": "public_chat", "creation_content": { "type": "m.space" } }))
        .await;
    let allow = json!([5, { "type": "m.room_membership", "room_id": space }, { "type": [] }, null]);
    let rules = json!({ "join_rule": "restricted", "allow": allow });
    let restricted = hanako
        .create_room(json!({ "initial_state": [{ "type": "m.room.join_rules", "content": rules }] }))
        .await;
    child(&hanako, &space, &restricted, json!({ "via": ["hs1", 7], "suggested": null, "order": 3 })).await;
    taro.post(&format!("/join/{space}"), json!({})).await.ok();

    let path = format!("/_matrix/client/v1/rooms/{space}/hierarchy");
    assert_eq!(ids(&taro.get(&path).await.ok()), [&space, &restricted]);
    taro.post(&format!("/join/{restricted}"), json!({})).await.ok();
}

/// What is known of a room whose members of ours all left is what it was then.
#[tokio::test]
async fn a_room_that_all_of_us_left_has_no_summary() {
    let town = Town::new().await;
    let hanako = town.user("hanako").await;
    let room = hanako.create_room(json!({ "preset": "public_chat", "name": "old" })).await;
    let path = format!("/_matrix/client/v1/room_summary/{room}");
    assert_eq!(hanako.get(&path).await.ok()["name"], "old");
    hanako.post(&format!("/rooms/{room}/leave"), json!({})).await.ok();
    hanako.get(&path).await.fails(404, "M_NOT_FOUND");
    town.ask("GET", &path, Value::Null).await.fails(404, "M_NOT_FOUND");
}

/// A space of 花子 with these children, in this order, each known to a server.
async fn space_with(person: &Person<'_>, children: &[(&str, &str)]) -> String {
    let children: Vec<Value> = children
        .iter()
        .enumerate()
        .map(|(place, (room, server))| {
            json!({ "type": "m.space.child", "state_key": room,
                "content": { "via": [server], "order": format!("{place:03}") } })
        })
        .collect();
    let wishes = json!({ "creation_content": { "type": "m.space" }, "initial_state": children });
    person.create_room(wishes).await
}

fn space_told(room_id: &str, children: &[(&str, &str)], more: &Value) -> String {
    let state: Vec<Value> = children
        .iter()
        .map(|(room, server)| {
            json!({ "type": "m.space.child", "state_key": room, "sender": "@a:evil",
            "origin_server_ts": 1, "content": { "via": [server] } })
        })
        .collect();
    let room =
        json!({ "room_id": room_id, "room_type": "m.space", "join_rule": "public", "children_state": state });
    json!({ "room": room, "children": more["children"], "inaccessible_children": more["closed"] }).to_string()
}

#[tokio::test]
async fn a_space_is_believed_of_no_rooms_but_those_that_it_alone_names() {
    let false_name = json!([{ "room_id": "!b:other", "name": "evil", "join_rule": "public" }]);
    let lies = [json!({ "closed": ["!b:other"] }), json!({ "children": false_name })];
    let names = [vec![], vec![("!b:other", "evil")]];
    for (lie, names) in
        lies.iter().flat_map(|lie| names.iter().map(move |names| (lie.clone(), names.clone())))
    {
        let others = Others::who_tell(move |server, room_id| match server.as_str() {
            "evil" if room_id == "!evil:evil" => Some(space_told("!evil:evil", &names, &lie)),
            "evil" => Some(json!({ "room": { "room_id": room_id, "name": "evil" } }).to_string()),
            _ => Some(json!({ "room": { "room_id": room_id, "name": "other" } }).to_string()),
        });
        let town = Town::beside(others).await;
        let hanako = town.user("hanako").await;
        let space = space_with(&hanako, &[("!evil:evil", "evil"), ("!b:other", "other")]).await;
        let all = hanako.get(&format!("/_matrix/client/v1/rooms/{space}/hierarchy")).await.ok();
        assert_eq!(ids(&all), [&space, "!evil:evil", "!b:other"]);
        assert_eq!(all["rooms"][2]["name"], "other");
    }
}

#[tokio::test]
async fn a_room_that_one_space_calls_closed_is_found_by_way_of_another() {
    let others = Others::who_tell(|server, room_id| match (server.as_str(), room_id.as_str()) {
        ("evil", _) => {
            Some(space_told("!evil:evil", &[("!b:other", "evil")], &json!({ "closed": ["!b:other"] })))
        }
        (_, "!honest:other") => Some(space_told("!honest:other", &[("!b:other", "other")], &json!({}))),
        _ => Some(json!({ "room": { "room_id": room_id } }).to_string()),
    });
    let town = Town::beside(others).await;
    let hanako = town.user("hanako").await;
    let space = space_with(&hanako, &[("!evil:evil", "evil"), ("!honest:other", "other")]).await;
    let all = hanako.get(&format!("/_matrix/client/v1/rooms/{space}/hierarchy")).await.ok();
    assert_eq!(ids(&all), [&space, "!evil:evil", "!honest:other", "!b:other"]);
}

#[tokio::test]
async fn a_page_of_rooms_that_are_as_large_as_they_may_be_is_bounded_and_goes_on() {
    // Each names the next, and a thousand more.
    let others = Others::who_tell(|_, room_id| {
        let number: usize = room_id.as_str()[2..].split(':').next()?.parse().ok()?;
        let child = |number: usize, fat: usize| {
            json!({ "type": "m.space.child", "state_key": format!("!c{number}:evil"), "sender": "@a:evil",
                "origin_server_ts": 1, "content": { "via": ["evil"], "order": "a", "x": "x".repeat(fat) } })
        };
        let mut children = vec![child(number + 1, 10)];
        children.extend((0..900).map(|other| child(100_000 + other, 3_000)));
        let room = json!({ "room_id": room_id, "room_type": "m.space", "join_rule": "public",
            "children_state": children });
        Some(json!({ "room": room }).to_string())
    });
    let town = Town::beside(others).await;
    let hanako = town.user("hanako").await;
    let space = space_with(&hanako, &[("!c1:evil", "evil")]).await;
    let path = format!("/_matrix/client/v1/rooms/{space}/hierarchy");
    let mut from = String::new();
    let mut found = BTreeSet::new();
    for _ in 0..3 {
        let page = hanako.get(&format!("{path}{from}")).await;
        assert!(page.text.len() < 5 << 20, "{}", page.text.len());
        let page = page.ok();
        assert!(ids(&page).iter().all(|room| found.insert((*room).to_owned())), "none comes twice");
        from = format!("?from={}", page["next_batch"].as_str().unwrap());
    }
    assert!(found.len() >= 3);
}

#[tokio::test]
async fn what_is_nested_deeply_breaks_no_answer() {
    let deep = format!("{}1{}", "[".repeat(150), "]".repeat(150));
    let event = format!(
        r#"{{"type":"m.space.child","state_key":"!x:hs3","sender":"@a:hs3","origin_server_ts":1,"content":{{"via":["hs3"],"x":{deep}}}}}"#
    );
    let room = format!(
        r#"{{"room_id":"!evil:hs3","room_type":"m.space","join_rule":"public","children_state":[{event}]}}"#
    );
    let others = Others::who_tell(move |_, room_id| match room_id.as_str() {
        "!evil:hs3" => Some(format!(r#"{{"room":{room}}}"#)),
        _ => Some(json!({ "room": { "room_id": room_id } }).to_string()),
    });
    let town = Town::beside(others).await;
    let hanako = town.user("hanako").await;
    let space = space_with(&hanako, &[("!evil:hs3", "hs3"), ("!b:hs3", "hs3")]).await;
    let answer = hanako.get(&format!("/_matrix/client/v1/rooms/{space}/hierarchy")).await;
    assert_eq!(answer.status, 200);
    for room in [space.as_str(), "!evil:hs3", "!x:hs3", "!b:hs3"] {
        assert!(answer.text.contains(&format!(r#""room_id":"{room}""#)), "{room}");
    }

    let tags = format!("/user/{}/rooms/{space}/tags", hanako.id);
    let tag = format!(r#"{{"order":0.5,"x":{deep}}}"#);
    hanako.send("PUT", &format!("{tags}/u.x"), tag.into_bytes()).await.ok();
    let answer = hanako.get(&tags).await;
    assert_eq!(answer.status, 200);
    assert!(answer.text.contains(&deep));
}

/// What others answer for rooms: open ones, but for those that are named otherwise.
fn rooms_elsewhere(asked: Arc<AtomicUsize>) -> Arc<Others> {
    Others::who_tell(move |server, room_id| {
        asked.fetch_add(1, Ordering::SeqCst);
        let (rule, allowed) = match room_id.as_str() {
            "!knocked:hs3" => ("knock", json!([])),
            "!closed:hs3" => ("invite", json!([])),
            "!forothers:hs3" => ("restricted", json!(["!nobody:hs3"])),
            _ => ("public", json!([])),
        };
        let named = if room_id == "!lies:hs3" { "!other:hs3" } else { room_id.as_str() };
        let room = json!({ "room_id": named, "name": "told", "num_joined_members": 7, "join_rule": rule,
            "allowed_room_ids": allowed, "children_state": [{}] });
        (server == "hs3").then(|| json!({ "room": room }).to_string())
    })
}

#[tokio::test(start_paused = true)]
async fn the_summary_of_a_room_elsewhere_is_told_by_those_who_know_it() {
    let asked = Arc::new(AtomicUsize::new(0));
    let town = Town::beside(rooms_elsewhere(asked.clone())).await;
    let (hanako, taro) = (town.user("hanako").await, town.user("taro").await);
    let path = |room: &str| format!("/_matrix/client/v1/room_summary/{room}");
    let times = || asked.load(Ordering::SeqCst);

    let shown = hanako.get(&path("!open:hs3?via=hung&via=silent&via=hs3")).await.ok();
    assert_eq!((&shown["name"], &shown["num_joined_members"]), (&json!("told"), &json!(7)));
    assert_eq!((&shown["membership"], shown.get("children_state")), (&json!("leave"), None));
    assert_eq!(times(), 2);
    // What was told a moment ago is told again, to the same user; where none is named the room's id names a server.
    hanako.get(&path("!open:hs3")).await.ok();
    assert_eq!(times(), 2);
    taro.get(&path("!open:hs3")).await.ok();
    assert_eq!(times(), 3);
    let old = "/_matrix/client/unstable/im.nheko.summary/rooms/!knocked:hs3/summary?via=hs3";
    assert_eq!(hanako.get(old).await.ok()["join_rule"], "knock");

    for room in ["!closed:hs3", "!forothers:hs3", "!lies:hs3"] {
        hanako.get(&path(&format!("{room}?via=hs3"))).await.fails(404, "M_NOT_FOUND");
    }
    hanako.get(&path("!open:hs3?via=no%20name")).await.fails(400, "M_INVALID_PARAM");
    // Of a closed room of ours nobody else is asked, nor for who has no token.
    let before = times();
    let closed = hanako.create_room(json!({})).await;
    taro.get(&path(&format!("{closed}?via=hs3"))).await.fails(404, "M_NOT_FOUND");
    town.ask("GET", &path("!new:hs3?via=hs3"), Value::Null).await.fails(404, "M_NOT_FOUND");
    assert_eq!(times(), before);
}
