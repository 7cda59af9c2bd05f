//! What columns mean: guessed, doubted, saved.

use super::*;

const UNSURE: &str = "ID,氏名,所属,職名\n00001,山田 花子,防災課,課長\n";

async fn save(town: &Town, authority: &ServerName, name: &str) -> Result<Answer, Error> {
    let order = Order::Columns { file: FileBytes::new(UNSURE.into()), how: How::default() };
    let Answer::Columns(columns) = town.ask(order).await.unwrap() else { panic!() };
    assert!(columns.doubt.is_some());
    town.ask_of(authority, Order::SaveMapping { name: name.to_owned(), mapping: Box::new(columns.mapping) })
        .await
}

#[tokio::test]
async fn columns_that_are_not_sure_are_taken_once_somebody_has_saved_what_they_mean() {
    let town = Town::new().await;
    let unsure = || Import { makes_new: true, ..import(UNSURE.into()) };
    assert!(refusal(town.ask(Order::Import(Box::new(unsure()))).await).contains("職員番号"));

    save(&town, kanazawa(), "給与").await.unwrap();
    let saved = || Order::Import(Box::new(Import { mapping: Some("給与".to_owned()), ..unsure() }));
    let Answer::Imported(imported) = town.ask(saved()).await.unwrap() else { panic!() };
    assert!(imported.set.is_some());
    // Of another authority it is not.
    assert!(refusal(town.ask_of(port(), saved()).await).contains("保存されていません"));
    let log = town.log(kanazawa()).await;
    assert_eq!((log[0].what.as_str(), log[0].whom.as_str()), ("organisation.save_mapping", "給与"));
}

/// `n` people by number, with or without zeros in front.
fn numbered(n: u32, with_zeros: bool) -> String {
    let row = |number: u32| match with_zeros {
        true => format!("{number:05},山田 花子,防災課,主査\n"),
        false => format!("{number},山田 花子,防災課,主査\n"),
    };
    format!("職員番号,氏名,所属,職名\n{}", (1..=n).map(row).collect::<String>())
}

#[tokio::test]
async fn numbers_without_their_zeros_are_seen_and_with_them_they_are_the_same_people() {
    let town = Town::new().await;
    let columns = async |file: String| {
        let order = Order::Columns { file: FileBytes::new(file.into()), how: How::default() };
        let Answer::Columns(columns) = town.ask(order).await.unwrap() else { panic!() };
        *columns
    };
    // Nobody is known, and nothing is missed.
    assert_eq!(columns(numbered(2_500, false)).await.lost_zeros, None);
    town.take(numbered(2_500, true).into(), "2025-04-01").await;
    assert_eq!(columns(numbered(2_500, true)).await.lost_zeros, None);

    let found = columns(numbered(2_500, false)).await;
    assert_eq!(found.lost_zeros, Some(5));
    // As it is nobody is new and nobody ends: each row is wrong.
    let Answer::Imported(as_is) =
        town.ask(Order::Import(Box::new(import(numbered(2_500, false).into())))).await.unwrap()
    else {
        panic!()
    };
    let counts = as_is.set.unwrap().1.counts;
    let count = |kind| counts.iter().find(|(one, _)| *one == kind).map_or(0, |(_, count)| *count);
    assert_eq!((count(Kind::New), count(Kind::Ended), count(Kind::Wrong)), (0, 0, 2_500));
    // Filled up, nothing changes at all.
    let mapping = Mapping { digits: intake::Digits::FilledTo(5), ..found.mapping };
    town.ask(Order::SaveMapping { name: "桁".to_owned(), mapping: Box::new(mapping) }).await.unwrap();
    let filled = Import { mapping: Some("桁".to_owned()), ..import(numbered(2_500, false).into()) };
    let Answer::Imported(filled) = town.ask(Order::Import(Box::new(filled))).await.unwrap() else { panic!() };
    assert!(filled.unchanged >= 2_500, "{}", filled.unchanged);
}

#[tokio::test]
async fn so_many_mappings_and_no_more_are_kept() {
    let town = Town::new().await;
    for number in 0..100 {
        save(&town, kanazawa(), &format!("名簿{number}")).await.unwrap();
    }
    assert!(refusal(save(&town, kanazawa(), "名簿100").await).contains("100"));
    // One that is there may change.
    save(&town, kanazawa(), "名簿7").await.unwrap();
    let long = "長".repeat(101);
    for wrong in ["", " ", "a\nb", long.as_str()] {
        assert!(refusal(save(&town, port(), wrong).await).contains("名前"), "{wrong:?}");
    }
}
