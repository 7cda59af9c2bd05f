//! The audit log of a real server: whatever was answered is in it, also after a kill, and the commands read and
//! check it while the server runs and when it does not.

#![expect(clippy::unwrap_used, reason = "tests")]
#![expect(unreachable_pub, dead_code, reason = "each test uses a part of the shared modules")]

mod alone;
mod demo;

use std::{
    collections::HashSet,
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::{alone::Server, demo::yakuba};

/// What a command says in English, and whether it succeeded.
fn said(directory: &Path, arguments: &[&str]) -> (bool, String) {
    let mut command: Command = yakuba();
    command
        .arg("audit")
        .args(arguments)
        .arg("--config")
        .arg(directory.join("yakuba.toml"))
        .env("LC_ALL", "C");
    let output = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).output().unwrap();
    (output.status.success(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
}

fn rows(directory: &Path, what: &str) -> Vec<Value> {
    let (done, text) = said(directory, &["list", "--json", "--what", what]);
    assert!(done, "{text}");
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn verified(directory: &Path) {
    let (done, text) = said(directory, &["verify"]);
    assert!(done && text.contains("kanazawa.test: no problem found"), "{text}");
}

async fn log_in(server: &Server, password: &str, device: &str) -> Option<StatusCode> {
    let body = json!({
        "type": "m.login.password", "user": "hanako", "password": password, "device_id": device,
        "initial_device_display_name": "電話\n\u{202e}",
    });
    // As a proxy on this machine tells it.
    let request = reqwest::Client::new().post(format!("{}/_matrix/client/v3/login", server.url));
    let request = request.header("x-forwarded-for", "203.0.113.7").body(body.to_string());
    Some(request.send().await.ok()?.status())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_sign_in_that_was_answered_is_in_the_log_whatever_ends_the_server() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let mut server = Server::new(directory);
    server.start().await;
    let token = server.register("hanako").await;
    assert_eq!(log_in(&server, "wrong", "THIEF").await, Some(StatusCode::FORBIDDEN));
    let out = server.call(Method::POST, "/_matrix/client/v3/logout", &token, Some(json!({}))).await.unwrap();
    assert_eq!(out.0, StatusCode::OK);

    let shared = Arc::new(server);
    let logging_in: Vec<_> = (0..4)
        .map(|of| {
            let server = shared.clone();
            tokio::spawn(async move {
                let mut known = Vec::new();
                for n in 0.. {
                    let device = format!("D{of}-{n}");
                    match log_in(&server, "a-long-password", &device).await {
                        Some(status) => assert_eq!(status, StatusCode::OK),
                        // It was killed.
                        None => break,
                    }
                    known.push(device);
                }
                known
            })
        })
        .collect();
    let running = directory.to_owned();
    let enough = tokio::task::spawn_blocking(move || while rows(&running, "session.sign_in").len() < 20 {});
    enough.await.unwrap();
    verified(directory);
    shared.kill();
    let mut known = HashSet::new();
    for task in logging_in {
        known.extend(task.await.unwrap());
    }
    let mut server = Arc::into_inner(shared).unwrap();
    server.end("KILL");

    // Where no server runs.
    let told: HashSet<String> = rows(directory, "session.sign_in")
        .iter()
        .map(|row| row["after"]["device"].as_str().unwrap().to_owned())
        .collect();
    assert!(known.len() > 10 && known.is_subset(&told), "{} {}", known.len(), told.len());
    verified(directory);

    server.start().await;
    assert_eq!(log_in(&server, "wrong", "THIEF").await, Some(StatusCode::FORBIDDEN));
    server.end("TERM");
    verified(directory);
    let failed = rows(directory, "session.sign_in_failed");
    let last = failed.last().unwrap();
    assert_eq!((&last["whom"], &last["from"]), (&json!("@hanako:kanazawa.test"), &json!("203.0.113.7")));
    assert_eq!(last["after"]["reason"], "wrong_password");
    assert_eq!(rows(directory, "session.sign_out").len(), 1);
    assert_eq!(rows(directory, "account").len(), 1);

    // A row is one line, whatever a client calls itself.
    let (_, text) = said(directory, &["list", "--what", "session.sign_in"]);
    assert_eq!(text.lines().count(), told.len());
    assert!(text.contains("電話\\n\\u202e") && !text.contains('\u{202e}'), "{text}");
}
