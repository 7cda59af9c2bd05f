//! Why a directory was not read. Whatever it is, nobody's account changes by it.

use crate::words::{Words, short, words};

/// Why a directory was not read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.words().en)]
pub(crate) enum Fault {
    /// There is no connection.
    Unreachable(String),
    /// TLS did not come about.
    Tls(String),
    /// The directory does not begin TLS when it is asked to.
    NoStartTls(u32),
    /// Nothing came for a while.
    Silent,
    /// It took too long altogether.
    TooLong,
    /// There is no password, so we would be nobody while we believe to be somebody.
    NoPassword,
    /// We are not let in.
    Refused { code: u32, text: String },
    /// The search came to no good end, so what it found is a part at most.
    Search { code: u32, text: String },
    /// What came is no answer of a directory.
    Malformed(&'static str),
    /// It tells more than is taken.
    TooMuch(&'static str),
    /// It ended the connection.
    Closed,
    /// What was there a moment ago was not any more.
    Changing,
    /// A fault of ours.
    Broken(String),
}

impl Fault {
    /// Whether another try with the same password may lock the account with which we sign in.
    pub(crate) fn is_of_the_password(&self) -> bool {
        matches!(self, Self::Refused { code: 49 | 53 | 19, .. })
    }

    /// The sentence for who looks after it.
    pub(crate) fn words(&self) -> Words {
        match self {
            Self::Unreachable(cause) => {
                words!("ディレクトリに接続できません({cause})。", "the directory cannot be reached: {cause}")
            }
            Self::Tls(cause) => words!(
                "ディレクトリとの TLS が成立しません({cause})。",
                "there is no TLS with the directory: {cause}"
            ),
            Self::NoStartTls(code) => words!(
                "ディレクトリが StartTLS を断りました(結果コード {code})。",
                "the directory refused StartTLS (result code {code})"
            ),
            Self::Silent => {
                words!("ディレクトリから時間内に応答がありません。", "the directory does not answer in time")
            }
            Self::TooLong => words!(
                "ディレクトリの読み取りが時間内に終わりません。",
                "the directory was not read to its end in time"
            ),
            Self::NoPassword => words!(
                "バインドのパスワードが空です。空のパスワードは送りません(RFC 4513 5.1.2)。",
                "the password of the bind is empty; an empty one is not sent (RFC 4513, 5.1.2)"
            ),
            Self::Refused { code, text } => {
                let text = short(text);
                words!(
                    "ディレクトリがサインイン(バインド)を断りました(結果コード {code}、{text})。",
                    "the directory refused the bind (result code {code}, {text})"
                )
            }
            Self::Search { code, text } => {
                let (text, why) = (short(text), meaning(*code));
                let (ja, en) = (why.ja, why.en);
                words!(
                    "検索が最後まで行われませんでした: {ja}(結果コード {code}、{text})。届いた分は使いません。",
                    "the search did not come to its end: {en} (result code {code}, {text}); what had arrived is not used"
                )
            }
            Self::Malformed(what) => words!(
                "ディレクトリの応答が読めません({what})。",
                "the answer of the directory cannot be read: {what}"
            ),
            Self::TooMuch(what) => words!(
                "ディレクトリの応答が上限を超えています({what})。検索の範囲を狭めてください。",
                "the directory tells too much ({what}); narrow the search"
            ),
            Self::Closed => words!(
                "ディレクトリが接続を途中で閉じました。",
                "the directory closed the connection half way"
            ),
            Self::Changing => words!(
                "読み取っている間にグループが変わりました。次の読み取りでやり直します。",
                "the groups changed while they were read; the next reading tries again"
            ),
            Self::Broken(cause) => words!(
                "読み取りの内部エラーです({cause})。",
                "the reading failed by a fault of ours: {cause}"
            ),
        }
    }
}

/// What a result code means, of those that searches end with.
///
/// Spec: <https://www.rfc-editor.org/rfc/rfc4511#appendix-A.2>
fn meaning(code: u32) -> Words {
    match code {
        3 => words!("ディレクトリの制限時間を超えた", "the directory's time limit was exceeded"),
        4 => words!("ディレクトリの件数の上限を超えた", "the directory's size limit was exceeded"),
        10 => words!("別のサーバーが案内された", "the directory refers to another server"),
        11 => words!("ディレクトリの管理上の上限を超えた", "an administrative limit was exceeded"),
        12 => words!("必要な拡張に対応していない", "an extension that is needed is not there"),
        18 => words!("フィルターの照合規則が使えない", "a matching rule of the filter cannot be used"),
        32 => words!("検索の起点 (base) がない", "the base of the search is not there"),
        50 => words!("読み取りの権限がない", "there is no right to read"),
        51 | 52 => words!("ディレクトリが応じられない状態にある", "the directory is busy or not available"),
        _ => words!("エラー", "an error"),
    }
}
