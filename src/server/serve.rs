//! `yakuba serve`: open everything, listen, and end in order.

use std::{io, path::Path, sync::Arc, time::Duration};

use anyhow::{Context, anyhow};
use base::Clock;
use tokio::{
    io::AsyncReadExt,
    signal::unix::{SignalKind, signal},
};
use tracing::{info, warn};

use crate::{
    config::{Config, ListenerTls, Serves},
    files::write_private,
    house::{Foundation, House},
    listen::{self, Service},
    places, process,
    storage::Data,
    texts::tr,
    tls::{self, Certificates},
};

/// How long requests and tasks may take to finish at a stop.
const STOP_DEADLINE: Duration = Duration::from_secs(20);

/// The file with the token of the administrator's commands, beside the configuration.
pub(crate) const ADMIN_TOKEN_FILE: &str = "admin.token";

/// Serves until a signal asks to stop; if wanted, also until standard input ends, so that a server does not
/// outlive who started it. `data` says whether the data must be there already.
///
/// # Errors
/// Whatever keeps the process from starting.
pub async fn serve(config: &Config, data: Data, until_stdin_ends: bool) -> anyhow::Result<()> {
    let clock = Clock::system();
    let started = clock.instant();
    // Before anything is opened: a signal that comes early must not be missed.
    let stop = Stop::listen(until_stdin_ends)
        .with_context(|| tr!("シグナルを受け取れません", "signals cannot be heard"))?;

    for file in config.exposed_secrets() {
        warn!(file = %file.display(), "others than its owner may read this secret; chmod go= mends it");
    }
    let bounds = config.bounds(process::raise_open_files())?;
    if bounds.places < places::MOST {
        let count = bounds.places;
        warn!(count, "few open files are allowed (ulimit -n), so each listener takes few connections");
    }
    let certificates = Certificates::open(config).map_err(|error| anyhow!(tls::told(&error)))?;
    let mut bound = Vec::new();
    for listener in &config.listeners {
        bound.push((listener, listen::bind(listener.address).await?));
    }
    let house = House::open(config, Foundation::of(config, data).await?).await?;
    house.start_upkeep();
    house.start_trimming(config);
    let token_file = config.path(Path::new(ADMIN_TOKEN_FILE));
    if let Err(error) = write_private(&token_file, house.admin_token()) {
        let file = token_file.display();
        warn!(%file, %error, "the administrator's token cannot be written, so commands cannot use it");
    }

    certificates.watch(&clock, &house.edges);
    let listen = || -> anyhow::Result<()> {
        for (listener, socket) in bound {
            let service = Service {
                router: house.router(&listener.serves)?,
                tls: (listener.tls == ListenerTls::Ourselves).then(|| certificates.acceptor()).transpose()?,
                default_name: listener.authority.as_ref().map(|name| Arc::from(name.as_str())),
                zone: config.zone_of(listener),
            };
            listen::announce(
                socket.local_addr()?,
                &names(&listener.serves),
                listener.tls == ListenerTls::Ourselves,
            );
            listen::start(socket, service, bounds.clone(), &house.edges, &house.metrics);
        }
        Ok(())
    };
    if let Err(error) = listen() {
        house.close(STOP_DEADLINE).await;
        return Err(error);
    }
    let elapsed_ms = clock.instant().since(started).as_millis();
    let authorities = config.authorities.len();
    info!(version = crate::VERSION, authorities, elapsed_ms, "ready");
    process::release_code();

    let reason = stop.wait().await;
    info!(reason, "stopping");
    house.close(STOP_DEADLINE).await;
    Ok(())
}

fn names(serves: &[Serves]) -> String {
    let names = serves.iter().map(|serves| match serves {
        Serves::Client => "client",
        Serves::Federation => "federation",
        Serves::Admin => "admin",
        Serves::AdminApi => "admin_api",
        Serves::Console => "console",
        Serves::Counter => "counter",
    });
    names.collect::<Vec<_>>().join(" ")
}

/// What asks the process to stop.
struct Stop {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    until_stdin_ends: bool,
}

impl Stop {
    fn listen(until_stdin_ends: bool) -> io::Result<Stop> {
        Ok(Stop {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            until_stdin_ends,
        })
    }

    async fn wait(mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
            () = stdin_ends(), if self.until_stdin_ends => "standard input ended",
        }
    }
}

async fn stdin_ends() {
    let mut buffer = [0; 64];
    let mut stdin = tokio::io::stdin();
    loop {
        match stdin.read(&mut buffer).await {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) => return warn!(%error, "standard input"),
        }
    }
}
