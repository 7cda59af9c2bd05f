//! What is said in rooms goes to other programs.
//!
//! A delivery waits on the disk until its target has taken it (2xx), a day at most. A target is looked up each time, and only the
//! addresses that were looked at are connected to; a redirect is not followed.

use std::{sync::Arc, time::Duration};

use bot_kit::{Batch, Event, StoreError, Table, now_ms};
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

async fn attempt(hook: &Hook, outgoing: &Outgoing, delivery: &Delivery) -> Result<Outcome, String> {
    let Outgoing { url, secret, allow, .. } = outgoing;
    let addresses = target::resolve(url, allow).await?;
    let failed = |error: reqwest::Error| error.without_url().to_string();
    let client = Client::builder()
        .tls_backend_preconfigured(hook.tls.clone())
        .redirect(redirect::Policy::none())
        .no_proxy()
        .timeout(DEADLINE)
        // The name may lead elsewhere a moment later; we go where we have looked.
        .resolve_to_addrs(url.host_str().unwrap_or_default(), &addresses)
        .user_agent(concat!("YakubaHook/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(failed)?;
    let timestamp = now_ms() / 1_000;
    let answer = client
        .post(url.clone())
        .header("content-type", "application/json")
        .header("webhook-id", &delivery.id)
        .header("webhook-timestamp", timestamp.to_string())
        .header("webhook-signature", sign(secret, &delivery.id, timestamp, delivery.body.as_bytes()))
        .body(delivery.body.clone())
        .send()
        .await
        .map_err(failed)?;
    let status = answer.status();
    let may_pass = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS].contains(&status);
    Ok(match status {
        status if status.is_success() => Outcome::Taken,
        status if status.is_client_error() && !may_pass => Outcome::Unwanted(status),
        status if status.is_redirection() => Outcome::Failed(format!("{status}: redirects are not followed")),
        status => Outcome::Failed(status.to_string()),
    })
}
