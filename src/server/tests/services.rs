//! Application services as their registration files say, in a whole process over storage in memory.

use std::{path::Path, time::Duration};

use http::Request;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;
use web::{Body, Router};

use crate::{
    commands::init::write_key,
    config::{Config, Serves},
    house::{Foundation, House},
    storage::Data,
};

const BRIDGE: &str = r#"# made by a bridge
id: "IRC Bridge"
url: "http://127.0.0.1:1234"
as_token: 30c05ae90a248a4188e620216fa72e349803310ec83e2a77b34fe90be6081f46
hs_token: 312df522183efd404ec1cd22d2ffa4bbc76a8c1ccf541dd692eef281356bb74e
sender_localpart: _irc_bot
rate_limited: false
de.sorunome.msc2409.push_ephemeral: true
namespaces:
  users:
    - exclusive: true
      regex: "@_irc_bridge_.*"
  aliases:
    - exclusive: false
      regex: '#_irc_bridge_.*'
  rooms: []
"#;

const TOKEN: &str = "30c05ae90a248a4188e620216fa72e349803310ec83e2a77b34fe90be6081f46";

/// A configuration with two authorities, of which each has these registrations.
fn configuration(directory: &Path, first: &[&str], second: &[&str]) -> Config {
    for name in ["kanazawa", "wajima"] {
        let key = directory.join(format!("{name}.key"));
        if !key.exists() {
            write_key(&key, ruma::server_name!("x.test")).unwrap();
        }
    }
    let text = format!(
        "[[authorities]]\nname = \"kanazawa.test\"\nkey_file = \"kanazawa.key\"\napplication_services = {first:?}\n\
         [[authorities]]\nname = \"wajima.test\"\nkey_file = \"wajima.key\"\napplication_services = {second:?}\n\
         [[listeners]]\naddress = \"127.0.0.1:0\"\nserves = [\"client\"]\n[store]\nbackend = \"memory\"\n"
    );
    Config::parse(&text, [], directory).unwrap()
}

async fn ask(router: &Router, method: &str, path: &str, body: &Value) -> (u16, Value) {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "kanazawa.test")
        .header("authorization", format!("Bearer {TOKEN}"))
        .body(Body::from(body.to_string()))
        .unwrap();
    let response = router.clone().oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
}

#[tokio::test]
async fn a_service_registers_its_users_and_syncs_for_them() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("irc.yaml"), BRIDGE).unwrap();
    let config = configuration(directory.path(), &["irc.yaml"], &[]);
    let house = House::open(&config, Foundation::of(&config, Data::MayBegin).await.unwrap()).await.unwrap();
    let router = house.router(&[Serves::Client]).unwrap();

    let whoami = ask(&router, "GET", "/_matrix/client/v3/account/whoami", &json!({})).await;
    assert_eq!(whoami, (200, json!({ "user_id": "@_irc_bot:kanazawa.test" })));
    let body = json!({ "type": "m.login.application_service", "username": "_irc_bridge_taro", "inhibit_login": true });
    assert_eq!(ask(&router, "POST", "/_matrix/client/v3/register", &body).await.0, 200);
    let taro = "user_id=@_irc_bridge_taro:kanazawa.test";
    let made = ask(&router, "POST", &format!("/_matrix/client/v3/createRoom?{taro}"), &json!({})).await;
    let room = made.1["room_id"].as_str().unwrap();
    for flags in ["", "&use_state_after=true", "&org.matrix.msc4222.use_state_after=true"] {
        let path = format!("/_matrix/client/v3/sync?timeout=0&{taro}{flags}");
        let (status, synced) = ask(&router, "GET", &path, &json!({})).await;
        assert_eq!(status, 200, "{synced}");
        assert!(synced["rooms"]["join"][room]["timeline"]["events"].is_array(), "{synced}");
        let path = format!("{path}&since={}", synced["next_batch"].as_str().unwrap());
        assert_eq!(ask(&router, "GET", &path, &json!({})).await.0, 200);
    }
    let path = format!("/_matrix/client/unstable/org.matrix.simplified_msc3575/sync?timeout=0&{taro}");
    let window =
        json!({ "lists": { "all": { "ranges": [[0, 9]], "timeline_limit": 1, "required_state": [] } } });
    let (status, synced) = ask(&router, "POST", &path, &window).await;
    assert_eq!((status, synced["rooms"][room].is_object()), (200, true), "{synced}");
    house.close(Duration::from_secs(10)).await;
}

