//! What is said to `yakuba org rules`.

use std::path::PathBuf;

use clap::Args;
use intake::Date;
use ruma::OwnedRoomId;

use super::parse_day;
use crate::cli::WhichAuthority;

#[derive(Debug, Args)]
pub(crate) struct OrgRulesShowArgs {
    /// この日の規則。なければ今日 / On this day; today without it
    #[arg(long, value_parser = parse_day)]
    pub(crate) as_of: Option<Date>,
    /// JSON で / As JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) which: WhichAuthority,
}

#[derive(Debug, Args)]
pub(crate) struct OrgRulesSetArgs {
    /// 規則を書いたファイル (JSON) / A file with the rule, in JSON
    #[arg(required_unless_present = "end")]
    pub(crate) file: Option<PathBuf>,
    /// 変える規則の番号。なければ新しい規則 / The number of the rule that changes; a new one without it
    #[arg(long)]
    pub(crate) rule: Option<u64>,
    /// この日から。なければ今日から / From this day on; from today without it
    #[arg(long, value_parser = parse_day)]
    pub(crate) from: Option<Date>,
    /// この日からは効かない / The first day on which it holds no more
    #[arg(long, value_parser = parse_day)]
    pub(crate) until: Option<Date>,
    /// 規則を終える。部屋は閉じられる / Ends the rule; its rooms are closed
    #[arg(long, requires = "rule", conflicts_with_all = ["file", "until"])]
    pub(crate) end: bool,
    #[command(flatten)]
    pub(crate) which: WhichAuthority,
}

#[derive(Debug, Args)]
pub(crate) struct OrgRulesPreviewArgs {
    /// この規則も加えたとして (JSON のファイル) / As if this rule were there too: a file in JSON
    pub(crate) file: Option<PathBuf>,
    /// この番号の規則の代わりに / In the place of the rule of this number
    #[arg(long, requires = "file")]
    pub(crate) rule: Option<u64>,
    /// この日の組織で。なければ今日 / As of this day; today without it
    #[arg(long, value_parser = parse_day)]
    pub(crate) as_of: Option<Date>,
    /// JSON で / As JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) which: WhichAuthority,
}

#[derive(Debug, Args)]
pub(crate) struct OrgRulesAdoptArgs {
    /// 部屋の ID / The id of the room
    pub(crate) room: OwnedRoomId,
    /// 規則の番号 / The number of the rule
    #[arg(long)]
    pub(crate) rule: u64,
    /// 所属の名前か所属コード / The unit, by name or code
    #[arg(long)]
    pub(crate) unit: String,
    /// ひな形のキー / Which of the rule's rooms it is: the key of the template
    #[arg(long)]
    pub(crate) key: String,
    #[command(flatten)]
    pub(crate) which: WhichAuthority,
}

#[derive(Debug, Args)]
pub(crate) struct OrgRulesRunArgs {
    #[command(flatten)]
    pub(crate) which: WhichAuthority,
}
