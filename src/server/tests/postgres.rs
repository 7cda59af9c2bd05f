//! Commands over a database that nobody has begun, and over one that is not there.

#[expect(dead_code, reason = "these tests use a part of it")]
#[path = "../../store_postgres/tests/cluster.rs"]
mod cluster;

use std::path::Path;

use store_postgres::{PostgresBackend, Settings};

use self::cluster::Cluster;
use crate::{
    commands::{check::wrong_with_data, data::verify_here, init::write_key},
    config::Config,
    storage,
};

fn config(directory: &Path, cluster: &Cluster, name: &str) -> Config {
    let key = directory.join(format!("{name}.key"));
    write_key(&key, <&ruma::ServerName>::try_from(name).unwrap()).unwrap();
    let text = format!(
        r#"
        [[authorities]]
        name = "{name}"
        key_file = "{name}.key"
        [[listeners]]
        address = "127.0.0.1:0"
        serves = ["client"]
        [store]
        backend = "postgres"
        url = "{url}"
        "#,
        url = cluster.url()
    );
    Config::parse(&text, [], directory).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_nobody_has_begun_is_refused_and_stays_empty() {
    let directory = tempfile::tempdir().unwrap();
    let cluster = tokio::task::spawn_blocking(Cluster::start).await.unwrap();
    let config_here = config(directory.path(), &cluster, "kanazawa.test");

    let refused = verify_here(&config_here).await.unwrap_err();
    assert!(refused.to_string().contains("no data in the storage"), "{refused:#}");
    let wrong = wrong_with_data(&config_here).await.unwrap();
    assert!(wrong.contains("no data in the storage"), "{wrong}");
    assert!(!PostgresBackend::is_begun(&Settings::at(cluster.url())).await.unwrap());

    storage::begin(&config_here).await.unwrap();
    assert_eq!(verify_here(&config_here).await.unwrap().problem_count, 0);
    assert_eq!(wrong_with_data(&config_here).await, None);

    let other = config(directory.path(), &cluster, "kanazwa.test");
    let refused = verify_here(&other).await.unwrap_err();
    assert!(refused.to_string().contains("those of kanazawa.test"), "{refused:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_tells_of_a_database_that_is_stopped() {
    let directory = tempfile::tempdir().unwrap();
    let cluster = tokio::task::spawn_blocking(Cluster::start).await.unwrap();
    let config = config(directory.path(), &cluster, "kanazawa.test");
    cluster.down_at_once();
    let wrong = wrong_with_data(&config).await.unwrap();
    assert!(wrong.contains("the database cannot be opened"), "{wrong}");
}
