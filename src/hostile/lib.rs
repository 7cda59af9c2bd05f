//! A homeserver that means harm, for tests.
//!
//! [`Hostile`] has a server name and a key of its own, so that nobody can refuse it for its signatures.
//! As a client it [asks](Hostile::ask) anything of anybody, [joins](Hostile::join) rooms rightly, makes
//! [events](Hosted::event) that would be taken, and [forges](Hostile::forge) them: any field, hashed and signed anew. As
//! a server it is honest until it is told a [`Conduct`] for an endpoint: it hangs, drips its answer byte by byte, lies,
//! floods, sends lists of a million entries that it never holds, or breaks off in the middle. It
//! also [founds](Hostile::found) rooms of its own, for victims to join.
//!
//! It needs a way to its victims, which is any [`federation::Transport`] ([`Plain`] to a
//! process of its own); and they need one to it: in memory by
//! [`Hostile::carry`], or over HTTP and TLS by [`Hostile::listen`], where streams are streams.
//!
//! ```no_run
//! # async fn example(net: &dyn federation::Transport, room: &ruma::RoomId) {
//! use hostile::{Conduct, Hostile};
//! use serde_json::json;
//!
//! let mallory = Hostile::new("mallory.test");
//! let mut joined = mallory.join(net, "kanazawa.test", room, "eve").await;
//! let message = joined.message("eve", "hello");
//! // Rightly signed, and from the end of time.
//! let forged = mallory.forge(&joined, &message, |event| event["depth"] = json!(9_007_199_254_740_991_u64));
//! mallory.on("get_missing_events", Conduct::Hang);
//! mallory.on("state_ids", Conduct::list(r#"{"auth_chain_ids":[],"pdu_ids":["#, 1_000_000, |n| format!("\"${n}\""), "]}"));
//! let answer = mallory.send(net, "kanazawa.test", &[forged.json]).await;
//! assert_eq!(answer.status, 200);
//! # }
//! ```
//!
//! Whatever goes wrong with the hostile server itself panics: it is a test that fails.
//!
//! Reading order: [`Hostile`], [`Conduct`], [`Hosted`]; then `forge` and `serve`.

#![expect(clippy::expect_used, reason = "a failing test panics")]

mod conduct;
mod forge;
mod hosted;
mod hostile;
mod road;
mod serve;
#[cfg(test)]
mod tests;

pub use self::{
    conduct::{Conduct, Raw},
    forge::Event,
    hosted::Hosted,
    hostile::{Answer, Asked, Hostile, encoded},
    road::Plain,
    serve::Body,
};
