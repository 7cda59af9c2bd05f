//! Judging: the scanners look at a file, the worker's process takes it apart, and the verdict is kept.

use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use base::ByteSize;
use bytes::{Buf, Bytes};
use futures_util::StreamExt;
use room::Gives;
use sanitise::{Failed, Kind, Outcome, Reason, Scan, Scanner, Verdict};
use tokio::io::{AsyncRead, AsyncReadExt, DuplexStream, ReadBuf, duplex};
use tracing::{debug, info, warn};

use crate::{
    Body, Media, Opened,
    files::{Incoming, Whole},
    plan::{Hint, PAUSE, Plan},
    sanitising::{Key, Unjudged},
    tables::{Judgement, VerdictRow, hex},
};

/// What was found, before it is kept.
enum Found {
    Clean(Option<Kind>),
    Rebuilt(Option<Kind>, Whole, Vec<String>),
    /// With the detail, which is for the log.
    Refused(Option<Kind>, Reason, String),
}

impl Media {
    /// Judges a file and keeps the verdict, which leads to what is on the disk when this returns.
    pub(super) async fn judge_and_keep(
        &self,
        key: Key,
        original: &Opened,
        gives: Gives,
        hint: Hint,
        plan: &Plan,
    ) -> Result<VerdictRow, Unjudged> {
        let found = self.judge(original, gives, hint, plan).await;
        let verdict = match &found {
            Ok(Found::Clean(_)) => "clean",
            Ok(Found::Rebuilt(..)) => "rebuilt",
            // These say more of us than of the file.
            Ok(Found::Refused(_, Reason::WorkerDied, _)) => "worker-died",
            Ok(Found::Refused(_, Reason::TooSlow, _)) => "too-slow",
            Ok(Found::Refused(..)) => "refused",
            Err(_) => "none",
        };
        self.inner.sanitising.verdicts.with(&[("verdict", verdict)]).inc();
        let file = hex(&key.0[..8]);
        let found = found.inspect_err(|unjudged| warn!(file, ?unjudged, "a file was not judged"))?;
        let (kind, judgement, whole) = match found {
            Found::Clean(kind) => (kind, Judgement::Clean, None),
            // As it was: nothing is gained by keeping it twice.
            Found::Rebuilt(kind, whole, _) if whole.sha256 == key.0 => (kind, Judgement::Clean, None),
            Found::Rebuilt(kind, whole, removed) => {
                (kind, Judgement::Rebuilt { sha256: whole.sha256, removed }, Some(whole))
            }
            Found::Refused(kind, reason, detail) => {
                match reason {
                    // How it ended: by which signal, with which code, and what it had said until then.
                    Reason::WorkerDied | Reason::TooSlow => {
                        warn!(
                            file,
                            reason = reason.code(),
                            detail,
                            "the worker that took a file apart was lost"
                        );
                    }
                    _ => {
                        info!(file, reason = reason.code(), "a file was refused to a zone");
                        debug!(file, detail, "why it was refused");
                    }
                }
                // A scanner's limit may be raised.
                let is_of_the_moment =
                    matches!(reason, Reason::WorkerDied | Reason::TooSlow | Reason::TooLargeToScan);
                let again_ms = is_of_the_moment.then(|| (self.inner.clock.now() + PAUSE).millis());
                (kind, Judgement::Refused { reason: reason.code().to_owned(), again_ms }, None)
            }
        };
        let row = VerdictRow {
            engine: sanitise::VERSION,
            judged_ms: self.inner.clock.now().millis(),
            kind: kind.map(|kind| kind.extension().to_owned()),
            judgement,
        };
        Ok(self.keep_verdict(key, row, whole).await?)
    }

