//! What services are asked: whether they make a user or an alias that others look for.
//!
//! Anybody may look for an alias, so few are asked for at a time, and what a service did not make is not asked for again a while.
//!
//! Spec: <https://spec.matrix.org/v1.19/application-service-api/#querying>

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use account::AppService;
use async_trait::async_trait;
use base::Instant;
use engine::ports::Namesakes;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use ruma::{RoomAliasId, UserId};
use tracing::debug;

use crate::{AppServices, Question, Verb, services::Inner};

/// Time for a service to make what it is asked for. Whoever looks for it waits.
const DEADLINE: Duration = Duration::from_secs(10);

/// How long a name is not asked for again that was not made.
const REST: Duration = Duration::from_secs(60);

/// So many of these are remembered of each service.
const MOST_REMEMBERED: usize = 1_000;

/// A segment of a path.
pub(crate) fn segment(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

impl AppServices {
    /// Whether a service has made this name, which it was asked for.
    async fn has_made(&self, service: &AppService, kind: &str, name: &str) -> bool {
        let (Some(address), Some(asking)) = (service.address(), self.0.asked.service(service.id())) else {
            return false;
        };
        let clock = &self.0.clock;
        let now = clock.instant();
        let is_refused = |at: &Instant| now.since(*at) < REST;
        let Ok(_place) = asking.places.try_acquire() else { return false };
        {
            let mut refused = asking.refused.lock();
            if refused.get(name).is_some_and(is_refused) {
                return false;
            }
            if refused.len() >= MOST_REMEMBERED {
                refused.retain(|_, at| is_refused(at));
            }
            // The oldest makes room: whoever asks for many names keeps nobody else from being asked for his.
            if refused.len() >= MOST_REMEMBERED
                && let Some(oldest) = refused.iter().min_by_key(|(_, at)| **at).map(|(name, _)| name.clone())
            {
                refused.remove(&oldest);
            }
            // Also while it is made: a service that looks for the name itself is not asked for it again.
            refused.insert(name.to_owned(), now);
        }
        let question = Question {
            verb: Verb::Get,
            url: format!("{}/_matrix/app/v1/{kind}/{}", address.url, segment(name)),
            token: address.hs_token.clone(),
            deadline: DEADLINE,
        };
        let is_made = match clock.timeout(DEADLINE, self.0.carrier.ask(question)).await {
            Ok(Ok(answer)) => (200..300).contains(&answer.status),
            Ok(Err(error)) => {
                debug!(service = service.id(), %error, "an application service was not asked for a name");
                false
            }
            Err(_) => false,
        };
        if is_made {
            asking.refused.lock().remove(name);
        }
        is_made
    }
}

/// What the room engine asks for names. It does not keep the services, which know the engine.
struct Names(Weak<Inner>);

impl AppServices {
    /// Who has names made that somebody looks for, for the room engine.
    pub fn names(&self) -> Arc<dyn Namesakes> {
        Arc::new(Names(Arc::downgrade(&self.0)))
    }
}

#[async_trait]
impl Namesakes for Names {
    async fn make_alias(&self, alias: &RoomAliasId) -> bool {
        let Some(services) = self.0.upgrade().map(AppServices) else { return false };
        for (service, _) in services.0.told.iter().filter(|(service, _)| service.covers_alias(alias)) {
            if services.has_made(service, "rooms", alias.as_str()).await {
                return true;
            }
        }
        false
    }

    async fn make_user(&self, user: &UserId) {
        let Some(services) = self.0.upgrade().map(AppServices) else { return };
        let covers = |service: &AppService| service.covers_user(user);
        if !services.0.told.iter().any(|(service, _)| covers(service)) {
            return;
        }
        // Whoever is there already needs not be made.
        if !matches!(services.0.accounts.find_user(user).await, Ok(None)) {
            return;
        }
        for (service, _) in services.0.told.iter().filter(|(service, _)| covers(service)) {
            if services.has_made(service, "users", user.as_str()).await {
                return;
            }
        }
    }
}
