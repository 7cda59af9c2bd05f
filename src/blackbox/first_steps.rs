//! What somebody meets who sets a server up: the commands over data that are not there, rights of files,
//! a password that is too short, a port that is in use.

#![expect(clippy::unwrap_used, reason = "tests")]
#![expect(unreachable_pub, dead_code, reason = "each test uses a part of the shared modules")]

mod alone;
mod demo;

use std::{
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{
    alone::{Server, status_of},
    demo::yakuba,
};

/// What a command says, and whether it succeeded.
fn said(command: &mut Command) -> (bool, String) {
    let output = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(text).unwrap())
}

/// Everything below a directory that others than its owner may read.
fn open_to_others(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut left = vec![directory.to_owned()];
    while let Some(path) = left.pop() {
        let metadata = std::fs::symlink_metadata(&path).unwrap();
        if metadata.permissions().mode() & 0o077 != 0 {
            found.push(path.clone());
        }
        if metadata.is_dir() {
            left.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_over_data_that_are_not_there_are_refused_and_make_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::new(directory.path());
    std::fs::remove_dir_all(directory.path().join("data")).unwrap();
    let backup = directory.path().join("backup");
    let mut back_up = server.command("backup");
    back_up.arg(&backup);
    let mut create = yakuba();
    create.args(["user", "create", "hanako", "--config"]).arg(directory.path().join("yakuba.toml"));
    for command in [&mut server.command("verify"), &mut server.command("serve"), &mut back_up, &mut create] {
        let (done, text) = said(command);
        assert!(!done && text.contains("there are no data in"), "{command:?}: {text}");
    }
    assert!(!directory.path().join("data").exists());
    assert!(!backup.exists());
}

/// The volume of the data is not mounted: what is there is an empty directory.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn serve_over_nothing_says_what_to_do_and_begins_only_when_asked_to() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = Server::new(directory.path());
    server.start().await;
    server.register("hanako").await;
    server.end("TERM");
    let (data, away) = (directory.path().join("data"), directory.path().join("away"));
    std::fs::rename(&data, &away).unwrap();
    std::fs::create_dir(&data).unwrap();

    for (language, wanted) in [("C", "there are no data in"), ("ja_JP.UTF-8", "データがありません")]
    {
        for verb in ["serve", "check"] {
            let (done, text) = said(server.command(verb).env("LC_ALL", language));
            let data = data.to_str().unwrap();
            assert!(!done, "{verb}");
            for wanted in [wanted, data, "yakuba serve --begin"] {
                assert!(text.contains(wanted), "{verb}: {wanted}: {text}");
            }
        }
    }
    assert_eq!(std::fs::read_dir(&data).unwrap().count(), 0, "nothing was made");

    server.start_with(&["--begin"]).await;
    server.register("taro").await;
    server.end("TERM");
    // What was begun is there, and needs nothing more; nor do the old data, put back.
    server.start().await;
    server.end("TERM");
    std::fs::remove_dir_all(&data).unwrap();
    std::fs::rename(&away, &data).unwrap();
    server.start().await;
    server.end("TERM");
}

#[test]
fn init_makes_all_that_serve_needs_and_says_what_clients_need_and_touches_nothing_that_is_there() {
    let directory = tempfile::tempdir().unwrap();
    let home = directory.path().join("new");
    let init = || {
        let mut init = yakuba();
        init.args(["init", "--server-name", "kanazawa.test"]).arg(&home);
        said(&mut init)
    };
    let (done, text) = init();
    assert!(done && text.contains("`client_url`"), "{text}");
    assert_eq!(open_to_others(&home), Vec::<PathBuf>::new());
    let (done, text) = said(yakuba().args(["verify", "--config"]).arg(home.join("yakuba.toml")));
    assert!(done, "{text}");

    let key = home.join("keys/kanazawa.test.key");
    let before = std::fs::read(&key).unwrap();
    std::fs::write(home.join("yakuba.toml"), "mine").unwrap();
    let (done, text) = init();
    assert!(!done && text.contains("nothing was written"), "{text}");
    assert_eq!(std::fs::read(home.join("yakuba.toml")).unwrap(), b"mine");
    assert_eq!(std::fs::read(&key).unwrap(), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_server_keeps_only_its_owner_can_read_and_a_short_password_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = Server::new(directory.path());
    server.start().await;
    server.register("hanako").await;
    server.end("TERM");
    let data = directory.path().join("data");
    assert_eq!(open_to_others(&data), Vec::<PathBuf>::new());
    assert_eq!(open_to_others(&directory.path().join("keys")), Vec::<PathBuf>::new());

    let password = directory.path().join("password");
    std::fs::write(&password, "short\n").unwrap();
    let mut create = yakuba();
    create.args(["user", "create", "taro", "--password-file"]).arg(&password);
    create.arg("--config").arg(directory.path().join("yakuba.toml"));
    let (done, text) = said(&mut create);
    assert!(!done && text.contains("too short"), "{text}");
    std::fs::write(&password, "long enough for anybody\n").unwrap();
    let (done, text) = said(&mut create);
    assert!(done, "{text}");

    let key = directory.path().join("keys/kanazawa.test.key");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let (done, text) = said(&mut server.command("check"));
    assert!(done && text.contains("others may read it"), "{text}");
}

/// The status of a log-in.
async fn log_in(server: &Server, name: &str, password: &str) -> u16 {
    let order = serde_json::json!({
        "type": "m.login.password", "password": password, "identifier": { "type": "m.id.user", "user": name }
    });
    let path = "/_matrix/client/v3/login";
    server.call(reqwest::Method::POST, path, "", Some(order)).await.unwrap().0.as_u16()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_is_set_and_an_account_is_closed_while_the_server_runs_and_while_it_does_not() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("yakuba.toml");
    let mut server = Server::new(directory.path());
    server.start().await;
    for runs in [true, false] {
        let name = if runs { "hanako" } else { "taro" };
        let token = server.register(name).await;
        let user = |verb: &str, more: &[&str]| {
            let mut user = yakuba();
            user.args(["user", verb, name, "--config"]).arg(&config).args(more);
            said(&mut user)
        };
        if !runs {
            server.end("TERM");
        }
        let (done, text) = user("password", &[]);
        assert!(done && text.contains("all its devices are logged out"), "{text}");
        let password = text.lines().find_map(|line| line.strip_prefix("password: ")).unwrap().to_owned();
        if !runs {
            server.start().await;
        }
        let (status, _) = server
            .call(reqwest::Method::GET, "/_matrix/client/v3/account/whoami", &token, None)
            .await
            .unwrap();
        assert_eq!(status, 401, "who was logged in is so no more");
        assert_eq!(log_in(&server, name, "a-long-password").await, 403);
        assert_eq!(log_in(&server, name, &password).await, 200);
        if !runs {
            server.end("TERM");
        }
        let (done, text) = user("close", &[]);
        assert!(done && text.contains("is closed"), "{text}");
        let (done, text) = user("password", &[]);
        assert!(!done, "no password opens it again: {text}");
        if !runs {
            server.start().await;
        }
        assert_eq!(log_in(&server, name, &password).await, 403);
    }
    server.end("TERM");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_name_over_the_data_ends_the_start_in_order() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = Server::new(directory.path());
    server.start().await;
    server.end("TERM");
    let config = directory.path().join("yakuba.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace("name = \"kanazawa.test\"", "name = \"kanazwa.test\"")).unwrap();
    let output = server.command("serve").stderr(Stdio::piped()).output().unwrap();
    // A code, and no signal: nothing was torn down under a running thread.
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("the data are those of kanazawa.test"));
}

