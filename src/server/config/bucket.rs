//! The bucket that files of media are kept in.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Config;

/// A bucket of an S3-compatible store.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BucketConfig {
    /// Where the store is: a URL.
    pub endpoint: String,
    /// Its region, as requests are signed for it.
    #[serde(default = "usual_region")]
    pub region: String,
    /// The bucket's name.
    pub bucket: String,
    /// What the names of our objects begin with.
    #[serde(default)]
    pub prefix: String,
    /// Whether the bucket is named in the path of requests, and not in their host.
    #[serde(default = "yes")]
    pub path_style: bool,
    /// The id of the key.
    pub key_id: String,
    /// A file with the key.
    pub secret_file: PathBuf,
    /// A PEM file with an authority that the store's certificate may be of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
}

fn usual_region() -> String {
    "us-east-1".to_owned()
}

const fn yes() -> bool {
    true
}

impl Config {
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
