//! [`Drops`]: links to upload by, and the files that come over them.
//!
//! Each verb is one change of the store with the rows of the record that tell of it; whatever it says is on the disk.
//! Limits are looked at in the change that takes from them, so two requests at once share no place.

pub(crate) mod handover;
mod rooms;

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use base::{Clock, Timestamp};
use bot_kit::{
    Batch, Rows, Store, StoreError,
    ruma::{OwnedEventId, OwnedRoomId, OwnedUserId, RoomId},
};
use tokio::sync::Notify;

use crate::{
    command::Wish,
    end::{End, Why},
    kind::Kind,
    language::Language,
    moment, name,
    rows::{
        Code, DUE, Deed, FileOfDeed, LINKS, Link, LinkState, OUTBOX, RECORD, REFUSING, ROOM_LINKS, Refused,
        Sender, TOTALS, Totals, UPLOADS, Upload, UploadState, What, room_key, time_key, upload_key,
    },
    secret::{Key, Token, same},
    settings::Settings,
};

pub(crate) use self::{
    handover::BrokenOff,
    rooms::{Closed, LATELY},
};

/// Wrong codes in all before a link is locked.
const GUESSES: u8 = 10;

/// Browsers that a code lets in.
pub(crate) const PASSES: u8 = 5;

/// Uploads of a link that are kept, with those that were refused or given up; beyond them nothing is begun.
const MOST_ROWS: usize = 5_000;

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// There is no such link, or none any more.
    #[error("no such link")]
    NoLink,
    /// Its time is over.
    #[error("the link's time is over")]
    Over,
    /// It was ended before its time.
    #[error("the link was cancelled")]
    Cancelled(Why),
    /// Its file was fetched as often as it may be; the last time then, unless that was in a release that did not note it.
    #[error("the link's downloads are used up")]
    UsedUp(Option<Timestamp>),
    /// What was entered can be no code; nothing was tried.
    #[error("no code")]
    NoCode,
    /// Its code was tried too often.
    #[error("the link is locked")]
    Locked,
    /// The code is not the right one; so many may still be tried.
    #[error("a wrong code")]
    WrongCode(u8),
    /// No more files by this link.
    #[error("no more files")]
    Files,
    /// No more bytes by this link; so many are left.
    #[error("no more bytes")]
    Bytes(u64),
    /// Nothing can be put into its room now.
    #[error("the room takes nothing now")]
    Closed,
    /// The disk is full of others' files; later it may not be.
    #[error("no room now")]
    Full,
    /// Too many links of the room are good; so many may be.
    #[error("too many links of the room")]
    LinksOfRoom(usize),
    /// Too many links are good.
    #[error("too many links")]
    Links,
    /// There is no such upload, or none any more.
    #[error("no such upload")]
    NoUpload,
    /// It cannot be ended yet: of its bytes only so many are there.
    #[error("bytes are lacking")]
    Lacking(u64),
    /// It came whole: it cannot be taken back any more.
    #[error("received")]
    Received,
    /// It was refused before.
    #[error("refused")]
    Refused(Refused),
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The disk.
    #[error("a file could not be read or written")]
    Disk(#[from] std::io::Error),
}

/// Links, uploads and the record. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Drops(Arc<Inner>);

struct Inner {
    store: Store,
    clock: Clock,
    settings: Settings,
    key: Key,
    /// Something is in the outbox.
    outbox: Notify,
    /// What is held in the outbox may go now.
    again: AtomicBool,
    /// Something is to be written into the record's file.
    record: Notify,
}

/// What is to be told of a link that was made.
#[derive(Clone, Debug)]
pub(crate) struct Made {
    pub(crate) link: Link,
    pub(crate) token: Token,
    pub(crate) code: Option<String>,
}

/// What a change writes into: a batch that numbers the record's rows.
struct Writing {
    batch: Batch,
    totals: Totals,
}

