//! Files of ours that other servers ask for.
//!
//! Spec: <https://spec.matrix.org/v1.19/server-server-api/#content-repository>

use std::{io, sync::Arc, time::Duration};

use base::Random;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use media::{Asked, Media, Method, Opened, Wanted, kinds};
use room::FileReader;
use ruma::api::federation::authenticated_media::{get_content, get_content_thumbnail};
use serde::Deserialize;
use web::{ApiError, Body, HeaderName, HeaderValue, Origin, RawCall, Response, Routes, header};

/// What the handlers of media share.
pub struct FederationMedia {
    pub(crate) media: Media,
    pub(crate) random: Random,
}

/// All routes of media in the server interface.
pub(crate) fn routes(api: Arc<FederationMedia>) -> Routes<FederationMedia> {
    Routes::new(api)
        .any_host()
        .raw_ruma::<get_content::v1::Request, Origin, _, _>(download)
        .raw_ruma::<get_content_thumbnail::v1::Request, Origin, _, _>(thumbnail)
}

/// `GET /media/download/{mediaId}`: a file of the authority that is asked.
///
/// Spec: <https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1mediadownloadmediaid>
async fn download(api: Arc<FederationMedia>, call: RawCall<Origin>) -> Result<Response, ApiError> {
    #[derive(Deserialize)]
    struct Query {
        timeout_ms: Option<u64>,
    }
    let id: String = call.args.get(0)?;
    let wait = call.query::<Query>()?.timeout_ms.map(Duration::from_millis);
    let opened = api.media.open_file(asked(&call, &id, wait)).await?;
    answer(&api, &opened).await
}

/// `GET /media/thumbnail/{mediaId}`
///
/// Spec: <https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1mediathumbnailmediaid>
async fn thumbnail(api: Arc<FederationMedia>, call: RawCall<Origin>) -> Result<Response, ApiError> {
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
    let id: String = call.args.get(0)?;
    let Query { width, height, method, animated, timeout_ms } = call.query()?;
    let method = if method == "crop" { Method::Crop } else { Method::Scale };
    let wanted = Wanted { width, height, method, animated };
    let wait = timeout_ms.map(Duration::from_millis);
    let opened = api.media.thumbnail(asked(&call, &id, wait), wanted).await?;
    answer(&api, &opened).await
}

fn asked<'a>(call: &'a RawCall<Origin>, id: &'a str, wait: Option<Duration>) -> Asked<'a> {
    let reader = FileReader::Server(&call.caller.server);
    let zone = call.zone.as_ref();
    Asked { reader, server: &call.caller.destination, id, wait, zone, from: None }
}

/// A file as the second of two parts; the first one is metadata, of which there are none.
async fn answer(api: &FederationMedia, opened: &Opened) -> Result<Response, ApiError> {
    let boundary = api.random.token(32);
    let head = format!(
        "\r\n--{boundary}\r\nContent-Type: application/json\r\n\r\n{{}}\r\n--{boundary}\r\nContent-Type: {}\r\n\
         Content-Disposition: {}\r\n\r\n",
        opened.kind,
        kinds::disposition(&opened.kind, opened.name.as_deref()),
    );
    let tail = format!("\r\n--{boundary}--\r\n");
    let around = u64::try_from(head.len() + tail.len()).unwrap_or(u64::MAX);
    let length = around.saturating_add(opened.size);
    let fixed = |text: String| stream::iter([Ok::<_, io::Error>(Bytes::from(text))]);
    let body = fixed(head).chain(opened.read(None).await?).chain(fixed(tail));
    let mut response = Response::new(Body::from_stream(body));
    let told: [(HeaderName, String); 2] = [
        (header::CONTENT_TYPE, format!("multipart/mixed; boundary={boundary}")),
        (header::CONTENT_LENGTH, length.to_string()),
    ];
    for (name, value) in told {
        response.headers_mut().insert(name, HeaderValue::from_str(&value).map_err(ApiError::internal)?);
    }
    Ok(response)
}
