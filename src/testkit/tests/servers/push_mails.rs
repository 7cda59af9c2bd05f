//! What users are mailed that they have not read, over real SMTP on this machine.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::{sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{Method, StatusCode};
use parking_lot::Mutex;
use ruma::{OwnedRoomId, RoomId};
use serde_json::{Value, json};
use store::{Table, Tuning};
use testkit::{Net, PASSWORD, Preset, Server, User};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    sync::watch,
};

/// In real time: what takes longer will not come.
const PATIENCE: Duration = Duration::from_secs(60);

/// Time for what time had to pass for.
const MOMENT: Duration = Duration::from_millis(100);

const MINUTE: Duration = Duration::from_secs(60);

const TARO: &str = "taro@example.jp";

static PUSHERS: Table<(String, String, String, String), Bytes> =
    Table::new(170, "push.pushers", Tuning::Small);

/// A mail as it came.
#[derive(Clone, Debug, Default)]
struct Got {
    to: String,
    raw: String,
}

impl Got {
    /// A header in one line.
    fn header(&self, name: &str) -> String {
        let head = self.raw.split("\n\n").next().unwrap().replace("\n ", " ");
        let found = head.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")).map(str::to_owned));
        found.unwrap_or_default()
    }

    /// Text and HTML.
    fn parts(&self) -> (String, String) {
        let part = |kind: &str| {
            let start = self.raw.find(&format!("Content-Type: {kind}")).unwrap();
            let (head, body) = self.raw[start..].split_once("\n\n").unwrap();
            let body = body.split("\n--").next().unwrap();
            match head.contains("base64") {
                true => String::from_utf8(STANDARD.decode(body.replace('\n', "")).unwrap()).unwrap(),
                false => unquoted(body),
            }
        };
        (part("text/plain"), part("text/html"))
    }

    fn text(&self) -> String {
        self.parts().0.replace("\r\n", "\n")
    }

    /// When it was written, in minutes since the beginning of the month of March.
    fn minute(&self) -> u64 {
        let date = self.header("Date");
        let parts: Vec<&str> = date.split([' ', ':']).collect();
        let number = |place: usize| parts[place].parse::<u64>().unwrap();
        let day = number(1) + if parts[2] == "Apr" { 31 } else { 0 };
        day * 24 * 60 + number(4) * 60 + number(5)
    }
}

fn unquoted(text: &str) -> String {
    let text = text.replace("=\n", "");
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let Some((first, after)) = rest.split_first() {
        if *first == b'=' {
            bytes.push(u8::from_str_radix(std::str::from_utf8(&after[..2]).unwrap(), 16).unwrap());
            rest = &after[2..];
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    String::from_utf8(bytes).unwrap()
}

/// A mail server that says the same of each recipient.
struct Post {
    port: u16,
    answer: Arc<Mutex<&'static str>>,
    got: watch::Receiver<Vec<Got>>,
    asked: watch::Receiver<usize>,
}

impl Post {
    async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let answer = Arc::new(Mutex::new("250 ok"));
        let ((sender, got), (asks, asked)) = (watch::channel(Vec::new()), watch::channel(0));
        let (shown, sender, asks) = (answer.clone(), Arc::new(sender), Arc::new(asks));
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(hear(socket, shown.clone(), sender.clone(), asks.clone()));
            }
        });
        Self { port, answer, got, asked }
    }

    fn will(&self, answer: &'static str) {
        *self.answer.lock() = answer;
    }

    fn count(&self) -> usize {
        self.got.borrow().len()
    }

    fn asked(&self) -> usize {
        *self.asked.borrow()
    }

    async fn taken(&self, count: usize) -> Got {
        let mut got = self.got.clone();
        let found = tokio::time::timeout(PATIENCE, got.wait_for(|got| got.len() >= count)).await;
        found.unwrap_or_else(|_| panic!("only {:#?}", self.got.borrow())).unwrap()[count - 1].clone()
    }

    /// The same, while time passes.
    async fn later(&self, net: &Net, count: usize) -> Got {
        let mut got = self.got.clone();
        for _ in 0..1_000 {
            net.advance(MINUTE);
            let found = tokio::time::timeout(MOMENT, got.wait_for(|got| got.len() >= count)).await;
            if let Ok(found) = found {
                return found.unwrap()[count - 1].clone();
            }
        }
        panic!("only {:#?}", self.got.borrow());
    }
}

