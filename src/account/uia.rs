//! User-interactive authentication: asking for proof before something grave.
//!
//! What is asked for is a list of flows, each of them a few [`AuthStage`]s. A request may show the proof of one stage; what a
//! session's requests, and our own pages, have shown so far is kept with it. A flow of one stage is complete with a
//! request that carries its proof, with or without a session. What was shown is looked at once more when the flow is
//! complete: a registration token may have been used up since, an address proved to somebody else.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#user-interactive-authentication-api>

use audit::{Action, Actor};
use base::Address;
use ruma::{
    DeviceId, OwnedUserId, ServerName, UserId,
    api::{
        client::uiaa::{AuthData, AuthFlow, AuthType, UiaaInfo, UserIdentifier},
        error::{ErrorKind, StandardErrorBody},
    },
};
use serde_json::{Map, Value, json, value::to_raw_value};
use sha2::{Digest, Sha256};

use crate::{
    Accounts, EmailPurpose, Error, Registration,
    config::EmailAtRegistration,
    email_tokens::Proved,
    emails::typed,
    failures::Attempt,
    guesses::Guesser,
    interactive::{Settled, stamp_of},
    registration_tokens::TokenUse,
    tables::{DoneRow, UserRow},
    users::refuse_closed,
};

/// A step of user-interactive authentication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthStage {
    /// Nothing is asked for.
    Dummy,
    /// The user's password.
    Password,
    /// A registration token.
    RegistrationToken,
    /// That the authority's terms are accepted.
    Terms,
    /// That the mails of an address are read.
    Email,
}

impl AuthStage {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Dummy, Self::Password, Self::RegistrationToken, Self::Terms, Self::Email];

    /// Its name in the specification.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dummy => "m.login.dummy",
            Self::Password => "m.login.password",
            Self::RegistrationToken => "m.login.registration_token",
            Self::Terms => "m.login.terms",
            Self::Email => "m.login.email.identity",
        }
    }

    /// The stage of this name.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|stage| stage.name() == name)
    }
}

impl DoneRow {
    fn stage(&self) -> AuthStage {
        match self {
            Self::Dummy => AuthStage::Dummy,
            Self::Password { .. } => AuthStage::Password,
            Self::RegistrationToken { .. } => AuthStage::RegistrationToken,
            Self::Terms => AuthStage::Terms,
            Self::Email { .. } => AuthStage::Email,
        }
    }
}

/// What is asked for in a session: any of these flows, in the order in which clients are to prefer them.
pub(crate) type Flows = Vec<Vec<AuthStage>>;

/// What somebody has shown so far, as far as it still holds.
#[derive(Default)]
pub(crate) struct Progress {
    pub(crate) done: Vec<DoneRow>,
    token: Option<TokenUse>,
    email: Option<Proved>,
}

impl Progress {
    fn has(&self, stage: AuthStage) -> bool {
        self.done.iter().any(|done| done.stage() == stage)
    }

    fn completes(&self, flows: &Flows) -> bool {
        flows.iter().any(|flow| flow.iter().all(|stage| self.has(*stage)))
    }
}

/// What somebody who registers has proved.
pub(crate) struct Admission {
    /// A registration token, whose use is to be counted in the batch that makes the account.
    pub(crate) token: Option<TokenUse>,
    /// An address, which is to be the account's.
    pub(crate) email: Option<Proved>,
    accepts_terms: bool,
}

impl Admission {
    /// Its words in the audit log.
    pub(crate) fn words(&self) -> String {
        let words = [
            self.token.is_some().then_some("registration_token"),
            self.email.is_some().then_some("email"),
            self.accepts_terms.then_some("terms"),
        ];
        let words: Vec<&str> = words.into_iter().flatten().collect();
        if words.is_empty() { "none".to_owned() } else { words.join(" ") }
    }
}

