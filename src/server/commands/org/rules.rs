//! `yakuba org rules`: the rules by which rooms follow from the organisation.

use std::path::Path;

use anyhow::Context;
use rules::{Answer, Done, Order, Previewed, RuleId, Shown, Wish};

use super::{
    office::{over, unexpected},
    rules_args::{
        OrgRulesAdoptArgs, OrgRulesPreviewArgs, OrgRulesRunArgs, OrgRulesSetArgs, OrgRulesShowArgs,
    },
    unreadable,
};
use crate::{
    commands::say,
    texts::{japanese, tr},
};

/// Largest file of a rule.
const LARGEST: u64 = 256 * 1024;

/// Prints the rules of a day and the rooms that there are by rule.
pub(crate) async fn show(args: &OrgRulesShowArgs) -> anyhow::Result<()> {
    over(&args.which, async |office| match office.ask_rules(Order::Show { day: args.as_of }).await? {
        Answer::Shown(shown) if args.json => Ok(say(&serde_json::to_string_pretty(&shown)?)?),
        Answer::Shown(shown) => print(&shown),
        _ => unexpected(),
    })
    .await
}

/// Says what a rule is, or that it ends.
pub(crate) async fn set(args: &OrgRulesSetArgs) -> anyhow::Result<()> {
    let rule = args.rule.map(RuleId);
    let order = match (&args.file, rule) {
        (Some(file), rule) => {
            let wish = Box::new(wish(file)?);
            Order::Set { rule, wish, from: args.from, until: args.until }
        }
        (None, Some(rule)) => Order::End { rule, from: args.from },
        (None, None) => return unexpected(),
    };
    over(&args.which, async |office| {
        let Answer::Rule(RuleId(id)) = office.ask_rules(order).await? else { return unexpected() };
        let told = match args.end {
            true => tr!("規則 {id} は終わります", "rule {id} ends"),
            false => tr!(
                "規則 {id} を保存しました。`yakuba org rules preview` で、これから行われることが見えます",
                "rule {id} is saved; `yakuba org rules preview` shows what will be done"
            ),
        };
        Ok(say(&told)?)
    })
    .await
}

/// Prints what would be done.
pub(crate) async fn preview(args: &OrgRulesPreviewArgs) -> anyhow::Result<()> {
    let wish = args.file.as_deref().map(wish).transpose()?;
    let wish = wish.map(|wish| (args.rule.map(RuleId), Box::new(wish)));
    let order = Order::Preview { wish, day: args.as_of };
    over(&args.which, async |office| match office.ask_rules(order).await? {
        Answer::Previewed(previewed) if args.json => Ok(say(&serde_json::to_string_pretty(&previewed)?)?),
        Answer::Previewed(previewed) => foretell(&previewed),
        _ => unexpected(),
    })
    .await
}

/// Puts a room that somebody made under a rule.
pub(crate) async fn adopt(args: &OrgRulesAdoptArgs) -> anyhow::Result<()> {
    let order = Order::Adopt {
        room: args.room.clone(),
        rule: RuleId(args.rule),
        unit: args.unit.clone(),
        key: args.key.clone(),
    };
    over(&args.which, async |office| {
        let Answer::Rule(RuleId(id)) = office.ask_rules(order).await? else { return unexpected() };
        let room = &args.room;
        Ok(say(&tr!("{room} は規則 {id} の部屋になりました", "{room} is a room of rule {id}"))?)
    })
    .await
}

/// Has the rooms follow their rules now.
pub(crate) async fn run(args: &OrgRulesRunArgs) -> anyhow::Result<()> {
    over(&args.which, async |office| match office.ask_rules(Order::Run).await? {
        Answer::Done(Done { makes, joins, leaves, changes, closes, refused }) => {
            say(&tr!(
                "部屋の作成 {makes}、参加 {joins}、退出 {leaves}、変更 {changes}、閉鎖 {closes}",
                "{makes} rooms made, {joins} came in, {leaves} left, {changes} changes, {closes} rooms closed"
            ))?;
            if refused > 0 {
                say(&tr!(
                    "部屋の側で断られた変更が {refused} 件あります。サーバーのログに理由があります",
                    "rooms did not allow {refused} changes; the server's log says why"
                ))?;
            }
            Ok(())
        }
        _ => unexpected(),
    })
    .await
}

fn wish(path: &Path) -> anyhow::Result<Wish> {
    use std::io::Read;

    let read = || -> std::io::Result<String> {
        let mut text = String::new();
        std::fs::File::open(path)?.take(LARGEST).read_to_string(&mut text)?;
        Ok(text)
    };
    let text = read().map_err(|error| unreadable(path, &error))?;
    serde_json::from_str(&text).with_context(|| {
        tr!("{path} は部屋の規則ではありません", "{path} is no rule of rooms", path = path.display())
    })
}

fn print(shown: &Shown) -> anyhow::Result<()> {
    for shown in &shown.rules {
        let (id, title, entries) = (shown.id.0, &shown.rule.title, shown.entries);
        let holds = match shown.holds {
            true => tr!("有効", "holds"),
            false => tr!("無効", "does not hold"),
        };
        say(&tr!(
            "規則 {id}: {title} [{holds}] (記録 {entries} 件)",
            "rule {id}: {title} [{holds}] (said {entries} times)"
        ))?;
        for room in &shown.rule.rooms {
            let (key, name) = (&room.key, &room.name);
            say(&tr!("  ひな形 {key}: {name}", "  template {key}: {name}"))?;
        }
    }
    for room in &shown.rooms {
        let (id, key, rule) = (&room.room, &room.key, room.rule.0);
        let unit = room.unit.as_deref().unwrap_or("—");
        let mut marks = String::new();
        if room.is_adopted {
            marks.push_str(&tr!(" [手作りの部屋]", " [made by hand]"));
        }
        if let Some(day) = room.closed {
            marks.push_str(&tr!(" [{day} に閉鎖]", " [closed on {day}]"));
        }
        say(&tr!("{id} {unit} {key} (規則 {rule}){marks}", "{id} {unit} {key} (rule {rule}){marks}"))?;
    }
    Ok(())
}

fn foretell(previewed: &Previewed) -> anyhow::Result<()> {
    let Previewed { rooms, makes, joins, leaves, changes, closes, left_out, told } = previewed;
    for told in told {
        let what = if japanese() { &told.what.ja } else { &told.what.en };
        say(&format!("{}: {what}", told.room))?;
    }
    let counted = makes + joins + leaves + changes + closes;
    if told.len() < counted {
        let more = counted - told.len();
        say(&tr!("ほかに {more} 件", "and {more} more"))?;
    }
    say(&tr!(
        "規則による部屋 {rooms}: 作成 {makes}、参加 {joins}、退出 {leaves}、変更 {changes}、閉鎖 {closes}",
        "{rooms} rooms by rule: {makes} are made, {joins} come in, {leaves} leave, {changes} changes, {closes} are closed"
    ))?;
    if *left_out > 0 {
        say(&tr!("上限を超える部屋が {left_out} 個あります", "{left_out} rooms are over the bound"))?;
    }
    Ok(())
}
