//! Archives that are too large, and the names in those that come out.

use flate2::{Compress, Compression, FlushCompress};
use sanitise::{Bounds, Kind, Reason, Settings};

use super::{
    reason, rebuilt,
    samples::{RawEntry, entry, finish, zip},
    sanitise, worker,
};

/// So many times a mebibyte of zeros, packed: a block that needs nothing before it, again and again.
fn zeros(mebibytes: usize) -> Vec<u8> {
    let mut block = Vec::with_capacity(16 << 10);
    let mut packer = Compress::new(Compression::best(), false);
    packer.compress_vec(&vec![0; 1 << 20], &mut block, FlushCompress::Full).unwrap();
    assert_eq!(packer.total_in(), 1 << 20);
    // The last block, empty.
    [&block.repeat(mebibytes)[..], &[3, 0]].concat()
}

/// An archive of packed entries that are told to have so many bytes.
fn told(entries: &[(&str, &[u8], u32)]) -> Vec<u8> {
    let (mut out, mut directory) = (Vec::new(), Vec::new());
    for (name, packed, size) in entries {
        let start = u32::try_from(out.len()).unwrap().to_le_bytes();
        let packed_size = u32::try_from(packed.len()).unwrap().to_le_bytes();
        let length = [u8::try_from(name.len()).unwrap(), 0, 0, 0];
        let common =
            [&[20, 0, 0, 0, 8, 0, 0, 0, 0x21, 0], &[0; 4][..], &packed_size, &size.to_le_bytes(), &length]
                .concat();
        out.extend([b"PK\x03\x04", &common[..], name.as_bytes(), packed].concat());
        directory.extend([b"PK\x01\x02\x14\0", &common[..], &[0; 10], &start, name.as_bytes()].concat());
    }
    finish(out, &directory, entries.len())
}

const TEN_GIGABYTES: usize = 10 << 10;

#[tokio::test]
async fn ten_gigabytes_of_zeros_are_refused_in_little_room_and_by_what_they_say_at_once() {
    let bomb = zeros(TEN_GIGABYTES);
    assert!(bomb.len() < 12 << 20, "{}", bomb.len());
    let part = zeros(64);
    let names: Vec<String> = (0..160).map(|number| format!("{number}.txt")).collect();
    let honest: Vec<(&str, &[u8], u32)> =
        names.iter().map(|name| (name.as_str(), &part[..], 64 << 20)).collect();
    let mut settings = Settings::default();
    settings.limits.unpacked_bytes = 64 << 20;
    let largest = told(&[("a.txt", &bomb, u32::MAX)]);
    for (name, file, wanted) in [
        ("as many as can be told", largest.clone(), Reason::Expansion),
        ("within another", zip(&[entry("a.zip", &largest)]), Reason::Expansion),
        ("a hundred entries", told(&honest), Reason::Expansion),
        // What tells less than it holds is unpacked to that and a byte.
        ("a lie", told(&[("a.txt", &bomb, 1_000)]), Reason::Malformed),
        ("a lie as large as may be", told(&[("a.txt", &bomb, 64 << 20)]), Reason::Malformed),
        ("within a document", told(&[("[Content_Types].xml", &bomb, 1_000)]), Reason::Malformed),
        ("as all of a document", told(&[("[Content_Types].xml", &bomb, u32::MAX)]), Reason::Expansion),
    ] {
        // Of it and of what is made of it no more is held than a few times what may be unpacked.
        let small = worker(Bounds { memory_bytes: 300 << 20, ..Bounds::default() });
        let outcome = small.sanitise(&file[..], None, &settings).await.unwrap();
        assert_eq!(reason(&outcome), Some(wanted), "{name}: {outcome:?}");
    }
    // With what is usual, what tells of itself is not unpacked at all: that would not fit here.
    for file in [largest, told(&honest)] {
        let smaller = worker(Bounds { memory_bytes: 100 << 20, ..Bounds::default() });
        let outcome = smaller.sanitise(&file[..], None, &Settings::default()).await.unwrap();
        assert_eq!(reason(&outcome), Some(Reason::Expansion), "{outcome:?}");
    }
}

/// The flags and the name of each entry, as the headers before them and as the directory tells them.
fn headers(file: &[u8]) -> [Vec<(u16, Vec<u8>)>; 2] {
    [(&b"PK\x03\x04"[..], 6, 26, 30), (b"PK\x01\x02", 8, 28, 46)].map(|(mark, flags, length, name)| {
        let short = |at: usize| u16::from_le_bytes([file[at], file[at + 1]]);
        let rows = file.windows(4).enumerate().filter(|(_, four)| *four == mark).map(|(at, _)| at);
        rows.map(|at| (short(at + flags), file[at + name..][..usize::from(short(at + length))].to_vec()))
            .collect()
    })
}

#[tokio::test]
async fn names_of_windows_japanese_come_out_in_unicode_and_say_so() {
    // 地図/, 地図/表ソ能.txt (each with a byte of ASCII as its second one), and one in ASCII.
    let folder = RawEntry { name: b"\x92\x6e\x90\x7d/", data: b"", flags: 0, mode: 0 };
    let inner =
        RawEntry { name: b"\x92\x6e\x90\x7d/\x95\x5c\x83\x5c\x94\x5c.txt", data: b"a", flags: 0, mode: 0 };
    let file = zip(&[folder, inner, entry("map.txt", b"b"), entry("map.exe", b"MZ\x90\0")]);
    let outcome = sanitise(&file, None).await;
    assert_eq!(outcome.kind, Some(Kind::Zip));
    let bytes = rebuilt(outcome);
    let wanted: Vec<(u16, Vec<u8>)> =
        [(0x800, "地図/"), (0x800, "地図/表ソ能.txt"), (0, "map.txt"), (0x800, "無害化で除いたファイル.txt")]
            .map(|(flags, name)| (flags, name.as_bytes().to_vec()))
            .into();
    assert_eq!(headers(&bytes), [wanted.clone(), wanted]);
}
