//! Files on their way into rooms.
//!
//! Each step is written down before the next one: the place that the homeserver reserved for the bytes, then the event. A step that
//! was taken and not written down is taken again and does nothing: the place is full already, the event has the same transaction id.

use std::{collections::HashMap, time::Duration};

use base::Instant;
use bot_kit::{Failure, Homeserver, StoreError, TxnId};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use serde_json::json;
use tokio::{io::AsyncReadExt, task::JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::{
    drops::Drops,
    files::Files,
    private::Private,
    rows::{LINKS, Link, OUTBOX, UPLOADS, Upload, UploadState},
    standing::can_speak,
    undone::Undone,
    words,
};

/// Files that are on their way at a time.
const AT_ONCE: usize = 3;

/// Files that are looked at in one read.
const ROUND: usize = 200;

/// What could not be done is tried again after this, and after twice as long each further time, up to the longest.
const AGAIN: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(60);

/// What the homeserver refuses is tried again after this.
const REFUSED: Duration = Duration::from_secs(3_600);

/// Why a file is held that its room does not take.
const CLOSED: &str = "the room takes no files now";

/// Bytes that are read at a time.
const PART: usize = 256 << 10;

/// Carries files into rooms. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Carrier {
    pub(crate) drops: Drops,
    pub(crate) files: Files,
    pub(crate) homeserver: Homeserver,
    pub(crate) private: Private,
}

/// For how long a file is left alone that failed for this, and so often before.
fn rest(cause: &Undone, times: u32) -> Duration {
    match cause {
        Undone::Homeserver(Failure::Refused(_)) => REFUSED,
        Undone::Homeserver(_) | Undone::Drops(_) => AGAIN.saturating_mul(1 << times.min(10)).min(LONGEST),
    }
}

/// What is under way or left alone for a while, by its place in the outbox; of that there are as many as files are held.
#[derive(Default)]
struct Rests(HashMap<String, Rest>);

#[derive(Default)]
struct Rest {
    /// None while it is under way.
    until: Option<Instant>,
    /// How often it failed.
    times: u32,
}

impl Rests {
    /// How often a file failed, if it may be carried now; then it is under way.
    fn begin(&mut self, place: &str, now: Instant) -> Option<u32> {
        if self.0.get(place).is_some_and(|rest| rest.until.is_none_or(|until| until > now)) {
            return None;
        }
        let rest = self.0.entry(place.to_owned()).or_default();
        rest.until = None;
        Some(rest.times)
    }

    /// Nothing is left alone any longer.
    fn wake(&mut self, now: Instant) {
        for until in self.0.values_mut().filter_map(|rest| rest.until.as_mut()) {
            *until = (*until).min(now);
        }
    }

    /// It is under way no more, and left alone until then if it is not done.
    fn end(&mut self, place: &str, until: Option<Instant>) {
        match (until, self.0.get_mut(place)) {
            (Some(until), Some(rest)) => {
                rest.until = Some(until);
                rest.times += 1;
            }
            _ => drop(self.0.remove(place)),
        }
    }
}

impl Carrier {
    /// Carries what is in the outbox, until the program is to end.
    pub(crate) async fn work(self, stop: CancellationToken) {
        let (clock, mut rests) = (self.drops.clock().clone(), Rests::default());
        let mut under_way = JoinSet::new();
        loop {
            // Before the look: what comes meanwhile must wake us.
            let more = self.drops.outbox().notified();
            if self.drops.is_tried_again() {
                rests.wake(clock.instant());
            }
            if let Err(error) = self.fill_up(&mut under_way, &mut rests).await {
                error!(%error, "the outbox cannot be read");
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = more => {}
                () = clock.sleep(AGAIN) => {}
                Some(done) = under_way.join_next() => match done {
                    Ok((place, rest)) => rests.end(&place, rest.map(|rest| clock.instant() + rest)),
                    Err(error) => error!(%error, "a file was left in the middle; it is carried after a restart"),
                },
            }
        }
    }

    /// Begins to carry what waits, as far as there are hands.
    async fn fill_up(
        &self,
        under_way: &mut JoinSet<(String, Option<Duration>)>,
        rests: &mut Rests,
    ) -> Result<(), StoreError> {
        let now = self.drops.clock().instant();
        let mut after: Option<String> = None;
        while under_way.len() < AT_ONCE {
            let some = self.drops.store().scan(&OUTBOX, "", after.as_deref(), ROUND).await?;
            let Some((last, _)) = some.last() else { return Ok(()) };
            after = Some(last.clone());
            for (place, key) in some {
                if under_way.len() < AT_ONCE
                    && let Some(times) = rests.begin(&place, now)
                {
                    let carrier = self.clone();
                    under_way.spawn(async move {
                        let rest = match carrier.carry(&place, &key).await {
                            Ok(()) => None,
                            Err(error) => {
                                warn!(error = %error, "a file is not in its room yet");
                                Some(rest(&error, times))
                            }
                        };
                        (place, rest)
                    });
                }
            }
        }
        Ok(())
    }

