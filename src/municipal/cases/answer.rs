//! What somebody is told who gave an [`Order`](crate::Order).

use base::Timestamp;
use ruma::OwnedUserId;
use serde::{Deserialize, Serialize};

use crate::{
    case::{Case, Event, State},
    field::Field,
    ids::CaseId,
    tables::Deputy,
    words::Told,
};

/// What somebody is told.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// It is done, and there is nothing more to tell.
    Done,
    /// What can be asked for.
    Kinds(Vec<KindTold>),
    /// What has to be meant.
    Meant(Vec<Meant>),
    /// Cases.
    List {
        /// A page of them.
        lines: Vec<Line>,
        /// Where the next page begins, if there is one.
        before: Option<CaseId>,
    },
    /// A case, as it is now.
    Case(Box<Shown>),
    /// Who decides for him, and for whom he does.
    Deputies {
        /// Who decides for him.
        own: Vec<Deputy>,
        /// For whom he does, with the days.
        of: Vec<(OwnedUserId, Deputy)>,
    },
}

/// A kind of cases.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KindTold {
    /// Its word.
    pub word: String,
    /// What people call it.
    pub name: Told,
    /// What it is for.
    pub about: Told,
    /// What is asked.
    pub fields: Vec<Field>,
    /// Whether who asks agrees by that, and shows that it is he.
    pub asking_agrees: bool,
}

/// What somebody has to say that he means.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Meant {
    /// Its word.
    pub word: String,
    /// What people are told.
    pub told: Told,
}

/// A case in a list.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Line {
    /// Its number.
    pub id: CaseId,
    /// What people call its kind.
    pub kind: Told,
    /// What it is about.
    pub title: Told,
    /// Who asks.
    pub asker: OwnedUserId,
    /// How far it has come.
    pub state: State,
    /// When it was asked.
    pub asked_at: Timestamp,
    /// When it expires, undecided.
    pub expires: Timestamp,
    /// For whom the reader would decide it, where he is a deputy.
    pub for_whom: Option<OwnedUserId>,
}

/// A field with what was typed, for people.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ShownField {
    /// Its word.
    pub word: String,
    /// What people call it.
    pub label: Told,
    /// As it is kept.
    pub value: String,
    /// What people call that.
    pub shown: Told,
}

/// Somebody with the name by which others know him.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Named {
    /// The account.
    pub user: OwnedUserId,
    /// For whom, where he is a deputy.
    pub for_whom: Option<OwnedUserId>,
    /// His unit, title and name, if the organisation knows him.
    pub name: Option<String>,
}

/// A case, as one reader sees it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Shown {
    /// Its number.
    pub id: CaseId,
    /// The case.
    pub case: Case,
    /// What people call its kind.
    pub kind: Told,
    /// Who asks, as others know him.
    pub asker: Named,
    /// What was asked.
    pub fields: Vec<ShownField>,
    /// What was done to it, the oldest first.
    pub history: Vec<Event>,
    /// Who may decide it now: the first few.
    pub deciders: Vec<Named>,
    /// How many more there are.
    pub more_deciders: usize,
    /// Whether it came to 全体管理者, since nobody else can.
    pub fell: bool,
    /// How many have still to agree to this step.
    pub missing: usize,
    /// What the reader may do, by the words of orders.
    pub may: Vec<String>,
    /// What has become of what it is about since.
    pub since: Option<Told>,
    /// The page on which more of it is to be read.
    pub page: Option<String>,
    /// What he would have to say that he means, agreeing.
    pub meant: Vec<Meant>,
    /// For whom he would decide, where he is a deputy.
    pub for_whom: Option<OwnedUserId>,
    /// Whether he has agreed already.
    pub decided: bool,
}
