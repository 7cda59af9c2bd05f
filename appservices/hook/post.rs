//! What came by a webhook goes into its room.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError},
    time::{Duration, Instant},
};

use bot_kit::{
    Batch, Failure, StoreError, Table, TxnId, now_ms,
    ruma::{OwnedEventId, OwnedRoomId},
};
use bytes::Bytes;
use serde_json::{Value, json};
use tracing::{error, warn};

use crate::{
    bot::Hook,
    file::File,
    incoming::{JOBS, Job},
    render::{Report, WHOLE_NAME},
    settings::{Form, Incoming},
};

/// The first message of a thread; key: webhook, a slash, the name of the thread; value: room and event.
const THREADS: Table<(OwnedRoomId, OwnedEventId)> = Table::new("threads");
/// When a thread began, in milliseconds; key: as there.
const BEGUN: Table<u64> = Table::new("threads begun");
/// Files that were uploaded and are not sent yet; key: webhook, a slash, the id, a slash, a photo's number or `whole`; value: `mxc:` URI.
const UPLOADED: Table<String> = Table::new("uploaded");

/// Pauses after failures.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// What could not be told for so long is a trouble that `/health` names.
const TROUBLE: Duration = Duration::from_secs(60);

/// A thread that began longer ago is begun anew: nobody scrolls back to it.
const THREAD_MS: u64 = 7 * 86_400_000;

/// What could not be told for so long is given up: the bot was never asked into the room, or the room is gone.
const PATIENCE_MS: u64 = 3 * 86_400_000;

/// The webhooks of each room: what comes by several of them comes into it in one order, an alarm and what another program answers to it.
pub(crate) fn by_room(incoming: Vec<Incoming>) -> Vec<Vec<Incoming>> {
    let mut rooms: BTreeMap<_, Vec<Incoming>> = BTreeMap::new();
    for one in incoming {
        rooms.entry((one.room.clone(), one.made_by.clone())).or_default().push(one);
    }
    rooms.into_values().collect()
}

/// Has what comes for one room told in the order in which it came, for ever.
pub(crate) async fn run(hook: Arc<Hook>, of_room: Vec<Incoming>) {
    let names = of_room.iter().map(|incoming| &*incoming.name).collect::<Vec<_>>().join(", ");
    let (mut pause, mut began) = (FIRST_PAUSE, None::<Instant>);
    loop {
        let (more, came) = (hook.more_jobs.notified(), hook.came.notified());
        tokio::pin!(more, came);
        // Before the look: what comes meanwhile must wake us.
        more.as_mut().enable();
        came.as_mut().enable();
        match hook.next_job(&of_room).await {
            Ok(is_told) => {
                (pause, began) = (FIRST_PAUSE, None);
                hook.troubles.lock().unwrap_or_else(PoisonError::into_inner).remove(&names);
                if !is_told {
                    more.await;
                }
            }
            Err(failure) => {
                warn!(hook = names, error = %failure, "a webhook could not be told, trying again");
                if began.get_or_insert_with(Instant::now).elapsed() >= TROUBLE {
                    let mut troubles = hook.troubles.lock().unwrap_or_else(PoisonError::into_inner);
                    troubles.insert(names.clone(), failure.to_string());
                }
                tokio::select! {
                    () = tokio::time::sleep(pause) => pause = (pause * 2).min(LONGEST_PAUSE),
                    // It may have waited for this.
                    () = came => {}
                }
            }
        }
    }
}

