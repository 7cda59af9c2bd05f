//! A server without sockets, and its users.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use account::{
    Accounts, Actor, AppService, Config, NewUser, PasswordCost, PresenceConfig, Registration, Settings,
};
use appservice::{AppServices, NoCarrier};
use async_trait::async_trait;
use base::{ByteSize, Clock, Metrics, Random, Tasks};
use client::{
    ClientApi, Colleagues, Elsewhere, MediaApi, MediaConfig, NoColleagues, NoElsewhere, OAuthApi,
    media_routes, oauth_routes, routes,
};
use encryption::{Encryption, NoPeers};
use engine::{Engine, NoRemote};
use http_body_util::BodyExt;
use mail::{Carrier, Letter, Mails, Refusal};
use media::{Files, FilesConfig, Media};
use oauth::OAuth;
use pages::Pages;
use parking_lot::Mutex;
use pdu::{Authorities, Authority};
use push::Push;
use room::{AllowAll, Policy};
use ruma::{OwnedServerName, UserId, server_name};
use search::{Emptying, Search};
use serde_json::{Value, json};
use store::{MemoryBackend, MemoryDisk, Store};
use tempfile::TempDir;
use to_device::{NoContacts, ToDevice};
use tokio::sync::mpsc;
use tower::ServiceExt;
use upstream::{NoWeb, Upstream};
use web::{Body, Class, Faces, Kit, Limits, Network, NoSignatures, Peer, Proxies, Router, router};

pub(crate) const PASSWORD: &str = "correct horse";
/// Whom a town believes for whom he asks.
const PROXY: &str = "127.0.0.1";

/// A process with two authorities, `hs1` and `hs2`.
pub(crate) struct Town {
    router: Router,
    pub(crate) engine: Engine,
    pub(crate) oauth: OAuth,
    pub(crate) mails: Mails,
    pub(crate) store: Store,
    pub(crate) accounts: Accounts,
    pub(crate) media: Media,
    pub(crate) search: Search,
    pub(crate) directory: TempDir,
    pub(crate) heard: Arc<Heard>,
    letters: Mutex<mpsc::UnboundedReceiver<Letter>>,
    tasks: Tasks,
}

/// Takes all mails, of `hs1` alone.
struct Letterbox(mpsc::UnboundedSender<Letter>);

#[async_trait::async_trait]
impl Carrier for Letterbox {
    fn authorities(&self) -> Vec<String> {
        vec!["hs1".to_owned()]
    }

    fn serves(&self, authority: &str) -> bool {
        authority == "hs1"
    }

    async fn carry(&self, letter: &Letter) -> Result<(), Refusal> {
        self.0.send(letter.clone()).map_err(|_| Refusal::ForNow("nobody reads".to_owned()))
    }
}

/// What a process is to be.
/// What providers have said of people.
#[derive(Default)]
pub(crate) struct Heard(pub(crate) parking_lot::Mutex<Vec<(ruma::OwnedUserId, upstream::Staff)>>);

#[async_trait]
impl upstream::Hears for Heard {
    async fn hear(&self, user: &UserId, staff: &upstream::Staff) {
        self.0.lock().push((user.to_owned(), staff.clone()));
    }
}

struct Wishes {
    elsewhere: Arc<dyn Elsewhere>,
    colleagues: Arc<dyn Colleagues>,
    clock: Clock,
    policy: Arc<dyn Policy>,
    media: media::Config,
    browse: Arc<dyn media::Browse>,
    disk: MemoryDisk,
    shown: MediaConfig,
    limits: bool,
    settings: Settings,
    providers: BTreeMap<OwnedServerName, upstream::Settings>,
    to_providers: Arc<dyn upstream::Web>,
}

