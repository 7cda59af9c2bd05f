//! Who we are and whose keys we know.
//!
//! Spec: <https://spec.matrix.org/v1.19/server-server-api/#retrieving-server-keys>

use std::{collections::BTreeMap, sync::Arc};

use base::Timestamp;
use pdu::Authority;
use ruma::{CanonicalJsonObject, OwnedServerName, ServerName};
use serde::Deserialize;
use web::{ApiError, Face, Open, RawCall, Response};

use super::{
    FederationApi,
    json::{Object, json_answer, object_body},
};
use crate::keys::{MOST_ASKED, Question};

/// `GET /_matrix/federation/v1/version`
pub(super) async fn version(_: Arc<FederationApi>, _: RawCall<Open>) -> Result<Response, ApiError> {
    let server = Object::new().string("name", "Yakuba").string("version", env!("CARGO_PKG_VERSION"));
    Ok(Object::new().json("server", &server.finish()).answer())
}

/// `GET /_matrix/key/v2/server`: the keys of the authority that is asked.
pub(super) async fn own(api: Arc<FederationApi>, call: RawCall<Open>) -> Result<Response, ApiError> {
    let authority = api.authority(&call.face)?;
    Ok(json_answer(api.keys.own_document(authority)))
}

/// `GET /_matrix/key/v2/query/{serverName}`: the keys of another server, as far as we know them.
pub(super) async fn query_one(api: Arc<FederationApi>, call: RawCall<Open>) -> Result<Response, ApiError> {
    #[derive(Deserialize)]
    struct Query {
        minimum_valid_until_ts: Option<u64>,
    }

    let server: OwnedServerName = call.args.get(0)?;
    let query: Query = call.query()?;
    // A time is said for keys, and no key is named: it is meant for all of them.
    let keys = query.minimum_valid_until_ts.map(|at| (String::new(), Some(Timestamp(at))));
    let question = Question::from([(server, keys.into_iter().collect())]);
    answer(&api, &call.face, &question).await
}

/// `POST /_matrix/key/v2/query`: the keys of several servers, as far as we know them.
pub(super) async fn query_many(api: Arc<FederationApi>, call: RawCall<Open>) -> Result<Response, ApiError> {
    #[derive(Deserialize)]
    struct Body {
        server_keys: BTreeMap<String, BTreeMap<String, Criteria>>,
    }
    #[derive(Deserialize)]
    struct Criteria {
        minimum_valid_until_ts: Option<u64>,
    }

    let body: Body = object_body(&call)?;
    if body.server_keys.len() > MOST_ASKED {
        return Err(ApiError::invalid_param(format!(
            "At most {MOST_ASKED} servers can be asked for at a time"
        )));
    }
    let mut question = Question::new();
    for (server, keys) in body.server_keys {
        // A name that cannot be one has no keys.
        let Ok(server) = ServerName::parse(server) else { continue };
        let keys = keys.into_iter().map(|(id, wish)| (id, wish.minimum_valid_until_ts.map(Timestamp)));
        question.insert(server, keys.collect());
    }
    answer(&api, &call.face, &question).await
}

async fn answer(api: &FederationApi, face: &Face, question: &Question) -> Result<Response, ApiError> {
    let notary = api.authority(face)?;
    let documents = api.keys.answer_as_notary(notary, question).await?;
    let documents: Vec<String> = documents.into_iter().map(written).collect();
    Ok(Object::new().list("server_keys", documents.iter().map(String::as_str)).answer())
}

fn written(document: CanonicalJsonObject) -> String {
    ruma::CanonicalJsonValue::Object(document).to_string()
}

impl FederationApi {
    fn authority(&self, face: &Face) -> Result<&Arc<Authority>, ApiError> {
        let found = self.authorities.find(face.server_name());
        found.ok_or_else(|| ApiError::not_found("There is no server of this name here"))
    }
}
