//! Rooms that one is invited to, joins, leaves.

use room::{
    read::{messages::PageQuery, timeline::Direction, token::Token, view::Viewer},
    tables::Membership,
};
use serde_json::{Value, json};

use super::town::{client, joined, members, said, town, user};

#[tokio::test]
async fn an_invite_shows_stripped_state_and_is_gone_after_the_join() {
    let town = town().await;
    let room = town.room("hanako").await;
    let mut taro = client("taro");
    taro.sync(&town).await;
    town.invite("hanako", &room, "taro").await;
    let answer = taro.sync(&town).await;
    let invite = &answer["rooms"]["invite"][room.as_str()]["invite_state"]["events"];
    let kinds = said(invite);
    for kind in ["m.room.create", "m.room.name", "m.room.join_rules", "m.room.member"] {
        assert!(kinds.contains(&kind.to_owned()), "{kind} in {invite}");
    }
    assert_eq!(members(invite), ["hanako", "taro"]);
    assert!(invite[0].get("event_id").is_none());
    assert!(taro.sync(&town).await.get("rooms").is_none(), "told once");

    town.say("hanako", &room, "前").await;
    town.join("taro", &room).await;
    let answer = taro.sync(&town).await;
    assert!(answer["rooms"].get("invite").is_none());
    let part = joined(&answer, &room);
    let all: Vec<_> = [said(&part["state"]["events"]), said(&part["timeline"]["events"])].concat();
    assert!(all.contains(&"m.room.create".to_owned()), "the whole state: {all:?}");
    assert!(all.contains(&"前".to_owned()), "shared history: {all:?}");
}

#[tokio::test]
async fn a_new_name_hides_neither_a_later_kick_nor_a_return() {
    let town = town().await;
    let room = town.room("hanako").await;
    town.join("taro", &room).await;
    let mut taro = client("taro");
    taro.sync(&town).await;
    let named = json!({ "membership": "join", "displayname": "太郎" });
    town.set_of("taro", &room, "m.room.member", user("taro").as_str(), named).await;
    let answer = taro.sync(&town).await;
    assert_eq!(said(&joined(&answer, &room)["timeline"]["events"]), ["m.room.member"]);

    town.engine.kick(&user("hanako"), &room, &user("taro"), None).await.unwrap();
    let answer = taro.sync(&town).await;
    assert!(answer["rooms"]["leave"].get(room.as_str()).is_some(), "{answer}");

    town.join("taro", &room).await;
    let answer = taro.sync(&town).await;
    let part = joined(&answer, &room);
    let all: Vec<_> = [said(&part["state"]["events"]), said(&part["timeline"]["events"])].concat();
    assert!(all.contains(&"m.room.create".to_owned()), "the whole room again: {all:?}");
}

#[tokio::test]
async fn who_leaves_is_told_everything_up_to_his_leaving_and_nothing_after() {
    let town = town().await;
    let room = town.room("hanako").await;
    town.join("taro", &room).await;
    let mut taro = client("taro");
    taro.sync(&town).await;
    town.say("hanako", &room, "行くな").await;
    town.leave("taro", &room).await;
    town.say("hanako", &room, "秘").await;
    let answer = taro.sync(&town).await;
    assert!(answer["rooms"].get("join").is_none());
    let part = &answer["rooms"]["leave"][room.as_str()];
    assert_eq!(said(&part["timeline"]["events"]), ["行くな", "m.room.member"]);
    assert!(taro.sync(&town).await.get("rooms").is_none());

    let fresh = client("taro").sync(&town).await;
    assert!(fresh["rooms"].get("leave").is_none());
    let filter = json!({ "room": { "include_leave": true } });
    let fresh = client("taro").with_filter(filter).sync(&town).await;
    let left = said(&fresh["rooms"]["leave"][room.as_str()]["timeline"]["events"]);
    assert!(left.contains(&"行くな".to_owned()) && !left.contains(&"秘".to_owned()), "{left:?}");
}

