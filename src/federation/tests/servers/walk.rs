//! A generated walk over every endpoint of the server interface.
//!
//! One hostile server asks everything of a server with four rooms: one that it was never in, one whose server
//! ACL keeps it out, one that all its users have left, and one that it is a member of, with history from
//! before its time. It knows all ids and all events, which is more than any stranger does. Whatever
//! it asks, no answer tells what it must not know, none is an error of ours, and the rooms stay as they are.
//!
//! The endpoints are those of the route table, so a new one is walked over as soon as it is there.
//! `WALK_CASES` sets the number of requests, `WALK_SEED` the chance.

use std::fmt::Write as _;

use base::Random;
use engine::{CreateRoom, Preset, tables::INBOX};
use federation::Transport;
use hostile::{Answer, Event, Hosted, Hostile, encoded};
use http::Method;
use room::tables::{HEADS, MEMBERS};
use ruma::{OwnedRoomId, RoomId};
use serde_json::{Value, json};
use store::{Order, Range};

use crate::{
    net::{Net, Node, user},
    strangers::set_state,
};

const A: &str = "kanazawa.test";
const ALICE: &str = "@alice:kanazawa.test";
/// In the closed room, and named nowhere else.
const HIDDEN_MEMBER: &str = "@secret-member:kanazawa.test";
const EVE: &str = "@eve:mallory.test";

/// No answer holds one of these.
const SECRETS: [&str; 2] = ["SECRET", "secret-member"];

/// Requests of an ordinary run; `WALK_CASES=10000` is the long one.
const CASES: usize = 1_500;

/// The rooms are compared with what they were after so many requests.
const COMPARE_EVERY: usize = 250;

/// What the hostile server is to a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Outside,
    ShutOut,
    Left,
    Member,
}

struct Place {
    standing: Standing,
    room: OwnedRoomId,
    /// As it really is, and as it was when the hostile server was last rightly in it.
    views: Vec<Hosted>,
    /// Ids of all events.
    ids: Vec<String>,
    /// Ids of events that the hostile server must not see.
    hidden: Vec<String>,
    before: String,
}

struct Walk {
    net: Net,
    a: Node,
    mallory: Hostile,
    places: Vec<Place>,
    endpoints: Vec<(Method, String)>,
    random: Random,
}

async fn ids(a: &Node, room: &RoomId) -> Vec<String> {
    a.events(room).await.iter().map(|event| event.event_id().to_string()).collect()
}

/// Everything about a room that must not change, as text.
async fn portrait(a: &Node, room: &RoomId) -> String {
    let info = a.rooms.room(room).await.unwrap().unwrap();
    let head = a.store.get(&HEADS, &info.serial).await.unwrap().unwrap();
    let members =
        a.store.scan(&MEMBERS, Range::prefix(&info.serial), Order::Ascending, usize::MAX).await.unwrap();
    let mut text = format!("{:?} {:?}\n", head.current, head.extremities);
    for id in ids(a, room).await {
        writeln!(text, "{id}").unwrap();
    }
    for member in members {
        writeln!(text, "{member:?}").unwrap();
    }
    text
}

/// Waits until no PDU of anybody waits to be judged.
async fn settled(a: &Node, room: &RoomId) {
    a.until(room, async || a.store.scan(&INBOX, Range::all(), Order::Ascending, 1).await.unwrap().is_empty())
        .await;
}

impl Walk {
    async fn new(seed: u64) -> Self {
        let net = Net::default();
        let a = Node::start(&net, &[A]).await;
        let mallory = Hostile::new("mallory.test");
        net.add(&mallory);
        let mut walk = Self {
            net,
            mallory,
            places: Vec::new(),
            endpoints: a.endpoints.clone(),
            a,
            random: Random::seeded(seed),
        };
        walk.outside().await;
        walk.shut_out().await;
        walk.left().await;
        walk.member().await;
        for place in &mut walk.places {
            settled(&walk.a, &place.room).await;
            place.ids = ids(&walk.a, &place.room).await;
            let events = walk.a.events(&place.room).await;
            let events: Vec<Value> =
                events.iter().map(|event| serde_json::from_str(event.pdu().json_str()).unwrap()).collect();
            place.views.push(walk.mallory.learn(&place.room, "12", &events));
            place.before = portrait(&walk.a, &place.room).await;
        }
        walk
    }

