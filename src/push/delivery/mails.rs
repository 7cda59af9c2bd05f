//! Pushers that send mails: of what has waited unread for a while, gathered, and not too often.
//!
//! A mail is put into the batch that notes it as told, and waits from then on in `mail`, which sends it however often that has to be
//! tried. So none is lost, and none comes twice but where a mail server took it in the moment of a crash.
//!
//! A room is told of once nothing was said in it for a while ([`MailPace::quiet`]), or has been unread for three times as long however
//! much is said; all that is unread then goes with it. From then on that room gives no reason for a mail for a time, which
//! grows each time until the user reads what he was told of.

use std::{collections::HashMap, time::Duration};

use mail::{EmailAddress, Mail, Mails};
use room::{
    EventSerial, RoomSerial,
    read::event::{Keep, StoredEvent},
};
use ruma::{OwnedServerName, OwnedUserId, UserId, api::client::push::PusherKind};
use serde::{Deserialize, Serialize};
use store::{Batch, Reads, Table, Tuning};
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
    pushers::Found,
    waiting::{Item, Key, MOST_WAITING, WaitingRow},
};

/// What users were mailed last of rooms; key: as in `waiting::WAITING`.
pub(crate) static MAILED: Table<Key, MailedRow> = Table::new(178, "push.mailed", Tuning::Small);

/// The lane of all mails, and what they are called in metrics.
pub(super) const LANE: &str = "mail";

/// Rooms that a mail names, and what was said last that it shows of each.
const MOST_ROOMS: usize = 10;
const MOST_OF_ROOM: usize = 3;

/// A room is told of after so many times the quiet that is waited for, however much is said in it.
const MOST_PUT_OFF: u64 = 3;

/// So much longer a room gives no reason for another mail each time.
const GROWTH: u32 = 6;

/// So many mails in a row that an address refuses end its pusher.
const MOST_REFUSALS: u32 = 5;

/// How long a mail is worth sending: the next one tells of all that is unread then.
const GOOD_FOR: Duration = Duration::from_secs(12 * 60 * 60);

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

/// How often mails come.
#[derive(Clone, Copy, Debug)]
pub struct MailPace {
    /// So long nothing is said in a room before it is told of.
    pub quiet: Duration,
    /// So long a room gives no reason for a second mail; then longer and longer.
    pub first_pause: Duration,
    /// The longest that becomes.
    pub longest_pause: Duration,
}

impl Default for MailPace {
    /// What people know of other servers: after ten minutes, and of one room once a day in the end.
    fn default() -> Self {
        Self {
            quiet: Duration::from_secs(10 * 60),
            first_pause: Duration::from_secs(10 * 60),
            longest_pause: Duration::from_secs(24 * 60 * 60),
        }
    }
}

/// What a user was mailed of rooms, the latest last.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MailedRow {
    rooms: Vec<MailedRoom>,
}
store::row!(MailedRow, schema = 1);

/// What a user was mailed of a room.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct MailedRoom {
    room: RoomSerial,
    /// The newest event that he was told of.
    event: EventSerial,
    /// When, in milliseconds.
    at: u64,
    /// How long the room gives no reason for another one, in milliseconds.
    pause: u64,
}

impl MailedRow {
    /// What still holds of a room: nothing once what was told is read.
    fn find(&self, room: RoomSerial, unread: &Unread) -> Option<&MailedRoom> {
        let known = self.rooms.iter().find(|known| known.room == room)?;
        unread.events(room).any(|event| event == known.event).then_some(known)
    }

    /// Notes that a room was told of.
    fn note(&mut self, item: &Item, pause: Duration, now: u64) {
        self.rooms.retain(|known| known.room != item.room);
        self.rooms.push(MailedRoom { room: item.room, event: item.event, at: now, pause: millis(pause) });
        if self.rooms.len() > MOST_WAITING {
            self.rooms.remove(0);
        }
    }
}

/// When a room is told of. `oldest` is since when something in it is unread that was not told.
fn due_at(since: u64, oldest: Option<u64>, told: Option<&MailedRoom>, pace: &MailPace, now: u64) -> u64 {
    let quiet = millis(pace.quiet);
    let quiet_at = since.min(now).saturating_add(quiet);
    let put_off = oldest.map(|oldest| oldest.saturating_add(quiet.saturating_mul(MOST_PUT_OFF)));
    // A calendar that was set back holds nothing up.
    let paused = told.map_or(0, |told| told.at.min(now).saturating_add(told.pause));
    quiet_at.min(put_off.unwrap_or(u64::MAX)).max(paused)
}

