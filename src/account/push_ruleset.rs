//! A user's push rules as a whole: those of the specification's kinds, and those about threads.

use bytes::Bytes;
use ruma::{
    UserId,
    push::{ConditionalPushRule, Ruleset},
};

use crate::{
    push_defaults::{KINDS, default_push_rules, parse},
    thread_rules::{self, POSTCONTENT},
};

/// A user's push rules.
#[derive(Clone, Debug)]
pub struct PushRules {
    /// Those of the kinds that the specification has.
    pub rules: Ruleset,
    /// Those about threads, which are asked after the kind `content`; none until the user first subscribes to a thread.
    pub postcontent: Vec<ConditionalPushRule>,
}

impl PushRules {
    /// Those of a user who has changed none.
    pub fn predefined(user: &UserId) -> Self {
        Self { rules: default_push_rules(user), postcontent: Vec::new() }
    }

    /// The rules that are kept as this content.
    pub(crate) fn read(content: &[u8], user: &UserId) -> Self {
        Self { rules: parse(content, user), postcontent: thread_rules::read(content) }
    }

    /// Rules as clients are told them: all five kinds of the specification are there, also those of which there is no rule.
    /// There are clients that read each kind without asking whether it is there.
    ///
    /// Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3pushrulesglobal>
    pub fn told(&self) -> serde_json::Value {
        let mut told = serde_json::json!(self.rules);
        if let Some(kinds) = told.as_object_mut() {
            for kind in KINDS {
                kinds.entry(kind).or_insert_with(|| serde_json::Value::Array(Vec::new()));
            }
            if !self.postcontent.is_empty() {
                kinds.insert(POSTCONTENT.to_owned(), serde_json::json!(self.postcontent));
            }
        }
        told
    }

    /// The same as account data.
    pub fn content(&self) -> Bytes {
        Bytes::from(serde_json::json!({ "global": self.told() }).to_string())
    }
}
