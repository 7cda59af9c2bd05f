//! Pages as a browser sees them, over the store in memory.

#![expect(clippy::unwrap_used, reason = "tests")]

mod visits;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use account::{Accounts, Actor, Config, Credentials, NewUser, PasswordCost};
use base::{Clock, ManualClock, Metrics, Random, Tasks};
use engine::{Engine, NoRemote};
use http::{Request, Response};
use http_body_util::BodyExt;
use pdu::{Authorities, Authority};
use room::AllowAll;
use ruma::{OwnedUserId, ServerName, server_name};
use store::{MemoryBackend, Store};
use tower::ServiceExt;
use web::{ApiError, Body, Faces, Kit, Method, NoSignatures, Open, RawCall, Router, Routes, router};

use crate::{Page, PageError, Pages, Visit, html};

pub(crate) const PASSWORD: &str = "correct horse";

/// A process with some pages of its own.
pub(crate) struct Town {
    router: Router,
    pub(crate) accounts: Accounts,
    pub(crate) hanako: OwnedUserId,
    pub(crate) clock: ManualClock,
    _tasks: Tasks,
}

/// What a browser got.
pub(crate) struct Shown {
    pub(crate) status: u16,
    pub(crate) head: http::HeaderMap,
    pub(crate) text: String,
}

impl Shown {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.head.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The secret that the browser is to keep from now on.
    pub(crate) fn cookie(&self) -> Option<String> {
        let mut set = self.head.get_all("set-cookie").iter().map(|value| value.to_str().unwrap());
        let secret = set.find_map(|value| value.strip_prefix("__Host-yakuba="))?;
        Some(format!("__Host-yakuba={}", secret.split(';').next().unwrap()))
    }

    /// What the forms of this page carry.
    pub(crate) fn proof(&self) -> String {
        let (_, rest) = self.text.split_once(r#"name="proof" value=""#).unwrap();
        rest.split('"').next().unwrap().to_owned()
    }
}

/// A browser of which nothing is known.
fn nowhere() -> account::InBrowser<'static> {
    account::InBrowser { key: [0; 32], from: None, agent: None }
}

fn kanazawa() -> &'static ServerName {
    server_name!("kanazawa.test")
}

/// Shows who is there, and takes a name and a password.
async fn show(pages: Arc<Pages>, call: RawCall<Open>) -> Result<web::Response, ApiError> {
    let answer = async |visit: Visit| {
        let who = visit.browser().map_or("nobody".to_owned(), |browser| browser.user_id.to_string());
        let said = visit.query()?.get("said").to_owned();
        let body = html! { p { "here is " (who) ", " (said) } form method="post" { (visit.proof()) } };
        Ok(visit.page(Page::new(visit.say("試験", "Test"), body)))
    };
    pages.answer(call, answer).await
}

async fn sign_in(pages: Arc<Pages>, call: RawCall<Open>) -> Result<web::Response, ApiError> {
    let answer = async |mut visit: Visit| {
        let form = visit.form()?;
        let (name, password) = (form.get("name").to_owned(), form.get("password").to_owned());
        let credentials = Credentials::NameAndPassword { name, password };
        let signed_in = pages.accounts.sign_in_browser(visit.authority(), &credentials, &nowhere()).await?;
        visit.begin(&pages, signed_in.done().unwrap().1).await?;
        Ok(visit.redirect(visit.way_back(form.find("back"))))
    };
    pages.answer(call, answer).await
}

async fn closed(pages: Arc<Pages>, call: RawCall<Open>) -> Result<web::Response, ApiError> {
    let answer = async |visit: Visit| {
        let who = visit.signed_in()?.user_id.to_string();
        match visit.query()?.find("fail") {
            Some(_) => Err(PageError::from(ApiError::internal("the disk is away"))),
            None => Ok(visit.page(Page::new("x", html! { (who) }).script("done()").form_ends_at("app.x:/y"))),
        }
    };
    pages.answer(call, answer).await
}

