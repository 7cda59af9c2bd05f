//! The content repository: files that users upload, and those of other servers.
//!
//! A file is streamed into the storage ([`Files`]) and never held in memory. What it holds is kept once, under the hash of
//! it; each id that leads to it is a row beside the authority's other data. Nothing here knows HTTP: the handlers of the
//! client and federation interfaces call the verbs of [`Media`] and answer, and what is needed of other servers is a port.
//!
//! Reading order: [`Files`], [`Media`], `upload`, `download`, `variants`, `names`, `thumbnails`, `remote`,
//! `previews`, `sweep`.

mod administration;
mod browse;
mod bucket;
mod config;
mod download;
mod elsewhere;
mod error;
mod files;
mod heads;
pub mod kinds;
mod media;
mod names;
mod places;
mod plan;
mod previews;
mod refused;
mod remote;
mod remove;
mod sanitising;
mod sweep;
mod tables;
#[cfg(test)]
mod tests;
mod thumbnails;
mod upload;
mod variants;
mod verify;

pub use administration::{FileInfo, Uploaded};
pub use browse::{Browse, NoBrowse, Page};
pub use bucket::{S3Config, look_at_bucket};
pub use config::{Config, ZoneFiles};
pub use download::{Asked, Judged, Opened};
pub use elsewhere::{Elsewhere, FetchBounds, FetchError, Fetched, NoElsewhere};
pub use error::{Error, QuotaOf};
pub use files::{Body, Files, FilesConfig};
pub use media::{Media, Parts};
pub use names::{Naming, note_names};
pub use tables::{Sha256, checks};
pub use thumbnails::{Method, Wanted};
pub use upload::{About, Reserved, Upload};
pub use verify::{Missing, missing_files};
