//! The description of the admin API for programs, held against the routes of the router and against what is asked and answered
//! in all tests here: so a route, a field or a parameter that is told of wrongly, or not at all, fails them.

use std::{collections::BTreeSet, sync::LazyLock};

use http::{Method, StatusCode};
use serde_json::{Value, json};
use server::config::Serves;
use testkit::Net;

use crate::{administrator, get, refused};

const DOCUMENT: &str = "/_yakuba/admin_api/openapi.json";

static DESCRIPTION: LazyLock<Value> = LazyLock::new(|| admin_api::description("1.0"));

/// What is told of a request, if anything is.
fn find(method: &Method, path: &str) -> Option<&'static Value> {
    let asked: Vec<&str> = path.split('/').collect();
    let is_it = |known: &str| {
        let known: Vec<&str> = known.split('/').collect();
        known.len() == asked.len()
            && known.iter().zip(&asked).all(|(known, asked)| known.starts_with('{') || known == asked)
    };
    let paths = DESCRIPTION["paths"].as_object().unwrap();
    let mut found: Vec<_> = paths.iter().filter(|(known, _)| is_it(known)).collect();
    // What stands as itself comes before what may be anything.
    found.sort_by_key(|(known, _)| known.matches('{').count());
    found.iter().find_map(|(_, operations)| operations.get(method.as_str().to_lowercase()))
}

/// What is told of a request that was granted, and what it is called here.
fn granted(method: &Method, path: &str, status: StatusCode) -> Option<(&'static Value, String)> {
    let path = path.split('?').next().unwrap();
    if !status.is_success() || !path.starts_with("/_synapse/admin/") {
        return None;
    }
    let what = format!("{method} {path}");
    Some((find(method, path).unwrap_or_else(|| panic!("{what} is not described")), what))
}

/// Holds a request that was granted, and its answer, against the description.
pub(crate) fn check(method: &Method, path: &str, (status, answer): (StatusCode, &Value)) {
    let Some((told, what)) = granted(method, path, status) else { return };
    let query = path.split_once('?').map_or("", |(_, query)| query);
    let parameters = told["parameters"].as_array().unwrap();
    let in_query = || parameters.iter().filter(|parameter| parameter["in"] == "query");
    let known: BTreeSet<&str> = in_query().map(|parameter| parameter["name"].as_str().unwrap()).collect();
    let asked = query.split('&').filter(|pair| !pair.is_empty());
    let asked: BTreeSet<&str> = asked.map(|pair| pair.split('=').next().unwrap()).collect();
    assert!(asked.is_subset(&known), "{what} takes {asked:?} and not only {known:?}");
    for parameter in in_query().filter(|parameter| parameter["required"] == true) {
        let name = parameter["name"].as_str().unwrap();
        assert!(asked.contains(name), "{what} needs no {name}");
    }
    let pointer = format!("/responses/{}/content/application~1json/schema", status.as_u16());
    let schema = told.pointer(&pointer).unwrap_or_else(|| panic!("{what} answers {status}"));
    hold(schema, answer, &format!("{what}, answered"));
}

/// Holds the body of a request that was granted against the description.
pub(crate) fn check_body(method: &Method, path: &str, body: Option<&Value>, status: StatusCode) {
    let Some((told, what)) = granted(method, path, status) else { return };
    let schema = told.pointer("/requestBody/content/application~1json/schema");
    match (body.filter(|body| **body != json!({})), schema) {
        (Some(body), Some(schema)) => hold(schema, body, &format!("{what}, asked")),
        (Some(body), None) => panic!("{what} takes a body: {body}"),
        (None, schema) => {
            let needs = schema.and_then(|schema| schema.get("required"));
            assert_eq!(needs, None, "{what} can do without a body");
        }
    }
}

