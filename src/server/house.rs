//! The house: all crates of a process put together over one store.
//!
//! Reading order: [`Foundation`] (what a process stands on, which tests replace), [`House::open`],
//! [`House::router`], [`House::close`].

use std::{sync::Arc, time::Duration};

use account::Accounts;
use admin_api::AdminApi as SynapseApi;
use anyhow::{Context, anyhow};
use appservice::AppServices;
use base::{Clock, Metrics, Random, Tasks};
use cases::{AdoptRoom, ApplyChanges, Cases, GiveDuty, RuleDays, RuleSays};
use classes::Classes;
use client::{ClientApi, MediaApi, MediaConfig, OAuthApi};
use console::Console;
use counter::Counter as StaffCounter;
use domains::Domains;
use duties::Duties;
use encryption::Encryption;
use engine::Engine;
use federation::{Federation, Sender, Transport};
use gateway::Gateway;
use ldap::Ldap;
use mail::Mails;
use media::{Media, Naming};
use oauth::OAuth;
use organisation::Organisations;
use oversight::Oversight;
use pages::Pages;
use pdu::Authorities;
use personnel::Personnel;
use posts::Posts;
use push::{Delivery, DeliveryParts, MailParts, Push};
use room::{AllowAll, Policy};
use rules::Rules;
use sanitise::Worker;
use scim::{Scim, Sources};
use search::{Emptying, Search};
use staff::{NoConsent, Staff};
use store::{Backend, Store};
use sync::Syncs;
use syslog::Forwarder;
use to_device::ToDevice;
use tracing::{error, info, warn};
use upstream::Upstream;
use web::{Kit, Limits, Router, Routes};

use crate::{
    admin::AdminApi,
    by_case::ForCases,
    by_post::{ByPost, TakenNames},
    by_provider::ByProvider,
    by_rule::ByRule,
    causes,
    colleagues::OfStaff,
    config::{Config, Serves},
    elsewhere::Elsewhere,
    health::Desk,
    media::{self as files, Scratch},
    memory, names,
    own_gateway::{self, Counter, OwnFirst},
    peers::Sending,
    providers::Providers,
    services::Services,
    storage::{self, BackUp, Data, Storage},
    texts::tr,
};

/// What a process stands on.
pub struct Foundation {
    /// Time.
    pub clock: Clock,
    /// Chance.
    pub random: Random,
    /// Where everything is counted.
    pub metrics: Metrics,
    /// Who runs the tasks of the store, which end last.
    pub core: Tasks,
    /// The storage.
    pub backend: Arc<dyn Backend>,
    /// How the storage is backed up while it is in use, if it can be.
    pub back_up: Option<BackUp>,
    /// Our server names with their keys.
    pub authorities: Arc<Authorities>,
    /// The way to other servers.
    pub transport: Arc<dyn Transport>,
    /// Who takes files apart that leave to zones.
    pub worker: Worker,
    /// Who may do what.
    pub policy: Arc<dyn Policy>,
    /// Whether the storage may be an empty one.
    pub data: Data,
}

impl Foundation {
    /// The foundation of a real process: this machine's clock, the storage, keys and network that
    /// the configuration names.
    ///
    /// # Errors
    /// Storage that cannot be opened, keys or certificates that cannot be read.
    pub async fn of(config: &Config, data: Data) -> anyhow::Result<Foundation> {
        let (clock, random, metrics) = (Clock::system(), Random::os(), Metrics::new());
        let authorities = config.load_authorities()?;
        let network = config.federation_config()?.network;
        let transport = federation::Network::open(&network, &clock, &random, &metrics)
            .map_err(|error| anyhow!(causes::of_network(&error)))?;
        let core = Tasks::new(&metrics);
        let Storage { backend, back_up, memory } = storage::open(config, &core, data).await?;
        if let Some(memory) = memory {
            metrics.caches().add("store_rocksdb", memory);
        }
        Ok(Foundation {
            clock,
            random,
            metrics,
            core,
            backend,
            back_up,
            authorities: Arc::new(authorities),
            transport: Arc::new(transport),
            worker: worker(),
            policy: Arc::new(AllowAll),
            data,
        })
    }
}

/// Letters of the token of the administrator's commands.
const OPERATOR_TOKEN: usize = 43;

/// The command of this program that a server starts for each file that it sanitises.
pub(crate) const SANITISE_WORKER: &str = "sanitise-worker";

