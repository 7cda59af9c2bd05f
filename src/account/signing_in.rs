//! What passes between those who sign in to our pages and us: how far they are, and what is missing.

use base::Address;
use factor::{Challenge, Kind, Made, Party, Secret};
use ruma::{OwnedUserId, UserId};
use serde::{Deserialize, Serialize};

use crate::ProviderLogin;

/// The browser in which somebody signs in.
#[derive(Clone, Copy)]
pub struct InBrowser<'a> {
    /// What this browser alone has given to it, so that what is begun in one is not ended in another.
    pub key: [u8; 32],
    /// Where it is, if that is known.
    pub from: Option<Address>,
    /// What it calls itself.
    pub agent: Option<&'a str>,
}

impl std::fmt::Debug for InBrowser<'_> {
    /// Keys do not belong in logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("InBrowser")
    }
}

/// What a browser shows from now on.
#[derive(Clone, PartialEq, Eq)]
pub struct BrowserSecret(pub String);

impl std::fmt::Debug for BrowserSecret {
    /// Secrets do not belong in logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BrowserSecret")
    }
}

/// How far somebody is who signs in to our pages.
#[derive(Debug)]
pub enum SignedIn {
    /// He is in.
    Done(OwnedUserId, BrowserSecret),
    /// Something is missing.
    Unfinished(Unfinished),
}

impl SignedIn {
    /// Whose account it is.
    #[must_use]
    pub fn user(&self) -> &UserId {
        match self {
            Self::Done(user, _) => user,
            Self::Unfinished(unfinished) => &unfinished.user_id,
        }
    }

    /// Who is in, and what his browser shows from now on; nothing where a step is missing.
    #[must_use]
    pub fn done(self) -> Option<(OwnedUserId, BrowserSecret)> {
        match self {
            Self::Done(user, secret) => Some((user, secret)),
            Self::Unfinished(_) => None,
        }
    }
}

/// A sign-in of which a step is missing, or a factor that is being set up.
pub struct Unfinished {
    /// Whose.
    pub user_id: OwnedUserId,
    /// What is missing.
    pub wants: Wants,
    /// What a passkey is to sign.
    pub challenge: Challenge,
    /// What goes with the answer.
    pub ticket: String,
}

impl std::fmt::Debug for Unfinished {
    /// Tickets do not belong in logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Unfinished").field("user_id", &self.user_id).finish_non_exhaustive()
    }
}

/// What is missing of a sign-in.
#[derive(Clone, PartialEq, Eq)]
pub enum Wants {
    /// A factor of the account.
    Factor {
        /// Whether it is the code that a recovery handed over.
        recovered: bool,
        /// Whether there is an authenticator app.
        app: bool,
        /// What the account's passkeys are called.
        passkeys: Vec<Vec<u8>>,
    },
    /// A new factor: an app with this secret, or a passkey, none of those that there are.
    New {
        /// What the app is to have in common with us.
        secret: Secret,
        /// What the account's passkeys are called.
        passkeys: Vec<Vec<u8>>,
    },
}

impl std::fmt::Debug for Wants {
    /// Secrets do not belong in logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Factor { .. } => "Factor",
            Self::New { .. } => "New",
        })
    }
}

/// What somebody shows to set up a factor.
#[derive(Clone, Copy)]
pub enum NewFactor<'a> {
    /// The first code of an app.
    App {
        /// As it was typed.
        code: &'a str,
    },
    /// What an authenticator has made.
    Passkey {
        /// Who we are to it.
        party: &'a Party,
        /// What it has made.
        made: Made<'a>,
    },
}

impl std::fmt::Debug for NewFactor<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NewFactor")
    }
}

impl NewFactor<'_> {
    pub(crate) const fn kind(&self) -> Kind {
        match self {
            Self::App { .. } => Kind::App,
            Self::Passkey { .. } => Kind::Passkey,
        }
    }
}

/// By what somebody has shown who he is, in words of the audit log; empty ones are left out.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Proof {
    pub(crate) by: String,
    pub(crate) issuer: String,
    pub(crate) acr: String,
    pub(crate) amr: String,
    pub(crate) factor: String,
    /// By which login at a provider, if by one; no word of the log.
    #[serde(default)]
    pub(crate) login: Option<ProviderLogin>,
}

impl Proof {
    pub(crate) fn by(word: &str) -> Self {
        Self { by: word.to_owned(), ..Self::default() }
    }

    /// Its words by name.
    pub(crate) fn words(&self) -> [(&'static str, &str); 5] {
        [
            ("proof", &self.by),
            ("issuer", &self.issuer),
            ("acr", &self.acr),
            ("amr", &self.amr),
            ("factor", &self.factor),
        ]
    }
}