impl Hook {
    /// What came first of all that waits for a room.
    async fn oldest<'a>(
        &self,
        of_room: &'a [Incoming],
    ) -> Result<Option<(&'a Incoming, String, Job)>, StoreError> {
        let mut oldest: Option<(&Incoming, String, Job)> = None;
        for incoming in of_room {
            // One at a time: each may hold photos.
            let first = self.host.store.scan(&JOBS, &format!("{}/", incoming.name), None, 1).await?;
            oldest = first
                .into_iter()
                .map(|(key, job)| (incoming, key, job))
                .chain(oldest)
                .min_by_key(|(_, _, job)| job.at_ms);
        }
        Ok(oldest)
    }

    /// Does the oldest job; whether there was one.
    async fn next_job(&self, of_room: &[Incoming]) -> Result<bool, Failure> {
        let Some((incoming, key, job)) = self.oldest(of_room).await? else { return Ok(false) };
        let mut batch = Batch::new();
        match self.tell(incoming, &job, &mut batch).await {
            Ok(()) => {}
            // What is too large or no event will be so tomorrow as well, and others wait behind it.
            Err(failure) if is_of_no_use(&failure) || now_ms().saturating_sub(job.at_ms) > PATIENCE_MS => {
                error!(hook = incoming.name, error = %failure, "a webhook is given up");
            }
            Err(failure) => return Err(failure),
        }
        batch.delete(&JOBS, &key);
        self.host.store.commit(batch).await?;
        Ok(true)
    }

    async fn tell(&self, incoming: &Incoming, job: &Job, batch: &mut Batch) -> Result<(), Failure> {
        let room = self.enter(incoming).await?;
        match incoming.form {
            Form::Message => {
                let shown = self.templates.text(incoming, &job.body);
                let root = self.say_first(incoming, job, &room, &shown.text, batch).await?;
                self.send_whole((incoming, job), (&room, &root), shown.whole, batch).await
            }
            Form::Report => self.report(incoming, job, &room, batch).await,
        }
    }

    /// The room of a webhook as it is now, upgrades followed; the bot is in it then.
    async fn enter(&self, incoming: &Incoming) -> Result<OwnedRoomId, Failure> {
        let waits = |cause: String| Failure::Passing { cause, after: None, status: None };
        // Somebody may give it a room yet.
        let first = self.find_room(&incoming.room).await?;
        let first = first.ok_or_else(|| waits(format!("{} is no room", incoming.room)))?;
        self.go_into(&first).await?;
        if incoming.room.starts_with('#') && !self.is_made_by(&first, incoming.made_by.as_ref()).await? {
            return Err(waits(format!(
                "{} is a room that somebody else made than `made_by` says",
                incoming.room
            )));
        }
        let (mut room, followed) = (first.clone(), self.followed(&first).await?);
        // The last one that it is in: one of those between may be closed to it.
        let mut refused = None;
        for next in followed {
            match self.go_into(&next).await {
                Ok(()) => (room, refused) = (next, None),
                Err(failure) => refused = refused.or(Some((room.clone(), next, failure))),
            }
        }
        if let Some((old, next, failure)) = refused {
            self.ask_for_invite(&old, &next).await?;
            return Err(failure);
        }
        Ok(room)
    }

    /// Joins a room, unless somebody has put the bot out of it: then somebody has to ask it in again.
    async fn go_into(&self, room: &OwnedRoomId) -> Result<(), Failure> {
        let me = self.host.user();
        let now = match self.host.homeserver.membership(room, me).await {
            Err(failure) if failure.may_pass() => return Err(failure),
            // One that it was never in.
            now => now.unwrap_or_default(),
        };
        match now.as_deref() {
            Some("join") => Ok(()),
            Some("leave" | "ban") => {
                let cause = format!("the bot was put out of {room}; it has to be asked in again");
                Err(Failure::Passing { cause, after: None, status: None })
            }
            _ => self.host.homeserver.join(room).await,
        }
    }

    /// Says in the old room, once, that the bot was not asked into the new one. Who may not speak there any more says it to the log and to
    /// `/health`.
    async fn ask_for_invite(&self, old: &OwnedRoomId, new: &OwnedRoomId) -> Result<(), Failure> {
        let me = self.host.user();
        let text = format!(
            "この部屋は新しくなりましたが、{me} が新しい部屋に招待されていません。招待されるまで、通知は届きません。\n\
             This room was upgraded, and {me} was not asked into the new one: until it is, no webhooks are told."
        );
        let txn = TxnId::of(&["asks to be invited", old.as_str(), new.as_str()]);
        match self.host.homeserver.notice(old, &txn, &text).await {
            Err(failure) if failure.may_pass() => Err(failure),
            Err(failure) => {
                error!(room_id = %new, error = %failure, "the bot was not asked into a room that was upgraded, and cannot say so");
                Ok(())
            }
            Ok(_) => Ok(()),
        }
    }

    /// Whether a thread can be gone on with: its first message is there.
    async fn is_alive(&self, room: &OwnedRoomId, root: &OwnedEventId) -> Result<bool, Failure> {
        let found = match self.host.homeserver.find_event(room, root).await {
            Err(failure) if failure.may_pass() => return Err(failure),
            found => found.unwrap_or_default(),
        };
        let Some(event) = found else { return Ok(false) };
        // Of one that was redacted no content is left.
        Ok(event.get("content").and_then(|content| content.get("body")).is_some())
    }

    /// The message itself, in its thread if there is one.
    async fn say_first(
        &self,
        incoming: &Incoming,
        job: &Job,
        room: &OwnedRoomId,
        text: &str,
        batch: &mut Batch,
    ) -> Result<OwnedEventId, Failure> {
        let thread = self.templates.thread(incoming, &job.body).unwrap_or_else(|error| {
            warn!(hook = incoming.name, error, "a template does not fit what came");
            None
        });
        let key = thread.map(|thread| TxnId::of(&[&incoming.name, &thread]));
        let key = key.map(|key| format!("{}/{}", incoming.name, key.as_str()));
        let root = match &key {
            Some(key) => self.host.store.get(&THREADS, key).await?.filter(|(its_room, _)| its_room == room),
            None => None,
        };
        // By our own clock, which need not be the server's.
        let begun = match &key {
            Some(key) => self.host.store.get(&BEGUN, key).await?,
            None => None,
        };
        let is_old = begun.is_some_and(|begun| now_ms().saturating_sub(begun) >= THREAD_MS);
        let root = match root {
            Some((_, root)) if !is_old && self.is_alive(room, &root).await? => Some(root),
            _ => None,
        };
        let mut content = json!({ "msgtype": "m.text", "body": text, "m.mentions": {} });
        if let Some(root) = &root {
            content["m.relates_to"] = in_thread(root);
        }
        let txn = TxnId::of(&[&incoming.name, &job.id, "message"]);
        let sent = self.host.homeserver.send(room, "m.room.message", &txn, &content).await?;
        if let (Some(key), None) = (&key, &root) {
            batch.put(&THREADS, key, &(room.clone(), sent.clone())).put(&BEGUN, key, &now_ms());
        }
        Ok(root.unwrap_or(sent))
    }

    /// A report: what it says, and below it in a thread where that is and how it looks.
    async fn report(
        &self,
        incoming: &Incoming,
        job: &Job,
        room: &OwnedRoomId,
        batch: &mut Batch,
    ) -> Result<(), Failure> {
        let report = Report::read(&job.body);
        let root = self.say_first(incoming, job, room, &report.text, batch).await?;
        if let Some(place) = report.place {
            let geo = format!("geo:{:.6},{:.6}", place.latitude, place.longitude);
            let content = json!({
                "msgtype": "m.location", "body": place.description, "geo_uri": geo, "m.mentions": {},
                "m.relates_to": in_thread(&root),
            });
            let txn = TxnId::of(&[&incoming.name, &job.id, "place"]);
            self.host.homeserver.send(room, "m.room.message", &txn, &content).await?;
        }
        self.send_whole((incoming, job), (room, &root), report.whole, batch).await?;
        for (number, photo) in report.photos.into_iter().enumerate() {
            let number = number.to_string();
            let txn = TxnId::of(&[&incoming.name, &job.id, "photo", &number]);
            let key = format!("{}/{}/{number}", incoming.name, job.id);
            self.send_file((room, &root), (&key, &txn), photo, batch).await?;
        }
        Ok(())
    }

    /// All of a text of which the message shows a part.
    async fn send_whole(
        &self,
        (incoming, job): (&Incoming, &Job),
        thread: (&OwnedRoomId, &OwnedEventId),
        whole: Option<String>,
        batch: &mut Batch,
    ) -> Result<(), Failure> {
        let Some(whole) = whole else { return Ok(()) };
        let txn = TxnId::of(&[&incoming.name, &job.id, "whole"]);
        let key = format!("{}/{}/whole", incoming.name, job.id);
        self.send_file(thread, (&key, &txn), File::text(WHOLE_NAME, whole), batch).await
    }

    /// A file in a thread, or a word of it where the homeserver does not take it.
    async fn send_file(
        &self,
        (room, root): (&OwnedRoomId, &OwnedEventId),
        (key, txn): (&str, &TxnId),
        file: File,
        batch: &mut Batch,
    ) -> Result<(), Failure> {
        let (size, name, kind) = (file.bytes.len(), file.name.clone(), file.kind);
        let content = match self.upload_once(key, file).await {
            Ok(uri) => json!({
                "msgtype": if kind.is_shown { "m.image" } else { "m.file" },
                "body": name, "filename": name, "url": uri, "m.mentions": {},
                "info": { "size": size, "mimetype": kind.content_type },
                "m.relates_to": in_thread(root),
            }),
            Err(Failure::Refused(refusal)) => {
                let text = format!(
                    "「{name}」は受け取れませんでした / 「{name}」 could not be taken\n{}",
                    refusal.message
                );
                json!({ "msgtype": "m.notice", "body": text, "m.mentions": {}, "m.relates_to": in_thread(root) })
            }
            Err(failure) => return Err(failure),
        };
        self.host.homeserver.send(room, "m.room.message", txn, &content).await?;
        batch.delete(&UPLOADED, key);
        Ok(())
    }

    /// Uploads a file, unless that was done before a crash.
    async fn upload_once(&self, key: &str, file: File) -> Result<String, Failure> {
        if let Some(uri) = self.host.store.get(&UPLOADED, key).await? {
            return Ok(uri);
        }
        let File { name, kind, bytes } = file;
        let length = u64::try_from(bytes.len()).ok();
        let parts = futures_util::stream::iter([Ok::<_, std::io::Error>(Bytes::from(bytes))]);
        let uri = self.host.homeserver.upload(&name, kind.content_type, length, parts).await?;
        let mut batch = Batch::new();
        batch.put(&UPLOADED, key, &uri);
        self.host.store.commit(batch).await?;
        Ok(uri)
    }
}

fn is_of_no_use(failure: &Failure) -> bool {
    failure.refusal().is_some_and(|refusal| {
        [http::StatusCode::BAD_REQUEST, http::StatusCode::PAYLOAD_TOO_LARGE].contains(&refusal.status)
    })
}

/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#threading>
fn in_thread(root: &OwnedEventId) -> Value {
    json!({
        "rel_type": "m.thread", "event_id": root, "is_falling_back": true,
        "m.in_reply_to": { "event_id": root },
    })
}
