//! What somebody does to an organisation by hand: bodies and units are made, renamed, moved, merged, split and closed (機構改革);
//! people are away, or use another name. Each is one item of a change set, so that it is looked at, approved and undone
//! as any other.
//!
//! Nobody is left without a unit: a unit that is merged or split takes its people along, and one that has people in it
//! cannot be closed.

use std::collections::{BTreeMap, BTreeSet};

use intake::Date;

use crate::{
    edit::Edit,
    ids::{BodyId, Ids, PersonId, PostId, RecordId, UnitId},
    item::{Item, Kind},
    laws::Breach,
    organisation::{Key, Organisation},
    span::Span,
    statement::{Absence, Appointment, Away, Body, Charged, Person, Post, Statement, Succession, Unit, What},
    words::{Words, listed, words},
};

/// Why something cannot be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// There is no such unit on the day.
    NoUnit,
    /// There is no such person on the day.
    NoPerson,
    /// There is no such address on the day.
    NoAddress,
    /// The person has an account, which stays his.
    HasAccount {
        /// Which.
        account: String,
    },
    /// Fewer than one unit to merge, or fewer than two to split into.
    TooFew,
    /// People are in the unit, who would have none.
    InUse {
        /// Who.
        people: Vec<String>,
    },
    /// The unit is named by others, who have to be put elsewhere first.
    Named {
        /// The units below it.
        units: Vec<String>,
    },
    /// Of these nobody has said into which part they go.
    NotAssigned {
        /// Who.
        people: Vec<String>,
    },
    /// It does not go together with what is known.
    Breaches(Vec<Breach>),
}

impl Refused {
    /// The sentence for whoever wanted it.
    #[must_use]
    pub fn words(&self) -> Words {
        match self {
            Self::NoUnit => words!("その日にその所属はありません。", "There is no such unit on that day."),
            Self::NoPerson => words!("その日にその職員はいません。", "There is no such person on that day."),
            Self::NoAddress => {
                words!("その日にその宛先はありません。", "There is no such address on that day.")
            }
            Self::HasAccount { account } => words!(
                "その職員には、すでにアカウント「{account}」があります。",
                "That person has the account \"{account}\" already."
            ),
            Self::TooFew => words!(
                "統合は一つ以上、分割は二つ以上の所属を選んでください。",
                "Please choose one unit at least to merge, or two to split into."
            ),
            Self::InUse { people } => {
                let Words { ja, en } = listed(people);
                words!(
                    "所属に職員がいるため廃止できません。先に異動先を決めるか、統合してください: {ja}",
                    "People are in the unit; please move them first, or merge it: {en}"
                )
            }
            Self::Named { units } => {
                let Words { ja, en } = listed(units);
                words!(
                    "下に所属があるため廃止できません: {ja}",
                    "There are units below it, so it cannot be closed: {en}"
                )
            }
            Self::NotAssigned { people } => {
                let Words { ja, en } = listed(people);
                words!(
                    "分割後の所属が決まっていない職員がいます: {ja}",
                    "Nobody has said where these go: {en}"
                )
            }
            Self::Breaches(breaches) => {
                let all = breaches.iter().map(Breach::words);
                let (ja, en): (Vec<_>, Vec<_>) = all.map(|words| (words.ja, words.en)).unzip();
                Words { ja: ja.concat(), en: en.join(" ") }
            }
        }
    }
}

/// A unit that is to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewUnit {
    /// The body.
    pub body: BodyId,
    /// The unit above it; none at the top.
    pub parent: Option<UnitId>,
    /// 所属コード
    pub code: Option<String>,
    /// Its name.
    pub name: String,
    /// Its place among its sisters.
    pub order: u32,
}

/// What somebody does by hand: each verb gives an item, and the next one is tried on what that leaves.
pub struct Reorganisation<'a> {
    pub(crate) edit: Edit<'a>,
    pub(crate) day: Date,
}

impl<'a> Reorganisation<'a> {
    /// Begins with what stands. What is done holds from `day` on.
    pub fn of(known: &Organisation, day: Date, ids: &'a mut Ids) -> Self {
        Self { edit: Edit::of(known, ids), day }
    }

