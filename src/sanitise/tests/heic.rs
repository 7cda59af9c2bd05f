//! HEIC: what libheif 1.23 wrote with x265 (`tests/heic`: 96 × 64 points of a slope of colours with a red field, of which one
//! holds EXIF, one is turned, one half transparent and one in ten bits), and hostile ones.

use crate::samples::{HARM, Sample, exif, zip};

pub(crate) const PLAIN: &[u8] = include_bytes!("heic/plain.heic");
pub(crate) const TURNED: &[u8] = include_bytes!("heic/turned.heic");
pub(crate) const ALPHA: &[u8] = include_bytes!("heic/alpha.heic");
pub(crate) const TEN_BITS: &[u8] = include_bytes!("heic/ten.heic");

/// The red field's middle, and how a slope of colours looks at a point.
pub(crate) fn colour(x: u32, y: u32) -> [u8; 3] {
    if (24..48).contains(&x) && (16..32).contains(&y) {
        return [220, 30, 30];
    }
    [x * 255 / 96, y * 255 / 64, (x + y) * 255 / 160].map(|shade| u8::try_from(shade).unwrap())
}

/// One whose EXIF is the harm, as a camera writes it: in tiles.
pub(crate) fn photo(width: u32, height: u32) -> Vec<u8> {
    let pixels: Vec<u8> =
        (0..width * height).flat_map(|at| [at, at / width, at / 7].map(|n| n.to_le_bytes()[0])).collect();
    let told = heifer::Metadata { exif: Some(exif()), xmp: Some(HARM.to_vec()), icc_profile: None };
    let plain = heifer::encode_rgb8(width, height, &pixels, &heifer::EncodeOptions::default()).unwrap();
    let image = heifer::decode(&plain).unwrap();
    heifer::encode_with_metadata(&image, &told, &heifer::EncodeOptions::default()).unwrap()
}

/// Where a box of this type begins.
fn find(file: &[u8], kind: &[u8; 4]) -> usize {
    file.windows(4).position(|window| window == kind).unwrap()
}

/// The samples.
pub(crate) fn all() -> Vec<Sample> {
    let mut samples = Vec::new();
    let mut add = |name: String, bytes: Vec<u8>, refused| {
        samples.push(Sample { name: format!("heic: {name}"), bytes, refused });
    };
    let photo = photo(64, 48);
    add("EXIF and XMP".into(), photo.clone(), false);
    add("trailing".into(), [PLAIN, HARM].concat(), false);
    add("trailing ZIP".into(), [PLAIN, &zip(&[crate::samples::entry("a.txt", HARM)])].concat(), true);
    for (name, whole) in [("plain", PLAIN), ("turned", TURNED), ("alpha", ALPHA), ("tiles", photo.as_slice())]
    {
        for cut in 1..16 {
            add(format!("{name} cut to {cut}/16"), whole[..whole.len() * cut / 16].to_vec(), true);
        }
        // Lengths, counts and places in the container, and the stream's own.
        for (what, fill) in [("ones", 0xff), ("zeros", 0), ("halves", 0x7f)] {
            for at in (8..whole.len()).step_by(whole.len().div_ceil(24)) {
                let mut broken = whole.to_vec();
                broken[at..(at + 4).min(whole.len())].fill(fill);
                add(format!("{name} with {what} at {at}"), [&broken, HARM].concat(), false);
            }
        }
    }
    // As large as is told: of the picture, of tiles, of boxes.
    let mut huge = PLAIN.to_vec();
    let at = find(&huge, b"ispe") + 8;
    huge[at..at + 8].copy_from_slice(&[0, 0, 0xff, 0xff, 0, 0, 0xff, 0xff]);
    add("65,535 points on each side".into(), huge, true);
    let mut endless = PLAIN.to_vec();
    let at = find(&endless, b"meta") - 4;
    endless[at..at + 4].copy_from_slice(&u32::MAX.to_be_bytes());
    add("a box beyond the end".into(), endless, true);
    // The same box in itself, and again and again.
    let nested: Vec<u8> =
        (1..=1_000_u32).rev().flat_map(|n| [&(n * 8).to_be_bytes()[..], b"meta"].concat()).collect();
    add("a thousand boxes in boxes".into(), [&PLAIN[..24], &nested].concat(), true);
    let many: Vec<u8> = [&8_u32.to_be_bytes()[..], b"free"].concat().repeat(100_000);
    add("a hundred thousand boxes".into(), [PLAIN, &many, HARM].concat(), false);
    for brand in [b"heic", b"mif1", b"hevc", b"msf1", b"avif", b"heix"] {
        add(
            format!("the brand {} and nothing", String::from_utf8_lossy(brand)),
            [&24_u32.to_be_bytes()[..], b"ftyp", brand, &[0; 4], b"mif1heic", HARM].concat(),
            true,
        );
    }
    samples
}
