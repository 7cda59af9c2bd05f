//! People of a class who read so many days back, with whole servers: a generated walk over every client endpoint of the router,
//! so that a new way of reading is walked without being named here.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroU16,
    time::Duration,
};

use base::Random;
use http::Method;
use intake::Class;
use ruma::{OwnedEventId, OwnedRoomId, RoomId};
use serde_json::{Value, json};
use server::config::{ClassConfig, Serves};
use testkit::{Net, Preset, Server, User};

use crate::{
    classes::take,
    outsiders::{Asked, ENDS, Place, escaped, invent},
};

const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const DAYS: u16 = 30;

/// What was said long ago, each time in another way; and what was said today.
const OLD: [&str; 7] =
    ["qoldtextq", "qoldreplyq", "qoldeditq", "qoldtopicq", "qoldreactionq", "qdatedq", "qoldnicknameq"];
const NEW: &str = "qnewtextq";

/// Endpoints by which what was said is read, without the version: whoever adds one adds it here, and has judged how far back
/// it reads.
const READING: [&str; 16] = [
    "GET events",
    "GET events/{event_id}",
    "GET initialSync",
    "GET notifications",
    "GET rooms/{room_id}/context/{event_id}",
    "GET rooms/{room_id}/event/{event_id}",
    "GET rooms/{room_id}/initialSync",
    "GET rooms/{room_id}/members",
    "GET rooms/{room_id}/messages",
    "GET rooms/{room_id}/relations/{event_id}",
    "GET rooms/{room_id}/relations/{event_id}/{rel_type}",
    "GET rooms/{room_id}/relations/{event_id}/{rel_type}/{event_type}",
    "GET rooms/{room_id}/threads",
    "GET sync",
    "POST org.matrix.simplified_msc3575/sync",
    "POST search",
];

const DATER: &str = "id: dater\nurl: null\nas_token: token-of-the-service-that-dates\n\
    hs_token: not-used-by-us-as-it-has-no-address\nsender_localpart: dater\nrate_limited: false\n\
    namespaces:\n  users: []\n  aliases: []\n  rooms: []\n";

/// A town in which people of a class read a month back.
struct Town {
    net: Net,
    server: Server,
    owner: User,
    member: User,
    /// Reads all.
    hanako: User,
    /// Reads a month back.
    taro: User,
    room: OwnedRoomId,
}

impl Town {
    async fn new() -> Self {
        let net = Net::new();
        let days = NonZeroU16::new(DAYS);
        net.say_of_class(Class::FiscalYear, ClassConfig { history_days: days, ..ClassConfig::default() });
        let server = net.server_with_services("kanazawa.test", &[DATER.to_owned()]).await;
        let (owner, member) = (server.user("owner").await, server.user("member").await);
        let (hanako, taro) = (server.user("hanako").await, server.user("taro").await);
        take(&server, &[("hanako", "正規職員"), ("taro", "会計年度任用職員")], "2026-04-01").await;
        let room = owner.create_room(Preset::PrivateChat).await;
        for user in [&member, &hanako, &taro] {
            owner.invite(&room, user.id()).await;
            user.join(&room, "kanazawa.test").await;
        }
        Self { net, server, owner, member, hanako, taro, room }
    }

    /// So much time passes, at the end of an hour of which it is noted how far the log has come, as the server does by itself.
    async fn later(&self, duration: Duration) {
        self.net.set_forward(HOUR);
        self.server.look(|house| house.classes.clone()).mark().await.unwrap();
        self.net.set_forward(duration);
    }

    async fn say(&self, user: &User, content: Value) -> OwnedEventId {
        let number = self.net.now().millis();
        let random = content.to_string().len();
        let path = format!("/rooms/{}/send/m.room.message/said{number}{random}", escaped(self.room.as_str()));
        let answer = user.call(Method::PUT, &path, Some(&content)).await;
        answer["event_id"].as_str().unwrap().try_into().unwrap()
    }

