//! Events that users have reported: what was said, who says that it should not have been, and that a report is dealt with.

use std::sync::Arc;

use ::account::{Browser, Report};
use audit::Action;
use oversight::Reported;
use pages::{Form, Markup, PageError, Visit, html};
use room::{read::view::Look, tables::Summary};
use ruma::UserId;
use serde::Deserialize;
use web::{ApiError, Open, RawCall, Response};

use crate::{
    console::{ACCOUNT, Console, FILE, REPORTS, actor},
    csv,
    frame::{field, link, moment, page, password_field, table, text},
    powers::Powers,
    told::told,
};

/// Reports on one page.
const PAGE: usize = 50;

/// Longest text that is looked for, in letters.
const LONGEST: usize = 100;

/// Longest part of an event that is shown, in letters.
const MOST_SHOWN: usize = 20_000;

/// Where a report is shown.
fn path_of(id: u64) -> String {
    format!("{REPORTS}/{id}")
}

pub(crate) async fn list(console: Arc<Console>, call: RawCall<Open>) -> Result<Response, ApiError> {
    let handler = async |visit: Visit, browser: Browser, powers: Powers| {
        let query = visit.query()?;
        let say = |japanese, english| visit.say(japanese, english);
        let sought: String = query.get("q").trim().chars().take(LONGEST).collect();
        let mut reports = console.accounts.reports(visit.authority()).await?;
        reports.retain(|report| holds(report, &sought));
        reports.reverse();
        let total = reports.len();
        let heads = [
            say("通報", "Report"),
            say("日時", "When"),
            say("通報した人", "Reported by"),
            say("発言した人", "Said by"),
            say("ルーム", "Room"),
            say("理由", "Why"),
        ];
        let is_file = query.get("as") == "csv";
        if !is_file {
            let before = query.get("before").parse().unwrap_or(u64::MAX);
            reports.retain(|report| report.id < before);
        }
        let more = !is_file && reports.len() > PAGE;
        if more {
            reports.truncate(PAGE);
        }
        let called = {
            // Of a file all their rooms are looked at.
            let _turn = if is_file { Some(console.turn(&visit).await?) } else { None };
            console.oversight.called(visit.authority(), &reports).await.map_err(told)?
        };
        let cells =
            reports.iter().zip(&called).map(|(report, called)| cells(&visit, report, called.as_ref()));
        if is_file {
            console.note(&visit, (&browser, &powers), (Action::ExportTable, "", "reports")).await?;
            let rows = cells.map(|cells| cells.to_vec());
            return Ok(visit.file("reports.csv", csv::KIND, csv::written(&heads, rows)));
        }
        let rows = cells.zip(&reports).map(|([id, rest @ ..], report)| {
            let id = html! { a href=(path_of(report.id)) { (id) } };
            std::iter::once(id).chain(rest.into_iter().map(text)).collect()
        });
        let last = reports.last().filter(|_| more).map(|last| last.id.to_string());
        let body = html! {
            @if query.get("done") == "delete" {
                p.card role="status" { (say("通報を処理済みとして削除しました。", "The report is dealt with and gone.")) }
            }
            form.card method="get" action=(REPORTS) role="search" {
                (field("q", say("人、ルーム ID、理由の一部", "Part of a name, a room's id or the reason"), "", html! {
                    input id="q" name="q" type="search" value=(sought) maxlength="100";
                }))
                div.actions { button { (say("探す", "Find")) } }
            }
            p role="status" { (total) (say(" 件", " reports")) }
            @if total > 0 { (table(&heads, rows)) }
            p {
                @if let Some(last) = &last {
                    a href=(link(REPORTS, &[("q", &sought), ("before", last)])) { (say("それより前", "Earlier ones")) } " "
                }
                a href=(link(REPORTS, &[("q", &sought), ("as", "csv")])) {
                    (say("CSV ダウンロード（Excel 用）", "As a file for spreadsheets (CSV)"))
                }
            }
        };
        Ok(visit.page(page(&visit, &powers, say("通報", "Reports"), body)))
    };
    console.answer(call, Powers::administers, handler).await
}

fn holds(report: &Report, sought: &str) -> bool {
    let sought = sought.to_lowercase();
    let texts = [
        report.user_id.as_str(),
        report.sender.as_str(),
        report.room_id.as_str(),
        report.reason.as_deref().unwrap_or_default(),
    ];
    sought.is_empty() || texts.iter().any(|text| text.to_lowercase().contains(&sought))
}

/// What a room is called, or its id.
fn name_of(report: &Report, called: Option<&Summary>) -> String {
    let name = called.and_then(|called| called.name.clone().or_else(|| called.canonical_alias.clone()));
    name.unwrap_or_else(|| report.room_id.to_string())
}

fn cells(visit: &Visit, report: &Report, called: Option<&Summary>) -> [String; 6] {
    [
        report.id.to_string(),
        moment(visit, report.at),
        report.user_id.to_string(),
        report.sender.to_string(),
        name_of(report, called),
        report.reason.clone().unwrap_or_default(),
    ]
}

fn id(visit: &Visit) -> Result<u64, PageError> {
    let text: String = visit.call.args.get(0)?;
    text.parse().map_err(|_| PageError::not_found())
}

