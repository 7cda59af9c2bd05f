//! All cases of the authority, for those who may see them; each is shown at the counter.

use std::sync::Arc;

use ::cases::{Answer, By, CaseId, Order, State};
use pages::{Visit, html};
use web::{ApiError, Open, RawCall, Response};

use crate::{
    console::{CASES, Console, actor, unexpected},
    frame::{field, link, moment, page, said, table, text},
    powers::Powers,
    told::told,
};

/// Cases on one page.
const PAGE: usize = 50;

/// Longest text that is looked for, in letters.
const LONGEST: usize = 100;

pub(crate) async fn show(console: Arc<Console>, call: RawCall<Open>) -> Result<Response, ApiError> {
    let handler = async |visit: Visit, browser: ::account::Browser, powers: Powers| {
        let query = visit.query()?;
        let sought: String = query.get("q").chars().take(LONGEST).collect();
        let (kind, state) = (query.find("kind").map(str::to_owned), query.find("state").map(str::to_owned));
        let before = query.get("before").parse().ok().map(CaseId);
        let ask = async |order| {
            let by = By::user(&browser.user_id, actor(&visit, &browser, &powers));
            console.cases.carry_out(visit.authority(), order, by).await.map_err(told)
        };
        let Answer::Kinds(kinds) = ask(Order::Kinds).await? else { return Err(unexpected()) };
        let order = Order::All {
            kind: kind.clone(),
            state: state.clone(),
            text: sought.clone(),
            before,
            limit: PAGE,
        };
        let Answer::List { lines, before } = ask(order).await? else { return Err(unexpected()) };
        let say = |japanese, english| visit.say(japanese, english);
        let heads = [
            say("案件", "Case"),
            say("種類", "Kind"),
            say("内容", "About"),
            say("申請者", "Asked by"),
            say("状態", "State"),
            say("申請", "Asked at"),
        ];
        let rows = lines.iter().map(|line| {
            let path = format!("/_yakuba/counter/cases/{}", line.id.0);
            vec![
                html! { a href=(path) { (line.id.0) } },
                text(said(visit.language(), &line.kind)),
                text(said(visit.language(), &line.title)),
                html! { small.id { (line.asker) } },
                text(said(visit.language(), &line.state.words())),
                text(moment(&visit, line.asked_at)),
            ]
        });
        let body = html! {
            form.card method="get" action=(CASES) role="search" {
                (field("q", say("番号、内容、申請者", "Number, what it is about, who asked"), "", html! {
                    input id="q" name="q" type="search" value=(sought) maxlength="100";
                }))
                (field("kind", say("種類", "Kind"), "", html! {
                    select id="kind" name="kind" {
                        option value="" { (say("すべて", "All")) }
                        @for one in &kinds {
                            option value=(one.word) selected[kind.as_ref() == Some(&one.word)] {
                                (said(visit.language(), &one.name))
                            }
                        }
                    }
                }))
                (field("state", say("状態", "State"), "", html! {
                    select id="state" name="state" {
                        option value="" { (say("すべて", "All")) }
                        @for word in State::WORDS {
                            @if let Some(name) = State::words_of(word) {
                                option value=(word) selected[state.as_deref() == Some(word)] {
                                    (said(visit.language(), &name))
                                }
                            }
                        }
                    }
                }))
                div.actions { button { (say("探す", "Find")) } }
            }
            @if lines.is_empty() {
                p role="status" { (say("案件は見つかりません。", "No cases were found.")) }
            } @else {
                (table(&heads, rows))
            }
            @if let Some(before) = before {
                @let number = before.0.to_string();
                @let fields = [
                    ("before", number.as_str()),
                    ("q", sought.as_str()),
                    ("kind", kind.as_deref().unwrap_or_default()),
                    ("state", state.as_deref().unwrap_or_default()),
                ];
                p { a href=(link(CASES, &fields)) { (say("それより前", "Earlier ones")) } }
            }
        };
        Ok(visit.page(page(&visit, &powers, say("案件", "Cases"), body)))
    };
    console.answer(call, Powers::reads_audit, handler).await
}
