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
use store::{Batch, Position, Reads};

use crate::{
    Accounts, Error,
    data::{PUSH_RULES, put_global},
    push_defaults::{KINDS, default_push_rules, parse},
    push_ruleset::PushRules,
    tables, thread_rules,
    users::refuse_closed,
};

/// Largest set of rules, in bytes of JSON.
const MAX_BYTES: usize = 256 * 1024;

impl Accounts {
    /// A user's push rules.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn push_rules(&self, user: &UserId) -> Result<PushRules, Error> {
        let rules = self.push_rules_but(user, None).await?;
        Ok(rules.map_or_else(|| PushRules::predefined(user), |(rules, _)| rules))
    }

    /// The same, and when they were changed last; nothing if that is what somebody knows.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn push_rules_but(
        &self,
        user: &UserId,
        known: Option<Position>,
    ) -> Result<Option<(PushRules, Position)>, Error> {
        let row = self.inner.store.get(&tables::DATA, &(user.as_str(), PUSH_RULES)).await?;
        let position = row.as_ref().map_or(Position::START, |row| row.position);
        let rules = || match &row {
            Some(row) => PushRules::read(&row.value, user),
            None => PushRules::predefined(user),
        };
        Ok((known != Some(position)).then(|| (rules(), position)))
    }

    /// Changes a user's push rules of the kinds that the specification has. `change` may run several times, each time on fresh
    /// rules.
    ///
    /// # Errors
    /// What `change` says, [`Error::Deactivated`], [`Error::Contended`], [`Error::Store`].
    pub async fn change_push_rules(
        &self,
        user: &UserId,
        change: impl Fn(&mut Ruleset) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let changed = |old: Option<&Bytes>| {
            let mut rules = match old {
                Some(old) => parse(old, user),
                None => default_push_rules(user),
            };
            change(&mut rules)?;
            let content = write(rules, old).map_err(|cause| Error::InvalidParam(cause.to_string()))?;
            Ok(Bytes::from(content))
        };
        self.change_rules_content(user, changed).await
    }

    /// Changes one of a user's push rules about threads, as [`Accounts::change_push_rules`].
    ///
    /// # Errors
    /// As there; [`Error::NotFound`] when it is not there.
    pub async fn change_rule_about_threads(
        &self,
        user: &UserId,
        id: &str,
        change: impl Fn(&mut ConditionalPushRule),
    ) -> Result<(), Error> {
        let changed = |old: Option<&Bytes>| {
            let old = old.map_or(&[][..], |old| old);
            let mut rules = thread_rules::read(old);
            let Some(rule) = rules.iter_mut().find(|rule| rule.rule_id == id) else {
                return Err(Error::NotFound("there is no such push rule"));
            };
            change(rule);
            thread_rules::put(old, &rules)
        };
        self.change_rules_content(user, changed).await
    }

    async fn change_rules_content(
        &self,
        user: &UserId,
        change: impl Fn(Option<&Bytes>) -> Result<Bytes, Error>,
    ) -> Result<(), Error> {
        let key = (user.as_str(), PUSH_RULES);
        let mut attempts = Attempts::default();
        loop {
            let mut reads = Reads::new();
            let (row, old) = (reads.get(&tables::USERS, user.as_str()), reads.get(&tables::DATA, &key));
            let mut found = self.inner.store.read(reads).await?;
            let (row, old) = (found.take(row)?, found.take(old)?);
            refuse_closed(user, row.as_ref())?;
            let content = change(old.as_ref().map(|old| &old.value))?;
            let had = old.as_ref().map_or(0, |old| old.value.len());
            if content.len() > MAX_BYTES.max(had) {
                return Err(Error::TooLarge("push rules have at most 256 KiB in all"));
            }

            let mut batch = Batch::new();
            batch.require(&tables::USERS, user.as_str(), row.as_ref());
            batch.require(&tables::DATA, &key, old.as_ref());
            put_global(&mut batch, user, PUSH_RULES, content, old.as_ref());
            match self.commit(batch).await {
                Err(Error::Contended) => self.again(&mut attempts).await?,
                done => return done,
            }
        }
    }
}

type Object = BTreeMap<String, Box<RawValue>>;
type List = Vec<Box<RawValue>>;