async fn hear(
    socket: TcpStream,
    answer: Arc<Mutex<&'static str>>,
    got: Arc<watch::Sender<Vec<Got>>>,
    asked: Arc<watch::Sender<usize>>,
) {
    let mut socket = BufReader::new(socket);
    let (mut mail, mut in_data) = (Got::default(), false);
    if socket.write_all(b"220 sink\r\n").await.is_err() {
        return;
    }
    loop {
        let mut line = String::new();
        if !matches!(socket.read_line(&mut line).await, Ok(1..)) {
            return;
        }
        let line = line.trim_end_matches(['\r', '\n']);
        let said = match line {
            "." if in_data => {
                in_data = false;
                let mail = std::mem::take(&mut mail);
                got.send_modify(|got| got.push(mail));
                "250 taken"
            }
            _ if in_data => {
                mail.raw.push_str(line);
                mail.raw.push('\n');
                continue;
            }
            "DATA" => {
                in_data = true;
                "354 go on"
            }
            line if line.starts_with("RCPT") => {
                mail.to = line.split(['<', '>']).nth(1).unwrap().to_owned();
                let answer = *answer.lock();
                asked.send_modify(|asked| *asked += 1);
                answer
            }
            _ => "250 ok",
        };
        if socket.write_all(format!("{said}\r\n").as_bytes()).await.is_err() {
            return;
        }
    }
}

async fn net() -> (Net, Server, Post) {
    let post = Post::new().await;
    let net = Net::with_mail(post.port);
    let server = net.server("kanazawa.test").await;
    (net, server, post)
}

/// Gives a user an address, as the mail's reader and the client do together, and has mails sent there.
async fn subscribe(server: &Server, post: &Post, user: &User, address: &str) {
    let before = post.count();
    let wanted = json!({ "email": address, "client_secret": "s3cret", "send_attempt": 1 });
    user.call(Method::POST, "/account/3pid/email/requestToken", Some(&wanted)).await;
    let text = plain(&post.taken(before + 1).await);
    let (sid, rest) = text.split("?sid=").nth(1).unwrap().split_once("&word=").unwrap();
    let word = rest.split_whitespace().next().unwrap();
    let accounts = server.look(|house| house.accounts.clone());
    accounts.confirm_email(server.name(), sid, word).await.unwrap().unwrap();
    let proof = json!({ "type": "m.login.password", "password": PASSWORD,
        "identifier": { "type": "m.id.user", "user": user.id() } });
    let shown = json!({ "sid": sid, "client_secret": "s3cret", "auth": proof });
    user.call(Method::POST, "/account/3pid/add", Some(&shown)).await;
    set(user, address).await;
}

/// A mail in one part.
fn plain(got: &Got) -> String {
    let (head, body) = got.raw.split_once("\n\n").unwrap();
    match head.contains("base64") {
        true => String::from_utf8(STANDARD.decode(body.replace('\n', "")).unwrap()).unwrap(),
        false => unquoted(body),
    }
}

async fn set(user: &User, address: &str) {
    let pusher = json!({ "kind": "email", "app_id": "m.email", "pushkey": address, "lang": "ja",
        "app_display_name": "Mails", "device_display_name": address, "data": { "brand": "金沢市" } });
    user.call(Method::POST, "/pushers/set", Some(&pusher)).await;
}

async fn pushers(user: &User) -> usize {
    user.call(Method::GET, "/pushers", None).await["pushers"].as_array().unwrap().len()
}

async fn room_of(owner: &User, members: &[&User]) -> OwnedRoomId {
    let room = owner.create_room(Preset::PrivateChat).await;
    for member in members {
        owner.invite(&room, member.id()).await;
        member.join(&room, "kanazawa.test").await;
    }
    room
}

/// Hanako, and Taro who is mailed what she says in their room. One mail has come, with the word of his address.
async fn two(server: &Server, post: &Post) -> (User, User, OwnedRoomId) {
    let (hanako, taro) = (server.user("hanako").await, server.user("taro").await);
    let room = room_of(&hanako, &[&taro]).await;
    subscribe(server, post, &taro, TARO).await;
    (hanako, taro, room)
}

