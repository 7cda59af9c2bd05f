//! Why a destination takes nothing. Whatever it is, nothing is lost by it.

use serde::{Deserialize, Serialize};

/// A sentence for people, in Japanese and in English.
pub type Words = (String, String);

/// Why a destination takes nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("{}", self.words().1)]
pub enum Fault {
    /// There is no connection.
    Unreachable(String),
    /// TLS did not come about.
    Tls(String),
    /// Nothing came while a connection was made.
    Silent,
    /// It does not take what is written.
    Stalled,
    /// It ended the connection.
    Closed(String),
    /// It says something, which a log server has no reason to.
    Speaks,
    /// Our own rows cannot be read.
    Unreadable(String),
}

impl Fault {
    /// The sentence for who looks after it.
    #[must_use]
    pub fn words(&self) -> Words {
        match self {
            Self::Unreachable(cause) => (
                format!("ログサーバーに接続できません（{cause}）。"),
                format!("the log server cannot be reached: {cause}"),
            ),
            Self::Tls(cause) => (
                format!("ログサーバーとの TLS が成立しません（{cause}）。"),
                format!("there is no TLS with the log server: {cause}"),
            ),
            Self::Silent => (
                "ログサーバーから時間内に応答がありません。".to_owned(),
                "the log server does not answer in time".to_owned(),
            ),
            Self::Stalled => (
                "ログサーバーが記録を受け取りません（接続したまま読みません）。".to_owned(),
                "the log server does not read what is sent".to_owned(),
            ),
            Self::Closed(cause) => (
                format!("ログサーバーが接続を切りました（{cause}）。"),
                format!("the log server ended the connection: {cause}"),
            ),
            Self::Speaks => (
                "接続先はログサーバーではないようです（データを送ってきました）。".to_owned(),
                "what listens there seems to be no log server: it says something".to_owned(),
            ),
            Self::Unreadable(cause) => (
                format!("監査ログを読めません（{cause}）。`yakuba audit verify` で確かめてください。"),
                format!("the audit log cannot be read: {cause}; `yakuba audit verify` tells more"),
            ),
        }
    }
}
