//! What the administrator's commands ask of a running process.
//!
//! These paths are ours, not Matrix's. They are on listeners that serve `admin` only, answer this
//! machine only unless told otherwise, and want the token that the process writes to
//! `admin.token` beside the configuration, readable by its user alone.

use std::{path::PathBuf, sync::Arc};

use account::{Accounts, Actor, NewUser};
use audit::Noted;
use base::{ByteSize, Clock, Instant, Tasks};
use cases::{By, Cases};
use classes::Classes;
use duties::Duties;
use engine::{Engine, PurgeStatus};
use federation::Sender;
use http::{Method, StatusCode, header::AUTHORIZATION};
use ldap::Ldap;
use media::Media;
use pdu::Authorities;
use personnel::Personnel;
use rules::Rules;
use ruma::{OwnedMxcUri, OwnedRoomId, OwnedServerName, OwnedUserId, ServerName};
use search::Search;
use serde::{Deserialize, Serialize};
use serde_json::json;
use store::{Condition, Position, Store};
use syslog::Forwarder;
use web::{ApiError, Open, Operator, RawCall, Response, Routes, json_response};

use crate::{
    ask::OPERATOR,
    health::Desk,
    questions::{EXPLAIN, ExplainOrder, LIST_USERS, UsersOrder},
    roles::{DutiesOrder, DutiesTold, DutyOrder, PartOrder},
    storage::{self, BackUp},
};

/// A personnel file as large as they may be, in base64, with what is said of it.
const LARGEST_ORDER: ByteSize = ByteSize::mib(24);

/// Where orders about the organisation of an authority go.
pub(crate) const ORGANISATION: &str = "/_yakuba/v1/organisation";

/// Where orders about the rules of an authority's rooms go.
pub(crate) const RULES: &str = "/_yakuba/v1/rules";

/// Where orders about the cases of an authority go.
pub(crate) const CASES: &str = "/_yakuba/v1/cases";

/// Where it is told how far log servers have the audit log.
pub(crate) const AUDIT_STATUS: &str = "/_yakuba/v1/audit/status";

/// Where it is told for how long the audit log is kept, and said that nothing of it goes.
pub(crate) const AUDIT_KEPT: &str = "/_yakuba/v1/audit/kept";
pub(crate) const AUDIT_HOLD: &str = "/_yakuba/v1/audit/hold";

/// Where orders about an authority's directories go.
pub(crate) const LDAP: &str = "/_yakuba/v1/ldap";

/// How many parked events are told one by one.
const MOST_PARKED: usize = 100;

/// What this file's handlers need.
pub(crate) struct AdminApi {
    desk: Arc<Desk>,
    store: Store,
    accounts: Accounts,
    sender: Sender,
    engine: Engine,
    authorities: Arc<Authorities>,
    tasks: Tasks,
    clock: Clock,
    started: Instant,
    token: String,
    back_up: Option<BackUp>,
    media: Media,
    search: Search,
    personnel: Personnel,
    rules: Rules,
    ldap: Ldap,
    log_servers: Forwarder,
    retirer: Arc<audit::Retirer>,
    duties: Duties,
    cases: Cases,
    classes: Classes,
}

/// An account to make.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct UserOrder {
    pub(crate) server_name: OwnedServerName,
    pub(crate) localpart: String,
    pub(crate) password: String,
    pub(crate) display_name: Option<String>,
    pub(crate) admin: bool,
}

/// A password to set.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PasswordOrder {
    pub(crate) user_id: OwnedUserId,
    pub(crate) password: String,
}

/// What an identity provider knows somebody by, for his account.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct LinkOrder {
    pub(crate) user_id: OwnedUserId,
    pub(crate) issuer: String,
    pub(crate) subject: String,
}

/// Whether an account is to administer its authority.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct AdminOrder {
    pub(crate) user_id: OwnedUserId,
    pub(crate) administers: bool,
}

/// An account whose factors are lost.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct RecoverOrder {
    pub(crate) user_id: OwnedUserId,
}

/// An account to close.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct CloseOrder {
    pub(crate) user_id: OwnedUserId,
}

/// A room of which everything is to go.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PurgeOrder {
    pub(crate) room_id: OwnedRoomId,
    #[serde(default)]
    pub(crate) force: bool,
}

/// What is to be done to a file.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum MediaDeed {
    /// It goes.
    Remove,
    /// What it holds is shown to nobody.
    Withhold,
    /// It is shown again.
    Release,
}

