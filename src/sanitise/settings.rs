//! What an authority decides of sanitising, and the bounds of one file.

use serde::{Deserialize, Serialize};

use crate::kind::Kind;

/// How files are sanitised.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// What becomes of cells of CSV files that Excel would compute.
    pub cells: Cells,
    /// What becomes of links to https, http and mailto.
    pub links: Links,
    /// Types whose inside cannot be checked and that pass as they are all the same, after a look at their structure
    /// ([`Kind::is_unchecked`]); others in the list have no effect.
    pub unchecked: Vec<Kind>,
    /// The bounds of one file.
    pub limits: Limits,
}

/// What becomes of cells of CSV files that Excel would compute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cells {
    /// An apostrophe is put before them; numbers such as -5 stay.
    Neutralised,
    /// They stay.
    Kept,
}

/// What becomes of links to https, http and mailto. Other links go in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Links {
    /// They stay.
    Kept,
    /// They go, the text stays.
    Removed,
}

/// The bounds of one file. What is over one of them is refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Largest file, in bytes.
    pub input_bytes: u64,
    /// Largest sanitised file, and most bytes that all that is in one file may unpack to.
    pub unpacked_bytes: u64,
    /// Most pixels of a picture, all of its frames and pages together.
    pub pixels: u64,
    /// Most frames of an animation and pages of a fax.
    pub frames: u32,
    /// Most entries of an archive, those of archives in it included.
    pub entries: u32,
    /// How deep archives may lie in archives; 1 is an archive with files.
    pub depth: u32,
    /// Deepest nesting of XML elements.
    pub xml_depth: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            cells: Cells::Neutralised,
            links: Links::Kept,
            unchecked: Vec::new(),
            limits: Limits::default(),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            input_bytes: 256 << 20,
            unpacked_bytes: 512 << 20,
            // Today's telephones take 108 million.
            pixels: 120_000_000,
            frames: 2_000,
            entries: 10_000,
            depth: 3,
            // Word nests tables, text boxes and fallbacks some 60 deep.
            xml_depth: 256,
        }
    }
}
