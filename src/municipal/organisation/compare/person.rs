//! One person: what the rows of a file say of him against what stands.

use std::collections::BTreeSet;

use intake::{Class, Date, Kind as RowKind, Row};

use super::{
    Source, Terms, Which,
    names::{Likeness, likeness},
    places::{Place, Places, first},
    why::Why,
};
use crate::{
    calendar::before,
    edit::Edit,
    ids::{PersonId, PostId, RecordId},
    item::{Change, Item, Kind, Told},
    laws::Breach,
    organisation::{Key, Organisation},
    span::Span,
    statement::{Appointment, Person, Statement, Tenure, What},
    words::words,
};

/// A file in the course of being compared.
pub(super) struct Comparing<'a> {
    pub(super) source: &'a Source,
    pub(super) terms: &'a Terms,
    pub(super) places: &'a mut Places,
    /// Items of units and posts that are made.
    pub(super) structure: &'a mut Vec<Item>,
    /// Whether the file says of any appointment when it ends; else it says of none that it has no end.
    pub(super) says_end: bool,
    /// See [`super::widths`].
    pub(super) widths: BTreeSet<usize>,
}

/// What was found of somebody.
pub(super) struct Found {
    pub(super) item: Item,
    /// Who it is, if he is known.
    pub(super) person: Option<PersonId>,
    /// Who is meant, if the number is damaged.
    pub(super) meant: Option<PersonId>,
}

/// An appointment as the file has it.
struct Wanted {
    post: PostId,
    tenure: Tenure,
    from: Option<Date>,
    until: Option<Date>,
}

/// An appointment as it stands.
#[derive(Clone)]
struct Standing {
    record: RecordId,
    span: Span,
    what: Appointment,
}

/// What changes of somebody besides his name and posts, as whoever approves it reads it.
fn differences(old: &Person, new: &Person) -> Vec<Told> {
    let class = |person: &Person| {
        let words = person.class.map(Class::words);
        words.map_or_else(|| (String::new(), String::new()), |words| (words.ja, words.en))
    };
    let both = |text: &Option<String>| {
        let text = text.clone().unwrap_or_default();
        (text.clone(), text)
    };
    let all = [
        (("フリガナ", "reading"), both(&old.reading), both(&new.reading)),
        (("任用区分", "class"), class(old), class(new)),
        (("メールアドレス", "mail address"), both(&old.mail), both(&new.mail)),
        (("アカウント", "account"), both(&old.account), both(&new.account)),
    ];
    let changed = all.into_iter().filter(|(_, old, new)| old != new);
    let told = changed.map(|((ja, en), (old_ja, old_en), (new_ja, new_en))| Told {
        ja: format!("{ja}「{old_ja}」→「{new_ja}」"),
        en: format!("the {en} \"{old_en}\" becomes \"{new_en}\""),
    });
    told.collect()
}

