//! The points at which a deployment may say no: [`Policy`].
//!
//! One port for the whole process, since a rule of an office ("guests see no directory", "no files to other prefectures")
//! is about several of these points at once. The room engine asks at its own; the other crates above ask at theirs through
//! [`crate::Rooms::policy`].

use base::Address;
use pdu::{Draft, Pdu, RoomVersion};
use ruma::{RoomId, ServerName, UserId};

use crate::Horizon;

/// Why a policy refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{private}")]
pub struct Denial {
    /// A sentence for the one who asked.
    pub public: String,
    /// The reason, for the log.
    pub private: String,
}

/// What is known of a file.
#[derive(Clone, Copy, Debug)]
pub struct FileFacts<'a> {
    /// Its media type, as it was said; nothing proves it.
    pub kind: &'a str,
    /// Its name.
    pub name: Option<&'a str>,
    /// Its size in bytes.
    pub size: Option<u64>,
    /// The hash of what it holds.
    pub sha256: Option<&'a [u8; 32]>,
}

/// What is known of a room that is about to be made.
#[derive(Clone, Copy, Debug)]
pub struct Making<'a> {
    /// Its version.
    pub version: &'a RoomVersion,
    /// Whether it begins as one for talking with one other person: marked as direct, nobody but one is invited, nobody finds
    /// it, and none comes in without an invite.
    pub direct: bool,
}

/// Who reads a file.
#[derive(Clone, Copy, Debug)]
pub enum FileReader<'a> {
    /// A user of ours.
    User(&'a UserId),
    /// Another server, for a user of its own.
    Server(&'a ServerName),
    /// Nobody knows: it is asked for where no proof is needed.
    Anybody,
}

/// Whether somebody has to have a second factor to be in; the later ones ask for more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum FactorRule {
    /// He need not have one. Who has one is asked for it all the same.
    #[default]
    Free,
    /// He has to have one, and sets it up where he has none.
    Needed,
    /// He has to have one, and does not set up his first one from where he is: a password alone opens nothing there, nor may it
    /// make what opens it.
    NeededAlready,
}

/// In which form somebody is given files, wherever he is; the later ones are narrower. None gives more than the zone does that
/// he is in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum FileForm {
    /// As his zone has it.
    #[default]
    OfZone,
    /// Sanitised (無害化) alone.
    Sanitised,
}

/// How many devices somebody may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceBound {
    /// So many.
    pub most: usize,
    /// Why one more is refused.
    pub denial: Denial,
}

/// The points at which a deployment may say no. Everything is allowed by default.
///
/// Each answers at once, from data that the policy holds: some are asked under a room's lock.
///
/// A remote event may be kept or soft-failed ([`Policy::accept_from`]), never rejected, or our graph would no longer be
/// the room's.
pub trait Policy: Send + Sync {
    /// May this account be made, by somebody at this address? Also asked for accounts that administrators make; at the
    /// command line they have none.
    fn register(&self, _user: &UserId, _from: Option<Address>) -> Result<(), Denial> {
        Ok(())
    }
    /// May this user begin a session from this address, by a password or with a new account? Asked after the password was
    /// right, so that the answer tells nothing to one who does not know it.
    fn sign_in(&self, _user: &UserId, _from: Option<Address>) -> Result<(), Denial> {
        Ok(())
    }
    /// Has this user to have a second factor to be in from this address, beside what the settings of accounts say? Of no address
    /// nothing is known that would let him off.
    fn factor(&self, _user: &UserId, _from: Option<Address>) -> FactorRule {
        FactorRule::Free
    }
    /// May a session that this user has be used from this address? Asked for each request that shows one.
    fn use_session(&self, _user: &UserId, _from: Option<Address>) -> Result<(), Denial> {
        Ok(())
    }
    /// How many devices may this user sign in on, if there is a bound? Those that there are go on, however many.
    fn devices(&self, _user: &UserId) -> Option<DeviceBound> {
        None
    }
    /// May this user create this room?
    fn create(&self, _creator: &UserId, _making: &Making<'_>) -> Result<(), Denial> {
        Ok(())
    }
    /// May this user of ours join this room, or knock at it?
    fn join(&self, _user: &UserId, _room: &RoomId) -> Result<(), Denial> {
        Ok(())
    }
    /// May this invite be sent, or (for a target of ours) delivered?
    fn invite(&self, _sender: &UserId, _target: &UserId, _room: &RoomId) -> Result<(), Denial> {
        Ok(())
    }
    /// May this user of ours say this? It is asked for whatever holds words of his: messages, state, each first event of a
    /// room that is made (whose id is not known yet), names and reasons of memberships. The content is spelled as in the
    /// event, without escapes that are not needed.
    fn send(&self, _room: Option<&RoomId>, _draft: &Draft) -> Result<(), Denial> {
        Ok(())
    }
    /// May this user list the room in the directory?
    fn publish(&self, _user: &UserId, _room: &RoomId) -> Result<(), Denial> {
        Ok(())
    }
    /// May this user look up an alias, what a room of a space is, the public rooms, or somebody's profile at this server, which may be ours? No user:
    /// a stranger, or one of whom the question does not say who he is (profiles).
    fn look_up(&self, _user: Option<&UserId>, _server: &ServerName) -> Result<(), Denial> {
        Ok(())
    }
    /// May this user find that one in the directory of users?
    fn find(&self, _seeker: &UserId, _found: &UserId) -> bool {
        true
    }
    /// May users of this server take part in this room (`make_join` and `send_join` here)?
    fn admit(&self, _server: &ServerName, _room: &RoomId) -> Result<(), Denial> {
        Ok(())
    }
    /// May this event of another server be shown? A refusal soft-fails it.
    fn accept_from(&self, _origin: &ServerName, _room: &RoomId, _event: &Pdu) -> Result<(), Denial> {
        Ok(())
    }
    /// May this user keep this file with us? Asked before it comes, with what the client says of it, and when it is here,
    /// with size and hash.
    fn upload(&self, _user: &UserId, _file: &FileFacts<'_>) -> Result<(), Denial> {
        Ok(())
    }
    /// May this file of that server, which may be ours, be read?
    fn download(
        &self,
        _reader: FileReader<'_>,
        _server: &ServerName,
        _file: &FileFacts<'_>,
    ) -> Result<(), Denial> {
        Ok(())
    }
    /// In which form is this user given files, whatever zone he is in? Who is given none is refused ([`Policy::download`]).
    fn file_form(&self, _user: &UserId) -> FileForm {
        FileForm::OfZone
    }
    /// How far back does this user read; without a bound when none? Asked whenever somebody reads events.
    fn reads_back(&self, _user: &UserId) -> Option<Horizon> {
        None
    }
    /// May requests be exchanged with this server at all, in either direction?
    fn contact(&self, _server: &ServerName) -> Result<(), Denial> {
        Ok(())
    }
}

/// The policy that allows everything.
#[derive(Clone, Copy, Debug, Default)]
pub struct AllowAll;

impl Policy for AllowAll {}
