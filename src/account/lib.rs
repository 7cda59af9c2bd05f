//! Accounts: who the people of our authorities are and how they prove it.
//!
//! Users, passwords, sessions and devices, profiles, account data, filters and the short-lived
//! tokens that hang on a user. Nothing here knows HTTP: the handlers of the client and federation
//! interfaces call the verbs of [`Accounts`] and answer.
//!
//! A process serves several authorities. Every verb takes either a full user id or the server name
//! of the authority whose face was asked, and a token of one authority is unknown at another.
//!
//! Reading order: [`Accounts`], `sessions` (the hot path of every request), `register`, `login`.

mod accounts;
mod acting;
mod administration;
mod barred;
mod bounds;
mod browser_rows;
mod browsers;
mod changes;
mod chores;
mod closed_rows;
mod config;
mod confirmed;
mod confirms;
mod data;
mod dehydrated;
mod devices;
mod email_purpose;
mod email_tokens;
mod emails;
mod ends;
mod error;
mod factors;
mod failures;
mod filters;
mod given;
mod grants;
mod guesses;
mod guests;
mod identities;
mod interactive;
mod invite_rules;
pub mod log;
mod login;
mod login_tokens;
mod mail_rates;
mod mail_texts;
mod moderation;
mod new_password;
mod nonces;
mod notices;
mod openid;
mod overlap;
mod own;
mod password;
mod presence;
mod profile;
mod provider_logins;
mod provider_tables;
mod provisioned;
mod push_defaults;
mod push_rules;
mod push_ruleset;
mod recoveries;
mod refreshing;
mod refusals;
mod register;
mod registration_tokens;
mod reopening;
mod reports;
mod reserved;
mod second_step;
mod seen;
mod service;
mod service_devices;
mod services;
mod sessions;
mod shared_secret;
mod sign_out_counts;
mod sign_outs;
mod signing_in;
mod spending;
mod stages;
mod standing;
mod steward;
mod successors;
mod tables;
mod tags;
#[cfg(test)]
mod tests;
mod thread_rules;
mod threads;
mod tokens;
mod uia;
mod unproved;
mod users;
mod wishes;

pub use accounts::Accounts;
pub use acting::Acting;
pub use administration::{Account, AccountOrder, AccountPage, AccountQuery, days_before};
pub use audit::Actor;
pub use barred::Barred;
pub use browsers::{Browser, MOST_BROWSERS};
pub use config::{
    Config, EmailAtRegistration, FactorsFor, GuessLimit, MailSettings, PasswordCost, Registration, Settings,
    Terms, TermsText, Upstream,
};
pub use confirmed::Confirmed;
pub use confirms::{CROSS_SIGNING, Confirms};
pub use data::{DataChange, FULLY_READ, PUSH_RULES, decides_what_notifies, list_data_by_position};
pub use devices::DeviceInfo;
pub use email_purpose::EmailPurpose;
pub use email_tokens::{EmailRequest, EmailSession, NotConfirmed};
pub use emails::Email;
pub use ends::DeviceEnds;
pub use error::{ContactError, Error};
pub use given::{GIVEN_FIELDS, GivenProfile};
pub use grants::{Grant, GrantId, NewGrant, PutGrant, list_grants};
pub use guests::GUEST_LIFETIME;
pub use identities::{Identity, Stranger};
pub use interactive::Asked;
pub use invite_rules::{InviteRules, InviteVerdict};
pub use login::{Credentials, LogIn, NewSession};
pub use login_tokens::LoginToken;
pub use notices::Notice;
pub use openid::OpenIdToken;
pub use overlap::Reach;
pub use presence::{Presence, PresenceConfig, PresenceUpdate, Seen, Silent, State, Syncing};
pub use profile::{Profile, list_names};
pub use provider_tables::ProviderLogin;
pub use provisioned::{Following, NewProvisioned, PutProvisioned};
pub use push_defaults::{default_push_rules, put_push_rule};
pub use push_ruleset::PushRules;
pub use register::{Beginning, NewUser, Registered, user_of_localpart};
pub use registration_tokens::{RegistrationToken, TokenChange};
pub use reports::Report;
pub use service::{AppService, Namespace, NewAppService, ServiceAddress, Told};
pub use service_devices::ServiceDevice;
pub use sessions::{Session, SessionTokens};
pub use shared_secret::SharedSecretRegister;
pub use sign_outs::ProviderSignOut;
pub use signing_in::{BrowserSecret, InBrowser, NewFactor, SignedIn, Unfinished, Wants};
pub use stages::{StageOutcome, StageProof};
pub use standing::Standing;
pub use tables::{Moderation, checks};
pub use thread_rules::{POSTCONTENT, THREAD_SUBSCRIPTION};
pub use threads::{ThreadCause, ThreadChange, ThreadSubscription, thread_subscriptions_in};
pub use uia::AuthStage;
pub use users::{UserInfo, names_with_accounts};
pub use wishes::{AccountChange, NewSecret, Ways};
