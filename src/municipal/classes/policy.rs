//! What a class may not is refused; everything else is the policy's behind.

use base::Address;
use intake::Class;
use pdu::{Draft, Pdu};
use room::{Denial, FileFacts, FileReader, Making, Policy};
use ruma::{RoomId, ServerName, UserId};

use crate::{classes::Classes, rights::MakesRooms};

/// The refusal of what people of a class may not: `ja` and `en` say what that is.
fn refused(user: &UserId, class: Class, ja: &str, en: &str) -> Denial {
    let of = class.words();
    Denial {
        public: format!(
            "任用区分「{}」の方は{ja}。変更は管理者にご相談ください。\nPeople of the class \"{}\" {en}. Administrators can change that.",
            of.ja, of.en
        ),
        private: format!("{user} is of the class {:?}: they {en}", of.en),
    }
}

impl Policy for Classes {
    fn register(&self, user: &UserId, from: Option<Address>) -> Result<(), Denial> {
        self.inner.behind.register(user, from)
    }

    fn sign_in(&self, user: &UserId, from: Option<Address>) -> Result<(), Denial> {
        if let Some((class, rights)) = self.of(user)
            && let Some(zones) = &rights.signs_in_from
        {
            let zone = from.as_ref().and_then(Address::zone);
            if !zone.is_some_and(|zone| zones.contains(zone)) {
                let ja = "このネットワークからサインインできません";
                return Err(refused(user, class, ja, "do not sign in from this network"));
            }
        }
        self.inner.behind.sign_in(user, from)
    }

    fn create(&self, creator: &UserId, making: &Making<'_>) -> Result<(), Denial> {
        if let Some((class, rights)) = self.of(creator) {
            match rights.makes_rooms {
                MakesRooms::All => {}
                MakesRooms::Direct if making.direct => {}
                MakesRooms::Direct => {
                    let ja = "1対1のチャット以外のルームを作れません";
                    return Err(refused(creator, class, ja, "make no rooms but for talking with one person"));
                }
                MakesRooms::None => {
                    return Err(refused(creator, class, "ルームを作れません", "make no rooms"));
                }
            }
        }
        self.inner.behind.create(creator, making)
    }

    fn join(&self, user: &UserId, room: &RoomId) -> Result<(), Denial> {
        self.inner.behind.join(user, room)
    }

    fn invite(&self, sender: &UserId, target: &UserId, room: &RoomId) -> Result<(), Denial> {
        if target.server_name() != sender.server_name()
            && let Some((class, rights)) = self.of(sender)
            && !rights.invites_outside
        {
            let ja = "庁外の方を招待できません";
            return Err(refused(sender, class, ja, "do not invite people of other authorities"));
        }
        self.inner.behind.invite(sender, target, room)
    }

    fn send(&self, room: Option<&RoomId>, draft: &Draft) -> Result<(), Denial> {
        self.inner.behind.send(room, draft)
    }

    fn publish(&self, user: &UserId, room: &RoomId) -> Result<(), Denial> {
        if let Some((class, rights)) = self.of(user)
            && !rights.publishes_rooms
        {
            let ja = "ルームを一覧に載せられません";
            return Err(refused(user, class, ja, "list no rooms in the directory"));
        }
        self.inner.behind.publish(user, room)
    }

    fn look_up(&self, user: Option<&UserId>, server: &ServerName) -> Result<(), Denial> {
        self.inner.behind.look_up(user, server)
    }

    fn find(&self, seeker: &UserId, found: &UserId) -> bool {
        self.inner.behind.find(seeker, found)
    }

    fn admit(&self, server: &ServerName, room: &RoomId) -> Result<(), Denial> {
        self.inner.behind.admit(server, room)
    }

    fn accept_from(&self, origin: &ServerName, room: &RoomId, event: &Pdu) -> Result<(), Denial> {
        self.inner.behind.accept_from(origin, room, event)
    }

    fn upload(&self, user: &UserId, file: &FileFacts<'_>) -> Result<(), Denial> {
        if let Some((class, rights)) = self.of(user)
            && !rights.uploads
        {
            return Err(refused(user, class, "ファイルを送れません", "send no files"));
        }
        self.inner.behind.upload(user, file)
    }

    fn download(
        &self,
        reader: FileReader<'_>,
        server: &ServerName,
        file: &FileFacts<'_>,
    ) -> Result<(), Denial> {
        self.inner.behind.download(reader, server, file)
    }

    fn contact(&self, server: &ServerName) -> Result<(), Denial> {
        self.inner.behind.contact(server)
    }
}
