//! Whatever goes wrong at the command line is told in the language of the environment: a walk over wrong
//! configurations, wrong files, wrong arguments and refusals, each in Japanese and in English.

#![expect(clippy::unwrap_used, reason = "tests")]
#![expect(unreachable_pub, dead_code, reason = "each test uses a part of the shared modules")]

mod alone;
mod demo;

use std::{
    path::PathBuf,
    process::{Command, Stdio},
};

use crate::{alone::Server, demo::yakuba};

const AUTHORITY: &str = "[[authorities]]\nname = \"kanazawa.test\"\nkey_file = \"keys/kanazawa.test.key\"\n";

fn is_japanese(text: &str) -> bool {
    text.chars().any(|c| ('\u{3041}'..='\u{30ff}').contains(&c))
}

/// Runs what must fail in both languages, and gives what is said in English.
fn refused(case: &str, command: impl Fn() -> Command) -> String {
    let said = |language: &str| {
        let mut command = command();
        command.env_remove("YAKUBA_LANG").env("LC_ALL", language);
        let output = command.stdin(Stdio::null()).stdout(Stdio::piped()).output().unwrap();
        assert!(!output.status.success(), "{case}");
        String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
    };
    let japanese = said("ja_JP.UTF-8");
    let first = japanese.lines().next().unwrap_or_default();
    assert!(is_japanese(first), "{case}: {japanese}");
    assert!(!japanese.contains("予期しないエラー"), "{case}: {japanese}");
    // What the list of mistakes says of each.
    for line in japanese.lines().skip(1).filter(|line| line.starts_with("  ")) {
        assert!(is_japanese(line), "{case}: {line}");
    }
    let english = said("C");
    assert!(!is_japanese(&english), "{case}: {english}");
    english
}

struct Home {
    directory: tempfile::TempDir,
}

