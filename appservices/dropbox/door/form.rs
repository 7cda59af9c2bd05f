//! Files as a form, for browsers without a script: small ones, and nothing goes on that was cut.

use std::{sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::{DefaultBodyLimit, FromRequest, Multipart, Path, State, multipart::Field},
    response::Response,
};
use bytes::Bytes;
use futures_util::stream;
use http::{Request, StatusCode};
use tokio::time::timeout;

use super::{Door, Trouble, Visit, page, upload};
use crate::{
    files::Appended,
    rows::{Refused, Upload},
    secret::Token,
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
    let taken = async {
        visit.admit(&parts.headers)?;
        let (token, link) = visit.open_link(&token).await?;
        let _slot = visit.slot(&token.hash())?;
        let _form = door.forms.try_acquire().map_err(|_| Trouble::TooOften(Duration::from_secs(5)))?;
        let form = Multipart::from_request(Request::from_parts(parts, body), &()).await;
        let mut form = form.map_err(|_| Trouble::Bad("form"))?;
        let (mut said, mut received, mut empty) = (<[String; 3]>::default(), Vec::new(), Vec::new());
        while let Some(mut field) = form.next_field().await.map_err(|_| Trouble::TooLarge(most.as_u64()))? {
            let place = ["company", "name", "note"].iter().position(|name| field.name() == Some(name));
            if let Some(place) = place {
                said[place] = text(&mut field).await?;
            } else if field.name() == Some("files") && field.file_name().is_some_and(|name| !name.is_empty())
            {
                if received.len() + empty.len() == FILES {
                    return Err(Trouble::Bad("files"));
                }
                let sender = visit.sender(&said[0], &said[1], &said[2]);
                match receive(&door, &token, &link, field, sender).await {
                    // It is no reason not to take the others.
                    Err(Trouble::Empty(name)) => empty.push(name),
                    taken => received.push(taken?),
                }
            }
        }
        if received.is_empty() {
            return Err(empty.into_iter().next().map_or(Trouble::Bad("files"), Trouble::Empty));
        }
        let page = page::received(&visit, &token, &received, &empty);
        Ok::<_, Trouble>(visit.answer_page(StatusCode::OK, page))
    };
    let taken = timeout(TIME, taken).await.unwrap_or(Err(Trouble::Bad("form")));
    taken.unwrap_or_else(|trouble| visit.trouble(trouble))
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
    link: &crate::rows::Link,
    mut field: Field<'_>,
    sender: crate::rows::Sender,
) -> Result<Upload, Trouble> {
    if sender.name.is_empty() {
        return Err(Trouble::Nameless);
    }
    let most = door.drops.settings().form_bytes.as_u64();
    let file_name = field.file_name().unwrap_or_default().to_owned();
    let mut parts: Vec<Bytes> = Vec::new();
    let mut length = 0;
    // How long it is, only its end tells; so it is held in memory; of those there are few.
    while let Some(part) = field.chunk().await.map_err(|_| Trouble::TooLarge(most))? {
        length += part.len() as u64;
        if length > most {
            return Err(Trouble::TooLarge(most));
        }
        parts.push(part);
    }
    let (id, hash) = (upload::new_id(), token.hash());
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
