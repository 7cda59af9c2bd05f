//! Rooms that lack members: who loads members as he needs them is shown them at once, others once they are whole.

use account::State;
use room::{
    RoomSerial, Root,
    read::lacking::{Filling, LACKING, LackingRow, lacking_moved},
};
use ruma::RoomId;
use serde_json::json;
use store::{Batch, Position, Stamped, Topic};

use super::{
    presence::{set, small_town, told, two, until},
    town::{Town, client, joined, members, said, town, user},
};

async fn serial(town: &Town, room: &RoomId) -> RoomSerial {
    town.rooms.room(room).await.unwrap().unwrap().serial
}

/// From now on the room lacks members, and nobody brings them.
async fn lose_members(town: &Town, room: &RoomId) {
    let filling = Filling {
        join: room::EventSerial(1),
        via: Vec::new(),
        without: Root::EMPTY,
        before: Root::EMPTY,
        is_made: false,
        slices: 0,
        tries: 0,
        held_until: 1_800_000_000_000 + 30 * 60_000,
    };
    let row = Stamped { position: Position::START, value: LackingRow { filling: Some(filling) } };
    let mut batch = Batch::new();
    batch.put(&LACKING, &serial(town, room).await, &row);
    batch.touch([lacking_moved()]);
    town.store.commit(batch).await.unwrap();
}

/// They have all come.
async fn bring_members(town: &Town, room: &RoomId) {
    let mut batch = Batch::new();
    let slot = batch.mark([Topic::room(room.as_str()), lacking_moved()]);
    batch.put_stamped(&LACKING, &serial(town, room).await, slot, &LackingRow { filling: None });
    town.store.commit(batch).await.unwrap();
}

#[tokio::test]
async fn who_wants_all_members_is_told_of_a_room_once_they_are_known_and_then_whole() {
    let town = town().await;
    let (room, other) = (town.room("hanako").await, town.room("hanako").await);
    let (mut phone, mut later) = (client("hanako"), client("hanako").on("DESK"));
    town.join("taro", &room).await;
    lose_members(&town, &room).await;
    let answer = phone.sync(&town).await;
    assert!(joined(&answer, &room).is_null() && !joined(&answer, &other).is_null(), "{answer}");
    town.say("taro", &room, "先に").await;
    town.say("taro", &room, "もう一つ").await;
    let answer = phone.sync(&town).await;
    assert!(joined(&answer, &room).is_null(), "{answer}");

    bring_members(&town, &room).await;
    let answer = phone.sync(&town).await;
    let part = joined(&answer, &room);
    let all = [said(&part["state"]["events"]), said(&part["timeline"]["events"])].concat();
    assert!(all.contains(&"m.room.create".to_owned()) && all.contains(&"もう一つ".to_owned()), "{all:?}");
    let both = [members(&part["state"]["events"]), members(&part["timeline"]["events"])].concat();
    assert_eq!(both.len(), 2, "{both:?}");
    assert!(joined(&answer, &other).is_null());
    // And not again.
    town.say("taro", &room, "後で").await;
    let answer = phone.sync(&town).await;
    assert_eq!(said(&joined(&answer, &room)["timeline"]["events"]), ["後で"]);
    assert!(said(&joined(&answer, &room)["state"]["events"]).is_empty());
    assert!(!joined(&later.sync(&town).await, &room).is_null());
    let answer = later.sync(&town).await;
    assert!(answer.get("rooms").is_none(), "{answer}");
}

#[tokio::test]
async fn who_waits_hears_of_a_room_when_its_members_have_come() {
    let town = town().await;
    let room = town.room("hanako").await;
    lose_members(&town, &room).await;
    let mut phone = client("hanako");
    phone.sync(&town).await;
    phone.timeout = std::time::Duration::from_secs(30);
    let (answer, ()) = tokio::join!(phone.sync(&town), async {
        while town.store.watched() == 0 {
            tokio::task::yield_now().await;
        }
        bring_members(&town, &room).await;
    });
    assert!(!joined(&answer, &room).is_null(), "{answer}");
}

#[tokio::test]
async fn who_loads_members_as_needed_is_shown_a_room_at_once_but_not_how_many_they_are() {
    let town = town().await;
    let room = town.room("hanako").await;
    town.join("taro", &room).await;
    lose_members(&town, &room).await;
    let lazy = json!({ "room": { "state": { "lazy_load_members": true } } });
    let mut phone = client("hanako").with_filter(lazy);
    let answer = phone.sync(&town).await;
    let part = joined(&answer, &room);
    assert!(said(&part["state"]["events"]).len() + said(&part["timeline"]["events"]).len() > 5, "{part}");
    assert!(part["summary"].get("m.joined_member_count").is_none(), "{part}");
    town.say("taro", &room, "いる").await;
    let answer = phone.sync(&town).await;
    assert_eq!(said(&joined(&answer, &room)["timeline"]["events"]), ["いる"]);

    bring_members(&town, &room).await;
    town.say("taro", &room, "皆いる").await;
    let answer = phone.sync(&town).await;
    let part = joined(&answer, &room);
    assert_eq!(said(&part["timeline"]["events"]), ["皆いる"]);
    assert_eq!(part["summary"]["m.joined_member_count"], 2, "{part}");
    town.say("taro", &room, "以上").await;
    let answer = phone.sync(&town).await;
    assert!(joined(&answer, &room)["summary"].get("m.joined_member_count").is_none(), "{answer}");
}

#[tokio::test]
async fn in_a_room_that_may_have_any_number_of_members_nobody_is_told_who_comes_and_goes() {
    let town = small_town().await;
    let (room, mut hanako) = two(&town).await;
    lose_members(&town, &room).await;
    hanako.filter = json!({ "room": { "state": { "lazy_load_members": true } } });
    hanako.sync(&town).await;
    set(&town, "taro", State::Online, "出先");
    until(&town, "taro", State::Online).await;
    assert_eq!(told(&hanako.sync(&town).await), []);
    let here = town.accounts.presence().rooms_of(&user("taro"));
    assert_eq!(here, [], "nor are other servers told of it");
    set(&town, "taro", State::Offline, "出先");
    until(&town, "taro", State::Offline).await;

    bring_members(&town, &room).await;
    hanako.sync(&town).await;
    // In which rooms somebody is shown is looked up again.
    town.clock.advance(std::time::Duration::from_secs(60 * 60));
    set(&town, "taro", State::Online, "在席");
    until(&town, "taro", State::Online).await;
    assert_eq!(told(&hanako.sync(&town).await), [("taro".to_owned(), "online".to_owned())]);
}
