//! The directory of an authority with the users whose accounts its people have.

use std::collections::{BTreeSet, HashMap};

use organisation::{BodyId, Directory, Listed, ListedPost, Seen, user_named};
use ruma::{OwnedUserId, ServerName, UserId};

/// A directory of those who have an account, and whose is whose.
pub(crate) struct Made {
    pub(crate) directory: Directory,
    /// The user of each of its people, in their order.
    users: Vec<OwnedUserId>,
    places: HashMap<OwnedUserId, usize>,
}

impl Made {
    pub(crate) fn of(mut directory: Directory, authority: &ServerName) -> Self {
        let (mut users, mut places) = (Vec::new(), HashMap::new());
        directory.retain(|listed| {
            let user = listed.account.as_deref().and_then(|account| user_named(account, authority));
            // An account has one owner; of two who spell it differently the first one has it.
            let Some(user) = user.filter(|user| !places.contains_key(user)) else { return false };
            places.insert(user.clone(), users.len());
            users.push(user);
            true
        });
        Self { directory, users, places }
    }

    /// The person whose account it is.
    pub(crate) fn person_of(&self, user: &UserId) -> Option<&Listed> {
        self.directory.person(*self.places.get(user)?)
    }

    /// The user whose account somebody has.
    pub(crate) fn user_at(&self, place: usize) -> Option<&OwnedUserId> {
        self.users.get(place)
    }

    /// Everybody.
    pub(crate) fn users(&self) -> impl Iterator<Item = (&OwnedUserId, &Listed)> {
        self.users.iter().zip(self.directory.people())
    }

    /// The post by which somebody is shown to who may see some bodies, or to all.
    pub(crate) fn main_post<'a>(
        &'a self,
        listed: &'a Listed,
        bodies: Option<&'a BTreeSet<BodyId>>,
    ) -> Option<ListedPost<'a>> {
        self.directory.posts(listed, bodies.map(Seen::Bodies)).next()
    }

    /// About how many bytes it takes.
    pub(crate) fn bytes(&self) -> usize {
        let users = self.users.iter().map(|user| 2 * user.as_str().len());
        // The table of places is half empty at worst.
        let rows = self.users.len() * (size_of::<OwnedUserId>() + 2 * size_of::<(OwnedUserId, usize)>());
        self.directory.bytes() + users.sum::<usize>() + rows
    }
}
