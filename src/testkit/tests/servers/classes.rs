//! Classes of employment with whole servers: what people of one may not is refused, as long as the organisation has them in it.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::{collections::BTreeMap, net::SocketAddr, num::NonZeroUsize, time::Duration};

use http::{Method, StatusCode};
use intake::Class;
use organisation::calendar::begin_of;
use serde_json::{Value, json};
use server::config::{ClassConfig, ClassFactor, MakeRooms, ZoneConfig};
use testkit::{Net, Server, User, Zones};

use crate::staff::{apply, at, plan_file};

const HEADER: &str = "職員番号,氏名,所属,職名,発令日,アカウント,任用区分\n";

/// A federation with two zones in which a class may little.
fn net() -> Net {
    net_where(Some(vec!["lgwan".to_owned()]))
}

/// The same where they sign in from these zones, or from everywhere.
fn net_where(sign_in_from: Option<Vec<String>>) -> Net {
    let zones = ["lgwan", "internet"].map(|name| (name.to_owned(), ZoneConfig::default()));
    let net = Net::with_zones(Zones { of: BTreeMap::from(zones), ..Zones::default() });
    let little = ClassConfig {
        sign_in_from,
        make_rooms: MakeRooms::Direct,
        publish_rooms: false,
        invite_outside: false,
        upload: false,
        ..ClassConfig::default()
    };
    net.say_of_class(Class::FiscalYear, little);
    net.say_of_class(Class::Special, ClassConfig { make_rooms: MakeRooms::None, ..ClassConfig::default() });
    let with_factor = ClassConfig {
        factor: ClassFactor::Required,
        no_factor_from: vec!["lgwan".to_owned()],
        ..ClassConfig::default()
    };
    net.say_of_class(Class::FixedTerm, with_factor);
    let one_device = ClassConfig { devices: NonZeroUsize::new(1), ..ClassConfig::default() };
    net.say_of_class(Class::AssemblyMember, one_device);
    net
}

