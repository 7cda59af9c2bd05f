//! Profiles that the organisation decides: how people with a post are called, and what their profiles say of them.
//!
//! Whoever knows the organisation gives them ([`Accounts::give_profiles`]) and takes them back ([`Accounts::release_profiles`]).
//! A row says whose profile is given; while it is there neither the user nor an administrator nor an identity system gives
//! him another name, and he does not call himself otherwise in one room. The row is demanded by their batches, so that of two
//! who do it at once one is refused.
//!
//! Member events follow by a chore that is noted with the profile. Thousands change in one night, so these chores are not begun by
//! themselves: [`Accounts::spread_given_names`] does what is noted, at a pace that other servers bear, and goes on after a crash.

use std::{collections::HashMap, time::Duration};

use base::Attempts;
use bytes::Bytes;
use engine::ProfileChange;
use futures_util::{StreamExt, stream};
use parking_lot::Mutex;
use ruma::{OwnedRoomId, OwnedUserId, RoomId, ServerName, UserId};
use serde_json::{Map, Value, value::RawValue};
use store::{Batch, Order, Range, Topic};

use crate::{
    Accounts, Error,
    chores::Chore,
    log::{Change, log_change},
    profile::{DISPLAY_NAME, shown_as},
    provisioned::shortened,
    tables::{self, GivenRow, given_key as key},
};

/// What fields begin with that the server alone sets.
const OWN: &str = "jp.yakuba.";
/// The unit of the main post, with those above it.
const UNIT: &str = "jp.yakuba.unit";
/// Its title.
const POST: &str = "jp.yakuba.post";
/// How the name is read.
const READING: &str = "jp.yakuba.reading";
/// All fields of a profile that are given, in the order in which they are read.
pub const GIVEN_FIELDS: [&str; 4] = [DISPLAY_NAME, UNIT, POST, READING];

/// What somebody reads who would change what the organisation decides.
const DECIDED: &str = "表示名と所属・職名・読みは人事情報に従って表示されるため、ここでは変更できません。誤りがあるときは人事担当へお知らせください。 / \
    Your name, unit and post are shown as the organisation has them and are not changed here. If something is wrong, please tell your personnel office.";

/// What somebody reads who would set a field that is the server's.
const RESERVED: &str = "jp.yakuba. で始まる項目はサーバーが管理します。 / Fields that begin with jp.yakuba. are the server's own.";

/// Users whose member events follow at the same time.
const AT_ONCE: usize = 8;
/// How many notes are read at a time.
const NOTES: usize = 500;
/// So many users may fail before the rest waits for the next time.
const MOST_FAILURES: usize = 20;

/// What the organisation says of somebody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GivenProfile {
    /// The user.
    pub user: OwnedUserId,
    /// How he is called, without anything beside it: what stays as his name when the organisation decides it no more.
    pub called: String,
    /// The name to show.
    pub display_name: String,
    /// The unit of his main post, with those above it.
    pub unit: Option<String>,
    /// The title of that.
    pub post: Option<String>,
    /// How his name is read.
    pub reading: Option<String>,
}

impl Accounts {
    /// Lets profiles say what the organisation does, in one commit; how many were changed. What is so already is left alone, and so is
    /// who has no account, a closed one or one of the server's own. Member events follow with
    /// [`Accounts::spread_given_names`].
    ///
    /// Of users of one authority, at most some hundred at a time.
    ///
    /// # Errors
    /// [`Error::Contended`], [`Error::Store`].
    pub async fn give_profiles(&self, given: &[GivenProfile]) -> Result<usize, Error> {
        let wanted: Vec<Wanted> = given
            .iter()
            .map(|one| Wanted {
                user: one.user.clone(),
                texts: [
                    Some(shortened(&one.display_name)).filter(|name| !name.is_empty()),
                    one.unit.as_deref().map(shortened),
                    one.post.as_deref().map(shortened),
                    one.reading.as_deref().map(shortened),
                ]
                .map(|text| text.map(written)),
                row: Some(GivenRow { called: one.called.clone() }),
            })
            .collect();
        self.follow(&wanted).await
    }

    /// Lets profiles be their users' own again, in one commit; how many were. The name stays as the user is called, without
    /// what the organisation has put beside it, and the fields that it has set go.
    ///
    /// # Errors
    /// [`Error::Contended`], [`Error::Store`].
    pub async fn release_profiles(&self, users: &[OwnedUserId]) -> Result<usize, Error> {
        let keys: Vec<(&str, &str)> = users.iter().map(|user| key(user)).collect();
        let rows = self.inner.store.get_many(&tables::GIVEN, &keys).await?;
        let both = users.iter().zip(rows).filter_map(|(user, row)| Some((user, row?)));
        let wanted: Vec<Wanted> = both
            .map(|(user, row)| Wanted {
                user: user.clone(),
                texts: [Some(written(shortened(&row.called))), None, None, None],
                row: None,
            })
            .collect();
        self.follow(&wanted).await
    }

