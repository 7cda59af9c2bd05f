//! [`main`]: the program of a service, with its commands.

use std::{
    io::{IsTerminal, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use clap::{Args, FromArgMatches, Subcommand};
use tokio::{
    io::AsyncReadExt,
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{info, warn};
use tracing_subscriber::EnvFilter;

use crate::{
    bot::{Bot, Host},
    config::Config,
    homeserver::Homeserver,
    inbox::Inbox,
    listen::{self, Bounds, Desk},
    registration::Registration,
    store::Store,
};

/// Time for an orderly end.
const LAST_MOMENTS: Duration = Duration::from_secs(15);

#[derive(Debug, Args)]
struct ConfigArgs {
    /// 設定ファイル / the configuration file
    #[arg(long)]
    config: PathBuf,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// 動かす / run
    Serve {
        #[command(flatten)]
        config: ConfigArgs,
        /// 標準入力が閉じたら終わる / end when the standard input ends
        #[arg(long)]
        until_stdin_ends: bool,
    },
    /// ホームサーバーに渡す登録ファイルを作る / write the registration for the homeserver
    Registration(ConfigArgs),
    /// 設定を確かめる / look at the configuration
    Check(ConfigArgs),
}

/// The whole program of a bot.
pub fn main<B: Bot>() -> ExitCode {
    let command = clap::Command::new(B::ID).about(B::ABOUT).version(env!("CARGO_PKG_VERSION"));
    let matches = Command::augment_subcommands(command).subcommand_required(true).get_matches();
    let outcome = Command::from_arg_matches(&matches).map_err(Into::into).and_then(run::<B>);
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to tell when that fails.
            writeln!(std::io::stderr(), "{error:#}").ok();
            ExitCode::FAILURE
        }
    }
}

fn run<B: Bot>(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Serve { config, until_stdin_ends } => {
            tracing_subscriber::fmt()
                .with_env_filter(EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info")))
                .with_writer(std::io::stderr)
                .with_ansi(std::io::stderr().is_terminal())
                .init();
            let config = read::<B>(&config.config)?;
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
            let outcome = runtime.block_on(serve::<B>(config, until_stdin_ends));
            // A read of the standard input may hang for ever.
            runtime.shutdown_background();
            outcome
        }
        Command::Registration(args) => {
            let config = read::<B>(&args.config)?;
            let path = config.path(&config.appservice.registration);
            let url = config.appservice.url.as_str();
            Registration::write(&path, B::ID, url, sender::<B>(&config), &B::claims(&config))?;
            let shown = path.display();
            Ok(writeln!(
                std::io::stdout(),
                "{shown} を作りました。ホームサーバーの設定に加え、再起動してください / \
                 {shown} is made; name it in the homeserver's configuration and restart that"
            )?)
        }
        Command::Check(args) => {
            let config = read::<B>(&args.config)?;
            Registration::read(&config.path(&config.appservice.registration))?;
            Ok(writeln!(std::io::stdout(), "設定に誤りはありません / no mistakes")?)
        }
    }
}

fn sender<B: Bot>(config: &Config<B::Settings>) -> &str {
    config.appservice.sender.as_deref().unwrap_or(B::SENDER)
}

/// A configuration without mistakes.
fn read<B: Bot>(path: &Path) -> anyhow::Result<Config<B::Settings>> {
    let config = Config::read(path)?;
    let mut mistakes = B::mistakes(&config);
    for (key, url) in [("homeserver.url", &config.homeserver.url), ("appservice.url", &config.appservice.url)]
    {
        if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
            mistakes
                .push(format!("{key}: http か https の URL が必要です / a URL of http or https is needed"));
        }
    }
    anyhow::ensure!(mistakes.is_empty(), "{}:\n  {}", path.display(), mistakes.join("\n  "));
    Ok(config)
}

/// Runs until a signal, or until the standard input ends.
async fn serve<B: Bot>(config: Config<B::Settings>, until_stdin_ends: bool) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let registration = Registration::read(&config.path(&config.appservice.registration))?;
    let homeserver = Homeserver::open(&config.homeserver, config.tls()?, &registration)?;
    let store = Store::open(&config.path(&config.store.path))?;
    let inbox = Inbox::open(&store).await?;
    let address = config.listener.address;
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("{address} で待ち受けられません / {address} cannot be listened on"))?;

    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let host = Host { config: Arc::new(config), homeserver, store, tasks: tasks.clone(), stop: stop.clone() };
    let bot = B::start(host).await?;
    let desk = Desk { bot: bot.clone(), inbox: inbox.clone(), hs_token: registration.hs_token };
    tasks.spawn(listen::serve(listener, listen::router(Arc::new(desk)), Bounds::default(), stop.clone()));
    tasks.spawn(inbox.work(bot, stop.clone()));
    info!(bot = B::ID, %address, "listening");

    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        () = stdin_ends(), if until_stdin_ends => {}
    }
    info!("ending");
    stop.cancel();
    tasks.close();
    if timeout(LAST_MOMENTS, tasks.wait()).await.is_err() {
        warn!(count = tasks.len(), "tasks are cut");
    }
    Ok(())
}

async fn stdin_ends() {
    let mut stdin = tokio::io::stdin();
    let mut some = [0; 64];
    while stdin.read(&mut some).await.is_ok_and(|count| count > 0) {}
}
