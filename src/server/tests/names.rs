//! Data belong to their server names, and commands want data that are there.

use std::{path::Path, time::Duration};

use crate::{
    commands::init::write_key,
    config::Config,
    house::{Foundation, House},
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