async fn read(user: &User, room: &RoomId, event: &str) {
    user.call(Method::POST, &format!("/rooms/{room}/receipt/m.read/{event}"), Some(&json!({}))).await;
}

#[tokio::test]
async fn what_is_unread_is_gathered_in_one_mail_that_says_it_in_both_languages() {
    let (net, server, post) = net().await;
    let (hanako, taro, room) = two(&server, &post).await;
    hanako.set_state(&room, "m.room.name", "", &json!({ "name": "<防災課>" })).await;
    let second = room_of(&hanako, &[&taro]).await;
    for text in ["一", "二", "三", "<b>四</b>\n■ 偽"] {
        hanako.send(&room, text).await;
        net.advance(2 * MINUTE);
    }
    let content = json!({ "algorithm": "m.megolm.v1.aes-sha2", "ciphertext": "AwgAEnAC", "session_id": "s" });
    let path = format!("/rooms/{second}/send/m.room.encrypted/e1");
    hanako.call(Method::PUT, &path, Some(&content)).await;

    let got = post.later(&net, 2).await;

    assert_eq!(got.to, TARO);
    let (text, html) = got.parts();
    assert!(text.contains("未読メッセージが 5 件") && text.contains("You have 5 unread"), "{text}");
    assert!(text.contains("■ hanako (1)"), "a room without a name is called by who is in it: {text}");
    for said in ["■ <防災課> (4)", "hanako: 二", "hanako: 三", "hanako: <b>四</b> ■ 偽"] {
        assert!(text.contains(said), "{said}: {text}");
    }
    assert!(!text.contains("hanako: 一"), "the last three of a room: {text}");
    assert!(
        text.contains("暗号化されたメッセージ / encrypted message") && !got.raw.contains("AwgAEnAC"),
        "{text}"
    );
    assert!(text.contains(&format!("https://chat.example/#/room/{room}")), "{text}");
    assert!(
        html.contains("&lt;b&gt;四&lt;/b&gt;") && html.contains("&lt;防災課&gt;") && !html.contains("<b>四")
    );
    assert_eq!(got.header("List-Unsubscribe-Post"), "List-Unsubscribe=One-Click");
    assert!(
        got.header("List-Unsubscribe")
            .starts_with("<https://kanazawa.test/_yakuba/client/unsubscribe?token=")
    );
    assert_eq!(got.header("Auto-Submitted"), "auto-generated");
    assert_eq!(post.count(), 2, "one for all of it");
}

#[tokio::test]
async fn what_was_corrected_before_the_mail_left_is_mailed_as_it_was_corrected() {
    let (net, server, post) = net().await;
    let (hanako, _taro, room) = two(&server, &post).await;
    let said = hanako.send(&room, "会議は10時です").await;
    let edit = json!({ "msgtype": "m.text", "body": "* 会議は11時です",
        "m.new_content": { "msgtype": "m.text", "body": "会議は11時です" },
        "m.relates_to": { "rel_type": "m.replace", "event_id": said } });
    hanako.call(Method::PUT, &format!("/rooms/{room}/send/m.room.message/e1"), Some(&edit)).await;
    let got = post.later(&net, 2).await;
    let (text, html) = got.parts();
    assert!(text.contains("hanako: 会議は11時です") && html.contains("会議は11時です"), "{text}");
    assert!(!got.raw.contains("10時") && !text.contains("10時"), "{text}");
}

#[tokio::test]
async fn a_room_that_is_not_read_gives_reasons_more_and_more_seldom_until_it_is() {
    let (net, server, post) = net().await;
    let (hanako, taro, room) = two(&server, &post).await;
    let mut last = post.taken(1).await.minute();
    let mut waited = Vec::new();
    for number in 2..=4 {
        hanako.send(&room, &number.to_string()).await;
        let minute = post.later(&net, number).await.minute();
        waited.push(minute - last);
        last = minute;
    }
    // Quiet; quiet, as the pause is as long; six times the pause. Steps of time may come in before what they are for.
    assert!(waited[0] >= 10 && waited[1] >= 10 && waited[2] >= 60, "{waited:?}");
    assert!(waited[0] < 60 && waited[1] < 60 && waited[2] < 360, "{waited:?}");

    let event = hanako.send(&room, "読む").await;
    read(&taro, &room, event.as_str()).await;
    hanako.send(&room, "五").await;
    let got = post.later(&net, 5).await;
    assert!((10..360).contains(&(got.minute() - last)), "{} after {last}", got.minute());
    assert!(got.text().contains("1 件") && !got.text().contains("読む"), "{}", got.text());
}

