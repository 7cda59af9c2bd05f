//! Two authorities in one process, and every route: who administers one of them sees and changes nothing of the other. What is
//! the other's is answered as what is nowhere.

use http::{Method, StatusCode};
use ruma::OwnedRoomId;
use serde_json::{Value, json};
use store::Position;
use testkit::{Net, Preset, Server, User};

use crate::{
    V1, V2, administrator, ask, ask_with_more, download, escaped, get, must, open_room, routes, rows, until,
    upload,
};

/// What is the other authority's.
struct Theirs {
    user: String,
    device: String,
    room: String,
    alias: String,
    event: String,
    file: String,
    token: String,
    peer: String,
    delete_id: String,
    report: String,
}

impl Theirs {
    /// The same of nobody.
    fn nowhere() -> Theirs {
        Theirs {
            user: "@nobody:nowhere.test".to_owned(),
            device: "NODEVICE".to_owned(),
            room: "!NoRoomOfThisNameHasEverBeenSeenAnywhereAtAll01".to_owned(),
            alias: "#nothing:nowhere.test".to_owned(),
            event: "$NoEventOfThisNameHasEverBeenSeenAnywhereAtAl01".to_owned(),
            file: "nofile".to_owned(),
            token: "notoken".to_owned(),
            peer: "nobody.test".to_owned(),
            delete_id: "noid".to_owned(),
            report: "987654321".to_owned(),
        }
    }

    /// A request to a route about these; `server` is whose the files are.
    fn asked(&self, method: &Method, path: &str, server: &str, by_alias: bool) -> (String, Value) {
        let room = if by_alias { &self.alias } else { &self.room };
        let mut asked = path.to_owned();
        for (name, value) in [
            ("{user}", self.user.as_str()),
            ("{device}", &self.device),
            ("{room}", room),
            ("{event}", &self.event),
            ("{id}", &self.file),
            ("{server}", server),
            ("{token}", &self.token),
            ("{destination}", &self.peer),
            ("{delete_id}", &self.delete_id),
            ("{report}", &self.report),
            ("{medium}", "email"),
            ("{address}", "jiro@wajima.test"),
            ("{provider}", "oidc"),
            ("{external_id}", "jiro"),
        ] {
            asked = asked.replace(name, &escaped(value));
        }
        assert!(!asked.contains('{'), "{path}");
        // In what is a list, nothing is chosen; and nothing of one's own is deleted.
        if asked.ends_with("media/delete") || asked.ends_with("/delete") && path.contains("media") {
            asked.push_str("?before_ts=30000000000");
        }
        if asked.ends_with("username_available") {
            asked.push_str("?username=jiro");
        }
        if asked.ends_with("purge_media_cache") {
            asked.push_str("?before_ts=9000000000000");
        }
        let is_token = path.ends_with("registration_tokens/new");
        let body = json!({
            "user_id": if by_alias { "@admin:kanazawa.test" } else { &self.user }, "admin": true, "suspend": true, "new_password": "long enough words",
            "password": "long enough words", "displayname": "乗っ取り", "locked": true, "devices": [self.device],
            "display_name": "x", "uses_allowed": 0, "block": true, "erase": true,
        });
        // A word that two authorities use is a token of each.
        (asked, if is_token || method == Method::GET { json!({}) } else { body })
    }
}

struct World {
    _net: Net,
    server: Server,
    ours: User,
    theirs: User,
    jiro: User,
    room: OwnedRoomId,
    file: String,
    of_them: Theirs,
}

