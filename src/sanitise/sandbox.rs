//! What runs in the worker's process: one file in, a verdict out, and no rights in between.
//!
//! Limits and the filter of system calls are set before the first byte of the file is read. From then on the process
//! can read what it has open, write to it, and ask for memory within its bound; it can open nothing, connect to
//! nothing, start nothing. It needs no cooperation of the code that reads files.
//!
//! The input is the task as one line of JSON, then the file to its end. The output is a line of JSON ([`Answer`]), then
//! as many bytes of a rebuilt file as that says.

use std::{
    collections::BTreeMap,
    io::{self, BufRead, Read, Write},
};

use rustix::process::{Resource, Rlimit, setrlimit};
use seccompiler::{SeccompAction, SeccompFilter};
use serde::{Deserialize, Serialize};

use crate::{
    engine,
    kind::Kind,
    outcome::{Outcome, Verdict},
    settings::Settings,
    verdict::{Photo, Reason, Refusal, Removed},
};

/// What a worker is to do with the bytes that follow.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Task {
    /// The file's name, if it has one.
    pub name: Option<String>,
    /// How files are sanitised.
    pub settings: Settings,
    /// Most memory of the process, in bytes of address space.
    pub memory_bytes: u64,
    /// Most seconds of processor time.
    pub cpu_seconds: u64,
}

/// The first line of a worker's answer.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Answer {
    pub(crate) kind: Option<Kind>,
    pub(crate) photo: Option<Photo>,
    pub(crate) verdict: Told,
}

/// A verdict; the bytes of a rebuilt file follow.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Told {
    Clean,
    Rebuilt { length: u64, removed: Vec<Removed> },
    Refused(Refusal),
}

/// Longest line of a task, in bytes.
const LONGEST_TASK: u64 = 64 << 10;

/// Gives up all rights, reads one task and its file from standard input and answers to standard output.
///
/// To be called by a program that has one thread and has opened nothing that it would not have read.
///
/// # Errors
/// When the sandbox cannot be set up (then nothing of the file was read), the task is none, or the host is gone.
pub fn serve() -> io::Result<()> {
    let mut input = io::stdin().lock();
    let mut line = String::new();
    (&mut input).take(LONGEST_TASK).read_line(&mut line)?;
    let task: Task = serde_json::from_str(&line)?;
    confine(&task)?;

    let mut file = Vec::new();
    // One byte more than allowed, so that the engine sees that it is too much.
    (&mut input).take(task.settings.limits.input_bytes.saturating_add(1)).read_to_end(&mut file)?;
    let outcome =
        match std::panic::catch_unwind(|| engine::sanitise(&file, task.name.as_deref(), &task.settings)) {
            Ok(outcome) => outcome,
            // A decoder did not foresee this file.
            Err(_) => Outcome {
                kind: None,
                verdict: Verdict::Refused(Refusal::new(Reason::Malformed, "a decoder panicked")),
                photo: None,
            },
        };
    answer(&mut io::stdout().lock(), outcome)
}

fn answer(output: &mut impl Write, outcome: Outcome) -> io::Result<()> {
    let Outcome { kind, verdict, photo } = outcome;
    let (verdict, bytes) = match verdict {
        Verdict::Clean => (Told::Clean, Vec::new()),
        Verdict::Rebuilt { bytes, removed } => (Told::Rebuilt { length: bytes.len() as u64, removed }, bytes),
        Verdict::Refused(refusal) => (Told::Refused(refusal), Vec::new()),
    };
    serde_json::to_writer(&mut *output, &Answer { kind, photo, verdict })?;
    output.write_all(b"\n")?;
    output.write_all(&bytes)?;
    output.flush()
}

