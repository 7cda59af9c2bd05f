//! [`Memo`]: what the bot does with what it is told.

use std::{sync::Arc, time::Duration};

use bot_kit::{
    Batch, Bot, Config, Event, Failure, Host, Namespaces, TxnId, now_ms,
    ruma::{OwnedUserId, UserId},
};
use serde_json::json;
use tokio::sync::Notify;

use crate::{
    command::{Command, Which},
    memos::Memos,
    rooms::{ALIASES, Rooms},
    settings::{self, Settings},
    texts, upkeep,
};

/// The bot. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Memo {
    pub(crate) host: Host<Settings>,
    pub(crate) rooms: Rooms,
    pub(crate) memos: Memos,
    /// Rung when memos were written down, and files of memos.
    pub(crate) more_memos: Arc<Notify>,
    pub(crate) more_files: Arc<Notify>,
}

impl Bot for Memo {
    type Settings = Settings;

    const ID: &'static str = "yakuba-memo";
    const ABOUT: &'static str = "メモ帳ボット / everybody's own memo room between phone and LGWAN";
    const SENDER: &'static str = "memo";
    // A notice of the room's owner is a memo as well.
    const HEARS_PROGRAMS: bool = true;

    fn claims(config: &Config<Settings>) -> Namespaces {
        let name = config.homeserver.server_name.as_str().replace('.', r"\.");
        Namespaces { aliases: vec![format!("#{ALIASES}.*:{name}")], ..Namespaces::default() }
    }

    fn mistakes(config: &Config<Settings>) -> Vec<String> {
        settings::mistakes(config)
    }

    async fn start(host: Host<Settings>) -> anyhow::Result<Arc<Self>> {
        let memos = Memos { store: host.store.clone(), homeserver: host.homeserver.clone() };
        let rooms = Rooms { host: host.clone() };
        let bot = Self { rooms, memos, more_memos: Arc::default(), more_files: Arc::default(), host };
        let bot = Arc::new(bot);
        upkeep::start(&bot);
        Ok(bot)
    }

    async fn handle(&self, event: &Event) -> Result<Batch, Failure> {
        if event.sender == *self.host.user() {
            return Ok(Batch::new());
        }
        if let Some((membership, user)) = event.membership() {
            return match membership {
                "invite" if user == *self.host.user() => self.invited(event).await,
                "invite" | "join" | "knock" => self.keep_alone(event, &user).await,
                _ => Ok(Batch::new()),
            };
        }
        let owner = self.rooms.owner(&event.room_id).await?;
        if owner.as_ref() != Some(&event.sender) {
            return Ok(Batch::new());
        }
        match &*event.kind {
            "m.room.message" => self.message(event).await,
            "m.room.redaction" => self.redacted(event).await,
            "m.room.encrypted" => {
                self.say(event, texts::ENCRYPTED).await?;
                Ok(Batch::new())
            }
            _ => Ok(Batch::new()),
        }
    }

    fn noted(&self) {
        self.more_memos.notify_one();
        self.more_files.notify_one();
    }
}

impl Memo {
    async fn say(&self, event: &Event, text: &str) -> Result<bot_kit::ruma::OwnedEventId, Failure> {
        self.host.homeserver.notice(&event.room_id, &TxnId::after(&event.event_id, "answer"), text).await
    }

    /// Somebody asks the bot into a room: his own one is shown to him, and the bot leaves.
    async fn invited(&self, event: &Event) -> Result<Batch, Failure> {
        let (user, room) = (&event.sender, &event.room_id);
        let homeserver = &self.host.homeserver;
        if user.server_name() != self.host.user().server_name() {
            return tolerated(homeserver.leave(room, texts::STRANGER).await);
        }
        let own = self.rooms.find_or_make(user).await?;
        if event.content.get("is_direct") != Some(&json!(true)) {
            return tolerated(homeserver.leave(room, texts::NOT_DIRECT).await);
        }
        let answer = async {
            homeserver.join(room).await?;
            let link = format!("https://matrix.to/#/{own}?via={}", user.server_name());
            let text = texts::moved(&self.host.config.bot.room_name, &link);
            self.say(event, &text).await?;
            homeserver.leave(room, texts::MOVED).await
        };
        // Who has taken his invite back has his room nevertheless.
        tolerated(answer.await)
    }

