//! What a room calls itself: `m.room.canonical_alias`, and that it says what is so.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#mroomcanonical_alias>

use std::collections::BTreeSet;

use pdu::{Draft, FormatError};
use room::Error;
use ruma::{
    OwnedRoomAliasId, RoomAliasId, RoomId, UserId,
    events::{StateEventType, TimelineEventType},
};
use serde::Deserialize;
use serde_json::{Map, Value, value::RawValue};

use crate::{Engine, draft::draft};

/// Aliases of other servers that one event may add: each is a request to its server.
const MOST_NEW_ALIASES: usize = 10;

/// The aliases that a room calls its own.
#[derive(Default)]
pub(crate) struct Aliases {
    main: Option<OwnedRoomAliasId>,
    others: Vec<OwnedRoomAliasId>,
}

impl Aliases {
    /// Those that somebody wants to set.
    ///
    /// # Errors
    /// [`Error::Format`] when they are not written as aliases are; [`Error::Invalid`] when one is no alias.
    pub(crate) fn parse(content: &RawValue) -> Result<Self, Error> {
        let wrong = |field, expected| Error::Format(FormatError::WrongType { field, expected });
        let content: Map<String, Value> =
            serde_json::from_str(content.get()).map_err(|_| wrong("content", "an object"))?;
        let parse = |text: &str| {
            OwnedRoomAliasId::try_from(text).map_err(|_| Error::Invalid(format!("`{text}` is not an alias")))
        };
        let main = match content.get("alias") {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) if text.is_empty() => None,
            Some(Value::String(text)) => Some(parse(text)?),
            Some(_) => return Err(wrong("alias", "a string")),
        };
        let others = match content.get("alt_aliases") {
            None => &[][..],
            Some(Value::Array(others)) => others,
            Some(_) => return Err(wrong("alt_aliases", "a list of strings")),
        };
        let text = |other: &Value| match other {
            Value::String(text) => parse(text),
            _ => Err(wrong("alt_aliases", "a list of strings")),
        };
        Ok(Self { main, others: others.iter().map(text).collect::<Result<_, _>>()? })
    }

    /// Those of an event that is there already, as far as they are aliases.
    fn standing(content: &str) -> Self {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Content {
            #[serde(deserialize_with = "pdu::lenient::field")]
            alias: Option<OwnedRoomAliasId>,
            #[serde(deserialize_with = "pdu::lenient::list")]
            alt_aliases: Vec<OwnedRoomAliasId>,
        }
        let Content { alias, alt_aliases } = pdu::lenient::read(content);
        Self { main: alias, others: alt_aliases }
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &OwnedRoomAliasId> {
        self.main.iter().chain(&self.others)
    }
}

/// Whether a draft says what a room calls itself.
pub(crate) fn names_room(draft: &Draft) -> bool {
    draft.kind == TimelineEventType::RoomCanonicalAlias && draft.state_key.as_deref() == Some("")
}

