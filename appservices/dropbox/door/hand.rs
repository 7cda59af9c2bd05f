//! 渡しURL: a file of a room, for somebody outside. A page tells what it is; only its button fetches it.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{Path, State},
    response::{IntoResponse, Response},
};
use bot_kit::Failure;
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderValue, Request, StatusCode, header};
use maud::html;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tracing::warn;

use super::{Door, Source, Trouble, Visit, code_in, held::Held, page, small};
use crate::{
    drops::{BrokenOff, Drops, Error},
    end::Why,
    moment,
    name::harmless,
    rows::{Hand, HandState},
    secret::Token,
    shown::look,
    words,
};

impl Visit {
    /// The link of a path, if it is good.
    async fn hand(&self, token: &str) -> Result<(Token, Hand), Trouble> {
        let token = self.token(token)?;
        let hand = self.found(self.door.drops.find_hand(&token).await)?;
        Ok((token, hand))
    }
}

impl Source {
    /// Sees that the file is still what those are shown who are in its room: of a deletion the bot hears nothing while it is away.
    async fn is_shown(&self, drops: &Drops, hand: &Hand) -> Result<(), Trouble> {
        match look(&self.rooms, hand.room_of_file(), &hand.event).await {
            Ok(shown) if shown.is_of(hand) => Ok(()),
            Ok(_) => {
                let (why, by) = (Why::FileChanged, self.rooms.user().clone());
                drops.close_hand(&hand.room, hand.number, by, why, None).await?;
                Err(Error::Cancelled(why).into())
            }
            Err(failure) => {
                warn!(error = %failure, "whether a file is still in its room cannot be seen");
                Err(Error::Full.into())
            }
        }
    }
}

/// A download that is given back unless all of the file goes out: a line that breaks, or a browser that asks twice, uses none up.
pub(super) struct Taken {
    pub(super) door: Arc<Door>,
    /// None once all of it went out.
    pub(super) token: Option<Token>,
    /// Bytes that have still to go out, if it is known how many there are.
    pub(super) lacking: Option<u64>,
    pub(super) broken: BrokenOff,
}

impl Taken {
    /// This part goes out next; none at the end. Of a file whose length is known nobody asks for what is behind its last part.
    pub(super) fn goes_out(&mut self, part: Option<&Bytes>) {
        let sent = part.map_or(0, |part| part.len() as u64);
        self.broken.has_begun |= sent > 0;
        self.lacking = self.lacking.map(|lacking| lacking.saturating_sub(sent));
        let is_whole = self.lacking.map_or(part.is_none(), |lacking| lacking == 0);
        if is_whole {
            self.token = None;
        }
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let Some(token) = self.token.take() else { return };
        let (door, broken) = (self.door.clone(), self.broken);
        // Under no supervisor: it is one short write, and lost it costs one download of those that are left.
        tokio::spawn(async move {
            if let Err(error) = door.drops.give_download_back(&token, broken).await {
                warn!(%error, "a download that broke off cannot be given back");
            }
        });
    }
}

/// `GET /h/{token}`: what the file is. Nothing changes.
pub(super) async fn show(
    State(door): State<Arc<Door>>,
    Path(token): Path<String>,
    request: Request<Body>,
) -> Response {
    let (parts, _) = request.into_parts();
    let visit = Visit::of(&door, &parts);
    let shown = async {
        visit.count()?;
        let (token, hand) = visit.hand(&token).await?;
        let at = format!("{}/h/{}", door.prefix, token.as_str());
        if !door.drops.may_fetch(&token, &hand, visit.pass.as_deref()) {
            let is_locked = hand.code.as_ref().is_some_and(|code| code.guesses_left == 0);
            let page = if is_locked { page::locked(&visit) } else { page::code(&visit, &at, None) };
            return Ok(visit.answer_page(StatusCode::OK, page));
        }
        let HandState::Good { ends, left, .. } = hand.state else { return Err(Error::Over.into()) };
        let language = visit.language;
        let body = html! {
            p { (words::what_is_handed(&door.drops.settings().place, language)) }
            dl.card {
                dt { (language.pick("ファイル", "File")) } dd { (harmless(&hand.name)) }
                @if let Some(size) = hand.size {
                    dt { (language.pick("大きさ", "Size")) } dd { (moment::size(size)) }
                }
                dt { (language.pick("期限", "Until")) } dd { (moment::written(ends, language)) }
                dt { (language.pick("残り回数", "Downloads left")) } dd { (left) }
            }
            form.card method="post" action={ (at) "/file?lang=" (language.code()) } {
                div.actions { button type="submit" { (language.pick("ダウンロード", "Download")) } }
            }
            p.note { (words::what_is_kept_of_downloads(language)) }
        };
        let page = page::plain(&visit, language.pick("ファイルの受け渡し", "A file for you"), &body);
        Ok::<_, Trouble>(visit.answer_page(StatusCode::OK, page))
    };
    shown.await.unwrap_or_else(|trouble| visit.trouble(trouble))
}