/// This program once more, for each file that is taken apart. By the name that Linux gives a running program, so that an
/// upgrade of the file on the disk changes nothing.
fn worker() -> Worker {
    Worker::new("/proc/self/exe", vec![SANITISE_WORKER.to_owned()], sanitise::Bounds::default())
}

/// All parts of a running process.
pub struct House {
    /// The store.
    pub store: Store,
    /// The rooms, and who writes them.
    pub engine: Engine,
    /// The accounts.
    pub accounts: Accounts,
    /// What is kept for end-to-end encryption.
    pub encryption: Encryption,
    /// The way to other servers and from them.
    pub federation: Federation,
    /// What sends our events to other servers.
    pub sender: Sender,
    /// Messages to devices.
    pub to_device: ToDevice,
    /// `/sync`.
    pub syncs: Arc<Syncs>,
    /// The search in what was said.
    pub search: Search,
    /// What tells push gateways.
    pub delivery: Delivery,
    /// What tells application services.
    pub services: AppServices,
    /// The built-in push gateway, if there is one.
    push_gateway: Option<Arc<Counter>>,
    /// Files of users.
    pub media: Media,
    /// Mails to people.
    pub mails: Mails,
    /// What people do to the organisation of an authority.
    pub personnel: Personnel,
    /// Who does what for an authority besides using it.
    pub duties: Duties,
    /// Rooms that follow from it.
    pub rules: Rules,
    /// Addresses of posts.
    pub posts: Posts,
    /// What needs the consent of others.
    pub cases: Cases,
    /// Their people as users: who finds whom, and what profiles say.
    pub staff: Staff,
    /// What people of a class may.
    pub classes: Classes,
    /// Mail domains of authorities, and the accounts that people there have made for themselves.
    pub domains: Domains,
    /// The directories of authorities, and the accounts that follow them.
    pub ldap: Ldap,
    /// Who sends audit logs to their log servers.
    pub log_servers: Forwarder,
    /// What removes rows of audit logs that were kept long enough.
    pub retirer: Arc<audit::Retirer>,
    /// Metrics of the process.
    pub metrics: Metrics,
    /// The tasks of everything above the store.
    pub edges: Tasks,
    /// The tasks of the store, which end last.
    core: Tasks,
    clock: Clock,
    kit: Arc<Kit>,
    desk: Arc<Desk>,
    client: Arc<ClientApi>,
    client_media: Arc<MediaApi>,
    client_oauth: Arc<OAuthApi>,
    console: Arc<Console>,
    counter: Arc<StaffCounter>,
    /// What identity systems say, where there is one.
    scim: Option<Arc<Scim>>,
    admin: Arc<AdminApi>,
    synapse: Arc<SynapseApi>,
    _scratch: Option<Scratch>,
}

impl House {
    /// Opens the store and puts everything together over it. Nothing listens yet.
    ///
    /// # Errors
    /// Whatever cannot be opened.
    pub async fn open(config: &Config, foundation: Foundation) -> anyhow::Result<House> {
        let (backend, core) = (foundation.backend.clone(), foundation.core.clone());
        let store = storage::open_store(backend, &core, &foundation.metrics).await?;
        let edges = Tasks::new(&foundation.metrics);
        let house = match names::hold(&store, config, foundation.data, &foundation.clock).await {
            Ok(()) => House::over(store.clone(), edges.clone(), config, foundation)
                .await
                .with_context(|| tr!("起動できません", "the server cannot start")),
            Err(error) => Err(error),
        };
        if house.is_err() {
            // What has begun to work must not complain of a store that closes, and the storage's own threads must
            // not outlive a process that ends with the error.
            edges.stop(Duration::from_secs(5)).await;
            if let Err(error) = store.close().await {
                error!(%error, "the store did not close well");
            }
            core.stop(Duration::from_secs(5)).await;
        }
        house
    }

