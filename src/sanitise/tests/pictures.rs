//! Pictures: their colours, how large they are meant, and what passing many gateways does to them.

use std::io::Cursor;

use image::{DynamicImage, GenericImageView, ImageFormat, RgbImage};
use jpeg_encoder::{ColorType, Encoder, PixelDensity, PixelDensityUnit, SamplingFactor};
use moxcms::{ColorProfile, Layout, TransformOptions};
use sanitise::{Bounds, Part, Reason, Settings, Verdict};

use super::{difference, encoded, holds, picture, reason, rebuilt, sanitise, with_segment, worker};

/// Inks (cyan, magenta, yellow, black) of fields of sixteen points each.
const INKS: [[u8; 4]; 6] =
    [[255, 0, 0, 0], [0, 255, 0, 0], [0, 0, 255, 0], [0, 0, 0, 255], [0, 0, 0, 0], [40, 100, 160, 60]];

/// The fields as a JPEG, by Adobe's way: what is left white is stored.
fn printed(inks: &[[u8; 4]], colour: ColorType, profile: Option<&[u8]>) -> Vec<u8> {
    let row: Vec<u8> = inks.iter().flat_map(|inks| inks.repeat(16)).collect();
    let mut bytes = Vec::new();
    let mut encoder = Encoder::new(&mut bytes, 100);
    encoder.set_sampling_factor(SamplingFactor::F_1_1);
    if let Some(profile) = profile {
        encoder.add_icc_profile(profile).unwrap();
    }
    encoder.encode(&row.repeat(16), u16::try_from(16 * inks.len()).unwrap(), 16, colour).unwrap();
    bytes
}

#[tokio::test]
async fn colours_of_a_printers_picture_stay_whoever_wrote_it() {
    let adobe = printed(&INKS, ColorType::Cmyk, None);
    // Of others: inks as they are, and no segment of Adobe's.
    let turned = INKS.map(|inks| inks.map(|ink| 255 - ink));
    let mut plain = printed(&turned, ColorType::Cmyk, None);
    let at = plain.windows(2).position(|two| two == [0xff, 0xee]).unwrap();
    plain.drain(at..at + 2 + usize::from(plain[at + 3]));
    for (name, file) in [
        ("Adobe", adobe),
        ("Adobe, with a lightness", printed(&INKS, ColorType::CmykAsYcck, None)),
        ("plain", plain),
    ] {
        assert_eq!(holds(&file, b"Adobe"), name != "plain");
        let bytes = rebuilt(sanitise(&file, None).await);
        assert!(!holds(&bytes, b"Adobe"));
        let shown = image::load_from_memory(&bytes).unwrap().into_rgb8();
        for (field, inks) in INKS.iter().enumerate() {
            let white = u32::from(255 - inks[3]);
            let x = u32::try_from(field).unwrap() * 16 + 8;
            for (is, ink) in shown.get_pixel(x, 8).0.into_iter().zip(inks) {
                let wanted = u32::from(255 - ink) * white / 255;
                assert!(u32::from(is).abs_diff(wanted) < 10, "{name}, {inks:?}: {:?}", shown.get_pixel(x, 8));
            }
        }
        assert_eq!(sanitise(&bytes, None).await.verdict, Verdict::Clean, "{name}");
    }
}

/// A profile of a printer that has no colours: each ink is as grey as the next.
fn grey_printer() -> Vec<u8> {
    use moxcms::{DataColorSpace, LutDataType, LutStore, LutType, LutWarehouse, Matrix3d, ProfileClass};
    let corner = |inks: u32| [0xff00 - u16::try_from(inks.count_ones()).unwrap() * 0x3000, 0x8000, 0x8000];
    let plain = [0, u16::MAX];
    let table = LutDataType {
        num_input_channels: 4,
        num_output_channels: 3,
        num_clut_grid_points: 2,
        matrix: Matrix3d::IDENTITY,
        num_input_table_entries: 2,
        num_output_table_entries: 2,
        input_table: LutStore::Store16(plain.repeat(4)),
        clut_table: LutStore::Store16((0..16).flat_map(corner).collect()),
        output_table: LutStore::Store16(plain.repeat(3)),
        lut_type: LutType::Lut16,
    };
    let mut profile = ColorProfile::new_gray_with_gamma(1.0);
    profile.gray_trc = None;
    profile.pcs = DataColorSpace::Lab;
    profile.color_space = DataColorSpace::Cmyk;
    profile.profile_class = ProfileClass::OutputDevice;
    profile.lut_a_to_b_perceptual = Some(LutWarehouse::Lut(table));
    profile.encode().unwrap()
}

