//! One change set: what it does line by line, who has approved it, where that is asked for, and what one person may decide.

use std::{collections::BTreeSet, sync::Arc};

use ::account::Browser;
use audit::Action;
use cases::{By as CaseBy, CaseId, Order as CaseOrder, State as CaseState};
use organisation::{ChangeSet, ItemState, SetId, State};
use pages::{Form, Markup, PageError, Visit, html};
use personnel::{Answer, Line, Order};
use web::{ApiError, Open, RawCall, Response, StatusCode};

use crate::{
    console::{COUNTER, Console, actor, not_yours, unexpected},
    csv,
    frame::{day, field, link, moment, page, password_field, said, say, table, text},
    powers::Powers,
    short::{hour, in_short, path_of},
    told::{of_password, told},
};

/// The kind of cases by which sets are applied.
const KIND: &str = "changes";

/// Lines on one page, as the desk gives them.
const PAGE: usize = 500;

pub(crate) async fn show(console: Arc<Console>, call: RawCall<Open>) -> Result<Response, ApiError> {
    let handler = async |visit: Visit, browser: Browser, powers: Powers| {
        let (id, query) = (id(&visit)?, visit.query()?);
        find(&console, &visit, (&browser, &powers), id).await?;
        if query.get("as") == "csv" {
            console
                .note(&visit, (&browser, &powers), (Action::ExportTable, &id.0.to_string(), "change set"))
                .await?;
            return file(&console, &visit, &browser, id).await;
        }
        one(&console, &visit, (&browser, &powers), id, &query, None).await
    };
    console.answer(call, Powers::reads_a_part, handler).await
}

fn id(visit: &Visit) -> Result<SetId, PageError> {
    let text: String = visit.call.args.get(0)?;
    text.parse().map(SetId).map_err(|_| PageError::not_found())
}

/// The set, if its visitor may see it.
async fn find(
    console: &Console,
    visit: &Visit,
    visitor: (&Browser, &Powers),
    id: SetId,
) -> Result<ChangeSet, PageError> {
    match console.ask(visit, visitor.0, Order::Set { id }).await? {
        Answer::Set(_, set) => match console.may_see(visit, visitor, (id, &set)).await? {
            true => Ok(*set),
            // As where there is none.
            false => {
                let none = told(personnel::Error::from(organisation::Error::NoSet));
                Err(console.refuse(visit, visitor, none).await?)
            }
        },
        _ => Err(unexpected()),
    }
}

async fn lines(
    console: &Console,
    visit: &Visit,
    browser: &Browser,
    (id, from, briefly): (SetId, u32, bool),
) -> Result<Vec<Line>, PageError> {
    match console.ask(visit, browser, Order::Lines { id, from, briefly }).await? {
        Answer::Lines(lines) => Ok(lines),
        _ => Err(unexpected()),
    }
}

async fn one(
    console: &Console,
    visit: &Visit,
    (browser, powers): (&Browser, &Powers),
    id: SetId,
    query: &Form,
    error: Option<&PageError>,
) -> Result<Response, PageError> {
    let set = find(console, visit, (browser, powers), id).await?;
    let from = query.get("from").parse().unwrap_or(0);
    let shows_all = query.get("all") == "yes";
    let lines = lines(console, visit, browser, (id, from, !shows_all)).await?;
    let say = |japanese, english| visit.say(japanese, english);
    let path = path_of(id);
    let next = lines.last().filter(|_| lines.len() >= PAGE).map(|last| last.number.saturating_add(1));
    let all = if shows_all { "yes" } else { "" };
    let undoes = powers.changes_organisation() && set.state == State::Applied;
    let rows = lines.iter().map(|line| cells(visit, id, line, undoes));
    let heads = [
        say("行", "Line"),
        say("種別", "What"),
        say("対象", "About"),
        say("内容", "What is done"),
        say("ファイルの行", "Rows of the file"),
        say("結果", "What came of it"),
    ];
    let body = html! {
        (visit.problem(error))
        (summary(visit, id, &set))
        @if powers.changes_organisation() {
            (deeds(console, visit, (id, &set)).await?)
        } @else if console.is_own(visit, (browser, powers), (id, &set)).await? {
            (deeds_of_maker(console, visit, (id, &set), query.get("reason")).await?)
        }
        h2 { (say("内容", "Lines")) }
        @if lines.is_empty() {
            p { (say("変わるものはありません。", "Nothing changes.")) }
        } @else {
            (table(&heads, rows))
        }
        p {
            @if from > 0 { a href=(link(&path, &[("all", all)])) { (say("先頭へ", "To the first lines")) } " " }
            @if let Some(next) = next {
                a href=(link(&path, &[("from", &next.to_string()), ("all", all)])) { (say("次の行へ", "The next lines")) } " "
            }
            @if shows_all {
                a href=(path) { (say("変わる行だけ", "Only what changes")) }
            } @else {
                a href=(link(&path, &[("all", "yes")])) { (say("変わらない行も表示", "Also what does not change")) }
            }
            " " a href=(link(&path, &[("as", "csv")])) { (say("CSV ダウンロード（Excel 用）", "As a file for spreadsheets (CSV)")) }
        }
    };
    let title = format!("{} {}", say("変更案", "Change set"), id.0);
    let page = page(visit, powers, &title, body).status_of(error).again_at(path_of(id));
    Ok(visit.page(page))
}

