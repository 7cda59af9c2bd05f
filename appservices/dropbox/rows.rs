//! What is kept: tables and their rows.
//!
//! Rows are JSON; keys that grow with time are numbers of fixed length, so that they lie in order.

use std::{collections::BTreeSet, time::Duration};

use base::Timestamp;
use bot_kit::{
    Table,
    ruma::{OwnedEventId, OwnedRoomId, OwnedUserId},
};
use serde::{Deserialize, Serialize};

use crate::{
    drops::handover::TIME_TO_AGREE,
    end::End,
    kind::{Group, Kind},
    language::Language,
};

/// Links to upload by; key: hash of the token, value: the link.
pub(crate) const LINKS: Table<Link> = Table::new("links");
/// A room's links; key: room and number, value: hash of the token.
pub(crate) const ROOM_LINKS: Table<String> = Table::new("room links");
/// Who has to look at a link next; key: when, and hash of the token, value: nothing.
pub(crate) const DUE: Table<()> = Table::new("due");
/// Files; key: hash of the link's token and id of the upload, value: the upload.
pub(crate) const UPLOADS: Table<Upload> = Table::new("uploads");
/// What is on its way into a room; key: when it was whole, and its key in [`UPLOADS`], value: that key.
pub(crate) const OUTBOX: Table<String> = Table::new("outbox");
/// Counts over everything; key: empty.
pub(crate) const TOTALS: Table<Totals> = Table::new("totals");
/// Rows of the record that are not in its file yet; key: number, value: the row.
pub(crate) const RECORD: Table<Deed> = Table::new("record");
/// Rooms in which codes are told; key: user, value: room.
pub(crate) const PRIVATE_ROOMS: Table<OwnedRoomId> = Table::new("private rooms");

/// Users whose rooms for codes have no alias any more that follows from the user alone; key: user.
pub(crate) const HIDDEN: Table<()> = Table::new("private rooms with keyed aliases");

/// Rooms that were upgraded to one of which nothing can be seen; key: the room, value: that one.
pub(crate) const AWAITED: Table<OwnedRoomId> = Table::new("awaited successors");

/// Rooms into which nothing can be put now; key: room, value: what was found first to be so: an event, or a file.
pub(crate) const REFUSING: Table<String> = Table::new("refusing");

/// Links to download by; key: hash of the token, value: the link.
pub(crate) const HANDS: Table<Hand> = Table::new("hands");
/// A room's links to download by; key: room and number, value: hash of the token.
pub(crate) const ROOM_HANDS: Table<String> = Table::new("room hands");
/// Messages under which members agree to a link; key: id of the event, value: hash of the token.
pub(crate) const QUESTIONS: Table<String> = Table::new("questions");

/// A link to upload by.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Link {
    pub(crate) room: OwnedRoomId,
    /// By which the room calls it.
    pub(crate) number: u32,
    pub(crate) maker: OwnedUserId,
    /// The command.
    pub(crate) cause: OwnedEventId,
    pub(crate) language: Language,
    pub(crate) title: String,
    pub(crate) made: Timestamp,
    pub(crate) ends: Timestamp,
    /// When the maker is told that nothing came, if nothing has and he was not.
    pub(crate) remind: Option<Timestamp>,
    /// Files that may come, and bytes of all of them.
    pub(crate) most_files: u32,
    pub(crate) most_bytes: u64,
    /// Any, if it is empty.
    pub(crate) groups: BTreeSet<Group>,
    pub(crate) code: Option<Code>,
    pub(crate) state: LinkState,
    /// Files that were begun and not given up or refused, with the bytes that they have or will have.
    pub(crate) files: u32,
    pub(crate) bytes: u64,
    /// Files that came whole.
    pub(crate) received: u32,
    /// Where it stands in [`DUE`].
    pub(crate) due: Timestamp,
    /// The event that ended it, if it was one that concerns its room.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) closed_by: Option<OwnedEventId>,
    /// When and why it ended before its time, unless that was in a release that did not note it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) end: Option<End>,
}

/// The code of a link.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Code {
    pub(crate) hash: String,
    /// Wrong ones that may still be tried.
    pub(crate) guesses_left: u8,
    /// Browsers that were let in.
    pub(crate) passes: u8,
}

/// How far a link has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LinkState {
    /// It is good until its time is over.
    Open,
    /// Its time is over; what was begun may come to its end.
    Ending,
    /// Nothing comes any more: its time is over, or somebody ended it.
    Ended,
}

impl Link {
    /// Whether something new may be begun.
    pub(crate) fn is_good(&self, now: Timestamp) -> bool {
        self.state == LinkState::Open && now < self.ends
    }

    /// Whether a code was tried too often.
    pub(crate) fn is_locked(&self) -> bool {
        self.code.as_ref().is_some_and(|code| code.guesses_left == 0)
    }
}

