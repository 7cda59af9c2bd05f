//! Reading rooms: history, context, members, state, and what other servers may see.

use audit::Actor;
use pdu::RoomVersion;
use room::{
    Error,
    read::{
        directory::DirectoryQuery,
        federation::Missing,
        filter::{EventFilter, LazyMembers},
        members::MemberFilter,
        messages::{Page, PageQuery},
        relations::RelationQuery,
        threads::ThreadQuery,
        timeline::Direction,
        token::Token,
        view::{Look, Viewer},
    },
    tables::Membership,
};
use ruma::{OwnedRoomId, RoomAliasId, UserId, api::client::filter::RoomEventFilter};
use serde_json::{Value, json};

use super::net::{Net, Server, state, user};
use crate::{CreateRoom, Preset};

pub(super) fn query(direction: Direction, limit: usize) -> PageQuery {
    PageQuery { from: None, to: None, direction, limit, filter: EventFilter::default() }
}

/// Bodies of messages, types of other events.
fn said(looks: &[Look]) -> Vec<String> {
    looks
        .iter()
        .map(|look| {
            let content: Value = serde_json::from_str(look.event.pdu().content_str()).unwrap();
            content["body"].as_str().map_or_else(|| look.event.kind().to_owned(), str::to_owned)
        })
        .collect()
}

pub(super) async fn page(server: &Server, who: &UserId, room: &OwnedRoomId, query: &PageQuery) -> Page {
    server.engine.messages(&Viewer::user(who), room, query).await.unwrap()
}

/// All pages of a room's history, one after the other.
async fn whole(
    server: &Server,
    who: &UserId,
    room: &OwnedRoomId,
    direction: Direction,
    limit: usize,
) -> Vec<String> {
    let mut query = query(direction, limit);
    let mut all = Vec::new();
    loop {
        let page = page(server, who, room, &query).await;
        assert!(page.chunk.len() <= limit);
        all.extend(said(&page.chunk));
        match page.end {
            Some(end) => query.from = Some(end),
            None => return all,
        }
    }
}

#[tokio::test]
async fn pages_of_any_size_give_the_whole_history_both_ways() {
    let server = Net::default().server(&["a.test"]).await;
    let hanako = user("@hanako:a.test");
    let room = server.public_room(&hanako).await;
    for number in 0..37 {
        server.say(&hanako, &room, &number.to_string()).await;
    }
    let expected = whole(&server, &hanako, &room, Direction::Forward, 1_000).await;
    assert_eq!(expected.len(), 37 + 6);
    for limit in [1, 2, 7, 20, 43, 44, 45] {
        assert_eq!(whole(&server, &hanako, &room, Direction::Forward, limit).await, expected);
        let mut backward = whole(&server, &hanako, &room, Direction::Backward, limit).await;
        backward.reverse();
        assert_eq!(backward, expected, "pages of {limit}");
    }
}

#[tokio::test]
async fn a_page_stops_at_its_end_token_and_follows_its_filter() {
    let server = Net::default().server(&["a.test"]).await;
    let (hanako, taro) = (user("@hanako:a.test"), user("@taro:a.test"));
    let room = server.public_room(&hanako).await;
    server.join(&taro, &room, "a.test").await.unwrap();
    let start = Token::after(server.store.head());
    for number in 0..6 {
        let who = if number % 2 == 0 { &hanako } else { &taro };
        server.say(who, &room, &number.to_string()).await;
    }
    let back = PageQuery { to: Some(start), ..query(Direction::Backward, 50) };
    let found = page(&server, &hanako, &room, &back).await;
    assert_eq!(said(&found.chunk), ["5", "4", "3", "2", "1", "0"]);
    assert!(found.end.is_none());

    let mut filter = RoomEventFilter::with_lazy_loading();
    filter.senders = Some(vec![taro.clone()]);
    let filter = EventFilter::new(&filter);
    assert_eq!(filter.lazy, LazyMembers::On);
    let found = page(&server, &hanako, &room, &PageQuery { filter, ..query(Direction::Backward, 2) }).await;
    assert_eq!(said(&found.chunk), ["5", "3"]);
    let members: Vec<_> = found.state.iter().map(|look| look.event.state_key().unwrap().to_owned()).collect();
    assert_eq!(members, [taro.as_str()]);
}

