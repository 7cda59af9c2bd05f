//! The second step of signing in: what is sent from its pages.

use std::sync::Arc;

use ::account::{Error, NewFactor, SignedIn};
use pages::{Form, Page, PageError, Visit, html};
use web::{ApiError, Open, RawCall, Response};

use super::api::{OAuthApi, SIGN_IN};
use crate::{
    passkeys::{Sent, in_browser, party},
    second_step::{arrive, codes_page, name_of, step, worth_another_try},
};

/// Takes a code, or what a passkey has signed.
pub(crate) async fn show(api: Arc<OAuthApi>, call: RawCall<Open>) -> Result<Response, ApiError> {
    let answer = async |visit: Visit| {
        let form = visit.form()?;
        let back = visit.way_back(form.find("back")).to_owned();
        let (ticket, agent) = (form.get("ticket"), visit.call.user_agent());
        let browser = in_browser(&visit, agent.as_deref());
        let authority = visit.authority();
        let shown: Result<SignedIn, Error> = match Sent::of(&form)? {
            Some(sent) => {
                let party = party(&api.pages, authority).ok_or_else(PageError::not_found)?;
                api.accounts.show_passkey(authority, (&party, ticket), &sent.asserted(), &browser).await
            }
            None => api.accounts.show_code(authority, ticket, form.get("code"), &browser).await,
        };
        match shown {
            Ok(signed_in) => arrive(&api.pages, visit, signed_in, &back).await,
            Err(error) => {
                let error = worth_another_try(error)?;
                match api.accounts.unfinished(authority, ticket, &browser).await {
                    Ok(unfinished) => {
                        Ok(visit.page(step(&api.pages, &visit, &unfinished, &back, Some(&error))))
                    }
                    // It was begun with a passkey alone.
                    Err(Error::Stale) => Ok(visit.page(problem(&visit, &back, &error))),
                    Err(grave) => Err(grave.into()),
                }
            }
        }
    };
    api.pages.answer(call, answer).await
}

fn problem(visit: &Visit, back: &str, error: &PageError) -> Page {
    let again = format!("{SIGN_IN}?back={}", Form::escape(back));
    let body = html! {
        (visit.problem(Some(error)))
        p { a href=(again) { (visit.say("サインイン画面に戻る", "Back to signing in")) } }
    };
    let title = visit.say("サインインできません", "You are not signed in");
    Page::new(title, body).status_of(Some(error)).again_at(again)
}

/// Takes the first code of an app, or a new passkey, and shows the codes for when it is lost.
pub(crate) async fn set_up(api: Arc<OAuthApi>, call: RawCall<Open>) -> Result<Response, ApiError> {
    let answer = async |mut visit: Visit| {
        let form = visit.form()?;
        let back = visit.way_back(form.find("back")).to_owned();
        let (ticket, authority) = (form.get("ticket"), visit.authority().to_owned());
        let agent = visit.call.user_agent();
        let browser = in_browser(&visit, agent.as_deref());
        let (sent, party) = (Sent::of(&form)?, party(&api.pages, &authority));
        let new = match (&sent, &party) {
            (Some(sent), Some(party)) => sent.made(party),
            _ => NewFactor::App { code: form.get("code") },
        };
        let done = match name_of(&visit, &form) {
            Ok(name) => {
                let done = api.accounts.set_up_first(&authority, ticket, (&name, new), &browser).await;
                done.map_err(worth_another_try)
            }
            Err(error) => Err(Ok(error)),
        };
        match done {
            Ok((_, secret, codes)) => {
                visit.begin(&api.pages, secret).await?;
                Ok(visit.page(codes_page(&visit, &codes, &back)))
            }
            Err(error) => {
                let error = error?;
                let unfinished = api.accounts.unfinished(&authority, ticket, &browser).await?;
                Ok(visit.page(step(&api.pages, &visit, &unfinished, &back, Some(&error))))
            }
        }
    };
    api.pages.answer(call, answer).await
}
