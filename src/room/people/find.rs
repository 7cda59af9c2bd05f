//! Finding people: what a search reads is bounded, however many rooms and people there are.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::Arc,
};

use base::{Term, folded};
use ruma::{OwnedUserId, ServerName, UserId};
use store::{Order, Range};

use super::{
    rows::{DUE, PEOPLE, PersonRow},
    words::{Begin, ELSEWHERE, NAME_LETTERS, OURS, WORDS, beginning_with, piece},
};
use crate::{
    Error, Rooms,
    ids::{EventSerial, RoomSerial},
    read::open::{Appearance, appearance},
    tables::{LOCAL_MEMBERS, MEMBERS, Membership},
};

/// Rows that are read of each scope: who stands behind them is found by a longer term.
const WORDS_READ: usize = 256;

/// Most people that are looked at for one search, and so many of them in one round.
const PEOPLE_LOOKED_AT: usize = 256;
const AT_ONCE: usize = 64;

/// Rooms that are looked at for somebody's sake: those by which the searcher may see him, as what he is sought by; and those
/// that he came into or left just now.
const MOST_SIGHTS: usize = 4;
const MOST_DUE: usize = 16;

/// Somebody who was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Who it is.
    pub user_id: OwnedUserId,
    /// Where in his name or id the term stands.
    pub begin: Begin,
    /// How a user of another server appears in a room that the searcher may look into; nothing of ours, who appear to
    /// everybody as their profiles say.
    pub appearance: Option<Appearance>,
}

/// Who was found, best first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeopleFound {
    /// The people.
    pub people: Vec<Found>,
    /// There may be more.
    pub limited: bool,
}

/// Somebody who is called so, perhaps where the searcher cannot see it.
struct Candidate {
    user: OwnedUserId,
    begin: Begin,
}

/// Where somebody who searches may look.
struct Searcher {
    own: HashSet<RoomSerial>,
    open: Arc<HashSet<RoomSerial>>,
}

/// A member event by which somebody may be found.
struct Seen {
    /// Of whom, in the list of candidates.
    candidate: usize,
    room: RoomSerial,
    event: EventSerial,
}

