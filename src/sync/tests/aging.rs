//! What became of the log does not matter to clients.

use room::read::receipts::ReceiptKind;
use serde_json::{Value, json};
use store::MemoryDisk;

use super::town::{Client, Town, client, town_on, user};

/// Does many kinds of things, and has clients note their tokens in between.
async fn live(town: &Town) -> Vec<Client> {
    let mut tokens = Vec::new();
    let (mut hanako, mut taro) = (client("hanako"), client("taro"));
    let room = town.room("hanako").await;
    let other = town.room("taro").await;
    let id = user("taro");
    for step in 0..9 {
        for client in [&mut hanako, &mut taro] {
            client.sync(town).await;
            tokens.push(client.clone());
        }
        let said = town.say("hanako", &room, &format!("{step}")).await;
        match step {
            0 => town.join("taro", &room).await,
            1 => town.invite("taro", &other, "hanako").await,
            2 => town.rooms.set_receipt(&id, &room, ReceiptKind::Public, None, &said).await.unwrap(),
            3 => town.rooms.set_receipt(&id, &room, ReceiptKind::Private, None, &said).await.unwrap(),
            4 => {
                let content = json!({ "step": step }).to_string();
                town.accounts.set_account_data(&id, "org.example", content.clone().into()).await.unwrap();
                town.accounts.set_room_account_data(&id, &room, "org.room", content.into()).await.unwrap();
            }
            5 => drop(town.set("hanako", &room, "m.room.topic", json!({ "topic": "避難所" })).await),
            6 => town.join("hanako", &other).await,
            7 => town.leave("taro", &room).await,
            _ => town.leave("hanako", &other).await,
        }
    }
    tokens
}

/// What these clients are told, by a server that has just started.
async fn told(disk: &MemoryDisk, tokens: &[Client]) -> Vec<Value> {
    let town = town_on(disk).await;
    let mut answers = Vec::new();
    for mut client in tokens.iter().cloned() {
        let mut answer = client.sync(&town).await;
        answer.as_object_mut().unwrap().remove("next_batch");
        answers.push(answer);
    }
    answers
}

#[tokio::test]
async fn old_tokens_are_answered_the_same_when_the_log_is_gone() {
    let disk = MemoryDisk::default();
    let town = town_on(&disk).await;
    let tokens = live(&town).await;
    drop(town);
    let before = told(&disk, &tokens).await;
    assert!(before.iter().filter(|answer| answer.get("rooms").is_some()).count() > 10);

    let town = town_on(&disk).await;
    let entries = town.store.changes(store::Position::START, usize::MAX).await.unwrap().len();
    town.store.trim_log_now(town.store.head()).await.unwrap();
    let trimmed = town.store.log_status().await.unwrap().trimmed;
    let left = town.store.changes(trimmed, usize::MAX).await.unwrap().len();
    assert!(entries > 20 && left == 1, "{entries}, {left}");
    drop(town);
    for (client, (now, before)) in tokens.iter().zip(told(&disk, &tokens).await.into_iter().zip(before)) {
        assert_eq!(now, before, "{} since {:?}", client.user, client.since);
    }
}
