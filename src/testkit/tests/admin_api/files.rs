//! Files.

use http::Method;
use serde_json::{Value, json};
use testkit::{Net, Preset};

use crate::{V1, administrator, download, escaped, get, must, refused, upload};

#[tokio::test]
async fn a_file_is_withheld_from_everybody_by_what_it_holds_and_shown_again() {
    let net = Net::new();
    let server = net.process(&["kanazawa.test", "wajima.test"]).await;
    let admin = administrator(&server, "kanazawa.test", "admin").await;
    let (hanako, taro) =
        (server.user_of("kanazawa.test", "hanako").await, server.user_of("kanazawa.test", "taro").await);
    let jiro = server.user_of("wajima.test", "jiro").await;
    let (one, same) = (upload(&hanako, "同じ").await, upload(&taro, "同じ").await);
    let of_other = upload(&jiro, "同じ").await;
    let path = |verb: &str, id: &str| format!("{V1}/media/{verb}/kanazawa.test/{id}");
    must(&admin, Method::POST, &path("quarantine", &one), Some(json!({}))).await;
    for (id, status) in [(&one, 404), (&same, 404)] {
        assert_eq!(download(&taro, "kanazawa.test", id).await, status);
        assert_eq!(download(&jiro, "kanazawa.test", id).await, status);
    }
    // What another authority has is its own, be it the same.
    assert_eq!(download(&jiro, "wajima.test", &of_other).await, 200);
    let info = get(&admin, &format!("{V1}/media/kanazawa.test/{one}")).await;
    assert_eq!(info["media_info"]["quarantined_by"], json!(admin.id()));
    must(&admin, Method::POST, &path("unquarantine", &one), Some(json!({}))).await;
    assert_eq!(download(&taro, "kanazawa.test", &same).await, 200);
    refused(&admin, Method::POST, &path("quarantine", "none"), Some(json!({})), (404, "M_NOT_FOUND")).await;

    must(&admin, Method::POST, &format!("{V1}/media/protect/{one}"), Some(json!({}))).await;
    must(&admin, Method::POST, &path("quarantine", &one), Some(json!({}))).await;
    assert_eq!(download(&taro, "kanazawa.test", &one).await, 200);
    let all = format!("{V1}/user/{}/media/quarantine", escaped(hanako.id().as_str()));
    assert_eq!(must(&admin, Method::POST, &all, Some(json!({}))).await, json!({ "num_quarantined": 0 }));
    must(&admin, Method::POST, &format!("{V1}/media/unprotect/{one}"), Some(json!({}))).await;
    assert_eq!(must(&admin, Method::POST, &all, Some(json!({}))).await, json!({ "num_quarantined": 1 }));
    assert_eq!(download(&hanako, "kanazawa.test", &one).await, 404);
}

#[tokio::test]
async fn another_servers_file_is_withheld_from_the_users_of_the_authority_alone() {
    let net = Net::new();
    let server = net.process(&["kanazawa.test", "wajima.test"]).await;
    let far = net.server("suzu.test").await;
    let admin = administrator(&server, "kanazawa.test", "admin").await;
    let hanako = server.user_of("kanazawa.test", "hanako").await;
    let jiro = server.user_of("wajima.test", "jiro").await;
    let file = upload(&far.user("far").await, "遠く").await;
    let path = format!("{V1}/media/quarantine/suzu.test/{file}");
    // Before there is a copy: whether there is one is nobody's to learn.
    must(&admin, Method::POST, &path, Some(json!({}))).await;
    assert_eq!(download(&jiro, "suzu.test", &file).await, 200);
    assert_eq!(download(&hanako, "suzu.test", &file).await, 404);
    must(&admin, Method::POST, &path.replace("quarantine", "unquarantine"), Some(json!({}))).await;
    assert_eq!(download(&hanako, "suzu.test", &file).await, 200);
    // Copies are shared.
    let purge = format!("{V1}/purge_media_cache?before_ts=9000000000000");
    refused(&admin, Method::POST, &purge, Some(json!({})), (403, "M_FORBIDDEN")).await;
}

