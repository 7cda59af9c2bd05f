//! Transfers: who moved is in the new room at once, and out of the old one when the hand-over is done.

use super::*;

/// 主査 三 goes to 人事課, and 課長 二 and 四 change places.
const MOVED: &str = "\
1,部長 一,総務部,部長,,2020-04-01,bucho\n\
2,課長 二,総務部　人事課,課長,,2026-04-01,bosai-cho\n\
3,主査 三,総務部　人事課,主査,,2026-04-01,bosai\n\
4,課長 四,総務部　防災課,課長,,2026-04-01,jinji-cho\n\
5,主査 五,総務部　人事課,主査,,2020-04-01,jinji\n";

async fn town() -> Town {
    let town = Town::with(FIVE).await;
    town.set(&departments()).await;
    town.set(&sections()).await;
    town
}

#[tokio::test]
async fn rooms_are_made_and_filled_once() {
    let town = town().await;
    let previewed = town.preview().await;
    assert_eq!((previewed.makes, previewed.joins, previewed.rooms), (3, 9, 3));
    assert!(town.rooms.names().is_empty(), "a look does nothing");

    let done = town.run().await;
    assert_eq!((done.makes, done.joins, done.leaves, done.refused), (3, 9, 0, 0));
    assert_eq!(town.rooms.names(), ["人事課 連絡", "総務部", "防災課 連絡"]);
    assert_eq!(town.members("防災課 連絡"), ["bosai", "bosai-cho!"]);
    assert_eq!(town.members("総務部").len(), 5);
    let (space, room) = (town.room("総務部"), town.room("防災課 連絡"));
    let child = town.rooms.content(&space, "m.space.child", room.as_str());
    assert_eq!(child, Some(json!({ "via": ["kanazawa.test"] })));
    let parent = town.rooms.content(&room, "m.space.parent", space.as_str()).unwrap();
    assert_eq!(parent["canonical"], true);
    let label = town.rooms.content(&room, crate::LABEL, "");
    assert_eq!(label, Some(json!({ "label": "2" })));
    assert_eq!(town.log("rules.make_room").await.len(), 3);
    assert_eq!(town.log("rules.join").await.len(), 9);

    assert!(town.run().await.is_nothing());
    assert_eq!(town.preview().await.told.len(), 0);
}

#[tokio::test]
async fn who_moved_comes_in_at_once_reads_on_for_the_hand_over_and_is_out_after_it() {
    let town = town().await;
    town.run().await;
    town.at("2026-04-01");
    town.take(MOVED, "2026-04-01").await;
    let done = town.run().await;
    assert_eq!((done.makes, done.joins, done.leaves), (0, 3, 0));
    // Predecessors read and say nothing.
    assert_eq!(town.members("防災課 連絡"), ["bosai-", "bosai-cho-", "jinji-cho!"]);
    assert_eq!(town.members("人事課 連絡"), ["bosai", "bosai-cho!", "jinji", "jinji-cho-"]);
    assert_eq!(town.members("総務部").len(), 5);
    // Successors see what was said before.
    let room = town.room("防災課 連絡");
    let history = town.rooms.content(&room, "m.room.history_visibility", "");
    assert_eq!(history, Some(json!({ "history_visibility": "shared" })));

    town.at("2026-04-30");
    assert!(town.run().await.is_nothing());
    town.at("2026-05-01");
    let done = town.run().await;
    assert_eq!((done.joins, done.leaves), (0, 3));
    assert_eq!(town.members("防災課 連絡"), ["jinji-cho!"]);
    assert_eq!(town.members("人事課 連絡"), ["bosai", "bosai-cho!", "jinji"]);
    assert_eq!(town.log("rules.leave").await.len(), 3);
}

