//! Mail domains of the authority (関連ドメイン): which are proven, what is to be published for the others, and the accounts that
//! people have made for themselves there.
//!
//! Whoever does personnel puts accounts forward as those of the organisation's people; that makes a change set, which is agreed to as
//! any other.

use std::sync::Arc;

use ::account::Browser;
use domains::{Candidate, How, MailDomain, Match, Problem, Standing};
use pages::{Form, Markup, PageError, Visit, html};
use ruma::{OwnedUserId, UserId};
use web::{ApiError, Open, RawCall, Response};

use crate::{
    console::{ACCOUNT, Console, DOMAINS, actor},
    frame::{link, moment, page, table, text},
    powers::Powers,
    short::path_of,
    told::told,
};

/// Accounts on one page.
const PAGE: usize = 100;

pub(crate) async fn show(console: Arc<Console>, call: RawCall<Open>) -> Result<Response, ApiError> {
    let handler = async |visit: Visit, _browser: Browser, powers: Powers| {
        let query = visit.query()?;
        all(&console, &visit, &powers, query.get("after"), None).await
    };
    console.answer(call, Powers::changes_organisation, handler).await
}

/// Has a domain looked at, or puts accounts forward.
pub(crate) async fn change(console: Arc<Console>, call: RawCall<Open>) -> Result<Response, ApiError> {
    let handler = async |visit: Visit, browser: Browser, powers: Powers| {
        let form = visit.form()?;
        let domain = form.get("check");
        if !domain.is_empty() {
            let _turn = console.turn(&visit).await?;
            console.domains.check(visit.authority(), domain).await.map_err(told)?;
            return Ok(visit.redirect(DOMAINS));
        }
        match put_forward(&console, &visit, &browser, &form).await {
            Ok(path) => Ok(visit.redirect(&path)),
            Err(error) if error.status().is_server_error() => Err(error),
            Err(error) => all(&console, &visit, &powers, form.get("after"), Some(&error)).await,
        }
    };
    console.answer(call, Powers::changes_organisation, handler).await
}

async fn put_forward(
    console: &Console,
    visit: &Visit,
    browser: &Browser,
    form: &Form,
) -> Result<String, PageError> {
    let chosen = form.fields().filter(|(name, _)| name.starts_with("user-"));
    let users: Option<Vec<OwnedUserId>> = chosen.map(|(_, user)| UserId::parse(user).ok()).collect();
    let users = users.ok_or_else(PageError::not_found)?;
    let _turn = console.turn(visit).await?;
    let (powers, demands) = console.demand(browser, &Powers::changes_organisation).await?;
    let by = (actor(visit, browser, &powers), Arc::new(demands) as personnel::Demands);
    let set = console.domains.claim(visit.authority(), &users, by).await.map_err(told)?;
    Ok(path_of(set))
}

async fn all(
    console: &Console,
    visit: &Visit,
    powers: &Powers,
    after: &str,
    error: Option<&PageError>,
) -> Result<Response, PageError> {
    let _turn = console.turn(visit).await?;
    let authority = visit.authority();
    let standing = console.domains.standing(authority).await.map_err(told)?;
    let candidates = console.domains.candidates(authority).await.map_err(told)?;
    let from = candidates.partition_point(|one| one.user.as_str() <= after);
    let shown = &candidates[from..candidates.len().min(from + PAGE)];
    let next = shown.last().filter(|_| from + PAGE < candidates.len());
    let say = |japanese, english| visit.say(japanese, english);
    let body = html! {
        (visit.problem(error))
        p { (say(
            "この組織のメールのドメインです。ドメインの管理者が下の内容を公開すると確認済みになります。確認済みでないドメインは、何の効力もありません。",
            "The domains of your authority's mail. Each is proven once whoever runs it publishes what is said below; until then it does nothing.",
        )) }
        @if standing.is_empty() {
            p { (say(
                "設定されたドメインはありません。設定ファイルの domains に書きます。",
                "There are none; they are named in the settings (domains).",
            )) }
        }
        @for one in &standing { (domain(visit, one)) }
        h2 { (say("自分で登録した職員のアカウント", "Accounts that people have made for themselves")) }
        p { (say(
            "確認済みのドメインのメールアドレスを本人が確認し、まだどの職員のものでもないアカウントです。選んだアカウントを職員に結び付ける変更案を作ります。人事担当と全体管理者が承認すると結び付き、本人に知らせます。ルームやメッセージ、端末はそのままですが、その職員の区分による利用条件（ネットワーク、二要素認証など）が適用されます。",
            "Accounts whose owners have shown to read mails of a proven domain, and that are nobody's in the organisation yet. What you choose becomes a change set that makes them those of the people with these addresses; a personnel officer and an administrator agree to it, and then the owners are told. Their rooms, messages and devices stay; what people of their class of employment may holds for them from then on.",
        )) }
        p role="status" { (candidates.len()) (say(" 件", " accounts")) }
        @if !shown.is_empty() {
            form method="post" action=(DOMAINS) {
                (visit.proof())
                input type="hidden" name="after" value=(after);
                (listed(visit, powers, shown))
                div.actions { button { (say("選んだものの変更案を作る", "Make a change set of those that are chosen")) } }
            }
        }
        @if let Some(next) = next {
            p { a href=(link(DOMAINS, &[("after", next.user.as_str())])) { (say("次の 100 件", "The next 100")) } }
        }
    };
    let page = page(visit, powers, say("関連ドメイン", "Mail domains"), body);
    Ok(visit.page(page.status_of(error).again_at(DOMAINS.to_owned())))
}

