//! The command line.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context;
use audit::{Day, Noted};
use base::Timestamp;
use clap::{ArgGroup, Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use duties::Duty;
use intake::{Date, Encoding};
use ruma::{OwnedRoomId, OwnedServerName};

use crate::{
    admin::MediaDeed,
    commands::{
        self,
        org::rules_args::{
            OrgRulesAdoptArgs, OrgRulesPreviewArgs, OrgRulesRunArgs, OrgRulesSetArgs, OrgRulesShowArgs,
        },
    },
    config,
    demo::{self, DemoArgs},
    house::SANITISE_WORKER,
    names, serve, storage,
    texts::{self, tr},
};

/// 役場 (Yakuba): 公的機関のための Matrix ホームサーバー / Yakuba: a Matrix homeserver for public authorities
#[derive(Debug, Parser)]
#[command(name = "yakuba", version, propagate_version = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// 設定と鍵とデータを新しく作る / makes a new directory with a commented configuration, a signing key and empty data
    Init(InitArgs),
    /// 設定を確かめる / checks the configuration and the files that it names
    Check(ConfigArg),
    /// サーバーを動かす / runs the server
    Serve(ServeArgs),
    /// 三つのサーバーで試す / runs three federating servers on this machine, with accounts and a room
    Demo(DemoArgs),
    /// 利用者 / users
    #[command(subcommand)]
    User(UserCommand),
    /// ルーム / rooms
    #[command(subcommand)]
    Room(RoomCommand),
    /// メディア / media
    #[command(subcommand)]
    Media(MediaCommand),
    /// 検索 / the search in what was said
    #[command(subcommand)]
    Search(SearchCommand),
    /// 組織と人事異動 / the organisation of an authority, and what changes it
    #[command(subcommand)]
    Org(OrgCommand),
    /// 案件: 承認が必要な申請 / cases: what needs the consent of others
    #[command(subcommand)]
    Case(commands::case::CaseCommand),
    /// だれに何ができるか / what people may
    #[command(subcommand)]
    Policy(commands::policy::PolicyCommand),
    /// ディレクトリ (LDAP) との連携 / the directories (LDAP) that say who is there
    #[command(subcommand)]
    Ldap(LdapCommand),
    /// 監査ログ / the audit log
    #[command(subcommand)]
    Audit(AuditCommand),
    /// 控えを取る / backs the data up, while the server runs or not
    Backup(BackupArgs),
    /// 控えから戻す / puts the newest backup of a directory back
    Restore(RestoreArgs),
    /// データを検査する / reads all stored data and says what is wrong
    Verify(ConfigArg),
    /// 動いているサーバーの様子 / how the running server is
    Status(ConfigArg),
    /// バージョン / prints the version
    Version,
    /// 無害化 / takes one file apart for the server that starts this; it gives up all rights first
    #[command(name = SANITISE_WORKER, hide = true)]
    SanitiseWorker,
}

/// Where the configuration is.
#[derive(Debug, Args)]
pub(crate) struct ConfigArg {
    /// 設定ファイル / The configuration file
    #[arg(long, env = "YAKUBA_CONFIG", default_value = "yakuba.toml")]
    pub(crate) config: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    /// ディレクトリ。なければ作る / The directory; made if need be
    pub(crate) directory: PathBuf,
    /// サーバー名。ユーザー ID のコロンの後の部分。後から変えられない / The server name: what stands behind the colon of user ids. It can never be changed
    #[arg(long, value_parser = names::parse_new)]
    pub(crate) server_name: OwnedServerName,
}

#[derive(Debug, Args)]
struct ServeArgs {
    #[command(flatten)]
    config: ConfigArg,
    /// データがなければ新しく作って始める。コンテナや、データの場所を変えた最初の一回のために / Begin with new data where there are none: for containers, and for the first start after the place of the data was changed
    #[arg(long)]
    begin: bool,
    /// 標準入力が終わったら止まる / Stop when standard input ends, that is, when whoever started this process is gone
    #[arg(long, hide = true)]
    until_stdin_ends: bool,
}

