//! Keys by way of a third server: asked by us where a server does not answer, and answered by us.

use std::{collections::BTreeMap, time::Duration};

use base::{Clock, Instant, Timestamp};
use bytes::Bytes;
use parking_lot::Mutex;
use pdu::Authority;
use ruma::{CanonicalJsonObject, OwnedServerName, ServerName};
use serde::Deserialize;
use serde_json::{json, value::RawValue};
use tracing::debug;

use super::{
    Keys, Known, LARGEST_DOCUMENT, Need, Source,
    document::{self, Document},
};
use crate::{
    client::{Body, Outgoing},
    path::Path,
    tables::{KEY_DOCUMENTS, KeyDocumentRow},
    transport::{Budget, Cause},
};

/// What is asked of a notary about each server: key ids with the time they shall be valid until at
/// least. An empty id stands for all keys.
pub(crate) type Question = BTreeMap<OwnedServerName, BTreeMap<String, Option<Timestamp>>>;

/// Servers that one question may name.
pub(crate) const MOST_ASKED: usize = 100;

/// Servers of one question that we ask for their keys on the spot.
const MOST_FETCHES: usize = 2;

/// How many servers strangers may have us ask at once, and the pause after which it is one more.
const BURST: u32 = 20;
const PAUSE: Duration = Duration::from_secs(1);

/// What whoever asks us as a notary, unsigned and for any name, may have us fetch, over all who ask.
///
/// Without it a small question would become many requests to names that its sender chose.
pub(super) struct Allowance(Mutex<(u32, Instant)>);

impl Allowance {
    pub(super) fn new(clock: &Clock) -> Self {
        Self(Mutex::new((BURST, clock.instant())))
    }

    /// Takes one fetch, if there is one.
    fn take(&self, now: Instant) -> bool {
        let mut state = self.0.lock();
        let (left, since) = &mut *state;
        let pauses = now.since(*since).as_millis() / PAUSE.as_millis();
        if pauses > 0 {
            *left = left.saturating_add(u32::try_from(pauses).unwrap_or(u32::MAX)).min(BURST);
            *since = now;
        }
        let is_left = *left > 0;
        *left = left.saturating_sub(1);
        is_left
    }
}

