//! `yakuba policy`: what somebody may, from where, and why; by the running server or, when none runs, by its data.

use std::time::Duration;

use anyhow::{anyhow, bail};
use clap::{Args, Subcommand};
use classes::{Explained, Line};
use http::Method;
use organisation::Told;

use crate::{
    causes,
    cli::WhichUser,
    commands::{Running, say, user::user_id},
    config::Config,
    house::{Foundation, House},
    questions::{EXPLAIN, ExplainOrder},
    storage::Data,
    texts::{japanese, tr},
};

/// What there is to do about what people may.
#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// ある利用者に何ができるか、その理由とともに表示する / tells what a user may, and why
    Explain(ExplainArgs),
}

/// Of whom, and where.
#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    #[command(flatten)]
    user: WhichUser,
    /// ネットワーク区域 (設定の [zones])。なければ区域の分からない接続 / The network zone in which the user is ([zones] of the configuration); without it, none that is known
    #[arg(long)]
    zone: Option<String>,
    /// JSON で表示する / In JSON
    #[arg(long)]
    json: bool,
}

/// Does what is wanted.
pub(crate) async fn run(command: &PolicyCommand) -> anyhow::Result<()> {
    match command {
        PolicyCommand::Explain(args) => explain(args).await,
    }
}

async fn explain(args: &ExplainArgs) -> anyhow::Result<()> {
    let config = Config::read(&args.user.config.config)?;
    let order = ExplainOrder { user_id: user_id(&args.user, &config)?, zone: args.zone.clone() };
    let zone = match &order.zone {
        Some(name) => match config.zone(name) {
            Some(zone) => Some(zone),
            None => bail!(tr!("[zones.{name}] がありません", "there is no [zones.{name}]")),
        },
        None => None,
    };
    let explained: Explained = match Running::find(&config).await {
        Some(running) => {
            let body = serde_json::to_value(&order)?;
            serde_json::from_value(running.must(Method::POST, EXPLAIN, Some(&body)).await?)?
        }
        None => {
            let house = House::open(&config, Foundation::of(&config, Data::MustExist).await?).await?;
            let done = order.carry_out(&house.accounts, &house.classes).await;
            house.close(Duration::from_secs(10)).await;
            done.map_err(|error| anyhow!(causes::of_account(&error)))?
        }
    };
    let explained = explained.with_files(zone.as_ref());
    if args.json {
        return Ok(say(&serde_json::to_string_pretty(&explained)?)?);
    }
    let class = match &explained.class {
        Some(class) => spoken(class).to_owned(),
        None => tr!("制限のある区分ではありません", "none of which something is said"),
    };
    let zone = explained.zone.clone().unwrap_or_else(|| tr!("区域の設定なし", "none that is known"));
    say(&tr!("利用者: {user}", "user: {user}", user = order.user_id))?;
    say(&tr!("任用区分: {class}", "class of employment: {class}"))?;
    say(&tr!("ネットワーク区域: {zone}", "network zone: {zone}"))?;
    for Line { what, may, is_bounded, why } in &explained.lines {
        let mark = if *is_bounded { "*" } else { " " };
        let (what, may, why) = (spoken(what), spoken(may), spoken(why));
        say(&tr!("{mark} {what}: {may}（{why}）", "{mark} {what}: {may} ({why})"))?;
    }
    Ok(())
}

fn spoken(told: &Told) -> &str {
    if japanese() { &told.ja } else { &told.en }
}
