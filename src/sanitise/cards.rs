//! Calendars and address cards: lines of properties, some of which are pages, or lead programs that read them elsewhere.
//!
//! Outlook writes the text of an invitation a second time as a page, reminders name the sound that they play, cards the picture
//! that is shown: such a property goes whole, with the lines that it is folded into, and all others stay letter by letter. What
//! people read says the same without it.
//!
//! Source: RFC 5545 (3.1, 3.8), RFC 6350 (6), RFC 7986 (5.10), RFC 9073 (6.5), [MS-OXCICAL] 2.1.3.1.1.20

use std::borrow::Cow;

use crate::{
    blanks::is_nothing,
    verdict::{Part, Removed, note},
};

/// What calendars and cards begin with, and the components of the former.
const COMPONENTS: &[&str] =
    &["vcalendar", "vcard", "vevent", "vtodo", "vjournal", "vfreebusy", "vtimezone", "valarm", "vnote"];

/// Properties whose values are pages, whatever they say of themselves.
const PAGES: &[&str] = &["x-alt-desc", "styled-description"];

/// Properties whose values are shown or played as soon as somebody sees the entry.
const SHOWN: &[&str] = &["photo", "logo", "sound", "image", "x-microsoft-remindersound"];

/// Ends of the names of properties whose values are addresses that somebody opens.
const OPENED: &[&str] = &["url", "uri", "source", "conference"];

/// Properties that hold what people wrote, which may begin as a path does.
const WRITTEN: &[&str] =
    &["description", "summary", "location", "comment", "note", "contact", "fn", "n", "org", "title", "adr"];

/// Where addresses may lead: to the web, to somebody, to another part of the same mail.
const OPEN: &[&str] =
    &["http", "https", "mailto", "tel", "sip", "sips", "xmpp", "geo", "urn", "cid", "mid", "webcal"];

/// Ways out that no property of any name may begin with.
const CLOSED: &[&str] = &["file", "smb", "javascript", "vbscript", "search-ms", "search", "ms-msdt", "shell"];

/// Pictures that may stand in a card.
const PICTURES: &[&str] = &["data:image/jpeg", "data:image/png", "data:image/gif"];

/// A calendar or a card without what is a page or leads away in it; nothing if there is nothing of that in it, or if the text is
/// no calendar and no card.
pub(crate) fn without_harm(letters: &str, removed: &mut Vec<Removed>) -> Option<String> {
    let mut out = String::with_capacity(letters.len());
    let (mut rest, mut in_card, mut in_alarm, mut is_changed) = (letters, false, false, false);
    // Whether the last property went, and goes on in the next line as old cards have it.
    let mut goes_on = false;
    while !rest.is_empty() {
        let (raw, behind) = rest.split_at(property_end(rest));
        rest = behind;
        let line = unfolded(raw);
        if goes_on {
            goes_on = line.ends_with('=');
            continue;
        }
        let Some(property) = Property::read(&line) else {
            out.push_str(raw);
            continue;
        };
        let value = property.value.trim();
        match (property.name.as_str(), value.eq_ignore_ascii_case("valarm")) {
            ("begin", is_alarm) => {
                // Readers differ in where they take one to end that is not nested well: all that follows is of it.
                in_card |= COMPONENTS.iter().any(|one| value.eq_ignore_ascii_case(one));
                in_alarm |= is_alarm;
            }
            ("end", true) => in_alarm = false,
            _ => {}
        }
        if !in_card {
            out.push_str(raw);
        } else if let Some(part) = property.harm(in_alarm) {
            note(removed, part, property.name.to_ascii_uppercase());
            is_changed = true;
            let is_quoted = property.parameter("encoding").any(|way| way == "quoted-printable");
            goes_on = is_quoted && line.ends_with('=');
        } else if let Some(bare) = property.without_page() {
            note(removed, Part::Page, property.name.to_ascii_uppercase());
            is_changed = true;
            out.push_str(&bare);
            out.push_str(&raw[raw.trim_end_matches(['\r', '\n']).len()..]);
        } else {
            out.push_str(raw);
        }
    }
    is_changed.then_some(out)
}

/// Where the property that begins here ends: behind the lines that it is folded into.
fn property_end(text: &str) -> usize {
    let bytes = text.as_bytes();
    let mut at = 0;
    loop {
        let end = memchr::memchr2(b'\r', b'\n', &bytes[at..]).map_or(bytes.len(), |end| at + end);
        let next = end + if bytes[end..].starts_with(b"\r\n") { 2 } else { 1 };
        match bytes.get(next) {
            Some(b' ' | b'\t') => at = next,
            Some(_) => return next,
            None => return bytes.len(),
        }
    }
}

