//! What a service asks for, by name.

use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use reqwest::{Body, Method, header};
use ruma::{EventId, OwnedEventId, OwnedRoomAliasId, OwnedRoomId, OwnedUserId, RoomAliasId, RoomId, UserId};
use serde_json::{Map, Value, json};
use tracing::warn;

use super::{Call, Failure, Homeserver, Refusal, TxnId, retry};
use crate::event::AUTOMATED;

/// A pause before the bot tries to introduce itself again.
const PAUSE: Duration = Duration::from_secs(5);

/// A file on its way from the homeserver.
#[derive(Debug)]
pub struct Download {
    /// Its type, as the server gives it.
    pub content_type: Option<String>,
    /// Its size, if the server says it.
    pub length: Option<u64>,
    /// What the server's sanitising did, if this listener stands in a zone that demands it (`X-Yakuba-Sanitised`).
    pub sanitised: Option<String>,
    answer: reqwest::Response,
}

impl Download {
    /// The next part; none at the end.
    ///
    /// # Errors
    /// [`Failure::Passing`] when the connection broke.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Failure> {
        Ok(self.answer.chunk().await?)
    }
}

fn odd(what: &str) -> Failure {
    Failure::Passing { cause: format!("the answer has no {what}"), after: None, status: None }
}

pub(super) fn id<'a, T: TryFrom<&'a str>>(answer: &'a Value, key: &str) -> Result<T, Failure> {
    answer.get(key).and_then(Value::as_str).and_then(|id| id.try_into().ok()).ok_or_else(|| odd(key))
}

