//! [`Hook`]: the bot between rooms and other programs.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::Context;
use bot_kit::{
    Batch, Bot, Bounds, Config, Creation, Event, Failure, Host, Namespaces, Table,
    ruma::{OwnedRoomId, OwnedUserId, RoomAliasId, RoomId},
};
use serde_json::{Map, Value};
use tokio::{net::TcpListener, sync::Notify};
use tracing::info;

use crate::{
    incoming, outgoing, post,
    render::Templates,
    settings::{self, Outgoing, Settings},
};

/// Where an alias leads is asked again after this.
const ALIAS_KNOWN: Duration = Duration::from_secs(60);

/// Upgrades of a room that are followed.
const MOST_UPGRADES: usize = 10;

/// What came of a room into which the bot was never asked, so that nothing can be seen of it; key: that room, value: the one after it.
const OVER: Table<OwnedRoomId> = Table::new("rooms after unseen ones");

/// Rooms of which it is remembered what they began with.
const MOST_CREATIONS: usize = 1_000;

/// Time for the head of a request of others' programs.
const HEAD: Duration = Duration::from_secs(10);

/// Why the bot leaves a room.
const NOT_OURS: &str = "この部屋は通知の設定にありません / this room is not in the settings of webhooks";

/// The bot.
pub(crate) struct Hook {
    pub(crate) host: Host<Settings>,
    pub(crate) templates: Templates,
    pub(crate) tls: bot_kit::TlsConfig,
    pub(crate) more_jobs: Notify,
    pub(crate) more_deliveries: Notify,
    /// Rung when the bot is in a room again: what waits for that waits no longer.
    pub(crate) came: Notify,
    /// Where aliases of the settings lead, and when that was asked.
    aliases: Mutex<HashMap<String, (Instant, Option<OwnedRoomId>)>>,
    /// What rooms began with: that changes never.
    creations: Mutex<HashMap<OwnedRoomId, Creation>>,
    /// By webhook, why it cannot be told for some time.
    pub(crate) troubles: Mutex<BTreeMap<String, String>>,
}

impl Bot for Hook {
    type Settings = Settings;

    const ID: &'static str = "yakuba-hook";
    const ABOUT: &'static str = "Webhook を部屋へ、部屋から外へ / webhooks into rooms and out of them";
    const SENDER: &'static str = "hook";
    // They go out of the room as what people say does.
    const HEARS_PROGRAMS: bool = true;

    fn claims(_: &Config<Settings>) -> Namespaces {
        Namespaces::default()
    }

    fn mistakes(config: &Config<Settings>) -> Vec<String> {
        settings::mistakes(config)
    }

    async fn start(host: Host<Settings>) -> anyhow::Result<Arc<Self>> {
        let settings = host.config.bot.clone();
        let templates = Templates::of(&settings.incoming).map_err(anyhow::Error::msg)?;
        let hook = Arc::new(Self {
            templates,
            tls: host.config.tls()?,
            more_jobs: Notify::new(),
            more_deliveries: Notify::new(),
            came: Notify::new(),
            aliases: Mutex::default(),
            creations: Mutex::default(),
            troubles: Mutex::default(),
            host,
        });
        if let Some(address) = settings.address {
            let listener = TcpListener::bind(address).await.with_context(|| {
                format!("{address} で待ち受けられません / {address} cannot be listened on")
            })?;
            let routes = incoming::router(hook.clone());
            let bounds = Bounds { head: HEAD, proxies: settings.proxies, ..Bounds::default() };
            hook.host.tasks.spawn(bot_kit::serve(listener, routes, bounds, hook.host.stop.clone()));
        }
        let introduced = hook.clone();
        hook.host.spawn(async move {
            introduced.host.homeserver.introduce(&introduced.host.config.bot.display_name).await;
        });
        for of_room in post::by_room(settings.incoming) {
            hook.host.spawn(post::run(hook.clone(), of_room));
        }
        for one in settings.outgoing {
            hook.host.spawn(outgoing::run(hook.clone(), one));
        }
        Ok(hook)
    }

