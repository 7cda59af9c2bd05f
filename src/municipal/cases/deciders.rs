//! Who may decide a step of a case now. Pure: everything that it follows from is in a [`Context`].
//!
//! For a unit it is who heads it; where nobody there can (he asks himself, is away, has no account), who heads the nearest unit
//! above it; where nobody can anywhere, 全体管理者, so that no case ever waits for nobody. A unit that is there no more is
//! what became of it. A deputy decides for somebody who decides by his post, for the days that were named; nobody decides for a deputy.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use base::Timestamp;
use duties::Duty;
use intake::Date;
use organisation::{Holder, PersonId, PostId, UnitId};
use ruma::{OwnedServerName, OwnedUserId, UserId};

use crate::{
    case::{Case, Step, Who},
    people::Standing,
    shelf::{Known, account},
    tables::Deputy,
};

/// Somebody who may decide.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Decider {
    pub(crate) user: OwnedUserId,
    pub(crate) person: Option<PersonId>,
    /// For whom, where he is a deputy.
    pub(crate) for_whom: Option<OwnedUserId>,
}

/// Who may decide a step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Deciders {
    pub(crate) people: Vec<Decider>,
    /// Whether it came to 全体管理者, since nobody else can.
    pub(crate) fell: bool,
}

impl Deciders {
    /// Whether a user may decide for himself, or else for this one.
    pub(crate) fn has(&self, user: &UserId, for_whom: Option<&UserId>) -> bool {
        self.people.iter().any(|decider| decider.user == user && decider.for_whom.as_deref() == for_whom)
    }

    /// As whom a user decides: for himself, if he may so.
    pub(crate) fn find(&self, user: &UserId) -> Option<&Decider> {
        let own = self.people.iter().filter(|decider| decider.user == user);
        own.min_by_key(|decider| decider.for_whom.is_some())
    }
}

/// Somebody in a post that decides.
struct Candidate {
    user: OwnedUserId,
    person: PersonId,
    is_away: bool,
}

/// What it follows from who may decide.
pub(crate) struct Context {
    pub(crate) authority: OwnedServerName,
    pub(crate) known: Arc<Known>,
    pub(crate) day: Date,
    pub(crate) now: Timestamp,
    pub(crate) holders: BTreeMap<OwnedUserId, BTreeSet<Duty>>,
    pub(crate) standing: BTreeMap<OwnedUserId, Standing>,
    pub(crate) deputies: BTreeMap<OwnedUserId, Vec<Deputy>>,
}

impl Context {
    /// The duties of a user.
    pub(crate) fn duties(&self, user: &UserId) -> BTreeSet<Duty> {
        self.holders.get(user).cloned().unwrap_or_default()
    }

    pub(crate) fn can_act(&self, user: &UserId) -> bool {
        self.standing.get(user).is_some_and(|standing| standing.can_act)
    }

    fn administers(&self, user: &UserId) -> bool {
        self.standing.get(user).is_some_and(|standing| standing.administers)
    }

    /// Whether somebody sees all cases of the authority.
    pub(crate) fn sees_all(&self, user: &UserId) -> bool {
        self.can_act(user) && (self.administers(user) || self.duties(user).contains(&Duty::Audit))
    }

    /// Whether somebody is 全体管理者 who counts as one more person.
    pub(crate) fn is_administrator(&self, user: &UserId) -> bool {
        self.can_act(user) && self.administers(user) && self.duties(user).contains(&Duty::Approval)
    }

    /// Who in posts may be asked by a step, whatever his account is like.
    pub(crate) fn named_by(&self, step: &Step) -> BTreeSet<OwnedUserId> {
        let levels = step.who.iter().flat_map(|who| self.levels(who));
        levels.flatten().map(|candidate| candidate.user).collect()
    }

    /// Who may decide a step of a case. One of its approvals is passed over, where that is asked about.
    pub(crate) fn deciders(&self, case: &Case, at: usize, passing_over: Option<usize>) -> Deciders {
        let Some(step) = case.steps.get(at) else { return Deciders::default() };
        let out = Out::of(self, case, step, passing_over);
        let mut found = Deciders::default();
        for who in &step.who {
            match who {
                Who::Administrator => found.people.extend(self.administrators(&out)),
                Who::Duty(word) => found.people.extend(self.with_duty(word, &out)),
                Who::Head(_) | Who::Post(_) => {
                    let levels = self.levels(who);
                    let mut some = levels.iter().map(|level| self.of_level(level, &out));
                    found.people.extend(some.find(|some| !some.is_empty()).unwrap_or_default());
                }
            }
        }
        // Where nobody else can: what waits for nobody would never be decided.
        if found.people.is_empty() && !step.who.contains(&Who::Administrator) {
            found.fell = true;
            found.people.extend(self.administrators(&out));
        }
        found.people.sort();
        found.people.dedup();
        found
    }

    fn administrators<'a>(&'a self, out: &'a Out) -> impl Iterator<Item = Decider> + 'a {
        let all = self.holders.keys().filter(|user| self.is_administrator(user));
        all.filter_map(|user| self.decider(user, None, out))
    }

