//! From rooms to people outside: what a member asked for goes out once.
//!
//! A mail waits for a while first, so that its command can be redacted. Before its bytes go to the mail server it is noted that they do:
//! who was killed after that cannot know whether the server has it, so the room is told, and nothing is sent twice. Each mail is
//! a row that goes from state to state; what the room is told of its end is said before the row goes.

use std::{sync::Arc, time::Duration};

use bot_kit::{
    Batch, Event, Failure, StoreError, Table, TxnId, now_ms,
    ruma::{EventId, OwnedEventId, OwnedRoomId, OwnedUserId, RoomId, UserId},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tracing::{error, info, warn};

use crate::{
    command::Wish,
    deliver::{self, relate},
    entrances::Own,
    gate::Gate,
    rows::{self, Correspondence, LEDGER, LETTERS, Remembered, SENT, Sent, THREADS, of_event, of_room},
    smtp::{Mail, Refusal},
};

/// Mails on their way out; key: when they were asked for, in twenty digits, and their event.
const OUTBOX: Table<Out> = Table::new("outbox");

/// The same by event; key: event, value: key there.
const BY_EVENT: Table<String> = Table::new("outbox by event");

/// Mails that wait at a time.
const MOST_WAITING: usize = 1_000;

/// What could not be sent is tried again after this, up to that.
const PAUSE_MS: u64 = 2_000;
const LONGEST_PAUSE_MS: u64 = 600_000;

/// A mail that no server takes for so long is given up, and the room is told.
const PATIENCE_MS: u64 = 2 * 86_400_000;

/// Nothing to do: a look all the same.
const IDLE: Duration = Duration::from_secs(60);

/// Earlier mails that `References` names.
const MOST_REFERENCES: usize = 20;

/// A mail to be sent.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Out {
    room: OwnedRoomId,
    /// The command, and whose it is.
    event: OwnedEventId,
    #[serde(default)]
    sender: Option<OwnedUserId>,
    /// The event that its thread begins with.
    root: OwnedEventId,
    local: String,
    to: String,
    subject: String,
    text: String,
    /// What tells it from all others, and nobody can guess: who names it may answer.
    id: String,
    /// The mails before it, nearest first.
    before: Vec<String>,
    asked_ms: u64,
    /// Not before.
    due_ms: u64,
    tries: u32,
    state: State,
}

/// How far a mail is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum State {
    Waiting,
    /// Its bytes may be on their way.
    Flying,
    /// The room is to be told: that it went out, or why it did not.
    Sent,
    Failed(String),
    Redacted,
}

impl Gate {
    /// Puts what a member asks for into the outbox, and says so; the batch is written with the note that the event is done.
    pub(crate) async fn send_out(&self, event: &Event, wish: Wish) -> Result<Batch, Failure> {
        let out = match self.out(event, wish).await? {
            Ok(out) => out,
            Err(why) => {
                self.say(event, "answer", &why).await?;
                return Ok(Batch::new());
            }
        };
        let seconds = self.settings().delay.0.as_secs();
        let text = format!(
            "{} へ {seconds} 秒後に送ります。やめるには、命令の発言を削除してください。 / It goes out in {seconds} s; delete the command to stop it.\n\
             差出人 / From: {}\n件名 / Subject: {}",
            out.to,
            self.address(&out.local),
            out.subject
        );
        self.say_in(&out, "queued", &text).await?;
        let place = format!("{:020} {}", out.asked_ms, event.event_id);
        let mut batch = Batch::new();
        batch.put(&OUTBOX, &place, &out).put(&BY_EVENT, event.event_id.as_str(), &place);
        Ok(batch)
    }

