//! A personnel file from its upload to the undoing of what it did.

use duties::Duty;
use http::StatusCode;
use serde_json::json;
use testkit::{Net, Server};

use crate::{
    PASSWORD, administrator,
    browser::{Answer, Browser},
    holder, rows,
};

const CHANGES: &str = "/_yakuba/console/changes";
const IMPORT: &str = "/_yakuba/console/import";
const ORGANISATION: &str = "/_yakuba/console/organisation";

pub(crate) const FILE: &str = "\
職員番号,氏名,フリガナ,所属,職名,発令日,アカウント\n\
00001,山田 花子,ヤマダ ハナコ,総務部　防災課,課長,2020-04-01,hanako\n\
00002,髙橋 太郎,タカハシ タロウ,総務部　防災課,主査,2020-04-01,taro\n\
00003,佐藤 次郎,サトウ ジロウ,総務部　人事課,課長,2020-04-01,jiro\n";

/// The fields of a first import.
pub(crate) const FIRST: [(&str, &str); 5] = [
    ("do", "propose"),
    ("source", "人事システム"),
    ("new_body", "首長部局"),
    ("makes_new", "yes"),
    ("day", "2020-04-01"),
];

/// Uploads a file that becomes a change set; where that is shown.
pub(crate) async fn propose(browser: &mut Browser, fields: &[(&str, &str)], file: &str) -> String {
    let answer = browser.upload(IMPORT, fields, file.as_bytes()).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text);
    answer.location.unwrap()
}

/// Waits until the page of a set says this.
async fn until(server: &Server, browser: &mut Browser, set: &str, text: &str) {
    let seen = async {
        while !browser.open(set).await.contains(text) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), seen).await.unwrap();
    assert!(server.is_up());
}

/// Where it is asked for that a set is applied.
pub(crate) const ASK: &str = "/_yakuba/counter/ask/changes";

/// Asks for a set to be applied, with what is typed besides, and means all that has to be meant.
pub(crate) async fn ask(browser: &mut Browser, set: &str, typed: &[(&str, &str)]) -> Answer {
    let number = set.rsplit('/').next().unwrap();
    let page = browser.open(&format!("{ASK}?field-set={number}")).await;
    let usual = [("field-set", number), ("reason", "四月の異動"), ("password", PASSWORD)];
    let is_typed = |name: &str| typed.iter().any(|(one, _)| *one == name);
    let mut fields: Vec<_> = usual.into_iter().filter(|(name, _)| !is_typed(name)).collect();
    fields.extend(typed);
    let guards = guards(&page);
    fields.extend(guards.iter().map(|guard| (guard.as_str(), "yes")));
    browser.post(ASK, ASK, &fields).await
}

/// The same; where the case is shown.
pub(crate) async fn asked(browser: &mut Browser, set: &str) -> String {
    let answer = ask(browser, set, &[]).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text);
    answer.location.unwrap()
}

/// Agrees to a case, meaning all that has to be meant.
pub(crate) async fn agree(browser: &mut Browser, case: &str) -> Answer {
    let page = browser.open(case).await;
    let seen = page.split("name=\"seen\" value=\"").nth(1).unwrap_or("").split('"').next().unwrap();
    let guards = guards(&page);
    let mut fields = vec![("do", "approve"), ("password", PASSWORD), ("seen", seen)];
    fields.extend(guards.iter().map(|guard| (guard.as_str(), "yes")));
    browser.post(case, case, &fields).await
}

fn guards(page: &str) -> Vec<String> {
    let all = page.split("name=\"means-").skip(1);
    all.map(|rest| format!("means-{}", rest.split('"').next().unwrap())).collect()
}

