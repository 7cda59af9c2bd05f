//! Deeds: what is written of what somebody did.
//!
//! A row holds no secrets and nothing that was said: no passwords, tokens or contents. Every text in it is
//! short, whoever chose it; whoever shows one escapes it as what strangers wrote.

use base::{Address, Timestamp};
use ruma::{DeviceId, ServerName, UserId};
use serde::{Deserialize, Serialize};
use store::{Batch, Topic, Value, row};

use crate::tables::RECORDS;

/// Longest text of a row, in bytes; what is longer is cut.
const LONGEST: usize = 256;

/// Most facts about the state before a deed, and after it.
const MOST_FACTS: usize = 8;

/// Who did something, as what, and from where.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Actor {
    name: String,
    role: Role,
    from: Option<Address>,
    device: Option<String>,
    duty: Option<String>,
}

/// As what somebody did something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// A user, for itself.
    User,
    /// A user who administers the server.
    Administrator,
    /// Somebody at the command line of the machine.
    Operator,
    /// A program that knows the secret shared with the server.
    SharedSecret,
    /// Somebody who has not proved who he is.
    Stranger,
    /// The server itself, which does at its hour what was decided before.
    Server,
    /// An identity system of the authority, which says who is there.
    Source,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::User,
        Self::Administrator,
        Self::Operator,
        Self::SharedSecret,
        Self::Stranger,
        Self::Server,
        Self::Source,
    ];

    /// The role of a word; `None` for one of a newer program.
    #[must_use]
    pub fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.word() == word)
    }

    /// Its word in rows, which never changes.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Administrator => "administrator",
            Self::Operator => "operator",
            Self::SharedSecret => "shared_secret",
            Self::Stranger => "stranger",
            Self::Server => "server",
            Self::Source => "source",
        }
    }
}

impl Actor {
    /// A user of ours.
    #[must_use]
    pub fn user(user: &UserId, administers: bool, from: Option<Address>) -> Self {
        let role = if administers { Role::Administrator } else { Role::User };
        Self { name: user.to_string(), role, from, device: None, duty: None }
    }

    /// The id of the user of ours who does it as an administrator, if one does.
    #[must_use]
    pub fn administrator(&self) -> Option<&str> {
        (self.role == Role::Administrator).then_some(self.name.as_str())
    }

