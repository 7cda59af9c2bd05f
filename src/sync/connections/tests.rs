#![expect(clippy::unwrap_used, reason = "tests")]

use ruma::owned_user_id;

use super::*;

fn request(device: &str, name: &str, pos: Option<String>) -> SlidingRequest {
    let body = super::request::Body { conn_id: Some(name.to_owned()), ..Default::default() };
    SlidingRequest {
        user: owned_user_id!("@hanako:kanazawa.test"),
        device: device.into(),
        pos,
        timeout: std::time::Duration::ZERO,
        presence: None,
        body,
    }
}

fn told(room: u64) -> Told {
    Told {
        room: RoomSerial(room),
        until: Told::ALL,
        events: 1,
        wish: 0,
        user_is: As::Member,
        is_dm: false,
        heard: Heard::default(),
    }
}

fn ended(position: u64, rooms: impl IntoIterator<Item = u64>) -> Ended {
    let mut state = State::default();
    state.set(rooms.into_iter().map(told).collect());
    Ended { position: Position(position), state: Arc::new(state), recency: None }
}

fn connections(bytes: u64) -> Arc<Connections> {
    clocked(bytes).0
}

fn clocked(bytes: u64) -> (Arc<Connections>, base::ManualClock) {
    let (clock, manual) = Clock::manual(1_800_000_000_000);
    (Connections::new(&Metrics::new(), bytes, &clock), manual)
}

fn of(user: &str, device: &str, pos: Option<String>) -> SlidingRequest {
    SlidingRequest {
        user: UserId::parse(format!("@{user}:kanazawa.test")).unwrap(),
        ..request(device, "rooms", pos)
    }
}

fn rooms(begun: &Begun) -> Vec<u64> {
    begun.state.rooms().iter().map(|told| told.room.0).collect()
}

#[test]
fn an_answer_counts_once_the_client_comes_back_with_its_place() {
    let all = connections(1 << 20);
    let begun = all.begin(&request("PHONE", "rooms", None)).unwrap();
    let first = all.finish(&request("PHONE", "rooms", None), &begun, ended(10, [1]));
    let at = |pos: &str| request("PHONE", "rooms", Some(pos.to_owned()));
    let begun = all.begin(&at(&first)).unwrap();
    assert_eq!((begun.since, rooms(&begun)), (Some(Position(10)), vec![1]));
    let lost = all.finish(&at(&first), &begun, ended(11, [1, 2]));
    let again = all.begin(&at(&first)).unwrap();
    assert_eq!(rooms(&again), [1], "the answer may be lost");
    let second = all.finish(&at(&first), &again, ended(12, [1, 3]));
    assert_eq!(rooms(&all.begin(&at(&second)).unwrap()), [1, 3]);
    for older in [&first, &lost] {
        assert!(matches!(all.begin(&at(older)), Err(Error::UnknownPos)), "{older}");
    }
    // One that was made from the older place is no answer any more.
    let late = all.finish(&at(&first), &again, ended(13, [9]));
    assert!(matches!(all.begin(&at(&late)), Err(Error::UnknownPos)));
    assert_eq!(rooms(&all.begin(&at(&second)).unwrap()), [1, 3]);
}

#[test]
fn a_place_is_nobody_elses_and_none_that_is_made_up_is_known() {
    let all = connections(1 << 20);
    let of = request("PHONE", "rooms", None);
    let pos = all.finish(&of, &Begun::default(), ended(10, [1]));
    assert!(matches!(all.begin(&request("DESK", "rooms", Some(pos.clone()))), Err(Error::UnknownPos)));
    assert!(matches!(all.begin(&request("PHONE", "keys", Some(pos.clone()))), Err(Error::UnknownPos)));
    let other = SlidingRequest { user: owned_user_id!("@taro:kanazawa.test"), ..of };
    assert!(matches!(all.begin(&SlidingRequest { pos: Some(pos), ..other }), Err(Error::UnknownPos)));
    for text in
        ["", "p1_", "s1_5", "p1_1_2_3", "p1_1_2_3_4_5", "p1_+1_2_3_4", "p1_99999999999999999999_0_0_0"]
    {
        assert!(text.parse::<Place>().is_err(), "{text}");
    }
}

#[test]
fn a_connection_without_rooms_needs_no_memory() {
    let all = connections(1 << 20);
    let pos = all.finish(&request("PHONE", "keys", None), &Begun::default(), ended(10, []));
    assert_eq!(all.held().bytes, 0);
    let begun = connections(1 << 20).begin(&request("PHONE", "keys", Some(pos))).unwrap();
    assert_eq!(begun.since, Some(Position(10)), "at another process, or after a new start");
}

#[test]
fn a_device_has_few_connections_and_all_together_few_bytes() {
    let all = connections(1 << 20);
    let place = |device: &str, name: &str| {
        let of = request(device, name, None);
        all.finish(&of, &Begun::default(), ended(10, 0..100))
    };
    let first = place("PHONE", "0");
    let last: Vec<String> = (1..=MOST_CONNECTIONS).map(|name| place("PHONE", &name.to_string())).collect();
    assert!(all.begin(&request("PHONE", "0", Some(first))).is_err());
    assert!(all.begin(&request("PHONE", "8", Some(last[MOST_CONNECTIONS - 1].clone()))).is_ok());

    let kept = place("DESK", "a");
    for device in 0..500 {
        let _pos = place(&format!("D{device}"), "a");
        all.begin(&request("DESK", "a", Some(kept.clone()))).unwrap();
    }
    assert!(all.held().bytes <= (1 << 20) / PART_OF_ONE as u64, "{:?}", all.held());
    assert!(all.held().entries > 10, "{:?}", all.held());
    assert!(all.begin(&request("PHONE", "8", Some(last[MOST_CONNECTIONS - 1].clone()))).is_err());
    assert!(all.put_out.get() > 200);
}