#[derive(Debug, Subcommand)]
enum UserCommand {
    /// 利用者を作る / makes an account, while the server runs or not
    Create(UserCreateArgs),
    /// パスワードを替え、ログインしている端末をすべてログアウトさせる / sets a password and logs all devices of the account out
    Password(UserPasswordArgs),
    /// 認証基盤のアカウントと結び付ける / has what the identity provider knows somebody by belong to an account
    Link(UserLinkArgs),
    /// 所属する機関の管理者にする、または管理者でなくす / has a user administer its authority, or no more
    Admin(UserAdminArgs),
    /// 管理画面での役割を付ける、または外す / gives a user a duty on the console, or takes it away
    Duty(UserDutyArgs),
    /// 部局管理者にする、または担当部局から外す / has a user see to a unit or a body with all below it, or no more
    Part(UserPartArgs),
    /// アカウントの一覧。長く使われていないものだけも表示できる / lists the accounts, or those alone that are not used
    List(commands::user_list::UserListArgs),
    /// だれにどの役割があるか / tells who has which duty
    Duties(WhichAuthority),
    /// 二要素認証 / second factors
    #[command(subcommand)]
    Factors(FactorsCommand),
    /// アカウントを閉じ、ルームから退出させる。7 日間は復元できる / closes an account, which leaves its rooms; for a week it can be opened again
    Close(WhichUser),
    /// 閉じてから 7 日以内のアカウントを、新しいパスワードで復元する / opens an account again that was closed within the last 7 days, with another password
    Reopen(UserPasswordArgs),
}

#[derive(Debug, Subcommand)]
enum FactorsCommand {
    /// すべて解除し、再設定用のコードを表示する。端末はすべてサインアウトされる / takes all of them away and prints a code to begin anew; all devices are signed out
    Reset(WhichUser),
}

/// Whose account is meant.
#[derive(Debug, Args)]
pub(crate) struct WhichUser {
    /// ユーザー名。@ とコロンの間の部分 / The user name: the part between @ and the colon
    pub(crate) localpart: String,
    /// 機関のサーバー名。設定に複数あるとき / The authority, if the configuration has several
    #[arg(long, value_parser = names::parse)]
    pub(crate) server_name: Option<OwnedServerName>,
    #[command(flatten)]
    pub(crate) config: ConfigArg,
}

