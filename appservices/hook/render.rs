//! What of a body is shown in a room.

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use minijinja::{Environment, UndefinedBehavior, value::Serde};
use serde_json::Value;

use crate::settings::Incoming;

/// Letters of a text at most; an event holds 64 KiB.
const LONGEST: usize = 12_000;

/// Letters of a title, an address or a name.
const LONGEST_LINE: usize = 200;

/// Photos of a report.
const MOST_PHOTOS: usize = 10;

/// The templates of all incoming webhooks.
pub(crate) struct Templates(Environment<'static>);

impl Templates {
    /// Reads them.
    ///
    /// # Errors
    /// What is wrong with one, with its key.
    pub(crate) fn of(incoming: &[Incoming]) -> Result<Self, String> {
        let mut all = Environment::new();
        // What a sender leaves out is empty.
        all.set_undefined_behavior(UndefinedBehavior::Chainable);
        for (number, Incoming { name, template, thread, .. }) in incoming.iter().enumerate() {
            for (key, text) in [("template", template), ("thread", thread)] {
                let Some(text) = text else { continue };
                all.add_template_owned(format!("{name} {key}"), text.clone())
                    .map_err(|error| format!("bot.incoming[{number}].{key}: {error}"))?;
            }
        }
        Ok(Self(all))
    }

    /// A message's text.
    pub(crate) fn text(&self, hook: &Incoming, body: &Value) -> Result<String, String> {
        let text = self.render(hook, "template", body)?;
        if text.trim().is_empty() {
            // An alert in other words than the template's is no empty line.
            let text = serde_json::to_string_pretty(body).unwrap_or_default();
            return Ok(cut(
                &format!("（テンプレートに合わない内容 / not as the template expects）\n{text}"),
                LONGEST,
            ));
        }
        Ok(cut(&text, LONGEST))
    }

    /// What its thread is called by; none where it is in no thread.
    pub(crate) fn thread(&self, hook: &Incoming, body: &Value) -> Result<Option<String>, String> {
        if hook.thread.is_none() {
            return Ok(None);
        }
        self.render(hook, "thread", body)
            .map(|name| Some(name.trim().to_owned()).filter(|name| !name.is_empty()))
    }

    fn render(&self, hook: &Incoming, key: &str, body: &Value) -> Result<String, String> {
        let template =
            self.0.get_template(&format!("{} {key}", hook.name)).map_err(|error| error.to_string())?;
        template.render(Serde(body)).map_err(|error| error.to_string())
    }
}

/// A report of a form.
#[derive(Debug, PartialEq)]
pub(crate) struct Report {
    pub(crate) text: String,
    pub(crate) place: Option<Place>,
    pub(crate) photos: Vec<Photo>,
}

/// Where it is.
#[derive(Debug, PartialEq)]
pub(crate) struct Place {
    pub(crate) latitude: f64,
    pub(crate) longitude: f64,
    pub(crate) description: String,
}

/// A photo that came with it.
#[derive(Debug, PartialEq)]
pub(crate) struct Photo {
    pub(crate) name: String,
    /// By what it holds, not by what is said of it; none if that is no picture that people see.
    pub(crate) kind: Option<&'static str>,
    pub(crate) bytes: Vec<u8>,
}

impl Report {
    /// Reads what a form sent, field by field: one that is odd costs itself only.
    pub(crate) fn read(body: &Value) -> Self {
        let place = body.get("place").and_then(Place::read);
        let mut lines =
            vec![format!("【通報】{}", line(body.get("title")).unwrap_or("（件名なし）".to_owned()))];
        lines.extend(body.get("text").and_then(Value::as_str).map(|text| cut(text, LONGEST)));
        lines.extend(
            line(body.get("address"))
                .or(line(body.pointer("/place/address")))
                .map(|it| format!("場所: {it}")),
        );
        if let Some(Place { latitude, longitude, .. }) = place {
            // The map of the Geospatial Information Authority, which offices use.
            lines.push(format!("地図: https://maps.gsi.go.jp/#17/{latitude:.6}/{longitude:.6}/"));
        }
        lines.extend(line(body.get("id")).map(|it| format!("受付番号: {it}")));
        let photos = body.get("photos").filter(|photos| !photos.is_null());
        let list = photos.and_then(Value::as_array);
        let (mut read, mut unread) = (Vec::new(), usize::from(photos.is_some() && list.is_none()));
        for photo in list.into_iter().flatten() {
            match Photo::read(photo) {
                Some(photo) if read.len() < MOST_PHOTOS => read.push(photo),
                _ => unread += 1,
            }
        }
        if unread > 0 {
            // Who reads the report is to know that there was more.
            lines.push(format!("（読めない写真: {unread} 枚 / photos that cannot be read）"));
        }
        if place.is_none() && body.get("place").is_some_and(|place| !place.is_null()) {
            lines.push("（場所を読めません / the place cannot be read）".to_owned());
        }
        let photos = read;
        Self { text: lines.join("\n"), place, photos }
    }
}

impl Place {
    fn read(place: &Value) -> Option<Self> {
        // Forms send numbers as texts.
        let number = |value: &Value| value.as_f64().or_else(|| value.as_str()?.trim().parse().ok());
        let degrees = |key: &str, most: f64| number(place.get(key)?).filter(|degrees| degrees.abs() <= most);
        let (latitude, longitude) = (degrees("latitude", 90.0)?, degrees("longitude", 180.0)?);
        let description =
            line(place.get("address")).unwrap_or_else(|| format!("{latitude:.6}, {longitude:.6}"));
        Some(Self { latitude, longitude, description })
    }
}

impl Photo {
    fn read(photo: &Value) -> Option<Self> {
        let bytes = decoded(photo.get("data")?.as_str()?).filter(|bytes| !bytes.is_empty())?;
        let name = line(photo.get("name")).unwrap_or_else(|| "写真".to_owned()).replace(['/', '\\'], "_");
        Some(Self { name, kind: kind(&bytes), bytes })
    }
}

/// Base64 as programs write it: as the address of the data itself (RFC 2397, as browsers give it), broken into lines, without its end.
fn decoded(text: &str) -> Option<Vec<u8>> {
    let data = match text.strip_prefix("data:") {
        Some(address) => address.split_once(',').filter(|(head, _)| head.ends_with(";base64"))?.1,
        None => text,
    };
    let data: Vec<u8> = data.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let lenient = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    GeneralPurpose::new(&alphabet::STANDARD, lenient).decode(data).ok()
}

fn kind(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [0xff, 0xd8, 0xff, ..] => Some("image/jpeg"),
        [0x89, b'P', b'N', b'G', ..] => Some("image/png"),
        [b'G', b'I', b'F', b'8', ..] => Some("image/gif"),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some("image/webp"),
        _ => None,
    }
}

