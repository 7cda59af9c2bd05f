//! Classes of employment with whole servers: what people of one may not is refused, as long as the organisation has them in it.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;

use http::{Method, StatusCode};
use intake::Class;
use serde_json::{Value, json};
use server::config::{ClassConfig, MakeRooms, ZoneConfig};
use testkit::{Net, Server, User, Zones};

use crate::staff::{apply, at, plan_file};

const HEADER: &str = "職員番号,氏名,所属,職名,発令日,アカウント,任用区分\n";

fn everything() -> ClassConfig {
    ClassConfig {
        sign_in_from: None,
        make_rooms: MakeRooms::All,
        publish_rooms: true,
        invite_outside: true,
        upload: true,
    }
}

/// A federation with two zones in which a class may little.
fn net() -> Net {
    let zones = ["lgwan", "internet"].map(|name| (name.to_owned(), ZoneConfig::default()));
    let net = Net::with_zones(Zones { of: BTreeMap::from(zones), ..Zones::default() });
    let little = ClassConfig {
        sign_in_from: Some(vec!["lgwan".to_owned()]),
        make_rooms: MakeRooms::Direct,
        publish_rooms: false,
        invite_outside: false,
        upload: false,
    };
    net.say_of_class(Class::FiscalYear, little);
    net.say_of_class(Class::Special, ClassConfig { make_rooms: MakeRooms::None, ..everything() });
    net
}

/// A file of whose people each is of a class is applied on a day.
async fn take(server: &Server, people: &[(&str, &str)], on: &str) {
    let rows = people.iter().enumerate().map(|(number, (account, class))| {
        format!("{},氏名 {account},総務部　防災課,主事,{on},{account},{class}\n", number + 1)
    });
    let file = format!("{HEADER}{}", rows.collect::<String>());
    let id = plan_file(server, server.name(), "首長部局", file, on).await;
    apply(server, server.name(), id).await;
    follow(server).await;
}

async fn follow(server: &Server) -> bool {
    server.look(|house| house.classes.clone()).follow(server.name()).await.unwrap()
}

/// Status and the sentence that a refusal says.
async fn ask(user: &User, method: Method, path: &str, body: &Value) -> (StatusCode, String) {
    let (status, text) = user.ask(method, &format!("/_matrix/{path}"), Some(body)).await;
    let answer: Value = serde_json::from_str(&text).unwrap();
    let code = answer["errcode"].as_str().unwrap_or_default();
    (status, format!("{code} {}", answer["error"].as_str().unwrap_or_default()))
}

async fn create(user: &User, wishes: &Value) -> (StatusCode, String) {
    ask(user, Method::POST, "client/v3/createRoom", wishes).await
}

async fn sign_in(user: &User) -> (StatusCode, String) {
    let body = json!({
        "type": "m.login.password", "password": testkit::PASSWORD,
        "identifier": { "type": "m.id.user", "user": user.id() },
    });
    // As a proxy does: of whom no address is known no zone is either.
    let headers = [("content-type", "application/json"), ("x-forwarded-for", "192.0.2.7")];
    let body = body.to_string().into();
    let answer = user.ask_bytes(Method::POST, "/_matrix/client/v3/login", &headers, body).await;
    let words: Value = serde_json::from_slice(answer.body()).unwrap();
    let [code, error] = ["errcode", "error"].map(|key| words[key].as_str().unwrap_or_default());
    (answer.status(), format!("{code} {error}"))
}

fn is_refused((status, words): &(StatusCode, String)) -> bool {
    *status == StatusCode::FORBIDDEN
        && words.starts_with("M_FORBIDDEN 任用区分「会計年度任用」の方は")
        && words.contains("People of the class \"for a fiscal year\" ")
}