/// A file of whose people each is of a class is applied on a day.
pub(super) async fn take(server: &Server, people: &[(&str, &str)], on: &str) {
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

async fn whoami(user: &User, door: SocketAddr) -> (StatusCode, String) {
    let headers = [("x-forwarded-for", "192.0.2.7")];
    let path = "/_matrix/client/v3/account/whoami";
    let answer = user.through(door).ask_bytes(Method::GET, path, &headers, Default::default()).await;
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
    let net = net_where(None);
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
async fn a_class_signs_in_and_is_served_from_the_zones_that_are_named_alone() {
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
    // He has not lost what he has, where he may use it.
    for (door, is_open) in [(lgwan, true), (internet, false), (nowhere, false)] {
        let answer = whoami(&taro, door).await;
        assert!(if is_open { answer.0 == StatusCode::OK } else { is_refused(&answer) }, "{answer:?}");
        assert_eq!(whoami(&hanako, door).await.0, StatusCode::OK);
    }
    // A session ends from wherever it is ended.
    let (status, _) = ask(&taro.through(internet), Method::POST, "client/v3/logout", &json!({})).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(whoami(&taro, lgwan).await.0, StatusCode::UNAUTHORIZED);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_class_needs_a_factor_but_from_the_zones_that_are_named() {
    let net = net();
    let server = net.server("kanazawa.test").await;
    let (lgwan, internet) = (server.listen_in(Some("lgwan")).await, server.listen_in(Some("internet")).await);
    let (hanako, taro) = (server.user("hanako").await, server.user("taro").await);
    take(&server, &[("hanako", "正規職員"), ("taro", "任期付職員")], "2026-04-01").await;
    assert_eq!(sign_in(&taro.through(lgwan)).await.0, StatusCode::OK);
    let (status, words) = sign_in(&taro.through(internet)).await;
    assert!(status == StatusCode::FORBIDDEN && words.contains("二要素認証"), "{status} {words}");
    assert_eq!(whoami(&taro, lgwan).await.0, StatusCode::OK);
    let (status, words) = whoami(&taro, internet).await;
    assert!(status == StatusCode::FORBIDDEN && words.contains("二要素認証"), "{status} {words}");
    assert_eq!(sign_in(&hanako.through(internet)).await.0, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_class_is_signed_in_on_so_many_devices() {
    let net = net();
    let server = net.server("kanazawa.test").await;
    let taro = server.user("taro").await;
    let tablet = taro.another_device().await;
    take(&server, &[("taro", "議員")], "2026-04-01").await;
    // Those that he has go on, also where they are more.
    for device in [&taro, &tablet] {
        device.call(Method::GET, "/account/whoami", None).await;
    }
    let (status, words) = sign_in(&taro).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert!(words.contains("任用区分「議員」の方は1 台までの端末で"), "{words}");
    assert!(words.contains("sign in on at most 1 devices"), "{words}");
    for device in [&tablet, &taro] {
        assert_ne!(sign_in(&taro).await.0, StatusCode::OK);
        device.call(Method::POST, "/logout", Some(&json!({}))).await;
    }
    assert_eq!(sign_in(&taro).await.0, StatusCode::OK);
    assert_ne!(sign_in(&taro).await.0, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_follow_a_change_of_class_at_midnight_by_themselves() {
    let net = net();
    let server = net.server("kanazawa.test").await;
    let internet = server.listen_in(Some("internet")).await;
    let (hanako, taro) = (server.user("hanako").await, server.user("taro").await);
    let classes = |of_hanako: &str, of_taro: &str, on: &str, until: &str| {
        let row = |number: u8, account: &str, class: &str, until: &str| {
            format!("{number},氏名 {account},総務部　防災課,主事,{on},{until},{account},{class}\n")
        };
        let header = "職員番号,氏名,所属,職名,発令日,任期満了日,アカウント,任用区分\n";
        format!("{header}{}{}", row(1, "hanako", of_hanako, ""), row(2, "taro", of_taro, until))
    };
    let now = classes("正規職員", "会計年度任用職員", "2026-04-01", "2027-03-31");
    let id = plan_file(&server, server.name(), "首長部局", now, "2026-04-01").await;
    apply(&server, server.name(), id).await;
    follow(&server).await;
    let then = classes("会計年度任用職員", "正規職員", "2027-04-01", "");
    plan_file(&server, server.name(), "首長部局", then, "2027-04-01").await;

    // The last minute of the contract.
    let midnight = begin_of("2027-04-01".parse().unwrap()).unwrap().millis();
    let forward =
        |to: u64| net.set_forward(Duration::from_millis(to.checked_sub(net.now().millis()).unwrap()));
    forward(midnight - 30_000);
    let open = async || [whoami(&hanako, internet).await.0, whoami(&taro, internet).await.0];
    assert_eq!(open().await, [StatusCode::OK, StatusCode::FORBIDDEN]);
    forward(midnight + 60_000);
    // Nobody does anything: the set is applied at its hour, and the classes follow.
    let wait = async {
        while open().await != [StatusCode::FORBIDDEN, StatusCode::OK] {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), wait).await.expect("it follows");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whose_contract_has_ended_may_no_more_than_before() {
    let net = net();
    let server = net.server("kanazawa.test").await;
    let internet = server.listen_in(Some("internet")).await;
    let taro = server.user("taro").await;
    let file = "職員番号,氏名,所属,職名,発令日,任期満了日,アカウント,任用区分\n\
                1,氏名,総務部,主事,2026-04-01,2027-03-31,taro,会計年度任用職員\n";
    let id = plan_file(&server, server.name(), "首長部局", file.to_owned(), "2026-04-01").await;
    apply(&server, server.name(), id).await;
    at(&net, "2027-04-01");
    follow(&server).await;
    assert!(is_refused(&whoami(&taro, internet).await));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_restart_nobody_may_more_than_before_it() {
    let net = net_where(None);
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_are_told_what_they_may_and_why_where_they_are() {
    let net = net();
    let server = net.server("kanazawa.test").await;
    let lgwan = server.listen_in(Some("lgwan")).await;
    let taro = server.user("taro").await;
    take(&server, &[("taro", "会計年度任用職員")], "2026-04-01").await;
    let at_door = taro.through(lgwan);
    let ask = async |method: Method, path: &str, cookie: &str, body: String| {
        let kind = "application/x-www-form-urlencoded";
        let headers = [
            ("cookie", cookie),
            ("content-type", kind),
            ("x-forwarded-for", "192.0.2.7"),
            ("accept-language", "ja"),
        ];
        at_door.ask_bytes(method, path, &headers, body.into()).await
    };
    let cookie = |headers: &http::HeaderMap| {
        headers["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned()
    };
    let page = ask(Method::GET, "/_yakuba/sign-in", "", String::new()).await;
    let (before, text) = (cookie(page.headers()), String::from_utf8(page.body().to_vec()).unwrap());
    let proof = text.split("name=\"proof\" value=\"").nth(1).unwrap().split('"').next().unwrap();
    let fields = [("name", "taro"), ("password", testkit::PASSWORD), ("back", "/"), ("proof", proof)];
    let form = ruma::exports::serde_html_form::to_string(fields).unwrap();
    let signed_in = ask(Method::POST, "/_yakuba/sign-in", &before, form).await;
    let cookie = cookie(signed_in.headers());
    let page = ask(Method::GET, "/_yakuba/counter/rights", &cookie, String::new()).await;
    let text = String::from_utf8(page.body().to_vec()).unwrap();
    for said in
        ["@taro:kanazawa.test", "会計年度任用", "lgwan", "1対1のチャットだけ", "庁外の方の招待", "できません"]
    {
        assert!(text.contains(said), "{said}: {text}");
    }
    // The same as the command says it, of another zone.
    let classes = server.look(|house| house.classes.clone());
    let asked = classes::Asked { user: taro.id(), zone: Some("internet"), needs_factor: false };
    let lines = classes.explain(&asked).lines;
    assert!(lines[0].is_bounded && lines[0].may.ja.starts_with("できません"), "{lines:?}");
    assert!(lines.iter().all(|line| line.is_bounded == line.why.ja.contains("会計年度任用")), "{lines:?}");
}
