//! Registration tokens: words that let their bearers make an account.
//!
//! No word stands in an address: those are kept in histories and in logs of proxies, and whoever has the word comes in. So pages
//! name a token by what follows from its word and from the secret of this browser.

use std::{fmt::Write, sync::Arc};

use ::account::{Browser, Error as AccountError, RegistrationToken, TokenChange};
use audit::Action;
use base::Timestamp;
use pages::{Form, Markup, PageError, Visit, html};
use sha2::{Digest, Sha256};
use web::{ApiError, Open, RawCall, Response};

use crate::{
    asked::asked_minute,
    console::{Console, TOKEN, TOKENS, actor},
    csv,
    frame::{field, link, moment, page, password_field, table, text},
    powers::Powers,
    told::refused,
};

/// Tokens on one page.
const PAGE: usize = 100;

/// Letters of a token that we make up.
const LENGTH: usize = 16;

/// What is told once something was done.
const DONE: [(&str, (&str, &str)); 2] = [
    (
        "made",
        (
            "登録トークンを作りました。使う人に渡してください。",
            "The token is made; hand it to whoever is to use it.",
        ),
    ),
    ("change", ("変更しました。", "It is changed.")),
];

/// Whether a token lets somebody in, and why not.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Valid,
    UsedUp,
    Expired,
}

impl State {
    fn of(token: &RegistrationToken, now: Timestamp) -> Self {
        if token.expires.is_some_and(|expires| expires <= now) {
            return Self::Expired;
        }
        match token.uses_allowed.is_some_and(|allowed| token.used >= allowed) {
            true => Self::UsedUp,
            false => Self::Valid,
        }
    }

    fn name(self, visit: &Visit) -> &'static str {
        match self {
            Self::Valid => visit.say("有効", "valid"),
            Self::UsedUp => visit.say("使用済み", "used up"),
            Self::Expired => visit.say("期限切れ", "run out"),
        }
    }
}

/// By what this browser names a token.
fn handle(visit: &Visit, word: &str) -> String {
    let mut hash = Sha256::new();
    hash.update(visit.key("registration token"));
    hash.update(word.as_bytes());
    let mut name = String::with_capacity(32);
    for byte in hash.finalize().iter().take(16) {
        // Writing to a string does not fail.
        write!(name, "{byte:02x}").unwrap_or_default();
    }
    name
}

pub(crate) async fn list(console: Arc<Console>, call: RawCall<Open>) -> Result<Response, ApiError> {
    let handler = async |visit: Visit, browser: Browser, powers: Powers| {
        let query = visit.query()?;
        all(&console, &visit, (&browser, &powers), &query, None).await
    };
    console.answer(call, Powers::administers, handler).await
}

