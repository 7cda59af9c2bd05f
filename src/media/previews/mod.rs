//! Previews of links: what a page that users link to says of itself, with its picture.
//!
//! A page is fetched once for all users of an authority who ask in the time that it is kept; nobody learns from that what
//! those of another authority ask for. That it could not be had is kept as well, for less long. The picture is a file like
//! others, under an id of the authority's, and goes after some days. What strangers' servers and pages may cost is bounded:
//! in bytes, in time, in number at a time, and for each user.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1mediapreview_url>

mod page;
#[cfg(test)]
mod tests;

use std::{collections::HashMap, io::Cursor, sync::Arc, time::Duration};

use base::{Buckets, ByteSize, Clock, Rate};
use futures_util::StreamExt;
use image::ImageReader;
use parking_lot::Mutex;
use percent_encoding::percent_decode_str;
use ruma::{OwnedServerName, ServerName, UserId};
use serde_json::{Map, Value};
use sha2::Digest;
use store::{Batch, Order, Range};
use tokio::sync::{Semaphore, watch};
use tracing::debug;
use url::Url;

use crate::{
    Browse, Error, FetchBounds, FetchError, Media, Page,
    heads::limits_of_head,
    kinds,
    media::day,
    places::{Place, Places},
    tables::{self, MediaRow, PreviewRow, Sha256},
};

/// So much of a page's beginning is read.
const PAGE_BYTES: usize = 512 << 10;
/// Largest picture that is taken.
const LARGEST_PICTURE: ByteSize = ByteSize::mib(5);
/// Time for a page, and for its picture; and for what is read of a page.
const TIME: Duration = Duration::from_secs(15);
const READING_TIME: Duration = Duration::from_millis(200);
/// Pages that are fetched at a time.
const AT_ONCE: usize = 8;
/// Pages that are fetched for one user at a time. Some more wait: clients ask for all links that they show at once.
const OF_USER_AT_ONCE: usize = 3;
/// For so long a page waits to be fetched.
const PATIENCE: Duration = Duration::from_secs(20);
/// Pages that are fetched or wait for it, for all.
const MOST: usize = 256;
/// So often may one user have a page fetched.
const RATE: Rate = Rate { per_second: 0.5, burst: 30 };
/// For so long is kept what a page says, and that it could not be had.
const KEPT: Duration = Duration::from_secs(60 * 60);
const KEPT_FAILURE: Duration = Duration::from_secs(5 * 60);
/// Pictures are kept for so many days.
const PICTURE_DAYS: u32 = 7;
/// Whose they are said to be, so that they are counted.
const KEEPER: &str = "#previews";
/// The pictures that are kept of one authority's previews; with more, there are previews without.
const MOST_PICTURES: ByteSize = ByteSize::mib(2 << 10);
/// Longest address.
const LONGEST_URL: usize = 2_048;
const ID_LENGTH: usize = 24;

/// What came of a look.
#[derive(Clone, Debug)]
enum Outcome {
    Said(Arc<str>),
    Failed(FetchError),
    /// Its turn did not come.
    Late,
}

type Flights = HashMap<(OwnedServerName, Sha256), watch::Receiver<Option<Outcome>>>;

/// What is being looked at.
pub(crate) struct Looking {
    browse: Arc<dyn Browse>,
    under_way: Arc<Mutex<Flights>>,
    places: Arc<Semaphore>,
    of_users: Places,
    rate: Buckets,
}

impl Looking {
    pub(crate) fn new(browse: Arc<dyn Browse>) -> Self {
        Self {
            browse,
            under_way: Arc::default(),
            places: Arc::new(Semaphore::new(AT_ONCE)),
            of_users: Places::new(OF_USER_AT_ONCE),
            rate: Buckets::new(RATE),
        }
    }

    /// A place for one page more of a user's.
    fn place_of(&self, user: &UserId, clock: &Clock) -> Result<Place, Error> {
        let place = self.of_users.find(user).ok_or_else(crowded)?;
        let limited = |retry_after| Error::Limited { limit: "previews", retry_after };
        self.rate.take(&user, clock.instant()).map_err(limited)?;
        Ok(place)
    }
}

/// A user asks for more than is fetched for him in a while.
fn crowded() -> Error {
    Error::Limited { limit: "previews_of_user", retry_after: Duration::from_secs(1) }
}

/// Takes a look off the list, however it ends.
struct Entry {
    key: (OwnedServerName, Sha256),
    under_way: Arc<Mutex<Flights>>,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.under_way.lock().remove(&self.key);
    }
}

