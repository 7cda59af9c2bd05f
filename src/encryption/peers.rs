//! What is asked of other servers, as far as this crate knows of the network.

use async_trait::async_trait;
use room::RemoteError;
use ruma::ServerName;
use serde_json::value::RawValue;

use crate::{Claims, Wanted};

/// Requests to other servers; `from` is the authority of ours in whose name we ask. What they answer is JSON of a bounded
/// size and nothing else yet.
///
/// Spec: <https://spec.matrix.org/v1.19/server-server-api/#end-to-end-encryption>
#[async_trait]
pub trait Peers: Send + Sync {
    /// `POST /user/keys/query`.
    async fn query_keys(
        &self,
        from: &ServerName,
        to: &ServerName,
        wanted: &Wanted,
    ) -> Result<Box<RawValue>, RemoteError>;

    /// `POST /user/keys/claim`.
    async fn claim_keys(
        &self,
        from: &ServerName,
        to: &ServerName,
        wanted: &Claims,
    ) -> Result<Box<RawValue>, RemoteError>;
}

/// Nobody to ask.
#[derive(Clone, Copy, Debug)]
pub struct NoPeers;

#[async_trait]
impl Peers for NoPeers {
    async fn query_keys(
        &self,
        _from: &ServerName,
        _to: &ServerName,
        _wanted: &Wanted,
    ) -> Result<Box<RawValue>, RemoteError> {
        Err(RemoteError::Off)
    }

    async fn claim_keys(
        &self,
        _from: &ServerName,
        _to: &ServerName,
        _wanted: &Claims,
    ) -> Result<Box<RawValue>, RemoteError> {
        Err(RemoteError::Off)
    }
}
