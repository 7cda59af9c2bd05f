//! Files in chunks: tus 1.0 core, creation and termination, and `done`.
//!
//! Spec: <https://tus.io/protocols/resumable-upload>

use std::{sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::{Path, State},
    response::{IntoResponse, Response},
};
use base::Address;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, header};
use serde::Deserialize;
use serde_json::json;

use super::{Door, Trouble, Visit, is_ours, small};
use crate::{
    drops::Error,
    files::Appended,
    moment, name,
    rows::{Link, Sender, Upload, UploadState},
    secret::{Token, hex},
};

/// Where bytes are appended.
pub(super) const OFFSET: HeaderName = HeaderName::from_static("upload-offset");
const LENGTH: HeaderName = HeaderName::from_static("upload-length");
const METADATA: HeaderName = HeaderName::from_static("upload-metadata");
const RESUMABLE: HeaderName = HeaderName::from_static("tus-resumable");

const VERSION: HeaderName = HeaderName::from_static("tus-version");

/// The version of the protocol.
const SPOKEN: &str = "1.0.0";

/// The type of bytes that are appended.
const BYTES: &str = "application/offset+octet-stream";

/// Bytes of metadata that are looked at.
const MOST_METADATA: usize = 8_192;

/// A file that nobody sends for so long may be given up where places lack. The page's script pauses for less between tries.
pub(super) const IDLE: Duration = Duration::from_secs(180);

/// Letters of what a sender says of himself.
pub(super) const LETTERS: usize = 60;

/// Letters of what he says of the files.
pub(super) const LETTERS_OF_NOTE: usize = 500;

/// Says the version of the protocol.
pub(super) fn resumable(headers: &mut HeaderMap) {
    headers.insert(RESUMABLE, HeaderValue::from_static(SPOKEN));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
}

/// That a request speaks our version; one that names none means the only one there is.
///
/// Spec: <https://tus.io/protocols/resumable-upload#tus-resumable>
fn check_version(headers: &HeaderMap) -> Result<(), Trouble> {
    let is_spoken = headers.get(RESUMABLE).is_none_or(|version| version == SPOKEN);
    if is_spoken { Ok(()) } else { Err(Trouble::Version) }
}

/// Whether a body is bytes that are appended. Types are the same in any letters' case, and whatever parameters stand behind them.
///
/// Spec: <https://www.rfc-editor.org/rfc/rfc9110#section-8.3.1>
fn are_bytes(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case(BYTES))
}

/// What is said besides to who speaks another one.
pub(super) fn spoken() -> (HeaderName, String) {
    (VERSION, SPOKEN.to_owned())
}

fn answer(status: StatusCode, more: &[(HeaderName, String)]) -> Response {
    let mut response = status.into_response();
    resumable(response.headers_mut());
    for (name, value) in more {
        if let Ok(value) = HeaderValue::from_str(value) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

fn number(headers: &HeaderMap, name: &HeaderName) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.parse().ok()
}

/// What `Upload-Metadata` says under a name.
fn metadata(headers: &HeaderMap, name: &str) -> Option<String> {
    let all = headers.get(METADATA)?.to_str().ok().filter(|all| all.len() <= MOST_METADATA)?;
    let mut pairs = all.split(',').map(str::trim);
    let value = pairs.find_map(|pair| pair.strip_prefix(name)?.strip_prefix(' '))?;
    String::from_utf8(BASE64_STANDARD.decode(value).ok()?).ok()
}

/// A new id of an upload: 128 bits of chance.
pub(super) fn new_id() -> String {
    hex(&rand::random::<[u8; 16]>())
}

/// Whether a text may be an id; it becomes part of a path.
fn is_id(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit() && !byte.is_ascii_uppercase())
}

/// `POST /r/{token}/files`: begins an upload.
pub(super) async fn create(
    State(door): State<Arc<Door>>,
    Path(token): Path<String>,
    request: Request<Body>,
) -> Response {
    let (parts, _) = request.into_parts();
    let visit = Visit::of(&door, &parts).for_script();
    let created = async {
        check_version(&parts.headers)?;
        visit.admit(&parts.headers)?;
        let (token, _) = visit.open_link(&token).await?;
        let length = number(&parts.headers, &LENGTH).ok_or(Trouble::Bad("Upload-Length"))?;
        let text = |name: &str| metadata(&parts.headers, name).unwrap_or_default();
        let sender = visit.sender(&text("company"), &text("name"), &text("note"));
        let id = new_id();
        door.begin(&token, &id, &text("filename"), length, sender).await?;
        let location = format!("{}/r/{}/files/{id}", door.prefix, token.as_str());
        Ok::<_, Trouble>(answer(
            StatusCode::CREATED,
            &[(header::LOCATION, location), (OFFSET, "0".to_owned())],
        ))
    };
    created.await.unwrap_or_else(|trouble| visit.trouble(trouble))
}

