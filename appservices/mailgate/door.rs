//! The listener: where the MTA hands mail over, by LMTP or SMTP.
//!
//! Strict and small: one recipient a transaction (the MTA hands over the others in further ones, RFC 5321 §4.5.3.1.10), lines
//! end in CR LF and nothing else does, so that no mail hides in another one. No STARTTLS: it is for loopback or the internal
//! network.
//!
//! Spec: <https://www.rfc-editor.org/rfc/rfc5321>, <https://www.rfc-editor.org/rfc/rfc2033>

use std::{io, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader},
    net::TcpListener,
    sync::Semaphore,
    time::timeout,
};
use tracing::{debug, warn};

use crate::{
    gate::Gate,
    intake::Answer,
    places::{CONNECTIONS, Held, PIECE, Place, Places},
    settings::Protocol,
};

/// Longest command, in bytes (RFC 5321 §4.5.3.1.4 wants 512, extensions more).
const LONGEST_LINE: usize = 2_048;

/// Commands of a connection.
const COMMANDS: usize = 1_000;

/// Nothing comes for so long: the connection ends.
const SILENCE: Duration = Duration::from_secs(120);

/// Of a mail that is too large so much is read, in bytes, for its sender to hear that it is.
const MOST_UNREAD: usize = 1 << 30;

/// A mail comes for so long at most.
const WHOLE: Duration = Duration::from_secs(600);

/// A connection lasts for so long at most.
const LONGEST: Duration = Duration::from_secs(1_800);

/// A pause after the listener failed, for want of file descriptors most likely.
const PAUSE: Duration = Duration::from_millis(200);

/// Takes connections until the program ends.
pub(crate) async fn run(gate: Arc<Gate>, listener: TcpListener) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    let places = Places::new(gate.settings().largest_bytes());
    loop {
        let Ok(permit) = room.clone().acquire_owned().await else { return };
        let (mut stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                warn!(%error, "no connection could be taken");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let (own, place) = (gate.clone(), places.take(peer.ip()));
        gate.host.spawn(async move {
            let Some(place) = place else {
                if let Err(error) = say(&mut stream, "421 4.7.0 too many connections from there").await {
                    debug!(%error, "a connection too many ended");
                }
                return;
            };
            let (reads, writes) = stream.into_split();
            let talk = timeout(LONGEST, talk(&own, &place, BufReader::new(reads), writes));
            if let Ok(Err(error)) = talk.await {
                debug!(%error, "a connection of the mail server ended");
            }
            drop(permit);
        });
    }
}

/// One connection.
async fn talk(
    gate: &Gate,
    place: &Place,
    mut reads: impl AsyncBufRead + Unpin,
    mut writes: impl AsyncWrite + Unpin,
) -> io::Result<()> {
    let settings = gate.settings();
    let is_lmtp = settings.protocol == Protocol::Lmtp;
    let name = if is_lmtp { "LMTP" } else { "ESMTP" };
    say(&mut writes, &format!("220 {} {name}", settings.domain)).await?;
    let mut greeted = false;
    let mut sender: Option<String> = None;
    let mut recipient: Option<String> = None;
    for _ in 0..COMMANDS {
        let Some(line) = command(&mut reads).await? else {
            return say(&mut writes, "500 5.5.2 line too long").await;
        };
        let (verb, rest) = line.split_once(' ').unwrap_or((&line, ""));
        match &*verb.to_ascii_uppercase() {
            verb @ ("LHLO" | "EHLO" | "HELO") => {
                if (verb == "LHLO") != is_lmtp {
                    say(&mut writes, "500 5.5.1 the other protocol is spoken here").await?;
                    continue;
                }
                (greeted, sender, recipient) = (true, None, None);
                let answer = match verb {
                    "HELO" => format!("250 {}", settings.domain),
                    _ => format!(
                        "250-{}\r\n250-SIZE {}\r\n250-8BITMIME\r\n250-ENHANCEDSTATUSCODES\r\n250 PIPELINING",
                        settings.domain,
                        settings.largest_bytes()
                    ),
                };
                say(&mut writes, &answer).await?;
            }
            "MAIL" if greeted && sender.is_none() => {
                let answer = match path(rest, "FROM:") {
                    Some((_, options)) if announced(options) > settings.largest_bytes() => {
                        "552 5.3.4 too large".to_owned()
                    }
                    Some((from, _)) => {
                        sender = Some(from.to_owned());
                        "250 2.1.0 ok".to_owned()
                    }
                    None => "501 5.5.4 MAIL FROM:<address>".to_owned(),
                };
                say(&mut writes, &answer).await?;
            }
            "RCPT" if sender.is_some() => {
                let answer = match path(rest, "TO:") {
                    // RFC 5321 §4.5.3.1.10: the others come in further transactions.
                    _ if recipient.is_some() => "452 4.5.3 one recipient at a time".to_owned(),
                    Some((to, _)) => {
                        let answer = gate.knows(to).await;
                        recipient = (answer == Answer::Taken).then(|| to.to_ascii_lowercase());
                        answer.line()
                    }
                    None => "501 5.1.3 RCPT TO:<address>".to_owned(),
                };
                say(&mut writes, &answer).await?;
            }
            "DATA" if recipient.is_some() => {
                say(&mut writes, "354 end with a dot").await?;
                let mut held = Held::default();
                let read = timeout(WHOLE, mail(&mut reads, settings.largest_bytes(), place, &mut held));
                let raw = match read.await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?? {
                    Ok(raw) => raw,
                    Err(Wrong::TooLarge) => {
                        (sender, recipient) = (None, None);
                        say(&mut writes, "552 5.3.4 too large").await?;
                        continue;
                    }
                    Err(Wrong::Crowded) => {
                        return say(&mut writes, "421 4.3.1 too much comes at once").await;
                    }
                    Err(Wrong::BareLine) => {
                        // What follows may be read in two ways: nothing more of this connection is.
                        return say(&mut writes, "550 5.6.11 a line ends without CR LF").await;
                    }
                };
                let answer = match (sender.take(), recipient.take()) {
                    (Some(from), Some(to)) => gate.take(&from, &to, raw).await,
                    _ => Answer::Later("4.3.0 once more"),
                };
                say(&mut writes, &answer.line()).await?;
            }
            "RSET" => {
                (sender, recipient) = (None, None);
                say(&mut writes, "250 2.0.0 ok").await?;
            }
            "NOOP" => say(&mut writes, "250 2.0.0 ok").await?,
            "QUIT" => return say(&mut writes, "221 2.0.0 bye").await,
            "MAIL" | "RCPT" | "DATA" => say(&mut writes, "503 5.5.1 not now").await?,
            _ => say(&mut writes, "502 5.5.1 not known").await?,
        }
    }
    say(&mut writes, "421 4.7.0 that was much for one connection").await
}