#[tokio::test]
async fn a_declined_invite_shows_only_the_end_of_it() {
    let town = town().await;
    let room = town.room("hanako").await;
    let mut taro = client("taro");
    town.invite("hanako", &room, "taro").await;
    taro.sync(&town).await;
    town.say("hanako", &room, "秘").await;
    town.leave("taro", &room).await;
    let answer = taro.sync(&town).await;
    let part = &answer["rooms"]["leave"][room.as_str()];
    assert_eq!(said(&part["timeline"]["events"]), ["m.room.member"]);
    assert!(part.get("state").is_none());
}

#[tokio::test]
async fn a_room_left_and_joined_again_between_two_syncs_has_no_hole() {
    let town = town().await;
    let room = town.room("hanako").await;
    town.join("taro", &room).await;
    let mut taro = client("taro");
    taro.sync(&town).await;
    town.leave("taro", &room).await;
    town.say("hanako", &room, "間").await;
    town.join("taro", &room).await;
    let answer = taro.sync(&town).await;
    let events = said(&joined(&answer, &room)["timeline"]["events"]);
    assert_eq!(events, ["m.room.member", "間", "m.room.member"]);
}

#[tokio::test]
async fn a_forgotten_room_is_mentioned_only_to_those_who_have_not_heard_that_it_was_left() {
    let town = town().await;
    let room = town.room("hanako").await;
    town.join("taro", &room).await;
    let mut other = client("taro").on("DESK");
    other.sync(&town).await;
    town.say("hanako", &room, "秘").await;
    town.leave("taro", &room).await;
    town.engine.forget(&user("taro"), &room).await.unwrap();
    let filter = json!({ "room": { "include_leave": true } });
    let answer = client("taro").with_filter(filter).sync(&town).await;
    assert!(answer["rooms"].get("leave").is_none(), "{answer}");

    let answer = other.sync(&town).await;
    let timeline = &answer["rooms"]["leave"][room.as_str()]["timeline"];
    assert_eq!(said(&timeline["events"]), ["m.room.member"], "the leaving, and no history");
    assert!(other.sync(&town).await.get("rooms").is_none(), "once");
}

#[tokio::test]
async fn one_who_joins_sees_no_more_of_the_past_than_the_room_allows() {
    for (visibility, sees_past, sees_since_invite) in [
        ("shared", true, true),
        ("invited", false, true),
        ("joined", false, false),
        ("world_readable", true, true),
    ] {
        let town = town().await;
        let room = town.room("hanako").await;
        town.set("hanako", &room, "m.room.history_visibility", json!({ "history_visibility": visibility }))
            .await;
        town.say("hanako", &room, "過去").await;
        town.invite("hanako", &room, "taro").await;
        town.say("hanako", &room, "招待後").await;
        town.join("taro", &room).await;
        town.say("hanako", &room, "今").await;
        let filter = json!({ "room": { "timeline": { "limit": 50 } } });
        let answer = client("taro").with_filter(filter).sync(&town).await;
        let seen = said(&joined(&answer, &room)["timeline"]["events"]);
        assert_eq!(seen.contains(&"過去".to_owned()), sees_past, "{visibility}: {seen:?}");
        assert_eq!(seen.contains(&"招待後".to_owned()), sees_since_invite, "{visibility}: {seen:?}");
        assert!(seen.contains(&"今".to_owned()), "{visibility}: {seen:?}");
    }
}