#[tokio::test]
async fn a_printers_profile_is_obeyed_whichever_way_its_inks_are_stored() {
    let profile = grey_printer();
    let mut shown = Vec::new();
    for colour in [ColorType::Cmyk, ColorType::CmykAsYcck] {
        let file = printed(&INKS, colour, Some(&profile));
        let bytes = rebuilt(sanitise(&file, None).await);
        assert!(!holds(&bytes, b"ICC_PROFILE"));
        let picture = image::load_from_memory(&bytes).unwrap().into_rgb8();
        let fields = (0..6).map(|field| picture.get_pixel(field * 16 + 8, 8).0);
        shown.push(fields.collect::<Vec<_>>());
    }
    for fields in &shown {
        let is_grey = |field: &[u8; 3]| field.iter().all(|level| level.abs_diff(field[0]) < 10);
        assert!(
            fields.iter().all(is_grey) && fields[4][0] > 245 && (150..230).contains(&fields[0][0]),
            "{shown:?}"
        );
    }
    for (one, other) in shown[0].iter().flatten().zip(shown[1].iter().flatten()) {
        assert!(one.abs_diff(*other) < 6, "{shown:?}");
    }
}

fn chunk(kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let mut chunk = [&u32::try_from(data.len()).unwrap().to_be_bytes(), kind.as_slice(), data].concat();
    let mut sum = flate2::Crc::new();
    sum.update(&chunk[4..]);
    chunk.extend(sum.sum().to_be_bytes());
    chunk
}

#[tokio::test]
async fn a_header_that_tells_of_too_many_pixels_is_all_that_is_read() {
    let wide = 30_000_u16.to_be_bytes();
    let long = 60_000_u32.to_be_bytes();
    let frame = [&b"\xff\xd8\xff\xc0\0\x11\x08"[..], &wide, &wide, b"\x03\x01\x22\0\x02\x11\x01\x03\x11\x01"]
        .concat();
    let head = [&long[..], &long, &[8, 2, 0, 0, 0]].concat();
    let small = u32::from(30_000_u16).to_le_bytes();
    let bmp = [
        &b"BM"[..],
        &[0; 8],
        &54_u32.to_le_bytes(),
        &40_u32.to_le_bytes(),
        &small,
        &small,
        &[1, 0, 24, 0],
        &[0; 24],
    ]
    .concat();
    // Fourteen bits for each side, less one: the most that an encoder writes.
    let webp = [&b"RIFF\x12\0\0\0WEBPVP8L\x05\0\0\0\x2f"[..], &0x0fff_bffe_u32.to_le_bytes(), &[0]].concat();
    let screen = 30_000_u16.to_le_bytes();
    let gif = [
        &b"GIF89a"[..],
        &screen,
        &screen,
        &[0, 0, 0, 0x2c, 0, 0, 0, 0],
        &screen,
        &screen,
        &[0, 2, 1, 0, 0, 0x3b],
    ]
    .concat();
    let tiff = |tags: &[(u16, u32)]| {
        let mut file = [&b"II*\0\x08\0\0\0"[..], &u16::try_from(tags.len()).unwrap().to_le_bytes()].concat();
        for (tag, value) in tags {
            file.extend(
                [&tag.to_le_bytes()[..], &4_u16.to_le_bytes(), &1_u32.to_le_bytes(), &value.to_le_bytes()]
                    .concat(),
            );
        }
        [file, vec![0; 4]].concat()
    };
    let tiff = tiff(&[
        (256, 30_000),
        (257, 30_000),
        (258, 8),
        (259, 1),
        (262, 1),
        (273, 8),
        (277, 1),
        (278, 30_000),
        (279, 900_000_000),
    ]);
    for (name, file) in [
        ("JPEG", [&frame[..], b"\xff\xd9"].concat()),
        (
            "JPEG with a scan",
            [&frame[..], b"\xff\xda\0\x0c\x03\x01\0\x02\x11\x03\x11\0\x3f\0", b"\0\xff\xd9"].concat(),
        ),
        ("PNG", [&b"\x89PNG\r\n\x1a\n"[..], &chunk(b"IHDR", &head), &chunk(b"IEND", &[])].concat()),
        ("BMP", bmp),
        ("WebP", webp),
        ("GIF", gif),
        ("TIFF", tiff),
    ] {
        // Not one byte for each point has room here.
        let narrow = worker(Bounds { memory_bytes: 64 << 20, ..Bounds::default() });
        let outcome = narrow.sanitise(&file[..], None, &Settings::default()).await.unwrap();
        assert_eq!(reason(&outcome), Some(Reason::TooManyPixels), "{name}: {outcome:?}");
    }
}

