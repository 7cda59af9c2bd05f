//! Change sets, and how one is made of a personnel file.

use std::sync::Arc;

use ::account::Browser;
use intake::{Date, Encoding, How};
use organisation::SetId;
use pages::{Form, PageError, Upload, Visit, html};
use personnel::{Answer, FileBytes, Import, Known, Order};
use web::{ApiError, Open, RawCall, Response};

use crate::{
    asked::{asked_day, asked_minute},
    columns,
    console::{CHANGES, Console, IMPORT, not_yours, unexpected},
    frame::{day, field, link, moment, page, say, table, text},
    powers::Powers,
    short::{hour, in_short, path_of},
};

/// Change sets on one page.
const PAGE: usize = 50;

/// Change sets among which those are looked for that somebody has made.
const MOST_LOOKED_AT: usize = 1_000;

/// Numbers that one form names.
const MOST_NUMBERS: usize = 1_000;

/// The encodings that somebody may say a file is in.
const ENCODINGS: [(&str, Encoding); 5] = [
    ("shift_jis", Encoding::Cp932),
    ("utf-8", Encoding::Utf8),
    ("utf-16le", Encoding::Utf16Le),
    ("utf-16be", Encoding::Utf16Be),
    ("euc-jp", Encoding::EucJp),
];

pub(crate) async fn show(console: Arc<Console>, call: RawCall<Open>) -> Result<Response, ApiError> {
    let handler = async |visit: Visit, browser: Browser, powers: Powers| {
        let before = visit.query()?.get("before").parse().ok().map(SetId);
        // One more tells whether there are others behind; of all that there are somebody has made few.
        let limit = if powers.reads_organisation() { PAGE + 1 } else { MOST_LOOKED_AT };
        let Answer::List(mut sets) = console.ask(&visit, &browser, Order::List { before, limit }).await?
        else {
            return Err(unexpected());
        };
        let oldest = sets.last().map(|(id, _)| *id).filter(|_| sets.len() >= MOST_LOOKED_AT);
        console.retain_seen(&visit, (&browser, &powers), &mut sets).await?;
        let has_more = sets.len() > PAGE;
        sets.truncate(PAGE);
        let say = |japanese, english| visit.say(japanese, english);
        let heads = [
            say("番号", "Number"),
            say("基準日", "As of"),
            say("取込元", "Source"),
            say("作成", "Made"),
            say("適用", "Applied at"),
            say("状態", "State"),
            say("内容", "Lines"),
        ];
        let rows = sets.iter().map(|(id, set)| {
            vec![
                html! { a href=(path_of(*id)) { (id.0) } },
                text(day(&visit, set.day)),
                text(set.source.as_deref().unwrap_or("-")),
                html! { (moment(&visit, set.made_at)) " " small.id { (set.made_by) } },
                text(hour(&visit, set)),
                text(self::say(&visit, set.state.words())),
                text(in_short(&visit, set)),
            ]
        });
        let body = html! {
            @if powers.changes_organisation() {
                p { a.button href=(IMPORT) { (say("人事ファイルを取り込む", "Bring in a personnel file")) } }
            }
            @if sets.is_empty() {
                p { (say("変更案はありません。", "There are no change sets.")) }
            } @else {
                (table(&heads, rows))
            }
            @let before = sets.last().map(|(id, _)| *id).filter(|_| has_more).or(oldest);
            @if let Some(last) = before {
                p { a href=(link(CHANGES, &[("before", &last.0.to_string())])) { (say("それより前", "Earlier ones")) } }
            }
        };
        Ok(visit.page(page(&visit, &powers, say("変更案", "Change sets"), body)))
    };
    console.answer(call, Powers::reads_a_part, handler).await
}

pub(crate) async fn ask(console: Arc<Console>, call: RawCall<Open>) -> Result<Response, ApiError> {
    let handler = async |visit: Visit, browser: Browser, powers: Powers| {
        let query = visit.query()?;
        form(&console, &visit, (&browser, &powers), &query, None).await
    };
    console.answer(call, Powers::changes_organisation, handler).await
}

/// Makes a change set of the file that was sent, or tells what its columns mean.
pub(crate) async fn import(console: Arc<Console>, visit: Visit) -> Result<Response, PageError> {
    let (browser, powers) = console.admit(&visit).await?;
    if !powers.changes_organisation() {
        return Err(not_yours());
    }
    let upload = visit.upload().await?;
    match carry_out(&console, &visit, (&browser, &powers), &upload).await {
        Err(error) if !error.status().is_server_error() => {
            form(&console, &visit, (&browser, &powers), &upload.form, Some(&error)).await
        }
        done => done,
    }
}