/// A property in one line.
fn unfolded(raw: &str) -> Cow<'_, str> {
    let line = raw.trim_end_matches(['\r', '\n']);
    if !line.contains(['\r', '\n']) {
        return Cow::Borrowed(line);
    }
    let mut out = String::with_capacity(line.len());
    let mut letters = line.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '\r' if letters.peek() == Some(&'\n') => {}
            '\r' | '\n' => drop(letters.next_if(|next| matches!(next, ' ' | '\t'))),
            letter => out.push(letter),
        }
    }
    Cow::Owned(out)
}

/// A property taken apart.
struct Property<'l> {
    /// In small letters, without the group that it is in.
    name: String,
    /// Each with its name.
    parameters: Vec<&'l str>,
    value: &'l str,
    /// What stands before the parameters.
    begin: &'l str,
}

impl<'l> Property<'l> {
    fn read(line: &'l str) -> Option<Self> {
        let end = line.find([':', ';'])?;
        let begin = &line[..end];
        let name = begin.trim_start_matches(is_nothing).rsplit('.').next().unwrap_or(begin);
        let name = name.trim().to_ascii_lowercase();
        let (mut parameters, mut from, mut is_quoted) = (Vec::new(), end, false);
        for (at, letter) in line.char_indices().skip_while(|(at, _)| *at < end) {
            match letter {
                '"' => is_quoted = !is_quoted,
                ';' | ':' if !is_quoted => {
                    if at > from {
                        parameters.push(&line[from + 1..at]);
                    }
                    from = at;
                    if letter == ':' {
                        return Some(Self { name, parameters, value: &line[at + 1..], begin });
                    }
                }
                _ => {}
            }
        }
        // Quotes that do not end: what stands behind the first colon is the value to some.
        let value = line.split_once(':')?.1;
        Some(Self { name, parameters: Vec::new(), value, begin })
    }

    /// The value of a parameter, in small letters; of one without a name, as old cards have them, that itself.
    fn parameter(&self, name: &str) -> impl Iterator<Item = String> {
        let values = self.parameters.iter().filter_map(|one| {
            let (key, value) = one.split_once('=').unwrap_or((name, one));
            key.trim().eq_ignore_ascii_case(name).then(|| value.trim().trim_matches('"').to_ascii_lowercase())
        });
        values.collect::<Vec<_>>().into_iter()
    }

    /// What it does besides telling something, if anything.
    fn harm(&self, in_alarm: bool) -> Option<Part> {
        let name = self.name.as_str();
        // A colon in a value has a backslash before it in old cards.
        let value = self.value.replace("\\:", ":").replace("\\;", ";");
        let address =
            value.trim_start_matches(|letter| is_nothing(letter) || letter == '"').to_ascii_lowercase();
        let is_of_page = self
            .parameter("fmttype")
            .any(|kind| kind.starts_with("text/") && !kind.starts_with("text/plain"));
        if PAGES.contains(&name) || is_of_page && name != "attach" {
            return Some(Part::Page);
        }
        let is_packed = self.parameter("encoding").any(|way| matches!(way.as_str(), "b" | "base64"))
            || self.parameter("value").any(|kind| kind == "binary");
        let leads = scheme(&address);
        if name == "attach" {
            let is_in_it = is_packed || address.starts_with("data:");
            return match (is_in_it, in_alarm) {
                (true, _) => Some(Part::EmbeddedFile),
                // What an alarm plays: a name of the system's own sounds stays.
                (false, true) => address.contains([':', '/', '\\']).then_some(Part::Media),
                (false, false) => is_closed(&address, leads).then_some(Part::Link),
            };
        }
        if SHOWN.contains(&name) {
            let is_picture = PICTURES.iter().any(|kind| address.starts_with(kind));
            // In base64 there is no colon, and slashes may come first.
            let is_address = self.parameter("value").any(|kind| matches!(kind.as_str(), "uri" | "url"));
            let is_path = is_path_away(&address) && (is_address || !is_packed);
            let stays = is_picture || leads.is_none() && !is_path;
            return (!stays).then_some(Part::ExternalData);
        }
        if OPENED.iter().any(|end| name.ends_with(end)) {
            return is_closed(&address, leads).then_some(Part::Link);
        }
        let is_out = is_path_away(&address) || leads.is_some_and(|scheme| CLOSED.contains(&scheme));
        (is_out && !WRITTEN.contains(&name)).then_some(Part::Link)
    }

