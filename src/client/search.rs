//! Searching what was said.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use room::read::{
    filter::EventFilter,
    messages::Surroundings,
    open::appearance,
    view::{Look, Viewer},
};
use ruma::{
    OwnedEventId, OwnedRoomId, OwnedUserId, UserId,
    api::client::filter::RoomEventFilter,
    events::{AnyStateEvent, AnyTimelineEvent},
    serde::Raw,
};
use search::{Asked, Field, Found, Group, Hit, Order, Place, Query};
use serde::{Deserialize, Serialize};
use web::{ApiError, RawCall, Response, StatusCode, User, json_response};

use crate::{ClientApi, state::raw_events};

/// Results of a page when the client does not say.
const LIMIT: usize = 10;

/// Events on each side of a result when the client does not say, and at most.
const CONTEXT: usize = 5;
const MOST_CONTEXT: usize = 20;

/// Bytes of what was said around results: with so many no further result has any around it.
const MOST_CONTEXT_BYTES: usize = 4 << 20;

/// Rooms that are named in one request, and senders.
const MOST_NAMED: usize = 2_000;

#[derive(Deserialize)]
struct Body {
    search_categories: Categories,
}

#[derive(Deserialize)]
struct Categories {
    room_events: Option<Criteria>,
}

#[derive(Deserialize)]
struct Criteria {
    search_term: String,
    keys: Option<Vec<String>>,
    #[serde(default)]
    filter: RoomEventFilter,
    order_by: Option<String>,
    event_context: Option<EventContext>,
    #[serde(default)]
    include_state: bool,
    #[serde(default)]
    groupings: Groupings,
}

#[derive(Deserialize)]
struct EventContext {
    before_limit: Option<usize>,
    after_limit: Option<usize>,
    #[serde(default)]
    include_profile: bool,
}

#[derive(Default, Deserialize)]
struct Groupings {
    #[serde(default)]
    group_by: Vec<Grouping>,
}

#[derive(Deserialize)]
struct Grouping {
    key: Option<String>,
}

#[derive(Deserialize)]
struct PageQuery {
    next_batch: Option<String>,
}

#[derive(Serialize)]
struct Answer {
    search_categories: ResultCategories,
}

#[derive(Serialize)]
struct ResultCategories {
    #[serde(skip_serializing_if = "Option::is_none")]
    room_events: Option<Results>,
}

/// Clients read the lists of an answer without asking whether they are there, so empty ones are.
#[derive(Serialize)]
struct Results {
    count: u64,
    results: Vec<ShownHit>,
    highlights: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_batch: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    groups: BTreeMap<&'static str, BTreeMap<String, ShownGroup>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<BTreeMap<OwnedRoomId, Vec<Raw<AnyStateEvent>>>>,
}

#[derive(Serialize)]
struct ShownHit {
    rank: f64,
    result: Raw<AnyTimelineEvent>,
    #[serde(skip_serializing_if = "Option::is_none")]
    context: Option<ShownContext>,
}

#[derive(Serialize)]
struct ShownContext {
    start: String,
    end: String,
    events_before: Vec<Raw<AnyTimelineEvent>>,
    events_after: Vec<Raw<AnyTimelineEvent>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    profile_info: Option<BTreeMap<OwnedUserId, ShownProfile>>,
}

impl ShownContext {
    fn bytes(&self) -> usize {
        let events = self.events_before.iter().chain(&self.events_after);
        events.map(|event| event.json().get().len()).sum()
    }
}

#[derive(Serialize)]
struct ShownProfile {
    displayname: Option<String>,
    avatar_url: Option<String>,
}

#[derive(Serialize)]
struct ShownGroup {
    order: usize,
    results: Vec<OwnedEventId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_batch: Option<String>,
}

