//! Where a process listens.

use std::net::SocketAddr;

use ruma::OwnedServerName;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// An address that is listened on.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listener {
    /// IP address and port.
    pub address: SocketAddr,
    /// What is answered there.
    pub serves: Vec<Serves>,
    /// Who speaks TLS there.
    #[serde(default)]
    pub tls: ListenerTls,
    /// The authority that a request meets whose host names none of ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authority: Option<OwnedServerName>,
    /// The zone of the network that it stands in: a name of [`Config::zones`](super::Config::zones).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
}

/// Who speaks TLS at a listener: `false`, `true` or `"proxy"` in the configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ListenerTls {
    /// Nobody has to: what comes is HTTP in the clear.
    #[default]
    Nobody,
    /// We do, with the certificates of the authorities.
    Ourselves,
    /// A proxy before us, on another machine or in another container. What comes from it is HTTP in the clear; the
    /// network between it and us keeps everybody else out.
    Proxy,
}

/// The word for [`ListenerTls::Proxy`].
const PROXY: &str = "proxy";

impl Serialize for ListenerTls {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            ListenerTls::Nobody => serializer.serialize_bool(false),
            ListenerTls::Ourselves => serializer.serialize_bool(true),
            ListenerTls::Proxy => serializer.serialize_str(PROXY),
        }
    }
}

impl<'de> Deserialize<'de> for ListenerTls {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<ListenerTls, D::Error> {
        struct Words;
        impl de::Visitor<'_> for Words {
            type Value = ListenerTls;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&crate::texts::tr!(
                    "true、false、または \"{PROXY}\"",
                    "true, false or \"{PROXY}\""
                ))
            }

            fn visit_bool<E: de::Error>(self, tls: bool) -> Result<ListenerTls, E> {
                Ok(if tls { ListenerTls::Ourselves } else { ListenerTls::Nobody })
            }

            fn visit_str<E: de::Error>(self, word: &str) -> Result<ListenerTls, E> {
                match word {
                    PROXY => Ok(ListenerTls::Proxy),
                    other => Err(E::invalid_value(de::Unexpected::Str(other), &self)),
                }
            }
        }
        deserializer.deserialize_any(Words)
    }
}

/// What a listener answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Serves {
    /// The client-server API and `.well-known`.
    Client,
    /// The server-server API and `.well-known`.
    Federation,
    /// Metrics and the operator's commands.
    Admin,
    /// The admin API of Synapse, for who administers an authority; where tools sign in to use it, `client` as well.
    #[serde(rename = "admin_api")]
    AdminApi,
    /// The console (管理画面), for people with a duty, and the counter; they sign in on pages of `client`, so that as well.
    Console,
    /// The counter (窓口) alone, for all staff; they sign in on pages of `client`, so that as well.
    Counter,
}
