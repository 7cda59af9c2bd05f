//! The tables of rooms, and their rows; those that only the engine uses stand with it.
//!
//! Ids: 20–49 what the engine writes, 50–59 snapshots, 60–99 tables that only the read side and the simple
//! things beside the event graph (receipts, aliases, directory) use. Keys begin with the room's
//! serial wherever they can, so that purging a room is a set of prefix deletes.

use bytes::Bytes;
use ruma::{OwnedEventId, OwnedRoomId, OwnedUserId};
use serde::{Deserialize, Serialize};
use store::{Counter, Position, Stamped, Table, Tuning};

use self::older::{EventMetaV1, EventMetaV2, GapV1, GapV2, GapV3, HeadV1, HeadV2, HeadV3, HeadV4};
use crate::ids::{EventSerial, Order, RoomSerial, Root, StateKeySerial};

mod older;

// ---- rooms -------------------------------------------------------------------------------------

/// Every room we have heard of; key: room id. A room we take or took part in has a [`HEADS`] row too.
pub static ROOMS: Table<String, RoomRow> = Table::new(20, "room.rooms", Tuning::Point);

/// The one mutable row of a room; every event's batch replaces it, which is its precondition.
pub static HEADS: Table<RoomSerial, Head> = Table::new(21, "room.heads", Tuning::Point);

/// A room's serial back to its id.
pub static ROOM_IDS: Table<RoomSerial, RoomIdRow> = Table::new(22, "room.room_ids", Tuning::Small);

/// Row of [`ROOMS`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoomRow {
    /// Its name in all other tables.
    pub serial: RoomSerial,
    /// Room version, as the specification spells it.
    pub version: String,
}
store::row!(RoomRow, schema = 1);

/// Row of [`ROOM_IDS`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoomIdRow {
    /// The room's id.
    pub room_id: OwnedRoomId,
    /// Room version, as the specification spells it.
    pub version: String,
}
store::row!(RoomIdRow, schema = 1);

/// Row of [`HEADS`]: the tip of a room as we know it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Grows by one with each batch that writes the room.
    pub generation: u64,
    /// Events that no accepted event names as previous, as far as its state is known to hold theirs; never empty,
    /// at most 20: an event of ours names all of them as its previous ones.
    pub extremities: Vec<Extremity>,
    /// The state now: the resolution of the states after all extremities, and of `beside`. Of a room that lacks members,
    /// as far as they have come; see [`Lacking::resolved`].
    pub current: Root,
    /// Place that the next backfilled event gets; counts down.
    pub history_floor: u64,
    /// Depth of the event by which we came in; what is fetched from below it is the past.
    pub since_depth: u64,
    /// The resolved states after further extremities, for which there was no room in the list. Empty: none.
    pub beside: Root,
    /// Generation of the batch by which we came in, the last time that we did. What was an extremity before it
    /// says nothing of those there are now.
    pub since: u64,
    /// Extremities behind others, whose going changes the current state: they go with the next event on the tip, that
    /// clients are told the change with.
    pub yielding: Vec<EventSerial>,
    /// Whether all members are known.
    pub members: Members,
}
store::row!(Head, schema = 5, older = { 1 => HeadV1, 2 => HeadV2, 3 => HeadV3, 4 => HeadV4 });

/// Whether all members of a room are known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Members {
    /// They are.
    #[default]
    Whole,
    /// They are not: who is not known to be a member may be one.
    Lacking(Lacking),
}

/// What the tip of a room that lacks members says of that; the rest is in its [`LackingRow`](crate::read::lacking::LackingRow).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lacking {
    /// The join by which we came in: the state before it was told without members.
    pub join: EventSerial,
    /// What the states after the extremities resolve to, and so the state before an event on all of them. The current
    /// state is what the projections describe: it goes on with this one, and members come into it slice by slice.
    pub resolved: Root,
}

impl Members {
    /// What is lacking.
    pub const fn lacking(&self) -> Option<&Lacking> {
        match self {
            Self::Whole => None,
            Self::Lacking(lacking) => Some(lacking),
        }
    }
}

