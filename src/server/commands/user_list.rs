//! `yakuba user list`: the accounts of an authority, or those that nobody has used for some days.

use base::{Clock, Timestamp};
use clap::Args;
use http::Method;

use crate::{
    cli::WhichAuthority,
    commands::{Running, authority, say, user::over_house},
    config::Config,
    questions::{LIST_USERS, UserTold, UsersOrder},
    texts::tr,
};

/// Which accounts.
#[derive(Debug, Args)]
pub(crate) struct UserListArgs {
    #[command(flatten)]
    which: WhichAuthority,
    /// この日数より長く使われていないものだけ。一度も使われていなければ作成から数える / Those alone that nobody has used for more than so many days; of who never was there, since the account was made
    #[arg(long, value_name = "DAYS")]
    dormant: Option<u32>,
    /// JSON で表示する / In JSON
    #[arg(long)]
    json: bool,
}

/// Prints the accounts, those that are dormant with the oldest first.
pub(crate) async fn list(args: &UserListArgs) -> anyhow::Result<()> {
    let config = Config::read(&args.which.config.config)?;
    let authority = authority(args.which.server_name.as_ref(), &config)?;
    let order = UsersOrder { authority, dormant_days: args.dormant };
    let told: Vec<UserTold> = match Running::find(&config).await {
        Some(running) => {
            let body = serde_json::to_value(&order)?;
            serde_json::from_value(running.must(Method::POST, LIST_USERS, Some(&body)).await?)?
        }
        None => {
            over_house(&config, async |house, _| {
                Ok(order.carry_out(&house.accounts, Clock::system().now()).await?)
            })
            .await?
        }
    };
    if args.json {
        return Ok(say(&serde_json::to_string_pretty(&told)?)?);
    }
    if told.is_empty() {
        say(&tr!("該当するアカウントはありません", "there are no such accounts"))?;
    }
    let day = |at: u64| audit::written(Timestamp(at)).get(..10).unwrap_or_default().to_owned();
    for UserTold { user_id, display_name, created, seen, locked, suspended, admin } in told {
        let last = match seen {
            Some(at) => tr!("最後の利用 {day}", "last used {day}", day = day(at)),
            None => tr!("利用なし、作成 {day}", "never used, made {day}", day = day(created)),
        };
        let facts = [
            (locked, tr!("ロック中", "locked")),
            (suspended, tr!("利用停止中", "suspended")),
            (admin, tr!("管理者", "administrator")),
        ];
        let facts: String =
            facts.into_iter().filter(|(is, _)| *is).map(|(_, word)| format!("  {word}")).collect();
        say(&format!("{user_id}  {}  {last}{facts}", display_name.unwrap_or_default()))?;
    }
    Ok(())
}
