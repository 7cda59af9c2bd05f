//! The memo bot of a town that stands in both networks: a program of its own, which lies beside this one.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context, bail};

use crate::texts::tr;

/// Its program's file.
const PROGRAM: &str = "yakuba-memo";

/// Its registration, in its directory.
const REGISTRATION: &str = "registration.yaml";

/// Its user's localpart.
const LOCALPART: &str = "memo";

/// The command that makes the program.
pub(super) const BUILD: &str = "cargo build --release -p memo_bot";

/// The bot of one server.
#[derive(Clone, Debug)]
pub(super) struct Bot {
    pub(super) user_id: String,
    pub(super) directory: PathBuf,
    pub(super) port: u16,
    program: PathBuf,
}

impl Bot {
    /// The bot, if its program is there.
    pub(super) fn find(server_name: &str, server_directory: &Path, port: u16) -> anyhow::Result<Option<Bot>> {
        let own = std::env::current_exe()
            .with_context(|| tr!("このプログラムが見つかりません", "this program cannot be found"))?;
        let program = own.with_file_name(PROGRAM);
        Ok(program.is_file().then(|| Bot {
            user_id: format!("@{LOCALPART}:{server_name}"),
            directory: server_directory.join("memo"),
            port,
            program,
        }))
    }

    pub(super) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Its registration.
    pub(super) fn registration(&self) -> PathBuf {
        self.directory.join(REGISTRATION)
    }

    pub(super) fn log(&self) -> PathBuf {
        self.directory.join("memo.log")
    }

    fn config_file(&self) -> PathBuf {
        self.directory.join("memo.toml")
    }

    /// Writes its configuration, and has it write its registration: anew at every start, for the ports may be others.
    pub(super) fn prepare(&self, server_name: &str, client_url: &str, lgwan_url: &str) -> anyhow::Result<()> {
        std::fs::create_dir_all(&self.directory)?;
        let (url, port) = (self.url(), self.port);
        let config = format!(
            r#"# Written by `yakuba demo` at every start.

[homeserver]
url = "{client_url}"
server_name = "{server_name}"

[appservice]
registration = "{REGISTRATION}"
url = "{url}"
sender = "{LOCALPART}"

[listener]
address = "127.0.0.1:{port}"

[store]
path = "memo.redb"

[bot]
lgwan_url = "{lgwan_url}"
"#
        );
        std::fs::write(self.config_file(), config)?;
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

    /// How it is started.
    pub(super) fn command(&self) -> tokio::process::Command {
        let mut command = tokio::process::Command::new(&self.program);
        command.args(["serve", "--until-stdin-ends", "--config"]).arg(self.config_file());
        command
    }

    fn unstartable(&self) -> String {
        tr!("{path} を起動できません", "{path} cannot be started", path = self.program.display())
    }
}
