//! The supervisor.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use crate::{Metrics, Tasks};

#[tokio::test]
async fn a_panic_costs_its_task_only_and_is_counted() {
    let metrics = Metrics::new();
    let tasks = Tasks::new(&metrics);

    let failed = tasks.spawn("breaking", async { panic!("broken on purpose") }).await;
    let fine = tasks.spawn("fine", async { 7 }).await;

    let failed: Result<(), _> = failed;
    assert_eq!(failed.unwrap_err().reason, "broken on purpose");
    assert_eq!(fine, Ok(7));
    assert!(metrics.render().contains(r#"yakuba_base_task_panics_total{task="breaking"} 1"#));
}

#[tokio::test]
async fn a_restarting_task_comes_back_after_a_panic_and_ends_when_it_returns() {
    let tasks = Tasks::new(&Metrics::new());
    let starts = Arc::new(AtomicU32::new(0));
    let counted = starts.clone();

    let task = tasks.spawn_restarting("stumbling", move || {
        let start = counted.fetch_add(1, Ordering::SeqCst);
        async move { assert!(start > 0, "the first time") }
    });

    assert_eq!(task.await, Ok(()));
    assert_eq!(starts.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn stopping_waits_for_those_who_listen_and_ends_those_who_do_not() {
    let tasks = Tasks::new(&Metrics::new());
    let token = tasks.shutdown_token();
    let polite = tasks.spawn("polite", async move {
        token.cancelled().await;
        "done"
    });
    let deaf = tasks.spawn("deaf", std::future::pending::<()>());

    assert_eq!(tasks.stop(Duration::from_millis(20)).await, 1);

    assert_eq!(polite.await, Ok("done"));
    assert!(deaf.await.is_err());
}

#[tokio::test]
async fn blocking_work_gives_its_result_and_survives_its_panic() {
    let tasks = Tasks::new(&Metrics::new());
    assert_eq!(tasks.spawn_blocking("hash", || 6 * 7).await, Ok(42));
    assert!(tasks.spawn_blocking("hash", || -> u32 { panic!("on purpose") }).await.is_err());
}
