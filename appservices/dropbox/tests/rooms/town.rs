//! A town with the bot, and what people do in its rooms and at its page.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    process::Command,
    sync::atomic::{AtomicU8, Ordering},
    time::Duration,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bot_kit::ruma::{OwnedRoomId, RoomId, UserId};
use bot_testing::Stage;
use http::{Method, StatusCode};
use reqwest::{Client, Response};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use testkit::{Net, Preset, User};

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_yakuba-dropbox");

/// A town with the bot, whose page is here.
pub(crate) struct Town {
    pub(crate) stage: Stage,
    pub(crate) settings: String,
    pub(crate) page: String,
    pub(crate) client: Client,
}

pub(crate) async fn town(settings: &str) -> Town {
    town_in(&Net::new(), settings).await
}

/// The same in a net, which may have zones.
pub(crate) async fn town_in(net: &Net, settings: &str) -> Town {
    // Whatever test is the first: clients over TLS want one, though here all is plain.
    rustls::crypto::ring::default_provider().install_default().ok();
    let page = own_address();
    let settings = format!(
        "place = \"金沢市\"\npublic_url = \"http://{page}\"\npage_address = \"{page}\"\nfiles_path = \"data/files\"\n\
         audit_path = \"data/audit.jsonl\"\n{settings}"
    );
    let stage = Stage::new(net, "kanazawa.test", PROGRAM, &settings).await;
    Town { stage, settings, page: format!("http://{page}"), client: Client::builder().build().unwrap() }
}

/// A file whose bytes were sent.
pub(crate) struct Sent {
    at: String,
    bytes: Vec<u8>,
}

impl Drop for Town {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("{}", self.stage.log());
        }
    }
}

/// An address that no other test of this machine has, of this process and this number; bots themselves have lower ones.
pub(crate) fn own_address() -> SocketAddr {
    static NUMBER: AtomicU8 = AtomicU8::new(1);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let [low, high, ..] = std::process::id().to_le_bytes();
    SocketAddr::from(([127, 128 | (high & 0x3f), low, number], 8_471))
}

pub(crate) fn bot() -> &'static UserId {
    "@dropbox:kanazawa.test".try_into().unwrap()
}

impl Town {
    /// Somebody with a room into which the bot came.
    pub(crate) async fn member(&self, name: &str) -> (User, OwnedRoomId) {
        let user = self.stage.server.user(name).await;
        let room = user.create_room(Preset::PrivateChat).await;
        user.invite(&room, bot()).await;
        user.sync_until(|seen| seen.room(&room).membership(bot().as_str()) == Some("join")).await;
        (user, room)
    }

    /// The link in what the bot said.
    pub(crate) fn link_in(&self, text: &str) -> String {
        text.lines()
            .find(|line| line.starts_with(&self.page))
            .unwrap_or_else(|| panic!("no link in {text}"))
            .to_owned()
    }

