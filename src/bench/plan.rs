//! What is done to the server, scenario by scenario, and the bounds of each.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use futures_util::{StreamExt as _, TryStreamExt as _, future::try_join_all, stream};

use crate::{
    client::{Server, User, next_batch},
    cost::Cost,
    process::{Processes, disk_bytes},
    report::Report,
    statistics::Times,
    syncs::Reader,
};

/// Members of the room that messages are sent to.
const MEMBERS: usize = 50;
/// Log-ins that are measured: the processor's time, which the system counts in hundredths of a second, is told to 1 %.
const LOG_INS: usize = 100;
/// Rooms that are made: told to 4 % where one takes 0.7 ms, and a slow server makes them in a minute.
const ROOMS: usize = 400;
/// First syncs of each kind. Their median still moves by a tenth from run to run: compare several.
const FIRST_SYNCS: usize = 25;
/// No scenario sends more messages than this, however fast the server is.
const MOST_MESSAGES: usize = 100_000;

/// The scenarios' sizes.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) load_seconds: u64,
    pub(crate) rooms: usize,
    pub(crate) messages: usize,
    pub(crate) only_send: bool,
    pub(crate) only_sync: bool,
    pub(crate) only_delivery: bool,
    pub(crate) data: Vec<PathBuf>,
}

impl Plan {
    /// Runs everything in order; figures found before an error stay in the report.
    pub(crate) async fn run(
        &self,
        server: &Server,
        processes: &Processes,
        report: &mut Report,
    ) -> Result<()> {
        tokio::time::sleep(Duration::from_secs(2)).await;
        report.number("idle_rss_mib", processes.memory_mib());
        if self.only_sync {
            return self.initial_sync(server, processes, report).await;
        }
        let users = self.register(server, processes, report).await?;
        if self.only_delivery {
            let room = shared_room(&users).await?;
            return self.deliveries(&users, &room, processes, report).await;
        }
        if !self.only_send {
            log_ins(server, &users, processes, report).await?;
            create_rooms(&users, processes, report).await?;
        }
        let room = shared_room(&users).await?;
        let mut sent = 0;
        let disk_before = self.disk();
        for senders in [1, 8, 32] {
            sent += self.messages(&users, &room, senders, processes, report).await?;
        }
        if !self.data.is_empty() {
            tokio::time::sleep(Duration::from_secs(2)).await;
            let grown = self.disk().saturating_sub(disk_before);
            report.number("disk_mib_per_10000_messages", grown as f64 / 1048576.0 / sent as f64 * 10_000.0);
        }
        if !self.only_send {
            self.deliveries(&users, &room, processes, report).await?;
            self.initial_sync(server, processes, report).await?;
        }
        report.number("loaded_rss_mib", processes.memory_mib());
        Ok(())
    }

    async fn deliveries(
        &self,
        users: &[Arc<User>],
        room: &str,
        processes: &Processes,
        report: &mut Report,
    ) -> Result<()> {
        for rate in [2, 10] {
            self.delivery(users, room, rate, processes, report).await?;
        }
        Ok(())
    }

    fn disk(&self) -> u64 {
        self.data.iter().map(|directory| disk_bytes(directory)).sum()
    }

    async fn register(
        &self,
        server: &Server,
        processes: &Processes,
        report: &mut Report,
    ) -> Result<Vec<Arc<User>>> {
        let tag = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_millis();
        let cost = Cost::start(processes);
        let users: Vec<_> = stream::iter(0..MEMBERS)
            .map(|n| async move { server.register(&format!("bench{tag}n{n}")).await.map(Arc::new) })
            .buffered(4)
            .try_collect()
            .await
            .context("accounts could not be registered")?;
        cost.report(report, "registrations", MEMBERS);
        Ok(users)
    }

    /// Messages of `senders` users at once, each waiting for the acknowledgement of its last one.
    async fn messages(
        &self,
        users: &[Arc<User>],
        room: &str,
        senders: usize,
        processes: &Processes,
        report: &mut Report,
    ) -> Result<usize> {
        let until = Instant::now() + Duration::from_secs(self.load_seconds);
        let count = Arc::new(AtomicUsize::new(0));
        let cost = Cost::start(processes);
        let work = users.iter().take(senders).map(|user| {
            let (user, room, count) = (user.clone(), room.to_owned(), count.clone());
            tokio::spawn(async move {
                let mut times = Times::default();
                while Instant::now() < until && count.fetch_add(1, Ordering::Relaxed) < MOST_MESSAGES {
                    let begun = Instant::now();
                    user.message(&room, "こちら庁舎です。被害の状況を報告してください。").await?;
                    times.push(begun.elapsed());
                }
                anyhow::Ok(times)
            })
        });
        let mut times = Times::default();
        for sender in try_join_all(work).await? {
            times.append(&mut sender?);
        }
        let sent = times.len();
        cost.report(report, &format!("messages_{senders}_senders"), sent);
        report.number(format!("send_{senders}_senders_p50_ms"), times.percentile_ms(50));
        report.number(format!("send_{senders}_senders_p99_ms"), times.percentile_ms(99));
        Ok(sent)
    }