    async fn handle(&self, event: &Event) -> Result<Batch, Failure> {
        let mut batch = Batch::new();
        match event.membership() {
            Some(("invite", user)) if user == *self.host.user() => {
                self.invited(event).await?;
                return Ok(batch);
            }
            Some(("join", user)) if user == *self.host.user() => self.came.notify_waiters(),
            _ => {}
        }
        // What it said itself it tells nobody, or two of them would tell each other for ever.
        if event.sender == *self.host.user() {
            return Ok(batch);
        }
        self.owe(event, &mut batch).await?;
        Ok(batch)
    }

    fn troubles(&self) -> Vec<String> {
        let troubles = self.troubles.lock().unwrap_or_else(PoisonError::into_inner);
        troubles.iter().map(|(name, cause)| format!("{name}: {cause}")).collect()
    }

    fn noted(&self) {
        self.more_deliveries.notify_waiters();
    }
}

impl Hook {
    /// It goes into the rooms of its settings and into what became of them, and into no others.
    async fn invited(&self, event: &Event) -> Result<(), Failure> {
        let room = &event.room_id;
        let outcome = match self.wants(event).await {
            Ok(true) => {
                let joined = self.host.homeserver.join(room).await;
                self.came.notify_waiters();
                joined
            }
            Ok(false) => {
                info!(room_id = %room, user_id = %event.sender, "an invite is refused: the room is not in the settings");
                self.host.homeserver.leave(room, NOT_OURS).await
            }
            Err(failure) => Err(failure),
        };
        match outcome {
            Err(failure) if failure.may_pass() => Err(failure),
            Err(failure) => {
                info!(room_id = %room, error = %failure, "an invite is left alone");
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    /// Whether a room is one of its settings, or what one of them was upgraded to. What an invite is judged by is asked anew: an alias may
    /// lead elsewhere since a moment.
    async fn wants(&self, event: &Event) -> Result<bool, Failure> {
        let room = &event.room_id;
        let Settings { incoming, outgoing, .. } = &self.host.config.bot;
        let of_outgoing = outgoing.iter().flat_map(|hook| &hook.rooms);
        let names: BTreeSet<&String> = incoming.iter().map(|hook| &hook.room).chain(of_outgoing).collect();
        let mut unseen = Vec::new();
        for name in names {
            let Some(first) = self.ask_for_room(name).await? else { continue };
            if first == *room {
                return Ok(true);
            }
            // Without going anywhere: what it is not in yet has no successor that it knows of.
            let followed = self.followed(&first).await?;
            if followed.iter().any(|next| next == room) {
                return Ok(true);
            }
            let all = [vec![first], followed].concat();
            unseen.extend(all.windows(2).last().map(|pair| (pair[0].clone(), pair[1].clone())));
        }
        // No stranger has the homeserver go into rooms of his, nor one who speaks by a user of another service.
        let is_own = !event.of_service && event.sender.server_name() == self.host.user().server_name();
        if is_own { self.comes_of(room, unseen).await } else { Ok(false) }
    }

    /// Whether a room into which the bot is asked comes of one into which it was not asked, to which a room of its settings was upgraded.
    /// That can be told within only, so it goes there; it leaves again if not.
    async fn comes_of(
        &self,
        room: &RoomId,
        unseen: Vec<(OwnedRoomId, OwnedRoomId)>,
    ) -> Result<bool, Failure> {
        let homeserver = &self.host.homeserver;
        let mut waiting = Vec::new();
        for (old, between) in unseen {
            if self.creation(&between).await?.is_none() {
                waiting.push((old, between));
            }
        }
        if waiting.is_empty() {
            return Ok(false);
        }
        homeserver.join(room).await?;
        for (old, between) in waiting {
            if homeserver.is_successor_over(&old, &between, room, 0).await? {
                let mut batch = Batch::new();
                batch.put(&OVER, between.as_str(), &room.to_owned());
                self.host.store.commit(batch).await?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The rooms that a room was upgraded to, one after the other, as far as they can be seen. A tombstone counts as far as it is one
    /// ([`bot_kit::Homeserver::find_upgrade`]).
    pub(crate) async fn followed(&self, room: &RoomId) -> Result<Vec<OwnedRoomId>, Failure> {
        let mut all: Vec<OwnedRoomId> = Vec::new();
        while all.len() < MOST_UPGRADES {
            let last = all.last().map_or(room, |last| &**last);
            let next = match self.host.homeserver.find_upgrade(last, 0).await {
                Err(failure) if failure.may_pass() => return Err(failure),
                Ok(upgrade) => upgrade.map(|upgrade| upgrade.room),
                // Of a room into which it was not asked it may know what came of that.
                Err(_) => self.host.store.get(&OVER, last.as_str()).await?,
            };
            match next {
                Some(next) if next != room && !all.contains(&next) => all.push(next),
                _ => break,
            }
        }
        Ok(all)
    }

    /// Whether a room that an alias leads to is the one that is meant: by who made it, or the one that it was upgraded from. Anybody may
    /// have taken the alias.
    pub(crate) async fn is_made_by(
        &self,
        room: &RoomId,
        wanted: Option<&OwnedUserId>,
    ) -> Result<bool, Failure> {
        let Some(wanted) = wanted else { return Ok(false) };
        let mut room = room.to_owned();
        for _ in 0..=MOST_UPGRADES {
            let Some(creation) = self.creation(&room).await? else { return Ok(false) };
            if creation.maker == *wanted {
                return Ok(true);
            }
            let Some(old) = creation.predecessor else { return Ok(false) };
            // A room may name any other as the one that it follows; the other has to say so as well.
            let stone = self.seen(&old, "m.room.tombstone").await?.unwrap_or_default();
            if stone.get("replacement_room").and_then(Value::as_str) != Some(room.as_str()) {
                return Ok(false);
            }
            room = old;
        }
        Ok(false)
    }

    /// What a room began with, if it can be seen.
    async fn creation(&self, room: &RoomId) -> Result<Option<Creation>, Failure> {
        let known = self.creations.lock().unwrap_or_else(PoisonError::into_inner).get(room).cloned();
        if known.is_some() {
            return Ok(known);
        }
        let creation = match self.host.homeserver.creation(room).await {
            Err(failure) if failure.may_pass() => return Err(failure),
            creation => creation.unwrap_or_default(),
        };
        if let Some(creation) = &creation {
            let mut creations = self.creations.lock().unwrap_or_else(PoisonError::into_inner);
            if creations.len() >= MOST_CREATIONS {
                creations.clear();
            }
            creations.insert(room.to_owned(), creation.clone());
        }
        Ok(creation)
    }

    /// A piece of a room's state, if it is there and can be seen.
    async fn seen(&self, room: &RoomId, kind: &str) -> Result<Option<Map<String, Value>>, Failure> {
        match self.host.homeserver.state(room, kind, "").await {
            Err(failure) if failure.may_pass() => Err(failure),
            seen => Ok(seen.unwrap_or_default()),
        }
    }

    /// Whether what is said in a room goes out by a webhook.
    pub(crate) async fn is_of(&self, outgoing: &Outgoing, room: &RoomId) -> Result<bool, Failure> {
        let mut firsts = Vec::new();
        for name in &outgoing.rooms {
            firsts.extend(self.find_room(name).await?.map(|first| (name.starts_with('!'), first)));
        }
        let mut found = firsts.iter().find(|(_, first)| first == room);
        for named in &firsts {
            if found.is_none() && self.followed(&named.1).await?.contains(&room.to_owned()) {
                found = Some(named);
            }
        }
        let Some((is_by_id, first)) = found else { return Ok(false) };
        Ok(*is_by_id || self.is_made_by(first, outgoing.made_by.as_ref()).await?)
    }

    /// The room of an id or alias.
    pub(crate) async fn find_room(&self, name: &str) -> Result<Option<OwnedRoomId>, Failure> {
        if name.starts_with('!') {
            return Ok(RoomId::parse(name).ok());
        }
        let known = self.aliases.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned();
        // One that led nowhere is asked for again at once: somebody makes the room now.
        if let Some((asked, Some(room))) = known
            && asked.elapsed() < ALIAS_KNOWN
        {
            return Ok(Some(room));
        }
        self.ask_for_room(name).await
    }

    /// The same, asked now.
    async fn ask_for_room(&self, name: &str) -> Result<Option<OwnedRoomId>, Failure> {
        if name.starts_with('!') {
            return Ok(RoomId::parse(name).ok());
        }
        let Ok(alias) = RoomAliasId::parse(name) else { return Ok(None) };
        let found = self.host.homeserver.find_alias(&alias).await?;
        let mut aliases = self.aliases.lock().unwrap_or_else(PoisonError::into_inner);
        aliases.insert(name.to_owned(), (Instant::now(), found.clone()));
        Ok(found)
    }
}
