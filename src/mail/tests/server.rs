//! A small SMTP server that keeps what it is given.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader},
    net::TcpListener,
    sync::mpsc,
    task::JoinHandle,
};
use tokio_rustls::{TlsAcceptor, rustls};

use super::Post;

/// What it says other than that all is well.
#[derive(Clone, Default)]
pub(super) struct Answers {
    /// To each recipient, in order; then it takes them.
    pub(super) recipient: Vec<&'static str>,
    /// To whoever logs in.
    pub(super) login: Option<&'static str>,
}

/// A mail as it came.
#[derive(Debug, Default)]
pub(super) struct Got {
    pub(super) from: String,
    pub(super) to: String,
    pub(super) login: Option<String>,
    pub(super) encrypted: bool,
    lines: Vec<String>,
    /// Lines that end in another way than a mail's have to.
    pub(super) odd: usize,
}

impl Got {
    /// As it came, without the dots that SMTP adds.
    pub(super) fn lines(&self) -> &[String] {
        &self.lines
    }

    /// A header, unfolded.
    pub(super) fn header(&self, name: &str) -> String {
        let mut found = None::<String>;
        for line in self.lines.iter().take_while(|line| !line.is_empty()) {
            match (&mut found, line.split_once(": ")) {
                (Some(value), _) if line.starts_with([' ', '\t']) => value.push_str(line.trim_start()),
                (Some(_), _) => break,
                (None, Some((found_name, value))) if found_name.eq_ignore_ascii_case(name) => {
                    found = Some(value.to_owned());
                }
                _ => {}
            }
        }
        found.unwrap_or_default()
    }

    /// What it says, with its encoding undone.
    pub(super) fn text(&self) -> String {
        let body: Vec<&str> =
            self.lines.iter().skip_while(|line| !line.is_empty()).skip(1).map(String::as_str).collect();
        let bytes = match self.header("Content-Transfer-Encoding").as_str() {
            "base64" => from_base64(&body.concat()),
            "quoted-printable" => from_quoted_printable(&body),
            _ => body.join("\n").into_bytes(),
        };
        String::from_utf8(bytes).unwrap().replace("\r\n", "\n")
    }
}

fn from_base64(text: &str) -> Vec<u8> {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut bytes = Vec::new();
    let (mut gathered, mut bits) = (0_u32, 0);
    for letter in text.bytes().filter(|letter| *letter != b'=') {
        let value = LETTERS.iter().position(|known| *known == letter).unwrap();
        gathered = gathered << 6 | u32::try_from(value).unwrap();
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push(u8::try_from(gathered >> bits & 0xFF).unwrap());
        }
    }
    bytes
}

fn from_quoted_printable(lines: &[&str]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for line in lines {
        let (line, goes_on) = line.strip_suffix('=').map_or((*line, false), |line| (line, true));
        let mut rest = line.as_bytes();
        while let Some((first, after)) = rest.split_first() {
            if *first == b'=' {
                bytes.push(u8::from_str_radix(std::str::from_utf8(&after[..2]).unwrap(), 16).unwrap());
                rest = &after[2..];
            } else {
                bytes.push(*first);
                rest = after;
            }
        }
        if !goes_on {
            bytes.push(b'\n');
        }
    }
    bytes
}

struct Shared {
    answers: Answers,
    asked: AtomicUsize,
    taken: AtomicUsize,
    send: mpsc::UnboundedSender<Got>,
}

pub(super) struct SmtpSink {
    port: u16,
    ca: Option<Vec<u8>>,
    shared: Arc<Shared>,
    got: Mutex<mpsc::UnboundedReceiver<Got>>,
    listening: JoinHandle<()>,
}

impl SmtpSink {
    pub(super) async fn plain(answers: Answers) -> SmtpSink {
        SmtpSink::start(answers, None, false).await
    }

    /// One that speaks TLS, from the beginning or once it is asked to.
    pub(super) async fn tls(answers: Answers, starts_plain: bool) -> SmtpSink {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate =
            rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
        let pem = certificate.pem().into_bytes();
        let key = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        let tls = (TlsAcceptor::from(Arc::new(config)), pem);
        SmtpSink::start(answers, Some(tls), starts_plain).await
    }

