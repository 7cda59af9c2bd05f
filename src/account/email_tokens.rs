//! Proving that one reads the mails of an address.
//!
//! Who wants to use an address says it together with a secret of the client's; a mail with a word goes there, and whoever
//! brings that word here ([`Accounts::confirm_email`]) has read it. Then the client, which alone knows its secret, does
//! what it was for. So neither who reads the mail nor who asked for it gets anything without the other, and a proof is
//! good for the one purpose that the mail names, once, within a day.
//!
//! The id of such a session follows from the secret, the address and the purpose: the same request is the same session,
//! whatever process it meets, and one that sends no mail is answered alike. Where an authority does not tell who is
//! known to it (the default), a mail tells the owner of the address what nobody else has to know, and the same is
//! written either way.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#adding-account-administrative-contact-information>

use std::time::Duration;

use base::{Address, Attempts};
use mail::{EmailAddress, Mails};
use ruma::ServerName;
use sha2::{Digest, Sha256};
use store::{Batch, Order, Range};
use subtle::ConstantTimeEq;

use crate::{
    Accounts, EmailPurpose, Error,
    error::ContactError,
    mail_texts,
    tables::{self, ValidationRow, millis},
    tokens,
};

/// How long a proof may take, and be used.
const LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

/// Wrong words that are looked at in one session.
const MOST_WRONG: u8 = 10;

/// Letters of a word: 31^12 is more than 2^59, of which somebody may try ten.
const WORD_CHARS: usize = 12;

/// The letters: none that is taken for another.
const LETTERS: &[u8; 31] = b"ABCDEFGHJKLMNPQRSTUVWXYZ2345678";

/// Longest secret of a client, and longest link.
const LONGEST_SECRET: usize = 255;
const LONGEST_LINK: usize = 2_048;

/// Rows that are looked at, and removed, at a time.
const PAGE: usize = 500;

/// A request for a mail with a word.
#[derive(Clone)]
pub struct EmailRequest {
    /// What for.
    pub purpose: EmailPurpose,
    /// Which address.
    pub email: String,
    /// The client's secret.
    pub client_secret: String,
    /// A mail is sent again only with a higher number.
    pub send_attempt: u64,
    /// Where a browser is to go in the end.
    pub next_link: Option<String>,
    /// Where the client is, if that is known.
    pub from: Option<Address>,
}

impl std::fmt::Debug for EmailRequest {
    /// Secrets and people's addresses do not belong in logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EmailRequest").field("purpose", &self.purpose).finish_non_exhaustive()
    }
}

/// A session in which an address is proved, as whoever opened the mail's link is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmailSession {
    /// The address.
    pub email: String,
    /// What it is for.
    pub purpose: EmailPurpose,
    /// Whether it was confirmed.
    pub is_confirmed: bool,
    /// Where a browser is to go in the end.
    pub next_link: Option<String>,
}

/// Why a word was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotConfirmed {
    /// It is another one; some more attempts are left.
    WrongWord,
    /// The session is over: it was used, is too old, or was guessed at too often.
    Over,
}

/// An address that somebody has proved to read.
#[derive(Debug)]
pub(crate) struct Proved {
    key: (String, String),
    row: ValidationRow,
}

impl Proved {
    pub(crate) fn email(&self) -> &str {
        &self.row.email
    }

    /// When the mail was asked for.
    pub(crate) fn began_ms(&self) -> u64 {
        self.row.began_ms
    }

    pub(crate) fn validated_ms(&self) -> u64 {
        self.row.validated_ms.unwrap_or_default()
    }

    /// Adds to a batch that the proof is used; the batch fails if somebody else was faster.
    pub(crate) fn put_use(&self, batch: &mut Batch) {
        batch.require(&tables::VALIDATIONS, &self.key, Some(&self.row));
        batch.delete(&tables::VALIDATIONS, &self.key);
    }
}

impl Accounts {
    /// From now on accounts send mails. Called once, before anything is asked.
    pub fn send_mails_by(&self, mails: Mails) {
        // Whoever calls it again keeps the first one.
        self.inner.mails.get_or_init(|| mails);
    }

