//! The desk (窓口): the room of a town into which files come over a drop link (受取URL) and reports over a webhook.
//!
//! Room and link are made as a clerk makes them: he asks the bots in and writes the command; the bot answers with the link.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use base::Random;
use http::Method;
use serde_json::{Value, json};

use super::{
    bot::{Bot, Kind},
    people::{Member, escaped},
    place::{Desk, Place, Server, World},
    story::{CLERKS, DESK_ALIAS, DESK_NAME, DESK_TOPIC, DROP_COMMAND, PEOPLE},
};
use crate::{ask::Asker, texts::tr};

/// How long a bot may take to come in, and to answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// Between two looks at whether it did.
const BETWEEN: Duration = Duration::from_millis(50);

/// Messages that are looked through for an answer.
const LOOKED_THROUGH: usize = 50;

/// Letters of a transaction's id, so many that no two are the same.
const TXN_LENGTH: usize = 12;

/// Makes what is missing of the desk of the town whose bots these are, and remembers it.
pub(super) async fn find_or_make(place: &Place, world: &mut World) -> anyhow::Result<()> {
    for server in &place.servers {
        let guests: Vec<&Bot> = server.bots.iter().filter(|bot| bot.kind != Kind::Memo).collect();
        if guests.is_empty() {
            continue;
        }
        let [first, second] = CLERKS.map(|clerk| log_in(server, world, clerk));
        let (first, second) = (first.await?, second.await?);
        if world.desk.is_none() {
            world.desk = Some(find_or_make_room(&first, &second, server).await?);
        }
        let Some(desk) = &mut world.desk else { continue };
        for bot in &guests {
            bring_in(&first, &desk.room_id, bot).await?;
        }
        if let Some(bot) = guests.iter().find(|bot| bot.kind == Kind::Dropbox) {
            desk.drop_path = Some(find_or_make_link(&first, desk, bot).await?);
        }
        place.remember(world)?;
        first.log_out().await?;
        second.log_out().await?;
    }
    Ok(())
}

async fn log_in(server: &Server, world: &World, clerk: usize) -> anyhow::Result<Member> {
    let user_id = format!("@{}:{}", PEOPLE[clerk].localpart, server.name);
    let account = world.accounts.iter().find(|account| account.user_id == user_id);
    let account =
        account.with_context(|| tr!("{user_id} のアカウントがありません", "no account of {user_id}"))?;
    Member::log_in(Asker::new(server.client_url()), account).await
}

/// The link of an earlier start, wherever it is now.
pub(super) fn drop_link(server: &Server, desk: &Desk) -> Option<String> {
    let bot = server.bots.iter().find(|bot| bot.kind == Kind::Dropbox)?;
    Some(format!("{}{}", bot.outer_url()?, desk.drop_path.as_ref()?))
}

async fn find_or_make_room(first: &Member, second: &Member, server: &Server) -> anyhow::Result<Desk> {
    let alias = escaped(&format!("#{DESK_ALIAS}:{}", server.name));
    // One that was made, and not remembered before the demo was killed.
    let room = match first.get(&format!("/_matrix/client/v3/directory/room/{alias}")).await {
        Ok(found) => found,
        // Most likely there is none; whatever else it is, making one will tell.
        Err(_) => {
            let order = json!({
                "preset": "private_chat",
                "name": DESK_NAME,
                "topic": DESK_TOPIC,
                "room_alias_name": DESK_ALIAS,
                "invite": [second.user_id],
            });
            first.ask(Method::POST, "/_matrix/client/v3/createRoom", &order).await?
        }
    };
    let room_id = room["room_id"]
        .as_str()
        .with_context(|| tr!("答えに room_id がありません", "no room_id in the answer"))?
        .to_owned();
    second.join(&room_id).await?;
    Ok(Desk { room_id, drop_path: None })
}

/// Asks a bot in, unless it is there.
async fn bring_in(clerk: &Member, room_id: &str, bot: &Bot) -> anyhow::Result<()> {
    let path = format!("/_matrix/client/v3/rooms/{}/joined_members", escaped(room_id));
    let mut is_asked = false;
    wait(bot, async || {
        let members = clerk.get(&path).await?;
        if members["joined"].get(&bot.user_id).is_some() {
            return Ok(Some(()));
        }
        if !is_asked {
            let path = format!("/_matrix/client/v3/rooms/{}/invite", escaped(room_id));
            clerk.ask(Method::POST, &path, &json!({ "user_id": bot.user_id })).await?;
            is_asked = true;
        }
        Ok(None)
    })
    .await
}

/// The path of a link that is good.
async fn find_or_make_link(clerk: &Member, desk: &Desk, bot: &Bot) -> anyhow::Result<String> {
    let url = bot.outer_url().unwrap_or_default();
    if let Some(path) = &desk.drop_path
        && Asker::new(&url).ask(Method::GET, path, None, None).await?.0.is_success()
    {
        return Ok(path.clone());
    }
    let command = clerk.say(&desk.room_id, &Random::os().token(TXN_LENGTH), DROP_COMMAND).await?;
    let path =
        format!("/_matrix/client/v3/rooms/{}/messages?dir=b&limit={LOOKED_THROUGH}", escaped(&desk.room_id));
    wait(bot, async || {
        let newest_first = clerk.get(&path).await?;
        let newest_first = newest_first["chunk"].as_array().map(Vec::as_slice).unwrap_or_default();
        let after = newest_first.iter().take_while(|event| event["event_id"] != command.as_str());
        Ok(after.filter_map(|event| link_in(event, bot, &url)).next())
    })
    .await
}

/// The path of the link in what a bot said.
fn link_in(event: &Value, bot: &Bot, url: &str) -> Option<String> {
    let text = event["content"]["body"].as_str().filter(|_| event["sender"] == bot.user_id.as_str())?;
    text.lines().find_map(|line| line.strip_prefix(url)).map(str::to_owned)
}

/// Looks until there is what is waited for.
async fn wait<T>(bot: &Bot, mut look: impl AsyncFnMut() -> anyhow::Result<Option<T>>) -> anyhow::Result<T> {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        if let Some(found) = look().await? {
            return Ok(found);
        }
        tokio::time::sleep(BETWEEN).await;
    }
    let log = bot.log();
    bail!(tr!(
        "{title}が {seconds} 秒以内に答えません。{log} をご覧ください",
        "the {title} does not answer within {seconds} s; see {log}",
        title = bot.kind.title(),
        seconds = PATIENCE.as_secs(),
        log = log.display()
    ))
}
