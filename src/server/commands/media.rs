//! `yakuba media`: files are removed, or shown to nobody, by the running server or, when none runs, in its data.

use std::time::Duration;

use anyhow::{anyhow, bail};
use audit::Actor;
use http::{Method, StatusCode};

use crate::{
    admin::{MediaDeed, MediaOrder},
    ask::operator,
    causes,
    cli::MediaArgs,
    commands::{Running, say},
    config::Config,
    house::{Foundation, House},
    storage::Data,
    texts::tr,
};

/// Does something to the file of an id, and says so.
pub(crate) async fn order(args: &MediaArgs, what: MediaDeed) -> anyhow::Result<()> {
    let config = Config::read(&args.config.config)?;
    let order = MediaOrder { uri: args.uri.as_str().into(), what };
    let was_there = match Running::find(&config).await {
        Some(running) => {
            let body = serde_json::to_value(&order)?;
            let (status, answer) = running.ask(Method::POST, "/_yakuba/v1/media", Some(&body)).await?;
            if !status.is_success() && status != StatusCode::NOT_FOUND {
                bail!(causes::of_errcode("", answer["error"].as_str().unwrap_or_default()));
            }
            status.is_success()
        }
        None => {
            let house = House::open(&config, Foundation::of(&config, Data::MustExist).await?).await?;
            let done = order.carry_out(&house.media, &Actor::operator(&operator())).await;
            house.close(Duration::from_secs(10)).await;
            done.map_err(|error| anyhow!(causes::of_media(&error)))?
        }
    };
    let uri = &args.uri;
    if !was_there {
        bail!(tr!("{uri} というファイルはここにありません", "there is no file {uri} here"));
    }
    say(&match what {
        MediaDeed::Remove => tr!("{uri} を削除しました", "{uri} is removed"),
        MediaDeed::Withhold => tr!(
            "{uri} と同じ内容のファイルは、もう誰にも見えません",
            "what {uri} holds is shown to nobody, under whatever id"
        ),
        MediaDeed::Release => tr!("{uri} はまた見えます", "{uri} is shown again"),
    })?;
    Ok(())
}