    /// Somebody at the command line, by the name that this machine knows.
    #[must_use]
    pub fn operator(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::nameless(Role::Operator, None) }
    }

    /// Whoever knows the shared secret.
    #[must_use]
    pub fn shared_secret(from: Option<Address>) -> Self {
        Self::nameless(Role::SharedSecret, from)
    }

    /// Its name; empty where none is known.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The same from wherever it may be, on whatever device.
    #[must_use]
    pub fn from_anywhere(self) -> Self {
        Self { from: None, device: None, ..self }
    }

    /// From which address, if one is known.
    #[must_use]
    pub const fn from(&self) -> Option<Address> {
        self.from
    }

    /// The server, when the hour of something has come.
    #[must_use]
    pub fn server() -> Self {
        Self::nameless(Role::Server, None)
    }

    /// An identity system of the authority, by the name that the configuration has for it.
    #[must_use]
    pub fn source(name: &str, from: Option<Address>) -> Self {
        Self { name: name.to_owned(), ..Self::nameless(Role::Source, from) }
    }

    /// Nobody knows who.
    #[must_use]
    pub fn stranger(from: Option<Address>) -> Self {
        Self::nameless(Role::Stranger, from)
    }

    fn nameless(role: Role, from: Option<Address>) -> Self {
        Self { name: String::new(), role, from, device: None, duty: None }
    }

    /// On this device of his.
    #[must_use]
    pub fn on(self, device: &DeviceId) -> Self {
        Self { device: (!device.as_str().is_empty()).then(|| device.to_string()), ..self }
    }

    /// By what he does for his authority: words of duties, which let him do it.
    #[must_use]
    pub fn having(self, duties: impl IntoIterator<Item = &'static str>) -> Self {
        let duties: Vec<&str> = duties.into_iter().collect();
        Self { duty: (!duties.is_empty()).then(|| duties.join(" ")), ..self }
    }
}

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// A session began.
    SignIn,
    /// Attempts to begin a session failed.
    SignInFailed,
    /// A session ended by its user's wish.
    SignOut,
    /// All sessions of a user ended by its wish.
    SignOutEverywhere,
    /// Sessions of a user ended since the user signed out at the identity provider.
    SignOutAtProvider,
    /// Somebody said so who was not believed.
    SignOutRefused,
    /// A session got its password asked again, wrongly.
    ConfirmFailed,
    /// Somebody made an account for himself.
    Register,
    /// Attempts to make an account failed for want of proof.
    RegisterFailed,
    /// An account was made for somebody.
    CreateAccount,
    /// An account was closed.
    CloseAccount,
    /// A closed account was opened again.
    ReopenAccount,
    /// An account was locked.
    LockAccount,
    /// An account was unlocked.
    UnlockAccount,
    /// An account was suspended.
    SuspendAccount,
    /// A suspended account may speak again.
    ResumeAccount,
    /// A user changed its password.
    ChangePassword,
    /// A user got another password.
    SetPassword,
    /// A user agreed that a client replaces its cross-signing keys.
    AgreeToReset,
    /// A user set up a second factor.
    AddFactor,
    /// A second factor of a user got another name.
    RenameFactor,
    /// A second factor of a user was removed.
    RemoveFactor,
    /// A user said that a device is his which was signed in before he had a second factor.
    VouchForDevice,
    /// A user got other codes for when the factors are lost.
    RenewCodes,
    /// An administrator asked that an account is recovered whose factors are lost.
    AskRecovery,
    /// It was taken back that an account is to be recovered.
    WithdrawRecovery,
    /// An account was recovered: its factors and sessions ended, and a code was handed over.
    Recover,
    /// A user who had forgotten its password got another one by a mail to its address.
    ResetPassword,
    /// A session got a token with which another client of its user signs in.
    GiveLoginToken,
    /// A user got an address at which mails reach it.
    AddAddress,
    /// An address of a user was taken away.
    RemoveAddress,
    /// What an identity provider knows somebody by belongs to an account.
    LinkIdentity,
    /// What an identity provider knows somebody by belongs to an account no more.
    UnlinkIdentity,
    /// Devices of a user were removed.
    RemoveDevices,
    /// A registration token was made or replaced.
    PutRegistrationToken,
    /// A registration token was removed.
    RemoveRegistrationToken,
    /// All data were backed up.
    BackUp,
    /// All data were put back from a backup: what was written after it is gone.
    Restore,
    /// The data took up an authority.
    BeginAuthority,
    /// A room got an alias, or an alias another room.
    PutAlias,
    /// An alias was taken away.
    RemoveAlias,
    /// A room was put into the directory.
    PublishRoom,
    /// A room was taken out of the directory.
    WithdrawRoom,
    /// Everything stored of a room is to go.
    OrderPurge,
    /// Nothing of a room is shown any more, and what is stored of it goes.
    PurgeRoom,
    /// A room was not purged after all.
    VoidPurge,
    /// A user was told something in the name of his authority.
    SendNotice,
    /// A file was taken away.
    RemoveMedia,
    /// What a file holds is shown to nobody.
    WithholdMedia,
    /// What a file holds is shown again.
    ReleaseMedia,
    /// The columns of a source's personnel files were given their meanings.
    SaveMapping,
    /// A change set was made of what a file says.
    ProposeChanges,
    /// Somebody agreed to a change set, in a role.
    ApproveChanges,
    /// A change set got another hour, and has to be approved anew.
    TimeChanges,
    /// A change set was taken back before its hour.
    WithdrawChanges,
    /// A change set began to be applied.
    ApplyChanges,
    /// A change set was not applied, as something else had changed meanwhile.
    VoidChanges,
    /// A change set, or one line of it, was undone.
    UndoChanges,
    /// What a source says of somebody is kept, and his account follows it.
    FollowSource,
    /// A source no longer knows somebody.
    LeaveSource,
    /// What a source says as a whole is not believed, and nothing is done.
    RefuseReading,
    /// Somebody said that he means that so many accounts end by what a source says.
    AcceptEndings,
    /// A source made a group, or changed one.
    PutGroup,
    /// A source removed a group.
    RemoveGroup,
    /// Somebody said what a rule of rooms is.
    SetRule,
    /// A rule of rooms was ended.
    EndRule,
    /// An account that somebody has made for himself was put forward as that of one of the organisation's people.
    PutForward,
    /// A room that somebody had made was put under a rule.
    AdoptRoom,
    /// A rule made a room.
    MakeRoom,
    /// A room of a unit became that of another one, which the unit had become.
    MoveRoom,
    /// A rule brought somebody into a room.
    JoinByRule,
    /// A rule took somebody out of a room.
    LeaveByRule,
    /// A rule changed a room: its name, its levels, where it is found.
    ChangeByRule,
    /// A room that no rule wants any more was closed.
    CloseRoom,
    /// A room that had been closed is used again.
    ReopenRoom,
    /// A user administers its authority from now on.
    GrantAdministration,
    /// A user administers its authority no more.
    RevokeAdministration,
    /// How a user appears was changed for it.
    ChangeProfile,
    /// A device of a user got another name.
    RenameDevice,
    /// Users of an authority come into a room no more.
    BlockRoom,
    /// Users of an authority may come into a room again.
    UnblockRoom,
    /// The users of an authority are to leave a room.
    EmptyRoom,
    /// A user was brought into a room.
    JoinRoom,
    /// A user got as much power in a room as its authority has there.
    GrantRoomPower,
    /// What was said in a room was read by who is not in it.
    ReadRoom,
    /// What a user's clients keep here, or from where the user was seen, was read by somebody else.
    ReadAccount,
    /// A server that did not answer is tried again at once.
    RetryPeer,
    /// A file is not withheld together with others.
    ProtectMedia,
    /// A file is protected no more.
    UnprotectMedia,
    /// What a user had told of an event was removed.
    RemoveReport,
    /// A user got a duty for its authority.
    GiveDuty,
    /// A duty was taken from a user.
    TakeDuty,
    /// Rows of the audit log were taken away as a file.
    ExportAudit,
    /// A table of the console was taken away as a file.
    ExportTable,
    /// Somebody was refused what changes something and is for others.
    TryInVain,
    /// Somebody asked for something that others have to consent to.
    AskCase,
    /// Somebody asked again, differently, after a case had been returned.
    AskCaseAgain,
    /// Somebody agreed to a case.
    ApproveCase,
    /// Somebody gave a case back, to be asked differently.
    ReturnCase,
    /// Somebody refused a case.
    RefuseCase,
    /// A case was taken back before it was decided.
    WithdrawCase,
    /// A case ended undecided, since its time was over.
    ExpireCase,
    /// What somebody had agreed to counts no more, since he may decide it no more.
    VoidApproval,
    /// What a case was about was done.
    CarryOutCase,
    /// What a case was about could not be done.
    FailCase,
    /// What a case was about is tried once more.
    RetryCase,
    /// What a case had done was undone.
    UndoCase,
    /// What a case had done ended on its day.
    EndCase,
    /// Somebody named who decides for him for some days.
    NameDeputy,
    /// Nobody decides for somebody any more, or not so long.
    EndDeputy,
    /// An address invited into a room whom it reaches, or put out whom it reaches no more.
    ReachByAddress,
    /// Rows of the audit log went, which had been kept long enough.
    RetireRows,
    /// Rows of the audit log are kept for other numbers of years from now on.
    SetRetention,
    /// No rows of the audit log go until somebody says so.
    HoldRows,
    /// Rows of the audit log may go again.
    ReleaseRows,
}