async fn carry_out(
    console: &Console,
    visit: &Visit,
    (browser, powers): (&Browser, &Powers),
    upload: &Upload,
) -> Result<Response, PageError> {
    let form = &upload.form;
    if form.get("do") == "told" {
        return of_told(console, visit, (browser, powers), form).await;
    }
    let file = upload
        .file("file")
        .ok_or_else(|| PageError::bad_request("ファイルを選んでください。", "Please choose a file."))?;
    let encoding = ENCODINGS.iter().find(|(word, _)| *word == form.get("encoding")).map(|(_, it)| *it);
    let (bytes, how) = (FileBytes::new(file.bytes.to_vec()), How { encoding, separator: None });
    if form.get("do") == "columns" {
        let order = Order::Columns { file: bytes, how };
        let Answer::Columns(found) = console.ask(visit, browser, order).await? else {
            return Err(unexpected());
        };
        return Ok(visit.page(columns::page_of(visit, powers, &found, &file.name, form)));
    }
    let import = Import {
        file: bytes,
        how,
        mapping: form.find("mapping").map(str::to_owned),
        source: form.get("source").to_owned(),
        body: form.find("new_body").or_else(|| form.find("body")).map(|body| body.trim().to_owned()),
        makes_new: form.get("makes_new") == "yes",
        day: asked_day(form)?,
        at: asked_minute(form)?,
        same: numbers(form.get("same"))?,
        other: numbers(form.get("other"))?,
        is_part: false,
    };
    done(console, visit, (browser, powers), Order::Import(Box::new(import))).await
}

/// Makes a change set of what the identity provider has told at sign-ins.
async fn of_told(
    console: &Console,
    visit: &Visit,
    who: (&Browser, &Powers),
    form: &Form,
) -> Result<Response, PageError> {
    let import = Import {
        file: FileBytes::new(Vec::new()),
        how: How::default(),
        mapping: None,
        source: form.get("told_source").to_owned(),
        body: form.find("told_body").map(|body| body.trim().to_owned()),
        makes_new: false,
        day: None,
        at: None,
        same: Vec::new(),
        other: Vec::new(),
        is_part: true,
    };
    done(console, visit, who, Order::ImportTold(Box::new(import))).await
}

/// Has an import carried out, and leads to the set that came of it.
async fn done(
    console: &Console,
    visit: &Visit,
    (browser, powers): (&Browser, &Powers),
    order: Order,
) -> Result<Response, PageError> {
    let may = Powers::changes_organisation;
    let Answer::Imported(imported) = console.order(visit, browser, may, order).await? else {
        return Err(unexpected());
    };
    if let Some((id, _)) = imported.set {
        return Ok(visit.redirect(&path_of(id)));
    }
    let body = html! {
        p role="status" { (visit.say(
            "変わるものはありません。変更案は作りませんでした。変更なし: ",
            "Nothing changes, so no change set was made. Unchanged: ",
        )) (imported.unchanged) }
        p { a href=(IMPORT) { (visit.say("別のファイルを取り込む", "Bring in another file")) } }
    };
    Ok(visit.page(page(visit, powers, visit.say("取り込みの結果", "What came of the file"), body)))
}

fn numbers(text: &str) -> Result<Vec<String>, PageError> {
    let is_between = |letter: char| letter.is_whitespace() || matches!(letter, ',' | '、' | '，');
    let numbers: Vec<_> =
        text.split(is_between).filter(|number| !number.is_empty()).map(str::to_owned).collect();
    if numbers.len() > MOST_NUMBERS {
        return Err(PageError::bad_request(
            format!("職員番号は一度に {MOST_NUMBERS} 件までです。"),
            format!("At most {MOST_NUMBERS} numbers at once."),
        ));
    }
    Ok(numbers)
}

