//! What becomes of a room, and of its links.

use http::{Method, StatusCode};
use serde_json::{Value, json};
use testkit::Preset;

use crate::town::*;

#[tokio::test]
async fn the_links_of_a_room_end_when_the_bot_is_put_out_and_the_file_that_waits_comes_when_it_is_back() {
    let town = town("").await;
    let HandedOver { hanako, jiro, room, link: hand, .. } = handed_over(&town).await;
    hanako.send(&room, "!受取 写真").await;
    let link = town.link_in(&said(&hanako, &room, "受取URL 1番").await);

    set_levels(&hanako, &room, |levels| levels["users"][jiro.id().as_str()] = json!(50)).await;
    jiro.kick(&room, bot()).await;
    let private = private_room(&hanako).await;
    let told = said(&hanako, &private, "ボットが部屋から外された").await;
    assert!(told.contains("受取URL 1番「写真」") && told.contains("渡しURL 1番「チラシ.txt」"), "{told}");
    for answer in [town.client.get(&link).send(), town.client.post(format!("{hand}/file")).send()] {
        assert_eq!(answer.await.unwrap().status(), StatusCode::GONE);
    }
    hanako.invite(&room, bot()).await;
    hanako.sync_until(|seen| seen.room(&room).membership(bot().as_str()) == Some("join")).await;
    hanako.send(&room, "!受取 一覧").await;
    said(&hanako, &room, "いま使える受取URLはありません").await;
}

#[tokio::test]
async fn a_room_that_refuses_takes_nothing_new_and_what_is_held_comes_at_once_when_it_takes_again() {
    let town = town("").await;
    let (hanako, room, link) = linked(&town).await;
    let bytes = picture(5_000);
    let at = town.create(&link, "写真.jpg", bytes.len()).await;
    set_levels(&hanako, &room, |levels| levels["events_default"] = json!(50)).await;
    let private = private_room(&hanako).await;
    assert!(said(&hanako, &private, "投稿できなくなった").await.contains("1番「写真」"));
    assert_eq!(town.begin(&link).await, StatusCode::SERVICE_UNAVAILABLE);
    // What was begun before comes whole, and is held.
    assert_eq!(town.patch(&at, 0, &bytes).await.status(), StatusCode::NO_CONTENT);
    assert_eq!(town.done(&at, &bytes).await.status(), StatusCode::OK);
    said(&hanako, &private, "いまは部屋に入れられません").await;
    set_levels(&hanako, &room, |levels| levels["events_default"] = json!(0)).await;
    said(&hanako, &room, "に届きました：写真.jpg").await;
    town.create(&link, "次.jpg", 5).await;
}

#[tokio::test]
async fn links_go_with_their_room_when_it_is_upgraded() {
    let town = town("").await;
    let HandedOver { hanako, room, link: hand, .. } = handed_over(&town).await;
    hanako.send(&room, "!受取 写真").await;
    let link = town.link_in(&said(&hanako, &room, "受取URL 1番").await);
    let bytes = picture(5_000);
    let at = town.create(&link, "写真.jpg", bytes.len()).await;

    let new = upgrade(&hanako, &room).await;
    let private = private_room(&hanako).await;
    said(&hanako, &private, "投稿できなくなった").await;
    assert_eq!(town.patch(&at, 0, &bytes).await.status(), StatusCode::NO_CONTENT);
    assert_eq!(town.done(&at, &bytes).await.status(), StatusCode::OK);
    said(&hanako, &private, "いまは部屋に入れられません").await;

    hanako.invite(&new, bot()).await;
    said(&hanako, &new, "この部屋が引き継ぎました").await;
    said(&hanako, &new, "1番「写真」に届きました：写真.jpg").await;
    let got = town.client.post(format!("{hand}/file")).send().await.unwrap();
    assert_eq!(got.status(), StatusCode::OK);
    hanako.send(&new, "!受取 取消 1").await;
    said(&hanako, &new, "「写真」を取り消しました").await;
    hanako.send(&new, "!渡し 取消 1").await;
    said(&hanako, &new, "「チラシ.txt」を取り消しました").await;
    assert_eq!(town.client.post(format!("{hand}/file")).send().await.unwrap().status(), StatusCode::GONE);
}