    async fn over(
        store: Store,
        edges: Tasks,
        config: &Config,
        foundation: Foundation,
    ) -> anyhow::Result<House> {
        let Foundation {
            clock,
            random,
            metrics,
            core,
            backend: _,
            back_up,
            authorities,
            transport,
            worker,
            policy,
            data: _,
        } = foundation;
        let faces = config
            .faces()
            .with_context(|| tr!("設定に機関がありません", "the configuration has no authority"))?;

        let classes = Classes::open(classes::Parts {
            store: &store,
            authorities: config.classes(),
            behind: policy,
            clock: clock.clone(),
            tasks: &edges,
            caches: metrics.caches(),
        })
        .await?;
        let policy: Arc<dyn Policy> = Arc::new(classes.clone());
        let federation = Federation::open(federation::Parts {
            config: config.federation_config()?,
            store: store.clone(),
            authorities: authorities.clone(),
            policy: policy.clone(),
            transport,
            clock: clock.clone(),
            random: random.clone(),
            tasks: &edges,
            metrics: &metrics,
        });
        let (for_media, for_staff) = (policy.clone(), policy.clone());
        let engine = Engine::open(engine::Parts {
            store: store.clone(),
            config: config.room_config(),
            authorities: authorities.clone(),
            clock: clock.clone(),
            random: random.clone(),
            policy,
            projections: vec![
                encryption::arrivals(authorities.clone()),
                Arc::new(Emptying),
                Arc::new(Naming),
            ],
            remote: federation.remote(),
            keys: federation.key_source(),
            tasks: &edges,
            metrics: &metrics,
        })
        .await?;
        let accounts = Accounts::open(
            store.clone(),
            engine.clone(),
            config.account_config()?,
            clock.clone(),
            random.clone(),
            &edges,
            &metrics,
        )
        .await?;
        let names: Vec<_> = config.authorities.iter().map(|authority| &*authority.name).collect();
        accounts.note_demands(&names).await?;
        let mails = Mails::open(mail::Parts {
            store: store.clone(),
            carrier: Arc::new(config.smtp()?),
            clock: clock.clone(),
            random: random.clone(),
            tasks: &edges,
            metrics: &metrics,
        });
        accounts.send_mails_by(mails.clone());
        accounts.make_service_users().await?;
        let encryption = Encryption::open(encryption::Parts {
            store: store.clone(),
            rooms: engine.rooms().clone(),
            accounts: accounts.clone(),
            peers: Arc::new(Elsewhere(federation.clone())),
            clock: clock.clone(),
            random: random.clone(),
            tells_names: config.federation.device_names,
            memory: config.encryption_memory(),
            metrics: &metrics,
        });
        audit::follow(&store, &authorities, &clock, &random, &edges);
        memory::start(metrics.caches(), &clock, &edges);
        let to_device = ToDevice::open(to_device::Parts {
            store: store.clone(),
            accounts: accounts.clone(),
            authorities: authorities.clone(),
            contacts: Arc::new(Elsewhere(federation.clone())),
            kept: config.device_messages_kept(),
            memory: config.to_device_memory(),
            clock: clock.clone(),
            random: random.clone(),
            tasks: &edges,
            metrics: &metrics,
        });
        federation.start_telling_lists(engine.rooms(), &encryption);
        let sender = federation.start_sender(engine.rooms(), accounts.presence(), &to_device).await?;
        let push = Push::new(
            engine.rooms().clone(),
            accounts.clone(),
            store.clone(),
            config.push_memory(),
            clock.clone(),
            &metrics,
        );
        let push_gateway = config.push_gateway()?.map(|(settings, key)| {
            let parts = gateway::Parts {
                settings,
                key,
                services: federation.push_services(),
                clock: clock.clone(),
                metrics: &metrics,
            };
            Arc::new(Gateway::new(parts))
        });
        let gateways =
            OwnFirst { own: push_gateway.clone(), hosts: config.own_hosts(), others: federation.gateways() };
        let delivery = Delivery::new(DeliveryParts {
            push: push.clone(),
            gateways: Arc::new(gateways),
            mails: MailParts { mails: mails.clone(), faces: config.mail_faces(), pace: config.mail_pace() },
            clock: clock.clone(),
            random: random.clone(),
            tasks: &edges,
            metrics: &metrics,
        });
        accounts.add_device_ends(push.device_ends());
        let services = AppServices::new(appservice::Parts {
            store: store.clone(),
            rooms: engine.rooms().clone(),
            accounts: accounts.clone(),
            to_device: to_device.clone(),
            encryption: encryption.clone(),
            carrier: Arc::new(
                Services::open(clock.clone()).map_err(|error| anyhow!(causes::of_network(&error)))?,
            ),
            clock: clock.clone(),
            random: random.clone(),
            tasks: &edges,
            metrics: &metrics,
        });
        engine.ask_for_names(services.names());
        let syncs = Syncs::new(
            engine.rooms().clone(),
            accounts.clone(),
            to_device.clone(),
            push.clone(),
            encryption.clone(),
            store.clone(),
            clock.clone(),
            config.sync_memory(),
            &edges,
            &metrics,
        );
        let search = Search::new(engine.rooms().clone(), store.clone(), clock.clone(), &edges, &metrics);
        let pages = Arc::new(Pages::new(accounts.clone(), random.clone(), config.client_config().base_urls));
        let staff = Staff::new(staff::Parts {
            store: store.clone(),
            accounts: accounts.clone(),
            policy: for_staff,
            authorities: config.names_of_staff()?,
            consent: Arc::new(NoConsent),
            clock: clock.clone(),
            tasks: &edges,
            caches: metrics.caches(),
        });
        let client = ClientApi::new(
            accounts.clone(),
            encryption.clone(),
            engine.clone(),
            push.clone(),
            search.clone(),
            services.clone(),
            authorities.clone(),
            clock.clone(),
            Arc::new(Elsewhere(federation.clone())),
            Arc::new(OfStaff(staff.clone())),
            pages.clone(),
            to_device.clone(),
            config.client_config(),
        );
        let personnel = Personnel::new(personnel::Parts {
            store: store.clone(),
            authorities: authorities.iter().map(|authority| authority.name().to_owned()).collect(),
            names: Arc::new(TakenNames(accounts.clone())),
            clock: clock.clone(),
            tasks: &edges,
        });
        let providers = Providers::open(&config.upstream_ca_files(), clock.clone())
            .map_err(|error| anyhow!(causes::of_network(&error)))?;
        let upstream = Upstream::new(
            config.upstream()?,
            Arc::new(providers),
            accounts.attempt_secret(),
            clock.clone(),
            random.clone(),
        )
        .heard_by(Arc::new(ByProvider(personnel.clone())));
        let oauth = OAuth::new(store.clone(), accounts.clone(), clock.clone(), random.clone());
        let for_apps_at = config.client_config().sign_in_pages;
        let client_oauth = OAuthApi::new(
            accounts.clone(),
            oauth,
            pages.clone(),
            upstream,
            config.oauth_authorities(),
            for_apps_at,
        );
        let files::Opened { files, scratch } = files::open(config, &random)?;
        let media = Media::open(media::Parts {
            store: store.clone(),
            files,
            config: config.media_config(),
            authorities: authorities.clone(),
            elsewhere: federation.files(),
            browse: federation.pages(),
            worker,
            policy: for_media,
            clock: clock.clone(),
            random: random.clone(),
            tasks: &edges,
            metrics: &metrics,
        });
        files::claim(&media).await?;
        let shown = MediaConfig { open_downloads: config.media.unauthenticated };
        let limits = Limits::new(|class| config.rate(class), &clock, &metrics);
        let duties = Duties::new(store.clone(), clock.clone(), random.clone());
        let sources = Sources::new(config.scim()?);
        let scim = Scim::new(scim::Parts {
            store: store.clone(),
            accounts: accounts.clone(),
            sources: sources.clone(),
            base_urls: config.client_config().base_urls,
            clock: clock.clone(),
            random: random.clone(),
        });
        let ldap = Ldap::new(ldap::Parts {
            store: store.clone(),
            accounts: accounts.clone(),
            sources: config.ldap()?,
            clock: clock.clone(),
            random: random.clone(),
            tasks: &edges,
            metrics: &metrics,
        });
        let rules = Rules::new(rules::Parts {
            store: store.clone(),
            authorities: authorities.iter().map(|authority| authority.name().to_owned()).collect(),
            rooms: Arc::new(ByRule { engine: engine.clone(), accounts: accounts.clone() }),
            clock: clock.clone(),
            tasks: &edges,
            metrics: &metrics,
        });
        let posts = Posts::new(posts::Parts {
            store: store.clone(),
            authorities: authorities.iter().map(|authority| authority.name().to_owned()).collect(),
            rooms: Arc::new(ByPost { engine: engine.clone(), accounts: accounts.clone() }),
            clock: clock.clone(),
            tasks: &edges,
        });
        let log_servers = Forwarder::new(syslog::Parts {
            store: store.clone(),
            destinations: config.log_servers()?,
            clock: clock.clone(),
            random: random.clone(),
            tasks: &edges,
            metrics: &metrics,
        });
        let years = config.authorities.iter().map(|of| (of.name.clone(), config.audit_years(&of.name)));
        let retirer = Arc::new(audit::Retirer::new(audit::RetirerParts {
            store: store.clone(),
            authorities: authorities.clone(),
            years: years.collect(),
            elsewhere: Arc::new(log_servers.clone()),
            clock: clock.clone(),
        }));
        let for_cases = Arc::new(ForCases {
            engine: engine.clone(),
            accounts: accounts.clone(),
            base_urls: config.client_config().base_urls,
        });
        let cases = Cases::new(cases::Parts {
            store: store.clone(),
            authorities: config.case_authorities(),
            kinds: vec![
                Arc::new(GiveDuty { duties: duties.clone(), people: for_cases.clone() }),
                Arc::new(AdoptRoom { rules: rules.clone(), moderators: for_cases.clone() }),
                Arc::new(ApplyChanges {
                    organisations: Organisations::new(&store),
                    personnel: personnel.clone(),
                    duties: duties.clone(),
                    people: for_cases.clone(),
                    speaks: Arc::new(rules.clone()),
                }),
                Arc::new(RuleDays { rules: rules.clone() }),
                Arc::new(RuleSays { rules: rules.clone(), organisations: Organisations::new(&store) }),
            ],
            people: for_cases.clone(),
            duties: duties.clone(),
            clock: clock.clone(),
            random: random.clone(),
            tasks: &edges,
            caches: metrics.caches(),
        });
        let domains = Domains::new(domains::Parts {
            store: store.clone(),
            accounts: accounts.clone(),
            personnel: personnel.clone(),
            people: for_cases,
            witness: federation.witness(),
            authorities: config.mail_domains(),
            clock: clock.clone(),
            tasks: &edges,
        });
        let counter =
            StaffCounter::new(pages.clone(), accounts.clone(), cases.clone(), classes.clone(), clock.clone());
        let oversight = Oversight::new(oversight::Parts {
            store: store.clone(),
            accounts: accounts.clone(),
            rooms: engine.rooms().clone(),
            peers: Arc::new(Sending(sender.clone())),
            clock: clock.clone(),
        });
        let console = Console::new(console::Parts {
            pages,
            oversight: oversight.clone(),
            rooms: engine.rooms().clone(),
            media: media.clone(),
            mails: mails.clone(),
            random: random.clone(),
            cases: cases.clone(),
            accounts: accounts.clone(),
            personnel: personnel.clone(),
            rules: rules.clone(),
            domains: domains.clone(),
            duties: duties.clone(),
            log_servers: log_servers.clone(),
            retirer: retirer.clone(),
            store: store.clone(),
            clock: clock.clone(),
        });
        let operator = random.token(OPERATOR_TOKEN);
        let kit = Kit::new(
            Arc::new(accounts.clone()),
            federation.signature_check(),
            faces,
            clock.clone(),
            &random,
            &metrics,
        )
        .with_contact(config.contact())
        .with_operator(operator.clone())
        .with_sources(sources.clone())
        .behind(config.proxies()?)
        .with_limits(limits)
        .with_body_bounds(web::BodyBounds::of(config.limits.bodies), &metrics);
        let desk = Desk::new(config, store.clone(), metrics.clone(), edges.shutdown_token());
        let synapse = SynapseApi::new(admin_api::Parts {
            version: crate::VERSION,
            store: store.clone(),
            accounts: accounts.clone(),
            engine: engine.clone(),
            media: media.clone(),
            push,
            oversight,
            clock: clock.clone(),
            random: random.clone(),
            tasks: edges.clone(),
        });
        let admin = AdminApi::new(
            desk.clone(),
            store.clone(),
            accounts.clone(),
            sender.clone(),
            engine.clone(),
            authorities,
            edges.clone(),
            clock.clone(),
            operator,
            back_up,
            media.clone(),
            search.clone(),
            personnel.clone(),
            rules.clone(),
            ldap.clone(),
            duties.clone(),
            log_servers.clone(),
            retirer.clone(),
            cases.clone(),
            classes.clone(),
        );
        Ok(House {
            store,
            engine,
            accounts,
            encryption,
            federation,
            sender,
            to_device,
            syncs: Arc::new(syncs),
            delivery,
            services,
            push_gateway: push_gateway.map(|gateway| Arc::new(Counter::new(gateway, clock.clone()))),
            search,
            metrics,
            edges,
            core,
            clock,
            kit: Arc::new(kit),
            desk,
            client: Arc::new(client),
            client_oauth: Arc::new(client_oauth),
            client_media: Arc::new(MediaApi::new(media.clone(), shown)),
            media,
            mails,
            personnel,
            duties,
            console: Arc::new(console),
            counter: Arc::new(counter),
            cases,
            scim: (!sources.is_empty()).then_some(scim),
            rules,
            staff,
            posts,
            domains,
            classes,
            ldap,
            log_servers,
            retirer,
            admin: Arc::new(admin),
            synapse: Arc::new(synapse),
            _scratch: scratch,
        })
    }

