//! Logs: one line an event, as text for people or as JSON for machines, on standard error.
//!
//! Fields hold what strangers wrote. So every line passes [`Harmless`] on its way out, where whatever could end a
//! line, move a cursor or turn text around is written as an escape: a line is one event, whoever is quoted in it.

use std::{
    backtrace::{Backtrace, BacktraceStatus},
    borrow::Cow,
    fmt::Write as _,
    io, panic,
};

use serde::{Deserialize, Serialize};
use tracing::{Subscriber, error};
use tracing_subscriber::EnvFilter;

/// How log lines look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line, for programs that collect logs.
    Json,
}

/// The logs could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The filter is no list of `target=level`.
    #[error("the log filter `{filter}` is wrong: {cause}")]
    Filter {
        /// The filter as given.
        filter: String,
        /// What is wrong with it.
        cause: String,
    },
    /// Somebody has set up logs before.
    #[error("logs are set up already")]
    Twice,
}

/// Whether logging could start with this filter.
///
/// # Errors
/// [`Error::Filter`] when it cannot be read.
pub fn check(filter: &str) -> Result<(), Error> {
    parse(filter).map(|_| ())
}

fn parse(filter: &str) -> Result<EnvFilter, Error> {
    EnvFilter::try_new(filter)
        .map_err(|cause| Error::Filter { filter: filter.to_owned(), cause: cause.to_string() })
}

/// Starts logging for the process: the one global thing, set once by the binary.
///
/// `filter` is a level (`info`) or a list of `target=level`. Panics are logged too, with a backtrace if `RUST_BACKTRACE=1`.
///
/// # Errors
/// When the filter cannot be read or logging was started before.
pub fn init(format: LogFormat, filter: &str) -> Result<(), Error> {
    let started = tracing::subscriber::set_global_default(lines(format, parse(filter)?, io::stderr));
    started.map_err(|_| Error::Twice)?;

    panic::set_hook(Box::new(|info| {
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        let reason = {
            let payload = info.payload();
            let text = payload.downcast_ref::<&'static str>().copied();
            text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("no reason given")
        };
        // Taken only where RUST_BACKTRACE asks for it.
        let backtrace = Backtrace::capture();
        let backtrace = (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string());
        error!(%place, error = reason, backtrace, "panic");
    }));
    Ok(())
}

/// Writes events as lines.
fn lines<W: io::Write + 'static>(
    format: LogFormat,
    filter: EnvFilter,
    to: impl Fn() -> W + Send + Sync + 'static,
) -> Box<dyn Subscriber + Send + Sync> {
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(move || Harmless(to()));
    match format {
        LogFormat::Text => Box::new(builder.with_ansi(false).finish()),
        LogFormat::Json => Box::new(builder.json().flatten_event(true).finish()),
    }
}

/// Passes lines on with what is not to be taken literally escaped; each write is one whole line.
struct Harmless<W>(W);

impl<W: io::Write> io::Write for Harmless<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        let (text, end) = text.strip_suffix('\n').map_or((&*text, ""), |text| (text, "\n"));
        match harmless(text) {
            Cow::Borrowed(_) => self.0.write_all(line)?,
            // In one write, so that lines of several threads do not mix.
            Cow::Owned(escaped) => self.0.write_all((escaped + end).as_bytes())?,
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// A text from outside as it may be shown on a terminal or in a line of a log: control characters, marks of
/// direction, line separators and what cannot be seen are written as JSON writes them (`\n`, `\u202e`).
pub fn harmless(text: &str) -> Cow<'_, str> {
    if !text.bytes().any(may_begin_harm) || !text.chars().any(is_harmful) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for letter in text.chars() {
        match letter {
            '\n' => escaped.push_str("\\n"),
            '\r' => escaped.push_str("\\r"),
            '\t' => escaped.push_str("\\t"),
            letter if is_harmful(letter) => {
                for unit in letter.encode_utf16(&mut [0; 2]) {
                    // A string takes whatever is written.
                    let _infallible = write!(escaped, "\\u{unit:04x}");
                }
            }
            letter => escaped.push(letter),
        }
    }
    Cow::Owned(escaped)
}

/// Whether a byte may be the first of a harmful letter; ordinary lines have few of them or none.
fn may_begin_harm(byte: u8) -> bool {
    matches!(byte, 0..0x20 | 0x7f | 0xc2 | 0xd8 | 0xe1 | 0xe2 | 0xef | 0xf3)
}

fn is_harmful(letter: char) -> bool {
    letter.is_control()
        || matches!(letter,
            // Marks of direction, and what is not to be seen.
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            // Separators of lines and paragraphs, and tags.
            | '\u{2028}' | '\u{2029}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parking_lot::Mutex;
    use proptest::prelude::*;
    use tracing::{info, info_span};

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    const FORGED: &str = "x\n2026-01-01T00:00:00Z  INFO login: @mayor:a.test\r\u{1b}[2J\u{9b}31m\u{202e}\u{2028}\0\u{7f}\u{e0041}終";

    fn written(format: LogFormat, log: impl FnOnce()) -> String {
        let written = Written::default();
        let to = written.clone();
        let subscriber = lines(format, parse("trace").unwrap_or_default(), move || to.clone());
        tracing::subscriber::with_default(subscriber, log);
        let bytes = written.0.lock().clone();
        String::from_utf8(bytes).unwrap_or_default()
    }

    #[test]
    fn whatever_is_quoted_in_it_an_event_is_one_line_of_harmless_letters() {
        for format in [LogFormat::Text, LogFormat::Json] {
            let log = written(format, || {
                let _in = info_span!("request", user_agent = %FORGED, path = FORGED).entered();
                info!(error = %FORGED, room = FORGED, odd = ?FORGED, "{FORGED}");
            });
            let line = log.strip_suffix('\n').unwrap_or_default();
            assert!(!line.is_empty() && !line.contains(is_harmful), "{log:?}");
            assert!(line.contains("@mayor:a.test") && line.contains('終'), "{log}");
            if format == LogFormat::Json {
                assert!(line.contains(r#""error":"x\n2026-01"#), "escaped once: {line}");
            }
        }
    }

    #[test]
    fn an_ordinary_line_is_written_as_it_is() {
        let log = written(LogFormat::Text, || info!(room = %"災害対策本部 — “é” 𠮷\u{e0100}", "金沢市"));
        assert!(log.ends_with("金沢市 room=災害対策本部 — “é” 𠮷\u{e0100}\n"), "{log:?}");
        assert!(matches!(harmless("災害対策本部 — “é”"), Cow::Borrowed(_)));
    }

    proptest! {
        #[test]
        fn nothing_harmful_is_left(text in any::<String>(), forged in "[\u{0}-\u{ad}\u{61c}\u{180e}\u{2000}-\u{206f}\u{feff}\u{fff0}-\u{fffb}\u{e0000}-\u{e0100}]{0,9}") {
            let text = text + &forged;
            let shown = harmless(&text);
            prop_assert!(!shown.contains(is_harmful));
            prop_assert_eq!(matches!(shown, Cow::Borrowed(_)), !text.contains(is_harmful));
        }
    }
}