/// A text on one line, without what turns its letters around.
fn line(value: Option<&Value>) -> Option<String> {
    let text = match value? {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    let turns = |letter: char| matches!(letter, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}');
    let letters = text.chars().filter(|letter| !turns(*letter));
    let one: String = letters.map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
    Some(cut(one.trim(), LONGEST_LINE)).filter(|line| !line.is_empty())
}

fn cut(text: &str, most: usize) -> String {
    let mut letters =
        text.chars().filter(|letter| *letter == '\n' || *letter == '\t' || !letter.is_control());
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

    #[test]
    fn a_report_is_read_field_by_field() {
        let report = Report::read(&json!({
            "id": 1234, "title": "道路の\u{202e}陥没\n", "text": "直径30cm",
            "place": { "latitude": 36.5611, "longitude": 136.6564, "address": "片町1丁目" },
            "photos": [{ "name": "../a.jpg", "data": "/9j/4A==" }, { "data": 5 }, { "name": "b", "data": "AAAA" }],
        }));
        assert_eq!(
            report.text,
            "【通報】道路の陥没\n直径30cm\n場所: 片町1丁目\n地図: https://maps.gsi.go.jp/#17/36.561100/136.656400/\n受付番号: 1234\n（読めない写真: 1 枚 / photos that cannot be read）"
        );
        let photos: Vec<_> = report.photos.iter().map(|photo| (&*photo.name, photo.kind)).collect();
        assert_eq!(photos, [(".._a.jpg", Some("image/jpeg")), ("b", None)]);
        let odd =
            Report::read(&json!({ "title": [], "place": { "latitude": 91, "longitude": 0 }, "photos": "x" }));
        let said = "【通報】（件名なし）\n（読めない写真: 1 枚 / photos that cannot be read）\n（場所を読めません / the place cannot be read）";
        assert_eq!((odd.text.as_str(), odd.place, odd.photos.len()), (said, None, 0));
        // As browsers, mailers and forms write them.
        for data in ["data:image/jpeg;base64,/9j/4A==", "/9j/\r\n4A==\n", "/9j/4A"] {
            let place = json!({ "latitude": "36.5", "longitude": " 136.6 " });
            let report = Report::read(&json!({ "place": place, "photos": [{ "data": data }] }));
            assert_eq!((report.photos.len(), report.place.is_some()), (1, true), "{data}");
            assert_eq!(report.photos.first().map(|photo| &*photo.bytes), Some(&b"\xff\xd8\xff\xe0"[..]));
        }
        let many = vec![json!({ "data": "/9j/4A" }); MOST_PHOTOS + 2];
        let report = Report::read(&json!({ "photos": many }));
        assert!(report.photos.len() == MOST_PHOTOS && report.text.contains("2 枚"), "{}", report.text);
        assert!(Report::read(&json!({ "photos": [{ "data": "data:text/plain,x" }] })).photos.is_empty());
        assert_eq!(Report::read(&Value::Null).text, "【通報】（件名なし）");
    }

    #[test]
    fn a_template_shows_what_came_and_nothing_where_nothing_did() {
        let hook = |template: &str| Incoming {
            name: "alerts".to_owned(),
            token: String::new(),
            secret: String::new(),
            room: String::new(),
            form: crate::settings::Form::Message,
            template: Some(template.to_owned()),
            thread: Some("{{ alert.id }}".to_owned()),
        };
        let one =
            hook("{{ status }}: {% for a in alerts %}{{ a.labels.host }} {% endfor %}{{ no.such.thing }}");
        let templates =
            Templates::of(std::slice::from_ref(&one)).unwrap_or_else(|error| unreachable!("{error}"));
        let body = json!({ "status": "firing", "alerts": [{ "labels": { "host": "sv1<b>" } }], "alert": { "id": 7 } });
        assert_eq!(templates.text(&one, &body).as_deref(), Ok("firing: sv1<b> "));
        let bare = hook("{{ text }}");
        let templates_of_bare =
            Templates::of(std::slice::from_ref(&bare)).unwrap_or_else(|error| unreachable!("{error}"));
        for odd in [
            json!({ "message": "disk is full" }),
            json!(["disk is full"]),
            json!({ "text": "", "x": "disk is full" }),
        ] {
            assert!(
                templates_of_bare.text(&bare, &odd).is_ok_and(|text| text.contains("disk is full")),
                "{odd}"
            );
        }
        assert_eq!(templates.thread(&one, &body), Ok(Some("7".to_owned())));
        assert_eq!(templates.thread(&one, &json!({})), Ok(None));
        assert!(
            Templates::of(&[hook("{% for %}")])
                .is_err_and(|error| error.starts_with("bot.incoming[0].template"))
        );
    }
}
