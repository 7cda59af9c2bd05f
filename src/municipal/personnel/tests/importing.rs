//! Files that become change sets, and those of which nothing is taken.

use super::*;

#[tokio::test]
async fn a_shift_jis_file_with_days_of_eras_is_applied_at_its_hour() {
    let town = Town::new().await;
    let (id, set) = town.import(shift_jis(THREE), "2026-04-01").await.unwrap().unwrap();
    assert_eq!((set.state, set.at, set.made_by.as_str()), (State::Preview, Timestamp(MIDNIGHT), "uid 1000"));
    let told = town.lines(id).await;
    let new: Vec<_> =
        told.iter().filter(|line| line.kind == Kind::New).map(|line| line.about.as_str()).collect();
    assert!(
        new.contains(&"00002 髙橋 一郎") && new.contains(&"首長部局") && new.contains(&"防災課"),
        "{new:?}"
    );
    assert!(town.people("2026-04-01").await.is_empty(), "nothing is done before it is approved");

    town.approve(id).await;
    let early = town.set_after(Order::Apply { id }).await;
    assert!(refusal(early).contains("令和8年4月1日 0:00"));
    town.hand.set_forward(Duration::from_secs(3_600));
    assert_eq!(town.set_after(Order::Apply { id }).await.unwrap().state, State::Applied);
    let there = ["人事課 係長 鈴木 次郎", "防災課 主査 髙橋 一郎", "防災課 課長 山田 花子"];
    assert_eq!(town.people("2026-04-01").await, there);
    // It stays applied, whoever asks again.
    assert_eq!(town.set_after(Order::Apply { id }).await.unwrap().state, State::Applied);
    assert!(
        town.import(shift_jis(THREE), "2026-04-01").await.unwrap().is_none(),
        "the same file changes nothing"
    );
}

#[tokio::test]
async fn wrong_rows_are_told_with_row_and_column_and_their_people_stay_as_they_are() {
    let town = Town::new().await;
    town.take(file(THREE), "2026-04-01").await;
    let before = town.show("2026-04-01").await;
    // A day before its era, and somebody without a number. 鈴木 is missing: he may be in the row without one.
    let rows = "\
        00001,山田　花子,ﾔﾏﾀﾞ ﾊﾅｺ,総務部　人事課,課長,令和元年4月1日\r\n\
        00002,髙橋 一郎,ﾀｶﾊｼ ｲﾁﾛｳ,総務部　人事課,主査,\r\n\
        ,佐藤 三郎,ｻﾄｳ ｻﾌﾞﾛｳ,総務部　人事課,主事,\r\n";
    let (id, set) = town.import(shift_jis(rows), "2026-04-02").await.unwrap().unwrap();
    let lines = town.lines(id).await;
    let wrong: Vec<_> = lines.iter().filter(|line| line.kind == Kind::Wrong).collect();
    let said = |row: u32| -> String {
        let line = wrong.iter().find(|line| line.rows.contains(&row)).unwrap();
        assert_eq!(line.changes, 0);
        line.told.iter().map(|told| format!("{} / {}\n", told.ja, told.en)).collect()
    };
    assert!(said(2).contains("2行目 6列目(発令日)「令和元年4月1日」"), "{}", said(2));
    assert!(said(2).contains("Row 2, column 6 (発令日)"), "{}", said(2));
    assert!(said(4).contains("4行目 1列目(職員番号)"), "{}", said(4));
    let guards: Vec<_> = set.guards.iter().map(|guard| guard.kind).collect();
    assert!(guards.contains(&GuardKind::Unread), "{guards:?}");
    assert!(lines.iter().all(|line| line.kind != Kind::Ended), "{lines:?}");

    town.approve(id).await;
    town.hand.advance(Duration::from_secs(86_400));
    town.set_after(Order::Apply { id }).await.unwrap();
    assert_eq!(
        town.people("2026-04-02").await,
        ["人事課 主査 髙橋 一郎", "人事課 係長 鈴木 次郎", "防災課 課長 山田 花子"],
    );
    assert_eq!(people(&before), town.people("2026-04-01").await, "days before stay as they were");
}

#[tokio::test]
async fn a_file_without_anybody_ends_nobody() {
    let town = Town::new().await;
    town.take(file(THREE), "2026-04-01").await;
    let before = town.show("2027-01-01").await;
    for (case, empty) in
        [("no byte", Vec::new()), ("blanks", b"\r\n \r\n".to_vec()), ("headers alone", file(""))]
    {
        let told = refusal(town.import(empty, "2026-04-02").await);
        assert!(!told.is_empty(), "{case}");
    }
    // All rows are wrong: whoever seems to be missing is not ended, and everybody has to say that he has seen it.
    let (id, set) = town.import(file(",佐藤 三郎,,,,\r\n"), "2026-04-02").await.unwrap().unwrap();
    assert!(set.guards.iter().any(|guard| guard.kind == GuardKind::Empty), "{:?}", set.guards);
    assert!(town.lines(id).await.iter().all(|line| line.changes == 0));
    assert_eq!(people(&before), town.people("2027-01-01").await);
}

#[tokio::test]
async fn a_body_or_unit_that_is_not_known_is_made_only_if_that_is_said() {
    let town = Town::new().await;
    let nothing = Import { body: None, makes_new: false, ..import(file(THREE)) };
    assert!(refusal(town.ask(Order::Import(Box::new(nothing))).await).contains("--new"));
    let typed = Import { makes_new: false, ..import(file(THREE)) };
    assert!(refusal(town.ask(Order::Import(Box::new(typed))).await).contains("首長部局"));
    town.take(file(THREE), "2026-04-01").await;

    let other = "00001,山田 花子,ヤマダ ハナコ,総務部　坊災課,課長,\r\n";
    let typed = Import { makes_new: false, body: None, day: Some(day("2026-04-02")), ..import(file(other)) };
    let Ok(Answer::Imported(imported)) = town.ask(Order::Import(Box::new(typed))).await else { panic!() };
    let (id, _) = imported.set.unwrap();
    let lines = town.lines(id).await;
    let line = lines.iter().find(|line| line.about.starts_with("00001")).unwrap();
    assert!(line.kind == Kind::Wrong && line.told[0].ja.contains("坊災課"), "{line:?}");
}