#[tokio::test]
async fn files_of_users_and_rooms_are_listed_counted_and_deleted() {
    let net = Net::new();
    let server = net.server("kanazawa.test").await;
    let admin = administrator(&server, "kanazawa.test", "admin").await;
    let (hanako, taro) = (server.user("hanako").await, server.user("taro").await);
    let mut files = Vec::new();
    for word in ["一", "二二", "三三三"] {
        net.advance(std::time::Duration::from_secs(1));
        files.push(upload(&hanako, word).await);
    }
    let of_taro = upload(&taro, "太郎").await;
    let of = format!("{V1}/users/{}/media", escaped(hanako.id().as_str()));
    let ids = |answer: &Value| -> Vec<String> {
        let media = answer["media"].as_array().unwrap().iter();
        media.map(|file| file["media_id"].as_str().unwrap().to_owned()).collect()
    };
    let newest = get(&admin, &format!("{of}?limit=2")).await;
    assert_eq!(
        (ids(&newest), &newest["total"], &newest["next_token"]),
        (vec![files[2].clone(), files[1].clone()], &json!(3), &json!(2))
    );
    assert_eq!(ids(&get(&admin, &format!("{of}?order_by=media_length")).await), files);
    let used = get(&admin, &format!("{V1}/statistics/users/media?order_by=media_count&dir=b")).await;
    assert_eq!((&used["total"], &used["users"][0]["media_count"]), (&json!(2), &json!(3)));
    assert_eq!(used["users"][0]["media_length"], 3 + 6 + 9);

    let room = hanako.create_room(Preset::PrivateChat).await;
    let event = json!({ "msgtype": "m.file", "body": "a", "url": format!("mxc://kanazawa.test/{}", files[0]), "info": 5 });
    hanako
        .call(Method::PUT, &format!("/rooms/{}/send/m.room.message/1", escaped(room.as_str())), Some(&event))
        .await;
    let elsewhere = json!({ "msgtype": "m.image", "body": "a", "url": "mxc://suzu.test/far" });
    hanako
        .call(
            Method::PUT,
            &format!("/rooms/{}/send/m.room.message/2", escaped(room.as_str())),
            Some(&elsewhere),
        )
        .await;
    let media = format!("{V1}/room/{}/media", escaped(room.as_str()));
    let expected =
        json!({ "local": [format!("mxc://kanazawa.test/{}", files[0])], "remote": ["mxc://suzu.test/far"] });
    assert_eq!(get(&admin, &media).await, expected);
    let withheld = must(&admin, Method::POST, &format!("{media}/quarantine"), Some(json!({}))).await;
    assert_eq!(withheld, json!({ "num_quarantined": 2 }));
    assert_eq!(download(&hanako, "kanazawa.test", &files[0]).await, 404);

    let gone = must(&admin, Method::DELETE, &format!("{V1}/media/kanazawa.test/{}", files[0]), None).await;
    assert_eq!(gone, json!({ "deleted_media": [files[0]], "total": 1 }));
    let gone = must(&admin, Method::DELETE, &format!("{of}?limit=1"), None).await;
    assert_eq!(gone["deleted_media"], json!([files[2]]));
    let shown = json!({ "avatar_url": format!("mxc://kanazawa.test/{}", files[1]) });
    hanako
        .call(Method::PUT, &format!("/profile/{}/avatar_url", escaped(hanako.id().as_str())), Some(&shown))
        .await;
    let large = must(
        &admin,
        Method::POST,
        &format!("{V1}/media/delete?before_ts=9000000000000&size_gt=1000"),
        Some(json!({})),
    )
    .await;
    assert_eq!(large["total"], 0);
    let old = must(
        &admin,
        Method::POST,
        &format!("{V1}/media/kanazawa.test/delete?before_ts=9000000000000"),
        Some(json!({})),
    )
    .await;
    assert_eq!(old["deleted_media"], json!([of_taro]), "a picture stays");
    let all = must(
        &admin,
        Method::POST,
        &format!("{V1}/media/delete?before_ts=9000000000000&keep_profiles=false"),
        Some(json!({})),
    )
    .await;
    assert_eq!(all["deleted_media"], json!([files[1]]));
}

#[tokio::test]
async fn copies_of_others_files_go_where_they_are_one_authoritys() {
    let net = Net::new();
    let (server, far) = (net.server("kanazawa.test").await, net.server("suzu.test").await);
    let admin = administrator(&server, "kanazawa.test", "admin").await;
    let file = upload(&far.user("far").await, "遠く").await;
    assert_eq!(download(&admin, "suzu.test", &file).await, 200);
    let purge = async |before: u64| {
        must(&admin, Method::POST, &format!("{V1}/purge_media_cache?before_ts={before}"), Some(json!({})))
            .await
    };
    assert_eq!(purge(1).await, json!({ "deleted": 0 }));
    assert_eq!(purge(9_000_000_000_000).await, json!({ "deleted": 1 }));
    far.stop().await;
    assert_ne!(download(&admin, "suzu.test", &file).await, 200);
}

