//! Mail domains of an authority, from what is to be published to an account that is somebody's.

use duties::Duty;
use http::StatusCode;
use ruma::UserId;
use store::{Batch, Table, Tuning};
use testkit::{Net, Server, User};

use crate::{
    administer, administrator,
    browser::Browser,
    changes::{FIRST, applied, propose},
    holder, rows,
};

pub(crate) const DOMAINS: &str = "/_yakuba/console/domains";
pub(crate) const DOMAIN: &str = "city.kanazawa.test";
pub(crate) const SAYS: &str = "yakuba-authority=kanazawa.test";

/// People with addresses; the first has an account already, the two last ones share an address.
pub(crate) const PEOPLE: &str = "\
職員番号,氏名,フリガナ,所属,職名,発令日,アカウント,メールアドレス\n\
00001,山田 花子,ヤマダ ハナコ,総務部　防災課,課長,2020-04-01,hanako,hanako@city.kanazawa.test\n\
00002,髙橋 太郎,タカハシ タロウ,総務部　防災課,主査,2020-04-01,,Taro@City.Kanazawa.test\n\
00003,佐藤 次郎,サトウ ジロウ,総務部　人事課,課長,2020-04-01,,jiro@city.kanazawa.test\n\
00004,鈴木 五郎,スズキ ゴロウ,総務部　人事課,主査,2020-04-01,,madoguchi@city.kanazawa.test\n\
00005,田中 六子,タナカ ムツコ,総務部　人事課,主事,2020-04-01,,madoguchi@city.kanazawa.test\n";

/// The rows of an address, as its owner's having shown it leaves them: proved, and then added.
static EMAILS: Table<(String, String), bytes::Bytes> = Table::new(131, "account.emails", Tuning::Small);
static OWNERS: Table<(String, String), String> = Table::new(132, "account.email_owners", Tuning::Point);

/// Gives a user an address which he has shown to be his, or of which others told.
async fn give(server: &Server, user: &UserId, email: &str, is_shown: bool) {
    let row: &'static [u8] = if is_shown { b"\x01\x01\x02" } else { b"\x01\x02\x02" };
    let mut batch = Batch::new();
    batch.put(&EMAILS, &(user.as_str(), email), &bytes::Bytes::from_static(row));
    batch.put(&OWNERS, &(user.server_name().as_str(), email), &user.to_string());
    server.look(|house| house.store.clone()).commit(batch).await.unwrap();
}

/// Somebody who has registered with an address that he has shown to be his.
pub(crate) async fn registered(server: &Server, name: &str, email: &str) -> User {
    let user = server.user(name).await;
    give(server, user.id(), email, true).await;
    user
}

async fn check(browser: &mut Browser) -> String {
    let answer = browser.post(DOMAINS, DOMAINS, &[("check", DOMAIN)]).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text);
    browser.open(DOMAINS).await
}

/// The accounts that a page offers to be chosen.
fn offered(page: &str) -> Vec<String> {
    let boxes = page.split("<input").filter(|input| input.contains("type=\"checkbox\" name=\"user-"));
    boxes.map(|input| input.split("value=\"").nth(1).unwrap().split('"').next().unwrap().to_owned()).collect()
}