impl Action {
    /// All of them.
    pub const ALL: [Self; 115] = [
        Self::SignIn,
        Self::SignInFailed,
        Self::SignOut,
        Self::SignOutEverywhere,
        Self::SignOutAtProvider,
        Self::SignOutRefused,
        Self::ConfirmFailed,
        Self::Register,
        Self::RegisterFailed,
        Self::CreateAccount,
        Self::CloseAccount,
        Self::ReopenAccount,
        Self::LockAccount,
        Self::UnlockAccount,
        Self::SuspendAccount,
        Self::ResumeAccount,
        Self::ChangePassword,
        Self::SetPassword,
        Self::AgreeToReset,
        Self::AddFactor,
        Self::RenameFactor,
        Self::RemoveFactor,
        Self::VouchForDevice,
        Self::RenewCodes,
        Self::AskRecovery,
        Self::WithdrawRecovery,
        Self::Recover,
        Self::ResetPassword,
        Self::GiveLoginToken,
        Self::AddAddress,
        Self::RemoveAddress,
        Self::LinkIdentity,
        Self::UnlinkIdentity,
        Self::RemoveDevices,
        Self::PutRegistrationToken,
        Self::RemoveRegistrationToken,
        Self::BackUp,
        Self::Restore,
        Self::BeginAuthority,
        Self::PutAlias,
        Self::RemoveAlias,
        Self::PublishRoom,
        Self::WithdrawRoom,
        Self::OrderPurge,
        Self::PurgeRoom,
        Self::VoidPurge,
        Self::SendNotice,
        Self::RemoveMedia,
        Self::WithholdMedia,
        Self::ReleaseMedia,
        Self::SaveMapping,
        Self::ProposeChanges,
        Self::ApproveChanges,
        Self::TimeChanges,
        Self::WithdrawChanges,
        Self::ApplyChanges,
        Self::VoidChanges,
        Self::UndoChanges,
        Self::FollowSource,
        Self::LeaveSource,
        Self::RefuseReading,
        Self::AcceptEndings,
        Self::PutGroup,
        Self::RemoveGroup,
        Self::SetRule,
        Self::EndRule,
        Self::PutForward,
        Self::AdoptRoom,
        Self::MakeRoom,
        Self::MoveRoom,
        Self::JoinByRule,
        Self::LeaveByRule,
        Self::ChangeByRule,
        Self::CloseRoom,
        Self::ReopenRoom,
        Self::GrantAdministration,
        Self::RevokeAdministration,
        Self::ChangeProfile,
        Self::RenameDevice,
        Self::BlockRoom,
        Self::UnblockRoom,
        Self::EmptyRoom,
        Self::JoinRoom,
        Self::GrantRoomPower,
        Self::ReadRoom,
        Self::ReadAccount,
        Self::RetryPeer,
        Self::ProtectMedia,
        Self::UnprotectMedia,
        Self::RemoveReport,
        Self::GiveDuty,
        Self::TakeDuty,
        Self::ExportAudit,
        Self::ExportTable,
        Self::TryInVain,
        Self::AskCase,
        Self::AskCaseAgain,
        Self::ApproveCase,
        Self::ReturnCase,
        Self::RefuseCase,
        Self::WithdrawCase,
        Self::ExpireCase,
        Self::VoidApproval,
        Self::CarryOutCase,
        Self::FailCase,
        Self::RetryCase,
        Self::UndoCase,
        Self::EndCase,
        Self::NameDeputy,
        Self::EndDeputy,
        Self::ReachByAddress,
        Self::RetireRows,
        Self::SetRetention,
        Self::HoldRows,
        Self::ReleaseRows,
    ];