#[test]
fn check_tells_of_data_that_another_user_made() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::new(directory.path());
    let (done, text) = said(&mut server.command("check"));
    assert!(done, "{text}");
    let file = directory.path().join("data/CURRENT");
    // Root reaches everything, and can give a file away; others cannot, and meet what is closed.
    let root = std::fs::metadata(&file).unwrap().uid() == 0;
    if root {
        std::os::unix::fs::chown(&file, Some(12_345), None).unwrap();
    } else {
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o000)).unwrap();
    }
    let (done, text) = said(&mut server.command("check"));
    assert!(!done && text.contains("data/CURRENT") && text.contains("chown -R"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn status_says_that_nothing_can_be_written_and_fails() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = Server::new(directory.path());
    server.start().await;
    let (done, text) = said(&mut server.command("status"));
    assert!(done && text.contains("\"read_only_because\": null"), "{text}");
    server.end("TERM");

    // No disk has so much to spare.
    let config = directory.path().join("yakuba.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, format!("{text}\n[store]\nreserve = \"1000000 GiB\"\n")).unwrap();
    server.start().await;
    let account = serde_json::json!({
        "username": "hanako", "password": "a-long-password", "auth": { "type": "m.login.dummy" }
    });
    let (status, _) =
        server.call(reqwest::Method::POST, "/_matrix/client/v3/register", "", Some(account)).await.unwrap();
    assert_eq!(status, 503);
    let (done, text) = said(&mut server.command("status"));
    assert!(!done && text.contains("nothing can be written"), "{text}");
    server.end("TERM");
}

#[test]
fn check_tells_all_missing_files_and_ports_in_use_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let text = format!(
        r#"
        [[authorities]]
        name = "kanazawa.test"
        key_file = "keys/kanazawa.test.key"
        [[authorities]]
        name = "wajima.test"
        key_file = "keys/wajima.test.key"
        registration = {{ shared_secret_file = "keys/secret" }}
        [[listeners]]
        address = "127.0.0.1:{port}"
        serves = ["client"]
        [store]
        path = "yakuba.toml/data"
        "#
    );
    let config = directory.path().join("yakuba.toml");
    std::fs::write(&config, text).unwrap();
    let (done, text) = said(yakuba().arg("check").arg("--config").arg(&config));
    assert!(!done);
    for wanted in
        ["kanazawa.test.key", "wajima.test.key", "keys/secret", &port.to_string(), "is no directory"]
    {
        assert!(text.contains(wanted), "{wanted}: {text}");
    }
}

