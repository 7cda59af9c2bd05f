//! Pushers that send mails: of what has waited unread for a while, gathered, and not too often.
//!
//! A mail is put into the batch that notes it as told, and waits from then on in `mail`, which sends it however often that has to be
//! tried. So none is lost, and none comes twice but where a mail server took it in the moment of a crash.
//!
//! When a mail comes is `crate::mailed`'s to say; all that is unread then goes with it.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use mail::{EmailAddress, Mail, Mails};
use room::{
    EventSerial, RoomSerial,
    read::{
        event::{Keep, StoredEvent},
        view::{Look, Viewer},
    },
};
use ruma::{OwnedServerName, OwnedUserId, RoomId, UserId, api::client::push::PusherKind};
use store::{Batch, Reads};
use tracing::{info, warn};

use super::{
    gateway::Outcome,
    judge::Scene,
    lanes::Round,
    mail_texts::{self, Line, News, OfRoom},
    send::{Unread, text_in},
};
use crate::{
    Error,
    mailed::{MAILED, MailPace, due_at, next_pause},
    pushers::Found,
    waiting::{Key, WaitingRow},
};

/// The lane of all mails, and what they are called in metrics.
pub(super) const LANE: &str = "mail";

/// Rooms that a mail names, and what was said last that it shows of each.
const MOST_ROOMS: usize = 10;
const MOST_OF_ROOM: usize = 3;

/// So many mails in a row that an address refuses end its pusher.
const MOST_REFUSALS: u32 = 5;

/// How long a mail is worth sending: the next one tells of all that is unread then.
const GOOD_FOR: Duration = Duration::from_secs(12 * 60 * 60);

/// While something waits it is looked again as often as the quiet that is waited for, but no more often than this.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// When there is no room for more mails.
const FULL: Duration = Duration::from_secs(60);

/// What pushers that send mails stand on.
pub struct MailParts {
    /// What sends them.
    pub mails: Mails,
    /// What leads back from the mails of an authority; of one that is not named none are sent.
    pub faces: HashMap<OwnedServerName, MailFace>,
    /// How often they come.
    pub pace: MailPace,
}

/// What leads back from the mails of an authority.
#[derive(Clone, Debug)]
pub struct MailFace {
    /// Where its server is, without a slash at the end.
    pub base_url: String,
    /// Where its users read on in a browser, without a slash at the end.
    pub web_client: Option<String>,
}

