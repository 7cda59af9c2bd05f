//! Kinds of cases: what can be asked for, who decides, what is done then.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use async_trait::async_trait;
use audit::Actor;
use base::Timestamp;
use duties::Duty;
use futures_util::future::BoxFuture;
use intake::Date;
use organisation::{Organisation, UnitId};
use ruma::{OwnedUserId, ServerName, UserId};
use store::Batch;

use crate::{
    case::{Case, Step},
    field::{Field, Fields},
    ids::CaseId,
    people::{PortError, Standing},
    words::Told,
};

/// What somebody asks for, and who he is.
#[derive(Debug)]
pub struct Asked<'a> {
    /// Of which authority.
    pub authority: &'a ServerName,
    /// Who asks.
    pub asker: &'a UserId,
    /// How his account stands.
    pub standing: Standing,
    /// His duties.
    pub duties: BTreeSet<Duty>,
    /// The unit of his main post today.
    pub unit: Option<UnitId>,
    /// The fields, as they were read.
    pub fields: &'a Fields,
    /// The organisation.
    pub organisation: &'a Organisation,
    /// Today.
    pub day: Date,
    /// Now.
    pub now: Timestamp,
}

/// What becomes of a wish.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What the case is called, in a line that those may read who are reminded of it.
    pub title: Told,
    /// Accounts that it is about.
    pub subjects: Vec<OwnedUserId>,
    /// Who decides, step by step.
    pub steps: Vec<Step>,
    /// So long it waits to be decided.
    pub expires_in: Duration,
    /// When what it does ends by itself.
    pub until: Option<Timestamp>,
}

/// A case that is carried out or taken back.
#[derive(Clone, Copy, Debug)]
pub struct It<'a> {
    /// Of which authority.
    pub authority: &'a ServerName,
    /// Its number.
    pub id: CaseId,
    /// The case.
    pub case: &'a Case,
    /// In whose name.
    pub by: &'a Actor,
    /// Now.
    pub now: Timestamp,
}

/// What the rows of a case add to a batch.
pub type Beside = Arc<dyn Fn(&mut Batch) + Send + Sync>;

/// What is done when a case is decided.
pub enum Effect {
    /// This is written in the batch of the last approval.
    Written(Box<Batch>),
    /// It takes a batch of its own: that has to hold what it is given beside. Where it cannot, it has to know by the case's
    /// number that it was done before, since it is done again after a crash.
    After(Box<dyn FnOnce(Beside) -> BoxFuture<'static, Result<(), KindError>> + Send>),
}

/// Why something is not done.
#[derive(Debug, thiserror::Error)]
pub enum KindError {
    /// It cannot be done, for a reason that people are told.
    #[error("{}", .0.en)]
    Refused(Told),
    /// Somebody else changed something meanwhile.
    #[error("something else changed meanwhile")]
    Changed,
    /// It failed now, and may not the next time.
    #[error("{0}")]
    Failed(String),
}

impl From<PortError> for KindError {
    fn from(error: PortError) -> Self {
        Self::Failed(error.0)
    }
}

impl From<store::Error> for KindError {
    fn from(error: store::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

/// A kind of cases. Whoever owns what is done in the end gives one.
#[async_trait]
pub trait Kind: Send + Sync {
    /// Its word for programs and rows, which never changes.
    fn word(&self) -> &'static str;

    /// What people call it.
    fn names(&self) -> Told;

    /// What it is for, and who decides, in a sentence or two.
    fn about(&self) -> Told;

    /// Whether somebody can ask for it at all: it is offered to nobody else.
    fn is_for(&self, _standing: Standing, _duties: &BTreeSet<Duty>) -> bool {
        true
    }

    /// Whether who asks agrees by that, in place of one of those who decide: so he shows once more that it is he.
    fn asking_agrees(&self) -> bool {
        false
    }

    /// What it is about, if there may be one open case at most about that.
    fn thing(&self, _fields: &Fields) -> Option<String> {
        None
    }

    /// What has become of what it is about, where that goes on after the decision.
    ///
    /// # Errors
    /// [`KindError`].
    async fn since(&self, _authority: &ServerName, _fields: &Fields) -> Result<Option<Told>, KindError> {
        Ok(None)
    }

    /// The page on which more of it is to be read, for those who decide.
    fn page(&self, _fields: &Fields) -> Option<String> {
        None
    }

    /// What everybody who asks for it or agrees has to say that he means: words for programs, and what people are told.
    ///
    /// # Errors
    /// [`KindError`].
    async fn meant(
        &self,
        _authority: &ServerName,
        _fields: &Fields,
    ) -> Result<Vec<(String, Told)>, KindError> {
        Ok(Vec::new())
    }

    /// What is asked, beside the reason.
    ///
    /// # Errors
    /// [`KindError::Failed`].
    async fn fields(&self, authority: &ServerName) -> Result<Vec<Field>, KindError>;

    /// Whether this may be asked for, and who decides. Nothing is written.
    ///
    /// # Errors
    /// [`KindError::Refused`] where he may not, or it would come to nothing.
    async fn plan(&self, asked: &Asked<'_>) -> Result<Plan, KindError>;

    /// What is done when the case is decided.
    ///
    /// # Errors
    /// [`KindError`].
    async fn carry_out(&self, it: It<'_>) -> Result<Effect, KindError>;

    /// Told when what it is about has been written.
    fn settled(&self) {}

    /// Whether what was done can be undone.
    fn can_be_undone(&self) -> bool {
        false
    }

    /// What is written to undo it, or when it ends.
    ///
    /// # Errors
    /// [`KindError`].
    async fn take_back(&self, _it: It<'_>) -> Result<Batch, KindError> {
        Err(KindError::Refused(crate::words::words!(
            "この種類の案件は、実施後に取り消せません。",
            "What a case of this kind did cannot be undone."
        )))
    }
}
