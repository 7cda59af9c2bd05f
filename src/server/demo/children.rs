//! The servers as processes of their own.

use std::{
    fs::File,
    os::fd::OwnedFd,
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use futures_util::future::select_all;
use http::Method;
use tokio::process::{Child, ChildStdin, Command};

use super::{
    STOP_DEADLINE,
    place::{Place, Server},
};
use crate::{ask::Asker, commands::complain, texts::tr};

/// How long a server may take until it is healthy: a start after a kill replays its log.
const HEALTHY_WITHIN: Duration = Duration::from_secs(60);

/// A killed server is started again after this.
const RESTART_AFTER: Duration = Duration::from_secs(1);

/// The running servers. When this is dropped they stop: each ends with its standard input.
pub(super) struct Children {
    servers: Vec<Server>,
    running: Vec<Running>,
}

/// A running server. Its standard input is kept apart: waiting for a child closes the child's own.
struct Running {
    child: Child,
    stdin: Option<ChildStdin>,
}

impl Children {
    /// Starts all servers.
    pub(super) fn start(place: &Place) -> anyhow::Result<Children> {
        for server in &place.servers {
            must_be_free(server)?;
        }
        let running = place.servers.iter().map(spawn).collect::<anyhow::Result<_>>()?;
        Ok(Children { servers: place.servers.clone(), running })
    }

    /// The process id of each server, in the order of the place; `None` if it is not running.
    pub(super) fn pids(&self) -> Vec<Option<u32>> {
        self.running.iter().map(|running| running.child.id()).collect()
    }

    /// Waits until all servers answer.
    pub(super) async fn wait_until_healthy(&mut self) -> anyhow::Result<()> {
        for (server, running) in self.servers.iter().zip(&mut self.running) {
            wait_until_healthy(server, &mut running.child).await?;
        }
        Ok(())
    }

    /// Runs until the future is dropped. A server that ends is started again, if wanted.
    pub(super) async fn keep_running(&mut self, restart: bool) -> anyhow::Result<()> {
        loop {
            let waits = self.running.iter_mut().enumerate().map(|(index, Running { child, .. })| {
                // A child that has ended and stays so would be reported for ever.
                let gone = child.id().is_none();
                Box::pin(async move {
                    if gone {
                        std::future::pending::<()>().await;
                    }
                    (index, child.wait().await)
                })
            });
            let ((index, status), _, _) = select_all(waits.collect::<Vec<_>>()).await;
            let server = &self.servers[index];
            let status = status.map_or_else(|error| error.to_string(), |status| status.to_string());
            complain(&tr!(
                "{title} ({name}) が終わりました: {status}",
                "{title} ({name}) ended: {status}",
                title = server.title,
                name = server.name
            ));
            if restart {
                tokio::time::sleep(RESTART_AFTER).await;
                self.running[index] = spawn(server)?;
                complain(&tr!(
                    "{title} ({name}) を起動し直しました",
                    "{title} ({name}) started again",
                    title = server.title,
                    name = server.name
                ));
            }
        }
    }
}

impl Drop for Children {
    fn drop(&mut self) {
        // Closing their standard input asks them to stop.
        for running in &mut self.running {
            drop(running.stdin.take());
        }
        let deadline = Instant::now() + STOP_DEADLINE;
        for Running { child, .. } in &mut self.running {
            while Instant::now() < deadline && matches!(child.try_wait(), Ok(None)) {
                std::thread::sleep(Duration::from_millis(10));
            }
            if matches!(child.try_wait(), Ok(None))
                && let Err(error) = child.start_kill()
            {
                complain(&tr!("サーバーを止められません: {error}", "a server could not be killed: {error}"));
            }
        }
    }
}

fn spawn(server: &Server) -> anyhow::Result<Running> {
    let log = server.directory.join("server.log");
    let log = File::options()
        .create(true)
        .append(true)
        .open(&log)
        .with_context(|| tr!("{path} に書けません", "{path} cannot be written", path = log.display()))?;
    let program = std::env::current_exe()
        .with_context(|| tr!("このプログラムが見つかりません", "this program cannot be found"))?;
    let mut child = Command::new(program)
        .args(["serve", "--begin"])
        .arg("--config")
        .arg(server.config_file())
        .arg("--until-stdin-ends")
        .stdin(Stdio::piped())
        .stdout(Stdio::from(OwnedFd::from(log.try_clone()?)))
        .stderr(Stdio::from(OwnedFd::from(log)))
        // A signal to the terminal's group must reach us only; we stop them in order.
        .process_group(0)
        .spawn()
        .with_context(|| tr!("{name} を起動できません", "{name} cannot be started", name = server.name))?;
    let stdin = child.stdin.take();
    Ok(Running { child, stdin })
}

/// Says which port is in use before a server fails over it.
fn must_be_free(server: &Server) -> anyhow::Result<()> {
    for port in [server.client_port, server.federation_port, server.admin_port] {
        std::net::TcpListener::bind(("127.0.0.1", port)).with_context(|| {
            tr!(
                "{name} のポート {port} を使えません。--base-port で他のものを選んでください",
                "port {port} for {name} cannot be used; choose others with --base-port",
                name = server.name
            )
        })?;
    }
    Ok(())
}

/// The end of a log, for somebody who should not have to look for the file first.
fn last_lines(log: &Path) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().rev().take(5).collect();
    lines.iter().rev().map(|line| format!("\n  {line}")).collect()
}

async fn wait_until_healthy(server: &Server, child: &mut Child) -> anyhow::Result<()> {
    let asker = Asker::new(server.client_url());
    let deadline = Instant::now() + HEALTHY_WITHIN;
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait()? {
            let log = server.directory.join("server.log");
            bail!(tr!(
                "{name} がすぐに終わりました ({status})。{log} をご覧ください{end}",
                "{name} ended at once ({status}); see {log}{end}",
                name = server.name,
                log = log.display(),
                end = last_lines(&log)
            ));
        }
        match asker.ask(Method::GET, "/health", None, None).await {
            Ok((status, _)) if status.is_success() => return Ok(()),
            _ => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
    bail!(tr!(
        "{name} は {seconds} 秒以内に応答しませんでした",
        "{name} is not healthy within {seconds} s",
        name = server.name,
        seconds = HEALTHY_WITHIN.as_secs()
    ))
}
