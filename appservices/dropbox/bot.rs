//! [`Dropbox`]: what the bot does with events of rooms.

use std::sync::Arc;

use anyhow::Context;
use base::Clock;
use bot_kit::{
    Batch, Bot, Bounds, Config, Event, Failure, Homeserver, Host, Namespaces, Registration, TxnId,
    ruma::{EventId, OwnedEventId, UserId},
};
use serde_json::json;
use tokio::net::TcpListener;
use tracing::{info, warn};

use crate::{
    chase::Chaser,
    command::{self, Command, Handing},
    deliver::Carrier,
    door::{Door, Source},
    drops::{Drops, Error, handover::Agreement},
    files::Files,
    language::Language,
    private::{ALIASES as PRIVATE_ALIASES, Private},
    record::Scribe,
    rows::{Hand, HandState},
    secret::{Key, Token},
    settings::Settings,
    shown::{Shown, look},
    standing::TOMBSTONE,
    words,
};

/// Connections of people outside at a time.
const CONNECTIONS: usize = 1_024;

/// The application service.
pub struct Dropbox {
    host: Host<Settings>,
    pub(crate) drops: Drops,
    private: Private,
}

impl std::fmt::Debug for Dropbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dropbox").finish_non_exhaustive()
    }
}

impl Bot for Dropbox {
    type Settings = Settings;

    const ID: &'static str = "yakuba-dropbox";
    const ABOUT: &'static str =
        "受取URL：部屋にファイルを届けてもらう / links by which people outside send files into a room";
    const SENDER: &'static str = "dropbox";

    fn claims(config: &Config<Settings>) -> Namespaces {
        let server = config.homeserver.server_name.as_str().replace('.', r"\.");
        Namespaces { aliases: vec![format!("#{PRIVATE_ALIASES}.*:{server}")], ..Namespaces::default() }
    }

    fn mistakes(config: &Config<Settings>) -> Vec<String> {
        config.bot.mistakes()
    }

    async fn start(host: Host<Settings>) -> anyhow::Result<Arc<Self>> {
        let config = &host.config;
        let mut settings = config.bot.clone();
        if settings.makers.is_empty() {
            settings.makers.push(config.homeserver.server_name.clone());
        }
        // What only the service and its homeserver know is what tokens are made from.
        let registration = Registration::read(&config.path(&config.appservice.registration))?;
        let key = Key::of(&registration.as_token);
        let drops = Drops::new(host.store.clone(), Clock::system(), settings.clone(), key.clone());
        let shown = settings.files_path.display();
        let files = Files::open(config.path(&settings.files_path), drops.clone())
            .with_context(|| format!("bot.files_path {shown} を使えません / {shown} cannot be used"))?;
        let shown = settings.audit_path.display();
        let scribe = Scribe::open(&config.path(&settings.audit_path), drops.clone())
            .with_context(|| format!("bot.audit_path {shown} を使えません / {shown} cannot be used"))?;
        let address = settings.page_address;
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("{address} で待ち受けられません / {address} cannot be listened on"))?;