/// `POST /_matrix/client/v3/search`: what was said in the caller's rooms.
///
/// The state of rooms is given without members, but for those who sent what is shown.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3search>
pub(crate) async fn search(api: Arc<ClientApi>, call: RawCall<User>) -> Result<Response, ApiError> {
    let PageQuery { next_batch } = call.query()?;
    let body: Body = call.json()?;
    let Some(criteria) = body.search_categories.room_events else {
        let nothing = Answer { search_categories: ResultCategories { room_events: None } };
        return Ok(json_response(StatusCode::OK, &nothing));
    };
    let from = next_batch.filter(|text| !text.is_empty()).map(|text| text.parse::<Place>()).transpose()?;
    let eyes = api.eyes(&call.caller).await?;
    let viewer = eyes.viewer();
    let found = find(&api, &viewer, &criteria, from.as_ref()).await?;
    let results = show(&api, &viewer, &criteria, found).await?;
    let answer = Answer { search_categories: ResultCategories { room_events: Some(results) } };
    Ok(json_response(StatusCode::OK, &answer))
}

async fn find(
    api: &ClientApi,
    viewer: &Viewer<'_>,
    criteria: &Criteria,
    from: Option<&Place>,
) -> Result<Found, ApiError> {
    let order = match criteria.order_by.as_deref() {
        None | Some("rank") => Order::Rank,
        Some("recent") => Order::Recent,
        Some(_) => return Err(ApiError::invalid_param("`order_by` is `rank` or `recent`")),
    };
    let named =
        [criteria.filter.rooms.as_ref().map(Vec::len), criteria.filter.senders.as_ref().map(Vec::len)];
    if named.into_iter().flatten().any(|count| count > MOST_NAMED) {
        return Err(ApiError::invalid_param("The filter names too many rooms or users"));
    }
    let filter = EventFilter::new(&criteria.filter);
    let fields = fields(criteria.keys.as_deref());
    let asked = Asked {
        viewer,
        query: &Query::new(&criteria.search_term),
        fields: &fields,
        limit: filter.limit.unwrap_or(LIMIT),
        filter: &filter,
        rooms: criteria.filter.rooms.as_deref(),
        not_rooms: &criteria.filter.not_rooms,
        senders: criteria.filter.senders.as_deref(),
        order,
        from,
    };
    Ok(api.search.find(&asked).await?)
}

/// Where is looked; everywhere, if it is not said. Keys that the specification does not know find nothing.
fn fields(keys: Option<&[String]>) -> Vec<Field> {
    let all = [("content.body", Field::Body), ("content.name", Field::Name), ("content.topic", Field::Topic)];
    let is_wanted = |key: &str| keys.is_none_or(|keys| keys.iter().any(|wanted| wanted == key));
    all.into_iter().filter(|(key, _)| is_wanted(key)).map(|(_, field)| field).collect()
}

async fn show(
    api: &ClientApi,
    viewer: &Viewer<'_>,
    criteria: &Criteria,
    found: Found,
) -> Result<Results, ApiError> {
    let now = api.clock.now();
    let mut shown = Vec::with_capacity(found.hits.len());
    let mut senders: BTreeMap<OwnedRoomId, HashSet<OwnedUserId>> = BTreeMap::new();
    let mut left = MOST_CONTEXT_BYTES;
    for Hit { look, score } in &found.hits {
        let mut said_by = HashSet::from([look.event.sender().to_owned()]);
        let context = match &criteria.event_context {
            // What does not fit is left out; whoever wants it asks for the context of that event.
            Some(wanted) if left > 0 => {
                let around = context(api, viewer, wanted, look, &mut said_by).await?;
                left = left.saturating_sub(around.bytes());
                Some(around)
            }
            _ => None,
        };
        senders.entry(look.event.room_id().to_owned()).or_default().extend(said_by);
        shown.push(ShownHit { rank: *score, result: look.to_raw(now), context });
    }
    let state = match criteria.include_state {
        true => Some(state(api, viewer, &senders).await?),
        false => None,
    };
    Ok(Results {
        count: found.count,
        groups: groups(&criteria.groupings, &found),
        next_batch: found.next.map(|next| next.to_string()),
        highlights: found.highlights,
        results: shown,
        state,
    })
}

