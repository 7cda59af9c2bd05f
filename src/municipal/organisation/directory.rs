//! The directory of an authority on a day: people are found by name, reading, unit and post, whatever letters they are written in.
//!
//! It is made once for a day and holds no more than it shows: the name used at work, never the legal one beside it, and no
//! number. Texts are compared folded (髙橋 and 高橋, ﾀｶﾊｼ and たかはし, 龍ヶ崎 and 竜ケ崎) and shown as they are written.
//!
//! Who looks into it names the bodies or the units that he may see. Of others nothing is found, shown or counted: neither their
//! people nor the posts in them of people whom he does see.
//!
//! Reading order: [`Directory::of`], [`Directory::search`], [`Directory::posts`].

use std::collections::{BTreeSet, HashMap, HashSet};

use base::{Term, folded};
use intake::Date;
use memchr::memmem::Finder;

use crate::{
    as_of::Holder,
    ids::{BodyId, PersonId, PostId, UnitId},
    limits::{MAX_CHARGES, MAX_DEPTH, MAX_NAME, MAX_WORDS},
    organisation::Organisation,
    statement::{Absence, Charged, Tenure, What},
};

/// What somebody may see of a directory.
#[derive(Clone, Copy, Debug)]
pub enum Seen<'a> {
    /// Some bodies.
    Bodies(&'a BTreeSet<BodyId>),
    /// Some units.
    Units(&'a BTreeSet<UnitId>),
}

impl Seen<'_> {
    /// Whether a unit of a body is seen.
    fn unit(&self, unit: UnitId, body: BodyId) -> bool {
        match self {
            Self::Bodies(bodies) => bodies.contains(&body),
            Self::Units(units) => units.contains(&unit),
        }
    }

    /// Whether somebody is seen by having his number in a body.
    fn home(&self, body: BodyId) -> bool {
        matches!(self, Self::Bodies(bodies) if bodies.contains(&body))
    }
}

/// A post as a directory shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListedPost<'a> {
    /// The unit.
    pub unit: UnitId,
    /// The body whose the unit is.
    pub body: BodyId,
    /// The names of the unit and of those above it, from the top.
    pub path: &'a [String],
    /// 職名; empty where only the unit is known.
    pub title: &'a str,
    /// As what he has it.
    pub tenure: Tenure,
    /// Its place among the posts of a list, the higher ones first.
    pub order: u32,
    /// What the post is responsible for, and then its unit.
    pub charges: [&'a [String]; 2],
}

impl<'a> ListedPost<'a> {
    /// The name of the unit.
    #[must_use]
    pub fn unit_name(&self) -> &'a str {
        self.path.last().map_or("", String::as_str)
    }
}

/// Somebody as a directory shows him: with his posts, so that two of one name are told apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Who; it is this that a reader chooses, and not the name.
    pub person: PersonId,
    /// How he is called.
    pub called: String,
    /// フリガナ
    pub reading: Option<String>,
    /// His account, if he has one.
    pub account: Option<String>,
    /// Why he is away, if he is.
    pub away: Option<Absence>,
    /// The body in which he has his number.
    body: BodyId,
    /// His posts, the main one first.
    posts: Vec<Held>,
    /// His name, reading and account as they are looked through: a line each, since no word has an end of line in it.
    key: String,
    /// Where the reading begins in that.
    reading_at: usize,
}

/// A post of somebody's: places of what many have alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Held {
    seat: u32,
    title: u32,
    tenure: Tenure,
    order: u32,
}

/// A unit.
#[derive(Clone, Debug)]
struct Seat {
    unit: UnitId,
    body: BodyId,
    path: Vec<String>,
    /// What it is responsible for.
    charges: Vec<String>,
    /// The whole path, and a line for each matter: 総務部防災課 finds it as 防災課 does.
    key: String,
}

/// A title.
#[derive(Clone, Debug)]
struct Title {
    title: String,
    /// What the post is responsible for.
    charges: Vec<String>,
    key: String,
}

