//! メモ帳ボット: everybody's own room, which carries texts, addresses and files between his phone and his desk on LGWAN.
//!
//! A user who asks the bot into a direct room gets a room of his own, where nobody else is. What he writes there is a memo: it
//! is there on each of his devices, through whichever listener; files leave to LGWAN as the zone of that listener says, which
//! is the homeserver's work. The bot's are the room, the list, and that memos go after their time.
//!
//! Reading order: [`bot::Memo`], `rooms`, `memos`, `command`; then `errands` with `invites` and `verdicts`, and `upkeep`.

mod bot;
mod command;
mod errands;
mod invites;
mod memos;
mod rooms;
mod settings;
mod texts;
mod turns;
mod upkeep;
mod verdicts;

use std::process::ExitCode;

fn main() -> ExitCode {
    bot_kit::main::<bot::Memo>()
}
