//! A log server for tests, which counts octets as RFC 5425 says and takes a frame apart as RFC 5424 does.

use std::sync::Arc;

use tokio::{
    io::{AsyncRead, AsyncReadExt},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{TlsAcceptor, rustls::ServerConfig};

/// A frame, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) priority: u8,
    pub(crate) header: Vec<String>,
    pub(crate) id: String,
    pub(crate) data: Vec<(String, String)>,
    pub(crate) message: String,
}

impl Frame {
    /// Takes a frame apart, strictly.
    pub(crate) fn read(text: &str) -> Frame {
        let (priority, rest) = text.strip_prefix('<').unwrap().split_once('>').unwrap();
        let mut parts = rest.splitn(7, ' ');
        let header: Vec<String> = parts.by_ref().take(6).map(str::to_owned).collect();
        let rest = parts.next().unwrap();
        let mut letters = rest.strip_prefix('[').unwrap().chars();
        let id: String = letters.by_ref().take_while(|letter| *letter != ' ').collect();
        let mut data = Vec::new();
        loop {
            let name: String = letters.by_ref().take_while(|letter| *letter != '=').collect();
            assert_eq!(letters.next(), Some('"'), "{text}");
            let mut value = String::new();
            loop {
                match letters.next().unwrap() {
                    '\\' => match letters.next().unwrap() {
                        letter @ ('"' | '\\' | ']') => value.push(letter),
                        letter => panic!("\\{letter} in {text}"),
                    },
                    '"' => break,
                    ']' => panic!("a bracket as itself in {text}"),
                    letter => value.push(letter),
                }
            }
            data.push((name, value));
            match letters.next() {
                Some(' ') => {}
                Some(']') => break,
                other => panic!("{other:?} in {text}"),
            }
        }
        let message = letters.as_str().strip_prefix(' ').unwrap().to_owned();
        Frame { priority: priority.parse().unwrap(), header, id, data, message }
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.data.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn number(&self) -> u64 {
        self.get("number").unwrap().parse().unwrap()
    }
}

/// Reads one frame; nothing where the connection ends, be it within one.
pub(crate) async fn read_frame(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut length = String::new();
    loop {
        match stream.read_u8().await.ok()? {
            b' ' => break,
            digit => length.push(char::from(digit)),
        }
        assert!(length.len() < 7 && length.bytes().all(|digit| digit.is_ascii_digit()), "{length}");
    }
    assert!(!length.starts_with('0'), "{length}");
    let mut frame = vec![0; length.parse().unwrap()];
    stream.read_exact(&mut frame).await.ok()?;
    Some(String::from_utf8(frame).unwrap())
}

/// Where a log server listens, whatever it does then.
pub(crate) struct Receiver {
    listener: TcpListener,
    acceptor: Option<TlsAcceptor>,
}

pub(crate) trait Incoming: AsyncRead + Unpin + Send {}
impl<T: AsyncRead + Unpin + Send> Incoming for T {}

impl Receiver {
    pub(crate) async fn new() -> Receiver {
        Receiver { listener: TcpListener::bind("localhost:0").await.unwrap(), acceptor: None }
    }

    pub(crate) fn of(listener: TcpListener) -> Receiver {
        Receiver { listener, acceptor: None }
    }

    pub(crate) async fn over_tls(config: ServerConfig) -> Receiver {
        Receiver { acceptor: Some(TlsAcceptor::from(Arc::new(config))), ..Receiver::new().await }
    }

    pub(crate) fn port(&self) -> u16 {
        self.listener.local_addr().unwrap().port()
    }

    pub(crate) async fn accept_raw(&self) -> TcpStream {
        self.listener.accept().await.unwrap().0
    }

    /// The next connection; nothing where TLS does not come about.
    pub(crate) async fn accept(&self) -> Option<Box<dyn Incoming>> {
        let stream = self.accept_raw().await;
        Some(match &self.acceptor {
            Some(acceptor) => Box::new(acceptor.accept(stream).await.ok()?),
            None => Box::new(stream),
        })
    }

    /// Reads from one connection until it has so many frames.
    pub(crate) async fn frames(&self, count: usize) -> Vec<Frame> {
        let mut stream = self.accept().await.unwrap();
        some(&mut stream, count).await
    }
}

pub(crate) async fn some(stream: &mut (impl AsyncRead + Unpin), count: usize) -> Vec<Frame> {
    let mut frames = Vec::new();
    while frames.len() < count {
        frames.push(Frame::read(&read_frame(&mut *stream).await.unwrap()));
    }
    frames
}
