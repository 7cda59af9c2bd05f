//! `yakuba org`: the organisation of an authority, by the running server or, when none runs, in its data.

mod office;
mod print;
pub(crate) mod rules;
pub(crate) mod rules_args;

use std::path::Path;

use anyhow::{Context, bail};
use base::Timestamp;
use intake::{Date, Encoding, How, Mapping};
use organisation::{SetId, State, calendar::minute_of};
use personnel::{Act, Answer, Edit, FileBytes, Import, Order};

pub(crate) use self::office::Office;
pub(crate) use self::office::{over, unexpected};
use crate::{
    causes,
    cli::{
        OrgApplyArgs, OrgColumnsArgs, OrgDiffArgs, OrgEditArgs, OrgFindArgs, OrgImportArgs, OrgListArgs,
        OrgShowArgs, OrgUndoArgs, OrgWhichArgs,
    },
    commands::say,
    texts::tr,
};

/// Makes a change set of a personnel file.
pub(crate) async fn import(args: &OrgImportArgs) -> anyhow::Result<()> {
    let import = Import {
        file: args.file.as_deref().map_or_else(|| Ok(FileBytes::new(Vec::new())), file)?,
        how: How { encoding: args.encoding, separator: None },
        mapping: args.mapping.clone(),
        source: args.source.clone(),
        body: args.body.clone(),
        makes_new: args.makes_new,
        day: args.as_of,
        at: args.at,
        same: args.same.clone(),
        other: args.other.clone(),
        is_part: false,
    };
    let order = if args.told { Order::ImportTold } else { Order::Import };
    over(&args.which, async |office| match office.ask(order(Box::new(import))).await? {
        Answer::Imported(imported) => print::imported(&imported),
        _ => unexpected(),
    })
    .await
}

/// Makes a change set of what is done by hand.
pub(crate) async fn edit(args: &OrgEditArgs) -> anyhow::Result<()> {
    let bytes = file(&args.file)?;
    // As Windows writes text.
    let text = bytes.as_bytes();
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let acts: Vec<Act> = serde_json::from_slice(text).map_err(|error| {
        anyhow::anyhow!(tr!(
            "{path} を変更の一覧として読めません: {error}",
            "{path} is no list of acts: {error}",
            path = args.file.display()
        ))
    })?;
    let edit = Box::new(Edit { acts, day: args.as_of, at: args.at, within: None });
    over(&args.which, async |office| {
        if args.tries {
            let Answer::Tried(tried) = office.ask(Order::Try(edit)).await? else { return unexpected() };
            return print::tried(&tried);
        }
        let (id, set) = set(office, Order::Edit(edit)).await?;
        print::made(id, &set)
    })
    .await
}

/// Tells what the columns of a file probably mean, and saves that if it is wanted.
pub(crate) async fn columns(args: &OrgColumnsArgs) -> anyhow::Result<()> {
    let how = How { encoding: args.encoding, separator: None };
    let order = Order::Columns { file: file(&args.file)?, how };
    let edited = args.edited.as_deref().map(mapping).transpose()?;
    over(&args.which, async |office| {
        let Answer::Columns(columns) = office.ask(order).await? else { return unexpected() };
        if args.json {
            say(&serde_json::to_string_pretty(edited.as_ref().unwrap_or(&columns.mapping))?)?;
        } else if edited.is_none() {
            print::columns(&columns)?;
        }
        let Some(name) = &args.save else { return Ok(()) };
        let mapping = Box::new(edited.unwrap_or(columns.mapping));
        office.ask(Order::SaveMapping { name: name.clone(), mapping }).await?;
        Ok(say(&tr!("列の対応を「{name}」として保存しました", "saved as \"{name}\""))?)
    })
    .await
}

/// Prints the change sets, the newest first.
pub(crate) async fn list(args: &OrgListArgs) -> anyhow::Result<()> {
    over(&args.which, async |office| {
        let order = Order::List { before: args.before.map(SetId), limit: args.limit };
        match office.ask(order).await? {
            Answer::List(sets) => print::list(&sets, args.json),
            _ => unexpected(),
        }
    })
    .await
}

/// Prints what a change set does, line by line.
pub(crate) async fn diff(args: &OrgDiffArgs) -> anyhow::Result<()> {
    let id = SetId(args.id);
    over(&args.which, async |office| {
        let (_, set) = set(office, Order::Set { id }).await?;
        if !args.json {
            print::set(id, &set)?;
        }
        let mut from = 0;
        loop {
            let Answer::Lines(lines) = office.ask(Order::Lines { id, from, briefly: !args.all }).await?
            else {
                return unexpected();
            };
            let Some(last) = lines.last() else { return Ok(()) };
            from = last.number.saturating_add(1);
            for line in &lines {
                print::line(line, args.json)?;
            }
        }
    })
    .await
}

/// Applies a change set whose minute has come.
pub(crate) async fn apply(args: &OrgApplyArgs) -> anyhow::Result<()> {
    let id = SetId(args.id);
    over(&args.which, async |office| {
        let (id, set) = set(office, Order::Apply { id }).await?;
        print::set(id, &set)?;
        if set.state != State::Applied {
            bail!(tr!("変更案 {id} は適用されていません", "change set {id} is not applied", id = id.0));
        }
        Ok(())
    })
    .await
}