fn domain(visit: &Visit, standing: &Standing) -> Markup {
    let say = |japanese, english| visit.say(japanese, english);
    let domain = &standing.domain;
    let checked = standing.checked.map(|at| moment(visit, at));
    html! {
        section.card {
            h2.id { (domain) }
            @match standing.proven {
                Some((at, how)) => p {
                    strong { (say("確認済み", "proven")) } " "
                    (moment(visit, at)) " "
                    (match how {
                        How::Record => say("DNS の TXT レコードによる", "by the TXT record in DNS"),
                        How::File => say("ウェブサーバーのファイルによる", "by the file on the web server"),
                    })
                },
                None => p { strong { (say("未確認", "not proven")) } },
            }
            @if let (Some(problem), Some(checked)) = (standing.problem, &checked) {
                p { (say("最後の確認: ", "looked at last: ")) (checked) " " (said(visit, problem)) }
            }
            @if standing.proven.is_none() || standing.problem.is_some() {
                p { (say("次のどちらかを公開してください。", "Please have one of these published.")) }
                dl {
                    dt { (say("DNS の TXT レコード", "A TXT record in DNS")) }
                    dd { code { (domain.record_name()) } " " code { (MailDomain::says(visit.authority())) } }
                    dt { (say("ウェブサーバーのファイル（この 1 行を含むもの）", "A file on the web server, with this line")) }
                    dd { code { (domain.file_url()) } " " code { (MailDomain::says(visit.authority())) } }
                }
                form method="post" action=(DOMAINS) {
                    (visit.proof())
                    input type="hidden" name="check" value=(domain);
                    div.actions { button.second { (say("いま確認する", "Look now")) } }
                }
            }
        }
    }
}

fn said(visit: &Visit, problem: Problem) -> &'static str {
    match problem {
        Problem::Absent => {
            visit.say("レコードもファイルもありません。", "There is neither a record nor a file.")
        }
        Problem::Other => {
            visit.say("ほかの機関の名前が書かれています。", "What is there names another authority.")
        }
        Problem::Unreached => visit.say(
            "DNS に正しいレコードがなく、ウェブサーバー(または DNS)に問い合わせできませんでした。レコードの名前(_yakuba. を付けた名前)と内容が下のとおりか、確認してください。",
            "There is no right record, and the web server (or DNS) could not be asked. Please look whether the name of the record, with _yakuba. in front, and its text are as below.",
        ),
    }
}

fn listed(visit: &Visit, powers: &Powers, candidates: &[Candidate]) -> Markup {
    let say = |japanese, english| visit.say(japanese, english);
    let heads = [
        say("選ぶ", "Choose"),
        say("アカウント", "Account"),
        say("メールアドレス", "Address"),
        say("職員", "Whose"),
        say("状態", "State"),
    ];
    let rows = candidates.iter().enumerate().map(|(place, one)| {
        let user = one.user.as_str();
        let label = visit.language().pick(format!("{user} を選ぶ"), format!("Choose {user}"));
        let choice = html! {
            @if one.can_be_claimed() && !one.is_put_forward {
                input type="checkbox" name={ "user-" (place) } value=(user) aria-label=(label);
            }
        };
        let account = match powers.administers() {
            true => html! { a.id href=(link(ACCOUNT, &[("user", user)])) { (user) } },
            false => html! { span.id { (user) } },
        };
        let (whose, state) = whose(visit, one);
        vec![choice, account, text(one.email.clone()), text(whose), text(state)]
    });
    table(&heads, rows)
}

/// Whose an account is, and what can be done about it.
fn whose(visit: &Visit, one: &Candidate) -> (String, String) {
    let say = |japanese: &str, english: &str| visit.language().pick(japanese, english).to_owned();
    let named = |person: &domains::Person| {
        let unit = person.unit.as_deref().unwrap_or("—");
        format!("{} {} ({unit})", person.number, person.name)
    };
    let whose = match &one.is_whose {
        Match::One(person) | Match::HasAccount(person, _) => named(person),
        Match::Nobody | Match::Several => "—".to_owned(),
    };
    let state = match &one.is_whose {
        _ if one.is_put_forward => say("変更案に入っています", "in a change set"),
        _ if one.administers => {
            say("全体管理者のため、ここでは扱いません", "administers the authority: not put forward here")
        }
        Match::One(_) => String::new(),
        Match::Nobody => say("このアドレスの職員がいません", "nobody in the organisation has this address"),
        Match::Several => say("一人に決まりません", "several people have the addresses of this account"),
        Match::HasAccount(_, account) => visit
            .language()
            .pick(format!("この職員には {account} があります"), format!("this person has {account} already")),
    };
    (whose, state)
}
