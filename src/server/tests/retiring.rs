//! Rows of the audit log that were kept long enough go while a server runs, over data on a disk and of several processes.

use std::{path::Path, process::ExitCode, time::Duration};

use audit::{Action, Actor, Day, Deed, Follower};
use base::{Clock, ManualClock, Timestamp};
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt;
use ruma::{ServerName, server_name, user_id};
use serde_json::{Value, json};
use store::{Batch, Store};
use tower::ServiceExt;
use web::{Body, Router};

use super::audit::config;
use crate::{
    cli::{AuditVerifyArgs, ConfigArg, StatusArgs, WhichAuthority},
    commands::{self, data::over_store},
    config::{Config, Serves},
    house::{Foundation, House},
    storage::{self, Data},
};

/// Sign-ins of now, and seals of a week some years later, when they have been kept for three years; when that is.
pub(super) async fn signed_in_long_ago(config: &Config, store: &Store, rows: usize) -> Timestamp {
    // Later than that the authority began.
    let began = Clock::system().now() + Duration::from_secs(60);
    let (clock, hand): (Clock, ManualClock) = Clock::manual(began.millis());
    let authorities = std::sync::Arc::new(config.load_authorities().unwrap());
    let mut follower = Follower::new(store, &authorities, &clock);
    let by = Actor::user(user_id!("@hanako:kanazawa.test"), false, None);
    let write = async |what: Action, count: usize| {
        for _ in 0..count {
            let mut batch = Batch::new();
            Deed::new(what, &by, "@hanako:kanazawa.test", clock.now())
                .write(&mut batch, server_name!("kanazawa.test"));
            store.commit(batch).await.unwrap();
        }
    };
    write(Action::SignIn, rows).await;
    write(Action::GiveDuty, 1).await;
    follower.catch_up().await.unwrap();
    let april = Day::april(Day::of(began).fiscal_year() + 4).begin();
    hand.advance(april.since(clock.now()) + Duration::from_secs(60));
    for _ in 0..7 {
        write(Action::BackUp, 1).await;
        follower.catch_up().await.unwrap();
        hand.advance(Duration::from_secs(24 * 60 * 60));
        follower.catch_up().await.unwrap();
    }
    clock.now()
}

/// A server some years later.
async fn later(config: &Config, at: Timestamp) -> (House, ManualClock) {
    let (clock, hand) = Clock::manual(at.millis());
    let foundation = Foundation { clock, ..Foundation::of(config, Data::MustExist).await.unwrap() };
    (House::open(config, foundation).await.unwrap(), hand)
}

async fn ask(house: &House, router: &Router, path: &str, body: Value) -> (StatusCode, Value) {
    let request = Request::builder()
        .method(Method::POST)
        .uri(path)
        .header("host", "kanazawa.test")
        .header("authorization", format!("Bearer {}", house.admin_token()))
        .header("yakuba-operator", "uid 1000 (sudo hanako)")
        .body(Body::from(body.to_string()))
        .unwrap();
    let response = router.clone().oneshot(request).await.unwrap();
    let status = response.status();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&bytes).unwrap())
}