/// Has two people agree to a set, and waits until it is applied.
pub(crate) async fn applied(server: &Server, (officer, chief): (&mut Browser, &mut Browser), set: &str) {
    let case = asked(officer, set).await;
    let answer = agree(chief, &case).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text);
    until(server, chief, set, "適用済み").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_is_uploaded_approved_by_two_applied_and_undone() {
    let net = Net::new();
    let server = net.server("kanazawa.test").await;
    let (_, mut officer) = holder(&server, "jinji", Duty::Personnel).await;
    let (_, mut chief) = administrator(&server, "kanazawa.test", "chief").await;
    let set = propose(&mut officer, &FIRST, FILE).await;
    let page = officer.open(&set).await;
    for text in ["承認待ち", "00002 髙橋 太郎", "新規", "防災課"] {
        assert!(page.contains(text), "{text}: {page}");
    }
    assert!(
        chief.open("/_yakuba/console").await.contains(&format!("href=\"{set}\"")),
        "it waits for the chief"
    );

    // Asking is agreeing: a wrong password asks for nothing, and the page is there once more.
    let answer = ask(&mut officer, &set, &[("password", "wrong")]).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    assert!(answer.text.contains("パスワードが違います。") && answer.text.contains("四月の異動"));
    let case = asked(&mut officer, &set).await;
    assert!(officer.open(&set).await.contains(&format!("href=\"{case}\"")), "the set leads to its case");
    assert!(chief.open(&case).await.contains(&format!("href=\"{set}\"")), "and the case to its set");
    assert!(
        chief.open("/_yakuba/counter").await.contains(&format!("href=\"{case}\"")),
        "it waits for the chief"
    );
    // Nobody agrees twice, and nobody asks for the same twice.
    assert!(!officer.open(&case).await.contains("value=\"approve\""));
    assert!(!officer.open(&set).await.contains(ASK));
    let answer = ask(&mut chief, &set, &[]).await;
    assert!(
        answer.status.is_client_error() && answer.text.contains("まだ終わっていません"),
        "{}",
        answer.text
    );
    assert_eq!(rows(&server, server.name(), "organisation.approve").await, []);
    let answer = agree(&mut chief, &case).await;
    assert_eq!((answer.status, answer.location.as_deref()), (StatusCode::SEE_OTHER, Some(&*case)));
    until(&server, &mut chief, &set, "適用済み").await;
    let approvals = rows(&server, server.name(), "organisation.approve").await;
    let by: Vec<_> =
        approvals.iter().map(|row| (row.who.as_str(), row.role.as_str(), row.duty.as_deref())).collect();
    assert_eq!(by, [("@chief:kanazawa.test", "administrator", Some("approval"))]);

    let page = chief.open(ORGANISATION).await;
    assert!(page.contains("防災課") && page.contains("2 人"), "{page}");
    let page = chief.open(&format!("{ORGANISATION}?unit=%E9%98%B2%E7%81%BD%E8%AA%B2")).await;
    assert!(page.contains("髙橋 太郎") && page.contains("00002") && !page.contains("佐藤 次郎"), "{page}");
    let page = chief.open("/_yakuba/console/people?q=%E3%81%9F%E3%81%8B%E3%81%AF%E3%81%97").await;
    assert!(page.contains("髙橋 太郎") && page.contains("1 人見つかりました"), "by reading: {page}");
    let page = chief.open("/_yakuba/console/people?q=%E9%AB%98%E6%A9%8B").await;
    assert!(page.contains("髙橋 太郎"), "by another form of the letter");
    let file = chief.get(&format!("{ORGANISATION}?as=csv")).await;
    assert!(
        file.text.starts_with('\u{feff}') && file.text.contains("\"00002\",\"髙橋 太郎\""),
        "{}",
        file.text
    );

    // A rule wants a room for each 課 from a day to come: what that would change is seen before it is done.
    let rules = server.look(|house| house.rules.clone());
    let room = json!({ "key": "main", "name": "{unit} 連絡" });
    let wish = json!({ "title": "課のルーム", "units": { "named": ["*課"] }, "rooms": [room] });
    let wish = Box::new(serde_json::from_value(wish).unwrap());
    let from = Some("2026-05-01".parse().unwrap());
    let order = rules::Order::Set { rule: None, wish, from, until: None };
    rules.carry_out(server.name(), order, &audit::Actor::operator("test")).await.unwrap();
    let page = officer.open("/_yakuba/console/rooms?do=preview&day=2026-05-01").await;
    assert!(page.contains("課のルーム") && page.contains("防災課 連絡"), "{page}");

    let undo = format!("{set}/undo");
    let answer = officer.post(&undo, &undo, &[("do", "undo"), ("password", "wrong")]).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    assert!(officer.open(&set).await.contains("適用済み"));
    let answer = officer.post(&undo, &undo, &[("do", "undo"), ("password", PASSWORD)]).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text);
    assert!(officer.open(&set).await.contains("取り消し済み"));
    assert!(officer.open(ORGANISATION).await.contains("まだ登録されていません"));
    assert_eq!(rows(&server, server.name(), "organisation.undo").await.len(), 1);
    // Sent once more, it says how things stand, and nothing happens.
    let answer = officer.post(&undo, &undo, &[("do", "undo"), ("password", PASSWORD)]).await;
    assert!(answer.status.is_client_error() && answer.text.contains("適用済みではない"), "{}", answer.text);
    assert_eq!(rows(&server, server.name(), "organisation.undo").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_line_is_undone_and_the_others_stay() {
    let net = Net::new();
    let server = net.server("kanazawa.test").await;
    let (_, mut officer) = holder(&server, "jinji", Duty::Personnel).await;
    let (_, mut chief) = administrator(&server, "kanazawa.test", "chief").await;
    for file in [
        FILE.to_owned(),
        FILE.replace("髙橋 太郎,タカハシ タロウ,総務部　防災課", "髙橋 太郎,タカハシ タロウ,総務部　人事課"),
    ] {
        let set = propose(&mut officer, &FIRST, &file).await;
        applied(&server, (&mut officer, &mut chief), &set).await;
    }
    let page = officer.open(&format!("{CHANGES}?")).await;
    let set = page.split("href=\"").find(|rest| rest.starts_with("/_yakuba/console/changes/")).unwrap();
    let set = set.split('"').next().unwrap().to_owned();
    let page = officer.open(&set).await;
    let is_his =
        |rest: &&str| rest.contains("/undo?line=") && rest.split('>').next().unwrap().contains("髙橋 太郎");
    let undo = page.split("href=\"").find(is_his).unwrap();
    let undo = undo.split('"').next().unwrap().to_owned();
    let page = officer.open(&undo.replace("&amp;", "&")).await;
    assert!(page.contains("髙橋 太郎"), "it is asked about by name: {undo} {page}");
    let (path, line) = undo.split_once("?line=").unwrap();
    let answer = officer.post(&undo, path, &[("line", line), ("password", PASSWORD)]).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text);
    let page = officer.open(&format!("{ORGANISATION}?unit=%E9%98%B2%E7%81%BD%E8%AA%B2")).await;
    assert!(page.contains("髙橋 太郎"), "{page}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_warning_has_to_be_meant_and_another_hour_has_to_be_approved_anew() {
    let net = Net::new();
    let server = net.server("kanazawa.test").await;
    let (_, mut officer) = holder(&server, "jinji", Duty::Personnel).await;
    let (_, mut chief) = administrator(&server, "kanazawa.test", "chief").await;
    // One number is written for two people.
    let twice = format!("{FILE}00001,別人 一郎,ベツジン イチロウ,総務部　人事課,主事,2020-04-01,\n");
    let set = propose(&mut officer, &FIRST, &twice).await;
    let number = set.rsplit('/').next().unwrap();
    let page = officer.open(&format!("{ASK}?field-set={number}")).await;
    assert!(page.contains("means-duplicates"), "{page}");
    let blind = [("field-set", number), ("reason", "x"), ("password", PASSWORD)];
    let answer = officer.post(ASK, ASK, &blind).await;
    assert!(answer.status.is_client_error() && answer.text.contains("警告"), "{}", answer.text);
    assert!(answer.text.contains("means-duplicates"), "what has to be meant is asked about: {}", answer.text);
    let answer = ask(&mut officer, &set, &[("field-at", "2030-04-01T00:00")]).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text);
    let case = answer.location.unwrap();
    let seen = [("do", "approve"), ("password", PASSWORD), ("seen", "1")];
    let answer = chief.post(&case, &case, &seen).await;
    assert!(answer.status.is_client_error() && answer.text.contains("警告"), "{}", answer.text);
    assert_eq!(agree(&mut chief, &case).await.status, StatusCode::SEE_OTHER);
    let page = officer.open(&set).await;
    assert!(page.contains("令和12年4月1日 0:00") && page.contains("全体管理者の承認"), "{page}");
    // Another hour is asked for anew, once the first is taken back.
    let undo = [("do", "undo"), ("text", "時刻を変える"), ("password", PASSWORD)];
    let answer = officer.post(&case, &case, &undo).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text);
    let page = officer.open(&set).await;
    assert!(page.contains(ASK) && !page.contains("全体管理者の承認"), "{page}");
    assert_eq!(officer.post(&set, &set, &[("do", "withdraw")]).await.status, StatusCode::SEE_OTHER);
    assert!(officer.open(&set).await.contains("取り下げ"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn columns_are_guessed_put_right_saved_and_used_by_the_next_file() {
    let net = Net::new();
    let server = net.server("kanazawa.test").await;
    let (_, mut officer) = holder(&server, "jinji", Duty::Personnel).await;
    let file = "コード,なまえ,部署,役\n00001,山田 花子,防災課,課長\n00002,田中 太郎,防災課,主査\n";
    let answer = officer.upload(IMPORT, &FIRST, file.as_bytes()).await;
    assert!(answer.status.is_client_error(), "nobody can know what these mean");
    assert!(answer.text.contains("value=\"首長部局\""), "what was typed stays: {}", answer.text);
    let asked = [("do", "columns")];
    let page = officer.upload(IMPORT, &asked, file.as_bytes()).await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.text);
    let hidden = |name: &str| {
        let rest = page.text.split(&format!("name=\"{name}\" value=\"")).nth(1).unwrap();
        rest.split('"').next().unwrap().replace("&quot;", "\"")
    };
    let field = |label: &str| {
        let before = page.text.split(&format!(">{label}</option>")).next().unwrap();
        before.rsplit("value=\"").next().unwrap().split('"').next().unwrap().to_owned()
    };
    let (base, number, name, unit) = (hidden("base"), field("職員番号"), field("氏名"), field("所属"));
    let fields = [
        ("base", base.as_str()),
        ("name", "総務の様式"),
        ("header-1", "コード"),
        ("column-1", &number),
        ("header-2", "なまえ"),
        ("column-2", &name),
        ("header-3", "部署"),
        ("column-3", &unit),
        ("header-4", "役"),
        ("column-4", ""),
    ];
    let answer = officer.post(IMPORT, "/_yakuba/console/mappings", &fields).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text);
    let back = officer.open(answer.location.as_deref().unwrap()).await;
    assert!(back.contains("列の対応を保存しました") && back.contains("総務の様式"), "{back}");
    let mapped: Vec<_> = FIRST.into_iter().chain([("mapping", "総務の様式")]).collect();
    let set = propose(&mut officer, &mapped, file).await;
    assert!(officer.open(&set).await.contains("00002 田中 太郎"));
    assert_eq!(rows(&server, server.name(), "organisation.save_mapping").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_is_shown_as_it_was_read_and_read_otherwise_where_somebody_says_so() {
    let net = Net::new();
    let server = net.server("kanazawa.test").await;
    let (_, mut officer) = holder(&server, "jinji", Duty::Personnel).await;
    // Headings in ASCII, and three names of the letters that IBM has added to Shift_JIS: 髙﨑, 德永, 濵田.
    let rows: [&[u8]; 4] = [
        b"employee no,name\r\n",
        b"00001,\xfb\xfc\xfa\xb1\r\n",
        b"00002,\xfa\xd0\x89\x69\r\n",
        b"00003,\xfa\xb1\x93\x63\r\n",
    ];
    let file = rows.concat();
    let look = async |officer: &mut Browser, encoding: &str| {
        let asked = [("do", "columns"), ("encoding", encoding)];
        officer.upload(IMPORT, &asked, &file).await
    };
    let page = look(&mut officer, "").await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.text);
    for text in ["CP932", "髙﨑、", "﨑田", "00001、00002、00003"] {
        assert!(page.text.contains(text), "{text}: {}", page.text);
    }
    // What another one makes of it is seen as well, or told to be no such file.
    let other = look(&mut officer, "euc-jp").await;
    assert!(!other.text.contains("髙﨑"), "{}", other.text);
    assert!(look(&mut officer, "utf-8").await.status.is_client_error());
    let page = look(&mut officer, "shift_jis").await;
    assert!(page.text.contains("髙﨑、"), "{}", page.text);
    assert!(
        page.text.contains("name=\"kept-encoding\" value=\"shift_jis\""),
        "and it is kept: {}",
        page.text
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_day_is_the_same_day_wherever_it_is_shown() {
    let net = Net::new();
    let server = net.server("kanazawa.test").await;
    let (_, mut officer) = holder(&server, "jinji", Duty::Personnel).await;
    let (_, mut chief) = administrator(&server, "kanazawa.test", "chief").await;
    let file = FILE.replace("2020-04-01", "2020-01-01");
    let fields = FIRST.map(|(name, value)| (name, if name == "day" { "2020-01-01" } else { value }));
    let set = propose(&mut officer, &fields, &file).await;
    assert!(officer.open(&set).await.contains("令和2年1月1日"));
    assert!(officer.open(CHANGES).await.contains("令和2年1月1日"));
    applied(&server, (&mut officer, &mut chief), &set).await;
    let on =
        async |officer: &mut Browser, day: &str| officer.open(&format!("{ORGANISATION}?day={day}")).await;
    let page = on(&mut officer, "2020-01-01").await;
    for text in ["防災課", "令和2年1月1日", "令和元年度", "value=\"2020-01-01\""] {
        assert!(page.contains(text), "{text}: {page}");
    }
    let page = on(&mut officer, "2019-12-31").await;
    assert!(page.contains("令和元年12月31日") && page.contains("0 人") && !page.contains("2 人"), "{page}");
    let csv = officer.get(&format!("{ORGANISATION}?day=2020-01-01&as=csv")).await;
    assert!(csv.text.contains("2020-01-01") || csv.text.contains("山田 花子"), "{}", csv.text);
    let page = on(&mut officer, "2026-03-31").await;
    assert!(page.contains("令和8年3月31日") && page.contains("令和7年度"), "{page}");
}

/// Uploads a file, and has two approve what becomes of it.
pub(crate) async fn apply(
    server: &Server,
    (officer, chief): (&mut Browser, &mut Browser),
    file: &str,
) -> String {
    let set = propose(officer, &FIRST, file).await;
    applied(server, (officer, chief), &set).await;
    set
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_approves_reads_what_changes_and_pages_hold_nothing_else() {
    let net = Net::new();
    let server = net.server("kanazawa.test").await;
    let (_, mut officer) = holder(&server, "jinji", Duty::Personnel).await;
    let (_, mut chief) = administrator(&server, "kanazawa.test", "chief").await;
    let header = FILE.lines().next().unwrap();
    let row = |number: usize| {
        format!("{number:05},職員 {number},ショクイン,総務部　防災課,主査,2020-04-01,u{number}")
    };
    let file = |last: &str| {
        let rows: Vec<_> = (1..=1_200).map(row).collect();
        format!("{header}\n{}\n{last}\n", rows.join("\n"))
    };
    apply(
        &server,
        (&mut officer, &mut chief),
        &file("09999,山田 花子,ヤマダ ハナコ,総務部　防災課,課長,2020-04-01,"),
    )
    .await;
    let set = propose(
        &mut officer,
        &FIRST,
        &file("09999,山田 花子,ヤマタ ハナコ,総務部　防災課,課長,2020-04-01,hanako"),
    )
    .await;
    let page = officer.open(&set).await;
    assert!(
        page.contains("フリガナ「ヤマダ ハナコ」→「ヤマタ ハナコ」")
            && page.contains("アカウント「」→「hanako」"),
        "{page}"
    );
    assert_eq!(page.matches("data-label=\"対象\"").count(), 1, "one line changes, and is on the first page");
    assert!(!page.contains("次の行へ"));
    assert!(officer.open(&format!("{set}?all=yes")).await.contains("次の行へ"));
    let file = officer.get(&format!("{set}?as=csv")).await;
    assert_eq!(file.text.lines().count(), 1 + 1_201, "the file has all of them");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_others_lean_on_is_not_undone_alone() {
    let net = Net::new();
    let server = net.server("kanazawa.test").await;
    let (_, mut officer) = holder(&server, "jinji", Duty::Personnel).await;
    let (_, mut chief) = administrator(&server, "kanazawa.test", "chief").await;
    let set = apply(&server, (&mut officer, &mut chief), FILE).await;
    // Line 1 makes the body.
    let undo = format!("{set}/undo");
    assert!(officer.open(&format!("{undo}?line=1")).await.contains("首長部局"));
    let answer = officer.post(&undo, &undo, &[("line", "1"), ("password", PASSWORD)]).await;
    assert!(
        answer.status.is_client_error() && answer.text.contains("属する機関がありません"),
        "{}",
        answer.text
    );
    assert!(officer.open(ORGANISATION).await.contains("防災課"));
    let answer = officer.post(&undo, &undo, &[("password", PASSWORD)]).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "all of it is: {}", answer.text);
    assert_eq!(officer.get(&undo).await.status, StatusCode::CONFLICT, "and is not asked about again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_is_on_the_first_page_however_much_came_after_it() {
    let net = Net::new();
    let server = net.server("kanazawa.test").await;
    let (_, mut officer) = holder(&server, "jinji", Duty::Personnel).await;
    let waits = propose(&mut officer, &FIRST, FILE).await;
    for _ in 0..55 {
        let set = propose(&mut officer, &FIRST, FILE).await;
        officer.post(&set, &set, &[("do", "withdraw")]).await;
    }
    assert!(officer.open("/_yakuba/console").await.contains(&format!("href=\"{waits}\"")));
    let page = officer.open(CHANGES).await;
    let older =
        page.split("href=\"").find(|rest| rest.contains("?before=")).unwrap().split('"').next().unwrap();
    let page = officer.open(older).await;
    assert!(
        page.contains(&format!("href=\"{waits}\"")) && !page.contains("?before="),
        "the last page is one"
    );
}