#[tokio::test]
async fn a_room_that_only_says_that_it_came_of_another_gets_no_links() {
    let town = town("").await;
    let (hanako, room) = town.member("hanako").await;
    hanako.send(&room, "!受取 写真").await;
    said(&hanako, &room, "受取URL 1番").await;
    let jiro = town.stage.server.user("jiro").await;
    let creation = json!({ "predecessor": { "room_id": room, "event_id": "$last" } });
    let foreign =
        jiro.create_room_with(&json!({ "preset": "private_chat", "creation_content": creation })).await;
    jiro.invite(&foreign, bot()).await;
    jiro.sync_until(|seen| seen.room(&foreign).membership(bot().as_str()) == Some("join")).await;
    jiro.send(&foreign, "!受取 一覧").await;
    said(&jiro, &foreign, "いま使える受取URLはありません").await;
    hanako.send(&room, "!受取 一覧").await;
    said(&hanako, &room, "1番「写真」 ").await;
}

#[tokio::test]
async fn an_agreement_that_is_taken_back_and_a_room_that_is_encrypted_end_links() {
    let town = town("").await;
    let HandedOver { hanako, jiro, room, agreement, link: hand, .. } = handed_over(&town).await;
    redact(&jiro, &room, &agreement).await;
    said(&hanako, &room, "承認が取り消されたため").await;
    let page = town.client.get(&hand).send().await.unwrap();
    assert_eq!(page.status(), StatusCode::GONE);
    assert!(page.text().await.unwrap().contains("渡す側が取りやめたため"));

    hanako.send(&room, "!受取 写真").await;
    let link = town.link_in(&said(&hanako, &room, "受取URL 1番").await);
    let path = format!("/rooms/{room}/state/m.room.encryption/").replace('!', "%21");
    hanako.call(Method::PUT, &path, Some(&json!({ "algorithm": "m.megolm.v1.aes-sha2" }))).await;
    let private = private_room(&hanako).await;
    said(&hanako, &private, "部屋が暗号化されたため").await;
    assert_eq!(town.client.get(&link).send().await.unwrap().status(), StatusCode::GONE);
    hanako.send(&room, "!受取 平文").await;
    said(&hanako, &room, "この部屋は暗号化されている").await;
}

#[tokio::test]
async fn who_asks_for_a_link_takes_that_back_and_who_has_left_asks_for_none() {
    let town = town("").await;
    let (hanako, jiro, room) = two_members(&town).await;
    let shared = say(&jiro, &room, "m.room.message", "file", &file(&upload(&jiro, "a").await)).await;
    let ask = async |number: u32| {
        let command =
            say(&hanako, &room, "m.room.message", &format!("ask{number}"), &handover(&shared)).await;
        (command, question(&hanako, &room, number).await)
    };
    let is_over = async |number: u32| {
        said(&jiro, &room, &format!("頼みが取り消されたため、渡しURL {number}番")).await;
    };
    // Before anybody agreed, after that, and by its question.
    let (command, _) = ask(1).await;
    redact(&hanako, &room, &command).await;
    is_over(1).await;
    let (command, question) = ask(2).await;
    say(&jiro, &room, "m.reaction", "yes2", &reaction(&question)).await;
    let hand = town.link_in(&said(&hanako, &room, "承認 @jiro:kanazawa.test").await);
    redact(&hanako, &room, &command).await;
    is_over(2).await;
    assert_eq!(town.client.get(&hand).send().await.unwrap().status(), StatusCode::GONE);
    let (_, question) = ask(3).await;
    redact(&hanako, &room, &question).await;
    is_over(3).await;

    let (_, question) = ask(4).await;
    hanako.leave(&room).await;
    say(&jiro, &room, "m.reaction", "yes4", &reaction(&question)).await;
    is_over(4).await;
    jiro.send(&room, "!渡し 一覧").await;
    let list = said(&jiro, &room, "期限より前に終わったURL").await;
    assert_eq!(list.matches("頼んだ人の取りやめか退室").count(), 4, "{list}");
}

