//! Many servers in one test process.
//!
//! A [`Net`] is a small federation: whole servers, put together as the real process does it
//! ([`server::house::House`]), with real signatures and handlers, over storage in memory. Requests go
//! from one to the other in memory, or over HTTP and TLS on addresses of the loopback network. Links
//! can be broken in several ways, servers crash and come back with what was on their disks, time
//! can be put forward, the calendar set, and [hostile servers](Net::hostile) take part.
//!
//! ```no_run
//! # async fn example() {
//! use testkit::{Net, Preset};
//!
//! let net = Net::new();
//! let kanazawa = net.server("kanazawa.test").await;
//! let wajima = net.server("wajima.test").await;
//! let (hanako, taro) = (kanazawa.user("hanako").await, wajima.user("taro").await);
//!
//! let room = hanako.create_room(Preset::PrivateChat).await;
//! hanako.invite(&room, taro.id()).await;
//! taro.sync_until(|seen| seen.is_invited(&room)).await;
//! taro.join(&room, "kanazawa.test").await;
//! net.link(&kanazawa, &wajima).cut();
//! hanako.send(&room, "届いていますか").await;
//! net.link(&kanazawa, &wajima).heal();
//! net.advance(std::time::Duration::from_secs(3_600));
//! taro.sync_until(|seen| seen.has_message(&room, "届いていますか")).await;
//! # }
//! ```
//!
//! Whatever goes wrong here panics: it is a test that fails.
//!
//! Reading order: [`Net`], [`Server`], [`User`], [`Seen`]; then [`Link`] and the machinery below.

#![expect(clippy::expect_used, clippy::panic, reason = "a failing test panics")]

mod certificates;
mod disk;
mod link;
mod log;
mod net;
mod seen;
mod server;
mod transport;
mod user;

pub use ::server::config::{GatewayAppConfig, GatewayKind, ScimConfig};
pub use engine::Preset;
pub use hostile::{Conduct, Hosted, Hostile, Raw};

pub use self::{
    certificates::CertificateAuthority,
    link::{Fault, Link},
    log::Log,
    net::{Net, Wire, Zones},
    seen::{Room, Seen},
    server::Server,
    user::{PASSWORD, Refusal, User},
};
