//! Erased users: who was there goes on seeing what they said, who comes later does not.

use room::read::{
    federation::Missing,
    filter::EventFilter,
    members::MemberFilter,
    relations::RelationQuery,
    threads::ThreadQuery,
    timeline::Direction,
    view::{Look, Viewer},
};
use ruma::{OwnedEventId, OwnedRoomId, UserId};
use serde_json::{Value, json};
use store::Batch;

use super::{
    net::{Net, Server, state, user},
    reading::{page, query, relate},
};

/// In everything that the erased user says.
const WORD: &str = "ひみつ";

/// A room in which somebody has said things of every sort.
struct Town {
    server: Server,
    room: OwnedRoomId,
    root: OwnedEventId,
    said: OwnedEventId,
}

impl Town {
    /// 花子 says it, 太郎 is there.
    async fn new(net: &Net) -> Self {
        let server = net.server(&["a.test"]).await;
        let (hanako, taro) = (user("@hanako:a.test"), user("@taro:a.test"));
        let room = server.public_room(&user("@owner:a.test")).await;
        let levels = json!({ "users": { "@owner:a.test": 100 }, "state_default": 0, "events_default": 0 });
        let levels = state(&user("@owner:a.test"), "m.room.power_levels", "", &levels);
        server.engine.send(&room, levels, None).await.unwrap();
        for who in [&hanako, &taro] {
            server.join(who, &room, "a.test").await.unwrap();
        }
        let name = json!({ "membership": "join", "displayname": WORD });
        server
            .engine
            .send(&room, state(&hanako, "m.room.member", hanako.as_str(), &name), None)
            .await
            .unwrap();
        let said = server.say(&hanako, &room, WORD).await;
        relate(&server, &hanako, &room, ("m.replace", said.as_str()), WORD).await;
        let root = server.say(&taro, &room, "題").await;
        relate(&server, &hanako, &room, ("m.thread", root.as_str()), WORD).await;
        Self { server, room, root, said }
    }

    /// 花子 is erased, and leaves with a word.
    async fn erase(&self) {
        let hanako = user("@hanako:a.test");
        let mut batch = Batch::new();
        self.server.rooms.put_erasure(&mut batch, &hanako);
        self.server.store.commit(batch).await.unwrap();
        self.server.engine.leave(&hanako, &self.room, Some(WORD)).await.unwrap();
    }

    /// Of each way to read, how often the word is in it.
    async fn reads(&self, who: &UserId) -> Vec<(&'static str, usize)> {
        let (rooms, room, viewer) = (&self.server.rooms, &self.room, Viewer::user(who));
        let count = |looks: &[Look]| {
            let now = base::Timestamp(0);
            looks.iter().map(|look| look.to_json(now).get().matches(WORD).count()).sum::<usize>()
        };
        let messages = page(&self.server, who, room, &query(Direction::Backward, 100)).await.chunk;
        let mut context =
            rooms.context(&viewer, room, &self.said, 100, &EventFilter::default()).await.unwrap();
        let around = context.before.drain(..).chain(context.after.drain(..)).collect::<Vec<_>>();
        let event = rooms.event_for(&viewer, room, &self.said).await.unwrap();
        let related = |parent: OwnedEventId| async move {
            let query = RelationQuery {
                rel_type: None,
                kind: None,
                from: None,
                to: None,
                direction: Direction::Forward,
                limit: 10,
                recurse: false,
            };
            rooms.relations(&Viewer::user(who), room, &parent, &query).await.unwrap().chunk
        };
        let threads = ThreadQuery { from: None, limit: 9, participated: false };
        let threads = rooms.threads(&viewer, room, &threads).await.unwrap().chunk;
        let members = rooms.members(&viewer, room, None, MemberFilter::default()).await.unwrap();
        let member = rooms.state_event(&viewer, room, "m.room.member", "@hanako:a.test").await.unwrap();
        vec![
            ("messages", count(&messages)),
            ("around an event", count(&around)),
            ("the event of a context", count(&[context.event])),
            ("the state of a context", count(&context.state)),
            ("an event", count(&[event])),
            ("edits", count(&related(self.said.clone()).await)),
            ("answers in a thread", count(&related(self.root.clone()).await)),
            ("threads", count(&threads)),
            ("state", count(&rooms.state(&viewer, room).await.unwrap())),
            ("a piece of state", count(&[member])),
            ("members", count(&members)),
        ]
    }

    async fn assert_whole(&self, who: &UserId) {
        for (way, count) in self.reads(who).await {
            assert!(count > 0, "{who} was there and is not shown it in {way}");
        }
    }

    async fn assert_redacted(&self, who: &UserId) {
        for (way, count) in self.reads(who).await {
            assert_eq!(count, 0, "{who} came later and is shown it in {way}");
        }
    }
}

#[tokio::test]
async fn who_was_there_sees_an_erased_user_whole_and_who_joins_later_redacted() {
    let town = Town::new(&Net::default()).await;
    let (taro, jiro) = (user("@taro:a.test"), user("@jiro:a.test"));
    // Before the erasure, and after the events: he has had sight of them.
    let early = user("@early:a.test");
    town.server.join(&early, &town.room, "a.test").await.unwrap();
    town.assert_whole(&early).await;

    town.erase().await;
    town.server.join(&jiro, &town.room, "a.test").await.unwrap();
    town.assert_redacted(&jiro).await;
    town.assert_whole(&taro).await;
    town.assert_whole(&early).await;
    let event = town.server.rooms.event_for(&Viewer::user(&jiro), &town.room, &town.said).await.unwrap();
    assert!(event.aggregations.is_none() && event.event.sender() == "@hanako:a.test");
}