async fn all(
    console: &Console,
    visit: &Visit,
    (browser, powers): (&Browser, &Powers),
    asked: &Form,
    error: Option<&PageError>,
) -> Result<Response, PageError> {
    let (say, now) = (|japanese, english| visit.say(japanese, english), console.clock.now());
    let state = asked.get("state");
    let mut tokens = console.accounts.registration_tokens(visit.authority()).await?;
    tokens.retain(|token| match state {
        "valid" => State::of(token, now) == State::Valid,
        "over" => State::of(token, now) != State::Valid,
        _ => true,
    });
    let heads = [
        say("トークン", "Token"),
        say("使用回数", "Uses"),
        say("使える回数", "Uses allowed"),
        say("期限", "Runs out"),
        say("状態", "State"),
    ];
    if asked.get("as") == "csv" {
        let deed = (Action::ExportTable, "", "registration tokens");
        console.note(visit, (browser, powers), deed).await?;
        let rows = tokens.iter().map(|token| cells(visit, token, now).to_vec());
        return Ok(visit.file("registration-tokens.csv", csv::KIND, csv::written(&heads, rows)));
    }
    let total = tokens.len();
    let after = asked.get("after");
    let from = tokens.iter().position(|token| handle(visit, &token.token) == after).map_or(0, |at| at + 1);
    let shown = &tokens[from..total.min(from + PAGE)];
    let next = shown.last().filter(|_| from + PAGE < total).map(|last| handle(visit, &last.token));
    let rows = shown.iter().map(|token| {
        let [word, rest @ ..] = cells(visit, token, now);
        let here = link(TOKEN, &[("id", &handle(visit, &token.token))]);
        let word = html! { a.id href=(here) { (word) } };
        std::iter::once(word).chain(rest.into_iter().map(text)).collect()
    });
    let body = html! {
        (visit.problem(error))
        @if asked.get("done") == "delete" {
            p.card role="status" { (say("登録トークンを削除しました。", "The token is gone.")) }
        }
        p { (say(
            "登録トークンは、この組織のアカウントを作るための合い言葉です。登録方法が「トークン」の場合に使われます。",
            "Whoever has one of these words makes an account of this authority, where its registration is by token.",
        )) }
        form.card method="get" action=(TOKENS) {
            (field("state", say("状態", "State"), "", html! {
                select id="state" name="state" { @for (word, name) in [
                    ("", say("すべて", "all")),
                    ("valid", say("有効", "valid")),
                    ("over", say("使用済み・期限切れ", "used up or run out")),
                ] { option value=(word) selected[word == state] { (name) } } }
            }))
            div.actions { button.second { (say("表示", "Show")) } }
        }
        p role="status" { (total) (say(" 件", " tokens")) }
        @if !shown.is_empty() { (table(&heads, rows)) }
        p {
            @if let Some(next) = &next {
                a href=(link(TOKENS, &[("state", state), ("after", next)])) { (say("次の 100 件", "The next 100")) } " "
            }
            a href=(link(TOKENS, &[("state", state), ("as", "csv")])) {
                (say("CSV ダウンロード（Excel 用）", "As a file for spreadsheets (CSV)"))
            }
        }
        h2 { (say("新しい登録トークン", "A new token")) }
        form.card method="post" action=(TOKENS) {
            (visit.proof())
            (field("token", say("トークン", "Token"), say(
                "空欄の場合は自動で作ります。半角の英数字と . _ ~ - が使えます。",
                "Made up where nothing is typed; letters, digits and . _ ~ - are taken.",
            ), html! {
                input id="token" name="token" maxlength="64" pattern="[A-Za-z0-9._~\\-]*" autocomplete="off"
                    value=(asked.get("token")) aria-describedby="token-remark";
            }))
            (fields(visit, asked.get("uses"), asked.get("at")))
            div.actions { button { (say("作る", "Make it")) } }
        }
    };
    let page = page(visit, powers, say("登録トークン", "Registration tokens"), body);
    Ok(visit.page(page.status_of(error).again_at(TOKENS.to_owned())))
}

fn fields(visit: &Visit, uses: &str, at: &str) -> Markup {
    let say = |japanese, english| visit.say(japanese, english);
    html! {
        (field("uses", say("使える回数", "Uses allowed"), say("空欄は無制限です。", "Any number where nothing is typed."), html! {
            input id="uses" name="uses" type="number" inputmode="numeric" min="0" max=(u32::MAX) value=(uses)
                aria-describedby="uses-remark";
        }))
        (field("at", say("期限（日本時間）", "Runs out at (in Japan)"), say("空欄は無期限です。", "Never where nothing is typed."), html! {
            input id="at" name="at" type="datetime-local" value=(at) aria-describedby="at-remark";
        }))
    }
}

fn cells(visit: &Visit, token: &RegistrationToken, now: Timestamp) -> [String; 5] {
    let any = || visit.say("無制限", "any number").to_owned();
    [
        token.token.clone(),
        token.used.to_string(),
        token.uses_allowed.map_or_else(any, |uses| uses.to_string()),
        token.expires.map_or_else(|| visit.say("無期限", "never").to_owned(), |at| moment(visit, at)),
        State::of(token, now).name(visit).to_owned(),
    ]
}