#[test]
fn check_tells_of_data_on_a_disk_that_cannot_be_written() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::new(directory.path());
    let check = server.command("check");
    // In a mount namespace of its own, the directory is a disk that cannot be written.
    let script = r#"mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@""#;
    let mut alone = Command::new("unshare");
    alone.args(["--user", "--map-root-user", "--mount", "sh", "-c", script]);
    alone.arg(directory.path().join("data")).arg(check.get_program()).args(check.get_args());
    alone.envs(check.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let (done, text) = said(&mut alone);
    assert!(!done && text.contains("data cannot be written to"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_and_what_is_put_back_say_what_is_not_in_them() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::new(directory.path());
    let backup = directory.path().join("backup");
    let (done, text) = said(server.command("backup").arg(&backup));
    assert!(done && text.contains("not in it"), "{text}");
    for file in ["yakuba.toml", "keys/kanazawa.test.key"] {
        assert!(text.contains(directory.path().join(file).to_str().unwrap()), "{file}: {text}");
    }
    std::fs::remove_dir_all(directory.path().join("data")).unwrap();
    let mut restore = yakuba();
    restore.arg("restore").arg("--config").arg(directory.path().join("yakuba.toml")).arg(&backup);
    let (done, text) = said(&mut restore);
    assert!(done && text.contains("keys and configuration are in no backup"), "{text}");
    let (done, text) = said(&mut server.command("verify"));
    assert!(done, "{text}");
}

#[test]
fn a_demo_whose_port_is_in_use_names_the_port_and_keeps_its_directory() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let place = tempfile::tempdir().unwrap();
    let mut demo = yakuba();
    demo.args(["demo", "--base-port", &port.to_string()]).env("TMPDIR", place.path());
    let (done, text) = said(&mut demo);
    assert!(!done && text.contains(&format!("port {port} ")), "{text}");
    let kept = std::fs::read_dir(place.path()).unwrap().next().unwrap().unwrap().path();
    assert!(text.contains(kept.to_str().unwrap()), "{text}");
}

fn is_japanese(text: &str) -> bool {
    text.chars().any(|c| ('\u{3041}'..='\u{30ff}').contains(&c))
}

#[test]
fn what_commands_say_is_in_the_language_of_the_environment() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::new(directory.path());
    std::fs::remove_dir_all(directory.path().join("data")).unwrap();
    let in_language = |language: &str| {
        let mut help = yakuba();
        help.args(["user", "create", "--help"]);
        let mut top = yakuba();
        top.arg("--help");
        let mut wrong = yakuba();
        wrong.args(["check", "--colour"]);
        let commands = [server.command("serve"), server.command("verify"), help, top, wrong];
        commands.map(|mut command| said(command.env("LC_ALL", language)).1)
    };
    for text in in_language("C") {
        assert!(!is_japanese(&text), "{text}");
    }
    let english = ["no problem", "there are", "Print", "Usage", "Options", "the ", "error:", "unexpected"];
    for text in in_language("ja_JP.UTF-8") {
        assert!(is_japanese(&text), "{text}");
        assert!(!english.iter().any(|word| text.contains(word)), "{text}");
    }
}

#[test]
fn a_command_of_which_nobody_reads_on_ends_without_a_complaint() {
    let directory = tempfile::tempdir().unwrap();
    let mut init = yakuba();
    init.args(["init", "--server-name", "kanazawa.test"]).arg(directory.path().join("new"));
    let mut help = yakuba();
    help.arg("--help");
    for mut command in [init, help] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = command.stdin(Stdio::null()).stdout(writer).stderr(Stdio::piped()).output().unwrap();
        assert!(output.status.success(), "{command:?}");
        assert_eq!(String::from_utf8(output.stderr).unwrap(), "", "{command:?}");
    }
    assert!(directory.path().join("new/yakuba.toml").exists());
}

#[test]
fn a_server_name_in_japanese_gets_its_form_of_dns_in_both_languages() {
    let place = tempfile::tempdir().unwrap();
    for language in ["C", "ja_JP.UTF-8"] {
        let mut init = yakuba();
        init.env("LC_ALL", language).args(["init", "--server-name", "金沢.example.jp"]);
        let (done, text) = said(init.arg(place.path().join("new")));
        assert!(!done && text.contains("xn--6uw360f.example.jp"), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_never_comes_in_huge_pages() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = Server::new(directory.path());
    server.start().await;
    server.register("hanako").await;
    // Not every system has them, and then it says nothing.
    let usual = status_of("self", "THP_enabled");
    assert_eq!(server.status("THP_enabled"), usual.replace('1', "0"));
    server.end("TERM");
}
