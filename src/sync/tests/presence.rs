//! Who comes and goes.

use std::{sync::Arc, time::Duration};

use account::{PresenceConfig, State};
use ruma::OwnedRoomId;
use serde_json::{Value, json};
use store::MemoryBackend;

use super::town::{Client, Town, client, town, town_with, user};

/// A town in whose rooms of at most three it is told who comes and goes.
pub(super) async fn small_town() -> Town {
    town_with(Arc::new(MemoryBackend::new()), Some(PresenceConfig { largest_room: 3 })).await
}

pub(super) fn set(town: &Town, name: &str, state: State, status: &str) {
    let device = client(name).device;
    town.accounts.presence().set(&user(name), &device, state, Some(status.to_owned()));
}

/// Lets time go by until somebody is shown as this.
pub(super) async fn until(town: &Town, name: &str, state: State) {
    let who = user(name);
    for _ in 0..100_000 {
        if town.accounts.presence().find(&who).is_some_and(|seen| seen.state == state) {
            return;
        }
        town.clock.advance(Duration::from_millis(500));
        tokio::task::yield_now().await;
    }
    panic!("{name} is never {state:?}");
}

/// Of whom an answer tells what, in the order of names.
pub(super) fn told(answer: &Value) -> Vec<(String, String)> {
    let events = answer["presence"]["events"].as_array().cloned().unwrap_or_default();
    let one = |event: &Value| {
        assert_eq!(event["type"], "m.presence");
        let sender = event["sender"].as_str().unwrap();
        let name = sender[1..].split(':').next().unwrap().to_owned();
        (name, event["content"]["presence"].as_str().unwrap().to_owned())
    };
    events.iter().map(one).collect()
}

fn is(name: &str, state: &str) -> (String, String) {
    (name.to_owned(), state.to_owned())
}

/// 花子 and 太郎 in a room, of whom 花子 has synced without being seen.
pub(super) async fn two(town: &Town) -> (OwnedRoomId, Client) {
    let room = town.room("hanako").await;
    town.join("taro", &room).await;
    let mut hanako = hidden("hanako");
    hanako.sync(town).await;
    (room, hanako)
}

/// A client that does not show its user.
fn hidden(name: &str) -> Client {
    Client { presence: Some(State::Offline), ..client(name) }
}

#[tokio::test]
async fn who_shares_a_room_is_told_once_of_each_change_and_a_first_answer_of_who_is_there() {
    let town = small_town().await;
    let (_, mut hanako) = two(&town).await;
    let mut stranger = hidden("jiro");
    town.room("jiro").await;
    stranger.sync(&town).await;
    set(&town, "taro", State::Online, "会議中");
    until(&town, "taro", State::Online).await;
    let answer = hanako.sync(&town).await;
    assert_eq!(told(&answer), [is("taro", "online")]);
    let content = &answer["presence"]["events"][0]["content"];
    assert_eq!((&content["status_msg"], &content["currently_active"]), (&json!("会議中"), &json!(true)));
    assert_eq!(told(&hanako.sync(&town).await), []);
    assert_eq!(told(&hidden("hanako").sync(&town).await), [is("taro", "online")]);
    set(&town, "taro", State::Offline, "会議中");
    until(&town, "taro", State::Offline).await;
    assert_eq!(told(&hanako.sync(&town).await), [is("taro", "offline")]);
    assert_eq!(told(&hidden("hanako").sync(&town).await), [], "who is away is no news to who knows nobody");
    assert_eq!(told(&stranger.sync(&town).await), []);
}

#[tokio::test]
async fn who_waits_is_woken_and_a_client_that_syncs_shows_its_user() {
    let town = small_town().await;
    let (_, hanako) = two(&town).await;
    let waiting = Client { timeout: Duration::from_secs(200), ..hanako };
    let (syncs, request) = (town.syncs.clone(), waiting.request());
    let waiting = tokio::spawn(async move { syncs.sync(request).await.unwrap().gather().await });
    client("taro").sync(&town).await;
    until(&town, "taro", State::Online).await;
    let answer: Value = serde_json::from_slice(&waiting.await.unwrap()).unwrap();
    assert_eq!(told(&answer), [is("taro", "online")]);
    until(&town, "taro", State::Offline).await;
}

#[tokio::test]
async fn the_answer_to_a_request_that_says_what_its_user_is_shows_him_so() {
    let town = small_town().await;
    two(&town).await;
    let with = |state: State| Client { presence: Some(state), ..client("hanako") };
    for (state, name) in [(State::Online, "online"), (State::Unavailable, "unavailable")] {
        assert_eq!(told(&with(state).sync(&town).await), [is("hanako", name)]);
    }
    assert_eq!(told(&with(State::Offline).sync(&town).await), []);
    // What all were told last is not what he is now.
    until(&town, "hanako", State::Offline).await;
    let mut phone = with(State::Online);
    phone.sync(&town).await;
    until(&town, "hanako", State::Online).await;
    phone.presence = Some(State::Unavailable);
    assert_eq!(told(&phone.sync(&town).await), [is("hanako", "unavailable")]);
}

