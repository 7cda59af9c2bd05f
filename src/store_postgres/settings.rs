//! What the operator chooses.

use std::path::PathBuf;

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

/// How connections to the server are protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tls {
    /// They are not.
    Disable,
    /// Over TLS, whatever certificate the server shows: against those who listen, not against those who sit in
    /// between.
    Require,
    /// Over TLS, with a certificate of a trusted authority for the name in the address.
    VerifyFull,
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
    /// How connections are protected. Without a word: in the clear to this machine, verified over a network.
    pub tls: Option<Tls>,
    /// A PEM file with the authorities to trust, in place of those of the operating system.
    pub ca_file: Option<PathBuf>,
    /// How many connections read, beside one that writes and one that listens.
    pub readers: usize,
}

impl Settings {
    /// Durable, in the schema `yakuba`, which may be begun, with four readers.
    #[must_use]
    pub fn at(url: impl Into<String>) -> Self {
        let schema = "yakuba".to_owned();
        let url = url.into();
        Self { url, schema, begin: true, durability: Durability::Fsync, tls: None, ca_file: None, readers: 4 }
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