    /// The organisation with all that was done.
    #[must_use]
    pub fn known(&self) -> &Organisation {
        &self.edit.next
    }

    pub(crate) fn item(&mut self, kind: Kind, about: String, told: Words) -> Result<Item, Refused> {
        let changes = self.edit.take().map_err(Refused::Breaches)?;
        Ok(Item { kind, about, rows: Vec::new(), told: vec![told.into()], changes })
    }

    fn unit_record(&self, unit: UnitId) -> Result<(RecordId, Span, Unit), Refused> {
        let mut phases = self.edit.next.units_under(&Key::Unit(unit));
        let found = phases.find(|(_, span, _)| span.holds(self.day));
        found.map(|(record, span, unit)| (record, span, unit.clone())).ok_or(Refused::NoUnit)
    }

    fn person_record(&self, person: PersonId) -> Result<(RecordId, Person), Refused> {
        let mut phases = self.edit.next.people_under(&Key::Person(person));
        let found = phases.find(|(_, span, _)| span.holds(self.day));
        found.map(|(record, _, person)| (record, person.clone())).ok_or(Refused::NoPerson)
    }

    /// Makes a body, which nobody says since when it is there.
    ///
    /// # Errors
    /// [`Refused`]; then nothing is done.
    pub fn make_body(&mut self, name: &str) -> Result<(BodyId, Item), Refused> {
        let body = BodyId(self.edit.id());
        self.edit.add(Span::ALWAYS, What::Body(Body { body, name: name.to_owned() }));
        let told = words!("新しい機関「{name}」", "the new body \"{name}\"");
        Ok((body, self.item(Kind::New, name.to_owned(), told)?))
    }

    /// Makes a unit.
    ///
    /// # Errors
    /// [`Refused`]; then nothing is done.
    pub fn make_unit(&mut self, new: NewUnit) -> Result<(UnitId, Item), Refused> {
        let name = new.name.clone();
        let unit = self.add_unit(new);
        let (day, ja) = (self.day, self.day.in_era());
        let told = words!("新しい所属「{name}」({ja}から)", "the new unit \"{name}\" from {day} on");
        Ok((unit, self.item(Kind::New, name, told)?))
    }

    fn add_unit(&mut self, new: NewUnit) -> UnitId {
        let NewUnit { body, parent, code, name, order } = new;
        let unit = UnitId(self.edit.id());
        self.edit.add(Span::since(self.day), What::Unit(Unit { unit, body, parent, code, name, order }));
        unit
    }

    /// Gives a unit another name. It stays the same unit, whatever it was called before.
    ///
    /// # Errors
    /// [`Refused`]; then nothing is done.
    pub fn rename_unit(&mut self, unit: UnitId, name: &str) -> Result<Item, Refused> {
        let (record, _, old) = self.unit_record(unit)?;
        let (from, day, ja) = (old.name.clone(), self.day, self.day.in_era());
        self.edit.turn(record, day, What::Unit(Unit { name: name.to_owned(), ..old }));
        let told = words!("「{from}」→「{name}」({ja}から)", "\"{from}\" becomes \"{name}\" from {day} on");
        self.item(Kind::Renamed, from, told)
    }

    /// Puts a unit, with all below it, below another one of its body, or at the top.
    ///
    /// # Errors
    /// [`Refused`]; then nothing is done.
    pub fn move_unit(&mut self, unit: UnitId, parent: Option<UnitId>) -> Result<Item, Refused> {
        let (record, _, old) = self.unit_record(unit)?;
        let above = parent.map(|parent| self.unit_record(parent)).transpose()?;
        let (name, day, ja) = (old.name.clone(), self.day, self.day.in_era());
        let above = above.map_or_else(|| "—".to_owned(), |(.., above)| above.name);
        self.edit.turn(record, day, What::Unit(Unit { parent, ..old }));
        let told = words!(
            "「{name}」を「{above}」の下へ({ja}から)",
            "\"{name}\" goes below \"{above}\" from {day} on"
        );
        self.item(Kind::Reorganised, name, told)
    }

