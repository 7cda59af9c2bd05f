//! Rooms that somebody made come under a rule.

use audit::{Action, Actor};
use organisation::{UnitId, UnitNames};
use ruma::{RoomId, ServerName};
use serde_json::Value;
use store::Batch;

use crate::{
    answer::Answer,
    book::RuleId,
    deciding::{no_room, not_wanted},
    error::Error,
    rules::Rules,
    running::{key, stand},
    tables::{PLACES, PlaceRow, STANDS},
    verbs::Outcome,
    wanted::Place,
    words::words,
};

/// What somebody else writes in the commit in which a room comes under a rule.
pub type Addition = std::sync::Arc<dyn Fn(&mut Batch) + Send + Sync>;

/// A unit, by its name or its number.
enum Which<'a> {
    Named(&'a str),
    Unit(UnitId),
}

impl Rules {
    /// Puts a room that somebody made under a rule.
    pub(crate) async fn adopt(
        &self,
        authority: &ServerName,
        room: &RoomId,
        rule: RuleId,
        (unit, key): (&str, String),
        by: &Actor,
    ) -> Result<Answer, Error> {
        self.take_over(authority, room, rule, (Which::Named(unit), key), by, None).await?;
        Ok(Answer::Rule(rule))
    }

    /// Whether a room could be put under a rule now, as far as that is known without doing it.
    ///
    /// # Errors
    /// [`Error::Refused`] where it could not.
    pub async fn may_adopt(
        &self,
        authority: &ServerName,
        room: &RoomId,
        rule: RuleId,
        (unit, key): (UnitId, &str),
    ) -> Result<(), Error> {
        let (rules, authority, room) = (self.clone(), authority.to_owned(), room.to_owned());
        let key = key.to_owned();
        let look =
            async move { rules.adoptable(&authority, &room, rule, (Which::Unit(unit), key)).await.map(drop) };
        self.aside(look).await
    }

    /// Puts a room that somebody made under a rule, in one commit with what somebody else adds.
    ///
    /// # Errors
    /// [`Error`]; then nothing is written.
    pub async fn adopt_for(
        &self,
        authority: &ServerName,
        room: &RoomId,
        rule: RuleId,
        (unit, key): (UnitId, String),
        by: &Actor,
        addition: Addition,
    ) -> Result<(), Error> {
        let (rules, authority, room, by) = (self.clone(), authority.to_owned(), room.to_owned(), by.clone());
        let act = async move {
            rules.take_over(&authority, &room, rule, (Which::Unit(unit), key), &by, Some(&addition)).await
        };
        self.aside(act).await
    }

    async fn take_over(
        &self,
        authority: &ServerName,
        room: &RoomId,
        rule: RuleId,
        which: (Which<'_>, String),
        by: &Actor,
        addition: Option<&Addition>,
    ) -> Result<(), Error> {
        let name = authority.as_str();
        let (steward, place) = self.adoptable(authority, room, rule, which).await?;
        let row = PlaceRow {
            room: room.to_string(),
            since: self.inner.clock.now(),
            is_adopted: true,
            closed: None,
            parent: None,
            came_from: None,
        };
        let UnitId(number) = place.unit;
        let deed = self
            .deed(Action::AdoptRoom, by, room.as_str())
            .after("rule", rule.0.to_string())
            .after("unit", number.to_string())
            .after("key", &place.key);
        let beside = |batch: &mut Batch, _: &RoomId, _: &[Outcome]| {
            deed.write(batch, authority);
            batch.insert(&PLACES, &key(name, &place), &row);
            batch.insert(&STANDS, &(name, room.as_str()), &stand(&place));
            if let Some(addition) = addition {
                addition(batch);
            }
        };
        self.inner.rooms.take_over(&steward, room, &beside).await?;
        self.inner.look.notify_one();
        Ok(())
    }

    /// The place that a room would have by a rule, and the steward who would have all power in it.
    async fn adoptable(
        &self,
        authority: &ServerName,
        room: &RoomId,
        rule: RuleId,
        (which, key_of_room): (Which<'_>, String),
    ) -> Result<(ruma::OwnedUserId, Place), Error> {
        let today = self.today()?;
        // What is made by hand is put under a rule before that begins, lest the rule makes rooms of its own.
        let day = self.book(authority).await?.0.begins(rule, today).unwrap_or(today);
        let unit = match which {
            Which::Named(unit) => {
                let organisation = self.inner.organisations.load(authority).await?.organisation;
                UnitNames::of(&organisation, None, day).find(unit).map_err(Error::Refused)?.unit
            }
            Which::Unit(unit) => unit,
        };
        let place = Place { rule, unit, key: key_of_room };
        let view = self.view(authority, day, None).await?;
        let wanted = view.wanted.rooms.iter().find(|wanted| wanted.place == place);
        let wanted = wanted.ok_or_else(|| Error::Refused(not_wanted(&place)))?;
        if view.places.contains_key(&place) {
            return Err(Error::Refused(words!(
                "この所属には規則による部屋がすでにあります。",
                "The unit has a room by this rule already."
            )));
        }
        let name = authority.as_str();
        if self.inner.store.get(&STANDS, &(name, room.as_str())).await?.is_some() {
            return Err(Error::Refused(words!(
                "この部屋はすでに規則による部屋です。",
                "This room is there by a rule already."
            )));
        }
        let create = [("m.room.create".to_owned(), String::new())];
        let actual = self.inner.rooms.look(room, &create).await?.ok_or_else(|| Error::Refused(no_room()))?;
        let create = actual.state.values().next();
        // Nobody takes power from who has made a room of these versions.
        let version = create.and_then(|content| content.get("room_version")).and_then(Value::as_str);
        if !version.unwrap_or("1").parse().is_ok_and(|version: u32| version < FIRST_OF_CREATORS) {
            return Err(Error::Refused(words!(
                "バージョン 12 以降のルームでは、作った人の権限をなくせないため、規則の対象にできません。バージョン 11 で作ったルームか、規則が作るルームを使ってください。",
                "In a room of version 12 or later nobody takes the power of who has made it, so it is put under no rule. Take a room of version 11, or the one that the rule makes."
            )));
        }
        let is_space =
            create.and_then(|content| content.get("type")).and_then(Value::as_str) == Some("m.space");
        if is_space != wanted.template.space {
            return Err(Error::Refused(words!(
                "スペースと部屋は取り替えられません。",
                "A space is not put in the place of a room, nor a room in that of a space."
            )));
        }
        Ok((view.steward, place))
    }
}

/// The first room version in which who has made a room has more power than levels give.
const FIRST_OF_CREATORS: u32 = 12;
