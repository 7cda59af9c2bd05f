//! The server names that the data belong to.
//!
//! A name can never be changed: users, rooms and signatures carry it. A start over data that were begun with
//! another name would serve nobody whom the data know, and would look like an empty server; so the names are
//! kept beside the data and held against the configuration at each start.

use anyhow::{Context, anyhow};
use audit::{Action, Actor, Deed};
use base::Clock;
use ruma::{OwnedServerName, ServerName};
use store::{Batch, CommitError, Order, Position, Range, Store, Table, TableCheck, Tuning};

use crate::{ask::operator, causes, config::Config, data::Data, hosts::in_ascii, texts::tr};

/// Names that this store has been served under; key: server name; value: 1.
pub(crate) static NAMES: Table<String, u64> = Table::new(900, "server.names", Tuning::Small);

/// More names than a process can have.
const MOST_NAMES: usize = 10_000;

/// The checks of this crate's tables, for `verify`.
pub(crate) fn checks() -> Vec<TableCheck> {
    vec![NAMES.check()]
}

/// Holds the names of the data against those of the configuration, and keeps the new ones; that is where their audit
/// logs begin.
///
/// # Errors
/// Those of [`compare`]; a store that takes no writes.
pub(crate) async fn hold(store: &Store, config: &Config, data: Data, clock: &Clock) -> anyhow::Result<()> {
    loop {
        let kept = compare(store, config, data).await?;
        let (mut batch, by) = (Batch::new(), Actor::operator(&operator()));
        for authority in &config.authorities {
            let name = authority.name.as_str();
            if !kept.iter().any(|kept| kept == name) {
                batch.insert(&NAMES, name, &1);
                let deed = Deed::new(Action::BeginAuthority, &by, name, clock.now());
                deed.write(&mut batch, &authority.name);
            }
        }
        if batch.is_empty() {
            return Ok(());
        }
        match store.commit(batch).await {
            // Another process keeps the same name at this moment. Names never go away, so this ends.
            Err(CommitError::Conflict { .. }) => {}
            done => {
                done.with_context(|| tr!("サーバー名を保存できません", "the server names cannot be kept"))?;
                return Ok(());
            }
        }
    }
}

/// Holds the names of the data against those of the configuration; gives those that are kept. Nothing is written.
///
/// # Errors
/// A name of the data that the configuration neither has nor gives up; data that nobody has begun, where
/// there must be some.
pub(crate) async fn compare(store: &Store, config: &Config, data: Data) -> anyhow::Result<Vec<String>> {
    let unreadable = |error: store::Error| anyhow!(causes::of_store(&error));
    let kept = store.scan(&NAMES, Range::all(), Order::Ascending, MOST_NAMES).await.map_err(unreadable)?;
    let kept: Vec<String> = kept.into_iter().map(|(name, _)| name).collect();
    // Data that were begun before names were kept belong to those whose accounts they hold.
    let known =
        if kept.is_empty() { names_of_accounts(store).await.map_err(unreadable)? } else { kept.clone() };
    if data == Data::MustExist && known.is_empty() && store.head() == Position(0) {
        return Err(no_data());
    }
    let has = |name: &str| config.authorities.iter().any(|authority| authority.name == name);
    let given_up = |name: &str| config.store.retired_authorities.iter().any(|retired| retired == name);
    if let Some(name) = known.iter().find(|name| !has(name) && !given_up(name)) {
        anyhow::bail!(tr!(
            "データは {name} のものですが、設定にその名前がありません。サーバー名は変えられません。使うのを\
             やめた名前は [store] の `retired_authorities` に書いてください",
            "the data are those of {name}, which the configuration does not name. A server name can never be \
             changed; whoever gives one up for good lists it in `retired_authorities` of [store]"
        ));
    }
    Ok(kept)
}

/// There is a database, and nothing of ours in it.
pub(crate) fn no_data() -> anyhow::Error {
    anyhow!(tr!(
        "データが空です。[store] の path や url は正しいですか。ここに新しいデータを作るときは、一度だけ \
         `yakuba serve --begin` で始めてください",
        "there are no data in the storage. Is [store] right? If new data are to begin here, start once with \
         `yakuba serve --begin`"
    ))
}

async fn names_of_accounts(store: &Store) -> Result<Vec<String>, store::Error> {
    let names = account::names_with_accounts(store).await?;
    Ok(names.into_iter().map(|name| name.to_string()).collect())
}

/// Reads a server name as a person types it.
///
/// # Errors
/// Why it is none; for one in Japanese, how it has to be written.
pub(crate) fn parse(text: &str) -> Result<OwnedServerName, String> {
    <&ServerName>::try_from(text).map(ToOwned::to_owned).map_err(|error| match in_ascii(text) {
        Some(ascii) => {
            tr!("サーバー名は ASCII で書きます: {ascii}", "a server name is written in ASCII: {ascii}")
        }
        None if text.contains("://") => tr!(
            "サーバー名は URL ではありません。https:// などは書かず、kanazawa.test のように書きます",
            "a server name is no URL: it is written without https://, such as kanazawa.test"
        ),
        None => tr!(
            "サーバー名ではありません。ホスト名と、必要ならポートだけを書きます (kanazawa.test や kanazawa.test:8448)",
            "{error}: a server name is a host and perhaps a port, such as kanazawa.test"
        ),
    })
}

/// Reads the name of a new server. Capitals are refused: to DNS they are the same name as small letters, to
/// Matrix another one, so whoever typed the name in the usual way would meet nobody.
///
/// # Errors
/// Why it is none, or how it has to be written.
pub(crate) fn parse_new(text: &str) -> Result<OwnedServerName, String> {
    let name = parse(text)?;
    if text.chars().any(|letter| letter.is_ascii_uppercase()) {
        let lower = text.to_ascii_lowercase();
        return Err(tr!(
            "サーバー名は小文字で書きます: {lower}",
            "a server name is written in small letters: {lower}"
        ));
    }
    Ok(name)
}
