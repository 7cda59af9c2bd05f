//! The back end on a PostgreSQL server, for growing past one machine.
//!
//! Several processes may use one database. Each group of batches is one transaction whose first
//! statement locks the one clock row; so groups follow each other, plain reads decide the
//! preconditions and positions become visible in order. `NOTIFY` is a hint that there is
//! something new; the log of changes is the truth.
//!
//! Reading order: [`Settings`], [`PostgresBackend`], then `commit`, `follow`, `session` and `tls`.

mod backend;
mod commit;
mod follow;
mod pool;
mod schema;
mod session;
mod settings;
#[cfg(test)]
mod tests;
mod tls;

pub use backend::PostgresBackend;
pub use settings::{Durability, Settings, Tls};
