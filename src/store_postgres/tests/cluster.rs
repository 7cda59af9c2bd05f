//! A throw-away PostgreSQL cluster for tests.
//!
//! It needs Debian's `postgresql` to be installed and fails where it is not. As root, the server
//! runs as the user `postgres`, for it refuses to run as root.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, Weak},
};

use parking_lot::Mutex;
use tempfile::TempDir;

/// A server that is stopped and removed when it is dropped.
pub(crate) struct Cluster {
    root: TempDir,
}

/// The server that the tests of this process share while one of them needs it.
static SHARED: Mutex<Weak<Cluster>> = Mutex::new(Weak::new());

impl Cluster {
    /// The server that tests share; each uses a schema of its own.
    pub(crate) fn shared() -> Arc<Self> {
        let mut shared = SHARED.lock();
        if let Some(cluster) = shared.upgrade() {
            return cluster;
        }
        let cluster = Arc::new(Self::start());
        *shared = Arc::downgrade(&cluster);
        cluster
    }

    /// A new server that listens on a socket in a directory of its own.
    pub(crate) fn start() -> Self {
        let root = tempfile::tempdir().expect("a directory");
        if is_root() {
            run(Command::new("chown").arg("postgres").arg(root.path()));
        }
        let cluster = Self { root };
        run(postgres("initdb")
            .args(["--username=postgres", "--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C"])
            .arg("-D")
            .arg(cluster.data()));
        cluster.up();
        cluster
    }

    fn data(&self) -> PathBuf {
        self.root.path().join("data")
    }

    /// Starts the server and waits until it answers.
    pub(crate) fn up(&self) {
        let options = format!(
            "-c listen_addresses= -c unix_socket_directories={} -c fsync=off -c max_connections=200",
            self.root.path().display()
        );
        run(postgres("pg_ctl")
            .args(["start", "--wait", "--silent", "-o", &options, "-l"])
            .arg(self.root.path().join("log"))
            .arg("-D")
            .arg(self.data()));
    }

    /// Stops the server as a crash would: no checkpoint, transactions are cut off.
    pub(crate) fn down_at_once(&self) {
        run(postgres("pg_ctl")
            .args(["stop", "--wait", "--silent", "-m", "immediate", "-D"])
            .arg(self.data()));
    }

    /// How to connect.
    pub(crate) fn url(&self) -> String {
        format!("host={} user=postgres dbname=postgres", self.root.path().display())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let stop = postgres("pg_ctl")
            .args(["stop", "--wait", "--silent", "-m", "immediate", "-D"])
            .arg(self.data())
            .status();
        // A test that stopped it has left nothing to stop.
        stop.ok();
    }
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output().expect("id runs");
    id.stdout == b"0\n"
}

/// A program of PostgreSQL, run as a user that may.
fn postgres(program: &str) -> Command {
    let path = binaries().join(program);
    if !is_root() {
        return Command::new(path);
    }
    let mut command = Command::new("runuser");
    command.args(["-u", "postgres", "--"]).arg(path).current_dir("/");
    command
}

fn binaries() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let found =
        versions.map(|version| version.path().join("bin")).filter(|bin| bin.join("initdb").exists()).max();
    found.expect("PostgreSQL is not installed: apt-get install postgresql")
}

fn run(command: &mut Command) {
    let log = |path: &Path| std::fs::read_to_string(path).unwrap_or_default();
    // The server keeps what it is given open, so it must not be a pipe that somebody waits for.
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).status().expect("the program starts");
    assert!(status.success(), "{command:?}: {status} {}", log(Path::new("log")));
}
