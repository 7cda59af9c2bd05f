//! What `yakuba case` takes.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use intake::Date;
use ruma::OwnedUserId;

use crate::{cli::WhichAuthority, commands::org::parse_day, texts::tr};

/// What is done with cases.
#[derive(Debug, Subcommand)]
pub(crate) enum CaseCommand {
    /// 申請できる種類とその項目 / tells what can be asked for, and its fields
    Kinds {
        #[command(flatten)]
        which: WhichAuthority,
    },
    /// 案件の一覧 / lists cases, the newest first
    List(CaseListArgs),
    /// 案件の内容と経過 / shows a case and its history
    Show {
        #[command(flatten)]
        which: Which,
        /// JSON で出力する / As JSON
        #[arg(long)]
        json: bool,
    },
    /// 申請する / asks for something
    Ask(CaseAskArgs),
    /// 承認する / approves a case
    Approve(CaseApproveArgs),
    /// 理由を付けて差し戻す / gives a case back to who asked, with a reason
    Return(Said),
    /// 理由を付けて却下する / refuses a case, with a reason
    Refuse(Said),
    /// 取り下げる / takes a case back that is not decided yet
    Withdraw(Said),
    /// 実施した案件を取り消す / undoes what a case did
    Undo(Said),
    /// 実施できなかった案件をやり直す / tries again what could not be carried out
    Retry(Said),
    /// 代理者を見る、指定する、終える / shows who decides for somebody, names a deputy, or ends that
    Deputy(CaseDeputyArgs),
}

/// Whose wish it is.
#[derive(Debug, Args)]
pub(crate) struct Proven {
    /// このアカウントとして行う。なければ、このマシンの利用者として見る / As this account, which is mine; without it, as the user of this machine, who looks
    #[arg(long, requires = "password_file")]
    pub(crate) user: Option<String>,
    /// そのアカウントのパスワードのファイル。`-` は標準入力 / A file with the password of that account; `-` is standard input
    #[arg(long, requires = "user")]
    pub(crate) password_file: Option<PathBuf>,
    /// 二要素認証の確認コード / The code of a second factor, where the account has one
    #[arg(long, requires = "user")]
    pub(crate) code: Option<String>,
}

/// A case.
#[derive(Debug, Args)]
pub(crate) struct Which {
    /// 案件の番号 / The number of the case
    pub(crate) id: u64,
    #[command(flatten)]
    pub(crate) proven: Proven,
    #[command(flatten)]
    pub(crate) authority: WhichAuthority,
}

/// A case, and what is said of it.
#[derive(Debug, Args)]
pub(crate) struct Said {
    #[command(flatten)]
    pub(crate) which: Which,
    /// 理由や一言。履歴に残る / A reason or remark, which stays in the history
    #[arg(long)]
    pub(crate) text: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct CaseApproveArgs {
    #[command(flatten)]
    pub(crate) said: Said,
    /// 承知した警告の名前。警告の数だけ / A warning that is meant so, by its word; once for each of them
    #[arg(long)]
    pub(crate) meant: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct CaseListArgs {
    /// 自分が申請した案件 / What this account has asked for
    #[arg(long, requires = "user", conflicts_with = "waiting")]
    pub(crate) mine: bool,
    /// 自分の承認を待つ案件 / What waits for this account
    #[arg(long, requires = "user")]
    pub(crate) waiting: bool,
    /// この種類だけ / Of this kind alone
    #[arg(long)]
    pub(crate) kind: Option<String>,
    /// この状態だけ: asked、returned、done など / In this state alone: asked, returned, done, …
    #[arg(long, value_parser = parse_state)]
    pub(crate) state: Option<String>,
    /// 題名・申請者・番号で探す / That have this in their title, who asked, or their number
    #[arg(long)]
    pub(crate) text: Option<String>,
    /// この番号より前 / Those before this number
    #[arg(long)]
    pub(crate) before: Option<u64>,
    /// 件数 / How many
    #[arg(long, default_value_t = 50)]
    pub(crate) limit: usize,
    /// JSON で出力する / As JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) proven: Proven,
    #[command(flatten)]
    pub(crate) which: WhichAuthority,
}

#[derive(Debug, Args)]
pub(crate) struct CaseAskArgs {
    /// 種類 (`yakuba case kinds`) / The kind, by its word (`yakuba case kinds`)
    #[arg(required_unless_present = "again")]
    pub(crate) kind: Option<String>,
    /// 項目: 名前=値 / A field: word=value; once for each
    #[arg(long = "field", value_parser = parse_field)]
    pub(crate) fields: Vec<(String, String)>,
    /// 理由 / Why
    #[arg(long)]
    pub(crate) reason: String,
    /// 承知した警告の名前。警告の数だけ / A warning that is meant so, by its word; once for each of them
    #[arg(long)]
    pub(crate) meant: Vec<String>,
    /// 差し戻された案件を修正して申請し直す / The number of a case that was returned, which is asked again so
    #[arg(long)]
    pub(crate) again: Option<u64>,
    #[command(flatten)]
    pub(crate) proven: Proven,
    #[command(flatten)]
    pub(crate) which: WhichAuthority,
}

#[derive(Debug, Args)]
pub(crate) struct CaseDeputyArgs {
    /// 代理者にするアカウント / The account that decides for this one
    #[arg(long, requires_all = ["from", "until"])]
    pub(crate) name: Option<String>,
    /// この日から / From this day on
    #[arg(long, value_parser = parse_day)]
    pub(crate) from: Option<Date>,
    /// この日まで / Until this day, the last one
    #[arg(long, value_parser = parse_day)]
    pub(crate) until: Option<Date>,
    /// 代理を終えるアカウント / The account that decides no more, as a whole user id
    #[arg(long, conflicts_with = "name")]
    pub(crate) end: Option<OwnedUserId>,
    #[command(flatten)]
    pub(crate) proven: Proven,
    #[command(flatten)]
    pub(crate) which: WhichAuthority,
}

fn parse_field(text: &str) -> Result<(String, String), String> {
    let (word, value) = text
        .split_once('=')
        .ok_or_else(|| tr!("名前=値 の形で指定してください", "a field is said as word=value"))?;
    Ok((word.to_owned(), value.to_owned()))
}

fn parse_state(text: &str) -> Result<String, String> {
    match cases::State::WORDS.contains(&text) {
        true => Ok(text.to_owned()),
        false => {
            let words = cases::State::WORDS.join(", ");
            Err(tr!("状態は {words} のいずれかです", "a state is one of {words}"))
        }
    }
}