/// How long a room gives no reason for another mail.
fn next_pause(told: Option<&MailedRoom>, pace: &MailPace) -> Duration {
    let pause = told.map(|told| Duration::from_millis(told.pause).saturating_mul(GROWTH));
    pause.unwrap_or(pace.first_pause).min(pace.longest_pause)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
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
        let due = self.due(&unread, &mailed, now).await?;
        if due > now {
            return Ok(Outcome::Later(Duration::from_millis(due - now)));
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
        for item in &unread.waiting {
            let pause = next_pause(mailed.find(item.room, &unread), pace);
            mailed.note(item, pause, now);
        }
        batch.put(&MAILED, key, &mailed);
        let gone = [unread.gone, unread.waiting].concat();
        self.settle(key, &gone, true, batch).await?;
        self.delivery.count(LANE, "taken");
        Ok(Outcome::Done)
    }

    /// When the first of the rooms that wait is to be told of.
    async fn due(&self, unread: &Unread, mailed: &MailedRow, now: u64) -> Result<u64, Error> {
        // Since when each is unread, by the clocks of who said it: who sets his back has a mail sent a little sooner.
        let oldest: Vec<_> = unread
            .waiting
            .iter()
            .map(|item| {
                let told = mailed.find(item.room, unread).map(|told| told.event);
                let mut events = unread.events(item.room);
                let first = match told {
                    Some(told) => events.skip_while(|event| *event != told).nth(1),
                    None => events.next(),
                };
                (item.room, first.unwrap_or(item.event))
            })
            .collect();
        let events = self.delivery.0.push.rooms().find_events(&oldest, Keep::All).await?;
        let due = unread.waiting.iter().zip(events).map(|(item, event)| {
            let oldest = event.map(|event| u64::from(event.pdu().origin_server_ts().get()));
            due_at(item.since, oldest, mailed.find(item.room, unread), &self.delivery.0.mails.pace, now)
        });
        Ok(due.min().unwrap_or(now))
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
            let lines = events.iter().enumerate().map(|(place, event)| {
                let sender = text(place + 2, "displayname").unwrap_or_else(|| event.sender().to_string());
                Line::of(event, sender, event.state_key() == Some(user.as_str()))
            });
            let of_room = OfRoom {
                name: text(0, "name").or_else(|| text(1, "alias")),
                count: unread.events(room).count().max(1),
                link: face.web_client.as_deref().map(|web| mail_texts::link_to(web, last.room_id())),
                lines: lines.collect(),
            };
            of_rooms.push(of_room);
        }
        Ok(News { count: unread.count.max(1), rooms: of_rooms, more, web_client: face.web_client.clone() })
    }
}

#[cfg(test)]
mod tests {
    use store::Value as _;

    use super::*;

    const MINUTE: u64 = 60_000;

    fn told(at: u64, pause: u64) -> MailedRoom {
        MailedRoom { room: RoomSerial(1), event: EventSerial(300), at, pause }
    }

    #[test]
    fn a_mail_waits_for_quiet_but_not_for_ever_and_for_the_pause_of_the_room() {
        let (pace, now) = (MailPace::default(), 1_000 * MINUTE);
        let due = |since, oldest, told: Option<&MailedRoom>| due_at(since, oldest, told, &pace, now);
        assert_eq!(due(995 * MINUTE, Some(990 * MINUTE), None), 1_005 * MINUTE);
        assert_eq!(due(1_000 * MINUTE, Some(975 * MINUTE), None), 1_005 * MINUTE, "talk without an end");
        assert_eq!(due(995 * MINUTE, None, Some(&told(990 * MINUTE, 60 * MINUTE))), 1_050 * MINUTE);
        // The calendar was set back by years.
        let later = now * 9;
        assert_eq!(due(later, None, Some(&told(later, MINUTE))), 1_010 * MINUTE);
    }

    #[test]
    fn pauses_grow_to_a_day() {
        let pace = MailPace::default();
        let mut last = None;
        let mut pauses = Vec::new();
        for _ in 0..6 {
            let pause = next_pause(last.as_ref(), &pace);
            pauses.push(pause.as_secs() / 60);
            last = Some(told(0, millis(pause)));
        }
        assert_eq!(pauses, [10, 60, 360, 1_440, 1_440, 1_440]);
    }

    #[test]
    fn a_row_is_read_as_it_was_written() {
        let row = MailedRow { rooms: vec![told(1, 2)] };
        assert_eq!(&row.encode()[..], [1, 1, 1, 172, 2, 1, 2]);
        assert_eq!(MailedRow::decode(&row.encode()).ok(), Some(row));
    }
}