#[derive(Debug, Args)]
pub(crate) struct UserPasswordArgs {
    #[command(flatten)]
    pub(crate) user: WhichUser,
    /// パスワードのファイル。`-` は標準入力。なければ作って表示する / A file with the password; `-` is standard input. Without one a password is made up and printed
    #[arg(long)]
    pub(crate) password_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct UserLinkArgs {
    #[command(flatten)]
    pub(crate) user: WhichUser,
    /// 認証基盤での識別子 (`sub`) / What the identity provider calls the user (`sub`)
    #[arg(long)]
    pub(crate) subject: String,
}

#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("which").required(true)))]
pub(crate) struct UserAdminArgs {
    #[command(flatten)]
    pub(crate) user: WhichUser,
    /// 管理者にする / The user administers the authority from now on
    #[arg(long, group = "which")]
    pub(crate) grant: bool,
    /// 管理者でなくす / The user administers it no more
    #[arg(long, group = "which")]
    pub(crate) revoke: bool,
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("what").required(true).args(["give", "take"]))]
pub(crate) struct UserDutyArgs {
    #[command(flatten)]
    pub(crate) user: WhichUser,
    /// 付ける役割: personnel (人事担当)、approval (変更案承認)、audit (監査担当)、reading (閲覧担当) / The duty to give: personnel, approval, audit or reading
    #[arg(long, value_parser = commands::user::parse_duty)]
    pub(crate) give: Option<Duty>,
    /// 外す役割 / The duty to take away
    #[arg(long, value_parser = commands::user::parse_duty)]
    pub(crate) take: Option<Duty>,
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("part").required(true).args(["give", "take"]))]
pub(crate) struct UserPartArgs {
    #[command(flatten)]
    pub(crate) user: WhichUser,
    /// 担当する部局: 所属か機関の名前、所属コード / The part to see to: a unit or a body, by its name or code
    #[arg(long)]
    pub(crate) give: Option<String>,
    /// 外す部局。終わった所属は `user duties` にある番号（unit:12）で / The part to see to no more; one that is gone by its number, as `user duties` tells it (unit:12)
    #[arg(long)]
    pub(crate) take: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct UserCreateArgs {
    #[command(flatten)]
    pub(crate) user: WhichUser,
    /// 表示名 / The name that others see
    #[arg(long)]
    pub(crate) display_name: Option<String>,
    /// サーバーの管理者にする / Whether the user may administer the server
    #[arg(long)]
    pub(crate) admin: bool,
    /// パスワードのファイル。`-` は標準入力。なければ作って表示する / A file with the password; `-` is standard input. Without one a password is made up and printed
    #[arg(long)]
    pub(crate) password_file: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum RoomCommand {
    /// ルームのデータをすべて削除する。元に戻せない / removes everything stored of a room, in the background; it cannot be put back
    Purge(RoomPurgeArgs),
    /// 削除の進み具合 / tells how far the purges under way are
    Purges(ConfigArg),
}

#[derive(Debug, Subcommand)]
enum SearchCommand {
    /// 検索の索引を作り直す / builds the index anew, in the background
    Rebuild(ConfigArg),
}

#[derive(Debug, Args)]
pub(crate) struct RoomPurgeArgs {
    /// ルームの ID / The room's id
    pub(crate) room_id: OwnedRoomId,
    /// 残っている利用者を先に退出させる / Make users of this server who are in it leave it first
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) config: ConfigArg,
}

#[derive(Debug, Subcommand)]
enum MediaCommand {
    /// ファイルを削除する。元に戻せない / removes a file; it cannot be put back
    Remove(MediaArgs),
    /// 同じ内容のファイルを、どの ID でも誰にも見せない / shows what a file holds to nobody, under whatever id, also when it comes again
    Withhold(MediaArgs),
    /// また見せる / shows it again
    Release(MediaArgs),
}

#[derive(Debug, Args)]
pub(crate) struct MediaArgs {
    /// ファイルのアドレス (`mxc://…`) / The file's address
    pub(crate) uri: String,
    #[command(flatten)]
    pub(crate) config: ConfigArg,
}

#[derive(Debug, Subcommand)]
enum OrgCommand {
    /// 職員名簿のファイルから変更案を作る。承認されるまで何も変わらない / makes a change set of a personnel file; nothing changes before it is approved
    Import(OrgImportArgs),
    /// 機構改革などを手で行う変更案を作る / makes a change set of what is done by hand: units made, renamed, merged, people away
    Edit(OrgEditArgs),
    /// ファイルの列の意味を推測し、必要なら保存する / tells what the columns of a file probably mean, and saves that if wanted
    Columns(OrgColumnsArgs),
    /// 変更案の一覧 / lists the change sets, the newest first
    List(OrgListArgs),
    /// 変更案の内容 / shows what a change set does, line by line
    Diff(OrgDiffArgs),
    /// 時刻の来た変更案を適用する。動いているサーバーは自分で適用する / applies a change set whose hour has come; a running server does so by itself
    Apply(OrgApplyArgs),
    /// 適用前の変更案を取り下げる / takes a change set back that is not applied yet
    Withdraw(OrgWhichArgs),
    /// 適用した変更案を、全部または一行だけ元に戻す / undoes a change set, or one line of it
    Undo(OrgUndoArgs),
    /// ある日に誰がどこにいるか / shows who is where on a day
    Show(OrgShowArgs),
    /// 氏名、フリガナ、所属、職名で職員を探す / finds people by name, reading, unit or post
    Find(OrgFindArgs),
    /// 組織から作る部屋の規則 / the rules by which rooms follow from the organisation
    #[command(subcommand)]
    Rules(OrgRulesCommand),
}

#[derive(Debug, Subcommand)]
enum OrgRulesCommand {
    /// 規則と、規則による部屋 / shows the rules and their rooms
    Show(OrgRulesShowArgs),
    /// 規則を決める、変える、終える / says what a rule is, or that it ends
    Set(OrgRulesSetArgs),
    /// 何が行われるかを、行わずに見る / shows what would be done, and does nothing
    Preview(OrgRulesPreviewArgs),
    /// 手で作った部屋を規則の対象にする / puts a room that somebody made under a rule
    Adopt(OrgRulesAdoptArgs),
    /// 部屋をいま規則に合わせる。動いているサーバーは自分で行う / has the rooms follow their rules now; a running server does so by itself
    Run(OrgRulesRunArgs),
}

/// Whose organisation is meant.
#[derive(Debug, Args)]
pub(crate) struct WhichAuthority {
    /// 機関のサーバー名。設定に複数あるとき / The authority, if the configuration has several
    #[arg(long, alias = "authority", value_parser = names::parse)]
    pub(crate) server_name: Option<OwnedServerName>,
    #[command(flatten)]
    pub(crate) config: ConfigArg,
}

#[derive(Debug, Args)]
pub(crate) struct OrgImportArgs {
    /// 職員名簿 (CSV など) / The personnel file: CSV and the like
    #[arg(required_unless_present = "told")]
    pub(crate) file: Option<PathBuf>,
    /// ファイルの代わりに、認証基盤がサインインのときに伝えた内容から作る。誰も終了にしない / In the place of a file: of what the identity provider has told at sign-ins; nobody ends by it
    #[arg(long, conflicts_with_all = ["file", "mapping", "encoding"])]
    pub(crate) told: bool,
    /// 保存した列の対応の名前。なければ推測する / The name of a saved mapping of columns; without it they are guessed
    #[arg(long)]
    pub(crate) mapping: Option<String>,
    /// ファイルの送り手の名前。別の送り手が知らせた人は終了にしない / The name of who sends the file: it ends nobody whom another one told of
    #[arg(long, default_value = "人事")]
    pub(crate) source: String,
    /// 実施機関の名前 (首長部局など)。一つだけなら不要 / The body of whose people it tells, if there are several
    #[arg(long)]
    pub(crate) body: Option<String>,
    /// 知られていない所属と機関を新しく作る / Make units, and the body, that are not known
    #[arg(long = "new")]
    pub(crate) makes_new: bool,
    /// 発令日。なければ今日 / The day as of which the file speaks; today without it
    #[arg(long, value_parser = commands::org::parse_day)]
    pub(crate) as_of: Option<Date>,
    /// 適用する時刻 (日本時間)。なければ発令日の 0 時 / When it is applied, in Japan, such as 2026-04-01T00:00; without it when that day begins
    #[arg(long, value_parser = commands::org::parse_minute)]
    pub(crate) at: Option<Timestamp>,
    /// 氏名が変わった同じ人の職員番号 / A number whose new name is that of the same person
    #[arg(long)]
    pub(crate) same: Vec<String>,
    /// 別の人のものになった職員番号 / A number that is another person's now
    #[arg(long)]
    pub(crate) other: Vec<String>,
    /// 文字コード。なければ判定する / The encoding; found without it
    #[arg(long, value_parser = commands::org::parse_encoding)]
    pub(crate) encoding: Option<Encoding>,
    #[command(flatten)]
    pub(crate) which: WhichAuthority,
}

#[derive(Debug, Args)]
pub(crate) struct OrgEditArgs {
    /// 変更の一覧 (JSON)。例: [{"rename_unit": {"unit": "総務部/防災課", "name": "危機管理課"}}] / What is done, as JSON
    pub(crate) file: PathBuf,
    /// いつから。なければ今日 / From which day on; today without it
    #[arg(long, value_parser = commands::org::parse_day)]
    pub(crate) as_of: Option<Date>,
    /// 適用する時刻 (日本時間)。なければその日の 0 時 / When it is applied, in Japan; without it when that day begins
    #[arg(long, value_parser = commands::org::parse_minute)]
    pub(crate) at: Option<Timestamp>,
    /// 変更案を作らずに、何が変わるかを見る / Show what would change, and make no change set
    #[arg(long = "try")]
    pub(crate) tries: bool,
    #[command(flatten)]
    pub(crate) which: WhichAuthority,
}

#[derive(Debug, Args)]
pub(crate) struct OrgColumnsArgs {
    /// 職員名簿 (CSV など) / The personnel file: CSV and the like
    pub(crate) file: PathBuf,
    /// この名前で保存する / Save it under this name
    #[arg(long)]
    pub(crate) save: Option<String>,
    /// 推測の代わりに、--json の出力を直したファイルを使う / Take this file, what --json printed and somebody edited, in place of the guess
    #[arg(long)]
    pub(crate) edited: Option<PathBuf>,
    /// 列の対応を JSON で / Print the mapping as JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// 文字コード。なければ判定する / The encoding; found without it
    #[arg(long, value_parser = commands::org::parse_encoding)]
    pub(crate) encoding: Option<Encoding>,
    #[command(flatten)]
    pub(crate) which: WhichAuthority,
}

#[derive(Debug, Args)]
pub(crate) struct OrgListArgs {
    /// この番号より前のもの / Those before this number
    #[arg(long)]
    pub(crate) before: Option<u64>,
    /// 件数 / How many
    #[arg(long, default_value = "50")]
    pub(crate) limit: usize,
    /// JSON で一行に一件 / One JSON object a line
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) which: WhichAuthority,
}

