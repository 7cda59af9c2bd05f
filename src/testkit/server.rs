//! [`Server`]: a whole server of the net, which can be stopped, crashed and started again.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use base::{ByteSize, CancellationToken, Metrics, Tasks};
use bytes::Bytes;
use federation::{Network, TransportError};
use http::{Request, Response, StatusCode};
use parking_lot::Mutex;
use pdu::{Authorities, Authority};
use room::{AllowAll, Zone};
use ruma::{OwnedServerName, ServerName};
use sanitise::Worker;
use serde_json::Value;
use server::{
    Bounds,
    config::{
        AuthorityConfig, Backend, Config, EmailSetting, FederationConfig, GatewayConfig, LimitsConfig,
        MailConfig, MailSecurity, MediaSettings, OrganisationConfig, PeersSetting, PushSettings,
        Registration, RegistrationMode, Serves, StoreConfig,
    },
    house::{Foundation, House},
    listen::{self, Service},
    storage::{Data, open_store_as_it_is},
    tls::Certificates,
};
use store::Store;
use tempfile::TempDir;
use tokio::sync::watch;

use crate::{
    disk::{Disk, Plug},
    net::Net,
    transport::{Road, ask, refused},
    user::User,
};

/// How long an orderly stop may take.
const STOP_DEADLINE: Duration = Duration::from_secs(10);

/// What is answered to whoever asks in memory.
const ALL: [Serves; 5] =
    [Serves::Client, Serves::AdminApi, Serves::Console, Serves::Federation, Serves::Admin];

/// What stays of a server while it is down.
pub(crate) struct Machine {
    pub(crate) number: usize,
    pub(crate) names: Vec<OwnedServerName>,
    pub(crate) network: Mutex<Option<(u64, Arc<Network>)>>,
    /// The files of media: on the disk that all processes over one back end share.
    files: Arc<TempDir>,
    authorities: Arc<Authorities>,
    /// The registrations of its first authority's application services.
    services: Vec<PathBuf>,
    disk: Arc<Disk>,
    running: Mutex<Option<Running>>,
    up: watch::Sender<bool>,
    /// The zone that other servers' requests come through.
    pub(crate) zone_for_servers: Mutex<Option<Zone>>,
    /// Where it listens, once it did: for users, and for other servers.
    sockets: Mutex<Option<(SocketAddr, SocketAddr)>>,
}

struct Running {
    house: House,
    router: web::Router,
    plug: Arc<Plug>,
    dead: CancellationToken,
}

/// A server. Cheap to clone.
#[derive(Clone)]
pub struct Server {
    pub(crate) net: Net,
    pub(crate) machine: Arc<Machine>,
}

/// How an authority sends mails by a server at this port of this machine.
fn mail_by(name: &ServerName, port: u16) -> MailConfig {
    MailConfig {
        host: "127.0.0.1".to_owned(),
        port: Some(port),
        security: MailSecurity::None,
        user: None,
        password_file: None,
        ca_file: None,
        from: format!("noreply@{name}"),
        from_name: None,
        at_registration: EmailSetting::Optional,
        domains: Vec::new(),
        web_client: Some("https://chat.example/".to_owned()),
        tell_known: false,
        next_hosts: Vec::new(),
    }
}

impl Server {
    /// Its first server name.
    pub fn name(&self) -> &ServerName {
        &self.machine.names[0]
    }

    /// Registers an account at its first authority.
    pub async fn user(&self, localpart: &str) -> User {
        User::register(self, self.name(), localpart).await
    }

    /// Makes a guest of its first authority.
    pub async fn guest(&self) -> User {
        User::register_guest(self, self.name()).await
    }

    /// An application service as its own user, by the token of its registration.
    pub fn service(&self, localpart: &str, token: &str) -> User {
        User::of_service(self, localpart, token)
    }

    /// Registers an account at one of its authorities.
    pub async fn user_of(&self, authority: &str, localpart: &str) -> User {
        let authority = self.machine.names.iter().find(|name| *name == authority);
        User::register(self, authority.expect("one of its authorities"), localpart).await
    }

    /// Whether it runs.
    pub fn is_up(&self) -> bool {
        self.machine.is_up()
    }

    /// Looks into the parts of the running server.
    ///
    /// # Panics
    /// When it is down.
    pub fn look<T>(&self, look: impl FnOnce(&House) -> T) -> T {
        look(&self.machine.running.lock().as_ref().expect("the server is up").house)
    }

    /// Starts it over what is on its disk. Nothing happens if it is up.
    pub async fn start(&self) {
        if self.machine.is_up() {
            return;
        }
        let net = &self.net.0;
        let plug = self.machine.disk.plug_in();
        let config = self.config();
        let metrics = Metrics::new();
        let foundation = Foundation {
            clock: net.clock.clone(),
            random: base::Random::seeded(net.random.u64()),
            core: Tasks::new(&metrics),
            metrics,
            backend: plug.clone(),
            back_up: None,
            authorities: self.machine.authorities.clone(),
            transport: Arc::new(Road { net: Arc::downgrade(net), from: self.machine.number }),
            worker: Worker::new(&net.zones.worker, net.zones.arguments.clone(), Default::default()),
            policy: Arc::new(AllowAll),
            data: Data::MayBegin,
        };
        let house = House::open(&config, foundation).await.expect("the server opens");
        house.start_upkeep();
        let router = house.router(&ALL).expect("routes");
        if net.authority.is_some() {
            self.listen(&config, &house).await;
        }
        *self.machine.running.lock() = Some(Running { house, router, plug, dead: CancellationToken::new() });
        self.machine.up.send_replace(true);
    }

