//! What the bot sees to by itself: its name, aliases that tell whose rooms they are, and memos whose time is over.

use std::{sync::Arc, time::Duration};

use bot_kit::{Batch, Failure, now_ms, ruma::UserId};
use tracing::warn;

use crate::{
    bot::{Memo, millis},
    errands, texts,
};

/// Memos of one round.
const ROUND: usize = 100;

/// It is looked again after this at the latest.
const PAUSE: Duration = Duration::from_secs(60);

/// Starts it.
pub(crate) fn start(bot: &Arc<Memo>) {
    let (keeper, runner, hider) = (bot.clone(), bot.clone(), bot.clone());
    bot.host.tasks.spawn(async move {
        let stop = keeper.host.stop.clone();
        stop.run_until_cancelled(keep(&keeper)).await;
    });
    bot.host.tasks.spawn(async move {
        let stop = runner.host.stop.clone();
        stop.run_until_cancelled(errands::run(&runner)).await;
    });
    bot.host.tasks.spawn(async move {
        let stop = hider.host.stop.clone();
        stop.run_until_cancelled(hide(&hider)).await;
    });
}

/// Makes sure of the bot's user and its name; then memos go when their time is over.
async fn keep(bot: &Memo) {
    bot.host.homeserver.introduce(&bot.host.config.bot.display_name).await;
    let Some(keep) = bot.host.config.bot.keep else { return };
    let keep_ms = millis(keep.0);
    loop {
        // Before the look: what comes meanwhile must wake us.
        let more = bot.more_memos.notified();
        let wait = match round(bot, keep_ms).await {
            Ok(wait) => wait,
            Err(error) => {
                warn!(%error, "memos whose time is over could not be deleted");
                PAUSE
            }
        };
        // A wake or the end of the wait: either has us look again.
        tokio::time::timeout(wait.min(PAUSE), more).await.ok();
    }
}

/// Replaces aliases that tell whose rooms they are.
async fn hide(bot: &Memo) {
    while let Err(error) = bot.rooms.hide_all().await {
        warn!(%error, "aliases that tell whose rooms they are could not be replaced");
        tokio::time::sleep(PAUSE).await;
    }
}

/// Deletes what is due; how long nothing else is.
async fn round(bot: &Memo, keep_ms: u64) -> Result<Duration, Failure> {
    loop {
        let now = now_ms();
        let (due, next) = bot.memos.written_before(now.saturating_sub(keep_ms), ROUND).await?;
        if due.is_empty() {
            let wait = next.map(|at| at.saturating_add(keep_ms).saturating_sub(now).max(1));
            return Ok(wait.map_or(PAUSE, Duration::from_millis));
        }
        for (user, memo) in due {
            let Ok(user) = UserId::parse(user) else { continue };
            let mut batch = Batch::new();
            bot.memos
                .delete(&user, &memo.room, std::slice::from_ref(&memo), texts::EXPIRED, &mut batch)
                .await?;
            bot.host.store.commit(batch).await?;
        }
    }
}