impl Media {
    /// What the page at an address says of itself, as a JSON object of OpenGraph's properties.
    ///
    /// # Errors
    /// [`Error::NoPreviews`] where they are switched off; [`Error::Invalid`] for what is no address of a page;
    /// [`Error::Elsewhere`] where it could not be had, whyever; [`Error::Limited`], [`Error::Store`].
    pub async fn preview(&self, user: &UserId, url: &str) -> Result<Arc<str>, Error> {
        let inner = &self.inner;
        if !inner.config.previews {
            return Err(Error::NoPreviews);
        }
        let url = parse(url)?;
        let server = user.server_name();
        let hash: Sha256 = sha2::Sha256::digest(url.as_str()).into();
        let known = inner.store.get(&tables::PREVIEWS, &(server.as_str(), hash)).await?;
        if let Some(row) = known.filter(|row| row.expires_ms > inner.clock.now().millis()) {
            return match row.said {
                Some(said) => Ok(said.into()),
                None => Err(failed_before()),
            };
        }
        let mut outcome = self.look(user, url, hash)?;
        // The task outlives whoever asked first.
        let ended = outcome.wait_for(Option::is_some).await.map(|outcome| outcome.clone());
        match ended {
            Ok(Some(Outcome::Said(said))) => Ok(said),
            Ok(Some(Outcome::Late)) => Err(crowded()),
            // Whether there is nothing, or it is not gone to, is none of the asker's business: it would tell of our network.
            Ok(Some(Outcome::Failed(error))) => Err(Error::Elsewhere(error.to_string())),
            Ok(None) | Err(_) => Err(Error::Elsewhere("the look was given up".to_owned())),
        }
    }

    /// The look at a page, begun if none is under way.
    fn look(&self, user: &UserId, url: Url, hash: Sha256) -> Result<watch::Receiver<Option<Outcome>>, Error> {
        let looking = &self.inner.looking;
        let key = (user.server_name().to_owned(), hash);
        let mut under_way = looking.under_way.lock();
        if let Some(outcome) = under_way.get(&key) {
            return Ok(outcome.clone());
        }
        if under_way.len() >= MOST {
            return Err(Error::Limited { limit: "previews_at_once", retry_after: Duration::from_secs(2) });
        }
        let mut place = looking.place_of(user, &self.inner.clock)?;
        let (told, outcome) = watch::channel(None);
        under_way.insert(key.clone(), outcome.clone());
        drop(under_way);

        let media = self.clone();
        let entry = Entry { key, under_way: looking.under_way.clone() };
        self.inner.tasks.spawn("preview", async move {
            let (server, hash) = &entry.key;
            let inner = &media.inner;
            let ready = async {
                let is_its_turn = place.wait(&inner.clock, PATIENCE).await;
                // Nobody closes them.
                if is_its_turn { inner.looking.places.acquire().await.ok() } else { None }
            };
            let Ok(Some(_turn)) = inner.clock.timeout(PATIENCE, ready).await else {
                // Of the page it says nothing, so that is not kept.
                told.send_replace(Some(Outcome::Late));
                return;
            };
            // Twice, as there may be a picture.
            let looked = inner.clock.timeout(2 * TIME, media.look_now(server, &url)).await;
            let late = |_| Err(FetchError::Failed("it took too long".to_owned()));
            let outcome = match looked.unwrap_or_else(late) {
                Ok(said) => Outcome::Said(said),
                Err(error) => {
                    debug!(%error, "there is no preview of a page");
                    Outcome::Failed(error)
                }
            };
            let said = if let Outcome::Said(said) = &outcome { Some(&**said) } else { None };
            media.keep_preview(server, *hash, said).await;
            told.send_replace(Some(outcome));
        });
        Ok(outcome)
    }

    async fn keep_preview(&self, server: &ServerName, hash: Sha256, said: Option<&str>) {
        let inner = &self.inner;
        let kept = if said.is_some() { KEPT } else { KEPT_FAILURE };
        let row =
            PreviewRow { said: said.map(str::to_owned), expires_ms: (inner.clock.now() + kept).millis() };
        let mut batch = Batch::new();
        batch.put(&tables::PREVIEWS, &(server.as_str(), hash), &row);
        if let Err(error) = inner.store.commit(batch).await {
            // It is shown even so: the disk may be full.
            debug!(%error, "a preview could not be kept");
        }
    }

