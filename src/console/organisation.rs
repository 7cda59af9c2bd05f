//! Who is where: the units of a day, and the people of a unit.

use std::{collections::BTreeSet, sync::Arc};

use audit::Action;
use intake::Date;
use organisation::{
    Tenure, UNIT_NUMBER, UnitId,
    calendar::{before, day_of},
};
use pages::{Form, Language, Markup, Visit, html};
use personnel::{Answer, Member, Order, Shown, ShownUnit};
use web::{ApiError, Open, RawCall, Response};

use crate::{
    asked::asked_day,
    console::{Console, EDIT, ORGANISATION, unexpected},
    csv,
    frame::{account_link, day, field, link, page, say, table, text},
    powers::Powers,
    told::told,
};

pub(crate) async fn show(console: Arc<Console>, call: RawCall<Open>) -> Result<Response, ApiError> {
    let handler = async |visit: Visit, browser: ::account::Browser, powers: Powers| {
        let query = visit.query()?;
        let asked = asked_day(&query)?;
        let unit = query.find("unit").map(str::to_owned);
        let order = Order::Show { day: asked, unit: unit.clone(), within: powers.reads_within() };
        // What leads on is for today's units of his alone, where somebody sees to a part.
        let own = match powers.sees_to_a_part() && !powers.administers() {
            true => {
                let units = console.personnel.units_of(visit.authority(), powers.scope(), None).await;
                units.map_err(told)?
            }
            false => BTreeSet::new(),
        };
        let reach = Reach {
            powers: &powers,
            own,
            is_today: asked.is_none_or(|day| Some(day) == day_of(console.clock.now())),
        };
        let Answer::Shown(shown) = console.ask(&visit, &browser, order).await? else {
            return Err(unexpected());
        };
        if query.get("as") == "csv" {
            console
                .note(
                    &visit,
                    (&browser, &powers),
                    (Action::ExportTable, unit.as_deref().unwrap_or_default(), "organisation"),
                )
                .await?;
            let name = format!("organisation-{}.csv", shown.day);
            return Ok(visit.file(&name, csv::KIND, in_csv(&visit, &shown)));
        }
        let title = match &unit {
            // As the first one is called; what was asked for may be its number.
            Some(unit) => {
                let first = shown.bodies.iter().flat_map(|body| &body.units).next();
                first.map_or_else(|| unit.clone(), |first| first.name.clone())
            }
            None => visit.say("組織", "Organisation").to_owned(),
        };
        let body = html! {
            (form(&visit, &shown, unit.as_deref()))
            p.note { (day(&visit, shown.day)) @if visit.language() == Language::Japanese {
                "（" (shown.day.fiscal_year_in_era()) "）"
            } }
            @if powers.changes_a_part() { (edits(&visit, &reach, &shown, unit.is_some())) }
            @if shown.bodies.is_empty() && powers.reads_within().is_some() {
                p { (visit.say(
                    "この日、あなたの担当部局の所属はありません。所属が変わったときは、全体管理者に担当部局の見直しを依頼してください。",
                    "On this day there is no unit of your department. If it has become another one, please ask an administrator to give you that.",
                )) }
            } @else if shown.bodies.is_empty() {
                p { (visit.say(
                    "この日の組織はまだ登録されていません。人事ファイルを取り込むと、ここに表示されます。",
                    "Nobody is here yet on this day. Once a personnel file is brought in, the organisation appears here.",
                )) }
            }
            @for body in &shown.bodies {
                h2 { (body.name) }
                @if unit.is_some() {
                    @for unit in &body.units { (people(&visit, &reach, unit)) }
                } @else {
                    (tree(&visit, &body.units, &query))
                }
            }
            @if shown.more > 0 {
                p.note { (visit.say("表示しきれない職員: ", "More people than are shown: ")) (shown.more) }
            }
        };
        Ok(visit.page(page(&visit, &powers, &title, body)))
    };
    console.answer(call, Powers::reads_a_part, handler).await
}

/// What of the organisation whoever looks at it may go on to.
struct Reach<'a> {
    powers: &'a Powers,
    /// The units that he sees to.
    own: BTreeSet<UnitId>,
    is_today: bool,
}

impl Reach<'_> {
    /// Whether he may change something of a unit.
    fn changes(&self, unit: UnitId) -> bool {
        self.powers.changes_organisation() || self.own.contains(&unit)
    }

    /// Whether he may see the account of who is in a unit; whose main post is elsewhere is another department's.
    fn sees_account(&self, unit: UnitId, tenure: Tenure) -> bool {
        self.powers.administers() || (self.is_today && tenure == Tenure::Main && self.own.contains(&unit))
    }
}

fn form(visit: &Visit, shown: &Shown, unit: Option<&str>) -> Markup {
    let day = shown.day.to_string();
    let file = link(ORGANISATION, &[("day", &day), ("unit", unit.unwrap_or_default()), ("as", "csv")]);
    html! {
        form.card.line method="get" action=(ORGANISATION) {
            (field("day", visit.say("基準日", "As of which day"), "", html! {
                input id="day" name="day" type="date" value=(day) required;
            }))
            @if let Some(unit) = unit { input type="hidden" name="unit" value=(unit); }
            div.actions { button.second { (visit.say("表示", "Show")) } }
        }
        p {
            @if unit.is_some() {
                a href=(link(ORGANISATION, &[("day", &day)])) { (visit.say("組織全体", "The whole organisation")) } " "
            }
            a href=(file) { (visit.say("CSV ダウンロード（Excel 用）", "As a file for spreadsheets (CSV)")) }
        }
    }
}

