//! The servers as processes of their own.

use std::{
    fs::File,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use futures_util::future::select_all;
use http::Method;
use tokio::process::{Child, ChildStdin, Command};

use super::{
    STOP_DEADLINE,
    bot::Bot,
    place::{Place, Server},
};
use crate::{ask::Asker, commands::complain, texts::tr};

/// How long a server may take until it is healthy: a start after a kill replays its log.
const HEALTHY_WITHIN: Duration = Duration::from_secs(60);

/// A killed server is started again after this.
const RESTART_AFTER: Duration = Duration::from_secs(1);

/// What runs: the servers, then their bots. When this is dropped they stop: each ends with its standard input.
pub(super) struct Children {
    programs: Vec<Program>,
    running: Vec<Running>,
}

/// What runs in a process of its own.
enum Program {
    Server(Server),
    Bot(Bot),
}

/// A running program. Its standard input is kept apart: waiting for a child closes the child's own.
struct Running {
    child: Child,
    stdin: Option<ChildStdin>,
}

impl Children {
    /// Starts all.
    pub(super) fn start(place: &Place) -> anyhow::Result<Children> {
        let servers = place.servers.iter().cloned().map(Program::Server);
        let bots = place.servers.iter().flat_map(|server| &server.bots).cloned().map(Program::Bot);
        let programs: Vec<Program> = servers.chain(bots).collect();
        for program in &programs {
            program.must_be_free()?;
        }
        let running = programs.iter().map(spawn).collect::<anyhow::Result<_>>()?;
        Ok(Children { programs, running })
    }

    /// The process id of each server, in the order of the place; `None` if it is not running.
    pub(super) fn pids_of_servers(&self) -> Vec<Option<u32>> {
        self.pids(|program| matches!(program, Program::Server(_)))
    }

    /// The same of each bot.
    pub(super) fn pids_of_bots(&self) -> Vec<Option<u32>> {
        self.pids(|program| matches!(program, Program::Bot(_)))
    }

    fn pids(&self, wanted: impl Fn(&Program) -> bool) -> Vec<Option<u32>> {
        let all = self.programs.iter().zip(&self.running);
        all.filter(|(program, _)| wanted(program)).map(|(_, running)| running.child.id()).collect()
    }

    /// Waits until all answer.
    pub(super) async fn wait_until_healthy(&mut self) -> anyhow::Result<()> {
        for (program, running) in self.programs.iter().zip(&mut self.running) {
            wait_until_healthy(program, &mut running.child).await?;
        }
        Ok(())
    }

    /// Runs until the future is dropped. What ends is started again, if wanted.
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
            let program = &self.programs[index];
            let status = status.map_or_else(|error| error.to_string(), |status| status.to_string());
            complain(&tr!(
                "{title} が終わりました: {status}",
                "{title} ended: {status}",
                title = program.title()
            ));
            if restart {
                tokio::time::sleep(RESTART_AFTER).await;
                self.running[index] = spawn(program)?;
                complain(&tr!(
                    "{title} を起動し直しました",
                    "{title} started again",
                    title = program.title()
                ));
            }
        }
    }
}

impl Program {
    /// Its name for people.
    fn title(&self) -> String {
        match self {
            Program::Server(server) => format!("{} ({})", server.title, server.name),
            Program::Bot(bot) => {
                tr!("{title} ({id})", "the {title} ({id})", title = bot.kind.title(), id = bot.user_id)
            }
        }
    }

    fn log(&self) -> PathBuf {
        match self {
            Program::Server(server) => server.directory.join("server.log"),
            Program::Bot(bot) => bot.log(),
        }
    }

    /// Where it says whether it is well.
    fn url(&self) -> String {
        match self {
            Program::Server(server) => server.client_url(),
            Program::Bot(bot) => bot.url(),
        }
    }

    fn command(&self) -> anyhow::Result<Command> {
        match self {
            Program::Server(server) => {
                let own = std::env::current_exe()
                    .with_context(|| tr!("このプログラムが見つかりません", "this program cannot be found"))?;
                let mut command = Command::new(own);
                command
                    .args(["serve", "--begin", "--until-stdin-ends", "--config"])
                    .arg(server.config_file());
                Ok(command)
            }
            Program::Bot(bot) => Ok(bot.command()),
        }
    }

    /// Says which port is in use before a program fails over it.
    fn must_be_free(&self) -> anyhow::Result<()> {
        let ports = match self {
            Program::Server(server) => {
                let own = [server.client_port, server.federation_port, server.admin_port];
                own.into_iter().chain(server.lgwan_port).collect()
            }
            Program::Bot(bot) => bot.ports(),
        };
        for port in ports {
            std::net::TcpListener::bind(("127.0.0.1", port)).with_context(|| {
                tr!(
                    "{title} のポート {port} を使えません。--base-port で他のものを選んでください",
                    "port {port} for {title} cannot be used; choose others with --base-port",
                    title = self.title()
                )
            })?;
        }
        Ok(())
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

fn spawn(program: &Program) -> anyhow::Result<Running> {
    let log = program.log();
    let log = File::options()
        .create(true)
        .append(true)
        .open(&log)
        .with_context(|| tr!("{path} に書けません", "{path} cannot be written", path = log.display()))?;
    let mut child = program
        .command()?
        .stdin(Stdio::piped())
        .stdout(Stdio::from(OwnedFd::from(log.try_clone()?)))
        .stderr(Stdio::from(OwnedFd::from(log)))
        // A signal to the terminal's group must reach us only; we stop them in order.
        .process_group(0)
        .spawn()
        .with_context(|| {
            tr!("{title} を起動できません", "{title} cannot be started", title = program.title())
        })?;
    let stdin = child.stdin.take();
    Ok(Running { child, stdin })
}

/// The end of a log, for somebody who should not have to look for the file first.
fn last_lines(log: &Path) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().rev().take(5).collect();
    lines.iter().rev().map(|line| format!("\n  {line}")).collect()
}

async fn wait_until_healthy(program: &Program, child: &mut Child) -> anyhow::Result<()> {
    let asker = Asker::new(program.url());
    let deadline = Instant::now() + HEALTHY_WITHIN;
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait()? {
            let log = program.log();
            bail!(tr!(
                "{title} がすぐに終わりました ({status})。{log} をご覧ください{end}",
                "{title} ended at once ({status}); see {log}{end}",
                title = program.title(),
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
        "{title} は {seconds} 秒以内に応答しませんでした",
        "{title} is not healthy within {seconds} s",
        title = program.title(),
        seconds = HEALTHY_WITHIN.as_secs()
    ))
}
