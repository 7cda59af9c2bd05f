//! Reading configurations.

use serde::Deserialize;

use crate::{
    ByteSize,
    config::{Problem, load, locate},
};

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Example {
    name: String,
    #[serde(default)]
    limits: Limits,
    #[serde(default)]
    authorities: Vec<Authority>,
    #[serde(default)]
    tags: Vec<String>,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Limits {
    body: ByteSize,
    requests: u32,
    strict: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { body: ByteSize::kib(64), requests: 10, strict: true }
    }
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Authority {
    name: String,
}

fn read(text: &str, environment: &[(&str, &str)]) -> Result<Example, Vec<String>> {
    let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    load(text, environment).map_err(|problems| problems.iter().map(ToString::to_string).collect())
}

#[test]
fn a_file_is_read_with_its_defaults() {
    let example = read("name = \"a\"\n[limits]\nbody = \"1 MiB\"\n", &[]).unwrap();
    assert_eq!(example.limits, Limits { body: ByteSize::mib(1), ..Limits::default() });
}

#[test]
fn every_mistake_is_reported_at_once_with_key_line_and_nearest_key() {
    let text = "nmae = \"a\"\nname = \"b\"\n\n[limits]\nbody = \"much\"\nreqests = 3\nstrict = 7\n\n[[authorities]]\nname = true\n";
    let problems = read(text, &[]).unwrap_err();
    assert_eq!(
        problems,
        [
            "line 1: nmae: there is no such key; did you mean `name`?",
            "line 5: limits.body: `much` is no size; write for instance 65536, \"64 KiB\", \"512 MiB\" or \"2 GiB\"",
            "line 6: limits.reqests: there is no such key; did you mean `requests`?",
            "line 7: limits.strict: true or false is needed, not the number 7",
            "line 10: authorities.0.name: a text in quotation marks is needed, not true",
        ]
    );
}

#[test]
fn a_missing_key_is_named() {
    assert_eq!(read("", &[]).unwrap_err(), ["the key `name` is missing"]);
    let problems = read("name = \"a\"\n[[authorities]]\n", &[]).unwrap_err();
    assert_eq!(problems, ["line 2: authorities.0: the key `name` is missing"]);
}

#[test]
fn text_that_is_no_toml_is_reported_with_its_line() {
    let problems = read("name = \"a\"\nlimits = = 3\n", &[]).unwrap_err();
    assert!(problems[0].starts_with("line 2: this is no TOML"), "{problems:?}");
}

#[test]
fn the_environment_overrides_the_file() {
    let environment = [
        ("YAKUBA_NAME", "1234"),
        ("YAKUBA_LIMITS__REQUESTS", "77"),
        ("YAKUBA_LIMITS__BODY", "2 MiB"),
        ("YAKUBA_LIMITS__STRICT", "false"),
        ("YAKUBA_TAGS", "[\"a\", \"b\"]"),
        ("YAKUBA_AUTHORITIES__0__NAME", "wajima.test"),
        ("YAKUBA_AUTHORITIES__1__NAME", "suzu.test"),
        ("HOME", "/root"),
    ];
    let example = read("name = \"a\"\n[limits]\nrequests = 3\n", &environment).unwrap();
    assert_eq!(example.name, "1234");
    assert_eq!(example.limits, Limits { body: ByteSize::mib(2), requests: 77, strict: false });
    assert_eq!(example.tags, ["a", "b"]);
    assert_eq!(
        example.authorities.iter().map(|a| a.name.as_str()).collect::<Vec<_>>(),
        ["wajima.test", "suzu.test"]
    );
}

#[test]
fn a_mistake_in_the_environment_names_the_variable() {
    let environment = [("YAKUBA_LIMITS__REQUESTS", "many"), ("YAKUBA_LIMIT__BODY", "1")];
    let problems = read("name = \"a\"\n", &environment).unwrap_err();
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert!(problems.iter().any(|p| {
        p.starts_with("environment variable YAKUBA_LIMITS__REQUESTS: limits.requests: a whole number from 0")
    }));
    assert!(problems.iter().any(|p| p
        == "environment variable YAKUBA_LIMIT__BODY: limit: there is no such key; did you mean `limits`?"));
}

#[test]
fn a_contradiction_names_the_variable_that_made_it_else_its_line() {
    let text = "name = \"a\"\n\n[[authorities]]\nname = \"b\"\n[[authorities]]\nname = \"b\"\n[limits]\nlogin = { burst = 1 }\n";
    let keys = [
        "limits.strict",
        "authorities.1.name",
        "authorities.0.port",
        "nowhere",
        "limits.requests",
        "limits.login",
    ];
    let mut problems: Vec<Problem> = keys.map(|key| Problem::of_key(key, "wrong")).into();
    // Neither key comes from a variable, but what it contradicts does.
    problems.push(Problem {
        with: vec!["limits.requests".to_owned()],
        ..Problem::of_key("limits.body", "wrong")
    });
    let environment = [("YAKUBA_LIMITS__REQUESTS", "3"), ("YAKUBA_LIMITS__LOGIN__PER_SECOND", "-1")];
    let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned()));
    locate(text, environment, &mut problems);
    assert_eq!(
        problems.iter().map(ToString::to_string).collect::<Vec<_>>(),
        [
            "line 3: authorities.0.port: wrong",
            "line 6: authorities.1.name: wrong",
            "line 7: limits.strict: wrong",
            "nowhere: wrong",
            "environment variable YAKUBA_LIMITS__REQUESTS: limits.requests: wrong",
            "environment variable YAKUBA_LIMITS__LOGIN__PER_SECOND: limits.login: wrong",
            "environment variable YAKUBA_LIMITS__REQUESTS: limits.body: wrong",
        ]
    );
}