/// Whose an account is, by the organisation of today.
async fn number_of(server: &Server, account: &str) -> Option<String> {
    let store = server.look(|house| house.store.clone());
    let known = organisation::Organisations::new(&store).load(server.name()).await.unwrap().organisation;
    let person = known.owner(account)?;
    let day = "2026-04-01".parse().unwrap();
    Some(known.person(person, day)?.number.clone())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_with_an_address_of_a_proven_domain_is_somebodys_once_two_have_agreed() {
    let net = Net::new();
    net.name_mail_domain(DOMAIN);
    let server = net.server("kanazawa.test").await;
    let (_, mut officer) = holder(&server, "jinji", Duty::Personnel).await;
    let (_, mut chief) = administrator(&server, "kanazawa.test", "chief").await;
    let set = propose(&mut officer, &FIRST, PEOPLE).await;
    applied(&server, (&mut officer, &mut chief), &set).await;
    let taro = registered(&server, "taro.t", "taro@city.kanazawa.test").await;
    // Each of these for another reason nobody's.
    let boss = registered(&server, "boss", "jiro@city.kanazawa.test").await;
    administer(&server, boss.id()).await;
    registered(&server, "second", "hanako@city.kanazawa.test").await;
    registered(&server, "desk", "madoguchi@city.kanazawa.test").await;
    registered(&server, "nobody", "nobody@city.kanazawa.test").await;
    registered(&server, "elsewhere", "taro@example.test").await;
    let told_of = server.user("toldof").await;
    give(&server, told_of.id(), "jiro2@city.kanazawa.test", false).await;

    // Nothing is proven: nobody is offered, and what is to be published is said.
    let page = officer.open(DOMAINS).await;
    for said in [
        "未確認",
        "_yakuba.city.kanazawa.test",
        SAYS,
        "https://city.kanazawa.test/.well-known/yakuba-authority",
    ] {
        assert!(page.contains(said), "{said}: {page}");
    }
    assert!(!page.contains("taro.t"), "{page}");
    let early = officer.post(DOMAINS, DOMAINS, &[("user-0", taro.id().as_str())]).await;
    assert_eq!(early.status, StatusCode::BAD_REQUEST, "{}", early.text);
    // Somebody else's proof is none.
    net.publish("_yakuba.city.kanazawa.test", &["v=spf1 -all", "yakuba-authority=wajima.test"]);
    net.advance(std::time::Duration::from_secs(60));
    assert!(!check(&mut officer).await.contains("taro.t"));
    net.publish("_yakuba.city.kanazawa.test", &["yakuba-authority=wajima.test", SAYS]);
    net.advance(std::time::Duration::from_secs(60));
    let page = check(&mut officer).await;
    assert!(page.contains("確認済み") && !page.contains("未確認"), "{page}");
    assert_eq!(offered(&page), ["@taro.t:kanazawa.test"], "{page}");
    for said in [
        "00002 髙橋 太郎 (防災課)",
        "全体管理者のため",
        "この職員には hanako があります",
        "一人に決まりません",
        "このアドレスの職員がいません",
    ] {
        assert!(page.contains(said), "{said}: {page}");
    }
    for hidden in ["elsewhere", "toldof"] {
        assert!(!page.contains(hidden), "{hidden}: {page}");
    }
    for other in [
        "@boss:kanazawa.test",
        "@second:kanazawa.test",
        "@desk:kanazawa.test",
        "@toldof:kanazawa.test",
        "@taro.t:wajima.test",
    ] {
        let answer = officer.post(DOMAINS, DOMAINS, &[("user-0", other)]).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{other}: {}", answer.text);
    }
    // Whoever only reads, or is nobody here, has nothing to do with it.
    let (_, mut reader) = holder(&server, "reads", Duty::Reading).await;
    assert_eq!(reader.get(DOMAINS).await.status, StatusCode::FORBIDDEN);

    let room = taro.create_room(testkit::Preset::PrivateChat).await;
    let made = officer.post(DOMAINS, DOMAINS, &[("user-0", taro.id().as_str())]).await;
    assert_eq!(made.status, StatusCode::SEE_OTHER, "{}", made.text);
    let set = made.location.unwrap();
    let page = officer.open(DOMAINS).await;
    assert!(offered(&page).is_empty() && page.contains("変更案に入っています"), "{page}");
    assert_eq!(number_of(&server, "taro.t").await, None);
    let rows = rows(&server, server.name(), "domains.put_forward").await;
    assert_eq!(
        rows.iter().map(|row| (row.who.as_str(), row.whom.as_str())).collect::<Vec<_>>(),
        [("@jinji:kanazawa.test", "@taro.t:kanazawa.test")]
    );

    applied(&server, (&mut officer, &mut chief), &set).await;
    assert_eq!(number_of(&server, "taro.t").await.as_deref(), Some("00002"));
    net.advance(std::time::Duration::from_secs(61));
    // He is told, in the room of what the server says; his own rooms are as they were.
    let seen = taro.sync_until(|seen| seen.rooms.values().any(|room| room.section == "invite")).await;
    assert!(seen.is_joined(&room));
    let (notices, _) = seen.rooms.iter().find(|(_, room)| room.section == "invite").unwrap();
    let notices: ruma::OwnedRoomId = notices.as_str().try_into().unwrap();
    taro.join(&notices, "kanazawa.test").await;
    let is_told = |seen: &testkit::Seen| {
        let messages = seen.room(&notices).messages();
        messages.iter().filter(|text| text.contains("職員「髙橋 太郎」（職員番号 00002）")).count() == 1
    };
    taro.sync_until(is_told).await;
    assert!(!officer.open(DOMAINS).await.contains("taro.t"), "it is somebody's by now");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_two_do_at_once_is_done_once_and_what_is_over_by_then_is_not_done() {
    let net = Net::new();
    net.name_mail_domain(DOMAIN);
    net.publish("_yakuba.city.kanazawa.test", &[SAYS]);
    let server = net.server("kanazawa.test").await;
    let (_, mut officer) = holder(&server, "jinji", Duty::Personnel).await;
    let (_, mut chief) = administrator(&server, "kanazawa.test", "chief").await;
    let set = propose(&mut officer, &FIRST, PEOPLE).await;
    applied(&server, (&mut officer, &mut chief), &set).await;
    let taro = registered(&server, "taro.t", "taro@city.kanazawa.test").await;
    check(&mut officer).await;
    let user = [("user-0", taro.id().as_str())];
    let [first, second] = [0, 1].map(|_| officer.clone());
    let (mut first, mut second) = (first, second);
    let both = tokio::join!(first.post(DOMAINS, DOMAINS, &user), second.post(DOMAINS, DOMAINS, &user));
    // Either both have made a set, of which one can be applied, or the second is told that it is done.
    let made: Vec<String> = [both.0, both.1].into_iter().filter_map(|answer| answer.location).collect();
    assert!(!made.is_empty());
    applied(&server, (&mut officer, &mut chief), &made[0]).await;
    assert_eq!(number_of(&server, "taro.t").await.as_deref(), Some("00002"));
    // An account that was closed meanwhile, or whose address was taken away, is not put forward.
    let jiro = registered(&server, "jiro.s", "jiro@city.kanazawa.test").await;
    assert_eq!(offered(&officer.open(DOMAINS).await), [jiro.id().as_str()]);
    let accounts = server.look(|house| house.accounts.clone());
    accounts
        .remove_email(jiro.id(), "jiro@city.kanazawa.test", &audit::Actor::operator("test"))
        .await
        .unwrap();
    let late = officer.post(DOMAINS, DOMAINS, &[("user-0", jiro.id().as_str())]).await;
    assert_eq!(late.status, StatusCode::BAD_REQUEST, "{}", late.text);
}
