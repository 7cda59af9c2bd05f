//! Invites: who asks the bot into a room is shown his own one.
//!
//! A room of another server may hang for whoever joins or leaves it, so invites are answered beside the events.

use bot_kit::{Batch, Event, Failure};
use serde_json::json;
use tracing::info;

use crate::{
    bot::{Memo, tolerated},
    errands::{self, Kind, Lane, Step, What},
    rooms::Own,
    texts,
};

/// Notes that somebody asked the bot into a room.
///
/// # Errors
/// [`Failure`]
pub(crate) async fn note(bot: &Memo, event: &Event) -> Result<Batch, Failure> {
    let (kind, whose) = if is_own(bot, event) {
        (Kind::Invite, event.sender.as_str())
    } else {
        (Kind::Stranger, event.sender.server_name().as_str())
    };
    let lane = Lane { kind, whose: whose.to_owned() };
    let mut batch = Batch::new();
    let what = What::Invite(event.clone());
    errands::note(bot, lane, event.event_id.clone(), event.received_ms, what, &mut batch).await?;
    Ok(batch)
}

/// Whether somebody of this authority asks, and not somebody outside by a user of another service.
fn is_own(bot: &Memo, event: &Event) -> bool {
    !event.of_service && event.sender.server_name() == bot.host.user().server_name()
}

/// Answers an invite: the user's own room is shown to him, and the bot leaves.
///
/// # Errors
/// [`Failure`] that may pass.
pub(crate) async fn step(bot: &Memo, event: &Event) -> Result<Step, Failure> {
    let (user, room, homeserver) = (&event.sender, &event.room_id, &bot.host.homeserver);
    if !is_own(bot, event) {
        info!(room_id = %room, user_id = %user, "an invite is refused: who asks is nobody of this authority");
        tolerated(homeserver.leave(room, texts::STRANGER).await)?;
        return Ok(Step::DONE);
    }
    let Own { room: own, is_open } = bot.rooms.find_or_make(user).await?;
    if event.content.get("is_direct") != Some(&json!(true)) {
        let reason = if is_open { texts::NOT_DIRECT } else { texts::NOT_INVITED };
        tolerated(homeserver.leave(room, reason).await)?;
        return Ok(Step::DONE);
    }
    let answer = async {
        homeserver.join(room).await?;
        let link = format!("https://matrix.to/#/{own}?via={}", user.server_name());
        let text = texts::moved(&bot.host.config.bot.room_name, &link);
        bot.say(event, if is_open { &text } else { texts::NOT_INVITED }).await?;
        homeserver.leave(room, texts::MOVED).await
    };
    // Who has taken his invite back has his room nevertheless.
    tolerated(answer.await)?;
    Ok(Step::DONE)
}
