//! Push rules: kept as account data of the type `m.push_rules`, changed through their own verbs.
//!
//! Another version of us may have written rules that cannot be read now. They cost nothing but themselves, and a
//! change of the others leaves them where they are.

use std::collections::BTreeMap;

use base::Attempts;
use bytes::Bytes;
use ruma::{
    OwnedRoomId, OwnedUserId, UserId,
    events::push_rules::PushRulesEventContent,
    push::{ConditionalPushRule, PatternedPushRule, Ruleset, SimplePushRule},
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::value::{RawValue, to_raw_value};
use store::{Batch, Reads};

use crate::{
    Accounts, Error,
    data::{PUSH_RULES, put_global},
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
        let mut attempts = Attempts::default();
        loop {
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
            let content = write(rules, old.as_ref().map(|old| &old.value))
                .map_err(|cause| Error::InvalidParam(cause.to_string()))?;
            let had = old.as_ref().map_or(0, |old| old.value.len());
            if content.len() > MAX_BYTES.max(had) {
                return Err(Error::TooLarge("push rules have at most 256 KiB in all"));
            }

            let mut batch = Batch::new();
            batch.require(&tables::USERS, user.as_str(), row.as_ref());
            batch.require(&tables::DATA, &key, old.as_ref());
            put_global(&mut batch, user, PUSH_RULES, Bytes::from(content), old.as_ref());
            match self.commit(batch).await {
                Err(Error::Contended) => self.again(&mut attempts).await?,
                done => return done,
            }
        }
    }
}

type Object = BTreeMap<String, Box<RawValue>>;
type List = Vec<Box<RawValue>>;

/// The kinds of rules, as they are called in the content.
const KINDS: [&str; 5] = ["override", "content", "room", "sender", "underride"];

/// The content that these rules make of the old one. What was not read there stays: rules come behind the others
/// of their kind, unless one of them has their id now.
fn write(rules: Ruleset, old: Option<&Bytes>) -> Result<Vec<u8>, serde_json::Error> {
    let written = to_raw_value(&PushRulesEventContent::new(rules))?;
    let mut content: Object = old.and_then(|old| serde_json::from_slice(old).ok()).unwrap_or_default();
    let mut global: Object = read_field(&content, "global");
    let written: Object = read_field(&serde_json::from_str(written.get())?, "global");
    for kind in KINDS {
        let mut rules: List = read_field(&written, kind);
        let ids: Vec<_> = rules.iter().map(|rule| id_of(rule)).collect();
        let unread = read_field::<List>(&global, kind).into_iter();
        rules.extend(unread.filter(|rule| !is_read(kind, rule) && !ids.contains(&id_of(rule))));
        global.remove(kind);
        if !rules.is_empty() {
            global.insert(kind.to_owned(), to_raw_value(&rules)?);
        }
    }
    content.insert("global".to_owned(), to_raw_value(&global)?);
    serde_json::to_vec(&content)
}

fn read_field<T: DeserializeOwned + Default>(object: &Object, name: &str) -> T {
    object.get(name).and_then(|field| serde_json::from_str(field.get()).ok()).unwrap_or_default()
}

fn id_of(rule: &RawValue) -> Option<String> {
    #[derive(Deserialize)]
    struct Named {
        rule_id: String,
    }
    serde_json::from_str::<Named>(rule.get()).ok().map(|rule| rule.rule_id)
}

fn is_read(kind: &str, rule: &RawValue) -> bool {
    fn reads<T: DeserializeOwned>(rule: &RawValue) -> bool {
        serde_json::from_str::<T>(rule.get()).is_ok()
    }
    match kind {
        "content" => reads::<PatternedPushRule>(rule),
        "room" => reads::<SimplePushRule<OwnedRoomId>>(rule),
        "sender" => reads::<SimplePushRule<OwnedUserId>>(rule),
        _ => reads::<ConditionalPushRule>(rule),
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
    #![expect(clippy::unwrap_used, reason = "tests")]

    use ruma::user_id;

    use super::*;

    #[test]
    fn a_rule_that_cannot_be_read_outlives_a_change_of_the_others() {
        let content = Bytes::from_static(
            br#"{"later":1,"global":{"newer":[2],"override":[5,{"rule_id":"a","default":false,"enabled":true,
            "conditions":[],"actions":["notify"]},{"rule_id":"b"}],"sender":null,"room":[{"rule_id":"!c:d"}]}}"#,
        );
        let user = user_id!("@a:b");
        let mut rules = parse(&content, user);
        rules.override_.clear();
        let rule = ruma::push::NewSimplePushRule::new(ruma::owned_room_id!("!c:d"), Vec::new());
        rules.insert(ruma::push::NewPushRule::Room(rule), None, None).unwrap();

        let written = write(rules, Some(&content)).unwrap();

        let json: serde_json::Value = serde_json::from_slice(&written).unwrap();
        assert_eq!((&json["later"], &json["global"]["newer"]), (&1.into(), &serde_json::json!([2])));
        assert_eq!(json["global"]["override"], serde_json::json!([5, { "rule_id": "b" }]));
        assert_eq!(json["global"]["room"].as_array().map(Vec::len), Some(1));
        assert_eq!(parse(&written, user).room.len(), 1);
        assert_eq!(write(parse(&written, user), Some(&written.clone().into())).unwrap(), written);
        assert!(write(Ruleset::server_default(user), Some(&Bytes::from_static(b"[]"))).is_ok());
    }

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
