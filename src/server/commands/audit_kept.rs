//! `yakuba audit kept`, `hold` and `release`: for how long rows are kept, and that none go.

use std::collections::BTreeMap;

use ::audit::{Hold, KeptClass, Retention, written};
use anyhow::anyhow;
use base::Clock;
use http::Method;
use ruma::{OwnedServerName, ServerName};
use serde_json::{Value, json};

use crate::{
    admin::{AUDIT_HOLD, AUDIT_KEPT, AuditOrder, HoldOrder},
    ask::operator,
    causes,
    cli::{StatusArgs, WhichAuthority},
    commands::{Running, authority, data::over_store, say},
    config::Config,
    texts::{japanese, tr},
};

/// Prints for how long rows are kept, of all authorities unless one is named, and which are to go.
pub(crate) async fn kept(args: &StatusArgs) -> anyhow::Result<()> {
    let config = Config::read(&args.which.config.config)?;
    let names: Vec<OwnedServerName> = match &args.which.server_name {
        Some(name) => vec![authority(Some(name), &config)?],
        None => config.authorities.iter().map(|authority| authority.name.clone()).collect(),
    };
    let mut told: BTreeMap<OwnedServerName, Retention> = BTreeMap::new();
    match Running::find(&config).await {
        Some(running) => {
            for name in names {
                let order = serde_json::to_value(AuditOrder { authority: name.clone(), noted: None })?;
                let found = running.must(Method::POST, AUDIT_KEPT, Some(&order)).await?;
                told.insert(name, serde_json::from_value(found)?);
            }
        }
        None => {
            let (servers, now) = (config.log_servers()?, Clock::system().now());
            over_store(&config, async |store| {
                for name in names {
                    let settings = servers.get(&name).map_or(&[][..], Vec::as_slice);
                    let elsewhere = syslog::has_through(store, &name, settings).await;
                    let elsewhere = elsewhere.map_err(|error| anyhow!(causes::of_store(&error)))?;
                    let years = config.audit_years(&name);
                    let found = ::audit::retention(store, &name, &years, elsewhere, now).await;
                    told.insert(name, found.map_err(|error| anyhow!(of_audit(&error)))?);
                }
                Ok(())
            })
            .await?;
        }
    }
    if args.json {
        let told: BTreeMap<_, _> = told.iter().map(|(name, found)| (name, in_json(found))).collect();
        say(&serde_json::to_string_pretty(&told)?)?;
        return Ok(());
    }
    told.iter().try_for_each(|(name, found)| print(name, found))
}

/// The same for programs, with days as they are written.
fn in_json(found: &Retention) -> Value {
    let class = |of: &KeptClass| {
        json!({
            "class": of.class.word(),
            "years": of.years,
            "gone": of.gone,
            "gone_through": of.gone_through.map(|day| day.to_string()),
            "due": of.due,
            "waits": of.waits,
            "next": of.next.map(|day| day.to_string()),
        })
    };
    let hold = found
        .hold
        .as_ref()
        .map(|hold| json!({ "since": written(hold.since), "by": hold.by, "reason": hold.reason }));
    json!({ "classes": found.classes.iter().map(class).collect::<Vec<_>>(), "hold": hold })
}

fn print(authority: &ServerName, found: &Retention) -> anyhow::Result<()> {
    if let Some(Hold { since, by, reason }) = &found.hold {
        let since = written(*since);
        say(&tr!(
            "{authority}: 消去を止めています (保全): {since} から、{by}: {reason}",
            "{authority}: nothing is removed since {since}, by {by}: {reason}"
        ))?;
    }
    for KeptClass { class, years, gone, gone_through, due, waits, next } in &found.classes {
        let (ja, en) = class.names();
        let name = if japanese() { ja } else { en };
        let went = match gone_through {
            Some(day) => tr!("{day} までの {gone} 件を消去済み", "{gone} gone, of days through {day}"),
            None => tr!("{gone} 件を消去済み", "{gone} gone"),
        };
        let state = match (due, waits, next) {
            (0, _, None) => String::new(),
            (0, _, Some(next)) => tr!("、次は {next} から", ", the next on {next} or later"),
            (due, true, _) => tr!(
                "、消去の対象が {due} 件の中にあり、ログサーバーへの送信を待っています",
                ", some of {due} rows are due and wait for a log server"
            ),
            (due, false, _) => {
                tr!("、消去の対象が {due} 件の中にあります", ", some of {due} rows are due")
            }
        };
        say(&tr!(
            "{authority}: {name}: {years} 年、{went}{state}",
            "{authority}: {name}: {years} year(s), {went}{state}"
        ))?;
    }
    Ok(())
}

/// Says that no rows go any more, and why; without a reason, that they may go again.
pub(crate) async fn hold(which: &WhichAuthority, reason: Option<String>) -> anyhow::Result<()> {
    let config = Config::read(&which.config.config)?;
    let name = authority(which.server_name.as_ref(), &config)?;
    let order = HoldOrder { authority: name.clone(), reason };
    let changed = match Running::find(&config).await {
        Some(running) => {
            let body = serde_json::to_value(&order)?;
            running.must(Method::POST, AUDIT_HOLD, Some(&body)).await?["changed"] == true
        }
        None => {
            let (by, now) = (::audit::Actor::operator(&operator()), Clock::system().now());
            over_store(&config, async |store| {
                order.carry_out(store, &by, now).await.map_err(|error| anyhow!(of_audit(&error)))
            })
            .await?
        }
    };
    say(&match (order.reason.is_some(), changed) {
        (true, true) => {
            tr!("{name}: 監査ログの記録の消去を止めました", "{name}: no rows of the audit log go any more")
        }
        (true, false) => tr!("{name}: 消去は前から止まっています", "{name}: nothing goes already"),
        (false, true) => tr!(
            "{name}: 保存期間を過ぎた記録は、また消去されます",
            "{name}: rows that were kept long enough go again"
        ),
        (false, false) => tr!("{name}: 消去は止まっていません", "{name}: nobody has had them stay"),
    })?;
    Ok(())
}

fn of_audit(error: &::audit::Error) -> String {
    match error {
        ::audit::Error::Store(cause) => causes::of_store(cause),
        ::audit::Error::Commit(store::CommitError::Store(cause)) => causes::of_store(cause),
        ::audit::Error::Commit(_) | ::audit::Error::Moving => tr!(
            "ほかの処理と重なりました。もう一度お試しください",
            "somebody else was at it meanwhile; please try again"
        ),
        ::audit::Error::Wrong(_) => tr!(
            "監査ログが合いません。yakuba audit verify で確かめてください",
            "the audit log does not fit; see `yakuba audit verify`"
        ),
    }
}
