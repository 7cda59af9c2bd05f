//! What administrators ask of the sender: how their authority gets along with other servers.

use async_trait::async_trait;
use federation::Sender;
use oversight::{Peers, Standing};
use ruma::{OwnedServerName, ServerName};

/// What sends our events to other servers.
pub(crate) struct Sending(pub(crate) Sender);

#[async_trait]
impl Peers for Sending {
    fn sends_here(&self) -> bool {
        self.0.is_at_work()
    }

    async fn standings(
        &self,
        authority: &ServerName,
        servers: &[OwnedServerName],
    ) -> Result<Vec<Standing>, store::Error> {
        let all = self.0.standings(authority, servers).await?.into_iter();
        Ok(all
            .map(|federation::Standing { failing_since, retry_at, heard, queued, owed_rooms }| Standing {
                failing_since,
                retry_at,
                heard,
                queued,
                owed_rooms,
            })
            .collect())
    }

    fn retry_now(&self, server: &ServerName) {
        self.0.retry_now(server);
    }
}