/// A minute as the field of a form has it.
fn minute(at: Timestamp) -> String {
    audit::written(at).get(..16).unwrap_or_default().to_owned()
}

/// How many uses and until when a form says.
fn asked_bounds(form: &Form) -> Result<(Option<u32>, Option<Timestamp>), PageError> {
    let wrong = |_| {
        PageError::bad_request(
            "使える回数は 0 以上の整数で入力してください。",
            "Please type how many uses are allowed as a number.",
        )
    };
    let uses = form.find("uses").map(|uses| uses.trim().parse().map_err(wrong)).transpose()?;
    Ok((uses, asked_minute(form)?))
}

fn must_come(at: Option<Timestamp>, now: Timestamp) -> Result<(), PageError> {
    match at.is_some_and(|at| at <= now) {
        true => Err(PageError::bad_request(
            "期限には、これから先の日時を入力してください。",
            "A token can run out in the future only.",
        )),
        false => Ok(()),
    }
}

/// Makes a token.
pub(crate) async fn add(console: Arc<Console>, call: RawCall<Open>) -> Result<Response, ApiError> {
    let handler = async |visit: Visit, browser: Browser, powers: Powers| {
        let form = visit.form()?;
        match make(&console, &visit, (&browser, &powers), &form).await {
            Ok(word) => Ok(visit.redirect(&link(TOKEN, &[("id", &handle(&visit, &word)), ("done", "made")]))),
            Err(error) => {
                let error = refused(error)?;
                all(&console, &visit, (&browser, &powers), &form, Some(&error)).await
            }
        }
    };
    console.answer(call, Powers::administers, handler).await
}

async fn make(
    console: &Console,
    visit: &Visit,
    (browser, powers): (&Browser, &Powers),
    form: &Form,
) -> Result<String, PageError> {
    let (uses_allowed, expires) = asked_bounds(form)?;
    must_come(expires, console.clock.now())?;
    let word = form.find("token").map(|word| word.trim().to_owned());
    let word = word.filter(|word| !word.is_empty()).unwrap_or_else(|| console.random.token(LENGTH));
    let token = RegistrationToken { token: word.clone(), uses_allowed, used: 0, expires };
    let by = actor(visit, browser, powers);
    match console.accounts.add_registration_token(visit.authority(), token, &by).await {
        Ok(()) => Ok(word),
        Err(AccountError::InvalidParam(_)) => Err(PageError::bad_request(
            "このトークンは使えません。半角の英数字と . _ ~ - を 1〜64 文字で入力してください。同じトークンがすでにある場合も作れません。",
            "This cannot be a token: it has 1 to 64 letters, digits or . _ ~ -, and there is no other with the same word.",
        )),
        Err(error) => Err(error.into()),
    }
}

impl Console {
    /// The token that this browser names so.
    async fn token(&self, visit: &Visit, id: &str) -> Result<RegistrationToken, PageError> {
        let tokens = self.accounts.registration_tokens(visit.authority()).await?;
        let found = tokens.into_iter().find(|token| handle(visit, &token.token) == id);
        found.ok_or_else(PageError::not_found)
    }
}

pub(crate) async fn show(console: Arc<Console>, call: RawCall<Open>) -> Result<Response, ApiError> {
    let handler = async |visit: Visit, browser: Browser, powers: Powers| {
        let query = visit.query()?;
        let token = console.token(&visit, query.get("id")).await?;
        one(&console, &visit, (&browser, &powers), &token, (query.get("done"), None)).await
    };
    console.answer(call, Powers::administers, handler).await
}

