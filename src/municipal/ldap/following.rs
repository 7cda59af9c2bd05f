//! An account follows what a directory says of its user: one batch, with the row and the audit log in it.

use account::{Following, NewProvisioned, PutProvisioned, user_of_localpart};
use audit::Action;
use base::Attempts;
use ruma::{OwnedUserId, UserId};
use store::Batch;

use crate::{
    compare::{Differs, Step},
    error::Error,
    ldap::{Ldap, Source},
    person::Person,
    report::{Counts, Note},
    standing::Why,
    tables::{ACCOUNTS, AccountRow, Held, PEOPLE, PersonRow},
    words::{Words, words},
};

/// What became of a step.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    pub(crate) counts: Counts,
    pub(crate) note: Option<Note>,
}

impl Taken {
    fn noted(who: &str, what: Words) -> Self {
        Self { note: Some(Note { who: who.to_owned(), what }), ..Self::default() }
    }
}

/// The account that somebody who is new is to have.
#[derive(Debug)]
pub(crate) enum Entitled {
    /// It is to be made.
    New(OwnedUserId),
    /// It is there.
    Known(OwnedUserId),
}

impl Ldap {
    /// Takes a step. One that another process has taken meanwhile is none.
    ///
    /// # Errors
    /// [`Error::Account`], [`Error::Store`], [`Error::Commit`].
    pub(crate) async fn take(&self, source: &Source, step: &Step) -> Result<Taken, Error> {
        let mut attempts = Attempts::default();
        loop {
            let taken = match step {
                Step::Make(person) => self.make(source, person).await,
                Step::Follow { id, before, after } => self.follow(source, id, before, after).await,
            };
            match taken {
                Err(error) if error.is_contended() && attempts.again(&self.inner.random).await => {}
                done => return done,
            }
        }
    }

    async fn make(&self, source: &Source, person: &Person) -> Result<Taken, Error> {
        let (scope, id) = (source.scope.as_str(), person.id.as_str());
        if self.inner.store.get(&PEOPLE, &(scope, id)).await?.is_some() {
            return Ok(Taken::default());
        }
        let entitled = match self.entitled(source, person).await? {
            Ok(entitled) => entitled,
            Err(why) => return Ok(Taken::noted(&person.dn, why)),
        };
        let (Entitled::New(user) | Entitled::Known(user)) = &entitled;
        let row = PersonRow {
            account: user.to_string(),
            dn: person.dn.clone(),
            name: person.name.clone(),
            mail: person.mail.clone(),
            subject: person.subject.clone(),
            ended: None,
            ended_at: None,
            held: Held::Open,
            changed: self.inner.clock.now(),
        };
        let mut batch = Batch::new();
        batch.insert(&PEOPLE, &(scope, id), &row);
        let account = AccountRow { scope: scope.to_owned(), id: id.to_owned() };
        batch.insert(&ACCOUNTS, user.as_str(), &account);
        let by = source.actor();
        self.deed(Action::FollowSource, &by, user.as_str())
            .after("resource", id)
            .after("active", "yes")
            .after("dn", &person.dn)
            .write(&mut batch, &source.authority);
        let (email, identity) = (person.mail.as_deref(), identity(source, person.subject.as_ref()));
        let put = match &entitled {
            Entitled::New(user) => {
                let new = NewProvisioned {
                    localpart: user.localpart(),
                    display_name: &person.name,
                    email,
                    identity,
                    locked: false,
                };
                self.inner.accounts.put_provisioned(&mut batch, &source.authority, &new, &by).await
            }
            Entitled::Known(user) => {
                let follows =
                    Following { display_name: Some(&person.name), email, identity, ..Following::default() };
                self.inner.accounts.put_following(&mut batch, user, &follows, &by).await
            }
        };
        let put = match put {
            Ok(put) => put,
            Err(error) => return refused(error, &person.dn, user),
        };
        self.commit(batch, Some(put)).await?;
        Ok(Taken { counts: Counts { made: 1, ..Counts::default() }, note: None })
    }

