//! Files as a form, for browsers without a script: small ones, and nothing goes on that was cut.

use std::{sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::{
        DefaultBodyLimit, FromRequest, Multipart, Path, State,
        multipart::{Field, MultipartError},
    },
    response::Response,
};
use base::Address;
use bytes::Bytes;
use futures_util::stream;
use http::{Request, StatusCode};
use sha2::{Digest, Sha256};
use tokio::time::timeout;

use super::{Door, Trouble, Visit, page, upload};
use crate::{
    drops::Error,
    files::Appended,
    name::harmless,
    rows::{Link, Refused, Sender, Upload},
    secret::{Token, hex},
    words,
};

/// Bytes of a field that is no file.
const FIELD: usize = 4_096;

/// Time for a form: few are taken at once, and none is to hold its place for ever.
const TIME: Duration = Duration::from_secs(600);

/// Files of one form.
const FILES: usize = 20;

/// `POST /r/{token}/form`
pub(super) async fn take(
    State(door): State<Arc<Door>>,
    Path(token): Path<String>,
    mut request: Request<Body>,
) -> Response {
    let most = door.drops.settings().form_bytes;
    // All of the form; each file is counted for itself.
    DefaultBodyLimit::max(most.as_usize().saturating_add(1 << 20)).apply(&mut request);
    let (parts, body) = request.into_parts();
    let visit = Visit::of(&door, &parts);
    let mut sheet = Sheet::default();
    let link = async {
        visit.admit(&parts.headers)?;
        visit.open_link(&token).await
    };
    let (token, link) = match link.await {
        Ok(found) => found,
        Err(trouble) => return visit.trouble(trouble),
    };
    let request = Request::from_parts(parts, body);
    let read = timeout(TIME, read(&visit, (&token, &link), request, &mut sheet)).await;
    let broken = read.unwrap_or(Err(Trouble::Bad("form"))).err();
    sheet.answer(&visit, &token, broken)
}

/// What came of a form: each file is told of for itself, whatever became of the others.
#[derive(Default)]
struct Sheet {
    received: Vec<Upload>,
    refused: Vec<(String, Trouble)>,
}

impl Sheet {
    fn answer(mut self, visit: &Visit, token: &Token, broken: Option<Trouble>) -> Response {
        let is_alone = self.received.is_empty() && self.refused.len() + usize::from(broken.is_some()) == 1;
        if is_alone {
            let refused = self.refused.pop().map(|(_, trouble)| trouble);
            return visit.trouble(refused.or(broken).unwrap_or(Trouble::Bad("files")));
        }
        let mut status = None;
        let mut problems = Vec::new();
        for (name, trouble) in &self.refused {
            let (of_this, why) = visit.say(trouble);
            status = status.or(Some(of_this));
            problems.push(match trouble {
                Trouble::Empty(_) => why,
                _ => words::not_taken(name, &why, visit.language),
            });
        }
        if let Some(trouble) = &broken {
            let (of_this, why) = visit.say(trouble);
            status = status.or(Some(of_this));
            problems.push(words::rest_not_taken(&why, visit.language));
        }
        // Nothing stands in it.
        if self.received.is_empty() && problems.is_empty() {
            return visit.trouble(Trouble::Bad("files"));
        }
        let status = status.filter(|_| self.received.is_empty()).unwrap_or(StatusCode::OK);
        visit.answer_page(status, page::received(visit, token, &self.received, &problems))
    }
}

