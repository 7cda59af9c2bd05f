//! A walk over every route that changes something: each deed leaves a row in the audit log of the authority, which says who
//! and from where, and none in another's. The routes are those of the router: one that nobody walks fails the test.

use std::collections::{BTreeMap, BTreeSet};

use http::Method;
use ruma::OwnedRoomId;
use serde_json::{Value, json};
use server::config::ZoneConfig;
use store::Position;
use testkit::{Net, Server, User, Zones};

use crate::{V1, V2, administrator, ask, escaped, get, open_room, routes, rows, until, upload};

/// A deed: the route, the request, and the word of its row.
struct Deed {
    route: &'static str,
    path: String,
    body: Value,
    what: &'static str,
}

fn deed(route: &'static str, path: String, body: Value, what: &'static str) -> Deed {
    Deed { route, path, body, what }
}

fn at(room: &OwnedRoomId) -> String {
    escaped(room.as_str())
}

async fn about_users(server: &Server) -> Vec<Deed> {
    let (hanako, saburo) = (server.user_of("kanazawa.test", "hanako").await, "@saburo:kanazawa.test");
    let (second, third) = (hanako.another_device().await, hanako.another_device().await);
    let account = format!("{V2}/users/{}", escaped(saburo));
    let admin = format!("{V1}/users/{}/admin", escaped(saburo));
    let devices = format!("{V2}/users/{}", escaped(hanako.id().as_str()));
    let suspend = format!("{V1}/suspend/{}", escaped(saburo));
    let token = format!("{V1}/registration_tokens/sakura");
    let put_account = "PUT /_synapse/admin/v2/users/{user}";
    let made = json!({ "password": "long enough words" });
    let reset = format!("{V1}/reset_password/{}", escaped(saburo));
    let stays = json!({ "new_password": "long enough words", "logout_devices": false });
    vec![
        deed(put_account, account.clone(), made, "account.create"),
        deed(put_account, account.clone(), json!({ "displayname": "三郎" }), "account.change_profile"),
        deed(put_account, account.clone(), json!({ "locked": true }), "account.lock"),
        deed(put_account, account.clone(), json!({ "locked": false }), "account.unlock"),
        deed(
            "PUT /_synapse/admin/v1/users/{user}/admin",
            admin.clone(),
            json!({ "admin": true }),
            "account.grant_administration",
        ),
        deed(
            "PUT /_synapse/admin/v1/users/{user}/admin",
            admin,
            json!({ "admin": false }),
            "account.revoke_administration",
        ),
        deed(
            "PUT /_synapse/admin/v1/suspend/{user}",
            suspend.clone(),
            json!({ "suspend": true }),
            "account.suspend",
        ),
        deed("PUT /_synapse/admin/v1/suspend/{user}", suspend, json!({ "suspend": false }), "account.resume"),
        deed(
            "POST /_synapse/admin/v1/reset_password/{user}",
            reset.clone(),
            json!({ "new_password": "long enough words" }),
            "password.set",
        ),
        deed("POST /_synapse/admin/v1/reset_password/{user}", reset, stays, "password.set"),
        deed(
            "PUT /_synapse/admin/v2/users/{user}/devices/{device}",
            format!("{devices}/devices/{}", second.device_id()),
            json!({ "display_name": "端末" }),
            "device.rename",
        ),
        deed(
            "DELETE /_synapse/admin/v2/users/{user}/devices/{device}",
            format!("{devices}/devices/{}", second.device_id()),
            json!({}),
            "device.remove",
        ),
        deed(
            "POST /_synapse/admin/v2/users/{user}/delete_devices",
            format!("{devices}/delete_devices"),
            json!({ "devices": [third.device_id()] }),
            "device.remove",
        ),
        deed(
            "POST /_synapse/admin/v1/registration_tokens/new",
            format!("{V1}/registration_tokens/new"),
            json!({ "token": "sakura" }),
            "registration_token.put",
        ),
        deed(
            "PUT /_synapse/admin/v1/registration_tokens/{token}",
            token.clone(),
            json!({ "uses_allowed": 3 }),
            "registration_token.put",
        ),
        deed(
            "DELETE /_synapse/admin/v1/registration_tokens/{token}",
            token,
            json!({}),
            "registration_token.remove",
        ),
        deed(
            "GET /_synapse/admin/v1/users/{user}/pushers",
            format!("{V1}/users/{}/pushers", escaped(saburo)),
            json!({}),
            "account.read",
        ),
        deed(
            "GET /_synapse/admin/v2/users/{user}/devices",
            format!("{devices}/devices"),
            json!({}),
            "account.read",
        ),
        deed(
            "GET /_synapse/admin/v2/users/{user}/devices/{device}",
            format!("{devices}/devices/{}", hanako.device_id()),
            json!({}),
            "account.read",
        ),
        deed(
            "GET /_synapse/admin/v1/users/{user}/accountdata",
            format!("{V1}/users/{}/accountdata", escaped(saburo)),
            json!({}),
            "account.read",
        ),
        deed(
            "GET /_synapse/admin/v1/whois/{user}",
            format!("{V1}/whois/{}", escaped(saburo)),
            json!({}),
            "account.read",
        ),
        deed(
            "POST /_synapse/admin/v1/deactivate/{user}",
            format!("{V1}/deactivate/{}", escaped(saburo)),
            json!({}),
            "account.close",
        ),
    ]
}