/// The people of an authority on a day.
#[derive(Clone, Debug, Default)]
pub struct Directory {
    /// In the order of their readings; who has none comes last.
    people: Vec<Listed>,
    seats: Vec<Seat>,
    titles: Vec<Title>,
}

/// What was found.
#[derive(Debug, PartialEq, Eq)]
pub struct Found<'a> {
    /// The first of them, each with his place among [`Directory::people`].
    pub people: Vec<(usize, &'a Listed)>,
    /// How many more there are.
    pub more: usize,
}

impl Directory {
    /// On a day: everybody who has a post then.
    #[must_use]
    pub fn of(known: &Organisation, day: Date) -> Self {
        let mut making =
            Making { known, day, made: Self::default(), seats: HashMap::new(), titles: HashMap::new() };
        let mut seen = HashSet::new();
        for (_, said) in known.records() {
            if let What::Person(person) = &said.what
                && said.span.holds(day)
                && !person.called().is_empty()
                && seen.insert(person.person)
            {
                making.list(person.person, person.body);
            }
        }
        let mut made = making.made;
        made.people.sort_by(|one, other| one.place().cmp(&other.place()));
        made
    }

    /// Leaves those out who are not wanted.
    pub fn retain(&mut self, is_wanted: impl FnMut(&Listed) -> bool) {
        self.people.retain(is_wanted);
        self.people.shrink_to_fit();
    }

    /// Everybody, by reading.
    pub fn people(&self) -> impl ExactSizeIterator<Item = &Listed> {
        self.people.iter()
    }

    /// Somebody by his place among them.
    #[must_use]
    pub fn person(&self, place: usize) -> Option<&Listed> {
        self.people.get(place)
    }

    /// The bodies of which somebody is.
    #[must_use]
    pub fn bodies(&self) -> BTreeSet<BodyId> {
        self.people.iter().map(|listed| listed.body).chain(self.seats.iter().map(|seat| seat.body)).collect()
    }

    /// The bodies that somebody is of: those of his posts, and that of his number.
    #[must_use]
    pub fn bodies_of(&self, listed: &Listed) -> BTreeSet<BodyId> {
        let posts = self.posts(listed, None).map(|post| post.body);
        posts.chain([listed.body]).collect()
    }

