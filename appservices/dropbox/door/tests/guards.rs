//! What counts once, what is over, and what is refused before anything is kept.

use super::*;

/// The bytes and links that count, over everything.
async fn totals(place: &Place) -> (u64, u32) {
    let totals = place.drops.store().get(&crate::rows::TOTALS, "").await.unwrap().unwrap();
    (totals.bytes, totals.links)
}

async fn link_of(place: &Place, made: &Made) -> crate::rows::Link {
    place.drops.find(&made.token).await.unwrap()
}

#[tokio::test]
async fn links_count_once_however_often_they_are_made_and_ended() {
    let place = place_with(|settings| settings.most_links = 2);
    let (one, two) = (place.make_by("$one", wish()).await, place.make_by("$two", wish()).await);
    let (room, maker) = (one.link.room.clone(), one.link.maker.clone());
    let make = async |event: &str| {
        let (room, maker, event) = (room.clone(), maker.clone(), event.try_into().unwrap());
        place.drops.make(room, maker, event, Language::Japanese, wish()).await
    };
    // The same event again makes nothing, and needs no room for it.
    assert_eq!((make("$one").await.unwrap().link.number, totals(&place).await.1), (1, 2));
    assert!(matches!(make("$three").await, Err(Error::Links)));
    assert_eq!(place.drops.of_room(&room).await.unwrap().len(), 2);
    assert!(place.drops.revoke(&room, 1, maker.clone()).await.unwrap().is_some());
    assert!(place.drops.revoke(&room, 1, maker.clone()).await.unwrap().is_none());
    assert!(place.drops.revoke(&room, 9, maker.clone()).await.unwrap().is_none());
    assert_eq!((place.drops.of_room(&room).await.unwrap().len(), totals(&place).await.1), (1, 1));
    assert_eq!(make("$three").await.unwrap().link.number, 3);

    place.hand.advance(24 * HOUR);
    assert!(place.drops.of_room(&room).await.unwrap().is_empty());
    for _ in 0..2 {
        place.drops.expired(&two.token.hash()).await.unwrap();
        place.drops.expired(&one.token.hash()).await.unwrap();
    }
    // Of those that ended by themselves and by somebody none counts twice.
    assert_eq!(totals(&place).await.1, 1);
    place.drops.revoke(&room, 2, maker).await.unwrap();
    assert_eq!(totals(&place).await.1, 1);
}

#[tokio::test]
async fn a_link_that_is_ended_or_over_takes_no_code_and_gives_up_what_was_begun() {
    let place = place();
    let made = place.make(Wish { with_code: true, ..wish() }).await;
    let code = made.code.clone().unwrap();
    let enter = async || {
        let body = format!("code={}", code.replace(' ', "+"));
        place.ask(Method::POST, &format!("{}/code", path(&made)), &[], body).await
    };
    let entered = enter().await;
    let cookie = entered.header("set-cookie").split(';').next().unwrap().to_owned();
    let with = async |method: Method, at: &str, headers: &[(&str, &str)], body: Body| {
        let mut all = vec![("cookie", &*cookie)];
        all.extend_from_slice(headers);
        place.ask(method, at, &all, body).await
    };
    let files = format!("{}/files", path(&made));
    let of_file =
        format!("filename {},name {}", BASE64_STANDARD.encode("a.jpg"), BASE64_STANDARD.encode("能登"));
    let of_file = [("upload-length", "50"), ("upload-metadata", &*of_file)];
    let begun = with(Method::POST, &files, &of_file, Body::empty()).await;
    let at = begun.header("location").to_owned();
    // A cookie of another name says nothing, and neither does what was made up.
    for cookie in ["dropbox-pass=0000", &cookie.replacen("dropbox-pass", "other", 1)] {
        let refused = place.ask(Method::HEAD, &at, &[("cookie", cookie)], Body::empty()).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN, "{cookie}");
    }
    // As long as it lasts, what was begun goes on, behind the code.
    place.hand.advance(24 * HOUR);
    assert_eq!(enter().await.status, StatusCode::GONE);
    assert_eq!(place.get(&made).await.status, StatusCode::GONE, "who has not told it sees no more");
    assert_eq!(with(Method::GET, &path(&made), &[], Body::empty()).await.status, StatusCode::OK);
    assert_eq!(with(Method::HEAD, &at, &[], Body::empty()).await.status, StatusCode::OK);
    // A time of grace later it does not, whether or not somebody has looked after it.
    place.hand.advance(place.drops.settings().grace.0);
    assert_eq!(with(Method::GET, &path(&made), &[], Body::empty()).await.status, StatusCode::GONE);
    assert_eq!(with(Method::HEAD, &at, &[], Body::empty()).await.status, StatusCode::GONE);

    let other = place.make_by("$other", wish()).await;
    let at = place.create(&other, "a.jpg", 500).await.header("location").to_owned();
    let (room, maker) = (other.link.room.clone(), other.link.maker.clone());
    place.drops.revoke(&room, other.link.number, maker).await.unwrap();
    assert_eq!(place.head(&at).await.status, StatusCode::GONE);
    let uploads = place.drops.uploads_of(&other.token.hash()).await.unwrap();
    assert_eq!(uploads[0].1.state, UploadState::Refused { reason: Refused::GivenUp });
    place.drops.close(&made.token.hash()).await.unwrap();
    place.files.tidy().await.unwrap();
    assert_eq!((place.on_disk(), totals(&place).await.0), (0, 0));
}

