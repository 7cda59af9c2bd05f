//! Zones: the networks that listeners stand in, and which form of a file leaves to each.

use std::{path::PathBuf, time::Duration};

use media::ZoneFiles;
use room::Gives;
use sanitise::{Address, Cells, Clamd, Icap, Kind, Links, Settings};
use serde::{Deserialize, Serialize};

/// What leaves to a zone.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ZoneConfig {
    /// Which form of a file is given.
    pub files: FilesSetting,
    /// Where clamd listens, which looks at each file: a socket's path, or host and port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clamd: Option<String>,
    /// An ICAP server that looks at each file, `icap://host:1344/service`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub icap: Option<String>,
    /// So many seconds a scanner may take for one file.
    pub scan_seconds: u64,
    /// So many seconds a clamd that is down is waited for.
    pub scanner_wait_seconds: u64,
    /// What becomes of cells of CSV files that Excel would compute.
    pub formula_cells: Cells,
    /// What becomes of links in documents to https, http and mailto.
    pub links: Links,
    /// Types whose inside cannot be checked and that pass all the same: `dwg`, `jtd`.
    pub unchecked: Vec<Kind>,
}

impl Default for ZoneConfig {
    fn default() -> ZoneConfig {
        let Settings { cells, links, unchecked, .. } = Settings::default();
        ZoneConfig {
            files: FilesSetting::Originals,
            clamd: None,
            icap: None,
            scan_seconds: 30,
            scanner_wait_seconds: 5,
            formula_cells: cells,
            links,
            unchecked,
        }
    }
}

/// Which form of a file is given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FilesSetting {
    /// As it was uploaded.
    #[default]
    Originals,
    /// The same, once the scanners found nothing in it.
    Scanned,
    /// Sanitised alone.
    Sanitised,
}

impl FilesSetting {
    /// The same for whoever asks a zone.
    pub(super) fn gives(self) -> Gives {
        match self {
            FilesSetting::Originals => Gives::Originals,
            FilesSetting::Scanned => Gives::Scanned,
            FilesSetting::Sanitised => Gives::Sanitised,
        }
    }
}

/// Largest file that an ICAP server may give in another's place. It is held in memory.
const LARGEST_REPLACEMENT: u64 = 64 << 20;

impl ZoneConfig {
    /// The same for the content repository.
    pub(super) fn files(&self) -> ZoneFiles {
        let (time, patience) =
            (Duration::from_secs(self.scan_seconds), Duration::from_secs(self.scanner_wait_seconds));
        let clamd =
            self.clamd.as_deref().map(|place| Clamd { address: clamd_address(place), time, patience });
        let icap = self.icap.as_deref().and_then(icap_parts).map(|(address, service)| Icap {
            address: address.to_owned(),
            service: service.to_owned(),
            time,
            most_bytes: LARGEST_REPLACEMENT,
        });
        let settings = Settings {
            cells: self.formula_cells,
            links: self.links,
            unchecked: self.unchecked.clone(),
            ..Settings::default()
        };
        ZoneFiles { settings, clamd, icap }
    }
}

fn clamd_address(place: &str) -> Address {
    if place.starts_with('/') { Address::Unix(PathBuf::from(place)) } else { Address::Tcp(place.to_owned()) }
}

/// Host and port, and the service; none if it is no such URL.
pub(super) fn icap_parts(url: &str) -> Option<(&str, &str)> {
    let (address, service) = url.strip_prefix("icap://")?.split_once('/')?;
    (has_port(address) && !service.is_empty()).then_some((address, service))
}

/// Whether this is a host and a port.
pub(super) fn has_port(address: &str) -> bool {
    address.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
}
