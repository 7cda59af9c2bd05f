//! Reported events on the console: what was said is shown to who administers, who leaves a row of that.

use http::StatusCode;
use testkit::Net;

use crate::{PASSWORD, Reported, administrator, report, rows};

const REPORTS: &str = "/_yakuba/console/reports";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_report_shows_what_was_said_and_is_dealt_with_and_both_are_deeds() {
    let net = Net::new();
    let server = net.server("kanazawa.test").await;
    let (chief, mut browser) = administrator(&server, "kanazawa.test", "chief").await;
    assert!(browser.open(REPORTS).await.contains("0 件"));
    let said = "<b>ひどい言葉</b>\n二行目";
    let Reported { room, id, .. } =
        report(&server, "kanazawa.test", ("広場", said, "中傷 <script>alert(1)</script>")).await;
    let page = browser.open(&format!("{REPORTS}?q=中傷")).await;
    assert!(page.contains("広場") && page.contains(&format!("{REPORTS}/{id}")), "{page}");
    assert!(browser.open(&format!("{REPORTS}?q=ほか")).await.contains("0 件"));
    assert_eq!(rows(&server, server.name(), "room.read").await, [], "a list shows nothing that was said");

    let here = format!("{REPORTS}/{id}");
    let page = browser.open(&here).await;
    assert!(
        page.contains("&lt;b&gt;ひどい言葉&lt;/b&gt;\n二行目") && !page.contains("<script>alert"),
        "{page}"
    );
    let reads = rows(&server, server.name(), "room.read").await;
    assert_eq!((&*reads[0].who, &*reads[0].whom), (chief.id().as_str(), room.as_str()));

    let wrong = [("do", "delete"), ("password", "wrong")];
    assert_eq!(browser.post(&here, &here, &wrong).await.status, StatusCode::FORBIDDEN);
    let right = [("do", "delete"), ("password", PASSWORD)];
    assert_eq!(browser.post(&here, &here, &right).await.status, StatusCode::SEE_OTHER);
    let answer = browser.post("/_yakuba/console", &here, &right).await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND, "once: {}", answer.text);
    assert!(browser.open(REPORTS).await.contains("0 件"));
    assert_eq!(rows(&server, server.name(), "report.remove").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_of_the_authority_can_see_any_more_is_not_shown() {
    let net = Net::new();
    let server = net.server("kanazawa.test").await;
    let (_, mut browser) = administrator(&server, "kanazawa.test", "chief").await;
    let Reported { room, id, people } = report(&server, "kanazawa.test", ("広場", "言葉", "不適切")).await;
    assert!(browser.open(&format!("{REPORTS}/{id}")).await.contains("言葉"));
    for user in &people {
        user.leave(&room).await;
    }
    let page = browser.open(&format!("{REPORTS}/{id}")).await;
    assert!(page.contains("内容は表示できません") && !page.contains("言葉"), "{page}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_reports_are_paged_newest_first_and_a_file_has_them_all() {
    let net = Net::new();
    let server = net.server("kanazawa.test").await;
    let (_, mut browser) = administrator(&server, "kanazawa.test", "chief").await;
    let Reported { room, id: first, .. } = report(&server, "kanazawa.test", ("広場", "言葉", "不適切")).await;
    let accounts = server.look(|house| house.accounts.clone());
    let known = accounts.report(server.name(), first).await.unwrap();
    for number in 0..60 {
        let about = (&*room, &*known.event_id, &*known.sender);
        accounts.report_event(&known.user_id, about, Some(&format!("=理由{number}"))).await.unwrap();
    }
    let ids = |page: &str| -> Vec<u64> {
        let link = format!("href=\"{REPORTS}/");
        let links = page.split(&link).skip(1);
        links.map(|rest| rest.split('"').next().unwrap().parse().unwrap()).collect()
    };
    let page = browser.open(REPORTS).await;
    let mut seen = ids(&page);
    assert_eq!(seen.len(), 50);
    seen.extend(ids(&browser.open(&format!("{REPORTS}?before={}", seen[49])).await));
    assert!(seen.len() == 61 && seen.is_sorted_by(|one, next| one > next), "{seen:?}");
    let file = browser.get(&format!("{REPORTS}?as=csv")).await;
    assert_eq!(file.text.lines().count(), 62);
    assert!(file.text.contains("\"'=理由59\"") && file.text.contains("広場"), "{}", file.text);
    let exports = rows(&server, server.name(), "table.export").await;
    assert_eq!(exports[0].after, [("what".to_owned(), "reports".to_owned())]);
}