    /// The router of a listener that serves these.
    ///
    /// # Errors
    /// Two handlers for one path: a mistake in the program.
    pub fn router(&self, serves: &[Serves]) -> Result<Router, web::DuplicateRoute> {
        web::router(self.routes(serves), self.kit.clone())
    }

    /// The routes of a listener that serves these; `/health` is always there.
    pub fn routes(&self, serves: &[Serves]) -> Routes<()> {
        let mut routes: Routes<()> = self.desk.health_routes().erase();
        if serves.contains(&Serves::Client) {
            routes = routes
                .merge(client::routes(self.client.clone()))
                .merge(client::media_routes(self.client_media.clone()))
                .merge(client::oauth_routes(self.client_oauth.clone()))
                .merge(sync::http::routes(self.syncs.clone()));
            if let Some(scim) = &self.scim {
                routes = routes.merge(scim::routes(scim.clone()));
            }
        }
        if serves.contains(&Serves::Federation) {
            routes = routes
                .merge(self.federation.routes(
                    &self.engine,
                    &self.accounts,
                    &self.to_device,
                    &self.encryption,
                ))
                .merge(self.federation.media_routes(&self.media));
        }
        if serves.contains(&Serves::Client) || serves.contains(&Serves::Federation) {
            routes = routes.merge(self.desk.well_known_routes());
            if let Some(gateway) = &self.push_gateway {
                routes = routes.merge(own_gateway::routes(gateway));
            }
        }
        if serves.contains(&Serves::AdminApi) {
            routes = routes.merge(admin_api::routes(self.synapse.clone()));
        }
        if serves.contains(&Serves::Console) {
            routes = routes.merge(console::routes(self.console.clone()));
        }
        if serves.contains(&Serves::Console) || serves.contains(&Serves::Counter) {
            routes = routes.merge(counter::routes(self.counter.clone()));
        }
        if serves.contains(&Serves::Admin) {
            routes = routes.merge(self.desk.admin_routes()).merge(self.admin.routes());
        }
        routes
    }

