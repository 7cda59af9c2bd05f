//! Addresses of posts with whole servers: whoever invites one reaches who has the post today, and tomorrow who has it then.
#![expect(clippy::unwrap_used, reason = "tests")]

use audit::Actor;
use http::{Method, StatusCode};
use organisation::SetId;
use personnel::{Act, Answer, Edit, Order};
use ruma::{OwnedUserId, RoomId, UserId};
use serde_json::json;
use testkit::{Net, Preset, Server, User};

use crate::staff::{apply, decide, plan_file};

const HEADER: &str = "職員番号,氏名,フリガナ,所属,職名,発令日,アカウント\n";

const BEFORE: &str = "\
1,山田 花子,ヤマダ ハナコ,総務部　防災課,課長,2020-04-01,hanako\n\
2,田中 太郎,タナカ タロウ,総務部　防災課,主査,2020-04-01,taro\n\
3,佐藤 次郎,サトウ ジロウ,総務部　人事課,課長,2020-04-01,jiro\n";

/// 田中 太郎 heads 防災課, 山田 花子 is in 人事課.
const AFTER: &str = "\
1,山田 花子,ヤマダ ハナコ,総務部　人事課,主幹,2026-04-01,hanako\n\
2,田中 太郎,タナカ タロウ,総務部　防災課,課長,2026-04-01,taro\n\
3,佐藤 次郎,サトウ ジロウ,総務部　人事課,課長,2020-04-01,jiro\n";

async fn take(server: &Server, rows: &str, on: &str) {
    let set = plan_file(server, server.name(), "首長部局", format!("{HEADER}{rows}"), on).await;
    apply(server, server.name(), set).await;
}

/// A set by which something is done by hand.
async fn propose(server: &Server, act: Act) -> SetId {
    let desk = server.look(|house| house.personnel.clone());
    let edit = Edit { acts: vec![act], day: Some("2026-04-01".parse().unwrap()), at: None, within: None };
    let order = Order::Edit(Box::new(edit));
    let Ok(Answer::Set(set, _)) = desk.carry_out(server.name(), order, &Actor::operator("uid 1000")).await
    else {
        panic!("no set")
    };
    set
}

/// Does something by hand, at once.
async fn act(server: &Server, act: Act) -> SetId {
    let set = propose(server, act).await;
    decide(server, server.name(), set).await;
    apply(server, server.name(), set).await;
    set
}

fn address(name: &str, unit: Option<&str>, title: Option<&str>) -> Act {
    Act::Address { name: name.to_owned(), unit: unit.map(str::to_owned), title: title.map(str::to_owned) }
}

/// What the addresses do in some looks.
async fn look(server: &Server) {
    let posts = server.look(|house| house.posts.clone());
    for _ in 0..3 {
        posts.follow(server.name()).await.unwrap();
    }
}

fn bousai(server: &Server) -> OwnedUserId {
    UserId::parse(format!("@bousai:{}", server.name())).unwrap()
}

/// How somebody is in a room, as one of its members sees it.
async fn membership(seen_by: &User, room: &RoomId, of: &UserId) -> Option<String> {
    let state = seen_by.state(room).await;
    let member =
        state.iter().find(|event| event["type"] == "m.room.member" && event["state_key"] == of.as_str());
    Some(member?["content"]["membership"].as_str()?.to_owned())
}

