//! ICAP: the file is shown as the body of an answer (`RESPMOD`), first its begin if the server wants a preview.
//!
//! Protocol: RFC 3507; `X-Infection-Found` and its relatives by draft-stecher-icap-subid.

use std::{io, time::Duration};

use async_trait::async_trait;
use tokio::{
    io::{AsyncBufRead, AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader},
    net::TcpStream,
    time::timeout,
};

use super::{PART, Scan, Scanner};

/// A server that speaks ICAP.
#[derive(Debug, Clone)]
pub struct Icap {
    /// Host and port.
    pub address: String,
    /// The service's path, `avscan` for instance.
    pub service: String,
    /// Longest time for one file.
    pub time: Duration,
    /// Largest file that is taken in another's place, in bytes.
    pub most_bytes: u64,
}

/// Longest head of an answer, and largest preview, in bytes.
const LONGEST_HEAD: u64 = 64 << 10;

/// Headers that name what was found.
const FOUND: &[&str] = &["x-infection-found", "x-virus-id", "x-violations-found"];

#[async_trait]
impl Scanner for Icap {
    async fn scan(&self, input: &mut (dyn AsyncRead + Unpin + Send)) -> Scan {
        match timeout(self.time, self.exchange(input)).await {
            Ok(Ok(scan)) => scan,
            Ok(Err(error)) => Scan::NotScanned(format!("the ICAP server broke off: {error}")),
            Err(_) => Scan::NotScanned("the ICAP server took too long".to_owned()),
        }
    }
}

impl Icap {
    async fn exchange(&self, input: &mut (dyn AsyncRead + Unpin + Send)) -> io::Result<Scan> {
        let stream = TcpStream::connect(&self.address).await?;
        let (reader, mut writer) = stream.into_split();
        let mut reader = BufReader::new(reader);
        let uri = format!("icap://{}/{}", self.address, self.service);

        let ask =
            format!("OPTIONS {uri} ICAP/1.0\r\nHost: {}\r\nEncapsulated: null-body=0\r\n\r\n", self.address);
        writer.write_all(ask.as_bytes()).await?;
        let options = Head::read(&mut reader).await?;
        if options.status != 200 {
            return Ok(Scan::NotScanned(format!("OPTIONS was answered {}", options.status)));
        }
        let preview = options.find("preview").and_then(|length| length.parse::<u64>().ok());

        // The begin of the file, and whether that is all: known only when one byte more was asked for.
        let wanted = preview.map(|length| length.min(LONGEST_HEAD));
        let mut begin = Vec::new();
        (&mut *input).take(wanted.unwrap_or(0).saturating_add(1)).read_to_end(&mut begin).await?;
        let beyond = wanted.and_then(|wanted| usize::try_from(wanted).ok()).unwrap_or(0).min(begin.len());
        let rest = begin.split_off(beyond);

        let request = format!("GET http://{}/file HTTP/1.1\r\nHost: {}\r\n\r\n", self.address, self.address);
        let answer = "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\n\r\n";
        let is_empty = begin.is_empty() && rest.is_empty();
        let body = if is_empty { "null-body" } else { "res-body" };
        let wants =
            wanted.filter(|_| !is_empty).map(|wanted| format!("Preview: {wanted}\r\n")).unwrap_or_default();
        let head = format!(
            "RESPMOD {uri} ICAP/1.0\r\nHost: {}\r\nAllow: 204\r\n{wants}Encapsulated: req-hdr=0, res-hdr={}, \
             {body}={}\r\n\r\n{request}{answer}",
            self.address,
            request.len(),
            request.len() + answer.len(),
        );
        writer.write_all(head.as_bytes()).await?;
        if wanted.is_some() && !is_empty {
            chunk(&mut writer, &begin).await?;
            let end: &[u8] = if rest.is_empty() { b"0; ieof\r\n\r\n" } else { b"0\r\n\r\n" };
            writer.write_all(end).await?;
            let said = Head::read(&mut reader).await?;
            if said.status != 100 || rest.is_empty() {
                return self.understand(said, &mut reader).await;
            }
        }
        if is_empty {
            let said = Head::read(&mut reader).await?;
            return self.understand(said, &mut reader).await;
        }
        // A server may answer while it still reads: who only sent would wait for one that only sends.
        let send = async {
            chunk(&mut writer, &rest).await?;
            let mut part = vec![0; PART];
            loop {
                let count = input.read(&mut part).await?;
                if count == 0 {
                    return writer.write_all(b"0\r\n\r\n").await;
                }
                chunk(&mut writer, &part[..count]).await?;
            }
        };
        let hear = async {
            let said = Head::read(&mut reader).await?;
            self.understand(said, &mut reader).await
        };
        let (sent, heard) = tokio::join!(send, hear);
        match heard? {
            // Clean is only what was seen whole.
            Scan::Clean => sent.map(|()| Scan::Clean),
            other => Ok(other),
        }
    }

