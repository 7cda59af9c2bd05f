//! A Yakuba of our own: configuration, keys, data and process, begun anew and gone afterwards.

use std::{
    fs::{self, OpenOptions},
    io::{Read as _, Write as _},
    net::SocketAddr,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use http::{HeaderValue, Method};

use crate::{
    process::{Processes, disk_bytes, free_address},
    wire::{Caller, Wire},
};

/// A server that has not started by then does not.
const START: Duration = Duration::from_secs(120);

/// Where a server of ours is, and how it is run.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Ground {
    /// The binary under test; without it, the `yakuba` beside this program.
    #[arg(long)]
    program: Option<PathBuf>,
    /// An empty directory for configuration and data; without it, one below /var/tmp that is removed at the end.
    #[arg(long)]
    directory: Option<PathBuf>,
    /// How much memory its caches may take, as [store] memory says it; without it, the server's own default.
    #[arg(long)]
    budget: Option<String>,
    /// The run ends when the server takes more than so many MiB.
    #[arg(long, default_value_t = 6_144)]
    most_mib: u64,
    /// Which part of the directory, if not all.
    #[arg(skip)]
    part: String,
}

impl Ground {
    /// The same for one of several servers that run at once: each has a part of the directory.
    pub(crate) fn part(&self, name: String) -> Self {
        Self { part: name, ..self.clone() }
    }
}

/// What a configuration says beside what each needs.
#[derive(Debug, Clone, Default)]
pub(crate) struct More {
    /// What the listener of clients serves as well, for instance `, "admin_api"`.
    pub(crate) serves: &'static str,
    /// Keys of each authority.
    pub(crate) of_authority: String,
    /// Sections of its own.
    pub(crate) sections: String,
}

/// A server of ours.
#[derive(Debug)]
pub(crate) struct Site {
    program: PathBuf,
    directory: PathBuf,
    is_ours: bool,
    most_mib: u64,
    host: HeaderValue,
    pub(crate) address: SocketAddr,
    admin: SocketAddr,
    pub(crate) processes: Processes,
}

/// The metrics of a server, for as long as it is at its address.
#[derive(Debug, Clone)]
pub(crate) struct Gauges {
    operator: Caller,
    address: SocketAddr,
}

impl Gauges {
    /// The sum of a metric's values now, of those whose labels have this in them.
    pub(crate) async fn sum(&self, name: &str, label: &str) -> Result<u64> {
        let mut wire = Wire::to(self.address);
        let answer = wire.ask(&self.operator, Method::GET, "/metrics", bytes::Bytes::new()).await?;
        let text = std::str::from_utf8(&answer)?;
        let of_name = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']));
        let lines = text.lines().filter(of_name).filter(|line| line.contains(label));
        Ok(lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum())
    }
}

impl Site {
    /// Writes configuration and keys of these authorities. Nothing runs yet.
    pub(crate) fn found(ground: &Ground, authorities: &[String]) -> Result<Self> {
        Self::found_with(ground, authorities, |_| Ok(More::default()))
    }

    /// The same with more in the configuration, which may name files below the directory.
    pub(crate) fn found_with(
        ground: &Ground,
        authorities: &[String],
        more: impl FnOnce(&Path) -> Result<More>,
    ) -> Result<Self> {
        let (directory, is_ours) = match &ground.directory {
            Some(directory) => (directory.join(&ground.part), false),
            None => {
                let name = format!("/var/tmp/yakuba-bench.{}{}", std::process::id(), ground.part);
                (PathBuf::from(name), true)
            }
        };
        let is_free = !directory.exists() || fs::read_dir(&directory)?.next().is_none();
        ensure!(is_free, "{} is not empty", directory.display());
        fs::create_dir_all(directory.join("keys"))?;
        let address = free_address()?;
        let admin = free_address()?;
        let text = configuration(authorities, (address, admin), ground.budget.as_deref(), &more(&directory)?);
        fs::write(directory.join("yakuba.toml"), text)?;
        let mut chance = fs::File::open("/dev/urandom")?;
        for authority in authorities {
            let mut seed = [0; 32];
            chance.read_exact(&mut seed)?;
            let key = format!("ed25519 bench {}\n", STANDARD_NO_PAD.encode(seed));
            let mut file = OpenOptions::new();
            // As `yakuba init` makes it; of one that others may read, the server complains.
            let mut file =
                file.write(true).create(true).mode(0o600).open(directory.join(key_file(authority)))?;
            file.write_all(key.as_bytes())?;
        }
        let first = authorities.first().context("no authority")?;
        Ok(Self {
            program: program(ground)?,
            directory,
            is_ours,
            most_mib: ground.most_mib,
            host: HeaderValue::from_str(first)?,
            address,
            admin,
            processes: Processes::new(None, &[]),
        })
    }

