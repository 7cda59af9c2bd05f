//! Chance, retries, sizes, metrics.

use std::time::Duration;

use crate::{Backoff, ByteSize, Metrics, Random};

#[test]
fn the_same_seed_gives_the_same_words() {
    assert_eq!(Random::seeded(7).token(40), Random::seeded(7).token(40));
    assert_ne!(Random::seeded(7).token(40), Random::seeded(8).token(40));
    assert_ne!(Random::os().token(40), Random::os().token(40));
}

#[test]
fn a_token_has_the_asked_length_and_only_letters_and_digits() {
    for length in [0, 1, 63, 64, 65, 1_000] {
        let token = Random::os().token(length);
        assert_eq!(token.len(), length);
        assert!(token.bytes().all(|byte| byte.is_ascii_alphanumeric()));
    }
}

#[test]
fn numbers_stay_in_their_range() {
    let random = Random::seeded(1);
    assert!((0..1_000).all(|_| (10..13).contains(&random.range(10..13))));
    assert_eq!(random.range(5..5), 5);
}

#[test]
fn waits_double_up_to_the_longest_and_begin_again_after_success() {
    let random = Random::seeded(3);
    let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(10));
    for longest in [1, 2, 4, 8, 10, 10] {
        let wait = backoff.next(&random);
        assert!(wait <= Duration::from_secs(longest) && wait >= Duration::from_secs(longest) / 2, "{wait:?}");
    }
    backoff.reset();
    assert!(backoff.next(&random) <= Duration::from_secs(1));
}

#[test]
fn sizes_read_as_they_are_written() {
    for (text, bytes) in
        [("64 KiB", 65_536), ("1MiB", 1 << 20), ("2 GB", 2_000_000_000), ("7", 7), ("7 B", 7)]
    {
        assert_eq!(text.parse::<ByteSize>().unwrap().as_u64(), bytes, "{text}");
    }
    assert_eq!(ByteSize::mib(512).to_string(), "512 MiB");
    for wrong in ["", "KiB", "-1", "1.5 MiB", "99999999999 GiB", "1 TiB"] {
        assert!(wrong.parse::<ByteSize>().is_err(), "{wrong}");
    }
}

#[test]
fn a_metric_asked_for_twice_is_one_metric() {
    let metrics = Metrics::new();
    metrics.counter("yakuba_test_things", "Things").inc();
    metrics.counter("yakuba_test_things", "Things").inc();
    metrics.gauge_family("yakuba_test_waiting", "Waiting").with(&[("queue", "a")]).set(3);
    metrics.histogram("yakuba_test_wait_seconds", "Waits", &[0.1, 1.0]).observe(0.5);

    let text = metrics.render();
    assert!(text.contains("yakuba_test_things_total 2"), "{text}");
    assert!(text.contains(r#"yakuba_test_waiting{queue="a"} 3"#), "{text}");
    assert!(text.contains(r#"yakuba_test_wait_seconds_bucket{le="1.0"} 1"#), "{text}");
    assert!(text.ends_with("# EOF\n"));
}
