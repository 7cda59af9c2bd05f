//! `bench push`: how long it takes from a message to the push gateways of those who are not there.
//!
//! People with a pusher each, in rooms of a few; one person for each room sends at a steady rate, and a gateway of ours notes
//! when it hears of which event. What is measured begins with the request that sends: it has the commit in it.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use futures_util::future::try_join_all;
use http::Response;
use http_body_util::{BodyExt, Full};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::net::TcpListener;

use crate::{
    bulk::Bulk,
    cost::Cost,
    people::Person,
    report::Report,
    site::{Ground, Site},
    statistics::Times,
    wire::Wire,
};

/// The one authority.
const NAME: &str = "bench.example.jp";
/// Connections over which is sent.
const HANDS: usize = 8;
/// How long it is waited for what has not come yet.
const LAST: Duration = Duration::from_secs(5);

/// Devices that are told by a push gateway.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Rooms (at most 1,000).
    #[arg(long, default_value_t = 100)]
    rooms: usize,
    /// People with a pusher in each of them (at most 50).
    #[arg(long, default_value_t = 1)]
    readers: usize,
    /// Messages a second (at most 1,000).
    #[arg(long, default_value_t = 100.0)]
    rate: f64,
    /// Seconds (at most 300).
    #[arg(long, default_value_t = 30)]
    seconds: u64,
    /// Where the server is.
    #[command(flatten)]
    ground: Ground,
}

/// What the gateway heard.
#[derive(Default)]
struct Heard {
    /// When, by event.
    events: HashMap<String, Vec<Instant>>,
    connections: usize,
}

/// Runs everything; figures found before an error stay in the report.
pub(crate) async fn run(arguments: &Arguments, report: &mut Report) -> Result<()> {
    let mut site = Site::found(&arguments.ground, &[NAME.to_owned()])?;
    let outcome = measure(arguments, report, &mut site).await;
    site.stop().await;
    outcome
}

async fn measure(arguments: &Arguments, report: &mut Report, site: &mut Site) -> Result<()> {
    let (rooms, readers) = (arguments.rooms.clamp(1, 1_000), arguments.readers.clamp(1, 50));
    let (rate, seconds) = (arguments.rate.clamp(1.0, 1_000.0), arguments.seconds.clamp(1, 300));
    let heard = Arc::new(Mutex::new(Heard::default()));
    let gateway = gateway(heard.clone()).await?;
    site.start().await?;

    let limit = Duration::from_secs(20 * 60);
    let bulk = |what, count| Bulk { what, count, limit };
    let made = bulk("rooms", rooms).run(site, report, async |wire, n| {
        let sender = Person::register(wire, NAME, &format!("okuru{n}")).await?;
        let room = sender.create_room(wire, "係の部屋").await?;
        for reader in 0..readers {
            let reader = Person::register(wire, NAME, &format!("yomu{n}-{reader}")).await?;
            reader.join(wire, &room).await?;
            reader.set_pusher(wire, &format!("http://{gateway}/_matrix/push/v1/notify")).await?;
        }
        Ok((sender, room))
    });
    let made: Vec<(Person, String)> = made.await?;

    let count = (rate * seconds as f64) as usize;
    let cost = Cost::start(&site.processes);
    let sent: Mutex<HashMap<String, Instant>> = Mutex::default();
    let (started, address) = (Instant::now(), site.address);
    let hand = async |hand: usize| {
        let mut wire = Wire::to(address);
        for n in (hand..count).step_by(HANDS) {
            let due = started + Duration::from_secs_f64(n as f64 / rate);
            let is_late = due < Instant::now();
            tokio::time::sleep_until(due.into()).await;
            // A message that the one before it has held up has waited since it was due.
            let begun = if is_late { due } else { Instant::now() };
            let (sender, room) = &made[n % rooms];
            let event = sender.message(&mut wire, room, &format!("連絡{n}です。")).await?;
            sent.lock().insert(event, begun);
        }
        anyhow::Ok(())
    };
    try_join_all((0..HANDS).map(hand)).await?;
    report.number("messages_per_s", count as f64 / started.elapsed().as_secs_f64());
    let (sent, end) = (sent.into_inner(), Instant::now() + LAST);
    let wanted = count * readers;
    while heard.lock().events.values().map(Vec::len).sum::<usize>() < wanted && Instant::now() < end {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    report.number("server_cpu_ms_per_message", cost.cpu_ms() / count as f64);

    let heard = heard.lock();
    let (mut times, mut told) = (Times::default(), 0);
    for (event, begun) in &sent {
        for heard in heard.events.get(event).into_iter().flatten() {
            times.push(heard.saturating_duration_since(*begun));
            told += 1;
        }
    }
    report.number("told", f64::from(told));
    // A newer message of the same room stands for one that still waits.
    report.number("passed_over", wanted as f64 - f64::from(told));
    report.number("connections", heard.connections as f64);
    for percent in [50, 95, 99] {
        report.number(format!("to_gateway_p{percent}_ms"), times.percentile_ms(percent));
    }
    report.number("to_gateway_most_ms", times.percentile_ms(100));
    ensure!(told > 0, "the gateway heard of nothing");
    Ok(())
}

/// A push gateway that takes everything and notes when.
async fn gateway(heard: Arc<Mutex<Heard>>) -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr().context("an address")?;
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            heard.lock().connections += 1;
            let heard = heard.clone();
            let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
                let heard = heard.clone();
                async move {
                    let body = request.into_body().collect().await?.to_bytes();
                    let now = Instant::now();
                    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
                    if let Some(event) = body["notification"]["event_id"].as_str() {
                        heard.lock().events.entry(event.to_owned()).or_default().push(now);
                    }
                    let answer = Response::new(Full::new(Bytes::from_static(b"{\"rejected\":[]}")));
                    Ok::<_, hyper::Error>(answer)
                }
            });
            socket.set_nodelay(true).ok();
            let serving =
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), service);
            tokio::spawn(serving);
        }
    });
    Ok(address)
}