    /// Stops it in order: requests are finished, nothing is lost.
    pub async fn stop(&self) {
        let Some(running) = self.machine.take() else { return };
        running.house.close(STOP_DEADLINE).await;
        running.plug.pull();
    }

    /// Kills it: from this moment nothing of it reaches its disk, and requests under way break.
    pub async fn crash(&self) {
        let Some(running) = self.machine.take() else { return };
        running.plug.pull();
        running.dead.cancel();
        running.house.close(Duration::ZERO).await;
    }

    /// Kills it and starts it again.
    pub async fn crash_and_restart(&self) {
        self.crash().await;
        self.start().await;
    }

    /// Kills it, changes what is stored while nothing else writes, and starts it again.
    ///
    /// # Panics
    /// When its store cannot be opened without it.
    pub async fn crash_and_restart_with(&self, change: impl AsyncFnOnce(&Store)) {
        self.crash().await;
        let metrics = Metrics::new();
        let tasks = Tasks::new(&metrics);
        let plug = self.machine.disk.plug_in();
        let store = open_store_as_it_is(plug.clone(), &tasks, &metrics).await.expect("the store opens");
        change(&store).await;
        store.close().await.expect("the store closes");
        tasks.stop(STOP_DEADLINE).await;
        plug.pull();
        self.start().await;
    }

    /// Fills its disk: nothing more can be written, until there is room again.
    pub fn fill_disk(&self) {
        self.machine.disk.fill(true);
    }

    /// Makes room on its disk and waits until it writes again, which it finds out by itself.
    ///
    /// # Panics
    /// When it does not.
    pub async fn make_room_on_disk(&self) {
        self.machine.disk.fill(false);
        let store = self.look(|house| house.store.clone());
        let writes = async {
            while !store.condition().is_writable() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), writes).await.expect("it writes again");
    }

    /// Whether a replica hears by itself of what the others write. Whatever else it does, it reads.
    ///
    /// # Panics
    /// When it is down.
    pub fn hear_of_others(&self, hears: bool) {
        self.machine.running.lock().as_ref().expect("the server is up").plug.hear(hears);
    }

    /// What it answers to those who supervise it.
    pub async fn health(&self) -> (StatusCode, Value) {
        let request = Request::get("/health").body(Bytes::new()).expect("a request");
        let answer = self.machine.answer(self.name(), request).await.expect("an answer");
        (answer.status(), serde_json::from_slice(answer.body()).unwrap_or_default())
    }

    /// What it answers to a request at one of its authorities, as it comes over a listener.
    ///
    /// # Panics
    /// When it is down.
    pub async fn request(&self, authority: &ServerName, request: Request<Bytes>) -> Response<Bytes> {
        self.machine.answer(authority, request).await.expect("an answer")
    }

    fn config(&self) -> Config {
        let services = |name: &OwnedServerName| match name == self.name() {
            true => self.machine.services.clone(),
            false => Vec::new(),
        };
        let authorities = self.machine.names.iter().map(|name| AuthorityConfig {
            application_services: services(name),
            tls: self.net.0.authority.as_ref().map(|authority| authority.issue(name)),
            registration: Registration {
                mode: RegistrationMode::Open,
                guests: true,
                ..Registration::default()
            },
            scim: self.net.0.sources.clone(),
            organisation: self
                .net
                .0
                .staff_names
                .read()
                .clone()
                .map(|display_name| OrganisationConfig { display_name: Some(display_name) }),
            classes: self.net.0.classes.read().clone(),
            domains: self.net.0.mail_domains.read().clone(),
            mail: self.net.0.mail_port.map(|port| mail_by(name, port)),
            // Where zones are told apart, clients are told where they are.
            client_url: (!self.net.0.zones.of.is_empty()).then(|| format!("http://{name}")),
            ..AuthorityConfig::new(name.clone(), "unused: the key is given".into())
        });
        Config {
            authorities: authorities.collect(),
            store: StoreConfig {
                backend: Backend::Memory,
                memory: ByteSize::mib(32),
                ..StoreConfig::default()
            },
            // Its clock may stand still, and a bucket with it.
            limits: LimitsConfig::off(),
            federation: FederationConfig { peers: PeersSetting::Everybody, ..FederationConfig::default() },
            presence: self.net.0.presence.clone(),
            push: PushSettings { gateway: self.push_gateway(), ..PushSettings::default() },
            zones: self.net.0.zones.of.clone(),
            media: MediaSettings {
                path: Some(self.machine.files.path().to_owned()),
                reserve: ByteSize::mib(1),
                unauthenticated: !self.net.0.zones.of.is_empty(),
                ..MediaSettings::default()
            },
            ..Config::default()
        }
    }

    fn push_gateway(&self) -> Option<GatewayConfig> {
        let apps = self.net.0.push_apps.clone();
        let key_file = self.machine.files.path().join("push.pem");
        (!apps.is_empty()).then_some(GatewayConfig { key_file, subject: None, apps })
    }

    /// Listens for users in a zone (none: in no zone), in plain HTTP, as long as this start of it runs.
    ///
    /// # Panics
    /// When it is down, or has no such zone.
    pub async fn listen_in(&self, zone: Option<&str>) -> SocketAddr {
        let socket = listen::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await.expect("an address");
        let address = socket.local_addr().expect("bound");
        let zone = zone.map(|name| self.config().zone(name).expect("a zone"));
        self.look(|house| {
            let router = house.router(&[Serves::Client, Serves::AdminApi, Serves::Console]).expect("routes");
            let service =
                Service { router, tls: None, default_name: Some(self.name().as_str().into()), zone };
            listen::start(socket, service, Bounds::default(), &house.edges, &Metrics::new());
        });
        address
    }

    /// The directory in which it keeps files of media.
    pub fn files(&self) -> PathBuf {
        self.machine.files.path().join("files")
    }

    /// Has requests of other servers of the net in memory come through a listener in this zone.
    ///
    /// # Panics
    /// When it has no such zone.
    pub fn federate_in(&self, zone: &str) {
        *self.machine.zone_for_servers.lock() = Some(self.config().zone(zone).expect("a zone"));
    }

    /// Listens on the address that it had before, or on one of its own.
    async fn listen(&self, config: &Config, house: &House) {
        let host = u8::try_from(self.machine.number + 2).expect("not so many servers");
        let fresh = SocketAddr::from((Ipv4Addr::new(127, 0, 0, host), 0));
        let (for_users, for_servers) = self.machine.sockets.lock().unwrap_or((fresh, fresh));
        let for_users = listen::bind(for_users).await.expect("an address for users");
        let for_servers = listen::bind(for_servers).await.expect("an address for servers");
        let addresses = (for_users.local_addr().expect("bound"), for_servers.local_addr().expect("bound"));
        *self.machine.sockets.lock() = Some(addresses);
        self.net.0.publish(&self.machine.names, addresses.1);

        let certificates = Certificates::open(config).expect("certificates");
        let service = |serves: &[Serves], tls| Service {
            router: house.router(serves).expect("routes"),
            tls,
            default_name: None,
            zone: None,
        };
        let acceptor = certificates.acceptor().expect("TLS");
        let start = |socket, service| {
            listen::start(socket, service, Bounds::default(), &house.edges, &Metrics::new());
        };
        start(for_users, service(&[Serves::Client, Serves::AdminApi, Serves::Console], None));
        start(for_servers, service(&[Serves::Federation], Some(acceptor)));
    }
}

