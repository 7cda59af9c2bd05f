//! メール窓口: e-mail into rooms, by an address for each room.
//!
//! The authority's own mail server (MTA) hands mail over by SMTP or LMTP; what was taken is in the store before the
//! answer to it, and reaches its room once. Mail out of rooms is not here: nothing that comes in is ever answered by
//! mail, so no loop can begin.
//!
//! Reading order: [`gate::Gate`], `door` (the listener), `letter` (what a mail says), `deliver`, `command`.

mod command;
mod deliver;
mod door;
mod gate;
mod letter;
mod settings;

use std::process::ExitCode;

fn main() -> ExitCode {
    bot_kit::main::<gate::Gate>()
}
