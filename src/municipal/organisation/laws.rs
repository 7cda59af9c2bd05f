//! What holds of every organisation, on every day; a change that breaks one of these is refused.

use std::collections::{BTreeMap, BTreeSet};

use intake::Date;

use crate::{
    calendar::before,
    ids::{BodyId, PersonId, PostId, UnitId},
    limits::{MAX_ADDRESS, MAX_CHARGES, MAX_DEPTH, MAX_NAME},
    organisation::{Key, Organisation},
    span::Span,
    statement::{Absence, Appointment, Away, Charged, Statement, Succession, Tenure, What},
    words::{Words, words},
};

/// Of what leans on one thing so many are named.
const MOST_NAMED: usize = 20;

/// What does not go together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Breach {
    /// Something is two things on one day.
    Twofold(String),
    /// A name is empty or longer than [`MAX_NAME`].
    Name(String),
    /// A unit is there on a day on which the unit above it is not.
    NothingAbove(String),
    /// A unit is above itself, or more than [`MAX_DEPTH`] are above it.
    Circle(String),
    /// A unit belongs to another body than the one above it.
    OtherBody(String),
    /// A unit, or somebody, is of a body that there is none of.
    NoBody(String),
    /// A post is there on a day on which its unit is not.
    PostWithoutUnit(String),
    /// Somebody has a post on a day on which it is not there.
    AppointedToNothing(String),
    /// Somebody has a post on a day on which nothing is said of himself.
    AppointedNobody(String),
    /// Somebody has two main posts on one day.
    TwoMains(String),
    /// Two people have one number on one day.
    SharedNumber(String),
    /// Two people have had one account.
    SharedAccount(String),
    /// A unit or a post is responsible for more than [`MAX_CHARGES`] matters.
    ManyCharges,
    /// What a unit or a post is responsible for is said twice for one day.
    TwofoldCharges,
    /// Something is no address.
    Address(String),
    /// An address is a person's account.
    AddressOfPerson(String),
    /// An address reaches two on one day.
    TwofoldAddress(String),
}

impl Breach {
    /// The sentence for whoever wants to change something.
    #[must_use]
    pub fn words(&self) -> Words {
        match self {
            Self::Twofold(name) => {
                words!("「{name}」の期間が重なっています。", "Two spans of \"{name}\" overlap.")
            }
            Self::Name(name) => words!(
                "「{name}」は名前として使えません(1〜{MAX_NAME} 文字)。",
                "\"{name}\" is no name (1 to {MAX_NAME} letters)."
            ),
            Self::NothingAbove(name) => words!(
                "「{name}」の上の所属が存在しない日があります。",
                "There are days of \"{name}\" on which the unit above it is not there."
            ),
            Self::Circle(name) => words!(
                "「{name}」の上下関係が循環しているか、深すぎます(上限 {MAX_DEPTH} 段)。",
                "\"{name}\" is above itself, or more than {MAX_DEPTH} units are above it."
            ),
            Self::OtherBody(name) => words!(
                "「{name}」の上の所属が別の機関のものです。",
                "The unit above \"{name}\" belongs to another body."
            ),
            Self::NoBody(name) => words!(
                "「{name}」の属する機関がありません。",
                "There is no body to which \"{name}\" belongs."
            ),
            Self::PostWithoutUnit(name) => words!(
                "職「{name}」の所属が存在しない日があります。",
                "There are days of the post \"{name}\" on which its unit is not there."
            ),
            Self::AppointedToNothing(name) => words!(
                "「{name}」が就いている職または所属が、その期間の一部で存在しません。先に異動先を決めてください。",
                "A post that \"{name}\" has is not there all the time; please say first where he goes."
            ),
            Self::AppointedNobody(name) => words!(
                "「{name}」の発令の期間に、本人の情報がない日があります。",
                "There are days of an appointment of \"{name}\" on which nothing is said of him."
            ),
            Self::TwoMains(name) => words!(
                "「{name}」の本務が同じ日に二つあります。",
                "\"{name}\" has two main appointments on one day."
            ),
            Self::SharedNumber(number) => words!(
                "職員番号「{number}」が同じ日に二人にあります。",
                "Two people have the number \"{number}\" on one day."
            ),
            Self::SharedAccount(account) => words!(
                "アカウント名「{account}」はほかの職員のものです。一度使ったアカウント名は別の人に使えません。",
                "The account \"{account}\" is or was another person's, and is never given to a second one."
            ),
            Self::ManyCharges => words!(
                "担当業務は、一つの所属または職につき {MAX_CHARGES} 件までです。",
                "A unit or a post is responsible for {MAX_CHARGES} matters at most."
            ),
            Self::TwofoldCharges => words!(
                "一つの所属または職の担当業務が、同じ日に二重に登録されています。",
                "What a unit or a post is responsible for is said twice for one day."
            ),
            Self::Address(name) => words!(
                "「{name}」は宛先の名前として使えません(半角の英小文字・数字・「.」「_」「-」、英数字で始まる {MAX_ADDRESS} 文字まで)。",
                "\"{name}\" is no address (small letters, digits, `.`, `_` and `-`, at most {MAX_ADDRESS}, the first a letter or digit)."
            ),
            Self::AddressOfPerson(name) => words!(
                "「{name}」は職員のアカウント名のため、宛先の名前に使えません。",
                "\"{name}\" is a person's account, and so no address."
            ),
            Self::TwofoldAddress(name) => words!(
                "宛先「{name}」は、その期間に別の所属または職のものです。",
                "The address \"{name}\" is another unit's or post's in that time."
            ),
        }
    }
}

