//! From the store into rooms: each mail once, in the order in which they came to a room.
//!
//! What a mail makes is named after the mail's key, so a repeat after a crash makes nothing twice; a mail leaves the store
//! in the commit that notes its thread.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use base64::{Engine, prelude::BASE64_STANDARD};
use bot_kit::{
    Batch, Failure, Table, TxnId, now_ms,
    ruma::{OwnedEventId, RoomId},
};
use bytes::Bytes;
use serde_json::{Value, json};
use tracing::{error, warn};

use crate::{
    gate::{Gate, MAILS, Waiting},
    letter::{File, Letter},
};

/// Threads of mails; key: room and `Message-ID`, value: the event that the thread begins with.
const THREADS: Table<OwnedEventId> = Table::new("threads");

/// A `Message-ID` that is longer begins no thread.
const LONGEST_ID: usize = 500;

/// What a message shows, in bytes; the whole of a longer text follows as a file. An event holds 65,536 bytes, and marks
/// grow up to fivefold in HTML.
const LONGEST_BODY: usize = 8_000;
const LONGEST_HTML: usize = 14_000;

/// A room that does not take a mail is tried again after this, up to that.
const PAUSE: Duration = Duration::from_secs(2);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// A mail that no room takes for so long is given up.
const PATIENCE_MS: u64 = 5 * 86_400_000;