    /// What is long ago by the time that the walk begins.
    async fn past(&self) -> Vec<OwnedEventId> {
        let text = |body: &str, relation: Value| {
            let mut content = json!({ "msgtype": "m.text", "body": body });
            if !relation.is_null() {
                content["m.relates_to"] = relation;
            }
            content
        };
        let shown = json!({ "membership": "join", "displayname": "qoldnicknameq" });
        let named =
            self.member.set_state(&self.room, "m.room.member", self.member.id().as_str(), &shown).await;
        let first = self.say(&self.owner, text(OLD[0], Value::Null)).await;
        let thread = json!({ "rel_type": "m.thread", "event_id": first });
        let reply = self.say(&self.member, text(OLD[1], thread)).await;
        let mut edit = text(OLD[2], json!({ "rel_type": "m.replace", "event_id": first }));
        edit["m.new_content"] = text(OLD[2], Value::Null);
        let edit = self.say(&self.owner, edit).await;
        let topic = json!({ "topic": OLD[3] });
        let topic = self.owner.set_state(&self.room, "m.room.topic", "", &topic).await;
        let reaction = json!({
            "m.relates_to": { "rel_type": "m.annotation", "event_id": first, "key": OLD[4] },
        });
        let path = format!("/rooms/{}/send/m.reaction/reacted", escaped(self.room.as_str()));
        self.member.call(Method::PUT, &path, Some(&reaction)).await;
        // It says that it was said in ten years' time.
        let dater = self.server.service("dater", "token-of-the-service-that-dates");
        self.owner.invite(&self.room, dater.id()).await;
        dater.join(&self.room, "kanazawa.test").await;
        let ts = self.net.now().millis() + 3_650 * 24 * 3_600_000;
        let path = format!("/rooms/{}/send/m.room.message/dated?ts={ts}", escaped(self.room.as_str()));
        let dated = dater.call(Method::PUT, &path, Some(&text(OLD[5], Value::Null))).await;
        let dated = dated["event_id"].as_str().unwrap().try_into().unwrap();
        // What is in force where his reading begins he is told: what was before that is over by then.
        self.rename("then").await;
        vec![named, first, reply, edit, topic, dated]
    }

    /// The room and who was called otherwise have other names.
    async fn rename(&self, name: &str) {
        let shown = json!({ "membership": "join", "displayname": name });
        self.member.set_state(&self.room, "m.room.member", self.member.id().as_str(), &shown).await;
        self.owner.set_state(&self.room, "m.room.topic", "", &json!({ "topic": name })).await;
    }

    /// What is said today.
    async fn today(&self) {
        self.rename("today").await;
        self.owner.send(&self.room, NEW).await;
    }

    fn endpoints(&self) -> Vec<String> {
        let all = self.server.look(|house| house.routes(&[Serves::Client]).names());
        let all = all.iter().map(ToString::to_string);
        all.filter(|name| name.contains(" /_matrix/client/") && !ENDS.iter().any(|end| name.contains(end)))
            .collect()
    }
}

/// An endpoint without its version.
fn unversioned(endpoint: &str) -> String {
    let (method, path) = endpoint.split_once(' ').unwrap();
    let path = path.trim_start_matches("/_matrix/client/");
    format!("{method} {}", path.split_once('/').map_or(path, |(_, rest)| rest))
}

/// A request, as the dice fall; where a body has to say what is wanted, it wants all.
fn ask_for(random: &Random, endpoint: &str, place: &Place, caller: &User) -> Asked {
    let (mut asked, _) = invent(random, endpoint, place, caller);
    match unversioned(endpoint).as_str() {
        "POST search" => {
            // The beginnings of the words: whole ones would be in the request.
            let terms = ["qold", "qnew", "qdat"];
            let term = terms[usize::try_from(random.u64() % 3).unwrap()];
            let context = json!({ "before_limit": 20, "after_limit": 20 });
            let events = json!({ "search_term": term, "event_context": context, "order_by": "recent" });
            asked.path = asked.path.split('?').next().unwrap().to_owned();
            asked.body = Some(json!({ "search_categories": { "room_events": events } }).to_string());
        }
        "POST org.matrix.simplified_msc3575/sync" => {
            let list = json!({
                "ranges": [[0, 50]], "timeline_limit": 50, "required_state": [["*", "*"]],
            });
            asked.path = format!("{}?timeout=0", asked.path.split('?').next().unwrap());
            asked.body =
                Some(json!({ "conn_id": random.u64().to_string(), "lists": { "all": list } }).to_string());
        }
        _ => {}
    }
    asked
}

