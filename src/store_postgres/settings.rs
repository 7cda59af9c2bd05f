//! What the operator chooses.

use store::Error;

/// When a write counts as done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// The server has it on stable storage.
    #[default]
    Fsync,
    /// The server has it and writes it soon (`synchronous_commit = off`).
    Os,
}

/// Where the database is and how it is used.
#[derive(Clone, Debug)]
pub struct Settings {
    /// As libpq writes it: `host=/run/postgresql user=yakuba dbname=yakuba` or a `postgres://` URL.
    pub url: String,
    /// The schema that holds the tables. Lower-case letters, digits, `_`.
    pub schema: String,
    /// Whether schema and tables are made where there are none; else such a database is refused.
    pub begin: bool,
    /// When a write counts as done.
    pub durability: Durability,
    /// How many connections read, beside one that writes and one that listens.
    pub readers: usize,
}

impl Settings {
    /// Durable, in the schema `yakuba`, which may be begun, with four readers.
    #[must_use]
    pub fn at(url: impl Into<String>) -> Self {
        let schema = "yakuba".to_owned();
        Self { url: url.into(), schema, begin: true, durability: Durability::Fsync, readers: 4 }
    }

    /// Refuses a schema name that could be anything else in a statement.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        if self.schema.is_empty() || self.schema.len() > 40 || !self.schema.bytes().all(plain) {
            return Err(Error::Refused(format!("`{}` is no name for a schema", self.schema)));
        }
        Ok(())
    }

    /// On which channel a process tells the others that there is something new.
    pub(crate) fn channel(&self) -> String {
        format!("yakuba_{}", self.schema)
    }
}
