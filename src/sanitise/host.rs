//! The host's side: a process for each file, bounded in number, in time and in what it may answer.

use std::{path::PathBuf, process::Stdio, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader},
    process::{Child, ChildStdout, Command},
    sync::Semaphore,
    time::timeout,
};

use crate::{
    outcome::{Outcome, Verdict},
    sandbox::{Answer, Task, Told},
    settings::Settings,
    verdict::{Reason, Refusal},
};

/// Starts a worker's process for each file.
#[derive(Debug, Clone)]
pub struct Worker {
    program: PathBuf,
    arguments: Vec<String>,
    bounds: Bounds,
    places: Arc<Semaphore>,
    /// Those who work and those who wait.
    admitted: Arc<Semaphore>,
}

/// What workers may cost.
#[derive(Debug, Clone)]
pub struct Bounds {
    /// Processes at a time.
    pub workers: usize,
    /// Files that may wait for one; more are told to come again.
    pub waiting: usize,
    /// From the start of the process to its last byte.
    pub time: Duration,
    /// Address space of a process, in bytes.
    pub memory_bytes: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { workers: 2, waiting: 64, time: Duration::from_secs(60), memory_bytes: 2 << 30 }
    }
}

/// Why no verdict came: something of ours failed, not of the file's.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    /// The worker's program could not be started.
    #[error("the sanitising worker could not be started")]
    Start(#[source] std::io::Error),
    /// The file could not be read from where it is kept.
    #[error("the file to sanitise could not be read")]
    Input(#[source] std::io::Error),
}

/// Longest first line of an answer, in bytes: 500 notes of 200 letters, with room.
const LONGEST_ANSWER: u64 = 4 << 20;

impl Worker {
    /// Workers that run `program` with these arguments; it must call [`serve`](crate::serve).
    pub fn new(program: impl Into<PathBuf>, arguments: Vec<String>, bounds: Bounds) -> Self {
        let places = Arc::new(Semaphore::new(bounds.workers));
        let admitted = Arc::new(Semaphore::new(bounds.workers.saturating_add(bounds.waiting)));
        Self { program: program.into(), arguments, bounds, places, admitted }
    }

    /// Has a file sanitised; `input` is read at most once and not always to its end.
    ///
    /// A process that dies, hangs or answers nonsense makes a refusal of this file ([`Reason::WorkerDied`],
    /// [`Reason::TooSlow`]); where too many wait, it is [`Reason::Busy`].
    ///
    /// # Errors
    /// [`Failed`] when it is not the file's fault.
    pub async fn sanitise(
        &self,
        input: impl AsyncRead + Unpin,
        name: Option<&str>,
        settings: &Settings,
    ) -> Result<Outcome, Failed> {
        let refused = |reason, detail: &str| Ok(refusal(reason, detail));
        let Ok(_admitted) = self.admitted.try_acquire() else {
            return refused(Reason::Busy, "enough files wait");
        };
        let Ok(_place) = self.places.acquire().await else {
            return refused(Reason::Busy, "closed");
        };
        let task = Task {
            name: name.map(ToOwned::to_owned),
            settings: settings.clone(),
            memory_bytes: self.bounds.memory_bytes,
            cpu_seconds: self.bounds.time.as_secs().saturating_add(1),
        };
        let mut child = Command::new(&self.program)
            .args(&self.arguments)
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(Failed::Start)?;
        let outcome = match timeout(self.bounds.time, exchange(&mut child, input, &task)).await {
            Ok(outcome) => outcome,
            Err(_) => refused(Reason::TooSlow, "the worker's time ran out"),
        };
        // Ended before its place is given to the next, also where it still had something to say.
        child.kill().await.map_err(Failed::Start)?;
        outcome
    }
}

fn refusal(reason: Reason, detail: impl ToString) -> Outcome {
    let refusal = Refusal { reason, detail: detail.to_string() };
    Outcome { kind: None, verdict: Verdict::Refused(refusal), photo: None }
}

/// Feeds the process while it is listened to: it may answer before it has read all.
async fn exchange(
    child: &mut Child,
    mut input: impl AsyncRead + Unpin,
    task: &Task,
) -> Result<Outcome, Failed> {
    let (Some(mut stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
        return Err(Failed::Start(std::io::Error::other("no pipes")));
    };
    let line = serde_json::to_string(task).map_err(|error| Failed::Start(error.into()))?;
    let feed = async {
        let mut buffer = vec![0; 64 << 10];
        let mut sent = stdin.write_all(format!("{line}\n").as_bytes()).await;
        while sent.is_ok() {
            let count = input.read(&mut buffer).await.map_err(Failed::Input)?;
            if count == 0 {
                break;
            }
            sent = stdin.write_all(&buffer[..count]).await;
        }
        // A process that has heard enough, or died, takes no more: its answer says which.
        drop(stdin);
        Ok(())
    };
    let (fed, answer) = tokio::join!(feed, listen(stdout, task.settings.limits.unpacked_bytes));
    fed?;
    let ended = child.wait().await;
    match answer {
        Ok(outcome) if ended.as_ref().is_ok_and(|status| status.success()) => Ok(outcome),
        _ if ended.as_ref().is_ok_and(is_out_of_time) => {
            Ok(refusal(Reason::TooSlow, "the processor's time ran out"))
        }
        Ok(_) => Ok(refusal(Reason::WorkerDied, format!("{ended:?}"))),
        Err(cause) => Ok(refusal(Reason::WorkerDied, format!("{cause}, {ended:?}"))),
    }
}

fn is_out_of_time(status: &std::process::ExitStatus) -> bool {
    std::os::unix::process::ExitStatusExt::signal(status) == Some(libc::SIGXCPU)
}

async fn listen(stdout: ChildStdout, most: u64) -> std::io::Result<Outcome> {
    let mut stdout = BufReader::new(stdout);
    let mut line = Vec::new();
    (&mut stdout).take(LONGEST_ANSWER).read_until(b'\n', &mut line).await?;
    let Answer { kind, photo, verdict } = serde_json::from_slice(&line)?;
    let (verdict, length) = match verdict {
        Told::Clean => (Verdict::Clean, 0),
        Told::Refused(refusal) => (Verdict::Refused(refusal), 0),
        Told::Rebuilt { length, removed } => (Verdict::Rebuilt { bytes: Vec::new(), removed }, length),
    };
    if length > most {
        return Err(std::io::Error::other("more than allowed"));
    }
    let mut bytes = Vec::new();
    // One byte more than told, so that a lie is seen.
    stdout.take(length + 1).read_to_end(&mut bytes).await?;
    if bytes.len() as u64 != length {
        return Err(std::io::Error::other("another length than told"));
    }
    let verdict = match verdict {
        Verdict::Rebuilt { removed, .. } => Verdict::Rebuilt { bytes, removed },
        verdict => verdict,
    };
    Ok(Outcome { kind, verdict, photo })
}
