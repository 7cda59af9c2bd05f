//! The protocol by itself: filters, operations as the usual sources send them, what is believed of bodies.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use crate::{
    error::{Error, Wrong},
    filter::Filter,
    patch,
    schema::{ENTERPRISE, GROUPS_TYPE, Type, USER, USERS},
    shown::Shown,
    value::{self, Resource},
};

fn object(value: Value) -> Map<String, Value> {
    let Value::Object(object) = value else { panic!("{value}") };
    object
}

fn hanako() -> Resource {
    let body = json!({
        "schemas": [USER, ENTERPRISE],
        "userName": "Hanako.Yamada@kanazawa.example.jp",
        "externalId": "00u1",
        "name": { "familyName": "山田", "givenName": "花子" },
        "active": true,
        "emails": [
            { "value": "hanako@kanazawa.example.jp", "type": "work", "primary": true },
            { "value": "hana@example.org", "type": "home" },
        ],
        ENTERPRISE: { "employeeNumber": "012345", "department": "防災課", "manager": { "value": "m1" } },
    });
    let mut made = value::resource(&USERS, &object(body)).unwrap();
    made.insert("meta".to_owned(), json!({ "lastModified": "2026-04-01T00:00:00.000Z" }));
    made
}

fn wrong_of<T: std::fmt::Debug>(done: Result<T, Error>) -> Wrong {
    match done {
        Err(Error::Invalid { wrong, .. }) => wrong,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_filter_means_what_the_rfc_says() {
    let hanako = hanako();
    let table = [
        (r#"userName eq "hanako.yamada@KANAZAWA.example.jp""#, true),
        (r#"USERNAME Eq "hanako.yamada@kanazawa.example.jp""#, true),
        // S12: whatever is a word of the language may be in capitals.
        (r#"USERNAME EQ "HANAKO.YAMADA@kanazawa.example.jp" AND ACTIVE EQ TRUE"#, true),
        (r#"USERNAME EQ "HANAKO.YAMADA@kanazawa.example.jp" AND ACTIVE EQ FALSE"#, false),
        (r#"TITLE PR OR USERNAME SW "HANAKO""#, true),
        (r#"NOT TITLE PR AND NAME.FAMILYNAME Pr"#, true),
        (r#"NOT (USERNAME CO "YAMADA")"#, false),
        (r#"EMAILS[TYPE EQ "work" AND VALUE EW "EXAMPLE.JP"]"#, true),
        (r#"userName eq "hanako""#, false),
        (r#"userName ne "hanako""#, true),
        (r#"title ne "課長""#, true),
        (r#"userName sw "hanako" and userName ew ".jp""#, true),
        (r#"userName co "yamada" and not (active eq false)"#, true),
        (r#"externalId eq "00U1""#, false),
        (r#"externalId eq "00u1""#, true),
        (r#"active eq true"#, true),
        (r#"active eq "True""#, true),
        (r#"active ne true"#, false),
        (r#"title pr"#, false),
        (r#"not title pr"#, true),
        (r#"name pr"#, true),
        (r#"name.familyName eq "山田""#, true),
        (r#"emails[type eq "work" and value ew "example.jp"]"#, true),
        (r#"emails[type eq "home" and value ew "example.jp"]"#, false),
        (r#"emails.type eq "home" and emails.value ew "example.jp""#, true),
        (r#"emails co "example.org""#, true),
        (r#"emails[not (type eq "work")]"#, true),
        (r#"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department eq "防災課""#, true),
        (r#"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager eq "m1""#, true),
        (r#"urn:ietf:params:scim:schemas:core:2.0:User:userName sw "Hana""#, true),
        (r#"meta.lastModified gt "2026-03-31T23:59:59Z""#, true),
        (r#"meta.lastModified ge "2026-04-01T09:00:00+09:00""#, true),
        (r#"meta.lastModified lt "2026-04-01T00:00:00Z""#, false),
        (r#"title eq "a" or title eq "b" or active eq true"#, true),
        // `and` binds closer than `or`.
        (r#"active eq true or title pr and title pr"#, true),
        (r#"(active eq true or title pr) and title pr"#, false),
        (r#"title eq null"#, true),
        (r#"active eq null"#, false),
        (r#"active ne null"#, true),
        (r#"userName gt "a" and userName lt "z""#, true),
        (r#"displayName eq "say \"hi\" \\""#, false),
        (r#"unknown eq "x""#, false),
        (r#"unknown pr"#, false),
        (r#"addresses.locality eq "x""#, false),
    ];
    for (text, fits) in table {
        let filter = Filter::parse(&USERS, text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(filter.matches(&hanako), fits, "{text}");
    }
}

#[test]
fn what_is_no_filter_is_refused_and_so_is_what_is_too_deep_or_too_long() {
    let deep = |depth: usize| format!("{}title pr{}", "(".repeat(depth), ")".repeat(depth));
    let many = |count: usize| vec!["title pr"; count].join(" or ");
    assert!(Filter::parse(&USERS, &deep(16)).is_ok());
    assert!(Filter::parse(&USERS, &many(100)).is_ok());
    for text in [
        "",
        "userName",
        "userName eq",
        "userName is \"x\"",
        "eq \"x\"",
        "userName eq \"x",
        "userName eq x",
        "(title pr",
        "title pr)",
        "title pr title pr",
        "title pr and",
        "and title pr",
        "emails[type eq \"work\"",
        "title[type pr]",
        "emails[emails[type pr]]",
        "active gt true",
        "active co \"t\" or active lt \"x\"",
        "userName eq \"\\x\"",
        "emails[]",
        "not",
        "title pr or or title pr",
        "userName eq 1e999",
        "\0",
        &deep(17),
        &many(101),
        &"not ".repeat(17),
        &format!("title eq \"{}\"", "x".repeat(4_096)),
    ] {
        assert_eq!(wrong_of(Filter::parse(&USERS, text)), Wrong::Filter, "{text}");
    }
}

/// What a body of operations makes of a resource.
fn patched(of: &'static Type, before: &Resource, operations: Value) -> Result<Resource, Error> {
    let body =
        json!({ "schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations": operations });
    patch::apply(of, before, &object(body))
}

#[test]
fn entra_id_is_understood() {
    let before = hanako();
    let after = patched(
        &USERS,
        &before,
        json!([
            { "op": "Replace", "path": "active", "value": "False" },
            { "op": "Add", "path": "emails[type eq \"work\"].value", "value": "h.yamada@kanazawa.example.jp" },
            { "op": "Replace", "path": "phoneNumbers[type eq \"mobile\"].value", "value": "090" },
            { "op": "Replace", "path": "addresses[type eq \"work\"].formatted", "value": "金沢市" },
            { "op": "Replace", "path": "name.givenName", "value": "華子" },
            { "op": "Add", "path": format!("{ENTERPRISE}:department"), "value": "広報課" },
            { "op": "Add", "path": format!("{ENTERPRISE}:manager"), "value": "m2" },
            { "op": "Remove", "path": format!("{ENTERPRISE}:employeeNumber") },
        ]),
    )
    .unwrap();
    assert_eq!(after["active"], false);
    assert_eq!(after["emails"][0]["value"], "h.yamada@kanazawa.example.jp");
    assert_eq!(after["emails"][0]["primary"], true);
    assert_eq!(after["phoneNumbers"], json!([{ "type": "mobile", "value": "090" }]));
    assert!(!after.contains_key("addresses"));
    assert_eq!(after["name"], json!({ "familyName": "山田", "givenName": "華子" }));
    assert_eq!(after[ENTERPRISE], json!({ "department": "広報課", "manager": { "value": "m2" } }));

    // Without a path, with names that are paths.
    let after = patched(
        &USERS,
        &before,
        json!([{ "op": "replace", "value": {
            "displayName": "山田 花子",
            "name.familyName": "佐藤",
            "name.givenName": "はな子",
            "emails[type eq \"work\"].value": "sato@kanazawa.example.jp",
            format!("{ENTERPRISE}:division"): "総務部",
            ENTERPRISE: { "costCenter": "7" },
            "active": "true",
            "somethingNew": "x",
        } }]),
    )
    .unwrap();
    assert_eq!(after["displayName"], "山田 花子");
    // S7: names that are paths reach parts, and stay as no attribute beside these.
    assert_eq!(after["name"], json!({ "familyName": "佐藤", "givenName": "はな子" }));
    assert!(after.keys().all(|key| key == ENTERPRISE || !key.contains('.')), "{after:?}");
    assert_eq!(after["emails"][0]["value"], "sato@kanazawa.example.jp");
    assert_eq!(after[ENTERPRISE]["division"], "総務部");
    assert_eq!(after[ENTERPRISE]["costCenter"], "7");
    assert_eq!(after[ENTERPRISE]["department"], "防災課");
    assert!(!after.contains_key("somethingNew"));
}

/// S8.
#[test]
fn an_address_is_added_to_who_has_none() {
    let mut before = hanako();
    before.remove("emails");
    for op in ["Add", "add", "Replace"] {
        let add =
            json!([{ "op": op, "path": "emails[type eq \"work\"].value", "value": "h@kanazawa.example.jp" }]);
        let after = patched(&USERS, &before, add).unwrap();
        let wanted = json!([{ "type": "work", "value": "h@kanazawa.example.jp" }]);
        assert_eq!(after["emails"], wanted, "{op}");
    }
}

/// S9: the name of an extension holds a point and a colon, and is a path by itself.
#[test]
fn the_name_of_an_extension_alone_means_all_of_it() {
    let before = hanako();
    let done = |op: &str, path: &str, value: Value| {
        patched(&USERS, &before, json!([{ "op": op, "path": path, "value": value }])).unwrap()
    };
    // Both merge: the extension is one complex value (RFC 7644, 3.5.2.1 and 3.5.2.3).
    for op in ["add", "Replace"] {
        let after = done(op, ENTERPRISE, json!({ "department": "広報課" }));
        let wanted =
            json!({ "employeeNumber": "012345", "department": "広報課", "manager": { "value": "m1" } });
        assert_eq!(after[ENTERPRISE], wanted, "{op}");
        assert_eq!(after.keys().collect::<Vec<_>>(), before.keys().collect::<Vec<_>>(), "{op}");
    }
    assert!(!done("remove", ENTERPRISE, Value::Null).contains_key(ENTERPRISE));
    let with = |filter: &str| Filter::parse(&USERS, filter).unwrap();
    let is_there = with(&format!("{ENTERPRISE} pr"));
    assert!(is_there.matches(&before));
    assert!(!is_there.matches(&done("remove", ENTERPRISE, Value::Null)));
}

#[test]
fn groups_are_changed_as_entra_id_and_okta_do() {
    let group =
        json!({ "displayName": "防災", "members": [{ "value": "a" }, { "value": "b", "display": "B" }] });
    let group = value::resource(&GROUPS_TYPE, &object(group)).unwrap();
    assert_eq!(group["members"], json!([{ "value": "a" }, { "value": "b" }]));
    let members = |operations: Value| {
        let after = patched(&GROUPS_TYPE, &group, operations).unwrap();
        let members = after.get("members").and_then(Value::as_array).cloned().unwrap_or_default();
        members
            .iter()
            .map(|member| member["value"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
            .join(" ")
    };
    let table = [
        (json!([{ "op": "Add", "path": "members", "value": [{ "value": "c" }, { "value": "a" }] }]), "a b c"),
        (json!([{ "op": "add", "value": { "members": [{ "value": "c" }] } }]), "a b c"),
        (json!([{ "op": "Remove", "path": "members[value eq \"a\"]" }]), "b"),
        (json!([{ "op": "Remove", "path": "members", "value": [{ "value": "a", "$ref": null }] }]), "b"),
        (json!([{ "op": "remove", "path": "members", "value": [] }]), "a b"),
        (json!([{ "op": "remove", "path": "members[value eq \"x\"]" }]), "a b"),
        (json!([{ "op": "remove", "path": "members" }]), ""),
        (json!([{ "op": "replace", "path": "members", "value": [{ "value": "d" }] }]), "d"),
        (json!([{ "op": "replace", "path": "members", "value": [] }]), ""),
        (json!([{ "op": "Replace", "path": "members", "value": null }]), ""),
        (json!([{ "op": "replace", "value": { "id": "g", "displayName": "新", "members": [] } }]), ""),
        (json!([{ "op": "replace", "value": { "id": "g", "displayName": "新" } }]), "a b"),
    ];
    for (operations, wanted) in table {
        assert_eq!(members(operations.clone()), wanted, "{operations}");
    }
    let change = json!([{ "op": "replace", "path": "members[value eq \"a\"].value", "value": "x" }]);
    assert_eq!(wrong_of(patched(&GROUPS_TYPE, &group, change)), Wrong::Mutability);
}

#[test]
fn one_of_several_values_is_primary() {
    let add = json!([{ "op": "add", "path": "emails", "value": [{ "value": "new@x.jp", "primary": true }] }]);
    let after = patched(&USERS, &hanako(), add).unwrap();
    let primary: Vec<bool> =
        after["emails"].as_array().unwrap().iter().map(|mail| mail["primary"] == json!(true)).collect();
    assert_eq!(primary, [false, false, true]);
    assert_eq!(value::mail(&after), Some("new@x.jp"));
    let two = json!({ "userName": "a", "emails": [{ "value": "a", "primary": true }, { "value": "b", "primary": true }] });
    assert_eq!(wrong_of(value::resource(&USERS, &object(two))), Wrong::Value);
}

#[test]
fn operations_that_cannot_be_done_are_refused_and_change_nothing() {
    let table = [
        (json!([{ "op": "move", "path": "title" }]), Wrong::Syntax),
        (json!([{ "path": "title" }]), Wrong::Syntax),
        (json!(["x"]), Wrong::Syntax),
        (json!("x"), Wrong::Syntax),
        (json!(vec![json!({ "op": "remove", "path": "title" }); 1_001]), Wrong::Syntax),
        (json!([{ "op": "remove" }]), Wrong::NoTarget),
        (json!([{ "op": "add", "value": "x" }]), Wrong::Value),
        (json!([{ "op": "add", "path": "unknown", "value": "x" }]), Wrong::Path),
        (json!([{ "op": "add", "path": "title[type eq \"x\"]", "value": "x" }]), Wrong::Path),
        (json!([{ "op": "add", "path": "emails[type eq \"x\"", "value": "x" }]), Wrong::Path),
        (json!([{ "op": "add", "path": "emails[type eq \"x\"].x", "value": "x" }]), Wrong::Path),
        (json!([{ "op": "add", "path": "emails[type]", "value": "x" }]), Wrong::Filter),
        (json!([{ "op": "add", "path": 1, "value": "x" }]), Wrong::Path),
        (json!([{ "op": "add", "path": "x".repeat(2_049), "value": "x" }]), Wrong::Path),
        (json!([{ "op": "replace", "path": "id", "value": "x" }]), Wrong::Mutability),
        (json!([{ "op": "replace", "path": "groups", "value": [] }]), Wrong::Mutability),
        (json!([{ "op": "replace", "path": "meta.created", "value": "x" }]), Wrong::Mutability),
        (json!([{ "op": "remove", "path": "userName" }]), Wrong::Value),
        (json!([{ "op": "replace", "path": "userName", "value": " " }]), Wrong::Value),
        (json!([{ "op": "replace", "path": "active", "value": "perhaps" }]), Wrong::Value),
        (json!([{ "op": "replace", "path": "title", "value": { "a": 1 } }]), Wrong::Value),
        (json!([{ "op": "replace", "path": "title", "value": "x".repeat(1_025) }]), Wrong::Value),
        (json!([{ "op": "replace", "path": "title", "value": "a\u{0}b" }]), Wrong::Value),
        (
            json!([{ "op": "replace", "path": "emails[value co \"nobody\"].type", "value": "x" }]),
            Wrong::NoTarget,
        ),
    ];
    for (operations, wrong) in table {
        let text = operations.to_string();
        assert_eq!(wrong_of(patched(&USERS, &hanako(), operations)), wrong, "{text}");
    }
}

#[test]
fn a_body_is_believed_within_bounds() {
    let made = |body: Value| value::resource(&USERS, &object(body));
    let whole = made(json!({
        "USERNAME": "a", "Active": "TRUE", "password": "secret", "id": "mine", "groups": [{ "value": "g" }],
        "title": ["主査"], "displayName": null, "nickName": "", "emails": { "value": "a@b.jp" },
        "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User": { "employeeNumber": 12, "unknown": 1 },
        "unknown": { "deep": [1, 2] },
    }));
    let wanted = json!({
        "userName": "a", "active": true, "title": "主査", "emails": [{ "value": "a@b.jp" }],
        ENTERPRISE: { "employeeNumber": "12" },
    });
    assert_eq!(Value::Object(whole.unwrap()), wanted);
    for body in [
        json!({}),
        json!({ "userName": "" }),
        json!({ "userName": 1.5, "active": 3 }),
        json!({ "userName": ["a", "b"] }),
        json!({ "userName": "x".repeat(256) }),
        json!({ "userName": "a", "externalId": "x".repeat(256) }),
        json!({ "userName": "a", "emails": vec![json!({ "value": "a" }); 51] }),
        json!({ "userName": "a", ENTERPRISE: "x" }),
        json!({ "userName": "a", "emails": (0..50).map(|n| json!({ "value": "x".repeat(900 + n) })).collect::<Value>() }),
    ] {
        assert_eq!(wrong_of(made(body.clone())), Wrong::Value, "{body}");
    }
    let many = json!({ "displayName": "g", "members": vec![json!({ "value": "a" }); 20_001] });
    assert_eq!(wrong_of(value::resource(&GROUPS_TYPE, &object(many))), Wrong::Value);
}

#[test]
fn a_name_to_show_is_found_in_what_is_said() {
    let shown = |body: Value| value::shown_name(&object(body));
    assert_eq!(shown(json!({ "displayName": " 山田 花子 ", "userName": "h" })), "山田 花子");
    assert_eq!(shown(json!({ "name": { "formatted": "山田花子" }, "userName": "h" })), "山田花子");
    assert_eq!(
        shown(json!({ "name": { "familyName": "山田", "givenName": "花子" }, "userName": "h" })),
        "山田 花子"
    );
    assert_eq!(shown(json!({ "userName": "h" })), "h");
}

#[test]
fn answers_hold_what_is_wanted() {
    let told = |only: Option<&str>, but: Option<&str>| {
        let mut whole = hanako();
        whole.insert("id".to_owned(), "1".into());
        whole.insert("schemas".to_owned(), json!([USER]));
        let shown = Shown::parse(&USERS, only, but).unwrap().of(whole);
        shown.keys().map(|key| key.rsplit(':').next().unwrap().to_owned()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(told(Some("userName"), None), "id schemas userName");
    assert_eq!(told(Some("USERNAME, name.familyName,unknown"), None), "id name schemas userName");
    assert_eq!(told(Some(&format!("{ENTERPRISE}:department")), None), "id schemas User");
    assert_eq!(told(None, Some("emails,id,name,meta,active")), "externalId id schemas User userName");
    assert_eq!(told(Some(""), Some("")), "active emails externalId id meta name schemas User userName");
    let part = Shown::parse(&USERS, Some("emails.type,name.givenName"), None).unwrap().of(hanako());
    assert_eq!(
        Value::Object(part),
        json!({ "emails": [{ "type": "work" }, { "type": "home" }], "name": { "givenName": "花子" } })
    );
    let part = Shown::parse(&USERS, None, Some("emails.value")).unwrap().of(hanako());
    assert_eq!(part["emails"], json!([{ "type": "work", "primary": true }, { "type": "home" }]));
    for (only, but) in
        [(Some("a"), Some("b")), (Some(&*"a,".repeat(101)), None), (None, Some(&*"x".repeat(4_097)))]
    {
        assert_eq!(wrong_of(Shown::parse(&USERS, only, but)), Wrong::Value);
    }
    assert!(!Shown::parse(&GROUPS_TYPE, None, Some("members")).unwrap().has("members"));
    assert!(Shown::parse(&GROUPS_TYPE, None, Some("members.value")).unwrap().has("members"));
    assert!(!Shown::parse(&GROUPS_TYPE, Some("displayName"), None).unwrap().has("members"));
}

#[test]
fn a_part_that_is_set_to_nothing_goes_and_leaves_no_empty_whole() {
    let mut before = hanako();
    before.remove("meta");
    let manager = format!("{ENTERPRISE}:manager.value");
    let none = json!([{ "op": "remove", "path": manager }]);
    let before = patched(&USERS, &before, none).unwrap();
    assert!(before[ENTERPRISE].get("manager").is_none());
    for op in ["add", "replace", "remove"] {
        let nothing = json!([{ "op": op, "path": manager, "value": null }]);
        assert_eq!(patched(&USERS, &before, nothing.clone()).unwrap(), before, "{op}");
        let set = json!([{ "op": "add", "path": manager, "value": "26118915" }]);
        let set = patched(&USERS, &before, set).unwrap();
        assert_eq!(set[ENTERPRISE]["manager"]["value"], "26118915");
        assert_eq!(patched(&USERS, &set, nothing).unwrap(), before, "{op}");
    }
    let empty = json!([{ "op": "add", "path": format!("{ENTERPRISE}:manager"), "value": {} }]);
    assert_eq!(patched(&USERS, &before, empty).unwrap(), before);
}

/// Any JSON, with names and paths that mean something now and then.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        "[a-zA-Z0-9 \\.\\[\\]\"あ\\\\]{0,12}".prop_map(Value::from),
    ];
    let key = prop_oneof![
        Just("userName".to_owned()),
        Just("value".to_owned()),
        Just("emails".to_owned()),
        Just("primary".to_owned()),
        Just(ENTERPRISE.to_owned()),
        "[a-z\\.\\[\\]]{0,8}",
    ];
    leaf.prop_recursive(3, 24, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            prop::collection::hash_map(key.clone(), inner, 0..4)
                .prop_map(|all| Value::Object(all.into_iter().collect())),
        ]
    })
}

proptest! {
    /// Nothing that is sent leads to anything but an answer, and what is taken is a resource that would be taken again.
    #[test]
    fn operations_end_well(
        op in prop_oneof![Just("add"), Just("Replace"), Just("remove")],
        path in prop::option::of(prop_oneof![
            Just("emails[type eq \"work\"].value".to_owned()),
            Just("emails[value sw \"h\"]".to_owned()),
            Just("emails.value".to_owned()),
            Just("emails".to_owned()),
            Just("name.familyName".to_owned()),
            Just("active".to_owned()),
            Just(format!("{ENTERPRISE}:manager.value")),
            Just(ENTERPRISE.to_owned()),
            "[a-zA-Z\\[\\]\\. \"]{0,20}",
        ]),
        value in any_json(),
    ) {
        let mut before = hanako();
        before.remove("meta");
        let mut operation = json!({ "op": op, "value": value });
        if let Some(path) = path {
            operation["path"] = path.into();
        }
        if let Ok(after) = patched(&USERS, &before, json!([operation])) {
            let again = value::resource(&USERS, &after).unwrap();
            prop_assert_eq!(again, after);
        }
    }

    #[test]
    fn any_text_is_a_filter_or_none(text in "[a-zA-Z0-9\\.:\\[\\]\\(\\) \"\\\\あ]{0,60}") {
        if let Ok(filter) = Filter::parse(&USERS, &text) {
            filter.matches(&hanako());
            filter.demands();
        }
    }

    #[test]
    fn any_body_is_a_resource_or_none(value in any_json()) {
        if let Value::Object(body) = value
            && let Ok(made) = value::resource(&USERS, &body)
        {
            prop_assert_eq!(value::resource(&USERS, &made).unwrap(), made);
        }
    }
}
