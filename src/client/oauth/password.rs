//! The page where users choose another password.

use ::account::{Browser, Error, SignedIn};
use pages::{Form, Page, PageError, Visit, html};
use web::Response;

use super::{
    account_parts::{PASSWORD, others, worth_another_try},
    api::{ACCOUNT, OAuthApi},
};
use crate::{passkeys::in_browser, second_step::arrive};

/// How the page is asked for.
pub(super) const ACTION: &str = "password";

/// Asks for the old password and for another.
pub(super) async fn page(
    api: &OAuthApi,
    visit: &Visit,
    browser: &Browser,
    error: Option<&PageError>,
) -> Result<Page, PageError> {
    let say = |japanese, english| visit.say(japanese, english);
    let title = say("パスワードの変更", "Change the password");
    if !api.accounts.has_password(&browser.user_id).await? {
        let text = say("このアカウントにはパスワードがありません。", "This account has no password.");
        return Ok(Page::new(title, html! { p { (text) } (others(visit)) }));
    }
    let body = html! {
        (visit.problem(error))
        form.card method="post" action=(ACCOUNT) {
            (visit.proof())
            dl { dt { (say("アカウント", "Account")) } dd.id { (browser.user_id) } }
            label for="password" { (say("今のパスワード", "Your password now")) }
            input id="password" name="password" type="password" autocomplete="current-password" required
                maxlength="1024";
            label for="new_password" { (say("新しいパスワード", "Your new password")) }
            input id="new_password" name="new_password" type="password" autocomplete="new-password" required
                maxlength="1024";
            label for="again" { (say("新しいパスワード（もう一度）", "Your new password, once more")) }
            input id="again" name="again" type="password" autocomplete="new-password" required maxlength="1024";
            label.check { input type="checkbox" name="sign_out" value="yes";
                span { (say("すべての端末をサインアウトさせる", "Sign out all devices")) } }
            p.note { (say(
                "ほかの人に知られたおそれがあるときは、すべての端末をサインアウトさせてください。",
                "If somebody else may know your password, sign out all devices.",
            )) }
            div.actions { button name="do" value="password" { (say("変更する", "Change it")) } }
        }
        (others(visit))
    };
    Ok(Page::new(title, body).status_of(error).again_at(format!("{ACCOUNT}{PASSWORD}")))
}

/// Takes them. Whoever knows the new password goes on in this browser; all others are signed out.
pub(super) async fn change(
    api: &OAuthApi,
    mut visit: Visit,
    browser: &Browser,
    form: &Form,
) -> Result<Response, PageError> {
    let (from, new) = (visit.address(), form.get("new_password"));
    let done = match new == form.get("again") {
        true => {
            let (old, sign_out) = (form.get("password"), form.get("sign_out") == "yes");
            api.accounts.change_own_password(browser, old, new, sign_out, from).await.map_err(told)
        }
        false => Err(PageError::bad_request("二つのパスワードが一致しません。", "The two passwords differ.")),
    };
    let stamp = match done {
        Ok(stamp) => stamp,
        Err(error) if error.status().is_server_error() => return Err(error),
        Err(error) => {
            let page = page(api, &visit, browser, Some(&error)).await?;
            return Ok(visit.page(page));
        }
    };
    let agent = visit.call.user_agent();
    let way = in_browser(&visit, agent.as_deref());
    match api.accounts.renew_browser((browser, stamp), "password", &way).await? {
        SignedIn::Done(_, secret) => visit.begin(&api.pages, secret).await?,
        unfinished @ SignedIn::Unfinished(_) => return arrive(&api.pages, visit, unfinished, ACCOUNT).await,
    }
    let text = visit.say("パスワードを変更しました。", "Your password is changed.");
    let title = visit.say("変更しました", "Changed");
    let body = html! { p role="status" { (text) } (others(&visit)) };
    Ok(visit.page(Page::new(title, body).again_at(ACCOUNT.to_owned())))
}

fn told(error: Error) -> PageError {
    match error {
        Error::WeakPassword(_) => PageError::bad_request(
            "新しいパスワードが短すぎるか、長すぎます。",
            "The new password is too short or too long.",
        ),
        other => worth_another_try(other).unwrap_or_else(|grave| grave),
    }
}