#[tokio::test]
async fn context_is_what_stood_around_an_event() {
    let server = Net::default().server(&["a.test"]).await;
    let hanako = user("@hanako:a.test");
    let room = server.public_room(&hanako).await;
    let mut ids = Vec::new();
    for number in 0..9 {
        ids.push(server.say(&hanako, &room, &number.to_string()).await);
    }
    let viewer = Viewer::user(&hanako);
    let filter = EventFilter::default();
    let context = server.rooms.context(&viewer, &room, &ids[4], 5, &filter).await.unwrap();
    assert_eq!(said(&context.before), ["3", "2"]);
    assert_eq!(said(&context.after), ["5", "6", "7"]);
    assert_eq!(said(&[context.event]), ["4"]);
    assert!(said(&context.state).contains(&"m.room.create".to_owned()));
    let older = PageQuery { from: Some(context.start), ..query(Direction::Backward, 1) };
    assert_eq!(said(&page(&server, &hanako, &room, &older).await.chunk), ["1"]);
    let newer = PageQuery { from: Some(context.end), ..query(Direction::Forward, 1) };
    assert_eq!(said(&page(&server, &hanako, &room, &newer).await.chunk), ["8"]);
    let alone = server.rooms.context(&viewer, &room, &ids[4], 0, &filter).await.unwrap();
    assert!(alone.before.is_empty() && alone.after.is_empty());
}

#[tokio::test]
async fn what_relates_to_an_event_is_found_page_by_page() {
    let server = Net::default().server(&["a.test"]).await;
    let hanako = user("@hanako:a.test");
    let room = server.public_room(&hanako).await;
    let parent = server.say(&hanako, &room, "親").await;
    for number in 0..7 {
        let rel_type = if number % 2 == 0 { "m.thread" } else { "m.reference" };
        let content = json!({
            "msgtype": "m.text", "body": number.to_string(),
            "m.relates_to": { "rel_type": rel_type, "event_id": parent },
        });
        let kind = ruma::events::TimelineEventType::RoomMessage;
        let draft = pdu::Draft::message(&hanako, kind, &content).unwrap();
        server.engine.send(&room, draft, None).await.unwrap();
    }
    for (direction, expected) in
        [(Direction::Forward, ["0", "2", "4", "6"]), (Direction::Backward, ["6", "4", "2", "0"])]
    {
        for limit in 1..6 {
            let mut query = RelationQuery {
                rel_type: Some("m.thread"),
                kind: None,
                from: None,
                to: None,
                direction,
                limit,
                recurse: false,
            };
            let mut all = Vec::new();
            loop {
                let page =
                    server.rooms.relations(&Viewer::user(&hanako), &room, &parent, &query).await.unwrap();
                assert!(page.chunk.len() <= limit);
                all.extend(said(&page.chunk));
                query.from = page.end;
                if page.end.is_none() {
                    break;
                }
            }
            assert_eq!(all, expected, "pages of {limit}");
        }
    }
}

/// Says something that relates to an event.
pub(super) async fn relate(
    server: &Server,
    who: &UserId,
    room: &OwnedRoomId,
    to: (&str, &str),
    body: &str,
) -> String {
    let content = json!({
        "msgtype": "m.text", "body": body, "m.new_content": { "msgtype": "m.text", "body": body },
        "m.relates_to": { "rel_type": to.0, "event_id": to.1 },
    });
    let kind = ruma::events::TimelineEventType::RoomMessage;
    let draft = pdu::Draft::message(who, kind, &content).unwrap();
    // As other servers may say it: a thread that begins with an answer is refused to users of ours.
    server.engine.send_unchecked(room, &draft, None, None).await.unwrap().to_string()
}

/// The newest of some events by their time; of one moment, that with the greatest id.
async fn newest_of(server: &Server, room: &OwnedRoomId, ids: [String; 2]) -> String {
    let mut aged = Vec::new();
    for id in ids {
        let event = server.rooms.get_event(room, &ruma::EventId::parse(&id).unwrap()).await.unwrap();
        aged.push((event.pdu().origin_server_ts(), id));
    }
    aged.into_iter().max().unwrap().1
}

/// `m.relations` of an event, as its reader is told.
async fn told(server: &Server, who: &UserId, room: &OwnedRoomId, event: &str) -> Value {
    let page = page(server, who, room, &query(Direction::Backward, 100)).await;
    let look = page.chunk.iter().find(|look| look.event.event_id() == event).unwrap();
    let json: Value = serde_json::from_str(look.to_json(base::Timestamp(0)).get()).unwrap();
    json["unsigned"]["m.relations"].clone()
}

