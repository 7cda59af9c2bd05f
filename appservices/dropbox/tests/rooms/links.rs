//! Links to upload by, their codes, and who makes them.

use std::time::Duration;

use bot_kit::{Batch, Store, Table, ruma::OwnedRoomId};
use http::{Method, StatusCode};
use serde_json::{Value, json};
use testkit::Preset;

use crate::town::*;

#[tokio::test]
async fn a_file_that_was_cut_by_kills_comes_into_the_room_once_and_whole() {
    let town = town("").await;
    let (hanako, room) = town.member("hanako").await;
    hanako.send(&room, "!受取 工事写真 期限 7日 件数 10 上限 2GB 種類 画像,PDF").await;
    let link = town.link_in(&said(&hanako, &room, "受取URL 1番").await);

    let bytes = picture(20_000_000);
    let at = town.create(&link, "1工区/写真.jpg", bytes.len()).await;
    assert_eq!(town.patch(&at, 0, &bytes[..9_000_000]).await.status(), StatusCode::NO_CONTENT);
    town.stage.kill_bot();
    town.stage.start_bot().await;
    // What was acknowledged is there; a request that is killed in its middle may have brought some more.
    assert_eq!(town.offset(&at).await, 9_000_000);
    let rest = town.patch(&at, 9_000_000, &bytes[9_000_000..]);
    let (rest, ()) = tokio::join!(rest, async {});
    assert_eq!(rest.status(), StatusCode::NO_CONTENT);
    assert_eq!(town.done(&at, &bytes).await.status(), StatusCode::OK);
    // Wherever it is on its way by now.
    town.stage.kill_bot();
    town.stage.start_bot().await;

    said(&hanako, &room, "に届きました").await;
    town.stage.kill_bot();
    town.stage.start_bot().await;
    assert_eq!(town.done(&at, &bytes).await.status(), StatusCode::OK, "told again");
    let all = messages(&hanako, &room).await;
    let files: Vec<&Value> = all.iter().filter(|event| event["content"]["msgtype"] == "m.image").collect();
    assert_eq!(files.len(), 1, "{all:#?}");
    let content = &files[0]["content"];
    assert_eq!(content["body"], "1工区_写真.jpg");
    assert_eq!(content["info"], json!({ "mimetype": "image/jpeg", "size": bytes.len() }));
    let notice =
        all.iter().find(|event| event["content"]["body"].as_str().unwrap().contains("に届きました")).unwrap();
    let body = notice["content"]["body"].as_str().unwrap();
    for words in ["1工区_写真.jpg（20 MB）", "能登建設 次郎", &sha256(&bytes)] {
        assert!(body.contains(words), "{body}");
    }
    assert_eq!(notice["content"]["m.mentions"]["user_ids"][0], hanako.id().as_str());
    assert!(count(&hanako, &room).await.values().all(|count| *count == 1), "nothing is said twice");

    let uri = content["url"].as_str().unwrap().strip_prefix("mxc://").unwrap();
    let path = format!("/_matrix/client/v1/media/download/{uri}");
    let got = hanako.ask_bytes(Method::GET, &path, &[], Default::default()).await;
    assert_eq!(sha256(got.body()), sha256(&bytes));
    // Killed between the notice and the note of it, it does both once more, which shows in no room.
    let files = town.stage.directory.path().join("data/files");
    eventually(async || {
        let is_noted = town.record().last().is_some_and(|line| line["what"] == "upload_delivered");
        is_noted && std::fs::read_dir(&files).unwrap().count() == 0
    })
    .await;
    assert!(count(&hanako, &room).await.values().all(|count| *count == 1), "nothing is said twice");
    let record = town.record();
    let whats: Vec<&str> = record.iter().map(|line| line["what"].as_str().unwrap()).collect();
    assert_eq!(whats, ["link_made", "upload_begun", "upload_whole", "upload_delivered"]);
    assert_eq!(record[2]["file"]["original_name"], "1工区/写真.jpg");
    assert_eq!(record[2]["file"]["sha256"], sha256(&bytes));
}

