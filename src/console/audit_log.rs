//! The audit log: who did what to whom, looked through and taken away as a file.

use std::sync::Arc;

use ::account::Browser;
use audit::{Action, Day, Deed, Filter, Listed, Record, Role};
use duties::Duty;
use pages::{Form, Markup, PageError, Visit, html};
use store::{Batch, Position};
use syslog::Status;
use web::{ApiError, Open, RawCall, Response};

use crate::{
    audit_kept::kept_for,
    console::{AUDIT, AUDIT_FILE, Console, actor},
    csv,
    frame::{field, link, page, table, text},
    powers::Powers,
    told::told,
};

/// Rows of one file.
const IN_FILE: usize = 50_000;

/// Longest text that is looked for, in letters.
const LONGEST: usize = 100;

pub(crate) async fn show(console: Arc<Console>, call: RawCall<Open>) -> Result<Response, ApiError> {
    let handler = async |visit: Visit, browser: Browser, powers: Powers| {
        let query = visit.query()?;
        let filter = asked(&visit, &query)?;
        let before = query.get("before").parse().ok().map(Position);
        let _turn = console.turn(&visit).await?;
        let found =
            audit::list_newest(&console.store, visit.authority(), &filter, before).await.map_err(told)?;
        let log_servers = console.log_servers.status(visit.authority()).await.map_err(told)?;
        let kept = console.retirer.retention(visit.authority()).await.map_err(told)?;
        let kept = kept_for(&console, &visit, (&browser, &powers), &kept).await?;
        let say = |japanese, english| visit.say(japanese, english);
        let heads = briefly(heads(&visit).map(str::to_owned));
        let heads: Vec<&str> = heads.iter().map(String::as_str).collect();
        let rows = found.found.iter().map(|row| briefly(cells(&visit, row)).into_iter().map(text).collect());
        let body = html! {
            (forwarding(&visit, &log_servers))
            (form(&visit, &query))
            @if found.found.is_empty() {
                p role="status" { @if found.next.is_some() {
                    (say("この範囲には該当がありません。続きを表示してください。", "None so far; please go on."))
                } @else {
                    (say("記録はありません。", "There are no rows."))
                } }
            } @else {
                (table(&heads, rows))
            }
            @if let Some(next) = found.next {
                p { a href=(link(AUDIT, &[
                    ("since", query.get("since")),
                    ("until", query.get("until")),
                    ("who", query.get("who")),
                    ("what", query.get("what")),
                    ("text", query.get("text")),
                    ("before", &next.0.to_string()),
                ])) { (say("それより前の記録", "Earlier rows")) } }
            }
            (kept)
        };
        Ok(visit.page(page(&visit, &powers, say("監査ログ", "Audit log"), body)))
    };
    console.answer(call, Powers::reads_audit, handler).await
}

/// How far the log servers have the log; nothing where none is set.
fn forwarding(visit: &Visit, all: &[Status]) -> Markup {
    let say = |japanese: &'static str, english| visit.say(japanese, english);
    let moment = |at: &Option<base::Timestamp>| at.map(seconds).unwrap_or_default();
    let rows = all.iter().map(|one| {
        let state = match &one.failing {
            Some((since, fault)) => {
                let (ja, en) = fault.words();
                let (since, why) = (seconds(*since), visit.say(ja, en));
                visit.say(
                    format!("{since} から停止: {why}"),
                    format!("Nothing goes there since {since}: {why}"),
                )
            }
            None if one.waiting == 0 => say("すべて送信済み", "It has everything").to_owned(),
            None => say("送信中", "Being sent").to_owned(),
        };
        let cells =
            [one.destination.clone(), one.place.clone(), state, one.waiting.to_string(), moment(&one.last)];
        cells.into_iter().map(text).collect::<Vec<_>>()
    });
    let heads = [
        say("名前", "Name"),
        say("接続先", "Where"),
        say("状態", "State"),
        say("未送信の件数", "Rows left"),
        say("最後の送信（日本時間）", "Last sent (in Japan)"),
    ];
    html! {
        @if !all.is_empty() {
            h2 { (say("ログサーバーへの転送", "Log servers")) }
            (table(&heads, rows))
        }
    }
}

