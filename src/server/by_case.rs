//! The verbs that cases need of accounts and rooms.

use std::{collections::BTreeMap, sync::Arc};

use account::{Accounts, Actor, Notice};
use async_trait::async_trait;
use cases::{Demand, Message, Moderators, People, PortError, Standing};
use engine::Engine;
use ruma::{OwnedServerName, RoomId, UserId, events::TimelineEventType};
use serde_json::json;

/// Accounts and rooms, for cases.
pub(crate) struct ForCases {
    pub(crate) engine: Engine,
    pub(crate) accounts: Accounts,
    /// Where the pages of each authority are.
    pub(crate) base_urls: BTreeMap<OwnedServerName, String>,
}

/// Who may change this moderates a room: as much power as most state takes.
const MODERATES: &str = "m.room.join_rules";

#[async_trait]
impl People for ForCases {
    async fn standing(&self, users: &[&UserId]) -> Result<Vec<Option<Standing>>, PortError> {
        let acting = self.accounts.acting(users).await.map_err(failed)?;
        let standing = acting.into_iter().map(|acting| {
            acting.map(|acting| Standing { administers: acting.administers, can_act: acting.can_act })
        });
        Ok(standing.collect())
    }

    async fn demand(&self, user: &UserId) -> Result<Demand, PortError> {
        Ok(Arc::new(self.accounts.demand_account(user).await.map_err(failed)?))
    }

    async fn tell(&self, user: &UserId, message: &Message) -> Result<(), PortError> {
        let base = self.base_urls.get(user.server_name()).map_or("", String::as_str).trim_end_matches('/');
        let (ja, en, path) = (&message.text.ja, &message.text.en, &message.path);
        let body = format!("{ja}\n{en}\n{base}{path}");
        let content = serde_json::value::to_raw_value(&json!({ "msgtype": "m.text", "body": body }));
        let content = content.map_err(|error| PortError(error.to_string()))?;
        // The name is the sender's, who tells many.
        let txn = Some(format!("{}/{user}", message.name).into());
        let notice = Notice { kind: TimelineEventType::RoomMessage, content, txn };
        match self.accounts.send_notice(user, notice, &Actor::server()).await {
            Ok(_) | Err(account::Error::NotFound(_) | account::Error::InvalidParam(_)) => Ok(()),
            Err(error) => Err(failed(error)),
        }
    }
}

#[async_trait]
impl Moderators for ForCases {
    async fn moderates(&self, user: &UserId, room: &RoomId) -> Result<bool, PortError> {
        match self.engine.rooms().may_set_state(user, room, MODERATES).await {
            Ok(may) => Ok(may),
            Err(room::Error::NoRoom(_)) => Ok(false),
            Err(error) => Err(PortError(error.to_string())),
        }
    }
}

fn failed(error: account::Error) -> PortError {
    PortError(error.to_string())
}