impl Engine {
    /// Every alias that a room calls its own must be one, and lead to it. Aliases that stand there already are not asked
    /// for again: their server may be gone.
    ///
    /// Servers are asked for one who may set the aliases only, and for few aliases at a time: the names are the sender's,
    /// and each would be a request of ours.
    ///
    /// # Errors
    /// [`Error::BadAlias`], [`Error::Invalid`], [`Error::Store`].
    ///
    /// Spec: <https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3roomsroomidstateeventtypestatekey>
    pub(crate) async fn check_canonical_alias(&self, room_id: &RoomId, draft: &Draft) -> Result<(), Error> {
        let wanted = Aliases::parse(&draft.content)?;
        let Some(room) = self.rooms().room(room_id).await? else { return Ok(()) };
        let known = match self.rooms().current_state_event(&room, "m.room.canonical_alias", "").await {
            Ok(Some(event)) => Aliases::standing(event.pdu().content_str()),
            Ok(None) | Err(Error::NoRoom(_)) => Aliases::default(),
            Err(error) => return Err(error),
        };
        let new: BTreeSet<_> =
            wanted.all().filter(|alias| !known.all().any(|known| known == *alias)).collect();
        if new.is_empty()
            || !self.rooms().may_set_state(&draft.sender, room_id, "m.room.canonical_alias").await?
        {
            // Sending says why not.
            return Ok(());
        }
        let foreign = new.iter().filter(|alias| !self.is_ours(alias.server_name())).count();
        if foreign > MOST_NEW_ALIASES {
            return Err(Error::Invalid(format!(
                "at most {MOST_NEW_ALIASES} aliases of other servers can be added at a time"
            )));
        }
        for alias in new {
            let leads_here = match self.resolve_alias(Some(&draft.sender), alias).await {
                Ok(answer) => answer.room_id == room_id,
                Err(Error::Store(cause)) => return Err(cause.into()),
                Err(_) => false,
            };
            if !leads_here {
                return Err(Error::BadAlias(alias.clone()));
            }
        }
        Ok(())
    }

    /// Takes an alias that was deleted out of the room's own list of aliases, if the user may. That the user may not is
    /// no error: the alias is gone all the same.
    pub(crate) async fn drop_canonical_alias(
        &self,
        sender: &UserId,
        room_id: &RoomId,
        alias: &RoomAliasId,
    ) -> Result<(), Error> {
        let Some(room) = self.rooms().room(room_id).await? else { return Ok(()) };
        let current = match self.rooms().current_state_event(&room, "m.room.canonical_alias", "").await {
            Ok(Some(event)) => event,
            Ok(None) | Err(Error::NoRoom(_)) => return Ok(()),
            Err(error) => return Err(error),
        };
        let Some(content) = without_alias(current.pdu().content_str(), alias) else { return Ok(()) };
        let draft = draft(sender, StateEventType::RoomCanonicalAlias, "", &Value::Object(content));
        if self.may_say(Some(room_id), &draft).is_err() {
            return Ok(());
        }
        // Not as somebody's wish: what else stands there may be as odd as it is.
        match self.send_unchecked(room_id, &draft, None, None).await {
            Ok(_) | Err(Error::Forbidden(_) | Error::NotJoined { .. } | Error::Denied(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// The content of an `m.room.canonical_alias` without an alias, and otherwise as it was; nothing when it does not
/// name it.
fn without_alias(content: &str, alias: &RoomAliasId) -> Option<Map<String, Value>> {
    let mut content: Map<String, Value> = serde_json::from_str(content).ok()?;
    let is_it = |value: &Value| value.as_str() == Some(alias.as_str());
    let mut found = false;
    if content.get("alias").is_some_and(is_it) {
        content.remove("alias");
        found = true;
    }
    if let Some(Value::Array(others)) = content.get_mut("alt_aliases") {
        found |= others.iter().any(is_it);
        others.retain(|other| !is_it(other));
        if others.is_empty() {
            content.remove("alt_aliases");
        }
    }
    found.then_some(content)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use ruma::room_alias_id;
    use serde_json::json;

    use super::*;

    #[test]
    fn taking_an_alias_out_keeps_everything_else_of_the_event() {
        let alias = room_alias_id!("#a:b");
        let content = r##"{"alias":"#a:b","alt_aliases":["#c:d",5,"#a:b"],"org.example":1}"##;
        let left = Value::Object(without_alias(content, alias).unwrap());
        assert_eq!(left, json!({ "alt_aliases": ["#c:d", 5], "org.example": 1 }));
        assert!(without_alias(r##"{"alias":"#x:y"}"##, alias).is_none());
        assert_eq!(Aliases::standing(content).all().count(), 3);
        assert_eq!(Aliases::standing(r##"{"alias":7,"alt_aliases":["#c:d"]}"##).all().count(), 1);
    }
}