/// A file to which something is to be done.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct MediaOrder {
    pub(crate) uri: OwnedMxcUri,
    pub(crate) what: MediaDeed,
}

impl MediaOrder {
    /// Does it; whether there is such a file.
    ///
    /// # Errors
    /// As [`Media::take_away`]; what is no address of a file is none that is here.
    pub(crate) async fn carry_out(&self, media: &Media, by: &Actor) -> Result<bool, media::Error> {
        let Ok((server, id)) = self.uri.parts() else { return Ok(false) };
        match self.what {
            MediaDeed::Remove => media.take_away(server, id, by).await,
            MediaDeed::Withhold => media.withhold(server, id, true, by).await,
            MediaDeed::Release => media.withhold(server, id, false, by).await,
        }
    }
}

/// How far a purge is, as it is told.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PurgeTold {
    pub(crate) room_id: OwnedRoomId,
    pub(crate) phase: String,
    pub(crate) rows: u64,
    pub(crate) since: u64,
}

impl From<PurgeStatus> for PurgeTold {
    fn from(PurgeStatus { room_id, phase, rows, since }: PurgeStatus) -> Self {
        Self { room_id, phase: phase.to_owned(), rows, since }
    }
}

/// An authority whose audit log is to be checked.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct AuditOrder {
    pub(crate) authority: OwnedServerName,
    #[serde(default)]
    pub(crate) noted: Option<Noted>,
}

/// Rows of an authority's audit log to be read, behind a position.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct AuditListOrder {
    pub(crate) authority: OwnedServerName,
    pub(crate) filter: audit::Filter,
    pub(crate) after: Position,
}

/// That nothing goes of an authority's audit log, and why; without a reason, that it may go again.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct HoldOrder {
    pub(crate) authority: OwnedServerName,
    pub(crate) reason: Option<String>,
}

impl HoldOrder {
    /// Does it; whether it was not so before.
    pub(crate) async fn carry_out(
        &self,
        store: &Store,
        by: &Actor,
        now: base::Timestamp,
    ) -> Result<bool, audit::Error> {
        match &self.reason {
            Some(reason) => audit::hold(store, &self.authority, reason, (by, &|_| {}), now).await,
            None => audit::release(store, &self.authority, (by, &|_| {}), now).await,
        }
    }
}

/// What is wanted of the organisation of an authority.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct OrganisationOrder {
    pub(crate) authority: OwnedServerName,
    pub(crate) order: personnel::Order,
}

/// What is wanted of the rules of an authority's rooms.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct RulesOrder {
    pub(crate) authority: OwnedServerName,
    pub(crate) order: rules::Order,
}

/// What is wanted of the directories of an authority.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct LdapOrder {
    pub(crate) authority: OwnedServerName,
    pub(crate) order: ldap::Order,
}

/// What is wanted of the cases of an authority.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct CasesOrder {
    pub(crate) authority: OwnedServerName,
    pub(crate) order: cases::Order,
    /// Of an account, where somebody shows that it is his.
    #[serde(default)]
    pub(crate) proof: Option<Proof>,
}

/// By what somebody shows which account is his.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Proof {
    pub(crate) user: String,
    pub(crate) password: String,
    /// Of a second factor, where the account has one.
    #[serde(default)]
    pub(crate) code: Option<String>,
}

impl Proof {
    /// Who wants something of cases: this account, or whoever has the machine where none is shown.
    ///
    /// # Errors
    /// As [`Accounts::prove`].
    pub(crate) async fn by(
        proof: Option<&Proof>,
        accounts: &Accounts,
        authority: &ServerName,
        operator: Actor,
    ) -> Result<By, account::Error> {
        let Some(Proof { user, password, code }) = proof else { return Ok(By::operator(operator)) };
        let user = accounts.prove(authority, (user, password), code.as_deref()).await?;
        Ok(By::user(&user, Actor::user(&user, false, None)))
    }
}

/// A directory to back up to.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct BackUpOrder {
    pub(crate) to: PathBuf,
}

