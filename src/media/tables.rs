//! Tables of this crate and the rows in them.
//!
//! A file is kept once, whoever uploads it and however often: [`BLOBS`] says where it lies, and [`MEDIA`] leads to it
//! from each id. How many ids do so is in the blob's row, which each batch that changes it replaces. The name of a file in
//! the storage is never used again, so nothing that removes one can meet a newer one.

use room::{EventSerial, RoomSerial};
use serde::{Deserialize, Serialize};
use store::{Counter, Table, TableCheck, Tuning, row};

/// SHA-256 of a file.
pub type Sha256 = [u8; 32];

/// Files by their ids; key: server name, media id.
pub(crate) static MEDIA: Table<(String, String), MediaRow> = Table::new(210, "media.media", Tuning::Point);
/// Where the content of files lies; key: its SHA-256.
pub(crate) static BLOBS: Table<Sha256, BlobRow> = Table::new(211, "media.blobs", Tuning::Point);
/// Ids that were given out before their files came; key: server name, media id.
pub(crate) static RESERVED: Table<(String, String), ReservedRow> =
    Table::new(212, "media.reserved", Tuning::Small);
/// The same by whom they were given to; key: user id, media id; value: when it runs out, in ms since 1970.
pub(crate) static RESERVED_OF: Table<(String, String), u64> =
    Table::new(213, "media.reserved_of", Tuning::Small);
/// Bytes that are kept; key: authority, and the user or nothing for all of them. Each id counts by itself.
pub(crate) static USED: Table<(String, String), Counter> = Table::new(214, "media.used", Tuning::Small);
/// Files that no row leads to any more and that are to be removed; key: the name in the storage.
pub(crate) static DOOMED: Table<String, ()> = Table::new(215, "media.doomed", Tuning::Queue);
/// Small pictures of what files hold; key: its SHA-256, number of the size.
pub(crate) static THUMBS: Table<(Sha256, u8), ThumbRow> = Table::new(216, "media.thumbs", Tuning::Point);
/// The name of this store, which its bucket bears; key: nothing.
pub(crate) static STORE_NAME: Table<String, String> = Table::new(220, "media.store_name", Tuning::Point);
/// Copies of other servers' files; key: the day on which it was asked for last, server name, media id.
pub(crate) static COPIES: Table<(u32, String, String), ()> = Table::new(217, "media.copies", Tuning::Small);

/// What pages say of themselves to which users of an authority link; key: server name, SHA-256 of the address.
pub(crate) static PREVIEWS: Table<(String, Sha256), PreviewRow> =
    Table::new(218, "media.previews", Tuning::Small);
/// Pictures of such pages; key: the last day on which one is kept, server name, media id.
pub(crate) static PREVIEW_PICTURES: Table<(u32, String, String), ()> =
    Table::new(219, "media.preview_pictures", Tuning::Small);

/// What files were judged to be on their way to a zone; key: SHA-256 of what a file holds, number of the recipe by which it
/// was judged.
pub(crate) static VERDICTS: Table<(Sha256, u64), VerdictRow> =
    Table::new(221, "media.verdicts", Tuning::Point);

/// What the names say that events give files; key: server name, media id, what is said ([`crate::names`]), the event that says it.
pub(crate) static NAMED: Table<(String, String, u8, (RoomSerial, EventSerial)), ()> =
    Table::new(222, "media.named", Tuning::Small);

/// What an authority withholds; key: authority, what a file holds as hexadecimal, or where another server's is.
pub(crate) static WITHHELD: Table<(String, String), MarkRow> =
    Table::new(291, "media.withheld", Tuning::Small);

/// What files of an authority hold that is not withheld; key: authority, hash as hexadecimal.
pub(crate) static PROTECTED: Table<(String, String), MarkRow> =
    Table::new(292, "media.protected", Tuning::Small);

/// A file under one id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MediaRow {
    /// What it holds.
    pub(crate) sha256: Sha256,
    /// Its size in bytes.
    pub(crate) size: u64,
    /// Its media type, fit for a header.
    pub(crate) kind: String,
    /// Its name.
    pub(crate) name: Option<String>,
    /// Who uploaded it; nobody, if it is another server's.
    pub(crate) by: Option<String>,
    /// Since when it is here, in milliseconds since 1970.
    pub(crate) created_ms: u64,
    /// The day on which it was asked for last, since 1970; counted for copies of other servers' files only.
    pub(crate) seen_day: u32,
}
row!(MediaRow, schema = 1);

/// What files hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BlobRow {
    /// Its name in the storage.
    pub(crate) place: String,
    /// Its size in bytes.
    pub(crate) size: u64,
    /// How many ids lead to it, and how many verdicts for which it was made.
    pub(crate) uses: u32,
    /// Whether it is shown to nobody.
    pub(crate) withheld: bool,
}
row!(BlobRow, schema = 1);

/// An id that was given out before its file came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ReservedRow {
    /// Who may upload it.
    pub(crate) by: String,
    /// Until when, in milliseconds since 1970.
    pub(crate) expires_ms: u64,
}
row!(ReservedRow, schema = 1);