    pub(crate) async fn create(&self, link: &str, name: &str, length: usize) -> String {
        let encoded = |text: &str| BASE64_STANDARD.encode(text);
        let metadata =
            format!("filename {},company {},name {}", encoded(name), encoded("能登建設"), encoded("次郎"));
        let request = self.client.post(format!("{link}/files")).header("upload-length", length);
        let answer = request.header("upload-metadata", metadata).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::CREATED);
        format!("{}{}", self.page, answer.headers()["location"].to_str().unwrap())
    }

    /// Begins a file of five bytes; what is answered.
    pub(crate) async fn begin(&self, link: &str) -> StatusCode {
        let name = format!("name {}", BASE64_STANDARD.encode("次郎"));
        let request = self.client.post(format!("{link}/files")).header("upload-length", 5);
        request.header("upload-metadata", name).send().await.unwrap().status()
    }

    /// Begins a picture and sends all of it, but does not end it.
    pub(crate) async fn send_picture(&self, link: &str) -> Sent {
        self.send(link, "写真.jpg", picture(5_000)).await
    }

    /// The same for any file.
    pub(crate) async fn send(&self, link: &str, name: &str, bytes: Vec<u8>) -> Sent {
        let at = self.create(link, name, bytes.len()).await;
        assert_eq!(self.patch(&at, 0, &bytes).await.status(), StatusCode::NO_CONTENT);
        Sent { at, bytes }
    }

    /// Ends it.
    pub(crate) async fn end(&self, Sent { at, bytes }: &Sent) {
        assert_eq!(self.done(at, bytes).await.status(), StatusCode::OK);
    }

    pub(crate) async fn patch(&self, at: &str, offset: usize, bytes: &[u8]) -> Response {
        let request = self.client.patch(at).header("upload-offset", offset).body(bytes.to_vec());
        request.header("content-type", "application/offset+octet-stream").send().await.unwrap()
    }

    pub(crate) async fn offset(&self, at: &str) -> usize {
        let answer = self.client.head(at).send().await.unwrap();
        answer.headers()["upload-offset"].to_str().unwrap().parse().unwrap()
    }

    pub(crate) async fn done(&self, at: &str, bytes: &[u8]) -> Response {
        let body = json!({ "sha256": sha256(bytes) }).to_string();
        self.client.post(format!("{at}/done")).body(body).send().await.unwrap()
    }

    /// What the record holds, by the command that writes it out while the bot runs.
    pub(crate) fn record(&self) -> Vec<Value> {
        let written = Command::new(PROGRAM)
            .args(["audit", "--format", "json", "--config"])
            .arg(self.stage.directory.path().join("bot.toml"))
            .output()
            .unwrap();
        assert!(written.status.success(), "{}", String::from_utf8_lossy(&written.stderr));
        let text = String::from_utf8(written.stdout).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn picture(length: usize) -> Vec<u8> {
    let mut bytes = b"\xff\xd8\xff\xe0".to_vec();
    bytes.extend((0_u32..).flat_map(u32::to_le_bytes).take(length - 4));
    bytes
}

/// Waits until the bot said something with these words; what it said.
pub(crate) async fn said(user: &User, room: &RoomId, words: &str) -> String {
    let find = |messages: Vec<String>| messages.into_iter().rev().find(|text| text.contains(words));
    let seen = user.sync_until(|seen| find(seen.room(room).messages()).is_some()).await;
    find(seen.room(room).messages()).unwrap()
}

/// All messages of a room, oldest first.
pub(crate) async fn messages(user: &User, room: &RoomId) -> Vec<Value> {
    let path = format!("/rooms/{room}/messages?dir=b&limit=200").replace('!', "%21");
    let mut events = user.call(Method::GET, &path, None).await["chunk"].as_array().unwrap().clone();
    events.retain(|event| event["type"] == "m.room.message");
    events.reverse();
    events
}

/// Waits for something of which nobody is told.
pub(crate) async fn eventually(is_so: impl AsyncFn() -> bool) {
    let wait = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), wait).await.expect("it comes about");
}

/// How often each text was said.
pub(crate) async fn count(user: &User, room: &RoomId) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for event in messages(user, room).await {
        // Of one that was redacted nothing is left.
        let Some(text) = event["content"]["body"].as_str() else { continue };
        *counts.entry(text.to_owned()).or_default() += 1;
    }
    counts
}

/// Sends an event; its id.
pub(crate) async fn say(user: &User, room: &RoomId, kind: &str, txn: &str, content: &Value) -> String {
    let path = format!("/rooms/{room}/send/{kind}/{txn}").replace('!', "%21");
    user.call(Method::PUT, &path, Some(content)).await["event_id"].as_str().unwrap().to_owned()
}

pub(crate) fn reaction(event: &str) -> Value {
    json!({ "m.relates_to": { "rel_type": "m.annotation", "event_id": event, "key": "✅" } })
}

/// Waits for the room that the bot asks a user into who was not in one with it before, and goes there.
pub(crate) async fn private_room(user: &User) -> OwnedRoomId {
    let invited = async || {
        let sync = user.call(Method::GET, "/sync?timeout=0", None).await;
        sync["rooms"]["invite"].as_object().and_then(|rooms| Some(rooms.keys().next()?.clone()))
    };
    eventually(async || invited().await.is_some()).await;
    let private: OwnedRoomId = invited().await.unwrap().as_str().try_into().unwrap();
    user.join(&private, "kanazawa.test").await;
    private
}

/// The code that the bot told a user who was not in a room with it before.
pub(crate) async fn code_of(user: &User) -> String {
    let private = private_room(user).await;
    let text = said(user, &private, "合言葉：").await;
    text.split("合言葉：").nth(1).unwrap().lines().next().unwrap().to_owned()
}

/// A room with the bot and two members.
pub(crate) async fn two_members(town: &Town) -> (User, User, OwnedRoomId) {
    let (hanako, room) = town.member("hanako").await;
    let jiro = town.stage.server.user("jiro").await;
    hanako.invite(&room, jiro.id()).await;
    jiro.join(&room, "kanazawa.test").await;
    (hanako, jiro, room)
}