/// What statements are about, as far as laws of it may break where they change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Touched {
    bodies: BTreeSet<BodyId>,
    units: BTreeSet<UnitId>,
    posts: BTreeSet<PostId>,
    people: BTreeSet<PersonId>,
    names: BTreeSet<String>,
    charged: BTreeSet<Charged>,
    addresses: BTreeSet<String>,
}

impl Touched {
    pub(crate) fn add(&mut self, statement: &Statement) {
        let mut named = |name: &str| {
            if name.trim().is_empty() || name.chars().count() > MAX_NAME {
                self.names.insert(name.chars().take(MAX_NAME).collect());
            }
        };
        match &statement.what {
            What::Body(body) => {
                named(&body.name);
                self.bodies.insert(body.body);
            }
            What::Unit(unit) => {
                named(&unit.name);
                unit.code.as_deref().into_iter().for_each(&mut named);
                self.units.insert(unit.unit);
                self.units.extend(unit.parent);
            }
            What::Post(post) => {
                if !post.title.is_empty() {
                    named(&post.title);
                }
                self.posts.insert(post.post);
            }
            What::Person(person) => {
                named(&person.name);
                person.used_name.as_deref().into_iter().for_each(&mut named);
                self.people.insert(person.person);
                self.addresses.extend(person.account.clone());
            }
            What::Appointment(Appointment { person, post, source, .. }) => {
                source.as_deref().into_iter().for_each(&mut named);
                self.people.insert(*person);
                self.posts.insert(*post);
            }
            What::Away(Away { person, why }) => {
                if let Absence::Seconded { to } = why {
                    named(to);
                }
                self.people.insert(*person);
            }
            What::Succession(Succession { from, to }) => self.units.extend([*from, *to]),
            What::Charge(charge) => {
                charge.words.iter().map(String::as_str).for_each(&mut named);
                self.charged.insert(charge.of);
            }
            What::Address(address) => drop(self.addresses.insert(address.name.clone())),
        }
    }
}

impl Organisation {
    /// What is wrong with the organisation as a whole; nothing, as no change makes it so.
    #[must_use]
    pub fn breaches(&self) -> Vec<Breach> {
        let mut touched = Touched::default();
        self.records().for_each(|(_, said)| touched.add(said));
        self.breaches_of(&touched)
    }

    /// What is wrong with some of it.
    pub(crate) fn breaches_of(&self, touched: &Touched) -> Vec<Breach> {
        let mut found: BTreeSet<_> = touched.names.iter().cloned().map(Breach::Name).collect();
        touched.bodies.iter().for_each(|body| self.body_breaches(*body, &mut found));
        touched.units.iter().for_each(|unit| self.unit_breaches(*unit, &mut found));
        touched.posts.iter().for_each(|post| self.post_breaches(*post, &mut found));
        touched.people.iter().for_each(|person| self.person_breaches(*person, &mut found));
        touched.charged.iter().for_each(|of| self.charge_breaches(*of, &mut found));
        touched.addresses.iter().for_each(|name| self.address_breaches(name, &mut found));
        found.into_iter().collect()
    }

