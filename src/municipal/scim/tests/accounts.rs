//! What follows for accounts.

use account::{Actor, InBrowser};
use ruma::{UserId, user_id};
use serde_json::{Value, json};

use super::town::{Town, kanazawa, source, wajima};
use crate::schema::ENTERPRISE;

fn active(is: Value) -> Value {
    json!([{ "op": "Replace", "path": "active", "value": is }])
}

#[tokio::test]
async fn a_user_is_made_with_an_account_that_is_called_as_the_source_calls_it() {
    let town = Town::new().await;
    let body = json!({
        "userName": "Hanako@kanazawa.lg.jp", "externalId": "e1", "displayName": "山田 花子",
        "name": { "familyName": "山田" }, ENTERPRISE: { "employeeNumber": "7" },
    });
    let made = town.post("/Users", body).await;
    assert_eq!(made.status, 201, "{made:?}");
    assert_eq!(made.headers["content-type"], "application/scim+json");
    let id = made.id();
    let location = format!("https://matrix.kanazawa.test/_yakuba/scim/v2/Users/{id}");
    assert_eq!(made.headers["location"], location.as_str());
    assert_eq!(made.body["meta"]["location"], location.as_str());
    assert_eq!(made.body["meta"]["version"], made.version());
    assert_eq!(made.body["active"], true);
    assert_eq!(made.body["schemas"].as_array().unwrap().len(), 2);
    assert_eq!(town.get(&format!("/Users/{id}")).await.body, made.body);

    let hanako = user_id!("@hanako:kanazawa.test");
    assert_eq!(town.shown_name(hanako).await, "山田 花子");
    assert!(!town.is_locked(hanako).await);
    // Nobody signs in to it with a password.
    assert!(town.log_in("hanako").await.is_err());
    let path = format!("/Users/{id}");
    let renamed =
        town.patch(&path, json!([{ "op": "replace", "path": "displayName", "value": "佐藤 花子" }])).await;
    assert_eq!(renamed.status, 200);
    assert_eq!(town.shown_name(hanako).await, "佐藤 花子");
    assert_eq!(
        town.deeds().await,
        [
            "source source.put_user @hanako:kanazawa.test",
            "source account.create @hanako:kanazawa.test",
            "source source.put_user @hanako:kanazawa.test",
        ]
    );
    // What is so already changes nothing and leaves no row.
    let same =
        town.patch(&path, json!([{ "op": "replace", "path": "displayName", "value": "佐藤 花子" }])).await;
    assert_eq!(same.version(), renamed.version());
    assert_eq!(town.deeds().await.len(), 3);
}

/// A localpart that is a whole user id would be somebody of another authority of this process.
#[tokio::test]
async fn nobody_of_another_authority_and_no_user_of_the_servers_own_is_reached_by_a_name() {
    let localpart = "{userName}".parse().unwrap();
    let settings = crate::Settings { adopts_accounts: true, localpart, ..source("entra") };
    let town = Town::with(vec![settings]).await;
    let new = account::NewUser { localpart: "mayor".to_owned(), ..account::NewUser::default() };
    let mayor = town.accounts.create_user(wajima(), new, &Actor::operator("uid 0")).await.unwrap();
    let said = json!({ "userName": mayor.as_str(), "displayName": "x", "active": false });
    assert!(town.post("/Users", said).await.status.is_client_error());
    assert!(!town.is_locked(&mayor).await);
    town.accounts.steward(kanazawa()).await.unwrap();
    let content = serde_json::value::to_raw_value(&json!({ "msgtype": "m.text", "body": "x" })).unwrap();
    let notice = account::Notice { kind: "m.room.message".into(), content, txn: None };
    let hanako = town.account("hanako", false).await;
    town.accounts.send_notice(&hanako, notice, &Actor::operator("uid 0")).await.unwrap();
    for own in ["_server", "_rooms"] {
        let said = json!({ "userName": own, "displayName": "x", "active": false });
        assert!(town.post("/Users", said).await.status.is_client_error(), "{own}");
    }
}

