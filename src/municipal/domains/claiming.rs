//! Accounts that people have made for themselves, and putting them forward as those of the organisation's people.
//!
//! What is put forward is a change set: a line for each account, to be agreed to as any other, and undone as any other. With the set
//! goes, in its own batch, what was demanded of each account (that its owner still has the address, that it is as it was looked
//! at), a row in the audit log for each, and what its owner is to be told once it has come to that.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use audit::{Action, Actor, Deed};
use cases::Message;
use organisation::{Told, user_named};
use personnel::{Act, Answer, By, Demands, Edit, MOST_ACTS, Order};
use ruma::{OwnedUserId, ServerName, UserId};
use store::{Batch, Order as ScanOrder, Range};

use crate::{
    domains::Domains,
    error::{Error, words},
    matching::{Match, matched},
    tables::{CLAIMS, ClaimRow},
};

/// Addresses that are looked at: as many accounts as a prefecture has.
const MOST_ADDRESSES: usize = 20_000;

/// For so long what was put forward may take until it is agreed to.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(120 * 24 * 60 * 60);

/// So many owners are told at a time.
const TOLD_AT_ONCE: usize = 50;

/// An account that somebody has made for himself with an address of a proven domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The account.
    pub user: OwnedUserId,
    /// The address.
    pub email: String,
    /// Whose it is by that.
    pub is_whose: Match,
    /// Whether it administers the authority: such an account is put forward by nobody here.
    pub administers: bool,
    /// Whether it was put forward already, and not told since.
    pub is_put_forward: bool,
}

impl Candidate {
    /// Whether it can be put forward.
    #[must_use]
    pub fn can_be_claimed(&self) -> bool {
        !self.administers && matches!(self.is_whose, Match::One(_))
    }
}

