//! The bots of a town that stands in both networks: programs of their own, which lie beside this one.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context, bail};
use base::Random;
use serde::{Deserialize, Serialize};

use super::story::{CLERKS, DESK_ALIAS, PEOPLE};
use crate::{files::write_private, texts::tr};

/// Its registration, in its directory.
const REGISTRATION: &str = "registration.yaml";

/// What a webhook is signed with, in the directory of its bot.
const WEBHOOK: &str = "webhook.json";

/// The command that posts one, and what it posts.
const POST: &str = "report.sh";
const REPORT: &str = "report.json";

/// The command that makes the programs.
pub(super) const BUILD: &str = "cargo build --release -p memo_bot -p dropbox -p hook_bot";

/// Ports that all bots take together.
pub(super) const PORTS: u16 = 5;

/// Letters of a webhook's token and of its secret: 143 bits each.
const SECRET_LENGTH: usize = 24;

/// Which bot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// メモ帳
    Memo,
    /// 受取URL
    Dropbox,
    /// Webhooks.
    Hook,
}

impl Kind {
    pub(super) const ALL: [Kind; 3] = [Kind::Memo, Kind::Dropbox, Kind::Hook];

    /// Its user's localpart, and its directory.
    pub(super) fn localpart(self) -> &'static str {
        match self {
            Kind::Memo => "memo",
            Kind::Dropbox => "dropbox",
            Kind::Hook => "hook",
        }
    }

    /// Its name for people.
    pub(super) fn title(self) -> String {
        match self {
            Kind::Memo => tr!("メモ帳ボット", "memo bot"),
            Kind::Dropbox => tr!("受取URLボット", "bot of drop links"),
            Kind::Hook => tr!("Webhook ボット", "bot of webhooks"),
        }
    }

    /// Where it listens for its server, counted from the first of the bots' ports.
    fn inner_port(self) -> u16 {
        match self {
            Kind::Memo => 0,
            Kind::Dropbox => 1,
            Kind::Hook => 3,
        }
    }

    /// Where it listens for people and programs without an account.
    fn outer_port(self) -> Option<u16> {
        match self {
            Kind::Memo => None,
            Kind::Dropbox => Some(2),
            Kind::Hook => Some(4),
        }
    }
}

/// A bot of one server.
#[derive(Clone, Debug)]
pub(super) struct Bot {
    pub(super) kind: Kind,
    pub(super) user_id: String,
    directory: PathBuf,
    port: u16,
    outer_port: Option<u16>,
    program: PathBuf,
}

/// How a webhook is reached and signed, as it is remembered from one start to the next.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Webhook {
    token: String,
    secret: String,
}

/// Where the bot's server is.
pub(super) struct Surroundings<'a> {
    pub(super) server_name: &'a str,
    pub(super) title: &'a str,
    pub(super) client_url: &'a str,
    pub(super) lgwan_url: &'a str,
}

impl Bot {
    /// The bot, if its program is there.
    pub(super) fn find(
        kind: Kind,
        server_name: &str,
        server_directory: &Path,
        first_port: u16,
    ) -> anyhow::Result<Option<Bot>> {
        let own = std::env::current_exe()
            .with_context(|| tr!("このプログラムが見つかりません", "this program cannot be found"))?;
        let localpart = kind.localpart();
        let program = own.with_file_name(format!("yakuba-{localpart}"));
        Ok(program.is_file().then(|| Bot {
            kind,
            user_id: format!("@{localpart}:{server_name}"),
            directory: server_directory.join(localpart),
            port: first_port + kind.inner_port(),
            outer_port: kind.outer_port().map(|port| first_port + port),
            program,
        }))
    }

    /// All of its ports.
    pub(super) fn ports(&self) -> Vec<u16> {
        std::iter::once(self.port).chain(self.outer_port).collect()
    }

    pub(super) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Where people and programs without an account reach it.
    pub(super) fn outer_url(&self) -> Option<String> {
        self.outer_port.map(|port| format!("http://127.0.0.1:{port}"))
    }

    /// Where a webhook is posted to.
    pub(super) fn webhook_url(&self) -> anyhow::Result<Option<String>> {
        let Some(url) = self.outer_url().filter(|_| self.kind == Kind::Hook) else { return Ok(None) };
        let webhook = self.webhook()?;
        Ok(Some(format!("{url}/hook/{}", webhook.token)))
    }

    /// The command that posts one.
    pub(super) fn webhook_command(&self) -> String {
        let path = self.directory.join(POST).display().to_string();
        // A path between quotation marks of a shell, whatever is in it.
        format!("sh '{}'", path.replace('\'', r"'\''"))
    }

    /// Its registration.
    pub(super) fn registration(&self) -> PathBuf {
        self.directory.join(REGISTRATION)
    }

    pub(super) fn log(&self) -> PathBuf {
        self.directory.join(format!("{}.log", self.kind.localpart()))
    }

    fn config_file(&self) -> PathBuf {
        self.directory.join(format!("{}.toml", self.kind.localpart()))
    }