    /// The mail of a wish, or why there is none.
    async fn out(&self, event: &Event, wish: Wish) -> Result<Result<Out, String>, Failure> {
        let refused = |why: &str| Ok(Err(why.to_owned()));
        let (room, settings) = (&event.room_id, self.settings());
        if self.smtp.is_none() {
            return refused(
                "この窓口からは送れません（設定 [bot.smtp]）。 / Sending is not set up ([bot.smtp]).",
            );
        }
        if !self.may_send(room, &event.sender).await? {
            return refused("外へ送る権限がありません。 / You may not send mail from this room.");
        }
        let addresses = self.of_room(room).await?;
        let Some(Own { local: first, .. }) = addresses.first() else {
            return refused(
                "この部屋にアドレスがありません。「!メール 開設」が先です。 / This room has no address yet.",
            );
        };
        let thread = event.relates_to("m.thread");
        let (to, subject, text, local, before, root) = match wish {
            Wish::New { to, subject, text } => (
                to,
                subject,
                text,
                first.clone(),
                Vec::new(),
                thread.unwrap_or_else(|| event.event_id.clone()),
            ),
            Wish::Answer { text } => {
                let Some(letter) = self.answered(event).await? else {
                    return refused(
                        "返信するメールの発言に返信して書いてください。 / Write it as a reply to a mail.",
                    );
                };
                let Correspondence { local, with, subject, id, before, root, .. } = letter;
                let is_open = addresses.iter().any(|own| own.local == local);
                let before = id.into_iter().chain(before).take(MOST_REFERENCES).collect();
                (
                    with,
                    answered_subject(&subject),
                    text,
                    if is_open { local } else { first.clone() },
                    before,
                    root,
                )
            }
        };
        let Some(to) = crate::smtp::recipient(&to).filter(|to| !self.is_ours(to)) else {
            return refused(
                "この宛先には送れません。taro@example.co.jp の形で一つだけ書いてください。 / Mail cannot be sent to this address: write one, as taro@example.co.jp.",
            );
        };
        if text.trim().is_empty() {
            return refused("本文がありません。 / There is no text.");
        }
        if self.host.store.count(&OUTBOX, "").await? >= MOST_WAITING || !self.is_within_rate_out(room) {
            return refused("送るメールが多すぎます。後でもう一度。 / Too many mails go out; later, please.");
        }
        let id = format!("{:032x}@{}", rand::random::<u128>(), settings.domain);
        let asked_ms = event.received_ms;
        Ok(Ok(Out {
            room: room.clone(),
            event: event.event_id.clone(),
            sender: Some(event.sender.clone()),
            root,
            local,
            to,
            subject,
            text,
            id,
            before,
            asked_ms,
            due_ms: asked_ms.saturating_add(u64::try_from(settings.delay.0.as_millis()).unwrap_or(u64::MAX)),
            tries: 0,
            state: State::Waiting,
        }))
    }

    /// The mail that a command answers: that to which it is a reply, else the newest of its thread.
    async fn answered(&self, event: &Event) -> Result<Option<Correspondence>, StoreError> {
        let (room, store) = (&event.room_id, &self.host.store);
        let thread = event.relates_to("m.thread");
        let is_falling_back = event
            .content
            .get("m.relates_to")
            .and_then(|relation| relation.get("is_falling_back"))
            .and_then(Value::as_bool)
            .unwrap_or(false);
        let replied = event.replies_to().filter(|_| thread.is_none() || !is_falling_back);
        if let Some(replied) = replied
            && let Some(letter) = store.get(&LETTERS, &of_event(room, &replied)).await?
        {
            return Ok(Some(letter));
        }
        let Some(root) = thread else { return Ok(None) };
        let of_root = store.get(&LETTERS, &of_event(room, &root)).await?;
        let Some(newest) = of_root.as_ref().and_then(|letter| letter.newest.clone()) else {
            return Ok(of_root);
        };
        Ok(store.get(&LETTERS, &of_event(room, &newest)).await?.or(of_root))
    }

    /// A redaction takes its mail out of the outbox, unless it is on its way.
    pub(crate) async fn redacted(&self, event: &Event, what: &EventId) -> Result<Batch, Failure> {
        let key = what.to_string();
        let outcome = self.host.store.change(move |rows| {
            let mut batch = Batch::new();
            let Some(place) = rows.get(&BY_EVENT, &key)? else { return Ok((batch, ())) };
            if let Some(mut out) = rows.get(&OUTBOX, &place)?.filter(|out| out.state == State::Waiting) {
                out.state = State::Redacted;
                batch.put(&OUTBOX, &place, &out);
            }
            Ok::<_, StoreError>((batch, ()))
        });
        outcome.await?;
        self.more_out.notify_one();
        let sent = self.host.store.get(&LETTERS, &of_event(&event.room_id, what)).await?;
        if sent.is_some_and(|letter| letter.id.is_some_and(|id| self.is_ours(&id))) {
            let text = "このメールはもう送られています。 / That mail has gone out already.";
            self.say(event, "late", text).await?;
        }
        Ok(Batch::new())
    }

