//! Federation: the other servers in the authority's rooms, and how it gets along with each.

use std::sync::Arc;

use ::account::Browser;
use audit::Action;
use oversight::{Beside, Standing};
use pages::{PageError, Visit, html};
use ruma::{OwnedRoomId, OwnedServerName, RoomId};
use web::{ApiError, Open, RawCall, Response};

use crate::{
    console::{Console, PEER, PEERS, actor},
    csv,
    frame::{field, link, moment, page, table, text},
    powers::Powers,
    told::{refused, told},
};

/// Servers or rooms on one page.
const PAGE: usize = 100;

/// Rooms whose names are read at a time.
const ROOMS_AT_A_TIME: usize = 500;

/// Longest text that is looked for, in letters; and longest name of a server, in bytes.
const LONGEST: usize = 100;
const LONGEST_NAME: usize = 255;

pub(crate) async fn list(console: Arc<Console>, call: RawCall<Open>) -> Result<Response, ApiError> {
    let handler = async |visit: Visit, browser: Browser, powers: Powers| {
        let query = visit.query()?;
        let say = |japanese, english| visit.say(japanese, english);
        let sought: String = query.get("q").trim().to_lowercase().chars().take(LONGEST).collect();
        let fails = query.get("state") == "fails";
        let mut servers = {
            let _turn = console.turn(&visit).await?;
            console.oversight.servers(visit.authority()).await.map_err(told)?
        };
        servers.retain(|beside| {
            beside.server.as_str().contains(&sought) && (!fails || beside.standing.failing_since.is_some())
        });
        let heads = [
            say("サーバー", "Server"),
            say("状態", "State"),
            say("最後の通信", "Heard from"),
            say("次の接続", "Tried again"),
            say("送信待ち", "Events waiting"),
        ];
        if query.get("as") == "csv" {
            console.note(&visit, (&browser, &powers), (Action::ExportTable, "", "servers")).await?;
            let rows =
                servers.iter().map(|beside| cells(&visit, beside, console.oversight.sends_here()).to_vec());
            return Ok(visit.file("servers.csv", csv::KIND, csv::written(&heads, rows)));
        }
        let total = servers.len();
        let after = query.get("after");
        servers.retain(|beside| beside.server.as_str() > after);
        let more = servers.len() > PAGE;
        servers.truncate(PAGE);
        let rows = servers.iter().map(|beside| {
            let [name, rest @ ..] = cells(&visit, beside, console.oversight.sends_here());
            let name = html! { a.id href=(link(PEER, &[("server", &name)])) { (name) } };
            std::iter::once(name).chain(rest.into_iter().map(text)).collect()
        });
        let last = servers.last().filter(|_| more).map(|last| last.server.as_str());
        let state = if fails { "fails" } else { "" };
        let body = html! {
            (elsewhere(&visit, &console))
            form.card method="get" action=(PEERS) role="search" {
                (field("q", say("サーバー名の一部", "Part of the name"), "", html! {
                    input id="q" name="q" type="search" value=(sought) maxlength="100";
                }))
                (field("state", say("状態", "State"), "", html! {
                    select id="state" name="state" {
                        option value="" { (say("すべて", "all")) }
                        option value="fails" selected[fails] { (say("届いていないもの", "those that do not answer")) }
                    }
                }))
                div.actions { button { (say("探す", "Find")) } }
            }
            p role="status" { (total) (say(" 件", " servers")) }
            @if !servers.is_empty() { (table(&heads, rows)) }
            p {
                @if let Some(last) = last {
                    a href=(link(PEERS, &[("q", &sought), ("state", state), ("after", last)])) { (say("次の 100 件", "The next 100")) } " "
                }
                a href=(link(PEERS, &[("q", &sought), ("state", state), ("as", "csv")])) {
                    (say("CSV ダウンロード（Excel 用）", "As a file for spreadsheets (CSV)"))
                }
            }
        };
        Ok(visit.page(page(&visit, &powers, say("連合", "Federation"), body)))
    };
    console.answer(call, Powers::administers, handler).await
}

