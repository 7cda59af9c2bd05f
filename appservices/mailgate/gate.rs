//! [`Gate`]: the bot between the mail server and rooms.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::Context;
use base64::{Engine, prelude::BASE64_STANDARD};
use bot_kit::{
    Batch, Bot, Config, Event, Failure, Host, Namespaces, StoreError, Table, TxnId, now_ms,
    ruma::{OwnedRoomId, RoomId, UserId},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::{net::TcpListener, sync::Notify};
use tracing::{info, warn};

use crate::{
    command::{Command, Writers},
    deliver, door,
    letter::Letter,
    settings::{self, Settings},
};

/// Addresses; key: local part, value: its room and who may write.
pub(crate) const ADDRESSES: Table<Entrance> = Table::new("addresses");

/// Mails that are not in their room yet; key: when they came and a random part.
pub(crate) const MAILS: Table<Waiting> = Table::new("mails");

/// Addresses of a room, and those of everybody.
const MOST_OF_ROOM: usize = 5;
const MOST_ADDRESSES: usize = 10_000;

/// Whom an address names as writers.
const MOST_WRITERS: usize = 50;

/// Mails that wait at a time; the MTA keeps the others.
const MOST_WAITING: usize = 1_000;

/// The span over which mails to an address are counted.
const HOUR: Duration = Duration::from_secs(3_600);

/// A pause before the bot tries to introduce itself again.
const PAUSE: Duration = Duration::from_secs(5);

/// An address.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Entrance {
    pub(crate) room: OwnedRoomId,
    /// Everybody may write.
    pub(crate) is_open: bool,
    /// Domains and addresses of those who may.
    pub(crate) writers: Vec<String>,
}

/// A mail that was taken.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Waiting {
    pub(crate) room: OwnedRoomId,
    /// As it came, in base64: a row is JSON.
    pub(crate) raw: String,
}

/// What the MTA is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It is in the store.
    Taken,
    /// The MTA tries again.
    Later(&'static str),
    /// The MTA gives it back to its sender.
    Never(&'static str),
}

impl Answer {
    pub(crate) fn line(self) -> String {
        match self {
            Self::Taken => "250 2.0.0 ok".to_owned(),
            Self::Later(why) => format!("451 {why}"),
            Self::Never(why) => format!("550 {why}"),
        }
    }
}

/// The bot.
pub(crate) struct Gate {
    pub(crate) host: Host<Settings>,
    /// Rung when a mail was taken.
    pub(crate) more: Notify,
    /// Mails to an address since a time. No more of them than addresses.
    counts: Mutex<HashMap<String, (Instant, usize)>>,
}

impl Bot for Gate {
    type Settings = Settings;

    const ID: &'static str = "yakuba-mailgate";
    const ABOUT: &'static str = "メール窓口 / e-mail into rooms by an address for each";
    const SENDER: &'static str = "mailgate";

    fn claims(_: &Config<Settings>) -> Namespaces {
        Namespaces::default()
    }

    fn mistakes(config: &Config<Settings>) -> Vec<String> {
        settings::mistakes(config)
    }

    async fn start(host: Host<Settings>) -> anyhow::Result<Arc<Self>> {
        let address = host.config.bot.address;
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("{address} で待ち受けられません / {address} cannot be listened on"))?;
        let gate = Arc::new(Self { host, more: Notify::new(), counts: Mutex::default() });
        gate.spawn(introduce(gate.clone()));
        gate.spawn(door::run(gate.clone(), listener));
        gate.spawn(deliver::run(gate.clone()));
        Ok(gate)
    }

    async fn handle(&self, event: &Event) -> Result<Batch, Failure> {
        if event.sender == *self.host.user() {
            return Ok(Batch::new());
        }
        if let Some(("invite", user)) = event.membership() {
            if user == *self.host.user() {
                self.invited(event).await?;
            }
            return Ok(Batch::new());
        }
        let is_text = event.kind == "m.room.message" && event.text("msgtype") == Some("m.text");
        if !is_text || event.relates_to("m.replace").is_some() {
            return Ok(Batch::new());
        }
        if let Some(command) = event.said().and_then(|said| Command::parse(&said)) {
            self.obey(event, command).await?;
        }
        Ok(Batch::new())
    }
}

