//! [`Room`]: the one room of the nation, as all peers know it.
//!
//! Every event is made once and kept as it is sent, so that answers of the size of a state are put together
//! from texts that are there. What state lies before an event is known by how many changes of state there had
//! been when it was made; that is exact as long as no two of them contradict each other.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};

use anyhow::{Context as _, Result, bail, ensure};
use bytes::Bytes;
use ruma::{
    CanonicalJsonObject, CanonicalJsonValue, RoomVersionId,
    room_version_rules::RoomVersionRules,
    signatures::{PublicKeyMap, Verified, reference_hash, verify_event},
};
use serde_json::{Value, json};

use super::identity::{Identity, now_ms, object, text};

const VERSION: RoomVersionId = RoomVersionId::V12;
/// An event names at most so many as previous; twenty are allowed.
pub(super) const MOST_PREV: usize = 10;
/// Members who may change the room's state.
pub(super) const MODERATORS: usize = 5;

/// An event by its place in the order in which events were made or came.
pub(super) type Number = usize;

/// An event.
pub(super) struct Event {
    pub(super) id: String,
    /// Canonical JSON.
    pub(super) text: Bytes,
    prev: Vec<Number>,
    auth: Vec<Number>,
    depth: u64,
    /// Changes of state before it, since the founding.
    changes: usize,
    /// Type and state key.
    key: Option<(String, String)>,
}

/// What somebody says; where it stands in the room follows from the room.
pub(super) struct Draft<'a> {
    pub(super) sender: &'a str,
    pub(super) kind: &'a str,
    pub(super) state_key: Option<&'a str>,
    pub(super) content: Value,
}

impl<'a> Draft<'a> {
    pub(super) fn message(sender: &'a str, body: &str) -> Self {
        let content = json!({ "msgtype": "m.text", "body": body });
        Self { sender, kind: "m.room.message", state_key: None, content }
    }

    pub(super) fn state(sender: &'a str, kind: &'a str, state_key: &'a str, content: Value) -> Self {
        Self { sender, kind, state_key: Some(state_key), content }
    }
}

/// The room.
pub(super) struct Room {
    pub(super) id: String,
    /// Members by number: their user ids. Member `m` is of peer `m % peers`.
    pub(super) members: Vec<String>,
    rules: RoomVersionRules,
    events: Vec<Event>,
    by_id: HashMap<String, Number>,
    /// The state after the founding, in the order in which it was made.
    founded: Vec<Number>,
    /// State events since.
    changes: Vec<Number>,
    current: HashMap<(String, String), Number>,
    /// What nobody has named as previous yet, of what the server under test has.
    tips: BTreeSet<Number>,
}

impl Room {
    /// Makes the room: its creator is of the first peer, and its members are spread over all.
    pub(super) fn found(peers: &[&Identity], members: usize) -> Result<Self> {
        let rules = VERSION.rules().context("the rules of the room version")?;
        let mut room = Self {
            id: String::new(),
            members: Vec::with_capacity(members),
            rules,
            events: Vec::with_capacity(members + 1_000),
            by_id: HashMap::new(),
            founded: Vec::with_capacity(members + 8),
            changes: Vec::new(),
            current: HashMap::new(),
            tips: BTreeSet::new(),
        };
        let user = |number: usize| format!("@u{number}:{}", peers[number % peers.len()].name);
        let first = peers[0];
        let creator = format!("@shicho:{}", first.name);
        let moderators: serde_json::Map<String, Value> =
            (0..MODERATORS).map(|number| (user(number), json!(50))).collect();
        let join = |name: &str| json!({ "membership": "join", "displayname": name });
        for (kind, key, content) in [
            ("m.room.create", "", json!({ "room_version": VERSION.as_str() })),
            ("m.room.member", creator.as_str(), join("市長")),
            ("m.room.power_levels", "", json!({ "users": moderators, "state_default": 50 })),
            ("m.room.join_rules", "", json!({ "join_rule": "public" })),
            ("m.room.history_visibility", "", json!({ "history_visibility": "shared" })),
            ("m.room.name", "", json!({ "name": "全国連絡会議" })),
        ] {
            room.say(first, &Draft::state(&creator, kind, key, content))?;
        }
        for number in 0..members {
            let (user, of) = (user(number), peers[number % peers.len()]);
            room.say(of, &Draft::state(&user, "m.room.member", &user, join(&format!("職員{number}"))))?;
            room.members.push(user);
        }
        room.founded = std::mem::take(&mut room.changes);
        for event in &mut room.events {
            event.changes = 0;
        }
        Ok(room)
    }