#[tokio::test]
async fn an_event_tells_of_its_newest_edit_its_thread_and_what_refers_to_it() {
    let server = Net::default().server(&["a.test"]).await;
    let (hanako, taro) = (user("@hanako:a.test"), user("@taro:a.test"));
    let room = server.public_room(&hanako).await;
    server.join(&taro, &room, "a.test").await.unwrap();
    let parent = server.say(&hanako, &room, "親").await.to_string();
    assert!(told(&server, &hanako, &room, &parent).await.is_null());

    let one = relate(&server, &hanako, &room, ("m.replace", &parent), "一").await;
    let two = relate(&server, &hanako, &room, ("m.replace", &parent), "二").await;
    let edit = newest_of(&server, &room, [one, two]).await;
    // Only its author can edit an event.
    relate(&server, &taro, &room, ("m.replace", &parent), "三").await;
    let first = relate(&server, &hanako, &room, ("m.reference", &parent), "四").await;
    let second = relate(&server, &hanako, &room, ("m.reference", &parent), "五").await;
    let reply = relate(&server, &hanako, &room, ("m.thread", &parent), "六").await;
    let last = relate(&server, &hanako, &room, ("m.thread", &parent), "七").await;
    for _ in 0..40 {
        relate(&server, &taro, &room, ("m.annotation", &parent), "絵").await;
    }
    // Neither an edit of an edit nor a thread in a thread is one.
    relate(&server, &hanako, &room, ("m.replace", &edit), "八").await;
    relate(&server, &hanako, &room, ("m.thread", &reply), "九").await;

    let relations = told(&server, &taro, &room, &parent).await;
    assert_eq!(relations["m.replace"]["event_id"], edit.as_str());
    assert_eq!(relations["m.reference"]["chunk"], json!([{ "event_id": first }, { "event_id": second }]));
    assert_eq!(relations["m.thread"]["count"], 2);
    assert_eq!(relations["m.thread"]["latest_event"]["event_id"], last.as_str());
    assert_eq!(relations["m.thread"]["current_user_participated"], false);
    assert!(told(&server, &taro, &room, &edit).await.is_null());
    assert!(told(&server, &taro, &room, &reply).await.is_null());
    let own = told(&server, &hanako, &room, &parent).await;
    assert_eq!(own["m.thread"]["current_user_participated"], true);

    // What is redacted relates to nothing any more.
    for event in [&last, &edit, &first] {
        let event = ruma::EventId::parse(event).unwrap();
        server.engine.redact(&hanako, &room, &event, None, None).await.unwrap();
    }
    let relations = told(&server, &taro, &room, &parent).await;
    assert_ne!(relations["m.replace"]["event_id"], edit.as_str());
    assert_eq!(relations["m.reference"]["chunk"], json!([{ "event_id": second }]));
    assert_eq!(relations["m.thread"]["count"], 1);
    assert_eq!(relations["m.thread"]["latest_event"]["event_id"], reply.as_str());
}

#[tokio::test]
async fn the_newest_event_of_a_thread_tells_of_its_own_edit() {
    let server = Net::default().server(&["a.test"]).await;
    let hanako = user("@hanako:a.test");
    let room = server.public_room(&hanako).await;
    let parent = server.say(&hanako, &room, "親").await.to_string();
    relate(&server, &hanako, &room, ("m.thread", &parent), "初").await;
    let last = relate(&server, &hanako, &room, ("m.thread", &parent), "旧").await;
    let edit = relate(&server, &hanako, &room, ("m.replace", &last), "新").await;
    let latest = &told(&server, &hanako, &room, &parent).await["m.thread"]["latest_event"];
    assert_eq!(latest["event_id"], last.as_str());
    assert_eq!(latest["unsigned"]["m.relations"]["m.replace"]["event_id"], edit.as_str(), "{latest}");
}

#[tokio::test]
async fn what_an_ignored_user_said_is_not_read_but_the_state_that_he_set_is() {
    let server = Net::default().server(&["a.test"]).await;
    let (hanako, taro) = (user("@hanako:a.test"), user("@taro:a.test"));
    let room = server.public_room(&hanako).await;
    server.join(&taro, &room, "a.test").await.unwrap();
    let parent = server.say(&hanako, &room, "親").await;
    let reply = relate(&server, &hanako, &room, ("m.thread", parent.as_str()), "静").await;
    relate(&server, &taro, &room, ("m.thread", parent.as_str()), "騒").await;
    let other = server.say(&taro, &room, "騒").await;
    relate(&server, &hanako, &room, ("m.thread", other.as_str()), "静").await;
    let ignored = std::collections::HashSet::from([taro.clone()]);
    let viewer = Viewer { ignored: Some(&ignored), ..Viewer::user(&hanako) };
    let rooms = &server.rooms;
    let page = server.engine.messages(&viewer, &room, &query(Direction::Backward, 50)).await.unwrap();
    let seen = said(&page.chunk);
    assert!(seen.contains(&"静".to_owned()) && !seen.contains(&"騒".to_owned()), "{seen:?}");
    let joined = page.chunk.iter().any(|look| look.event.is_member_event_of(&taro));
    assert!(joined, "his joining is state");
    let around = rooms.context(&viewer, &room, &parent, 50, &EventFilter::default()).await.unwrap();
    assert!(!said(&around.after).contains(&"騒".to_owned()));
    assert!(matches!(rooms.event_for(&viewer, &room, &other).await, Err(Error::NoEvent(_))));
    let related = RelationQuery {
        rel_type: None,
        kind: None,
        from: None,
        to: None,
        direction: Direction::Forward,
        limit: 10,
        recurse: false,
    };
    let related = rooms.relations(&viewer, &room, &parent, &related).await.unwrap();
    assert_eq!(said(&related.chunk), ["静"]);
    let threads = ThreadQuery { from: None, limit: 10, participated: false };
    let threads = rooms.threads(&viewer, &room, &threads).await.unwrap();
    assert_eq!(said(&threads.chunk), ["親"]);
    let thread = threads.chunk[0].aggregations.as_ref().unwrap().thread.as_ref().unwrap();
    assert_eq!((thread.latest.event.event_id().as_str(), thread.count), (reply.as_str(), 1));
}

