//! What mails of unread messages say: Japanese first, English beside; as text and as HTML.
//!
//! All names and texts are strangers': they are cut, stand on one line, and hold nothing that turns the text around them.

use maud::{DOCTYPE, Markup, html};
use room::read::{bounded, event::StoredEvent};
use ruma::{RoomId, ServerName};
use serde::Deserialize;
use serde_json::{Map, Value, value::RawValue};

/// Longest name, and longest text of a message, in bytes.
const MOST_NAME: usize = 120;
const MOST_TEXT: usize = 400;

/// What a mail tells.
pub(super) struct News {
    /// Unread messages in all rooms.
    pub(super) count: u64,
    pub(super) rooms: Vec<OfRoom>,
    /// Rooms besides.
    pub(super) more: usize,
    /// Where it is read.
    pub(super) web_client: Option<String>,
}

/// What a mail tells of a room.
pub(super) struct OfRoom {
    pub(super) name: Option<String>,
    pub(super) count: usize,
    pub(super) link: Option<String>,
    /// The last that was said, oldest first.
    pub(super) lines: Vec<Line>,
}

/// What somebody said.
pub(super) struct Line {
    sender: String,
    said: Said,
}

/// What is shown of an event.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    Text(String),
    /// What it is, in both languages.
    What(&'static str, &'static str),
}

impl Line {
    /// What is shown of an event, as it is after an edit; `is_about_reader` for one of his own membership.
    pub(super) fn of(
        event: &StoredEvent,
        edit: Option<&StoredEvent>,
        sender: String,
        is_about_reader: bool,
    ) -> Self {
        #[derive(Deserialize)]
        struct Edit<'a> {
            #[serde(borrow, rename = "m.new_content")]
            content: &'a RawValue,
        }
        let edited = edit.and_then(|edit| edit.pdu().content_as::<Edit<'_>>().ok());
        let content = edited.map_or(event.pdu().content_str(), |edit| edit.content.get());
        let said = said(event.kind(), content, is_about_reader);
        Self { sender: on_one_line(&sender, MOST_NAME), said }
    }

    fn text(&self) -> String {
        match &self.said {
            Said::Text(text) => text.clone(),
            Said::What(japanese, english) => format!("（{japanese} / {english}）"),
        }
    }
}

/// What a room is called that has no name of its own: by its members, and how many there are besides.
pub(super) fn name_of_members(names: &[String], more: u64) -> Option<String> {
    let most = MOST_NAME / (names.len().max(1) + 1);
    let names: Vec<String> = names.iter().map(|name| on_one_line(name, most)).collect();
    let all = names.join("、");
    match more {
        _ if all.is_empty() => None,
        0 => Some(all),
        more => Some(format!("{all} 他{more}名 / and {more} more")),
    }
}

fn said(kind: &str, content: &str, is_about_reader: bool) -> Said {
    match kind {
        "m.room.encrypted" => return Said::What("暗号化されたメッセージ", "encrypted message"),
        "m.room.member" if is_about_reader => return Said::What("ルームへの招待", "invitation to the room"),
        "m.sticker" => return Said::What("スタンプ", "sticker"),
        "m.room.message" => {}
        _ => return Said::What("通知", "notification"),
    }
    let content: Map<String, Value> = serde_json::from_str(content).unwrap_or_default();
    match content.get("msgtype").and_then(Value::as_str) {
        Some("m.image") => Said::What("画像", "image"),
        Some("m.video") => Said::What("動画", "video"),
        Some("m.audio") => Said::What("音声", "audio"),
        Some("m.file") => Said::What("ファイル", "file"),
        Some("m.location") => Said::What("位置情報", "location"),
        _ => {
            let body = content.get("body").and_then(Value::as_str).unwrap_or_default();
            match on_one_line(body, MOST_TEXT) {
                text if text.is_empty() => Said::What("メッセージ", "message"),
                text => Said::Text(text),
            }
        }
    }
}

/// A stranger's text, cut and on one line, without what is not seen but changes how the rest is.
fn on_one_line(text: &str, most: usize) -> String {
    let is_dark = |letter: char| {
        letter.is_control()
            || matches!(letter, '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{FEFF}')
    };
    // Before it is looked through: what is read is bounded too.
    let cut = bounded::cut(text, most);
    let clean: String = cut.chars().map(|letter| if is_dark(letter) { ' ' } else { letter }).collect();
    let mut words = clean.split_whitespace().collect::<Vec<_>>().join(" ");
    if cut.len() < text.len() {
        words.push('…');
    }
    words
}

/// Where a room is read in a web client.
pub(super) fn link_to(web_client: &str, room: &RoomId) -> String {
    let mut link = format!("{web_client}/#/room/");
    for byte in room.as_str().bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'!' | b':' | b'.' | b'-' | b'_' => {
                link.push(char::from(byte));
            }
            byte => link.push_str(&format!("%{byte:02X}")),
        }
    }
    link
}

/// Subject, text and HTML of a mail.
pub(super) fn written(
    news: &News,
    brand: Option<&str>,
    authority: &ServerName,
    unsubscribe: &str,
) -> (String, String, String) {
    let brand = brand.map(|brand| on_one_line(brand, MOST_NAME)).filter(|brand| !brand.is_empty());
    let brand = brand.unwrap_or_else(|| authority.to_string());
    let count = news.count;
    let subject = format!("[{brand}] 未読メッセージ {count} 件 / {count} unread");
    let text = text_of(news, authority, unsubscribe);
    let html = html_of(news, &subject, authority, unsubscribe).into_string();
    (subject, text, html)
}

