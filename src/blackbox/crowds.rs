//! More connections at once than the process has places for.

#![expect(clippy::unwrap_used, reason = "tests")]
#![expect(unreachable_pub, dead_code, reason = "each test uses a part of the shared modules")]

mod alone;
mod demo;

use std::{
    io::Read,
    net::{Ipv4Addr, TcpStream},
    time::Duration,
};

use reqwest::{Client, StatusCode};

use crate::alone::Server;

/// Long enough for any machine, and shorter than a silent connection is waited for.
const SOON: Duration = Duration::from_secs(20);

/// Open files of the server; the storage and the way to other servers have theirs of them.
const FILES: u32 = 700;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_connections_of_one_address_leave_places_to_others_and_files_to_the_storage() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = Server::with(directory.path(), "[proxies]\ntrusted = []");
    server.start_within(FILES).await;

    let silent: Vec<TcpStream> = (0..FILES).map(|_| TcpStream::connect(server.address()).unwrap()).collect();

    let other = Ipv4Addr::new(127, 0, 0, 2);
    let other = Client::builder().local_address(Some(other.into())).timeout(SOON).build().unwrap();
    let health = other.get(format!("{}/health", server.url)).send().await.unwrap();
    assert_eq!(health.status(), StatusCode::OK);
    // Those that were too many are ended, not left to wait.
    let ended = |mut connection: &TcpStream| {
        connection.set_read_timeout(Some(SOON)).unwrap();
        match connection.read(&mut [0]) {
            Ok(bytes) => bytes == 0,
            Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    };
    assert!(silent.iter().skip(100).all(ended));
    server.end("TERM");
}