/// The form, with what was typed before; why it was not taken, where it was not.
async fn form(
    console: &Console,
    visit: &Visit,
    (browser, powers): (&Browser, &Powers),
    typed: &Form,
    error: Option<&PageError>,
) -> Result<Response, PageError> {
    let Answer::Known(Known { bodies, mappings, told }) = console.ask(visit, browser, Order::Known).await?
    else {
        return Err(unexpected());
    };
    let today = organisation::calendar::day_of(console.clock.now()).as_ref().map(Date::to_string);
    let say = |japanese, english| visit.say(japanese, english);
    let source = typed.find("source").unwrap_or("人事システム");
    let body = html! {
        (visit.problem(error))
        @if error.is_some() {
            p.note { (say("ファイルは、もう一度選んでください。", "Please choose the file once more.")) }
        }
        @if typed.get("saved") == "yes" {
            p.card role="status" { (say("列の対応を保存しました。", "What the columns mean is saved.")) }
        }
        p { (say(
            "取り込んでも、すぐには反映されません。変更案を作り、二人が承認したあと、指定した日時に適用します。",
            "A file changes nothing at once. It becomes a change set, which two people approve, and which is applied at its hour.",
        )) }
        form.card method="post" action=(IMPORT) enctype="multipart/form-data" {
            (visit.proof())
            (field("file", say("人事ファイル（CSV、タブ区切り）", "Personnel file (CSV, tabs)"), "", html! {
                input id="file" name="file" type="file" required accept=".csv,.tsv,.txt,text/csv";
            }))
            (field(
                "source",
                say("取込元（システム名など）", "Name of the source"),
                say(
                    "毎回同じ名前にしてください。同じ取込元の前回のファイルにいて今回いない人を、退職などの「終了」として扱います。",
                    "Please use the same name each time: only whom this source has told of before ends by not being in its file.",
                ),
                html! { input id="source" name="source" value=(source) required maxlength="100"
                    aria-describedby="source-remark"; },
            ))
            @if !bodies.is_empty() {
                (field("body", say("機関", "Body"), "", html! {
                    select id="body" name="body" {
                        @if bodies.len() > 1 { option value="" { (say("選んでください", "Please choose")) } }
                        @for body in &bodies {
                            option value=(body) selected[typed.get("body") == body] { (body) }
                        }
                    }
                }))
            }
            (field(
                "new_body",
                say("新しい機関の名前", "Name of a new body"),
                say("首長部局、教育委員会など。登録済みの機関の場合は空欄にしてください。", "Leave it empty for a body that is there."),
                html! { input id="new_body" name="new_body" value=(typed.get("new_body")) maxlength="100"
                    aria-describedby="new_body-remark"; },
            ))
            label.check { input type="checkbox" name="makes_new" value="yes" checked[typed.get("makes_new") == "yes"];
                span { (say("未登録の機関・所属を新しく登録する", "Make bodies and units that are not known")) } }
            (field("mapping", say("列の対応", "What the columns mean"), "", html! {
                select id="mapping" name="mapping" {
                    option value="" { (say("見出しから自動で判定する", "Guess it by the headings")) }
                    @for mapping in &mappings {
                        option value=(mapping) selected[typed.get("mapping") == mapping] { (mapping) }
                    }
                }
            }))
            (field("day", say("基準日（いつ時点の内容か）", "As of which day"), say("空欄の場合は今日の日付になります。", "Today if left empty."), html! {
                input id="day" name="day" type="date" value=(typed.find("day").or(today.as_deref()).unwrap_or_default())
                    aria-describedby="day-remark";
            }))
            (field(
                "at",
                say("適用する日時（日本時間）", "When it is applied (in Japan)"),
                say("空欄の場合は、基準日の 0 時（過ぎているときは承認されしだい）に適用します。", "If left empty: at the begin of that day, or as soon as it is approved."),
                html! { input id="at" name="at" type="datetime-local" value=(typed.get("at"))
                    aria-describedby="at-remark"; },
            ))
            (field("encoding", say("文字コード", "Encoding"), "", html! {
                select id="encoding" name="encoding" {
                    option value="" { (say("自動で見分ける", "Found by itself")) }
                    @for (word, encoding) in ENCODINGS {
                        option value=(word) selected[typed.get("encoding") == word] { (encoding.name()) }
                    }
                }
            }))
            @let is_open = typed.find("same").or(typed.find("other")).is_some();
            details open[is_open] {
                summary { (say("改姓・職員番号の再使用がある場合", "Numbers that became other people's, names that changed")) }
                (field("same", say("改姓した職員の職員番号", "Numbers whose new names are those of the same people"), "", html! {
                    textarea id="same" name="same" rows="2" { (typed.get("same")) }
                }))
                (field("other", say("別の職員に付け替えた職員番号", "Numbers that are other people's now"), "", html! {
                    textarea id="other" name="other" rows="2" { (typed.get("other")) }
                }))
            }
            div.actions {
                button name="do" value="propose" { (say("変更案を作る", "Make a change set")) }
                button.second name="do" value="columns" { (say("列の対応を確認する", "Look at what the columns mean")) }
            }
        }
        @if told > 0 {
            h2 { (say("認証基盤から伝えられた情報", "What the identity provider has told")) }
            form.card method="post" action=(IMPORT) enctype="multipart/form-data" {
                (visit.proof())
                p { (say("サインインのときに伝えられた職員の人数: ", "People of whom it has told at their sign-ins: ")) (told) }
                p { (say(
                    "伝えられた所属や職名から変更案を作ります。サインインしていない人は終了になりません。",
                    "Their units and titles become a change set. Nobody ends for not having signed in.",
                )) }
                (field(
                    "told_source",
                    say("取込元", "Name of the source"),
                    say(
                        "人事ファイルで登録している職員を異動させるときは、そのファイルと同じ取込元にしてください。",
                        "The same as that of the personnel file, where its people are to move by what was told.",
                    ),
                    html! { input id="told_source" name="told_source" value=(source) required maxlength="100"
                        aria-describedby="told_source-remark"; },
                ))
                @if bodies.len() > 1 {
                    (field("told_body", say("機関", "Body"), "", html! {
                        select id="told_body" name="told_body" {
                            @for body in &bodies { option value=(body) { (body) } }
                        }
                    }))
                }
                div.actions { button.second name="do" value="told" { (say("変更案を作る", "Make a change set")) } }
            }
        }
    };
    let page = page(visit, powers, say("人事ファイルの取り込み", "Bring in a personnel file"), body);
    Ok(visit.page(page.status_of(error).again_at(IMPORT.to_owned())))
}