impl Writing {
    fn begin(rows: &Rows<'_>) -> Result<Self, StoreError> {
        Ok(Self { batch: Batch::new(), totals: rows.get(&TOTALS, "")?.unwrap_or_default() })
    }

    fn note(&mut self, deed: &Deed) {
        self.batch.put(&RECORD, &format!("{:016}", self.totals.next_deed), deed);
        self.totals.next_deed += 1;
    }

    fn end(mut self) -> Batch {
        self.batch.put(&TOTALS, "", &self.totals);
        self.batch
    }

    /// Puts a link back, with the moment at which it is to be looked at next.
    fn put(&mut self, hash: &str, link: &mut Link, settings: &Settings) {
        let due = next_due(link, settings);
        if due != Some(link.due) {
            self.batch.delete(&DUE, &time_key(link.due, hash));
        }
        if let Some(due) = due {
            link.due = due;
            self.batch.put(&DUE, &time_key(due, hash), &());
        }
        self.batch.put(&LINKS, hash, link);
    }
}

/// When a link is to be looked at.
fn next_due(link: &Link, settings: &Settings) -> Option<Timestamp> {
    match link.state {
        LinkState::Open => Some(link.remind.map_or(link.ends, |remind| remind.min(link.ends))),
        LinkState::Ending => Some(link.ends + settings.grace.0),
        // Of a link that somebody ended before its time as well.
        LinkState::Ended => Some(link.ends + settings.grace.0 + settings.keep.0),
    }
}

/// Why a link is not good any more.
pub(crate) fn why_over(link: &Link, now: Timestamp) -> Error {
    let is_before_its_time = link.state == LinkState::Ended && now < link.ends;
    if is_before_its_time { Error::Cancelled(link.why_ended()) } else { Error::Over }
}

fn deed(link: &Link, at: Timestamp, who: &str, what: What) -> Deed {
    Deed {
        at,
        who: who.to_owned(),
        address: String::new(),
        what,
        room: link.room.to_string(),
        link: link.number,
        file: None,
        details: String::new(),
    }
}

fn deed_of_file(link: &Link, at: Timestamp, id: &str, upload: &Upload, what: What) -> Deed {
    let sha256 = match &upload.state {
        UploadState::Whole { sha256, .. } | UploadState::Sent { sha256, .. } => sha256.clone(),
        UploadState::Receiving | UploadState::Refused { .. } => String::new(),
    };
    Deed {
        address: upload.sender.address.clone(),
        file: Some(FileOfDeed {
            id: id.to_owned(),
            original_name: upload.original_name.clone(),
            name: upload.name.clone(),
            bytes: upload.length,
            sha256,
        }),
        ..deed(link, at, &upload.sender.shown(), what)
    }
}

impl Sender {
    /// As it is shown in a line: company and name.
    pub(crate) fn shown(&self) -> String {
        [self.company.as_str(), self.name.as_str()]
            .into_iter()
            .filter(|part| !part.is_empty())
            .collect::<Vec<_>>()
            .join(" ")
    }
}

impl Drops {
    pub(crate) fn new(store: Store, clock: Clock, settings: Settings, key: Key) -> Self {
        let (outbox, record) = (Notify::new(), Notify::new());
        let again = AtomicBool::new(false);
        Self(Arc::new(Inner { store, clock, settings, key, outbox, again, record }))
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.0.settings
    }

    pub(crate) fn store(&self) -> &Store {
        &self.0.store
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.0.clock
    }

    /// Wakes when something is in the outbox.
    pub(crate) fn outbox(&self) -> &Notify {
        &self.0.outbox
    }

    /// Has all that is held tried at once.
    fn try_again(&self) {
        self.0.again.store(true, Ordering::Release);
        self.0.outbox.notify_one();
    }

    /// Whether what is held is to be tried at once; asked once.
    pub(crate) fn is_tried_again(&self) -> bool {
        self.0.again.swap(false, Ordering::AcqRel)
    }

    /// Wakes when the record has more rows.
    pub(crate) fn record(&self) -> &Notify {
        &self.0.record
    }

