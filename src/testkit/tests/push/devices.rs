//! Pushers of devices that are removed.

use http::Method;
use serde_json::json;

use crate::{Gateway, keys, net, pusher, set, two};

/// X5: by another device of the same user, and by who administers.
#[tokio::test]
async fn a_device_that_somebody_else_removes_is_told_nothing_more() {
    let (_net, server) = net().await;
    let (hanako, taro, room) = two(&server).await;
    let somu = server.user("somu").await;
    let accounts = server.look(|house| house.accounts.clone());
    accounts.set_administrator(somu.id(), true, &account::Actor::operator("test")).await.unwrap();
    let stays = Gateway::new().await;
    set(&taro, &pusher("stays", &stays.url())).await;
    let (mut said, user) = (0, escaped(taro.id().as_str()));
    for by_administrator in [false, true] {
        let (tablet, gateway) = (taro.another_device().await, Gateway::new().await);
        set(&tablet, &pusher("tablet", &gateway.url())).await;
        hanako.send(&room, "両方に").await;
        said += 1;
        gateway.taken(1).await;
        stays.taken(said).await;

        let device = tablet.device_id();
        if by_administrator {
            let path = format!("/_synapse/admin/v2/users/{user}/devices/{device}");
            let (status, text) = somu.ask(Method::DELETE, &path, None).await;
            assert!(status.is_success(), "{status} {text}");
        } else {
            let path = format!("/devices/{device}");
            let asked = taro.try_call(Method::DELETE, &path, Some(&json!({}))).await.unwrap_err().answer;
            let auth = json!({
                "type": "m.login.password", "session": asked["session"], "password": testkit::PASSWORD,
                "identifier": { "type": "m.id.user", "user": taro.id() },
            });
            taro.call(Method::DELETE, &path, Some(&json!({ "auth": auth }))).await;
        }

        assert_eq!(keys(&taro).await, ["stays"]);
        for number in 1..=3 {
            hanako.send(&room, "一方に").await;
            stays.taken(said + number).await;
        }
        said += 3;
        // What is told later than three others, to the gateway beside it, is not told.
        assert_eq!(gateway.heard().requests, 1, "{:?}", gateway.heard());
    }
}

/// A user id in a path.
fn escaped(text: &str) -> String {
    text.replace('@', "%40").replace(':', "%3A")
}
