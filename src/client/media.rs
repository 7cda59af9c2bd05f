//! Media: uploads, downloads and what they are bounded by.
//!
//! Files go through in parts: an upload is written as it comes, a download read as it is taken.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#content-repository>

use std::{ops::Range, sync::Arc, time::Duration};

use ::media::{About, Asked, Judged, Media, Method, Opened, Upload, Wanted, kinds};
use room::FileReader;
use ruma::{
    OwnedServerName,
    api::client::{
        authenticated_media::{
            get_content, get_content_as_filename, get_content_thumbnail, get_media_config, get_media_preview,
        },
        media as old,
    },
};
use serde::Deserialize;
use serde_json::json;
use web::{
    ApiError, Body, HeaderMap, HeaderName, HeaderValue, Open, RawCall, Response, Routes, StatusCode,
    StreamCall, User, header, json_response,
};

/// A browser keeps a file for so long without asking again, in seconds. What an id leads to never changes, but may be
/// withheld.
const CACHED: &str = "private, max-age=86400, immutable";

/// And what a zone's rules were applied to it asks each time: another engine may judge it otherwise, and through another
/// zone the same address leads to something else.
const REVALIDATED: &str = "private, no-cache";

/// What the rules of a zone made of a file: `clean`, or `rebuilt` and what it lacks since then.
const SANITISED: HeaderName = HeaderName::from_static("x-yakuba-sanitised");

/// What a file may do that a browser shows: nothing.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1mediadownloadservernamemediaid>
const CSP: &str = "sandbox; default-src 'none'; script-src 'none'; plugin-types application/pdf; \
                   style-src 'unsafe-inline'; object-src 'self';";

/// Settings of media as clients meet it.
#[derive(Clone, Copy, Debug, Default)]
pub struct MediaConfig {
    /// Whether files are given to whoever knows their ids, by the paths of before 1.11.
    pub open_downloads: bool,
}

/// The state of the handlers of media.
pub struct MediaApi {
    media: Media,
    config: MediaConfig,
}

impl MediaApi {
    /// The state of the handlers.
    pub fn new(media: Media, config: MediaConfig) -> Self {
        Self { media, config }
    }
}

/// All routes of media in the client interface.
#[expect(deprecated, reason = "clients of before 1.11 ask the old paths")]
pub fn media_routes(api: Arc<MediaApi>) -> Routes<MediaApi> {
    let largest = api.media.config().largest_upload;
    Routes::new(api)
        .raw_ruma::<old::create_mxc_uri::v1::Request, User, _, _>(create)
        .raw_ruma::<get_media_config::v1::Request, User, _, _>(config)
        .raw_ruma::<old::get_media_config::v3::Request, User, _, _>(config)
        .raw_ruma::<get_content::v1::Request, User, _, _>(download)
        .raw_ruma::<get_content_as_filename::v1::Request, User, _, _>(download)
        .raw_ruma::<old::get_content::v3::Request, Open, _, _>(download_openly)
        .raw_ruma::<old::get_content_as_filename::v3::Request, Open, _, _>(download_openly)
        .raw_ruma::<get_media_preview::v1::Request, User, _, _>(preview)
        .raw_ruma::<old::get_media_preview::v3::Request, User, _, _>(preview)
        .raw_ruma::<get_content_thumbnail::v1::Request, User, _, _>(thumbnail)
        .raw_ruma::<old::get_content_thumbnail::v3::Request, Open, _, _>(thumbnail_openly)
        .body_limit(largest)
        .streamed_ruma::<old::create_content::v3::Request, User, _, _>(upload)
        .streamed_ruma::<old::create_content_async::v3::Request, User, _, _>(upload_late)
}

/// `POST /_matrix/media/v3/upload`
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixmediav3upload>
async fn upload(api: Arc<MediaApi>, call: StreamCall<User>) -> Result<Response, ApiError> {
    let about = about(&call)?;
    let upload = api.media.upload(&call.call.caller.user_id, about).await?;
    let (server, id) = take(call, upload).await?;
    Ok(json_response(StatusCode::OK, &json!({ "content_uri": format!("mxc://{server}/{id}") })))
}