/// Which change set is meant.
#[derive(Debug, Args)]
pub(crate) struct OrgWhichArgs {
    /// 変更案の番号 / The number of the change set
    pub(crate) id: u64,
    #[command(flatten)]
    pub(crate) which: WhichAuthority,
}

#[derive(Debug, Args)]
pub(crate) struct OrgDiffArgs {
    /// 変更案の番号 / The number of the change set
    pub(crate) id: u64,
    /// 変わらない人も / With those who stay as they are
    #[arg(long)]
    pub(crate) all: bool,
    /// JSON で一行に一件 / One JSON object a line
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) which: WhichAuthority,
}

#[derive(Debug, Args)]
pub(crate) struct OrgApplyArgs {
    /// 変更案の番号 / The number of the change set
    pub(crate) id: u64,
    #[command(flatten)]
    pub(crate) which: WhichAuthority,
}

#[derive(Debug, Args)]
pub(crate) struct OrgUndoArgs {
    /// 変更案の番号 / The number of the change set
    pub(crate) id: u64,
    /// この行だけ。`org diff` が示す番号 / This line alone, by the number that `org diff` shows
    #[arg(long)]
    pub(crate) row: Option<u32>,
    #[command(flatten)]
    pub(crate) which: WhichAuthority,
}

#[derive(Debug, Args)]
pub(crate) struct OrgFindArgs {
    /// 探す言葉。空白で区切ると、すべてに当てはまる人 / Words, each of which has to be met
    pub(crate) text: String,
    #[command(flatten)]
    pub(crate) which: WhichAuthority,
}