    /// Makes an event on top of what there is; it is at once something for others to follow.
    fn say(&mut self, by: &Identity, draft: &Draft<'_>) -> Result<Number> {
        let number = self.make(by, draft, None)?;
        self.publish(number);
        Ok(number)
    }

    /// Makes an event after `prev`, or else on the newest that the server under test has. Nobody follows it
    /// before it is [published](Room::publish).
    pub(super) fn make(
        &mut self,
        by: &Identity,
        draft: &Draft<'_>,
        prev: Option<&[Number]>,
    ) -> Result<Number> {
        let mut event = object(self.template(draft, prev))?;
        let is_create = draft.kind == "m.room.create";
        if is_create {
            event.remove("room_id");
        }
        let id = by.sign_event(&mut event, &self.rules)?;
        if is_create {
            self.id = id.replacen('$', "!", 1);
        }
        self.add(id, &event)
    }

    /// An event without hashes and signatures: what [`Room::make`] signs, and the answer to `make_join`.
    pub(super) fn template(&self, draft: &Draft<'_>, prev: Option<&[Number]>) -> Value {
        let newest: Vec<Number> = self.tips.iter().take(MOST_PREV).copied().collect();
        let prev = prev.unwrap_or(&newest);
        let depth = prev.iter().map(|number| self.events[*number].depth).max().map_or(1, |depth| depth + 1);
        let ids = |numbers: &[Number]| -> Vec<&str> {
            numbers.iter().map(|number| self.events[*number].id.as_str()).collect()
        };
        let mut event = json!({
            "type": draft.kind,
            "room_id": self.id,
            "sender": draft.sender,
            "content": draft.content,
            "auth_events": ids(&self.auth_events(draft)),
            "prev_events": ids(prev),
            "depth": depth,
            "origin_server_ts": now_ms(),
        });
        if let Some(key) = draft.state_key {
            event["state_key"] = json!(key);
        }
        event
    }

    /// The events that allow it, as the specification selects them; the create event is named by the room's id.
    fn auth_events(&self, draft: &Draft<'_>) -> Vec<Number> {
        let mut wanted = vec![("m.room.power_levels", ""), ("m.room.member", draft.sender)];
        if let (true, Some(target)) = (draft.kind == "m.room.member", draft.state_key) {
            if draft.content["membership"] == "join" {
                wanted.push(("m.room.join_rules", ""));
            }
            if target != draft.sender {
                wanted.push(("m.room.member", target));
            }
        }
        let find = |(kind, key): (&str, &str)| self.current.get(&(kind.to_owned(), key.to_owned())).copied();
        wanted.into_iter().filter_map(find).collect()
    }

