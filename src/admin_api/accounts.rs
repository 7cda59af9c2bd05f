//! Users: lists of them, what is known of one, and what is done to their accounts.
//!
//! Format: <https://element-hq.github.io/synapse/latest/admin_api/user_admin_api.html>

use std::sync::Arc;

use account::{Account, AccountChange, AccountOrder, AccountQuery, Beginning, NewSecret, NewUser, Ways};
use audit::Action;
use base::Timestamp;
use room::read::event::name_of;
use ruma::{OwnedUserId, UserId, api::client::push::Pusher};
use serde::Deserialize;
use serde_json::{Map, Value, json, value::RawValue};
use store::Position;
use web::{ApiError, RawCall, Response, StatusCode, json_response};

use crate::{
    AdminApi, Administrator,
    list::{Dir, Part},
    own::{user_in, word_in},
    tokens::there,
};

/// Longest text that is looked for.
const LONGEST_SEARCH: usize = 255;

/// An account as lists have it; and whether its user's words are redacted for who comes later.
fn listed(account: &Account, erased: bool) -> Value {
    json!({
        "name": account.user_id,
        "displayname": account.profile.displayname,
        "avatar_url": account.profile.avatar_url,
        "is_guest": account.guest,
        "admin": account.admin,
        "deactivated": account.deactivated,
        "locked": account.moderation.locked,
        "suspended": account.moderation.suspended,
        "erased": erased,
        "shadow_banned": false,
        "user_type": null,
        "creation_ts": account.created.millis(),
        "last_seen_ts": account.seen.map(Timestamp::millis),
    })
}

impl AdminApi {
    /// An account as it is told alone.
    async fn told_account(&self, account: &Account) -> Result<Value, ApiError> {
        let user = &account.user_id;
        let emails = self.accounts.emails(user).await?;
        let threepids: Vec<Value> = emails
            .iter()
            .map(|email| {
                json!({
                    "medium": "email",
                    "address": email.email,
                    "added_at": email.added.millis(),
                    "validated_at": email.validated.millis(),
                })
            })
            .collect();
        let identities = self.accounts.identities_of(user).await?;
        let identities: Vec<Value> = identities
            .iter()
            .map(|(issuer, subject)| json!({ "auth_provider": issuer, "external_id": subject }))
            .collect();
        let service = self.accounts.services().find(|service| service.keeps_user(user));
        let more = json!({
            // In seconds, as that API has it of one account, and of lists not.
            "creation_ts": account.created.millis() / 1_000,
            "threepids": threepids,
            "external_ids": identities,
            "appservice_id": service.map(|service| service.id()),
            "consent_server_notice_sent": null,
            "consent_version": null,
            "consent_ts": null,
        });
        let erased = self.rooms.are_erased(&[user]).await? == [true];
        let mut told = listed(account, erased);
        if let (Value::Object(told), Value::Object(more)) = (&mut told, more) {
            told.extend(more);
        }
        Ok(told)
    }
}

