//! How long a client may take to read its answer.
//!
//! An answer that nobody reads would keep its memory, its task and its connection for ever. So a client
//! has to take in so much in each [`WINDOW`], or all there is; else its connection ends.
//!
//! With HTTP/1 the socket tells: it takes no more. With HTTP/2 many answers share a connection, and one
//! that the client does not read waits for its own window while the socket is free; so each large answer
//! goes out in [`SLICE`]s, and is watched by itself.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use base::{CancellationToken, Tasks};
use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep},
};
use tracing::debug;

/// How often a client is looked at that does not read as fast as we write.
pub(crate) const WINDOW: Duration = Duration::from_secs(30);

/// What it has to take in each time, in bytes.
const LEAST: u64 = 64 << 10;

/// Pieces in which an answer over HTTP/2 goes out.
const SLICE: usize = 16 << 10;

/// A connection that ends when the other side takes in too little for too long.
pub(crate) struct Patient<S> {
    inner: S,
    window: Duration,
    /// Runs since the other side first took nothing; the bytes are what it took since.
    waiting: Option<(Pin<Box<Sleep>>, u64)>,
}

impl<S> Patient<S> {
    pub(crate) fn new(inner: S, window: Duration) -> Self {
        Self { inner, window, waiting: None }
    }

    /// The other side has taken this in.
    fn took(&mut self, bytes: usize) {
        if let Some((_, taken)) = &mut self.waiting {
            *taken += bytes as u64;
        }
    }

    /// The other side takes nothing now; gives the error once that has been too long.
    fn pause(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        let window = self.window;
        let (sleep, taken) = self.waiting.get_or_insert_with(|| (Box::pin(tokio::time::sleep(window)), 0));
        loop {
            ready!(sleep.as_mut().poll(context));
            if *taken < LEAST {
                return Poll::Ready(io::Error::new(io::ErrorKind::TimedOut, "the client does not read"));
            }
            *taken = 0;
            sleep.as_mut().reset(Instant::now() + window);
        }
    }
}

impl<S: AsyncWrite + Unpin> Patient<S> {
    fn written(
        &mut self,
        context: &mut Context<'_>,
        outcome: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        match outcome {
            Poll::Ready(Ok(bytes)) => {
                self.took(bytes);
                Poll::Ready(Ok(bytes))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => self.pause(context).map(Err),
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.written(context, outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.inner).poll_write_vectored(context, parts);
        self.written(context, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.inner).poll_flush(context) {
            Poll::Ready(outcome) => {
                // Everything that there was has gone out.
                self.waiting = None;
                Poll::Ready(outcome)
            }
            Poll::Pending => self.pause(context).map(Err),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.inner).poll_shutdown(context) {
            Poll::Ready(outcome) => Poll::Ready(outcome),
            Poll::Pending => self.pause(context).map(Err),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

/// An answer in slices; each is asked for once the client has room for it.
pub(crate) struct Sliced {
    body: web::Body,
    rest: Bytes,
    watch: Option<Arc<Watch>>,
}

/// How far an answer has gone out.
struct Watch {
    slices: AtomicU64,
    /// Whether the next slice waits for us and not for the client: odd while it does.
    ours: AtomicU64,
    done: CancellationToken,
}

impl Sliced {
    /// An answer of this connection; `give_up` ends the connection when the client does not read it.
    pub(crate) fn watched(
        body: web::Body,
        window: Duration,
        give_up: &CancellationToken,
        tasks: &Tasks,
    ) -> Self {
        let small = body.size_hint().upper().is_some_and(|size| size <= SLICE as u64);
        if small {
            return Self { body, rest: Bytes::new(), watch: None };
        }
        let watch = Arc::new(Watch {
            slices: AtomicU64::new(0),
            ours: AtomicU64::new(0),
            done: CancellationToken::new(),
        });
        tasks.spawn("answer", watch.clone().run(window, give_up.clone()));
        Self { body, rest: Bytes::new(), watch: Some(watch) }
    }

    fn next_slice(&mut self) -> Frame<Bytes> {
        if let Some(watch) = &self.watch {
            watch.slices.fetch_add(1, Ordering::Relaxed);
        }
        Frame::data(self.rest.split_to(self.rest.len().min(SLICE)))
    }
}

impl Watch {
    async fn run(self: Arc<Self>, window: Duration, give_up: CancellationToken) {
        let mut before = 0;
        loop {
            tokio::select! {
                () = self.done.cancelled() => return,
                () = give_up.cancelled() => return,
                () = tokio::time::sleep(window) => {}
            }
            let slices = self.slices.load(Ordering::Relaxed);
            let waits_for_us = self.ours.load(Ordering::Relaxed) == 1;
            if !waits_for_us && (slices - before) * (SLICE as u64) < LEAST {
                debug!("a client does not read its answer");
                return give_up.cancel();
            }
            before = slices;
        }
    }
}

impl Body for Sliced {
    type Data = Bytes;
    type Error = <web::Body as Body>::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if !self.rest.is_empty() {
            return Poll::Ready(Some(Ok(self.next_slice())));
        }
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if let Some(watch) = &self.watch {
            watch.ours.store(u64::from(polled.is_pending()), Ordering::Relaxed);
        }
        match ready!(polled) {
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => {
                    self.rest = data;
                    Poll::Ready(Some(Ok(self.next_slice())))
                }
                Err(trailers) => Poll::Ready(Some(Ok(trailers))),
            },
            other => Poll::Ready(other),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let mut hint = self.body.size_hint();
        let rest = self.rest.len() as u64;
        hint.set_lower(hint.lower() + rest);
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper + rest);
        }
        hint
    }
}

impl Drop for Sliced {
    fn drop(&mut self) {
        if let Some(watch) = &self.watch {
            watch.done.cancel();
        }
    }
}