#[tokio::test]
async fn the_new_moderator_has_the_level_before_the_old_one_loses_it_or_leaves() {
    // X6. The rooms that are made up look after each commit that somebody moderates.
    let town = Town::with(FIVE).await;
    let mut without_hand_over = sections();
    without_hand_over["hand_over_days"] = json!(0);
    town.set(&without_hand_over).await;
    town.run().await;
    town.at("2026-04-01");
    town.take(MOVED, "2026-04-01").await;
    town.rooms.said.lock().unwrap().clear();
    town.run().await;
    let said = town.rooms.said.lock().unwrap().clone();
    let at = |what: &str| said.iter().position(|one| one == what).unwrap_or_else(|| panic!("{said:?}"));
    assert!(at("+jinji-cho 防災課 連絡") < at("-bosai-cho 防災課 連絡"));
    assert_eq!(town.members("防災課 連絡"), ["jinji-cho!"]);
}

#[tokio::test]
async fn where_the_last_moderator_has_no_account_any_more_the_next_above_moderates() {
    let town = town().await;
    town.run().await;
    town.rooms.close_account("bosai-cho");
    let room = town.room("防災課 連絡");
    town.rooms.by_hand(&room, |actual| {
        actual.members.remove(&user("bosai-cho"));
    });
    town.run().await;
    assert_eq!(town.members("防災課 連絡"), ["bosai", "bucho!"]);
}

#[tokio::test]
async fn while_the_only_moderator_is_locked_out_the_next_above_moderates() {
    let town = town().await;
    town.run().await;
    town.rooms.lock_account("bosai-cho");
    town.run().await;
    // He stays, for he may come back, and so does the post.
    assert_eq!(town.members("防災課 連絡"), ["bosai", "bosai-cho", "bucho!"]);
}

#[tokio::test]
async fn whoever_lowers_himself_leaves_or_takes_more_is_put_right() {
    // X7, and the same of the room's name.
    let town = town().await;
    town.run().await;
    let room = town.room("防災課 連絡");
    town.rooms.by_hand(&room, |actual| {
        let levels = ("m.room.power_levels".to_owned(), String::new());
        let users = json!({ user("bosai-cho").as_str(): 0, user("bosai").as_str(): 99 });
        actual.state.get_mut(&levels).unwrap()["users"] = users;
        actual.members.remove(&user("bosai"));
        actual.state.insert(("m.room.name".to_owned(), String::new()), json!({ "name": "ひみつ" }));
    });
    town.run().await;
    assert_eq!(town.members("防災課 連絡"), ["bosai", "bosai-cho!"]);
}

#[tokio::test]
async fn rules_take_out_whom_they_brought_in_and_nobody_else_and_fetch_nobody_who_is_banned() {
    let town = town().await;
    town.run().await;
    let room = town.room("防災課 連絡");
    town.rooms.by_hand(&room, |actual| {
        // A guest whom somebody invited, and one who is put out for good.
        actual.members.insert(user("guest"), Presence::Joined);
        actual.members.insert(user("bosai"), Presence::Banned);
    });
    assert!(town.run().await.is_nothing());
    assert_eq!(town.members("防災課 連絡"), ["bosai-cho!", "guest"]);

    town.at("2026-04-01");
    town.take(MOVED, "2026-04-01").await;
    town.run().await;
    town.at("2026-06-01");
    town.run().await;
    assert_eq!(town.members("防災課 連絡"), ["guest", "jinji-cho!"]);
    let brought = town.rules.brought(kanazawa(), &room).await.unwrap();
    assert_eq!(brought, BTreeSet::from([user("jinji-cho")]));
}

#[tokio::test]
async fn undoing_a_change_set_is_the_way_back() {
    let town = town().await;
    town.run().await;
    let before: Vec<_> = ["総務部", "防災課 連絡", "人事課 連絡"].map(|name| town.members(name)).into();
    town.at("2026-04-01");
    let set = town.take(MOVED, "2026-04-01").await;
    town.run().await;
    assert_ne!(town.members("防災課 連絡"), before[1]);
    town.desk(DeskOrder::Undo { id: set, line: None }).await;
    town.run().await;
    let after: Vec<_> = ["総務部", "防災課 連絡", "人事課 連絡"].map(|name| town.members(name)).into();
    assert_eq!(after, before);
    assert!(town.run().await.is_nothing());
}