impl Town {
    pub(crate) async fn new() -> Town {
        let metrics = Metrics::new();
        let tasks = Tasks::new(&metrics);
        let (clock, hand) = Clock::manual(1_700_000_000_000);
        let random = Random::seeded(5);
        let backend = Arc::new(MemoryBackend::default());
        let store = Store::open(backend, Default::default(), &tasks, &metrics).await.unwrap();
        let names = [kanazawa().to_owned(), server_name!("wajima.test").to_owned()];
        let authority = |name| Authority::generate(name, "1", &mut |seed| random.fill(seed)).unwrap();
        let nobody = Arc::new(NoRemote);
        let engine = Engine::open(engine::Parts {
            store: store.clone(),
            config: engine::Config::default(),
            authorities: Arc::new(Authorities::new(names.clone().map(authority))),
            clock: clock.clone(),
            random: random.clone(),
            policy: Arc::new(AllowAll),
            projections: Vec::new(),
            remote: nobody.clone(),
            keys: nobody,
            tasks: &tasks,
            metrics: &metrics,
        })
        .await
        .unwrap();
        let config = Config { password: PasswordCost::cheapest(), ..Config::default() };
        let accounts = Accounts::open(store, engine, config, clock.clone(), random.clone(), &tasks, &metrics)
            .await
            .unwrap();
        let new = NewUser {
            localpart: "hanako".to_owned(),
            password: Some(PASSWORD.to_owned()),
            ..NewUser::default()
        };
        let hanako = accounts.create_user(kanazawa(), new, &Actor::operator("test")).await.unwrap();
        let base_urls: BTreeMap<_, _> =
            names.iter().map(|name| (name.clone(), format!("https://{name}/"))).collect();
        let pages = Arc::new(Pages::new(accounts.clone(), random.clone(), base_urls));
        let [first, second] = names;
        let faces = Faces::new((first, Vec::new()), [(second, Vec::new())]);
        let tokens = Arc::new(accounts.clone());
        let kit = Kit::new(tokens, Arc::new(NoSignatures), faces, clock, &random, &metrics);
        let routes = Routes::new(pages.clone())
            .raw(Method::GET, "/_yakuba/test", show)
            .raw(Method::POST, "/_yakuba/test", sign_in)
            .raw(Method::GET, "/_yakuba/closed", closed)
            .merge_with(crate::routes(pages));
        let router = router(routes, Arc::new(kit)).unwrap();
        Town { router, accounts, hanako, clock: hand, _tasks: tasks }
    }

    pub(crate) async fn ask(&self, request: Request<Body>) -> Shown {
        let response: Response<Body> = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        Shown { status: parts.status.as_u16(), head: parts.headers, text }
    }

    pub(crate) async fn open(&self, path: &str, headers: &[(&str, &str)]) -> Shown {
        let mut request = Request::builder().uri(path).header("host", "kanazawa.test");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.ask(request.body(Body::empty()).unwrap()).await
    }

    pub(crate) async fn send(&self, path: &str, headers: &[(&str, &str)], form: &str) -> Shown {
        let mut request = Request::builder().method("POST").uri(path).header("host", "kanazawa.test");
        request = request.header("content-type", "application/x-www-form-urlencoded");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.ask(request.body(Body::from(form.to_owned())).unwrap()).await
    }

    /// Signs Hanako in; the cookie of her browser from then on.
    pub(crate) async fn signed_in(&self) -> String {
        let first = self.open("/_yakuba/test", &[]).await;
        let (cookie, proof) = (first.cookie().unwrap(), first.proof());
        let form = format!("proof={proof}&name=hanako&password=correct+horse&back=%2F_yakuba%2Ftest");
        let answer = self.send("/_yakuba/test", &[("cookie", &cookie)], &form).await;
        assert_eq!((answer.status, answer.header("location")), (303, "/_yakuba/test"), "{}", answer.text);
        answer.cookie().unwrap()
    }

    pub(crate) async fn advance(&self, duration: Duration) {
        self.clock.advance(duration);
    }
}

trait MergeWith {
    fn merge_with(self, other: Routes<Pages>) -> Routes<()>;
}

impl MergeWith for Routes<Pages> {
    fn merge_with(self, other: Routes<Pages>) -> Routes<()> {
        self.erase().merge(other)
    }
}
