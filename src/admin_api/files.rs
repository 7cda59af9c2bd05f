//! Files of the authority's users, and what its users are not shown.
//!
//! Format: <https://element-hq.github.io/synapse/latest/admin_api/media_admin_api.html>

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::Arc,
};

use account::AccountQuery;
use base::Timestamp;
use media::{FileInfo, Uploaded};
use room::{
    RoomSerial,
    read::{filter::EventFilter, messages::PageQuery, room::RoomInfo, timeline::Direction, token::Token},
};
use ruma::{OwnedMxcUri, OwnedServerName, ServerName, UserId};
use serde::Deserialize;
use serde_json::{Value, json};
use web::{ApiError, RawCall, Response, StatusCode, json_response};

use crate::{
    AdminApi, Administrator,
    list::{Dir, Part},
    own::{room_id_in, server_in, user_in, word_in},
};

/// Files that one request deletes; whoever wants more of them gone asks again.
const MOST_DELETED: usize = 1_000;

/// Rooms, and members of them, that are looked at at a time.
const ROOMS_AT_A_TIME: usize = 100;
const MEMBERS_AT_A_TIME: usize = 500;

/// Before this there were no files: who says an earlier moment means seconds, and not milliseconds.
const EARLIEST_MS: u64 = 30_000_000_000;

/// Files of a room that are told or withheld by one request, the newest first; and of one event. Whoever wants more withheld
/// asks again.
const MOST_OF_ROOM: usize = 1_000;
const MOST_OF_EVENT: usize = 100;
/// Files of a room that are looked at for one request.
const MOST_SEEN: usize = 20_000;

/// Pages of a room that are looked through for files, of a thousand events each.
const MOST_PAGES: usize = 100;

fn told(file: &FileInfo) -> Value {
    json!({
        "media_id": file.id,
        "created_ts": file.created.millis(),
        // When a file of ours was asked for last is not kept.
        "last_access_ts": null,
        "media_length": file.size,
        "media_type": file.kind,
        "upload_name": file.name,
        "quarantined_by": file.withheld_by,
        "safe_from_quarantine": file.protected,
        "user_id": file.by,
    })
}