#[tokio::test]
async fn in_a_room_with_many_members_nobody_is_told() {
    let town = small_town().await;
    let (room, mut hanako) = two(&town).await;
    for name in ["jiro", "saburo"] {
        town.join(name, &room).await;
    }
    hanako.sync(&town).await;
    set(&town, "taro", State::Online, "");
    until(&town, "taro", State::Online).await;
    assert_eq!(told(&hanako.sync(&town).await), []);
    assert_eq!(told(&hidden("hanako").sync(&town).await), []);
}

#[tokio::test]
async fn who_is_ignored_filtered_out_or_gone_from_the_room_is_not_told_of() {
    let town = small_town().await;
    let (room, hanako) = two(&town).await;
    set(&town, "taro", State::Online, "");
    until(&town, "taro", State::Online).await;
    for filter in
        [json!({ "not_types": ["*"] }), json!({ "not_senders": [user("taro")] }), json!({ "types": [] })]
    {
        let mut client = hanako.clone().with_filter(json!({ "presence": filter }));
        assert_eq!(told(&client.sync(&town).await), [], "{filter}");
    }
    assert_eq!(told(&hanako.clone().sync(&town).await).len(), 1);
    town.leave("taro", &room).await;
    assert_eq!(told(&hanako.clone().sync(&town).await), [], "he is gone");
    town.join("taro", &room).await;
    let ignored = json!({ "ignored_users": { user("taro"): {} } });
    ignore(&town, &ignored).await;
    assert_eq!(told(&hanako.clone().sync(&town).await), [], "he is ignored");
}

async fn ignore(town: &Town, ignored: &Value) {
    let content = ignored.to_string().into_bytes().into();
    town.accounts.set_account_data(&user("hanako"), "m.ignored_user_list", content).await.unwrap();
}

#[tokio::test]
async fn who_comes_into_a_room_and_those_who_are_there_see_each_other() {
    let town = small_town().await;
    let room = town.room("hanako").await;
    let (mut hanako, mut taro) = (hidden("hanako"), hidden("taro"));
    hanako.sync(&town).await;
    taro.sync(&town).await;
    for name in ["hanako", "taro"] {
        set(&town, name, State::Unavailable, "");
        until(&town, name, State::Unavailable).await;
    }
    hanako.sync(&town).await;
    taro.sync(&town).await;
    town.join("taro", &room).await;
    assert_eq!(told(&hanako.sync(&town).await), [is("taro", "unavailable")]);
    let met = told(&taro.sync(&town).await);
    assert!(met.contains(&is("hanako", "unavailable")), "{met:?}");
}

#[tokio::test]
async fn where_it_is_off_nothing_is_noted() {
    let town = town().await;
    let (_, mut hanako) = two(&town).await;
    set(&town, "taro", State::Online, "");
    client("taro").sync(&town).await;
    town.clock.advance(Duration::from_secs(20));
    assert_eq!(town.accounts.presence().find(&user("taro")), None);
    assert_eq!(told(&hanako.sync(&town).await), []);
}

#[tokio::test]
async fn whose_account_is_closed_is_shown_to_nobody() {
    let town = small_town().await;
    let (_, hanako) = two(&town).await;
    set(&town, "taro", State::Online, "");
    until(&town, "taro", State::Online).await;
    town.accounts.presence().close(&user("taro"));
    while town.accounts.presence().find(&user("taro")).is_some() {
        town.clock.advance(Duration::from_secs(1));
        tokio::task::yield_now().await;
    }
    assert_eq!(told(&hanako.clone().sync(&town).await), []);
    assert_eq!(told(&hidden("hanako").sync(&town).await), []);
}

#[tokio::test]
async fn who_was_there_before_a_crash_and_has_not_come_back_is_away_for_those_who_were_told_otherwise() {
    let disk = store::MemoryDisk::default();
    let on = async || {
        let backend = Arc::new(MemoryBackend::open(&disk));
        town_with(backend, Some(PresenceConfig { largest_room: 3 })).await
    };
    let town = on().await;
    let (room, mut hanako) = two(&town).await;
    town.join("jiro", &room).await;
    for name in ["taro", "jiro"] {
        set(&town, name, State::Online, "");
        until(&town, name, State::Online).await;
    }
    assert_eq!(told(&hanako.sync(&town).await), [is("jiro", "online"), is("taro", "online")]);
    town.tasks.stop(Duration::ZERO).await;

    let town = on().await;
    let mut all = Vec::new();
    for _ in 0..200 {
        client("jiro").sync(&town).await;
        all.extend(told(&hanako.sync(&town).await));
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        town.clock.advance(Duration::from_secs(1));
    }
    all.retain(|told| told.0 != "hanako");
    assert_eq!(all, [is("jiro", "online"), is("taro", "offline")]);
}