impl Default for Wishes {
    fn default() -> Wishes {
        Wishes {
            elsewhere: Arc::new(NoElsewhere),
            colleagues: Arc::new(NoColleagues),
            clock: Clock::system(),
            policy: Arc::new(AllowAll),
            media: media::Config::default(),
            browse: Arc::new(media::NoBrowse),
            disk: MemoryDisk::default(),
            shown: MediaConfig::default(),
            limits: false,
            settings: open_registration(),
            providers: BTreeMap::new(),
            to_providers: Arc::new(NoWeb),
        }
    }
}

/// Everybody may register.
pub(crate) fn open_registration() -> Settings {
    Settings {
        registration: Registration::Open,
        shared_secret: Some("complement".to_owned()),
        account_page: Some("https://hs1/_yakuba/account".to_owned()),
        ..Settings::default()
    }
}

/// An answer: its status, its JSON, and that as it was written.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Value,
    pub(crate) text: String,
    /// In how many parts it came.
    pub(crate) parts: usize,
}

impl Answer {
    #[track_caller]
    pub(crate) fn ok(self) -> Value {
        assert_eq!(self.status, 200, "{}", self.body);
        self.body
    }

    #[track_caller]
    pub(crate) fn fails(self, status: u16, errcode: &str) -> Value {
        assert_eq!((self.status, self.body["errcode"].as_str()), (status, Some(errcode)), "{}", self.body);
        self.body
    }
}

impl Town {
    pub(crate) async fn new() -> Town {
        Town::beside(Arc::new(NoElsewhere)).await
    }

    /// A process that can ask other servers.
    pub(crate) async fn beside(elsewhere: Arc<dyn Elsewhere>) -> Town {
        Town::with(elsewhere, Clock::system(), Arc::new(AllowAll)).await
    }

    /// A process whose time is steered.
    pub(crate) async fn at(clock: Clock) -> Town {
        Town::with(Arc::new(NoElsewhere), clock, Arc::new(AllowAll)).await
    }

    /// A process of which a policy decides who may do what.
    pub(crate) async fn under(policy: Arc<dyn Policy>) -> Town {
        Town::with(Arc::new(NoElsewhere), Clock::system(), policy).await
    }

    /// A process with other bounds on media.
    pub(crate) async fn keeping(media: media::Config, open_downloads: bool) -> Town {
        Town::with_media(
            Arc::new(NoElsewhere),
            Clock::system(),
            Arc::new(AllowAll),
            media,
            MediaConfig { open_downloads },
        )
        .await
    }

    async fn with(elsewhere: Arc<dyn Elsewhere>, clock: Clock, policy: Arc<dyn Policy>) -> Town {
        Town::with_media(elsewhere, clock, policy, media::Config::default(), MediaConfig::default()).await
    }

    async fn with_media(
        elsewhere: Arc<dyn Elsewhere>,
        clock: Clock,
        policy: Arc<dyn Policy>,
        media_config: media::Config,
        media_shown: MediaConfig,
    ) -> Town {
        let (media, shown) = (media_config, media_shown);
        Town::of(Wishes { elsewhere, clock, policy, media, shown, ..Wishes::default() }).await
    }

    /// A process in which somebody knows who works with whom.
    pub(crate) async fn with_colleagues(colleagues: Arc<dyn Colleagues>) -> Town {
        Town::of(Wishes { colleagues, ..Wishes::default() }).await
    }

    /// A process that looks at pages to which users link.
    pub(crate) async fn browsing(browse: Arc<dyn media::Browse>) -> Town {
        let media = media::Config { previews: true, ..media::Config::default() };
        Town::of(Wishes { browse, media, ..Wishes::default() }).await
    }

    /// A process with the limits that a process has when none are set.
    pub(crate) async fn limited(clock: Clock) -> Town {
        Town::of(Wishes { clock, limits: true, ..Wishes::default() }).await
    }

    /// A process with application services of `hs1`, limited as a process is when nothing is set.
    pub(crate) async fn serving(services: Vec<Arc<AppService>>) -> Town {
        Town::serving_at(Clock::system(), services).await
    }