#[tokio::test]
async fn who_is_put_out_in_several_steps_keeps_what_he_had_seen() {
    for steps in [&["leave", "ban"][..], &["kick", "ban"], &["kick", "ban", "unban"], &["ban"], &["kick"]] {
        let town = town().await;
        let room = town.room("hanako").await;
        town.set("hanako", &room, "m.room.topic", json!({ "topic": "甲" })).await;
        town.join("taro", &room).await;
        let mut taro = client("taro");
        taro.sync(&town).await;
        town.say("hanako", &room, "見た").await;
        let (hanako, target) = (user("hanako"), user("taro"));
        for step in steps {
            match *step {
                "leave" => town.leave("taro", &room).await,
                "kick" => town.engine.kick(&hanako, &room, &target, None).await.unwrap(),
                "ban" => town.engine.ban(&hanako, &room, &target, None).await.unwrap(),
                _ => town.engine.unban(&hanako, &room, &target, None).await.unwrap(),
            }
            town.say("hanako", &room, "秘").await;
            town.set("hanako", &room, "m.room.topic", json!({ "topic": "秘" })).await;
        }
        let answer = taro.sync(&town).await;
        let part = &answer["rooms"]["leave"][room.as_str()];
        let seen = said(&part["timeline"]["events"]);
        let expected = match steps.len() {
            1 => vec!["見た", "m.room.member"],
            _ => vec!["見た", "m.room.member", "m.room.member"],
        };
        assert_eq!(seen, expected, "{steps:?}");
        assert!(!answer.to_string().contains('秘'), "{steps:?}: {answer}");

        let filter = json!({ "room": { "include_leave": true } });
        let fresh = client("taro").with_filter(filter).sync(&town).await;
        assert!(
            said(&fresh["rooms"]["leave"][room.as_str()]["timeline"]["events"]).contains(&"見た".to_owned())
        );
        let viewer = Viewer::user(&target);
        let topic = town.rooms.state_event(&viewer, &room, "m.room.topic", "").await.unwrap();
        assert_eq!(topic.event.pdu().content_str(), json!({ "topic": "甲" }).to_string(), "{steps:?}");
        let page = PageQuery {
            from: None,
            to: None,
            direction: Direction::Backward,
            limit: 50,
            filter: Default::default(),
        };
        let page = town.engine.messages(&viewer, &room, &page).await.unwrap();
        let texts: Vec<_> = page.chunk.iter().map(|look| look.event.pdu().content_str()).collect();
        assert!(texts.iter().any(|text| text.contains("見た")), "{steps:?}: {texts:?}");
        assert!(!texts.iter().any(|text| text.contains('秘')), "{steps:?}: {texts:?}");
    }
}

#[tokio::test]
async fn forgetting_a_room_ends_what_one_had_seen_also_when_more_is_done_to_one_later() {
    let town = town().await;
    let room = town.room("hanako").await;
    town.join("taro", &room).await;
    town.say("hanako", &room, "見た").await;
    town.leave("taro", &room).await;
    town.engine.forget(&user("taro"), &room).await.unwrap();
    town.engine.ban(&user("hanako"), &room, &user("taro"), None).await.unwrap();
    let viewer = user("taro");
    let state = town.rooms.state(&Viewer::user(&viewer), &room).await;
    assert!(matches!(state, Err(room::Error::NotJoined { .. })), "{state:?}");
}

#[tokio::test]
async fn a_room_joined_and_left_between_two_syncs_comes_with_its_state() {
    let town = town().await;
    let mut taro = client("taro");
    let room = town.room("hanako").await;
    town.set("hanako", &room, "m.room.topic", json!({ "topic": "甲" })).await;
    // The room is older than what he knows.
    taro.sync(&town).await;
    for number in 0..20 {
        town.say("hanako", &room, &number.to_string()).await;
    }
    town.join("taro", &room).await;
    town.leave("taro", &room).await;
    town.set("hanako", &room, "m.room.topic", json!({ "topic": "秘" })).await;
    let answer = taro.sync(&town).await;
    let part = &answer["rooms"]["leave"][room.as_str()];
    let state = said(&part["state"]["events"]);
    for kind in ["m.room.create", "m.room.name", "m.room.topic", "m.room.power_levels"] {
        assert!(state.contains(&kind.to_owned()), "{kind} in {part}");
    }
    assert_eq!(part["timeline"]["limited"], true);
    assert_eq!(said(&part["timeline"]["events"]).last().unwrap(), "m.room.member");
    assert!(!answer.to_string().contains('秘'));
}

