//! What is told of pages to which users link, and the pictures of those.

use std::{io::Cursor, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use image::{ImageFormat, RgbImage};
use media::{Browse, FetchBounds, FetchError, Page};
use serde_json::json;

use crate::town::Town;

/// A page at every address, whose picture is named as the address is.
struct Pages;

#[async_trait]
impl Browse for Pages {
    async fn get(&self, url: &str, bounds: FetchBounds) -> Result<Page, FetchError> {
        let (kind, bytes) =
            match url.strip_prefix("https://page.test/").and_then(|at| at.strip_suffix(".png")) {
                Some("good") => {
                    let mut bytes = Cursor::new(Vec::new());
                    RgbImage::new(64, 48).write_to(&mut bytes, ImageFormat::Png).unwrap();
                    ("image/png", bytes.into_inner())
                }
                Some("forbidden") => return Err(FetchError::Failed("403 Forbidden".to_owned())),
                Some("large") => return Err(FetchError::TooLarge(bounds.size)),
                Some(_) => return Err(FetchError::NotFound),
                None => {
                    let page = format!("<title>t</title><meta property=og:image content='{url}.png'>");
                    ("text/html; charset=utf-8", page.into_bytes())
                }
            };
        let body = stream::iter([Ok(Bytes::from(bytes))]).boxed();
        Ok(Page { url: url.to_owned(), kind: Some(kind.to_owned()), body })
    }
}

const PREVIEW: &str = "/_matrix/client/v1/media/preview_url?url=https://page.test/";

// C95, C99
#[tokio::test]
async fn the_picture_of_a_page_is_given_to_who_is_signed_in_and_not_by_the_old_path() {
    let town = Town::browsing(Arc::new(Pages)).await;
    let (anna, bert) = (town.user("anna").await, town.user("bert").await);
    let told = anna.get(&format!("{PREVIEW}good")).await.ok();
    assert_eq!((&told["og:title"], &told["og:image:width"]), (&json!("t"), &json!(64)), "{told}");
    let id = told["og:image"].as_str().unwrap().strip_prefix("mxc://").unwrap();
    for query in [format!("download/{id}"), format!("thumbnail/{id}?width=32&height=32&method=crop")] {
        for reader in [&anna, &bert] {
            assert_eq!(reader.get(&format!("/_matrix/client/v1/media/{query}")).await.status, 200, "{query}");
        }
        let path = format!("/_matrix/client/v1/media/{query}");
        town.ask("GET", &path, json!(null)).await.fails(401, "M_MISSING_TOKEN");
        let path = format!("/_matrix/media/v3/{query}");
        town.ask("GET", &path, json!(null)).await.fails(404, "M_NOT_FOUND");
        anna.get(&path).await.fails(404, "M_NOT_FOUND");
    }
}

// C96
#[tokio::test]
async fn a_page_whose_picture_is_not_to_be_had_is_told_without_it() {
    let town = Town::browsing(Arc::new(Pages)).await;
    let anna = town.user("anna").await;
    for picture in ["gone", "forbidden", "large"] {
        let told = anna.get(&format!("{PREVIEW}{picture}")).await.ok();
        assert_eq!(told, json!({ "og:title": "t" }), "{picture}");
    }
}
