//! What values look like, as far as that is told: JSON Schema in few words.

use serde_json::{Map, Value, json};

/// What a value looks like.
pub(super) enum Schema {
    /// Whatever it is.
    Any,
    Text,
    Truth,
    /// A whole number that is not negative.
    Number,
    /// A moment in milliseconds since 1970.
    Moment,
    /// One of these words.
    Word(&'static [&'static str]),
    /// This, or null.
    Maybe(&'static Schema),
    List(&'static Schema),
    /// An object of whatever names.
    Map(&'static Schema),
    /// An object of these names and no others.
    Object(&'static [Field]),
    /// One of [`super::shapes`].
    Shape(&'static str),
    /// An object with the names of another one beside its own.
    More(&'static [Field], &'static [Field]),
}

/// What there is of an object, or of a query.
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) schema: Schema,
    /// Whether it is always there.
    pub(super) is_needed: bool,
    pub(super) about: &'static str,
}

/// What is always there.
pub(super) const fn has(name: &'static str, schema: Schema) -> Field {
    Field { name, schema, is_needed: true, about: "" }
}

/// What may be there.
pub(super) const fn may(name: &'static str, schema: Schema) -> Field {
    Field { name, schema, is_needed: false, about: "" }
}

impl Field {
    pub(super) const fn about(mut self, about: &'static str) -> Self {
        self.about = about;
        self
    }
}

/// Nothing but success.
pub(super) const NOTHING: Schema = Schema::Object(&[]);

impl Schema {
    /// As JSON Schema.
    pub(super) fn written(&self) -> Value {
        match self {
            Self::Any => json!({}),
            Self::Text => json!({ "type": "string" }),
            Self::Truth => json!({ "type": "boolean" }),
            Self::Number => json!({ "type": "integer", "format": "int64", "minimum": 0 }),
            Self::Moment => json!({
                "type": "integer",
                "format": "int64",
                "minimum": 0,
                "description": "milliseconds since 1970",
            }),
            Self::Word(words) => json!({ "type": "string", "enum": words }),
            Self::Maybe(inner) => match inner.written() {
                Value::Object(mut object) if object.get("type").is_some_and(Value::is_string) => {
                    let kind = object.remove("type");
                    object.insert("type".to_owned(), json!([kind, "null"]));
                    if let Some(Value::Array(words)) = object.get_mut("enum") {
                        words.push(Value::Null);
                    }
                    Value::Object(object)
                }
                other => json!({ "anyOf": [other, { "type": "null" }] }),
            },
            Self::List(inner) => json!({ "type": "array", "items": inner.written() }),
            Self::Map(inner) => json!({ "type": "object", "additionalProperties": inner.written() }),
            Self::Object(fields) => object(fields.iter()),
            Self::More(fields, more) => object(fields.iter().chain(*more)),
            Self::Shape(name) => json!({ "$ref": format!("#/components/schemas/{name}") }),
        }
    }
}

fn object<'a>(fields: impl Iterator<Item = &'a Field>) -> Value {
    let (mut properties, mut required) = (Map::new(), Vec::new());
    for field in fields {
        let mut schema = field.schema.written();
        if !field.about.is_empty() {
            schema["description"] = json!(field.about);
        }
        properties.insert(field.name.to_owned(), schema);
        if field.is_needed {
            required.push(field.name);
        }
    }
    let mut written = json!({ "type": "object", "properties": properties });
    if !required.is_empty() {
        written["required"] = json!(required);
    }
    written
}
