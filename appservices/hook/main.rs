//! Webhooks: what other programs report comes into rooms, and what is said in rooms goes to other programs.
//!
//! Both directions are signed as <https://www.standardwebhooks.com> says: an id, a time and a hash of both with the body. What is
//! taken is on the disk before it is answered, and is in the room once; what is owed to a target waits on the disk until it is taken.
//!
//! Reading order: [`bot::Hook`], `settings`, `signature`; `incoming` with `render` and `post`; `outgoing` with `target`.

mod bot;
mod fields;
mod file;
mod incoming;
mod outgoing;
mod post;
mod render;
mod settings;
mod signature;
mod target;

use std::process::ExitCode;

fn main() -> ExitCode {
    bot_kit::main::<bot::Hook>()
}
