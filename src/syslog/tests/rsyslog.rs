//! With a real log server: Debian's rsyslog over TLS, as a process of the test.
//!
//! `src/syslog/rsyslog` runs these; where rsyslog is not there they are left out.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::{Child, Command, Stdio},
};

use super::{outages::Ca, *};

/// A log server of its own. It ends with the test.
struct Rsyslog {
    process: Child,
}

impl Rsyslog {
    /// One that writes number, chain and message of each row as a line, and takes connections from those who show a certificate
    /// that its authority has given.
    fn start(home: &Path, port: u16) -> Rsyslog {
        let at = home.display();
        let conf = format!(
            r#"
global(workDirectory="{at}" maxMessageSize="64k"
  defaultNetstreamDriver="gtls" defaultNetstreamDriverCAFile="{at}/ca.pem"
  defaultNetstreamDriverCertFile="{at}/cert.pem" defaultNetstreamDriverKeyFile="{at}/key.pem")
module(load="imtcp" streamDriver.name="gtls" streamDriver.mode="1" streamDriver.authMode="x509/name"
  permittedPeer="kanazawa.test")
template(name="row" type="string" string="%PRI%|%TIMESTAMP:::date-rfc3339%|%HOSTNAME%|%APP-NAME%|%MSGID%|%STRUCTURED-DATA%|%msg%\n")
ruleset(name="audit") {{ action(type="omfile" file="{at}/audit.log" template="row" asyncWriting="off" flushOnTXEnd="on") }}
input(type="imtcp" port="{port}" address="127.0.0.1" ruleset="audit")
"#
        );
        fs::write(home.join("rsyslog.conf"), conf).unwrap();
        let process = Command::new("rsyslogd")
            .args(["-n", "-iNONE", "-f"])
            .arg(home.join("rsyslog.conf"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Rsyslog { process }
    }

    /// Ends it as a loss of power does.
    fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for Rsyslog {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// The rows that it has, by number: the message, and the values of the chain; a row twice is the same row.
fn kept(home: &Path) -> BTreeMap<u64, (String, String)> {
    let text = fs::read_to_string(home.join("audit.log")).unwrap_or_default();
    let mut rows = BTreeMap::new();
    // The last line may be being written.
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    for line in whole.lines() {
        let mut parts = line.splitn(7, '|');
        let [priority, at, host, app, kind, data, message] = std::array::from_fn(|_| parts.next().unwrap());
        assert_eq!(
            (priority, host, app, kind),
            ("110", "kanazawa.test", "yakuba", "session.sign_in"),
            "{line}"
        );
        assert!(at.contains("+09:00"), "{line}");
        let field = |name: &str| {
            let (_, rest) = data.split_once(&format!(" {name}=\"")).unwrap();
            rest.split_once('"').unwrap().0.to_owned()
        };
        let row = (field("chain"), message.trim_start().to_owned());
        let json: serde_json::Value = serde_json::from_str(&row.1).unwrap();
        assert_eq!(json["who"], "@hanako:kanazawa.test", "{line}");
        let known = rows.entry(field("number").parse().unwrap()).or_insert_with(|| row.clone());
        assert_eq!(*known, row, "a row that came twice is another one");
    }
    rows
}

async fn until_kept(home: &Path, count: usize) -> BTreeMap<u64, (String, String)> {
    let wait = async {
        loop {
            let rows = kept(home);
            if rows.len() >= count {
                return rows;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(SOON, wait).await.unwrap_or_else(|_| panic!("{} of {count} rows came", kept(home).len()))
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn home(ca: &Ca) -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    let (certificate, key) = ca.issue_pem("localhost");
    fs::write(home.path().join("ca.pem"), ca.pem()).unwrap();
    fs::write(home.path().join("cert.pem"), certificate).unwrap();
    fs::write(home.path().join("key.pem"), key).unwrap();
    home
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs rsyslog: src/syslog/rsyslog"]
async fn every_row_is_at_a_real_rsyslog_though_it_is_killed_while_they_come() {
    let ca = Ca::new("ours");
    let (home, port) = (home(&ca), free_port());
    let mut settings = to(port);
    settings.place.host = "localhost".to_owned();
    settings.tls = Some(super::outages::client(&ca, Some(&ca)));
    settings.bounds.settle = Duration::from_secs(2);
    let mut office = Office::sending_to(settings).await;
    office.forwarder.start();
    office.rows(1..=100).await;
    let mut server = Rsyslog::start(home.path(), port);
    until_kept(home.path(), 100).await;
    let mut written = 100;
    for round in 0..5 {
        office.rows(written + 1..=written + 2_000).await;
        written += 2_000;
        until_kept(home.path(), written - 2_000 + 300 * round + 1).await;
        server.kill();
        office.rows(written + 1..=written + 50).await;
        written += 50;
        server = Rsyslog::start(home.path(), port);
        until_kept(home.path(), written).await;
    }
    let rows = until_kept(home.path(), written).await;
    assert_eq!(rows.keys().copied().collect::<Vec<_>>(), (1..=written as u64).collect::<Vec<_>>());
    let status = office.until(|status| status.waiting == 0).await;
    assert_eq!(status.failing, None);
    // What the log server has is what a check is given later.
    let last = &rows[&(written as u64)].0;
    let noted = format!("{written}:{last}").parse().unwrap();
    let found = audit::verify(&office.store, kanazawa(), None, Some(noted)).await.unwrap();
    assert_eq!(found.wrong, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs rsyslog: src/syslog/rsyslog"]
async fn a_real_rsyslog_that_asks_for_a_certificate_takes_nothing_from_who_has_another_or_none() {
    let (ca, others) = (Ca::new("ours"), Ca::new("others"));
    let (home, port) = (home(&ca), free_port());
    let _server = Rsyslog::start(home.path(), port);
    for shows in [None, Some(&others)] {
        let mut settings = to(port);
        settings.tls = Some(super::outages::client(&ca, shows));
        settings.bounds.settle = Duration::from_secs(2);
        let mut office = Office::sending_to(settings).await;
        office.rows(1..=3).await;
        office.forwarder.start();
        let status = office
            .until(|status| !matches!(status.failing, None | Some((_, crate::Fault::Unreachable(_)))))
            .await;
        assert_eq!(status.sent, 0);
        assert!(kept(home.path()).is_empty());
    }
}