#[derive(Debug, Args)]
pub(crate) struct OrgShowArgs {
    /// この日の組織。なければ今日 / On this day; today without it
    #[arg(long, value_parser = commands::org::parse_day)]
    pub(crate) as_of: Option<Date>,
    /// この所属とその下だけ。名前か所属コード / This unit and those below it alone, by name or code
    #[arg(long)]
    pub(crate) unit: Option<String>,
    /// JSON で / As JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) which: WhichAuthority,
}

#[derive(Debug, Subcommand)]
enum LdapCommand {
    /// 最後の読み取りの結果 / shows how the last readings went
    Status(StatusArgs),
    /// いま読み取り、アカウントを合わせる。動いているサーバーは自分で行う / reads a directory now and has the accounts follow; a running server does so by itself
    Run(LdapRunArgs),
    /// 何が行われるかを、行わずに見る / shows what would be done, and does nothing
    Preview(LdapPreviewArgs),
}

#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// JSON で / As JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) which: WhichAuthority,
}

#[derive(Debug, Args)]
pub(crate) struct LdapRunArgs {
    /// 連携元の名前。設定に複数あるとき / The source, if the authority has several
    #[arg(long)]
    pub(crate) source: Option<String>,
    /// この人数までの停止を承知している / So many accounts may end: that is meant
    #[arg(long, value_name = "COUNT")]
    pub(crate) accept_endings: Option<usize>,
    #[command(flatten)]
    pub(crate) which: WhichAuthority,
}

#[derive(Debug, Args)]
pub(crate) struct LdapPreviewArgs {
    /// 連携元の名前。設定に複数あるとき / The source, if the authority has several
    #[arg(long)]
    pub(crate) source: Option<String>,
    #[command(flatten)]
    pub(crate) which: WhichAuthority,
}

