//! Staff with whole servers: colleagues who share no room find each other, and profiles say what the organisation does.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use audit::Actor;
use http::{Method, StatusCode};
use intake::{Date, How};
use organisation::{Organisations, SetId, State, calendar::begin_of};
use personnel::{Answer, FileBytes, Import, Order};
use ruma::{OwnedRoomId, OwnedServerName, ServerName, UserId, server_name};
use serde_json::{Value, json};
use staff::{Consent, Followed, NoConsent, Staff};
use testkit::{Net, Preset, Server, User};

const HEADER: &str = "職員番号,氏名,フリガナ,所属,職名,発令日,アカウント\n";

const STAFF: &str = "\
1,髙橋 花子,ﾀｶﾊｼ ﾊﾅｺ,総務部　防災課,課長,2020-04-01,hanako\n\
2,山田 太郎,ヤマダ タロウ,総務部　防災課,主査,2020-04-01,taro\n\
3,山田 太郎,ヤマダ タロウ,総務部　人事課,主査,2020-04-01,taro2\n\
4,葛󠄀城 神,カツラギ ジン,総務部,部長,2020-04-01,jin\n\
5,鈴木 五郎,スズキ ゴロウ,総務部　防災課,主事,2020-04-01,nobody\n\
6,渡邊 六子,ワタナベ ムツコ,龍ヶ崎支所,主事,2020-04-01,mutsuko\n";

/// His line in it.
const OF_TARO: &str = "2,山田 太郎,ヤマダ タロウ,総務部　防災課,主査,2020-04-01";

const COUNCIL: &str = "1,西村 議子,ニシムラ ギコ,議会事務局,議員,2020-04-01,giko\n";

fn day(text: &str) -> Date {
    text.parse().unwrap()
}

/// A personnel file becomes a set that is approved and applied.
async fn take(server: &Server, rows: &str, on: &str) -> SetId {
    take_of(server, server.name(), "首長部局", rows, on).await
}

async fn take_of(server: &Server, authority: &ServerName, body: &str, rows: &str, on: &str) -> SetId {
    let id = plan(server, authority, body, rows, on).await;
    apply(server, authority, id).await;
    id
}

/// A personnel file becomes a set that is approved, and applied on its day.
async fn plan(server: &Server, authority: &ServerName, body: &str, rows: &str, on: &str) -> SetId {
    plan_file(server, authority, body, format!("{HEADER}{rows}"), on).await
}

/// A whole personnel file becomes a set that is approved, and applied on its day.
pub(super) async fn plan_file(
    server: &Server,
    authority: &ServerName,
    body: &str,
    file: String,
    on: &str,
) -> SetId {
    let desk = server.look(|house| house.personnel.clone());
    let by = Actor::operator("uid 1000");
    let import = Import {
        file: FileBytes::new(file.into_bytes()),
        how: How::default(),
        mapping: None,
        source: format!("人事 {body}"),
        body: Some(body.to_owned()),
        makes_new: true,
        day: Some(day(on)),
        at: None,
        same: Vec::new(),
        other: Vec::new(),
        is_part: false,
    };
    let order = Order::Import(Box::new(import));
    let Answer::Imported(imported) = desk.carry_out(authority, order, &by).await.unwrap() else {
        panic!("no import")
    };
    let (id, _) = imported.set.unwrap();
    decide(server, authority, id).await;
    id
}

/// Notes that a set is decided, as its case does.
pub(super) async fn decide(server: &Server, authority: &ServerName, set: SetId) {
    let (store, desk) = server.look(|house| (house.store.clone(), house.personnel.clone()));
    let all = Organisations::new(&store);
    let at = all.change_set(authority, set).await.unwrap().at;
    let batch = all.decided(authority, set, Vec::new(), at).await.unwrap();
    store.commit(batch).await.unwrap();
    desk.wake();
}

