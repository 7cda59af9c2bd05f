//! The host's side: a process for each file, bounded in number, in time and in what it may answer.

use std::{path::PathBuf, process::Stdio, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader, copy},
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
    /// The new file could not be written to where it is to be kept.
    #[error("the sanitised file could not be written")]
    Output(#[source] std::io::Error),
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
        let mut new = Vec::new();
        let mut outcome = self.sanitise_into(input, name, settings, &mut new).await?;
        if let Verdict::Rebuilt { bytes, .. } = &mut outcome.verdict {
            *bytes = new;
        }
        Ok(outcome)
    }

    /// The same, where a rebuilt file goes into `output` as it comes: it is not held in memory, and the verdict's `bytes`
    /// are empty. What is in `output` counts only where the verdict says that it was rebuilt.
    ///
    /// # Errors
    /// As [`Worker::sanitise`].
    pub async fn sanitise_into(
        &self,
        input: impl AsyncRead + Unpin,
        name: Option<&str>,
        settings: &Settings,
        output: impl AsyncWrite + Unpin,
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
            // Where the worker is the server's own program, the allocator would begin a thread, and one that is still beginning
            // when the filter comes may not say so to the kernel: the C library ends the process then.
            .env("MALLOC_CONF", "background_thread:false")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(Failed::Start)?;
        let outcome = match timeout(self.bounds.time, exchange(&mut child, input, &task, output)).await {
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
    output: impl AsyncWrite + Unpin,
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
    let (fed, answer) = tokio::join!(feed, listen(stdout, task.settings.limits.unpacked_bytes, output));
    fed?;
    let ended = child.wait().await;
    match answer {
        Ok(outcome) if ended.as_ref().is_ok_and(|status| status.success()) => Ok(outcome),
        _ if ended.as_ref().is_ok_and(is_out_of_time) => {
            Ok(refusal(Reason::TooSlow, "the processor's time ran out"))
        }
        Ok(_) => Ok(refusal(Reason::WorkerDied, format!("{ended:?}"))),
        Err(Unheard::Output(error)) => Err(Failed::Output(error)),
        Err(Unheard::Broken(cause)) => Ok(refusal(Reason::WorkerDied, format!("{cause}, {ended:?}"))),
    }
}

fn is_out_of_time(status: &std::process::ExitStatus) -> bool {
    std::os::unix::process::ExitStatusExt::signal(status) == Some(libc::SIGXCPU)
}

/// Why an answer is none.
enum Unheard {
    /// It makes no sense, or broke off.
    Broken(std::io::Error),
    /// It could not be passed on.
    Output(std::io::Error),
}

impl From<std::io::Error> for Unheard {
    fn from(error: std::io::Error) -> Self {
        Self::Broken(error)
    }
}

async fn listen(
    stdout: ChildStdout,
    most: u64,
    mut output: impl AsyncWrite + Unpin,
) -> Result<Outcome, Unheard> {
    let nonsense = |what: &str| Unheard::Broken(std::io::Error::other(what.to_owned()));
    let mut stdout = BufReader::new(stdout);
    let mut line = Vec::new();
    (&mut stdout).take(LONGEST_ANSWER).read_until(b'\n', &mut line).await?;
    let Answer { kind, photo, verdict } = serde_json::from_slice(&line).map_err(std::io::Error::from)?;
    let (verdict, length) = match verdict {
        Told::Clean => (Verdict::Clean, 0),
        Told::Refused(refusal) => (Verdict::Refused(refusal), 0),
        Told::Rebuilt { length, removed } => (Verdict::Rebuilt { bytes: Vec::new(), removed }, length),
    };
    if length > most {
        return Err(nonsense("more than allowed"));
    }
    let mut left = length;
    let mut part = vec![0; 64 << 10];
    while left > 0 {
        let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(part.len());
        let count = stdout.read(&mut part[..wanted]).await?;
        if count == 0 {
            return Err(nonsense("less than told"));
        }
        output.write_all(&part[..count]).await.map_err(Unheard::Output)?;
        left = left.saturating_sub(u64::try_from(count).unwrap_or(u64::MAX));
    }
    // Something after its end is a lie about its length.
    if copy(&mut stdout.take(1), &mut tokio::io::sink()).await? > 0 {
        return Err(nonsense("more than told"));
    }
    output.shutdown().await.map_err(Unheard::Output)?;
    Ok(Outcome { kind, verdict, photo })
}