async fn about_rooms(server: &Server, admin: &User) -> Vec<Deed> {
    let owner = server.user_of("kanazawa.test", "owner").await;
    let taro = server.user_of("kanazawa.test", "taro").await;
    let mut rooms = Vec::new();
    for name in ["一", "二", "三", "四"] {
        rooms.push(open_room(&owner, name).await);
    }
    let (block, make) = (
        format!("{V1}/rooms/{}/block", at(&rooms[0])),
        format!("{V1}/rooms/{}/make_room_admin", at(&rooms[0])),
    );
    let event = owner.send(&rooms[0], "言葉").await;
    let context = format!("{V1}/rooms/{}/context/{}", at(&rooms[0]), escaped(event.as_str()));
    let report = format!("/rooms/{}/report/{}", at(&rooms[0]), escaped(event.as_str()));
    owner.call(Method::POST, &report, Some(&json!({ "reason": "不適切" }))).await;
    let reports = crate::get(admin, &format!("{V1}/event_reports")).await;
    let report = format!("{V1}/event_reports/{}", reports["event_reports"][0]["id"]);
    vec![
        deed(
            "GET /_synapse/admin/v1/rooms/{room}/state",
            format!("{V1}/rooms/{}/state", at(&rooms[0])),
            json!({}),
            "room.read",
        ),
        deed("GET /_synapse/admin/v1/event_reports/{report}", report.clone(), json!({}), "room.read"),
        deed("DELETE /_synapse/admin/v1/event_reports/{report}", report, json!({}), "report.remove"),
        deed(
            "PUT /_synapse/admin/v1/rooms/{room}/block",
            block.clone(),
            json!({ "block": true }),
            "room.block",
        ),
        deed("PUT /_synapse/admin/v1/rooms/{room}/block", block, json!({ "block": false }), "room.unblock"),
        deed(
            "GET /_synapse/admin/v1/rooms/{room}/messages",
            format!("{V1}/rooms/{}/messages", at(&rooms[0])),
            json!({}),
            "room.read",
        ),
        deed("GET /_synapse/admin/v1/rooms/{room}/context/{event}", context, json!({}), "room.read"),
        deed(
            "POST /_synapse/admin/v1/join/{room}",
            format!("{V1}/join/{}", at(&rooms[0])),
            json!({ "user_id": taro.id() }),
            "room.join",
        ),
        deed(
            "POST /_synapse/admin/v1/rooms/{room}/make_room_admin",
            make,
            json!({ "user_id": admin.id() }),
            "room.grant_power",
        ),
        deed(
            "DELETE /_synapse/admin/v1/rooms/{room}",
            format!("{V1}/rooms/{}", at(&rooms[1])),
            json!({ "purge": false }),
            "room.empty",
        ),
        deed(
            "POST /_synapse/admin/v1/rooms/{room}/delete",
            format!("{V1}/rooms/{}/delete", at(&rooms[2])),
            json!({}),
            "room.order_purge",
        ),
        deed(
            "DELETE /_synapse/admin/v2/rooms/{room}",
            format!("{V2}/rooms/{}", at(&rooms[3])),
            json!({}),
            "room.order_purge",
        ),
    ]
}