    /// Merges units into one that is made: its posts are made after theirs, and who has one of those has the like of it.
    /// Units below them go below it.
    ///
    /// # Errors
    /// [`Refused`]; then nothing is done.
    pub fn merge_units(
        &mut self,
        units: &BTreeSet<UnitId>,
        into: NewUnit,
    ) -> Result<(UnitId, Item), Refused> {
        if units.is_empty() {
            return Err(Refused::TooFew);
        }
        let olds = units.iter().map(|unit| self.unit_record(*unit)).collect::<Result<Vec<_>, _>>()?;
        let names: Vec<_> = olds.iter().map(|(.., old)| old.name.clone()).collect();
        let (name, day, ja) = (into.name.clone(), self.day, self.day.in_era());
        let Words { ja: olds, en: olds_en } = listed(&names);
        let unit = self.add_unit(into);
        for old in units {
            self.move_posts(*old, |_| Some(unit));
            self.move_units_below(*old, unit);
            self.hand_on(Charged::Unit(*old), Charged::Unit(unit));
            self.succeed(*old, &[unit]);
        }
        let told = words!(
            "{olds}を「{name}」に統合({ja}から)",
            "{olds_en} are merged into \"{name}\" from {day} on"
        );
        Ok((unit, self.item(Kind::Reorganised, name, told)?))
    }

    /// Splits a unit into several that are made. `goes` says of each who is in it, by the place in `parts`, where he
    /// goes. Units below it go below the first part, which is responsible for what it was.
    ///
    /// # Errors
    /// [`Refused`]; then nothing is done.
    pub fn split_unit(
        &mut self,
        unit: UnitId,
        parts: Vec<NewUnit>,
        goes: &BTreeMap<PersonId, usize>,
    ) -> Result<(Vec<UnitId>, Item), Refused> {
        let (.., old) = self.unit_record(unit)?;
        let count = parts.len();
        let there = self.people_in(unit);
        let lost = there.iter().filter(|person| goes.get(*person).is_none_or(|part| *part >= count));
        let lost: Vec<_> = lost.map(|person| self.name_of(*person)).collect();
        if count < 2 {
            return Err(Refused::TooFew);
        }
        if !lost.is_empty() {
            return Err(Refused::NotAssigned { people: lost });
        }
        let names: Vec<_> = parts.iter().map(|part| part.name.clone()).collect();
        let (from, names, day, ja) = (old.name, names.join("、"), self.day, self.day.in_era());
        let made: Vec<_> = parts.into_iter().map(|part| self.add_unit(part)).collect();
        self.move_posts(unit, |person| goes.get(&person).and_then(|part| made.get(*part)).copied());
        if let Some(first) = made.first() {
            self.move_units_below(unit, *first);
            self.hand_on(Charged::Unit(unit), Charged::Unit(*first));
        }
        self.succeed(unit, &made);
        let told =
            words!("「{from}」を{names}に分割({ja}から)", "\"{from}\" is split into {names} from {day} on");
        Ok((made, self.item(Kind::Reorganised, from, told)?))
    }

    /// Closes a unit that has neither people nor units below it any more.
    ///
    /// # Errors
    /// [`Refused`], with who and what is still there; then nothing is done.
    pub fn close_unit(&mut self, unit: UnitId) -> Result<Item, Refused> {
        let (.., old) = self.unit_record(unit)?;
        let people: Vec<_> = self.people_in(unit).into_iter().map(|person| self.name_of(person)).collect();
        if !people.is_empty() {
            return Err(Refused::InUse { people });
        }
        let below =
            self.edit.next.units_under(&Key::Below(unit)).filter(|(_, span, _)| !span.is_over(self.day));
        let units: Vec<_> = below.map(|(.., unit)| unit.name.clone()).collect();
        if !units.is_empty() {
            return Err(Refused::Named { units });
        }
        self.move_posts(unit, |_| None);
        self.succeed(unit, &[]);
        let (name, day, ja) = (old.name, self.day, self.day.in_era());
        let told = words!("「{name}」を廃止({ja})", "\"{name}\" is closed on {day}");
        self.item(Kind::Ended, name, told)
    }

