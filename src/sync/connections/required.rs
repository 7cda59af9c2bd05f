//! Which pieces of a room's state a client wants: `required_state`.

use std::collections::BTreeSet;

use ruma::UserId;

/// The type of member events.
const MEMBER: &str = "m.room.member";

/// Matches any type, or any state key.
const ANY: &str = "*";

/// In the place of a state key: the user himself.
const ME: &str = "$ME";

/// In the place of the state key of members: those who matter for the timeline.
const LAZY: &str = "$LAZY";

/// The state that is wanted of a room, by all that asks for it together.
///
/// Members who are wanted as they matter are matched only where they are named: neither by a pattern of any type, nor
/// else.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Required {
    /// Pairs of type and state key, each of which may be [`ANY`].
    patterns: BTreeSet<(String, String)>,
    /// Whether members are wanted as they matter for the timeline.
    lazy: bool,
}

impl Required {
    /// By the pairs that a client sends.
    pub(crate) fn new(pairs: &[(String, String)], user: &UserId) -> Self {
        let mut required = Self::default();
        for (kind, key) in pairs {
            if kind == MEMBER && key == LAZY {
                required.lazy = true;
                continue;
            }
            let key = if key == ME { user.as_str() } else { key };
            required.patterns.insert((kind.clone(), key.to_owned()));
        }
        // Who wants all of them has no use for those that matter.
        required.lazy &= !required.has(MEMBER, ANY);
        required
    }

    /// What both want together: all that one of them matches.
    pub(crate) fn union(mut self, other: &Self) -> Self {
        if self == *other {
            return self;
        }
        let all = self.wants_all_members() || other.wants_all_members();
        let is_lazy = self.lazy || other.lazy;
        self.patterns.extend(other.patterns.iter().cloned());
        if all && is_lazy {
            // A pattern of any type no longer says so once members are wanted as they matter.
            self.patterns.insert((MEMBER.to_owned(), ANY.to_owned()));
        }
        self.lazy = is_lazy && !all;
        self
    }

    fn has(&self, kind: &str, key: &str) -> bool {
        self.patterns.iter().any(|(of_kind, of_key)| of_kind == kind && of_key == key)
    }

    /// Whether a piece of state is wanted, whoever speaks in the timeline.
    pub(crate) fn matches(&self, kind: &str, key: &str) -> bool {
        let is_lazy_member = self.lazy && kind == MEMBER;
        self.patterns.iter().any(|(of_kind, of_key)| {
            let of_any_kind = of_kind == ANY && !(is_lazy_member && of_key == ANY);
            (of_any_kind || of_kind == kind) && (of_key == ANY || of_key == key)
        })
    }

    /// Whether members are wanted as they matter for the timeline.
    pub(crate) fn is_lazy(&self) -> bool {
        self.lazy
    }

    /// Whether every member is wanted.
    pub(crate) fn wants_all_members(&self) -> bool {
        !self.lazy && (self.has(ANY, ANY) || self.has(MEMBER, ANY))
    }

    /// Whether it says more than single pieces, so that the state has to be looked through.
    pub(crate) fn has_wildcards(&self) -> bool {
        self.patterns.iter().any(|(kind, key)| kind == ANY || key == ANY)
    }

    /// The single pieces that it names.
    pub(crate) fn names(&self) -> impl Iterator<Item = (&str, &str)> {
        self.patterns
            .iter()
            .filter(|(kind, key)| kind != ANY && key != ANY)
            .map(|(kind, key)| (kind.as_str(), key.as_str()))
    }

    /// Whether something is wanted that the other does not want; whether members are wanted as they matter is not asked.
    pub(crate) fn goes_beyond(&self, other: &Self) -> bool {
        let of_all = other.has(ANY, ANY);
        let is_within = |(kind, key): &(String, String)| match (kind == ANY, key == ANY) {
            (false, false) => other.matches(kind, key),
            (true, true) => of_all && (!other.lazy || self.lazy),
            (false, true) => other.has(kind, ANY) || (of_all && !(other.lazy && kind == MEMBER)),
            (true, false) => other.has(ANY, key) || (of_all && !other.lazy),
        };
        !self.patterns.iter().all(is_within)
    }

