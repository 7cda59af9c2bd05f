//! The console over HTTP: a file from upload to undo, who sees which page, and what forged, foreign and senseless requests get.

#![expect(clippy::unwrap_used, reason = "tests")]

mod accounts;
mod bad_input;
mod browser;
mod changes;
mod counter;
mod editing;
mod powers;
mod recovery;
mod walk;

use audit::{Actor, Filter, Record};
use duties::Duty;
use ruma::{ServerName, UserId};
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

/// The rows of the audit log of an authority of this kind.
async fn rows(server: &Server, authority: &ServerName, what: &str) -> Vec<Record> {
    let store = server.look(|house| house.store.clone());
    let filter = Filter { what: Some(what.to_owned()), ..Filter::default() };
    let page = audit::list(&store, authority, &filter, Position::START).await.unwrap();
    page.found.into_iter().map(|listed| listed.record.unwrap()).collect()
}
