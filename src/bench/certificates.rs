//! A certificate authority for one run: who listens in this nation has a certificate of it.

use std::{
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context as _, Result};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};
use ruma::ServerName;
use tokio_rustls::{
    TlsAcceptor, TlsConnector,
    rustls::{
        ClientConfig, RootCertStore, ServerConfig,
        crypto::{CryptoProvider, ring},
        pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
        server::ResolvesServerCertUsingSni,
        sign::CertifiedKey,
    },
};

/// Issues certificates into a directory.
pub(crate) struct CertificateAuthority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    /// Its own certificate.
    pub(crate) file: PathBuf,
}

impl CertificateAuthority {
    pub(crate) fn new(directory: &Path) -> Result<Self> {
        let mut params = CertificateParams::new(Vec::<String>::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, "bench nation CA");
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        let file = directory.join("ca.pem");
        std::fs::write(&file, issuer.as_ref().pem())?;
        Ok(Self { issuer, file })
    }

    /// The files of the certificate and the key of a server that is not played here.
    pub(crate) fn issue_files(&self, name: &str, directory: &Path) -> Result<(PathBuf, PathBuf)> {
        let key = KeyPair::generate()?;
        let certificate = self.issue(name, &key)?;
        let files = (directory.join("tls.pem"), directory.join("tls.key"));
        std::fs::write(&files.0, certificate.pem())?;
        let mut options = std::fs::OpenOptions::new();
        options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&files.1)?
            .write_all(key.serialize_pem().as_bytes())?;
        Ok(files)
    }

    /// What the servers of these names need to listen; each shows a certificate of its own, and all have one
    /// key between them, which nobody on the other side can tell.
    pub(crate) fn acceptor<'a>(&self, names: impl Iterator<Item = &'a ServerName>) -> Result<TlsAcceptor> {
        let provider = Arc::new(ring::default_provider());
        let key = KeyPair::generate()?;
        let secret = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let signer = provider.key_provider.load_private_key(secret)?;
        let mut resolver = ResolvesServerCertUsingSni::new();
        for name in names {
            let certificate = CertificateDer::from(self.issue(name.host(), &key)?);
            resolver.add(name.host(), CertifiedKey::new(vec![certificate], signer.clone()))?;
        }
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(resolver));
        Ok(TlsAcceptor::from(Arc::new(config)))
    }

    /// What the servers played here need to connect to the one that is not.
    pub(crate) fn connector(&self) -> Result<TlsConnector> {
        let provider: Arc<CryptoProvider> = Arc::new(ring::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.as_ref().der().clone()).context("the authority's own certificate")?;
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(TlsConnector::from(Arc::new(config)))
    }

    fn issue(&self, host: &str, key: &KeyPair) -> Result<rcgen::Certificate> {
        Ok(CertificateParams::new(vec![host.to_owned()])?.signed_by(key, &self.issuer)?)
    }
}