/// Which rows a form asks for. A name without its authority is one of the visited one's.
fn asked(visit: &Visit, form: &Form) -> Result<Filter, PageError> {
    let wrong = |_| {
        PageError::bad_request(
            "2026-04-01 のような日付を入力してください。",
            "Please type a day such as 2026-04-01.",
        )
    };
    let day = |name| form.find(name).map(|day| day.trim().parse::<Day>().map_err(wrong)).transpose();
    let short = |name| form.find(name).map(|text| text.trim().chars().take(LONGEST).collect::<String>());
    let whole = |who: String| {
        let is_name = !who.contains(['@', ':', ' ', '!', '#', '/']);
        if is_name { format!("@{who}:{}", visit.authority()) } else { who }
    };
    Ok(Filter {
        since: day("since")?.map(Day::begin),
        until: day("until")?.map(|day| day.next().begin()),
        who: short("who").filter(|who| !who.is_empty()).map(whole),
        what: form.find("what").map(str::to_owned),
        text: short("text").filter(|text| !text.is_empty()),
    })
}

fn form(visit: &Visit, query: &Form) -> Markup {
    let say = |japanese, english| visit.say(japanese, english);
    let mut actions: Vec<_> = Action::ALL.into_iter().map(|action| (action.word(), action.names())).collect();
    actions.sort_unstable();
    let kinds: std::collections::BTreeSet<&str> =
        actions.iter().filter_map(|(word, _)| Some(word.split_once('.')?.0)).collect();
    html! {
        form.card method="get" action=(AUDIT) role="search" {
            (field("since", say("開始日", "Since"), "", html! {
                input id="since" name="since" type="date" value=(query.get("since"));
            }))
            (field("until", say("終了日", "Through"), "", html! {
                input id="until" name="until" type="date" value=(query.get("until"));
            }))
            (field("who", say("操作した人・対象", "By or to whom"), say("ユーザー名か ID", "A user name or an id"), html! {
                input id="who" name="who" value=(query.get("who")) maxlength="100" aria-describedby="who-remark";
            }))
            (field("what", say("操作", "What was done"), "", html! {
                select id="what" name="what" {
                    option value="" { (say("すべて", "anything")) }
                    @for kind in &kinds {
                        optgroup label=(kind) {
                            option value=(kind) selected[query.get("what") == *kind] { (kind) (say(" のすべて", ", all of it")) }
                            @for (word, names) in actions.iter().filter(|(word, _)| is_of(word, kind)) {
                                option value=(word) selected[query.get("what") == *word] {
                                    (visit.language().pick(names.0, names.1))
                                }
                            }
                        }
                    }
                }
            }))
            (field("text", say("キーワード", "A word in the row"), "", html! {
                input id="text" name="text" type="search" value=(query.get("text")) maxlength="100";
            }))
            div.actions { button { (say("探す", "Find")) } }
        }
        form method="post" action=(AUDIT_FILE) {
            (visit.proof())
            @for name in ["since", "until", "who", "what", "text"] {
                input type="hidden" name=(name) value=(query.get(name));
            }
            div.actions {
                button.second name="as" value="csv" { (say("CSV ダウンロード（Excel 用）", "As a file for spreadsheets (CSV)")) }
                button.second name="as" value="lines" { (say("JSON Lines", "As JSON lines")) }
            }
        }
    }
}

fn is_of(word: &str, kind: &str) -> bool {
    word.strip_prefix(kind).is_some_and(|rest| rest.starts_with('.'))
}

fn heads(visit: &Visit) -> [&'static str; 11] {
    [
        visit.say("日時（日本時間）", "When (in Japan)"),
        visit.say("操作した人", "Who"),
        visit.say("立場", "As what"),
        visit.say("役割", "Duties"),
        visit.say("接続元", "From where"),
        visit.say("区域", "Zone"),
        visit.say("端末", "Device"),
        visit.say("操作", "What"),
        visit.say("対象", "To whom"),
        visit.say("変更前", "Before"),
        visit.say("変更後", "After"),
    ]
}

/// The same for a page, where few columns fit beside each other: duties stand with the role, zone and device with the address.
fn briefly(all: [String; 11]) -> [String; 8] {
    let [at, who, role, duties, from, zone, device, what, whom, before, after] = all;
    let together = |parts: &[String]| {
        parts.iter().filter(|part| !part.is_empty()).map(String::as_str).collect::<Vec<_>>().join("\n")
    };
    [at, who, together(&[role, duties]), together(&[from, zone, device]), what, whom, before, after]
}