/// Makes sure of the bot's user and its name.
async fn introduce(gate: Arc<Gate>) {
    let attempt = async || {
        gate.host.homeserver.register().await?;
        gate.host.homeserver.set_display_name(&gate.settings().display_name).await
    };
    while let Err(error) = attempt().await {
        warn!(%error, "the bot cannot introduce itself");
        if !error.may_pass() {
            return;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

impl Gate {
    pub(crate) fn settings(&self) -> &Settings {
        &self.host.config.bot
    }

    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let stop = self.host.stop.clone();
        self.host.tasks.spawn(async move {
            stop.run_until_cancelled(task).await;
        });
    }

    async fn find_entrance(&self, address: &str) -> Result<Option<(String, Entrance)>, StoreError> {
        let address = address.to_ascii_lowercase();
        let Some((local, domain)) = address.rsplit_once('@') else { return Ok(None) };
        if domain != self.settings().domain.to_ascii_lowercase() {
            return Ok(None);
        }
        let found = self.host.store.get(&ADDRESSES, local).await?;
        Ok(found.map(|entrance| (local.to_owned(), entrance)))
    }

    /// Whether an address is one of a room.
    pub(crate) async fn knows(&self, address: &str) -> Answer {
        match self.find_entrance(address).await {
            Ok(Some(_)) => Answer::Taken,
            Ok(None) => Answer::Never("5.1.1 no such address"),
            Err(error) => unwell(&error),
        }
    }

    /// Takes a mail; it is on the disk when the answer is [`Answer::Taken`].
    pub(crate) async fn take(&self, envelope: &str, address: &str, raw: Vec<u8>) -> Answer {
        let (local, entrance) = match self.find_entrance(address).await {
            Ok(Some(found)) => found,
            Ok(None) => return Answer::Never("5.1.1 no such address"),
            Err(error) => return unwell(&error),
        };
        let Some(letter) = Letter::read(&raw) else { return Answer::Never("5.6.0 that is no mail") };
        // A bounce has no sender to be looked up, and nothing of ours that it could answer.
        if envelope.is_empty() && !entrance.is_open {
            return Answer::Never("5.7.1 no bounces here");
        }
        // Somebody's program answers in our name: that would go round.
        match self.find_entrance(&letter.from).await {
            Ok(None) => {}
            Ok(Some(_)) => return Answer::Never("5.7.1 that is an address of ours"),
            Err(error) => return unwell(&error),
        }
        if !entrance.admits(&letter.from) {
            return Answer::Never("5.7.1 you may not write to this address");
        }
        if !self.is_within_rate(&local) {
            return Answer::Later("4.7.0 too many mails to this address");
        }
        let key = format!("{:015}-{:016x}", now_ms(), rand::random::<u64>());
        let waiting = Waiting { room: entrance.room, raw: BASE64_STANDARD.encode(raw) };
        let kept = self.host.store.change(move |rows| {
            let mut batch = Batch::new();
            let is_room = rows.count(&MAILS, "", MOST_WAITING)? < MOST_WAITING;
            if is_room {
                batch.put(&MAILS, &key, &waiting);
            }
            Ok::<_, StoreError>((batch, is_room))
        });
        match kept.await {
            Ok(true) => {
                self.more.notify_one();
                Answer::Taken
            }
            Ok(false) => Answer::Later("4.3.1 too many mails wait"),
            Err(error) => unwell(&error),
        }
    }

    fn is_within_rate(&self, local: &str) -> bool {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, count) = counts.entry(local.to_owned()).or_insert_with(|| (Instant::now(), 0));
        if since.elapsed() >= HOUR {
            (*since, *count) = (Instant::now(), 0);
        }
        *count += 1;
        *count <= self.settings().hourly
    }

    /// It goes into rooms of its own authority's users.
    async fn invited(&self, event: &Event) -> Result<(), Failure> {
        let homeserver = &self.host.homeserver;
        let outcome = if event.sender.server_name() == self.host.user().server_name() {
            homeserver.join(&event.room_id).await
        } else {
            homeserver
                .leave(&event.room_id, "この窓口は自庁の利用者だけのものです / for our own users only")
                .await
        };
        match outcome {
            Err(failure) if failure.may_pass() => Err(failure),
            Err(failure) => {
                info!(room_id = %event.room_id, error = %failure, "an invite is left alone");
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    async fn obey(&self, event: &Event, command: Command) -> Result<(), Failure> {
        let room = &event.room_id;
        let answer = match command {
            Command::Help => HELP.to_owned(),
            _ if !self.may(room, &event.sender).await? => {
                "この操作には部屋の管理権限が必要です。 / You need more power in this room for that."
                    .to_owned()
            }
            Command::Open(label) => self.open(event, &label).await?,
            Command::List => self.list(room).await?,
            Command::Close(address) => self.close(room, &address).await?,
            Command::Allow(writers) => self.allow(room, writers).await?,
        };
        let txn = TxnId::after(&event.event_id, "answer");
        match self.host.homeserver.notice(room, &txn, &answer).await {
            Err(failure) if failure.may_pass() => Err(failure),
            Err(failure) => {
                info!(room_id = %room, error = %failure, "an answer is left out");
                Ok(())
            }
            Ok(_) => Ok(()),
        }
    }

    async fn of_room(&self, room: &RoomId) -> Result<Vec<(String, Entrance)>, StoreError> {
        let all = self.host.store.scan(&ADDRESSES, "", None, MOST_ADDRESSES).await?;
        Ok(all.into_iter().filter(|(_, entrance)| entrance.room == room).collect())
    }

    async fn open(&self, event: &Event, label: &str) -> Result<String, Failure> {
        let room = &event.room_id;
        let of_room = self.of_room(room).await?;
        let local = local_part(label, rand::random());
        if of_room.len() >= MOST_OF_ROOM || self.host.store.count(&ADDRESSES, "").await? >= MOST_ADDRESSES {
            return Ok(format!(
                "アドレスは部屋ごとに{MOST_OF_ROOM}件までです。 / No more addresses can be opened."
            ));
        }
        let entrance = of_room.first().map_or_else(
            || Entrance { room: room.clone(), is_open: false, writers: Vec::new() },
            |(_, other)| other.clone(),
        );
        let mut batch = Batch::new();
        batch.put(&ADDRESSES, &local, &entrance);
        self.host.store.commit(batch).await?;
        let domain = &self.settings().domain;
        Ok(format!(
            "アドレスを開設しました: {local}@{domain}\n{}\n差出人は「!メール 許可 example.co.jp」で許可します。\n\
             The address is open. Allow its writers by \"!mail allow example.co.jp\".",
            entrance.describe()
        ))
    }

    async fn list(&self, room: &RoomId) -> Result<String, Failure> {
        let domain = &self.settings().domain;
        let lines: Vec<String> = self
            .of_room(room)
            .await?
            .iter()
            .map(|(local, entrance)| format!("{local}@{domain}: {}", entrance.describe()))
            .collect();
        if lines.is_empty() {
            return Ok("この部屋のアドレスはありません。 / This room has no address.".to_owned());
        }
        Ok(lines.join("\n"))
    }

    async fn close(&self, room: &RoomId, address: &str) -> Result<String, Failure> {
        let local = address.split('@').next().unwrap_or_default();
        if !self.of_room(room).await?.iter().any(|(own, _)| own == local) {
            return Ok("この部屋のアドレスではありません。 / That is no address of this room.".to_owned());
        }
        let mut batch = Batch::new();
        batch.delete(&ADDRESSES, local);
        self.host.store.commit(batch).await?;
        Ok("閉鎖しました。届くメールは差出人へ返されます。 / It is closed; mail to it goes back.".to_owned())
    }

    async fn allow(&self, room: &RoomId, writers: Writers) -> Result<String, Failure> {
        let mut of_room = self.of_room(room).await?;
        let mut batch = Batch::new();
        for (local, entrance) in &mut of_room {
            match &writers {
                Writers::Everybody => entrance.is_open = true,
                Writers::Nobody => (entrance.is_open, entrance.writers) = (false, Vec::new()),
                Writers::These(whom) => {
                    entrance.is_open = false;
                    if !entrance.writers.contains(whom) && entrance.writers.len() < MOST_WRITERS {
                        entrance.writers.push(whom.clone());
                    }
                }
            }
            batch.put(&ADDRESSES, local, entrance);
        }
        self.host.store.commit(batch).await?;
        self.list(room).await
    }

    /// Whether a user has the power for it.
    ///
    /// Spec: <https://spec.matrix.org/v1.19/rooms/v12/#changes-to-power-levels> for the makers of a room.
    async fn may(&self, room: &RoomId, user: &UserId) -> Result<bool, Failure> {
        let homeserver = &self.host.homeserver;
        let levels = homeserver.state(room, "m.room.power_levels", "").await?;
        let levels = Value::Object(levels.unwrap_or_default());
        let of_user = levels.get("users").and_then(|users| users.get(user.as_str()));
        let level = of_user.or_else(|| levels.get("users_default")).and_then(Value::as_i64).unwrap_or(0);
        if level >= self.settings().least_power {
            return Ok(true);
        }
        let path = ["client", "v3", "rooms", room.as_str(), "state"];
        let state = homeserver.call(http::Method::GET, &path, &[], None).await?;
        let events = state.as_array().map(Vec::as_slice).unwrap_or_default();
        let Some(create) = events.iter().find(|event| event["type"] == "m.room.create") else {
            return Ok(false);
        };
        let version = create["content"]["room_version"].as_str().unwrap_or("1");
        let ranks_above = version.parse::<u32>().is_ok_and(|version| version >= 12);
        let others =
            create["content"]["additional_creators"].as_array().map(Vec::as_slice).unwrap_or_default();
        let is_one = create["sender"] == user.as_str() || others.iter().any(|other| other == user.as_str());
        Ok(ranks_above && is_one)
    }
}

impl Entrance {
    /// Whether somebody may write.
    fn admits(&self, from: &str) -> bool {
        let domain = from.rsplit_once('@').map(|(_, domain)| domain);
        let is_named = |writer: &String| writer == from || Some(writer.as_str()) == domain;
        self.is_open || self.writers.iter().any(is_named)
    }

    fn describe(&self) -> String {
        match (self.is_open, self.writers.is_empty()) {
            (true, _) => "全員が送れます / everybody may write".to_owned(),
            (false, true) => "まだ誰も送れません / nobody may write yet".to_owned(),
            (false, false) => format!("送れる人 / writers: {}", self.writers.join(", ")),
        }
    }
}

/// A local part that cannot be guessed.
fn local_part(label: &str, random: u64) -> String {
    let label = label.to_ascii_lowercase();
    let is_fit =
        !label.is_empty() && label.len() <= 20 && label.bytes().all(|byte| byte.is_ascii_alphanumeric());
    format!("{}-{random:016x}", if is_fit { &label } else { "room" })
}

fn unwell(error: &StoreError) -> Answer {
    warn!(%error, "the store does not do its work");
    Answer::Later("4.3.0 try again")
}

const HELP: &str = "メール窓口の使い方\n\
    !メール 開設 工事 … この部屋のアドレスを作る\n!メール 一覧 … アドレスと送れる人\n\
    !メール 許可 example.co.jp（または 名前@example.co.jp、全員、なし）… 送れる人を決める\n\
    !メール 閉鎖 アドレス … アドレスをやめる\n\n\
    !mail open LABEL, !mail list, !mail allow DOMAIN|ADDRESS|all|none, !mail close ADDRESS";
