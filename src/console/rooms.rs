//! Rooms by rule: the rules, whose room is which, and what a day would change of them.

use std::sync::Arc;

use ::account::Browser;
use audit::Action;
use organisation::UNIT_NUMBER;
use pages::{Markup, PageError, Visit, html};
use rules::{Answer, History, Members, Order, Previewed, Shown, ShownRule, Template};
use web::{ApiError, Open, RawCall, Response};

use crate::{
    asked::asked_day,
    console::{Console, ROOMS, actor, unexpected},
    csv,
    frame::{day, field, link, page, said, table, text},
    powers::Powers,
    told::told,
};

/// Where somebody asks that a rule hold from a day on, or until one: two agree to that, since it makes and closes rooms.
const ASK_FOR_DAYS: &str = "/_yakuba/counter/ask/rule_days";

/// Where somebody asks that a rule be made, or say something else: two agree to that.
const ASK_TO_SAY: &str = "/_yakuba/counter/ask/rule_says";

/// Rooms on one page; a file has them all.
const MOST_SHOWN: usize = 500;

impl Console {
    async fn ask_rules(&self, visit: &Visit, browser: &Browser, order: Order) -> Result<Answer, PageError> {
        self.rules
            .carry_out(visit.authority(), order, &actor(visit, browser, &Powers::default()))
            .await
            .map_err(told)
    }
}

pub(crate) async fn show(console: Arc<Console>, call: RawCall<Open>) -> Result<Response, ApiError> {
    let handler = async |visit: Visit, browser: Browser, powers: Powers| {
        let query = visit.query()?;
        let asked = asked_day(&query)?;
        let Answer::Shown(mut shown) =
            console.ask_rules(&visit, &browser, Order::Show { day: asked }).await?
        else {
            return Err(unexpected());
        };
        let is_whole = powers.reads_organisation();
        if let Some(scope) = powers.reads_within() {
            let units =
                console.personnel.units_of(visit.authority(), scope, Some(shown.day)).await.map_err(told)?;
            shown.rooms.retain(|room| units.contains(&room.of));
            shown.rules.retain(|rule| shown.rooms.iter().any(|room| room.rule == rule.id));
        }
        if query.get("as") == "csv" {
            console.note(&visit, (&browser, &powers), (Action::ExportTable, "", "rooms")).await?;
            let rows = (0..shown.rooms.len()).map(|place| cells(&visit, &shown, place).to_vec());
            return Ok(visit.file("rooms.csv", csv::KIND, csv::written(&heads(&visit), rows)));
        }
        let previewed = match is_whole && query.get("do") == "preview" {
            true => {
                // All rooms are looked at for it.
                let _turn = console.turn(&visit).await?;
                let order = Order::Preview { wish: None, day: asked };
                let Answer::Previewed(previewed) = console.ask_rules(&visit, &browser, order).await? else {
                    return Err(unexpected());
                };
                Some(previewed)
            }
            false => None,
        };
        let say = |japanese, english| visit.say(japanese, english);
        let rules = shown.rules.iter().map(|rule| {
            let holds =
                if rule.holds { say("有効", "holds") } else { say("終了・開始前", "does not hold") };
            let of_it = || shown.rooms.iter().filter(|room| room.rule == rule.id);
            let (all, closed) = (of_it().count(), of_it().filter(|room| room.closed.is_some()).count());
            let names: Vec<_> = rule.rule.rooms.iter().map(|room| room.name.as_str()).collect();
            let cells = [
                rule.id.0.to_string(),
                rule.rule.title.clone(),
                holds.to_owned(),
                names.join("\n"),
                (all - closed).to_string(),
                closed.to_string(),
            ];
            let to_say = html! { @if is_whole {
                a href=(to_say(rule)) aria-label={ (rule.rule.title) " " (say("内容を変える", "change what it says")) } {
                    (say("変える", "change"))
                }
            } };
            cells.into_iter().map(text).chain([to_say]).collect()
        });
        let rooms = (0..shown.rooms.len().min(MOST_SHOWN))
            .map(|place| cells(&visit, &shown, place).into_iter().map(text).collect());
        let asked_on = shown.day.to_string();
        let body = html! {
            form.card method="get" action=(ROOMS) {
                (field("day", say("基準日", "As of which day"), "", html! {
                    input id="day" name="day" type="date" value=(asked_on) required;
                }))
                div.actions {
                    button.second { (say("表示", "Show")) }
                    @if is_whole { button name="do" value="preview" {
                        (say("この日に変わることを見る", "See what changes on that day"))
                    } }
                }
            }
            @if let Some(previewed) = &previewed { (preview(&visit, previewed)) }
            h2 { (say("規則", "Rules")) }
            @if shown.rules.is_empty() {
                p { (say(
                    "規則はありません。規則があると、所属ごとにルームが作られ、職員が入ります。",
                    "There are no rules. By a rule, rooms are made for units, and people come into them.",
                )) }
            } @else {
                (table(&heads_of_rules(&visit), rules))
                @if is_whole { p { a href=(ASK_FOR_DAYS) {
                    (say("規則の期間を変える（窓口で申請）", "Change from and until when one holds (at the counter)"))
                } } }
            }
            @if is_whole { p { a href=(ASK_TO_SAY) { (say("規則を作る（窓口で申請）", "Make a rule (at the counter)")) } } }
            h2 { (say("規則によるルーム", "Rooms by rule")) " (" (shown.rooms.len()) ")" }
            @if !shown.rooms.is_empty() {
                (table(&heads(&visit), rooms))
                @if shown.rooms.len() > MOST_SHOWN {
                    p.note { (say("先頭の 500 件です。すべてはファイルにあります。", "These are the first 500; the file has them all.")) }
                }
                p { a href=(link(ROOMS, &[("day", &asked_on), ("as", "csv")])) {
                    (say("CSV ダウンロード（Excel 用）", "As a file for spreadsheets (CSV)"))
                } }
            }
        };
        Ok(visit.page(page(&visit, &powers, say("ルームの規則", "Rooms by rule"), body)))
    };
    console.answer(call, Powers::reads_a_part, handler).await
}