/// `HEAD /r/{token}/files/{id}`: how far it has come.
pub(super) async fn offset(
    State(door): State<Arc<Door>>,
    Path((token, id)): Path<(String, String)>,
    request: Request<Body>,
) -> Response {
    let (parts, _) = request.into_parts();
    let visit = Visit::of(&door, &parts).for_script();
    let told = async {
        check_version(&parts.headers)?;
        visit.count()?;
        let (token, _) = visit.open_upload(&token, &id).await?;
        let upload = door.files.offset(&token.hash(), &id).await?.ok_or(Error::Full)?;
        if let UploadState::Refused { reason } = upload.state {
            return Err(Error::Refused(reason).into());
        }
        let (offset, length) = (upload.offset.to_string(), upload.length.to_string());
        Ok::<_, Trouble>(answer(StatusCode::OK, &[(OFFSET, offset), (LENGTH, length)]))
    };
    told.await.unwrap_or_else(|trouble| visit.trouble(trouble))
}

/// `PATCH /r/{token}/files/{id}`: appends.
pub(super) async fn append(
    State(door): State<Arc<Door>>,
    Path((token, id)): Path<(String, String)>,
    request: Request<Body>,
) -> Response {
    let (parts, body) = request.into_parts();
    let visit = Visit::of(&door, &parts).for_script();
    let appended = async {
        check_version(&parts.headers)?;
        is_ours(&parts.headers)?;
        let (token, link) = visit.open_upload(&token, &id).await?;
        if !are_bytes(&parts.headers) {
            return Err(Trouble::Type);
        }
        let offset = number(&parts.headers, &OFFSET).ok_or(Trouble::Bad("Upload-Offset"))?;
        let hash = token.hash();
        let _slot = visit.slot(&hash)?;
        match door.files.append((&link, &hash), &id, offset, body.into_data_stream()).await? {
            Appended::All(now) => Ok(answer(StatusCode::NO_CONTENT, &[(OFFSET, now.to_string())])),
            Appended::Elsewhere(now) | Appended::Cut(now) => Err(Trouble::Offset(now)),
            Appended::TooMany => Err(Trouble::Bad("Upload-Length")),
            Appended::Busy => Err(Error::Full.into()),
        }
    };
    appended.await.unwrap_or_else(|trouble| visit.trouble(trouble))
}

/// `DELETE /r/{token}/files/{id}`: takes a file back that is not whole.
pub(super) async fn take_back(
    State(door): State<Arc<Door>>,
    Path((token, id)): Path<(String, String)>,
    request: Request<Body>,
) -> Response {
    let (parts, _) = request.into_parts();
    let visit = Visit::of(&door, &parts).for_script();
    let taken = async {
        check_version(&parts.headers)?;
        visit.admit(&parts.headers)?;
        let (token, _) = visit.open_upload(&token, &id).await?;
        door.files.take_back(&token.hash(), &id).await?;
        Ok::<_, Trouble>(answer(StatusCode::NO_CONTENT, &[]))
    };
    taken.await.unwrap_or_else(|trouble| visit.trouble(trouble))
}

/// `POST /r/{token}/files/{id}/done`: ends an upload; both sides know now that the bytes are the same.
pub(super) async fn done(
    State(door): State<Arc<Door>>,
    Path((token, id)): Path<(String, String)>,
    request: Request<Body>,
) -> Response {
    #[derive(Deserialize)]
    struct Done {
        sha256: String,
    }
    let (parts, body) = request.into_parts();
    let visit = Visit::of(&door, &parts).for_script();
    let ended = async {
        check_version(&parts.headers)?;
        visit.admit(&parts.headers)?;
        let (token, link) = visit.open_upload(&token, &id).await?;
        let body = small(body).await?;
        let Done { sha256 } = serde_json::from_slice(&body).map_err(|_| Trouble::Bad("sha256"))?;
        // What is no hash is no reason to throw a file away.
        if sha256.len() != 64 || !sha256.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(Trouble::Bad("sha256"));
        }
        let upload = door.files.finish((&link, &token.hash()), &id, Some(&sha256)).await?;
        let mut response = (
            StatusCode::OK,
            [(header::CONTENT_TYPE, "application/json")],
            receipt(&upload, visit.language).to_string(),
        )
            .into_response();
        resumable(response.headers_mut());
        Ok::<_, Trouble>(response)
    };
    ended.await.unwrap_or_else(|trouble| visit.trouble(trouble))
}