async fn about_files(server: &Server) -> Vec<Deed> {
    let jun = server.user_of("kanazawa.test", "jun").await;
    let mut files = Vec::new();
    for word in ["あ", "い", "う", "え", "お"] {
        files.push(upload(&jun, word).await);
    }
    // What is withheld with all of his is not deleted with others.
    upload(&server.user_of("kanazawa.test", "ken").await, "か").await;
    let room = open_room(&jun, "写真").await;
    let event =
        json!({ "msgtype": "m.file", "body": "a", "url": format!("mxc://kanazawa.test/{}", files[1]) });
    jun.call(Method::PUT, &format!("/rooms/{}/send/m.room.message/1", at(&room)), Some(&event)).await;
    let file = |verb: &str| format!("{V1}/media/{verb}/kanazawa.test/{}", files[0]);
    let user = escaped(jun.id().as_str());
    let none = || json!({});
    let all = "before_ts=9000000000000";
    vec![
        deed(
            "POST /_synapse/admin/v1/media/quarantine/{server}/{id}",
            file("quarantine"),
            none(),
            "media.withhold",
        ),
        deed(
            "POST /_synapse/admin/v1/media/unquarantine/{server}/{id}",
            file("unquarantine"),
            none(),
            "media.release",
        ),
        deed(
            "POST /_synapse/admin/v1/media/protect/{id}",
            format!("{V1}/media/protect/{}", files[0]),
            none(),
            "media.protect",
        ),
        deed(
            "POST /_synapse/admin/v1/media/unprotect/{id}",
            format!("{V1}/media/unprotect/{}", files[0]),
            none(),
            "media.unprotect",
        ),
        deed(
            "GET /_synapse/admin/v1/room/{room}/media",
            format!("{V1}/room/{}/media", at(&room)),
            none(),
            "room.read",
        ),
        deed(
            "POST /_synapse/admin/v1/room/{room}/media/quarantine",
            format!("{V1}/room/{}/media/quarantine", at(&room)),
            none(),
            "media.withhold",
        ),
        deed(
            "POST /_synapse/admin/v1/user/{user}/media/quarantine",
            format!("{V1}/user/{user}/media/quarantine"),
            none(),
            "media.withhold",
        ),
        deed(
            "DELETE /_synapse/admin/v1/media/{server}/{id}",
            format!("{V1}/media/kanazawa.test/{}", files[0]),
            none(),
            "media.remove",
        ),
        deed(
            "DELETE /_synapse/admin/v1/users/{user}/media",
            format!("{V1}/users/{user}/media?limit=1"),
            none(),
            "media.remove",
        ),
        deed(
            "POST /_synapse/admin/v1/media/delete",
            format!("{V1}/media/delete?{all}&size_gt=1"),
            none(),
            "media.remove",
        ),
    ]
}

/// Where the administrator is, as the proxy says.
const FROM: &str = "192.0.2.7";

/// The zone of the listener that he comes through.
const ZONE: &str = "lgwan";

/// Does the deeds, one after the other, and looks for the row of each.
async fn walk(
    server: &Server,
    admin: &User,
    other: Option<&str>,
    deeds: Vec<Deed>,
    walked: &mut BTreeSet<String>,
) {
    let own = admin.id().server_name().as_str();
    for Deed { route, path, body, what } in deeds {
        let (_, before) = rows(server, own, Position::START).await;
        let elsewhere = match other {
            Some(other) => rows(server, other, Position::START).await.0.len(),
            None => 0,
        };
        let method: Method = route.split_once(' ').unwrap().0.parse().unwrap();
        let headers = [("x-forwarded-for", FROM), ("content-type", "application/json")];
        let answer = admin.ask_bytes(method.clone(), &path, &headers, body.to_string().into()).await;
        let told = serde_json::from_slice(answer.body()).unwrap();
        crate::described::check(&method, &path, (answer.status(), &told));
        crate::described::check_body(&method, &path, Some(&body), answer.status());
        let (status, answer) = (answer.status(), String::from_utf8_lossy(answer.body()).into_owned());
        assert!(status.is_success(), "{route} {path}: {status} {answer}");
        let (new, _) = rows(server, own, before).await;
        let row = new.iter().find(|row| row.what == what);
        let row = row.unwrap_or_else(|| panic!("{route}: no {what} among {new:?}"));
        assert_eq!((row.who.as_str(), row.role.as_str()), (admin.id().as_str(), "administrator"), "{route}");
        assert_eq!(row.from.as_deref(), Some(FROM), "{route}");
        assert!(row.device.is_some(), "{route}: {row:?}");
        assert_eq!(row.zone.as_deref(), Some(ZONE), "{route}: {row:?}");
        // A purge that was ordered has a row of its own when it is done.
        // Nor is what is read to do it another deed.
        let is_more = |word: &str| word != what && word != "room.purge" && word != "room.read";
        let others = new.iter().filter(|row| row.who == admin.id().as_str() && is_more(&row.what));
        assert_eq!(others.count(), 0, "{route}: {new:?}");
        if let Some(other) = other {
            assert_eq!(rows(server, other, Position::START).await.0.len(), elsewhere, "{route}");
        }
        walked.insert(route.to_owned());
    }
}

