//! The word in a mail by which its reader ends that more of them come: without signing in, as whoever reads it there does not
//! want to, and without an address in the link, which goes through many logs.
//!
//! It names the user, and is sealed with a secret of the store over whose mails it ends, and at which address. So it stays good
//! for as long as that address is told anything, and for nothing else.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ruma::{ServerName, UserId};
use store::Batch;

use crate::{Push, pushers};

/// Longest word that is looked at, in bytes: a user id has 255.
const LONGEST: usize = 512;

impl Push {
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
        let Some(secret) = self.find_secret().await? else { return Ok(()) };
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