async fn one(
    console: &Console,
    visit: &Visit,
    (browser, powers): (&Browser, &Powers),
    token: &RegistrationToken,
    (done, error): (&str, Option<&PageError>),
) -> Result<Response, PageError> {
    let say = |japanese, english| visit.say(japanese, english);
    let id = handle(visit, &token.token);
    let [word, used, allowed, expires, state] = cells(visit, token, console.clock.now());
    let uses = token.uses_allowed.map(|uses| uses.to_string()).unwrap_or_default();
    let body = html! {
        (visit.problem(error))
        @if let Some((_, told)) = DONE.iter().find(|(word, _)| *word == done) {
            p.card role="status" { (say(told.0, told.1)) }
        }
        div.card { dl {
            dt { (say("トークン", "Token")) } dd.id { (word) }
            dt { (say("状態", "State")) } dd { (state) }
            dt { (say("使用回数", "Uses")) } dd { (used) }
            dt { (say("使える回数", "Uses allowed")) } dd { (allowed) }
            dt { (say("期限", "Runs out")) } dd { (expires) }
        } }
        form.card method="post" action=(TOKEN) {
            (visit.proof())
            input type="hidden" name="id" value=(id);
            (fields(visit, &uses, &token.expires.map(minute).unwrap_or_default()))
            div.actions { button name="do" value="change" { (say("変更する", "Change it")) } }
        }
        h2 { (say("削除", "Deleting it")) }
        form.card method="post" action=(TOKEN) {
            (visit.proof())
            input type="hidden" name="id" value=(id);
            p { (say(
                "削除すると、このトークンではもう登録できません。これまでに作られたアカウントはそのままです。",
                "Nobody makes an account with it any more; the accounts that were made stay.",
            )) }
            (password_field(&console.accounts, visit, browser).await?)
            div.actions { button.danger name="do" value="delete" { (say("削除する", "Delete it")) } }
        }
        p { a href=(TOKENS) { (say("一覧に戻る", "Back to the list")) } }
    };
    let page = page(visit, powers, say("登録トークン", "Registration token"), body).status_of(error);
    Ok(visit.page(page.again_at(link(TOKEN, &[("id", &id)]))))
}

/// Changes a token, or takes it away.
pub(crate) async fn change(console: Arc<Console>, call: RawCall<Open>) -> Result<Response, ApiError> {
    let handler = async |visit: Visit, browser: Browser, powers: Powers| {
        let form = visit.form()?;
        let token = console.token(&visit, form.get("id")).await?;
        let by = actor(&visit, &browser, &powers);
        let done = match form.get("do") {
            "change" => match changed(&console, &token, &form) {
                Ok(change) => console
                    .accounts
                    .change_registration_token(visit.authority(), &token.token, change, &by)
                    .await
                    .map(drop)
                    .map_err(PageError::from),
                Err(error) => Err(error),
            },
            "delete" => match console.unconfirmed(&visit, &browser, &form).await? {
                Some(error) => Err(error),
                None => console
                    .accounts
                    .remove_registration_token(visit.authority(), &token.token, &by)
                    .await
                    .map_err(PageError::from),
            },
            _ => return Err(PageError::not_found()),
        };
        match (done, form.get("do")) {
            (Ok(()), "delete") => Ok(visit.redirect(&link(TOKENS, &[("done", "delete")]))),
            (Ok(()), done) => Ok(visit.redirect(&link(TOKEN, &[("id", form.get("id")), ("done", done)]))),
            (Err(error), _) => {
                let error = refused(error)?;
                one(&console, &visit, (&browser, &powers), &token, ("", Some(&error))).await
            }
        }
    };
    console.answer(call, Powers::administers, handler).await
}

/// What is to be another in a token, as a form says. A moment that it had before stays as it was, to the millisecond, also once it
/// is past.
fn changed(console: &Console, token: &RegistrationToken, form: &Form) -> Result<TokenChange, PageError> {
    let (uses, expires) = asked_bounds(form)?;
    let stays = expires.map(minute) == token.expires.map(minute);
    if !stays {
        must_come(expires, console.clock.now())?;
    }
    Ok(TokenChange { uses_allowed: Some(uses), expires: (!stays).then_some(expires) })
}
