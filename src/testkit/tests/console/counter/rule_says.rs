//! What a rule of rooms says: asked for on a form, agreed to by two, and followed by the rooms.

use audit::Actor;
use duties::Duty;
use http::StatusCode;
use rules::{Answer, Order, Rules, Shown};
use testkit::{Net, Server};

use super::{approve, ask, chiefs, staff};
use crate::{browser::Browser, changes, holder, rows};

const ASK: &str = "/_yakuba/counter/ask/rule_says";
const ROOMS: &str = "/_yakuba/console/rooms";

async fn shown(server: &Server, rules: &Rules) -> Shown {
    let order = Order::Show { day: None };
    match rules.carry_out(server.name(), order, &Actor::server()).await.unwrap() {
        Answer::Shown(shown) => shown,
        other => panic!("{other:?}"),
    }
}

/// What is typed for a rule, with some of it said otherwise.
fn typed<'a>(instead: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let usual = [
        ("field-rule", "new"),
        ("field-title", "課のルーム"),
        ("field-named", "*課"),
        ("field-members", "unit"),
        ("field-heads", "yes"),
        ("field-titles", "主査\n*補佐"),
        ("field-hand_over_days", "30"),
        ("field-shape", "both"),
        ("field-room", "{unit} 連絡"),
        ("field-topic", "課の連絡"),
        ("field-history", "shared"),
        ("field-from", "2026-04-01"),
        ("reason", "課ごとに連絡するため"),
    ];
    let is_other = |name: &str| instead.iter().any(|(other, _)| *other == name);
    usual.into_iter().filter(|(name, _)| !is_other(name)).chain(instead.iter().copied()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_officer_writes_a_rule_two_agree_its_rooms_are_made_and_it_is_changed_as_it_was_made() {
    let net = Net::new();
    let server = net.server("kanazawa.test").await;
    let [mut chief, mut second, _] = chiefs(&server).await;
    let mut officer = holder(&server, "jinji", Duty::Personnel).await.1;
    let mut hanako = staff(&server, "hanako").await;
    changes::apply(&server, (&mut officer, &mut chief), changes::FILE).await;
    let rules = server.look(|house| house.rules.clone());
    assert!(officer.open(ROOMS).await.contains(ASK));
    // It is offered to those alone who may ask for it, and senseless ones are refused with the reason.
    assert_eq!(hanako.get(ASK).await.status, StatusCode::NOT_FOUND);
    let refused = async |browser: &mut Browser, instead: &[(&str, &str)], told: &str| {
        let answer = browser.post(ASK, ASK, &typed(instead)).await;
        assert!(
            answer.status == StatusCode::BAD_REQUEST && answer.text.contains(told),
            "{told} {}",
            answer.text
        );
    };
    refused(&mut officer, &[("field-below", "無い課")], "無い課").await;
    refused(&mut officer, &[("field-body", "議会")], "「議会」という機関はありません").await;
    refused(&mut officer, &[("field-named", "課*課")], "*").await;
    refused(&mut officer, &[("field-rule", "7-0011223344556677")], "一覧から選んでください").await;

    let case = ask(&mut officer, ASK, &typed(&[])).await;
    let page = chief.open(&case).await;
    assert!(page.contains("ルームの作成 4") && page.contains(ROOMS), "{page}");
    assert_eq!(approve(&mut chief, &case).await.status, StatusCode::SEE_OTHER);
    assert!(shown(&server, &rules).await.rules.is_empty(), "one alone decides nothing");
    assert_eq!(approve(&mut second, &case).await.status, StatusCode::SEE_OTHER);
    assert!(officer.open(&case).await.contains("実施済み"));
    rules.carry_out(server.name(), Order::Run, &Actor::operator("root")).await.unwrap();
    let now = shown(&server, &rules).await;
    let [rule] = &now.rules[..] else { panic!("{now:?}") };
    assert_eq!((now.rooms.len(), rule.rule.hand_over_days), (4, 30), "a space and a room of each 課");
    assert_eq!(rule.rule.moderators.titles, ["主査", "*補佐"]);

    // The page leads to a form that has what it says.
    let page = officer.open(ROOMS).await;
    let form = page.split("href=\"").find(|rest| rest.contains("field-rule=")).unwrap();
    let form = form.split('"').next().unwrap().replace("&amp;", "&");
    let page = officer.open(&form).await;
    for text in ["value=\"課のルーム\"", "*補佐", "value=\"{unit} 連絡\"", "value=\"課の連絡\""]
    {
        assert!(page.contains(text), "{text}: {page}");
    }
    let said = crate::field_of(Some(&form), "field-rule");
    let instead =
        [("field-rule", &*said), ("field-room", "{unit} の部屋"), ("field-heads", "no"), ("field-shape", "")];
    let case = ask(&mut officer, ASK, &typed(&instead)).await;
    // What is decided is what was read: a rule that was changed meanwhile is another one.
    let other = ask(&mut officer, ASK, &typed(&[("field-rule", &*said), ("field-title", "別の名前")])).await;
    for browser in [&mut chief, &mut second] {
        approve(browser, &case).await;
    }
    for browser in [&mut chief, &mut second] {
        approve(browser, &other).await;
    }
    assert!(officer.open(&other).await.contains("規則の内容が変わりました"));
    let now = shown(&server, &rules).await;
    let [rule] = &now.rules[..] else { panic!("{now:?}") };
    let names: Vec<_> = rule.rule.rooms.iter().map(|room| (room.space, room.name.as_str())).collect();
    assert_eq!(names, [(true, "{unit}"), (false, "{unit} の部屋")], "the space stays");
    assert!(!rule.rule.moderators.heads && rule.rule.title == "課のルーム");
    let set = rows(&server, server.name(), "rules.set").await;
    assert!(
        set.len() == 2 && set.iter().all(|row| row.after.iter().any(|(name, _)| name == "case")),
        "{set:?}"
    );
}