/// Which of these words an answer tells whoever did not say them himself.
async fn told(caller: &User, asked: &Asked, words: &[&'static str]) -> Vec<&'static str> {
    let (_, answer) = caller.ask_text(asked.method.clone(), &asked.path, asked.body.as_deref()).await;
    let request = format!("{} {:?}", asked.path, asked.body);
    words.iter().filter(|word| answer.contains(**word) && !request.contains(**word)).copied().collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_reads_a_month_back_is_told_nothing_older_whatever_he_asks() {
    let town = Town::new().await;
    let old = town.past().await;
    town.later(DAY * 31).await;
    town.today().await;
    let place = Place {
        id: town.room.clone(),
        alias: "#none:kanazawa.test".to_owned(),
        history: "shared",
        owner: town.owner.clone(),
        member: town.member.clone(),
        events: BTreeMap::from([("old", old)]),
        tag: "q".to_owned(),
    };
    let random = Random::seeded(5);
    let (mut by_way, mut wrong, mut sees_new) = (BTreeSet::new(), Vec::new(), BTreeSet::new());
    let is_reading = |endpoint: &str| READING.contains(&unversioned(endpoint).as_str());
    let endpoints = town.endpoints();
    let (reading, others): (Vec<_>, Vec<_>) =
        endpoints.iter().partition(|name| name.starts_with("GET ") || is_reading(name));
    for endpoint in &reading {
        let tries = if is_reading(endpoint) { 48 } else { 16 };
        for _ in 0..tries {
            let asked = ask_for(&random, endpoint, &place, &town.taro);
            for word in told(&town.taro, &asked, &OLD).await {
                wrong.push(format!("{word} by {endpoint}: {asked:?}"));
            }
            if !told(&town.taro, &asked, &[NEW]).await.is_empty() {
                sees_new.insert(unversioned(endpoint));
            }
        }
        // The same asked by who reads all: where he is told nothing of it, nothing would have been found. Until it is, where it
        // is known that it can be.
        let tries = if is_reading(endpoint) { 400 } else { 16 };
        for _ in 0..tries {
            let asked = ask_for(&random, endpoint, &place, &town.hanako);
            if !told(&town.hanako, &asked, &OLD).await.is_empty() {
                by_way.insert(unversioned(endpoint));
                break;
            }
        }
    }
    for endpoint in &others {
        // Whatever he has done to himself before, he is in it again.
        let user = json!({ "user_id": town.taro.id() });
        let room = escaped(town.room.as_str());
        let invite = format!("/_matrix/client/v3/rooms/{room}/invite");
        town.owner.ask(Method::POST, &invite, Some(&user)).await;
        let join = format!("/_matrix/client/v3/rooms/{room}/join");
        town.taro.ask(Method::POST, &join, Some(&json!({}))).await;
        for _ in 0..3 {
            let asked = ask_for(&random, endpoint, &place, &town.taro);
            for word in told(&town.taro, &asked, &OLD).await {
                wrong.push(format!("{word} by {endpoint}: {asked:?}"));
            }
        }
    }
    let shown: Vec<String> = wrong.iter().take(20).map(|text| text.chars().take(600).collect()).collect();
    assert!(wrong.is_empty(), "{} times:\n{}", wrong.len(), shown.join("\n"));
    let judged: BTreeSet<String> = READING.map(str::to_owned).into();
    assert_eq!(by_way, judged, "ways of reading, and those that are known to be judged");
    for way in ["GET sync", "GET rooms/{room_id}/messages", "POST search", "GET notifications"] {
        assert!(sees_new.contains(way), "{way}: {sees_new:?}");
    }
}

/// All texts of a room to its beginning, as far as a user is given them, and the pages that it took.
async fn read_back(user: &User, room: &RoomId) -> (Vec<String>, usize) {
    let (mut texts, mut from, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let path = format!("/rooms/{}/messages?dir=b&limit=10{from}", escaped(room.as_str()));
        let page = user.call(Method::GET, &path, None).await;
        let bodies = page["chunk"].as_array().unwrap().iter();
        texts.extend(bodies.filter_map(|event| Some(event["content"]["body"].as_str()?.to_owned())));
        pages += 1;
        match page["end"].as_str() {
            Some(end) if pages < 100 => from = format!("&from={end}"),
            _ => return (texts, pages),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_goes_back_comes_to_an_end_where_he_reads_no_further() {
    let town = Town::new().await;
    for number in 0..60 {
        town.owner.send(&town.room, &format!("old {number}")).await;
    }
    // Nothing is known yet of when it came: then what the events say decides.
    town.net.set_forward(DAY * 20);
    for number in 0..12 {
        town.owner.send(&town.room, &format!("new {number}")).await;
    }
    assert_eq!(read_back(&town.taro, &town.room).await.0.len(), 72);
    town.net.set_forward(DAY * 11);
    let (texts, pages) = read_back(&town.taro, &town.room).await;
    assert!(texts.len() == 12 && texts.iter().all(|text| text.starts_with("new")), "{texts:?}");
    assert!(pages <= 3, "{pages}");
    assert_eq!(read_back(&town.hanako, &town.room).await.0.len(), 72);

    // And with what is known of it: marks of these hours, all of which are behind him then.
    town.later(DAY * 30 + HOUR * 2).await;
    town.owner.send(&town.room, "newest").await;
    assert_eq!(read_back(&town.taro, &town.room).await, (vec!["newest".to_owned()], 1));
    town.server.crash_and_restart().await;
    assert_eq!(read_back(&town.taro, &town.room).await, (vec!["newest".to_owned()], 1));
    assert_eq!(read_back(&town.hanako, &town.room).await.0.len(), 73);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_room_stays_unread_for_what_is_too_old_to_be_shown() {
    let town = Town::new().await;
    town.owner.send(&town.room, "old").await;
    let unread = async |user: &User| {
        let answer = user.call(Method::GET, "/sync?timeout=0", None).await;
        answer["rooms"]["join"][town.room.as_str()]["unread_notifications"]["notification_count"].clone()
    };
    assert_eq!([unread(&town.hanako).await, unread(&town.taro).await], [json!(1), json!(1)]);
    town.net.set_forward(DAY * 31);
    assert_eq!([unread(&town.hanako).await, unread(&town.taro).await], [json!(1), json!(0)]);
    town.owner.send(&town.room, "new").await;
    assert_eq!([unread(&town.hanako).await, unread(&town.taro).await], [json!(2), json!(1)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_room_whose_last_word_is_old_is_shown_with_its_state_all_the_same() {
    let town = Town::new().await;
    let name = json!({ "name": "防災課" });
    town.owner.set_state(&town.room, "m.room.name", "", &name).await;
    let before = town.taro.sync(Duration::ZERO).await;
    town.owner.send(&town.room, "old").await;
    let topic = json!({ "topic": "changed while he was away" });
    town.owner.set_state(&town.room, "m.room.topic", "", &topic).await;
    town.later(DAY * 31).await;

    // A new device, and one that was away for longer than it reads back.
    let device = town.taro.another_device().await;
    for seen in [device.sync(Duration::ZERO).await, town.taro.sync(Duration::ZERO).await] {
        let room = seen.room(&town.room);
        let state = |kind: &str| room.state[&(kind.to_owned(), String::new())]["content"].clone();
        assert_eq!(state("m.room.name"), name);
        assert_eq!(state("m.room.topic"), topic);
        assert!(!room.messages().iter().any(|text| text == "old"), "{:?}", room.timeline);
    }
    assert!(before.is_joined(&town.room));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn he_jumps_to_a_date_no_earlier_than_he_reads() {
    let town = Town::new().await;
    let old = town.owner.send(&town.room, "old").await;
    let at = town.net.now().millis();
    town.later(DAY * 31).await;
    let new = town.owner.send(&town.room, "new").await;
    let jump = async |user: &User, ts: u64, dir: &str| {
        let path = format!(
            "/_matrix/client/v1/rooms/{}/timestamp_to_event?ts={ts}&dir={dir}",
            escaped(town.room.as_str())
        );
        let (_, answer) = user.ask(Method::GET, &path, None).await;
        let answer: Value = serde_json::from_str(&answer).unwrap();
        answer["event_id"].as_str().or(answer["errcode"].as_str()).unwrap().to_owned()
    };
    assert_eq!(jump(&town.hanako, at + 1, "b").await, old.as_str());
    assert_eq!(jump(&town.taro, at + 1, "b").await, "M_NOT_FOUND");
    assert_eq!(jump(&town.taro, at, "f").await, new.as_str());
}
