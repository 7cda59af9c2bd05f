//! The lists follow: when a change set was applied or undone, and each midnight in Japan. Beside that the hours are marked.

use std::{sync::Arc, time::Duration};

use tokio::sync::Notify;
use tracing::{info, warn};

use crate::classes::Classes;

/// How often is looked whether an organisation or the day has moved: what another process applied, and midnight. It costs a
/// row for each authority of which something is said.
const LOOK: Duration = Duration::from_secs(10);

impl Classes {
    /// Has the lists follow, until the tasks are stopped. `applied` is told when an organisation has changed.
    pub fn start(&self, applied: Arc<Notify>) {
        if self.inner.authorities.is_empty() {
            return;
        }
        let classes = self.clone();
        let stop = self.inner.tasks.shutdown_token();
        self.inner.tasks.spawn_restarting("classes", move || {
            let (classes, stop, applied) = (classes.clone(), stop.clone(), applied.clone());
            async move {
                // The loop never ends by itself.
                stop.run_until_cancelled(classes.keep_looking(&applied)).await;
            }
        });
    }

    async fn keep_looking(&self, applied: &Notify) {
        loop {
            for authority in self.inner.authorities.keys() {
                match self.follow(authority).await {
                    Ok(true) => info!(%authority, "classes of employment follow the organisation"),
                    Ok(false) => {}
                    Err(error) => {
                        warn!(%authority, %error, "classes of employment do not follow yet, it is tried again later")
                    }
                }
            }
            if let Err(error) = self.mark().await {
                warn!(%error, "how far the log has come is not noted yet, it is tried again later");
            }
            tokio::select! {
                () = applied.notified() => {}
                () = self.inner.clock.sleep(LOOK) => {}
            }
        }
    }
}