async fn say(writes: &mut (impl AsyncWrite + Unpin), line: &str) -> io::Result<()> {
    let line = format!("{line}\r\n");
    timeout(SILENCE, writes.write_all(line.as_bytes()))
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// A command's line; none if it is too long or no text.
async fn command(reads: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Option<String>> {
    let mut line = Vec::new();
    let longest = u64::try_from(LONGEST_LINE).unwrap_or(u64::MAX);
    let mut bounded = reads.take(longest);
    let read = bounded.read_until(b'\n', &mut line);
    timeout(SILENCE, read).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
    if line.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(line.strip_suffix(b"\r\n").and_then(|line| String::from_utf8(line.to_vec()).ok()))
}

/// Why a mail is not taken.
#[derive(Debug, PartialEq, Eq)]
enum Wrong {
    /// It was read to its end all the same.
    TooLarge,
    BareLine,
    /// There is no memory for it now.
    Crowded,
}

/// A mail until its dot, without the dots that were put in (RFC 5321 §4.5.2).
async fn mail(
    reads: &mut (impl AsyncBufRead + Unpin),
    largest: usize,
    place: &Place,
    held: &mut Held,
) -> io::Result<Result<Vec<u8>, Wrong>> {
    let mut all = Vec::new();
    let mut begin = 0;
    loop {
        if !place.grow(held, all.len() + PIECE).await {
            return Ok(Err(Wrong::Crowded));
        }
        // A long line comes in pieces.
        let left = largest.saturating_sub(all.len()).saturating_add(3).min(PIECE);
        let left = u64::try_from(left).unwrap_or(u64::MAX);
        let mut part = (&mut *reads).take(left);
        let read = timeout(SILENCE, part.read_until(b'\n', &mut all));
        if read.await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let line = all.get(begin..).unwrap_or_default();
        if line == b".\r\n" {
            all.truncate(begin);
            return Ok(Ok(all));
        }
        let is_ended = line.ends_with(b"\n");
        if is_ended && !line.ends_with(b"\r\n") {
            return Ok(Err(Wrong::BareLine));
        }
        if all.len() > largest {
            let mut end = End::default();
            line.iter().for_each(|byte| end.pass(*byte));
            // It has no memory of ours from here on.
            drop(all);
            *held = Held::default();
            return pass_over(reads, end).await.map(|()| Err(Wrong::TooLarge));
        }
        if is_ended {
            if line.starts_with(b".") {
                all.remove(begin);
            }
            begin = all.len();
        }
    }
}

/// Reads what is left of a mail until its dot.
async fn pass_over(reads: &mut (impl AsyncBufRead + Unpin), mut end: End) -> io::Result<()> {
    let mut passed = 0;
    while passed <= MOST_UNREAD {
        let read = timeout(SILENCE, reads.fill_buf());
        let part = read.await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
        if part.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut used = 0;
        for byte in part {
            end.pass(*byte);
            used += 1;
            if end == End::Over {
                break;
            }
        }
        reads.consume(used);
        passed += used;
        if end == End::Over {
            return Ok(());
        }
    }
    Err(io::ErrorKind::InvalidData.into())
}

/// How much of a mail's end was just read: CR LF, a dot, CR LF.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum End {
    Within,
    Cr,
    #[default]
    Line,
    Dot,
    DotCr,
    Over,
}

impl End {
    fn pass(&mut self, byte: u8) {
        *self = match (*self, byte) {
            (Self::Over, _) | (Self::DotCr, b'\n') => Self::Over,
            (Self::Cr, b'\n') => Self::Line,
            (Self::Line, b'.') => Self::Dot,
            (Self::Dot, b'\r') => Self::DotCr,
            (_, b'\r') => Self::Cr,
            _ => Self::Within,
        };
    }
}

/// The address of `MAIL` or `RCPT`, and what stands behind it.
fn path<'a>(rest: &'a str, word: &str) -> Option<(&'a str, &'a str)> {
    let rest = rest.trim_start();
    let (head, rest) = (rest.get(..word.len())?, rest.get(word.len()..)?);
    let inside = rest.trim_start().strip_prefix('<')?;
    head.eq_ignore_ascii_case(word).then(|| inside.split_once('>'))?
}

