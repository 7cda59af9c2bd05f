//! One destination: rows are read, written, and count as sent once the connection has stood long enough after them.

use std::{collections::VecDeque, time::Duration};

use audit::{Chained, chained, chained_count, chained_topic};
use base::{Backoff, Clock, Gauge, Instant, Random, Timestamp};
use ruma::OwnedServerName;
use store::{Batch, Store, Term};
use tokio::io::{AsyncWriteExt, WriteHalf, split};
use tracing::{info, warn};

use crate::{
    fault::Fault,
    frame::frame,
    settings::Settings,
    tables::{SENT, SentRow},
    wire::{Stream, connect, listen, told},
};

/// How often it is looked whether there are rows, though nothing told of any: a process that lags far behind the one that
/// writes is not told of each.
const LOOK: Duration = Duration::from_secs(60);

/// What counts as sent is written down so many times in the while after which it counts.
const WRITTEN_DOWN: u32 = 6;

/// A destination of an authority.
pub(crate) struct Lane {
    pub(crate) store: Store,
    pub(crate) authority: OwnedServerName,
    pub(crate) settings: Settings,
    pub(crate) clock: Clock,
    pub(crate) random: Random,
    /// Rows that do not count as sent.
    pub(crate) waiting: Gauge,
    /// How old the first of them is, in seconds.
    pub(crate) lag: Gauge,
    /// Whether nothing goes there.
    pub(crate) failing: Gauge,
}

/// What was written to a connection and does not count as sent yet.
struct Written {
    /// When.
    at: Instant,
    /// The number of its last row.
    last: u64,
    /// When its first row was done.
    first_done: Option<Timestamp>,
}

/// A connection and what is under way on it.
struct Flow {
    writer: WriteHalf<Box<dyn Stream>>,
    /// The number of the last row that was written.
    written: u64,
    unsettled: VecDeque<Written>,
    noted: Instant,
}

/// Takes back what the metrics say once another process sends.
struct Shown<'a>(&'a Lane);

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        for gauge in [&self.0.waiting, &self.0.lag, &self.0.failing] {
            gauge.set(0);
        }
    }
}

impl Lane {
    /// Sends what there is and what comes, for as long as the term lasts. Nothing that goes wrong ends it.
    pub(crate) async fn run(&self, term: &Term) {
        let (first, longest) = self.settings.bounds.again;
        let mut backoff = Backoff::new(first, longest);
        let _shown = Shown(self);
        let mut sent = None;
        let sending = async {
            loop {
                let Err(fault) = self.session(term, &mut sent, &mut backoff).await else { continue };
                self.note_failure(term, &mut sent, &fault, backoff.failures() == 0).await;
                self.clock.sleep(backoff.next(&self.random)).await;
            }
        };
        term.ended().run_until_cancelled(sending).await;
    }

    /// One connection, from when there is something to send until it ends; an error where that is no good end.
    async fn session(
        &self,
        term: &Term,
        sent: &mut Option<SentRow>,
        backoff: &mut Backoff,
    ) -> Result<(), Fault> {
        let sent = match sent {
            Some(sent) => sent,
            None => sent.insert(self.find_sent().await?),
        };
        self.wait_for_rows(term, sent).await?;
        let bounds = &self.settings.bounds;
        let stream = connect(&self.settings, &self.clock).await?;
        let (mut reader, writer) = split(stream);
        let mut flow =
            Flow { writer, written: sent.number, unsettled: VecDeque::new(), noted: self.clock.instant() };
        // Before the first read: a link in between must not be missed.
        let mut watch = self.store.watch(vec![chained_topic(&self.authority)]);
        loop {
            if self.settle(term, &mut flow, sent).await {
                backoff.reset();
            }
            let has_room = flow.written - sent.number < bounds.unsettled;
            let rows = match has_room {
                true => self.read(flow.written, bounds.page).await?,
                false => Vec::new(),
            };
            self.show(&flow, sent, rows.first()).await?;
            if rows.is_empty() {
                let now = self.clock.instant();
                let settled = flow.unsettled.front().map(|first| (first.at + bounds.settle).since(now));
                tokio::select! {
                    fault = listen(&mut reader) => match flow.unsettled.is_empty() {
                        // Whoever has everything may go.
                        true => return Ok(()),
                        false => return Err(fault),
                    },
                    () = watch.changed(), if has_room => {}
                    () = self.clock.sleep(settled.unwrap_or(LOOK)) => {}
                }
                continue;
            }
            tokio::select! {
                fault = listen(&mut reader) => return Err(fault),
                written = self.write(&mut flow, &rows) => written?,
            }
        }
    }

    async fn find_sent(&self) -> Result<SentRow, Fault> {
        let key = (self.authority.as_str(), self.settings.name.as_str());
        Ok(self.store.get(&SENT, &key).await.map_err(unreadable)?.unwrap_or_default())
    }

    async fn read(&self, after: u64, limit: usize) -> Result<Vec<Chained>, Fault> {
        chained(&self.store, &self.authority, after, limit).await.map_err(unreadable)
    }