/// EXIF with how the camera was held, and 400 dots across and 200 down in each inch.
fn exif() -> Vec<u8> {
    let row = |tag: u16, kind: u16, value: [u8; 4]| {
        [&tag.to_be_bytes()[..], &kind.to_be_bytes(), &1_u32.to_be_bytes(), &value].concat()
    };
    let rows = [
        row(0x112, 3, [0, 6, 0, 0]),
        row(0x11a, 5, 62_u32.to_be_bytes()),
        row(0x11b, 5, 70_u32.to_be_bytes()),
        row(0x128, 3, [0, 2, 0, 0]),
    ];
    let dots = [400_u32, 1, 200, 1].map(u32::to_be_bytes).concat();
    [&b"MM\0*\0\0\0\x08\0\x04"[..], &rows.concat(), &[0; 4], &dots].concat()
}

/// Unit and dots across and down, as JFIF tells them.
fn density(jpeg: &[u8]) -> (u8, u16, u16) {
    let at = jpeg.windows(5).position(|five| five == b"JFIF\0").unwrap() + 7;
    (
        jpeg[at],
        u16::from_be_bytes([jpeg[at + 1], jpeg[at + 2]]),
        u16::from_be_bytes([jpeg[at + 3], jpeg[at + 4]]),
    )
}

#[tokio::test]
async fn a_picture_that_is_turned_keeps_its_dots_and_its_colours_and_is_turned_once() {
    let wide = ColorProfile::new_display_p3();
    let mut file = Vec::new();
    let mut encoder = Encoder::new(&mut file, 100);
    encoder.set_sampling_factor(SamplingFactor::F_1_1);
    encoder.set_density(PixelDensity { density: (400, 200), unit: PixelDensityUnit::Inches });
    encoder.add_icc_profile(&wide.encode().unwrap()).unwrap();
    encoder.encode(picture().as_bytes(), 60, 40, ColorType::Rgb).unwrap();
    let told = [b"Exif\0\0", exif().as_slice()].concat();
    let outcome = sanitise(&with_segment(&file, 0xe1, &told), None).await;
    let Verdict::Rebuilt { bytes, removed } = outcome.verdict else { panic!("{outcome:?}") };
    // The profile is not kept: its colours are computed into the points, for those who look at no profile.
    assert_eq!(removed.iter().map(|one| one.what).collect::<Vec<_>>(), [Part::ColourProfile, Part::Metadata]);
    assert!(!holds(&bytes, b"ICC_PROFILE") && !holds(&bytes, b"Exif"));
    assert_eq!(density(&bytes), (1, 200, 400));
    let mut screen = picture().into_rgb8();
    let transform = wide.create_transform_8bit(
        Layout::Rgb,
        &ColorProfile::new_srgb(),
        Layout::Rgb,
        TransformOptions::default(),
    );
    transform.unwrap().transform(picture().as_bytes(), &mut screen).unwrap();
    let screen = DynamicImage::ImageRgb8(screen);
    assert!(difference(&screen, &picture()) > 4.0, "the profile says something");
    let shown = image::load_from_memory(&bytes).unwrap();
    assert_eq!(shown.dimensions(), (40, 60));
    assert!(difference(&shown, &screen.rotate90()) < 3.0);
    assert_eq!(sanitise(&bytes, None).await.verdict, Verdict::Clean);

    // Dots that EXIF alone tells, as cameras and scanners do.
    let plain = encoded(ImageFormat::Jpeg);
    assert_eq!(density(&plain).0, 0);
    let bytes = rebuilt(sanitise(&with_segment(&plain, 0xe1, &told), None).await);
    assert_eq!(density(&bytes), (1, 200, 400));

    // Points in each metre: 400 and 200 in each inch.
    let dots = [&15_748_u32.to_be_bytes()[..], &7_874_u32.to_be_bytes(), &[1]].concat();
    let png = encoded(ImageFormat::Png);
    let png = [&png[..33], &chunk(b"pHYs", &dots), &chunk(b"eXIf", &exif()), &png[33..]].concat();
    let bytes = rebuilt(sanitise(&png, None).await);
    let turned = [&7_874_u32.to_be_bytes()[..], &15_748_u32.to_be_bytes(), &[1]].concat();
    assert!(holds(&bytes, &chunk(b"pHYs", &turned)) && !holds(&bytes, b"eXIf"));
    assert_eq!(image::load_from_memory(&bytes).unwrap().into_rgb8(), picture().rotate90().into_rgb8());
}

