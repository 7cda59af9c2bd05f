//! What comes with time: reminders, ends of links, tidying.

use std::time::Duration;

use bot_kit::{Failure, Homeserver, TxnId, ruma::OwnedUserId};
use serde_json::json;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use crate::{
    drops::Drops,
    files::Files,
    rows::{DUE, LINKS, Link, LinkState, time_of},
    undone::Undone,
    words,
};

/// How often links are looked at whose time has come.
const EVERY: Duration = Duration::from_secs(1);

/// How often the disk is looked at.
const TIDY_EVERY: Duration = Duration::from_secs(3_600);

/// Links that are looked at in a round.
const ROUND: usize = 500;

/// A link of which nobody could be told is looked at again after this.
const AGAIN: Duration = Duration::from_secs(60);

/// Looks after links.
pub(crate) struct Chaser {
    pub(crate) drops: Drops,
    pub(crate) files: Files,
    pub(crate) homeserver: Homeserver,
}

impl Chaser {
    /// Looks after links until the program is to end.
    pub(crate) async fn work(self, stop: CancellationToken) {
        let clock = self.drops.clock().clone();
        let mut tidied = None;
        let mut failed_at = None;
        loop {
            let now = clock.instant();
            if tidied.is_none_or(|tidied| now.since(tidied) >= TIDY_EVERY) {
                tidied = Some(now);
                if let Err(error) = self.files.tidy().await {
                    error!(%error, "files that are not needed cannot be found");
                }
                if let Err(error) = self.drops.forget_hands().await {
                    error!(%error, "links to download by cannot be looked through");
                }
            }
            if failed_at.is_none_or(|failed| now.since(failed) >= AGAIN) {
                failed_at = None;
                match stop.run_until_cancelled(self.round()).await {
                    None => return,
                    Some(Ok(())) => {}
                    Some(Err(error)) => {
                        error!(error = %error, "links are looked after again in a while");
                        failed_at = Some(now);
                    }
                }
            }
            if stop.run_until_cancelled(clock.sleep(EVERY)).await.is_none() {
                return;
            }
        }
    }

    /// Does what is due; an error, if something has to be done again.
    async fn round(&self) -> Result<(), Undone> {
        let mut outcome = Ok(());
        let now = self.drops.clock().now();
        for (key, ()) in self.drops.store().scan(&DUE, "", None, ROUND).await? {
            if time_of(&key) > now {
                break;
            }
            let hash = key.rsplit(' ').next().unwrap_or_default();
            // One that cannot be told holds up no other.
            if let Err(error) = self.look_after(hash).await {
                warn!(error = %error, "a link cannot be looked after");
                outcome = Err(error);
            }
        }
        outcome
    }

    /// Does what is due for a link.
    async fn look_after(&self, hash: &str) -> Result<(), Undone> {
        let (store, now) = (self.drops.store(), self.drops.clock().now());
        let Some(link): Option<Link> = store.get(&LINKS, hash).await? else { return Ok(()) };
        match link.state {
            LinkState::Open if now >= link.ends => {
                self.tell(&link, "expired", hash, &words::expired(&link), &[]).await?;
                self.drops.expired(hash).await?;
            }
            LinkState::Open => {
                if link.received == 0 {
                    let maker = std::slice::from_ref(&link.maker);
                    self.tell(&link, "remind", hash, &words::remind(&link), maker).await?;
                }
                self.drops.reminded(hash).await?;
            }
            LinkState::Ending => self.drops.close(hash).await?,
            LinkState::Ended => self.drops.forget(hash).await?,
        }
        Ok(())
    }

    /// Says something in the link's room. Where the bot is not any more, nobody is told.
    async fn tell(
        &self,
        link: &Link,
        what: &str,
        hash: &str,
        text: &str,
        mentions: &[OwnedUserId],
    ) -> Result<(), Failure> {
        let content = json!({ "msgtype": "m.text", "body": text, "m.mentions": { "user_ids": mentions } });
        match self.homeserver.send(&link.room, "m.room.message", &TxnId::of(&[what, hash]), &content).await {
            Err(failure) if !failure.may_pass() => {
                warn!(error = %failure, room_id = %link.room, "a room cannot be told of its link");
                Ok(())
            }
            outcome => outcome.map(drop),
        }
    }
}