#[tokio::test]
async fn links_go_to_the_last_of_several_rooms_in_whatever_order_the_bot_is_asked_in() {
    let town = town("").await;
    let (hanako, first) = town.member("hanako").await;
    let jiro = town.stage.server.user("jiro").await;
    for (number, order) in [&[1, 2][..], &[2, 1], &[2]].into_iter().enumerate() {
        let first = if number == 0 { first.clone() } else { hanako.create_room(Preset::PrivateChat).await };
        if number > 0 {
            ask_in(&hanako, &first).await;
        }
        hanako.send(&first, "!受取 写真").await;
        let link = town.link_in(&said(&hanako, &first, "受取URL 1番").await);
        let second = upgrade(&hanako, &first).await;
        let rooms = [first, second.clone(), upgrade(&hanako, &second).await];
        for place in order {
            ask_in(&hanako, &rooms[*place]).await;
        }
        said(&hanako, &rooms[2], "この部屋が引き継ぎました").await;
        // It is said before it is done; the answer to a command follows upon that.
        hanako.send(&rooms[2], "!受取 一覧").await;
        said(&hanako, &rooms[2], "1番「写真」 ").await;
        town.end(&town.send_picture(&link).await).await;
        said(&hanako, &rooms[2], "に届きました：写真.jpg").await;
    }

    // Who has no power in the first room leads nothing by the second one, which the bot has to see.
    let first = hanako.create_room(Preset::PrivateChat).await;
    ask_in(&hanako, &first).await;
    set_levels(&hanako, &first, |levels| levels["events"]["m.room.tombstone"] = json!(50)).await;
    hanako.send(&first, "!受取 写真").await;
    said(&hanako, &first, "受取URL 1番").await;
    let second = upgrade(&hanako, &first).await;
    hanako.invite(&second, jiro.id()).await;
    jiro.join(&second, "kanazawa.test").await;
    set_levels(&hanako, &second, |levels| levels["users"][jiro.id().as_str()] = json!(100)).await;
    let third = upgrade(&jiro, &second).await;
    ask_in(&jiro, &third).await;
    jiro.send(&third, "!受取 一覧").await;
    said(&jiro, &third, "いま使える受取URLはありません").await;
    ask_in(&hanako, &second).await;
    said(&jiro, &third, "この部屋が引き継ぎました").await;
    jiro.send(&third, "!受取 一覧").await;
    said(&jiro, &third, "1番「写真」 ").await;
}

#[tokio::test]
async fn a_file_for_a_room_that_was_upgraded_waits_though_the_bot_may_still_speak_there() {
    let town = town("").await;
    let (hanako, room, link) = linked(&town).await;
    let sent = town.send_picture(&link).await;
    set_levels(&hanako, &room, |levels| levels["users"][bot().as_str()] = json!(50)).await;
    let new = upgrade(&hanako, &room).await;
    town.end(&sent).await;
    let private = private_room(&hanako).await;
    said(&hanako, &private, "いまは部屋に入れられません").await;
    ask_in(&hanako, &new).await;
    said(&hanako, &new, "に届きました：写真.jpg").await;
    let is_picture = |event: &Value| event["content"]["msgtype"] == "m.image";
    assert!(!messages(&hanako, &room).await.iter().any(is_picture));
}

#[tokio::test]
async fn a_tombstone_counts_after_who_sent_it_has_lost_his_power() {
    let town = town("").await;
    let (hanako, room, link) = linked(&town).await;
    let jiro = town.stage.server.user("jiro").await;
    hanako.invite(&room, jiro.id()).await;
    jiro.join(&room, "kanazawa.test").await;
    set_levels(&hanako, &room, |levels| {
        levels["users"][bot().as_str()] = json!(50);
        levels["users"][jiro.id().as_str()] = json!(100);
        levels["events"]["m.room.tombstone"] = json!(100);
    })
    .await;
    let new = upgrade(&jiro, &room).await;
    said(&hanako, &private_room(&hanako).await, "投稿できなくなった").await;
    // In April he is on another post.
    set_levels(&hanako, &room, |levels| levels["users"][jiro.id().as_str()] = json!(0)).await;
    // The answer to a command follows upon what came into the room before it.
    hanako.send(&room, "!受取 一覧").await;
    said(&hanako, &room, "1番「写真」 ").await;
    assert_eq!(town.begin(&link).await, StatusCode::SERVICE_UNAVAILABLE);
    ask_in(&jiro, &new).await;
    said(&jiro, &new, "この部屋が引き継ぎました").await;
    jiro.send(&new, "!受取 一覧").await;
    said(&jiro, &new, "1番「写真」 ").await;
    town.end(&town.send_picture(&link).await).await;
    said(&jiro, &new, "に届きました：写真.jpg").await;
}