/// Delivers until the program ends.
pub(crate) async fn run(gate: Arc<Gate>) {
    let mut pause = PAUSE;
    loop {
        let is_done = round(&gate).await.unwrap_or_else(|error| {
            warn!(%error, "mails cannot be read");
            false
        });
        if is_done {
            pause = PAUSE;
            gate.more.notified().await;
        } else {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

/// Goes once over what waits; true if nothing is left.
async fn round(gate: &Gate) -> Result<bool, Failure> {
    let store = &gate.host.store;
    let mut after: Option<String> = None;
    let mut stuck = BTreeSet::new();
    // One at a time: a mail may be large.
    while let Some((key, waiting)) = store.scan(&MAILS, "", after.as_deref(), 1).await?.pop() {
        if !stuck.contains(&waiting.room)
            && let Err(failure) = deliver(gate, &key, &waiting).await
        {
            let came_ms: u64 = key.split('-').next().and_then(|came| came.parse().ok()).unwrap_or(0);
            if now_ms().saturating_sub(came_ms) > PATIENCE_MS {
                error!(room_id = %waiting.room, error = %failure, "a mail is given up: its room does not take it");
                let mut batch = Batch::new();
                batch.delete(&MAILS, &key);
                store.commit(batch).await?;
            } else {
                warn!(room_id = %waiting.room, error = %failure, "a mail does not reach its room yet");
                stuck.insert(waiting.room);
            }
        }
        after = Some(key);
    }
    Ok(stuck.is_empty())
}

async fn deliver(gate: &Gate, key: &str, waiting: &Waiting) -> Result<(), Failure> {
    let (homeserver, store, room) = (&gate.host.homeserver, &gate.host.store, &waiting.room);
    let raw = BASE64_STANDARD.decode(&waiting.raw).unwrap_or_default();
    let mut batch = Batch::new();
    batch.delete(&MAILS, key);
    // It was one when it was taken.
    let Some(letter) = Letter::read(&raw) else { return store.commit(batch).await.map_err(Failure::from) };
    let mut root = None;
    for id in &letter.before {
        root = store.get(&THREADS, &thread(room, id)).await?;
        if root.is_some() {
            break;
        }
    }
    let (mut content, is_cut) = message(&letter, letter.is_proved(gate.settings().authserv_id.as_deref()));
    relate(&mut content, root.as_ref());
    let sent = homeserver.send(room, "m.room.message", &TxnId::of(&[key, "text"]), &content).await?;
    let root = root.unwrap_or(sent);
    let whole = is_cut.then(|| File {
        name: "本文.txt".to_owned(),
        kind: "text/plain".to_owned(),
        bytes: format!("{}\n\n{}", letter.text, letter.quoted).into_bytes(),
    });
    for (number, file) in whole.into_iter().chain(letter.files).enumerate() {
        let txn = TxnId::of(&[key, "file", &number.to_string()]);
        let size = file.bytes.len();
        let parts = [Ok::<_, std::io::Error>(Bytes::from(file.bytes))];
        let length = u64::try_from(size).ok();
        let stream = futures_util::stream::iter(parts);
        let mut content = match homeserver.upload(&file.name, &file.kind, length, stream).await {
            Ok(url) => json!({
                "msgtype": "m.file", "body": file.name, "filename": file.name, "url": url,
                "info": { "mimetype": file.kind, "size": size }, "m.mentions": {},
            }),
            Err(failure) if failure.may_pass() => return Err(failure),
            // Too large, or of a kind that is not wanted here: the room is told.
            Err(_) => notice(&format!("添付を受け取れませんでした / refused: {}", file.name)),
        };
        relate(&mut content, Some(&root));
        homeserver.send(room, "m.room.message", &txn, &content).await?;
    }
    if let Some(id) = letter.id.filter(|id| id.len() <= LONGEST_ID) {
        batch.put(&THREADS, &thread(room, &id), &root);
    }
    store.commit(batch).await?;
    Ok(())
}

fn thread(room: &RoomId, id: &str) -> String {
    format!("{room} {id}")
}

fn notice(text: &str) -> Value {
    json!({ "msgtype": "m.notice", "body": text, "m.mentions": {} })
}

fn relate(content: &mut Value, root: Option<&OwnedEventId>) {
    if let Some(root) = root {
        content["m.relates_to"] = json!({
            "rel_type": "m.thread", "event_id": root, "is_falling_back": true,
            "m.in_reply_to": { "event_id": root },
        });
    }
}

/// The message of a mail, and whether it leaves out some of it.
fn message(letter: &Letter, is_proved: bool) -> (Value, bool) {
    let mut head = vec![format!("件名 / Subject: {}", letter.subject)];
    let proved = if is_proved { "確認済み / verified" } else { "未確認 / unverified" };
    head.push(format!("外部から / From outside: {} <{}> ({proved})", letter.name, letter.from));
    if letter.is_automatic {
        head.push("自動送信・一斉配信のメールです / an automatic or list mail".to_owned());
    }
    if letter
        .files
        .iter()
        .any(|file| file.kind == "application/ms-tnef" || file.name.ends_with("winmail.dat"))
    {
        head.push(
            "winmail.dat の中の添付は取り出せません。差出人に別の形式で頼んでください / winmail.dat is not opened".to_owned(),
        );
    }
    if letter.left_out > 0 {
        head.push(format!("ほかの添付 {} 件は省きました / more files left out", letter.left_out));
    }
    let head = head.join("\n");
    let text = beginning(&letter.text, LONGEST_BODY);
    let is_cut = text.len() < letter.text.len();
    let mut content = json!({ "msgtype": "m.text", "body": format!("{head}\n\n{text}"), "m.mentions": {} });
    if letter.quoted.is_empty() {
        return (content, is_cut);
    }
    let (head, text, quoted) = (escaped(&head), escaped(text), escaped(&letter.quoted));
    let html = format!("{head}<br><br>{text}<details><summary>引用 / Quoted</summary>{quoted}</details>");
    let is_folded = html.len() <= LONGEST_HTML;
    if is_folded {
        content["format"] = json!("org.matrix.custom.html");
        content["formatted_body"] = json!(html);
    }
    (content, is_cut || !is_folded)
}

/// The first so many bytes, to the end of a character.
fn beginning(text: &str, longest: usize) -> &str {
    text.get(..text.floor_char_boundary(longest)).unwrap_or(text)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('\n', "<br>")
}