/// A room with the bot and a link of its to upload by.
pub(crate) async fn linked(town: &Town) -> (User, OwnedRoomId, String) {
    let (hanako, room) = town.member("hanako").await;
    hanako.send(&room, "!受取 写真").await;
    let link = town.link_in(&said(&hanako, &room, "受取URL 1番").await);
    (hanako, room, link)
}

/// A room with the bot and two members, where one agreed that a file of the other goes out.
pub(crate) struct HandedOver {
    pub(crate) hanako: User,
    pub(crate) jiro: User,
    pub(crate) room: OwnedRoomId,
    /// The file's event, the agreement's, and the link.
    pub(crate) file: String,
    pub(crate) agreement: String,
    pub(crate) link: String,
}

pub(crate) async fn handed_over(town: &Town) -> HandedOver {
    let (hanako, jiro, room) = two_members(town).await;
    let shared = say(&hanako, &room, "m.room.message", "file", &file(&upload(&hanako, "a").await)).await;
    let question = ask_for(&hanako, &room, &shared, 1).await;
    let agreement = say(&jiro, &room, "m.reaction", "yes", &reaction(&question)).await;
    let link = town.link_in(&said(&hanako, &room, "承認 @jiro:kanazawa.test").await);
    HandedOver { hanako, jiro, room, file: shared, agreement, link }
}

/// Uploads a text; its URI.
pub(crate) async fn upload(user: &User, text: &'static str) -> String {
    let path = "/_matrix/media/v3/upload?filename=a.txt";
    let headers = [("content-type", "text/plain")];
    let uploaded = user.ask_bytes(Method::POST, path, &headers, text.as_bytes().into()).await;
    serde_json::from_slice::<Value>(uploaded.body()).unwrap()["content_uri"].as_str().unwrap().to_owned()
}

pub(crate) fn file(uri: &str) -> Value {
    json!({ "msgtype": "m.file", "body": "チラシ.txt", "url": uri })
}

pub(crate) fn edit(event: &str, new: &Value) -> Value {
    let mut content = new.clone();
    content["m.new_content"] = new.clone();
    content["m.relates_to"] = json!({ "rel_type": "m.replace", "event_id": event });
    content
}

pub(crate) fn handover(file: &str) -> Value {
    json!({ "msgtype": "m.text", "body": "!渡し 回数 5", "m.relates_to": { "m.in_reply_to": { "event_id": file } } })
}

/// Asks for a link to download a file by; the bot's question of this number.
pub(crate) async fn ask_for(user: &User, room: &RoomId, file: &str, number: u32) -> String {
    say(user, room, "m.room.message", &format!("ask{number}"), &handover(file)).await;
    question(user, room, number).await
}

/// The event by which the bot asks whether a file may go out.
pub(crate) async fn question(user: &User, room: &RoomId, number: u32) -> String {
    let words = format!("渡しURL {number}番：");
    said(user, room, &words).await;
    let all = messages(user, room).await;
    let question = all
        .iter()
        .find(|event| event["content"]["body"].as_str().is_some_and(|text| text.contains(&words)))
        .unwrap();
    question["event_id"].as_str().unwrap().to_owned()
}

pub(crate) async fn redact(user: &User, room: &RoomId, event: &str) {
    // Each by an id of its own.
    let path =
        format!("/rooms/{room}/redact/{event}/gone-{}", &event[1..]).replace('!', "%21").replace('$', "%24");
    user.call(Method::PUT, &path, Some(&json!({}))).await;
}

pub(crate) async fn set_levels(user: &User, room: &RoomId, change: impl Fn(&mut Value)) {
    let path = format!("/rooms/{room}/state/m.room.power_levels/").replace('!', "%21");
    let mut levels = user.call(Method::GET, &path, None).await;
    change(&mut levels);
    user.call(Method::PUT, &path, Some(&levels)).await;
}

pub(crate) async fn upgrade(user: &User, room: &RoomId) -> OwnedRoomId {
    let path = format!("/rooms/{room}/upgrade").replace('!', "%21");
    let upgraded = user.call(Method::POST, &path, Some(&json!({ "new_version": "11" }))).await;
    upgraded["replacement_room"].as_str().unwrap().try_into().unwrap()
}

pub(crate) async fn ask_in(user: &User, room: &RoomId) {
    user.invite(room, bot()).await;
    user.sync_until(|seen| seen.room(room).membership(bot().as_str()) == Some("join")).await;
}

pub(crate) async fn permit(user: &User, rules: Value) {
    let path = format!("/user/{}/account_data/m.invite_permission_config", user.id());
    user.call(Method::PUT, &path, Some(&rules)).await;
}
