//! Cases as commands print them.

use base::Timestamp;
use cases::{CaseId, Deputy, FieldKind, KindTold, Line, Meant, Shown};
use organisation::{
    Told,
    calendar::{before, day_of},
};
use ruma::OwnedUserId;

use crate::{
    commands::say,
    texts::{japanese, tr},
};

/// What is told, in the reader's language.
fn said(told: &Told) -> &str {
    if japanese() { &told.ja } else { &told.en }
}

fn moment(at: Timestamp) -> String {
    said(&cases::moment(at)).to_owned()
}

pub(super) fn kinds(kinds: &[KindTold]) -> anyhow::Result<()> {
    for kind in kinds {
        say(&format!("{}  {}", kind.word, said(&kind.name)))?;
        say(&format!("  {}", said(&kind.about)))?;
        for field in &kind.fields {
            say(&format!("  --field {}=…  {}", field.word, said(&field.label)))?;
            if let FieldKind::Choice(all) = &field.kind {
                for (word, name) in all {
                    say(&format!("      {word}  {}", said(name)))?;
                }
            }
        }
    }
    Ok(())
}

pub(super) fn list(lines: &[Line], before: Option<CaseId>) -> anyhow::Result<()> {
    if lines.is_empty() {
        say(&tr!("案件はありません", "there are no cases"))?;
    }
    for line in lines {
        let (id, title, asker) = (line.id.0, said(&line.title), &line.asker);
        let (state, asked) = (line.state.words(), moment(line.asked_at));
        let deputy = match &line.for_whom {
            Some(of) => tr!(" [代理: {of}]", " [for {of}]"),
            None => String::new(),
        };
        say(&format!("{id}  [{}] {title}  {asker}  {asked}{deputy}", said(&state)))?;
    }
    if let Some(CaseId(id)) = before {
        say(&tr!("続きは --before {id}", "more with --before {id}"))?;
    }
    Ok(())
}

pub(super) fn case(shown: &Shown) -> anyhow::Result<()> {
    let (id, case) = (shown.id.0, &shown.case);
    let (kind, title, state) = (said(&shown.kind), said(&case.title), case.state.words());
    let state = said(&state);
    say(&tr!("案件 {id} [{state}] {kind}: {title}", "case {id} [{state}] {kind}: {title}"))?;
    if let Some(since) = &shown.since {
        say(&format!("  {}", said(since)))?;
    }
    let asker = shown.asker.name.as_ref().map_or_else(String::new, |name| format!(" ({name})"));
    let (user, asked) = (&case.asker, moment(case.asked_at));
    say(&tr!("  申請: {user}{asker} {asked}", "  asked by {user}{asker}, {asked}"))?;
    for field in &shown.fields {
        say(&format!("  {}: {}", said(&field.label), said(&field.shown)))?;
    }
    let reason = &case.reason;
    say(&tr!("  理由: {reason}", "  reason: {reason}"))?;
    if let cases::State::Failed(why) = &case.state {
        let why = said(why);
        say(&tr!("  実施できない理由: {why}", "  why it could not be done: {why}"))?;
    }
    if shown.missing > 0 {
        let (missing, expires) = (shown.missing, moment(case.expires));
        say(&tr!(
            "  あと {missing} 人の承認が必要(期限 {expires})",
            "  {missing} more have to approve (until {expires})"
        ))?;
        for one in &shown.deciders {
            let name = one.name.as_ref().map_or_else(String::new, |name| format!(" ({name})"));
            let deputy = match &one.for_whom {
                Some(of) => tr!(" 代理: {of}", ", for {of}"),
                None => String::new(),
            };
            say(&format!("    {}{name}{deputy}", one.user))?;
        }
        if shown.fell {
            say(&tr!(
                "    本来決める人がいないため、全体管理者が決めます",
                "    administrators decide, since nobody else can"
            ))?;
        }
    }
    meant(&shown.meant)?;
    for event in &shown.history {
        let (at, what) = (moment(event.at), event.deed.words());
        let (what, by, text) = (said(&what), &event.by, &event.text);
        let deputy = match &event.for_whom {
            Some(of) => tr!(" (代理: {of})", " (for {of})"),
            None => String::new(),
        };
        say(format!("  {at}  {what}  {by}{deputy}  {text}").trim_end())?;
    }
    Ok(())
}

/// What has to be meant.
pub(super) fn meant(meant: &[Meant]) -> anyhow::Result<()> {
    for Meant { word, told } in meant {
        let told = said(told);
        say(&tr!(
            "  警告 {word}: {told}(承知のうえで承認するときは --meant {word})",
            "  warning {word}: {told} (whoever approves and means it adds --meant {word})"
        ))?;
    }
    Ok(())
}

pub(super) fn deputies(own: &[Deputy], of: &[(OwnedUserId, Deputy)]) -> anyhow::Result<()> {
    if own.is_empty() && of.is_empty() {
        say(&tr!("代理の指定はありません", "no deputies are named"))?;
    }
    let days = |deputy: &Deputy| {
        let day = |at| day_of(at).map_or_else(String::new, |day| day.to_string());
        let last = day_of(deputy.until).and_then(before).map_or_else(String::new, |day| day.to_string());
        format!("{} – {last}", day(deputy.from))
    };
    for deputy in own {
        let (user, days) = (&deputy.user, days(deputy));
        say(&tr!("代理者: {user}  {days}", "deputy: {user}  {days}"))?;
    }
    for (whose, deputy) in of {
        let days = days(deputy);
        say(&tr!("代理している人: {whose}  {days}", "deputy of: {whose}  {days}"))?;
    }
    Ok(())
}
