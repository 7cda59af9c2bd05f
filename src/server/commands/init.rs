//! `yakuba init`: a commented configuration, the key that it names, and the data, still empty.

use std::path::Path;

use anyhow::{Context, bail};
use base::Random;
use pdu::Authority;

use crate::{
    cli::InitArgs,
    commands::say,
    config::{Backend, Config, REFERENCE},
    files::write_new,
    storage,
    texts::tr,
};

/// Writes a configuration for one authority and its signing key, and begins its data. Nothing is overwritten.
pub(crate) async fn init(args: &InitArgs) -> anyhow::Result<()> {
    let InitArgs { directory, server_name } = args;
    let file = directory.join("yakuba.toml");
    let key = directory.join(key_file(server_name.as_str()));
    for file in [&file, &key] {
        if file.exists() {
            bail!(tr!(
                "{path} はすでにあります。何も書きませんでした",
                "{path} is there already; nothing was written",
                path = file.display()
            ));
        }
    }
    write_key(&key, server_name)?;
    write_new(&file, &reference_for(server_name.as_str()))
        .with_context(|| tr!("{path} に書けません", "{path} cannot be written", path = file.display()))?;
    let config = Config::read(&file)?;
    storage::begin(&config).await.with_context(|| {
        tr!(
            "設定と鍵は作りましたが、データを作れません。`yakuba serve --begin` でやり直せます",
            "configuration and key are made, but the data are not; `yakuba serve --begin` tries again"
        )
    })?;

    say(&tr!("設定: {path}", "configuration: {path}", path = file.display()))?;
    say(&tr!(
        "署名鍵: {path} (控えを安全な場所に)",
        "signing key: {path} (keep a copy in a safe place)",
        path = key.display()
    ))?;
    if config.store.backend == Backend::Rocksdb {
        let data = config.path(&config.store.path);
        say(&tr!("データ: {path} (まだ空です)", "data: {path} (still empty)", path = data.display()))?;
    }
    say(&tr!(
        "client_url を書くと .well-known で知らされます",
        "clients find the server by its name once `client_url` is set (.well-known)"
    ))?;
    say(&tr!(
        "次に: yakuba check --config {path} && yakuba serve --config {path}",
        "next: yakuba check --config {path} && yakuba serve --config {path}",
        path = file.display()
    ))?;
    Ok(())
}

/// Makes a new signing key in a new file that only its owner can read.
pub(crate) fn write_key(path: &Path, server_name: &ruma::ServerName) -> anyhow::Result<()> {
    let directory = path.parent().unwrap_or(Path::new(""));
    std::fs::create_dir_all(directory)
        .with_context(|| tr!("{path} を作れません", "{path} cannot be made", path = directory.display()))?;
    let random = Random::os();
    let version = format!("a_{}", random.token(6));
    let authority = Authority::generate(server_name.to_owned(), &version, &mut |bytes| random.fill(bytes))?;
    write_new(path, &authority.to_key_file())
        .with_context(|| tr!("{path} に書けません", "{path} cannot be written", path = path.display()))
}

/// Where an authority's key is kept; a port in its name is no part of a file name everywhere.
pub(crate) fn key_file(server_name: &str) -> String {
    format!("keys/{}.key", server_name.replace([':', '[', ']'], "_"))
}

/// The reference with this name in place of its example.
pub(crate) fn reference_for(server_name: &str) -> String {
    REFERENCE
        .replace("keys/example.test.key", &key_file(server_name))
        .replace("\"pref.example.test\"", "\u{0}")
        .replace("example.test", server_name)
        .replace('\u{0}', "\"pref.example.test\"")
}
