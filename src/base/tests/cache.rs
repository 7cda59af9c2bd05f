use std::sync::Arc;

use crate::{
    Cache, Caches, Metrics,
    cache::{Held, RESTS},
};

#[global_allocator]
static COUNTING: meter::Counting = meter::Counting;

fn texts(caches: &Caches, bytes: u64) -> Cache<u64, Arc<str>> {
    Cache::new(caches, "texts", bytes, |_, text: &Arc<str>| text.len() + 16)
}

#[test]
fn what_a_cache_charges_is_what_it_takes() {
    for size in [0, 10, 100, 1_000, 10_000] {
        let text = "あ".repeat(size);
        let (cache, in_use) = meter::kept(|| {
            let cache = texts(&Caches::new(), 1 << 24);
            (0..1_000).for_each(|key| cache.insert(key, text.as_str().into()));
            cache
        });
        meter::assert_charged("texts", cache.bytes(), in_use);
    }
}

#[test]
fn a_cache_keeps_within_its_bytes_whatever_is_put_in() {
    let text = "あ".repeat(300);
    let (cache, in_use) = meter::kept(|| {
        let cache = texts(&Caches::new(), 200_000);
        (0..10_000).for_each(|key| cache.insert(key, text.as_str().into()));
        cache
    });
    assert!(cache.bytes() <= 200_000 && cache.bytes() > 150_000, "{}", cache.bytes());
    assert!(in_use < 300_000, "{in_use}");
}

#[test]
fn a_value_that_takes_half_of_a_cache_of_large_values_is_kept() {
    let cache = Cache::of_large(&Caches::new(), "large", 1 << 20, |_: &u64, bytes: &Arc<[u8]>| bytes.len());
    cache.insert(1, vec![0; 450 << 10].into());
    assert!(cache.get(&1).is_some());
}

#[test]
fn what_nobody_asks_for_is_let_go_and_what_somebody_asks_for_stays() {
    let caches = Caches::new();
    let cache = texts(&caches, 1 << 20);
    cache.insert(1, "asked for".into());
    cache.insert(2, "not asked for".into());
    for _ in 1..RESTS {
        assert_eq!(caches.age(), 0);
        assert!(cache.get(&1).is_some());
    }
    let before = cache.bytes();
    let gone = caches.age();
    assert_eq!(before - cache.bytes(), gone);
    assert!(cache.get(&1).is_some() && cache.get(&2).is_none());
}

#[test]
fn what_ages_is_free_again() {
    let caches = Caches::new();
    let cache = texts(&caches, 1 << 24);
    let text = "あ".repeat(1_000);
    (0..1_000).for_each(|key| cache.insert(key, text.as_str().into()));
    let (gone, more) = meter::kept(|| (0..RESTS).map(|_| caches.age()).sum::<u64>());
    assert!(gone > 3_000_000, "{gone}");
    assert_eq!((more, cache.len(), cache.bytes()), (0, 0, 0));
}

#[test]
fn a_value_is_charged_as_it_was_when_it_was_put_in() {
    let cache = texts(&Caches::new(), 1 << 20);
    cache.insert(1, "short".into());
    let short = cache.bytes();
    cache.insert(1, "あ".repeat(100).into());
    assert_eq!(cache.bytes(), short + 295);
    cache.remove(&1);
    assert_eq!(cache.bytes(), 0);
}

#[test]
fn metrics_tell_what_each_cache_holds() {
    let metrics = Metrics::new();
    let (one, other) = (texts(metrics.caches(), 1 << 20), texts(metrics.caches(), 1 << 20));
    one.insert(1, "役場".into());
    other.insert(1, "役場".into());
    let bytes = one.bytes() + other.bytes();
    let text = metrics.render();
    assert!(text.contains(&format!(r#"yakuba_base_cache_bytes{{cache="texts"}} {bytes}"#)), "{text}");
    assert!(text.contains(r#"yakuba_base_cache_entries{cache="texts"} 2"#), "{text}");
    assert!(text.contains(r#"yakuba_base_cache_most_bytes{cache="texts"} 2097152"#), "{text}");
    drop((one, other));
    assert_eq!(metrics.caches().held(), [("texts", Held::default())]);
    assert!(metrics.render().contains(r#"yakuba_base_cache_bytes{cache="texts"} 0"#));
}

#[test]
fn what_one_cache_does_not_need_another_may_hold_until_it_is_needed() {
    let caches = Caches::new();
    let (poor, rich) = (texts(&caches, 100_000).borrowing(), texts(&caches, 300_000));
    let text = "x".repeat(200);
    let fill = |cache: &Cache<u64, Arc<str>>, much: u64| {
        (0..much).for_each(|key| cache.insert(key, text.as_str().into()));
    };
    rich.insert(1, "little".into());
    fill(&poor, 2_000);
    assert!(poor.bytes() <= 100_000);
    caches.lend();
    fill(&poor, 2_000);
    assert!(poor.bytes() > 300_000 && poor.bytes() + rich.bytes() <= 400_000, "{}", poor.bytes());
    assert!(rich.get(&1).is_some());

    // What it lent it has again when it needs it, and the other gives it back with the next time.
    fill(&rich, 2_000);
    assert!(rich.bytes() > 250_000 && rich.bytes() <= 300_000, "{}", rich.bytes());
    caches.lend();
    assert!(poor.bytes() <= 100_000);
    assert!(rich.bytes() > 250_000);

    // So is what is too large for what it was left.
    rich.clear();
    fill(&poor, 2_000);
    caches.lend();
    fill(&poor, 2_000);
    let large: Arc<str> = "x".repeat(150_000).into();
    rich.insert(1, large);
    assert!(rich.get(&1).is_some());
}