impl Homeserver {
    /// Makes a request; the path below `/_matrix` by its segments, which are escaped here. For what has no verb of its own.
    ///
    /// # Errors
    /// [`Failure`], after some tries.
    pub async fn call(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Result<Value, Failure> {
        let call = Call::new(method, path).query(query);
        let call = match body {
            Some(body) => call.json(body),
            None => call,
        };
        retry::again(|| self.ask(&call)).await
    }

    async fn get(&self, path: &[&str]) -> Result<Value, Failure> {
        self.call(Method::GET, path, &[], None).await
    }

    pub(super) async fn post(&self, path: &[&str], body: &Value) -> Result<Value, Failure> {
        self.call(Method::POST, path, &[], Some(body)).await
    }

    async fn put(&self, path: &[&str], body: &Value) -> Result<Value, Failure> {
        self.call(Method::PUT, path, &[], Some(body)).await
    }

    /// Makes sure that the user is there.
    ///
    /// # Errors
    /// [`Failure`]
    ///
    /// Spec: <https://spec.matrix.org/v1.19/application-service-api/#server-admin-style-permissions>
    pub async fn register(&self) -> Result<(), Failure> {
        let body = json!({
            "type": "m.login.application_service", "username": self.user().localpart(), "inhibit_login": true,
        });
        match self.post(&["client", "v3", "register"], &body).await {
            Err(failure) if !failure.is("M_USER_IN_USE") => Err(failure),
            _ => Ok(()),
        }
    }

    /// Names the user, unless it bears that name already.
    ///
    /// # Errors
    /// [`Failure`]
    pub async fn set_display_name(&self, name: &str) -> Result<(), Failure> {
        let path = ["client", "v3", "profile", self.user().as_str(), "displayname"];
        let now = match self.get(&path).await {
            Err(failure) if failure.may_pass() => return Err(failure),
            now => now.unwrap_or_default(),
        };
        if now.get("displayname").and_then(Value::as_str) != Some(name) {
            self.put(&path, &json!({ "displayname": name })).await?;
        }
        Ok(())
    }

    /// Makes sure that the user is there and bears a name, however long the homeserver is away.
    pub async fn introduce(&self, name: &str) {
        let attempt = async || {
            self.register().await?;
            self.set_display_name(name).await
        };
        while let Err(error) = attempt().await {
            warn!(%error, "the bot cannot introduce itself");
            if !error.may_pass() {
                return;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Creates a room. Asked twice, it makes two, unless the wishes name an alias.
    ///
    /// # Errors
    /// [`Failure`]; `M_ROOM_IN_USE` when the alias is there.
    pub async fn create_room(&self, wishes: &Value) -> Result<OwnedRoomId, Failure> {
        id(&self.post(&["client", "v3", "createRoom"], wishes).await?, "room_id")
    }

    /// The room of an alias.
    ///
    /// # Errors
    /// [`Failure`]
    pub async fn find_alias(&self, alias: &RoomAliasId) -> Result<Option<OwnedRoomId>, Failure> {
        let path = ["client", "v3", "directory", "room", alias.as_str()];
        found(self.get(&path).await)?.map(|answer| id(&answer, "room_id")).transpose()
    }

    /// Gives an alias up. Nothing happens where it is not.
    ///
    /// # Errors
    /// [`Failure`]
    pub async fn remove_alias(&self, alias: &RoomAliasId) -> Result<(), Failure> {
        let path = ["client", "v3", "directory", "room", alias.as_str()];
        found(self.call(Method::DELETE, &path, &[], None).await).map(drop)
    }

    /// Gives a room an alias in place of another, which goes in any case: where the new one is refused, it is there already, or we are not
    /// in the room any more.
    ///
    /// # Errors
    /// [`Failure`] that may pass.
    pub async fn replace_alias(
        &self,
        room: &RoomId,
        old: &RoomAliasId,
        new: &RoomAliasId,
    ) -> Result<(), Failure> {
        let path = ["client", "v3", "directory", "room", new.as_str()];
        tolerated(self.put(&path, &json!({ "room_id": room })).await)?;
        match self.remove_alias(old).await {
            Err(failure) if !failure.may_pass() => {
                warn!(room_id = %room, error = %failure, "an alias cannot be taken away")
            }
            removed => removed?,
        }
        let canonical = json!({ "alias": new });
        tolerated(self.set_state(room, "m.room.canonical_alias", "", &canonical).await)
    }

    /// The aliases that a room has here.
    ///
    /// # Errors
    /// [`Failure`]
    pub async fn aliases(&self, room: &RoomId) -> Result<Vec<OwnedRoomAliasId>, Failure> {
        let answer = self.get(&["client", "v3", "rooms", room.as_str(), "aliases"]).await?;
        let list = answer.get("aliases").and_then(Value::as_array).cloned().unwrap_or_default();
        Ok(list.iter().filter_map(|alias| alias.as_str()?.try_into().ok()).collect())
    }

    /// Joins a room.
    ///
    /// # Errors
    /// [`Failure`]
    pub async fn join(&self, room: &RoomId) -> Result<(), Failure> {
        self.post(&["client", "v3", "rooms", room.as_str(), "join"], &json!({})).await.map(drop)
    }

    /// Leaves a room, or refuses its invite.
    ///
    /// # Errors
    /// [`Failure`]
    pub async fn leave(&self, room: &RoomId, reason: &str) -> Result<(), Failure> {
        self.post(&["client", "v3", "rooms", room.as_str(), "leave"], &json!({ "reason": reason }))
            .await
            .map(drop)
    }

    /// Asks a user in.
    ///
    /// # Errors
    /// [`Failure`]
    pub async fn invite(&self, room: &RoomId, user: &UserId) -> Result<(), Failure> {
        self.post(&["client", "v3", "rooms", room.as_str(), "invite"], &json!({ "user_id": user }))
            .await
            .map(drop)
    }

    /// Has a user leave, or takes an invite back.
    ///
    /// # Errors
    /// [`Failure`]
    pub async fn kick(&self, room: &RoomId, user: &UserId, reason: &str) -> Result<(), Failure> {
        let body = json!({ "user_id": user, "reason": reason });
        self.post(&["client", "v3", "rooms", room.as_str(), "kick"], &body).await.map(drop)
    }

    /// Sends an event. Messages say that a program sends them, so that no other program obeys what stands in them.
    ///
    /// # Errors
    /// [`Failure`]
    pub async fn send(
        &self,
        room: &RoomId,
        kind: &str,
        txn: &TxnId,
        content: &Value,
    ) -> Result<OwnedEventId, Failure> {
        let path = ["client", "v3", "rooms", room.as_str(), "send", kind, txn.as_str()];
        let mut content = content.clone();
        if let Some(content) = content.as_object_mut().filter(|_| kind == "m.room.message") {
            content.insert(AUTOMATED.to_owned(), true.into());
        }
        id(&self.put(&path, &content).await?, "event_id")
    }

    /// Sends a message of a program (`m.notice`).
    ///
    /// # Errors
    /// [`Failure`]
    pub async fn notice(&self, room: &RoomId, txn: &TxnId, text: &str) -> Result<OwnedEventId, Failure> {
        let content = json!({ "msgtype": "m.notice", "body": text, "m.mentions": {} });
        self.send(room, "m.room.message", txn, &content).await
    }

    /// Redacts an event.
    ///
    /// # Errors
    /// [`Failure`]
    pub async fn redact(
        &self,
        room: &RoomId,
        event: &EventId,
        txn: &TxnId,
        reason: &str,
    ) -> Result<(), Failure> {
        let path = ["client", "v3", "rooms", room.as_str(), "redact", event.as_str(), txn.as_str()];
        self.put(&path, &json!({ "reason": reason })).await.map(drop)
    }

    /// A piece of a room's state.
    ///
    /// # Errors
    /// [`Failure`]
    pub async fn state(
        &self,
        room: &RoomId,
        kind: &str,
        key: &str,
    ) -> Result<Option<Map<String, Value>>, Failure> {
        let path = ["client", "v3", "rooms", room.as_str(), "state", kind, key];
        Ok(found(self.get(&path).await)?.and_then(|content| content.as_object().cloned()))
    }

    /// What a user is in a room (`join`, `invite`, …), as far as it can be seen: who was put out sees how it was then.
    ///
    /// # Errors
    /// [`Failure`]
    pub async fn membership(&self, room: &RoomId, user: &UserId) -> Result<Option<String>, Failure> {
        let member = self.state(room, "m.room.member", user.as_str()).await?;
        Ok(member.and_then(|member| Some(member.get("membership")?.as_str()?.to_owned())))
    }

    /// Whether a user is in a room.
    ///
    /// # Errors
    /// [`Failure`]
    pub async fn is_joined(&self, room: &RoomId, user: &UserId) -> Result<bool, Failure> {
        Ok(self.membership(room, user).await?.as_deref() == Some("join"))
    }

    /// Whether a user is in a room or asked in.
    ///
    /// # Errors
    /// [`Failure`]
    pub async fn is_joined_or_invited(&self, room: &RoomId, user: &UserId) -> Result<bool, Failure> {
        Ok(matches!(self.membership(room, user).await?.as_deref(), Some("join" | "invite")))
    }

    /// An event; none if it is not there, or not for us.
    ///
    /// # Errors
    /// [`Failure`]
    pub async fn find_event(&self, room: &RoomId, event: &EventId) -> Result<Option<Value>, Failure> {
        found(self.get(&["client", "v3", "rooms", room.as_str(), "event", event.as_str()]).await)
    }

    /// Sets a piece of a room's state.
    ///
    /// # Errors
    /// [`Failure`]
    pub async fn set_state(
        &self,
        room: &RoomId,
        kind: &str,
        key: &str,
        content: &Value,
    ) -> Result<OwnedEventId, Failure> {
        let path = ["client", "v3", "rooms", room.as_str(), "state", kind, key];
        id(&self.put(&path, content).await?, "event_id")
    }

    /// Who is in a room.
    ///
    /// # Errors
    /// [`Failure`]
    pub async fn joined_members(&self, room: &RoomId) -> Result<Vec<OwnedUserId>, Failure> {
        let answer = self.get(&["client", "v3", "rooms", room.as_str(), "joined_members"]).await?;
        let joined = answer.get("joined").and_then(Value::as_object).cloned().unwrap_or_default();
        Ok(joined.keys().filter_map(|user| user.as_str().try_into().ok()).collect())
    }

    /// Uploads a file as it comes; it is never whole in memory. It is not tried again: its parts are gone.
    ///
    /// # Errors
    /// [`Failure`]
    pub async fn upload<E>(
        &self,
        name: &str,
        content_type: &str,
        length: Option<u64>,
        parts: impl Stream<Item = Result<Bytes, E>> + Send + 'static,
    ) -> Result<String, Failure>
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>> + 'static,
    {
        let url = self.url(&["media", "v3", "upload"], &[("filename", name)]);
        let mut request = self.0.client.post(url).bearer_auth(&self.0.token);
        request = request.header(header::CONTENT_TYPE, content_type).body(Body::wrap_stream(parts));
        if let Some(length) = length {
            request = request.header(header::CONTENT_LENGTH, length);
        }
        let answer = self.judge(request.send().await?).await?;
        id::<&str>(&answer, "content_uri").map(str::to_owned)
    }

    /// Fetches a file by its `mxc:` URI; its parts follow by [`Download::chunk`].
    ///
    /// # Errors
    /// [`Failure`]
    pub async fn download(&self, uri: &str) -> Result<Download, Failure> {
        let parts = uri.strip_prefix("mxc://").and_then(|rest| rest.split_once('/'));
        let Some((server, id)) = parts.filter(|(server, id)| !server.is_empty() && !id.is_empty()) else {
            let message = "no mxc: URI".to_owned();
            return Err(Failure::Refused(Refusal::new(
                http::StatusCode::BAD_REQUEST,
                "M_INVALID_PARAM",
                message,
            )));
        };
        let url = self.url(&["client", "v1", "media", "download", server, id], &[]);
        retry::again(|| async {
            let answer = self.0.client.get(&url).bearer_auth(&self.0.token).send().await?;
            if !answer.status().is_success() {
                return Err(self.judge(answer).await.err().unwrap_or_else(|| odd("status")));
            }
            let text = |name: &str| Some(answer.headers().get(name)?.to_str().ok()?.to_owned());
            Ok(Download {
                content_type: text("content-type"),
                length: answer.content_length(),
                sanitised: text("x-yakuba-sanitised"),
                answer,
            })
        })
        .await
    }
}

/// What is refused is left out.
fn tolerated<T>(outcome: Result<T, Failure>) -> Result<(), Failure> {
    match outcome {
        Err(failure) if failure.may_pass() => Err(failure),
        _ => Ok(()),
    }
}

/// An answer, or none where there is nothing.
pub(super) fn found(answer: Result<Value, Failure>) -> Result<Option<Value>, Failure> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(Failure::Refused(refusal)) if refusal.status == http::StatusCode::NOT_FOUND => Ok(None),
        Err(failure) => Err(failure),
    }
}
