//! `/.well-known/matrix/server`: what it says and how long that is remembered.
//!
//! A valid answer lives as long as its cache headers say, between five minutes and 48 hours; 24 hours
//! without any. An error is remembered for a minute first and for an hour at most. When the web
//! server of a peer fails, what it said before is held on to for another day: delegation is often on another machine
//! than Matrix, and one being down should not take the other with it.

use std::{collections::HashMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use base::{Backoff, Clock, Instant, Random};
use http::{HeaderMap, StatusCode, header::CACHE_CONTROL};
use parking_lot::Mutex;
use ruma::{OwnedServerName, ServerName};
use serde::Deserialize;
use tracing::debug;

use super::make_room;

const DEFAULT_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);
const LONGEST_LIFETIME: Duration = Duration::from_secs(48 * 60 * 60);
const SHORTEST_LIFETIME: Duration = Duration::from_secs(5 * 60);
const FIRST_ERROR: Duration = Duration::from_secs(60);
const LONGEST_ERROR: Duration = Duration::from_secs(60 * 60);
const GRACE: Duration = Duration::from_secs(24 * 60 * 60);

/// A whole fetch, redirects included.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);

/// Hosts that are remembered.
const MOST_HOSTS: usize = 20_000;

/// An answer of a web server, after redirects, its body cut at 50 KiB.
#[derive(Clone, Debug)]
pub struct FetchedWellKnown {
    /// HTTP status.
    pub status: StatusCode,
    /// HTTP headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Vec<u8>,
}

/// The web server could not be asked: no address, no connection, a bad certificate, too many redirects.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct WellKnownError(pub String);

/// Fetches `https://<host>/.well-known/matrix/server`.
#[async_trait]
pub trait WellKnown: Send + Sync + 'static {
    /// The final answer after redirects.
    ///
    /// # Errors
    /// [`WellKnownError`] when there was none.
    async fn fetch(&self, host: &str) -> Result<FetchedWellKnown, WellKnownError>;
}

#[derive(Default)]
struct Entry {
    /// Where the host delegates to, and until when this may be used at most.
    delegated: Option<(OwnedServerName, Instant)>,
    /// When to ask again; at once if nobody has asked yet.
    fresh_until: Option<Instant>,
    failures: u32,
}

/// One cell per host; who holds it is asking, others wait for the outcome instead of asking too.
type Cell = Arc<tokio::sync::Mutex<Entry>>;

pub(super) struct WellKnownCache {
    source: Arc<dyn WellKnown>,
    hosts: Mutex<HashMap<String, Cell>>,
    clock: Clock,
    random: Random,
}

impl WellKnownCache {
    pub(super) fn new(source: Arc<dyn WellKnown>, clock: Clock, random: Random) -> Self {
        Self { source, hosts: Mutex::default(), clock, random }
    }

    /// Where the host delegates to; `None` when it does not, or cannot be asked.
    pub(super) async fn find(&self, host: &str) -> Option<OwnedServerName> {
        let cell = {
            let mut hosts = self.hosts.lock();
            if !hosts.contains_key(host) {
                // A cell that somebody holds is in use.
                make_room(&mut hosts, MOST_HOSTS, |cell| Arc::strong_count(cell) > 1);
            }
            hosts.entry(host.to_owned()).or_default().clone()
        };
        let mut entry = cell.lock().await;
        let now = self.clock.instant();
        if entry.fresh_until.is_none_or(|until| now >= until) {
            self.refresh(host, &mut entry).await;
        }
        let now = self.clock.instant();
        entry.delegated.as_ref().filter(|(_, until)| now < *until).map(|(name, _)| name.clone())
    }

    async fn refresh(&self, host: &str, entry: &mut Entry) {
        let fetched = self.clock.timeout(FETCH_TIMEOUT, self.source.fetch(host)).await;
        let now = self.clock.instant();
        let answer = match &fetched {
            Ok(Ok(answer)) => read(answer).map(|name| (name, lifetime(&answer.headers))),
            Ok(Err(error)) => Err(Problem { is_final: false, cause: error.to_string() }),
            Err(_) => Err(Problem { is_final: false, cause: "no answer in time".to_owned() }),
        };
        match answer {
            Ok((name, lifetime)) => {
                // Not everybody who heard of a host at the same time shall ask again at the same time.
                let fresh = lifetime - lifetime / 10 + self.random.jitter(lifetime / 10);
                *entry = Entry {
                    delegated: Some((name, now + fresh + GRACE)),
                    fresh_until: Some(now + fresh),
                    failures: 0,
                };
            }
            Err(Problem { is_final, cause }) => {
                debug!(host, error = %cause, "no delegation by .well-known");
                let mut backoff = Backoff::new(FIRST_ERROR, LONGEST_ERROR);
                backoff.resume(entry.failures);
                entry.fresh_until = Some(now + backoff.next(&self.random));
                entry.failures = backoff.failures();
                if is_final {
                    entry.delegated = None;
                }
            }
        }
    }
}

struct Problem {
    /// The host's own word that it does not delegate, not a mishap on the way.
    is_final: bool,
    cause: String,
}

fn read(answer: &FetchedWellKnown) -> Result<OwnedServerName, Problem> {
    #[derive(Deserialize)]
    struct Body {
        #[serde(rename = "m.server")]
        server: String,
    }

    if answer.status != StatusCode::OK {
        let is_final = answer.status.is_client_error();
        return Err(Problem { is_final, cause: format!("status {}", answer.status) });
    }
    let body: Body = serde_json::from_slice(&answer.body)
        .map_err(|error| Problem { is_final: true, cause: error.to_string() })?;
    ServerName::parse(body.server.as_str())
        .map_err(|error| Problem { is_final: true, cause: error.to_string() })
}

/// How long an answer may be used.
fn lifetime(headers: &HeaderMap) -> Duration {
    let mut lifetime = DEFAULT_LIFETIME;
    for value in headers.get_all(CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok()) {
        for directive in value.split(',').map(|directive| directive.trim().to_ascii_lowercase()) {
            match directive.split_once('=') {
                None if directive == "no-store" || directive == "no-cache" => return SHORTEST_LIFETIME,
                Some(("max-age", seconds)) => {
                    if let Ok(seconds) = seconds.trim_matches('"').parse() {
                        lifetime = Duration::from_secs(seconds);
                    }
                }
                _ => {}
            }
        }
    }
    lifetime.clamp(SHORTEST_LIFETIME, LONGEST_LIFETIME)
}
