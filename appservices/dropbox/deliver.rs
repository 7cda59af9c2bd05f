//! Files on their way into rooms.
//!
//! Each step is written down before the next one: the place that the homeserver reserved for the bytes, then the event. A step that
//! was taken and not written down is taken again and does nothing: the place is full already, the event has the same transaction id.

use std::time::Duration;

use bot_kit::{Failure, Homeserver, StoreError, TxnId};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use serde_json::json;
use tokio::{io::AsyncReadExt, sync::Semaphore, task::JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::{
    drops::{Drops, Error},
    files::Files,
    rows::{LINKS, Link, OUTBOX, UPLOADS, Upload, UploadState},
    words,
};

/// Files that are on their way at a time.
const AT_ONCE: usize = 3;

/// Files that are looked at in a round.
const ROUND: usize = 200;

/// What could not be done is tried again after this, at the latest.
const AGAIN: Duration = Duration::from_secs(30);

/// What the homeserver refuses is tried again after so many rounds.
const REFUSED: Duration = Duration::from_secs(3_600);

/// Bytes that are read at a time.
const PART: usize = 256 << 10;

/// Carries files into rooms. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Carrier {
    pub(crate) drops: Drops,
    pub(crate) files: Files,
    pub(crate) homeserver: Homeserver,
}

/// Why a file is not in its room yet.
#[derive(Debug, thiserror::Error)]
enum Undelivered {
    #[error(transparent)]
    Homeserver(#[from] Failure),
    #[error(transparent)]
    Drops(#[from] Error),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the file cannot be read")]
    Disk(#[from] std::io::Error),
}

impl Carrier {
    /// Carries what is in the outbox, until the program is to end.
    pub(crate) async fn work(self, stop: CancellationToken) {
        let mut refused_at = self.drops.clock().instant();
        loop {
            // Before the look: what comes meanwhile must wake us.
            let more = self.drops.outbox().notified();
            let now = self.drops.clock().instant();
            let tries_refused = now.since(refused_at) >= REFUSED;
            if tries_refused {
                refused_at = now;
            }
            let round = stop.run_until_cancelled(self.round(tries_refused)).await;
            match round {
                None => return,
                Some(Err(error)) => error!(%error, "the outbox cannot be read"),
                Some(Ok(())) => {}
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = more => {}
                () = self.drops.clock().sleep(AGAIN) => {}
            }
        }
    }

    /// Looks at everything in the outbox once.
    async fn round(&self, tries_refused: bool) -> Result<(), StoreError> {
        let places = std::sync::Arc::new(Semaphore::new(AT_ONCE));
        let mut after: Option<String> = None;
        loop {
            let some = self.drops.store().scan(&OUTBOX, "", after.as_deref(), ROUND).await?;
            let Some((last, _)) = some.last() else { return Ok(()) };
            after = Some(last.clone());
            let mut under_way = JoinSet::new();
            for (place, key) in some {
                let (carrier, places) = (self.clone(), places.clone());
                under_way.spawn(async move {
                    let _permit = places.acquire_owned().await;
                    if let Err(error) = carrier.carry(&place, &key, tries_refused).await {
                        warn!(error = %error, "a file is not in its room yet");
                    }
                });
            }
            while under_way.join_next().await.is_some() {}
        }
    }

    async fn carry(&self, place: &str, key: &str, tries_refused: bool) -> Result<(), Undelivered> {
        let store = self.drops.store();
        let (hash, id) = key.split_once(' ').unwrap_or_default();
        let (link, upload): (Option<Link>, Option<Upload>) =
            (store.get(&LINKS, hash).await?, store.get(&UPLOADS, key).await?);
        let (Some(link), Some(upload)) = (link, upload) else { return Ok(()) };
        let UploadState::Whole { kind, uri, held, .. } = &upload.state else { return Ok(()) };
        if held.is_some() && !tries_refused {
            return Ok(());
        }
        let outcome = self.send(&link, &upload, key, id, uri.clone()).await;
        match outcome {
            Ok(event) => {
                self.drops.delivered(place, key, event).await?;
                self.files.remove(hash, id).await;
                info!(size_bytes = upload.length, kind = ?kind, "a file is in its room");
                Ok(())
            }
            Err(Undelivered::Homeserver(Failure::Refused(refusal))) => {
                let why = format!("{} {}", refusal.errcode, refusal.message);
                let is_new = held.is_none();
                // A place that was reserved may be why: the next try begins without it.
                self.drops.note_delivery(key, None, Some(why.clone())).await?;
                if is_new {
                    let text = words::held(&link, &upload, refusal.errcode.as_str());
                    self.homeserver.notice(&link.room, &TxnId::of(&["held", key]), &text).await?;
                }
                Err(Undelivered::Homeserver(Failure::Refused(refusal)))
            }
            Err(error) => Err(error),
        }
    }

    /// Puts a file into its room, with a notice of what it is.
    async fn send(
        &self,
        link: &Link,
        upload: &Upload,
        key: &str,
        id: &str,
        uri: Option<String>,
    ) -> Result<bot_kit::ruma::OwnedEventId, Undelivered> {
        let UploadState::Whole { kind, .. } = &upload.state else {
            unreachable!("a file in the outbox is whole")
        };
        let uri = match uri {
            Some(uri) => uri,
            None => {
                let uri = self.homeserver.reserve_upload().await?;
                self.drops.note_delivery(key, Some(uri.clone()), None).await?;
                uri
            }
        };
        let (hash, _) = key.split_once(' ').unwrap_or_default();
        match self.fill(&uri, hash, id, upload).await {
            // It was full: by us, before a crash.
            Err(Undelivered::Homeserver(failure)) if failure.is("M_CANNOT_OVERWRITE_MEDIA") => {}
            // It was given up meanwhile; the next round begins anew.
            Err(Undelivered::Homeserver(failure)) if failure.is("M_NOT_FOUND") => {
                self.drops.note_delivery(key, None, None).await?;
                let cause = "the reserved place is gone".to_owned();
                return Err(Failure::Passing { cause, after: None, status: None }.into());
            }
            other => other?,
        }
        let message_type = if kind.is_shown() { "m.image" } else { "m.file" };
        let content = json!({
            "msgtype": message_type, "body": upload.name, "filename": upload.name, "url": uri, "m.mentions": {},
            "info": { "mimetype": kind.content_type(), "size": upload.length },
        });
        let event =
            self.homeserver.send(&link.room, "m.room.message", &TxnId::of(&["file", key]), &content).await?;
        let notice = json!({
            "msgtype": "m.notice", "body": words::came(link, upload), "m.mentions": { "user_ids": [link.maker] },
            "m.relates_to": { "m.in_reply_to": { "event_id": event } },
        });
        self.homeserver.send(&link.room, "m.room.message", &TxnId::of(&["notice", key]), &notice).await?;
        Ok(event)
    }

    /// Brings the bytes to the place that was reserved for them.
    async fn fill(&self, uri: &str, hash: &str, id: &str, upload: &Upload) -> Result<(), Undelivered> {
        let UploadState::Whole { kind, .. } = &upload.state else {
            unreachable!("a file in the outbox is whole")
        };
        let file = tokio::fs::File::open(self.files.path(hash, id)).await?;
        let parts = stream::try_unfold(file, |mut file| async move {
            let mut part = vec![0; PART];
            let count = file.read(&mut part).await?;
            part.truncate(count);
            Ok::<_, std::io::Error>((count > 0).then(|| (Bytes::from(part), file)))
        });
        self.homeserver
            .fill_upload(uri, &upload.name, kind.content_type(), upload.length, parts.boxed())
            .await?;
        Ok(())
    }
}