impl Machine {
    pub(crate) fn new(number: usize, names: &[&str], disk: Arc<Disk>, services: &[String]) -> Self {
        let names: Vec<OwnedServerName> =
            names.iter().map(|name| OwnedServerName::try_from(*name).expect("a server name")).collect();
        let authorities = names.iter().map(|name| {
            // The same key at every start, and in every replica.
            let mut seed = [0; 32];
            let bytes = name.as_bytes();
            seed.iter_mut().zip(bytes.iter().cycle()).for_each(|(seed, byte)| *seed = *byte);
            Authority::new(name.clone(), "testkit", &seed).expect("a key version")
        });
        Self {
            number,
            authorities: Arc::new(Authorities::new(authorities.collect::<Vec<_>>())),
            names,
            network: Mutex::default(),
            services: disk.keep_services(services),
            files: disk.files(),
            disk,
            running: Mutex::default(),
            up: watch::Sender::new(false),
            zone_for_servers: Mutex::default(),
            sockets: Mutex::default(),
        }
    }

    pub(crate) fn is_up(&self) -> bool {
        *self.up.borrow()
    }

    /// Waits until it is up.
    pub(crate) async fn wait_up(&self) {
        self.up.subscribe().wait_for(|up| *up).await.expect("the machine is there");
    }

    /// Where users reach it over the network.
    pub(crate) fn address_for_users(&self) -> Option<SocketAddr> {
        self.sockets.lock().map(|(for_users, _)| for_users)
    }

    fn take(&self) -> Option<Running> {
        self.up.send_replace(false);
        self.running.lock().take()
    }

    /// Answers a request in memory, unless it is down or goes down meanwhile.
    pub(crate) async fn answer(
        &self,
        host: &ServerName,
        request: Request<Bytes>,
    ) -> Result<Response<Bytes>, TransportError> {
        let (router, dead) = {
            let running = self.running.lock();
            let running = running.as_ref().ok_or_else(|| refused("the server is down"))?;
            (running.router.clone(), running.dead.clone())
        };
        match dead.run_until_cancelled(ask(router, host.as_str(), request)).await {
            Some(answer) => answer.map_err(TransportError::Broken),
            None => Err(TransportError::Broken("the server crashed".to_owned())),
        }
    }
}
