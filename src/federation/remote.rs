//! The requests that the room engine makes to other servers, as HTTP.
//!
//! Which servers to ask, and whom next, is the engine's business; here one request goes to one server.

use async_trait::async_trait;
use bytes::Bytes;
use engine::{
    MAX_SERVERS, Remote,
    ports::{AliasAnswer, Joined, MissingEvents, StateEvents, StateIds, Template},
};
use http::Method;
use room::{
    RemoteError,
    read::{bounded::first, space::SpaceAnswer},
};
use ruma::{
    EventId, OwnedEventId, OwnedRoomId, OwnedServerName, RoomAliasId, RoomId, RoomVersionId, ServerName,
    UserId,
};
use serde::{Deserialize, Deserializer, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value, value::RawValue};

use crate::{
    bounded::{AtMost, Lenient},
    client::{
        Body, Client, FEW_EVENTS, JOIN, ONE_EVENT, Outgoing, PAGE_OF_EVENTS, PROFILE, SMALL, STATE,
        STATE_IDS, bad_answer,
    },
    path::Path,
    profile,
    transport::{Budget, Cause},
};

/// The room engine's way to other servers. Cheap to clone.
#[derive(Clone)]
pub struct Peering {
    client: Client,
}

impl Peering {
    pub(crate) fn new(client: Client) -> Self {
        Self { client }
    }

    async fn get<T: DeserializeOwned>(
        &self,
        from: &ServerName,
        to: &ServerName,
        path: Path,
        budget: Budget,
    ) -> Result<T, RemoteError> {
        let cause = Cause::Ours;
        let outgoing = Outgoing { from, to, method: Method::GET, path, body: Body::None, budget, cause };
        self.client.ask(outgoing).await
    }

    async fn put<T: DeserializeOwned>(
        &self,
        from: &ServerName,
        to: &ServerName,
        path: Path,
        body: Bytes,
        budget: Budget,
    ) -> Result<T, RemoteError> {
        let (body, cause) = (Body::Json(body), Cause::Ours);
        let outgoing = Outgoing { from, to, method: Method::PUT, path, body, budget, cause };
        self.client.ask(outgoing).await
    }

    /// `GET /query/profile`: the profile of a user of another server, or one field of it; of what is told, what a
    /// profile can hold.
    ///
    /// # Errors
    /// [`RemoteError`] as the other server, or the way to it, has it.
    pub async fn query_profile(
        &self,
        from: &ServerName,
        user_id: &UserId,
        field: Option<&str>,
    ) -> Result<Map<String, Value>, RemoteError> {
        let mut path = query("profile").query("user_id", user_id);
        if let Some(field) = field {
            path = path.query("field", field);
        }
        let outgoing = Outgoing {
            from,
            to: user_id.server_name(),
            method: Method::GET,
            path,
            body: Body::None,
            budget: PROFILE,
            cause: Cause::Profile,
        };
        let told: Map<String, Value> = self.client.ask(outgoing).await?;
        Ok(profile::bounded(told))
    }

    /// `GET /hierarchy`: what another server tells of a space, or another room, and of the rooms in it.
    ///
    /// # Errors
    /// [`RemoteError`] as the other server, or the way to it, has it.
    pub async fn space(
        &self,
        from: &ServerName,
        to: &ServerName,
        room_id: &RoomId,
        suggested_only: bool,
    ) -> Result<SpaceAnswer, RemoteError> {
        let suggested = if suggested_only { "true" } else { "false" };
        let path = v1("hierarchy").segment(room_id).query("suggested_only", suggested);
        self.get(from, to, path, SMALL).await
    }

    /// `GET` or `POST /publicRooms`: the room directory of another server, as JSON.
    ///
    /// # Errors
    /// [`RemoteError`] as the other server, or the way to it, has it.
    pub async fn public_rooms(
        &self,
        from: &ServerName,
        to: &ServerName,
        question: &PublicRoomsQuestion,
    ) -> Result<Box<RawValue>, RemoteError> {
        let body = to_body(to, question)?;
        let outgoing = Outgoing {
            from,
            to,
            method: Method::POST,
            path: v1("publicRooms"),
            body: Body::Json(body),
            budget: SMALL,
            cause: Cause::Ours,
        };
        self.client.ask(outgoing).await
    }

    /// `POST /user/keys/query`: keys of users of another server, as JSON.
    ///
    /// # Errors
    /// [`RemoteError`] as the other server, or the way to it, has it.
    pub async fn query_keys(
        &self,
        from: &ServerName,
        to: &ServerName,
        question: &Value,
    ) -> Result<Box<RawValue>, RemoteError> {
        self.post(from, to, v1("user").segment("keys").segment("query"), question).await
    }

