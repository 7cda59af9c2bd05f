//! Account data, profiles, filters, push rules.

use super::*;

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
async fn tags_set_at_the_same_time_are_all_kept() {
    let town = open_town().await;
    let (user, _) = town.register("hanako", false).await;
    let room = room_id!("!room:kanazawa.test");
    let tag = |name: &'static str| town.accounts.set_room_tag(&user, room, name.into(), Default::default());

    let (one, two, three) = tokio::join!(tag("m.favourite"), tag("u.work"), tag("u.play"));

    one.and(two).and(three).unwrap();
    assert_eq!(town.accounts.room_tags(&user, room).await.unwrap().len(), 3);
    town.accounts.remove_room_tag(&user, room, &"u.play".into()).await.unwrap();
    assert_eq!(town.accounts.room_tags(&user, room).await.unwrap().len(), 2);
}

#[tokio::test]
async fn profiles_hold_any_fields_within_their_size() {
    let town = open_town().await;
    let (user, _) = town.register("hanako", false).await;
    let json = |text: String| serde_json::value::RawValue::from_string(text).unwrap();
    let accounts = &town.accounts;

    accounts.set_profile_field(&user, "m.tz", &json(r#""Asia/Tokyo""#.to_owned())).await.unwrap();
    accounts.set_profile_field(&user, "displayname", &json(r#""花子""#.to_owned())).await.unwrap();

    let profile = accounts.profile(&user).await.unwrap();
    assert_eq!(profile.display_name().as_deref(), Some("花子"));
    assert_eq!(profile.0["m.tz"].get(), r#""Asia/Tokyo""#);
    let number = accounts.set_profile_field(&user, "displayname", &json("4".to_owned())).await;
    assert!(matches!(number, Err(Error::InvalidParam(_))));
    let large = json(format!("\"{}\"", "x".repeat(65_536)));
    let large = accounts.set_profile_field(&user, "org.example", &large).await;
    assert!(matches!(large, Err(Error::ProfileTooLarge)));
    accounts.remove_profile_field(&user, "m.tz").await.unwrap();
    assert!(matches!(accounts.profile_field(&user, "m.tz").await, Err(Error::NotFound(_))));
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
    let before = town.accounts.push_rules(&user).await.unwrap();
    assert!(before.override_.iter().any(|rule| rule.rule_id == ".m.rule.master"));

    town.accounts
        .change_push_rules(&user, |rules| {
            rules.set_enabled(ruma::push::RuleKind::Override, ".m.rule.master", true).unwrap();
            Ok(())
        })
        .await
        .unwrap();

    let after = town.accounts.push_rules(&user).await.unwrap();
    assert!(after.override_.iter().any(|rule| rule.rule_id == ".m.rule.master" && rule.enabled));
}
