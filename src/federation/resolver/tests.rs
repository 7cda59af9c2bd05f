//! Tables of cases for the six steps, over a made-up DNS and made-up web servers.

#![expect(clippy::unwrap_used, reason = "tests")]

use base::ManualClock;
use http::{HeaderMap, HeaderValue, StatusCode, header::CACHE_CONTROL};
use ruma::owned_server_name;

use super::*;

/// DNS records by name; a name that is not there has none.
#[derive(Default)]
struct FakeDns {
    addresses: HashMap<&'static str, Vec<IpAddr>>,
    services: HashMap<&'static str, Vec<Service>>,
    failing: Vec<&'static str>,
    asked: Arc<Mutex<Vec<String>>>,
}

#[async_trait]
impl Dns for FakeDns {
    async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, DnsError> {
        self.addresses.get(host).cloned().ok_or(DnsError::NoRecords)
    }

    async fn services(&self, name: &str) -> Result<Vec<Service>, DnsError> {
        self.asked.lock().push(name.to_owned());
        if self.failing.contains(&name) {
            return Err(DnsError::Failed("SERVFAIL".to_owned()));
        }
        self.services.get(name).cloned().ok_or(DnsError::NoRecords)
    }
}

type Fetched = Result<FetchedWellKnown, WellKnownError>;

/// Web servers by host; counts how often each is asked.
#[derive(Default)]
struct FakeWeb {
    answers: Mutex<HashMap<&'static str, Fetched>>,
    asked: Mutex<HashMap<String, usize>>,
}

impl FakeWeb {
    fn set(&self, host: &'static str, answer: Fetched) {
        self.answers.lock().insert(host, answer);
    }

    fn asked(&self, host: &str) -> usize {
        self.asked.lock().get(host).copied().unwrap_or(0)
    }
}

#[async_trait]
impl WellKnown for FakeWeb {
    async fn fetch(&self, host: &str) -> Fetched {
        *self.asked.lock().entry(host.to_owned()).or_default() += 1;
        let refused = || Err(WellKnownError("connection refused".to_owned()));
        self.answers.lock().get(host).cloned().unwrap_or_else(refused)
    }
}

fn page(status: u16, body: &str) -> Fetched {
    Ok(FetchedWellKnown {
        status: StatusCode::from_u16(status).unwrap(),
        headers: HeaderMap::new(),
        body: body.as_bytes().to_vec(),
    })
}

