//! From the store into rooms: each mail once, in the order in which they came to a room.
//!
//! What a mail makes is named after the mail's number, so a repeat after a crash makes nothing twice, and what is in the room is
//! noted step by step; a mail leaves the store in the commit that notes its thread.

use std::{collections::BTreeSet, io::Write, path::Path, sync::Arc, time::Duration};

use base64::{Engine, prelude::BASE64_STANDARD};
use bot_kit::{
    Batch, Failure, Rows, StoreError, TxnId, now_ms,
    ruma::{OwnedEventId, OwnedRoomId},
};
use bytes::Bytes;
use serde_json::{Value, json};
use tracing::{error, warn};

use crate::{
    gate::Gate,
    letter::{File, Letter},
    rows::{
        self, CONTINUED, Correspondence, GONE, LEDGER, LETTERS, MAILS, PROGRESS, Progress, Remembered, SENT,
        THREADS, Waiting, of_event, of_room,
    },
    settings::Settings,
    standing::Closed,
    successor,
};

/// What a message shows, in bytes; the whole of a longer text follows as a file. An event holds 65,536 bytes, and marks
/// grow up to fivefold in HTML.
const LONGEST_BODY: usize = 8_000;
const LONGEST_HTML: usize = 14_000;

/// A room that does not take a mail is tried again after this, up to that.
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// A mail that no room takes for so long is laid aside.
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
            gate.more_in.notified().await;
        } else {
            // What comes meanwhile is for another room, maybe.
            tokio::select! {
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(LONGEST_PAUSE),
                () = gate.more_in.notified() => {}
            }
        }
    }
}

/// Goes once over what waits; true if nothing is left.
async fn round(gate: &Gate) -> Result<bool, Failure> {
    let store = &gate.host.store;
    let mut after: Option<String> = None;
    let mut stuck = BTreeSet::new();
    // One at a time: a mail may be large.
    while let Some((key, mut waiting)) = store.scan(&MAILS, "", after.as_deref(), 1).await?.pop() {
        waiting.room = gate.room_of(&waiting.local, &waiting.room).await?;
        if !stuck.contains(&waiting.room)
            && let Err(failure) = deliver(gate, &key, &waiting).await
        {
            if now_ms().saturating_sub(waiting.came_ms) > PATIENCE_MS {
                lay_aside(gate, &key, &waiting, &failure.to_string()).await?;
                if let Refusal::Closed(Closed::Refused) = failure {
                    // The next one shows whether the room takes mail.
                    gate.reopen(&waiting.room).await?;
                }
                error!(room_id = %waiting.room, error = %failure, "no room takes a mail; it is laid aside as a file");
            } else {
                warn!(room_id = %waiting.room, error = %failure, "a mail does not reach its room yet");
                if let Refusal::Closed(closed) = failure {
                    gate.tell_of_waiting(&waiting, closed).await?;
                }
                stuck.insert(waiting.room);
            }
        }
        after = Some(key);
    }
    Ok(stuck.is_empty())
}

/// Writes a mail into a file for the operator, and says so, before it leaves the store.
async fn lay_aside(gate: &Gate, key: &str, waiting: &Waiting, why: &str) -> Result<(), Failure> {
    let path = gate.host.config.path(&gate.settings().held_path).join(format!("{key}.eml"));
    let raw = BASE64_STANDARD.decode(&waiting.raw).unwrap_or_default();
    let written = tokio::task::spawn_blocking(move || write(&path, &raw)).await;
    let written = written.unwrap_or_else(|error| Err(std::io::Error::other(error)));
    written.map_err(|error| StoreError::File(error.to_string()))?;
    gate.tell_of_held(waiting, key, why).await?;
    gate.done(key, waiting, Done::default()).await.map_err(Failure::from)
}

fn write(path: &Path, raw: &[u8]) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let directory = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(directory)?;
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(raw)?;
    file.sync_all()?;
    std::fs::File::open(directory)?.sync_all()
}

/// What is kept of a mail that is in its room.
#[derive(Default)]
struct Done {
    thread: Option<(String, OwnedEventId)>,
    /// A thread of a room before that goes on with this mail.
    continued: Option<(String, OwnedEventId)>,
    letter: Option<(OwnedEventId, Correspondence)>,
}