    /// Its word in rows, which never changes.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::SignIn => "session.sign_in",
            Self::SignInFailed => "session.sign_in_failed",
            Self::SignOut => "session.sign_out",
            Self::SignOutEverywhere => "session.sign_out_everywhere",
            Self::SignOutAtProvider => "session.sign_out_at_provider",
            Self::SignOutRefused => "session.sign_out_refused",
            Self::ConfirmFailed => "session.confirm_failed",
            Self::Register => "account.register",
            Self::RegisterFailed => "account.register_failed",
            Self::CreateAccount => "account.create",
            Self::CloseAccount => "account.close",
            Self::ReopenAccount => "account.reopen",
            Self::LockAccount => "account.lock",
            Self::UnlockAccount => "account.unlock",
            Self::SuspendAccount => "account.suspend",
            Self::ResumeAccount => "account.resume",
            Self::ChangePassword => "password.change",
            Self::SetPassword => "password.set",
            Self::AgreeToReset => "cross_signing.agree_to_reset",
            Self::AddFactor => "factor.add",
            Self::RenameFactor => "factor.rename",
            Self::RemoveFactor => "factor.remove",
            Self::VouchForDevice => "device.vouch",
            Self::RenewCodes => "factor.renew_codes",
            Self::AskRecovery => "factor.ask_recovery",
            Self::WithdrawRecovery => "factor.withdraw_recovery",
            Self::Recover => "factor.recover",
            Self::ResetPassword => "password.reset",
            Self::GiveLoginToken => "session.give_login_token",
            Self::AddAddress => "address.add",
            Self::RemoveAddress => "address.remove",
            Self::LinkIdentity => "identity.link",
            Self::UnlinkIdentity => "identity.unlink",
            Self::RemoveDevices => "device.remove",
            Self::PutRegistrationToken => "registration_token.put",
            Self::RemoveRegistrationToken => "registration_token.remove",
            Self::BackUp => "data.back_up",
            Self::Restore => "data.restore",
            Self::BeginAuthority => "authority.begin",
            Self::PutAlias => "alias.put",
            Self::RemoveAlias => "alias.remove",
            Self::PublishRoom => "directory.publish",
            Self::WithdrawRoom => "directory.withdraw",
            Self::OrderPurge => "room.order_purge",
            Self::PurgeRoom => "room.purge",
            Self::VoidPurge => "room.void_purge",
            Self::SendNotice => "notice.send",
            Self::RemoveMedia => "media.remove",
            Self::WithholdMedia => "media.withhold",
            Self::ReleaseMedia => "media.release",
            Self::SaveMapping => "organisation.save_mapping",
            Self::ProposeChanges => "organisation.propose",
            Self::ApproveChanges => "organisation.approve",
            Self::TimeChanges => "organisation.set_time",
            Self::WithdrawChanges => "organisation.withdraw",
            Self::ApplyChanges => "organisation.apply",
            Self::VoidChanges => "organisation.void",
            Self::UndoChanges => "organisation.undo",
            Self::FollowSource => "source.put_user",
            Self::LeaveSource => "source.remove_user",
            Self::RefuseReading => "source.refuse_reading",
            Self::AcceptEndings => "source.accept_endings",
            Self::PutGroup => "source.put_group",
            Self::RemoveGroup => "source.remove_group",
            Self::SetRule => "rules.set",
            Self::EndRule => "rules.end",
            Self::PutForward => "domains.put_forward",
            Self::AdoptRoom => "rules.adopt",
            Self::MakeRoom => "rules.make_room",
            Self::MoveRoom => "rules.move_room",
            Self::JoinByRule => "rules.join",
            Self::LeaveByRule => "rules.leave",
            Self::ChangeByRule => "rules.change",
            Self::CloseRoom => "rules.close_room",
            Self::ReopenRoom => "rules.reopen_room",
            Self::GrantAdministration => "account.grant_administration",
            Self::RevokeAdministration => "account.revoke_administration",
            Self::ChangeProfile => "account.change_profile",
            Self::RenameDevice => "device.rename",
            Self::BlockRoom => "room.block",
            Self::UnblockRoom => "room.unblock",
            Self::EmptyRoom => "room.empty",
            Self::JoinRoom => "room.join",
            Self::GrantRoomPower => "room.grant_power",
            Self::ReadRoom => "room.read",
            Self::ReadAccount => "account.read",
            Self::RetryPeer => "federation.retry",
            Self::ProtectMedia => "media.protect",
            Self::UnprotectMedia => "media.unprotect",
            Self::RemoveReport => "report.remove",
            Self::GiveDuty => "duty.give",
            Self::TakeDuty => "duty.take",
            Self::ExportAudit => "audit.export",
            Self::ExportTable => "table.export",
            Self::TryInVain => "power.refused",
            Self::AskCase => "case.ask",
            Self::AskCaseAgain => "case.ask_again",
            Self::ApproveCase => "case.approve",
            Self::ReturnCase => "case.return",
            Self::RefuseCase => "case.refuse",
            Self::WithdrawCase => "case.withdraw",
            Self::ExpireCase => "case.expire",
            Self::VoidApproval => "case.void_approval",
            Self::CarryOutCase => "case.carry_out",
            Self::FailCase => "case.fail",
            Self::RetryCase => "case.retry",
            Self::UndoCase => "case.undo",
            Self::EndCase => "case.end",
            Self::NameDeputy => "deputy.name",
            Self::EndDeputy => "deputy.end",
            Self::ReachByAddress => "address.reach",
            Self::RetireRows => "audit.retired",
            Self::SetRetention => "audit.set_retention",
            Self::HoldRows => "audit.hold",
            Self::ReleaseRows => "audit.release",
        }
    }

    /// The action of a word; `None` for one of a newer program.
    #[must_use]
    pub fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.word() == word)
    }
}

