//! [`Hook`]: the bot between rooms and other programs.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::Context;
use bot_kit::{
    Batch, Bot, Bounds, Config, Event, Failure, Host, Namespaces,
    ruma::{OwnedRoomId, RoomAliasId, RoomId},
};
use tokio::{net::TcpListener, sync::Notify};
use tracing::{info, warn};

use crate::{
    incoming, outgoing, post,
    render::Templates,
    settings::{self, Settings},
};

/// Where an alias leads is asked again after this.
const ALIAS_KNOWN: Duration = Duration::from_secs(60);

/// A pause before the bot tries to introduce itself again.
const PAUSE: Duration = Duration::from_secs(5);

/// Connections of others' programs at a time.
const BOUNDS: Bounds = Bounds { connections: 64, head: Duration::from_secs(10) };

/// Why the bot leaves a room.
const NOT_OURS: &str = "この部屋は通知の設定にありません / this room is not in the settings of webhooks";

/// The bot.
pub(crate) struct Hook {
    pub(crate) host: Host<Settings>,
    pub(crate) templates: Templates,
    pub(crate) tls: bot_kit::TlsConfig,
    pub(crate) more_jobs: Notify,
    pub(crate) more_deliveries: Notify,
    /// Where aliases of the settings lead, and when that was asked.
    aliases: Mutex<HashMap<String, (Instant, Option<OwnedRoomId>)>>,
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
            aliases: Mutex::default(),
            host,
        });
        if let Some(address) = settings.address {
            let listener = TcpListener::bind(address).await.with_context(|| {
                format!("{address} で待ち受けられません / {address} cannot be listened on")
            })?;
            let routes = incoming::router(hook.clone());
            hook.host.tasks.spawn(bot_kit::serve(listener, routes, BOUNDS, hook.host.stop.clone()));
        }
        hook.spawn(introduce(hook.clone()));
        for one in settings.incoming {
            hook.spawn(post::run(hook.clone(), one));
        }
        for one in settings.outgoing {
            hook.spawn(outgoing::run(hook.clone(), one));
        }
        Ok(hook)
    }

    async fn handle(&self, event: &Event) -> Result<Batch, Failure> {
        let mut batch = Batch::new();
        // What it said itself it tells nobody, or two of them would tell each other for ever.
        if event.sender == *self.host.user() {
            return Ok(batch);
        }
        if let Some(("invite", user)) = event.membership()
            && user == *self.host.user()
        {
            self.invited(event).await?;
            return Ok(batch);
        }
        self.owe(event, &mut batch).await?;
        Ok(batch)
    }

    fn noted(&self) {
        self.more_deliveries.notify_waiters();
    }
}

/// Makes sure of the bot's user and its name.
async fn introduce(hook: Arc<Hook>) {
    let attempt = async || {
        hook.host.homeserver.register().await?;
        hook.host.homeserver.set_display_name(&hook.host.config.bot.display_name).await
    };
    while let Err(error) = attempt().await {
        warn!(%error, "the bot cannot introduce itself");
        if !error.may_pass() {
            return;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

impl Hook {
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let stop = self.host.stop.clone();
        self.host.tasks.spawn(async move {
            stop.run_until_cancelled(task).await;
        });
    }

    /// It goes into the rooms of its settings, and into no others.
    async fn invited(&self, event: &Event) -> Result<(), Failure> {
        let room = &event.room_id;
        let Settings { incoming, outgoing, .. } = &self.host.config.bot;
        let rooms =
            incoming.iter().map(|hook| &hook.room).chain(outgoing.iter().flat_map(|hook| &hook.rooms));
        let rooms: Vec<String> = rooms.cloned().collect();
        let outcome = if self.is_of(&rooms, room).await? {
            let joined = self.host.homeserver.join(room).await;
            self.more_jobs.notify_waiters();
            joined
        } else {
            self.host.homeserver.leave(room, NOT_OURS).await
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

    /// Whether a room is among those of a list.
    pub(crate) async fn is_of(&self, list: &[String], room: &RoomId) -> Result<bool, Failure> {
        for name in list {
            if self.find_room(name).await?.as_deref() == Some(room) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The room of an id or alias.
    pub(crate) async fn find_room(&self, name: &str) -> Result<Option<OwnedRoomId>, Failure> {
        if name.starts_with('!') {
            return Ok(RoomId::parse(name).ok());
        }
        let Ok(alias) = RoomAliasId::parse(name) else { return Ok(None) };
        let known = self.aliases.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned();
        // One that led nowhere is asked for again at once: somebody makes the room now.
        if let Some((asked, Some(room))) = known
            && asked.elapsed() < ALIAS_KNOWN
        {
            return Ok(Some(room));
        }
        let found = self.host.homeserver.find_alias(&alias).await?;
        let mut aliases = self.aliases.lock().unwrap_or_else(PoisonError::into_inner);
        aliases.insert(name.to_owned(), (Instant::now(), found.clone()));
        Ok(found)
    }
}