    /// Which account somebody who is new is to have, or why he gets none.
    pub(crate) async fn entitled(
        &self,
        source: &Source,
        person: &Person,
    ) -> Result<Result<Entitled, Words>, Error> {
        let accounts = &self.inner.accounts;
        let owner = match identity(source, person.subject.as_ref()) {
            Some((issuer, subject)) => accounts.find_identity(&source.authority, issuer, subject).await?,
            None => None,
        };
        let is_proved = owner.is_some();
        let user = match (owner, &person.localpart) {
            (Some(owner), _) => owner,
            (None, Err(why)) => return Ok(Err(why.clone())),
            (None, Ok(localpart)) => match user_of_localpart(localpart, &source.authority) {
                Some(user) => user,
                None => return Ok(Err(bad_name(localpart, "it is no localpart"))),
            },
        };
        let former = self.inner.store.get(&ACCOUNTS, user.as_str()).await?;
        let known = accounts.find_user(&user).await?;
        let is_ours = accounts.is_own(&user).await? || accounts.is_exclusive(&user);
        Ok(match known {
            // Names are given again, to others.
            _ if former.is_some() => Err(words!(
                "{user} は、ディレクトリの別の人のアカウントです(同じ名前の以前の人など)。",
                "{user} is the account of somebody else of a directory, such as one who had the name before"
            )),
            _ if is_ours => Err(words!(
                "{user} は、サーバーまたはサービスが専用に使うアカウントです。",
                "{user} is the server's own account, or a service's"
            )),
            None => Ok(Entitled::New(user)),
            Some(known) if known.deactivated => Err(closed(&user)),
            Some(known) if known.admin => Err(words!(
                "{user}: 管理者のアカウントは連携元に引き継げません。",
                "{user}: an administrator's account is not taken over by a source"
            )),
            Some(_) if source.settings.adopts_accounts || is_proved => Ok(Entitled::Known(user)),
            Some(_) => Err(words!(
                "{user} というアカウントが既にあります。引き継ぐ場合は、設定の adopts_accounts を true にしてください。",
                "there is an account {user} already; adopts_accounts in the configuration would have the source take it over"
            )),
        })
    }

    async fn follow(
        &self,
        source: &Source,
        id: &str,
        before: &PersonRow,
        after: &PersonRow,
    ) -> Result<Taken, Error> {
        let scope = source.scope.as_str();
        let user: OwnedUserId = before.account.as_str().try_into().map_err(|_| Error::Damaged)?;
        if self.inner.store.get(&PEOPLE, &(scope, id)).await?.as_ref() != Some(before) {
            return Ok(Taken::default());
        }
        let known = self.inner.accounts.find_user(&user).await?;
        let is_open = known.as_ref().is_some_and(|known| !known.deactivated);
        let is_protected = known.is_some_and(|known| known.admin) || source.settings.excepts(user.as_str());
        let differs = Differs::between(before, after);
        let lock = match (differs.ends, differs.is_restored, before.held) {
            (true, ..) => Some(true),
            (_, true, Held::Locked) => Some(false),
            // Whoever was protected may not be so any more.
            (_, false, Held::Protected) if after.ended.is_some() => Some(true),
            _ => None,
        };
        let held = match lock {
            _ if !is_open => Held::Closed,
            Some(true) if is_protected => Held::Protected,
            Some(true) => Held::Locked,
            Some(false) => Held::Open,
            None if differs.is_restored => Held::Open,
            None => before.held,
        };
        let note = match held {
            Held::Protected => Some(protected()),
            Held::Closed if after.ended.is_none() => Some(closed(&user)),
            _ => None,
        };
        let note = note.map(|what| Note { who: user.to_string(), what });
        let ended_at = match (held, lock) {
            // Nobody has ended, so nobody is counted.
            (Held::Protected, _) => before.ended_at,
            (Held::Locked, Some(true)) => Some(after.changed),
            _ => after.ended_at,
        };
        let after = PersonRow { held, ended_at, ..after.clone() };
        if *before == after {
            return Ok(Taken { note, ..Taken::default() });
        }

        let mut batch = Batch::new();
        batch.replace(&PEOPLE, &(scope, id), before, &after);
        let by = source.actor();
        let what = match after.ended {
            Some(Why::Absent) if before.ended != after.ended => Action::LeaveSource,
            _ => Action::FollowSource,
        };
        let mut deed = self
            .deed(what, &by, user.as_str())
            .after("resource", id)
            .after("changed", changed(before, &after));
        if before.ended != after.ended {
            deed = deed.after("active", after.ended.map_or("yes", Why::word));
        }
        if before.dn != after.dn {
            deed = deed.before("dn", &before.dn).after("dn", &after.dn);
        }
        deed.write(&mut batch, &source.authority);
        let put = match is_open {
            true => {
                let has_another_mail = before.mail != after.mail;
                let is_another_subject = before.subject != after.subject;
                let follows = Following {
                    display_name: (before.name != after.name).then_some(after.name.as_str()),
                    lost_email: before.mail.as_deref().filter(|_| has_another_mail),
                    email: after.mail.as_deref().filter(|_| has_another_mail),
                    lost_identity: identity(source, before.subject.as_ref()).filter(|_| is_another_subject),
                    identity: identity(source, after.subject.as_ref()).filter(|_| is_another_subject),
                    lock: lock.filter(|_| held != Held::Protected),
                    administers: None,
                };
                match self.inner.accounts.put_following(&mut batch, &user, &follows, &by).await {
                    Ok(put) => Some(put),
                    Err(error) => return refused(error, user.as_str(), &user),
                }
            }
            // Of an account that was closed for good nothing is left to follow.
            false => None,
        };
        self.commit(batch, put).await?;
        let counts = Counts {
            made: 0,
            renamed: usize::from(differs.is_renamed),
            moved: usize::from(differs.has_moved),
            ended: usize::from(lock == Some(true) && held == Held::Locked),
            restored: usize::from(lock == Some(false)),
            ..Counts::default()
        };
        Ok(Taken { counts, note })
    }

