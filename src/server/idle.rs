//! How long a connection may have nothing to do.
//!
//! A connection on which nobody asks for anything has a place that others want. hyper gives HTTP/1.1 a time
//! for each request's head, but not before it has read which HTTP is spoken, and HTTP/2 none at all. So the
//! requests of a connection are counted, from their heads to the ends of their answers.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

/// The requests of a connection.
#[derive(Clone, Default)]
pub(crate) struct Requests(Arc<Counts>);

#[derive(Default)]
struct Counts {
    begun: AtomicU64,
    ended: AtomicU64,
}

/// A request that is being answered, until this is dropped.
pub(crate) struct Answering(Arc<Counts>);

impl Requests {
    /// A request has come.
    pub(crate) fn begin(&self) -> Answering {
        self.0.begun.fetch_add(1, Ordering::Relaxed);
        Answering(self.0.clone())
    }

    /// Waits until none has come for so long after the start, or there has been none to answer for `idle`.
    pub(crate) async fn cease(&self, first: Duration, idle: Duration) {
        tokio::time::sleep(first).await;
        if self.0.begun.load(Ordering::Relaxed) > 0 {
            self.pause(idle).await;
        }
    }

    /// Waits until there has been none to answer for so long, at most twice that.
    pub(crate) async fn pause(&self, idle: Duration) {
        loop {
            let begun = self.0.begun.load(Ordering::Relaxed);
            let all_ended = self.0.ended.load(Ordering::Relaxed) == begun;
            tokio::time::sleep(idle).await;
            if all_ended && self.0.begun.load(Ordering::Relaxed) == begun {
                return;
            }
        }
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Ordering::Relaxed);
    }
}

/// An answer that counts as being given until it is gone.
pub(crate) struct Counted<B> {
    body: B,
    _answering: Answering,
}

impl<B> Counted<B> {
    pub(crate) fn new(body: B, answering: Answering) -> Counted<B> {
        Counted { body, _answering: answering }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Counted<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
