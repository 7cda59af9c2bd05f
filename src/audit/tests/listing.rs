//! Reading the log.

use base::{Address, ZoneName};
use store::Position;

use super::*;
use crate::{Filter, Listed, Record, list};

async fn all(office: &Office, name: &ServerName, filter: &Filter) -> Vec<Record> {
    let (mut found, mut after) = (Vec::new(), Position::START);
    loop {
        let page = list(&office.store, name, filter, after).await.unwrap();
        found.extend(page.found.into_iter().map(|Listed { record, .. }| record.unwrap()));
        match page.next {
            Some(next) => after = next,
            None => return found,
        }
    }
}

async fn write(office: &Office, name: &ServerName, deed: Deed) {
    let mut batch = Batch::new();
    deed.write(&mut batch, name);
    office.store.commit(batch).await.unwrap();
}

#[tokio::test]
async fn the_rows_of_an_authority_are_read_by_it_alone() {
    let office = Office::new().await;
    office.rows(kanazawa(), 2).await;
    office.rows(wajima(), 1).await;
    assert_eq!(all(&office, kanazawa(), &Filter::default()).await.len(), 2);
    assert_eq!(all(&office, wajima(), &Filter::default()).await.len(), 1);
    // A name that begins with ours is another's.
    assert_eq!(all(&office, server_name!("wajima.tes"), &Filter::default()).await.len(), 0);
}

#[tokio::test]
async fn rows_are_found_by_who_and_what_and_when() {
    let mut office = Office::new().await;
    let (hanako, taro) = (user_id!("@hanako:kanazawa.test"), user_id!("@taro:kanazawa.test"));
    let start = office.clock.now();
    for day in 0..4 {
        let now = office.clock.now();
        for user in [hanako, taro] {
            let by = Actor::user(user, false, None);
            write(&office, kanazawa(), Deed::new(Action::SignIn, &by, user.as_str(), now)).await;
        }
        let by = Actor::operator("uid 0");
        write(&office, kanazawa(), Deed::new(Action::SetPassword, &by, taro.as_str(), now)).await;
        if day < 3 {
            office.hand.advance(A_DAY);
        }
        office.follow().await;
    }
    let found = |filter| {
        let office = &office;
        async move { all(office, kanazawa(), &filter).await.len() }
    };
    let none = Filter::default;
    assert_eq!(found(none()).await, 12);
    assert_eq!(found(Filter { who: Some(taro.to_string()), ..none() }).await, 8);
    assert_eq!(found(Filter { who: Some("uid 0".into()), ..none() }).await, 4);
    assert_eq!(found(Filter { what: Some("session".into()), ..none() }).await, 8);
    assert_eq!(found(Filter { what: Some("session.sign_in".into()), ..none() }).await, 8);
    assert_eq!(found(Filter { what: Some("session.sign".into()), ..none() }).await, 0);
    assert_eq!(found(Filter { since: Some(start + 2 * A_DAY), ..none() }).await, 6);
    assert_eq!(found(Filter { until: Some(start + A_DAY), ..none() }).await, 3);
    let second = Day(Day::of(start).0 + 1);
    let (since, until) = (Some(second.begin()), Some(second.next().begin()));
    assert_eq!(found(Filter { since, until, who: Some(taro.to_string()), ..none() }).await, 2);
}

#[tokio::test]
async fn a_long_log_is_read_in_pages() {
    let office = Office::new().await;
    office.rows(kanazawa(), 1_203).await;
    assert_eq!(all(&office, kanazawa(), &Filter::default()).await.len(), 1_203);
    let nobody = Filter { who: Some("@x:y".into()), ..Filter::default() };
    assert!(all(&office, kanazawa(), &nobody).await.is_empty());
}

#[tokio::test]
async fn a_row_says_through_which_zone_on_which_device_and_by_which_duties_and_is_found_by_zone_and_device() {
    let office = Office::new().await;
    let from = Address::of("192.0.2.1".parse().unwrap()).through(Some(ZoneName::of("lgwan")));
    let by = Actor::user(user_id!("@hanako:kanazawa.test"), false, Some(from));
    let by = by.on("PHONE".into()).having(["personnel", "audit"]);
    write(&office, kanazawa(), Deed::new(Action::SignIn, &by, "", office.clock.now())).await;
    write(&office, kanazawa(), office.sign_in()).await;
    let rows = all(&office, kanazawa(), &Filter::default()).await;
    let said = |row: &Record| [row.zone.clone(), row.device.clone(), row.duty.clone()];
    assert_eq!(said(&rows[0]), ["lgwan", "PHONE", "personnel audit"].map(|word| Some(word.to_owned())));
    assert_eq!(said(&rows[1]), [None, None, None]);
    for (text, count) in [("lgwan", 1), ("PHONE", 2), ("internet", 0)] {
        let filter = Filter { text: Some(text.to_owned()), ..Filter::default() };
        assert_eq!(all(&office, kanazawa(), &filter).await.len(), count, "{text}");
    }
}

#[tokio::test]
async fn whatever_a_stranger_sends_a_row_stays_small_and_says_where_from() {
    let office = Office::new().await;
    let by = Actor::stranger("2001:db8::7".parse().ok().map(Address::of));
    let mut deed = Deed::new(Action::SignInFailed, &by, &"町".repeat(10_000), office.clock.now());
    for _ in 0..100 {
        deed = deed.after("reason", "x".repeat(10_000)).before("reason", "é\n".repeat(10_000));
    }
    write(&office, kanazawa(), deed).await;
    let record = all(&office, kanazawa(), &Filter::default()).await.pop().unwrap();
    assert_eq!(record.from.as_deref(), Some("2001:db8::/64"));
    assert_eq!((record.whom.len(), record.after.len(), record.after[0].1.len()), (255, 8, 256));
    assert!(store::Value::encode(&record).len() < 5_000);
}
