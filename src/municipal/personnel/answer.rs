//! What somebody is told who gave an [`Order`](crate::Order).

use intake::{Class, Date, Field, Mapping};
use organisation::{Absence, ChangeSet, ItemState, Kind, SetId, Tenure, Told, UnitId};
use serde::{Deserialize, Serialize};

/// What somebody is told.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// It is done, and there is nothing more to tell.
    Done,
    /// What the columns of a file probably mean.
    Columns(Box<Columns>),
    /// What became of a file.
    Imported(Box<Imported>),
    /// What acts would do.
    Tried(Tried),
    /// Change sets.
    List(Vec<(SetId, ChangeSet)>),
    /// A change set, as it is now.
    Set(SetId, Box<ChangeSet>),
    /// Lines of a change set; none behind the last.
    Lines(Vec<Line>),
    /// What an import can name.
    Known(Known),
    /// People who were found.
    Found {
        /// They, the best first.
        people: Vec<FoundPerson>,
        /// How many more there are.
        more: usize,
    },
    /// Who is where.
    Shown(Shown),
}

/// What an import can name.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Known {
    /// The bodies of today.
    pub bodies: Vec<String>,
    /// The names of mappings that are saved.
    pub mappings: Vec<String>,
    /// Of how many accounts an identity provider has told.
    #[serde(default)]
    pub told: usize,
}

/// Somebody who was found.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FoundPerson {
    /// The name by which others know him.
    pub called: String,
    /// フリガナ
    pub reading: Option<String>,
    /// The name of the account.
    pub account: Option<String>,
    /// The units of his posts, each with those above it, and his title there; the main post first.
    pub posts: Vec<(Vec<String>, String)>,
    /// What those posts and units are responsible for.
    pub charges: Vec<String>,
    /// Why he is away, if he is.
    pub away: Option<Absence>,
}

/// What the columns of a file probably mean.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Columns {
    /// As it would be saved.
    pub mapping: Mapping,
    /// The columns that have a meaning: place from 1, header, meaning, and how sure that is.
    pub found: Vec<(usize, String, Field, intake::Confidence)>,
    /// Fields that several columns may have; the first of these is taken.
    pub ambiguous: Vec<(Field, Vec<usize>)>,
    /// Columns that are not read.
    pub unused: Vec<(usize, String)>,
    /// The encoding in which the file was read.
    pub encoding: String,
    /// Why an import does not take it as it is, if it does not.
    pub doubt: Option<Told>,
    /// How many digits the numbers of the people have who are known, where those of the file are these but for zeros in front.
    #[serde(default)]
    pub lost_zeros: Option<usize>,
    /// The first rows below the headings, as they were read: the beginnings of their cells.
    #[serde(default)]
    pub samples: Vec<Vec<String>>,
}

/// What became of a file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Imported {
    /// The change set that was made of it; none where the file changes nothing and nothing is wrong with it.
    pub set: Option<(SetId, ChangeSet)>,
    /// How many people and units stay as they are.
    pub unchanged: usize,
}

/// What acts would do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Tried {
    /// From this day on.
    pub day: Date,
    /// A line for each act.
    pub lines: Vec<TriedLine>,
    /// The bodies that there are then.
    pub bodies: Vec<String>,
    /// The units that there are then, each with those above it, as they may be named.
    pub units: Vec<String>,
}

/// What one act would do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TriedLine {
    /// What becomes of it.
    pub kind: Kind,
    /// Whom or what it is about.
    pub about: String,
    /// What is done.
    pub told: Vec<Told>,
}

/// One line of a change set.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Line {
    /// Its number, from 0.
    pub number: u32,
    /// What becomes of it.
    pub kind: Kind,
    /// Whom or what it is about.
    pub about: String,
    /// The rows of the file that say so.
    pub rows: Vec<u32>,
    /// What is done, or why nothing is.
    pub told: Vec<Told>,
    /// How many records it changes.
    pub changes: usize,
    /// What became of it.
    pub state: ItemState,
}

impl Line {
    /// Whether somebody wants to read it who wants no more than he must.
    #[must_use]
    pub fn is_of_interest(&self) -> bool {
        self.kind != Kind::Unchanged || !self.told.is_empty()
    }
}

/// Who is where on a day.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Shown {
    /// The day.
    pub day: Date,
    /// The bodies.
    pub bodies: Vec<ShownBody>,
    /// How many more people there are than are shown.
    pub more: usize,
}

/// A body with its units.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ShownBody {
    /// Its name.
    pub name: String,
    /// Its units, each before those below it.
    pub units: Vec<ShownUnit>,
}

/// A unit with those who have a post in it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ShownUnit {
    /// Its number, by which it is no other one.
    pub unit: UnitId,
    /// How many units are above it.
    pub depth: usize,
    /// Its name.
    pub name: String,
    /// 所属コード
    pub code: Option<String>,
    /// What it is responsible for (事務分掌).
    pub charges: Vec<String>,
    /// The addresses by which it and its posts are reached, each with what it is of.
    pub addresses: Vec<(String, String)>,
    /// Who has a post in it.
    pub members: Vec<Member>,
}

/// Somebody in a post.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Member {
    /// 職員番号
    pub number: String,
    /// The name by which others know him.
    pub called: String,
    /// フリガナ
    pub reading: Option<String>,
    /// 任用区分
    pub class: Option<Class>,
    /// The name of the account.
    pub account: Option<String>,
    /// 職名
    pub title: String,
    /// What the post is responsible for.
    pub charges: Vec<String>,
    /// 本務 or 兼務
    pub tenure: Tenure,
    /// Since when; none if that is not known.
    pub from: Option<Date>,
    /// The first day on which he has it no more; none if there is no end.
    pub until: Option<Date>,
    /// Why he is away, if he is.
    pub away: Option<Absence>,
}
