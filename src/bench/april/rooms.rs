//! [`Rooms`]: every room of the office, read by an administrator and compared.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;
use serde_json::Value;

use super::{
    office::{Day, Office, SHARED},
    prefecture::Prefecture,
};
use crate::{bulk::Bulk, client::escape, people::Person, report::Report};

/// Of so many rooms one is looked through for events that say twice what is so.
const SAMPLE: usize = 27;
/// Member events of a room that are looked through.
const HISTORY: usize = 500;

/// The rooms of each unit.
pub(super) struct Rooms {
    /// By unit, and number of the unit's room.
    ids: Vec<Vec<String>>,
}

/// What a room is.
#[derive(Debug, Clone)]
pub(super) struct Read {
    unit: usize,
    room: usize,
    /// Who is in it.
    joined: BTreeSet<String>,
    /// Of who is in it with what, and all other state.
    print: u64,
}

impl Rooms {
    /// As the program tells them.
    pub(super) async fn of(prefecture: &Prefecture, office: &Office) -> Result<Self> {
        #[derive(Deserialize)]
        struct Shown {
            rooms: Vec<One>,
        }
        #[derive(Deserialize)]
        struct One {
            unit: Option<String>,
            key: String,
            room: String,
        }
        let shown = prefecture.site.command(&["org", "rules", "show", "--json"]).await?;
        let shown: Shown = serde_json::from_str(&shown)?;
        let mut found: HashMap<(String, String), String> = HashMap::new();
        for One { unit, key, room } in shown.rooms {
            let unit = unit.context("a room without a unit")?;
            ensure!(found.insert((unit.clone(), key.clone()), room).is_none(), "two rooms {key} of {unit}");
        }
        let mut of_unit = |unit: usize| -> Result<Vec<String>> {
            let of_key = |room: usize| {
                // It is told by its own name, without the department's.
                let name = Office::name(unit).rsplit(' ').next().unwrap_or_default().to_owned();
                let found = found.remove(&(name, Office::key(room)));
                found.with_context(|| format!("{} has no room {room}", Office::name(unit)))
            };
            (0..office.rooms()).map(of_key).collect()
        };
        let ids = (0..office.units()).map(&mut of_unit).collect::<Result<_>>()?;
        Ok(Self { ids })
    }

    pub(super) fn len(&self) -> usize {
        self.ids.iter().map(Vec::len).sum()
    }

    /// One of the rooms of a unit.
    pub(super) fn of_unit(&self, unit: usize, room: usize) -> Option<&str> {
        self.ids.get(unit)?.get(room).map(String::as_str)
    }

    fn all(&self) -> Vec<(usize, usize, &str)> {
        let mut all = Vec::with_capacity(self.len());
        for (unit, ids) in self.ids.iter().enumerate() {
            all.extend(ids.iter().enumerate().map(|(room, id)| (unit, room, id.as_str())));
        }
        all
    }

    /// Reads the state of every room.
    pub(super) async fn read(
        &self,
        prefecture: &Prefecture,
        chief: &Arc<Person>,
        limit: Duration,
    ) -> Result<Vec<Read>> {
        let all = self.all();
        let bulk = Bulk { what: "rooms_read", count: all.len(), limit };
        bulk.run(&prefecture.site, &mut Report::new("reading"), async |wire, n| {
            let (unit, room, id) = all[n];
            let path = format!("/_synapse/admin/v1/rooms/{}/state", escape(id));
            let answer: Value = serde_json::from_slice(&chief.get(wire, &path).await?)?;
            read(unit, room, &answer).with_context(|| format!("the state of {id}"))
        })
        .await
    }

