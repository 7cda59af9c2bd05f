//! Where the files of media are, as the configuration says.

use std::path::PathBuf;

use anyhow::anyhow;
use base::Random;
use media::{Files, FilesConfig, Media};
use tracing::warn;

use crate::{
    causes,
    config::{Backend, Config, Durability},
    texts::tr,
};

/// The directory of files within that of the data.
pub(crate) const WITHIN_DATA: &str = "media";

/// Files, and their directory if it goes with the process.
pub(crate) struct Opened {
    pub(crate) files: Files,
    pub(crate) scratch: Option<Scratch>,
}

/// A directory that is removed at the end: of a process that keeps its data in memory.
pub(crate) struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        // What stays there is in the system's directory for what may go.
        std::fs::remove_dir_all(&self.0).ok();
    }
}

impl Config {
    /// The directory of files; none for a process that keeps its data in memory and names no other place.
    pub fn media_directory(&self) -> Option<PathBuf> {
        match (&self.media.path, self.store.backend) {
            (Some(path), _) => Some(self.path(path)),
            (None, Backend::Memory) => None,
            (None, Backend::Rocksdb | Backend::Postgres) => {
                Some(self.path(&self.store.path).join(WITHIN_DATA))
            }
        }
    }

    /// The bucket that files are kept in, with its key read from its file.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn bucket(&self) -> anyhow::Result<Option<media::S3Config>> {
        let Some(bucket) = &self.media.s3 else { return Ok(None) };
        let ca = bucket.ca_file.as_deref().map(|file| self.secret(file)).transpose()?;
        Ok(Some(media::S3Config {
            endpoint: bucket.endpoint.clone(),
            region: bucket.region.clone(),
            bucket: bucket.bucket.clone(),
            prefix: bucket.prefix.clone(),
            path_style: bucket.path_style,
            key_id: bucket.key_id.clone(),
            secret: self.secret(&bucket.secret_file)?,
            ca: ca.map(String::into_bytes),
        }))
    }
}

/// Opens the files that the configuration names.
///
/// # Errors
/// When their directory cannot be used.
pub(crate) fn open(config: &Config, random: &Random) -> anyhow::Result<Opened> {
    let (directory, scratch) = match config.media_directory() {
        Some(directory) => (directory, None),
        None => {
            let directory = std::env::temp_dir().join(format!("yakuba-media-{}", random.token(16)));
            (directory.clone(), Some(Scratch(directory)))
        }
    };
    let synced = config.store.durability == Durability::Fsync;
    let (reserve, bucket) = (config.media.reserve, config.bucket()?);
    let files = FilesConfig { directory: directory.clone(), reserve, synced, bucket };
    let files = Files::open(files, random).map_err(|error| {
        anyhow!(tr!(
            "メディアのディレクトリ {path} を使えません: {cause}",
            "the directory {path} of media cannot be used: {cause}",
            path = directory.display(),
            cause = causes::of_media(&error)
        ))
    })?;
    Ok(Opened { files, scratch })
}

/// Makes the bucket of files ours. One that is away is looked at again before anything in it is removed.
///
/// # Errors
/// Where it is another server's.
pub(crate) async fn claim(media: &Media) -> anyhow::Result<()> {
    match media.claim_bucket().await {
        Ok(()) => Ok(()),
        Err(media::Error::Away { .. }) => {
            warn!("the bucket of media cannot be reached now; whose it is is looked at later");
            Ok(())
        }
        Err(media::Error::Foreign) => Err(anyhow!(tr!(
            "[media.s3] のバケットとプレフィックスは別のサーバーが使っています。互いのファイルを消し合うため起動しません。サーバーごとに別の prefix を指定してください (目印: オブジェクト yakuba-store)",
            "the bucket and prefix of [media.s3] belong to another server: each would remove the other's files. Give each server a prefix of its own (the mark is the object yakuba-store)"
        ))),
        Err(error) => Err(anyhow!(causes::of_media(&error))),
    }
}
