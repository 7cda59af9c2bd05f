//! Uploads: where they go on, and what phones send.

use super::*;
use crate::{kind::Kind, rows::OUTBOX};

/// UP2
#[tokio::test]
async fn a_stale_place_near_the_end_is_refused_and_nothing_is_ended_with_a_gap() {
    let place = place();
    let made = place.make(wish()).await;
    let bytes: Vec<u8> = PICTURE.iter().copied().cycle().take(300_000).collect();
    let near = bytes.len() - 10;
    let at = place.create(&made, "a.jpg", bytes.len()).await.header("location").to_owned();
    assert_eq!(place.patch(&at, 0, bytes[..near].to_vec()).await.status, StatusCode::NO_CONTENT);
    for stale in [0, near - 5, near + 5, bytes.len()] {
        let refused = place.patch(&at, stale, bytes[stale..].to_vec()).await;
        assert_eq!(
            (refused.status, refused.header("upload-offset")),
            (StatusCode::CONFLICT, "299990"),
            "{stale}"
        );
        // Who believes that all of it is there hears where to go on.
        let early = place.done(&at, &bytes).await;
        assert_eq!(
            (early.status, early.header("upload-offset")),
            (StatusCode::CONFLICT, "299990"),
            "{stale}"
        );
        assert_eq!(place.head(&at).await.header("upload-offset"), "299990");
    }
    assert!(place.drops.store().scan(&OUTBOX, "", None, 10).await.unwrap().is_empty());

    assert_eq!(place.patch(&at, near, bytes[near..].to_vec()).await.status, StatusCode::NO_CONTENT);
    let file = place.files.path(&made.token.hash(), at.rsplit('/').next().unwrap());
    for _ in 0..2 {
        let late = place.patch(&at, near, bytes[near..].to_vec()).await;
        assert_eq!((late.status, late.header("upload-offset")), (StatusCode::CONFLICT, "300000"));
        assert_eq!(place.done(&at, &bytes).await.status, StatusCode::OK);
        assert_eq!(std::fs::read(&file).unwrap(), bytes);
    }
}

/// PH1
#[tokio::test]
async fn a_phones_picture_in_heic_is_a_picture_whatever_it_is_called() {
    let place = place();
    let groups = BTreeSet::from([Group::Picture]);
    let made = place.make(Wish { groups, files: 4, ..wish() }).await;
    assert!(place.get(&made).await.text.contains("accept=\"image/*\""), "phones offer their photos");
    let heic = include_bytes!("../../../../src/sanitise/tests/heic/plain.heic");
    for (name, called) in [
        ("IMG_0001.HEIC", "IMG_0001.HEIC"),
        ("IMG_0002.heif", "IMG_0002.heif"),
        ("IMG_0003.jpg", "IMG_0003.jpg.heic"),
        ("image", "image.heic"),
    ] {
        let taken = place.send(&made, name, heic).await;
        assert_eq!(taken.status, StatusCode::OK, "{name}: {}", taken.text);
        let receipt: serde_json::Value = serde_json::from_str(&taken.text).unwrap();
        assert_eq!(receipt["name"], called);
    }
    let uploads = place.drops.uploads_of(&made.token.hash()).await.unwrap();
    assert!(
        uploads.iter().all(|(_, upload)| matches!(upload.state, UploadState::Whole { kind: Kind::Heic, .. })),
        "{uploads:?}"
    );
}