    fn now(&self) -> Timestamp {
        self.0.clock.now()
    }

    /// A change of the store with its rows of the record.
    async fn change<T: Send + 'static>(
        &self,
        make: impl FnOnce(&Rows<'_>, &mut Writing, &Settings) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let settings = self.0.settings.clone();
        let changed = self.0.store.change(move |rows| {
            let mut writing = Writing::begin(rows)?;
            let value = make(rows, &mut writing, &settings)?;
            Ok::<_, Error>((writing.end(), value))
        });
        let value = changed.await?;
        self.0.record.notify_one();
        Ok(value)
    }

    /// Makes the link that an event asks for, or finds it if it was made before.
    pub(crate) async fn make(
        &self,
        room: OwnedRoomId,
        maker: OwnedUserId,
        cause: OwnedEventId,
        language: Language,
        wish: Wish,
    ) -> Result<Made, Error> {
        let token = self.0.key.token(&cause);
        let (hash, code) = (token.hash(), wish.with_code.then(|| self.0.key.code(&cause)));
        let hash_of_code = code.as_deref().map(|code| token.hash_of_code(code));
        let now = self.now();
        // One room takes them away from no other. What a room asks for comes one after the other.
        let is_full = self.of_room(&room).await?.len() >= self.0.settings.most_links_per_room;
        let link = self.change(move |rows, writing, settings| {
            if let Some(link) = rows.get(&LINKS, &hash)? {
                return Ok(link);
            }
            if is_full {
                return Err(Error::LinksOfRoom(settings.most_links_per_room));
            }
            if writing.totals.links >= settings.most_links {
                return Err(Error::Links);
            }
            let last = rows.last_key(&ROOM_LINKS, &format!("{room} "))?;
            let last = last.and_then(|key| key.rsplit(' ').next()?.parse().ok()).unwrap_or(0_u32);
            let ends = now + wish.lasts;
            // Told before half of the time was over, nobody would wonder yet.
            let remind = ends.before(wish.remind.min(wish.lasts / 2));
            let mut link = Link {
                room: room.clone(),
                number: last.saturating_add(1),
                maker,
                cause,
                language,
                title: wish.title,
                made: now,
                ends,
                remind: (!wish.remind.is_zero()).then_some(remind),
                most_files: wish.files,
                most_bytes: wish.bytes,
                groups: wish.groups,
                code: hash_of_code.map(|hash| Code { hash, guesses_left: GUESSES, passes: 0 }),
                state: LinkState::Open,
                files: 0,
                bytes: 0,
                received: 0,
                due: now,
                closed_by: None,
                end: None,
            };
            writing.put(&hash, &mut link, settings);
            writing.batch.put(&ROOM_LINKS, &room_key(room.as_str(), link.number), &hash);
            writing.totals.links += 1;
            writing.note(&Deed {
                details: format!(
                    "「{}」 {} files, {}, until {}{}",
                    link.title,
                    link.most_files,
                    moment::size(link.most_bytes),
                    moment::recorded(link.ends),
                    if link.code.is_some() { ", with a code" } else { "" },
                ),
                ..deed(&link, now, link.maker.as_str(), What::LinkMade)
            });
            Ok(link)
        });
        Ok(Made { link: link.await?, token, code })
    }

    /// The link of a token.
    ///
    /// # Errors
    /// [`Error::NoLink`] where there is none, and where somebody ended it.
    pub(crate) async fn find(&self, token: &Token) -> Result<Link, Error> {
        self.0.store.get(&LINKS, &token.hash()).await?.ok_or(Error::NoLink)
    }

    /// Ends a room's link before its time; what was begun is given up. The link as it was, if it was good.
    pub(crate) async fn revoke(
        &self,
        room: &RoomId,
        number: u32,
        by: OwnedUserId,
    ) -> Result<Option<Link>, Error> {
        self.end_link(room, number, by, Why::Cancelled, None).await
    }

