//! Mail into rooms.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http::Method;
use testkit::User;

use crate::post::{BOT, Client, Town, body, count, hears, lines, own, winmail};

fn mail(number: u32, text: &str) -> Vec<u8> {
    lines(&format!(
        "From: Taro <taro@example.co.jp>\nSubject: bridge\nMessage-ID: <{number}@x>\nDate: Sat, 28 Nov 2026 10:00:00 +0900\n\n{text}"
    ))
}

async fn file(user: &User, event: &serde_json::Value) -> Bytes {
    let uri = event["content"]["url"].as_str().unwrap().strip_prefix("mxc://").unwrap();
    let path = format!("/_matrix/client/v1/media/download/{uri}");
    user.ask_bytes(Method::GET, &path, &[], Bytes::new()).await.into_body()
}

#[tokio::test]
async fn mail_to_a_rooms_address_reaches_it_once_and_in_its_thread_also_after_a_kill() {
    let town = Town::new("").await;
    let hanako = town.stage.server.user("hanako").await;
    let (room, address) = town.room(&hanako, "なし").await;
    assert!(
        town.hand_over(&address, &mail(1, "first text")).await.starts_with("550"),
        "nobody may write yet"
    );
    assert!(town.hand_over("x@in.kanazawa.test", &mail(1, "first text")).await.starts_with("550"));
    hanako.send(&room, "!メール 許可 example.co.jp").await;
    hears(&hanako, &room, "writers: example.co.jp").await;
    assert!(town.hand_over(&address, &mail(1, "first text")).await.starts_with("250"));
    let root = hears(&hanako, &room, "first text").await;
    assert!(body(&root).contains("<taro@example.co.jp> (未確認"), "{root}");

    let second = lines(
        "From: taro@example.co.jp\nSubject: Re: bridge\nMessage-ID: <2@x>\nIn-Reply-To: <1@x>\n\nsecond text\n\n> first",
    );
    assert!(town.hand_over(&address, &second).await.starts_with("250"));
    town.restart_bot().await;
    let answer = hears(&hanako, &room, "second text").await;
    assert_eq!(answer["content"]["m.relates_to"]["event_id"], root["event_id"]);
    assert_eq!(count(&hanako, &room, "second text").await, 1);
}

#[tokio::test]
async fn a_mail_that_was_taken_is_not_lost_with_the_homeserver_away_and_the_bot_killed() {
    let mut town = Town::new("").await;
    let hanako = town.stage.server.user("hanako").await;
    let (room, address) = town.room(&hanako, "example.co.jp").await;
    town.stage.server.stop().await;
    let first = mail(1, "while nobody was there");
    assert!(town.hand_over(&address, &first).await.starts_with("250"));
    town.restart_bot().await;
    // The mail server did not hear our answer: it is the same mail.
    assert!(town.hand_over(&address, &first).await.starts_with("250"));
    assert!(town.hand_over(&address, &mail(2, "and another")).await.starts_with("250"));
    town.stage.kill_bot();
    town.server_is_back().await;
    town.stage.start_bot().await;
    hears(&hanako, &room, "and another").await;
    // Long after it was delivered it is known as well.
    town.restart_bot().await;
    assert!(
        town.hand_over(&address, &[b"Received: from a by b\r\n", &*first].concat()).await.starts_with("250")
    );
    assert!(town.hand_over(&address, &mail(3, "the last one")).await.starts_with("250"));
    hears(&hanako, &room, "the last one").await;
    let texts = hanako.history(&room).await;
    let words = ["while nobody", "and another", "the last"];
    let places: Vec<usize> =
        texts.iter().filter_map(|text| words.iter().position(|words| text.contains(words))).collect();
    assert_eq!(places, [0, 1, 2], "each once, in their order: {texts:#?}");
}

