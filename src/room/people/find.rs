//! Finding people: what a search reads is bounded, however many rooms and people there are.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use base::{Term, folded};
use ruma::{OwnedServerName, OwnedUserId, ServerName, UserId};
use store::{Order, Range};

use super::{
    rows::{DUE, PEOPLE, PersonRow, WALKS},
    words::{Begin, ELSEWHERE, NAME_LETTERS, OURS, WORDS, beginning_with, end_of, piece},
};
use crate::{
    Error, Rooms,
    ids::{EventSerial, RoomSerial},
    read::open::{Appearance, appearance},
    tables::{LOCAL_MEMBERS, MEMBERS, Membership},
};

/// People who are read of each scope, one page: who stands behind them is found by a longer term. Of who writes one
/// name again and again there are more rows; so many pages are read then.
const WORDS_READ: usize = 256;
const MOST_PAGES: usize = 8;

/// Most people that are looked at for one search, and so many of them in one round.
const PEOPLE_LOOKED_AT: usize = 256;
const AT_ONCE: usize = 64;

/// Users of other servers who bear one name alone may be as many as they like, and no longer term tells them apart. Of
/// those behind the first ones so many are passed, one page after the other, and so many looked for in the searcher's
/// rooms, few of one server: whoever has a server has any number of users there.
const NAMESAKES_PASSED: usize = 8_192;
const NAMESAKES_AT_ONCE: usize = 1_024;
const NAMESAKES_LOOKED_AT: usize = 1_024;
const NAMESAKES_OF_ONE: usize = 256;

/// Rooms that are looked at for somebody's sake: those by which the searcher may see him, as what he is sought by; and those
/// that he came into or left just now. Of rooms that are open more are asked whether one of ours is there.
const MOST_SIGHTS: usize = 4;
const MOST_DUE: usize = 16;
/// So many rooms, all members of which are due, are thought of.
const MOST_WALKS: usize = 32;
const MOST_OPEN: usize = 32;

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
    /// There may be more that he may see. Not said where reading ended at its bound: that would tell how many there are
    /// whom he may not.
    pub limited: bool,
}

/// Somebody who is called so, perhaps where the searcher cannot see it.
struct Candidate {
    user: OwnedUserId,
    begin: Begin,
}

