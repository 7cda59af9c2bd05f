//! What lies open in bytes of any kind: programs, archives and pages, which somebody finds who gives the file another name.
//!
//! Both what is given on as it came and what was made is looked through: what was harmless as a point of a picture or behind a
//! packing is a program where it stands open, and a browser makes a page of whatever bytes have its marks in them. Each mark is
//! so long, or so bound to what follows it, that packed data of a hundred megabytes have it by chance less than once in a
//! hundred files.

use crate::{
    kind::holds_zip,
    verdict::{Reason, Refusal},
};

/// Elements that make bytes a page, run something or load something, by how their names begin.
const BEGUN: &[&[u8]] =
    &[b"script", b"iframe", b"frameset", b"object", b"embed", b"applet", b"hta:", b"html", b"!doctype"];

/// The same, of names so short that the next letter has to end them.
const WHOLE: &[&[u8]] = &[
    b"meta",
    b"svg",
    b"img",
    b"?xml",
    b"?php",
    b"body",
    b"style",
    b"link",
    b"input",
    b"form",
    b"video",
    b"audio",
    b"base",
    b"math",
    b"image",
    b"frame",
    b"button",
    b"select",
    b"textarea",
    b"keygen",
    b"marquee",
    b"details",
    b"isindex",
    b"bgsound",
    b"portal",
    b"layer",
];

/// Programs and archives, by bytes that nothing else has.
const MARKS: &[(&[u8], Reason, &str)] = &[
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", Reason::TwoTypes, "OLE storage"),
    (b"%PDF-", Reason::TwoTypes, "a PDF header inside"),
    (b"_VBA_PROJECT", Reason::TwoTypes, "VBA"),
    (b"Rar!\x1a\x07", Reason::TwoTypes, "RAR"),
    (b"7z\xbc\xaf\x27\x1c", Reason::TwoTypes, "7z"),
    (b"MSCF\0\0\0\0", Reason::TwoTypes, "cabinet"),
    (b"\xfd7zXZ\0", Reason::TwoTypes, "xz"),
    (b"ITSF\x03\0\0\0", Reason::Program, "compiled help"),
    (b"L\0\0\0\x01\x14\x02\0", Reason::Program, "Windows shortcut"),
    (b"\0asm\x01\0\0\0", Reason::Program, "WebAssembly"),
    (b"!<arch>\n", Reason::TwoTypes, "ar"),
    (b"\xed\xab\xee\xdb\x03\0", Reason::TwoTypes, "RPM"),
];

/// A mark, what has to follow it, and what it is then.
type Program = (&'static [u8], fn(&[u8]) -> bool, &'static str);

/// Programs whose marks are short, each with what has to follow.
const PROGRAMS: &[Program] = &[
    (b"MZ", is_pe, "PE"),
    (b"\x7fELF", |it| matches!(it.get(4..7), Some([1 | 2, 1 | 2, 1])), "ELF"),
    (b"\xca\xfe\xba\xbe", |it| matches!(it.get(4..8), Some([0, 0 | 3, 0, 1..=90])), "Java or Mach-O"),
    (b"\xcf\xfa\xed\xfe", |it| matches!(it.get(5..8), Some([0, 0, 0 | 1])), "Mach-O"),
    (b"\xce\xfa\xed\xfe", |it| matches!(it.get(5..8), Some([0, 0, 0 | 1])), "Mach-O"),
    (b"\xfe\xed\xfa\xcf", |it| matches!(it.get(4..7), Some([0 | 1, 0, 0])), "Mach-O"),
    (b"\xfe\xed\xfa\xce", |it| matches!(it.get(4..7), Some([0 | 1, 0, 0])), "Mach-O"),
    (b"dex\n", |it| matches!(it.get(4..8), Some([b'0'..=b'9', b'0'..=b'9', b'0'..=b'9', 0])), "Dalvik"),
];

/// Refuses bytes in which something lies open behind their first eight, which have been looked at by whoever knows their kind.
pub(crate) fn check(file: &[u8]) -> Result<(), Refusal> {
    match find(file.get(8..).unwrap_or_default()) {
        Some(found) => Err(found),
        None => Ok(()),
    }
}

/// What lies open in bytes.
pub(crate) fn find(bytes: &[u8]) -> Option<Refusal> {
    program(bytes).or_else(|| page(bytes))
}

fn program(bytes: &[u8]) -> Option<Refusal> {
    let follows = |(mark, is_one, what): &Program| {
        let found = memchr::memmem::find_iter(bytes, mark).any(|at| is_one(&bytes[at..]));
        found.then(|| Refusal::new(Reason::Program, format!("{what} inside")))
    };
    let known = |(mark, reason, what): &(&[u8], Reason, &'static str)| {
        memchr::memmem::find(bytes, mark).map(|_| Refusal::new(*reason, format!("{what} inside")))
    };
    let is_archive = || {
        memchr::memmem::find_iter(bytes, b"PK\x03\x04").any(|at| is_entry(&bytes[at..]))
            || holds_zip(bytes, 0)
    };
    PROGRAMS
        .iter()
        .find_map(follows)
        .or_else(|| MARKS.iter().find_map(known))
        .or_else(|| is_archive().then(|| Refusal::new(Reason::TwoTypes, "a ZIP inside")))
}