    /// The same, whose time is steered.
    pub(crate) async fn serving_at(clock: Clock, services: Vec<Arc<AppService>>) -> Town {
        let settings = Settings { services, ..open_registration() };
        Town::of(Wishes { clock, settings, limits: true, ..Wishes::default() }).await
    }

    /// A process whose accounts have these settings, and which sends mails to its [`Town::letters`].
    pub(crate) async fn posting(clock: Clock, settings: Settings) -> Town {
        Town::of(Wishes { clock, settings, ..Wishes::default() }).await
    }

    /// A process at whose authorities people sign in at identity providers.
    pub(crate) async fn with_providers(
        clock: Clock,
        settings: Settings,
        providers: BTreeMap<OwnedServerName, upstream::Settings>,
        to_providers: Arc<dyn upstream::Web>,
    ) -> Town {
        Town::of(Wishes { clock, settings, providers, to_providers, ..Wishes::default() }).await
    }

    /// A process of which a policy decides, whose time is steered.
    pub(crate) async fn under_at(clock: Clock, settings: Settings, policy: Arc<dyn Policy>) -> Town {
        Town::of(Wishes { clock, settings, policy, ..Wishes::default() }).await
    }

    /// The same over what another process has stored.
    pub(crate) async fn posting_over(disk: &MemoryDisk, clock: Clock, settings: Settings) -> Town {
        Town::of(Wishes { disk: disk.clone(), clock, settings, ..Wishes::default() }).await
    }

    /// Ends the process.
    pub(crate) async fn stop(self) {
        self.tasks.stop(Duration::ZERO).await;
    }