/// `PUT /_matrix/media/v3/upload/{serverName}/{mediaId}`
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#put_matrixmediav3uploadservernamemediaid>
async fn upload_late(api: Arc<MediaApi>, call: StreamCall<User>) -> Result<Response, ApiError> {
    let server: OwnedServerName = call.call.args.get(0)?;
    let id: String = call.call.args.get(1)?;
    let about = about(&call)?;
    let upload = api.media.upload_late(&call.call.caller.user_id, &server, &id, about).await?;
    take(call, upload).await?;
    Ok(json_response(StatusCode::OK, &json!({})))
}

fn about(call: &StreamCall<User>) -> Result<About, ApiError> {
    #[derive(Deserialize)]
    struct Query {
        filename: Option<String>,
    }
    let headers = &call.call.parts.headers;
    Ok(About {
        kind: text_of(headers, &header::CONTENT_TYPE),
        name: call.call.query::<Query>()?.filename,
        size: text_of(headers, &header::CONTENT_LENGTH).and_then(|size| size.parse().ok()),
    })
}

async fn take(mut call: StreamCall<User>, mut upload: Upload) -> Result<(OwnedServerName, String), ApiError> {
    while let Some(part) = call.body.next().await? {
        upload.write(&part).await?;
    }
    Ok(upload.finish().await?)
}

/// `POST /_matrix/media/v1/create`
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixmediav1create>
async fn create(api: Arc<MediaApi>, call: RawCall<User>) -> Result<Response, ApiError> {
    let reserved = api.media.reserve(&call.caller.user_id).await?;
    let uri = format!("mxc://{}/{}", reserved.server, reserved.id);
    let body = json!({ "content_uri": uri, "unused_expires_at": reserved.expires.millis() });
    Ok(json_response(StatusCode::OK, &body))
}

/// `GET /_matrix/client/v1/media/config`
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1mediaconfig>
async fn config(api: Arc<MediaApi>, _: RawCall<User>) -> Result<Response, ApiError> {
    let largest = api.media.config().largest_upload.as_u64();
    Ok(json_response(StatusCode::OK, &json!({ "m.upload.size": largest })))
}

/// `GET /_matrix/client/v1/media/download/{serverName}/{mediaId}`, and with a name of the client's.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1mediadownloadservernamemediaid>
async fn download(api: Arc<MediaApi>, call: RawCall<User>) -> Result<Response, ApiError> {
    let reader = FileReader::User(&call.caller.user_id);
    give(&api, &call, reader, true).await
}

/// `GET /_matrix/media/v3/download/{serverName}/{mediaId}`, and with a name of the client's: as before 1.11.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixmediav3downloadservernamemediaid>
async fn download_openly(api: Arc<MediaApi>, call: RawCall<Open>) -> Result<Response, ApiError> {
    if !api.config.open_downloads {
        return Err(::media::Error::NotFound.into());
    }
    let fetches = may_fetch(&call)?;
    give(&api, &call, FileReader::Anybody, fetches).await
}

/// Whether another server may be asked for its file; it is said on the old paths only.
fn may_fetch<C>(call: &RawCall<C>) -> Result<bool, ApiError> {
    #[derive(Deserialize)]
    struct Query {
        allow_remote: Option<bool>,
    }
    Ok(call.query::<Query>()?.allow_remote.unwrap_or(true))
}

async fn give<C>(
    api: &MediaApi,
    call: &RawCall<C>,
    reader: FileReader<'_>,
    fetches: bool,
) -> Result<Response, ApiError> {
    #[derive(Deserialize)]
    struct Query {
        timeout_ms: Option<u64>,
    }
    let server: OwnedServerName = call.args.get(0)?;
    let id: String = call.args.get(1)?;
    let name: String = call.args.get(2)?;
    let wait = call.query::<Query>()?.timeout_ms.map(Duration::from_millis);
    let from = fetches.then(|| call.face.server_name());
    let zone = call.zone.as_ref();
    let mut opened =
        api.media.open_file(Asked { reader, server: &server, id: &id, wait, zone, from }).await?;
    if !name.is_empty() {
        opened.rename(&name);
    }
    answer(&opened, &call.parts.headers).await
}