/// Shows a report with the event. Whoever is not in the room leaves a row of that, as of all reading there.
pub(crate) async fn show(console: Arc<Console>, call: RawCall<Open>) -> Result<Response, ApiError> {
    let handler = async |visit: Visit, browser: Browser, powers: Powers| {
        one(&console, &visit, (&browser, &powers), id(&visit)?, None).await
    };
    console.answer(call, Powers::administers, handler).await
}

async fn one(
    console: &Console,
    visit: &Visit,
    (browser, powers): (&Browser, &Powers),
    id: u64,
    error: Option<&PageError>,
) -> Result<Response, PageError> {
    let by = actor(visit, browser, powers);
    let reported = console.oversight.reported(&browser.user_id, id, &by).await.map_err(told)?;
    let Reported { report, called, event } = &reported;
    let say = |japanese, english| visit.say(japanese, english);
    let body = html! {
        (visit.problem(error))
        div.card { dl {
            dt { (say("日時", "When")) } dd { (moment(visit, report.at)) }
            dt { (say("通報した人", "Reported by")) } dd.id { (person(visit, &report.user_id)) }
            dt { (say("理由", "Why")) } dd.said { (report.reason.as_deref().unwrap_or_default()) }
            dt { (say("発言した人", "Said by")) } dd.id { (person(visit, &report.sender)) }
            dt { (say("ルーム", "Room")) } dd { (name_of(report, called.as_ref())) " " small.id { (report.room_id) } }
            dt { (say("イベント ID", "Event")) } dd.id { (report.event_id) }
        } }
        h2 { (say("通報された内容", "What was reported")) }
        @match event {
            Some(event) => (said(visit, event)),
            None => p { (say(
                "内容は表示できません。この組織の人がルームにいないか、発言が残っていないか、この組織からは見えない発言です。",
                "It cannot be shown: nobody of this authority is in the room any more, it is not kept, or the authority may not see it.",
            )) },
        }
        h2 { (say("処理済みにする", "Dealing with it")) }
        form.card method="post" action=(path_of(report.id)) {
            (visit.proof())
            p { (say(
                "通報を一覧から削除します。発言そのものは変わりません。削除は取り消せません。",
                "The report goes from the list; what was said stays. This cannot be taken back.",
            )) }
            (password_field(&console.accounts, visit, browser).await?)
            div.actions { button.danger name="do" value="delete" { (say("処理済みとして削除する", "Delete the report")) } }
        }
        p { a href=(REPORTS) { (say("一覧に戻る", "Back to the list")) } }
    };
    let page = page(visit, powers, say("通報", "Report"), body).status_of(error);
    Ok(visit.page(page.again_at(path_of(report.id))))
}

/// Somebody, with the way to his account where that is one of the authority's.
fn person(visit: &Visit, user: &UserId) -> Markup {
    let is_own = user.server_name() == visit.authority();
    html! { @if is_own { a href=(link(ACCOUNT, &[("user", user.as_str())])) { (user) } } @else { (user) } }
}

/// What of an event's content is shown by itself; all of it stands below.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Content {
    body: serde_json::Value,
    url: serde_json::Value,
    file: serde_json::Value,
}

fn said(visit: &Visit, look: &Look) -> Markup {
    let say = |japanese, english| visit.say(japanese, english);
    let pdu = look.event.pdu();
    let content: Content = serde_json::from_str(pdu.content_str()).unwrap_or_default();
    let kind = pdu.kind().to_string();
    let file = content.url.as_str().or_else(|| content.file.get("url")?.as_str());
    let whole: String = pdu.content_str().chars().take(MOST_SHOWN).collect();
    html! {
        div.card { dl {
            dt { (say("種類", "Type")) } dd.id { (kind) }
            @if look.redaction.is_some() {
                dt { (say("状態", "State")) } dd { (say("発言者または管理者が削除済み", "taken away by its sender or a moderator")) }
            } @else if kind == "m.room.encrypted" {
                dt { (say("本文", "Text")) } dd { (say("暗号化されているため、表示できません。", "It is encrypted, so it cannot be shown.")) }
            } @else if let Some(body) = content.body.as_str() {
                dt { (say("本文", "Text")) } dd.said { (body.chars().take(MOST_SHOWN).collect::<String>()) }
            }
            @if let Some(file) = file {
                dt { (say("ファイル", "File")) } dd.id { a href=(link(FILE, &[("uri", file)])) { (file) } }
            }
        }
        details {
            summary { (say("データ全体（JSON）", "All of it (JSON)")) }
            p.said.id { (whole) }
        } }
    }
}

/// Takes a report away that was dealt with.
pub(crate) async fn remove(console: Arc<Console>, call: RawCall<Open>) -> Result<Response, ApiError> {
    let handler = async |visit: Visit, browser: Browser, powers: Powers| {
        let (id, form): (u64, Form) = (id(&visit)?, visit.form()?);
        if form.get("do") != "delete" {
            return Err(PageError::not_found());
        }
        if let Some(error) = console.unconfirmed(&visit, &browser, &form).await? {
            return one(&console, &visit, (&browser, &powers), id, Some(&error)).await;
        }
        let by = actor(&visit, &browser, &powers);
        console.accounts.remove_report(visit.authority(), id, &by).await?;
        Ok(visit.redirect(&link(REPORTS, &[("done", "delete")])))
    };
    console.answer(call, Powers::administers, handler).await
}
