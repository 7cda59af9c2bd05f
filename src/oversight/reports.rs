//! Events that users have reported, with what the authority may see of them.

use account::Report;
use audit::Actor;
use room::{RoomSerial, read::view::Look, tables::Summary};
use ruma::{ServerName, UserId};

use crate::{Error, Oversight};

/// A report with what it is about.
#[derive(Clone, Debug)]
pub struct Reported {
    /// The report.
    pub report: Report,
    /// What its room says of itself, while the authority has members in it.
    pub called: Option<Summary>,
    /// The event, while the authority has members in its room and may see it.
    pub event: Option<Look>,
}

impl Oversight {
    /// What the rooms of reports say of themselves, in their order, as far as the authority has members in them.
    ///
    /// # Errors
    /// [`Error::Room`].
    pub async fn called(
        &self,
        authority: &ServerName,
        reports: &[Report],
    ) -> Result<Vec<Option<Summary>>, Error> {
        let rooms = &self.0.rooms;
        let mut serials: Vec<Option<RoomSerial>> = Vec::with_capacity(reports.len());
        for report in reports {
            let room = rooms.members_of_authority(authority, &report.room_id).await?;
            serials.push(room.map(|(room, _)| room.serial));
        }
        let known: Vec<RoomSerial> = serials.iter().flatten().copied().collect();
        let mut summaries = rooms.summaries(&known).await?.into_iter();
        Ok(serials.into_iter().map(|serial| serial.and_then(|_| summaries.next())).collect())
    }

    /// One report of the reader's authority, with the event. That is read as what was said is: whoever is not in the room
    /// leaves a row before he is shown it.
    ///
    /// # Errors
    /// [`Error::Account`] where there is no such report; [`Error::Room`], [`Error::Commit`].
    pub async fn reported(&self, reader: &UserId, id: u64, by: &Actor) -> Result<Reported, Error> {
        let authority = reader.server_name();
        let report = self.0.accounts.report(authority, id).await?;
        let called = self.called(authority, std::slice::from_ref(&report)).await?.pop().flatten();
        let Some((room, _)) = self.0.rooms.members_of_authority(authority, &report.room_id).await? else {
            return Ok(Reported { report, called, event: None });
        };
        self.note_reading(reader, &room, by).await?;
        let event = match self.0.rooms.overseen_context(reader, &room, &report.event_id, 0).await {
            Ok(context) => Some(context.event),
            Err(room::Error::NoEvent(_)) => None,
            Err(error) => return Err(error.into()),
        };
        Ok(Reported { report, called, event })
    }
}
