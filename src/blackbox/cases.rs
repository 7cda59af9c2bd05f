//! `yakuba case` with the binary: a duty from the wish to its end by commands, over a server that runs and over data of which
//! none does; and a server that is killed while the last one agrees.

#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "tests; their figures are printed")]
#![expect(unreachable_pub, dead_code, reason = "each test uses a part of the shared modules")]

mod alone;
mod demo;

use std::{
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use serde_json::Value;

use crate::{alone::Server, demo::yakuba};

fn command(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = yakuba();
    command.args(arguments).arg("--config").arg(directory.join("yakuba.toml"));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// What a command says in English, and whether it succeeded.
fn run(directory: &Path, arguments: &[&str]) -> (bool, String) {
    let output = command(directory, arguments).output().unwrap();
    (output.status.success(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
}

fn must(directory: &Path, arguments: &[&str]) -> String {
    let (done, said) = run(directory, arguments);
    assert!(done, "{arguments:?}: {said}");
    said
}

/// The same of cases, as this account.
fn as_user<'a>(directory: &'a str, user: &'a str, arguments: &[&'a str]) -> Vec<&'a str> {
    [&["case"], arguments, &["--user", user, "--password-file", directory]].concat()
}

fn asked(said: &str) -> String {
    let rest = said.split_once("case ").unwrap_or_else(|| panic!("{said}")).1;
    rest.split_once(' ').unwrap().0.to_owned()
}

/// A case as programs read it.
fn shown(directory: &Path, id: &str) -> Value {
    serde_json::from_str(&must(directory, &["case", "show", id, "--json"])).unwrap()
}

fn state(directory: &Path, id: &str) -> String {
    let state = &shown(directory, id)["case"]["case"]["state"];
    state.as_str().unwrap_or("Failed").to_owned()
}

/// What is asked for in these tests.
const WISH: [&str; 9] =
    ["ask", "duty", "--field", "account=hanako", "--field", "duty=監査担当", "--field", "until=", "--reason"];

async fn prepare(directory: &Path) -> (Server, String) {
    let mut server = Server::new(directory);
    server.start().await;
    for name in ["hanako", "chief", "second"] {
        server.register(name).await;
    }
    for name in ["chief", "second"] {
        must(directory, &["user", "admin", name, "--grant"]);
        must(directory, &["user", "duty", name, "--give", "approval"]);
    }
    let password = directory.join("password");
    std::fs::write(&password, "a-long-password\n").unwrap();
    (server, password.to_str().unwrap().to_owned())
}

/// The day of a wish, which no bound of days refuses.
fn wish() -> Vec<String> {
    let year = 1970
        + std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() / 31_556_952;
    let until = format!("until={}-12-31", year + 1);
    WISH.iter()
        .map(|part| if part.starts_with("until=") { until.clone() } else { (*part).to_owned() })
        .collect()
}

fn ask(directory: &Path, password: &str) -> String {
    let wish = wish();
    let mut arguments: Vec<&str> = wish.iter().map(String::as_str).collect();
    arguments.push("監査の引き継ぎ");
    asked(&must(directory, &as_user(password, "hanako", &arguments)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_duty_goes_from_the_wish_to_its_end_by_commands() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let (mut server, password) = prepare(directory).await;
    assert!(must(directory, &["case", "kinds"]).contains("--field account="));
    let (done, said) = run(directory, &["case", "approve", "1"]);
    assert!(!done && said.contains("--user"), "{said}");
    let id = ask(directory, &password);
    let (done, said) = run(directory, &as_user(&password, "hanako", &["approve", &id]));
    assert!(!done && said.contains("Nobody decides what he has asked for himself"), "{said}");
    assert!(must(directory, &as_user(&password, "chief", &["list", "--waiting"])).starts_with(&id));
    must(directory, &as_user(&password, "chief", &["approve", &id, "--text", "了解"]));
    assert!(!must(directory, &["user", "duties"]).contains("@hanako"));
    // The second agrees where no server runs.
    server.end("TERM");
    let said = must(directory, &as_user(&password, "second", &["approve", &id]));
    assert!(said.contains("[carried out]"), "{said}");
    assert!(must(directory, &["user", "duties"]).contains("@hanako"));
    assert!(must(directory, &["case", "list", "--state", "done"]).starts_with(&id));
    server.start().await;
    let said = must(directory, &["case", "undo", &id, "--text", "異動"]);
    assert!(said.contains("[undone]"), "{said}");
    assert!(!must(directory, &["user", "duties"]).contains("@hanako"));
    let rows = must(directory, &["audit", "list", "--json", "--what", "case"]);
    let rows = rows.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let rows: Vec<_> = rows.map(|row| row["what"].as_str().unwrap().to_owned()).collect();
    assert_eq!(rows, ["case.ask", "case.approve", "case.approve", "case.carry_out", "case.undo"]);
    server.end("TERM");
    assert!(server.command("verify").status().unwrap().success(), "verify found something");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_while_the_last_one_agrees_gives_the_duty_once_or_not_yet() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let (mut server, password) = prepare(directory).await;
    let mut met = [0, 0];
    for round in 0..12_u64 {
        let id = ask(directory, &password);
        must(directory, &as_user(&password, "chief", &["approve", &id]));
        let mut last = command(directory, &as_user(&password, "second", &["approve", &id])).spawn().unwrap();
        // Where the kill meets it is left to chance: a command begins, shows its password, and is answered.
        tokio::time::sleep(Duration::from_millis(20 + round * 25)).await;
        server.end("KILL");
        last.wait().unwrap();
        server.start().await;
        let is_done = state(directory, &id) == "Done";
        met[usize::from(is_done)] += 1;
        assert_eq!(must(directory, &["user", "duties"]).contains("@hanako"), is_done, "round {round}");
        if !is_done {
            must(directory, &as_user(&password, "second", &["approve", &id]));
        }
        let history = shown(directory, &id)["case"]["history"].as_array().unwrap().clone();
        let count = |deed: &str| history.iter().filter(|event| event["deed"] == deed).count();
        assert_eq!((count("Approved"), count("CarriedOut")), (2, 1), "{history:?}");
        must(directory, &["case", "undo", &id, "--text", "次へ"]);
    }
    eprintln!("not yet {}, done {}", met[0], met[1]);
    server.end("TERM");
    assert!(server.command("verify").status().unwrap().success(), "verify found something");
}