#[test]
fn what_is_wrong_with_a_registration_is_told_with_the_file_the_line_and_the_key() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
    let problems =
        |first: &[&str], second: &[&str]| configuration(directory.path(), first, second).services().problems;
    write("irc.yaml", BRIDGE);
    assert!(problems(&["irc.yaml"], &[]).is_empty());
    // As bridges on mautrix write it.
    write("capitals.yaml", &BRIDGE.replacen("_irc_bot", "-Q1k_rZ0tWcVbXyTn", 1));
    assert!(problems(&["capitals.yaml"], &[]).is_empty());
    for (from, to, key, line) in [
        ("id: \"IRC Bridge\"\n", "", "id", ""),
        ("url: \"http://127.0.0.1:1234\"\n", "", "url", ""),
        ("http://127.0.0.1:1234", "127.0.0.1:1234", "url", "3:"),
        (TOKEN, "short", "as_token", "4:"),
        (TOKEN, "\"a token with spaces in it\"", "as_token", "4:"),
        (TOKEN, "[1]", "as_token", "4:"),
        ("hs_token:", "hs_tocken:", "hs_token", ""),
        ("_irc_bot", "山田", "sender_localpart", "6:"),
        ("_irc_bot", "\"@_irc_bot:wajima.test\"", "sender_localpart", "6:"),
        ("rate_limited: false", "rate_limited: 0", "rate_limited", "7:"),
        ("namespaces:", "namespaces: []\nother:", "namespaces", "9:"),
        ("  rooms: []", "  rooms: {}", "namespaces.rooms", "10:"),
        ("exclusive: true", "exclusive: perhaps", "namespaces.users.0.exclusive", "11:"),
        ("@_irc_bridge_.*", "@_irc_bridge_(", "namespaces.users.0.regex", "12:"),
        ("@_irc_bridge_.*", "(a{1000}){1000}{1000}", "namespaces.users.0.regex", "12:"),
        ("'#_irc_bridge_.*'", "[]", "namespaces.aliases.0.regex", "15:"),
    ] {
        write("wrong.yaml", &BRIDGE.replacen(from, to, 1));
        let found = problems(&["wrong.yaml"], &[]);
        assert_eq!(found.len(), 1, "{key}: {found:?}");
        assert!(found[0].contains(&format!("wrong.yaml:{line} {key}: ")), "{key}: {found:?}");
    }
    for text in ["- a list", "{", "a: b: c", "&a [*a, *a]"] {
        write("wrong.yaml", text);
        let found = problems(&["wrong.yaml"], &[]);
        assert!(found.len() == 1 && found[0].contains("wrong.yaml: "), "{text}: {found:?}");
    }
    assert_eq!(problems(&["lost.yaml"], &[]).len(), 1);

    // Equal ids, tokens and users are told, wherever they are; the same user name at another authority is another user.
    write("again.yaml", BRIDGE);
    assert_eq!(problems(&["irc.yaml", "again.yaml"], &[]).len(), 5);
    assert_eq!(problems(&["irc.yaml"], &["again.yaml"]).len(), 3);
    // One's own user may be among those that one keeps, but no other's.
    let own = BRIDGE.replace("_irc_bot", "_irc_bridge_bot");
    write("own.yaml", &own);
    assert!(problems(&["own.yaml"], &[]).is_empty());
    let other = own
        .replace("IRC Bridge", "SMS")
        .replace("30c05ae9", "40c05ae9")
        .replace("312df522", "412df522")
        .replace("@_irc_bridge_.*", "@_sms_.*")
        .replace("_irc_bridge_bot", "_irc_bridge_sms");
    write("other.yaml", &other);
    let found = problems(&["own.yaml", "other.yaml"], &[]);
    assert!(found.len() == 1 && found[0].contains("other.yaml:6: sender_localpart: "), "{found:?}");
    assert!(problems(&["own.yaml"], &["other.yaml"]).is_empty());

    // What is written otherwise may be the same ids nevertheless; all of it is told at once.
    let [own, other] = [own, other].map(|it| it.replace("exclusive: false", "exclusive: true"));
    write("own.yaml", &own);
    let sms = other.replace("_irc_bridge_sms", "sms").replace("_irc_bridge_", "_sms_");
    write("sms.yaml", &sms);
    assert!(problems(&["own.yaml", "sms.yaml"], &[]).is_empty());
    write("part.yaml", &sms.replace("@_sms_.*", "@_irc_bridge_x[0-9]+").replace("#_sms_.*", "#_irc_b.*"));
    let found = problems(&["own.yaml", "part.yaml"], &[]);
    assert_eq!(found.len(), 2, "{found:?}");
    for (found, key, id) in [
        (&found[0], "12: namespaces.users.0.regex", "@_irc_bridge_x0:kanazawa.test"),
        (&found[1], "15: namespaces.aliases.0.regex", "#_irc_bridge_:kanazawa.test"),
    ] {
        assert!(found.contains(&format!("part.yaml:{key}: ")) && found.contains(id), "{found}");
    }
    assert!(problems(&["own.yaml"], &["part.yaml"]).is_empty());
    assert!(configuration(directory.path(), &["lost.yaml"], &[]).account_config().is_err());
}