/// A header of DOS that leads to one of Windows.
fn is_pe(program: &[u8]) -> bool {
    let header = program.get(0x3c..0x40).and_then(|four| four.try_into().ok()).map(u32::from_le_bytes);
    let header = header.and_then(|header| usize::try_from(header).ok());
    header.and_then(|header| program.get(header..)?.get(..4)) == Some(b"PE\0\0")
}

/// The header of a ZIP's entry: a version and a way of packing that there are, and a name.
fn is_entry(entry: &[u8]) -> bool {
    let number = |at: usize| entry.get(at..at + 2).map(|two| u16::from_le_bytes([two[0], two[1]]));
    let (Some(version), Some(packing), Some(name)) = (number(4), number(8), number(26)) else { return false };
    version & 0xff <= 63
        && version >> 8 <= 20
        && matches!(packing, 0 | 8 | 9 | 12 | 14 | 93 | 95 | 98)
        && (1..=1024).contains(&name)
}

/// What a browser would find a page in, wherever it stands among bytes of other kinds.
fn page(bytes: &[u8]) -> Option<Refusal> {
    let mut has_tag = false;
    for at in memchr::memchr_iter(b'<', bytes) {
        let rest = &bytes[at + 1..];
        has_tag |= rest.first().is_some_and(u8::is_ascii_alphabetic);
        let begins =
            |name: &&&[u8]| rest.get(..name.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(name));
        let ends = |name: &&&[u8]| {
            matches!(rest.get(name.len()), Some(b' ' | b'\t' | b'\n' | b'\r' | b'\x0c' | b'/' | b'>'))
        };
        let found = BEGUN.iter().find(begins).or_else(|| WHOLE.iter().filter(begins).find(ends));
        if let Some(name) = found {
            return Some(Refusal::new(Reason::Page, format!("<{}", String::from_utf8_lossy(name))));
        }
    }
    if !has_tag {
        return None;
    }
    memchr::memchr_iter(b'=', bytes)
        .any(|at| is_event(&bytes[at.saturating_sub(LONGEST_EVENT)..at]))
        .then(|| Refusal::new(Reason::Page, "an attribute that runs"))
}

/// The longest name of an event with the letters before and behind it.
const LONGEST_EVENT: usize = 32;

/// Whether the name of an event stands before an equals sign, as an attribute.
fn is_event(before: &[u8]) -> bool {
    let before = before.trim_ascii_end();
    let begin = before.iter().rposition(|byte| !byte.is_ascii_alphabetic());
    let Some((begin, name)) = begin.map(|at| (before[at], &before[at + 1..])) else { return false };
    // The shortest that comes by itself is `onload`.
    let is_name = name.len() >= 6 && name[..2].eq_ignore_ascii_case(b"on");
    is_name && (begin.is_ascii_whitespace() || matches!(begin, b'/' | b'"' | b'\''))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The smallest thing that has the header of a program of Windows.
    fn windows_program() -> Vec<u8> {
        let mut program = vec![0; 0x40];
        program[..2].copy_from_slice(b"MZ");
        program[0x3c] = 0x40;
        [program, b"PE\0\0\x64\x86".to_vec()].concat()
    }

    #[test]
    fn programs_archives_and_pages_are_found_wherever_they_stand() {
        let entry = b"PK\x03\x04\x14\0\0\0\x08\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x07\0\0\0run.bat";
        let marks: [&[u8]; 16] = [
            &windows_program(),
            b"\x7fELF\x02\x01\x01\0",
            b"\xca\xfe\xba\xbe\0\0\0\x34",
            b"\xcf\xfa\xed\xfe\x07\0\0\x01",
            b"Rar!\x1a\x07\0",
            b"MSCF\0\0\0\0",
            b"7z\xbc\xaf\x27\x1c",
            entry,
            b"<script>",
            b"<SVG onload=x>",
            b"<x autofocus\x0confocus = alert(1)>",
            b"<a/onclick=x>",
            b"<style>@import",
            b"<body onload=x>",
            b"<!doctype html>",
            b"<?php ",
        ];
        for mark in marks {
            for (before, behind) in [(0, 0), (1, 1), (5_000, 9_000)] {
                let bytes = [&vec![b'\xf1'; before][..], mark, &vec![b'\xf1'; behind]].concat();
                assert!(find(&bytes).is_some(), "{:?} behind {before}", String::from_utf8_lossy(mark));
            }
        }
    }

    #[test]
    fn bytes_that_only_look_alike_are_none() {
        let looks: [&[u8]; 9] = [
            b"MZ and much that is none",
            b"\x7fELF",
            b"PK\x03\x04\xff\xff\xff\xff and letters that are no entry",
            b"\xca\xfe\xba\xbe",
            b"<bodywork>, <linked>, <stylus>",
            b"a online=1 onload=2",
            b"<<412A>> (x) Tj",
            b"<a b> on = 4, son=5",
            b"",
        ];
        for bytes in looks {
            assert!(find(bytes).is_none(), "{:?}: {:?}", String::from_utf8_lossy(bytes), find(bytes));
        }
    }
}