impl World {
    async fn new() -> World {
        let net = Net::new();
        let server = net.process(&["kanazawa.test", "wajima.test"]).await;
        let far = net.server("far.test").await;
        let ours = administrator(&server, "kanazawa.test", "admin").await;
        let theirs = administrator(&server, "wajima.test", "theirs").await;
        let jiro = server.user_of("wajima.test", "jiro").await;
        let wishes = json!({ "preset": "public_chat", "name": "秘密", "room_alias_name": "secret" });
        let room = jiro.create_room_with(&wishes).await;
        far.user("far").await.join(&room, "wajima.test").await;
        let event = jiro.send(&room, "合言葉").await;
        let file = upload(&jiro, "秘密の中身").await;
        let report = format!("/rooms/{}/report/{}", escaped(room.as_str()), escaped(event.as_str()));
        jiro.call(Method::POST, &report, Some(&json!({ "reason": "秘密の通報" }))).await;
        let reports = get(&theirs, &format!("{V1}/event_reports")).await;
        let report = reports["event_reports"][0]["id"].to_string();
        let new = format!("{V1}/registration_tokens/new");
        must(&theirs, Method::POST, &new, Some(json!({ "token": "theirtoken" }))).await;
        let gone = jiro.create_room(Preset::PrivateChat).await;
        let delete = format!("{V2}/rooms/{}", escaped(gone.as_str()));
        let ordered = must(&theirs, Method::DELETE, &delete, Some(json!({}))).await;
        let delete_id = ordered["delete_id"].as_str().unwrap().to_owned();
        let status = format!("{V2}/rooms/delete_status/{delete_id}");
        until(&theirs, &status, |_, answer| answer["status"] == "complete").await;
        let of_them = Theirs {
            user: jiro.id().to_string(),
            device: jiro.device_id().to_owned(),
            room: room.to_string(),
            alias: "#secret:wajima.test".to_owned(),
            event: event.to_string(),
            file: file.clone(),
            token: "theirtoken".to_owned(),
            peer: "far.test".to_owned(),
            delete_id,
            report,
        };
        World { _net: net, server, ours, theirs, jiro, room, file, of_them }
    }

    /// What the other administrator sees of his authority.
    async fn seen(&self) -> Vec<Value> {
        let room = escaped(self.room.as_str());
        let user = escaped(self.jiro.id().as_str());
        let mut seen = Vec::new();
        for path in [
            format!("{V2}/users?guests=true"),
            format!("{V2}/users/{user}/devices"),
            format!("{V1}/rooms"),
            format!("{V1}/rooms/{room}"),
            format!("{V1}/rooms/{room}/members"),
            format!("{V1}/rooms/{room}/block"),
            format!("{V1}/users/{user}/media"),
            format!("{V1}/registration_tokens"),
            format!("{V1}/federation/destinations"),
            format!("{V1}/event_reports"),
        ] {
            let mut answer = get(&self.theirs, &path).await;
            // Being seen is no change.
            if let Some(device) = answer.pointer_mut("/devices/0") {
                device["last_seen_ts"] = Value::Null;
            }
            seen.push(answer);
        }
        seen
    }
}

/// An answer without the names that were asked about.
fn veiled(answer: &Value, of: &Theirs) -> String {
    let mut text = answer.to_string();
    for name in [&of.user, &of.room, &of.alias, &of.event, &of.file, &of.token, &of.peer, &of.delete_id] {
        text = text.replace(name.as_str(), "…");
    }
    text
}

