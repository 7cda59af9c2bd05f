//! Who sees to a part of the organisation (部局管理者): what he sees and does of it, and that nothing else is shown to him or changed
//! by him, however he asks.

use std::collections::BTreeMap;

use audit::Actor;
use base::Random;
use duties::{Duty, Part};
use http::StatusCode;
use organisation::UnitId;
use personnel::{Answer as DeskAnswer, Order, Shown};
use testkit::{Net, PASSWORD, Server, User};

use crate::{
    administrator,
    browser::{Answer, Browser},
    changes::{FIRST, agree, applied, propose},
    editing::EDIT,
    holder, rows, set_duty,
};

/// Two departments; what is of the second one is asked for by what is 椿's alone.
const STAFF: &str = "\
職員番号,氏名,フリガナ,所属,職名,発令日,アカウント\n\
00001,山田 花子,ヤマダ ハナコ,総務部　防災課,課長,2020-04-01,hanako\n\
00002,髙橋 太郎,タカハシ タロウ,総務部　防災課,主査,2020-04-01,taro\n\
00003,粟貫 一,アワヌキ ハジメ,秘匿部　秘匿室,課長,2020-04-01,kakushi\n\
00004,梅谷 桜,ウメタニ サクラ,秘匿部　秘匿室,主査,2020-04-01,sakurako\n\
00005,京 椿,キョウ ツバキ,秘匿部　秘匿室,主事,2020-04-01,tsubaki\n";

/// What is the other department's, and never asked for by its name.
const SECRETS: [&str; 8] =
    ["粟貫", "梅谷", "アワヌキ", "秘匿", "kakushi", "sakurako", "00003", "himitsu-no-ate"];

const ACCOUNT: &str = "/_yakuba/console/account";
const ORGANISATION: &str = "/_yakuba/console/organisation";

struct World {
    server: Server,
    officer: Browser,
    chief: Browser,
    /// Sees to 総務部.
    keeper: Browser,
    hanako: User,
    taro: User,
    part: Part,
    /// 秘匿部 and 秘匿室.
    others: Vec<UnitId>,
    /// A set that names the other department, which waits.
    their_set: String,
}

impl World {
    async fn new() -> Self {
        let net = Net::new();
        let server = net.server("kanazawa.test").await;
        let (_, mut officer) = holder(&server, "jinji", Duty::Personnel).await;
        let (_, mut chief) = administrator(&server, "kanazawa.test", "chief").await;
        let hanako = server.user("hanako").await;
        let taro = server.user("taro").await;
        for name in ["kakushi", "sakurako", "tsubaki"] {
            server.user(name).await;
        }
        let set = propose(&mut officer, &FIRST, STAFF).await;
        applied(&server, (&mut officer, &mut chief), &set).await;
        let address = r#"{"address":{"name":"himitsu-no-ate","unit":"秘匿室"}}"#;
        let made = officer.post(EDIT, EDIT, &[("do", "propose"), ("act-0", address)]).await;
        let made = made.location.unwrap();
        applied(&server, (&mut officer, &mut chief), &made).await;
        let charge = r#"{"charge":{"unit":"秘匿室","matters":["梅谷の件"]}}"#;
        let waits = officer.post(EDIT, EDIT, &[("do", "propose"), ("act-0", charge)]).await;
        let desk = server.look(|house| house.personnel.clone());
        let named = async |name: &str| desk.scope_named(server.name(), name.to_owned()).await.unwrap().units;
        let part = Part::Unit(named("総務部").await.first().unwrap().0);
        let mut others: Vec<_> = named("秘匿部").await.into_iter().collect();
        others.extend(named("秘匿室").await);
        let keeper = Browser::of(&server, &hanako).await;
        let their_set = waits.location.unwrap();
        let world = Self { server, officer, chief, keeper, hanako, taro, part, others, their_set };
        world.give(&world.hanako, true).await;
        world
    }

    /// Has a user see to 総務部, or no more.
    async fn give(&self, user: &User, has: bool) {
        let duties = self.server.look(|house| house.duties.clone());
        assert!(duties.set(user.id(), self.part, has, &Actor::operator("test")).await.unwrap());
    }

