//! The word in a mail by which its reader ends that more of them come: without signing in, as whoever reads it there does not
//! want to, and without an address in the link, which goes through many logs.
//!
//! It names the user, and is sealed with a secret of the store over whose mails it ends, and at which address. So it stays good
//! for as long as that address is told anything, and for nothing else.

use base::Random;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use mail::EmailAddress;
use ruma::{ServerName, UserId};
use serde::{Deserialize, Serialize};
use store::{Batch, CommitError, Table, Tuning};

use crate::{Error, Push, pushers};

/// What links in mails are sealed with; key: 0.
static SECRET: Table<u8, SecretRow> = Table::new(177, "push.secret", Tuning::Small);

/// Longest word that is looked at, in bytes: a user id has 255.
const LONGEST: usize = 512;

/// So often the secret is made anew that others raced with.
const ATTEMPTS: usize = 8;

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
struct SecretRow {
    bytes: [u8; 32],
}
store::row!(SecretRow, schema = 1);

pub(crate) fn checks() -> [store::TableCheck; 1] {
    [SECRET.check()]
}

/// What seals links in mails.
pub(crate) struct Secret([u8; 32]);

impl Secret {
    /// The word that ends the mails to a user's address.
    pub(crate) fn word_of(&self, user: &UserId, address: &EmailAddress) -> String {
        format!("{}.{}", URL_SAFE_NO_PAD.encode(user.as_str()), self.seal(user, address.as_str()).to_hex())
    }

    fn seal(&self, user: &UserId, address: &str) -> blake3::Hash {
        // No user id has a NUL, and no address.
        blake3::keyed_hash(&self.0, format!("mails of a pusher\0{user}\0{address}").as_bytes())
    }
}

impl Push {
    /// The secret of this store, which is made where there is none.
    ///
    /// # Errors
    /// [`account::Error::Contended`], [`account::Error::Commit`], [`Error::Store`].
    pub(crate) async fn secret(&self, random: &Random) -> Result<Secret, Error> {
        for _ in 0..ATTEMPTS {
            if let Some(row) = self.store().get(&SECRET, &0).await? {
                return Ok(Secret(row.bytes));
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

    /// Ends the mails to the address that a word is for. One that is for nothing, or for nothing any more, changes nothing, and
    /// tells nobody which of the two it is.
    ///
    /// # Errors
    /// [`account::Error::Commit`], [`account::Error::Store`].
    pub async fn end_mails(&self, authority: &ServerName, word: &str) -> Result<(), account::Error> {
        let Some((user, seal)) = word.split_once('.').filter(|_| word.len() <= LONGEST) else {
            return Ok(());
        };
        let user = URL_SAFE_NO_PAD.decode(user).ok().and_then(|user| String::from_utf8(user).ok());
        let user = user.and_then(|user| UserId::parse(user).ok());
        let Some(user) = user.filter(|user| user.server_name() == authority) else { return Ok(()) };
        let Ok(seal) = blake3::Hash::from_hex(seal) else { return Ok(()) };
        let Some(row) = self.store().get(&SECRET, &0).await? else { return Ok(()) };
        let secret = Secret(row.bytes);
        let mut batch = Batch::new();
        for (_, key) in pushers::of_user(self.store(), &user).await? {
            // Hashes are compared in constant time.
            if pushers::is_of_mails(&key) && secret.seal(&user, &key.3) == seal {
                pushers::delete(&mut batch, &key);
            }
        }
        if !batch.is_empty() {
            self.store().commit(batch).await?;
        }
        Ok(())
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