#[tokio::test]
async fn threads_stand_in_the_order_of_their_newest_events() {
    let server = Net::default().server(&["a.test"]).await;
    let (hanako, taro) = (user("@hanako:a.test"), user("@taro:a.test"));
    let room = server.public_room(&hanako).await;
    server.join(&taro, &room, "a.test").await.unwrap();
    let mut roots = Vec::new();
    for number in 0..5 {
        let root = server.say(&hanako, &room, &format!("題{number}")).await.to_string();
        relate(&server, &hanako, &room, ("m.thread", &root), "答").await;
        roots.push(root);
    }
    let latest = relate(&server, &taro, &room, ("m.thread", &roots[1]), "後").await;
    let redacted = relate(&server, &taro, &room, ("m.thread", &roots[0]), "消").await;
    let redacted = ruma::EventId::parse(redacted).unwrap();
    server.engine.redact(&taro, &room, &redacted, None, None).await.unwrap();

    let viewer = Viewer::user(&taro);
    for limit in 1..7 {
        let mut query = ThreadQuery { from: None, limit, participated: false };
        let mut all = Vec::new();
        loop {
            let page = server.rooms.threads(&viewer, &room, &query).await.unwrap();
            assert!(page.chunk.len() <= limit);
            all.extend(said(&page.chunk));
            query.from = page.end;
            if page.end.is_none() {
                break;
            }
        }
        assert_eq!(all, ["題1", "題4", "題3", "題2", "題0"], "pages of {limit}");
    }
    let query = ThreadQuery { from: None, limit: 9, participated: true };
    let page = server.rooms.threads(&viewer, &room, &query).await.unwrap();
    assert_eq!(said(&page.chunk), ["題1"]);
    let thread = page.chunk[0].aggregations.as_ref().unwrap().thread.as_ref().unwrap();
    assert_eq!((thread.latest.event.event_id().as_str(), thread.count), (latest.as_str(), 2));
}

#[tokio::test]
async fn relations_over_other_events_are_found_and_rings_have_an_end() {
    let server = Net::default().server(&["a.test"]).await;
    let hanako = user("@hanako:a.test");
    let room = server.public_room(&hanako).await;
    let root = server.say(&hanako, &room, "根").await;
    let mut parent = root.to_string();
    for number in 0..6 {
        parent = relate(&server, &hanako, &room, ("m.reference", &parent), &number.to_string()).await;
    }
    let mut query = RelationQuery {
        rel_type: None,
        kind: None,
        from: None,
        to: None,
        direction: Direction::Forward,
        limit: 10,
        recurse: true,
    };
    let viewer = Viewer::user(&hanako);
    let page = server.rooms.relations(&viewer, &room, &root, &query).await.unwrap();
    assert_eq!(said(&page.chunk), ["0", "1", "2", "3"]);
    query.limit = 2;
    query.direction = Direction::Backward;
    let page = server.rooms.relations(&viewer, &room, &root, &query).await.unwrap();
    assert_eq!(said(&page.chunk), ["3", "2"]);
    query.from = page.end;
    let page = server.rooms.relations(&viewer, &room, &root, &query).await.unwrap();
    assert_eq!(said(&page.chunk), ["1", "0"]);
    assert_eq!(page.end, None);
}

#[tokio::test]
async fn history_is_filtered_by_relations() {
    let server = Net::default().server(&["a.test"]).await;
    let hanako = user("@hanako:a.test");
    let room = server.public_room(&hanako).await;
    let root = server.say(&hanako, &room, "根").await.to_string();
    relate(&server, &hanako, &room, ("m.thread", &root), "糸").await;
    relate(&server, &hanako, &room, ("m.reference", &root), "参").await;
    for (filter, expected) in [
        (json!({ "org.matrix.msc3874.rel_types": ["m.thread"] }), &["糸"][..]),
        (json!({ "org.matrix.msc3874.rel_types": ["m.thread", "m.reference"] }), &["参", "糸"]),
        (json!({ "org.matrix.msc3874.not_rel_types": ["m.thread"] }), &["参", "根"]),
    ] {
        let mut query = query(Direction::Backward, 50);
        let relations = serde_json::from_value(filter).unwrap();
        query.filter = EventFilter::default().with_relations(relations);
        let mut seen = said(&page(&server, &hanako, &room, &query).await.chunk);
        seen.truncate(expected.len());
        assert_eq!(seen, expected);
    }
}

