//! The directory of bodies on a day: people are found by name, reading, unit and post, whatever letters they are written in.
//!
//! It is made once for a day and holds no more than it shows: the name used at work, never the legal one beside it, and no
//! number. Texts are compared folded (髙橋 and 高橋, ﾀｶﾊｼ and たかはし, 龍ヶ崎 and 竜ケ崎) and shown as they are written.

use base::{Term, folded};
use intake::Date;

use crate::{
    ids::{BodyId, PersonId, UnitId},
    limits::{MAX_DEPTH, MAX_FOUND, MAX_NAME, MAX_WORDS},
    organisation::Organisation,
    statement::{Absence, Tenure},
};

/// A post as a directory shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedPost {
    /// The unit.
    pub unit: UnitId,
    /// The names of the unit and of those above it, from the top.
    pub path: Vec<String>,
    /// 職名
    pub title: String,
    /// As what he has it.
    pub tenure: Tenure,
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
    /// His posts, the main one first.
    pub posts: Vec<ListedPost>,
    /// Why he is away, if he is.
    pub away: Option<Absence>,
    /// Where he stands in a list: the place of his highest post.
    order: u32,
    /// What is looked through: name, reading, then units and posts.
    keys: Vec<String>,
}

/// The people of some bodies on a day, in the order of their posts and readings.
#[derive(Clone, Debug, Default)]
pub struct Directory {
    people: Vec<Listed>,
}

/// What was found.
#[derive(Debug, PartialEq, Eq)]
pub struct Found<'a> {
    /// At most [`MAX_FOUND`] people.
    pub people: Vec<&'a Listed>,
    /// How many more there are.
    pub more: usize,
}

impl Directory {
    /// Of these bodies on a day: everybody whose number is of one of them and who has a post.
    #[must_use]
    pub fn of(known: &Organisation, bodies: &[BodyId], day: Date) -> Self {
        let people = bodies.iter().flat_map(|body| known.people(*body, day));
        let mut people: Vec<_> = people.map(|person| Listed::of(known, person.person, day)).collect();
        people.sort_by(|one, other| one.place().cmp(&other.place()));
        people.dedup_by_key(|listed| listed.person);
        Self { people: people.into_iter().filter(|listed| !listed.called.is_empty()).collect() }
    }

    /// Everybody.
    pub fn people(&self) -> impl Iterator<Item = &Listed> {
        self.people.iter()
    }

    /// Who is meant by a few words: each of the first [`MAX_WORDS`] is in his name, his reading, a unit of his, one above it
    /// or a title. Those whose name or reading begins with the first word come first, then the higher posts. Nobody, if
    /// there is no word.
    #[must_use]
    pub fn search(&self, text: &str) -> Found<'_> {
        let words = text.split_whitespace().take(MAX_WORDS).map(|word| joined(Term::new(word).folded()));
        let words: Vec<_> = words.filter(|word| !word.is_empty()).collect();
        let Some(first) = words.first() else { return Found { people: Vec::new(), more: 0 } };
        let is_meant =
            |listed: &&Listed| words.iter().all(|word| listed.keys.iter().any(|key| key.contains(word)));
        let begins = |listed: &&Listed| listed.keys.iter().take(2).any(|key| key.starts_with(first));
        let (mut people, rest): (Vec<_>, Vec<_>) = self.people.iter().filter(is_meant).partition(begins);
        people.extend(rest);
        let more = people.len().saturating_sub(MAX_FOUND);
        people.truncate(MAX_FOUND);
        Found { people, more }
    }
}

impl Listed {
    fn of(known: &Organisation, person: PersonId, day: Date) -> Self {
        let holders = known.posts_of(person, day);
        let posts: Vec<_> = holders
            .iter()
            .map(|holder| ListedPost {
                unit: holder.post.unit,
                path: known.path(holder.post.unit, day).iter().map(|unit| unit.name.clone()).collect(),
                title: holder.post.title.clone(),
                tenure: holder.tenure,
            })
            .collect();
        let said = known.person(person, day);
        let called = said.map_or_else(String::new, |said| said.called().to_owned());
        let reading = said.and_then(|said| said.reading.clone());
        let key = |text: &str| joined(&folded(text, MAX_NAME * MAX_DEPTH));
        let mut keys = vec![key(&called), key(reading.as_deref().unwrap_or_default())];
        for post in &posts {
            // A unit by its whole path: 総務部防災課 finds it as 防災課 does.
            keys.extend([key(&post.path.concat()), key(&post.title)]);
        }
        Self {
            person,
            called,
            reading,
            account: said.and_then(|said| said.account.clone()),
            order: holders.iter().map(|holder| holder.post.order).min().unwrap_or(u32::MAX),
            away: known.absence(person, day).cloned(),
            posts,
            keys,
        }
    }

    fn place(&self) -> (u32, Option<&str>, &str, PersonId) {
        (self.order, self.reading.as_deref(), &self.called, self.person)
    }
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