/// What somebody wishes that a class may not: whether each is refused for his class.
async fn refused(user: &User, colleague: &User, stranger: &User) -> [bool; 9] {
    let room = user.create_room_with(&direct_with(&[colleague])).await;
    let invite = json!({ "user_id": stranger.id() });
    let listed = json!({ "visibility": "public" });
    let opened = json!([{ "type": "m.room.join_rules", "content": { "join_rule": "public" } }]);
    let mut open = direct_with(&[colleague]);
    open["initial_state"] = opened;
    let mut space = direct_with(&[colleague]);
    space["creation_content"] = json!({ "type": "m.space" });
    let others = [
        create(user, &json!({})).await,
        create(user, &direct_with(&[colleague, stranger])).await,
        create(user, &open).await,
        create(user, &space).await,
        create(user, &json!({ "is_direct": true, "preset": "public_chat" })).await,
        create(user, &direct_with(&[stranger])).await,
        ask(user, Method::POST, &format!("client/v3/rooms/{room}/invite"), &invite).await,
        ask(user, Method::PUT, &format!("client/v3/directory/list/room/{room}"), &listed).await,
        ask(user, Method::POST, "media/v3/upload?filename=a.txt", &json!({})).await,
    ];
    for (status, words) in &others {
        assert!(status.is_success() || words.contains("任用区分"), "{status} {words}");
    }
    others.each_ref().map(is_refused)
}

fn direct_with(users: &[&User]) -> Value {
    let invite: Vec<_> = users.iter().map(|user| user.id()).collect();
    json!({ "is_direct": true, "preset": "trusted_private_chat", "invite": invite })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_class_may_not_is_refused_while_the_organisation_has_somebody_in_it() {
    let net = net();
    let (server, other) = (net.server("kanazawa.test").await, net.server("wajima.test").await);
    let (hanako, taro) = (server.user("hanako").await, server.user("taro").await);
    let jiro = other.user("jiro").await;
    // Nobody is of a class yet.
    assert_eq!(refused(&taro, &hanako, &jiro).await, [false; 9]);

    take(&server, &[("hanako", "正規職員"), ("taro", "会計年度任用職員")], "2026-04-01").await;
    assert_eq!(refused(&taro, &hanako, &jiro).await, [true; 9]);
    assert_eq!(refused(&hanako, &taro, &jiro).await, [false; 9]);

    // A set that waits changes nothing before it is applied.
    let file = format!(
        "{HEADER}1,氏名 hanako,総務部　防災課,主事,2026-05-01,hanako,正規職員\n2,氏名 taro,総務部　防災課,主事,2026-05-01,taro,正規職員\n"
    );
    let id = plan_file(&server, server.name(), "首長部局", file, "2026-05-01").await;
    assert!(!follow(&server).await);
    assert_eq!(refused(&taro, &hanako, &jiro).await, [true; 9]);
    at(&net, "2026-05-01");
    apply(&server, server.name(), id).await;
    follow(&server).await;
    assert_eq!(refused(&taro, &hanako, &jiro).await, [false; 9]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_class_signs_in_from_the_zones_that_are_named_alone_and_its_sessions_go_on() {
    let net = net();
    let server = net.server("kanazawa.test").await;
    let (lgwan, internet) = (server.listen_in(Some("lgwan")).await, server.listen_in(Some("internet")).await);
    let nowhere = server.listen_in(None).await;
    let (hanako, taro) = (server.user("hanako").await, server.user("taro").await);
    take(&server, &[("hanako", "正規職員"), ("taro", "会計年度任用職員")], "2026-04-01").await;
    for (door, is_open) in [(lgwan, true), (internet, false), (nowhere, false)] {
        assert_eq!(sign_in(&hanako.through(door)).await.0, StatusCode::OK);
        let answer = sign_in(&taro.through(door)).await;
        assert_eq!(answer.0 == StatusCode::OK, is_open, "{answer:?}");
        assert!(is_open || is_refused(&answer), "{answer:?}");
    }
    // He has not lost what he has.
    let (status, _) = ask(&taro.through(internet), Method::GET, "client/v3/account/whoami", &json!({})).await;
    assert_eq!(status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_restart_nobody_may_more_than_before_it() {
    let net = net();
    let server = net.server("kanazawa.test").await;
    let (hanako, taro) = (server.user("hanako").await, server.user("taro").await);
    take(&server, &[("hanako", "特別職"), ("taro", "会計年度任用職員")], "2026-04-01").await;
    server.crash_and_restart().await;
    let (status, words) = create(&taro, &json!({})).await;
    assert!(is_refused(&(status, words)));
    let (status, words) = create(&hanako, &direct_with(&[&taro])).await;
    assert!(status == StatusCode::FORBIDDEN && words.contains("任用区分「特別職」"), "{status} {words}");
    let room = taro.create_room_with(&direct_with(&[&hanako])).await;
    hanako.join(&room, "kanazawa.test").await;
}