fn name_of(room: &OfRoom) -> String {
    let name = room.name.as_deref().map(|name| on_one_line(name, MOST_NAME)).filter(|name| !name.is_empty());
    name.unwrap_or_else(|| "（名前のないルーム / room without a name）".to_owned())
}

fn more_of(news: &News) -> Option<String> {
    let more = news.more;
    (more > 0).then(|| format!("ほか {more} ルーム / and {more} more rooms"))
}

const WHY_JA: &str = "このメールは、アプリでメール通知を有効にした方にお送りしています。";
const WHY_EN: &str = "You get this mail as you switched on notifications by mail in your app.";

fn text_of(news: &News, authority: &ServerName, unsubscribe: &str) -> String {
    let count = news.count;
    let mut text =
        format!("{authority} に未読メッセージが {count} 件あります。\nYou have {count} unread messages.\n");
    for room in &news.rooms {
        text.push_str(&format!("\n■ {} ({})\n", name_of(room), room.count));
        for line in &room.lines {
            text.push_str(&format!("  {}: {}\n", line.sender, line.text()));
        }
        if let Some(link) = &room.link {
            text.push_str(&format!("  {link}\n"));
        }
    }
    if let Some(more) = more_of(news) {
        text.push_str(&format!("\n{more}\n"));
    }
    if let Some(web) = &news.web_client {
        text.push_str(&format!("\n開く / Open:\n    {web}\n"));
    }
    text.push_str(&format!(
        "\n----------------------------------------------------------------\n\n\
         {WHY_JA}\n{WHY_EN}\n配信を停止する / Unsubscribe:\n    {unsubscribe}\n"
    ));
    text
}

fn html_of(news: &News, subject: &str, authority: &ServerName, unsubscribe: &str) -> Markup {
    let count = news.count;
    html! {
        (DOCTYPE)
        html lang="ja" {
            head { meta charset="utf-8"; title { (subject) } }
            body style="font-family: sans-serif; line-height: 1.6" {
                p { (authority) " に未読メッセージが " (count) " 件あります。" br; span lang="en" { "You have " (count) " unread messages." } }
                @for room in &news.rooms {
                    h2 style="font-size: 1.1em; margin-bottom: 0" {
                        @match &room.link {
                            Some(link) => a href=(link) { (name_of(room)) },
                            None => (name_of(room)),
                        }
                        " (" (room.count) ")"
                    }
                    ul {
                        @for line in &room.lines { li { bdi { b { (line.sender) } } ": " bdi { (line.text()) } } }
                    }
                }
                @if let Some(more) = more_of(news) { p { (more) } }
                @if let Some(web) = &news.web_client { p { a href=(web) { "開く / Open" } } }
                hr;
                p style="font-size: 0.9em" {
                    (WHY_JA) br; span lang="en" { (WHY_EN) } br;
                    a href=(unsubscribe) { "配信を停止する / Unsubscribe" }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use ruma::{room_id, server_name};

    use super::*;

    fn news(name: &str, sender: &str, text: &str) -> News {
        let said = said(
            "m.room.message",
            &serde_json::json!({ "msgtype": "m.text", "body": text }).to_string(),
            false,
        );
        let line = Line { sender: on_one_line(sender, MOST_NAME), said };
        let link = Some(link_to("https://chat.example", room_id!("!a/\"b:kanazawa.test")));
        let room = OfRoom { name: Some(name.to_owned()), count: 2, link, lines: vec![line] };
        News { count: 2, rooms: vec![room], more: 3, web_client: Some("https://chat.example".to_owned()) }
    }

    #[test]
    fn what_strangers_wrote_stays_within_its_place() {
        let long = "あ".repeat(5_000);
        let news = news(
            "<b>防災課</b>\r\nBcc: x@example.jp",
            "花子\u{202E}\n■",
            &format!("<script>alert(1)</script>\n\n■ 偽 {long}"),
        );
        let unsubscribe = "https://kanazawa.test/u?token=a&b";

        let (subject, text, html) =
            written(&news, Some("金\r\n沢"), server_name!("kanazawa.test"), unsubscribe);

        assert_eq!(subject, "[金 沢] 未読メッセージ 2 件 / 2 unread");
        assert_eq!(text.lines().filter(|line| line.starts_with('■')).count(), 1, "{text}");
        assert!(!text.contains('\u{202E}') && !html.contains('\u{202E}'));
        assert!(!html.contains("<script>") && html.contains("&lt;script&gt;"), "{html}");
        assert!(html.contains("&lt;b&gt;防災課&lt;/b&gt; Bcc: x@example.jp"), "{html}");
        assert!(html.contains("https://chat.example/#/room/!a%2F%22b:kanazawa.test"), "{html}");
        assert!(html.contains("token=a&amp;b") && text.contains(unsubscribe));
        assert!(text.contains("ほか 3 ルーム") && text.len() < 3_000 && html.len() < 4_000);
    }

    #[test]
    fn what_is_encrypted_or_no_text_is_named_alone() {
        let content = r#"{"msgtype":"m.image","body":"secret.jpg","ciphertext":"secret"}"#;
        assert_eq!(
            said("m.room.encrypted", content, false),
            Said::What("暗号化されたメッセージ", "encrypted message")
        );
        assert_eq!(said("m.room.message", content, false), Said::What("画像", "image"));
        assert_eq!(said("m.room.member", "{}", true), Said::What("ルームへの招待", "invitation to the room"));
        for odd in ["", "[]", r#"{"body":7}"#, r#"{"body":" \n "}"#] {
            assert_eq!(said("m.room.message", odd, false), Said::What("メッセージ", "message"), "{odd}");
        }
    }
}
