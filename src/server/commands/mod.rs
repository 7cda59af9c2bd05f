//! The commands that are done in a moment.

pub(crate) mod audit;
pub(crate) mod audit_kept;
pub(crate) mod audit_status;
pub(crate) mod case;
pub(crate) mod check;
pub(crate) mod data;
pub(crate) mod init;
pub(crate) mod ldap;
pub(crate) mod media;
pub(crate) mod org;
pub(crate) mod policy;
pub(crate) mod room;
pub(crate) mod search;
pub(crate) mod status;
pub(crate) mod user;
pub(crate) mod user_list;

use std::{
    io::{ErrorKind, Write},
    path::Path,
};

use anyhow::{Context, bail};
use base::telemetry::harmless;
use http::{Method, StatusCode};
use ruma::OwnedServerName;
use serde_json::Value;

use crate::{
    ask::{Asker, operator},
    causes,
    config::{Config, ListenerTls, Serves},
    serve::ADMIN_TOKEN_FILE,
    texts::tr,
};

/// Prints a text on standard output, its lines as they may stand on a terminal: it may quote strangers.
///
/// # Errors
/// When it cannot be written; [`is_unread`] tells whether that is since nobody reads on.
pub(crate) fn say(text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    print(&mut out, text).and_then(|()| out.flush()).map_err(|error| match error.kind() {
        ErrorKind::BrokenPipe => std::io::Error::new(ErrorKind::BrokenPipe, Unread),
        _ => error,
    })
}

/// Who read what a command prints, `head` for instance, has enough. The pipe is named, since a connection to the server breaks
/// with the same error.
#[derive(Debug, thiserror::Error)]
#[error("nobody reads on")]
struct Unread;

/// Whether a command ended since nobody reads on what it prints: for it, that is no failure.
pub(crate) fn is_unread(error: &anyhow::Error) -> bool {
    let errors = error.chain().filter_map(|cause| cause.downcast_ref::<std::io::Error>());
    errors.filter_map(std::io::Error::get_ref).any(|cause| cause.is::<Unread>())
}

/// Prints a text on standard error, as [`say`] does.
pub(crate) fn complain(text: &str) {
    // Nobody listens: then there is nobody to tell either.
    print(&mut std::io::stderr().lock(), text).ok();
}

fn print(out: &mut impl Write, text: &str) -> std::io::Result<()> {
    // A text without anything is an empty line.
    for line in text.split('\n') {
        writeln!(out, "{}", harmless(line))?;
    }
    Ok(())
}

/// The authority that is meant: the one that is named, or the only one.
pub(crate) fn authority(named: Option<&OwnedServerName>, config: &Config) -> anyhow::Result<OwnedServerName> {
    match (named, config.authorities.as_slice()) {
        (Some(name), all) if all.iter().any(|authority| authority.name == *name) => Ok(name.clone()),
        (Some(name), _) => {
            bail!(tr!("{name} は設定の機関にありません", "{name} is none of the configuration's authorities"))
        }
        (None, [only]) => Ok(only.name.clone()),
        (None, _) => bail!(tr!(
            "設定に複数の機関があります。--server-name で選んでください",
            "the configuration has several authorities: choose one with --server-name"
        )),
    }
}

/// The administrator's interface of the running server.
pub(crate) struct Running {
    asker: Asker,
    token: String,
}

impl Running {
    /// The server of this configuration, if one runs on this machine and lets us in.
    pub(crate) async fn find(config: &Config) -> Option<Running> {
        let token = std::fs::read_to_string(config.path(Path::new(ADMIN_TOKEN_FILE))).ok()?;
        let listener = config.listeners.iter().find(|listener| {
            listener.serves.contains(&Serves::Admin) && listener.tls != ListenerTls::Ourselves
        })?;
        let mut address = listener.address;
        if address.ip().is_unspecified() {
            address.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
        }
        let asker = Asker::new(format!("http://{address}")).by(operator());
        let running = Running { asker, token: token.trim().to_owned() };
        let (status, _) = running.ask(Method::GET, "/_yakuba/v1/status", None).await.ok()?;
        status.is_success().then_some(running)
    }

    /// Asks the running server.
    pub(crate) async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<(StatusCode, Value)> {
        let answer = self.asker.ask(method, path, Some(&self.token), body).await;
        answer.with_context(|| tr!("サーバーに届きません", "the server cannot be reached"))
    }

    /// Asks the running server, and takes nothing but a success.
    pub(crate) async fn must(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<Value> {
        let (status, answer) = self.ask(method, path, body).await?;
        if status.is_success() {
            return Ok(answer);
        }
        let errcode = answer["errcode"].as_str().unwrap_or_default();
        let reason = match answer["error"].as_str() {
            Some(sentence) => causes::of_errcode(errcode, sentence),
            None => tr!("理由は分かりません", "no reason given"),
        };
        bail!(tr!("サーバーが断りました: {reason} ({status})", "the server refused: {reason} ({status})"))
    }
}

#[cfg(test)]
mod tests {
    use super::print;

    #[test]
    fn what_a_peer_is_quoted_with_does_nothing_to_the_terminal() {
        let mut out = Vec::new();
        print(&mut out, "理由\n  \u{1b}[2J\u{9b}31m\u{202e}x").ok();
        assert_eq!(String::from_utf8_lossy(&out), "理由\n  \\u001b[2J\\u009b31m\\u202ex\n");
    }
}
