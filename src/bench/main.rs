//! `bench`: a load generator that drives any Matrix homeserver by URL.
//!
//! It speaks only the public client-server API, so the same work runs against Yakuba, Synapse or
//! anything else, and ratios come from one run on one machine. It talks to loopback addresses only,
//! and every scenario is bounded in time and in count.
//!
//! Beside that, `bench host`, `bench crowd`, `bench purge`, `bench push`, `bench morning` and `bench april` start a Yakuba of their own ([`site`]) and show
//! what size does to it: many authorities in one process, many rooms of one user, many readers of one room, a large room
//! that goes, devices that are told.
//!
//! And `bench nation` plays the servers that a server under test federates with ([`nation`]).
//!
//! Reading order: [`plan`] (what is done, with its bounds), [`client`] (one user over HTTP),
//! [`process`] (what the server costs), [`report`]; then [`host`], [`crowd`] and what they share: [`wire`],
//! [`people`], [`readers`], [`beat`].

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command that prints its findings")]

mod april;
mod beat;
mod bulk;
mod certificates;
mod client;
mod cost;
mod crowd;
mod host;
mod morning;
mod nation;
mod people;
mod plan;
mod process;
mod purge;
mod push;
mod readers;
mod report;
mod site;
mod statistics;
mod steady;
mod syncs;
mod wire;

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::Parser;

use crate::{client::Server, plan::Plan, process::Processes};

/// Measures a homeserver on this machine and prints a table, and the same as one JSON line.
#[derive(Debug, Parser)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    drive: Option<Drive>,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// One process for many authorities.
    Host(host::Arguments),
    /// Many rooms of one user, many readers of one room.
    Crowd(crowd::Arguments),
    /// Authorities that are played around one server, all in one room.
    Nation(nation::Arguments),
    /// A large room that is purged while others send.
    Purge(purge::Arguments),
    /// From a message to the push gateways of those who are not there.
    Push(push::Arguments),
    /// Everybody signs in when work begins, while others send.
    Morning(morning::Arguments),
    /// Three in ten people of a prefecture move on one day, while others send.
    April(april::Arguments),
}

/// Drives any homeserver by its URL.
#[derive(Debug, clap::Args)]
struct Drive {
    /// Base URL of the client-server API; only loopback addresses are accepted.
    #[arg(long)]
    url: String,
    /// What to call this server in the report.
    #[arg(long, default_value = "homeserver")]
    name: String,
    /// Command that starts the server in the foreground; without it the server must be running.
    /// Its start-up time is measured, and it is stopped at the end.
    #[arg(long)]
    spawn: Option<String>,
    /// Process id of a running server (not needed with --spawn).
    #[arg(long)]
    pid: Option<u32>,
    /// Further processes to charge to the server, for instance its PostgreSQL.
    #[arg(long)]
    also_pid: Vec<u32>,
    /// Directories that hold the server's data, for the disk figure.
    #[arg(long)]
    data: Vec<PathBuf>,
    /// Seconds per load scenario (at most 60).
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Rooms of the account for the initial sync (at most 2,000).
    #[arg(long, default_value_t = 200)]
    rooms: usize,
    /// Messages in each of those rooms (at most 500).
    #[arg(long, default_value_t = 50)]
    messages: usize,
    /// Run only the message scenarios.
    #[arg(long)]
    only_send: bool,
    /// Run only what is about one account in many rooms: initial sync, nothing new, sliding sync.
    #[arg(long, conflicts_with = "only_send")]
    only_sync: bool,
    /// Run only how long a message takes to 49 others who wait for it.
    #[arg(long, conflicts_with_all = ["only_send", "only_sync"])]
    only_delivery: bool,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let (outcome, report) = match (arguments.command, arguments.drive) {
        (Some(Command::Host(arguments)), _) => {
            let mut report = report::Report::new("host");
            (host::run(&arguments, &mut report).await, report)
        }
        (Some(Command::Crowd(arguments)), _) => {
            let mut report = report::Report::new("crowd");
            (crowd::run(&arguments, &mut report).await, report)
        }
        (Some(Command::Nation(arguments)), _) => {
            let mut report = report::Report::new(&arguments.title());
            (nation::run(&arguments, &mut report).await, report)
        }
        (Some(Command::Purge(arguments)), _) => {
            let mut report = report::Report::new("purge");
            (purge::run(&arguments, &mut report).await, report)
        }
        (Some(Command::Push(arguments)), _) => {
            let mut report = report::Report::new("push");
            (push::run(&arguments, &mut report).await, report)
        }
        (Some(Command::Morning(arguments)), _) => {
            let mut report = report::Report::new("morning");
            (morning::run(&arguments, &mut report).await, report)
        }
        (Some(Command::April(arguments)), _) => {
            let mut report = report::Report::new("april");
            (april::run(&arguments, &mut report).await, report)
        }
        (None, Some(arguments)) => {
            let mut report = report::Report::new(&arguments.name);
            (drive(&arguments, &mut report).await, report)
        }
        (None, None) => anyhow::bail!("neither a command nor --url"),
    };
    println!("{}", report.table());
    println!("{}", report.json_line());
    outcome
}

async fn drive(arguments: &Drive, report: &mut report::Report) -> Result<()> {
    let server = Server::new(&arguments.url)?;
    let mut processes = Processes::new(arguments.pid, &arguments.also_pid);
    if let Some(command) = &arguments.spawn {
        let started = processes.spawn(command).await.context("the server could not be started")?;
        server.wait_until_ready(started).await?;
        report.number("start_up_ms", started.elapsed().as_secs_f64() * 1000.0);
    }
    let plan = Plan {
        load_seconds: arguments.seconds.min(60),
        rooms: arguments.rooms.min(2_000),
        messages: arguments.messages.min(500),
        only_send: arguments.only_send,
        only_sync: arguments.only_sync,
        only_delivery: arguments.only_delivery,
        data: arguments.data.clone(),
    };
    let outcome = plan.run(&server, &processes, report).await;
    processes.stop().await;
    outcome
}
