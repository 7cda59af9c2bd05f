//! The bot's own process between a mail server, which the test plays, and a server with its users.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::net::{Ipv4Addr, SocketAddr};

use bot_testing::Stage;
use testkit::{Net, User};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
};

const BOT: &str = "@mailgate:kanazawa.test";

/// A free port of an address that this process has for itself.
fn door() -> SocketAddr {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap()
}

/// Hands a mail over by LMTP; the answer to its last step.
async fn hand_over(door: SocketAddr, to: &str, mail: &str) -> String {
    let mut stream = BufReader::new(TcpStream::connect(door).await.unwrap());
    let mut answer = String::new();
    stream.read_line(&mut answer).await.unwrap();
    let data = format!("{}\r\n.", mail.replace('\n', "\r\n"));
    for step in ["LHLO mx", "MAIL FROM:<taro@example.co.jp>", &format!("RCPT TO:<{to}>"), "DATA", &data] {
        stream.write_all(format!("{step}\r\n").as_bytes()).await.unwrap();
        loop {
            answer.clear();
            stream.read_line(&mut answer).await.unwrap();
            if answer.get(3..4) != Some("-") {
                break;
            }
        }
        if !answer.starts_with(['2', '3']) {
            break;
        }
    }
    answer
}

async fn hears(user: &User, room: &ruma::RoomId, wanted: &str) -> serde_json::Value {
    let find = |seen: &testkit::Seen| {
        let own = seen.room(room).timeline.iter().filter(|event| event["sender"] == BOT).cloned();
        own.into_iter()
            .find(|event| event["content"]["body"].as_str().is_some_and(|body| body.contains(wanted)))
    };
    find(&user.sync_until(|seen| find(seen).is_some()).await).unwrap()
}

#[tokio::test]
async fn mail_to_a_rooms_address_reaches_it_once_and_in_its_thread_also_after_a_kill() {
    let door = door();
    let settings = format!("domain = \"in.kanazawa.test\"\naddress = \"{door}\"");
    let program = env!("CARGO_BIN_EXE_yakuba-mailgate");
    let stage = Stage::new(&Net::new(), "kanazawa.test", program, &settings).await;
    let hanako = stage.server.user("hanako").await;
    let wishes = serde_json::json!({ "preset": "private_chat", "invite": [BOT] });
    let room = hanako.create_room_with(&wishes).await;
    hanako.sync_until(|seen| seen.room(&room).membership(BOT) == Some("join")).await;
    hanako.send(&room, "!メール 開設 kouji").await;
    let opened = hears(&hanako, &room, "開設しました").await;
    let body = opened["content"]["body"].as_str().unwrap();
    let address = body.split_whitespace().find(|word| word.ends_with("@in.kanazawa.test")).unwrap();

    let first = "From: Taro <taro@example.co.jp>\nSubject: bridge\nMessage-ID: <1@x>\n\nfirst text";
    assert!(hand_over(door, address, first).await.starts_with("550"), "nobody may write yet");
    assert!(hand_over(door, "x@in.kanazawa.test", first).await.starts_with("550"));
    hanako.send(&room, "!メール 許可 example.co.jp").await;
    hears(&hanako, &room, "writers: example.co.jp").await;
    assert!(hand_over(door, address, first).await.starts_with("250"));
    let root = hears(&hanako, &room, "first text").await;
    assert!(root["content"]["body"].as_str().unwrap().contains("<taro@example.co.jp> (未確認"));

    let second = "From: taro@example.co.jp\nSubject: Re: bridge\nMessage-ID: <2@x>\nIn-Reply-To: <1@x>\n\nsecond text\n\n> first";
    assert!(hand_over(door, address, second).await.starts_with("250"));
    stage.kill_bot();
    stage.start_bot().await;
    let answer = hears(&hanako, &room, "second text").await;
    assert_eq!(answer["content"]["m.relates_to"]["event_id"], root["event_id"]);
    assert!(answer["content"]["formatted_body"].as_str().unwrap().contains("<details>"));
    let all = hanako.history(&room).await;
    assert_eq!(all.iter().filter(|text| text.contains("second text")).count(), 1);
}
