//! The console over HTTP: a file from upload to undo, who sees which page, and what forged, foreign and senseless requests get.

#![expect(clippy::unwrap_used, reason = "tests")]

mod accounts;
mod bad_input;
mod browser;
mod changes;
mod counter;
mod domains;
mod editing;
mod federation;
mod files;
mod parts;
mod powers;
mod recovery;
mod reports;
mod tokens;
mod walk;

use audit::{Actor, Filter, Record};
use duties::Duty;
use http::Method;
use ruma::{OwnedRoomId, ServerName, UserId};
use serde_json::{Value, json};
use store::Position;
use testkit::{Server, User};

use crate::browser::Browser;

/// The password of all accounts of the test kit.
const PASSWORD: &str = testkit::PASSWORD;

/// Has a user administer his authority, as the command does.
async fn administer(server: &Server, user: &UserId) {
    let accounts = server.look(|house| house.accounts.clone());
    accounts.set_administrator(user, true, &Actor::operator("test")).await.unwrap();
}

/// Gives a duty, or takes it away, as the command does.
async fn set_duty(server: &Server, user: &UserId, duty: Duty, has: bool) {
    let duties = server.look(|house| house.duties.clone());
    duties.set(user, duty, has, &Actor::operator("test")).await.unwrap();
}

/// An account that administers and approves, in a browser.
async fn administrator(server: &Server, authority: &str, name: &str) -> (User, Browser) {
    let user = server.user_of(authority, name).await;
    administer(server, user.id()).await;
    set_duty(server, user.id(), Duty::Approval, true).await;
    let browser = Browser::of(server, &user).await;
    (user, browser)
}

/// An account with a duty, in a browser.
async fn holder(server: &Server, name: &str, duty: Duty) -> (User, Browser) {
    let user = server.user(name).await;
    set_duty(server, user.id(), duty, true).await;
    let browser = Browser::of(server, &user).await;
    (user, browser)
}

/// Uploads a file; its address.
async fn upload(user: &User, name: &str, content: &str) -> String {
    let path = format!("/_matrix/media/v3/upload?filename={name}");
    let body = bytes::Bytes::from(content.to_owned());
    let answer = user.ask_bytes(Method::POST, &path, &[("content-type", "text/plain")], body).await;
    let answer: Value = serde_json::from_slice(answer.body()).unwrap();
    answer["content_uri"].as_str().unwrap().to_owned()
}

/// The status of a download of this address.
async fn download(user: &User, uri: &str) -> u16 {
    let path = format!("/_matrix/client/v1/media/download/{}", uri.strip_prefix("mxc://").unwrap());
    user.ask_bytes(Method::GET, &path, &[], bytes::Bytes::new()).await.status().as_u16()
}

/// What was said and reported.
struct Reported {
    room: OwnedRoomId,
    id: u64,
    /// Who said it, and who reported that.
    people: [User; 2],
}

/// Has somebody say something in a room, and another one report it, with a reason.
async fn report(server: &Server, authority: &str, (room, text, why): (&str, &str, &str)) -> Reported {
    let (says, tells) = (server.user_of(authority, "says").await, server.user_of(authority, "tells").await);
    let room = says.create_room_with(&json!({ "preset": "public_chat", "name": room })).await;
    tells.join(&room, authority).await;
    let event = says.send(&room, text).await;
    let path = format!("/rooms/{room}/report/{event}");
    tells.call(Method::POST, &path, Some(&json!({ "reason": why }))).await;
    let accounts = server.look(|house| house.accounts.clone());
    let name = <&ServerName>::try_from(authority).unwrap();
    let id = accounts.reports(name).await.unwrap().last().unwrap().id;
    Reported { room, id, people: [says, tells] }
}

/// The value of a field in where an answer leads.
fn field_of(location: Option<&str>, name: &str) -> String {
    let location = location.unwrap();
    let query = location.split_once('?').unwrap().1;
    let value = query.split('&').find_map(|pair| pair.strip_prefix(&format!("{name}=")));
    value.unwrap_or_else(|| panic!("{location} has no {name}")).to_owned()
}

/// The rows of the audit log of an authority of this kind.
async fn rows(server: &Server, authority: &ServerName, what: &str) -> Vec<Record> {
    let store = server.look(|house| house.store.clone());
    let filter = Filter { what: Some(what.to_owned()), ..Filter::default() };
    let page = audit::list(&store, authority, &filter, Position::START).await.unwrap();
    page.found.into_iter().map(|listed| listed.record.unwrap()).collect()
}
