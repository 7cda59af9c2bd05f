//! Whether there must be data already.

use crate::config::{self, Config};

/// Whether there must be data already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Data {
    /// There may be none, and new ones begin.
    MayBegin,
    /// A server or a command over data that are not there is a mistake: a wrong path, a volume that is not
    /// mounted. An empty server in place of the right one would send everybody away.
    MustExist,
}

impl Data {
    /// What a server finds that is asked to begin new data or not. Those in memory are new at each start.
    pub(crate) fn of_server(config: &Config, begin: bool) -> Data {
        if begin || config.store.backend == config::Backend::Memory {
            Data::MayBegin
        } else {
            Data::MustExist
        }
    }
}
