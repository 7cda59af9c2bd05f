//! Links of both kinds: their codes, their ends, and all of a room.

use bot_kit::ruma::RoomId;

use super::*;
use crate::{
    command::Handing,
    drops::{
        BrokenOff,
        handover::{Agreement, Handed, MOST_GIVEN_BACK},
    },
    end::Why,
    moment,
    rows::{HANDS, Hand, RECORD, What},
};

fn full_width(text: &str) -> String {
    text.chars()
        .map(|letter| {
            char::from_u32(u32::from(letter) + 0xfee0).filter(|_| letter != ' ').unwrap_or('\u{3000}')
        })
        .collect()
}

/// A file that another member agreed to hand over.
async fn handed(place: &Place, event: &str, handing: Handing) -> (Token, Option<String>) {
    let (room, asker) = ("!room:kanazawa.test", "@hanako:kanazawa.test");
    let file = Handed {
        uri: "mxc://kanazawa.test/a".to_owned(),
        name: "a.pdf".to_owned(),
        bytes: None,
        event: "$file".try_into().unwrap(),
    };
    let (room, asker, cause) =
        (room.try_into().unwrap(), asker.try_into().unwrap(), event.try_into().unwrap());
    let hand =
        place.drops.ask_to_hand_over(room, asker, cause, Language::Japanese, handing, file).await.unwrap();
    let question = format!("{event}-question").as_str().try_into().unwrap();
    place.drops.note_question(&hand, &question).await.unwrap();
    match place
        .drops
        .agree(&question, "@jiro:kanazawa.test".try_into().unwrap(), "$yes".try_into().unwrap())
        .await
        .unwrap()
    {
        Agreement::Good(_, token, code) => (token, code),
        other => unreachable!("{other:?}"),
    }
}

#[tokio::test]
async fn a_code_is_right_in_any_width_and_what_can_be_none_costs_nothing() {
    let place = place();
    let made = place.make(Wish { with_code: true, ..wish() }).await;
    let handing = Handing { lasts: HOUR, times: 2, with_code: true };
    let (hand, code_of_hand) = handed(&place, "$hand", handing).await;
    let doors =
        [(path(&made), made.code.clone().unwrap()), (format!("/h/{}", hand.as_str()), code_of_hand.unwrap())];
    for (at, code) in doors {
        let enter = async |typed: &str| {
            let body =
                url::form_urlencoded::Serializer::new(String::new()).append_pair("code", typed).finish();
            place.ask(Method::POST, &format!("{at}/code"), &[("accept-language", "ja")], body).await
        };
        for _ in 0..4 {
            for no_code in ["", "1234", "合言葉", "１２３４　５６７"] {
                let told = enter(no_code).await;
                assert_eq!(told.status, StatusCode::BAD_REQUEST, "{no_code}");
                assert!(
                    told.text.contains("8桁の数字です") && told.text.contains("name=\"code\""),
                    "{}",
                    told.text
                );
            }
        }
        let wrong = if code == "0000 0000" { "00000001" } else { "00000000" };
        assert!(enter(wrong).await.text.contains("あと9回"), "it is the first that counts");
        assert_eq!(enter(&full_width(&code)).await.status, StatusCode::SEE_OTHER, "{code}");
    }
}

#[tokio::test]
async fn an_address_with_a_slash_at_its_end_leads_to_the_same_page() {
    let place = place();
    let made = place.make(Wish { with_code: true, ..wish() }).await;
    let handing = Handing { lasts: HOUR, times: 2, with_code: false };
    let hand = handed(&place, "$hand", handing).await.0;
    for at in [path(&made), format!("/h/{}", hand.as_str())] {
        let (with, without) = (format!("{at}/"), at);
        let page = place.ask(Method::GET, &without, &[], Body::empty()).await;
        let same = place.ask(Method::GET, &with, &[], Body::empty()).await;
        assert_eq!((same.status, &same.text), (StatusCode::OK, &page.text));
        // Nothing else is there.
        let more = place.ask(Method::GET, &format!("{with}/"), &[], Body::empty()).await;
        assert_eq!(more.status, StatusCode::NOT_FOUND);
    }
    // What a browser is given that told the code is good at both.
    let code = made.code.clone().unwrap().replace(' ', "+");
    let enter = format!("{}/code", path(&made));
    let entered = place.ask(Method::POST, &enter, &[], format!("code={code}")).await;
    let cookie = entered.header("set-cookie").split(';').next().unwrap().to_owned();
    let with = format!("{}/", path(&made));
    let page = place.ask(Method::GET, &with, &[("cookie", &cookie)], Body::empty()).await;
    assert!(page.text.contains("工事写真"));
    let name = format!("name {}", BASE64_STANDARD.encode("能登"));
    let headers = [("upload-length", "5"), ("upload-metadata", &*name), ("cookie", &cookie)];
    let begun = place.ask(Method::POST, &format!("{}/files/", path(&made)), &headers, Body::empty()).await;
    assert_eq!(begun.status, StatusCode::CREATED);
    assert!(!begun.header("location").contains("//"), "{}", begun.header("location"));
}

