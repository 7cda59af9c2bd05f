//! What was sent to the device: past all rooms and whatever the filter says.

use store::Position;
use to_device::{PAGE, Page};

use crate::{Error, SyncRequest, Syncs};

impl Syncs {
    /// What the client's device was sent after a position. The client's token says that it has what came before, and that
    /// goes.
    pub(crate) async fn to_device_news(
        &self,
        request: &SyncRequest,
        after: Position,
        head: Position,
    ) -> Result<Page, Error> {
        Ok(self.to_device().news(&request.user, &request.device, after, head, PAGE).await?)
    }
}
