//! Files on the console: who keeps how much, and what is done to one.

use http::{Method, StatusCode};
use testkit::Net;

use crate::{PASSWORD, administrator, download, rows, upload};

const FILES: &str = "/_yakuba/console/files";
const OWN_FILES: &str = "/_yakuba/console/files/user";
const FILE: &str = "/_yakuba/console/file";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_is_found_withheld_shown_again_protected_and_deleted() {
    let net = Net::new();
    let server = net.server("kanazawa.test").await;
    let (chief, mut browser) = administrator(&server, "kanazawa.test", "chief").await;
    let hanako = server.user("hanako").await;
    let uri = upload(&hanako, "meibo.txt", "名簿").await;
    upload(&hanako, "memo.txt", "メモです").await;
    let page = browser.open(FILES).await;
    assert!(page.contains("@hanako:kanazawa.test") && page.contains("18 B"), "{page}");
    let page = browser.open(&format!("{OWN_FILES}?user={}", hanako.id())).await;
    assert!(page.contains("meibo.txt") && page.contains("memo.txt"), "{page}");
    let reads = rows(&server, server.name(), "account.read").await;
    assert_eq!(reads[0].after, [("what".to_owned(), "files".to_owned())]);

    let here = format!("{FILE}?uri={uri}");
    let deed = |what: &'static str| [("do", what), ("uri", uri.as_str())];
    assert_eq!(browser.post(&here, FILE, &deed("withhold")).await.status, StatusCode::SEE_OTHER);
    assert_eq!(download(&hanako, &uri).await, 404);
    assert!(browser.open(&here).await.contains(chief.id().as_str()), "who withholds it");
    // The admin API knows it, too: it is one thing.
    let path = format!("/_synapse/admin/v1/media/{}", uri.strip_prefix("mxc://").unwrap());
    let (_, text) = chief.ask(Method::GET, &path, None).await;
    assert!(text.contains(&format!("\"quarantined_by\":\"{}\"", chief.id())), "{text}");
    browser.post(&here, FILE, &deed("release")).await;
    assert_eq!(download(&hanako, &uri).await, 200);
    browser.post(&here, FILE, &deed("protect")).await;
    let answer = browser.post(&here, FILE, &deed("withhold")).await;
    assert!(
        answer.status == StatusCode::CONFLICT && answer.text.contains("保護されているため"),
        "{}",
        answer.text
    );
    assert_eq!(download(&hanako, &uri).await, 200);

    // All of somebody's but what is protected.
    let all = [("do", "withhold"), ("user", hanako.id().as_str()), ("password", "wrong")];
    assert_eq!(browser.post(&here, OWN_FILES, &all).await.status, StatusCode::FORBIDDEN);
    let all = [("do", "withhold"), ("user", hanako.id().as_str()), ("password", PASSWORD)];
    let answer = browser.post(&here, OWN_FILES, &all).await;
    assert!(answer.location.unwrap().ends_with("done=1"));
    assert_eq!(download(&hanako, &uri).await, 200);

    let wrong = [("do", "delete"), ("uri", uri.as_str()), ("password", "wrong")];
    assert_eq!(browser.post(&here, FILE, &wrong).await.status, StatusCode::FORBIDDEN);
    assert_eq!(download(&hanako, &uri).await, 200);
    let right = [("do", "delete"), ("uri", uri.as_str()), ("password", PASSWORD)];
    assert_eq!(browser.post(&here, FILE, &right).await.status, StatusCode::SEE_OTHER);
    assert_eq!(download(&hanako, &uri).await, 404);
    assert_eq!(browser.get(&here).await.status, StatusCode::NOT_FOUND);
    let counts = [("media.withhold", 2), ("media.release", 1), ("media.protect", 1), ("media.remove", 1)];
    for (what, count) in counts {
        assert_eq!(rows(&server, server.name(), what).await.len(), count, "{what}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_servers_file_is_withheld_from_the_authoritys_own_people_alone() {
    let net = Net::new();
    let server = net.process(&["kanazawa.test", "nonoichi.test"]).await;
    let (chief, mut browser) = administrator(&server, "kanazawa.test", "chief").await;
    let theirs = server.user_of("nonoichi.test", "jiro").await;
    let uri = upload(&theirs, "a.txt", "あ").await;
    assert_eq!(download(&chief, &uri).await, 200);
    let here = format!("{FILE}?uri={uri}");
    let page = browser.open(&here).await;
    assert!(page.contains("他のサーバーのファイルです") && !page.contains("@jiro"), "{page}");
    // One that there is not looks the same.
    let nowhere = browser.open(&format!("{FILE}?uri=mxc://nonoichi.test/nothing")).await;
    assert!(nowhere.contains("他のサーバーのファイルです"), "{nowhere}");
    browser.post(&here, FILE, &[("do", "withhold"), ("uri", &uri)]).await;
    assert_eq!((download(&chief, &uri).await, download(&theirs, &uri).await), (404, 200));
    assert!(browser.open(&here).await.contains("公開に戻す"));
    for what in ["delete", "protect"] {
        let fields = [("do", what), ("uri", uri.as_str()), ("password", PASSWORD)];
        assert_eq!(browser.post(&here, FILE, &fields).await.status, StatusCode::NOT_FOUND, "{what}");
    }
    browser.post(&here, FILE, &[("do", "release"), ("uri", &uri)]).await;
    assert_eq!(download(&chief, &uri).await, 200);
    assert_eq!(rows(&server, theirs.id().server_name(), "media").await, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_keeps_much_is_paged_in_both_orders_and_given_as_a_file() {
    let net = Net::new();
    let server = net.server("kanazawa.test").await;
    let (_, mut browser) = administrator(&server, "kanazawa.test", "chief").await;
    let hanako = server.user("hanako").await;
    for (name, content) in [("abe", "あ"), ("ito", "いいい"), ("ueda", "うう")] {
        upload(&server.user(name).await, "a.txt", content).await;
    }
    let users = |page: &str| -> Vec<String> {
        let links = page.split("files/user?user=%40").skip(1);
        links.map(|rest| rest.split("%3A").next().unwrap().to_owned()).collect()
    };
    assert_eq!(users(&browser.open(FILES).await), ["abe", "ito", "ueda"]);
    assert_eq!(users(&browser.open(&format!("{FILES}?order=size")).await), ["ito", "ueda", "abe"]);
    let page = browser.open(&format!("{FILES}?order=size&after=9-@ito:kanazawa.test")).await;
    assert_eq!(users(&page), ["ueda", "abe"]);
    let page = browser.open(&format!("{FILES}?after=3-@abe:kanazawa.test")).await;
    assert_eq!(users(&page), ["ito", "ueda"]);
    let file = browser.get(&format!("{FILES}?as=csv&order=size")).await;
    assert_eq!(file.text.lines().nth(1).unwrap(), "\"'@ito:kanazawa.test\",\"ito\",\"1\",\"9 B\",\"9\"");

    for number in 0..101 {
        upload(&hanako, &format!("{number}.txt"), &format!("{number}")).await;
    }
    let own = format!("{OWN_FILES}?user={}", hanako.id());
    let page = browser.open(&own).await;
    assert_eq!(page.matches("console/file?uri=").count(), 100);
    let next =
        page.split("href=\"").find(|rest| rest.contains("before=")).unwrap().split('"').next().unwrap();
    let page = browser.open(&next.replace("&amp;", "&")).await;
    assert!(page.matches("console/file?uri=").count() == 1 && page.contains("0.txt"), "{page}");
    let file = browser.get(&format!("{own}&as=csv")).await;
    assert_eq!(file.text.lines().count(), 102);
    let exports = rows(&server, server.name(), "table.export").await;
    assert_eq!(exports.len(), 2);
}
