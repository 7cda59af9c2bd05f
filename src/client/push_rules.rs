//! Push rules: when the caller's clients are to ring.

use std::sync::Arc;

use account::{Error, POSTCONTENT, PushRules, put_push_rule};
use ruma::{
    api::client::push::{
        PushRule, delete_pushrule, get_pushrule, get_pushrule_actions, get_pushrule_enabled,
        set_pushrule_actions, set_pushrule_enabled,
    },
    push::{
        Action, AnyPushRuleRef, ConditionalPushRule, NewConditionalPushRule, NewPatternedPushRule,
        NewPushRule, NewSimplePushRule, PushCondition, RemovePushRuleError, RuleKind, Ruleset,
    },
};
use serde::Deserialize;
use serde_json::json;
use web::{ApiError, Call, RawCall, Response, StatusCode, User, json_response};

use crate::ClientApi;

const NO_RULE: &str = "there is no such push rule";

/// `GET /_matrix/client/v3/pushrules/`: all rules.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3pushrules>
pub(crate) async fn all(api: Arc<ClientApi>, call: RawCall<User>) -> Result<Response, ApiError> {
    let rules = api.accounts.push_rules(&call.caller.user_id).await?;
    Ok(json_response(StatusCode::OK, &json!({ "global": rules.told() })))
}

/// `GET /_matrix/client/v3/pushrules/global/`: all rules, without the scope.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3pushrulesglobal>
pub(crate) async fn global(api: Arc<ClientApi>, call: RawCall<User>) -> Result<Response, ApiError> {
    let rules = api.accounts.push_rules(&call.caller.user_id).await?;
    Ok(json_response(StatusCode::OK, &rules.told()))
}

/// `GET /_matrix/client/v3/pushrules/global/{kind}/{ruleId}`: one rule.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3pushrulesglobalkindruleid>
pub(crate) async fn get(
    api: Arc<ClientApi>,
    call: Call<get_pushrule::v3::Request, User>,
) -> Result<get_pushrule::v3::Response, ApiError> {
    let rules = api.accounts.push_rules(&call.caller.user_id).await?;
    let rule = find(&rules, &call.request.kind, &call.request.rule_id)?;
    Ok(get_pushrule::v3::Response::new(PushRule::from(rule.to_owned())))
}

fn find<'a>(rules: &'a PushRules, kind: &RuleKind, id: &str) -> Result<AnyPushRuleRef<'a>, ApiError> {
    let rule = match is_about_threads(kind) {
        // They are made as those of the first kind.
        true => rules.postcontent.iter().find(|rule| rule.rule_id == id).map(AnyPushRuleRef::Override),
        false => rules.rules.get(kind.clone(), id),
    };
    rule.ok_or_else(|| Error::NotFound(NO_RULE).into())
}

fn is_about_threads(kind: &RuleKind) -> bool {
    kind.as_str() == POSTCONTENT
}

/// `PUT /_matrix/client/v3/pushrules/global/{kind}/{ruleId}`: adds or changes a rule.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3pushrulesglobalkindruleid>
pub(crate) async fn put(api: Arc<ClientApi>, call: RawCall<User>) -> Result<Response, ApiError> {
    #[derive(Default, Deserialize)]
    struct Query {
        before: Option<String>,
        after: Option<String>,
    }
    let Query { before, after } = call.query()?;
    let rule = wished(&call)?;
    let change =
        |rules: &mut Ruleset| put_push_rule(rules, rule.clone(), before.as_deref(), after.as_deref());
    api.accounts.change_push_rules(&call.caller.user_id, change).await?;
    Ok(json_response(StatusCode::OK, &json!({})))
}

/// The rule that a request describes.
fn wished(call: &RawCall<User>) -> Result<NewPushRule, ApiError> {
    #[derive(Deserialize)]
    struct Body {
        actions: Vec<Action>,
        /// A rule without conditions always matches.
        #[serde(default)]
        conditions: Vec<PushCondition>,
        pattern: Option<String>,
    }
    let (kind, id): (String, String) = (call.args.get(0)?, call.args.get(1)?);
    let Body { actions, conditions, pattern } = call.json_of_client()?;
    Ok(match kind.as_str() {
        "override" => NewPushRule::Override(NewConditionalPushRule::new(id, conditions, actions)),
        "underride" => NewPushRule::Underride(NewConditionalPushRule::new(id, conditions, actions)),
        "sender" => NewPushRule::Sender(NewSimplePushRule::new(call.args.get(1)?, actions)),
        "room" => NewPushRule::Room(NewSimplePushRule::new(call.args.get(1)?, actions)),
        "content" => {
            let pattern = pattern.ok_or_else(|| ApiError::bad_json("`pattern` is missing"))?;
            NewPushRule::Content(NewPatternedPushRule::new(id, pattern, actions))
        }
        _ => return Err(ApiError::invalid_param("There are no push rules of this kind to be made")),
    })
}

