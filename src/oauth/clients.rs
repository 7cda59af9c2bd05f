//! Clients that have registered.
//!
//! Each client registers anew whenever a user signs in with it, so a client's id is a hash of what it says of itself:
//! the same program has one row. An authority keeps only so many; the one that has not registered for longest goes
//! then, unless somebody is signed in with it: strangers who register whatever they make up take no client from those who use
//! one.

use base::{Address, Attempts};
use ruma::ServerName;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use store::{Batch, Order, Range, Value as _};

use crate::{
    Client, Code, Error, OAuth,
    tables::{CLIENTS, CLIENTS_BY_AGE, COUNTS, ClientRow},
};

/// Clients of one authority, of which some may go.
const MOST: i64 = 5_000;
/// Clients of one authority if all of them are used.
const MOST_USED: i64 = 20_000;
/// So many of the oldest are looked at for one that may go.
const LOOKED_AT: usize = 8;
/// Their kind among counts.
const KIND: u8 = 0;
/// When a client registered last is noted as often as this.
const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

/// A client with its id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registered {
    /// Its id.
    pub id: String,
    /// What it says of itself.
    pub client: Client,
}

impl Registered {
    /// What it is told of its registration.
    pub fn answer(&self) -> Value {
        let client = &self.client;
        let mut answer = json!({
            "client_id": self.id,
            "client_uri": client.client_uri,
            "redirect_uris": client.redirect_uris,
            "grant_types": client.grant_types,
            "application_type": client.application_type.word(),
            // Whatever it asked for: its secret is the code verifier of each request.
            "token_endpoint_auth_method": "none",
        });
        if client.may(crate::metadata::AUTHORIZATION_CODE) {
            answer["response_types"] = json!(["code"]);
        }
        for (field, value) in [
            ("client_name", &client.client_name),
            ("client_name#ja", &client.client_name_ja),
            ("tos_uri", &client.tos_uri),
            ("policy_uri", &client.policy_uri),
            ("logo_uri", &client.logo_uri),
        ] {
            if let Some(value) = value {
                answer[field] = json!(value);
            }
        }
        answer
    }
}

impl OAuth {
    /// Registers a client by what it says of itself. One that says the same as before is the same client.
    ///
    /// # Errors
    /// [`Error::Refused`] with the rule that is broken; [`account::Error::Limited`] where this address has made up many,
    /// [`Error::Full`], [`Error::Store`].
    ///
    /// Spec: <https://spec.matrix.org/v1.19/client-server-api/#client-registration>
    pub async fn register(
        &self,
        authority: &ServerName,
        said: &Map<String, Value>,
        from: Option<Address>,
    ) -> Result<Registered, Error> {
        let client = Client::parse(said)?;
        let id = id_of(authority, &client);
        if self.inner.store.get(&CLIENTS, &(authority.as_str(), id.as_str())).await?.is_none() {
            self.count_maker(authority, KIND, from)?;
        }
        let mut attempts = Attempts::default();
        loop {
            match self.note_client(authority, &id, &client).await {
                Err(Error::Contended) => self.again(&mut attempts).await?,
                done => {
                    done?;
                    return Ok(Registered { id, client });
                }
            }
        }
    }

    async fn note_client(&self, authority: &ServerName, id: &str, client: &Client) -> Result<(), Error> {
        let (store, now, authority) = (&self.inner.store, self.now_ms(), authority.as_str());
        let known = store.get(&CLIENTS, &(authority, id)).await?;
        if known.as_ref().is_some_and(|known| now.abs_diff(known.seen_ms) < DAY_MS) {
            return Ok(());
        }
        let mut batch = Batch::new();
        batch.require(&CLIENTS, &(authority, id), known.as_ref());
        match &known {
            Some(known) => batch.delete(&CLIENTS_BY_AGE, &(authority, known.seen_ms, id)),
            None => self.make_room(&mut batch, authority).await?,
        }
        batch.put(&CLIENTS, &(authority, id), &ClientRow { client: client.clone(), seen_ms: now });
        batch.put(&CLIENTS_BY_AGE, &(authority, now, id), &());
        self.commit(batch).await
    }

    /// Adds to a batch that there is one client more, and that the oldest goes where there are too many. One with which
    /// somebody is signed in is as good as newly registered.
    async fn make_room(&self, batch: &mut Batch, authority: &str) -> Result<(), Error> {
        let store = &self.inner.store;
        let count = store.get(&COUNTS, &(authority, KIND)).await?.map_or(0, |count| count.0);
        let mut more = 1;
        if count >= MOST {
            let range = Range::prefix(authority);
            let oldest = store.scan(&CLIENTS_BY_AGE, range, Order::Ascending, LOOKED_AT).await?;
            let now = self.now_ms();
            for (key, ()) in oldest {
                // Two: what several made at once is made up for.
                if more <= -1 {
                    break;
                }
                let (_, _, id) = &key;
                batch.require(&CLIENTS_BY_AGE, &key, Some(&()));
                batch.delete(&CLIENTS_BY_AGE, &key);
                if self.inner.accounts.is_client_used(authority, id).await? {
                    if let Some(row) = store.get(&CLIENTS, &(authority, id.as_str())).await? {
                        batch.replace(
                            &CLIENTS,
                            &(authority, id.as_str()),
                            &row,
                            &ClientRow { seen_ms: now, ..row.clone() },
                        );
                        batch.put(&CLIENTS_BY_AGE, &(authority, now, id.as_str()), &());
                    }
                    continue;
                }
                batch.delete(&CLIENTS, &(authority, id.as_str()));
                more -= 1;
            }
            if more == 1 && count >= MOST_USED {
                return Err(Error::Full);
            }
        }
        batch.add(&COUNTS, &(authority, KIND), more);
        Ok(())
    }

    /// The client of an id.
    ///
    /// # Errors
    /// [`Code::InvalidClient`], [`Error::Store`].
    pub async fn client(&self, authority: &ServerName, id: &str) -> Result<Registered, Error> {
        let unknown = || Error::refused(Code::InvalidClient, "there is no client of this id; register again");
        if id.is_empty() || id.len() > 2 * ID_CHARS {
            return Err(unknown());
        }
        let row = self.inner.store.get(&CLIENTS, &(authority.as_str(), id)).await?;
        row.map(|row| Registered { id: id.to_owned(), client: row.client }).ok_or_else(unknown)
    }
}

/// Letters of an id: 128 bits.
const ID_CHARS: usize = 32;

fn id_of(authority: &ServerName, client: &Client) -> String {
    let row = ClientRow { client: client.clone(), seen_ms: 0 };
    let mut hasher = Sha256::new();
    hasher.update(authority.as_str().as_bytes());
    hasher.update([0]);
    hasher.update(row.encode());
    let hash = hasher.finalize();
    hash[..ID_CHARS / 2].iter().map(|byte| format!("{byte:02x}")).collect()
}
