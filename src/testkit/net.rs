//! [`Net`]: a small federation.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use base::{Clock, ManualClock, Metrics, Random, Tasks, Timestamp};
use federation::{AddressPolicy, FixedAddress, Network, NetworkConfig, Transport, TransportError, Trust};
use hostile::Hostile;
use intake::Class;
use parking_lot::RwLock;
use ruma::{OwnedServerName, ServerName};
use server::config::{ClassConfig, GatewayAppConfig, PresenceSettings, ScimConfig, ZoneConfig};
use tokio_rustls::TlsAcceptor;

use crate::{
    certificates::CertificateAuthority,
    disk::Disk,
    link::{Link, Links},
    server::{Machine, Server},
    transport::{Outside, refused},
};

/// How requests go from one server to another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wire {
    /// By a call in memory.
    #[default]
    Memory,
    /// Over HTTP and TLS, each server on an address of its own in 127.0.0.0/8. Users speak plain HTTP. Push gateways are
    /// reached at 127.1.0.0/16 alone.
    Tls,
}

/// The zones of all servers, and who takes files apart for them.
#[derive(Clone, Debug, Default)]
pub struct Zones {
    /// What leaves to each, by its name.
    pub of: BTreeMap<String, ZoneConfig>,
    /// The worker's program and what it is told.
    pub worker: PathBuf,
    /// What the worker is told.
    pub arguments: Vec<String>,
}

/// Servers that know of each other, with one clock and one seed of chance.
///
/// The clock runs like the real one, can be put forward, and its calendar can be set. Cheap to clone.
#[derive(Clone)]
pub struct Net(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) clock: Clock,
    pub(crate) random: Random,
    pub(crate) links: Links,
    /// Whether servers tell who is there.
    pub(crate) presence: PresenceSettings,
    /// The apps that the push gateways of servers serve; none: they have no gateway.
    pub(crate) push_apps: Vec<GatewayAppConfig>,
    /// The port of this machine where mails are taken; none: no mails are sent.
    pub(crate) mail_port: Option<u16>,
    /// The identity systems of each authority.
    pub(crate) sources: Vec<ScimConfig>,
    /// What names of people with a post are made of, at servers that start from now on.
    pub(crate) staff_names: RwLock<Option<String>>,
    /// What people of a class may, at servers that start from now on.
    pub(crate) classes: RwLock<BTreeMap<Class, ClassConfig>>,
    /// The domains of mail that authorities name, at servers that start from now on.
    pub(crate) mail_domains: RwLock<Vec<String>>,
    /// What DNS says: the texts of names.
    pub(crate) texts: RwLock<BTreeMap<String, Vec<String>>>,
    pub(crate) authority: Option<CertificateAuthority>,
    pub(crate) zones: Zones,
    hand: ManualClock,
    machines: RwLock<Vec<Arc<Machine>>>,
    hostile: RwLock<BTreeMap<OwnedServerName, Hostile>>,
    /// Where servers listen, and how often that changed.
    addresses: RwLock<(u64, BTreeMap<OwnedServerName, SocketAddr>)>,
    tasks: Tasks,
}

/// The moment at which the clock of a net begins: 2026-04-01 00:00 in Japan.
const START_MS: u64 = 1_774_969_200_000;
/// How often the clock moves.
const TICK: Duration = Duration::from_millis(2);

impl Net {
    /// A federation in memory.
    pub fn new() -> Self {
        Self::with(Wire::Memory, 1)
    }

    /// A federation over this wire, whose chance follows from a seed.
    pub fn with(wire: Wire, seed: u64) -> Self {
        Self::of(wire, seed, PresenceSettings::default(), Zones::default(), Vec::new(), None, Vec::new())
    }

    /// A federation in memory whose servers tell who is there.
    pub fn with_presence() -> Self {
        Self::with_presence_among(PresenceSettings::default().largest_room)
    }

    /// The same, where that is told in rooms of at most so many members.
    pub fn with_presence_among(largest_room: u64) -> Self {
        Self::of(
            Wire::Memory,
            1,
            PresenceSettings { enabled: true, largest_room },
            Zones::default(),
            Vec::new(),
            None,
            Vec::new(),
        )
    }

    /// A federation in memory whose servers have zones, and give files by the old paths as well.
    pub fn with_zones(zones: Zones) -> Self {
        Self::of(Wire::Memory, 1, PresenceSettings::default(), zones, Vec::new(), None, Vec::new())
    }

