//! What of a body is shown in a room: all of it, as well as can be.

use std::{
    collections::HashMap,
    io::{self, Write},
};

use bot_kit::json;
use minijinja::{Environment, UndefinedBehavior, value::Serde};
use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use crate::{
    fields::{Fields, First},
    file::{File, decoded},
    settings::Incoming,
};

/// Letters of a text at most; an event holds 64 KiB.
const LONGEST: usize = 12_000;

/// Letters of a title, an address or a name.
const LONGEST_LINE: usize = 200;

/// Bytes that a template makes of a body at most, and steps that it takes for them: a loop over what somebody sent can make very much
/// of little, and never end.
const MOST_RENDERED: usize = 4 << 20;
const MOST_STEPS: u64 = 1_000_000;

/// How much of a report is written, in letters.
struct Bounds {
    /// Of a title, an address, a number, the name of a field.
    line: usize,
    /// Of its own text.
    text: usize,
    /// Of each of its further fields, and of those together.
    field: usize,
    fields: usize,
}

/// In the message, and in the file beside it where that is not all.
const SHOWN: Bounds = Bounds { line: LONGEST_LINE, text: 8_000, field: 1_000, fields: 3_000 };
const WHOLE: Bounds = Bounds { line: usize::MAX, text: usize::MAX, field: usize::MAX, fields: usize::MAX };

/// What the file is called in which all of a text stands.
pub(crate) const WHOLE_NAME: &str = "全文.txt";

/// Photos of a report.
const MOST_PHOTOS: usize = 10;

/// Between what the bot says of a report and what its sender wrote.
const RULE: &str = "────────";

/// Above what a template shows nothing of.
const UNFIT: &str = "（テンプレートに合わない内容 / not as the template expects）";

/// What of a text a message shows, and all of it where that is more.
#[derive(Debug, PartialEq)]
pub(crate) struct Shown {
    pub(crate) text: String,
    pub(crate) whole: Option<String>,
}

impl Shown {
    /// A text as far as one message shows it; it says if that is not all.
    fn of(text: &str) -> Self {
        let whole = cut(text, usize::MAX);
        let text = cut(&whole, LONGEST);
        if text == whole {
            return Self { text, whole: None };
        }
        Self { text: format!("{text}\n{}", part_of(&text, &whole)), whole: Some(whole) }
    }
}

/// Says how much of a text is shown.
fn part_of(shown: &str, whole: &str) -> String {
    let (shown, all) = (shown.chars().count(), whole.chars().count());
    format!(
        "（長いため、全 {all} 字のうち {shown} 字だけを表示しています。全文はこのスレッドの「{WHOLE_NAME}」にあります / \
         {shown} of {all} letters are shown; all of them are in that file in the thread）"
    )
}

/// The templates of all incoming webhooks.
pub(crate) struct Templates {
    all: Environment<'static>,
    /// By the name of the webhook, what its template speaks of.
    speaks_of: HashMap<String, Vec<String>>,
}

impl Templates {
    /// Reads them.
    ///
    /// # Errors
    /// What is wrong with one, with its key.
    pub(crate) fn of(incoming: &[Incoming]) -> Result<Self, String> {
        let mut all = Environment::new();
        // What a sender leaves out is empty.
        all.set_undefined_behavior(UndefinedBehavior::Chainable);
        all.set_fuel(Some(MOST_STEPS));
        let mut speaks_of = HashMap::new();
        for (number, Incoming { name, template, thread, .. }) in incoming.iter().enumerate() {
            for (key, text) in [("template", template), ("thread", thread)] {
                let Some(text) = text else { continue };
                all.add_template_owned(format!("{name} {key}"), text.clone())
                    .map_err(|error| format!("bot.incoming[{number}].{key}: {error}"))?;
            }
            if let Ok(template) = all.get_template(&format!("{name} template")) {
                speaks_of.insert(name.clone(), template.undeclared_variables(false).into_iter().collect());
            }
        }
        Ok(Self { all, speaks_of })
    }

