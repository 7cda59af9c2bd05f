//! Two authorities with sources, and requests of these as they come over HTTP.

use std::{collections::BTreeMap, sync::Arc};

use account::{Accounts, Actor, Config, Credentials, LogIn, NewUser, PasswordCost, SessionTokens};
use base::{Clock, ManualClock, Metrics, Random, Tasks};
use engine::{Engine, NoRemote};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt;
use pdu::{Authorities, Authority};
use room::AllowAll;
use ruma::{OwnedServerName, OwnedUserId, ServerName, UserId, server_name};
use serde_json::{Value, json};
use store::{Backend, MemoryBackend, MemoryDisk, Position, Store};
use tower::ServiceExt;
use web::{Body, Faces, Kit, NoSignatures, Router};

use crate::{Parts, Scim, Settings, Sources, TokenHash, routes};

const PASSWORD: &str = "correct horse";
/// The path of everything.
const BASE: &str = "/_yakuba/scim/v2";

pub(super) fn kanazawa() -> &'static ServerName {
    server_name!("kanazawa.test")
}

pub(super) fn wajima() -> &'static ServerName {
    server_name!("wajima.test")
}

pub(super) struct Town {
    pub(super) accounts: Accounts,
    pub(super) store: Store,
    pub(super) clock: ManualClock,
    router: Router,
    _tasks: Tasks,
}

/// An answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Value,
}

impl Answer {
    /// The id of the resource.
    pub(super) fn id(&self) -> String {
        assert!(self.status.is_success(), "{self:?}");
        self.body["id"].as_str().unwrap().to_owned()
    }

    /// Its version.
    pub(super) fn version(&self) -> String {
        self.headers["etag"].to_str().unwrap().to_owned()
    }

    /// That it is an error of this status and word, in the protocol's form.
    pub(super) fn is_error(&self, status: u16, word: &str) -> &Self {
        assert_eq!(self.status.as_u16(), status, "{self:?}");
        assert_eq!(self.headers["content-type"], "application/scim+json");
        assert_eq!(self.body["schemas"], json!(["urn:ietf:params:scim:api:messages:2.0:Error"]));
        assert_eq!(self.body["status"], status.to_string());
        assert_eq!(self.body["scimType"].as_str().unwrap_or_default(), word, "{self:?}");
        assert!(!self.body["detail"].as_str().unwrap().is_empty());
        self
    }
}

pub(super) fn source(name: &str) -> Settings {
    Settings {
        name: name.to_owned(),
        token: TokenHash::of(&format!("token of {name}")),
        localpart: "{userName@}".parse().unwrap(),
        adopts_accounts: false,
        excepted: ["helpdesk".to_owned()].into(),
        emails: true,
        issuer: None,
    }
}

impl Town {
    pub(super) async fn new() -> Self {
        Self::with(vec![source("entra"), source("okta")]).await
    }

    /// A town whose first authority has these sources, and whose second has one.
    pub(super) async fn with(sources: Vec<Settings>) -> Self {
        Self::over(Arc::new(MemoryBackend::open(&MemoryDisk::default())), sources).await
    }