impl Domains {
    /// The accounts with addresses of proven domains that are nobody's in the organisation. Those that are locked, suspended or
    /// closed, and the server's own, are not among them.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn candidates(&self, authority: &ServerName) -> Result<Vec<Candidate>, Error> {
        let standing = self.standing(authority).await?;
        let proven: BTreeSet<String> = standing
            .iter()
            .filter(|standing| standing.proven.is_some())
            .map(|standing| standing.domain.to_string())
            .collect();
        if proven.is_empty() {
            return Ok(Vec::new());
        }
        let is_of_ours = move |domain: &str| proven.contains(domain);
        let addresses = self.inner.accounts.shown_emails(authority, &is_of_ours, MOST_ADDRESSES).await?;
        let day = self.today()?;
        let organisation = self.inner.organisations.load(authority).await?.organisation;
        let work = move || matched(&organisation, day, &addresses);
        let found = self.inner.tasks.spawn_blocking("whose accounts are", work).await?;
        let mut candidates = Vec::with_capacity(found.len());
        let found: Vec<_> = found.into_iter().collect();
        for some in found.chunks(500) {
            let users: Vec<&UserId> = some.iter().map(|(user, _)| &**user).collect();
            let acting = self.inner.accounts.acting(&users).await?;
            let keys: Vec<_> = users.iter().map(|user| (authority.as_str(), user.localpart())).collect();
            let claims = self.inner.store.get_many(&CLAIMS, &keys).await?;
            for (((user, (email, is_whose)), acting), claim) in some.iter().zip(acting).zip(claims) {
                let Some(acting) = acting.filter(|acting| acting.can_act) else { continue };
                candidates.push(Candidate {
                    user: user.clone(),
                    email: email.clone(),
                    is_whose: is_whose.clone(),
                    administers: acting.administers,
                    is_put_forward: claim.is_some(),
                });
            }
        }
        Ok(candidates)
    }

    /// Puts accounts forward as those of the people who have their addresses: makes a change set, whose number it gives. Nothing
    /// is anybody's before two people have agreed to that.
    ///
    /// # Errors
    /// [`Error::Refused`] where one of them cannot be, for a reason that people are told; others of [`Error`].
    pub async fn claim(
        &self,
        authority: &ServerName,
        users: &[OwnedUserId],
        (actor, demands): (Actor, Demands),
    ) -> Result<organisation::SetId, Error> {
        if users.is_empty() || users.len() > MOST_ACTS {
            return Err(Error::Refused(words!(
                "アカウントを 1 件から {MOST_ACTS} 件まで選んでください。",
                "Please choose accounts, {MOST_ACTS} at most."
            )));
        }
        let candidates = self.candidates(authority).await?;
        let now = self.inner.clock.now();
        let mut acts = Vec::with_capacity(users.len());
        let mut parts: Vec<Demands> = vec![demands];
        for user in users.iter().collect::<BTreeSet<_>>() {
            let found = candidates.iter().find(|one| one.user == *user && one.can_be_claimed());
            let Some(Candidate { email, is_whose: Match::One(person), .. }) = found else {
                return Err(Error::Refused(words!(
                    "{user} は、いまは引き取りの対象ではありません。一覧を確かめてください。",
                    "{user} cannot be put forward by now; please look at the list again."
                )));
            };
            acts.push(Act::GiveAccount {
                person: format!("person:{}", person.id.0),
                account: user.localpart().to_owned(),
            });
            parts.push(Arc::new(self.inner.accounts.demand_account(user).await?));
            parts.push(Arc::new(self.inner.accounts.demand_email(user, email).await?));
            let row = ClaimRow { person: person.id.0, email: email.clone(), asked_ms: now.millis() };
            let key = (authority.to_string(), user.localpart().to_owned());
            let domain = email.rsplit_once('@').map_or("", |(_, domain)| domain).to_owned();
            let deed = Deed::new(Action::PutForward, &actor, user.as_str(), now)
                .after("person", person.number.clone())
                .after("domain", domain);
            let of = authority.to_owned();
            parts.push(Arc::new(move |batch: &mut Batch| {
                batch.put(&CLAIMS, &key, &row);
                deed.clone().write(batch, &of);
            }));
        }
        let all: Demands = Arc::new(move |batch: &mut Batch| parts.iter().for_each(|part| part(batch)));
        let order = Order::Edit(Box::new(Edit { acts, day: None, at: None, within: None }));
        match self.inner.personnel.carry_out_for(authority, order, By::demanding(actor, all)).await? {
            Answer::Set(id, _) => Ok(id),
            _ => Err(Error::Personnel(personnel::Error::NoAuthority)),
        }
    }

    /// Tells the owners of accounts that were put forward what they are since then, once each, and forgets those of which nothing
    /// came.
    pub(crate) async fn tell_owners(&self, authority: &ServerName) -> Result<(), Error> {
        let inner = &self.inner;
        let range = Range::prefix(authority.as_str());
        let mut after: Option<(String, String)> = None;
        loop {
            let range = match &after {
                Some(after) => range.clone().after(after),
                None => range.clone(),
            };
            let rows = inner.store.scan(&CLAIMS, range, ScanOrder::Ascending, TOLD_AT_ONCE).await?;
            let Some((last, _)) = rows.last() else { return Ok(()) };
            after = Some(last.clone());
            let organisation = inner.organisations.load(authority).await?.organisation;
            let day = self.today()?;
            for (key, row) in rows {
                let person = organisation
                    .owner(&key.1)
                    .filter(|person| person.0 == row.person)
                    .and_then(|person| organisation.person(person, day))
                    .filter(|person| person.account.as_deref() == Some(&key.1));
                let now = inner.clock.now().millis();
                let is_old =
                    now.abs_diff(row.asked_ms) > FORGOTTEN_AFTER.as_millis().try_into().unwrap_or(u64::MAX);
                if person.is_none() && !is_old {
                    continue;
                }
                if let (Some(person), Some(user)) = (person, user_named(&key.1, authority)) {
                    inner.people.tell(&user, &told(&row, person, &user)).await?;
                }
                let mut batch = Batch::new();
                batch.require(&CLAIMS, &key, Some(&row));
                batch.delete(&CLAIMS, &key);
                match inner.store.commit(batch).await {
                    // Another process has, or it was put forward anew.
                    Ok(_) | Err(store::CommitError::Conflict { .. }) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
    }
}

fn told(row: &ClaimRow, person: &organisation::Person, user: &UserId) -> Message {
    let (email, name, number, asked) = (&row.email, person.called(), &person.number, row.asked_ms);
    Message {
        text: Told {
            ja: format!(
                "このアカウントは、確認済みのメールアドレス {email} により、組織の職員「{name}」（職員番号 {number}）のアカウントになりました。ルーム、メッセージ、端末はそのままですが、職員としての利用条件（ネットワークや二要素認証など）が適用されます。心当たりがない場合は、管理者にご連絡ください。"
            ),
            en: format!(
                "By the address {email}, which you have shown to be yours, this account is that of {name} (number {number}) in your organisation by now. Your rooms, messages and devices stay as they are. If you are somebody else, please tell an administrator."
            ),
        },
        path: "/_yakuba/counter/rights".to_owned(),
        name: format!("domain-claim/{user}/{asked}"),
    }
}
