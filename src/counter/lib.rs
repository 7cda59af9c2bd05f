//! The counter (窓口): the pages of all staff. So far: what they ask for, what waits for their decision, who decides for them, what they may.
//!
//! Whoever has an account and is signed in may come in; what he sees and does is found out by `cases` each time. No page needs a
//! script. What is sent is a form that only this browser was given, and says which version of a case was seen, so whoever
//! sends twice is shown how things stand. Who was signed in anew while he typed gets his form back with what he typed.
//!
//! Reading order: [`Counter`], `frame`, then the pages: `home`, `ask`, `case`, `deputies`, `rights`.

mod ask;
mod case;
mod counter;
mod deputies;
mod frame;
mod home;
mod rights;
mod routes;

pub use counter::Counter;
pub use routes::routes;