/// EM1.
#[tokio::test]
async fn talk_without_an_end_is_mailed_all_the_same() {
    let (net, server, post) = net().await;
    let (hanako, _taro, room) = two(&server, &post).await;
    let begun = post.taken(1).await.minute();
    for number in 0..200 {
        hanako.send(&room, &number.to_string()).await;
        if post.count() > 1 {
            break;
        }
        net.advance(MINUTE);
        tokio::time::sleep(MOMENT).await;
    }
    let after = post.taken(2).await.minute() - begun;
    assert!((30..180).contains(&after), "{after}");
}

#[tokio::test]
async fn what_was_read_meanwhile_is_not_mailed_nor_what_an_ignored_user_says_nor_to_the_locked() {
    let (net, server, post) = net().await;
    let (hanako, taro, room) = two(&server, &post).await;
    let (jiro, mallory) = (server.user("jiro").await, server.user("mallory").await);
    for user in [&jiro, &mallory] {
        hanako.invite(&room, user.id()).await;
        user.join(&room, "kanazawa.test").await;
    }
    // Whoever is mailed for certain shows that the others were not.
    subscribe(&server, &post, &jiro, "jiro@example.jp").await;
    let accounts = server.look(|house| house.accounts.clone());
    let by = audit::Actor::operator("test");

    let event = hanako.send(&room, "一").await;
    read(&taro, &room, event.as_str()).await;
    assert_eq!(post.later(&net, 3).await.to, "jiro@example.jp");

    let ignore = json!({ "ignored_users": { (mallory.id().as_str()): {} } });
    let list = format!("/user/{}/account_data/m.ignored_user_list", taro.id());
    mallory.send(&room, "二").await;
    taro.call(Method::PUT, &list, Some(&ignore)).await;
    mallory.send(&room, "三").await;
    assert_eq!(post.later(&net, 4).await.to, "jiro@example.jp");

    accounts.set_locked(taro.id(), true, &by).await.unwrap();
    hanako.send(&room, "四").await;
    assert_eq!(post.later(&net, 5).await.to, "jiro@example.jp");
    accounts.set_locked(taro.id(), false, &by).await.unwrap();

    let event = hanako.send(&room, "五").await;
    read(&jiro, &room, event.as_str()).await;
    let got = post.later(&net, 6).await;
    assert_eq!(got.to, TARO);
    assert!(got.text().contains("hanako: 五") && !got.text().contains("mallory"), "{}", got.text());
}

#[tokio::test]
async fn who_deletes_the_newest_message_takes_nobody_the_mail_of_those_before_it() {
    let (net, server, post) = net().await;
    let (hanako, _taro, room) = two(&server, &post).await;
    for text in ["一", "二"] {
        hanako.send(&room, text).await;
    }
    let last = hanako.send(&room, "消す").await;
    hanako.call(Method::PUT, &format!("/rooms/{room}/redact/{last}/r"), Some(&json!({}))).await;

    let got = post.later(&net, 2).await;

    let text = got.text();
    assert_eq!(got.to, TARO);
    assert!(text.contains("未読メッセージが 2 件") && text.contains("hanako: 二"), "{text}");
    assert!(!text.contains("消す"), "{text}");
}

