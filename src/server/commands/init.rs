//! `yakuba init`: a commented configuration and the keys that it names.

use std::path::Path;

use anyhow::{Context, bail};
use base::Random;
use pdu::Authority;

use crate::{cli::InitArgs, commands::say, config::REFERENCE, serve::write_private, texts::tr};

/// Writes a configuration for one authority and its signing key. Nothing is overwritten.
pub(crate) fn init(args: &InitArgs) -> anyhow::Result<()> {
    let InitArgs { directory, server_name } = args;
    let config = directory.join("yakuba.toml");
    let key = directory.join(key_file(server_name.as_str()));
    for file in [&config, &key] {
        if file.exists() {
            bail!(tr!(
                "{path} はすでにあります。何も書きませんでした",
                "{path} is there already; nothing was written",
                path = file.display()
            ));
        }
    }
    write_key(&key, server_name)?;
    std::fs::write(&config, reference_for(server_name.as_str()))
        .with_context(|| tr!("{path} に書けません", "{path} cannot be written", path = config.display()))?;

    say(&tr!("設定: {path}", "configuration: {path}", path = config.display()))?;
    say(&tr!(
        "署名鍵: {path} (控えを安全な場所に)",
        "signing key: {path} (keep a copy in a safe place)",
        path = key.display()
    ))?;
    say(&tr!(
        "client_url を書くと .well-known で知らされます",
        "clients find the server by its name once `client_url` is set (.well-known)"
    ))?;
    say(&tr!(
        "次に: yakuba check --config {path} && yakuba serve --config {path}",
        "next: yakuba check --config {path} && yakuba serve --config {path}",
        path = config.display()
    ))?;
    Ok(())
}

/// Makes a new signing key in a file that only its owner can read.
pub(crate) fn write_key(path: &Path, server_name: &ruma::ServerName) -> anyhow::Result<()> {
    let directory = path.parent().unwrap_or(Path::new(""));
    std::fs::create_dir_all(directory)
        .with_context(|| tr!("{path} を作れません", "{path} cannot be made", path = directory.display()))?;
    let random = Random::os();
    let version = format!("a_{}", random.token(6));
    let authority = Authority::generate(server_name.to_owned(), &version, &mut |bytes| random.fill(bytes))?;
    write_private(path, &authority.to_key_file())
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