#[tokio::test]
async fn every_route_answers_of_what_is_anothers_as_of_what_is_nowhere_and_changes_nothing() {
    let world = World::new().await;
    let nowhere = Theirs::nowhere();
    let before = world.seen().await;
    let log = rows(&world.server, "wajima.test", Position::START).await.0.len();
    let mut asked = 0;
    for (method, path) in routes(&world.server) {
        for by_alias in [false, true] {
            let (of_them, body) = world.of_them.asked(&method, &path, "wajima.test", by_alias);
            let (of_nobody, no_body) = nowhere.asked(&method, &path, "wajima.test", by_alias);
            let (status, answer) = ask_with_more(&world.ours, method.clone(), &of_them, Some(body)).await;
            let (expected, nothing) =
                ask_with_more(&world.ours, method.clone(), &of_nobody, Some(no_body)).await;
            let said = veiled(&answer, &world.of_them);
            // Tokens that are made are made up, and so are ids of orders.
            let is_made_up = path.ends_with("registration_tokens/new")
                || (method == Method::DELETE && path.ends_with("/v2/rooms/{room}"))
                || path.ends_with("/delete_status");
            if is_made_up {
                assert_eq!(status, expected, "{method} {of_them}");
            } else {
                assert_eq!((status, &said), (expected, &veiled(&nothing, &nowhere)), "{method} {of_them}");
            }
            for secret in ["秘密", "合言葉", "jiro", "theirs", "far.test", "theirtoken"] {
                assert!(!said.contains(secret), "{method} {of_them}: {said}");
            }
            asked += 1;
        }
    }
    assert!(asked > 120, "{asked}");
    assert_eq!(rows(&world.server, "wajima.test", Position::START).await.0.len(), log);
    assert_eq!(world.seen().await, before);
    assert_eq!(download(&world.jiro, "wajima.test", &world.file).await, 200);
    world.jiro.send(&world.room, "まだここにいる").await;
    // And of his own files of the same id.
    let delete = format!("{V1}/media/kanazawa.test/{}", world.file);
    assert_eq!(ask(&world.ours, Method::DELETE, &delete, None).await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_token_of_an_administrator_is_good_for_nothing_at_another_authority() {
    let world = World::new().await;
    let accounts = world.server.look(|house| house.accounts.clone());
    let wajima = <&ruma::ServerName>::try_from("wajima.test").unwrap();
    assert!(accounts.authenticate(wajima, world.ours.token()).await.is_err());
}

#[tokio::test]
async fn what_two_authorities_share_stays_the_others_when_one_deletes_closes_or_withholds_it() {
    let net = Net::new();
    let server = net.process(&["kanazawa.test", "wajima.test"]).await;
    let ours = administrator(&server, "kanazawa.test", "admin").await;
    let theirs = administrator(&server, "wajima.test", "theirs").await;
    let hanako = server.user_of("kanazawa.test", "hanako").await;
    let jiro = server.user_of("wajima.test", "jiro").await;
    let room = open_room(&hanako, "広場").await;
    jiro.join(&room, "kanazawa.test").await;
    hanako.send(&room, "こんにちは").await;
    let at = |version: &str, what: &str| format!("{version}/rooms/{}{what}", escaped(room.as_str()));
    let listed = get(&theirs, &at(V1, "")).await;
    assert_eq!((&listed["joined_members"], &listed["joined_local_members"]), (&json!(2), &json!(1)));

    let order = must(&ours, Method::DELETE, &at(V2, ""), Some(json!({ "block": true, "purge": true }))).await;
    let status = format!("{V2}/rooms/delete_status/{}", order["delete_id"].as_str().unwrap());
    let done = until(&ours, &status, |_, answer| answer["status"] != "active").await;
    assert_eq!(
        (&done["status"], &done["shutdown_room"]["kicked_users"]),
        (&json!("complete"), &json!([hanako.id()]))
    );
    assert_eq!(ask(&ours, Method::GET, &at(V1, ""), None).await.0, StatusCode::NOT_FOUND);
    assert!(hanako.try_join(&room, "wajima.test").await.is_err());
    // The other's users are in it, read what was said, and others of theirs may come.
    assert!(jiro.history(&room).await.contains(&"こんにちは".to_owned()));
    server.user_of("wajima.test", "kyuro").await.join(&room, "wajima.test").await;
    assert_eq!(get(&theirs, &at(V1, "")).await["joined_members"], 2);
    assert_eq!(get(&theirs, &at(V1, "/block")).await, json!({ "block": false }));

    // Also where the other's have left: their history of it is theirs.
    let room = open_room(&hanako, "前の広場").await;
    jiro.join(&room, "kanazawa.test").await;
    hanako.send(&room, "さようなら").await;
    jiro.leave(&room).await;
    let path = format!("{V1}/rooms/{}", escaped(room.as_str()));
    must(&ours, Method::DELETE, &path, Some(json!({}))).await;
    assert!(jiro.history(&room).await.contains(&"さようなら".to_owned()));
}
