//! Codes for once, and recovery.

use std::collections::HashSet;

use base::Random;

use super::{NOW, code_at, commit, later, store, with_app};
use crate::{Refused, Used};

#[tokio::test]
async fn a_code_for_once_is_good_once_however_it_is_typed() {
    let store = store().await;
    let (factors, _, codes) = with_app(&store, 0).await;
    assert_eq!(codes.iter().collect::<HashSet<_>>().len(), 10);
    let typed = codes[0].to_uppercase().replace('-', " ");
    let (used, change) = factors.try_code(&typed, NOW).unwrap();
    assert_eq!(used, Used::Code);
    let factors = commit(&store, change).await;
    assert_eq!(factors.try_code(&codes[0], NOW), Err((Refused::Wrong, None)));
    assert_eq!(factors.codes_left(), 9);
    let wide: String = codes[1]
        .chars()
        .map(|letter| match letter {
            '-' => 'ー',
            letter => char::from_u32(u32::from(letter) + 0xfee0).unwrap(),
        })
        .collect();
    assert!(factors.try_code(&wide, NOW).is_ok(), "in letters of full width");
    let (change, newer) = factors.with_new_codes(&Random::seeded(5)).unwrap();
    let factors = commit(&store, change).await;
    assert_eq!(
        factors.try_code(&codes[2], NOW),
        Err((Refused::Wrong, None)),
        "those before are worth nothing"
    );
    assert!(factors.try_code(&newer[2], NOW).is_ok());
}

#[tokio::test]
async fn a_recovery_ends_all_that_was_and_hands_over_one_code_that_stays_good_until_a_factor_is_set_up() {
    let store = store().await;
    let (factors, secret, codes) = with_app(&store, 0).await;
    let (change, code) = factors.recovered(NOW, &Random::seeded(9));
    let factors = commit(&store, change).await;
    let now = later(NOW, 5);
    assert_eq!(factors.try_code(&code_at(&secret, now, 0), now), Err((Refused::Wrong, None)));
    assert_eq!(factors.try_code(&codes[0], now), Err((Refused::Wrong, None)));
    assert!(factors.is_any() && !factors.has_one() && factors.recoveries() == 1);
    for _ in 0..2 {
        assert_eq!(factors.try_code(&code, now).unwrap().0, Used::Handed, "until a factor is set up");
    }
    let days = later(now, 3 * 24 * 120);
    assert_eq!(factors.try_code(&code, days), Err((Refused::Over, None)));
    assert!(factors.is_any(), "it is not open to whoever has the password because it waited");
    let random = Random::seeded(2);
    let secret = crate::Factors::new_secret(&random);
    let (change, _) = factors.with_app("新", &secret, &code_at(&secret, now, 0), now, &random).unwrap();
    let factors = commit(&store, change).await;
    assert_eq!(factors.try_code(&code, now), Err((Refused::Wrong, None)));
}