    /// A message's text. Where nothing that the template speaks of came, what did come stands below it.
    pub(crate) fn text(&self, hook: &Incoming, body: &RawValue) -> Shown {
        let said = json::read(body.get().as_bytes()).map_err(|error| error.to_string());
        let said = said.and_then(|said| Ok((self.render(hook, "template", &said)?, said)));
        match said {
            Ok((text, said)) => {
                let text = cut(&text, usize::MAX);
                let is_empty = text.trim().is_empty();
                if !is_empty && self.fits(hook, &said) {
                    return Shown::of(&text);
                }
                // An alert in other words than the template's is no empty line, nor a line of the template's own words.
                let all = serde_json::to_string_pretty(&said).unwrap_or_else(|_| body.get().to_owned());
                let lines = [text.trim_end(), UNFIT, &all];
                Shown::of(&lines.get(usize::from(is_empty)..).unwrap_or_default().join("\n"))
            }
            Err(error) => {
                // Whoever wrote the template mends it; the message is not lost by that.
                tracing::warn!(hook = hook.name, error, "a template does not fit what came");
                Shown::of(&format!("{}\n{UNFIT}\n{}", hook.name, body.get()))
            }
        }
    }

    /// Whether something came of which the template speaks, if it speaks of anything.
    fn fits(&self, hook: &Incoming, said: &Value) -> bool {
        let Some(names) = self.speaks_of.get(&hook.name).filter(|names| !names.is_empty()) else {
            return true;
        };
        names.iter().any(|name| match said.get(name) {
            None | Some(Value::Null) => false,
            Some(Value::String(text)) => !text.is_empty(),
            Some(Value::Array(list)) => !list.is_empty(),
            Some(Value::Object(object)) => !object.is_empty(),
            Some(Value::Bool(_) | Value::Number(_)) => true,
        })
    }

    /// What its thread is called by; none where it is in no thread.
    pub(crate) fn thread(&self, hook: &Incoming, body: &RawValue) -> Result<Option<String>, String> {
        if hook.thread.is_none() {
            return Ok(None);
        }
        let said = json::read(body.get().as_bytes()).map_err(|error| error.to_string())?;
        self.render(hook, "thread", &said)
            .map(|name| Some(name.trim().to_owned()).filter(|name| !name.is_empty()))
    }

    fn render(&self, hook: &Incoming, key: &str, said: &Value) -> Result<String, String> {
        let template =
            self.all.get_template(&format!("{} {key}", hook.name)).map_err(|error| error.to_string())?;
        let mut rendered = Rendered(Vec::new());
        template.render_captured_to(Serde(said), &mut rendered).map_err(|error| error.to_string())?;
        String::from_utf8(rendered.0).map_err(|error| error.to_string())
    }
}

/// What a template has made, as far as that may go.
struct Rendered(Vec<u8>);

