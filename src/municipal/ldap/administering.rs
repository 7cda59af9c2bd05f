//! Who administers an authority by the word of a source: the members of its group of administrators.
//!
//! A source takes away what it has given, and nothing else. Whom somebody had administer by hand goes on when he is in no group,
//! and from whom somebody took it by hand has it no more though he is in it. The last one who can sign in keeps it.
//!
//! Reading order: [`Ldap::withdraw_all`], [`Ldap::appoint_all`].

use std::collections::BTreeMap;

use account::Following;
use base::Attempts;
use ruma::{OwnedUserId, UserId};
use store::{Batch, Order as Direction, Range};

use crate::{
    compare::{Known, Plan},
    error::Error,
    ldap::{Ldap, Source},
    report::{Note, Report},
    tables::{ADMINISTRATORS, AdministratorRow, PEOPLE},
    words::{Words, words},
};

/// What became of somebody.
#[derive(Debug)]
enum Became {
    /// What he is to be.
    Done,
    /// What he was, and nobody need hear of it.
    Nothing,
    /// What he was, and somebody should hear why.
    Noted(Words),
}

/// What is to be done about somebody.
#[derive(Debug)]
enum Duty {
    /// It is taken from him, to whom it was given so.
    Withdraw(AdministratorRow),
    /// It is given to him, whose account is this one, and of whom this was kept before the directory was read.
    Appoint(String, Option<AdministratorRow>),
}

impl Ldap {
    /// Those who administer since a source said so, by id.
    pub(crate) async fn administrators(
        &self,
        source: &Source,
    ) -> Result<BTreeMap<String, AdministratorRow>, Error> {
        let range = Range::prefix(source.scope.as_str());
        let rows = self.inner.store.scan(&ADMINISTRATORS, range, Direction::Ascending, usize::MAX).await?;
        Ok(rows.into_iter().map(|((_, id), row)| (id, row)).collect())
    }

    /// Takes it from those who are in the group no more, one after another.
    ///
    /// # Errors
    /// [`Error::Store`]; what fails of one alone is noted, and tried again with the next reading.
    pub(crate) async fn withdraw_all(
        &self,
        source: &Source,
        plan: &Plan,
        report: &mut Report,
    ) -> Result<(), Error> {
        for (id, row) in leaving(source, plan) {
            let account = row.account.clone();
            let became = self.settle(source, &id, &Duty::Withdraw(row)).await;
            report.counts.demoted += count(&account, became, report);
        }
        Ok(())
    }

    /// Has those administer who are in the group.
    ///
    /// # Errors
    /// [`Error::Store`]; what fails of one alone is noted, and tried again with the next reading.
    pub(crate) async fn appoint_all(
        &self,
        source: &Source,
        plan: &Plan,
        report: &mut Report,
    ) -> Result<(), Error> {
        for id in &plan.administrators {
            // Whoever has no account was told of when none was made.
            let key = (source.scope.as_str(), id.as_str());
            let Some(person) = self.inner.store.get(&PEOPLE, &key).await? else { continue };
            let duty = Duty::Appoint(person.account.clone(), plan.appointed.get(id).cloned());
            let became = self.settle(source, id, &duty).await;
            report.counts.promoted += count(&person.account, became, report);
        }
        Ok(())
    }

    /// Does what is to be done about somebody, once more where somebody else changed the same.
    async fn settle(&self, source: &Source, id: &str, duty: &Duty) -> Result<Became, Error> {
        let mut attempts = Attempts::default();
        loop {
            let became = match duty {
                Duty::Withdraw(row) => self.withdraw(source, id, row).await,
                Duty::Appoint(account, before) => self.appoint(source, id, account, before.as_ref()).await,
            };
            match became {
                Err(error) if error.is_contended() && attempts.again(&self.inner.random).await => {}
                done => return done,
            }
        }
    }

    async fn withdraw(&self, source: &Source, id: &str, row: &AdministratorRow) -> Result<Became, Error> {
        let user: OwnedUserId = row.account.as_str().try_into().map_err(|_| Error::Damaged)?;
        let key = (source.scope.as_str(), id);
        if self.inner.store.get(&ADMINISTRATORS, &key).await?.as_ref() != Some(row) {
            // Another process was faster.
            return Ok(Became::Nothing);
        }
        let mut batch = Batch::new();
        batch.require(&ADMINISTRATORS, &key, Some(row));
        batch.delete(&ADMINISTRATORS, &key);
        let known = self.inner.accounts.find_user(&user).await?;
        let is_ours = known.is_some_and(|known| known.admin && !known.deactivated) && !row.is_withdrawn;
        if !is_ours {
            self.inner.store.commit(batch).await.map_err(account::Error::from)?;
            return Ok(Became::Nothing);
        }
        if !self.inner.accounts.put_another_administrator(&mut batch, &user).await? {
            return Ok(Became::Noted(last_one()));
        }
        self.put(source, batch, &user, false).await
    }

