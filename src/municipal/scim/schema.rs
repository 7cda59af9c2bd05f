//! What users and groups are made of here, as RFC 7643 has it.
//!
//! What a server is not asked to keep about people it does not keep: of the RFC's attributes those are named here that an
//! office's directory or an account has a use for. The others are known ([`Schema::passed_over`]): a source may send them, which the
//! usual ones do unasked, and they are taken for nothing.

use serde_json::{Value, json};

/// The urn of the schema of users.
pub(crate) const USER: &str = "urn:ietf:params:scim:schemas:core:2.0:User";
/// The urn of the schema of groups.
pub(crate) const GROUP: &str = "urn:ietf:params:scim:schemas:core:2.0:Group";
/// The urn of what an employer knows of a user besides.
pub(crate) const ENTERPRISE: &str = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";

/// What a value is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Text,
    Boolean,
    /// A moment; no client sets one.
    DateTime,
    /// An address of a resource of one of these types.
    Reference(&'static [&'static str]),
    /// Values with names.
    Complex(&'static [Attribute]),
}

/// Who sets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mutability {
    ReadWrite,
    ReadOnly,
    /// A client sets it once; another value is another member of its list.
    Immutable,
}

/// An attribute, or a part of one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attribute {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// Whether there may be several values.
    pub(crate) many: bool,
    pub(crate) required: bool,
    /// Whether capitals and small letters differ.
    pub(crate) exact: bool,
    pub(crate) mutability: Mutability,
    /// Whether it is told whatever is asked for.
    pub(crate) always: bool,
    /// Whether no two resources have one value.
    pub(crate) unique: bool,
    /// Words that are usual for it.
    pub(crate) usual: &'static [&'static str],
    about: &'static str,
}

impl Attribute {
    const fn new(name: &'static str, kind: Kind, about: &'static str) -> Self {
        Self {
            name,
            kind,
            many: false,
            required: false,
            exact: false,
            mutability: Mutability::ReadWrite,
            always: false,
            unique: false,
            usual: &[],
            about,
        }
    }

    const fn text(name: &'static str, about: &'static str) -> Self {
        Self::new(name, Kind::Text, about)
    }

    const fn many(self) -> Self {
        Self { many: true, ..self }
    }

    const fn required(self) -> Self {
        Self { required: true, ..self }
    }

    const fn exact(self) -> Self {
        Self { exact: true, ..self }
    }

    const fn read_only(self) -> Self {
        Self { mutability: Mutability::ReadOnly, ..self }
    }

    const fn immutable(self) -> Self {
        Self { mutability: Mutability::Immutable, ..self }
    }

    const fn always(self) -> Self {
        Self { always: true, ..self }
    }

    const fn unique(self) -> Self {
        Self { unique: true, ..self }
    }

    const fn usual(self, usual: &'static [&'static str]) -> Self {
        Self { usual, ..self }
    }

    /// Its parts, if it has some.
    pub(crate) fn parts(&self) -> &'static [Attribute] {
        match self.kind {
            Kind::Complex(parts) => parts,
            Kind::Text | Kind::Boolean | Kind::DateTime | Kind::Reference(_) => &[],
        }
    }

    /// Its part of this name, however that is capitalised.
    pub(crate) fn part(&self, name: &str) -> Option<&'static Attribute> {
        self.parts().iter().find(|part| part.name.eq_ignore_ascii_case(name))
    }

    fn described(&self) -> Value {
        let kind = match self.kind {
            Kind::Text => "string",
            Kind::Boolean => "boolean",
            Kind::DateTime => "dateTime",
            Kind::Reference(_) => "reference",
            Kind::Complex(_) => "complex",
        };
        let mutability = match self.mutability {
            Mutability::ReadWrite => "readWrite",
            Mutability::ReadOnly => "readOnly",
            Mutability::Immutable => "immutable",
        };
        let mut told = json!({
            "name": self.name,
            "type": kind,
            "multiValued": self.many,
            "description": self.about,
            "required": self.required,
            "caseExact": self.exact,
            "mutability": mutability,
            "returned": if self.always { "always" } else { "default" },
            "uniqueness": if self.unique { "server" } else { "none" },
        });
        if !self.usual.is_empty() {
            told["canonicalValues"] = json!(self.usual);
        }
        match self.kind {
            Kind::Complex(parts) => {
                told["subAttributes"] = parts.iter().map(Attribute::described).collect();
            }
            Kind::Reference(types) => told["referenceTypes"] = json!(types),
            Kind::Text | Kind::Boolean | Kind::DateTime => {}
        }
        told
    }
}