    /// How many member events of a part of the rooms say what was so already.
    pub(super) async fn said_twice(
        &self,
        prefecture: &Prefecture,
        chief: &Arc<Person>,
        limit: Duration,
        report: &mut Report,
    ) -> Result<usize> {
        let some: Vec<_> = self.all().into_iter().step_by(SAMPLE).collect();
        let bulk = Bulk { what: "histories_read", count: some.len(), limit };
        let mut aside = Report::new("reading");
        let twice = bulk.run(&prefecture.site, &mut aside, async |wire, n| {
            let id = escape(some[n].2);
            let filter = escape(r#"{"types":["m.room.member"]}"#);
            let path =
                format!("/_synapse/admin/v1/rooms/{id}/messages?dir=f&limit={HISTORY}&filter={filter}");
            let answer: Value = serde_json::from_slice(&chief.get(wire, &path).await?)?;
            let events = answer["chunk"].as_array().context("no chunk")?;
            let mut now: HashMap<&str, &str> = HashMap::new();
            let mut twice = 0;
            for event in events {
                let who = event["state_key"].as_str().context("no state key")?;
                let what = event["content"]["membership"].as_str().context("no membership")?;
                twice += usize::from(now.insert(who, what) == Some(what));
            }
            Ok((events.len(), twice))
        });
        let twice = twice.await?;
        report
            .number("member_events_looked_at", twice.iter().map(|(events, _)| events).sum::<usize>() as f64);
        Ok(twice.iter().map(|(_, twice)| twice).sum())
    }
}

/// What the state of a room says.
fn read(unit: usize, room: usize, answer: &Value) -> Result<Read> {
    let mut joined = BTreeSet::new();
    let mut said = BTreeMap::new();
    for event in answer["state"].as_array().context("no state")? {
        let kind = event["type"].as_str().context("no type")?;
        let key = event["state_key"].as_str().context("no state key")?;
        let content = &event["content"];
        if kind == "m.room.member" {
            // Who has left was there, or not: that is no difference.
            if content["membership"] != "join" {
                continue;
            }
            joined.insert(key.to_owned());
        }
        said.insert((kind, key), content.to_string());
    }
    let mut print = DefaultHasher::new();
    said.hash(&mut print);
    Ok(Read { unit, room, joined, print: print.finish() })
}

/// The rooms in which others are than ought to be, with whom of them.
pub(super) fn wrong(
    read: &[Read],
    office: &Office,
    day: Day,
    (authority, guests): (&str, &[String]),
    shared: usize,
) -> Vec<String> {
    let mut wanted: Vec<BTreeSet<String>> = vec![BTreeSet::new(); office.units()];
    for person in 0..office.people() {
        wanted[office.unit_of(person, day)].insert(format!("@{}:{authority}", Office::account(person)));
    }
    let mut wrong = Vec::new();
    for Read { unit, room, joined, .. } in read {
        let mut wanted = wanted[*unit].clone();
        if *room == SHARED && *unit < shared {
            wanted.extend(guests.iter().cloned());
        }
        // Whoever makes the rooms is in them all.
        let are: BTreeSet<String> =
            joined.iter().filter(|user| !user.starts_with("@_rooms:")).cloned().collect();
        if are != wanted {
            let lacking: Vec<_> = wanted.difference(&are).take(3).collect();
            let more: Vec<_> = are.difference(&wanted).take(3).collect();
            wrong.push(format!("unit {unit} room {room} lacks {lacking:?} and has {more:?}"));
        }
    }
    wrong
}

/// The rooms that are not the same in both.
pub(super) fn different(before: &[Read], now: &[Read]) -> Vec<String> {
    let of = |read: &Read| format!("unit {} room {}", read.unit, read.room);
    let pairs = before.iter().zip(now);
    let mut different: Vec<String> =
        pairs.filter(|(before, now)| before.print != now.print).map(|(_, now)| of(now)).collect();
    if before.len() != now.len() {
        different.push(format!("{} rooms and not {}", now.len(), before.len()));
    }
    different
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn state(members: &[&str], name: &str) -> Value {
        let member = |who: &&str| json!({ "type": "m.room.member", "state_key": format!("@{who}:a"), "content": { "membership": "join" } });
        let mut state: Vec<Value> = members.iter().map(member).collect();
        let gone = json!({ "membership": "leave" });
        state.push(json!({ "type": "m.room.member", "state_key": "@gone:a", "content": gone }));
        state.push(json!({ "type": "m.room.name", "state_key": "", "content": { "name": name } }));
        json!({ "state": state })
    }

    #[test]
    fn whoever_lacks_or_is_too_much_is_told_and_so_is_another_name() {
        let office = Office::new(20, 20, 2).expect("within the bounds");
        let of = |members: &[&str], name| read(3, 1, &state(members, name)).expect("a state");
        let wrong =
            |room: Read, shared| wrong(&[room], &office, Day::Before, ("a", &["@x:b".to_owned()]), shared);
        assert!(wrong(of(&["s3", "_rooms"], "n"), 0).is_empty());
        assert_eq!(wrong(of(&["s3"], "n"), 4).len(), 1, "the other server's is lacking");
        assert_eq!(wrong(of(&["s3", "s4"], "n"), 0).len(), 1);
        assert_eq!(wrong(of(&[], "n"), 0).len(), 1);
        let before = [of(&["s3"], "n")];
        assert!(different(&before, &[of(&["s3"], "n")]).is_empty());
        assert_eq!(different(&before, &[of(&["s3"], "m")]).len(), 1);
        assert_eq!(different(&before, &[]).len(), 1);
    }
}