    async fn judge(
        &self,
        original: &Opened,
        gives: Gives,
        hint: Hint,
        plan: &Plan,
    ) -> Result<Found, Unjudged> {
        // One turn for all scanners of a file. Where one gave another file, it is kept until that is judged: such files are
        // held in memory, and there are as many of them as there are turns. Nobody closes the semaphore.
        let turn = match plan.scanners().next() {
            Some(_) => self.inner.sanitising.scanning.acquire().await.ok(),
            None => None,
        };
        let mut replaced: Option<Bytes> = None;
        // What leaves was seen by each: who saw the file before another was put in its place sees that one as well.
        let mut to_ask: VecDeque<&dyn Scanner> = plan.scanners().collect();
        let mut saw: Vec<&dyn Scanner> = Vec::new();
        while let Some(scanner) = to_ask.pop_front() {
            match self.scan(scanner, original, replaced.as_ref()).await? {
                Scan::Clean => saw.push(scanner),
                Scan::Infected(what) => {
                    warn!(file = hex(&original.sha256[..8]), what, "a scanner found something in a file");
                    return Ok(Found::Refused(None, Reason::Infected, what));
                }
                // Two that change each other's files would do so for ever.
                Scan::Replaced(_) if replaced.is_some() => {
                    return Err(Unjudged::NotScanned("a scanner changes what another changed".to_owned()));
                }
                Scan::Replaced(bytes) => {
                    replaced = Some(bytes.into());
                    to_ask.extend(saw.drain(..));
                }
                Scan::NotScanned(why) => return Err(Unjudged::NotScanned(why)),
                Scan::Encrypted(why) => return Ok(Found::Refused(None, Reason::Encrypted, why)),
                Scan::TooLarge(why) => {
                    warn!(file = hex(&original.sha256[..8]), why, "a file is larger than a scanner looks at");
                    return Ok(Found::Refused(None, Reason::TooLargeToScan, why));
                }
            }
        }
        let _turn = turn.filter(|_| replaced.is_some());
        if gives == Gives::Scanned {
            return match replaced {
                Some(bytes) => Ok(Found::Rebuilt(None, self.keep_bytes(&bytes).await?, Vec::new())),
                None => Ok(Found::Clean(None)),
            };
        }
        let (Outcome { kind, verdict, .. }, new) =
            self.rebuild(original, replaced.as_ref(), hint, plan).await?;
        match (verdict, replaced) {
            (Verdict::Refused(refusal), _) if refusal.reason == Reason::Busy => Err(Unjudged::Busy),
            (Verdict::Refused(refusal), _) => Ok(Found::Refused(kind, refusal.reason, refusal.detail)),
            (Verdict::Rebuilt { removed, .. }, _) => {
                let mut parts: Vec<String> =
                    removed.iter().map(|removed| removed.what.code().to_owned()).collect();
                parts.sort_unstable();
                parts.dedup();
                Ok(Found::Rebuilt(kind, new, parts))
            }
            (Verdict::Clean, Some(bytes)) => {
                Ok(Found::Rebuilt(kind, self.keep_bytes(&bytes).await?, Vec::new()))
            }
            (Verdict::Clean, None) => Ok(Found::Clean(kind)),
        }
    }

    async fn scan(
        &self,
        scanner: &dyn Scanner,
        original: &Opened,
        replaced: Option<&Bytes>,
    ) -> Result<Scan, Unjudged> {
        let mut input = self.input(original, replaced).await?;
        Ok(scanner.scan(&mut input).await)
    }

    /// Has the worker take the file apart: its outcome, and the file that came with it, which is empty where none did.
    async fn rebuild(
        &self,
        original: &Opened,
        replaced: Option<&Bytes>,
        hint: Hint,
        plan: &Plan,
    ) -> Result<(Outcome, Whole), Unjudged> {
        let inner = &self.inner;
        let settings = &plan.files.settings;
        let input = self.input(original, replaced).await?;
        let mut incoming = inner.files.receive(ByteSize::bytes(settings.limits.unpacked_bytes)).await?;
        let (output, comes) = duplex(PIECE);
        let work = inner.sanitising.worker.sanitise_into(input, hint.name(), settings, output);
        let (outcome, kept) = tokio::join!(work, take(comes, &mut incoming));
        kept?;
        let outcome = outcome.map_err(|failed| match failed {
            Failed::Start(cause) => Unjudged::Failed(format!("the worker could not be started: {cause}")),
            Failed::Input(cause) | Failed::Output(cause) => Unjudged::Failed(cause.to_string()),
        })?;
        Ok((outcome, incoming.finish().await?))
    }

    async fn input(&self, original: &Opened, replaced: Option<&Bytes>) -> Result<Input, Unjudged> {
        let body = match replaced {
            Some(bytes) => {
                let bytes = bytes.clone();
                futures_util::stream::once(async { Ok(bytes) }).boxed()
            }
            None => original.read(None).await?,
        };
        Ok(Input { body, piece: Bytes::new() })
    }

    async fn keep_bytes(&self, bytes: &Bytes) -> Result<Whole, Unjudged> {
        let size = ByteSize::bytes(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        let mut incoming = self.inner.files.receive(size).await?;
        incoming.write(bytes).await?;
        Ok(incoming.finish().await?)
    }
}

/// Takes a file as it comes. A worker that still writes when this has failed is not waited for: the way ends with this.
async fn take(mut comes: DuplexStream, incoming: &mut Incoming) -> Result<(), Unjudged> {
    let mut piece = vec![0; PIECE];
    loop {
        let count = comes.read(&mut piece).await.map_err(|error| Unjudged::Failed(error.to_string()))?;
        if count == 0 {
            return Ok(());
        }
        incoming.write(&piece[..count]).await?;
    }
}

/// Bytes that are passed on at a time.
const PIECE: usize = 64 << 10;

/// The bytes of a file as something to read. It ends well only where the file does: one that breaks off is an error, so
/// that nobody judges a half.
struct Input {
    body: Body,
    piece: Bytes,
}

impl AsyncRead for Input {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.piece.is_empty() {
            match ready!(self.body.poll_next_unpin(context)) {
                Some(Ok(piece)) => self.piece = piece,
                Some(Err(error)) => return Poll::Ready(Err(error)),
                None => return Poll::Ready(Ok(())),
            }
        }
        let count = self.piece.len().min(into.remaining());
        into.put_slice(&self.piece[..count]);
        self.piece.advance(count);
        Poll::Ready(Ok(()))
    }
}