    /// Nobody else stays in a user's room, whoever asked him in.
    async fn keep_alone(&self, event: &Event, user: &UserId) -> Result<Batch, Failure> {
        let owner = self.rooms.owner(&event.room_id).await?;
        let Some(owner) = owner.filter(|owner| owner != user && user != self.host.user()) else {
            return Ok(Batch::new());
        };
        tracing::warn!(room_id = %event.room_id, user_id = %user, %owner, "somebody else in a memo room is asked out");
        tolerated(self.host.homeserver.kick(&event.room_id, user, texts::ALONE).await)?;
        self.say(event, texts::SOMEBODY_ELSE).await?;
        Ok(Batch::new())
    }

    async fn message(&self, event: &Event) -> Result<Batch, Failure> {
        let user = &event.sender;
        let mut batch = Batch::new();
        if let Some(original) = event.relates_to("m.replace") {
            self.memos.edit(user, &original, event, &mut batch).await?;
            return Ok(batch);
        }
        let is_text = event.text("msgtype") == Some("m.text");
        if let Some(command) = event.said().filter(|_| is_text).and_then(|said| Command::parse(&said)) {
            self.obey(event, command, &mut batch).await?;
            return Ok(batch);
        }
        self.memos.add(user, event, &mut batch).await?;
        let excess = (self.memos.count(user).await? + 1).saturating_sub(self.host.config.bot.most);
        if excess > 0 {
            let oldest = self.memos.oldest(user, excess).await?;
            self.memos.delete(user, &event.room_id, &oldest, texts::EXPIRED, &mut batch).await?;
        }
        upkeep::note_file(&self.host.config.bot, event, &mut batch);
        Ok(batch)
    }

    async fn obey(&self, event: &Event, command: Command, batch: &mut Batch) -> Result<(), Failure> {
        let user: &OwnedUserId = &event.sender;
        match command {
            Command::Help => {
                let Settings { keep, most, .. } = &self.host.config.bot;
                self.say(event, &texts::help(keep.map(|keep| keep.0), *most)).await?;
            }
            Command::List(count) => {
                let all = self.memos.all(user).await?;
                let newest: Vec<_> = all.iter().rev().take(count).cloned().collect();
                if newest.is_empty() {
                    self.say(event, texts::EMPTY).await?;
                    return Ok(());
                }
                let shown = self.say(event, &texts::list(&newest, all.len())).await?;
                self.memos.note_shown(user, &shown, batch);
            }
            Command::Delete(which) => {
                let memos = match (which, event.replies_to()) {
                    (Which::Unsaid, Some(answered)) => {
                        self.memos.of_event(user, &answered).await?.into_iter().collect()
                    }
                    (Which::Unsaid, None) => {
                        let count = self.memos.count(user).await?;
                        self.say(event, &texts::which(count)).await?;
                        return Ok(());
                    }
                    (Which::All, _) => self.memos.all(user).await?,
                    (Which::These(numbers), _) => self.memos.find(user, &numbers).await?,
                    (Which::Before(span), _) => {
                        let all = self.memos.all(user).await?;
                        let before = now_ms().saturating_sub(millis(span));
                        all.into_iter().filter(|memo| memo.at_ms < before).collect()
                    }
                };
                self.memos.delete(user, &event.room_id, &memos, texts::DELETED, batch).await?;
                self.say(event, &texts::deleted(memos.len())).await?;
            }
        }
        Ok(())
    }

    /// The user redacted a memo himself: its edits go with it.
    async fn redacted(&self, event: &Event) -> Result<Batch, Failure> {
        let mut batch = Batch::new();
        let Some(redacted) = event.redacted() else { return Ok(batch) };
        let user = &event.sender;
        let memo = self.memos.of_event(user, &redacted).await?;
        // One edit taken back leaves the memo.
        if let Some(memo) = memo.filter(|memo| memo.events.first() == Some(&redacted)) {
            self.memos.delete(user, &event.room_id, &[memo], texts::DELETED, &mut batch).await?;
        }
        Ok(batch)
    }
}

pub(crate) fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// What is refused was done already, or is not ours to do any more.
fn tolerated(outcome: Result<(), Failure>) -> Result<Batch, Failure> {
    match outcome {
        Err(failure) if failure.may_pass() => Err(failure),
        Err(failure) => {
            tracing::info!(error = %failure, "a step is left out");
            Ok(Batch::new())
        }
        Ok(()) => Ok(Batch::new()),
    }
}
