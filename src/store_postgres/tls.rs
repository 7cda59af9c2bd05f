//! The way to the server: in the clear, or over TLS.
//!
//! Reading order: [`Way::to`], then [`Unverified`].

use std::{net::IpAddr, path::Path, sync::Arc};

use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject};
use store::Error;
use tokio_postgres::{
    Client, Config, Connection, Socket,
    config::{Host, SslMode},
    tls::MakeTlsConnect,
};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::{
    session,
    settings::{Settings, Tls},
};

/// Where the server is and how connections to it are made.
#[derive(Clone)]
pub(crate) struct Way {
    config: Config,
    tls: MakeRustlsConnect,
}

/// What a connection runs on.
type Line = Connection<Socket, <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream>;

impl Way {
    /// The way that settings name. The certificates to trust are read now, not with each connection.
    ///
    /// # Errors
    /// When the address is none or says another thing than the setting, or the file of certificates cannot be used.
    pub(crate) fn to(settings: &Settings) -> Result<Self, Error> {
        let mut config = session::config(settings)?;
        let tls = chosen(settings, &config)?;
        config.ssl_mode(if tls == Tls::Disable { SslMode::Disable } else { SslMode::Require });
        Ok(Self { config, tls: MakeRustlsConnect::new(client_config(tls, settings.ca_file.as_deref())?) })
    }

    /// Connects, within [`session::REACH`].
    pub(crate) async fn connect(&self) -> Result<(Client, Line), Error> {
        let connect = tokio::time::timeout(session::REACH, self.config.connect(self.tls.clone()));
        let late = |error| Error::unavailable("reach PostgreSQL", error);
        connect.await.map_err(late)?.map_err(|error| Error::unavailable("reach PostgreSQL", error))
    }
}

/// What is done where the setting, and what the address says of it, leave it open: what goes over a network is
/// protected.
fn chosen(settings: &Settings, config: &Config) -> Result<Tls, Error> {
    match (settings.tls, config.get_ssl_mode()) {
        (Some(Tls::Disable), SslMode::Require) => {
            Err(wrong("the address has sslmode=require, and TLS is disabled".to_owned()))
        }
        (Some(Tls::Require | Tls::VerifyFull), SslMode::Disable) => {
            Err(wrong("the address has sslmode=disable, and TLS is required".to_owned()))
        }
        (Some(tls), _) => Ok(tls),
        (None, SslMode::Disable) => Ok(Tls::Disable),
        (None, SslMode::Require) => Ok(Tls::VerifyFull),
        (None, _) if is_here(config) => Ok(Tls::Disable),
        (None, _) => Ok(Tls::VerifyFull),
    }
}

/// Whether all that is said to the server stays on this machine.
fn is_here(config: &Config) -> bool {
    let is_loopback =
        |host: &str| host == "localhost" || host.parse().is_ok_and(|address: IpAddr| address.is_loopback());
    let addresses = config.get_hostaddrs();
    if !addresses.is_empty() {
        return addresses.iter().all(IpAddr::is_loopback);
    }
    config.get_hosts().iter().all(|host| match host {
        Host::Tcp(host) => is_loopback(host),
        Host::Unix(_) => true,
    })
}

fn client_config(tls: Tls, ca_file: Option<&Path>) -> Result<ClientConfig, Error> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong(error.to_string()))?;
    Ok(match tls {
        Tls::Disable => builder.with_root_certificates(RootCertStore::empty()).with_no_client_auth(),
        Tls::Require => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Unverified(provider)))
            .with_no_client_auth(),
        Tls::VerifyFull => builder.with_root_certificates(roots(ca_file)?).with_no_client_auth(),
    })
}

/// The authorities to trust: those of the file; without one, those of the operating system.
fn roots(ca_file: Option<&Path>) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    let Some(file) = ca_file else {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        return Ok(roots);
    };
    let wrong = |cause: String| wrong(format!("{}: {cause}", file.display()));
    for certificate in CertificateDer::pem_file_iter(file).map_err(|error| wrong(error.to_string()))? {
        let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
        roots.add(certificate).map_err(|error| wrong(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(wrong("the file holds no certificate".to_owned()));
    }
    Ok(roots)
}

fn wrong(cause: String) -> Error {
    Error::backend("set TLS up", cause)
}

/// Takes any certificate: who listens on the line learns nothing, who sits in it may be anybody.
#[derive(Debug)]
struct Unverified(Arc<CryptoProvider>);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn chosen_for(url: &str, tls: Option<Tls>) -> Result<Tls, Error> {
        let settings = Settings { tls, ..Settings::at(url) };
        chosen(&settings, &session::config(&settings).unwrap())
    }

    #[test]
    fn what_leaves_the_machine_is_protected_unless_somebody_says_otherwise() {
        for here in ["host=/run/postgresql", "host=localhost", "postgres://127.0.0.1/y", "host=::1 user=a"] {
            assert_eq!(chosen_for(here, None).unwrap(), Tls::Disable, "{here}");
        }
        for away in ["host=db.pref.test", "postgres://10.1.2.3/y", "host=localhost,db.pref.test"] {
            assert_eq!(chosen_for(away, None).unwrap(), Tls::VerifyFull, "{away}");
        }
        let named = "host=localhost hostaddr=10.1.2.3";
        assert_eq!(chosen_for(named, None).unwrap(), Tls::VerifyFull);
        assert_eq!(chosen_for("host=localhost sslmode=require", None).unwrap(), Tls::VerifyFull);
        assert_eq!(chosen_for("host=db.pref.test sslmode=disable", None).unwrap(), Tls::Disable);
        assert_eq!(chosen_for("host=db.pref.test", Some(Tls::Require)).unwrap(), Tls::Require);
    }

    #[test]
    fn an_address_that_contradicts_the_setting_is_refused() {
        for (url, tls) in [
            ("host=db.pref.test sslmode=require", Tls::Disable),
            ("host=db.pref.test sslmode=disable", Tls::Require),
            ("host=db.pref.test sslmode=disable", Tls::VerifyFull),
        ] {
            assert!(matches!(chosen_for(url, Some(tls)), Err(Error::Backend { .. })), "{url} {tls:?}");
        }
    }
}
