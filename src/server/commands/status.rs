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
    for reader in passed_over(&status) {
        say(&tr!(
            "{reader} は log_days_at_most より長く変更ログを読まなかったため、もう待たれていません",
            "{reader} has not read the log of changes for longer than log_days_at_most, which does not wait for it any more"
        ))?;
    }
    if status.get("read_only_because").is_some_and(|reason| !reason.is_null()) {
        say(&tr!("書き込めません。読むことはできます", "nothing can be written; reading works"))?;
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

/// The readers of the log for which it does not wait any more.
fn passed_over(status: &serde_json::Value) -> impl Iterator<Item = &str> {
    let readers = status.pointer("/log/readers").and_then(|readers| readers.as_array());
    let readers = readers.into_iter().flatten();
    let passed_over = readers.filter(|reader| reader.get("passed_over").is_some_and(|it| *it == true));
    passed_over.filter_map(|reader| reader.get("reader")?.as_str())
}
