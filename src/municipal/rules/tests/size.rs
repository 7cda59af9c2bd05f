//! A prefecture: 12,000 people, 900 units, thirty rooms each.

use std::time::Instant;

use super::*;

/// 30 departments of 29 sections each, with 13 or 14 people.
fn prefecture() -> String {
    let mut rows = String::new();
    let mut number = 0;
    for department in 0..30 {
        for section in 0..30 {
            let unit = match section {
                0 => format!("第{department}部"),
                _ => format!("第{department}部　第{section}課"),
            };
            let staff = if section % 3 == 0 { 14 } else { 13 };
            for place in 0..staff {
                number += 1;
                let title = if place > 0 {
                    "主事"
                } else if section == 0 {
                    "部長"
                } else {
                    "課長"
                };
                rows.push_str(&format!("{number},職員 {number},{unit},{title},,2020-04-01,s{number}\n"));
            }
        }
    }
    rows
}

#[tokio::test]
#[expect(clippy::print_stdout, reason = "a figure")]
async fn the_rooms_of_a_prefecture_are_wanted_in_well_under_a_second() {
    let town = Town::new().await;
    town.take(&prefecture(), "2020-04-01").await;
    let rooms: Vec<_> = (0..30)
        .map(|room| json!({ "key": format!("r{room}"), "name": format!("{{path}} {room}"), "space": room == 0 }))
        .collect();
    town.rules.book(kanazawa()).await.unwrap();
    let wish = json!({ "title": "t", "members": "below", "hand_over_days": 30, "rooms": rooms });
    let organisation = town.organisation().await;
    let says = parse(&wish).resolve(&organisation, day("2026-03-01")).unwrap();
    let mut book = crate::Book::default();
    let span = organisation::Span::ALWAYS;
    book.say(RuleId(1), crate::Entry { at: Timestamp(1), by: String::new(), span, says: Some(says) });
    let accounts = accounts(&organisation);
    assert!(accounts.len() >= 11_900, "{}", accounts.len());
    let began = Instant::now();
    let found = wanted(&organisation, &book, &accounts, day("2026-03-01"));
    let took = began.elapsed();
    println!("{} people, {} rooms: {took:?}", accounts.len(), found.rooms.len());
    assert_eq!((found.rooms.len(), found.left_out), (27_000, 0));
    // Not of a program that was not made to be fast.
    assert!(cfg!(debug_assertions) || took.as_millis() < 800, "{took:?}");
    assert_eq!(found, wanted(&organisation, &book, &accounts, day("2026-03-01")));
}