    fn add(&mut self, standing: Standing, room: OwnedRoomId, views: Vec<Hosted>, hidden: Vec<String>) {
        let (ids, before) = (Vec::new(), String::new());
        self.places.push(Place { standing, room, views, ids, hidden, before });
    }

    async fn outside(&mut self) {
        let wishes = CreateRoom {
            preset: Preset::PrivateChat,
            name: Some("SECRET name".to_owned()),
            topic: Some("SECRET topic".to_owned()),
            ..CreateRoom::default()
        };
        let room = self.a.engine.create(&user(ALICE), wishes).await.unwrap();
        self.a.invite(ALICE, &room, HIDDEN_MEMBER).await;
        self.a.join(HIDDEN_MEMBER, &room, A).await;
        self.a.say(ALICE, &room, "SECRET outside").await;
        let hidden = ids(&self.a, &room).await;
        self.add(Standing::Outside, room, Vec::new(), hidden);
    }

    async fn shut_out(&mut self) {
        let room = self.a.create_room(ALICE).await;
        let joined = self.mallory.join(&self.net, A, &room, "eve").await;
        let acl = json!({ "allow": ["*"], "deny": ["mallory.test"] });
        set_state(&self.a, &room, "m.room.server_acl", &acl).await;
        let known = ids(&self.a, &room).await;
        self.a.say(ALICE, &room, "SECRET shut out").await;
        set_state(&self.a, &room, "m.room.topic", &json!({ "topic": "SECRET shut out" })).await;
        let hidden = self.since(&room, &known).await;
        self.add(Standing::ShutOut, room, vec![joined], hidden);
    }

    async fn left(&mut self) {
        let room = self.a.create_room(ALICE).await;
        let mut joined = self.mallory.join(&self.net, A, &room, "eve").await;
        let view = joined.clone();
        let leave = joined.event("eve", "m.room.member", Some(EVE), json!({ "membership": "leave" }));
        self.mallory.send(&self.net, A, &[leave.json]).await;
        let gone = Some(room::tables::Membership::Leave);
        self.a.until(&room, async || self.a.membership(&room, EVE).await == gone).await;
        set_state(&self.a, &room, "m.room.join_rules", &json!({ "join_rule": "invite" })).await;
        let known = ids(&self.a, &room).await;
        self.a.say(ALICE, &room, "SECRET left").await;
        set_state(&self.a, &room, "m.room.topic", &json!({ "topic": "SECRET left" })).await;
        let hidden = self.since(&room, &known).await;
        self.add(Standing::Left, room, vec![view], hidden);
    }

    async fn member(&mut self) {
        let room = self.a.create_room(ALICE).await;
        let joined = json!({ "history_visibility": "joined" });
        set_state(&self.a, &room, "m.room.history_visibility", &joined).await;
        let known = ids(&self.a, &room).await;
        for number in 0..30 {
            self.a.say(ALICE, &room, &format!("SECRET history {number}")).await;
        }
        let hidden = self.since(&room, &known).await;
        self.mallory.join(&self.net, A, &room, "eve").await;
        set_state(&self.a, &room, "m.room.join_rules", &json!({ "join_rule": "invite" })).await;
        set_state(&self.a, &room, "m.room.power_levels", &json!({ "invite": 50, "events_default": 50 }))
            .await;
        self.a.say(ALICE, &room, "for all members").await;
        self.add(Standing::Member, room, Vec::new(), hidden);
    }

