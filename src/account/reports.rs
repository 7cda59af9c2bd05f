//! Reports: what users tell the administrators of their authority about events.
//!
//! A report is the authority's whose user made it, and stays when the room is purged, as the audit log does; it holds ids and
//! what its user wrote, and nothing of the event. There are so many of an authority: what is beyond takes the place of the
//! oldest one of whoever made most, so that nobody drives out what others told.

use std::collections::BTreeMap;

use audit::{Action, Actor, Deed};
use base::{Attempts, Timestamp};
use ruma::{EventId, OwnedEventId, OwnedRoomId, OwnedUserId, RoomId, ServerName, UserId};
use store::{Batch, CommitError, Order, Position, Range, Topic};

use crate::{
    Accounts, Error,
    tables::{self, ReportRow},
};

/// Reports of one authority.
const MOST_OF_AUTHORITY: usize = 10_000;

/// Longest reason that is kept, in bytes; what is longer is cut.
const LONGEST_REASON: usize = 2_000;

/// A report, as an administrator sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Its number.
    pub id: u64,
    /// Who made it.
    pub user_id: OwnedUserId,
    /// The room of the event.
    pub room_id: OwnedRoomId,
    /// The event.
    pub event_id: OwnedEventId,
    /// Who sent that.
    pub sender: OwnedUserId,
    /// Why, in the user's words.
    pub reason: Option<String>,
    /// When.
    pub at: Timestamp,
}

fn topic(authority: &ServerName) -> Topic {
    Topic::new(49, authority.as_str())
}

fn told(position: Position, row: ReportRow) -> Option<Report> {
    // Written by us from ids, so they read back as ids.
    Some(Report {
        id: position.0,
        user_id: row.user.try_into().ok()?,
        room_id: row.room.try_into().ok()?,
        event_id: row.event.try_into().ok()?,
        sender: row.sender.try_into().ok()?,
        reason: row.reason,
        at: Timestamp(row.at_ms),
    })
}

impl Accounts {
    /// Keeps what a user tells of an event, for the administrators of his authority.
    ///
    /// # Errors
    /// [`Error::Contended`], [`Error::Store`].
    pub async fn report_event(
        &self,
        user: &UserId,
        (room_id, event_id, sender): (&RoomId, &EventId, &UserId),
        reason: Option<&str>,
    ) -> Result<(), Error> {
        let authority = user.server_name();
        let reason = reason.filter(|reason| !reason.is_empty());
        let row = ReportRow {
            user: user.to_string(),
            room: room_id.to_string(),
            event: event_id.to_string(),
            sender: sender.to_string(),
            reason: reason.map(|reason| room::read::bounded::cut(reason, LONGEST_REASON).to_owned()),
            at_ms: self.now_ms(),
        };
        let mut batch = Batch::new();
        let kept = self.report_rows(authority).await?;
        if kept.len() >= MOST_OF_AUTHORITY {
            let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
            kept.iter().for_each(|(_, row)| *counts.entry(row.user.as_str()).or_default() += 1);
            let most = counts.into_iter().max_by_key(|(_, count)| *count).map(|(user, _)| user);
            let oldest = kept.iter().find(|(_, row)| Some(row.user.as_str()) == most);
            if let Some((position, _)) = oldest {
                batch.delete(&tables::REPORTS, &(authority.as_str(), *position));
            }
        }
        let slot = batch.mark([topic(authority)]);
        batch.append(&tables::REPORTS, authority.as_str(), slot, &row);
        self.commit(batch).await
    }

    /// Oldest first.
    async fn report_rows(&self, authority: &ServerName) -> Result<Vec<(Position, ReportRow)>, Error> {
        let range = Range::prefix(authority.as_str());
        // One more for each that came at the same moment.
        let rows =
            self.inner.store.scan(&tables::REPORTS, range, Order::Ascending, 2 * MOST_OF_AUTHORITY).await?;
        Ok(rows.into_iter().map(|((_, position), row)| (position, row)).collect())
    }

    /// What the users of an authority have reported, oldest first.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn reports(&self, authority: &ServerName) -> Result<Vec<Report>, Error> {
        let rows = self.report_rows(authority).await?;
        Ok(rows.into_iter().filter_map(|(position, row)| told(position, row)).collect())
    }

    /// One report of an authority.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Store`].
    pub async fn report(&self, authority: &ServerName, id: u64) -> Result<Report, Error> {
        let row = self.inner.store.get(&tables::REPORTS, &(authority.as_str(), Position(id))).await?;
        row.and_then(|row| told(Position(id), row)).ok_or(Error::NotFound("no such report"))
    }

    /// Removes a report: for administrators, as `by` is one.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Contended`], [`Error::Store`].
    pub async fn remove_report(&self, authority: &ServerName, id: u64, by: &Actor) -> Result<(), Error> {
        let key = (authority.as_str(), Position(id));
        let mut attempts = Attempts::default();
        loop {
            let row = self.inner.store.get(&tables::REPORTS, &key).await?;
            let row = row.ok_or(Error::NotFound("no such report"))?;
            let mut batch = Batch::new();
            batch.require(&tables::REPORTS, &key, Some(&row));
            batch.delete(&tables::REPORTS, &key);
            Deed::new(Action::RemoveReport, by, &row.event, self.inner.clock.now())
                .before("by", &row.user)
                .write(&mut batch, authority);
            match self.inner.store.commit(batch).await {
                Ok(_) => return Ok(()),
                Err(CommitError::Conflict { .. }) => self.again(&mut attempts).await?,
                Err(error) => return Err(error.into()),
            }
        }
    }
}
