//! A mail server that takes what the bot sends, or does not.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use mail_parser::MessageParser;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

/// A mail as it came.
pub(crate) struct Got {
    pub(crate) from: String,
    pub(crate) to: String,
    raw: String,
}

impl Got {
    /// A header, unfolded.
    pub(crate) fn header(&self, name: &str) -> String {
        let message = MessageParser::new().parse(&self.raw).unwrap();
        let value = message.header_raw(name.to_owned()).unwrap_or_default();
        value.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    pub(crate) fn subject(&self) -> String {
        MessageParser::default().parse(&self.raw).unwrap().subject().unwrap().to_owned()
    }

    pub(crate) fn text(&self) -> String {
        MessageParser::default().parse(&self.raw).unwrap().body_text(0).unwrap().replace("\r\n", "\n")
    }

    /// The id, without its brackets.
    pub(crate) fn id(&self) -> String {
        self.header("Message-ID").trim_matches(['<', '>']).to_owned()
    }
}

pub(crate) struct Sink {
    pub(crate) address: SocketAddr,
    /// What it answers to recipients, and to whole mails; all is well where nothing is left.
    pub(crate) to_recipients: Arc<Mutex<VecDeque<&'static str>>>,
    pub(crate) to_mails: Arc<Mutex<VecDeque<&'static str>>>,
    got: mpsc::UnboundedReceiver<Got>,
}

impl Sink {
    pub(crate) async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (send, got) = mpsc::unbounded_channel();
        let sink = Self { address, to_recipients: Arc::default(), to_mails: Arc::default(), got };
        let (recipients, mails) = (sink.to_recipients.clone(), sink.to_mails.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, recipients.clone(), mails.clone(), send.clone()));
            }
        });
        sink
    }

    /// What goes under `[bot]` for it.
    pub(crate) fn settings(&self) -> String {
        let (ip, port) = (self.address.ip(), self.address.port());
        format!("[bot.smtp]\nhost = \"{ip}\"\nport = {port}\nsecurity = \"none\"\n")
    }

    /// The next mail whose bytes came.
    pub(crate) async fn next(&mut self) -> Got {
        let got = tokio::time::timeout(std::time::Duration::from_secs(60), self.got.recv()).await;
        got.expect("a mail comes").unwrap()
    }

    /// Whether no other mail came up to now.
    pub(crate) fn is_empty(&mut self) -> bool {
        self.got.try_recv().is_err()
    }
}

type Answers = Arc<Mutex<VecDeque<&'static str>>>;

async fn serve(
    stream: TcpStream,
    recipients: Answers,
    mails: Answers,
    send: mpsc::UnboundedSender<Got>,
) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    stream.write_all(b"220 sink\r\n").await?;
    let (mut from, mut to) = (String::new(), String::new());
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let line = line.trim_end();
        let verb = line.split([' ', ':']).next().unwrap_or_default().to_uppercase();
        let answer = match &*verb {
            "EHLO" => "250-sink\r\n250 8BITMIME",
            "MAIL" => {
                from = inside(line);
                "250 ok"
            }
            "RCPT" => {
                to = inside(line);
                recipients.lock().unwrap().pop_front().unwrap_or("250 ok")
            }
            "DATA" => {
                stream.write_all(b"354 go on\r\n").await?;
                let mut raw = String::new();
                while !raw.ends_with("\r\n.\r\n") {
                    if stream.read_line(&mut raw).await? == 0 {
                        return Ok(());
                    }
                }
                // Without the dot at its end and those that were put in.
                let raw = raw.trim_end_matches(".\r\n").replace("\r\n.", "\r\n");
                let answer = mails.lock().unwrap().pop_front().unwrap_or("250 ok");
                send.send(Got { from: from.clone(), to: to.clone(), raw }).unwrap();
                if answer.is_empty() {
                    // It has the mail and never says so.
                    std::future::pending::<()>().await;
                }
                answer
            }
            "QUIT" => {
                stream.write_all(b"221 bye\r\n").await?;
                return Ok(());
            }
            _ => "250 ok",
        };
        stream.write_all(format!("{answer}\r\n").as_bytes()).await?;
    }
}

fn inside(line: &str) -> String {
    line.split(['<', '>']).nth(1).unwrap_or_default().to_owned()
}