/// Waits until somebody is so in a room, as a member of it sees it: what another server does comes a moment later.
async fn until(seen_by: &User, room: &RoomId, of: &UserId, wanted: &str) {
    let seen = async {
        while membership(seen_by, room, of).await.as_deref() != Some(wanted) {
            tokio::task::yield_now().await;
        }
    };
    let seen = tokio::time::timeout(std::time::Duration::from_secs(60), seen).await;
    assert!(seen.is_ok(), "{of} never was {wanted}: {:?}", membership(seen_by, room, of).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_invited_by_another_servers_user_is_whoever_has_the_post_on_that_day() {
    let net = Net::new();
    let server = net.server("kanazawa.test").await;
    let elsewhere = net.server("nonoichi.test").await;
    let (hanako, taro) = (server.user("hanako").await, server.user("taro").await);
    take(&server, BEFORE, "2020-04-01").await;
    act(&server, address("bousai", Some("防災課"), Some("課長"))).await;
    look(&server).await;
    let giko = elsewhere.user("giko").await;
    let bousai = bousai(&server);
    let (_, profile) = giko.ask(Method::GET, &format!("/_matrix/client/v3/profile/{bousai}"), None).await;
    assert!(profile.contains("防災課 課長"), "{profile}");

    let made = json!({ "preset": "trusted_private_chat", "is_direct": true, "invite": [bousai] });
    let room = giko.create_room_with(&made).await;
    look(&server).await;
    until(&giko, &room, &bousai, "join").await;
    until(&giko, &room, hanako.id(), "invite").await;
    assert_eq!(membership(&giko, &room, taro.id()).await, None);
    hanako.join(&room, "nonoichi.test").await;
    hanako.send(&room, "防災課長の山田です").await;

    // On the day of the transfer who comes is invited, and who has left is put out.
    take(&server, AFTER, "2026-04-01").await;
    look(&server).await;
    until(&giko, &room, taro.id(), "invite").await;
    until(&giko, &room, hanako.id(), "leave").await;
    taro.join(&room, "nonoichi.test").await;
    // Whoever goes by himself is not fetched back.
    taro.leave(&room).await;
    server.look(|house| house.posts.clone()).forget(server.name()).await;
    look(&server).await;
    until(&giko, &room, taro.id(), "leave").await;

    let store = server.look(|house| house.store.clone());
    let filter = audit::Filter { what: Some("address.reach".to_owned()), ..audit::Filter::default() };
    let page = audit::list(&store, server.name(), &filter, store::Position::START).await.unwrap();
    let rows: Vec<_> = page.found.into_iter().filter_map(|row| row.record).collect();
    let facts: Vec<_> = rows.iter().map(|row| row.after.clone()).collect();
    assert_eq!(rows.len(), 2, "{facts:?}");
    assert!(rows.iter().all(|row| row.whom == bousai.as_str()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_somebody_is_called_becomes_no_address_and_a_planned_address_becomes_nobodys_name() {
    let net = Net::new();
    let server = net.server("kanazawa.test").await;
    server.user("bousai").await;
    take(&server, BEFORE, "2020-04-01").await;
    let desk = server.look(|house| house.personnel.clone());
    let on = |name: &str, day: &str| Edit {
        acts: vec![address(name, Some("防災課"), None)],
        day: Some(day.parse().unwrap()),
        at: Some(base::Timestamp(1)),
        within: None,
    };
    let by = Actor::operator("uid 1000");
    for name in ["bousai", "@bousai:kanazawa.test"] {
        for order in
            [Order::Try(Box::new(on(name, "2026-04-01"))), Order::Edit(Box::new(on(name, "2026-04-01")))]
        {
            let refused = desk.carry_out(server.name(), order, &by).await.unwrap_err();
            assert!(refused.words().unwrap().ja.contains("「@bousai」は既に使われている"), "{refused}");
        }
    }
    // Its day is years ahead.
    let order = Order::Edit(Box::new(on("saigai", "2040-04-01")));
    let Ok(Answer::Set(set, _)) = desk.carry_out(server.name(), order, &by).await else { panic!("no set") };
    decide(&server, server.name(), set).await;
    apply(&server, server.name(), set).await;
    look(&server).await;
    let new =
        json!({ "username": "saigai", "password": testkit::PASSWORD, "auth": { "type": "m.login.dummy" } });
    let hanako = server.user("hanako").await;
    let (status, text) = hanako.ask(Method::POST, "/_matrix/client/v3/register", Some(&new)).await;
    assert!(status == StatusCode::BAD_REQUEST && text.contains("M_USER_IN_USE"), "{text}");
    // Said again, it is its own.
    let again = Order::Try(Box::new(on("saigai", "2040-05-01")));
    desk.carry_out(server.name(), again, &by).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_is_nobodys_account_and_reaches_nobody_once_it_has_ended() {
    let net = Net::new();
    let server = net.server("kanazawa.test").await;
    let (hanako, jiro) = (server.user("hanako").await, server.user("jiro").await);
    take(&server, BEFORE, "2020-04-01").await;
    act(&server, address("bousai", Some("防災課"), None)).await;
    look(&server).await;
    let bousai = bousai(&server);
    // Nobody signs in as it, registers it, or takes it by the admin API.
    for password in ["", "password", testkit::PASSWORD] {
        let who = json!({ "type": "m.id.user", "user": "bousai" });
        let body = json!({ "type": "m.login.password", "identifier": who, "password": password });
        let (status, text) = jiro.ask(Method::POST, "/_matrix/client/v3/login", Some(&body)).await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{text}");
    }
    let accounts = server.look(|house| house.accounts.clone());
    accounts.set_administrator(jiro.id(), true, &Actor::operator("test")).await.unwrap();
    for body in [
        json!({ "password": "a long password 1" }),
        json!({ "deactivated": true }),
        json!({ "locked": true }),
    ] {
        let path = format!("/_synapse/admin/v2/users/{bousai}");
        let (status, text) = jiro.ask(Method::PUT, &path, Some(&body)).await;
        assert!(status.is_client_error(), "{body}: {status} {text}");
    }

    let room = jiro.create_room(Preset::PrivateChat).await;
    jiro.invite(&room, &bousai).await;
    look(&server).await;
    assert_eq!(membership(&jiro, &room, hanako.id()).await.as_deref(), Some("invite"), "all of the unit");
    assert_eq!(membership(&jiro, &room, &bousai).await.as_deref(), Some("join"));
    // The address has no power here, so whom it brought stays when it ends; it goes itself, and comes no more.
    hanako.join(&room, "kanazawa.test").await;
    act(&server, address("bousai", None, None)).await;
    look(&server).await;
    assert_eq!(membership(&jiro, &room, &bousai).await.as_deref(), Some("leave"));
    assert_eq!(membership(&jiro, &room, hanako.id()).await.as_deref(), Some("join"));
    jiro.invite(&room, &bousai).await;
    look(&server).await;
    assert_eq!(membership(&jiro, &room, &bousai).await.as_deref(), Some("leave"), "an invite is refused");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_somebody_has_is_no_address_and_many_rooms_do_not_call_everybody_at_once() {
    let net = Net::new();
    let server = net.server("kanazawa.test").await;
    let (hanako, jiro) = (server.user("hanako").await, server.user("jiro").await);
    take(&server, BEFORE, "2020-04-01").await;
    // An account that no person of the organisation has, and that is there before the set is applied: it stays whose it is.
    let set = propose(&server, address("kocho", Some("防災課"), Some("課長"))).await;
    let other = server.user("kocho").await;
    decide(&server, server.name(), set).await;
    apply(&server, server.name(), set).await;
    act(&server, address("bousai", Some("防災課"), Some("課長"))).await;
    look(&server).await;
    let room = jiro.create_room(Preset::PrivateChat).await;
    jiro.invite(&room, other.id()).await;
    look(&server).await;
    assert_eq!(membership(&jiro, &room, other.id()).await.as_deref(), Some("invite"), "it is his to take");
    assert_eq!(membership(&jiro, &room, hanako.id()).await, None);

    let bousai = bousai(&server);
    let mut rooms = Vec::new();
    for _ in 0..8 {
        let room = jiro.create_room(Preset::PrivateChat).await;
        jiro.invite(&room, &bousai).await;
        rooms.push(room);
    }
    let joined = async || {
        let mut joined = 0;
        for room in &rooms {
            joined += usize::from(membership(&jiro, room, &bousai).await.as_deref() == Some("join"));
        }
        joined
    };
    let posts = server.look(|house| house.posts.clone());
    posts.follow(server.name()).await.unwrap();
    let first = joined().await;
    assert!((5..=8).contains(&first), "five in a look, and the server's own looks: {first}");
    for _ in 0..3 {
        posts.follow(server.name()).await.unwrap();
    }
    assert_eq!(joined().await, 8);
    for room in &rooms {
        assert_eq!(membership(&jiro, room, hanako.id()).await.as_deref(), Some("invite"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_gone_holds_up_no_other_invite() {
    let net = Net::new();
    let server = net.server("kanazawa.test").await;
    let elsewhere = net.server("nonoichi.test").await;
    let (hanako, jiro) = (server.user("hanako").await, server.user("jiro").await);
    take(&server, BEFORE, "2020-04-01").await;
    act(&server, address("bousai", Some("防災課"), Some("課長"))).await;
    act(&server, address("jinji", Some("人事課"), Some("課長"))).await;
    let posts = server.look(|house| house.posts.clone());
    // So that the users are there, and nobody has looked for invites since.
    posts.follow(server.name()).await.unwrap();
    let giko = elsewhere.user("giko").await;
    let bousai = bousai(&server);
    let made = json!({ "preset": "private_chat", "invite": [bousai] });
    let mut lost = Vec::new();
    for _ in 0..3 {
        lost.push(giko.create_room_with(&made).await);
    }
    elsewhere.crash().await;
    let room = jiro.create_room(Preset::PrivateChat).await;
    jiro.invite(&room, &bousai).await;
    for _ in 0..5 {
        posts.follow(server.name()).await.unwrap();
    }
    until(&jiro, &room, &bousai, "join").await;
    posts.follow(server.name()).await.unwrap();
    until(&jiro, &room, hanako.id(), "invite").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_takes_no_invites_of_somebody_takes_none_by_way_of_an_address() {
    let net = Net::new();
    let server = net.server("kanazawa.test").await;
    let elsewhere = net.server("nonoichi.test").await;
    let hanako = server.user("hanako").await;
    take(&server, BEFORE, "2020-04-01").await;
    act(&server, address("bousai", Some("防災課"), Some("課長"))).await;
    look(&server).await;
    let blocks = json!({ "enabled": true, "blocked_servers": ["nonoichi.test"] });
    let kind = "org.matrix.msc4155.invite_permission_config";
    hanako.call(Method::PUT, &format!("/user/{}/account_data/{kind}", hanako.id()), Some(&blocks)).await;
    let giko = elsewhere.user("giko").await;
    let bousai = bousai(&server);
    let made = json!({ "preset": "private_chat", "invite": [bousai] });
    let room = giko.create_room_with(&made).await;
    // It came, found nobody whom it may bring, and has gone: whoever invited it sees that.
    look(&server).await;
    until(&giko, &room, &bousai, "leave").await;
    assert_eq!(membership(&giko, &room, hanako.id()).await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_reached_by_another_address_or_came_by_himself_stays_when_one_ends() {
    let net = Net::new();
    let server = net.server("kanazawa.test").await;
    let (hanako, taro, jiro) =
        (server.user("hanako").await, server.user("taro").await, server.user("jiro").await);
    take(&server, BEFORE, "2020-04-01").await;
    act(&server, address("kacho", Some("防災課"), Some("課長"))).await;
    act(&server, address("bousai", Some("防災課"), None)).await;
    look(&server).await;
    let (kacho, bousai) = (UserId::parse("@kacho:kanazawa.test").unwrap(), bousai(&server));
    let made = json!({ "preset": "trusted_private_chat", "invite": [kacho, bousai] });
    let room = jiro.create_room_with(&made).await;
    look(&server).await;
    until(&jiro, &room, hanako.id(), "invite").await;
    hanako.join(&room, "kanazawa.test").await;
    act(&server, address("kacho", None, None)).await;
    look(&server).await;
    until(&jiro, &room, &kacho, "leave").await;
    assert_eq!(membership(&jiro, &room, hanako.id()).await.as_deref(), Some("join"), "the other reaches her");

    // Who has declined, and comes later because somebody else asks him, is not put out.
    taro.leave(&room).await;
    server.look(|house| house.posts.clone()).forget(server.name()).await;
    look(&server).await;
    jiro.invite(&room, taro.id()).await;
    taro.join(&room, "kanazawa.test").await;
    act(&server, address("bousai", None, None)).await;
    look(&server).await;
    until(&jiro, &room, &bousai, "leave").await;
    assert_eq!(membership(&jiro, &room, taro.id()).await.as_deref(), Some("join"));
    assert_eq!(
        membership(&jiro, &room, hanako.id()).await.as_deref(),
        Some("leave"),
        "whom it had brought goes"
    );
}