    /// The same over a store of the test's own.
    pub(super) async fn over(backend: Arc<dyn Backend>, sources: Vec<Settings>) -> Self {
        let (metrics, random) = (Metrics::new(), Random::seeded(7));
        let tasks = Tasks::new(&metrics);
        let (clock, manual) = Clock::manual(1_774_969_200_000);
        let store = Store::open(backend, Default::default(), &tasks, &metrics).await.unwrap();
        let authority = |name: &ServerName| {
            Authority::generate(name.to_owned(), "1", &mut |seed| random.fill(seed)).unwrap()
        };
        let nobody = Arc::new(NoRemote);
        let engine = Engine::open(engine::Parts {
            store: store.clone(),
            config: engine::Config::default(),
            authorities: Arc::new(Authorities::new([authority(kanazawa()), authority(wajima())])),
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
        let password = PasswordCost { concurrent: 1, ..PasswordCost::cheapest() };
        let config = Config { password, ..Config::default() };
        let accounts =
            Accounts::open(store.clone(), engine, config, clock.clone(), random.clone(), &tasks, &metrics)
                .await
                .unwrap();
        let all: BTreeMap<OwnedServerName, Vec<Settings>> = BTreeMap::from([
            (kanazawa().to_owned(), sources),
            (wajima().to_owned(), vec![source("keycloak")]),
        ]);
        let sources = Sources::new(all);
        let scim = Scim::new(Parts {
            store: store.clone(),
            accounts: accounts.clone(),
            sources: sources.clone(),
            base_urls: BTreeMap::from([(kanazawa().to_owned(), "https://matrix.kanazawa.test/".to_owned())]),
            clock: clock.clone(),
            random: random.clone(),
        });
        let others = ["wajima.test", "ishikawa.test"].map(|name| (name.try_into().unwrap(), Vec::new()));
        let faces = Faces::new((kanazawa().to_owned(), Vec::new()), others);
        let kit =
            Kit::new(Arc::new(accounts.clone()), Arc::new(NoSignatures), faces, clock, &random, &metrics)
                .with_sources(sources);
        let router = web::router(routes(scim), Arc::new(kit)).unwrap();
        Self { accounts, store, clock: manual, router, _tasks: tasks }
    }

    /// A request of a source, with further headers.
    pub(super) async fn ask_with(
        &self,
        (host, token): (&str, &str),
        (method, path): (Method, &str),
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(format!("{BASE}{path}")).header("host", host);
        if !token.is_empty() {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        for (name, value) in headers {
            request = request.header(*name, value.as_bytes());
        }
        let request = request.body(Body::from(body.to_owned())).unwrap();
        let (parts, body) = self.router.clone().oneshot(request).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let body = serde_json::from_slice(&body).unwrap_or_default();
        Answer { status: parts.status, headers: parts.headers, body }
    }

    /// A request of the first source of the first authority.
    pub(super) async fn ask(&self, method: Method, path: &str, body: Value) -> Answer {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.ask_with(("kanazawa.test", "token of entra"), (method, path), &[], &body).await
    }

    pub(super) async fn get(&self, path: &str) -> Answer {
        self.ask(Method::GET, path, Value::Null).await
    }

    pub(super) async fn post(&self, path: &str, body: Value) -> Answer {
        self.ask(Method::POST, path, body).await
    }

    pub(super) async fn put(&self, path: &str, body: Value) -> Answer {
        self.ask(Method::PUT, path, body).await
    }

    pub(super) async fn patch(&self, path: &str, operations: Value) -> Answer {
        let schema = "urn:ietf:params:scim:api:messages:2.0:PatchOp";
        self.ask(Method::PATCH, path, json!({ "schemas": [schema], "Operations": operations })).await
    }

    pub(super) async fn delete(&self, path: &str) -> Answer {
        self.ask(Method::DELETE, path, Value::Null).await
    }

    /// A user whose source knows nothing of him but a name.
    pub(super) async fn user(&self, name: &str) -> String {
        self.post("/Users", json!({ "userName": name })).await.id()
    }

    /// An account that is there before any source speaks of it.
    pub(super) async fn account(&self, localpart: &str, admin: bool) -> OwnedUserId {
        let new = NewUser {
            localpart: localpart.to_owned(),
            password: Some(PASSWORD.to_owned()),
            admin,
            ..NewUser::default()
        };
        self.accounts.create_user(kanazawa(), new, &Actor::operator("uid 0")).await.unwrap()
    }

    pub(super) async fn log_in(&self, localpart: &str) -> Result<SessionTokens, account::Error> {
        let log_in = LogIn {
            credentials: Credentials::NameAndPassword {
                name: localpart.to_owned(),
                password: PASSWORD.to_owned(),
            },
            device_id: None,
            device_name: None,
            refresh: true,
            from: None,
            agent: None,
        };
        Ok(self.accounts.log_in(kanazawa(), log_in).await?.2)
    }

    /// How often this user was told something by the server's notices.
    pub(super) async fn told(&self, user: &UserId) -> usize {
        let notice = format!("server notice.send {user}");
        self.deeds().await.iter().filter(|deed| **deed == notice).count()
    }

    pub(super) async fn is_locked(&self, user: &UserId) -> bool {
        self.accounts.moderation(user).await.unwrap().locked
    }

    pub(super) async fn shown_name(&self, user: &UserId) -> String {
        self.accounts.profile(user).await.unwrap().display_name().unwrap()
    }

    /// The words of the audit log of the first authority, with whom they are about.
    pub(super) async fn deeds(&self) -> Vec<String> {
        let page =
            audit::list(&self.store, kanazawa(), &audit::Filter::default(), Position::START).await.unwrap();
        let told = |listed: audit::Listed| {
            let record = listed.record.unwrap();
            format!("{} {} {}", record.role, record.what, record.whom)
        };
        page.found.into_iter().map(told).collect()
    }
}