        let homeserver = host.homeserver.clone();
        let private = Private { store: host.store.clone(), homeserver: homeserver.clone(), key: key.clone() };
        let (of_carrier, of_bot) = (private.clone(), private);
        let carrier = Carrier {
            drops: drops.clone(),
            files: files.clone(),
            homeserver: homeserver.clone(),
            private: of_carrier,
        };
        let chaser = Chaser { drops: drops.clone(), files: files.clone(), homeserver: homeserver.clone() };
        let through = settings.hand_over_through.as_ref();
        let outward = through.map_or_else(|| homeserver.clone(), |url| homeserver.through(url));
        let source = Source { rooms: homeserver.clone(), media: outward };
        let router = Door::new(drops.clone(), files, Some(source)).router();
        let bounds = Bounds { connections: CONNECTIONS, ..Bounds::default() };
        host.tasks.spawn(bot_kit::serve(listener, router, bounds, host.stop.clone()));
        host.tasks.spawn(carrier.work(host.stop.clone()));
        host.tasks.spawn(chaser.work(host.stop.clone()));
        host.tasks.spawn(scribe.work(host.stop.clone()));
        let stop = host.stop.clone();
        host.tasks.spawn(async move {
            // Whether it bears its name is of no weight to its work.
            let named = async {
                homeserver.register().await?;
                homeserver.set_display_name("受取URL").await
            };
            if let Some(Err(error)) = stop.run_until_cancelled(named).await {
                warn!(%error, "the bot could not be named");
            }
        });
        info!(%address, "the page is served");
        Ok(Arc::new(Self { host, drops, private: of_bot }))
    }

    async fn handle(&self, event: &Event) -> Result<Batch, Failure> {
        if let Some((membership, user)) = event.membership() {
            match membership {
                _ if user != *self.host.user() => {}
                "invite" => self.come(event).await?,
                "join" => self.came(event).await?,
                "leave" | "ban" => self.put_out(event).await?,
                _ => {}
            }
            return Ok(Batch::new());
        }
        if event.sender == *self.host.user() {
            return Ok(Batch::new());
        }
        if event.state_key.as_deref() == Some("") {
            match &*event.kind {
                "m.room.power_levels" => self.look_after(&event.room_id, &event.event_id).await?,
                "m.room.encryption" => self.encrypted(event).await?,
                TOMBSTONE => self.upgraded(event).await?,
                _ => {}
            }
            return Ok(Batch::new());
        }
        if let Some(original) = event.relates_to("m.replace") {
            self.edited(event, &original).await?;
            return Ok(Batch::new());
        }
        if event.kind == "m.reaction" && self.is_maker(&event.sender) {
            let key = event.content.get("m.relates_to").and_then(|relation| relation.get("key")?.as_str());
            // With and without the mark that makes a picture of it.
            if let Some(question) = event.relates_to("m.annotation").filter(|_| key.is_some_and(is_agreement))
            {
                self.agree(event, &question).await?;
            }
            return Ok(Batch::new());
        }
        if let Some(redacted) = event.redacted() {
            self.withdraw(event, &redacted).await?;
            return Ok(Batch::new());
        }
        let is_text = event.kind == "m.room.message" && event.text("msgtype") == Some("m.text");
        if !is_text || !self.is_maker(&event.sender) {
            return Ok(Batch::new());
        }
        let Some(said) = event.said() else { return Ok(Batch::new()) };
        if let Some((language, command)) = command::parse(&said, self.drops.settings())
            && self.is_there(event).await?
        {
            self.obey(event, language, command).await?;
        }
        Ok(Batch::new())
    }
}

impl Dropbox {
    pub(crate) fn server(&self) -> &Homeserver {
        &self.host.homeserver
    }

    /// Whether users of this one's server may make links.
    fn is_maker(&self, user: &UserId) -> bool {
        self.drops.settings().makers.iter().any(|server| server == user.server_name())
    }

    /// Whether the sender of an event is in its room now: an event may be read long after it was sent.
    async fn is_there(&self, event: &Event) -> Result<bool, Failure> {
        self.server().is_joined(&event.room_id, &event.sender).await
    }

    /// The bot is in a room no more: its links lead nowhere now, and nobody there could end them. Their makers are told.
    async fn put_out(&self, event: &Event) -> Result<(), Failure> {
        let (room, by) = (&event.room_id, &event.sender);
        self.drops.close_room(room, by, &event.event_id).await.map_err(failure)?;
        // By what caused it they are found again, if a crash came before all were told.
        let closed = self.drops.closed_by(room, &event.event_id).await.map_err(failure)?;
        self.tell_makers(&closed, &event.event_id, words::put_out).await
    }

    /// The room is encrypted now: its links would bring files there that are not, and commands are not read.
    async fn encrypted(&self, event: &Event) -> Result<(), Failure> {
        let (room, by) = (&event.room_id, &event.sender);
        self.drops.close_room(room, by, &event.event_id).await.map_err(failure)?;
        let closed = self.drops.closed_by(room, &event.event_id).await.map_err(failure)?;
        self.tell_makers(&closed, &event.event_id, words::encrypted_now).await
    }

    /// Comes into a room, if one of those asks who may make links.
    async fn come(&self, event: &Event) -> Result<(), Failure> {
        let room = &event.room_id;
        if !self.is_maker(&event.sender) {
            let reason = "この役場の職員だけが招待できます / only members of this authority may invite me";
            return self.server().leave(room, reason).await;
        }
        self.server().join(room).await?;
        if self.server().state(room, "m.room.encryption", "").await?.is_some() {
            self.say(event, "encrypted", &words::encrypted()).await?;
        }
        Ok(())
    }

    /// Answers an event.
    async fn say(&self, event: &Event, what: &str, text: &str) -> Result<(), Failure> {
        let content = json!({
            "msgtype": "m.notice", "body": text, "m.mentions": { "user_ids": [event.sender] },
            "m.relates_to": { "m.in_reply_to": { "event_id": event.event_id } },
        });
        let txn = TxnId::after(&event.event_id, what);
        self.server().send(&event.room_id, "m.room.message", &txn, &content).await.map(drop)
    }

