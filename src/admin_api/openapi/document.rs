//! The tables as one document.

use serde_json::{Map, Value, json};

use super::{
    files,
    operation::{Asker, Body, Operation},
    others, rooms,
    schema::Field,
    shapes::SHAPES,
    users,
};

/// What a table is about, and the table.
type Part = ((&'static str, &'static str), &'static [Operation]);

const PARTS: [Part; 4] = [
    (("users", "アカウント・端末・登録トークン / Accounts, devices, registration tokens"), users::OPERATIONS),
    (("rooms", "ルームと他のサーバー / Rooms, and other servers in them"), rooms::OPERATIONS),
    (("files", "ファイル / Files"), files::OPERATIONS),
    (("others", "通報・お知らせ・サーバー / Reports, notices, the server"), others::OPERATIONS),
];

/// What stands for a variable of a path.
const VARIABLES: &[(&str, &str)] = &[
    ("user", "a user id of the authority, such as @hanako:example.lg.jp"),
    ("device", "a device id"),
    ("token", "a registration token"),
    ("room", "a room id; where somebody joins, or is given power, also an alias"),
    ("event", "an event id"),
    ("server", "the server name in an mxc URI"),
    ("id", "the media id in an mxc URI"),
    ("report", "the number of a report"),
    ("destination", "a server name"),
    ("medium", "email"),
    ("address", "an e-mail address"),
    ("provider", "the issuer of an identity"),
    ("external_id", "the subject of an identity"),
    ("delete_id", "what the order to delete a room was answered with"),
    ("txn_id", "a word of the caller's, by which the same is done once"),
];

/// The admin API of a version of this program, as OpenAPI 3.1 has it.
#[must_use]
pub fn description(version: &str) -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for ((tag, _), operations) in PARTS {
        for operation in operations {
            let path = paths.entry(operation.path).or_insert_with(|| json!({}));
            path[operation.method] = written(operation, tag);
        }
    }
    let schemas: Map<String, Value> =
        SHAPES.iter().map(|(name, schema)| ((*name).to_owned(), schema.written())).collect();
    let tags: Vec<Value> =
        PARTS.iter().map(|((tag, about), _)| json!({ "name": tag, "description": about })).collect();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "役場 管理 API / Yakuba admin API",
            "version": version,
            "summary": "The admin API of Synapse, as far as Yakuba has it.",
            "description": "全体管理者のアクセストークンで使います。自分の組織のものだけが見え、変えられ、行ったことはすべて監査ログに残ります。\n\nAdministrators use it with the access token of their account. Each sees and changes his own authority alone, and whatever is done leaves a row in its audit log. What is another authority's is answered as what is nowhere.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "/", "description": "the listener that serves this" }],
        "tags": tags,
        "security": [{ "accessToken": [] }],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "accessToken": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "The access token of an account that administers its authority; by OAuth 2.0 with the scope urn:synapse:admin:*.",
                },
            },
            "responses": {
                "Refused": {
                    "description": "お受けできません / It is refused: 400 for what makes no sense, 401 without a token, 403 for who may not, 404 for what is not there or another's, 429 and 503 for later",
                    "content": { "application/json": { "schema": { "$ref": "#/components/schemas/Error" } } },
                },
            },
        },
    })
}

fn written(operation: &Operation, tag: &str) -> Value {
    let variables = operation.variables().map(|name| {
        let about = VARIABLES.iter().find(|(known, _)| *known == name).map_or("", |(_, about)| about);
        json!({ "name": name, "in": "path", "required": true, "description": about, "schema": { "type": "string" } })
    });
    let query = operation.query.iter().map(asked);
    let parameters: Vec<Value> = variables.chain(query).collect();
    let (japanese, english) = operation.summary;
    let mut answers = Map::new();
    for status in operation.statuses {
        let answer = json!({
            "description": if *status == 201 { "作成した / It was made" } else { "成功 / Success" },
            "content": { "application/json": { "schema": operation.answer.written() } },
        });
        answers.insert(status.to_string(), answer);
    }
    answers.insert("default".to_owned(), json!({ "$ref": "#/components/responses/Refused" }));
    let mut written = json!({
        "operationId": operation.id,
        "tags": [tag],
        "summary": format!("{japanese} / {english}"),
        "parameters": parameters,
        "responses": answers,
    });
    if !operation.note.is_empty() {
        written["description"] = json!(operation.note);
    }
    if operation.asker == Asker::Anybody {
        written["security"] = json!([]);
    }
    let body = match &operation.body {
        Body::None => None,
        Body::Wanted(schema) => Some((false, schema)),
        Body::Needed(schema) => Some((true, schema)),
    };
    if let Some((required, schema)) = body {
        written["requestBody"] = json!({
            "required": required,
            "content": { "application/json": { "schema": schema.written() } },
        });
    }
    written
}

fn asked(field: &Field) -> Value {
    let mut parameter = json!({
        "name": field.name,
        "in": "query",
        "required": field.is_needed,
        "schema": field.schema.written(),
    });
    if !field.about.is_empty() {
        parameter["description"] = json!(field.about);
    }
    parameter
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::collections::BTreeSet;

    use super::*;

    fn all() -> impl Iterator<Item = &'static Operation> {
        PARTS.iter().flat_map(|(_, operations)| operations.iter())
    }

    /// Every reference in a document.
    fn references(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(object) => {
                found.extend(object.get("$ref").and_then(Value::as_str).map(str::to_owned));
                object.values().for_each(|inner| references(inner, found));
            }
            Value::Array(list) => list.iter().for_each(|inner| references(inner, found)),
            _ => {}
        }
    }

    #[test]
    fn each_operation_stands_once_and_has_a_name_of_its_own() {
        let places: BTreeSet<_> = all().map(|operation| (operation.method, operation.path)).collect();
        let names: BTreeSet<_> = all().map(|operation| operation.id).collect();
        assert_eq!((places.len(), names.len()), (all().count(), all().count()));
        assert!(names.iter().all(|name| name.bytes().all(|byte| byte.is_ascii_alphanumeric())));
    }

    #[test]
    fn what_is_referred_to_is_there_and_what_is_there_is_referred_to() {
        let document = description("1.0");
        let mut found = BTreeSet::new();
        references(&document, &mut found);
        for reference in &found {
            let pointer = reference.strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{reference}");
        }
        for (name, _) in SHAPES {
            assert!(found.contains(&format!("#/components/schemas/{name}")), "{name} is nobody's");
        }
    }

    #[test]
    fn each_variable_of_a_path_is_told_of_and_no_name_comes_twice() {
        let mut used = BTreeSet::new();
        for operation in all() {
            let names: Vec<_> =
                operation.variables().chain(operation.query.iter().map(|field| field.name)).collect();
            assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "{}", operation.id);
            for name in operation.variables() {
                assert!(VARIABLES.iter().any(|(known, _)| *known == name), "{name}");
                used.insert(name);
            }
            let (japanese, english) = operation.summary;
            assert!(!japanese.is_ascii() && english.is_ascii(), "{}", operation.id);
        }
        assert_eq!(used.len(), VARIABLES.len());
    }
}
