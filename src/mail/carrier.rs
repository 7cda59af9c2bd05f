//! The port to whoever takes mails out.

use async_trait::async_trait;
use base::Timestamp;

/// A mail on its way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// The server name of the authority that it is from.
    pub authority: String,
    /// To whom.
    pub to: String,
    /// What it is about.
    pub subject: String,
    /// What it says.
    pub text: String,
    /// The same in HTML.
    pub html: Option<String>,
    /// Where more such mails are refused, if they were subscribed to.
    pub unsubscribe: Option<String>,
    /// When it was written.
    pub written: Timestamp,
    /// What tells it from all others, however often it is sent: letters and digits.
    pub id: String,
}

/// Why a mail was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Another attempt may work.
    #[error("not now: {0}")]
    ForNow(String),
    /// No other attempt will.
    #[error("for good: {0}")]
    ForGood(String),
}

/// Who takes mails out. Each call ends by itself.
#[async_trait]
pub trait Carrier: Send + Sync {
    /// The authorities whose mails can be sent.
    fn authorities(&self) -> Vec<String>;

    /// Whether mails of this authority can be sent.
    fn serves(&self, authority: &str) -> bool;

    /// Hands a mail over. It is another's to bring once this returns.
    ///
    /// # Errors
    /// [`Refusal`].
    async fn carry(&self, letter: &Letter) -> Result<(), Refusal>;
}
