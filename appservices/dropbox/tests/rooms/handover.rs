//! Links to download by: who agrees, and what goes out.

use http::{Method, StatusCode};
use reqwest::Client;
use serde_json::{Value, json};
use testkit::Preset;

use crate::town::*;

#[tokio::test]
async fn a_file_is_handed_over_once_another_member_agrees_and_so_often_as_was_said() {
    let town = town("").await;
    let (hanako, room) = town.member("hanako").await;
    let jiro = town.stage.server.user("jiro").await;
    hanako.invite(&room, jiro.id()).await;
    jiro.join(&room, "kanazawa.test").await;
    let bytes = picture(3_000_000);
    let path = "/_matrix/media/v3/upload?filename=plan.jpg";
    let uploaded =
        hanako.ask_bytes(Method::POST, path, &[("content-type", "image/jpeg")], bytes.clone().into()).await;
    let uri = serde_json::from_slice::<Value>(uploaded.body()).unwrap()["content_uri"].clone();
    let content =
        json!({ "msgtype": "m.image", "body": "計画/図.jpg", "url": uri, "info": { "size": bytes.len() } });
    let file = say(&hanako, &room, "m.room.message", "file", &content).await;
    hanako.send(&room, "!渡し").await;
    said(&hanako, &room, "返信する形で").await;

    let command = json!({
        "msgtype": "m.text", "body": "!渡し 期限 1日 回数 2 合言葉", "m.relates_to": { "m.in_reply_to": { "event_id": file } },
    });
    say(&hanako, &room, "m.room.message", "command", &command).await;
    said(&hanako, &room, "渡そうとしています").await;
    let asked = messages(&hanako, &room).await;
    let question =
        asked.iter().find(|event| event["content"]["body"].as_str().unwrap().contains("渡そうと")).unwrap();
    let question = question["event_id"].as_str().unwrap();
    say(&hanako, &room, "m.reaction", "own", &reaction(question)).await;
    said(&hanako, &room, "頼んだ本人は承認できません").await;
    town.stage.kill_bot();
    say(&jiro, &room, "m.reaction", "yes", &reaction(question)).await;
    town.stage.start_bot().await;
    let link = town.link_in(&said(&hanako, &room, "承認 @jiro:kanazawa.test").await);
    let code = code_of(&hanako).await;

    let client = Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    for _ in 0..3 {
        let page = client.get(&link).send().await.unwrap().text().await.unwrap();
        assert!(!page.contains("図.jpg") && page.contains("合言葉"), "{page}");
    }
    let fetch = async |cookie: &str| {
        client.post(format!("{link}/file")).header("cookie", cookie).send().await.unwrap()
    };
    assert_eq!(fetch("").await.status(), StatusCode::FORBIDDEN);
    let entered = client.post(format!("{link}/code")).body(format!("code={}", code.replace(' ', "+")));
    let entered = entered.send().await.unwrap();
    assert_eq!(entered.status(), StatusCode::SEE_OTHER);
    let cookie = entered.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    let page = client.get(&link).header("cookie", &cookie).send().await.unwrap().text().await.unwrap();
    assert!(page.contains("計画_図.jpg") && page.contains("3 MB"), "{page}");
    assert!(!page.contains("hanako") && !page.contains("jiro"), "{page}");

    for _ in 0..2 {
        let got = fetch(&cookie).await;
        assert_eq!(got.headers()["content-type"], "application/octet-stream");
        let named = got.headers()["content-disposition"].to_str().unwrap();
        assert_eq!(named, "attachment; filename*=UTF-8''%E8%A8%88%E7%94%BB%5F%E5%9B%B3%2Ejpg");
        assert_eq!(sha256(&got.bytes().await.unwrap()), sha256(&bytes));
    }
    assert_eq!(fetch(&cookie).await.status(), StatusCode::GONE, "a third time");
    hanako.send(&room, "!渡し 一覧").await;
    said(&hanako, &room, "いま使える渡しURLはありません").await;
    assert!(count(&hanako, &room).await.values().all(|count| *count == 1), "nothing is said twice");
    eventually(async || town.record().len() == 5).await;
    let whats: Vec<Value> = town.record().iter().map(|line| line["what"].clone()).collect();
    let wanted =
        ["handover_asked", "handover_agreed", "code_right", "handover_downloaded", "handover_downloaded"];
    assert_eq!(whats, wanted);
}

