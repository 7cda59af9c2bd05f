//! Sanitising (無害化): what of a file from outside may be given to the office's network, and in which form.
//!
//! [`sanitise`] looks at a whole file and says: clean as it is, rebuilt without these parts, or refused for this
//! reason. The type is told by content; the name only decides whether text is a table, and how the new file may be
//! called ([`Kind::name_for`]).
//!
//! Files are taken apart in a process of their own: a [`Worker`] starts one for each file, which gives up all rights
//! before it reads the first byte ([`serve`] is what runs in it). A crash of it, or a file that never ends, costs that
//! file only.
//!
//! Reading order: [`Outcome`], [`Settings`], [`sanitise`], then [`Worker`].

mod archive;
mod blanks;
mod cad;
mod cards;
mod cells;
#[cfg(test)]
mod effort;
mod engine;
mod host;
mod jww;
mod kind;
mod links;
mod marks;
mod markup;
mod office;
mod outcome;
mod pdf;
mod picture;
mod prolog;
mod sandbox;
mod scan;
mod script;
mod settings;
mod text;
mod verdict;
mod zip;

pub use engine::{VERSION, sanitise};
pub use host::{Bounds, Failed, Worker};
pub use kind::{Kind, ends_of_name, is_run_by_caption, is_run_by_name};
pub use outcome::{Outcome, Verdict};
pub use sandbox::{Task, serve};
pub use scan::{Address, Clamd, Icap, Scan, Scanner};
pub use settings::{Cells, Limits, Links, Settings};
pub use verdict::{Part, Photo, Reason, Refusal, Removed};