    /// Starts the server and waits until it answers; returns how long that took.
    pub(crate) async fn start(&mut self) -> Result<Duration> {
        let (program, directory) = (self.program.display(), self.directory.display());
        let command =
            format!("{program} serve --begin --config {directory}/yakuba.toml 2>>{directory}/stderr");
        self.processes = Processes::new(None, &[]);
        let started = self.processes.spawn(&command).await?;
        let stranger = Caller { host: self.host.clone(), bearer: None };
        while started.elapsed() < START {
            let mut wire = Wire::to(self.address);
            let path = "/_matrix/client/versions";
            if wire.ask(&stranger, Method::GET, path, bytes::Bytes::new()).await.is_ok() {
                return Ok(started.elapsed());
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        bail!("the server did not answer within {} s: {}", START.as_secs(), self.complaints())
    }

    /// Stops the server in order; returns how long that took.
    pub(crate) async fn stop(&mut self) -> Duration {
        let begun = Instant::now();
        self.processes.stop().await;
        begun.elapsed()
    }

    /// Ends the server as a crash would.
    pub(crate) async fn kill(&mut self) -> Result<()> {
        self.processes.kill().await
    }

    /// Runs a command of the program over the same configuration; returns what it says.
    pub(crate) async fn command(&self, arguments: &[&str]) -> Result<String> {
        let mut command = tokio::process::Command::new(&self.program);
        command.args(arguments).arg("--config").arg(self.directory.join("yakuba.toml")).env("LC_ALL", "C");
        let done = command.stdin(std::process::Stdio::null()).kill_on_drop(true).output().await?;
        let said = String::from_utf8_lossy(&done.stdout).into_owned();
        let complained = String::from_utf8_lossy(&done.stderr);
        ensure!(done.status.success(), "{}: {said}{complained}", arguments.join(" "));
        Ok(said)
    }

    /// The file of a name below its directory.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Where its metrics are read.
    pub(crate) fn gauges(&self) -> Gauges {
        Gauges { operator: Caller { host: self.host.clone(), bearer: None }, address: self.admin }
    }

    /// Disk that its data take, in MiB.
    pub(crate) fn disk_mib(&self) -> f64 {
        disk_bytes(&self.directory.join("data")) as f64 / 1_048_576.0
    }

    /// Does this while the server's memory is within its bound.
    pub(crate) async fn bounded<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::select! {
            done = work => done,
            error = self.outgrown() => Err(error),
        }
    }

    async fn outgrown(&self) -> anyhow::Error {
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let resident = self.processes.quick_memory_mib();
            if resident > self.most_mib as f64 {
                return anyhow::anyhow!("ended: the server takes {resident:.0} MiB, more than allowed");
            }
        }
    }

    /// What the server said of itself.
    pub(crate) fn complaints(&self) -> String {
        let said = fs::read_to_string(self.directory.join("stderr")).unwrap_or_default();
        said.lines().rev().take(5).collect::<Vec<_>>().join("; ")
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if self.is_ours {
            fs::remove_dir_all(&self.directory).ok();
        }
    }
}

fn program(ground: &Ground) -> Result<PathBuf> {
    let program = match &ground.program {
        Some(program) => program.clone(),
        None => std::env::current_exe()?.with_file_name("yakuba"),
    };
    let program = program.canonicalize().with_context(|| format!("{} is not there", program.display()))?;
    ensure!(is_plain(&program), "{} has letters that a shell reads", program.display());
    Ok(program)
}

/// Whether a path means itself on a command line.
fn is_plain(path: &Path) -> bool {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "/._-".contains(letter);
    path.to_str().is_some_and(|path| path.chars().all(is_plain))
}

fn key_file(authority: &str) -> String {
    format!("keys/{authority}.key")
}

fn configuration(
    authorities: &[String],
    (address, admin): (SocketAddr, SocketAddr),
    budget: Option<&str>,
    more: &More,
) -> String {
    let mut text = String::new();
    for name in authorities {
        let key = key_file(name);
        text.push_str(&format!("[[authorities]]\nname = \"{name}\"\nkey_file = \"{key}\"\n"));
        text.push_str(&more.of_authority);
        text.push_str("[authorities.registration]\nmode = \"open\"\n");
    }
    text.push_str(&format!("[[listeners]]\naddress = \"{address}\"\nserves = [\"client\"{}]\n", more.serves));
    text.push_str(&format!("[[listeners]]\naddress = \"{admin}\"\nserves = [\"admin\"]\n"));
    // The gateway of `bench push` is on this machine.
    text.push_str("[push]\nallow_ranges = [\"127.0.0.0/8\"]\n");
    text.push_str("[store]\ndurability = \"fsync\"\n");
    if let Some(budget) = budget {
        text.push_str(&format!("memory = \"{budget}\"\n"));
    }
    text.push_str("[limits]\nenabled = false\n[log]\nfilter = \"warn\"\n");
    text.push_str(&more.sections);
    text
}