#[tokio::test]
async fn of_whom_one_answer_has_no_place_the_next_tells_at_once() {
    let town = town_with(Arc::new(MemoryBackend::new()), Some(PresenceConfig { largest_room: 2_000 })).await;
    let (room, mut hanako) = two(&town).await;
    let staff: Vec<String> = (0..1_100).map(|number| format!("shokuin{number:04}")).collect();
    for name in &staff {
        town.join(name, &room).await;
    }
    hanako.sync(&town).await;
    for name in &staff {
        set(&town, name, State::Online, "");
    }
    for name in &staff {
        until(&town, name, State::Online).await;
    }
    // Whoever does not wait at all is told, part by part, and so is a client that is new.
    let mut new = hidden("hanako").on("TABLET");
    for client in [&mut hanako, &mut new] {
        let mut all: Vec<String> = Vec::new();
        for answers in 0.. {
            let some = told(&client.sync(&town).await);
            if some.is_empty() {
                assert!(answers >= 2, "{answers}");
                break;
            }
            assert!(some.len() < 1_100, "one answer has a bound");
            all.extend(some.into_iter().map(|(name, _)| name));
        }
        all.sort();
        assert_eq!(all.len(), staff.len());
        assert_eq!(all, staff);
        assert!(!client.since.as_ref().unwrap().contains('~'), "nothing is left to be told");
    }
}

/// Lets some seconds go by, with whatever is done meanwhile.
async fn pass(town: &Town, seconds: u64) {
    for _ in 0..seconds {
        town.clock.advance(Duration::from_secs(1));
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
    }
}

// C54
#[tokio::test]
async fn a_status_stays_while_its_user_is_idle_and_away_and_goes_when_he_says_so_afterwards() {
    let town = small_town().await;
    let (_, mut hanako) = two(&town).await;
    let presence = town.accounts.presence();
    let seen = || presence.look_up(&user("taro")).unwrap();
    set(&town, "taro", State::Online, "会議中");
    let mut desk = client("taro");
    for _ in 0..20 {
        desk.sync(&town).await;
        pass(&town, 20).await;
        assert_eq!(seen().status.as_deref(), Some("会議中"));
    }
    assert_eq!(seen().state, State::Unavailable, "who does nothing is idle, though his client asks for news");
    until(&town, "taro", State::Offline).await;
    // Until nothing is known of his devices any more.
    pass(&town, 60).await;
    assert_eq!(seen().status.as_deref(), Some("会議中"));
    hanako.sync(&town).await;

    desk.sync(&town).await;
    until(&town, "taro", State::Online).await;
    let answer = hanako.sync(&town).await;
    assert_eq!(answer["presence"]["events"][0]["content"]["status_msg"], "会議中");
    presence.set(&user("taro"), &desk.device, State::Online, None);
    assert_eq!(seen().status, None, "whoever asks at once");
    while presence.find(&user("taro")).unwrap().status.is_some() {
        pass(&town, 1).await;
    }
    let answer = hanako.sync(&town).await;
    assert_eq!(told(&answer), [is("taro", "online")]);
    assert!(answer["presence"]["events"][0]["content"]["status_msg"].is_null(), "{answer}");
}

// C55
#[tokio::test]
async fn two_devices_that_ask_to_be_shown_differently_wake_nobody() {
    let town = small_town().await;
    let (_, hanako) = two(&town).await;
    let mut phone = Client { presence: Some(State::Unavailable), ..client("taro").on("TABLET") };
    let mut desk = Client { presence: Some(State::Online), ..client("taro") };
    let mut watching = hanako;
    for client in [&mut phone, &mut desk] {
        client.sync(&town).await;
    }
    until(&town, "taro", State::Online).await;
    pass(&town, 5).await;
    for client in [&mut phone, &mut desk, &mut watching] {
        client.sync(&town).await;
        client.timeout = Duration::from_secs(30);
    }
    for _ in 0..3 {
        let waiting = [&phone, &desk, &watching].map(|client| {
            let (syncs, request) = (town.syncs.clone(), client.request());
            tokio::spawn(async move { syncs.sync(request).await.unwrap().gather().await })
        });
        pass(&town, 29).await;
        assert!(waiting.iter().all(|waiting| !waiting.is_finished()), "somebody was woken");
        town.clock.advance(Duration::from_secs(2));
        for (waiting, client) in waiting.into_iter().zip([&mut phone, &mut desk, &mut watching]) {
            let answer: Value = serde_json::from_slice(&waiting.await.unwrap()).unwrap();
            assert_eq!(told(&answer), [], "{answer}");
            client.since = Some(answer["next_batch"].as_str().unwrap().to_owned());
        }
        assert_eq!(town.accounts.presence().find(&user("taro")).unwrap().state, State::Online);
    }
}
