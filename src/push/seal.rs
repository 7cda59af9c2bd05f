//! What links in mails are sealed with: a secret of the store.

use base::Random;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use mail::EmailAddress;
use ruma::UserId;
use serde::{Deserialize, Serialize};
use store::{Batch, CommitError, Table, TableCheck, Tuning};

use crate::{Error, Push};

/// What links in mails are sealed with; key: 0.
static SECRET: Table<u8, SecretRow> = Table::new(177, "push.secret", Tuning::Small);

/// So often the secret is made anew that others raced with.
const ATTEMPTS: usize = 8;

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
struct SecretRow {
    bytes: [u8; 32],
}
store::row!(SecretRow, schema = 1);

pub(crate) fn checks() -> [TableCheck; 1] {
    [SECRET.check()]
}

/// What seals links in mails.
pub(crate) struct Secret([u8; 32]);

impl Secret {
    /// The word that ends the mails to a user's address.
    pub(crate) fn word_of(&self, user: &UserId, address: &EmailAddress) -> String {
        format!("{}.{}", URL_SAFE_NO_PAD.encode(user.as_str()), self.seal(user, address.as_str()).to_hex())
    }

    pub(crate) fn seal(&self, user: &UserId, address: &str) -> blake3::Hash {
        // No user id has a NUL, and no address.
        blake3::keyed_hash(&self.0, format!("mails of a pusher\0{user}\0{address}").as_bytes())
    }
}

impl Push {
    /// The secret of this store, if there is one.
    pub(crate) async fn find_secret(&self) -> Result<Option<Secret>, store::Error> {
        Ok(self.store().get(&SECRET, &0).await?.map(|row| Secret(row.bytes)))
    }

    /// The secret of this store, which is made where there is none.
    ///
    /// # Errors
    /// [`account::Error::Contended`], [`account::Error::Commit`], [`Error::Store`].
    pub(crate) async fn secret(&self, random: &Random) -> Result<Secret, Error> {
        for _ in 0..ATTEMPTS {
            if let Some(secret) = self.find_secret().await? {
                return Ok(secret);
            }
            let mut row = SecretRow { bytes: [0; 32] };
            random.fill(&mut row.bytes);
            let mut batch = Batch::new();
            batch.insert(&SECRET, &0, &row);
            match self.store().commit(batch).await {
                Ok(_) => return Ok(Secret(row.bytes)),
                Err(CommitError::Conflict { .. }) => {}
                Err(error) => return Err(Error::Account(error.into())),
            }
        }
        Err(Error::Account(account::Error::Contended))
    }
}

#[cfg(test)]
mod tests {
    use ruma::user_id;
    use store::Value as _;

    use super::*;

    #[test]
    fn a_word_is_for_one_user_at_one_address() {
        let (one, other) = (Secret([1; 32]), Secret([2; 32]));
        let word = |secret: &Secret, user: &UserId, address: &str| {
            secret.word_of(user, &address.parse().expect("an address"))
        };
        let (hanako, taro) = (user_id!("@hanako:kanazawa.test"), user_id!("@taro:kanazawa.test"));
        let words = [
            word(&one, hanako, "hanako@example.jp"),
            word(&one, hanako, "other@example.jp"),
            word(&one, taro, "hanako@example.jp"),
            word(&other, hanako, "hanako@example.jp"),
        ];
        let different: std::collections::BTreeSet<_> =
            words.iter().filter_map(|word| word.split_once('.')).map(|(_, seal)| seal).collect();
        assert_eq!(different.len(), 4);
        assert!(!words[0].contains("example"), "no address is in it");
    }

    #[test]
    fn the_secret_is_read_as_it_was_written() {
        let row = SecretRow { bytes: [7; 32] };
        assert_eq!(&row.encode()[..], [&[1][..], &[7; 32]].concat());
    }
}