    /// What sends the mails of an authority, if something does.
    pub(crate) fn mails(&self, authority: &ServerName) -> Option<&Mails> {
        let has_links = self.settings(authority).mail.is_some();
        self.inner.mails.get().filter(|mails| has_links && mails.serves(authority.as_str()))
    }

    /// Whether an authority's users may have e-mail addresses.
    pub fn takes_emails(&self, authority: &ServerName) -> bool {
        self.mails(authority).is_some()
    }

    /// Sends a mail with a word to an address, unless this was done for this request; answers with the session's id.
    ///
    /// # Errors
    /// [`Error::Contact`] where the authority sends no mails, does not take the address, or tells who is known to it;
    /// [`Error::InvalidParam`], [`Error::Limited`], [`Error::Contended`], [`Error::Store`].
    ///
    /// Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3registeremailrequesttoken>
    pub async fn request_email_token(
        &self,
        authority: &ServerName,
        request: EmailRequest,
    ) -> Result<String, Error> {
        let mails = self.mails(authority).ok_or(ContactError::NotSupported)?;
        let email = parse_email(&request.email)?;
        check_secret(&request.client_secret)?;
        self.check_email_allowed(authority, request.purpose, &email)?;
        let sid = session_id(authority, request.purpose, &request.client_secret, &email);
        let key = (authority.as_str(), sid.as_str());
        let mut attempts = Attempts::default();
        let mut is_counted = false;
        loop {
            let known = self.inner.store.get(&tables::VALIDATIONS, &key).await?;
            let going_on = known.as_ref().filter(|row| !self.is_validation_over(row));
            if going_on.is_some_and(|row| row.attempt >= request.send_attempt || row.validated_ms.is_some()) {
                return Ok(sid);
            }
            if !is_counted {
                // Before it is looked up who has the address: whoever gets no mail must not get another answer either.
                mails.check_room(authority.as_str()).await?;
                self.inner.mail_rates.take(authority, &email, request.from)?;
                is_counted = true;
            }
            let owner = self.find_email_owner(authority, email.as_str()).await?;
            let hides = self.settings(authority).mail.as_ref().is_none_or(|mail| mail.hides_who_is_known);
            match (request.purpose, &owner) {
                (EmailPurpose::ResetPassword, None) if !hides => return Err(ContactError::NotFound.into()),
                (EmailPurpose::Register | EmailPurpose::Add, Some(_)) if !hides => {
                    return Err(ContactError::InUse.into());
                }
                _ => {}
            }
            let word = self.new_word();
            // Written alike whether or not a word can be brought, so that nobody feels the difference.
            let can_be_confirmed = (request.purpose == EmailPurpose::ResetPassword) == owner.is_some();
            let row = ValidationRow {
                purpose: request.purpose.number(),
                email: email.to_string(),
                secret: tokens::hash(&request.client_secret),
                word: if can_be_confirmed { tokens::hash(&word) } else { [0; 32] },
                attempt: request.send_attempt,
                began_ms: self.now_ms(),
                validated_ms: None,
                wrong: 0,
                next_link: request.next_link.clone().filter(|link| self.may_go_to(authority, link)),
            };
            let mut batch = Batch::new();
            match &known {
                Some(known) => batch.replace(&tables::VALIDATIONS, &key, known, &row),
                None => batch.insert(&tables::VALIDATIONS, &key, &row),
            };
            let link = self.link_to(authority, &sid, &word);
            let mail = match (request.purpose, can_be_confirmed) {
                (purpose, true) => Some(mail_texts::with_word(authority, purpose, &word, &link)),
                // Nobody has an account by this address: whoever reads its mails has nothing to do with it.
                (EmailPurpose::ResetPassword, false) => None,
                (EmailPurpose::Register | EmailPurpose::Add, false) => {
                    Some(mail_texts::known_already(authority))
                }
            };
            if let Some((subject, text)) = mail {
                let (to, html, unsubscribe) = (email.clone(), None, None);
                let mail = mail::Mail { to, subject, text, html, unsubscribe, good_for: LIFETIME };
                mails.put(&mut batch, authority.as_str(), &mail).await?;
            }
            match self.commit(batch).await {
                Err(Error::Contended) => self.again(&mut attempts).await?,
                done => return done.map(|()| sid),
            }
        }
    }