    /// How long a message takes to reach 49 others who wait for it in `/sync`, at a steady rate.
    async fn delivery(
        &self,
        users: &[Arc<User>],
        room: &str,
        rate: u64,
        processes: &Processes,
        report: &mut Report,
    ) -> Result<()> {
        let (sender, readers) = users.split_first().context("no users")?;
        let done = Arc::new(AtomicBool::new(false));
        // A server may send old messages again; only those of this scenario count.
        let mark = format!("bench-at-{rate} ");
        let clock = Instant::now();
        let ready = Arc::new(AtomicUsize::new(0));
        let reading: Vec<_> = readers
            .iter()
            .map(|user| {
                tokio::spawn(read_until(user.clone(), clock, mark.clone(), done.clone(), ready.clone()))
            })
            .collect();
        while ready.load(Ordering::Relaxed) < readers.len() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
        let cost = Cost::start(processes);
        let mut beat = tokio::time::interval(Duration::from_millis(1000 / rate));
        let wanted = rate * self.load_seconds;
        for _ in 0..wanted {
            beat.tick().await;
            sender.message(room, &format!("{mark}{}", clock.elapsed().as_micros())).await?;
        }
        tokio::time::sleep(Duration::from_millis(1500)).await;
        cost.report_cpu(report, &format!("delivery_{rate}_per_s_cpu_ms_per_message"), wanted as usize);
        done.store(true, Ordering::Relaxed);
        sender.message(room, "bench-end").await?;
        let mut times = Times::default();
        for reader in try_join_all(reading).await? {
            times.append(&mut reader?);
        }
        let expected = readers.len() * wanted as usize;
        // The first and the last readers besides: where readers and server share processors, they tell which of the two waits.
        for percent in [10, 50, 90, 99] {
            report.number(format!("delivery_{rate}_per_s_p{percent}_ms"), times.percentile_ms(percent));
        }
        report.number(
            format!("delivery_{rate}_per_s_seen_percent"),
            times.len() as f64 * 100.0 / expected as f64,
        );
        Ok(())
    }

    async fn initial_sync(&self, server: &Server, processes: &Processes, report: &mut Report) -> Result<()> {
        let tag = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_millis();
        let user = Arc::new(server.register(&format!("reader{tag}")).await?);
        let rooms: Vec<String> = stream::iter(0..self.rooms)
            .map(|n| {
                let user = user.clone();
                async move {
                    let room = user.create_room(&format!("会議室{n}")).await?;
                    for m in 0..self.messages {
                        user.message(&room, &format!("議題{m}について意見を集めます。")).await?;
                    }
                    anyhow::Ok(room)
                }
            })
            .buffer_unordered(8)
            .try_collect()
            .await?;
        Reader { server, user: &user, rooms: &rooms, processes }.measure(report).await?;
        for (name, filter) in [("initial_sync", None), ("initial_sync_50_each", Some(FIFTY_EACH))] {
            let mut times = Times::default();
            let mut size = 0;
            for _ in 0..FIRST_SYNCS {
                // A new device each time: servers keep the answers that a device has asked for lately.
                let device = server.log_in(&user.id, &user.password).await?;
                let begun = Instant::now();
                size = device.sync(None, Duration::ZERO, filter).await?.len();
                times.push(begun.elapsed());
            }
            report.number(format!("{name}_ms"), times.percentile_ms(50));
            report.number(format!("{name}_kib"), size as f64 / 1024.0);
        }
        Ok(())
    }
}

const FIFTY_EACH: &str = r#"{"room":{"timeline":{"limit":50}}}"#;

/// Long-polls as a client does and notes how old each timed message is when it arrives.
async fn read_until(
    user: Arc<User>,
    clock: Instant,
    mark: String,
    done: Arc<AtomicBool>,
    ready: Arc<AtomicUsize>,
) -> Result<Times> {
    let mut times = Times::default();
    let first = user.sync(None, Duration::ZERO, Some(r#"{"room":{"timeline":{"limit":1}}}"#)).await?;
    let mut since = next_batch(&first)?;
    ready.fetch_add(1, Ordering::Relaxed);
    while !done.load(Ordering::Relaxed) {
        let answer = user.sync(Some(&since), Duration::from_secs(10), None).await?;
        let now = clock.elapsed().as_micros();
        let text = String::from_utf8_lossy(&answer);
        for rest in text.split(mark.as_str()).skip(1) {
            let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
            let sent: u128 = digits.parse()?;
            times.push(Duration::from_micros(u64::try_from(now.saturating_sub(sent))?));
        }
        since = next_batch(&answer)?;
    }
    Ok(times)
}

async fn log_ins(
    server: &Server,
    users: &[Arc<User>],
    processes: &Processes,
    report: &mut Report,
) -> Result<()> {
    let cost = Cost::start(processes);
    stream::iter(users.iter().cycle().take(LOG_INS))
        .map(|user| async move { server.log_in(&user.id, &user.password).await.map(|_| ()) })
        .buffer_unordered(4)
        .try_collect::<()>()
        .await?;
    cost.report(report, "log_ins", LOG_INS);
    Ok(())
}

async fn create_rooms(users: &[Arc<User>], processes: &Processes, report: &mut Report) -> Result<()> {
    let cost = Cost::start(processes);
    stream::iter(users.iter().cycle().take(ROOMS))
        .map(|user| async move { user.create_room("部屋").await.map(|_| ()) })
        .buffer_unordered(4)
        .try_collect::<()>()
        .await?;
    cost.report(report, "rooms_created", ROOMS);
    Ok(())
}

async fn shared_room(users: &[Arc<User>]) -> Result<String> {
    let (creator, others) = users.split_first().context("no users")?;
    let room = creator.create_room("災害対策本部").await?;
    stream::iter(others)
        .map(|user| user.join(&room))
        .buffer_unordered(4)
        .try_collect::<()>()
        .await
        .context("the members could not join")?;
    Ok(room)
}
