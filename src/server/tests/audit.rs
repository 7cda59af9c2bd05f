//! The audit log, over a whole process and by the commands.

use std::{path::Path, process::ExitCode, sync::Arc, time::Duration};

use audit::{Action, Actor, Deed, Fault, Findings, Follower, Noted, Record};
use base::{Clock, ManualClock, Timestamp};
use bytes::Bytes;
use http::{Method, Request};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use store::{Batch, Order, Position, Range, Store, Table, Tuning, Value as _};
use tower::ServiceExt;
use web::{Body, Router};

use crate::{
    cli::{AuditListArgs, AuditVerifyArgs, BackupArgs, ConfigArg, RestoreArgs, UserCreateArgs, WhichUser},
    commands::{self, init::write_key},
    config::{Config, Serves},
    house::{Foundation, House},
    storage::{self, Data},
};

/// The rows of the audit log, to do to them what nobody should.
static RECORDS: Table<(String, Position), Bytes> = Table::new(200, "audit.records", Tuning::Append);

pub(super) fn config(directory: &Path, backend: &str) -> Config {
    for name in ["kanazawa", "wajima"] {
        let key = directory.join(format!("{name}.key"));
        if !key.exists() {
            write_key(&key, <&ruma::ServerName>::try_from(format!("{name}.test").as_str()).unwrap()).unwrap();
        }
    }
    let text = format!(
        r#"
        [[authorities]]
        name = "kanazawa.test"
        key_file = "kanazawa.key"
        registration = {{ mode = "open" }}
        [[authorities]]
        name = "wajima.test"
        key_file = "wajima.key"
        [[listeners]]
        address = "127.0.0.1:0"
        serves = ["client", "admin"]
        [store]
        backend = "{backend}"
        "#
    );
    std::fs::write(directory.join("yakuba.toml"), &text).unwrap();
    Config::read(&directory.join("yakuba.toml")).unwrap()
}

struct Running {
    house: House,
    router: Router,
    hand: ManualClock,
    _directory: tempfile::TempDir,
}