#[tokio::test]
async fn an_address_is_opened_once_however_often_that_is_asked() {
    let town = Town::new("").await;
    let hanako = town.stage.server.user("hanako").await;
    let (room, address) = town.room(&hanako, "example.co.jp").await;
    hanako.send(&room, "!メール 開設 Kouji").await;
    assert!(body(&hears(&hanako, &room, "この部屋のアドレスです").await).contains(&address));
    let other = town.open(&hanako, &room, "工事").await;
    assert!(other.starts_with("room-"), "{other}");
    hanako.send(&room, "!メール 一覧").await;
    let list = hears(&hanako, &room, &format!("{other} … ")).await;
    assert_eq!(body(&list).lines().count(), 2, "{list}");
    assert!(body(&list).contains(&format!("工事：{other}")) && body(&list).starts_with("kouji："), "{list}");
    hanako.send(&room, "!メール 許可 *.example.jp").await;
    hears(&hanako, &room, "「*.example.jp」は送れる人として読めません").await;
    hanako.send(&room, &format!("!メール 閉鎖 {address}")).await;
    hears(&hanako, &room, "閉鎖しました").await;
    assert!(town.hand_over(&address, &mail(1, "x")).await.starts_with("550"));
    assert!(town.hand_over(&other, &mail(1, "x")).await.starts_with("250"));

    let jiro = town.stage.server.user("jiro").await;
    hanako.invite(&room, jiro.id()).await;
    jiro.join(&room, "kanazawa.test").await;
    jiro.send(&room, "!メール 許可 全員").await;
    hears(&jiro, &room, "管理権限が必要です").await;
    assert!(town.hand_over_of("<a@b.jp>", &other, b"From: a@b.jp\r\n\r\nx").await.starts_with("550"));
    // Where the bot was put out, mail waits at the mail server until it is asked in again.
    hanako.kick(&room, BOT.try_into().unwrap()).await;
    let gone = async || town.hand_over(&other, &mail(2, "x")).await.starts_with("451");
    while !gone().await {
        tokio::task::yield_now().await;
    }
    hanako.invite(&room, BOT.try_into().unwrap()).await;
    while gone().await {
        tokio::task::yield_now().await;
    }
    hears(&hanako, &room, "bridge").await;
}

/// D7.
#[tokio::test]
async fn d7_japanese_mail_of_every_age_arrives_with_its_files() {
    let town = Town::new("").await;
    let hanako = town.stage.server.user("hanako").await;
    let (room, address) = town.room(&hanako, "example.co.jp").await;
    let head = b"From: taro@example.co.jp\r\n";
    let mails: [(&[u8], &str); 4] = [
        (
            b"Subject: =?ISO-2022-JP?B?GyhJNjY3GyhC?=\r\nContent-Type: text/plain; charset=ISO-2022-JP\r\n\r\n\x1b(I667\x1b(B\r\n",
            "件名 / Subject: ｶｶｷ",
        ),
        (b"Subject: \x8d\x48\x8e\x96\r\n\r\n\x8d\x48\x8e\x96\x87\x40\r\n", "工事①"),
        (
            b"Subject: html\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<p>\xe5\xb7\xa5\xe4\xba\x8b<b>\xe4\xb8\xad</b></p>\r\n",
            "工事中",
        ),
        (b"Subject: bare\r\n\r\n\xe9\x81\x93\xe8\xb7\xaf\r\n", "道路"),
    ];
    for (mail, text) in mails {
        assert!(town.hand_over(&address, &[head, mail].concat()).await.starts_with("250"));
        hears(&hanako, &room, text).await;
    }

    let winmail = BASE64_STANDARD.encode(winmail("\u{3042}.txt", b"from winmail.dat"));
    let parts = format!(
        "Subject: files\nContent-Type: multipart/mixed; boundary=x\n\n--x\n\nwith files\n--x\n\
         Content-Type: application/pdf\nContent-Transfer-Encoding: base64\n\
         Content-Disposition: attachment; filename*0*=UTF-8''%E5%B7%A5; filename*1*=%E4%BA%8B.pdf\n\n{}\n\
         --x\nContent-Type: application/ms-tnef; name=winmail.dat\nContent-Transfer-Encoding: base64\n\n{winmail}\n--x--\n",
        BASE64_STANDARD.encode("%PDF-1.7 and so on")
    );
    assert!(town.hand_over(&address, &[head, &*lines(&parts)].concat()).await.starts_with("250"));
    let last = hears(&hanako, &room, "あ.txt").await;
    let seen = hanako.sync(std::time::Duration::ZERO).await;
    let said = own(&seen, &room);
    let root = said.iter().find(|event| body(event).contains("with files")).unwrap();
    let first = said.iter().find(|event| body(event) == "工事.pdf").unwrap();
    for (event, bytes) in [(first, "%PDF-1.7 and so on"), (&last, "from winmail.dat")] {
        assert_eq!(event["content"]["m.relates_to"]["event_id"], root["event_id"]);
        assert_eq!(file(&hanako, event).await, bytes);
    }
}