    /// A federation over [`Wire::Tls`] whose servers have a push gateway for these apps.
    pub fn with_push_gateway(apps: Vec<GatewayAppConfig>) -> Self {
        Self::of(Wire::Tls, 7, PresenceSettings::default(), Zones::default(), apps, None, Vec::new())
    }

    /// A federation in memory whose servers send mails, by a mail server at this port of this machine.
    pub fn with_mail(port: u16) -> Self {
        let presence = PresenceSettings::default();
        Self::of(Wire::Memory, 1, presence, Zones::default(), Vec::new(), Some(port), Vec::new())
    }

    /// A federation in memory whose authorities have these identity systems.
    pub fn with_sources(sources: Vec<ScimConfig>) -> Self {
        let presence = PresenceSettings::default();
        Self::of(Wire::Memory, 1, presence, Zones::default(), Vec::new(), None, sources)
    }

    fn of(
        wire: Wire,
        seed: u64,
        presence: PresenceSettings,
        zones: Zones,
        push_apps: Vec<GatewayAppConfig>,
        mail_port: Option<u16>,
        sources: Vec<ScimConfig>,
    ) -> Self {
        let (clock, hand) = Clock::manual(START_MS);
        let inner = Arc::new(Inner {
            clock,
            random: Random::seeded(seed),
            links: Links::default(),
            presence,
            push_apps,
            mail_port,
            sources,
            staff_names: RwLock::default(),
            classes: RwLock::default(),
            mail_domains: RwLock::default(),
            texts: RwLock::default(),
            zones,
            authority: (wire == Wire::Tls).then(CertificateAuthority::new),
            hand,
            machines: RwLock::default(),
            hostile: RwLock::default(),
            addresses: RwLock::default(),
            tasks: Tasks::new(&Metrics::new()),
        });
        inner.tasks.spawn("testkit clock", run_clock(Arc::downgrade(&inner)));
        Self(inner)
    }

    /// Lets organisations give their people names by a template, or none, at servers that start from now on.
    pub fn name_staff(&self, template: Option<&str>) {
        *self.0.staff_names.write() = template.map(str::to_owned);
    }

    /// Says what people of a class may, at servers that start from now on.
    pub fn say_of_class(&self, class: Class, rights: ClassConfig) {
        self.0.classes.write().insert(class, rights);
    }

    /// Lets authorities name a domain of mail, at servers that start from now on.
    pub fn name_mail_domain(&self, domain: &str) {
        self.0.mail_domains.write().push(domain.to_owned());
    }

    /// Says what texts DNS has of a name.
    pub fn publish(&self, name: &str, texts: &[&str]) {
        self.0.texts.write().insert(name.to_owned(), texts.iter().map(|text| (*text).to_owned()).collect());
    }

    /// Starts a server with one authority.
    pub async fn server(&self, name: &str) -> Server {
        self.process(&[name]).await
    }

    /// Starts a server with several authorities.
    pub async fn process(&self, names: &[&str]) -> Server {
        self.add(names, Arc::new(Disk::default()), &[]).await
    }

    /// Starts a server with one authority that has application services with these registrations.
    pub async fn server_with_services(&self, name: &str, registrations: &[String]) -> Server {
        self.process_with_services(&[name], registrations).await
    }

    /// Starts a server with several authorities, of which the first has application services with these registrations.
    pub async fn process_with_services(&self, names: &[&str], registrations: &[String]) -> Server {
        self.add(names, Arc::new(Disk::default()), registrations).await
    }

    /// Starts several processes of one server over one back end. Requests of others meet the first
    /// one that is up.
    pub async fn replicas(&self, name: &str, count: usize) -> Vec<Server> {
        let disk = Arc::new(Disk::shared());
        let mut replicas = Vec::with_capacity(count);
        for _ in 0..count {
            replicas.push(self.add(&[name], disk.clone(), &[]).await);
        }
        replicas
    }

    async fn add(&self, names: &[&str], disk: Arc<Disk>, services: &[String]) -> Server {
        let machine = {
            let mut machines = self.0.machines.write();
            let machine = Arc::new(Machine::new(machines.len(), names, disk, services));
            machines.push(machine.clone());
            machine
        };
        let server = Server { net: self.clone(), machine };
        server.start().await;
        server
    }

    /// Starts a server that means harm. Over [`Wire::Tls`] its answers are streams on a connection.
    pub async fn hostile(&self, name: &str) -> Hostile {
        let hostile = Hostile::with(name, self.0.clock.clone());
        let name = hostile.name().to_owned();
        let number = {
            let mut all = self.0.hostile.write();
            all.insert(name.clone(), hostile.clone());
            u8::try_from(all.len()).expect("not so many hostile servers")
        };
        if let Some(authority) = &self.0.authority {
            let acceptor = authority.acceptor(&name);
            let address = hostile.listen(Ipv4Addr::new(127, 0, 1, number).into(), Some(acceptor)).await;
            self.0.publish(std::slice::from_ref(&name), address);
        }
        hostile
    }