impl AdminApi {
    #[expect(clippy::too_many_arguments, reason = "these are the parts it is made of")]
    pub(crate) fn new(
        desk: Arc<Desk>,
        store: Store,
        accounts: Accounts,
        sender: Sender,
        engine: Engine,
        authorities: Arc<Authorities>,
        tasks: Tasks,
        clock: Clock,
        token: String,
        back_up: Option<BackUp>,
        media: Media,
        search: Search,
        personnel: Personnel,
        rules: Rules,
        ldap: Ldap,
        duties: Duties,
        log_servers: Forwarder,
        retirer: Arc<audit::Retirer>,
        cases: Cases,
        classes: Classes,
    ) -> AdminApi {
        let started = clock.instant();
        AdminApi {
            desk,
            store,
            accounts,
            sender,
            engine,
            authorities,
            tasks,
            clock,
            started,
            token,
            back_up,
            media,
            search,
            personnel,
            rules,
            ldap,
            duties,
            log_servers,
            retirer,
            cases,
            classes,
        }
    }

    pub(crate) fn token(&self) -> &str {
        &self.token
    }

    pub(crate) fn routes(self: &Arc<Self>) -> Routes<AdminApi> {
        Routes::new(self.clone())
            .any_host()
            .raw(Method::GET, "/_yakuba/v1/status", status)
            .raw(Method::POST, "/_yakuba/v1/users", create_user)
            .raw(Method::POST, "/_yakuba/v1/users/password", set_password)
            .raw(Method::POST, "/_yakuba/v1/users/link", link_identity)
            .raw(Method::POST, "/_yakuba/v1/users/admin", set_administrator)
            .raw(Method::POST, "/_yakuba/v1/users/close", close_account)
            .raw(Method::POST, "/_yakuba/v1/users/reopen", reopen_account)
            .raw(Method::POST, "/_yakuba/v1/users/duty", set_duty)
            .raw(Method::POST, "/_yakuba/v1/users/part", set_part)
            .raw(Method::POST, "/_yakuba/v1/users/duties", list_duties)
            .raw(Method::POST, "/_yakuba/v1/users/factors/reset", reset_factors)
            .raw(Method::POST, LIST_USERS, list_users)
            .raw(Method::POST, EXPLAIN, explain)
            .raw(Method::POST, "/_yakuba/v1/rooms/purge", purge_room)
            .raw(Method::GET, "/_yakuba/v1/rooms/purges", list_purges)
            .raw(Method::POST, "/_yakuba/v1/media", change_media)
            .raw(Method::POST, "/_yakuba/v1/search/rebuild", rebuild_index)
            .raw(Method::POST, "/_yakuba/v1/backup", back_up)
            .raw(Method::POST, "/_yakuba/v1/verify", verify)
            .raw(Method::POST, "/_yakuba/v1/audit/list", list_audit)
            .raw(Method::POST, "/_yakuba/v1/audit/verify", verify_audit)
            .raw(Method::POST, AUDIT_STATUS, audit_status)
            .raw(Method::POST, AUDIT_KEPT, audit_kept)
            .raw(Method::POST, AUDIT_HOLD, hold_audit)
            .raw(Method::POST, RULES, change_rules)
            .raw(Method::POST, LDAP, follow_directory)
            .raw(Method::POST, CASES, see_to_cases)
            .body_limit(LARGEST_ORDER)
            .raw(Method::POST, ORGANISATION, change_organisation)
    }

    fn admit(&self, call: &RawCall<Open>) -> Result<(), ApiError> {
        self.desk.admit(call)?;
        let header = call.parts.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let shown = header.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
        // Compared in the same time whatever is wrong, so that nobody can feel his way forward.
        let differing =
            shown.bytes().zip(self.token.bytes()).fold(0, |all, (one, other)| all | (one ^ other));
        if shown.len() != self.token.len() || differing != 0 {
            return Err(ApiError::unauthorized("The administrator's token is needed"));
        }
        Ok(())
    }
}

/// Who asks, as the command says itself. Whoever has the token is believed.
fn operator<C>(call: &RawCall<C>) -> Actor {
    let name = call.parts.headers.get(OPERATOR).and_then(|value| value.to_str().ok());
    Actor::operator(name.unwrap_or("admin.token"))
}