#[tokio::test]
async fn why_a_link_is_good_no_more_is_said() {
    let place = place();
    let cancelled = place.make(wish()).await;
    place.drops.revoke(&cancelled.link.room, 1, cancelled.link.maker.clone()).await.unwrap();
    let expired = place.make_by("$other", Wish { lasts: HOUR, ..wish() }).await;
    let handing = || Handing { lasts: HOUR, times: 1, with_code: false };
    let (used, ended) =
        (handed(&place, "$used", handing()).await.0, handed(&place, "$ended", handing()).await.0);
    let late = handed(&place, "$late", handing()).await.0;
    place.drops.take_download(&used, String::new()).await.unwrap();
    place.drops.end_hand(&cancelled.link.room, 2, cancelled.link.maker.clone()).await.unwrap();
    let hand = |token: &Token| format!("/h/{}", token.as_str());
    let expect = async |at: String, words: &str| {
        let told = place.ask(Method::GET, &at, &[("accept-language", "ja")], Body::empty()).await;
        assert_eq!(told.status, StatusCode::GONE, "{at}");
        assert!(told.text.contains(words), "{words}: {}", told.text);
    };
    expect(path(&cancelled), "取り消されました").await;
    expect(hand(&used), "回数を使い切りました").await;
    expect(hand(&ended), "取り消されました").await;
    place.hand.advance(8 * HOUR);
    expect(path(&expired), "期限は過ぎました").await;
    expect(hand(&late), "期限は過ぎました").await;
}

#[tokio::test]
async fn why_a_link_ended_before_its_time_is_told_on_its_page_and_in_the_list_for_a_week() {
    let place = place();
    let room: &RoomId = "!room:kanazawa.test".try_into().unwrap();
    let by = || "@hanako:kanazawa.test".try_into().unwrap();
    let handing = || Handing { lasts: 20 * 24 * HOUR, times: 1, with_code: false };
    let mut wanted = Vec::new();
    for (number, (why, page, list)) in [
        (Why::Cancelled, "このURLは取り消されました", "部屋での取消"),
        (Why::FileChanged, "ファイルが差し替えられたか削除されたため", "ファイルの差し替えか削除"),
        (Why::TakenBack, "渡す側が取りやめたため", "頼んだ人の取りやめか退室"),
        (Why::Withdrawn, "渡す側が取りやめたため", "承認の取りやめ"),
        (Why::PutOut, "部屋が使えなくなったため", "ボットが部屋から外された"),
        (Why::Encrypted, "部屋が使えなくなったため", "部屋の暗号化"),
    ]
    .into_iter()
    .enumerate()
    {
        let number = u32::try_from(number).unwrap() + 1;
        let hand = handed(&place, &format!("$hand{number}"), handing()).await.0;
        place.drops.close_hand(room, number, by(), why, None).await.unwrap();
        // What ended once does so no second time for another reason.
        place.drops.close_hand(room, number, by(), Why::Cancelled, None).await.unwrap();
        let made = place.make_by(&format!("$link{number}"), Wish { lasts: 20 * 24 * HOUR, ..wish() }).await;
        place.drops.end_link(room, number, by(), why, None).await.unwrap();
        wanted.push((list, page, [format!("/h/{}", hand.as_str()), path(&made)]));
    }
    let place = place.restart();
    let lists = async || {
        let (hands, links) =
            (place.drops.ended_hands(room).await.unwrap(), place.drops.ended_links(room).await.unwrap());
        [hands, links].map(|ended| words::ended_lately(&ended, Language::Japanese))
    };
    for (number, (list, page, addresses)) in wanted.iter().enumerate() {
        for at in addresses {
            let told = place.ask(Method::GET, at, &[("accept-language", "ja")], Body::empty()).await;
            assert_eq!(told.status, StatusCode::GONE, "{at}");
            assert!(told.text.contains(page), "{page}: {}", told.text);
        }
        for lines in lists().await {
            let line = lines.lines().find(|line| line.starts_with(&format!("{}番「", number + 1)));
            assert!(line.is_some_and(|line| line.ends_with(&format!("／{list}"))), "{list}: {lines}");
        }
    }
    place.hand.advance(7 * 24 * HOUR + HOUR);
    assert_eq!(lists().await, [String::new(), String::new()]);
}

