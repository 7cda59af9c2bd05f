//! `yakuba check`: is the configuration usable, with all files that it names, on this machine?

use std::{os::unix::fs::MetadataExt, path::Path, process::ExitCode};

use anyhow::anyhow;
use base::{Clock, Metrics, Random, Tasks};
use federation::Network;
use rustix::fs::Access;

use crate::{
    causes,
    cli::ConfigArg,
    commands::{Running, complain, say},
    config::{Backend, Config},
    storage,
    texts::tr,
    tls::{self, Certificates},
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
            config.smtp().err(),
            config.push_apps().err(),
            config.scim().err(),
            config.ldap().err(),
            config.log_servers().err(),
            wrong_with_network(&config).err(),
            Certificates::open(&config).err().map(|error| anyhow!(tls::told(&error))),
        ];
        problems.extend(contents.into_iter().flatten().map(|error| format!("{error:#}")));
    }
    problems.extend(wrong_with_data(&config).await);
    if problems.is_empty() {
        problems.extend(wrong_with_bucket(&config).await);
        problems.extend(wrong_with_directories(&config).await);
        problems.extend(wrong_with_log_servers(&config).await);
    }
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
    for (name, back, sign_out) in config.addresses_for_providers() {
        say(&tr!(
            "{name}: 認証基盤に登録するもの: redirect_uri {back} backchannel_logout_uri {sign_out}",
            "{name}: to be entered at the identity provider: redirect_uri {back} backchannel_logout_uri {sign_out}",
        ))?;
    }
    say(&tr!("{path}: 問題ありません", "{path}: no problem found", path = args.config.display()))?;
    Ok(ExitCode::SUCCESS)
}

/// Whether the way to other servers can be opened.
fn wrong_with_network(config: &Config) -> anyhow::Result<()> {
    let network = config.federation_config()?.network;
    let opened = Network::open(&network, &Clock::system(), &Random::os(), &Metrics::new());
    opened.map(|_| ()).map_err(|error| anyhow!(causes::of_network(&error)))
}

/// Whether the bucket of media is there and takes files.
async fn wrong_with_bucket(config: &Config) -> Option<String> {
    let bucket = match config.bucket() {
        Ok(bucket) => bucket?,
        Err(error) => return Some(format!("{error:#}")),
    };
    let error = media::look_at_bucket(&bucket).await.err()?;
    let cause = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
    Some(tr!(
        "メディアのバケット {bucket} を使えません: {cause}",
        "the bucket {bucket} of media cannot be used: {cause}",
        bucket = bucket.bucket
    ))
}

/// Whether the directories can be read, and what of them cannot be followed; how many people they tell of.
async fn wrong_with_directories(config: &Config) -> Vec<String> {
    let (clock, tasks, mut problems) = (Clock::system(), Tasks::new(&Metrics::new()), Vec::new());
    // What is wrong with their files has been told.
    for (authority, all) in config.ldap().unwrap_or_default() {
        for settings in all {
            let source = &settings.name;
            match ldap::look(&settings, clock.now(), &tasks).await {
                Ok(ldap::Looked { people, active, administrators, references }) => {
                    let administer = administrators.map_or_else(String::new, |count| {
                        tr!("、管理者のグループに {count} 人", ", {count} in the group of administrators")
                    });
                    complain(&tr!(
                        "{authority} の LDAP {source}: {people} 人 (在籍 {active} 人{administer}、他サーバーへの参照 {references} 件)",
                        "LDAP {source} of {authority}: {people} people, {active} of them in{administer}, {references} references to other servers"
                    ));
                }
                Err(words) => {
                    let (ja, en) = (words.ja, words.en);
                    problems.push(tr!(
                        "{authority} の LDAP {source}: {ja}",
                        "LDAP {source} of {authority}: {en}"
                    ));
                }
            }
        }
    }
    problems
}

/// Which log servers take no connection.
async fn wrong_with_log_servers(config: &Config) -> Vec<String> {
    let (clock, mut problems) = (Clock::system(), Vec::new());
    // What is wrong with their files has been told.
    for (authority, all) in config.log_servers().unwrap_or_default() {
        for settings in all {
            if let Err(fault) = syslog::look(&settings, &clock).await {
                let (name, (ja, en)) = (&settings.name, fault.words());
                problems.push(tr!(
                    "{authority} のログサーバー {name}: {ja}",
                    "log server {name} of {authority}: {en}"
                ));
            }
        }
    }
    problems
}

/// Whether the data are there and can be written; of a database, whether it is there and has been begun.
pub(crate) async fn wrong_with_data(config: &Config) -> Option<String> {
    match config.store.backend {
        Backend::Rocksdb => wrong_with_files(config).await,
        Backend::Postgres => must_exist(config).await,
        // They begin with each start.
        Backend::Memory => None,
    }
}

async fn must_exist(config: &Config) -> Option<String> {
    storage::must_exist(config).await.err().map(|error| format!("{error:#}"))
}

async fn wrong_with_files(config: &Config) -> Option<String> {
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
            path = there.display(),
            error = causes::of_io(&error.into())
        ));
    }
    must_exist(config).await.or_else(|| files_of_others(&path))
}

/// Data that were made by another user than the one who is to serve them: by root, for instance, who ran
/// a command over them. Whoever runs this must reach every file; root, who reaches all, wants one owner.
fn files_of_others(data: &Path) -> Option<String> {
    let owner = std::fs::metadata(data).ok()?.uid();
    let root = rustix::process::geteuid().is_root();
    let entries = std::fs::read_dir(data).ok()?.filter_map(Result::ok);
    let mut closed = entries.map(|entry| entry.path()).filter(|path| {
        if root {
            // What is gone by now was a file of the running server.
            std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.uid() != owner)
        } else {
            rustix::fs::access(path, Access::READ_OK | Access::WRITE_OK)
                .is_err_and(|error| error != rustix::io::Errno::NOENT)
        }
    });
    let first = closed.next()?;
    let count = closed.count() + 1;
    let holder = std::fs::symlink_metadata(&first).map(|metadata| metadata.uid()).unwrap_or_default();
    Some(tr!(
        "{path} などデータの {count} 個のファイルが別の利用者 (uid {holder}) のもので、読み書きできません。\
         `chown -R` で {data} の持ち主 (uid {owner}) に揃えてください",
        "{count} file(s) of the data, such as {path}, belong to another user (uid {holder}) and cannot be read \
         and written; give them to the owner of {data} (uid {owner}) with `chown -R`",
        path = first.display(),
        data = data.display()
    ))
}

/// The addresses that cannot be listened on.
fn ports_in_use(config: &Config) -> Vec<String> {
    let error = |address: std::net::SocketAddr| {
        let error = std::net::TcpListener::bind(address).err()?;
        Some(tr!(
            "{address} で待ち受けられません: {error}",
            "{address} cannot be listened on: {error}",
            error = causes::of_io(&error)
        ))
    };
    config.listeners.iter().filter_map(|listener| error(listener.address)).collect()
}