#[derive(Debug, Subcommand)]
enum AuditCommand {
    /// 監査ログを確かめ、最初に合わない箇所を示す / checks the audit log and names the first place that does not fit
    Verify(AuditVerifyArgs),
    /// 監査ログを読む / prints the audit log of one authority
    List(AuditListArgs),
    /// ログサーバーへの転送の状況 / how far the log servers have the audit log
    Status(StatusArgs),
    /// 保存年数と、消える記録・消えた記録 / for how long rows are kept, which are due, and which have gone
    Kept(StatusArgs),
    /// 記録の消去を止める (保全) / has no more rows removed
    Hold(AuditHoldArgs),
    /// 記録の消去の停止を解く / lets rows be removed again that were kept long enough
    Release(WhichAuthority),
}

#[derive(Debug, Args)]
pub(crate) struct AuditHoldArgs {
    /// 理由。監査ログに残る / Why; the audit log tells of it
    #[arg(long)]
    pub(crate) reason: String,
    #[command(flatten)]
    pub(crate) which: WhichAuthority,
}

#[derive(Debug, Args)]
pub(crate) struct AuditVerifyArgs {
    /// 機関のサーバー名。なければ設定のすべての機関 / The authority; without it all of the configuration
    #[arg(long, alias = "authority", value_parser = names::parse)]
    pub(crate) server_name: Option<OwnedServerName>,
    /// 以前の確認で表示された値 (件数:連鎖の値)。それが今も連鎖にあるか確かめる / What an earlier check printed (rows:value): whether the chain still goes through it
    #[arg(long, value_parser = commands::audit::parse_noted)]
    pub(crate) noted: Option<Noted>,
    #[command(flatten)]
    pub(crate) config: ConfigArg,
}

#[derive(Debug, Args)]
pub(crate) struct AuditListArgs {
    /// 機関のサーバー名。設定に複数あるとき / The authority, if the configuration has several
    #[arg(long, alias = "authority", value_parser = names::parse)]
    pub(crate) server_name: Option<OwnedServerName>,
    /// この日から。日本時間、2026-04-01 のように / From this day on, in Japan, such as 2026-04-01
    #[arg(long, value_parser = commands::audit::parse_day)]
    pub(crate) since: Option<Day>,
    /// この日まで、その日を含む / Up to this day and with it
    #[arg(long, value_parser = commands::audit::parse_day)]
    pub(crate) until: Option<Day>,
    /// 誰が、または誰に。ユーザー ID かユーザー名 / Done by or to this one: a user id, or a user name
    #[arg(long)]
    pub(crate) who: Option<String>,
    /// 何を。session や session.sign_in のように / What was done, such as session or session.sign_in
    #[arg(long)]
    pub(crate) what: Option<String>,
    /// JSON で一行に一件 / One JSON object a line
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) config: ConfigArg,
}

#[derive(Debug, Args)]
pub(crate) struct BackupArgs {
    /// 控えのディレクトリ。複数の控えは共通部分を共有する / The directory of the backups; several backups share what they have in common
    pub(crate) to: PathBuf,
    #[command(flatten)]
    pub(crate) config: ConfigArg,
}

#[derive(Debug, Args)]
pub(crate) struct RestoreArgs {
    /// 控えのディレクトリ / The directory of the backups
    pub(crate) from: PathBuf,
    #[command(flatten)]
    pub(crate) config: ConfigArg,
}

/// Runs the command of this process's arguments.
pub fn run() -> ExitCode {
    // What a server keeps is nobody else's on this machine: data, keys, tokens, backups and logs.
    base::language::speak_as_asked(|name| std::env::var_os(name));
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let parsed = texts::in_one_language(Cli::command())
        .try_get_matches()
        .and_then(|matches| Cli::from_arg_matches(&matches));
    let cli = match parsed {
        Ok(cli) => cli,
        Err(error) if texts::japanese() => {
            let text = texts::of_the_parser(&error);
            if error.use_stderr() {
                commands::complain(text.trim_end());
                return ExitCode::from(2);
            }
            let said = commands::say(text.trim_end()).map_err(anyhow::Error::from);
            return match said {
                Err(error) if !commands::is_unread(&error) => ExitCode::FAILURE,
                _ => ExitCode::SUCCESS,
            };
        }
        Err(error) => error.exit(),
    };
    match execute(cli) {
        Ok(code) => code,
        Err(error) if commands::is_unread(&error) => ExitCode::SUCCESS,
        Err(error) => {
            commands::complain(&format!("yakuba: {}", texts::of_failure(&error)));
            ExitCode::FAILURE
        }
    }
}

