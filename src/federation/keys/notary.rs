//! Keys by way of a third server: asked by us where a server does not answer, and answered by us.

use std::collections::BTreeMap;

use base::Timestamp;
use bytes::Bytes;
use pdu::Authority;
use ruma::{CanonicalJsonObject, OwnedServerName, ServerName};
use serde::Deserialize;
use serde_json::{json, value::RawValue};
use tracing::debug;

use super::{
    Keys, LARGEST_DOCUMENT, Need,
    document::{self, Document},
};
use crate::{
    client::{Body, Outgoing},
    path::Path,
    tables::{KEY_DOCUMENTS, KeyDocumentRow},
    transport::Budget,
};

/// What is asked of a notary about each server: key ids with the time they shall be valid until at
/// least. An empty id stands for all keys.
pub(crate) type Question = BTreeMap<OwnedServerName, BTreeMap<String, Option<Timestamp>>>;

/// Servers that one question may name.
pub(crate) const MOST_ASKED: usize = 100;

impl Keys {
    /// Answers as a notary: key documents of these servers, each with the signature of `notary` added.
    ///
    /// A server that we know nothing of is asked first. Those that have no keys are left out.
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
        self.gather(needs).await?;
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

    /// Asks the notaries of the configuration, one after the other, for the keys of a server.
    pub(super) async fn ask_notaries(&self, server: &ServerName) -> Option<Document> {
        for notary in &self.0.config.notaries {
            if notary == server || !self.0.client.may_contact(notary) {
                continue;
            }
            match self.ask_notary(notary, server).await {
                Ok(document) => return Some(document),
                Err(cause) => debug!(origin = %server, %notary, error = %cause, "the notary did not help"),
            }
        }
        None
    }

    async fn ask_notary(&self, notary: &ServerName, server: &ServerName) -> Result<Document, String> {
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
        };
        let answer: Answer = self.0.client.ask(question).await.map_err(|error| error.to_string())?;
        // Its own keys come from itself, never from another notary, so this cannot go on for ever.
        let notary_keys = match self.load(&[notary.to_owned()]).await {
            Ok(mut known) => known.pop().unwrap_or_default(),
            Err(error) => return Err(error.to_string()),
        };
        let keys = if notary_keys.keys.is_empty() {
            self.fetch_document(notary).await?.keys
        } else {
            notary_keys.keys.clone()
        };
        for document in &answer.server_keys {
            let bytes = document.get().as_bytes();
            if Document::server_of(bytes).is_ok_and(|name| name == server.as_str()) {
                document::check_notary(notary, &keys, bytes).map_err(|error| error.to_string())?;
                return Document::read(server, bytes, self.0.clock.now()).map_err(|error| error.to_string());
            }
        }
        Err("it knows no keys of the server".to_owned())
    }
}
