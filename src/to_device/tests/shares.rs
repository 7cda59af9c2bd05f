//! Whose messages an inbox is filled with.

use ruma::{ServerName, server_name};
use store::{Batch, Order, Position, Range};

use super::{Town, to, town, user};
use crate::{
    Error, Incoming, Outcome, count_shares,
    shares::{MOST_WAITING, MOST_WAITING_BYTES, OTHERS, PART_OF_ONE, PART_OF_OTHERS},
    tables::{BYTES, COUNT, INBOX_SHARES, INBOX_USE},
};

async fn with_taro() -> Town {
    let town = town().await;
    town.sign_up("taro").await;
    town.log_in("taro", "DESK").await;
    town.log_in("taro", "PHONE").await;
    town
}

impl Town {
    /// As if so much waited for taro's desk that came from these.
    async fn fill(&self, from: &[&str], what: u8, count: i64) {
        let taro = user("taro");
        let mut batch = Batch::new();
        batch.add(&INBOX_USE, &(taro.as_str(), "DESK", what), count);
        for origin in from {
            let key = (taro.to_string(), "DESK".to_owned(), (*origin).to_owned(), what);
            batch.add(&INBOX_SHARES, &key, count);
        }
        self.store.commit(batch).await.unwrap();
    }

    async fn receive(&self, server: &ServerName, name: &str, devices: &[&str]) -> Outcome {
        let unit = Incoming {
            sender: user(&format!("@x:{server}")),
            kind: "test".to_owned(),
            message_id: name.to_owned(),
            messages: to(devices, name),
        };
        let outcomes = self.to_device.receive(server, server_name!("kanazawa.test"), &[unit]).await;
        outcomes.unwrap()[0]
    }
}

#[tokio::test]
async fn a_user_whose_share_is_full_is_told_so_and_keeps_nobody_else_out() {
    for (what, most) in [(COUNT, MOST_WAITING), (BYTES, MOST_WAITING_BYTES)] {
        let town = with_taro().await;
        let hanako = user("hanako");
        town.fill(&[hanako.as_str()], what, most / PART_OF_ONE - 1).await;
        if what == COUNT {
            town.send("1", &to(&["taro/DESK"], "最後")).await.unwrap();
        }
        for _ in 0..2 {
            let sent = town.send("2", &to(&["taro/DESK", "taro/PHONE"], "多過ぎ")).await;
            assert!(matches!(sent, Err(Error::ShareFull)));
        }
        assert_eq!(
            town.told("taro", "PHONE", Position::START).await.0,
            Vec::<String>::new(),
            "nothing of it is kept"
        );
        town.send("3", &to(&["taro/PHONE"], "外")).await.unwrap();
        town.send_as("jiro", "1", &to(&["taro/DESK"], "次郎")).await.unwrap();
        town.receive(server_name!("wajima.test"), "輪島", &["taro/DESK"]).await;
        let texts = town.told("taro", "DESK", Position::START).await.0;
        assert_eq!(texts[texts.len() - 2..], ["次郎", "輪島"]);
        assert_eq!(town.counted("refused"), 2);
    }
}

#[tokio::test]
async fn who_has_read_is_sent_to_again() {
    let town = with_taro().await;
    let hanako = user("hanako");
    town.fill(&[hanako.as_str()], COUNT, MOST_WAITING / PART_OF_ONE - 1).await;
    town.send("1", &to(&["taro/DESK"], "一")).await.unwrap();
    assert!(town.send("2", &to(&["taro/DESK"], "二")).await.is_err());
    let (_, place) = town.told("taro", "DESK", Position::START).await;
    town.told("taro", "DESK", place).await;
    town.send("2", &to(&["taro/DESK"], "二")).await.unwrap();
    assert_eq!(town.told("taro", "DESK", place).await.0, ["二"]);
}

#[tokio::test]
async fn another_servers_overflow_is_its_own() {
    let town = with_taro().await;
    let (wajima, suzu) = (server_name!("wajima.test"), server_name!("suzu.test"));
    town.fill(&[wajima.as_str(), OTHERS], COUNT, MOST_WAITING / PART_OF_ONE).await;
    assert_eq!(town.receive(wajima, "輪島", &["taro/DESK", "taro/PHONE"]).await, Outcome::Taken);
    town.receive(suzu, "珠洲", &["taro/DESK"]).await;
    town.send("1", &to(&["taro/DESK"], "花子")).await.unwrap();
    assert_eq!(town.told("taro", "DESK", Position::START).await.0, ["珠洲", "花子"]);
    assert_eq!(town.told("taro", "PHONE", Position::START).await.0, ["輪島"]);
    assert_eq!((town.counted("share full"), town.counted("full")), (1, 0));
}

#[tokio::test]
async fn all_other_servers_together_leave_room_for_colleagues() {
    let town = with_taro().await;
    town.fill(&["a", OTHERS], COUNT, MOST_WAITING / PART_OF_OTHERS).await;
    town.receive(server_name!("suzu.test"), "珠洲", &["taro/DESK"]).await;
    town.send("1", &to(&["taro/DESK"], "花子")).await.unwrap();
    assert_eq!(town.told("taro", "DESK", Position::START).await.0, ["花子"]);
    assert_eq!((town.counted("share full"), town.counted("full")), (0, 1));
}

#[tokio::test]
async fn shares_say_what_waits_and_go_with_it_and_with_the_device() {
    let town = with_taro().await;
    let shares = async || {
        let rows = town.store.scan(&INBOX_SHARES, Range::all(), Order::Ascending, 99).await.unwrap();
        let rows = rows.into_iter().map(|((_, device, origin, what), count)| (device, origin, what, count.0));
        rows.collect::<Vec<_>>()
    };
    for number in 0..3 {
        town.send(&number.to_string(), &to(&["taro/*"], "一")).await.unwrap();
    }
    town.receive(server_name!("wajima.test"), "輪島", &["taro/DESK"]).await;
    let counted = shares().await;
    let of = |origin: &str| counted.iter().find(|row| row.0 == "DESK" && row.1 == origin && row.2 == COUNT);
    assert_eq!(of(user("hanako").as_str()).unwrap().3, 3);
    assert_eq!((of("wajima.test").unwrap().3, of(OTHERS).unwrap().3), (1, 1));
    // Counted anew it is the same, also after a crash in the middle.
    for _ in 0..2 {
        count_shares(&town.store).await.unwrap();
        assert_eq!(shares().await, counted);
    }
    let (_, place) = town.told("taro", "DESK", Position::START).await;
    town.told("taro", "DESK", place).await;
    assert!(shares().await.iter().all(|row| row.0 == "PHONE"));
    town.log_out("taro", "PHONE").await;
    assert_eq!(shares().await, []);
}
