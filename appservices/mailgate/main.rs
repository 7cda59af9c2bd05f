//! メール窓口: e-mail into rooms, by an address for each room, and out of them.
//!
//! The authority's own mail server (MTA) hands mail over by SMTP or LMTP; what was taken is in the store before the
//! answer to it, and reaches its room once. Nothing that comes in is ever answered by mail of the bot's own accord, so no loop begins here.
//!
//! Reading order: [`gate::Gate`], `door` (the listener), `intake` (what it takes), `letter` (what a mail says), `deliver`;
//! then `outgoing` and `smtp`.

mod charset;
mod command;
mod deliver;
mod door;
mod entrances;
mod flowed;
mod gate;
mod header;
mod intake;
mod keeper;
mod letter;
mod outgoing;
mod page;
mod places;
mod rows;
mod scan;
mod settings;
mod smtp;
mod standing;
mod successor;
mod tnef;
mod uuencoded;

use std::process::ExitCode;

fn main() -> ExitCode {
    bot_kit::main::<gate::Gate>()
}