impl Rooms {
    /// The people whom a user of ours may find by a term: it stands in their ids, or in what they are called, and they
    /// are in a room with him, or in one that is open to everybody. `wanted` is how many are enough; about as many are given,
    /// those of his own authority first.
    ///
    /// Of users of ours it is not known here how their profiles call them: they may be others than those whom the term
    /// is about, or have closed their accounts a moment ago, so the caller looks at that.
    ///
    /// Beside the list of his rooms that every sync uses, as many rows are read as there are people who are called so, and
    /// of a bounded number of these: mostly some dozens, never more than some thousands, whatever the number of rooms, of
    /// members, and of rooms that those are in. Who is hidden behind hundreds that are called the same is found by a
    /// longer term.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn find_people(
        &self,
        caller: &UserId,
        term: &Term,
        wanted: usize,
    ) -> Result<PeopleFound, Error> {
        let memberships = self.memberships(caller).await?;
        let searcher = Searcher {
            own: memberships.with(Membership::Join).map(|room| room.room).collect(),
            open: self.open_to_all().await?,
        };
        let (candidates, mut limited) = self.candidates(caller, term).await?;
        limited |= candidates.len() > PEOPLE_LOOKED_AT;
        let mut people = Vec::new();
        for some in candidates.chunks(AT_ONCE).take(PEOPLE_LOOKED_AT / AT_ONCE) {
            if people.len() >= wanted {
                limited = true;
                break;
            }
            people.extend(self.seen_of(some, &searcher, term).await?);
            // Long names of many people are not to hold up others' requests.
            tokio::task::yield_now().await;
        }
        Ok(PeopleFound { people, limited })
    }

    /// Who is called so, whoever may know it: best first, and whether there may be more.
    async fn candidates(&self, caller: &UserId, term: &Term) -> Result<(Vec<Candidate>, bool), Error> {
        let own = caller.server_name();
        let ranges: Vec<_> =
            places(term, own).iter().map(|(scope, piece)| beginning_with(scope, piece)).collect();
        let found = self.store().scan_many(&WORDS, ranges, Order::Ascending, WORDS_READ).await?;
        let limited = found.iter().any(|rows| rows.len() >= WORDS_READ);
        // By where it begins, then those whom the caller's own authority knows, then by scope, then by id.
        let mut best: BTreeMap<OwnedUserId, (bool, usize, Begin)> = BTreeMap::new();
        for (scope, rows) in found.into_iter().enumerate() {
            for ((_, _, user), row) in rows {
                let Ok(user) = UserId::parse(user) else { continue };
                let rank = (row.begin == Begin::Within, scope, row.begin);
                let known = best.entry(user).or_insert(rank);
                *known = (*known).min(rank);
            }
        }
        best.remove(caller);
        let mut ranked: Vec<_> = best.into_iter().map(|(user, rank)| (rank, user)).collect();
        ranked.sort_unstable();
        Ok((ranked.into_iter().map(|((.., begin), user)| Candidate { user, begin }).collect(), limited))
    }

    /// Those whom the searcher may see, as he may see them.
    async fn seen_of(
        &self,
        candidates: &[Candidate],
        searcher: &Searcher,
        term: &Term,
    ) -> Result<Vec<Found>, Error> {
        let users: Vec<&str> = candidates.iter().map(|candidate| candidate.user.as_str()).collect();
        // Before the rows: who is not due any more has his row written.
        let ranges = users.iter().map(|user| Range::prefix(*user)).collect();
        let due = self.store().scan_many(&DUE, ranges, Order::Ascending, MOST_DUE).await?;
        let people = self.store().get_many(&PEOPLE, &users).await?;
        let mut rooms: Vec<(usize, RoomSerial)> = Vec::new();
        for (number, ((candidate, person), due)) in candidates.iter().zip(people).zip(&due).enumerate() {
            let due = due.iter().map(|((_, room), ())| *room).filter(|room| searcher.covers(*room));
            let known = searcher.of(
                &person.unwrap_or_default(),
                &candidate.user,
                term,
                self.is_local(&candidate.user),
            );
            let rooms_of = due.chain(known).collect::<BTreeSet<_>>();
            rooms.extend(rooms_of.into_iter().map(|room| (number, room)));
        }
        let seen = self.still_in(candidates, searcher, &rooms).await?;
        self.found_by(candidates, seen, term).await
    }

    /// Those of the rooms in which the candidates are, as the rooms say now.
    async fn still_in(
        &self,
        candidates: &[Candidate],
        searcher: &Searcher,
        rooms: &[(usize, RoomSerial)],
    ) -> Result<Vec<Seen>, Error> {
        let keys: Vec<(RoomSerial, &str)> =
            rooms.iter().map(|(number, room)| (*room, candidates[*number].user.as_str())).collect();
        let members = self.store().get_many(&MEMBERS, &keys).await?;
        let mut seen = Vec::new();
        for ((candidate, room), member) in rooms.iter().zip(members) {
            if let Some(member) = member.filter(|member| member.membership == Membership::Join) {
                seen.push(Seen { candidate: *candidate, room: *room, event: member.event });
            }
        }
        // What an open room that nobody of ours is in says is of before.
        let open: Vec<RoomSerial> = seen
            .iter()
            .map(|seen| seen.room)
            .filter(|room| !searcher.own.contains(room))
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect();
        let ranges = open.iter().map(Range::prefix).collect();
        let ours = self.store().scan_many(&LOCAL_MEMBERS, ranges, Order::Ascending, 1).await?;
        let left: HashSet<RoomSerial> =
            open.into_iter().zip(ours).filter(|(_, ours)| ours.is_empty()).map(|(room, _)| room).collect();
        seen.retain(|seen| !left.contains(&seen.room));
        Ok(seen)
    }

    /// The candidates as the member events show them by which they are seen, one of each. Of other servers' users those
    /// alone whom the term is about.
    async fn found_by(
        &self,
        candidates: &[Candidate],
        seen: Vec<Seen>,
        term: &Term,
    ) -> Result<Vec<Found>, Error> {
        let of_others = |seen: &&Seen| !self.is_local(&candidates[seen.candidate].user);
        let named: Vec<&Seen> = seen.iter().filter(of_others).collect();
        let keys: Vec<_> = named.iter().map(|seen| (seen.room, seen.event)).collect();
        let mut found: BTreeMap<usize, Option<Appearance>> = BTreeMap::new();
        for seen in seen.iter().filter(|seen| !of_others(seen)) {
            found.insert(seen.candidate, None);
        }
        for (seen, event) in named.into_iter().zip(self.load_events(&keys).await?) {
            let Some(event) = event else { continue };
            let appearance = appearance(event.pdu().content_str());
            let is_called_so = appearance.displayname.as_deref().is_some_and(|name| term.is_in(name));
            if is_called_so || term.is_in(candidates[seen.candidate].user.as_str()) {
                let known = found.entry(seen.candidate).or_insert(None);
                // What he is called where it is that what was looked for is shown before any other name.
                if known.is_none() || is_called_so {
                    *known = Some(appearance);
                }
            }
        }
        Ok(found
            .into_iter()
            .map(|(number, appearance)| {
                let Candidate { user, begin } = &candidates[number];
                Found { user_id: user.clone(), begin: *begin, appearance }
            })
            .collect())
    }
}

