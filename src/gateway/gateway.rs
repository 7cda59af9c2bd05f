//! [`Gateway::notify`]: what a homeserver tells is brought to the push services of those whom it concerns.

use std::{sync::Arc, time::Duration};

use base::{Clock, CounterFamily, Metrics};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use ring::hmac;
use serde_json::json;
use tracing::{debug, warn};
use url::{Origin, Url};

use crate::{
    Answer, ApnsApp, FcmAccount, Kind, Post, Protocol, Services, Settings, VapidKey,
    apns::{self, Verdict},
    fcm,
    notification::{Device, Notification, Request},
    webpush::{Receiver, SealError},
};

/// A header that stands on all that is posted. Whoever finds it on what a gateway is asked was not asked by a homeserver, but by
/// a gateway that took this one for a push service; perhaps by itself.
pub const MARK: &str = "yakuba-push-gateway";

/// Time for a push service to answer: less than homeservers wait for us.
const DEADLINE: Duration = Duration::from_secs(10);

/// Time for all of a request, however many devices it names: less than homeservers wait, as strangers may ask too.
const WHOLE: Duration = Duration::from_secs(14);

/// Most devices of a request. Homeservers name one, and a stranger's request is to cause few.
const MOST_DEVICES: usize = 8;

/// Longest address of a push service, in bytes.
const MOST_ADDRESS: usize = 2_048;

/// Most that goes to a phone without being encrypted for it, in bytes: what UnifiedPush lets push services refuse begins there.
const MOST_PLAIN: usize = 4_096;

/// What the gateway stands on.
pub struct Parts<'a> {
    /// What is set.
    pub settings: Settings,
    /// Who we are to push services.
    pub key: VapidKey,
    /// The way to them.
    pub services: Arc<dyn Services>,
    /// Time.
    pub clock: Clock,
    /// Where it is measured.
    pub metrics: &'a Metrics,
}

/// The built-in push gateway.
pub struct Gateway {
    settings: Settings,
    key: VapidKey,
    services: Arc<dyn Services>,
    clock: Clock,
    outcomes: CounterFamily,
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was taken, but for these push keys, behind which nobody is any more.
    Taken {
        /// The push keys.
        rejected: Vec<String>,
    },
    /// It is no notification, or a push service says that it would not take it at any time.
    Refused(&'static str),
    /// A push service does not take it at the moment; with how long it wishes to be left alone.
    NotNow(Option<Duration>),
}

/// What became of it for a device.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Told {
    Yes,
    /// Nobody is there any more.
    Gone,
    Refused,
    NotNow(Option<Duration>),
}

impl Gateway {
    /// A gateway. It does nothing of itself.
    pub fn new(parts: Parts<'_>) -> Self {
        let Parts { settings, key, services, clock, metrics } = parts;
        let outcomes = metrics.counter_family(
            "yakuba_gateway_messages",
            "Messages to push services, by how devices are reached and outcome",
        );
        Self { settings, key, services, clock, outcomes }
    }

    /// The public key with which browsers subscribe.
    pub fn public_key(&self) -> &str {
        self.key.public()
    }

    /// Whether it serves an app.
    pub fn serves(&self, app: &str) -> bool {
        self.settings.apps.iter().any(|known| known.id == app)
    }

    /// Where the push service of a pusher is, of an app that is served: each has its own pace.
    pub fn service_of(&self, app: &str, push_key: &str, endpoint: Option<&str>) -> Option<String> {
        let app = self.settings.apps.iter().find(|known| known.id == app)?;
        let address = match &app.kind {
            Kind::WebPush => endpoint?,
            Kind::UnifiedPush => push_key,
            Kind::Fcm(account) => account.service(),
            Kind::Apns(app) => &app.service,
        };
        Some(address_of(address)?.0)
    }

    /// Brings a notification, as JSON, to those whom it names. All is done when it returns, or given up for now.
    pub async fn notify(&self, body: &[u8]) -> Outcome {
        let bringing = self.clock.timeout(WHOLE, self.bring(body)).await;
        bringing.unwrap_or(Outcome::NotNow(None))
    }

