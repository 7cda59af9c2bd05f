//! The page where somebody makes an account, where the authority lets them.

use std::sync::Arc;

use ::account::{Asked, EmailAtRegistration, Error, Registration, StageOutcome, StageProof, Terms};
use pages::{Form, Page, PageError, Visit, html};
use ruma::OwnedUserId;
use serde_json::{Map, Value, json};
use web::{ApiError, Open, RawCall, Response};

use super::api::{OAuthApi, SIGN_IN, SIGN_UP};
use crate::{fallback::documents, passkeys::in_browser, second_step::arrive};

/// Asks for what an account needs.
pub(crate) async fn ask(api: Arc<OAuthApi>, call: RawCall<Open>) -> Result<Response, ApiError> {
    let answer = async |visit: Visit| {
        let query = visit.query()?;
        let back = visit.way_back(query.find("back"));
        Ok(visit.page(form(&visit, &asks(&api, &visit)?, back, &Form::default(), None)))
    };
    api.pages.answer(call, answer).await
}

/// Makes the account and signs its user in. Where an address is asked for, the code of a mail is typed in between.
pub(crate) async fn sign_up(api: Arc<OAuthApi>, call: RawCall<Open>) -> Result<Response, ApiError> {
    let answer = async |visit: Visit| {
        let asks = asks(&api, &visit)?;
        let sent = visit.form()?;
        let back = visit.way_back(sent.find("back"));
        let made = match sent.find("sid") {
            Some(sid) => finish(&api, &visit, &sent, sid).await,
            None => begin(&api, &visit, &asks, &sent).await,
        };
        match made {
            Ok(Made::Account(user)) => {
                let (back, agent) = (back.to_owned(), visit.call.user_agent());
                let browser = in_browser(&visit, agent.as_deref());
                let signed_in = api.accounts.begin_browser(&user, "registration", &browser).await?;
                arrive(&api.pages, visit, signed_in, &back).await
            }
            Ok(Made::Asked { session, sid }) => {
                Ok(visit.page(ask_for_word(&visit, &session, &sid, back, None)))
            }
            Err(Refused::Word(error)) => {
                let (session, sid) = (sent.get("session"), sent.get("sid"));
                Ok(visit.page(ask_for_word(&visit, session, sid, back, Some(&error))))
            }
            Err(Refused::All(error)) if error.status().is_server_error() => Err(error),
            Err(Refused::All(error)) => Ok(visit.page(form(&visit, &asks, back, &sent, Some(&error)))),
        }
    };
    api.pages.answer(call, answer).await
}

/// What an authority asks of those who register.
struct Asks<'a> {
    kind: Registration,
    terms: &'a [Terms],
    email: EmailAtRegistration,
}

fn asks<'a>(api: &'a OAuthApi, visit: &Visit) -> Result<Asks<'a>, PageError> {
    let authority = visit.authority();
    match api.accounts.settings(authority).registration {
        Registration::Closed => Err(PageError::from(Error::RegistrationClosed)),
        kind => Ok(Asks {
            kind,
            terms: api.accounts.terms(authority),
            email: api.accounts.email_at_registration(authority),
        }),
    }
}

/// How far somebody is.
enum Made {
    Account(OwnedUserId),
    /// A mail was sent, whose word is asked for now.
    Asked {
        session: String,
        sid: String,
    },
}

/// What is to be given once more.
enum Refused {
    All(PageError),
    /// The word of the mail alone.
    Word(PageError),
}

impl From<PageError> for Refused {
    fn from(error: PageError) -> Self {
        Refused::All(error)
    }
}