/// Those who are called so, as far as they were read, and what is left of those of other servers who bear this very
/// name.
struct Candidates {
    best: Vec<Candidate>,
    namesakes: Option<Range<(String, String, String)>>,
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
    /// The rooms in which users may be, in the order of `users`: those that their rows have, which are a moment behind, and
    /// those for which they are due, or all members of which are. Of some they are no members.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn rooms_of_people(&self, users: &[&UserId]) -> Result<Vec<Vec<RoomSerial>>, Error> {
        self.rooms_with_due(users, MOST_DUE, MOST_WALKS).await
    }

    /// Rooms in which a user may be, ours or not: no room that he is in is missing, and some may be there that he is not in.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn possible_rooms_of(&self, user: &UserId) -> Result<Vec<RoomSerial>, Error> {
        let mut rooms = self.rooms_with_due(&[user], usize::MAX, usize::MAX).await?.pop().unwrap_or_default();
        rooms.sort_unstable();
        rooms.dedup();
        Ok(rooms)
    }

    /// The rooms of users' rows, with at most so many for which each is due and so many all members of which are.
    async fn rooms_with_due(
        &self,
        users: &[&UserId],
        most_due: usize,
        most_walks: usize,
    ) -> Result<Vec<Vec<RoomSerial>>, Error> {
        let users: Vec<&str> = users.iter().map(|user| user.as_str()).collect();
        // Before the rows: what is due, and rooms that are walked, go when the row has it.
        let ranges = users.iter().map(|user| Range::prefix(*user)).collect();
        let due = self.store().scan_many(&DUE, ranges, Order::Ascending, most_due).await?;
        let walks = self.store().scan(&WALKS, Range::all(), Order::Ascending, most_walks).await?;
        let walked: Vec<RoomSerial> = walks.into_iter().map(|(room, _)| room).collect();
        let people = self.store().get_many(&PEOPLE, &users).await?;
        let mut rooms = Vec::with_capacity(users.len());
        for (person, due) in people.into_iter().zip(due) {
            let names = person.into_iter().flat_map(|row| row.names);
            let mut of_one: Vec<RoomSerial> = names.flat_map(|name| name.rooms).collect();
            of_one.extend(due.into_iter().map(|((_, room), ())| room));
            of_one.extend(&walked);
            rooms.push(of_one);
        }
        Ok(rooms)
    }

    /// The people whom a user of ours may find by a term: it stands in their ids, or in what they are called, and they
    /// are in a room with him, or in one that is open to everybody. `wanted` is how many are enough; about as many are given,
    /// those of his own authority first.
    ///
    /// Of users of ours it is not known here how their profiles call them: they may be others than those whom the term
    /// is about, or have closed their accounts a moment ago, so the caller looks at that.
    ///
    /// Beside the list of his rooms that every sync uses, as many rows are read as there are people who are called so, and
    /// of a bounded number of these: mostly some dozens, and of names that are written again and again at most
    /// 2,048 in each of six scopes, whatever the number of rooms, of members, and of rooms that those are in. Who is hidden
    /// behind hundreds that are called the same is mostly found by a longer term, or by its end; where hundreds of other
    /// servers bear this very name, 8,192 more rows are read and a thousand of these people, unless enough were found.
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
        let Candidates { best, namesakes } = self.candidates(caller, term).await?;
        let mut limited = false;
        let mut people = Vec::new();
        for some in best.chunks(AT_ONCE).take(PEOPLE_LOOKED_AT / AT_ONCE) {
            if people.len() >= wanted {
                limited = true;
                break;
            }
            people.extend(self.seen_of(some, &searcher, term).await?);
            // Long names of many people are not to hold up others' requests.
            tokio::task::yield_now().await;
        }
        if let Some(namesakes) = namesakes.filter(|_| people.len() < wanted) {
            let there = self.namesakes(caller, namesakes, &searcher).await?;
            for some in there.chunks(AT_ONCE) {
                if people.len() >= wanted {
                    limited = true;
                    break;
                }
                people.extend(self.seen_of(some, &searcher, term).await?);
                tokio::task::yield_now().await;
            }
        }
        Ok(PeopleFound { people, limited })
    }

    /// Of those of other servers who bear a name, from a place on, those who are in a room that the searcher may look
    /// into, as their rows have it.
    async fn namesakes(
        &self,
        caller: &UserId,
        mut range: Range<(String, String, String)>,
        searcher: &Searcher,
    ) -> Result<Vec<Candidate>, Error> {
        let mut of_server: HashMap<OwnedServerName, usize> = HashMap::new();
        let (mut looked_at, mut there) = (0, Vec::new());
        for _ in 0..NAMESAKES_PASSED / NAMESAKES_AT_ONCE {
            let rows = self.store().scan(&WORDS, range.clone(), Order::Ascending, NAMESAKES_AT_ONCE).await?;
            let last = rows.last().filter(|_| rows.len() >= NAMESAKES_AT_ONCE).map(|(last, _)| last.clone());
            let mut some: Vec<Candidate> = Vec::new();
            for ((_, _, user), row) in rows {
                let Ok(user) = UserId::parse(user) else { continue };
                let count = of_server.entry(user.server_name().to_owned()).or_default();
                if *count < NAMESAKES_OF_ONE && self.policy().find(caller, &user) {
                    *count += 1;
                    some.push(Candidate { user, begin: row.begin });
                }
            }
            some.truncate(NAMESAKES_LOOKED_AT.saturating_sub(looked_at));
            looked_at += some.len();
            let users: Vec<&str> = some.iter().map(|candidate| candidate.user.as_str()).collect();
            let people = self.store().get_many(&PEOPLE, &users).await?;
            let is_there = |row: Option<PersonRow>| row.is_some_and(|row| searcher.may_see(&row));
            there.extend(some.into_iter().zip(people).filter_map(|(it, row)| is_there(row).then_some(it)));
            let Some(last) = last.filter(|_| looked_at < NAMESAKES_LOOKED_AT) else { break };
            range = range.after(&last);
            tokio::task::yield_now().await;
        }
        Ok(there)
    }

    /// Who is called so, whoever may know it: best first.
    async fn candidates(&self, caller: &UserId, term: &Term) -> Result<Candidates, Error> {
        // By where it begins, then those whom the caller's own authority knows, then by scope, then by id.
        let mut best: BTreeMap<OwnedUserId, (bool, usize, Begin)> = BTreeMap::new();
        let own = caller.server_name();
        let places = places(term, own);
        let mut ranges: Vec<_> = places
            .iter()
            .map(|sought| beginning_with(&sought.scope, &sought.piece))
            .enumerate()
            .map(|(place, range)| (place, range, HashSet::new()))
            .collect();
        let mut namesakes = None;
        for _ in 0..MOST_PAGES {
            let pages = ranges.iter().map(|(_, range, _)| range.clone()).collect();
            let found = self.store().scan_many(&WORDS, pages, Order::Ascending, WORDS_READ).await?;
            let mut next = Vec::new();
            for ((place, range, mut users), rows) in ranges.into_iter().zip(found) {
                let last = rows.last().filter(|_| rows.len() >= WORDS_READ).map(|(last, _)| last.clone());
                for ((_, _, user), row) in rows {
                    let Ok(user) = UserId::parse(user) else { continue };
                    let is_within = row.begin == Begin::Within && !places[place].is_end;
                    let rank = (is_within, place, row.begin);
                    users.insert(user.clone());
                    let known = best.entry(user).or_insert(rank);
                    *known = (*known).min(rank);
                }
                let Some(last) = last else { continue };
                let Sought { scope, piece, is_end } = &places[place];
                if users.len() < WORDS_READ {
                    next.push((place, range.after(&last), users));
                } else if scope == ELSEWHERE && !is_end && last.1 == *piece {
                    // Who bears the name alone comes before those who are called more than that.
                    namesakes = Some(Range::prefix(&(scope.as_str(), piece.as_str())).after(&last));
                }
            }
            ranges = next;
            if ranges.is_empty() {
                break;
            }
        }
        best.remove(caller);
        // Whom he must not find takes nobody's place.
        best.retain(|user, _| self.policy().find(caller, user));
        let mut ranked: Vec<_> = best.into_iter().map(|(user, rank)| (rank, user)).collect();
        ranked.sort_unstable();
        let best = ranked.into_iter().map(|((.., begin), user)| Candidate { user, begin }).collect();
        Ok(Candidates { best, namesakes })
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
        let mut own: Vec<BTreeSet<RoomSerial>> = Vec::with_capacity(candidates.len());
        let mut open: Vec<Vec<RoomSerial>> = Vec::with_capacity(candidates.len());
        for ((candidate, person), due) in candidates.iter().zip(people).zip(&due) {
            let due: BTreeSet<RoomSerial> = due.iter().map(|((_, room), ())| *room).collect();
            let is_ours = self.is_local(&candidate.user);
            let (mut known_own, mut known_open) =
                searcher.of(&person.unwrap_or_default(), &candidate.user, term, is_ours, &due);
            known_own.extend(due.iter().filter(|room| searcher.own.contains(room)));
            known_open.splice(
                0..0,
                due.into_iter().filter(|room| !searcher.own.contains(room) && searcher.open.contains(room)),
            );
            own.push(known_own.into_iter().collect());
            open.push(known_open);
        }
        // What an open room that nobody of ours is in says is of before.
        let asked: Vec<RoomSerial> =
            open.iter().flatten().copied().collect::<BTreeSet<_>>().into_iter().collect();
        let ranges = asked.iter().map(Range::prefix).collect();
        let ours = self.store().scan_many(&LOCAL_MEMBERS, ranges, Order::Ascending, 1).await?;
        let live: HashSet<RoomSerial> =
            asked.into_iter().zip(ours).filter(|(_, ours)| !ours.is_empty()).map(|(room, _)| room).collect();
        let mut rooms: Vec<(usize, RoomSerial)> = Vec::new();
        for (number, (own, open)) in own.into_iter().zip(open).enumerate() {
            let left = (MOST_SIGHTS + MOST_DUE).saturating_sub(own.len());
            let open = open.into_iter().filter(|room| live.contains(room)).take(left);
            rooms.extend(own.into_iter().chain(open).map(|room| (number, room)));
        }
        let seen = self.still_in(candidates, &rooms).await?;
        self.found_by(candidates, seen, term).await
    }

    /// Those of the rooms in which the candidates are, as the rooms say now.
    async fn still_in(
        &self,
        candidates: &[Candidate],
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
    /// Whether somebody is in a room into which the searcher may look.
    fn may_see(&self, person: &PersonRow) -> bool {
        let mut rooms = person.names.iter().flat_map(|name| &name.rooms);
        rooms.any(|room| self.own.contains(room) || self.open.contains(room))
    }

    /// Rooms by which somebody is seen as what he is sought by, few of them: those that the searcher is in, and those
    /// that are open, but for those for which he is due.
    fn of(
        &self,
        person: &PersonRow,
        user: &UserId,
        term: &Term,
        is_ours: bool,
        due: &BTreeSet<RoomSerial>,
    ) -> (Vec<RoomSerial>, Vec<RoomSerial>) {
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
            for room in known.rooms.iter().filter(|room| !due.contains(room)) {
                if found.len() >= MOST_SIGHTS {
                    return (found, open);
                }
                if self.own.contains(room) {
                    found.push(*room);
                    // One of each name will do, if he is in it still.
                    if found.len() % 2 == 0 {
                        break;
                    }
                } else if open.len() < MOST_OPEN && self.open.contains(room) {
                    open.push(*room);
                }
            }
        }
        (found, open)
    }
}

