//! Push rules: kept as account data of the type `m.push_rules`, changed through their own verbs.

use bytes::Bytes;
use ruma::{
    OwnedRoomId, OwnedUserId, UserId,
    events::push_rules::PushRulesEventContent,
    push::{ConditionalPushRule, PatternedPushRule, Ruleset, SimplePushRule},
};
use serde::Deserialize;
use store::{Batch, Reads};

use crate::{
    Accounts, Error,
    data::{ATTEMPTS, PUSH_RULES, put_global},
    tables,
    users::refuse_closed,
};

/// Largest set of rules, in bytes of JSON.
const MAX_BYTES: usize = 256 * 1024;

impl Accounts {
    /// A user's push rules.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn push_rules(&self, user: &UserId) -> Result<Ruleset, Error> {
        match self.account_data(user, PUSH_RULES).await {
            Ok(content) => Ok(parse(&content, user)),
            Err(Error::NotFound(_)) => Ok(Ruleset::server_default(user)),
            Err(error) => Err(error),
        }
    }

    /// Changes a user's push rules. `change` may run several times, each time on fresh rules.
    ///
    /// # Errors
    /// What `change` says, [`Error::Deactivated`], [`Error::Contended`], [`Error::Store`].
    pub async fn change_push_rules(
        &self,
        user: &UserId,
        change: impl Fn(&mut Ruleset) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let key = (user.as_str(), PUSH_RULES);
        for _ in 0..ATTEMPTS {
            let mut reads = Reads::new();
            let (row, old) = (reads.get(&tables::USERS, user.as_str()), reads.get(&tables::DATA, &key));
            let mut found = self.inner.store.read(reads).await?;
            let (row, old) = (found.take(row)?, found.take(old)?);
            refuse_closed(user, row.as_ref())?;
            let mut rules = match &old {
                Some(row) => parse(&row.value, user),
                None => Ruleset::server_default(user),
            };
            change(&mut rules)?;
            let content = serde_json::to_vec(&PushRulesEventContent::new(rules))
                .map_err(|cause| Error::InvalidParam(cause.to_string()))?;
            let had = old.as_ref().map_or(0, |old| old.value.len());
            if content.len() > MAX_BYTES.max(had) {
                return Err(Error::TooLarge("push rules have at most 256 KiB in all"));
            }

            let mut batch = Batch::new();
            batch.require(&tables::USERS, user.as_str(), row.as_ref());
            batch.require(&tables::DATA, &key, old.as_ref());
            put_global(&mut batch, user, PUSH_RULES, Bytes::from(content));
            match self.commit(batch).await {
                Err(Error::Contended) => {}
                done => return done,
            }
        }
        Err(Error::Contended)
    }
}

/// Reads stored rules, rule by rule: one that a later version of us wrote, or an earlier one, and that cannot be
/// read now, must not cost the others.
fn parse(content: &[u8], user: &UserId) -> Ruleset {
    #[derive(Deserialize)]
    struct Content {
        #[serde(deserialize_with = "pdu::lenient::field")]
        global: Option<Rules>,
    }
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Rules {
        #[serde(rename = "override", deserialize_with = "pdu::lenient::list")]
        override_: Vec<ConditionalPushRule>,
        #[serde(deserialize_with = "pdu::lenient::list")]
        content: Vec<PatternedPushRule>,
        #[serde(deserialize_with = "pdu::lenient::list")]
        room: Vec<SimplePushRule<OwnedRoomId>>,
        #[serde(deserialize_with = "pdu::lenient::list")]
        sender: Vec<SimplePushRule<OwnedUserId>>,
        #[serde(deserialize_with = "pdu::lenient::list")]
        underride: Vec<ConditionalPushRule>,
    }
    let read = serde_json::from_slice::<Content>(content).ok().and_then(|content| content.global);
    let Some(Rules { override_, content, room, sender, underride }) = read else {
        return Ruleset::server_default(user);
    };
    let mut rules = Ruleset::new();
    rules.override_.extend(override_);
    rules.content.extend(content);
    rules.room.extend(room);
    rules.sender.extend(sender);
    rules.underride.extend(underride);
    rules
}

#[cfg(test)]
mod tests {
    use ruma::user_id;

    use super::*;

    #[test]
    fn a_rule_that_cannot_be_read_does_not_cost_the_others() {
        let content =
            br#"{"global":{"override":[5,{"rule_id":"a","default":false,"enabled":true,"conditions":[],
            "actions":["notify"]},{"rule_id":7}],"room":[{"rule_id":"no room","actions":[]},{"rule_id":"!a:b",
            "default":false,"enabled":true,"actions":[]}],"sender":null}}"#;
        let rules = parse(content, user_id!("@a:b"));
        assert_eq!((rules.override_.len(), rules.room.len(), rules.sender.len()), (1, 1, 0));
        assert!(!parse(b"[]", user_id!("@a:b")).override_.is_empty());
    }
}
