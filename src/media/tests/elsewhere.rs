//! Files of other servers, some of which never come to an end.

use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, stream};

use super::*;
use crate::{FetchBounds, FetchError, Fetched};

/// `hang.test` never answers; all others have every file.
#[derive(Default)]
struct Peers {
    hanging: AtomicUsize,
}

#[async_trait]
impl Elsewhere for Peers {
    async fn fetch(
        &self,
        _: &ServerName,
        server: &ServerName,
        id: &str,
        _: FetchBounds,
    ) -> Result<Fetched, FetchError> {
        if server == "hang.test" {
            self.hanging.fetch_add(1, Ordering::SeqCst);
            std::future::pending::<()>().await;
        }
        let bytes = Bytes::copy_from_slice(id.as_bytes());
        Ok(Fetched { kind: None, disposition: None, body: stream::iter([Ok(bytes)]).boxed() })
    }
}

#[tokio::test]
async fn a_server_that_never_answers_has_few_places_and_keeps_no_other_away() {
    let peers = Arc::new(Peers::default());
    let files =
        FilesConfig { directory: PathBuf::new(), reserve: ByteSize::mib(1), synced: false, bucket: None };
    let place = Place::beside(peers.clone(), files).await.unwrap();
    let open = |server: &'static str, id: String| {
        let media = place.media.clone();
        async move {
            let (reader, from) = (FileReader::User(anna()), Some(server_name!("a.test")));
            let server = <&ServerName>::try_from(server).unwrap();
            media.open_file(Asked { reader, server, id: &id, wait: Duration::ZERO, from }).await
        }
    };
    // More than are fetched at a time from all servers together.
    let waiting: Vec<_> =
        (0..100).map(|number| tokio::spawn(open("hang.test", format!("h{number}")))).collect();
    while peers.hanging.load(Ordering::SeqCst) < 4 {
        tokio::task::yield_now().await;
    }
    for number in 0..10 {
        let opened = open("good.test", format!("good{number}")).await.unwrap();
        assert_eq!(opened.size, 5);
    }
    assert_eq!(peers.hanging.load(Ordering::SeqCst), 4);
    waiting.iter().for_each(|waiting| waiting.abort());
}
