//! What somebody does to an organisation by hand becomes a change set, or is tried first.

use std::time::Duration;

use intake::Date;
use organisation::{
    Draft, Error as OrganisationError, Ids, Item, Known as KnownOrganisation, Organisation, Reorganisation,
    UnitNames,
};
use ruma::ServerName;

use crate::{
    act::{Act, MOST_ACTS, Within},
    answer::{Answer, Tried, TriedLine},
    by::By,
    error::Error,
    importing::{Forward, MOST_ATTEMPTS},
    order::Edit,
    personnel::Personnel,
    words::words,
};

/// Change sets of one who sees to a part that may wait.
const MOST_WAITING_OF_ONE: usize = 5;

/// Change sets that may wait while such a one puts another forward.
const MOST_WAITING_OF_PARTS: usize = 50;

/// Change sets that such a one makes a day, also where he takes them back.
const MOST_A_DAY: usize = 40;

/// Of all sets so many are looked at for that.
const MOST_LOOKED_AT: usize = 1_000;

const DAY: Duration = Duration::from_secs(86_400);

/// Most records that they change together: all people of a prefecture, several times.
const MOST_CHANGES: usize = 100_000;

/// Most names in them: a department of so many people is split.
const MOST_NAMES: usize = 2_000;

impl Personnel {
    /// What the acts would do, and the units as they are called then.
    pub(crate) async fn try_edit(&self, authority: &ServerName, edit: &Edit) -> Result<Answer, Error> {
        let day = self.day_of(edit)?;
        let known = self.inner.organisations.load(authority).await?;
        let mut ids = known.ids();
        let (items, after) = self.acted(&known.organisation, edit, day, &mut ids)?;
        self.refuse_taken(authority, edit).await?;
        let lines =
            items.into_iter().map(|item| TriedLine { kind: item.kind, about: item.about, told: item.told });
        let units = UnitNames::of(&after, None, day);
        let (bodies, units) = match &edit.within {
            Some(scope) => (Vec::new(), units.among(&after.units_of(scope, day)).paths()),
            None => (after.bodies(day).map(|body| body.name.clone()).collect(), units.paths()),
        };
        Ok(Answer::Tried(Tried { day, lines: lines.collect(), bodies, units }))
    }

    /// Stores what the acts do as a change set.
    pub(crate) async fn edit(&self, authority: &ServerName, edit: &Edit, by: &By) -> Result<Answer, Error> {
        if edit.acts.is_empty() {
            return Err(Error::Refused(words!(
                "変更する内容がありません。",
                "There is nothing that is to be changed."
            )));
        }
        let day = self.day_of(edit)?;
        if edit.within.is_some() {
            self.refuse_many(authority, by.name()).await?;
        }
        self.refuse_taken(authority, edit).await?;
        let mut attempts = 0;
        loop {
            attempts += 1;
            let known = self.inner.organisations.load(authority).await?;
            match self.edit_of(authority, &known, (edit, day), by).await {
                Err(Error::Organisation(OrganisationError::Changed)) if attempts < MOST_ATTEMPTS => {}
                done => return done,
            }
        }
    }

    async fn edit_of(
        &self,
        authority: &ServerName,
        known: &KnownOrganisation,
        (edit, day): (&Edit, Date),
        by: &By,
    ) -> Result<Answer, Error> {
        let mut ids = known.ids();
        let (items, _) = self.acted(&known.organisation, edit, day, &mut ids)?;
        let forward = Forward { draft: Draft::of(items), ids, source: None, body: None, day, at: edit.at };
        let (id, set) = self.put_forward(authority, known, forward, by).await?;
        Ok(Answer::Set(id, Box::new(set)))
    }

