//! The authority's mail server, as the bot meets it, and what people do beside it.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicU8, Ordering},
    time::Duration,
};

use bot_testing::Stage;
use ruma::{OwnedRoomId, RoomId};
use serde_json::{Value, json};
use testkit::{Net, Seen, User};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
};

pub(crate) const BOT: &str = "@mailgate:kanazawa.test";
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_yakuba-mailgate");

/// A server with the bot, and where mail is handed over to it.
pub(crate) struct Town {
    pub(crate) stage: Stage,
    pub(crate) door: SocketAddr,
    settings: String,
}

impl Town {
    pub(crate) async fn new(more: &str) -> Self {
        let town = Self::in_net(&Net::new(), more).await;
        town.stage.start_bot().await;
        town
    }

    /// The same, with the bot still to be started.
    pub(crate) async fn in_net(net: &Net, more: &str) -> Self {
        let door = own_address();
        let settings = format!("domain = \"in.kanazawa.test\"\naddress = \"{door}\"\n{more}");
        let stage = Stage::without_bot(net, "kanazawa.test", PROGRAM, &settings).await;
        Self { stage, door, settings }
    }

    /// The homeserver is up again, elsewhere.
    pub(crate) async fn server_is_back(&mut self) {
        self.stage.server.start().await;
        self.stage.open_door(&self.settings).await;
    }

    pub(crate) async fn restart_bot(&self) {
        self.stage.kill_bot();
        self.stage.start_bot().await;
    }

    /// The bot is started again with more settings.
    pub(crate) async fn restart_bot_with(&self, more: &str) {
        self.stage.kill_bot();
        self.stage.set(&format!("{more}\n{}", self.settings));
        self.stage.start_bot().await;
    }

    /// A room with the bot and an address, to which these may write.
    pub(crate) async fn room(&self, user: &User, writers: &str) -> (OwnedRoomId, String) {
        let room = user.create_room_with(&json!({ "preset": "private_chat", "invite": [BOT] })).await;
        user.sync_until(|seen| seen.room(&room).membership(BOT) == Some("join")).await;
        let address = self.open(user, &room, "kouji").await;
        user.send(&room, &format!("!メール 許可 {writers}")).await;
        hears(user, &room, " … ").await;
        (room, address)
    }

    pub(crate) async fn open(&self, user: &User, room: &RoomId, label: &str) -> String {
        let opened = |seen: &Seen| {
            let mut own = own(seen, room);
            own.retain(|event| body(event).contains("開設しました"));
            own
        };
        let before = opened(&user.sync(Duration::ZERO).await).len();
        user.send(room, &format!("!メール 開設 {label}")).await;
        let opened = opened(&user.sync_until(|seen| opened(seen).len() > before).await);
        let words = opened.last().map(body).unwrap_or_default().split_whitespace();
        words.into_iter().find(|word| word.ends_with("@in.kanazawa.test")).unwrap().to_owned()
    }

    /// Hands a mail over; the answer to its last step.
    pub(crate) async fn hand_over(&self, to: &str, mail: &[u8]) -> String {
        self.hand_over_of("<taro@example.co.jp>", to, mail).await
    }

    pub(crate) async fn hand_over_of(&self, from: &str, to: &str, mail: &[u8]) -> String {
        let mut client = Client::meet(self.door).await;
        for step in ["LHLO mx", &format!("MAIL FROM:{from}"), &format!("RCPT TO:<{to}>"), "DATA"] {
            let answer = client.say(step.as_bytes()).await;
            if !answer.starts_with(['2', '3']) {
                return answer;
            }
        }
        client.say(&[mail, b"\r\n."].concat()).await
    }
}

impl Drop for Town {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.stage.log());
        }
    }
}

/// A connection to the bot's door.
pub(crate) struct Client(BufReader<TcpStream>);

impl Client {
    pub(crate) async fn meet(door: SocketAddr) -> Self {
        let mut client = Self(BufReader::new(TcpStream::connect(door).await.unwrap()));
        client.answer().await;
        client
    }

    /// Says a line; the last line of the answer.
    pub(crate) async fn say(&mut self, line: &[u8]) -> String {
        self.0.write_all(&[line, b"\r\n"].concat()).await.unwrap();
        self.answer().await
    }

    /// Writes what is not answered.
    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.unwrap();
    }

    async fn answer(&mut self) -> String {
        loop {
            let mut answer = String::new();
            self.0.read_line(&mut answer).await.unwrap();
            if answer.get(3..4) != Some("-") {
                return answer;
            }
        }
    }
}

/// An address that no other test of this machine has, of this process and this number; bots themselves have lower ones.
pub(crate) fn own_address() -> SocketAddr {
    static NUMBER: AtomicU8 = AtomicU8::new(1);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let [low, high, ..] = std::process::id().to_le_bytes();
    SocketAddr::from(([127, 128 | (high & 0x3f), low, number], 8_024))
}

/// A mail as it is sent: lines that end as they do there.
pub(crate) fn lines(text: &str) -> Vec<u8> {
    text.replace('\n', "\r\n").into_bytes()
}

/// Waits until the bot said something with these words; its event.
pub(crate) async fn hears(user: &User, room: &RoomId, words: &str) -> Value {
    let find = |seen: &Seen| own(seen, room).into_iter().rev().find(|event| body(event).contains(words));
    find(&user.sync_until(|seen| find(seen).is_some()).await).unwrap()
}

/// What the bot said in a room, oldest first.
pub(crate) fn own(seen: &Seen, room: &RoomId) -> Vec<Value> {
    let timeline = seen.room(room).timeline;
    let is_said = |event: &Value| event["sender"] == BOT && event["type"] == "m.room.message";
    timeline.into_iter().filter(is_said).collect()
}

pub(crate) fn body(event: &Value) -> &str {
    event["content"]["body"].as_str().unwrap_or_default()
}

/// How often something with these words was said in a room.
pub(crate) async fn count(user: &User, room: &RoomId, words: &str) -> usize {
    user.history(room).await.iter().filter(|text| text.contains(words)).count()
}

/// A `winmail.dat` with one file, whose name is UTF-8.
pub(crate) fn winmail(name: &str, bytes: &[u8]) -> Vec<u8> {
    let mut all = b"\x78\x9f\x3e\x22\x01\x00".to_vec();
    for (attribute, value) in
        [(0x0006_9002_u32, &[0; 14][..]), (0x0001_8010, format!("{name}\0").as_bytes()), (0x0006_800f, bytes)]
    {
        all.push(2);
        all.extend(attribute.to_le_bytes());
        all.extend(u32::try_from(value.len()).unwrap().to_le_bytes());
        all.extend(value);
        all.extend([0, 0]);
    }
    all
}
