//! Hearing of the commits of other processes.

use std::{sync::Arc, time::Duration};

use base::{Backoff, Random};
use futures_util::{StreamExt, stream};
use store::{Error, Position};
use tokio::sync::watch;
use tokio_postgres::AsyncMessage;

use crate::pool::Pool;

/// Without a hint, the clock is looked at this often.
pub(crate) const POLL: Duration = Duration::from_secs(1);

/// Listens for hints until the back end is gone, on a connection of its own.
pub(crate) async fn listen(
    pool: Arc<Pool>,
    mut hints: watch::Sender<Position>,
    mut open: watch::Receiver<()>,
) {
    let random = Random::os();
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(10));
    loop {
        tokio::select! {
            // The back end holds the sender: when it is gone, so is the back end.
            _ = open.changed() => return,
            heard = listen_once(&pool, &mut hints) => {
                if let Err(error) = heard {
                    tracing::warn!(error = ?error, "the listening connection to PostgreSQL ended");
                }
            }
        }
        tokio::select! {
            _ = open.changed() => return,
            () = tokio::time::sleep(backoff.next(&random)) => {}
        }
    }
}

async fn listen_once(pool: &Pool, hints: &mut watch::Sender<Position>) -> Result<(), Error> {
    let failed = |error| Error::backend("listen", error);
    let (client, mut connection) = pool.way.connect().await?;
    let mut messages = stream::poll_fn(move |context| connection.poll_message(context));
    let command = format!("LISTEN {}", pool.settings.channel());
    let mut listening = std::pin::pin!(client.batch_execute(&command));
    let mut asked = false;
    loop {
        tokio::select! {
            answer = &mut listening, if !asked => {
                answer.map_err(failed)?;
                asked = true;
            }
            message = messages.next() => match message {
                None => return Ok(()),
                Some(Ok(AsyncMessage::Notification(hint))) => {
                    let head = Position(hint.payload().parse().unwrap_or(0));
                    hints.send_if_modified(|known| {
                        let newer = head > *known;
                        *known = head.max(*known);
                        newer
                    });
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(failed(error)),
            }
        }
    }
}
