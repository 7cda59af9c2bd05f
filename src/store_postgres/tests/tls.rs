//! Connections over TLS, and those that must not be made.

use std::{path::Path, time::Duration};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use store::{Batch, Topic};

use super::{ROWS, admin, cluster::Cluster, open};
use crate::{PostgresBackend, Settings, Tls};

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority(file: &Path) -> Authority {
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    std::fs::write(file, authority.as_ref().pem()).unwrap();
    authority
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_are_protected_as_asked_and_never_less() {
    let directory = tempfile::tempdir().unwrap();
    let (ours, others) = (directory.path().join("ours.pem"), directory.path().join("others.pem"));
    let issuer = authority(&ours);
    authority(&others);
    let key = KeyPair::generate().unwrap();
    let certificate =
        CertificateParams::new(vec!["localhost".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    let (certificate, key) = (certificate.pem(), key.serialize_pem());
    let cluster = tokio::task::spawn_blocking(move || Cluster::with_tls(&certificate, &key)).await.unwrap();
    let verified = Settings {
        tls: Some(Tls::VerifyFull),
        ca_file: Some(ours),
        ..Settings::at(cluster.url_at("localhost"))
    };

    let (one, other) = (open(&verified).await, open(&verified).await);
    let mut watch = other.watch(vec![Topic::room("!a")]);
    let mut batch = Batch::new();
    batch.put(&ROWS, &1, &bytes::Bytes::new());
    batch.log(1, bytes::Bytes::new(), [Topic::room("!a")]);
    one.commit(batch).await.unwrap();
    tokio::time::timeout(Duration::from_secs(20), watch.changed()).await.expect("it is heard of");
    let admin = admin(&cluster.url()).await;
    let lines = "SELECT count(*) FILTER (WHERE ssl), count(*) FILTER (WHERE NOT ssl)
                 FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE application_name = 'yakuba'";
    let lines = admin.query_one(lines, &[]).await.unwrap();
    assert!(lines.get::<_, i64>(0) >= 4, "two write and two listen");
    assert_eq!(lines.get::<_, i64>(1), 0);

    let of_others = Settings { ca_file: Some(others), ..verified.clone() };
    let by_address = Settings { url: cluster.url_at("127.0.0.1"), ..verified.clone() };
    for refused in [&of_others, &by_address] {
        let error = PostgresBackend::is_begun(refused).await.unwrap_err();
        assert!(format!("{error:?}").contains("InvalidCertificate"), "{error:?}");
    }
    let any = Settings { tls: Some(Tls::Require), ..of_others };
    assert!(PostgresBackend::is_begun(&any).await.unwrap());
    // A server without TLS is not spoken to in the clear.
    let plain = tokio::task::spawn_blocking(Cluster::shared).await.unwrap();
    let socket = Settings { url: plain.url(), ..any };
    assert!(PostgresBackend::is_begun(&socket).await.is_err());
    for store in [one, other] {
        store.close().await.unwrap();
    }
}