#[tokio::test]
async fn all_links_of_a_room_are_found_however_many_and_a_list_says_how_many_it_leaves_out() {
    let place = place_with(|settings| settings.most_links_per_room = 1_000);
    let room = "!room:kanazawa.test".try_into().unwrap();
    for number in 0..103 {
        handed(&place, &format!("$hand{number}"), Handing { lasts: HOUR, times: 1, with_code: false }).await;
    }
    let hands = place.drops.hands_of_room(room).await.unwrap();
    assert_eq!(hands.len(), 103);
    let list = words::list_hands(&hands, Language::Japanese);
    assert!(list.contains("\n100番") && !list.contains("\n101番") && list.ends_with("ほか 3件"), "{list}");
    place
        .drops
        .close_room(room, "@taro:kanazawa.test".try_into().unwrap(), "$kick".try_into().unwrap(), Why::PutOut)
        .await
        .unwrap();
    assert!(place.drops.hands_of_room(room).await.unwrap().is_empty());
    assert_eq!(place.drops.closed_by(room, "$kick".try_into().unwrap()).await.unwrap().hands.len(), 103);
}

#[tokio::test]
async fn links_are_moved_with_their_numbers_where_those_are_free_and_a_room_that_refuses_takes_nothing_new() {
    let place = place();
    let (old, new): (&RoomId, &RoomId) =
        ("!room:kanazawa.test".try_into().unwrap(), "!new:kanazawa.test".try_into().unwrap());
    let links = [place.make_by("$1", wish()).await, place.make_by("$2", wish()).await];
    let maker = links[0].link.maker.clone();
    place
        .drops
        .make(new.to_owned(), maker, "$3".try_into().unwrap(), Language::Japanese, wish())
        .await
        .unwrap();
    let handing = Handing { lasts: HOUR, times: 1, with_code: false };
    let (hand, _) = handed(&place, "$hand", handing).await;
    assert!(place.drops.room_refuses(old, "$a").await.unwrap());
    assert!(
        place.drops.room_refuses(old, "$a").await.unwrap()
            && !place.drops.room_refuses(old, "$b").await.unwrap()
    );
    let refused = place.create(&links[1], "a.jpg", 5).await;
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
    for _ in 0..2 {
        // A second time there is nothing left to move.
        place.drops.move_room(old, new).await.unwrap();
    }
    assert!(place.drops.of_room(old).await.unwrap().is_empty() && !place.drops.has_links(old).await.unwrap());
    let moved = place.drops.of_room(new).await.unwrap();
    let moved: Vec<(u32, &str)> = moved.iter().map(|link| (link.number, link.cause.as_str())).collect();
    assert_eq!(moved, [(1, "$3"), (2, "$1"), (3, "$2")]);
    let hand = place.drops.find_hand(&hand).await.unwrap();
    assert_eq!((&*hand.room, &**hand.room_of_file(), hand.number), (new, old, 1));
    assert_eq!(place.create(&links[1], "a.jpg", 5).await.status, StatusCode::CREATED);
}

