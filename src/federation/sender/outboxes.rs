//! Reading what waits for peers in their outboxes, and writing what they have of it.

use std::sync::Arc;

use ruma::{OwnedServerName, ServerName};
use store::{Batch, CommitError};
use to_device::ToDevice;
use tracing::{debug, warn};

use super::{Destination, Inner, outbox::Told, transaction::MOST_EDUS, worker::Outcome};

impl Inner {
    /// Something was put into the outbox for a peer.
    pub(super) fn put_in_outbox(self: &Arc<Self>, from: &ServerName, to: &ServerName) {
        if !self.client.authorities().is_ours(from) || !self.client.may_contact(to) {
            return;
        }
        self.push_to(to, |state| state.lanes.entry(from.to_owned()).or_default().outbox.put_in());
    }

    /// Reads what is to be sent next to a peer from its outboxes; false when that could not be read.
    pub(super) async fn read_outboxes(&self, destination: &Destination) -> bool {
        loop {
            let wanted = {
                let mut state = destination.state.lock();
                let mut lanes = state.lanes.iter_mut();
                lanes.find_map(|(from, lane)| {
                    let after = lane.outbox.wanted()?;
                    lane.outbox.begin();
                    Some((from.clone(), after))
                })
            };
            let Some((from, after)) = wanted else { return true };
            let read = self.to_device.units(&from, &destination.name, after, MOST_EDUS).await;
            let mut state = destination.state.lock();
            let lane = state.lanes.get_mut(&from);
            match read {
                Ok(units) => lane.into_iter().for_each(|lane| lane.outbox.take(after, units.clone())),
                Err(error) => {
                    lane.into_iter().for_each(|lane| lane.outbox.not_read());
                    drop(state);
                    warn!(destination = %destination.name, %error, "what waits for a peer could not be read");
                    self.note(destination, &Outcome::Failed { wait: None });
                    return false;
                }
            }
        }
    }

    /// Writes what peers have of their outboxes: all of it together, each by itself.
    pub(super) async fn settle_outboxes(self: &Arc<Self>) {
        let destinations: Vec<Arc<Destination>> = self.destinations.lock().values().cloned().collect();
        let mut submitted = Vec::new();
        for destination in destinations {
            let to_tell: Vec<(OwnedServerName, Told)> = {
                let mut state = destination.state.lock();
                let lanes = state.lanes.iter_mut();
                lanes.filter_map(|(from, lane)| Some((from.clone(), lane.outbox.take_untold()?))).collect()
            };
            for (from, told) in to_tell {
                let mut batch = Batch::new();
                match &told {
                    Told::Done(units) => {
                        self.to_device.put_delivered(&mut batch, &from, &destination.name, units);
                    }
                    Told::Forgotten => ToDevice::put_forgotten(&mut batch, &from, &destination.name),
                }
                submitted.push((destination.clone(), from, told, self.term.submit(self.term.fenced(batch))));
            }
        }
        for (destination, from, told, submitted) in submitted {
            let written = submitted.await;
            {
                let mut state = destination.state.lock();
                let Some(lane) = state.lanes.get_mut(&from) else { continue };
                match written {
                    // They are gone already: that was written when it was not known whether it was.
                    Ok(_) | Err(CommitError::Conflict { .. }) => {}
                    Err(error) => {
                        debug!(destination = %destination.name, %error, "what a peer has could not be noted");
                        lane.outbox.not_told(told);
                        continue;
                    }
                }
                if lane.outbox.wanted().is_none() {
                    continue;
                }
            }
            // It has waited for that.
            self.serve(&destination);
        }
    }
}
