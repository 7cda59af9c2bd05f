//! The index as a whole: what is in it, what is found by it, and what is left of what goes.
#![expect(clippy::unwrap_used, reason = "tests")]

mod town;

use std::collections::HashSet;

use base::{Metrics, Random};
use ruma::OwnedEventId;
use store::{Batch, Order as Sorted, Range};

use self::town::Town;
use crate::{
    Order,
    grams::{Gram, Legible},
    page::decode,
    tables::{BUILD, BUILD_KEY, DOCUMENTS, EMPTIED_EVENTS, PAGES, ROOM_INDEX},
};

/// A sentence of a few kana: pairs of them are met often.
fn sentence(random: &Random) -> String {
    let letters: Vec<char> = "あいうえおかきくけこ防災訓練".chars().collect();
    let below = |most: u64| usize::try_from(random.u64() % most).unwrap();
    (0..5 + below(20)).map(|_| letters[below(letters.len() as u64)]).collect()
}

#[tokio::test]
async fn what_is_found_is_what_a_look_at_everything_finds_whatever_is_said_and_redacted() {
    let town = Town::new().await;
    let random = Random::seeded(3);
    let rooms = [town.room().await, town.room().await, town.room().await];
    town.search.start_indexing();
    let mut said: Vec<(OwnedEventId, String)> = Vec::new();
    for round in 0..6 {
        for number in 0..120 {
            let room = &rooms[number % if round % 2 == 0 { 3 } else { 1 }];
            let text = sentence(&random);
            said.push((town.say(room, &text).await, text));
            if number % 9 == 0 {
                let at = usize::try_from(random.u64() % said.len() as u64).unwrap();
                let (gone, _) = said.remove(at);
                for room in &rooms {
                    if town.engine.rooms().event(room, &gone).await.unwrap().is_some() {
                        town.redact(room, &gone).await;
                    }
                }
            }
        }
        if round % 2 == 1 {
            town.indexed().await;
        }
        for term in ["防災", "あい", "練", "うえ きく", "災訓練"] {
            let words: Vec<&str> = term.split(' ').collect();
            let fits = |text: &str| words.iter().all(|word| text.contains(word));
            let wanted: Vec<&OwnedEventId> =
                said.iter().rev().filter(|(_, text)| fits(text)).map(|(event, _)| event).collect();
            let found = town.find(term).await;
            assert_eq!(found.iter().collect::<Vec<_>>(), wanted, "{term} {round}");
            let page = town.page(term, Order::Rank, 100, None).await;
            assert_eq!(page.count, wanted.len() as u64);
            assert!(page.hits.is_sorted_by(|one, next| one.score >= next.score));
        }
    }
    town.indexed().await;
    let index = town.store.scan(&ROOM_INDEX, Range::all(), Sorted::Ascending, 10).await.unwrap();
    for ((room, ()), index) in &index {
        assert!(index.segments.len() < 12, "{room:?} {index:?}");
    }
    // Each once.
    let documents = town.documents().await;
    assert_eq!(documents.iter().collect::<HashSet<_>>().len(), documents.len());
    assert_eq!(documents.len(), said.len());
}

#[tokio::test]
async fn of_an_event_that_was_redacted_nothing_stays_in_the_index() {
    let town = Town::new().await;
    let room = town.room().await;
    for number in 0..200 {
        town.say(&room, &format!("会議の記録{number}")).await;
    }
    let secret = town.say(&room, "合言葉は鬼瓦").await;
    let serial = town.engine.rooms().event(&room, &secret).await.unwrap().unwrap().serial();
    town.search.start_indexing();
    town.indexed().await;
    assert!(town.documents().await.contains(&serial));
    assert!(grams(&town).await.contains(&Gram::pair('鬼', '瓦')));

    town.redact(&room, &secret).await;
    town.indexed().await;
    assert!(!town.documents().await.contains(&serial));
    let left = grams(&town).await;
    assert!(Legible::new("鬼瓦").grams().iter().all(|gram| !left.contains(gram)));
    assert_eq!(town.find("記録").await.len(), 200);
}

/// All grams of the index.
async fn grams(town: &Town) -> HashSet<Gram> {
    let pages = town.store.scan(&PAGES, Range::all(), Sorted::Ascending, usize::MAX).await.unwrap();
    let mut grams = HashSet::new();
    for (_, page) in &pages {
        decode(page, |gram, _| {
            grams.insert(gram);
        });
    }
    grams
}

