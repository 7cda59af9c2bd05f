//! 受取URL: files come into a room from people outside, who have a link and no account.
//!
//! A member writes `!受取 工事写真 期限 7日`; the bot answers with a link. Whoever opens it sends files with a browser, in chunks that
//! go on where they were cut; each file that came whole goes into the room, by the homeserver's media repository, which makes it
//! safe (無害化) for each zone. It is an ordinary application service: nothing in it is special to Yakuba.
//!
//! Nothing acknowledged is lost and nothing is said twice, whenever the process is killed: bytes are on the disk before they are
//! acknowledged ([`files`]), each step is one change of the store ([`drops`]), and what is sent to the homeserver is named by what
//! caused it ([`deliver`], [`chase`]).
//!
//! Reading order: [`command`], [`rows`], [`drops`], [`files`], [`door`], [`deliver`], [`chase`], [`record`], [`bot`].

mod bot;
mod chase;
mod command;
mod deliver;
mod door;
mod drops;
mod end;
mod files;
mod kind;
mod language;
mod moment;
mod name;
mod private;
mod program;
mod record;
mod rows;
mod secret;
mod settings;
mod shown;
mod standing;
mod undone;
mod words;

pub use self::{bot::Dropbox, program::main, settings::Settings};