    /// The property without those parameters that lead to another form of its value, a page as a rule, or to somebody's entry
    /// in a directory, elsewhere than on the web.
    fn without_page(&self) -> Option<String> {
        let leads_away = |one: &&&str| {
            let Some((key, value)) = one.split_once('=') else { return false };
            let address = value.trim().trim_matches('"').to_ascii_lowercase();
            let is_address = ["altrep", "dir"].iter().any(|name| key.trim().eq_ignore_ascii_case(name));
            is_address && is_closed(&address, scheme(&address))
        };
        let bad = self.parameters.iter().filter(leads_away).count();
        let stay = self.parameters.iter().filter(|one| !leads_away(one)).map(|one| format!(";{one}"));
        (bad > 0).then(|| format!("{}{}:{}", self.begin, stay.collect::<String>(), self.value))
    }
}

/// Whether an address leads elsewhere than where addresses may.
fn is_closed(address: &str, scheme: Option<&str>) -> bool {
    is_path_away(address) || scheme.is_some_and(|scheme| !OPEN.contains(&scheme))
}

/// What an address says before its colon; a drive of Windows is none.
fn scheme(address: &str) -> Option<&str> {
    let (scheme, _) = address.split_once(':')?;
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
    (scheme.len() > 1 && scheme.bytes().all(is_part)).then_some(scheme)
}

