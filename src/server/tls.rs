//! Certificates: chosen by the name that a connection asks for, read again when their files change.

use std::{
    collections::HashMap,
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use base::{Clock, Tasks};
use parking_lot::RwLock;
use rustls::{
    ServerConfig,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use tokio::signal::unix::{SignalKind, signal};
use tokio_rustls::TlsAcceptor;
use tracing::{info, warn};

use crate::{
    config::{AuthorityConfig, Config, TlsFiles},
    hosts::{host_of_url, host_without_port},
    texts::tr,
};

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// Why certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file is no PEM, or cannot be read.
    #[error("{path}: {cause}")]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        cause: rustls::pki_types::pem::Error,
    },
    /// There is no certificate in the file.
    #[error("{0}: no certificate in it")]
    Empty(PathBuf),
    /// The key does not fit the certificate, or is of a kind that is not known.
    #[error("{path} and its key: {cause}")]
    Key {
        /// The certificate's file.
        path: PathBuf,
        /// What is wrong.
        cause: rustls::Error,
    },
    /// The TLS library refused the settings.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
}

/// What is wrong with a certificate, for people.
pub(crate) fn told(error: &Error) -> String {
    match error {
        Error::File { path, cause } => {
            tr!("証明書や鍵 {path} を読めません: {cause}", "{path}: {cause}", path = path.display())
        }
        Error::Empty(path) => {
            tr!("{path} に証明書がありません", "{path}: no certificate in it", path = path.display())
        }
        Error::Key { path, cause } => tr!(
            "証明書 {path} とその鍵が合わないか、使えません: {cause}",
            "{path} and its key: {cause}",
            path = path.display()
        ),
        Error::Tls(cause) => tr!("TLS を使えません: {cause}", "TLS: {cause}"),
    }
}

/// The certificates of all authorities.
pub struct Certificates {
    sources: Vec<Source>,
    current: RwLock<Current>,
}

/// Where an authority's certificate comes from and which names ask for it.
struct Source {
    names: Vec<String>,
    files: TlsFiles,
}

#[derive(Default)]
struct Current {
    by_name: HashMap<String, Arc<CertifiedKey>>,
    /// For connections that name nobody, or somebody else.
    first: Option<Arc<CertifiedKey>>,
    /// When the files of each source were changed last, when they were read.
    read_at: Vec<Option<Stamp>>,
}

type Stamp = (SystemTime, SystemTime);

impl Certificates {
    /// Reads the certificates of all authorities that have one.
    ///
    /// # Errors
    /// The first file that cannot be used.
    pub fn open(config: &Config) -> Result<Arc<Certificates>, Error> {
        let sources: Vec<Source> = config
            .authorities
            .iter()
            .filter_map(|authority| {
                let files = authority.tls.as_ref()?;
                let files =
                    TlsFiles { certificate: config.path(&files.certificate), key: config.path(&files.key) };
                Some(Source { names: names(authority), files })
            })
            .collect();
        let mut current = Current::default();
        for source in &sources {
            let stamp = source.stamp();
            current.take(source, source.read()?);
            current.read_at.push(stamp);
        }
        Ok(Arc::new(Certificates { sources, current: RwLock::new(current) }))
    }

    /// Reads changed files again; all of them if `all`. A file that cannot be used leaves the
    /// certificate that is in use.
    pub fn reload(&self, all: bool) {
        for (index, source) in self.sources.iter().enumerate() {
            let stamp = source.stamp();
            if !all && self.current.read().read_at.get(index) == Some(&stamp) {
                continue;
            }
            let certificate = source.files.certificate.display();
            match source.read() {
                Ok(key) => {
                    let mut current = self.current.write();
                    current.take(source, key);
                    if let Some(read_at) = current.read_at.get_mut(index) {
                        *read_at = stamp;
                    }
                    info!(%certificate, "certificate read");
                }
                Err(error) => warn!(%certificate, %error, "certificate cannot be used, the old one stays"),
            }
        }
    }

    /// Keeps an eye on the files until the shutdown, and reads them at once on SIGHUP.
    pub fn watch(self: &Arc<Self>, clock: &Clock, tasks: &Tasks) {
        let (certificates, clock, shutdown) = (self.clone(), clock.clone(), tasks.shutdown_token());
        tasks.spawn("certificates", async move {
            let mut hangup = match signal(SignalKind::hangup()) {
                Ok(hangup) => hangup,
                Err(error) => return warn!(%error, "SIGHUP cannot be heard"),
            };
            loop {
                tokio::select! {
                    () = shutdown.cancelled() => return,
                    _ = hangup.recv() => certificates.reload(true),
                    () = clock.sleep(LOOK_EVERY) => certificates.reload(false),
                }
            }
        });
    }

    /// What a listener greets its connections with: HTTP/2, else HTTP/1.1.
    ///
    /// # Errors
    /// When the TLS library refuses its own defaults.
    pub fn acceptor(self: &Arc<Self>) -> Result<TlsAcceptor, Error> {
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(self.clone());
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let current = self.current.read();
        let named = hello.server_name().and_then(|name| current.by_name.get(&name.to_ascii_lowercase()));
        named.or(current.first.as_ref()).cloned()
    }
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificates").field("sources", &self.sources.len()).finish_non_exhaustive()
    }
}

impl Current {
    fn take(&mut self, source: &Source, key: Arc<CertifiedKey>) {
        let was_first = match (&self.first, source.names.first().and_then(|name| self.by_name.get(name))) {
            (None, _) => true,
            (Some(first), Some(old)) => Arc::ptr_eq(first, old),
            (Some(_), None) => false,
        };
        if was_first {
            self.first = Some(key.clone());
        }
        for name in &source.names {
            self.by_name.insert(name.clone(), key.clone());
        }
    }
}

impl Source {
    fn read(&self) -> Result<Arc<CertifiedKey>, Error> {
        let TlsFiles { certificate, key } = &self.files;
        let of = |path: &Path| {
            let path = path.to_owned();
            move |cause| Error::File { path, cause }
        };
        let chain = CertificateDer::pem_file_iter(certificate)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(of(certificate))?;
        if chain.is_empty() {
            return Err(Error::Empty(certificate.clone()));
        }
        let key = PrivateKeyDer::from_pem_file(key).map_err(of(key))?;
        let key = CertifiedKey::from_der(chain, key, &provider())
            .map_err(|cause| Error::Key { path: certificate.clone(), cause })?;
        Ok(Arc::new(key))
    }

    fn stamp(&self) -> Option<Stamp> {
        let changed = |path: &Path| std::fs::metadata(path).and_then(|data| data.modified()).ok();
        Some((changed(&self.files.certificate)?, changed(&self.files.key)?))
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// The names under which an authority is asked for.
fn names(authority: &AuthorityConfig) -> Vec<String> {
    let url_host = authority.client_url.as_deref().and_then(host_of_url);
    let hosts = authority.hosts.iter().map(String::as_str);
    [Some(authority.name.as_str()), url_host, authority.federation_address.as_deref()]
        .into_iter()
        .flatten()
        .chain(hosts)
        .map(|host| host_without_port(host).to_ascii_lowercase())
        .collect()
}
