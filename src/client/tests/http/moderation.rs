//! Locking and suspending accounts, and what their owners may do then.

use serde_json::{Value, json};

use super::town::{PASSWORD, Person, Town};

fn path(verb: &str, who: &Person<'_>) -> String {
    format!("/_matrix/client/v1/admin/{verb}/{}", who.id)
}

#[tokio::test]
async fn a_locked_account_signs_out_and_does_nothing_else() {
    let town = Town::new().await;
    let (somu, hanako) = (town.admin("somu").await, town.user("hanako").await);
    let room = hanako.create_room(json!({})).await;
    assert_eq!(somu.get(&path("lock", &hanako)).await.ok(), json!({ "locked": false }));
    // What her client was told before is remembered; the lock holds at once all the same.
    hanako.get("/account/whoami").await.ok();
    let locked = somu.put(&path("lock", &hanako), json!({ "locked": true })).await.ok();
    assert_eq!(locked, json!({ "locked": true }));
    assert_eq!(somu.get(&path("lock", &hanako)).await.ok(), json!({ "locked": true }));

    let body = hanako.get("/account/whoami").await.fails(401, "M_USER_LOCKED");
    assert_eq!(body["soft_logout"], true);
    let said = format!("/rooms/{room}/send/m.room.message/1");
    hanako.put(&said, json!({ "body": "x" })).await.fails(401, "M_USER_LOCKED");
    let login = json!({ "type": "m.login.password", "user": "hanako", "password": PASSWORD });
    town.ask("POST", "/_matrix/client/v3/login", login.clone()).await.fails(401, "M_USER_LOCKED");
    let wrong = json!({ "type": "m.login.password", "user": "hanako", "password": "wrong horse" });
    town.ask("POST", "/_matrix/client/v3/login", wrong).await.fails(403, "M_FORBIDDEN");

    // The session goes on where it was.
    somu.put(&path("lock", &hanako), json!({ "locked": false })).await.ok();
    hanako.get("/account/whoami").await.ok();
    somu.put(&path("lock", &hanako), json!({ "locked": true })).await.ok();
    hanako.post("/logout", json!({})).await.ok();
    somu.put(&path("lock", &hanako), json!({ "locked": false })).await.ok();
    hanako.get("/account/whoami").await.fails(401, "M_UNKNOWN_TOKEN");
    town.ask("POST", "/_matrix/client/v3/login", login).await.ok();
}

#[tokio::test]
async fn a_locked_account_gets_no_new_tokens() {
    let town = Town::new().await;
    let (somu, hanako) = (town.admin("somu").await, town.user("hanako").await);
    let login = json!({
        "type": "m.login.password", "user": "hanako", "password": PASSWORD, "refresh_token": true,
    });
    let session = town.ask("POST", "/_matrix/client/v3/login", login).await.ok();
    let refresh = json!({ "refresh_token": session["refresh_token"] });
    somu.put(&path("lock", &hanako), json!({ "locked": true })).await.ok();
    town.ask("POST", "/_matrix/client/v3/refresh", refresh.clone()).await.fails(401, "M_USER_LOCKED");
    somu.put(&path("lock", &hanako), json!({ "locked": false })).await.ok();
    town.ask("POST", "/_matrix/client/v3/refresh", refresh).await.ok();
}

#[tokio::test]
async fn a_suspended_account_reads_and_speaks_no_more() {
    let town = Town::new().await;
    let somu = town.admin("somu").await;
    let (hanako, taro) = (town.user("hanako").await, town.user("taro").await);
    let room = taro.create_room(json!({ "preset": "public_chat" })).await;
    let other = taro.create_room(json!({ "preset": "public_chat" })).await;
    hanako.post(&format!("/join/{room}"), json!({})).await.ok();
    let (own, his) = (hanako.say(&room, "1", "mine").await, taro.say(&room, "1", "his").await);
    somu.put(&path("suspend", &hanako), json!({ "suspended": true })).await.ok();
    assert_eq!(somu.get(&path("suspend", &hanako)).await.ok(), json!({ "suspended": true }));

    hanako.get(&format!("/rooms/{room}/messages?dir=b")).await.ok();
    hanako.get("/account/whoami").await.ok();
    let refused = async |method: &str, path: String, body: Value| {
        hanako.ask(method, &path, body).await.fails(403, "M_USER_SUSPENDED");
    };
    refused("PUT", format!("/rooms/{room}/send/m.room.message/2"), json!({ "body": "x" })).await;
    // X2: whatever it is that she would say.
    let annotates = json!({ "m.relates_to": { "rel_type": "m.annotation", "event_id": his, "key": "👍" } });
    let poll = json!({ "question": { "org.matrix.msc1767.text": "いつ" }, "answers": [{ "id": "1", "org.matrix.msc1767.text": "今日" }] });
    for (kind, content) in [
        ("m.room.encrypted", json!({ "algorithm": "m.megolm.v1.aes-sha2", "ciphertext": "AwgA" })),
        ("m.reaction", annotates),
        ("org.matrix.msc3381.poll.start", json!({ "org.matrix.msc3381.poll.start": poll })),
        ("m.poll.start", json!({ "m.poll": poll })),
        ("m.sticker", json!({ "body": "x", "url": "mxc://hs1/x", "info": {} })),
        ("jp.example.of_nobody_known", json!({})),
    ] {
        refused("PUT", format!("/rooms/{room}/send/{kind}/{kind}"), content).await;
    }
    refused("PUT", format!("/rooms/{room}/state/m.room.topic"), json!({ "topic": "x" })).await;
    refused(
        "PUT",
        format!("/rooms/{room}/typing/{}", hanako.id),
        json!({ "typing": true, "timeout": 1_000 }),
    )
    .await;
    refused("POST", format!("/join/{other}"), json!({})).await;
    refused("POST", "/createRoom".to_owned(), json!({})).await;
    refused("POST", format!("/rooms/{room}/invite"), json!({ "user_id": "@x:hs1" })).await;
    refused("PUT", format!("/profile/{}/displayname", hanako.id), json!({ "displayname": "x" })).await;
    let leave = json!({ "membership": "leave" });
    refused("PUT", format!("/rooms/{room}/state/m.room.member/{}", hanako.id), leave).await;
    // She may take back what she said, and nobody else's.
    hanako.put(&format!("/rooms/{room}/redact/{own}/1"), json!({})).await.ok();
    refused("PUT", format!("/rooms/{room}/redact/{his}/2"), json!({})).await;
    refused("PUT", format!("/rooms/{room}/redact/$nothing/3"), json!({})).await;
    let redaction = json!({ "redacts": his });
    refused("PUT", format!("/rooms/{room}/send/m.room.redaction/4"), redaction).await;
    hanako.post(&format!("/rooms/{room}/leave"), json!({})).await.ok();

    somu.put(&path("suspend", &hanako), json!({ "suspended": false })).await.ok();
    hanako.post(&format!("/join/{other}"), json!({})).await.ok();
}

