//! A running `yakuba demo`, as the black-box tests use it.

use std::{
    fs::{File, OpenOptions},
    io::{BufRead as _, BufReader},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, ChildStderr, Command, Stdio},
    sync::Mutex,
    time::{Duration, Instant},
};

use serde::Deserialize;
use tempfile::TempDir;

/// What `yakuba demo --json` prints when all is ready.
#[derive(Debug, Deserialize)]
pub struct Ready {
    pub servers: Vec<DemoServer>,
    pub accounts: Vec<Account>,
    pub room_id: String,
    pub desk_room_id: Option<String>,
    pub bots: Vec<DemoBot>,
}

#[derive(Debug, Deserialize)]
pub struct DemoServer {
    pub name: String,
    pub client_url: String,
    pub lgwan_url: Option<String>,
    pub drop_link: Option<String>,
    pub pid: u32,
    pub config: PathBuf,
}

#[derive(Clone, Debug, Deserialize)]
pub struct DemoBot {
    pub name: String,
    pub user_id: String,
    pub pid: u32,
    pub webhook_command: Option<String>,
}

#[derive(Debug, Deserialize)]
pub struct Account {
    pub user_id: String,
    pub password: String,
    pub client_url: String,
}

/// Three servers of the demo, each a process of its own, stopped when this value goes.
#[derive(Debug)]
pub struct Demo {
    pub ready: Ready,
    process: Child,
    restarted: Vec<Child>,
    /// Removed with this value.
    directory: Option<TempDir>,
}

/// The binary under test, built by the same command that built this test.
pub fn yakuba() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_yakuba"));
    // Tests look at texts in English, whatever the machine speaks.
    command.env("LC_ALL", "C").env_remove("YAKUBA_LANG");
    command
}

/// Ports for tests that run beside each other: 20 for each caller, none of them in use, and none of those that the
/// system gives to outgoing connections.
///
/// A range is this process's until it ends: the lock on its file says so to the others on this machine, who
/// might else take ports that are free now and listened on in a moment.
pub fn base_port() -> u16 {
    const EACH: u16 = 20;
    const RANGES: u16 = 1_000;
    static HELD: Mutex<Vec<File>> = Mutex::new(Vec::new());
    let locks = std::env::temp_dir().join("yakuba-test-ports");
    std::fs::create_dir_all(&locks).expect("a directory for the locks");
    // Each begins to look elsewhere, so that few meet.
    let own = u16::try_from(std::process::id() % u32::from(RANGES)).expect("below 1,000");
    let mut held = HELD.lock().expect("nobody panics with it");
    for range in (0..RANGES).map(|range| (own + range) % RANGES) {
        let first = 10_000 + range * EACH;
        let lock = OpenOptions::new().create(true).append(true).open(locks.join(first.to_string()));
        let Some(lock) = lock.ok().filter(|lock| lock.try_lock().is_ok()) else { continue };
        let is_free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
        if (first..first + EACH).all(is_free) {
            held.push(lock);
            return first;
        }
    }
    panic!("all ports for tests are in use")
}

impl Demo {
    /// Starts the demo in a directory of its own and waits until it says that all is ready.
    pub fn start() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let mut demo = Self::start_in(directory.path(), Stdio::inherit());
        demo.directory = Some(directory);
        demo
    }

    /// The same in a directory of somebody else's.
    pub fn start_in(directory: &Path, errors: Stdio) -> Self {
        let mut process = yakuba()
            .args(["demo", "--json", "--base-port", &base_port().to_string(), "--dir"])
            .arg(directory)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(errors)
            .spawn()
            .expect("the demo starts");
        let mut line = String::new();
        let stdout = process.stdout.take().expect("it is piped");
        BufReader::new(stdout).read_line(&mut line).expect("the demo prints a line");
        let ready = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
        Self { ready, process, restarted: Vec::new(), directory: None }
    }

    pub fn account(&self, server_name: &str) -> &Account {
        let ends = format!(":{server_name}");
        self.ready.accounts.iter().find(|a| a.user_id.ends_with(&ends)).expect("each server has an account")
    }

    pub fn server(&self, name: &str) -> &DemoServer {
        self.ready.servers.iter().find(|server| server.name == name).expect("a server of the demo")
    }

    pub fn bot(&self, name: &str) -> &DemoBot {
        self.ready.bots.iter().find(|bot| bot.name == name).expect("a bot of the demo")
    }

    /// The processes of all servers and bots.
    pub fn pids(&self) -> Vec<u32> {
        let servers = self.ready.servers.iter().map(|server| server.pid);
        servers.chain(self.ready.bots.iter().map(|bot| bot.pid)).collect()
    }

    /// What it complains of, where that was asked for.
    pub fn errors(&mut self) -> ChildStderr {
        self.process.stderr.take().expect("it is piped")
    }

    /// Kills the process of one server with SIGKILL and waits until it is gone.
    pub fn kill(&self, server: usize) {
        let pid = self.ready.servers[server].pid;
        signal(pid, "KILL");
        let deadline = Instant::now() + Duration::from_secs(10);
        while is_running(pid) {
            assert!(Instant::now() < deadline, "process {pid} does not die");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Starts the process of a killed server again, over the same files.
    pub fn restart(&mut self, server: usize) {
        let child = yakuba()
            .args(["serve", "--config"])
            .arg(&self.ready.servers[server].config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("the server starts");
        self.ready.servers[server].pid = child.id();
        self.restarted.push(child);
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        for child in &mut self.restarted {
            signal(child.id(), "TERM");
        }
        signal(self.process.id(), "TERM");
        for child in self.restarted.iter_mut().chain([&mut self.process]) {
            let ended = child.wait();
            assert!(ended.is_ok() || std::thread::panicking(), "a server could not be stopped");
        }
    }
}

/// Sends a signal to a process that this test started.
pub fn signal(pid: u32, name: &str) {
    let sent =
        Command::new("kill").arg(format!("-{name}")).arg(pid.to_string()).stderr(Stdio::null()).status();
    assert!(sent.is_ok(), "kill(1) is missing");
}

/// Whether a process runs; one that ended and was not waited for by its parent does not.
pub fn is_running(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}
