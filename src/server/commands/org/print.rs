//! What `yakuba org` prints.

use audit::written;
use intake::Confidence;
use organisation::{Absence, ChangeSet, ItemState, Kind, Role, SetId, State, Tenure, Told, calendar::before};
use personnel::{Columns, FoundPerson, Imported, Line, Member, Shown, Tried};
use serde_json::json;

use crate::{
    commands::say,
    texts::{japanese, tr},
};

/// What is told, in the reader's language.
fn said(told: &Told) -> &str {
    if japanese() { &told.ja } else { &told.en }
}

/// One of both.
fn pick(ja: String, en: String) -> String {
    if japanese() { ja } else { en }
}

fn kind_in_words(kind: Kind) -> String {
    let words = kind.words();
    pick(words.ja, words.en)
}

pub(super) fn imported(imported: &Imported) -> anyhow::Result<()> {
    let Some((id, made)) = &imported.set else {
        let unchanged = imported.unchanged;
        say(&tr!(
            "変わるものはありません(変更なし {unchanged} 件)。変更案は作りませんでした",
            "nothing changes ({unchanged} stay as they are), so no change set was made"
        ))?;
        return Ok(());
    };
    self::made(*id, made)
}

/// What acts would do.
pub(super) fn tried(tried: &Tried) -> anyhow::Result<()> {
    for line in &tried.lines {
        let (kind, about) = (kind_in_words(line.kind), &line.about);
        let told: Vec<_> = line.told.iter().map(said).collect();
        let told = told.join(" ");
        say(&format!("{kind}  {about}  {told}"))?;
    }
    Ok(())
}

/// A change set that was made just now, and what has to be done with it.
pub(super) fn made(id: SetId, made: &ChangeSet) -> anyhow::Result<()> {
    set(id, made)?;
    let id = id.0;
    say(&tr!(
        "`yakuba org diff {id}` で内容を確かめ、承認を求めます: `yakuba case ask changes --field set={id} --reason … --user …`。承認は `yakuba case approve` で、人事担当と全体管理者の二人が行います(申請者がどちらかであれば、もう一方)",
        "`yakuba org diff {id}` shows it; then ask for approval: `yakuba case ask changes --field set={id} --reason … --user …`. A personnel officer and an administrator agree by `yakuba case approve`; who asks and is one of both has agreed by that"
    ))?;
    Ok(())
}

/// A change set in a few lines: what it is, how far it has come, what has to be read.
pub(super) fn set(id: SetId, set: &ChangeSet) -> anyhow::Result<()> {
    say(&in_short(id, set))?;
    for guard in &set.guards {
        let (word, told) = (guard.kind.word(), said(&guard.told));
        say(&tr!(
            "  警告 {word}: {told}(承知のうえで申請・承認するときは --meant {word})",
            "  warning {word}: {told} (whoever asks for it or approves, and means it, adds --meant {word})"
        ))?;
    }
    for approval in &set.approvals {
        let (role, account, at) = (role_in_words(approval.role), &approval.account, written(approval.at));
        say(&tr!("  承認: {role} {account} {at}", "  approved: {role}, {account}, {at}"))?;
    }
    if let Some((by, at)) = &set.ended_by {
        let at = written(*at);
        say(&tr!("  取り下げ・取り消し: {by} {at}", "  ended by: {by}, {at}"))?;
    }
    if !set.stale.is_empty() {
        let lines: Vec<_> = set.stale.iter().map(|line| (u64::from(*line) + 1).to_string()).collect();
        let lines = lines.join(", ");
        say(&tr!("  合わなくなった行: {lines}", "  lines that do not fit any more: {lines}"))?;
    }
    Ok(())
}

fn in_short(id: SetId, set: &ChangeSet) -> String {
    let state = set.state.words();
    let (id, day, at, state) = (id.0, set.day, written(set.at), pick(state.ja, state.en));
    let source = set.source.as_deref().unwrap_or("-");
    let by = &set.made_by;
    let counts = set.counts.iter().map(|(kind, count)| format!("{} {count}", kind_in_words(*kind)));
    let counts = counts.collect::<Vec<_>>().join(if japanese() { "、" } else { ", " });
    let is_to_come = matches!(set.state, State::Preview | State::Approved);
    let hour = if is_to_come { tr!(" 適用 {at}", ", applied at {at}") } else { String::new() };
    let era = day.in_era();
    tr!(
        "変更案 {id}: {era}付{hour} [{state}] {source} ({by}): {counts}",
        "change set {id}: as of {day}{hour} [{state}] {source} ({by}): {counts}"
    )
}

fn role_in_words(role: Role) -> String {
    let words = role.words();
    pick(words.ja, words.en)
}

pub(super) fn list(sets: &[(SetId, ChangeSet)], as_json: bool) -> anyhow::Result<()> {
    if sets.is_empty() && !as_json {
        say(&tr!("変更案はありません", "there are no change sets"))?;
    }
    for (id, set) in sets {
        say(&if as_json { json!({ "id": id, "set": set }).to_string() } else { in_short(*id, set) })?;
    }
    Ok(())
}

