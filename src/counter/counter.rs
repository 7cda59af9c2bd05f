//! The state of the pages, where they are, and who comes in.

use std::{fmt, sync::Arc};

use ::account::{Accounts, Browser};
use audit::Actor;
use base::Clock;
use cases::{Answer, By, CaseId, Cases, Order, Shown};
use classes::Classes;
use pages::{Form, PageError, Pages, Visit};
use web::{ApiError, Method, Open, RawCall, Response, StatusCode};

pub(crate) const HOME: &str = "/_yakuba/counter";
pub(crate) const CASES: &str = "/_yakuba/counter/cases";
pub(crate) const CASE: &str = "/_yakuba/counter/cases/{id}";
pub(crate) const AGAIN: &str = "/_yakuba/counter/cases/{id}/again";
pub(crate) const ASK: &str = "/_yakuba/counter/ask";
pub(crate) const ASK_FOR: &str = "/_yakuba/counter/ask/{kind}";
pub(crate) const DEPUTIES: &str = "/_yakuba/counter/deputies";
pub(crate) const RIGHTS: &str = "/_yakuba/counter/rights";

/// Where somebody signs in; the page is the client interface's.
pub(crate) const SIGN_IN: &str = "/_yakuba/sign-in";

/// The state of the pages.
pub struct Counter {
    pub(crate) pages: Arc<Pages>,
    pub(crate) accounts: Accounts,
    pub(crate) cases: Cases,
    pub(crate) classes: Classes,
    pub(crate) clock: Clock,
}

impl fmt::Debug for Counter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Counter").finish_non_exhaustive()
    }
}

impl Counter {
    /// The counter of all authorities of a process.
    pub fn new(
        pages: Arc<Pages>,
        accounts: Accounts,
        cases: Cases,
        classes: Classes,
        clock: Clock,
    ) -> Counter {
        Counter { pages, accounts, cases, classes, clock }
    }

    /// Answers a visit of somebody who is signed in. Who is not is led to where he signs in.
    pub(crate) async fn answer<F>(
        &self,
        call: RawCall<Open>,
        handler: impl FnOnce(Visit, Browser) -> F,
    ) -> Result<Response, ApiError>
    where
        F: Future<Output = Result<Response, PageError>>,
    {
        let answer = async |visit: Visit| {
            if visit.browser().is_none() && visit.call.parts.method == Method::GET {
                return Ok(visit.redirect(&format!("{SIGN_IN}?back={}", Form::escape(visit.here()))));
            }
            let browser = visit.signed_in()?.clone();
            handler(visit, browser).await
        };
        self.pages.answer(call, answer).await
    }

    /// Has an order carried out for whoever is signed in.
    pub(crate) async fn order(
        &self,
        visit: &Visit,
        browser: &Browser,
        order: Order,
    ) -> Result<Answer, PageError> {
        let actor = Actor::user(&browser.user_id, browser.admin, visit.address());
        let by = By::user(&browser.user_id, actor);
        self.cases.carry_out(visit.authority(), order, by).await.map_err(told)
    }

    /// A case that whoever is signed in may see.
    pub(crate) async fn case(
        &self,
        visit: &Visit,
        browser: &Browser,
        id: CaseId,
    ) -> Result<Shown, PageError> {
        case_of(self.order(visit, browser, Order::Case { id }).await?)
    }
}

/// The case of an answer.
pub(crate) fn case_of(answer: Answer) -> Result<Shown, PageError> {
    match answer {
        Answer::Case(shown) => Ok(*shown),
        _ => Err(unexpected()),
    }
}

/// The number of the case that a path names.
pub(crate) fn id(visit: &Visit) -> Result<CaseId, PageError> {
    let text: String = visit.call.args.get(0)?;
    text.parse().map(CaseId).map_err(|_| PageError::not_found())
}

/// The page's error of one of `cases`.
pub(crate) fn told(error: cases::Error) -> PageError {
    let words = error.words();
    let error = ApiError::from(error);
    match words {
        Some(told) => PageError::new(error.status(), told.ja, told.en),
        None => error.into(),
    }
}

/// An answer to what was not asked: a mistake in the program.
pub(crate) fn unexpected() -> PageError {
    PageError::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "サーバーでエラーが起きました。",
        "An error occurred on the server.",
    )
}
