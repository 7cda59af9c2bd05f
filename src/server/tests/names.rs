//! Data belong to their server names, and commands want data that are there.

use std::{path::Path, time::Duration};

use account::NewUser;

use crate::{
    commands::init::write_key,
    config::Config,
    house::{Foundation, House},
    names,
    storage::Data,
};

fn config(directory: &Path, name: &str, store: &str) -> Config {
    let key = directory.join(format!("{name}.key"));
    if !key.exists() {
        write_key(&key, <&ruma::ServerName>::try_from(name).unwrap()).unwrap();
    }
    let text = format!(
        r#"
        [[authorities]]
        name = "{name}"
        key_file = "{name}.key"
        [[listeners]]
        address = "127.0.0.1:0"
        serves = ["client"]
        [store]
        {store}
        "#
    );
    Config::parse(&text, [], directory).unwrap()
}

async fn start(config: &Config) -> anyhow::Result<()> {
    let house = House::open(config, Foundation::of(config, Data::MayBegin).await?).await?;
    house.close(Duration::from_secs(10)).await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_name_over_the_same_data_is_refused_until_the_old_one_is_given_up() {
    let directory = tempfile::tempdir().unwrap();
    start(&config(directory.path(), "kanazawa.test", "")).await.unwrap();
    start(&config(directory.path(), "kanazawa.test", "")).await.unwrap();

    let refused = start(&config(directory.path(), "kanazwa.test", "")).await.unwrap_err();
    assert!(refused.to_string().contains("those of kanazawa.test"), "{refused:#}");

    let given_up = r#"retired_authorities = ["kanazawa.test"]"#;
    start(&config(directory.path(), "hakusan.test", given_up)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn data_without_kept_names_belong_to_those_whose_accounts_they_hold() {
    let directory = tempfile::tempdir().unwrap();
    let right = config(directory.path(), "kanazawa.test", "");
    let house = House::open(&right, Foundation::of(&right, Data::MayBegin).await.unwrap()).await.unwrap();
    let hanako = NewUser { localpart: "hanako".to_owned(), ..NewUser::default() };
    house
        .accounts
        .create_user(ruma::server_name!("kanazawa.test"), hanako, &account::Actor::operator("test"))
        .await
        .unwrap();
    // As if they had been begun before names were kept.
    let mut batch = store::Batch::new();
    batch.delete(&names::NAMES, "kanazawa.test");
    house.store.commit(batch).await.unwrap();
    house.close(Duration::from_secs(10)).await;

    let refused = start(&config(directory.path(), "kanazwa.test", "")).await.unwrap_err();
    assert!(refused.to_string().contains("those of kanazawa.test"), "{refused:#}");
    start(&right).await.unwrap();
    let refused = start(&config(directory.path(), "kanazwa.test", "")).await.unwrap_err();
    assert!(refused.to_string().contains("those of kanazawa.test"), "{refused:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn storage_that_nobody_has_begun_is_no_data() {
    let directory = tempfile::tempdir().unwrap();
    let config = config(directory.path(), "kanazawa.test", "");
    // RocksDB makes its files before anybody has said whose they are; a database is there always.
    let tasks = base::Tasks::new(&base::Metrics::new());
    let opened = crate::storage::open(&config, &tasks, Data::MayBegin).await.unwrap();
    opened.backend.close().await.unwrap();
    tasks.stop(Duration::from_secs(10)).await;

    let foundation = Foundation::of(&config, Data::MustExist).await.unwrap();
    let refused = House::open(&config, foundation).await.map(|_| ()).unwrap_err();
    assert!(refused.to_string().contains("no data in the storage"), "{refused:#}");
    start(&config).await.unwrap();
    let foundation = Foundation::of(&config, Data::MustExist).await.unwrap();
    House::open(&config, foundation).await.unwrap().close(Duration::from_secs(10)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_over_data_that_are_not_there_makes_none() {
    let directory = tempfile::tempdir().unwrap();
    let config = config(directory.path(), "kanazawa.test", "");
    let refused = Foundation::of(&config, Data::MustExist).await.map(|_| ()).unwrap_err();
    assert!(refused.to_string().contains("there are no data in"), "{refused:#}");
    assert!(!directory.path().join("data").exists());

    start(&config).await.unwrap();
    assert!(Foundation::of(&config, Data::MustExist).await.is_ok());
}

#[test]
fn a_server_name_in_japanese_is_answered_with_its_form_in_ascii() {
    let refused = crate::names::parse("金沢.example.jp:8448").unwrap_err();
    assert!(refused.ends_with("xn--6uw360f.example.jp:8448"), "{refused}");
    assert!(crate::names::parse("kanazawa.example.jp").is_ok());
    assert!(!crate::names::parse("a b").unwrap_err().contains("ASCII"));
}

#[test]
fn a_new_name_in_capitals_or_with_a_scheme_is_refused_with_what_to_write() {
    assert_eq!(names::parse_new("kanazawa.jp:8448").unwrap(), "kanazawa.jp:8448");
    let capitals = names::parse_new("Kanazawa.jp").unwrap_err();
    assert!(capitals.contains("small letters: kanazawa.jp"), "{capitals}");
    let url = names::parse_new("https://kanazawa.jp").unwrap_err();
    assert!(url.contains("no URL"), "{url}");
}

#[tokio::test]
async fn of_two_processes_that_begin_an_authority_at_once_one_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let config = config(directory.path(), "kanazawa.test", r#"backend = "memory""#);
    let (metrics, clock) = (base::Metrics::new(), base::Clock::system());
    let tasks = base::Tasks::new(&metrics);
    let backend = std::sync::Arc::new(store::MemoryBackend::new());
    let store = crate::storage::open_store(backend, &tasks, &metrics).await.unwrap();
    let hold = || names::hold(&store, &config, Data::MayBegin, &clock);
    let (one, other) = tokio::join!(hold(), hold());
    one.and(other).unwrap();
    let name = ruma::server_name!("kanazawa.test");
    let page = audit::list(&store, name, &audit::Filter::default(), store::Position::START).await.unwrap();
    assert_eq!(page.found.len(), 1);
    store.close().await.unwrap();
}