impl Keys {
    /// Answers as a notary: key documents of these servers, each with the signature of `notary` added.
    ///
    /// A server that we know nothing of is asked first, within what strangers may have us ask; for others the
    /// answer is what we have. Those that have no keys are left out.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(crate) async fn answer_as_notary(
        &self,
        notary: &Authority,
        question: &Question,
    ) -> Result<Vec<CanonicalJsonObject>, store::Error> {
        let now = self.0.clock.now();
        let mut documents = Vec::new();
        let mut needs = Vec::new();
        for (server, keys) in question {
            if let Some(authority) = self.0.client.authorities().find(server) {
                documents.push(self.own_document(authority));
                continue;
            }
            // Without a wish for a certain time, keys that are good now are wanted.
            let at = keys.values().map(|at| at.unwrap_or(now)).max().unwrap_or(now);
            let ids = keys.keys().filter(|id| !id.is_empty()).cloned().collect();
            needs.push((server.clone(), Need::Keys { ids, at }));
        }
        let needs = self.with_all_keys(needs).await?;
        let servers: Vec<OwnedServerName> = needs.iter().map(|(server, _)| server.clone()).collect();
        self.gather(self.allowed(needs).await?, Cause::UnprovenName).await?;
        let names: Vec<&str> = servers.iter().map(|server| server.as_str()).collect();
        let rows: Vec<Option<KeyDocumentRow>> = self.0.store.get_many(&KEY_DOCUMENTS, &names).await?;
        documents.extend(rows.into_iter().flatten().map(|row| row.document));
        Ok(documents.iter().filter_map(|document| document::countersign(document, notary)).collect())
    }

    /// A question that names no key wants all; then a document that is not over will do.
    async fn with_all_keys(
        &self,
        needs: Vec<(OwnedServerName, Need)>,
    ) -> Result<Vec<(OwnedServerName, Need)>, store::Error> {
        let servers: Vec<OwnedServerName> = needs.iter().map(|(server, _)| server.clone()).collect();
        let known = self.load(&servers).await?;
        let named = needs.into_iter().zip(known).map(|((server, need), known)| match need {
            Need::Keys { ids, at } if ids.is_empty() => {
                let present = known.keys.iter().filter(|(_, row)| row.expired.is_none());
                let ids: Vec<String> = present.map(|(id, _)| id.clone()).collect();
                let need = if ids.is_empty() { Need::Newer } else { Need::Keys { ids, at } };
                (server, need)
            }
            need => (server, need),
        });
        Ok(named.collect())
    }

    /// Those of the needs for which a server may be asked now.
    async fn allowed(
        &self,
        needs: Vec<(OwnedServerName, Need)>,
    ) -> Result<Vec<(OwnedServerName, Need)>, store::Error> {
        let servers: Vec<OwnedServerName> = needs.iter().map(|(server, _)| server.clone()).collect();
        let known = self.load(&servers).await?;
        let unmet = needs.into_iter().zip(known).filter(|((_, need), known)| !known.meets(need));
        let now = self.0.clock.instant();
        let allowed = unmet.map(|(need, _)| need).take(MOST_FETCHES);
        Ok(allowed.take_while(|_| self.0.allowance.take(now)).collect())
    }

    /// Asks the notaries of the configuration, one after the other, for the keys of a server.
    pub(super) async fn ask_notaries(&self, server: &ServerName, cause: Cause) -> Option<Document> {
        for notary in &self.0.config.notaries {
            if notary == server || !self.0.client.may_contact(notary) {
                continue;
            }
            match self.ask_notary(notary, server, cause).await {
                Ok(document) => return Some(document),
                Err(error) => debug!(origin = %server, %notary, error, "the notary did not help"),
            }
        }
        None
    }

    async fn ask_notary(
        &self,
        notary: &ServerName,
        server: &ServerName,
        cause: Cause,
    ) -> Result<Document, String> {
        #[derive(Deserialize)]
        struct Answer {
            server_keys: Vec<Box<RawValue>>,
        }

        let from = self.0.client.authorities().iter().next().ok_or("there is no authority")?.clone();
        let body = json!({ "server_keys": { server.as_str(): {} } }).to_string();
        let question = Outgoing {
            from: from.name(),
            to: notary,
            method: http::Method::POST,
            path: Path::key().segment("query"),
            body: Body::Json(Bytes::from(body)),
            budget: Budget { deadline: self.0.config.fetch_timeout, response: LARGEST_DOCUMENT },
            cause,
        };
        let answer: Answer = self.0.client.ask(question).await.map_err(|error| error.to_string())?;
        for document in &answer.server_keys {
            let bytes = document.get().as_bytes();
            if Document::server_of(bytes).is_ok_and(|name| name == server.as_str()) {
                self.check_notary(notary, bytes, cause).await?;
                return Document::read(server, bytes, self.0.clock.now()).map_err(|error| error.to_string());
            }
        }
        Err("it knows no keys of the server".to_owned())
    }

    /// Checks that a notary has signed a document with a key that is good for signing today.
    async fn check_notary(&self, notary: &ServerName, bytes: &[u8], cause: Cause) -> Result<(), String> {
        let now = self.0.clock.now();
        let known = self.load(&[notary.to_owned()]).await.map_err(|error| error.to_string())?;
        let known = known.into_iter().next().unwrap_or_default();
        let holds = |known: &Known| {
            document::check_notary(notary, |id| known.request_key(id, now), bytes)
                .map_err(|error| error.to_string())
        };
        if holds(&known).is_ok() {
            return Ok(());
        }
        // Perhaps it has new keys. They come from itself, never from another notary, so this cannot go on
        // for ever.
        let document = self.fetch_document(notary, cause).await.map_err(|error| error.to_string())?;
        holds(&*self.keep(notary, document, Source::Itself, &known).await)
    }
}