    async fn of(wishes: Wishes) -> Town {
        let Wishes { elsewhere, clock, policy, browse, disk, limits, settings, providers, .. } = wishes;
        let (media_config, media_shown) = (wishes.media, wishes.shown);
        let with_provider: BTreeSet<OwnedServerName> = BTreeMap::keys(&providers).cloned().collect();
        let metrics = Metrics::new();
        let tasks = Tasks::new(&metrics);
        let random = Random::seeded(11);
        let backend = Arc::new(MemoryBackend::open(&disk));
        let store = Store::open(backend, Default::default(), &tasks, &metrics).await.unwrap();
        let names: [OwnedServerName; 2] = [server_name!("hs1").to_owned(), server_name!("hs2").to_owned()];
        let authority =
            |name: OwnedServerName| Authority::generate(name, "1", &mut |seed| random.fill(seed)).unwrap();
        let authorities = Arc::new(Authorities::new(names.clone().map(authority)));
        let directory = tempfile::tempdir().unwrap();
        let files = FilesConfig {
            directory: directory.path().to_owned(),
            reserve: ByteSize::mib(1),
            synced: false,
            bucket: None,
        };
        let media = Media::open(media::Parts {
            store: store.clone(),
            files: Files::open(files, &random).unwrap(),
            config: media_config,
            authorities: authorities.clone(),
            elsewhere: Arc::new(media::NoElsewhere),
            browse,
            worker: sanitise::Worker::new("unused", Vec::new(), sanitise::Bounds::default()),
            policy: policy.clone(),
            clock: clock.clone(),
            random: random.clone(),
            tasks: &tasks,
            metrics: &metrics,
        });
        let nobody = Arc::new(NoRemote);
        let engine = Engine::open(engine::Parts {
            store: store.clone(),
            config: engine::Config::default(),
            authorities: authorities.clone(),
            clock: clock.clone(),
            random: random.clone(),
            policy,
            projections: vec![Arc::new(Emptying)],
            remote: nobody.clone(),
            keys: nobody,
            tasks: &tasks,
            metrics: &metrics,
        })
        .await
        .unwrap();
        let presence = Some(PresenceConfig { largest_room: 100 });
        let of_first = [(names[0].clone(), settings.clone())].into();
        let others = Settings { services: Vec::new(), ..settings };
        let config = Config {
            password: PasswordCost::cheapest(),
            settings: others,
            authorities: of_first,
            presence,
            ..Config::default()
        };
        let accounts = Accounts::open(
            store.clone(),
            engine.clone(),
            config,
            clock.clone(),
            random.clone(),
            &tasks,
            &metrics,
        )
        .await
        .unwrap();
        accounts.make_service_users().await.unwrap();
        let (send, letters) = mpsc::unbounded_channel();
        let mails = Mails::open(mail::Parts {
            store: store.clone(),
            carrier: Arc::new(Letterbox(send)),
            clock: clock.clone(),
            random: random.clone(),
            tasks: &tasks,
            metrics: &metrics,
        });
        mails.start_sending();
        accounts.send_mails_by(mails.clone());
        let to_device = ToDevice::open(to_device::Parts {
            store: store.clone(),
            accounts: accounts.clone(),
            authorities: authorities.clone(),
            contacts: Arc::new(NoContacts),
            kept: std::time::Duration::from_secs(90 * 24 * 60 * 60),
            memory: base::ByteSize::mib(1),
            clock: clock.clone(),
            random: random.clone(),
            tasks: &tasks,
            metrics: &metrics,
        });
        let (rooms, memory) = (engine.rooms().clone(), base::ByteSize::mib(8));
        let push = Push::new(rooms, accounts.clone(), store.clone(), memory, clock.clone(), &metrics);
        accounts.add_device_ends(push.device_ends());
        let heard = Arc::new(Heard::default());
        // The second authority offers passwords only.
        let base_urls = names.iter().map(|name| (name.clone(), format!("https://{name}"))).collect();
        let oauth = OAuth::new(store.clone(), accounts.clone(), clock.clone(), random.clone());
        let pages = Arc::new(Pages::new(accounts.clone(), random.clone(), base_urls));
        let of_oauth = oauth_routes(Arc::new(OAuthApi::new(
            accounts.clone(),
            oauth.clone(),
            pages.clone(),
            Upstream::new(
                providers,
                wishes.to_providers,
                accounts.attempt_secret(),
                clock.clone(),
                random.clone(),
            )
            .heard_by(heard.clone()),
            [names[0].clone()].into(),
            [names[0].clone()].into(),
        )));

        let search = Search::new(engine.rooms().clone(), store.clone(), clock.clone(), &tasks, &metrics);
        let encryption = Encryption::open(encryption::Parts {
            tells_names: false,
            store: store.clone(),
            rooms: engine.rooms().clone(),
            accounts: accounts.clone(),
            peers: Arc::new(NoPeers),
            clock: clock.clone(),
            random: random.clone(),
            memory: base::ByteSize::mib(1),
            metrics: &metrics,
        });
        let [first, second] = names;
        let faces = Faces::new((first, Vec::new()), [(second, Vec::new())]);
        let kit = Kit::new(
            Arc::new(accounts.clone()),
            Arc::new(NoSignatures),
            faces,
            clock.clone(),
            &random,
            &metrics,
        )
        .behind(Proxies { networks: vec![PROXY.parse::<Network>().unwrap()], ..Proxies::default() });
        let kit = match limits {
            true => kit.with_limits(Limits::new(Class::default_rate, &clock, &metrics)),
            false => kit,
        };
        let services = AppServices::new(appservice::Parts {
            store: store.clone(),
            rooms: engine.rooms().clone(),
            accounts: accounts.clone(),
            to_device: to_device.clone(),
            encryption: encryption.clone(),
            carrier: Arc::new(NoCarrier),
            clock: clock.clone(),
            random: random.clone(),
            tasks: &tasks,
            metrics: &metrics,
        });
        let api = ClientApi::new(
            accounts.clone(),
            encryption,
            engine.clone(),
            push,
            search.clone(),
            services,
            authorities,
            clock,
            elsewhere,
            wishes.colleagues,
            pages,
            to_device,
            client::Config {
                support: [(server_name!("hs1").to_owned(), support())].into(),
                sign_in_pages: [server_name!("hs1").to_owned()].into(),
                providers: with_provider,
                ..client::Config::default()
            },
        );
        let of_media = media_routes(Arc::new(MediaApi::new(media.clone(), media_shown)));
        let all = routes(Arc::new(api)).erase().merge(of_media).merge(of_oauth);
        let router = router(all, Arc::new(kit)).unwrap();
        let letters = Mutex::new(letters);
        Town {
            router,
            engine,
            oauth,
            mails,
            store,
            accounts,
            media,
            search,
            directory,
            heard,
            letters,
            tasks,
        }
    }