    /// The posts of somebody that may be seen, or all, the main one first.
    pub fn posts<'a>(
        &'a self,
        listed: &'a Listed,
        seen: Option<Seen<'a>>,
    ) -> impl Iterator<Item = ListedPost<'a>> {
        let shown = listed.posts.iter().filter_map(|held| {
            let (seat, title) = (self.seat(*held)?, self.titles.get(usize::try_from(held.title).ok()?)?);
            let Held { tenure, order, .. } = *held;
            let charges = [title.charges.as_slice(), seat.charges.as_slice()];
            let (path, title) = (seat.path.as_slice(), title.title.as_str());
            Some(ListedPost { unit: seat.unit, body: seat.body, path, title, tenure, order, charges })
        });
        shown.filter(move |post| seen.is_none_or(|seen| seen.unit(post.unit, post.body)))
    }

    fn seat(&self, held: Held) -> Option<&Seat> {
        self.seats.get(usize::try_from(held.seat).ok()?)
    }

    /// Who is meant by a few words, among the people who may be seen: each of the first [`MAX_WORDS`] is in his name, his
    /// reading, his account's name, a unit of his that may be seen, one above it, his title there, or what that unit or post is
    /// responsible for. Those whose name or reading
    /// begins with the first word come first, then the higher posts, then by reading. At most so many are given, and how many
    /// more there are is counted. Nobody, if there is no word.
    #[must_use]
    pub fn search(&self, text: &str, seen: Seen<'_>, most: usize) -> Found<'_> {
        let words = text.split_whitespace().take(MAX_WORDS).map(|word| joined(Term::new(word).folded()));
        let mut distinct: Vec<String> = Vec::new();
        for word in words {
            if !word.is_empty() && !distinct.contains(&word) {
                distinct.push(word);
            }
        }
        let words = distinct;
        let Some(first) = words.first() else { return Found { people: Vec::new(), more: 0 } };
        let sought = Sought::new(&words);
        // What many have alike is looked through once.
        let in_seats: Vec<Words> = self.seats.iter().map(|seat| sought.within(&seat.key)).collect();
        let in_titles: Vec<Words> = self.titles.iter().map(|title| sought.within(&title.key)).collect();
        let among = |all: &[Words], at: u32| usize::try_from(at).ok().and_then(|at| all.get(at)).copied();
        let mut meant: Vec<(bool, u32, usize)> = Vec::new();
        for (place, listed) in self.people.iter().enumerate() {
            let (mut found, mut order, mut is_seen) = (0, u32::MAX, seen.home(listed.body));
            for held in &listed.posts {
                if self.seat(*held).is_some_and(|seat| seen.unit(seat.unit, seat.body)) {
                    (is_seen, order) = (true, order.min(held.order));
                    found |= among(&in_seats, held.seat).unwrap_or_default();
                    found |= among(&in_titles, held.title).unwrap_or_default();
                }
            }
            if is_seen && sought.are_all(found, &listed.key) {
                meant.push((!listed.begins(first), order, place));
            }
        }
        let more = meant.len().saturating_sub(most);
        if more > 0 && most > 0 {
            meant.select_nth_unstable(most - 1);
        }
        meant.truncate(most);
        meant.sort_unstable();
        let people = meant.into_iter().filter_map(|(.., place)| Some((place, self.people.get(place)?)));
        Found { people: people.collect(), more }
    }

    /// About how many bytes it takes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let people = self.people.iter().map(|one| {
            let texts = [Some(&one.called), one.reading.as_ref(), one.account.as_ref(), Some(&one.key)];
            let texts: usize = texts.into_iter().flatten().map(String::capacity).sum();
            size_of::<Listed>() + texts + one.posts.capacity() * size_of::<Held>()
        });
        let seats = self.seats.iter().map(|seat| {
            let path: usize = seat.path.iter().map(|name| size_of::<String>() + name.capacity()).sum();
            size_of::<Seat>() + seat.key.capacity() + path + of_charges(&seat.charges)
        });
        let titles = self.titles.iter().map(|one| {
            size_of::<Title>() + one.title.capacity() + one.key.capacity() + of_charges(&one.charges)
        });
        people.chain(seats).chain(titles).sum()
    }
}

/// Which of the words are found somewhere: a bit each.
type Words = u8;

const _: () = assert!(MAX_WORDS <= 8, "each word has a bit");

/// Words that are looked for in many texts.
struct Sought<'a> {
    words: Vec<Finder<'a>>,
    all: Words,
}

impl<'a> Sought<'a> {
    fn new(words: &'a [String]) -> Self {
        let all = words.iter().fold(0, |all: Words, _| (all << 1) | 1);
        Self { words: words.iter().map(|word| Finder::new(word.as_bytes())).collect(), all }
    }

    fn within(&self, key: &str) -> Words {
        let bits = self.words.iter().enumerate().filter(|(_, word)| word.find(key.as_bytes()).is_some());
        bits.fold(0, |found, (at, _)| found | (1 << at))
    }

    /// Whether those that were not found elsewhere are all in a text.
    fn are_all(&self, found: Words, key: &str) -> bool {
        let mut missing = self.words.iter().enumerate().filter(|(at, _)| found & (1 << at) == 0);
        found == self.all || missing.all(|(_, word)| word.find(key.as_bytes()).is_some())
    }
}

/// A directory that is being made.
struct Making<'a> {
    known: &'a Organisation,
    day: Date,
    made: Directory,
    seats: HashMap<UnitId, u32>,
    titles: HashMap<PostId, u32>,
}

