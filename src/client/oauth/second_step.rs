//! The second step of signing in: what is sent from its pages.

use std::sync::Arc;

use pages::Visit;
use web::{ApiError, Open, RawCall, Response};

use super::api::OAuthApi;
use crate::second_step::{
    NewApp, arrive, code_page, codes_page, first_app_page, in_browser, name_of, worth_another_try,
};

/// Takes a code.
pub(crate) async fn show_code(api: Arc<OAuthApi>, call: RawCall<Open>) -> Result<Response, ApiError> {
    let answer = async |visit: Visit| {
        let form = visit.form()?;
        let back = visit.way_back(form.find("back")).to_owned();
        let (ticket, recovered) = (form.get("ticket"), form.get("recovered") == "yes");
        let agent = visit.call.user_agent();
        let browser = in_browser(&visit, agent.as_deref());
        match api.accounts.show_code(visit.authority(), ticket, form.get("code"), &browser).await {
            Ok(signed_in) => arrive(&api.pages, visit, signed_in, &back).await,
            Err(error) => {
                let error = worth_another_try(error)?;
                Ok(visit.page(code_page(&visit, (ticket, &back, recovered), Some(&error))))
            }
        }
    };
    api.pages.answer(call, answer).await
}

/// Takes the first code of an app, and shows the codes for when it is lost.
pub(crate) async fn set_up(api: Arc<OAuthApi>, call: RawCall<Open>) -> Result<Response, ApiError> {
    let answer = async |mut visit: Visit| {
        let form = visit.form()?;
        let back = visit.way_back(form.find("back")).to_owned();
        let (ticket, authority) = (form.get("ticket"), visit.authority().to_owned());
        let agent = visit.call.user_agent();
        let browser = in_browser(&visit, agent.as_deref());
        let done = match name_of(&visit, &form) {
            Ok(name) => {
                let named = (name.as_str(), form.get("code"));
                api.accounts.set_up_first_app(&authority, ticket, named, &browser).await.map_err(worth_another_try)
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
                let key = in_browser(&visit, None).key;
                let (user, secret) = api.accounts.secret_of_ticket(&authority, ticket, &key)?;
                let app = NewApp { user: &user, secret: &secret, ticket, name: form.get("name") };
                Ok(visit.page(first_app_page(&visit, &app, &back, Some(&error))))
            }
        }
    };
    api.pages.answer(call, answer).await
}