    pub(crate) async fn raw(
        &self,
        host: &str,
        method: &str,
        path: &str,
        token: Option<&str>,
        body: Vec<u8>,
    ) -> Answer {
        let mut request = web_request(host, method, path);
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        self.answer(request.body(Body::from(body)).unwrap()).await
    }

    /// The answer to a request as it comes.
    pub(crate) async fn respond(&self, request: http::Request<Body>) -> http::Response<Body> {
        self.router.clone().oneshot(request).await.unwrap()
    }

    pub(crate) async fn answer(&self, request: http::Request<Body>) -> Answer {
        let response = self.respond(request).await;
        let status = response.status().as_u16();
        let (mut body, mut bytes, mut parts) = (response.into_body(), Vec::new(), 0);
        while let Some(frame) = body.frame().await {
            bytes.extend_from_slice(&frame.unwrap().into_data().unwrap());
            parts += 1;
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        Answer { status, body: serde_json::from_str(&text).unwrap_or(Value::Null), text, parts }
    }

    /// The next mail that is sent.
    #[expect(clippy::await_holding_lock, reason = "each town has one reader")]
    pub(crate) async fn letter(&self) -> Letter {
        self.letters.lock().recv().await.unwrap()
    }

    /// From now on no mail is taken, and all wait.
    pub(crate) fn close_letterbox(&self) {
        self.letters.lock().close();
    }

    /// Whether no mail was sent that nobody has read.
    pub(crate) fn has_no_letter(&self) -> bool {
        self.letters.lock().try_recv().is_err()
    }

    /// A request without a token, to `hs1`.
    pub(crate) async fn ask(&self, method: &str, path: &str, body: Value) -> Answer {
        self.raw("hs1", method, path, None, bytes(&body)).await
    }

    /// The same from an address, as the proxy passes it on.
    pub(crate) async fn ask_from(&self, address: &str, method: &str, path: &str, body: Value) -> Answer {
        let mut request = web_request("hs1", method, path).body(Body::from(bytes(&body))).unwrap();
        pass_on(&mut request, Some(address));
        self.answer(request).await
    }

    pub(crate) async fn user(&self, name: &str) -> Person<'_> {
        self.user_at("hs1", name).await
    }

    pub(crate) async fn user_at(&self, host: &'static str, name: &str) -> Person<'_> {
        let body = json!({ "auth": { "type": "m.login.dummy" }, "username": name, "password": PASSWORD });
        let body = self.raw(host, "POST", "/_matrix/client/v3/register", None, bytes(&body)).await.ok();
        self.person(host, &body)
    }

    /// A user of `hs1` whom an administrator has made, which counts for no limit but that of logging in.
    pub(crate) async fn account(&self, name: &str) -> Person<'_> {
        let password = Some(PASSWORD.to_owned());
        let new = NewUser { localpart: name.to_owned(), password, display_name: None, admin: false };
        self.accounts.create_user(server_name!("hs1"), new, &Actor::operator("test")).await.unwrap();
        let login = json!({ "type": "m.login.password", "user": name, "password": PASSWORD });
        let session = self.ask("POST", "/_matrix/client/v3/login", login).await.ok();
        self.person("hs1", &session)
    }

