//! Where others' programs come to: `POST /hook/TOKEN`.
//!
//! Nothing is read of a body before the address and the time are right; what is answered 200 is on the disk.

use std::{collections::HashMap, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::{Path, State},
    response::{IntoResponse, Response},
    routing::post,
};
use bot_kit::{Batch, Rows, Store, StoreError, Table, next_ms, now_ms};
use http::{HeaderValue, Request, StatusCode, header};
use serde::{Deserialize, Serialize};
use serde_json::{json, value::RawValue};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::timeout,
};
use tracing::{info, warn};

use crate::{
    bot::Hook,
    settings::{Form, Incoming},
    signature::{Doubt, Signed},
};

/// What has to come into a room; key: webhook, a slash, milliseconds in twenty digits, a slash, hash of the id.
pub(crate) const JOBS: Table<Job> = Table::new("jobs");
/// When the last one came, of whatever webhook; key: empty.
const LAST: Table<u64> = Table::new("last job");
/// What came; key: webhook, a slash, hash of the id; value: when, in milliseconds.
const TAKEN: Table<u64> = Table::new("taken");
/// The same by age; key: milliseconds in twenty digits, a slash, the key there; value: that key.
const TAKEN_AGES: Table<String> = Table::new("taken by age");

/// An id is known for so long: a sender that was away may come again with a new time and the same id.
const KNOWN_MS: u64 = 7 * 86_400_000;

/// Old ids that go with each new one.
const SWEPT: usize = 8;

/// Jobs of a webhook that wait at most.
const MOST_JOBS: usize = 1_000;

/// Largest bodies, in bytes: a report has photos in it.
const LARGEST_REPORT: usize = 32 << 20;
const LARGEST_MESSAGE: usize = 1 << 20;

/// Bodies that are read at a time for one webhook: more than one address has connections, so that whoever is slow on purpose keeps up no
/// other.
const READERS: usize = 80;

/// A body of at most so many bytes needs no place among the large ones.
const SMALL: usize = 64 << 10;

/// Bytes of large bodies in memory at a time, in MiB.
const LARGE_MIB: usize = 96;

/// Time to wait for a place.
const PATIENCE: Duration = Duration::from_secs(20);

/// After this whoever was refused may come again, in seconds.
const COME_AGAIN: &str = "10";

/// Time for a body: at least this, and a second more for so many bytes.
const DEADLINE: Duration = Duration::from_secs(10);
const SLOWEST: usize = 500_000;

/// What came, and is not in its room yet.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Job {
    pub(crate) id: String,
    /// As it came: what it means is asked when it is told, and what stands in it must not depend on how a row is read.
    pub(crate) body: Box<RawValue>,
    /// When it came, after what came before.
    pub(crate) at_ms: u64,
}

struct Door {
    hook: Arc<Hook>,
    /// By the name of the webhook.
    readers: HashMap<String, Semaphore>,
    large: Semaphore,
}

/// The routes.
pub(crate) fn router(hook: Arc<Hook>) -> Router {
    let names = hook.host.config.bot.incoming.iter().map(|one| one.name.clone());
    let readers = names.map(|name| (name, Semaphore::new(READERS))).collect();
    let door = Door { hook, readers, large: Semaphore::new(LARGE_MIB) };
    Router::new()
        .route("/hook/{token}", post(take))
        .fallback(|| async { Answer(StatusCode::NOT_FOUND, "no such address") })
        .with_state(Arc::new(door))
}

/// A status with a sentence.
struct Answer(StatusCode, &'static str);

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let key = if self.0.is_success() { "status" } else { "error" };
        let body = json!({ key: self.1 }).to_string();
        let mut answer = (self.0, [(header::CONTENT_TYPE, "application/json")], body).into_response();
        if self.0 == StatusCode::SERVICE_UNAVAILABLE {
            answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static(COME_AGAIN));
        }
        answer
    }
}

impl From<Doubt> for Answer {
    fn from(doubt: Doubt) -> Self {
        match doubt {
            Doubt::Headers => Self(
                StatusCode::BAD_REQUEST,
                "webhook-id, webhook-timestamp and webhook-signature are needed",
            ),
            Doubt::Time => Self(StatusCode::UNAUTHORIZED, "the timestamp is too old or from the future"),
            Doubt::Signature => Self(StatusCode::UNAUTHORIZED, "the signature does not fit"),
        }
    }
}

impl Door {
    /// A place to read a body of such a length; it is waited for.
    async fn place(&self, name: &str, length: usize) -> Result<[Option<SemaphorePermit<'_>>; 2], Answer> {
        let both = async {
            let reader = match self.readers.get(name) {
                Some(readers) => readers.acquire().await.ok(),
                None => None,
            };
            let mib = u32::try_from(length.div_ceil(1 << 20)).unwrap_or(u32::MAX);
            let large = if length > SMALL { self.large.acquire_many(mib).await.ok() } else { None };
            [reader, large]
        };
        let busy = |_| Answer(StatusCode::SERVICE_UNAVAILABLE, "too much comes at a time; please come again");
        timeout(PATIENCE, both).await.map_err(busy)
    }
}

