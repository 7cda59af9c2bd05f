//! The stored bytes of the write side's rows: changing one needs a new schema number.

use std::fmt::Write;

use bytes::Bytes;
use room::{
    Begin, EventSerial, Order, RoomSerial, Root, StateKeySerial,
    log::{AliasEntry, Entry, EventEntry, HistoryEntry, MembershipEntry, ReceiptEntry},
    people::{NameRow, PersonRow, WalkRow, WordRow},
    read::lacking::{Filling, LackingRow},
    tables::{
        DepartureRow, EventMeta, EventPlace, EventTxn, Extremity, Gap, Head, InviteRow, Lacking, MemberRow,
        Members, Membership, MembershipRow, Place, RelationRow, RoomIdRow, RoomRow, StateKeyName, Summary,
        ThreadRow, TimelineRow, Verdict,
    },
};
use ruma::{OwnedEventId, OwnedRoomId, OwnedUserId};
use store::{Position, Stamped, Value, decode_key, encode_key};

use crate::{
    delays::tables::{DelayRow, DelayTxnRow, DelayedRow},
    graph::AuthRow,
    tables::{
        Awaited, FarewellRow, HalfWayRow, HelperRow, InboxRow, Sent, SweepRow, TxnRow, WaitingRow, Why,
        WithdrawalRow,
    },
};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, byte| {
        write!(out, "{byte:02x}").unwrap();
        out
    })
}

