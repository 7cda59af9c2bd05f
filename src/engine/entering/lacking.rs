//! A room that lacks members, as who writes it sees it.
//!
//! What is told of the state before our join is right in what it has. So the room goes on with it: the states before
//! and after events follow from each other as ever, and who needs a member who is not known is given him by the event
//! that stands on him ([`Stage::check_partly`]). Such a state can allow an event, but not refuse it: what it does not
//! allow waits until the members have come. Nor does the current state soft-fail anything until then.
//!
//! Each event with such a state before it says so, and has a row ([`UNSETTLED`]) until it is looked at again
//! ([`settle`](super::settle)).

use pdu::{AuthFailure, Pdu};
use room::{
    Error,
    ids::{EventSerial, Root},
    read::{
        event::StoredEvent,
        lacking::{
            Filling, LACKING, LackingRow, MOST_ASKED, MOST_TOLD, TOLD_SERVERS, UNSETTLED, lacking_moved,
        },
        room::RoomInfo,
    },
    snapshot::Change,
    tables::{Lacking, Members},
};
use ruma::{OwnedServerName, ServerName};
use store::{Batch, Position, Stamped};

use super::{SLICE, permit::Permit};
use crate::{
    Engine,
    inbound::receive::deciding_names,
    pipeline::{LoadedState, Stage, find_in},
};

impl Stage<'_> {
    /// The state that the stage stands on lacks members: that before a join, which is placed next.
    pub(crate) fn lack_members(&mut self, join: EventSerial) {
        self.head.members = Members::Lacking(Lacking { join, resolved: self.head.current });
    }

    /// Notes, in the batch of the join, that members are lacking and whom to ask for them.
    pub(crate) fn note_lacking(&mut self, join: &StoredEvent, via: Vec<OwnedServerName>) {
        let filling = Filling {
            join: join.serial(),
            via,
            without: join.meta().after,
            before: join.meta().before,
            is_made: false,
            slices: 0,
            tries: 0,
            held_until: 0,
        };
        self.batch.put(&LACKING, &self.room.serial, &stored(&filling));
        self.batch.touch([lacking_moved()]);
    }

    /// Whoever comes into the room begins anew: what was lacking before is not asked for any more.
    pub(crate) fn forget_lacking(&mut self) {
        if self.head.members.lacking().is_none() {
            return;
        }
        self.head.members = Members::Whole;
        self.batch.delete(&LACKING, &self.room.serial);
        self.batch.delete_prefix(&UNSETTLED, &self.room.serial);
        self.batch.touch([lacking_moved()]);
    }

    /// Whether the state before an event lacks members: that before the join by which we came in, and those that follow
    /// from it.
    pub(crate) async fn is_partial(&self, serial: Option<EventSerial>, pdu: &Pdu) -> Result<bool, Error> {
        let Some(lacking) = self.head.members.lacking() else { return Ok(false) };
        if serial == Some(lacking.join) {
            return Ok(true);
        }
        let previous = self.view().events_by_id(&pdu.prev_events().to_vec()).await?;
        Ok(previous.iter().flatten().any(|event| event.meta().is_placed() && event.meta().partial))
    }

    /// Whether a state that lacks members allows an event, with those who are lacking as the event's auth events have
    /// them.
    pub(crate) async fn check_partly(
        &mut self,
        pdu: &Pdu,
        root: Root,
        auth: &LoadedState,
    ) -> Result<Result<(), AuthFailure>, Error> {
        let names = match deciding_names(pdu) {
            Ok(names) => names,
            Err(failure) => return Ok(Err(failure)),
        };
        let events = self.state_by(root, &names).await?;
        let mut state: LoadedState = Vec::with_capacity(names.len());
        for (name, event) in names.into_iter().zip(events) {
            let known = event.map(|event| event.pdu().clone());
            let named = || auth.iter().find(|(named, _)| *named == name).map(|(_, pdu)| pdu.clone());
            let is_member = name.kind == "m.room.member";
            if let Some(pdu) = known.or_else(|| is_member.then(named).flatten()) {
                state.push((name, pdu));
            }
        }
        Ok(pdu::check_auth(pdu, &|kind, key| find_in(&state, kind, key)))
    }

    /// Goes on with the current state of a room that lacks members as what the extremities resolve to goes on.
    pub(crate) async fn go_on_with(&mut self, lacking: Lacking, resolved: Root) -> Result<(), Error> {
        let room = self.room.serial;
        let snapshots = self.engine.snapshots();
        let differences = snapshots.difference(room, lacking.resolved, resolved).await?;
        let changes: Vec<Change> = differences.iter().map(|it| (it.key, it.after)).collect();
        self.head.current = snapshots.apply(room, self.head.current, &changes, &mut self.batch).await?;
        self.head.members = Members::Lacking(Lacking { resolved, ..lacking });
        Ok(())
    }

    /// The state after all extremities, as events have it: without those members that have come already.
    pub(crate) fn resolved_state(&self) -> Root {
        self.head.members.lacking().map_or(self.head.current, |lacking| lacking.resolved)
    }
}

impl Engine {
    /// Stores which servers are in a room that is being entered, as the one says that lets us in. Answers whom to ask for
    /// the members: that one, and some others.
    pub(crate) async fn bring_told_servers(
        &self,
        room: &RoomInfo,
        permit: &mut Permit,
        server: &ServerName,
        mut told: Vec<OwnedServerName>,
    ) -> Result<Vec<OwnedServerName>, Error> {
        told.retain(|told| !self.is_ours(told) && told != server);
        told.truncate(MOST_TOLD - 1);
        told.insert(0, server.to_owned());
        for (number, part) in told.chunks(SLICE).enumerate() {
            let mut attempts = room::attempts::Attempts::default();
            loop {
                // Before the question: once somebody else has come in, what he was told stands, whoever tells us what.
                let known = self.store().get(&LACKING, &room.serial).await?;
                if self.rooms().is_resident(room).await? {
                    return Ok(most_asked(told));
                }
                let mut batch = Batch::new();
                permit.demand(&mut batch, room);
                batch.require(&LACKING, &room.serial, known.as_ref());
                if number == 0 {
                    // Of another time that we came in.
                    batch.delete_prefix(&TOLD_SERVERS, &room.serial);
                }
                for server in part {
                    batch.put(&TOLD_SERVERS, &(room.serial, server.as_str()), &());
                }
                if attempts.judge(self.rooms(), self.store().commit(batch).await).await?.is_some() {
                    break;
                }
                self.renew(room, permit).await?;
            }
        }
        Ok(most_asked(told))
    }
}

fn most_asked(mut told: Vec<OwnedServerName>) -> Vec<OwnedServerName> {
    told.truncate(MOST_ASKED);
    told
}

/// The row of a room whose members are on their way.
pub(super) fn stored(filling: &Filling) -> Stamped<LackingRow> {
    Stamped { position: Position::START, value: LackingRow { filling: Some(filling.clone()) } }
}