/// Everything that can be told apart afterwards.
async fn outcome(town: &Town) -> (Vec<Vec<String>>, Vec<String>, usize) {
    let members = town.rooms.names().iter().map(|name| town.members(name)).collect();
    let mut said = town.rooms.said.lock().unwrap().clone();
    said.sort();
    (members, said, town.log("rules.").await.len())
}

#[tokio::test]
async fn wherever_the_power_goes_the_rest_is_done_afterwards_and_nothing_twice() {
    let whole = town().await;
    whole.run().await;
    whole.at("2026-04-01");
    whole.take(MOVED, "2026-04-01").await;
    whole.run().await;
    let whole = outcome(&whole).await;

    for commits in 0..60 {
        let mut town = town().await;
        let mut cut = false;
        town.rooms.break_after(commits);
        for moves in [false, true] {
            if moves {
                town.at("2026-04-01");
                town.take(MOVED, "2026-04-01").await;
            }
            if town.ask(Order::Run).await.is_err() {
                cut = true;
                town.rooms.break_after(i64::MAX);
                town.again();
                town.run().await;
            }
        }
        assert!(town.run().await.is_nothing(), "after {commits} commits");
        let (members, said, rows) = outcome(&town).await;
        assert_eq!(members, whole.0, "after {commits} commits");
        if !cut {
            assert_eq!((said, rows), (whole.1, whole.2));
            return;
        }
        // Nobody came in twice who had not left.
        let unique: BTreeSet<_> = said.iter().collect();
        assert_eq!(unique.len(), said.len(), "after {commits} commits: {said:?}");
        let members_rows = said.len();
        let log = town.log("rules.join").await.len() + town.log("rules.leave").await.len();
        assert_eq!(log, members_rows, "after {commits} commits");
    }
    panic!("it never came through");
}

#[tokio::test]
async fn where_other_servers_take_part_member_events_go_at_a_pace_they_can_bear() {
    let mut rows = String::from(FIVE);
    for number in 10..260 {
        rows.push_str(&format!("{number},職員 {number},総務部　防災課,主事,,2020-04-01,s{number}\n"));
    }
    let town = Town::with(FIVE).await;
    town.set(&sections()).await;
    town.run().await;
    let room = town.room("防災課 連絡");
    town.rooms.by_hand(&room, |actual| actual.is_shared = true);
    town.take(&rows, "2026-03-01").await;
    let run = town.ask(Order::Run);
    let rest = async {
        let mut slices = 0;
        loop {
            while town.hand.sleepers() == 0 {
                tokio::task::yield_now().await;
            }
            slices += 1;
            let came = town.rooms.said.lock().unwrap().iter().filter(|one| one.starts_with("+s")).count();
            assert!(came <= slices * 100, "{came} in {slices} slices");
            // A third of a second for a hundred.
            town.hand.advance(Duration::from_millis(150));
            assert_eq!(town.hand.sleepers(), 1);
            town.hand.advance(Duration::from_millis(200));
            if came == 250 {
                return slices;
            }
        }
    };
    let (done, slices) = tokio::join!(run, rest);
    done.unwrap();
    assert_eq!(slices, 3);
}

#[tokio::test]
async fn a_running_server_follows_when_a_set_is_applied_and_looks_each_minute() {
    let town = town().await;
    town.rules.start(town.desk.applied());
    let is = async |name: &str, members: &[&str]| {
        let wait = async {
            while town.rooms.named(name).is_none() || town.members(name) != members {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(A_MINUTE, wait).await.unwrap_or_else(|_| panic!("{:?}", town.members(name)));
    };
    is("防災課 連絡", &["bosai", "bosai-cho!"]).await;
    town.at("2026-04-01");
    town.take(MOVED, "2026-04-01").await;
    is("防災課 連絡", &["bosai-", "bosai-cho-", "jinji-cho!"]).await;
    // The hand-over ends with a day, of which nobody tells.
    while town.hand.sleepers() == 0 {
        tokio::task::yield_now().await;
    }
    town.at("2026-05-01");
    town.hand.advance(A_MINUTE);
    is("防災課 連絡", &["jinji-cho!"]).await;
    town.tasks.stop(Duration::from_secs(5)).await;
}
