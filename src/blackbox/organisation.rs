//! `yakuba org` with the binary: a personnel file of Shift_JIS from the first look to the end of its undoing, over a
//! server that runs and over data of which none does, and a server that is killed while it applies one.

#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "tests; their figures are printed")]
#![expect(unreachable_pub, dead_code, reason = "each test uses a part of the shared modules")]

mod alone;
mod demo;

use std::{
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::{alone::Server, demo::yakuba};

/// `職員番号,氏名,フリガナ,所属,職名,発令日` and two people, as Excel in Japan writes them.
const SHIFT_JIS: &[u8] = b"\
\x90\x45\x88\xf5\x94\xd4\x8d\x86,\x8e\x81\x96\xbc,\x83\x74\x83\x8a\x83\x4b\x83\x69,\x8f\x8a\x91\xae,\x90\x45\x96\xbc,\x94\xad\x97\xdf\x93\xfa\r\n\
00001,\x8e\x52\x93\x63\x81\x40\x89\xd4\x8e\x71,\xd4\xcf\xc0\xde \xca\xc5\xba,\x91\x8d\x96\xb1\x95\x94\x96\x68\x8d\xd0\x89\xdb,\x89\xdb\x92\xb7,\x95\xbd\x90\xac31\x94\x4e4\x8c\x8e1\x93\xfa\r\n\
00002,\x93\x63\x92\x86\x81\x40\x91\xbe\x98\x59,\xc0\xc5\xb6 \xc0\xdb\xb3,\x91\x8d\x96\xb1\x95\x94\x90\x6c\x8e\x96\x89\xdb,\x8e\xe5\x8d\xb8,R2.4.1\r\n";

const HEADER: &str = "職員番号,氏名,フリガナ,所属,職名,発令日\n";

/// What `yakuba org …` says in English when this person of the machine runs it, and whether it succeeded.
fn org_by(directory: &Path, uid: u32, arguments: &[&str]) -> (bool, String) {
    let mut command = yakuba();
    command.arg("org").args(arguments).arg("--config").arg(directory.join("yakuba.toml"));
    command.env("SUDO_UID", uid.to_string()).env("SUDO_USER", format!("staff{uid}"));
    let output = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).output().unwrap();
    (output.status.success(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
}

fn org(directory: &Path, arguments: &[&str]) -> String {
    let (done, said) = org_by(directory, 1000, arguments);
    assert!(done, "{arguments:?}: {said}");
    said
}

/// Does something to an account.
fn user(directory: &Path, arguments: &[&str]) {
    let mut command = yakuba();
    command.arg("user").args(arguments).arg("--config").arg(directory.join("yakuba.toml"));
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Why it is refused.
fn refused(directory: &Path, arguments: &[&str]) -> String {
    let (done, said) = org_by(directory, 1000, arguments);
    assert!(!done, "{arguments:?}: {said}");
    said
}

/// The number of the set that an import tells of.
fn number(said: &str) -> String {
    let rest = said.split_once("change set ").unwrap_or_else(|| panic!("{said}")).1;
    rest.split_once(':').unwrap().0.to_owned()
}

/// What `yakuba case …` says as an account, and whether it succeeded.
fn case(directory: &Path, who: &str, arguments: &[&str]) -> (bool, String) {
    let mut command = yakuba();
    command.arg("case").args(arguments).args(["--user", who, "--password-file"]);
    command.arg(directory.join("password")).arg("--config").arg(directory.join("yakuba.toml"));
    let output = command.stdin(Stdio::null()).output().unwrap();
    (output.status.success(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
}

/// Two accounts with the duties that sets want.
async fn two_who_agree(server: &Server, directory: &Path) {
    for name in ["jinji", "hanako"] {
        server.register(name).await;
    }
    std::fs::write(directory.join("password"), "a-long-password\n").unwrap();
    user(directory, &["duty", "jinji", "--give", "人事担当"]);
    user(directory, &["admin", "hanako", "--grant"]);
    user(directory, &["duty", "hanako", "--give", "変更案承認"]);
}

/// Asks for a set to be applied; the number of the case.
fn ask(directory: &Path, set: &str) -> String {
    let field = format!("set={set}");
    let guards = ["empty", "many_end", "unit_emptied", "duplicates", "many_wrong", "unread"];
    let mut arguments = vec!["ask", "changes", "--field", &field, "--reason", "異動"];
    arguments.extend(guards.iter().flat_map(|guard| ["--meant", guard]));
    let (done, said) = case(directory, "jinji", &arguments);
    assert!(done, "{said}");
    let rest = said.split_once("case ").unwrap_or_else(|| panic!("{said}")).1;
    rest.split_once(' ').unwrap().0.to_owned()
}

fn approve(directory: &Path, set: &str) {
    let number = ask(directory, set);
    let guards = ["empty", "many_end", "unit_emptied", "duplicates", "many_wrong", "unread"];
    let mut arguments = vec!["approve", &*number];
    arguments.extend(guards.iter().flat_map(|guard| ["--meant", guard]));
    let (done, said) = case(directory, "hanako", &arguments);
    assert!(done, "{said}");
}

/// Who is where, as `org show` tells programs.
fn shown(directory: &Path, on: &str) -> Value {
    serde_json::from_str(&org(directory, &["show", "--as-of", on, "--json"])).unwrap()
}

/// The newest set's state.
fn state(directory: &Path) -> Value {
    let said = org(directory, &["list", "--limit", "1", "--json"]);
    let set: Value = serde_json::from_str(said.lines().next().unwrap()).unwrap();
    set["set"]["state"].clone()
}

fn audit_log(directory: &Path) -> Vec<String> {
    let mut command = yakuba();
    command.args(["audit", "list", "--json", "--what", "organisation", "--config"]);
    let output = command.arg(directory.join("yakuba.toml")).stdin(Stdio::null()).output().unwrap();
    let rows = String::from_utf8(output.stdout).unwrap();
    let rows = rows.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    rows.map(|row| format!("{} {}", row["what"].as_str().unwrap(), row["who"].as_str().unwrap())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_personnel_file_goes_from_the_first_look_to_the_end_of_its_undoing() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let mut server = Server::new(directory);
    let file = directory.join("meibo.csv");
    std::fs::write(&file, SHIFT_JIS).unwrap();
    let file = file.to_str().unwrap();

    // Where no server runs.
    let nothing = refused(directory, &["import", file]);
    assert!(nothing.contains("--body"), "{nothing}");
    let said = org(directory, &["import", file, "--body", "首長部局", "--new", "--as-of", "2020-04-01"]);
    let set = number(&said);
    let diff = org(directory, &["diff", &set]);
    assert!(diff.contains("00001 山田 花子") && diff.contains("new"), "{diff}");
    let early = refused(directory, &["apply", &set]);
    assert!(early.contains("not approved"), "{early}");

    server.start().await;
    two_who_agree(&server, directory).await;
    let password = directory.join("password");
    std::fs::write(&password, "a-wrong-password\n").unwrap();
    let field = format!("set={set}");
    let wish = ["ask", "changes", "--field", &field, "--reason", "最初の名簿"];
    assert!(!case(directory, "jinji", &wish).0, "with a wrong password");
    std::fs::write(&password, "a-long-password\n").unwrap();
    let asked = ask(directory, &set);
    // Whoever has asked does not approve as well; nor does who administers without the duty.
    assert!(!case(directory, "jinji", &["approve", &asked]).0);
    user(directory, &["duty", "hanako", "--take", "変更案承認"]);
    assert!(!case(directory, "hanako", &["approve", &asked]).0);
    user(directory, &["duty", "hanako", "--give", "変更案承認"]);
    let (done, said) = case(directory, "hanako", &["approve", &asked]);
    assert!(done && said.contains("[carried out]"), "{said}");
    // The server applies it by itself; who asks for it waits until it is done.
    let applied = org(directory, &["apply", &set]);
    assert!(applied.contains("[applied]"), "{applied}");
    let before = shown(directory, "2022-01-01");
    let there = org(directory, &["show", "--as-of", "2022-01-01", "--unit", "総務部防災課"]);
    assert!(there.contains("課長 山田 花子 (00001)") && !there.contains("田中"), "{there}");

    // A file with a wrong row: it is told of by row and column, and that person stays.
    let rows = "00001,山田 花子,ヤマダ ハナコ,総務部人事課,課長,R3.13.1\n\
                00002,田中 太郎,タナカ タロウ,総務部防災課,主査,R3.4.1\n";
    std::fs::write(directory.join("april.csv"), format!("{HEADER}{rows}")).unwrap();
    let april = directory.join("april.csv");
    let said = org(
        directory,
        &["import", april.to_str().unwrap(), "--as-of", "2021-04-01", "--at", "2021-04-01T00:00"],
    );
    let second = number(&said);
    let diff = org(directory, &["diff", &second]);
    assert!(diff.contains("Row 2, column 6 (発令日), \"R3.13.1\""), "{diff}");
    approve(directory, &second);
    org(directory, &["apply", &second]);
    let there = org(directory, &["show", "--as-of", "2022-01-01"]);
    assert!(there.contains("田中 太郎 (00002)") && there.contains("山田 花子 (00001)"), "{there}");
    assert_ne!(shown(directory, "2022-01-01"), before);

    // An empty file ends nobody.
    std::fs::write(directory.join("empty.csv"), HEADER).unwrap();
    let empty = refused(directory, &["import", directory.join("empty.csv").to_str().unwrap()]);
    assert!(empty.contains("no rows"), "{empty}");

    server.end("TERM");
    org(directory, &["undo", &second]);
    assert_eq!(shown(directory, "2022-01-01"), before);
    let log = audit_log(directory);
    let me = |uid: u32| {
        format!(
            "uid {} (sudo staff{uid})",
            std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(file).unwrap())
        )
    };
    let wanted = [
        format!("organisation.propose {}", me(1000)),
        "organisation.approve @hanako:kanazawa.test".to_owned(),
    ];
    assert_eq!(log[..2], wanted);
    assert!(log.contains(&format!("organisation.undo {}", me(1000))), "{log:?}");
    assert!(server.command("verify").status().unwrap().success(), "verify found something");
}

const PEOPLE: usize = 3_000;

/// A file of so many people in a unit.
fn everybody(unit: &str, on: &str) -> String {
    let rows = (1..=PEOPLE).map(|n| format!("{n:05},山田 花子,ヤマダ ハナコ,{unit},主事,{on}\n"));
    rows.fold(HEADER.to_owned(), |all, row| all + &row)
}

/// The state of a set, asked of the server itself, as commands would be too slow to see it move.
async fn moving(server: &Server, directory: &Path, set: &str) -> Option<Value> {
    let token = std::fs::read_to_string(directory.join("admin.token")).ok()?.trim().to_owned();
    let order =
        json!({ "authority": "kanazawa.test", "order": { "set": { "id": set.parse::<u64>().unwrap() } } });
    let answer = server.call(Method::POST, "/_yakuba/v1/organisation", &token, Some(order)).await?;
    assert_eq!(answer.0, StatusCode::OK, "{}", answer.1);
    Some(answer.1["set"][1]["state"].clone())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_while_it_applies_goes_on_and_does_nothing_twice() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let mut server = Server::new(directory);
    server.start().await;
    let file = directory.join("meibo.csv");
    std::fs::write(&file, everybody("総務課", "R2.4.1")).unwrap();
    let arguments =
        ["import", file.to_str().unwrap(), "--body", "首長部局", "--new", "--as-of", "2020-04-01"];
    let set = number(&org(directory, &arguments));
    two_who_agree(&server, directory).await;
    approve(directory, &set);

    let (mut kills, begun) = (0, Instant::now());
    loop {
        assert!(begun.elapsed() < Duration::from_secs(240), "it does not come to its end");
        let Some(state) = moving(&server, directory, &set).await else { continue };
        if state == "Applied" {
            break;
        }
        // In the middle, and each time after it got on.
        if state["Applying"]["done"].as_u64().is_some_and(|done| done > 0) && kills < 5 {
            server.end("KILL");
            kills += 1;
            server.start().await;
        }
    }
    eprintln!("{kills} kills until all was applied");
    let people = shown(directory, "2022-01-01").to_string().matches("\"number\"").count();
    assert_eq!(people, PEOPLE);
    let again = org(directory, &["import", file.to_str().unwrap(), "--as-of", "2020-04-01"]);
    assert!(again.contains("nothing changes"), "{again}");
    let applied =
        audit_log(directory).into_iter().filter(|row| row.starts_with("organisation.apply ")).count();
    assert_eq!(applied, 1);

    server.end("TERM");
    assert!(server.command("verify").status().unwrap().success(), "verify found something");
    assert_eq!(state(directory), "Applied");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_somebody_may_is_told_and_who_has_not_been_there_for_long() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let more = "[zones.lgwan]\nfiles = \"sanitised\"\n[zones.internet]\n[authorities.classes.fiscal_year]\n\
                sign_in_from = [\"lgwan\"]\ndevices = 2\nmake_rooms = \"direct\"\n";
    let mut server = Server::with(directory, more);
    let config = directory.join("yakuba.toml");
    let run = |language: &str, arguments: &[&str]| {
        let mut command = yakuba();
        command.args(arguments).arg("--config").arg(&config).env("LC_ALL", language);
        let output =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).output().unwrap();
        (output.status.success(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
    };
    user(directory, &["create", "taro"]);
    let rows = "職員番号,氏名,所属,職名,発令日,アカウント,任用区分\n\
                00001,山田 太郎,総務部防災課,主事,2020-04-01,taro,会計年度任用職員\n";
    std::fs::write(directory.join("meibo.csv"), rows).unwrap();
    let file = directory.join("meibo.csv");
    let said = org(
        directory,
        &["import", file.to_str().unwrap(), "--body", "首長部局", "--new", "--as-of", "2020-04-01"],
    );
    let set = number(&said);
    server.start().await;
    two_who_agree(&server, directory).await;
    approve(directory, &set);
    org(directory, &["apply", &set]);
    server.end("TERM");
    // Where no server runs, and where one does.
    for runs in [false, true] {
        if runs {
            server.start().await;
        }
        let explain = ["policy", "explain", "@taro", "--zone"];
        let (done, here) = run("C", &[&explain[..], &["lgwan"]].concat());
        assert!(done && here.contains("class of employment: for a fiscal year"), "{here}");
        for line in [
            "* Signing in and use from this network: yes (zones from which it is: lgwan) (what is set for the class",
            "* Devices (apps) at once: at most 2 (",
            "  Sending files: yes (nothing bounds it)",
            "* Getting files: sanitised (what is set for the zone \"lgwan\")",
        ] {
            assert!(here.contains(line), "{line}: {here}");
        }
        let (done, elsewhere) = run("ja_JP.UTF-8", &[&explain[..], &["internet"]].concat());
        let line = "* このネットワークでのサインインと利用: できません（利用できるネットワーク区域：lgwan）（任用区分「会計年度任用」の設定）";
        assert!(done && elsewhere.contains(line), "{elsewhere}");
        let (done, nowhere) = run("C", &[&explain[..], &["wan"]].concat());
        assert!(!done && nowhere.contains("there is no [zones.wan]"), "{nowhere}");
        let (done, nobody) = run("C", &["policy", "explain", "@nobody:kanazawa.test"]);
        assert!(!done && !nobody.contains("fiscal"), "{nobody}");
        let (done, all) = run("C", &["user", "list"]);
        assert!(done && all.contains("@taro:kanazawa.test  taro  never used, made 2"), "{all}");
        let (done, dormant) = run("C", &["user", "list", "--dormant", "1"]);
        assert!(done && dormant.contains("there are no such accounts"), "{dormant}");
        let (done, dormant) = run("C", &["user", "list", "--dormant", "0", "--json"]);
        let dormant: Value = serde_json::from_str(&dormant).unwrap();
        let mut all = dormant.as_array().unwrap().iter();
        assert!(done && all.any(|account| account["user_id"] == "@taro:kanazawa.test"), "{dormant}");
    }
    server.end("TERM");
}