#[tokio::test]
async fn who_was_there_left_and_comes_back_sees_an_erased_user_whole() {
    let town = Town::new(&Net::default()).await;
    let early = user("@early:a.test");
    town.server.join(&early, &town.room, "a.test").await.unwrap();
    town.server.engine.leave(&early, &town.room, None).await.unwrap();
    town.erase().await;
    town.server.join(&early, &town.room, "a.test").await.unwrap();
    let seen = town.server.rooms.event_for(&Viewer::user(&early), &town.room, &town.said).await.unwrap();
    assert!(seen.event.pdu().content_str().contains(WORD));
}

#[tokio::test]
async fn an_erasure_outlives_a_restart() {
    let net = Net::default();
    let town = Town::new(&net).await;
    town.erase().await;
    let jiro = user("@jiro:a.test");
    town.server.join(&jiro, &town.room, "a.test").await.unwrap();
    let Town { server, room, root, said } = town;
    let server = net.server_on(&["a.test"], &server.crash().await).await;
    let town = Town { server, room, root, said };
    town.assert_redacted(&jiro).await;
    town.assert_whole(&user("@taro:a.test")).await;
}

#[tokio::test]
async fn what_a_room_is_stays_as_an_erased_user_set_it() {
    let town = Town::new(&Net::default()).await;
    let hanako = user("@hanako:a.test");
    let rules = [
        ("m.room.server_acl", json!({ "allow": ["*"], "deny": ["evil.test"] })),
        ("m.room.encryption", json!({ "algorithm": "m.megolm.v1.aes-sha2" })),
        ("m.room.name", json!({ "name": "防災課" })),
    ];
    for (kind, content) in &rules {
        town.server.engine.send(&town.room, state(&hanako, kind, "", content), None).await.unwrap();
    }
    town.erase().await;
    let jiro = user("@jiro:a.test");
    town.server.join(&jiro, &town.room, "a.test").await.unwrap();
    for (kind, content) in &rules {
        let viewer = Viewer::user(&jiro);
        let seen = town.server.rooms.state_event(&viewer, &town.room, kind, "").await.unwrap();
        assert_eq!(&serde_json::from_str::<Value>(seen.event.pdu().content_str()).unwrap(), content);
    }
}

#[tokio::test]
async fn an_erased_users_name_hides_nothing_of_itself_by_what_it_says() {
    let town = Town::new(&Net::default()).await;
    let (hanako, jiro) = (user("@hanako:a.test"), user("@jiro:a.test"));
    let name = format!("{WORD} third_party_invite join_authorised_via_users_server");
    let name = json!({ "membership": "join", "displayname": name });
    let member = state(&hanako, "m.room.member", hanako.as_str(), &name);
    town.server.engine.send(&town.room, member, None).await.unwrap();
    town.erase().await;
    town.server.join(&jiro, &town.room, "a.test").await.unwrap();
    town.assert_redacted(&jiro).await;
}

#[tokio::test]
async fn servers_that_come_after_an_erasure_get_valid_redacted_copies_and_those_before_whole_ones() {
    let net = Net::default();
    let town = Town::new(&net).await;
    let (early, late) = (net.server(&["b.test"]).await, net.server(&["c.test"]).await);
    let (emi, jiro) = (user("@emi:b.test"), user("@jiro:c.test"));
    early.join(&emi, &town.room, "a.test").await.unwrap();
    town.erase().await;
    late.join(&jiro, &town.room, "a.test").await.unwrap();
    let words = |texts: &[String]| texts.iter().map(|text| text.matches(WORD).count()).sum::<usize>();
    for (name, whole) in [("b.test", true), ("c.test", false)] {
        let name = <&ruma::ServerName>::try_from(name).unwrap();
        let rooms = &town.server.rooms;
        let room = rooms.room(&town.room).await.unwrap().unwrap();
        let latest = rooms.forward_extremities(&room).await.unwrap();
        let text = |bytes: &bytes::Bytes| String::from_utf8(bytes.to_vec()).unwrap();
        let event = rooms.event_for_server(name, &town.said).await.unwrap();
        let filled = rooms.backfill_for_server(name, &town.room, &latest, 100).await.unwrap();
        let question = Missing { earliest: &[], latest: &latest, limit: 100, min_depth: 0 };
        let missing = rooms.missing_events_for_server(name, &town.room, &question).await.unwrap();
        let state = town.server.engine.state_for_server(name, &town.room, &latest[0]).await.unwrap();
        let state = state.state.iter().map(text).collect();
        for (way, texts) in [
            ("event", vec![text(&event)]),
            ("backfill", filled.iter().map(text).collect()),
            ("missing events", missing.iter().map(text).collect()),
            ("state", state),
        ] {
            let texts: Vec<String> = texts;
            assert!(!texts.is_empty());
            assert_eq!(words(&texts) > 0, whole, "{way} for {name}");
        }
    }

    // The newcomer took the room with its state, and takes the history: the copies are valid.
    let viewer = Viewer::user(&jiro);
    let member =
        late.rooms.state_event(&viewer, &town.room, "m.room.member", "@hanako:a.test").await.unwrap();
    assert!(!member.event.pdu().content_str().contains(WORD));
    let history = page(&late, &jiro, &town.room, &query(Direction::Backward, 100)).await;
    let said = history.chunk.iter().find(|look| look.event.event_id() == town.said).unwrap();
    assert_eq!(said.event.pdu().content_str(), "{}");
}