#[tokio::test]
async fn what_is_protected_is_withheld_by_no_copy_and_not_deleted_with_others() {
    let net = Net::new();
    let server = net.server("kanazawa.test").await;
    let admin = administrator(&server, "kanazawa.test", "admin").await;
    let (hanako, taro) = (server.user("hanako").await, server.user("taro").await);
    let (kept, other) = (upload(&hanako, "様式").await, upload(&hanako, "雑談").await);
    must(&admin, Method::POST, &format!("{V1}/media/protect/{kept}"), Some(json!({}))).await;
    let copy = upload(&taro, "様式").await;
    let quarantine = format!("{V1}/media/quarantine/kanazawa.test/{copy}");
    must(&admin, Method::POST, &quarantine, Some(json!({}))).await;
    let all = format!("{V1}/user/{}/media/quarantine", escaped(taro.id().as_str()));
    assert_eq!(must(&admin, Method::POST, &all, Some(json!({}))).await["num_quarantined"], 0);
    assert_eq!(download(&taro, "kanazawa.test", &kept).await, 200);
    // What is withheld may have to be looked at.
    let evidence = upload(&hanako, "証拠").await;
    must(&admin, Method::POST, &format!("{V1}/media/quarantine/kanazawa.test/{evidence}"), Some(json!({})))
        .await;
    // What is somebody's face in one room alone is no litter.
    let face = upload(&hanako, "顔").await;
    let room = hanako.create_room(Preset::PrivateChat).await;
    let member = json!({ "membership": "join", "avatar_url": format!("mxc://kanazawa.test/{face}") });
    hanako.set_state(&room, "m.room.member", hanako.id().as_str(), &member).await;
    let seconds = format!("{V1}/media/delete?before_ts=1700000000");
    refused(&admin, Method::POST, &seconds, Some(json!({})), (400, "M_INVALID_PARAM")).await;
    let delete = format!("{V1}/media/delete?before_ts=9000000000000");
    let deleted = must(&admin, Method::POST, &delete, Some(json!({}))).await;
    assert_eq!(deleted, json!({ "deleted_media": [other], "total": 1 }));
    assert_eq!(download(&taro, "kanazawa.test", &kept).await, 200);
    let all = must(&admin, Method::POST, &format!("{delete}&keep_profiles=false"), Some(json!({}))).await;
    assert_eq!(all, json!({ "deleted_media": [face], "total": 1 }));
}

#[tokio::test]
async fn with_a_rooms_files_go_those_that_were_sent_there_and_no_others() {
    let net = Net::new();
    let server = net.server("kanazawa.test").await;
    let admin = administrator(&server, "kanazawa.test", "admin").await;
    let (hanako, taro) = (server.user("hanako").await, server.user("taro").await);
    let (face, named, sent) =
        (upload(&taro, "顔").await, upload(&taro, "他のファイル").await, upload(&hanako, "写真").await);
    let uri = |id: &str| format!("mxc://kanazawa.test/{id}");
    let avatar = format!("/profile/{}/avatar_url", escaped(taro.id().as_str()));
    taro.call(Method::PUT, &avatar, Some(&json!({ "avatar_url": uri(&face) }))).await;
    let room = crate::open_room(&hanako, "広場").await;
    taro.join(&room, "kanazawa.test").await;
    hanako.send(&room, &format!("これを見て {}", uri(&named))).await;
    let many: Vec<Value> =
        (0..300).map(|number| json!({ "url": format!("mxc://suzu.test/n{number:03}") })).collect();
    for content in [
        json!({ "msgtype": "m.image", "body": "a", "url": uri(&sent) }),
        json!({ "msgtype": "dm.filament.gallery", "body": "b", "itemtypes": many }),
    ] {
        let txn = content["msgtype"].as_str().unwrap().len();
        let path = format!("/rooms/{}/send/m.room.message/{txn}", escaped(room.as_str()));
        hanako.call(Method::PUT, &path, Some(&content)).await;
    }
    let media = format!("{V1}/room/{}/media", escaped(room.as_str()));
    let told = get(&admin, &media).await;
    assert_eq!(told["local"], json!([uri(&sent)]));
    assert_eq!(told["remote"].as_array().unwrap().len(), 100);
    let withheld = must(&admin, Method::POST, &format!("{media}/quarantine"), Some(json!({}))).await;
    assert_eq!(withheld["num_quarantined"], 101);
    // As it is already, nothing is done.
    let again = must(&admin, Method::POST, &format!("{media}/quarantine"), Some(json!({}))).await;
    assert_eq!(again["num_quarantined"], 0);
    assert_eq!(download(&hanako, "kanazawa.test", &face).await, 200);
    assert_eq!(download(&hanako, "kanazawa.test", &named).await, 200);
    assert_eq!(download(&hanako, "kanazawa.test", &sent).await, 404);
}