#[tokio::test]
async fn one_that_broke_off_is_given_up_at_once_by_a_program_that_speaks_our_version() {
    let place = place();
    let made = place.make(Wish { files: 1, ..wish() }).await;
    let at = place.create(&made, "a.jpg", 500).await.header("location").to_owned();
    place.patch(&at, 0, broken(PICTURE)).await;
    let files = format!("{}/files", path(&made));
    for (method, path) in
        [(Method::POST, &files), (Method::HEAD, &at), (Method::PATCH, &at), (Method::DELETE, &at)]
    {
        let headers = [("tus-resumable", "0.2.2"), ("upload-length", "5"), ("upload-offset", "0")];
        let refused = place.ask(method.clone(), path, &headers, Body::empty()).await;
        assert_eq!(
            (refused.status, refused.header("tus-version")),
            (StatusCode::PRECONDITION_FAILED, "1.0.0"),
            "{method}"
        );
    }
    assert_eq!(place.create(&made, "b.jpg", 5).await.status, StatusCode::CONFLICT, "the only place is taken");
    let ours = [("tus-resumable", "1.0.0")];
    assert_eq!(place.ask(Method::DELETE, &at, &ours, Body::empty()).await.status, StatusCode::NO_CONTENT);
    assert_eq!(place.head(&at).await.status, StatusCode::GONE);
    assert_eq!(place.patch(&at, 0, PICTURE.to_vec()).await.status, StatusCode::GONE);
    assert_eq!(place.create(&made, "b.jpg", 5).await.status, StatusCode::CREATED);
}