    /// What it takes in memory, in bytes.
    pub(crate) fn memory_bytes(&self) -> usize {
        let texts = self.patterns.iter().map(|(kind, key)| kind.len() + key.len());
        size_of::<Self>()
            + 16
            + texts.sum::<usize>()
            + self.patterns.len() * 2 * size_of::<(String, String)>()
    }
}

#[cfg(test)]
mod tests {
    use ruma::user_id;

    use super::*;

    fn required(pairs: &[(&str, &str)]) -> Required {
        let pairs: Vec<_> = pairs.iter().map(|(kind, key)| ((*kind).to_owned(), (*key).to_owned())).collect();
        Required::new(&pairs, user_id!("@hanako:kanazawa.test"))
    }

    #[test]
    fn a_wish_names_pieces_of_state_or_all_of_a_kind() {
        let some = required(&[("m.room.name", ""), (MEMBER, ME), ("m.space.child", ANY)]);
        assert!(some.matches("m.room.name", "") && !some.matches("m.room.name", "x"));
        assert!(
            some.matches(MEMBER, "@hanako:kanazawa.test") && !some.matches(MEMBER, "@taro:kanazawa.test")
        );
        assert!(some.matches("m.space.child", "!room"));
        let of_key = required(&[(ANY, "")]);
        assert!(of_key.matches("m.room.topic", "") && !of_key.matches(MEMBER, "@taro:kanazawa.test"));
        assert!(required(&[(ANY, ANY)]).matches(MEMBER, "@taro:kanazawa.test"));
    }

    #[test]
    fn members_who_matter_are_matched_where_they_are_named_only() {
        let lazy = required(&[(ANY, ANY), (MEMBER, LAZY), (MEMBER, ME)]);
        assert!(lazy.is_lazy() && !lazy.wants_all_members());
        assert!(lazy.matches("m.room.topic", "") && !lazy.matches(MEMBER, "@taro:kanazawa.test"));
        assert!(lazy.matches(MEMBER, "@hanako:kanazawa.test"));
        assert!(!required(&[(MEMBER, LAZY), (MEMBER, ANY)]).is_lazy(), "all of them are wanted");
    }

    #[test]
    fn together_two_match_what_one_of_them_does() {
        let lazy = required(&[(ANY, ANY), (MEMBER, LAZY)]);
        let all = required(&[(ANY, ANY)]);
        let both = lazy.clone().union(&all);
        assert!(!both.is_lazy() && both.matches(MEMBER, "@taro:kanazawa.test") && both.wants_all_members());
        let name = required(&[("m.room.name", "")]);
        let both = lazy.union(&name);
        assert!(both.is_lazy() && !both.matches(MEMBER, "@taro:kanazawa.test"));
    }

    #[test]
    fn a_wish_goes_beyond_another_if_it_may_match_more() {
        let name = required(&[("m.room.name", "")]);
        let both = required(&[("m.room.name", ""), ("m.room.topic", "")]);
        let all = required(&[(ANY, ANY)]);
        let lazy = required(&[(ANY, ANY), (MEMBER, LAZY)]);
        assert!(both.goes_beyond(&name) && !name.goes_beyond(&both));
        assert!(all.goes_beyond(&both) && !both.goes_beyond(&all));
        assert!(all.goes_beyond(&lazy) && !lazy.goes_beyond(&all));
        assert!(required(&[(MEMBER, ANY)]).goes_beyond(&lazy));
        assert!(!required(&[("m.room.topic", ANY)]).goes_beyond(&lazy));
        assert!(!name.goes_beyond(&name));
    }
}