/// `GET /_matrix/client/v1/media/preview_url`: what a page says of itself. The time for which one asks is not looked at:
/// it is said as it is now, or was a moment ago.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1mediapreview_url>
async fn preview(api: Arc<MediaApi>, call: RawCall<User>) -> Result<Response, ApiError> {
    #[derive(Deserialize)]
    struct Query {
        url: String,
    }
    let Query { url } = call.query()?;
    let said = api.media.preview(&call.caller.user_id, &url).await?;
    let mut response = Response::new(Body::from(said.to_string()));
    insert(response.headers_mut(), header::CONTENT_TYPE, "application/json")?;
    Ok(response)
}

/// `GET /_matrix/client/v1/media/thumbnail/{serverName}/{mediaId}`
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1mediathumbnailservernamemediaid>
async fn thumbnail(api: Arc<MediaApi>, call: RawCall<User>) -> Result<Response, ApiError> {
    let reader = FileReader::User(&call.caller.user_id);
    give_thumbnail(&api, &call, reader, true).await
}

/// `GET /_matrix/media/v3/thumbnail/{serverName}/{mediaId}`: as before 1.11.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixmediav3thumbnailservernamemediaid>
async fn thumbnail_openly(api: Arc<MediaApi>, call: RawCall<Open>) -> Result<Response, ApiError> {
    if !api.config.open_downloads {
        return Err(::media::Error::NotFound.into());
    }
    let fetches = may_fetch(&call)?;
    give_thumbnail(&api, &call, FileReader::Anybody, fetches).await
}

async fn give_thumbnail<C>(
    api: &MediaApi,
    call: &RawCall<C>,
    reader: FileReader<'_>,
    fetches: bool,
) -> Result<Response, ApiError> {
    #[derive(Deserialize)]
    struct Query {
        width: u32,
        height: u32,
        #[serde(default)]
        method: String,
        #[serde(default)]
        animated: bool,
        timeout_ms: Option<u64>,
    }
    let server: OwnedServerName = call.args.get(0)?;
    let id: String = call.args.get(1)?;
    let Query { width, height, method, animated, timeout_ms } = call.query()?;
    let method = match method.as_str() {
        "crop" => Method::Crop,
        "" | "scale" => Method::Scale,
        _ => return Err(ApiError::invalid_param("method is crop or scale")),
    };
    let wanted = Wanted { width, height, method, animated };
    let wait = timeout_ms.map(Duration::from_millis);
    let from = fetches.then(|| call.face.server_name());
    let zone = call.zone.as_ref();
    let asked = Asked { reader, server: &server, id: &id, wait, zone, from };
    let opened = api.media.thumbnail(asked, wanted).await?;
    answer(&opened, &call.parts.headers).await
}