    /// `POST /user/keys/claim`: one-time keys of devices of another server, as JSON.
    ///
    /// # Errors
    /// [`RemoteError`] as the other server, or the way to it, has it.
    pub async fn claim_keys(
        &self,
        from: &ServerName,
        to: &ServerName,
        question: &Value,
    ) -> Result<Box<RawValue>, RemoteError> {
        self.post(from, to, v1("user").segment("keys").segment("claim"), question).await
    }

    async fn post(
        &self,
        from: &ServerName,
        to: &ServerName,
        path: Path,
        question: &Value,
    ) -> Result<Box<RawValue>, RemoteError> {
        let (body, budget, cause) = (Body::Json(to_body(to, question)?), SMALL, Cause::Ours);
        self.client.ask(Outgoing { from, to, method: Method::POST, path, body, budget, cause }).await
    }
}

/// What is asked of another server's room directory.
#[derive(Clone, Debug, Default, Serialize)]
pub struct PublicRoomsQuestion {
    /// At most so many rooms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// Where an earlier answer left off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// What rooms are wanted, as in the specification.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter: Option<Box<RawValue>>,
}

/// Events in a page of history; we ask for a hundred.
const MOST_HISTORY: usize = 200;
/// Events in an answer to `get_missing_events`; we ask for twenty.
const MOST_MISSING: usize = 100;
/// Events in an auth chain.
const MOST_AUTH: usize = 20_000;
/// Ids of a state, and of its auth chain.
const MOST_IDS: usize = 150_000;
/// Events of a state, and of its auth chain, that come in one answer.
const MOST_STATE: usize = 50_000;
/// Events of the state of a room that is joined, and of its auth chain.
const MOST_JOINED: usize = 400_000;
/// Stripped events that tell of a room.
const MOST_STRIPPED: usize = 1_000;
/// Servers of a room that is joined.
const MOST_SERVERS: usize = 20_000;

fn v1(endpoint: &str) -> Path {
    Path::federation("v1").segment(endpoint)
}

fn v2(endpoint: &str) -> Path {
    Path::federation("v2").segment(endpoint)
}

fn query(what: &str) -> Path {
    v1("query").segment(what)
}

fn body_of(event: &RawValue) -> Bytes {
    Bytes::copy_from_slice(event.get().as_bytes())
}

fn to_body<T: Serialize>(to: &ServerName, value: &T) -> Result<Bytes, RemoteError> {
    serde_json::to_vec(value).map(Bytes::from).map_err(|error| bad_answer(to, error.to_string()))
}

#[derive(Deserialize)]
struct TemplateAnswer {
    room_version: Option<RoomVersionId>,
    event: Box<RawValue>,
}

impl From<TemplateAnswer> for Template {
    fn from(answer: TemplateAnswer) -> Self {
        Self { version: answer.room_version, event: answer.event }
    }
}

#[derive(Deserialize)]
struct EventAnswer {
    pdus: AtMost<Box<RawValue>, 1>,
}

#[derive(Deserialize)]
struct HistoryAnswer {
    pdus: AtMost<Box<RawValue>, MOST_HISTORY>,
}

