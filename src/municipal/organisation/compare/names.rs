//! Whether two names may be the same person's.

use base::folded;

use crate::limits::MAX_NAME;

/// What two names have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Likeness {
    /// They are one name, in whatever letters.
    Same,
    /// A part of both is the same, as after a marriage.
    Part,
    /// Nothing.
    None,
}

/// Compares names, and readings where both have one. `known` may be called by several names.
pub(super) fn likeness(known: &[&str], name: &str, readings: Option<(&str, &str)>) -> Likeness {
    let key = |name: &str| folded(name, MAX_NAME).replace(' ', "");
    if known.iter().any(|known| key(known) == key(name)) {
        return Likeness::Same;
    }
    let shares = |one: &str, other: &str| {
        let parts = |name: &str| name.split_whitespace().map(key).collect::<Vec<_>>();
        let (one_parts, other_parts) = (parts(one), parts(other));
        if one_parts.len() > 1 && other_parts.len() > 1 {
            return one_parts.iter().any(|part| other_parts.contains(part));
        }
        // Without a space nobody knows where the given name begins: two letters of it at least.
        let (one, other): (Vec<_>, Vec<_>) = (key(one).chars().collect(), key(other).chars().collect());
        let same = one.iter().rev().zip(other.iter().rev()).take_while(|(a, b)| a == b).count();
        let first = one.iter().zip(&other).take_while(|(a, b)| a == b).count();
        same.max(first) >= 2
    };
    let shares_reading = readings.is_some_and(|(one, other)| shares(one, other));
    if known.iter().any(|known| shares(known, name)) || shares_reading {
        Likeness::Part
    } else {
        Likeness::None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marriage_leaves_a_part_and_another_person_nothing() {
        let cases = [
            ("高橋 花子", "髙橋　花子", Likeness::Same),
            ("山田 花子", "山田花子", Likeness::Same),
            ("山田 花子", "佐藤 花子", Likeness::Part),
            ("山田花子", "佐藤花子", Likeness::Part),
            ("山田 花子", "鈴木 一郎", Likeness::None),
            ("山田太郎", "山本次郎", Likeness::None),
        ];
        for (known, name, wanted) in cases {
            assert_eq!(likeness(&[known], name, None), wanted, "{known} {name}");
        }
        let readings = Some(("ヤマダ ハナコ", "サトウ ハナコ"));
        assert_eq!(likeness(&["山田 花子"], "佐藤 はな子", readings), Likeness::Part);
        assert_eq!(likeness(&["佐藤 花子", "山田 花子"], "山田 花子", None), Likeness::Same);
    }
}