#[derive(Deserialize)]
struct ListQuery {
    from: Option<usize>,
    limit: Option<usize>,
    user_id: Option<String>,
    name: Option<String>,
    guests: Option<bool>,
    admins: Option<bool>,
    deactivated: Option<bool>,
    locked: Option<bool>,
    order_by: Option<By>,
    #[serde(default)]
    dir: Dir,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum By {
    Name,
    IsGuest,
    Admin,
    Deactivated,
    Locked,
    #[serde(rename = "displayname")]
    DisplayName,
    AvatarUrl,
    CreationTs,
    LastSeenTs,
    /// Nobody has one, so these are all alike.
    UserType,
    ShadowBanned,
}

impl By {
    fn order(self) -> AccountOrder {
        match self {
            Self::Name | Self::UserType | Self::ShadowBanned => AccountOrder::Name,
            Self::IsGuest => AccountOrder::Guest,
            Self::Admin => AccountOrder::Admin,
            Self::Deactivated => AccountOrder::Deactivated,
            Self::Locked => AccountOrder::Locked,
            Self::DisplayName => AccountOrder::DisplayName,
            Self::AvatarUrl => AccountOrder::Avatar,
            Self::CreationTs => AccountOrder::Created,
            Self::LastSeenTs => AccountOrder::Seen,
        }
    }
}

/// `GET /_synapse/admin/v2/users`: users of the authority; closed accounts where that is asked for.
pub(crate) async fn list(api: Arc<AdminApi>, call: RawCall<Administrator>) -> Result<Response, ApiError> {
    let query: ListQuery = call.query()?;
    let deactivated = if query.deactivated == Some(true) { None } else { Some(false) };
    answer_list(&api, &call, query, deactivated).await
}

/// `GET /_synapse/admin/v3/users`: the same; `deactivated` says which of both.
pub(crate) async fn list_v3(api: Arc<AdminApi>, call: RawCall<Administrator>) -> Result<Response, ApiError> {
    let query: ListQuery = call.query()?;
    let deactivated = query.deactivated;
    answer_list(&api, &call, query, deactivated).await
}

async fn answer_list(
    api: &AdminApi,
    call: &RawCall<Administrator>,
    query: ListQuery,
    deactivated: Option<bool>,
) -> Result<Response, ApiError> {
    let part = Part::of(query.from, query.limit);
    let searched = [&query.name, &query.user_id].into_iter().flatten();
    if searched.into_iter().any(|text| text.len() > LONGEST_SEARCH) {
        return Err(ApiError::invalid_param("This is too long to be looked for"));
    }
    let wanted = AccountQuery {
        from: part.from,
        limit: part.limit,
        order: query.order_by.map_or(AccountOrder::Name, By::order),
        backward: query.dir.is_backward(),
        name: query.name.filter(|name| !name.is_empty()),
        user_id: query.user_id.filter(|part| !part.is_empty()),
        guests: if query.guests == Some(false) { Some(false) } else { None },
        admins: query.admins,
        deactivated,
        suspended: None,
        locked: if query.locked == Some(true) { None } else { Some(false) },
        unseen_since: None,
    };
    let page = {
        let _turn = api.turn(call.caller.authority()).await?;
        api.accounts.list_accounts(call.caller.authority(), &wanted).await?
    };
    let ids: Vec<&UserId> = page.accounts.iter().map(|account| &*account.user_id).collect();
    let erased = api.rooms.are_erased(&ids).await?;
    let users: Vec<Value> =
        page.accounts.iter().zip(erased).map(|(account, erased)| listed(account, erased)).collect();
    let next = part.next(users.len(), page.total);
    let mut answer = json!({ "users": users, "total": page.total });
    if let Some(next) = next {
        answer["next_token"] = json!(next.to_string());
    }
    Ok(json_response(StatusCode::OK, &answer))
}

/// `GET /_synapse/admin/v2/users/{user}`
pub(crate) async fn get(api: Arc<AdminApi>, call: RawCall<Administrator>) -> Result<Response, ApiError> {
    let user = user_in(&call, 0)?;
    let account = api.account(&user).await?;
    Ok(json_response(StatusCode::OK, &api.told_account(&account).await?))
}

#[derive(Deserialize)]
struct ThreePid {
    medium: String,
    address: String,
}

#[derive(Deserialize)]
struct ExternalId {
    auth_provider: String,
    external_id: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Wish {
    password: Option<String>,
    logout_devices: Option<bool>,
    #[serde(deserialize_with = "there")]
    displayname: Option<Option<String>>,
    #[serde(deserialize_with = "there")]
    avatar_url: Option<Option<String>>,
    threepids: Option<Vec<ThreePid>>,
    external_ids: Option<Vec<ExternalId>>,
    admin: Option<bool>,
    deactivated: Option<bool>,
    locked: Option<bool>,
    suspended: Option<bool>,
    user_type: Option<String>,
}

/// `PUT /_synapse/admin/v2/users/{user}`: makes an account, or changes one.
///
/// All of it is done in one commit, or nothing.
pub(crate) async fn put(api: Arc<AdminApi>, call: RawCall<Administrator>) -> Result<Response, ApiError> {
    let user = user_in(&call, 0)?;
    let wish: Wish = call.json()?;
    let by = call.caller.actor(call.address);
    let known = api.accounts.find_account(&user).await?;
    check_wish(&call.caller, &user, known.as_ref(), &wish)?;
    let closes = wish.deactivated == Some(true);
    let ways = Ways {
        emails: wish.threepids.map(|all| all.into_iter().map(|it| it.address).collect()),
        identities: wish
            .external_ids
            .map(|all| all.into_iter().map(|it| (it.auth_provider, it.external_id)).collect()),
    };
    let status = match &known {
        None => {
            let new = NewUser {
                localpart: user.localpart().to_owned(),
                password: wish.password,
                display_name: wish.displayname.flatten().filter(|name| !name.is_empty()),
                admin: wish.admin == Some(true),
            };
            let beginning = Beginning {
                avatar_url: wish.avatar_url.flatten().filter(|url| !url.is_empty()),
                locked: wish.locked == Some(true),
                suspended: wish.suspended == Some(true),
                closed: closes,
                ways,
            };
            api.accounts.create_account(call.caller.authority(), new, beginning, &by).await?;
            StatusCode::CREATED
        }
        Some(known) if known.deactivated && wish.deactivated == Some(false) => {
            api.accounts.reopen_account(&user, wish.password.as_deref(), &by).await?;
            StatusCode::OK
        }
        // There is nothing left of it that could be changed.
        Some(known) if known.deactivated => StatusCode::OK,
        // All else would go with it.
        Some(_) if closes => {
            api.accounts.close_account(&user, &by).await?;
            StatusCode::OK
        }
        Some(_) => {
            let keeps_devices = wish.logout_devices == Some(false);
            let change = AccountChange {
                password: wish.password.map(|text| NewSecret { text, keeps_devices }),
                display_name: wish.displayname,
                avatar_url: wish.avatar_url,
                admin: wish.admin,
                locked: wish.locked,
                suspended: wish.suspended,
                ways,
            };
            api.accounts.change_account(&user, &change, &by).await?;
            StatusCode::OK
        }
    };
    let account = api.account(&user).await?;
    Ok(json_response(status, &api.told_account(&account).await?))
}

/// Refuses what cannot be done to an account.
fn check_wish(
    caller: &Administrator,
    user: &UserId,
    known: Option<&Account>,
    wish: &Wish,
) -> Result<(), ApiError> {
    let refuse = |why: &'static str| Err(ApiError::invalid_param(why));
    if wish.user_type.is_some() {
        return refuse("There are no types of users here");
    }
    if wish.admin == Some(false) && user == caller.user_id() {
        return Err(ApiError::bad_request("You may not demote yourself."));
    }
    if wish.deactivated == Some(true) {
        must_not_be_himself(caller, user)?;
    }
    if let Some(Some(url)) = &wish.avatar_url
        && !url.is_empty()
        && !ruma::OwnedMxcUri::from(url.as_str()).is_valid()
    {
        return refuse("avatar_url must be an mxc URI");
    }
    if known.is_none() && user.localpart().bytes().any(|byte| byte.is_ascii_uppercase()) {
        let why = "User names of new accounts have no capitals";
        return Err(ApiError::new(StatusCode::BAD_REQUEST, "M_INVALID_USERNAME", why));
    }
    let is_closed = known.is_some_and(|known| known.deactivated);
    if is_closed && wish.deactivated == Some(false) {
        let others = wish.displayname.is_some() || wish.avatar_url.is_some() || wish.admin == Some(true);
        if others || wish.locked == Some(true) || wish.suspended == Some(true) {
            return refuse(
                "A closed account is opened with a password alone; the rest is changed afterwards",
            );
        }
        return Ok(());
    }
    if is_closed && (wish.password.is_some() || wish.admin == Some(true) || wish.locked == Some(true)) {
        return refuse("The account is closed for good");
    }
    // Whoever administers is not locked: to be both is no wish that can be met.
    let administers = wish.admin.unwrap_or(known.is_some_and(|known| known.admin));
    if administers && (wish.locked == Some(true) || wish.suspended == Some(true)) {
        return refuse("Administrators are not locked or suspended");
    }
    let stays = |is: bool, wished: Option<bool>| wished.unwrap_or(is);
    let is_kept_out = known.is_some_and(|known| {
        let moderation = known.moderation;
        stays(moderation.locked, wish.locked) || stays(moderation.suspended, wish.suspended) || known.guest
    });
    if wish.admin == Some(true) && is_kept_out {
        return refuse("Guests, and who is locked or suspended, do not administer");
    }
    if wish.threepids.iter().flatten().any(|wished| wished.medium != "email") {
        return refuse("Of addresses there are those of e-mail");
    }
    Ok(())
}

/// Whoever closes his own account shows his password, on the client interface; and here one stays who administers.
fn must_not_be_himself(caller: &Administrator, user: &UserId) -> Result<(), ApiError> {
    match user == caller.user_id() {
        true => Err(ApiError::bad_request("You may not deactivate your own account here.")),
        false => Ok(()),
    }
}

impl AdminApi {
    /// Notes that an administrator reads what is another user's alone.
    pub(crate) async fn note_reading_of(
        &self,
        call: &RawCall<Administrator>,
        user: &UserId,
    ) -> Result<(), ApiError> {
        match user == call.caller.user_id() {
            true => Ok(()),
            false => self.note(call, Action::ReadAccount, user.as_str()).await,
        }
    }
}

/// `POST /_synapse/admin/v1/deactivate/{user}`: closes an account for good.
pub(crate) async fn deactivate(
    api: Arc<AdminApi>,
    call: RawCall<Administrator>,
) -> Result<Response, ApiError> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Body {
        erase: bool,
    }
    let user = user_in(&call, 0)?;
    let Body { erase } = if call.body.is_empty() { Body::default() } else { call.json()? };
    must_not_be_himself(&call.caller, &user)?;
    let account = api.account(&user).await?;
    let by = call.caller.actor(call.address);
    match (erase, account.deactivated) {
        (true, _) => api.accounts.erase_account(&user, &by).await?,
        (false, false) => api.accounts.close_account(&user, &by).await?,
        (false, true) => {}
    }
    Ok(json_response(StatusCode::OK, &json!({ "id_server_unbind_result": "success" })))
}

/// `POST /_synapse/admin/v1/reset_password/{user}`
pub(crate) async fn reset_password(
    api: Arc<AdminApi>,
    call: RawCall<Administrator>,
) -> Result<Response, ApiError> {
    #[derive(Deserialize)]
    struct Body {
        new_password: String,
        logout_devices: Option<bool>,
    }
    let user = user_in(&call, 0)?;
    let Body { new_password, logout_devices } = call.json()?;
    api.account(&user).await?;
    let by = call.caller.actor(call.address);
    let keeps_devices = logout_devices == Some(false);
    let password = Some(NewSecret { text: new_password, keeps_devices });
    api.accounts.change_account(&user, &AccountChange { password, ..AccountChange::default() }, &by).await?;
    Ok(json_response(StatusCode::OK, &json!({})))
}

/// `PUT /_synapse/admin/v1/suspend/{user}`
pub(crate) async fn suspend(api: Arc<AdminApi>, call: RawCall<Administrator>) -> Result<Response, ApiError> {
    #[derive(Deserialize)]
    struct Body {
        suspend: bool,
    }
    let user = user_in(&call, 0)?;
    let Body { suspend } = call.json()?;
    api.accounts.set_suspended(&user, suspend, &call.caller.actor(call.address)).await?;
    Ok(json_response(StatusCode::OK, &json!({ (format!("user_{user}_suspended")): suspend })))
}

/// `GET /_synapse/admin/v1/users/{user}/admin`
pub(crate) async fn is_admin(api: Arc<AdminApi>, call: RawCall<Administrator>) -> Result<Response, ApiError> {
    let user = user_in(&call, 0)?;
    let account = api.account(&user).await?;
    Ok(json_response(StatusCode::OK, &json!({ "admin": account.admin })))
}

/// `PUT /_synapse/admin/v1/users/{user}/admin`: has somebody administer the authority, or no more. Nobody takes it from
/// himself, so that one stays.
pub(crate) async fn set_admin(
    api: Arc<AdminApi>,
    call: RawCall<Administrator>,
) -> Result<Response, ApiError> {
    #[derive(Deserialize)]
    struct Body {
        admin: bool,
    }
    let user = user_in(&call, 0)?;
    let Body { admin } = call.json()?;
    if !admin && user == *call.caller.user_id() {
        return Err(ApiError::bad_request("You may not demote yourself."));
    }
    api.accounts.set_administrator(&user, admin, &call.caller.actor(call.address)).await?;
    Ok(json_response(StatusCode::OK, &json!({})))
}

/// `GET /_synapse/admin/v1/whois/{user}`: from where somebody was seen, of all his devices together.
pub(crate) async fn whois(api: Arc<AdminApi>, call: RawCall<Administrator>) -> Result<Response, ApiError> {
    let user = user_in(&call, 0)?;
    api.account(&user).await?;
    api.note_reading_of(&call, &user).await?;
    let devices = api.accounts.devices(&user).await?;
    let connections: Vec<Value> = devices
        .iter()
        .filter_map(|device| Some((device.last_seen?, device.last_seen_ip.as_deref())))
        .map(|(seen, ip)| json!({ "ip": ip, "last_seen": seen.millis(), "user_agent": null }))
        .collect();
    let sessions = json!({ "": { "sessions": [{ "connections": connections }] } });
    Ok(json_response(StatusCode::OK, &json!({ "user_id": user, "devices": sessions })))
}

/// `GET /_synapse/admin/v1/users/{user}/joined_rooms`
pub(crate) async fn joined_rooms(
    api: Arc<AdminApi>,
    call: RawCall<Administrator>,
) -> Result<Response, ApiError> {
    let user = user_in(&call, 0)?;
    api.account(&user).await?;
    let rooms = api.rooms.joined_rooms(&user).await?;
    let total = rooms.len();
    Ok(json_response(StatusCode::OK, &json!({ "joined_rooms": rooms, "total": total })))
}

/// `GET /_synapse/admin/v1/users/{user}/memberships`
pub(crate) async fn memberships(
    api: Arc<AdminApi>,
    call: RawCall<Administrator>,
) -> Result<Response, ApiError> {
    let user = user_in(&call, 0)?;
    api.account(&user).await?;
    let rooms = api.rooms.memberships(&user).await?;
    let memberships: Map<String, Value> =
        rooms.rooms.iter().map(|room| (room.room_id.to_string(), name_of(room.membership).into())).collect();
    Ok(json_response(StatusCode::OK, &json!({ "memberships": memberships })))
}

/// `GET /_synapse/admin/v1/users/{user}/accountdata`: what a user's clients keep here; as much as a user may.
pub(crate) async fn account_data(
    api: Arc<AdminApi>,
    call: RawCall<Administrator>,
) -> Result<Response, ApiError> {
    let user = user_in(&call, 0)?;
    api.account(&user).await?;
    api.note_reading_of(&call, &user).await?;
    let (mut global, mut rooms) = (Map::new(), Map::new());
    for piece in api.accounts.account_data_since(&user, Position::START).await? {
        let Ok(content) = serde_json::from_slice::<Value>(&piece.content) else { continue };
        match piece.room_id {
            None => {
                global.insert(piece.kind, content);
            }
            Some(room_id) => {
                let of_room = rooms.entry(room_id.to_string()).or_insert_with(|| json!({}));
                of_room[piece.kind] = content;
            }
        }
    }
    let answer = json!({ "account_data": { "global": global, "rooms": rooms } });
    Ok(json_response(StatusCode::OK, &answer))
}

/// `GET /_synapse/admin/v1/users/{user}/pushers`
pub(crate) async fn pushers(api: Arc<AdminApi>, call: RawCall<Administrator>) -> Result<Response, ApiError> {
    let user = user_in(&call, 0)?;
    api.account(&user).await?;
    api.note_reading_of(&call, &user).await?;
    let pushers: Vec<Pusher> = api.push.pushers(&user).await?;
    let pushers: Vec<Box<RawValue>> =
        pushers.iter().filter_map(|pusher| serde_json::value::to_raw_value(pusher).ok()).collect();
    let total = pushers.len();
    Ok(json_response(StatusCode::OK, &json!({ "pushers": pushers, "total": total })))
}

/// `GET /_synapse/admin/v1/username_available`
pub(crate) async fn is_available(
    api: Arc<AdminApi>,
    call: RawCall<Administrator>,
) -> Result<Response, ApiError> {
    #[derive(Deserialize)]
    struct Query {
        username: String,
    }
    let Query { username } = call.query()?;
    let _free: OwnedUserId = api.accounts.check_available(call.caller.authority(), &username).await?;
    Ok(json_response(StatusCode::OK, &json!({ "available": true })))
}

/// `GET /_synapse/admin/v1/threepid/{medium}/users/{address}`: whose an address is.
pub(crate) async fn by_address(
    api: Arc<AdminApi>,
    call: RawCall<Administrator>,
) -> Result<Response, ApiError> {
    let (medium, address) = (word_in(&call, 0)?, word_in(&call, 1)?);
    let owner = match medium.as_str() {
        "email" => api.accounts.find_owner_of_typed(call.caller.authority(), &address).await?,
        _ => None,
    };
    let user = owner.ok_or_else(|| ApiError::not_found("User not found"))?;
    Ok(json_response(StatusCode::OK, &json!({ "user_id": user })))
}

/// `GET /_synapse/admin/v1/auth_providers/{provider}/users/{external_id}`: whose an identity is.
pub(crate) async fn by_identity(
    api: Arc<AdminApi>,
    call: RawCall<Administrator>,
) -> Result<Response, ApiError> {
    let (issuer, subject) = (word_in(&call, 0)?, word_in(&call, 1)?);
    let owner = api.accounts.find_identity(call.caller.authority(), &issuer, &subject).await?;
    let user = owner.ok_or_else(|| ApiError::not_found("User not found"))?;
    Ok(json_response(StatusCode::OK, &json!({ "user_id": user })))
}