/// Where another process sends, this one does not know what that meets.
fn elsewhere(visit: &Visit, console: &Console) -> pages::Markup {
    html! { @if !console.oversight.sends_here() {
        p.note { (visit.say(
            "送信は別のプロセスが担当しているため、届いていないサーバーや送信待ちはここでは分かりません。",
            "Another process sends, so it is not known here who does not answer and what waits.",
        )) }
    } }
}

fn state(visit: &Visit, standing: &Standing, sends_here: bool) -> String {
    match standing.failing_since {
        Some(since) => {
            let since = moment(visit, since);
            visit.say(format!("{since} から届いていません"), format!("does not answer since {since}"))
        }
        None if !sends_here => visit.say("不明", "not known here").to_owned(),
        None if standing.owed_rooms > 0 => visit.say("追いつき中", "catching up").to_owned(),
        None => visit.say("良好", "well").to_owned(),
    }
}

/// When it was heard from: that is kept by the day, so a time would be more than is known.
fn heard(visit: &Visit, standing: &Standing) -> String {
    let Some(at) = standing.heard else { return visit.say("記録なし", "never").to_owned() };
    let day = audit::written(at).get(..10).unwrap_or_default().to_owned();
    visit.say(format!("{day} 以降"), format!("{day} or later"))
}

/// When it is tried again.
fn again(visit: &Visit, standing: &Standing) -> String {
    standing.retry_at.map(|at| moment(visit, at)).unwrap_or_default()
}

fn cells(visit: &Visit, beside: &Beside, sends_here: bool) -> [String; 5] {
    let standing = &beside.standing;
    [
        beside.server.to_string(),
        state(visit, standing, sends_here),
        heard(visit, standing),
        again(visit, standing),
        if sends_here { standing.queued.to_string() } else { String::new() },
    ]
}

/// Which server is meant.
fn meant(text: &str) -> Result<OwnedServerName, PageError> {
    if text.len() > LONGEST_NAME {
        return Err(PageError::not_found());
    }
    OwnedServerName::try_from(text.trim()).map_err(|_| PageError::not_found())
}

pub(crate) async fn show(console: Arc<Console>, call: RawCall<Open>) -> Result<Response, ApiError> {
    let handler = async |visit: Visit, browser: Browser, powers: Powers| {
        let query = visit.query()?;
        let server = meant(query.get("server"))?;
        if query.get("as") == "csv" {
            let (_, rooms) = {
                let _turn = console.turn(&visit).await?;
                console.oversight.server(visit.authority(), &server).await.map_err(told)?
            };
            console
                .note(&visit, (&browser, &powers), (Action::ExportTable, server.as_str(), "rooms"))
                .await?;
            let mut rows = Vec::with_capacity(rooms.len());
            for some in rooms.chunks(ROOMS_AT_A_TIME) {
                rows.extend(console.named(&visit, some).await?.into_iter().map(|cells| cells.to_vec()));
            }
            return Ok(visit.file("rooms-in-common.csv", csv::KIND, csv::written(&heads(&visit), rows)));
        }
        let asked = (query.get("after"), query.get("done"));
        one(&console, &visit, &powers, &server, asked, None).await
    };
    console.answer(call, Powers::administers, handler).await
}

impl Console {
    /// Rooms of the authority, by id and name.
    async fn named(&self, visit: &Visit, rooms: &[OwnedRoomId]) -> Result<Vec<[String; 2]>, PageError> {
        let mut known = Vec::with_capacity(rooms.len());
        for room in rooms {
            // Whoever left meanwhile sees no name any more.
            let room_id: &RoomId = room;
            let found = self.rooms.members_of_authority(visit.authority(), room_id).await.map_err(told)?;
            known.extend(found.map(|(info, _)| (room.to_string(), info.serial)));
        }
        let serials: Vec<_> = known.iter().map(|(_, serial)| *serial).collect();
        let summaries = self.rooms.summaries(&serials).await.map_err(told)?;
        let both = known.into_iter().zip(summaries);
        Ok(both
            .map(|((room, _), summary)| {
                let name = summary.name.or(summary.canonical_alias);
                [name.unwrap_or_default(), room]
            })
            .collect())
    }
}

fn heads(visit: &Visit) -> [&'static str; 2] {
    [visit.say("名前", "Name"), visit.say("ルーム ID", "Room ID")]
}