    async fn appoint(
        &self,
        source: &Source,
        id: &str,
        account: &str,
        before: Option<&AdministratorRow>,
    ) -> Result<Became, Error> {
        let user: OwnedUserId = account.try_into().map_err(|_| Error::Damaged)?;
        let key = (source.scope.as_str(), id);
        if self.inner.store.get(&ADMINISTRATORS, &key).await?.as_ref() != before {
            // Another process has read later.
            return Ok(Became::Nothing);
        }
        let Some(known) = self.inner.accounts.find_user(&user).await?.filter(|known| !known.deactivated)
        else {
            return Ok(Became::Nothing);
        };
        match before {
            // By the source; or by hand, and then it is not the source's to take away.
            _ if known.admin => return Ok(Became::Nothing),
            Some(row) if row.is_withdrawn => return Ok(Became::Noted(withdrawn())),
            Some(row) => {
                let mut batch = Batch::new();
                let after = AdministratorRow { is_withdrawn: true, ..row.clone() };
                batch.replace(&ADMINISTRATORS, &key, row, &after);
                self.inner.store.commit(batch).await.map_err(account::Error::from)?;
                return Ok(Became::Noted(withdrawn()));
            }
            None => {}
        }
        let kept_from = self.inner.accounts.moderation(&user).await?;
        if kept_from.locked || kept_from.suspended {
            return Ok(Became::Noted(words!(
                "ロックまたは一時停止されているため、管理者にしません。",
                "is locked or suspended, and does not administer"
            )));
        }
        let mut batch = Batch::new();
        let row = AdministratorRow {
            account: account.to_owned(),
            since: self.inner.clock.now(),
            is_withdrawn: false,
        };
        batch.insert(&ADMINISTRATORS, &key, &row);
        self.put(source, batch, &user, true).await
    }

    /// Commits a batch with what follows for the account, and its row in the audit log.
    async fn put(
        &self,
        source: &Source,
        mut batch: Batch,
        user: &UserId,
        administers: bool,
    ) -> Result<Became, Error> {
        let follows = Following { administers: Some(administers), ..Following::default() };
        let accounts = &self.inner.accounts;
        let put = accounts.put_following(&mut batch, user, &follows, &source.actor()).await?;
        accounts.commit_provisioned(batch, put).await?;
        Ok(Became::Done)
    }

    /// Tells what would be done.
    pub(crate) async fn foretell_administrators(
        &self,
        source: &Source,
        known: &Known,
        plan: &Plan,
        report: &mut Report,
    ) -> Result<(), Error> {
        for (_, row) in leaving(source, plan) {
            let user: OwnedUserId = row.account.as_str().try_into().map_err(|_| Error::Damaged)?;
            let is_admin = self.inner.accounts.find_user(&user).await?.is_some_and(|known| known.admin);
            if row.is_withdrawn || !is_admin {
                continue;
            }
            let what = match self.inner.accounts.put_another_administrator(&mut Batch::new(), &user).await? {
                true => words!("管理者から外れます", "administers no more"),
                false => last_one(),
            };
            report.counts.demoted += usize::from(what != last_one());
            report.note(Note { who: row.account, what });
        }
        for id in plan.administrators.iter().filter(|id| !plan.appointed.contains_key(*id)) {
            let Some(person) = known.get(id) else { continue };
            let user: OwnedUserId = person.account.as_str().try_into().map_err(|_| Error::Damaged)?;
            if self
                .inner
                .accounts
                .find_user(&user)
                .await?
                .is_some_and(|known| !known.admin && !known.deactivated)
            {
                report.counts.promoted += 1;
                let what = words!("管理者になります", "administers from then on");
                report.note(Note { who: person.account.clone(), what });
            }
        }
        Ok(())
    }
}

/// Those who are in the group no more. Nobody is where no group is set: what was given before stays, until somebody takes it.
pub(crate) fn leaving(source: &Source, plan: &Plan) -> Vec<(String, AdministratorRow)> {
    if source.settings.administrators_group.is_none() {
        return Vec::new();
    }
    let is_leaving = |id: &String| !plan.administrators.contains(id) && !plan.unclear.contains(id);
    let leaving = plan.appointed.iter().filter(|(id, _)| is_leaving(id));
    leaving.map(|(id, row)| (id.clone(), row.clone())).collect()
}

/// Notes what is to be heard of; how many became what they are to be.
fn count(who: &str, became: Result<Became, Error>, report: &mut Report) -> usize {
    let what = match became {
        Ok(Became::Done) => return 1,
        Ok(Became::Nothing) => return 0,
        Ok(Became::Noted(what)) => what,
        Err(error) => {
            report.counts.left += 1;
            words!(
                "管理者の変更に失敗しました。次の読み取りでやり直します({error})。",
                "who administers could not be changed, and is tried again with the next reading: {error}"
            )
        }
    };
    report.note(Note { who: who.to_owned(), what });
    0
}

fn last_one() -> Words {
    words!(
        "管理者のグループから外れましたが、サインインできる最後の管理者のため、管理者のままにしています。別の管理者を決めてください。",
        "is in the group of administrators no more, and is the last administrator who can sign in, so he goes on; have somebody else administer"
    )
}

fn withdrawn() -> Words {
    words!(
        "管理者のグループにいますが、管理者権限は手動で外されています。グループから一度外れるまで、そのままにします。",
        "is in the group of administrators, and somebody took it from him by hand; that stays until he has been out of the group"
    )
}