/// Where the organisation is changed by hand: this unit, or a new one.
fn edits(visit: &Visit, reach: &Reach<'_>, shown: &Shown, is_one: bool) -> Markup {
    let powers = reach.powers;
    let shown_unit = shown.bodies.iter().flat_map(|body| &body.units).next().filter(|_| is_one);
    let number = shown_unit.map(|unit| format!("{UNIT_NUMBER}{}", unit.unit.0)).unwrap_or_default();
    let day = shown.day.to_string();
    let to = |deed: &str| link(EDIT, &[("deed", deed), ("unit", &number), ("day", &day)]);
    html! {
        p { @match shown_unit {
            None if powers.changes_organisation() => a.button.second href=(to("")) {
                (visit.say("組織を手で変える（機構改革など）", "Change it by hand"))
            }
            None => a.button.second href=(to("")) {
                (visit.say("担当業務・宛先・休職等を手で変える", "Say what it is responsible for, and who is away"))
            }
            Some(unit) if !reach.changes(unit.unit) => {}
            Some(_) => { @if powers.changes_organisation() {
                a href=(to("rename_unit")) { (visit.say("名称を変える", "Rename it")) } " "
                a href=(to("move_unit")) { (visit.say("移管する", "Move it")) } " "
                a href=(to("split_unit")) { (visit.say("分割する", "Split it")) } " "
                a href=(to("close_unit")) { (visit.say("廃止する", "Close it")) } " "
                }
                a href=(to("charge")) { (visit.say("担当業務を決める", "Say what it is responsible for")) } " "
                a href=(to("address")) { (visit.say("宛先を決める", "Give it an address")) }
            }
        } }
    }
}

/// The units of a body, each below the one that it belongs to.
fn tree(visit: &Visit, units: &[ShownUnit], query: &Form) -> Markup {
    html! {
        ul.tree { @for unit in units {
            li.{ "depth-" (unit.depth.min(9)) } {
                @let number = format!("{UNIT_NUMBER}{}", unit.unit.0);
                a href=(link(ORGANISATION, &[("day", query.get("day")), ("unit", &number)])) { (unit.name) }
                " " small { (unit.members.len()) (visit.say(" 人", " people")) }
            }
        } }
    }
}

fn people(visit: &Visit, reach: &Reach<'_>, unit: &ShownUnit) -> Markup {
    let heads = heads(visit);
    html! {
        h3 { (unit.name) @if let Some(code) = &unit.code { " " small.id { (code) } } }
        @if !unit.charges.is_empty() {
            p { (visit.say("担当業務: ", "Responsible for: ")) (unit.charges.join(visit.say("、", ", "))) }
        }
        @for (address, of) in &unit.addresses {
            p { (visit.say("宛先: ", "Reached by: ")) span.id { "@" (address) ":" (visit.authority()) } " (" (of) ")" }
        }
        @if unit.members.is_empty() {
            p { (visit.say("誰もいません。", "Nobody is here.")) }
        } @else {
            (table(&heads, unit.members.iter().map(|member| {
                let [cells @ .., account] = cells(visit, member);
                let may_see = reach.sees_account(unit.unit, member.tenure);
                let account = account_link(visit, Some(&account), may_see);
                cells.into_iter().map(text).chain([account]).collect()
            })))
        }
    }
}

fn heads(visit: &Visit) -> [&'static str; 9] {
    [
        visit.say("職員番号", "Number"),
        visit.say("氏名", "Name"),
        visit.say("フリガナ", "Reading"),
        visit.say("職名", "Post"),
        visit.say("担当業務", "Responsible for"),
        visit.say("本務・兼務", "Main or not"),
        visit.say("任用区分", "Class"),
        visit.say("期間", "Span"),
        visit.say("アカウント", "Account"),
    ]
}

fn cells(visit: &Visit, member: &Member) -> [String; 9] {
    let tenure = match member.tenure {
        Tenure::Main => visit.say("本務", "main").to_owned(),
        Tenure::Additional => visit.say("兼務", "additional").to_owned(),
    };
    let class = member.class.map(|class| say(visit, class.words())).unwrap_or_default();
    let until = member.until.and_then(before);
    let shown = |at: Option<Date>| at.map(|at| day(visit, at)).unwrap_or_default();
    let span = match (member.from, until) {
        (None, None) => String::new(),
        (from, until) => format!("{} – {}", shown(from), shown(until)),
    };
    let away = member.away.as_ref().map(|_| visit.say("（休職等）", " (away)")).unwrap_or_default();
    [
        member.number.clone(),
        format!("{}{away}", member.called),
        member.reading.clone().unwrap_or_default(),
        member.title.clone(),
        member.charges.join(visit.say("、", ", ")),
        tenure,
        class,
        span,
        member.account.clone().unwrap_or_default(),
    ]
}

fn in_csv(visit: &Visit, shown: &Shown) -> String {
    let mut heads =
        vec![visit.say("機関", "Body"), visit.say("所属コード", "Unit code"), visit.say("所属", "Unit")];
    heads.extend(self::heads(visit));
    heads.extend([visit.say("開始日", "From"), visit.say("終了日", "Through")]);
    let rows = shown.bodies.iter().flat_map(|body| {
        body.units.iter().flat_map(move |unit| {
            unit.members.iter().map(move |member| {
                let mut row =
                    vec![body.name.clone(), unit.code.clone().unwrap_or_default(), unit.name.clone()];
                row.extend(cells(visit, member));
                // Days as spreadsheets take them for days, each in a cell of its own.
                let iso = |day: Option<Date>| day.map(|day| day.to_string()).unwrap_or_default();
                row.extend([iso(member.from), iso(member.until.and_then(before))]);
                row
            })
        })
    });
    csv::written(&heads, rows)
}