    /// Whose profiles are given, of an authority.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn given_users(&self, authority: &ServerName) -> Result<Vec<OwnedUserId>, Error> {
        let range = Range::prefix(authority.as_str());
        let rows = self.inner.store.scan(&tables::GIVEN, range, Order::Ascending, usize::MAX).await?;
        Ok(rows.into_iter().filter_map(|((_, user), _)| OwnedUserId::try_from(user).ok()).collect())
    }

    async fn follow(&self, wanted: &[Wanted]) -> Result<usize, Error> {
        let mut attempts = Attempts::default();
        loop {
            let (batch, changed) = self.following(wanted).await?;
            if changed == 0 {
                return Ok(0);
            }
            match self.commit(batch).await {
                Err(Error::Contended) => self.again(&mut attempts).await?,
                Err(error) => return Err(error),
                Ok(()) => return Ok(changed),
            }
        }
    }

    /// What is left to be done for users, and for how many.
    async fn following(&self, wanted: &[Wanted]) -> Result<(Batch, usize), Error> {
        let store = &self.inner.store;
        let users: Vec<&str> = wanted.iter().map(|one| one.user.as_str()).collect();
        let fields: Vec<(&str, &str)> =
            users.iter().flat_map(|user| GIVEN_FIELDS.map(|field| (*user, field))).collect();
        let given: Vec<(&str, &str)> = wanted.iter().map(|one| key(&one.user)).collect();
        let accounts = store.get_many(&tables::USERS, &users).await?;
        let rows = store.get_many(&tables::GIVEN, &given).await?;
        let stored = store.get_many(&tables::PROFILES, &fields).await?;
        let (stored, _) = stored.as_chunks::<{ GIVEN_FIELDS.len() }>();
        let (mut batch, mut changed) = (Batch::new(), 0);
        for (((one, account), row), was) in wanted.iter().zip(accounts).zip(rows).zip(stored) {
            let Some(account) = account.filter(|account| !account.deactivated) else { continue };
            // Such names are the server's and its services', and no person's.
            if one.user.localpart().starts_with('_') || (row == one.row && *was == one.texts) {
                continue;
            }
            let user = one.user.as_str();
            changed += 1;
            // An account that is closed meanwhile must not get a profile again.
            batch.require(&tables::USERS, user, Some(&account));
            batch.require(&tables::GIVEN, &key(&one.user), row.as_ref());
            match &one.row {
                Some(row) => batch.put(&tables::GIVEN, &key(&one.user), row),
                None => batch.delete(&tables::GIVEN, &key(&one.user)),
            }
            for ((field, was), is) in GIVEN_FIELDS.into_iter().zip(was).zip(&one.texts) {
                if was == is {
                    continue;
                }
                // What a profile may hold is not looked at: a user who has filled his own must not keep his name.
                match is {
                    Some(text) => batch.put(&tables::PROFILES, &(user, field), text),
                    None => batch.delete(&tables::PROFILES, &(user, field)),
                }
                if field == DISPLAY_NAME {
                    batch.require(&tables::PROFILES, &(user, field), was.as_ref());
                    let (was, is) = (shown_as(was.as_ref()), shown_as(is.as_ref()));
                    room::note_account(&mut batch, &one.user, Some(&was), Some(&is));
                    self.put_chore(&mut batch, &one.user, Chore::SpreadGivenName);
                }
                let change = Change::Profile { user_id: one.user.clone(), field: field.to_owned() };
                log_change(&mut batch, &change, [Topic::profile(user)]);
            }
        }
        Ok((batch, changed))
    }

    /// Refuses what a user may not change of his profile, or has a batch fail where it is given meanwhile.
    ///
    /// # Errors
    /// [`Error::Forbidden`], [`Error::Store`].
    pub(crate) async fn refuse_given(
        &self,
        batch: &mut Batch,
        user: &UserId,
        field: &str,
        is_set: bool,
    ) -> Result<(), Error> {
        let is_own = field.starts_with(OWN);
        if !is_own && field != DISPLAY_NAME {
            return Ok(());
        }
        if self.is_given(user).await? {
            return Err(Error::Forbidden(DECIDED));
        }
        if is_own && is_set {
            return Err(Error::Forbidden(RESERVED));
        }
        batch.require(&tables::GIVEN, &key(user), None);
        Ok(())
    }

    /// Whether the organisation decides how a user is called.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn is_given(&self, user: &UserId) -> Result<bool, Error> {
        Ok(self.inner.store.get(&tables::GIVEN, &key(user)).await?.is_some())
    }

    /// Refuses a member event of the user's own by which he would be called otherwise in one room than the organisation calls him, be
    /// it as he comes, knocks or goes. What is to be sent later may not name him at all: by then he may be called otherwise.
    ///
    /// # Errors
    /// [`Error::Forbidden`], [`Error::Store`].
    pub async fn refuse_other_name(
        &self,
        user: &UserId,
        content: &RawValue,
        later: bool,
    ) -> Result<(), Error> {
        if !self.is_given(user).await? {
            return Ok(());
        }
        // What is no object is refused where the event is built. Of a key that is there twice the last one counts, as it does there.
        let Ok(said) = serde_json::from_str::<Map<String, Value>>(content.get()) else { return Ok(()) };
        let named = said.get("displayname");
        let is_fine = match named.and_then(Value::as_str) {
            Some(name) => !later && self.member_profile(user).await?.displayname.as_deref() == Some(name),
            // Whoever is in a room is called something there.
            None => named.is_none() && said.get("membership").and_then(Value::as_str) != Some("join"),
        };
        if is_fine { Ok(()) } else { Err(Error::Forbidden(DECIDED)) }
    }

    /// Brings the member events of users of an authority up to date whose names were given, and says of how many. To rooms that
    /// other servers take part in go at most so many events a second.
    ///
    /// Whoever does it at once with another process does nothing twice: a member event that shows the name already is no event.
    ///
    /// # Errors
    /// [`Error::Store`] and others that pass: what is left is done the next time.
    pub async fn spread_given_names(&self, authority: &ServerName, a_second: u32) -> Result<usize, Error> {
        let (mut range, mut done, mut failed) = (Range::all(), 0, Vec::new());
        let shared = Mutex::new(HashMap::new());
        loop {
            let rows = self.inner.store.scan(&tables::CHORES, range, Order::Ascending, NOTES).await?;
            let last = rows.last().map(|(key, _)| key.clone()).filter(|_| rows.len() == NOTES);
            let noted = rows.into_iter().filter_map(|((user, number), note)| {
                let is_meant = Chore::from_number(number) == Some(Chore::SpreadGivenName);
                let user = OwnedUserId::try_from(user).ok().filter(|_| is_meant)?;
                (user.server_name() == authority).then_some((user, note))
            });
            let noted: Vec<_> = noted.collect();
            let shared = &shared;
            let mut work = stream::iter(noted)
                .map(
                    |(user, note)| async move { self.spread_given_name(&user, note, a_second, shared).await },
                )
                .buffer_unordered(AT_ONCE);
            while let Some(outcome) = work.next().await {
                match outcome {
                    Ok(()) => done += 1,
                    Err(error) => failed.push(error),
                }
                if failed.len() >= MOST_FAILURES {
                    break;
                }
            }
            drop(work);
            let is_over = failed.len() >= MOST_FAILURES;
            match last.filter(|_| !is_over) {
                Some(last) => range = Range::all().after(&last),
                None => break,
            }
        }
        match failed.pop() {
            Some(error) => Err(error),
            None => Ok(done),
        }
    }

    async fn spread_given_name(
        &self,
        user: &UserId,
        note: u64,
        a_second: u32,
        shared: &Mutex<HashMap<OwnedRoomId, bool>>,
    ) -> Result<(), Error> {
        let name = self.member_profile(user).await?.displayname;
        let mut outcome: Result<(), Error> = Ok(());
        for room in self.inner.rooms.joined_rooms(user).await? {
            let change = ProfileChange::DisplayName(name.clone());
            match self.inner.engine.update_profile(user, &room, &change).await {
                Ok(()) => {}
                Err(error) if error.is_passing() => outcome = Err(error.into()),
                Err(error) => {
                    tracing::info!(user_id = %user, room_id = %room, error = %error, "the room does not show the new name");
                }
            }
            if self.is_shared(&room, shared).await? {
                // Others send at the same time.
                let turn = Duration::from_secs(1) * u32::try_from(AT_ONCE).unwrap_or(1) / a_second.max(1);
                self.inner.clock.sleep(turn).await;
            }
        }
        outcome?;
        self.end_chore(user, Chore::SpreadGivenName, note).await
    }

    /// Whether other servers take part in a room, as it was when that was asked first.
    async fn is_shared(
        &self,
        room: &RoomId,
        known: &Mutex<HashMap<OwnedRoomId, bool>>,
    ) -> Result<bool, Error> {
        if let Some(known) = known.lock().get(room) {
            return Ok(*known);
        }
        let rooms = &self.inner.rooms;
        let is_shared = match rooms.room(room).await? {
            Some(info) => {
                let servers = rooms.servers_in_room(info.serial).await?;
                servers.iter().any(|server| !rooms.is_ours(server))
            }
            None => false,
        };
        known.lock().insert(room.to_owned(), is_shared);
        Ok(is_shared)
    }
}

/// What is to be so.
struct Wanted {
    user: OwnedUserId,
    texts: [Option<Bytes>; GIVEN_FIELDS.len()],
    row: Option<GivenRow>,
}

fn written(text: &str) -> Bytes {
    Bytes::from(Value::from(text).to_string())
}