async fn status(api: Arc<AdminApi>, call: RawCall<Open>) -> Result<Response, ApiError> {
    api.admit(&call)?;
    let peers: Vec<_> = api
        .sender
        .peers()
        .into_iter()
        .map(|peer| {
            json!({
                "server": peer.server,
                "queued": peer.queued,
                "owed_rooms": peer.owed_rooms,
                "failing_since": peer.failing_since,
            })
        })
        .collect();
    let read_only_because = match api.store.condition() {
        Condition::Writable => None,
        Condition::ReadOnly(reason) => Some(reason.to_string()),
    };
    let totals = api.engine.inbox_totals();
    let parked: Vec<_> = api
        .engine
        .parked(MOST_PARKED)
        .await?
        .into_iter()
        .map(|parked| {
            json!({
                "room_id": parked.room_id,
                "event_id": parked.event_id,
                "origin": parked.origin,
                "reason": parked.reason,
                "tries": parked.tries,
                "since": parked.since,
            })
        })
        .collect();
    let purges: Vec<PurgeTold> = api.engine.purges().await?.into_iter().map(PurgeTold::from).collect();
    let log = api.store.log_status().await?;
    let readers: Vec<_> = log
        .readers
        .into_iter()
        .map(|reader| {
            json!({
                "reader": reader.name,
                "position": reader.cursor.0,
                "passed_over": reader.is_passed_over,
            })
        })
        .collect();
    let search = api.search.progress().await?;
    let answer = json!({
        "version": crate::VERSION,
        "pid": std::process::id(),
        "uptime_s": api.clock.instant().since(api.started).as_secs(),
        "position": api.store.head().0,
        "read_only_because": read_only_because,
        "resident_bytes": crate::process::resident_bytes(),
        "log": { "trimmed_through": log.trimmed.0, "readers": readers },
        "peers": peers,
        "purges": purges,
        "search": { "build": search.build, "whole": search.done, "behind": search.behind },
        "received": { "waiting": totals.waiting, "parked": totals.parked, "parked_events": parked },
    });
    Ok(json_response(StatusCode::OK, &answer))
}

async fn create_user(api: Arc<AdminApi>, call: RawCall<Open>) -> Result<Response, ApiError> {
    api.admit(&call)?;
    let UserOrder { server_name, localpart, password, display_name, admin } = call.json()?;
    let new = NewUser { localpart, password: Some(password), display_name, admin };
    let user_id = api.accounts.create_user(&server_name, new, &operator(&call)).await?;
    Ok(json_response(StatusCode::OK, &json!({ "user_id": user_id })))
}

async fn set_password(api: Arc<AdminApi>, call: RawCall<Open>) -> Result<Response, ApiError> {
    api.admit(&call)?;
    let PasswordOrder { user_id, password } = call.json()?;
    api.accounts.set_password(&user_id, &password, &operator(&call)).await?;
    Ok(json_response(StatusCode::OK, &json!({})))
}

async fn link_identity(api: Arc<AdminApi>, call: RawCall<Open>) -> Result<Response, ApiError> {
    api.admit(&call)?;
    let LinkOrder { user_id, issuer, subject } = call.json()?;
    api.accounts.link_identity(&user_id, (issuer.as_str(), subject.as_str()), &operator(&call)).await?;
    Ok(json_response(StatusCode::OK, &json!({})))
}

async fn set_administrator(api: Arc<AdminApi>, call: RawCall<Open>) -> Result<Response, ApiError> {
    api.admit(&call)?;
    let AdminOrder { user_id, administers } = call.json()?;
    api.accounts.set_administrator(&user_id, administers, &operator(&call)).await?;
    Ok(json_response(StatusCode::OK, &json!({})))
}

async fn set_duty(api: Arc<AdminApi>, call: RawCall<Open>) -> Result<Response, ApiError> {
    api.admit(&call)?;
    let order: DutyOrder = call.json()?;
    order.carry_out(&api.accounts, &api.duties, &operator(&call)).await?;
    Ok(json_response(StatusCode::OK, &json!({})))
}

async fn set_part(api: Arc<AdminApi>, call: RawCall<Open>) -> Result<Response, ApiError> {
    api.admit(&call)?;
    let order: PartOrder = call.json()?;
    let told = order.carry_out(&api.accounts, (&api.duties, &api.personnel), &operator(&call)).await?;
    Ok(json_response(StatusCode::OK, &told))
}

async fn reset_factors(api: Arc<AdminApi>, call: RawCall<Open>) -> Result<Response, ApiError> {
    api.admit(&call)?;
    let RecoverOrder { user_id } = call.json()?;
    let code = api.accounts.reset_factors(&user_id, &operator(&call)).await?;
    Ok(json_response(StatusCode::OK, &json!({ "code": code })))
}

