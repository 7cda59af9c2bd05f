//! What a lane does next, and what is remembered of it.

#![expect(clippy::unwrap_used, reason = "tests")]

use ruma::{owned_room_id, owned_user_id, server_name};

use super::*;

fn room(number: u64) -> OwnedRoomId {
    ruma::RoomId::parse(format!("!{number}:a.test")).unwrap()
}

fn user_id(number: u64) -> OwnedUserId {
    OwnedUserId::try_from(format!("@u{number}:a.test")).unwrap()
}

fn lane(rooms: &[(u64, u64)]) -> Lane {
    Lane::restored(rooms.iter().map(|(id, after)| (room(*id), Position(*after))).collect(), Position(100))
}

fn next(lane: &mut Lane) -> Work {
    lane.next(server_name!("a.test"), &Press::default(), Together::Yes, Timestamp(1))
}

#[test]
fn what_was_missed_of_a_room_is_owed_besides_what_is_on_its_way() {
    let missed = Owed { after: Position(20), through: Position(40) };
    let mut lane = lane(&[(1, 50)]);
    let Work::CatchUp(first, _) = next(&mut lane) else { panic!("nothing to catch up") };
    lane.owe_missed(first.clone(), missed);
    lane.owe_missed(room(2), missed);
    // The store says of each room from where on the peer may lack something.
    let put = vec![(room(1), Position(20)), (room(2), Position(20))];
    assert_eq!(lane.changes(), Changes { put, delete: Vec::new() });

    // As who sends it does: of the last part, and of all.
    lane.caught_up(&first, Position(100));
    lane.caught_up(&first, Position(100));
    let order = [next(&mut lane), {
        lane.caught_up(&room(1), Position(40));
        next(&mut lane)
    }];
    let [Work::CatchUp(one, of_one), Work::CatchUp(two, of_two)] = order else { panic!("not owed") };
    assert_eq!((one, of_one, two, of_two), (room(1), missed, room(2), missed));
    lane.caught_up(&room(2), Position(40));
    assert!(matches!(next(&mut lane), Work::Rest));
    assert_eq!(lane.changes(), Changes { put: Vec::new(), delete: vec![room(1), room(2)] });
    assert!(lane.is_settled());
}

#[test]
fn who_was_not_behind_is_so_when_it_was_missed_that_it_lacks_something() {
    let missed = Owed { after: Position(20), through: Position(40) };
    let mut lane = Lane::default();
    lane.owe_missed(room(1), missed);
    assert!(lane.is_behind() && !lane.is_idle());
    let Work::CatchUp(first, owed) = next(&mut lane) else { panic!("nothing to catch up") };
    assert_eq!((first, owed), (room(1), missed));
}

#[test]
fn the_room_that_waits_longest_is_caught_up_first() {
    let mut lane = lane(&[(1, 50), (2, 7)]);
    let Work::CatchUp(first, owed) = next(&mut lane) else { panic!("nothing to catch up") };
    assert_eq!((&first, owed), (&room(2), Owed { after: Position(7), through: Position(100) }));
    lane.caught_up(&first, Position(60));
    let Work::CatchUp(second, _) = next(&mut lane) else { panic!("nothing to catch up") };
    assert_eq!(second, room(1));
    lane.caught_up(&room(1), Position(100));
    lane.caught_up(&room(2), Position(100));
    assert!(matches!(next(&mut lane), Work::Rest));
    assert!(!lane.is_behind());
}

#[test]
fn the_store_is_told_what_changed_and_nothing_twice() {
    let mut lane = lane(&[(1, 50), (2, 7)]);
    assert_eq!(lane.changes(), Changes::default());
    lane.caught_up(&room(1), Position(100));
    lane.caught_up(&room(2), Position(60));
    let expected = Changes { put: vec![(room(2), Position(60))], delete: vec![room(1)] };
    assert_eq!(lane.changes(), expected);
    assert_eq!(lane.changes(), Changes::default());
    lane.changes_failed(expected);
    assert_eq!(lane.changes().delete, [room(1)]);
}

#[test]
fn who_cannot_prove_that_he_still_sends_forgets_nothing_that_may_have_arrived() {
    let mut lane = Lane::default();
    let content = Content { origin: server_name!("a.test"), room: None, pdus: &[], edus: &[], units: &[] };
    let sent = Press::default().print(&content, Timestamp(1));
    lane.resume(Position(7), Some((sent.clone(), Vec::new())));
    lane.sending_failed(&sent.id, None);
    assert_eq!(lane.ended(Position(6)), None);
    lane.sending_failed(&sent.id, Some(Changes::default()));
    assert!(lane.ended(Position(6)).is_some(), "what was never sent is not kept");
}

#[test]
fn what_two_peers_are_told_alike_is_made_once() {
    let press = Press::default();
    let lane = || {
        let mut lane = Lane::default();
        lane.push_typing(room(1), owned_user_id!("@a:a.test"), true, Position(8));
        lane
    };
    let mut lanes = [lane(), lane()];
    let mut next =
        |index: usize| match lanes[index].next(server_name!("a.test"), &press, Together::Yes, Timestamp(1)) {
            Work::Send(transaction) => transaction,
            _ => panic!("nothing to send"),
        };
    assert!(Arc::ptr_eq(&next(0), &next(1)));
}

