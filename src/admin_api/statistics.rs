//! Statistics.
//!
//! Format: <https://element-hq.github.io/synapse/latest/admin_api/statistics.html>

use std::sync::Arc;

use media::Uploaded;
use ruma::{OwnedUserId, UserId};
use serde::Deserialize;
use serde_json::json;
use web::{ApiError, RawCall, Response, StatusCode, json_response};

use crate::{
    AdminApi, Administrator,
    list::{Dir, Part},
};

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum By {
    #[default]
    UserId,
    #[serde(rename = "displayname")]
    DisplayName,
    MediaLength,
    MediaCount,
}

#[derive(Deserialize)]
struct Query {
    from: Option<usize>,
    limit: Option<usize>,
    #[serde(default)]
    order_by: By,
    #[serde(default)]
    dir: Dir,
    from_ts: Option<u64>,
    until_ts: Option<u64>,
    search_term: Option<String>,
}

/// `GET /_synapse/admin/v1/statistics/users/media`: how much users have uploaded that is still there.
pub(crate) async fn of_media(api: Arc<AdminApi>, call: RawCall<Administrator>) -> Result<Response, ApiError> {
    struct Row {
        user: OwnedUserId,
        name: Option<String>,
        uploaded: Uploaded,
    }
    let query: Query = call.query()?;
    let part = Part::of(query.from, query.limit);
    let span = (query.from_ts.unwrap_or_default(), query.until_ts.unwrap_or(u64::MAX));
    if span.0 > span.1 {
        return Err(ApiError::invalid_param("until_ts is before from_ts"));
    }
    let uploaded = api.uploaded(call.caller.authority(), span).await?;
    let users: Vec<(OwnedUserId, Uploaded)> = uploaded
        .into_iter()
        .filter_map(|(user, uploaded)| Some((OwnedUserId::try_from(user).ok()?, uploaded)))
        .collect();
    let ids: Vec<&UserId> = users.iter().map(|(user, _)| &**user).collect();
    let profiles = api.accounts.member_profiles(&ids).await?;
    let mut rows: Vec<Row> = users
        .into_iter()
        .zip(profiles)
        .map(|((user, uploaded), profile)| Row { user, name: profile.displayname, uploaded })
        .collect();
    if let Some(term) = query.search_term.filter(|term| !term.is_empty()) {
        let term = term.to_lowercase();
        let holds = |text: &str| text.to_lowercase().contains(&term);
        rows.retain(|row| holds(row.user.localpart()) || row.name.as_deref().is_some_and(holds));
    }
    rows.sort_by(|one, other| {
        let order = match query.order_by {
            By::UserId => one.user.cmp(&other.user),
            By::DisplayName => one.name.cmp(&other.name),
            By::MediaLength => one.uploaded.bytes.cmp(&other.uploaded.bytes),
            By::MediaCount => one.uploaded.count.cmp(&other.uploaded.count),
        };
        let order = if query.dir.is_backward() { order.reverse() } else { order };
        order.then_with(|| one.user.cmp(&other.user))
    });
    let total = rows.len();
    let shown = part.of_list(rows).into_iter().map(|row| {
        json!({
            "user_id": row.user,
            "displayname": row.name,
            "media_count": row.uploaded.count,
            "media_length": row.uploaded.bytes,
        })
    });
    Ok(json_response(StatusCode::OK, &part.answer("users", shown.collect(), total)))
}