    /// Bounds what one who sees to a part puts forward: room is kept for those who see to the whole.
    async fn refuse_many(&self, authority: &ServerName, name: &str) -> Result<(), Error> {
        let organisations = &self.inner.organisations;
        let waiting = organisations.waiting_sets(authority).await?;
        let own = waiting.iter().filter(|(_, set)| set.made_by == name).count();
        if own >= MOST_WAITING_OF_ONE || waiting.len() >= MOST_WAITING_OF_PARTS {
            return Err(Error::Refused(words!(
                "承認や適用を待つ変更案が多すぎます(一人 {MOST_WAITING_OF_ONE} 件まで)。先のものが済むのを待つか、取り下げてください。",
                "Too many change sets wait already ({MOST_WAITING_OF_ONE} of one person); wait for them, or take some back."
            )));
        }
        let now = self.inner.clock.now();
        let newest = organisations.change_sets(authority, None, MOST_LOOKED_AT).await?;
        let today = newest.iter().filter(|(_, set)| set.made_by == name && now.since(set.made_at) < DAY);
        if today.count() >= MOST_A_DAY {
            return Err(Error::Refused(words!(
                "一日に作れる変更案は {MOST_A_DAY} 件までです。",
                "At most {MOST_A_DAY} change sets a day."
            )));
        }
        Ok(())
    }

    /// Does the acts one after another, each on what those before it have left.
    fn acted(
        &self,
        known: &Organisation,
        edit: &Edit,
        day: Date,
        ids: &mut Ids,
    ) -> Result<(Vec<Item>, Organisation), Error> {
        let within = match &edit.within {
            Some(scope) => Some(Within::of(known, scope, day, self.today()?)),
            None => None,
        };
        done(known, edit, (day, within.as_ref()), ids)
    }

    /// Refuses addresses whose names are somebody's accounts: others would write to him as to an office.
    async fn refuse_taken(&self, authority: &ServerName, edit: &Edit) -> Result<(), Error> {
        let wanted: Vec<String> = edit.acts.iter().filter_map(Act::wanted_address).collect();
        if wanted.is_empty() {
            return Ok(());
        }
        let names: Vec<&str> = wanted.iter().map(String::as_str).collect();
        let Some(taken) = self.inner.names.taken(authority, &names).await?.into_iter().next() else {
            return Ok(());
        };
        Err(Error::Refused(words!(
            "「@{taken}」は既に使われているユーザー名のため、宛先にできません。別の名前にしてください。",
            "@{taken} is the name of a user already and can be no address. Please choose another one."
        )))
    }

    fn day_of(&self, edit: &Edit) -> Result<Date, Error> {
        let names: usize = edit.acts.iter().map(Act::names).sum();
        if edit.acts.len() > MOST_ACTS || names > MOST_NAMES {
            return Err(Error::Refused(words!(
                "一つの変更案に入れられる変更は {MOST_ACTS} 件、所属や職員の指定は {MOST_NAMES} 件までです。",
                "A change set takes {MOST_ACTS} acts at most, with {MOST_NAMES} names."
            )));
        }
        match edit.day {
            Some(day) => Ok(day),
            None => self.today(),
        }
    }
}

/// Does the acts one after another, each on what those before it have left.
fn done(
    known: &Organisation,
    edit: &Edit,
    (day, within): (Date, Option<&Within>),
    ids: &mut Ids,
) -> Result<(Vec<Item>, Organisation), Error> {
    let mut by_hand = Reorganisation::of(known, day, ids);
    let (mut items, mut changes) = (Vec::new(), 0);
    for (number, act) in (1..).zip(&edit.acts) {
        let number: usize = number;
        let item = act.done(&mut by_hand, day, within).map_err(|why| {
            let (ja, en) = (why.ja, why.en);
            // Who does one thing need not be told which one.
            Error::Refused(match edit.acts.len() {
                1 => words!("{ja}", "{en}"),
                _ => words!("{number} 件目: {ja}", "Act {number}: {en}"),
            })
        })?;
        changes += item.changes.len();
        if changes > MOST_CHANGES {
            return Err(Error::Refused(words!(
                "変更が多すぎます。いくつかの変更案に分けてください。",
                "This changes too much at once; please make several sets of it."
            )));
        }
        items.push(item);
    }
    Ok((items, by_hand.known().clone()))
}
