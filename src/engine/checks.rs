//! The checks of the tables of this crate.

use store::TableCheck;

use crate::{
    blocks::BLOCKED,
    delays::tables::{DELAY_TXNS, DELAYED, DELAYED_STATE, DELAYS, DELAYS_DUE, DELAYS_ENDED, USER_DELAYS},
    entering::tables::{BROUGHT, ENTERINGS},
    graph::AUTH,
    tables::{AWAITED, FAREWELLS, HALF_WAY, HELPERS, INBOX, SWEEPS, TXNS, WAITING, WITHDRAWALS},
    upgrade::UPGRADES,
};

/// The checks of all tables of this crate, for `verify`; those of the rooms themselves are [`room::checks`].
pub fn checks() -> Vec<TableCheck> {
    vec![
        AUTH.check(),
        BLOCKED.check(),
        TXNS.check(),
        INBOX.check(),
        WAITING.check(),
        AWAITED.check(),
        HELPERS.check(),
        FAREWELLS.check(),
        WITHDRAWALS.check(),
        HALF_WAY.check(),
        UPGRADES.check(),
        SWEEPS.check(),
        ENTERINGS.check(),
        BROUGHT.check(),
        DELAYS.check(),
        DELAYED.check(),
        DELAYED_STATE.check(),
        DELAYS_DUE.check(),
        USER_DELAYS.check(),
        DELAY_TXNS.check(),
        DELAYS_ENDED.check(),
    ]
}