#[tokio::test]
async fn strangers_read_nothing_unless_the_room_is_open_to_the_world() {
    let server = Net::default().server(&["a.test"]).await;
    let (hanako, stranger) = (user("@hanako:a.test"), user("@stranger:a.test"));
    let room = server.public_room(&hanako).await;
    let event = server.say(&hanako, &room, "内").await;
    let viewer = Viewer::user(&stranger);
    let refused = server.engine.messages(&viewer, &room, &query(Direction::Backward, 5)).await;
    assert!(matches!(refused, Err(Error::NotJoined { .. })), "{refused:?}");
    assert!(matches!(server.rooms.state(&viewer, &room).await, Err(Error::NotJoined { .. })));
    assert!(matches!(server.rooms.event_for(&viewer, &room, &event).await, Err(Error::NoEvent(_))));

    let open = json!({ "history_visibility": "world_readable" });
    server.engine.send(&room, state(&hanako, "m.room.history_visibility", "", &open), None).await.unwrap();
    server.say(&hanako, &room, "外").await;
    let seen = said(&page(&server, &stranger, &room, &query(Direction::Backward, 50)).await.chunk);
    assert_eq!(seen, ["外", "m.room.history_visibility"], "only what was open when it was sent");
    assert!(!server.rooms.state(&viewer, &room).await.unwrap().is_empty());
}

#[tokio::test]
async fn who_left_sees_the_room_as_he_left_it() {
    let server = Net::default().server(&["a.test"]).await;
    let (hanako, taro) = (user("@hanako:a.test"), user("@taro:a.test"));
    let room = server.public_room(&hanako).await;
    let topic = |text: &str| state(&hanako, "m.room.topic", "", &json!({ "topic": text }));
    server.join(&taro, &room, "a.test").await.unwrap();
    server.engine.send(&room, topic("前"), None).await.unwrap();
    server.say(&hanako, &room, "前").await;
    server.engine.leave(&taro, &room, None).await.unwrap();
    server.engine.send(&room, topic("後"), None).await.unwrap();
    let late = server.say(&hanako, &room, "後").await;

    let viewer = Viewer::user(&taro);
    let seen = said(&page(&server, &taro, &room, &query(Direction::Backward, 3)).await.chunk);
    assert_eq!(seen, ["m.room.member", "前", "m.room.topic"]);
    let seen = server.rooms.state_event(&viewer, &room, "m.room.topic", "").await.unwrap();
    assert!(seen.event.pdu().content_str().contains('前'));
    assert!(matches!(server.rooms.event_for(&viewer, &room, &late).await, Err(Error::NoEvent(_))));
    let members = server.rooms.members(&viewer, &room, None, MemberFilter::default()).await.unwrap();
    let left = members.iter().find(|look| look.event.state_key() == Some(taro.as_str())).unwrap();
    assert_eq!(left.event.membership(), Some(Membership::Leave));
    assert!(matches!(server.rooms.joined_members(&taro, &room).await, Err(Error::NotJoined { .. })));
    server.engine.forget(&taro, &room).await.unwrap();
    assert!(matches!(server.rooms.state(&viewer, &room).await, Err(Error::NotJoined { .. })));
}

#[tokio::test]
async fn who_was_put_out_in_two_steps_sees_what_was_shared_before_he_came() {
    let server = Net::default().server(&["a.test"]).await;
    let (hanako, taro) = (user("@hanako:a.test"), user("@taro:a.test"));
    let room = server.public_room(&hanako).await;
    server.say(&hanako, &room, "前").await;
    server.join(&taro, &room, "a.test").await.unwrap();
    server.say(&hanako, &room, "中").await;
    server.engine.kick(&hanako, &room, &taro, None).await.unwrap();
    server.say(&hanako, &room, "後").await;
    server.engine.ban(&hanako, &room, &taro, None).await.unwrap();
    let mut seen = whole(&server, &taro, &room, Direction::Backward, 50).await;
    seen.retain(|text| !text.starts_with("m.room."));
    assert_eq!(seen, ["中", "前"]);
}

