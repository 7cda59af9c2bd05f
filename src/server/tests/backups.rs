//! Where backups may be kept.

use std::{fs::create_dir_all, os::unix::fs::symlink, path::Path, pin::Pin, sync::Arc, time::Duration};

use base::{Metrics, Tasks};
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::json;
use store::{Batch, Store, Table, Tuning};
use tower::ServiceExt;
use web::Body;

use crate::{
    cli::{BackupArgs, ConfigArg},
    commands::{self, init::write_key},
    config::{Config, Serves},
    house::{Foundation, House},
    storage::{self, Data, apart},
};

#[test]
fn a_backup_is_kept_neither_in_the_data_nor_around_them() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let data = root.join("data");
    create_dir_all(&data).unwrap();
    symlink(&data, root.join("link")).unwrap();
    for wrong in ["data", "data/backup", "data/new/backup", "link", "link/new", "", "new/../data"] {
        let refused = apart(&data, &root.join(wrong)).unwrap_err().to_string();
        assert!(refused.contains("kept apart"), "{wrong}: {refused}");
    }
    for good in ["backup", "new/backup", "data-backup", "data/../backup"] {
        apart(&data, &root.join(good)).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_running_server_too_keeps_backups_apart_from_its_data() {
    let directory = tempfile::tempdir().unwrap();
    write_key(&directory.path().join("key"), ruma::server_name!("kanazawa.test")).unwrap();
    let text = r#"
        [[authorities]]
        name = "kanazawa.test"
        key_file = "key"
        [[listeners]]
        address = "127.0.0.1:0"
        serves = ["admin"]
    "#;
    let config = Config::parse(text, [], directory.path()).unwrap();
    let house = House::open(&config, Foundation::of(&config, Data::MayBegin).await.unwrap()).await.unwrap();
    let (router, token) = (house.router(&[Serves::Admin]).unwrap(), house.admin_token().to_owned());
    let back_up = async |to: &Path| {
        let request = Request::post("/_yakuba/v1/backup")
            .header("authorization", format!("Bearer {token}"))
            .body(Body::from(json!({ "to": to }).to_string()))
            .unwrap();
        let answer = router.clone().oneshot(request).await.unwrap();
        let status = answer.status();
        (status, String::from_utf8(answer.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap())
    };
    let inside = directory.path().join("data/backup");
    let (status, said) = back_up(&inside).await;
    assert!(status == StatusCode::BAD_REQUEST && said.contains("kept apart"), "{status}: {said}");
    assert!(!inside.exists());
    assert_eq!(back_up(&directory.path().join("backup")).await.0, StatusCode::OK);
    house.close(Duration::from_secs(10)).await;
}

/// The schema version of the data.
static META: Table<String, u64> = Table::new(4, "store.meta", Tuning::Small);

fn nothing(_: &Store) -> Pin<Box<dyn Future<Output = Result<(), store::Error>> + Send + '_>> {
    Box::pin(async { Ok(()) })
}

/// Opens data of this schema version, and no other, as they are.
async fn with_data<T>(path: &Path, version: usize, work: impl AsyncFnOnce(&Store) -> T) -> T {
    static STEPS: [store::Migration; 98] = [nothing; 98];
    let (metrics, settings) = (Metrics::new(), store_rocksdb::Settings::at(path.join("data")));
    let tasks = Tasks::new(&metrics);
    let backend = Arc::new(store_rocksdb::RocksBackend::open(&settings).unwrap());
    let options =
        store::Options { migrations: &STEPS[..version - 1], may_migrate: false, ..Default::default() };
    let store = Store::open(backend, options, &tasks, &metrics).await.unwrap();
    let done = work(&store).await;
    store.close().await.unwrap();
    tasks.stop(Duration::from_secs(10)).await;
    done
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn data_of_another_program_or_another_name_are_backed_up_and_stay_as_they_are() {
    let today = storage::MIGRATIONS.len() + 1;
    for (version, name) in [
        (today - 1, "kanazawa.test"),
        (99, "kanazawa.test"),
        (today, "wajima.test"),
        (today, "kanazawa.test"),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        write_key(&path.join("key"), ruma::server_name!("kanazawa.test")).unwrap();
        let text = |name: &str| {
            format!(
                "[[authorities]]\nname = \"{name}\"\nkey_file = \"key\"\n[[listeners]]\naddress = \"127.0.0.1:0\"\nserves = [\"client\"]"
            )
        };
        storage::begin(&Config::parse(&text("kanazawa.test"), [], path).unwrap()).await.unwrap();
        let before = with_data(path, today, async |store| {
            let mut batch = Batch::new();
            batch.put(&META, "schema", &(version as u64));
            store.commit(batch).await.unwrap();
            store.head()
        });
        let before = before.await;
        std::fs::write(path.join("yakuba.toml"), text(name)).unwrap();

        let config = ConfigArg { config: path.join("yakuba.toml") };
        commands::data::backup(&BackupArgs { to: path.join("backup"), config }).await.unwrap();

        assert!(path.join("backup/meta/1").is_file());
        let after = with_data(path, version, async |store| store.head()).await;
        let is_ours = (version, name) == (today, "kanazawa.test");
        assert_eq!(after > before, is_ours, "{version} {name}");
    }
}
