//! Rooms that one is invited to, joins, leaves: none is lost, none stays.

use std::collections::BTreeMap;

use base::Random;
use ruma::OwnedRoomId;
use serde_json::{Value, json};

use super::{Glass, all_rooms, glass, of, told};
use crate::tests::town::{Town, said, town, user};

fn all() -> Value {
    all_rooms(20, json!([["m.room.member", "$ME"], ["m.room.name", ""], ["m.room.topic", ""]]))
}

#[tokio::test]
async fn an_invite_that_is_refused_is_gone_and_one_by_somebody_ignored_does_not_come() {
    let town = town().await;
    let room = town.room("hanako").await;
    let mut taro = glass("taro", all());
    taro.look(&town).await;
    town.invite("hanako", &room, "taro").await;
    let answer = taro.look(&town).await;
    assert_eq!(
        (of(&answer, &room)["membership"].as_str(), &answer["lists"]["all"]["count"]),
        (Some("invite"), &json!(1))
    );
    town.leave("taro", &room).await;
    let answer = taro.look(&town).await;
    assert_eq!(of(&answer, &room)["required_state"][0]["content"]["membership"], "leave", "{answer}");
    assert!(taro.rooms.is_empty());
    assert!(told(&taro.look(&town).await).is_empty());

    let ignored = json!({ "ignored_users": { user("hanako").as_str(): {} } });
    town.accounts
        .set_account_data(&user("taro"), "m.ignored_user_list", ignored.to_string().into())
        .await
        .unwrap();
    town.invite("hanako", &room, "taro").await;
    let answer = taro.look(&town).await;
    assert!(told(&answer).is_empty(), "{answer}");
    let first = glass("taro", all()).look(&town).await;
    assert_eq!((told(&first), &first["lists"]), (Vec::new(), &answer["lists"]));
}

#[tokio::test]
async fn who_is_put_out_is_told_what_he_saw_and_nothing_after() {
    let town = town().await;
    let room = town.room("hanako").await;
    town.join("taro", &room).await;
    let mut taro = glass("taro", all());
    taro.look(&town).await;
    town.say("hanako", &room, "見").await;
    town.engine.ban(&user("hanako"), &room, &user("taro"), None).await.unwrap();
    town.set("hanako", &room, "m.room.name", json!({ "name": "秘" })).await;
    town.say("hanako", &room, "秘").await;
    let answer = taro.look(&town).await;
    let part = of(&answer, &room);
    assert_eq!(said(&part["timeline"]), ["見", "m.room.member"]);
    assert_eq!((part["membership"].as_str(), &part["name"]), (Some("ban"), &Value::Null));
    assert!(!answer.to_string().contains('秘'));
    assert!(told(&taro.look(&town).await).is_empty());
    // One who comes anew is told of it as well.
    let answer = glass("taro", all()).look(&town).await;
    assert_eq!(of(&answer, &room)["membership"], "ban");
    assert!(!answer.to_string().contains('秘'), "{answer}");
}

#[tokio::test]
async fn who_was_banned_without_having_been_in_is_told_nothing() {
    let town = town().await;
    let room = town.room("hanako").await;
    let mut taro = glass("taro", all());
    taro.look(&town).await;
    town.engine.ban(&user("hanako"), &room, &user("taro"), None).await.unwrap();
    assert!(told(&taro.look(&town).await).is_empty());
    assert!(told(&glass("taro", all()).look(&town).await).is_empty());
}

/// What the user is in a room, its name, and its state: types and ids of events.
type Shown = (String, Option<String>, Vec<(String, String)>);

/// What a client shows of rooms that its user has to do with, but for how far back timelines go.
fn shown(glass: &Glass) -> BTreeMap<String, Shown> {
    let state = |kept: &super::Kept| -> Vec<(String, String)> {
        match kept.membership.as_str() {
            // Of rooms that one looks into from outside it is not told what they are like.
            "invite" | "knock" => Vec::new(),
            _ => kept.state.iter().map(|((kind, _), event)| (kind.clone(), event.clone())).collect(),
        }
    };
    glass
        .rooms
        .iter()
        .filter(|(_, kept)| !["leave", "ban"].contains(&kept.membership.as_str()))
        .map(|(room, kept)| (room.clone(), (kept.membership.clone(), kept.name.clone(), state(kept))))
        .collect()
}

