//! What the server's processes cost: CPU time and memory, read from `/proc`.

use std::{
    collections::HashMap,
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use tokio::process::{Child, Command};

/// The processes charged to the server, each with all its descendants.
#[derive(Debug)]
pub(crate) struct Processes {
    roots: Vec<u32>,
    child: Option<Child>,
}

impl Processes {
    pub(crate) fn new(pid: Option<u32>, also: &[u32]) -> Self {
        Self { roots: pid.into_iter().chain(also.iter().copied()).collect(), child: None }
    }

    /// Starts a command through the shell; returns the moment before it was started.
    pub(crate) async fn spawn(&mut self, command: &str) -> Result<Instant> {
        let started = Instant::now();
        let child = Command::new("sh")
            .arg("-c")
            .arg(format!("exec {command}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        self.roots.insert(0, child.id().context("the server ended at once")?);
        self.child = Some(child);
        Ok(started)
    }

    /// Asks a server that was started here to stop, and waits for it (15 s, then kills it).
    pub(crate) async fn stop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        if let Some(pid) = child.id() {
            // The shell's own command spares a dependency for one signal.
            let asked = Command::new("kill").arg("-TERM").arg(pid.to_string()).status().await;
            let ended = tokio::time::timeout(Duration::from_secs(15), child.wait()).await;
            if (asked.is_err() || ended.is_err())
                && let Err(error) = child.kill().await
            {
                eprintln!("the server could not be stopped: {error}");
            }
        }
    }

    /// Ends a server that was started here as a crash would.
    pub(crate) async fn kill(&mut self) -> Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill().await?;
        }
        Ok(())
    }

    /// CPU time used so far, user and system, in milliseconds.
    pub(crate) fn cpu_ms(&self) -> f64 {
        self.all().iter().filter_map(|pid| cpu_ticks(*pid)).sum::<u64>() as f64 * 10.0
    }

    /// Resident memory in MiB. Pages shared between processes count once each (proportional share).
    pub(crate) fn memory_mib(&self) -> f64 {
        self.all().iter().filter_map(|pid| resident_kib(*pid)).sum::<u64>() as f64 / 1024.0
    }

    /// CPU time used so far by the threads that live, in milliseconds and to the microsecond, where the system
    /// tells it: for what takes less than the hundredth of a second in which [`Processes::cpu_ms`] counts.
    pub(crate) fn fine_cpu_ms(&self) -> Option<f64> {
        let mut total = 0.0;
        for pid in self.all() {
            for thread in fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten() {
                // One that has ended meanwhile has done nothing that would matter.
                let Ok(text) = fs::read_to_string(thread.path().join("sched")) else { continue };
                let line = text.lines().find(|line| line.starts_with("se.sum_exec_runtime"))?;
                total += line.rsplit(' ').next()?.parse::<f64>().ok()?;
            }
        }
        Some(total)
    }

    /// Resident memory of the processes themselves in MiB, told at once: for a watch over it.
    pub(crate) fn quick_memory_mib(&self) -> f64 {
        let pages = |pid: &u32| -> Option<u64> {
            let text = fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
            text.split(' ').nth(1)?.parse().ok()
        };
        self.roots.iter().filter_map(pages).sum::<u64>() as f64 * 4096.0 / 1_048_576.0
    }

    /// Resident memory in MiB as it is now, and the most that it was since [`Processes::forget_peak`].
    pub(crate) fn resident_mib(&self) -> (f64, f64) {
        let sum = |line: &str| self.all().iter().filter_map(|pid| status_kib(*pid, line)).sum::<u64>() as f64;
        (sum("VmRSS:") / 1024.0, sum("VmHWM:") / 1024.0)
    }

    /// Has the system count the peak of the memory anew. Where it may not, the peak since the start stays.
    pub(crate) fn forget_peak(&self) {
        for pid in self.all() {
            if let Err(error) = fs::write(format!("/proc/{pid}/clear_refs"), "5") {
                eprintln!("the peak of the memory of {pid} is that since its start: {error}");
            }
        }
    }

    fn all(&self) -> Vec<u32> {
        let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
                continue;
            };
            if let Some(parent) = stat_field(pid, 1) {
                children.entry(parent as u32).or_default().push(pid);
            }
        }
        let mut found = self.roots.clone();
        let mut next = 0;
        while next < found.len() {
            let below = children.remove(&found[next]).unwrap_or_default();
            found.extend(below.into_iter().filter(|pid| !self.roots.contains(pid)));
            next += 1;
        }
        found
    }
}

/// A field of `/proc/PID/stat`, counted from the state letter (0), which follows the name in brackets.
fn stat_field(pid: u32, field: usize) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    text.rsplit_once(") ")?.1.split(' ').nth(field)?.parse().ok()
}

/// User and system time with that of children that ended; a tick is 10 ms on Linux.
fn cpu_ticks(pid: u32) -> Option<u64> {
    (11..=14).map(|field| stat_field(pid, field)).sum()
}

/// CPU time that this program has used itself, without its children, in milliseconds.
pub(crate) fn own_cpu_ms() -> f64 {
    let own = std::process::id();
    (11..=12).filter_map(|field| stat_field(own, field)).sum::<u64>() as f64 * 10.0
}

fn status_kib(pid: u32, name: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
}

fn resident_kib(pid: u32) -> Option<u64> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?.split_whitespace().next()?.parse().ok()
}

/// An address of this machine alone on which nobody listens.
pub(crate) fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

/// Bytes that files below a directory occupy on disk.
pub(crate) fn disk_bytes(directory: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let mut total = 0;
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        match entry.metadata() {
            Ok(meta) if meta.is_dir() => total += disk_bytes(&entry.path()),
            Ok(meta) => total += meta.blocks() * 512,
            Err(_) => {}
        }
    }
    total
}