    async fn carry(&self, place: &str, key: &str) -> Result<(), Undone> {
        let store = self.drops.store();
        let (hash, id) = key.split_once(' ').unwrap_or_default();
        let (link, upload): (Option<Link>, Option<Upload>) =
            (store.get(&LINKS, hash).await?, store.get(&UPLOADS, key).await?);
        let (Some(link), Some(upload)) = (link, upload) else { return Ok(()) };
        let UploadState::Whole { kind, uri, held, .. } = &upload.state else { return Ok(()) };
        let least = self.drops.settings().least_power;
        // Asked each time, and not concluded from a refusal: a room that is encrypted, or that nobody reads any more, refuses nothing.
        if !can_speak(&self.homeserver, &link.room, least).await? {
            self.drops.room_refuses(&link.room, key).await?;
            if held.is_none() {
                self.tell_maker(&link, &TxnId::of(&["held", key]), &words::waits(&link, &upload)).await?;
            }
            self.drops.note_delivery(key, uri.clone(), Some(CLOSED.to_owned())).await?;
            return Err(Failure::odd(CLOSED.to_owned()).into());
        }
        let outcome = self.send(&link, &upload, key, id, uri.clone()).await;
        match outcome {
            Ok(event) => {
                self.drops.delivered(place, key, event).await?;
                self.files.remove(hash, id).await;
                info!(size_bytes = upload.length, kind = ?kind, "a file is in its room");
                Ok(())
            }
            Err(Undone::Homeserver(Failure::Refused(refusal))) => {
                let why = format!("{} {}", refusal.errcode, refusal.message);
                if !can_speak(&self.homeserver, &link.room, least).await? {
                    self.drops.room_refuses(&link.room, key).await?;
                }
                // Told before it is noted: who is killed in between tells it again, under the same id.
                if held.is_none() {
                    self.tell_of_held(&link, key, &words::held(&link, &upload, &refusal.errcode)).await?;
                }
                // A place that was reserved may be why: the next try begins without it.
                self.drops.note_delivery(key, None, Some(why)).await?;
                Err(Undone::Homeserver(Failure::Refused(refusal)))
            }
            Err(error) => Err(error),
        }
    }

    /// Tells the room of a file that is held, or the link's maker alone where the room does not take that either.
    async fn tell_of_held(&self, link: &Link, key: &str, text: &str) -> Result<(), Failure> {
        let txn = TxnId::of(&["held", key]);
        match self.homeserver.notice(&link.room, &txn, text).await {
            Err(failure) if !failure.may_pass() => self.tell_maker(link, &txn, text).await,
            told => told.map(drop),
        }
    }

    /// Tells the maker of a link alone, as far as he can be told.
    async fn tell_maker(&self, link: &Link, txn: &TxnId, text: &str) -> Result<(), Failure> {
        match self.private.tell(&link.maker, txn, text).await {
            Err(failure) if !failure.may_pass() => {
                warn!(error = %failure, room_id = %link.room, "nobody can be told of a file that is held");
                Ok(())
            }
            told => told,
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
    ) -> Result<bot_kit::ruma::OwnedEventId, Undone> {
        let UploadState::Whole { kind, .. } = &upload.state else {
            unreachable!("a file in the outbox is whole")
        };
        // A place that was reserved before a crash or a broken line may be full already.
        let (uri, is_new) = match uri {
            Some(uri) => (uri, false),
            None => {
                let uri = self.homeserver.reserve_upload().await?;
                self.drops.note_delivery(key, Some(uri.clone()), None).await?;
                (uri, true)
            }
        };
        let (hash, _) = key.split_once(' ').unwrap_or_default();
        let filled = async {
            if !is_new && self.homeserver.is_filled(&uri).await? {
                return Ok(());
            }
            self.fill(&uri, hash, id, upload).await
        };
        match filled.await {
            // It became full meanwhile: by what we sent before a crash.
            Err(Undone::Homeserver(failure)) if failure.is("M_CANNOT_OVERWRITE_MEDIA") => {}
            // It was given up meanwhile; the next round begins anew.
            Err(Undone::Homeserver(failure)) if failure.is("M_NOT_FOUND") => {
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
    async fn fill(&self, uri: &str, hash: &str, id: &str, upload: &Upload) -> Result<(), Undone> {
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
