//! Statements: what a record says of somebody or something, from when until when.
//!
//! What changes with time is said by several records of the same subject, whose spans follow each other: a unit that is
//! renamed on 1 April has one that ends on that day and one that begins on it. So each question has a day in it, and
//! nothing that was true is overwritten.

use intake::Class;
use serde::{Deserialize, Serialize};

use crate::{
    ids::{BodyId, PersonId, PostId, UnitId},
    span::Span,
};

/// What one record says.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Statement {
    /// From when until when.
    pub span: Span,
    /// What.
    pub what: What,
}

/// What can be said.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum What {
    /// A body.
    Body(Body),
    /// A unit.
    Unit(Unit),
    /// A post.
    Post(Post),
    /// A person.
    Person(Person),
    /// An appointment.
    Appointment(Appointment),
    /// Somebody is away from his posts.
    Away(Away),
    /// A unit took another's place.
    Succession(Succession),
    /// What a unit or a post is responsible for.
    Charge(Charge),
    /// By which address others reach a unit or whoever has a post.
    Address(Address),
}

/// A body (実施機関: 首長部局, 教育委員会, 議会, 消防団): it has a directory of its own.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Body {
    /// Which.
    pub body: BodyId,
    /// Its name.
    pub name: String,
}

/// A unit (部・局・課・係・出先).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Unit {
    /// Which.
    pub unit: UnitId,
    /// The body whose it is.
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

/// A post (職): as many people may have it as are appointed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Post {
    /// Which.
    pub post: PostId,
    /// The unit.
    pub unit: UnitId,
    /// 職名; empty for people of whom only the unit is known.
    pub title: String,
    /// 職階
    pub rank: Option<String>,
    /// Whether who has it heads the unit (所属長).
    pub heads: bool,
    /// Its place among the posts of a list, the higher ones first.
    pub order: u32,
}

/// A person, as he is called from one day until another.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Person {
    /// Which.
    pub person: PersonId,
    /// The body in whose directory he is.
    pub body: BodyId,
    /// 職員番号 in that body.
    pub number: String,
    /// The legal name.
    pub name: String,
    /// The name that he uses at work, where that is another one (旧姓).
    pub used_name: Option<String>,
    /// フリガナ
    pub reading: Option<String>,
    /// 任用区分
    pub class: Option<Class>,
    /// メールアドレス
    pub mail: Option<String>,
    /// The name of the account.
    pub account: Option<String>,
}

impl Person {
    /// The name by which others know him.
    #[must_use]
    pub fn called(&self) -> &str {
        self.used_name.as_deref().unwrap_or(&self.name)
    }
}

/// How somebody has a post.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Tenure {
    /// 本務: one a day at most.
    Main,
    /// 兼務. In a unit of another body than the main one it is called 併任.
    Additional,
}

/// An appointment (発令).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Appointment {
    /// Whose.
    pub person: PersonId,
    /// To what.
    pub post: PostId,
    /// As what.
    pub tenure: Tenure,
    /// The source that told of it and may end it; none if somebody wrote it here.
    pub source: Option<String>,
}

/// Somebody keeps his posts and does not fill them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Away {
    /// Who.
    pub person: PersonId,
    /// Why.
    pub why: Absence,
}

/// Why somebody is away.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Absence {
    /// 休職
    Suspended,
    /// 育児休業・介護休業
    Leave,
    /// 出向: he works for another authority or company.
    Seconded {
        /// Which.
        to: String,
    },
}

/// A unit that another one became, or became a part of (機構改革). Its span begins with the day of that.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Succession {
    /// The unit that was.
    pub from: UnitId,
    /// The unit that is.
    pub to: UnitId,
}

/// What a unit, or a post in it, is responsible for (事務分掌): words by which it is found.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Charge {
    /// Of what.
    pub of: Charged,
    /// One matter each: 空き家対策. At most [`crate::limits::MAX_CHARGES`].
    pub words: Vec<String>,
}

/// A name of a user of the authority by which others reach whoever has a post, or a unit: `@bousai:…`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Address {
    /// The name: the localpart of the user.
    pub name: String,
    /// Whom it reaches.
    pub of: Charged,
}

/// A unit, or a post: what is responsible for something, and can be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Charged {
    /// A unit.
    Unit(UnitId),
    /// A post: whoever has it.
    Post(PostId),
}