#[tokio::test]
async fn a_room_that_is_purged_leaves_nothing_in_the_index() {
    let town = Town::new().await;
    let (gone, stays) = (town.room().await, town.room().await);
    for number in 0..50 {
        town.say(&gone, &format!("消える記録{number}")).await;
        town.say(&stays, &format!("残る記録{number}")).await;
    }
    let redacted = town.say(&gone, "消える前に消した").await;
    let serial = town.engine.rooms().room(&gone).await.unwrap().unwrap().serial;
    town.search.start_indexing();
    town.indexed().await;
    town.redact(&gone, &redacted).await;
    town.engine.start_purging(std::sync::Arc::new(engine::NoDebts), &Metrics::new());
    town.engine.purge(&gone, true, &audit::Actor::operator("uid 1000")).await.unwrap();
    while !town.engine.purges().await.unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    town.indexed().await;

    assert!(
        town.store.scan(&ROOM_INDEX, Range::prefix(&serial), Sorted::Ascending, 1).await.unwrap().is_empty()
    );
    assert!(
        town.store.scan(&DOCUMENTS, Range::prefix(&serial), Sorted::Ascending, 1).await.unwrap().is_empty()
    );
    assert!(town.store.scan(&PAGES, Range::prefix(&serial), Sorted::Ascending, 1).await.unwrap().is_empty());
    assert!(
        town.store
            .scan(&EMPTIED_EVENTS, Range::prefix(&serial), Sorted::Ascending, 1)
            .await
            .unwrap()
            .is_empty()
    );
    assert!(town.find("消える").await.is_empty());
    assert_eq!(town.find("残る").await.len(), 50);
}

#[tokio::test]
async fn data_without_an_index_get_one_and_one_that_is_built_anew_is_found_meanwhile() {
    let town = Town::new().await;
    let rooms = [town.room().await, town.room().await];
    for number in 0..700 {
        town.say(&rooms[number % 2], &format!("会議の記録{number}")).await;
    }
    town.search.start_indexing();
    town.indexed().await;
    let whole = town.documents().await;
    assert_eq!(whole.len(), 700);

    // As data of before there was an index, of which the log has gone.
    let town = town.restarted().await;
    let mut batch = Batch::new();
    batch.delete_all(&ROOM_INDEX);
    batch.delete_all(&DOCUMENTS);
    batch.delete_all(&PAGES);
    batch.delete(&BUILD, &BUILD_KEY);
    town.store.commit(batch).await.unwrap();
    assert!(town.find("記録").await.is_empty());
    town.search.start_indexing();
    town.indexed().await;
    assert_eq!(town.documents().await, whole);
    assert_eq!(town.find("記録").await.len(), 700);

    let before = town.search.progress().await.unwrap().build;
    town.search.rebuild().await.unwrap();
    let later = town.say(&rooms[0], "後の記録").await;
    loop {
        assert_eq!(town.find("記録").await.len(), 701);
        let progress = town.search.progress().await.unwrap();
        if progress.done && progress.build > before {
            break;
        }
        tokio::task::yield_now().await;
    }
    town.indexed().await;
    assert_eq!(town.documents().await.len(), 701);
    let index = town.store.scan(&ROOM_INDEX, Range::all(), Sorted::Ascending, 10).await.unwrap();
    assert!(
        index.iter().all(|(_, index)| index.segments.iter().all(|it| it.build == before + 1)),
        "{index:?}"
    );
    assert_eq!(town.find("後の記録").await, [later]);
}

#[tokio::test]
async fn who_searches_much_delays_others_by_no_more_than_one_turn() {
    let town = Town::new().await;
    let (hanako, jiro) = (town::hanako(), ruma::user_id!("@jiro:kanazawa.test"));
    let mut under_way = Vec::new();
    for _ in 0..4 {
        under_way.push(town.search.turn(hanako).await.unwrap());
    }
    let (done, mut order) = tokio::sync::mpsc::unbounded_channel();
    let wait = |user: &'static ruma::UserId| {
        let (search, done) = (town.search.clone(), done.clone());
        tokio::spawn(async move {
            let turn = search.turn(user).await;
            done.send((user, turn.is_ok())).unwrap();
        })
    };
    let until_waiting = async |count: usize| {
        while town.search.waiting() < count {
            tokio::task::yield_now().await;
        }
    };
    for count in 1..=256 {
        wait(hanako);
        until_waiting(count).await;
    }
    // The queue is full: his own next one has no place in it, and one of his goes for somebody else.
    assert!(matches!(town.search.turn(hanako).await, Err(crate::Error::Busy)));
    wait(jiro);
    assert_eq!(order.recv().await.unwrap(), (hanako, false));
    drop(under_way);
    let mut before = 0;
    while order.recv().await.unwrap().0 == hanako {
        before += 1;
    }
    assert!(before <= 4, "{before} of hers came before his");
}