/// The answer that a file is, or the part of it that is asked for.
async fn answer(opened: &Opened, asked: &HeaderMap) -> Result<Response, ApiError> {
    let tag = opened.tag();
    let same = |value: &str| {
        value == "*" || value.split(',').any(|given| given.trim().trim_start_matches("W/") == tag)
    };
    let mut response = Response::new(Body::empty());
    let headers = response.headers_mut();
    let shown = [
        (header::CONTENT_TYPE, opened.kind.as_str()),
        (header::CONTENT_DISPOSITION, &kinds::disposition(&opened.kind, opened.name.as_deref())),
        (header::CONTENT_SECURITY_POLICY, CSP),
        (HeaderName::from_static("cross-origin-resource-policy"), "cross-origin"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CACHE_CONTROL, if opened.judged.is_some() { REVALIDATED } else { CACHED }),
        (header::ETAG, &tag),
        (header::ACCEPT_RANGES, "bytes"),
    ];
    for (name, value) in shown {
        headers.insert(name, HeaderValue::from_str(value).map_err(ApiError::internal)?);
    }
    if let Some(judged) = &opened.judged {
        insert(headers, SANITISED, &told(judged))?;
    }
    if text_of(asked, &header::IF_NONE_MATCH).is_some_and(|value| same(&value)) {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        return Ok(response);
    }

    let size = opened.size;
    let fits = text_of(asked, &header::IF_RANGE).is_none_or(|value| value == tag);
    let range =
        text_of(asked, &header::RANGE).filter(|_| fits).map_or(Wish::All, |range| asked_range(&range, size));
    let part = match range {
        Wish::All => None,
        Wish::Part(part) => {
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            let told = format!("bytes {}-{}/{size}", part.start, part.end - 1);
            insert(response.headers_mut(), header::CONTENT_RANGE, &told)?;
            Some(part)
        }
        Wish::Outside => {
            let error = json!({ "errcode": "M_UNKNOWN", "error": "The range is not within the file" });
            let mut response = json_response(StatusCode::RANGE_NOT_SATISFIABLE, &error);
            insert(response.headers_mut(), header::CONTENT_RANGE, &format!("bytes */{size}"))?;
            return Ok(response);
        }
    };
    let length = part.as_ref().map_or(size, |part| part.end - part.start);
    insert(response.headers_mut(), header::CONTENT_LENGTH, &length.to_string())?;
    *response.body_mut() = Body::from_stream(opened.read(part).await?);
    Ok(response)
}

fn told(judged: &Judged) -> String {
    let Judged { is_rebuilt, removed, .. } = judged;
    let first = if *is_rebuilt { "rebuilt" } else { "clean" };
    std::iter::once(first).chain(removed.iter().map(String::as_str)).collect::<Vec<_>>().join(", ")
}

fn insert(headers: &mut HeaderMap, name: HeaderName, value: &str) -> Result<(), ApiError> {
    headers.insert(name, HeaderValue::from_str(value).map_err(ApiError::internal)?);
    Ok(())
}

fn text_of(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}

/// What a `Range` header asks for.
#[derive(Debug, PartialEq, Eq)]
enum Wish {
    /// Everything, or what we do not give in parts: several ranges, other units, nonsense.
    All,
    /// A part that is not empty.
    Part(Range<u64>),
    /// Nothing that there is.
    Outside,
}

/// Spec: RFC 9110, 14.1 and 14.2
fn asked_range(header: &str, size: u64) -> Wish {
    let Some((first, last)) = header.trim().strip_prefix("bytes=").and_then(|range| range.split_once('-'))
    else {
        return Wish::All;
    };
    let (first, last) = (first.trim(), last.trim());
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(first) || !is_number(last) || (first.is_empty() && last.is_empty()) {
        return Wish::All;
    }
    // What is larger than any number of ours is beyond any file.
    let number = |text: &str| text.parse().unwrap_or(u64::MAX);
    let part = match (first, last) {
        ("", last) => size.saturating_sub(number(last))..size,
        (first, "") => number(first)..size,
        (first, last) if number(first) > number(last) => return Wish::All,
        (first, last) => number(first)..number(last).saturating_add(1).min(size),
    };
    if part.is_empty() { Wish::Outside } else { Wish::Part(part) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_read_as_http_has_it() {
        for (header, asked) in [
            ("bytes=0-0", Wish::Part(0..1)),
            ("bytes=2-", Wish::Part(2..10)),
            ("bytes=2-99999999999999999999", Wish::Part(2..10)),
            ("bytes=-3", Wish::Part(7..10)),
            ("bytes=-30", Wish::Part(0..10)),
            ("bytes=10-", Wish::Outside),
            ("bytes=99999999999999999999-", Wish::Outside),
            ("bytes=-0", Wish::Outside),
            ("bytes=5-4", Wish::All),
            ("bytes=0-1,3-4", Wish::All),
            ("bytes=-", Wish::All),
            ("bytes=a-b", Wish::All),
            ("bytes=--3", Wish::All),
            ("lines=1-2", Wish::All),
        ] {
            assert_eq!(asked_range(header, 10), asked, "{header}");
        }
        assert_eq!(asked_range("bytes=0-", 0), Wish::Outside);
    }
}