#[tokio::test]
async fn a_file_that_is_whole_is_not_taken_back_and_stays_until_it_is_in_the_room() {
    let place = place();
    let made = place.make(wish()).await;
    let hash = made.token.hash();
    let created = place.create(&made, "a.jpg", PICTURE.len()).await;
    let at = created.header("location").to_owned();
    place.patch(&at, 0, PICTURE.to_vec()).await;
    place.done(&at, PICTURE).await;
    let taken = place.ask(Method::DELETE, &at, &[], Body::empty()).await;
    assert_eq!(taken.status, StatusCode::CONFLICT, "it is said that it came");
    let link = link_of(&place, &made).await;
    assert_eq!((link.files, link.bytes, link.received), (1, PICTURE.len() as u64, 1));
    assert_eq!(place.patch(&at, 0, PICTURE.to_vec()).await.status, StatusCode::CONFLICT);
    place.drops.give_up_all(&hash).await.unwrap();
    place.files.tidy().await.unwrap();
    assert_eq!((place.on_disk(), totals(&place).await.0), (1, PICTURE.len() as u64));

    // While it waits its link is not forgotten; then its place on the disk is free, and its rows go.
    place.drops.close(&hash).await.unwrap();
    place.drops.forget(&hash).await.unwrap();
    let outbox = place.drops.store().scan(&crate::rows::OUTBOX, "", None, 10).await.unwrap();
    let (waits, key) = outbox[0].clone();
    for _ in 0..2 {
        place.drops.delivered(&waits, &key, "$event".try_into().unwrap()).await.unwrap();
    }
    assert_eq!(totals(&place).await.0, 0);
    place.files.tidy().await.unwrap();
    assert_eq!(place.on_disk(), 0);
    place.drops.forget(&hash).await.unwrap();
    assert!(matches!(place.drops.find(&made.token).await, Err(Error::NoLink)));
    assert!(place.drops.uploads_of(&hash).await.unwrap().is_empty());
    // No number is given twice.
    assert_eq!(place.make_by("$next", wish()).await.link.number, made.link.number + 1);
}

#[tokio::test]
async fn a_reminder_comes_before_half_of_the_time_and_is_noted_once_where_nothing_came() {
    let place = place();
    let whats = async || {
        let deeds = place.drops.store().scan(&crate::rows::RECORD, "", None, 100).await.unwrap();
        deeds.iter().filter(|(_, deed)| deed.what == crate::rows::What::LinkReminded).count()
    };
    let made = place.make(Wish { remind: 20 * HOUR, ..wish() }).await;
    let link = link_of(&place, &made).await;
    assert_eq!(link.remind, Some(link.ends.before(12 * HOUR)));
    let other = place.make_by("$other", wish()).await;
    place.send(&other, "a.jpg", PICTURE).await;
    for made in [&made, &made, &other] {
        place.drops.reminded(&made.token.hash()).await.unwrap();
    }
    assert_eq!(whats().await, 1);
    assert_eq!(link_of(&place, &made).await.remind, None);
}

#[tokio::test]
async fn what_is_odd_in_a_request_is_refused_before_anything_is_kept() {
    let place = place();
    let made = place.make(wish()).await;
    assert_eq!(place.create(&made, "a.jpg", 0).await.status, StatusCode::BAD_REQUEST);
    let files = format!("{}/files", path(&made));
    // What another site's page sends is not done, at no address.
    let at = place.create(&made, "a.jpg", 50).await.header("location").to_owned();
    let done = format!("{at}/done");
    for site in ["cross-site", "same-site"] {
        for (method, path) in
            [(Method::POST, &files), (Method::PATCH, &at), (Method::DELETE, &at), (Method::POST, &done)]
        {
            let headers = [
                ("sec-fetch-site", site),
                ("upload-length", "5"),
                ("upload-offset", "0"),
                ("content-type", "application/offset+octet-stream"),
            ];
            let refused = place.ask(method.clone(), path, &headers, "x").await;
            assert_eq!(refused.status, StatusCode::FORBIDDEN, "{method} {path}");
        }
    }
    assert_eq!(place.head(&at).await.header("upload-offset"), "0");
    for (kind, status) in [
        ("text/plain", StatusCode::UNSUPPORTED_MEDIA_TYPE),
        ("", StatusCode::UNSUPPORTED_MEDIA_TYPE),
        ("application/offset+octet-streams", StatusCode::UNSUPPORTED_MEDIA_TYPE),
        ("text/plain; x=application/offset+octet-stream", StatusCode::UNSUPPORTED_MEDIA_TYPE),
        ("Application/Offset+Octet-Stream", StatusCode::NO_CONTENT),
        ("application/offset+octet-stream ; charset=utf-8", StatusCode::NO_CONTENT),
    ] {
        let offset = place.head(&at).await.header("upload-offset").to_owned();
        let headers = [("upload-offset", &*offset), ("content-type", kind)];
        assert_eq!(place.ask(Method::PATCH, &at, &headers, "x").await.status, status, "{kind}");
    }
    for id in ["x", &"a".repeat(33), &"A".repeat(32), &"g".repeat(32)] {
        assert_eq!(place.head(&format!("{files}/{id}")).await.status, StatusCode::NOT_FOUND, "{id}");
    }
    let large =
        place.ask(Method::POST, &done, &[], format!("{{\"sha256\":\"{}\"}}", "a".repeat(5_000))).await;
    assert_eq!(large.status, StatusCode::BAD_REQUEST);
    // What is said of oneself is cut; of too much metadata nothing is read.
    let encoded = |text: &str| BASE64_STANDARD.encode(text);
    let long = encoded(&"長".repeat(600));
    let create = async |metadata: &str| {
        let headers = [("upload-length", "5"), ("upload-metadata", metadata)];
        place.ask(Method::POST, &files, &headers, Body::empty()).await.status
    };
    let filler = "A".repeat(9_000);
    let named = format!("filename {},name {},note {long}", encoded("b.jpg"), encoded(&"名".repeat(70)));
    let too_much = format!("filename {},name {},x {filler}", encoded("c.jpg"), encoded("能登"));
    create(&too_much).await;
    assert_eq!(create(&named).await, StatusCode::CREATED);
    let uploads = place.drops.uploads_of(&made.token.hash()).await.unwrap();
    let (of_name, of_note): (Vec<_>, Vec<_>) = uploads
        .iter()
        .map(|(_, upload)| (upload.sender.name.chars().count(), upload.sender.note.chars().count()))
        .unzip();
    assert!(of_name.iter().all(|count| *count <= 61) && of_name.contains(&60), "{of_name:?}");
    assert!(of_note.iter().all(|count| *count <= 501) && of_note.contains(&500), "{of_note:?}");
    assert!(uploads.iter().all(|(_, upload)| upload.original_name != "c.jpg"));
}

