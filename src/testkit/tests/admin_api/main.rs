//! The admin API over HTTP: what tools ask of it, who may, that every deed leaves its row in the audit log, and that who
//! administers one authority sees and changes nothing of another of the same process.

#![expect(clippy::unwrap_used, reason = "tests")]

mod accounts;
mod bad_input;
mod described;
mod exact;
mod files;
mod isolation;
mod rooms;
mod walk;

use std::{fmt::Write, sync::Arc, time::Duration};

use audit::{Actor, Filter, Record};
use bytes::Bytes;
use http::{Method, StatusCode};
use ruma::{OwnedRoomId, ServerName, UserId};
use serde_json::{Value, json};
use server::config::Serves;
use store::Position;
use testkit::{Net, Server, User};

const V1: &str = "/_synapse/admin/v1";
const V2: &str = "/_synapse/admin/v2";

/// Whatever stands in a path or a query as itself nowhere.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => out.push(char::from(byte)),
            _ => write!(out, "%{byte:02X}").unwrap(),
        }
    }
    out
}

/// Has a user administer the authority, as the command does.
async fn grant(server: &Server, user: &UserId) {
    let accounts = server.look(|house| house.accounts.clone());
    accounts.set_administrator(user, true, &Actor::operator("test")).await.unwrap();
}

/// A user who administers his authority.
async fn administrator(server: &Server, authority: &str, name: &str) -> User {
    let user = server.user_of(authority, name).await;
    grant(server, user.id()).await;
    user
}

/// Asks, and gives status and JSON.
async fn ask(user: &User, method: Method, path: &str, body: Option<Value>) -> (StatusCode, Value) {
    let (status, answer) = ask_with_more(user, method.clone(), path, body.clone()).await;
    described::check_body(&method, path, body.as_ref(), status);
    (status, answer)
}

/// The same with a body that may hold more than is taken of it.
async fn ask_with_more(user: &User, method: Method, path: &str, body: Option<Value>) -> (StatusCode, Value) {
    let (status, text) = user.ask(method.clone(), path, body.as_ref()).await;
    let answer = serde_json::from_str(&text).unwrap_or(Value::Null);
    described::check(&method, path, (status, &answer));
    (status, answer)
}

/// Asks for what must be granted.
async fn must(user: &User, method: Method, path: &str, body: Option<Value>) -> Value {
    let (status, answer) = ask(user, method.clone(), path, body).await;
    assert!(status.is_success(), "{method} {path}: {status} {answer}");
    answer
}

async fn get(user: &User, path: &str) -> Value {
    must(user, Method::GET, path, None).await
}

/// Asks for what must be refused, with this errcode.
async fn refused(user: &User, method: Method, path: &str, body: Option<Value>, as_said: (u16, &str)) {
    let (status, answer) = ask(user, method.clone(), path, body).await;
    let said = (status.as_u16(), answer["errcode"].as_str().unwrap_or_default());
    assert_eq!(said, as_said, "{method} {path}: {answer}");
}

/// The rows of an authority's audit log, behind a position; and where they end.
async fn rows(server: &Server, authority: &str, after: Position) -> (Vec<Record>, Position) {
    let store = server.look(|house| house.store.clone());
    let name = <&ServerName>::try_from(authority).unwrap();
    let page = audit::list(&store, name, &Filter::default(), after).await.unwrap();
    assert_eq!(page.next, None);
    let last = page.found.last().map_or(after, |listed| listed.position);
    (page.found.into_iter().filter_map(|listed| listed.record).collect(), last)
}

/// The routes of the admin API, as the router has them: method and path.
fn routes(server: &Server) -> Vec<(Method, String)> {
    let names: Vec<Arc<str>> =
        server.look(|house| house.routes(&[Serves::Client, Serves::AdminApi]).names()).into_iter().collect();
    let routes = names.iter().filter_map(|name| {
        let (method, path) = name.split_once(' ').unwrap();
        // These are the client interface's, with tests of their own; and what is for everybody.
        let is_other = ["/register", "/server_version"].iter().any(|end| path.ends_with(end));
        let is_other = is_other || path.contains("send_server_notice");
        (path.starts_with("/_synapse/admin/") && !is_other)
            .then(|| (method.parse().unwrap(), path.to_owned()))
    });
    let routes: Vec<(Method, String)> = routes.collect();
    assert!(routes.len() > 60, "{routes:?}");
    routes
}

