//! Verdicts: which files of memos leave to LGWAN, as the homeserver's listener there says, and how their users are told.
//!
//! A refusal that may not last is told as such, asked for again, and taken back by a new word when it did not.
//!
//! Reading order: [`note`], then [`step`].

use std::time::Duration;

use bot_kit::{
    Batch, Event, Failure, Refusal, StoreError, Table, TxnId,
    ruma::{MxcUri, OwnedEventId, OwnedRoomId, RoomId, UserId},
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::time::timeout;
use tracing::warn;

use crate::{
    bot::Memo,
    errands::{self, Errand, Lane, Step, What},
    memos::{Kind, preview},
    texts,
};

/// Files whose verdict is still to be heard, as they waited before there were errands; key: event id.
const FILES: Table<OldFile> = Table::new("files");
const SOME: usize = 100;

/// Time for an answer. A judgement goes on without whoever asked for it, and is heard the next time.
const ANSWERED_IN: Duration = Duration::from_secs(30);

/// How long a refusal that may not last is let be, where the homeserver does not say it: a little longer than it keeps one.
const KEPT: Duration = Duration::from_secs(11 * 60);

/// Bytes of an `mxc:` URI: a server's name has 255 at most, and ids are short.
const LONGEST_URI: usize = 1_000;

/// Refusals that are of the moment and not of the file.
const PASSING: [&str; 4] = ["worker-died", "too-slow", "busy", "not-scanned"];

/// A file that somebody sent.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct File {
    pub(crate) room: OwnedRoomId,
    uri: String,
    name: String,
    /// What its user was told of it.
    told: Option<Told>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Told {
    code: String,
    /// None while it is being said.
    notice: Option<OwnedEventId>,
}

#[derive(Debug, Serialize, Deserialize)]
struct OldFile {
    event: OwnedEventId,
    room: OwnedRoomId,
    uri: String,
    name: String,
    at_ms: u64,
}

impl File {
    pub(crate) fn new(room: &RoomId, uri: &str, name: &str) -> Self {
        Self { room: room.to_owned(), uri: uri.to_owned(), name: name.to_owned(), told: None }
    }
}

/// Where the verdict on a file of a user waits; none if there is no such file.
fn lane(bot: &Memo, user: &UserId, uri: &str) -> Option<Lane> {
    let uri = <&MxcUri>::from(uri);
    let server = uri.server_name().ok().filter(|_| uri.is_valid() && uri.as_str().len() <= LONGEST_URI)?;
    let is_here = *server == *bot.host.config.homeserver.server_name;
    let kind = if is_here { errands::Kind::Here } else { errands::Kind::Elsewhere };
    Some(Lane { kind, whose: user.to_string() })
}

/// Notes that a file of a memo is to be asked for on LGWAN's side.
///
/// # Errors
/// [`StoreError`]
pub(crate) async fn note(bot: &Memo, event: &Event, batch: &mut Batch) -> Result<(), StoreError> {
    let is_file = !matches!(Kind::of(event.text("msgtype").unwrap_or_default()), Kind::Text | Kind::Place);
    let is_asked_for = is_file && bot.host.config.bot.lgwan_url.is_some();
    let Some(uri) = event.text("url").filter(|_| is_asked_for) else { return Ok(()) };
    let Some(lane) = lane(bot, &event.sender, uri) else { return Ok(()) };
    let file = What::File(File::new(&event.room_id, uri, &preview(event)));
    errands::note(bot, lane, event.event_id.clone(), event.received_ms, file, batch).await
}

/// Makes errands of files from before there were any.
///
/// # Errors
/// [`StoreError`]
pub(crate) async fn take_over(bot: &Memo) -> Result<(), StoreError> {
    let store = &bot.host.store;
    loop {
        let old = store.scan(&FILES, "", None, SOME).await?;
        if old.is_empty() {
            return Ok(());
        }
        for (key, OldFile { event, room, uri, name, at_ms }) in old {
            let mut batch = Batch::new();
            batch.delete(&FILES, &key);
            let owner = bot.rooms.owner(&room).await?;
            if let Some(lane) = owner.and_then(|owner| lane(bot, &owner, &uri)) {
                let file = What::File(File::new(&room, &uri, &name));
                errands::note(bot, lane, event, at_ms, file, &mut batch).await?;
            }
            store.commit(batch).await?;
        }
    }
}

/// Hears what becomes of a file, and tells its user if he has to know.
///
/// # Errors
/// [`Failure`] that may pass.
pub(crate) async fn step(
    bot: &Memo,
    errand: &Errand,
    file: &File,
    batch: &mut Batch,
) -> Result<Step, Failure> {
    let Some(url) = &bot.host.config.bot.lgwan_url else { return Ok(Step::DONE) };
    // It was deleted meanwhile.
    if !bot.memos.is_known(&errand.event).await? {
        return Ok(Step::DONE);
    }
    let event = &errand.event;
    // The file itself is not read: what it is judged to be stands in front of it.
    let homeserver = bot.host.homeserver.through(url);
    let failure = match timeout(ANSWERED_IN, homeserver.download(&file.uri)).await {
        Ok(Ok(_)) => {
            if let Some(told) = &file.told {
                let mut file = file.clone();
                if told.notice.is_none() {
                    // The bot was ended while it said so: said again it is the same message, which goes with the memo.
                    let (code, text) = (told.code.clone(), texts::refused(&file.name, "", true));
                    let notice = say(bot, event, &file, &code, &text, batch).await?;
                    file.told = Some(Told { code, notice });
                }
                say(bot, event, &file, "passes", &texts::passes(&file.name), batch).await?;
            }
            return Ok(Step::DONE);
        }
        Ok(Err(failure)) if failure.may_pass() => return Err(failure),
        Ok(Err(failure)) => failure,
        Err(_) => {
            let cause = "no answer came in time".to_owned();
            return Err(Failure::Passing { cause, after: None, status: None });
        }
    };
    // Other refusals are of the file and not of the zone: it is gone, or withheld.
    let Some((refusal, code)) = failure.refusal().and_then(|refusal| Some((refusal, code(refusal)?))) else {
        return Ok(Step::DONE);
    };
    let may_pass = PASSING.contains(&code);
    let mut file = file.clone();
    if file.told.as_ref().is_none_or(|told| told.code != code || told.notice.is_none()) {
        let text = texts::refused(&file.name, &refusal.message, may_pass);
        let before = file.clone();
        file.told = Some(Told { code: code.to_owned(), notice: None });
        if may_pass {
            // Before it is said: what was said, and noted nowhere, would never be taken back after a crash.
            errands::update(bot, &errand.with(What::File(file.clone()))).await?;
        }
        let notice = say(bot, event, &before, code, &text, batch).await?;
        file.told = notice.map(|notice| Told { code: code.to_owned(), notice: Some(notice) });
    }
    let pause = asked(refusal).unwrap_or(KEPT);
    Ok(Step { again: errand.with(What::File(file)).later(pause).filter(|_| may_pass), has_failed: false })
}

/// Why the zone refuses a file.
fn code(refusal: &Refusal) -> Option<&str> {
    refusal.answer.get("jp.yakuba.reason")?.as_str()
}

/// How long the homeserver wants to be left alone for.
fn asked(refusal: &Refusal) -> Option<Duration> {
    refusal.answer.get("retry_after_ms")?.as_u64().map(Duration::from_millis)
}

/// Says something of a file, as an answer to what was said of it before; none if it cannot be said any more.
async fn say(
    bot: &Memo,
    event: &OwnedEventId,
    file: &File,
    what: &str,
    text: &str,
    batch: &mut Batch,
) -> Result<Option<OwnedEventId>, Failure> {
    let mut content = json!({ "msgtype": "m.notice", "body": text, "m.mentions": {} });
    if let Some(notice) = file.told.as_ref().and_then(|told| told.notice.as_ref()) {
        content["m.relates_to"] = json!({ "m.in_reply_to": { "event_id": notice } });
    }
    let txn = TxnId::of(&[event.as_str(), "verdict", what]);
    match bot.host.homeserver.send(&file.room, "m.room.message", &txn, &content).await {
        Ok(notice) => {
            bot.memos.note_notice(event, &notice, batch);
            Ok(Some(notice))
        }
        Err(failure) if failure.may_pass() => Err(failure),
        Err(failure) => {
            warn!(room_id = %file.room, error = %failure, "a user could not be told");
            Ok(None)
        }
    }
}
