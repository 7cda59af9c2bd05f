//! What can be set about media.

use std::{collections::BTreeMap, time::Duration};

use base::ByteSize;
use sanitise::{Clamd, Icap, Settings};

/// Settings of the content repository, for all authorities of the process.
#[derive(Clone, Debug)]
pub struct Config {
    /// Largest file that a user may upload.
    pub largest_upload: ByteSize,
    /// Largest file of another server that is fetched.
    pub largest_remote: ByteSize,
    /// Time for fetching one, and for waiting until it may be.
    pub remote_time: Duration,
    /// A copy of another server's file goes when nobody has asked for it for so long; none is for ever.
    pub remote_kept: Option<Duration>,
    /// Whether pages are looked at to which users link.
    pub previews: bool,
    /// What one user of ours may keep in all; none is without a limit.
    pub of_user: Option<ByteSize>,
    /// What the users of one authority may keep in all; none is without a limit.
    pub of_authority: Option<ByteSize>,
    /// How long an id that was made before its file waits for that.
    pub reserved_for: Duration,
    /// How many such ids one user may have that wait for their files.
    pub most_reserved: usize,
    /// Uploads of one user at a time; a few more wait in turn.
    pub uploads_of_user: usize,
    /// Uploads in all at a time, also those that wait; more are refused.
    pub uploads: usize,
    /// What becomes of files on their way to zones, by their names.
    pub zones: BTreeMap<String, ZoneFiles>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            largest_upload: ByteSize::mib(100),
            largest_remote: ByteSize::mib(100),
            remote_time: Duration::from_secs(5 * 60),
            remote_kept: Some(Duration::from_secs(90 * 24 * 60 * 60)),
            previews: false,
            of_user: Some(ByteSize::mib(10 << 10)),
            of_authority: None,
            reserved_for: Duration::from_secs(24 * 60 * 60),
            most_reserved: 100,
            uploads_of_user: 8,
            uploads: 256,
            zones: BTreeMap::new(),
        }
    }
}

/// What becomes of files on their way to a zone, where its [`Gives`](room::Gives) says that anything does.
#[derive(Clone, Debug, Default)]
pub struct ZoneFiles {
    /// How they are sanitised.
    pub settings: Settings,
    /// The clamd that looks at each.
    pub clamd: Option<Clamd>,
    /// The ICAP server that looks at each, after clamd.
    pub icap: Option<Icap>,
}
