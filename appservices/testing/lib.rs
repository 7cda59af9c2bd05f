//! A bot's own process beside a server that runs in the test's process.
//!
//! A [`Stage`] has the bot's program write its registration, starts a server of `testkit` with it, and then the bot, which
//! can be killed and started again over what is on its disk. The bot listens on an address of the loopback network that no
//! other test has.
//!
//! ```no_run
//! # async fn example() {
//! use bot_testing::Stage;
//! use testkit::Net;
//!
//! let stage = Stage::new(&Net::new(), "kanazawa.test", "target/debug/yakuba-memo", "keep = \"90d\"").await;
//! let hanako = stage.server.user("hanako").await;
//! // … hanako meets the bot …
//! stage.kill_bot();
//! stage.start_bot().await;
//! # }
//! ```
//!
//! Whatever goes wrong here panics: it is a test that fails.

#![expect(clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "a failing test panics")]

pub mod zones;

use std::{
    fs::File,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use http::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::{Net, Server, User};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// In real time: what takes longer will not come.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where each bot listens on its own address.
const PORT: u16 = 8460;

/// The user of another service beside the bot, a bridge, and what it shows itself by.
const BRIDGE: &str = "bridgebot";
const BRIDGE_TOKEN: &str = "as-token-of-the-bridge";

/// A registration of the bridge: names that begin so are its alone, and it is told nothing.
fn bridge() -> String {
    format!(
        "id: bridge\nurl: null\nas_token: {BRIDGE_TOKEN}\nhs_token: hs-token-of-the-bridge\nsender_localpart: {BRIDGE}\n\
         rate_limited: false\nnamespaces:\n  users:\n  - exclusive: true\n    regex: '@_bridge_.*'\n  aliases: []\n  rooms: []\n"
    )
}

/// A server and a bot.
pub struct Stage {
    /// The server, whose bot it is.
    pub server: Server,
    /// Where the bot reaches it, and others may: a listener in no zone.
    pub door: SocketAddr,
    /// Where the bot's files are; removed at the end.
    pub directory: TempDir,
    program: PathBuf,
    address: SocketAddr,
    child: Mutex<Option<Child>>,
}

impl Stage {
    /// Starts a server of this name in a net, and the bot's program with these settings under `[bot]`.
    pub async fn new(net: &Net, name: &str, program: impl AsRef<Path>, settings: &str) -> Self {
        let stage = Self::without_bot(net, name, program, settings).await;
        stage.start_bot().await;
        stage
    }

    /// The same, with the bot still to be started.
    pub async fn without_bot(net: &Net, name: &str, program: impl AsRef<Path>, settings: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let program = program.as_ref().to_owned();
        let address = own_address();
        // Where the server will be is of no account to a registration.
        write_config(directory.path(), name, SocketAddr::from((Ipv4Addr::LOCALHOST, 1)), address, settings);
        let made = Command::new(&program)
            .args(["registration", "--config"])
            .arg(directory.path().join("bot.toml"))
            .output()
            .expect("the bot's program runs");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let registration = std::fs::read_to_string(directory.path().join("registration.yaml")).expect("made");
        let server = net.server_with_services(name, &[registration, bridge()]).await;
        let door = server.listen_in(None).await;
        let stage = Self { server, door, directory, program, address, child: Mutex::default() };
        stage.set(settings);
        stage
    }

    /// A user of another service, by whom somebody outside speaks.
    pub async fn ghost(&self, name: &str) -> User {
        let localpart = format!("_bridge_{name}");
        let wish = json!({ "type": "m.login.application_service", "username": localpart });
        let made =
            self.server.service(BRIDGE, BRIDGE_TOKEN).call(Method::POST, "/register", Some(&wish)).await;
        self.server.service(&localpart, made["access_token"].as_str().expect("a session"))
    }

    /// Gives the bot other settings under `[bot]`, for its next start.
    pub fn set(&self, settings: &str) {
        let name = self.server.name().as_str();
        write_config(self.directory.path(), name, self.door, self.address, settings);
    }

    /// A listener of its own that the server was restarted with is where the bot reaches it from its next start on.
    pub async fn open_door(&mut self, settings: &str) {
        self.door = self.server.listen_in(None).await;
        self.set(settings);
    }

    /// Where the bot listens for the server.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// By which the server shows itself to the bot.
    pub fn hs_token(&self) -> String {
        self.registered("hs_token")
    }

    /// By which the bot shows itself to the server.
    pub fn as_token(&self) -> String {
        self.registered("as_token")
    }

    fn registered(&self, key: &str) -> String {
        let text = std::fs::read_to_string(self.directory.path().join("registration.yaml")).expect("made");
        let found = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(": "));
        found.expect("a token").trim_matches('"').to_owned()
    }

    /// What the bot has written into its log, in all its starts.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("bot.log")).unwrap_or_default()
    }

    /// Waits until this stands in the bot's log.
    ///
    /// # Panics
    /// When it does not come.
    pub async fn until_log(&self, text: &str) {
        self.until_log_has(text, 1).await;
    }

    /// The same so often.
    ///
    /// # Panics
    /// When it does not come.
    pub async fn until_log_has(&self, text: &str, count: usize) {
        let comes = async {
            while self.log().matches(text).count() < count {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, comes).await.unwrap_or_else(|_| panic!("{text}: {}", self.log()));
    }

    /// Starts the bot and waits until it answers. Nothing happens if it runs.
    ///
    /// # Panics
    /// When it does not answer.
    pub async fn start_bot(&self) {
        {
            let mut child = self.child.lock().expect("no panic before");
            if child.is_some() {
                return;
            }
            let log = File::options().create(true).append(true).open(self.directory.path().join("bot.log"));
            let spawned = Command::new(&self.program)
                .args(["serve", "--config"])
                .arg(self.directory.path().join("bot.toml"))
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(log.expect("a log"))
                .spawn();
            *child = Some(spawned.expect("the bot's program runs"));
        }
        let answers = async {
            while !is_healthy(self.address).await.unwrap_or(false) {
                if let Some(status) = self.ended() {
                    panic!("the bot ended at once ({status}): {}", self.log());
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, answers).await.expect("the bot answers");
    }

    fn ended(&self) -> Option<std::process::ExitStatus> {
        let mut child = self.child.lock().expect("no panic before");
        child.as_mut().and_then(|child| child.try_wait().expect("a child"))
    }

    /// Kills the bot by SIGKILL and waits until it is gone.
    pub fn kill_bot(&self) {
        let child = self.child.lock().expect("no panic before").take();
        if let Some(mut child) = child {
            child.kill().expect("killed");
            child.wait().expect("gone");
        }
    }

    /// Tells the bot of an event, as its server does.
    ///
    /// # Panics
    /// When it does not take it.
    pub async fn tell(&self, event: &Value) {
        static NUMBER: AtomicU8 = AtomicU8::new(1);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let body = json!({ "events": [event] }).to_string();
        let request = format!(
            "PUT /_matrix/app/v1/transactions/told-{number} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\n\
             content-length: {}\r\nconnection: close\r\n\r\n{body}",
            self.address,
            self.hs_token(),
            body.len()
        );
        let mut stream = TcpStream::connect(self.address).await.expect("the bot listens");
        stream.write_all(request.as_bytes()).await.expect("told");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("answered");
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }

    /// Takes in the stead of the bot, which does not run, what the server tells it, until this stands in it: the bot never hears of that.
    ///
    /// # Panics
    /// When it does not come.
    pub async fn miss(&self, what: &str) {
        let listener = TcpListener::bind(self.address).await.expect("the bot's address is free");
        let comes = async {
            loop {
                let (mut stream, _) = listener.accept().await.expect("a connection");
                if let Ok(came) = take_request(&mut stream).await
                    && came.contains(what)
                {
                    break;
                }
            }
        };
        tokio::time::timeout(PATIENCE, comes).await.expect("it is told");
    }

    /// Asks the bot to end, and waits until it has.
    ///
    /// # Panics
    /// When it does not end well.
    pub async fn stop_bot(&self) {
        let child = self.child.lock().expect("no panic before").take();
        let Some(mut child) = child else { return };
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("asked");
        let waited = tokio::task::spawn_blocking(move || child.wait());
        let ended = tokio::time::timeout(PATIENCE, waited).await.expect("it ends").expect("waited for");
        assert!(ended.expect("a child").success(), "{}", self.log());
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.kill_bot();
    }
}

/// Reads a request and answers that all is well; the request.
pub async fn take_request(stream: &mut TcpStream) -> std::io::Result<String> {
    let mut came = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&came).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
            });
            if body.len() >= length.unwrap_or(0) {
                let answer = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}";
                stream.write_all(answer.as_bytes()).await?;
                stream.shutdown().await?;
                return Ok(text);
            }
        }
        let mut part = [0; 16_384];
        match stream.read(&mut part).await? {
            0 => return Ok(text),
            count => came.extend_from_slice(&part[..count]),
        }
    }
}

/// Asks as simply as can be.
async fn is_healthy(address: SocketAddr) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET /health HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer.starts_with("HTTP/1.1 200 "))
}

fn write_config(directory: &Path, name: &str, door: SocketAddr, address: SocketAddr, settings: &str) {
    let text = format!(
        "[homeserver]\nurl = \"http://{door}\"\nserver_name = \"{name}\"\n\n\
         [appservice]\nregistration = \"registration.yaml\"\nurl = \"http://{address}\"\n\n\
         [listener]\naddress = \"{address}\"\n\n[store]\npath = \"data/bot.redb\"\n\n[bot]\n{settings}\n"
    );
    std::fs::write(directory.join("bot.toml"), text).expect("written");
}

/// An address that no other test of this machine has: of this process and this number. All of 127.0.0.0/8 is this machine.
fn own_address() -> SocketAddr {
    static NUMBER: AtomicU8 = AtomicU8::new(1);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let [low, high, ..] = std::process::id().to_le_bytes();
    // From 127.64 on: servers of testkit and hostile ones have lower ones.
    SocketAddr::from((Ipv4Addr::new(127, 64 | (high & 0x3f), low, number), PORT))
}
