//! [`Memo`]: what the bot does with what it is told.

use std::{sync::Arc, time::Duration};

use bot_kit::{
    Batch, Bot, Config, Event, Failure, Host, Key, Namespaces, Registration, TxnId, now_ms,
    ruma::{OwnedUserId, UserId},
};
use serde_json::Value;
use tokio::sync::Notify;

use crate::{
    command::{Command, Which},
    errands::Bell,
    invites,
    memos::{Kind, Memos},
    rooms::{ALIASES, Rooms},
    settings::{self, Settings},
    texts, upkeep, verdicts,
};

/// The bot. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Memo {
    pub(crate) host: Host<Settings>,
    pub(crate) rooms: Rooms,
    pub(crate) memos: Memos,
    /// Rung when memos were written down, and errands.
    pub(crate) more_memos: Arc<Notify>,
    pub(crate) errands: Arc<Bell>,
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
        let registration = host.config.path(&host.config.appservice.registration);
        let key = Key::of(&Registration::read(&registration)?.as_token);
        let rooms = Rooms { host: host.clone(), key };
        let bot = Self { rooms, memos, more_memos: Arc::default(), errands: Arc::default(), host };
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
                "invite" if user == *self.host.user() => invites::note(self, event).await,
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
        self.errands.ring();
    }
}

impl Memo {
    pub(crate) async fn say(
        &self,
        event: &Event,
        text: &str,
    ) -> Result<bot_kit::ruma::OwnedEventId, Failure> {
        self.host.homeserver.notice(&event.room_id, &TxnId::after(&event.event_id, "answer"), text).await
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
            if let Some(edited) = self.memos.edit(user, &original, event, &mut batch).await? {
                self.look_at_file(&edited, &mut batch).await?;
            }
            return Ok(batch);
        }
        if let Some(command) = command(event) {
            match self.standing(event).await? {
                Standing::Stands => self.obey(event, command, &mut batch).await?,
                Standing::Edited => {
                    self.say(event, texts::EDITED).await?;
                }
                Standing::Redacted | Standing::Left => {
                    tracing::info!(event_id = %event.event_id, "a command does not stand any more")
                }
            }
            return Ok(batch);
        }
        let excess = (self.memos.count(user).await? + 1).saturating_sub(self.host.config.bot.most);
        if excess > 0 {
            // One that was taken back meanwhile costs no other.
            if self.standing(event).await? == Standing::Redacted {
                return Ok(batch);
            }
            let oldest = self.memos.oldest(user, excess).await?;
            self.memos.delete(user, &event.room_id, &oldest, texts::EXPIRED, &mut batch).await?;
        }
        self.memos.add(user, event, &mut batch).await?;
        self.look_at_file(event, &mut batch).await?;
        Ok(batch)
    }

    /// Of a memo that is a file, its user may have to be told that it does not leave to LGWAN.
    async fn look_at_file(&self, event: &Event, batch: &mut Batch) -> Result<(), Failure> {
        if is_encrypted_file(event) {
            self.say(event, texts::ENCRYPTED_FILE).await?;
        }
        Ok(verdicts::note(self, event, batch).await?)
    }

    /// Whether what somebody wrote still stands, and he is still there: what comes may be old by now, and nothing is deleted for who
    /// took his word back.
    async fn standing(&self, event: &Event) -> Result<Standing, Failure> {
        let homeserver = &self.host.homeserver;
        let now = match homeserver.find_event(&event.room_id, &event.event_id).await {
            Err(failure) if failure.may_pass() => return Err(failure),
            now => now.unwrap_or_default().unwrap_or_default(),
        };
        let unsigned = now.get("unsigned");
        let is_bare = now.get("content").and_then(Value::as_object).is_none_or(|content| content.is_empty());
        if is_bare || unsigned.and_then(|unsigned| unsigned.get("redacted_because")).is_some() {
            return Ok(Standing::Redacted);
        }
        if !homeserver.is_joined(&event.room_id, &event.sender).await? {
            return Ok(Standing::Left);
        }
        let edit = unsigned.and_then(|unsigned| unsigned.get("m.relations")?.get("m.replace"));
        Ok(if edit.is_some() { Standing::Edited } else { Standing::Stands })
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

/// What became of what somebody wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Stands,
    /// He wrote it anew.
    Edited,
    /// He took it back, or nobody can see it any more.
    Redacted,
    /// He is not in the room any more.
    Left,
}

/// What a user asks of the bot: he himself, and by a text. What a program says, perhaps for an outsider, is nothing said.
fn command(event: &Event) -> Option<Command> {
    let is_text = event.text("msgtype") == Some("m.text");
    event.said().filter(|_| is_text).and_then(|said| Command::parse(&said))
}

fn is_encrypted_file(event: &Event) -> bool {
    let kind = Kind::of(event.text("msgtype").unwrap_or_default());
    !matches!(kind, Kind::Text | Kind::Place) && event.content.get("file").is_some_and(Value::is_object)
}

pub(crate) fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// What is refused was done already, or is not ours to do any more.
pub(crate) fn tolerated(outcome: Result<(), Failure>) -> Result<Batch, Failure> {
    match outcome {
        Err(failure) if failure.may_pass() => Err(failure),
        Err(failure) => {
            tracing::info!(error = %failure, "a step is left out");
            Ok(Batch::new())
        }
        Ok(()) => Ok(Batch::new()),
    }
}