    /// Says that somebody is away from his posts until a day, or until it is said that he is back (`until` is the day on
    /// which he is there again).
    ///
    /// # Errors
    /// [`Refused`]; then nothing is done.
    pub fn away(&mut self, person: PersonId, why: Absence, until: Option<Date>) -> Result<Item, Refused> {
        let (_, said) = self.person_record(person)?;
        let span = Span::new(Some(self.day), until).ok_or(Refused::NoPerson)?;
        self.edit.add(span, What::Away(Away { person, why: why.clone() }));
        let (ja, day) = (self.day.in_era(), self.day);
        let told = match &why {
            Absence::Suspended => words!("休職({ja}から)", "suspended from {day} on"),
            Absence::Leave => words!("休業({ja}から)", "on leave from {day} on"),
            Absence::Seconded { to } => words!("{to}へ出向({ja}から)", "seconded to {to} from {day} on"),
        };
        self.item(Kind::Changed, format!("{} {}", said.number, said.called()), told)
    }

    /// Says that somebody is back.
    ///
    /// # Errors
    /// [`Refused`]; then nothing is done.
    pub fn back(&mut self, person: PersonId) -> Result<Item, Refused> {
        let (_, said) = self.person_record(person)?;
        let away: Vec<_> = self.edit.next.absences_under(&Key::AbsencesOf(person)).collect();
        let records: Vec<_> =
            away.iter().filter(|(_, span, _)| span.holds(self.day)).map(|(record, ..)| *record).collect();
        for record in records {
            self.edit.end(record, self.day);
        }
        let (ja, day) = (self.day.in_era(), self.day);
        self.item(
            Kind::Changed,
            format!("{} {}", said.number, said.called()),
            words!("復職({ja})", "back on {day}"),
        )
    }

    /// Says by which name somebody goes at work (旧姓使用); none takes it back. His legal name stays.
    ///
    /// # Errors
    /// [`Refused`]; then nothing is done.
    pub fn use_name(&mut self, person: PersonId, used_name: Option<&str>) -> Result<Item, Refused> {
        let (record, said) = self.person_record(person)?;
        let about = format!("{} {}", said.number, said.called());
        let new = Person { used_name: used_name.map(str::to_owned), ..said };
        let (name, ja, day) = (new.called().to_owned(), self.day.in_era(), self.day);
        self.edit.turn(record, self.day, What::Person(new));
        let told = words!("職場で使う氏名「{name}」({ja}から)", "called \"{name}\" from {day} on");
        self.item(Kind::Renamed, about, told)
    }

    /// Says that an account is somebody's who has none.
    ///
    /// # Errors
    /// [`Refused`]; then nothing is done.
    pub fn give_account(&mut self, person: PersonId, account: &str) -> Result<Item, Refused> {
        let (record, said) = self.person_record(person)?;
        if let Some(account) = said.account {
            return Err(Refused::HasAccount { account });
        }
        let about = format!("{} {}", said.number, said.called());
        let (ja, day) = (self.day.in_era(), self.day);
        let new = Person { account: Some(account.to_owned()), ..said };
        self.edit.turn(record, self.day, What::Person(new));
        let told = words!("アカウント「{account}」({ja}から)", "the account \"{account}\" from {day} on");
        self.item(Kind::Changed, about, told)
    }

    /// The people who have a post in a unit from the day on.
    fn people_in(&self, unit: UnitId) -> BTreeSet<PersonId> {
        let posts = self.edit.next.posts_under(&Key::PostsOf(unit)).map(|(.., post)| post.post);
        let appointments =
            posts.flat_map(|post| self.edit.next.appointments_under(&Key::AppointmentsTo(post)));
        appointments
            .filter(|(_, span, _)| !span.is_over(self.day))
            .map(|(.., appointment)| appointment.person)
            .collect()
    }

