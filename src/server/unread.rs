//! The part of a request's body that no handler read.
//!
//! A refusal is often known before the body has arrived. Where the answer is written and the connection
//! closed with the body still under way, the client's kernel reports a reset and the refusal is lost.
//! So what remains is read, within bounds, before the answer goes out.

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

/// More than this is not taken for the sake of an answer.
const MOST: usize = 16 << 20;

/// Nor is a client waited for longer.
const LONGEST: Duration = Duration::from_secs(5);

/// A body that its handler reads, and that can be read on after the handler is gone.
pub(crate) struct Shared(Arc<Mutex<State>>);

struct State {
    body: Incoming,
    touched: bool,
}

/// The other end of a [`Shared`].
pub(crate) struct Rest(Arc<Mutex<State>>);

/// Splits a body into what the handler gets and what is read to the end after it.
pub(crate) fn share(body: Incoming) -> (Shared, Rest) {
    let state = Arc::new(Mutex::new(State { body, touched: false }));
    (Shared(state.clone()), Rest(state))
}

impl Rest {
    /// Reads what is left. `awaits_permission`: the client sends nothing before it is told to
    /// continue (`Expect: 100-continue`), which reading would do.
    pub(crate) async fn discard(self, awaits_permission: bool) {
        {
            let state = self.0.lock();
            if state.body.is_end_stream() || (awaits_permission && !state.touched) {
                return;
            }
        }
        let mut rest = Limited::new(Shared(self.0), MOST);
        let read = async { while let Some(Ok(_)) = rest.frame().await {} };
        // Whoever sends slower than that or more finds out by the reset.
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
        state.touched = true;
        Pin::new(&mut state.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.0.lock().body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.lock().body.size_hint()
    }
}
