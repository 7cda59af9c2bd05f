//! Clients that do not read their answers.

use std::{convert::Infallible, time::Duration};

use base::{CancellationToken, Metrics, Tasks};
use bytes::Bytes;
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::patience::{Patient, Sliced};

/// Short, since the tests wait for it to be over.
const WINDOW: Duration = Duration::from_millis(30);

#[tokio::test]
async fn a_client_that_does_not_read_its_answer_loses_its_connection() {
    let (ours, _theirs) = tokio::io::duplex(1 << 10);
    let error = Patient::new(ours, WINDOW).write_all(&[0; 1 << 20]).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
}

#[tokio::test]
async fn a_client_that_reads_gets_all_of_it() {
    let (ours, mut theirs) = tokio::io::duplex(1 << 10);
    let mut ours = Patient::new(ours, Duration::from_secs(30));
    let write = async {
        ours.write_all(&[7; 1 << 20]).await.unwrap();
        ours.flush().await.unwrap();
        drop(ours);
    };
    let mut got = Vec::new();
    let (read, ()) = futures_util::future::join(theirs.read_to_end(&mut got), write).await;
    assert_eq!(read.unwrap(), 1 << 20);
}

#[tokio::test]
async fn an_answer_over_http_2_that_nobody_takes_ends_its_connection() {
    let tasks = Tasks::new(&Metrics::new());
    let given_up = CancellationToken::new();
    let body = web::Body::from(vec![0; 1 << 20]);
    let _answer = Sliced::watched(body, WINDOW, &given_up, &tasks);
    given_up.cancelled().await;
}

#[tokio::test]
async fn an_answer_in_slices_is_the_answer_and_one_that_we_are_slow_with_is_no_fault_of_the_client() {
    let tasks = Tasks::new(&Metrics::new());
    let given_up = CancellationToken::new();
    let (sender, receiver) = tokio::sync::mpsc::unbounded_channel::<Result<Bytes, Infallible>>();
    let parts = futures_util::stream::unfold(receiver, |mut receiver| async move {
        Some((receiver.recv().await?, receiver))
    });
    let answer = Sliced::watched(web::Body::from_stream(parts), WINDOW, &given_up, &tasks);
    sender.send(Ok(Bytes::from(vec![1; 100_000]))).unwrap();
    let late = async {
        tokio::time::sleep(WINDOW * 4).await;
        sender.send(Ok(Bytes::from(vec![2; 50_000]))).unwrap();
        drop(sender);
    };
    let (collected, ()) = futures_util::future::join(answer.collect(), late).await;
    assert_eq!(collected.unwrap().to_bytes().len(), 150_000);
    assert!(!given_up.is_cancelled());
}
