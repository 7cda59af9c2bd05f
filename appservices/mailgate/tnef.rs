//! `winmail.dat`: what Outlook puts a mail's attachments into when it takes the reader for Outlook as well.
//!
//! Only files are taken out of it, by their short names; the text stands in the mail besides.
//!
//! Format: <https://learn.microsoft.com/openspecs/exchange_server_protocols/ms-oxtnef/>

use crate::charset;

/// What it begins with.
const SIGNATURE: u32 = 0x223e_9f78;

/// Attributes: a new attachment, its name, its bytes.
const RENDER_DATA: u32 = 0x0006_9002;
const TITLE: u32 = 0x0001_8010;
const DATA: u32 = 0x0006_800f;

/// Files that are taken out of one.
const MOST: usize = 30;

/// A file of it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
}

/// The files; none if that is no `winmail.dat`, or it ends in its middle.
pub(crate) fn files(bytes: &[u8]) -> Option<Vec<Found>> {
    let (signature, rest) = u32_of(bytes)?;
    if signature != SIGNATURE {
        return None;
    }
    // A key, of no use.
    let mut rest = rest.get(2..)?;
    let mut found: Vec<Found> = Vec::new();
    while !rest.is_empty() {
        // The level, then what it is; each ends with a sum of 16 bits, which many programs write wrongly.
        let (attribute, after) = u32_of(rest.get(1..)?)?;
        let (length, after) = u32_of(after)?;
        let length = usize::try_from(length).ok()?;
        let value = after.get(..length)?;
        rest = after.get(length.checked_add(2)?..)?;
        if attribute == RENDER_DATA {
            if found.len() == MOST {
                break;
            }
            found.push(Found { name: String::new(), bytes: Vec::new() });
        }
        let Some(file) = found.last_mut() else { continue };
        match attribute {
            TITLE => {
                let name = value.split(|byte| *byte == 0).next().unwrap_or_default();
                file.name = charset::decode(None, name);
            }
            DATA => file.bytes = value.to_vec(),
            _ => {}
        }
    }
    found.retain(|file| !file.bytes.is_empty());
    Some(found)
}

fn u32_of(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (head, rest) = bytes.split_first_chunk()?;
    Some((u32::from_le_bytes(*head), rest))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// One with these files.
    pub(crate) fn winmail(files: &[(&[u8], &[u8])]) -> Vec<u8> {
        let mut all = SIGNATURE.to_le_bytes().to_vec();
        all.extend([1, 0]);
        let mut push = |attribute: u32, value: &[u8]| {
            all.push(2);
            all.extend(attribute.to_le_bytes());
            all.extend(u32::try_from(value.len()).expect("short").to_le_bytes());
            all.extend(value);
            let sum = value.iter().fold(0_u16, |sum, byte| sum.wrapping_add(u16::from(*byte)));
            all.extend(sum.to_le_bytes());
        };
        // The codepage of all.
        push(0x0006_9007, &932_u64.to_le_bytes());
        for (name, bytes) in files {
            push(RENDER_DATA, &[0; 14]);
            push(TITLE, &[name, &b"\0"[..]].concat());
            push(DATA, bytes);
        }
        all
    }

    #[test]
    fn files_are_taken_out_and_what_is_cut_is_none() {
        let whole = winmail(&[(b"\x8d\x48\x8e\x96.pdf", b"%PDF-1.7"), (b"a.txt", b"text")]);
        let found = files(&whole).expect("whole");
        let names: Vec<&str> = found.iter().map(|file| &*file.name).collect();
        assert_eq!((names, &*found[0].bytes), (vec!["工事.pdf", "a.txt"], &b"%PDF-1.7"[..]));
        for length in 0..whole.len() {
            // Never a panic, and never a file that was cut.
            let cut = files(&whole[..length]);
            assert!(cut.is_none_or(|found| found.iter().all(|file| file.bytes.len() != 3)));
        }
        assert_eq!(files(b"PK\x03\x04"), None);
    }
}
