//! [`Spending`]: a login token on its way out.

use factor::Factors;
use store::Batch;

use crate::tables::{self, LoginTokenRow, TokenHash};

/// A login token that is about to be spent.
pub(crate) struct Spending {
    pub(crate) hash: TokenHash,
    pub(crate) row: LoginTokenRow,
    /// Those of its user when it was looked at.
    pub(crate) factors: Factors,
}

impl Spending {
    /// Adds to a batch that the token is spent; the batch fails if somebody else was faster, or there are other factors by then.
    pub(crate) fn put(&self, batch: &mut Batch) {
        batch.require(&tables::LOGIN_TOKENS, &self.hash, Some(&self.row));
        batch.delete(&tables::LOGIN_TOKENS, &self.hash);
        self.factors.require(batch);
    }
}