/// `DELETE /_matrix/client/v3/pushrules/global/{kind}/{ruleId}`: removes a rule of the caller's own.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#delete_matrixclientv3pushrulesglobalkindruleid>
pub(crate) async fn delete(
    api: Arc<ClientApi>,
    call: Call<delete_pushrule::v3::Request, User>,
) -> Result<delete_pushrule::v3::Response, ApiError> {
    let delete_pushrule::v3::Request { kind, rule_id, .. } = call.request;
    let change = |rules: &mut Ruleset| {
        rules.remove(kind.clone(), &rule_id).map_err(|error| match error {
            RemovePushRuleError::NotFound => Error::NotFound(NO_RULE),
            error => Error::InvalidParam(error.to_string()),
        })
    };
    api.accounts.change_push_rules(&call.caller.user_id, change).await?;
    Ok(delete_pushrule::v3::Response::new())
}

/// `GET /_matrix/client/v3/pushrules/global/{kind}/{ruleId}/enabled`: whether a rule is in force.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3pushrulesglobalkindruleidenabled>
pub(crate) async fn get_enabled(
    api: Arc<ClientApi>,
    call: Call<get_pushrule_enabled::v3::Request, User>,
) -> Result<get_pushrule_enabled::v3::Response, ApiError> {
    let rules = api.accounts.push_rules(&call.caller.user_id).await?;
    let rule = find(&rules, &call.request.kind, &call.request.rule_id)?;
    Ok(get_pushrule_enabled::v3::Response::new(rule.enabled()))
}

/// `PUT /_matrix/client/v3/pushrules/global/{kind}/{ruleId}/enabled`: puts a rule in or out of force.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3pushrulesglobalkindruleidenabled>
pub(crate) async fn set_enabled(
    api: Arc<ClientApi>,
    call: Call<set_pushrule_enabled::v3::Request, User>,
) -> Result<set_pushrule_enabled::v3::Response, ApiError> {
    let set_pushrule_enabled::v3::Request { kind, rule_id, enabled, .. } = call.request;
    if is_about_threads(&kind) {
        let change = |rule: &mut ConditionalPushRule| rule.enabled = enabled;
        api.accounts.change_rule_about_threads(&call.caller.user_id, &rule_id, change).await?;
        return Ok(set_pushrule_enabled::v3::Response::new());
    }
    let change = |rules: &mut Ruleset| {
        rules.set_enabled(kind.clone(), &rule_id, enabled).map_err(|_| Error::NotFound(NO_RULE))
    };
    api.accounts.change_push_rules(&call.caller.user_id, change).await?;
    Ok(set_pushrule_enabled::v3::Response::new())
}

/// `GET /_matrix/client/v3/pushrules/global/{kind}/{ruleId}/actions`: what a rule does.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3pushrulesglobalkindruleidactions>
pub(crate) async fn get_actions(
    api: Arc<ClientApi>,
    call: Call<get_pushrule_actions::v3::Request, User>,
) -> Result<get_pushrule_actions::v3::Response, ApiError> {
    let rules = api.accounts.push_rules(&call.caller.user_id).await?;
    let rule = find(&rules, &call.request.kind, &call.request.rule_id)?;
    Ok(get_pushrule_actions::v3::Response::new(rule.actions().to_owned()))
}

/// `PUT /_matrix/client/v3/pushrules/global/{kind}/{ruleId}/actions`: changes what a rule does.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3pushrulesglobalkindruleidactions>
pub(crate) async fn set_actions(
    api: Arc<ClientApi>,
    call: Call<set_pushrule_actions::v3::Request, User>,
) -> Result<set_pushrule_actions::v3::Response, ApiError> {
    let set_pushrule_actions::v3::Request { kind, rule_id, actions, .. } = call.request;
    if is_about_threads(&kind) {
        let change = |rule: &mut ConditionalPushRule| rule.actions = actions.clone();
        api.accounts.change_rule_about_threads(&call.caller.user_id, &rule_id, change).await?;
        return Ok(set_pushrule_actions::v3::Response::new());
    }
    let change = |rules: &mut Ruleset| {
        rules.set_actions(kind.clone(), &rule_id, actions.clone()).map_err(|_| Error::NotFound(NO_RULE))
    };
    api.accounts.change_push_rules(&call.caller.user_id, change).await?;
    Ok(set_pushrule_actions::v3::Response::new())
}
