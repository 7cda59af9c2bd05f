//! Who is there: between servers, and between processes of one.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::json;
use testkit::{Net, Preset, User};

/// So long a client waits between two steps of time: a server does in it what it has to do.
const MOMENT: Duration = Duration::from_millis(20);

async fn set(user: &User, presence: &str, status: &str) {
    let path = format!("/presence/{}/status", user.id());
    user.call(Method::PUT, &path, Some(&json!({ "presence": presence, "status_msg": status }))).await;
}

/// Syncs while time goes by until the user has been told this of somebody.
async fn told(net: &Net, user: &User, of: &User, presence: &str) {
    let wait = async {
        loop {
            let seen = user.sync(MOMENT).await;
            if seen.presence(of.id()) == Some(presence) {
                return;
            }
            net.advance(Duration::from_secs(1));
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(60), wait).await;
    assert!(waited.is_ok(), "{} is never told that {} is {presence}", user.id(), of.id());
}

#[tokio::test]
async fn who_comes_and_goes_is_told_to_another_server_and_to_those_alone_who_share_a_room() {
    let net = Net::with_presence();
    let (kanazawa, wajima) = (net.server("kanazawa.test").await, net.server("wajima.test").await);
    let (hanako, taro) = (kanazawa.user("hanako").await, wajima.user("taro").await);
    let stranger = wajima.user("jiro").await;
    let room = hanako.create_room(Preset::PublicChat).await;
    taro.join(&room, "kanazawa.test").await;
    stranger.sync(Duration::ZERO).await;
    hanako.sync(Duration::ZERO).await;
    told(&net, &taro, &hanako, "online").await;
    for state in ["unavailable", "online", "offline"] {
        set(&hanako, state, "現場").await;
        told(&net, &taro, &hanako, state).await;
        let path = format!("/presence/{}/status", hanako.id());
        let asked = taro.call(Method::GET, &path, None).await;
        assert_eq!((&asked["presence"], &asked["status_msg"]), (&json!(state), &json!("現場")));
        let refused = stranger.try_call(Method::GET, &path, None).await.unwrap_err();
        assert_eq!(refused.status, StatusCode::FORBIDDEN);
    }
    assert_eq!(stranger.sync(Duration::ZERO).await.presence(hanako.id()), None);
}

#[tokio::test]
async fn who_comes_from_another_server_is_told_who_is_there_already() {
    let net = Net::with_presence();
    let (kanazawa, wajima) = (net.server("kanazawa.test").await, net.server("wajima.test").await);
    let (hanako, taro) = (kanazawa.user("hanako").await, wajima.user("taro").await);
    let jiro = kanazawa.user("jiro").await;
    let room = hanako.create_room(Preset::PublicChat).await;
    jiro.join(&room, "kanazawa.test").await;
    set(&hanako, "unavailable", "現場").await;
    told(&net, &jiro, &hanako, "unavailable").await;
    taro.join(&room, "kanazawa.test").await;
    // Within minutes: all is said again only after twenty.
    for _ in 0..300 {
        if taro.sync(MOMENT).await.presence(hanako.id()) == Some("unavailable") {
            return;
        }
        net.advance(Duration::from_secs(1));
    }
    panic!("taro is not told that hanako is there");
}

#[tokio::test]
async fn who_is_there_at_one_replica_is_told_at_the_other_until_he_goes_or_the_process_does() {
    let net = Net::with_presence();
    let replicas = net.replicas("nanao.test", 2).await;
    let (mio, ren) = (replicas[0].user("mio").await, replicas[1].user("ren").await);
    let room = mio.create_room(Preset::PublicChat).await;
    ren.join(&room, "nanao.test").await;
    mio.sync(Duration::ZERO).await;
    told(&net, &ren, &mio, "online").await;
    // He asks for nothing any more.
    told(&net, &ren, &mio, "offline").await;

    // Of two devices at two processes the one that says more counts.
    let phone = mio.at(&replicas[1]);
    set(&phone, "unavailable", "").await;
    told(&net, &ren, &mio, "unavailable").await;
    set(&mio, "online", "").await;
    told(&net, &ren, &mio, "online").await;

    replicas[0].crash().await;
    told(&net, &ren, &mio, "offline").await;
}

#[tokio::test]
async fn a_server_says_nothing_of_users_of_others_nor_of_those_in_no_room_with_ours() {
    let net = Net::with_presence();
    let kanazawa = net.server("kanazawa.test").await;
    let mallory = net.hostile("mallory.test").await;
    let (hanako, taro) = (kanazawa.user("hanako").await, kanazawa.user("taro").await);
    let room = hanako.create_room(Preset::PublicChat).await;
    taro.join(&room, "kanazawa.test").await;
    let _eve = mallory.join(&net.outside(), "kanazawa.test", &room, "eve").await;
    let eve = ruma::user_id!("@eve:mallory.test");
    hanako.sync_until(|seen| seen.room(&room).membership(eve.as_str()) == Some("join")).await;
    set(&taro, "online", "").await;
    told(&net, &hanako, &taro, "online").await;

    let user =
        |id: &str, presence: &str| json!({ "user_id": id, "presence": presence, "last_active_ago": 5 });
    let push = json!([
        { "user_id": 7 },
        user(taro.id().as_str(), "unavailable"),
        user("@nobody:mallory.test", "online"),
        user("@eve:mallory.test", "online"),
    ]);
    let edu = json!({ "edu_type": "m.presence", "content": { "push": push } });
    let wait = async {
        loop {
            mallory.transaction(&net.outside(), "kanazawa.test", &[], std::slice::from_ref(&edu)).await;
            net.advance(Duration::from_secs(1));
            if hanako.sync(MOMENT).await.presence(eve) == Some("online") {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), wait).await.unwrap();
    let seen = hanako.sync(Duration::ZERO).await;
    assert_ne!(seen.presence(taro.id()), Some("unavailable"));
    let known = kanazawa.look(|house| {
        let presence = house.accounts.presence();
        presence.find(ruma::user_id!("@nobody:mallory.test"))
    });
    assert_eq!(known, None);
}

/// Has a hostile server say what its users are, until somebody has been told this of one of them.
async fn say(
    net: &Net,
    mallory: &hostile::Hostile,
    push: serde_json::Value,
    user: &User,
    of: &str,
    is: &str,
) {
    let of = ruma::UserId::parse(of).unwrap();
    let edu = json!({ "edu_type": "m.presence", "content": { "push": push } });
    let wait = async {
        loop {
            mallory.transaction(&net.outside(), "kanazawa.test", &[], std::slice::from_ref(&edu)).await;
            net.advance(Duration::from_secs(1));
            if user.sync(MOMENT).await.presence(&of) == Some(is) {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), wait).await.unwrap();
}

const EVE: &str = "@eve:mallory.test";

#[tokio::test]
async fn a_room_that_has_grown_large_is_not_told_of_users_of_other_servers_either() {
    let net = Net::with_presence_among(3);
    let kanazawa = net.server("kanazawa.test").await;
    let mallory = net.hostile("mallory.test").await;
    let (hanako, taro) = (kanazawa.user("hanako").await, kanazawa.user("taro").await);
    let large = taro.create_room(Preset::PublicChat).await;
    let small = hanako.create_room(Preset::PublicChat).await;
    for room in [&large, &small] {
        let _eve = mallory.join(&net.outside(), "kanazawa.test", room, "eve").await;
    }
    set(&taro, "online", "").await;
    hanako.sync_until(|seen| seen.room(&small).membership(EVE) == Some("join")).await;
    let eve = |presence: &str| json!([{ "user_id": EVE, "presence": presence, "last_active_ago": u64::MAX }]);
    say(&net, &mallory, eve("online"), &taro, EVE, "online").await;
    for name in ["jiro", "saburo"] {
        kanazawa.user(name).await.join(&large, "kanazawa.test").await;
    }
    say(&net, &mallory, eve("unavailable"), &hanako, EVE, "unavailable").await;
    let seen = taro.sync(Duration::ZERO).await;
    assert_eq!(
        seen.presence(ruma::user_id!("@eve:mallory.test")),
        Some("online"),
        "nobody tells him otherwise"
    );
    let path = format!("/presence/{EVE}/status");
    let asked = hanako.call(Method::GET, &path, None).await;
    assert!(asked["last_active_ago"].as_u64().unwrap() < 1 << 53, "{asked}");
}

#[tokio::test]
async fn what_was_said_while_nobody_here_was_there_is_told_to_who_comes() {
    let net = Net::with_presence();
    let kanazawa = net.server("kanazawa.test").await;
    let mallory = net.hostile("mallory.test").await;
    let (hanako, taro) = (kanazawa.user("hanako").await, kanazawa.user("taro").await);
    let (ours, his) =
        (hanako.create_room(Preset::PublicChat).await, taro.create_room(Preset::PublicChat).await);
    let _eve = mallory.join(&net.outside(), "kanazawa.test", &ours, "eve").await;
    let _mark = mallory.join(&net.outside(), "kanazawa.test", &his, "mark").await;
    let mark = "@mark:mallory.test";
    taro.sync_until(|seen| seen.room(&his).membership(mark) == Some("join")).await;
    set(&taro, "online", "").await;
    // 太郎 is told of the one, so that what was said of the other in the same breath has been looked at too.
    for state in ["online", "unavailable"] {
        let is = |id: &str| json!({ "user_id": id, "presence": state, "last_active_ago": 5 });
        say(&net, &mallory, json!([is(EVE), is(mark)]), &taro, mark, state).await;
    }
    let eve = ruma::user_id!("@eve:mallory.test");
    let known = || kanazawa.look(|house| house.accounts.presence().find(eve));
    assert_eq!(known(), None);
    set(&hanako, "online", "").await;
    let wait = async {
        while hanako.sync(MOMENT).await.presence(eve) != Some("unavailable") {
            net.advance(Duration::from_secs(1));
        }
    };
    tokio::time::timeout(Duration::from_secs(60), wait).await.unwrap();
}

#[tokio::test]
async fn the_servers_of_a_room_that_somebody_has_left_hear_nothing_of_him_any_more() {
    let net = Net::with_presence();
    let kanazawa = net.server("kanazawa.test").await;
    let mallory = net.hostile("mallory.test").await;
    let (hanako, taro) = (kanazawa.user("hanako").await, kanazawa.user("taro").await);
    let room = taro.create_room(Preset::PublicChat).await;
    hanako.join(&room, "kanazawa.test").await;
    let _eve = mallory.join(&net.outside(), "kanazawa.test", &room, "eve").await;
    let heard = |what: &str| {
        let sent = mallory.asked("/send/");
        sent.iter().any(|asked| asked.body["edus"].to_string().contains(what))
    };
    let until_heard = async |user: &User, what: &str| {
        let wait = async {
            while !heard(what) {
                net.advance(Duration::from_secs(1));
                user.sync(MOMENT).await;
            }
        };
        assert!(tokio::time::timeout(Duration::from_secs(60), wait).await.is_ok(), "{what}");
    };
    hanako.sync(Duration::ZERO).await;
    set(&hanako, "online", "受付").await;
    until_heard(&taro, "受付").await;

    hanako.leave(&room).await;
    set(&hanako, "unavailable", "面談中").await;
    set(&taro, "online", "現場").await;
    until_heard(&taro, "現場").await;
    set(&taro, "unavailable", "帰庁").await;
    until_heard(&taro, "帰庁").await;
    assert!(!heard("面談中"));
}

#[tokio::test]
async fn a_process_that_was_not_there_when_somebody_came_tells_its_clients_when_that_is_said_again() {
    let net = Net::with_presence();
    let replicas = net.replicas("nanao.test", 2).await;
    let (mio, ren) = (replicas[0].user("mio").await, replicas[1].user("ren").await);
    let room = mio.create_room(Preset::PublicChat).await;
    ren.join(&room, "nanao.test").await;
    let seen = ren.sync(Duration::ZERO).await;
    assert_eq!(seen.presence(mio.id()), None);
    replicas[1].crash().await;
    let other = mio.another_device().await;
    set(&mio, "online", "").await;
    told(&net, &other, &mio, "online").await;
    replicas[1].start().await;
    let wait = async {
        loop {
            mio.sync(Duration::ZERO).await;
            if ren.sync(MOMENT).await.presence(mio.id()) == Some("online") {
                return;
            }
            net.advance(Duration::from_secs(1));
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(60), wait).await.is_ok(), "he is never told of her");
}