    /// The same for a reason, maybe because of an event, by which it is found again ([`Drops::closed_by`]).
    pub(crate) async fn end_link(
        &self,
        room: &RoomId,
        number: u32,
        by: OwnedUserId,
        why: Why,
        closed_by: Option<OwnedEventId>,
    ) -> Result<Option<Link>, Error> {
        let (key, now) = (room_key(room.as_str(), number), self.now());
        let revoked = self.change(move |rows, writing, settings| {
            let Some(hash) = rows.get(&ROOM_LINKS, &key)? else { return Ok(None) };
            let Some(mut link) = rows.get(&LINKS, &hash)? else { return Ok(None) };
            if link.state == LinkState::Ended {
                return Ok(None);
            }
            if link.state == LinkState::Open {
                writing.totals.links = writing.totals.links.saturating_sub(1);
            }
            let before = link.clone();
            link.state = LinkState::Ended;
            (link.closed_by, link.end) = (closed_by, Some(End { why, at: now }));
            writing.put(&hash, &mut link, settings);
            let details = why.recorded().to_owned();
            writing.note(&Deed { details, ..deed(&link, now, by.as_str(), What::LinkCancelled) });
            Ok(Some((hash, before)))
        });
        let Some((hash, link)) = revoked.await? else { return Ok(None) };
        self.give_up_all(&hash).await?;
        Ok(Some(link))
    }

    /// Tries a code. What a browser is given that told the right one.
    pub(crate) async fn enter(&self, token: &Token, code: &str, address: String) -> Result<String, Error> {
        let (hash, tried, now) = (token.hash(), token.hash_of_entered(code), self.now());
        let entered = self.change(move |rows, writing, settings| {
            let mut link: Link = rows.get(&LINKS, &hash)?.ok_or(Error::NoLink)?;
            if !link.is_good(now) {
                return Err(why_over(&link, now));
            }
            let Some(code) = link.code.as_mut() else { return Err(Error::NoLink) };
            let outcome = code.try_one(tried.as_deref())?;
            let what = if outcome.is_ok() { What::CodeRight } else { What::CodeWrong };
            writing.note(&Deed { address, ..deed(&link, now, "", what) });
            writing.put(&hash, &mut link, settings);
            // A wrong one is written down as well: this is no error of the change.
            Ok(outcome)
        });
        match entered.await? {
            Ok(number) => Ok(token.pass(&self.0.key, number)),
            Err(left) => Err(Error::WrongCode(left)),
        }
    }

    /// Whether a browser has told the code, or need not.
    pub(crate) fn may_pass(&self, token: &Token, link: &Link, pass: Option<&str>) -> bool {
        self.has_passed(token, link.code.as_ref(), pass)
    }

    fn has_passed(&self, token: &Token, code: Option<&Code>, pass: Option<&str>) -> bool {
        let Some(code) = code else { return true };
        pass.is_some_and(|pass| (1..=code.passes).any(|number| same(pass, &token.pass(&self.0.key, number))))
    }

    /// Begins a file: its place among the link's files, and its bytes of the disk, are its own from now on.
    pub(crate) async fn begin(
        &self,
        token: &Token,
        id: &str,
        original_name: &str,
        length: u64,
        sender: Sender,
    ) -> Result<(), Error> {
        let now = self.now();
        let upload = Upload {
            original_name: name::clipped(original_name, name::LONGEST_ORIGINAL).to_owned(),
            name: name::harmless(original_name),
            length,
            offset: 0,
            sender,
            begun: now,
            touched: now,
            state: UploadState::Receiving,
        };
        let (hash, id) = (token.hash(), id.to_owned());
        self.change(move |rows, writing, settings| {
            let mut link: Link = rows.get(&LINKS, &hash)?.ok_or(Error::NoLink)?;
            if !link.is_good(now) {
                return Err(why_over(&link, now));
            }
            if rows.get(&REFUSING, link.room.as_str())?.is_some() {
                return Err(Error::Closed);
            }
            let left = link.most_bytes.saturating_sub(link.bytes);
            if link.files >= link.most_files || rows.count(&UPLOADS, &hash, MOST_ROWS)? >= MOST_ROWS {
                return Err(Error::Files);
            }
            if length > left {
                return Err(Error::Bytes(left));
            }
            if length > settings.disk_budget.as_u64().saturating_sub(writing.totals.bytes) {
                return Err(Error::Full);
            }
            link.files += 1;
            link.bytes += length;
            writing.totals.bytes += length;
            writing.put(&hash, &mut link, settings);
            writing.batch.put(&UPLOADS, &upload_key(&hash, &id), &upload);
            writing.note(&deed_of_file(&link, now, &id, &upload, What::UploadBegun));
            Ok(())
        })
        .await
    }