    /// Writes its configuration, and has it write its registration: anew at every start, for the ports may be others.
    pub(super) fn prepare(&self, around: &Surroundings<'_>) -> anyhow::Result<()> {
        std::fs::create_dir_all(&self.directory)?;
        let (url, port, localpart) = (self.url(), self.port, self.kind.localpart());
        let Surroundings { server_name, client_url, .. } = around;
        let settings = self.settings(around)?;
        let config = format!(
            r#"# Written by `yakuba demo` at every start.

[homeserver]
url = "{client_url}"
server_name = "{server_name}"

[appservice]
registration = "{REGISTRATION}"
url = "{url}"
sender = "{localpart}"

[listener]
address = "127.0.0.1:{port}"

[store]
path = "{localpart}.redb"

[bot]
{settings}"#
        );
        // What webhooks are signed with stands in it.
        write_private(&self.config_file(), &config)?;
        match std::fs::remove_file(self.registration()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        let made = std::process::Command::new(&self.program)
            .arg("registration")
            .arg("--config")
            .arg(self.config_file())
            .stdin(Stdio::null())
            .output()
            .with_context(|| self.unstartable())?;
        if !made.status.success() {
            bail!("{}: {}", self.unstartable(), String::from_utf8_lossy(&made.stderr).trim());
        }
        Ok(())
    }

    /// What stands under `[bot]`.
    fn settings(&self, around: &Surroundings<'_>) -> anyhow::Result<String> {
        let Surroundings { server_name, title, lgwan_url, .. } = around;
        let address = self.outer_port.map(|port| format!("127.0.0.1:{port}")).unwrap_or_default();
        Ok(match self.kind {
            Kind::Memo => format!("lgwan_url = \"{lgwan_url}\"\n"),
            Kind::Dropbox => format!(
                r#"place = "{title}（デモ）"
public_url = "http://{address}"
page_address = "{address}"
files_path = "files"
audit_path = "audit.jsonl"
bytes = "100 MB"
most_bytes = "1 GB"
disk_budget = "2 GB"
"#
            ),
            Kind::Hook => {
                let Webhook { token, secret } = self.find_or_make_webhook()?;
                self.write_post(&format!("http://{address}/hook/{token}"), &secret)?;
                let maker = PEOPLE[CLERKS[0]].localpart;
                format!(
                    r##"address = "{address}"

[[bot.incoming]]
name = "report"
token = "{token}"
secret = "{secret}"
room = "#{DESK_ALIAS}:{server_name}"
made_by = "@{maker}:{server_name}"
form = "report"
"##
                )
            }
        })
    }

    /// How it is started.
    pub(super) fn command(&self) -> tokio::process::Command {
        let mut command = tokio::process::Command::new(&self.program);
        command.args(["serve", "--until-stdin-ends", "--config"]).arg(self.config_file());
        command
    }

    fn webhook(&self) -> anyhow::Result<Webhook> {
        let path = self.directory.join(WEBHOOK);
        let unreadable = || tr!("{path} を読めません", "{path} cannot be read", path = path.display());
        let text = std::fs::read_to_string(&path).with_context(unreadable)?;
        serde_json::from_str(&text).with_context(unreadable)
    }

    /// That of an earlier start, or a new one.
    fn find_or_make_webhook(&self) -> anyhow::Result<Webhook> {
        let path = self.directory.join(WEBHOOK);
        if path.exists() {
            return self.webhook();
        }
        let random = Random::os();
        let webhook = Webhook { token: random.token(SECRET_LENGTH), secret: random.token(SECRET_LENGTH) };
        write_private(&path, &serde_json::to_string_pretty(&webhook)?)?;
        Ok(webhook)
    }

    /// A command that signs and posts a report, and a report that somebody may change.
    fn write_post(&self, url: &str, secret: &str) -> anyhow::Result<()> {
        let command = format!(
            r#"#!/bin/sh
# 署名つきの通報を送る。通報は引数のファイル、なければ隣の {REPORT}。`yakuba demo` が起動のたびに書く
# Posts a report with its signature (https://www.standardwebhooks.com): the file named, or {REPORT} beside this.
# Written by `yakuba demo` at every start.
set -eu
report="${{1:-$(dirname "$0")/{REPORT}}}"
at="$(date +%s)"
id="demo-$at-$$"
signature="$({{ printf '%s.%s.' "$id" "$at"; cat "$report"; }} | openssl dgst -sha256 -hmac '{secret}' -binary | openssl base64 -A)"
exec curl --silent --show-error --fail-with-body --data-binary "@$report" \
  -H "webhook-id: $id" -H "webhook-timestamp: $at" -H "webhook-signature: v1,$signature" \
  '{url}'
"#
        );
        write_private(&self.directory.join(POST), &command)?;
        let report = self.directory.join(REPORT);
        if !report.exists() {
            std::fs::write(report, super::story::REPORT)?;
        }
        Ok(())
    }

    fn unstartable(&self) -> String {
        tr!("{path} を起動できません", "{path} cannot be started", path = self.program.display())
    }
}
