//! Random sends, lost answers, ends of devices and restarts, beside a model that is a queue for each device.

use std::collections::VecDeque;

use base::Random;
use store::{MemoryDisk, Position};

use super::{Town, to, town_on};

const DEVICES: [&str; 3] = ["A", "B", "C"];
const STEPS: usize = 120;

/// A place as a client has it, and how many messages its device had been told then.
#[derive(Clone, Copy, Default)]
struct Place {
    at: Position,
    told: usize,
}

/// A device as it must be.
#[derive(Default)]
struct Device {
    is_there: bool,
    /// How many were taken away.
    gone: usize,
    /// What waits.
    waiting: VecDeque<String>,
    place: Place,
}

impl Device {
    /// Syncs from its place; whether it goes on from the answer.
    async fn sync(&mut self, town: &Town, name: &str, answer_arrives: bool) {
        let (texts, at) = town.told("taro", name, self.place.at).await;
        while self.gone < self.place.told {
            self.waiting.pop_front().unwrap();
            self.gone += 1;
        }
        let wanted: Vec<String> = self.waiting.iter().take(crate::inbox::PAGE).cloned().collect();
        assert_eq!(texts, wanted, "{name}");
        if answer_arrives {
            self.place = Place { at, told: self.place.told.max(self.gone) + texts.len() };
        }
    }
}

async fn run(seed: u64) {
    let random = Random::seeded(seed);
    let disk = MemoryDisk::default();
    let mut town = town_on(&disk).await;
    town.sign_up("taro").await;
    let mut devices: [Device; 3] = Default::default();
    let mut sent = 0_u64;
    for _ in 0..STEPS {
        let which = usize::try_from(random.range(0..3)).unwrap();
        let (name, device) = (DEVICES[which], &mut devices[which]);
        match random.range(0..20) {
            0..2 if device.is_there => {
                town.log_out("taro", name).await;
                *device = Device::default();
            }
            0..4 if !device.is_there => {
                town.log_in("taro", name).await;
                device.is_there = true;
            }
            4 => {
                town.store.close().await.unwrap();
                town = town_on(&disk).await;
            }
            5..12 if device.is_there => device.sync(&town, name, random.range(0..3) > 0).await,
            _ => {
                let count = if random.range(0..8) == 0 { 130 } else { random.range(1..4) };
                for _ in 0..count {
                    sent += 1;
                    let to_all = random.range(0..2) == 0;
                    let target = if to_all { "taro/*".to_owned() } else { format!("taro/{name}") };
                    let messages = to(&[&target], &sent.to_string());
                    // Now and then the answer to the sender is lost as well.
                    for _ in 0..random.range(1..3) {
                        town.send(&sent.to_string(), &messages).await.unwrap();
                    }
                    for (index, device) in devices.iter_mut().enumerate() {
                        if device.is_there && (to_all || index == which) {
                            device.waiting.push_back(sent.to_string());
                        }
                    }
                }
            }
        }
    }
    for (name, device) in DEVICES.iter().zip(&mut devices).filter(|(_, device)| device.is_there) {
        while device.gone < device.place.told || !device.waiting.is_empty() {
            device.sync(&town, name, true).await;
        }
    }
}

#[tokio::test]
async fn each_device_is_told_all_in_order_until_it_has_it_and_nothing_after() {
    for seed in 0..8 {
        run(seed).await;
    }
}
