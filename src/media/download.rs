//! Downloads: from an id to the bytes of its file.

use std::{ops::Range, time::Duration};

use base::Counter;
use room::{FileFacts, FileReader, Zone};
use ruma::ServerName;
use sanitise::Kind;

use crate::{
    Body, Error, Files, Media, Sha256, kinds,
    media::topic,
    tables::{self, BlobRow, MediaRow, ThumbRow, hex},
};

/// Nobody is made to wait longer for an upload, whatever he asks for.
pub(crate) const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// How long is waited for a file of ours that is still to come, if nobody says how long.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1mediadownloadservernamemediaid>
pub(crate) const USUAL_WAIT: Duration = Duration::from_secs(20);

/// Longest id of a file.
const LONGEST_ID: usize = 255;

/// What a zone's rules made of a file that leaves through it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    /// Whether the file was made anew.
    pub is_rebuilt: bool,
    /// What it lacks since then, in the words of [`sanitise::Part::code`].
    pub removed: Vec<String>,
    /// What it is by its content; none where only scanners looked at it.
    pub(crate) kind: Option<Kind>,
}

/// A file that may be read: in the form in which it leaves to who asked.
#[derive(Clone)]
pub struct Opened {
    /// What it holds, by its SHA-256.
    pub sha256: Sha256,
    /// Its size in bytes.
    pub size: u64,
    /// Its media type, fit for a header.
    pub kind: String,
    /// Its name.
    pub name: Option<String>,
    /// What a zone's rules made of it; none where none were applied.
    pub judged: Option<Judged>,
    pub(crate) place: String,
    files: Files,
    damaged: Counter,
}

impl Opened {
    /// Names what it holds, as HTTP's `ETag` does: equal for equal files only.
    pub fn tag(&self) -> String {
        format!("\"{}\"", hex(&self.sha256[..16]))
    }

    /// A small picture of it.
    pub(crate) fn thumb(&self, row: ThumbRow) -> Self {
        let ThumbRow { place, size, sha256, kind } = row;
        let end = match kind.as_str() {
            "image/png" => "png",
            "image/webp" => "webp",
            "image/gif" => "gif",
            _ => "jpg",
        };
        let name = Some(format!("thumbnail.{end}"));
        Self { sha256, size, kind, name, place, ..self.clone() }
    }

    /// The same with other content.
    pub(crate) fn holding(self, sha256: Sha256, blob: BlobRow) -> Self {
        Self { sha256, size: blob.size, place: blob.place, ..self }
    }

    /// Gives it a name that its reader wishes, which ends as its content demands where that was judged.
    pub fn rename(&mut self, wished: &str) {
        let kind: Option<Kind> = self.judged.as_ref().and_then(|judged| judged.kind);
        let name = kinds::name(Some(wished));
        self.name = name.map(|name| kind.map_or_else(|| name.clone(), |kind| kind.name_for(&name)));
    }

    /// A place for one of these, which nothing ever had.
    pub(crate) fn thumb_place(&self, variant: u8, chance: &str) -> String {
        let name = hex(&self.sha256);
        format!("{}/{}.{variant}-{}", &name[..2], &name[2..], chance.to_ascii_lowercase())
    }

    /// The bytes of it, or of a part that is not empty and lies within.
    ///
    /// # Errors
    /// [`Error::FileGone`], [`Error::Files`]. What fails later ends the body with an error, as does a whole file from a bucket
    /// that is not what was put there.
    pub async fn read(&self, part: Option<Range<u64>>) -> Result<Body, Error> {
        match part {
            Some(part) => self.files.read(&self.place, Some(part)).await,
            None => self.files.read_whole(&self.place, self.sha256, self.damaged.clone()).await,
        }
    }
}

