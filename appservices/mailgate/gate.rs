//! [`Gate`]: the bot between the mail server and rooms.

use std::sync::{Arc, Mutex};

use anyhow::Context;
use bot_kit::{Batch, Bot, Config, Event, Failure, Host, Namespaces, TxnId};
use tokio::{net::TcpListener, sync::Notify};
use tracing::info;

use crate::{
    command::Command,
    deliver, door, entrances,
    intake::Counts,
    outgoing,
    settings::{self, Settings},
    smtp::Smtp,
    standing::Closed,
};

/// The bot.
pub(crate) struct Gate {
    pub(crate) host: Host<Settings>,
    /// Rung when a mail was taken.
    pub(crate) more_in: Notify,
    /// Rung when a mail is to go out, or is not.
    pub(crate) more_out: Notify,
    /// Who takes mails out, if anybody does.
    pub(crate) smtp: Option<Smtp>,
    pub(crate) counts: Mutex<Counts>,
}

impl Bot for Gate {
    type Settings = Settings;

    const ID: &'static str = "yakuba-mailgate";
    const ABOUT: &'static str = "メール窓口 / e-mail into rooms by an address for each, and out of them";
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
        let smtp = Smtp::new(&host.config)?;
        let (more_in, more_out) = (Notify::new(), Notify::new());
        let gate = Arc::new(Self { host, more_in, more_out, smtp, counts: Mutex::default() });
        let introduced = gate.clone();
        gate.host.spawn(async move {
            introduced.host.homeserver.introduce(&introduced.settings().display_name).await;
        });
        gate.host.spawn(door::run(gate.clone(), listener));
        gate.host.spawn(deliver::run(gate.clone()));
        gate.host.spawn(outgoing::run(gate.clone()));
        Ok(gate)
    }

    async fn handle(&self, event: &Event) -> Result<Batch, Failure> {
        match event.membership() {
            Some(("invite", user)) if user == *self.host.user() => {
                self.invited(event).await?;
                return Ok(Batch::new());
            }
            Some((membership, user)) if user == *self.host.user() => {
                if membership == "join" {
                    self.came(&event.room_id).await?;
                }
                // A new name of its own is a `join` as well, and says nothing of the room.
                let _standing = self.ask_anew(&event.room_id).await?;
                return Ok(Batch::new());
            }
            _ => {}
        }
        if event.sender == *self.host.user() {
            return Ok(Batch::new());
        }
        if let Some(what) = event.redacted() {
            return self.redacted(event, &what).await;
        }
        if event.kind == "m.room.encryption" && event.state_key.is_some() {
            return self.encrypted(event).await;
        }
        if event.kind == "m.room.tombstone" {
            return self.upgraded(event).await;
        }
        if event.kind == "m.room.power_levels" && !self.of_room(&event.room_id).await?.is_empty() {
            let _standing = self.ask_anew(&event.room_id).await?;
            return Ok(Batch::new());
        }
        let is_text = event.kind == "m.room.message" && event.text("msgtype") == Some("m.text");
        if !is_text || event.relates_to("m.replace").is_some() {
            return Ok(Batch::new());
        }
        match event.said().and_then(|said| Command::parse(&said)) {
            Some(command) => self.obey(event, command).await,
            None => Ok(Batch::new()),
        }
    }

    fn noted(&self) {
        self.more_out.notify_one();
    }
}

impl Gate {
    pub(crate) fn settings(&self) -> &Settings {
        &self.host.config.bot
    }

    /// It goes into rooms of its own authority's users. Somebody outside who speaks by a user of another service is none.
    async fn invited(&self, event: &Event) -> Result<(), Failure> {
        let homeserver = &self.host.homeserver;
        let is_own = event.sender.server_name() == self.host.user().server_name();
        let outcome = if is_own && !event.of_service {
            homeserver.join(&event.room_id).await
        } else {
            info!(room_id = %event.room_id, user_id = %event.sender, "an invite is refused: who asks is no user of our own");
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
            Ok(()) => {
                // Clients cannot tell it anything there: it says so itself.
                if self.standing(&event.room_id).await? == Err(Closed::Encrypted) {
                    self.say(event, "encrypted", entrances::ENCRYPTED).await?;
                }
                Ok(())
            }
        }
    }

    /// What comes by mail would lie in the open beside what is encrypted: such a room gets no mail any more.
    async fn encrypted(&self, event: &Event) -> Result<Batch, Failure> {
        if self.of_room(&event.room_id).await?.is_empty() {
            return Ok(Batch::new());
        }
        // First of all: what waits is not to go in while we speak.
        self.note(&event.room_id, Closed::Encrypted).await?;
        self.more_in.notify_one();
        let text = "この部屋は暗号化されたため、メールを受け取れなくなりました。 / This room is encrypted now and gets no mail any more.";
        self.say(event, "encrypted", text).await?;
        Ok(Batch::new())
    }

    async fn obey(&self, event: &Event, command: Command) -> Result<Batch, Failure> {
        let room = &event.room_id;
        let answer = match command {
            Command::Help => HELP.to_owned(),
            Command::Send(wish) => return self.send_out(event, wish).await,
            _ if !self
                .host
                .homeserver
                .has_power(room, &event.sender, self.settings().least_power)
                .await? =>
            {
                "この操作には部屋の管理権限が必要です。 / You need more power in this room for that."
                    .to_owned()
            }
            Command::Open(label) => self.open(event, &label).await?,
            Command::List => self.list(room).await?,
            Command::Close(address) => self.close(room, &address).await?,
            Command::Allow(writers) => self.allow(room, writers).await?,
        };
        self.say(event, "answer", &answer).await?;
        Ok(Batch::new())
    }

    /// Says something because of an event; a room that refuses it goes without.
    pub(crate) async fn say(&self, cause: &Event, what: &str, text: &str) -> Result<(), Failure> {
        let txn = TxnId::after(&cause.event_id, what);
        match self.host.homeserver.notice(&cause.room_id, &txn, text).await {
            Err(failure) if failure.may_pass() => Err(failure),
            Err(failure) => {
                info!(room_id = %cause.room_id, error = %failure, "an answer is left out");
                Ok(())
            }
            Ok(_) => Ok(()),
        }
    }
}

const HELP: &str = "メール窓口の使い方\n\
    !メール 開設 kouji … この部屋のアドレスを作る\n!メール 一覧 … アドレスと送れる人\n\
    !メール 許可 example.co.jp（または 名前@example.co.jp、全員、なし）… 送れる人を決める\n\
    !メール 閉鎖 アドレス … アドレスをやめる\n\
    !返信 本文 … メールの発言に返信して書くと、その差出人へ送る\n\
    !メール 送信 アドレス 件名（改行して本文）… 新しいメールを送る\n\n\
    !mail open LABEL, !mail list, !mail allow DOMAIN|ADDRESS|all|none, !mail close ADDRESS, \
    !reply TEXT (as a reply to a mail), !mail send ADDRESS SUBJECT (and the text in further lines)";