/// A forward extremity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extremity {
    /// The event.
    pub serial: EventSerial,
    /// Its id.
    pub event_id: OwnedEventId,
    /// Its depth.
    pub depth: u64,
    /// The state after it.
    pub after: Root,
}

// ---- events ------------------------------------------------------------------------------------

/// Where an event is; key: event id.
pub static EVENT_IDS: Table<String, EventPlace> = Table::new(23, "room.event_ids", Tuning::Point);

/// An event's canonical JSON as it was signed (or as redacted since), stored once.
pub static EVENTS: Table<(RoomSerial, EventSerial), Bytes> = Table::new(24, "room.events", Tuning::Large);

/// What we found out about an event. The stamp is its position, 0 for one without a place in the log.
pub static EVENT_META: Table<(RoomSerial, EventSerial), Stamped<EventMeta>> =
    Table::new(25, "room.event_meta", Tuning::Point);

/// The order in which clients see a room's events.
pub static TIMELINE: Table<(RoomSerial, Order), TimelineRow> =
    Table::new(26, "room.timeline", Tuning::Append);

/// Events that our part of the graph names but lacks; key: room and the missing event's id.
pub static GAPS: Table<(RoomSerial, String), Gap> = Table::new(27, "room.gaps", Tuning::Small);

/// Row of [`EVENT_IDS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventPlace {
    /// Its room.
    pub room: RoomSerial,
    /// Its serial.
    pub event: EventSerial,
}
store::row!(EventPlace, schema = 1);

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// Part of the room.
    Accepted,
    /// Valid where it stands in the graph, but not by the state now: never shown, never named as previous.
    SoftFailed,
    /// Breaks the authorisation rules: kept only so that it is not fetched again.
    Rejected,
    /// Valid by its own auth events; its place in the graph is not known to us.
    Outlier,
}

/// Where an event stands in its room's timeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Place {
    /// Not in the timeline.
    None,
    /// Committed as it happened; its order follows from the stamp.
    Live,
    /// Backfilled.
    History(u64),
}

/// Row of [`EVENT_META`], stamped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventMeta {
    /// The event's id.
    pub event_id: OwnedEventId,
    /// What became of it.
    pub verdict: Verdict,
    /// Where it stands; see [`EventMeta::order`].
    pub place: Place,
    /// Depth in the graph.
    pub depth: u64,
    /// State before it; meaningless for outliers.
    pub before: Root,
    /// State after it; the same as `before` unless it is an accepted or soft-failed state event.
    pub after: Root,
    /// Its auth events, as far as we have them.
    pub auth: Vec<EventSerial>,
    /// Sent here by this device with this transaction id.
    pub txn: Option<EventTxn>,
    /// The redaction that emptied it.
    pub redacted_by: Option<EventSerial>,
    /// The state event of the same type and key that it took the place of.
    pub replaces: Option<EventSerial>,
    /// Who stands on it stands on its previous events too: it never was a forward extremity itself, and the
    /// state before it was made of theirs alone, not of what others told.
    pub covers_previous: bool,
    /// The state before it lacks members ([`Lacking`]): it is right in what it has, and nothing
    /// follows from what it has not.
    pub partial: bool,
}
store::row!(EventMeta, schema = 3, older = { 1 => EventMetaV1, 2 => EventMetaV2 });

/// The device that sent an event here, and its name for the request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventTxn {
    /// Device of the event's sender.
    pub device: String,
    /// Transaction id.
    pub id: String,
}

impl EventMeta {
    /// Whether the event has its place in the graph, with the states before and after it.
    ///
    /// Those stored only because others refer to them (outliers, accepted or rejected) have none.
    pub fn is_placed(&self) -> bool {
        self.after != Root::EMPTY
    }

    /// The event's place in the timeline; `stamp` is the row's stamp.
    pub const fn order(&self, stamp: Position) -> Option<Order> {
        match self.place {
            Place::None => None,
            Place::Live => Some(Order::live(stamp)),
            Place::History(place) => Some(Order::history(place)),
        }
    }
}

/// Row of [`TIMELINE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimelineRow {
    /// The event.
    pub event: EventSerial,
    /// The room's current state once it was there. Backfilled events: the state after them.
    pub current: Root,
    /// All its previous events were missing here when it got its place, so that what stands before it
    /// in the timeline does not lead up to it.
    pub gap: bool,
}
store::row!(TimelineRow, schema = 1);

