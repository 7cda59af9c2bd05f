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
    /// Besides the socket, it listens here, with the files `server.pem` and `server.key` in its directory.
    tls_port: Option<u16>,
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
        Self::begin(tempfile::tempdir().expect("a directory"), None)
    }

    /// One that listens with TLS on a port as well, by this certificate and its key.
    pub(crate) fn with_tls(certificate: &str, key: &str) -> Self {
        let root = tempfile::tempdir().expect("a directory");
        for (file, text) in [("server.pem", certificate), ("server.key", key)] {
            std::fs::write(root.path().join(file), text).expect("written");
        }
        run(Command::new("chmod").arg("600").arg(root.path().join("server.key")));
        if is_root() {
            run(Command::new("chown").arg("postgres").arg(root.path().join("server.key")));
        }
        // Nobody else takes it at once, for the next free one is given next.
        let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        Self::begin(root, Some(free.expect("a port").port()))
    }

    fn begin(root: TempDir, tls_port: Option<u16>) -> Self {
        if is_root() {
            run(Command::new("chown").arg("postgres").arg(root.path()));
        }
        let cluster = Self { root, tls_port };
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
        let root = self.root.path().display();
        let listen = match self.tls_port {
            None => "-c listen_addresses=".to_owned(),
            Some(port) => format!(
                "-c listen_addresses=127.0.0.1 -p {port} -c ssl=on \
                 -c ssl_cert_file={root}/server.pem -c ssl_key_file={root}/server.key"
            ),
        };
        let options =
            format!("{listen} -c unix_socket_directories={root} -c fsync=off -c max_connections=200");
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
        let port = self.tls_port.map(|port| format!(" port={port}")).unwrap_or_default();
        format!("host={} user=postgres dbname=postgres{port}", self.root.path().display())
    }

    /// How to connect over the network, to the server of this name.
    pub(crate) fn url_at(&self, host: &str) -> String {
        format!("host={host} user=postgres dbname=postgres port={}", self.tls_port.expect("it listens"))
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