/// Takes a change set back that is not applied yet.
pub(crate) async fn withdraw(args: &OrgWhichArgs) -> anyhow::Result<()> {
    over(&args.which, async |office| {
        let (id, set) = set(office, Order::Withdraw { id: SetId(args.id) }).await?;
        print::set(id, &set)
    })
    .await
}

/// Undoes a change set, or one line of it.
pub(crate) async fn undo(args: &OrgUndoArgs) -> anyhow::Result<()> {
    // As people count.
    let line = match args.row {
        Some(0) => bail!(tr!("行の番号は 1 からです", "lines are counted from 1")),
        row => row.map(|row| row - 1),
    };
    over(&args.which, async |office| {
        let (id, set) = set(office, Order::Undo { id: SetId(args.id), line }).await?;
        if let Some(row) = args.row {
            say(&tr!("{row} 行目を取り消しました", "line {row} is undone"))?;
        }
        print::set(id, &set)
    })
    .await
}

/// Prints who is where on a day.
pub(crate) async fn show(args: &OrgShowArgs) -> anyhow::Result<()> {
    over(&args.which, async |office| {
        match office.ask(Order::Show { day: args.as_of, unit: args.unit.clone(), within: None }).await? {
            Answer::Shown(shown) => print::shown(&shown, args.json),
            _ => unexpected(),
        }
    })
    .await
}

/// Prints who is meant by some words.
pub(crate) async fn find(args: &OrgFindArgs) -> anyhow::Result<()> {
    over(&args.which, async |office| {
        match office.ask(Order::Find { text: args.text.clone(), within: None }).await? {
            Answer::Found { people, more } => print::found(&people, more),
            _ => unexpected(),
        }
    })
    .await
}

async fn set(office: &Office, order: Order) -> anyhow::Result<(SetId, organisation::ChangeSet)> {
    match office.ask(order).await? {
        Answer::Set(id, set) => Ok((id, *set)),
        _ => unexpected(),
    }
}

/// The bytes of a file that is not too large to be one. Of a larger one as many are read as show that it is.
fn file(path: &Path) -> anyhow::Result<FileBytes> {
    use std::io::Read;

    let read = || -> std::io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        std::fs::File::open(path)?.take(intake::limits::MAX_BYTES + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    Ok(FileBytes::new(read().map_err(|error| unreadable(path, &error))?))
}

fn mapping(path: &Path) -> anyhow::Result<Mapping> {
    let text = std::fs::read_to_string(path).map_err(|error| unreadable(path, &error))?;
    serde_json::from_str(&text).with_context(|| {
        tr!("{path} は列の対応ではありません", "{path} is no mapping of columns", path = path.display())
    })
}

fn unreadable(path: &Path, error: &std::io::Error) -> anyhow::Error {
    anyhow::anyhow!(tr!(
        "{path} を読めません: {cause}",
        "{path} cannot be read: {cause}",
        path = path.display(),
        cause = causes::of_io(error)
    ))
}

/// Reads a day as a person types it.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn parse_day(text: &str) -> Result<Date, String> {
    text.parse()
        .map_err(|_| tr!("2026-04-01 のような日付ではありません", "this is no day such as 2026-04-01"))
}

/// Reads a minute in Japan as a person types it: `2026-04-01T00:00`.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn parse_minute(text: &str) -> Result<Timestamp, String> {
    minute_of(text).ok_or_else(|| {
        tr!(
            "2026-04-01T00:00 のような日本時間の時刻ではありません",
            "this is no time in Japan such as 2026-04-01T00:00"
        )
    })
}

/// Reads the name of an encoding.
///
/// # Errors
/// Which there are.
pub(crate) fn parse_encoding(text: &str) -> Result<Encoding, String> {
    match text.to_ascii_lowercase().replace('-', "_").as_str() {
        "utf_8" | "utf8" => Ok(Encoding::Utf8),
        "utf_16le" => Ok(Encoding::Utf16Le),
        "utf_16be" => Ok(Encoding::Utf16Be),
        "shift_jis" | "sjis" | "cp932" => Ok(Encoding::Cp932),
        "euc_jp" => Ok(Encoding::EucJp),
        _ => Err(tr!(
            "文字コードは utf-8、shift_jis、euc-jp、utf-16le、utf-16be のいずれかです",
            "an encoding is one of utf-8, shift_jis, euc-jp, utf-16le, utf-16be"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_is_one_of_japan() {
        let midnight = 1_774_969_200_000;
        assert_eq!(parse_minute("2026-04-01T00:00"), Ok(Timestamp(midnight)));
        assert_eq!(parse_minute("2026-04-01 09:05"), Ok(Timestamp(midnight + (9 * 60 + 5) * 60_000)));
        for wrong in
            ["2026-04-01", "2026-04-01T24:00", "2026-04-01T0:00", "2026-02-30T00:00", "1969-01-01T00:00", ""]
        {
            assert!(parse_minute(wrong).is_err(), "{wrong}");
        }
    }
}
