//! Profiles that the organisation decides: given, kept from others, spread, taken back.

use serde_json::value::RawValue;

use super::*;
use crate::{AccountChange, Following, GivenProfile};

/// No pace that anybody waits for.
const FAST: u32 = 1_000_000;

fn given(user: &UserId, unit: &str) -> GivenProfile {
    GivenProfile {
        user: user.to_owned(),
        called: "山田 花子".to_owned(),
        display_name: format!("山田 花子({unit})"),
        unit: Some(format!("総務部 {unit}")),
        post: Some("主査".to_owned()),
        reading: Some("ヤマダ ハナコ".to_owned()),
    }
}

async fn fields(town: &Town, user: &UserId) -> Value {
    serde_json::to_value(town.accounts.profile(user).await.unwrap().0).unwrap()
}

fn json(text: &str) -> Box<RawValue> {
    RawValue::from_string(text.to_owned()).unwrap()
}

#[tokio::test]
async fn a_given_profile_is_nobodys_to_change_until_it_is_released() {
    let town = open_town().await;
    let user = town.register("hanako", false).await.0;
    let accounts = &town.accounts;
    assert_eq!(accounts.give_profiles(&[given(&user, "防災課")]).await.unwrap(), 1);
    // What is so is left alone.
    assert_eq!(accounts.give_profiles(&[given(&user, "防災課")]).await.unwrap(), 0);
    let full = fields(&town, &user).await;
    assert_eq!(full["displayname"], "山田 花子(防災課)");
    assert_eq!(full["jp.yakuba.unit"], "総務部 防災課");
    for field in ["displayname", "jp.yakuba.post", "jp.yakuba.other"] {
        let refused = accounts.set_profile_field(&user, field, &json(r#""市長""#)).await.unwrap_err();
        assert!(matches!(refused, Error::Forbidden(_)), "{field}: {refused}");
        let refused = accounts.remove_profile_field(&user, field).await;
        assert!(matches!(refused, Err(Error::Forbidden(_))) || field == "jp.yakuba.other", "{field}");
    }
    let by = Actor::operator("uid 1000");
    let change = AccountChange { display_name: Some(Some("他人".to_owned())), ..AccountChange::default() };
    assert!(matches!(accounts.change_account(&user, &change, &by).await, Err(Error::Forbidden(_))));
    // What an identity system says of the name is passed over, and the rest of it holds.
    let mut batch = store::Batch::new();
    let follows = Following { display_name: Some("他人"), lock: Some(true), ..Following::default() };
    let put = accounts.put_following(&mut batch, &user, &follows, &by).await.unwrap();
    accounts.commit_provisioned(batch, put).await.unwrap();
    assert!(accounts.moderation(&user).await.unwrap().locked);
    assert_eq!(fields(&town, &user).await, full);

    assert_eq!(accounts.given_users(kanazawa()).await.unwrap(), std::slice::from_ref(&user));
    assert_eq!(accounts.release_profiles(std::slice::from_ref(&user)).await.unwrap(), 1);
    assert_eq!(fields(&town, &user).await, json!({ "displayname": "山田 花子" }));
    assert_eq!(accounts.release_profiles(std::slice::from_ref(&user)).await.unwrap(), 0);
    accounts.set_profile_field(&user, "displayname", &json(r#""花子""#)).await.unwrap();
}

#[tokio::test]
async fn nobody_calls_himself_otherwise_in_one_room_by_any_spelling() {
    let town = open_town().await;
    let (user, free) = (town.register("hanako", false).await.0, town.register("taro", false).await.0);
    let accounts = &town.accounts;
    accounts.give_profiles(&[given(&user, "防災課")]).await.unwrap();
    let own = r#""displayname":"山田 花子(防災課)""#;
    for content in [
        r#"{"membership":"join","displayname":"市長"}"#,
        r#"{"membership":"join"}"#,
        r#"{"membership":"join","displayname":null}"#,
        r#"{"membership":"leave","displayname":"市長"}"#,
        r#"{"membership":"knock","displayname":"市長"}"#,
        r#"{"membership":"leave","\u0064isplayname":"市長"}"#,
        &format!(r#"{{"membership":"join",{own},"displayname":"市長"}}"#),
        &format!(r#"{{"membership":"leave","membership":"join",{own},"displayname":5}}"#),
    ] {
        let refused = accounts.refuse_other_name(&user, &json(content), false).await;
        assert!(matches!(refused, Err(Error::Forbidden(_))), "{content}");
        accounts.refuse_other_name(&free, &json(content), false).await.unwrap();
    }
    let own = format!(r#"{{"membership":"join",{own}}}"#);
    for content in [r#"{"membership":"leave"}"#, r#"{"membership":"knock","reason":"入りたい"}"#, &own] {
        accounts.refuse_other_name(&user, &json(content), false).await.unwrap();
    }
    // By then she may be called otherwise.
    assert!(accounts.refuse_other_name(&user, &json(&own), true).await.is_err());
    accounts.refuse_other_name(&user, &json(r#"{"membership":"leave"}"#), true).await.unwrap();
}

#[tokio::test]
async fn rooms_follow_once_told_to_also_after_a_crash_between() {
    let town = open_town().await;
    let user = town.register("hanako", false).await.0;
    let room = town.engine.create(&user, CreateRoom::default()).await.unwrap();
    town.accounts.give_profiles(&[given(&user, "防災課")]).await.unwrap();
    assert_eq!(town.shown_name(&user, &room).await, None);
    // The process dies here; the next one does not begin by itself, as thousands may be left.
    let next = town.restarted(Settings::default()).await;
    assert_eq!(town.shown_name(&user, &room).await, None);
    let spread = async |authority: &ServerName| next.spread_given_names(authority, FAST).await.unwrap();
    assert_eq!(spread(server_name!("other.test")).await, 0);
    assert_eq!(spread(kanazawa()).await, 1);
    assert_eq!(town.shown_name(&user, &room).await.unwrap(), "山田 花子(防災課)");
    assert_eq!(spread(kanazawa()).await, 0);
}

#[tokio::test]
async fn closed_accounts_and_those_of_the_server_are_given_nothing_and_nothing_of_a_closed_one_stays() {
    let town = open_town().await;
    let user = town.register("hanako", false).await.0;
    let accounts = &town.accounts;
    let steward = accounts.steward(user.server_name()).await.unwrap();
    let nobody: OwnedUserId = format!("@nobody:{}", user.server_name()).try_into().unwrap();
    accounts.give_profiles(&[given(&user, "防災課")]).await.unwrap();
    let by = Actor::operator("uid 1000");
    accounts.erase_account(&user, &by).await.unwrap();
    assert_eq!(accounts.given_users(user.server_name()).await.unwrap(), Vec::<OwnedUserId>::new());
    let all = [given(&user, "防災課"), given(&steward, "防災課"), given(&nobody, "防災課")];
    assert_eq!(accounts.give_profiles(&all).await.unwrap(), 0);
    assert!(fields(&town, &steward).await["displayname"].as_str().unwrap().contains("組織"));
}
