//! The addresses of rooms.

use bot_kit::{Batch, Event, Failure, StoreError, ruma::RoomId};

use crate::{
    command::Writers,
    gate::Gate,
    rows::{ADDRESSES, Entrance, GONE, OF_ROOM, of_room},
    standing::Closed,
};

/// Addresses of a room, and those of everybody.
const MOST_OF_ROOM: usize = 5;
const MOST_ADDRESSES: usize = 10_000;

/// Addresses that a room may come to have by upgrades of several rooms to it.
pub(crate) const MOST_HELD: usize = 50;

/// Whom an address names as writers.
const MOST_WRITERS: usize = 50;

/// An address of ours.
pub(crate) struct Found {
    pub(crate) local: String,
    pub(crate) entrance: Entrance,
    /// Its room takes no mail at present, and why, where that is known.
    pub(crate) gone: Option<Option<Closed>>,
}

/// An address of a room.
pub(crate) struct Own {
    pub(crate) label: String,
    pub(crate) local: String,
    pub(crate) entrance: Entrance,
}

impl Gate {
    /// Whether an address is one of our domain, of a room or not.
    pub(crate) fn is_ours(&self, address: &str) -> bool {
        let domain = address.rsplit_once('@').map(|(_, domain)| domain);
        domain.is_some_and(|domain| domain.eq_ignore_ascii_case(&self.settings().domain))
    }

    /// The address of a local part.
    pub(crate) fn address(&self, local: &str) -> String {
        format!("{local}@{}", self.settings().domain)
    }

    pub(crate) async fn find_entrance(&self, address: &str) -> Result<Option<Found>, StoreError> {
        let address = address.to_ascii_lowercase();
        let Some((local, _)) = address.rsplit_once('@').filter(|_| self.is_ours(&address)) else {
            return Ok(None);
        };
        let store = &self.host.store;
        let Some(entrance) = store.get(&ADDRESSES, local).await? else { return Ok(None) };
        let gone = store.get(&GONE, entrance.room.as_str()).await?;
        Ok(Some(Found { local: local.to_owned(), entrance, gone }))
    }

    /// The addresses of a room, the oldest first: it is the one that new mails are from.
    pub(crate) async fn of_room(&self, room: &RoomId) -> Result<Vec<Own>, StoreError> {
        let (store, all) = (&self.host.store, of_room(room, ""));
        let mut found = Vec::new();
        for (key, local) in store.scan(&OF_ROOM, &all, None, MOST_HELD).await? {
            if let Some(entrance) = store.get(&ADDRESSES, &local).await? {
                let label = key.strip_prefix(&all).unwrap_or_default().to_owned();
                found.push(Own { label, local, entrance });
            }
        }
        // Stable: those of before this was noted stay in the order of their labels, ahead of the others.
        found.sort_by_key(|own| own.entrance.opened_ms);
        Ok(found)
    }

    /// Opens an address; one that is there for this label stays the only one, however often this is asked.
    pub(crate) async fn open(&self, event: &Event, label: &str) -> Result<String, Failure> {
        let room = event.room_id.clone();
        if self.standing(&room).await? == Err(Closed::Encrypted) {
            return Ok(ENCRYPTED.to_owned());
        }
        let others = self.of_room(&room).await?;
        // A room has one list of writers.
        let (is_open, writers) = others
            .first()
            .map_or_else(|| (false, Vec::new()), |own| (own.entrance.is_open, own.entrance.writers.clone()));
        let (opened_by, opened_ms) = (Some(event.sender.clone()), event.received_ms);
        let entrance = Entrance { room: room.clone(), is_open, writers, opened_by, opened_ms };
        let (key, new) = (of_room(&room, &label.to_lowercase()), local_part(label, rand::random()));
        let outcome = self.host.store.change(move |rows| {
            if let Some(local) = rows.get(&OF_ROOM, &key)? {
                return Ok((Batch::new(), Some((local, false))));
            }
            let is_full = rows.count(&OF_ROOM, &of_room(&room, ""), MOST_OF_ROOM)? >= MOST_OF_ROOM
                || rows.count(&ADDRESSES, "", MOST_ADDRESSES)? >= MOST_ADDRESSES;
            let mut batch = Batch::new();
            if is_full {
                return Ok((batch, None));
            }
            batch.put(&ADDRESSES, &new, &entrance).put(&OF_ROOM, &key, &new);
            Ok::<_, StoreError>((batch, Some((new, true))))
        });
        let Some((local, is_new)) = outcome.await? else {
            return Ok(format!(
                "アドレスは部屋ごとに{MOST_OF_ROOM}件までです。 / No more addresses can be opened."
            ));
        };
        let address = self.address(&local);
        if !is_new {
            return Ok(format!("この部屋のアドレスです / It is open already:\n{address}"));
        }
        let entrance = self.host.store.get(&ADDRESSES, &local).await?;
        let writers = entrance.map(|entrance| entrance.describe()).unwrap_or_default();
        Ok(format!(
            "開設しました / Opened:\n{address}\n{writers}\n\
             送れる人は「!メール 許可 example.co.jp」で決めます / `!mail allow example.co.jp` says who may write."
        ))
    }

