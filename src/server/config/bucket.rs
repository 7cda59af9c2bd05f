//! The bucket that files of media are kept in.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

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
