//! What the bot sees to by itself: memos whose time is over, and files that will not leave to LGWAN.

use std::{sync::Arc, time::Duration};

use bot_kit::{
    Batch, Event, Failure, Table, TxnId, now_ms,
    ruma::{OwnedEventId, OwnedRoomId, UserId},
};
use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::{
    bot::{Memo, millis},
    memos::{Kind, preview},
    settings::Settings,
    texts,
};

/// Files whose verdict is still to be heard; key: event id.
const FILES: Table<File> = Table::new("files");

/// Memos or files of one round.
const ROUND: usize = 100;

/// It is looked again after this at the latest.
const PAUSE: Duration = Duration::from_secs(60);

/// A file of which the homeserver cannot say anything for so long is not asked for any more; whoever opens it is told then.
const PATIENCE_MS: u64 = 86_400_000;

#[derive(Debug, Serialize, Deserialize)]
struct File {
    event: OwnedEventId,
    room: OwnedRoomId,
    uri: String,
    name: String,
    at_ms: u64,
}

/// Starts it.
pub(crate) fn start(bot: &Arc<Memo>) {
    let (keeper, asker) = (bot.clone(), bot.clone());
    bot.host.tasks.spawn(async move {
        let stop = keeper.host.stop.clone();
        stop.run_until_cancelled(keep(&keeper)).await;
    });
    bot.host.tasks.spawn(async move {
        let stop = asker.host.stop.clone();
        stop.run_until_cancelled(ask(&asker)).await;
    });
}

/// Notes that a file of a memo is to be asked for on LGWAN's side.
pub(crate) fn note_file(settings: &Settings, event: &Event, batch: &mut Batch) {
    let is_file = !matches!(Kind::of(event.text("msgtype").unwrap_or_default()), Kind::Text | Kind::Place);
    let Some(uri) = event.text("url").filter(|_| is_file && settings.lgwan_url.is_some()) else { return };
    let file = File {
        event: event.event_id.clone(),
        room: event.room_id.clone(),
        uri: uri.to_owned(),
        name: preview(event),
        at_ms: event.received_ms,
    };
    batch.put(&FILES, event.event_id.as_str(), &file);
}

/// Makes sure of the bot's user and its name; then memos go when their time is over.
async fn keep(bot: &Memo) {
    while let Err(error) = introduce(bot).await {
        warn!(%error, "the bot cannot introduce itself");
        if !error.may_pass() {
            break;
        }
        tokio::time::sleep(PAUSE / 12).await;
    }
    let Some(keep) = bot.host.config.bot.keep else { return };
    let keep_ms = millis(keep.0);
    loop {
        // Before the look: what comes meanwhile must wake us.
        let more = bot.more_memos.notified();
        let wait = match round(bot, keep_ms).await {
            Ok(wait) => wait,
            Err(error) => {
                warn!(%error, "memos whose time is over could not be deleted");
                PAUSE
            }
        };
        // A wake or the end of the wait: either has us look again.
        tokio::time::timeout(wait.min(PAUSE), more).await.ok();
    }
}

async fn introduce(bot: &Memo) -> Result<(), Failure> {
    bot.host.homeserver.register().await?;
    bot.host.homeserver.set_display_name(&bot.host.config.bot.display_name).await
}

/// Deletes what is due; how long nothing else is.
async fn round(bot: &Memo, keep_ms: u64) -> Result<Duration, Failure> {
    loop {
        let now = now_ms();
        let (due, next) = bot.memos.written_before(now.saturating_sub(keep_ms), ROUND).await?;
        if due.is_empty() {
            let wait = next.map(|at| at.saturating_add(keep_ms).saturating_sub(now).max(1));
            return Ok(wait.map_or(PAUSE, Duration::from_millis));
        }
        for (user, memo) in due {
            let Ok(user) = UserId::parse(user) else { continue };
            let mut batch = Batch::new();
            bot.memos
                .delete(&user, &memo.room, std::slice::from_ref(&memo), texts::EXPIRED, &mut batch)
                .await?;
            bot.host.store.commit(batch).await?;
        }
    }
}

/// Tells users of files that the homeserver refuses to give on LGWAN's side.
async fn ask(bot: &Memo) {
    if bot.host.config.bot.lgwan_url.is_none() {
        return;
    }
    loop {
        // Before the look: what comes meanwhile must wake us.
        let more = bot.more_files.notified();
        if let Err(error) = ask_all(bot).await {
            warn!(%error, "it could not be asked which files leave to LGWAN");
        }
        tokio::time::timeout(PAUSE, more).await.ok();
    }
}

async fn ask_all(bot: &Memo) -> Result<(), Failure> {
    let mut last: Option<String> = None;
    loop {
        let files = bot.host.store.scan(&FILES, "", last.as_deref(), ROUND).await?;
        let Some((key, _)) = files.last() else { return Ok(()) };
        last = Some(key.clone());
        for (key, file) in files {
            if is_answered(bot, &file).await? || now_ms().saturating_sub(file.at_ms) > PATIENCE_MS {
                let mut batch = Batch::new();
                batch.delete(&FILES, &key);
                bot.host.store.commit(batch).await?;
            }
        }
    }
}

/// Whether the homeserver said what becomes of a file, and its user was told if he has to know.
async fn is_answered(bot: &Memo, file: &File) -> Result<bool, Failure> {
    let Some(url) = &bot.host.config.bot.lgwan_url else { return Ok(true) };
    let homeserver = &bot.host.homeserver;
    // The file itself is not read: what it is judged to be stands in front of it.
    let refusal = match homeserver.through(url).download(&file.uri).await {
        Ok(_) => return Ok(true),
        Err(failure) if failure.may_pass() => {
            warn!(event_id = %file.event, error = %failure, "a file could not be judged yet");
            return Ok(false);
        }
        Err(failure) => failure,
    };
    // Other refusals are of the file and not of the zone: it is gone, or withheld.
    let judged = refusal.refusal().filter(|refusal| refusal.answer.get("jp.yakuba.reason").is_some());
    if let Some(refusal) = judged {
        let txn = TxnId::after(&file.event, "verdict");
        let text = texts::refused(&file.name, &refusal.message);
        match homeserver.notice(&file.room, &txn, &text).await {
            Err(failure) if failure.may_pass() => return Err(failure),
            Err(failure) => warn!(room_id = %file.room, error = %failure, "a user could not be told"),
            Ok(_) => {}
        }
    }
    Ok(true)
}
