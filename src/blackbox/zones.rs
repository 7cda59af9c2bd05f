//! Files through listeners in zones, with the binary and its own sanitising process, across SIGKILL.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests")]
#![expect(unreachable_pub, dead_code, reason = "each test uses a part of the shared modules")]

mod alone;
mod demo;

use std::path::Path;

use futures_util::StreamExt as _;
use reqwest::{Client, StatusCode};
use serde_json::Value;

use crate::alone::Server;

/// A table that Excel would compute, as somebody uploads it, and as it leaves to LGWAN.
const TABLE: &str = "品目,数\n水,=1+1\n";
const NEUTRALISED: &str = "品目,数\n水,'=1+1\n";

struct Zones {
    server: Server,
    http: Client,
    lgwan: String,
    token: String,
}

impl Zones {
    /// A server with a listener for each zone.
    async fn start(directory: &Path) -> Self {
        let port = demo::base_port();
        let more = format!(
            "[[listeners]]\naddress = \"127.0.0.1:{port}\"\nserves = [\"client\"]\nzone = \"lgwan\"\n\
             [zones.lgwan]\nfiles = \"sanitised\"\n"
        );
        let mut server = Server::with(directory, &more);
        server.start().await;
        let token = server.register("hanako").await;
        Self { server, http: Client::new(), lgwan: format!("http://127.0.0.1:{port}"), token }
    }

    async fn upload(&self, name: &str, bytes: impl Into<reqwest::Body>) -> String {
        let url = format!("{}/_matrix/media/v3/upload?filename={name}", self.server.url);
        let answer = self.http.post(url).bearer_auth(&self.token).body(bytes).send().await.unwrap();
        let told: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
        told["content_uri"].as_str().unwrap().trim_start_matches("mxc://").to_owned()
    }

    async fn download(&self, url: &str, id: &str) -> (StatusCode, String) {
        let url = format!("{url}/_matrix/client/v1/media/download/{id}");
        let answer = self.http.get(url).bearer_auth(&self.token).send().await.unwrap();
        (answer.status(), answer.text().await.unwrap())
    }
}

#[tokio::test]
async fn lgwan_is_given_what_the_binary_sanitised_and_the_internet_what_was_uploaded() {
    let directory = tempfile::tempdir().unwrap();
    let mut zones = Zones::start(directory.path()).await;
    let table = zones.upload("a.csv", TABLE).await;
    let program = zones.upload("a.exe", b"MZ\x90\0\x03\0\0\0".as_slice()).await;
    let later = zones.upload("b.csv", format!("{TABLE}水,3\n")).await;
    for _ in 0..2 {
        let (internet, lgwan) = (&zones.server.url, &zones.lgwan);
        assert_eq!(zones.download(internet, &table).await, (StatusCode::OK, TABLE.to_owned()));
        assert_eq!(zones.download(lgwan, &table).await, (StatusCode::OK, NEUTRALISED.to_owned()));
        let (status, said) = zones.download(lgwan, &program).await;
        assert_eq!(status, StatusCode::FORBIDDEN);
        assert!(said.contains("\"M_FORBIDDEN\"") && said.contains("プログラムやスクリプト"), "{said}");
        // Between what was judged and what was not.
        zones.server.end("KILL");
        zones.server.start().await;
    }
    let expected = format!("{NEUTRALISED}水,3\n");
    assert_eq!(zones.download(&zones.lgwan, &later).await, (StatusCode::OK, expected));
}

/// The program is its own sanitising process, with an allocator that has threads of its own elsewhere.
#[tokio::test]
async fn the_binary_sanitises_many_small_files_at_once_and_dies_of_none() {
    let directory = tempfile::tempdir().unwrap();
    let zones = &Zones::start(directory.path()).await;
    let files = (0..120).map(|number| async move {
        let id = zones.upload("a.csv", format!("{TABLE}水,{number}\n")).await;
        let expected = format!("{NEUTRALISED}水,{number}\n");
        assert_eq!(zones.download(&zones.lgwan, &id).await, (StatusCode::OK, expected));
    });
    futures_util::stream::iter(files).buffer_unordered(8).collect::<()>().await;
}