#[tokio::test]
async fn members_are_listed_as_they_were_at_a_place() {
    let server = Net::default().server(&["a.test"]).await;
    let (hanako, taro, jiro) = (user("@hanako:a.test"), user("@taro:a.test"), user("@jiro:a.test"));
    let room = server.public_room(&hanako).await;
    server.join(&taro, &room, "a.test").await.unwrap();
    let then = Token::after(server.store.head());
    server.engine.leave(&taro, &room, None).await.unwrap();
    server.join(&jiro, &room, "a.test").await.unwrap();

    let viewer = Viewer::user(&hanako);
    let list = |at: Option<Token>, filter: MemberFilter| {
        let (rooms, room) = (server.rooms.clone(), room.clone());
        async move {
            let members = rooms.members(&viewer, &room, at, filter).await.unwrap();
            let mut names: Vec<_> = members
                .iter()
                .map(|look| look.event.state_key().unwrap()[1..].split(':').next().unwrap().to_owned())
                .collect();
            names.sort();
            names
        }
    };
    let join = MemberFilter { membership: Some(Membership::Join), ..MemberFilter::default() };
    let not_join = MemberFilter { not_membership: Some(Membership::Join), ..MemberFilter::default() };
    assert_eq!(list(None, join).await, ["hanako", "jiro"]);
    assert_eq!(list(None, not_join).await, ["taro"]);
    assert_eq!(list(Some(then), join).await, ["hanako", "taro"]);
    let before_all = list(Some(Token::START), MemberFilter::default()).await;
    assert_eq!(before_all, ["hanako"], "as the room began");
    let joined = server.rooms.joined_members(&hanako, &room).await.unwrap();
    assert_eq!(joined.gather().await.unwrap().len(), 2);
    let counts = server.rooms.room(&room).await.unwrap().unwrap().serial;
    assert_eq!(server.rooms.member_counts(&[counts]).await.unwrap()[0].joined, 2);
}

#[tokio::test]
async fn history_from_before_the_join_is_fetched_when_somebody_reads_so_far() {
    let net = Net::default();
    let (a, b) = (net.server(&["a.test"]).await, net.server(&["b.test"]).await);
    let (hanako, taro) = (user("@hanako:a.test"), user("@taro:b.test"));
    let room = a.public_room(&hanako).await;
    for number in 0..30 {
        a.say(&hanako, &room, &number.to_string()).await;
    }
    b.join(&taro, &room, "a.test").await.unwrap();
    b.say(&taro, &room, "今").await;
    let mut seen = whole(&b, &taro, &room, Direction::Backward, 8).await;
    seen.reverse();
    let expected = whole(&a, &hanako, &room, Direction::Forward, 100).await;
    let with_now = [expected, vec!["今".to_owned()]].concat();
    assert_eq!(seen, with_now, "all of it, oldest first");
}

#[tokio::test]
async fn another_server_gets_redacted_copies_of_what_it_may_not_see() {
    for version in [RoomVersion::V6, RoomVersion::V11] {
        let net = Net::default();
        let (a, b) = (net.server(&["a.test"]).await, net.server(&["b.test"]).await);
        let (hanako, taro) = (user("@hanako:a.test"), user("@taro:b.test"));
        let room = a.room_of(&hanako, version).await;
        let set = json!({ "history_visibility": "joined" });
        a.engine.send(&room, state(&hanako, "m.room.history_visibility", "", &set), None).await.unwrap();
        let hidden = a.say(&hanako, &room, "秘").await;
        let refused = a.rooms.event_for_server(taro.server_name(), &hidden).await;
        assert!(matches!(refused, Err(Error::NotAllowed(_))), "a server that is not in the room");
        b.join(&taro, &room, "a.test").await.unwrap();
        let open = a.say(&hanako, &room, "公").await;

        let copies = |from: ruma::OwnedEventId| {
            let (rooms, room) = (a.rooms.clone(), room.clone());
            async move {
                let server = ruma::server_name!("b.test");
                let bytes = rooms.backfill_for_server(server, &room, &[from], 3).await.unwrap();
                bytes.iter().map(|b| serde_json::from_slice::<Value>(b).unwrap()).collect::<Vec<_>>()
            }
        };
        let copies = copies(open.clone()).await;
        assert_eq!(copies.len(), 3);
        assert_eq!(copies[0]["content"]["body"], "公");
        assert_eq!(copies[1]["type"], "m.room.member", "state is never withheld");
        assert_eq!(copies[2]["content"], json!({}));
        assert!(copies[2]["signatures"].is_object() && copies[2]["hashes"].is_object());

        let earliest = [hidden];
        let missing =
            Missing { earliest: &earliest, latest: std::slice::from_ref(&open), limit: 10, min_depth: 0 };
        let between = a.rooms.missing_events_for_server(taro.server_name(), &room, &missing).await.unwrap();
        assert_eq!(between.len(), 1, "the join");
    }
}

#[tokio::test]
async fn the_state_and_its_auth_chain_are_given_for_any_event() {
    let net = Net::default();
    let (a, b) = (net.server(&["a.test"]).await, net.server(&["b.test"]).await);
    let (hanako, taro) = (user("@hanako:a.test"), user("@taro:b.test"));
    let room = a.public_room(&hanako).await;
    b.join(&taro, &room, "a.test").await.unwrap();
    let event = a.say(&hanako, &room, "一").await;
    let answer = a.engine.state_for_server(taro.server_name(), &room, &event).await.unwrap();
    assert_eq!(answer.state.len(), a.state(&room).await.len());
    let parse = |texts: &[bytes::Bytes]| -> Vec<pdu::Pdu> {
        texts.iter().map(|text| pdu::Pdu::parse(pdu::RoomVersion::V11, text).unwrap()).collect()
    };
    let (events, chain) = (parse(&answer.state), parse(&answer.auth_chain));
    let kinds: Vec<_> = chain.iter().map(|event| event.kind().to_string()).collect();
    assert!(kinds.contains(&"m.room.create".to_owned()), "{kinds:?}");
    // Closed: whatever one of them refers to is among them.
    let known: std::collections::HashSet<_> = chain.iter().map(|event| event.event_id()).collect();
    assert!(events.iter().chain(&chain).flat_map(|event| event.auth_events()).all(|id| known.contains(id)));
    // The same by ids.
    let ids = a.engine.state_ids_for_server(taro.server_name(), &room, &event).await.unwrap();
    let of = |events: &[pdu::Pdu]| events.iter().map(|event| event.event_id().to_owned()).collect::<Vec<_>>();
    assert_eq!((ids.state, ids.auth_chain), (of(&events), of(&chain)));
}