    async fn bring(&self, body: &[u8]) -> Outcome {
        let Ok(Request { notification }) = serde_json::from_slice(body) else {
            return Outcome::Refused("the body is not a notification");
        };
        if notification.devices.is_empty() || notification.devices.len() > MOST_DEVICES {
            return Outcome::Refused("a notification names between 1 and 8 devices");
        }
        let (mut rejected, mut refused, mut not_now) = (Vec::new(), false, None);
        for device in &notification.devices {
            match self.tell(&notification, device, body).await {
                Told::Yes => {}
                Told::Gone => rejected.push(device.pushkey.clone()),
                Told::Refused => refused = true,
                Told::NotNow(wait) => not_now = Some(not_now.flatten().max(wait)),
            }
        }
        match not_now {
            // Whoever was told is told again with the others; homeservers name one device.
            Some(wait) => Outcome::NotNow(wait),
            None if refused && rejected.is_empty() => Outcome::Refused("a push service refuses the message"),
            None => Outcome::Taken { rejected },
        }
    }

    async fn tell(&self, notification: &Notification, device: &Device, body: &[u8]) -> Told {
        let Some(app) = self.settings.apps.iter().find(|known| known.id == device.app_id) else {
            self.count("none", "unknown_app");
            return Told::Gone;
        };
        let (kind, address) = match &app.kind {
            Kind::WebPush => ("webpush", device.data.endpoint.as_deref().unwrap_or_default()),
            Kind::UnifiedPush => ("unifiedpush", &*device.pushkey),
            Kind::Fcm(account) => ("fcm", account.service()),
            Kind::Apns(app) => ("apns", &*app.service),
        };
        let Some((service, host)) = address_of(address).filter(|(_, host)| app.may_be_at(host)) else {
            self.count(kind, "bad_address");
            return Told::Gone;
        };
        let told = match &app.kind {
            Kind::WebPush => self.tell_browser(notification, device, (address, &service)).await,
            Kind::UnifiedPush => self.tell_phone(notification, device, body).await,
            Kind::Fcm(account) => self.tell_by_google(notification, device, account).await,
            Kind::Apns(app) => self.tell_by_apple(notification, device, app).await,
        };
        let outcome = match &told {
            Told::Yes => "taken",
            Told::Gone => "rejected",
            Told::Refused => "refused",
            Told::NotNow(_) => "not_now",
        };
        self.count(kind, outcome);
        if !matches!(told, Told::Yes) {
            debug!(destination = host, outcome, "a push service did not take a message");
        }
        told
    }

    async fn tell_browser(
        &self,
        notification: &Notification,
        device: &Device,
        (address, service): (&str, &str),
    ) -> Told {
        if device.data.events_only == Some(true) && notification.event_id().is_none() {
            return Told::Yes;
        }
        let secret = device.data.auth.as_deref().unwrap_or_default();
        let Some(receiver) = Receiver::parse(&device.pushkey, secret) else { return Told::Gone };
        let subject = &self.settings.subject;
        let Some(authorization) = self.key.authorization(service, subject, self.clock.now()) else {
            return Told::NotNow(None);
        };
        let mut headers = self.headers(notification);
        headers.push(("authorization", authorization));
        headers.push(("content-encoding", "aes128gcm".to_owned()));
        headers.push(("content-type", "application/octet-stream".to_owned()));
        if device.data.only_last_per_room == Some(true)
            && let Some(room) = notification.room_id()
        {
            headers.push(("topic", topic_of(secret, room)));
        }
        let mut texts = vec![notification.ids_for(device)];
        let whole = notification.text_for(device);
        if whole != texts[0] {
            texts.push(whole);
        }
        while let Some(text) = texts.pop() {
            let sealed = match receiver.seal(&text) {
                Ok(sealed) => sealed,
                Err(SealError::NoKey) => return Told::Gone,
                Err(SealError::TooLong) => return Told::Refused,
                Err(SealError::NoChance) => return Told::NotNow(None),
            };
            let (url, headers) = (address.to_owned(), headers.clone());
            let post = Post { url, headers, body: sealed.into(), protocol: Protocol::Usual };
            match self.post(post).await {
                Err(TooLarge) => {}
                Ok(told) => return told,
            }
        }
        Told::Refused
    }

