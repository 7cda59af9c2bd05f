//! What an administrator does to accounts, and what the audit log shows of it.

use duties::Duty;
use http::{Method, StatusCode};
use testkit::Net;

use crate::{PASSWORD, administrator, browser::Browser, holder, rows};

const ACCOUNT: &str = "/_yakuba/console/account";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_is_found_locked_and_unlocked() {
    let net = Net::new();
    let server = net.server("kanazawa.test").await;
    let (chief, mut browser) = administrator(&server, "kanazawa.test", "chief").await;
    let hanako = server.user("hanako").await;
    let page = browser.open("/_yakuba/console/accounts?q=hana").await;
    assert!(page.contains("@hanako:kanazawa.test") && !page.contains("@chief:kanazawa.test</a>"), "{page}");
    let here = format!("{ACCOUNT}?user={}", hanako.id());
    let deed = |what, password| [("do", what), ("user", hanako.id().as_str()), ("password", password)];
    let answer = browser.post(&here, ACCOUNT, &deed("lock", "wrong")).await;
    assert!(answer.status == StatusCode::FORBIDDEN && answer.text.contains("パスワードが違います"));
    assert_eq!(hanako.ask(Method::GET, "/_matrix/client/v3/account/whoami", None).await.0, StatusCode::OK);
    for _ in 0..2 {
        let answer = browser.post(&here, ACCOUNT, &deed("lock", PASSWORD)).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text);
    }
    let (status, text) = hanako.ask(Method::GET, "/_matrix/client/v3/account/whoami", None).await;
    assert!(status == StatusCode::UNAUTHORIZED && text.contains("M_USER_LOCKED"), "{text}");
    assert!(browser.open(&here).await.contains("ロック中"));
    assert!(browser.open("/_yakuba/console/accounts?state=locked").await.contains("@hanako:kanazawa.test"));
    assert_eq!(browser.post(&here, ACCOUNT, &deed("unlock", PASSWORD)).await.status, StatusCode::SEE_OTHER);
    assert_eq!(hanako.ask(Method::GET, "/_matrix/client/v3/account/whoami", None).await.0, StatusCode::OK);
    let locks = rows(&server, server.name(), "account.lock").await;
    assert_eq!(locks.len(), 1, "what is so already is no deed");
    assert_eq!((&*locks[0].who, &*locks[0].role), (chief.id().as_str(), "administrator"));

    let own = [("do", "lock"), ("user", chief.id().as_str()), ("password", PASSWORD)];
    assert_eq!(browser.post(&here, ACCOUNT, &own).await.status, StatusCode::CONFLICT);
    let (other, _) = administrator(&server, "kanazawa.test", "other").await;
    let others = [("do", "lock"), ("user", other.id().as_str()), ("password", PASSWORD)];
    let answer = browser.post(&here, ACCOUNT, &others).await;
    assert!(
        answer.status == StatusCode::FORBIDDEN
            && answer.text.contains("全体管理者のアカウントには行えません")
    );
    for own in ["@_server:kanazawa.test", "@_rooms:kanazawa.test"] {
        let fields = [("do", "lock"), ("user", own), ("password", PASSWORD)];
        let answer = browser.post(&here, ACCOUNT, &fields).await;
        assert!(answer.status.is_client_error(), "{own}: {}", answer.status);
    }
    assert_eq!(rows(&server, server.name(), "account.lock").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_closed_account_is_opened_again_on_its_page_as_long_as_that_is_possible() {
    let net = Net::new();
    let server = net.server("kanazawa.test").await;
    let (_, mut browser) = administrator(&server, "kanazawa.test", "chief").await;
    let hanako = server.user("hanako").await;
    let here = format!("{ACCOUNT}?user={}", hanako.id());
    let deed = |password, new| {
        [("do", "reopen"), ("user", hanako.id().as_str()), ("password", password), ("new_password", new)]
    };
    assert!(!browser.open(&here).await.contains("復元する"));
    let open = browser.post(&here, ACCOUNT, &deed(PASSWORD, "another long word")).await;
    assert_eq!(open.status, StatusCode::NOT_FOUND, "what is open is not opened");
    let accounts = server.look(|house| house.accounts.clone());
    accounts.close_account(hanako.id(), &audit::Actor::operator("test")).await.unwrap();
    let page = browser.open(&here).await;
    assert!(page.contains("閉鎖済み") && page.contains("復元する") && page.contains("期限: "), "{page}");
    let wrong = browser.post(&here, ACCOUNT, &deed("wrong", "another long word")).await;
    assert!(wrong.status == StatusCode::FORBIDDEN && wrong.text.contains("パスワードが違います"));
    let weak = browser.post(&here, ACCOUNT, &deed(PASSWORD, "short")).await;
    assert!(weak.status.is_client_error() && !weak.text.contains("value=\"short\""), "{}", weak.text);
    let locked = [("do", "lock"), ("user", hanako.id().as_str()), ("password", PASSWORD)];
    assert_eq!(browser.post(&here, ACCOUNT, &locked).await.status, StatusCode::NOT_FOUND);
    let opened = async {
        while browser.post(&here, ACCOUNT, &deed(PASSWORD, "another long word")).await.status
            != StatusCode::SEE_OTHER
        {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), opened).await.unwrap();
    assert!(browser.open(&here).await.contains("有効"));
    assert_eq!(rows(&server, server.name(), "account.reopen").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_audit_log_is_searched_in_japanese_and_a_file_of_it_computes_nothing_and_is_a_deed() {
    let net = Net::new();
    let server = net.server("kanazawa.test").await;
    let (_, mut auditor) = holder(&server, "kansa", Duty::Audit).await;
    let (chief, mut browser) = administrator(&server, "kanazawa.test", "chief").await;
    let hanako = server.user("hanako").await;
    let fields = [("do", "lock"), ("user", hanako.id().as_str()), ("password", PASSWORD)];
    browser.post(&format!("{ACCOUNT}?user={}", hanako.id()), ACCOUNT, &fields).await;
    let devices = server.look(|house| house.accounts.clone());
    let device = devices.devices(chief.id()).await.unwrap()[0].device_id.clone();
    let by = audit::Actor::operator("=cmd|' /C calc'!A0");
    devices.rename_device_of(chief.id(), &device, Some("=1+1\r\nfake,row".to_owned()), &by).await.unwrap();

    let page = auditor.open("/_yakuba/console/audit").await;
    assert!(page.contains("アカウントのロック") && page.contains("@chief:kanazawa.test"), "{page}");
    // 「ロック」 in katakana of half width.
    let path = "/_yakuba/console/audit?text=%EF%BE%9B%EF%BD%AF%EF%BD%B8&what=account";
    let page = auditor.open(path).await;
    assert!(page.contains("@hanako:kanazawa.test") && !page.contains("=cmd"), "{page}");
    let page = auditor.open("/_yakuba/console/audit?who=hanako&what=account.lock").await;
    // Behind the rows stands for how long they are kept.
    let (rows_found, kept) = page.split_once("<h2>保存期間</h2>").unwrap();
    assert!(rows_found.matches("role=\"cell\"").count() == 8, "one row: {page}");
    assert!(kept.contains("サインイン・サインアウト"), "{kept}");
    assert!(!kept.contains("保全の理由"), "who only reads it has nothing stay");
    let answer = auditor.get("/_yakuba/console/audit?since=tomorrow").await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);

    let here = "/_yakuba/console/audit";
    let file = auditor.post(here, "/_yakuba/console/audit/file", &[("as", "csv")]).await;
    assert_eq!(file.status, StatusCode::OK);
    assert_eq!(file.headers["content-type"], "text/csv; charset=utf-8");
    assert!(
        file.text.starts_with('\u{feff}') && file.text.contains("\"'=cmd|' /C calc'!A0\""),
        "{}",
        file.text
    );
    assert!(file.text.lines().all(|line| !line.starts_with("fake")), "{}", file.text);
    assert!(
        file.text.contains("役割") && file.text.contains("変更案承認"),
        "the chief's duty: {}",
        file.text
    );
    let lines =
        auditor.post(here, "/_yakuba/console/audit/file", &[("as", "lines"), ("what", "account.lock")]).await;
    let row: serde_json::Value = serde_json::from_str(lines.text.trim()).unwrap();
    assert_eq!((&row["what"], &row["whom"]), (&"account.lock".into(), &hanako.id().as_str().into()));
    let exports = rows(&server, server.name(), "audit.export").await;
    assert_eq!(exports.len(), 2);
    assert_eq!(exports[1].after.iter().find(|(name, _)| name == "what").unwrap().1, "account.lock");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn accounts_that_nobody_has_used_for_long_are_listed_and_no_others() {
    let net = Net::new();
    let server = net.server("kanazawa.test").await;
    let (_, mut browser) = administrator(&server, "kanazawa.test", "chief").await;
    let (hanako, taro) = (server.user("hanako").await, server.user("taro").await);
    let (jiro, saburo) = (server.user("jiro").await, server.user("saburo").await);
    let guest = server.guest().await;
    for user in [&hanako, &taro, &guest] {
        user.call(Method::GET, "/account/whoami", None).await;
    }
    // Whoever signs out has been there all the same.
    taro.call(Method::POST, "/logout", Some(&serde_json::json!({}))).await;
    net.set_forward(std::time::Duration::from_secs(100 * 24 * 60 * 60));
    let dormant = "/_yakuba/console/accounts?state=dormant&days=";
    browser.sign_in("chief").await;
    let names = |page: &str| -> Vec<&str> {
        let known =
            ["chief", "hanako", "taro", "jiro", "saburo", "_server", "_rooms", guest.id().localpart()];
        known.into_iter().filter(|name| page.contains(&format!("@{name}:kanazawa.test</a>"))).collect()
    };
    let page = browser.open(&format!("{dormant}90")).await;
    assert_eq!(names(&page), ["hanako", "taro", "jiro", "saburo"], "{page}");
    assert!(names(&browser.open(&format!("{dormant}101")).await).is_empty());

    // One uses her device, one a page of ours alone.
    hanako.call(Method::GET, "/account/whoami", None).await;
    let mut other = Browser::stranger(&server);
    other.sign_in("saburo").await;
    let page = browser.open(&format!("{dormant}90")).await;
    assert_eq!(names(&page), ["taro", "jiro"], "{page}");
    let file = browser.open(&format!("{dormant}90&as=csv")).await;
    let lines: Vec<&str> = file.lines().filter(|line| line.contains("kanazawa.test")).collect();
    assert_eq!(lines.len(), 2, "{file}");
    // Whoever never was there is told by when his account was made.
    assert!(lines[0].contains("jiro") && lines[1].contains("taro"), "{file}");
    let days: Vec<usize> = lines.iter().map(|line| line.matches("令和8年4月1日").count()).collect();
    assert_eq!(days, [1, 2], "{file}");
    drop((jiro, saburo));
}

/// W8.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_of_accounts_that_are_alike_hold_each_once_and_are_the_same_when_they_are_read_again() {
    let net = Net::new();
    let server = net.server("kanazawa.test").await;
    let (_, mut browser) = administrator(&server, "kanazawa.test", "chief").await;
    let accounts = server.look(|house| house.accounts.clone());
    let mut made = Vec::new();
    for number in 0..120 {
        let new = account::NewUser {
            localpart: format!("u{number:03}"),
            display_name: Some("山田 花子".to_owned()),
            ..account::NewUser::default()
        };
        let user = accounts.create_user(server.name(), new, &audit::Actor::operator("test")).await.unwrap();
        made.push(user.to_string());
    }
    net.advance(std::time::Duration::from_secs(60 * 60));
    // All of them were made within a moment, and nobody has ever used one.
    for state in ["", "dormant&days=0"] {
        let mut read = async || {
            let mut all = Vec::new();
            for from in [0, 100] {
                let path =
                    format!("/_yakuba/console/accounts?q=%E5%B1%B1%E7%94%B0&state={state}&from={from}");
                let page = browser.open(&path).await;
                let ids = page.split("class=\"id\"").skip(1).map(|link| {
                    let text = link.split('>').nth(1).unwrap();
                    text.split('<').next().unwrap().to_owned()
                });
                all.extend(ids);
            }
            all
        };
        let (first, second) = (read().await, read().await);
        assert_eq!(first, second, "{state}");
        let mut each = first;
        each.sort();
        assert_eq!(each, made, "{state}");
    }
}
