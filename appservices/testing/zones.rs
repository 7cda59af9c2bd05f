//! A server with two zones: LGWAN's, which files leave for sanitised, and the internet's; and what shows that they do.
//!
//! A test's program is the server's worker as well, which takes files apart in a process of its own; so it has no harness, and its `main`
//! is [`run`].

use std::{collections::BTreeMap, io::Cursor, process::ExitCode};

use bytes::Bytes;
use http::{Method, StatusCode};
use server::config::{FilesSetting, ZoneConfig};
use testkit::{Net, User, Zones};

/// What tells a program that it is the worker.
const WORKER: &str = "worker";

/// What a photo says of where it was taken.
pub const PLACE: &[u8] = b"GPS 36.5611 N 136.6564 E";

/// Runs a test of this name, or is the worker.
pub fn run(name: &str, test: impl Future<Output = ()>) -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some(WORKER) {
        return sanitise::serve().map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(test);
    println!("{name} ... ok");
    ExitCode::SUCCESS
}

/// A net whose servers have the zones `lgwan` and `internet`.
pub fn net() -> Net {
    let of = [("lgwan", FilesSetting::Sanitised), ("internet", FilesSetting::Originals)];
    let of = of.map(|(name, files)| (name.to_owned(), ZoneConfig { files, ..ZoneConfig::default() }));
    Net::with_zones(Zones {
        of: BTreeMap::from(of),
        worker: std::env::current_exe().expect("this program"),
        arguments: vec![WORKER.to_owned()],
    })
}

/// A JPEG, 60 pixels wide, with a segment of EXIF in which [`PLACE`] stands.
pub fn photo() -> Vec<u8> {
    let mut bytes = Vec::new();
    let picture = image::RgbImage::from_fn(60, 40, |x, y| {
        image::Rgb([x, y, 22].map(|shade| shade.to_le_bytes()[0] * 4))
    });
    picture.write_to(&mut Cursor::new(&mut bytes), image::ImageFormat::Jpeg).expect("a picture");
    // A block of EXIF with the place as the maker's name.
    let mut exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x0f\0\x02".to_vec();
    exif.extend(u32::try_from(PLACE.len()).expect("short").to_be_bytes());
    exif.extend(26_u32.to_be_bytes());
    exif.extend(0_u32.to_be_bytes());
    exif.extend(PLACE);
    let length = u16::try_from(exif.len() + 2).expect("short").to_be_bytes();
    [&bytes[..2], b"\xff\xe1", &length, &exif, &bytes[2..]].concat()
}

/// That bytes are the photo, made anew and without what it told.
///
/// # Panics
/// When they are not.
pub fn assert_sanitised(bytes: &[u8]) {
    assert!(!holds(bytes, PLACE) && !holds(bytes, b"Exif"), "it tells what it told");
    assert_eq!(image::load_from_memory(bytes).expect("a picture").width(), 60);
}

/// Width and height of a JPEG.
///
/// # Panics
/// When it is none.
pub fn size_of_jpeg(bytes: &[u8]) -> (u32, u32) {
    let picture = image::load_from_memory_with_format(bytes, image::ImageFormat::Jpeg).expect("a JPEG");
    (picture.width(), picture.height())
}

/// Fetches a file by its `mxc:` URI.
pub async fn download(user: &User, uri: &str) -> (StatusCode, Vec<u8>) {
    let place = uri.strip_prefix("mxc://").expect("a URI of a file");
    let path = format!("/_matrix/client/v1/media/download/{place}");
    let answer = user.ask_bytes(Method::GET, &path, &[], Bytes::new()).await;
    (answer.status(), answer.body().to_vec())
}

/// Whether something stands in bytes.
pub fn holds(bytes: &[u8], what: &[u8]) -> bool {
    bytes.windows(what.len()).any(|window| window == what)
}