    /// A phone is told the request as it came, as it is for the app on it, but for what is said of other devices.
    async fn tell_phone(&self, notification: &Notification, device: &Device, body: &[u8]) -> Told {
        let own = if notification.devices.len() > 1 { alone(body, device) } else { None };
        let body = own.as_deref().unwrap_or(body);
        let mut headers = self.headers(notification);
        headers.push(("content-type", "application/json".to_owned()));
        let ids = || {
            let text = serde_json::from_slice(&notification.ids_for(device)).unwrap_or_default();
            let serde_json::Value::Object(mut ids) = text else { return Bytes::new() };
            let counts = json!({ "unread": ids.remove("unread") });
            let device = json!({ "app_id": device.app_id, "pushkey": device.pushkey });
            ids.insert("counts".to_owned(), counts);
            ids.insert("devices".to_owned(), json!([device]));
            Bytes::from(json!({ "notification": ids }).to_string())
        };
        let mut texts = vec![ids()];
        if body.len() <= MOST_PLAIN {
            texts.push(Bytes::copy_from_slice(body));
        }
        while let Some(body) = texts.pop() {
            let (url, headers) = (device.pushkey.clone(), headers.clone());
            let post = Post { url, headers, body, protocol: Protocol::Usual };
            match self.post(post).await {
                Err(TooLarge) => {}
                Ok(told) => return told,
            }
        }
        Told::Refused
    }

    /// A phone whose app is reached by Google's push service alone.
    async fn tell_by_google(
        &self,
        notification: &Notification,
        device: &Device,
        account: &FcmAccount,
    ) -> Told {
        let token = match account.kept_token(self.clock.now()) {
            Some(token) => token,
            None => match self.log_in_at_google(account).await {
                Ok(token) => token,
                Err(told) => return told,
            },
        };
        let data = notification.data_for(device, fcm::MOST_DATA);
        let post = account.message(&token, &device.pushkey, data, notification.is_low(), self.settings.kept);
        let answer = match self.exchange(post).await {
            Ok(answer) => answer,
            Err(told) => return told,
        };
        match answer.status {
            200..300 => Told::Yes,
            401 => {
                // It ended before its time; the next one is another.
                account.forget_token(&token);
                Told::NotNow(answer.retry_after)
            }
            400.. if fcm::is_gone(&answer.body) => Told::Gone,
            // Who we say we are is so for all, and may be mended.
            403 | 429 | 500.. => {
                debug!(status = answer.status, "a push service does not take a message now");
                Told::NotNow(answer.retry_after)
            }
            status => {
                warn!(status, "a push service refuses a message");
                Told::Refused
            }
        }
    }

    async fn log_in_at_google(&self, account: &FcmAccount) -> Result<String, Told> {
        let post = account.log_in(self.clock.now()).ok_or(Told::NotNow(None))?;
        let answer = self.exchange(post).await?;
        let token =
            (answer.status == 200).then(|| account.keep_token(&answer.body, self.clock.now())).flatten();
        token.ok_or_else(|| {
            warn!(status = answer.status, "a push service does not let us in with the account that is set");
            Told::NotNow(answer.retry_after)
        })
    }