#[tokio::test]
async fn whoever_leaves_is_out_at_once_and_comes_back_to_what_he_left() {
    let town = Town::with(vec![crate::Settings { adopts_accounts: true, ..source("entra") }]).await;
    let hanako = town.account("hanako", false).await;
    let session = town.log_in("hanako").await.unwrap();
    let id = town.user("hanako").await;
    let path = format!("/Users/{id}");
    assert!(town.accounts.authenticate(kanazawa(), &session.access).await.is_ok());

    // As Entra ID writes it.
    let ended = town.patch(&path, active("False".into())).await;
    assert_eq!((ended.status.as_u16(), &ended.body["active"]), (200, &json!(false)));
    assert!(town.accounts.authenticate(kanazawa(), &session.access).await.is_err());
    let refreshed = town.accounts.refresh(kanazawa(), session.refresh.as_deref().unwrap()).await;
    assert!(refreshed.is_err());
    assert!(town.accounts.devices(&hanako).await.unwrap().is_empty());
    assert!(town.is_locked(&hanako).await);
    assert!(matches!(town.log_in("hanako").await, Err(account::Error::Locked)));

    let back = town.patch(&path, active("True".into())).await;
    assert_eq!(back.body["active"], true);
    assert!(!town.is_locked(&hanako).await);
    let session = town.log_in("hanako").await.unwrap();

    let gone = town.delete(&path).await;
    assert_eq!(gone.status, 204);
    assert!(town.accounts.authenticate(kanazawa(), &session.access).await.is_err());
    assert!(town.is_locked(&hanako).await);
    town.get(&path).await.is_error(404, "");
    town.delete(&path).await.is_error(404, "");
    town.patch(&path, active(true.into())).await.is_error(404, "");

    // Told again, he is who he was.
    let again = town.user("hanako").await;
    assert_ne!(again, id);
    assert!(!town.is_locked(&hanako).await);
    assert!(town.log_in("hanako").await.is_ok());
    let deeds = town.deeds().await.join("\n");
    for deed in ["account.lock", "account.unlock", "source.remove_user"] {
        assert!(deeds.contains(&format!("source {deed} @hanako:kanazawa.test")), "{deeds}");
    }
}

#[tokio::test]
async fn a_user_who_is_not_active_is_made_with_a_locked_account() {
    let town = Town::new().await;
    let made = town.post("/Users", json!({ "userName": "taro", "active": "false" })).await;
    let taro = user_id!("@taro:kanazawa.test");
    assert!(town.is_locked(taro).await);
    town.patch(&format!("/Users/{}", made.id()), active(true.into())).await;
    assert!(!town.is_locked(taro).await);
}

#[tokio::test]
async fn who_does_not_speak_of_it_neither_ends_nor_restores_anybody() {
    let town = Town::new().await;
    let id = town.user("hanako").await;
    let hanako = user_id!("@hanako:kanazawa.test");
    let path = format!("/Users/{id}");
    town.put(&path, json!({ "userName": "hanako", "title": "主査" })).await;
    assert!(!town.is_locked(hanako).await);
    town.patch(&path, active(false.into())).await;
    let put = town.put(&path, json!({ "userName": "hanako" })).await;
    assert_eq!((&put.body["active"], put.body.get("title")), (&json!(false), None));
    assert!(town.is_locked(hanako).await);
    let removed = town.patch(&path, json!([{ "op": "remove", "path": "active" }])).await;
    assert!(removed.body.get("active").is_none());
    assert!(town.is_locked(hanako).await);
    // Others are as they were: a source that lists one ends no other.
    let taro = town.user("taro").await;
    town.delete(&path).await;
    assert_eq!(town.get(&format!("/Users/{taro}")).await.body["active"], true);
    assert!(!town.is_locked(user_id!("@taro:kanazawa.test")).await);
}

#[tokio::test]
async fn administrators_and_excepted_accounts_are_not_ended() {
    let town = Town::with(vec![crate::Settings { adopts_accounts: true, ..source("entra") }]).await;
    town.account("admin", true).await;
    town.post("/Users", json!({ "userName": "admin" })).await.is_error(409, "uniqueness");
    let helpdesk = town.user("helpdesk").await;
    let path = format!("/Users/{helpdesk}");
    town.patch(&path, active(false.into())).await.is_error(403, "");
    town.delete(&path).await.is_error(403, "");
    assert_eq!(town.get(&path).await.body["active"], true);
    assert!(!town.is_locked(user_id!("@helpdesk:kanazawa.test")).await);
}

