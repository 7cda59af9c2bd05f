//! What is said in rooms goes to other programs.
//!
//! A delivery waits on the disk until its target has taken it (2xx), a day at most. A target is looked up each time, and only the
//! addresses that were looked at are connected to; a redirect is not followed.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bot_kit::{Batch, Event, StoreError, Table, TlsConfig, now_ms, url::Url};
use reqwest::{Client, StatusCode, redirect};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tracing::{error, warn};

use crate::{bot::Hook, settings::Outgoing, signature::sign, target};

/// What a target is owed; key: webhook, a slash, milliseconds in twenty digits, a slash, event id.
const DELIVERIES: Table<Delivery> = Table::new("deliveries");

/// Deliveries of a webhook that wait at most; what happens then it is not told.
const MOST: usize = 10_000;

/// Time for a delivery.
const DEADLINE: Duration = Duration::from_secs(30);

/// Pauses after failures.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// What no target took for so long is given up.
const PATIENCE_MS: u64 = 86_400_000;

/// A delivery.
#[derive(Debug, Serialize, Deserialize)]
struct Delivery {
    id: String,
    body: String,
    at_ms: u64,
}

/// What became of an attempt.
enum Outcome {
    Taken,
    /// The target does not want it, now or ever.
    Unwanted(StatusCode),
    Failed(String),
}

impl Hook {
    /// Notes whom an event is to be told.
    pub(crate) async fn owe(&self, event: &Event, batch: &mut Batch) -> Result<(), bot_kit::Failure> {
        for outgoing in &self.host.config.bot.outgoing {
            if !outgoing.events.contains(&event.kind) || !self.is_of(outgoing, &event.room_id).await? {
                continue;
            }
            let prefix = format!("{}/", outgoing.name);
            if self.host.store.count(&DELIVERIES, &prefix).await? >= MOST {
                error!(
                    hook = outgoing.name,
                    count = MOST,
                    "too much waits for a target; it is not told of an event"
                );
                continue;
            }
            let Event { event_id, room_id, sender, kind, state_key, content, received_ms, .. } = event;
            let mut data = json!({ "event_id": event_id, "room_id": room_id, "sender": sender, "type": kind, "content": content });
            if let Some(key) = state_key {
                data["state_key"] = json!(key);
            }
            let body = json!({ "type": kind, "timestamp_ms": received_ms, "data": data }).to_string();
            let delivery = Delivery { id: event_id.to_string(), body, at_ms: *received_ms };
            batch.put(&DELIVERIES, &format!("{prefix}{received_ms:020}/{event_id}"), &delivery);
        }
        Ok(())
    }
}

