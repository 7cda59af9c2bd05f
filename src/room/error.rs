//! Why a room did not do what was asked.

use pdu::{AuthFailure, FormatError, SignError, VerifyError};
use ruma::{OwnedEventId, OwnedRoomAliasId, OwnedRoomId, OwnedServerName, OwnedUserId, RoomVersionId};

use crate::Denial;

/// Why a room did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// We know no such room, or take no part in it.
    #[error("no room {0} here")]
    NoRoom(OwnedRoomId),
    /// We have no such event in the room, or the asker may not see it.
    #[error("no event {0} here")]
    NoEvent(OwnedEventId),
    /// The room has no state of this type and key.
    #[error("no such state")]
    NoState,
    /// What was asked for does not exist; the sentence says what.
    #[error("not found: {0}")]
    NotFound(String),
    /// The user does not take part in the room.
    #[error("{user} is not joined to {room}")]
    NotJoined {
        /// The user.
        user: OwnedUserId,
        /// The room.
        room: OwnedRoomId,
    },
    /// A user who is not of this process was to act here.
    #[error("{0} is not a user of this server")]
    NotOurs(OwnedUserId),
    /// The event breaks the authorisation rules of its room version.
    #[error("refused by the auth rules: {0}")]
    Forbidden(AuthFailure),
    /// The caller may not do this, for a reason outside the auth rules.
    #[error("not allowed: {0}")]
    NotAllowed(String),
    /// A policy of this deployment refused.
    #[error("refused by policy: {}", .0.private)]
    Denied(Denial),
    /// The server ACL of the room keeps this server out.
    #[error("{0} is kept out by the room's server ACL")]
    AclDenied(OwnedServerName),
    /// The event is malformed.
    #[error("bad event: {0}")]
    Format(#[from] FormatError),
    /// Hash or signature do not hold.
    #[error("the event cannot be verified: {0}")]
    Unverified(#[from] VerifyError),
    /// The event is larger than 65,536 bytes.
    #[error("the event is too large")]
    TooLarge,
    /// A request that makes no sense; the sentence says why.
    #[error("bad request: {0}")]
    Invalid(String),
    /// The requested initial state or power levels are refused by the auth rules.
    #[error("the room cannot be made so: {0}")]
    BadRoomState(String),
    /// We do not support this room version.
    #[error("room version {0} is not supported")]
    UnsupportedVersion(String),
    /// The other server does not support the room's version.
    #[error("the room has version {0}, which the other server does not know")]
    IncompatibleVersion(RoomVersionId),
    /// The alias exists already.
    #[error("the alias is taken")]
    AliasTaken,
    /// A room was to call an alias its own that does not lead to it.
    #[error("the alias {0} does not lead to this room")]
    BadAlias(OwnedRoomAliasId),
    /// A thread was to begin with an event that relates to another one.
    #[error("a thread cannot begin with an event that relates to another one")]
    BadThread,
    /// The sender has said the same of the same event before.
    #[error("the event was annotated so by the same sender before")]
    DuplicateAnnotation,
    /// A restricted join that we cannot decide: we are not in the rooms that it depends on.
    #[error("this server cannot tell whether the join is allowed")]
    UnableToAuthoriseJoin,
    /// A restricted join that is allowed, but no user of ours may grant it.
    #[error("no user of this server may grant the join")]
    UnableToGrantJoin,
    /// No server could be asked, or none helped.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// What is stored of the room is going, and until it is gone nobody comes in.
    #[error("{0} is being removed from this server")]
    BeingPurged(OwnedRoomId),
    /// Not all members of the room are known yet, and without them it cannot be told.
    #[error("not all members of {0} are known here yet")]
    MembersLacking(OwnedRoomId),
    /// The user takes no invites, or none of the one who invites.
    #[error("{0} does not take this invite")]
    InviteBlocked(OwnedUserId),
    /// An invite was to be refused by which the user's authority tells him something.
    #[error("this invite cannot be refused")]
    ServerNotices,
    /// A guest was to come into a room that takes none.
    #[error("the room takes no guests")]
    NoGuests,
    /// A guest was to say something of members that guests do not.
    #[error("guests do not say this of members")]
    NotForGuests,
    /// An event was to be delayed for longer than this.
    #[error("events wait for {} s at most", .0.as_secs())]
    DelayTooLong(std::time::Duration),
    /// The user has as many delayed events as he may; the next of them is sent in so long, none where he may have none.
    #[error("too many delayed events of this user")]
    TooManyDelays(Option<std::time::Duration>),
    /// A delayed event has ended otherwise than somebody wants it to.
    #[error("the delayed event is none any more")]
    DelayEnded,
    /// Too much is under way in this room.
    #[error("too busy")]
    Busy,
    /// The room was written by others each time we tried.
    #[error("the room changed under every attempt")]
    Contended,
    /// A stored row contradicts another; somebody has to look.
    #[error("inconsistent data: {0}")]
    Inconsistent(&'static str),
    /// The store could not be read.
    #[error("the store could not be read: {0}")]
    Store(#[from] store::Error),
    /// The store could not be written.
    #[error("the store could not be written: {0}")]
    Commit(store::CommitError),
    /// State resolution failed.
    #[error("state resolution failed: {0}")]
    Resolution(String),
    /// The process is shutting down, or a worker of it was lost.
    #[error("interrupted")]
    Interrupted,
}

/// Why another server could not be asked, or what it answered.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RemoteError {
    /// It could not be reached, or did not answer in time.
    #[error("{server} cannot be reached: {cause}")]
    Unreachable {
        /// The server.
        server: OwnedServerName,
        /// What happened, for the log.
        cause: String,
    },
    /// It answered with a Matrix error.
    #[error("{server} refused: {status} {code}: {message}")]
    Refused {
        /// The server.
        server: OwnedServerName,
        /// HTTP status.
        status: u16,
        /// Matrix errcode.
        code: String,
        /// Its sentence.
        message: String,
        /// The room's version, with `M_INCOMPATIBLE_ROOM_VERSION`.
        room_version: Option<String>,
    },
    /// Its answer made no sense.
    #[error("{server} gave a bad answer: {cause}")]
    BadAnswer {
        /// The server.
        server: OwnedServerName,
        /// What is wrong with it, for the log.
        cause: String,
    },
    /// This process does not talk to other servers.
    #[error("federation is switched off")]
    Off,
}

impl From<AuthFailure> for Error {
    fn from(cause: AuthFailure) -> Self {
        Self::Forbidden(cause)
    }
}

impl From<SignError> for Error {
    fn from(cause: SignError) -> Self {
        match cause {
            SignError::Format(cause) => Self::Format(cause),
            // Only what a caller put into the content can ask for the signature of somebody else.
            SignError::NotOurs { server } => Self::Invalid(format!("{server} would have to sign that")),
        }
    }
}

impl From<Denial> for Error {
    fn from(denial: Denial) -> Self {
        Self::Denied(denial)
    }
}

impl Error {
    /// Whether it says nothing of what was asked, but of a trouble of this server's that may pass: the same may
    /// succeed later, and what was to be kept must come again until then.
    ///
    /// Damaged rows do not pass: what meets them would be repeated for ever, and everything behind it.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        use store::{CommitError, Error as StoreError};
        match self {
            Self::Store(error) | Self::Commit(CommitError::Store(error)) => {
                !matches!(error, StoreError::Corrupt { .. } | StoreError::NotACounter(_))
            }
            Self::Commit(CommitError::Busy | CommitError::Unknown | CommitError::Conflict { .. })
            | Self::Busy
            | Self::BeingPurged(_)
            | Self::MembersLacking(_)
            | Self::Contended
            | Self::Interrupted => true,
            _ => false,
        }
    }
}