#[tokio::test]
async fn every_route_that_changes_something_leaves_a_row_of_who_and_from_where_in_the_authoritys_log_alone() {
    let zones = BTreeMap::from([(ZONE.to_owned(), ZoneConfig::default())]);
    let net = Net::with_zones(Zones { of: zones, ..Zones::default() });
    let server = net.process(&["kanazawa.test", "wajima.test"]).await;
    let door = server.listen_in(Some(ZONE)).await;
    let admin = administrator(&server, "kanazawa.test", "admin").await.through(door);
    server.user_of("wajima.test", "jiro").await;
    let mut walked = BTreeSet::new();
    let other = Some("wajima.test");
    walk(&server, &admin, other, about_users(&server).await, &mut walked).await;
    let deeds = about_rooms(&server, &admin).await;
    walk(&server, &admin, other, deeds, &mut walked).await;
    walk(&server, &admin, other, about_files(&server).await, &mut walked).await;
    let kana = upload(&server.user_of("kanazawa.test", "kana").await, "残り").await;
    let old = format!("{V1}/media/kanazawa.test/delete?before_ts=9000000000000");
    let old = deed("POST /_synapse/admin/v1/media/{server}/delete", old, json!({}), "media.remove");
    walk(&server, &admin, other, vec![old], &mut walked).await;
    assert_eq!(crate::download(&admin, "kanazawa.test", &kana).await, 404);

    // What is for who has the process for himself, or needs another server.
    let (alone, far) = (net.server("noto.test").await, net.server("suzu.test").await);
    let door = alone.listen_in(Some(ZONE)).await;
    let admin = administrator(&alone, "noto.test", "admin").await.through(door);
    let jiro = far.user("jiro").await;
    let file = upload(&jiro, "遠く").await;
    assert_eq!(crate::download(&admin, "suzu.test", &file).await, 200);
    let room = open_room(&jiro, "広場").await;
    admin.join(&room, "suzu.test").await;
    far.stop().await;
    admin.send(&room, "聞こえますか").await;
    let peer = format!("{V1}/federation/destinations/suzu.test");
    until(&admin, &peer, |_, answer| answer["failure_ts"].is_u64()).await;
    let deeds = vec![
        deed(
            "POST /_synapse/admin/v1/purge_media_cache",
            format!("{V1}/purge_media_cache?before_ts=9000000000000"),
            json!({}),
            "media.remove",
        ),
        deed(
            "POST /_synapse/admin/v1/federation/destinations/{destination}/reset_connection",
            format!("{peer}/reset_connection"),
            json!({}),
            "federation.retry",
        ),
    ];
    walk(&alone, &admin, None, deeds, &mut walked).await;

    // Nothing that was sent as a secret is in a row, or in what is made of rows.
    for (server, authority) in [(&server, "kanazawa.test"), (&server, "wajima.test"), (&alone, "noto.test")] {
        let store = server.look(|house| house.store.clone());
        let name = <&ruma::ServerName>::try_from(authority).unwrap();
        let page = audit::list(&store, name, &audit::Filter::default(), Position::START).await.unwrap();
        assert_eq!(page.next, None);
        for row in &page.found {
            let line = audit::in_json(name, row);
            for secret in [testkit::PASSWORD, "long enough words", "sakura", "yat_", "yrt_", "$argon2"] {
                assert!(!line.contains(secret), "{secret}: {line}");
            }
        }
    }
    let changing: BTreeSet<String> = routes(&server)
        .into_iter()
        .filter(|(method, path)| {
            method != Method::GET
                || path.ends_with("/messages")
                || path.contains("/context/")
                || path.ends_with("{report}")
                || path.ends_with("/state")
                || ["/accountdata", "/pushers", "/devices", "/devices/{device}"]
                    .iter()
                    .any(|end| path.ends_with(end))
                || path.contains("/v1/room/")
                || path.contains("/whois/")
        })
        .map(|(method, path)| format!("{method} {path}"))
        .collect();
    assert_eq!(walked, changing);
}

