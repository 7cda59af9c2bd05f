//! The house as ARCHITECTURE.md draws it, held by a test: a crate depends on lower floors only, the
//! edges do not know each other, and what belongs to one crate is named in no other.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// Crate and floor. Crates of one floor do not know each other.
const FLOORS: &[(&str, u8)] = &[
    ("base", 0),
    ("sanitise", 0),
    ("intake", 1),
    ("pdu", 1),
    ("store", 1),
    ("audit", 2),
    ("mail", 2),
    ("organisation", 2),
    ("store_rocksdb", 2),
    ("store_postgres", 2),
    ("duties", 3),
    ("factor", 3),
    ("personnel", 3),
    ("room", 3),
    ("syslog", 3),
    ("rules", 3),
    ("posts", 3),
    ("cases", 4),
    ("classes", 4),
    ("engine", 4),
    ("account", 5),
    ("to_device", 6),
    ("media", 6),
    ("push", 6),
    ("gateway", 6),
    ("search", 6),
    ("encryption", 6),
    ("oauth", 6),
    ("oversight", 6),
    ("staff", 6),
    ("domains", 6),
    ("upstream", 6),
    ("appservice", 7),
    ("ldap", 7),
    ("web", 7),
    ("pages", 8),
    ("admin_api", 9),
    ("client", 9),
    ("console", 9),
    ("counter", 9),
    ("federation", 9),
    ("scim", 9),
    ("sync", 9),
    ("server", 10),
    ("yakuba", 11),
];

/// Crates that stand aside: tests and tools, which may know any other and which none of the house knows.
const ASIDE: &[&str] = &["testkit", "hostile", "bench", "meter"];

/// Libraries that one place alone names, and the path where it does.
const OWNED: &[(&str, &str)] = &[
    ("rocksdb", "src/store_rocksdb"),
    ("tokio-postgres", "src/store_postgres"),
    ("axum", "src/web"),
    ("object_store", "src/media"),
    ("lettre", "src/mail"),
    ("ldap3", "src/municipal/ldap"),
];

/// Libraries that a few places name, and the paths where they do: pictures are made small in one and made safe in the other;
/// signatures of identity providers are checked in one and those of passkeys in another, and made and sealed with in a third.
const SHARED: &[(&str, &[&str])] =
    &[("image", &["src/media", "src/sanitise"]), ("ring", &["src/upstream", "src/gateway", "src/factor"])];

/// Tables with something of rooms whose keys do not begin with the room, as it is found by another name. Rule 9 says for
/// each how a purge gets from the room to its rows.
const NOT_BY_ROOM: &[&str] = &[
    "ROOMS",
    "EVENT_IDS",
    "ALIASES",
    "PUBLISHED",
    "MEMBERSHIPS",
    "DEPARTURES",
    "PURGES",
    "ERASED",
    "ROOM_DATA",
    "OWED",
    "LAST_SENT",
    "WORDS",
    "PEOPLE",
    "DUE",
    "DELAYS",
    "DELAYS_DUE",
    "DELAYS_ENDED",
    "USER_DELAYS",
    "NAMED",
    "BLOCKED",
];

fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The names in the tables of a manifest whose heading ends with `dependencies`.
fn dependencies(manifest: &str, table: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut inside = false;
    for line in manifest.lines() {
        if let Some(heading) = line.strip_prefix('[') {
            inside = heading.trim_end_matches(']') == table;
        } else if inside && let Some((name, _)) = line.split_once(['.', '=', ' ']) {
            found.insert(name.trim().to_owned());
        }
    }
    found
}

/// Each crate below `src/` by its name, with its folder: a crate lies in `src/` or in a folder of it that
/// gathers some of one subject (`src/municipal/intake`).
fn folders() -> BTreeMap<String, PathBuf> {
    let below = |folder: &Path| -> Vec<PathBuf> {
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        entries.filter(|path| path.is_dir()).collect()
    };
    let first = below(&top().join("src"));
    let second: Vec<_> = first.iter().flat_map(|folder| below(folder)).collect();
    let all = first.into_iter().chain(second).filter(|folder| folder.join("Cargo.toml").exists());
    all.map(|folder| (folder.file_name().unwrap().to_str().unwrap().to_owned(), folder)).collect()
}

fn crates() -> BTreeMap<String, String> {
    let manifest = |folder: &Path| fs::read_to_string(folder.join("Cargo.toml")).unwrap();
    let mut found: BTreeMap<_, _> =
        folders().into_iter().map(|(name, folder)| (name, manifest(&folder))).collect();
    found.insert("yakuba".to_owned(), manifest(top()));
    found
}

/// Where a crate lies, as seen from the top.
fn place(name: &str) -> String {
    let folder = folders().remove(name).unwrap_or_else(|| top().to_owned());
    folder.strip_prefix(top()).unwrap().to_str().unwrap().to_owned()
}

fn floor(name: &str) -> Option<u8> {
    FLOORS.iter().find(|(known, _)| *known == name).map(|(_, floor)| *floor)
}

#[test]
fn every_crate_has_its_floor() {
    for name in crates().keys() {
        assert!(floor(name).is_some() || ASIDE.contains(&name.as_str()), "{name} stands on no floor");
    }
}