fn summary(visit: &Visit, id: SetId, set: &ChangeSet) -> Markup {
    let say = |japanese, english| visit.say(japanese, english);
    html! {
        div.card { dl {
            dt { (say("番号", "Number")) } dd { (id.0) }
            dt { (say("状態", "State")) } dd { (self::say(visit, set.state.words())) }
            dt { (say("基準日", "As of")) } dd { (day(visit, set.day)) }
            dt { (say("適用する時刻", "Applied at")) } dd { (hour(visit, set)) }
            dt { (say("取込元", "Source")) } dd { (set.source.as_deref().unwrap_or("-")) }
            dt { (say("作成", "Made")) } dd { (moment(visit, set.made_at)) " " span.id { (set.made_by) } }
            dt { (say("内容", "Lines")) } dd { (in_short(visit, set)) }
            @for guard in &set.guards {
                dt { (say("警告", "Warning")) } dd { strong { (said(visit.language(), &guard.told)) } }
            }
            @for approval in &set.approvals {
                dt { (self::say(visit, approval.role.words())) (say("の承認", "'s approval")) }
                dd { span.id { (approval.account) } " " (moment(visit, approval.at)) }
            }
            @if let Some((by, at)) = &set.ended_by {
                dt { (say("取り下げ・取り消しをした人", "Ended by")) } dd { span.id { (by) } " " (moment(visit, *at)) }
            }
            @if !set.stale.is_empty() {
                dt { (say("ほかの変更と競合した行（ファイルを取り込み直してください）", "Lines that do not fit any more")) }
                dd { (set.stale.iter().map(|line| (u64::from(*line) + 1).to_string()).collect::<Vec<_>>().join(", ")) }
            }
        } }
    }
}

fn cells(visit: &Visit, id: SetId, line: &Line, undoes: bool) -> Vec<Markup> {
    let language = visit.language();
    let number = u64::from(line.number) + 1;
    let rows = line.rows.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
    let undo = (undoes && line.changes > 0 && line.state == ItemState::Applied)
        .then(|| link(&format!("{}/undo", path_of(id)), &[("line", &number.to_string())]));
    vec![
        text(number.to_string()),
        text(say(visit, line.kind.words())),
        text(&line.about),
        html! { @for told in &line.told { div { (said(language, told)) } } },
        text(rows),
        html! {
            @match &line.state {
                ItemState::Waiting => "",
                ItemState::Applied => (visit.say("適用済み", "done")),
                ItemState::Undone { by, .. } => {
                    (visit.say("取り消し済み", "undone")) " " small.id { (by) }
                }
            }
            @if let Some(undo) = undo {
                " " a href=(undo) aria-label={ (visit.say("取り消す: ", "Undo: ")) (line.about) } {
                    (visit.say("取り消す", "Undo"))
                }
            }
        },
    ]
}

