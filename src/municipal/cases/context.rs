//! Reading what it follows from who may decide: a few reads, however many cases are looked at.

use std::{collections::BTreeSet, sync::Arc};

use organisation::calendar::day_of;
use ruma::{OwnedUserId, ServerName, UserId};
use tokio::runtime::Handle;

use crate::{
    case::Case, cases::Cases, deciders::Context, error::Error, shelf::Known, tables::DEPUTIES, words::words,
};

/// Accounts that are asked for at a time.
const ASKED: usize = 1_000;

impl Cases {
    /// What it follows from who may decide these cases, and what these users may.
    pub(crate) async fn context(
        &self,
        authority: &ServerName,
        cases: &[&Case],
        users: &[&UserId],
    ) -> Result<Context, Error> {
        let inner = &self.inner;
        let known = self.known(authority).await?;
        let now = inner.clock.now();
        let none = || Error::Refused(words!("時計の日付を読めません。", "The clock shows no day."));
        let day = day_of(now).ok_or_else(none)?;
        let holders = inner.duties.holders(authority).await?.into_iter();
        // Who sees to a part of the organisation alone decides nothing.
        let holders = holders.filter(|(_, held)| !held.duties.is_empty());
        let holders = holders
            .filter_map(|(user, held)| Some((OwnedUserId::try_from(user).ok()?, held.duties)))
            .collect();
        let mut context = Context {
            authority: authority.to_owned(),
            known,
            day,
            now,
            holders,
            standing: Default::default(),
            deputies: Default::default(),
        };
        // The step that is waited for, and those that somebody has agreed to: whether that counts is asked again.
        let mut named = BTreeSet::new();
        for case in cases {
            let agreed = case.approvals.iter().map(|approval| usize::from(approval.step));
            let steps: BTreeSet<usize> = case.step().into_iter().chain(agreed).collect();
            for step in steps.iter().filter_map(|at| case.steps.get(*at)) {
                named.extend(context.named_by(step));
            }
        }
        self.read_deputies(&mut context, &named).await?;
        let mut all: BTreeSet<OwnedUserId> = users.iter().map(|user| (*user).to_owned()).collect();
        all.extend(context.holders.keys().cloned());
        all.extend(context.deputies.values().flatten().map(|deputy| deputy.user.clone()));
        all.extend(named);
        for case in cases {
            all.insert(case.asker.clone());
            all.extend(case.subjects.iter().cloned());
            all.extend(case.approvals.iter().map(|approval| approval.user.clone()));
        }
        let all: Vec<OwnedUserId> = all.into_iter().collect();
        for some in all.chunks(ASKED) {
            let users: Vec<&UserId> = some.iter().map(|user| &**user).collect();
            let standing = inner.people.standing(&users).await?;
            let both = some.iter().zip(standing);
            context.standing.extend(both.filter_map(|(user, standing)| Some((user.clone(), standing?))));
        }
        Ok(context)
    }

    async fn read_deputies(&self, context: &mut Context, of: &BTreeSet<OwnedUserId>) -> Result<(), Error> {
        let authority = context.authority.clone();
        let keys: Vec<(&str, &str)> = of.iter().map(|user| (authority.as_str(), user.as_str())).collect();
        let rows = self.inner.store.get_many(&DEPUTIES, &keys).await?;
        let both = of.iter().zip(rows);
        context.deputies = both.filter_map(|(user, row)| Some((user.clone(), row?.deputies))).collect();
        Ok(())
    }

    /// The organisation of an authority as it is now, read anew only where it has changed.
    pub(crate) async fn known(&self, authority: &ServerName) -> Result<Arc<Known>, Error> {
        let inner = &self.inner;
        let progress = inner.organisations.progress(authority).await?;
        if let Some(known) = inner.shelf.find(authority, progress) {
            return Ok(known);
        }
        // One at a time: whoever waits finds what the one before has read.
        let _turn = inner.reading.lock().await;
        let progress = inner.organisations.progress(authority).await?;
        if let Some(known) = inner.shelf.find(authority, progress) {
            return Ok(known);
        }
        let (organisations, name, runtime) =
            (inner.organisations.clone(), authority.to_owned(), Handle::current());
        let read = move || {
            let read = runtime.block_on(organisations.load(&name))?;
            Ok::<_, organisation::Error>(Known::of(&name, read.organisation))
        };
        let known = Arc::new(inner.tasks.spawn_blocking("organisation for cases", read).await??);
        // Where it has moved meanwhile this is of a later state, and is read anew by whoever asks next.
        inner.shelf.put(authority, progress, known.clone());
        Ok(known)
    }
}