    pub(crate) async fn list(&self, room: &RoomId) -> Result<String, Failure> {
        let mut lines = Vec::new();
        for Own { label, local, entrance } in self.of_room(room).await? {
            let label = if label.is_empty() { label } else { format!("{label}：") };
            lines.push(format!("{label}{} … {}", self.address(&local), entrance.describe()));
        }
        if lines.is_empty() {
            return Ok("この部屋のアドレスはありません。 / This room has no address.".to_owned());
        }
        Ok(lines.join("\n"))
    }

    pub(crate) async fn close(&self, room: &RoomId, address: &str) -> Result<String, Failure> {
        let local = address.split('@').next().unwrap_or_default();
        let labels = self.host.store.scan(&OF_ROOM, &of_room(room, ""), None, MOST_HELD).await?;
        let Some((label, local)) = labels.iter().find(|(_, own)| own == local) else {
            return Ok("この部屋のアドレスではありません。 / That is no address of this room.".to_owned());
        };
        let mut batch = Batch::new();
        batch.delete(&ADDRESSES, local).delete(&OF_ROOM, label);
        self.host.store.commit(batch).await?;
        Ok("閉鎖しました。届くメールは差出人へ返されます。 / It is closed; mail to it goes back.".to_owned())
    }

    pub(crate) async fn allow(&self, room: &RoomId, writers: Writers) -> Result<String, Failure> {
        if let Writers::Unclear(whom) = &writers {
            return Ok(format!(
                "「{whom}」は送れる人として読めません。ドメイン（example.co.jp）、アドレス（taro@example.co.jp）、全員、なし のどれかで書いてください。日本語のドメインは xn-- で始まる形で書きます。 / \
                 That names nobody: write a domain, an address, `all` or `none`."
            ));
        }
        let locals: Vec<String> = self.of_room(room).await?.into_iter().map(|own| own.local).collect();
        let of = room.to_owned();
        let is_allowed = self.host.store.change(move |rows| {
            let mut batch = Batch::new();
            for local in locals {
                // It may have gone to the room that this one was upgraded to.
                let entrance = rows.get(&ADDRESSES, &local)?.filter(|entrance| entrance.room == of);
                let Some(mut entrance) = entrance else { continue };
                if !entrance.allow(&writers) {
                    return Ok((Batch::new(), false));
                }
                batch.put(&ADDRESSES, &local, &entrance);
            }
            Ok::<_, StoreError>((batch, true))
        });
        if !is_allowed.await? {
            return Ok(format!(
                "送れる人は{MOST_WRITERS}件までです。 / No more than {MOST_WRITERS} writers."
            ));
        }
        self.list(room).await
    }
}

pub(crate) const ENCRYPTED: &str = "この部屋は暗号化されているため、メールを受け取れません。届くメールは暗号化されずに置かれるからです。暗号化していない部屋でお使いください。 / \
    This room is encrypted: what comes by mail would lie in the open there. Use a room without encryption.";

impl Entrance {
    /// Whether somebody may write.
    pub(crate) fn admits(&self, from: &str) -> bool {
        let domain = from.rsplit_once('@').map(|(_, domain)| domain);
        let is_named = |writer: &String| writer == from || Some(writer.as_str()) == domain;
        self.is_open || self.writers.iter().any(is_named)
    }

    /// Says who may write, besides those who may; false if they become too many.
    fn allow(&mut self, writers: &Writers) -> bool {
        match writers {
            Writers::Everybody => self.is_open = true,
            Writers::Nobody => (self.is_open, self.writers) = (false, Vec::new()),
            Writers::Unclear(_) => {}
            Writers::These(whom) => {
                self.is_open = false;
                if !self.writers.contains(whom) {
                    if self.writers.len() >= MOST_WRITERS {
                        return false;
                    }
                    self.writers.push(whom.clone());
                }
            }
        }
        true
    }

    fn describe(&self) -> String {
        match (self.is_open, self.writers.is_empty()) {
            (true, _) => "全員が送れます / everybody may write".to_owned(),
            (false, true) => "まだ誰も送れません / nobody may write yet".to_owned(),
            (false, false) => format!("送れる人 / writers: {}", self.writers.join(", ")),
        }
    }
}

/// A local part that cannot be guessed.
fn local_part(label: &str, random: u64) -> String {
    let label = label.to_ascii_lowercase();
    let is_fit =
        !label.is_empty() && label.len() <= 20 && label.bytes().all(|byte| byte.is_ascii_alphanumeric());
    format!("{}-{random:016x}", if is_fit { &label } else { "room" })
}