    async fn look_now(&self, server: &ServerName, url: &Url) -> Result<Arc<str>, FetchError> {
        let page = self.inner.looking.browse.get(url.as_str(), bounds()).await?;
        let kind = page.kind.as_deref().map(|kind| kinds::essence(kind).to_ascii_lowercase());
        let told = match kind.as_deref() {
            Some("text/html" | "application/xhtml+xml") | None => self.read_page(server, page).await?,
            Some(kind) if kind.starts_with("image/") => {
                let mut told = Map::new();
                let name = url.path_segments().and_then(|mut segments| segments.next_back());
                let name = name.map(|name| percent_decode_str(name).decode_utf8_lossy());
                if let Some(name) = name.and_then(|name| kinds::name(Some(&name))) {
                    told.insert("og:title".to_owned(), name.into());
                }
                let picture = self.keep_picture(server, page).await?;
                picture.tell(&mut told);
                told
            }
            // Of other files nothing is said.
            Some(_) => Map::new(),
        };
        Ok(Value::Object(told).to_string().into())
    }

    async fn read_page(&self, server: &ServerName, page: Page) -> Result<Map<String, Value>, FetchError> {
        let Page { url, kind, mut body } = page;
        let mut bytes = Vec::new();
        while bytes.len() < PAGE_BYTES
            && let Some(part) = body.next().await
        {
            match part {
                Ok(part) => bytes.extend_from_slice(&part[..part.len().min(PAGE_BYTES - bytes.len())]),
                // What came before it broke off may say enough.
                Err(_) if !bytes.is_empty() => break,
                Err(error) => return Err(FetchError::Failed(error.to_string())),
            }
        }
        drop(body);
        let clock = self.inner.clock.clone();
        let read = move || {
            let end = clock.instant() + READING_TIME;
            let text = page::decode(&bytes, kind.as_deref());
            page::read(&text, || end.since(clock.instant()).is_zero())
        };
        let said = self.inner.tasks.spawn_blocking("preview page", read).await;
        let said = said.map_err(|error| FetchError::Failed(error.to_string()))?;

        let mut told = Map::new();
        let is_told = |name: &str| name.starts_with("og:") && !name.starts_with("og:image");
        for (name, text) in said.properties.iter().filter(|(name, text)| is_told(name) && !text.is_empty()) {
            told.insert(name.clone(), text.as_str().into());
        }
        let title = said.first(&["og:title", "twitter:title"]).or(said.title.as_deref());
        let description = said.first(&["og:description", "twitter:description", "description"]);
        for (name, text) in [("og:title", title), ("og:description", description)] {
            if let Some(text) = text {
                told.insert(name.to_owned(), text.into());
            }
        }
        let picture = ["og:image:secure_url", "og:image:url", "og:image", "twitter:image"];
        if let Some(address) = said.first(&picture)
            && let Some(address) = said.base(&url).and_then(|base| base.join(address).ok())
        {
            match self.fetch_picture(server, &address).await {
                Ok(picture) => {
                    picture.tell(&mut told);
                    if let Some(text) = said.first(&["og:image:alt"]) {
                        told.insert("og:image:alt".to_owned(), text.into());
                    }
                }
                Err(error) => debug!(%error, "a preview is without its picture"),
            }
        }
        Ok(told)
    }

    async fn fetch_picture(&self, server: &ServerName, address: &Url) -> Result<Picture, FetchError> {
        let address = parse(address.as_str()).map_err(|error| FetchError::Failed(error.to_string()))?;
        self.keep_picture(server, self.inner.looking.browse.get(address.as_str(), bounds()).await?).await
    }

    /// Keeps a picture for some days, if it is one.
    async fn keep_picture(&self, server: &ServerName, page: Page) -> Result<Picture, FetchError> {
        let inner = &self.inner;
        let failed = |error: Error| FetchError::Failed(error.to_string());
        let used = inner.store.get(&tables::USED, &(server.as_str(), KEEPER)).await;
        let used = used.map_err(|error| failed(error.into()))?.unwrap_or_default().0;
        if u64::try_from(used).unwrap_or(0) >= MOST_PICTURES.as_u64() {
            return Err(FetchError::Failed("as many pictures are kept as may be".to_owned()));
        }
        let Page { mut body, .. } = page;
        let mut incoming = inner.files.receive(LARGEST_PICTURE).await.map_err(failed)?;
        let mut bytes = Vec::new();
        while let Some(part) = body.next().await {
            let part = part.map_err(|error| FetchError::Failed(error.to_string()))?;
            incoming.write(&part).await.map_err(failed)?;
            bytes.extend_from_slice(&part);
        }
        let looked = inner.tasks.spawn_blocking("preview picture", move || size_of(&bytes)).await;
        let looked = looked.map_err(|error| FetchError::Failed(error.to_string()))?;
        let (kind, width, height) =
            looked.ok_or_else(|| FetchError::Failed("it is no picture".to_owned()))?;

        let whole = incoming.finish().await.map_err(failed)?;
        let id = inner.random.token(ID_LENGTH);
        let now = inner.clock.now();
        let size = whole.size;
        let row = MediaRow {
            sha256: whole.sha256,
            size,
            kind: kind.to_owned(),
            name: None,
            by: Some(KEEPER.to_owned()),
            created_ms: now.millis(),
            seen_day: 0,
        };
        let last_day = day(now).saturating_add(PICTURE_DAYS);
        let with = |batch: &mut Batch| {
            let more = i64::try_from(size).unwrap_or(i64::MAX);
            batch.add(&tables::USED, &(server.as_str(), KEEPER), more);
            batch.add(&tables::USED, &(server.as_str(), ""), more);
            batch.put(&tables::PREVIEW_PICTURES, &(last_day, server.as_str(), id.as_str()), &());
        };
        self.store_file(server, &id, &whole, &row, with).await.map_err(failed)?;
        Ok(Picture { uri: format!("mxc://{server}/{id}"), kind, size, width, height })
    }

