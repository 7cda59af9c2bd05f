//! What is sent to devices, as `/sync` tells it.

use std::time::Duration;

use account::{Actor, Credentials, LogIn, NewUser};
use ruma::DeviceId;
use serde_json::{Value, json, value::RawValue};
use to_device::{Messages, Sending};

use super::town::{Client, Town, client, town, user};

const PASSWORD: &str = "correct horse";

/// Signs somebody up and in on these devices.
pub(super) async fn signed_in(town: &Town, name: &str, devices: &[&str]) {
    let password = Some(PASSWORD.to_owned());
    let new = NewUser { localpart: name.to_owned(), password, ..NewUser::default() };
    let server = user(name).server_name().to_owned();
    town.accounts.create_user(&server, new, &Actor::operator("test")).await.unwrap();
    for device in devices {
        let request = LogIn {
            credentials: Credentials::NameAndPassword {
                name: name.to_owned(),
                password: PASSWORD.to_owned(),
            },
            device_id: Some((*device).into()),
            device_name: None,
            refresh: false,
            from: None,
            agent: None,
        };
        town.accounts.log_in(&server, request).await.unwrap();
    }
}

/// Sends a text to a device.
pub(super) async fn send(town: &Town, name: &str, device: &str, text: &str) {
    let content = RawValue::from_string(json!({ "text": text }).to_string()).unwrap();
    let messages: Messages = [(user(name), [(device.to_owned(), content)].into())].into();
    let (taro, desk) = (user("taro"), <&DeviceId>::from("DESK"));
    let sending = Sending { user: &taro, device: desk, kind: "m.test", txn: text, messages: &messages };
    town.to_device.send(sending).await.unwrap();
}

/// The texts of an answer.
pub(super) fn told(answer: &Value) -> Vec<&str> {
    let events = answer["to_device"]["events"].as_array();
    events.into_iter().flatten().map(|event| event["content"]["text"].as_str().unwrap()).collect()
}

async fn waits(town: &Town, client: &Client) -> tokio::task::JoinHandle<Value> {
    let request = Client { timeout: Duration::from_secs(30), ..client.clone() }.request();
    let (syncs, sleepers) = (town.syncs.clone(), town.clock.sleepers());
    let waiting = tokio::spawn(async move {
        let answer = syncs.sync(request).await.unwrap().gather().await;
        serde_json::from_slice(&answer).unwrap()
    });
    while town.clock.sleepers() == sleepers {
        tokio::task::yield_now().await;
    }
    waiting
}

#[tokio::test]
async fn a_message_wakes_its_device_whatever_the_filter_and_no_other() {
    let town = town().await;
    signed_in(&town, "hanako", &["PHONE", "TABLET"]).await;
    let nothing =
        json!({ "presence": { "types": [] }, "account_data": { "types": [] }, "room": { "rooms": [] } });
    let mut phone = client("hanako").with_filter(nothing);
    let mut tablet = client("hanako").on("TABLET");
    phone.sync(&town).await;
    tablet.sync(&town).await;
    let (waiting, other) = (waits(&town, &phone).await, waits(&town, &tablet).await);
    send(&town, "hanako", "PHONE", "一").await;
    let answer = waiting.await.unwrap();
    let event = json!({ "type": "m.test", "sender": user("taro"), "content": { "text": "一" } });
    assert_eq!(answer["to_device"], json!({ "events": [event] }));
    assert!(!other.is_finished());
    send(&town, "hanako", "TABLET", "二").await;
    assert_eq!(told(&other.await.unwrap()), ["二"]);
}

#[tokio::test]
async fn a_message_comes_again_until_the_client_goes_on_from_an_answer_that_had_it() {
    let town = town().await;
    signed_in(&town, "hanako", &["PHONE"]).await;
    send(&town, "hanako", "PHONE", "前").await;
    for _ in 0..2 {
        assert_eq!(told(&client("hanako").sync(&town).await), ["前"], "a first answer that is lost");
    }
    let mut phone = client("hanako");
    phone.sync(&town).await;
    send(&town, "hanako", "PHONE", "一").await;
    for _ in 0..2 {
        assert_eq!(told(&phone.clone().sync(&town).await), ["一"]);
    }
    let mut whole = Client { full_state: true, ..phone.clone() };
    assert_eq!(told(&whole.sync(&town).await), ["一"]);
    assert_eq!(told(&whole.sync(&town).await), Vec::<&str>::new());
    assert_eq!(told(&phone.sync(&town).await), Vec::<&str>::new(), "it is gone");
    // A token that was made up takes nothing away: it is answered like none.
    send(&town, "hanako", "PHONE", "二").await;
    let made_up = Client { since: Some("s1_999999999.999999999".to_owned()), ..client("hanako") };
    assert_eq!(told(&made_up.clone().sync(&town).await), ["二"]);
    assert_eq!(told(&phone.sync(&town).await), ["二"]);
}

#[tokio::test]
async fn many_messages_come_a_page_at_a_time_beside_everything_else() {
    let town = town().await;
    signed_in(&town, "hanako", &["PHONE"]).await;
    let mut phone = client("hanako");
    phone.sync(&town).await;
    let all: Vec<String> = (0..250).map(|number| number.to_string()).collect();
    for text in &all {
        send(&town, "hanako", "PHONE", text).await;
    }
    let room = town.room("hanako").await;
    let first = phone.sync(&town).await;
    assert!(first["rooms"]["join"][room.as_str()].is_object());
    // An answer that is lost in the middle.
    let second = phone.clone().sync(&town).await;
    assert_eq!(phone.sync(&town).await["to_device"], second["to_device"]);
    let third = phone.sync(&town).await;
    assert!(second.get("rooms").is_none() && third.get("rooms").is_none());
    assert_eq!([told(&first), told(&second), told(&third)].concat(), all);
    assert_eq!([told(&first).len(), told(&second).len(), told(&third).len()], [100, 100, 50]);
    assert_eq!(told(&phone.sync(&town).await), Vec::<&str>::new());
    // A first answer has pages as well.
    for text in &all {
        send(&town, "hanako", "PHONE", &format!("again {text}")).await;
    }
    let mut anew = client("hanako");
    let mut counts = Vec::new();
    for _ in 0..4 {
        counts.push(told(&anew.sync(&town).await).len());
    }
    assert_eq!(counts, [100, 100, 50, 0]);
}