impl Write for Rendered {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > MOST_RENDERED {
            return Err(io::Error::other("it makes too much of the body"));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A report of a form.
#[derive(Debug, PartialEq)]
pub(crate) struct Report {
    pub(crate) text: String,
    /// All of it, where the text leaves some of it out.
    pub(crate) whole: Option<String>,
    pub(crate) place: Option<Place>,
    pub(crate) photos: Vec<File>,
}

/// Where it is.
#[derive(Debug, PartialEq)]
pub(crate) struct Place {
    pub(crate) latitude: f64,
    pub(crate) longitude: f64,
    pub(crate) description: String,
}

/// The fields of a report that mean something to us.
const KNOWN: &[&str] = &["id", "title", "text", "address", "place", "photos"];

/// What became of the photos that did not become photos.
#[derive(Default)]
struct Lost {
    unread: usize,
    /// Names of what is no photo.
    odd: Vec<String>,
}

impl Report {
    /// Reads what a form sent, field by field. One that is odd costs no other, and is shown as it came; so is what we have no name for.
    pub(crate) fn read(body: &RawValue) -> Self {
        let Some(fields) = Fields::of(body, KNOWN) else {
            let lines = |bounds: &Bounds| Lines {
                ours: vec!["【通報】（件名なし）".to_owned()],
                theirs: vec![cut(body.get(), bounds.text)],
            };
            let (text, whole) = Lines::both(lines);
            return Self { text, whole, place: None, photos: Vec::new() };
        };
        let place = fields.get("place").and_then(value).as_ref().and_then(Place::read);
        let (photos, lost) = fields.get("photos").map(photos).unwrap_or_default();
        let (text, whole) = Lines::both(|bounds| Lines::of(&fields, place.as_ref(), &lost, bounds));
        Self { text, whole, place, photos }
    }
}

/// The lines of a report: what is ours comes first, and below a line what others wrote, who may imitate it.
struct Lines {
    ours: Vec<String>,
    theirs: Vec<String>,
}

impl Lines {
    /// What is shown, and all of it where that is more.
    fn both(lines: impl Fn(&Bounds) -> Self) -> (String, Option<String>) {
        let (mut shown, whole) = (lines(&SHOWN), lines(&WHOLE).joined());
        let text = shown.joined();
        if text == whole {
            return (text, None);
        }
        shown.ours.push(part_of(&text, &whole));
        (shown.joined(), Some(whole))
    }

    fn joined(&self) -> String {
        let rule = RULE.to_owned();
        let rule = Some(&rule).filter(|_| !self.theirs.is_empty());
        let lines: Vec<&str> = self.ours.iter().chain(rule).chain(&self.theirs).map(String::as_str).collect();
        lines.join("\n")
    }

    fn of(fields: &Fields<'_>, place: Option<&Place>, lost: &Lost, bounds: &Bounds) -> Self {
        let value = |key: &str| fields.get(key).and_then(value);
        let line = |value: Option<&Value>| line(value, bounds.line);
        let (title, text, said_place) = (value("title"), value("text"), value("place"));
        let title_line = line(title.as_ref());
        let mut odd: Vec<(&str, Option<&RawValue>)> = Vec::new();
        let mut ours = vec![format!("【通報】{}", title_line.as_deref().unwrap_or("（件名なし）"))];
        if title_line.is_none() {
            odd.push(("title", fields.get("title")));
        }
        if !matches!(text, Some(Value::String(_))) {
            odd.push(("text", fields.get("text")));
        }
        let of_place = said_place.as_ref().and_then(|place| place.get("address")).cloned();
        let address = value("address");
        if line(address.as_ref()).is_none() {
            odd.push(("address", fields.get("address")));
        }
        ours.extend(line(address.as_ref()).or(line(of_place.as_ref())).map(|it| format!("場所: {it}")));
        if let Some(Place { latitude, longitude, .. }) = place {
            // The map of the Geospatial Information Authority, which offices use.
            ours.push(format!("地図: https://maps.gsi.go.jp/#17/{latitude:.6}/{longitude:.6}/"));
        } else {
            odd.push(("place", fields.get("place")));
        }
        let id = value("id");
        ours.extend(line(id.as_ref()).map(|it| format!("受付番号: {it}")));
        if line(id.as_ref()).is_none() {
            odd.push(("id", fields.get("id")));
        }
        if fields.more > 0 {
            ours.push(format!("（ほかに {} 項目 / further fields）", fields.more));
        }
        if lost.unread > 0 {
            // Who reads the report is to know that there was more.
            ours.push(format!("（読めない写真: {} 枚 / photos that cannot be read）", lost.unread));
        }
        if !lost.odd.is_empty() {
            let names = lost.odd.join("」「");
            ours.push(format!("（写真ではないので受け取りません: 「{names}」 / no photos, not taken）"));
        }
        let mut theirs = Vec::new();
        theirs.extend(text.as_ref().and_then(Value::as_str).map(|text| cut(text, bounds.text)));
        let odd = odd.into_iter().filter_map(|(key, raw)| Some((key, raw?)));
        let others = fields.others.iter().map(|(key, raw)| (&**key, *raw));
        let others: Vec<String> =
            odd.chain(others).filter_map(|(key, raw)| shown(key, raw, bounds)).collect();
        theirs.extend(Some(cut(&others.join("\n"), bounds.fields)).filter(|others| !others.is_empty()));
        Self { ours, theirs }
    }
}

/// The value of a field, if it is one that can be read.
fn value(raw: &RawValue) -> Option<Value> {
    json::read(raw.get().as_bytes()).ok()
}

/// A field of no meaning to us; none if it says nothing.
fn shown(key: &str, raw: &RawValue, bounds: &Bounds) -> Option<String> {
    let text = match value(raw) {
        Some(Value::Null) => return None,
        Some(Value::String(text)) => text,
        // Long ones are cut before they are made anything of.
        _ => raw.get().to_owned(),
    };
    let text = cut(text.trim(), bounds.field);
    let key = line(Some(&Value::String(key.to_owned())), bounds.line).unwrap_or_default();
    Some(format!("{key}: {text}")).filter(|_| !text.is_empty())
}

fn photos(raw: &RawValue) -> (Vec<File>, Lost) {
    #[derive(Deserialize)]
    struct Sent<'a> {
        #[serde(borrow, default)]
        name: Option<&'a RawValue>,
        data: String,
    }