impl Round {
    /// Mails a user what he has not read, if it is time.
    pub(super) async fn mail(
        &self,
        key: &Key,
        user: &OwnedUserId,
        found: &Found,
        row: &WaitingRow,
    ) -> Result<Outcome, Error> {
        let (push, MailParts { mails, faces, pace }) = (&self.delivery.0.push, &self.delivery.0.mails);
        let authority = user.server_name();
        let face = faces.get(authority).filter(|_| mails.serves(authority.as_str()));
        let (Some(face), Ok(address)) = (face, key.3.parse::<EmailAddress>()) else {
            // The settings may name a mail server again.
            self.settle(key, &row.items, true, Batch::new()).await?;
            return Ok(Outcome::Idle);
        };
        let mut reads = Reads::new();
        let own = push.accounts().read_email(&mut reads, user, address.as_str());
        let mailed = reads.get(&MAILED, key);
        let mut read = push.store().read(reads).await?;
        let (is_own, mut mailed) = (read.take(own)?.is_some(), read.take(mailed)?.unwrap_or_default());
        let refusals = mails.refusals(authority.as_str(), &address).await?;
        if !is_own || refusals >= MOST_REFUSALS {
            let outcome = if is_own { "given_up" } else { "rejected" };
            self.delivery.count(LANE, outcome);
            info!(user_id = %user, outcome, "a user is mailed no more");
            let mut batch = Batch::new();
            mails.forget_refusals(&mut batch, authority.as_str(), &address);
            return self.remove(key, found, batch).await;
        }
        let unread = self.unread(user, row).await?;
        if unread.waiting.is_empty() {
            self.settle(key, &unread.gone, true, Batch::new()).await?;
            return Ok(Outcome::Idle);
        }
        let now = self.delivery.0.clock.now().millis();
        let (mut due, mut waits_anew) = (u64::MAX, false);
        for item in &unread.waiting {
            let is_unread = |event| unread.may_have(item.room, event);
            let (first, is_new) = mailed.wait(item, is_unread);
            waits_anew |= is_new;
            due = due.min(due_at(item.since, first, mailed.find(item.room, is_unread), pace, now));
        }
        if due > now {
            if waits_anew {
                // So that talk without an end puts it off for no longer where the process ends as well.
                let mut batch = Batch::new();
                batch.put(&MAILED, key, &mailed);
                self.term().commit(batch).await.map_err(account::Error::from)?;
            }
            // Sooner than it is time for one: what he reads meanwhile ends the pause of a room.
            let wait = Duration::from_millis(due - now).min(pace.quiet.max(LOOK_AGAIN));
            return Ok(Outcome::Later(wait));
        }
        let secret = push.secret(&self.delivery.0.random).await?;
        let (base, word) = (&face.base_url, secret.word_of(user, &address));
        let unsubscribe = format!("{base}/_yakuba/client/unsubscribe?token={word}");
        let brand = match &found.pusher.kind {
            PusherKind::Email(data) => data.data.get("brand").and_then(|brand| brand.as_str()),
            _ => None,
        };
        let news = self.news(user, &unread, face).await?;
        let (subject, text, html) = mail_texts::written(&news, brand, authority, &unsubscribe);
        let (html, unsubscribe) = (Some(html), Some(unsubscribe));
        let mail = Mail { to: address, subject, text, html, unsubscribe, good_for: GOOD_FOR };
        let mut batch = Batch::new();
        match mails.put(&mut batch, authority.as_str(), &mail).await {
            Ok(()) => {}
            Err(mail::Error::Full) => {
                self.delivery.count(LANE, "put_off");
                return Ok(Outcome::Later(FULL));
            }
            Err(mail::Error::Store(error)) => return Err(error.into()),
            Err(mail::Error::TooLarge) => warn!(user_id = %user, "a mail of what is unread is too large"),
        }
        // A room with a mention waits twice, and is told of once.
        let told_before = mailed.clone();
        for item in &unread.waiting {
            let told = told_before.find(item.room, |event| unread.may_have(item.room, event));
            mailed.note(item, next_pause(told, pace), now);
        }
        mailed.end_waits();
        batch.put(&MAILED, key, &mailed);
        let gone = [unread.gone, unread.kept].concat();
        self.settle(key, &gone, true, batch).await?;
        self.delivery.count(LANE, "taken");
        Ok(Outcome::Done)
    }