    async fn since(&self, room: &RoomId, known: &[String]) -> Vec<String> {
        ids(&self.a, room).await.into_iter().filter(|id| !known.contains(id)).collect()
    }

    fn pick<'a, T>(&self, from: &'a [T]) -> &'a T {
        &from[usize::try_from(self.random.range(0..from.len() as u64)).unwrap()]
    }

    fn chance(&self, percent: u64) -> bool {
        self.random.range(0..100) < percent
    }

    /// An event that the hostile server signs and that must change nothing.
    fn event(&self) -> Event {
        let place = self.pick(&self.places);
        let mut view = self.pick(&place.views).clone();
        let salt = self.random.u64() >> 12;
        let member = |membership: &str| json!({ "membership": membership, "salt": salt });
        let stranger = format!("@s{salt}:mallory.test");
        let local = "@bob:kanazawa.test";
        let known = self.pick(&place.ids).clone();
        let mut kinds: Vec<(&str, Option<&str>, Value)> = vec![
            ("m.room.topic", Some(""), json!({ "topic": salt.to_string() })),
            ("m.room.power_levels", Some(""), json!({ "users": { EVE: 100 }, "salt": salt })),
            ("m.room.member", Some(ALICE), member("ban")),
            ("m.room.member", Some(local), member("invite")),
            ("m.room.member", Some(&stranger), member("join")),
            ("m.room.member", Some(&stranger), member("knock")),
            ("m.room.create", Some(""), json!({ "room_version": "12", "salt": salt })),
            ("m.room.join_rules", Some(""), json!({ "join_rule": "public", "salt": salt })),
            ("m.room.server_acl", Some(""), json!({ "deny": ["*"], "salt": salt })),
            ("m.room.redaction", None, json!({ "redacts": known, "salt": salt })),
            ("m.room.message", None, json!({ "msgtype": "m.text", "body": salt.to_string() })),
            ("m.room.tombstone", Some(""), json!({ "replacement_room": "!x:mallory.test" })),
        ];
        // A member may go, and may say so once more that it is there.
        if place.standing != Standing::Member {
            kinds.push(("m.room.member", Some(EVE), member("join")));
            kinds.push(("m.room.member", Some(EVE), member("leave")));
            kinds.push(("m.room.member", Some(EVE), member("knock")));
        }
        let (kind, key, content) = self.pick(&kinds).clone();
        let mut draft = view.draft("eve", kind, key, content);
        if let Some(key) = key.filter(|key| key.starts_with(&format!("@s{salt}"))) {
            draft["sender"] = json!(key);
        }
        match self.random.range(0..10) {
            0 => draft["sender"] = json!(ALICE),
            1 => draft["room_id"] = json!(self.pick(&self.places).room),
            2 => draft["prev_events"] = json!([self.pick(&place.ids)]),
            3 => draft["prev_events"] = json!([format!("$invented{salt}")]),
            4 => draft["auth_events"] = json!(self.pick(&self.places).ids),
            5 => draft["depth"] = json!(9_007_199_254_740_991_u64),
            _ => {}
        }
        view.depth += 1;
        self.mallory.sign("12", draft)
    }

    fn room_id(&self) -> String {
        match self.random.range(0..12) {
            0 => "!none:kanazawa.test".to_owned(),
            1 => "none".to_owned(),
            _ => self.pick(&self.places).room.to_string(),
        }
    }

    fn event_id(&self) -> String {
        match self.random.range(0..12) {
            0 => "$none".to_owned(),
            1 => "none".to_owned(),
            2..7 => self.pick(&self.pick(&self.places).hidden).clone(),
            _ => self.pick(&self.pick(&self.places).ids).clone(),
        }
    }

    fn user_id(&self) -> String {
        (*self.pick(&[EVE, ALICE, "@mallory:mallory.test", "@bob:kanazawa.test", "@x:y", "none"])).to_owned()
    }

    /// What stands in a path for a variable of this name.
    fn variable(&self, name: &str, method: &Method, event: &Event) -> String {
        match name {
            "room_id" => self.room_id(),
            "event_id" if *method == Method::PUT && self.chance(80) => event.id.clone(),
            "event_id" => self.event_id(),
            "user_id" => self.user_id(),
            "transaction_id" | "txn_id" => format!("w{}", self.random.u64()),
            "server_name" => "mallory.test".to_owned(),
            "key_id" => "ed25519:1".to_owned(),
            // What a new endpoint may want.
            _ => self.pick(&["x".to_owned(), self.room_id(), self.event_id(), self.user_id()]).clone(),
        }
    }

    fn query(&self) -> String {
        let mut parts = Vec::new();
        for _ in 0..self.random.range(1..5) {
            let (id, user, number) = (self.event_id(), self.user_id(), self.random.range(0..200));
            let part = match self.random.range(0..14) {
                0..=2 => format!("event_id={}", encoded(&id)),
                3..=5 => format!("v={}", encoded(&id)),
                6 | 7 => format!("limit={number}"),
                8 => format!("user_id={}", encoded(&user)),
                9 => "ver=12".to_owned(),
                10 => format!("suggested_only={}", self.chance(50)),
                11 => format!("omit_members={}", self.chance(50)),
                12 => format!("room_alias={}", encoded("#none:kanazawa.test")),
                _ => format!("access_token=x&since={number}&minimum_valid_until_ts=1"),
            };
            parts.push(part);
        }
        if self.chance(60) {
            // What the questions for state and history cannot do without.
            parts.push(format!(
                "event_id={}&v={}&limit=50&ver=12",
                encoded(&self.event_id()),
                encoded(&self.event_id())
            ));
        }
        parts.join("&")
    }

    fn ephemeral(&self) -> Value {
        let (room, event, user) = (self.room_id(), self.event_id(), self.user_id());
        match self.random.range(0..5) {
            0 => {
                json!({ "edu_type": "m.typing", "content": { "room_id": room, "user_id": user, "typing": true } })
            }
            1 => json!({ "edu_type": "m.receipt", "content": { room: { "m.read": {
                user: { "data": { "ts": 1 }, "event_ids": [event] } } } } }),
            2 => {
                json!({ "edu_type": "m.presence", "content": { "push": [{ "user_id": user, "presence": "online" }] } })
            }
            3 => json!({ "edu_type": "m.direct_to_device", "content": { "sender": user, "type": "x",
                "message_id": "1", "messages": { ALICE: { "*": {} } } } }),
            _ => json!({ "edu_type": "m.device_list_update", "content": { "user_id": user, "device_id": "X",
                "stream_id": 1 } }),
        }
    }

    fn body(&self, path: &str, event: &Event) -> Value {
        let several = |make: &dyn Fn() -> Value| -> Vec<Value> {
            (0..self.random.range(0..4)).map(|_| make()).collect()
        };
        let transaction = || {
            let mut pdus = several(&|| self.event().json);
            pdus.push(event.json.clone());
            json!({ "origin": "mallory.test", "origin_server_ts": 1, "pdus": pdus, "edus": several(&|| self.ephemeral()) })
        };
        let missing = || {
            json!({ "earliest_events": several(&|| json!(self.event_id())),
                "latest_events": [self.event_id(), self.event_id()],
                "limit": self.random.range(0..200), "min_depth": self.random.range(0..9) })
        };
        let invite = || json!({ "room_version": "12", "event": event.json, "invite_room_state": [] });
        let fitting = self.chance(85);
        match path {
            _ if !fitting => match self.random.range(0..6) {
                0 => transaction(),
                1 => missing(),
                2 => invite(),
                3 => event.json.clone(),
                4 => json!({ "filter": { "generic_search_term": "SECRET" } }),
                _ => json!([event.json]),
            },
            path if path.contains("/send/") => transaction(),
            path if path.contains("get_missing_events") => missing(),
            path if path.contains("/invite/") => invite(),
            path if path.contains("publicRooms") => json!({ "limit": 10 }),
            path if path.contains("/key/") => json!({ "server_keys": { "mallory.test": {} } }),
            _ => event.json.clone(),
        }
    }

    /// A request: method, path with query, body.
    fn request(&self) -> (Method, String, Option<Value>) {
        let (method, path) = self.pick(&self.endpoints).clone();
        let event = self.event();
        let segments = path.split('/').map(|segment| {
            match segment.strip_prefix('{').and_then(|segment| segment.strip_suffix('}')) {
                Some(name) => encoded(&self.variable(name, &method, &event)),
                None => segment.to_owned(),
            }
        });
        let mut uri = segments.collect::<Vec<_>>().join("/");
        if method == Method::GET || self.chance(20) {
            uri = format!("{uri}?{}", self.query());
        }
        let body = (method != Method::GET || self.chance(3)).then(|| self.body(&path, &event));
        (method, uri, body)
    }

    /// Whether this answer is one that the hostile server may get to this request.
    fn check(&self, request: &str, answer: &Answer) {
        let Answer { status, text, .. } = answer;
        assert!(*status == 200 || (400..500).contains(status), "{request}\n{status} {text}");
        if *status != 200 {
            let has_code = answer.errcode().is_some_and(|code| code.starts_with("M_"));
            assert!(has_code, "{request}\n{status} {text}");
        }
        for secret in SECRETS {
            assert!(
                !text.contains(secret) || request.contains(secret),
                "`{secret}` is told\n{request}\n{status} {text}"
            );
        }
        // Who is in a room may know that something was said there before its time, but not what.
        let others = self.places.iter().filter(|place| place.standing != Standing::Member);
        for id in others.flat_map(|place| &place.hidden) {
            assert!(!text.contains(id) || request.contains(id), "{id} is told\n{request}\n{status} {text}");
        }
    }

    async fn compare(&self) {
        for place in &self.places {
            settled(&self.a, &place.room).await;
            let now = portrait(&self.a, &place.room).await;
            assert_eq!(now, place.before, "{:?} has changed", place.standing);
        }
    }
}