    async fn does(&mut self, what: &str, user: &str) -> Answer {
        let fields = [("do", what), ("user", user), ("password", PASSWORD)];
        self.keeper.post("/_yakuba/console", ACCOUNT, &fields).await
    }

    /// Everything that is said of who is where, as whoever sees all is told.
    async fn all(&self) -> Shown {
        let desk = self.server.look(|house| house.personnel.clone());
        let order = Order::Show { day: None, unit: None, within: None };
        match desk.carry_out(self.server.name(), order, &Actor::operator("test")).await.unwrap() {
            DeskAnswer::Shown(shown) => shown,
            other => panic!("{other:?}"),
        }
    }
}

fn shows_nothing_else(text: &str, whence: &str) {
    for secret in SECRETS {
        assert!(!text.contains(secret), "{whence} tells {secret}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_show_the_part_and_nothing_else() {
    let mut world = World::new().await;
    let keeper = &mut world.keeper;
    for (path, own) in [
        ("/_yakuba/console", "変更案"),
        (ORGANISATION, "防災課"),
        ("/_yakuba/console/organisation?unit=%E9%98%B2%E7%81%BD%E8%AA%B2", "髙橋 太郎"),
        ("/_yakuba/console/organisation?as=csv", "00002"),
        ("/_yakuba/console/organisation?day=2021-01-01", "防災課"),
        ("/_yakuba/console/people?q=%E8%AA%B2%E9%95%B7", "山田 花子"),
        ("/_yakuba/console/people?q=0000", "見つかりません"),
        ("/_yakuba/console/changes", "変更案はありません"),
        ("/_yakuba/console/rooms?do=preview", "規則"),
        (EDIT, "総務部/防災課"),
        ("/_yakuba/console/account?user=@taro:kanazawa.test", "taro"),
    ] {
        let page = keeper.open(path).await;
        assert!(page.contains(own), "{path}: {page}");
        shows_nothing_else(&page, path);
        for other in ["/_yakuba/console/accounts\"", "/_yakuba/console/import", "/_yakuba/console/duties"] {
            assert!(!page.contains(other), "{path} leads where he may not go");
        }
    }
    // From the page of a unit the way leads to the accounts there.
    let unit = keeper.open("/_yakuba/console/organisation?unit=%E9%98%B2%E7%81%BD%E8%AA%B2").await;
    assert!(unit.contains("/_yakuba/console/account?user=%40taro%3Akanazawa.test"), "{unit}");
    assert!(unit.contains("deed=charge") && !unit.contains("deed=rename_unit"), "{unit}");
    for number in world.others.iter().map(|unit| format!("{ORGANISATION}?unit=unit:{}", unit.0)) {
        let answer = keeper.get(&number).await;
        assert!(answer.status.is_client_error(), "{}", answer.text);
        shows_nothing_else(&answer.text, &number);
    }
    for (path, status) in [
        (world.their_set.clone(), StatusCode::NOT_FOUND),
        (format!("{}?as=csv", world.their_set), StatusCode::NOT_FOUND),
        (format!("{}/undo", world.their_set), StatusCode::FORBIDDEN),
        (format!("{ACCOUNT}?user=@tsubaki:kanazawa.test"), StatusCode::NOT_FOUND),
        (format!("{ACCOUNT}?user=@chief:kanazawa.test"), StatusCode::NOT_FOUND),
        (format!("{ACCOUNT}?user=@nobody:kanazawa.test"), StatusCode::NOT_FOUND),
        ("/_yakuba/console/accounts".to_owned(), StatusCode::FORBIDDEN),
        ("/_yakuba/console/import".to_owned(), StatusCode::FORBIDDEN),
        ("/_yakuba/console/domains".to_owned(), StatusCode::FORBIDDEN),
        ("/_yakuba/console/duties".to_owned(), StatusCode::FORBIDDEN),
        ("/_yakuba/console/audit".to_owned(), StatusCode::FORBIDDEN),
        ("/_yakuba/console/cases".to_owned(), StatusCode::FORBIDDEN),
        ("/_yakuba/console/files".to_owned(), StatusCode::FORBIDDEN),
        ("/_yakuba/console/reports".to_owned(), StatusCode::FORBIDDEN),
    ] {
        let answer = keeper.get(&path).await;
        assert_eq!(answer.status, status, "{path}: {}", answer.text);
        shows_nothing_else(&answer.text, &path);
    }
    // Who gave it sees of what he is the administrator.
    let duties = world.chief.open("/_yakuba/console/duties").await;
    assert!(duties.contains(&format!("部局管理者 ({} 総務部)", world.part)), "{duties}");
    let account = world.chief.open(&format!("{ACCOUNT}?user=@hanako:kanazawa.test")).await;
    assert!(account.contains("部局管理者"), "{account}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn accounts_of_the_part_are_stopped_by_who_sees_to_it_and_let_go_on_by_administrators() {
    let mut world = World::new().await;
    let (taro, name) = ("@taro:kanazawa.test", world.server.name().to_owned());
    for (what, row) in [
        ("sign_out", "session.sign_out_everywhere"),
        ("suspend", "account.suspend"),
        ("lock", "account.lock"),
    ] {
        let answer = world.does(what, taro).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{what}: {}", answer.text);
        let rows = rows(&world.server, &name, row).await;
        let row = rows.last().unwrap_or_else(|| panic!("{row} is not there"));
        assert_eq!((row.who.as_str(), row.duty.as_deref()), ("@hanako:kanazawa.test", Some("part")));
    }
    let page = world.keeper.open(&format!("{ACCOUNT}?user={taro}")).await;
    assert!(page.contains("ロック中") && !page.contains("unlock") && !page.contains("resume"), "{page}");
    let answer = world.does("", taro).await;
    assert!(
        answer.status == StatusCode::BAD_REQUEST && answer.text.contains("選んでください"),
        "{}",
        answer.text
    );
    for what in ["unlock", "resume", "reopen", "close"] {
        let answer = world.does(what, taro).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{what}: {}", answer.text);
    }
    let fields = [("do", "unlock"), ("user", taro), ("password", PASSWORD)];
    let answer = world.chief.post("/_yakuba/console", ACCOUNT, &fields).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text);

    // Nobody else's, nor his own, nor by a wrong password.
    for (user, status) in [
        ("@tsubaki:kanazawa.test", StatusCode::NOT_FOUND),
        ("@chief:kanazawa.test", StatusCode::NOT_FOUND),
        ("@jinji:kanazawa.test", StatusCode::NOT_FOUND),
        ("@nobody:kanazawa.test", StatusCode::NOT_FOUND),
        ("@hanako:kanazawa.test", StatusCode::CONFLICT),
    ] {
        for what in ["lock", "suspend", "sign_out"] {
            let answer = world.does(what, user).await;
            assert_eq!(answer.status, status, "{what} {user}: {}", answer.text);
        }
    }
    let wrong = [("do", "lock"), ("user", taro), ("password", "not his password")];
    let answer = world.keeper.post("/_yakuba/console", ACCOUNT, &wrong).await;
    assert!(answer.status.is_client_error(), "{}", answer.text);
    assert_eq!(rows(&world.server, &name, "account.lock").await.len(), 1);
    // What he tried in vain stands in the audit log.
    let tries = rows(&world.server, &name, "power.refused").await;
    assert!(
        tries.iter().any(|row| row.who == "@hanako:kanazawa.test" && row.duty.as_deref() == Some("part"))
    );
    // Who has a say of his own is no matter of a department, in which he may be all the same.
    world.give(&world.taro, true).await;
    for _ in 0..2 {
        let page = world.keeper.open(&format!("{ACCOUNT}?user={taro}")).await;
        assert!(!page.contains("value=\"lock\"") && page.contains("全体管理者だけです"), "{page}");
        let answer = world.does("lock", taro).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{}", answer.text);
        set_duty(&world.server, world.taro.id(), Duty::Reading, true).await;
    }
    assert_eq!(rows(&world.server, &name, "account.lock").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_put_forward_for_the_part_is_agreed_to_by_two_others() {
    let mut world = World::new().await;
    let act = r#"{"charge":{"unit":"防災課","matters":["避難所"]}}"#;
    let keeper = &mut world.keeper;
    let page = keeper.post(EDIT, EDIT, &[("do", "day"), ("act-0", act)]).await;
    assert!(page.text.contains("避難所") && !page.text.contains("deed:make_unit"), "{}", page.text);
    shows_nothing_else(&page.text, EDIT);
    let answer = keeper.post(EDIT, EDIT, &[("do", "propose"), ("act-0", act)]).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text);
    let set = answer.location.unwrap();
    assert!(keeper.open("/_yakuba/console/changes").await.contains(&format!("href=\"{set}\"")));
    assert!(keeper.open("/_yakuba/console").await.contains(&format!("href=\"{set}\"")));
    // He asks where he has made it, and says why.
    let answer = keeper.post(&set, &set, &[("do", "ask"), ("reason", "")]).await;
    assert!(answer.status.is_client_error() && answer.text.contains("理由"), "{}", answer.text);
    let answer = keeper.post(&set, &set, &[("do", "ask"), ("reason", "四月から")]).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text);
    let page = keeper.open(&set).await;
    let case = page.split("href=\"").find(|rest| rest.starts_with("/_yakuba/counter/cases/")).unwrap();
    let case = case.split('"').next().unwrap().to_owned();
    assert!(keeper.open(&case).await.contains("四月から"));
    assert!(agree(keeper, &case).await.status.is_client_error(), "he decides nothing");
    // What is returned to him he puts right and asks for again.
    let seen = world.officer.open(&case).await;
    let seen = seen.split("name=\"seen\" value=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let back = [("do", "return"), ("text", "理由を詳しく"), ("seen", &*seen), ("password", PASSWORD)];
    let answer = world.officer.post(&case, &case, &back).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text);
    let again = format!("{case}/again");
    assert!(world.keeper.open(&set).await.contains(&format!("href=\"{again}\"")));
    let number = set.rsplit('/').next().unwrap();
    let seen = world.keeper.open(&again).await;
    let seen = seen.split("name=\"seen\" value=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let fields =
        [("field-set", number), ("reason", "四月から担当"), ("seen", &*seen), ("password", PASSWORD)];
    let answer = world.keeper.post(&again, &again, &fields).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text);
    for browser in [&mut world.officer, &mut world.chief] {
        let answer = agree(browser, &case).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text);
    }
    while !world.keeper.open(&set).await.contains("適用済み") {
        tokio::task::yield_now().await;
    }
    assert!(
        world.keeper.open("/_yakuba/console/people?q=%E9%81%BF%E9%9B%A3%E6%89%80").await.contains("山田")
    );
    // What is applied is undone by others; what waits he takes back himself.
    let undo = format!("{set}/undo");
    let answer = world.keeper.post("/_yakuba/console", &undo, &[("password", PASSWORD)]).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    let other = r#"{"charge":{"unit":"防災課","matters":["備蓄"]}}"#;
    let answer = world.keeper.post(EDIT, EDIT, &[("do", "propose"), ("act-0", other)]).await;
    let set = answer.location.unwrap();
    for (what, status) in [("apply", StatusCode::NOT_FOUND), ("withdraw", StatusCode::SEE_OTHER)] {
        let answer = world.keeper.post(&set, &set, &[("do", what)]).await;
        assert_eq!(answer.status, status, "{what}: {}", answer.text);
    }
    assert!(world.keeper.open(&set).await.contains("取り下げ"));
    // Those of others he neither takes back nor asks about.
    for what in ["withdraw", "ask"] {
        let path = world.their_set.clone();
        let answer = world.keeper.post("/_yakuba/console", &path, &[("do", what), ("reason", "a")]).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{what}: {}", answer.text);
        shows_nothing_else(&answer.text, what);
    }
    let ask = "/_yakuba/counter/ask/changes";
    let number = world.their_set.rsplit('/').next().unwrap();
    let fields = [("field-set", number), ("reason", "a"), ("password", PASSWORD)];
    let answer = world.keeper.post("/_yakuba/counter", ask, &fields).await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND, "{}", answer.text);
    assert!(world.officer.open(&world.their_set).await.contains("承認待ち"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_part_that_is_taken_away_is_gone_with_the_next_request() {
    let mut world = World::new().await;
    let page = world.keeper.proof_at(EDIT).await;
    world.give(&world.hanako, false).await;
    for path in ["/_yakuba/console", ORGANISATION, EDIT, "/_yakuba/console/account?user=@taro:kanazawa.test"]
    {
        assert_eq!(world.keeper.get(path).await.status, StatusCode::FORBIDDEN, "{path}");
    }
    let act = r#"{"charge":{"unit":"防災課","matters":["避難所"]}}"#;
    let fields = [("do", "propose"), ("act-0", act), ("proof", &page)];
    assert_eq!(world.keeper.post_as_is(EDIT, &fields).await.status, StatusCode::FORBIDDEN);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_transferred_sees_to_his_old_department_no_more() {
    let mut world = World::new().await;
    let proof = world.keeper.proof_at("/_yakuba/console").await;
    let act = r#"{"charge":{"unit":"防災課","matters":["避難所"]}}"#;
    let answer = world.keeper.post(EDIT, EDIT, &[("do", "propose"), ("act-0", act)]).await;
    let old = answer.location.unwrap();
    let moved = STAFF.replace("総務部　防災課,課長,2020-04-01", "秘匿部　秘匿室,参事,2021-04-01");
    let fields: Vec<_> =
        FIRST.into_iter().filter(|(name, _)| *name != "new_body" && *name != "day").collect();
    let fields = [&fields[..], &[("body", "首長部局"), ("day", "2021-04-01")]].concat();
    let set = propose(&mut world.officer, &fields, &moved).await;
    applied(&world.server, (&mut world.officer, &mut world.chief), &set).await;
    let lock = [("do", "lock"), ("user", "@taro:kanazawa.test"), ("password", PASSWORD), ("proof", &proof)];
    assert_eq!(world.keeper.post_as_is(ACCOUNT, &lock).await.status, StatusCode::FORBIDDEN);
    for path in [ORGANISATION, EDIT, "/_yakuba/console"] {
        assert_eq!(world.keeper.get(path).await.status, StatusCode::FORBIDDEN, "{path}");
    }
    let duties = world.chief.open("/_yakuba/console/duties").await;
    assert!(duties.contains("総務部。職がないため無効)"), "{duties}");
    // Where he sees to another one, what he had put forward for the old one is not his to see or to take back.
    let duties = world.server.look(|house| house.duties.clone());
    let other = Part::Unit(world.others[0].0);
    duties.set(world.hanako.id(), other, true, &Actor::operator("test")).await.unwrap();
    assert!(world.keeper.open(ORGANISATION).await.contains("秘匿室"));
    assert_eq!(world.keeper.get(&old).await.status, StatusCode::NOT_FOUND);
    for what in ["withdraw", "ask"] {
        let fields = [("do", what), ("reason", "a")];
        let answer = world.keeper.post("/_yakuba/console", &old, &fields).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{what}: {}", answer.text);
    }
    assert!(!world.keeper.open("/_yakuba/console/changes").await.contains(&format!("\"{old}\"")));
    // Nor is he given another one's.
    let until =
        [("field-account", "taro"), ("field-duty", "part"), ("field-unit", "秘匿部"), ("reason", "a")];
    let soon = base::Clock::system().now().millis() + 30 * 86_400_000;
    let day = organisation::calendar::day_of(base::Timestamp(soon)).unwrap().to_string();
    let fields = [&until[..], &[("field-until", &*day)]].concat();
    let ask = "/_yakuba/counter/ask/duty";
    let answer = world.officer.post(ask, ask, &fields).await;
    assert!(answer.status.is_client_error() && answer.text.contains("職がありません"), "{}", answer.text);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_part_is_asked_for_at_the_counter_and_given_until_a_day() {
    let mut world = World::new().await;
    world.give(&world.hanako, false).await;
    let (_, mut second) = administrator(&world.server, "kanazawa.test", "second").await;
    let ask = "/_yakuba/counter/ask/duty";
    let soon = base::Clock::system().now().millis() + 30 * 86_400_000;
    let until = organisation::calendar::day_of(base::Timestamp(soon)).unwrap().to_string();
    let with = |duty: &'static str, unit: &'static str, until: &str| {
        [
            ("field-account", "hanako".to_owned()),
            ("field-duty", duty.to_owned()),
            ("field-unit", unit.to_owned()),
            ("field-until", until.to_owned()),
            ("reason", "防災課の担当".to_owned()),
        ]
    };
    for (duty, unit, why) in [
        ("part", "", "担当部局を入力"),
        ("audit", "防災課", "部局管理者のときだけ"),
        ("part", "無い課", "所属はありません"),
    ] {
        let fields = with(duty, unit, &until);
        let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let answer = world.officer.post(ask, ask, &fields).await;
        assert!(answer.status.is_client_error() && answer.text.contains(why), "{}", answer.text);
    }
    let fields = with("part", "総務部", &until);
    let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let answer = world.officer.post(ask, ask, &fields).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text);
    let case = answer.location.unwrap();
    assert!(world.officer.open(&case).await.contains("「部局管理者」総務部"));
    assert_eq!(world.keeper.get(ORGANISATION).await.status, StatusCode::FORBIDDEN, "nobody has agreed");
    for browser in [&mut world.chief, &mut second] {
        let answer = agree(browser, &case).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text);
    }
    let page = world.keeper.open(ORGANISATION).await;
    assert!(page.contains("防災課"), "{page}");
    shows_nothing_else(&page, ORGANISATION);
}

/// Requests by who sees to one department, of which many name what is of another one.
async fn walk(cases: usize) {
    let mut world = World::new().await;
    let own = r#"{"charge":{"unit":"防災課","matters":["避難所"]}}"#;
    let answer = world.keeper.post(EDIT, EDIT, &[("do", "propose"), ("act-0", own)]).await;
    let own_set = answer.location.unwrap();
    let before = world.all().await;
    let random = Random::seeded(20_261_201);
    let pick = |count: usize| usize::try_from(random.range(0..count as u64)).unwrap();
    let theirs = world.their_set.clone();
    let (their_number, own_number) =
        (theirs.rsplit('/').next().unwrap().to_owned(), own_set.rsplit('/').next().unwrap().to_owned());
    let units: Vec<String> = world.others.iter().map(|unit| format!("unit:{}", unit.0)).collect();
    let people: Vec<String> = (1..40).map(|number| format!("person:{number}")).collect();
    let mut ids = vec![
        "@tsubaki:kanazawa.test",
        "tsubaki",
        "00005",
        "椿",
        "京 椿",
        "ツバキ",
        "主事",
        "課長",
        "主査",
        "@chief:kanazawa.test",
        "@jinji:kanazawa.test",
        "総務部",
        "防災課",
        "@taro:kanazawa.test",
        "2020-04-01",
        "2021-01-01",
        "2030-01-01",
        "",
        "csv",
        "yes",
        "0",
        &their_number,
        &own_number,
        "body:1",
        "首長部局",
    ];
    ids.extend(units.iter().map(String::as_str));
    ids.extend(people.iter().map(String::as_str));
    let routes = world.server.look(|house| house.routes(&[server::config::Serves::Console]).endpoints());
    let routes: Vec<_> = routes.into_iter().filter(|(_, path)| path.starts_with("/_yakuba/")).collect();
    assert!(routes.len() > 50, "{}", routes.len());
    let names = [
        "q",
        "unit",
        "user",
        "who",
        "text",
        "what",
        "state",
        "before",
        "from",
        "as",
        "day",
        "line",
        "id",
        "uri",
        "all",
        "person",
        "parent",
        "deed",
        "title",
        "name",
        "matters",
        "why",
        "until",
        "to",
        "field-set",
        "field-unit",
        "field-account",
        "reason",
        "account",
    ];
    let deeds = [
        "lock",
        "unlock",
        "suspend",
        "resume",
        "sign_out",
        "reopen",
        "ask",
        "agree",
        "withdraw",
        "apply",
        "undo",
        "propose",
        "add",
        "day",
        "deed:away",
        "deed:charge",
        "approve",
        "return",
        "delete",
        "csv",
        "preview",
        "hold",
    ];
    let act = |unit: &str, person: &str, which: usize| match which {
        0 => format!(r#"{{"charge":{{"unit":"{unit}","matters":["取得"]}}}}"#),
        1 => format!(r#"{{"address":{{"name":"aaa","unit":"{unit}"}}}}"#),
        2 => format!(r#"{{"away":{{"person":"{person}","why":"leave"}}}}"#),
        3 => format!(r#"{{"back":{{"person":"{person}"}}}}"#),
        4 => format!(r#"{{"use_name":{{"person":"{person}","name":"取得"}}}}"#),
        5 => format!(r#"{{"rename_unit":{{"unit":"{unit}","name":"取得"}}}}"#),
        6 => format!(r#"{{"close_unit":{{"unit":"{unit}"}}}}"#),
        7 => format!(r#"{{"move_unit":{{"unit":"{unit}","parent":"総務部"}}}}"#),
        _ => format!(r#"{{"give_account":{{"person":"{person}","account":"{unit}"}}}}"#),
    };
    let proof = world.keeper.proof_at("/_yakuba/console").await;
    let mut statuses: BTreeMap<u16, usize> = BTreeMap::new();
    for case in 0..cases {
        let mut fields: BTreeMap<&str, &str> = BTreeMap::new();
        for _ in 0..pick(4) {
            fields.insert(names[pick(names.len())], ids[pick(ids.len())]);
        }
        let (method, path) = &routes[pick(routes.len())];
        // What is asked for by its place in the path: sets, cases, reports.
        let path = match (path.contains("/changes/"), pick(2)) {
            (true, 0) => path.replace("{id}", &their_number),
            (true, _) => path.replace("{id}", &own_number),
            (false, _) => path.replace("{id}", "1").replace("{kind}", "changes"),
        };
        // His own sign-in, and how the pages look, is his to change.
        if path.contains("/sign-") || path.contains("/static") {
            continue;
        }
        let typed = act(ids[pick(ids.len())], ids[pick(ids.len())], pick(9));
        let answer = if *method == http::Method::GET {
            let query = ruma::exports::serde_html_form::to_string(&fields).unwrap();
            world.keeper.get(&format!("{path}?{query}")).await
        } else {
            let deed = deeds[pick(deeds.len())];
            fields.extend([("do", deed), ("password", PASSWORD), ("proof", &*proof)]);
            if pick(2) == 0 {
                fields.extend([("act-0", &*typed), ("user", "@tsubaki:kanazawa.test")]);
            }
            let all: Vec<_> = fields.iter().map(|(name, value)| (*name, *value)).collect();
            world.keeper.post_as_is(&path, &all).await
        };
        *statuses.entry(answer.status.as_u16()).or_default() += 1;
        assert!(!answer.status.is_server_error(), "{case} {path} {fields:?}: {}", answer.text);
        for secret in SECRETS {
            assert!(!answer.text.contains(secret), "{case} {path} {fields:?}: {secret}: {}", answer.text);
        }
    }
    // It was not all refused at the door.
    assert!(statuses.get(&200).is_some_and(|count| *count * 10 > cases), "{statuses:?}");
    assert_eq!(format!("{:?}", world.all().await.bodies), format!("{:?}", before.bodies));
    assert!(world.officer.open(&world.their_set).await.contains("承認待ち"));
    for what in ["account.lock", "account.suspend", "session.sign_out_everywhere"] {
        let done = rows(&world.server, world.server.name(), what).await;
        assert!(done.iter().all(|row| row.whom == "@taro:kanazawa.test"), "{what}: {done:?}");
    }
    // What he has put forward is of his department.
    let proposed = rows(&world.server, world.server.name(), "organisation.propose").await;
    for row in proposed.iter().filter(|row| row.who == "@hanako:kanazawa.test") {
        let page = world.officer.open(&format!("/_yakuba/console/changes/{}", row.whom)).await;
        assert!(!page.contains("秘匿") && !page.contains("椿") && !page.contains("粟貫"), "{page}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_requests_see_and_change_nothing_of_another_department() {
    walk(1_000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "some minutes"]
async fn ten_thousand_requests_see_and_change_nothing_of_another_department() {
    walk(10_000).await;
}