pub(super) async fn apply(server: &Server, authority: &ServerName, id: SetId) {
    let desk = server.look(|house| house.personnel.clone());
    match desk.carry_out(authority, Order::Apply { id }, &Actor::operator("uid 1000")).await.unwrap() {
        Answer::Set(_, set) => assert_eq!(set.state, State::Applied),
        other => panic!("{other:?}"),
    }
}

async fn undo(server: &Server, id: SetId) {
    let desk = server.look(|house| house.personnel.clone());
    let by = Actor::operator("uid 1001");
    desk.carry_out(server.name(), Order::Undo { id, line: None }, &by).await.unwrap();
}

/// Whom a search finds: localpart and name of each.
async fn find(user: &User, text: &str) -> Vec<String> {
    let answer = ask(user, text, 50).await;
    let found = answer["results"].as_array().unwrap().iter();
    let local = |id: &str| id[1..].split(':').next().unwrap().to_owned();
    let shown = |one: &Value| {
        let name = one["display_name"].as_str().unwrap_or_default();
        format!("{} {name}", local(one["user_id"].as_str().unwrap()))
    };
    found.map(shown).collect()
}

async fn ask(user: &User, text: &str, limit: u32) -> Value {
    let body = json!({ "search_term": text, "limit": limit });
    user.call(Method::POST, "/user_directory/search", Some(&body)).await
}

async fn follow(server: &Server) -> Followed {
    let staff = server.look(|house| house.staff.clone());
    staff.follow(server.name()).await.unwrap()
}

async fn profile(user: &User, of: &UserId) -> Value {
    user.call(Method::GET, &format!("/profile/{of}"), None).await
}

async fn set_field(user: &User, field: &str, value: &Value) -> (StatusCode, Value) {
    let path = format!("/_matrix/client/v3/profile/{}/{field}", user.id());
    let (status, text) = user.ask(Method::PUT, &path, Some(&json!({ field: value }))).await;
    (status, serde_json::from_str(&text).unwrap())
}

/// Lets it be noon of a day.
pub(super) fn at(net: &Net, on: &str) {
    let noon = begin_of(day(on)).unwrap().millis() + 43_200_000;
    net.set_forward(Duration::from_millis(noon.checked_sub(net.now().millis()).unwrap()));
}

async fn state_ids(user: &User, room: &OwnedRoomId) -> Vec<Value> {
    user.state(room).await.into_iter().map(|event| event["event_id"].clone()).collect()
}

/// The name that a room shows of a user.
async fn name_in(user: &User, room: &OwnedRoomId, of: &UserId) -> Option<String> {
    let state = user.state(room).await;
    let member =
        state.iter().find(|event| event["type"] == "m.room.member" && event["state_key"] == of.as_str());
    member.unwrap()["content"]["displayname"].as_str().map(str::to_owned)
}

/// One authority has consented that another one's staff find its people.
struct Consented(&'static str, &'static str);

