//! Codes of apps: what is taken, once, and how wrong a clock may be.

use store::{Batch, CommitError};

use super::{NOW, code_at, commit, hanako, later, store, with_app};
use crate::{Factors, Kind, MOST_APPS, Refused, Used};

#[tokio::test]
async fn a_code_is_taken_once_also_of_two_who_show_it_at_the_same_moment() {
    let store = store().await;
    let (factors, secret, _) = with_app(&store, 0).await;
    let now = later(NOW, 4);
    let code = code_at(&secret, now, 0);
    let (used, one) = factors.try_code(&code, now).unwrap();
    let (_, other) = factors.try_code(&code, now).unwrap();
    assert_eq!(used, Used::App);
    let factors = commit(&store, one).await;
    let mut batch = Batch::new();
    other.put(&mut batch);
    assert!(matches!(store.commit(batch).await, Err(CommitError::Conflict { .. })));
    assert_eq!(factors.try_code(&code, now), Err((Refused::Again, None)));
    let next = later(now, 1);
    assert!(factors.try_code(&code_at(&secret, next, 0), next).is_ok());
}

#[tokio::test]
async fn the_code_by_which_an_app_was_set_up_signs_nobody_in() {
    let store = store().await;
    let (factors, secret, _) = with_app(&store, 0).await;
    assert_eq!(factors.try_code(&code_at(&secret, NOW, 0), NOW), Err((Refused::Again, None)));
}

#[tokio::test]
async fn a_clock_that_is_set_back_makes_no_code_good_again() {
    let store = store().await;
    let (factors, secret, _) = with_app(&store, 0).await;
    let now = later(NOW, 10);
    let code = code_at(&secret, now, 0);
    let factors = commit(&store, factors.try_code(&code, now).unwrap().1).await;
    let back = later(now, -2);
    assert_eq!(factors.try_code(&code, back), Err((Refused::Again, None)));
    assert!(factors.are_ahead_of(back) && !factors.are_ahead_of(now));
    assert_eq!(factors.try_code(&code_at(&secret, back, 0), back), Err((Refused::Again, None)));
}

#[tokio::test]
async fn a_phone_that_is_a_minute_fast_gets_in_and_so_does_it_once_its_clock_is_right() {
    let store = store().await;
    let (mut factors, secret, _) = with_app(&store, 2).await;
    for (minute, ahead) in [(10, 2), (20, 2), (30, 3), (40, 0), (50, 0), (60, -1), (70, 0)] {
        let now = later(NOW, minute * 2);
        let (_, change) = factors.try_code(&code_at(&secret, now, ahead), now).unwrap();
        factors = commit(&store, change).await;
    }
}

#[tokio::test]
async fn a_phone_whose_clock_has_gone_wrong_since_shows_two_codes_that_follow_each_other() {
    let store = store().await;
    let (factors, secret, _) = with_app(&store, 0).await;
    let now = later(NOW, 100);
    let Err((Refused::Off, Some(off))) = factors.try_code(&code_at(&secret, now, 6), now) else {
        panic!("one code from afar");
    };
    let factors = commit(&store, *off).await;
    assert_eq!(factors.try_code("000000", now), Err((Refused::Wrong, None)));
    assert!(
        matches!(factors.try_code(&code_at(&secret, now, -6), now), Err((Refused::Off, _))),
        "another time"
    );
    let next = later(now, 1);
    let factors = commit(&store, factors.try_code(&code_at(&secret, next, 6), next).unwrap().1).await;
    let now = later(next, 50);
    assert!(factors.try_code(&code_at(&secret, now, 6), now).is_ok(), "its clock is known now");
    assert_eq!(factors.try_code(&code_at(&secret, now, 12), now), Err((Refused::Wrong, None)), "too far");
}

#[tokio::test]
async fn only_a_right_code_sets_an_app_up_and_nothing_has_changed_before() {
    let store = store().await;
    let random = base::Random::seeded(3);
    let none = Factors::read(&store, hanako()).await.unwrap();
    let secret = Factors::new_secret(&random);
    let wrong = |code: &str| none.with_app("a", &secret, code, NOW, &random).unwrap_err();
    assert_eq!([wrong("123456"), wrong(""), wrong("あ")], [Refused::Wrong; 3]);
    assert!(!Factors::read(&store, hanako()).await.unwrap().is_any());
    let (mut factors, ..) = with_app(&store, 0).await;
    assert!(factors.is_any() && factors.codes_left() == 10);
    for n in 1..MOST_APPS {
        let (secret, name) = (Factors::new_secret(&random), n.to_string());
        let added = factors.with_app(&name, &secret, &code_at(&secret, NOW, 0), NOW, &random).unwrap();
        assert!(added.1.is_empty(), "codes for once are those of the first");
        factors = commit(&store, added.0).await;
    }
    let code = code_at(&secret, NOW, 0);
    assert_eq!(factors.with_app("b", &secret, &code, NOW, &random).unwrap_err(), Refused::TooMany);
    assert!(factors.list().iter().all(|factor| factor.kind == Kind::App));
}

#[tokio::test]
async fn a_factor_is_renamed_and_removed_and_the_last_one_takes_the_codes_with_it() {
    let store = store().await;
    let (factors, ..) = with_app(&store, 0).await;
    let id = factors.list()[0].id;
    let factors = commit(&store, factors.renamed(id, "新しい電話").unwrap()).await;
    assert_eq!(factors.list()[0].name, "新しい電話");
    assert_eq!(factors.renamed(7, "x").unwrap_err(), Refused::NotFound);
    assert_eq!(factors.without(7).unwrap_err(), Refused::NotFound);
    let (change, removed) = factors.without(id).unwrap();
    assert_eq!(removed.name, "新しい電話");
    let factors = commit(&store, change).await;
    assert_eq!((factors.is_any(), factors.codes_left()), (false, 0));
}

#[test]
fn names_are_short_and_can_be_seen() {
    assert_eq!(Factors::name("  電話 ").as_deref(), Ok("電話"));
    for bad in ["", " ", "a\nb", "\0", &"あ".repeat(65)] {
        assert!(Factors::name(bad).is_err(), "{bad}");
    }
}
