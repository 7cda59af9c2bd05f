//! One server of one authority as a process of its own, as the black-box tests use it.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};

use crate::demo::{base_port, signal, yakuba};

/// A server of one authority in a directory of its own.
#[derive(Debug)]
pub struct Server {
    pub url: String,
    config: PathBuf,
    process: Option<Child>,
    http: Client,
}

impl Server {
    /// Makes the directory's files; open registration, clients and servers on one plain port.
    pub fn new(directory: &Path) -> Self {
        Self::with(directory, "")
    }

    /// The same with more at the end of the configuration.
    pub fn with(directory: &Path, more: &str) -> Self {
        let port = base_port();
        let made = yakuba()
            .args(["init", "--server-name", "kanazawa.test"])
            .arg(directory)
            .stdout(Stdio::null())
            .status()
            .unwrap();
        assert!(made.success());
        let config = format!(
            r#"
            [[authorities]]
            name = "kanazawa.test"
            key_file = "keys/kanazawa.test.key"
            [authorities.registration]
            mode = "open"
            [[listeners]]
            address = "127.0.0.1:{port}"
            serves = ["client", "federation", "admin"]
            [limits]
            enabled = false
            [log]
            filter = "error"
            {more}
            "#
        );
        std::fs::write(directory.join("yakuba.toml"), config).unwrap();
        Self {
            url: format!("http://127.0.0.1:{port}"),
            config: directory.join("yakuba.toml"),
            process: None,
            http: Client::builder().timeout(Duration::from_secs(20)).build().unwrap(),
        }
    }

    /// Where it listens.
    pub fn address(&self) -> String {
        self.url.trim_start_matches("http://").to_owned()
    }

    /// `yakuba VERB` over this server's configuration.
    pub fn command(&self, verb: &str) -> Command {
        let mut command = yakuba();
        command.arg(verb).arg("--config").arg(&self.config).stdin(Stdio::null()).stdout(Stdio::null());
        command
    }

    /// Starts it and waits until it answers.
    pub async fn start(&mut self) {
        self.start_with(&[]).await;
    }

    /// The same with further arguments.
    pub async fn start_with(&mut self, arguments: &[&str]) {
        let mut serve = self.command("serve");
        serve.args(arguments);
        self.start_by(serve).await;
    }

    /// The same with no more than so many open files.
    pub async fn start_within(&mut self, open_files: u32) {
        let serve = self.command("serve");
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("ulimit -n {open_files}; exec \"$0\" \"$@\"")]);
        shell.arg(serve.get_program()).args(serve.get_args()).stdin(Stdio::null()).stdout(Stdio::null());
        self.start_by(shell).await;
    }

    /// Starts it by a command.
    pub async fn start_by(&mut self, mut command: Command) {
        self.process = Some(command.spawn().unwrap());
        let begun = Instant::now();
        while self.call(Method::GET, "/_matrix/client/versions", "", None).await.is_none() {
            assert!(begun.elapsed() < Duration::from_secs(30), "the server does not start");
            assert!(self.process.as_mut().unwrap().try_wait().unwrap().is_none(), "the server ended");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// What the system says of its process under a name, as `/proc` has it.
    pub fn status(&self, name: &str) -> String {
        status_of(&self.process.as_ref().unwrap().id().to_string(), name)
    }

    /// Ends it by a signal (`TERM`, `KILL`) and waits until it is gone.
    pub fn end(&mut self, how: &str) {
        let mut process = self.process.take().unwrap();
        signal(process.id(), how);
        process.wait().unwrap();
    }

    /// Has it killed while others still hold it.
    pub fn kill(&self) {
        signal(self.process.as_ref().unwrap().id(), "KILL");
    }

    /// A new account; its access token.
    pub async fn register(&self, name: &str) -> String {
        let account =
            json!({ "username": name, "password": "a-long-password", "auth": { "type": "m.login.dummy" } });
        let (status, answer) =
            self.call(Method::POST, "/_matrix/client/v3/register", "", Some(account)).await.unwrap();
        assert_eq!(status, StatusCode::OK, "{answer}");
        answer["access_token"].as_str().unwrap().to_owned()
    }

    /// The text that a path answers.
    pub async fn text(&self, path: &str) -> String {
        self.http.get(format!("{}{path}", self.url)).send().await.unwrap().text().await.unwrap()
    }

    /// All messages of a room: the ids under which each text is there.
    pub async fn messages(&self, room: &str, token: &str) -> HashMap<String, Vec<String>> {
        let mut found: HashMap<String, Vec<String>> = HashMap::new();
        let mut from = String::new();
        loop {
            let path = format!("/_matrix/client/v3/rooms/{room}/messages?dir=b&limit=500{from}");
            let (status, page) = self.call(Method::GET, &path, token, None).await.unwrap();
            assert_eq!(status, StatusCode::OK, "{page}");
            for event in page["chunk"].as_array().unwrap() {
                if let Some(body) = event["content"]["body"].as_str() {
                    let id = event["event_id"].as_str().unwrap().to_owned();
                    found.entry(body.to_owned()).or_default().push(id);
                }
            }
            match page["end"].as_str() {
                Some(end) => from = format!("&from={end}"),
                None => return found,
            }
        }
    }

    /// An answer, or nothing when the server was not there to give one.
    pub async fn call(
        &self,
        method: Method,
        path: &str,
        token: &str,
        body: Option<Value>,
    ) -> Option<(StatusCode, Value)> {
        call(&self.http, &self.url, method, path, token, body).await
    }
}

impl Drop for Server {
    /// A test that failed leaves no process behind.
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            signal(process.id(), "KILL");
            assert!(process.wait().is_ok() || std::thread::panicking(), "the server could not be stopped");
        }
    }
}

/// One request, with a JSON body or none; nothing when there was no answer.
pub async fn call(
    http: &Client,
    url: &str,
    method: Method,
    path: &str,
    token: &str,
    body: Option<Value>,
) -> Option<(StatusCode, Value)> {
    let mut request = http.request(method, format!("{url}{path}")).bearer_auth(token);
    if let Some(body) = body {
        request = request.header("content-type", "application/json").body(body.to_string());
    }
    let answer = request.send().await.ok()?;
    let status = answer.status();
    let text = answer.text().await.ok()?;
    Some((status, serde_json::from_str(&text).unwrap_or(Value::Null)))
}

/// What the system says of a process (a number, or `self`) under a name of `/proc/…/status`.
pub fn status_of(process: &str, name: &str) -> String {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_default().trim().to_owned()
}