    async fn obey(
        &self,
        event: &Event,
        language: Language,
        command: Result<Command, command::Mistake>,
    ) -> Result<(), Failure> {
        if self.server().state(&event.room_id, "m.room.encryption", "").await?.is_some() {
            return self.say(event, "encrypted", &words::encrypted()).await;
        }
        match command {
            Err(mistake) => self.say(event, "mistake", &mistake).await,
            Ok(Command::Help) => self.say(event, "help", &words::help(language, self.drops.settings())).await,
            Ok(Command::List) => {
                let links = self.drops.of_room(&event.room_id).await.map_err(failure)?;
                self.say(event, "list", &words::list(&links, language)).await
            }
            Ok(Command::Revoke(number)) => self.revoke(event, language, number).await,
            Ok(Command::Receive(wish)) => self.make(event, language, wish).await,
            Ok(Command::HelpHands) => self.say(event, "help", &words::help_hands(language)).await,
            Ok(Command::ListHands) => {
                let hands = self.drops.hands_of_room(&event.room_id).await.map_err(failure)?;
                self.say(event, "list", &words::list_hands(&hands, language)).await
            }
            Ok(Command::EndHand(number)) => self.end_hand(event, language, number).await,
            Ok(Command::HandOver(handing)) => self.ask_to_hand_over(event, language, handing).await,
        }
    }

    async fn make(&self, event: &Event, language: Language, wish: command::Wish) -> Result<(), Failure> {
        if !self.may(event).await? {
            return self.say(event, "may not", &words::may_not(language)).await;
        }
        let (room, maker, cause) = (event.room_id.clone(), event.sender.clone(), event.event_id.clone());
        let made = match self.drops.make(room, maker, cause, language, wish).await {
            Err(Error::Links) => return self.say(event, "too many", &words::too_many_links(language)).await,
            Err(Error::LinksOfRoom(most)) => {
                let text = words::too_many_links_of_room(most, language);
                return self.say(event, "too many", &text).await;
            }
            made => made.map_err(failure)?,
        };
        // First the code: who has the link waits for it.
        if let Some(code) = &made.code {
            self.tell_code(&made.link.maker, &event.event_id, &words::code(&made.link, code)).await?;
        }
        let url = self.url("r", &made.token);
        self.say(event, "made", &words::made(&made, &url)).await
    }

    /// A link as it is told.
    fn url(&self, kind: &str, token: &Token) -> String {
        let base = self.drops.settings().public_url.as_str().trim_end_matches('/');
        format!("{base}/{kind}/{}", token.as_str())
    }

    /// Asks other members whether the file that a command answers may be handed over.
    async fn ask_to_hand_over(
        &self,
        event: &Event,
        language: Language,
        handing: Handing,
    ) -> Result<(), Failure> {
        if !self.may(event).await? {
            return self.say(event, "may not", &words::may_not(language)).await;
        }
        let shown = match event.replies_to() {
            Some(file) => look(self.server(), &event.room_id, &file).await?,
            None => Shown::Nothing,
        };
        let file = match shown {
            Shown::File(file) => file,
            Shown::Edited => return self.say(event, "edited", &words::edited(language)).await,
            Shown::Nothing => return self.say(event, "no file", &words::no_file(language)).await,
        };
        let (room, asker, cause) = (event.room_id.clone(), event.sender.clone(), event.event_id.clone());
        let asked = self.drops.ask_to_hand_over(room, asker, cause, language, handing, file).await;
        let hand = match asked {
            Err(Error::Links) => return self.say(event, "too many", &words::too_many_links(language)).await,
            Err(Error::LinksOfRoom(most)) => {
                let text = words::too_many_links_of_room(most, language);
                return self.say(event, "too many", &text).await;
            }
            asked => asked.map_err(failure)?,
        };
        let content = json!({
            "msgtype": "m.text", "body": words::question(&hand), "m.mentions": {},
            "m.relates_to": { "m.in_reply_to": { "event_id": hand.event } },
        });
        let txn = TxnId::after(&event.event_id, "question");
        let question = self.server().send(&event.room_id, "m.room.message", &txn, &content).await?;
        self.drops.note_question(&hand, &question).await.map_err(failure)
    }

    /// A member agreed, perhaps, that a file is handed over.
    async fn agree(&self, event: &Event, question: &OwnedEventId) -> Result<(), Failure> {
        let Some(hand) = self.drops.find_question(question).await.map_err(failure)? else { return Ok(()) };
        // The question stands in its room alone; who has no power there agrees to nothing.
        if hand.room != event.room_id || !self.is_there(event).await? || !self.may(event).await? {
            return Ok(());
        }
        // What is agreed to is what is shown now.
        if hand.state == HandState::Asked
            && hand.asker != event.sender
            && !self.is_as_asked(event, &hand).await?
        {
            return Ok(());
        }
        match self
            .drops
            .agree(question, event.sender.clone(), event.event_id.clone())
            .await
            .map_err(failure)?
        {
            Agreement::Nothing => Ok(()),
            Agreement::Own(hand) => self.say(event, "own", &words::own_agreement(hand.language)).await,
            Agreement::Good(hand, token, code) => {
                if let Some(code) = code {
                    self.tell_code(&hand.asker, &hand.cause, &words::code_of_hand(&hand, &code)).await?;
                }
                let text = words::handed(&hand, &self.url("h", &token));
                let content = json!({
                    "msgtype": "m.notice", "body": text, "m.mentions": { "user_ids": [hand.asker] },
                    "m.relates_to": { "m.in_reply_to": { "event_id": hand.cause } },
                });
                let txn = TxnId::after(&hand.cause, "handed");
                self.server().send(&event.room_id, "m.room.message", &txn, &content).await.map(drop)
            }
        }
    }

