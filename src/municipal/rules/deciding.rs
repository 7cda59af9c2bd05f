//! What people decide about rules: what they say, from when on, which room made by hand is whose; and what they are shown
//! before they do.

use std::collections::BTreeMap;

use audit::{Action, Actor, Deed};
use intake::Date;
use organisation::Span;
use ruma::ServerName;
use store::Batch;

use crate::{
    answer::{Answer, Previewed, Shown, ShownRoom, ShownRule},
    book::{Entry, RuleId},
    error::Error,
    limits::{MAX_ENTRIES, MAX_ROOMS, MAX_RULES, MAX_TOLD},
    plan::Step,
    reading::View,
    rule::{Rule, Wish},
    rules::{Rules, written},
    tables::{BOOKS, ENTRIES, EntryRow},
    wanted::{Place, Standing},
    words::{Words, words},
};

/// Most letters of a rule as it is kept.
const LONGEST_RULE: usize = 256 * 1024;

impl Rules {
    /// Says what a rule is, for some days.
    pub(crate) async fn set(
        &self,
        authority: &ServerName,
        rule: Option<RuleId>,
        wish: Wish,
        (from, until): (Option<Date>, Option<Date>),
        by: &Actor,
    ) -> Result<Answer, Error> {
        let from = from.map_or_else(|| self.today(), Ok)?;
        let organisation = self.inner.organisations.load(authority).await?.organisation;
        let says = wish.resolve(&organisation, from).map_err(Error::Refused)?;
        let span = Span::new(Some(from), until).ok_or_else(no_day)?;
        let entry = self.entry(span, Some(says.clone()), by);
        let id = match rule {
            Some(id) => id,
            None => RuleId(self.book(authority).await?.1.unwrap_or_default().last_rule.saturating_add(1)),
        };
        let view = self.view(authority, from, Some((id, entry))).await?;
        must_fit(&view)?;
        let deed = |id: RuleId| {
            let deed = self.deed(Action::SetRule, by, &id.0.to_string()).after("title", &says.title);
            let deed = deed.after("from", from.to_string());
            until.map_or(deed.clone(), |until| deed.after("until", until.to_string()))
        };
        let id = self.write(authority, rule, (span, Some(&says)), by, &deed).await?;
        Ok(Answer::Rule(id))
    }

    /// Says that a rule holds no more.
    pub(crate) async fn end(
        &self,
        authority: &ServerName,
        rule: RuleId,
        from: Option<Date>,
        by: &Actor,
    ) -> Result<Answer, Error> {
        let from = from.map_or_else(|| self.today(), Ok)?;
        let deed =
            |id: RuleId| self.deed(Action::EndRule, by, &id.0.to_string()).after("from", from.to_string());
        let id = self.write(authority, Some(rule), (Span::since(from), None), by, &deed).await?;
        Ok(Answer::Rule(id))
    }

    pub(crate) fn entry(&self, span: Span, says: Option<Rule>, by: &Actor) -> Entry {
        Entry { at: self.inner.clock.now(), by: by.name().to_owned(), span, says }
    }

    /// Adds to the book what is said of a rule.
    async fn write(
        &self,
        authority: &ServerName,
        rule: Option<RuleId>,
        said: (Span, Option<&Rule>),
        by: &Actor,
        deed: &(dyn Fn(RuleId) -> Deed + Sync),
    ) -> Result<RuleId, Error> {
        let (id, batch) = self.batch(authority, rule, &[said], by, deed).await?;
        self.inner.store.commit(batch).await?;
        self.inner.look.notify_one();
        Ok(id)
    }

    /// What is written so that this is said of a rule, the last of it before what is said first.
    pub(crate) async fn batch(
        &self,
        authority: &ServerName,
        rule: Option<RuleId>,
        said: &[(Span, Option<&Rule>)],
        by: &Actor,
        deed: &(dyn Fn(RuleId) -> Deed + Sync),
    ) -> Result<(RuleId, Batch), Error> {
        let (book, old) = self.book(authority).await?;
        let mut row = old.unwrap_or_default();
        let id = match rule {
            Some(id) if book.history(id).is_empty() => return Err(Error::Refused(no_rule(id))),
            Some(id) if book.history(id).len().saturating_add(said.len()) > MAX_ENTRIES => {
                return Err(Error::Refused(words!(
                    "この規則の変更が上限の {MAX_ENTRIES} 回に達しました。",
                    "This rule was changed {MAX_ENTRIES} times, which is as often as it can be."
                )));
            }
            Some(id) => id,
            None if book.rules().count() >= MAX_RULES => {
                return Err(Error::Refused(words!(
                    "規則は {MAX_RULES} 個までです。",
                    "There are {MAX_RULES} rules at most."
                )));
            }
            None => {
                row.last_rule = row.last_rule.saturating_add(1);
                RuleId(row.last_rule)
            }
        };
        let mut batch = written(&deed(id), authority);
        for (span, says) in said {
            let json = says.map(serde_json::to_string).transpose();
            let json = json.map_err(|error| Error::Unreadable(id.0, error))?;
            if json.as_ref().is_some_and(|json| json.len() > LONGEST_RULE) {
                return Err(Error::Refused(words!("規則が長すぎます。", "The rule is too long.")));
            }
            let number = row.entries;
            row.entries = row.entries.saturating_add(1);
            let entry = EntryRow { at: self.inner.clock.now(), by: by.name().to_owned(), span: *span, json };
            batch.insert(&ENTRIES, &(authority.as_str(), id, number), &entry);
        }
        match &old {
            Some(old) => batch.replace(&BOOKS, authority.as_str(), old, &row),
            None => batch.insert(&BOOKS, authority.as_str(), &row),
        };
        Ok((id, batch))
    }