    /// What is of a body that there is none of: what others lean on is not undone.
    fn body_breaches(&self, body: BodyId, found: &mut BTreeSet<Breach>) {
        if self.bodies_under(&Key::Body(body)).next().is_some() {
            return;
        }
        let units = self.units_under(&Key::Top(body)).map(|(.., unit)| unit.name.clone());
        let people = self.people_under(&Key::PeopleOf(body)).map(|(.., person)| person.called().to_owned());
        found.extend(units.chain(people).take(MOST_NAMED).map(Breach::NoBody));
    }

    fn unit_breaches(&self, unit: UnitId, found: &mut BTreeSet<Breach>) {
        let spans = |unit| self.units_under(&Key::Unit(unit)).map(|(_, span, _)| span).collect::<Vec<_>>();
        let own = spans(unit);
        for (_, span, said) in self.units_under(&Key::Unit(unit)) {
            if overlap(&own) {
                found.insert(Breach::Twofold(said.name.clone()));
            }
            if self.bodies_under(&Key::Body(said.body)).next().is_none() {
                found.insert(Breach::NoBody(said.name.clone()));
            }
            let Some(parent) = said.parent else { continue };
            if !span.is_covered_by(&spans(parent)) {
                found.insert(Breach::NothingAbove(said.name.clone()));
            }
            if self.units_under(&Key::Unit(parent)).any(|(.., parent)| parent.body != said.body) {
                found.insert(Breach::OtherBody(said.name.clone()));
            }
            if self.is_deep(unit) {
                found.insert(Breach::Circle(said.name.clone()));
            }
        }
        for (_, span, said) in self.units_under(&Key::Below(unit)) {
            if !span.is_covered_by(&own) {
                found.insert(Breach::NothingAbove(said.name.clone()));
            }
        }
        for (_, span, post) in self.posts_under(&Key::PostsOf(unit)) {
            if !span.is_covered_by(&own) {
                found.insert(Breach::PostWithoutUnit(post.title.clone()));
            }
        }
    }

    /// Whether on some day more than [`MAX_DEPTH`] units are above a unit, as with a circle they are.
    fn is_deep(&self, unit: UnitId) -> bool {
        // Where the way up changes: a day on which one of the units above begins to be something.
        let (mut days, mut seen, mut waiting) = (BTreeSet::new(), BTreeSet::new(), vec![unit]);
        while let Some(unit) = waiting.pop() {
            if !seen.insert(unit) {
                continue;
            }
            for (_, span, said) in self.units_under(&Key::Unit(unit)) {
                // A span without a beginning has its last day, or any day if it has no end either.
                let last = span.until().and_then(before);
                days.extend(span.from().or(last).or_else(|| Date::new(1, 1, 1)));
                waiting.extend(said.parent);
            }
        }
        days.into_iter().any(|day| self.path(unit, day).len() > MAX_DEPTH)
    }

    fn post_breaches(&self, post: PostId, found: &mut BTreeSet<Breach>) {
        let own: Vec<_> = self.posts_under(&Key::Post(post)).map(|(_, span, _)| span).collect();
        for (_, span, said) in self.posts_under(&Key::Post(post)) {
            let units = self.units_under(&Key::Unit(said.unit)).map(|(_, span, _)| span);
            if !span.is_covered_by(&units.collect::<Vec<_>>()) {
                found.insert(Breach::PostWithoutUnit(said.title.clone()));
            }
            if overlap(&own) {
                found.insert(Breach::Twofold(said.title.clone()));
            }
        }
        for (_, span, appointment) in self.appointments_under(&Key::AppointmentsTo(post)) {
            if !span.is_covered_by(&own) {
                found.insert(Breach::AppointedToNothing(self.name_of(appointment.person)));
            }
        }
    }