impl Home {
    /// A directory with a key and begun data.
    fn new() -> Home {
        let directory = tempfile::tempdir().unwrap();
        Server::new(directory.path());
        Home { directory }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    /// A command over a configuration.
    fn over(&self, verb: &str, config: &str) -> Command {
        let mut command = yakuba();
        command.arg(verb).arg("--config").arg(self.path(config)).env("YAKUBA_LOG__FILTER", "error");
        if verb == "serve" {
            // Should it start, it ends at once.
            command.arg("--until-stdin-ends");
        }
        command
    }

    /// What must be wrong with a configuration of this text, for `check` and for `serve`.
    fn wrong(&self, case: &str, text: &str) -> String {
        self.write("wrong.toml", text);
        refused(&format!("serve: {case}"), || self.over("serve", "wrong.toml"));
        refused(&format!("check: {case}"), || self.over("check", "wrong.toml"))
    }
}

fn listening_on(address: &str, serves: &str) -> String {
    format!("[[listeners]]\naddress = \"{address}\"\nserves = {serves}\n")
}

fn free() -> String {
    listening_on("127.0.0.1:0", "[\"client\"]")
}

#[test]
fn what_is_wrong_with_a_configuration_is_told_in_both_languages() {
    let home = Home::new();
    let usable = format!("{AUTHORITY}{}", free());
    home.wrong("no TOML", "name = = 3\n");
    home.wrong("nothing in it", "");
    home.wrong("a key is missing", "[[authorities]]\nname = \"kanazawa.test\"\n");
    home.wrong("no such key", &format!("{usable}[store]\ndurabilty = \"fsync\"\nwhatever_this_is = 1\n"));
    for wrong in [
        "[store]\nbackend = \"mysql\"",
        "[store]\nbackend = 7",
        "[store]\nmemory = \"much\"",
        "[store]\nmemory = -1",
        "[store]\nmemory = []",
        "[store]\npath = 7",
        "[store]\nretired_authorities = \"a.test\"",
        "store = 7",
        "authorities = 7",
        "[passwords]\nwrong_allowed = \"many\"",
        "[passwords]\nwrong_allowed = -1",
        "[passwords]\npause_seconds = 1.5",
        "[limits]\nenabled = \"yes\"",
        "[limits]\nlogin = 7",
        "[limits]\nlogin = { per_second = \"x\", burst = 1 }",
        "[federation]\npeers = \"somebody\"",
        "[federation]\npeers = 7",
        "[federation]\nca_files = {}",
        "[federation]\ntrust = true",
        "[federation.fixed.\"金沢.test\"]\naddress = \"127.0.0.1:1\"",
        "[log]\nformat = \"xml\"",
    ] {
        let text =
            if wrong.starts_with("authorities") { wrong.to_owned() } else { format!("{wrong}\n{usable}") };
        home.wrong(wrong, &text);
    }
    for (wrong, listener) in [
        ("no address", listening_on("here", "[\"client\"]")),
        ("no serves", listening_on("127.0.0.1:0", "[\"all\"]")),
    ] {
        home.wrong(wrong, &format!("{AUTHORITY}{listener}"));
    }
    home.wrong("no server name", &usable.replace("kanazawa.test\"\nkey", "kanazawa test\"\nkey"));
    home.wrong("a name in Japanese", &usable.replace("name = \"kanazawa", "name = \"xn--金沢"));
}

#[test]
fn contradictions_are_told_in_both_languages() {
    let home = Home::new();
    let text = format!(
        r#"
        {AUTHORITY}
        hosts = ["x.test"]
        client_url = "a.test"
        {AUTHORITY}
        hosts = ["X.test"]
        [[authorities.ldap]]
        name = "A"
        kind = "openldap"
        url = "dc1"
        base = "x"
        filter = "(memberOf:1.2.840.113556.1.4.1941:=x"
        id = "a b"
        localpart = "{{a.b}}"
        display_name = "x"
        subject = "{{uid}}"
        bind_dn = "x"
        interval_seconds = 1
        most_endings_percent = 101
        adopts_accounts = true
        [[authorities.ldap]]
        name = "A"
        kind = "openldap"
        url = "ldap://a.test"
        starttls = false
        base = "dc=a"
        [[authorities.scim]]
        name = "x"
        token_file = "x"
        [[listeners]]
        address = "0.0.0.0:8448"
        serves = ["federation"]
        [[listeners]]
        address = "0.0.0.0:8448"
        serves = []
        tls = true
        authority = "c.test"
        [store]
        backend = "postgres"
        memory = "1 MiB"
        [proxies]
        trusted = ["10.0.0.0/99"]
        [passwords]
        wrong_allowed = 0
        pause_seconds = 0
        [limits]
        bodies = "1 MiB"
        connections_by_address = 0
        login = {{ per_second = -1.0, burst = 1 }}
        registration = {{ per_second = 1.0, burst = 0 }}
        [rooms]
        default_version = "99"
        [federation]
        allow_ranges = ["10.0.0.0/99"]
        "#
    );
    let said = home.wrong("contradictions", &text);
    assert!(said.lines().count() > 28, "{said}");
    home.wrong(
        "both urls",
        &format!("{AUTHORITY}{}[store]\nbackend = \"postgres\"\nurl = \"a\"\nurl_file = \"b\"\n", free()),
    );
}

#[test]
fn what_is_wrong_with_files_and_places_is_told_in_both_languages() {
    let home = Home::new();
    refused("no file", || home.over("check", "nowhere.toml"));
    refused("a directory", || home.over("serve", "keys"));
    home.write("bytes.toml", "");
    std::fs::write(home.path("bytes.toml"), [0xff, 0xfe]).unwrap();
    refused("no text", || home.over("check", "bytes.toml"));

    let with = |more: &str| format!("{AUTHORITY}{more}\n{}", free());
    home.wrong("no key", &with("").replace("kanazawa.test.key", "lost.key"));
    for (case, key) in [("form", "x"), ("version", "ed25519 a-b AAAA"), ("seed", "ed25519 a AAAA")] {
        home.write("keys/bad.key", key);
        home.wrong(case, &with("").replace("kanazawa.test.key", "bad.key"));
    }
    home.wrong(
        "old key",
        &with("old_keys = [{ key_id = \"ed25519:a\", public_key = \"AAAA\", expired_ts = 1 }]"),
    );
    home.wrong("no secret", &with("registration = { shared_secret_file = \"lost\" }"));
    home.write("empty.pem", "");
    home.write("bad.pem", "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n");
    for certificate in ["lost.pem", "empty.pem", "bad.pem"] {
        let tls = format!("tls = {{ certificate = \"{certificate}\", key = \"empty.pem\" }}");
        home.wrong(certificate, &with(&tls));
    }
    for file in ["lost.pem", "bad.pem"] {
        home.wrong(file, &format!("{}[federation]\nca_files = [\"{file}\"]\n", with("")));
    }
    home.wrong("a fixed address", &format!("{}[federation.fixed.\"a.test\"]\naddress = \"a b\"\n", with("")));

    let directory =
        "[[authorities.ldap]]\nname = \"ad\"\nkind = \"active_directory\"\nbase = \"DC=a,DC=test\"\n";
    for (case, keys) in [
        ("an empty password", "url = \"ldaps://a.test\"\nbind_dn = \"x\"\npassword_file = \"empty.pem\"\n"),
        ("a directory's authority", "url = \"ldaps://a.test\"\nca_file = \"bad.pem\"\n"),
    ] {
        home.wrong(case, &format!("{}{directory}{keys}", with("")));
    }
    let away = "url = \"ldap://127.0.0.1:1\"\nstarttls = false\n";
    home.write("away.toml", &format!("{}{directory}{away}", with("")));
    refused("no directory", || home.over("check", "away.toml"));

    let foreign = listening_on("192.0.2.1:8008", "[\"client\"]");
    home.wrong("an address of another machine", &format!("{AUTHORITY}{foreign}"));

    home.wrong("no data", &format!("{}[store]\npath = \"nowhere\"\n", with("")));
    home.wrong("data in a file", &format!("{}[store]\npath = \"empty.pem/data\"\n", with("")));
    home.write("memory.toml", &format!("{}[store]\nbackend = \"memory\"\n", with("")));
    refused("verify in memory", || home.over("verify", "memory.toml"));
    home.write("filter.toml", &format!("{}[log]\nfilter = \"a=b=c\"\n", with("")));
    for verb in ["serve", "check"] {
        let said = refused("a filter", || {
            let mut command = home.over(verb, "filter.toml");
            command.env_remove("YAKUBA_LOG__FILTER");
            command
        });
        assert!(said.contains("log.filter: "), "{said}");
    }
    home.write("names.toml", &with("").replace("name = \"kanazawa.test", "name = \"wajima.test"));
    refused("another name", || home.over("serve", "names.toml"));
    let nobody = "[store]\nbackend = \"postgres\"\nurl = \"no such thing\"\n";
    home.write("postgres.toml", &format!("{}{nobody}", with("")));
    for verb in ["verify", "check"] {
        refused("no database", || home.over(verb, "postgres.toml"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn data_and_ports_that_another_process_has_are_told_in_both_languages() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = Server::new(directory.path());
    server.start().await;
    server.register("hanako").await;
    let home = Home { directory };
    home.write("port.toml", &format!("{AUTHORITY}{}", listening_on(&server.address(), "[\"client\"]")));
    refused("a port in use", || home.over("serve", "port.toml"));
    // The running server is not asked: this configuration has no listener for that.
    home.write("other.toml", &format!("{AUTHORITY}{}", free()));
    for verb in ["serve", "verify"] {
        refused("data in use", || home.over(verb, "other.toml"));
    }
    accounts_are_refused(&home, "yakuba.toml");
    server.end("TERM");
    accounts_are_refused(&home, "other.toml");
    refused("not running", || home.over("status", "yakuba.toml"));
}

/// Accounts that cannot be made, by the running server or without one.
fn accounts_are_refused(home: &Home, config: &str) {
    home.write("password", "long enough for anybody\n");
    home.write("short", "short\n");
    home.write("empty", "\n");
    for (case, name, password) in [
        ("taken", "hanako", "password"),
        ("no name", "花子", "password"),
        ("a short password", "taro", "short"),
        ("an empty password", "taro", "empty"),
        ("no password", "taro", "lost"),
    ] {
        refused(case, || {
            let mut create = yakuba();
            create.args(["user", "create", name, "--password-file"]).arg(home.path(password));
            create.arg("--config").arg(home.path(config));
            create
        });
    }
    for verb in ["password", "close"] {
        for (case, name) in [("nobody", "taro"), ("no name", "ta ro")] {
            refused(&format!("{verb}: {case}"), || {
                let mut user = yakuba();
                user.args(["user", verb, name, "--config"]).arg(home.path(config));
                user
            });
        }
    }
    refused("no authority of ours", || {
        let mut create = yakuba();
        create
            .args(["user", "create", "taro", "--server-name", "suzu.test", "--config"])
            .arg(home.path(config));
        create
    });
}

#[test]
fn wrong_arguments_and_commands_that_cannot_be_done_are_told_in_both_languages() {
    let home = Home::new();
    let command = |arguments: &[&str]| {
        let mut command = yakuba();
        command.args(arguments).current_dir(home.directory.path());
        command
    };
    home.write("file", "");
    let cases: &[&[&str]] = &[
        &["nonsense"],
        &["check", "--colour"],
        &["init"],
        &["init", "new", "--server-name", "a b"],
        &["init", "new", "--server-name", "金沢.test"],
        &["init", "new", "--server-name", "Kanazawa.test"],
        &["init", "new", "--server-name", "https://kanazawa.test"],
        &["init", ".", "--server-name", "kanazawa.test"],
        &["init", "file/new", "--server-name", "kanazawa.test"],
        &["user", "create"],
        &["audit"],
        &["audit", "list", "--since", "2026-02-30"],
        &["audit", "list", "--server-name", "wajima.test", "--config", "yakuba.toml"],
        &["audit", "verify", "--config", "nowhere.toml"],
        &["org", "edit", "nowhere.json", "--config", "yakuba.toml"],
        &["org", "edit", "yakuba.toml", "--config", "yakuba.toml"],
        &["org", "edit", "yakuba.toml", "--as-of", "2026-02-30"],
        &["org", "import", "nowhere.csv", "--config", "yakuba.toml"],
        &["org", "import", "yakuba.toml", "--config", "yakuba.toml"],
        &["org", "diff", "7", "--config", "yakuba.toml"],
        &["org", "undo", "7", "--row", "0", "--config", "yakuba.toml"],
        &["demo", "--base-port", "x"],
        &["demo", "--base-port", "65534", "--dir", "demo"],
        &["demo", "--base-port", "70000", "--dir", "demo"],
        &["demo", "--dir", "file/demo"],
        &["check", "--config", "nowhere.toml", "--config", "nowhere.toml"],
        &["backup", "file/backup"],
        &["restore", "nowhere"],
        &["restore", "keys"],
        &["status"],
    ];
    for case in cases {
        refused(&case.join(" "), || command(case));
    }
    for port in ["0", "65534", "70000", "x"] {
        for language in ["C", "ja_JP.UTF-8"] {
            let mut demo = command(&["demo", "--base-port", port]);
            let output = demo.env("LC_ALL", language).stdin(Stdio::null()).output().unwrap();
            let said = String::from_utf8(output.stderr).unwrap();
            assert!(said.contains("65516"), "which ports there are: {said}");
        }
    }
    let wrong_variables: &[(&str, &str)] = &[
        ("YAKUBA_LISTENERS__0__ADDRESS", "here"),
        ("YAKUBA_STORE__MEMORY", "much"),
        ("YAKUBA_STORE__BACKEND", "postgres"),
        ("YAKUBA_AUTHORITIES__1__NAME", "wajima.test"),
        ("YAKUBA_LIMITS__LOGIN__PER_SECOND", "-1.0"),
        ("YAKUBA_PASSWORDS__WRONG_ALLOWED", "0"),
        ("YAKUBA_NOTHING__LIKE_THIS", "1"),
    ];
    for (name, value) in wrong_variables {
        let said = refused(name, || {
            let mut check = command(&["check"]);
            check.env(name, value);
            check
        });
        assert!(said.contains(&format!("environment variable {name}")), "{name}: {said}");
        assert!(!said.contains("line "), "{name}: {said}");
    }
}