/// Limits of the process, then the filter. Neither can be taken back.
fn confine(task: &Task) -> io::Result<()> {
    let limit = |resource, most| setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) });
    limit(Resource::As, task.memory_bytes)?;
    limit(Resource::Cpu, task.cpu_seconds)?;
    limit(Resource::Fsize, 0)?;
    limit(Resource::Core, 0)?;
    limit(Resource::Nproc, 0)?;
    // No further file can be opened, whatever the filter says.
    limit(Resource::Nofile, 3)?;

    // What reading, writing, memory, a panic's message and the end need. All else is refused to the caller, which
    // cannot tell that from a system without it.
    let allowed = [
        libc::SYS_read,
        libc::SYS_readv,
        libc::SYS_write,
        libc::SYS_writev,
        libc::SYS_close,
        libc::SYS_fstat,
        libc::SYS_lseek,
        libc::SYS_mmap,
        libc::SYS_munmap,
        libc::SYS_mremap,
        libc::SYS_mprotect,
        libc::SYS_madvise,
        libc::SYS_brk,
        libc::SYS_futex,
        libc::SYS_sched_yield,
        libc::SYS_getrandom,
        libc::SYS_clock_gettime,
        libc::SYS_getpid,
        libc::SYS_gettid,
        libc::SYS_tgkill,
        libc::SYS_rt_sigaction,
        libc::SYS_rt_sigprocmask,
        libc::SYS_rt_sigreturn,
        libc::SYS_sigaltstack,
        libc::SYS_restart_syscall,
        libc::SYS_exit,
        libc::SYS_exit_group,
    ];
    let rules: BTreeMap<_, _> = allowed.into_iter().map(|call| (call, Vec::new())).collect();
    let refuse = SeccompAction::Errno(u32::try_from(libc::EPERM).unwrap_or(1));
    let machine = std::env::consts::ARCH.try_into().map_err(io::Error::other)?;
    let filter =
        SeccompFilter::new(rules, refuse, SeccompAction::Allow, machine).map_err(io::Error::other)?;
    let filter: seccompiler::BpfProgram = filter.try_into().map_err(io::Error::other)?;
    seccompiler::apply_filter_all_threads(&filter).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::print_stdout, reason = "tests, and what a confined process found")]

    use std::{
        fs::File, net::TcpStream, net::UdpSocket, os::unix::process::CommandExt, process::Command, thread,
    };

    use super::*;

    /// In the process that gives up its rights: set by the test that starts it.
    const CONFINED: &str = "SANITISE_TEST_CONFINED";

    /// Something that a file could try if it took the process over.
    type Try = fn() -> io::Result<()>;

    const TRIES: &[(&str, Try)] = &[
        ("open a file", || File::open("/etc/passwd").map(drop)),
        ("make a file", || File::create("/tmp/sanitise-confined").map(drop)),
        ("remove a file", || std::fs::remove_file("/tmp/sanitise-confined")),
        ("connect", || TcpStream::connect("127.0.0.1:9").map(drop)),
        ("make a socket", || UdpSocket::bind("127.0.0.1:0").map(drop)),
        ("start a thread", || thread::Builder::new().spawn(|| ()).map(drop)),
        ("start a process", || Command::new("/bin/true").spawn().map(drop)),
        ("become another program", || Err(Command::new("/bin/true").exec())),
    ];

    /// Every try must fail by the filter: the limits alone would answer otherwise, that there are too many files or
    /// processes, and would let root start them.
    #[test]
    fn a_confined_process_can_open_connect_and_start_nothing() {
        let name = "sandbox::tests::what_a_confined_process_can_do";
        let shown = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--ignored", "--nocapture", "--test-threads=1"])
            .env(CONFINED, "1")
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&shown.stdout);
        let lines: Vec<_> = told.lines().filter_map(|line| line.strip_prefix("TRIED ")).collect();
        let wanted: Vec<_> =
            TRIES.iter().map(|(what, _)| format!("{what}: {:?}", Some(libc::EPERM))).collect();
        assert_eq!(lines, wanted, "{told} {}", String::from_utf8_lossy(&shown.stderr));
        assert!(shown.status.success());
    }

    #[test]
    #[ignore = "gives up the rights of the process that it runs in: started by the test above"]
    fn what_a_confined_process_can_do() {
        if std::env::var_os(CONFINED).is_none() {
            return;
        }
        let task = Task { name: None, settings: Settings::default(), memory_bytes: 2 << 30, cpu_seconds: 60 };
        confine(&task).unwrap();
        println!();
        for (what, tried) in TRIES {
            println!("TRIED {what}: {:?}", tried().err().and_then(|error| error.raw_os_error()));
        }
        std::process::exit(0);
    }
}