/// Row of [`GAPS`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// An event that names the missing one as previous.
    pub child: EventSerial,
    /// That event's depth.
    pub depth: u64,
    /// How often servers that were asked for it did not have it.
    pub tries: u32,
    /// Whether it is from before we came, and comes with backfill only: what our join stands on, and what
    /// that stands on.
    pub past: bool,
    /// Those that name it and came to the tip, or are soft-failed and stood on by what did, the first 20 of them: each is
    /// a forward extremity, or one stands on it by a state that holds what it says.
    pub on_tip: Vec<EventSerial>,
    /// [`Head::since`] when they did.
    pub since: u64,
}
store::row!(Gap, schema = 4, older = { 1 => GapV1, 2 => GapV2, 3 => GapV3 });

// ---- state keys --------------------------------------------------------------------------------

/// Serial of a pair of event type and state key; key: room, type, state key.
pub static STATE_KEYS: Table<(RoomSerial, String, String), StateKeySerial> =
    Table::new(28, "room.state_keys", Tuning::Point);

/// The pair that a serial stands for.
pub static STATE_KEY_NAMES: Table<(RoomSerial, StateKeySerial), StateKeyName> =
    Table::new(29, "room.state_key_names", Tuning::Point);

/// Row of [`STATE_KEY_NAMES`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct StateKeyName {
    /// Event type.
    pub kind: String,
    /// State key.
    pub key: String,
}
store::row!(StateKeyName, schema = 1);

// ---- projections -------------------------------------------------------------------------------

/// The rooms of a user of ours; key: user id, room. The stamp is the position of the last change.
pub static MEMBERSHIPS: Table<(String, RoomSerial), Stamped<MembershipRow>> =
    Table::new(30, "room.memberships", Tuning::Point);

/// Where a user of ours was last put out of a room or left it, having been in it; key: user id, room. It
/// stays when more is done to him outside (a ban, another invite); forgetting the room takes it away.
pub static DEPARTURES: Table<(String, RoomSerial), Stamped<DepartureRow>> =
    Table::new(82, "room.departures", Tuning::Point);

/// The members of a room by its current state, of every server; key: room, user id.
pub static MEMBERS: Table<(RoomSerial, String), MemberRow> = Table::new(31, "room.members", Tuning::Point);

/// The joined members of ours, so that finding them does not take as long as a room is large; key: room, user id.
pub static LOCAL_MEMBERS: Table<(RoomSerial, String), ()> =
    Table::new(83, "room.local_members", Tuning::Small);

/// How many joined members each server has in a room; key: room, server name.
pub static SERVERS: Table<(RoomSerial, String), Counter> = Table::new(32, "room.servers", Tuning::Small);

/// How many members of each membership a room has; key: room, [`Membership`] as its number.
pub static MEMBER_COUNTS: Table<(RoomSerial, u8), Counter> =
    Table::new(33, "room.member_counts", Tuning::Small);

/// What lists of rooms show, by the room's current state.
pub static SUMMARIES: Table<RoomSerial, Summary> = Table::new(34, "room.summaries", Tuning::Point);

/// Events that relate to an event; key: room, the parent's id, the child's place.
pub static RELATIONS: Table<(RoomSerial, String, Order), RelationRow> =
    Table::new(35, "room.relations", Tuning::Append);

/// The events that belong to threads, in the order of the timeline; key: room, the event's place.
pub static THREADS: Table<(RoomSerial, Order), ThreadRow> = Table::new(80, "room.threads", Tuning::Append);

/// How many events each user has in a thread; key: room, the root's id, user id.
pub static THREAD_SENDERS: Table<(RoomSerial, String, String), Counter> =
    Table::new(81, "room.thread_senders", Tuning::Small);

/// What came with an invite (or knock) to a room we are not in; key: room, user id.
pub static INVITES: Table<(RoomSerial, String), InviteRow> = Table::new(37, "room.invites", Tuning::Small);

