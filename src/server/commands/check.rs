//! `yakuba check`: is the configuration usable, with all files that it names?

use anyhow::Context;

use crate::{cli::ConfigArg, commands::say, config::Config, tls::Certificates};

/// Reads the configuration and every file that it names.
pub(crate) fn check(args: &ConfigArg) -> anyhow::Result<()> {
    let config = Config::read(&args.config)?;
    let authorities = config.load_authorities()?;
    config.account_config()?;
    config.federation_config()?;
    Certificates::open(&config)?;
    for file in &config.federation.ca_files {
        let path = config.path(file);
        std::fs::metadata(&path).with_context(|| format!("{} cannot be read", path.display()))?;
    }
    if let Some(file) = &config.store.url_file {
        config.secret(file)?;
    }
    for authority in authorities.iter() {
        say(&format!("{}: {} {}", authority.name(), authority.key_id(), authority.public_key_base64()))?;
    }
    say(&format!("{}: 問題ありません / no problem found", args.config.display()))?;
    Ok(())
}