/// Reads a form to its end, or to what keeps it from being read on.
async fn read(
    visit: &Visit,
    (token, link): (&Token, &Link),
    request: Request<Body>,
    sheet: &mut Sheet,
) -> Result<(), Trouble> {
    let door = &visit.door;
    let most = door.drops.settings().form_bytes.as_u64();
    let _slot = visit.slot(&token.hash())?;
    let alone = door.slots_of_forms.take(&token.hash(), Address::of(visit.ip));
    let _alone = alone.ok_or(Trouble::TooOften(Duration::from_secs(5)))?;
    let _form = door.forms.try_acquire().map_err(|_| Trouble::TooOften(Duration::from_secs(5)))?;
    let mut form = Multipart::from_request(request, &()).await.map_err(|_| Trouble::Bad("form"))?;
    let mut said = <[String; 3]>::default();
    while let Some(mut field) = form.next_field().await.map_err(|error| broken(&error, most))? {
        let place = ["company", "name", "note"].iter().position(|name| field.name() == Some(name));
        if let Some(place) = place {
            said[place] = text(&mut field).await?;
            continue;
        }
        let name = field.file_name().unwrap_or_default().to_owned();
        if field.name() != Some("files") || name.is_empty() {
            continue;
        }
        if sheet.received.len() + sheet.refused.len() == FILES {
            return Err(Trouble::TooMany(FILES));
        }
        let sender = visit.sender(&said[0], &said[1], &said[2]);
        match receive(door, token, link, field, sender).await {
            Ok(upload) => sheet.received.push(upload),
            Err(Trouble::Nameless) => return Err(Trouble::Nameless),
            // It is no reason not to take the others.
            Err(trouble) => sheet.refused.push((harmless(&name), trouble)),
        }
    }
    Ok(())
}

/// Why a form cannot be read on: it is too large, or was cut, or is none.
fn broken(error: &MultipartError, most: u64) -> Trouble {
    match error.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Trouble::TooLarge(most),
        _ => Trouble::Bad("form"),
    }
}

/// The hash of bytes, away from the async threads.
async fn hash_of(parts: Vec<Bytes>) -> Result<(String, Vec<Bytes>), Trouble> {
    let hashed = tokio::task::spawn_blocking(move || {
        let mut hash = Sha256::new();
        parts.iter().for_each(|part| hash.update(part));
        (hex(&hash.finalize()), parts)
    });
    hashed.await.map_err(|error| Error::Disk(std::io::Error::other(error)).into())
}

async fn text(field: &mut Field<'_>) -> Result<String, Trouble> {
    let mut all = Vec::new();
    while let Some(part) = field.chunk().await.map_err(|_| Trouble::Bad("form"))? {
        if all.len() + part.len() > FIELD {
            return Err(Trouble::Bad("form"));
        }
        all.extend_from_slice(&part);
    }
    Ok(String::from_utf8_lossy(&all).into_owned())
}

async fn receive(
    door: &Arc<Door>,
    token: &Token,
    link: &Link,
    mut field: Field<'_>,
    sender: Sender,
) -> Result<Upload, Trouble> {
    if sender.name.is_empty() {
        return Err(Trouble::Nameless);
    }
    let most = door.drops.settings().form_bytes.as_u64();
    let file_name = field.file_name().unwrap_or_default().to_owned();
    let mut parts: Vec<Bytes> = Vec::new();
    let mut length = 0;
    // How long it is, only its end tells; so it is held in memory; of those there are few.
    while let Some(part) = field.chunk().await.map_err(|error| broken(&error, most))? {
        length += part.len() as u64;
        if length > most {
            return Err(Trouble::TooLarge(most));
        }
        parts.push(part);
    }
    let (id, hash) = (upload::new_id(), token.hash());
    // Who sends a form again, since not all of it was taken or the answer did not come, sends nothing twice.
    let (sha256, parts) = hash_of(parts).await?;
    if let Some(before) = door.drops.received_before(&hash, (&file_name, length, &sha256), &sender).await? {
        return Ok(before);
    }
    door.begin(token, &id, &file_name, length, sender).await?;
    let body = stream::iter(parts.into_iter().map(Ok::<_, std::convert::Infallible>));
    match door.files.append((link, &hash), &id, 0, body).await? {
        Appended::All(_) => Ok(door.files.finish((link, &hash), &id, None).await?),
        _ => {
            door.files.refuse(&hash, &id, Refused::GivenUp).await?;
            Err(Trouble::Bad("form"))
        }
    }
}