/// Whether an address is a path to another machine.
fn is_path_away(address: &str) -> bool {
    let slashes = ['/', '\\'];
    address.starts_with(slashes) && address[1..].starts_with(slashes) || address.starts_with("\\??\\")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::effort;

    fn parts(letters: &str) -> (Option<String>, Vec<Part>) {
        let mut removed = Vec::new();
        let made = without_harm(letters, &mut removed);
        (made, removed.into_iter().map(|one| one.what).collect())
    }

    #[test]
    fn pages_and_what_leads_away_go_out_of_a_calendar_with_the_lines_they_are_folded_into() {
        let around = |inside: &str| {
            format!(
                "BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nSUMMARY:定例会\r\n{inside}DESCRIPTION:議題\\nhttps://www.example.lg.jp/\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
            )
        };
        let alarm = |inside: &str| format!("BEGIN:VALARM\r\n{inside}ACTION:AUDIO\r\nEND:VALARM\r\n");
        for (gone, part) in [
            ("X-ALT-DESC;FMTTYPE=text/html:<html><body>定例会</body></html>\r\n", Part::Page),
            (
                "X-ALT-DESC;FMTTYPE=text/html:<!DOCTYPE HTML PUBLIC \"-//W3C//DTD HTML 3.2//EN\">\\n<HT\r\n ML>\\n<scr\r\n\tipt>x</script>\r\n",
                Part::Page,
            ),
            ("x-alt-desc:<html>\n", Part::Page),
            ("X-ALT\r\n -DESC:<html>\r\n", Part::Page),
            ("X-NOTE;FMTTYPE=\"text/html\":<html>\r\n", Part::Page),
            ("STYLED-DESCRIPTION:%3Chtml%3E\r\n", Part::Page),
            ("X-MICROSOFT-REMINDERSOUND:\\\\evil\\x.wav\r\n", Part::ExternalData),
            ("ATTACH:file://evil.example/s/x.exe\r\n", Part::Link),
            ("ATTACH;VALUE=URI:\\\\evil\\x.exe\r\n", Part::Link),
            ("ATTACH;ENC\r\n ODING=BASE64;VALUE=BINARY;X-FILENAME=a.exe:TVqQ\r\n", Part::EmbeddedFile),
            ("ATTACH:data:text/html,x\r\n", Part::EmbeddedFile),
            ("IMAGE;VALUE=URI:http://evil.example/a.png\r\n", Part::ExternalData),
            ("URL:search-ms:query=x\r\n", Part::Link),
            ("X-WR-RELCALURL:file:///c:/x\r\n", Part::Link),
            ("X-FOO:\\\\evil.example\\x\r\n", Part::Link),
        ] {
            assert_eq!(parts(&around(gone)), (Some(around("")), vec![part]), "{gone}");
        }
        for gone in [
            "ATTACH;VALUE=URI:http://evil.example/a.wav\r\n",
            "ATTACH:\\\\evil\\a.wav\r\n",
            "ATTACH:file:///x\r\n",
        ] {
            assert_eq!(parts(&around(&alarm(gone))), (Some(around(&alarm(""))), vec![Part::Media]), "{gone}");
        }
        let thunderbird =
            around("DESCRIPTION;ALTREP=\"data:text/html,%3Cscript%3E;:\";LANGUAGE=ja:本\r\n 文\r\n");
        assert_eq!(parts(&thunderbird), (Some(around("DESCRIPTION;LANGUAGE=ja:本文\r\n")), vec![Part::Page]));
        for sound in [
            "ATTACH:https://drive.google.com/file/d/1/view\r\n",
            "ATTACH;FMTTYPE=application/pdf;FILENAME=a.pdf:https://www.example.lg.jp/a.pdf\r\n",
            "ATTACH:CID:part3@example.jp\r\n",
            "DESCRIPTION;ALTREP=\"CID:part3@example.jp\":本文\r\n",
            "ATTENDEE;CN=\"山田: 課長; 土木\";RSVP=TRUE:mailto:yamada@example.lg.jp\r\n",
            "LOCATION:\\\\fs1\\共有 を見てください\r\n",
            "DTSTART;TZID=\"Tokyo Standard Time\":20261201T100000\r\nRRULE:FREQ=WEEKLY;BYDAY=MO\r\nUID:a:b\r\n",
            "X-MICROSOFT-REMINDERSOUND:C:\\Windows\\Media\\ding.wav\r\n",
            "no property\r\n\r\n at all\r\n\"\r\n",
            "CONFERENCE;VALUE=URI:https://teams.microsoft.com/l/1\r\nPRODID:-//Apple Inc.//macOS//EN\r\n",
            "BEGIN:VALARM\r\nATTACH;VALUE=URI:Chord\r\nEND:VALARM\r\n",
        ] {
            assert_eq!(parts(&around(sound)), (None, vec![]), "{sound}");
        }
    }

    #[test]
    fn what_is_loaded_or_leads_away_goes_out_of_a_card_and_a_photograph_in_it_stays() {
        let around = |inside: &str| {
            format!("BEGIN:VCARD\nVERSION:3.0\nN:山田;太郎\n{inside}TEL:+81-76-220-2111\nEND:VCARD\n")
        };
        for (gone, part) in [
            ("URL:file://evil.example/s/x.exe\n", Part::Link),
            ("item1.URL;type=pref:file\\://evil.example/s\n", Part::Link),
            ("PHOTO;VALUE=uri:http://evil.example/x\n", Part::ExternalData),
            ("PHOTO:\\\\evil\\x.jpg\n", Part::ExternalData),
            ("PHOTO;ENCODING=b;VALUE=uri:http://evil.example/x\n", Part::ExternalData),
            ("PHOTO;ENCODING=b;VALUE=uri://evil.example/x\n", Part::ExternalData),
            ("LOGO:data:image/svg+xml;base64,PHN2Zz4=\n", Part::ExternalData),
            ("X-NOTE;FMTTYPE=text/html;ENCODING=QUOTED-PRINTABLE:=3Chtml=\n=3Escript=\n=3E\n", Part::Page),
            ("X-ALT-DESC;QUOTED-PRINTABLE:=3Chtml=\nURL:file://x\n", Part::Page),
        ] {
            assert_eq!(parts(&around(gone)), (Some(around("")), vec![part]), "{gone}");
        }
        for sound in [
            "PHOTO;ENCODING=b;TYPE=JPEG:/9j/4AAQSkZJRgABAQAAAQABAAD\n  /9j/4AAQ\n",
            "PHOTO:data:image/jpeg;base64,/9j/4AAQ\n",
            "SOUND;ENCODING=b:////\nURL:https://www.example.lg.jp/\nitem1.URL;type=pref:http\\://www.example.lg.jp/\n",
            "NOTE;ENCODING=QUOTED-PRINTABLE;CHARSET=UTF-8:=E5=B1=B1=\n=E7=94=B0\nURL:www.example.lg.jp\n",
            "IMPP:xmpp:a@example.jp\nEMAIL;TYPE=INTERNET:a@example.jp\nADR;TYPE=WORK:;;広坂1-1-1;金沢市;石川県;920-8577;日本\n",
        ] {
            assert_eq!(parts(&around(sound)), (None, vec![]), "{sound}");
        }
        for text in ["議題\r\nURL:file://evil.example/\r\n", "", "BEGIN:V", "x BEGIN:VCARD\nURL:file://x\n"]
        {
            assert_eq!(parts(text).0, None);
        }
        let hidden = around("NOTE;ENCODING=QUOTED-PRINTABLE:x=\nURL:file://evil.example/\n");
        assert_eq!(parts(&hidden).1, [Part::Link]);
        assert_eq!(parts("回覧\nBEGIN:VCARD\nURL:file://x\n").0.as_deref(), Some("回覧\nBEGIN:VCARD\n"));
    }

    #[test]
    fn a_megabyte_of_lines_is_looked_through_in_time_that_grows_with_it() {
        for piece in ["a:b\r\n ", "a;b;c", "a=\n", "\n", "\"", "x;ENCODING=QUOTED-PRINTABLE:=\n", ";=:\n"] {
            let text = format!("BEGIN:VCARD\n{}", piece.repeat((1 << 20) / piece.len()));
            let taken = effort::of(|| drop(without_harm(&text, &mut Vec::new())));
            assert!(taken < std::time::Duration::from_secs(5), "{piece}: {taken:?}");
        }
    }
}
