//! 1 April of an authority of 12,000 people.

use std::time::Instant;

use super::{
    storing::{Office, kanazawa},
    *,
};
use crate::calendar::begin_of;

/// A file of so many people in 900 units; of those whose number leaves a small rest some are elsewhere a year later.
fn file(people: usize, is_later: bool) -> String {
    let row = |n: usize| {
        let unit = if is_later && n % 10 < 3 { (n + 7) % 900 } else { n % 900 };
        let (department, section) = (unit / 30, unit % 30);
        let title = ["課長", "係長", "主査", "主事", "主事"][n / 900 % 5];
        let from = if is_later { "" } else { "2020-04-01" };
        format!("{n:05},山田 花子{n},ヤマダ ハナコ,第{department}部 第{section}課,{title},,{from},\n")
    };
    (1..=people).map(row).collect()
}

/// Slow without optimisation: `cargo test -p organisation --release -- --ignored --nocapture`.
#[tokio::test]
#[ignore = "a measurement"]
async fn thirty_percent_of_twelve_thousand_people_move() {
    let office = Office::new().await;
    let begun = Instant::now();
    office.import(&file(12_000, false), "2020-04-01").await;
    let first = begun.elapsed();
    let before = office.known().await;
    let begun = Instant::now();
    let set = office.propose(&file(12_000, true), "2026-04-01").await;
    let proposed = begun.elapsed();
    office.approve(set).await;
    let begun = Instant::now();
    office.all.apply_due(kanazawa(), begin_of(day("2026-04-01")).unwrap(), &unsaid).await.unwrap();
    let applied = begun.elapsed();
    let counts = office.all.change_set(kanazawa(), set).await.unwrap().counts;
    let begun = Instant::now();
    office
        .all
        .undo(kanazawa(), set, "hana", begin_of(day("2026-04-02")).unwrap(), store::Batch::new())
        .await
        .unwrap();
    let undone = begun.elapsed();
    assert_eq!(office.known().await, before);
    assert!(counts.contains(&(Kind::Moved, 3_600)), "{counts:?}");
    // What it took is for whoever looks at it.
    assert!(
        proposed.as_secs() < 20,
        "first file {first:?}, proposed {proposed:?}, applied {applied:?}, undone {undone:?}"
    );
    tell(&format!("first file {first:?}, proposed {proposed:?}, applied {applied:?}, undone {undone:?}"));
}

#[expect(clippy::print_stderr, reason = "a measurement")]
fn tell(told: &str) {
    eprintln!("{told}");
}
