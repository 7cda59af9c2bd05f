//! [`Neighbour`]: a second server, which is in some of the rooms and hears of what happens there over real federation.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use parking_lot::Mutex;
use tokio::task::JoinHandle;

use super::prefecture::Prefecture;
use crate::{
    certificates::CertificateAuthority,
    people::Person,
    process::free_address,
    report::Report,
    site::{Ground, More, Site},
    wire::Wire,
};

/// Its name.
const NAME: &str = "machi.example.jp";
/// How often it is looked how much it was told.
const LOOK: Duration = Duration::from_secs(1);
/// What the paced rate is measured over.
const WINDOW: usize = 10;
/// What was in transit gets so long.
const SETTLING: Duration = Duration::from_secs(5);

/// The second server.
pub(super) struct Neighbour {
    pub(super) site: Site,
    user: Option<Arc<Person>>,
}

/// Both servers, which know where the other one is. Neither runs yet.
pub(super) fn pair(
    ground: &Ground,
    name: &str,
    authority: &CertificateAuthority,
) -> Result<(Prefecture, Neighbour)> {
    let (ours, theirs) = (free_address()?, free_address()?);
    let more = |own: &str,
                listens: std::net::SocketAddr,
                other: &str,
                at: std::net::SocketAddr,
                directory: &Path| {
        let (certificate, key) = authority.issue_files(own, directory)?;
        let (certificate, key, ca) = (certificate.display(), key.display(), authority.file.display());
        let tls = format!("[authorities.tls]\ncertificate = \"{certificate}\"\nkey = \"{key}\"\n");
        let sections = format!(
            r#"[[listeners]]
address = "{listens}"
serves = ["federation"]
tls = true
[federation]
peers = "everybody"
trust = "files"
ca_files = ["{ca}"]
dns = false
private_addresses = "allow"
[federation.fixed."{other}"]
address = "{at}"
"#
        );
        anyhow::Ok(More { serves: ", \"admin_api\"", of_authority: tls, sections })
    };
    let site = Site::found_with(&ground.part("prefecture".to_owned()), &[name.to_owned()], |directory| {
        more(name, ours, NAME, theirs, directory)
    })?;
    let neighbour =
        Site::found_with(&ground.part("neighbour".to_owned()), &[NAME.to_owned()], |directory| {
            more(NAME, theirs, name, ours, directory)
        })?;
    Ok((Prefecture { site }, Neighbour { site: neighbour, user: None }))
}

impl Neighbour {
    /// Somebody there who comes into rooms.
    pub(super) async fn register(&mut self) -> Result<Arc<Person>> {
        let mut wire = Wire::to(self.site.address);
        let person = Arc::new(Person::register(&mut wire, NAME, "tonari").await?);
        self.user = Some(person.clone());
        Ok(person)
    }

    /// Who that is.
    pub(super) fn user(&self) -> Result<String> {
        Ok(self.user.as_ref().context("nobody is there")?.id.clone())
    }
}

/// What a server is told by others, looked at each second.
pub(super) struct Flow {
    seen: Arc<Mutex<Vec<u64>>>,
    looking: JoinHandle<()>,
}

impl Flow {
    /// Looks from now on.
    pub(super) fn of(site: &Site) -> Self {
        let (gauges, seen) = (site.gauges(), Arc::new(Mutex::new(Vec::new())));
        let looks = seen.clone();
        let looking = tokio::spawn(async move {
            let mut next = Instant::now();
            loop {
                // A look that fails is one that does not count; the next one sees what came meanwhile.
                if let Ok(told) = gauges.sum("yakuba_federation_units_received_total", "unit=\"pdu\"").await {
                    looks.lock().push(told);
                }
                next += LOOK;
                tokio::time::sleep_until(next.into()).await;
            }
        });
        Self { seen, looking }
    }

    /// Ends looking, and reports how much came when most came.
    pub(super) async fn report(self, report: &mut Report) {
        tokio::time::sleep(SETTLING).await;
        self.looking.abort();
        let seen = self.seen.lock();
        let most = |window: usize| {
            let window = window.min(seen.len().saturating_sub(1)).max(1);
            let grown = |pair: &[u64]| pair.last().zip(pair.first()).map(|(last, first)| last - first);
            seen.windows(window + 1).filter_map(grown).max().unwrap_or_default() as f64 / window as f64
        };
        let all = seen.last().zip(seen.first()).map_or(0, |(last, first)| last - first);
        report.number("neighbour_events", all as f64);
        report.number("neighbour_events_per_s_most", most(1));
        report.number("neighbour_events_per_s_most_of_10_s", most(WINDOW));
    }
}
