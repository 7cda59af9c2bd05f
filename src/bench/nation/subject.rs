//! [`Subject`]: the real server, with a configuration that leads it to the peers.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use tokio::process::Command;

use super::{call::Line, identity::enter_document, names, nation::Nation};
use crate::{
    certificates::CertificateAuthority,
    client::Server,
    process::{Processes, free_address},
    report::Report,
};

/// The server under test.
pub(super) struct Subject {
    pub(super) processes: Processes,
    pub(super) server: Server,
    pub(super) line: Line,
    log: PathBuf,
}

impl Subject {
    /// Begins data below a directory, writes the configuration, starts the server and waits until it answers;
    /// its keys are known to the peers then.
    pub(super) async fn start(
        binary: &Path,
        directory: &Path,
        nation: &Nation,
        authority: &CertificateAuthority,
        bound: Duration,
        report: &mut Report,
    ) -> Result<Self> {
        let home = directory.join("yakuba");
        let mut init = Command::new(binary);
        init.arg("init").arg(&home).args(["--server-name", names::SUBJECT]);
        let made = init.output().await.with_context(|| format!("{} cannot be run", binary.display()))?;
        ensure!(made.status.success(), "init: {}", String::from_utf8_lossy(&made.stderr));

        let (client, federation) = (free_address()?, free_address()?);
        let (certificate, key) = authority.issue_files(names::SUBJECT, directory)?;
        let (config, log) = (home.join("yakuba.toml"), directory.join("log"));
        let peers = nation.addresses();
        let text = format!(
            r#"[[authorities]]
name = "{name}"
key_file = "keys/{name}.key"
[authorities.tls]
certificate = {certificate}
key = {key}
[authorities.registration]
mode = "open"
[[listeners]]
address = "{client}"
serves = ["client"]
[[listeners]]
address = "{federation}"
serves = ["federation"]
tls = true
[store]
durability = "fsync"
[limits]
enabled = false
[proxies]
trusted = []
[log]
filter = "warn"
[federation]
peers = "everybody"
trust = "files"
ca_files = [{ca}]
dns = false
{peers}"#,
            name = names::SUBJECT,
            certificate = quoted(&certificate),
            key = quoted(&key),
            ca = quoted(&authority.file),
        );
        std::fs::write(&config, text)?;

        let mut processes = Processes::new(None, &[]);
        let command = format!(
            "{} serve --config {} >>{log} 2>&1",
            binary.display(),
            config.display(),
            log = log.display()
        );
        let started = processes.spawn(&command).await?;
        let server = Server::new(&format!("http://{client}"))?.with_limit(bound);
        let line = Line { address: federation, tls: authority.connector()? };
        let mut subject = Self { processes, server, line, log };
        if let Err(error) = subject.meet(nation, started, report).await {
            subject.stop().await;
            return Err(error);
        }
        Ok(subject)
    }

    /// Waits until it answers clients and peers, and takes its keys.
    async fn meet(&self, nation: &Nation, started: std::time::Instant, report: &mut Report) -> Result<()> {
        self.server.wait_until_ready(started).await?;
        report.number("start_up_ms", started.elapsed().as_secs_f64() * 1000.0);
        let first = nation.peers.first().context("a nation without peers")?;
        let document = self.line.get(first, http::Method::GET, "/_matrix/key/v2/server", None).await?;
        enter_document(&mut nation.keys.write(), names::SUBJECT, &document)
    }

    /// Stops it; what its log has to say is shown.
    pub(super) async fn stop(&mut self) {
        self.processes.stop().await;
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        if !lines.is_empty() {
            eprintln!("the server's log has {} lines, the last of them:", lines.len());
            lines.iter().rev().take(20).rev().for_each(|line| eprintln!("  {line}"));
        }
    }
}

/// A path as TOML text.
fn quoted(path: &Path) -> String {
    format!("{:?}", path.display().to_string())
}