/// What can be decided about a set as it stands, by whoever may decide.
async fn deeds(
    console: &Console,
    visit: &Visit,
    (id, set): (SetId, &ChangeSet),
) -> Result<Markup, PageError> {
    let say = |japanese, english| visit.say(japanese, english);
    let path = path_of(id);
    let case = consent(console, visit, (id, set)).await?;
    Ok(html! {
        (case)
        (taking_back(visit, (id, set)))
        @if set.is_due(console.clock.now()) {
            form.card method="post" action=(path) {
                (visit.proof())
                button name="do" value="apply" { (say("いま適用する", "Apply it now")) }
            }
        }
        @if matches!(set.state, State::Applying { .. } | State::Undoing { .. }) {
            p role="status" { a href=(path) { (say("進み具合を見る", "See how far it is")) } }
        }
        @if set.state == State::Applied {
            p { a.button.second href={ (path) "/undo" } { (say("全体を取り消す", "Undo all of it")) } }
        }
    })
}

/// That it is taken back, while it waits.
fn taking_back(visit: &Visit, (id, set): (SetId, &ChangeSet)) -> Markup {
    let say = |japanese, english| visit.say(japanese, english);
    html! { @if set.waits() {
        details.card {
            summary { (say("この変更案を取り下げる", "Take this change set back")) }
            form method="post" action=(path_of(id)) {
                (visit.proof())
                div.actions { button.danger name="do" value="withdraw" { (say("取り下げる", "Take it back")) } }
            }
        }
    } }
}

/// What who made it, and sees to a part of the organisation alone, can do.
async fn deeds_of_maker(
    console: &Console,
    visit: &Visit,
    (id, set): (SetId, &ChangeSet),
    typed: &str,
) -> Result<Markup, PageError> {
    let say = |japanese, english| visit.say(japanese, english);
    let last = last_case(console, visit, id).await?;
    let can_ask = set.state == State::Preview && last.as_ref().is_none_or(|(_, state)| !state.is_open());
    Ok(html! {
        @if let Some(last) = &last { (case_of(visit, last)) }
        @if let Some((case, CaseState::Returned)) = &last {
            p { a.button href={ (COUNTER) "/cases/" (case.0) "/again" } { (say("修正して申請し直す", "Put it right and ask again")) } }
        }
        @if can_ask {
            form.card method="post" action=(path_of(id)) {
                (visit.proof())
                p { (say(
                    "人事担当と全体管理者に承認を求めます。",
                    "A personnel officer and an administrator are asked to agree.",
                )) }
                (field("reason", say("理由", "Why"), "", html! {
                    textarea id="reason" name="reason" rows="3" maxlength="1000" required { (typed) }
                }))
                div.actions { button name="do" value="ask" { (say("承認を求める", "Ask for approval")) } }
            }
        }
        (taking_back(visit, (id, set)))
    })
}

/// The newest case by which a set was or is to be applied.
async fn last_case(
    console: &Console,
    visit: &Visit,
    id: SetId,
) -> Result<Option<(CaseId, CaseState)>, PageError> {
    console.cases.last_about(visit.authority(), KIND, &id.0.to_string()).await.map_err(told)
}

fn case_of(visit: &Visit, (case, state): &(CaseId, CaseState)) -> Markup {
    let told = state.words();
    html! {
        p { (visit.say("承認の案件: ", "Case: ")) a href={ (COUNTER) "/cases/" (case.0) } { (visit.say("案件", "case")) " " (case.0) }
            " (" (visit.language().pick(told.ja, told.en)) ")" }
    }
}

/// The case that has it applied: where it is decided, or where it can be asked for.
async fn consent(
    console: &Console,
    visit: &Visit,
    (id, set): (SetId, &ChangeSet),
) -> Result<Markup, PageError> {
    let say = |japanese, english| visit.say(japanese, english);
    let thing = id.0.to_string();
    let last = last_case(console, visit, id).await?;
    let ask = (set.state == State::Preview && last.as_ref().is_none_or(|(_, state)| !state.is_open()))
        .then(|| link(&format!("{COUNTER}/ask/{KIND}"), &[("field-set", &thing)]));
    Ok(html! {
        @if let Some(last) = &last { (case_of(visit, last)) }
        @if let Some(ask) = ask {
            p { a.button href=(ask) { (say("承認を求める", "Ask for approval")) } }
        }
        @if set.state == State::Approved {
            p.note { (say(
                "適用する時刻を変えるときは、承認の案件を取り消し、別の時刻で申請し直してください。",
                "For another hour the case that approved it is undone, and asked for anew.",
            )) }
        }
    })
}

