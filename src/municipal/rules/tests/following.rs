//! Reorganisations (機構改革), rules that change and end: what becomes of the rooms.

use organisation::{Draft, Item, NewUnit, Proposal, Reorganisation, calendar::begin_of};
use store::Batch;

use super::*;

impl Town {
    fn unit_of(organisation: &Organisation, name: &str, on: &str) -> UnitId {
        organisation::UnitNames::of(organisation, None, day(on)).find(name).unwrap().unit
    }

    /// Something that somebody does by hand, on a day that has begun.
    async fn by_hand(
        &self,
        on: &str,
        does: impl FnOnce(&Organisation, &mut Reorganisation<'_>) -> Item,
    ) -> SetId {
        let all = Organisations::new(&self.store);
        let known = all.load(kanazawa()).await.unwrap();
        let mut ids = known.ids();
        let mut by_hand = Reorganisation::of(&known.organisation, day(on), &mut ids);
        let item = does(&known.organisation, &mut by_hand);
        let now = self.clock.now();
        let at = begin_of(day(on)).unwrap();
        let proposal = Proposal { source: None, day: day(on), at, by: "a".to_owned(), now };
        let draft = Draft::of(vec![item]);
        let id = all.propose(kanazawa(), &known, ids, draft, proposal, Batch::new()).await.unwrap();
        self.decide(id).await;
        assert_eq!(all.apply_due(kanazawa(), now, &|_, _| Batch::new()).await.unwrap(), [id]);
        id
    }
}

fn new_unit(organisation: &Organisation, name: &str) -> NewUnit {
    let parent = Town::unit_of(organisation, "総務部", "2026-03-01");
    let body = organisation.unit(parent, day("2026-03-01")).unwrap().body;
    NewUnit { body, parent: Some(parent), code: None, name: name.to_owned(), order: 0 }
}

#[tokio::test]
async fn a_unit_that_is_renamed_keeps_its_room_under_its_new_name() {
    let town = Town::with(FIVE).await;
    town.set(&sections()).await;
    town.run().await;
    let room = town.room("防災課 連絡");
    town.at("2026-04-01");
    town.by_hand("2026-04-01", |known, by_hand| {
        by_hand.rename_unit(Town::unit_of(known, "防災課", "2026-03-01"), "危機管理課").unwrap()
    })
    .await;
    let done = town.run().await;
    assert_eq!((done.makes, done.joins, done.leaves), (0, 0, 0));
    assert_eq!(town.room("危機管理課 連絡"), room);
}

#[tokio::test]
async fn the_room_of_a_unit_that_became_one_other_follows_and_comes_back_when_that_is_undone() {
    let town = Town::with(FIVE).await;
    town.set(&sections()).await;
    town.run().await;
    let room = town.room("防災課 連絡");
    town.at("2026-04-01");
    let set = town
        .by_hand("2026-04-01", |known, by_hand| {
            let old = BTreeSet::from([Town::unit_of(known, "防災課", "2026-03-01")]);
            by_hand.merge_units(&old, new_unit(known, "危機管理課")).unwrap().1
        })
        .await;
    assert_eq!(town.preview().await.makes, 0);
    let done = town.run().await;
    assert_eq!((done.makes, done.joins, done.leaves, done.closes), (0, 0, 0, 0));
    assert_eq!(town.room("危機管理課 連絡"), room);
    assert_eq!(town.members("危機管理課 連絡"), ["bosai", "bosai-cho!"]);
    assert_eq!(town.log("rules.move_room").await.len(), 1);

    town.desk(DeskOrder::Undo { id: set, line: None }).await;
    town.run().await;
    assert_eq!(town.room("防災課 連絡"), room);
    assert!(town.run().await.is_nothing());
}

#[tokio::test]
async fn rooms_of_units_that_are_merged_are_closed_and_left_after_the_hand_over() {
    let town = Town::with(FIVE).await;
    town.set(&departments()).await;
    town.set(&sections()).await;
    town.run().await;
    let (old, space) = (town.room("防災課 連絡"), town.room("総務部"));
    town.at("2026-04-01");
    let set = town
        .by_hand("2026-04-01", |known, by_hand| {
            let both = ["防災課", "人事課"].map(|name| Town::unit_of(known, name, "2026-03-01"));
            by_hand.merge_units(&both.into(), new_unit(known, "総括課")).unwrap().1
        })
        .await;
    let done = town.run().await;
    assert_eq!((done.makes, done.closes, done.leaves), (1, 2, 0));
    assert_eq!(town.members("総括課 連絡"), ["bosai", "bosai-cho!", "jinji", "jinji-cho!"]);
    // Who was there reads on, and nobody says anything.
    assert_eq!(town.members("防災課 連絡"), ["bosai", "bosai-cho"]);
    let levels = town.rooms.content(&old, "m.room.power_levels", "").unwrap();
    assert_eq!(levels["events_default"], 100);
    let child = town.rooms.content(&space, "m.space.child", old.as_str());
    assert_eq!(child, Some(json!({})));
    assert!(town.run().await.is_nothing());

    town.at("2026-05-01");
    let done = town.run().await;
    assert_eq!(done.leaves, 4);
    assert_eq!(town.members("防災課 連絡"), Vec::<String>::new());
    assert!(town.run().await.is_nothing());

    // What is undone opens the old rooms again, and closes the new one.
    town.desk(DeskOrder::Undo { id: set, line: None }).await;
    let done = town.run().await;
    assert_eq!((done.makes, done.closes), (0, 1));
    assert_eq!(town.room("防災課 連絡"), old);
    assert_eq!(town.members("防災課 連絡"), ["bosai", "bosai-cho!"]);
    assert_eq!(town.log("rules.reopen_room").await.len(), 2);
    assert!(town.run().await.is_nothing());
}

#[tokio::test]
async fn a_rule_that_names_a_unit_speaks_of_what_that_became() {
    // T7.
    let town = Town::with(FIVE).await;
    let mut below = sections();
    below["units"] = json!({ "below": "防災課" });
    town.set(&below).await;
    town.at("2026-04-01");
    town.by_hand("2026-04-01", |known, by_hand| {
        let old = BTreeSet::from([Town::unit_of(known, "防災課", "2026-03-01")]);
        by_hand.merge_units(&old, new_unit(known, "危機管理課")).unwrap().1
    })
    .await;
    assert_eq!(names(&town.wanted("2026-03-31").await), ["防災課 連絡"]);
    assert_eq!(names(&town.wanted("2026-04-01").await), ["危機管理課 連絡"]);
}

#[tokio::test]
async fn a_rule_that_ends_closes_its_rooms_and_one_that_is_said_again_opens_them() {
    let town = Town::with(FIVE).await;
    let rule = town.set(&sections()).await;
    town.run().await;
    let room = town.room("防災課 連絡");
    town.ask(Order::End { rule, from: None }).await.unwrap();
    assert_eq!(town.run().await.closes, 2);
    assert!(town.run().await.is_nothing());
    town.set_from(&sections(), Some(rule), None).await;
    let done = town.run().await;
    assert_eq!((done.makes, done.closes), (0, 0));
    assert_eq!(town.room("防災課 連絡"), room);
    assert_eq!(town.members("防災課 連絡"), ["bosai", "bosai-cho!"]);
}

#[tokio::test]
async fn a_room_that_somebody_purged_is_made_anew_where_it_is_wanted_and_forgotten_where_not() {
    let town = Town::with(FIVE).await;
    let rule = town.set(&sections()).await;
    town.run().await;
    let old = town.room("防災課 連絡");
    town.rooms.purge(&old);
    town.run().await;
    town.run().await;
    assert_eq!(town.members("防災課 連絡"), ["bosai", "bosai-cho!"]);
    assert!(town.rules.brought(kanazawa(), &old).await.unwrap().is_empty());

    town.ask(Order::End { rule, from: None }).await.unwrap();
    town.rooms.purge(&town.room("防災課 連絡"));
    town.run().await;
    assert_eq!(town.rules.places(kanazawa()).await.unwrap().len(), 1);
}