/// A file on its way.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Upload {
    /// As the sender's machine calls it.
    pub(crate) original_name: String,
    pub(crate) name: String,
    /// Its length when it is whole.
    pub(crate) length: u64,
    /// Bytes that are on the disk and were acknowledged.
    pub(crate) offset: u64,
    pub(crate) sender: Sender,
    pub(crate) begun: Timestamp,
    pub(crate) touched: Timestamp,
    pub(crate) state: UploadState,
}

/// Who sends, as they say themselves, and from where.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sender {
    pub(crate) company: String,
    pub(crate) name: String,
    pub(crate) note: String,
    pub(crate) address: String,
}

/// How far a file has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum UploadState {
    Receiving,
    /// Whole, and in the outbox.
    Whole {
        sha256: String,
        kind: Kind,
        at: Timestamp,
        uri: Option<String>,
        held: Option<String>,
    },
    /// In the room; the file is gone from the disk.
    Sent {
        sha256: String,
        kind: Kind,
        at: Timestamp,
        event: OwnedEventId,
    },
    /// Not taken; the file is gone from the disk.
    Refused {
        reason: Refused,
    },
}

/// Why a file was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Refused {
    /// It is of a kind that the link is not for.
    Kind,
    /// Its hash is not the one that the sender's browser computed.
    Hash,
    /// The sender took it back.
    TakenBack,
    /// It was not gone on with, or its time was over.
    GivenUp,
}

/// A link to download by, for one file of a room.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Hand {
    pub(crate) room: OwnedRoomId,
    /// By which the room calls it.
    pub(crate) number: u32,
    pub(crate) asker: OwnedUserId,
    /// The command.
    pub(crate) cause: OwnedEventId,
    pub(crate) language: Language,
    pub(crate) asked: Timestamp,
    /// For how long it is good, from the agreement on.
    pub(crate) lasts: Duration,
    /// How often the file may be fetched.
    pub(crate) times: u32,
    pub(crate) with_code: bool,
    pub(crate) code: Option<Code>,
    /// The file's event, and what that says of it.
    pub(crate) event: OwnedEventId,
    /// The room of that event, where the link went on with a room that came in its stead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) lies_in: Option<OwnedRoomId>,
    pub(crate) uri: String,
    pub(crate) name: String,
    pub(crate) size: Option<u64>,
    pub(crate) state: HandState,
    /// When it was last fetched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) fetched: Option<Timestamp>,
    /// Downloads that broke off and were given back.
    #[serde(default, skip_serializing_if = "is_none_yet")]
    pub(crate) given_back: u32,
    /// By which somebody agreed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) agreement: Option<OwnedEventId>,
    /// The event that ended it, if it was one that concerns its room.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) closed_by: Option<OwnedEventId>,
    /// When and why it ended before its time, unless that was in a release that did not note it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) end: Option<End>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_none_yet(count: &u32) -> bool {
    *count == 0
}

/// How far a link to download by has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum HandState {
    /// Somebody else has to agree.
    Asked,
    /// Somebody else agreed.
    Good { by: OwnedUserId, ends: Timestamp, left: u32 },
    /// Somebody ended it.
    Ended,
}

impl Hand {
    /// The room in which the file is shown.
    pub(crate) fn room_of_file(&self) -> &OwnedRoomId {
        self.lies_in.as_ref().unwrap_or(&self.room)
    }

    /// Whether the file may be fetched.
    pub(crate) fn is_good(&self, now: Timestamp) -> bool {
        matches!(self.state, HandState::Good { ends, left, .. } if now < ends && left > 0)
    }

    /// Whether it waits for an agreement.
    pub(crate) fn waits(&self, now: Timestamp) -> bool {
        self.state == HandState::Asked && now.since(self.asked) < TIME_TO_AGREE
    }
}

/// Counts over everything.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Totals {
    /// Bytes that lie on the disk or will.
    pub(crate) bytes: u64,
    /// Links that are good.
    pub(crate) links: u32,
    /// The number of the record's next row.
    pub(crate) next_deed: u64,
}

/// A row of the record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Deed {
    pub(crate) at: Timestamp,
    /// A user, or what a sender says of himself; empty where the service did it.
    pub(crate) who: String,
    /// From where, if it came over the page.
    pub(crate) address: String,
    pub(crate) what: What,
    pub(crate) room: String,
    /// The number of the link in its room.
    pub(crate) link: u32,
    /// Of the file, or of the link: what else is to be known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) file: Option<FileOfDeed>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) details: String,
}

/// A file in the record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FileOfDeed {
    pub(crate) id: String,
    pub(crate) original_name: String,
    pub(crate) name: String,
    pub(crate) bytes: u64,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) sha256: String,
}

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum What {
    LinkMade,
    LinkCancelled,
    LinkExpired,
    LinkReminded,
    LinkMoved,
    CodeRight,
    CodeWrong,
    UploadBegun,
    UploadWhole,
    UploadRefused,
    UploadGivenUp,
    UploadDelivered,
    HandoverAsked,
    HandoverAgreed,
    HandoverEnded,
    HandoverDownloaded,
    HandoverFailed,
    HandoverMoved,
}