#[tokio::test]
async fn a_tombstone_that_is_taken_back_by_a_redaction_opens_the_links_again() {
    let town = town("").await;
    let (hanako, room, link) = linked(&town).await;
    set_levels(&hanako, &room, |levels| levels["users"][bot().as_str()] = json!(50)).await;
    let nowhere = json!({ "body": "moved", "replacement_room": "!nowhere:kanazawa.test" });
    let tombstone = hanako.set_state(&room, "m.room.tombstone", "", &nowhere).await;
    said(&hanako, &private_room(&hanako).await, "投稿できなくなった").await;
    // It may be seen before its event is come to. The answer to a command follows upon what came into the room before it.
    hanako.send(&room, "!受取 一覧").await;
    said(&hanako, &room, "1番「写真」 ").await;
    assert_eq!(town.begin(&link).await, StatusCode::SERVICE_UNAVAILABLE);
    redact(&hanako, &room, tombstone.as_str()).await;
    eventually(async || town.begin(&link).await == StatusCode::CREATED).await;
}

#[tokio::test]
async fn a_redaction_that_names_a_question_of_another_room_ends_no_link_of_its_own_room() {
    let town = town("").await;
    let (hanako, room) = town.member("hanako").await;
    let other = hanako.create_room(Preset::PrivateChat).await;
    ask_in(&hanako, &other).await;
    let mut questions = Vec::new();
    for (place, room) in [&room, &other].into_iter().enumerate() {
        let uri = upload(&hanako, "a").await;
        let shared = say(&hanako, room, "m.room.message", &format!("file{place}"), &file(&uri)).await;
        say(&hanako, room, "m.room.message", &format!("ask{place}"), &handover(&shared)).await;
        // Each room counts its own.
        questions.push(question(&hanako, room, 1).await);
    }
    let redaction = json!({
        "event_id": "$redaction", "room_id": other, "sender": hanako.id(), "type": "m.room.redaction",
        "redacts": questions[0], "content": { "redacts": questions[0] },
    });
    town.stage.tell(&redaction).await;
    for room in [&other, &room] {
        hanako.send(room, "!渡し 一覧").await;
        let list = said(&hanako, room, "渡しURL\n").await;
        assert!(list.contains("1番「チラシ.txt」承認待ち"), "{list}");
    }
}

#[tokio::test]
async fn a_room_that_was_encrypted_unheard_ends_its_links_and_gets_nothing_in_the_clear() {
    let town = town("").await;
    let (hanako, room, link) = linked(&town).await;
    let sent = town.send_picture(&link).await;
    // So that a file waits when it is encrypted.
    set_levels(&hanako, &room, |levels| levels["events_default"] = json!(50)).await;
    let private = private_room(&hanako).await;
    said(&hanako, &private, "投稿できなくなった").await;
    town.end(&sent).await;
    said(&hanako, &private, "いまは部屋に入れられません").await;
    town.stage.kill_bot();
    set_levels(&hanako, &room, |levels| levels["events_default"] = json!(0)).await;
    hanako.set_state(&room, "m.room.encryption", "", &json!({ "algorithm": "m.megolm.v1.aes-sha2" })).await;
    town.stage.miss("m.megolm.v1.aes-sha2").await;
    town.stage.start_bot().await;
    said(&hanako, &private, "部屋が暗号化されたため").await;
    assert_eq!(town.client.get(&link).send().await.unwrap().status(), StatusCode::GONE);
    hanako.send(&room, "!受取 平文").await;
    said(&hanako, &room, "この部屋は暗号化されている").await;
    let is_picture = |event: &Value| event["content"]["msgtype"] == "m.image";
    assert!(!messages(&hanako, &room).await.iter().any(is_picture));
}

#[tokio::test]
async fn a_file_that_is_deleted_in_the_room_before_goes_out_no_more_though_the_bot_was_put_out_there() {
    let town = town("").await;
    let HandedOver { hanako, room, file: shared, link: hand, .. } = handed_over(&town).await;
    let new = upgrade(&hanako, &room).await;
    ask_in(&hanako, &new).await;
    // It is said before it is done; the answer to a command follows upon that.
    hanako.send(&new, "!渡し 一覧").await;
    said(&hanako, &new, "1番「チラシ.txt」").await;
    hanako.kick(&room, bot()).await;
    let fetch = async || town.client.post(format!("{hand}/file")).send().await.unwrap().status();
    assert_eq!(fetch().await, StatusCode::OK);
    redact(&hanako, &room, &shared).await;
    assert_eq!(fetch().await, StatusCode::GONE);
}
