//! What Apple's push service is posted, and what becomes of its answers.

use p256::ecdsa::{Signature, VerifyingKey, signature::Verifier as _};

use super::*;

/// A device token and how apps give it: 32 bytes, in Base64.
pub(super) const KEY: &str = "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA=";
const TOKEN: &str = "0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20";

/// A key as Apple gives it, with what signs and the curve's name in it, that was made for these tests; and its public half.
const APNS_KEY: &[u8] = include_bytes!("apns.p8");
const PUBLIC: &str = "0489feceb6d07e8060bb1f686c999f60e06968bda06d49bb8f7b307a4bd716094891f2bc740ed04efb6946a30424f91f2b8a68f54a33767ce74a7469615a82c2e7";

/// Two apps of one maker.
pub(super) fn apps() -> [(&'static str, Kind); 2] {
    let key = Arc::new(ApnsKey::parse(APNS_KEY, "KEY4567890", "TEAM567890").unwrap());
    [(IPHONE, "jp.example.ios"), (IPAD, "jp.example.ipad")].map(|(id, topic)| {
        let app = ApnsApp { key: key.clone(), topic: topic.to_owned(), service: PRODUCTION.to_owned() };
        (id, Kind::Apns(Arc::new(app)))
    })
}

/// A device whose app is told ids alone and looks the rest up, as Element's are.
fn element() -> Value {
    json!({ "app_id": IPHONE, "pushkey": KEY, "data": { "format": "event_id_only", "default_payload": {
        "aps": { "mutable-content": 1, "alert": { "loc-key": "Notification", "loc-args": [] } },
        "pusher_notification_client_identifier": "c" } } })
}

/// What homeservers tell of an event to whom ids are enough.
fn ids(device: Value) -> Value {
    json!({ "event_id": "$e", "room_id": "!r:kanazawa.test", "prio": "high", "counts": { "unread": 2 },
        "devices": [device] })
}

/// The token of a request, if the key has signed it, and its moment.
fn token(post: &Post) -> (String, u64) {
    let text = header(post, "authorization").strip_prefix("bearer ").unwrap();
    let bytes = |text: &str| URL_SAFE_NO_PAD.decode(text).unwrap();
    let json = |text: &str| serde_json::from_slice::<Value>(&bytes(text)).unwrap();
    let (signed, signature) = text.rsplit_once('.').unwrap();
    let public: Vec<u8> =
        (0..PUBLIC.len()).step_by(2).map(|at| u8::from_str_radix(&PUBLIC[at..at + 2], 16).unwrap()).collect();
    let key = VerifyingKey::from_sec1_bytes(&public).unwrap();
    key.verify(signed.as_bytes(), &Signature::from_slice(&bytes(signature)).unwrap()).unwrap();
    let (head, claims) = signed.split_once('.').unwrap();
    assert_eq!(json(head), json!({ "alg": "ES256", "kid": "KEY4567890" }));
    let claims = json(claims);
    let issued = claims["iat"].as_u64().unwrap();
    assert_eq!(claims, json!({ "iss": "TEAM567890", "iat": issued }));
    (text.to_owned(), issued)
}

fn told(post: &Post) -> Value {
    serde_json::from_slice(&post.body).unwrap()
}

#[tokio::test]
async fn an_app_of_element_is_told_ids_in_what_it_wishes_to_be_told() {
    let town = Town::new();

    assert_eq!(town.tell(ids(element())).await, taken(&[]));

    let post = town.posts().pop().unwrap();
    assert_eq!(post.url, format!("https://api.push.apple.com/3/device/{TOKEN}"));
    assert_eq!(post.protocol, Protocol::Shared);
    for (name, value) in [
        ("apns-topic", "jp.example.ios"),
        ("apns-push-type", "alert"),
        ("apns-priority", "10"),
        ("apns-expiration", "1800086400"),
    ] {
        assert_eq!(header(&post, name), value, "{name}");
    }
    assert_eq!(
        told(&post),
        json!({ "room_id": "!r:kanazawa.test", "event_id": "$e", "unread_count": 2,
            "pusher_notification_client_identifier": "c",
            "aps": { "mutable-content": 1, "badge": 2, "alert": { "loc-key": "Notification", "loc-args": [] } } })
    );
    // The same once more, as the answer was lost, is shown once; another one is another.
    town.tell(ids(element())).await;
    let mut other = ids(element());
    other["event_id"] = json!("$other");
    town.tell(other).await;
    let posts = town.posts();
    let [again, other] = [&posts[0], &posts[1]].map(|post| header(post, "apns-collapse-id"));
    assert_eq!((header(&post, "apns-collapse-id"), again.len()), (again, 32));
    assert_ne!(again, other);
    let mut one_of_room = element();
    one_of_room["data"]["only_last_per_room"] = json!(true);
    for event in ["$1", "$2"] {
        let mut notification = ids(one_of_room.clone());
        notification["event_id"] = json!(event);
        town.tell(notification).await;
    }
    let posts = town.posts();
    assert_eq!(header(&posts[0], "apns-collapse-id"), header(&posts[1], "apns-collapse-id"));
}

#[tokio::test]
async fn what_shows_nothing_is_silent_and_a_number_alone_is_shown() {
    let town = Town::new();
    let mut silent = element();
    silent["data"]["default_payload"] = json!({ "aps": { "content-available": 1, "mutable-content": 1 } });
    let tell = async |notification: Value| {
        town.tell(notification).await;
        let post = town.posts().pop().unwrap();
        let how = (header(&post, "apns-push-type").to_owned(), header(&post, "apns-priority").to_owned());
        (how, told(&post)["aps"].clone())
    };
    let how = |kind: &str, priority: &str| (kind.to_owned(), priority.to_owned());
    let aps = json!({ "content-available": 1, "mutable-content": 1 });
    assert_eq!(tell(ids(silent)).await, (how("background", "5"), aps));
    // Nothing that is odd in what a pusher wishes costs more than itself.
    for odd in [json!(7), json!({}), json!({ "aps": 7 }), json!({ "aps": { "alert": null } })] {
        let mut device = element();
        device["data"]["default_payload"] = odd;
        let (how_it_went, aps) = tell(ids(device)).await;
        assert_eq!((how_it_went, &aps["content-available"]), (how("background", "5"), &json!(1)));
    }
    let mut low = ids(element());
    low["prio"] = json!("low");
    assert_eq!(tell(low).await.0, how("alert", "5"));
    let number = json!({ "counts": { "unread": 0, "missed_calls": 1 }, "devices": [element()] });
    assert_eq!(tell(number).await, (how("alert", "10"), json!({ "badge": 1 })));
    assert_eq!(town.tell(json!({ "devices": [element()] })).await, taken(&[]));
    assert!(town.posts().is_empty());
}

#[tokio::test]
async fn an_app_that_shows_texts_is_told_their_names_and_what_stands_in_them() {
    let town = Town::new();
    let mut device = json!({ "app_id": IPHONE, "pushkey": TOKEN, "tweaks": { "sound": "default" },
        "data": { "default_payload": { "aps": { "mutable-content": 1 } } } });
    town.tell(message(device.clone(), "届いていますか")).await;
    let post = town.posts().pop().unwrap();
    assert!(post.url.ends_with(TOKEN), "{}", post.url);
    assert_eq!(header(&post, "apns-push-type"), "alert");
    assert_eq!(
        told(&post),
        json!({ "room_id": "!r:kanazawa.test", "event_id": "$e", "unread_count": 2, "aps": {
            "mutable-content": 1, "badge": 2, "sound": "default",
            "alert": { "loc-key": "MSG_FROM_USER_IN_ROOM_WITH_CONTENT",
                "loc-args": ["花子", "防災課", "届いていますか"] } } })
    );
    let mut long = message(device.clone(), "一");
    long["sender_display_name"] = json!("花".repeat(1_000));
    town.tell(long).await;
    let arguments = told(&town.posts().pop().unwrap())["aps"]["alert"]["loc-args"].take();
    assert_eq!(arguments[0].as_str().unwrap().chars().count(), 256);
    device["tweaks"] = json!({});
    let alert = async |changes: Value| {
        let mut notification = message(device.clone(), "一");
        for (name, value) in changes.as_object().unwrap() {
            notification[name] = value.clone();
        }
        town.tell(notification).await;
        let mut told = told(&town.posts().pop().unwrap());
        assert_eq!(told["aps"]["sound"], Value::Null);
        let arguments = told["aps"]["alert"]["loc-args"].take();
        (told["aps"]["alert"]["loc-key"].as_str().unwrap().to_owned(), arguments)
    };
    let content = |kind: &str| json!({ "msgtype": kind, "body": "b" });
    for (changes, key, arguments) in [
        (json!({ "content": content("m.image") }), "IMAGE_FROM_USER_IN_ROOM", json!(["花子", "b", "防災課"])),
        (
            json!({ "content": content("m.emote") }),
            "ACTION_FROM_USER_IN_ROOM",
            json!(["防災課", "花子", "b"]),
        ),
        (
            json!({ "content": content("m.image"), "room_name": null }),
            "IMAGE_FROM_USER",
            json!(["花子", "b"]),
        ),
        (
            json!({ "content": content("m.emote"), "room_name": null }),
            "ACTION_FROM_USER",
            json!(["花子", "b"]),
        ),
        (json!({ "room_name": null }), "MSG_FROM_USER_WITH_CONTENT", json!(["花子", "一"])),
        (
            json!({ "type": "m.room.encrypted", "content": null }),
            "MSG_FROM_USER_IN_ROOM",
            json!(["花子", "防災課"]),
        ),
        (
            json!({ "content": 7, "room_name": null, "sender_display_name": null }),
            "MSG_FROM_USER",
            json!(["@hanako:kanazawa.test"]),
        ),
        (json!({ "type": "m.call.invite" }), "VOICE_CALL_FROM_USER", json!(["花子"])),
        (
            json!({ "type": "m.room.member", "content": { "membership": "invite" } }),
            "USER_INVITE_TO_NAMED_ROOM",
            json!(["花子", "防災課"]),
        ),
        (
            json!({ "type": "m.room.member", "room_name": null, "membership": "invite" }),
            "USER_INVITE_TO_CHAT",
            json!(["花子"]),
        ),
        (json!({ "type": "jp.example.other" }), "MSG_FROM_USER", json!(["花子"])),
    ] {
        assert_eq!(alert(changes.clone()).await, (key.to_owned(), arguments), "{changes}");
    }
}

#[tokio::test]
async fn what_is_too_long_for_apple_is_told_without_it_and_then_by_ids() {
    let town = Town::new();
    let device = json!({ "app_id": IPHONE, "pushkey": KEY, "data": {} });
    let sent = async |device: &Value, body: &str| {
        assert_eq!(town.tell(message(device.clone(), body)).await, taken(&[]));
        let post = town.posts().pop().unwrap();
        assert!(post.body.len() <= 4_096, "{}", post.body.len());
        (post.body.len(), told(&post))
    };
    let (length, _) = sent(&device, "").await;
    let body = "a".repeat(4_096 - length);
    let (length, whole) = sent(&device, &body).await;
    assert_eq!((length, &whole["aps"]["alert"]["loc-args"][2]), (4_096, &json!(body)));
    let (_, cut) = sent(&device, &"あ".repeat(2_000)).await;
    assert_eq!(
        cut["aps"]["alert"],
        json!({ "loc-key": "MSG_FROM_USER_IN_ROOM", "loc-args": ["花子", "防災課"] })
    );

    // What a pusher has is told as far as there is room, that which shows something longest.
    let mut large = element();
    large["data"]["default_payload"]["own"] = json!("x".repeat(4_000));
    let aps =
        json!({ "mutable-content": 1, "badge": 2, "alert": { "loc-key": "Notification", "loc-args": [] } });
    town.tell(ids(large.clone())).await;
    let told_ids = told(&town.posts().pop().unwrap());
    assert_eq!(
        (&told_ids["own"], &told_ids["aps"], &told_ids["event_id"]),
        (&Value::Null, &aps, &json!("$e"))
    );
    large["data"]["default_payload"]["aps"]["own"] = json!("x".repeat(4_000));
    town.tell(ids(large.clone())).await;
    let told_ids = told(&town.posts().pop().unwrap());
    assert_eq!((&told_ids["aps"], &told_ids["event_id"]), (&json!({ "content-available": 1 }), &json!("$e")));
    let mut notification = ids(large);
    notification["room_id"] = json!("x".repeat(5_000));
    town.tell(notification).await;
    assert_eq!(told(&town.posts().pop().unwrap()), json!({ "aps": { "badge": 2 } }));

    // A service that takes less.
    for _ in 0..2 {
        town.will_say(413, None, r#"{"reason":"PayloadTooLarge"}"#);
    }
    assert_eq!(town.tell(message(device.clone(), "短い")).await, taken(&[]));
    let posts = town.posts();
    let keys = posts.iter().map(|post| told(post)["aps"]["alert"]["loc-key"].clone());
    assert_eq!(
        keys.collect::<Vec<_>>(),
        [json!("MSG_FROM_USER_IN_ROOM_WITH_CONTENT"), json!("MSG_FROM_USER_IN_ROOM"), Value::Null]
    );
    for _ in 0..3 {
        town.will_answer(413, None);
    }
    assert!(matches!(town.tell(message(device, "短い")).await, Outcome::Refused(_)));
}

#[tokio::test]
async fn a_token_is_shown_for_less_than_its_hour_and_a_new_one_never_within_twenty_minutes() {
    let town = Town::new();
    let mut shown: Vec<(String, u64, u64)> = Vec::new();
    let begun = 1_800_000_000;
    for minute in 0..250_u64 {
        let app = if minute % 2 == 0 { IPHONE } else { IPAD };
        let mut device = element();
        device["app_id"] = json!(app);
        town.tell(ids(device)).await;
        let (text, issued) = token(&town.posts().pop().unwrap());
        let now = begun + minute * 60;
        assert!(issued <= now && now < issued + 3_600, "{minute}");
        if shown.last().is_none_or(|last| last.0 != text) {
            // Apps of one key show its tokens together.
            assert!(shown.last().is_none_or(|last| now >= last.2 + 1_200 && issued >= last.1 + 1_200));
            shown.push((text, issued, now));
        }
        town.clock.advance(Duration::from_secs(60));
    }
    assert!(shown.len() <= 7, "{}", shown.len());
    // The calendar was hours too far: Apple takes no token from the future.
    town.clock.set_back(Duration::from_secs(250 * 60));
    town.tell(ids(element())).await;
    assert!(token(&town.posts().pop().unwrap()).1 <= begun);
}

#[tokio::test]
async fn processes_beside_each_other_and_one_that_starts_again_show_tokens_of_the_same_moments() {
    let mut moments = std::collections::BTreeSet::new();
    for second in [1, 400, 1_199] {
        let town = Town::new();
        town.clock.advance(Duration::from_secs(second));
        town.tell(ids(element())).await;
        moments.insert(token(&town.posts().pop().unwrap()).1);
    }
    assert_eq!(moments.len(), 1);
}

#[tokio::test]
async fn a_token_that_is_taken_for_too_old_is_renewed_once_and_not_too_early() {
    const EXPIRED: &str = r#"{"reason":"ExpiredProviderToken"}"#;
    let town = Town::new();
    town.tell(ids(element())).await;
    let first = token(&town.posts().pop().unwrap());
    town.clock.advance(Duration::from_secs(1_190));
    town.will_say(403, None, EXPIRED);
    assert_eq!(town.tell(ids(element())).await, Outcome::NotNow(None));
    assert_eq!(town.posts().len(), 1);
    town.clock.advance(Duration::from_secs(20));
    town.will_say(403, None, EXPIRED);
    assert_eq!(town.tell(ids(element())).await, taken(&[]));
    let posts = town.posts();
    assert_eq!((posts.len(), token(&posts[0])), (2, first.clone()));
    assert_eq!(token(&posts[1]).1, first.1 + 1_200);
    assert_eq!(told(&posts[0]), told(&posts[1]));
    // That one is no better.
    town.clock.advance(Duration::from_secs(1_200));
    for _ in 0..2 {
        town.will_say(403, Some(7), EXPIRED);
    }
    assert_eq!(town.tell(ids(element())).await, Outcome::NotNow(Some(Duration::from_secs(7))));
    assert_eq!(town.posts().len(), 2);
}

#[tokio::test]
async fn only_a_key_behind_which_nobody_is_is_rejected() {
    let town = Town::new();
    let failure = |reason: &str| &*Box::leak(json!({ "reason": reason }).to_string().into_boxed_str());
    for (status, reason) in [
        (410, "Unregistered"),
        (410, "ExpiredToken"),
        (410, "x"),
        (400, "BadDeviceToken"),
        (400, "DeviceTokenNotForTopic"),
    ] {
        town.will_say(status, None, failure(reason));
        assert_eq!(town.tell(ids(element())).await, taken(&[KEY]), "{reason}");
    }
    for (status, reason, wait) in [
        (429, "TooManyRequests", Some(60)),
        (429, "TooManyProviderTokenUpdates", None),
        (503, "Shutdown", Some(120)),
        (503, "ServiceUnavailable", None),
        (500, "InternalServerError", None),
        (400, "IdleTimeout", None),
        (408, "", None),
        // Ours is wrong, for all: nobody is to lose his pusher by it.
        (403, "InvalidProviderToken", None),
        (403, "Forbidden", None),
        (400, "TopicDisallowed", None),
        (400, "BadTopic", None),
        (400, "MissingTopic", None),
    ] {
        town.will_say(status, wait, failure(reason));
        let outcome = town.tell(ids(element())).await;
        assert_eq!(outcome, Outcome::NotNow(wait.map(Duration::from_secs)), "{reason}");
    }
    for (status, body) in
        [(400, failure("BadCollapseId")), (404, failure("BadPath")), (400, ""), (400, "[]"), (404, "<html>")]
    {
        town.will_say(status, None, body);
        assert!(matches!(town.tell(ids(element())).await, Outcome::Refused(_)), "{body}");
    }
    town.services.answers.lock().push_back(Err(Unreached("x".to_owned())));
    assert_eq!(town.tell(ids(element())).await, Outcome::NotNow(None));
    // Somebody came back with the same key after Apple saw it go.
    for (set, is_gone) in [(1_700_000_000, true), (1_700_000_002, false)] {
        town.will_say(410, None, r#"{"reason":"Unregistered","timestamp":1700000001000}"#);
        let mut device = element();
        device["pushkey_ts"] = json!(set);
        assert_eq!(town.tell(ids(device)).await == taken(&[KEY]), is_gone, "{set}");
    }
    // What is no key of a device is not asked about.
    town.posts();
    let (long, longer) = ("Z".repeat(400), "ab".repeat(300));
    for key in ["", "x", "日本", "../../x", &long, &longer] {
        let mut device = element();
        device["pushkey"] = json!(key);
        assert_eq!(town.tell(ids(device)).await, taken(&[key]));
    }
    assert!(town.posts().is_empty());
}

#[test]
fn a_device_token_is_read_in_base64_and_in_hexadecimal() {
    for key in [KEY, KEY.trim_end_matches('='), TOKEN, &TOKEN.to_uppercase()] {
        assert_eq!(crate::apns::device_token(key).as_deref(), Some(TOKEN), "{key}");
    }
    assert_eq!(crate::apns::device_token("abcd").as_deref(), Some("69b71d"));
}

#[test]
fn of_what_apple_says_only_letters_are_written_down() {
    let reason = |text: &str| crate::apns::verdict(400, text.as_bytes(), None).1;
    assert_eq!(reason(r#"{"reason":"Bad\n<b>Topic\u0007"}"#), "BadbTopic");
    assert_eq!(reason(&json!({ "reason": "x".repeat(1_000) }).to_string()).len(), 64);
    assert_eq!(reason("<html>"), "");
}

#[test]
fn a_token_that_is_refused_takes_no_newer_one_with_it() {
    let key = ApnsKey::parse(APNS_KEY, "K", "T").unwrap();
    let app = |key: ApnsKey| ApnsApp { key: Arc::new(key), topic: String::new(), service: String::new() };
    let app = app(key);
    let shown = |seconds: u64| {
        let payload = crate::payload::Payload { text: Vec::new(), is_shown: true, is_urgent: true };
        let now = base::Timestamp(seconds * 1_000);
        app.message("", &payload, None, Duration::ZERO, now).unwrap().1
    };
    let renew = |text: &str, seconds: u64| app.key.renew(text, base::Timestamp(seconds * 1_000));
    let old = shown(1_800_000_000);
    assert!(renew(&old, 1_800_001_200));
    let new = shown(1_800_001_200);
    assert_ne!(old, new);
    // Somebody renewed it already: there is another one to show, which stays.
    assert!(renew(&old, 1_800_002_400));
    assert_eq!(shown(1_800_002_401), new);
}

#[tokio::test]
async fn apple_is_told_at_its_own_host_or_at_what_stands_in_and_no_other_key_is_one() {
    let service = |town: &Town| town.gateway.service_of(IPHONE, KEY, None);
    assert_eq!(service(&Town::new()).as_deref(), Some("https://api.push.apple.com"));
    let account: Value = serde_json::from_slice(ACCOUNT).unwrap();
    for other in ["", "x", account["private_key"].as_str().unwrap()] {
        assert!(ApnsKey::parse(other.as_bytes(), "K", "T").is_none());
    }
}