#[tokio::test]
async fn what_a_suspended_account_wanted_to_say_later_is_not_said() {
    let town = Town::new().await;
    let (somu, hanako) = (town.admin("somu").await, town.user("hanako").await);
    let room = hanako.create_room(json!({})).await;
    let later = format!("/rooms/{room}/send/m.room.message/1?org.matrix.msc4140.delay=600000");
    hanako.put(&later, json!({ "msgtype": "m.text", "body": "後で" })).await.ok();
    let waiting = "/_matrix/client/unstable/org.matrix.msc4140/delayed_events";
    let count = async || hanako.get(waiting).await.ok()["delayed_events"].as_array().unwrap().len();
    assert_eq!(count().await, 1);
    somu.put(&path("suspend", &hanako), json!({ "suspended": true })).await.ok();
    let gone = async {
        while count().await > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), gone).await.expect("it would be said");
    hanako.put(&later.replace("/1?", "/2?"), json!({})).await.fails(403, "M_USER_SUSPENDED");
}

#[tokio::test]
async fn only_administrators_of_the_authority_moderate_and_no_administrator_is_moderated() {
    let town = Town::new().await;
    let (somu, buka) = (town.admin("somu").await, town.admin("buka").await);
    let hanako = town.user("hanako").await;
    let elsewhere = town.user_at("hs2", "taro").await;
    for verb in ["lock", "suspend"] {
        let wish = json!({ "locked": true, "suspended": true });
        // Who may not is told the same of those who are there and those who are not.
        for who in ["@hanako:hs1", "@nobody:hs1", "@taro:hs2"] {
            let path = format!("/_matrix/client/v1/admin/{verb}/{who}");
            hanako.get(&path).await.fails(403, "M_FORBIDDEN");
            hanako.put(&path, wish.clone()).await.fails(403, "M_FORBIDDEN");
        }
        somu.get(&path(verb, &elsewhere)).await.fails(400, "M_INVALID_PARAM");
        somu.put(&path(verb, &elsewhere), wish.clone()).await.fails(400, "M_INVALID_PARAM");
        let nobody = format!("/_matrix/client/v1/admin/{verb}/@nobody:hs1");
        somu.put(&nobody, wish.clone()).await.fails(404, "M_NOT_FOUND");
        for admin in [&somu, &buka] {
            somu.put(&path(verb, admin), wish.clone()).await.fails(403, "M_FORBIDDEN");
        }
        somu.put(&path(verb, &hanako), json!({})).await.fails(400, "M_BAD_JSON");
    }
    let of = async |who: &Person<'_>| {
        who.get("/capabilities").await.ok()["capabilities"]["m.account_moderation"].clone()
    };
    assert_eq!(of(&somu).await, json!({ "lock": true, "suspend": true }));
    assert_eq!(of(&hanako).await, json!({ "lock": false, "suspend": false }));
}

#[tokio::test]
async fn where_somebody_is_signed_in_is_his_own_and_his_administrators_to_know() {
    let town = Town::new().await;
    let somu = town.admin("somu").await;
    let (hanako, taro) = (town.user("hanako").await, town.user("taro").await);
    let whois = format!("/admin/whois/{}", hanako.id);
    hanako.get("/account/whoami").await.ok();
    for who in [&somu, &hanako] {
        let told = who.get(&whois).await.ok();
        assert_eq!(told["user_id"], hanako.id);
        let connection = &told["devices"][&hanako.device]["sessions"][0]["connections"][0];
        assert!(connection["last_seen"].is_u64(), "{told}");
    }
    taro.get(&whois).await.fails(403, "M_FORBIDDEN");
    somu.get("/admin/whois/@nobody:hs1").await.fails(404, "M_NOT_FOUND");
    somu.get("/admin/whois/@taro:hs2").await.fails(400, "M_INVALID_PARAM");
}