    /// Somebody who administers `hs1`.
    pub(crate) async fn admin(&self, name: &str) -> Person<'_> {
        let password = Some(PASSWORD.to_owned());
        let new = NewUser { localpart: name.to_owned(), password, display_name: None, admin: true };
        self.accounts.create_user(server_name!("hs1"), new, &Actor::operator("test")).await.unwrap();
        let login = json!({ "type": "m.login.password", "user": name, "password": PASSWORD });
        let session = self.ask("POST", "/_matrix/client/v3/login", login).await.ok();
        self.person("hs1", &session)
    }

    /// Closes an account, as its owner or an administrator does.
    pub(crate) async fn close(&self, user: &ruma::UserId) {
        self.accounts.close_account(user, &Actor::operator("test")).await.unwrap();
    }

    pub(crate) fn person(&self, host: &'static str, session: &Value) -> Person<'_> {
        let text = |key: &str| session[key].as_str().unwrap().to_owned();
        Person {
            town: self,
            host,
            id: text("user_id"),
            token: text("access_token"),
            device: text("device_id"),
        }
    }
}

/// Has a request come from an address, if there is one, as the proxy passes it on.
pub(crate) fn pass_on(request: &mut http::Request<Body>, from: Option<&str>) {
    let Some(from) = from else { return };
    request.headers_mut().insert("x-forwarded-for", from.parse().unwrap());
    request.extensions_mut().insert(Peer(format!("{PROXY}:1").parse().unwrap()));
}

fn support() -> client::Support {
    let contact = client::Contact {
        role: "m.role.admin".to_owned(),
        matrix_id: Some("@helpdesk:hs1".try_into().unwrap()),
        email_address: Some("helpdesk@hs1.example".to_owned()),
    };
    client::Support { contacts: vec![contact], support_page: Some("https://hs1.example/help".to_owned()) }
}

fn web_request(host: &str, method: &str, path: &str) -> http::request::Builder {
    http::Request::builder().method(method).uri(path).header("host", host)
}

fn bytes(body: &Value) -> Vec<u8> {
    if body.is_null() { Vec::new() } else { body.to_string().into_bytes() }
}

/// A user with a session.
pub(crate) struct Person<'a> {
    town: &'a Town,
    pub(crate) host: &'static str,
    pub(crate) id: String,
    pub(crate) token: String,
    pub(crate) device: String,
}

impl Person<'_> {
    /// A request from an address, as the proxy passes it on.
    pub(crate) async fn get_from(&self, address: &str, path: &str) -> Answer {
        let request = web_request(self.host, "GET", &format!("/_matrix/client/v3{path}"));
        let request = request.header("authorization", format!("Bearer {}", self.token));
        let mut request = request.body(Body::empty()).unwrap();
        pass_on(&mut request, Some(address));
        self.town.answer(request).await
    }

    /// A request under `/_matrix/client/v3`, or under `/_matrix` when the path begins so.
    pub(crate) async fn ask(&self, method: &str, path: &str, body: Value) -> Answer {
        self.send(method, path, bytes(&body)).await
    }

    pub(crate) async fn send(&self, method: &str, path: &str, body: Vec<u8>) -> Answer {
        let path = if path.starts_with("/_") { path.to_owned() } else { format!("/_matrix/client/v3{path}") };
        self.town.raw(self.host, method, &path, Some(&self.token), body).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, Value::Null).await
    }

    pub(crate) async fn put(&self, path: &str, body: Value) -> Answer {
        self.ask("PUT", path, body).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.ask("POST", path, body).await
    }

    pub(crate) async fn create_room(&self, wishes: Value) -> String {
        self.post("/createRoom", wishes).await.ok()["room_id"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn say(&self, room: &str, txn: &str, text: &str) -> String {
        let body = json!({ "msgtype": "m.text", "body": text });
        let answer = self.put(&format!("/rooms/{room}/send/m.room.message/{txn}"), body).await.ok();
        answer["event_id"].as_str().unwrap().to_owned()
    }

    /// The password stage of user-interactive authentication.
    pub(crate) fn proof(&self, password: &str) -> Value {
        json!({
            "type": "m.login.password",
            "identifier": { "type": "m.id.user", "user": self.id },
            "password": password,
        })
    }
}