    async fn say_in(&self, out: &Out, what: &str, text: &str) -> Result<(), Failure> {
        let mut content = deliver::notice(text);
        // Of a room that was upgraded meanwhile, people look into the new one.
        let room = self.room_of(&out.local, &out.room).await?;
        relate(&mut content, self.root_in(&room, (&out.room, &out.root)).await?.as_ref());
        let txn = TxnId::after(&out.event, what);
        match self.host.homeserver.send(&room, "m.room.message", &txn, &content).await {
            Err(failure) if failure.may_pass() => Err(failure),
            Err(failure) => {
                info!(room_id = %out.room, error = %failure, "a room takes no notice of its mail");
                match &out.sender {
                    Some(sender) => self.tell_privately(sender, &txn, text).await,
                    None => Ok(()),
                }
            }
            Ok(_) => Ok(()),
        }
    }

    /// Whether somebody may send mail from a room.
    async fn may_send(&self, room: &RoomId, user: &UserId) -> Result<bool, Failure> {
        Ok(user.server_name() == self.host.user().server_name()
            && self.host.homeserver.has_power(room, user, self.settings().send_power).await?)
    }
}

fn answered_subject(subject: &str) -> String {
    let has_mark = subject.get(..3).is_some_and(|head| head.eq_ignore_ascii_case("re:"));
    if has_mark { subject.to_owned() } else { format!("Re: {subject}") }
}

