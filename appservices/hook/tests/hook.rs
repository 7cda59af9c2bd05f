//! The program itself, beside a server, a sender and a target.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::{
    net::SocketAddr,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bot_testing::Stage;
use hmac::{Hmac, KeyInit, Mac};
use http::Method;
use serde_json::{Value, json};
use sha2::Sha256;
use testkit::{Net, Preset, User};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

const BOT: &str = "@hook:kanazawa.test";
const SECRET: &str = "a secret of twenty-four letters";
const TOKEN: &str = "token-of-twenty-four-letters";

/// A server whose bot has these settings; where the bot takes webhooks, and a room into which it was asked.
async fn stage(more: impl FnOnce(&str) -> String) -> (Stage, SocketAddr, User, ruma::OwnedRoomId) {
    let stage = Stage::without_bot(&Net::new(), "kanazawa.test", env!("CARGO_BIN_EXE_yakuba-hook"), "").await;
    let hanako = stage.server.user("hanako").await;
    let room = hanako.create_room(Preset::PrivateChat).await;
    let address = SocketAddr::new(stage.address().ip(), 8470);
    stage.set(&format!("address = \"{address}\"\n{}", more(room.as_str())));
    stage.start_bot().await;
    hanako.invite(&room, BOT.try_into().unwrap()).await;
    (stage, address, hanako, room)
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn sign(id: &str, at: u64, body: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(format!("{id}.{at}.{body}").as_bytes());
    format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}

fn head(token: &str, id: &str, at: u64, signature: &str, body: &str, connection: &str) -> String {
    format!(
        "POST /hook/{token} HTTP/1.1\r\nhost: kanazawa.test\r\nconnection: {connection}\r\ncontent-length: {}\r\n\
         webhook-id: {id}\r\nwebhook-timestamp: {at}\r\nwebhook-signature: {signature}\r\n\r\n",
        body.len()
    )
}

/// Posts with these headers; the status.
async fn post(address: SocketAddr, token: &str, id: &str, at: u64, signature: &str, body: &str) -> u16 {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = head(token, id, at, signature, body, "close");
    stream.write_all(&[head.as_bytes(), body.as_bytes()].concat()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

async fn post_well(address: SocketAddr, id: &str, body: &Value) -> u16 {
    let (at, body) = (now(), body.to_string());
    post(address, TOKEN, id, at, &sign(id, at, &body), &body).await
}

fn incoming(room: &str, form: &str) -> String {
    incoming_of("road", TOKEN, room, form)
}

fn incoming_of(name: &str, token: &str, room: &str, form: &str) -> String {
    format!(
        "[[bot.incoming]]\nname = \"{name}\"\ntoken = \"{token}\"\nsecret = \"{SECRET}\"\nroom = \"{room}\"\n{form}\n"
    )
}

#[tokio::test]
async fn a_report_is_a_thread_with_place_and_photo_once_whoever_repeats_it_or_dies() {
    let (stage, address, hanako, room) = stage(|room| incoming(room, "form = \"report\"")).await;
    let report = json!({
        "id": "R-12", "title": "道路の陥没", "text": "直径30cmほど",
        "place": { "latitude": 36.5611, "longitude": 136.6564, "address": "片町1丁目" },
        "photos": [{ "name": "現場.png", "data": STANDARD.encode(b"\x89PNG\r\n\x1a\n and so on") }],
    });
    assert_eq!(post_well(address, "msg_1", &report).await, 200);
    stage.kill_bot();
    stage.start_bot().await;
    assert_eq!(post_well(address, "msg_1", &report).await, 200);
    assert_eq!(post_well(address, "msg_2", &json!({ "title": "倒木" })).await, 200);

    let seen = hanako.sync_until(|seen| seen.has_message(&room, "【通報】倒木")).await;
    let timeline = seen.room(&room).timeline;
    let own: Vec<&Value> =
        timeline.iter().filter(|event| event["sender"] == BOT && event["type"] == "m.room.message").collect();
    let kinds: Vec<_> = own.iter().map(|event| event["content"]["msgtype"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["m.text", "m.location", "m.image", "m.text"], "{own:#?}");
    assert!(own[0]["content"]["body"].as_str().unwrap().contains("maps.gsi.go.jp/#17/36.561100/136.656400/"));
    assert_eq!(own[1]["content"]["geo_uri"], "geo:36.561100,136.656400");
    assert!(own[2]["content"]["url"].as_str().unwrap().starts_with("mxc://kanazawa.test/"));
    for event in &own[1..3] {
        assert_eq!(event["content"]["m.relates_to"]["event_id"], own[0]["event_id"]);
    }
}

#[tokio::test]
async fn what_is_old_changed_or_signed_by_another_is_refused_and_alerts_are_threads() {
    let form = "form = \"message\"\ntemplate = \"{{ status }} {{ host }}\"\nthread = \"{{ host }}\"";
    let (_stage, address, hanako, room) = stage(|room| incoming(room, form)).await;
    let (at, body) = (now(), r#"{"status":"firing","host":"sv1"}"#);
    let signature = sign("a", at, body);
    let old = at - 600;
    for (token, id, at, signature, body, status) in [
        (TOKEN, "a", old, sign("a", old, body), body, 401),
        (TOKEN, "a", at, signature.clone(), r#"{"status":"firing","host":"sv2"}"#, 401),
        (TOKEN, "b", at, signature.clone(), body, 401),
        (TOKEN, "a", at, "v1,AAAA".to_owned(), body, 401),
        ("another-token-of-that-length", "a", at, signature.clone(), body, 404),
        (TOKEN, "", at, signature.clone(), body, 400),
        (TOKEN, "a", at, sign("a", at, "{"), "{", 400),
        (TOKEN, "a", at, signature.clone(), body, 200),
        (TOKEN, "a", at, signature.clone(), body, 200),
    ] {
        assert_eq!(post(address, token, id, at, &signature, body).await, status, "{token} {id} {at} {body}");
    }
    assert_eq!(post_well(address, "c", &json!({ "status": "resolved", "host": "sv1" })).await, 200);
    let seen = hanako.sync_until(|seen| seen.has_message(&room, "resolved sv1")).await;
    let timeline = seen.room(&room).timeline;
    let own: Vec<&Value> =
        timeline.iter().filter(|event| event["sender"] == BOT && event["type"] == "m.room.message").collect();
    assert_eq!(own.len(), 2, "{own:#?}");
    assert_eq!(own[0]["content"]["body"], "firing sv1");
    assert_eq!(own[1]["content"]["m.relates_to"]["rel_type"], "m.thread");
    assert_eq!(own[1]["content"]["m.relates_to"]["event_id"], own[0]["event_id"]);
}

#[tokio::test]
async fn all_of_a_text_of_which_a_message_shows_a_part_is_a_file_in_its_thread_once() {
    let forms = [
        ("form = \"report\"", json!({ "title": "穴", "text": format!("{}終わり", "字".repeat(9_000)) })),
        (
            "form = \"message\"\ntemplate = \"{{ text }}\"",
            json!({ "text": format!("{}終わり", "字".repeat(20_000)) }),
        ),
    ];
    for (form, body) in forms {
        let (stage, address, hanako, room) = stage(|room| incoming(room, form)).await;
        assert_eq!(post_well(address, "a", &body).await, 200);
        hanako.sync_until(|seen| seen.has_message(&room, "全文.txt")).await;
        stage.kill_bot();
        stage.start_bot().await;
        assert_eq!(post_well(address, "b", &json!({ "title": "倒木", "text": "倒木" })).await, 200);
        let seen = hanako
            .sync_until(|seen| seen.room(&room).messages().last().is_some_and(|it| it.contains("倒木")));
        let timeline = seen.await.room(&room).timeline;
        let own: Vec<&Value> = timeline
            .iter()
            .filter(|event| event["sender"] == BOT && event["type"] == "m.room.message")
            .collect();
        let kinds: Vec<_> = own.iter().map(|event| event["content"]["msgtype"].as_str().unwrap()).collect();
        assert_eq!(kinds, ["m.text", "m.file", "m.text"], "{own:#?}");
        let text = own[0]["content"]["body"].as_str().unwrap();
        assert!(text.contains("字だけを表示しています") && !text.contains("終わり"), "{text}");
        assert_eq!(own[1]["content"]["m.relates_to"]["event_id"], own[0]["event_id"]);
        let uri = own[1]["content"]["url"].as_str().unwrap().strip_prefix("mxc://").unwrap();
        let path = format!("/_matrix/client/v1/media/download/{uri}");
        let got = hanako.ask_bytes(Method::GET, &path, &[], Default::default()).await;
        let whole = String::from_utf8(got.body().to_vec()).unwrap();
        assert!(whole.contains(body["text"].as_str().unwrap()), "{whole}");
    }
}

#[tokio::test]
async fn a_thread_whose_first_message_was_deleted_begins_anew_and_so_is_seen() {
    let form = "form = \"message\"\ntemplate = \"{{ text }}\"\nthread = \"{{ key }}\"";
    let (_stage, address, hanako, room) = stage(|room| incoming(room, form)).await;
    for (id, text) in [("a", "一報"), ("b", "二報")] {
        assert_eq!(post_well(address, id, &json!({ "text": text, "key": "K1" })).await, 200);
    }
    let seen = hanako.sync_until(|seen| seen.has_message(&room, "二報")).await;
    let of = |timeline: &[Value], body: &str| {
        timeline.iter().find(|event| event["content"]["body"] == body).cloned().unwrap()
    };
    let (first, second) = (of(&seen.room(&room).timeline, "一報"), of(&seen.room(&room).timeline, "二報"));
    assert_eq!(second["content"]["m.relates_to"]["event_id"], first["event_id"]);
    // So that no other bot obeys what stands in it.
    assert_eq!(first["content"]["org.matrix.msc1767.automated"], true);
    let path = format!("/rooms/{room}/redact/{}/txn", first["event_id"].as_str().unwrap());
    hanako.call(Method::PUT, &path, Some(&json!({}))).await;
    for (id, text) in [("c", "三報"), ("d", "四報")] {
        assert_eq!(post_well(address, id, &json!({ "text": text, "key": "K1" })).await, 200);
    }
    let seen = hanako.sync_until(|seen| seen.has_message(&room, "四報")).await;
    let (third, fourth) = (of(&seen.room(&room).timeline, "三報"), of(&seen.room(&room).timeline, "四報"));
    assert!(third["content"]["m.relates_to"].is_null(), "{third}");
    assert_eq!(fourth["content"]["m.relates_to"]["event_id"], third["event_id"]);
}

#[tokio::test]
async fn a_room_that_was_upgraded_is_followed_to_where_the_bot_is_asked_in() {
    let form = "form = \"message\"\ntemplate = \"{{ text }}\"";
    let (stage, address, hanako, room) = stage(|room| incoming(room, form)).await;
    assert_eq!(post_well(address, "a", &json!({ "text": "前" })).await, 200);
    hanako.sync_until(|seen| seen.has_message(&room, "前")).await;
    let path = format!("/rooms/{room}/upgrade");
    let answer = hanako.call(Method::POST, &path, Some(&json!({ "new_version": "11" }))).await;
    let new = ruma::RoomId::parse(answer["replacement_room"].as_str().unwrap()).unwrap();
    assert_eq!(post_well(address, "b", &json!({ "text": "後" })).await, 200);
    // The bot is not asked in yet, and says so where it can.
    stage.until_log("not asked into a room that was upgraded").await;
    hanako.invite(&new, BOT.try_into().unwrap()).await;
    hanako.sync_until(|seen| seen.has_message(&new, "後")).await;
}

async fn upgrade(user: &User, room: &ruma::RoomId) -> ruma::OwnedRoomId {
    let path = format!("/rooms/{room}/upgrade");
    let answer = user.call(Method::POST, &path, Some(&json!({ "new_version": "11" }))).await;
    ruma::RoomId::parse(answer["replacement_room"].as_str().unwrap()).unwrap()
}

#[tokio::test]
async fn several_upgrades_are_followed_in_whatever_order_the_bot_is_asked_in_and_no_other_room_is() {
    for order in [&[1, 2][..], &[2, 1], &[2]] {
        let form = "form = \"message\"\ntemplate = \"{{ text }}\"";
        let (stage, address, hanako, first) = stage(|room| incoming(room, form)).await;
        assert_eq!(post_well(address, "a", &json!({ "text": "前" })).await, 200);
        hanako.sync_until(|seen| seen.has_message(&first, "前")).await;
        let second = upgrade(&hanako, &first).await;
        let rooms = [first, second.clone(), upgrade(&hanako, &second).await];
        // Whoever only says that his room comes of that one gets nothing.
        let jiro = stage.server.user("jiro").await;
        let creation = json!({ "predecessor": { "room_id": second, "event_id": "$last" } });
        let foreign = jiro
            .create_room_with(
                &json!({ "preset": "private_chat", "invite": [BOT], "creation_content": creation }),
            )
            .await;
        jiro.sync_until(|seen| seen.room(&foreign).membership(BOT) == Some("leave")).await;
        for place in order {
            hanako.invite(&rooms[*place], BOT.try_into().unwrap()).await;
            hanako.sync_until(|seen| seen.room(&rooms[*place]).membership(BOT) == Some("join")).await;
        }
        assert_eq!(post_well(address, "b", &json!({ "text": "後" })).await, 200);
        hanako.sync_until(|seen| seen.has_message(&rooms[2], "後")).await;
    }
}

#[tokio::test]
async fn what_waits_for_a_room_is_told_as_soon_as_the_bot_is_asked_in_again() {
    let form = "form = \"message\"\ntemplate = \"{{ text }}\"";
    let (stage, address, hanako, room) = stage(|room| incoming(room, form)).await;
    assert_eq!(post_well(address, "a", &json!({ "text": "前" })).await, 200);
    hanako.sync_until(|seen| seen.has_message(&room, "前")).await;
    hanako.kick(&room, BOT.try_into().unwrap()).await;
    assert_eq!(post_well(address, "b", &json!({ "text": "後" })).await, 200);
    // It tries less and less often: after the fifth time it rests for eight seconds.
    stage.until_log_has("could not be told, trying again", 5).await;
    let rests = Instant::now();
    hanako.invite(&room, BOT.try_into().unwrap()).await;
    hanako.sync_until(|seen| seen.has_message(&room, "後")).await;
    assert!(rests.elapsed() < Duration::from_secs(7), "it rested to the end: {:?}", rests.elapsed());
}

#[tokio::test]
async fn somebody_outside_who_speaks_by_a_user_of_another_service_has_the_bot_go_nowhere_to_look() {
    let form = "form = \"message\"\ntemplate = \"{{ text }}\"";
    let (stage, address, hanako, first) = stage(|room| incoming(room, form)).await;
    assert_eq!(post_well(address, "a", &json!({ "text": "前" })).await, 200);
    hanako.sync_until(|seen| seen.has_message(&first, "前")).await;
    // What comes of the room that follows can be told within only.
    let second = upgrade(&hanako, &first).await;
    let ghost = stage.ghost("taro").await;
    let creation = json!({ "predecessor": { "room_id": second, "event_id": "$last" } });
    let wishes = json!({ "preset": "private_chat", "invite": [BOT], "creation_content": creation });
    let foreign = ghost.create_room_with(&wishes).await;
    ghost.sync_until(|seen| seen.room(&foreign).membership(BOT) == Some("leave")).await;
    let path = format!("/rooms/{foreign}/messages?dir=f&limit=50").replace('!', "%21");
    let events = ghost.call(Method::GET, &path, None).await["chunk"].as_array().unwrap().clone();
    let moves = events.iter().filter(|event| event["state_key"] == BOT);
    let moves: Vec<&Value> = moves.map(|event| &event["content"]["membership"]).collect();
    assert_eq!(moves, ["invite", "leave"], "{events:#?}");
}

#[tokio::test]
async fn an_alias_that_somebody_else_gave_back_leads_to_the_right_room_at_once() {
    let (stage, address, hanako, _) = stage(|_| String::new()).await;
    let taro = stage.server.user("taro").await;
    let wishes = json!({ "preset": "public_chat", "room_alias_name": "later" });
    taro.create_room_with(&wishes).await;
    let form = format!("form = \"message\"\ntemplate = \"{{{{ text }}}}\"\nmade_by = \"{}\"", hanako.id());
    stage.kill_bot();
    stage.set(&format!("address = \"{address}\"\n{}", incoming("#later:kanazawa.test", &form)));
    stage.start_bot().await;
    assert_eq!(post_well(address, "a", &json!({ "text": "内密" })).await, 200);
    stage.until_log("somebody else made").await;
    taro.call(Method::DELETE, "/directory/room/%23later:kanazawa.test", None).await;
    let wishes = json!({ "preset": "private_chat", "room_alias_name": "later", "invite": [BOT] });
    let room = hanako.create_room_with(&wishes).await;
    hanako.sync_until(|seen| seen.has_message(&room, "内密")).await;
}

#[tokio::test]
async fn an_alias_that_somebody_else_took_gets_nothing() {
    let (stage, address, hanako, _) = stage(|_| String::new()).await;
    let wishes = json!({ "preset": "public_chat", "room_alias_name": "later" });
    let room = hanako.create_room_with(&wishes).await;
    let settings = |by: &str| {
        let form = format!("form = \"message\"\ntemplate = \"{{{{ text }}}}\"\nmade_by = \"{by}\"");
        format!("address = \"{address}\"\n{}", incoming("#later:kanazawa.test", &form))
    };
    stage.kill_bot();
    stage.set(&settings("@taro:kanazawa.test"));
    stage.start_bot().await;
    assert_eq!(post_well(address, "a", &json!({ "text": "内密" })).await, 200);
    stage.until_log("somebody else made").await;
    stage.kill_bot();
    stage.set(&settings(hanako.id().as_str()));
    stage.start_bot().await;
    hanako.sync_until(|seen| seen.has_message(&room, "内密")).await;
}

/// WH5
#[tokio::test]
async fn many_at_once_wait_for_each_other_and_slow_ones_keep_up_nobody() {
    let form = "form = \"message\"\ntemplate = \"{{ text }}\"";
    let (_stage, address, hanako, room) = stage(|room| incoming(room, form)).await;
    let at = now();
    let mut slow = Vec::new();
    for number in 0..8 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let head = format!(
            "POST /hook/{TOKEN} HTTP/1.1\r\nhost: {address}\r\ncontent-length: 1000\r\nwebhook-id: s{number}\r\n\
             webhook-timestamp: {at}\r\nwebhook-signature: v1,AAAA\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        slow.push(stream);
    }
    let all = (0..40).map(|number| async move {
        post_well(address, &format!("m{number}"), &json!({ "text": format!("{number} 番") })).await
    });
    let answers = futures_util::future::join_all(all).await;
    assert!(answers.iter().all(|status| *status == 200), "{answers:?}");
    // What was answered so is in the room, each once: before what came after it.
    assert_eq!(post_well(address, "last", &json!({ "text": "終わり" })).await, 200);
    hanako.sync_until(|seen| seen.has_message(&room, "終わり")).await;
    let mut texts = hanako.history(&room).await;
    texts.retain(|text| text.ends_with(" 番"));
    let mut wanted: Vec<String> = (0..40).map(|number| format!("{number} 番")).collect();
    texts.sort();
    wanted.sort();
    assert_eq!(texts, wanted);
}

/// WH5, AS11
#[tokio::test]
async fn what_comes_at_once_by_several_webhooks_of_a_room_is_in_it_in_the_order_in_which_it_came() {
    const OTHER: &str = "token-of-another-webhook";
    let form = "form = \"message\"\ntemplate = \"{{ text }}\"";
    let both = |room: &str| [incoming(room, form), incoming_of("other", OTHER, room, form)].concat();
    let (_stage, address, hanako, room) = stage(both).await;
    let (at, mut all) = (now(), Vec::new());
    let wanted: Vec<String> = (0..40).map(|number| format!("{number} 番")).collect();
    for (number, text) in wanted.iter().enumerate() {
        let (id, body) = (format!("m{number}"), json!({ "text": text }).to_string());
        let token = if number % 2 == 0 { TOKEN } else { OTHER };
        let connection = if number == 39 { "close" } else { "keep-alive" };
        all.extend(head(token, &id, at, &sign(&id, at, &body), &body, connection).into_bytes());
        all.extend(body.into_bytes());
    }
    // None of them waits for the answer to the one before.
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(&all).await.unwrap();
    let mut answers = String::new();
    stream.read_to_string(&mut answers).await.unwrap();
    assert_eq!(answers.matches("HTTP/1.1 200 ").count(), 40, "{answers}");
    hanako.sync_until(|seen| seen.has_message(&room, "39 番")).await;
    let mut texts = hanako.history(&room).await;
    texts.retain(|text| text.ends_with(" 番"));
    assert_eq!(texts, wanted);
}

/// Takes one request and gives this answer; what came.
async fn target(listener: &TcpListener, answer: &str) -> String {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut came = Vec::new();
    loop {
        let mut part = [0; 4_096];
        let count = stream.read(&mut part).await.unwrap();
        came.extend_from_slice(&part[..count]);
        let text = String::from_utf8_lossy(&came).into_owned();
        let length =
            text.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
        if let (Some(length), Some(head)) = (length, text.find("\r\n\r\n"))
            && came.len() >= head + 4 + length
        {
            stream.write_all(answer.as_bytes()).await.unwrap();
            return text;
        }
        assert!(count > 0, "the request ended early");
    }
}

/// WH3, WH4
#[tokio::test]
async fn what_is_said_reaches_a_target_that_is_allowed_and_no_redirect_is_followed() {
    let home = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let allowed = TcpListener::bind("127.0.0.2:0").await.unwrap();
    let (at_home, at_allowed) = (home.local_addr().unwrap(), allowed.local_addr().unwrap());
    let outgoing = |name: &str, url: SocketAddr, room: &str| {
        format!(
            "[[bot.outgoing]]\nname = \"{name}\"\nurl = \"http://{url}/\"\nsecret = \"{SECRET}\"\nrooms = [\"{room}\"]\n\
             allow = [\"127.0.0.2\"]\n"
        )
    };
    let settings =
        |room: &str| [outgoing("home", at_home, room), outgoing("allowed", at_allowed, room)].concat();
    let (stage, _, hanako, room) = stage(settings).await;
    hanako.sync_until(|seen| seen.room(&room).membership(BOT) == Some("join")).await;
    let event = hanako.send(&room, "給水車が着きました").await;

    let redirect = format!(
        "HTTP/1.1 307 of the inside\r\nlocation: http://{at_home}/inside\r\nx-of: the inside\r\ncontent-length: 10\r\n\
         connection: close\r\n\r\nthe inside"
    );
    let first = target(&allowed, &redirect).await;
    // Not taken, so it comes again, and with the same id.
    let second = target(&allowed, "HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n").await;
    let mut times: Vec<u64> = Vec::new();
    for came in [&first, &second] {
        let header = |name: &str| came.lines().find_map(|line| line.strip_prefix(name)).unwrap().to_owned();
        assert_eq!(header("webhook-id: "), event.as_str());
        let body = came.split_once("\r\n\r\n").unwrap().1;
        let at = header("webhook-timestamp: ").parse().unwrap();
        assert_eq!(header("webhook-signature: "), sign(event.as_str(), at, body));
        times.push(at);
        let body: Value = serde_json::from_str(body).unwrap();
        assert_eq!(body["data"]["content"]["body"], "給水車が着きました");
    }
    assert!(times[1] > times[0], "each attempt is signed at its own time: {times:?}");
    // What a target answers is shown to nobody, but for its status.
    stage.until_log("307").await;
    assert!(!stage.log().contains("inside"), "{}", stage.log());
    // The next one is told after the first was taken; nothing came to where it must not go.
    hanako.send(&room, "了解").await;
    assert!(
        target(&allowed, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            .await
            .contains("了解")
    );
    let nobody =
        std::future::poll_fn(|context| std::task::Poll::Ready(home.poll_accept(context).is_pending()));
    assert!(nobody.await, "a target at home was gone to");
}