/// Does what a form says. It leads to the set, so that whoever sends it twice sees how it stands.
pub(crate) async fn decide(console: Arc<Console>, call: RawCall<Open>) -> Result<Response, ApiError> {
    let handler = async |visit: Visit, browser: Browser, powers: Powers| {
        let (id, form) = (id(&visit)?, visit.form()?);
        match carry_out(&console, &visit, (&browser, &powers), id, &form).await {
            Ok(()) => Ok(visit.redirect(&path_of(id))),
            Err(error) if error.status().is_server_error() || error.status() == StatusCode::NOT_FOUND => {
                Err(error)
            }
            Err(error) => one(&console, &visit, (&browser, &powers), id, &form, Some(&error)).await,
        }
    };
    console.answer(call, Powers::changes_a_part, handler).await
}

async fn carry_out(
    console: &Console,
    visit: &Visit,
    (browser, powers): (&Browser, &Powers),
    id: SetId,
    form: &Form,
) -> Result<(), PageError> {
    let set = find(console, visit, (browser, powers), id).await?;
    if !powers.changes_organisation() {
        return carry_out_for_maker(console, visit, (browser, powers), (id, &set), form).await;
    }
    let order = match form.get("do") {
        "withdraw" => Order::Withdraw { id },
        "apply" => Order::Apply { id },
        _ => return Err(PageError::not_found()),
    };
    console.order(visit, browser, Powers::changes_organisation, order).await.map(drop)
}

/// The same for who sees to a part of the organisation alone, and has made the set.
async fn carry_out_for_maker(
    console: &Console,
    visit: &Visit,
    (browser, powers): (&Browser, &Powers),
    (id, set): (SetId, &ChangeSet),
    form: &Form,
) -> Result<(), PageError> {
    // Who reads all sees those of others as well.
    if !console.is_own(visit, (browser, powers), (id, set)).await? {
        return Err(console.refuse(visit, (browser, powers), not_yours()).await?);
    }
    match form.get("do") {
        "withdraw" => {
            console.order(visit, browser, Powers::changes_a_part, Order::Withdraw { id }).await.map(drop)
        }
        "ask" => {
            let order = CaseOrder::Ask {
                kind: KIND.to_owned(),
                fields: vec![("set".to_owned(), id.0.to_string())],
                reason: form.get("reason").to_owned(),
                means: BTreeSet::new(),
            };
            let by = CaseBy::user(&browser.user_id, actor(visit, browser, powers));
            console.cases.carry_out(visit.authority(), order, by).await.map(drop).map_err(told)
        }
        _ => Err(PageError::not_found()),
    }
}

/// The password again, or a sign-in a moment ago.
async fn confirm(console: &Console, visit: &Visit, browser: &Browser, form: &Form) -> Result<(), PageError> {
    match console.accounts.confirm_own(browser, form.get("password"), visit.address()).await {
        Ok(()) => Ok(()),
        Err(error) => Err(of_password(error)?),
    }
}

pub(crate) async fn ask_to_undo(console: Arc<Console>, call: RawCall<Open>) -> Result<Response, ApiError> {
    let handler = async |visit: Visit, browser: Browser, powers: Powers| {
        let (id, query) = (id(&visit)?, visit.query()?);
        asked_to_undo(&console, &visit, (&browser, &powers), id, &query, None).await
    };
    console.answer(call, Powers::changes_organisation, handler).await
}

/// The line that a form names, from 0; none where all is meant.
fn line_of(form: &Form) -> Result<Option<u32>, PageError> {
    let number = |text: &str| text.parse::<u32>().ok().and_then(|number| number.checked_sub(1));
    form.find("line").map(|text| number(text).ok_or_else(PageError::not_found)).transpose()
}

