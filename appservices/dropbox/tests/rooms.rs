//! The bot's own process beside a server, and what a browser sends.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

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

const PROGRAM: &str = env!("CARGO_BIN_EXE_yakuba-dropbox");

/// A town with the bot, whose page is here.
struct Town {
    stage: Stage,
    page: String,
    client: Client,
}

async fn town(settings: &str) -> Town {
    // Whatever test is the first: clients over TLS want one, though here all is plain.
    rustls::crypto::ring::default_provider().install_default().ok();
    let page = own_address();
    let settings = format!(
        "place = \"金沢市\"\npublic_url = \"http://{page}\"\npage_address = \"{page}\"\nfiles_path = \"data/files\"\n\
         audit_path = \"data/audit.jsonl\"\n{settings}"
    );
    let stage = Stage::new(&Net::new(), "kanazawa.test", PROGRAM, &settings).await;
    Town { stage, page: format!("http://{page}"), client: Client::builder().build().unwrap() }
}

impl Drop for Town {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("{}", self.stage.log());
        }
    }
}

/// An address that no other test of this machine has, of this process and this number; bots themselves have lower ones.
fn own_address() -> SocketAddr {
    static NUMBER: AtomicU8 = AtomicU8::new(1);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let [low, high, ..] = std::process::id().to_le_bytes();
    SocketAddr::from(([127, 128 | (high & 0x3f), low, number], 8_471))
}

fn bot() -> &'static UserId {
    "@dropbox:kanazawa.test".try_into().unwrap()
}

impl Town {
    /// Somebody with a room into which the bot came.
    async fn member(&self, name: &str) -> (User, OwnedRoomId) {
        let user = self.stage.server.user(name).await;
        let room = user.create_room(Preset::PrivateChat).await;
        user.invite(&room, bot()).await;
        user.sync_until(|seen| seen.room(&room).membership(bot().as_str()) == Some("join")).await;
        (user, room)
    }

    /// The link in what the bot said.
    fn link_in(&self, text: &str) -> String {
        text.lines()
            .find(|line| line.starts_with(&self.page))
            .unwrap_or_else(|| panic!("no link in {text}"))
            .to_owned()
    }

    async fn create(&self, link: &str, name: &str, length: usize) -> String {
        let encoded = |text: &str| BASE64_STANDARD.encode(text);
        let metadata =
            format!("filename {},company {},name {}", encoded(name), encoded("能登建設"), encoded("次郎"));
        let request = self.client.post(format!("{link}/files")).header("upload-length", length);
        let answer = request.header("upload-metadata", metadata).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::CREATED);
        format!("{}{}", self.page, answer.headers()["location"].to_str().unwrap())
    }

    async fn patch(&self, at: &str, offset: usize, bytes: &[u8]) -> Response {
        let request = self.client.patch(at).header("upload-offset", offset).body(bytes.to_vec());
        request.header("content-type", "application/offset+octet-stream").send().await.unwrap()
    }

    async fn offset(&self, at: &str) -> usize {
        let answer = self.client.head(at).send().await.unwrap();
        answer.headers()["upload-offset"].to_str().unwrap().parse().unwrap()
    }

    async fn done(&self, at: &str, bytes: &[u8]) -> Response {
        let body = json!({ "sha256": sha256(bytes) }).to_string();
        self.client.post(format!("{at}/done")).body(body).send().await.unwrap()
    }

    /// What the record holds, by the command that writes it out while the bot runs.
    fn record(&self) -> Vec<Value> {
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

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn picture(length: usize) -> Vec<u8> {
    let mut bytes = b"\xff\xd8\xff\xe0".to_vec();
    bytes.extend((0_u32..).flat_map(u32::to_le_bytes).take(length - 4));
    bytes
}

/// Waits until the bot said something with these words; what it said.
async fn said(user: &User, room: &RoomId, words: &str) -> String {
    let find = |messages: Vec<String>| messages.into_iter().rev().find(|text| text.contains(words));
    let seen = user.sync_until(|seen| find(seen.room(room).messages()).is_some()).await;
    find(seen.room(room).messages()).unwrap()
}

/// All messages of a room, oldest first.
async fn messages(user: &User, room: &RoomId) -> Vec<Value> {
    let path = format!("/rooms/{room}/messages?dir=b&limit=200").replace('!', "%21");
    let mut events = user.call(Method::GET, &path, None).await["chunk"].as_array().unwrap().clone();
    events.retain(|event| event["type"] == "m.room.message");
    events.reverse();
    events
}

/// Waits for something of which nobody is told.
async fn eventually(is_so: impl AsyncFn() -> bool) {
    let wait = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), wait).await.expect("it comes about");
}