    /// What the session of a mail's link is about; nothing for one that is over.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn find_email_session(
        &self,
        authority: &ServerName,
        sid: &str,
    ) -> Result<Option<EmailSession>, Error> {
        let row = self.find_validation(authority, sid).await?;
        Ok(row.and_then(|row| {
            Some(EmailSession {
                purpose: EmailPurpose::of_number(row.purpose)?,
                is_confirmed: row.validated_ms.is_some(),
                email: row.email,
                next_link: row.next_link,
            })
        }))
    }

    /// Takes the word of a mail: from now on the address is proved in this session. Once more does no harm.
    ///
    /// # Errors
    /// [`Error::Contended`], [`Error::Store`]; [`NotConfirmed`] for a word that is not taken.
    pub async fn confirm_email(
        &self,
        authority: &ServerName,
        sid: &str,
        word: &str,
    ) -> Result<Result<EmailSession, NotConfirmed>, Error> {
        let key = (authority.as_str(), sid);
        let word = tokens::hash(&word.trim().to_ascii_uppercase());
        let mut attempts = Attempts::default();
        loop {
            let Some(row) = self.find_validation(authority, sid).await? else {
                return Ok(Err(NotConfirmed::Over));
            };
            let Some(purpose) = EmailPurpose::of_number(row.purpose) else {
                return Ok(Err(NotConfirmed::Over));
            };
            if row.wrong >= MOST_WRONG {
                return Ok(Err(NotConfirmed::Over));
            }
            let is_right: bool = row.word.ct_eq(&word).into();
            let mut changed = row.clone();
            if is_right {
                changed.validated_ms = row.validated_ms.or(Some(self.now_ms()));
            } else {
                changed.wrong = row.wrong.saturating_add(1);
            }
            let mut batch = Batch::new();
            if changed != row {
                batch.replace(&tables::VALIDATIONS, &key, &row, &changed);
            }
            match self.commit(batch).await {
                Err(Error::Contended) => self.again(&mut attempts).await?,
                Err(error) => return Err(error),
                Ok(()) if !is_right => return Ok(Err(NotConfirmed::WrongWord)),
                Ok(()) => {
                    let (email, next_link) = (changed.email, changed.next_link);
                    return Ok(Ok(EmailSession { email, purpose, is_confirmed: true, next_link }));
                }
            }
        }
    }

    /// The address that a client has had proved for this purpose; nothing as long as it is not, or where the secret is
    /// another one.
    pub(crate) async fn find_proved(
        &self,
        authority: &ServerName,
        purpose: EmailPurpose,
        sid: &str,
        client_secret: &str,
    ) -> Result<Option<Proved>, Error> {
        let Some(row) = self.find_validation(authority, sid).await? else { return Ok(None) };
        let is_its: bool = row.secret.ct_eq(&tokens::hash(client_secret)).into();
        if !is_its || row.purpose != purpose.number() || row.validated_ms.is_none() {
            return Ok(None);
        }
        Ok(Some(Proved { key: (authority.to_string(), sid.to_owned()), row }))
    }

    /// The same for who has shown the secret before.
    pub(crate) async fn find_proved_again(
        &self,
        authority: &ServerName,
        purpose: EmailPurpose,
        sid: &str,
    ) -> Result<Option<Proved>, Error> {
        let row = self.find_validation(authority, sid).await?;
        let row = row.filter(|row| row.purpose == purpose.number() && row.validated_ms.is_some());
        Ok(row.map(|row| Proved { key: (authority.to_string(), sid.to_owned()), row }))
    }

    async fn find_validation(
        &self,
        authority: &ServerName,
        sid: &str,
    ) -> Result<Option<ValidationRow>, Error> {
        if sid.is_empty() || sid.len() > LONGEST_SECRET {
            return Ok(None);
        }
        let row = self.inner.store.get(&tables::VALIDATIONS, &(authority.as_str(), sid)).await?;
        Ok(row.filter(|row| !self.is_validation_over(row)))
    }

    fn is_validation_over(&self, row: &ValidationRow) -> bool {
        // In either direction: a calendar that was set back must not keep a session for years.
        self.now_ms().abs_diff(row.began_ms) >= millis(LIFETIME)
    }

    /// Addresses that an authority does not take are refused for what is new; who has one keeps its use.
    fn check_email_allowed(
        &self,
        authority: &ServerName,
        purpose: EmailPurpose,
        email: &EmailAddress,
    ) -> Result<(), Error> {
        let Some(mail) = &self.settings(authority).mail else {
            return Err(ContactError::NotSupported.into());
        };
        let is_new = purpose != EmailPurpose::ResetPassword;
        let is_taken = mail.domains.is_empty() || mail.domains.iter().any(|domain| domain == email.domain());
        if is_new && !is_taken { Err(ContactError::Denied.into()) } else { Ok(()) }
    }

    /// Whether a browser may be sent to a link in the end: the mail is ours, so it is not to lead anywhere.
    fn may_go_to(&self, authority: &ServerName, link: &str) -> bool {
        let Some(mail) = &self.settings(authority).mail else { return false };
        let Some(rest) = link.strip_prefix("https://").filter(|_| link.len() <= LONGEST_LINK) else {
            return false;
        };
        let host = rest.split(['/', '?', '#', '\\']).next().unwrap_or_default();
        !link.contains(|letter: char| letter.is_control() || letter.is_whitespace())
            && mail.next_hosts.iter().any(|known| known.eq_ignore_ascii_case(host))
    }

    fn link_to(&self, authority: &ServerName, sid: &str, word: &str) -> String {
        let base = self.settings(authority).mail.as_ref().map_or("", |mail| mail.base_url.as_str());
        format!("{base}/_yakuba/client/email?sid={sid}&word={word}")
    }

    fn new_word(&self) -> String {
        let mut word = String::new();
        while word.len() < WORD_CHARS {
            let mut chance = [0; WORD_CHARS];
            self.inner.random.fill(&mut chance);
            // 248 is the last multiple of 31: each letter is as likely as any other.
            let letters =
                chance.iter().filter(|byte| **byte < 248).map(|byte| usize::from(*byte) % LETTERS.len());
            word.extend(letters.filter_map(|at| LETTERS.get(at).copied()).map(char::from));
        }
        word.truncate(WORD_CHARS);
        word
    }

    /// Removes the sessions whose time is over; returns how many.
    pub(crate) async fn sweep_validations(&self) -> Result<usize, Error> {
        let (mut rest, mut count) = (Range::all(), 0);
        loop {
            let page = self.inner.store.scan(&tables::VALIDATIONS, rest, Order::Ascending, PAGE).await?;
            let next = page.get(PAGE - 1).map(|(last, _)| Range::all().after(last));
            let mut batch = Batch::new();
            for (key, _) in page.iter().filter(|(_, row)| self.is_validation_over(row)) {
                batch.delete(&tables::VALIDATIONS, key);
                count += 1;
            }
            if !batch.is_empty() {
                self.commit(batch).await?;
            }
            match next {
                Some(next) => rest = next,
                None => return Ok(count),
            }
        }
    }
}