/// 渡しURL
#[tokio::test]
async fn a_file_is_handed_over_by_two_in_time_and_so_often_and_so_long_as_was_said() {
    use crate::{
        command::Handing,
        drops::handover::{Agreement, Handed},
        rows::{Hand, HandState},
    };
    let place = place();
    let drops = &place.drops;
    let room: bot_kit::ruma::OwnedRoomId = "!room:kanazawa.test".try_into().unwrap();
    let user = |name: &str| bot_kit::ruma::OwnedUserId::try_from(format!("@{name}:kanazawa.test")).unwrap();
    let ask = async |event: &str, with_code: bool| -> Hand {
        let handing = Handing { lasts: 24 * HOUR, times: 2, with_code };
        let file = Handed {
            uri: "mxc://kanazawa.test/a".to_owned(),
            name: "a.jpg".to_owned(),
            bytes: Some(5),
            event: "$file".try_into().unwrap(),
        };
        let cause = event.try_into().unwrap();
        let hand = drops
            .ask_to_hand_over(room.clone(), user("hanako"), cause, Language::Japanese, handing, file)
            .await
            .unwrap();
        drops.note_question(&hand, &format!("{event}-question").try_into().unwrap()).await.unwrap();
        hand
    };
    let agree = async |event: &str, by: &str| {
        let yes = format!("{event}-yes-{by}").try_into().unwrap();
        drops.agree(&format!("{event}-question").try_into().unwrap(), user(by), yes).await.unwrap()
    };
    assert_eq!(ask("$one", true).await.number, ask("$one", true).await.number, "told again after a crash");
    assert!(matches!(agree("$none", "jiro").await, Agreement::Nothing));
    assert!(matches!(agree("$one", "hanako").await, Agreement::Own(_)));
    let Agreement::Good(_, token, Some(code)) = agree("$one", "jiro").await else { panic!("not good") };
    // Whoever agreed hears it again, and nobody else.
    assert!(matches!(agree("$one", "jiro").await, Agreement::Good(..)));
    assert!(matches!(agree("$one", "saburo").await, Agreement::Nothing));

    let enter = async |code: &str| drops.enter_hand(&token, code, String::new()).await;
    let pass = enter(&code).await.unwrap();
    let hand = drops.find_hand(&token).await.unwrap();
    assert!(drops.may_fetch(&token, &hand, Some(&pass)));
    for wrong in [None, Some("0000"), Some(&*token.hash())] {
        assert!(!drops.may_fetch(&token, &hand, wrong));
    }
    // Four more browsers may tell it, and then none.
    for _ in 1..crate::drops::PASSES {
        enter(&code).await.unwrap();
    }
    assert!(matches!(enter(&code).await, Err(Error::Locked)));

    let take = async || drops.take_download(&token, String::new()).await;
    take().await.unwrap();
    // Of which no byte went out does not count.
    take().await.unwrap();
    drops.give_download_back(&token, crate::drops::BrokenOff::default()).await.unwrap();
    take().await.unwrap();
    assert!(matches!(take().await, Err(Error::UsedUp(Some(_)))));
    assert!(matches!(drops.find_hand(&token).await, Err(Error::UsedUp(Some(_)))));
    assert!(matches!(enter("00000000").await, Err(Error::UsedUp(Some(_)))));

    // One that is asked for too long ago is not agreed to, nor one that was ended.
    ask("$late", false).await;
    let ended = ask("$ended", false).await;
    assert_eq!(drops.hands_of_room(&room).await.unwrap().len(), 2);
    assert!(drops.end_hand(&room, ended.number, user("jiro")).await.unwrap().is_some());
    assert!(drops.end_hand(&room, ended.number, user("jiro")).await.unwrap().is_none());
    assert!(matches!(agree("$ended", "jiro").await, Agreement::Nothing));
    assert_eq!(drops.hands_of_room(&room).await.unwrap().len(), 1);
    place.hand.advance(24 * HOUR);
    assert!(matches!(agree("$late", "jiro").await, Agreement::Nothing));
    assert!(drops.hands_of_room(&room).await.unwrap().is_empty());

    // Nobody fetches once its time is over, whatever is left.
    ask("$short", false).await;
    let Agreement::Good(_, short, None) = agree("$short", "jiro").await else { panic!("not good") };
    place.hand.advance(24 * HOUR);
    assert!(matches!(drops.take_download(&short, String::new()).await, Err(Error::Over)));
    assert!(matches!(drops.find_hand(&short).await, Err(Error::Over)));
    let kept: Hand = drops.store().get(&crate::rows::HANDS, &short.hash()).await.unwrap().unwrap();
    assert!(matches!(kept.state, HandState::Good { left: 2, .. }));

    // They are forgotten when the time in which they are kept is over, but for the room's last number.
    let keep = drops.settings().keep.0;
    let count = async || drops.store().scan(&crate::rows::HANDS, "", None, 100).await.unwrap().len();
    drops.forget_hands().await.unwrap();
    assert!(count().await >= 3);
    place.hand.advance(keep + 23 * HOUR);
    drops.forget_hands().await.unwrap();
    assert_eq!(count().await, 1, "the last was asked for a day later");
    place.hand.advance(HOUR);
    drops.forget_hands().await.unwrap();
    assert_eq!(count().await, 0);
    assert_eq!(ask("$next", false).await.number, 5);
}

#[tokio::test]
async fn ten_wrong_codes_in_all_lock_a_link_and_its_page_says_so() {
    let place = place();
    let made = place.make(Wish { with_code: true, ..wish() }).await;
    let code = made.code.clone().unwrap();
    let wrong = if code == "0000 0000" { "11111111" } else { "00000000" };
    for left in (0..10_u8).rev() {
        let tried = place.drops.enter(&made.token, wrong, String::new()).await;
        assert!(matches!(tried, Err(Error::WrongCode(found)) if found == left), "{left}");
    }
    assert!(matches!(place.drops.enter(&made.token, wrong, String::new()).await, Err(Error::Locked)));
    assert!(matches!(place.drops.enter(&made.token, &code, String::new()).await, Err(Error::Locked)));
    assert!(link_of(&place, &made).await.is_locked());
}
