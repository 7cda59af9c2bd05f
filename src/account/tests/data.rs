//! Account data, profiles, filters, push rules.

use super::*;
use crate::{DataChange, tables};

#[tokio::test]
async fn account_data_is_kept_and_logged() {
    let town = open_town().await;
    let (user, _) = town.register("hanako", false).await;
    let room = room_id!("!room:kanazawa.test");
    let before = town.store.head();

    town.accounts.set_account_data(&user, "org.example", Bytes::from_static(br#"{"a":1}"#)).await.unwrap();
    town.accounts
        .set_room_account_data(&user, room, "org.example", Bytes::from_static(br#"{"b":2}"#))
        .await
        .unwrap();

    let kept = town.accounts.room_account_data(&user, room, "org.example").await.unwrap();
    assert_eq!(&kept[..], br#"{"b":2}"#);
    let changes = town.accounts.account_data_since(&user, before).await.unwrap();
    assert_eq!(changes.len(), 2);
    assert!(changes.iter().all(|change| change.position > before && change.kind == "org.example"));
    assert_eq!(changes.iter().filter(|change| change.room_id.as_deref() == Some(room)).count(), 1);
    let since_then = town.accounts.account_data_since(&user, town.store.head()).await.unwrap();
    assert!(since_then.is_empty());
    let all = town.accounts.account_data_since(&user, Position::START).await.unwrap();
    assert!(all.iter().any(|change| change.kind == "m.push_rules"));

    let logged = town.store.changes(before, 10).await.unwrap();
    let logged: Vec<_> = logged
        .iter()
        .map(|entry| (entry.kind, crate::log::Change::decode(&entry.payload).unwrap()))
        .collect();
    assert_eq!(logged.len(), 2);
    assert!(logged.iter().all(|(kind, change)| *kind == change.kind()));
}

/// What there is, by everything that is kept: what the list by position must tell.
async fn set_after(town: &Town, user: &UserId, after: Position) -> Vec<DataChange> {
    let mut all = town.accounts.account_data_since(user, Position::START).await.unwrap();
    all.retain(|change| change.position > after);
    all.sort_unstable_by_key(|change| change.position);
    all
}

#[tokio::test]
async fn what_was_set_after_a_position_is_told_once_with_its_last_content_and_nothing_else() {
    let town = open_town().await;
    let (hanako, _) = town.register("hanako", false).await;
    let (taro, _) = town.register("hanako2", false).await;
    let rooms = [room_id!("!a:kanazawa.test"), room_id!("!b:kanazawa.test")];
    let mut positions = vec![town.store.head()];
    for step in 0_usize..24 {
        let content = Bytes::from(format!("{{\"n\":{step}}}"));
        let user = if step % 5 == 4 { &taro } else { &hanako };
        let kind = format!("k{}", step % 3);
        match rooms.get(step % 4) {
            Some(room) => town.accounts.set_room_account_data(user, room, &kind, content).await.unwrap(),
            None => town.accounts.set_account_data(user, &kind, content).await.unwrap(),
        }
        positions.push(town.store.head());
    }
    for user in [&hanako, &taro] {
        let listed = store::Range::prefix(user.as_str());
        let listed = town.store.scan(&tables::DATA_LOG, listed, store::Order::Ascending, 99).await.unwrap();
        let kept = set_after(&town, user, Position::START).await.len();
        assert_eq!(listed.len(), kept, "what was set again is listed once");
    }
    for after in positions {
        for user in [&hanako, &taro] {
            let told = town.accounts.account_data_since(user, after).await.unwrap();
            assert_eq!(told, set_after(&town, user, after).await, "{user} {after}");
        }
    }
}

#[tokio::test]
async fn data_of_before_there_was_a_list_by_position_are_listed_by_the_migration_also_twice() {
    let town = open_town().await;
    let (user, _) = town.register("hanako", false).await;
    let before = town.store.head();
    let mut batch = store::Batch::new();
    for number in 0..1_100 {
        crate::data::put_global(
            &mut batch,
            &user,
            &format!("g{number}"),
            Bytes::from_static(br#"{"a":1}"#),
            None,
        );
    }
    batch.delete_prefix(&tables::DATA_LOG, user.as_str());
    town.store.commit(batch).await.unwrap();
    let room = room_id!("!room:kanazawa.test");
    let details = json("{}");
    let tag = || town.accounts.set_room_tag(&user, room, "u.work", &details);
    tag().await.unwrap();
    let mut batch = store::Batch::new();
    batch.delete_all(&tables::DATA_LOG);
    town.store.commit(batch).await.unwrap();

    for _ in 0..2 {
        crate::list_data_by_position(&town.store).await.unwrap();
        let told = town.accounts.account_data_since(&user, before).await.unwrap();
        assert_eq!((told.len(), told), (1_101, set_after(&town, &user, before).await));
    }
    // What is set again takes its place in the list.
    let now = town.store.head();
    tag().await.unwrap();
    assert_eq!(town.accounts.account_data_since(&user, before).await.unwrap().len(), 1_101);
    assert_eq!(town.accounts.account_data_since(&user, now).await.unwrap().len(), 1);
}

#[tokio::test]
async fn managed_account_data_is_not_set_directly() {
    let town = open_town().await;
    let (user, _) = town.register("hanako", false).await;
    for kind in ["m.fully_read", "m.push_rules"] {
        let answer = town.accounts.set_account_data(&user, kind, Bytes::from_static(b"{}")).await;
        assert!(matches!(answer, Err(Error::Managed(_))), "{kind}");
    }
    let no_object = town.accounts.set_account_data(&user, "org.example", Bytes::from_static(b"[]")).await;
    assert!(matches!(no_object, Err(Error::InvalidParam(_))));
}

#[tokio::test]
async fn nobody_gives_up_a_change_for_losing_to_others_at_the_same_time() {
    let town = open_town().await;
    let (user, tokens) = town.register("hanako", false).await;
    let device = town.session(&tokens).await.unwrap().device_id;
    let room = room_id!("!room:kanazawa.test");
    let details = json("{}");

    // All in step, each on what the others are changing.
    let names: Vec<String> = (0..40).map(|number| format!("u.tag{number}")).collect();
    let tags = names.iter().map(|name| town.accounts.set_room_tag(&user, room, name, &details));
    let renames = names.iter().map(|name| town.accounts.rename_device(&user, &device, Some(name.clone())));
    let (tagged, renamed) =
        tokio::join!(futures_util::future::join_all(tags), futures_util::future::join_all(renames));

    tagged.into_iter().chain(renamed).collect::<Result<Vec<()>, Error>>().unwrap();
    let tags = town.accounts.room_tags(&user, room).await.unwrap();
    assert_eq!(tags.len(), names.len());
}

#[tokio::test]
async fn tags_set_at_the_same_time_are_all_kept() {
    let town = open_town().await;
    let (user, _) = town.register("hanako", false).await;
    let room = room_id!("!room:kanazawa.test");
    let details = json(r#"{"order":0.5}"#);
    let tag = |name: &'static str| town.accounts.set_room_tag(&user, room, name, &details);

    let (one, two, three) = tokio::join!(tag("m.favourite"), tag("u.work"), tag("u.play"));

    one.and(two).and(three).unwrap();
    assert_eq!(town.accounts.room_tags(&user, room).await.unwrap().len(), 3);
    town.accounts.remove_room_tag(&user, room, "u.play").await.unwrap();
    assert_eq!(town.accounts.room_tags(&user, room).await.unwrap().len(), 2);
}

fn json(text: &str) -> Box<serde_json::value::RawValue> {
    serde_json::value::RawValue::from_string(text.to_owned()).unwrap()
}

#[tokio::test]
async fn setting_a_tag_keeps_what_was_not_understood() {
    let town = open_town().await;
    let (user, _) = town.register("hanako", false).await;
    let room = room_id!("!room:kanazawa.test");
    let odd = br#"{"org.example":[1],"tags":{"m.favourite":{"order":"0.5"},"u.odd":7,"u.null":null}}"#;
    town.accounts.set_room_account_data(&user, room, "m.tag", Bytes::from_static(odd)).await.unwrap();

    assert_eq!(town.accounts.room_tags(&user, room).await.unwrap().len(), 3);
    town.accounts.set_room_tag(&user, room, "u.new", &json(r#"{"order":0.1,"org.x":1}"#)).await.unwrap();
    town.accounts.remove_room_tag(&user, room, "u.null").await.unwrap();

    let kept = town.accounts.room_account_data(&user, room, "m.tag").await.unwrap();
    let kept: serde_json::Value = serde_json::from_slice(&kept).unwrap();
    let expected = serde_json::json!({
        "org.example": [1],
        "tags": { "m.favourite": { "order": "0.5" }, "u.odd": 7, "u.new": { "order": 0.1, "org.x": 1 } },
    });
    assert_eq!(kept, expected);
}

#[tokio::test]
async fn tags_are_bounded_in_number_and_size() {
    let town = open_town().await;
    let (user, _) = town.register("hanako", false).await;
    let room = room_id!("!room:kanazawa.test");
    let set =
        async |tag: &str, details: &str| town.accounts.set_room_tag(&user, room, tag, &json(details)).await;
    assert!(matches!(set(&"x".repeat(256), "{}").await, Err(Error::InvalidParam(_))));
    assert!(matches!(set("u.list", "[]").await, Err(Error::InvalidParam(_))));
    let large = format!(r#"{{"x":"{}"}}"#, "x".repeat(5_000));
    assert!(matches!(set("u.large", &large).await, Err(Error::TooLarge(_))));
    for number in 0..200 {
        set(&format!("u.{number}"), "{}").await.unwrap();
    }
    set("u.0", "{}").await.unwrap();
    assert!(matches!(set("u.200", "{}").await, Err(Error::TooLarge(_))));
}

#[tokio::test]
async fn an_odd_entry_among_the_ignored_users_saves_nobody_else() {
    let town = open_town().await;
    let (user, _) = town.register("hanako", false).await;
    assert!(town.accounts.ignored_users(&user).await.unwrap().is_empty());
    let list = br#"{"ignored_users":{"@a:b.test":{},"nobody":{},"@c:d.test":5,"@":null},"more":1}"#;
    town.accounts.set_account_data(&user, "m.ignored_user_list", Bytes::from_static(list)).await.unwrap();

    let ignored = town.accounts.ignored_users(&user).await.unwrap();

    assert_eq!(ignored.len(), 2);
    assert!(ignored.contains(ruma::user_id!("@a:b.test")) && ignored.contains(ruma::user_id!("@c:d.test")));
    // Who names himself goes on seeing what he says.
    let own = Bytes::from(format!(r#"{{"ignored_users":{{"{user}":{{}}}}}}"#));
    town.accounts.set_account_data(&user, "m.ignored_user_list", own).await.unwrap();
    assert!(town.accounts.ignored_users(&user).await.unwrap().is_empty());
    let odd = Bytes::from_static(br#"{"ignored_users":[]}"#);
    town.accounts.set_account_data(&user, "m.ignored_user_list", odd).await.unwrap();
    assert!(town.accounts.ignored_users(&user).await.unwrap().is_empty());
}

#[tokio::test]
async fn profiles_hold_any_fields_within_their_size() {
    let town = open_town().await;
    let (user, _) = town.register("hanako", false).await;
    let accounts = &town.accounts;

    accounts.set_profile_field(&user, "m.tz", &json(r#""Asia/Tokyo""#)).await.unwrap();
    accounts.set_profile_field(&user, "displayname", &json(r#""花子""#)).await.unwrap();

    let profile = accounts.profile(&user).await.unwrap();
    assert_eq!(profile.display_name().as_deref(), Some("花子"));
    assert_eq!(profile.0["m.tz"].get(), r#""Asia/Tokyo""#);
    let number = accounts.set_profile_field(&user, "displayname", &json("4")).await;
    assert!(matches!(number, Err(Error::InvalidParam(_))));
    let large = json(&format!("\"{}\"", "x".repeat(65_536)));
    let large = accounts.set_profile_field(&user, "org.example", &large).await;
    assert!(matches!(large, Err(Error::ProfileTooLarge)));
    accounts.remove_profile_field(&user, "m.tz").await.unwrap();
    assert!(matches!(accounts.profile_field(&user, "m.tz").await, Err(Error::NotFound(_))));
}

#[tokio::test]
async fn account_data_is_bounded_in_size_and_number() {
    let town = open_town().await;
    let (user, _) = town.register("hanako", false).await;
    let room = room_id!("!room:kanazawa.test");
    let small = || Bytes::from_static(b"{}");
    let of = |bytes: usize| Bytes::from(format!(r#"{{"x":"{}"}}"#, "x".repeat(bytes)));
    let global =
        async |kind: &str, content: Bytes| town.accounts.set_account_data(&user, kind, content).await;
    let in_room = async |kind: &str, content: Bytes| {
        town.accounts.set_room_account_data(&user, room, kind, content).await
    };

    assert!(matches!(global(&"x".repeat(256), small()).await, Err(Error::TooLarge(_))));
    assert!(matches!(global("x", of(600_000)).await, Err(Error::TooLarge(_))));
    for number in 0..100 {
        in_room(&format!("t{number}"), small()).await.unwrap();
    }
    assert!(matches!(in_room("one.more", small()).await, Err(Error::TooLarge(_))));
    in_room("t7", of(10)).await.unwrap();
    let other = room_id!("!other:kanazawa.test");
    town.accounts.set_room_account_data(&user, other, "t", small()).await.unwrap();

    for number in 0..67 {
        global(&format!("g{number}"), of(500_000)).await.unwrap();
    }
    assert!(matches!(global("more", of(500_000)).await, Err(Error::TooLarge(_))));
    assert!(matches!(in_room("t7", of(500_000)).await, Err(Error::TooLarge(_))));
    // Less than before is always taken, and makes room.
    global("g1", small()).await.unwrap();
    global("more", of(500_000)).await.unwrap();
    assert!(matches!(global("g1", of(500_000)).await, Err(Error::TooLarge(_))));
}

#[tokio::test]
async fn a_user_keeps_account_data_of_a_thousand_types_besides_that_of_rooms() {
    let town = open_town().await;
    let (user, _) = town.register("hanako", false).await;
    let small = || Bytes::from_static(b"{}");
    let set = async |kind: &str| town.accounts.set_account_data(&user, kind, small()).await;
    // Written together, since one by one takes seconds. The push rules are one of the thousand.
    let mut batch = store::Batch::new();
    for number in 0..998 {
        crate::data::put_global(&mut batch, &user, &format!("g{number}"), small(), None);
    }
    town.store.commit(batch).await.unwrap();

    set("last").await.unwrap();

    assert!(matches!(set("one.more").await, Err(Error::TooLarge(_))));
    let longer = Bytes::from_static(br#"{"x":1}"#);
    town.accounts.set_account_data(&user, "g7", longer).await.unwrap();
    let room = room_id!("!room:kanazawa.test");
    town.accounts.set_room_account_data(&user, room, "t", small()).await.unwrap();
}

#[tokio::test]
async fn a_user_keeps_twenty_thousand_pieces_of_account_data_in_all_rooms_together() {
    let town = open_town().await;
    let (user, _) = town.register("hanako", false).await;
    let (one, other) = (room_id!("!one:kanazawa.test"), room_id!("!other:kanazawa.test"));
    let set = async |room: &RoomId, content: &'static str| {
        let content = Bytes::from_static(content.as_bytes());
        town.accounts.set_room_account_data(&user, room, "t", content).await
    };
    // As if he had them in rooms of which nothing else is needed here.
    let mut batch = store::Batch::new();
    batch.add(&crate::tables::DATA_USE, &(user.as_str(), crate::data::ROWS), 19_999);
    town.store.commit(batch).await.unwrap();

    set(one, "{}").await.unwrap();

    assert!(matches!(set(other, "{}").await, Err(Error::TooLarge(_))));
    assert!(matches!(
        town.accounts.set_account_data(&user, "g", Bytes::from_static(b"{}")).await,
        Err(Error::TooLarge(_))
    ));
    set(one, r#"{"x":1}"#).await.unwrap();
}

#[tokio::test]
async fn filters_are_bounded_in_number_and_equal_ones_are_one() {
    let town = open_town().await;
    let (user, _) = town.register("hanako", false).await;
    let put = async |json: String| town.accounts.put_filter(&user, Bytes::from(json)).await;
    let id = put(r#"{"room":{"timeline":{"limit":5,"lazy_load_members":true}}}"#.to_owned()).await.unwrap();
    let same = r#"{ "room": { "timeline": { "lazy_load_members": true, "limit": 5 } } }"#;
    assert_eq!(put(same.to_owned()).await.unwrap(), id);
    for limit in 1..500 {
        put(format!(r#"{{"presence":{{"limit":{limit}}}}}"#)).await.unwrap();
    }
    assert!(matches!(put(r#"{"presence":{"limit":500}}"#.to_owned()).await, Err(Error::TooLarge(_))));
    assert_eq!(put(same.to_owned()).await.unwrap(), id, "one that is there may be named again");
}

#[tokio::test]
async fn openid_tokens_are_gone_when_their_time_is_over() {
    let town = open_town().await;
    let (user, _) = town.register("hanako", false).await;
    town.accounts.request_openid_token(&user).await.unwrap();
    town.clock.advance(std::time::Duration::from_secs(30 * 60));
    let later = town.accounts.request_openid_token(&user).await.unwrap();
    assert_eq!(town.accounts.sweep_openid().await.unwrap(), 0);
    town.clock.advance(std::time::Duration::from_secs(31 * 60));
    town.accounts.sweep_openid().await.unwrap();

    let rows = town.store.scan(&crate::tables::OPENID, store::Range::all(), store::Order::Ascending, 9);
    assert_eq!(rows.await.unwrap().len(), 1);
    assert_eq!(town.accounts.openid_user(user.server_name(), &later.token).await.unwrap(), user);
}

#[tokio::test]
async fn openid_tokens_of_a_locked_account_prove_nothing_while_it_is_locked() {
    let town = open_town().await;
    let (user, _) = town.register("hanako", false).await;
    let token = town.accounts.request_openid_token(&user).await.unwrap().token;
    let by = crate::Actor::operator("test");
    town.accounts.set_locked(&user, true, &by).await.unwrap();
    let refused = town.accounts.openid_user(user.server_name(), &token).await;
    assert!(matches!(refused, Err(crate::Error::UnknownToken { .. })), "{refused:?}");
    town.accounts.set_locked(&user, false, &by).await.unwrap();
    assert_eq!(town.accounts.openid_user(user.server_name(), &token).await.unwrap(), user);
}

#[tokio::test]
async fn openid_tokens_whose_time_is_over_are_removed_without_anybody_asking() {
    let town = open_town().await;
    let (user, _) = town.register("hanako", false).await;
    town.accounts.request_openid_token(&user).await.unwrap();
    let rows = async || {
        let all = store::Range::all();
        town.store.scan(&crate::tables::OPENID, all, store::Order::Ascending, 9).await.unwrap().len()
    };
    assert_eq!(rows().await, 1);

    let swept = async {
        while rows().await > 0 {
            town.clock.advance(std::time::Duration::from_secs(15 * 60));
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), swept).await.expect("nobody sweeps");
}

#[tokio::test]
async fn equal_filters_are_one_and_belong_to_their_user() {
    let town = open_town().await;
    let (user, _) = town.register("hanako", false).await;
    let (other, _) = town.register("taro", false).await;
    let filter = Bytes::from_static(br#"{"room":{"timeline":{"limit":5}}}"#);

    let id = town.accounts.put_filter(&user, filter.clone()).await.unwrap();

    assert_eq!(town.accounts.put_filter(&user, filter.clone()).await.unwrap(), id);
    assert_eq!(town.accounts.filter(&user, &id).await.unwrap(), filter);
    assert!(matches!(town.accounts.filter(&other, &id).await, Err(Error::NotFound(_))));
}

#[tokio::test]
async fn push_rules_start_with_the_defaults_and_can_be_changed() {
    let town = open_town().await;
    let (user, _) = town.register("hanako", false).await;
    let before = town.accounts.push_rules(&user).await.unwrap().rules;
    assert!(before.override_.iter().any(|rule| rule.rule_id == ".m.rule.master"));

    town.accounts
        .change_push_rules(&user, |rules| {
            rules.set_enabled(ruma::push::RuleKind::Override, ".m.rule.master", true).unwrap();
            Ok(())
        })
        .await
        .unwrap();

    let after = town.accounts.push_rules(&user).await.unwrap().rules;
    assert!(after.override_.iter().any(|rule| rule.rule_id == ".m.rule.master" && rule.enabled));
}

#[tokio::test]
async fn account_data_that_was_taken_away_is_told_as_nothing_and_then_not_at_all() {
    let town = open_town().await;
    let (user, _) = town.register("hanako", false).await;
    let room = room_id!("!room:kanazawa.test");
    let accounts = &town.accounts;
    let content = || Bytes::from_static(br#"{"a":1}"#);
    for (by_delete, nothing) in [(true, "{}"), (false, " { } ")] {
        accounts.set_account_data(&user, "org.example", content()).await.unwrap();
        accounts.set_room_account_data(&user, room, "org.example", content()).await.unwrap();
        let before = town.store.head();
        if by_delete {
            accounts.remove_account_data(&user, "org.example").await.unwrap();
            accounts.remove_room_account_data(&user, room, "org.example").await.unwrap();
        } else {
            accounts.set_account_data(&user, "org.example", Bytes::from(nothing)).await.unwrap();
            accounts.set_room_account_data(&user, room, "org.example", Bytes::from(nothing)).await.unwrap();
        }
        let told = accounts.account_data_since(&user, before).await.unwrap();
        assert!(told.len() == 2 && told.iter().all(|change| change.content == nothing));
        assert!(matches!(accounts.account_data(&user, "org.example").await, Err(Error::NotFound(_))));
        let of_room = accounts.room_account_data(&user, room, "org.example").await;
        assert!(matches!(of_room, Err(Error::NotFound(_))));
        let all = accounts.account_data_since(&user, Position::START).await.unwrap();
        assert!(all.iter().all(|change| change.kind != "org.example"));
    }
    let head = town.store.head();
    accounts.remove_account_data(&user, "org.example").await.unwrap();
    accounts.remove_room_account_data(&user, room, "org.example").await.unwrap();
    assert_eq!(town.store.head(), head, "what is not there is not taken away");
    for kind in ["m.push_rules", "m.fully_read"] {
        assert!(matches!(accounts.remove_account_data(&user, kind).await, Err(Error::Managed(_))));
    }
}

#[tokio::test]
async fn settings_for_a_device_go_with_it() {
    let town = open_town().await;
    let (user, _) = town.register("hanako", false).await;
    let phone = town.accounts.devices(&user).await.unwrap().remove(0).device_id;
    let kinds = ["m.local_notification_settings", "org.matrix.msc3890.local_notification_settings"];
    let content = Bytes::from_static(br#"{"is_silenced":true}"#);
    for device in [phone.as_str(), "OTHER"] {
        for kind in kinds {
            let kind = format!("{kind}.{device}");
            town.accounts.set_account_data(&user, &kind, content.clone()).await.unwrap();
        }
    }
    let before = town.store.head();
    town.accounts.log_out(&user, &phone, &Actor::user(&user, false, None)).await.unwrap();
    for kind in kinds {
        let gone = town.accounts.account_data(&user, &format!("{kind}.{phone}")).await;
        assert!(matches!(gone, Err(Error::NotFound(_))));
        let other = town.accounts.account_data(&user, &format!("{kind}.OTHER")).await.unwrap();
        assert_eq!(other, content);
    }
    let told = town.accounts.account_data_since(&user, before).await.unwrap();
    assert!(told.len() == 2 && told.iter().all(|change| change.content == "{}"));
}