fn heads_of_rules(visit: &Visit) -> [&'static str; 7] {
    [
        visit.say("番号", "Number"),
        visit.say("名前", "Title"),
        visit.say("状態", "State"),
        visit.say("各所属のルーム", "Rooms of each unit"),
        visit.say("開いているルーム", "Rooms that are open"),
        visit.say("閉じたルーム", "Rooms that are closed"),
        visit.say("操作", "Action"),
    ]
}

/// Where somebody asks that a rule say something else, with what it says filled in.
fn to_say(shown: &ShownRule) -> String {
    let rule = shown.last();
    let room = rule.rooms.iter().find(|room| !room.space).or(rule.rooms.first());
    let of_room = |of: fn(&Template) -> &str| room.map(of).unwrap_or_default();
    let below = rule.units.below.map(|unit| format!("{UNIT_NUMBER}{}", unit.0)).unwrap_or_default();
    let history = match room.map(|room| room.history) {
        Some(History::Joined) => "joined",
        Some(History::Shared) | None => "shared",
    };
    link(
        ASK_TO_SAY,
        &[
            ("field-rule", &cases::said_of(shown).unwrap_or_default()),
            ("field-title", &rule.title),
            ("field-named", &rule.units.named.join("\n")),
            ("field-below", &below),
            ("field-members", if rule.members == Members::Below { "below" } else { "unit" }),
            ("field-heads", if rule.moderators.heads { "yes" } else { "no" }),
            ("field-titles", &rule.moderators.titles.join("\n")),
            ("field-hand_over_days", &rule.hand_over_days.to_string()),
            ("field-room", of_room(|room| &room.name)),
            ("field-topic", of_room(|room| room.topic.as_deref().unwrap_or_default())),
            ("field-history", history),
            ("field-label", of_room(|room| room.label.as_deref().unwrap_or_default())),
        ],
    )
}

fn heads(visit: &Visit) -> [&'static str; 5] {
    [
        visit.say("所属", "Unit"),
        visit.say("規則", "Rule"),
        visit.say("種類", "Which"),
        visit.say("ルーム ID", "Room ID"),
        visit.say("状態", "State"),
    ]
}

fn cells(visit: &Visit, shown: &Shown, place: usize) -> [String; 5] {
    let room = &shown.rooms[place];
    let rule = shown.rules.iter().find(|rule| rule.id == room.rule);
    let closed = room.closed.map(|at| format!("{}{}", visit.say("閉鎖 ", "closed "), day(visit, at)));
    let adopted = room.is_adopted.then(|| visit.say("手で作られたもの", "made by hand").to_owned());
    [
        room.unit.clone().unwrap_or_default(),
        rule.map_or_else(|| room.rule.0.to_string(), |rule| rule.rule.title.clone()),
        room.key.clone(),
        room.room.clone(),
        closed.into_iter().chain(adopted).collect::<Vec<_>>().join(visit.say("、", ", ")),
    ]
}

fn preview(visit: &Visit, previewed: &Previewed) -> Markup {
    let say = |japanese, english| visit.say(japanese, english);
    let counts = [
        (say("作るルーム", "rooms made"), previewed.makes),
        (say("入る人（延べ）", "times somebody comes in"), previewed.joins),
        (say("出る人（延べ）", "times somebody leaves"), previewed.leaves),
        (say("ほかの変更", "other changes"), previewed.changes),
        (say("閉じるルーム", "rooms closed"), previewed.closes),
        (say("上限を超えて作らないルーム", "rooms over the bound, not made"), previewed.left_out),
    ];
    let steps = previewed.told.iter().map(|step| vec![text(&step.room), text(said_of(visit, step))]);
    html! {
        h2 { (say("この日に変わること", "What changes on that day")) }
        div.card { dl { @for (name, count) in counts { dt { (name) } dd { (count) } } } }
        @if !previewed.told.is_empty() { (table(&[say("ルーム", "Room"), say("内容", "What")], steps)) }
    }
}

fn said_of<'a>(visit: &Visit, step: &'a rules::Told) -> &'a str {
    said(visit.language(), &step.what)
}