#[tokio::test]
async fn a_code_is_told_to_the_maker_alone_and_opens_the_link() {
    let town = town("").await;
    let (hanako, room) = town.member("hanako").await;
    hanako.send(&room, "!受取 図面 合言葉").await;
    let invited =
        hanako.sync_until(|seen| seen.room(&room).messages().iter().any(|text| text.contains("受取URL 1番")));
    let seen = invited.await;
    let link =
        town.link_in(seen.room(&room).messages().iter().find(|text| text.contains("受取URL")).unwrap());
    let code = code_of(&hanako).await;

    let page = town.client.get(&link).send().await.unwrap().text().await.unwrap();
    assert!(!page.contains("図面") && page.contains("合言葉"), "{page}");
    let entered = town.client.post(format!("{link}/code")).body(format!("code={}", code.replace(' ', "")));
    let entered = entered.send().await.unwrap();
    // Redirected to the page with the cookie, which this client does not keep.
    assert!(entered.status().is_success() || entered.status().is_redirection());
    assert!(!said(&hanako, &room, "受取URL 1番").await.contains(&code));
    hanako.send(&room, "!受取 別の図面 合言葉").await;
    said(&hanako, &room, "受取URL 2番").await;
    let seen = hanako.sync(Duration::ZERO).await;
    let mut told = seen.rooms.values().flat_map(|room| room.messages());
    assert!(told.any(|text| text.contains("2番「別の図面」の合言葉")), "in the same private room");
}

#[tokio::test]
async fn links_are_listed_and_ended_by_those_who_may_make_them() {
    let town = town("least_power = 50").await;
    let (hanako, room) = town.member("hanako").await;
    let jiro = town.stage.server.user("jiro").await;
    hanako.invite(&room, jiro.id()).await;
    jiro.join(&room, "kanazawa.test").await;
    jiro.send(&room, "!受取 だめ").await;
    said(&jiro, &room, "権限がありません").await;
    hanako.send(&room, "!receive plans expires 2d files 3").await;
    let link = town.link_in(&said(&hanako, &room, "Link no. 1").await);
    hanako.send(&room, "!受取 一覧").await;
    assert!(said(&hanako, &room, "いま使える受取URL\n").await.contains("1番「plans」"));
    jiro.send(&room, "!受取 取消 1").await;
    hanako.send(&room, "!受取 取消 1").await;
    said(&hanako, &room, "取り消しました").await;
    let answer = town.client.get(&link).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::GONE);
    hanako.send(&room, "!受取 取消 1").await;
    said(&hanako, &room, "1番の使えるURLはありません").await;
    hanako.send(&room, "!受取 x 期限 1分").await;
    said(&hanako, &room, "期限は 10分 から").await;
}

#[tokio::test]
async fn the_maker_is_reminded_and_the_room_is_told_of_the_end() {
    let town = town("lasts = \"6s\"\ngrace = \"1s\"\nkeep = \"1s\"").await;
    let (hanako, room) = town.member("hanako").await;
    hanako.send(&room, "!受取 見積書").await;
    let link = town.link_in(&said(&hanako, &room, "受取URL 1番").await);
    said(&hanako, &room, "まだ何も届いていません").await;
    let all = messages(&hanako, &room).await;
    let reminder =
        all.iter().find(|event| event["content"]["body"].as_str().unwrap().contains("まだ何も")).unwrap();
    assert_eq!(reminder["content"]["m.mentions"]["user_ids"], json!([hanako.id()]));
    town.stage.kill_bot();
    town.stage.start_bot().await;
    said(&hanako, &room, "期限が過ぎました").await;
    assert!(count(&hanako, &room).await.values().all(|count| *count == 1));
    eventually(async || town.client.get(&link).send().await.unwrap().status().is_client_error()).await;
}

#[tokio::test]
async fn members_of_other_servers_make_no_links_and_do_not_bring_the_bot_in() {
    let town = town("makers = [\"elsewhere.test\"]").await;
    let hanako = town.stage.server.user("hanako").await;
    let room = hanako.create_room(Preset::PrivateChat).await;
    hanako.invite(&room, bot()).await;
    let left = |state: Option<&str>| state == Some("leave");
    hanako.sync_until(|seen| left(seen.room(&room).membership(bot().as_str()))).await;
}

#[tokio::test]
async fn somebody_outside_who_speaks_by_a_user_of_another_service_does_not_bring_the_bot_in() {
    let town = town("").await;
    let ghost = town.stage.ghost("taro").await;
    let room = ghost.create_room(Preset::PrivateChat).await;
    ghost.invite(&room, bot()).await;
    ghost.sync_until(|seen| seen.room(&room).membership(bot().as_str()) == Some("leave")).await;
    town.stage.until_log("an invite is refused").await;
}

