//! Other servers in the authority's rooms, and how it gets along with them.

use audit::{Action, Actor};
use ruma::{OwnedRoomId, OwnedServerName, ServerName};

use crate::{Error, Oversight, Standing};

/// A server that is in a room with an authority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beside {
    /// Its name.
    pub server: OwnedServerName,
    /// How the authority gets along with it.
    pub standing: Standing,
}

impl Oversight {
    /// Whether it is this process that sends: where another one does, what that meets is not known here.
    #[must_use]
    pub fn sends_here(&self) -> bool {
        self.0.peers.sends_here()
    }

    /// The servers that have members in rooms of an authority, by their names. Looks at all rooms.
    ///
    /// # Errors
    /// [`Error::Room`], [`Error::Store`].
    pub async fn servers(&self, authority: &ServerName) -> Result<Vec<Beside>, Error> {
        let servers: Vec<_> = self.0.rooms.servers_beside(authority).await?.into_iter().collect();
        let standings = self.0.peers.standings(authority, &servers).await?;
        let both = servers.into_iter().zip(standings);
        Ok(both.map(|(server, standing)| Beside { server, standing }).collect())
    }

    /// One of them, and the rooms in which both have members, by their ids. Looks at all rooms.
    ///
    /// # Errors
    /// [`Error::NoServer`], also for the authority itself; [`Error::Room`], [`Error::Store`].
    pub async fn server(
        &self,
        authority: &ServerName,
        server: &ServerName,
    ) -> Result<(Beside, Vec<OwnedRoomId>), Error> {
        let mut rooms = match server == authority {
            true => Vec::new(),
            false => self.0.rooms.rooms_shared_by(authority, server).await?,
        };
        if rooms.is_empty() {
            return Err(Error::NoServer);
        }
        rooms.sort();
        let named = [server.to_owned()];
        let standing = self.0.peers.standings(authority, &named).await?.pop().unwrap_or_default();
        let [server] = named;
        Ok((Beside { server, standing }, rooms))
    }

    /// Tries a server again at once that does not answer. The row of that is on disk before it is tried.
    ///
    /// # Errors
    /// [`Error::NotFailing`] where there is nothing to try again; else as [`Oversight::server`], and [`Error::Commit`].
    pub async fn retry(&self, authority: &ServerName, server: &ServerName, by: &Actor) -> Result<(), Error> {
        let (beside, _) = self.server(authority, server).await?;
        if beside.standing.failing_since.is_none() {
            return Err(Error::NotFailing);
        }
        self.note(Action::RetryPeer, server.as_str(), authority, by).await?;
        self.0.peers.retry_now(server);
        Ok(())
    }
}
