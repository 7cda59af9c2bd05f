//! Files of the authority's users, and what its users are not shown.
//!
//! Format: <https://element-hq.github.io/synapse/latest/admin_api/media_admin_api.html>

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use account::AccountQuery;
use base::Timestamp;
use media::FileInfo;
use room::read::{filter::EventFilter, messages::PageQuery, room::RoomInfo, timeline::Direction};
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
        let _turn = self.turn().await;
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
/// rooms of the authority show stay unless that is said, and what is protected stays.
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
    let authority = call.caller.authority();
    let mut wanted = Vec::new();
    {
        let _turn = api.turn().await;
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
        let of_users = accounts.into_iter().filter_map(|account| account.profile.avatar_url);
        let of_rooms = summaries.into_iter().filter_map(|summary| summary.avatar);
        let own = |url: String| {
            let url = OwnedMxcUri::from(url);
            let (server, id) = url.parts().ok()?;
            (server == authority).then(|| id.to_owned())
        };
        Ok(of_users.chain(of_rooms).filter_map(own).collect())
    }
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
    let (authority, by) = (call.caller.authority(), call.caller.actor(call.address));
    let files = api.files_of(&user).await?;
    let mut count = 0;
    for file in files.iter().filter(|file| !file.protected) {
        let withheld = api.media.withhold_for(authority, (authority, &file.id), true, &by).await?;
        count += usize::from(withheld == Some(true));
    }
    Ok(json_response(StatusCode::OK, &json!({ "num_quarantined": count })))
}

/// `GET /_synapse/admin/v1/room/{room}/media`: the files that events of a room name which are not encrypted.
pub(crate) async fn of_room(api: Arc<AdminApi>, call: RawCall<Administrator>) -> Result<Response, ApiError> {
    let room_id = room_id_in(&call, 0)?;
    let (room, _) = api.room(&call.caller, &room_id).await?;
    let files = api.files_in(&call, &room).await?;
    let (local, remote): (Vec<_>, Vec<_>) =
        files.into_iter().partition(|(server, _)| server.as_str() == call.caller.authority().as_str());
    let written = |files: Vec<(OwnedServerName, String)>| -> Vec<String> {
        files.into_iter().map(|(server, id)| format!("mxc://{server}/{id}")).collect()
    };
    Ok(json_response(StatusCode::OK, &json!({ "local": written(local), "remote": written(remote) })))
}

/// `POST /_synapse/admin/v1/room/{room}/media/quarantine`: all of them, but those that are protected.
pub(crate) async fn withhold_of_room(
    api: Arc<AdminApi>,
    call: RawCall<Administrator>,
) -> Result<Response, ApiError> {
    let room_id = room_id_in(&call, 0)?;
    let (room, _) = api.room(&call.caller, &room_id).await?;
    let (authority, by) = (call.caller.authority(), call.caller.actor(call.address));
    let mut count = 0;
    for (server, id) in api.files_in(&call, &room).await? {
        let withheld = api.media.withhold_for(authority, (&server, &id), true, &by).await?;
        count += usize::from(withheld == Some(true));
    }
    Ok(json_response(StatusCode::OK, &json!({ "num_quarantined": count })))
}

impl AdminApi {
    /// The files that events of a room name. There is no index of them by room: its history is looked through, newest first,
    /// a bounded number of pages.
    async fn files_in(
        &self,
        call: &RawCall<Administrator>,
        room: &RoomInfo,
    ) -> Result<BTreeSet<(OwnedServerName, String)>, ApiError> {
        let _turn = self.turn().await;
        let mut query = PageQuery {
            from: None,
            to: None,
            direction: Direction::Backward,
            limit: 1_000,
            filter: EventFilter::default(),
        };
        let mut found = BTreeSet::new();
        for _ in 0..MOST_PAGES {
            let page = self.rooms.overseen_messages(call.caller.user_id(), room, &query).await?;
            for look in &page.chunk {
                found.extend(files_named(look.event.pdu().content_str()));
            }
            if page.end.is_none() {
                break;
            }
            query.from = page.end;
        }
        Ok(found)
    }
}

/// The files whose addresses stand anywhere in the content of an event, in canonical JSON: attachments, thumbnails, those of
/// galleries, pictures within texts.
fn files_named(content: &str) -> impl Iterator<Item = (OwnedServerName, String)> {
    const SCHEME: &str = "mxc://";
    let may_stand = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:/[]".contains(&byte);
    content.match_indices(SCHEME).filter_map(move |(place, _)| {
        let rest = content.get(place..)?;
        let end = rest.bytes().position(|byte| !may_stand(byte)).unwrap_or(rest.len());
        let uri = OwnedMxcUri::from(rest.get(..end)?);
        let (server, id) = uri.parts().ok().filter(|(_, id)| !id.is_empty())?;
        Some((server.to_owned(), id.to_owned()))
    })
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

/// How much each user of an authority has uploaded.
#[derive(Clone, Copy, Default)]
pub(crate) struct Uploaded {
    pub(crate) count: u64,
    pub(crate) bytes: u64,
}

impl AdminApi {
    /// The files of an authority by who uploaded them, from a moment until another.
    pub(crate) async fn uploaded(
        &self,
        authority: &ServerName,
        (from, until): (u64, u64),
    ) -> Result<BTreeMap<String, Uploaded>, ApiError> {
        let _turn = self.turn().await;
        let mut found: BTreeMap<String, Uploaded> = BTreeMap::new();
        let mut after: Option<String> = None;
        loop {
            let (files, next) = self.media.files_of_authority(authority, after.as_deref()).await?;
            for file in files {
                let Some(by) = file.by.filter(|_| (from..=until).contains(&file.created.millis())) else {
                    continue;
                };
                let uploaded = found.entry(by).or_default();
                uploaded.count += 1;
                uploaded.bytes = uploaded.bytes.saturating_add(file.size);
            }
            match next {
                Some(next) => after = Some(next),
                None => return Ok(found),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(content: &str) -> Vec<String> {
        files_named(content).map(|(server, id)| format!("{server}/{id}")).collect()
    }

    #[test]
    fn files_are_found_wherever_an_event_names_them() {
        let gallery = r#"{"body":"x","itemtypes":[{"info":{"thumbnail_url":"mxc://a.test/t"},"url":"mxc://a.test/u"}]}"#;
        assert_eq!(named(gallery), ["a.test/t", "a.test/u"]);
        let text = r#"{"formatted_body":"<img src=\"mxc://b.test:8448/p_-1\"> mxc://[::1]/q"}"#;
        assert_eq!(named(text), ["b.test:8448/p_-1", "[::1]/q"]);
        assert_eq!(named(r#"{"body":"mxc://a.test mxc:// mxc:///x mxc://a.test/日本"}"#), [""; 0]);
    }
}