/// Attributes under one urn.
#[derive(Debug)]
pub(crate) struct Schema {
    pub(crate) urn: &'static str,
    pub(crate) name: &'static str,
    about: &'static str,
    pub(crate) attributes: &'static [Attribute],
    /// Names of the RFC that may be sent and are not kept.
    passed_over: &'static [&'static str],
}

impl Schema {
    /// The attribute of this name, however that is capitalised.
    pub(crate) fn find(&self, name: &str) -> Option<&'static Attribute> {
        self.attributes.iter().find(|attribute| attribute.name.eq_ignore_ascii_case(name))
    }

    /// Whether an attribute of this name is known and not kept.
    pub(crate) fn passes_over(&self, name: &str) -> bool {
        self.passed_over.iter().any(|known| known.eq_ignore_ascii_case(name))
    }

    /// The schema as `/Schemas` tells it.
    pub(crate) fn described(&self, base: &str) -> Value {
        json!({
            "schemas": ["urn:ietf:params:scim:schemas:core:2.0:Schema"],
            "id": self.urn,
            "name": self.name,
            "description": self.about,
            "attributes": self.attributes.iter().map(Attribute::described).collect::<Value>(),
            "meta": {
                "resourceType": "Schema",
                "location": format!("{base}/Schemas/{}", self.urn),
            },
        })
    }
}

/// A type of resources.
#[derive(Debug)]
pub(crate) struct Type {
    pub(crate) name: &'static str,
    /// The last part of its endpoint's path.
    pub(crate) plural: &'static str,
    about: &'static str,
    pub(crate) core: &'static Schema,
    pub(crate) extension: Option<&'static Schema>,
}

impl Type {
    /// The type as `/ResourceTypes` tells it.
    pub(crate) fn described(&self, base: &str) -> Value {
        let extensions = self.extension.iter();
        let extensions = extensions.map(|schema| json!({ "schema": schema.urn, "required": false }));
        json!({
            "schemas": ["urn:ietf:params:scim:schemas:core:2.0:ResourceType"],
            "id": self.name,
            "name": self.name,
            "endpoint": format!("/{}", self.plural),
            "description": self.about,
            "schema": self.core.urn,
            "schemaExtensions": extensions.collect::<Value>(),
            "meta": {
                "resourceType": "ResourceType",
                "location": format!("{base}/ResourceTypes/{}", self.name),
            },
        })
    }
}

/// What every resource has besides the attributes of its schema.
pub(crate) static COMMON: [Attribute; 4] = [
    Attribute::text("schemas", "The schemas of the resource.").many().read_only().always(),
    Attribute::text("id", "What this server calls the resource.").exact().read_only().always(),
    Attribute::text("externalId", "What the source calls it.").exact(),
    Attribute::new("meta", Kind::Complex(META), "What this server says about it.").read_only(),
];

const META: &[Attribute] = &[
    Attribute::text("resourceType", "Its type.").exact().read_only(),
    Attribute::new("created", Kind::DateTime, "When it was made.").read_only(),
    Attribute::new("lastModified", Kind::DateTime, "When it was changed last.").read_only(),
    Attribute::text("location", "Its address.").exact().read_only(),
    Attribute::text("version", "Its version.").exact().read_only(),
];

const PRIMARY: Attribute = Attribute::new("primary", Kind::Boolean, "Whether it is the preferred one.");
const DISPLAY: Attribute = Attribute::text("display", "The value for people.");

const NAME: &[Attribute] = &[
    Attribute::text("formatted", "The whole name."),
    Attribute::text("familyName", "The family name."),
    Attribute::text("givenName", "The given name."),
    Attribute::text("middleName", "Names between."),
    Attribute::text("honorificPrefix", "What stands before the name."),
    Attribute::text("honorificSuffix", "What stands behind the name."),
];

const EMAIL: &[Attribute] = &[
    Attribute::text("value", "The address."),
    DISPLAY,
    Attribute::text("type", "What it is for.").usual(&["work", "home", "other"]),
    PRIMARY,
];

