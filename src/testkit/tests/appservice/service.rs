//! An application service for tests: it records what it is told, and answers as it is told to.

use std::{sync::Arc, time::Duration};

use http::Method;
use parking_lot::Mutex;
use ruma::OwnedRoomId;
use serde_json::Value;
use testkit::{Net, Preset, Server, User};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{Notify, watch},
    task::JoinHandle,
};

/// In real time: what takes longer will not come.
const PATIENCE: Duration = Duration::from_secs(120);

/// Time for what time had to pass for.
const MOMENT: Duration = Duration::from_millis(500);

const MINUTE: Duration = Duration::from_secs(60);

/// How a service answers.
#[derive(Clone, Debug)]
pub(crate) enum Conduct {
    Takes,
    /// What has no more bytes.
    TakesUpTo(usize),
    Fails(u16),
    /// With these headers.
    FailsWith(u16, &'static str),
    Hangs,
}

/// A request that a service got.
#[derive(Clone, Debug)]
pub(crate) struct Heard {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) token: Option<String>,
    pub(crate) body: Value,
    pub(crate) raw: String,
    pub(crate) size_bytes: usize,
    pub(crate) is_taken: bool,
}

/// What a service got.
#[derive(Clone, Debug, Default)]
pub(crate) struct Record {
    pub(crate) requests: Vec<Heard>,
    under_way: usize,
    pub(crate) most_under_way: usize,
}

impl Record {
    pub(crate) fn transactions(&self) -> impl Iterator<Item = &Heard> {
        self.requests.iter().filter(|heard| heard.path.starts_with("/_matrix/app/v1/transactions/"))
    }

    /// The events of what it has taken, each transaction once as a bridge does.
    pub(crate) fn events(&self) -> Vec<Value> {
        let mut known = std::collections::BTreeSet::new();
        let taken = self.transactions().filter(|heard| heard.is_taken && known.insert(&heard.path));
        taken.flat_map(|heard| heard.body["events"].as_array().cloned().unwrap_or_default()).collect()
    }

    pub(crate) fn texts(&self) -> Vec<String> {
        let events = self.events();
        events.iter().filter_map(|event| Some(event["content"]["body"].as_str()?.to_owned())).collect()
    }
}

/// What is answered at paths that begin so, instead of what the conduct says.
type Answers = Arc<Mutex<Vec<(String, u16, Value)>>>;

/// An application service that records what it is told.
pub(crate) struct Service {
    name: &'static str,
    address: String,
    conduct: Arc<Mutex<Conduct>>,
    answers: Answers,
    /// Answers at paths that begin so wait until they are let go.
    held: Arc<Mutex<Option<String>>>,
    release: Arc<Notify>,
    task: Mutex<Option<JoinHandle<()>>>,
    record: watch::Receiver<Record>,
}

impl Service {
    pub(crate) async fn new(name: &'static str) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (sender, record) = watch::channel(Record::default());
        let conduct = Arc::new(Mutex::new(Conduct::Takes));
        let answers = Answers::default();
        let (shown, known, sender) = (conduct.clone(), answers.clone(), Arc::new(sender));
        let (held, release) = (Arc::<Mutex<Option<String>>>::default(), Arc::<Notify>::default());
        let wait = (held.clone(), release.clone());
        let task = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(hear(socket, shown.clone(), known.clone(), wait.clone(), sender.clone()));
            }
        });
        Self { name, address, conduct, answers, held, release, task: Mutex::new(Some(task)), record }
    }

    pub(crate) fn token(&self) -> String {
        format!("as-token-of-the-service-{}", self.name)
    }

    pub(crate) fn registration(&self) -> String {
        self.registration_with("")
    }

    pub(crate) fn registration_with(&self, more: &str) -> String {
        let Self { name, address, .. } = self;
        format!(
            "id: {name}\nurl: http://{address}\nas_token: {token}\nhs_token: hs-token-of-the-service-{name}\n\
             sender_localpart: {name}bot\nrate_limited: false\n{more}\nnamespaces:\n  users:\n  - exclusive: true\n    \
             regex: '@_{name}_.*'\n  aliases:\n  - exclusive: true\n    regex: '#_{name}_.*'\n  rooms: []\n",
            token = self.token(),
        )
    }

    /// Answers so at paths that begin so.
    pub(crate) fn answers(&self, path: &str, status: u16, body: Value) {
        self.answers.lock().insert(0, (path.to_owned(), status, body));
    }

    pub(crate) fn forget_answers(&self) {
        self.answers.lock().clear();
    }

    /// Listens no more.
    pub(crate) async fn stop(&self) {
        let task = self.task.lock().take();
        if let Some(task) = task {
            task.abort();
            // The socket is closed when the task is gone.
            task.await.ok();
        }
    }

    /// The next time that it is asked at a path that begins so, its bot does something before it answers that it did.
    pub(crate) async fn makes(&self, bot: &User, path: &str, method: Method, made: String, body: Value) {
        self.answers(path, 200, Value::Null);
        self.holds(path);
        let is_asked =
            |record: &Record| record.requests.iter().filter(|heard| heard.path.starts_with(path)).count();
        let before = is_asked(&self.record());
        self.until(|record| is_asked(record) > before).await;
        bot.call(method, &made, Some(&body)).await;
        self.releases();
    }

    pub(crate) fn will(&self, conduct: Conduct) {
        *self.conduct.lock() = conduct;
    }

    pub(crate) fn record(&self) -> Record {
        self.record.borrow().clone()
    }

    pub(crate) async fn until(&self, wanted: impl Fn(&Record) -> bool) -> Record {
        let mut record = self.record.clone();
        let found = tokio::time::timeout(PATIENCE, record.wait_for(|record| wanted(record))).await;
        found.unwrap_or_else(|_| panic!("only {:#?}", self.record())).unwrap().clone()
    }

    /// As [`Service::until`], while time passes: a wait may begin a moment after it is heard what failed.
    pub(crate) async fn later(&self, net: &Net, wanted: impl Fn(&Record) -> bool) -> Record {
        self.in_steps(net, MINUTE, 200, wanted).await
    }

    /// As [`Service::until`], while at most so many steps of time pass.
    pub(crate) async fn in_steps(
        &self,
        net: &Net,
        step: Duration,
        most: usize,
        wanted: impl Fn(&Record) -> bool,
    ) -> Record {
        let mut record = self.record.clone();
        for _ in 0..most {
            net.advance(step);
            let found = tokio::time::timeout(MOMENT, record.wait_for(|record| wanted(record))).await;
            if let Ok(found) = found {
                return found.unwrap().clone();
            }
        }
        panic!("only {:#?}", self.record());
    }

    /// Answers at paths that begin so wait, until [`Service::releases`].
    pub(crate) fn holds(&self, path: &str) {
        *self.held.lock() = Some(path.to_owned());
    }

    pub(crate) fn releases(&self) {
        self.held.lock().take();
        self.release.notify_one();
    }

    /// Its own user at a server.
    pub(crate) fn bot(&self, server: &Server) -> User {
        server.service(&format!("{}bot", self.name), &self.token())
    }
}