#[tokio::test]
async fn a_place_before_ones_join_shows_no_members_where_history_is_closed() {
    let town = town().await;
    let room = town.room("hanako").await;
    town.set("hanako", &room, "m.room.history_visibility", json!({ "history_visibility": "joined" })).await;
    town.join("jiro", &room).await;
    let before: Token = client("hanako").sync(&town).await["next_batch"].as_str().unwrap().parse().unwrap();
    town.leave("jiro", &room).await;
    town.join("taro", &room).await;
    let members_at = async |who: &str| -> Vec<(String, Option<Membership>)> {
        let user = user(who);
        let looks = town.rooms.members(&Viewer::user(&user), &room, Some(before), Default::default()).await;
        let looks = looks.unwrap();
        looks
            .iter()
            .map(|look| (look.event.state_key().unwrap().to_owned(), look.event.membership()))
            .collect()
    };
    let jiro = user("jiro").to_string();
    let then = members_at("hanako").await;
    assert!(then.contains(&(jiro.clone(), Some(Membership::Join))) && then.len() == 2, "{then:?}");
    let now = members_at("taro").await;
    assert!(now.contains(&(jiro, Some(Membership::Leave))) && now.len() == 3, "{now:?}");
}

#[tokio::test]
async fn who_was_away_while_a_room_was_purged_hears_that_he_is_out_and_nothing_else() {
    let town = town().await;
    let room = town.room("hanako").await;
    town.join("taro", &room).await;
    town.invite("hanako", &room, "jiro").await;
    let (mut taro, mut jiro) = (client("taro"), client("jiro"));
    taro.sync(&town).await;
    jiro.sync(&town).await;
    town.say("hanako", &room, "消える").await;
    town.engine.start_purging(std::sync::Arc::new(engine::NoDebts), &base::Metrics::new());
    town.engine.purge(&room, true, &account::Actor::operator("uid 0")).await.unwrap();
    while !town.engine.purges().await.unwrap().is_empty() {
        town.clock.advance(std::time::Duration::from_millis(100));
        tokio::task::yield_now().await;
    }
    for (name, client) in [("taro", &mut taro), ("jiro", &mut jiro)] {
        let answer = client.sync(&town).await;
        assert!(answer["rooms"].get("join").is_none(), "{answer}");
        let part = &answer["rooms"]["leave"][room.as_str()];
        assert!(part.is_object() && part.get("timeline").is_none(), "{name}: {answer}");
        assert!(client.sync(&town).await.get("rooms").is_none(), "told once");
        let fresh = self::client(name).sync(&town).await;
        assert!(fresh.get("rooms").is_none_or(|rooms| rooms.get("leave").is_none()), "{fresh}");
    }
}

#[tokio::test]
async fn invites_that_are_ignored_or_blocked_are_not_shown() {
    let town = town().await;
    let set = async |kind: &str, content: Value| {
        town.accounts
            .set_account_data(&user("taro"), kind, content.to_string().into_bytes().into())
            .await
            .unwrap();
    };
    let filter = "org.matrix.msc4155.invite_permission_config";
    set(filter, json!({ "ignored_users": [user("hanako")] })).await;
    let room = town.room("hanako").await;
    let mut taro = client("taro");
    taro.sync(&town).await;
    town.invite("hanako", &room, "taro").await;
    let shows = |answer: &Value| answer["rooms"]["invite"].get(room.as_str()).is_some();
    assert!(!shows(&taro.sync(&town).await));
    assert!(!shows(&client("taro").sync(&town).await));
    set(filter, json!({})).await;
    assert!(shows(&client("taro").sync(&town).await));
    // What came before it was blocked.
    set("m.invite_permission_config", json!({ "default_action": "block" })).await;
    assert!(!shows(&client("taro").sync(&town).await));
}

#[tokio::test]
async fn who_knocks_sees_himself_once_in_what_he_is_told_of_the_room() {
    let town = town().await;
    let room = town.room("hanako").await;
    town.set_of("hanako", &room, "m.room.join_rules", "", json!({ "join_rule": "knock" })).await;
    let mut taro = client("taro");
    taro.sync(&town).await;
    town.engine.knock(&user("taro"), &room, &[], &Default::default(), None).await.unwrap();
    let answer = taro.sync(&town).await;
    let knock = &answer["rooms"]["knock"][room.as_str()]["knock_state"]["events"];
    assert_eq!(members(knock), ["taro"], "{knock}");
    assert!(said(knock).contains(&"m.room.name".to_owned()), "{knock}");
}