/// Uploads a file; its id.
async fn upload(user: &User, content: &str) -> String {
    let path = "/_matrix/media/v3/upload?filename=a.txt";
    let body = Bytes::from(content.to_owned());
    let answer = user.ask_bytes(Method::POST, path, &[("content-type", "text/plain")], body).await;
    let answer: Value = serde_json::from_slice(answer.body()).unwrap();
    answer["content_uri"].as_str().unwrap().rsplit('/').next().unwrap().to_owned()
}

/// The status of a download.
async fn download(user: &User, server: &str, id: &str) -> u16 {
    let path = format!("/_matrix/client/v1/media/download/{server}/{id}");
    user.ask_bytes(Method::GET, &path, &[], Bytes::new()).await.status().as_u16()
}

/// A room with a name, open to whoever wants to come in.
async fn open_room(owner: &User, name: &str) -> OwnedRoomId {
    owner.create_room_with(&json!({ "preset": "public_chat", "name": name })).await
}

/// Waits until a question has the answer that is waited for.
async fn until(user: &User, path: &str, is_so: impl Fn(StatusCode, &Value) -> bool) -> Value {
    let wait = async {
        loop {
            let (status, answer) = ask(user, Method::GET, path, None).await;
            if is_so(status, &answer) {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), wait).await.unwrap_or_else(|_| panic!("never so: {path}"))
}

#[tokio::test]
async fn whoever_administers_nothing_is_refused_by_every_route_and_a_stranger_is_asked_who_he_is() {
    let net = Net::new();
    let server = net.server("kanazawa.test").await;
    let (hanako, guest) = (server.user("hanako").await, server.guest().await);
    let former = administrator(&server, "kanazawa.test", "former").await;
    let accounts = server.look(|house| house.accounts.clone());
    get(&former, &format!("{V1}/registration_tokens")).await;
    accounts.set_administrator(former.id(), false, &Actor::operator("test")).await.unwrap();
    let stranger = server.service("nobody", "no-such-token");
    for (method, path) in routes(&server) {
        let path = path.replace(['{', '}'], "");
        for user in [&hanako, &former] {
            refused(user, method.clone(), &path, Some(json!({})), (403, "M_FORBIDDEN")).await;
        }
        refused(&guest, method.clone(), &path, Some(json!({})), (403, "M_GUEST_ACCESS_FORBIDDEN")).await;
        refused(&stranger, method.clone(), &path, Some(json!({})), (401, "M_UNKNOWN_TOKEN")).await;
    }
}

#[tokio::test]
async fn which_program_this_is_tools_ask_before_anybody_has_signed_in() {
    let net = Net::new();
    let server = net.server("kanazawa.test").await;
    let answer = get(&server.service("nobody", ""), &format!("{V1}/server_version")).await;
    assert!(answer["server_version"].as_str().unwrap().starts_with("Yakuba "));
}

#[tokio::test]
async fn what_is_not_built_says_so() {
    let net = Net::new();
    let server = net.server("kanazawa.test").await;
    let admin = administrator(&server, "kanazawa.test", "admin").await;
    let user = escaped(admin.id().as_str());
    for (method, path, status) in [
        (Method::POST, format!("{V1}/users/{user}/shadow_ban"), 404),
        (Method::POST, format!("{V1}/users/{user}/login"), 404),
        (Method::GET, format!("{V1}/users/{user}/override_ratelimit"), 404),
        (Method::POST, format!("{V1}/purge_history/a"), 404),
        (Method::DELETE, format!("{V1}/rooms/a/forward_extremities"), 405),
    ] {
        refused(&admin, method, &path, Some(json!({})), (status, "M_UNRECOGNIZED")).await;
    }
}