    fn with_duty<'a>(&'a self, word: &'a str, out: &'a Out) -> impl Iterator<Item = Decider> + 'a {
        let duty = Duty::of_word(word);
        let all = self.holders.iter().filter(move |(_, held)| duty.is_some_and(|duty| held.contains(&duty)));
        all.filter(|(user, _)| self.can_act(user)).filter_map(|(user, _)| self.decider(user, None, out))
    }

    fn of_level(&self, level: &[Candidate], out: &Out) -> Vec<Decider> {
        let mut found = Vec::new();
        for candidate in level {
            if out.has(&candidate.user, Some(candidate.person)) {
                continue;
            }
            if !candidate.is_away && self.can_act(&candidate.user) {
                found.extend(self.decider(&candidate.user, None, out));
            }
            // What somebody's account is locked for is not left to those whom he named before.
            if !self.can_act(&candidate.user) {
                continue;
            }
            let deputies = self.deputies.get(&candidate.user).into_iter().flatten();
            for deputy in deputies.filter(|deputy| deputy.holds(self.now)) {
                if self.is_there(&deputy.user) && self.can_act(&deputy.user) {
                    found.extend(self.decider(&deputy.user, Some(&candidate.user), out));
                }
            }
        }
        found
    }

    /// Whether somebody has a post today and is not away from it.
    fn is_there(&self, user: &UserId) -> bool {
        let Some(person) = self.known.owner(user) else { return false };
        let posts = self.known.organisation.posts_of(person, self.day);
        posts.iter().any(|holder| holder.away.is_none())
    }

    fn decider(&self, user: &UserId, for_whom: Option<&UserId>, out: &Out) -> Option<Decider> {
        let person = self.known.owner(user);
        (!out.has(user, person)).then(|| Decider {
            user: user.to_owned(),
            person,
            for_whom: for_whom.map(ToOwned::to_owned),
        })
    }

    /// Who is asked first, and who next where nobody of those can.
    fn levels(&self, who: &Who) -> Vec<Vec<Candidate>> {
        match who {
            Who::Duty(_) | Who::Administrator => Vec::new(),
            Who::Head(unit) => self.heads(*unit),
            Who::Post(post) => self.holders_of(*post),
        }
    }

    fn heads(&self, unit: UnitId) -> Vec<Vec<Candidate>> {
        let organisation = &self.known.organisation;
        let mut levels: Vec<Vec<Candidate>> = Vec::new();
        for unit in organisation.successors(unit, self.day) {
            let path = organisation.path(unit, self.day);
            for (up, unit) in path.into_iter().rev().enumerate() {
                let members = organisation.members(unit.unit, self.day);
                let heads = members.iter().filter(|holder| holder.post.heads);
                let heads = heads.filter_map(|holder| self.candidate(holder));
                if levels.len() <= up {
                    levels.push(Vec::new());
                }
                levels[up].extend(heads);
            }
        }
        levels
    }

    fn holders_of(&self, post: PostId) -> Vec<Vec<Candidate>> {
        let organisation = &self.known.organisation;
        let Some(there) = organisation.post(post, self.day) else { return Vec::new() };
        let holders = organisation.holders(post, self.day);
        let first = holders.iter().filter_map(|holder| self.candidate(holder)).collect();
        std::iter::once(first).chain(self.heads(there.unit)).collect()
    }

    fn candidate(&self, holder: &Holder<'_>) -> Option<Candidate> {
        Some(Candidate {
            user: account(holder.person.account.as_deref()?, &self.authority)?,
            person: holder.person.person,
            is_away: holder.away.is_some(),
        })
    }
}

/// Who is out of a decision: who asked, whom it is about, who has decided. Accounts and people, since one person may have
/// several accounts.
struct Out {
    users: BTreeSet<OwnedUserId>,
    people: BTreeSet<PersonId>,
}

impl Out {
    fn of(context: &Context, case: &Case, step: &Step, passing_over: Option<usize>) -> Self {
        let mut out = Self { users: BTreeSet::new(), people: BTreeSet::new() };
        if !step.asker_may {
            out.add(context, &case.asker);
            out.people.extend(case.asker_person);
        }
        case.subjects.iter().filter(|subject| !step.asker_may || **subject != case.asker).for_each(
            |subject| {
                out.add(context, subject);
            },
        );
        for (at, approval) in case.approvals.iter().enumerate() {
            if passing_over == Some(at) {
                continue;
            }
            out.add(context, &approval.user);
            out.people.extend(approval.person);
            if let Some(for_whom) = &approval.for_whom {
                out.add(context, for_whom);
            }
        }
        out
    }

    fn add(&mut self, context: &Context, user: &UserId) {
        self.people.extend(context.known.owner(user));
        self.users.insert(user.to_owned());
    }

    fn has(&self, user: &UserId, person: Option<PersonId>) -> bool {
        self.users.contains(user) || person.is_some_and(|person| self.people.contains(&person))
    }
}
