//! Which receipts a user is told of, from memory and from the store.

use std::{collections::HashSet, sync::Arc};

use proptest::prelude::*;
use room::read::{
    receipts::{NewReceipt, Receipt, ReceiptKind, ReceiptQuery},
    room::RoomInfo,
};
use ruma::{OwnedRoomId, RoomId, UserId};
use store::Position;

use super::net::{Net, Server, user};

/// The receipts in a room that came after a position, as a user is told of them.
pub(super) async fn receipts(
    server: &Server,
    who: &UserId,
    room_id: &RoomId,
    after: Position,
) -> Vec<Arc<Receipt>> {
    let room = server.rooms.room(room_id).await.unwrap().unwrap().serial;
    let through = server.store.head();
    let query = ReceiptQuery { room, room_id, after, through, own: true };
    server.rooms.receipts_since(who, &[query]).await.unwrap().remove(0)
}

/// One of a few users' receipts, by number.
#[derive(Clone, Debug)]
struct Step {
    user: usize,
    kind: ReceiptKind,
    thread: Option<&'static str>,
}

fn step() -> impl Strategy<Value = Step> {
    let kind = prop_oneof![3 => Just(ReceiptKind::Public), 1 => Just(ReceiptKind::Private)];
    let thread = prop::option::of(prop_oneof![Just("main"), Just("$a"), Just("$b")]);
    (0..4_usize, kind, thread).prop_map(|(user, kind, thread)| Step { user, kind, thread })
}

struct Place {
    server: Server,
    room_id: OwnedRoomId,
    room: Arc<RoomInfo>,
}

impl Place {
    async fn new() -> Self {
        let server = Net::default().server(&["a.test"]).await;
        let room_id = server.public_room(&user("@u0:a.test")).await;
        let room = server.rooms.room(&room_id).await.unwrap().unwrap();
        Self { server, room_id, room }
    }

    /// Notes receipts together, of each user, kind and thread one; the later, the further.
    async fn note(&self, at: u64, steps: &[Step]) {
        let mut seen = HashSet::new();
        let receipt = |step: &Step| NewReceipt {
            user_id: user(&format!("@u{}:a.test", step.user)),
            kind: step.kind,
            thread: step.thread.map(str::to_owned),
            event_id: format!("$event{at}").try_into().unwrap(),
            ts: at,
        };
        let is_first = |step: &&Step| seen.insert((step.user, step.kind, step.thread));
        let receipts: Vec<_> = steps.iter().filter(is_first).map(receipt).collect();
        self.server.rooms.note_receipts(&self.room, &receipts, false).await.unwrap();
    }

    async fn ask(&self, who: &UserId, after: Position, through: Position) -> Vec<Receipt> {
        let query =
            ReceiptQuery { room: self.room.serial, room_id: &self.room_id, after, through, own: true };
        let told = self.server.rooms.receipts_since(who, &[query]).await.unwrap().remove(0);
        let mut told: Vec<Receipt> = told.iter().map(|receipt| Receipt::clone(receipt)).collect();
        told.sort_unstable_by_key(|receipt| receipt.position);
        told
    }
}

/// What one reader after the other is told while receipts come.
async fn readers_are_told(steps: Vec<Step>, together: usize) {
    let place = Place::new().await;
    let mut heads = vec![place.server.store.head()];
    let users: Vec<_> = (0..4).map(|number| user(&format!("@u{number}:a.test"))).collect();
    // Each of them asks at his own pace, from where he was told up to.
    let mut asked: Vec<Position> = vec![heads[0]; 4];
    for (number, steps) in (1_usize..).zip(steps.chunks(together)) {
        place.note(number as u64, steps).await;
        heads.push(place.server.store.head());
        let reader = number % 4;
        let (who, after) = (&users[reader], asked[reader]);
        for through in [heads[number - 1].max(after), heads[number]] {
            let told = place.ask(who, after, through).await;
            // What has been there from the beginning comes from the store.
            let all = place.ask(who, Position::START, through).await;
            let truly: Vec<_> = all.into_iter().filter(|receipt| receipt.position > after).collect();
            let asked = format!("{who} after {after} through {through}");
            if through == heads[number] {
                assert_eq!(told, truly, "{asked}");
            } else {
                // One that has been moved on since may still be told.
                assert!(truly.iter().all(|receipt| told.contains(receipt)), "{asked}");
                let in_stretch = |receipt: &Receipt| receipt.position > after && receipt.position <= through;
                assert!(told.iter().all(in_stretch), "{asked}: {told:?}");
            }
        }
        asked[reader] = heads[number];
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn memory_tells_each_reader_what_the_store_does(steps in prop::collection::vec(step(), 1..60), together in 1..4_usize) {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(readers_are_told(steps, together));
    }
}

#[tokio::test]
async fn who_was_away_for_more_receipts_than_memory_holds_is_told_of_the_newest() {
    let place = Place::new().await;
    let start = place.server.store.head();
    let who = user("@u0:a.test");
    // From here on memory knows.
    place.note(1, &[Step { user: 1, kind: ReceiptKind::Public, thread: None }]).await;
    assert_eq!(place.ask(&who, start, place.server.store.head()).await.len(), 1);

    let steps: Vec<_> =
        (0..2_100).map(|user| Step { user, kind: ReceiptKind::Public, thread: None }).collect();
    for (at, some) in (2..).zip(steps.chunks(300)) {
        place.note(at, some).await;
    }
    let head = place.server.store.head();
    let told = place.ask(&who, start, head).await;
    let others = told.iter().filter(|receipt| receipt.user_id != who).count();
    assert_eq!((others, told.last().unwrap().user_id.as_str()), (2_000, "@u2099:a.test"));
    assert!(place.ask(&who, head, head).await.is_empty());

    // One at a time, they push the oldest out of memory; who has seen those misses nothing.
    let mut after = head;
    for (at, user) in (100..).zip(0..3) {
        place.note(at, &[Step { user, kind: ReceiptKind::Public, thread: None }]).await;
        let head = place.server.store.head();
        assert_eq!(place.ask(&who, after, head).await.len(), 1);
        after = head;
    }
}

#[tokio::test]
async fn what_has_been_pushed_out_of_memory_is_told_from_the_store() {
    let place = Place::new().await;
    let start = place.server.store.head();
    let (who, along) = (user("@u0:a.test"), user("@u1:a.test"));
    let steps: Vec<_> =
        (0..2_100).map(|user| Step { user, kind: ReceiptKind::Public, thread: None }).collect();
    let mut after = start;
    for (at, some) in (1..).zip(steps.chunks(300)) {
        place.note(at, some).await;
        let head = place.server.store.head();
        assert_eq!(place.ask(&along, after, head).await.len(), 300);
        after = head;
    }
    let told = place.ask(&who, start, after).await;
    assert!(told.iter().any(|receipt| receipt.user_id == who), "one's own are never left out");
}
