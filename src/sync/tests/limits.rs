//! Large accounts and bad input.

use serde_json::json;
use store::{Batch, MemoryDisk};

use super::{
    sliding::{all_rooms, glass, of, told},
    town::{client, joined, said, town, town_on},
};
use crate::{Answer, Error, SyncFilter};

#[tokio::test]
async fn a_large_account_is_sent_in_parts_that_are_one_answer() {
    let town = town().await;
    let mut rooms = Vec::new();
    for _ in 0..120 {
        rooms.push(town.room("hanako").await);
    }
    let request = client("hanako").request();
    assert!(matches!(town.syncs.sync(request).await.unwrap(), Answer::Parts(_)));
    let mut hanako = client("hanako");
    let answer = hanako.sync(&town).await;
    assert!(rooms.iter().all(|room| joined(&answer, room)["timeline"]["events"].is_array()));
    assert!(hanako.sync(&town).await.get("rooms").is_none());
}

#[tokio::test]
async fn a_user_without_rooms_gets_an_empty_answer() {
    let answer = client("nobody").sync(&town().await).await;
    assert!(answer["next_batch"].is_string());
    assert_eq!(answer["rooms"]["join"], json!({}));
}

#[tokio::test]
async fn filters_that_choose_rooms_leave_the_others_out() {
    let town = town().await;
    let (wanted, other) = (town.room("hanako").await, town.room("hanako").await);
    let filter = json!({ "room": { "rooms": [wanted], "not_rooms": [other] } });
    let answer = client("hanako").with_filter(filter).sync(&town).await;
    let join = answer["rooms"]["join"].as_object().unwrap();
    assert_eq!(join.keys().collect::<Vec<_>>(), [wanted.as_str()]);
}

#[tokio::test]
async fn a_stored_filter_is_found_by_its_id_and_an_unknown_one_refused() {
    let town = town().await;
    let user = client("hanako").user;
    let filter = json!({ "room": { "timeline": { "limit": 3 } } }).to_string();
    let id = town.accounts.put_filter(&user, filter.into()).await.unwrap();
    assert_eq!(town.syncs.stored_filter(&user, &id).await.unwrap().timeline_limit(), 3);
    assert!(matches!(town.syncs.stored_filter(&user, "none").await, Err(Error::BadFilter(_))));
    assert!(SyncFilter::parse(b"{\"room\":3}").is_err());
    assert!(SyncFilter::parse(b"[").is_err());
}

#[tokio::test]
async fn a_token_from_a_time_that_was_taken_back_is_answered_like_none() {
    let town = town().await;
    let room = town.room("hanako").await;
    let event = town.say("hanako", &room, "戻した後").await;
    let mut hanako = client("hanako");
    hanako.since = Some("s1_999999999".to_owned());
    let answer = hanako.sync(&town).await;
    let told = answer["rooms"]["join"][room.as_str()]["timeline"]["events"].as_array().unwrap();
    assert_eq!(told.last().unwrap()["event_id"], event.as_str());
    assert_ne!(hanako.since.as_deref(), Some("s1_999999999"));
}

#[tokio::test]
async fn a_damaged_room_costs_that_room_and_no_other() {
    let disk = MemoryDisk::default();
    let before = town_on(&disk).await;
    let (good, bad) = (before.room("hanako").await, before.room("hanako").await);
    let mut known = client("hanako");
    known.sync(&before).await;
    before.say("hanako", &good, "無事").await;
    let event = before.say("hanako", &bad, "破損").await;
    let stored = before.rooms.event(&bad, &event).await.unwrap().unwrap();
    let mut batch = Batch::new();
    let row = (stored.room(), stored.serial());
    batch.put(&room::tables::EVENTS, &row, &bytes::Bytes::from_static(b"{"));
    before.store.commit(batch).await.unwrap();
    before.store.close().await.unwrap();

    // Nothing in any cache hides the damage from this one.
    let after = town_on(&disk).await;
    for mut client in [known, client("hanako")] {
        let answer = client.sync(&after).await;
        assert!(said(&joined(&answer, &good)["timeline"]["events"]).contains(&"無事".to_owned()));
        assert!(answer["rooms"]["join"].get(bad.as_str()).is_none(), "{answer}");
    }
}

// C33
#[tokio::test]
async fn a_damaged_room_costs_a_list_that_room_and_no_other() {
    for gone in [false, true] {
        let disk = MemoryDisk::default();
        let before = town_on(&disk).await;
        let (good, bad) = (before.room("hanako").await, before.room("hanako").await);
        let mut event = before.say("hanako", &bad, "破損").await;
        if gone {
            let answer = client("hanako").sync(&before).await;
            let create = joined(&answer, &bad)["timeline"]["events"][0].clone();
            assert_eq!(create["type"], "m.room.create", "{answer}");
            event = create["event_id"].as_str().unwrap().try_into().unwrap();
        }
        let stored = before.rooms.event(&bad, &event).await.unwrap().unwrap();
        let mut batch = Batch::new();
        let row = (stored.room(), stored.serial());
        match gone {
            false => batch.put(&room::tables::EVENTS, &row, &bytes::Bytes::from_static(b"{")),
            true => batch.delete(&room::tables::EVENTS, &row),
        }
        before.store.commit(batch).await.unwrap();
        before.store.close().await.unwrap();

        let after = town_on(&disk).await;
        let mut hanako = glass("hanako", all_rooms(1, json!([["*", "*"]])));
        let answer = hanako.look(&after).await;
        assert_eq!(of(&answer, &good)["name"], "石川県 災害連絡", "{gone}");
        assert_eq!(answer["lists"]["all"]["count"], 2);
        assert!(!told(&answer).contains(&bad.to_string()), "{gone} {answer}");
        // It is no reason to be answered at once for ever.
        hanako.timeout = std::time::Duration::from_secs(30);
        let (syncs, request) = (after.syncs.clone(), hanako.request());
        let waiting = tokio::spawn(async move { syncs.slide(&request).await });
        for _ in 0..1_000 {
            tokio::task::yield_now().await;
        }
        assert!(!waiting.is_finished(), "{gone}");
        while !waiting.is_finished() {
            after.clock.advance(std::time::Duration::from_secs(1));
            tokio::task::yield_now().await;
        }
        waiting.await.unwrap().unwrap();
    }
}
