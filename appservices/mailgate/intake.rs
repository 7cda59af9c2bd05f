//! What the door asks: whether an address is there, and whether a mail is taken. It is on the disk before the answer.

use std::{
    collections::HashMap,
    sync::{MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use bot_kit::{Batch, StoreError, now_ms, ruma::RoomId};
use tracing::{debug, warn};

use crate::{
    entrances::Found,
    gate::Gate,
    letter::Letter,
    rows::{self, KNOWN, LEDGER, MAILS, Remembered, SENT, Waiting, place},
    standing::Closed,
};

/// Mails that wait at a time, and their bytes; the MTA keeps the others.
const MOST_WAITING: usize = 1_000;
const MOST_WAITING_BYTES: usize = 2 << 30;

/// The span over which mails are counted.
const HOUR: Duration = Duration::from_secs(3_600);

/// Senders and addresses that are counted at a time; the older half is forgotten then.
const MOST_COUNTED: usize = 20_000;

/// What the MTA is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It is in the store.
    Taken,
    /// The MTA tries again.
    Later(&'static str),
    /// The MTA gives it back to its sender.
    Never(&'static str),
}

impl Answer {
    pub(crate) fn line(self) -> String {
        match self {
            Self::Taken => "250 2.0.0 ok".to_owned(),
            Self::Later(why) => format!("451 {why}"),
            Self::Never(why) => format!("550 {why}"),
        }
    }
}

/// Mails to an address and of a sender since a time.
#[derive(Debug, Default)]
pub(crate) struct Counts(HashMap<String, (Option<Instant>, usize)>);

impl Counts {
    /// Counts one more of each, if all are within their bounds.
    pub(crate) fn take<const N: usize>(&mut self, bounds: [(String, usize); N], now: Instant) -> bool {
        if self.0.len() >= MOST_COUNTED {
            let mut times: Vec<Option<Instant>> = self.0.values().map(|(since, _)| *since).collect();
            times.sort_unstable();
            let middle = times.get(times.len() / 2).copied().flatten();
            self.0.retain(|_, (since, _)| *since > middle);
        }
        for (whose, most) in &bounds {
            let (since, count) = self.0.entry(whose.clone()).or_default();
            if since.is_none_or(|since| now.duration_since(since) >= HOUR) {
                (*since, *count) = (Some(now), 0);
            }
            if *count >= *most {
                return false;
            }
        }
        for (whose, _) in bounds {
            self.0.entry(whose).and_modify(|(_, count)| *count += 1);
        }
        true
    }
}

impl Gate {
    /// Whether an address is one of a room.
    pub(crate) async fn knows(&self, address: &str) -> Answer {
        let found = match self.find_entrance(address).await {
            Ok(Some(found)) => found,
            Ok(None) => return Answer::Never("5.1.1 no such address"),
            Err(error) => return unwell(&error),
        };
        let closed = Answer::Later("4.2.1 the room takes no mail now");
        match found.gone {
            None => Answer::Taken,
            Some(Some(Closed::Refused)) => closed,
            // It may be well again since that was noted.
            Some(_) => match self.ask(&found.entrance.room).await {
                Ok(Ok(())) => Answer::Taken,
                Ok(Err(_)) => closed,
                Err(error) => {
                    warn!(room_id = %found.entrance.room, %error, "a room cannot be asked whether it takes mail");
                    closed
                }
            },
        }
    }

    /// Takes a mail; it is on the disk when the answer is [`Answer::Taken`].
    pub(crate) async fn take(&self, envelope: &str, address: &str, raw: Vec<u8>) -> Answer {
        self.judge_and_keep(envelope, address, raw).await.unwrap_or_else(|error| unwell(&error))
    }

    async fn judge_and_keep(
        &self,
        envelope: &str,
        address: &str,
        raw: Vec<u8>,
    ) -> Result<Answer, StoreError> {
        let answer = self.knows(address).await;
        let found = self.find_entrance(address).await?.filter(|_| answer == Answer::Taken);
        let Some(Found { local, entrance, .. }) = found else {
            // Closed between the two.
            return Ok(if answer == Answer::Taken { Answer::Later("4.3.0 try again") } else { answer });
        };
        // Taking apart takes long for async threads.
        let read = tokio::task::spawn_blocking(move || (Letter::read(&raw), raw)).await;
        let Ok((letter, raw)) = read else { return Ok(Answer::Later("4.3.0 try again")) };
        let letter = match letter {
            Ok(Some(letter)) => letter,
            Ok(None) => return Ok(Answer::Never("5.6.0 that is no mail")),
            Err(refused) => return Ok(Answer::Never(refused.line())),
        };
        // Somebody's program answers in our name: that would go round.
        if self.is_ours(&letter.from) || self.is_ours(envelope) {
            return Ok(Answer::Never("5.7.1 that is an address of ours"));
        }
        let answers_ours = self.answers_ours(&letter, &local).await?;
        // A bounce of no mail of ours is of one that was forged with our address.
        if (envelope.is_empty() || letter.report.is_some()) && !answers_ours && !entrance.is_open {
            return Ok(Answer::Never("5.7.1 no bounces here"));
        }
        if !answers_ours && !entrance.admits(&letter.from) {
            return Ok(Answer::Never("5.7.1 you may not write to this address"));
        }
        let known = of_digest(&local, &letter.digest);
        if self.host.store.get(&KNOWN, &known).await?.is_some() {
            debug!("a mail that was taken before");
            return Ok(Answer::Taken);
        }
        if !self.is_within_rate(&local, &letter.from) {
            return Ok(Answer::Later("4.7.0 too many mails"));
        }
        let waiting =
            Waiting { room: entrance.room, local, came_ms: now_ms(), raw: BASE64_STANDARD.encode(raw) };
        let kept = self.host.store.change(move |rows| {
            let mut batch = Batch::new();
            if rows.get(&KNOWN, &known)?.is_some() {
                return Ok((batch, Answer::Taken));
            }
            let mut ledger = rows.get(&LEDGER, "")?.unwrap_or_default();
            let bytes = ledger.bytes.saturating_add(waiting.raw.len());
            if rows.count(&MAILS, "", MOST_WAITING)? >= MOST_WAITING || bytes > MOST_WAITING_BYTES {
                return Ok((batch, Answer::Later("4.3.1 too many mails wait")));
            }
            ledger.bytes = bytes;
            let remembered = Remembered { known: Some(known.clone()), ..Remembered::default() };
            let number = rows::remember(rows, &mut batch, &mut ledger, &remembered)?;
            batch.put(&MAILS, &place(number), &waiting);
            batch.put(&KNOWN, &known, &number);
            batch.put(&LEDGER, "", &ledger);
            Ok::<_, StoreError>((batch, Answer::Taken))
        });
        let answer = kept.await?;
        self.more_in.notify_one();
        Ok(answer)
    }

    /// Whether a mail answers one that went out from this address, or reports of one.
    async fn answers_ours(&self, letter: &Letter, local: &str) -> Result<bool, StoreError> {
        let reported = letter.report.as_ref().and_then(|report| report.of.as_ref());
        for id in letter.before.iter().chain(reported) {
            if self.host.store.get(&SENT, id).await?.is_some_and(|sent| sent.local == local) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn is_within_rate(&self, local: &str, from: &str) -> bool {
        let bounds = [
            (format!("to {local}"), self.settings().hourly),
            (format!("from {from}"), self.settings().hourly_of_sender),
        ];
        self.counts().take(bounds, Instant::now())
    }

    /// Whether one more may go out of a room in this hour.
    pub(crate) fn is_within_rate_out(&self, room: &RoomId) -> bool {
        self.counts().take([(format!("out {room}"), self.settings().hourly_out)], Instant::now())
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn of_digest(local: &str, digest: &str) -> String {
    format!("{local} {digest}")
}

fn unwell(error: &StoreError) -> Answer {
    warn!(%error, "the store does not do its work");
    Answer::Later("4.3.0 try again")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// D8.
    #[test]
    fn mails_to_an_address_and_of_a_sender_are_bounded_by_the_hour() {
        let (mut counts, begun) = (Counts::default(), Instant::now());
        let mut take = |to: &str, from: &str, after: u64| {
            let bounds = [(format!("to {to}"), 3), (format!("from {from}"), 2)];
            counts.take(bounds, begun + Duration::from_secs(after))
        };
        assert!(take("a", "x", 0) && take("a", "x", 1));
        assert!(!take("a", "x", 2), "two of a sender");
        assert!(take("a", "y", 3));
        assert!(!take("a", "z", 4), "three to an address");
        assert!(take("b", "z", 5), "what was refused did not count");
        assert!(take("a", "x", 3_600));
    }
}
