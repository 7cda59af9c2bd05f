//! Classes of employment (任用区分): what people of a class may not do.
//!
//! An authority says of a class what its people may ([`Rights`]): from which zones they sign in, with how much and on how many devices, whether they make rooms, list them,
//! invite people of other authorities, send files, in which form they are given files and how far back they read. Who is of which class today the organisation says. [`Classes`] is a
//! [`room::Policy`] before another one: what a class may not is refused in Japanese and English with the class and who can
//! change it, and the rest is asked of the one behind.
//!
//! Reading order: [`Rights`], [`Classes`], `policy`, `following`, `marks`, `explained`.

mod classes;
mod error;
mod explained;
mod following;
mod marks;
mod policy;
mod rights;

pub use classes::{Classes, Parts};
pub use error::Error;
pub use explained::{Asked, Explained, Line};
pub use marks::checks;
pub use rights::{GivesFiles, MakesRooms, NeedsFactor, Rights};