#[test]
fn a_lane_is_over_when_all_is_done_and_would_not_be_read_again() {
    let mut lane = lane(&[(1, 50)]);
    assert!(!lane.is_over(Position(200)), "something is owed");
    lane.caught_up(&room(1), Position(100));
    assert!(matches!(next(&mut lane), Work::Rest));
    assert!(!lane.is_over(Position(200)), "the store says that something is owed");
    lane.changes();
    assert!(lane.is_over(Position(200)));
    lane.resume(Position(201), None);
    lane.ended(Position(201));
    assert!(!lane.is_over(Position(200)), "what it was given may be read again");
    assert!(lane.is_over(Position(201)));
}

#[test]
fn what_is_forgotten_is_taken_from_the_store_too() {
    let mut lane = lane(&[(1, 50), (2, 7)]);
    lane.forget();
    assert!(lane.is_idle());
    assert_eq!(lane.changes(), Changes { put: vec![], delete: vec![room(1), room(2)] });
}

#[test]
fn ephemeral_things_wait_until_they_are_sent_and_hold_the_cursor_back() {
    let mut lane = Lane::default();
    assert_eq!(lane.low_water(), None);
    let receipt = |position| OutgoingReceipt {
        event_id: ruma::owned_event_id!("$e"),
        ts: 1,
        position: Position(position),
    };
    let key: ReceiptKey = (owned_room_id!("!r:a.test"), owned_user_id!("@a:a.test"), None);
    lane.push_receipt(key.clone(), receipt(9));
    lane.push_typing(key.0.clone(), key.1.clone(), true, Position(8));
    assert_eq!(lane.low_water(), Some(Position(8)));
    let Work::Send(first) = next(&mut lane) else { panic!("nothing to send") };
    assert_eq!((first.pdus, first.edus), (0, 2));
    lane.push_receipt(key, receipt(12));
    let Work::Send(again) = next(&mut lane) else { panic!("nothing to send") };
    assert_eq!((&again.id, &again.body), (&first.id, &first.body), "tried again as it is");
    assert_eq!(lane.low_water(), Some(Position(7)));
    lane.delivered(&first.id);
    assert_eq!(lane.low_water(), Some(Position(11)));
    let Work::Send(second) = next(&mut lane) else { panic!("nothing to send") };
    assert!(lane.refused(&second.id).is_none());
    assert!(matches!(next(&mut lane), Work::Rest), "refused ephemeral units are dropped");
}

#[test]
fn however_many_read_and_type_at_once_the_peer_hears_of_each() {
    let mut lane = Lane::default();
    let user = |n: usize| OwnedUserId::try_from(format!("@u{n}:a.test")).unwrap();
    (0..120).for_each(|n| lane.push_typing(room(1), user(n), n % 2 == 0, Position(5)));
    let read = |thread: Option<String>, of: usize| {
        let receipt = OutgoingReceipt { event_id: ruma::owned_event_id!("$e"), ts: 1, position: Position(9) };
        ((room(1), user(of), thread), receipt)
    };
    let threads = (0..130).map(|n| read(Some(format!("${n}")), 0));
    let others = (1..50).map(|n| read(Some("main".to_owned()), n));
    threads.chain(others).for_each(|(key, receipt)| lane.push_receipt(key, receipt));
    let mut said = String::new();
    while let Work::Send(transaction) = next(&mut lane) {
        assert!(transaction.edus <= MOST_EDUS, "{} units", transaction.edus);
        assert!(lane.low_water().is_some_and(|at| at < Position(9)), "what waits holds the cursor back");
        said.push_str(std::str::from_utf8(&transaction.body).unwrap());
        lane.delivered(&transaction.id);
    }
    assert_eq!(said.matches("m.typing").count(), 120);
    assert_eq!(said.matches("event_ids").count(), 130 + 49);
    assert!(lane.is_idle());
}

#[test]
fn how_far_users_have_read_is_owed_to_a_peer_that_falls_behind() {
    let mut lane = Lane::default();
    let mut read = |number: u64, user: &str, position: u64| {
        let receipt =
            OutgoingReceipt { event_id: ruma::owned_event_id!("$e"), ts: 1, position: Position(position) };
        lane.push_receipt((room(number), user.try_into().unwrap(), None), receipt);
        if position == 3 {
            assert!(matches!(next(&mut lane), Work::Send(_)), "on its way");
        }
        if position == 9 {
            lane.fall_behind();
        }
        (lane.changes().put, lane.low_water())
    };
    read(2, "@a:a.test", 3);
    read(1, "@b:a.test", 5);
    let owed = vec![(room(1), Position(4)), (room(2), Position(2))];
    assert_eq!(read(1, "@a:a.test", 9), (owed, None));
    assert_eq!(read(3, "@a:a.test", 12), (vec![(room(3), Position(11))], None));
    assert_eq!(read(1, "@a:a.test", 13), (vec![], None));
}