/// LI1, LI2, LI3
#[tokio::test]
async fn only_a_whole_download_uses_a_link_up_and_then_its_page_tells_when_that_was() {
    let town = town("").await;
    let (hanako, jiro, room) = two_members(&town).await;
    // More than lies in the buffers of a line.
    let bytes = picture(24_000_000);
    let path = "/_matrix/media/v3/upload?filename=plan.jpg";
    let uploaded =
        hanako.ask_bytes(Method::POST, path, &[("content-type", "image/jpeg")], bytes.clone().into()).await;
    let uri = serde_json::from_slice::<Value>(uploaded.body()).unwrap()["content_uri"].clone();
    let content = json!({ "msgtype": "m.image", "body": "図.jpg", "url": uri });
    let shared = say(&hanako, &room, "m.room.message", "file", &content).await;
    let once = json!({
        "msgtype": "m.text", "body": "!渡し 回数 1", "m.relates_to": { "m.in_reply_to": { "event_id": shared } },
    });
    say(&hanako, &room, "m.room.message", "ask", &once).await;
    let question = question(&hanako, &room, 1).await;
    say(&jiro, &room, "m.reaction", "yes", &reaction(&question)).await;
    let link = town.link_in(&said(&hanako, &room, "承認 @jiro:kanazawa.test").await);
    let file = format!("{link}/file");

    // As scanners of mail, messengers and browsers look at links before people do.
    for (method, name, value) in [
        (Method::HEAD, "accept", "*/*"),
        (Method::GET, "range", "bytes=0-99"),
        (Method::GET, "sec-purpose", "prefetch;prerender"),
        (Method::GET, "purpose", "prefetch"),
    ] {
        let page = town.client.request(method.clone(), &link).header(name, value).send().await.unwrap();
        assert_eq!(page.status(), StatusCode::OK, "{name}");
        assert!(page.headers()["content-type"].to_str().unwrap().starts_with("text/html"), "{name}");
        let none = town.client.request(method, &file).header(name, value).send().await.unwrap();
        assert_eq!(none.status(), StatusCode::METHOD_NOT_ALLOWED, "{name}");
    }
    // A line that breaks in the middle; until then nobody else takes the one download that there is.
    let mut cut = town.client.post(&file).send().await.unwrap();
    assert!(cut.chunk().await.unwrap().is_some());
    assert_eq!(town.client.get(&link).send().await.unwrap().status(), StatusCode::GONE);
    drop(cut);
    eventually(async || town.client.get(&link).send().await.unwrap().status() == StatusCode::OK).await;
    let page = town.client.get(&link).send().await.unwrap().text().await.unwrap();
    assert!(page.contains("<dt>残り回数</dt><dd>1</dd>"), "{page}");

    // A part of it is not to be had by itself: it would be all of it in a few.
    let got = town.client.post(&file).header("range", "bytes=0-99").send().await.unwrap();
    assert_eq!(got.status(), StatusCode::OK);
    assert_eq!(sha256(&got.bytes().await.unwrap()), sha256(&bytes));
    for answer in [town.client.get(&link), town.client.post(&file)] {
        let told = answer.send().await.unwrap();
        assert_eq!(told.status(), StatusCode::GONE);
        let text = told.text().await.unwrap();
        assert!(text.contains("使い切りました（最後は 20"), "{text}");
    }
    eventually(async || town.record().len() == 5).await;
    let whats: Vec<Value> = town.record().iter().map(|line| line["what"].clone()).collect();
    let wanted = [
        "handover_asked",
        "handover_agreed",
        "handover_downloaded",
        "handover_failed",
        "handover_downloaded",
    ];
    assert_eq!(whats, wanted);
}

#[tokio::test]
async fn a_file_that_another_room_holds_is_not_handed_over_and_a_link_is_ended() {
    let town = town("").await;
    let (hanako, room) = town.member("hanako").await;
    let elsewhere = hanako.create_room(Preset::PrivateChat).await;
    let content = json!({ "msgtype": "m.file", "body": "a", "url": "mxc://kanazawa.test/a" });
    let foreign = say(&hanako, &elsewhere, "m.room.message", "file", &content).await;
    let own = say(&hanako, &room, "m.room.message", "file", &content).await;
    let reply = |event: &str| json!({ "msgtype": "m.text", "body": "!handover", "m.relates_to": { "m.in_reply_to": { "event_id": event } } });
    say(&hanako, &room, "m.room.message", "foreign", &reply(&foreign)).await;
    said(&hanako, &room, "Write it as a reply").await;
    say(&hanako, &room, "m.room.message", "own", &reply(&own)).await;
    said(&hanako, &room, "wants to hand “a”").await;
    hanako.send(&room, "!渡し 一覧").await;
    assert!(said(&hanako, &room, "渡しURL\n").await.contains("1番「a」承認待ち"));
    hanako.send(&room, "!渡し 取消 1").await;
    said(&hanako, &room, "取り消しました").await;

    // What is deleted in the room goes out no more.
    say(&hanako, &room, "m.room.message", "again", &reply(&own)).await;
    said(&hanako, &room, "download by no. 2").await;
    let path = format!("/rooms/{room}/redact/{own}/gone").replace('!', "%21").replace('$', "%24");
    hanako.call(Method::PUT, &path, Some(&json!({}))).await;
    eventually(async || town.record().len() == 4).await;
    assert_eq!(town.record()[3]["what"], "handover_ended");
}