async fn verified(directory: &Path) -> bool {
    let file = ConfigArg { config: directory.join("yakuba.toml") };
    let args = AuditVerifyArgs { server_name: None, noted: None, config: file };
    let code = commands::audit::verify(&args).await.unwrap();
    format!("{code:?}") == format!("{:?}", ExitCode::SUCCESS)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_removes_what_was_kept_long_enough_unless_somebody_has_it_stay() {
    let directory = tempfile::tempdir().unwrap();
    let config = config(directory.path(), "rocksdb");
    storage::begin(&config).await.unwrap();
    let then = over_store(&config, async |store| Ok(signed_in_long_ago(&config, store, 1_200).await));
    let then = then.await.unwrap();
    let which = || WhichAuthority {
        server_name: Some(server_name!("kanazawa.test").to_owned()),
        config: ConfigArg { config: directory.path().join("yakuba.toml") },
    };
    // By the commands, where no server runs.
    let shown = async |json| commands::audit_kept::kept(&StatusArgs { json, which: which() }).await.unwrap();
    shown(false).await;
    commands::audit_kept::hold(&which(), Some("住民訴訟".to_owned())).await.unwrap();
    commands::audit_kept::hold(&which(), Some("住民訴訟".to_owned())).await.unwrap();
    shown(true).await;

    let (house, _hand) = later(&config, then).await;
    let router = house.router(&[Serves::Admin]).unwrap();
    let order = json!({ "authority": "kanazawa.test" });
    let kept = async || ask(&house, &router, "/_yakuba/v1/audit/kept", order.clone()).await.1;
    let told = kept().await;
    assert_eq!(told["hold"]["reason"], "住民訴訟");
    let class = &told["classes"][0];
    assert_eq!(
        (&class["class"], &class["years"], &class["gone"]),
        (&json!("sign_ins"), &json!(3), &json!(0))
    );
    assert!(class["due"].as_u64().unwrap() > 1_200, "{told}");
    // What is removed is removed by the same step as in the running server.
    assert!(!house.retirer.step().await);

    let release = json!({ "authority": "kanazawa.test", "reason": null });
    let (status, answer) = ask(&house, &router, "/_yakuba/v1/audit/hold", release.clone()).await;
    assert_eq!((status, &answer["changed"]), (StatusCode::OK, &json!(true)));
    while house.retirer.step().await {}
    let told = kept().await;
    assert_eq!((&told["classes"][0]["gone"], &told["classes"][0]["due"]), (&json!(1_200), &json!(0)));
    let (_, found) = ask(&house, &router, "/_yakuba/v1/audit/verify", order.clone()).await;
    assert_eq!((&found["gone"], &found["wrong"]), (&json!(1_200), &Value::Null));
    let list = json!({ "authority": "kanazawa.test", "filter": {}, "after": 0 });
    let (_, page) = ask(&house, &router, "/_yakuba/v1/audit/list", list).await;
    let words: Vec<&str> =
        page["found"].as_array().unwrap().iter().map(|row| row["record"]["what"].as_str().unwrap()).collect();
    assert!(words.contains(&"duty.give") && !words.contains(&"session.sign_in"), "{words:?}");
    assert_eq!(words.iter().filter(|word| **word == "audit.retired").count(), 3);
    // Nobody knows of an authority that there is not.
    let other = json!({ "authority": "nanao.test", "reason": "x" });
    assert_eq!(ask(&house, &router, "/_yakuba/v1/audit/hold", other).await.0, StatusCode::NOT_FOUND);
    house.close(Duration::from_secs(10)).await;
    assert!(verified(directory.path()).await);
    commands::audit_kept::hold(&which(), None).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_started_removes_it_by_itself_and_one_that_ends_meanwhile_leaves_a_log_that_fits() {
    let directory = tempfile::tempdir().unwrap();
    let config = config(directory.path(), "rocksdb");
    storage::begin(&config).await.unwrap();
    let then = over_store(&config, async |store| Ok(signed_in_long_ago(&config, store, 1_200).await));
    let then = then.await.unwrap();
    let name: &ServerName = server_name!("kanazawa.test");
    let (mut starts, mut before) = (0, 0);
    while before < 1_200 {
        starts += 1;
        let (house, hand) = later(&config, then).await;
        house.start_upkeep();
        let gone = async || house.retirer.retention(name).await.unwrap().classes[0].gone;
        // One slice at least.
        let first = before;
        while before == first {
            hand.advance(Duration::from_millis(50));
            tokio::task::yield_now().await;
            before = gone().await;
        }
        house.close(Duration::from_secs(10)).await;
        assert!(verified(directory.path()).await);
        let found = over_store(&config, async |store| Ok(audit::verify(store, name, None, None).await?.gone));
        before = found.await.unwrap();
    }
    assert!((1..=3).contains(&starts));
}
