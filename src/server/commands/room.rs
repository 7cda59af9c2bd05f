//! `yakuba room`: rooms are purged, by the running server or, when none runs, by the next one over its data.

use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use audit::Actor;
use engine::PurgeStatus;
use http::{Method, StatusCode};
use serde_json::Value;

use crate::{
    admin::{PurgeOrder, PurgeTold},
    ask::operator,
    causes,
    cli::{ConfigArg, RoomPurgeArgs},
    commands::{Running, say},
    config::Config,
    house::{Foundation, House},
    storage::Data,
    texts::tr,
};

/// Orders that everything stored of a room goes.
pub(crate) async fn purge(args: &RoomPurgeArgs) -> anyhow::Result<()> {
    let config = Config::read(&args.config.config)?;
    let order = PurgeOrder { room_id: args.room_id.clone(), force: args.force };
    match Running::find(&config).await {
        Some(running) => {
            let body = serde_json::to_value(&order)?;
            let (status, answer) = running.ask(Method::POST, "/_yakuba/v1/rooms/purge", Some(&body)).await?;
            if !status.is_success() {
                bail!(refusal(status, &answer));
            }
        }
        None => {
            let by = Actor::operator(&operator());
            let ordered =
                here(&config, async |house| house.engine.purge(&order.room_id, order.force, &by).await);
            ordered.await?;
        }
    }
    let room_id = order.room_id;
    say(&tr!(
        "{room_id} の削除を始めます。`yakuba room purges` で進み具合が分かります",
        "{room_id} is being purged; `yakuba room purges` tells how far that is"
    ))?;
    Ok(())
}

/// Prints how far the purges under way are.
pub(crate) async fn purges(args: &ConfigArg) -> anyhow::Result<()> {
    let config = Config::read(&args.config)?;
    let under_way: Vec<PurgeTold> = match Running::find(&config).await {
        Some(running) => {
            let answer = running.must(Method::GET, "/_yakuba/v1/rooms/purges", None).await?;
            let told = serde_json::from_value(answer["purges"].clone());
            told.with_context(|| tr!("サーバーの答えが読めません", "the server's answer cannot be read"))?
        }
        None => {
            let found: Vec<PurgeStatus> = here(&config, async |house| house.engine.purges().await).await?;
            found.into_iter().map(PurgeTold::from).collect()
        }
    };
    if under_way.is_empty() {
        say(&tr!("削除中のルームはありません", "no room is being purged"))?;
    }
    for PurgeTold { room_id, phase, rows, .. } in under_way {
        let phase = in_words(&phase);
        say(&tr!("{room_id}: {phase}、{rows} 行を削除", "{room_id}: {phase}, {rows} rows gone"))?;
    }
    Ok(())
}

/// A phase for people.
fn in_words(phase: &str) -> String {
    match phase {
        "leaving" => tr!("利用者を退出させています", "users are made to leave"),
        "telling" => tr!("他のサーバーに退出を伝えています", "other servers are told that they left"),
        _ => tr!("データを削除しています ({phase})", "what is stored goes ({phase})"),
    }
}

/// Why the running server did not take an order.
fn refusal(status: StatusCode, answer: &Value) -> String {
    let sentence = answer["error"].as_str().unwrap_or_default();
    match status {
        StatusCode::NOT_FOUND => unknown(),
        StatusCode::FORBIDDEN => in_use(),
        StatusCode::SERVICE_UNAVAILABLE => under_way(sentence),
        _ => causes::of_errcode("", sentence),
    }
}

fn of_room(error: &room::Error) -> String {
    match error {
        room::Error::NoRoom(_) => unknown(),
        room::Error::NotAllowed(_) => in_use(),
        error @ room::Error::BeingPurged(_) => under_way(&error.to_string()),
        error => causes::of_errcode("", &error.to_string()),
    }
}

fn unknown() -> String {
    tr!("そのルームはここにありません", "there is no such room here")
}

fn in_use() -> String {
    tr!(
        "ルームにまだこのサーバーの利用者がいます。--force で全員を退出させて削除します",
        "users of this server are in the room; --force makes them leave it first"
    )
}

fn under_way(sentence: &str) -> String {
    tr!("今はできません。すでに削除中かもしれません ({sentence})", "not now: {sentence}")
}

/// Does something to the rooms in the data, of which no server runs.
async fn here<T>(
    config: &Config,
    work: impl AsyncFnOnce(&House) -> Result<T, room::Error>,
) -> anyhow::Result<T> {
    let house = House::open(config, Foundation::of(config, Data::MustExist).await?).await?;
    let done = work(&house).await;
    house.close(Duration::from_secs(10)).await;
    done.map_err(|error| anyhow!(of_room(&error)))
}