/// Begins a registration, as `/register` does, and shows in its session all that was given on the page.
async fn begin(api: &OAuthApi, visit: &Visit, asks: &Asks<'_>, sent: &Form) -> Result<Made, Refused> {
    let password = sent.get("password");
    let refused = |japanese: &str, english: &str| Err(PageError::bad_request(japanese, english).into());
    if password != sent.get("again") {
        return refused("二つのパスワードが一致しません。", "The two passwords differ.");
    }
    if !asks.terms.is_empty() && sent.get("terms") != "yes" {
        return refused("文書への同意が必要です。", "The documents have to be accepted.");
    }
    let email = sent.find("email").map(str::trim).filter(|_| asks.email != EmailAtRegistration::Off);
    if asks.email == EmailAtRegistration::Required && email.is_none_or(str::is_empty) {
        return refused("メールアドレスが必要です。", "An e-mail address is needed.");
    }
    let mut request: Map<String, Value> = Map::new();
    request.insert("username".to_owned(), json!(sent.get("name").trim()));
    request.insert("password".to_owned(), json!(password));
    request.insert("inhibit_login".to_owned(), json!(true));
    let session = match register(api, visit, None, request).await {
        // Nothing is shown yet, so this is how every registration begins.
        Err(Error::Interactive(info)) => info.session.unwrap_or_default(),
        Ok(user) => return Ok(Made::Account(user)),
        Err(error) => return Err(told(error).into()),
    };
    let (authority, from) = (visit.authority(), visit.address());
    let mut proofs = Vec::new();
    if asks.kind == Registration::Token {
        proofs.push(StageProof::RegistrationToken(sent.get("token")));
    }
    if !asks.terms.is_empty() {
        proofs.push(StageProof::Terms);
    }
    if proofs.is_empty() && email.is_none() {
        proofs.push(StageProof::Dummy);
    }
    for proof in proofs {
        match api.accounts.show_stage(authority, &session, proof, from).await.map_err(told)? {
            StageOutcome::Done => {}
            StageOutcome::Wrong => {
                return refused("登録トークンが正しくありません。", "The registration token is not valid.");
            }
            StageOutcome::Over => return Err(over().into()),
        }
    }
    match email {
        None => Ok(Made::Account(register(api, visit, Some(session), Map::new()).await.map_err(told)?)),
        Some(email) => {
            let sent = api.accounts.mail_for_stage(authority, &session, email, from).await.map_err(told)?;
            let sid = sent.ok_or_else(over)?;
            Ok(Made::Asked { session, sid })
        }
    }
}

/// Takes the word of the mail, and makes the account that the session was begun for.
async fn finish(api: &OAuthApi, visit: &Visit, sent: &Form, sid: &str) -> Result<Made, Refused> {
    let (session, word) = (sent.get("session"), sent.get("word"));
    let proof = StageProof::Word { sid, word };
    let outcome = api.accounts.show_stage(visit.authority(), session, proof, visit.address()).await;
    match outcome.map_err(|error| Refused::Word(told(error)))? {
        StageOutcome::Done => {}
        StageOutcome::Over => return Err(over().into()),
        StageOutcome::Wrong => {
            return Err(Refused::Word(PageError::bad_request(
                "コードが違います。もう一度入力してください。",
                "The code is wrong. Please try again.",
            )));
        }
    }
    let made = register(api, visit, Some(session.to_owned()), Map::new()).await;
    Ok(Made::Account(made.map_err(told)?))
}

async fn register(
    api: &OAuthApi,
    visit: &Visit,
    session: Option<String>,
    request: Map<String, Value>,
) -> Result<OwnedUserId, Error> {
    let (from, agent) = (visit.address(), visit.call.user_agent());
    let asked = Asked { auth: None, session, request, from, agent };
    Ok(api.accounts.register(visit.authority(), asked).await?.user_id)
}

fn over() -> PageError {
    PageError::bad_request(
        "時間がたちすぎました。もう一度入力してください。",
        "This took too long. Please fill in the form again.",
    )
}

fn told(error: Error) -> PageError {
    let refused = |japanese: &str, english: &str| PageError::bad_request(japanese, english);
    match error {
        Error::UserInUse => refused("そのユーザー名は使われています。", "This user name is taken."),
        Error::InvalidUsername(_) => refused(
            "ユーザー名には a-z、0-9、. _ = - / + だけが使えます。",
            "User names are made of a-z, 0-9 and . _ = - / +.",
        ),
        Error::WeakPassword(_) => {
            refused("パスワードが短すぎるか、長すぎます。", "The password is too short or too long.")
        }
        Error::Contact(_) => {
            refused("このメールアドレスは使えません。", "This e-mail address cannot be used.")
        }
        // What was shown in the session does not hold any more: a token was used up, an address is somebody else's.
        Error::Interactive(_) | Error::Forbidden(_) => over(),
        other => other.into(),
    }
}

