//! Recoveries that were asked for: which ones are shown.

use base::Timestamp;
use ruma::{OwnedUserId, server_name, user_id};
use store::Batch;

use super::{NOW, later, store};
use crate::{list_recoveries, put_recovery, sweep_recoveries};

/// Steps of half a minute in a day.
const DAY: i64 = 2 * 60 * 24;

async fn ask(store: &store::Store, names: impl Iterator<Item = String>, now: Timestamp) -> Vec<String> {
    let mut batch = Batch::new();
    let users: Vec<OwnedUserId> =
        names.map(|name| OwnedUserId::try_from(format!("@{name}:kanazawa.test")).unwrap()).collect();
    users.iter().for_each(|user| put_recovery(&mut batch, user, user_id!("@boss:kanazawa.test"), now));
    store.commit(batch).await.unwrap();
    users.into_iter().map(String::from).collect()
}

#[tokio::test]
async fn recoveries_that_nobody_agreed_to_in_time_hide_none_that_waits_and_go() {
    let (store, kanazawa) = (store().await, server_name!("kanazawa.test"));
    ask(&store, (0..250).map(|n| format!("a{n:03}")), NOW).await;
    let later = later(NOW, DAY);
    let waits = ask(&store, ["hanako".to_owned(), "taro".to_owned()].into_iter(), later).await;
    assert_eq!(list_recoveries(&store, kanazawa, later).await.unwrap(), waits);
    assert_eq!(sweep_recoveries(&store, later).await.unwrap(), 250);
    assert_eq!(list_recoveries(&store, kanazawa, later).await.unwrap(), waits);
    assert_eq!(sweep_recoveries(&store, later).await.unwrap(), 0);
}
