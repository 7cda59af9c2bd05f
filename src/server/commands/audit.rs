//! `yakuba audit`: the audit log is checked and read, by the running server or, when none runs, in its data.

use std::process::ExitCode;

use anyhow::anyhow;
use audit::{
    Action, Day, Fault, Filter, Findings, LateSeal, Listed, Noted, Page, Record, Role, SetBack, Wrong,
    written,
};
use http::Method;
use pdu::Authority;
use ruma::{OwnedServerName, ServerName};
use serde_json::Value;
use store::{Position, Store};

use crate::{
    admin::{AuditListOrder, AuditOrder},
    causes,
    cli::{AuditListArgs, AuditVerifyArgs},
    commands::{Running, authority, complain, data::over_store, say},
    config::Config,
    texts::{japanese, tr},
};

/// Checks the audit logs of one or all authorities; a failure when something does not fit.
pub(crate) async fn verify(args: &AuditVerifyArgs) -> anyhow::Result<ExitCode> {
    let config = Config::read(&args.config.config)?;
    let (named, noted) = (args.server_name.as_ref(), args.noted);
    // A note is of one log.
    let names: Vec<OwnedServerName> = match named.is_some() || noted.is_some() {
        true => vec![of_log(named, &config)?],
        false => config.authorities.iter().map(|authority| authority.name.clone()).collect(),
    };
    let mut all_fit = true;
    match Running::find(&config).await {
        Some(running) => {
            for name in names {
                let order = serde_json::to_value(AuditOrder { authority: name, noted })?;
                let found = running.must(Method::POST, "/_yakuba/v1/audit/verify", Some(&order)).await?;
                all_fit &= tell(&serde_json::from_value(found)?)?;
            }
        }
        None => {
            let authorities = config.load_authorities()?;
            over_store(&config, async |store| {
                for name in &names {
                    let keys: Option<&Authority> = authorities.find(name).map(AsRef::as_ref);
                    all_fit &= tell(&audit::verify(store, name, keys, noted).await.map_err(unreadable)?)?;
                }
                Ok(())
            })
            .await?;
        }
    }
    Ok(if all_fit { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Prints the rows of an authority that are asked for.
pub(crate) async fn list(args: &AuditListArgs) -> anyhow::Result<()> {
    let config = Config::read(&args.config.config)?;
    let name = of_log(args.server_name.as_ref(), &config)?;
    let filter = filter(args, &name);
    let show = |row: &Listed| say(&if args.json { audit::in_json(&name, row) } else { in_words(row) });
    match Running::find(&config).await {
        Some(running) => pages(show, async |after| page_of(&running, &name, &filter, after).await).await,
        None => {
            over_store(&config, async |store| {
                pages(show, async |after| page_in(store, &name, &filter, after).await).await
            })
            .await
        }
    }
}

/// Prints page after page.
async fn pages(
    show: impl Fn(&Listed) -> std::io::Result<()>,
    read: impl AsyncFn(Position) -> anyhow::Result<Page>,
) -> anyhow::Result<()> {
    let mut after = Position::START;
    loop {
        let page = read(after).await?;
        for row in &page.found {
            show(row)?;
        }
        match page.next {
            Some(next) => after = next,
            None => return Ok(()),
        }
    }
}

async fn page_of(
    running: &Running,
    name: &ServerName,
    filter: &Filter,
    after: Position,
) -> anyhow::Result<Page> {
    let order = AuditListOrder { authority: name.to_owned(), filter: filter.clone(), after };
    let order = serde_json::to_value(order)?;
    let page = running.must(Method::POST, "/_yakuba/v1/audit/list", Some(&order)).await?;
    Ok(serde_json::from_value(page)?)
}

async fn page_in(store: &Store, name: &ServerName, filter: &Filter, after: Position) -> anyhow::Result<Page> {
    audit::list(store, name, filter, after).await.map_err(unreadable)
}

fn unreadable(error: store::Error) -> anyhow::Error {
    anyhow!(causes::of_store(&error))
}

/// The authority whose log is meant. One that was given up still has its log.
fn of_log(named: Option<&OwnedServerName>, config: &Config) -> anyhow::Result<OwnedServerName> {
    match named {
        Some(name) if config.store.retired_authorities.contains(name) => Ok(name.clone()),
        _ => authority(named, config),
    }
}

fn filter(args: &AuditListArgs, name: &ServerName) -> Filter {
    let whole = |who: &String| {
        let is_name = !who.contains(['@', ':', ' ']) && !who.is_empty();
        if is_name { format!("@{who}:{name}") } else { who.clone() }
    };
    Filter {
        since: args.since.map(Day::begin),
        until: args.until.map(|day| day.next().begin()),
        who: args.who.as_ref().map(whole),
        what: args.what.clone(),
        text: None,
    }
}

/// Reads a day as a person types it.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn parse_day(text: &str) -> Result<Day, String> {
    let wrong = |_| tr!("2026-04-01 のような日付ではありません", "this is no day such as 2026-04-01");
    text.parse().map_err(wrong)
}

/// Reads a note as an earlier check printed it.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn parse_noted(text: &str) -> Result<Noted, String> {
    let wrong = |_| {
        tr!(
            "以前の確認で表示された「件数:連鎖の値」ではありません",
            "this is not what an earlier check printed, such as 4711:5891b5… with 64 digits"
        )
    };
    text.parse().map_err(wrong)
}

/// Tells what was found, and whether everything fits.
fn tell(found: &Findings) -> anyhow::Result<bool> {
    let Findings { authority, rows, gone, seals, last_seal, chain, waiting, wrong, .. } = found;
    let sealed = match last_seal {
        Some(seal) => tr!(
            "封印 {seals} 件 ({day} の {number} 件目まで)",
            "{seals} seal(s) (through row {number}, of {day})",
            number = seal.number,
            day = seal.day
        ),
        None => tr!("封印なし", "no seal yet"),
    };
    let went = match gone {
        0 => String::new(),
        _ => tr!(" (うち保存期間を過ぎて消去 {gone} 件)", " ({gone} of them gone, kept long enough)"),
    };
    let good = tr!(
        "{rows} 件{went}、{sealed}、連鎖していない {waiting} 件、控える値 {chain}",
        "{rows} row(s){went}, {sealed}, {waiting} row(s) not chained yet, to note down: {chain}"
    );
    match wrong {
        None => say(&tr!("{authority}: 問題ありません: {good}", "{authority}: no problem found: {good}"))?,
        Some(wrong) => {
            let place = place(wrong);
            let what = [Some(what_is_wrong(wrong.fault)), wrong.cause.clone()];
            let what = what.into_iter().flatten().collect::<Vec<_>>().join(": ");
            complain(&tr!(
                "{authority}: 合いません: {place}: {what}",
                "{authority}: does not fit: {place}: {what}"
            ));
            complain(&tr!("  そこまでは正しい: {good}", "  right up to there: {good}"));
        }
    }
    remarks(found);
    Ok(wrong.is_none())
}

/// Tells what only people can judge.
fn remarks(found: &Findings) {
    let Findings { authority, late, late_count, set_back, set_back_count, unknown_keys, .. } = found;
    for key in unknown_keys {
        complain(&tr!(
            "{authority}: 設定にない鍵で封印されています。この機関の鍵でしたか: {key}",
            "{authority}: sealed with a key that is not in the configuration; was it this authority's? {key}"
        ));
    }
    if *late_count > 0 {
        complain(&tr!(
            "{authority}: 封印 {late_count} 件は二日以上遅れて作られました。その間サーバーが止まっていましたか。そうでなければ、作り直されています",
            "{authority}: {late_count} seal(s) were made two days late or more: did no server run then? Else they were made anew"
        ));
    }
    if *set_back_count > 0 {
        complain(&tr!(
            "{authority}: 記録 {set_back_count} 件の時刻は、その前の記録より一分以上前です。時計が戻されたか、複数のサーバーの時計がずれています。順序は番号のとおりです",
            "{authority}: {set_back_count} row(s) say a time more than a minute before that of an earlier row: a clock was set back, or those of several machines differ; their order is that of their numbers"
        ));
    }
    for SetBack { number, at, after } in set_back {
        let (at, after) = (written(*at), written(*after));
        complain(&tr!("  {number} 件目: {at} (前の記録は {after})", "  row {number}: {at}, after {after}"));
    }
    for LateSeal { day, made } in late {
        let made = written(*made);
        complain(&tr!("  {day} の封印: {made} に作成", "  the seal of {day}: made at {made}"));
    }
}

fn place(wrong: &Wrong) -> String {
    let number = wrong.number;
    match (wrong.day, wrong.position) {
        (Some(day), _) => tr!("{day} の封印 ({number} 件目の後)", "the seal of {day}, behind row {number}"),
        (None, Some(position)) => {
            tr!("{number} 件目 (位置 {position})", "row {number}, at position {position}")
        }
        (None, None) => tr!("{number} 件目", "row {number}"),
    }
}

fn what_is_wrong(fault: Fault) -> String {
    match fault {
        Fault::RowChanged => tr!("記録か連鎖が書き換えられています", "the row or its link was changed"),
        Fault::RowMissing => tr!("記録がありません", "the row is gone"),
        Fault::RowAdded => tr!("後から加えられた記録があります", "a row was added here"),
        Fault::GoneWrongly => tr!(
            "保存期間を過ぎていない記録が消えているか、消去の記録が事実と違います",
            "rows are gone that were not kept long enough, or the row about some that went says what is not so"
        ),
        Fault::LinkMissing => tr!("連鎖が欠けています", "the link is gone or cannot be read"),
        Fault::EndChanged => {
            tr!("連鎖の終わりの控えが合いません", "the note of the chain's end says something else")
        }
        Fault::CutOff => tr!(
            "封印か控えにある記録の終わりが切り取られています",
            "rows that were sealed or noted are cut off"
        ),
        Fault::NotAsNoted => {
            tr!("控えた値と違います", "the chain was another one when it was noted down")
        }
        Fault::Unreadable => tr!("読めません", "it cannot be read"),
        Fault::SealMissing => tr!("封印がないか、読めません", "the seal is gone or cannot be read"),
        Fault::SealOfOthers => {
            tr!("封印された記録と違います", "it is of other rows than those that are there")
        }
        Fault::SealForged => tr!("署名が正しくありません", "its signature does not hold"),
        Fault::SealKeyUnknown => tr!(
            "設定にない鍵です。前の鍵なら old_keys に書いてください",
            "its key is not in the configuration; one that was the authority's before belongs into `old_keys`"
        ),
    }
}

/// A row as a line for people.
fn in_words(row: &Listed) -> String {
    let Some(record) = &row.record else {
        let position = row.position;
        return tr!("位置 {position} の記録は壊れています", "the row at position {position} is damaged");
    };
    let Record { at, who, role, from, what, whom, before, after, zone, device, duty } = record;
    let facts = |facts: &[(String, String)]| {
        facts
            .iter()
            .map(|(name, value)| format!(" {name}={}", quoted(value, [' ', '=', ':', '"'])))
            .collect::<String>()
    };
    let (at, role, done) = (written(*at), role_in_words(role), action_in_words(what));
    // Ids have colons; what looks like a fact needs a space or an equals sign before it.
    let (who, whom) = (quoted(who, [' ', '=', '"']), quoted(whom, [' ', '=', '"']));
    let from = from.as_deref().unwrap_or("-");
    let zone = zone.as_ref().map(|zone| format!("@{}", quoted(zone, [' ', '=', '"']))).unwrap_or_default();
    let role =
        duty.as_ref().map_or(role.clone(), |duty| format!("{role}: {}", quoted(duty, ['=', ']', '"'])));
    let on =
        device.as_ref().map(|device| format!(" ({})", quoted(device, [' ', ')', '"']))).unwrap_or_default();
    let before = if before.is_empty() {
        String::new()
    } else {
        tr!(" 前:{facts}", " before:{facts}", facts = facts(before))
    };
    let after = if after.is_empty() {
        String::new()
    } else {
        tr!(" 後:{facts}", " after:{facts}", facts = facts(after))
    };
    format!("{at} {from}{zone} {who}{on} [{role}] {done} ({what}) {whom}{before}{after}")
}

/// A text that others chose, so that it cannot be taken for anything else of the line.
fn quoted<const N: usize>(text: &str, marks: [char; N]) -> String {
    let is_odd = |letter: char| marks.contains(&letter) || letter.is_whitespace() || letter.is_control();
    if text.contains(is_odd) { Value::from(text).to_string() } else { text.to_owned() }
}

fn role_in_words(word: &str) -> String {
    Role::of_word(word).map_or_else(|| word.to_owned(), |role| pick(role.names()))
}

fn action_in_words(word: &str) -> String {
    Action::of_word(word).map_or_else(|| word.to_owned(), |action| pick(action.names()))
}

/// The one of both that is in the reader's language.
fn pick((ja, en): (&str, &str)) -> String {
    if japanese() { ja } else { en }.to_owned()
}

#[cfg(test)]
mod tests {
    use base::Timestamp;

    use super::*;

    #[test]
    fn what_others_chose_cannot_be_taken_for_another_fact_of_the_line() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let record = Record {
            at: Timestamp(1_774_969_200_000),
            who: "uid 0 (sudo hanako)".to_owned(),
            role: "user".to_owned(),
            from: None,
            what: "session.sign_in".to_owned(),
            whom: "@taro:kanazawa.test".to_owned(),
            before: vec![pair("devices", "A B")],
            zone: Some("lgwan".to_owned()),
            device: Some("PHONE".to_owned()),
            duty: Some("audit".to_owned()),
            after: vec![
                pair("device", "X user_agent=Element"),
                pair("a", "k=v"),
                pair("b", "after:"),
                pair("c", "\n\u{3000}\""),
                pair("d", "PHONE"),
            ],
        };
        let line = in_words(&Listed { position: Position(1), record: Some(record) });
        let facts = r#" before: devices="A B" after: device="X user_agent=Element" a="k=v" b="after:" c="\n　\"" d=PHONE"#;
        assert!(line.ends_with(&format!("(session.sign_in) @taro:kanazawa.test{facts}")), "{line}");
        assert!(line.contains(r#" -@lgwan "uid 0 (sudo hanako)" (PHONE) ["#), "{line}");
    }
}
