//! What can be set.

use std::{sync::Arc, time::Duration};

use crate::{ApnsApp, FcmAccount};

/// Settings of the gateway.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The apps that are served.
    pub apps: Vec<App>,
    /// Whom a push service may write to when something is wrong with what we send: `mailto:` or `https:`.
    pub subject: String,
    /// How long a push service keeps what it cannot bring at the moment.
    pub kept: Duration,
}

/// An app that is served.
#[derive(Clone, Debug)]
pub struct App {
    /// The `app_id` of its pushers.
    pub id: String,
    /// How its devices are reached.
    pub kind: Kind,
    /// The hosts at which its push services may be, each as it is or, after `*.`, with all below it; empty: all that the
    /// address guard lets through.
    pub hosts: Vec<String>,
}

/// How devices are reached.
#[derive(Clone, Debug)]
pub enum Kind {
    /// Browsers, by RFC 8030 with what is sent encrypted for them.
    WebPush,
    /// Phones, by an address that a distributor on them has given the app.
    UnifiedPush,
    /// Phones by Google's push service, which knows the app by this account.
    Fcm(Arc<FcmAccount>),
    /// Phones by Apple's push service, which knows the app by this.
    Apns(Arc<ApnsApp>),
}

impl App {
    /// Whether its push services may be at this host.
    pub(crate) fn may_be_at(&self, host: &str) -> bool {
        let host = host.to_ascii_lowercase();
        self.hosts.is_empty()
            || self.hosts.iter().map(|allowed| allowed.to_ascii_lowercase()).any(|allowed| {
                match allowed.strip_prefix("*.") {
                    Some(above) => host.strip_suffix(above).is_some_and(|rest| rest.ends_with('.')),
                    None => host == allowed,
                }
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_named_as_it_is_or_with_all_below_it() {
        let app = |hosts: &[&str]| App {
            id: "a".to_owned(),
            kind: Kind::WebPush,
            hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
        };
        assert!(app(&[]).may_be_at("anywhere.example"));
        let some = app(&["fcm.googleapis.com", "*.push.example"]);
        for host in ["fcm.googleapis.com", "FCM.googleapis.com", "a.push.example", "a.b.push.example"] {
            assert!(some.may_be_at(host), "{host}");
        }
        for host in ["googleapis.com", "x.fcm.googleapis.com", "push.example", "evilpush.example", ""] {
            assert!(!some.may_be_at(host), "{host}");
        }
    }
}