    /// An upload of a link.
    pub(crate) async fn upload(&self, link: &str, id: &str) -> Result<Upload, Error> {
        self.0.store.get(&UPLOADS, &upload_key(link, id)).await?.ok_or(Error::NoUpload)
    }

    /// Acknowledges bytes, which are on the disk.
    pub(crate) async fn advance(&self, link: &str, id: &str, offset: u64) -> Result<(), Error> {
        let (key, now) = (upload_key(link, id), self.now());
        // Nothing for the record: it tells of beginning and end.
        let change = self.0.store.change(move |rows| {
            let mut upload: Upload = rows.get(&UPLOADS, &key)?.ok_or(Error::NoUpload)?;
            match upload.state {
                UploadState::Receiving => {}
                UploadState::Refused { reason } => return Err(Error::Refused(reason)),
                UploadState::Whole { .. } | UploadState::Sent { .. } => return Err(Error::NoUpload),
            }
            upload.offset = offset;
            upload.touched = now;
            let mut batch = Batch::new();
            batch.put(&UPLOADS, &key, &upload);
            Ok((batch, ()))
        });
        change.await
    }

    /// Takes a whole file of this hash and kind: from now on it is on its way into the room. It may be told twice.
    pub(crate) async fn finish(
        &self,
        hash: &str,
        id: &str,
        sha256: String,
        kind: Kind,
    ) -> Result<Upload, Error> {
        let (hash, id, now) = (hash.to_owned(), id.to_owned(), self.now());
        let finished = self.change(move |rows, writing, settings| {
            let key = upload_key(&hash, &id);
            let mut upload: Upload = rows.get(&UPLOADS, &key)?.ok_or(Error::NoUpload)?;
            match upload.state {
                UploadState::Receiving => {}
                UploadState::Refused { reason } => return Err(Error::Refused(reason)),
                UploadState::Whole { .. } | UploadState::Sent { .. } => return Ok(upload),
            }
            let mut link: Link = rows.get(&LINKS, &hash)?.ok_or(Error::NoLink)?;
            upload.name = name::ending_in(&upload.name, kind.endings());
            upload.state = UploadState::Whole { sha256, kind, at: now, uri: None, held: None };
            upload.touched = now;
            link.received += 1;
            writing.put(&hash, &mut link, settings);
            writing.batch.put(&OUTBOX, &time_key(now, &key), &key);
            writing.batch.put(&UPLOADS, &key, &upload);
            writing.note(&deed_of_file(&link, now, &id, &upload, What::UploadWhole));
            Ok(upload)
        });
        let upload = finished.await?;
        self.0.outbox.notify_one();
        Ok(upload)
    }

