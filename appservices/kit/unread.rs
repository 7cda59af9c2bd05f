//! The part of a request's body that its handler did not read.
//!
//! A refusal is often known before the body has come. Where the connection is closed with the body still under way, the sender's kernel
//! reports a reset, and the answer that was there before it is lost. So what is left is taken, within bounds, while the answer goes out
//! and after it; the answer says that the connection ends then.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Limited};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use parking_lot::Mutex;

/// More than this is not taken for the sake of an answer: what pages send at a time comes whole, also twice as long.
const MOST: usize = 16 << 20;

/// Nor is a sender waited for longer, who may have a slow line.
const LONGEST: Duration = Duration::from_secs(60);

/// A body that its handler reads, and that can be read on after the handler is gone.
pub(crate) struct Shared(Arc<Mutex<State>>);

struct State {
    body: Incoming,
    is_touched: bool,
    is_over: bool,
}

/// The other end of a [`Shared`].
pub(crate) struct Rest(Arc<Mutex<State>>);

/// Splits a body into what the handler gets and what is read to the end after it.
pub(crate) fn share(body: Incoming) -> (Shared, Rest) {
    let is_over = body.is_end_stream();
    let state = Arc::new(Mutex::new(State { body, is_touched: false, is_over }));
    (Shared(state.clone()), Rest(state))
}

impl Rest {
    /// Whether something is left that its sender sends without being asked. `awaits_permission`: he sends nothing before he is told to
    /// go on (`Expect: 100-continue`), which reading would do.
    pub(crate) fn is_left(&self, awaits_permission: bool) -> bool {
        let state = self.0.lock();
        !state.is_over && !state.body.is_end_stream() && (state.is_touched || !awaits_permission)
    }

    /// Takes what is left.
    pub(crate) async fn discard(self) {
        let mut rest = Limited::new(Shared(self.0), MOST);
        let read = async { while let Some(Ok(_)) = rest.frame().await {} };
        // Whoever sends slower than that, or more, finds out by the reset.
        drop(tokio::time::timeout(LONGEST, read).await);
    }
}

impl Body for Shared {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let mut state = self.0.lock();
        state.is_touched = true;
        let polled = Pin::new(&mut state.body).poll_frame(context);
        state.is_over |= matches!(polled, Poll::Ready(None | Some(Err(_))));
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.0.lock().body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.lock().body.size_hint()
    }
}
