//! `yakuba demo`: 石川県, 金沢市 and 輪島市 as three servers that federate on this machine.
//!
//! Each server is a process of its own, with its own keys, certificate and data, so that one can be
//! killed while the others run; with `--restart` a killed one is started again after a second. Accounts and the room are made through the servers' ordinary client interface.
//! Only the first start of a directory makes them; a later one finds them there.
//!
//! Beside 金沢市 its bots run, those whose programs lie beside this one: メモ帳, 受取URL and webhooks.
//!
//! Reading order: [`demo`], `place` (what lies in the directory), `children` (the processes), `bot`,
//! `people` (accounts and room), `desk` (the room of the bots), `organisation` (who is where), `story` (who they are and what
//! they say), `report`.

mod bot;
mod children;
mod desk;
mod organisation;
mod people;
mod place;
mod report;
mod story;

use std::{path::PathBuf, time::Duration};

use anyhow::Context;
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use self::{
    children::Children,
    place::{BasePort, Place},
};
use crate::{commands::complain, texts::tr};

/// A child that is asked to stop and does not is killed after this.
const STOP_DEADLINE: Duration = Duration::from_secs(25);

/// Arguments of `yakuba demo`.
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// 準備ができたら一行の JSON で知らせる / print one JSON object on one line when all is ready
    #[arg(long)]
    json: bool,
    /// 置き場所。終わっても残る。なければ終わりに消える / Where it lives; kept at the end. Without one, a directory that is removed at the end
    #[arg(long)]
    dir: Option<PathBuf>,
    /// 最初のポート番号。ここから 20 個（サーバーごとに 5 個、ボットに 5 個）のうちを使う / The first of twenty ports: five for each server, five for the bots
    #[arg(long, default_value = "8400")]
    base_port: BasePort,
    /// 強制終了されたサーバーを一秒後に起動し直す / Start a server that was killed again, after a second
    #[arg(long)]
    restart: bool,
}

/// Starts the servers, makes what is missing, says what there is, and runs until a signal.
///
/// # Errors
/// Whatever keeps it from being ready.
pub(crate) async fn demo(args: &DemoArgs) -> anyhow::Result<()> {
    let deaf = || tr!("シグナルを受け取れません", "signals cannot be heard");
    let mut terminate = signal(SignalKind::terminate()).with_context(deaf)?;
    let mut interrupt = signal(SignalKind::interrupt()).with_context(deaf)?;
    let temporary = args.dir.is_none();
    let directory = match &args.dir {
        Some(directory) => std::path::absolute(directory)?,
        None => std::env::temp_dir().join(format!("yakuba-demo-{}", std::process::id())),
    };

    let outcome = tokio::select! {
        outcome = run(args, directory.clone()) => outcome,
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
    };
    let made = directory.exists();
    if !temporary || !made {
        return outcome;
    }
    if outcome.is_err() {
        // What went wrong stands in the logs there.
        complain(&tr!("{path} は残してあります", "{path} is kept", path = directory.display()));
    } else if let Err(error) = std::fs::remove_dir_all(&directory) {
        complain(&tr!(
            "{path} を消せません: {error}",
            "{path} cannot be removed: {error}",
            path = directory.display()
        ));
    }
    outcome
}

async fn run(args: &DemoArgs, directory: PathBuf) -> anyhow::Result<()> {
    let place = Place::prepare(directory, args.base_port)
        .with_context(|| tr!("デモの場所を用意できません", "the demo's directory cannot be made ready"))?;
    let mut children = Children::start(&place)?;
    // From here on the children stop with this future, however it ends.
    children.wait_until_healthy().await?;
    let made = async {
        let world = people::find_or_make(&place).await;
        let mut world =
            world.with_context(|| tr!("アカウントと部屋を作れません", "accounts and room cannot be made"))?;
        // Without its desk the demo is a smaller one. Somebody may have changed the clerk's password, for instance.
        if let Err(error) = desk::find_or_make(&place, &mut world).await {
            complain(&tr!("窓口を用意できません: {error:#}", "the desk cannot be made ready: {error:#}"));
        }
        if let Err(error) = organisation::find_or_make(&place, &world).await {
            complain(&tr!(
                "組織を用意できません: {error:#}",
                "the organisation cannot be made ready: {error:#}"
            ));
        }
        anyhow::Ok(world)
    };
    // What ends meanwhile is told, for it may be what is waited for.
    let world = tokio::select! {
        world = made => world?,
        ended = children.keep_running(args.restart) => return ended,
    };
    report::print(&place, &children, &world, args.json)?;
    children.keep_running(args.restart).await
}
