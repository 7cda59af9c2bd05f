//! The first page: what waits for the visitor, and where he may go.

use std::sync::Arc;

use organisation::{ChangeSet, SetId};
use pages::{Markup, Visit, html};
use personnel::{Answer, Order};
use web::{ApiError, Open, RawCall, Response};

use crate::{
    console::{COUNTER, Console, HOME, unexpected},
    frame::{links, page, say, text},
    powers::Powers,
    recovery,
    short::{hour, in_short, path_of},
};

pub(crate) async fn show(console: Arc<Console>, call: RawCall<Open>) -> Result<Response, ApiError> {
    let handler = async |visit: Visit, browser: ::account::Browser, powers: Powers| {
        let mut waiting = Vec::new();
        if powers.reads_a_part() {
            let Answer::List(sets) = console.ask(&visit, &browser, Order::Waiting).await? else {
                return Err(unexpected());
            };
            waiting = sets;
            console.retain_seen(&visit, (&browser, &powers), &mut waiting).await?;
        }
        let say = |japanese, english| visit.say(japanese, english);
        let body = html! {
            @if powers.reads_a_part() {
                h2 { (say("承認や適用を待つ変更案", "Change sets that wait for approval, or for their hour")) }
                (listed(&visit, &waiting))
                p { a href=(COUNTER) { (say("あなたの承認を待つ案件は、窓口にあります。", "What waits for your approval is at the counter.")) } }
            }
            @if powers.administers() { (recovery::waiting(&console, &visit).await?) }
            h2 { (say("できること", "What you can do")) }
            ul { @for (path, name) in links(&visit, &powers).iter().filter(|(path, _)| *path != HOME) {
                li { a href=(path) { (name) } }
            } }
        };
        Ok(visit.page(page(&visit, &powers, say("管理画面", "Console"), body)))
    };
    console.answer(call, Powers::is_any, handler).await
}

/// Leads to the first page whoever has typed a slash behind its path.
pub(crate) async fn lead(console: Arc<Console>, call: RawCall<Open>) -> Result<Response, ApiError> {
    console.pages.answer(call, async |visit: Visit| Ok(visit.redirect(HOME))).await
}

fn listed(visit: &Visit, sets: &[(SetId, ChangeSet)]) -> Markup {
    html! {
        @if sets.is_empty() {
            p { (visit.say("ありません。", "There are none.")) }
        } @else {
            ul { @for (id, set) in sets {
                li {
                    a href=(path_of(*id)) { (visit.say("変更案", "Change set")) " " (id.0) }
                    " " (self::say(visit, set.state.words())) " " (text(in_short(visit, set)))
                    " " small { (visit.say("適用: ", "applied: ")) (hour(visit, set)) }
                }
            } }
        }
    }
}