/// An address in the form in which it is kept.
pub(crate) fn parse_email(text: &str) -> Result<EmailAddress, Error> {
    text.parse().map_err(|error: mail::BadAddress| Error::InvalidParam(error.to_string()))
}

/// Spec: <https://spec.matrix.org/v1.19/appendices/#opaque-identifiers>
fn check_secret(secret: &str) -> Result<(), Error> {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".=_-".contains(&byte);
    match secret.len() {
        1..=LONGEST_SECRET if secret.bytes().all(is_allowed) => Ok(()),
        _ => Err(Error::InvalidParam("client_secret has 1 to 255 of 0-9 a-z A-Z . = _ -".to_owned())),
    }
}

fn session_id(authority: &ServerName, purpose: EmailPurpose, secret: &str, email: &EmailAddress) -> String {
    let mut hash = Sha256::new_with_prefix(b"session of an address");
    for part in [authority.as_str(), secret, email.as_str()] {
        hash.update([0]);
        hash.update(part.as_bytes());
    }
    hash.update([0, purpose.number()]);
    hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

impl From<mail::Error> for Error {
    fn from(error: mail::Error) -> Self {
        match error {
            mail::Error::Full => {
                Self::Limited { limit: "mails_waiting", retry_after: Duration::from_secs(60) }
            }
            mail::Error::TooLarge => Self::TooLarge("the mail would be too large"),
            mail::Error::Store(cause) => cause.into(),
        }
    }
}