#[tokio::test]
async fn an_alias_has_one_room_and_the_directory_shows_what_was_published() {
    let net = Net::default();
    let (a, b) = (net.server(&["a.test"]).await, net.server(&["b.test"]).await);
    let (hanako, taro) = (user("@hanako:a.test"), user("@taro:a.test"));
    let (room, other) = (a.public_room(&hanako).await, a.public_room(&hanako).await);
    let alias = RoomAliasId::parse("#saigai:a.test").unwrap();
    let by = &Actor::user(&hanako, false, None);
    a.engine.create_alias(&hanako, &alias, &room, by).await.unwrap();
    assert!(matches!(a.engine.create_alias(&hanako, &alias, &other, by).await, Err(Error::AliasTaken)));
    let foreign = user("@x:b.test");
    let found = b.engine.resolve_alias(Some(&foreign), &alias).await.unwrap();
    assert_eq!((found.room_id, found.servers.len()), (room.clone(), 1));
    assert!(matches!(a.engine.delete_alias(&taro, &alias, by).await, Err(Error::NotAllowed(_))));
    assert_eq!(
        a.rooms.room_aliases(&Viewer::user(&hanako), &room).await.unwrap(),
        std::slice::from_ref(&alias)
    );

    let refused = a.rooms.set_published(&taro, &room, true, by).await;
    assert!(matches!(refused, Err(Error::NotJoined { .. })));
    for room in [&room, &other] {
        a.rooms.set_published(&hanako, room, true, by).await.unwrap();
    }
    a.join(&taro, &other, "a.test").await.unwrap();
    let refused = a.rooms.set_published(&taro, &other, false, by).await;
    assert!(matches!(refused, Err(Error::NotAllowed(_))));
    let authority = hanako.server_name();
    let mut query = DirectoryQuery { limit: Some(1), ..DirectoryQuery::default() };
    let first = a.rooms.public_rooms(authority, &query).await.unwrap();
    assert_eq!((first.chunk[0].room_id.clone(), first.total), (other.clone(), 2), "the largest first");
    query.since = first.next;
    let second = a.rooms.public_rooms(authority, &query).await.unwrap();
    assert_eq!(second.chunk[0].room_id, room);
    assert!(second.next.is_none() && second.previous.is_some());
    let search = DirectoryQuery { search: Some("災害".to_owned()), ..DirectoryQuery::default() };
    assert_eq!(a.rooms.public_rooms(authority, &search).await.unwrap().total, 2);
    let search = DirectoryQuery { search: Some("釣り".to_owned()), ..DirectoryQuery::default() };
    assert_eq!(a.rooms.public_rooms(authority, &search).await.unwrap().total, 0);
    let pasted = format!("#saigai:a.test {}", "\u{fdfa}".repeat(1 << 18));
    let search = DirectoryQuery { search: Some(pasted), ..DirectoryQuery::default() };
    assert_eq!(a.rooms.public_rooms(authority, &search).await.unwrap().total, 0);
    let spaces = DirectoryQuery { types: Some(vec![Some("m.space".into())]), ..DirectoryQuery::default() };
    assert_eq!(a.rooms.public_rooms(authority, &spaces).await.unwrap().total, 0);
    let plain = DirectoryQuery { types: Some(vec![None; 1 << 10]), ..DirectoryQuery::default() };
    assert_eq!(a.rooms.public_rooms(authority, &plain).await.unwrap().total, 2);
    a.engine.delete_alias(&hanako, &alias, by).await.unwrap();
    assert!(a.rooms.find_alias(&alias).await.unwrap().is_none());
}

