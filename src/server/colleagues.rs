//! The search for colleagues that clients make, by what organisations know.

use async_trait::async_trait;
use client::{Colleagues, FoundColleagues, Unanswered};
use ruma::UserId;
use staff::{Error, Found, Staff};

/// Colleagues are the staff of an organisation.
pub(crate) struct OfStaff(pub(crate) Staff);

#[async_trait]
impl Colleagues for OfStaff {
    async fn find(&self, caller: &UserId, text: &str, most: usize) -> Result<FoundColleagues, Unanswered> {
        let Found { people, limited } =
            self.0.find(caller, text, most).await.map_err(|error| match error {
                Error::Crowded => Unanswered::Crowded,
                error => Unanswered::Failed(error.into()),
            })?;
        let people = people.into_iter().map(|found| (found.user_id, found.display_name));
        Ok(FoundColleagues { people: people.collect(), limited })
    }
}