fn no_file() -> ApiError {
    ApiError::not_found("Unknown media")
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Column {
    MediaId,
    UploadName,
    #[serde(alias = "last_access_ts")]
    CreatedTs,
    MediaLength,
    MediaType,
    QuarantinedBy,
    SafeFromQuarantine,
}

#[derive(Deserialize)]
struct ListQuery {
    from: Option<usize>,
    limit: Option<usize>,
    order_by: Option<Column>,
    dir: Option<Dir>,
}

fn sorted(mut files: Vec<FileInfo>, by: Option<Column>, dir: Option<Dir>) -> Vec<FileInfo> {
    // Where nothing is said, the newest first.
    let backward = dir.map_or(by.is_none(), Dir::is_backward);
    let by = by.unwrap_or(Column::CreatedTs);
    files.sort_by(|one, other| {
        let order = match by {
            Column::MediaId => one.id.cmp(&other.id),
            Column::UploadName => one.name.cmp(&other.name),
            Column::CreatedTs => one.created.millis().cmp(&other.created.millis()),
            Column::MediaLength => one.size.cmp(&other.size),
            Column::MediaType => one.kind.cmp(&other.kind),
            Column::QuarantinedBy => one.withheld_by.cmp(&other.withheld_by),
            Column::SafeFromQuarantine => one.protected.cmp(&other.protected),
        };
        let order = if backward { order.reverse() } else { order };
        order.then_with(|| one.id.cmp(&other.id))
    });
    files
}

impl AdminApi {
    async fn files_of(&self, user: &UserId) -> Result<Vec<FileInfo>, ApiError> {
        let _turn = self.turn(user.server_name()).await?;
        Ok(self.media.files_of_user(user).await?)
    }

    /// Deletes files of the authority, each with its row in the audit log; which of them were there.
    async fn delete_files(
        &self,
        call: &RawCall<Administrator>,
        files: impl IntoIterator<Item = String>,
    ) -> Result<Response, ApiError> {
        let by = call.caller.actor(call.address);
        let mut deleted = Vec::new();
        for id in files {
            if self.media.take_away(call.caller.authority(), &id, &by).await? {
                deleted.push(id);
            }
        }
        let total = deleted.len();
        Ok(json_response(StatusCode::OK, &json!({ "deleted_media": deleted, "total": total })))
    }
}

/// `GET /_synapse/admin/v1/users/{user}/media`
pub(crate) async fn of_user(api: Arc<AdminApi>, call: RawCall<Administrator>) -> Result<Response, ApiError> {
    let user = user_in(&call, 0)?;
    let ListQuery { from, limit, order_by, dir } = call.query()?;
    let part = Part::of(from, limit);
    api.account(&user).await?;
    let files = sorted(api.files_of(&user).await?, order_by, dir);
    let total = files.len();
    let files = part.of_list(files).iter().map(told).collect();
    Ok(json_response(StatusCode::OK, &part.answer("media", files, total)))
}

/// `DELETE /_synapse/admin/v1/users/{user}/media`: as many as a page has.
pub(crate) async fn delete_of_user(
    api: Arc<AdminApi>,
    call: RawCall<Administrator>,
) -> Result<Response, ApiError> {
    let user = user_in(&call, 0)?;
    let ListQuery { from, limit, order_by, dir } = call.query()?;
    let part = Part::of(from, limit);
    api.account(&user).await?;
    let files = sorted(api.files_of(&user).await?, order_by, dir);
    api.delete_files(&call, part.of_list(files).into_iter().map(|file| file.id)).await
}

/// `GET /_synapse/admin/v1/media/{server}/{id}`: a file of the authority.
pub(crate) async fn get(api: Arc<AdminApi>, call: RawCall<Administrator>) -> Result<Response, ApiError> {
    let (server, id) = (server_in(&call, 0)?, word_in(&call, 1)?);
    must_be_own(&call, &server)?;
    let file = api.media.find_file(&server, &id).await?.ok_or_else(no_file)?;
    let mut info = told(&file);
    info["media_origin"] = Value::Null;
    info["filesystem_id"] = Value::Null;
    info["url_cache"] = Value::Null;
    info["authenticated"] = json!(true);
    info["sha256"] = json!(file.hash());
    Ok(json_response(StatusCode::OK, &json!({ "media_info": info })))
}

fn must_be_own(call: &RawCall<Administrator>, server: &ServerName) -> Result<(), ApiError> {
    if server == call.caller.authority() { Ok(()) } else { Err(no_file()) }
}

/// `DELETE /_synapse/admin/v1/media/{server}/{id}`
pub(crate) async fn delete(api: Arc<AdminApi>, call: RawCall<Administrator>) -> Result<Response, ApiError> {
    let (server, id) = (server_in(&call, 0)?, word_in(&call, 1)?);
    must_be_own(&call, &server)?;
    api.media.find_file(&server, &id).await?.ok_or_else(no_file)?;
    api.delete_files(&call, [id]).await
}

#[derive(Deserialize)]
struct DeleteQuery {
    before_ts: u64,
    size_gt: Option<u64>,
    keep_profiles: Option<bool>,
}

/// `POST /_synapse/admin/v1/media/delete`: deletes files that were uploaded before a moment and are larger than a size, a
/// thousand at most. When a file was asked for last is not kept, so the moment is that of the upload. Pictures that users or
/// rooms of the authority show, be it in one room alone, stay unless that is said; what is protected stays, and what is withheld,
/// which somebody may have to look at.
pub(crate) async fn delete_old(
    api: Arc<AdminApi>,
    call: RawCall<Administrator>,
) -> Result<Response, ApiError> {
    let query: DeleteQuery = call.query()?;
    delete_older(&api, &call, &query).await
}

/// `POST /_synapse/admin/v1/media/{server}/delete`: its older form.
pub(crate) async fn delete_old_of(
    api: Arc<AdminApi>,
    call: RawCall<Administrator>,
) -> Result<Response, ApiError> {
    let server = server_in(&call, 0)?;
    let query: DeleteQuery = call.query()?;
    must_be_own(&call, &server)?;
    delete_older(&api, &call, &query).await
}

async fn delete_older(
    api: &AdminApi,
    call: &RawCall<Administrator>,
    query: &DeleteQuery,
) -> Result<Response, ApiError> {
    if query.before_ts < EARLIEST_MS {
        return Err(ApiError::invalid_param(
            "before_ts is in milliseconds: this is a moment of the year 1970",
        ));
    }
    let authority = call.caller.authority();
    let mut wanted = Vec::new();
    {
        let _turn = api.turn(authority).await?;
        let kept = match query.keep_profiles {
            Some(false) => BTreeSet::new(),
            _ => api.pictures(authority).await?,
        };
        let mut after: Option<String> = None;
        while wanted.len() < MOST_DELETED {
            let (files, next) = api.media.files_of_authority(authority, after.as_deref()).await?;
            let is_wanted = |file: &FileInfo| {
                file.created.millis() < query.before_ts
                    && !file.protected
                    && file.withheld_by.is_none()
                    && file.size > query.size_gt.unwrap_or_default()
                    && !kept.contains(&file.id)
            };
            wanted.extend(files.into_iter().filter(is_wanted).map(|file| file.id));
            let Some(next) = next else { break };
            after = Some(next);
        }
    }
    wanted.truncate(MOST_DELETED);
    api.delete_files(call, wanted).await
}

impl AdminApi {
    /// The files of an authority that its users and its rooms show as their pictures.
    async fn pictures(&self, authority: &ServerName) -> Result<BTreeSet<String>, ApiError> {
        let everybody = AccountQuery { limit: usize::MAX, ..AccountQuery::default() };
        let accounts = self.accounts.list_accounts(authority, &everybody).await?.accounts;
        let rooms = self.rooms.rooms_of_authority(authority).await?;
        let rooms: Vec<_> = rooms.iter().map(|room| room.serial).collect();
        let summaries = self.rooms.summaries(&rooms).await?;
        let of_members = self.faces(authority, &rooms).await?;
        let of_users =
            accounts.into_iter().filter_map(|account| account.profile.avatar_url).chain(of_members);
        let of_rooms = summaries.into_iter().filter_map(|summary| summary.avatar);
        let own = |url: String| {
            let url = OwnedMxcUri::from(url);
            let (server, id) = url.parts().ok()?;
            (server == authority).then(|| id.to_owned())
        };
        Ok(of_users.chain(of_rooms).filter_map(own).collect())
    }
}

impl AdminApi {
    /// The pictures that users of an authority show in rooms, which need not be those of their profiles.
    async fn faces(&self, authority: &ServerName, rooms: &[RoomSerial]) -> Result<Vec<String>, ApiError> {
        let mut found = BTreeSet::new();
        for some in rooms.chunks(ROOMS_AT_A_TIME) {
            let members = self.rooms.local_members_of(some).await?;
            let members =
                some.iter().zip(&members).flat_map(|(room, all)| all.iter().map(|user| (*room, &**user)));
            let members: Vec<(RoomSerial, &UserId)> =
                members.filter(|(_, user)| user.server_name() == authority).collect();
            for some in members.chunks(MEMBERS_AT_A_TIME) {
                let events = self.rooms.joined_by(some).await?;
                let events: Vec<_> =
                    some.iter().zip(events).filter_map(|((room, _), event)| Some((*room, event?))).collect();
                let events = self.rooms.read_events(&events).await?;
                found.extend(events.iter().flatten().filter_map(|event| {
                    serde_json::from_str::<Face>(event.pdu().content_str()).ok()?.avatar_url
                }));
            }
        }
        Ok(found.into_iter().collect())
    }
}

/// Of a member event.
#[derive(Deserialize)]
struct Face {
    #[serde(default, deserialize_with = "lenient")]
    avatar_url: Option<String>,
}

/// `POST /_synapse/admin/v1/media/quarantine/{server}/{id}`
pub(crate) async fn withhold(api: Arc<AdminApi>, call: RawCall<Administrator>) -> Result<Response, ApiError> {
    set_withheld(&api, &call, true).await
}

/// `POST /_synapse/admin/v1/media/unquarantine/{server}/{id}`
pub(crate) async fn release(api: Arc<AdminApi>, call: RawCall<Administrator>) -> Result<Response, ApiError> {
    set_withheld(&api, &call, false).await
}

async fn set_withheld(
    api: &AdminApi,
    call: &RawCall<Administrator>,
    withheld: bool,
) -> Result<Response, ApiError> {
    let (server, id) = (server_in(call, 0)?, word_in(call, 1)?);
    let by = call.caller.actor(call.address);
    match api.media.withhold_for(call.caller.authority(), (&server, &id), withheld, &by).await? {
        Some(_) => Ok(json_response(StatusCode::OK, &json!({}))),
        None => Err(no_file()),
    }
}

/// `POST /_synapse/admin/v1/media/protect/{id}`: keeps a file from being withheld.
pub(crate) async fn protect(api: Arc<AdminApi>, call: RawCall<Administrator>) -> Result<Response, ApiError> {
    set_protected(&api, &call, true).await
}

/// `POST /_synapse/admin/v1/media/unprotect/{id}`
pub(crate) async fn unprotect(
    api: Arc<AdminApi>,
    call: RawCall<Administrator>,
) -> Result<Response, ApiError> {
    set_protected(&api, &call, false).await
}

async fn set_protected(
    api: &AdminApi,
    call: &RawCall<Administrator>,
    protected: bool,
) -> Result<Response, ApiError> {
    let id = word_in(call, 0)?;
    let by = call.caller.actor(call.address);
    match api.media.protect(call.caller.authority(), &id, protected, &by).await? {
        true => Ok(json_response(StatusCode::OK, &json!({}))),
        false => Err(no_file()),
    }
}

/// `POST /_synapse/admin/v1/user/{user}/media/quarantine`: all files of a user, but those that are protected.
pub(crate) async fn withhold_of_user(
    api: Arc<AdminApi>,
    call: RawCall<Administrator>,
) -> Result<Response, ApiError> {
    let user = user_in(&call, 0)?;
    api.account(&user).await?;
    let by = call.caller.actor(call.address);
    let _turn = api.turn(call.caller.authority()).await?;
    let count = api.media.withhold_all_of(&user, &by).await?;
    Ok(json_response(StatusCode::OK, &json!({ "num_quarantined": count })))
}

/// `GET /_synapse/admin/v1/room/{room}/media`: the files to which events of a room lead that are not encrypted, the newest
/// thousand. That is read as what was said is.
pub(crate) async fn of_room(api: Arc<AdminApi>, call: RawCall<Administrator>) -> Result<Response, ApiError> {
    let room_id = room_id_in(&call, 0)?;
    let (room, _) = api.room(&call.caller, &room_id).await?;
    api.note_reading(&call, &room).await?;
    let _turn = api.turn(call.caller.authority()).await?;
    let (mut files, mut walk) = (BTreeSet::new(), FileWalk::default());
    while files.len() < MOST_OF_ROOM
        && let Some(more) = api.next_files(&call, &room, &mut walk).await?
    {
        files.extend(more.into_iter().take(MOST_OF_ROOM - files.len()));
    }
    let (local, remote): (Vec<_>, Vec<_>) =
        files.into_iter().partition(|(server, _)| server.as_str() == call.caller.authority().as_str());
    let written = |files: Vec<(OwnedServerName, String)>| -> Vec<String> {
        files.into_iter().map(|(server, id)| format!("mxc://{server}/{id}")).collect()
    };
    Ok(json_response(StatusCode::OK, &json!({ "local": written(local), "remote": written(remote) })))
}

/// `POST /_synapse/admin/v1/room/{room}/media/quarantine`: all of them, but those that are protected; a thousand of those that
/// are not withheld yet.
pub(crate) async fn withhold_of_room(
    api: Arc<AdminApi>,
    call: RawCall<Administrator>,
) -> Result<Response, ApiError> {
    let room_id = room_id_in(&call, 0)?;
    let (room, _) = api.room(&call.caller, &room_id).await?;
    let (authority, by) = (call.caller.authority(), call.caller.actor(call.address));
    api.note_reading(&call, &room).await?;
    let _turn = api.turn(authority).await?;
    let (mut count, mut walk) = (0, FileWalk::default());
    while let Some(files) = api.next_files(&call, &room, &mut walk).await? {
        for (server, id) in files {
            if count == MOST_OF_ROOM {
                break;
            }
            let withheld = api.media.withhold_for(authority, (&server, &id), true, &by).await?;
            count += usize::from(withheld == Some(true));
        }
    }
    Ok(json_response(StatusCode::OK, &json!({ "num_quarantined": count })))
}

/// How far a room was looked through for the files to which its events lead.
#[derive(Default)]
struct FileWalk {
    pages: usize,
    from: Option<Token>,
    is_over: bool,
    seen: HashSet<(OwnedServerName, String)>,
}

impl AdminApi {
    /// More files to which events of a room lead, each once, the newest first; nothing where there are no more. There is no index
    /// of them by room: its history is looked through, a bounded number of pages.
    async fn next_files(
        &self,
        call: &RawCall<Administrator>,
        room: &RoomInfo,
        walk: &mut FileWalk,
    ) -> Result<Option<Vec<(OwnedServerName, String)>>, ApiError> {
        if walk.is_over || walk.pages == MOST_PAGES || walk.seen.len() >= MOST_SEEN {
            return Ok(None);
        }
        let query = PageQuery {
            from: walk.from,
            to: None,
            direction: Direction::Backward,
            limit: 1_000,
            filter: EventFilter::default(),
        };
        let page = self.rooms.overseen_messages(call.caller.user_id(), room, &query).await?;
        walk.pages += 1;
        walk.is_over = page.end.is_none();
        walk.from = page.end;
        let mut files = Vec::new();
        for look in &page.chunk {
            for file in files_named(look.event.pdu().content_str()) {
                if walk.seen.len() < MOST_SEEN && walk.seen.insert(file.clone()) {
                    files.push(file);
                }
            }
        }
        Ok(Some(files))
    }
}

/// The files to which the content of an event leads: attachments, also of galleries, and their thumbnails, encrypted or not.
/// What stands in its text is a word, and the picture of a member is the member's: neither is the room's to be taken away with it.
fn files_named(content: &str) -> Vec<(OwnedServerName, String)> {
    let Ok(content) = serde_json::from_str::<Content>(content) else { return Vec::new() };
    let items = std::iter::once(&content.item).chain(&content.itemtypes);
    let urls = items.flat_map(|item| {
        let info = &item.info;
        [&item.url, &item.file.url, &info.thumbnail_url, &info.thumbnail_file.url]
    });
    let uris = urls.flatten().map(|url| OwnedMxcUri::from(url.as_str()));
    let parts =
        uris.filter_map(|uri| uri.parts().ok().map(|(server, id)| (server.to_owned(), id.to_owned())));
    parts.take(MOST_OF_EVENT).collect()
}

#[derive(Deserialize)]
struct Content {
    #[serde(flatten)]
    item: Item,
    #[serde(default, deserialize_with = "lenient")]
    itemtypes: Vec<Item>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Item {
    #[serde(deserialize_with = "lenient")]
    url: Option<String>,
    #[serde(deserialize_with = "lenient")]
    file: Keyed,
    #[serde(deserialize_with = "lenient")]
    info: Info,
}

/// A file with its key.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Keyed {
    #[serde(deserialize_with = "lenient")]
    url: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Info {
    #[serde(deserialize_with = "lenient")]
    thumbnail_url: Option<String>,
    #[serde(deserialize_with = "lenient")]
    thumbnail_file: Keyed,
}

/// What is wanted, or nothing where something else stands.
fn lenient<'de, D: serde::Deserializer<'de>, T: Default + serde::de::DeserializeOwned>(
    json: D,
) -> Result<T, D::Error> {
    Ok(serde_json::from_value(Value::deserialize(json)?).unwrap_or_default())
}

/// `POST /_synapse/admin/v1/purge_media_cache`: lets copies of other servers' files go that nobody has asked for since the day
/// of a moment, a thousand at most. Copies are shared by all authorities of a process, so with several it is the operator's.
pub(crate) async fn let_copies_go(
    api: Arc<AdminApi>,
    call: RawCall<Administrator>,
) -> Result<Response, ApiError> {
    #[derive(Deserialize)]
    struct Query {
        before_ts: u64,
    }
    let Query { before_ts } = call.query()?;
    let by = call.caller.actor(call.address);
    match api.media.let_copies_go(Timestamp(before_ts), &by).await? {
        Some(deleted) => Ok(json_response(StatusCode::OK, &json!({ "deleted": deleted }))),
        None => Err(ApiError::forbidden("Copies of other servers' files are the operator's to remove here")),
    }
}

impl AdminApi {
    /// The files of an authority by who uploaded them, from a moment until another.
    pub(crate) async fn uploaded(
        &self,
        authority: &ServerName,
        span: (u64, u64),
    ) -> Result<BTreeMap<String, Uploaded>, ApiError> {
        let _turn = self.turn(authority).await?;
        Ok(self.media.uploaded(authority, span).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(content: &str) -> Vec<String> {
        files_named(content).iter().map(|(server, id)| format!("{server}/{id}")).collect()
    }

    #[test]
    fn files_are_those_to_which_an_event_leads_and_not_those_of_which_it_speaks() {
        for (content, files) in [
            (
                r#"{"body":"a","url":"mxc://a.test/u","info":{"thumbnail_url":"mxc://a.test/t"}}"#,
                vec!["a.test/u", "a.test/t"],
            ),
            (
                r#"{"file":{"url":"mxc://a.test/e","key":{}},"info":{"thumbnail_file":{"url":"mxc://b.test:8448/f"}}}"#,
                vec!["a.test/e", "b.test:8448/f"],
            ),
            (
                r#"{"itemtypes":[{"url":"mxc://a.test/1"},{"url":5,"info":{"thumbnail_url":"mxc://a.test/2"}}]}"#,
                vec!["a.test/1", "a.test/2"],
            ),
            (r#"{"itemtypes":5,"url":"mxc://a.test/u","file":[],"info":"x"}"#, vec!["a.test/u"]),
            (r#"{"membership":"join","avatar_url":"mxc://a.test/face"}"#, vec![]),
            (r#"{"body":"see mxc://a.test/u","formatted_body":"<img src=\"mxc://a.test/v\">"}"#, vec![]),
            (r#"{"url":"mxc://a.test"}"#, vec![]),
            ("[]", vec![]),
        ] {
            assert_eq!(named(content), files, "{content}");
        }
    }
}