impl Running {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let config = config(directory.path(), "memory");
        let (clock, hand) = Clock::manual(1_774_969_200_001);
        let foundation = Foundation { clock, ..Foundation::of(&config, Data::MayBegin).await.unwrap() };
        let house = House::open(&config, foundation).await.unwrap();
        let router = house.router(&[Serves::Client, Serves::Admin]).unwrap();
        Self { house, router, hand, _directory: directory }
    }

    async fn ask(&self, path: &str, body: Value) -> Value {
        let request = Request::builder()
            .method(Method::POST)
            .uri(path)
            .header("host", "kanazawa.test")
            .header("authorization", format!("Bearer {}", self.house.admin_token()))
            .header("yakuba-operator", "uid 1000 (sudo hanako)")
            .header("user-agent", "Element X/26.11 (iPhone)")
            .body(Body::from(body.to_string()))
            .unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        serde_json::from_slice(&bytes).unwrap()
    }

    async fn verify(&self, name: &str) -> Value {
        self.ask("/_yakuba/v1/audit/verify", json!({ "authority": name })).await
    }

    async fn list(&self, name: &str) -> Vec<Value> {
        let order = json!({ "authority": name, "filter": {}, "after": 0 });
        let page = self.ask("/_yakuba/v1/audit/list", order).await;
        page["found"].as_array().unwrap().iter().map(|row| row["record"].clone()).collect()
    }

    /// Lets time pass until every row has its link.
    async fn chained(&self, name: &str, rows: u64) {
        while self.verify(name).await["rows"] != rows {
            self.hand.advance(Duration::from_millis(100));
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn what_is_done_over_http_is_in_the_log_of_its_authority_alone() {
    let running = Running::new().await;
    for (path, order) in [
        (
            "/_yakuba/v1/users",
            json!({ "server_name": "kanazawa.test", "localpart": "taro", "password": "long enough", "admin": false }),
        ),
        (
            "/_matrix/client/v3/login",
            json!({ "type": "m.login.password", "user": "taro", "password": "long enough", "device_id": "PHONE" }),
        ),
        (
            "/_yakuba/v1/users/password",
            json!({ "user_id": "@taro:kanazawa.test", "password": "another word" }),
        ),
        ("/_yakuba/v1/users/close", json!({ "user_id": "@taro:kanazawa.test" })),
    ] {
        let answer = running.ask(path, order).await;
        assert!(answer.get("errcode").is_none(), "{path}: {answer}");
    }
    let rows = running.list("kanazawa.test").await.split_off(1);
    let told: Vec<_> =
        rows.iter().map(|row| (row["what"].as_str().unwrap(), row["who"].as_str().unwrap())).collect();
    let operator = "uid 1000 (sudo hanako)";
    assert_eq!(
        told,
        [
            ("account.create", operator),
            ("session.sign_in", "@taro:kanazawa.test"),
            ("password.set", operator),
            ("account.close", operator),
        ]
    );
    assert_eq!(rows[2]["before"], json!([["devices", "PHONE"]]));
    let signed_in = json!([["device", "PHONE"], ["user_agent", "Element X/26.11 (iPhone)"]]);
    assert_eq!(rows[1]["after"], signed_in);
    let theirs = running.list("wajima.test").await;
    assert_eq!((theirs.len(), &theirs[0]["what"]), (1, &json!("authority.begin")));
    running.house.close(Duration::from_secs(10)).await;
}

#[tokio::test]
async fn the_running_server_chains_the_log_and_names_what_was_changed_in_it() {
    let running = Running::new().await;
    for name in ["hanako", "taro", "jiro"] {
        let order = json!({ "server_name": "kanazawa.test", "localpart": name, "password": "long enough", "admin": false });
        running.ask("/_yakuba/v1/users", order).await;
    }
    running.chained("kanazawa.test", 4).await;
    running.hand.advance(Duration::from_secs(24 * 60 * 60));
    while running.verify("kanazawa.test").await["seals"] != 1 {
        running.hand.advance(Duration::from_secs(1));
        tokio::task::yield_now().await;
    }

    let position = change_second_row(&running.house.store).await;

    let found = running.verify("kanazawa.test").await;
    assert_eq!(
        found["wrong"],
        json!({ "fault": "row_changed", "number": 2, "position": position, "day": null, "cause": null })
    );
    assert_eq!(found["rows"], 1);
    assert_eq!(running.verify("wajima.test").await["wrong"], Value::Null);
    running.house.close(Duration::from_secs(10)).await;
}

/// Changes the second row of the log; gives its place.
pub(super) async fn change_second_row(store: &Store) -> Position {
    let rows = store.scan(&RECORDS, Range::prefix("kanazawa.test"), Order::Ascending, 2).await.unwrap();
    let ((_, position), row) = &rows[1];
    let mut changed = row.to_vec();
    *changed.last_mut().unwrap() ^= 1;
    let mut batch = Batch::new();
    batch.put(&RECORDS, &("kanazawa.test", *position), &Bytes::from(changed));
    store.commit(batch).await.unwrap();
    *position
}

fn is_success(code: ExitCode) -> bool {
    format!("{code:?}") == format!("{:?}", ExitCode::SUCCESS)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_commands_write_read_and_check_the_log_where_no_server_runs() {
    let directory = tempfile::tempdir().unwrap();
    let config = config(directory.path(), "rocksdb");
    storage::begin(&config).await.unwrap();
    let file = || ConfigArg { config: directory.path().join("yakuba.toml") };
    let verify = async |name: Option<&str>| {
        let server_name = name.map(|name| name.try_into().unwrap());
        let args = AuditVerifyArgs { server_name, noted: None, config: file() };
        commands::audit::verify(&args).await.map(is_success)
    };
    assert!(verify(None).await.unwrap());
    for localpart in ["hanako", "taro"] {
        let server_name = Some("kanazawa.test".try_into().unwrap());
        let user = WhichUser { localpart: localpart.to_owned(), server_name, config: file() };
        let create = UserCreateArgs { user, display_name: None, admin: false, password_file: None };
        commands::user::create(&create).await.unwrap();
    }
    commands::data::backup(&BackupArgs { to: directory.path().join("backup"), config: file() })
        .await
        .unwrap();
    for server_name in ["kanazawa.test", "wajima.test"] {
        for json in [true, false] {
            let list = AuditListArgs {
                server_name: Some(server_name.try_into().unwrap()),
                since: None,
                until: None,
                who: None,
                what: None,
                json,
                config: file(),
            };
            commands::audit::list(&list).await.unwrap();
        }
    }
    assert!(verify(None).await.unwrap());
    assert_eq!(commands::data::verify_here(&config).await.unwrap().unchecked, 0);

    commands::data::over_store(&config, async |store| {
        let rows = store.scan(&RECORDS, Range::all(), Order::Ascending, 10).await?;
        let of: Vec<_> = rows.iter().map(|((name, _), _)| name.as_str()).collect();
        assert_eq!(of, [["kanazawa.test"; 4].as_slice(), &["wajima.test"; 2]].concat());
        change_second_row(store).await;
        Ok(())
    })
    .await
    .unwrap();
    assert!(!verify(None).await.unwrap());
    assert!(!verify(Some("kanazawa.test")).await.unwrap());
    assert!(verify(Some("wajima.test")).await.unwrap());
    assert!(verify(Some("nanao.test")).await.is_err());
}

/// Data in RocksDB with so many rows in the log of each authority, all of them chained.
async fn on_disk(directory: &Path, rows: usize) -> Config {
    let config = config(directory, "rocksdb");
    storage::begin(&config).await.unwrap();
    commands::data::over_store(&config, async |store| {
        let authorities = Arc::new(config.load_authorities()?);
        let by = Actor::operator("test");
        let deed = Deed::new(Action::SetPassword, &by, "@hanako:kanazawa.test", Timestamp(1_774_969_200_001));
        for _ in 1..rows {
            storage::note(store, authorities.iter().map(|authority| authority.name()), &deed).await?;
        }
        Follower::new(store, &authorities, &Clock::system()).catch_up().await?;
        Ok(())
    })
    .await
    .unwrap();
    config
}

async fn check(config: &Config, noted: Option<Noted>) -> anyhow::Result<Findings> {
    let name = ruma::server_name!("kanazawa.test");
    let authorities = config.load_authorities()?;
    let keys = authorities.find(name).map(AsRef::as_ref);
    commands::data::over_store(config, async |store| Ok(audit::verify(store, name, keys, noted).await?)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_byte_that_flips_in_a_file_of_the_data_is_found_and_its_place_named() {
    const ROWS: usize = 400;
    let directory = tempfile::tempdir().unwrap();
    let config = on_disk(directory.path(), ROWS).await;
    assert_eq!(check(&config, None).await.unwrap().rows, ROWS as u64);

    let files = std::fs::read_dir(config.path(&config.store.path)).unwrap();
    let files = files.map(|file| file.unwrap().path());
    let mut named = 0;
    for file in files.filter(|file| file.extension().is_some_and(|kind| kind == "sst")) {
        let right = std::fs::read(&file).unwrap();
        let mut wrong = right.clone();
        // In the data, which come first.
        wrong[right.len() / 3] ^= 1;
        std::fs::write(&file, &wrong).unwrap();
        // Some are needed to open the data at all, some hold nothing of the log.
        if let Ok(found) = check(&config, None).await
            && let Some(wrong) = found.wrong
        {
            let name = file.file_name().unwrap().to_str().unwrap();
            let cause = wrong.cause.unwrap();
            assert!(wrong.fault == Fault::Unreadable && cause.contains(name), "{cause}");
            assert!(wrong.number == found.rows + 1 && found.rows < ROWS as u64, "{}", wrong.number);
            named += 1;
        }
        std::fs::write(&file, &right).unwrap();
    }
    assert!(named > 0);
    assert_eq!(check(&config, None).await.unwrap().wrong, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restored_backup_says_so_and_lacks_what_was_noted_after_it() {
    let directory = tempfile::tempdir().unwrap();
    let config = on_disk(directory.path(), 3).await;
    let (backup, file) = (directory.path().join("backup"), directory.path().join("yakuba.toml"));
    let file = || ConfigArg { config: file.clone() };
    let before = check(&config, None).await.unwrap().chain;
    commands::data::backup(&BackupArgs { to: backup.clone(), config: file() }).await.unwrap();
    // The backup is a deed that is not in it.
    let noted = check(&config, Some(before)).await.unwrap();
    assert_eq!((noted.rows, &noted.wrong), (4, &None));

    std::fs::remove_dir_all(config.path(&config.store.path)).unwrap();
    commands::data::restore(&RestoreArgs { from: backup.clone(), config: file() }).await.unwrap();

    let found = check(&config, Some(before)).await.unwrap();
    assert_eq!((found.rows, found.waiting, found.wrong), (4, 0, None));
    let rows = commands::data::over_store(&config, async |store| {
        Ok(store.scan(&RECORDS, Range::prefix("kanazawa.test"), Order::Ascending, 10).await?)
    });
    let last = Record::decode(&rows.await.unwrap().pop().unwrap().1).unwrap();
    assert_eq!((last.what.as_str(), last.whom.as_str()), ("data.restore", backup.to_str().unwrap()));
    let command = async |noted| {
        let server_name = Some("kanazawa.test".try_into().unwrap());
        commands::audit::verify(&AuditVerifyArgs { server_name, noted, config: file() }).await.unwrap()
    };
    assert!(is_success(command(Some(before)).await));
    assert!(!is_success(command(Some(noted.chain)).await));
    // A note is of one log.
    let of_which = AuditVerifyArgs { server_name: None, noted: Some(before), config: file() };
    commands::audit::verify(&of_which).await.unwrap_err();
}
