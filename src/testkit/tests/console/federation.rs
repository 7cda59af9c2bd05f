//! Other servers, storage and queues on the console.

use http::StatusCode;
use ruma::OwnedRoomId;
use serde_json::json;
use testkit::{Net, Server, User};

use crate::{administrator, browser::Browser, rows};

const PEERS: &str = "/_yakuba/console/federation";
const PEER: &str = "/_yakuba/console/federation/server";
const STORAGE: &str = "/_yakuba/console/storage";

/// A room of another server that a user of ours is in; that server is stopped.
pub(crate) async fn in_common(net: &Net, server: &Server, user: &User, name: &str) -> OwnedRoomId {
    let far = net.server(name).await;
    let jiro = far.user("jiro").await;
    let room = jiro.create_room_with(&json!({ "preset": "public_chat", "name": "県の広場" })).await;
    user.join(&room, name).await;
    assert_eq!(server.name(), user.id().server_name());
    far.stop().await;
    room
}

/// Opens a page until it says so.
pub(crate) async fn until(browser: &mut Browser, path: &str, says: &str) -> String {
    let wait = async {
        loop {
            let page = browser.open(path).await;
            if page.contains(says) {
                return page;
            }
            tokio::task::yield_now().await;
        }
    };
    let waited = tokio::time::timeout(std::time::Duration::from_secs(60), wait).await;
    waited.unwrap_or_else(|_| panic!("{path} never says {says}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_does_not_answer_is_seen_with_the_rooms_in_common_and_is_tried_again() {
    let net = Net::new();
    let server = net.server("kanazawa.test").await;
    let (chief, mut browser) = administrator(&server, "kanazawa.test", "chief").await;
    let hanako = server.user("hanako").await;
    assert!(browser.open(PEERS).await.contains("0 件"));
    let room = in_common(&net, &server, &hanako, "suzu.test").await;
    let here = format!("{PEER}?server=suzu.test");
    let page = browser.open(&here).await;
    assert!(page.contains("県の広場") && page.contains(room.as_str()), "{page}");
    hanako.send(&room, "聞こえますか").await;
    let page = until(&mut browser, &here, "から届いていません").await;
    assert!(page.contains("次の接続") && page.contains("いま接続し直す"), "{page}");
    assert!(browser.open(&format!("{PEERS}?state=fails")).await.contains("suzu.test"));
    let page = browser.open(STORAGE).await;
    assert!(page.contains("届いていないサーバー") && page.contains(">1</a>"), "{page}");

    let answer = browser.post(&here, PEER, &[("do", "retry"), ("server", "suzu.test")]).await;
    assert!(answer.location.unwrap().ends_with("done=retry"), "{}", answer.text);
    let retries = rows(&server, server.name(), "federation.retry").await;
    assert_eq!((&*retries[0].who, &*retries[0].whom), (chief.id().as_str(), "suzu.test"));
    let file = browser.get(&format!("{here}&as=csv")).await;
    assert!(file.text.contains("県の広場"), "{}", file.text);
    let file = browser.get(&format!("{PEERS}?as=csv")).await;
    assert!(file.text.contains("\"suzu.test\""), "{}", file.text);
    assert_eq!(rows(&server, server.name(), "table.export").await.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_with_which_no_room_is_shared_is_as_one_that_is_nowhere() {
    let net = Net::new();
    let server = net.process(&["kanazawa.test", "nonoichi.test"]).await;
    let (_, mut ours) = administrator(&server, "kanazawa.test", "chief").await;
    let (_, mut theirs) = administrator(&server, "nonoichi.test", "chief").await;
    let jiro = server.user_of("nonoichi.test", "jiro").await;
    let far = net.server("suzu.test").await;
    let taro = far.user("taro").await;
    let room = taro.create_room_with(&json!({ "preset": "public_chat", "name": "隠し部屋" })).await;
    jiro.join(&room, "suzu.test").await;
    assert!(theirs.open(PEERS).await.contains("suzu.test"));
    assert!(!ours.open(PEERS).await.contains("suzu.test"));
    for name in ["suzu.test", "nonoichi.test", "kanazawa.test", "nowhere.test"] {
        assert_eq!(ours.get(&format!("{PEER}?server={name}")).await.status, StatusCode::NOT_FOUND, "{name}");
        let fields = [("do", "retry"), ("server", name)];
        assert_eq!(ours.post(PEERS, PEER, &fields).await.status, StatusCode::NOT_FOUND, "{name}");
    }
    // One that answers is not tried again.
    let fields = [("do", "retry"), ("server", "suzu.test")];
    assert_eq!(theirs.post(PEERS, PEER, &fields).await.status, StatusCode::CONFLICT);
    assert_eq!(rows(&server, jiro.id().server_name(), "federation.retry").await, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_kept_and_waits_is_told_of_the_own_authority_alone() {
    let net = Net::new();
    let server = net.process(&["kanazawa.test", "nonoichi.test"]).await;
    let (_, mut browser) = administrator(&server, "kanazawa.test", "chief").await;
    let hanako = server.user_of("kanazawa.test", "hanako").await;
    let theirs = server.user_of("nonoichi.test", "jiro").await;
    let count = |page: &str, name: &str| -> String {
        let rest =
            page.split(&format!("<dt>{name}</dt><dd>")).nth(1).unwrap_or_else(|| panic!("{name}: {page}"));
        let cell = rest.split("</dd>").next().unwrap();
        cell.split('>').nth(1).map_or(cell, |inner| inner.split('<').next().unwrap()).to_owned()
    };
    let before = browser.open(STORAGE).await;
    for user in [&theirs, &theirs, &theirs] {
        user.create_room_with(&json!({ "name": "よその部屋" })).await;
        crate::upload(user, "a.txt", "あああ").await;
    }
    let page = browser.open(STORAGE).await;
    for name in ["アカウント（閉鎖を除く）", "ルーム", "ファイル"] {
        assert_eq!(count(&page, name), count(&before, name), "{name}");
    }
    hanako.create_room_with(&json!({ "name": "部屋" })).await;
    crate::upload(&hanako, "a.txt", "あああ").await;
    crate::report(&server, "kanazawa.test", ("広場", "言葉", "不適切")).await;
    let page = browser.open(STORAGE).await;
    assert_eq!(count(&before, "ファイル"), "0 B");
    assert_eq!((count(&page, "ファイル"), count(&page, "通報")), ("9 B".to_owned(), "1".to_owned()));
    assert_eq!(count(&page, "送信待ちのメール"), "0");
    assert!(page.contains("他のサーバーへの送信") || page.contains("まだ何も処理していません"), "{page}");
}
