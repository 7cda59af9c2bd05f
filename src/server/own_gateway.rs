//! The built-in push gateway's place in the house: its route, and the short way to it for our own pushers.

use std::{
    hash::{BuildHasher, RandomState},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use base::{AddressBuckets, Clock, Rate, Turns};
use bytes::Bytes;
use gateway::{Gateway, Outcome};
use push::{Answer, Gateways, Unreached};
use ruma::api::client::push::{Pusher, PusherKind};
use serde_json::{Value, json};
use web::{ApiError, Method, Open, RawCall, Response, Routes, StatusCode, json_response};

use crate::hosts::{host_of_url, host_without_port};

const PATH: &str = "/_matrix/push/v1/notify";

/// Largest request: what homeservers tell of one event.
const LARGEST: base::ByteSize = base::ByteSize::kib(128);

/// Requests from outside that are brought at a time; the others wait in turns, by address. Each has one connection at a time,
/// so this is what strangers take at most of those on which our own notifications go.
const MOST_AT_ONCE: usize = 32;

/// Requests from outside that wait.
const MOST_WAITING: usize = 512;

/// Notifications from one address in the long run, and at once: those of a large homeserver on a busy morning.
const PACE: Rate = Rate { per_second: 100.0, burst: 2_000 };

/// The gateway as it is open to whoever asks: homeservers say nothing of who they are.
pub(crate) struct Counter {
    gateway: Arc<Gateway>,
    turns: Turns<()>,
    lanes: RandomState,
    pace: AddressBuckets,
    clock: Clock,
}

impl Counter {
    pub(crate) fn new(gateway: Arc<Gateway>, clock: Clock) -> Counter {
        let turns = Turns::new(MOST_AT_ONCE, MOST_WAITING);
        Counter { gateway, turns, lanes: RandomState::new(), pace: AddressBuckets::new(PACE), clock }
    }
}

/// The way to push gateways: to our own without a detour over the network, where it may not even lead back to us.
pub(crate) struct OwnFirst {
    pub(crate) own: Option<Arc<Gateway>>,
    /// The hosts by which we are known.
    pub(crate) hosts: Vec<String>,
    pub(crate) others: Arc<dyn Gateways>,
}

impl OwnFirst {
    fn own_for(&self, pusher: &Pusher) -> Option<&Gateway> {
        let own = self.own.as_deref().filter(|own| own.serves(&pusher.ids.app_id))?;
        let PusherKind::Http(data) = &pusher.kind else { return None };
        let host = host_without_port(host_of_url(&data.url)?);
        self.hosts.iter().any(|known| known.eq_ignore_ascii_case(host)).then_some(own)
    }
}

#[async_trait]
impl Gateways for OwnFirst {
    async fn notify(&self, pusher: &Pusher, body: Bytes, deadline: Duration) -> Result<Answer, Unreached> {
        let Some(own) = self.own_for(pusher) else {
            return self.others.notify(pusher, body, deadline).await;
        };
        let (status, retry_after, body) = match own.notify(&body).await {
            Outcome::Taken { rejected } => {
                (StatusCode::OK, None, Bytes::from(json!({ "rejected": rejected }).to_string()))
            }
            Outcome::Refused(_) => (StatusCode::BAD_REQUEST, None, Bytes::new()),
            Outcome::NotNow(wait) => (StatusCode::BAD_GATEWAY, wait, Bytes::new()),
        };
        Ok(Answer { status: status.as_u16(), retry_after, body })
    }

    fn lane_of(&self, pusher: &Pusher) -> Option<String> {
        let own = self.own_for(pusher)?;
        let PusherKind::Http(data) = &pusher.kind else { return None };
        let endpoint = data.data.get("endpoint").and_then(Value::as_str);
        own.service_of(&pusher.ids.app_id, &pusher.ids.pushkey, endpoint)
    }
}

/// The routes of the gateway.
pub(crate) fn routes(counter: &Arc<Counter>) -> Routes<Counter> {
    Routes::new(counter.clone()).body_limit(LARGEST).any_host().raw(Method::GET, PATH, tell_of_it).raw(
        Method::POST,
        PATH,
        notify,
    )
}

/// `GET /_matrix/push/v1/notify`: that there is a gateway, as UnifiedPush has clients ask, and the key with which browsers
/// subscribe.
///
/// See <https://unifiedpush.org/developers/gateway/>
async fn tell_of_it(counter: Arc<Counter>, _: RawCall<Open>) -> Result<Response, ApiError> {
    let answer = json!({
        "unifiedpush": { "gateway": "matrix" },
        "webpush": { "application_server_key": counter.gateway.public_key() },
    });
    Ok(json_response(StatusCode::OK, &answer))
}

/// `POST /_matrix/push/v1/notify`: what a homeserver tells.
///
/// Spec: <https://spec.matrix.org/v1.19/push-gateway-api/#post_matrixpushv1notify>
async fn notify(counter: Arc<Counter>, call: RawCall<Open>) -> Result<Response, ApiError> {
    if let Some(address) = call.address {
        let pace = counter.pace.take(&PATH, address, counter.clock.instant());
        pace.map_err(|wait| ApiError::over("push_gateway", wait))?;
    }
    if call.parts.headers.contains_key(gateway::MARK) {
        return Err(ApiError::new(StatusCode::BAD_REQUEST, "M_UNKNOWN", "A push gateway is no push service"));
    }
    if web::has_private_key(&call.body) {
        return Err(ApiError::bad_request("The body is not a notification"));
    }
    let lane = counter.lanes.hash_one(call.address);
    let Ok(_turn) = counter.turns.wait(lane).await else {
        return Err(ApiError::over("push_gateway", Duration::from_secs(5)));
    };
    match counter.gateway.notify(&call.body).await {
        Outcome::Taken { rejected } => Ok(json_response(StatusCode::OK, &json!({ "rejected": rejected }))),
        Outcome::Refused(why) => Err(ApiError::new(StatusCode::BAD_REQUEST, "M_UNKNOWN", why)),
        Outcome::NotNow(wait) => {
            let error = ApiError::new(
                StatusCode::BAD_GATEWAY,
                "M_UNKNOWN",
                "The push service does not take it at the moment",
            );
            Err(error.after(wait.unwrap_or(Duration::from_secs(30))))
        }
    }
}
