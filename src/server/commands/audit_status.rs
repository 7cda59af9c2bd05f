//! `yakuba audit status`: how far the log servers of an authority have its audit log.

use std::process::ExitCode;

use ::audit::written;
use http::Method;
use ruma::{OwnedServerName, ServerName};
use syslog::Status;

use crate::{
    admin::{AUDIT_STATUS, AuditOrder},
    causes,
    cli::StatusArgs,
    commands::{Running, authority, data::over_store, say},
    config::Config,
    texts::{japanese, tr},
};

/// Prints how the log servers are, of all authorities unless one is named; a failure where nothing goes to one of them.
pub(crate) async fn status(args: &StatusArgs) -> anyhow::Result<ExitCode> {
    let config = Config::read(&args.which.config.config)?;
    let names: Vec<OwnedServerName> = match &args.which.server_name {
        Some(name) => vec![authority(Some(name), &config)?],
        None => config.authorities.iter().map(|authority| authority.name.clone()).collect(),
    };
    let mut told = Vec::with_capacity(names.len());
    match Running::find(&config).await {
        Some(running) => {
            for name in names {
                let order = serde_json::to_value(AuditOrder { authority: name.clone(), noted: None })?;
                let found = running.must(Method::POST, AUDIT_STATUS, Some(&order)).await?;
                told.push((name, serde_json::from_value(found)?));
            }
        }
        None => {
            let servers = config.log_servers()?;
            over_store(&config, async |store| {
                for name in names {
                    let settings = servers.get(&name).map_or(&[][..], Vec::as_slice);
                    let found = syslog::status(store, &name, settings).await;
                    told.push((name, found.map_err(|error| anyhow::anyhow!(causes::of_store(&error)))?));
                }
                Ok(())
            })
            .await?;
        }
    }
    let is_well = told.iter().all(|(_, all): &(_, Vec<Status>)| all.iter().all(|one| one.failing.is_none()));
    if args.json {
        let told: std::collections::BTreeMap<_, _> = told.into_iter().collect();
        say(&serde_json::to_string_pretty(&told)?)?;
    } else {
        for (name, all) in &told {
            print(name, all)?;
        }
    }
    Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn print(authority: &ServerName, all: &[Status]) -> anyhow::Result<()> {
    if all.is_empty() {
        say(&tr!(
            "{authority}: ログサーバーは設定されていません ([[authorities.syslog]])",
            "{authority}: no log server is set ([[authorities.syslog]])"
        ))?;
    }
    for Status { destination, place, is_tls, sent, waiting, waiting_since, last, failing } in all {
        let way = if *is_tls { "TLS" } else { "TCP" };
        say(&tr!(
            "{authority}: {destination} ({place}、{way}): {sent} 件目まで送信済み、残り {waiting} 件",
            "{authority}: {destination} ({place}, {way}): sent through row {sent}, {waiting} row(s) left"
        ))?;
        if let Some(since) = waiting_since {
            let since = written(*since);
            say(&tr!("  送っていない最初の記録: {since}", "  the first row that is left: {since}"))?;
        }
        if let Some(last) = last {
            let last = written(*last);
            say(&tr!("  最後に送れた時刻: {last}", "  last sent: {last}"))?;
        }
        if let Some((since, fault)) = failing {
            let (since, (ja, en)) = (written(*since), fault.words());
            let why = if japanese() { ja } else { en };
            say(&tr!("  {since} から送れていません: {why}", "  nothing goes there since {since}: {why}"))?;
        }
    }
    Ok(())
}
