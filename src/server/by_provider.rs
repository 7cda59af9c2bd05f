//! What identity providers say of people at their sign-ins goes to the personnel desk.

use async_trait::async_trait;
use personnel::{Personnel, Told};
use ruma::UserId;
use tracing::warn;
use upstream::{Hears, Staff};

/// The personnel desk, for identity providers.
pub(crate) struct ByProvider(pub(crate) Personnel);

#[async_trait]
impl Hears for ByProvider {
    async fn hear(&self, user: &UserId, staff: &Staff) {
        let Staff { number, name, reading, unit, title } = staff;
        let told = Told { number, name, reading, unit, title };
        if let Err(error) = self.0.note_told(user, &told).await {
            warn!(%user, %error, "what an identity provider says of somebody is not kept this time");
        }
    }
}