/// A user's relation to a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[repr(u8)]
pub enum Membership {
    /// Asked in.
    Invite = 1,
    /// In it.
    Join = 2,
    /// Asks to come in.
    Knock = 3,
    /// Out of it, by own will or not.
    Leave = 4,
    /// Kept out.
    Ban = 5,
}

/// Row of [`MEMBERSHIPS`], stamped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MembershipRow {
    /// The room.
    pub room_id: OwnedRoomId,
    /// What the user is in it.
    pub membership: Membership,
    /// What the user was before.
    pub previous: Option<Membership>,
    /// The member event that says so. None when we made it up (an invite rejected that could not be told).
    pub event: Option<EventSerial>,
    /// Who sent that event.
    pub sender: OwnedUserId,
    /// The user does not want to see it again.
    pub forgotten: bool,
    /// The room's current state with this change. Empty for a room we are not in.
    pub current: Root,
}
store::row!(MembershipRow, schema = 1);

/// Row of [`DEPARTURES`], stamped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DepartureRow {
    /// The room's current state with the departure.
    pub current: Root,
}
store::row!(DepartureRow, schema = 1);

/// Row of [`MEMBERS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberRow {
    /// What the user is in the room.
    pub membership: Membership,
    /// The member event.
    pub event: EventSerial,
}
store::row!(MemberRow, schema = 1);

/// Row of [`SUMMARIES`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// `m.room.name`.
    pub name: Option<String>,
    /// `m.room.topic`.
    pub topic: Option<String>,
    /// `m.room.avatar`.
    pub avatar: Option<String>,
    /// `m.room.canonical_alias`.
    pub canonical_alias: Option<String>,
    /// `m.room.join_rules`.
    pub join_rule: Option<String>,
    /// Rooms whose members may join, for restricted join rules.
    pub allowed_rooms: Vec<OwnedRoomId>,
    /// `m.room.guest_access`.
    pub guest_access: Option<String>,
    /// `m.room.history_visibility`.
    pub history_visibility: Option<String>,
    /// `type` of the create event.
    pub room_type: Option<String>,
    /// `algorithm` of `m.room.encryption`.
    pub encryption: Option<String>,
    /// Who created the room (the sender of its create event).
    pub creator: Option<OwnedUserId>,
    /// The room that took this one's place (`m.room.tombstone`).
    pub replacement: Option<OwnedRoomId>,
    /// Whether other servers may come in: `m.federate` of the create event.
    pub federate: bool,
}
store::row!(Summary, schema = 1);

impl Summary {
    /// Whether guests may be in the room.
    #[must_use]
    pub fn takes_guests(&self) -> bool {
        self.guest_access.as_deref() == Some("can_join")
    }

    /// What it owns beside itself, in bytes.
    pub fn memory_bytes(&self) -> usize {
        let texts = [
            &self.name,
            &self.topic,
            &self.avatar,
            &self.canonical_alias,
            &self.join_rule,
            &self.guest_access,
            &self.history_visibility,
            &self.room_type,
            &self.encryption,
        ];
        let texts = texts.into_iter().flatten().map(String::len).sum::<usize>();
        let rooms = self.allowed_rooms.iter().map(|room| size_of::<OwnedRoomId>() + room.as_str().len());
        let others = [
            self.creator.as_ref().map(|creator| creator.as_str().len()),
            self.replacement.as_ref().map(|room| room.as_str().len()),
        ];
        texts + rooms.sum::<usize>() + others.into_iter().flatten().sum::<usize>()
    }
}

/// Row of [`RELATIONS`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelationRow {
    /// The related event.
    pub child: EventSerial,
    /// `rel_type`.
    pub rel_type: String,
    /// Type of the related event.
    pub kind: String,
    /// Who sent it.
    pub sender: OwnedUserId,
}
store::row!(RelationRow, schema = 1);

/// Row of [`THREADS`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThreadRow {
    /// The event that the thread began with.
    pub root: OwnedEventId,
}
store::row!(ThreadRow, schema = 1);

/// Row of [`INVITES`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InviteRow {
    /// The member event, JSON in federation format.
    pub event: Bytes,
    /// Stripped state for the invited user: a JSON array of stripped events, without the invite itself.
    pub stripped: Bytes,
}
store::row!(InviteRow, schema = 1);