/// What was said around a result; notes who said it.
async fn context(
    api: &ClientApi,
    viewer: &Viewer<'_>,
    wanted: &EventContext,
    look: &Look,
    said_by: &mut HashSet<OwnedUserId>,
) -> Result<ShownContext, ApiError> {
    let limit = |limit: Option<usize>| limit.unwrap_or(CONTEXT).min(MOST_CONTEXT);
    let (before, after) = (limit(wanted.before_limit), limit(wanted.after_limit));
    let around = api.rooms.surroundings(viewer, &look.event, before, after).await?;
    let Surroundings { start, end, before, after } = around;
    said_by.extend(before.iter().chain(&after).map(|look| look.event.sender().to_owned()));
    let profile_info = match wanted.include_profile {
        true => Some(profiles(api, look, said_by).await?),
        false => None,
    };
    Ok(ShownContext {
        start: start.to_string(),
        end: end.to_string(),
        events_before: raw_events(api, &before),
        events_after: raw_events(api, &after),
        profile_info,
    })
}

/// How users were called in the room at a result.
async fn profiles(
    api: &ClientApi,
    look: &Look,
    users: &HashSet<OwnedUserId>,
) -> Result<BTreeMap<OwnedUserId, ShownProfile>, ApiError> {
    let users: Vec<&UserId> = users.iter().map(|user| &**user).collect();
    let (room, root) = (look.event.room(), look.event.meta().before);
    let places: Vec<_> = users.iter().map(|user| (room, root, *user)).collect();
    let members = api.rooms.members_at(&places).await?;
    let profile = users.iter().zip(members).filter_map(|(user, member)| {
        let appearance = appearance(member?.pdu().content_str());
        let avatar_url = appearance.avatar_url.map(|url| url.to_string());
        Some(((*user).to_owned(), ShownProfile { displayname: appearance.displayname, avatar_url }))
    });
    Ok(profile.collect())
}

/// The state of the rooms of the results, without members but for those who sent what is shown.
async fn state(
    api: &ClientApi,
    viewer: &Viewer<'_>,
    senders: &BTreeMap<OwnedRoomId, HashSet<OwnedUserId>>,
) -> Result<BTreeMap<OwnedRoomId, Vec<Raw<AnyStateEvent>>>, ApiError> {
    let (mut rooms, mut places) = (Vec::with_capacity(senders.len()), Vec::with_capacity(senders.len()));
    for (room_id, users) in senders {
        let room = api.rooms.get_room(room_id).await?;
        let standpoint = api.rooms.standpoint(viewer.user, &room).await?;
        rooms.push((room_id, users));
        places.push((room.serial, standpoint.root));
    }
    let states = api.rooms.full_states(&places, false).await?;
    let mut shown = BTreeMap::new();
    for (((room_id, users), (room, root)), mut events) in rooms.into_iter().zip(places).zip(states) {
        let users: Vec<&str> = users.iter().map(|user| user.as_str()).collect();
        events.extend(api.rooms.members_in(room, root, &users).await?);
        let looks = api.rooms.looks(viewer, events, &[]).await?;
        shown.insert(room_id.clone(), raw_events(api, &looks));
    }
    Ok(shown)
}

/// The results by room or sender, as far as that is asked.
fn groups(wanted: &Groupings, found: &Found) -> BTreeMap<&'static str, BTreeMap<String, ShownGroup>> {
    let mut groups = BTreeMap::new();
    for grouping in &wanted.group_by {
        let key = match grouping.key.as_deref() {
            Some("room_id") => "room_id",
            Some("sender") => "sender",
            _ => continue,
        };
        let mut of_key: BTreeMap<String, ShownGroup> = BTreeMap::new();
        for Hit { look, .. } in &found.hits {
            let event = &look.event;
            let (name, group) = match key {
                "room_id" => (event.room_id().to_string(), Group::Room(event.room_id().to_owned())),
                _ => (event.sender().to_string(), Group::Sender(event.sender().to_owned())),
            };
            let order = of_key.len();
            let next_batch = || found.next.as_ref().map(|next| next.in_group(group).to_string());
            let shown = of_key.entry(name).or_insert_with(|| ShownGroup {
                order,
                results: Vec::new(),
                next_batch: next_batch(),
            });
            shown.results.push(event.event_id().to_owned());
        }
        groups.insert(key, of_key);
    }
    groups
}