/// A piece that is looked up in a scope.
struct Sought {
    scope: String,
    piece: String,
    /// It is the end of a term that is longer than a piece. Who is called so is meant, wherever in his name it stands.
    is_end: bool,
}

/// Where a term is looked up, best first.
fn places(term: &Term, own: &ServerName) -> Vec<Sought> {
    let whole = term.folded();
    // Part of an id, over the border of its two parts.
    let (local, server) = whole.split_once(':').unwrap_or((whole, whole));
    let mut places: Vec<Sought> = Vec::new();
    let at = |scope: &str, sought: &str| Sought {
        scope: scope.to_owned(),
        piece: piece(sought).to_owned(),
        is_end: false,
    };
    if !local.is_empty() || whole.is_empty() {
        // All have an id.
        let sought = if local.is_empty() { "@" } else { local };
        let scopes = [own.as_str(), OURS, ELSEWHERE];
        // Hundreds may begin alike, so that a piece cannot tell them apart: the names of an office, ids with numbers.
        if let Some(end) = end_of(sought).filter(|end| *end != piece(sought)) {
            places.extend(scopes.map(|scope| Sought { is_end: true, ..at(scope, end) }));
        }
        places.extend(scopes.map(|scope| at(scope, sought)));
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
            places.iter().map(|Sought { scope, piece, .. }| format!("{scope} {piece}")).collect::<Vec<_>>()
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
