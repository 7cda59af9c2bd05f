//! Profiles follow: when a change set was applied or undone, each midnight in Japan, and when accounts have come.
//!
//! Nothing is kept of what is to be done. What the organisation says of its people is compared with what their profiles say, some
//! at a time, and what differs is changed in one commit; so what a crash cuts is looked at anew, and what was done is found done.
//! Several processes may do it at once.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use account::GivenProfile;
use organisation::Listed;
use ruma::{OwnedServerName, OwnedUserId, ServerName};
use tokio::sync::Notify;
use tracing::{info, warn};

use crate::{directory::Made, error::Error, name::Template, shelf::Looked, staff::Staff};

/// How often is looked whether the organisation or the day has moved.
const LOOK: Duration = Duration::from_secs(60);

/// After so long profiles are looked at though nothing of that has moved: people get accounts, or get them back.
const DRIFT: Duration = Duration::from_secs(600);

/// So many profiles are changed in one commit.
const SLICE: usize = 100;

/// So many member events a second go to rooms that other servers take part in, as with rooms by rule.
const MEMBERS_A_SECOND: u32 = 300;

/// What became of profiles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Followed {
    /// How many say now what the organisation does.
    pub given: usize,
    /// How many are their users' own again.
    pub released: usize,
    /// Of how many users the member events were brought up to date.
    pub spread: usize,
}

impl Staff {
    /// Has profiles follow, until the tasks are stopped. `applied` is told when an organisation has changed.
    pub fn start(&self, applied: Arc<Notify>) {
        let staff = self.clone();
        let stop = self.inner.tasks.shutdown_token();
        self.inner.tasks.spawn_restarting("staff", move || {
            let (staff, stop, applied) = (staff.clone(), stop.clone(), applied.clone());
            async move {
                // The loop never ends by itself.
                stop.run_until_cancelled(staff.keep_looking(&applied)).await;
            }
        });
    }

    async fn keep_looking(&self, applied: &Notify) {
        // Those of which something may be left of member events: at the beginning all, as what was begun may have met a crash.
        let mut left: BTreeSet<OwnedServerName> = self.inner.authorities.keys().cloned().collect();
        loop {
            for authority in self.inner.authorities.keys() {
                match self.follow_if_moved(authority).await {
                    Ok(true) => drop(left.insert(authority.clone())),
                    Ok(false) | Err(Error::Stopping) => {}
                    Err(error) => {
                        warn!(%authority, %error, "profiles do not follow the organisation yet, it is tried again later")
                    }
                }
            }
            // Only now: the rooms of a large authority take minutes, and others' profiles do not wait for them.
            for authority in std::mem::take(&mut left) {
                match self.spread(&authority).await {
                    Ok(0) => {}
                    Ok(count) => info!(%authority, count, "rooms show the names that the organisation gives"),
                    Err(error) => {
                        warn!(%authority, %error, "some rooms do not show new names yet, it is tried again later");
                        left.insert(authority);
                    }
                }
            }
            // Who changes something meanwhile is not missed: what he tells is kept until it is heard.
            tokio::select! {
                () = applied.notified() => {}
                () = self.inner.clock.sleep(LOOK) => {}
            }
        }
    }

    /// Whether something had moved since profiles followed last, and they have followed.
    async fn follow_if_moved(&self, authority: &ServerName) -> Result<bool, Error> {
        let names = self.inner.authorities.get(authority).is_some_and(|known| known.template.is_some());
        let print = if names { Some(self.print(authority).await?) } else { None };
        let known = self.inner.looked.lock().await.get(authority).copied();
        let is_fresh = |looked: Looked| {
            looked.print == print && (!names || self.inner.clock.instant().since(looked.at) < DRIFT)
        };
        if known.is_some_and(is_fresh) {
            return Ok(false);
        }
        let Followed { given, released, .. } = self.give(authority).await?;
        if given + released > 0 {
            info!(%authority, given, released, "profiles follow the organisation");
        }
        Ok(true)
    }

    /// Has the profiles of an authority's people say what the organisation does today, and those that it decides no more be their
    /// users' own; then rooms show the names. Where it names nobody all are their users' own.
    ///
    /// # Errors
    /// [`Error`]; what is left is done the next time.
    pub async fn follow(&self, authority: &ServerName) -> Result<Followed, Error> {
        let followed = self.give(authority).await?;
        Ok(Followed { spread: self.spread(authority).await?, ..followed })
    }

    async fn give(&self, authority: &ServerName) -> Result<Followed, Error> {
        let (staff, authority) = (self.clone(), authority.to_owned());
        self.aside(async move { staff.give_here(&authority).await }).await
    }

    async fn spread(&self, authority: &ServerName) -> Result<usize, Error> {
        Ok(self.inner.accounts.spread_given_names(authority, MEMBERS_A_SECOND).await?)
    }

    async fn give_here(&self, authority: &ServerName) -> Result<Followed, Error> {
        let mut looked = self.inner.looked.lock().await;
        let template = self.inner.authorities.get(authority).and_then(|known| known.template.as_ref());
        let at = self.inner.clock.instant();
        // Before anything is read: what moves meanwhile is looked at again.
        let print = if template.is_some() { Some(self.print(authority).await?) } else { None };
        let made = if template.is_some() { self.directory(authority).await? } else { None };
        let accounts = &self.inner.accounts;
        let mut followed = Followed::default();
        let mut named = BTreeSet::new();
        if let (Some(template), Some(made)) = (template, &made) {
            let people: Vec<(&OwnedUserId, &Listed)> = made.users().collect();
            for some in people.chunks(SLICE) {
                let given: Vec<GivenProfile> =
                    some.iter().map(|(user, listed)| profile(made, user, listed, template)).collect();
                followed.given += accounts.give_profiles(&given).await?;
            }
            named = people.into_iter().map(|(user, _)| user).collect();
        }
        let gone = accounts.given_users(authority).await?;
        let gone: Vec<OwnedUserId> = gone.into_iter().filter(|user| !named.contains(user)).collect();
        for some in gone.chunks(SLICE) {
            followed.released += accounts.release_profiles(some).await?;
        }
        looked.insert(authority.to_owned(), Looked { print, at });
        Ok(followed)
    }
}

/// What the organisation says of somebody: by his main post, in whatever body that is.
fn profile(made: &Made, user: &OwnedUserId, listed: &Listed, template: &Template) -> GivenProfile {
    let post = made.main_post(listed, None);
    GivenProfile {
        user: user.clone(),
        called: listed.called.clone(),
        display_name: template.name(&listed.called, post.as_ref()),
        unit: post.as_ref().map(|post| post.path.join(" ")),
        post: post.as_ref().map(|post| post.title.to_owned()).filter(|title| !title.is_empty()),
        reading: listed.reading.clone(),
    }
}