async fn list_duties(api: Arc<AdminApi>, call: RawCall<Open>) -> Result<Response, ApiError> {
    api.admit(&call)?;
    let DutiesOrder { authority } = call.json()?;
    Ok(json_response(StatusCode::OK, &DutiesTold::of(&api.duties, &api.personnel, &authority).await?))
}

async fn list_users(api: Arc<AdminApi>, call: RawCall<Open>) -> Result<Response, ApiError> {
    api.admit(&call)?;
    let order: UsersOrder = call.json()?;
    Ok(json_response(StatusCode::OK, &order.carry_out(&api.accounts, api.clock.now()).await?))
}

async fn explain(api: Arc<AdminApi>, call: RawCall<Open>) -> Result<Response, ApiError> {
    api.admit(&call)?;
    let order: ExplainOrder = call.json()?;
    Ok(json_response(StatusCode::OK, &order.carry_out(&api.accounts, &api.classes).await?))
}

async fn close_account(api: Arc<AdminApi>, call: RawCall<Open>) -> Result<Response, ApiError> {
    api.admit(&call)?;
    let CloseOrder { user_id } = call.json()?;
    api.accounts.close_account(&user_id, &operator(&call)).await?;
    Ok(json_response(StatusCode::OK, &json!({})))
}

async fn reopen_account(api: Arc<AdminApi>, call: RawCall<Open>) -> Result<Response, ApiError> {
    api.admit(&call)?;
    let PasswordOrder { user_id, password } = call.json()?;
    api.accounts.reopen_account(&user_id, Some(&password), &operator(&call)).await?;
    Ok(json_response(StatusCode::OK, &json!({})))
}

async fn purge_room(api: Arc<AdminApi>, call: RawCall<Open>) -> Result<Response, ApiError> {
    api.admit(&call)?;
    let PurgeOrder { room_id, force } = call.json()?;
    api.engine.purge(&room_id, force, &operator(&call)).await?;
    Ok(json_response(StatusCode::OK, &json!({})))
}

async fn list_purges(api: Arc<AdminApi>, call: RawCall<Open>) -> Result<Response, ApiError> {
    api.admit(&call)?;
    let purges: Vec<PurgeTold> = api.engine.purges().await?.into_iter().map(PurgeTold::from).collect();
    Ok(json_response(StatusCode::OK, &json!({ "purges": purges })))
}

async fn change_media(api: Arc<AdminApi>, call: RawCall<Open>) -> Result<Response, ApiError> {
    api.admit(&call)?;
    let order: MediaOrder = call.json()?;
    match order.carry_out(&api.media, &operator(&call)).await? {
        true => Ok(json_response(StatusCode::OK, &json!({}))),
        false => Err(ApiError::not_found("There is no such file here")),
    }
}

async fn rebuild_index(api: Arc<AdminApi>, call: RawCall<Open>) -> Result<Response, ApiError> {
    api.admit(&call)?;
    api.search.rebuild().await?;
    Ok(json_response(StatusCode::OK, &json!({})))
}

async fn back_up(api: Arc<AdminApi>, call: RawCall<Open>) -> Result<Response, ApiError> {
    api.admit(&call)?;
    let BackUpOrder { to } = call.json()?;
    let Some(back_up) = api.back_up.clone() else {
        return Err(ApiError::bad_request("This storage is backed up with its own tools"));
    };
    let made = api.tasks.spawn_blocking("backup", move || back_up(to)).await.map_err(ApiError::internal)?;
    let made = made.map_err(|error| ApiError::bad_request(format!("{error:#}")))?;
    let names = api.authorities.iter().map(|authority| authority.name());
    if let Err(error) = storage::note_backup(&api.store, names, &api.clock, &operator(&call), &made).await {
        tracing::warn!(%error, "a backup was made that the audit log does not tell of");
    }
    Ok(json_response(StatusCode::OK, &made))
}

async fn verify(api: Arc<AdminApi>, call: RawCall<Open>) -> Result<Response, ApiError> {
    api.admit(&call)?;
    let report = storage::verify(&api.store, Some(api.media.files())).await?;
    Ok(json_response(StatusCode::OK, &report))
}

async fn list_audit(api: Arc<AdminApi>, call: RawCall<Open>) -> Result<Response, ApiError> {
    api.admit(&call)?;
    let AuditListOrder { authority, filter, after } = call.json()?;
    let page = audit::list(&api.store, &authority, &filter, after).await?;
    Ok(json_response(StatusCode::OK, &page))
}