#[tokio::test]
async fn an_administrators_lock_is_not_taken_away_by_a_source() {
    let town = Town::new().await;
    let path = format!("/Users/{}", town.user("hanako").await);
    let hanako = user_id!("@hanako:kanazawa.test");
    let admin = Actor::operator("uid 0");
    town.accounts.set_locked(hanako, true, &admin).await.unwrap();
    town.patch(&path, active(true.into())).await;
    town.patch(&path, active(false.into())).await;
    town.patch(&path, active(true.into())).await;
    assert!(town.is_locked(hanako).await);
    // And one that the source says again holds again, whoever unlocked meanwhile.
    town.accounts.set_locked(hanako, false, &admin).await.unwrap();
    town.patch(&path, active(false.into())).await;
    town.accounts.set_locked(hanako, false, &admin).await.unwrap();
    town.patch(&path, active(false.into())).await;
    assert!(town.is_locked(hanako).await);
    // An administrator's word after the source's: it is his lock from then on.
    town.patch(&path, active(false.into())).await;
    town.accounts.set_locked(hanako, true, &admin).await.unwrap();
    town.patch(&path, active(true.into())).await;
    assert!(town.is_locked(hanako).await);
    town.accounts.set_locked(hanako, false, &admin).await.unwrap();
    town.patch(&path, active(false.into())).await;
    town.accounts.set_locked(hanako, false, &admin).await.unwrap();
    town.accounts.set_locked(hanako, true, &admin).await.unwrap();
    town.patch(&path, active(true.into())).await;
    assert!(town.is_locked(hanako).await);
}

#[tokio::test]
async fn names_conflict_with_a_reason_and_nothing_is_made() {
    let town = Town::new().await;
    town.account("jiro", false).await;
    let conflict = town.post("/Users", json!({ "userName": "jiro" })).await;
    conflict.is_error(409, "uniqueness");
    let detail = conflict.body["detail"].as_str().unwrap();
    assert!(detail.contains("@jiro:kanazawa.test") && detail.contains("adopts_accounts"), "{detail}");

    let hanako = town.user("hanako").await;
    town.post("/Users", json!({ "userName": "HANAKO" })).await.is_error(409, "uniqueness");
    // Another name, the same account.
    town.post("/Users", json!({ "userName": "hanako@other.jp" })).await.is_error(409, "uniqueness");
    let taro = town.user("taro").await;
    let rename = |name: &str| json!([{ "op": "replace", "path": "userName", "value": name }]);
    town.patch(&format!("/Users/{taro}"), rename("hanako")).await.is_error(409, "uniqueness");
    // Who is called otherwise keeps his account; the name is free for another.
    let renamed = town.patch(&format!("/Users/{taro}"), rename("taro.sato")).await;
    assert_eq!(renamed.body["userName"], "taro.sato");
    town.post("/Users", json!({ "userName": "taro" })).await.is_error(409, "uniqueness");
    assert_eq!(town.get("/Users?filter=userName%20eq%20%22taro.sato%22").await.body["totalResults"], 1);
    for body in [json!({ "userName": "山田" }), json!({ "userName": "@x" }), json!({ "title": "x" })] {
        town.post("/Users", body).await.is_error(400, "invalidValue");
    }
    let all = town.get("/Users").await.body;
    assert_eq!((&all["totalResults"], &all["Resources"][0]["id"]), (&json!(2), &json!(hanako)));
}

#[tokio::test]
async fn an_account_that_was_somebody_elses_is_not_given_to_a_namesake() {
    let town = Town::new().await;
    let first = town.post("/Users", json!({ "userName": "sato", "externalId": "e1" })).await.id();
    town.delete(&format!("/Users/{first}")).await;
    town.post("/Users", json!({ "userName": "sato", "externalId": "e2" })).await.is_error(409, "uniqueness");
    let again = town.post("/Users", json!({ "userName": "sato", "externalId": "e1" })).await;
    assert_eq!(again.status, 201);
    // Who is called otherwise is changed, and is no second user.
    let married = json!({ "userName": "tanaka", "externalId": "e1" });
    town.post("/Users", married).await.is_error(409, "uniqueness");
    // Nor does another source get it.
    town.delete(&format!("/Users/{}", again.id())).await;
    let okta = ("kanazawa.test", "token of okta");
    let body = json!({ "userName": "sato", "externalId": "e1" }).to_string();
    town.ask_with(okta, (http::Method::POST, "/Users"), &[], &body).await.is_error(409, "uniqueness");
}