/// The content that these rules make of the old one. What was not read there stays: rules come behind the others
/// of their kind, unless one of them has their id now.
pub(crate) fn write(rules: Ruleset, old: Option<&Bytes>) -> Result<Vec<u8>, serde_json::Error> {
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

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use ruma::user_id;

    use super::*;
    use crate::{push_defaults::read, put_push_rule};

    #[test]
    fn a_rule_that_cannot_be_read_outlives_a_change_of_the_others() {
        let content = Bytes::from_static(
            br#"{"later":1,"global":{"newer":[2],"override":[5,{"rule_id":"a","default":false,"enabled":true,
            "conditions":[],"actions":["notify"]},{"rule_id":"b"}],"sender":null,"room":[{"rule_id":"!c:d"}]}}"#,
        );
        let user = user_id!("@a:b");
        let mut rules = read(&content).unwrap();
        rules.override_.clear();
        let rule = ruma::push::NewSimplePushRule::new(ruma::owned_room_id!("!c:d"), Vec::new());
        rules.insert(ruma::push::NewPushRule::Room(rule), None, None).unwrap();

        let written = write(rules, Some(&content)).unwrap();

        let json: serde_json::Value = serde_json::from_slice(&written).unwrap();
        assert_eq!((&json["later"], &json["global"]["newer"]), (&1.into(), &serde_json::json!([2])));
        assert_eq!(json["global"]["override"], serde_json::json!([5, { "rule_id": "b" }]));
        assert_eq!(json["global"]["room"].as_array().map(Vec::len), Some(1));
        assert_eq!(read(&written).unwrap().room.len(), 1);
        assert_eq!(write(read(&written).unwrap(), Some(&written.clone().into())).unwrap(), written);
        assert!(write(default_push_rules(user), Some(&Bytes::from_static(b"[]"))).is_ok());
    }

    #[test]
    fn a_rule_that_cannot_be_read_does_not_cost_the_others() {
        let content =
            br#"{"global":{"override":[5,{"rule_id":"a","default":false,"enabled":true,"conditions":[],
            "actions":["notify"]},{"rule_id":7}],"room":[{"rule_id":"no room","actions":[]},{"rule_id":"!a:b",
            "default":false,"enabled":true,"actions":[]}],"sender":null}}"#;
        let rules = read(content).unwrap();
        assert_eq!((rules.override_.len(), rules.room.len(), rules.sender.len()), (1, 1, 0));
        assert!(!parse(b"[]", user_id!("@a:b")).override_.is_empty());
    }

    #[test]
    fn predefined_rules_are_those_of_today_as_the_user_has_set_them() {
        let user = user_id!("@hanako:a.test");
        let content = br#"{"global":{"override":[{"rule_id":".m.rule.gone","default":true,"enabled":true,"conditions":[],
            "actions":[]},{"rule_id":"mine","default":false,"enabled":true,"conditions":[],"actions":[]},
            {"rule_id":".m.rule.reaction","default":true,"enabled":false,"conditions":[],"actions":["notify"]}]}}"#;
        let rules = parse(content, user);
        let ids: Vec<_> = rules.override_.iter().map(|rule| &*rule.rule_id).collect();
        assert_eq!(
            ids,
            [
                ".m.rule.master",
                "mine",
                ".m.rule.suppress_notices",
                ".m.rule.invite_for_me",
                ".m.rule.member_event",
                ".m.rule.is_user_mention",
                ".m.rule.contains_display_name",
                ".m.rule.is_room_mention",
                ".m.rule.roomnotif",
                ".m.rule.tombstone",
                ".m.rule.reaction",
                ".m.rule.room.server_acl",
                ".m.rule.suppress_edits",
                ".org.matrix.msc3930.rule.poll_response",
            ]
        );
        let reaction = rules.override_.iter().find(|rule| rule.rule_id == ".m.rule.reaction").unwrap();
        assert!(!reaction.enabled && reaction.actions.len() == 1 && reaction.conditions.len() == 1);
        let ids: Vec<_> = rules.underride.iter().map(|rule| &*rule.rule_id).collect();
        assert_eq!(
            ids,
            [
                ".m.rule.call",
                ".m.rule.encrypted_room_one_to_one",
                ".m.rule.room_one_to_one",
                ".m.rule.message",
                ".m.rule.encrypted",
                ".org.matrix.msc3930.rule.poll_start_one_to_one",
                ".org.matrix.msc3930.rule.poll_start",
                ".org.matrix.msc3930.rule.poll_end_one_to_one",
                ".org.matrix.msc3930.rule.poll_end",
            ]
        );
        let json = serde_json::to_value(&rules).unwrap();
        assert_eq!(
            json["override"][5]["conditions"],
            serde_json::json!([{ "kind": "event_property_contains", "key": r"content.m\.mentions.user_ids",
                "value": "@hanako:a.test" }])
        );
        assert_eq!(json["content"][0]["pattern"], "hanako");
        let poll = serde_json::json!([{ "kind": "event_match", "key": "type", "pattern": "org.matrix.msc3381.poll.end" }]);
        assert_eq!(json["underride"][8]["conditions"], poll);
    }

    #[test]
    fn a_rule_stands_where_it_is_put_wherever_it_was() {
        let user = user_id!("@a:b");
        let mut rules = default_push_rules(user);
        let mut put = |id: &str, before: Option<&str>, after: Option<&str>| {
            let rule = ruma::push::NewPatternedPushRule::new(id.to_owned(), id.to_owned(), Vec::new());
            let done = put_push_rule(&mut rules, ruma::push::NewPushRule::Content(rule), before, after);
            let mine = rules.content.iter().filter(|rule| !rule.default);
            done.map(|()| mine.map(|rule| rule.rule_id.clone()).collect::<String>())
        };
        assert_eq!(put("a", None, None).unwrap(), "a");
        assert_eq!(put("b", None, None).unwrap(), "ba");
        assert_eq!(put("c", None, Some("b")).unwrap(), "bca");
        assert_eq!(put("d", Some("a"), Some("b")).unwrap(), "bcda");
        assert_eq!(put("b", None, Some("a")).unwrap(), "cdab", "it moves to the end");
        assert_eq!(put("a", Some("c"), None).unwrap(), "acdb");
        assert_eq!(put("d", None, None).unwrap(), "acdb", "it stays");
        for (before, after) in [(Some("x"), None), (None, Some("x")), (Some("a"), Some("x"))] {
            assert!(matches!(put("d", before, after), Err(Error::NotFound(_))));
        }
        for neighbour in ["d", ".m.rule.contains_user_name"] {
            assert!(matches!(put("d", None, Some(neighbour)), Err(Error::InvalidParam(_))));
        }
        for id in ["", ".a", "a/b", r"a\b"] {
            assert!(matches!(put(id, None, None), Err(Error::InvalidParam(_))));
        }
        assert!(matches!(put(&"x".repeat(513), None, None), Err(Error::TooLarge(_))));
        for number in 4..500 {
            put(&format!("n{number}"), None, None).unwrap();
        }
        assert!(matches!(put("z", None, None), Err(Error::TooLarge(_))));
    }
}