/// A row of the audit log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// When, by the calendar.
    pub at: Timestamp,
    /// Who: a user id, or what is known at the command line; empty for strangers.
    pub who: String,
    /// As what; see [`Role::word`].
    pub role: String,
    /// From which address, if one is known.
    pub from: Option<String>,
    /// Did what; see [`Action::word`].
    pub what: String,
    /// To whom or to what.
    pub whom: String,
    /// What was so before.
    pub before: Vec<(String, String)>,
    /// What is so after it.
    pub after: Vec<(String, String)>,
    /// The zone of the listener that the request came through, if that stands in one.
    pub zone: Option<String>,
    /// The device, if a session of one did it.
    pub device: Option<String>,
    /// The duties that let him do it, where it is not his being an administrator or himself; words of them.
    pub duty: Option<String>,
}
row!(Record, schema = 2, older = { 1 => RecordV1 });

/// A row as it was before it said zone, device and duty.
#[derive(Serialize, Deserialize)]
pub(crate) struct RecordV1 {
    at: Timestamp,
    who: String,
    role: String,
    from: Option<String>,
    what: String,
    whom: String,
    before: Vec<(String, String)>,
    after: Vec<(String, String)>,
}

impl From<RecordV1> for Record {
    fn from(row: RecordV1) -> Self {
        let RecordV1 { at, who, role, from, what, whom, before, after } = row;
        Self { at, who, role, from, what, whom, before, after, zone: None, device: None, duty: None }
    }
}