    /// Tells the rules and rooms.
    pub(crate) async fn show(&self, authority: &ServerName, day: Option<Date>) -> Result<Answer, Error> {
        let day = day.map_or_else(|| self.today(), Ok)?;
        let (book, _) = self.book(authority).await?;
        let holding: BTreeMap<RuleId, &Rule> = book.on(day).collect();
        let rules = book.rules().filter_map(|id| {
            let now = holding.get(&id).copied();
            let rule = now.or_else(|| book.last(id))?.clone();
            let last = book.last(id).filter(|last| **last != rule).map(|last| Box::new(last.clone()));
            Some(ShownRule { id, rule, last, holds: now.is_some(), entries: book.history(id).len() })
        });
        let organisation = self.inner.organisations.load(authority).await?.organisation;
        let places = self.places(authority).await?;
        let rooms = places.into_iter().map(|(place, row)| ShownRoom {
            rule: place.rule,
            of: place.unit,
            unit: organisation.unit(place.unit, day).map(|unit| unit.name.clone()),
            key: place.key,
            room: row.room,
            is_adopted: row.is_adopted,
            closed: row.closed,
        });
        Ok(Answer::Shown(Shown { day, rules: rules.collect(), rooms: rooms.collect() }))
    }

    /// Tells what would be done.
    pub(crate) async fn preview(
        &self,
        authority: &ServerName,
        wish: Option<(Option<RuleId>, Wish)>,
        day: Option<Date>,
    ) -> Result<Answer, Error> {
        let day = day.map_or_else(|| self.today(), Ok)?;
        let more = match wish {
            Some((rule, wish)) => {
                let organisation = self.inner.organisations.load(authority).await?.organisation;
                let says = wish.resolve(&organisation, day).map_err(Error::Refused)?;
                // One that is not there yet comes after all that are.
                let rule = rule.unwrap_or(RuleId(u64::MAX));
                Some((rule, self.entry(Span::since(day), Some(says), &Actor::server())))
            }
            None => None,
        };
        let view = self.view(authority, day, more).await?;
        Ok(Answer::Previewed(self.previewed(authority, &view).await?))
    }

    async fn previewed(&self, authority: &ServerName, view: &View) -> Result<Previewed, Error> {
        let mut told = Previewed {
            rooms: view.wanted.rooms.len(),
            left_out: view.wanted.left_out,
            ..Previewed::default()
        };
        for wanted in &view.wanted.rooms {
            let Some(steps) = self.steps(authority, view, (&wanted.place, Some(wanted))).await? else {
                told.makes += 1;
                told.tell(&wanted.name, words!("部屋を作る", "is made"), MAX_TOLD);
                let come = wanted.people.iter().filter(|(_, standing)| *standing != Standing::Predecessor);
                for (user, standing) in come {
                    told.add(&wanted.name, &Step::Join(user.clone(), *standing), MAX_TOLD);
                }
                continue;
            };
            if view.settled.follows.contains_key(&wanted.place) {
                told.changes += 1;
                let what =
                    words!("改組後の所属の部屋になる", "becomes the room of the unit after its change");
                told.tell(&wanted.name, what, MAX_TOLD);
            }
            steps.steps.iter().for_each(|step| told.add(&wanted.name, step, MAX_TOLD));
        }
        for place in &view.settled.unwanted {
            if let Some(steps) = self.steps(authority, view, (place, None)).await? {
                let room = view.places.get(place).map(|row| row.room.as_str()).unwrap_or_default();
                steps.steps.iter().for_each(|step| told.add(room, step, MAX_TOLD));
            }
        }
        Ok(told)
    }
}

/// Refuses what would make more rooms than there may be.
pub(crate) fn must_fit(view: &View) -> Result<(), Error> {
    if view.wanted.left_out == 0 {
        return Ok(());
    }
    let count = view.wanted.rooms.len() + view.wanted.left_out;
    Err(Error::Refused(words!(
        "この規則では部屋が {count} 個になり、上限の {MAX_ROOMS} 個を超えます。",
        "With this rule there would be {count} rooms; there may be {MAX_ROOMS}."
    )))
}

pub(crate) fn no_day() -> Error {
    Error::Refused(words!(
        "終わりの日が始まりの日より前です。",
        "The rule would end before the day on which it begins."
    ))
}

pub(crate) fn no_rule(RuleId(id): RuleId) -> Words {
    words!("規則 {id} はありません。", "There is no rule {id}.")
}

pub(crate) fn no_room() -> Words {
    words!("その部屋はこのサーバーにありません。", "There is no such room here.")
}

pub(crate) fn not_wanted(place: &Place) -> Words {
    let (RuleId(rule), key) = (place.rule, &place.key);
    words!(
        "規則 {rule} はこの所属に「{key}」の部屋を求めていません。",
        "Rule {rule} wants no room `{key}` for this unit."
    )
}