async fn one(
    console: &Console,
    visit: &Visit,
    powers: &Powers,
    server: &OwnedServerName,
    (after, done): (&str, &str),
    error: Option<&PageError>,
) -> Result<Response, PageError> {
    let (beside, mut rooms) = {
        let _turn = console.turn(visit).await?;
        console.oversight.server(visit.authority(), server).await.map_err(told)?
    };
    let (say, total) = (|japanese, english| visit.say(japanese, english), rooms.len());
    rooms.retain(|room| room.as_str() > after);
    let more = rooms.len() > PAGE;
    rooms.truncate(PAGE);
    let rows = console.named(visit, &rooms).await?;
    let rows = rows.into_iter().map(|[name, room]| vec![text(name), html! { span.id { (room) } }]);
    let last = rooms.last().filter(|_| more).map(|room| room.as_str());
    let standing = &beside.standing;
    let sends_here = console.oversight.sends_here();
    let body = html! {
        (visit.problem(error))
        @if done == "retry" { p.card role="status" { (say("接続をやり直しています。", "It is tried again.")) } }
        (elsewhere(visit, console))
        div.card { dl {
            dt { (say("サーバー", "Server")) } dd.id { (beside.server) }
            dt { (say("状態", "State")) } dd { (state(visit, standing, sends_here)) }
            dt { (say("最後の通信", "Heard from")) } dd { (heard(visit, standing)) }
            @if standing.retry_at.is_some() {
                dt { (say("次の接続", "Tried again")) } dd { (again(visit, standing)) }
            }
            @if sends_here {
                dt { (say("送信待ちのイベント", "Events waiting")) } dd { (standing.queued) }
                dt { (say("未送信のあるルーム", "Rooms to catch up in")) } dd { (standing.owed_rooms) }
            }
        } }
        @if standing.failing_since.is_some() {
            form.card method="post" action=(PEER) {
                (visit.proof())
                input type="hidden" name="server" value=(beside.server);
                p { (say(
                    "相手のサーバーが復旧したことが分かっている場合に、次の接続を待たずに送信します。",
                    "Where you know that it is back: what waits is sent without waiting any longer.",
                )) }
                div.actions { button name="do" value="retry" { (say("いま接続し直す", "Try it now")) } }
            }
        }
        h2 { (say("共通のルーム", "Rooms in common")) " (" (total) ")" }
        @if !rooms.is_empty() { (table(&heads(visit), rows)) }
        p {
            @if let Some(last) = last {
                a href=(link(PEER, &[("server", server.as_str()), ("after", last)])) { (say("次の 100 件", "The next 100")) } " "
            }
            a href=(link(PEER, &[("server", server.as_str()), ("as", "csv")])) {
                (say("CSV ダウンロード（Excel 用）", "As a file for spreadsheets (CSV)"))
            }
        }
        p { a href=(PEERS) { (say("一覧に戻る", "Back to the list")) } }
    };
    let page = page(visit, powers, say("他のサーバー", "Another server"), body).status_of(error);
    Ok(visit.page(page.again_at(link(PEER, &[("server", server.as_str())]))))
}

/// Tries a server again that does not answer.
pub(crate) async fn retry(console: Arc<Console>, call: RawCall<Open>) -> Result<Response, ApiError> {
    let handler = async |visit: Visit, browser: Browser, powers: Powers| {
        let form = visit.form()?;
        let server = meant(form.get("server"))?;
        if form.get("do") != "retry" {
            return Err(PageError::not_found());
        }
        let by = actor(&visit, &browser, &powers);
        let tried = {
            let _turn = console.turn(&visit).await?;
            console.oversight.retry(visit.authority(), &server, &by).await
        };
        match tried.map_err(told) {
            Ok(()) => Ok(visit.redirect(&link(PEER, &[("server", server.as_str()), ("done", "retry")]))),
            Err(error) if error.status() == web::StatusCode::NOT_FOUND => Err(error),
            Err(error) => {
                let error = refused(error)?;
                one(&console, &visit, &powers, &server, ("", ""), Some(&error)).await
            }
        }
    };
    console.answer(call, Powers::administers, handler).await
}