fn form(visit: &Visit, asks: &Asks<'_>, back: &str, sent: &Form, error: Option<&PageError>) -> Page {
    let say = |japanese, english| visit.say(japanese, english);
    let must_have_email = asks.email == EmailAtRegistration::Required;
    let body = html! {
        (visit.problem(error))
        form.card method="post" action=(SIGN_UP) {
            (visit.proof())
            input type="hidden" name="back" value=(back);
            label for="name" { (say("ユーザー名", "User name")) }
            input id="name" name="name" value=(sent.get("name").trim()) autocomplete="username"
                autocapitalize="none" spellcheck="false" required maxlength="255" aria-describedby="name-rule";
            small id="name-rule" { (say("使える文字：", "Made of: ")) "a-z 0-9 . _ = - / +" }
            label for="password" { (say("パスワード", "Password")) }
            input id="password" name="password" type="password" autocomplete="new-password" required
                maxlength="1024";
            label for="again" { (say("パスワード（もう一度）", "Password, once more")) }
            input id="again" name="again" type="password" autocomplete="new-password" required maxlength="1024";
            @if asks.kind == Registration::Token {
                label for="token" { (say("登録トークン", "Registration token")) }
                input id="token" name="token" value=(sent.get("token")) required maxlength="255"
                    autocomplete="off" autocapitalize="none" spellcheck="false";
            }
            @if asks.email != EmailAtRegistration::Off {
                label for="email" { @match must_have_email {
                    true => (say("メールアドレス", "E-mail address")),
                    false => (say("メールアドレス（任意）", "E-mail address (optional)")),
                } }
                input id="email" name="email" type="email" value=(sent.get("email").trim())
                    autocomplete="email" required[must_have_email] maxlength="254" aria-describedby="email-use";
                small id="email-use" { (say(
                    "確認のコードを送ります。パスワードを忘れたときにも使います。",
                    "A code is sent there. It also helps when you forget your password.",
                )) }
            }
            @if !asks.terms.is_empty() {
                (documents(visit, asks.terms))
                label.check { input type="checkbox" name="terms" value="yes" required;
                    span { (say("上の文書に同意します", "I accept these documents")) } }
            }
            div.actions { button { (title(visit)) } }
        }
        p { a href=(format!("{SIGN_IN}?back={}", Form::escape(back))) {
            (say("アカウントをお持ちの方はサインイン", "I have an account"))
        } }
    };
    Page::new(title(visit), body).status_of(error).again_at(here(back))
}

/// Asks for the word of the mail that was sent. What was given so far is kept in the session alone.
fn ask_for_word(visit: &Visit, session: &str, sid: &str, back: &str, error: Option<&PageError>) -> Page {
    let say = |japanese, english| visit.say(japanese, english);
    let body = html! {
        (visit.problem(error))
        p { (say("メールを送りました。届いたコードを入力してください。",
            "A mail was sent. Please enter the code that it tells.")) }
        form.card method="post" action=(SIGN_UP) {
            (visit.proof())
            input type="hidden" name="back" value=(back);
            input type="hidden" name="session" value=(session);
            input type="hidden" name="sid" value=(sid);
            label for="word" { (say("メールのコード", "Code of the mail")) }
            input.code id="word" name="word" autocomplete="one-time-code" autocapitalize="characters"
                spellcheck="false" required maxlength="255";
            div.actions { button { (say("確認する", "Confirm")) } }
        }
        p { a href=(here(back)) { (say("はじめからやり直す", "Start again")) } }
    };
    let title = say("メールアドレスの確認", "Confirm your address");
    Page::new(title, body).status_of(error).again_at(here(back))
}

fn title(visit: &Visit) -> &'static str {
    visit.say("アカウントを作る", "Make an account")
}

fn here(back: &str) -> String {
    format!("{SIGN_UP}?back={}", Form::escape(back))
}
