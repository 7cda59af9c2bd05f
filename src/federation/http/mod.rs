//! The server interface: what other servers ask us.
//!
//! Handlers take a request apart, ask the room engine or the accounts, and write the answer. Events
//! go into answers as the bytes they are stored as.
//!
//! Spec: <https://spec.matrix.org/v1.19/server-server-api/>

mod events;
mod json;
mod keys;
pub(crate) mod media;
mod membership;
mod queries;
mod third_party;
mod transactions;
mod user_keys;

use std::{hash::RandomState, sync::Arc};

use account::Accounts;
use base::{ByteSize, Clock, CounterFamily, Metrics, Tasks, Turns};
use encryption::Encryption;
use engine::Engine;
use http::Method;
use pdu::Authorities;
use room::{Rooms, read::room::RoomInfo};
use ruma::{
    RoomId, ServerName,
    api::federation::{
        authorization::get_event_authorization,
        backfill::get_backfill,
        device::get_devices,
        directory::{get_public_rooms, get_public_rooms_filtered},
        discovery::{get_remote_server_keys, get_remote_server_keys_batch, get_server_version},
        event::{get_event, get_event_by_timestamp, get_missing_events, get_room_state, get_room_state_ids},
        keys::{claim_keys, get_keys},
        membership::{
            create_invite, create_join_event, create_knock_event, create_leave_event, prepare_join_event,
            prepare_knock_event, prepare_leave_event,
        },
        openid::get_openid_userinfo,
        query::{get_profile_information, get_room_information},
        space::get_hierarchy,
        thirdparty::{bind_callback, exchange_invite},
        transactions::send_transaction_message,
    },
};
use to_device::ToDevice;
use web::{ApiError, Open, Origin, Routes};

pub use self::media::FederationMedia;
use self::transactions::Served;
use crate::keys::Keys;

/// Largest transaction: fifty events of 64 KiB, and ephemeral units.
const LARGEST_TRANSACTION: ByteSize = ByteSize::mib(16);

/// Reports of identity servers that are worked on at a time, and that may wait for it.
const BINDING: usize = 4;
const BINDINGS_WAITING: usize = 256;

/// What the handlers share.
pub struct FederationApi {
    engine: Engine,
    rooms: Rooms,
    accounts: Accounts,
    to_device: ToDevice,
    encryption: Encryption,
    keys: Keys,
    authorities: Arc<Authorities>,
    clock: Clock,
    tasks: Tasks,
    served: Served,
    received: CounterFamily,
    /// The turns of reports of identity servers, in lanes by address: they may lead to servers that never answer.
    binding: Turns<()>,
    lanes: RandomState,
}

impl FederationApi {
    #[expect(clippy::too_many_arguments, reason = "all that other servers ask for")]
    pub(crate) fn new(
        engine: Engine,
        accounts: Accounts,
        to_device: ToDevice,
        encryption: Encryption,
        keys: Keys,
        authorities: Arc<Authorities>,
        clock: Clock,
        tasks: Tasks,
        metrics: &Metrics,
    ) -> Self {
        let received = metrics.counter_family(
            "yakuba_federation_units_received",
            "PDUs and EDUs of other servers' transactions, by what became of them",
        );
        let rooms = engine.rooms().clone();
        Self {
            engine,
            rooms,
            accounts,
            to_device,
            encryption,
            keys,
            authorities,
            clock,
            tasks,
            served: Served::default(),
            received,
            binding: Turns::new(BINDING, BINDINGS_WAITING),
            lanes: RandomState::new(),
        }
    }

    /// Refuses a server that a room's server ACL keeps out.
    async fn admit(&self, server: &ServerName, room_id: &RoomId) -> Result<Arc<RoomInfo>, ApiError> {
        let Some(room) = self.rooms.room(room_id).await? else {
            return Err(room::Error::NoRoom(room_id.to_owned()).into());
        };
        if self.rooms.is_admitted(server, &room).await? {
            Ok(room)
        } else {
            Err(room::Error::AclDenied(server.to_owned()).into())
        }
    }
}