    /// Removes previews that are kept for long enough, and pictures of such.
    pub(crate) async fn sweep_previews(&self) -> Result<(), Error> {
        let inner = &self.inner;
        let mut range = Range::all();
        loop {
            let began = inner.clock.instant();
            let now = inner.clock.now().millis();
            let rows = inner.store.scan(&tables::PREVIEWS, range, Order::Ascending, 256).await?;
            let mut batch = Batch::new();
            for ((server, hash), _) in rows.iter().filter(|(_, row)| row.expires_ms <= now) {
                batch.delete(&tables::PREVIEWS, &(server.as_str(), *hash));
            }
            if !batch.is_empty() {
                inner.store.commit(batch).await?;
            }
            let Some((last, _)) = rows.last().filter(|_| rows.len() == 256) else { break };
            range = Range::all().after(last);
            inner.clock.rest_since(began, 4).await;
        }
        loop {
            let began = inner.clock.instant();
            let today = day(inner.clock.now());
            let range = Range::all().before(&(today, String::new(), String::new()));
            let old = inner.store.scan(&tables::PREVIEW_PICTURES, range, Order::Ascending, 256).await?;
            for ((last_day, server, id), ()) in &old {
                if let Ok(server) = <&ServerName>::try_from(server.as_str()) {
                    self.remove(server, id).await?;
                }
                // After the file, which would stay for ever otherwise.
                let mut batch = Batch::new();
                batch.delete(&tables::PREVIEW_PICTURES, &(*last_day, server.as_str(), id.as_str()));
                inner.store.commit(batch).await?;
            }
            if old.len() < 256 {
                return Ok(());
            }
            inner.clock.rest_since(began, 4).await;
        }
    }
}

/// A picture that was kept.
struct Picture {
    uri: String,
    kind: &'static str,
    size: u64,
    width: u32,
    height: u32,
}

impl Picture {
    fn tell(&self, told: &mut Map<String, Value>) {
        told.insert("og:image".to_owned(), self.uri.as_str().into());
        told.insert("og:image:type".to_owned(), self.kind.into());
        told.insert("og:image:width".to_owned(), self.width.into());
        told.insert("og:image:height".to_owned(), self.height.into());
        told.insert("matrix:image:size".to_owned(), self.size.into());
    }
}

/// What kind of picture a file is, its width and its height, by its head; none if it is none that browsers show.
fn size_of(file: &[u8]) -> Option<(&'static str, u32, u32)> {
    use image::ImageFormat::{Gif, Jpeg, Png, WebP};
    let format = image::guess_format(file).ok().filter(|format| [Gif, Jpeg, Png, WebP].contains(format))?;
    let mut reader = ImageReader::with_format(Cursor::new(file), format);
    reader.limits(limits_of_head());
    let (width, height) = reader.into_dimensions().ok()?;
    Some((format.to_mime_type(), width, height))
}

fn bounds() -> FetchBounds {
    FetchBounds { deadline: TIME, size: LARGEST_PICTURE }
}

fn failed_before() -> Error {
    Error::Elsewhere("it could not be had a moment ago".to_owned())
}

/// An address of a page as browsers write it, without the place within the page.
fn parse(url: &str) -> Result<Url, Error> {
    if url.len() > LONGEST_URL {
        return Err(Error::Invalid("the address is too long"));
    }
    let mut url = Url::parse(url).map_err(|_| Error::Invalid("this is no address of a page"))?;
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err(Error::Invalid("there are previews of http and https addresses only"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Error::Invalid("an address with a password is not gone to"));
    }
    url.set_fragment(None);
    Ok(url)
}