/// Nothing of interest; some servers answer `{}`, some `[]`.
#[derive(Deserialize)]
struct Ignored(#[expect(dead_code, reason = "only its being JSON counts")] Box<RawValue>);

#[async_trait]
impl Remote for Peering {
    async fn make_join(
        &self,
        from: &ServerName,
        to: &ServerName,
        room_id: &RoomId,
        user_id: &UserId,
        versions: &[RoomVersionId],
    ) -> Result<Template, RemoteError> {
        let mut path = v1("make_join").segment(room_id).segment(user_id);
        for version in versions {
            path = path.query("ver", version.as_str());
        }
        self.get::<TemplateAnswer>(from, to, path, ONE_EVENT).await.map(Template::from)
    }

    async fn send_join(
        &self,
        from: &ServerName,
        to: &ServerName,
        room_id: &RoomId,
        event_id: &EventId,
        event: &RawValue,
        omit_members: bool,
    ) -> Result<Joined, RemoteError> {
        #[derive(Deserialize)]
        struct Answer {
            state: AtMost<Box<RawValue>, MOST_JOINED>,
            auth_chain: AtMost<Box<RawValue>, MOST_JOINED>,
            event: Option<Box<RawValue>>,
            #[serde(default, deserialize_with = "pdu::lenient::field")]
            members_omitted: bool,
            #[serde(default, deserialize_with = "some_servers")]
            servers_in_room: Vec<OwnedServerName>,
        }
        // The state tells them as well: of a list that is odd or too long, what can be used will do.
        fn some_servers<'de, D: Deserializer<'de>>(json: D) -> Result<Vec<OwnedServerName>, D::Error> {
            first(json, MOST_SERVERS)
        }

        let mut path = v2("send_join").segment(room_id).segment(event_id);
        if omit_members {
            path = path.query("omit_members", "true");
        }
        let answer: Answer = self.put(from, to, path, body_of(event), JOIN).await?;
        Ok(Joined {
            state: answer.state.0,
            auth_chain: answer.auth_chain.0,
            event: answer.event,
            members_omitted: answer.members_omitted,
            servers_in_room: answer.servers_in_room,
        })
    }

    async fn make_leave(
        &self,
        from: &ServerName,
        to: &ServerName,
        room_id: &RoomId,
        user_id: &UserId,
    ) -> Result<Template, RemoteError> {
        let path = v1("make_leave").segment(room_id).segment(user_id);
        self.get::<TemplateAnswer>(from, to, path, ONE_EVENT).await.map(Template::from)
    }

    async fn send_leave(
        &self,
        from: &ServerName,
        to: &ServerName,
        room_id: &RoomId,
        event_id: &EventId,
        event: &RawValue,
    ) -> Result<(), RemoteError> {
        let path = v2("send_leave").segment(room_id).segment(event_id);
        self.put::<Ignored>(from, to, path, body_of(event), SMALL).await.map(|_| ())
    }

    async fn make_knock(
        &self,
        from: &ServerName,
        to: &ServerName,
        room_id: &RoomId,
        user_id: &UserId,
        versions: &[RoomVersionId],
    ) -> Result<Template, RemoteError> {
        let mut path = v1("make_knock").segment(room_id).segment(user_id);
        for version in versions {
            path = path.query("ver", version.as_str());
        }
        self.get::<TemplateAnswer>(from, to, path, ONE_EVENT).await.map(Template::from)
    }

    async fn send_knock(
        &self,
        from: &ServerName,
        to: &ServerName,
        room_id: &RoomId,
        event_id: &EventId,
        event: &RawValue,
    ) -> Result<Vec<Box<RawValue>>, RemoteError> {
        #[derive(Deserialize)]
        struct Answer {
            #[serde(default, alias = "knock_state_events", deserialize_with = "some_events")]
            knock_room_state: Vec<Box<RawValue>>,
        }
        fn some_events<'de, D: Deserializer<'de>>(json: D) -> Result<Vec<Box<RawValue>>, D::Error> {
            first(json, MOST_STRIPPED)
        }

        let path = v1("send_knock").segment(room_id).segment(event_id);
        let answer: Answer = self.put(from, to, path, body_of(event), SMALL).await?;
        Ok(answer.knock_room_state)
    }

    async fn invite(
        &self,
        from: &ServerName,
        to: &ServerName,
        room_id: &RoomId,
        event_id: &EventId,
        version: &RoomVersionId,
        event: &RawValue,
        invite_room_state: &[Box<RawValue>],
    ) -> Result<Box<RawValue>, RemoteError> {
        #[derive(Serialize)]
        struct Question<'a> {
            event: &'a RawValue,
            invite_room_state: &'a [Box<RawValue>],
            room_version: &'a RoomVersionId,
        }
        #[derive(Deserialize)]
        struct Answer {
            event: Box<RawValue>,
        }

        let path = v2("invite").segment(room_id).segment(event_id);
        let body = to_body(to, &Question { event, invite_room_state, room_version: version })?;
        let answer: Answer = self.put(from, to, path, body, SMALL).await?;
        Ok(answer.event)
    }

    async fn exchange_third_party_invite(
        &self,
        from: &ServerName,
        to: &ServerName,
        room_id: &RoomId,
        event: &RawValue,
    ) -> Result<(), RemoteError> {
        let path = v1("exchange_third_party_invite").segment(room_id);
        // Nothing proves that whoever named this server may: an identity server shows no key that we know.
        let (body, cause) = (Body::Json(body_of(event)), Cause::UnprovenName);
        let outgoing = Outgoing { from, to, method: Method::PUT, path, body, budget: ONE_EVENT, cause };
        self.client.ask::<Ignored>(outgoing).await.map(|_| ())
    }

    async fn get_missing_events(
        &self,
        from: &ServerName,
        to: &ServerName,
        question: MissingEvents<'_>,
    ) -> Result<Vec<Box<RawValue>>, RemoteError> {
        #[derive(Serialize)]
        struct Question<'a> {
            earliest_events: &'a [OwnedEventId],
            latest_events: &'a [OwnedEventId],
            limit: u32,
            min_depth: u64,
        }
        #[derive(Deserialize)]
        struct Answer {
            #[serde(default)]
            events: AtMost<Box<RawValue>, MOST_MISSING>,
        }

        let body = to_body(
            to,
            &Question {
                earliest_events: question.earliest,
                latest_events: question.latest,
                limit: question.limit,
                min_depth: question.min_depth,
            },
        )?;
        let outgoing = Outgoing {
            from,
            to,
            method: Method::POST,
            path: v1("get_missing_events").segment(question.room_id),
            body: Body::Json(body),
            budget: FEW_EVENTS,
            cause: Cause::Ours,
        };
        let answer: Answer = self.client.ask(outgoing).await?;
        Ok(answer.events.0)
    }

    async fn state_ids(
        &self,
        from: &ServerName,
        to: &ServerName,
        room_id: &RoomId,
        event_id: &EventId,
    ) -> Result<StateIds, RemoteError> {
        #[derive(Deserialize)]
        struct Answer {
            pdu_ids: Lenient<OwnedEventId, MOST_IDS>,
            auth_chain_ids: Lenient<OwnedEventId, MOST_IDS>,
        }

        let path = v1("state_ids").segment(room_id).query("event_id", event_id);
        let answer: Answer = self.get(from, to, path, STATE_IDS).await?;
        Ok(StateIds { state: answer.pdu_ids.0, auth_chain: answer.auth_chain_ids.0 })
    }

    async fn state(
        &self,
        from: &ServerName,
        to: &ServerName,
        room_id: &RoomId,
        event_id: &EventId,
    ) -> Result<StateEvents, RemoteError> {
        #[derive(Deserialize)]
        struct Answer {
            pdus: AtMost<Box<RawValue>, MOST_STATE>,
            auth_chain: AtMost<Box<RawValue>, MOST_STATE>,
        }

        let path = v1("state").segment(room_id).query("event_id", event_id);
        let answer: Answer = self.get(from, to, path, STATE).await?;
        Ok(StateEvents { state: answer.pdus.0, auth_chain: answer.auth_chain.0 })
    }

    async fn event(
        &self,
        from: &ServerName,
        to: &ServerName,
        event_id: &EventId,
    ) -> Result<Box<RawValue>, RemoteError> {
        let answer: EventAnswer = self.get(from, to, v1("event").segment(event_id), ONE_EVENT).await?;
        answer.pdus.0.into_iter().next().ok_or_else(|| bad_answer(to, "an answer without the event"))
    }

    async fn event_auth(
        &self,
        from: &ServerName,
        to: &ServerName,
        room_id: &RoomId,
        event_id: &EventId,
    ) -> Result<Vec<Box<RawValue>>, RemoteError> {
        #[derive(Deserialize)]
        struct Answer {
            auth_chain: AtMost<Box<RawValue>, MOST_AUTH>,
        }

        let path = v1("event_auth").segment(room_id).segment(event_id);
        let answer: Answer = self.get(from, to, path, PAGE_OF_EVENTS).await?;
        Ok(answer.auth_chain.0)
    }

    async fn backfill(
        &self,
        from: &ServerName,
        to: &ServerName,
        room_id: &RoomId,
        events: &[OwnedEventId],
        limit: u32,
    ) -> Result<Vec<Box<RawValue>>, RemoteError> {
        let mut path = v1("backfill").segment(room_id).query("limit", limit.to_string());
        for event in events {
            path = path.query("v", event);
        }
        let answer: HistoryAnswer = self.get(from, to, path, PAGE_OF_EVENTS).await?;
        Ok(answer.pdus.0)
    }

    async fn query_directory(
        &self,
        from: &ServerName,
        to: &ServerName,
        alias: &RoomAliasId,
    ) -> Result<AliasAnswer, RemoteError> {
        #[derive(Deserialize)]
        struct Answer {
            room_id: OwnedRoomId,
            #[serde(default, deserialize_with = "some_servers")]
            servers: Vec<OwnedServerName>,
        }
        fn some_servers<'de, D: Deserializer<'de>>(json: D) -> Result<Vec<OwnedServerName>, D::Error> {
            first(json, MAX_SERVERS)
        }

        let path = query("directory").query("room_alias", alias);
        let answer: Answer = self.get(from, to, path, SMALL).await?;
        Ok(AliasAnswer { room_id: answer.room_id, servers: answer.servers })
    }
}
