//! What clients are told of their users' subscriptions to threads (MSC4308).
//!
//! Sliding sync tells the newest changes, and of those for which there is no room a token, with which the client asks for
//! the rest when it wants.
//!
//! Proposal: <https://github.com/matrix-org/matrix-spec-proposals/pull/4308>

use std::{collections::BTreeMap, fmt, str::FromStr, sync::Arc};

use account::{ThreadChange, ThreadSubscription};
use ruma::{EventId, RoomId, UserId};
use serde::Deserialize;
use serde_json::{Value, json};
use store::{Moved, Position, Topic};
use web::{ApiError, RawCall, Response, StatusCode, User, json_response};

use crate::{
    Error, Syncs,
    connections::{Place, SlidingRequest},
};

/// Where clients ask for what went into no answer.
pub(crate) const REST: &str = "/_matrix/client/unstable/io.element.msc4308/thread_subscriptions";

/// So many are told when the client does not say how many, and at most.
const LIMIT: u64 = 100;
const MOST: u64 = 500;

/// Changes of subscriptions, and where to go on if there are more.
#[derive(Debug, Default)]
pub(crate) struct ThreadChanges {
    changes: Vec<ThreadChange>,
    rest: Option<ThreadToken>,
}

/// A place in the list of changes: what comes next was committed before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ThreadToken(Position);

const PREFIX: &str = "t1_";

impl fmt::Display for ThreadToken {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{PREFIX}{}", self.0.0)
    }
}

impl FromStr for ThreadToken {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let digits = text.strip_prefix(PREFIX).ok_or(())?;
        match digits.bytes().all(|byte| byte.is_ascii_digit()) {
            true => digits.parse().map(|number| Self(Position(number))).map_err(|_| ()),
            false => Err(()),
        }
    }
}

impl ThreadChanges {
    pub(crate) fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.rest.is_none()
    }

    /// The changes by room and by what the threads begin with; `rest` names the token.
    pub(crate) fn told(&self, rest: &str) -> Value {
        type Rooms<'a> = BTreeMap<&'a RoomId, BTreeMap<&'a EventId, Value>>;
        let (mut subscribed, mut unsubscribed) = (Rooms::new(), Rooms::new());
        for ThreadChange { room_id, thread, subscription, position } in &self.changes {
            let stamp = position.0;
            match subscription {
                Some(subscription) => {
                    let automatic = *subscription == ThreadSubscription::Automatic;
                    let value = json!({ "automatic": automatic, "bump_stamp": stamp });
                    subscribed.entry(room_id).or_default().insert(thread, value)
                }
                None => {
                    let value = json!({ "bump_stamp": stamp });
                    unsubscribed.entry(room_id).or_default().insert(thread, value)
                }
            };
        }
        let mut told = json!({});
        for (name, rooms) in [("subscribed", subscribed), ("unsubscribed", unsubscribed)] {
            if !rooms.is_empty() {
                told[name] = json!(rooms);
            }
        }
        if let Some(token) = &self.rest {
            told[rest] = json!(token.to_string());
        }
        told
    }
}

impl Syncs {
    /// What changed of the user's subscriptions since the client was told last.
    pub(crate) async fn threads_for(
        &self,
        request: &SlidingRequest,
        since: Option<Position>,
        head: Position,
    ) -> Result<ThreadChanges, Error> {
        let asked = &request.body.extensions.threads;
        let user = &request.user;
        let is_still = |since| self.store().moved(Topic::account_data(user.as_str()), since) == Moved::No;
        if !asked.is_on() || since.is_some_and(is_still) {
            return Ok(ThreadChanges::default());
        }
        self.thread_changes(user, since.unwrap_or(Position::START), head, asked.limit).await
    }

    async fn thread_changes(
        &self,
        user: &UserId,
        after: Position,
        through: Position,
        limit: Option<u64>,
    ) -> Result<ThreadChanges, Error> {
        let limit = usize::try_from(limit.unwrap_or(LIMIT).clamp(1, MOST)).unwrap_or(1);
        let (changes, last) = self.accounts().thread_changes(user, after, through, limit).await?;
        Ok(ThreadChanges { changes, rest: last.map(ThreadToken) })
    }
}

#[derive(Deserialize)]
struct Query {
    dir: Option<String>,
    from: Option<String>,
    to: Option<String>,
    limit: Option<u64>,
}

/// `GET /_matrix/client/unstable/io.element.msc4308/thread_subscriptions`: changes of the caller's subscriptions, the newest
/// first.
pub(crate) async fn rest(syncs: Arc<Syncs>, call: RawCall<User>) -> Result<Response, ApiError> {
    let query: Query = call.query()?;
    match query.dir.as_deref() {
        Some("b") => {}
        Some(_) => return Err(ApiError::invalid_param("`dir` is `b`")),
        None => return Err(ApiError::missing_param("`dir` is missing")),
    }
    if query.limit == Some(0) {
        return Err(ApiError::invalid_param("`limit` is greater than 0"));
    }
    let after = match query.to.as_deref() {
        None | Some("") => Position::START,
        Some(to) => match (to.parse::<Place>(), to.parse::<ThreadToken>()) {
            (Ok(place), _) => place.position(),
            (_, Ok(ThreadToken(position))) => position,
            _ => return Err(ApiError::invalid_param("`to` is not a token of this server")),
        },
    };
    let head = syncs.store().head();
    let through = match query.from.as_deref() {
        None | Some("") => head,
        Some(from) => match from.parse::<ThreadToken>() {
            Ok(ThreadToken(Position(from))) => Position(from.saturating_sub(1)).min(head),
            Err(()) => return Err(ApiError::invalid_param("`from` is not a token of this list")),
        },
    };
    let changes = syncs.thread_changes(&call.caller.user_id, after, through, query.limit).await?;
    Ok(json_response(StatusCode::OK, &changes.told("end")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_as_it_was_written_and_nothing_else_is() {
        let token = ThreadToken(Position(4_711));
        assert_eq!(token.to_string().parse(), Ok(token));
        for text in ["", "abc", "t1_", "t1_-3", "t1_+3", "s1_3", "t1_99999999999999999999"] {
            assert_eq!(text.parse::<ThreadToken>(), Err(()), "{text}");
        }
    }
}