/// The size that `MAIL` announces (RFC 1870); 0 if it does not.
fn announced(options: &str) -> usize {
    let sizes = options.split_whitespace().filter_map(|option| option.split_once('='));
    let size = sizes.into_iter().find(|(name, _)| name.eq_ignore_ascii_case("SIZE"));
    size.map_or(0, |(_, size)| size.parse().unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read_on(text: &mut &[u8], largest: usize) -> io::Result<Result<Vec<u8>, Wrong>> {
        let place = Places::new(largest).take([127, 0, 0, 1].into()).expect("a place");
        mail(text, largest, &place, &mut Held::default()).await
    }

    async fn read(text: &str, largest: usize) -> Result<String, Wrong> {
        let raw = read_on(&mut text.as_bytes(), largest).await.expect("read");
        raw.map(|raw| String::from_utf8(raw).expect("text"))
    }

    #[tokio::test]
    async fn only_cr_lf_ends_a_line_and_a_mail() {
        assert_eq!(read("a\r\n..b\r\n.\r\nQUIT", 99).await.as_deref(), Ok("a\r\n.b\r\n"));
        assert_eq!(read("a\n.\nMAIL", 99).await, Err(Wrong::BareLine));
        assert_eq!(read("a\r\n.\n", 99).await, Err(Wrong::BareLine));
        assert_eq!(read("aaaaaaaa\r\n.\r\n", 5).await, Err(Wrong::TooLarge));
        assert_eq!(read("aaaa\r\n.\r\n", 6).await.as_deref(), Ok("aaaa\r\n"));
        read_on(&mut &b"a\r\n"[..], 99).await.expect_err("cut off");
    }

    #[tokio::test]
    async fn a_mail_that_is_too_large_is_read_to_its_end_and_no_further() {
        for text in [
            "aaaaaaaaaaaa\r\n.\r\nQUIT",
            "a\r\n.aaaaaa\r\n.\r\nQUIT",
            "aaaaaaaa\r\n..\r\n.\ra\r\n\r\n.\n.\r\na\r.\r\n\r\r\n.\r\nQUIT",
            "aa\r\naaa\r\n.\r\nQUIT",
        ] {
            let mut left = text.as_bytes();
            assert_eq!(read_on(&mut left, 5).await.expect("read"), Err(Wrong::TooLarge), "{text:?}");
            assert_eq!(left, b"QUIT", "{text:?}");
        }
        // A line longer than what is read at a time.
        let long = format!("{}\r\n..a\r\n.\r\n", "x".repeat(3 * PIECE));
        let whole = read(&long, 4 * PIECE).await.expect("a mail");
        assert_eq!(whole, format!("{}\r\n.a\r\n", "x".repeat(3 * PIECE)));
        read_on(&mut &b"aaaaaaaaaaaa\r\n."[..], 5).await.expect_err("cut off");
    }

    #[test]
    fn paths_are_read_and_nothing_that_only_looks_like_one() {
        assert_eq!(path("FROM:<a@b.jp> SIZE=5", "FROM:"), Some(("a@b.jp", " SIZE=5")));
        assert_eq!(path("from: <>", "FROM:"), Some(("", "")));
        assert_eq!(path("FROM:a@b.jp", "FROM:"), None);
        assert_eq!(path("日本", "FROM:"), None);
        assert_eq!((announced(" BODY=8BITMIME size=7"), announced(" SIZE=x")), (7, usize::MAX));
    }
}