/// All routes of the server interface.
pub(crate) fn routes(api: Arc<FederationApi>) -> Routes<FederationApi> {
    // Which authority is meant stands in the signature, not in the `Host` header: that may be any name
    // that a delegation leads to.
    Routes::new(api)
        .any_host()
        .raw_ruma::<get_server_version::v1::Request, Open, _, _>(keys::version)
        .raw::<Open, _, _>(Method::GET, "/_matrix/key/v2/server", keys::own)
        .raw::<Open, _, _>(Method::GET, "/_matrix/key/v2/server/{key_id}", keys::own)
        .raw_ruma::<get_remote_server_keys::v2::Request, Open, _, _>(keys::query_one)
        .raw_ruma::<get_remote_server_keys_batch::v2::Request, Open, _, _>(keys::query_many)
        .raw_ruma::<get_openid_userinfo::v1::Request, Open, _, _>(queries::openid_userinfo)
        .raw_ruma::<get_profile_information::v1::Request, Origin, _, _>(queries::profile)
        .raw_ruma::<get_room_information::v1::Request, Origin, _, _>(queries::directory)
        .raw_ruma::<get_public_rooms::v1::Request, Origin, _, _>(queries::public_rooms)
        .raw_ruma::<get_public_rooms_filtered::v1::Request, Origin, _, _>(queries::public_rooms_filtered)
        .raw_ruma::<get_hierarchy::v1::Request, Origin, _, _>(queries::hierarchy)
        .raw_ruma::<get_devices::v1::Request, Origin, _, _>(user_keys::devices)
        .raw_ruma::<get_keys::v1::Request, Origin, _, _>(user_keys::query)
        .raw_ruma::<claim_keys::v1::Request, Origin, _, _>(user_keys::claim)
        .raw_ruma::<prepare_join_event::v1::Request, Origin, _, _>(membership::make_join)
        .raw_ruma::<create_join_event::v2::Request, Origin, _, _>(membership::send_join)
        .raw::<Origin, _, _>(
            Method::PUT,
            "/_matrix/federation/v1/send_join/{room_id}/{event_id}",
            membership::send_join_v1,
        )
        .raw_ruma::<prepare_leave_event::v1::Request, Origin, _, _>(membership::make_leave)
        .raw_ruma::<create_leave_event::v2::Request, Origin, _, _>(membership::send_leave)
        .raw::<Origin, _, _>(
            Method::PUT,
            "/_matrix/federation/v1/send_leave/{room_id}/{event_id}",
            membership::send_leave_v1,
        )
        .raw_ruma::<prepare_knock_event::v1::Request, Origin, _, _>(membership::make_knock)
        .raw_ruma::<create_knock_event::v1::Request, Origin, _, _>(membership::send_knock)
        .raw_ruma::<create_invite::v2::Request, Origin, _, _>(membership::invite)
        .raw_ruma::<create_invite::v1::Request, Origin, _, _>(membership::invite_v1)
        .raw_ruma::<exchange_invite::v1::Request, Origin, _, _>(third_party::exchange)
        .raw_ruma::<bind_callback::v1::Request, Open, _, _>(third_party::on_bind)
        .raw::<Origin, _, _>(Method::GET, "/_matrix/federation/v1/query/{query_type}", queries::unknown)
        .raw_ruma::<get_event::v1::Request, Origin, _, _>(events::event)
        .raw_ruma::<get_event_by_timestamp::v1::Request, Origin, _, _>(events::event_at_time)
        .raw_ruma::<get_event_authorization::v1::Request, Origin, _, _>(events::event_auth)
        .raw_ruma::<get_room_state::v1::Request, Origin, _, _>(events::state)
        .raw_ruma::<get_room_state_ids::v1::Request, Origin, _, _>(events::state_ids)
        .raw_ruma::<get_backfill::v1::Request, Origin, _, _>(events::backfill)
        .raw_ruma::<get_missing_events::v1::Request, Origin, _, _>(events::missing_events)
        .body_limit(LARGEST_TRANSACTION)
        .raw_ruma::<send_transaction_message::v1::Request, Origin, _, _>(transactions::send)
}
