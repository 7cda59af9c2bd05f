//! Pings, names that services make, and third-party networks.

use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::service::{Conduct, Service, town};

const PING: &str = "/_matrix/client/v1/appservice/irc/ping";

#[tokio::test]
async fn a_ping_tells_how_the_service_is_reached() {
    let irc = Service::new("irc").await;
    let (net, server) = town(&[&irc]).await;
    let bot = irc.bot(&server);
    let ping = async || {
        let (status, body) = bot.ask(Method::POST, PING, Some(&json!({ "transaction_id": "t1" }))).await;
        let body: Value = serde_json::from_str(&body).unwrap();
        (status, body)
    };
    let (status, answer) = ping().await;
    assert!(status == StatusCode::OK && answer["duration_ms"].is_number(), "{answer}");
    let heard = irc.record().requests.last().unwrap().clone();
    assert_eq!((heard.method.as_str(), heard.path.as_str()), ("POST", "/_matrix/app/v1/ping"));
    assert_eq!(heard.token.as_deref(), Some("hs-token-of-the-service-irc"));
    assert_eq!(heard.body, json!({ "transaction_id": "t1" }));

    irc.answers("/_matrix/app/v1/ping", 418, json!({ "errcode": "M_TEAPOT" }));
    let (status, answer) = ping().await;
    assert_eq!((status, &answer["errcode"]), (StatusCode::BAD_GATEWAY, &json!("M_BAD_STATUS")));
    assert_eq!(answer["status"], 418);
    assert_eq!(answer["body"], r#"{"errcode":"M_TEAPOT"}"#);

    irc.forget_answers();
    irc.will(Conduct::Hangs);
    let asked = irc.record().requests.len();
    let later = async {
        irc.until(|record| record.requests.len() > asked).await;
        net.advance(Duration::from_secs(30));
    };
    let ((status, answer), ()) = tokio::join!(ping(), later);
    assert_eq!((status, &answer["errcode"]), (StatusCode::GATEWAY_TIMEOUT, &json!("M_CONNECTION_TIMEOUT")));

    irc.stop().await;
    let (status, answer) = ping().await;
    assert_eq!((status, &answer["errcode"]), (StatusCode::BAD_GATEWAY, &json!("M_CONNECTION_FAILED")));
    assert!(answer["error"].as_str().unwrap().len() > 30, "{answer}");

    // Another one's id, and somebody who is no service.
    let other = "/_matrix/client/v1/appservice/sms/ping";
    assert_eq!(bot.ask(Method::POST, other, Some(&json!({}))).await.0, StatusCode::FORBIDDEN);
    let hanako = server.user("hanako").await;
    assert_eq!(hanako.ask(Method::POST, PING, Some(&json!({}))).await.0, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn a_service_that_pings_after_an_outage_is_told_at_once_what_waits() {
    let (other, irc) = (Service::new("sms").await, Service::new("irc").await);
    let (net, server) = town(&[&other, &irc]).await;
    let hanako = server.user("hanako").await;
    let room = super::service::bridged(&irc, &server, &hanako).await;
    irc.until(|record| record.events().len() == 1).await;
    irc.will(Conduct::Fails(502));
    hanako.send(&room, "待っています").await;
    // The waits are long by now.
    irc.later(&net, |record| record.transactions().count() >= 9).await;
    irc.will(Conduct::Takes);
    let bot = irc.bot(&server);
    let told = async {
        loop {
            assert_eq!(bot.ask(Method::POST, PING, Some(&json!({}))).await.0, StatusCode::OK);
            if irc.record().texts().len() == 1 {
                break;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), told).await.unwrap();
}

#[tokio::test]
async fn a_service_that_hangs_takes_nobody_from_another() {
    let (irc, sms) = (Service::new("irc").await, Service::new("sms").await);
    let (net, server) = town(&[&irc, &sms]).await;
    let hanako = server.user("hanako").await;
    let bot = sms.bot(&server);
    let room = bot.create_room(testkit::Preset::PublicChat).await;
    irc.will(Conduct::Hangs);
    let find = |alias: String| {
        let hanako = hanako.clone();
        let path = format!("/_matrix/client/v3/directory/room/%23_{alias}:kanazawa.test");
        async move { hanako.ask(Method::GET, &path, None).await.0 }
    };
    let asked = irc.record().requests.len();
    let hanging: Vec<_> = (0..40).map(|number| tokio::spawn(find(format!("irc_{number}")))).collect();
    irc.until(|record| record.requests.len() >= asked + 32).await;

    let alias = "/directory/room/%23_sms_a:kanazawa.test".to_owned();
    let made = sms.makes(&bot, "/_matrix/app/v1/rooms/", Method::PUT, alias, json!({ "room_id": room }));
    let (found, ()) = tokio::join!(find("sms_a".to_owned()), made);

    assert_eq!(found, StatusCode::OK);
    net.advance(Duration::from_secs(30));
    for hanging in hanging {
        assert_eq!(hanging.await.unwrap(), StatusCode::NOT_FOUND);
    }
}

#[tokio::test]
async fn an_alias_and_a_user_that_nobody_has_are_asked_for_and_then_found() {
    let irc = Service::new("irc").await;
    let (_net, server) = town(&[&irc]).await;
    let hanako = server.user("hanako").await;
    let bot = irc.bot(&server);
    let room = bot.create_room(testkit::Preset::PublicChat).await;
    let alias = "%23_irc_freenode:kanazawa.test";
    let find = format!("/_matrix/client/v3/directory/room/{alias}");
    irc.answers("/_matrix/app/v1/rooms/", 404, json!({ "errcode": "M_NOT_FOUND" }));
    assert_eq!(hanako.ask(Method::GET, &find, None).await.0, StatusCode::NOT_FOUND);
    let asked =
        |start: &str| irc.record().requests.iter().filter(|heard| heard.path.starts_with(start)).count();
    assert_eq!(asked("/_matrix/app/v1/rooms/%23%5Firc%5Ffreenode%3Akanazawa%2Etest"), 1);
    // Strangers may ask as often as they like: the service is left alone for a while.
    for _ in 0..5 {
        assert_eq!(hanako.ask(Method::GET, &find, None).await.0, StatusCode::NOT_FOUND);
    }
    assert_eq!(asked("/_matrix/app/v1/rooms/"), 1);
    // Names that are no service's are nobody's business.
    let other = "/_matrix/client/v3/directory/room/%23freenode:kanazawa.test";
    assert_eq!(hanako.ask(Method::GET, other, None).await.0, StatusCode::NOT_FOUND);
    assert_eq!(asked("/_matrix/app/v1/rooms/"), 1);

    // It makes what it is asked for before it answers.
    let second = "%23_irc_matrix:kanazawa.test";
    let made = irc.makes(
        &bot,
        "/_matrix/app/v1/rooms/",
        Method::PUT,
        format!("/directory/room/{second}"),
        json!({ "room_id": room }),
    );
    let find = format!("/_matrix/client/v3/directory/room/{second}");
    let ((status, found), ()) = tokio::join!(hanako.ask(Method::GET, &find, None), made);
    assert_eq!(status, StatusCode::OK, "{found}");
    assert!(found.contains(room.as_str()), "{found}");

    // So with users who are invited.
    let ghost =
        json!({ "type": "m.login.application_service", "username": "_irc_taro", "inhibit_login": true });
    let own = hanako.create_room(testkit::Preset::PrivateChat).await;
    let made = irc.makes(&bot, "/_matrix/app/v1/users/", Method::POST, "/register".to_owned(), ghost);
    let taro = ruma::user_id!("@_irc_taro:kanazawa.test");
    tokio::join!(hanako.invite(&own, taro), made);
    assert_eq!(asked("/_matrix/app/v1/users/%40%5Firc%5Ftaro%3Akanazawa%2Etest"), 1);
    let record =
        irc.until(|record| record.events().iter().any(|event| event["state_key"] == taro.as_str())).await;
    assert!(record.events().iter().any(|event| event["content"]["membership"] == "invite"));
    // Who is there already is not asked for.
    let another = hanako.create_room(testkit::Preset::PrivateChat).await;
    hanako.invite(&another, taro).await;
    assert_eq!(asked("/_matrix/app/v1/users/"), 1);
    // Nor who would be none of its.
    for nobody in ["@nobody:kanazawa.test", "@_irc_taro:wajima.test"] {
        let path = format!("/_matrix/client/v3/rooms/{another}/invite");
        hanako.ask(Method::POST, &path, Some(&json!({ "user_id": nobody }))).await;
    }
    assert_eq!(asked("/_matrix/app/v1/users/"), 1);
}

#[tokio::test]
async fn third_party_networks_are_what_the_services_say_that_lead_there() {
    let (irc, other) = (Service::new("irc").await, Service::new("sms").await);
    let net = testkit::Net::new();
    let registrations =
        [irc.registration_with("protocols: [irc]"), other.registration_with("protocols: [irc, sms]")];
    let server = net.server_with_services("kanazawa.test", &registrations).await;
    let hanako = server.user("hanako").await;
    let get = async |path: &str| {
        let (status, body) =
            hanako.ask(Method::GET, &format!("/_matrix/client/v3/thirdparty/{path}"), None).await;
        (status, serde_json::from_str::<Value>(&body).unwrap())
    };
    let protocol = |network: &str| {
        json!({ "user_fields": ["nick"], "location_fields": ["channel"], "icon": "mxc://a/b", "field_types": {},
            "instances": [{ "desc": network, "network_id": network, "fields": {} }, 1] })
    };
    irc.answers("/_matrix/app/v1/thirdparty/protocol/irc", 200, protocol("libera"));
    other.answers("/_matrix/app/v1/thirdparty/protocol/irc", 200, protocol("oftc"));
    other.answers("/_matrix/app/v1/thirdparty/protocol/sms", 500, json!({}));
    let (status, all) = get("protocols").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(all.as_object().unwrap().keys().collect::<Vec<_>>(), ["irc"]);
    for service in [&irc, &other] {
        let path = "/_matrix/app/v1/thirdparty/protocol/irc";
        let asked = service.record().requests.iter().filter(|heard| heard.path == path).count();
        assert_eq!(asked, 1, "of a network to which several lead each is asked once");
    }
    let instances = all["irc"]["instances"].as_array().unwrap();
    let ids: Vec<_> = instances.iter().map(|instance| instance["instance_id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["irc|libera", "sms|oftc"]);
    assert_eq!(get("protocol/irc").await.1, all["irc"]);
    assert_eq!(get("protocol/fax").await.0, StatusCode::NOT_FOUND);

    let someone =
        json!([{ "userid": "@_irc_a:kanazawa.test", "protocol": "irc", "fields": { "nick": "a" } }]);
    irc.answers("/_matrix/app/v1/thirdparty/user/irc?nick=a%20b", 200, someone.clone());
    other.answers("/_matrix/app/v1/thirdparty/user/irc", 200, json!({ "not": "a list" }));
    assert_eq!(get("user/irc?nick=a%20b").await, (StatusCode::OK, someone.clone()));
    assert_eq!(get("location/fax?channel=a").await.0, StatusCode::NOT_FOUND);
    irc.answers(
        "/_matrix/app/v1/thirdparty/user?userid=%40%5Firc%5Fa%3Akanazawa%2Etest",
        200,
        someone.clone(),
    );
    assert_eq!(get("user?userid=@_irc_a:kanazawa.test").await, (StatusCode::OK, someone));
    assert_eq!(get("location?alias=%23x:kanazawa.test").await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_service_keeps_directories_of_the_networks_to_which_it_leads() {
    let irc = Service::new("irc").await;
    let (_net, server) = town(&[&irc]).await;
    let (hanako, bot) = (server.user("hanako").await, irc.bot(&server));
    let room = bot.create_room(testkit::Preset::PublicChat).await;
    let put = async |room: &ruma::RoomId, visibility: &str| {
        let path = format!("/_matrix/client/v3/directory/list/appservice/libera/{room}");
        bot.ask(Method::PUT, &path, Some(&json!({ "visibility": visibility }))).await.0
    };
    let shown = async |query: Value| {
        let answer = hanako.call(Method::POST, "/publicRooms", Some(&query)).await;
        answer["chunk"].as_array().unwrap().len()
    };
    assert_eq!(put(&room, "public").await, StatusCode::OK);
    assert_eq!(shown(json!({})).await, 0);
    assert_eq!(shown(json!({ "third_party_instance_id": "irc|libera" })).await, 1);
    assert_eq!(shown(json!({ "third_party_instance_id": "irc|oftc" })).await, 0);
    assert_eq!(shown(json!({ "include_all_networks": true })).await, 1);
    assert_eq!(put(&room, "private").await, StatusCode::OK);
    assert_eq!(shown(json!({ "include_all_networks": true })).await, 0);
    // Rooms in which it has nobody are not its to show.
    let own = hanako.create_room(testkit::Preset::PublicChat).await;
    assert_ne!(put(&own, "public").await, StatusCode::OK);
    let path = format!("/_matrix/client/v3/directory/list/appservice/libera/{own}");
    let by_her = hanako.ask(Method::PUT, &path, Some(&json!({ "visibility": "public" }))).await;
    assert_eq!(by_her.0, StatusCode::FORBIDDEN);
}