#[test]
fn what_a_registration_leaves_to_us_and_writes_in_its_own_way_is_read_as_it_is_meant() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
    let read = |text: &str| {
        write("one.yaml", text);
        let mut services = configuration(directory.path(), &["one.yaml"], &[]).services();
        assert_eq!(services.problems, Vec::<String>::new(), "{text}");
        services.of.remove(ruma::server_name!("kanazawa.test")).unwrap().remove(0)
    };
    let ghost = ruma::user_id!("@_irc_bridge_taro:kanazawa.test");
    let service = read(BRIDGE);
    assert!(!service.is_limited(ghost) && service.told().ephemeral);
    // Who says nothing is limited, and told events alone.
    let less =
        BRIDGE.replace("rate_limited: false\n", "").replace("de.sorunome.msc2409.push_ephemeral: true\n", "");
    let service = read(&less);
    assert!(service.is_limited(ghost) && !service.told().ephemeral && !service.told().devices);
    for flag in ["receive_ephemeral", "push_ephemeral", "de.sorunome.msc2409.push_ephemeral"] {
        assert!(read(&format!("{less}{flag}: true\n")).told().ephemeral, "{flag}");
    }
    assert!(read(&format!("{less}org.matrix.msc3202: true\n")).told().devices);
    // A number is meant as a text; no address is written in two ways, and one with slashes at the end in many.
    assert_eq!(read(&BRIDGE.replace("\"IRC Bridge\"", "123")).id(), "123");
    for none in ["\"\"", "null"] {
        assert!(read(&BRIDGE.replace("\"http://127.0.0.1:1234\"", none)).address().is_none());
    }
    let service = read(&BRIDGE.replace("127.0.0.1:1234", "127.0.0.1:1234//"));
    assert_eq!(service.address().unwrap().url, "http://127.0.0.1:1234");
    assert_eq!(read(&format!("{BRIDGE}protocols: [irc, sms]\n")).told().protocols, ["irc", "sms"]);
    // What one keeps may be written twice, and what nobody keeps alone may be several's.
    let twice = "    - exclusive: true\n      regex: \"@_irc_bridge_a.*\"\n  aliases:";
    read(&BRIDGE.replace("  aliases:", twice));
    let other = BRIDGE
        .replace("IRC Bridge", "SMS")
        .replace("30c05ae9", "40c05ae9")
        .replace("312df522", "412df522")
        .replace("exclusive: true", "exclusive: false")
        .replace("@_irc_bridge_.*", "@_irc.*")
        .replace("sender_localpart: _irc_bot", "sender_localpart: _sms_bot");
    write("one.yaml", BRIDGE);
    write("other.yaml", &other);
    let services = configuration(directory.path(), &["one.yaml", "other.yaml"], &[]).services();
    assert_eq!(services.problems, Vec::<String>::new());

    for (text, key) in [
        (format!("{BRIDGE}protocols: [\"\"]\n"), "protocols"),
        (format!("{BRIDGE}protocols: irc\n"), "protocols"),
        (BRIDGE.replace("http://127.0.0.1:1234", "http://"), "url"),
        (BRIDGE.replace("http://127.0.0.1:1234", "https://a b/"), "url"),
        (format!("{BRIDGE}#{}\n", "x".repeat(1 << 20)), "1 MiB"),
    ] {
        write("one.yaml", &text);
        let problems = configuration(directory.path(), &["one.yaml"], &[]).services().problems;
        assert!(problems.len() == 1 && problems[0].contains(key), "{key}: {problems:?}");
    }
}
