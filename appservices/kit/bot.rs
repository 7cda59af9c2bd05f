//! [`Bot`]: what one application service does.

use std::{future::Future, sync::Arc};

use ruma::{OwnedRoomAliasId, OwnedUserId, RoomAliasId, UserId};
use serde::de::DeserializeOwned;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    config::Config,
    event::Event,
    homeserver::{Failure, Homeserver},
    store::{Batch, Store},
};

/// An application service.
pub trait Bot: Send + Sync + Sized + 'static {
    /// What stands under `[bot]` in its configuration file.
    type Settings: DeserializeOwned + Clone + Send + Sync + 'static;

    /// Its name as a word of ASCII, which is the id of its registration.
    const ID: &'static str;

    /// What it is, in a line: Japanese / English.
    const ABOUT: &'static str;

    /// The localpart of its own user, where the configuration names no other.
    const SENDER: &'static str;

    /// Whether it is told what other programs say and mark. Of none of it is it to obey: outsiders may have written it.
    const HEARS_PROGRAMS: bool = false;

    /// What else is its alone: regular expressions of user ids, aliases and room ids.
    fn claims(config: &Config<Self::Settings>) -> Namespaces;

    /// Looks at the settings beyond what their types say; each sentence names a mistake and its key.
    fn mistakes(_config: &Config<Self::Settings>) -> Vec<String> {
        Vec::new()
    }

    /// Sets it up, before the first event. The homeserver may be away; tasks of its own belong to [`Host::tasks`].
    ///
    /// # Errors
    /// What keeps the program from starting.
    fn start(host: Host<Self::Settings>) -> impl Future<Output = anyhow::Result<Arc<Self>>> + Send;

    /// Does what an event asks for. Events of a room come one after the other; those of other rooms beside them.
    ///
    /// It comes again after a crash, and after a [`Failure`] that may pass.
    ///
    /// # Errors
    /// [`Failure`]: one that may pass is tried again, for ever; a refusal is logged, and the event is done.
    fn handle(&self, event: &Event) -> impl Future<Output = Result<Batch, Failure>> + Send;

    /// Is told, after each event, that what [`Bot::handle`] gave back is written down: tasks that wait for it look now.
    fn noted(&self) {}

    /// What somebody has to look at, in sentences for `/health`, which answers 503 then. Restarting the program does not help.
    fn troubles(&self) -> Vec<String> {
        Vec::new()
    }

    /// Whether it makes this user of its namespace, whom the homeserver asks for; it has made him when this returns true.
    fn find_user(&self, _user: &UserId) -> impl Future<Output = bool> + Send {
        async { false }
    }

    /// Whether it makes a room of this alias, which the homeserver asks for; it is there when this returns true.
    fn find_alias(&self, _alias: &RoomAliasId) -> impl Future<Output = bool> + Send {
        async { false }
    }
}

/// What a service keeps for itself, as regular expressions over whole ids. All are exclusive but the rooms.
#[derive(Clone, Debug, Default)]
pub struct Namespaces {
    /// Of users.
    pub users: Vec<String>,
    /// Of aliases.
    pub aliases: Vec<String>,
    /// Of rooms whose events it is told, whoever is in them.
    pub rooms: Vec<String>,
}

/// What a bot is given at its start. Cheap to clone.
#[derive(Clone)]
pub struct Host<S> {
    /// The whole configuration.
    pub config: Arc<Config<S>>,
    /// The homeserver, as the bot's own user.
    pub homeserver: Homeserver,
    /// What it keeps.
    pub store: Store,
    /// Its tasks, which end when [`Host::stop`] is cancelled.
    pub tasks: TaskTracker,
    /// Cancelled when the program is to end.
    pub stop: CancellationToken,
}

impl<S> Host<S> {
    /// The bot's own user.
    pub fn user(&self) -> &OwnedUserId {
        self.homeserver.user()
    }

    /// Begins a task that ends with the program.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            stop.run_until_cancelled(task).await;
        });
    }

    /// An alias of this authority.
    ///
    /// # Errors
    /// When that is no alias.
    pub fn alias(&self, localpart: &str) -> Result<OwnedRoomAliasId, ruma::IdParseError> {
        RoomAliasId::parse(format!("#{localpart}:{}", self.config.homeserver.server_name))
    }
}