/// D8, MA1, MA2, MA3.
#[tokio::test]
async fn d8_what_programs_send_is_marked_and_starts_nothing() {
    let town = Town::new("hourly_of_sender = 3").await;
    let hanako = town.stage.server.user("hanako").await;
    let (room, address) = town.room(&hanako, "example.co.jp").await;
    // Even where they may write by the list.
    hanako.send(&room, "!メール 許可 in.kanazawa.test").await;
    hears(&hanako, &room, "example.co.jp, in.kanazawa.test").await;
    let automatic =
        lines("From: taro@example.co.jp\nSubject: away\nAuto-Submitted: auto-replied\n\nI am away");
    assert!(town.hand_over(&address, &automatic).await.starts_with("250"));
    assert!(body(&hears(&hanako, &room, "I am away").await).contains("自動送信"));
    let list =
        lines("From: taro@example.co.jp\nSubject: news\nPrecedence: list\nList-Id: <a.b>\n\nnews of all");
    assert!(town.hand_over(&address, &list).await.starts_with("250"));
    assert!(body(&hears(&hanako, &room, "news of all").await).contains("一斉配信"));
    // A bounce of no mail of ours, and a program that answers in our own name.
    let bounce = lines(
        "From: mailer-daemon@example.co.jp\nContent-Type: multipart/report; boundary=x\n\n--x\n\nno such user\n--x--",
    );
    assert!(town.hand_over_of("<>", &address, &bounce).await.starts_with("550"));
    assert!(town.hand_over_of("<>", &address, &automatic).await.starts_with("550"));
    let own = lines(&format!("From: {address}\nSubject: loop\n\nround"));
    assert!(town.hand_over(&address, &own).await.starts_with("550"));
    let around = [&b"Received: from a by b\r\n".repeat(60)[..], &mail(1, "round")].concat();
    assert!(town.hand_over(&address, &around).await.starts_with("550"));
    // Three of one sender in an hour.
    assert!(town.hand_over(&address, &mail(2, "the third")).await.starts_with("250"));
    assert!(town.hand_over(&address, &mail(3, "the fourth")).await.starts_with("451"));
    hears(&hanako, &room, "the third").await;
    assert_eq!(count(&hanako, &room, "round").await + count(&hanako, &room, "no such user").await, 0);
}

/// D9.
#[tokio::test]
async fn d9_a_members_address_is_from_outside_unless_our_mail_server_proved_it() {
    let settings = "authserv_id = \"mx.kanazawa.test\"\nown_domains = [\"city.kanazawa.test\"]";
    let town = Town::new(settings).await;
    let hanako = town.stage.server.user("hanako").await;
    let (room, address) = town.room(&hanako, "全員").await;
    let of = |results: &str, text: &str| {
        lines(&format!("{results}From: Hanako <hanako@city.kanazawa.test>\nSubject: x\n\n{text}"))
    };
    let forged = of("", "forged");
    let claimed =
        of("Authentication-Results: mx.evil.test; dmarc=pass header.from=city.kanazawa.test\n", "claimed");
    let proved =
        of("Authentication-Results: mx.kanazawa.test; dmarc=pass header.from=city.kanazawa.test\n", "proved");
    for (mail, text, shown) in [
        (
            forged,
            "\n\nforged",
            "外部から / From outside: Hanako <hanako@city.kanazawa.test> (庁内を名乗っていますが",
        ),
        (
            claimed,
            "\n\nclaimed",
            "外部から / From outside: Hanako <hanako@city.kanazawa.test> (庁内を名乗っていますが",
        ),
        (
            lines(
                "From: \"Mayor <mayor@city.kanazawa.test> (確認済み / verified)\" <evil@example.co.jp>\n\nnamed",
            ),
            "\n\nnamed",
            "外部から / From outside: Mayor  mayor@city.kanazawa.test   確認済み / verified <evil@example.co.jp> (未確認",
        ),
        (proved, "\n\nproved", "庁内から / From inside: Hanako <hanako@city.kanazawa.test> (確認済み"),
    ] {
        assert!(town.hand_over(&address, &mail).await.starts_with("250"));
        let event = hears(&hanako, &room, text).await;
        assert!(body(&event).contains(shown), "{event}");
    }
}

