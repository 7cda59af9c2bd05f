//! Answers as large as the state of a room: made part by part as they are sent, and few parts at a time.

use std::{mem, sync::Arc};

use base::Timestamp;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use room::read::{
    list::EventList,
    members::JoinedMember,
    view::{Form, write_str},
};
use serde_json::json;
use tokio::sync::Semaphore;
use tracing::warn;
use web::{ApiError, Response, json_bytes, json_stream};

use crate::{ClientApi, send::hide_room};

/// So many parts are made at a time, each of a few hundred events; whoever wants one more waits. A client that is
/// slow to take what was made for it holds up nobody.
const AT_ONCE: usize = 4;

/// The right to make a part of a large answer, given out in turn.
pub(crate) struct Making(Semaphore);

impl Default for Making {
    fn default() -> Self {
        Self(Semaphore::new(AT_ONCE))
    }
}

/// What is told of the events of a list.
#[derive(Clone, Copy)]
pub(crate) enum Telling {
    /// They themselves, as a list.
    Events,
    /// The same under `chunk`.
    Chunk,
    /// Under `joined`, names and pictures of those whose member events they are.
    Joined,
}

impl Telling {
    fn opening(self) -> &'static str {
        match self {
            Self::Events => "[",
            Self::Chunk => r#"{"chunk":["#,
            Self::Joined => r#"{"joined":{"#,
        }
    }

    fn closing(self) -> &'static str {
        match self {
            Self::Events => "]",
            Self::Chunk => "]}",
            Self::Joined => "}}",
        }
    }
}

/// Answers with a list. What fails after the beginning was sent breaks the body off, so that nobody takes it for whole.
pub(crate) async fn answer(
    api: Arc<ClientApi>,
    list: EventList,
    telling: Telling,
) -> Result<Response, ApiError> {
    let now = api.clock.now();
    let mut body = LargeBody { api, list, telling, now, is_begun: false, has_any: false };
    let first = body.next().await.map_err(hide_room)?;
    if body.list.is_at_end() {
        return Ok(json_bytes(first));
    }
    let rest = stream::try_unfold(body, async |mut body| {
        if body.list.is_at_end() {
            return Ok(None);
        }
        let part = body.next().await.inspect_err(|error| warn!(%error, "a large answer is broken off"))?;
        Ok::<_, room::Error>(Some((part, body)))
    });
    Ok(json_stream(stream::once(std::future::ready(Ok(first))).chain(rest)))
}

/// A body in the making.
struct LargeBody {
    api: Arc<ClientApi>,
    list: EventList,
    telling: Telling,
    now: Timestamp,
    is_begun: bool,
    has_any: bool,
}

impl LargeBody {
    /// The next part; the last one, when the list is at its end.
    async fn next(&mut self) -> Result<Bytes, room::Error> {
        let api = self.api.clone();
        // Nobody ever closes it.
        let _turn = api.making.0.acquire().await.ok();
        let mut out = Vec::with_capacity(64 << 10);
        if !mem::replace(&mut self.is_begun, true) {
            out.extend_from_slice(self.telling.opening().as_bytes());
        }
        match self.telling {
            Telling::Events | Telling::Chunk => {
                for look in self.list.next().await? {
                    self.separate(&mut out);
                    look.write(&mut out, Form::Full, self.now);
                }
            }
            Telling::Joined => {
                for event in self.list.next_stored().await? {
                    let Some(JoinedMember { user_id, displayname, avatar_url }) = JoinedMember::of(&event)
                    else {
                        continue;
                    };
                    self.separate(&mut out);
                    write_str(&mut out, user_id.as_str());
                    out.push(b':');
                    // Both keys are there even when they are null.
                    let shown = json!({ "display_name": displayname, "avatar_url": avatar_url });
                    out.extend_from_slice(shown.to_string().as_bytes());
                }
            }
        }
        if self.list.is_at_end() {
            out.extend_from_slice(self.telling.closing().as_bytes());
        }
        Ok(out.into())
    }

    fn separate(&mut self, out: &mut Vec<u8>) {
        if mem::replace(&mut self.has_any, true) {
            out.push(b',');
        }
    }
}
