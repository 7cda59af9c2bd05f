//! `yakuba search`: the index of what was said is built anew, by the running server or by the next one over its data.

use std::time::Duration;

use anyhow::anyhow;
use http::Method;

use crate::{
    causes,
    cli::ConfigArg,
    commands::{Running, say},
    config::Config,
    house::{Foundation, House},
    storage::Data,
    texts::tr,
};

/// Orders that the index is built anew.
pub(crate) async fn rebuild(args: &ConfigArg) -> anyhow::Result<()> {
    let config = Config::read(&args.config)?;
    match Running::find(&config).await {
        Some(running) => {
            running.must(Method::POST, "/_yakuba/v1/search/rebuild", None).await?;
        }
        None => {
            let house = House::open(&config, Foundation::of(&config, Data::MustExist).await?).await?;
            let ordered = house.search.rebuild().await;
            house.close(Duration::from_secs(10)).await;
            ordered.map_err(|error| anyhow!(causes::of_errcode("", &error.to_string())))?;
        }
    }
    say(&tr!(
        "検索の索引を作り直します。その間も検索できます。`yakuba status` の search で進み具合が分かります",
        "the search index is being built anew, and can be searched meanwhile; `search` in `yakuba status` tells how far that is"
    ))?;
    Ok(())
}