impl Consent for Consented {
    fn open_to(&self, authority: &ServerName) -> Vec<OwnedServerName> {
        let Consented(owner, asker) = self;
        if authority == *asker { vec![(*owner).try_into().unwrap()] } else { Vec::new() }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_has_consented_is_found_by_staff_of_the_other_authority_and_does_not_find_them() {
    let net = Net::new();
    let server = net.process(&["kanazawa.test", "nonoichi.test"]).await;
    let kanazawa = server.user_of("kanazawa.test", "hanako").await;
    let nonoichi = server.user_of("nonoichi.test", "hanako").await;
    for authority in [kanazawa.id().server_name(), nonoichi.id().server_name()] {
        let set = plan_file(&server, authority, "首長部局", format!("{HEADER}{STAFF}"), "2020-04-01").await;
        apply(&server, authority, set).await;
    }
    let (store, accounts) = server.look(|house| (house.store.clone(), house.accounts.clone()));
    let metrics = base::Metrics::new();
    let tasks = base::Tasks::new(&metrics);
    let names = [kanazawa.id(), nonoichi.id()].map(|user| (user.server_name().to_owned(), None));
    let over = |consent: Arc<dyn Consent>| {
        Staff::new(staff::Parts {
            store: store.clone(),
            accounts: accounts.clone(),
            policy: Arc::new(room::AllowAll),
            authorities: names.clone().into(),
            consent,
            clock: base::Clock::manual(1_775_000_000_000).0,
            tasks: &tasks,
            caches: metrics.caches(),
        })
    };
    let seen = async |staff: &Staff, by: &User, most| {
        let found = staff.find(by.id(), "防災課", most).await.unwrap();
        let people: Vec<_> = found.people.iter().map(|one| one.user_id.to_string()).collect();
        (people, found.limited)
    };
    let ours = vec!["@hanako:nonoichi.test".to_owned()];
    let both = vec!["@hanako:nonoichi.test".to_owned(), "@hanako:kanazawa.test".to_owned()];
    let closed = over(Arc::new(NoConsent));
    assert_eq!(seen(&closed, &nonoichi, 10).await, (ours.clone(), false));
    let open = over(Arc::new(Consented("kanazawa.test", "nonoichi.test")));
    assert_eq!(seen(&open, &nonoichi, 10).await, (both, false));
    assert_eq!(seen(&open, &nonoichi, 1).await, (ours, true));
    assert_eq!(seen(&open, &kanazawa, 10).await, (vec!["@hanako:kanazawa.test".to_owned()], false));
    // Of one that is not here nothing is found.
    let elsewhere = over(Arc::new(Consented("wajima.test", "nonoichi.test")));
    assert_eq!(seen(&elsewhere, &nonoichi, 10).await.0.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn colleagues_who_share_no_room_are_found_by_name_reading_unit_and_title() {
    let net = Net::new();
    let server = net.server("kanazawa.test").await;
    let hanako = server.user("hanako").await;
    for name in ["taro", "taro2", "jin", "mutsuko"] {
        server.user(name).await;
    }
    let stranger = server.user("stranger").await;
    assert_eq!(find(&hanako, "山田").await, Vec::<String>::new());
    take(&server, STAFF, "2020-04-01").await;

    for text in ["高橋", "髙橋", "たかはし", "ﾀｶﾊｼ ﾊﾅｺ", "防災課 課長", "@hanako"]
    {
        assert_eq!(find(&hanako, text).await, ["hanako 髙橋 花子(防災課)"], "{text}");
    }
    for text in ["葛城", "葛\u{e0101}城", "部長"] {
        assert_eq!(find(&hanako, text).await, ["jin 葛\u{e0100}城 神(総務部)"], "{text}");
    }
    // Two of one name are told apart, and each is the one who is chosen.
    assert_eq!(find(&hanako, "やまだ").await, ["taro 山田 太郎(防災課)", "taro2 山田 太郎(人事課)"]);
    // Whatever variant a name is written with, and places however they are spelled.
    for text in ["渡辺", "渡邉", "竜ケ崎支所", "わたなべ むつこ"] {
        assert_eq!(find(&hanako, text).await, ["mutsuko 渡邊 六子(龍ヶ崎支所)"], "{text}");
    }
    for text in ["佐藤", "鈴木", "高橋 人事課", "", "\u{200b}"] {
        assert_eq!(find(&hanako, text).await, Vec::<String>::new(), "{text}");
    }
    let wanted = ["hanako 髙橋 花子(防災課)", "taro 山田 太郎(防災課)"];
    assert_eq!(find(&hanako, "総務部防災課").await, wanted);
    let first = ask(&hanako, "総務部", 1).await;
    assert_eq!((first["results"].as_array().unwrap().len(), &first["limited"]), (1, &json!(true)));

    // Who has no place in the organisation finds those whom he shares a room with, and nobody of it.
    assert_eq!(find(&stranger, "山田").await, Vec::<String>::new());
    let room = hanako.create_room(Preset::PrivateChat).await;
    hanako.invite(&room, stranger.id()).await;
    stranger.join(&room, "kanazawa.test").await;
    assert_eq!(find(&stranger, "hanako").await, ["hanako hanako"]);
    assert_eq!(find(&hanako, "stranger").await, ["stranger stranger"]);
    // Found by both ways, shown once.
    assert_eq!(find(&hanako, "hanako").await, ["hanako 髙橋 花子(防災課)"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_locked_or_closed_is_not_found_and_who_is_back_is() {
    let net = Net::new();
    let server = net.server("kanazawa.test").await;
    let (hanako, taro) = (server.user("hanako").await, server.user("taro").await);
    take(&server, STAFF, "2020-04-01").await;
    assert_eq!(find(&hanako, "山田").await, ["taro 山田 太郎(防災課)"]);
    let (accounts, by) = (server.look(|house| house.accounts.clone()), Actor::operator("uid 1000"));
    accounts.set_locked(taro.id(), true, &by).await.unwrap();
    assert_eq!(find(&hanako, "山田").await, Vec::<String>::new());
    accounts.set_locked(taro.id(), false, &by).await.unwrap();
    assert_eq!(find(&hanako, "山田").await, ["taro 山田 太郎(防災課)"]);
    // Somebody who had no account gets one.
    server.user("taro2").await;
    assert_eq!(find(&hanako, "山田").await.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_of_another_body_or_authority_is_found_or_counted() {
    let net = Net::new();
    let server = net.process(&["kanazawa.test", "wajima.test"]).await;
    let (hanako, giko) = (server.user("hanako").await, server.user("giko").await);
    server.user("taro").await;
    let elsewhere = server.user_of("wajima.test", "taro").await;
    server.user_of("wajima.test", "hanako").await;
    take(&server, STAFF, "2020-04-01").await;
    take_of(&server, server_name!("kanazawa.test"), "議会", COUNCIL, "2020-04-01").await;
    take_of(&server, server_name!("wajima.test"), "首長部局", STAFF, "2020-04-01").await;

    for (user, text) in [(&giko, "山田"), (&giko, "総務部"), (&hanako, "西村"), (&hanako, "議員")] {
        let answer = ask(user, text, 0).await;
        assert_eq!(answer, json!({ "results": [], "limited": false }), "{text}");
    }
    assert_eq!(find(&giko, "にしむら").await, ["giko 西村 議子(議会事務局)"]);
    for user in [&hanako, &elsewhere] {
        let answer = ask(user, "山田", 50).await;
        let ids: Vec<_> =
            answer["results"].as_array().unwrap().iter().map(|one| one["user_id"].clone()).collect();
        assert_eq!(ids, [json!(format!("@taro:{}", user.id().server_name()))]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_search_follows_change_sets_days_and_what_another_process_does() {
    let net = Net::new();
    let servers = net.replicas("kanazawa.test", 2).await;
    let (one, other) = (&servers[0], &servers[1]);
    let (hanako, _taro) = (one.user("hanako").await, one.user("taro").await);
    take(one, STAFF, "2020-04-01").await;
    let there = hanako.at(other);
    assert_eq!(find(&hanako, "山田").await, ["taro 山田 太郎(防災課)"]);
    assert_eq!(find(&there, "山田").await, ["taro 山田 太郎(防災課)"]);

    // From tomorrow on he is in 人事課.
    let moved = STAFF.replace(OF_TARO, "2,山田 太郎,ヤマダ タロウ,総務部　人事課,主査,2026-04-02");
    let set = plan(one, one.name(), "首長部局", &moved, "2026-04-02").await;
    assert_eq!(find(&hanako, "山田").await, ["taro 山田 太郎(防災課)"]);
    at(&net, "2026-04-02");
    apply(one, one.name(), set).await;
    assert_eq!(find(&hanako, "山田").await, ["taro 山田 太郎(人事課)"]);
    assert_eq!(find(&there, "山田").await, ["taro 山田 太郎(人事課)"]);
    undo(other, set).await;
    assert_eq!(find(&hanako, "山田").await, ["taro 山田 太郎(防災課)"]);
    assert_eq!(find(&there, "山田").await, ["taro 山田 太郎(防災課)"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_and_fields_follow_the_organisation_into_profiles_and_rooms() {
    let net = Net::new();
    net.name_staff(Some("{name}({unit})"));
    let (server, other) = (net.server("kanazawa.test").await, net.server("wajima.test").await);
    let (hanako, taro, mutsuko) =
        (server.user("hanako").await, server.user("taro").await, server.user("mutsuko").await);
    let ken = other.user("ken").await;
    let room = hanako.create_room(Preset::PublicChat).await;
    taro.join(&room, "kanazawa.test").await;
    ken.join(&room, "kanazawa.test").await;
    take(&server, STAFF, "2020-04-01").await;
    follow(&server).await;
    assert_eq!(
        profile(&hanako, taro.id()).await,
        json!({
            "displayname": "山田 太郎(防災課)",
            "jp.yakuba.unit": "総務部 防災課",
            "jp.yakuba.post": "主査",
            "jp.yakuba.reading": "ヤマダ タロウ",
        })
    );
    assert_eq!(profile(&hanako, mutsuko.id()).await["displayname"], "渡邊 六子(龍ヶ崎支所)");
    assert_eq!(name_in(&hanako, &room, taro.id()).await.unwrap(), "山田 太郎(防災課)");
    // Who follows twice does nothing twice.
    assert_eq!(follow(&server).await, Followed::default());
    let events = state_ids(&hanako, &room).await;

    // On the day of a transfer the name does, here and at the other server.
    let moved = STAFF.replace(OF_TARO, "2,山田 太郎,ヤマダ タロウ,総務部　人事課,係長,2026-04-02");
    let set = plan(&server, server.name(), "首長部局", &moved, "2026-04-02").await;
    follow(&server).await;
    assert_eq!(state_ids(&hanako, &room).await, events);
    at(&net, "2026-04-02");
    apply(&server, server.name(), set).await;
    server.crash_and_restart().await;
    follow(&server).await;
    assert_eq!(profile(&hanako, taro.id()).await["jp.yakuba.post"], "係長");
    assert_eq!(name_in(&hanako, &room, taro.id()).await.unwrap(), "山田 太郎(人事課)");
    let wait = async {
        while name_in(&ken, &room, taro.id()).await.as_deref() != Some("山田 太郎(人事課)") {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), wait).await.unwrap();
    undo(&server, set).await;
    follow(&server).await;
    assert_eq!(name_in(&hanako, &room, taro.id()).await.unwrap(), "山田 太郎(防災課)");
    assert_eq!(follow(&server).await, Followed::default());

    // Who has no post any more has his name, and it is his own.
    let rest: String =
        STAFF.lines().filter(|line| !line.starts_with("2,")).map(|line| format!("{line}\n")).collect();
    take(&server, &rest, "2026-04-02").await;
    follow(&server).await;
    assert_eq!(profile(&hanako, taro.id()).await, json!({ "displayname": "山田 太郎" }));
    assert_eq!(set_field(&taro, "displayname", &json!("太郎")).await.0, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_changes_what_the_organisation_decides_by_any_way_while_it_does() {
    let net = Net::new();
    net.name_staff(Some("{name}({unit})"));
    let server = net.server("kanazawa.test").await;
    let (hanako, stranger) = (server.user("hanako").await, server.user("stranger").await);
    take(&server, STAFF, "2020-04-01").await;
    follow(&server).await;
    let room = hanako.create_room(Preset::PublicChat).await;
    let given = profile(&hanako, hanako.id()).await;
    for (field, value) in [
        ("displayname", json!("市長")),
        ("displayname", json!("")),
        ("displayname", Value::Null),
        ("jp.yakuba.post", json!("市長")),
        ("jp.yakuba.rank", json!("特別職")),
    ] {
        let (status, answer) = set_field(&hanako, field, &value).await;
        assert_eq!(
            (status, &answer["errcode"]),
            (StatusCode::FORBIDDEN, &json!("M_FORBIDDEN")),
            "{field} {value}"
        );
        let text = answer["error"].as_str().unwrap();
        assert!(text.contains("人事") && text.contains("personnel"), "{text}");
    }
    let path = format!("/_matrix/client/v3/profile/{}/jp.yakuba.unit", hanako.id());
    assert_eq!(hanako.ask(Method::DELETE, &path, None).await.0, StatusCode::FORBIDDEN);
    // Not in one room either, now or later; leaving it is hers.
    let member = format!("/_matrix/client/v3/rooms/{room}/state/m.room.member/{}", hanako.id());
    for content in [
        json!({ "membership": "join", "displayname": "市長" }),
        json!({ "membership": "join" }),
        json!({ "membership": "join", "displayname": 5 }),
    ] {
        assert_eq!(
            hanako.ask(Method::PUT, &member, Some(&content)).await.0,
            StatusCode::FORBIDDEN,
            "{content}"
        );
    }
    let later = format!("{member}?org.matrix.msc4140.delay=1000");
    let content = json!({ "membership": "join", "displayname": "髙橋 花子(防災課)" });
    assert_eq!(hanako.ask(Method::PUT, &later, Some(&content)).await.0, StatusCode::FORBIDDEN);
    assert_eq!(hanako.ask(Method::PUT, &member, Some(&content)).await.0, StatusCode::OK);
    // What is so already, a picture and fields of her own are hers to set.
    assert_eq!(set_field(&hanako, "displayname", &given["displayname"]).await.0, StatusCode::OK);
    assert_eq!(set_field(&hanako, "avatar_url", &json!("mxc://kanazawa.test/a")).await.0, StatusCode::OK);
    assert_eq!(set_field(&hanako, "m.tz", &json!("Asia/Tokyo")).await.0, StatusCode::OK);
    // Nobody gives himself a post, whether or not he has a place in the organisation.
    assert_eq!(set_field(&stranger, "jp.yakuba.post", &json!("市長")).await.0, StatusCode::FORBIDDEN);
    assert_eq!(set_field(&stranger, "displayname", &json!("出入りの業者")).await.0, StatusCode::OK);
    // What an identity system or an administrator would call her is not what she is called.
    let (accounts, by) = (server.look(|house| house.accounts.clone()), Actor::operator("uid 1000"));
    let change = account::AccountChange {
        display_name: Some(Some("Takahashi".to_owned())),
        ..account::AccountChange::default()
    };
    let refused = accounts.change_account(hanako.id(), &change, &by).await.unwrap_err();
    assert!(matches!(refused, account::Error::Forbidden(_)), "{refused}");
    let mut batch = store::Batch::new();
    let follows = account::Following { display_name: Some("Takahashi"), ..account::Following::default() };
    let put = accounts.put_following(&mut batch, hanako.id(), &follows, &by).await.unwrap();
    accounts.commit_provisioned(batch, put).await.unwrap();
    assert_eq!(profile(&stranger, hanako.id()).await["displayname"], given["displayname"]);

    // Where it decides no more, the name stays without the unit and is hers.
    server.stop().await;
    net.name_staff(None);
    server.start().await;
    follow(&server).await;
    let left = profile(&stranger, hanako.id()).await;
    assert_eq!((&left["displayname"], left.get("jp.yakuba.unit")), (&json!("髙橋 花子"), None));
    assert_eq!(name_in(&hanako, &room, hanako.id()).await.unwrap(), "髙橋 花子");
    assert_eq!(set_field(&hanako, "displayname", &json!("花子")).await.0, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_midnight_a_transfer_is_followed_by_itself() {
    let net = Net::new();
    net.name_staff(Some("{name}({unit})"));
    let server = net.server("kanazawa.test").await;
    let (hanako, taro) = (server.user("hanako").await, server.user("taro").await);
    take(&server, STAFF, "2020-04-01").await;
    let shows = async |name: &str| {
        let wait = async {
            while profile(&hanako, taro.id()).await["displayname"] != name {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), wait).await.unwrap();
    };
    shows("山田 太郎(防災課)").await;
    let moved = STAFF.replace(OF_TARO, "2,山田 太郎,ヤマダ タロウ,総務部　人事課,主査,2026-04-02");
    plan(&server, server.name(), "首長部局", &moved, "2026-04-02").await;
    net.advance(Duration::from_secs(24 * 60 * 60));
    shows("山田 太郎(人事課)").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_floods_the_search_keeps_nobody_else_from_it() {
    let net = Net::new();
    let server = net.server("kanazawa.test").await;
    let (hanako, taro) = (server.user("hanako").await, server.user("taro").await);
    take(&server, STAFF, "2020-04-01").await;
    let long = "や".repeat(5_000);
    let flood = (0..600).map(|n| {
        let text = ["や", "や ま た は し", "総務部 防災課 課長 主査 主事 部長 係長 山田 髙橋", &long][n % 4];
        let body = json!({ "search_term": text, "limit": 50 });
        let hanako = hanako.clone();
        async move {
            let path = "/_matrix/client/v3/user_directory/search";
            hanako.ask(Method::POST, path, Some(&body)).await.0
        }
    });
    let flood = futures_util::future::join_all(flood);
    let others = async {
        for _ in 0..20 {
            assert_eq!(find(&taro, "高橋").await, ["hanako 髙橋 花子(防災課)"]);
        }
    };
    let (answers, ()) = tokio::join!(flood, others);
    for status in answers {
        assert!([StatusCode::OK, StatusCode::TOO_MANY_REQUESTS].contains(&status), "{status}");
    }
    assert_eq!(find(&hanako, "高橋").await, ["hanako 髙橋 花子(防災課)"]);
}

/// What searches and names cost among twelve thousand: `cargo test -p testkit --test servers staff -- --ignored --nocapture`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures"]
#[expect(clippy::print_stderr, reason = "what was measured is for who reads it")]
async fn searches_and_names_among_twelve_thousand() {
    let net = Net::new();
    net.name_staff(Some("{name}({unit})"));
    let server = net.server("kanazawa.test").await;
    let (hanako, stranger) = (server.user("hanako").await, server.user("stranger").await);
    let (accounts, by) = (server.look(|house| house.accounts.clone()), Actor::operator("uid 1000"));
    let mut rows = STAFF.lines().next().unwrap().to_owned() + "\n";
    for n in 2..12_000_usize {
        let (section, title) = (n % 300, ["課長", "係長", "主査", "主事"][n % 4]);
        let name = ["佐藤", "鈴木", "高橋", "田中", "伊藤"][n % 5];
        let reading = ["サトウ", "スズキ", "タカハシ", "タナカ", "イトウ"][n % 5];
        let part = section % 20;
        rows += &format!(
            "{n},{name} 花子{n},{reading} ハナコ,第{part}部　第{section}課,{title},2020-04-01,u{n}\n"
        );
        let localpart = format!("u{n}");
        let new = account::NewProvisioned {
            localpart: &localpart,
            display_name: name,
            email: None,
            identity: None,
            locked: false,
        };
        let mut batch = store::Batch::new();
        let put = accounts.put_provisioned(&mut batch, server.name(), &new, &by).await.unwrap();
        accounts.commit_provisioned(batch, put).await.unwrap();
    }
    take(&server, &rows, "2020-04-01").await;
    let began = Instant::now();
    let followed = follow(&server).await;
    eprintln!("{followed:?} (and what the server had done by itself): {:?}", began.elapsed());
    let began = Instant::now();
    follow(&server).await;
    eprintln!("followed again, with nothing to do: {:?}", began.elapsed());
    let terms =
        ["高橋", "は", "第3課 主査 たなか", "どこにもない", "さ と う は な こ 第 課", &"あ".repeat(60_000)];
    for (who, user) in [("staff", &hanako), ("a stranger, by rooms alone", &stranger)] {
        for text in terms {
            let began = Instant::now();
            for _ in 0..20 {
                ask(user, text, 50).await;
            }
            eprintln!("{who}, {text:.12}: {:?}", began.elapsed() / 20);
        }
    }
    let held = server.look(|house| house.metrics.caches().held());
    eprintln!("{:?}", held.iter().find(|(name, _)| *name == "staff_directories"));
}