#[tokio::test]
async fn what_is_done_to_aliases_and_the_directory_is_in_the_audit_log_and_what_is_refused_is_not() {
    let net = Net::default();
    let a = net.server(&["a.test", "b.test"]).await;
    let (hanako, taro) = (user("@hanako:a.test"), user("@taro:b.test"));
    let (boss, from) = (Actor::user(&hanako, true, None), Actor::user(&taro, false, None));
    let (first, second) =
        (RoomAliasId::parse("#first:a.test").unwrap(), RoomAliasId::parse("#second:a.test").unwrap());
    let wishes = CreateRoom {
        preset: Preset::PublicChat,
        alias: Some(first.clone()),
        publish: true,
        by: Some(boss.clone()),
        ..CreateRoom::default()
    };
    let room = a.engine.create(&hanako, wishes).await.unwrap();
    let other = a.public_room(&hanako).await;
    a.join(&taro, &room, "a.test").await.unwrap();

    a.engine.create_alias(&hanako, &first, &other, &boss).await.unwrap_err();
    a.engine.create_alias(&taro, &second, &room, &from).await.unwrap_err();
    a.engine.delete_alias(&taro, &first, &from).await.unwrap_err();
    a.engine.move_alias(&taro, &first, &room, &from).await.unwrap_err();
    a.rooms.set_published(&taro, &room, false, &from).await.unwrap_err();
    a.engine.create_alias(&hanako, &second, &room, &boss).await.unwrap();
    a.engine.move_alias(&hanako, &second, &other, &boss).await.unwrap();
    a.engine.delete_alias(&hanako, &second, &boss).await.unwrap();
    // What is so already is no deed.
    for published in [true, false, false] {
        a.rooms.set_published(&hanako, &room, published, &boss).await.unwrap();
    }

    let told = async |authority: &str| {
        let filter = audit::Filter::default();
        let authority = authority.try_into().unwrap();
        let page = audit::list(a.engine.store(), authority, &filter, Default::default()).await.unwrap();
        let rows = page.found.into_iter().map(|row| row.record.unwrap());
        rows.map(|row| {
            assert_eq!((row.who.as_str(), row.role.as_str()), (hanako.as_str(), "administrator"));
            let facts = row.before.iter().chain(&row.after).map(|(_, room)| room.as_str());
            (row.what.clone(), row.whom.clone(), facts.collect::<Vec<_>>().join(" "))
        })
        .collect::<Vec<_>>()
    };
    let row = |what: &str, whom: &str, facts: String| (what.to_owned(), whom.to_owned(), facts);
    let (ours, theirs) = (room.to_string(), other.to_string());
    assert_eq!(
        told("a.test").await,
        [
            row("alias.put", first.as_str(), ours.clone()),
            row("directory.publish", &ours, String::new()),
            row("alias.put", second.as_str(), ours.clone()),
            row("alias.put", second.as_str(), format!("{ours} {theirs}")),
            row("alias.remove", second.as_str(), theirs.clone()),
            row("directory.withdraw", &ours, String::new()),
        ]
    );
    assert!(told("b.test").await.is_empty());
}

#[tokio::test]
async fn an_alias_goes_out_of_what_a_room_calls_itself_however_odd_the_rest_is() {
    let net = Net::default();
    let a = net.server(&["a.test"]).await;
    let hanako = user("@hanako:a.test");
    let alias = RoomAliasId::parse("#saigai:a.test").unwrap();
    let wishes = CreateRoom { alias: Some(alias.clone()), ..CreateRoom::default() };
    let room = a.engine.create(&hanako, wishes).await.unwrap();
    // As a member elsewhere may have written it.
    let odd = json!({ "alias": alias, "alt_aliases": [5, "#gone:b.test"] });
    let odd = state(&hanako, "m.room.canonical_alias", "", &odd);
    a.engine.send_unchecked(&room, &odd, None, None).await.unwrap();

    a.engine.delete_alias(&hanako, &alias, &Actor::user(&hanako, false, None)).await.unwrap();

    let info = a.rooms.room(&room).await.unwrap().unwrap();
    let left = a.rooms.current_state_event(&info, "m.room.canonical_alias", "").await.unwrap().unwrap();
    assert_eq!(left.pdu().content_str(), r##"{"alt_aliases":[5,"#gone:b.test"]}"##);
    assert!(net.asked().iter().all(|asked| !asked.contains("b.test")));
}

#[tokio::test]
async fn a_thread_does_not_begin_with_an_answer_however_its_relation_is_spelled() {
    let net = Net::default();
    let a = net.server(&["a.test"]).await;
    let hanako = user("@hanako:a.test");
    let room = a.public_room(&hanako).await;
    let root = a.say(&hanako, &room, "題").await;
    let reply = relate(&a, &hanako, &room, ("m.thread", root.as_str()), "答").await;
    for key in ["m.relates_to", r"m.relates\u005fto"] {
        let content = format!(
            r#"{{"msgtype":"m.text","body":"糸","{key}":{{"rel_type":"m.thread","event_id":"{reply}"}}}}"#
        );
        let content = serde_json::value::RawValue::from_string(content).unwrap();
        let draft = pdu::Draft { content, ..super::net::message(&hanako, "") };
        let refused = a.engine.send(&room, draft, None).await;
        assert!(matches!(refused, Err(Error::BadThread)), "{key}: {refused:?}");
    }
}