impl Searcher {
    fn covers(&self, room: RoomSerial) -> bool {
        self.own.contains(&room) || self.open.contains(&room)
    }

    /// Rooms by which somebody is seen as what he is sought by, few of them: those that the searcher is in before those
    /// that are open.
    fn of(&self, person: &PersonRow, user: &UserId, term: &Term, is_ours: bool) -> Vec<RoomSerial> {
        let sought = piece(term.folded());
        let by_id = is_ours || term.is_in(user.as_str());
        let mut found = Vec::new();
        let mut open = Vec::new();
        let is_called_so = |name: &str| !name.is_empty() && folded(name, NAME_LETTERS).contains(sought);
        // By the name first; any room does for who is found by his id.
        let (called, others): (Vec<_>, Vec<_>) =
            person.names.iter().partition(|known| is_called_so(&known.name));
        let others = others.into_iter().filter(|_| by_id);
        for known in called.into_iter().chain(others) {
            for room in &known.rooms {
                if found.len() >= MOST_SIGHTS {
                    return found;
                }
                if self.own.contains(room) {
                    found.push(*room);
                    // One of each name will do, if he is in it still.
                    if found.len() % 2 == 0 {
                        break;
                    }
                } else if open.len() < MOST_SIGHTS && self.open.contains(room) {
                    open.push(*room);
                }
            }
        }
        found.extend(open);
        found.truncate(MOST_SIGHTS);
        found
    }
}

/// Where a term is looked up, best first: scopes and pieces.
fn places(term: &Term, own: &ServerName) -> Vec<(String, String)> {
    let whole = term.folded();
    // Part of an id, over the border of its two parts.
    let (local, server) = whole.split_once(':').unwrap_or((whole, whole));
    let mut places: Vec<(String, String)> = Vec::new();
    let at = |scope: &str, sought: &str| (scope.to_owned(), piece(sought).to_owned());
    if !local.is_empty() || whole.is_empty() {
        // All have an id.
        let sought = if local.is_empty() { "@" } else { local };
        places.extend([own.as_str(), OURS, ELSEWHERE].map(|scope| at(scope, sought)));
    }
    if server.is_empty() {
        return places;
    }
    // Of a server's users the beginnings of their ids are in a scope of its own.
    let id = match (whole.contains(':'), local.strip_prefix('@').unwrap_or(local)) {
        (true, local) => format!("@{local}"),
        (false, _) => "@".to_owned(),
    };
    if folded(own.as_str(), NAME_LETTERS).contains(server) {
        places.push(at(own.as_str(), &id));
    }
    if server != own.as_str() && <&ServerName>::try_from(server).is_ok() {
        places.push(at(server, &id));
    }
    places
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn a_term_is_looked_up_in_few_places_whatever_it_is() {
        let own = <&ServerName>::try_from("kanazawa.test").unwrap();
        let of = |term: &str| {
            let places = places(&Term::new(term), own);
            places.iter().map(|(scope, piece)| format!("{scope} {piece}")).collect::<Vec<_>>()
        };
        assert_eq!(of("太郎"), ["kanazawa.test 太郎", "+ 太郎", "* 太郎"]);
        assert_eq!(of(""), ["kanazawa.test @", "+ @", "* @"]);
        assert_eq!(
            of("kanazawa"),
            ["kanazawa.test kanazawa", "+ kanazawa", "* kanazawa", "kanazawa.test @", "kanazawa @"]
        );
        assert_eq!(
            of("@taro:wajima.test"),
            ["kanazawa.test @taro", "+ @taro", "* @taro", "wajima.test @taro"]
        );
        assert_eq!(of(":wajima.test"), ["wajima.test @"]);
        assert_eq!(of(&"長".repeat(300)).len(), 3);
    }
}