    let mut lost = Lost::default();
    let Ok(First::<MOST_PHOTOS> { entries, more }) = serde_json::from_str(raw.get()) else {
        return (Vec::new(), Lost { unread: 1, ..lost });
    };
    lost.unread = more;
    let mut read = Vec::new();
    for entry in entries {
        let sent = serde_json::from_str::<Sent<'_>>(entry.get()).ok();
        let sent = sent.and_then(|Sent { name, data }| Some((name, decoded(&data)?)));
        let Some((name, bytes)) = sent else {
            lost.unread += 1;
            continue;
        };
        let name = line(name.and_then(value).as_ref(), LONGEST_LINE).unwrap_or_else(|| "写真".to_owned());
        match File::of(&name, bytes) {
            Some(photo) => read.push(photo),
            None => lost.odd.push(name),
        }
    }
    (read, lost)
}

impl Place {
    fn read(place: &Value) -> Option<Self> {
        // Forms send numbers as texts.
        let number = |value: &Value| value.as_f64().or_else(|| value.as_str()?.trim().parse().ok());
        let degrees = |key: &str, most: f64| number(place.get(key)?).filter(|degrees| degrees.abs() <= most);
        let (latitude, longitude) = (degrees("latitude", 90.0)?, degrees("longitude", 180.0)?);
        let description = line(place.get("address"), LONGEST_LINE)
            .unwrap_or_else(|| format!("{latitude:.6}, {longitude:.6}"));
        Some(Self { latitude, longitude, description })
    }
}

/// A text on one line of so many letters, without what turns them around.
fn line(value: Option<&Value>, most: usize) -> Option<String> {
    let text = match value? {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    let letters = text.chars().filter(|letter| !turns(*letter));
    let one: String = letters.map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
    Some(cut(one.trim(), most)).filter(|line| !line.is_empty())
}

/// Whether a letter turns others around.
fn turns(letter: char) -> bool {
    matches!(letter, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' | '\u{61c}')
}

/// So many letters of a text, without what turns them around.
fn cut(text: &str, most: usize) -> String {
    let mut letters = text
        .chars()
        .filter(|letter| *letter == '\n' || *letter == '\t' || !letter.is_control() && !turns(*letter));
    let mut cut: String = letters.by_ref().take(most).collect();
    if letters.next().is_some() {
        cut.push('…');
    }
    cut
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn raw(body: &Value) -> Box<RawValue> {
        serde_json::value::to_raw_value(body).expect("JSON")
    }

    fn read(body: &Value) -> Report {
        Report::read(&raw(body))
    }

    #[test]
    fn a_report_is_read_field_by_field() {
        let report = read(&json!({
            "id": 1234, "title": "道路の\u{202e}陥没\n", "text": "直径30cm",
            "place": { "latitude": 36.5611, "longitude": 136.6564, "address": "片町1丁目" },
            "photos": [{ "name": "../a.jpg", "data": "/9j/4A==" }, { "data": 5 }, { "name": "b", "data": "AAAA" }],
        }));
        assert_eq!(
            report.text,
            "【通報】道路の陥没\n場所: 片町1丁目\n地図: https://maps.gsi.go.jp/#17/36.561100/136.656400/\n受付番号: 1234\n（読めない写真: 1 枚 / photos that cannot be read）\n（写真ではないので受け取りません: 「b」 / no photos, not taken）\n────────\n直径30cm"
        );
        let photos: Vec<_> =
            report.photos.iter().map(|photo| (&*photo.name, photo.kind.content_type)).collect();
        assert_eq!(photos, [(".._a.jpg", "image/jpeg")]);
        let odd = read(&json!({ "title": [], "place": { "latitude": 91, "longitude": 0 }, "photos": "x" }));
        let said = "【通報】（件名なし）\n（読めない写真: 1 枚 / photos that cannot be read）\n────────\ntitle: []\nplace: {\"latitude\":91,\"longitude\":0}";
        assert_eq!((odd.text.as_str(), odd.place, odd.photos.len()), (said, None, 0));
        // As browsers, mailers and forms write them.
        for data in ["data:image/jpeg;base64,/9j/4A==", "/9j/\r\n4A==\n", "/9j/4A"] {
            let place = json!({ "latitude": "36.5", "longitude": " 136.6 " });
            let report = read(&json!({ "place": place, "photos": [{ "data": data }] }));
            assert_eq!((report.photos.len(), report.place.is_some()), (1, true), "{data}");
            assert_eq!(report.photos.first().map(|photo| &*photo.bytes), Some(&b"\xff\xd8\xff\xe0"[..]));
        }
        let many = vec![json!({ "data": "/9j/4A" }); MOST_PHOTOS + 2];
        let report = read(&json!({ "photos": many }));
        assert!(report.photos.len() == MOST_PHOTOS && report.text.contains("2 枚"), "{}", report.text);
        assert!(read(&json!({ "photos": [{ "data": "data:text/plain,x" }] })).photos.is_empty());
        assert_eq!(read(&json!({})).text, "【通報】（件名なし）");
    }

    #[test]
    fn nothing_of_a_report_in_other_words_is_lost() {
        for (body, wanted) in [
            (
                json!({ "件名": "道路の陥没", "内容": "大きな穴です", "電話": "076" }),
                &["件名: 道路の陥没", "内容: 大きな穴です", "電話: 076"][..],
            ),
            (
                json!({ "title": "通報", "body": "本文", "tel": 76 }),
                &["【通報】通報", "body: 本文", "tel: 76"],
            ),
            (json!({ "title": "通報", "text": 456 }), &["text: 456"]),
            (json!({ "title": { "ja": "穴" }, "text": ["一行目", "二行目"] }), &["一行目", "二行目", "穴"]),
            (
                json!({ "id": [7], "address": { "town": "片町" }, "place": "片町" }),
                &["[7]", r#"{"town":"片町"}"#, "place: 片町"],
            ),
            (json!([{ "title": "穴" }]), &["穴"]),
            (json!("文字列"), &["文字列"]),
            (json!(null), &["null"]),
            (json!({ "$serde_json::private::RawValue": 5 }), &["RawValue: 5"]),
            (json!({ "title": true, "id": " " }), &["title: true"]),
        ] {
            let text = read(&body).text;
            assert!(wanted.iter().all(|wanted| text.contains(wanted)), "{body}: {text}");
        }
        let many: serde_json::Map<_, _> =
            (0..60).map(|n| (format!("f{n:02}"), json!("x".repeat(2_000)))).collect();
        let text = read(&Value::Object(many)).text;
        assert!(text.contains("10 項目") && text.chars().count() < LONGEST, "{text}");
        let half = RawValue::from_string(r#"{"title":"\ud800 hole"}"#.to_owned()).expect("JSON");
        assert!(Report::read(&half).text.contains("hole"));
        // Deeper than any reader reads, and as much as may come.
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(9_000), "]".repeat(9_000));
        let text = Report::read(&RawValue::from_string(deep).expect("JSON")).text;
        assert!(text.contains("a: [[["), "{text}");
    }

    #[test]
    fn a_report_that_is_cut_says_so_above_the_line_and_all_of_it_is_there_beside() {
        let long = |letters: usize| format!("{}終", "字".repeat(letters));
        for body in [
            json!({ "title": "穴", "text": long(8_000) }),
            json!({ "title": long(200), "text": "x" }),
            json!({ "title": "穴", "id": long(200) }),
            json!({ "title": "穴", "電話": long(1_000) }),
            json!({ "title": "穴", "a": long(900), "b": long(900), "c": long(900), "d": long(900) }),
            json!(long(8_000)),
        ] {
            let Report { text, whole, .. } = read(&body);
            let whole = whole.unwrap_or_default();
            let head = text.split(RULE).next().unwrap_or_default();
            let says = format!("全 {} 字のうち", whole.chars().count());
            assert!(head.contains(&says) && head.contains(WHOLE_NAME), "{text}");
            assert!(whole.matches('終').count() > text.matches('終').count(), "{whole}");
            assert!(!whole.contains('…') && !whole.contains(&says), "{whole}");
        }
        let all = json!({ "title": long(199), "text": long(7_999), "id": "R-1", "電話": long(999) });
        assert_eq!(read(&all).whole, None);
    }

    #[test]
    fn who_writes_a_report_cannot_write_the_lines_of_the_bot() {
        let text = "a\n受付番号: 9999\n\u{202e}地図: https://evil.example/";
        let report = read(&json!({ "title": "穴", "id": "R-1", "text": text, "受付番号": "8888" }));
        let (ours, theirs) = report.text.split_once(RULE).unwrap_or_default();
        assert_eq!(ours, "【通報】穴\n受付番号: R-1\n");
        assert!(theirs.contains("9999") && theirs.contains("8888") && !theirs.contains('\u{202e}'));
        assert_eq!(read(&json!({ "title": "穴" })).text, "【通報】穴");
    }

    #[test]
    fn a_body_of_which_a_template_would_make_too_much_is_shown_as_it_came() {
        let hook = |template: &str| Incoming {
            name: "alerts".to_owned(),
            token: String::new(),
            secret: String::new(),
            room: String::new(),
            made_by: None,
            form: crate::settings::Form::Message,
            template: Some(template.to_owned()),
            thread: Some(template.to_owned()),
        };
        let body = raw(&json!({ "name": "A".repeat(450_000), "alerts": vec![0; 100_000] }));
        for template in [
            // 45 GB of text; 10,000,000,000 steps without any.
            "{% for alert in alerts %}{{ name }}{% endfor %}",
            "{% for one in alerts %}{% for other in alerts %}{% endfor %}{% endfor %}{{ name }}",
        ] {
            let one = hook(template);
            let templates =
                Templates::of(std::slice::from_ref(&one)).unwrap_or_else(|error| unreachable!("{error}"));
            let began = std::time::Instant::now();
            let Shown { text, whole } = templates.text(&one, &body);
            let is_all = |whole: &String| whole.contains(&"A".repeat(450_000)) && whole.len() < 2 << 20;
            assert!(text.contains(UNFIT) && whole.as_ref().is_some_and(is_all), "{template}");
            assert!(templates.thread(&one, &body).is_err(), "{template}");
            assert!(
                began.elapsed() < std::time::Duration::from_secs(20),
                "{template}: {:?}",
                began.elapsed()
            );
        }
    }

    #[test]
    fn a_template_shows_what_came_and_nothing_where_nothing_did() {
        let hook = |template: &str| Incoming {
            name: "alerts".to_owned(),
            token: String::new(),
            secret: String::new(),
            room: String::new(),
            made_by: None,
            form: crate::settings::Form::Message,
            template: Some(template.to_owned()),
            thread: Some("{{ alert.id }}".to_owned()),
        };
        let one =
            hook("{{ status }}: {% for a in alerts %}{{ a.labels.host }} {% endfor %}{{ no.such.thing }}");
        let templates =
            Templates::of(std::slice::from_ref(&one)).unwrap_or_else(|error| unreachable!("{error}"));
        let body = json!({ "status": "firing", "alerts": [{ "labels": { "host": "sv1<b>" } }], "alert": { "id": 7 } });
        assert_eq!(templates.text(&one, &raw(&body)).text, "firing: sv1<b> ");
        // Its own words alone tell nothing.
        let text = templates.text(&one, &raw(&json!({ "subject": "disk", "message": "/ is 99%" }))).text;
        assert!(text.starts_with(":") && text.contains("/ is 99%"), "{text}");
        let bare = hook("{{ text }}");
        let templates_of_bare =
            Templates::of(std::slice::from_ref(&bare)).unwrap_or_else(|error| unreachable!("{error}"));
        for odd in [
            json!({ "message": "disk is full" }),
            json!(["disk is full"]),
            json!({ "text": "", "x": "disk is full" }),
            json!({ "text": "\u{0}", "x": "disk is full" }),
        ] {
            let text = templates_of_bare.text(&bare, &raw(&odd)).text;
            assert!(text.contains("disk is full"), "{odd}: {text}");
        }
        // What is cut says so, and how much; all of it is there beside.
        let exact = "字".repeat(LONGEST);
        let shown = templates_of_bare.text(&bare, &raw(&json!({ "text": exact })));
        assert_eq!(shown, Shown { text: exact.clone(), whole: None });
        let long = format!("{exact}終わり");
        let Shown { text, whole } = templates_of_bare.text(&bare, &raw(&json!({ "text": long })));
        assert!(text.contains("全 12003 字のうち") && !text.contains("終わり"), "{text}");
        assert!(text.contains("of 12003 letters are shown") && text.contains(WHOLE_NAME), "{text}");
        assert_eq!(whole.as_deref(), Some(&*long));
        let fixed = hook("ボタンが押されました");
        let templates_of_fixed =
            Templates::of(std::slice::from_ref(&fixed)).unwrap_or_else(|error| unreachable!("{error}"));
        assert_eq!(templates_of_fixed.text(&fixed, &raw(&json!({ "x": 1 }))).text, "ボタンが押されました");
        let broken = hook("{{ text | nothing }}");
        if let Ok(templates) = Templates::of(std::slice::from_ref(&broken)) {
            let text = templates.text(&broken, &raw(&json!({ "x": "disk is full" }))).text;
            assert!(text.contains("disk is full"), "{text}");
        }
        assert_eq!(templates.thread(&one, &raw(&body)), Ok(Some("7".to_owned())));
        assert_eq!(templates.thread(&one, &raw(&json!({}))), Ok(None));
        assert!(
            Templates::of(&[hook("{% for %}")])
                .is_err_and(|error| error.starts_with("bot.incoming[0].template"))
        );
    }
}
