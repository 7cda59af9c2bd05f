//! `yakuba check`: is the configuration usable, with all files that it names, on this machine?

use std::{path::Path, process::ExitCode};

use rustix::fs::Access;

use crate::{
    cli::ConfigArg,
    commands::{Running, complain, say},
    config::{Backend, Config},
    storage,
    texts::tr,
    tls::Certificates,
};

/// Reads the configuration and every file that it names, and looks at the place of the data and at the ports.
/// Tells everything that is wrong at once.
pub(crate) async fn check(args: &ConfigArg) -> anyhow::Result<ExitCode> {
    let config = Config::read(&args.config)?;
    let mut problems = config.unreadable_files();
    if problems.is_empty() {
        // What is in the files is looked at once all of them are there.
        let contents = [
            config.load_authorities().err(),
            config.account_config().err(),
            config.federation_config().err(),
            Certificates::open(&config).err().map(anyhow::Error::from),
        ];
        problems.extend(contents.into_iter().flatten().map(|error| format!("{error:#}")));
    }
    problems.extend(wrong_with_data(&config));
    if Running::find(&config).await.is_none() {
        problems.extend(ports_in_use(&config));
    }
    for file in config.exposed_secrets() {
        complain(&tr!(
            "{path}: 他の利用者も読めます (chmod go= で直ります)",
            "{path}: others may read it (chmod go= mends it)",
            path = file.display()
        ));
    }
    if !problems.is_empty() {
        for problem in &problems {
            complain(problem);
        }
        complain(&tr!(
            "{path}: {count} 件の問題",
            "{path}: {count} problem(s)",
            path = args.config.display(),
            count = problems.len()
        ));
        return Ok(ExitCode::FAILURE);
    }
    for authority in config.load_authorities()?.iter() {
        say(&format!("{}: {} {}", authority.name(), authority.key_id(), authority.public_key_base64()))?;
    }
    say(&tr!("{path}: 問題ありません", "{path}: no problem found", path = args.config.display()))?;
    Ok(ExitCode::SUCCESS)
}

/// Whether the data are there and can be written.
fn wrong_with_data(config: &Config) -> Option<String> {
    if config.store.backend != Backend::Rocksdb {
        return None;
    }
    let path = std::path::absolute(config.path(&config.store.path)).ok()?;
    let there = path.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    if !there.is_dir() {
        return Some(tr!(
            "{there} はディレクトリではないので、{path} にデータを置けません",
            "{there} is no directory, so data cannot be kept in {path}",
            there = there.display(),
            path = path.display()
        ));
    }
    if let Err(error) = rustix::fs::access(there, Access::WRITE_OK | Access::EXEC_OK) {
        return Some(tr!(
            "{path} にデータを書けません: {error}",
            "data cannot be written to {path}: {error}",
            path = there.display()
        ));
    }
    storage::must_exist(config).err().map(|error| error.to_string())
}

/// The addresses that cannot be listened on.
fn ports_in_use(config: &Config) -> Vec<String> {
    let error = |address: std::net::SocketAddr| {
        let error = std::net::TcpListener::bind(address).err()?;
        Some(tr!("{address} で待ち受けられません: {error}", "{address} cannot be listened on: {error}"))
    };
    config.listeners.iter().filter_map(|listener| error(listener.address)).collect()
}