async fn asked_to_undo(
    console: &Console,
    visit: &Visit,
    (browser, powers): (&Browser, &Powers),
    id: SetId,
    form: &Form,
    error: Option<&PageError>,
) -> Result<Response, PageError> {
    let set = find(console, visit, (browser, powers), id).await?;
    if set.state != State::Applied {
        return Err(PageError::new(
            StatusCode::CONFLICT,
            "この変更案は、適用済みではないため取り消せません。",
            "This change set is not applied, so there is nothing to undo.",
        ));
    }
    let line = match line_of(form)? {
        Some(number) => {
            let lines = lines(console, visit, browser, (id, number, false)).await?;
            let line = lines.into_iter().find(|line| line.number == number);
            Some(line.ok_or_else(PageError::not_found)?)
        }
        None => None,
    };
    let say = |japanese, english| visit.say(japanese, english);
    let password = password_field(&console.accounts, visit, browser).await?;
    let path = path_of(id);
    let body = html! {
        (visit.problem(error))
        (summary(visit, id, &set))
        form.card method="post" action={ (path) "/undo" } {
            (visit.proof())
            @match &line {
                Some(line) => {
                    input type="hidden" name="line" value=(u64::from(line.number) + 1);
                    p { (say("次の行だけを取り消します: ", "Only this line is undone: ")) strong { (line.about) } }
                    @for told in &line.told { p { (said(visit.language(), told)) } }
                }
                None => p { (say(
                    "この変更案の全体を取り消し、適用する前の組織に戻します。",
                    "All of this change set is undone: the organisation is as it was before.",
                )) }
            }
            p.note { (say(
                "その後に別の変更があったものは戻せません。そのときは何も変わりません。",
                "What others changed since cannot be undone; then nothing changes.",
            )) }
            (password)
            div.actions {
                button.danger name="do" value="undo" { (say("取り消す", "Undo")) }
                a.button.second href=(path) { (say("キャンセル", "Leave it")) }
            }
        }
    };
    let title = format!("{} {}", say("変更案の取り消し", "Undo change set"), id.0);
    let page = page(visit, powers, &title, body).status_of(error).again_at(path_of(id));
    Ok(visit.page(page))
}

pub(crate) async fn undo(console: Arc<Console>, call: RawCall<Open>) -> Result<Response, ApiError> {
    let handler = async |visit: Visit, browser: Browser, powers: Powers| {
        let (id, form) = (id(&visit)?, visit.form()?);
        let done = async {
            confirm(&console, &visit, &browser, &form).await?;
            let order = Order::Undo { id, line: line_of(&form)? };
            console.order(&visit, &browser, Powers::changes_organisation, order).await
        };
        match done.await {
            Ok(_) => Ok(visit.redirect(&path_of(id))),
            Err(error) if error.status().is_server_error() || error.status() == StatusCode::NOT_FOUND => {
                Err(error)
            }
            Err(error) => asked_to_undo(&console, &visit, (&browser, &powers), id, &form, Some(&error)).await,
        }
    };
    console.answer(call, Powers::changes_organisation, handler).await
}

/// All lines of a set as a file.
async fn file(console: &Console, visit: &Visit, browser: &Browser, id: SetId) -> Result<Response, PageError> {
    let language = visit.language();
    let (mut rows, mut from) = (Vec::new(), 0);
    loop {
        let some = lines(console, visit, browser, (id, from, false)).await?;
        let Some(last) = some.last() else { break };
        from = last.number.saturating_add(1);
        rows.extend(some.iter().map(|line| {
            let told: Vec<_> = line.told.iter().map(|told| said(language, told)).collect();
            vec![
                (u64::from(line.number) + 1).to_string(),
                say(visit, line.kind.words()),
                line.about.clone(),
                told.join(" "),
                line.rows.iter().map(u32::to_string).collect::<Vec<_>>().join(" "),
            ]
        }));
    }
    let heads = [
        visit.say("行", "Line"),
        visit.say("種別", "What"),
        visit.say("対象", "About"),
        visit.say("内容", "What is done"),
        visit.say("ファイルの行", "Rows of the file"),
    ];
    Ok(visit.file(&format!("changes-{}.csv", id.0), csv::KIND, csv::written(&heads, rows)))
}
