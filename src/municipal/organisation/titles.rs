//! What the title of a post says of it: whether who has it heads the unit, and where it stands in a list.
//!
//! Both are guesses that a new post begins with; somebody can say otherwise.

/// Words of titles, the higher first. A title stands where the first of them does that is in it.
const ORDER: &[&str] = &[
    "市長",
    "町長",
    "村長",
    "知事",
    "教育長",
    "議長",
    "団長",
    "副市長",
    "副町長",
    "副村長",
    "部長",
    "局長",
    "次長",
    "参事",
    "課長",
    "室長",
    "所長",
    "館長",
    "園長",
    "校長",
    "課長補佐",
    "主幹",
    "係長",
    "主査",
    "主任",
    "主事",
    "技師",
];

/// Whether who has this title in a unit of this name heads it: 課長 in 防災課, 館長 in 図書館, 防災課長 too, and who does
/// so for the time being (課長心得, 部長事務取扱).
pub(crate) fn heads(title: &str, unit: &str) -> bool {
    let title = ["事務取扱", "心得"].iter().find_map(|ending| title.strip_suffix(ending)).unwrap_or(title);
    title.strip_suffix('長').is_some_and(|kind| !kind.is_empty() && unit.ends_with(kind))
}

/// Where a title stands in a list of people, smaller first.
pub(crate) fn order(title: &str) -> u32 {
    // 副市長 holds 市長, and 課長補佐 holds 課長: the longest word that is in it counts.
    let places = ORDER.iter().enumerate().filter(|(_, word)| title.contains(**word));
    let place = places.max_by_key(|(_, word)| word.len()).map_or(ORDER.len(), |(place, _)| place);
    u32::try_from(place).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_heads_a_unit_is_called_as_it_is() {
        for (title, unit) in [
            ("課長", "防災課"),
            ("防災課長", "防災課"),
            ("館長", "中央図書館"),
            ("事務局長", "議会事務局"),
            ("課長心得", "防災課"),
            ("部長事務取扱", "総務部"),
        ] {
            assert!(heads(title, unit), "{title} of {unit}");
        }
        for (title, unit) in [
            ("課長補佐", "防災課"),
            ("副課長", "防災課"),
            ("部長", "防災課"),
            ("係長", "防災課"),
            ("長", "防災課"),
            ("主事", "防災課"),
        ] {
            assert!(!heads(title, unit), "{title} of {unit}");
        }
    }

    #[test]
    fn titles_stand_in_the_order_of_those_who_have_them() {
        let titles = ["市長", "副市長", "総務部長", "課長", "課長補佐", "係長", "主事", "調理員"];
        assert!(titles.is_sorted_by_key(|title| order(title)));
        assert!(order("課長") < order("課長補佐"));
    }
}
