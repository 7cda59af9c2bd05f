//! Who wants something, and what has to stand when it is written.

use std::{ops::Deref, sync::Arc};

use audit::{Actor, Deed};
use ruma::ServerName;
use store::Batch;

/// What a batch has to demand besides, so that nothing is written for who may not want it any more.
pub type Demands = Arc<dyn Fn(&mut Batch) + Send + Sync>;

/// Who wants something.
#[derive(Clone)]
pub struct By {
    actor: Actor,
    demands: Option<Demands>,
}

impl By {
    /// Somebody who may want it for as long as this stands: his duty, his account.
    #[must_use]
    pub fn demanding(actor: Actor, demands: Demands) -> Self {
        Self { actor, demands: Some(demands) }
    }

    /// A batch that begins with the row of a deed of his.
    pub(crate) fn written(&self, deed: &Deed, authority: &ServerName) -> Batch {
        let mut batch = Batch::new();
        if let Some(demands) = &self.demands {
            demands(&mut batch);
        }
        deed.write(&mut batch, authority);
        batch
    }
}

impl From<Actor> for By {
    /// Somebody whom nothing has to be demanded of: whoever has the machine.
    fn from(actor: Actor) -> Self {
        Self { actor, demands: None }
    }
}

impl Deref for By {
    type Target = Actor;

    fn deref(&self) -> &Actor {
        &self.actor
    }
}