    /// A file that is deleted in the room goes out no more, nor does one to which nobody agrees any more.
    async fn withdraw(&self, event: &Event, redacted: &OwnedEventId) -> Result<(), Failure> {
        for hand in self.drops.hands_of_room(&event.room_id).await.map_err(failure)? {
            let text = match &hand.agreement {
                _ if hand.event == *redacted => words::changed(&hand),
                Some(agreement) if agreement == redacted => words::withdrawn(&hand),
                _ => continue,
            };
            // First of all it is over; whoever is told of it after a crash is told by the list.
            self.drops.end_hand(&hand.room, hand.number, event.sender.clone()).await.map_err(failure)?;
            self.say(event, &format!("changed {}", hand.number), &text).await?;
        }
        Ok(())
    }

    /// Nor does one in whose stead another is shown now.
    async fn edited(&self, event: &Event, original: &OwnedEventId) -> Result<(), Failure> {
        for hand in self.hands_for(event, original).await? {
            self.is_as_asked(event, &hand).await?;
        }
        Ok(())
    }

    /// The links of an event's room that are good or wait, for the file of another event.
    async fn hands_for(&self, event: &Event, file: &OwnedEventId) -> Result<Vec<Hand>, Failure> {
        let mut hands = self.drops.hands_of_room(&event.room_id).await.map_err(failure)?;
        hands.retain(|hand| hand.event == *file);
        Ok(hands)
    }

    /// Whether the file of a link is still shown; if not, the link is ended, and its room told.
    async fn is_as_asked(&self, event: &Event, hand: &Hand) -> Result<bool, Failure> {
        if look(self.server(), hand.room_of_file(), &hand.event).await?.is_of(hand) {
            return Ok(true);
        }
        // Said before it is done: who is killed in between says it again, under the same id.
        match self.say(event, &format!("changed {}", hand.number), &words::changed(hand)).await {
            Err(failure) if failure.may_pass() => return Err(failure),
            Err(failure) => warn!(error = %failure, "a room cannot be told that a file changed"),
            Ok(()) => {}
        }
        self.drops.end_hand(&hand.room, hand.number, event.sender.clone()).await.map_err(failure)?;
        Ok(false)
    }

    async fn end_hand(&self, event: &Event, language: Language, number: u32) -> Result<(), Failure> {
        if !self.may(event).await? {
            return self.say(event, "may not", &words::may_not(language)).await;
        }
        let ended =
            self.drops.end_hand(&event.room_id, number, event.sender.clone()).await.map_err(failure)?;
        let text = match ended {
            Some(hand) => words::ended_hand(&hand, language),
            None => words::no_such_number(number, language),
        };
        self.say(event, "revoked", &text).await
    }

    async fn revoke(&self, event: &Event, language: Language, number: u32) -> Result<(), Failure> {
        if !self.may(event).await? {
            return self.say(event, "may not", &words::may_not(language)).await;
        }
        let revoked =
            self.drops.revoke(&event.room_id, number, event.sender.clone()).await.map_err(failure)?;
        let text = match revoked {
            Some(link) => words::revoked(&link, language),
            None => words::no_such_number(number, language),
        };
        // Asked again after a crash, it finds the link ended: the first sentence that was sent stays, by its id.
        self.say(event, "revoked", &text).await
    }

    /// Whether the sender of an event has the power to make links in its room.
    async fn may(&self, event: &Event) -> Result<bool, Failure> {
        let least = self.drops.settings().least_power;
        self.server().has_power(&event.room_id, &event.sender, least).await
    }

    async fn tell_code(&self, user: &UserId, cause: &EventId, text: &str) -> Result<(), Failure> {
        self.private().tell(user, &TxnId::after(cause, "code"), text).await
    }

    pub(crate) fn private(&self) -> &Private {
        &self.private
    }
}

/// Whether a reaction says yes.
fn is_agreement(key: &str) -> bool {
    matches!(key.trim_end_matches('\u{fe0f}'), "✅" | "✔" | "☑")
}

/// What the store does not do now is done later.
pub(crate) fn failure(error: Error) -> Failure {
    match error {
        Error::Store(error) => Failure::Store(error),
        error => Failure::odd(error.to_string()),
    }
}
