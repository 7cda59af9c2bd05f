//! An authority whose accounts follow a directory.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use account::{Accounts, Actor, Config, Credentials, LogIn, NewUser, PasswordCost, SessionTokens};
use base::{Clock, ManualClock, Metrics, Random, Tasks};
use engine::{Engine, NoRemote};
use pdu::{Authorities, Authority};
use room::AllowAll;
use ruma::{OwnedUserId, ServerName, UserId, server_name};
use store::{MemoryBackend, MemoryDisk, Position, Store};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto::ring, pki_types::CertificateDer};

use crate::{Answer, Bind, Bounds, Kind, Ldap, Order, Parts, Place, Report, Settings};

const PASSWORD: &str = "correct horse";
/// 2026-04-01 in Japan.
pub(super) const NOW: u64 = 1_774_969_200_000;

pub(super) fn kanazawa() -> &'static ServerName {
    server_name!("kanazawa.test")
}

/// TLS that believes these certificates.
pub(super) fn believing(certificates: &[CertificateDer<'static>]) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    certificates.iter().for_each(|certificate| roots.add(certificate.clone()).unwrap());
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}

/// A source with a directory like Active Directory on this machine.
pub(super) fn source(port: u16) -> Settings {
    Settings {
        name: "ad".to_owned(),
        place: Place::parse(&format!("ldap://127.0.0.1:{port}"), false).unwrap(),
        tls: believing(&[]),
        bind: Some(Bind { dn: "cn=yakuba,dc=city,dc=test".to_owned(), password: "secret".to_owned() }),
        kind: Kind::ActiveDirectory,
        base: "dc=city,dc=test".to_owned(),
        filter: "(objectClass=user)".to_owned(),
        id: "objectGUID".to_owned(),
        localpart: "{sAMAccountName}".parse().unwrap(),
        display_name: "{displayName}".parse().unwrap(),
        email: Some("{mail}".parse().unwrap()),
        identity: None,
        people_group: None,
        administrators_group: None,
        interval: Duration::from_secs(30),
        most_endings_percent: 5,
        adopts_accounts: false,
        excepted: ["helpdesk".to_owned()].into(),
        bounds: Bounds { answering: Duration::from_secs(5), ..Bounds::default() },
    }
}

pub(super) struct Town {
    pub(super) accounts: Accounts,
    pub(super) ldap: Ldap,
    pub(super) store: Store,
    pub(super) clock: ManualClock,
    pub(super) tasks: Tasks,
    pub(super) metrics: Metrics,
}

impl Town {
    pub(super) async fn with(sources: Vec<Settings>) -> Self {
        let (metrics, random) = (Metrics::new(), Random::seeded(7));
        let tasks = Tasks::new(&metrics);
        let (clock, manual) = Clock::manual(NOW);
        let backend = Arc::new(MemoryBackend::open(&MemoryDisk::default()));
        let store = Store::open(backend, Default::default(), &tasks, &metrics).await.unwrap();
        let authority =
            Authority::generate(kanazawa().to_owned(), "1", &mut |seed| random.fill(seed)).unwrap();
        let nobody = Arc::new(NoRemote);
        let engine = Engine::open(engine::Parts {
            store: store.clone(),
            config: engine::Config::default(),
            authorities: Arc::new(Authorities::new([authority])),
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
        let ldap = Ldap::new(Parts {
            store: store.clone(),
            accounts: accounts.clone(),
            sources: BTreeMap::from([(kanazawa().to_owned(), sources)]),
            clock,
            random,
            tasks: &tasks,
            metrics: &metrics,
        });
        Self { accounts, ldap, store, clock: manual, tasks, metrics }
    }

    /// The same town with its sources set otherwise.
    pub(super) fn reopened(self, sources: Vec<Settings>) -> Self {
        let (clock, _) = Clock::manual(NOW);
        let ldap = Ldap::new(Parts {
            store: self.store.clone(),
            accounts: self.accounts.clone(),
            sources: BTreeMap::from([(kanazawa().to_owned(), sources)]),
            clock,
            random: Random::seeded(8),
            tasks: &self.tasks,
            metrics: &self.metrics,
        });
        Self { ldap, ..self }
    }

    pub(super) async fn ask(&self, order: Order) -> Answer {
        self.ldap.carry_out(kanazawa(), order, &Actor::operator("uid 0")).await.unwrap()
    }

    async fn report(&self, order: Order) -> Report {
        match self.ask(order).await {
            Answer::Ran(report) => *report,
            Answer::Status(_) => panic!("no report"),
        }
    }

    /// The directory is read and followed.
    pub(super) async fn run(&self) -> Report {
        self.report(Order::Run { source: None, accept_endings: None }).await
    }

    pub(super) async fn accept(&self, endings: usize) -> Report {
        self.report(Order::Run { source: None, accept_endings: Some(endings) }).await
    }

    pub(super) async fn preview(&self) -> Report {
        self.report(Order::Preview { source: None }).await
    }

    /// An account that is there before any source speaks of it.
    pub(super) async fn account(&self, localpart: &str, admin: bool) -> OwnedUserId {
        let new = NewUser {
            localpart: localpart.to_owned(),
            password: Some(PASSWORD.to_owned()),
            display_name: None,
            admin,
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

    /// Whether the gauge says that the directory of the source that is called `ad` is not followed; nothing before the first run.
    pub(super) fn is_failing(&self) -> Option<bool> {
        let line = format!("yakuba_ldap_failing{{authority=\"{}\",source=\"ad\"}} ", kanazawa());
        let text = self.metrics.render();
        text.lines().find_map(|of| of.strip_prefix(&line)).map(|value| value.trim() != "0")
    }

    pub(super) fn user(&self, localpart: &str) -> OwnedUserId {
        UserId::parse_with_server_name(localpart, kanazawa()).unwrap()
    }

    pub(super) async fn is_there(&self, localpart: &str) -> bool {
        self.accounts.find_user(&self.user(localpart)).await.unwrap().is_some()
    }

    pub(super) async fn is_locked(&self, localpart: &str) -> bool {
        self.accounts.moderation(&self.user(localpart)).await.unwrap().locked
    }

    pub(super) async fn shown_name(&self, localpart: &str) -> String {
        self.accounts.profile(&self.user(localpart)).await.unwrap().display_name().unwrap()
    }

    /// The words of the audit log, with whom they are about.
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

/// What is noted of somebody in a report.
pub(super) fn note<'a>(report: &'a Report, who: &str) -> Option<&'a str> {
    report.notes.iter().find(|note| note.who.contains(who)).map(|note| note.what.en.as_str())
}
