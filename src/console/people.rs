//! Somebody is found by name, reading, unit or post.

use std::sync::Arc;

use pages::{Visit, html};
use personnel::{Answer, FoundPerson, Order};
use web::{ApiError, Open, RawCall, Response};

use crate::{
    console::{Console, PEOPLE, unexpected},
    frame::{account_link, field, page, table, text},
    powers::Powers,
};

/// Longest text that is looked for, in letters.
const LONGEST: usize = 100;

pub(crate) async fn show(console: Arc<Console>, call: RawCall<Open>) -> Result<Response, ApiError> {
    let handler = async |visit: Visit, browser: ::account::Browser, powers: Powers| {
        let query = visit.query()?;
        let sought: String = query.get("q").chars().take(LONGEST).collect();
        let (mut found, mut rest) = (Vec::new(), 0);
        if !sought.trim().is_empty() {
            let order = Order::Find { text: sought.clone(), within: powers.reads_within() };
            let Answer::Found { people, more } = console.ask(&visit, &browser, order).await? else {
                return Err(unexpected());
            };
            (found, rest) = (people, more);
        }
        let say = |japanese, english| visit.say(japanese, english);
        let heads = [
            say("氏名", "Name"),
            say("フリガナ", "Reading"),
            say("所属と職名", "Units and posts"),
            say("担当業務", "Responsible for"),
            say("アカウント", "Account"),
        ];
        let body = html! {
            form.card method="get" action=(PEOPLE) role="search" {
                (field(
                    "q",
                    say("氏名、フリガナ、所属、職名、担当業務", "Name, reading, unit, post, or what it is responsible for"),
                    say(
                        "空白で区切ると、すべてに当てはまる人を探します。髙と高、かなとカナは区別しません。",
                        "Several words have to be met by the same person. Variants of letters do not matter.",
                    ),
                    html! { input id="q" name="q" type="search" value=(sought) maxlength="100"
                        aria-describedby="q-remark"; },
                ))
                div.actions { button { (say("探す", "Find")) } }
            }
            @if !sought.trim().is_empty() {
                p role="status" { @if found.is_empty() {
                    (say("見つかりません。", "Nobody was found."))
                } @else {
                    (found.len() + rest) (say(" 人見つかりました。", " people were found."))
                    @if rest > 0 { " " (say("先頭だけを表示しています。", "The first ones are shown.")) }
                } }
                @if !found.is_empty() { (table(&heads, found.iter().map(|person| cells(&visit, &powers, person)))) }
            }
        };
        Ok(visit.page(page(&visit, &powers, say("職員を探す", "Find people"), body)))
    };
    console.answer(call, Powers::reads_a_part, handler).await
}

fn cells(visit: &Visit, powers: &Powers, person: &FoundPerson) -> Vec<pages::Markup> {
    let posts: Vec<_> =
        person.posts.iter().map(|(path, title)| format!("{} {title}", path.join(" "))).collect();
    vec![
        text(&person.called),
        text(person.reading.as_deref().unwrap_or_default()),
        html! { ul.plain { @for post in &posts { li { (post) } } } },
        text(person.charges.join("、")),
        account_link(visit, person.account.as_deref(), powers.administers()),
    ]
}