    /// Refuses a file that is not whole yet, or gives it up: its place and its bytes are free again. Whoever calls takes the file from
    /// the disk.
    pub(crate) async fn refuse(&self, hash: &str, id: &str, reason: Refused) -> Result<(), Error> {
        let (hash, id, now) = (hash.to_owned(), id.to_owned(), self.now());
        self.change(move |rows, writing, settings| {
            let key = upload_key(&hash, &id);
            let mut upload: Upload = rows.get(&UPLOADS, &key)?.ok_or(Error::NoUpload)?;
            if upload.state != UploadState::Receiving {
                return Ok(());
            }
            let mut link: Link = rows.get(&LINKS, &hash)?.ok_or(Error::NoLink)?;
            upload.state = UploadState::Refused { reason };
            link.files = link.files.saturating_sub(1);
            link.bytes = link.bytes.saturating_sub(upload.length);
            writing.totals.bytes = writing.totals.bytes.saturating_sub(upload.length);
            writing.put(&hash, &mut link, settings);
            writing.batch.put(&UPLOADS, &key, &upload);
            let what = match reason {
                Refused::Kind | Refused::Hash => What::UploadRefused,
                Refused::TakenBack | Refused::GivenUp => What::UploadGivenUp,
            };
            let details = match reason {
                Refused::Kind => "not of a kind that the link is for",
                Refused::Hash => "not the bytes that were sent",
                Refused::TakenBack => "taken back by the sender",
                Refused::GivenUp => "not gone on with in time",
            };
            let deed = deed_of_file(&link, now, &id, &upload, what);
            writing.note(&Deed { details: details.to_owned(), ..deed });
            Ok(())
        })
        .await
    }

    /// Notes what became of a file in the outbox: where its bytes are at the homeserver, or why it is held.
    pub(crate) async fn note_delivery(
        &self,
        key: &str,
        new_uri: Option<String>,
        new_held: Option<String>,
    ) -> Result<(), Error> {
        let key = key.to_owned();
        let change = self.0.store.change(move |rows| {
            let mut batch = Batch::new();
            let upload: Option<Upload> = rows.get(&UPLOADS, &key)?;
            if let Some(mut upload) = upload
                && let UploadState::Whole { uri, held, .. } = &mut upload.state
            {
                (*uri, *held) = (new_uri, new_held);
                batch.put(&UPLOADS, &key, &upload);
            }
            Ok::<_, Error>((batch, ()))
        });
        change.await
    }

    /// Notes that a file is in the room. Whoever calls takes it from the disk.
    pub(crate) async fn delivered(&self, place: &str, key: &str, event: OwnedEventId) -> Result<(), Error> {
        let (place, key, now) = (place.to_owned(), key.to_owned(), self.now());
        self.change(move |rows, writing, _| {
            writing.batch.delete(&OUTBOX, &place);
            let Some(mut upload) = rows.get(&UPLOADS, &key)? else { return Ok(()) };
            let UploadState::Whole { sha256, kind, at, uri, .. } = &upload.state else { return Ok(()) };
            let details = format!("{event} {}", uri.as_deref().unwrap_or_default());
            upload.state = UploadState::Sent { sha256: sha256.clone(), kind: *kind, at: *at, event };
            writing.totals.bytes = writing.totals.bytes.saturating_sub(upload.length);
            writing.batch.put(&UPLOADS, &key, &upload);
            let (hash, id) = key.split_once(' ').unwrap_or_default();
            if let Some(link) = rows.get(&LINKS, hash)? {
                writing.note(&Deed {
                    who: String::new(),
                    details,
                    ..deed_of_file(&link, now, id, &upload, What::UploadDelivered)
                });
            }
            Ok(())
        })
        .await
    }

    /// The uploads of a link, five thousand at most: so many there can be.
    pub(crate) async fn uploads_of(&self, hash: &str) -> Result<Vec<(String, Upload)>, Error> {
        let found = self.0.store.scan(&UPLOADS, &format!("{hash} "), None, MOST_ROWS).await?;
        let id = |key: String| key.rsplit(' ').next().unwrap_or_default().to_owned();
        Ok(found.into_iter().map(|(key, upload)| (id(key), upload)).collect())
    }