async fn hear(
    mut socket: TcpStream,
    conduct: Arc<Mutex<Conduct>>,
    answers: Answers,
    (held, release): (Arc<Mutex<Option<String>>>, Arc<Notify>),
    record: Arc<watch::Sender<Record>>,
) {
    let mut bytes = Vec::new();
    let (head, body) = loop {
        let mut part = [0; 65_536];
        match socket.read(&mut part).await {
            Ok(0) | Err(_) => return,
            Ok(length) => bytes.extend_from_slice(&part[..length]),
        }
        let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let length =
            head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
        if bytes.len() - end - 4 >= length.unwrap_or(0_usize) {
            break (head, bytes[end + 4..].to_vec());
        }
    };
    let conduct = match conduct.lock().clone() {
        Conduct::TakesUpTo(most) if body.len() > most => Conduct::Fails(413),
        Conduct::TakesUpTo(_) => Conduct::Takes,
        conduct => conduct,
    };
    let mut line = head.lines().next().unwrap().split(' ').map(str::to_owned);
    let heard = Heard {
        method: line.next().unwrap(),
        path: line.next().unwrap(),
        token: head
            .lines()
            .find_map(|line| line.to_lowercase().strip_prefix("authorization: bearer ").map(str::to_owned)),
        body: serde_json::from_slice(&body).unwrap_or(Value::Null),
        raw: String::from_utf8_lossy(&body).into_owned(),
        size_bytes: body.len(),
        is_taken: matches!(conduct, Conduct::Takes),
    };
    let path = heard.path.clone();
    record.send_modify(|record| {
        record.under_way += 1;
        record.most_under_way = record.most_under_way.max(record.under_way);
        record.requests.push(heard);
    });
    let is_held = held.lock().as_ref().is_some_and(|held| path.starts_with(held));
    if is_held {
        release.notified().await;
    }
    let known = answers.lock().iter().find(|(known, ..)| path.starts_with(known)).cloned();
    let (status, headers, body) = match (known, conduct) {
        (Some((_, status, body)), _) => (status, "", body.to_string()),
        (None, Conduct::Takes | Conduct::TakesUpTo(_)) => (200, "", "{}".to_owned()),
        (None, Conduct::Fails(status)) => (status, "", "{}".to_owned()),
        (None, Conduct::FailsWith(status, headers)) => (status, headers, "{}".to_owned()),
        (None, Conduct::Hangs) => {
            // Until the other side has enough of it.
            socket.read_u8().await.ok();
            record.send_modify(|record| record.under_way -= 1);
            return;
        }
    };
    record.send_modify(|record| record.under_way -= 1);
    let length = body.len();
    let answer = format!(
        "HTTP/1.1 {status} X\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    );
    // Whoever has given up finds it closed.
    socket.write_all(answer.as_bytes()).await.ok();
}

pub(crate) async fn town(services: &[&Service]) -> (Net, Server) {
    let net = Net::new();
    let registrations: Vec<String> = services.iter().map(|service| service.registration()).collect();
    let server = net.server_with_services("kanazawa.test", &registrations).await;
    (net, server)
}

/// A room of somebody in which the service's own user is.
pub(crate) async fn bridged(service: &Service, server: &Server, user: &User) -> OwnedRoomId {
    let room = user.create_room(Preset::PublicChat).await;
    let bot = service.bot(server);
    bot.join(&room, "kanazawa.test").await;
    room
}