fn delegates(to: &str) -> Fetched {
    page(200, &format!(r#"{{"m.server":"{to}"}}"#))
}

fn cached(to: &str, cache_control: &'static str) -> Fetched {
    let mut answer = delegates(to)?;
    answer.headers.insert(CACHE_CONTROL, HeaderValue::from_static(cache_control));
    Ok(answer)
}

struct World {
    resolver: Resolver,
    web: Arc<FakeWeb>,
    clock: ManualClock,
}

fn world(dns: FakeDns, policy: AddressPolicy) -> World {
    let (clock, manual) = Clock::manual(1_800_000_000_000);
    let web = Arc::new(FakeWeb::default());
    let fixed = BTreeMap::from([
        (
            owned_server_name!("fixed.test"),
            FixedAddress { address: "10.0.0.9:443".to_owned(), certificate_name: None },
        ),
        (
            owned_server_name!("named.test:8449"),
            FixedAddress {
                address: "matrix.inside.test".to_owned(),
                certificate_name: Some("*.inside.test".replace('*', "any")),
            },
        ),
    ]);
    let resolver =
        Resolver::new(&fixed, policy, Arc::new(dns), web.clone(), clock, Random::seeded(1)).unwrap();
    World { resolver, web, clock: manual }
}

fn srv(host: &str, port: u16, priority: u16, weight: u16) -> Service {
    Service { priority, weight, host: host.to_owned(), port }
}

fn records() -> FakeDns {
    FakeDns {
        services: HashMap::from([
            (
                "_matrix-fed._tcp.srv.test",
                vec![srv("far.srv.test.", 1, 20, 0), srv("near.srv.test.", 2, 10, 0)],
            ),
            ("_matrix._tcp.srv.test", vec![srv("old.srv.test.", 3, 10, 0)]),
            ("_matrix._tcp.oldsrv.test", vec![srv("old.srv.test.", 3, 10, 0)]),
            ("_matrix-fed._tcp.none.test", vec![srv(".", 0, 0, 0)]),
        ]),
        failing: vec!["_matrix-fed._tcp.broken.test"],
        ..FakeDns::default()
    }
}

/// `host header | certificate | endpoints`, for comparison in one line.
fn line(route: &Route) -> String {
    let certificate = match &route.certificate {
        CertificateName::IpAddress(address) => IpAddr::from(*address).to_string(),
        name => name.to_str().into_owned(),
    };
    let endpoints: Vec<String> =
        route.endpoints.iter().map(|endpoint| format!("{} {}", endpoint.host, endpoint.port)).collect();
    format!("{} | {certificate} | {}", route.host, endpoints.join(", "))
}

#[tokio::test]
async fn each_step_has_its_own_host_header_certificate_and_port() {
    let world = world(records(), AddressPolicy::anywhere());
    world.web.set("ip.test", delegates("10.1.2.3"));
    world.web.set("ip6.test", delegates("[fd00::7]:99"));
    world.web.set("port.test", delegates("matrix.port.test:443"));
    world.web.set("tosrv.test", delegates("srv.test"));
    world.web.set("tooldsrv.test", delegates("oldsrv.test"));
    world.web.set("plain.test", delegates("matrix.plain.test"));
    world.web.set("bad1.test", page(200, "<html>"));
    world.web.set("bad2.test", page(200, r#"{"m.server":"a b"}"#));
    world.web.set("bad3.test", page(500, r#"{"m.server":"a.test"}"#));
    world.web.set("bad4.test", page(404, ""));
    let cases = [
        ("1.2.3.4", "1.2.3.4 | 1.2.3.4 | 1.2.3.4 8448"),
        ("1.2.3.4:5", "1.2.3.4:5 | 1.2.3.4 | 1.2.3.4 5"),
        ("[2001:db8::1]", "[2001:db8::1] | 2001:db8::1 | 2001:db8::1 8448"),
        ("[2001:db8::1]:5", "[2001:db8::1]:5 | 2001:db8::1 | 2001:db8::1 5"),
        ("srv.test:5", "srv.test:5 | srv.test | srv.test 5"),
        ("ip.test", "10.1.2.3 | 10.1.2.3 | 10.1.2.3 8448"),
        ("ip6.test", "[fd00::7]:99 | fd00::7 | fd00::7 99"),
        ("port.test", "matrix.port.test:443 | matrix.port.test | matrix.port.test 443"),
        ("tosrv.test", "srv.test | srv.test | near.srv.test 2, far.srv.test 1"),
        ("tooldsrv.test", "oldsrv.test | oldsrv.test | old.srv.test 3"),
        ("plain.test", "matrix.plain.test | matrix.plain.test | matrix.plain.test 8448"),
        ("srv.test", "srv.test | srv.test | near.srv.test 2, far.srv.test 1"),
        ("oldsrv.test", "oldsrv.test | oldsrv.test | old.srv.test 3"),
        ("none.test", "none.test | none.test | none.test 8448"),
        ("broken.test", "broken.test | broken.test | broken.test 8448"),
        ("bad1.test", "bad1.test | bad1.test | bad1.test 8448"),
        ("bad2.test", "bad2.test | bad2.test | bad2.test 8448"),
        ("bad3.test", "bad3.test | bad3.test | bad3.test 8448"),
        ("bad4.test", "bad4.test | bad4.test | bad4.test 8448"),
        ("fixed.test", "fixed.test | fixed.test | 10.0.0.9 443"),
        ("named.test:8449", "named.test:8449 | any.inside.test | matrix.inside.test 8448"),
    ];
    for (name, expected) in cases {
        let route = world.resolver.route(&ServerName::parse(name).unwrap()).await.unwrap();
        assert_eq!(line(&route), expected, "{name}");
    }
    for unasked in ["1.2.3.4", "fixed.test", "named.test"] {
        assert_eq!(world.web.asked(unasked), 0, "{unasked}");
    }
}

#[tokio::test]
async fn a_delegation_is_remembered_as_long_as_its_headers_say_within_bounds() {
    const HOUR: Duration = Duration::from_secs(3600);
    let cases = [
        (delegates("m.test"), HOUR * 20, HOUR * 24),
        (cached("m.test", "max-age=7200"), Duration::from_secs(6000), HOUR * 2),
        (cached("m.test", "public, max-age=99999999"), HOUR * 42, HOUR * 48),
        (cached("m.test", "no-store"), Duration::from_secs(240), HOUR / 12),
        (cached("m.test", "max-age=1"), Duration::from_secs(240), HOUR / 12),
    ];
    for (answer, still, over) in cases {
        let world = world(FakeDns::default(), AddressPolicy::anywhere());
        world.web.set("a.test", answer.clone());
        let name = owned_server_name!("a.test");
        world.resolver.route(&name).await.unwrap();
        world.clock.advance(still);
        assert_eq!(world.resolver.route(&name).await.unwrap().host, "m.test");
        assert_eq!(world.web.asked("a.test"), 1, "{answer:?}");
        world.clock.advance(over - still);
        world.resolver.route(&name).await.unwrap();
        assert_eq!(world.web.asked("a.test"), 2, "{answer:?}");
    }
}

#[tokio::test]
async fn an_error_is_remembered_for_a_growing_while_of_an_hour_at_most() {
    let world = world(FakeDns::default(), AddressPolicy::anywhere());
    let name = owned_server_name!("a.test");
    world.resolver.route(&name).await.unwrap();
    world.resolver.route(&name).await.unwrap();
    assert_eq!(world.web.asked("a.test"), 1);
    world.clock.advance(Duration::from_secs(60));
    world.resolver.route(&name).await.unwrap();
    assert_eq!(world.web.asked("a.test"), 2);
    for asked in 3..20 {
        world.clock.advance(Duration::from_secs(3600));
        world.resolver.route(&name).await.unwrap();
        assert_eq!(world.web.asked("a.test"), asked);
    }
}

#[tokio::test]
async fn what_a_web_server_said_is_remembered_in_its_time_however_the_calendar_is_set() {
    const HOUR: Duration = Duration::from_secs(3600);
    const YEAR: Duration = HOUR.saturating_mul(365 * 24);
    let cases = [
        (page(503, ""), HOUR / 60),
        (cached("m.test", "no-store"), HOUR / 12),
        (delegates("m.test"), HOUR * 24),
    ];
    for (answer, lifetime) in cases {
        let world = world(FakeDns::default(), AddressPolicy::anywhere());
        world.web.set("a.test", answer.clone());
        let name = owned_server_name!("a.test");
        world.resolver.route(&name).await.unwrap();
        world.clock.set_forward(YEAR);
        world.resolver.route(&name).await.unwrap();
        assert_eq!(world.web.asked("a.test"), 1, "{answer:?}");
        world.clock.set_back(2 * YEAR);
        world.clock.advance(lifetime);
        world.resolver.route(&name).await.unwrap();
        assert_eq!(world.web.asked("a.test"), 2, "{answer:?}");
    }
}

#[tokio::test]
async fn a_web_server_that_fails_for_a_while_does_not_end_its_delegation() {
    const DAY: Duration = Duration::from_secs(24 * 3600);
    let world = world(FakeDns::default(), AddressPolicy::anywhere());
    let name = owned_server_name!("a.test");
    world.web.set("a.test", delegates("m.test"));
    world.resolver.route(&name).await.unwrap();

    world.web.set("a.test", page(503, ""));
    world.clock.advance(DAY);
    assert_eq!(world.resolver.route(&name).await.unwrap().host, "m.test");
    world.clock.advance(DAY);
    assert_eq!(world.resolver.route(&name).await.unwrap().host, "a.test");

    world.web.set("a.test", delegates("m.test"));
    world.clock.advance(DAY);
    assert_eq!(world.resolver.route(&name).await.unwrap().host, "m.test");
    world.web.set("a.test", page(404, ""));
    world.clock.advance(DAY);
    assert_eq!(world.resolver.route(&name).await.unwrap().host, "a.test", "its own word counts at once");
}

#[tokio::test]
async fn many_who_ask_for_one_host_at_once_make_one_request() {
    let world = world(FakeDns::default(), AddressPolicy::anywhere());
    world.web.set("a.test", delegates("m.test"));
    let name = owned_server_name!("a.test");
    let asking = (0..50).map(|_| world.resolver.route(&name));
    for route in futures_util::future::join_all(asking).await {
        assert_eq!(route.unwrap().host, "m.test");
    }
    assert_eq!(world.web.asked("a.test"), 1);
}

#[tokio::test]
async fn a_host_without_services_is_not_asked_for_them_with_every_request() {
    let dns = records();
    let asked = dns.asked.clone();
    let world = world(dns, AddressPolicy::anywhere());
    let (none, broken) = (owned_server_name!("plain.test"), owned_server_name!("broken.test"));
    for _ in 0..3 {
        world.resolver.route(&none).await.unwrap();
        world.resolver.route(&broken).await.unwrap();
    }
    assert_eq!(asked.lock().len(), 4);
    world.clock.advance(UNKNOWN_SERVICES);
    world.resolver.route(&none).await.unwrap();
    world.resolver.route(&broken).await.unwrap();
    assert_eq!(asked.lock().len(), 6, "a DNS that failed is asked again sooner");
    world.clock.advance(NO_SERVICES);
    world.resolver.route(&none).await.unwrap();
    assert_eq!(asked.lock().len(), 8);
}

#[tokio::test]
async fn addresses_that_are_not_permitted_are_not_connected_to() {
    let ip = |text: &str| text.parse::<IpAddr>().unwrap();
    let dns = FakeDns {
        addresses: HashMap::from([
            ("mixed.test", vec![ip("10.0.0.1"), ip("9.9.9.9")]),
            ("inside.test", vec![ip("10.0.0.1"), ip("::1")]),
        ]),
        ..FakeDns::default()
    };
    let world = world(dns, AddressPolicy::default());
    let addresses = async |name: &str| {
        let route = world.resolver.route(&ServerName::parse(name).unwrap()).await.unwrap();
        world.resolver.addresses(&route).await
    };
    let not_permitted = |host: &str| Err(ResolveError::NotPermitted { host: host.to_owned() });
    assert_eq!(addresses("mixed.test").await, Ok(vec!["9.9.9.9:8448".parse().unwrap()]));
    assert_eq!(addresses("inside.test").await, not_permitted("inside.test"));
    assert_eq!(addresses("127.0.0.1:80").await, not_permitted("127.0.0.1"));
    assert_eq!(addresses("[::1]:80").await, not_permitted("::1"));
    assert!(matches!(addresses("nowhere.test").await, Err(ResolveError::NoAddress { .. })));
    // Who writes an address into the configuration means it.
    assert_eq!(addresses("fixed.test").await, Ok(vec!["10.0.0.9:443".parse().unwrap()]));
}

#[test]
fn services_are_ordered_by_priority_and_drawn_by_weight() {
    let random = Random::seeded(7);
    let services = || vec![srv("b", 1, 5, 10), srv("a", 1, 5, 90), srv("first", 1, 1, 0)];
    let mut a_before_b = 0;
    for _ in 0..200 {
        let hosts: Vec<String> =
            order(services(), &random).into_iter().map(|endpoint| endpoint.host).collect();
        assert_eq!(hosts.len(), 3);
        assert_eq!(hosts[0], "first");
        a_before_b += usize::from(hosts[1] == "a");
    }
    assert!((150..200).contains(&a_before_b), "{a_before_b} of 200");
}