/// Holds a value against a schema. Of an object there is nothing besides what is told.
fn hold(schema: &Value, value: &Value, place: &str) {
    if let Some(reference) = schema.get("$ref") {
        let pointer = reference.as_str().unwrap().strip_prefix('#').unwrap();
        return hold(DESCRIPTION.pointer(pointer).unwrap(), value, place);
    }
    if let Some(all) = schema.get("anyOf") {
        if !value.is_null() {
            hold(&all[0], value, place);
        }
        return;
    }
    let is_a = |kind: &Value| match kind.as_str().unwrap() {
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_u64(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        "null" => value.is_null(),
        kind => panic!("{place}: {kind}"),
    };
    match schema.get("type") {
        Some(Value::Array(kinds)) => assert!(kinds.iter().any(is_a), "{place}: {value} is none of {kinds:?}"),
        Some(kind) => assert!(is_a(kind), "{place}: {value} is no {kind}"),
        None => {}
    }
    if let Some(Value::Array(words)) = schema.get("enum") {
        assert!(words.contains(value), "{place}: {value} is none of {words:?}");
    }
    if let (Some(schema), Some(list)) = (schema.get("items"), value.as_array()) {
        list.iter().for_each(|value| hold(schema, value, place));
    }
    let Some(object) = value.as_object() else { return };
    let needed = schema.get("required").and_then(Value::as_array).into_iter().flatten();
    for name in needed.filter_map(Value::as_str) {
        assert!(object.contains_key(name), "{place}: {name} is not in {value}");
    }
    for (name, value) in object {
        let known = schema.pointer(&format!("/properties/{}", name.replace('~', "~0").replace('/', "~1")));
        let others = schema.get("additionalProperties");
        let is_free = schema.as_object().unwrap().is_empty();
        match known.or(others) {
            Some(schema) => hold(schema, value, &format!("{place}.{name}")),
            None => assert!(is_free, "{place}: nothing is told of {name}"),
        }
    }
}

#[tokio::test]
async fn every_route_is_described_and_nothing_else_is() {
    let net = Net::new();
    let server = net.server("kanazawa.test").await;
    let routes = server.look(|house| house.routes(&[Serves::Client, Serves::AdminApi]).endpoints());
    let is_ours = |path: &str| path.starts_with("/_synapse/admin/") || path.contains("/admin_api/");
    let routes: BTreeSet<(String, String)> = routes
        .into_iter()
        .filter(|(_, path)| is_ours(path))
        .map(|(method, path)| (method.as_str().to_lowercase(), path))
        .collect();
    let paths = DESCRIPTION["paths"].as_object().unwrap().iter();
    let told: BTreeSet<(String, String)> = paths
        .flat_map(|(path, operations)| {
            operations.as_object().unwrap().keys().map(|method| (method.clone(), path.clone()))
        })
        .collect();
    let (missing, more): (Vec<_>, Vec<_>) =
        (routes.difference(&told).collect(), told.difference(&routes).collect());
    assert!(missing.is_empty() && more.is_empty(), "not described: {missing:?}; no routes: {more:?}");
}

#[tokio::test]
async fn the_description_is_for_administrators_and_is_that_of_the_running_program() {
    let net = Net::new();
    let server = net.server("kanazawa.test").await;
    let (admin, hanako) =
        (administrator(&server, "kanazawa.test", "admin").await, server.user("hanako").await);
    let told = get(&admin, DOCUMENT).await;
    assert_eq!((&told["openapi"], &told["paths"]), (&json!("3.1.0"), &DESCRIPTION["paths"]));
    let version = get(&admin, "/_synapse/admin/v1/server_version").await;
    let version = version["server_version"].as_str().unwrap().strip_prefix("Yakuba ").unwrap().to_owned();
    assert_eq!(told["info"]["version"], json!(version));
    refused(&hanako, Method::GET, DOCUMENT, None, (403, "M_FORBIDDEN")).await;
    refused(&server.guest().await, Method::GET, DOCUMENT, None, (403, "M_GUEST_ACCESS_FORBIDDEN")).await;
    let stranger = server.service("nobody", "no-such-token");
    refused(&stranger, Method::GET, DOCUMENT, None, (401, "M_UNKNOWN_TOKEN")).await;
}