#[tokio::test]
async fn the_link_in_a_mail_ends_them_by_a_post_alone() {
    let (net, server, post) = net().await;
    let (hanako, taro, room) = two(&server, &post).await;
    hanako.send(&room, "一").await;
    let link = post.later(&net, 2).await.header("List-Unsubscribe");
    let path = link.strip_prefix("<https://kanazawa.test").unwrap().strip_suffix('>').unwrap().to_owned();
    let one_click = async |path: &str| {
        let headers = [("content-type", "application/x-www-form-urlencoded")];
        let body = "List-Unsubscribe=One-Click".into();
        hanako.ask_bytes(Method::POST, path, &headers, body).await.status()
    };

    let (status, page) = hanako.ask(Method::GET, &path, None).await;
    assert_eq!(status, StatusCode::OK);
    assert!(page.contains("配信を停止する") || page.contains("Unsubscribe"), "{page}");
    let mut other = path.clone();
    let last = if other.pop() == Some('0') { '1' } else { '0' };
    other.push(last);
    for nothing in [other.as_str(), "/_yakuba/client/unsubscribe", "/_yakuba/client/unsubscribe?token=a.b"] {
        assert_eq!(one_click(nothing).await, StatusCode::OK);
    }
    assert_eq!(pushers(&taro).await, 1, "neither a look nor another word");

    assert_eq!(one_click(&path).await, StatusCode::OK);
    assert_eq!(pushers(&taro).await, 0);
    // An old mail's link ends them however often they are wished for.
    set(&taro, TARO).await;
    assert_eq!((one_click(&path).await, pushers(&taro).await), (StatusCode::OK, 0));
}

#[tokio::test]
async fn what_waits_when_a_server_is_killed_is_mailed_once_and_a_mail_server_that_is_away_loses_nothing() {
    let (net, server, post) = net().await;
    let (hanako, _taro, room) = two(&server, &post).await;
    hanako.send(&room, "一").await;
    server.crash_and_restart().await;
    assert!(post.later(&net, 2).await.text().contains("hanako: 一"));

    post.will("451 4.3.0 later");
    hanako.send(&room, "二").await;
    while post.asked() < 3 {
        net.advance(MINUTE);
        tokio::time::sleep(MOMENT).await;
    }
    server.crash_and_restart().await;
    post.will("250 ok");
    let got = post.later(&net, 3).await;
    assert!(got.text().contains("hanako: 二"), "{}", got.text());
    hanako.send(&room, "三").await;
    assert!(post.later(&net, 4).await.text().contains("hanako: 三"));
    assert_eq!(post.count(), 4);
}

#[tokio::test]
async fn an_address_that_refuses_mail_after_mail_is_written_to_no_more() {
    let (net, server, post) = net().await;
    let (hanako, taro, room) = two(&server, &post).await;
    post.will("550 5.1.1 no such user");
    let before = post.asked();
    for number in 1..=5 {
        let event = hanako.send(&room, &number.to_string()).await;
        while post.asked() < before + number {
            net.advance(MINUTE);
            tokio::time::sleep(MOMENT).await;
        }
        read(&taro, &room, event.as_str()).await;
        assert_eq!(pushers(&taro).await, 1);
    }
    hanako.send(&room, "六").await;
    while pushers(&taro).await > 0 {
        net.advance(MINUTE);
        tokio::time::sleep(MOMENT).await;
    }
    assert_eq!((post.asked(), post.count()), (before + 5, 1));
    let listed: Value = taro.call(Method::GET, "/account/3pid", None).await;
    assert_eq!(listed["threepids"].as_array().unwrap().len(), 1, "the address stays his");
}

#[tokio::test]
async fn mails_are_the_accounts_and_go_on_when_every_device_has_signed_out_until_it_is_closed() {
    let (net, server, post) = net().await;
    let (hanako, taro, room) = two(&server, &post).await;
    let desktop = taro.another_device().await;
    assert_eq!(pushers(&desktop).await, 1, "each device is shown them");
    set(&desktop, TARO).await;
    assert_eq!(pushers(&taro).await, 1, "and changes them");

    taro.call(Method::POST, "/logout", Some(&json!({}))).await;
    assert_eq!(pushers(&desktop).await, 1);
    hanako.send(&room, "一").await;
    assert!(post.later(&net, 2).await.text().contains("hanako: 一"));

    desktop.call(Method::POST, "/logout/all", Some(&json!({}))).await;
    hanako.send(&room, "二").await;
    assert!(post.later(&net, 3).await.text().contains("hanako: 二"));

    let accounts = server.look(|house| house.accounts.clone());
    accounts.close_account(taro.id(), &audit::Actor::operator("test")).await.unwrap();
    let store = server.look(|house| house.store.clone());
    let all = store::Range::prefix(taro.id().as_str());
    assert_eq!(store.scan(&PUSHERS, all, store::Order::Ascending, 1).await.unwrap(), []);
}