    async fn understand(&self, said: Head, reader: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Scan> {
        if let Some(found) = FOUND.iter().find_map(|name| said.find(name)) {
            return Ok(Scan::Infected(found.to_owned()));
        }
        match said.status {
            204 => return Ok(Scan::Clean),
            200 => {}
            403 => return Ok(Scan::Infected("refused by the ICAP server".to_owned())),
            status => return Ok(Scan::NotScanned(format!("the ICAP server answered {status}"))),
        }
        let parts = said.find("encapsulated").unwrap_or_default().to_owned();
        if !parts.contains("res-body") {
            return Ok(Scan::NotScanned("the ICAP server gave no body".to_owned()));
        }
        let answer = Head::read(reader).await?;
        if answer.status != 200 {
            return Ok(Scan::Infected(format!("refused with {}", answer.status)));
        }
        Ok(Scan::Replaced(unchunk(reader, self.most_bytes).await?))
    }
}

async fn chunk(writer: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> io::Result<()> {
    if bytes.is_empty() {
        return Ok(());
    }
    writer.write_all(format!("{:x}\r\n", bytes.len()).as_bytes()).await?;
    writer.write_all(bytes).await?;
    writer.write_all(b"\r\n").await
}

async fn unchunk(reader: &mut (impl AsyncBufRead + Unpin), most: u64) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line = line(reader).await?;
        let length = line.split(';').next().unwrap_or("").trim();
        let length = u64::from_str_radix(length, 16).map_err(io::Error::other)?;
        if length == 0 {
            return Ok(body);
        }
        if (body.len() as u64).saturating_add(length) > most {
            return Err(io::Error::other("the new file is too large"));
        }
        let before = body.len() as u64;
        (&mut *reader).take(length).read_to_end(&mut body).await?;
        if body.len() as u64 != before + length || !self::line(reader).await?.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// A line without its end; one that is cut off is an error.
async fn line(reader: &mut (impl AsyncBufRead + Unpin)) -> io::Result<String> {
    let mut line = String::new();
    (&mut *reader).take(LONGEST_HEAD).read_line(&mut line).await?;
    match line.strip_suffix('\n') {
        Some(line) => Ok(line.trim_end_matches('\r').to_owned()),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// A status line and headers, of ICAP or of the HTTP in it.
struct Head {
    status: u16,
    headers: Vec<(String, String)>,
}

impl Head {
    async fn read(reader: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Self> {
        let first = line(reader).await?;
        let status = first.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.ok_or_else(|| io::Error::other("no status"))?;
        let (mut headers, mut length) = (Vec::new(), 0);
        loop {
            let line = line(reader).await?;
            length += line.len() as u64;
            if line.is_empty() {
                return Ok(Self { status, headers });
            }
            if length > LONGEST_HEAD {
                return Err(io::Error::other("a head too long"));
            }
            if let Some((name, value)) = line.split_once(':') {
                headers.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
            }
        }
    }

    fn find(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use tokio::net::TcpListener;

    use super::*;

    /// A stand-in with a preview of 8 bytes, that says `first` after it and, if that is 100, `last` at the end; what it saw.
    async fn stand_in(listener: TcpListener, first: &str, last: &str) -> Vec<u8> {
        let (stream, _) = listener.accept().await.unwrap();
        let (reader, mut writer) = stream.into_split();
        let mut reader = BufReader::new(reader);
        assert!(line(&mut reader).await.unwrap().starts_with("OPTIONS icap://"));
        while !line(&mut reader).await.unwrap().is_empty() {}
        writer.write_all(b"ICAP/1.0 200 OK\r\nMethods: RESPMOD\r\nPreview: 8\r\n\r\n").await.unwrap();
        assert!(line(&mut reader).await.unwrap().starts_with("RESPMOD icap://"));
        let mut headers = Vec::new();
        loop {
            match line(&mut reader).await.unwrap() {
                line if line.is_empty() => break,
                line => headers.push(line),
            }
        }
        let parts = headers.iter().find_map(|line| line.strip_prefix("Encapsulated: ")).unwrap();
        let offsets: Vec<(&str, usize)> = parts
            .split(", ")
            .map(|part| part.split_once('=').unwrap())
            .map(|(name, at)| (name, at.parse().unwrap()))
            .collect();
        // What is told to lie where does lie there (4.4.1).
        let mut encapsulated = vec![0; offsets[2].1];
        reader.read_exact(&mut encapsulated).await.unwrap();
        assert!(
            encapsulated[..offsets[1].1].starts_with(b"GET ")
                && encapsulated[..offsets[1].1].ends_with(b"\r\n\r\n")
        );
        assert!(
            encapsulated[offsets[1].1..].starts_with(b"HTTP/1.1 200") && encapsulated.ends_with(b"\r\n\r\n")
        );
        let mut seen = Vec::new();
        if offsets[2].0 == "res-body" {
            let is_all = chunks(&mut reader, &mut seen).await;
            assert!(seen.len() <= 8);
            writer.write_all(first.as_bytes()).await.unwrap();
            if first.contains("100 Continue") {
                assert!(!is_all, "asked to go on though that was all");
                chunks(&mut reader, &mut seen).await;
                writer.write_all(last.as_bytes()).await.unwrap();
            }
        } else {
            writer.write_all(first.as_bytes()).await.unwrap();
        }
        seen
    }

    /// Reads chunks to their end; whether it says that this is the whole body.
    async fn chunks(reader: &mut (impl AsyncBufRead + Unpin), seen: &mut Vec<u8>) -> bool {
        loop {
            let head = line(reader).await.unwrap();
            let length = usize::from_str_radix(head.split(';').next().unwrap(), 16).unwrap();
            let mut part = vec![0; length];
            reader.read_exact(&mut part).await.unwrap();
            assert!(line(reader).await.unwrap().is_empty());
            if length == 0 {
                return head.ends_with("; ieof");
            }
            seen.extend(part);
        }
    }

    async fn ask(file: &[u8], first: &str, last: &str) -> (Vec<u8>, Scan) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let icap =
            Icap { address, service: "avscan".to_owned(), time: Duration::from_secs(20), most_bytes: 1000 };
        let mut input = file;
        tokio::join!(stand_in(listener, first, last), icap.scan(&mut input))
    }

    const GO_ON: &str = "ICAP/1.0 100 Continue\r\n\r\n";
    const CLEAN: &str = "ICAP/1.0 204 No Content\r\n\r\n";
    const LONG: &[u8] = b"a file that is longer than a preview";

    #[tokio::test]
    async fn the_preview_is_obeyed() {
        assert_eq!(ask(LONG, GO_ON, CLEAN).await, (LONG.to_vec(), Scan::Clean));
        assert_eq!(ask(LONG, CLEAN, "").await, (LONG[..8].to_vec(), Scan::Clean), "judged by its begin");
        for whole in [&b"short"[..], b"8 bytes!"] {
            assert_eq!(ask(whole, CLEAN, "").await, (whole.to_vec(), Scan::Clean));
        }
        assert_eq!(ask(b"", CLEAN, "").await, (Vec::new(), Scan::Clean));
    }

    #[tokio::test]
    async fn each_answer_is_taken_for_what_it_says() {
        let changed = "ICAP/1.0 200 OK\r\nEncapsulated: res-hdr=0, res-body=19\r\n\r\nHTTP/1.1 200 OK\r\n\r\n3\r\nnew\r\n0\r\n\r\n";
        assert_eq!(ask(LONG, GO_ON, changed).await.1, Scan::Replaced(b"new".to_vec()));
        let page = changed.replace("HTTP/1.1 200 OK", "HTTP/1.1 403 No");
        let infected = [
            page.as_str(),
            "ICAP/1.0 403 Forbidden\r\n\r\n",
            "ICAP/1.0 201 Created\r\nX-Infection-Found: Type=0; Resolution=2; Threat=Eicar;\r\n\r\n",
        ];
        for answer in infected {
            assert!(matches!(ask(LONG, GO_ON, answer).await.1, Scan::Infected(_)), "{answer}");
        }
        let large = changed.replace("3\r\nnew", "fffffff\r\nnew");
        let nothing = [
            "",
            "ICAP/1.0 200 OK\r\n",
            "ICAP/1.0 500 Error\r\n\r\n",
            "ICAP/1.0 200 OK\r\nEncapsulated: null-body=0\r\n\r\n",
            &changed[..changed.len() - 9],
            &large,
            "nonsense\r\n\r\n",
        ];
        for answer in nothing {
            assert!(matches!(ask(LONG, GO_ON, answer).await.1, Scan::NotScanned(_)), "{answer}");
        }
    }

    /// One that says these two, the second after what the first asks for, and takes down what comes until nobody says more.
    async fn witness(listener: TcpListener, options: &str, first: &str, last: &str) -> Vec<u8> {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut heard = Vec::new();
        let ends: [(&[u8], &str); 3] = [(b"\r\n\r\n", options), (b"\r\n\r\n", first), (b"0\r\n\r\n", last)];
        for (at, (end, answer)) in ends.into_iter().enumerate() {
            // The head of the second has three empty lines, and then a body if it has one.
            let begin = heard.len();
            loop {
                let new = &heard[begin..];
                let heads = memchr::memmem::find_iter(new, b"\r\n\r\n").count();
                let has_body = memchr::memmem::find(new, b"null-body").is_none();
                let is_end = match at {
                    1 if has_body => heads >= 4,
                    1 => heads >= 3,
                    _ => new.ends_with(end),
                };
                if is_end {
                    break;
                }
                if stream.read_buf(&mut heard).await.unwrap() == 0 {
                    return heard;
                }
            }
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
        stream.read_to_end(&mut heard).await.unwrap();
        heard
    }

    async fn witnessed(options: &str, file: &[u8], first: &str, last: &str) -> (String, Scan) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let time = Duration::from_secs(20);
        let (service, most_bytes) = ("a/longer/path?of=the-service".to_owned(), 1000);
        let icap = Icap { address, service, time, most_bytes };
        let mut input = file;
        let (heard, scan) = tokio::join!(witness(listener, options, first, last), icap.scan(&mut input));
        (String::from_utf8(heard).unwrap(), scan)
    }

    /// The second request's head and what it encapsulates, by its own word, and the bytes of the body as they are sent.
    fn request(heard: &str) -> (&str, Vec<(&str, &str)>, &str) {
        let (_, request) = heard.split_once("\r\n\r\n").unwrap();
        let (head, rest) = request.split_once("\r\n\r\n").unwrap();
        let told = head.lines().find_map(|line| line.strip_prefix("Encapsulated: ")).unwrap();
        let places: Vec<(&str, usize)> = told
            .split(", ")
            .map(|part| part.split_once('=').unwrap())
            .map(|(name, at)| (name, at.parse().unwrap()))
            .collect();
        let parts = places.windows(2).map(|two| (two[0].0, &rest[two[0].1..two[1].1])).collect();
        let (body, begin) = *places.last().unwrap();
        assert_eq!(body == "null-body", rest.len() == begin, "{heard}");
        (head, parts, &rest[begin..])
    }

    const OPTIONS: &str = "ICAP/1.0 200 OK\r\nMethods: RESPMOD\r\nPreview: 8\r\n\r\n";

    #[tokio::test]
    async fn offsets_are_those_of_the_bytes_that_are_sent() {
        for (file, first, last) in [(LONG, GO_ON, CLEAN), (b"short", CLEAN, ""), (b"", CLEAN, "")] {
            let (heard, scan) = witnessed(OPTIONS, file, first, last).await;
            assert_eq!(scan, Scan::Clean, "{heard}");
            let (_, parts, _) = request(&heard);
            let [("req-hdr", asked), ("res-hdr", answered)] = parts[..] else { panic!("{heard}") };
            assert!(asked.starts_with("GET http://127.0.0.1:") && asked.ends_with("\r\n\r\n"), "{asked:?}");
            assert_eq!(answered, "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\n\r\n");
            // One empty line in each: nothing of one is in the other.
            assert!([asked, answered].iter().all(|head| head.matches("\r\n\r\n").count() == 1));
        }
    }

    #[tokio::test]
    async fn a_body_that_is_whole_in_its_preview_says_so_and_an_empty_one_that_there_is_none() {
        let none = OPTIONS.replace("Preview: 8\r\n", "");
        let nought = OPTIONS.replace("Preview: 8", "Preview: 0");
        for (options, file, first, wanted) in [
            (OPTIONS, &b"short"[..], CLEAN, "5\r\nshort\r\n0; ieof\r\n\r\n"),
            (OPTIONS, b"8 bytes!", CLEAN, "8\r\n8 bytes!\r\n0; ieof\r\n\r\n"),
            (OPTIONS, b"9 bytes!!", GO_ON, "8\r\n9 bytes!\r\n0\r\n\r\n1\r\n!\r\n0\r\n\r\n"),
            (OPTIONS, b"", CLEAN, ""),
            (&nought, b"", CLEAN, ""),
            (&nought, b"x", GO_ON, "0\r\n\r\n1\r\nx\r\n0\r\n\r\n"),
            (&none, b"", CLEAN, ""),
            (&none, b"x", CLEAN, "1\r\nx\r\n0\r\n\r\n"),
        ] {
            let (heard, scan) = witnessed(options, file, first, CLEAN).await;
            assert_eq!(scan, Scan::Clean, "{heard}");
            let (head, _, body) = request(&heard);
            assert_eq!(body, wanted, "{heard}");
            assert_eq!(head.contains("null-body="), file.is_empty(), "{heard}");
            // Of nothing there is no begin to be shown.
            assert_eq!(
                head.contains("Preview: "),
                !file.is_empty() && options.contains("Preview"),
                "{heard}"
            );
        }
        // One that asks for more of what was all is not waited for.
        let (_, scan) = witnessed(OPTIONS, b"short", GO_ON, "").await;
        assert!(matches!(scan, Scan::NotScanned(_)), "{scan:?}");
    }

    /// One that reads nothing and says these: `part` again and again until nobody takes it, which is when this ends.
    async fn talker(listener: TcpListener, first: &str, part: &[u8]) {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"ICAP/1.0 200 OK\r\nMethods: RESPMOD\r\n\r\n").await.unwrap();
        stream.write_all(first.as_bytes()).await.unwrap();
        while stream.write_all(part).await.is_ok() {
            // One that says nothing more stays until the other goes.
            if part.is_empty() {
                stream.read_to_end(&mut Vec::new()).await.ok();
                return;
            }
        }
    }

    async fn ask_talker(time: Duration, first: &str, part: &[u8]) -> Scan {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let icap = Icap { address, service: "avscan".to_owned(), time, most_bytes: 1000 };
        let scanned = async {
            let mut input = LONG;
            icap.scan(&mut input).await
        };
        tokio::join!(talker(listener, first, part), scanned).1
    }

    const REPLACED: &str =
        "ICAP/1.0 200 OK\r\nEncapsulated: res-hdr=0, res-body=19\r\n\r\nHTTP/1.1 200 OK\r\n\r\n";

    #[tokio::test]
    async fn an_answer_without_an_end_is_given_up_at_its_bound_and_not_when_time_is_over() {
        // What would take too long says so instead.
        let long = Duration::from_secs(20);
        let hundred = [b"64\r\n", &[b'a'; 100][..], b"\r\n"].concat();
        for (first, part, why) in [
            (REPLACED, hundred.as_slice(), "the new file is too large"),
            // In one chunk that is longer than may be, and in one whose length is no length.
            (&format!("{REPLACED}3e9\r\n"), b"a".as_slice(), "the new file is too large"),
            (&format!("{REPLACED}ffffffffffffffff\r\n"), b"a", "the new file is too large"),
            (&format!("{REPLACED}1ffffffffffffffff\r\n"), b"a", "number too large"),
            // What stands around it.
            (&format!("{REPLACED}5;"), b"extension", "unexpected end of file"),
            ("ICAP/1.0 200 OK\r\n", b"X-More: a\r\n", "a head too long"),
            ("ICAP/1.0 200", b" OK", "unexpected end of file"),
        ] {
            match ask_talker(long, first, part).await {
                Scan::NotScanned(said) => assert!(said.contains(why), "{first}: {said}"),
                other => panic!("{first}: {other:?}"),
            }
        }
    }

    #[tokio::test]
    async fn a_new_file_that_does_not_come_to_its_end_in_time_is_none() {
        let short = Duration::from_millis(50);
        for first in [REPLACED, &format!("{REPLACED}3\r\nnew\r\n"), "ICAP/1.0 200 OK\r\n", ""] {
            match ask_talker(short, first, b"").await {
                Scan::NotScanned(said) => assert!(said.contains("took too long"), "{first}: {said}"),
                other => panic!("{first}: {other:?}"),
            }
        }
    }
}
