//! `yakuba ldap`: the directories of an authority, read and followed by the running server or by this command.

use std::{process::ExitCode, time::Duration};

use anyhow::{anyhow, bail};
use audit::Actor;
use base::Timestamp;
use http::Method;
use ldap::{Answer, Counts, Note, Order, Outcome, Report, Status, Words};

use crate::{
    admin::{LDAP, LdapOrder},
    ask::operator,
    causes,
    cli::{LdapPreviewArgs, LdapRunArgs, StatusArgs, WhichAuthority},
    commands::{Running, authority, say},
    config::Config,
    house::{Foundation, House},
    storage::Data,
    texts::{japanese, tr},
};

/// Prints how the last readings went.
pub(crate) async fn status(args: &StatusArgs) -> anyhow::Result<()> {
    let Answer::Status(all) = ask(&args.which, Order::Status).await? else { return unexpected() };
    if args.json {
        return Ok(say(&serde_json::to_string_pretty(&all)?)?);
    }
    if all.is_empty() {
        say(&tr!("この機関に LDAP の連携元はありません", "this authority has no LDAP source"))?;
    }
    all.iter().try_for_each(print_status)
}

/// Has a directory read and followed; a failure where nothing was followed.
pub(crate) async fn run(args: &LdapRunArgs) -> anyhow::Result<ExitCode> {
    let order = Order::Run { source: args.source.clone(), accept_endings: args.accept_endings };
    print_run(&args.which, order).await
}

/// Prints what would be done; a failure where that cannot be told.
pub(crate) async fn preview(args: &LdapPreviewArgs) -> anyhow::Result<ExitCode> {
    print_run(&args.which, Order::Preview { source: args.source.clone() }).await
}

async fn print_run(which: &WhichAuthority, order: Order) -> anyhow::Result<ExitCode> {
    let Answer::Ran(report) = ask(which, order).await? else { return unexpected() };
    print_report(&report)?;
    Ok(match report.outcome {
        Outcome::Followed | Outcome::Previewed => ExitCode::SUCCESS,
        Outcome::Refused | Outcome::Failed => ExitCode::FAILURE,
    })
}

/// Has an order carried out by the running server, or else over its data.
async fn ask(which: &WhichAuthority, order: Order) -> anyhow::Result<Answer> {
    let config = Config::read(&which.config.config)?;
    let authority = authority(which.server_name.as_ref(), &config)?;
    let Some(running) = Running::find(&config).await else {
        let house = House::open(&config, Foundation::of(&config, Data::MustExist).await?).await?;
        let done = house.ldap.carry_out(&authority, order, &Actor::operator(&operator())).await;
        house.close(Duration::from_secs(10)).await;
        return done.map_err(|error| match error.words() {
            Some(words) => anyhow!(spoken(&words).to_owned()),
            None => anyhow!(causes::of_errcode("", &error.to_string())),
        });
    };
    let order = serde_json::to_value(LdapOrder { authority, order })?;
    let (status, answer) = running.ask(Method::POST, LDAP, Some(&order)).await?;
    if status.is_success() {
        return serde_json::from_value(answer).or_else(|_| unexpected());
    }
    let said = answer[if japanese() { "ja" } else { "en" }].as_str().map(str::to_owned);
    let errcode = answer["errcode"].as_str().unwrap_or_default();
    let sentence = answer["error"].as_str().unwrap_or_default();
    bail!(said.unwrap_or_else(|| causes::of_errcode(errcode, sentence)))
}

/// An answer that is none to what was asked.
fn unexpected<T>() -> anyhow::Result<T> {
    bail!(tr!("サーバーの答えが読めません", "the server's answer cannot be read"))
}

fn spoken(words: &Words) -> &str {
    if japanese() { &words.ja } else { &words.en }
}

fn print_status(status: &Status) -> anyhow::Result<()> {
    let Status { source, place, people, ended, administrators, last, last_good } = status;
    say(&tr!(
        "{source} ({place}): {people} 人、うち停止中 {ended} 人",
        "{source} ({place}): {people} people, of whom {ended} are out"
    ))?;
    if *administrators > 0 {
        say(&tr!(
            "  この連携元のグループによる管理者: {administrators} 人",
            "  {administrators} administer by its group"
        ))?;
    }
    let good = match last_good {
        Some(at) => moment(*at),
        None => tr!("まだありません", "never"),
    };
    say(&tr!("  最後に反映した読み取り: {good}", "  last followed: {good}"))?;
    match last {
        Some(report) => print_report(report),
        None => Ok(say(&tr!("  まだ読み取っていません", "  it was not read yet"))?),
    }
}

fn print_report(report: &Report) -> anyhow::Result<()> {
    let Report { found, references, took_ms, noted, .. } = report;
    let at = moment(report.at);
    let outcome = match report.outcome {
        Outcome::Followed => tr!("反映しました", "followed"),
        Outcome::Refused => {
            tr!("見送りました。アカウントは何も変わっていません", "not followed; no account has changed")
        }
        Outcome::Failed => {
            tr!("読み取れませんでした。アカウントは何も変わっていません", "not read; no account has changed")
        }
        Outcome::Previewed => {
            tr!("次のようになります。まだ何も行っていません", "this would be done; nothing was")
        }
    };
    say(&tr!(
        "  {at}: {outcome} ({found} 人、{took_ms} ミリ秒)",
        "  {at}: {outcome} ({found} people, {took_ms} ms)"
    ))?;
    if let Some(why) = &report.why {
        say(&format!("  {}", spoken(why)))?;
    }
    if let Some(count) = report.administrators {
        say(&tr!("  管理者のグループに {count} 人", "  {count} of them are in the group of administrators"))?;
    }
    let Counts { made, renamed, moved, ended, restored, promoted, demoted, left } = report.counts;
    if report.counts.is_something() {
        say(&tr!(
            "  作成・引き継ぎ {made}、名前・メール {renamed}、所属 {moved}、停止 {ended}、再開 {restored}、管理者にする {promoted}、管理者から外す {demoted}、次回に持ち越し {left}",
            "  {made} made or taken over, {renamed} called otherwise, {moved} elsewhere, {ended} ended, {restored} restored, {promoted} made administrators, {demoted} administrators no more, {left} left to the next reading"
        ))?;
    }
    if *references > 0 {
        say(&tr!(
            "  他サーバーへの参照 {references} 件は読みません",
            "  {references} references to other servers are passed over"
        ))?;
    }
    for Note { who, what } in &report.notes {
        say(&format!("  {who}: {}", spoken(what)))?;
    }
    if report.notes.len() < *noted {
        let more = noted - report.notes.len();
        say(&tr!("  ほかに {more} 件", "  and {more} more"))?;
    }
    Ok(())
}

/// A moment in Japan.
fn moment(at: Timestamp) -> String {
    audit::written(at)
}