    /// The token that the administrator's commands show to this process.
    pub fn admin_token(&self) -> &str {
        self.admin.token()
    }

    /// Carries out purges of rooms, lists the people in rooms, indexes what is said, sends delayed events, mails and notifications, tells
    /// application services, applies change sets at their hour, has rooms and profiles follow them, reads directories, sends audit logs to log servers and removes what was kept long enough of them, sees to cases, and takes
    /// away what is left over of rooms' states and of uploads. Only who serves does: a command that looks at the data changes nothing else.
    pub fn start_upkeep(&self) {
        self.engine.start_purging(Arc::new(self.sender.clone()), &self.metrics);
        self.engine.start_listing_people(&self.metrics);
        self.search.start_indexing();
        self.engine.start_reclaiming(&self.metrics);
        self.media.start_sweeping();
        self.engine.start_delaying(&self.metrics);
        self.mails.start_sending();
        self.delivery.start();
        self.services.start();
        self.personnel.start();
        self.rules.start(self.personnel.applied());
        self.posts.start(self.personnel.applied());
        self.staff.start(self.personnel.applied());
        self.classes.start(self.personnel.applied());
        self.domains.start(self.personnel.applied());
        self.ldap.start();
        self.log_servers.start();
        audit::retire(&self.retirer, &self.edges);
        self.cases.start(self.personnel.applied());
    }

    /// Trims the log of changes as it grows old. Only who serves does.
    pub fn start_trimming(&self, config: &Config) {
        self.store.start_trimming(config.log_kept(), &self.clock, &self.edges, &self.metrics);
    }

    /// Ends in order: requests are finished and long polls answered, readers write their cursors,
    /// the committer drains, the store closes.
    pub async fn close(self, deadline: Duration) {
        let left = self.edges.stop(deadline).await;
        if left > 0 {
            warn!(count = left, "tasks had to be ended");
        }
        if let Err(error) = self.store.close().await {
            error!(%error, "the store did not close well");
        }
        self.core.stop(Duration::from_secs(5)).await;
        info!("stopped");
    }
}