#[tokio::test]
async fn a_scan_that_is_turned_keeps_its_dots() {
    use tiff::{
        encoder::{Rational, TiffEncoder, colortype::RGB8},
        tags::{ResolutionUnit, Tag},
    };
    let mut file = Vec::new();
    let mut encoder = TiffEncoder::new(Cursor::new(&mut file)).unwrap();
    let mut page = encoder.new_image::<RGB8>(60, 40).unwrap();
    page.resolution_unit(ResolutionUnit::Inch);
    page.x_resolution(Rational { n: 400, d: 1 });
    page.y_resolution(Rational { n: 200, d: 1 });
    page.encoder().write_tag(Tag::Orientation, 6_u16).unwrap();
    page.write_data(picture().as_bytes()).unwrap();
    let bytes = rebuilt(sanitise(&file, None).await);
    let mut decoder = tiff::decoder::Decoder::new(Cursor::new(&bytes)).unwrap();
    assert_eq!(decoder.dimensions().unwrap(), (40, 60));
    for (tag, wanted) in [(Tag::XResolution, 200), (Tag::YResolution, 400)] {
        let tiff::decoder::ifd::Value::Rational(dots, each) = decoder.get_tag(tag).unwrap() else { panic!() };
        assert_eq!(dots / each, wanted, "{tag:?}");
    }
    assert!(decoder.find_tag(Tag::Orientation).unwrap().is_none());
}

/// How alike two pictures are, in decibels: above 36 or so nobody sees a difference.
fn likeness(one: &[u8], other: &[u8]) -> f64 {
    let [one, other] = [one, other].map(|bytes| image::load_from_memory(bytes).unwrap().into_rgb8());
    assert_eq!(one.dimensions(), other.dimensions());
    let squares = one.as_raw().iter().zip(other.as_raw()).map(|(a, b)| f64::from(a.abs_diff(*b)).powi(2));
    10.0 * (255.0_f64.powi(2) / (squares.sum::<f64>() / one.as_raw().len() as f64)).log10()
}

/// A photograph: shades, edges and noise.
fn photograph() -> RgbImage {
    let mut seed = 3_u32;
    RgbImage::from_fn(160, 120, |x, y| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let noise = (seed >> 24) / 16;
        let edge = if (x / 20 + y / 15) % 2 == 0 { 60 } else { 0 };
        image::Rgb(
            [x + edge, y + 40, (x + y) / 2 + edge].map(|shade| u8::try_from(shade.min(230) + noise).unwrap()),
        )
    })
}

#[tokio::test]
async fn a_photograph_is_not_worn_down_by_many_gateways() {
    let photo = photograph();
    for (sampling, quality) in
        [(SamplingFactor::F_2_2, 75), (SamplingFactor::F_1_1, 95), (SamplingFactor::F_2_1, 85)]
    {
        for is_progressive in [false, true] {
            let mut file = Vec::new();
            let mut encoder = Encoder::new(&mut file, quality);
            encoder.set_sampling_factor(sampling);
            encoder.set_progressive(is_progressive);
            encoder.encode(photo.as_raw(), 160, 120, ColorType::Rgb).unwrap();
            let of = format!("{sampling:?}, {quality}, progressive: {is_progressive}");
            // It is encoded anew once, and after that it is what we would write.
            let first = rebuilt(sanitise(&file, None).await);
            assert!(likeness(&file, &first) > 36.0, "{of}: {}", likeness(&file, &first));
            for _ in 2..=5 {
                assert_eq!(sanitise(&first, None).await.verdict, Verdict::Clean, "{of}");
            }
            // Also where somebody adds to it between each two gateways: what is added goes, and nothing else.
            let told = [b"Exif\0\0", &b"II*\0\x08\0\0\0\0\0\0\0\0\0"[..]].concat();
            let mut passed = first.clone();
            for (marker, data) in
                [(0xfe, &b"a comment"[..]), (0xe1, &told), (0xed, b"IPTC"), (0xe2, b"MPF\0")]
            {
                let added = [&with_segment(&passed, marker, data)[..], b"behind it"].concat();
                passed = rebuilt(sanitise(&added, None).await);
                assert!(passed == first, "{of}: {marker:x}");
            }
            // What says that its colours are others is no such thing.
            let other = with_segment(&first, 0xee, b"Adobe\0\x64\0\0\0\0\0");
            let made = rebuilt(sanitise(&other, None).await);
            assert!(likeness(&other, &made) > 30.0 && likeness(&first, &made) < 25.0, "{of}");
        }
    }
}