async fn verify_audit(api: Arc<AdminApi>, call: RawCall<Open>) -> Result<Response, ApiError> {
    api.admit(&call)?;
    let AuditOrder { authority, noted } = call.json()?;
    let keys = api.authorities.find(&authority).map(AsRef::as_ref);
    let findings = audit::verify(&api.store, &authority, keys, noted).await?;
    Ok(json_response(StatusCode::OK, &findings))
}

/// Tells how the log servers of an authority are.
async fn audit_status(api: Arc<AdminApi>, call: RawCall<Open>) -> Result<Response, ApiError> {
    api.admit(&call)?;
    let AuditOrder { authority, .. } = call.json()?;
    Ok(json_response(StatusCode::OK, &api.log_servers.status(&authority).await?))
}

/// Tells for how long the audit log of an authority is kept, and what of it is to go.
async fn audit_kept(api: Arc<AdminApi>, call: RawCall<Open>) -> Result<Response, ApiError> {
    api.admit(&call)?;
    let AuditOrder { authority, .. } = call.json()?;
    Ok(json_response(StatusCode::OK, &api.retirer.retention(&authority).await?))
}

/// Says that nothing goes of an audit log, or may go again.
async fn hold_audit(api: Arc<AdminApi>, call: RawCall<Open>) -> Result<Response, ApiError> {
    api.admit(&call)?;
    let order: HoldOrder = call.json()?;
    if api.authorities.find(&order.authority).is_none() {
        return Err(ApiError::not_found("There is no such authority"));
    }
    let done = order.carry_out(&api.store, &operator(&call), api.clock.now()).await;
    Ok(json_response(StatusCode::OK, &json!({ "changed": done? })))
}

/// Does what is wanted of an organisation. The body may be a whole file, so who asks is looked at before it is read.
async fn change_organisation(api: Arc<AdminApi>, call: RawCall<Operator>) -> Result<Response, ApiError> {
    api.desk.admit(&call)?;
    let OrganisationOrder { authority, order } = call.json()?;
    let answer = api.personnel.carry_out(&authority, order, &operator(&call)).await?;
    Ok(json_response(StatusCode::OK, &answer))
}

/// Does what is wanted of the rules of rooms.
async fn change_rules(api: Arc<AdminApi>, call: RawCall<Open>) -> Result<Response, ApiError> {
    api.admit(&call)?;
    let RulesOrder { authority, order } = call.json()?;
    let answer = api.rules.carry_out(&authority, order, &operator(&call)).await?;
    Ok(json_response(StatusCode::OK, &answer))
}

/// Does what is wanted of cases.
async fn see_to_cases(api: Arc<AdminApi>, call: RawCall<Open>) -> Result<Response, ApiError> {
    api.admit(&call)?;
    let CasesOrder { authority, order, proof } = call.json()?;
    let by = Proof::by(proof.as_ref(), &api.accounts, &authority, operator(&call)).await?;
    let answer = api.cases.carry_out(&authority, order, by).await?;
    Ok(json_response(StatusCode::OK, &answer))
}

/// Does what is wanted of a directory.
async fn follow_directory(api: Arc<AdminApi>, call: RawCall<Open>) -> Result<Response, ApiError> {
    api.admit(&call)?;
    let LdapOrder { authority, order } = call.json()?;
    let done = api.ldap.carry_out(&authority, order, &operator(&call)).await;
    let answer = done.map_err(of_directories)?;
    Ok(json_response(StatusCode::OK, &answer))
}

fn of_directories(error: ldap::Error) -> ApiError {
    let words = error.words().map(|words| (words.ja, words.en)).unwrap_or_default();
    let told = |status, errcode| {
        let (ja, en) = words;
        ApiError::new(status, errcode, format!("{ja} / {en}")).with("ja", ja).with("en", en)
    };
    match error {
        ldap::Error::NoSource => told(StatusCode::NOT_FOUND, "M_NOT_FOUND"),
        ldap::Error::WhichSource => told(StatusCode::BAD_REQUEST, "M_INVALID_PARAM"),
        ldap::Error::Account(cause) => cause.into(),
        ldap::Error::Store(cause) => cause.into(),
        ldap::Error::Commit(cause) => cause.into(),
        ldap::Error::Damaged | ldap::Error::Failed(_) => ApiError::internal(error),
    }
}
