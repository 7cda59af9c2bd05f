//! Who has how many places.

use std::{net::SocketAddr, sync::Arc};

use tokio::time::Instant;

use crate::places::{Bounds, MOST, Place, Places, Spell};

/// A connection from there, if a place is free now and the address may have it.
async fn take(places: &Arc<Places>, from: &str) -> Option<Place> {
    assert!(!places.are_full());
    let from: SocketAddr = from.parse().unwrap();
    places.take(places.free().await, from)
}

#[tokio::test]
async fn an_address_has_its_part_of_the_places_and_gets_another_when_it_gives_one_back() {
    let exempt = vec!["10.0.0.0/8".parse().unwrap()];
    let places = Places::new(Bounds { places: 8, of_one_address: 2, exempt, ..Bounds::default() });
    let first = take(&places, "192.0.2.1:1").await.unwrap();
    let _second = take(&places, "192.0.2.1:2").await.unwrap();
    assert!(take(&places, "192.0.2.1:3").await.is_none());
    let _other = take(&places, "192.0.2.2:1").await.unwrap();
    drop(first);
    assert!(take(&places, "192.0.2.1:3").await.is_some());

    // Whoever has one address of such a network has all of them.
    let _ours = take(&places, "[2001:db8::1]:1").await.unwrap();
    let _same = take(&places, "[2001:db8::2]:1").await.unwrap();
    assert!(take(&places, "[2001:db8::3]:1").await.is_none());
    // Behind a proxy there are many.
    let mut of_proxy = Vec::new();
    for port in 1..=3 {
        of_proxy.push(take(&places, &format!("10.1.2.3:{port}")).await.unwrap());
    }
    let _last = take(&places, "192.0.2.1:4").await.unwrap();
    assert!(places.are_full());
}

#[test]
fn listeners_share_what_the_storage_leaves_of_the_open_files() {
    let of = |files, listeners| Bounds::of(files, listeners, 4_096, Vec::new());
    let many = of(1 << 20, 3);
    assert_eq!((many.places, many.of_one_address), (MOST, 4_096));
    for (files, listeners) in [(1_024, 1), (1_024, 3), (4_096, 2), (20_000, 3)] {
        let few = of(files, listeners);
        let taken = few.places * listeners;
        // RocksDB alone has 512.
        assert!(taken as u64 + 512 < files, "{files} open files, {taken} connections");
        assert!(few.places >= 48 && few.of_one_address == few.places / 4, "{few:?}");
    }
    // No number is too small or too large.
    assert!(of(0, 0).places > 0 && of(u64::MAX, 1).places == MOST);
    assert_eq!(Bounds::of(1 << 20, 1, u32::MAX, Vec::new()).of_one_address, MOST);
    assert_eq!(Bounds::of(700, 1, 1, Vec::new()).of_one_address, 1);
}

#[test]
fn what_goes_wrong_again_and_again_is_told_once() {
    let (mut spell, mut now) = (Spell::new(), Instant::now());
    assert!(spell.begins(now));
    for _ in 0..10 {
        now += Spell::PAUSE / 2;
        assert!(!spell.begins(now));
    }
    assert!(spell.begins(now + Spell::PAUSE * 2));
}
