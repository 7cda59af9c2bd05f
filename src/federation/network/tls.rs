//! Whom we believe: certificate authorities for connections to other servers.

use std::{
    path::PathBuf,
    sync::{Arc, LazyLock},
};

use rustls::{ClientConfig, ConfigBuilder, RootCertStore, client::WantsClientCert, crypto::ring};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use tracing::warn;

use super::OpenError;
use crate::config::Trust;

/// The name of HTTP/2 (RFC 9113, section 3.2).
pub(super) const HTTP_2: &[u8] = b"h2";

/// TLS as a client: TLS 1.2 or later, HTTP/1.1, certificates checked against the trusted authorities.
pub(super) fn client_config(trust: Trust, files: &[PathBuf]) -> Result<Arc<ClientConfig>, OpenError> {
    let mut config = trusting(trust, files)?.with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn trusting(
    trust: Trust,
    files: &[PathBuf],
) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, OpenError> {
    let mut roots = RootCertStore::empty();
    match trust {
        Trust::System => roots.clone_from(&OF_THE_SYSTEM),
        Trust::Mozilla => add_mozilla(&mut roots),
        Trust::FilesOnly => {}
    }
    for file in files {
        add_file(&mut roots, file)?;
    }
    Ok(ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| OpenError::Tls(error.to_string()))?
        .with_root_certificates(roots))
}

/// The same for who is no web client and shows a certificate, if one is given: its file and that of its key.
pub(super) fn client_showing(
    trust: Trust,
    files: &[PathBuf],
    own: Option<(PathBuf, PathBuf)>,
) -> Result<Arc<ClientConfig>, OpenError> {
    let builder = trusting(trust, files)?;
    let Some((certificate, key)) = own else { return Ok(Arc::new(builder.with_no_client_auth())) };
    let of = |file: &PathBuf| {
        let file = file.display().to_string();
        move |cause: String| OpenError::Certificates { file, cause }
    };
    let chain = CertificateDer::pem_file_iter(&certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| of(&certificate)(error.to_string()))?;
    let private = PrivateKeyDer::from_pem_file(&key).map_err(|error| of(&key)(error.to_string()))?;
    let config = builder.with_client_auth_cert(chain, private);
    Ok(Arc::new(config.map_err(|error| of(&key)(error.to_string()))?))
}

/// The same for connections over which many requests go at once: HTTP/2 alone.
pub(super) fn shared(config: &ClientConfig) -> Arc<ClientConfig> {
    let mut config = config.clone();
    config.alpn_protocols = vec![HTTP_2.to_vec()];
    Arc::new(config)
}

fn add_mozilla(roots: &mut RootCertStore) {
    roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
}

/// The authorities of the operating system. Each that goes elsewhere takes them from here: they are read from more than a
/// hundred files, which was a tenth of the time in which a process starts.
static OF_THE_SYSTEM: LazyLock<RootCertStore> = LazyLock::new(|| {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        warn!("the operating system has no list of certificate authorities, Mozilla's is used");
        add_mozilla(&mut roots);
    }
    roots
});

fn add_file(roots: &mut RootCertStore, file: &PathBuf) -> Result<(), OpenError> {
    let wrong = |cause: String| OpenError::Certificates { file: file.display().to_string(), cause };
    let certificates = CertificateDer::pem_file_iter(file).map_err(|error| wrong(error.to_string()))?;
    let mut count = 0_usize;
    for certificate in certificates {
        let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
        roots.add(certificate).map_err(|error| wrong(error.to_string()))?;
        count += 1;
    }
    if count == 0 {
        return Err(wrong("the file holds no certificate".to_owned()));
    }
    Ok(())
}
