//! The alerts that are shipped: each asks for what is measured.

use std::{fs, path::Path};

use serde_json::Value;

/// All that the programs' sources say.
fn sources(directory: &Path) -> String {
    let mut all = String::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all += &sources(&path);
        } else if path.extension().is_some_and(|it| it == "rs") {
            all += &fs::read_to_string(path).unwrap();
        }
    }
    all
}

#[test]
fn each_alert_asks_for_what_is_measured_and_a_service_that_takes_nothing_is_one() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let text = fs::read_to_string(root.join("conf/alerts.yml")).unwrap();
    let alerts: Value = serde_saphyr::from_str(&text).unwrap();
    let rules = alerts["groups"][0]["rules"].as_array().unwrap();
    let sources = sources(&root.join("src"));
    let asked = |expression: &str| -> Vec<String> {
        let names = expression.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
        names.filter(|name| name.starts_with("yakuba_")).map(str::to_owned).collect()
    };
    for rule in rules {
        let names = asked(rule["expr"].as_str().unwrap());
        assert!(!names.is_empty() && rule["annotations"]["summary"].is_string(), "{rule}");
        for name in names {
            let (name, is_counter) = name.strip_suffix("_total").map_or((&*name, false), |name| (name, true));
            let place = sources.find(&format!("\"{name}\","));
            let made = place.map(|at| sources[..at].trim_end().trim_end_matches('('));
            // What only grows has an ending that is not written in the source.
            let kind = if is_counter { "counter" } else { "gauge" };
            let is_made = |made: &str| made.trim_end_matches("_family").ends_with(kind);
            assert!(made.is_some_and(is_made), "{name} is no {kind}");
        }
    }
    for expression in ["yakuba_appservice_failing == 1", "yakuba_store_writable == 0"] {
        assert!(rules.iter().any(|rule| rule["expr"] == expression), "{expression}");
    }
}