    /// What a service that is none of ours needs to listen with TLS under this name or address.
    ///
    /// # Panics
    /// When requests do not go over [`Wire::Tls`].
    pub fn acceptor(&self, name: &ServerName) -> TlsAcceptor {
        self.0.authority.as_ref().expect("a net over TLS").acceptor(name)
    }

    /// The way from outside to the servers of this net, past all links: for what a hostile server asks.
    pub fn outside(&self) -> impl Transport + use<> {
        Outside(Arc::downgrade(&self.0))
    }

    /// The link between two servers, both ways.
    pub fn link(&self, one: &Server, other: &Server) -> Link {
        self.0.links.between(one.machine.number, other.machine.number)
    }

    /// Requests from one server to another.
    pub fn way(&self, from: &Server, to: &Server) -> Link {
        self.0.links.way(from.machine.number, to.machine.number)
    }

    /// Lets time pass at once and wakes whoever sleeps until then.
    pub fn advance(&self, duration: Duration) {
        self.0.hand.advance(duration);
    }

    /// Sets the calendar of all servers back, as an administrator would. No time passes.
    pub fn set_back(&self, duration: Duration) {
        self.0.hand.set_back(duration);
    }

    /// Sets the calendar of all servers forward. No time passes.
    pub fn set_forward(&self, duration: Duration) {
        self.0.hand.set_forward(duration);
    }

    /// Now by the calendar of all servers.
    pub fn now(&self) -> Timestamp {
        self.0.clock.now()
    }
}

impl Default for Net {
    fn default() -> Self {
        Self::new()
    }
}

/// Lets the clock run while the net is there.
async fn run_clock(net: Weak<Inner>) {
    let mut last = Instant::now();
    loop {
        tokio::time::sleep(TICK).await;
        let Some(net) = net.upgrade() else { return };
        // Whole milliseconds; the rest stays for the next tick.
        let passed = Duration::from_millis(u64::try_from(last.elapsed().as_millis()).unwrap_or(u64::MAX));
        last += passed;
        net.hand.advance(passed);
    }
}

impl Inner {
    /// The server of this name: a process that is up, if there is one.
    pub(crate) fn find(&self, name: &ServerName) -> Option<Arc<Machine>> {
        let machines = self.machines.read();
        let mut named = machines.iter().filter(|machine| machine.names.iter().any(|own| own == name));
        let first = named.clone().next();
        named.find(|machine| machine.is_up()).or(first).cloned()
    }

    /// The hostile server of this name.
    pub(crate) fn hostile(&self, name: &ServerName) -> Option<Hostile> {
        self.hostile.read().get(name).cloned()
    }

    /// Notes where a server's names are reached.
    pub(crate) fn publish(&self, names: &[OwnedServerName], address: SocketAddr) {
        let mut addresses = self.addresses.write();
        for name in names {
            addresses.1.insert(name.clone(), address);
        }
        addresses.0 += 1;
    }

    /// The network of a server; none if requests go in memory.
    pub(crate) fn network(&self, number: usize) -> Result<Option<Arc<Network>>, TransportError> {
        let Some(authority) = &self.authority else { return Ok(None) };
        let machine = self.machines.read().get(number).cloned().ok_or_else(|| refused("no such server"))?;
        let addresses = self.addresses.read();
        let mut network = machine.network.lock();
        if let Some((made_for, network)) = &*network
            && *made_for == addresses.0
        {
            return Ok(Some(network.clone()));
        }
        let fixed = addresses.1.iter().map(|(name, address)| {
            (name.clone(), FixedAddress { address: address.to_string(), certificate_name: None })
        });
        let config = NetworkConfig {
            fixed: fixed.collect(),
            addresses: AddressPolicy { private: true, ..AddressPolicy::default() },
            gateways: AddressPolicy {
                allow: vec!["127.1.0.0/16".parse().expect("a range")],
                ..AddressPolicy::default()
            },
            ca_files: vec![authority.file()],
            trust: Trust::FilesOnly,
            dns: false,
            ..NetworkConfig::default()
        };
        let made = Arc::new(
            Network::open(&config, &self.clock, &self.random, &Metrics::new()).expect("a network opens"),
        );
        *network = Some((addresses.0, made.clone()));
        Ok(Some(made))
    }
}
