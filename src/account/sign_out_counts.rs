//! What is counted of sign-outs at providers.

use base::{Counter, Metrics};

/// Counters of sign-outs at providers.
pub(crate) struct SignOutCounts {
    pub(crate) taken: Counter,
    pub(crate) ended: Counter,
    pub(crate) refused: Counter,
}

impl SignOutCounts {
    pub(crate) fn new(metrics: &Metrics) -> SignOutCounts {
        SignOutCounts {
            taken: metrics.counter(
                "yakuba_account_provider_sign_outs",
                "Sign-outs at identity providers that were acted on",
            ),
            ended: metrics.counter(
                "yakuba_account_provider_sign_out_sessions",
                "Sessions of devices and browsers that ended since their users signed out at an identity provider",
            ),
            refused: metrics.counter(
                "yakuba_account_provider_sign_outs_refused",
                "Logout tokens that were not accepted, whoever brought them",
            ),
        }
    }
}