    fn add(&mut self, id: String, event: &CanonicalJsonObject) -> Result<Number> {
        if let Some(known) = self.by_id.get(&id) {
            return Ok(*known);
        }
        let string = |key: &str| event.get(key).and_then(CanonicalJsonValue::as_str);
        let numbers = |key: &str| -> Vec<Number> {
            let ids = event.get(key).and_then(CanonicalJsonValue::as_array).into_iter().flatten();
            ids.filter_map(|id| self.by_id.get(id.as_str()?).copied()).collect()
        };
        let key =
            string("state_key").map(|key| (string("type").unwrap_or_default().to_owned(), key.to_owned()));
        let depth = event.get("depth").and_then(CanonicalJsonValue::as_integer).map_or(0, i64::from);
        let number = self.events.len();
        self.events.push(Event {
            id: id.clone(),
            text: Bytes::from(text(event.clone())),
            prev: numbers("prev_events"),
            auth: numbers("auth_events"),
            depth: u64::try_from(depth)?,
            changes: self.changes.len(),
            key: key.clone(),
        });
        self.by_id.insert(id, number);
        if let Some(key) = key {
            self.current.insert(key, number);
            self.changes.push(number);
        }
        Ok(number)
    }

    /// The server under test has this event, so what is made from now on follows it.
    pub(super) fn publish(&mut self, number: Number) {
        for before in &self.events[number].prev {
            self.tips.remove(before);
        }
        self.tips.insert(number);
    }

    /// Takes an event that the server under test sent or had signed by somebody: its id, its hash and its
    /// signatures are checked.
    pub(super) fn learn(&mut self, event: &str, keys: &PublicKeyMap) -> Result<Number> {
        let event: CanonicalJsonObject = serde_json::from_str(event).context("an event that is no object")?;
        let room = event.get("room_id").and_then(CanonicalJsonValue::as_str);
        ensure!(room == Some(self.id.as_str()), "an event of another room: {room:?}");
        match verify_event(keys, &event, &self.rules)? {
            Verified::All => {}
            Verified::Signatures => bail!("an event whose content is not what its hash says"),
        }
        let id = format!("${}", reference_hash(&event, &self.rules)?);
        self.add(id, &event)
    }

    /// Signs what `make_join` proposed.
    pub(super) fn complete(&self, by: &Identity, template: Value) -> Result<(String, String)> {
        let mut event = object(template)?;
        event.remove("hashes");
        event.remove("signatures");
        let id = by.sign_event(&mut event, &self.rules)?;
        Ok((id, text(event)))
    }

    pub(super) fn event(&self, number: Number) -> &Event {
        &self.events[number]
    }

    pub(super) fn find(&self, id: &str) -> Option<Number> {
        self.by_id.get(id).copied()
    }

    /// The newest that the server under test has.
    pub(super) fn tips(&self) -> Vec<Number> {
        self.tips.iter().copied().collect()
    }

    /// The state before an event, or the present one.
    pub(super) fn state_before(&self, number: Option<Number>) -> Vec<Number> {
        let changes = number.map_or(self.changes.len(), |number| self.events[number].changes);
        let mut newest: HashMap<&(String, String), Number> = HashMap::new();
        for number in &self.changes[..changes] {
            newest.extend(self.events[*number].key.as_ref().map(|key| (key, *number)));
        }
        let mut state: Vec<Number> = Vec::with_capacity(self.founded.len() + newest.len());
        for number in &self.founded {
            let key = self.events[*number].key.as_ref();
            state.push(key.and_then(|key| newest.remove(key)).unwrap_or(*number));
        }
        state.extend(newest.into_values());
        state
    }

    /// The auth chain of events, with the create event.
    pub(super) fn auth_chain(&self, of: &[Number]) -> Vec<Number> {
        let mut chain = BTreeSet::from([0]);
        let mut open: Vec<Number> = of.to_vec();
        while let Some(number) = open.pop() {
            open.extend(self.events[number].auth.iter().filter(|auth| chain.insert(**auth)));
        }
        chain.into_iter().collect()
    }

    /// Events backwards from these ones, which are among them; none of `but` and nothing that lies only behind those.
    pub(super) fn back_from(&self, from: &[String], but: &[String], limit: usize) -> Vec<Number> {
        let but: HashSet<Number> = but.iter().filter_map(|id| self.find(id)).collect();
        let mut queue: VecDeque<Number> = from.iter().filter_map(|id| self.find(id)).collect();
        let mut seen = HashSet::new();
        let mut found = Vec::new();
        while let Some(number) = queue.pop_front() {
            if found.len() < limit && !but.contains(&number) && seen.insert(number) {
                found.push(number);
                queue.extend(&self.events[number].prev);
            }
        }
        found
    }