fn setting(name: &str, else_: u64) -> u64 {
    std::env::var(name).ok().map_or(else_, |value| value.parse().unwrap())
}

#[tokio::test]
async fn whatever_a_stranger_a_banned_a_gone_or_a_new_server_asks_nothing_leaks_and_nothing_changes() {
    let seed = setting("WALK_SEED", 5);
    let walk = Walk::new(seed).await;
    let cases = usize::try_from(setting("WALK_CASES", CASES as u64)).unwrap();
    let mut answered = 0;
    for case in 0..cases {
        let (method, uri, body) = walk.request();
        let text = body.as_ref().map(Value::to_string).unwrap_or_default();
        let plain = percent_decoded(&uri);
        let request = format!("seed {seed}, case {case}: {method} {plain} {text}");
        let answer =
            walk.mallory.ask(&walk.net as &dyn Transport, A, method.as_str(), &uri, body.as_ref()).await;
        walk.check(&request, &answer);
        answered += usize::from(answer.status == 200);
        if case % COMPARE_EVERY == COMPARE_EVERY - 1 {
            walk.compare().await;
        }
    }
    walk.compare().await;
    // Requests that are all refused for their form would prove nothing.
    assert!(answered * 20 > cases, "{answered} of {cases} were answered with 200");
    // And the server is still there for those who belong.
    let member = &walk.places[3].room;
    walk.a.say(ALICE, member, "after the walk").await;
    assert!(walk.a.said(member).await.contains(&"after the walk".to_owned()));
}

fn percent_decoded(text: &str) -> String {
    let mut out = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let hex = after.get(..2).filter(|_| *first == b'%').and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                rest = &after[2..];
            }
            None => {
                out.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}