impl Gate {
    /// A mail leaves the store.
    async fn done(&self, key: &str, waiting: &Waiting, done: Done) -> Result<(), StoreError> {
        let (key, room, length) = (key.to_owned(), waiting.room.clone(), waiting.raw.len());
        let kept = self.host.store.change(move |rows| {
            let mut batch = Batch::new();
            let mut ledger = rows.get(&LEDGER, "")?.unwrap_or_default();
            ledger.bytes = ledger.bytes.saturating_sub(length);
            batch.put(&LEDGER, "", &ledger).delete(&MAILS, &key).delete(&PROGRESS, &key);
            let mut remembered = Remembered::default();
            // Another mail by the same id does not lead away who answers the first one.
            if let Some((thread, root)) = done.thread
                && rows.get(&THREADS, &thread)?.is_none()
            {
                batch.put(&THREADS, &thread, &root);
                remembered.thread = Some(thread);
            }
            if let Some((continued, event)) = done.continued {
                batch.put(&CONTINUED, &continued, &event);
                remembered.continued = Some(continued);
            }
            if let Some((event, letter)) = done.letter {
                let place = of_event(&room, &event);
                set_newest(rows, &mut batch, &place, &event, letter)?;
                remembered.letter = Some(place);
            }
            rows::add(rows, &mut batch, &key, remembered)?;
            Ok::<_, StoreError>((batch, ()))
        });
        kept.await
    }
}

/// Keeps a letter under its event, and that it is the newest of its thread: what is said in the thread to nobody in particular goes
/// to who wrote that. So it has to be of whom the thread began with, or an answer to a mail of ours, whose id nobody guesses:
/// any other id is known to whoever was sent a copy, and brings a stranger into the thread.
pub(crate) fn set_newest(
    rows: &Rows<'_>,
    batch: &mut Batch,
    place: &str,
    event: &OwnedEventId,
    mut letter: Correspondence,
) -> Result<(), StoreError> {
    if letter.root == *event {
        letter.newest = Some(event.clone());
    } else if let Some(room) = place.split(' ').next() {
        let of_root = format!("{room} {}", letter.root);
        let mut is_theirs = false;
        for id in &letter.before {
            is_theirs = is_theirs || rows.get(&SENT, id)?.is_some();
        }
        if let Some(mut root) = rows.get(&LETTERS, &of_root)?
            && (is_theirs || root.with.eq_ignore_ascii_case(&letter.with))
        {
            root.newest = Some(event.clone());
            batch.put(&LETTERS, &of_root, &root);
        }
    }
    batch.put(&LETTERS, place, &letter);
    Ok(())
}

/// Why a mail does not reach its room now.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("{}", .0.why())]
    Closed(Closed),
    #[error(transparent)]
    Homeserver(#[from] Failure),
}

/// Brings a mail into its room, if that takes mail now: what is taken for an encrypted one is held.
async fn deliver(gate: &Gate, key: &str, waiting: &Waiting) -> Result<(), Refusal> {
    match gate.ask(&waiting.room).await? {
        Ok(()) => {}
        Err(Closed::Encrypted) => {
            lay_aside(gate, key, waiting, Closed::Encrypted.why()).await?;
            warn!(room_id = %waiting.room, "a mail for a room that is encrypted is laid aside as a file");
            return Ok(());
        }
        Err(closed) => return Err(Refusal::Closed(closed)),
    }
    match write_in(gate, key, waiting).await {
        Err(failure) if failure.status() == Some(http::StatusCode::FORBIDDEN) => {
            gate.note(&waiting.room, Closed::Refused).await.map_err(Failure::from)?;
            warn!(room_id = %waiting.room, error = %failure, "a room refuses a mail");
            Err(Refusal::Closed(Closed::Refused))
        }
        Err(failure) => Err(failure.into()),
        Ok(()) => {
            if gate.host.store.get(&GONE, waiting.room.as_str()).await.map_err(Failure::from)?.is_some() {
                gate.reopen(&waiting.room).await.map_err(Failure::from)?;
            }
            Ok(())
        }
    }
}