/// D10.
#[tokio::test]
async fn d10_a_quoted_thread_is_folded_and_all_of_it_is_kept() {
    let town = Town::new("").await;
    let hanako = town.stage.server.user("hanako").await;
    let (room, address) = town.room(&hanako, "example.co.jp").await;
    let short = mail(1, "了解です\n\n花子 wrote:\n> 明日は?\n> 晴れ");
    assert!(town.hand_over(&address, &short).await.starts_with("250"));
    let event = hears(&hanako, &room, "了解です").await;
    assert!(!body(&event).contains("明日は"), "{event}");
    let html = event["content"]["formatted_body"].as_str().unwrap();
    assert!(html.contains("<details>") && html.ends_with("&gt; 明日は?<br>&gt; 晴れ</details>"), "{html}");

    let quoted: String = (0..2_000).map(|number| format!("> line {number}\n")).collect();
    let long = mail(2, &format!("長い引用です\n\n{quoted}"));
    assert!(town.hand_over(&address, &long).await.starts_with("250"));
    let event = hears(&hanako, &room, "本文.txt").await;
    let text = String::from_utf8(file(&hanako, &event).await.to_vec()).unwrap();
    assert!(
        text.contains("長い引用です") && text.contains("> line 0\n") && text.ends_with("> line 1999"),
        "{text}"
    );
}

#[tokio::test]
async fn mails_that_stall_keep_no_other_out_and_one_machine_leaves_places() {
    let town = Town::new("largest_mib = 1").await;
    let hanako = town.stage.server.user("hanako").await;
    let (room, address) = town.room(&hanako, "example.co.jp").await;
    let mut stalled = Vec::new();
    for _ in 0..8 {
        let mut client = Client::meet(town.door).await;
        for step in ["LHLO mx", "MAIL FROM:<taro@example.co.jp>", &format!("RCPT TO:<{address}>")] {
            assert!(client.say(step.as_bytes()).await.starts_with("250"));
        }
        assert!(client.say(b"DATA").await.starts_with("354"));
        client.write(b"From: taro@example.co.jp\r\n").await;
        stalled.push(client);
    }
    assert!(town.hand_over(&address, &mail(1, "beside them")).await.starts_with("250"));
    hears(&hanako, &room, "beside them").await;

    // Who did not say how large it is hears that it is too large, and may go on.
    let mut client = stalled.pop().unwrap();
    client.write(&b"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\n".repeat(200_000)).await;
    assert!(client.say(b".").await.starts_with("552"));
    assert!(client.say(b"MAIL FROM:<taro@example.co.jp>").await.starts_with("250"));
}

#[tokio::test]
async fn a_mail_beyond_a_bound_is_refused_and_the_next_one_is_taken() {
    let town = Town::new("largest_mib = 1").await;
    let hanako = town.stage.server.user("hanako").await;
    let (room, address) = town.room(&hanako, "example.co.jp").await;
    let mut client = Client::meet(town.door).await;
    client.say(b"LHLO mx").await;
    assert!(client.say(b"MAIL FROM:<taro@example.co.jp> SIZE=1048577").await.starts_with("552"));
    assert!(client.say(b"MAIL FROM:<taro@example.co.jp>").await.starts_with("250"));
    assert!(client.say(format!("RCPT TO:<{address}>").as_bytes()).await.starts_with("250"));
    assert!(client.say(format!("RCPT TO:<{address}>").as_bytes()).await.starts_with("452"), "one recipient");
    assert!(client.say(&[b"NOOP ", &*vec![b'x'; 3_000]].concat()).await.starts_with("500"), "a long line");

    let large = mail(1, &"x".repeat(70).repeat(20_000).replace("xxxxxxxxxx", "xxxxxxxxx\n"));
    assert!(town.hand_over(&address, &large).await.starts_with("552"));
    let nested = b"Content-Type: message/rfc822\r\n\r\n".repeat(20_000);
    assert!(town.hand_over(&address, &nested).await.starts_with("550"));
    let headers = [&b"A: b\r\n".repeat(20_000)[..], b"\r\nx"].concat();
    assert!(town.hand_over(&address, &headers).await.starts_with("550"));
    let two = lines("From: taro@example.co.jp\nFrom: chief@example.co.jp\nSubject: x\n\nof two");
    assert!(town.hand_over(&address, &two).await.starts_with("550 5.7.1 more than one From"));
    let both = lines("From: taro@example.co.jp, jiro@example.co.jp\nSubject: x\n\nof both");
    assert!(town.hand_over(&address, &both).await.starts_with("250"));
    assert!(body(&hears(&hanako, &room, "of both").await).contains("ほかに 1 人"));
    assert!(town.hand_over(&address, &mail(2, "a bare\rline\nfeed")).await.starts_with("250"));
    let hidden = b"From: taro@example.co.jp\r\n\r\nx\n.\r\nMAIL FROM:<a@b.jp>\r\n";
    assert!(town.hand_over(&address, hidden).await.starts_with("550"));
    assert!(town.hand_over(&address, &mail(3, "after all that")).await.starts_with("250"));
    hears(&hanako, &room, "after all that").await;
}