fn receipt(upload: &Upload, language: crate::language::Language) -> serde_json::Value {
    let (sha256, at) = match &upload.state {
        UploadState::Whole { sha256, at, .. } | UploadState::Sent { sha256, at, .. } => {
            (sha256.as_str(), *at)
        }
        UploadState::Receiving | UploadState::Refused { .. } => ("", upload.touched),
    };
    json!({
        "name": upload.name, "size": upload.length, "sha256": sha256, "received": moment::written(at, language),
    })
}

impl Visit {
    pub(super) fn for_script(self) -> Self {
        Self { wants_json: true, ..self }
    }

    /// The link of an upload's path, for a browser that may use it.
    async fn open_upload(&self, token: &str, id: &str) -> Result<(Token, Link), Trouble> {
        let found = self.open_link(token).await?;
        if is_id(id) { Ok(found) } else { Err(Error::NoUpload.into()) }
    }

    pub(super) fn slot(&self, link: &str) -> Result<super::slots::Slot, Trouble> {
        let slot = self.door.slots.take(link, Address::of(self.ip));
        slot.ok_or(Trouble::TooOften(Duration::from_secs(2)))
    }

    pub(super) fn sender(&self, company: &str, person: &str, note: &str) -> Sender {
        Sender {
            company: name::line(company, LETTERS),
            name: name::line(person, LETTERS),
            note: name::line(note, LETTERS_OF_NOTE),
            address: self.ip.to_string(),
        }
    }
}

impl Door {
    /// Files of a link that were begun and are not gone on with now; each may be given up for another.
    pub(super) async fn idle(&self, hash: &str) -> Result<Vec<(String, Upload)>, Error> {
        let now = self.drops.clock().now();
        let mut uploads = self.drops.uploads_of(hash).await?;
        uploads.retain(|(id, upload)| {
            let is_begun = upload.state == UploadState::Receiving;
            is_begun && now.since(upload.touched) >= IDLE && !self.files.is_written(hash, id)
        });
        uploads.sort_by_key(|(_, upload)| upload.touched);
        Ok(uploads)
    }

    /// Begins a file, in its row and on the disk; one that has bytes, of somebody who says his name.
    pub(super) async fn begin(
        &self,
        token: &Token,
        id: &str,
        file_name: &str,
        length: u64,
        sender: Sender,
    ) -> Result<(), Trouble> {
        if sender.name.is_empty() {
            return Err(Trouble::Nameless);
        }
        if length == 0 {
            return Err(Trouble::Empty(name::harmless(file_name)));
        }
        // What was begun by a browser that is gone keeps no place from others.
        while let Err(error) = self.drops.begin(token, id, file_name, length, sender.clone()).await {
            // The disk is everybody's: there only what has not begun to come gives way, of any link.
            if matches!(error, Error::Full) && self.files.give_up_unbegun(IDLE).await? > 0 {
                continue;
            }
            let lacks_place = matches!(error, Error::Files | Error::Bytes(_));
            let idle = if lacks_place { self.idle(&token.hash()).await? } else { Vec::new() };
            let Some((idle, _)) = idle.first() else { return Err(error.into()) };
            self.files.refuse(&token.hash(), idle, crate::rows::Refused::GivenUp).await?;
        }
        if let Err(error) = self.files.create(&token.hash(), id).await {
            self.drops.refuse(&token.hash(), id, crate::rows::Refused::GivenUp).await?;
            return Err(error.into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_is_found_under_its_whole_name() {
        let mut headers = HeaderMap::new();
        let value = format!(
            "filename {},name {},odd",
            BASE64_STANDARD.encode("a,b.pdf"),
            BASE64_STANDARD.encode("花子")
        );
        headers.insert(METADATA, HeaderValue::from_str(&value).expect("ASCII"));
        assert_eq!(metadata(&headers, "filename").as_deref(), Some("a,b.pdf"));
        assert_eq!(metadata(&headers, "name").as_deref(), Some("花子"));
        assert_eq!(metadata(&headers, "file"), None);
        assert_eq!(metadata(&headers, "odd"), None);
    }

    #[test]
    fn an_id_is_no_path() {
        assert!(is_id(&new_id()));
        for wrong in ["", "../../../../../../../../../../etc", "A0A0A0A0A0A0A0A0A0A0A0A0A0A0A0A0"] {
            assert!(!is_id(wrong), "{wrong}");
        }
    }
}