    async fn start(answers: Answers, tls: Option<(TlsAcceptor, Vec<u8>)>, starts_plain: bool) -> SmtpSink {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (send, got) = mpsc::unbounded_channel();
        let shared =
            Arc::new(Shared { answers, asked: AtomicUsize::new(0), taken: AtomicUsize::new(0), send });
        let (acceptor, ca) = tls.map_or((None, None), |(acceptor, ca)| (Some(acceptor), Some(ca)));
        let for_all = shared.clone();
        let listening = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (shared, acceptor) = (for_all.clone(), acceptor.clone());
                tokio::spawn(async move {
                    let _ended = match (acceptor, starts_plain) {
                        (None, _) => talk(BufReader::new(socket), &shared, false, false).await.map(drop),
                        (Some(tls), false) => match tls.accept(socket).await {
                            Ok(socket) => talk(BufReader::new(socket), &shared, true, false).await.map(drop),
                            Err(error) => Err(error),
                        },
                        (Some(tls), true) => match talk(BufReader::new(socket), &shared, false, true).await {
                            Ok(Some(socket)) => match tls.accept(socket).await {
                                Ok(socket) => resume(BufReader::new(socket), &shared).await,
                                Err(error) => Err(error),
                            },
                            done => done.map(drop),
                        },
                    };
                });
            }
        });
        SmtpSink { port, ca, shared, got: Mutex::new(got), listening }
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn ca(&self) -> Option<&[u8]> {
        self.ca.as_deref()
    }

    /// How many recipients were named.
    pub(super) fn asked(&self) -> usize {
        self.shared.asked.load(Ordering::SeqCst)
    }

    /// How many mails it took.
    pub(super) fn taken(&self) -> usize {
        self.shared.taken.load(Ordering::SeqCst)
    }

    /// The next mail that it has taken, or takes.
    #[expect(clippy::await_holding_lock, reason = "each sink has one reader")]
    pub(super) async fn next(&self) -> Got {
        tokio::time::timeout(Duration::from_secs(60), self.got.lock().recv()).await.unwrap().unwrap()
    }

    /// Waits until it is noted that all was sent.
    pub(super) async fn settled(&self, post: &Post) {
        while post.waiting().await > 0 {
            tokio::task::yield_now().await;
        }
    }

    /// Listens no more.
    pub(super) async fn go_away(&self) {
        self.listening.abort();
        while !self.listening.is_finished() {
            tokio::task::yield_now().await;
        }
    }
}

/// A conversation; answers with the socket where the client wants to go on over TLS.
async fn talk<S: AsyncRead + AsyncWrite + Unpin>(
    mut socket: BufReader<S>,
    shared: &Shared,
    encrypted: bool,
    offers_tls: bool,
) -> std::io::Result<Option<S>> {
    say(&mut socket, "220 sink.example.jp ESMTP").await?;
    hear(socket, shared, encrypted, offers_tls).await
}

async fn resume<S: AsyncRead + AsyncWrite + Unpin>(
    socket: BufReader<S>,
    shared: &Shared,
) -> std::io::Result<()> {
    hear(socket, shared, true, false).await.map(drop)
}

async fn hear<S: AsyncRead + AsyncWrite + Unpin>(
    mut socket: BufReader<S>,
    shared: &Shared,
    encrypted: bool,
    offers_tls: bool,
) -> std::io::Result<Option<S>> {
    let mut got = Got { encrypted, ..Got::default() };
    loop {
        let Some(line) = read(&mut socket).await? else { return Ok(None) };
        let verb = line.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
        match verb.as_str() {
            "EHLO" => {
                say(&mut socket, "250-sink.example.jp").await?;
                if offers_tls {
                    say(&mut socket, "250-STARTTLS").await?;
                }
                say(&mut socket, "250-8BITMIME").await?;
                say(&mut socket, "250 AUTH PLAIN").await?;
            }
            "STARTTLS" if offers_tls => {
                say(&mut socket, "220 go on").await?;
                return Ok(Some(socket.into_inner()));
            }
            "AUTH" => {
                let shown = line.rsplit(' ').next().unwrap_or_default();
                got.login = Some(String::from_utf8(from_base64(shown)).unwrap());
                say(&mut socket, shared.answers.login.unwrap_or("235 welcome")).await?;
            }
            "MAIL" => {
                got.from = between(&line);
                say(&mut socket, "250 ok").await?;
            }
            "RCPT" => {
                got.to = between(&line);
                let asked = shared.asked.fetch_add(1, Ordering::SeqCst);
                say(&mut socket, shared.answers.recipient.get(asked).copied().unwrap_or("250 ok")).await?;
            }
            "DATA" => {
                say(&mut socket, "354 go on").await?;
                loop {
                    let mut line = String::new();
                    if socket.read_line(&mut line).await? == 0 {
                        return Ok(None);
                    }
                    let is_odd = line.strip_suffix("\r\n").is_none_or(|line| line.contains('\r'));
                    let line = line.trim_end_matches(['\r', '\n']).to_owned();
                    if line == "." {
                        break;
                    }
                    got.odd += usize::from(is_odd);
                    got.lines.push(line.strip_prefix('.').map(str::to_owned).unwrap_or(line));
                }
                shared.taken.fetch_add(1, Ordering::SeqCst);
                let login = got.login.clone();
                shared
                    .send
                    .send(std::mem::replace(&mut got, Got { encrypted, login, ..Got::default() }))
                    .ok();
                say(&mut socket, "250 taken").await?;
            }
            "QUIT" => {
                say(&mut socket, "221 bye").await?;
                return Ok(None);
            }
            _ => say(&mut socket, "250 ok").await?,
        }
    }
}

fn between(line: &str) -> String {
    line.split_once('<')
        .and_then(|(_, rest)| rest.split_once('>'))
        .map_or("", |(inside, _)| inside)
        .to_owned()
}

async fn read<S: AsyncRead + AsyncWrite + Unpin>(
    socket: &mut BufReader<S>,
) -> std::io::Result<Option<String>> {
    let mut line = String::new();
    match socket.read_line(&mut line).await? {
        0 => Ok(None),
        _ => Ok(Some(line.trim_end_matches(['\r', '\n']).to_owned())),
    }
}

async fn say<S: AsyncRead + AsyncWrite + Unpin>(
    socket: &mut BufReader<S>,
    line: &str,
) -> std::io::Result<()> {
    socket.write_all(format!("{line}\r\n").as_bytes()).await?;
    socket.flush().await
}
