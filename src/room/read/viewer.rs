//! Who reads.

use std::collections::HashSet;

use ruma::{DeviceId, OwnedUserId, UserId};

use crate::read::event::StoredEvent;

/// Who reads, and when.
#[derive(Clone, Copy, Debug)]
pub struct Viewer<'a> {
    /// The reader.
    pub user: &'a UserId,
    /// The device that asks, if one does: it learns the transaction ids of what it sent.
    pub device: Option<&'a DeviceId>,
    /// Whom the reader ignores, if anybody.
    pub ignored: Option<&'a HashSet<OwnedUserId>>,
}

impl<'a> Viewer<'a> {
    /// A reader without a device, who ignores nobody.
    pub const fn user(user: &'a UserId) -> Self {
        Self { user, device: None, ignored: None }
    }

    /// Whether the reader is spared an event because he ignores its sender. State is shown to him all
    /// the same, or he would see another room than the others.
    ///
    /// Spec: <https://spec.matrix.org/v1.19/client-server-api/#ignoring-users>
    pub fn is_spared(&self, event: &StoredEvent) -> bool {
        event.state_key().is_none() && self.ignores(event.sender())
    }

    /// Whether the reader ignores a user.
    pub fn ignores(&self, user: &UserId) -> bool {
        self.ignored.is_some_and(|ignored| ignored.contains(user))
    }
}