    pub(super) fn prev_ids(&self, id: &str) -> Vec<String> {
        let prev = self.find(id).map(|number| self.events[number].prev.as_slice()).unwrap_or_default();
        prev.iter().map(|number| self.events[*number].id.clone()).collect()
    }

    /// The texts of events, sharing their memory.
    pub(super) fn texts(&self, numbers: &[Number]) -> Vec<Bytes> {
        numbers.iter().map(|number| self.events[*number].text.clone()).collect()
    }

    pub(super) fn ids(&self, numbers: &[Number]) -> Vec<&str> {
        numbers.iter().map(|number| self.events[*number].id.as_str()).collect()
    }
}

#[cfg(test)]
pub(super) mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::nation::names;

    /// Three authorities, the directory of their keys, and their room of ten members.
    pub(in super::super) fn small() -> (Vec<Identity>, PublicKeyMap, Room) {
        let peers: Vec<Identity> =
            (0..3).map(|number| Identity::generate(names::name(number).unwrap()).unwrap()).collect();
        let mut keys = PublicKeyMap::new();
        peers.iter().for_each(|peer| peer.enter(&mut keys));
        let room = Room::found(&peers.iter().collect::<Vec<_>>(), 10).unwrap();
        (peers, keys, room)
    }

    fn text_of(room: &Room, number: Number) -> String {
        String::from_utf8(room.event(number).text.to_vec()).unwrap()
    }

    #[test]
    fn what_members_make_is_rightly_signed_and_has_the_id_that_follows_from_it() {
        let (_, keys, mut room) = small();
        // Of the create event the room is named, so it does not name the room.
        for number in 1..room.events.len() {
            assert_eq!(room.learn(&text_of(&room, number), &keys).unwrap(), number);
        }
        assert_eq!(room.state_before(None).len(), 6 + 10);
    }

    #[test]
    fn an_event_that_was_changed_on_its_way_is_not_taken() {
        let (_, keys, mut room) = small();
        let last = text_of(&room, room.events.len() - 1);
        assert!(room.learn(&last.replace("職員9", "市長"), &keys).is_err());
        let of_another = last.replace(&room.id, "!elsewhere");
        assert!(room.learn(&of_another, &keys).is_err());
    }

    #[test]
    fn the_state_before_an_event_has_no_later_change() {
        let (peers, _, mut room) = small();
        let user = room.members[0].clone();
        let message = room.say(&peers[0], &Draft::message(&user, "一")).unwrap();
        let named = json!({ "name": "二" });
        let renamed = room.say(&peers[0], &Draft::state(&user, "m.room.name", "", named)).unwrap();
        let later = room.say(&peers[0], &Draft::message(&user, "三")).unwrap();
        assert!(!room.state_before(Some(message)).contains(&renamed));
        assert!(!room.state_before(Some(renamed)).contains(&renamed));
        let state = room.state_before(Some(later));
        assert!(state.contains(&renamed));
        assert_eq!(state.len(), 6 + 10);
        assert_eq!(room.tips(), [later]);
    }

    #[test]
    fn history_is_told_from_its_end_up_to_what_is_known() {
        let (peers, _, mut room) = small();
        let user = room.members[0].clone();
        let said: Vec<Number> = (0..5)
            .map(|number| room.say(&peers[0], &Draft::message(&user, &number.to_string())).unwrap())
            .collect();
        let id = |number: Number| room.event(number).id.clone();
        let before = room.prev_ids(&id(said[4]));
        assert_eq!(room.back_from(&before, &[id(said[1])], 100), [said[3], said[2]]);
        assert_eq!(room.back_from(&before, &[], 1), [said[3]]);
    }
}