    /// What a mail tells.
    async fn news(&self, user: &UserId, unread: &Unread, face: &MailFace) -> Result<News, Error> {
        let rooms = self.delivery.0.push.rooms();
        let mut places: Vec<RoomSerial> = Vec::new();
        // The newest first; a room with a mention waits twice.
        for item in unread.waiting.iter().rev() {
            if !places.contains(&item.room) {
                places.push(item.room);
            }
        }
        let more = places.len().saturating_sub(MOST_ROOMS);
        places.truncate(MOST_ROOMS);
        let mut wanted: Vec<(RoomSerial, EventSerial)> = Vec::new();
        for room in &places {
            let events: Vec<_> = unread.events(*room).collect();
            let shown = events.iter().skip(events.len().saturating_sub(MOST_OF_ROOM)).copied();
            wanted.extend(shown.map(|event| (*room, event)));
            if events.is_empty() {
                // An invitation.
                let items = unread.waiting.iter().filter(|item| item.room == *room);
                wanted.extend(items.map(|item| (*room, item.event)));
            }
        }
        let events = rooms.find_events(&wanted, Keep::All).await?;
        let is_shown = |event: &StoredEvent| {
            event.meta().redacted_by.is_none() && !unread.ignored.contains(event.sender())
        };
        let mut of_rooms = Vec::new();
        for room in places {
            let events: Vec<_> = wanted.iter().zip(&events).filter(|((of, _), _)| *of == room).collect();
            let events: Vec<_> = events.into_iter().filter_map(|(_, event)| event.clone()).collect();
            let events: Vec<_> = events.into_iter().filter(|event| is_shown(event)).collect();
            let Some(last) = events.last() else { continue };
            let mut names = vec![("m.room.name", ""), ("m.room.canonical_alias", "")];
            names.extend(events.iter().map(|event| ("m.room.member", event.sender().as_str())));
            let root = Scene::new(&self.delivery.0.push, last.clone()).root(&self.delivery.0.push).await?;
            let found = match root {
                Some(root) => rooms.state_in(room, root, &names).await?,
                None => Vec::new(),
            };
            let text = |place: usize, field| {
                let event = found.get(place).and_then(Option::as_ref)?;
                text_in(event, field)
            };
            let edits = self.edits(user, &unread.ignored, &events).await?;
            let lines = events.iter().zip(&edits).enumerate().map(|(place, (event, edit))| {
                let sender = text(place + 2, "displayname").unwrap_or_else(|| event.sender().to_string());
                Line::of(event, edit.as_deref(), sender, event.state_key() == Some(user.as_str()))
            });
            let name = match text(0, "name").or_else(|| text(1, "alias")) {
                Some(name) => Some(name),
                None => self.name_by_members(user, &unread.ignored, room, last.room_id()).await?,
            };
            let of_room = OfRoom {
                name,
                count: unread.events(room).count().max(1),
                link: face.web_client.as_deref().map(|web| mail_texts::link_to(web, last.room_id())),
                lines: lines.collect(),
            };
            of_rooms.push(of_room);
        }
        Ok(News { count: unread.count.max(1), rooms: of_rooms, more, web_client: face.web_client.clone() })
    }

    /// The newest edit of each of these events, where there is one.
    async fn edits(
        &self,
        user: &UserId,
        ignored: &HashSet<OwnedUserId>,
        events: &[Arc<StoredEvent>],
    ) -> Result<Vec<Option<Arc<StoredEvent>>>, Error> {
        let rooms = self.delivery.0.push.rooms();
        let viewer = Viewer { ignored: Some(ignored), ..Viewer::user(user) };
        let mut looks: Vec<Look> = events.iter().cloned().map(Look::bare).collect();
        rooms.aggregate(&viewer, &mut looks).await?;
        Ok(looks.into_iter().map(|look| Some(look.aggregations?.edit?.event)).collect())
    }

    /// What a room without a name is called for one of its members: by the others, as far as all are known.
    async fn name_by_members(
        &self,
        user: &UserId,
        ignored: &HashSet<OwnedUserId>,
        room: RoomSerial,
        room_id: &RoomId,
    ) -> Result<Option<String>, Error> {
        let rooms = self.delivery.0.push.rooms();
        let Some(info) = rooms.room(room_id).await? else { return Ok(None) };
        let Some(all) = rooms.all_members_of(&[room]).await?.pop().flatten() else { return Ok(None) };
        let Some(naming) = rooms.namings(&[(info, all)]).await?.pop() else { return Ok(None) };
        // Those whom he ignores are counted, and not named.
        let heroes: Vec<_> = naming.heroes(user).filter(|(hero, _)| !ignored.contains(hero)).collect();
        let events: Vec<_> = heroes.iter().map(|(_, event)| (room, *event)).collect();
        let events = rooms.find_events(&events, Keep::All).await?;
        let called = heroes.iter().zip(&events).map(|((hero, _), event)| {
            event.as_ref().and_then(|event| text_in(event, "displayname")).unwrap_or_else(|| hero.to_string())
        });
        let names: Vec<String> = called.collect();
        let others = (naming.counts.joined + naming.counts.invited).saturating_sub(1);
        let more = others.saturating_sub(u64::try_from(names.len()).unwrap_or(u64::MAX));
        Ok(mail_texts::name_of_members(&names, more))
    }
}