fn unhex(text: &str) -> Bytes {
    let digits = |index: usize| u8::from_str_radix(&text[index..index + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(digits).collect()
}

#[track_caller]
fn pinned<T: Value + PartialEq + std::fmt::Debug>(row: &T, expected: &str) {
    let bytes = row.encode();
    assert_eq!(hex(&bytes), expected);
    assert_eq!(T::decode(&bytes).unwrap(), *row);
}

fn event_id() -> OwnedEventId {
    OwnedEventId::try_from("$e").unwrap()
}

fn room_id() -> OwnedRoomId {
    OwnedRoomId::try_from("!r:a").unwrap()
}

fn user_id() -> OwnedUserId {
    OwnedUserId::try_from("@u:a").unwrap()
}

#[test]
fn rows_of_delayed_events_are_stored_as_ever() {
    let row = DelayRow {
        room: RoomSerial(1),
        kind: "k".to_owned(),
        state_key: Some("s".to_owned()),
        user: "@u:a".to_owned(),
        delay_ms: 300,
        since: 5,
        number: 1,
    };
    pinned(&row, "0101016b0101730440753a61ac020501");
    let row = DelayedRow { content: "{}".to_owned(), redacts: None, was: Some(event_id()) };
    pinned(&row, "01027b7d0001022465");
    pinned(&DelayTxnRow { delay_id: "d".to_owned(), at: 5 }, "01016405");
}

#[test]
fn rows_of_sweeps_are_stored_as_ever() {
    pinned(&SweepRow { number: 3, generation: 300, since: 5, has_condemned: true }, "0103ac020501");
}

#[test]
fn rows_of_the_auth_graph_are_stored_as_ever() {
    pinned(&AuthRow { auth: vec![EventSerial(5), EventSerial(300)] }, "010205ac02");
}

#[test]
fn rows_of_people_are_stored_as_ever() {
    let names = vec![
        NameRow { name: String::new(), rooms: vec![RoomSerial(300), RoomSerial(302)] },
        NameRow { name: "n".to_owned(), rooms: vec![RoomSerial(7)] },
    ];
    pinned(&PersonRow { names }, "01020002ac0202016e0107");
    let walk = WalkRow { after: "u".to_owned(), since: Root([3; 16]) };
    pinned(&walk, &format!("010175{}", "03".repeat(16)));
    pinned(&WordRow { begin: Begin::Within }, "0102");
}

#[test]
fn rows_of_rooms_are_stored_as_ever() {
    pinned(&RoomRow { serial: RoomSerial(300), version: "12".to_owned() }, "01ac02023132");
    pinned(&RoomIdRow { room_id: room_id(), version: "11".to_owned() }, "010421723a61023131");
    let head = Head {
        generation: 2,
        extremities: vec![Extremity {
            serial: EventSerial(5),
            event_id: event_id(),
            depth: 9,
            after: Root([1; 16]),
        }],
        current: Root([2; 16]),
        history_floor: 1,
        since_depth: 3,
        beside: Root([3; 16]),
        since: 300,
        yielding: vec![EventSerial(5)],
        members: Members::Lacking(Lacking { join: EventSerial(300), resolved: Root([4; 16]) }),
    };
    let ones = "01".repeat(16);
    let twos = "02".repeat(16);
    let threes = "03".repeat(16);
    let fours = "04".repeat(16);
    pinned(&head, &format!("0502010502246509{ones}{twos}0103{threes}ac02010501ac02{fours}"));
    let head = Head { members: Members::Whole, ..head };
    pinned(&head, &format!("0502010502246509{ones}{twos}0103{threes}ac02010500"));
    let older = unhex(&format!("0402010502246509{ones}{twos}0103{threes}ac020105"));
    assert_eq!(Head::decode(&older).unwrap(), head);
    let head = Head { yielding: Vec::new(), ..head };
    let older = unhex(&format!("0302010502246509{ones}{twos}0103{threes}ac02"));
    assert_eq!(Head::decode(&older).unwrap(), head);
    let head = Head { since: 0, ..head };
    let older = unhex(&format!("0202010502246509{ones}{twos}0103{threes}"));
    assert_eq!(Head::decode(&older).unwrap(), head);
    let older = unhex(&format!("0102010502246509{ones}{twos}0103"));
    assert_eq!(Head::decode(&older).unwrap(), Head { beside: Root::EMPTY, ..head });
    let summary = Summary { name: Some("n".to_owned()), federate: true, ..Summary::default() };
    pinned(&summary, "0101016e000000000000000000000001");
}

#[test]
fn rows_of_rooms_that_lack_members_are_stored_as_ever() {
    let filling = Filling {
        join: EventSerial(300),
        via: vec!["b".try_into().unwrap()],
        without: Root([1; 16]),
        before: Root([2; 16]),
        is_made: true,
        slices: 301,
        tries: 2,
        held_until: 302,
    };
    let (ones, twos) = ("01".repeat(16), "02".repeat(16));
    pinned(&LackingRow { filling: Some(filling) }, &format!("0101ac02010162{ones}{twos}01ad0202ae02"));
    pinned(&LackingRow { filling: None }, "0100");
}

#[test]
fn rows_of_events_are_stored_as_ever() {
    pinned(&EventPlace { room: RoomSerial(1), event: EventSerial(2) }, "010102");
    let meta = EventMeta {
        event_id: event_id(),
        verdict: Verdict::SoftFailed,
        place: Place::History(7),
        depth: 9,
        before: Root([1; 16]),
        after: Root([2; 16]),
        auth: vec![EventSerial(3), EventSerial(4)],
        txn: Some(EventTxn { device: "D".to_owned(), id: "t".to_owned() }),
        redacted_by: None,
        replaces: Some(EventSerial(8)),
        covers_previous: true,
        partial: true,
    };
    let (ones, twos) = ("01".repeat(16), "02".repeat(16));
    let rest = format!("022465010207{}{ones}{twos}02030401014401740001{}", "09", "08");
    pinned(&Stamped { position: Position(6), value: meta.clone() }, &format!("000000000000000603{rest}0101"));
    let older = EventMeta::decode(&unhex(&format!("02{rest}01"))).unwrap();
    assert_eq!(older, EventMeta { partial: false, ..meta.clone() });
    let older = EventMeta::decode(&unhex(&format!("01{rest}"))).unwrap();
    assert_eq!(older, EventMeta { covers_previous: false, partial: false, ..meta });
    pinned(
        &TimelineRow { event: EventSerial(2), current: Root([1; 16]), gap: true },
        &format!("0102{ones}01"),
    );
    let on_tip = vec![EventSerial(2), EventSerial(6)];
    let gap = Gap { child: EventSerial(2), depth: 3, tries: 4, past: true, on_tip, since: 300 };
    pinned(&gap, "0402030401020206ac02");
    let gap = Gap { on_tip: Vec::new(), since: 0, ..gap };
    assert_eq!(Gap::decode(&unhex("0302030401")).unwrap(), gap);
    let gap = Gap { past: false, ..gap };
    assert_eq!(Gap::decode(&unhex("02020304")).unwrap(), gap);
    assert_eq!(Gap::decode(&unhex("010203")).unwrap(), Gap { tries: 0, ..gap });
    let awaited = Awaited { redactions: vec![EventSerial(5), EventSerial(6)] };
    pinned(&awaited, "02020506");
    assert_eq!(Awaited::decode(&unhex("0105")).unwrap(), EventSerial(5).into());
    pinned(&HelperRow { at: 300 }, "01ac02");
    let farewell = FarewellRow { reason: Some("r".to_owned()), since: 1, tries: 2, next_at: 3 };
    pinned(&farewell, "01010172010203");
    let half_way = HalfWayRow {
        sent: vec![Sent { server: "s".to_owned(), event_id: ruma::owned_event_id!("$e") }],
        is_knock: true,
        since: 1,
        tries: 2,
        next_at: 3,
        telling_until: 4,
    };
    pinned(&half_way, "010101730224650101020304");
    let withdrawal = WithdrawalRow {
        origin: "o".to_owned(),
        event: Bytes::from_static(b"{}"),
        since: 1,
        tries: 2,
        next_at: 3,
    };
    pinned(&withdrawal, "01016f027b7d010203");
    pinned(&EventSerial(300), "01ac02");
    pinned(&StateKeySerial(300), "01ac02");
    let name = StateKeyName { kind: "m.x".to_owned(), key: "k".to_owned() };
    pinned(&name, "01036d2e78016b");
    let relation = RelationRow {
        child: EventSerial(1),
        rel_type: "r".to_owned(),
        kind: "k".to_owned(),
        sender: user_id(),
    };
    pinned(&relation, "01010172016b0440753a61");
    let root = OwnedEventId::try_from("$r").unwrap();
    pinned(&ThreadRow { root }, "01022472");
}

#[test]
fn rows_of_members_and_requests_are_stored_as_ever() {
    pinned(&MemberRow { membership: Membership::Join, event: EventSerial(2) }, "010102");
    let row = MembershipRow {
        room_id: room_id(),
        membership: Membership::Ban,
        previous: Some(Membership::Invite),
        event: None,
        sender: user_id(),
        forgotten: true,
        current: Root([1; 16]),
    };
    pinned(&row, &format!("010421723a61040100000440753a6101{}", "01".repeat(16)));
    pinned(&DepartureRow { current: Root([1; 16]) }, &format!("01{}", "01".repeat(16)));
    let invite = InviteRow { event: Bytes::from_static(b"{}"), stripped: Bytes::from_static(b"[]") };
    pinned(&invite, "01027b7d025b5d");
    pinned(&TxnRow { event_id: event_id(), at: 5 }, "0102246505");
    let waiting = WaitingRow {
        origin: "a".to_owned(),
        pdu: Bytes::from_static(b"{}"),
        tries: 2,
        why: Why::NoAuth,
        since: 9,
    };
    pinned(&waiting, "010161027b7d020209");
    pinned(&InboxRow { origin: "a".to_owned(), pdu: Bytes::from_static(b"{}") }, "010161027b7d");
}

#[test]
fn log_entries_are_stored_as_ever() {
    let event = Entry::Event(EventEntry {
        room: RoomSerial(1),
        room_id: room_id(),
        event: EventSerial(2),
        outgoing: true,
        member: Some((user_id(), Membership::Join)),
    });
    let membership = Entry::Membership(MembershipEntry {
        room: RoomSerial(1),
        room_id: room_id(),
        user_id: user_id(),
        membership: Membership::Leave,
    });
    let receipt = Entry::Receipt(ReceiptEntry {
        room: RoomSerial(1),
        room_id: room_id(),
        user_id: user_id(),
        kind: "m.read".to_owned(),
        thread: String::new(),
        outgoing: true,
    });
    let (after, through) = (700, 705);
    let history = HistoryEntry { room: RoomSerial(1), room_id: room_id(), after, through };
    let (kind, payload) = Entry::History(history.clone()).encode();
    assert_eq!((kind, hex(&payload).as_str()), (8, "01010421723a61bc05c105"));
    assert_eq!(Entry::decode(kind, &payload).unwrap(), Some(Entry::History(history)));
    let alias = "#s:a".try_into().unwrap();
    let alias = Entry::Alias(AliasEntry { room: RoomSerial(1), room_id: room_id(), alias, leads: true });
    let (kind, payload) = alias.encode();
    assert_eq!((kind, hex(&payload).as_str()), (9, "01010421723a610423733a6101"));
    assert_eq!(Entry::decode(kind, &payload).unwrap(), Some(alias));
    for (entry, expected, unversioned) in [
        (event, (5, "01010421723a610201010440753a6101"), 1),
        (receipt, (6, "01010421723a610440753a61066d2e726561640001"), 2),
        (membership, (7, "01010421723a610440753a6103"), 3),
    ] {
        let (kind, payload) = entry.encode();
        assert_eq!((kind, hex(&payload).as_str()), expected);
        // As it was before there was a schema byte.
        assert_eq!(Entry::decode(unversioned, &payload.slice(1..)).unwrap(), Some(entry.clone()));
        assert_eq!(Entry::decode(kind, &payload).unwrap(), Some(entry));
        let newer: Bytes =
            std::iter::once(2).chain(payload.iter().skip(1).copied()).collect::<Vec<u8>>().into();
        assert!(Entry::decode(kind, &newer).is_err(), "what is not understood is told");
    }
}

#[test]
fn orders_sort_the_past_before_what_happened_and_by_position() {
    let sorted = [Order::FIRST, Order::history(1), Order::history(u64::MAX >> 1), Order::live(Position(1))];
    for pair in sorted.windows(2) {
        assert!(pair[0] < pair[1]);
        assert!(encode_key::<Order, _>(&pair[0]) < encode_key::<Order, _>(&pair[1]));
    }
    for order in sorted {
        assert_eq!(decode_key::<Order>(&encode_key::<Order, _>(&order)).unwrap(), order);
    }
    assert_eq!(Order::live(Position(7)).position(), Some(Position(7)));
    assert_eq!(Order::history(7).position(), None);
}
