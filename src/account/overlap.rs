//! [`Reach`]: whether two namespaces have an id in common, whatever their expressions look like.
//!
//! Two expressions that are written otherwise may cover the same ids, and what two services keep for themselves neither of
//! them could use. So both are walked side by side, byte by byte, over the ids that there can be at an authority.

use std::collections::{HashMap, VecDeque};

use regex_automata::{
    Input, MatchKind,
    dfa::{Automaton, StartKind, dense},
    util::{primitives::StateID, syntax},
};
use ruma::ServerName;

use crate::service::Namespace;

/// Memory of an expression's automaton, in bytes; one that would need more is not compared.
const LARGEST: usize = 4 << 20;

/// Places that are looked at side by side; beyond them nothing is said.
const MOST_PLACES: usize = 50_000;

/// The ids that a namespace covers, ready to be compared.
pub struct Reach(dense::DFA<Vec<u32>>);

/// How far an expression is: somewhere in it, or past what it has matched.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum At {
    Within(StateID),
    Matched,
}

/// How far an id is: in its localpart, or so many bytes into what follows it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Part {
    Local,
    End(usize),
}

impl Reach {
    /// None for an expression whose automaton would be too large.
    pub fn of(namespace: &Namespace) -> Option<Self> {
        let config = dense::Config::new()
            .start_kind(StartKind::Anchored)
            .match_kind(MatchKind::All)
            .unicode_word_boundary(true)
            .dfa_size_limit(Some(LARGEST))
            .determinize_size_limit(Some(LARGEST));
        let mut builder = dense::Builder::new();
        let built = builder.configure(config).syntax(syntax::Config::new()).build(namespace.expression());
        built.ok().map(Self)
    }

    /// An id of this authority that both cover, of printable ASCII; the shortest. None where there is none, and where too
    /// much would have to be looked at.
    ///
    /// `sigil` is what such ids begin with.
    pub fn meets(&self, other: &Self, sigil: char, authority: &ServerName) -> Option<String> {
        let end = format!(":{authority}");
        let begun = (self.begin()?, other.begin()?, Part::Local);
        let begun = self.step(other, begun, &end, u8::try_from(sigil).ok()?)?;
        // By what each place was reached, and from where.
        let mut seen = HashMap::from([(begun, None)]);
        let mut open = VecDeque::from([begun]);
        while let Some(place) = open.pop_front() {
            let (ours, theirs, part) = place;
            if part == Part::End(end.len()) {
                if self.ends(ours) && other.ends(theirs) {
                    return Some(example(sigil, &seen, place));
                }
                continue;
            }
            let bytes = match part {
                Part::Local => b'!'..=b'~',
                Part::End(_) => b'\0'..=b'\0',
            };
            for byte in bytes {
                let byte = match part {
                    Part::End(at) => *end.as_bytes().get(at)?,
                    Part::Local => byte,
                };
                if let Some(next) = self.step(other, place, &end, byte)
                    && !seen.contains_key(&next)
                {
                    if seen.len() >= MOST_PLACES {
                        return None;
                    }
                    seen.insert(next, Some((place, byte)));
                    open.push_back(next);
                }
            }
        }
        None
    }

    fn begin(&self) -> Option<At> {
        let input = Input::new("").anchored(regex_automata::Anchored::Yes);
        self.0.start_state_forward(&input).ok().map(At::Within)
    }

    /// Where a byte leads; none where nothing can be covered any more.
    fn step(
        &self,
        other: &Self,
        (ours, theirs, part): (At, At, Part),
        end: &str,
        byte: u8,
    ) -> Option<(At, At, Part)> {
        let part = match part {
            Part::Local if byte == b':' => Part::End(1),
            Part::Local => Part::Local,
            Part::End(at) => Part::End((at + 1).min(end.len())),
        };
        Some((self.next(ours, byte)?, other.next(theirs, byte)?, part))
    }

    fn next(&self, at: At, byte: u8) -> Option<At> {
        let At::Within(state) = at else { return Some(At::Matched) };
        let next = self.0.next_state(state, byte);
        if self.0.is_match_state(next) {
            // An id is covered that begins with what was matched.
            return Some(At::Matched);
        }
        (!self.0.is_dead_state(next) && !self.0.is_quit_state(next)).then_some(At::Within(next))
    }

    fn ends(&self, at: At) -> bool {
        match at {
            At::Matched => true,
            At::Within(state) => self.0.is_match_state(self.0.next_eoi_state(state)),
        }
    }
}

type Place = (At, At, Part);

fn example(sigil: char, seen: &HashMap<Place, Option<(Place, u8)>>, mut place: Place) -> String {
    let mut bytes = Vec::new();
    while let Some(Some((before, byte))) = seen.get(&place) {
        bytes.push(char::from(*byte));
        place = *before;
    }
    std::iter::once(sigil).chain(bytes.into_iter().rev()).collect()
}

impl std::fmt::Debug for Reach {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reach").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use ruma::server_name;

    use super::*;

    fn meeting(ours: &str, theirs: &str) -> Option<String> {
        let [ours, theirs] = [ours, theirs].map(|it| Reach::of(&Namespace::new(it, true).unwrap()).unwrap());
        let found = ours.meets(&theirs, '@', server_name!("k.test"));
        assert_eq!(found, theirs.meets(&ours, '@', server_name!("k.test")));
        found
    }

    #[test]
    fn expressions_meet_where_an_id_is_covered_by_both() {
        for (ours, theirs, id) in [
            ("@irc_.*", "@irc_bot_.*", Some("@irc_bot_:k.test")),
            ("@irc_.*", "@irc_", Some("@irc_:k.test")),
            ("@irc_.*", "@sms_.*", None),
            ("@irc_.*", "@ircbot:", None),
            ("@.*_irc:k\\.test", "@sms_.*", Some("@sms_irc:k.test")),
            ("@[0-9]+:k\\.test$", "@1[^5]*x?:", Some("@1:k.test")),
            ("@a:k\\.test$", "@a:k\\.test\\.jp$", None),
            ("@a:other\\.test", "@a:.*", None),
            ("@(?i)IRC_.*", "@irc_x", Some("@irc_x:k.test")),
            ("@irc_[a-m]", "@irc_[n-z]", None),
            ("#irc_.*", "#irc_.*", None),
            ("", "@sms_.*", Some("@sms_:k.test")),
            ("@\\bx", "@x", Some("@x:k.test")),
        ] {
            assert_eq!(meeting(ours, theirs).as_deref(), id, "{ours} and {theirs}");
            if let Some(id) = id {
                assert!([ours, theirs].iter().all(|it| Namespace::new(it, true).unwrap().covers(id)), "{id}");
            }
        }
    }

    #[test]
    fn what_is_too_large_is_not_compared() {
        assert!(Reach::of(&Namespace::new("@(.*a.{14}|x){1,3}", true).unwrap()).is_none());
    }
}