/// Something happens to 太郎 or in a room; what the rules forbid does not.
async fn step(town: &Town, rooms: &[OwnedRoomId], random: &Random) -> Option<OwnedRoomId> {
    let room = &rooms[random.range(0..rooms.len() as u64) as usize];
    let (hanako, taro) = (user("hanako"), user("taro"));
    let engine = &town.engine;
    match random.range(0..11) {
        0 | 1 => drop(engine.join(&taro, room, &[], engine::Joining::default()).await),
        2 => drop(engine.leave(&taro, room, None).await),
        3 => drop(engine.kick(&hanako, room, &taro, None).await),
        4 => drop(engine.ban(&hanako, room, &taro, None).await),
        5 => drop(engine.unban(&hanako, room, &taro, None).await),
        6 => drop(engine.invite(&hanako, room, &taro, &engine::Profile::default(), None).await),
        7 => {
            if engine.forget(&taro, room).await.is_ok() {
                return Some(room.clone());
            }
        }
        8 => drop(
            town.set("hanako", room, "m.room.topic", json!({ "topic": random.range(0..1_000).to_string() }))
                .await,
        ),
        9 => drop(
            town.set("hanako", room, "m.room.name", json!({ "name": random.range(0..1_000).to_string() }))
                .await,
        ),
        _ => drop(town.say("hanako", room, "話").await),
    }
    None
}

#[tokio::test]
async fn whatever_happens_a_client_shows_what_a_new_one_does() {
    for seed in 0..25 {
        let town = town().await;
        let random = Random::seeded(seed);
        let mut rooms = Vec::new();
        for _ in 0..6 {
            rooms.push(town.room("hanako").await);
        }
        let mut taro = glass("taro", all());
        let mut narrow = glass("taro", all());
        narrow.body["conn_id"] = json!("narrow");
        for round in 0..60 {
            if let Some(forgotten) = step(&town, &rooms, &random).await {
                // A user forgets on his device.
                for glass in [&mut taro, &mut narrow] {
                    if glass.rooms.get(forgotten.as_str()).is_some_and(|kept| kept.membership != "join") {
                        glass.rooms.remove(forgotten.as_str());
                    }
                }
            }
            if random.range(0..3) == 0 {
                taro.look(&town).await;
            }
            // Another one looks at some rooms at a time.
            let last = random.range(0..4);
            narrow.body["lists"]["all"]["ranges"] = json!([[0, last]]);
            if random.range(0..3) == 0 {
                narrow.look(&town).await;
            }
            if round % 20 != 19 {
                continue;
            }
            narrow.body["lists"]["all"]["ranges"] = json!([[0, 99]]);
            let mut fresh = glass("taro", all());
            fresh.body["conn_id"] = json!("fresh");
            let mut counts = Vec::new();
            for glass in [&mut taro, &mut narrow, &mut fresh] {
                glass.look_at_all(&town).await;
                counts.push(glass.look(&town).await["lists"].clone());
            }
            assert!(counts.iter().all(|count| *count == counts[2]), "seed {seed}, round {round}: {counts:?}");
            // Rooms that one was put out of are told who comes anew, and are known as that to the others.
            for (room, kept) in
                fresh.rooms.iter().filter(|(_, kept)| ["leave", "ban"].contains(&kept.membership.as_str()))
            {
                for glass in [&taro, &narrow] {
                    let known = glass.rooms.get(room).map(|known| &known.membership);
                    assert!(
                        known.is_none_or(|known| *known == kept.membership),
                        "seed {seed}, round {round}"
                    );
                }
            }
            let wanted = shown(&fresh);
            assert_eq!(shown(&taro), wanted, "seed {seed}, round {round}");
            assert_eq!(shown(&narrow), wanted, "seed {seed}, round {round}, in windows");
            let joined = town.rooms.joined_rooms(&user("taro")).await.unwrap();
            let shown: Vec<&String> = wanted
                .iter()
                .filter(|(_, (membership, ..))| membership == "join")
                .map(|(room, _)| room)
                .collect();
            let mut joined: Vec<String> = joined.iter().map(|room| room.to_string()).collect();
            joined.sort();
            assert_eq!(shown, joined.iter().collect::<Vec<_>>(), "seed {seed}, round {round}");
        }
    }
}