/// How often each text was said.
async fn count(user: &User, room: &RoomId) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for event in messages(user, room).await {
        *counts.entry(event["content"]["body"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    counts
}

#[tokio::test]
async fn a_file_that_was_cut_by_kills_comes_into_the_room_once_and_whole() {
    let town = town("").await;
    let (hanako, room) = town.member("hanako").await;
    hanako.send(&room, "!受取 工事写真 期限 7日 件数 10 上限 2GB 種類 画像,PDF").await;
    let link = town.link_in(&said(&hanako, &room, "受取URL 1番").await);

    let bytes = picture(20_000_000);
    let at = town.create(&link, "1工区/写真.jpg", bytes.len()).await;
    assert_eq!(town.patch(&at, 0, &bytes[..9_000_000]).await.status(), StatusCode::NO_CONTENT);
    town.stage.kill_bot();
    town.stage.start_bot().await;
    // What was acknowledged is there; a request that is killed in its middle may have brought some more.
    assert_eq!(town.offset(&at).await, 9_000_000);
    let rest = town.patch(&at, 9_000_000, &bytes[9_000_000..]);
    let (rest, ()) = tokio::join!(rest, async {});
    assert_eq!(rest.status(), StatusCode::NO_CONTENT);
    assert_eq!(town.done(&at, &bytes).await.status(), StatusCode::OK);
    // Wherever it is on its way by now.
    town.stage.kill_bot();
    town.stage.start_bot().await;

    said(&hanako, &room, "に届きました").await;
    town.stage.kill_bot();
    town.stage.start_bot().await;
    assert_eq!(town.done(&at, &bytes).await.status(), StatusCode::OK, "told again");
    let all = messages(&hanako, &room).await;
    let files: Vec<&Value> = all.iter().filter(|event| event["content"]["msgtype"] == "m.image").collect();
    assert_eq!(files.len(), 1, "{all:#?}");
    let content = &files[0]["content"];
    assert_eq!(content["body"], "1工区_写真.jpg");
    assert_eq!(content["info"], json!({ "mimetype": "image/jpeg", "size": bytes.len() }));
    let notice =
        all.iter().find(|event| event["content"]["body"].as_str().unwrap().contains("に届きました")).unwrap();
    let body = notice["content"]["body"].as_str().unwrap();
    for words in ["1工区_写真.jpg（20 MB）", "能登建設 次郎", &sha256(&bytes)] {
        assert!(body.contains(words), "{body}");
    }
    assert_eq!(notice["content"]["m.mentions"]["user_ids"][0], hanako.id().as_str());
    assert!(count(&hanako, &room).await.values().all(|count| *count == 1), "nothing is said twice");

    let uri = content["url"].as_str().unwrap().strip_prefix("mxc://").unwrap();
    let path = format!("/_matrix/client/v1/media/download/{uri}");
    let got = hanako.ask_bytes(Method::GET, &path, &[], Default::default()).await;
    assert_eq!(sha256(got.body()), sha256(&bytes));
    // Killed between the notice and the note of it, it does both once more, which shows in no room.
    let files = town.stage.directory.path().join("data/files");
    eventually(async || {
        let is_noted = town.record().last().is_some_and(|line| line["what"] == "upload_delivered");
        is_noted && std::fs::read_dir(&files).unwrap().count() == 0
    })
    .await;
    assert!(count(&hanako, &room).await.values().all(|count| *count == 1), "nothing is said twice");
    let record = town.record();
    let whats: Vec<&str> = record.iter().map(|line| line["what"].as_str().unwrap()).collect();
    assert_eq!(whats, ["link_made", "upload_begun", "upload_whole", "upload_delivered"]);
    assert_eq!(record[2]["file"]["original_name"], "1工区/写真.jpg");
    assert_eq!(record[2]["file"]["sha256"], sha256(&bytes));
}

#[tokio::test]
async fn a_code_is_told_to_the_maker_alone_and_opens_the_link() {
    let town = town("").await;
    let (hanako, room) = town.member("hanako").await;
    hanako.send(&room, "!受取 図面 合言葉").await;
    let invited =
        hanako.sync_until(|seen| seen.room(&room).messages().iter().any(|text| text.contains("受取URL 1番")));
    let seen = invited.await;
    let link =
        town.link_in(seen.room(&room).messages().iter().find(|text| text.contains("受取URL")).unwrap());
    let code = code_of(&hanako).await;

    let page = town.client.get(&link).send().await.unwrap().text().await.unwrap();
    assert!(!page.contains("図面") && page.contains("合言葉"), "{page}");
    let entered = town.client.post(format!("{link}/code")).body(format!("code={}", code.replace(' ', "")));
    let entered = entered.send().await.unwrap();
    // Redirected to the page with the cookie, which this client does not keep.
    assert!(entered.status().is_success() || entered.status().is_redirection());
    assert!(!said(&hanako, &room, "受取URL 1番").await.contains(&code));
    hanako.send(&room, "!受取 別の図面 合言葉").await;
    said(&hanako, &room, "受取URL 2番").await;
    let seen = hanako.sync(Duration::ZERO).await;
    let mut told = seen.rooms.values().flat_map(|room| room.messages());
    assert!(told.any(|text| text.contains("2番「別の図面」の合言葉")), "in the same private room");
}

#[tokio::test]
async fn links_are_listed_and_ended_by_those_who_may_make_them() {
    let town = town("least_power = 50").await;
    let (hanako, room) = town.member("hanako").await;
    let jiro = town.stage.server.user("jiro").await;
    hanako.invite(&room, jiro.id()).await;
    jiro.join(&room, "kanazawa.test").await;
    jiro.send(&room, "!受取 だめ").await;
    said(&jiro, &room, "権限がありません").await;
    hanako.send(&room, "!receive plans expires 2d files 3").await;
    let link = town.link_in(&said(&hanako, &room, "Link no. 1").await);
    hanako.send(&room, "!受取 一覧").await;
    assert!(said(&hanako, &room, "いま使える受取URL\n").await.contains("1番「plans」"));
    jiro.send(&room, "!受取 取消 1").await;
    hanako.send(&room, "!受取 取消 1").await;
    said(&hanako, &room, "取り消しました").await;
    let answer = town.client.get(&link).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::GONE);
    hanako.send(&room, "!受取 取消 1").await;
    said(&hanako, &room, "1番の使えるURLはありません").await;
    hanako.send(&room, "!受取 x 期限 1分").await;
    said(&hanako, &room, "期限は 10分 から").await;
}

#[tokio::test]
async fn the_maker_is_reminded_and_the_room_is_told_of_the_end() {
    let town = town("lasts = \"6s\"\ngrace = \"1s\"\nkeep = \"1s\"").await;
    let (hanako, room) = town.member("hanako").await;
    hanako.send(&room, "!受取 見積書").await;
    let link = town.link_in(&said(&hanako, &room, "受取URL 1番").await);
    said(&hanako, &room, "まだ何も届いていません").await;
    let all = messages(&hanako, &room).await;
    let reminder =
        all.iter().find(|event| event["content"]["body"].as_str().unwrap().contains("まだ何も")).unwrap();
    assert_eq!(reminder["content"]["m.mentions"]["user_ids"], json!([hanako.id()]));
    town.stage.kill_bot();
    town.stage.start_bot().await;
    said(&hanako, &room, "期限が過ぎました").await;
    assert!(count(&hanako, &room).await.values().all(|count| *count == 1));
    eventually(async || town.client.get(&link).send().await.unwrap().status().is_client_error()).await;
}

#[tokio::test]
async fn members_of_other_servers_make_no_links_and_do_not_bring_the_bot_in() {
    let town = town("makers = [\"elsewhere.test\"]").await;
    let hanako = town.stage.server.user("hanako").await;
    let room = hanako.create_room(Preset::PrivateChat).await;
    hanako.invite(&room, bot()).await;
    let left = |state: Option<&str>| state == Some("leave");
    hanako.sync_until(|seen| left(seen.room(&room).membership(bot().as_str()))).await;
}

/// Sends an event; its id.
async fn say(user: &User, room: &RoomId, kind: &str, txn: &str, content: &Value) -> String {
    let path = format!("/rooms/{room}/send/{kind}/{txn}").replace('!', "%21");
    user.call(Method::PUT, &path, Some(content)).await["event_id"].as_str().unwrap().to_owned()
}

fn reaction(event: &str) -> Value {
    json!({ "m.relates_to": { "rel_type": "m.annotation", "event_id": event, "key": "✅" } })
}

/// Waits for the room that the bot asks a user into who was not in one with it before, and goes there.
async fn private_room(user: &User) -> OwnedRoomId {
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
async fn code_of(user: &User) -> String {
    let private = private_room(user).await;
    let text = said(user, &private, "合言葉：").await;
    text.split("合言葉：").nth(1).unwrap().lines().next().unwrap().to_owned()
}

#[tokio::test]
async fn a_file_is_handed_over_once_another_member_agrees_and_so_often_as_was_said() {
    let town = town("").await;
    let (hanako, room) = town.member("hanako").await;
    let jiro = town.stage.server.user("jiro").await;
    hanako.invite(&room, jiro.id()).await;
    jiro.join(&room, "kanazawa.test").await;
    let bytes = picture(3_000_000);
    let path = "/_matrix/media/v3/upload?filename=plan.jpg";
    let uploaded =
        hanako.ask_bytes(Method::POST, path, &[("content-type", "image/jpeg")], bytes.clone().into()).await;
    let uri = serde_json::from_slice::<Value>(uploaded.body()).unwrap()["content_uri"].clone();
    let content =
        json!({ "msgtype": "m.image", "body": "計画/図.jpg", "url": uri, "info": { "size": bytes.len() } });
    let file = say(&hanako, &room, "m.room.message", "file", &content).await;
    hanako.send(&room, "!渡し").await;
    said(&hanako, &room, "返信する形で").await;

    let command = json!({
        "msgtype": "m.text", "body": "!渡し 期限 1日 回数 2 合言葉", "m.relates_to": { "m.in_reply_to": { "event_id": file } },
    });
    say(&hanako, &room, "m.room.message", "command", &command).await;
    said(&hanako, &room, "渡そうとしています").await;
    let asked = messages(&hanako, &room).await;
    let question =
        asked.iter().find(|event| event["content"]["body"].as_str().unwrap().contains("渡そうと")).unwrap();
    let question = question["event_id"].as_str().unwrap();
    say(&hanako, &room, "m.reaction", "own", &reaction(question)).await;
    said(&hanako, &room, "頼んだ本人は承認できません").await;
    town.stage.kill_bot();
    say(&jiro, &room, "m.reaction", "yes", &reaction(question)).await;
    town.stage.start_bot().await;
    let link = town.link_in(&said(&hanako, &room, "承認 @jiro:kanazawa.test").await);
    let code = code_of(&hanako).await;

    let client = Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    for _ in 0..3 {
        let page = client.get(&link).send().await.unwrap().text().await.unwrap();
        assert!(!page.contains("図.jpg") && page.contains("合言葉"), "{page}");
    }
    let fetch = async |cookie: &str| {
        client.post(format!("{link}/file")).header("cookie", cookie).send().await.unwrap()
    };
    assert_eq!(fetch("").await.status(), StatusCode::FORBIDDEN);
    let entered = client.post(format!("{link}/code")).body(format!("code={}", code.replace(' ', "+")));
    let entered = entered.send().await.unwrap();
    assert_eq!(entered.status(), StatusCode::SEE_OTHER);
    let cookie = entered.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    let page = client.get(&link).header("cookie", &cookie).send().await.unwrap().text().await.unwrap();
    assert!(page.contains("計画_図.jpg") && page.contains("3 MB"), "{page}");
    assert!(!page.contains("hanako") && !page.contains("jiro"), "{page}");

    for _ in 0..2 {
        let got = fetch(&cookie).await;
        assert_eq!(got.headers()["content-type"], "application/octet-stream");
        let named = got.headers()["content-disposition"].to_str().unwrap();
        assert_eq!(named, "attachment; filename*=UTF-8''%E8%A8%88%E7%94%BB%5F%E5%9B%B3%2Ejpg");
        assert_eq!(sha256(&got.bytes().await.unwrap()), sha256(&bytes));
    }
    assert_eq!(fetch(&cookie).await.status(), StatusCode::GONE, "a third time");
    hanako.send(&room, "!渡し 一覧").await;
    said(&hanako, &room, "いま使える渡しURLはありません").await;
    assert!(count(&hanako, &room).await.values().all(|count| *count == 1), "nothing is said twice");
    eventually(async || town.record().len() == 5).await;
    let whats: Vec<Value> = town.record().iter().map(|line| line["what"].clone()).collect();
    let wanted =
        ["handover_asked", "handover_agreed", "code_right", "handover_downloaded", "handover_downloaded"];
    assert_eq!(whats, wanted);
}

#[tokio::test]
async fn a_file_that_another_room_holds_is_not_handed_over_and_a_link_is_ended() {
    let town = town("").await;
    let (hanako, room) = town.member("hanako").await;
    let elsewhere = hanako.create_room(Preset::PrivateChat).await;
    let content = json!({ "msgtype": "m.file", "body": "a", "url": "mxc://kanazawa.test/a" });
    let foreign = say(&hanako, &elsewhere, "m.room.message", "file", &content).await;
    let own = say(&hanako, &room, "m.room.message", "file", &content).await;
    let reply = |event: &str| json!({ "msgtype": "m.text", "body": "!handover", "m.relates_to": { "m.in_reply_to": { "event_id": event } } });
    say(&hanako, &room, "m.room.message", "foreign", &reply(&foreign)).await;
    said(&hanako, &room, "Write it as a reply").await;
    say(&hanako, &room, "m.room.message", "own", &reply(&own)).await;
    said(&hanako, &room, "wants to hand “a”").await;
    hanako.send(&room, "!渡し 一覧").await;
    assert!(said(&hanako, &room, "渡しURL\n").await.contains("1番「a」承認待ち"));
    hanako.send(&room, "!渡し 取消 1").await;
    said(&hanako, &room, "取り消しました").await;

    // What is deleted in the room goes out no more.
    say(&hanako, &room, "m.room.message", "again", &reply(&own)).await;
    said(&hanako, &room, "download by no. 2").await;
    let path = format!("/rooms/{room}/redact/{own}/gone").replace('!', "%21").replace('$', "%24");
    hanako.call(Method::PUT, &path, Some(&json!({}))).await;
    eventually(async || town.record().len() == 4).await;
    assert_eq!(town.record()[3]["what"], "handover_ended");
}

/// A room with the bot and two members.
async fn two_members(town: &Town) -> (User, User, OwnedRoomId) {
    let (hanako, room) = town.member("hanako").await;
    let jiro = town.stage.server.user("jiro").await;
    hanako.invite(&room, jiro.id()).await;
    jiro.join(&room, "kanazawa.test").await;
    (hanako, jiro, room)
}

/// Uploads a text; its URI.
async fn upload(user: &User, text: &'static str) -> String {
    let path = "/_matrix/media/v3/upload?filename=a.txt";
    let headers = [("content-type", "text/plain")];
    let uploaded = user.ask_bytes(Method::POST, path, &headers, text.as_bytes().into()).await;
    serde_json::from_slice::<Value>(uploaded.body()).unwrap()["content_uri"].as_str().unwrap().to_owned()
}

fn file(uri: &str) -> Value {
    json!({ "msgtype": "m.file", "body": "チラシ.txt", "url": uri })
}

fn edit(event: &str, new: &Value) -> Value {
    let mut content = new.clone();
    content["m.new_content"] = new.clone();
    content["m.relates_to"] = json!({ "rel_type": "m.replace", "event_id": event });
    content
}

fn handover(file: &str) -> Value {
    json!({ "msgtype": "m.text", "body": "!渡し 回数 5", "m.relates_to": { "m.in_reply_to": { "event_id": file } } })
}

/// Asks for a link to download a file by; the bot's question of this number.
async fn ask_for(user: &User, room: &RoomId, file: &str, number: u32) -> String {
    say(user, room, "m.room.message", &format!("ask{number}"), &handover(file)).await;
    let words = format!("渡しURL {number}番：");
    said(user, room, &words).await;
    let all = messages(user, room).await;
    let question =
        all.iter().find(|event| event["content"]["body"].as_str().unwrap().contains(&words)).unwrap();
    question["event_id"].as_str().unwrap().to_owned()
}

async fn redact(user: &User, room: &RoomId, event: &str) {
    let path = format!("/rooms/{room}/redact/{event}/gone").replace('!', "%21").replace('$', "%24");
    user.call(Method::PUT, &path, Some(&json!({}))).await;
}

#[tokio::test]
async fn only_people_who_are_in_the_room_are_obeyed_and_nothing_from_outside() {
    let town = town("").await;
    let (hanako, jiro, room) = two_members(&town).await;
    let marked = json!({ "msgtype": "m.text", "body": "!受取 外から", "m.automated": true });
    say(&hanako, &room, "m.room.message", "marked", &marked).await;
    let notice = json!({ "msgtype": "m.notice", "body": "!受取 ほかのボット" });
    say(&hanako, &room, "m.room.message", "notice", &notice).await;
    // What somebody said who is not there any more when it is read.
    let file = say(&hanako, &room, "m.room.message", "file", &file(&upload(&hanako, "a").await)).await;
    let question = ask_for(&hanako, &room, &file, 1).await;
    town.stage.kill_bot();
    jiro.send(&room, "!受取 退室した人").await;
    say(&jiro, &room, "m.reaction", "yes", &reaction(&question)).await;
    hanako.kick(&room, jiro.id()).await;
    town.stage.start_bot().await;
    hanako.send(&room, "!受取 職員").await;
    assert!(said(&hanako, &room, "受取URL 1番").await.contains("「職員」"));
    hanako.send(&room, "!受取 一覧").await;
    assert_eq!(said(&hanako, &room, "いま使える受取URL\n").await.lines().count(), 2);
    hanako.send(&room, "!渡し 一覧").await;
    assert!(said(&hanako, &room, "渡しURL\n").await.contains("1番「チラシ.txt」承認待ち"));
}

#[tokio::test]
async fn what_goes_out_is_the_file_that_was_shown_to_who_agreed() {
    let town = town("").await;
    let (hanako, jiro, room) = two_members(&town).await;
    let (a, b) = (upload(&jiro, "secret").await, upload(&jiro, "harmless").await);
    let status = async |link: &str| town.client.post(format!("{link}/file")).send().await.unwrap().status();
    // It was edited before somebody asks.
    let edited = say(&jiro, &room, "m.room.message", "edited", &file(&a)).await;
    say(&jiro, &room, "m.room.message", "edit1", &edit(&edited, &file(&b))).await;
    say(&hanako, &room, "m.room.message", "ask0", &handover(&edited)).await;
    said(&hanako, &room, "編集で差し替えられている").await;
    // It is edited between question and agreement, while the bot is away.
    let second = say(&hanako, &room, "m.room.message", "second", &file(&a)).await;
    let question = ask_for(&hanako, &room, &second, 1).await;
    town.stage.kill_bot();
    say(&jiro, &room, "m.reaction", "yes1", &reaction(&question)).await;
    say(&hanako, &room, "m.room.message", "edit2", &edit(&second, &file(&b))).await;
    town.stage.start_bot().await;
    said(&hanako, &room, "渡しURL 1番「チラシ.txt」は、頼んだあとで").await;
    // It is edited once the link is good. Other words beside it change nothing, nor does what others call an edit.
    let third = say(&hanako, &room, "m.room.message", "third", &file(&a)).await;
    let question = ask_for(&hanako, &room, &third, 2).await;
    say(
        &hanako,
        &room,
        "m.room.message",
        "words",
        &edit(&third, &json!({ "msgtype": "m.file", "body": "説明", "url": a })),
    )
    .await;
    say(&jiro, &room, "m.room.message", "foreign", &edit(&third, &file(&b))).await;
    say(&jiro, &room, "m.reaction", "yes2", &reaction(&question)).await;
    let link = town.link_in(&said(&hanako, &room, "承認 @jiro:kanazawa.test").await);
    let got = town.client.post(format!("{link}/file")).send().await.unwrap();
    assert_eq!(got.text().await.unwrap(), "secret");
    say(&hanako, &room, "m.room.message", "edit3", &edit(&third, &file(&b))).await;
    said(&hanako, &room, "渡しURL 2番「チラシ.txt」は、頼んだあとで").await;
    assert_eq!(status(&link).await, StatusCode::GONE);
}

#[tokio::test]
async fn the_links_of_a_room_end_when_the_bot_is_put_out_and_the_file_that_waits_comes_when_it_is_back() {
    let town = town("").await;
    let (hanako, jiro, room) = two_members(&town).await;
    let deleted = say(&hanako, &room, "m.room.message", "file", &file(&upload(&hanako, "a").await)).await;
    let question = ask_for(&hanako, &room, &deleted, 1).await;
    say(&jiro, &room, "m.reaction", "yes", &reaction(&question)).await;
    let hand = town.link_in(&said(&hanako, &room, "承認 @jiro:kanazawa.test").await);
    hanako.send(&room, "!受取 写真").await;
    let link = town.link_in(&said(&hanako, &room, "受取URL 1番").await);

    set_levels(&hanako, &room, |levels| levels["users"][jiro.id().as_str()] = json!(50)).await;
    jiro.kick(&room, bot()).await;
    let private = private_room(&hanako).await;
    let told = said(&hanako, &private, "ボットが部屋から外された").await;
    assert!(told.contains("受取URL 1番「写真」") && told.contains("渡しURL 1番「チラシ.txt」"), "{told}");
    for answer in [town.client.get(&link).send(), town.client.post(format!("{hand}/file")).send()] {
        assert_eq!(answer.await.unwrap().status(), StatusCode::GONE);
    }
    hanako.invite(&room, bot()).await;
    hanako.sync_until(|seen| seen.room(&room).membership(bot().as_str()) == Some("join")).await;
    hanako.send(&room, "!受取 一覧").await;
    said(&hanako, &room, "いま使える受取URLはありません").await;
}

#[tokio::test]
async fn a_file_that_was_deleted_while_the_bot_was_not_told_goes_out_no_more() {
    let town = town("").await;
    let (hanako, jiro, room) = two_members(&town).await;
    let deleted = say(&hanako, &room, "m.room.message", "file", &file(&upload(&hanako, "a").await)).await;
    let question = ask_for(&hanako, &room, &deleted, 1).await;
    say(&jiro, &room, "m.reaction", "yes", &reaction(&question)).await;
    let link = town.link_in(&said(&hanako, &room, "承認 @jiro:kanazawa.test").await);
    redact(&hanako, &room, &deleted).await;
    // At once, whether or not the bot has heard of it yet.
    let answer = town.client.post(format!("{link}/file")).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::GONE);
}

async fn set_levels(user: &User, room: &RoomId, change: impl Fn(&mut Value)) {
    let path = format!("/rooms/{room}/state/m.room.power_levels/").replace('!', "%21");
    let mut levels = user.call(Method::GET, &path, None).await;
    change(&mut levels);
    user.call(Method::PUT, &path, Some(&levels)).await;
}

#[tokio::test]
async fn a_room_that_refuses_takes_nothing_new_and_what_is_held_comes_at_once_when_it_takes_again() {
    let town = town("").await;
    let (hanako, room) = town.member("hanako").await;
    hanako.send(&room, "!受取 写真").await;
    let link = town.link_in(&said(&hanako, &room, "受取URL 1番").await);
    let bytes = picture(5_000);
    let at = town.create(&link, "写真.jpg", bytes.len()).await;
    set_levels(&hanako, &room, |levels| levels["events_default"] = json!(50)).await;
    let private = private_room(&hanako).await;
    assert!(said(&hanako, &private, "投稿できなくなった").await.contains("1番「写真」"));
    let refused = town
        .client
        .post(format!("{link}/files"))
        .header("upload-length", 5)
        .header("upload-metadata", format!("name {}", BASE64_STANDARD.encode("次郎")));
    assert_eq!(refused.send().await.unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
    // What was begun before comes whole, and is held.
    assert_eq!(town.patch(&at, 0, &bytes).await.status(), StatusCode::NO_CONTENT);
    assert_eq!(town.done(&at, &bytes).await.status(), StatusCode::OK);
    said(&hanako, &private, "サーバーが受け付けません").await;
    set_levels(&hanako, &room, |levels| levels["events_default"] = json!(0)).await;
    said(&hanako, &room, "に届きました：写真.jpg").await;
    town.create(&link, "次.jpg", 5).await;
}

#[tokio::test]
async fn links_go_with_their_room_when_it_is_upgraded() {
    let town = town("").await;
    let (hanako, jiro, room) = two_members(&town).await;
    hanako.send(&room, "!受取 写真").await;
    let link = town.link_in(&said(&hanako, &room, "受取URL 1番").await);
    let shared = say(&hanako, &room, "m.room.message", "file", &file(&upload(&hanako, "a").await)).await;
    let question = ask_for(&hanako, &room, &shared, 1).await;
    say(&jiro, &room, "m.reaction", "yes", &reaction(&question)).await;
    let hand = town.link_in(&said(&hanako, &room, "承認 @jiro:kanazawa.test").await);
    let bytes = picture(5_000);
    let at = town.create(&link, "写真.jpg", bytes.len()).await;

    let path = format!("/rooms/{room}/upgrade").replace('!', "%21");
    let upgraded = hanako.call(Method::POST, &path, Some(&json!({ "new_version": "11" }))).await;
    let new: OwnedRoomId = upgraded["replacement_room"].as_str().unwrap().try_into().unwrap();
    let private = private_room(&hanako).await;
    said(&hanako, &private, "投稿できなくなった").await;
    assert_eq!(town.patch(&at, 0, &bytes).await.status(), StatusCode::NO_CONTENT);
    assert_eq!(town.done(&at, &bytes).await.status(), StatusCode::OK);
    said(&hanako, &private, "サーバーが受け付けません").await;

    hanako.invite(&new, bot()).await;
    said(&hanako, &new, "この部屋が引き継ぎました").await;
    said(&hanako, &new, "1番「写真」に届きました：写真.jpg").await;
    let got = town.client.post(format!("{hand}/file")).send().await.unwrap();
    assert_eq!(got.status(), StatusCode::OK);
    hanako.send(&new, "!受取 取消 1").await;
    said(&hanako, &new, "「写真」を取り消しました").await;
    hanako.send(&new, "!渡し 取消 1").await;
    said(&hanako, &new, "「チラシ.txt」を取り消しました").await;
    assert_eq!(town.client.post(format!("{hand}/file")).send().await.unwrap().status(), StatusCode::GONE);
}

#[tokio::test]
async fn a_room_that_only_says_that_it_came_of_another_gets_no_links() {
    let town = town("").await;
    let (hanako, room) = town.member("hanako").await;
    hanako.send(&room, "!受取 写真").await;
    said(&hanako, &room, "受取URL 1番").await;
    let jiro = town.stage.server.user("jiro").await;
    let creation = json!({ "predecessor": { "room_id": room, "event_id": "$last" } });
    let foreign =
        jiro.create_room_with(&json!({ "preset": "private_chat", "creation_content": creation })).await;
    jiro.invite(&foreign, bot()).await;
    jiro.sync_until(|seen| seen.room(&foreign).membership(bot().as_str()) == Some("join")).await;
    jiro.send(&foreign, "!受取 一覧").await;
    said(&jiro, &foreign, "いま使える受取URLはありません").await;
    hanako.send(&room, "!受取 一覧").await;
    said(&hanako, &room, "1番「写真」 ").await;
}

#[tokio::test]
async fn an_agreement_that_is_taken_back_and_a_room_that_is_encrypted_end_links() {
    let town = town("").await;
    let (hanako, jiro, room) = two_members(&town).await;
    let shared = say(&hanako, &room, "m.room.message", "file", &file(&upload(&hanako, "a").await)).await;
    let question = ask_for(&hanako, &room, &shared, 1).await;
    let yes = say(&jiro, &room, "m.reaction", "yes", &reaction(&question)).await;
    let hand = town.link_in(&said(&hanako, &room, "承認 @jiro:kanazawa.test").await);
    redact(&jiro, &room, &yes).await;
    said(&hanako, &room, "承認が取り消されたため").await;
    assert_eq!(town.client.get(&hand).send().await.unwrap().status(), StatusCode::GONE);

    hanako.send(&room, "!受取 写真").await;
    let link = town.link_in(&said(&hanako, &room, "受取URL 1番").await);
    let path = format!("/rooms/{room}/state/m.room.encryption/").replace('!', "%21");
    hanako.call(Method::PUT, &path, Some(&json!({ "algorithm": "m.megolm.v1.aes-sha2" }))).await;
    let private = private_room(&hanako).await;
    said(&hanako, &private, "部屋が暗号化されたため").await;
    assert_eq!(town.client.get(&link).send().await.unwrap().status(), StatusCode::GONE);
    hanako.send(&room, "!受取 平文").await;
    said(&hanako, &room, "この部屋は暗号化されている").await;
}
