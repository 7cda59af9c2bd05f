//! Storage and queues: what the authority keeps, and what of its own waits.
//!
//! A process may serve others as well, and how much they do is not this one's to know: so of what all share it is told whether
//! it works and keeps up, in no numbers.

use std::sync::Arc;

use ::account::{AccountQuery, Browser};
use organisation::State;
use pages::{Markup, Visit, html};
use personnel::{Answer, Order};
use store::Condition;
use web::{ApiError, Open, RawCall, Response};

use crate::{
    console::{AUDIT, CHANGES, Console, FILES, PEERS, REPORTS, TOKENS, unexpected},
    frame::{page, size, table, text},
    powers::Powers,
    told::told,
};

/// Entries of the log that a reader may be behind and keeps up all the same: how far it is, is not written at each step.
const KEEPS_UP: u64 = 10_000;

/// What reads the log of changes, by its name there.
const READERS: [(&str, (&str, &str)); 4] = [
    ("federation.sender", ("他のサーバーへの送信", "sending to other servers")),
    ("push", ("端末への通知", "notifications of devices")),
    ("search", ("検索の索引", "the index for searching")),
    ("appservice", ("連携サービスへの送信", "telling application services")),
];

pub(crate) async fn show(console: Arc<Console>, call: RawCall<Open>) -> Result<Response, ApiError> {
    let handler = async |visit: Visit, browser: Browser, powers: Powers| {
        let authority = visit.authority();
        let say = |japanese, english| visit.say(japanese, english);
        let (accounts, rooms, servers) = {
            let _turn = console.turn(&visit).await?;
            let open = AccountQuery { limit: 1, deactivated: Some(false), ..AccountQuery::default() };
            let accounts = console.accounts.list_accounts(authority, &open).await?.total;
            let rooms = console.rooms.rooms_of_authority(authority).await.map_err(told)?.len();
            (accounts, rooms, console.oversight.servers(authority).await.map_err(told)?)
        };
        let kept = console.media.used(authority).await.map_err(told)?;
        let reports = console.accounts.reports(authority).await?.len();
        let tokens = console.accounts.registration_tokens(authority).await?.len();
        let mails = console.mails.waiting(authority.as_str()).await.map_err(told)?;
        let unsent = console.log_servers.status(authority).await.map_err(told)?;
        let unsent: u64 = unsent.iter().map(|one| one.waiting).sum();
        let Answer::List(sets) = console.ask(&visit, &browser, Order::Waiting).await? else {
            return Err(unexpected());
        };
        let sets = sets.iter().filter(|(_, set)| set.state == State::Preview).count();
        let failing = servers.iter().filter(|beside| beside.standing.failing_since.is_some()).count();
        let queued: usize = servers.iter().map(|beside| beside.standing.queued).sum();
        let owed: usize = servers.iter().map(|beside| beside.standing.owed_rooms).sum();
        let is_written = matches!(console.store.condition(), Condition::Writable);
        let body = html! {
            @if !is_written {
                p.problem role="alert" { (say(
                    "サーバーはいま書き込みができません。読むことはできます。サーバーの運用者に連絡してください。",
                    "Nothing can be written at the moment; reading works. Please tell who runs the server.",
                )) }
            }
            h2 { (say("保存しているもの", "What is kept")) }
            div.card { dl {
                dt { (say("アカウント（閉鎖を除く）", "Accounts that are open")) } dd { (accounts) }
                dt { (say("ルーム", "Rooms")) } dd { (rooms) }
                dt { (say("ファイル", "Files")) } dd { a href=(FILES) { (size(kept)) } }
                dt { (say("登録トークン", "Registration tokens")) } dd { a href=(TOKENS) { (tokens) } }
            } }
            h2 { (say("待っているもの", "What waits")) }
            div.card { dl {
                dt { (say("通報", "Reports")) } dd { a href=(REPORTS) { (reports) } }
                dt { (say("承認待ちの変更案", "Change sets to approve")) } dd { a href=(CHANGES) { (sets) } }
                dt { (say("送信待ちのメール", "Mails to be sent")) } dd { (mails) }
                dt { (say("ログサーバーへ未送信の記録", "Rows for log servers")) } dd { a href=(AUDIT) { (unsent) } }
                @if console.oversight.sends_here() {
                    dt { (say("届いていないサーバー", "Servers that do not answer")) } dd { a href=(PEERS) { (failing) } }
                    dt { (say("他のサーバーへ送信待ちのイベント", "Events for other servers")) } dd { (queued) }
                    dt { (say("他のサーバーに未送信のあるルーム", "Rooms to catch up in, by server")) } dd { (owed) }
                }
            } }
            h2 { (say("処理の状況", "How the server keeps up")) }
            (readers(&console, &visit).await?)
        };
        Ok(visit.page(page(&visit, &powers, say("保存と待ち行列", "Storage and queues"), body)))
    };
    console.answer(call, Powers::administers, handler).await
}

async fn readers(console: &Console, visit: &Visit) -> Result<Markup, pages::PageError> {
    let say = |japanese, english| visit.say(japanese, english);
    let status = console.store.log_status().await.map_err(told)?;
    let head = console.store.head();
    let rows = status.readers.iter().filter_map(|reader| {
        let (_, names) = READERS.iter().find(|(name, _)| *name == reader.name)?;
        let state = if reader.is_passed_over {
            say("長く止まっていました", "stood still for long")
        } else if head.0.saturating_sub(reader.cursor.0) > KEEPS_UP {
            say("遅れています", "is behind")
        } else {
            say("追いついています", "keeps up")
        };
        Some(vec![text(say(names.0, names.1)), text(state)])
    });
    let rows: Vec<_> = rows.collect();
    Ok(html! { @if rows.is_empty() {
        p { (say("まだ何も処理していません。", "Nothing was done yet.")) }
    } @else {
        (table(&[say("処理", "What is done"), say("状態", "State")], rows))
    } })
}