/// `POST /h/{token}/code`: lets a browser in that tells the code.
pub(super) async fn enter(
    State(door): State<Arc<Door>>,
    Path(token): Path<String>,
    request: Request<Body>,
) -> Response {
    let (parts, body) = request.into_parts();
    let visit = Visit::of(&door, &parts);
    let entered = async {
        visit.admit(&parts.headers)?;
        let (token, hand) = visit.hand(&token).await?;
        let at = format!("{}/h/{}", door.prefix, token.as_str());
        let body = small(body).await?;
        match door.drops.enter_hand(&token, &code_in(&body), visit.ip.to_string()).await {
            Ok(pass) => {
                let HandState::Good { ends, .. } = hand.state else { return Err(Error::Over.into()) };
                Ok(visit.let_in(&at, ends, &pass, &parts.uri))
            }
            Err(error) => visit.wrong_code(error, &at),
        }
    };
    entered.await.unwrap_or_else(|trouble| visit.trouble(trouble))
}

/// `POST /h/{token}/file`: the file, as it comes from the homeserver.
pub(super) async fn fetch(
    State(door): State<Arc<Door>>,
    Path(token): Path<String>,
    request: Request<Body>,
) -> Response {
    let (parts, _) = request.into_parts();
    let visit = Visit::of(&door, &parts);
    let fetched = async {
        visit.admit(&parts.headers)?;
        let (token, hand) = visit.hand(&token).await?;
        if !door.drops.may_fetch(&token, &hand, visit.pass.as_deref()) {
            return Err(Trouble::Code);
        }
        let slot = visit.slot(&token.hash())?;
        let Some(source) = &door.source else { return Err(Error::Full.into()) };
        source.is_shown(&door.drops, &hand).await?;
        let before = hand.fetched;
        let hand = door.drops.take_download(&token, visit.ip.to_string()).await?;
        let broken = BrokenOff { has_begun: false, at: hand.fetched, before };
        let mut taken = Taken { door: door.clone(), token: Some(token), lacking: None, broken };
        let download = match source.media.download(&hand.uri).await {
            Ok(download) => download,
            Err(failure) => {
                warn!(error = %failure, "a file cannot be handed over");
                return Err(Error::Full.into());
            }
        };
        taken.lacking = download.length;
        let length = download.length.map(|length| length.to_string());
        // The slot is held until the last byte went out.
        let parts = stream::try_unfold(Held::new((download, slot, taken)), |held| async move {
            let idle = || Failure::Passing { cause: "nobody took it".to_owned(), after: None, status: None };
            let (mut download, slot, mut taken) = held.take().ok_or_else(idle)?;
            let part = download.chunk().await?;
            taken.goes_out(part.as_ref());
            held.give_back((download, slot, taken));
            Ok::<_, Failure>(part.map(|part| (part, held)))
        });
        let mut response = Body::from_stream(parts).into_response();
        let name = harmless(&hand.name);
        let name = utf8_percent_encode(&name, NON_ALPHANUMERIC);
        for (header, value) in [
            (header::CONTENT_TYPE, Some("application/octet-stream".to_owned())),
            (header::CONTENT_LENGTH, length),
            (header::CONTENT_DISPOSITION, Some(format!("attachment; filename*=UTF-8''{name}"))),
            (header::CACHE_CONTROL, Some("no-store".to_owned())),
            (header::X_CONTENT_TYPE_OPTIONS, Some("nosniff".to_owned())),
            (header::CONTENT_SECURITY_POLICY, Some("sandbox; default-src 'none'".to_owned())),
        ] {
            if let Some(value) = value.and_then(|value| HeaderValue::from_str(&value).ok()) {
                response.headers_mut().insert(header, value);
            }
        }
        Ok::<_, Trouble>(response)
    };
    fetched.await.unwrap_or_else(|trouble| visit.trouble(trouble))
}
