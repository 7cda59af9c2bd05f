//! What a class may not is refused; everything else is the policy's behind.

use base::Address;
use intake::Class;
use pdu::{Draft, Pdu};
use room::{Denial, DeviceBound, FactorRule, FileFacts, FileForm, FileReader, Horizon, Making, Policy};
use ruma::{RoomId, ServerName, UserId};

use crate::{
    classes::Classes,
    rights::{GivesFiles, MakesRooms, NeedsFactor, Rights},
};

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

/// The zone of an address, if one is known.
fn zone_of(from: Option<&Address>) -> Option<&str> {
    from.and_then(Address::zone)
}

/// Whether a class is let in from a zone. Where none is known it is not, if it is from some alone.
pub(crate) fn is_let_in(rights: &Rights, zone: Option<&str>) -> bool {
    rights.signs_in_from.as_ref().is_none_or(|zones| zone.is_some_and(|zone| zones.contains(zone)))
}

/// Whether a class has to have a factor in a zone.
pub(crate) fn factor_rule(rights: &Rights, zone: Option<&str>) -> FactorRule {
    let NeedsFactor::Yes { but_from } = &rights.needs_factor else { return FactorRule::Free };
    match zone {
        Some(zone) if but_from.contains(zone) => FactorRule::Free,
        _ if but_from.is_empty() => FactorRule::Needed,
        _ => FactorRule::NeededAlready,
    }
}

impl Policy for Classes {
    fn register(&self, user: &UserId, from: Option<Address>) -> Result<(), Denial> {
        self.inner.behind.register(user, from)
    }

    fn sign_in(&self, user: &UserId, from: Option<Address>) -> Result<(), Denial> {
        if let Some((class, rights)) = self.of(user)
            && !is_let_in(&rights, zone_of(from.as_ref()))
        {
            let ja = "このネットワークからサインインできません";
            return Err(refused(user, class, ja, "do not sign in from this network"));
        }
        self.inner.behind.sign_in(user, from)
    }

    fn factor(&self, user: &UserId, from: Option<Address>) -> FactorRule {
        let of_class = self
            .of(user)
            .map_or(FactorRule::Free, |(_, rights)| factor_rule(&rights, zone_of(from.as_ref())));
        of_class.max(self.inner.behind.factor(user, from))
    }

    fn use_session(&self, user: &UserId, from: Option<Address>) -> Result<(), Denial> {
        if let Some((class, rights)) = self.of(user)
            && !is_let_in(&rights, zone_of(from.as_ref()))
        {
            let ja = "このネットワークから利用できません";
            return Err(refused(user, class, ja, "may not use this server from this network"));
        }
        self.inner.behind.use_session(user, from)
    }

    fn devices(&self, user: &UserId) -> Option<DeviceBound> {
        let of_class = self.of(user).and_then(|(class, rights)| {
            let most = rights.devices?.get();
            let ja = format!(
                "{most} 台までの端末でサインインできます。先にほかの端末をサインアウトさせてください"
            );
            let en = format!("sign in on at most {most} devices: sign out on another one first");
            Some(DeviceBound { most, denial: refused(user, class, &ja, &en) })
        });
        let behind = self.inner.behind.devices(user);
        of_class.into_iter().chain(behind).min_by_key(|bound| bound.most)
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
        if let FileReader::User(user) = reader
            && let Some((class, rights)) = self.of(user)
            && rights.gives_files == GivesFiles::Nothing
        {
            return Err(refused(user, class, "ファイルを受け取れません", "are given no files"));
        }
        self.inner.behind.download(reader, server, file)
    }

    fn file_form(&self, user: &UserId) -> FileForm {
        let of_class = self.of(user).map_or(GivesFiles::OfZone, |(_, rights)| rights.gives_files);
        let of_class = match of_class {
            GivesFiles::OfZone => FileForm::OfZone,
            GivesFiles::Sanitised | GivesFiles::Nothing => FileForm::Sanitised,
        };
        of_class.max(self.inner.behind.file_form(user))
    }

    fn reads_back(&self, user: &UserId) -> Option<Horizon> {
        let of_class = self.of(user).and_then(|(_, rights)| {
            let (sent_ms, came) = self.days_ago(rights.reads_back?.get().into());
            Some(Horizon { sent_ms, came })
        });
        match (of_class, self.inner.behind.reads_back(user)) {
            (Some(one), Some(other)) => {
                Some(Horizon { sent_ms: one.sent_ms.max(other.sent_ms), came: one.came.max(other.came) })
            }
            (one, other) => one.or(other),
        }
    }

    fn contact(&self, server: &ServerName) -> Result<(), Denial> {
        self.inner.behind.contact(server)
    }
}