fn cells(visit: &Visit, row: &Listed) -> [String; 11] {
    let Some(record) = &row.record else {
        let damaged = visit.say("壊れた記録", "a damaged row").to_owned();
        return [damaged, row.position.0.to_string()]
            .into_iter()
            .chain(std::iter::repeat_n(String::new(), 9))
            .collect::<Vec<_>>()
            .try_into()
            .unwrap_or_default();
    };
    let Record { at, who, role, from, what, whom, before, after, zone, device, duty } = record;
    let pick = |(ja, en): (&'static str, &'static str)| visit.language().pick(ja, en).to_owned();
    let facts = |facts: &[(String, String)]| {
        facts
            .iter()
            .map(|(name, value)| format!("{name}: {}", in_one_line(value)))
            .collect::<Vec<_>>()
            .join("\n")
    };
    [
        seconds(*at),
        in_one_line(who),
        Role::of_word(role).map_or_else(|| role.clone(), |role| pick(role.names())),
        duty.as_deref().map(|words| duties(visit, words)).unwrap_or_default(),
        from.clone().unwrap_or_default(),
        zone.as_deref().map(in_one_line).unwrap_or_default(),
        device.as_deref().map(in_one_line).unwrap_or_default(),
        Action::of_word(what).map_or_else(|| what.clone(), |action| pick(action.names())),
        in_one_line(whom),
        facts(before),
        facts(after),
    ]
}

/// What others chose, so that no part of it can be taken for another fact: line ends and what nobody sees are shown as signs.
fn in_one_line(text: &str) -> String {
    let shown = |letter: char| match letter {
        '\n' => '␊',
        '\r' => '␍',
        letter if letter.is_control() => '␦',
        '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{61c}' => '␦',
        letter => letter,
    };
    text.chars().map(shown).collect()
}

/// Duties by their names; words of a newer program stay as they are.
fn duties(visit: &Visit, words: &str) -> String {
    let name = |word: &str| match Duty::of_word(word) {
        Some(duty) => visit.language().pick(duty.names().0, duty.names().1).to_owned(),
        None => in_one_line(word),
    };
    words.split(' ').map(name).collect::<Vec<_>>().join("、")
}

/// `2026-04-01 08:06:47` in Japan, as spreadsheets take it for a moment and texts of it are in order.
pub(crate) fn seconds(at: base::Timestamp) -> String {
    audit::written(at).get(..19).unwrap_or_default().replace('T', " ")
}

/// Gives rows as a file. That is a deed, of which a row is written before anything is given.
pub(crate) async fn export(console: Arc<Console>, call: RawCall<Open>) -> Result<Response, ApiError> {
    let handler = async |visit: Visit, browser: Browser, powers: Powers| {
        let form = visit.form()?;
        let filter = asked(&visit, &form)?;
        let authority = visit.authority().to_owned();
        let by = actor(&visit, &browser, &powers);
        let deed = Deed::new(Action::ExportAudit, &by, authority.as_str(), console.clock.now())
            .after("since", form.get("since"))
            .after("until", form.get("until"))
            .after("who", filter.who.as_deref().unwrap_or_default())
            .after("what", filter.what.as_deref().unwrap_or_default())
            .after("text", filter.text.as_deref().unwrap_or_default());
        let mut batch = Batch::new();
        deed.write(&mut batch, &authority);
        console.store.commit(batch).await.map_err(|error| PageError::from(ApiError::from(error)))?;
        let _turn = console.turn(&visit).await?;
        let (mut rows, mut after) = (Vec::new(), Position::START);
        loop {
            let page = audit::list(&console.store, &authority, &filter, after).await.map_err(told)?;
            rows.extend(page.found);
            if rows.len() > IN_FILE {
                return Err(PageError::bad_request(
                    format!("記録が {IN_FILE} 件を超えます。期間などで絞り込んでください。"),
                    format!(
                        "There are more than {IN_FILE} rows; please ask for fewer, by days for instance."
                    ),
                ));
            }
            match page.next {
                Some(next) => after = next,
                None => break,
            }
        }
        if form.get("as") == "lines" {
            let lines: String =
                rows.iter().map(|row| format!("{}\n", audit::in_json(&authority, row))).collect();
            return Ok(visit.file("audit.jsonl", "application/x-ndjson; charset=utf-8", lines));
        }
        let rows = rows.iter().map(|row| cells(&visit, row).to_vec());
        Ok(visit.file("audit.csv", csv::KIND, csv::written(&heads(&visit), rows)))
    };
    console.answer(call, Powers::reads_audit, handler).await
}