/// The key of a room's link.
pub(crate) fn room_key(room: &str, number: u32) -> String {
    format!("{room} {number:010}")
}

/// The key of something that comes at a time.
pub(crate) fn time_key(at: Timestamp, what: &str) -> String {
    format!("{:016} {what}", at.millis())
}

/// The moment in a key of [`time_key`].
pub(crate) fn time_of(key: &str) -> Timestamp {
    Timestamp(key.split(' ').next().and_then(|number| number.parse().ok()).unwrap_or_default())
}

/// The key of an upload.
pub(crate) fn upload_key(link: &str, id: &str) -> String {
    format!("{link} {id}")
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use serde_json::json;

    use super::*;

    /// What is on disks already is read for ever.
    #[test]
    fn rows_are_written_as_they_were() {
        let upload = Upload {
            original_name: "a/b".to_owned(),
            name: "a_b".to_owned(),
            length: 5,
            offset: 5,
            sender: Sender::default(),
            begun: Timestamp(1),
            touched: Timestamp(2),
            state: UploadState::Whole {
                sha256: "00".to_owned(),
                kind: Kind::Jpeg,
                at: Timestamp(3),
                uri: None,
                held: None,
            },
        };
        assert_eq!(
            serde_json::to_value(&upload).unwrap(),
            json!({
                "original_name": "a/b", "name": "a_b", "length": 5, "offset": 5, "begun": 1, "touched": 2,
                "sender": { "company": "", "name": "", "note": "", "address": "" },
                "state": { "whole": { "sha256": "00", "kind": "jpeg", "at": 3, "uri": null, "held": null } },
            })
        );
        let deed = json!({
            "at": 1, "who": "@a:b", "address": "", "what": "link_made", "room": "!r:b", "link": 1, "details": "x",
        });
        assert_eq!(
            serde_json::to_value(serde_json::from_value::<Deed>(deed.clone()).unwrap()).unwrap(),
            deed
        );
    }

    #[test]
    fn links_of_before_it_was_noted_why_they_ended_are_read_and_later_ones_say_it() {
        use crate::end::Why;
        let old = json!({
            "room": "!r:b", "number": 3, "asker": "@a:b", "cause": "$c", "language": "ja", "asked": 1,
            "lasts": { "secs": 60, "nanos": 0 }, "times": 1, "with_code": false, "code": null, "event": "$f", "uri": "mxc://b/a",
            "name": "a", "size": null, "state": "ended", "agreement": "$yes", "closed_by": "$kick",
        });
        let language = serde_json::to_value(Language::Japanese).unwrap();
        let with = |key: &str, value: serde_json::Value| {
            let mut row = old.clone();
            row["language"] = language.clone();
            row[key] = value;
            row
        };
        let read = |row: &serde_json::Value| serde_json::from_value::<Hand>(row.clone()).unwrap();
        let (put_out, untold) = (with("number", json!(3)), with("closed_by", json!("$yes")));
        assert_eq!((read(&put_out).why_ended(), read(&untold).why_ended()), (Why::Unnoted, Why::CodeUntold));
        // As it was, it is written again.
        assert_eq!(serde_json::to_value(read(&put_out)).unwrap(), put_out);
        let mut fetched = with("fetched", json!(7));
        fetched["given_back"] = json!(2);
        assert_eq!((read(&fetched).fetched, read(&fetched).given_back), (Some(Timestamp(7)), 2));
        assert_eq!(serde_json::to_value(read(&fetched)).unwrap(), fetched);
        let noted = with("end", json!({ "why": "taken_back", "at": 5 }));
        assert_eq!(read(&noted).end, Some(End { why: Why::TakenBack, at: Timestamp(5) }));
        assert_eq!(serde_json::to_value(read(&noted)).unwrap(), noted);
        let words = [
            "cancelled",
            "untold",
            "code_untold",
            "put_out",
            "encrypted",
            "file_changed",
            "taken_back",
            "withdrawn",
            "unnoted",
        ];
        for word in words {
            let why: Why = serde_json::from_value(json!(word)).unwrap();
            assert_eq!(serde_json::to_value(why).unwrap(), json!(word));
        }
    }

    #[test]
    fn keys_lie_in_the_order_of_time_and_number() {
        assert!(time_key(Timestamp(9), "b") < time_key(Timestamp(10), "a"));
        assert!(room_key("!r:b", 9) < room_key("!r:b", 10));
        assert_eq!(time_of(&time_key(Timestamp(1_796_443_209_000), "a b")), Timestamp(1_796_443_209_000));
    }
}