async fn write_in(gate: &Gate, key: &str, waiting: &Waiting) -> Result<(), Failure> {
    let store = &gate.host.store;
    let raw = BASE64_STANDARD.decode(&waiting.raw).unwrap_or_default();
    let read = tokio::task::spawn_blocking(move || Letter::read(&raw)).await;
    // It was one when it was taken; a release that reads mails otherwise still loses none.
    let Ok(Ok(Some(letter))) = read else { return lay_aside(gate, key, waiting, UNREADABLE).await };
    if let Some(text) = bounced(gate, &letter, waiting).await? {
        let (sent, text) = text;
        let mut content = notice(&text);
        relate(&mut content, sent.as_ref());
        let txn = TxnId::of(&[key, "bounce"]);
        gate.host.homeserver.send(&waiting.room, "m.room.message", &txn, &content).await?;
        return gate.done(key, waiting, Done::default()).await.map_err(Failure::from);
    }
    let (root, earlier) = match thread_of(gate, &letter, waiting).await? {
        Some(Thread::Here(root)) => (Some(root), None),
        Some(Thread::Before(room, root)) => (None, Some((room, root))),
        None => (None, None),
    };
    let progress = store.get(&PROGRESS, key).await?;
    let progress = match progress.filter(|it| it.room.as_ref().is_none_or(|room| *room == waiting.room)) {
        Some(progress) => progress,
        None => {
            let link = earlier.as_ref().map(|(room, root)| successor::link(room, root));
            let (mut content, _) = message(&letter, gate.settings(), link.as_deref());
            relate(&mut content, root.as_ref());
            let txn = TxnId::of(&[key, "text"]);
            let event = gate.host.homeserver.send(&waiting.room, "m.room.message", &txn, &content).await?;
            note(gate, key, Progress { room: Some(waiting.room.clone()), event, files: 0 }).await?
        }
    };
    let event = progress.event.clone();
    let root = root.unwrap_or_else(|| event.clone());
    let correspondence = Correspondence {
        local: waiting.local.clone(),
        with: letter.reply_to.clone().unwrap_or_else(|| letter.from.clone()),
        subject: letter.subject.clone(),
        id: letter.id.clone(),
        before: letter.before.clone(),
        root: root.clone(),
        newest: None,
    };
    let thread = letter.id.as_ref().map(|id| (of_room(&waiting.room, id), root.clone()));
    let continued = earlier.map(|(_, old)| (of_event(&waiting.room, &old), root.clone()));
    send_files(gate, key, waiting, letter, progress, &root).await?;
    let letter = Some((event, correspondence)).filter(|(_, letter)| !letter.with.is_empty());
    gate.done(key, waiting, Done { thread, continued, letter }).await.map_err(Failure::from)
}

const UNREADABLE: &str = "メールとして読めません / it cannot be read as a mail";

/// Where a mail belongs.
enum Thread {
    /// To what began with this event.
    Here(OwnedEventId),
    /// To what began with this event of a room that was upgraded to this one; it is the first one here.
    Before(OwnedRoomId, OwnedEventId),
}

/// The thread of the mails that a mail answers.
async fn thread_of(gate: &Gate, letter: &Letter, waiting: &Waiting) -> Result<Option<Thread>, Failure> {
    let (room, store) = (&waiting.room, &gate.host.store);
    for id in &letter.before {
        if let Some(root) = store.get(&THREADS, &of_room(room, id)).await? {
            return Ok(Some(Thread::Here(root)));
        }
    }
    for old in gate.before(room).await? {
        for id in &letter.before {
            if let Some(root) = store.get(&THREADS, &of_room(&old, id)).await? {
                let here = gate.root_in(room, (&old, &root)).await?;
                return Ok(Some(here.map_or(Thread::Before(old, root), Thread::Here)));
            }
        }
    }
    Ok(None)
}

/// What is said of a bounce of a mail of ours, and in which thread.
async fn bounced(
    gate: &Gate,
    letter: &Letter,
    waiting: &Waiting,
) -> Result<Option<(Option<OwnedEventId>, String)>, Failure> {
    let Some(report) = &letter.report else { return Ok(None) };
    let Some(id) = &report.of else { return Ok(None) };
    let Some(sent) = gate.host.store.get(&SENT, id).await? else { return Ok(None) };
    if sent.room != waiting.room && !gate.before(&waiting.room).await?.contains(&sent.room) {
        return Ok(None);
    }
    let what = match &*report.action {
        "delayed" => "メールの配達が遅れています / Delayed",
        "delivered" | "relayed" | "expanded" => "メールが届きました / Delivered",
        _ => "メールが届きませんでした / Not delivered",
    };
    // Whoever was sent the mail can write one.
    let what = format!("配送通知（外部から、未確認）: {what}, says a report from outside (unverified)");
    let root = gate.root_in(&waiting.room, (&sent.room, &sent.root)).await?;
    let why = if report.why.is_empty() { String::new() } else { format!("\n> {}", report.why) };
    Ok(Some((root, format!("{what}: {}{why}", sent.to))))
}