/// Which file is asked for, and by whom.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Who reads it.
    pub reader: FileReader<'a>,
    /// The server whose it is.
    pub server: &'a ServerName,
    /// Its media id.
    pub id: &'a str,
    /// How long is waited for one that is still to come, a minute at most. Where nothing is said, 20 seconds for
    /// one of ours, and as long as the other server itself waits for one of another.
    pub wait: Option<Duration>,
    /// The zone that it leaves to; none where the listener has none.
    pub zone: Option<&'a Zone>,
    /// In whose name, of ours, another server is asked for its own; none: it is not.
    pub from: Option<&'a ServerName>,
}

impl Media {
    /// Opens the file of an id for somebody. Another server's is fetched if there is no copy of it.
    ///
    /// # Errors
    /// [`Error::NotFound`], also for what is withheld; [`Error::NotYetUploaded`], [`Error::Denied`], [`Error::Store`]; by
    /// the rules of a zone, [`Error::Refused`], [`Error::NotScanned`], [`Error::Unjudged`], [`Error::Limited`]; of another server's, [`Error::Elsewhere`], [`Error::TooLargeElsewhere`], [`Error::Limited`].
    pub async fn open_file(&self, asked: Asked<'_>) -> Result<Opened, Error> {
        let Asked { reader, server, id, wait, zone, from } = asked;
        if !is_id(id) {
            return Err(Error::NotFound);
        }
        let row = match from {
            _ if self.is_ours(server) => {
                self.wait_for(server, id, wait.unwrap_or(USUAL_WAIT).min(LONGEST_WAIT)).await?
            }
            Some(from) => self.remote(from, server, id, wait.map(|wait| wait.min(LONGEST_WAIT))).await?,
            None => return Err(Error::NotFound),
        };
        if self.is_withheld_from(reader, (server, id), &row.sha256).await? {
            return Err(Error::NotFound);
        }
        let original = self.opened(reader, server, row).await?;
        self.for_zone(zone, reader, (server, id), original).await
    }

    async fn opened(
        &self,
        reader: FileReader<'_>,
        server: &ServerName,
        row: MediaRow,
    ) -> Result<Opened, Error> {
        let inner = &self.inner;
        let Some(blob) = inner.store.get(&tables::BLOBS, &row.sha256).await? else {
            // It was removed between the two.
            return Err(Error::NotFound);
        };
        let BlobRow { place, withheld: false, .. } = blob else { return Err(Error::NotFound) };
        let MediaRow { sha256, size, kind, name, .. } = row;
        let facts = FileFacts { kind: &kind, name: name.as_deref(), size: Some(size), sha256: Some(&sha256) };
        inner.policy.download(reader, server, &facts).map_err(Error::Denied)?;
        Ok(Opened {
            sha256,
            size,
            kind,
            name,
            judged: None,
            place,
            files: inner.files.clone(),
            damaged: inner.damaged.clone(),
        })
    }

    /// The row of a file of ours, once it is there.
    async fn wait_for(&self, server: &ServerName, id: &str, wait: Duration) -> Result<MediaRow, Error> {
        let inner = &self.inner;
        let key = (server.as_str(), id);
        if let Some(row) = inner.store.get(&tables::MEDIA, &key).await? {
            return Ok(row);
        }
        let end = inner.clock.instant() + wait;
        // Before the look at both: an upload in between must not be missed.
        let mut watch = inner.store.watch(vec![topic(server.as_str(), id)]);
        loop {
            let reserved = inner.store.get(&tables::RESERVED, &key).await?;
            if let Some(row) = inner.store.get(&tables::MEDIA, &key).await? {
                return Ok(row);
            }
            let now = inner.clock.now().millis();
            if reserved.is_none_or(|reserved| reserved.expires_ms <= now) {
                return Err(Error::NotFound);
            }
            let left = end.since(inner.clock.instant());
            if left.is_zero() || inner.clock.timeout(left, watch.changed()).await.is_err() {
                return Err(Error::NotYetUploaded);
            }
        }
    }
}

/// Whether this can be the id of a file.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#security-considerations-5>
pub(crate) fn is_id(id: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (1..=LONGEST_ID).contains(&id.len()) && id.bytes().all(allowed)
}
