//! The first page: what waits for the visitor, and where he may go.

use std::sync::Arc;

use organisation::{ChangeSet, SetId, State};
use pages::{Markup, Visit, html};
use personnel::{Answer, Order};
use web::{ApiError, Open, RawCall, Response};

use crate::{
    console::{Console, HOME, unexpected},
    frame::{links, page, text},
    powers::Powers,
    recovery,
    short::{hour, in_short, path_of},
};

pub(crate) async fn show(console: Arc<Console>, call: RawCall<Open>) -> Result<Response, ApiError> {
    let handler = async |visit: Visit, browser: ::account::Browser, powers: Powers| {
        let mut waiting = Vec::new();
        if powers.reads_organisation() {
            let Answer::List(sets) = console.ask(&visit, &browser, Order::Waiting).await? else {
                return Err(unexpected());
            };
            waiting = sets;
        }
        let account = browser.user_id.localpart();
        let (mine, others): (Vec<_>, Vec<_>) =
            waiting.into_iter().partition(|(_, set)| waits_for(set, &powers, account));
        let say = |japanese, english| visit.say(japanese, english);
        let body = html! {
            @if powers.reads_organisation() {
                h2 { (say("あなたの承認を待つ変更案", "Change sets that wait for your approval")) }
                (listed(&visit, &mine))
                @if !others.is_empty() {
                    h2 { (say("ほかの承認や適用を待つ変更案", "Change sets that wait for others, or for their hour")) }
                    (listed(&visit, &others))
                }
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

/// Whether an approval of this visitor's is what is missing.
fn waits_for(set: &ChangeSet, powers: &Powers, account: &str) -> bool {
    let is_open = |role| set.approvals.iter().all(|approval| approval.role != role);
    set.state == State::Preview
        && set.approvals.iter().all(|approval| approval.account != account)
        && powers.approves_as().into_iter().any(is_open)
}

fn listed(visit: &Visit, sets: &[(SetId, ChangeSet)]) -> Markup {
    html! {
        @if sets.is_empty() {
            p { (visit.say("ありません。", "There are none.")) }
        } @else {
            ul { @for (id, set) in sets {
                li {
                    a href=(path_of(*id)) { (visit.say("変更案", "Change set")) " " (id.0) }
                    " " (text(in_short(visit, set)))
                    " " small { (visit.say("適用: ", "applied: ")) (hour(visit, set)) }
                }
            } }
        }
    }
}