/// Has what one target is owed delivered in its order, for ever.
pub(crate) async fn run(hook: Arc<Hook>, outgoing: Outgoing) {
    let mut pause = FIRST_PAUSE;
    loop {
        let more = hook.more_deliveries.notified();
        tokio::pin!(more);
        // Before the look: what comes meanwhile must wake us.
        more.as_mut().enable();
        match next(&hook, &outgoing).await {
            Ok(Some(Outcome::Failed(cause))) => {
                warn!(
                    hook = outgoing.name,
                    cause,
                    retry_in_ms = pause.as_millis(),
                    "a target did not take it"
                );
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
            Ok(Some(Outcome::Taken | Outcome::Unwanted(_))) => pause = FIRST_PAUSE,
            Ok(None) => more.await,
            Err(error) => {
                error!(%error, "deliveries cannot be read");
                tokio::time::sleep(LONGEST_PAUSE).await;
            }
        }
    }
}

/// Tries the oldest delivery, if there is one.
async fn next(hook: &Hook, outgoing: &Outgoing) -> Result<Option<Outcome>, StoreError> {
    let store = &hook.host.store;
    let oldest = store.scan(&DELIVERIES, &format!("{}/", outgoing.name), None, 1).await?;
    let Some((key, delivery)) = oldest.into_iter().next() else { return Ok(None) };
    let outcome = attempt(hook, outgoing, &delivery).await.unwrap_or_else(Outcome::Failed);
    match &outcome {
        Outcome::Taken => {}
        Outcome::Unwanted(status) => warn!(hook = outgoing.name, %status, "a target refuses what it is told"),
        Outcome::Failed(cause) if now_ms().saturating_sub(delivery.at_ms) > PATIENCE_MS => {
            error!(hook = outgoing.name, cause, "a delivery is given up");
        }
        Outcome::Failed(_) => return Ok(Some(outcome)),
    }
    let mut batch = Batch::new();
    batch.delete(&DELIVERIES, &key);
    store.commit(batch).await?;
    Ok(Some(outcome))
}

/// The client of an attempt. It goes to the addresses that were looked at, wherever the name leads a moment later, and to no other URL.
fn client(tls: TlsConfig, url: &Url, addresses: &[SocketAddr]) -> reqwest::Result<Client> {
    Client::builder()
        .tls_backend_preconfigured(tls)
        .redirect(redirect::Policy::none())
        .no_proxy()
        .timeout(DEADLINE)
        .resolve_to_addrs(url.host_str().unwrap_or_default(), addresses)
        .user_agent(concat!("YakubaHook/", env!("CARGO_PKG_VERSION")))
        .build()
}

/// What an attempt says of a delivery. The id is the same each time, by which the target knows it; time and signature are the attempt's,
/// or it would be refused as old.
fn headers(secret: &str, delivery: &Delivery, now_ms: u64) -> [(&'static str, String); 3] {
    let timestamp = now_ms / 1_000;
    [
        ("webhook-id", delivery.id.clone()),
        ("webhook-timestamp", timestamp.to_string()),
        ("webhook-signature", sign(secret, &delivery.id, timestamp, delivery.body.as_bytes())),
    ]
}

/// Tries a delivery. Of the answer nothing but its status is looked at: what an address says is nobody's to see here.
async fn attempt(hook: &Hook, outgoing: &Outgoing, delivery: &Delivery) -> Result<Outcome, String> {
    let Outgoing { url, secret, allow, .. } = outgoing;
    let addresses = target::resolve(url, allow).await?;
    let failed = |error: reqwest::Error| error.without_url().to_string();
    let client = client(hook.tls.clone(), url, &addresses).map_err(failed)?;
    let mut request = client.post(url.clone()).header("content-type", "application/json");
    for (name, value) in headers(secret, delivery, now_ms()) {
        request = request.header(name, value);
    }
    let status = request.body(delivery.body.clone()).send().await.map_err(failed)?.status();
    let may_pass = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS].contains(&status);
    Ok(match status {
        status if status.is_success() => Outcome::Taken,
        status if status.is_client_error() && !may_pass => Outcome::Unwanted(status),
        status if status.is_redirection() => Outcome::Failed(format!("{status}: redirects are not followed")),
        status => Outcome::Failed(status.to_string()),
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use http::{HeaderMap, HeaderName};
    use tokio::net::TcpListener;

    use super::*;
    use crate::{
        settings::tests::config,
        signature::{Doubt, Signed},
    };

    /// WH4
    #[test]
    fn what_is_tried_again_forty_minutes_later_has_its_id_and_a_time_and_signature_of_then() {
        const SECRET: &str = "a secret of twenty-four letters";
        const NOW_MS: u64 = 1_796_443_200_000;
        let later_ms = NOW_MS + 40 * 60_000;
        let body = r#"{"text":"道路の陥没"}"#.to_owned();
        let delivery = Delivery { id: "$event".to_owned(), body, at_ms: NOW_MS };
        let [first, later] = [NOW_MS, later_ms].map(|at| {
            let headers = headers(SECRET, &delivery, at).into_iter();
            headers
                .map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()))
                .collect::<HeaderMap>()
        });
        assert_eq!(first["webhook-id"], later["webhook-id"]);
        for name in ["webhook-timestamp", "webhook-signature"] {
            assert_ne!(first[name], later[name], "{name}");
        }
        // As a target judges it that takes nothing older than five minutes: we for one.
        let judged = |headers: &HeaderMap, at: u64| {
            Signed::read(headers, at).and_then(|signed| signed.check(SECRET, delivery.body.as_bytes()))
        };
        assert_eq!((judged(&first, NOW_MS), judged(&later, later_ms)), (Ok(()), Ok(())));
        assert_eq!(judged(&first, later_ms), Err(Doubt::Time));
        let mut mixed = first.clone();
        mixed.insert("webhook-timestamp", later["webhook-timestamp"].clone());
        assert_eq!(judged(&mixed, later_ms), Err(Doubt::Signature));
    }

    /// WH3
    #[tokio::test]
    async fn a_name_that_leads_home_a_moment_later_is_gone_to_where_it_was_looked_at() {
        let looked_at = TcpListener::bind("127.0.0.2:0").await.unwrap();
        let address = looked_at.local_addr().unwrap();
        // Where the name leads now.
        let home = TcpListener::bind(("127.0.0.1", address.port())).await.unwrap();
        let url: Url = format!("http://localhost:{}/", address.port()).parse().unwrap();
        let client = client(config("").tls().unwrap(), &url, &[address]).unwrap();
        let sent = tokio::spawn(async move { client.post(url).body("x").send().await.map(drop) });
        tokio::select! {
            came = looked_at.accept() => drop(came.unwrap()),
            _ = home.accept() => unreachable!("it went home"),
        }
        // It was hung up on, and went nowhere else for that.
        sent.await.unwrap().unwrap_err();
        let nobody =
            std::future::poll_fn(|context| std::task::Poll::Ready(home.poll_accept(context).is_pending()));
        assert!(nobody.await);
    }
}
