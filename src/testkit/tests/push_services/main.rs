//! The built-in push gateway and the push services of Apple and Google, from a message to what stands in for them, over TLS.
//!
//! What stands in checks what the services check: who asks, how, and with what. It answers as they do, and notes what was
//! wrong.

#![expect(clippy::unwrap_used, reason = "tests")]

mod apple;
mod google;

use std::{convert::Infallible, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, Version};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use ruma::{OwnedRoomId, OwnedServerName};
use serde_json::{Value, json};
use testkit::{GatewayAppConfig, Net, Preset, Server, User};
use tokio::{
    net::TcpListener,
    sync::{Notify, watch},
};

/// In real time: what takes longer will not come.
const PATIENCE: Duration = Duration::from_secs(60);

/// Time for what time had to pass for.
const MOMENT: Duration = Duration::from_millis(500);

/// A request that a service had.
#[derive(Clone, Debug)]
struct Asked {
    version: Version,
    method: Method,
    path: String,
    headers: HeaderMap,
    body: Bytes,
    /// When it came, in seconds since 1970.
    at: u64,
    /// Over which of its connections.
    connection: usize,
}

impl Asked {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// What a service says: a status, and a body.
type Said = (u16, Value);

/// A place where a service will be.
struct Place {
    listener: TcpListener,
    origin: String,
}

impl Place {
    async fn at(ip: &str) -> Self {
        let listener = TcpListener::bind((ip, 0)).await.unwrap();
        let origin = format!("https://{}", listener.local_addr().unwrap());
        Self { listener, origin }
    }

    async fn new() -> Self {
        Self::at("127.1.0.1").await
    }

    /// Serves whoever comes, as `answer` says; a connection ends after so many requests.
    fn serve(
        self,
        net: &Net,
        most_of_connection: usize,
        answer: impl Fn(&Asked) -> Said + Send + Sync + 'static,
    ) -> Service {
        let name = self.listener.local_addr().unwrap().ip().to_string();
        self.serve_as(&name, net, most_of_connection, answer)
    }

    /// The same with the certificate of this name.
    fn serve_as(
        self,
        name: &str,
        net: &Net,
        most_of_connection: usize,
        answer: impl Fn(&Asked) -> Said + Send + Sync + 'static,
    ) -> Service {
        let name: OwnedServerName = name.try_into().unwrap();
        let acceptor = net.acceptor(&name);
        let (sender, asked) = watch::channel(Vec::new());
        let (sender, answer) = (Arc::new(sender), Arc::new(answer));
        let net = net.clone();
        tokio::spawn(async move {
            for connection in 0.. {
                let Ok((socket, _)) = self.listener.accept().await else { return };
                let (net, acceptor, sender, answer) =
                    (net.clone(), acceptor.clone(), sender.clone(), answer.clone());
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(socket).await else { return };
                    let ends = Arc::new(Notify::new());
                    let ending = ends.clone();
                    let service = service_fn(move |request: Request<Incoming>| {
                        let (net, sender, answer, ends) =
                            (net.clone(), sender.clone(), answer.clone(), ends.clone());
                        async move {
                            let asked = read(request, &net, connection).await;
                            let (status, body) = answer(&asked);
                            sender.send_modify(|all| all.push(asked));
                            let of_this =
                                sender.borrow().iter().filter(|it| it.connection == connection).count();
                            if of_this >= most_of_connection {
                                ends.notify_one();
                            }
                            let body = if body.is_null() { Bytes::new() } else { body.to_string().into() };
                            let answer = Response::builder().status(status).body(Full::new(body)).unwrap();
                            Ok::<_, Infallible>(answer)
                        }
                    });
                    let builder = auto::Builder::new(TokioExecutor::new());
                    let serving = builder.serve_connection(TokioIo::new(stream), service);
                    let mut serving = std::pin::pin!(serving);
                    tokio::select! {
                        _ended = &mut serving => {}
                        () = ending.notified() => {
                            serving.as_mut().graceful_shutdown();
                            let _ended = serving.await;
                        }
                    }
                });
            }
        });
        Service { asked }
    }
}