    /// Waits until there is a row that was not sent: nobody is connected to for nothing.
    async fn wait_for_rows(&self, term: &Term, sent: &mut SentRow) -> Result<(), Fault> {
        let mut watch = self.store.watch(vec![chained_topic(&self.authority)]);
        loop {
            let next = self.read(sent.number, 1).await?;
            if let Some(next) = next.first() {
                self.show_lag(next.row.record.as_ref().map(|record| record.at));
                self.show_waiting(sent).await?;
                return Ok(());
            }
            self.show_lag(None);
            self.waiting.set(0);
            // Whatever it was: it has everything.
            if self.note_success(sent) {
                self.write_down(term, sent).await;
            }
            tokio::select! {
                () = watch.changed() => {}
                () = self.clock.sleep(LOOK) => {}
            }
        }
    }

    /// Hands a page to the connection.
    async fn write(&self, flow: &mut Flow, rows: &[Chained]) -> Result<(), Fault> {
        let Some(last) = rows.last() else { return Ok(()) };
        let enterprise = self.settings.enterprise;
        let page: String = rows.iter().map(|row| frame(&self.authority, enterprise, row)).collect();
        let writing = async {
            flow.writer.write_all(page.as_bytes()).await?;
            flow.writer.flush().await
        };
        match self.clock.timeout(self.settings.bounds.writing, writing).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(Fault::Closed(told(&error))),
            Err(_) => return Err(Fault::Stalled),
        }
        flow.written = last.number;
        flow.unsettled.push_back(Written {
            at: self.clock.instant(),
            last: last.number,
            first_done: rows.first().and_then(|row| row.row.record.as_ref()).map(|record| record.at),
        });
        Ok(())
    }

    /// Counts as sent what was written long enough ago, and now and then writes down how far that is; whether something was
    /// counted. Where it cannot be written down, it is sent again by whoever goes on.
    async fn settle(&self, term: &Term, flow: &mut Flow, sent: &mut SentRow) -> bool {
        let (now, settle) = (self.clock.instant(), self.settings.bounds.settle);
        let before = sent.number;
        while let Some(first) = flow.unsettled.front().filter(|first| now.since(first.at) >= settle) {
            sent.number = first.last;
            flow.unsettled.pop_front();
        }
        let has_moved = sent.number > before;
        if has_moved {
            sent.at = Some(self.clock.now());
        }
        let is_due = flow.unsettled.is_empty()
            || sent.failing.is_some()
            || now.since(flow.noted) >= settle / WRITTEN_DOWN;
        if has_moved && is_due {
            flow.noted = now;
            self.note_success(sent);
            self.write_down(term, sent).await;
        }
        has_moved
    }

    /// Nothing stands in the way any more; whether something did.
    fn note_success(&self, sent: &mut SentRow) -> bool {
        self.failing.set(0);
        let did = sent.failing.take().is_some();
        if did {
            let (authority, destination) = (&self.authority, &self.settings.name);
            info!(%authority, destination, "the audit log goes to its log server again");
        }
        did
    }

    async fn write_down(&self, term: &Term, sent: &SentRow) {
        let mut batch = Batch::new();
        batch.put(&SENT, &(self.authority.as_str(), self.settings.name.as_str()), sent);
        if let Err(error) = term.commit(batch).await
            && !term.is_lost()
            && !error.stops_writes()
        {
            let (authority, destination) = (&self.authority, &self.settings.name);
            warn!(%authority, destination, %error, "how far the log server has the audit log was not kept");
        }
    }

    async fn note_failure(&self, term: &Term, sent: &mut Option<SentRow>, fault: &Fault, is_first: bool) {
        self.failing.set(1);
        if is_first {
            let (authority, destination) = (&self.authority, &self.settings.name);
            warn!(%authority, destination, %fault, "the audit log does not go to its log server, will try again");
        }
        let Some(sent) = sent else { return };
        if sent.failing.as_ref().is_none_or(|(_, known)| known != fault) {
            let since = sent.failing.as_ref().map_or_else(|| self.clock.now(), |(since, _)| *since);
            sent.failing = Some((since, fault.clone()));
            self.write_down(term, sent).await;
        }
    }

    async fn show(&self, flow: &Flow, sent: &SentRow, next: Option<&Chained>) -> Result<(), Fault> {
        let first = match flow.unsettled.front() {
            Some(first) => first.first_done,
            None => next.and_then(|next| next.row.record.as_ref()).map(|record| record.at),
        };
        self.show_lag(first);
        self.show_waiting(sent).await
    }

    fn show_lag(&self, first: Option<Timestamp>) {
        let now = self.clock.now().millis();
        let seconds = first.map_or(0, |first| now.saturating_sub(first.millis()) / 1000);
        self.lag.set(i64::try_from(seconds).unwrap_or(i64::MAX));
    }

    async fn show_waiting(&self, sent: &SentRow) -> Result<(), Fault> {
        let count = chained_count(&self.store, &self.authority).await.map_err(unreadable)?;
        self.waiting.set(i64::try_from(count.saturating_sub(sent.number)).unwrap_or(i64::MAX));
        Ok(())
    }
}

fn unreadable(error: store::Error) -> Fault {
    Fault::Unreadable(told(&error))
}
