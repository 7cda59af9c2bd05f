//! Mails to people: a queue in the store, and how they get out over SMTP.
//!
//! A mail is put into the batch of what it tells of ([`Mails::put`]), so it is on disk with that or not at all, and
//! is sent after it: what was promised is not lost by a crash. Whoever puts one knows neither servers nor SMTP, which
//! stand behind the port [`Carrier`].
//!
//! A mail is claimed before it is handed over, by pushing the time at which it is due; of several processes one claims
//! it. One that a crash keeps from being noted as sent comes twice, never not at all. What a server does not take at
//! the moment is tried again after longer and longer pauses, until it is worth nothing any more.
//!
//! Reading order: [`Mail`], [`Mails`], `sender`, [`Carrier`], `smtp`.

mod address;
mod carrier;
mod mails;
mod sender;
mod smtp;
mod tables;
#[cfg(test)]
mod tests;

pub use address::{BadAddress, EmailAddress};
pub use carrier::{Carrier, Letter, Refusal};
pub use mails::{Error, Mail, Mails, Parts};
pub use smtp::{Security, Smtp, SmtpError, SmtpServer};
pub use tables::checks;
