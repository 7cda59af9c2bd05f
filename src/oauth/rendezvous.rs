//! Letterboxes: where two devices meet, of which one is not signed in yet (MSC4108).
//!
//! Whoever knows the id of a letterbox reads and writes the one letter that is in it. The devices encrypt
//! what they write, so nothing here is secret but by its id. Who writes says which letter it has read.
//!
//! Spec: <https://github.com/matrix-org/matrix-spec-proposals/pull/4108>

use base::{Address, Attempts, Timestamp};
use bytes::Bytes;
use ruma::ServerName;
use store::Batch;

pub use crate::letter::Letter;
use crate::{
    Error, OAuth,
    codes::hash,
    kinds::Passing,
    tables::{Hash, RENDEZVOUS, RendezvousRow},
};

/// Largest letter, in bytes.
pub const LARGEST: usize = 4 << 10;
/// Longest content type.
const LONGEST_TYPE: usize = 255;
/// Letters of an id, and of a tag.
const ID_CHARS: usize = 32;
const TAG_CHARS: usize = 16;

/// The tag that a header means: proxies mark one as weak, or add how they compressed the answer.
pub fn tag_of(header: &str) -> &str {
    let tag = header.trim();
    let tag = tag.strip_prefix("W/").unwrap_or(tag).trim_start_matches('"');
    // Ours are letters and digits.
    tag.split(|letter: char| !letter.is_ascii_alphanumeric()).next().unwrap_or_default()
}

impl OAuth {
    /// Puts up a letterbox with a first letter in it; its id.
    ///
    /// # Errors
    /// [`Error::TooLarge`], [`Error::Full`], [`account::Error::Limited`] where this address has made many, [`Error::Store`].
    pub async fn put_up_rendezvous(
        &self,
        authority: &ServerName,
        content: Bytes,
        content_type: &str,
        from: Option<Address>,
    ) -> Result<(String, Letter), Error> {
        check(&content, content_type)?;
        self.count_maker(authority, Passing::Rendezvous.number(), from)?;
        let mut attempts = Attempts::default();
        loop {
            let id = self.inner.random.token(ID_CHARS);
            let (key, now) = (hash(&id), self.now_ms());
            let row = RendezvousRow {
                authority: authority.to_string(),
                letter: content.clone(),
                content_type: content_type.to_owned(),
                tag: self.inner.random.token(TAG_CHARS),
                made_ms: now,
                written_ms: now,
            };
            let mut batch = Batch::new();
            self.put_passing(&mut batch, authority.as_str(), Passing::Rendezvous, now, key).await?;
            batch.insert(&RENDEZVOUS, &key, &row);
            match self.commit(batch).await {
                Err(Error::Contended) => self.again(&mut attempts).await?,
                done => return done.map(|()| (id, letter(row))),
            }
        }
    }

    /// What is in a letterbox.
    ///
    /// # Errors
    /// [`Error::NoRendezvous`], [`Error::Store`].
    pub async fn read_rendezvous(&self, authority: &ServerName, id: &str) -> Result<Letter, Error> {
        Ok(letter(self.rendezvous(authority, hash(id)).await?))
    }

    /// Writes into a letterbox, if the letter of this tag is in it still.
    ///
    /// # Errors
    /// [`Error::Overtaken`] with what is in it, [`Error::NoRendezvous`], [`Error::TooLarge`], [`Error::Store`].
    pub async fn write_rendezvous(
        &self,
        authority: &ServerName,
        id: &str,
        read: &str,
        content: Bytes,
        content_type: &str,
    ) -> Result<Letter, Error> {
        check(&content, content_type)?;
        let key = hash(id);
        let mut attempts = Attempts::default();
        loop {
            let row = self.rendezvous(authority, key).await?;
            if row.tag != read {
                return Err(Error::Overtaken(letter(row)));
            }
            let written = RendezvousRow {
                letter: content.clone(),
                content_type: content_type.to_owned(),
                tag: self.inner.random.token(TAG_CHARS),
                written_ms: self.now_ms(),
                ..row.clone()
            };
            let mut batch = Batch::new();
            batch.replace(&RENDEZVOUS, &key, &row, &written);
            match self.commit(batch).await {
                Err(Error::Contended) => self.again(&mut attempts).await?,
                done => return done.map(|()| letter(written)),
            }
        }
    }

    /// Takes a letterbox down.
    ///
    /// # Errors
    /// [`Error::NoRendezvous`], [`Error::Store`].
    pub async fn take_down_rendezvous(&self, authority: &ServerName, id: &str) -> Result<(), Error> {
        let key = hash(id);
        let row = self.rendezvous(authority, key).await?;
        let mut batch = Batch::new();
        self.put_gone(&mut batch, authority.as_str(), Passing::Rendezvous, row.made_ms, key).await?;
        match self.commit(batch).await {
            // Somebody else took it down.
            Err(Error::Contended) => Err(Error::NoRendezvous),
            done => done,
        }
    }

    async fn rendezvous(&self, authority: &ServerName, key: Hash) -> Result<RendezvousRow, Error> {
        let row = self.inner.store.get(&RENDEZVOUS, &key).await?;
        let is_there = |row: &RendezvousRow| {
            row.authority == authority.as_str() && !self.is_over(row.made_ms, Passing::Rendezvous.lifetime())
        };
        row.filter(is_there).ok_or(Error::NoRendezvous)
    }
}

fn check(content: &Bytes, content_type: &str) -> Result<(), Error> {
    if content.len() > LARGEST {
        return Err(Error::TooLarge("a letter of a rendezvous has at most 4096 bytes"));
    }
    if content_type.len() > LONGEST_TYPE {
        return Err(Error::TooLarge("the content type is too long"));
    }
    Ok(())
}

fn letter(row: RendezvousRow) -> Letter {
    let lifetime = u64::try_from(Passing::Rendezvous.lifetime().as_millis()).unwrap_or(u64::MAX);
    Letter {
        content: row.letter,
        content_type: row.content_type,
        tag: row.tag,
        written: Timestamp(row.written_ms),
        expires: Timestamp(row.made_ms.saturating_add(lifetime)),
    }
}

#[cfg(test)]
mod tests {
    use super::tag_of;

    #[test]
    fn a_tag_is_known_by_whatever_proxies_made_of_it() {
        for header in
            ["\"abc\"", "abc", "W/\"abc\"", "\"abc-gzip\"", "W/\"abc;br\"", " \"abc\" ", "\"abc\"-gzip"]
        {
            assert_eq!(tag_of(header), "abc", "{header}");
        }
    }
}
