//! What the columns of a file mean: guessed, put right by somebody, and saved for the next file.

use std::{collections::BTreeMap, sync::Arc};

use ::account::Browser;
use intake::{Assigned, Column, Confidence, Digits, Field, Mapping};
use pages::{Form, Page, PageError, Visit, html};
use personnel::{Answer, Columns, Order};
use web::{ApiError, Open, RawCall, Response};

use crate::{
    console::{Console, IMPORT, MAPPINGS, unexpected},
    frame::{field, link, page, said, say, table, text},
    powers::Powers,
};

/// Columns that can be given a meaning here; of wider files the first ones.
const MOST_COLUMNS: usize = 200;

/// Digits that numbers can be filled up to here.
const MOST_DIGITS: usize = 20;

/// What was typed for the import, and is there again once the mapping is saved.
const KEPT: [&str; 9] = ["source", "body", "new_body", "makes_new", "day", "at", "encoding", "same", "other"];

/// What a column is guessed to mean, and how sure that is; nothing where it is not read.
type Meant = Option<(Field, Confidence)>;

/// The page on which the guess is looked at.
pub(crate) fn page_of(visit: &Visit, powers: &Powers, columns: &Columns, file: &str, typed: &Form) -> Page {
    let say = |japanese, english| visit.say(japanese, english);
    let mut all: BTreeMap<usize, (&str, Meant)> = BTreeMap::new();
    for (place, header, field, confidence) in &columns.found {
        all.insert(*place, (header, Some((*field, *confidence))));
    }
    for (place, header) in &columns.unused {
        all.insert(*place, (header, None));
    }
    let base = Mapping { columns: Vec::new(), ..columns.mapping.clone() };
    let base = serde_json::to_string(&base).unwrap_or_default();
    let heads = [
        say("列", "Column"),
        say("見出し", "Heading"),
        say("内容の例", "What stands in it"),
        say("意味", "Meaning"),
        say("判定", "How sure"),
    ];
    let sample = |place: usize| {
        let cells = columns.samples.iter().filter_map(|row| row.get(place.checked_sub(1)?));
        cells.filter(|cell| !cell.is_empty()).map(String::as_str).collect::<Vec<_>>().join(say("、", ", "))
    };
    let rows = all.iter().take(MOST_COLUMNS).map(|(place, (header, meant))| {
        let sure = match meant.map(|(_, confidence)| confidence) {
            Some(Confidence::Low) => say("要確認", "please check"),
            Some(_) => say("確実", "sure"),
            None => "",
        };
        let id = format!("column-{place}");
        vec![
            text(place.to_string()),
            html! { label for=(id) { (header) @if header.is_empty() { (say("（見出しなし）", "(no heading)")) } } },
            text(sample(*place)),
            html! {
                input type="hidden" name={ "header-" (place) } value=(header);
                select id=(id) name=(id) {
                    option value="" { (say("取り込まない", "not read")) }
                    @for (number, field) in Field::ALL.iter().enumerate() {
                        option value=(number) selected[meant.is_some_and(|(meant, _)| meant == *field)] {
                            (self::say(visit, field.words()))
                        }
                    }
                }
            },
            text(sure),
        ]
    });
    let body = html! {
        p { (say("ファイル: ", "File: ")) (file) "  " small { (say("文字コード: ", "Encoding: ")) (columns.encoding) } }
        @if let Some(doubt) = &columns.doubt { p.problem role="alert" { (said(visit.language(), doubt)) } }
        @if all.len() > MOST_COLUMNS {
            p.note { (say("先頭の 200 列だけを表示しています。", "The first 200 columns are shown.")) }
        }
        form.card method="post" action=(MAPPINGS) {
            (visit.proof())
            input type="hidden" name="base" value=(base);
            @for name in KEPT { input type="hidden" name={ "kept-" (name) } value=(typed.get(name)); }
            (table(&heads, rows))
            @if let Some(width) = columns.lost_zeros {
                p.problem role="alert" { (say("職員番号の先頭の 0 が消えているようです。登録済みの職員番号は次の桁数です: ",
                    "The numbers seem to have lost their zeros in front. Those of the people who are known have so many digits: "))
                    (width) }
            }
            (field(
                "digits",
                say("職員番号の桁数", "Digits of the numbers"),
                say(
                    "表計算ソフトで先頭の 0 が消えた番号を、この桁数まで 0 で補います。空欄なら書かれたままです。",
                    "Numbers that have lost their zeros in a spreadsheet are filled up to so many digits. Left empty: as they are written.",
                ),
                html! { input id="digits" name="digits" type="number" min="1" max=(MOST_DIGITS)
                    value=[columns.lost_zeros.or(filled_to(&columns.mapping))] aria-describedby="digits-remark"; },
            ))
            (field(
                "name",
                say("保存する名前", "A name to save it under"),
                say("次のファイルから、この名前で選べます。", "The next file can be read by it."),
                html! { input id="name" name="name" required maxlength="100" aria-describedby="name-remark"; },
            ))
            div.actions { button { (say("この対応を保存する", "Save it")) } }
        }
        p { a href=(IMPORT) { (say("保存せずに戻る", "Back without saving")) } }
    };
    page(visit, powers, say("列の対応", "What the columns mean"), body).again_at(IMPORT.to_owned())
}