#[test]
fn whoever_has_much_puts_nobody_out_who_has_less() {
    let (all, clock) = clocked(1 << 20);
    let finish = |user: &str, device: &str, rooms: u64| {
        all.finish(&of(user, device, None), &Begun::default(), ended(10, 0..rooms))
    };
    let small: Vec<String> = (0..20).map(|n| finish(&format!("taro{n}"), "PHONE", 20)).collect();
    for round in 0..5 {
        for n in 0..30 {
            finish(&format!("hanako{n}"), &format!("D{round}"), 1_000);
        }
    }
    assert!(all.held().bytes <= 1 << 20, "{:?}", all.held());
    for (n, pos) in small.iter().enumerate() {
        assert!(all.begin(&of(&format!("taro{n}"), "PHONE", Some(pos.clone()))).is_ok(), "{n}");
    }
    // Who has little puts those out who were there first.
    let before = all.held().entries;
    for n in 0..400 {
        finish(&format!("jiro{n}"), "PHONE", 20);
    }
    assert!(all.held().entries > before + 300, "{:?}", all.held());
    // But whoever has not asked for a day goes before all others.
    clock.advance(std::time::Duration::from_secs(24 * 60 * 60));
    let kept = finish("hanako0", "PHONE", 1_000);
    for n in 0..400 {
        finish(&format!("saburo{n}"), "PHONE", 1);
    }
    assert!(all.begin(&of("hanako0", "PHONE", Some(kept))).is_ok());
}

#[test]
fn somebody_in_thousands_of_rooms_goes_on_with_three_devices_in_the_smallest_memory() {
    // What a server with 80 MiB for all caches has for this.
    let all = connections(1_885_000);
    let devices = ["PHONE", "DESK", "TABLET"];
    let rooms: Vec<RoomSerial> = (0..3_000).map(RoomSerial).collect();
    let recency = || {
        let places = rooms.iter().map(|room| (*room, Position(room.0)));
        Some(Arc::new(Recency::new(places.collect())))
    };
    let answer = |position: u64| Ended { recency: recency(), ..ended(position, 0..3_000) };
    let mut places =
        devices.map(|device| Some(all.finish(&of("hanako", device, None), &Begun::default(), answer(10))));
    for round in 11..20 {
        for (device, place) in devices.iter().zip(&mut places) {
            let begun = all.begin(&of("hanako", device, place.clone())).expect("it is remembered");
            *place = Some(all.finish(&of("hanako", device, place.clone()), &begun, answer(round)));
        }
    }
    assert_eq!(all.put_out.get(), 0);
}

#[test]
fn the_sum_of_all_is_what_there_is() {
    let all = connections(1 << 17);
    for n in 0_u64..2_000 {
        let (user, device) = (format!("u{}", n * 7 % 13), format!("D{}", n * 11 % 29));
        all.finish(&of(&user, &device, None), &Begun::default(), ended(10, 0..(n * 31 % 50)));
    }
    let mut memory = all.memory.lock();
    assert!(memory.bytes() <= 1 << 17);
    for n in 0..13 {
        memory.shrink_user(&UserId::parse(format!("@u{n}:kanazawa.test")).unwrap(), 0);
    }
    assert_eq!((memory.bytes(), memory.devices()), (0, 0));
}

#[test]
fn what_is_remembered_is_charged_what_it_takes() {
    let (all, in_use) = meter::kept(|| {
        let all = connections(1 << 26);
        for device in 0..500 {
            let of = request(&format!("D{device}"), "room-list", None);
            let mut state = State::default();
            state.set((0..40).map(told).collect());
            let state = Arc::new(state);
            let _pos =
                all.finish(&of, &Begun::default(), Ended { position: Position(1), state, recency: None });
        }
        all
    });
    meter::assert_charged("connections", all.held().bytes, in_use);
    assert_eq!(all.held().entries, 500);
}

#[test]
fn wishes_are_few_and_rooms_keep_theirs() {
    let mut state = State::default();
    let wish = |n: usize| {
        let pairs = [("m.room.name".to_owned(), n.to_string())];
        Arc::new(Required::new(&pairs, &owned_user_id!("@hanako:kanazawa.test")))
    };
    for n in 0..MOST_WISHES {
        let number = state.wish_for(&wish(n)).unwrap();
        state.set(vec![Told { wish: number, ..told(n as u64) }]);
    }
    assert_eq!(state.wish_for(&wish(MOST_WISHES)), None);
    assert_eq!(state.wish_for(&wish(7)), Some(7));
    for n in 0..MOST_WISHES {
        let told = *state.find(RoomSerial(n as u64)).unwrap();
        assert_eq!(state.wish(&told), Some(&wish(n)));
    }
}

#[test]
fn one_that_is_too_large_to_be_remembered_puts_nobody_elses_out() {
    let all = connections(64 << 10);
    let pos = all.finish(&of("taro", "PHONE", None), &Begun::default(), ended(10, [1]));
    let large: Vec<u64> = (0..5_000).collect();
    all.finish(&of("hanako", "PHONE", None), &Begun::default(), ended(10, large));
    assert!(all.begin(&of("taro", "PHONE", Some(pos))).is_ok());
}