/// LI1
#[tokio::test]
async fn a_download_that_broke_off_is_not_used_up_unless_that_goes_on_and_on() {
    let place = place();
    let door = Door::new(place.drops.clone(), place.files.clone(), None);
    let (token, _) = handed(&place, "$hand", Handing { lasts: HOUR, times: 1, with_code: false }).await;
    // What goes out of a file of ten bytes, or of one that does not say how many it has.
    let (part, rest) = (Bytes::from_static(b"seven.."), Bytes::from_static(b"ten"));
    let fetch = async |length: Option<u64>, parts: &[Option<&Bytes>]| {
        place.drops.take_download(&token, String::new()).await.unwrap();
        assert!(matches!(place.drops.find_hand(&token).await, Err(Error::UsedUp(_))), "nobody else takes it");
        let hand: Hand = place.drops.store().get(&HANDS, &token.hash()).await.unwrap().unwrap();
        let broken = BrokenOff { at: hand.fetched, ..BrokenOff::default() };
        let (door, token) = (door.clone(), Some(token.clone()));
        let mut taken = hand::Taken { door, token, lacking: length, broken };
        parts.iter().for_each(|part| taken.goes_out(*part));
    };
    let comes_back = async || {
        while place.drops.find_hand(&token).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    for (length, parts) in
        [(Some(10), &[][..]), (Some(10), &[Some(&part)]), (None, &[Some(&part), Some(&rest)])]
    {
        fetch(length, parts).await;
        comes_back().await;
    }
    // Of which nothing went out costs nothing, however often: it is not the doing of who asks.
    for _ in 0..MOST_GIVEN_BACK {
        fetch(Some(10), &[]).await;
        comes_back().await;
        assert_eq!(place.drops.find_hand(&token).await.unwrap().fetched, None);
    }
    for _ in 2..MOST_GIVEN_BACK {
        fetch(Some(10), &[Some(&part)]).await;
        comes_back().await;
    }
    // One more would be all but the end of it once more.
    fetch(Some(10), &[Some(&part)]).await;
    let failed = async || {
        let deeds = place.drops.store().scan(&RECORD, "", None, 1_000).await.unwrap();
        let failed = deeds.iter().filter(|(_, deed)| deed.what == What::HandoverFailed);
        u32::try_from(failed.count()).unwrap()
    };
    while failed().await < 2 * MOST_GIVEN_BACK + 2 {
        tokio::task::yield_now().await;
    }
    assert!(matches!(place.drops.find_hand(&token).await, Err(Error::UsedUp(_))));

    for (event, length, parts) in
        [("$known", Some(10), &[Some(&part), Some(&rest)][..]), ("$unknown", None, &[Some(&part), None])]
    {
        let (token, _) = handed(&place, event, Handing { lasts: HOUR, times: 1, with_code: false }).await;
        place.drops.take_download(&token, String::new()).await.unwrap();
        let broken = BrokenOff::default();
        let mut taken = hand::Taken { door: door.clone(), token: Some(token), lacking: length, broken };
        parts.iter().for_each(|part| taken.goes_out(*part));
        assert!(taken.token.is_none(), "{event}");
    }
}

/// LI3
#[tokio::test]
async fn a_link_that_is_used_up_tells_when_that_was() {
    let place = place();
    let (token, _) = handed(&place, "$hand", Handing { lasts: 24 * HOUR, times: 2, with_code: false }).await;
    let at = format!("/h/{}", token.as_str());
    for _ in 0..2 {
        place.drops.take_download(&token, String::new()).await.unwrap();
        place.hand.advance(HOUR);
    }
    let last = place.drops.clock().now().before(HOUR);
    for (language, words) in [("ja", Language::Japanese), ("en", Language::English)] {
        let last = moment::written(last, words);
        for (method, path) in [(Method::GET, at.clone()), (Method::POST, format!("{at}/file"))] {
            let told = place.ask(method, &path, &[("accept-language", language)], Body::empty()).await;
            assert_eq!(told.status, StatusCode::GONE);
            assert!(told.text.contains(&last), "{last}: {}", told.text);
        }
    }
}

#[tokio::test]
async fn one_room_takes_links_away_from_no_other() {
    let place = place_with(|settings| settings.most_links_per_room = 2);
    place.make_by("$1", wish()).await;
    let second = place.make_by("$2", wish()).await;
    let make = async |room: &str, event: &str| {
        let (room, maker, event) =
            (room.try_into().unwrap(), second.link.maker.clone(), event.try_into().unwrap());
        place.drops.make(room, maker, event, Language::Japanese, wish()).await
    };
    assert!(matches!(make("!room:kanazawa.test", "$3").await, Err(Error::LinksOfRoom(2))));
    assert!(make("!room:kanazawa.test", "$2").await.is_ok(), "asked again, it is the same");
    assert!(make("!other:kanazawa.test", "$4").await.is_ok());
    place.drops.revoke(&second.link.room, 1, second.link.maker.clone()).await.unwrap();
    assert!(make("!room:kanazawa.test", "$5").await.is_ok());
}