#[tokio::test]
async fn an_account_is_found_by_what_the_identity_provider_calls_its_user() {
    let issuer = "https://id.kanazawa.test";
    let entra = crate::Settings { issuer: Some(issuer.to_owned()), ..source("entra") };
    let town = Town::with(vec![entra]).await;
    town.post("/Users", json!({ "userName": "hanako", "externalId": "sub-1" })).await.id();
    let owner = town.accounts.find_identity(kanazawa(), issuer, "sub-1").await.unwrap();
    assert_eq!(owner.as_deref(), Some(user_id!("@hanako:kanazawa.test")));
    // Who signed in there before is who he is, though nothing is adopted.
    let jiro = town.account("jiro", false).await;
    town.accounts.link_identity(&jiro, (issuer, "sub-2"), &Actor::operator("uid 0")).await.unwrap();
    let made = town
        .post("/Users", json!({ "userName": "j.suzuki", "externalId": "sub-2", "displayName": "次郎" }))
        .await;
    assert_eq!(made.status, 201, "{made:?}");
    assert_eq!(town.shown_name(&jiro).await, "次郎");
}

#[tokio::test]
async fn localparts_are_made_as_the_configuration_says() {
    let entra = crate::Settings { localpart: "u{employeeNumber}".parse().unwrap(), ..source("entra") };
    let town = Town::with(vec![entra]).await;
    let body = json!({ "userName": "h@x.jp", ENTERPRISE: { "employeeNumber": "0012" } });
    town.post("/Users", body).await.id();
    assert!(town.accounts.find_user(user_id!("@u0012:kanazawa.test")).await.unwrap().is_some());
    let missing = town.post("/Users", json!({ "userName": "t@x.jp" })).await;
    missing.is_error(400, "invalidValue");
    assert!(missing.body["detail"].as_str().unwrap().contains("employeeNumber"));
}

#[tokio::test]
async fn who_signs_in_while_he_is_ended_is_out_with_the_others() {
    let town = Town::with(vec![crate::Settings { adopts_accounts: true, ..source("entra") }]).await;
    town.account("hanako", false).await;
    let path = format!("/Users/{}", town.user("hanako").await);
    for _ in 0..5 {
        town.patch(&path, active(true.into())).await;
        let (ended, signed_in) = tokio::join!(town.patch(&path, active(false.into())), town.log_in("hanako"));
        assert_eq!(ended.status, 200);
        if let Ok(session) = signed_in {
            let session = town.accounts.authenticate(kanazawa(), &session.access).await;
            assert!(session.is_err() || session.unwrap().moderation.locked);
        }
    }
}

#[tokio::test]
async fn of_a_closed_account_nothing_is_left_to_follow() {
    let town = Town::new().await;
    let path = format!("/Users/{}", town.user("hanako").await);
    let hanako = user_id!("@hanako:kanazawa.test");
    town.accounts.close_account(hanako, &Actor::operator("uid 0")).await.unwrap();
    assert_eq!(town.patch(&path, active(false.into())).await.body["active"], false);
    town.delete(&path).await;
    town.post("/Users", json!({ "userName": "hanako" })).await.is_error(409, "uniqueness");
}

/// S8 over HTTP.
#[tokio::test]
async fn who_has_no_address_is_given_one_by_its_kind() {
    let town = Town::new().await;
    let path = format!("/Users/{}", town.user("hanako").await);
    let add = json!([{ "op": "Add", "path": "emails[type eq \"work\"].value", "value": "h@kanazawa.lg.jp" }]);
    let added = town.patch(&path, add).await;
    assert_eq!(added.status, 200, "{added:?}");
    assert_eq!(added.body["emails"], json!([{ "type": "work", "value": "h@kanazawa.lg.jp" }]));
}

/// S10: the source is told of the conflict, and finds by its filters whom it is with.
#[tokio::test]
async fn who_is_not_active_is_no_second_time_made_and_is_found() {
    let town = Town::new().await;
    let body = json!({ "userName": "hanako@kanazawa.lg.jp", "externalId": "e1" });
    let made = town.post("/Users", body.clone()).await;
    let path = format!("/Users/{}", made.id());
    let ended = town.patch(&path, active(false.into())).await;
    let deeds = town.deeds().await;
    for _ in 0..2 {
        town.post("/Users", body.clone()).await.is_error(409, "uniqueness");
    }
    let inactive = json!({ "userName": "hanako@kanazawa.lg.jp", "externalId": "e1", "active": false });
    town.post("/Users", inactive).await.is_error(409, "uniqueness");
    assert_eq!(town.get(&path).await.body, ended.body);
    assert_eq!(town.deeds().await, deeds);
    assert!(town.is_locked(user_id!("@hanako:kanazawa.test")).await);
    for filter in ["userName%20eq%20%22hanako@kanazawa.lg.jp%22", "externalId%20eq%20%22e1%22"] {
        let found = town.get(&format!("/Users?filter={filter}")).await.body;
        assert_eq!(found["totalResults"], 1, "{filter}");
        let user = &found["Resources"][0];
        assert_eq!((&user["id"], &user["active"]), (&made.body["id"], &json!(false)), "{filter}");
    }
    // By which it restores him, with the id that he had.
    assert_eq!(town.patch(&path, active(true.into())).await.status, 200);
    assert!(!town.is_locked(user_id!("@hanako:kanazawa.test")).await);
}