    /// A phone of Apple's.
    async fn tell_by_apple(&self, notification: &Notification, device: &Device, app: &ApnsApp) -> Told {
        let Some(token) = apns::device_token(&device.pushkey) else { return Told::Gone };
        let is_one_per_room = device.data.only_last_per_room == Some(true);
        let one_of = if is_one_per_room { notification.room_id() } else { None };
        // What is told twice, as an answer was lost, is shown once.
        let collapse = one_of.or(notification.event_id()).map(|id| topic_of(&device.pushkey, id));
        let mut payloads = notification.payloads_for(device);
        if payloads.is_empty() {
            return Told::Yes;
        }
        while let Some(payload) = payloads.last() {
            let (kept, now) = (self.settings.kept, self.clock.now());
            let Some((post, shown)) = app.message(&token, payload, collapse.as_deref(), kept, now) else {
                return Told::NotNow(None);
            };
            let answer = match self.exchange(post).await {
                Ok(answer) => answer,
                Err(told) => return told,
            };
            let (status, wait) = (answer.status, answer.retry_after);
            let (verdict, reason) = apns::verdict(status, &answer.body, device.pushkey_ts);
            match verdict {
                Verdict::Taken => return Told::Yes,
                Verdict::Gone => return Told::Gone,
                Verdict::TooLarge => drop(payloads.pop()),
                // Once, as it was made just now then.
                Verdict::Expired if app.key.renew(&shown, self.clock.now()) => {}
                Verdict::Expired | Verdict::Misconfigured => {
                    warn!(status, reason, "a push service does not take who we say we are");
                    return Told::NotNow(wait);
                }
                Verdict::Busy => {
                    debug!(status, reason, "a push service does not take a message now");
                    return Told::NotNow(wait);
                }
                Verdict::Refused => {
                    warn!(status, reason, "a push service refuses a message");
                    return Told::Refused;
                }
            }
        }
        Told::Refused
    }

    /// Posts something and waits for the answer, within bounds.
    async fn exchange(&self, post: Post) -> Result<Answer, Told> {
        match self.clock.timeout(DEADLINE, self.services.post(post, DEADLINE)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => {
                debug!(%error, "a push service was not reached");
                Err(Told::NotNow(None))
            }
            Err(_elapsed) => Err(Told::NotNow(None)),
        }
    }

    fn headers(&self, notification: &Notification) -> Vec<(&'static str, String)> {
        let urgency = if notification.is_low() { "low" } else { "high" };
        let ttl = self.settings.kept.as_secs().to_string();
        vec![("ttl", ttl), ("urgency", urgency.to_owned()), (MARK, "1".to_owned())]
    }

    async fn post(&self, post: Post) -> Result<Told, TooLarge> {
        // Where something is posted to is as good as a key.
        let service = address_of(&post.url).map(|(origin, _)| origin).unwrap_or_default();
        let answer = match self.exchange(post).await {
            Ok(answer) => answer,
            Err(told) => return Ok(told),
        };
        match answer.status {
            200..300 => Ok(Told::Yes),
            404 | 410 => Ok(Told::Gone),
            413 => Err(TooLarge),
            // Our key, or what we sign with it, is not taken: that is so for all, and may be mended.
            401 | 403 => {
                let status = answer.status;
                warn!(status, service, "a push service does not take who we say we are");
                Ok(Told::NotNow(answer.retry_after))
            }
            429 | 500.. => Ok(Told::NotNow(answer.retry_after)),
            status => {
                warn!(status, service, "a push service refuses a message");
                Ok(Told::Refused)
            }
        }
    }

    fn count(&self, kind: &'static str, outcome: &'static str) {
        self.outcomes.with(&[("kind", kind), ("outcome", outcome)]).inc();
    }
}

/// A request that names this device and no other.
fn alone(body: &[u8], device: &Device) -> Option<Vec<u8>> {
    let mut request: serde_json::Value = serde_json::from_slice(body).ok()?;
    let devices = request.get_mut("notification")?.get_mut("devices")?.as_array_mut()?;
    let is_it =
        |other: &serde_json::Value| other["pushkey"] == *device.pushkey && other["app_id"] == *device.app_id;
    devices.retain(is_it);
    devices.truncate(1);
    serde_json::to_vec(&request).ok()
}

/// The push service wants less at once.
struct TooLarge;

/// The origin of an address and its host, if it can be one of a push service.
fn address_of(address: &str) -> Option<(String, String)> {
    if address.len() > MOST_ADDRESS {
        return None;
    }
    let url = Url::parse(address).ok()?;
    if !matches!(url.scheme(), "https" | "http") || !url.username().is_empty() || url.password().is_some() {
        return None;
    }
    let Origin::Tuple(..) = url.origin() else { return None };
    Some((url.origin().ascii_serialization(), url.host_str()?.to_owned()))
}

/// What a room is called to a push service: 32 letters that tell it nothing, as it does not know the secret.
fn topic_of(secret: &str, room: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    URL_SAFE_NO_PAD.encode(&hmac::sign(&key, room.as_bytes()).as_ref()[..24])
}