impl Making<'_> {
    fn list(&mut self, person: PersonId, body: BodyId) {
        let holders = self.known.posts_of(person, self.day);
        let Some(said) = holders.first().map(|holder| holder.person) else { return };
        let posts = holders.iter().filter_map(|holder| {
            let (seat, title) = (self.seat(holder)?, self.title(holder)?);
            Some(Held { seat, title, tenure: holder.tenure, order: holder.post.order })
        });
        let posts: Vec<Held> = posts.collect();
        let called = said.called().to_owned();
        let mut key = folded_key(&called);
        key.push('\n');
        let reading_at = key.len();
        key.push_str(&folded_key(said.reading.as_deref().unwrap_or_default()));
        key.push_str("\n@");
        key.push_str(&folded_key(said.account.as_deref().unwrap_or_default()));
        self.made.people.push(Listed {
            person,
            called,
            reading: said.reading.clone(),
            account: said.account.clone(),
            away: self.known.absence(person, self.day).cloned(),
            body,
            posts,
            key,
            reading_at,
        });
    }

    fn seat(&mut self, holder: &Holder<'_>) -> Option<u32> {
        let unit = holder.post.unit;
        if let Some(seat) = self.seats.get(&unit) {
            return Some(*seat);
        }
        let path = self.known.path(unit, self.day);
        let body = path.last()?.body;
        let path: Vec<String> = path.iter().map(|unit| unit.name.clone()).collect();
        let seat = u32::try_from(self.made.seats.len()).ok()?;
        let charges = self.known.charges(Charged::Unit(unit), self.day).to_vec();
        let key = with_charges(folded_key(&path.concat()), &charges);
        self.made.seats.push(Seat { unit, body, path, charges, key });
        self.seats.insert(unit, seat);
        Some(seat)
    }

    fn title(&mut self, holder: &Holder<'_>) -> Option<u32> {
        if let Some(title) = self.titles.get(&holder.post.post) {
            return Some(*title);
        }
        let text = &holder.post.title;
        let charges = self.known.charges(Charged::Post(holder.post.post), self.day);
        // There are far fewer titles than posts.
        let known = self.made.titles.iter().position(|one| one.title == *text && one.charges == charges);
        let title = u32::try_from(known.unwrap_or(self.made.titles.len())).ok()?;
        if known.is_none() {
            let key = with_charges(folded_key(text), charges);
            self.made.titles.push(Title { title: text.clone(), charges: charges.to_vec(), key });
        }
        self.titles.insert(holder.post.post, title);
        Some(title)
    }
}

impl Listed {
    /// Whether his name or his reading begins so.
    fn begins(&self, word: &str) -> bool {
        let reading = self.key.get(self.reading_at..).unwrap_or_default();
        self.key.starts_with(word) || reading.starts_with(word)
    }

    fn place(&self) -> (bool, Option<&str>, &str, PersonId) {
        (self.reading.is_none(), self.reading.as_deref(), &self.called, self.person)
    }
}

/// A key, and a line for each matter: no word goes over the end of one.
fn with_charges(mut key: String, charges: &[String]) -> String {
    for matter in charges.iter().take(MAX_CHARGES) {
        key.push('\n');
        key.push_str(&folded_key(matter));
    }
    key
}

/// The bytes that matters take.
fn of_charges(charges: &[String]) -> usize {
    charges.iter().map(|matter| size_of::<String>() + matter.capacity()).sum()
}

fn folded_key(text: &str) -> String {
    joined(&folded(text, MAX_NAME * MAX_DEPTH))
}

/// A folded text in which the ga of place names is one letter, however it is written: 関ケ原, 関ヶ原 and 関が原. It is one
/// behind a kanji; kana among themselves stay what they are.
fn joined(folded: &str) -> String {
    let mut before = None;
    let letters = folded.chars().map(|letter| {
        let is_ga = before.is_some_and(is_kanji) && matches!(letter, 'が' | 'か');
        before = Some(letter);
        if is_ga { 'け' } else { letter }
    });
    letters.collect()
}

fn is_kanji(letter: char) -> bool {
    matches!(letter, '々' | '\u{3400}'..='\u{9fff}' | '\u{20000}'..='\u{3ffff}')
}
