//! From and until when a rule of rooms holds: asked for by who may, agreed to by two, and followed by the rooms.

use audit::Actor;
use duties::Duty;
use http::StatusCode;
use intake::Date;
use rules::{Answer, Order, RuleId, Rules, Shown};
use serde_json::json;
use testkit::{Net, Server};

use super::{approve, ask, chiefs, staff};
use crate::{browser::Browser, changes, holder, rows};

const ASK: &str = "/_yakuba/counter/ask/rule_days";

/// The day so many days from that on which the clock of tests begins.
fn ahead(days: usize) -> Date {
    let today: Date = "2026-04-01".parse().unwrap();
    (0..days).fold(today, |day, _| day.next().unwrap())
}

async fn shown(server: &Server, rules: &Rules, day: Date) -> Shown {
    let order = Order::Show { day: Some(day) };
    match rules.carry_out(server.name(), order, &Actor::server()).await.unwrap() {
        Answer::Shown(shown) => shown,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_officer_asks_from_and_until_when_a_rule_holds_two_agree_and_the_rooms_follow() {
    let net = Net::new();
    let server = net.server("kanazawa.test").await;
    let [mut chief, mut second, _] = chiefs(&server).await;
    let mut officer = holder(&server, "jinji", Duty::Personnel).await.1;
    let mut hanako = staff(&server, "hanako").await;
    changes::apply(&server, (&mut officer, &mut chief), changes::FILE).await;
    let rules = server.look(|house| house.rules.clone());
    let wish = json!({
        "title": "課の部屋",
        "units": { "named": ["*課"] },
        "rooms": [{ "key": "main", "name": "{unit} 連絡" }],
    });
    let wish = Box::new(serde_json::from_value(wish).unwrap());
    let order = Order::Set { rule: None, wish, from: Some(ahead(90)), until: None };
    let operator = Actor::operator("root");
    let Answer::Rule(RuleId(rule)) = rules.carry_out(server.name(), order, &operator).await.unwrap() else {
        panic!()
    };
    let page = chief.open("/_yakuba/console/rooms").await;
    assert!(page.contains("課の部屋") && page.contains("{unit} 連絡") && page.contains(ASK), "{page}");

    // What is asked for is the rule as it stands on the page.
    let page = officer.open(ASK).await;
    let said = page.split(&format!("value=\"{rule}-")).nth(1).unwrap().split('"').next().unwrap();
    let rule = format!("{rule}-{said}");
    let (today, fifth, tomorrow) = (ahead(0).to_string(), ahead(5).to_string(), ahead(1).to_string());
    let fields = |what, from, through| {
        [
            ("field-rule", rule.as_str()),
            ("field-what", what),
            ("field-from", from),
            ("field-through", through),
            ("reason", "年度末まで使うため"),
        ]
    };
    let refused = async |browser: &mut Browser, fields: [(&str, &str); 5], told: &str| {
        let answer = browser.post(ASK, ASK, &fields).await;
        assert!(answer.status == StatusCode::BAD_REQUEST && answer.text.contains(told), "{}", answer.text);
    };
    // It is offered to those alone who may ask for it, with the names of the rules.
    assert_eq!(hanako.get(ASK).await.status, StatusCode::NOT_FOUND);
    refused(&mut officer, fields("hold", &fifth, &today), "最後の日が始まりの日より前").await;
    refused(&mut officer, fields("end", &today, &fifth), "空欄にしてください").await;

    let case = ask(&mut officer, ASK, &fields("hold", &today, &fifth)).await;
    assert_eq!(approve(&mut chief, &case).await.status, StatusCode::SEE_OTHER);
    assert!(!shown(&server, &rules, ahead(0)).await.rules[0].holds, "one alone decides nothing");
    assert_eq!(approve(&mut second, &case).await.status, StatusCode::SEE_OTHER);
    assert!(officer.open(&case).await.contains("実施済み"));
    let holds = async |days| shown(&server, &rules, ahead(days)).await.rules[0].holds;
    assert_eq!([holds(0).await, holds(5).await, holds(6).await, holds(90).await], [true, true, false, false]);
    let by = Actor::operator("root");
    rules.carry_out(server.name(), Order::Run, &by).await.unwrap();
    assert_eq!(shown(&server, &rules, ahead(0)).await.rooms.len(), 2);
    let set = rows(&server, server.name(), "rules.set").await;
    let number = case.rsplit('/').next().unwrap();
    assert!(set.len() == 2 && set[1].after.contains(&("case".to_owned(), number.to_owned())), "{set:?}");

    let case = ask(&mut officer, ASK, &fields("end", &tomorrow, "")).await;
    for browser in [&mut chief, &mut second] {
        approve(browser, &case).await;
    }
    assert_eq!([holds(0).await, holds(1).await, holds(5).await], [true, false, false]);
    assert_eq!(rows(&server, server.name(), "rules.end").await.len(), 1);

    // A rule that says something else by the time of the last approval is another one.
    let case = ask(&mut officer, ASK, &fields("hold", &tomorrow, "")).await;
    assert_eq!(approve(&mut chief, &case).await.status, StatusCode::SEE_OTHER);
    let wish = json!({
        "title": "課の部屋",
        "units": { "named": ["*課"] },
        "members": "below",
        "rooms": [{ "key": "main", "name": "{unit} 連絡" }],
    });
    let number = Some(RuleId(rule.split('-').next().unwrap().parse().unwrap()));
    let wish = Box::new(serde_json::from_value(wish).unwrap());
    let order = Order::Set { rule: number, wish, from: Some(ahead(90)), until: None };
    rules.carry_out(server.name(), order, &operator).await.unwrap();
    approve(&mut second, &case).await;
    assert!(officer.open(&case).await.contains("規則の内容が変わりました"));
    assert!(!holds(1).await);
    refused(&mut officer, fields("hold", &tomorrow, ""), "一覧から選んでください").await;
}
