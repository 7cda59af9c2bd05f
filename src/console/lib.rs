//! The console (管理画面): pages on which people run their authority, who are no engineers.
//!
//! Who may come in has a duty, or administers the authority; each page says for itself who may see it, and each deed asks
//! again ([`powers`]). The pages take a request apart, have one verb of `personnel`, `account`, `media`, `oversight` or `duties` carry it out, which
//! writes the row of the audit log into its own batch, and show what came of it. What is done here to the organisation can be done
//! by a command as well, what is done to accounts, tokens, files, reports and other servers by the admin API, with the same verbs.
//!
//! No page needs a script. What is sent is a form that only this browser was given (`pages`), and its answer leads to a page
//! that shows how things stand: so whoever sends twice is told how they stand, or why it is not done again.
//!
//! Reading order: [`Console`], `powers`, `frame`, then the pages: `home`, `organisation`, `editing` with `acts`, `changes`,
//! `columns`, `set`, `people`, `rooms`, `accounts`, `tokens`, `reports`, `files`, `file`, `peers`, `storage`, `cases`, `audit_log`, `audit_kept`,
//! `holders`, `domains`.

mod accounts;
mod acts;
mod agreeing;
mod asked;
mod audit_kept;
mod audit_log;
mod cases;
mod changes;
mod columns;
mod console;
mod csv;
mod domains;
mod editing;
mod file;
mod files;
mod frame;
mod holders;
mod home;
mod organisation;
mod peers;
mod people;
mod powers;
mod recovery;
mod reports;
mod rooms;
mod routes;
mod set;
mod short;
mod storage;
mod tokens;
mod told;

pub use console::{Console, Parts};
pub use routes::routes;
