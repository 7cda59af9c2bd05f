//! `yakuba status`: how the running server is.

use std::process::ExitCode;

use http::Method;

use crate::{
    cli::ConfigArg,
    commands::{Running, say},
    config::Config,
    texts::tr,
};

/// Prints what the running server says of itself; a failure when none runs.
pub(crate) async fn status(args: &ConfigArg) -> anyhow::Result<ExitCode> {
    let config = Config::read(&args.config)?;
    let Some(running) = Running::find(&config).await else {
        say(&tr!(
            "動いていません (または管理用の待ち受けに届きません)",
            "not running (or its admin listener cannot be reached)"
        ))?;
        return Ok(ExitCode::FAILURE);
    };
    let status = running.must(Method::GET, "/_yakuba/v1/status", None).await?;
    say(&serde_json::to_string_pretty(&status)?)?;
    if status.get("read_only_because").is_some_and(|reason| !reason.is_null()) {
        say(&tr!("書き込めません。読むことはできます", "nothing can be written; reading works"))?;
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}