async fn take(
    State(door): State<Arc<Door>>,
    Path(token): Path<String>,
    request: Request<Body>,
) -> Result<Answer, Answer> {
    let hook = &door.hook;
    let incoming = find(&hook.host.config.bot.incoming, &token);
    let incoming = incoming.ok_or(Answer(StatusCode::NOT_FOUND, "no such address"))?;
    let signed = Signed::read(request.headers(), now_ms())?;
    let largest = if incoming.form == Form::Report { LARGEST_REPORT } else { LARGEST_MESSAGE };
    let length = request.headers().get(header::CONTENT_LENGTH);
    // One that does not say it may be as large as it likes.
    let length = length.and_then(|length| length.to_str().ok()?.parse().ok()).unwrap_or(largest);
    if length > largest {
        return Err(Answer(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large"));
    }
    let _place = door.place(&incoming.name, length).await?;
    let time = DEADLINE + Duration::from_secs(u64::try_from(length / SLOWEST).unwrap_or_default());
    let body = timeout(time, axum::body::to_bytes(request.into_body(), length)).await;
    let body = body.map_err(|_| Answer(StatusCode::REQUEST_TIMEOUT, "the body did not come"))?;
    let body = body.map_err(|_| Answer(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large"))?;
    signed.check(&incoming.secret, &body).inspect_err(|_| {
        warn!(hook = incoming.name, "a webhook whose signature does not fit");
    })?;
    // Some programs begin a text with its mark of order (RFC 8259 §8.1 lets us overlook it).
    let text = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&body);
    let body: Box<RawValue> =
        serde_json::from_slice(text).map_err(|_| Answer(StatusCode::BAD_REQUEST, "the body is not JSON"))?;

    match note(&hook.host.store, &incoming.name, Job { id: signed.id, body, at_ms: now_ms() }).await {
        Ok(Noted::New) => {
            info!(hook = incoming.name, "a webhook");
            hook.more_jobs.notify_waiters();
            Ok(Answer(StatusCode::OK, "taken"))
        }
        Ok(Noted::Before) => Ok(Answer(StatusCode::OK, "taken before")),
        Ok(Noted::Full) => Err(Answer(StatusCode::SERVICE_UNAVAILABLE, "too much waits; please come again")),
        Err(error) => {
            warn!(hook = incoming.name, %error, "a webhook could not be written down");
            Err(Answer(StatusCode::SERVICE_UNAVAILABLE, "it could not be written down; please come again"))
        }
    }
}

/// The webhook of a token. All are looked at, each in the same time.
fn find<'a>(incoming: &'a [Incoming], token: &str) -> Option<&'a Incoming> {
    let hash = |token: &str| Sha256::digest(token.as_bytes());
    let wanted = hash(token);
    let fits = |hook: &&Incoming| bool::from(hash(&hook.token).ct_eq(&wanted));
    incoming.iter().filter(fits).fold(None, |_, hook| Some(hook))
}

/// What became of a job.
enum Noted {
    New,
    Before,
    Full,
}

/// Writes down what came, once for each id.
async fn note(store: &Store, name: &str, mut job: Job) -> Result<Noted, StoreError> {
    let hash: String = Sha256::digest(job.id.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    let known = format!("{name}/{hash}");
    let name = name.to_owned();
    let old = store.scan(&TAKEN_AGES, "", None, SWEPT).await?;
    let change = move |rows: &Rows<'_>| {
        let mut batch = Batch::new();
        if rows.get(&TAKEN, &known)?.is_some() {
            return Ok((batch, Noted::Before));
        }
        if rows.count(&JOBS, &format!("{name}/"), MOST_JOBS)? >= MOST_JOBS {
            return Ok((batch, Noted::Full));
        }
        job.at_ms = next_ms(rows.get(&LAST, "")?.unwrap_or_default(), job.at_ms);
        for (age, key) in old {
            let at: u64 = age.split('/').next().and_then(|at| at.parse().ok()).unwrap_or_default();
            if job.at_ms.saturating_sub(at) > KNOWN_MS {
                batch.delete(&TAKEN_AGES, &age).delete(&TAKEN, &key);
            }
        }
        batch.put(&LAST, "", &job.at_ms).put(&TAKEN, &known, &job.at_ms);
        batch.put(&TAKEN_AGES, &format!("{:020}/{known}", job.at_ms), &known);
        batch.put(&JOBS, &format!("{name}/{:020}/{hash}", job.at_ms), &job);
        Ok((batch, Noted::New))
    };
    store.change(change).await
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    /// WH5
    #[tokio::test]
    async fn what_comes_within_one_millisecond_waits_in_the_order_in_which_it_came_also_with_a_clock_set_back()
     {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().join("store")).unwrap();
        let job = |id: &str, at_ms: u64| Job {
            id: id.to_owned(),
            body: RawValue::from_string("{}".into()).unwrap(),
            at_ms,
        };
        let ids: Vec<String> = (0..40).map(|number| format!("m{number}")).collect();
        for (number, id) in ids.iter().enumerate() {
            // In two of them the clock is behind.
            let at_ms = if number % 20 == 19 { 9_000 } else { 10_000 };
            assert!(matches!(note(&store, "road", job(id, at_ms)).await, Ok(Noted::New)));
        }
        assert!(matches!(note(&store, "road", job("m3", 20_000)).await, Ok(Noted::Before)));
        let waiting = store.scan(&JOBS, "road/", None, 100).await.unwrap();
        let waiting: Vec<String> = waiting.into_iter().map(|(_, job)| job.id).collect();
        assert_eq!(waiting, ids);
    }
}
