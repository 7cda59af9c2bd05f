//! Addresses go with their room when it is upgraded: whoever knows an address goes on writing to it, and answers find their threads.
//!
//! Who may take an address along is decided by the old room: its server let somebody with the power for it send the tombstone; the
//! new room has to name the old one as that which it came of, and has to be made by somebody with the same power there. So a
//! tombstone that points to a stranger's room moves nothing, and a stranger's room that claims to be a successor gets nothing.
//! Upgrades are followed to the last room that the bot is in, in whatever order it is asked into them.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#room-upgrades>

use std::collections::BTreeSet;

use bot_kit::{
    Batch, Event, Failure, StoreError, TxnId, Upgrade,
    ruma::{EventId, OwnedEventId, OwnedRoomId, OwnedUserId, RoomId},
};
use tracing::{info, warn};

use crate::{
    entrances::MOST_HELD,
    gate::Gate,
    rows::{ADDRESSES, AWAITED, CAME_FROM, CONTINUED, OF_ROOM, of_event, of_room},
};

/// Upgrades of a room that are looked back through.
const MOST_UPGRADES: usize = 20;

/// Why addresses stay where they are.
enum Stay {
    /// The bot is not in the new room yet.
    Outside,
    /// The new room is none that may have them.
    Foreign(&'static str),
    /// It is encrypted, or has too many of its own.
    Unfit(&'static str),
}

impl Gate {
    /// A room was upgraded: its addresses go on in the new room, now or when the bot is asked in there. Or it is said no more that it was.
    pub(crate) async fn upgraded(&self, event: &Event) -> Result<Batch, Failure> {
        let room = &event.room_id;
        if event.state_key.as_deref() != Some("") || self.of_room(room).await?.is_empty() {
            return Ok(Batch::new());
        }
        let (last, is_asked_in) = self.go_on(room).await?;
        // Its mail waits at the mail server until then.
        let _standing = self.ask_anew(&last).await?;
        if !is_asked_in {
            self.ask_for_invite(event, &last).await?;
        }
        Ok(Batch::new())
    }

    /// Says that the bot is to be asked into the new room: in the old one, or, where it may not speak there any more, to those who opened
    /// addresses.
    async fn ask_for_invite(&self, cause: &Event, room: &RoomId) -> Result<(), Failure> {
        let text = "この部屋は新しい部屋に替わりました。新しい部屋にこの窓口を招くと、メールアドレスはそちらへ引き継がれます。 / \
            This room is upgraded: invite me into the new one, and the addresses go there.";
        match self.host.homeserver.notice(room, &TxnId::after(&cause.event_id, "upgraded"), text).await {
            Err(failure) if failure.may_pass() => return Err(failure),
            Err(failure) => {
                info!(room_id = %room, error = %failure, "a room cannot be told that it was upgraded")
            }
            Ok(_) => return Ok(()),
        }
        let keepers: BTreeSet<OwnedUserId> =
            self.of_room(room).await?.into_iter().filter_map(|own| own.entrance.opened_by).collect();
        for keeper in keepers {
            let txn = TxnId::of(&["upgraded", cause.event_id.as_str(), keeper.as_str()]);
            let text = format!("{text}\n{}", room.matrix_to_uri());
            self.tell_privately(&keeper, &txn, &text).await?;
        }
        Ok(())
    }

    /// Takes the addresses of a room along to the room that it was upgraded to, and from there on as far as the bot is asked in: the last
    /// one, and whether that goes on nowhere where the bot is not asked in.
    async fn go_on(&self, room: &RoomId) -> Result<(OwnedRoomId, bool), Failure> {
        let mut room = room.to_owned();
        for _ in 0..MOST_UPGRADES {
            if self.of_room(&room).await?.is_empty() {
                break;
            }
            let upgrade = match self.host.homeserver.find_upgrade(&room, self.settings().least_power).await {
                Err(failure) if failure.may_pass() => return Err(failure),
                upgrade => upgrade.unwrap_or_default(),
            };
            let Some(Upgrade { room: next, is_seen }) = upgrade else { break };
            if !is_seen {
                let mut batch = Batch::new();
                batch.put(&AWAITED, room.as_str(), &next);
                self.host.store.commit(batch).await?;
                return Ok((room, false));
            }
            match self.follow(&room, None, &next).await? {
                Ok(()) => room = next,
                Err(Stay::Outside) => return Ok((room, false)),
                Err(Stay::Foreign(_) | Stay::Unfit(_)) => break,
            }
        }
        Ok((room, true))
    }

    /// The bot came into a room: it may be one that came of a room with addresses.
    pub(crate) async fn came(&self, room: &RoomId) -> Result<(), Failure> {
        let old = match self.host.homeserver.creation(room).await {
            Ok(creation) => creation.and_then(|creation| creation.predecessor),
            Err(failure) if failure.may_pass() => return Err(failure),
            // It was put out meanwhile.
            Err(_) => None,
        };
        if let Some(old) = old {
            if !self.of_room(&old).await?.is_empty() {
                let _judged = self.follow(&old, None, room).await?;
            }
            // Or it came of one into which the bot was never asked.
            for (first, awaited) in self.host.store.scan(&AWAITED, "", None, usize::MAX).await? {
                let first = OwnedRoomId::try_from(first).ok().filter(|_| awaited == old);
                if let Some(first) = first
                    && !self.of_room(&first).await?.is_empty()
                {
                    let _judged = self.follow(&first, Some(&old), room).await?;
                }
            }
        }
        // It may have been upgraded itself before the bot was asked in.
        let (last, _) = self.go_on(room).await?;
        if last != *room {
            let _standing = self.ask_anew(&last).await?;
        }
        Ok(())
    }

    /// Takes the addresses of a room to the one that it was upgraded to, if that is its successor, maybe by way of one that cannot be
    /// seen.
    async fn follow(
        &self,
        old: &RoomId,
        between: Option<&RoomId>,
        new: &RoomId,
    ) -> Result<Result<(), Stay>, Failure> {
        let judged = match self.judge(old, between, new).await {
            Err(failure) if failure.may_pass() => return Err(failure),
            // One of the two rooms cannot be seen.
            Err(_) => Err(Stay::Outside),
            Ok(judged) => judged,
        };
        let txn = |what: &str| TxnId::of(&[what, old.as_str(), new.as_str()]);
        match judged {
            Err(Stay::Foreign(why)) => {
                warn!(room_id = %old, successor = %new, why, "addresses stay: no true successor")
            }
            Err(Stay::Unfit(why)) => self.tell(new, &txn("unfit"), why).await?,
            Err(Stay::Outside) => {}
            Ok(()) => {
                let list = self.list(old).await?;
                let text = format!(
                    "前の部屋のメールアドレスを、この部屋が引き継ぎました。これまでのメールへの返事もこの部屋に届きます。 / \
                     The addresses of the room before are this room's now, and answers to its mails come here.\n{list}"
                );
                // Said before it is done: who is killed in between says it again, under the same id.
                self.tell(new, &txn("moved"), &text).await?;
                self.take_along(old, new).await?;
                info!(room_id = %old, successor = %new, "addresses went with their room");
                self.more_in.notify_one();
            }
        }
        Ok(judged)
    }

    async fn judge(
        &self,
        old: &RoomId,
        between: Option<&RoomId>,
        new: &RoomId,
    ) -> Result<Result<(), Stay>, Failure> {
        let (homeserver, least) = (&self.host.homeserver, self.settings().least_power);
        if !homeserver.is_joined(new, self.host.user()).await? {
            return Ok(Err(Stay::Outside));
        }
        let judged = match between {
            None => homeserver.check_successor(old, new, least).await?,
            Some(between) if homeserver.is_successor_over(old, between, new, least).await? => Ok(()),
            Some(_) => Err("it came of the new room, and who made it has no power in the old one"),
        };
        if let Err(why) = judged {
            return Ok(Err(Stay::Foreign(why)));
        }
        if homeserver.state(new, "m.room.encryption", "").await?.is_some() {
            return Ok(Err(Stay::Unfit(ENCRYPTED)));
        }
        let (held, more) = (self.of_room(new).await?.len(), self.of_room(old).await?.len());
        Ok(if held + more > MOST_HELD { Err(Stay::Unfit(FULL)) } else { Ok(()) })
    }

    /// Says something in a room that is no answer; a room that refuses it goes without.
    async fn tell(&self, room: &RoomId, txn: &TxnId, text: &str) -> Result<(), Failure> {
        match self.host.homeserver.notice(room, txn, text).await {
            Err(failure) if failure.may_pass() => Err(failure),
            Err(failure) => {
                info!(room_id = %room, error = %failure, "a word about an upgrade is left out");
                Ok(())
            }
            Ok(_) => Ok(()),
        }
    }

    /// Gives the addresses of a room to another, each under its label or one beside it.
    async fn take_along(&self, old: &RoomId, new: &RoomId) -> Result<(), StoreError> {
        let of_old = of_room(old, "");
        let keys = self.host.store.scan(&OF_ROOM, &of_old, None, MOST_HELD).await?;
        let (old, new) = (old.to_owned(), new.to_owned());
        let moved = self.host.store.change(move |rows| {
            let mut batch = Batch::new();
            let mut taken: Vec<String> = Vec::new();
            for (key, _) in keys {
                // Closed meanwhile, or taken along by the event of the other room.
                let Some(local) = rows.get(&OF_ROOM, &key)? else { continue };
                let Some(mut entrance) = rows.get(&ADDRESSES, &local)? else { continue };
                entrance.room.clone_from(&new);
                let label = key.strip_prefix(&of_old).unwrap_or_default();
                let mut place = of_room(&new, label);
                let mut number = 1;
                while taken.contains(&place) || rows.get(&OF_ROOM, &place)?.is_some() {
                    number += 1;
                    place = of_room(&new, &format!("{label}-{number}"));
                }
                batch.put(&ADDRESSES, &local, &entrance).delete(&OF_ROOM, &key).put(&OF_ROOM, &place, &local);
                taken.push(place);
            }
            batch.put(&CAME_FROM, new.as_str(), &old).delete(&AWAITED, old.as_str());
            Ok::<_, StoreError>((batch, ()))
        });
        moved.await
    }

    /// The room of an address, which may have gone on from where a mail was taken; that one where the address is closed.
    pub(crate) async fn room_of(&self, local: &str, room: &RoomId) -> Result<OwnedRoomId, StoreError> {
        let entrance = self.host.store.get(&ADDRESSES, local).await?;
        Ok(entrance.map_or_else(|| room.to_owned(), |entrance| entrance.room))
    }

    /// The rooms that a room came of with their addresses, the nearest first.
    pub(crate) async fn before(&self, room: &RoomId) -> Result<Vec<OwnedRoomId>, StoreError> {
        let mut all: Vec<OwnedRoomId> = Vec::new();
        while all.len() < MOST_UPGRADES
            && let Some(old) =
                self.host.store.get(&CAME_FROM, all.last().map_or(room, |room| &**room).as_str()).await?
        {
            all.push(old);
        }
        Ok(all)
    }

    /// The event in a room with which a thread goes on there that began in this room or in one before.
    pub(crate) async fn root_in(
        &self,
        room: &RoomId,
        (begun_in, root): (&RoomId, &EventId),
    ) -> Result<Option<OwnedEventId>, StoreError> {
        if begun_in == room {
            return Ok(Some(root.to_owned()));
        }
        self.host.store.get(&CONTINUED, &of_event(room, root)).await
    }
}

/// Where an event of a room is shown.
pub(crate) fn link(room: &RoomId, event: &EventId) -> String {
    room.matrix_to_event_uri(event.to_owned()).to_string()
}

const ENCRYPTED: &str = "この部屋は暗号化されているため、前の部屋のメールアドレスを引き継げません。 / \
    This room is encrypted, so the addresses of the room before stay there.";

const FULL: &str = "アドレスが多すぎるため、前の部屋のメールアドレスを引き継げません。不要なものを閉鎖してから、窓口を招き直してください。 / \
    Too many addresses: close some, and invite me again.";
