//! A throw-away certificate authority.

use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};
use ruma::ServerName;
use server::{
    config::{AuthorityConfig, Config, TlsFiles},
    tls::Certificates,
};
use tempfile::TempDir;
use tokio_rustls::TlsAcceptor;

/// Issues certificates into a directory that goes with it.
pub struct CertificateAuthority {
    directory: TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Default for CertificateAuthority {
    fn default() -> Self {
        Self::new()
    }
}

impl CertificateAuthority {
    /// A new one, whom nobody trusts who is not told to.
    pub fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory for certificates");
        let mut params = CertificateParams::new(Vec::<String>::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, "testkit CA");
        let issuer =
            CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("signs");
        std::fs::write(directory.path().join("ca.pem"), issuer.as_ref().pem()).expect("written");
        Self { directory, issuer }
    }

    /// The authority's own certificate.
    pub fn file(&self) -> PathBuf {
        self.path().join("ca.pem")
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// A certificate for a server, made once.
    pub(crate) fn issue(&self, name: &ServerName) -> TlsFiles {
        let file = |ending: &str| self.path().join(format!("{}.{ending}", name.host()));
        let files = TlsFiles { certificate: file("pem"), key: file("key") };
        if !files.certificate.exists() {
            let key = KeyPair::generate().expect("a key");
            let params = CertificateParams::new(vec![name.host().to_owned()]).expect("a host name");
            let certificate = params.signed_by(&key, &self.issuer).expect("signs");
            std::fs::write(&files.key, key.serialize_pem()).expect("written");
            std::fs::write(&files.certificate, certificate.pem()).expect("written");
        }
        files
    }

    /// What a server that is none of ours needs to listen with TLS.
    pub fn acceptor(&self, name: &ServerName) -> TlsAcceptor {
        let config = Config {
            authorities: vec![AuthorityConfig {
                tls: Some(self.issue(name)),
                ..AuthorityConfig::new(name.to_owned(), "unused".into())
            }],
            ..Config::default()
        };
        Certificates::open(&config).expect("certificates").acceptor().expect("TLS")
    }
}
