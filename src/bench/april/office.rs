//! [`Office`]: the people of a prefecture, where they sit before and after, and what follows of that.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

/// Units of a department.
const DEPARTMENT: usize = 30;
/// Which of the rooms of a unit the second server is in: the first is a space.
pub(super) const SHARED: usize = 1;

const FAMILIES: [(&str, &str); 20] = [
    ("山田", "ヤマダ"),
    ("佐藤", "サトウ"),
    ("鈴木", "スズキ"),
    ("髙橋", "タカハシ"),
    ("田中", "タナカ"),
    ("渡邊", "ワタナベ"),
    ("伊藤", "イトウ"),
    ("山本", "ヤマモト"),
    ("中村", "ナカムラ"),
    ("小林", "コバヤシ"),
    ("加藤", "カトウ"),
    ("吉田", "ヨシダ"),
    ("山﨑", "ヤマザキ"),
    ("森", "モリ"),
    ("池田", "イケダ"),
    ("橋本", "ハシモト"),
    ("石川", "イシカワ"),
    ("前田", "マエダ"),
    ("藤田", "フジタ"),
    ("齋藤", "サイトウ"),
];

const GIVEN: [(&str, &str); 20] = [
    ("花子", "ハナコ"),
    ("太郎", "タロウ"),
    ("一郎", "イチロウ"),
    ("陽子", "ヨウコ"),
    ("健", "ケン"),
    ("恵", "メグミ"),
    ("誠", "マコト"),
    ("直美", "ナオミ"),
    ("大輔", "ダイスケ"),
    ("愛", "アイ"),
    ("翔太", "ショウタ"),
    ("美咲", "ミサキ"),
    ("拓也", "タクヤ"),
    ("彩", "アヤ"),
    ("隆", "タカシ"),
    ("裕子", "ユウコ"),
    ("亮", "リョウ"),
    ("真由美", "マユミ"),
    ("浩", "ヒロシ"),
    ("千尋", "チヒロ"),
];

/// When somebody sits somewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Day {
    Before,
    After,
}

/// So many people, units, and rooms of each unit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Office {
    people: usize,
    units: usize,
    rooms: usize,
}

impl Office {
    pub(super) fn new(people: usize, units: usize, rooms: usize) -> Result<Self> {
        ensure!((20..=2_000).contains(&units), "20 to 2,000 units");
        ensure!((units..=20_000).contains(&people), "as many people as units at least, and 20,000 at most");
        ensure!((2..=30).contains(&rooms), "2 to 30 rooms of each unit");
        Ok(Self { people, units, rooms })
    }

    pub(super) fn people(&self) -> usize {
        self.people
    }

    pub(super) fn units(&self) -> usize {
        self.units
    }

    /// The localpart of a person.
    pub(super) fn account(person: usize) -> String {
        format!("s{person}")
    }

    /// The unit of a person. Of those who move heads follow one another, so that each unit has one on both days; others
    /// are seven units on.
    pub(super) fn unit_of(&self, person: usize, day: Day) -> usize {
        let unit = person % self.units;
        match day {
            Day::After if person < self.units && Self::moves(person) => {
                (1..).map(|step| (unit + step) % self.units).find(|unit| Self::moves(*unit)).unwrap_or(unit)
            }
            Day::After if Self::moves(person) => (unit + 7) % self.units,
            Day::Before | Day::After => unit,
        }
    }

    /// Three in ten.
    fn moves(person: usize) -> bool {
        person % 10 < 3
    }

    /// How many people move.
    pub(super) fn moving(&self) -> usize {
        (0..self.people).filter(|person| Self::moves(*person)).count()
    }

    /// Who heads a unit before.
    pub(super) fn head(unit: usize) -> usize {
        unit
    }

    /// How many times somebody is in a room.
    pub(super) fn seats(&self) -> usize {
        self.people * self.rooms
    }

    /// Member events of the move: each who moves leaves the rooms of one unit and comes into those of another one.
    pub(super) fn steps(&self) -> u64 {
        (self.moving() * self.rooms * 2) as u64
    }

    /// The name of a unit, as a file writes it.
    pub(super) fn name(unit: usize) -> String {
        format!("第{}部 第{unit}課", unit / DEPARTMENT)
    }

    /// The personnel file of a day.
    pub(super) fn file(&self, day: Day) -> String {
        let mut file = "職員番号,氏名,フリガナ,所属,職名,アカウント\n".to_owned();
        for person in 0..self.people {
            let (family, given) = (FAMILIES[person % 20], GIVEN[person / 20 % 20]);
            let title = match person / self.units {
                0 => "課長",
                1 => "係長",
                2..5 => "主査",
                _ => "主事",
            };
            file.push_str(&format!(
                "{:05},{}　{},{} {},{},{title},{}\n",
                person + 1,
                family.0,
                given.0,
                family.1,
                given.1,
                Self::name(self.unit_of(person, day)),
                Self::account(person),
            ));
        }
        file
    }

    /// The rule that gives each unit its rooms; departments, in which nobody sits, have none.
    pub(super) fn rule(&self) -> Value {
        let room = |key: usize| json!({ "key": Self::key(key), "name": format!("{{unit}} {key}"), "space": key == 0 });
        let rooms: Vec<Value> = (0..self.rooms).map(room).collect();
        json!({
            "title": "課の部屋", "units": { "named": ["*課"] }, "members": "unit", "moderators": { "heads": true },
            "hand_over_days": 0, "rooms": rooms,
        })
    }

    /// The key of one of a unit's rooms.
    pub(super) fn key(room: usize) -> String {
        format!("r{room}")
    }

    pub(super) fn rooms(&self) -> usize {
        self.rooms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_in_ten_people_move_and_each_unit_has_a_head_on_both_days() {
        let office = Office::new(12_000, 900, 30).expect("within the bounds");
        assert_eq!((office.moving(), office.steps()), (3_600, 216_000));
        let moved =
            |person: &usize| office.unit_of(*person, Day::Before) != office.unit_of(*person, Day::After);
        assert_eq!((0..12_000).filter(moved).count(), 3_600);
        let mut heads: Vec<usize> = (0..900).map(|head| office.unit_of(head, Day::After)).collect();
        heads.sort_unstable();
        assert_eq!(heads, (0..900).collect::<Vec<_>>());
    }
}