#[test]
fn imports_go_down_only() {
    let mut wrong = Vec::new();
    for (name, manifest) in crates() {
        let Some(own) = floor(&name) else { continue };
        for below in dependencies(&manifest, "dependencies") {
            if ASIDE.contains(&below.as_str()) || floor(&below).is_some_and(|below| below >= own) {
                wrong.push(format!("{name} depends on {below}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_library_is_named_by_its_owner_only() {
    let mut wrong = Vec::new();
    for (name, manifest) in crates() {
        for (library, owner) in OWNED {
            if dependencies(&manifest, "dependencies").contains(*library) && place(&name) != *owner {
                wrong.push(format!("{name} names {library}, which belongs to {owner}"));
            }
        }
        for (library, owners) in SHARED {
            let named = dependencies(&manifest, "dependencies").contains(*library);
            if named && !owners.contains(&place(&name).as_str()) {
                wrong.push(format!("{name} names {library}, which belongs to {owners:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_engine_knows_no_http() {
    let mut wrong = Vec::new();
    let names = [
        "base",
        "sanitise",
        "intake",
        "organisation",
        "personnel",
        "rules",
        "cases",
        "pdu",
        "store",
        "audit",
        "mail",
        "room",
        "engine",
        "account",
        "to_device",
        "media",
        "oauth",
    ];
    for name in names {
        let below = dependencies(&crates()[name], "dependencies");
        wrong.extend(
            ["http", "hyper", "axum", "web"].iter().filter(|l| below.contains(**l)).map(|l| (name, *l)),
        );
    }
    assert!(wrong.is_empty(), "{wrong:?}");
}

/// The text of all files of a crate but its tests.
fn sources(name: &str) -> String {
    let mut all = String::new();
    let mut folders = vec![folders()[name].clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path: PathBuf = entry.unwrap().path();
            let file = path.file_name().unwrap().to_str().unwrap();
            if path.is_dir() {
                // A crate inside a crate's folder is another one.
                let is_other = ["tests", "conformance"].contains(&file) || path.join("Cargo.toml").exists();
                folders.extend((!is_other).then_some(path));
            } else if file.ends_with(".rs") && !file.ends_with("tests.rs") {
                let text = fs::read_to_string(&path).unwrap();
                let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
                let code = code.lines().filter(|line| !line.trim_start().starts_with("//"));
                code.for_each(|line| all.extend([line.trim(), " "]));
            }
        }
    }
    all
}

/// A table: its name in the code, what its keys are made of, its number.
struct Declared {
    name: String,
    key: String,
    number: u16,
}

fn tables(source: &str) -> Vec<Declared> {
    let declared = source.split("static ").skip(1).filter_map(|rest| {
        let (name, rest) = rest.split_once(": Table<")?;
        let (types, rest) = rest.split_once("Table::new(")?;
        // A tuple's parts, or a word.
        let key = match types.strip_prefix('(') {
            Some(parts) => parts.split_once(')')?.0,
            None => types.split_once(',')?.0,
        };
        let number = rest.split_once(',')?.0.parse().ok()?;
        name.chars().all(|letter| letter.is_ascii_uppercase() || letter == '_').then(|| Declared {
            name: name.to_owned(),
            key: key.to_owned(),
            number,
        })
    });
    declared.collect()
}

#[test]
fn what_belongs_to_a_room_lies_under_its_serial_or_is_among_the_exceptions() {
    let map = fs::read_to_string(top().join("ARCHITECTURE.md")).unwrap();
    let (mut wrong, mut numbers, mut met) = (Vec::new(), BTreeMap::new(), BTreeSet::new());
    for name in crates().keys().filter(|name| floor(name).is_some() && *name != "yakuba") {
        for Declared { name: table, key, number } in tables(&sources(name)) {
            if let Some(other) = numbers.insert(number, table.clone()) {
                wrong.push(format!("{table} and {other} have the number {number}"));
            }
            let excepted = NOT_BY_ROOM.contains(&table.as_str());
            let by_room = key.starts_with("RoomSerial") || key == "ReceiptKey";
            let is_of_rooms = name == "room" || name == "engine" || key.contains("Room");
            if excepted {
                if !map.contains(&format!("`{table}`")) {
                    wrong.push(format!("rule 9 does not speak of {table}"));
                }
                met.insert(table);
            } else if is_of_rooms && !by_room {
                wrong.push(format!("the keys of {table} in {name} begin with {key}"));
            }
        }
    }
    assert!(numbers.len() > 60, "only {} tables were found", numbers.len());
    assert_eq!(met.len(), NOT_BY_ROOM.len(), "{met:?}");
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn no_file_grows_past_eight_hundred_lines() {
    let mut long = Vec::new();
    let mut folders = vec![top().join("src"), top().join("appservices")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path: PathBuf = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                let lines = fs::read_to_string(&path).unwrap().lines().count();
                if lines > 800 {
                    long.push(format!("{} has {lines} lines", path.display()));
                }
            }
        }
    }
    assert!(long.is_empty(), "{long:#?}");
}

#[test]
fn our_own_words_are_where_the_glossary_says() {
    let text = fs::read_to_string(top().join("ARCHITECTURE.md")).unwrap();
    let glossary = text.split("## Our own words").nth(1).and_then(|rest| rest.split("\n## ").next()).unwrap();
    let rows: Vec<Vec<&str>> = glossary
        .lines()
        .filter_map(|line| line.strip_prefix("| `"))
        .map(|line| line.split(['|', '`', ' ']).filter(|part| !part.is_empty()).take(2).collect())
        .collect();
    assert!(rows.len() > 30, "{} words", rows.len());
    let mut wrong = Vec::new();
    for row in rows {
        let [word, file] = row[..] else { unreachable!("a word and a file: {row:?}") };
        let text = fs::read_to_string(top().join("src").join(file)).unwrap_or_default();
        let defines = |kind| {
            text.split(&format!("{kind} {word}")).skip(1).any(|rest| !rest.starts_with(char::is_alphanumeric))
        };
        if !["struct", "enum", "trait"].into_iter().any(defines) {
            wrong.push(format!("{word} is not in {file}"));
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}