#[tokio::test]
async fn what_goes_out_is_the_file_that_was_shown_to_who_agreed() {
    let town = town("").await;
    let (hanako, jiro, room) = two_members(&town).await;
    let (a, b) = (upload(&jiro, "secret").await, upload(&jiro, "harmless").await);
    let status = async |link: &str| town.client.post(format!("{link}/file")).send().await.unwrap().status();
    // It was edited before somebody asks.
    let edited = say(&jiro, &room, "m.room.message", "edited", &file(&a)).await;
    say(&jiro, &room, "m.room.message", "edit1", &edit(&edited, &file(&b))).await;
    say(&hanako, &room, "m.room.message", "ask0", &handover(&edited)).await;
    said(&hanako, &room, "編集で差し替えられている").await;
    // It is edited between question and agreement, while the bot is away.
    let second = say(&hanako, &room, "m.room.message", "second", &file(&a)).await;
    let question = ask_for(&hanako, &room, &second, 1).await;
    town.stage.kill_bot();
    say(&jiro, &room, "m.reaction", "yes1", &reaction(&question)).await;
    say(&hanako, &room, "m.room.message", "edit2", &edit(&second, &file(&b))).await;
    town.stage.start_bot().await;
    said(&hanako, &room, "渡しURL 1番「チラシ.txt」は、頼んだあとで").await;
    // It is edited once the link is good. Other words beside it change nothing, nor does what others call an edit.
    let third = say(&hanako, &room, "m.room.message", "third", &file(&a)).await;
    let question = ask_for(&hanako, &room, &third, 2).await;
    say(
        &hanako,
        &room,
        "m.room.message",
        "words",
        &edit(&third, &json!({ "msgtype": "m.file", "body": "説明", "url": a })),
    )
    .await;
    say(&jiro, &room, "m.room.message", "foreign", &edit(&third, &file(&b))).await;
    say(&jiro, &room, "m.reaction", "yes2", &reaction(&question)).await;
    let link = town.link_in(&said(&hanako, &room, "承認 @jiro:kanazawa.test").await);
    let got = town.client.post(format!("{link}/file")).send().await.unwrap();
    assert_eq!(got.text().await.unwrap(), "secret");
    say(&hanako, &room, "m.room.message", "edit3", &edit(&third, &file(&b))).await;
    said(&hanako, &room, "渡しURL 2番「チラシ.txt」は、頼んだあとで").await;
    assert_eq!(status(&link).await, StatusCode::GONE);
}

#[tokio::test]
async fn a_file_that_was_deleted_while_the_bot_was_not_told_goes_out_no_more() {
    let town = town("").await;
    let HandedOver { hanako, room, file, link, .. } = handed_over(&town).await;
    redact(&hanako, &room, &file).await;
    // At once, whether or not the bot has heard of it yet.
    let answer = town.client.post(format!("{link}/file")).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::GONE);
}

#[tokio::test]
async fn a_deleted_file_ends_all_its_links_with_one_word_and_also_where_nothing_can_be_said() {
    let town = town("").await;
    let (hanako, room) = town.member("hanako").await;
    let uri = upload(&hanako, "a").await;
    let heard = say(&hanako, &room, "m.room.message", "file1", &file(&uri)).await;
    for number in 1..=3 {
        ask_for(&hanako, &room, &heard, number).await;
    }
    redact(&hanako, &room, &heard).await;
    said(&hanako, &room, "渡しURL 1番、2番、3番「チラシ.txt」は、頼んだあとで").await;
    let counts = count(&hanako, &room).await;
    let told = counts.iter().filter(|(text, _)| text.contains("頼んだあとで"));
    assert_eq!(told.map(|(_, count)| count).sum::<usize>(), 1, "{counts:#?}");

    let unheard = say(&hanako, &room, "m.room.message", "file2", &file(&uri)).await;
    for number in 4..=5 {
        ask_for(&hanako, &room, &unheard, number).await;
    }
    set_levels(&hanako, &room, |levels| levels["events_default"] = json!(50)).await;
    redact(&hanako, &room, &unheard).await;
    set_levels(&hanako, &room, |levels| levels["events_default"] = json!(0)).await;
    hanako.send(&room, "!渡し 一覧").await;
    said(&hanako, &room, "いま使える渡しURLはありません").await;
}
