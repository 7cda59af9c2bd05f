//! The first page: what waits for the visitor, and what he has asked for.

use std::sync::Arc;

use cases::{Answer, CaseId, Order};
use pages::{Visit, html, link};
use web::{ApiError, Open, RawCall, Response};

use crate::{
    counter::{ASK, CASES, Counter, HOME, unexpected},
    frame::{listed, page},
};

/// Own cases on the first page.
const FEW: usize = 5;

/// Own cases on a page of theirs.
const PAGE: usize = 30;

pub(crate) async fn show(counter: Arc<Counter>, call: RawCall<Open>) -> Result<Response, ApiError> {
    let handler = async |visit: Visit, browser: ::account::Browser| {
        let after = visit.query()?.get("after").parse().ok().map(CaseId);
        let waiting = counter.order(&visit, &browser, Order::Waiting { after }).await?;
        let own = counter.order(&visit, &browser, Order::Mine { before: None, limit: FEW }).await?;
        let (Answer::List { lines: waiting, before: next }, Answer::List { lines: own, before }) =
            (waiting, own)
        else {
            return Err(unexpected());
        };
        let say = |japanese, english| visit.say(japanese, english);
        let body = html! {
            h2 { (say("あなたの承認を待つ案件", "Cases that wait for your approval")) }
            @if waiting.is_empty() { p { (say("ありません。", "There are none.")) } } @else { (listed(&visit, &waiting)) }
            @if let Some(next) = next {
                p { a href=(link(HOME, &[("after", &next.0.to_string())])) { (say("それより後", "Later ones")) } }
            }
            h2 { (say("自分の案件", "My cases")) }
            @if own.is_empty() { p { (say("ありません。", "There are none.")) } } @else { (listed(&visit, &own)) }
            @if before.is_some() { p { a href=(CASES) { (say("すべて見る", "All of them")) } } }
            p { a.button href=(ASK) { (say("申請する", "Ask for something")) } }
        };
        Ok(visit.page(page(&visit, say("窓口", "Counter"), body)))
    };
    counter.answer(call, handler).await
}

/// Leads to the first page whoever has typed a slash behind its path.
pub(crate) async fn lead(counter: Arc<Counter>, call: RawCall<Open>) -> Result<Response, ApiError> {
    counter.pages.answer(call, async |visit: Visit| Ok(visit.redirect(HOME))).await
}

pub(crate) async fn own(counter: Arc<Counter>, call: RawCall<Open>) -> Result<Response, ApiError> {
    let handler = async |visit: Visit, browser: ::account::Browser| {
        let before = visit.query()?.get("before").parse().ok().map(CaseId);
        let own = counter.order(&visit, &browser, Order::Mine { before, limit: PAGE }).await?;
        let Answer::List { lines, before } = own else { return Err(unexpected()) };
        let say = |japanese, english| visit.say(japanese, english);
        let body = html! {
            @if lines.is_empty() { p { (say("ありません。", "There are none.")) } } @else { (listed(&visit, &lines)) }
            @if let Some(before) = before {
                p { a href=(link(CASES, &[("before", &before.0.to_string())])) { (say("それより前", "Earlier ones")) } }
            }
        };
        Ok(visit.page(page(&visit, say("自分の案件", "My cases"), body)))
    };
    counter.answer(call, handler).await
}
