//! A server without sockets, and its users.

use std::sync::Arc;

use account::{Accounts, Actor, Config, NewUser, PasswordCost, PresenceConfig, Registration, Settings};
use base::{ByteSize, Clock, Metrics, Random, Tasks};
use client::{
    ClientApi, Elsewhere, MediaApi, MediaConfig, NoElsewhere, OAuthApi, media_routes, oauth_routes, routes,
};
use encryption::{Encryption, NoPeers};
use engine::{Engine, NoRemote};
use http_body_util::BodyExt;
use media::{Files, FilesConfig, Media};
use oauth::OAuth;
use pages::Pages;
use pdu::{Authorities, Authority};
use push::Push;
use room::{AllowAll, Policy};
use ruma::{OwnedServerName, server_name};
use search::{Emptying, Search};
use serde_json::{Value, json};
use store::{MemoryBackend, Store};
use tempfile::TempDir;
use to_device::{NoContacts, ToDevice};
use tower::ServiceExt;
use web::{Body, Faces, Kit, Network, NoSignatures, Peer, Proxies, Router, router};

pub(crate) const PASSWORD: &str = "correct horse";
/// Whom a town believes for whom he asks.
const PROXY: &str = "127.0.0.1";

/// A process with two authorities, `hs1` and `hs2`.
pub(crate) struct Town {
    router: Router,
    pub(crate) engine: Engine,
    accounts: Accounts,
    pub(crate) media: Media,
    pub(crate) search: Search,
    pub(crate) directory: TempDir,
    _tasks: Tasks,
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
        let metrics = Metrics::new();
        let tasks = Tasks::new(&metrics);
        let random = Random::seeded(11);
        let backend = Arc::new(MemoryBackend::default());
        let store = Store::open(backend, Default::default(), &tasks, &metrics).await.unwrap();
        let names: [OwnedServerName; 2] = [server_name!("hs1").to_owned(), server_name!("hs2").to_owned()];
        let authority =
            |name: OwnedServerName| Authority::generate(name, "1", &mut |seed| random.fill(seed)).unwrap();
        let authorities = Arc::new(Authorities::new(names.clone().map(authority)));
        let directory = tempfile::tempdir().unwrap();
        let files =
            FilesConfig { directory: directory.path().to_owned(), reserve: ByteSize::mib(1), synced: false };
        let media = Media::open(media::Parts {
            store: store.clone(),
            files: Files::open(files, &random).unwrap(),
            config: media_config,
            authorities: authorities.clone(),
            elsewhere: Arc::new(media::NoElsewhere),
            browse: Arc::new(media::NoBrowse),
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
        let settings = Settings {
            registration: Registration::Open,
            shared_secret: Some("complement".to_owned()),
            account_page: Some("https://hs1/_yakuba/account".to_owned()),
            ..Settings::default()
        };
        let presence = Some(PresenceConfig { largest_room: 100 });
        let config = Config { password: PasswordCost::cheapest(), settings, presence, ..Config::default() };
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
        let push = Push::new(rooms, accounts.clone(), store.clone(), memory, &metrics);
        accounts.add_device_ends(push.device_ends());
        // The second authority offers passwords only.
        let base_urls = names.iter().map(|name| (name.clone(), format!("https://{name}"))).collect();
        let of_oauth = oauth_routes(Arc::new(OAuthApi::new(
            accounts.clone(),
            OAuth::new(store.clone(), accounts.clone(), clock.clone(), random.clone()),
            Arc::new(Pages::new(accounts.clone(), random.clone(), base_urls)),
            [names[0].clone()].into(),
        )));
        let search = Search::new(engine.rooms().clone(), store.clone(), clock.clone(), &tasks, &metrics);
        let encryption = Encryption::open(encryption::Parts {
            tells_names: false,
            store,
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
        let api = ClientApi::new(
            accounts.clone(),
            encryption,
            engine.clone(),
            push,
            search.clone(),
            authorities,
            clock,
            elsewhere,
            to_device,
            client::Config::default(),
        );
        let of_media = media_routes(Arc::new(MediaApi::new(media.clone(), media_shown)));
        let all = routes(Arc::new(api)).erase().merge(of_media).merge(of_oauth);
        let router = router(all, Arc::new(kit)).unwrap();
        Town { router, engine, accounts, media, search, directory, _tasks: tasks }
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

    /// A request without a token, to `hs1`.
    pub(crate) async fn ask(&self, method: &str, path: &str, body: Value) -> Answer {
        self.raw("hs1", method, path, None, bytes(&body)).await
    }

    /// The same from an address, as the proxy passes it on.
    pub(crate) async fn ask_from(&self, address: &str, method: &str, path: &str, body: Value) -> Answer {
        let request = web_request("hs1", method, path).header("x-forwarded-for", address);
        let mut request = request.body(Body::from(bytes(&body))).unwrap();
        request.extensions_mut().insert(Peer(format!("{PROXY}:1").parse().unwrap()));
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

    /// Somebody who administers `hs1`.
    pub(crate) async fn admin(&self, name: &str) -> Person<'_> {
        let password = Some(PASSWORD.to_owned());
        let new = NewUser { localpart: name.to_owned(), password, display_name: None, admin: true };
        self.accounts.create_user(server_name!("hs1"), new, &Actor::operator("test")).await.unwrap();
        let login = json!({ "type": "m.login.password", "user": name, "password": PASSWORD });
        let session = self.ask("POST", "/_matrix/client/v3/login", login).await.ok();
        self.person("hs1", &session)
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