impl Comparing<'_> {
    fn day(&self) -> Date {
        self.terms.day
    }

    /// Compares the rows of one number. If they are wrong, nothing of them is done.
    pub(super) fn person(&mut self, edit: &mut Edit<'_>, number: &str, rows: &[&Row]) -> Found {
        let name = rows.first().map_or("", |row| row.name.as_str());
        let about = format!("{number} {name}");
        let rows_at = rows.iter().map(|row| row.place.row).collect();
        let person = self.holder(&edit.next, number).map(|(.., person)| person.person);
        let meant = if person.is_none() { self.without_zeros(&edit.next, number) } else { None };
        let done = match &meant {
            Some(meant) => {
                Err(Why::ZerosLost { number: meant.number.clone(), name: meant.called().to_owned() })
            }
            None => self.compared(edit, number, rows),
        };
        let meant = meant.map(|person| person.person);
        let item = match done {
            Ok((kind, told, changes)) => Item { kind, about, rows: rows_at, told, changes },
            Err(why) => {
                edit.take_back();
                let told = vec![why.words().into()];
                Item { kind: Kind::Wrong, about, rows: rows_at, told, changes: Vec::new() }
            }
        };
        Found { item, person, meant }
    }

    /// Who has or had a number, by what he is called last.
    fn holder(&self, now: &Organisation, number: &str) -> Option<(RecordId, Span, Person)> {
        let alike = now.people_under(&Key::Number(self.source.body, number.to_owned()));
        let last = alike.max_by_key(|(_, span, _)| (span.holds(self.day()), span.from()));
        last.map(|(record, span, person)| (record, span, person.clone()))
    }

    /// Whose number it is with zeros in front.
    fn without_zeros(&self, now: &Organisation, number: &str) -> Option<Person> {
        let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        let longer = self.widths.iter().filter(|width| is_number && **width > number.len());
        let mut filled = longer.map(|width| format!("{number:0>width$}", width = *width));
        filled.find_map(|number| now.numbered(self.source.body, &number, self.day())).cloned()
    }

    fn compared(
        &mut self,
        edit: &mut Edit<'_>,
        number: &str,
        rows: &[&Row],
    ) -> Result<(Kind, Vec<Told>, Vec<Change>), Why> {
        let Some(row) = rows.first() else { return Err(Why::AllOver) };
        let day = self.day();
        let known = self.who(&edit.next, number, row)?;
        let has_left = rows.iter().all(|row| row.until.is_some_and(|last| last < day));
        if known.is_none() && has_left {
            return Err(Why::AllOver);
        }
        let wanted = self.wanted(edit, rows)?;
        let said = |read: fn(&Row) -> Option<String>| rows.iter().find_map(|row| read(row));
        let fresh = Person {
            person: PersonId(0),
            body: self.source.body,
            number: number.to_owned(),
            name: row.name.clone(),
            used_name: None,
            reading: said(|row| row.reading.clone()),
            class: rows.iter().find_map(|row| row.class),
            mail: said(|row| row.mail.as_ref().map(|mail| mail.as_str().to_owned())),
            account: said(|row| row.account.as_ref().map(|account| account.as_str().to_owned())),
        };
        let mut details = Vec::new();
        let (person, is_renamed) = match &known {
            Some((record, _, old)) => (old.person, self.details(edit, *record, old, fresh, &mut details)),
            None => {
                let person = PersonId(edit.id());
                let since = self.free_number(edit, number);
                let nobody = Person {
                    reading: fresh.reading.clone(),
                    class: fresh.class,
                    mail: None,
                    account: None,
                    ..fresh.clone()
                };
                details = differences(&nobody, &fresh);
                edit.add(since, What::Person(Person { person, ..fresh }));
                (person, false)
            }
        };
        let was = self.posts_until(&edit.next, person, &wanted);
        let mut told = self.appointments(edit, person, wanted);
        let is = self.posts_from(&edit.next, person);
        if let Some((_, _, old)) = known.as_ref().filter(|_| is_renamed) {
            let (old, new) = (&old.name, &row.name);
            told.insert(0, words!("氏名「{old}」→「{new}」", "the name \"{old}\" becomes \"{new}\"").into());
        }
        told.extend(details);
        let changes = edit.take().map_err(first)?;
        let kind = match (known.is_some(), was.is_empty(), is.is_empty()) {
            (false, ..) => Kind::New,
            (true, true, false) => Kind::Returned,
            (true, false, true) => Kind::Ended,
            _ if was != is => Kind::Moved,
            _ if is_renamed => Kind::Renamed,
            _ if changes.is_empty() => Kind::Unchanged,
            _ => Kind::Changed,
        };
        Ok((kind, told, changes))
    }

    /// Who the rows are about; nobody if he is new.
    fn who(
        &self,
        now: &Organisation,
        number: &str,
        row: &Row,
    ) -> Result<Option<(RecordId, Span, Person)>, Why> {
        let Some((record, span, person)) = self.holder(now, number) else { return Ok(None) };
        let names: Vec<_> =
            [Some(person.name.as_str()), person.used_name.as_deref()].into_iter().flatten().collect();
        let readings = person.reading.as_deref().zip(row.reading.as_deref());
        let is_there = now.serves_from(person.person, self.day());
        let is_other = self.terms.which.get(number) == Some(&Which::Other);
        if let (Some(had), Some(wanted), false) = (&person.account, &row.account, is_other)
            && had != wanted.as_str()
        {
            return Err(Why::OtherAccount { account: had.clone() });
        }
        match (likeness(&names, &row.name, readings), self.terms.which.get(number)) {
            (_, Some(Which::Other)) if is_there => Err(Why::StillThere { name: person.called().to_owned() }),
            (_, Some(Which::Other)) => Ok(None),
            (_, Some(Which::Same)) | (Likeness::Same, None) => Ok(Some((record, span, person))),
            (Likeness::Part, None) if is_there => Ok(Some((record, span, person))),
            (Likeness::Part | Likeness::None, None) => {
                Err(Why::OtherPerson { name: person.called().to_owned() })
            }
        }
    }

    /// From when on a number is a new person's: always, or from the day on if it was another's, whose it is no more then.
    fn free_number(&self, edit: &mut Edit<'_>, number: &str) -> Span {
        let alike = edit.next.people_under(&Key::Number(self.source.body, number.to_owned()));
        let others: Vec<_> = alike.map(|(record, ..)| record).collect();
        if others.is_empty() {
            return Span::ALWAYS;
        }
        for record in others {
            edit.end(record, self.day());
        }
        Span::since(self.day())
    }

    /// Changes what is known of a person himself; what the file does not say stays. Answers whether his name changes, and
    /// tells what else does.
    fn details(
        &self,
        edit: &mut Edit<'_>,
        record: RecordId,
        old: &Person,
        fresh: Person,
        told: &mut Vec<Told>,
    ) -> bool {
        // A file that goes by the name used at work says nothing of the legal one.
        let is_used = old.used_name.as_ref() == Some(&fresh.name);
        let name = if is_used { old.name.clone() } else { fresh.name };
        let is_renamed = name != old.name;
        let new = Person {
            name,
            reading: fresh.reading.or_else(|| old.reading.clone()),
            class: fresh.class.or(old.class),
            mail: fresh.mail.or_else(|| old.mail.clone()),
            account: fresh.account.or_else(|| old.account.clone()),
            ..old.clone()
        };
        told.extend(differences(old, &new));
        edit.turn(record, self.day(), What::Person(new));
        is_renamed
    }

    /// What the file wants him to be, with units and posts made that are not there.
    fn wanted(&mut self, edit: &mut Edit<'_>, rows: &[&Row]) -> Result<Vec<Wanted>, Why> {
        let day = self.day();
        let ends = |row: &Row| row.until.and_then(Date::next);
        // What is over is past, and not made anew; it says when somebody left if there is nothing else.
        let is_over = |row: &Row| ends(row).is_some_and(|until| until <= day);
        let has_left = rows.iter().all(|row| is_over(row));
        // All of his units are looked for before any is made.
        let mut found = Vec::new();
        for row in rows.iter().filter(|row| has_left || !is_over(row)) {
            let until = ends(row);
            let on = row.from.map_or(day, |from| from.max(day));
            let last = until.filter(|_| has_left).and_then(before);
            let place = match last.map(|last| self.places.find(&edit.next, row, last)) {
                Some(Ok(place)) => place,
                _ => self.places.find(&edit.next, row, on)?,
            };
            found.push((row, until, place));
        }
        let mut wanted: Vec<Wanted> = Vec::new();
        for (row, until, place) in found {
            let since = row.from.unwrap_or(day);
            let post = match place {
                // For what is over nothing is made.
                Place::Known(unit) if has_left => self.places.find_post(&edit.next, unit, row),
                Place::ToMake { .. } if has_left => None,
                Place::Known(unit) => Some(self.places.post(edit, unit, row, self.structure)?),
                Place::ToMake { .. } => {
                    // What an earlier row of his has made is there now.
                    let place = self.places.find(&edit.next, row, since.max(day))?;
                    let unit = self.places.unit(edit, place, since, row.place.row, self.structure)?;
                    Some(self.places.post(edit, unit, row, self.structure)?)
                }
            };
            let Some(post) = post else { continue };
            let tenure = if row.kind == RowKind::Main { Tenure::Main } else { Tenure::Additional };
            wanted.push(Wanted { post, tenure, from: row.from, until });
        }
        wanted.sort_by_key(|wanted| (wanted.post, wanted.tenure, wanted.from));
        let mut merged: Vec<Wanted> = Vec::new();
        for next in wanted {
            match merged.last_mut() {
                // A contract that ends and one that begins on the day after are one.
                Some(last)
                    if (last.post, last.tenure) == (next.post, next.tenure)
                        && (last.until.is_none() || last.until >= next.from) =>
                {
                    last.until = last.until.zip(next.until).map(|(one, other)| one.max(other));
                }
                _ => merged.push(next),
            }
        }
        Ok(merged)
    }

    /// The posts that somebody has from the day on.
    fn posts_from(&self, now: &Organisation, person: PersonId) -> BTreeSet<(PostId, Tenure)> {
        let appointments = now.appointments_under(&Key::AppointmentsOf(person));
        let rest = appointments.filter(|(_, span, _)| !span.is_over(self.day()));
        rest.map(|(.., appointment)| (appointment.post, appointment.tenure)).collect()
    }

    /// The posts that somebody has from the day on, or had until what the file has him do begins: whose contract ends on
    /// 31 March and who has one from 1 April was never away.
    fn posts_until(
        &self,
        now: &Organisation,
        person: PersonId,
        wanted: &[Wanted],
    ) -> BTreeSet<(PostId, Tenure)> {
        let has = self.posts_from(now, person);
        if !has.is_empty() {
            return has;
        }
        let mut begins: BTreeSet<_> = wanted.iter().filter_map(|wanted| wanted.from).collect();
        begins.insert(self.day());
        let appointments = now.appointments_under(&Key::AppointmentsOf(person));
        let went_on =
            appointments.filter(|(_, span, _)| span.until().is_some_and(|until| begins.contains(&until)));
        went_on.map(|(.., appointment)| (appointment.post, appointment.tenure)).collect()
    }

    fn standing(&self, now: &Organisation, person: PersonId) -> Vec<Standing> {
        let appointments = now.appointments_under(&Key::AppointmentsOf(person));
        let standing = appointments.map(|(record, span, what)| Standing { record, span, what: what.clone() });
        standing.collect()
    }

    fn is_ours(&self, standing: &Standing) -> bool {
        standing.what.source.as_deref() == Some(self.source.name.as_str())
    }

    /// Brings the appointments of somebody to what the file wants; tells what is done.
    fn appointments(&self, edit: &mut Edit<'_>, person: PersonId, wanted: Vec<Wanted>) -> Vec<Told> {
        let day = self.day();
        let speaks_of_later = wanted.iter().any(|wanted| wanted.from.is_some_and(|from| from > day));
        let standing = self.standing(&edit.next, person);
        let is_planned = |one: &Standing| one.span.is_to_come(day) && !speaks_of_later;
        let is_idle = !standing.iter().any(|one| one.what.tenure == Tenure::Main && one.span.holds(day));
        let (mut kept, mut fresh, mut told) = (BTreeSet::new(), Vec::new(), Vec::new());
        // When his next main post begins: until then he has the one that ends.
        let mut turn: Option<Date> = None;
        for wanted in wanted {
            let begin = wanted.from.unwrap_or(day);
            let is_over = wanted.until.is_some_and(|until| until <= day);
            // Since when he has done until now what he does is not the file's to say.
            let span = Span::new(wanted.from.filter(|from| *from > day), wanted.until);
            let is_same = |one: &Standing| {
                let follows = one.span.until().is_some() && one.span.until() == wanted.from;
                !one.span.is_over(day) && (follows || span.is_some_and(|span| span.overlaps(one.span)))
            };
            // One that is over goes on if this one begins where it ended and nothing came between.
            let goes_on = |one: &Standing| {
                let until = one.span.until();
                !is_over && is_idle && (until == Some(begin) || until == Some(day))
            };
            let alike = standing.iter().filter(|one| {
                (one.what.post, one.what.tenure) == (wanted.post, wanted.tenure)
                    && !kept.contains(&one.record)
                    && (is_same(one) || goes_on(one))
            });
            let Some(one) = alike.min_by_key(|one| (one.span.is_over(day), one.span.from())) else {
                fresh.push(wanted);
                continue;
            };
            kept.insert(one.record);
            if wanted.tenure == Tenure::Main && one.span.is_to_come(day) {
                let begin = wanted.from.or(one.span.from()).unwrap_or(day);
                turn = Some(turn.map_or(begin, |turn| turn.min(begin)));
            }
            let ends = one.span.until();
            let for_plan = standing.iter().any(|next| is_planned(next) && next.span.from() == ends);
            let until = match wanted.until {
                None if for_plan && ends.is_some() => ends,
                // A file without ends takes none away, but for one that is past.
                None if !self.says_end && !one.span.is_over(day) => ends,
                until => until,
            };
            told.extend(self.go_on(edit, one, wanted.from, until));
        }
        // Whatever is this file's, is not wanted, and is neither over nor planned for later.
        let ending: Vec<_> = standing
            .iter()
            .filter(|one| self.is_ours(one) && !kept.contains(&one.record))
            .filter(|one| !one.span.is_over(day) && !is_planned(one))
            .collect();
        for wanted in fresh {
            if wanted.until.is_some_and(|until| until <= day) {
                continue;
            }
            // Only a day after all that he has done until now is one on which he did something else.
            let is_later = |from: Date| {
                standing.iter().all(|one| match one.span.until() {
                    Some(until) if until <= day => until <= from,
                    _ => one.span.is_to_come(day) || one.span.from().is_none_or(|began| began < from),
                })
            };
            let begin = wanted.from.filter(|from| *from > day || is_later(*from)).unwrap_or(day);
            let begin = self.since(&edit.next, wanted.post).map_or(begin, |since| since.max(begin));
            if wanted.tenure == Tenure::Main {
                turn = Some(turn.map_or(begin, |turn| turn.min(begin)));
            }
            told.extend(self.begin(edit, person, &wanted, begin));
        }
        for one in ending {
            let end = match (one.span.is_to_come(day), one.what.tenure) {
                // What was planned and is not wanted any more never was.
                (true, _) => one.span.from().unwrap_or(day),
                (false, Tenure::Main) => turn.unwrap_or(day),
                (false, Tenure::Additional) => day,
            };
            edit.end(one.record, end);
            told.push(self.ending_words(&edit.next, one, end));
        }
        told
    }

    /// An appointment that stands and is wanted.
    fn go_on(
        &self,
        edit: &mut Edit<'_>,
        standing: &Standing,
        from: Option<Date>,
        until: Option<Date>,
    ) -> Option<Told> {
        // What has begun keeps its first day.
        let has_begun = !standing.span.is_to_come(self.day());
        let from = if has_begun { standing.span.from() } else { from.or(standing.span.from()) };
        let span = Span::new(from, until)?;
        if span == standing.span {
            return None;
        }
        let what = What::Appointment(standing.what.clone());
        edit.say(standing.record, Some(Statement { span, what }));
        let post = self.post_name(&edit.next, standing.what.post);
        let words = match until.and_then(before) {
            Some(last) => {
                let ja = last.in_era();
                words!("{post}: {ja}まで", "{post}: until {last}")
            }
            None => words!("{post}: 期限なし", "{post}: without an end"),
        };
        Some(words.into())
    }

    /// From when on a post is there; nobody has it before.
    fn since(&self, now: &Organisation, post: PostId) -> Option<Date> {
        now.posts_under(&Key::Post(post)).map(|(_, span, _)| span.from()).min().flatten()
    }

    fn begin(&self, edit: &mut Edit<'_>, person: PersonId, wanted: &Wanted, begin: Date) -> Option<Told> {
        let span = Span::new(Some(begin), wanted.until)?;
        let source = Some(self.source.name.clone());
        let what = Appointment { person, post: wanted.post, tenure: wanted.tenure, source };
        edit.add(span, What::Appointment(what));
        let (post, ja) = (self.post_name(&edit.next, wanted.post), begin.in_era());
        Some(match wanted.tenure {
            Tenure::Main => words!("{post}({ja}から)", "{post} from {begin} on").into(),
            Tenure::Additional => words!("兼務 {post}({ja}から)", "also {post} from {begin} on").into(),
        })
    }

    fn ending_words(&self, now: &Organisation, one: &Standing, end: Date) -> Told {
        let post = self.post_name(now, one.what.post);
        let last = before(end).unwrap_or(end);
        let ja = last.in_era();
        words!("{post}は{ja}まで", "{post} until {last}").into()
    }

    /// `防災課 主査`; with the units above where several are called so.
    fn post_name(&self, now: &Organisation, post: PostId) -> String {
        let posts = now.posts_under(&Key::Post(post));
        let Some((.., post)) = posts.max_by_key(|(_, span, _)| span.from()) else { return String::new() };
        let units = now.units_under(&Key::Unit(post.unit));
        let unit = units.max_by_key(|(_, span, _)| (span.holds(self.day()), span.from()));
        let unit = unit.map_or_else(String::new, |(.., unit)| self.places.full_name(now, unit));
        format!("{unit} {}", post.title).trim().to_owned()
    }

    /// Who has a post by this source, and was not met in the file.
    pub(super) fn missing(&self, now: &Organisation, met: &BTreeSet<PersonId>) -> BTreeSet<PersonId> {
        let people = now.people_under(&Key::PeopleOf(self.source.body));
        let people: BTreeSet<_> = people.map(|(.., person)| person.person).collect();
        let is_there = |person: &PersonId| {
            let standing = self.standing(now, *person);
            standing.iter().any(|one| self.is_ours(one) && one.span.holds(self.day()))
        };
        people.difference(met).copied().filter(is_there).collect()
    }

    /// Ends what somebody has by this source.
    pub(super) fn leaves(&self, edit: &mut Edit<'_>, person: PersonId) -> Item {
        let day = self.day();
        let name = edit.next.person(person, day);
        let about = name.map_or_else(String::new, |name| format!("{} {}", name.number, name.called()));
        let mut told = Vec::new();
        for one in self.standing(&edit.next, person) {
            if self.is_ours(&one) && one.span.holds(day) {
                edit.end(one.record, day);
                told.push(self.ending_words(&edit.next, &one, day));
            }
        }
        let stays = edit.next.serves_from(person, day);
        let kind = if stays { Kind::Moved } else { Kind::Ended };
        match edit.take() {
            Ok(changes) => Item { kind, about, rows: Vec::new(), told, changes },
            Err(breaches) => {
                let told = breaches.iter().map(|breach: &Breach| breach.words().into()).collect();
                Item { kind: Kind::Wrong, about, rows: Vec::new(), told, changes: Vec::new() }
            }
        }
    }
}
