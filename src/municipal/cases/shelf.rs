//! Organisations as cases look at them, kept while somebody asks: who an account belongs to, and who heads what.
//!
//! One of 12,000 people takes some megabytes and a tenth of a second to read. Whoever takes one says of which state of the
//! organisation it is to be, so one from before a change is never given.

use std::{collections::BTreeMap, sync::Arc};

use base::cache::{Held, Holder};
use organisation::{Organisation, PersonId, What};
use parking_lot::Mutex;
use ruma::{OwnedServerName, OwnedUserId, ServerName, UserId};

/// After so many looks without being asked for one goes: five minutes.
const RESTS: u8 = 20;

/// What a record of an organisation takes in memory, about.
const RECORD: u64 = 500;

/// An organisation with whose account is whose.
pub(crate) struct Known {
    pub(crate) organisation: Organisation,
    owners: BTreeMap<OwnedUserId, PersonId>,
}

impl Known {
    pub(crate) fn of(authority: &ServerName, organisation: Organisation) -> Self {
        let named = organisation.records().filter_map(|(_, said)| match &said.what {
            What::Person(person) => Some((account(person.account.as_deref()?, authority)?, person.person)),
            _ => None,
        });
        let owners = named.collect();
        Self { organisation, owners }
    }

    /// Whose an account is or was.
    pub(crate) fn owner(&self, user: &UserId) -> Option<PersonId> {
        self.owners.get(user).copied()
    }
}

/// The account that is named so: by its localpart, or its whole id, of this authority alone.
pub(crate) fn account(name: &str, authority: &ServerName) -> Option<OwnedUserId> {
    if name.starts_with('@') {
        return UserId::parse(name).ok().filter(|user| user.server_name() == authority);
    }
    UserId::parse_with_server_name(name.to_ascii_lowercase(), authority).ok()
}

struct Kept {
    progress: u64,
    known: Arc<Known>,
    rested: u8,
}

impl Kept {
    fn bytes(&self) -> u64 {
        u64::try_from(self.known.organisation.len()).unwrap_or(u64::MAX).saturating_mul(RECORD)
    }
}

/// Those of all authorities, one each at most.
#[derive(Default)]
pub(crate) struct Shelf(Mutex<BTreeMap<OwnedServerName, Kept>>);

impl Shelf {
    pub(crate) fn find(&self, authority: &ServerName, progress: u64) -> Option<Arc<Known>> {
        let mut all = self.0.lock();
        let kept = all.get_mut(authority).filter(|kept| kept.progress == progress)?;
        kept.rested = 0;
        Some(kept.known.clone())
    }

    pub(crate) fn put(&self, authority: &ServerName, progress: u64, known: Arc<Known>) {
        let old = self.0.lock().insert(authority.to_owned(), Kept { progress, known, rested: 0 });
        // Not under the lock: dropping thousands of people takes a while.
        drop(old);
    }
}

impl Holder for Shelf {
    fn held(&self) -> Held {
        let all = self.0.lock();
        let bytes = all.values().map(Kept::bytes).sum();
        Held { bytes, entries: u64::try_from(all.len()).unwrap_or(u64::MAX), most: bytes }
    }

    fn age(&self) -> u64 {
        let mut gone = Vec::new();
        self.0.lock().retain(|_, kept| {
            kept.rested += 1;
            if kept.rested >= RESTS {
                gone.push((kept.bytes(), kept.known.clone()));
            }
            kept.rested < RESTS
        });
        gone.iter().map(|(bytes, _)| bytes).sum()
    }
}