/// Something that somebody does, to be written with it.
#[derive(Clone, Debug)]
#[must_use = "a deed is in the audit log once it is written into a batch"]
pub struct Deed(Record);

impl Deed {
    /// What `by` does to `whom` at this moment.
    pub fn new(what: Action, by: &Actor, whom: &str, at: Timestamp) -> Self {
        Self(Record {
            at,
            who: cut(&by.name),
            role: by.role.word().to_owned(),
            from: by.from.as_ref().map(Address::written),
            what: what.word().to_owned(),
            whom: cut(whom),
            before: Vec::new(),
            after: Vec::new(),
            zone: by.from.as_ref().and_then(Address::zone).map(str::to_owned),
            device: by.device.as_deref().map(cut),
            duty: by.duty.as_deref().map(cut),
        })
    }

    /// Adds a fact about the state before it.
    pub fn before(mut self, name: &'static str, value: impl AsRef<str>) -> Self {
        push(&mut self.0.before, name, value.as_ref());
        self
    }

    /// Adds a fact about the state after it.
    pub fn after(mut self, name: &'static str, value: impl AsRef<str>) -> Self {
        push(&mut self.0.after, name, value.as_ref());
        self
    }

    /// Adds the row to the batch of the deed, in the log of this authority.
    pub fn write(&self, batch: &mut Batch, authority: &ServerName) {
        let slot = batch.mark([topic(authority)]);
        batch.append(&RECORDS, authority.as_str(), slot, &self.0.encode());
    }
}

/// Rows of an authority that are not chained yet.
pub(crate) fn topic(authority: &ServerName) -> Topic {
    Topic::new(32, authority.as_str())
}

fn push(facts: &mut Vec<(String, String)>, name: &'static str, value: &str) {
    if facts.len() < MOST_FACTS {
        facts.push((name.to_owned(), cut(value)));
    }
}

/// The beginning of a text, no longer than a row may hold.
fn cut(text: &str) -> String {
    let mut end = text.len().min(LONGEST);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}