    /// Days on which a unit or a post is responsible for something and is not there do no harm: nobody is found by them.
    fn charge_breaches(&self, of: Charged, found: &mut BTreeSet<Breach>) {
        let all: Vec<_> = self.charges_under(&Key::ChargesOf(of)).collect();
        if all.iter().any(|(.., charge)| charge.words.len() > MAX_CHARGES) {
            found.insert(Breach::ManyCharges);
        }
        if overlap(&all.iter().map(|(_, span, _)| *span).collect::<Vec<_>>()) {
            found.insert(Breach::TwofoldCharges);
        }
    }

    fn address_breaches(&self, name: &str, found: &mut BTreeSet<Breach>) {
        let all: Vec<_> =
            self.addresses_under(&Key::Address(name.to_owned())).map(|(_, span, _)| span).collect();
        if all.is_empty() {
            return;
        }
        let is_letter = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9');
        let is_sound = (1..=MAX_ADDRESS).contains(&name.len())
            && name.bytes().all(|byte| is_letter(byte) || matches!(byte, b'.' | b'_' | b'-'))
            && name.bytes().next().is_some_and(is_letter);
        if !is_sound {
            found.insert(Breach::Address(name.chars().take(MAX_NAME).collect()));
        }
        if self.owner(name).is_some() {
            found.insert(Breach::AddressOfPerson(name.to_owned()));
        }
        if overlap(&all) {
            found.insert(Breach::TwofoldAddress(name.to_owned()));
        }
    }

    fn person_breaches(&self, person: PersonId, found: &mut BTreeSet<Breach>) {
        let own: Vec<_> = self.people_under(&Key::Person(person)).map(|(_, span, _)| span).collect();
        let name = || self.name_of(person);
        if overlap(&own) {
            found.insert(Breach::Twofold(name()));
        }
        for (_, span, said) in self.people_under(&Key::Person(person)) {
            let number = Key::Number(said.body, said.number.clone());
            let mut namesakes = self.people_under(&number);
            if namesakes.any(|(_, other, namesake)| namesake.person != person && other.overlaps(span)) {
                found.insert(Breach::SharedNumber(said.number.clone()));
            }
            if let Some(account) = &said.account
                && self.people_under(&Key::Account(account.clone())).any(|(.., other)| other.person != person)
            {
                found.insert(Breach::SharedAccount(account.clone()));
            }
        }
        let absences = self.absences_under(&Key::AbsencesOf(person)).map(|(_, span, _)| span);
        if overlap(&absences.collect::<Vec<_>>()) {
            found.insert(Breach::Twofold(name()));
        }
        let appointments: Vec<_> = self.appointments_under(&Key::AppointmentsOf(person)).collect();
        if appointments.iter().any(|(_, span, _)| !span.is_covered_by(&own)) {
            found.insert(Breach::AppointedNobody(name()));
        }
        let mains = appointments.iter().filter(|(.., appointment)| appointment.tenure == Tenure::Main);
        if overlap(&mains.map(|(_, span, _)| *span).collect::<Vec<_>>()) {
            found.insert(Breach::TwoMains(name()));
        }
        let mut to_posts: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (_, span, appointment) in &appointments {
            to_posts.entry(appointment.post).or_default().push(*span);
        }
        if to_posts.values().any(|spans| overlap(spans)) {
            found.insert(Breach::Twofold(name()));
        }
        for (_, span, appointment) in &appointments {
            let posts = self.posts_under(&Key::Post(appointment.post)).map(|(_, span, _)| span);
            if !span.is_covered_by(&posts.collect::<Vec<_>>()) {
                found.insert(Breach::AppointedToNothing(name()));
            }
        }
    }

    /// Some name of a person, for a sentence about him.
    fn name_of(&self, person: PersonId) -> String {
        let last = self.people_under(&Key::Person(person)).max_by_key(|(_, span, _)| span.from());
        last.map_or_else(String::new, |(.., person)| format!("{} {}", person.number, person.called()))
    }
}

/// Whether two of these spans have a day in common.
fn overlap(spans: &[Span]) -> bool {
    let mut spans = spans.to_vec();
    spans.sort();
    spans.windows(2).any(|pair| matches!(pair, [one, next] if one.overlaps(*next)))
}