#[tokio::test]
async fn one_authority_sees_and_changes_nothing_of_anothers() {
    let town = Town::new().await;
    let id = town.take(file(THREE), "2026-04-01").await;
    let orders = [
        Order::Set { id },
        Order::Lines { id, from: 0, briefly: false },
        Order::Withdraw { id },
        Order::Apply { id },
        Order::Undo { id, line: None },
        Order::Undo { id, line: Some(0) },
    ];
    for order in orders {
        let told = format!("{order:?}");
        let done = town.ask_of(port(), order).await;
        assert!(refusal(done).contains("その番号の変更案はありません"), "{told}");
    }
    let Ok(Answer::List(sets)) = town.ask_of(port(), Order::List { before: None, limit: 10 }).await else {
        panic!()
    };
    assert_eq!(sets, []);
    let show = Order::Show { day: Some(day("2026-04-01")), unit: None, within: None };
    let Ok(Answer::Shown(shown)) = town.ask_of(port(), show.clone()).await else { panic!() };
    assert!(shown.bodies.is_empty());
    assert!(town.log(port()).await.is_empty());
    assert_eq!(town.people("2026-04-01").await.len(), 3);
    let nowhere = town.ask_of(server_name!("wajima.test"), show).await;
    assert!(matches!(nowhere, Err(Error::NoAuthority)), "{nowhere:?}");
}

#[tokio::test]
async fn what_an_identity_provider_has_told_becomes_one_set_and_ends_nobody() {
    let town = Town::new().await;
    town.take(file(THREE), "2025-04-01").await;
    let told =
        Told {
            number: "00002", name: "髙橋 一郎", reading: "", unit: "総務部　防災課", title: "係長"
        };
    let ask = async |source: &str| {
        let import = Import { source: source.to_owned(), ..import(Vec::new()) };
        town.ask(Order::ImportTold(Box::new(import))).await
    };
    assert!(refusal(ask("人事").await).contains("まだありません"));
    // Of whoever signs in for the first time, twice the same, and once otherwise.
    let (taro, hanako) = (user_id!("@taro:kanazawa.test"), user_id!("@hanako:kanazawa.test"));
    for _ in 0..2 {
        town.desk.note_told(taro, &Told { title: "主査", ..told }).await.unwrap();
    }
    let head = town.store.head();
    town.desk.note_told(taro, &Told { title: "主査", ..told }).await.unwrap();
    assert_eq!(town.store.head(), head, "what is known is not written");
    town.desk.note_told(taro, &told).await.unwrap();
    let quoted =
        Told { number: "00009", name: "山\"本\", 花子", reading: "ヤマモト ハナコ", ..told };
    town.desk.note_told(hanako, &quoted).await.unwrap();
    // Nor is it another authority's.
    let Answer::Known(theirs) = town.ask_of(port(), Order::Known).await.unwrap() else { panic!() };
    let Answer::Known(ours) = town.ask(Order::Known).await.unwrap() else { panic!() };
    assert_eq!((theirs.told, ours.told), (0, 2));

    // As another source's word it does not take from anybody what the file has said: that is told.
    let Answer::Imported(other) = ask("認証基盤").await.unwrap() else { panic!() };
    let lines = town.lines(other.set.unwrap().0).await;
    assert!(
        lines.iter().any(|line| line.kind == Kind::Wrong && line.about.contains("髙橋 一郎")),
        "{lines:?}"
    );
    let Answer::Imported(imported) = ask("人事").await.unwrap() else { panic!() };
    let (id, set) = imported.set.unwrap();
    let lines = town.lines(id).await;
    let of = |about: &str| lines.iter().find(|line| line.about.contains(about)).map(|line| line.kind);
    assert_eq!(of("髙橋 一郎"), Some(Kind::Moved), "{lines:?}");
    assert_eq!(of("山\"本\", 花子"), Some(Kind::New), "{lines:?}");
    assert!(lines.iter().all(|line| !matches!(line.kind, Kind::Ended | Kind::Wrong)), "{lines:?}");
    assert_eq!(set.guards.iter().map(|guard| guard.kind).collect::<Vec<_>>(), []);
    // What somebody is called makes no other row, column or file of what was told.
    let forged = "z\n職員番号\t氏名\t所属\tアカウント\n5\t被害 者子\t総務部\ttaro\n\u{0}\u{1b}$B";
    let other = user_id!("@aaa:kanazawa.test");
    town.desk.note_told(other, &Told { number: "00077", name: forged, ..told }).await.unwrap();
    let Answer::Imported(imported) = ask("人事").await.unwrap() else { panic!() };
    let lines = town.lines(imported.set.unwrap().0).await;
    assert!(
        lines.iter().any(|line| line.about.contains("髙橋 一郎") && line.kind == Kind::Moved),
        "{lines:?}"
    );
    assert!(lines.iter().all(|line| !line.about.starts_with('5')), "{lines:?}");
    // What was told more than a year ago of somebody who never came again is nothing any more.
    town.hand.advance(Duration::from_secs(401 * 86_400));
    let Answer::Known(ours) = town.ask(Order::Known).await.unwrap() else { panic!() };
    assert_eq!(ours.told, 0);
}