#[tokio::test]
async fn only_people_who_are_in_the_room_are_obeyed_and_nothing_from_outside() {
    let town = town("").await;
    let (hanako, jiro, room) = two_members(&town).await;
    let marked = json!({ "msgtype": "m.text", "body": "!受取 外から", "m.automated": true });
    say(&hanako, &room, "m.room.message", "marked", &marked).await;
    let notice = json!({ "msgtype": "m.notice", "body": "!受取 ほかのボット" });
    say(&hanako, &room, "m.room.message", "notice", &notice).await;
    // What somebody said who is not there any more when it is read.
    let file = say(&hanako, &room, "m.room.message", "file", &file(&upload(&hanako, "a").await)).await;
    let question = ask_for(&hanako, &room, &file, 1).await;
    town.stage.kill_bot();
    jiro.send(&room, "!受取 退室した人").await;
    say(&jiro, &room, "m.reaction", "yes", &reaction(&question)).await;
    hanako.kick(&room, jiro.id()).await;
    town.stage.start_bot().await;
    hanako.send(&room, "!受取 職員").await;
    assert!(said(&hanako, &room, "受取URL 1番").await.contains("「職員」"));
    hanako.send(&room, "!受取 一覧").await;
    assert_eq!(said(&hanako, &room, "いま使える受取URL\n").await.lines().count(), 2);
    hanako.send(&room, "!渡し 一覧").await;
    assert!(said(&hanako, &room, "渡しURL\n").await.contains("1番「チラシ.txt」承認待ち"));
}

#[tokio::test]
async fn a_code_that_can_be_told_to_nobody_ends_its_link_and_the_room_hears_of_it() {
    let town = town("").await;
    let (hanako, jiro, room) = two_members(&town).await;
    permit(&hanako, json!({ "default_action": "block" })).await;
    hanako.send(&room, "!受取 図面 合言葉").await;
    let told = said(&hanako, &room, "招待できなかったため").await;
    assert!(told.contains("受取URL 1番「図面」"), "{told}");
    hanako.send(&room, "!受取 一覧").await;
    said(&hanako, &room, "いま使える受取URLはありません").await;

    let shared = say(&hanako, &room, "m.room.message", "file", &file(&upload(&hanako, "a").await)).await;
    let mut asked = handover(&shared);
    asked["body"] = json!("!渡し 合言葉");
    say(&hanako, &room, "m.room.message", "ask", &asked).await;
    said(&hanako, &room, "渡しURL 1番：").await;
    let all = messages(&hanako, &room).await;
    let question = all
        .iter()
        .find(|event| event["content"]["body"].as_str().unwrap().contains("渡しURL 1番："))
        .unwrap();
    say(&jiro, &room, "m.reaction", "yes", &reaction(question["event_id"].as_str().unwrap())).await;
    said(&hanako, &room, "渡しURL 1番「チラシ.txt」は取り消しました").await;
    hanako.send(&room, "!渡し 一覧").await;
    said(&hanako, &room, "いま使える渡しURLはありません").await;

    permit(&hanako, json!({})).await;
    hanako.send(&room, "!受取 図面 合言葉").await;
    said(&hanako, &room, "受取URL 2番").await;
    code_of(&hanako).await;
}

#[tokio::test]
async fn nobody_can_tell_from_a_user_id_whether_he_was_told_a_code() {
    let town = town("").await;
    let (hanako, room) = town.member("hanako").await;
    hanako.send(&room, "!受取 図面 合言葉").await;
    code_of(&hanako).await;
    let old = format!("%23_dropbox_{}:kanazawa.test", &sha256(hanako.id().as_bytes())[..32]);
    let is_there = async || {
        let path = format!("/_matrix/client/v3/directory/room/{old}");
        hanako.ask(Method::GET, &path, None).await.0 == StatusCode::OK
    };
    assert!(!is_there().await);

    // As a store and a room of an older release are.
    town.stage.stop_bot().await;
    let store = Store::open(&town.stage.directory.path().join("data/bot.redb")).unwrap();
    let rooms: Table<OwnedRoomId> = Table::new("private rooms");
    let private = store.get(&rooms, hanako.id().as_str()).await.unwrap().unwrap();
    let mut batch = Batch::new();
    batch.delete(&Table::<()>::new("private rooms with keyed aliases"), hanako.id().as_str());
    store.commit(batch).await.unwrap();
    drop(store);
    let own = town.stage.server.service("dropbox", &town.stage.as_token());
    own.call(Method::PUT, &format!("/directory/room/{old}"), Some(&json!({ "room_id": private }))).await;
    assert!(is_there().await);
    town.stage.start_bot().await;
    eventually(async || !is_there().await).await;
}

#[tokio::test]
async fn a_bot_that_is_there_before_its_homeserver_gets_its_name_all_the_same() {
    let mut town = town("").await;
    town.stage.kill_bot();
    let home = own_address();
    town.stage.door = home;
    town.stage.set(&town.settings);
    town.stage.start_bot().await;
    town.stage.until_log("cannot introduce itself").await;
    let listener = tokio::net::TcpListener::bind(home).await.unwrap();
    let named = async {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let asked = bot_testing::take_request(&mut stream).await.unwrap_or_default();
            if asked.starts_with("PUT ") && asked.contains("/displayname") {
                break asked;
            }
        }
    };
    let asked = tokio::time::timeout(Duration::from_secs(60), named).await.unwrap();
    assert!(asked.contains("受取URL"), "{asked}");
}