/// S18.
#[tokio::test]
async fn what_a_source_says_of_id_and_meta_is_not_heard() {
    let town = Town::new().await;
    let made = town.post("/Users", json!({ "userName": "hanako" })).await;
    let path = format!("/Users/{}", made.id());
    town.patch(&path, active(false.into())).await;
    town.clock.advance(std::time::Duration::from_secs(1));
    let put = town
        .put(
            &path,
            json!({
                "userName": "hanako", "title": "主査", "id": "x",
                "meta": { "resourceType": "Group", "created": "1999-01-01T00:00:00Z", "version": "W/\"77\"", "location": "x" },
            }),
        )
        .await;
    assert_eq!((put.status.as_u16(), &put.body["title"]), (200, &json!("主査")), "{put:?}");
    assert_eq!((&put.body["id"], &put.body["active"]), (&made.body["id"], &json!(false)));
    let (before, after) = (&made.body["meta"], &put.body["meta"]);
    for same in ["resourceType", "created", "location"] {
        assert_eq!(after[same], before[same], "{same}");
    }
    assert_eq!(after["version"], put.version());
    assert!(put.version() != made.version() && !put.version().contains("77"));
    assert_eq!(town.get(&path).await.body, put.body);
    town.get("/Users/x").await.is_error(404, "");
    assert!(town.is_locked(user_id!("@hanako:kanazawa.test")).await);
}

/// S20. Each way in which a source ends somebody is one that does not end who administers.
#[tokio::test]
async fn an_administrator_whom_a_source_ends_is_signed_out_and_stays_one() {
    let town = Town::with(vec![crate::Settings { adopts_accounts: true, ..source("entra") }]).await;
    let hanako = town.account("hanako", false).await;
    let path = format!("/Users/{}", town.user("hanako").await);
    let operator = Actor::operator("uid 0");
    town.accounts.set_administrator(&hanako, true, &operator).await.unwrap();
    let way = InBrowser { key: [0; 32], from: None, agent: None };
    let session = town.log_in("hanako").await.unwrap();
    let browser = town.accounts.begin_browser(&hanako, "password", &way).await.unwrap().done().unwrap().1;
    // For days, so by what is there of the session: an access token lasts for an hour.
    let is_in = async || !town.accounts.devices(&hanako).await.unwrap().is_empty();
    assert!(is_in().await);

    let refused = town.patch(&path, active("False".into())).await;
    refused.is_error(409, "");
    let detail = refused.body["detail"].as_str().unwrap();
    assert!(detail.contains("管理者のアカウントは") && detail.contains("not ended by a source"), "{detail}");
    assert!(town.accounts.authenticate(kanazawa(), &session.access).await.is_err());
    assert!(town.accounts.refresh(kanazawa(), session.refresh.as_deref().unwrap()).await.is_err());
    assert!(town.accounts.find_browser(kanazawa(), &browser.0, None).await.unwrap().is_none());
    assert!(!is_in().await);
    let stands = async |user: &UserId| {
        let known = town.accounts.find_user(user).await.unwrap().unwrap();
        assert!(known.admin && !known.deactivated && !town.is_locked(user).await);
    };
    stands(&hanako).await;
    assert_eq!(town.get(&path).await.body["active"], true);
    let deeds = town.deeds().await;
    let about: Vec<&String> = deeds.iter().rev().filter(|deed| deed.starts_with("source")).take(2).collect();
    assert_eq!(
        about,
        [
            "source source.put_user @hanako:kanazawa.test",
            "source session.sign_out_everywhere @hanako:kanazawa.test"
        ]
    );
    // She is the only one, so it is she who is told.
    assert_eq!(town.told(&hanako).await, 1);

    // She signs in again; and the source, which repeats it for days, ends nothing more and tells nobody anything.
    town.log_in("hanako").await.unwrap();
    let deeds = town.deeds().await;
    for _ in 0..50 {
        town.clock.advance(std::time::Duration::from_secs(40 * 60));
        town.patch(&path, active(false.into())).await.is_error(409, "");
        town.put(&path, json!({ "userName": "hanako", "active": false })).await.is_error(409, "");
        town.delete(&path).await.is_error(409, "");
        // What it says of other things meanwhile is heard, and says nothing anew.
        let title = json!([{ "op": "replace", "path": "title", "value": "課長" }]);
        assert_eq!(town.patch(&path, title).await.status, 200);
    }
    assert!(is_in().await);
    assert_eq!(town.told(&hanako).await, 1);
    assert_eq!(town.deeds().await.len(), deeds.len() + 1);
    stands(&hanako).await;

    // Once it has said that she is there after all, it is heard again; the others are told then, and not she.
    let jiro = town.account("jiro", true).await;
    let locked = town.account("saburo", true).await;
    town.accounts.set_administrator(&locked, false, &operator).await.unwrap();
    town.patch(&path, active(true.into())).await;
    assert!(is_in().await);
    town.clock.advance(std::time::Duration::from_secs(1));
    town.delete(&path).await.is_error(409, "");
    assert!(!is_in().await);
    let told = [town.told(&hanako).await, town.told(&jiro).await, town.told(&locked).await];
    assert_eq!(told, [1, 1, 0]);

    // Who no longer administers is ended as anybody else.
    town.accounts.set_administrator(&hanako, false, &operator).await.unwrap();
    assert_eq!(town.delete(&path).await.status, 204);
    assert!(town.is_locked(&hanako).await);
}