/// Sends until the program ends.
pub(crate) async fn run(gate: Arc<Gate>) {
    if let Err(error) = recover(&gate).await {
        error!(%error, "the outbox cannot be read");
    }
    loop {
        // Before the look: what comes meanwhile must wake us.
        let more = gate.more_out.notified();
        let wait = match round(&gate).await {
            Ok(wait) => wait,
            Err(error) => {
                error!(%error, "the outbox cannot be read");
                IDLE
            }
        };
        tokio::select! {
            () = more => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// What was on its way when the program ended may be there or not.
async fn recover(gate: &Gate) -> Result<(), StoreError> {
    let store = &gate.host.store;
    let mut batch = Batch::new();
    for (place, mut out) in store.scan(&OUTBOX, "", None, MOST_WAITING).await? {
        if out.state == State::Flying {
            out.state = State::Failed(UNKNOWN.to_owned());
            batch.put(&OUTBOX, &place, &out);
        }
    }
    store.commit(batch).await
}

const UNKNOWN: &str = "送信の途中で止まったため、届いたか分かりません。相手に確かめてから送り直してください。 / \
    It was cut off on its way and may have arrived or not; ask before you send it again.";

/// Goes once over the outbox; until when nothing is due.
async fn round(gate: &Gate) -> Result<Duration, StoreError> {
    let store = &gate.host.store;
    let mut next_ms = u64::MAX;
    let mut after: Option<String> = None;
    // One at a time: a state may change meanwhile.
    while let Some((place, out)) = store.scan(&OUTBOX, "", after.as_deref(), 1).await?.pop() {
        after = Some(place.clone());
        let due_ms = if out.state == State::Redacted { 0 } else { out.due_ms };
        if due_ms > now_ms() {
            next_ms = next_ms.min(due_ms);
            continue;
        }
        if let Err(failure) = step(gate, &place, &out).await {
            warn!(room_id = %out.room, error = %failure, "a mail does not go out yet");
            let due_ms = put_off(gate, &place).await?;
            next_ms = next_ms.min(due_ms);
        }
    }
    Ok(Duration::from_millis(next_ms.saturating_sub(now_ms())).min(IDLE))
}

/// Why a mail does not go out now.
#[derive(Debug, thiserror::Error)]
enum Delay {
    #[error(transparent)]
    Homeserver(#[from] Failure),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the mail server does not take it now: {0}")]
    Smtp(String),
}

/// Takes a mail from its state to the end, as far as it goes.
async fn step(gate: &Gate, place: &str, out: &Out) -> Result<(), Delay> {
    let state = match &out.state {
        State::Waiting => send(gate, place, out).await?,
        state => state.clone(),
    };
    let text = match &state {
        // Somebody else has it in hand, or it waits on.
        State::Waiting | State::Flying => return Ok(()),
        State::Sent => format!("送りました / Sent: {}", out.to),
        State::Failed(why) => format!("送れませんでした / Not sent: {}\n{why}", out.to),
        State::Redacted => format!("送信をやめました / Not sent, as the command was deleted: {}", out.to),
    };
    gate.say_in(out, "end", &text).await?;
    let mut batch = Batch::new();
    batch.delete(&OUTBOX, place).delete(&BY_EVENT, out.event.as_str());
    gate.host.store.commit(batch).await?;
    Ok(())
}

/// Sends a mail; the state that it is in then, which is on the disk.
async fn send(gate: &Gate, place: &str, out: &Out) -> Result<State, Delay> {
    let Some(smtp) = &gate.smtp else { return Err(Delay::Smtp("it is not set up".to_owned())) };
    let stop = match judge(gate, out).await? {
        Word::Stands => None,
        Word::Redacted => Some(State::Redacted),
        Word::Void(why) => Some(State::Failed(why.to_owned())),
    };
    if let Some(stop) = stop {
        return Ok(change(gate, place, &[State::Waiting], stop).await?);
    }
    let mail = Mail {
        id: &out.id,
        from: &gate.address(&out.local),
        name: gate.settings().from_name.as_deref(),
        to: &out.to,
        subject: &out.subject,
        text: &out.text,
        before: &out.before,
        asked_ms: out.asked_ms,
    };
    let begun = match smtp.begin(&mail).await {
        Ok(begun) => begun,
        Err(refusal) => return refused(gate, place, out, refusal).await,
    };
    // From here on its bytes may be with the server.
    let state = change(gate, place, &[State::Waiting], State::Flying).await?;
    if state != State::Flying {
        begun.give_up().await;
        return Ok(state);
    }
    match begun.finish().await {
        Ok(()) => {
            info!(room_id = %out.room, "a mail went out");
            Ok(sent(gate, place, out).await?)
        }
        Err(refusal) => refused(gate, place, out, refusal).await,
    }
}

async fn refused(gate: &Gate, place: &str, out: &Out, refusal: Refusal) -> Result<State, Delay> {
    const BOTH: &[State] = &[State::Waiting, State::Flying];
    let is_late = now_ms().saturating_sub(out.asked_ms) > PATIENCE_MS;
    Ok(match refusal {
        Refusal::ForNow(why) if !is_late => {
            // Redacted meanwhile, it stays so.
            let state = change(gate, place, BOTH, State::Waiting).await?;
            if state != State::Waiting {
                return Ok(state);
            }
            return Err(Delay::Smtp(why));
        }
        Refusal::ForNow(why) | Refusal::ForGood(why) => change(gate, place, BOTH, State::Failed(why)).await?,
        Refusal::Unknown => change(gate, place, BOTH, State::Failed(UNKNOWN.to_owned())).await?,
    })
}

/// What a mail's command is worth when the mail is due.
enum Word {
    Stands,
    Redacted,
    /// Nobody answers for it any more.
    Void(&'static str),
}

/// Asks the room for the command, for who gave it, and whether he may: a moment ago somebody may have been put out, or have taken it
/// back, and we hear of that later, if at all. Nothing goes out that nobody can answer for.
async fn judge(gate: &Gate, out: &Out) -> Result<Word, Failure> {
    // Who was put out goes on seeing what he saw before, so the command alone says nothing.
    if !gate.is_joined(&out.room, gate.host.user()).await? {
        return Ok(Word::Void(BOT_IS_OUT));
    }
    let event = match gate.host.homeserver.find_event(&out.room, &out.event).await {
        Err(failure) if failure.may_pass() => return Err(failure),
        Err(failure) => {
            warn!(room_id = %out.room, error = %failure, "a mail's command cannot be seen any more");
            None
        }
        Ok(event) => event,
    };
    let Some(event) = event.filter(|event| event["content"].get("body").is_some()) else {
        return Ok(Word::Redacted);
    };
    let Some(sender) = event["sender"].as_str().and_then(|sender| OwnedUserId::try_from(sender).ok()) else {
        return Ok(Word::Void(SENDER_MAY_NOT));
    };
    // Of a room that was upgraded meanwhile, people may have gone on into the new one.
    for room in [gate.room_of(&out.local, &out.room).await?, out.room.clone()] {
        if !gate.is_joined(&room, &sender).await? {
            continue;
        }
        match gate.may_send(&room, &sender).await {
            Err(failure) if failure.may_pass() => return Err(failure),
            Ok(true) => return Ok(Word::Stands),
            // He has less power there by now, or we are out of it.
            Ok(false) | Err(_) => {}
        }
    }
    Ok(Word::Void(SENDER_MAY_NOT))
}

const BOT_IS_OUT: &str =
    "この窓口が部屋から外されたため、送りませんでした。 / I was put out of the room, so it was not sent.";

const SENDER_MAY_NOT: &str = "送信を頼んだ人がもう部屋にいないか、送る権限を失ったため、送りませんでした。 / \
    Who asked for it is not in the room any more, or may not send mail from it.";

/// Takes a mail from one of these states to another; the state that it is in.
async fn change(gate: &Gate, place: &str, from: &'static [State], to: State) -> Result<State, StoreError> {
    let place = place.to_owned();
    let changed = gate.host.store.change(move |rows| {
        let mut batch = Batch::new();
        let Some(mut out) = rows.get(&OUTBOX, &place)? else { return Ok((batch, State::Redacted)) };
        if from.contains(&out.state) {
            out.state = to;
            batch.put(&OUTBOX, &place, &out);
        }
        Ok::<_, StoreError>((batch, out.state))
    });
    changed.await
}

/// Notes that a mail went out, and what its answers and bounces need.
async fn sent(gate: &Gate, place: &str, out: &Out) -> Result<State, StoreError> {
    let (place, mut out) = (place.to_owned(), out.clone());
    out.state = State::Sent;
    let kept = gate.host.store.change(move |rows| {
        let mut batch = Batch::new();
        let mut ledger = rows.get(&LEDGER, "")?.unwrap_or_default();
        let (thread, letter) = (of_room(&out.room, &out.id), of_event(&out.room, &out.event));
        let remembered = Remembered {
            known: None,
            thread: Some(thread.clone()),
            letter: Some(letter.clone()),
            sent: Some(out.id.clone()),
            continued: None,
        };
        rows::remember(rows, &mut batch, &mut ledger, &remembered)?;
        let row = Sent {
            room: out.room.clone(),
            local: out.local.clone(),
            root: out.root.clone(),
            to: out.to.clone(),
        };
        batch.put(&LEDGER, "", &ledger).put(&SENT, &out.id, &row).put(&THREADS, &thread, &out.root);
        let correspondence = Correspondence {
            local: out.local.clone(),
            with: out.to.clone(),
            subject: out.subject.clone(),
            id: Some(out.id.clone()),
            before: out.before.clone(),
            root: out.root.clone(),
            newest: None,
        };
        deliver::set_newest(rows, &mut batch, &letter, &out.event, correspondence)?;
        batch.put(&OUTBOX, &place, &out);
        Ok::<_, StoreError>((batch, State::Sent))
    });
    kept.await
}

/// Leaves a mail alone for a while; until when.
async fn put_off(gate: &Gate, place: &str) -> Result<u64, StoreError> {
    let place = place.to_owned();
    let kept = gate.host.store.change(move |rows| {
        let mut batch = Batch::new();
        let Some(mut out) = rows.get(&OUTBOX, &place)? else { return Ok((batch, u64::MAX)) };
        let pause = PAUSE_MS.saturating_mul(1 << out.tries.min(16)).min(LONGEST_PAUSE_MS);
        out.tries += 1;
        out.due_ms = now_ms().saturating_add(pause);
        batch.put(&OUTBOX, &place, &out);
        Ok::<_, StoreError>((batch, out.due_ms))
    });
    kept.await
}