#[test]
fn a_peer_for_which_very_many_receipts_wait_is_behind_and_none_is_forgotten() {
    let mut lane = Lane::default();
    for number in 0..=600 {
        let receipt = OutgoingReceipt {
            event_id: ruma::owned_event_id!("$e"),
            ts: 1,
            position: Position(1_000 + number),
        };
        lane.push_receipt((room(number % 2), user_id(number), None), receipt);
    }
    assert!(lane.is_behind());
    assert_eq!(lane.changes().put, [(room(0), Position(999)), (room(1), Position(1_000))]);
    assert_eq!(lane.owed.as_ref().unwrap()[&room(0)].through, Position(1_600));
}

#[test]
fn who_was_told_how_far_users_have_read_still_lacks_what_they_said() {
    let mut lane = lane(&[(1, 50)]);
    let edus = [(Position(90), "{}".to_owned())];
    let content =
        Content { origin: server_name!("a.test"), room: Some(&room(1)), pdus: &[], edus: &edus, units: &[] };
    let receipts = Press::default().print(&content, Timestamp(1));
    lane.try_again(receipts.clone());
    assert!(matches!(next(&mut lane), Work::Send(_)));
    lane.delivered(&receipts.id);
    let Work::CatchUp(_, owed) = next(&mut lane) else { panic!("nothing to catch up") };
    assert_eq!(owed.after, Position(50));
}

#[test]
fn presence_goes_by_itself_and_is_dropped_when_it_is_not_taken() {
    let mut lane = Lane::default();
    let (user, unit) = (owned_user_id!("@a:a.test"), Arc::<str>::from("{}"));
    lane.push_typing(room(1), user.clone(), true, Position(8));
    lane.push_presence(user.clone(), unit.clone(), Position(9));
    let Work::Send(typing) = next(&mut lane) else { panic!("nothing to send") };
    assert!(!typing.is_presence());
    lane.failed();
    assert!(matches!(next(&mut lane), Work::Send(_)), "that is tried again");
    lane.delivered(&typing.id);
    assert!(matches!(next(&mut lane), Work::Rest), "and the other is forgotten");
    lane.push_presence(user, unit, Position(12));
    let Work::Send(presence) = next(&mut lane) else { panic!("nothing to send") };
    assert!(presence.is_presence() && presence.edus == 1);
    lane.failed();
    assert!(lane.is_idle());
}

/// A lane in whose outbox so many units wait.
fn with_units(mut lane: Lane, count: u64) -> Lane {
    let unit = |number| Unit { position: Position(number), json: bytes::Bytes::from_static(b"{}") };
    lane.outbox.put_in();
    assert!(lane.wants_to_read());
    lane.outbox.begin();
    lane.outbox.take(Position::START, (1..=count).map(unit).collect());
    lane
}

#[test]
fn messages_to_devices_go_beside_others_and_apart_once_that_was_refused() {
    let mut lane = with_units(Lane::default(), 99);
    for number in 0..120 {
        lane.push_typing(room(number), user_id(1), true, Position(1_000 + number));
    }
    let Work::Send(first) = next(&mut lane) else { panic!("nothing to send") };
    assert_eq!((first.edus, first.units), (50, 40), "some places are left to receipts");
    assert!(!first.is_presence());
    let low_water = lane.low_water();
    assert!(
        low_water >= Some(Position(999)),
        "where units are in the log is nothing to the cursor: {low_water:?}"
    );
    assert!(lane.refused(&first.id).is_none());

    let Work::Send(second) = next(&mut lane) else { panic!("nothing to send") };
    assert_eq!((second.edus, second.units), (0, 99), "it is not known which of them it was");
    lane.delivered(&second.id);
    let Work::Send(third) = next(&mut lane) else { panic!("nothing to send") };
    assert_eq!((third.edus, third.units), (50, 0));
    assert_ne!(first.id, third.id);
    lane.delivered(&third.id);
    let Work::Send(last) = next(&mut lane) else { panic!("nothing to send") };
    lane.delivered(&last.id);
    assert!(lane.is_idle() && !lane.is_settled(), "the store does not know that they are gone");
}

#[test]
fn messages_to_devices_wait_for_nothing_that_is_owed_and_go_by_themselves_where_that_is_asked() {
    let mut behind = with_units(lane(&[(1, 50)]), 2);
    let Work::Send(units) = next(&mut behind) else { panic!("nothing to send") };
    assert_eq!((units.pdus, units.units), (0, 2));
    behind.delivered(&units.id);
    assert!(matches!(next(&mut behind), Work::CatchUp(..)));

    let mut lane = with_units(Lane::default(), 2);
    lane.push_typing(room(1), user_id(1), true, Position(8));
    let mut apart = || lane.next(server_name!("a.test"), &Press::default(), Together::No, Timestamp(1));
    let Work::Send(units) = apart() else { panic!("nothing to send") };
    assert_eq!((units.edus, units.units), (0, 2));

    // Who falls behind while they are under way is sent them again, as they are still there.
    lane.fall_behind();
    assert!(!lane.is_idle() && lane.wants_to_read());
    lane.forget();
    assert!(lane.is_idle() && !lane.is_settled());
}