/// Whom the server did not tell before it ended is told with the repetition, and of several requests at once nothing is told twice.
#[tokio::test]
async fn of_an_administrator_who_is_ended_many_times_at_once_it_is_told_once() {
    let town = Town::with(vec![crate::Settings { adopts_accounts: true, ..source("entra") }]).await;
    let hanako = town.account("hanako", false).await;
    let path = format!("/Users/{}", town.user("hanako").await);
    town.accounts.set_administrator(&hanako, true, &Actor::operator("uid 0")).await.unwrap();
    let jiro = town.account("jiro", true).await;
    let end = || town.patch(&path, active(false.into()));
    let (one, two, three, four) = tokio::join!(end(), end(), end(), end());
    for answer in [one, two, three, four] {
        answer.is_error(409, "");
    }
    assert_eq!(town.told(&jiro).await, 1);
    // As if the server had ended after the first half of it.
    let row = town.store.get(&crate::tables::REFUSED, hanako.as_str()).await.unwrap().unwrap();
    let mut batch = store::Batch::new();
    let untold = crate::tables::RefusedRow { is_told: false, ..row };
    batch.put(&crate::tables::REFUSED, hanako.as_str(), &untold);
    town.store.commit(batch).await.unwrap();
    let session = town.log_in("hanako").await.unwrap();
    end().await.is_error(409, "");
    assert_eq!(town.told(&jiro).await, 1);
    assert!(town.accounts.authenticate(kanazawa(), &session.access).await.is_ok());
    assert!(town.store.get(&crate::tables::REFUSED, hanako.as_str()).await.unwrap().unwrap().is_told);
}

/// S11: what is taken over by its identity stands in the audit log as the source's deed.
#[tokio::test]
async fn whoever_is_taken_over_by_his_identity_is_found_from_then_on_and_that_is_in_the_audit_log() {
    let issuer = "https://id.kanazawa.test";
    let entra = crate::Settings { issuer: Some(issuer.to_owned()), ..source("entra") };
    let town = Town::with(vec![entra]).await;
    let jiro = town.account("jiro", false).await;
    town.accounts.link_identity(&jiro, (issuer, "sub-2"), &Actor::operator("uid 0")).await.unwrap();
    let filter = "/Users?filter=userName%20eq%20%22jiro%22";
    // A source sees its own users, and no account of others.
    assert_eq!(town.get(filter).await.body["totalResults"], 0);
    let made = town.post("/Users", json!({ "userName": "jiro", "externalId": "sub-2" })).await;
    assert_eq!(made.status, 201, "{made:?}");
    assert_eq!(town.get(filter).await.body["Resources"][0]["id"], made.body["id"]);
    let deeds = town.deeds().await;
    assert_eq!(deeds.last().unwrap(), "source source.put_user @jiro:kanazawa.test");
    assert!(!deeds.iter().any(|deed| deed.starts_with("source account.create")), "{deeds:?}");
}
