//! [`Dropbox`]: what the bot does with events of rooms.

use std::sync::Arc;

use anyhow::Context;
use base::Clock;
use bot_kit::{
    Batch, Bot, Bounds, Config, Event, Failure, Homeserver, Host, Namespaces, Registration, TxnId,
    ruma::{EventId, OwnedEventId, RoomId, UserId},
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
    end::Why,
    files::Files,
    language::Language,
    private::{ALIASES as PRIVATE_ALIASES, Private},
    record::Scribe,
    rows::{Hand, HandState, Link},
    secret::{Key, Token},
    settings::Settings,
    shown::{Shown, look},
    standing::{ENCRYPTION, TOMBSTONE},
    words::{self, Coded},
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
        let bounds =
            Bounds { connections: CONNECTIONS, proxies: settings.proxies.clone(), ..Bounds::default() };
        host.tasks.spawn(bot_kit::serve(listener, router, bounds, host.stop.clone()));
        host.tasks.spawn(carrier.work(host.stop.clone()));
        host.tasks.spawn(chaser.work(host.stop.clone()));
        host.tasks.spawn(scribe.work(host.stop.clone()));
        // Whether it bears its name, and its rooms theirs, is of no weight to its work.
        host.spawn(async move { homeserver.introduce("受取URL").await });
        host.spawn(of_bot.clone().hide());
        info!(%address, "the page is served");
        let bot = Arc::new(Self { host, drops, private: of_bot });
        bot.host.spawn(bot.clone().look_over());
        Ok(bot)
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
                "m.room.power_levels" => self.look_after(&event.room_id, event.event_id.as_str()).await?,
                ENCRYPTION => self.encrypted(&event.room_id, &event.sender, &event.event_id).await?,
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
            // It may have been what said that the room goes on elsewhere.
            if self.drops.is_refusing(&event.room_id).await.map_err(failure)? {
                self.upgraded(event).await?;
            }
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
        self.drops.close_room(room, by, &event.event_id, Why::PutOut).await.map_err(failure)?;
        // By what caused it they are found again, if a crash came before all were told.
        let closed = self.drops.closed_by(room, &event.event_id).await.map_err(failure)?;
        self.tell_makers(&closed, event.event_id.as_str(), words::put_out).await
    }

    /// The room is encrypted now: its links would bring files there that are not, and commands are not read.
    pub(crate) async fn encrypted(&self, room: &RoomId, by: &UserId, cause: &EventId) -> Result<(), Failure> {
        self.drops.close_room(room, by, cause, Why::Encrypted).await.map_err(failure)?;
        let closed = self.drops.closed_by(room, cause).await.map_err(failure)?;
        self.tell_makers(&closed, cause.as_str(), words::encrypted_now).await
    }

    /// Comes into a room, if one of those asks who may make links; somebody outside who speaks by a user of another service is none.
    async fn come(&self, event: &Event) -> Result<(), Failure> {
        let room = &event.room_id;
        if event.of_service || !self.is_maker(&event.sender) {
            info!(room_id = %room, user_id = %event.sender, "an invite is refused: who asks may make no links");
            let reason = "この役場の職員だけが招待できます / only members of this authority may invite me";
            return self.server().leave(room, reason).await;
        }
        self.server().join(room).await?;
        if self.server().state(room, ENCRYPTION, "").await?.is_some() {
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
        if self.server().state(&event.room_id, ENCRYPTION, "").await?.is_some() {
            return self.say(event, "encrypted", &words::encrypted()).await;
        }
        match command {
            Err(mistake) => self.say(event, "mistake", &mistake).await,
            Ok(Command::Help) => self.say(event, "help", &words::help(language, self.drops.settings())).await,
            Ok(Command::List) => {
                let links = self.drops.of_room(&event.room_id).await.map_err(failure)?;
                let ended = self.drops.ended_links(&event.room_id).await.map_err(failure)?;
                let list = words::list(&links, language) + &words::ended_lately(&ended, language);
                self.say(event, "list", &list).await
            }
            Ok(Command::Revoke(number)) => self.revoke(event, language, number).await,
            Ok(Command::Receive(wish)) => self.make(event, language, wish).await,
            Ok(Command::HelpHands) => self.say(event, "help", &words::help_hands(language)).await,
            Ok(Command::ListHands) => {
                let hands = self.drops.hands_of_room(&event.room_id).await.map_err(failure)?;
                let ended = self.drops.ended_hands(&event.room_id).await.map_err(failure)?;
                let list = words::list_hands(&hands, language) + &words::ended_lately(&ended, language);
                self.say(event, "list", &list).await
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
            let link = &made.link;
            if !self.tell_code(&link.maker, &event.event_id, &words::code(link, code)).await? {
                let (number, maker) = (link.number, &link.maker);
                let text = words::code_untold(number, &link.title, maker, Coded::Link, language);
                self.say_if_heard(event, "code untold", &text).await?;
                return self.end_untold(link, Why::CodeUntold).await;
            }
        }
        let url = self.url("r", &made.token);
        let said = self.say(event, "made", &words::made(&made, &url)).await;
        if said.as_ref().is_err_and(|failure| !failure.may_pass()) {
            self.end_untold(&made.link, Why::Untold).await?;
        }
        said
    }

    /// Ends a link of which, or of whose code, nobody knows.
    async fn end_untold(&self, link: &Link, why: Why) -> Result<(), Failure> {
        let by = self.host.user().clone();
        self.drops.end_link(&link.room, link.number, by, why, None).await.map(drop).map_err(failure)
    }

    /// The same of a link to download by.
    async fn end_untold_hand(&self, hand: &Hand) -> Result<(), Failure> {
        let by = self.host.user().clone();
        self.drops.close_hand(&hand.room, hand.number, by, Why::Untold, None).await.map(drop).map_err(failure)
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
        let question = match self.server().send(&event.room_id, "m.room.message", &txn, &content).await {
            Err(refusal) if !refusal.may_pass() => {
                // Nobody can agree to it.
                self.end_untold_hand(&hand).await?;
                return Err(refusal);
            }
            question => question?,
        };
        self.drops.note_question(&hand, &question).await.map_err(failure)
    }

    /// A member agreed, perhaps, that a file is handed over.
    async fn agree(&self, event: &Event, question: &OwnedEventId) -> Result<(), Failure> {
        let Some(hand) = self.drops.find_question(question).await.map_err(failure)? else { return Ok(()) };
        // The question stands in its room alone; who has no power there agrees to nothing.
        if hand.room != event.room_id || !self.is_there(event).await? || !self.may(event).await? {
            return Ok(());
        }
        // What is agreed to is what is shown now, and what is asked still: of the two who say yes she is one.
        if hand.state == HandState::Asked && hand.asker != event.sender {
            if !self.is_as_asked(&hand).await? {
                return self.end_because(event, &[(hand, Why::FileChanged)]).await;
            }
            if !self.asks_still(&hand).await? {
                return self.end_because(event, &[(hand, Why::TakenBack)]).await;
            }
        }
        // It ended by this very event, of which the room may not have been told.
        if hand.closed_by.as_ref() == Some(&event.event_id) {
            return self.end_because(event, &[]).await;
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
                if let Some(code) = code
                    && !self.tell_code(&hand.asker, &hand.cause, &words::code_of_hand(&hand, &code)).await?
                {
                    return self.end_because(event, &[(hand, Why::CodeUntold)]).await;
                }
                let text = words::handed(&hand, &self.url("h", &token));
                let content = json!({
                    "msgtype": "m.notice", "body": text, "m.mentions": { "user_ids": [hand.asker] },
                    "m.relates_to": { "m.in_reply_to": { "event_id": hand.cause } },
                });
                let txn = TxnId::after(&hand.cause, "handed");
                match self.server().send(&event.room_id, "m.room.message", &txn, &content).await {
                    // Nobody knows of it.
                    Err(refusal) if !refusal.may_pass() => {
                        self.end_untold_hand(&hand).await?;
                        Err(refusal)
                    }
                    sent => sent.map(drop),
                }
            }
        }
    }

    /// A file that is deleted in the room goes out no more, nor does one for which nobody asks or to which nobody agrees any
    /// more, or of which the question is deleted.
    async fn withdraw(&self, event: &Event, redacted: &OwnedEventId) -> Result<(), Failure> {
        let questioned = self.drops.find_question(redacted).await.map_err(failure)?;
        // Numbers are each room's own, and whoever redacts may name an event of another one.
        let questioned = questioned.filter(|hand| hand.room == event.room_id).map(|hand| hand.number);
        let why = |hand: &Hand| {
            if hand.event == *redacted {
                return Some(Why::FileChanged);
            }
            if hand.agreement.as_ref() == Some(redacted) {
                return Some(Why::Withdrawn);
            }
            (hand.cause == *redacted || questioned == Some(hand.number)).then_some(Why::TakenBack)
        };
        let hands = self.drops.hands_of_room(&event.room_id).await.map_err(failure)?;
        let over = |hand: Hand| why(&hand).map(|why| (hand, why));
        let over: Vec<(Hand, Why)> = hands.into_iter().filter_map(over).collect();
        self.end_because(event, &over).await
    }

    /// Whether who asked for a link to download by is still one who may.
    async fn asks_still(&self, hand: &Hand) -> Result<bool, Failure> {
        Ok(self.is_maker(&hand.asker) && self.server().is_joined(&hand.room, &hand.asker).await?)
    }

    /// Nor does one in whose stead another is shown now.
    async fn edited(&self, event: &Event, original: &EventId) -> Result<(), Failure> {
        let mut hands = self.drops.hands_of_room(&event.room_id).await.map_err(failure)?;
        hands.retain(|hand| hand.event == *original);
        let is_shown = match hands.first() {
            Some(hand) => self.is_as_asked(hand).await?,
            None => true,
        };
        if is_shown {
            hands.clear();
        }
        let over: Vec<(Hand, Why)> = hands.into_iter().map(|hand| (hand, Why::FileChanged)).collect();
        self.end_because(event, &over).await
    }

    /// Whether the file of a link is still shown.
    async fn is_as_asked(&self, hand: &Hand) -> Result<bool, Failure> {
        Ok(look(self.server(), hand.room_of_file(), &hand.event).await?.is_of(hand))
    }

    /// Ends links to download by because of an event, and tells its room. First of all they are over; by the event they are found again
    /// with their reasons, if the room could not be told at once. Of a file that changed the room hears once, however many links it has.
    async fn end_because(&self, event: &Event, over: &[(Hand, Why)]) -> Result<(), Failure> {
        let (room, by, cause) = (&event.room_id, &event.sender, &event.event_id);
        for (hand, why) in over {
            self.drops
                .close_hand(&hand.room, hand.number, by.clone(), *why, Some(cause.clone()))
                .await
                .map_err(failure)?;
        }
        let ended = self.drops.closed_by(room, cause).await.map_err(failure)?.hands;
        let mut changed = Vec::new();
        for hand in ended {
            let (what, text) = match hand.why_ended() {
                Why::FileChanged => {
                    changed.push(hand);
                    continue;
                }
                Why::TakenBack => ("taken back", words::taken_back(&hand)),
                Why::Withdrawn => ("withdrawn", words::withdrawn(&hand)),
                Why::CodeUntold => {
                    let Hand { number, name, asker, language, .. } = &hand;
                    ("code untold", words::code_untold(*number, name, asker, Coded::Hand, *language))
                }
                // Those that an older release ended, and was killed before it told.
                Why::Cancelled | Why::Untold | Why::PutOut | Why::Encrypted | Why::Unnoted => {
                    ("ended", words::ended_hand(&hand, hand.language))
                }
            };
            self.say_if_heard(event, &format!("{what} {}", hand.number), &text).await?;
        }
        if !changed.is_empty() {
            self.say_if_heard(event, "changed", &words::changed(&changed)).await?;
        }
        Ok(())
    }

    /// Answers an event, where the room takes that.
    async fn say_if_heard(&self, event: &Event, what: &str, text: &str) -> Result<(), Failure> {
        match self.say(event, what, text).await {
            Err(failure) if failure.may_pass() => Err(failure),
            Err(failure) => {
                warn!(room_id = %event.room_id, error = %failure, "a room cannot be told");
                Ok(())
            }
            Ok(()) => Ok(()),
        }
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

    /// Tells a user a code; false if he cannot be told anything, since he takes no invites for instance.
    async fn tell_code(&self, user: &UserId, cause: &EventId, text: &str) -> Result<bool, Failure> {
        match self.private().tell(user, &TxnId::after(cause, "code"), text).await {
            Err(failure) if failure.may_pass() => Err(failure),
            Err(failure) => {
                warn!(user_id = %user, error = %failure, "a code cannot be told");
                Ok(false)
            }
            Ok(()) => Ok(true),
        }
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