    /// The file of this name, length and hash that came whole over a link before, from the same sender's address.
    pub(crate) async fn received_before(
        &self,
        hash: &str,
        (original_name, length, sha256): (&str, u64, &str),
        sender: &Sender,
    ) -> Result<Option<Upload>, Error> {
        let original_name = name::clipped(original_name, name::LONGEST_ORIGINAL);
        let is_same = |upload: &Upload| {
            let came = match &upload.state {
                UploadState::Whole { sha256, .. } | UploadState::Sent { sha256, .. } => sha256,
                UploadState::Receiving | UploadState::Refused { .. } => return false,
            };
            (upload.original_name.as_str(), upload.length, came.as_str()) == (original_name, length, sha256)
                && upload.sender.address == sender.address
        };
        let uploads = self.uploads_of(hash).await?;
        Ok(uploads.into_iter().map(|(_, upload)| upload).find(is_same))
    }

    /// Gives up what is not whole of a link's files. Files on the disk go at the next tidying.
    pub(crate) async fn give_up_all(&self, hash: &str) -> Result<(), Error> {
        for (id, upload) in self.uploads_of(hash).await? {
            if upload.state == UploadState::Receiving {
                self.refuse(hash, &id, Refused::GivenUp).await?;
            }
        }
        Ok(())
    }

    /// Notes that the maker was told that nothing came.
    pub(crate) async fn reminded(&self, hash: &str) -> Result<(), Error> {
        let (hash, now) = (hash.to_owned(), self.now());
        self.change(move |rows, writing, settings| {
            let Some(mut link) = rows.get(&LINKS, &hash)? else { return Ok(()) };
            if link.remind.take().is_none() {
                return Ok(());
            }
            if link.received == 0 {
                writing.note(&deed(&link, now, "", What::LinkReminded));
            }
            writing.put(&hash, &mut link, settings);
            Ok(())
        })
        .await
    }

    /// Notes that a link's time is over: nothing new is begun from now on.
    pub(crate) async fn expired(&self, hash: &str) -> Result<(), Error> {
        let (hash, now) = (hash.to_owned(), self.now());
        self.change(move |rows, writing, settings| {
            let Some(mut link) = rows.get(&LINKS, &hash)? else { return Ok(()) };
            if link.state != LinkState::Open {
                return Ok(());
            }
            link.state = LinkState::Ending;
            link.remind = None;
            writing.totals.links = writing.totals.links.saturating_sub(1);
            writing.put(&hash, &mut link, settings);
            let details = format!("{} files came", link.received);
            writing.note(&Deed { details, ..deed(&link, now, "", What::LinkExpired) });
            Ok(())
        })
        .await
    }

    /// Closes a link whose time of grace is over.
    pub(crate) async fn close(&self, hash: &str) -> Result<(), Error> {
        self.give_up_all(hash).await?;
        let hash = hash.to_owned();
        self.change(move |rows, writing, settings| {
            let Some(mut link) = rows.get(&LINKS, &hash)? else { return Ok(()) };
            link.state = LinkState::Ended;
            writing.put(&hash, &mut link, settings);
            Ok(())
        })
        .await
    }

    /// Forgets a link that ended long ago, unless something of it is still in the outbox.
    pub(crate) async fn forget(&self, hash: &str) -> Result<(), Error> {
        let uploads = self.uploads_of(hash).await?;
        let hash = hash.to_owned();
        let waits = uploads.iter().any(|(_, upload)| matches!(upload.state, UploadState::Whole { .. }));
        self.change(move |rows, writing, settings| {
            let Some(mut link) = rows.get(&LINKS, &hash)? else { return Ok(()) };
            if waits {
                link.ends = link.ends + settings.keep.0;
                writing.put(&hash, &mut link, settings);
                return Ok(());
            }
            writing.batch.delete(&LINKS, &hash).delete(&DUE, &time_key(link.due, &hash));
            // The room's last number stays, so that none is given twice.
            if rows.last_key(&ROOM_LINKS, &format!("{} ", link.room))?
                != Some(room_key(link.room.as_str(), link.number))
            {
                writing.batch.delete(&ROOM_LINKS, &room_key(link.room.as_str(), link.number));
            }
            for (id, _) in uploads {
                writing.batch.delete(&UPLOADS, &upload_key(&hash, &id));
            }
            Ok(())
        })
        .await
    }
}