fn execute(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.command {
        Command::Init(args) => run_async(commands::init::init(&args))?,
        Command::Check(args) => return run_async(commands::check::check(&args)),
        Command::Serve(args) => {
            let config = config::Config::read(&args.config.config)?;
            base::telemetry::init(config.log.format, &config.log.filter)
                .with_context(|| tr!("[log] の filter を使えません", "the filter of [log] cannot be used"))?;
            let data = storage::Data::of_server(&config, args.begin);
            run_async(serve::serve(&config, data, args.until_stdin_ends))?;
        }
        Command::Demo(args) => run_async(demo::demo(&args))?,
        Command::User(UserCommand::Create(args)) => run_async(commands::user::create(&args))?,
        Command::User(UserCommand::Password(args)) => run_async(commands::user::set_password(&args))?,
        Command::User(UserCommand::Link(args)) => run_async(commands::user::link(&args))?,
        Command::User(UserCommand::Admin(args)) => run_async(commands::user::set_admin(&args))?,
        Command::User(UserCommand::Duty(args)) => run_async(commands::user::set_duty(&args))?,
        Command::User(UserCommand::List(args)) => run_async(commands::user_list::list(&args))?,
        Command::User(UserCommand::Part(args)) => run_async(commands::user::set_part(&args))?,
        Command::User(UserCommand::Duties(args)) => run_async(commands::user::list_duties(&args))?,
        Command::User(UserCommand::Factors(FactorsCommand::Reset(args))) => {
            run_async(commands::user::reset_factors(&args))?
        }
        Command::User(UserCommand::Close(args)) => run_async(commands::user::close(&args))?,
        Command::User(UserCommand::Reopen(args)) => run_async(commands::user::reopen(&args))?,
        Command::Room(RoomCommand::Purge(args)) => run_async(commands::room::purge(&args))?,
        Command::Room(RoomCommand::Purges(args)) => run_async(commands::room::purges(&args))?,
        Command::Media(MediaCommand::Remove(args)) => {
            run_async(commands::media::order(&args, MediaDeed::Remove))?
        }
        Command::Media(MediaCommand::Withhold(args)) => {
            run_async(commands::media::order(&args, MediaDeed::Withhold))?
        }
        Command::Media(MediaCommand::Release(args)) => {
            run_async(commands::media::order(&args, MediaDeed::Release))?
        }
        Command::Search(SearchCommand::Rebuild(args)) => run_async(commands::search::rebuild(&args))?,
        Command::Org(OrgCommand::Import(args)) => run_async(commands::org::import(&args))?,
        Command::Org(OrgCommand::Edit(args)) => run_async(commands::org::edit(&args))?,
        Command::Org(OrgCommand::Columns(args)) => run_async(commands::org::columns(&args))?,
        Command::Org(OrgCommand::List(args)) => run_async(commands::org::list(&args))?,
        Command::Org(OrgCommand::Diff(args)) => run_async(commands::org::diff(&args))?,
        Command::Org(OrgCommand::Apply(args)) => run_async(commands::org::apply(&args))?,
        Command::Org(OrgCommand::Withdraw(args)) => run_async(commands::org::withdraw(&args))?,
        Command::Org(OrgCommand::Undo(args)) => run_async(commands::org::undo(&args))?,
        Command::Org(OrgCommand::Find(args)) => run_async(commands::org::find(&args))?,
        Command::Org(OrgCommand::Show(args)) => run_async(commands::org::show(&args))?,
        Command::Org(OrgCommand::Rules(OrgRulesCommand::Show(args))) => {
            run_async(commands::org::rules::show(&args))?
        }
        Command::Org(OrgCommand::Rules(OrgRulesCommand::Set(args))) => {
            run_async(commands::org::rules::set(&args))?
        }
        Command::Org(OrgCommand::Rules(OrgRulesCommand::Preview(args))) => {
            run_async(commands::org::rules::preview(&args))?
        }
        Command::Org(OrgCommand::Rules(OrgRulesCommand::Adopt(args))) => {
            run_async(commands::org::rules::adopt(&args))?
        }
        Command::Org(OrgCommand::Rules(OrgRulesCommand::Run(args))) => {
            run_async(commands::org::rules::run(&args))?
        }
        Command::Case(command) => run_async(commands::case::run(&command))?,
        Command::Policy(command) => run_async(commands::policy::run(&command))?,
        Command::Ldap(LdapCommand::Status(args)) => run_async(commands::ldap::status(&args))?,
        Command::Ldap(LdapCommand::Run(args)) => return run_async(commands::ldap::run(&args)),
        Command::Ldap(LdapCommand::Preview(args)) => return run_async(commands::ldap::preview(&args)),
        Command::Audit(AuditCommand::Verify(args)) => return run_async(commands::audit::verify(&args)),
        Command::Audit(AuditCommand::List(args)) => run_async(commands::audit::list(&args))?,
        Command::Audit(AuditCommand::Status(args)) => {
            return run_async(commands::audit_status::status(&args));
        }
        Command::Audit(AuditCommand::Kept(args)) => run_async(commands::audit_kept::kept(&args))?,
        Command::Audit(AuditCommand::Hold(args)) => {
            run_async(commands::audit_kept::hold(&args.which, Some(args.reason)))?
        }
        Command::Audit(AuditCommand::Release(which)) => run_async(commands::audit_kept::hold(&which, None))?,
        Command::Backup(args) => run_async(commands::data::backup(&args))?,
        Command::Restore(args) => run_async(commands::data::restore(&args))?,
        Command::Verify(args) => return run_async(commands::data::verify(&args)),
        Command::Status(args) => return run_async(commands::status::status(&args)),
        // Whoever cannot be confined, or has lost its server, says so by its end alone: the server refuses the file.
        Command::SanitiseWorker => {
            return Ok(sanitise::serve().map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS));
        }
        Command::Version => commands::say(&format!("yakuba {}", crate::VERSION))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Stack of each thread, of which the system gives what is used. Events of other servers may hold keys by which `serde_json` reads
/// texts in texts ([`web::has_private_key`]), and are kept, since others keep them: an event of 64 KiB goes 68 texts of 127
/// levels deep, which takes 3 MiB, and an answer of a MiB 16.
const STACK: usize = 32 << 20;

/// Runs to the end on a small runtime: threads follow the processors, and those for blocking work
/// come and go.
fn run_async<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let threads = std::thread::available_parallelism().map_or(2, usize::from).clamp(2, 16);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .max_blocking_threads(64)
        .thread_stack_size(STACK)
        .enable_all()
        .build()
        .with_context(|| tr!("スレッドを作れません", "no threads can be made"))?;
    let outcome = runtime.block_on(work);
    // A thread that waits for standard input cannot be woken; do not wait for it.
    runtime.shutdown_background();
    outcome
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use serde_json::Value;

    use super::STACK;

    /// Texts within texts, each as deep as `serde_json` goes, in so many bytes.
    fn texts_in_texts(most: usize) -> String {
        let mut text = "1".to_owned();
        loop {
            let inside = text.replace('\\', r"\u005c").replace('"', r"\u0022");
            let lists = 124;
            let around = format!(
                r#"{}{{"$serde_json::private::RawValue":"{inside}"}}{}"#,
                "[".repeat(lists),
                "]".repeat(lists)
            );
            if around.len() > most {
                return text;
            }
            text = around;
        }
    }

    #[test]
    fn a_thread_bears_the_deepest_event_of_another_server() {
        let event = texts_in_texts(64 << 10);
        let read = move || serde_json::from_str::<Value>(&event).map(|value| value.to_string().len());
        let thread = std::thread::Builder::new().stack_size(STACK).spawn(read).unwrap();
        assert!(thread.join().unwrap().unwrap() > 8_000);
    }
}