const PHONE: &[Attribute] = &[
    Attribute::text("value", "The number."),
    DISPLAY,
    Attribute::text("type", "What it is for.").usual(&["work", "home", "mobile", "fax", "pager", "other"]),
    PRIMARY,
];

const GROUPS: &[Attribute] = &[
    Attribute::text("value", "The group's id.").exact().read_only(),
    Attribute::new("$ref", Kind::Reference(&["Group"]), "The group's address.").exact().read_only(),
    Attribute::text("display", "The group's name.").read_only(),
    Attribute::text("type", "How the user belongs to it.").usual(&["direct"]).read_only(),
];

const MANAGER: &[Attribute] = &[
    Attribute::text("value", "The id of the manager's user.").exact(),
    Attribute::new("$ref", Kind::Reference(&["User"]), "The address of the manager's user.").exact(),
    Attribute::text("displayName", "The manager's name.").read_only(),
];

const MEMBERS: &[Attribute] = &[
    Attribute::text("value", "The id of the user.").exact().immutable(),
    Attribute::new("$ref", Kind::Reference(&["User"]), "The address of the user.").exact().immutable(),
    Attribute::text("type", "What it is.").usual(&["User"]).immutable(),
];

static USER_SCHEMA: Schema = Schema {
    urn: USER,
    name: "User",
    about: "Somebody who has an account.",
    attributes: &[
        Attribute::text("userName", "The name by which the source knows the user.").required().unique(),
        Attribute::new("name", Kind::Complex(NAME), "The parts of the user's name."),
        Attribute::text("displayName", "The name that others are shown."),
        Attribute::text("nickName", "The name that is used in daily life."),
        Attribute::text("title", "The user's post."),
        Attribute::text("userType", "How the user is employed."),
        Attribute::text("preferredLanguage", "The language that the user prefers."),
        Attribute::text("locale", "How dates and numbers are written for the user."),
        Attribute::text("timezone", "The user's time zone."),
        Attribute::new(
            "active",
            Kind::Boolean,
            "Whether the account may be used. It is locked while this is false.",
        ),
        Attribute::new("emails", Kind::Complex(EMAIL), "E-mail addresses.").many(),
        Attribute::new("phoneNumbers", Kind::Complex(PHONE), "Telephone numbers.").many(),
        Attribute::new("groups", Kind::Complex(GROUPS), "The groups that the user is in.").many().read_only(),
    ],
    passed_over: &[
        "profileUrl",
        "password",
        "ims",
        "photos",
        "addresses",
        "entitlements",
        "roles",
        "x509Certificates",
    ],
};

static GROUP_SCHEMA: Schema = Schema {
    urn: GROUP,
    name: "Group",
    about: "Users whom the source keeps together.",
    attributes: &[
        Attribute::text("displayName", "The group's name.").required(),
        Attribute::new("members", Kind::Complex(MEMBERS), "The users in it.").many(),
    ],
    passed_over: &[],
};

static ENTERPRISE_SCHEMA: Schema = Schema {
    urn: ENTERPRISE,
    name: "EnterpriseUser",
    about: "What an employer knows of a user.",
    attributes: &[
        Attribute::text("employeeNumber", "The employee's number."),
        Attribute::text("costCenter", "Who pays."),
        Attribute::text("organization", "The organisation."),
        Attribute::text("division", "The division."),
        Attribute::text("department", "The department."),
        Attribute::new("manager", Kind::Complex(MANAGER), "The user's manager."),
    ],
    passed_over: &[],
};

/// Users.
pub(crate) static USERS: Type = Type {
    name: "User",
    plural: "Users",
    about: "People of this authority, each with an account.",
    core: &USER_SCHEMA,
    extension: Some(&ENTERPRISE_SCHEMA),
};

/// Groups.
pub(crate) static GROUPS_TYPE: Type = Type {
    name: "Group",
    plural: "Groups",
    about: "Groups of users, as the source has them.",
    core: &GROUP_SCHEMA,
    extension: None,
};

/// All types.
pub(crate) static TYPES: [&Type; 2] = [&USERS, &GROUPS_TYPE];

/// All schemas.
pub(crate) static SCHEMAS: [&Schema; 3] = [&USER_SCHEMA, &GROUP_SCHEMA, &ENTERPRISE_SCHEMA];