    async fn commit(&self, batch: Batch, put: Option<PutProvisioned>) -> Result<(), Error> {
        let committed = match put {
            Some(put) => self.inner.accounts.commit_provisioned(batch, put).await,
            None => self.inner.store.commit(batch).await.map(drop).map_err(account::Error::from),
        };
        committed.map_err(|error| match error {
            // Somebody was faster: the next look says whose it is.
            account::Error::UserInUse => account::Error::Contended.into(),
            other => other.into(),
        })
    }
}

/// What the accounts do not do, where somebody should hear of it.
fn refused(error: account::Error, who: &str, user: &UserId) -> Result<Taken, Error> {
    let what = match error {
        // Whoever became an administrator, or took the name, since it was looked: the next look sees it.
        account::Error::Forbidden(_) | account::Error::UserInUse => {
            return Err(account::Error::Contended.into());
        }
        account::Error::InvalidUsername(why) => bad_name(user.localpart(), why),
        account::Error::Exclusive => words!(
            "{user}: アプリケーションサービス用の名前です。",
            "{user}: an application service keeps this name for itself"
        ),
        account::Error::Deactivated(_) | account::Error::NotFound(_) => closed(user),
        other => return Err(other.into()),
    };
    Ok(Taken::noted(who, what))
}

/// What the identity provider calls somebody, where that is told.
fn identity<'a>(source: &'a Source, subject: Option<&'a String>) -> Option<(&'a str, &'a str)> {
    let (issuer, _) = source.settings.identity.as_ref()?;
    Some((issuer.as_str(), subject?.as_str()))
}

fn bad_name(localpart: &str, why: &str) -> Words {
    words!("アカウント名 {localpart} は使えません。", "the account cannot be called {localpart}: {why}")
}

fn closed(user: &UserId) -> Words {
    words!("{user}: このアカウントは閉鎖されています。", "{user}: the account is closed for good")
}

fn protected() -> Words {
    words!(
        "ディレクトリでは在籍していませんが、管理者のアカウント、または設定で除外されたアカウントのため、停止していません。管理者の役割を外すと、次の読み取りで停止します。",
        "is not in by the directory, and not ended: it is an administrator's account, or one that the configuration excepts; once it administers no more, the next reading ends it"
    )
}

/// The names of what is different, for the audit log.
fn changed(before: &PersonRow, after: &PersonRow) -> String {
    let differs = [
        ("name", before.name != after.name),
        ("mail", before.mail != after.mail),
        ("subject", before.subject != after.subject),
        ("dn", before.dn != after.dn),
        ("active", before.ended != after.ended),
        ("held", before.held != after.held),
    ];
    differs.iter().filter(|(_, differs)| *differs).map(|(name, _)| *name).collect::<Vec<_>>().join(" ")
}