/// What is said of a proof that does not do.
#[derive(Clone, Copy)]
pub(crate) enum Complaint {
    /// It is wrong.
    Wrong(&'static str),
    /// It is not there yet: clients ask again and again and say nothing of it.
    NotYet(&'static str),
}

impl Complaint {
    fn body(self) -> StandardErrorBody {
        match self {
            Self::Wrong(text) => StandardErrorBody::new(ErrorKind::Forbidden, text.to_owned()),
            Self::NotYet(text) => StandardErrorBody::new(ErrorKind::Unauthorized, text.to_owned()),
        }
    }
}

impl Accounts {
    /// Asks for the user's password, on a device where the user is logged in. Answers with the row that the
    /// password is of: what was confirmed is done only as long as that is the account's.
    ///
    /// # Errors
    /// [`Error::Interactive`] when it is not there or wrong, [`Error::Forbidden`] when it is somebody
    /// else's, [`Error::Deactivated`], [`Error::Limited`] after too many wrong ones of this device,
    /// [`Error::Store`].
    pub(crate) async fn confirm_with_password(
        &self,
        user: &UserId,
        device: &DeviceId,
        settled: &Settled,
    ) -> Result<UserRow, Error> {
        let flows = vec![vec![AuthStage::Password]];
        let given = match shown(settled) {
            Some(AuthData::Password(given)) => given,
            other => {
                // Given on a page of ours, for the account as it was then.
                let stamp = settled.done().iter().find_map(DoneRow::stamp);
                if let (None, Some(stamp)) = (other, stamp) {
                    let row = self.get_user_row(user).await?;
                    refuse_closed(user, Some(&row))?;
                    if stamp_of(&row, None, false) == stamp {
                        return Ok(row);
                    }
                }
                let complaint = other.map(|_| NOT_OFFERED);
                return Err(self.challenge(user.server_name(), &flows, settled, &[], complaint).await);
            }
        };
        if self.identify(user.server_name(), &given.identifier).await?.as_deref() != Some(user) {
            tracing::info!(user_id = %user, operation = settled.operation, "tried to confirm as somebody else");
            self.note_unconfirmed(user, false, settled, "somebody_else");
            return Err(Error::Forbidden("this has to be confirmed by the user who asks for it"));
        }
        let row = self.get_user_row(user).await?;
        refuse_closed(user, Some(&row))?;
        let by = Guesser::Session(device);
        let checked = self.check_password(user, &given.password, row.password.as_deref(), by).await;
        match &checked {
            Ok(true) => return Ok(row),
            Ok(false) => self.note_unconfirmed(user, row.admin, settled, "wrong_password"),
            Err(error) if error.is_too_often() => {
                self.note_unconfirmed(user, row.admin, settled, "too_often")
            }
            Err(_) => {}
        }
        checked?;
        let wrong = Some(Complaint::Wrong("the password is wrong"));
        Err(self.challenge(user.server_name(), &flows, settled, &[], wrong).await)
    }

    /// Notes for the audit log that somebody who is logged in could not confirm what he asked for.
    fn note_unconfirmed(&self, user: &UserId, administers: bool, settled: &Settled, reason: &'static str) {
        let (authority, by) = (user.server_name().to_owned(), Actor::user(user, administers, settled.from));
        let whom = Some(user.to_owned());
        self.note_failure(Attempt { authority, what: Action::ConfirmFailed, by, whom, reason });
    }

    /// Asks for what an authority wants from those who register.
    pub(crate) async fn admit(&self, authority: &ServerName, settled: &Settled) -> Result<Admission, Error> {
        let flows = self.registration_flows(authority)?;
        let progress = self.pursue(authority, &flows, EmailPurpose::Register, settled).await?;
        let accepts_terms = progress.has(AuthStage::Terms);
        Ok(Admission { token: progress.token, email: progress.email, accepts_terms })
    }

    /// Asks for the proof that an address's mails are read, by who has forgotten his password.
    ///
    /// # Errors
    /// [`Error::Interactive`], [`Error::Store`].
    pub(crate) async fn prove_email(
        &self,
        authority: &ServerName,
        settled: &Settled,
    ) -> Result<Proved, Error> {
        let flows = vec![vec![AuthStage::Email]];
        let progress = self.pursue(authority, &flows, EmailPurpose::ResetPassword, settled).await?;
        progress.email.ok_or(Error::Contended)
    }

    /// Whether an authority asks those who register for an address.
    pub fn email_at_registration(&self, authority: &ServerName) -> EmailAtRegistration {
        match (self.takes_emails(authority), &self.settings(authority).mail) {
            (true, Some(mail)) => mail.at_registration,
            _ => EmailAtRegistration::Off,
        }
    }

    /// The flows that an authority offers to those who register.
    ///
    /// # Errors
    /// [`Error::RegistrationClosed`].
    pub(crate) fn registration_flows(&self, authority: &ServerName) -> Result<Flows, Error> {
        let settings = self.settings(authority);
        let mut always = match settings.registration {
            Registration::Closed => return Err(Error::RegistrationClosed),
            Registration::Token => vec![AuthStage::RegistrationToken],
            Registration::Open => Vec::new(),
        };
        let email = self.email_at_registration(authority);
        if !settings.terms.is_empty() {
            always.push(AuthStage::Terms);
        }
        let with_email = [vec![AuthStage::Email], always.clone()].concat();
        if always.is_empty() {
            always.push(AuthStage::Dummy);
        }
        Ok(match email {
            EmailAtRegistration::Off => vec![always],
            EmailAtRegistration::Optional => vec![always, with_email],
            EmailAtRegistration::Required => vec![with_email],
        })
    }

    /// Looks at what a stranger shows, beside what his session has shown already, until one of the flows is complete.
    async fn pursue(
        &self,
        authority: &ServerName,
        flows: &Flows,
        purpose: EmailPurpose,
        settled: &Settled,
    ) -> Result<Progress, Error> {
        let kept = if settled.lost.is_some() { &[] } else { settled.done() };
        let mut progress = self.still_good(authority, purpose, kept).await?;
        let mut complaint = None;
        if let Some(auth) = shown(settled) {
            match self.look_at(authority, flows, purpose, auth, settled.from).await? {
                Ok(done) => {
                    let more = self.still_good(authority, purpose, &[done]).await?;
                    progress.token = more.token.or(progress.token);
                    progress.email = more.email.or(progress.email);
                    progress.done.retain(|old| more.done.iter().all(|new| new.stage() != old.stage()));
                    progress.done.extend(more.done);
                }
                Err(wrong) => complaint = Some(wrong),
            }
        }
        if progress.completes(flows) && complaint.is_none() {
            return Ok(progress);
        }
        Err(self.challenge(authority, flows, settled, &progress.done, complaint).await)
    }

    /// Those of these that still hold, with what they lead to.
    async fn still_good(
        &self,
        authority: &ServerName,
        purpose: EmailPurpose,
        done: &[DoneRow],
    ) -> Result<Progress, Error> {
        let mut progress = Progress::default();
        for row in done {
            match row {
                DoneRow::Dummy | DoneRow::Terms => {}
                DoneRow::Password { .. } => continue,
                DoneRow::RegistrationToken { token } => {
                    match self.find_usable_registration_token(authority, token).await? {
                        Some(token) => progress.token = Some(token),
                        None => continue,
                    }
                }
                DoneRow::Email { sid } => match self.find_proved_again(authority, purpose, sid).await? {
                    Some(proved) => progress.email = Some(proved),
                    None => continue,
                },
            }
            progress.done.push(row.clone());
        }
        Ok(progress)
    }

    /// Looks at the proof of one stage.
    async fn look_at(
        &self,
        authority: &ServerName,
        flows: &Flows,
        purpose: EmailPurpose,
        auth: &AuthData,
        from: Option<Address>,
    ) -> Result<Result<DoneRow, Complaint>, Error> {
        let (stage, done) = match auth {
            AuthData::Dummy(_) => (AuthStage::Dummy, DoneRow::Dummy),
            AuthData::Terms(_) => (AuthStage::Terms, DoneRow::Terms),
            AuthData::RegistrationToken(given) => {
                (AuthStage::RegistrationToken, DoneRow::RegistrationToken { token: given.token.clone() })
            }
            AuthData::EmailIdentity(given) => {
                (AuthStage::Email, DoneRow::Email { sid: given.thirdparty_id_creds.sid.to_string() })
            }
            _ => return Ok(Err(NOT_OFFERED)),
        };
        if !flows.iter().any(|flow| flow.contains(&stage)) {
            return Ok(Err(NOT_OFFERED));
        }
        match auth {
            AuthData::RegistrationToken(given) => self
                .check_registration_token(authority, &given.token, from)
                .await
                .map(|good| good.map(|()| done)),
            AuthData::EmailIdentity(given) => {
                let shown = &given.thirdparty_id_creds;
                let (sid, secret) = (shown.sid.as_str(), shown.client_secret.as_str());
                let proved = self.find_proved(authority, purpose, sid, secret).await?;
                Ok(proved
                    .map(|_| done)
                    .ok_or(Complaint::NotYet("the address is not confirmed, or not any more")))
            }
            _ => Ok(Ok(done)),
        }
    }

    /// Whether a registration token could be used now; one that cannot is noted.
    pub(crate) async fn check_registration_token(
        &self,
        authority: &ServerName,
        token: &str,
        from: Option<Address>,
    ) -> Result<Result<(), Complaint>, Error> {
        if self.find_usable_registration_token(authority, token).await?.is_some() {
            return Ok(Ok(()));
        }
        let (authority, by) = (authority.to_owned(), Actor::stranger(from));
        let (what, reason) = (Action::RegisterFailed, "registration_token");
        self.note_failure(Attempt { authority, what, by, whom: None, reason });
        Ok(Err(Complaint::Wrong("the registration token is not valid")))
    }

    /// Which user of this authority an identifier means. Somebody else's user is a user as well:
    /// whether it exists, and here, is for the caller to find out. Nothing for an address that nobody has.
    pub(crate) async fn identify(
        &self,
        authority: &ServerName,
        identifier: &UserIdentifier,
    ) -> Result<Option<OwnedUserId>, Error> {
        match identifier {
            UserIdentifier::Matrix(id) => parse_login_name(&id.user, authority).map(Some),
            UserIdentifier::Email(id) => match typed(&id.address) {
                Some(email) => self.find_email_owner(authority, email.as_str()).await,
                None => Ok(None),
            },
            _ => Err(Error::InvalidParam("this kind of user identifier is not supported".to_owned())),
        }
    }

    /// The answer that asks for a flow, with the error of the attempt before. It names the request's
    /// session, which is kept from now on with what was shown.
    async fn challenge(
        &self,
        authority: &ServerName,
        flows: &Flows,
        settled: &Settled,
        done: &[DoneRow],
        complaint: Option<Complaint>,
    ) -> Error {
        let session = match self.keep_interactive(settled, done).await {
            Ok(session) => session,
            Err(error) => return error,
        };
        let type_of = |stage: &AuthStage| AuthType::from(stage.name());
        let flow = |stages: &Vec<AuthStage>| AuthFlow::new(stages.iter().map(type_of).collect());
        let mut info = UiaaInfo::new(flows.iter().map(flow).collect());
        info.completed = done.iter().map(|done| type_of(&done.stage())).collect();
        // Clients read `params` even when it is empty.
        info.params = to_raw_value(&self.parameters(authority, flows)).ok();
        info.session = Some(session);
        let complaint = settled.lost.map(Complaint::Wrong).or(complaint);
        info.auth_error = complaint.map(|complaint| Box::new(complaint.body()));
        Error::Interactive(Box::new(info))
    }

    /// What clients need to know for the stages of these flows.
    fn parameters(&self, authority: &ServerName, flows: &Flows) -> Value {
        let mut parameters = Map::new();
        if flows.iter().any(|flow| flow.contains(&AuthStage::Terms)) {
            let mut policies = Map::new();
            for terms in &self.settings(authority).terms {
                let mut policy = Map::from_iter([("version".to_owned(), json!(terms.version))]);
                let texts = terms.texts.iter();
                policy.extend(
                    texts.map(|text| (text.language.clone(), json!({ "name": text.name, "url": text.url }))),
                );
                policies.insert(terms.id.clone(), Value::Object(policy));
            }
            parameters.insert(AuthStage::Terms.name().to_owned(), json!({ "policies": policies }));
        }
        Value::Object(parameters)
    }
}

const NOT_OFFERED: Complaint = Complaint::Wrong("this kind of authentication is not offered here");

/// What a request shows, if that counts; a bare session id asks for the state of things.
fn shown(settled: &Settled) -> Option<&AuthData> {
    let auth = settled.auth.as_ref().filter(|_| settled.lost.is_none());
    auth.filter(|auth| !matches!(auth, AuthData::FallbackAcknowledgement(_)))
}

/// A user name as people type it when they log in: a localpart or a full id, in any case.
pub(crate) fn parse_login_name(name: &str, authority: &ServerName) -> Result<OwnedUserId, Error> {
    let name = name.trim().to_lowercase();
    UserId::parse_with_server_name(name.as_str(), authority)
        .map_err(|_invalid| Error::InvalidParam("this is not a user name".to_owned()))
}

/// Whom guesses at the account of an address count against that nobody has: nobody can have this name.
pub(crate) fn nobody_of(authority: &ServerName, address: &str) -> Result<OwnedUserId, Error> {
    let hash = Sha256::digest(address.trim().to_lowercase().as_bytes());
    let name: String = hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    UserId::parse_with_server_name(format!("address~{name}"), authority)
        .map_err(|_invalid| Error::WrongCredentials)
}
