//! The way in for events of other servers, from the transaction to a place in the room.
//!
//! One PDU's walk, each step a file:
//!
//! 1. **Door** ([`door`]). Is it a room of ours, does the ACL let the server in, do we have the event
//!    already, is there room for it ([`counts`])? What passes is stored in `INBOX` and answered for; when
//!    there is no room, the whole transaction is refused, so that the peer repeats it.
//! 2. **Triage** ([`triage`], by one worker per room: [`workers`]). Without the network: what all is
//!    here for is verified, judged and placed; what fails is dropped; what lacks a key, an auth event or
//!    an ancestor is moved to `WAITING`. So an inbox always drains as fast as the processor allows.
//! 3. **Errands** ([`errands`], one task per room and origin). They bring what waiting events lack, and
//!    hold neither seat nor lock while they ask ([`fetch`], [`state_at`]). Each attempt has seconds, each
//!    server its deadlines and a rest when it does not answer ([`peers`]), each event a number of tries.
//! 4. **Judging** ([`receive`]). By its auth events, by the state before it, by the state now; then
//!    [`Stage::place`](crate::pipeline::Stage::place) gives it its place, in the batch that takes it off its list.
//!
//! What came to no end within its tries is *parked* ([`waiting`]): kept with its reason, a bounded number
//! for each origin, listed for the operator, taken up again when what it lacked arrives and after
//! long pauses. Auth and state events that are only looked at, not placed, are outliers ([`outliers`]).
//!
//! # Who may make us ask
//!
//! Placing needs no trust: the auth rules decide. *Fetching* costs us and others something, so it is done
//! only for an event that comes from a server in the room and whose sender's server is in the
//! room too, or that is a member event (whose server is on its way in or out and is spoken for by the
//! server that let it). Any other event that lacks something is parked unasked, a few for each origin and
//! room: should it be that *our* state lags, the join that we lack comes from a server in the room and takes it
//! up again. Asked are servers in the room only, the origin first, and never one that rests.
//! An event that its own auth events, all of them here, do not allow is dropped before anything is fetched.

pub(crate) mod adopt;
pub(crate) mod counts;
mod door;
pub(crate) mod errands;
pub(crate) mod fetch;
pub(crate) mod outliers;
pub(crate) mod peers;
pub(crate) mod placing;
pub(crate) mod receive;
pub(crate) mod seats;
pub(crate) mod state_at;
mod triage;
mod verify;
pub(crate) mod waiting;
pub(crate) mod workers;

pub use counts::InboxLimits;
pub use door::PduAnswer;
pub use waiting::{InboxTotals, Parked};