    fn name_of(&self, person: PersonId) -> String {
        let found = self.edit.next.person(person, self.day);
        found.map_or_else(String::new, |person| format!("{} {}", person.number, person.called()))
    }

    /// Ends the posts of a unit; who has one has the like of it in the unit that `goes` says.
    fn move_posts(&mut self, unit: UnitId, goes: impl Fn(PersonId) -> Option<UnitId>) {
        let posts = self.edit.next.posts_under(&Key::PostsOf(unit));
        let posts: Vec<_> = posts
            .filter(|(_, span, _)| !span.is_over(self.day))
            .map(|(record, _, post)| (record, post.clone()))
            .collect();
        for (record, post) in posts {
            let appointments = self.edit.next.appointments_under(&Key::AppointmentsTo(post.post));
            let appointments: Vec<_> = appointments
                .filter(|(_, span, _)| !span.is_over(self.day))
                .map(|(record, span, appointment)| (record, span, appointment.clone()))
                .collect();
            for (record, span, appointment) in appointments {
                let Some(unit) = goes(appointment.person) else { continue };
                let old = post.post;
                let post = self.like(unit, &post);
                self.hand_on(Charged::Post(old), Charged::Post(post));
                // Two posts of the same title, in two units that are merged, are one post: it is his once.
                self.edit.end(record, self.day);
                if let Some(span) = span.after(self.day) {
                    let what = Appointment { post, ..appointment };
                    self.appoint(span, what);
                }
            }
            self.edit.end(record, self.day);
        }
    }

    /// Appoints somebody, once to each post.
    fn appoint(&mut self, span: Span, what: Appointment) {
        let has = self.edit.next.appointments_under(&Key::AppointmentsOf(what.person));
        let has = has.filter(|(_, other, had)| had.post == what.post && other.overlaps(span));
        let has = has.map(|(record, other, had)| (record, other, had.clone())).next();
        let Some((record, other, had)) = has else {
            self.edit.add(span, What::Appointment(what));
            return;
        };
        let until = span.until().zip(other.until()).map(|(one, other)| one.max(other));
        if let Some(span) = Span::new(span.from().min(other.from()), until) {
            let what = Appointment { tenure: had.tenure.min(what.tenure), ..had };
            self.edit.say(record, Some(Statement { span, what: What::Appointment(what) }));
        }
    }

    /// The post of the same title in another unit, made if it is not there.
    fn like(&mut self, unit: UnitId, old: &Post) -> PostId {
        let alike = self.edit.next.posts_under(&Key::PostsOf(unit));
        let alike = alike.filter(|(_, span, _)| !span.is_over(self.day)).map(|(.., post)| post);
        let alike = alike.filter(|post| (&post.title, post.heads) == (&old.title, old.heads));
        if let Some(post) = alike.map(|post| post.post).min() {
            return post;
        }
        let post = PostId(self.edit.id());
        self.edit.add(Span::since(self.day), What::Post(Post { post, unit, ..old.clone() }));
        post
    }

    fn move_units_below(&mut self, unit: UnitId, to: UnitId) {
        let below =
            self.edit.next.units_under(&Key::Below(unit)).filter(|(_, span, _)| !span.is_over(self.day));
        let below: Vec<_> = below.map(|(record, _, unit)| (record, unit.clone())).collect();
        for (record, said) in below {
            self.edit.turn(record, self.day, What::Unit(Unit { parent: Some(to), ..said }));
        }
    }

    /// Ends a unit, with others in its place.
    fn succeed(&mut self, unit: UnitId, successors: &[UnitId]) {
        let phases =
            self.edit.next.units_under(&Key::Unit(unit)).filter(|(_, span, _)| !span.is_over(self.day));
        let phases: Vec<_> = phases.map(|(record, ..)| record).collect();
        for record in phases {
            self.edit.end(record, self.day);
        }
        for to in successors {
            let succession = Succession { from: unit, to: *to };
            self.edit.add(Span::since(self.day), What::Succession(succession));
        }
    }
}
