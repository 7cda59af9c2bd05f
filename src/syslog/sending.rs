//! One destination: rows are read, written, and count as sent once the other system has confirmed them and the connection has
//! stood long enough after that.

use std::{collections::VecDeque, time::Duration};

use audit::{Chained, chained, chained_count, chained_topic};
use base::{Backoff, Clock, Gauge, Instant, Random, Timestamp};
use ruma::OwnedServerName;
use socket2::Socket;
use store::{Batch, Store, Term};
use tokio::io::{AsyncWriteExt, WriteHalf, split};
use tracing::{info, warn};

use crate::{
    fault::Fault,
    frame::frame,
    settings::Settings,
    tables::{SENT, SentRow},
    wire::{Stream, Way, connect, listen, told, unconfirmed},
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
    /// Where it ends, in octets of the connection.
    end: u64,
    /// The number of its last row.
    last: u64,
    /// When its first row was done.
    first_done: Option<Timestamp>,
}

/// A connection and what is under way on it.
struct Flow {
    writer: WriteHalf<Box<dyn Stream>>,
    socket: Socket,
    /// The number of the last row that was written.
    written: u64,
    /// Octets that were written, before TLS.
    octets: u64,
    /// What the other system has not confirmed yet, in order.
    under_way: VecDeque<Written>,
    /// What it has confirmed, with when that was seen.
    unsettled: VecDeque<(Instant, Written)>,
    noted: Instant,
}

impl Flow {
    /// The first of what does not count as sent yet.
    fn first(&self) -> Option<&Written> {
        self.unsettled.front().map(|(_, first)| first).or_else(|| self.under_way.front())
    }

    /// Looks how much the other system has confirmed. Of what it has not, no octet before TLS is more than one on the wire: so
    /// what is as far from the end is confirmed for certain.
    fn confirm(&mut self, now: Instant) -> Result<(), Fault> {
        if self.under_way.is_empty() {
            return Ok(());
        }
        let left = unconfirmed(&self.socket).map_err(|error| Fault::Closed(told(&error)))?;
        let confirmed = self.octets.saturating_sub(left);
        while let Some(first) = self.under_way.pop_front_if(|first| first.end <= confirmed) {
            self.unsettled.push_back((now, first));
        }
        Ok(())
    }
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
        let Way { stream, socket } = connect(&self.settings, &self.clock).await?;
        let (mut reader, writer) = split(stream);
        let mut flow = Flow {
            writer,
            socket,
            written: sent.number,
            octets: 0,
            under_way: VecDeque::new(),
            unsettled: VecDeque::new(),
            noted: self.clock.instant(),
        };
        // Before the first read: a link in between must not be missed.
        let mut watch = self.store.watch(vec![chained_topic(&self.authority)]);
        loop {
            flow.confirm(self.clock.instant())?;
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
                let settled = flow.unsettled.front().map(|(at, _)| (*at + bounds.settle).since(now));
                // Nobody tells when something is confirmed.
                let confirmed = (!flow.under_way.is_empty()).then(|| bounds.settle / WRITTEN_DOWN);
                let look = settled.into_iter().chain(confirmed).min().unwrap_or(LOOK);
                tokio::select! {
                    fault = listen(&mut reader) => match flow.first().is_none() {
                        // Whoever has everything may go.
                        true => return Ok(()),
                        false => return Err(fault),
                    },
                    () = watch.changed(), if has_room => {}
                    () = self.clock.sleep(look) => {}
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
        let mut left = page.as_bytes();
        while !left.is_empty() {
            let count = self.in_time(flow.writer.write(left)).await?;
            left = left.get(count..).filter(|_| count > 0).ok_or_else(|| Fault::Closed("EOF".to_owned()))?;
        }
        self.in_time(flow.writer.flush()).await?;
        flow.written = last.number;
        flow.octets = flow.octets.saturating_add(u64::try_from(page.len()).unwrap_or(u64::MAX));
        flow.under_way.push_back(Written {
            end: flow.octets,
            last: last.number,
            first_done: rows.first().and_then(|row| row.row.record.as_ref()).map(|record| record.at),
        });
        Ok(())
    }

    /// What some of a page takes, or the last of it: whoever is slow for hours is no stranger, whoever reads nothing is.
    async fn in_time<T>(&self, writing: impl Future<Output = std::io::Result<T>>) -> Result<T, Fault> {
        match self.clock.timeout(self.settings.bounds.writing, writing).await {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(error)) => Err(Fault::Closed(told(&error))),
            Err(_) => Err(Fault::Stalled),
        }
    }

    /// Counts as sent what was confirmed long enough ago, and now and then writes down how far that is; whether something was
    /// counted. Where it cannot be written down, it is sent again by whoever goes on.
    async fn settle(&self, term: &Term, flow: &mut Flow, sent: &mut SentRow) -> bool {
        let (now, settle) = (self.clock.instant(), self.settings.bounds.settle);
        let before = sent.number;
        while let Some((_, first)) = flow.unsettled.pop_front_if(|(at, _)| now.since(*at) >= settle) {
            sent.number = first.last;
        }
        let has_moved = sent.number > before;
        if has_moved {
            sent.at = Some(self.clock.now());
        }
        let is_due = flow.first().is_none()
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
        let first = match flow.first() {
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
