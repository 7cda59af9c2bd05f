//! What users are told of their files, beside a listener on LGWAN's side that does what it likes.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use bot_kit::{Store, Table};
use bot_testing::Stage;
use serde_json::{Value, json};
use testkit::{Net, User};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::people::{hears, memo_room, send};

/// A listener that answers by the ids of files: `program…` is refused for good, `shaky…` the first time, `hang…` never.
struct Lgwan {
    address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Default)]
struct Seen {
    /// How often each file was asked for.
    times: HashMap<String, usize>,
    /// Those who wait for an answer now.
    waiting: Vec<String>,
    /// How many waited at a time at most, of those that lie here and of the others.
    most: [usize; 2],
}

impl Seen {
    fn begin(&mut self, id: &str) -> usize {
        self.waiting.push(id.to_owned());
        let elsewhere = self.waiting.iter().filter(|id| id.starts_with("hang-elsewhere")).count();
        let here = self.waiting.iter().filter(|id| id.starts_with("hang")).count() - elsewhere;
        self.most = [self.most[0].max(here), self.most[1].max(elsewhere)];
        let times = self.times.entry(id.to_owned()).or_default();
        *times += 1;
        *times
    }

    fn end(&mut self, id: &str) {
        let at = self.waiting.iter().position(|waiting| waiting == id).unwrap();
        self.waiting.swap_remove(at);
    }
}

impl Lgwan {
    async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let lgwan = Self { address: listener.local_addr().unwrap(), seen: Arc::default() };
        let seen = lgwan.seen.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream, seen.clone()));
            }
        });
        lgwan
    }
}

async fn answer(mut stream: TcpStream, seen: Arc<Mutex<Seen>>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let head = String::from_utf8(head).unwrap();
    let path = head.split(' ').nth(1).unwrap();
    let id = path.rsplit('/').next().unwrap().to_owned();
    let times = seen.lock().unwrap().begin(&id);
    let refusal = |reason: &str, sentence: &str| {
        json!({
            "errcode": "M_FORBIDDEN", "error": sentence, "jp.yakuba.reason": reason, "retry_after_ms": 1,
        })
    };
    let answer = match &*id {
        id if id.starts_with("hang") => None,
        id if id.starts_with("program") => Some(("403 Forbidden", refusal("program", "プログラムです。"))),
        id if id.starts_with("shaky") && times == 1 => {
            Some(("403 Forbidden", refusal("worker-died", "途中で止まりました。")))
        }
        _ => Some(("200 OK", json!({}))),
    };
    match answer {
        Some((status, body)) => {
            let body = body.to_string();
            let length = body.len();
            let answer =
                format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
            stream.write_all(answer.as_bytes()).await.ok();
        }
        // Until whoever asked has enough of it.
        None => while stream.read_u8().await.is_ok() {},
    }
    seen.lock().unwrap().end(&id);
}

async fn stage(lgwan: &Lgwan) -> Stage {
    let settings = format!("lgwan_url = \"http://{}\"", lgwan.address);
    Stage::new(&Net::new(), "kanazawa.test", env!("CARGO_BIN_EXE_yakuba-memo"), &settings).await
}

async fn send_file(user: &User, room: &ruma::RoomId, name: &str, uri: &str) -> String {
    let message = json!({ "msgtype": "m.file", "body": name, "url": uri });
    send(user, room, &format!("send-{name}"), &message).await
}

#[tokio::test]
async fn what_one_user_heaps_up_delays_nobody_elses_verdict_and_other_servers_files_are_few() {
    let lgwan = Lgwan::new().await;
    let stage = stage(&lgwan).await;
    let (sakura, taro) = (stage.server.user("sakura").await, stage.server.user("taro").await);
    let (hers, his) = (memo_room(&sakura).await, memo_room(&taro).await);
    for number in 0..3 {
        send_file(&sakura, &hers, &format!("{number}.zip"), &format!("mxc://kanazawa.test/hang{number}"))
            .await;
    }
    // One more than may wait, and the one that is asked for.
    for number in 0..22 {
        let uri = format!("mxc://evil.invalid/hang-elsewhere{number}");
        send_file(&sakura, &hers, &format!("{number}.jpg"), &uri).await;
    }
    sakura.send(&hers, "一覧").await;
    hears(&sakura, &hers, |text| text.contains("newest of 25")).await;

    send_file(&taro, &his, "tool.exe", "mxc://kanazawa.test/program").await;
    let notice = hears(&taro, &his, |text| text.contains("tool.exe")).await;
    assert!(notice.contains("LGWAN 側には渡りません") && notice.contains("プログラムです。"), "{notice}");
    // One of each lane at a time.
    assert_eq!(lgwan.seen.lock().unwrap().most, [1, 1]);

    stage.stop_bot().await;
    let store = Store::open(&stage.directory.path().join("data/bot.redb")).unwrap();
    let waiting = Table::<Value>::new("errands");
    let count = |place: &str| format!("{place}/{}/", sakura.id());
    assert_eq!(store.count(&waiting, &count("here")).await.unwrap(), 3);
    assert_eq!(store.count(&waiting, &count("elsewhere")).await.unwrap(), 20);
    assert_eq!(store.count(&waiting, "").await.unwrap(), 23);
}

#[tokio::test]
async fn a_refusal_of_the_moment_is_told_as_such_and_taken_back_and_goes_with_its_memo() {
    let lgwan = Lgwan::new().await;
    let stage = stage(&lgwan).await;
    let hanako = stage.server.user("hanako").await;
    let room = memo_room(&hanako).await;
    hanako.send(&room, "のこるメモ").await;
    let photo = send_file(&hanako, &room, "写真39.jpg", "mxc://kanazawa.test/shaky").await;
    hears(&hanako, &room, |text| text.contains("写真39.jpg") && text.contains("いまは LGWAN 側に渡りません"))
        .await;
    // What was heard outlives the bot.
    stage.kill_bot();
    stage.start_bot().await;
    hears(&hanako, &room, |text| text.contains("写真39.jpg") && text.contains("渡るようになりました")).await;

    let reply = json!({
        "msgtype": "m.text", "body": "消す", "m.relates_to": { "m.in_reply_to": { "event_id": photo } },
    });
    send(&hanako, &room, "reply", &reply).await;
    hears(&hanako, &room, |text| text.starts_with("1件のメモを消しました")).await;
    // What was said of the file is deleted one after the other.
    let gone = async {
        while hanako.history(&room).await.join("\n").contains("写真39") {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), gone).await.unwrap();
    assert!(hanako.history(&room).await.contains(&"のこるメモ".to_owned()));
}

#[tokio::test]
async fn of_an_encrypted_attachment_its_sender_is_told_that_it_does_not_leave() {
    let stage = Stage::new(&Net::new(), "kanazawa.test", env!("CARGO_BIN_EXE_yakuba-memo"), "").await;
    let hanako = stage.server.user("hanako").await;
    let room = memo_room(&hanako).await;
    let message = json!({ "msgtype": "m.image", "body": "現場.jpg",
        "file": { "url": "mxc://kanazawa.test/a", "v": "v2", "key": {}, "iv": "", "hashes": {} } });
    send(&hanako, &room, "photo", &message).await;
    hears(&hanako, &room, |text| text.contains("暗号化されたファイルは無害化できない")).await;
    hanako.send(&room, "一覧").await;
    hears(&hanako, &room, |text| text.contains("現場.jpg")).await;
}
