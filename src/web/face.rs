//! Which of our authorities a request meets.
//!
//! A process serves any number of server names. The host that a request names, else the name in
//! its TLS greeting, decides whose face it meets. A process with a single authority answers any
//! host, so that it works behind every proxy.

use std::{collections::HashMap, fmt, sync::Arc};

use ruma::{OwnedServerName, ServerName};

/// The authority that a request meets. Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct Face(Arc<OwnedServerName>);

impl Face {
    /// The face of this authority.
    pub fn new(server_name: OwnedServerName) -> Face {
        Face(Arc::new(server_name))
    }

    /// The authority's server name.
    pub fn server_name(&self) -> &ServerName {
        &self.0
    }
}

impl fmt::Debug for Face {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Face({})", self.0)
    }
}

/// The name in the TLS greeting (SNI) of the connection; the listener adds it to its requests.
#[derive(Clone, Debug)]
pub struct TlsName(pub Arc<str>);

/// The authorities of this process and the hosts that stand for them.
#[derive(Clone, Debug)]
pub struct Faces {
    /// In the order of the configuration; not empty.
    all: Vec<Face>,
    by_host: HashMap<String, Face>,
}

impl Faces {
    /// The faces of a process: each authority with the further hosts that stand for it, for
    /// instance `matrix.city.example.jp` or `matrix.city.example.jp:8448`.
    ///
    /// `first` is the authority that answers where no host is needed.
    pub fn new(
        first: (OwnedServerName, Vec<String>),
        others: impl IntoIterator<Item = (OwnedServerName, Vec<String>)>,
    ) -> Faces {
        let mut faces = Faces { all: Vec::new(), by_host: HashMap::new() };
        for (server_name, hosts) in std::iter::once(first).chain(others) {
            let face = Face::new(server_name);
            let own = [
                face.server_name().as_str().to_owned(),
                without_port(face.server_name().as_str()).to_owned(),
            ];
            for host in own.into_iter().chain(hosts) {
                // The first one keeps a host that two claim; the configuration's check names it.
                faces.by_host.entry(host.to_ascii_lowercase()).or_insert_with(|| face.clone());
            }
            faces.all.push(face);
        }
        faces
    }

    /// A process with one authority.
    pub fn single(server_name: OwnedServerName) -> Faces {
        Faces::new((server_name, Vec::new()), [])
    }

    /// The face for this host header and TLS name; `None` when neither names one of several.
    pub fn find(&self, host: Option<&str>, tls_name: Option<&str>) -> Option<&Face> {
        if let [only] = self.all.as_slice() {
            return Some(only);
        }
        [host, tls_name].into_iter().flatten().find_map(|name| self.find_host(name))
    }

    fn find_host(&self, host: &str) -> Option<&Face> {
        let host = host.to_ascii_lowercase();
        self.by_host.get(&host).or_else(|| self.by_host.get(without_port(&host)))
    }

    /// The first authority of the configuration.
    pub fn first(&self) -> &Face {
        &self.all[0]
    }

    /// All authorities, in the order of the configuration.
    pub fn iter(&self) -> impl Iterator<Item = &Face> {
        self.all.iter()
    }
}

/// The host without its port; IPv6 literals keep their brackets.
fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !name.is_empty() => name,
        _ => host,
    }
}
