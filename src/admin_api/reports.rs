//! What users have reported.
//!
//! Format: <https://element-hq.github.io/synapse/latest/admin_api/event_reports.html>

use std::sync::Arc;

use account::Report;
use oversight::Reported;
use room::tables::Summary;
use ruma::{OwnedRoomId, OwnedUserId};
use serde::Deserialize;
use serde_json::{Value, json};
use web::{ApiError, RawCall, Response, StatusCode, json_response};

use crate::{
    AdminApi, Administrator,
    list::{Dir, Part},
};

#[derive(Deserialize)]
struct ListQuery {
    from: Option<usize>,
    limit: Option<usize>,
    dir: Option<Dir>,
    user_id: Option<OwnedUserId>,
    room_id: Option<OwnedRoomId>,
    event_sender_user_id: Option<OwnedUserId>,
}

fn told(report: &Report, summary: Option<&Summary>) -> Value {
    json!({
        "id": report.id,
        "received_ts": report.at.millis(),
        "room_id": report.room_id,
        "event_id": report.event_id,
        "user_id": report.user_id,
        "sender": report.sender,
        "reason": report.reason,
        // Clients say none any more.
        "score": null,
        "name": summary.and_then(|summary| summary.name.as_ref()),
        "canonical_alias": summary.and_then(|summary| summary.canonical_alias.as_ref()),
    })
}

/// `GET /_synapse/admin/v1/event_reports`: the newest first unless that is said.
pub(crate) async fn list(api: Arc<AdminApi>, call: RawCall<Administrator>) -> Result<Response, ApiError> {
    let query: ListQuery = call.query()?;
    let part = Part::of(query.from, query.limit);
    let mut reports = api.accounts.reports(call.caller.authority()).await?;
    reports.retain(|report| {
        query.user_id.as_ref().is_none_or(|user| report.user_id == *user)
            && query.room_id.as_ref().is_none_or(|room| report.room_id == *room)
            && query.event_sender_user_id.as_ref().is_none_or(|user| report.sender == *user)
    });
    if query.dir.is_none_or(Dir::is_backward) {
        reports.reverse();
    }
    let total = reports.len();
    let reports = part.of_list(reports);
    let called = api.oversight.called(call.caller.authority(), &reports).await?;
    let shown = reports.iter().zip(&called).map(|(report, called)| told(report, called.as_ref())).collect();
    Ok(json_response(StatusCode::OK, &part.answer("event_reports", shown, total)))
}

fn id_in(call: &RawCall<Administrator>) -> Result<u64, ApiError> {
    let id: String = call.args.get(0)?;
    let number = id.parse().ok().filter(|_| id.bytes().all(|byte| byte.is_ascii_digit()));
    number.ok_or_else(|| ApiError::invalid_param("The report_id parameter must be a number"))
}

/// `GET /_synapse/admin/v1/event_reports/{report}`: one, with the event, where the authority is still in its room. That is read
/// as what was said is.
pub(crate) async fn get(api: Arc<AdminApi>, call: RawCall<Administrator>) -> Result<Response, ApiError> {
    let id = id_in(&call)?;
    let by = call.caller.actor(call.address);
    let Reported { report, called, event } = api.oversight.reported(call.caller.user_id(), id, &by).await?;
    let mut shown = told(&report, called.as_ref());
    shown["event_json"] = json!(event.map(|event| event.to_json(api.clock.now())));
    Ok(json_response(StatusCode::OK, &shown))
}

/// `DELETE /_synapse/admin/v1/event_reports/{report}`
pub(crate) async fn remove(api: Arc<AdminApi>, call: RawCall<Administrator>) -> Result<Response, ApiError> {
    let id = id_in(&call)?;
    let by = call.caller.actor(call.address);
    api.accounts.remove_report(call.caller.authority(), id, &by).await?;
    Ok(json_response(StatusCode::OK, &json!({})))
}