/// A small picture.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ThumbRow {
    /// Its name in the storage.
    pub(crate) place: String,
    /// Its size in bytes.
    pub(crate) size: u64,
    /// What it holds.
    pub(crate) sha256: Sha256,
    /// Its media type.
    pub(crate) kind: String,
}
row!(ThumbRow, schema = 1);

/// What a file was judged to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct VerdictRow {
    /// The version of the engine that judged it.
    pub(crate) engine: u32,
    /// When, in milliseconds since 1970.
    pub(crate) judged_ms: u64,
    /// What it is by its content: the end that names of such files get.
    pub(crate) kind: Option<String>,
    /// What leaves of it.
    pub(crate) judgement: Judgement,
}
row!(VerdictRow, schema = 1);

/// What leaves of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Judgement {
    /// The file as it is.
    Clean,
    /// Another one in its place.
    Rebuilt {
        /// What that holds.
        sha256: Sha256,
        /// What it lacks, by its codes.
        removed: Vec<String>,
    },
    /// Nothing.
    Refused {
        /// Why, by its code.
        reason: String,
        /// When it is judged again, in milliseconds since 1970; never, if it is the file's own fault.
        again_ms: Option<u64>,
    },
}

/// What a page says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PreviewRow {
    /// The JSON that clients are told; none if the page could not be had.
    pub(crate) said: Option<String>,
    /// Until when it is kept, in milliseconds since 1970.
    pub(crate) expires_ms: u64,
}
row!(PreviewRow, schema = 1);

/// Who marked a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MarkRow {
    /// Who did.
    pub(crate) by: String,
    /// When, in milliseconds since 1970.
    pub(crate) since_ms: u64,
}
row!(MarkRow, schema = 1);

/// The checks of all tables of this crate, for `verify`.
pub fn checks() -> Vec<TableCheck> {
    vec![
        MEDIA.check(),
        BLOBS.check(),
        RESERVED.check(),
        RESERVED_OF.check(),
        USED.check(),
        DOOMED.check(),
        THUMBS.check(),
        STORE_NAME.check(),
        COPIES.check(),
        PREVIEWS.check(),
        PREVIEW_PICTURES.check(),
        VERDICTS.check(),
        NAMED.check(),
        WITHHELD.check(),
        PROTECTED.check(),
    ]
}

/// Binary as text of lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use store::Value;

    use super::*;

    /// What is on disk must stay readable: a change here needs a new schema number.
    #[test]
    fn rows_have_the_bytes_that_are_on_disk() {
        let media = MediaRow {
            sha256: [7; 32],
            size: 300,
            kind: "a/b".into(),
            name: None,
            by: Some("@a:b".into()),
            created_ms: 5,
            seen_day: 6,
        };
        let bytes = media.encode();
        assert_eq!(
            (&bytes[..2], &bytes[33..]),
            (&b"\x01\x07"[..], &b"\xac\x02\x03a/b\x00\x01\x04@a:b\x05\x06"[..])
        );
        assert_eq!(MediaRow::decode(&bytes).unwrap(), media);
        let blob = BlobRow { place: "07/x".into(), size: 1, uses: 2, withheld: true };
        assert_eq!(&blob.encode()[..], b"\x01\x0407/x\x01\x02\x01");
        let reserved = ReservedRow { by: "@a:b".into(), expires_ms: 3 };
        assert_eq!(&reserved.encode()[..], b"\x01\x04@a:b\x03");
        let verdict = |judgement| {
            let row = VerdictRow { engine: 1, judged_ms: 2, kind: Some("pdf".into()), judgement };
            row.encode()[7..].to_vec()
        };
        let clean = VerdictRow { engine: 1, judged_ms: 2, kind: None, judgement: Judgement::Clean };
        assert_eq!(&clean.encode()[..], b"\x01\x01\x02\x00\x00");
        assert_eq!(verdict(Judgement::Clean), b"f\x00");
        let rebuilt = verdict(Judgement::Rebuilt { sha256: [9; 32], removed: vec!["link".into()] });
        assert_eq!((&rebuilt[..3], &rebuilt[34..]), (&b"f\x01\x09"[..], &b"\x01\x04link"[..]));
        let refused = Judgement::Refused { reason: "svg".into(), again_ms: Some(3) };
        assert_eq!(verdict(refused), b"f\x02\x03svg\x01\x03");
        let preview = PreviewRow { said: Some("{}".into()), expires_ms: 3 };
        assert_eq!(&preview.encode()[..], b"\x01\x01\x02{}\x03");
        let thumb = ThumbRow { place: "07/x".into(), size: 1, sha256: [9; 32], kind: "a/b".into() };
        let bytes = thumb.encode();
        assert_eq!((&bytes[..8], &bytes[39..]), (&b"\x01\x0407/x\x01\x09"[..], &b"\x03a/b"[..]));
        let mark = MarkRow { by: "@a:b".into(), since_ms: 3 };
        assert_eq!(&mark.encode()[..], b"\x01\x04@a:b\x03");
        assert_eq!(hex(&[0, 255]), "00ff");
    }
}