pub(super) fn line(line: &Line, as_json: bool) -> anyhow::Result<()> {
    if as_json {
        return Ok(say(&serde_json::to_string(line)?)?);
    }
    let Line { number, kind, about, rows, told, .. } = line;
    let (number, kind) = (u64::from(*number) + 1, kind_in_words(*kind));
    let rows = rows.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let rows = match rows.is_empty() {
        true => String::new(),
        false => tr!(" (ファイルの {rows} 行目)", " (row {rows} of the file)"),
    };
    let undone = match &line.state {
        ItemState::Undone { by, at } => {
            let at = written(*at);
            tr!(" [取り消し: {by} {at}]", " [undone by {by}, {at}]")
        }
        ItemState::Waiting | ItemState::Applied => String::new(),
    };
    say(&format!("{number:>5}  {kind}  {about}{rows}{undone}"))?;
    for told in told {
        say(&format!("         {}", said(told)))?;
    }
    Ok(())
}

pub(super) fn columns(columns: &Columns) -> anyhow::Result<()> {
    let encoding = &columns.encoding;
    say(&tr!("文字コード: {encoding}", "encoding: {encoding}"))?;
    for (column, header, field, confidence) in &columns.found {
        let (field, sure) = (field.words(), sure(*confidence));
        let field = pick(field.ja, field.en);
        say(&tr!(
            "  {column} 列目「{header}」: {field} ({sure})",
            "  column {column} \"{header}\": {field} ({sure})"
        ))?;
    }
    for (column, header) in &columns.unused {
        say(&tr!("  {column} 列目「{header}」: 使わない", "  column {column} \"{header}\": not read"))?;
    }
    for (field, among) in &columns.ambiguous {
        let field = field.words();
        let field = pick(field.ja, field.en);
        let among = among.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        say(&tr!("  {field} は {among} 列目のいずれか", "  {field} may be any of the columns {among}"))?;
    }
    if let Some(width) = columns.lost_zeros {
        say(&tr!(
            "職員番号の先頭の 0 が消えています。対応に \"digits\":{{\"filled_to\":{width}}} と書くと {width} 桁に補います",
            "the numbers have lost their zeros in front: with \"digits\":{{\"filled_to\":{width}}} in the mapping they are filled up to {width} digits"
        ))?;
    }
    match &columns.doubt {
        None if columns.lost_zeros.is_some() => {}
        Some(doubt) => say(said(doubt))?,
        None => say(&tr!("このまま取り込めます", "an import takes it as it is"))?,
    }
    Ok(())
}

fn sure(confidence: Confidence) -> String {
    match confidence {
        Confidence::High => tr!("確実", "sure"),
        Confidence::Medium => tr!("ほぼ確実", "nearly sure"),
        Confidence::Low => tr!("推測", "a guess"),
    }
}

pub(super) fn shown(shown: &Shown, as_json: bool) -> anyhow::Result<()> {
    if as_json {
        return Ok(say(&serde_json::to_string(shown)?)?);
    }
    let (day, era) = (shown.day, shown.day.in_era());
    say(&tr!("{era}の組織", "the organisation on {day}"))?;
    if shown.bodies.is_empty() {
        say(&tr!("  まだ何もありません", "  nothing is known yet"))?;
    }
    for body in &shown.bodies {
        say(&body.name)?;
        for unit in &body.units {
            let indent = "  ".repeat(unit.depth + 1);
            let code = unit.code.as_ref().map(|code| format!(" [{code}]")).unwrap_or_default();
            say(&format!("{indent}{}{code}", unit.name))?;
            for one in &unit.members {
                say(&format!("{indent}  - {}", member(one)))?;
            }
        }
    }
    if shown.more > 0 {
        let more = shown.more;
        say(&tr!(
            "ほかに {more} 人います。--unit で絞ってください",
            "there are {more} more people; choose a unit with --unit"
        ))?;
    }
    Ok(())
}

pub(super) fn found(people: &[FoundPerson], more: usize) -> anyhow::Result<()> {
    if people.is_empty() {
        say(&tr!("見つかりません", "nobody was found"))?;
    }
    for person in people {
        let reading = person.reading.as_ref().map(|reading| format!(" ({reading})")).unwrap_or_default();
        let account = person.account.as_ref().map(|account| format!("  @{account}")).unwrap_or_default();
        say(&format!("{}{reading}{account}", person.called))?;
        for (path, title) in &person.posts {
            say(&format!("  {} {title}", path.join(" ")))?;
        }
    }
    if more > 0 {
        say(&tr!(
            "ほかに {more} 人います。言葉を足して絞ってください",
            "there are {more} more; please add a word"
        ))?;
    }
    Ok(())
}

fn member(member: &Member) -> String {
    let Member { number, called, title, tenure, away, .. } = member;
    let mut told = format!("{title} {called} ({number})").trim_start().to_owned();
    if *tenure == Tenure::Additional {
        told.push_str(&tr!(" 兼務", ", additional"));
    }
    if let Some(last) = member.until.and_then(before) {
        told.push_str(&tr!(" {last} まで", ", until {last}"));
    }
    match away {
        None => {}
        Some(Absence::Suspended) => told.push_str(&tr!(" 休職中", ", suspended")),
        Some(Absence::Leave) => told.push_str(&tr!(" 休業中", ", on leave")),
        Some(Absence::Seconded { to }) => told.push_str(&tr!(" 出向中: {to}", ", seconded to {to}")),
    }
    told
}