async fn note(gate: &Gate, key: &str, progress: Progress) -> Result<Progress, StoreError> {
    let mut batch = Batch::new();
    batch.put(&PROGRESS, key, &progress);
    gate.host.store.commit(batch).await?;
    Ok(progress)
}

/// Sends the files that are not in the room yet.
async fn send_files(
    gate: &Gate,
    key: &str,
    waiting: &Waiting,
    letter: Letter,
    mut progress: Progress,
    root: &OwnedEventId,
) -> Result<(), Failure> {
    let homeserver = &gate.host.homeserver;
    let (_, is_cut) = message(&letter, gate.settings(), None);
    let whole = is_cut.then(|| File {
        name: "本文.txt".to_owned(),
        kind: "text/plain".to_owned(),
        bytes: format!("{}\n\n{}", letter.text, letter.quoted).into_bytes(),
    });
    for (number, file) in whole.into_iter().chain(letter.files).enumerate().skip(progress.files) {
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
        relate(&mut content, Some(root));
        homeserver.send(&waiting.room, "m.room.message", &txn, &content).await?;
        progress.files = number + 1;
        progress = note(gate, key, progress).await?;
    }
    Ok(())
}

pub(crate) fn notice(text: &str) -> Value {
    json!({ "msgtype": "m.notice", "body": text, "m.mentions": {} })
}

pub(crate) fn relate(content: &mut Value, root: Option<&OwnedEventId>) {
    if let Some(root) = root {
        content["m.relates_to"] = json!({
            "rel_type": "m.thread", "event_id": root, "is_falling_back": true,
            "m.in_reply_to": { "event_id": root },
        });
    }
}

/// Marks by which a name could look like an address, or like what we say of one.
const BRACKETS: &str = "<>()＜＞（）〈〉《》〔〕［］[]{}｛｝「」『』【】";

/// Who wrote, and what that is worth.
fn sender(letter: &Letter, settings: &Settings) -> String {
    let domain = letter.from.rsplit_once('@').map(|(_, domain)| domain).unwrap_or_default();
    let is_own = settings.own_domains.iter().any(|own| own.eq_ignore_ascii_case(domain));
    let (place, proof) = match (letter.is_proved(settings.authserv_id.as_deref()), is_own) {
        (true, true) => ("庁内から / From inside", "確認済み / verified"),
        (true, false) => ("外部から / From outside", "確認済み / verified"),
        (false, true) => (
            "外部から / From outside",
            "庁内を名乗っていますが確認できません / claims to be from inside, unverified",
        ),
        (false, false) => ("外部から / From outside", "未確認 / unverified"),
    };
    // What stands in brackets is ours to say; a name is whatever its sender likes.
    let name: String =
        letter.name.chars().map(|mark| if BRACKETS.contains(mark) { ' ' } else { mark }).collect();
    format!("{place}: {} <{}> ({proof})", name.trim(), letter.from)
}

/// The message of a mail, and whether it leaves out some of it; with a link to the thread in a room before that it goes on.
fn message(letter: &Letter, settings: &Settings, earlier: Option<&str>) -> (Value, bool) {
    let mut head = vec![format!("件名 / Subject: {}", letter.subject), sender(letter, settings)];
    if letter.more_senders > 0 {
        let more = letter.more_senders;
        head.push(format!("差出人としてほかに {more} 人が書かれています / {more} more are named as senders"));
    }
    if let Some(link) = earlier {
        head.push(format!("前の部屋からの続き / Goes on from the room before: {link}"));
    }
    if let Some(to) = &letter.reply_to {
        head.push(format!("返信先 / Answers go to: {to}"));
    }
    if letter.is_automatic {
        head.push("自動送信・一斉配信のメールです / an automatic or list mail".to_owned());
    }
    if letter.has_sealed {
        head.push(
            "winmail.dat の中の添付は取り出せません。差出人に別の形式で頼んでください / winmail.dat cannot be opened".to_owned(),
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