/// Saves what somebody chose.
pub(crate) async fn save(console: Arc<Console>, call: RawCall<Open>) -> Result<Response, ApiError> {
    let handler = async |visit: Visit, browser: Browser, _powers: Powers| {
        let form = visit.form()?;
        let name = form.get("name").trim().to_owned();
        let mapping = Box::new(chosen(&form)?);
        let order = Order::SaveMapping { name: name.clone(), mapping };
        let may = Powers::changes_organisation;
        let Answer::Done = console.order(&visit, &browser, may, order).await? else {
            return Err(unexpected());
        };
        let kept = KEPT.map(|field| (field, form.get(&format!("kept-{field}"))));
        let fields: Vec<_> = [("mapping", name.as_str()), ("saved", "yes")].into_iter().chain(kept).collect();
        Ok(visit.redirect(&link(IMPORT, &fields)))
    };
    console.answer(call, Powers::changes_organisation, handler).await
}

/// The mapping of a form.
fn chosen(form: &Form) -> Result<Mapping, PageError> {
    let wrong = || {
        PageError::bad_request("送信された内容を読み取れませんでした。", "What was sent could not be read.")
    };
    let base: Mapping = serde_json::from_str(form.get("base")).map_err(|_| wrong())?;
    let mut headers: Vec<(usize, &str)> = Vec::new();
    for (name, value) in form.fields() {
        if let Some(place) = name.strip_prefix("header-") {
            headers.push((place.parse().map_err(|_| wrong())?, value));
        }
    }
    headers.sort_unstable();
    let mut columns = Vec::new();
    for (at, (place, header)) in headers.iter().enumerate() {
        let Some(number) = form.find(&format!("column-{place}")) else { continue };
        let number: usize = number.parse().map_err(|_| wrong())?;
        let field = *Field::ALL.get(number).ok_or_else(wrong)?;
        let column = Column::of(*place, header, headers[..at].iter().map(|(_, header)| *header));
        columns.push(Assigned { field, column });
    }
    let digits = match form.get("digits").trim() {
        // As many as a file has to have were chosen elsewhere.
        "" if filled_to(&base).is_some() => Digits::AsWritten,
        "" => base.digits,
        digits => Digits::FilledTo(
            digits.parse().ok().filter(|digits| (1..=MOST_DIGITS).contains(digits)).ok_or_else(wrong)?,
        ),
    };
    Ok(Mapping { columns, digits, ..base })
}

/// To how many digits numbers are filled up already.
fn filled_to(mapping: &Mapping) -> Option<usize> {
    match mapping.digits {
        Digits::FilledTo(digits) => Some(digits),
        Digits::AsWritten | Digits::Exactly(_) => None,
    }
}