async fn read(request: Request<Incoming>, net: &Net, connection: usize) -> Asked {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    Asked {
        version: parts.version,
        method: parts.method,
        path: parts.uri.path_and_query().unwrap().to_string(),
        headers: parts.headers,
        body,
        at: net.now().millis() / 1_000,
        connection,
    }
}

/// A service that answers.
struct Service {
    asked: watch::Receiver<Vec<Asked>>,
}

impl Service {
    fn asked(&self) -> Vec<Asked> {
        self.asked.borrow().clone()
    }

    async fn until(&self, wanted: impl Fn(&[Asked]) -> bool) -> Vec<Asked> {
        let mut asked = self.asked.clone();
        let found = tokio::time::timeout(PATIENCE, asked.wait_for(|asked| wanted(asked))).await;
        found.unwrap_or_else(|_| panic!("only {:#?}", self.asked())).unwrap().clone()
    }

    /// As [`Service::until`], while time passes: a wait may begin a moment after it is heard what failed.
    async fn later(&self, net: &Net, wanted: impl Fn(&[Asked]) -> bool) -> Vec<Asked> {
        let mut asked = self.asked.clone();
        for _ in 0..200 {
            net.advance(Duration::from_secs(60));
            if let Ok(found) = tokio::time::timeout(MOMENT, asked.wait_for(|asked| wanted(asked))).await {
                return found.unwrap().clone();
            }
        }
        panic!("only {:#?}", self.asked());
    }
}

/// A server whose gateway serves these apps.
async fn server(apps: Vec<GatewayAppConfig>) -> (Net, Server) {
    let net = Net::with_push_gateway(apps);
    let server = net.server("kanazawa.test").await;
    (net, server)
}

fn pusher(app: &str, key: &str, mut data: Value) -> Value {
    data["url"] = json!("https://kanazawa.test/_matrix/push/v1/notify");
    json!({ "app_id": app, "pushkey": key, "kind": "http", "app_display_name": "App",
        "device_display_name": "Phone", "lang": "ja", "append": true, "data": data })
}

async fn set(user: &User, pusher: &Value) {
    user.call(Method::POST, "/pushers/set", Some(pusher)).await;
}

async fn count(user: &User) -> usize {
    user.call(Method::GET, "/pushers", None).await["pushers"].as_array().unwrap().len()
}

async fn until_none_is_left(user: &User) {
    let gone = async {
        while count(user).await > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.unwrap();
}

/// Waits until so many requests are counted with this outcome: the next moment may be far away then.
async fn until_counted(server: &Server, outcome: &str, count: u64) {
    let outcome = format!("outcome=\"{outcome}\"");
    let counted = async {
        loop {
            let shown = server.look(|house| house.metrics.render());
            let taken = shown
                .lines()
                .filter(|line| line.starts_with("yakuba_push_notifications") && line.contains(&outcome));
            let taken: u64 = taken.filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok()).sum();
            if taken >= count {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, counted).await.unwrap();
}

/// Hanako, who says something; Taro, who is told of it.
async fn two(server: &Server) -> (User, User, OwnedRoomId) {
    let (hanako, taro) = (server.user("hanako").await, server.user("taro").await);
    let room = hanako.create_room(Preset::PrivateChat).await;
    hanako.invite(&room, taro.id()).await;
    taro.join(&room, "kanazawa.test").await;
    (hanako, taro, room)
}

/// As many requests over a connection as come.
const ANY: usize = usize::MAX;

/// The parts of a signed token: what is signed, as text and as JSON, and the signature.
fn parts_of(token: &str) -> Option<(&str, Value, Value, Vec<u8>)> {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    let (signed, signature) = token.rsplit_once('.')?;
    let (head, claims) = signed.split_once('.')?;
    let bytes = |text: &str| URL_SAFE_NO_PAD.decode(text).ok();
    let json = |text: &str| serde_json::from_slice(&bytes(text)?).ok();
    Some((signed, json(head)?, json(claims)?, bytes(signature)?))
}