#[tokio::test]
async fn whoever_administers_nothing_and_tries_to_change_something_has_rows_of_it_ten_in_an_hour() {
    let net = Net::new();
    let server = net.server("kanazawa.test").await;
    let (hanako, taro) = (server.user("hanako").await, server.user("taro").await);
    let (_, before) = rows(&server, "kanazawa.test", Position::START).await;
    let changing: Vec<_> = routes(&server).into_iter().filter(|(method, _)| *method != Method::GET).collect();
    assert!(changing.len() > 20);
    for (method, path) in &changing {
        let asked = path.replace(['{', '}'], "");
        let (status, _) =
            ask(&hanako, method.clone(), &asked, Some(json!({ "password": "secret word" }))).await;
        assert_eq!(status.as_u16(), 403, "{path}");
    }
    let first = format!("{V2}/users/{}", escaped(taro.id().as_str()));
    let (status, _) = ask(&taro, Method::PUT, &first, Some(json!({ "admin": true }))).await;
    assert_eq!(status.as_u16(), 403);
    let lock = format!("/_matrix/client/v1/admin/lock/{}", escaped(hanako.id().as_str()));
    let (status, _) = ask(&taro, Method::PUT, &lock, Some(json!({ "locked": true }))).await;
    assert_eq!(status.as_u16(), 403);
    // Clients ask of themselves whether they administer; nothing is changed by it.
    ask(&taro, Method::GET, &format!("{V1}/users/{}/admin", escaped(taro.id().as_str())), None).await;
    let (new, _) = rows(&server, "kanazawa.test", before).await;
    let of = |user: &User| {
        let of_him = new.iter().filter(|row| row.who == user.id().as_str());
        of_him.map(|row| (row.what.as_str(), row.after[0].1.as_str())).collect::<Vec<_>>()
    };
    let tried: Vec<String> =
        changing.iter().take(10).map(|(method, path)| format!("{method} {path}")).collect();
    assert_eq!(of(&hanako), tried.iter().map(|route| ("power.refused", &**route)).collect::<Vec<_>>());
    let expected = ["PUT /_synapse/admin/v2/users/{user}", "PUT /_matrix/client/v1/admin/lock/{userId}"];
    assert_eq!(of(&taro), expected.map(|route| ("power.refused", route)));
    assert!(new.iter().all(|row| row.device.is_some() && row.role == "user"), "{new:?}");
}

#[tokio::test]
async fn what_is_so_already_or_cannot_be_leaves_no_row() {
    let net = Net::new();
    let server = net.server("kanazawa.test").await;
    let admin = administrator(&server, "kanazawa.test", "admin").await;
    let taro = server.user("taro").await;
    let user = escaped(taro.id().as_str());
    get(&admin, &format!("{V2}/users/{user}")).await;
    let (_, before) = rows(&server, "kanazawa.test", Position::START).await;
    for (method, path, body) in [
        (
            Method::PUT,
            format!("{V2}/users/{user}"),
            json!({ "displayname": "taro", "admin": false, "locked": false }),
        ),
        (Method::PUT, format!("{V1}/users/{user}/admin"), json!({ "admin": false })),
        (Method::PUT, format!("{V2}/users/{user}"), json!({ "password": "short" })),
        (Method::DELETE, format!("{V2}/users/{user}/devices/NONE"), json!({})),
        (Method::DELETE, format!("{V1}/registration_tokens/none"), json!({})),
        (Method::PUT, format!("{V1}/rooms/{}/block", escaped("!a:kanazawa.test")), json!({ "block": false })),
        (Method::DELETE, format!("{V2}/rooms/{}", escaped("!a:kanazawa.test")), json!({})),
        (Method::POST, format!("{V1}/media/quarantine/kanazawa.test/none"), json!({})),
        (Method::DELETE, format!("{V1}/media/kanazawa.test/none"), json!({})),
    ] {
        ask(&admin, method, &path, Some(body)).await;
        let (new, _) = rows(&server, "kanazawa.test", before).await;
        assert!(new.is_empty(), "{path}: {new:?}");
    }
}
