//! Commands over a database that nobody has begun, and over one that is not there.

use std::{path::Path, sync::Arc, time::Duration};

use account::{Actor, NewUser};
use audit::{Fault, Follower};
use base::Clock;
use store_postgres::{PostgresBackend, Settings};

use super::cluster::Cluster;
use crate::{
    commands::{
        check::wrong_with_data,
        data::{over_store, verify_here},
        init::write_key,
    },
    config::Config,
    house::{Foundation, House},
    storage::{self, Data},
    tests::audit::change_second_row,
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
async fn two_processes_over_one_database_make_one_chain() {
    let directory = tempfile::tempdir().unwrap();
    let cluster = tokio::task::spawn_blocking(Cluster::start).await.unwrap();
    let config = config(directory.path(), &cluster, "kanazawa.test");
    storage::begin(&config).await.unwrap();
    let name = ruma::server_name!("kanazawa.test");
    let mut houses = Vec::new();
    for _ in 0..2 {
        let foundation = Foundation::of(&config, Data::MustExist).await.unwrap();
        houses.push(House::open(&config, foundation).await.unwrap());
    }
    let making = houses.iter().enumerate().map(|(at, house)| {
        let (accounts, config) = (house.accounts.clone(), &config);
        let (store, authorities) = (house.store.clone(), Arc::new(config.load_authorities().unwrap()));
        async move {
            let mut follower = Follower::new(&store, &authorities, &Clock::system());
            for n in 0..30 {
                let new = NewUser { localpart: format!("u{at}-{n}"), ..NewUser::default() };
                accounts.create_user(name, new, &Actor::operator("test")).await.unwrap();
                // Beside the one of its process.
                follower.catch_up().await.unwrap();
            }
        }
    });
    futures_util::future::join_all(making).await;
    for house in houses {
        house.close(Duration::from_secs(10)).await;
    }
    let authorities = config.load_authorities().unwrap();
    let keys = authorities.find(name).unwrap();
    let check = async |store: &store::Store| audit::verify(store, name, Some(keys), None).await.unwrap();
    let found = over_store(&config, async |store| Ok(check(store).await)).await.unwrap();
    assert_eq!((found.rows, found.waiting, found.wrong), (61, 0, None));

    let changed = async |store: &store::Store| Ok((change_second_row(store).await, check(store).await));
    let (position, found) = over_store(&config, changed).await.unwrap();
    let wrong = found.wrong.unwrap();
    assert_eq!((wrong.fault, wrong.number, wrong.position), (Fault::RowChanged, 2, Some(position)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_over_one_database_remove_what_was_kept_long_enough_once() {
    let directory = tempfile::tempdir().unwrap();
    let cluster = tokio::task::spawn_blocking(Cluster::start).await.unwrap();
    let config = config(directory.path(), &cluster, "kanazawa.test");
    storage::begin(&config).await.unwrap();
    let name = ruma::server_name!("kanazawa.test");
    let then = over_store(&config, async |store| {
        Ok(super::retiring::signed_in_long_ago(&config, store, 1_300).await)
    })
    .await
    .unwrap();
    let mut houses = Vec::new();
    for _ in 0..2 {
        let (clock, _) = Clock::manual(then.millis());
        let foundation = Foundation { clock, ..Foundation::of(&config, Data::MustExist).await.unwrap() };
        houses.push(House::open(&config, foundation).await.unwrap());
    }
    let removing = houses.iter().map(|house| async move { while house.retirer.step().await {} });
    futures_util::future::join_all(removing).await;
    for house in houses {
        house.close(Duration::from_secs(10)).await;
    }
    let authorities = config.load_authorities().unwrap();
    let keys = authorities.find(name);
    let (found, told) = over_store(&config, async |store| {
        let filter = audit::Filter { what: Some("audit.retired".to_owned()), ..audit::Filter::default() };
        let told = audit::list(store, name, &filter, store::Position::START).await?;
        Ok((audit::verify(store, name, keys.map(AsRef::as_ref), None).await?, told.found))
    })
    .await
    .unwrap();
    assert_eq!((found.gone, found.waiting, found.wrong), (1_300, 0, None));
    assert_eq!(told.len(), 3);
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
