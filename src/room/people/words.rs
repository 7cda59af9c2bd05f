//! The pieces of names and ids by which people are looked up.

use std::collections::BTreeMap;

use base::folded;
use ruma::UserId;
use serde::{Deserialize, Serialize};
use store::{Batch, Range, Table, Tuning};

use super::Profile;

/// Who is called so; key: scope, a piece of a name or of `@` and localpart, user id. Scopes: each authority of ours has its users,
/// [`OURS`] all of them, [`ELSEWHERE`] those of other servers, each of which has a scope too, with the
/// beginnings of their ids alone.
///
/// So the users of other servers, of whom there may be any number with any name, push nobody of ours out of a
/// search that reads a bounded part of each scope.
pub static WORDS: Table<(String, String, String), WordRow> =
    Table::new(78, "room.people_words", Tuning::Point);

/// The scope of all users of ours. No server has such a name.
pub(super) const OURS: &str = "+";
/// The scope of the users of all other servers.
pub const ELSEWHERE: &str = "*";

/// Letters of a name or localpart, folded, that are looked up. More are written by who wants to harm.
pub const NAME_LETTERS: usize = 64;

/// Letters of a piece. What somebody looks for beyond them is compared with the name itself.
pub(super) const PIECE_LETTERS: usize = 12;

/// Row of [`WORDS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WordRow {
    /// Where in the text the piece stands.
    pub begin: Begin,
}
store::row!(WordRow, schema = 1);

/// Where in a name what somebody looks for stands. Who is meant more likely is less.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Begin {
    /// At its beginning.
    Text,
    /// At the beginning of a word of it.
    Word,
    /// Within it, as far as spaces and marks tell.
    Within,
}

/// Scopes and pieces with where they stand.
pub(super) type Words = BTreeMap<(String, String), Begin>;

/// The beginning of a folded text as it stands in a key.
pub(super) fn piece(folded: &str) -> &str {
    match folded.char_indices().nth(PIECE_LETTERS) {
        Some((end, _)) => &folded[..end],
        None => folded,
    }
}

/// The last letters of a folded text that is longer than a piece.
pub(super) fn end_of(folded: &str) -> Option<&str> {
    let (begin, _) = folded.char_indices().rev().nth(PIECE_LETTERS - 1)?;
    (begin > 0).then(|| &folded[begin..])
}

/// All pieces that begin like this one within a scope.
pub(super) fn beginning_with(scope: &str, piece: &str) -> Range<(String, String, String)> {
    // Behind all letters that there are.
    let end = format!("{piece}\u{10ffff}");
    Range::prefix(scope).from(&(scope, piece, "")).before(&(scope, end.as_str(), ""))
}

/// The pieces of a text.
fn pieces(text: &str) -> Vec<(String, Begin)> {
    let folded = folded(text, NAME_LETTERS);
    let begins = word_beginnings(text, &folded);
    let places = folded.char_indices().map(|(place, _)| {
        let begin = match place {
            0 => Begin::Text,
            _ if begins.contains(&place) => Begin::Word,
            _ => Begin::Within,
        };
        (piece(&folded[place..]).to_owned(), begin)
    });
    places.collect()
}

/// Where the words of a text stand in the folded one, in which there are no spaces.
fn word_beginnings(text: &str, whole: &str) -> Vec<usize> {
    let is_between =
        |letter: char| letter.is_whitespace() || (letter.is_ascii_punctuation() && letter != '\'');
    let (mut joined, mut begins) = (String::new(), Vec::new());
    for word in text.split_inclusive(is_between) {
        if joined.len() >= whole.len() {
            break;
        }
        begins.push(joined.len());
        joined.push_str(&folded(word, NAME_LETTERS));
    }
    // Folding may join letters over the border of two words; then there is but one.
    if joined.starts_with(whole) { begins } else { Vec::new() }
}

fn add(words: &mut Words, scope: &str, pieces: &[(String, Begin)]) {
    for (piece, begin) in pieces {
        let known = words.entry((scope.to_owned(), piece.clone())).or_insert(*begin);
        *known = (*known).min(*begin);
    }
}

/// The pieces of a user's id, and its beginning.
fn pieces_of_id(user: &UserId) -> (Vec<(String, Begin)>, (String, Begin)) {
    let localpart = user.localpart();
    let beginning = format!("@{}", folded(localpart, PIECE_LETTERS));
    (pieces(localpart), (piece(&beginning).to_owned(), Begin::Text))
}

/// The words of a user of another server who goes by these names.
pub(super) fn words_elsewhere<'a>(user: &UserId, names: impl Iterator<Item = &'a str>) -> Words {
    let mut words = Words::new();
    let (pieces_of_id, beginning) = pieces_of_id(user);
    add(&mut words, user.server_name().as_str(), std::slice::from_ref(&beginning));
    add(&mut words, ELSEWHERE, &[beginning]);
    add(&mut words, ELSEWHERE, &pieces_of_id);
    for name in names {
        add(&mut words, ELSEWHERE, &pieces(name));
    }
    words
}

/// The words of a user of ours.
fn words_of_ours(user: &UserId, profile: &Profile) -> Words {
    let mut words = Words::new();
    let (pieces_of_id, beginning) = pieces_of_id(user);
    for scope in [user.server_name().as_str(), OURS] {
        add(&mut words, scope, std::slice::from_ref(&beginning));
        add(&mut words, scope, &pieces_of_id);
        if let Some(name) = &profile.displayname {
            add(&mut words, scope, &pieces(name));
        }
    }
    words
}

/// Writes in a batch what differs.
pub(super) fn stage_words(batch: &mut Batch, user: &str, was: &Words, is: &Words) {
    for (scope, piece) in was.keys().filter(|key| !is.contains_key(*key)) {
        batch.delete(&WORDS, &(scope.as_str(), piece.as_str(), user));
    }
    for ((scope, piece), begin) in is.iter().filter(|(key, begin)| was.get(*key) != Some(*begin)) {
        batch.put(&WORDS, &(scope.as_str(), piece.as_str(), user), &WordRow { begin: *begin });
    }
}

/// Notes in the batch of an account by what its user is found from now on: his id and the name of his profile.
/// `None` is no account, or one that is closed.
///
/// The batch has to require that the profile was as `was` says, or words of it stay behind, which find nobody.
pub fn note_account(batch: &mut Batch, user: &UserId, was: Option<&Profile>, is: Option<&Profile>) {
    let words = |profile: Option<&Profile>| profile.map(|it| words_of_ours(user, it)).unwrap_or_default();
    stage_words(batch, user.as_str(), &words(was), &words(is));
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn begin(text: &str, sought: &str) -> Option<Begin> {
        let sought = folded(sought, NAME_LETTERS);
        pieces(text).into_iter().filter(|(piece, _)| piece.starts_with(&sought)).map(|(_, begin)| begin).min()
    }

    #[test]
    fn a_name_is_found_by_each_part_and_best_by_its_beginnings() {
        for (text, sought, wanted) in [
            ("山田太郎", "山田", Some(Begin::Text)),
            ("山田太郎", "太郎", Some(Begin::Within)),
            ("山田　太郎", "太郎", Some(Begin::Word)),
            ("ヤマダ ﾀﾛｳ", "たろう", Some(Begin::Word)),
            ("防災課（山田）", "山田", Some(Begin::Within)),
            ("Taro YAMADA", "yama", Some(Begin::Word)),
            ("taro.yamada", "yamada", Some(Begin::Word)),
            ("taro.yamada", "mada", Some(Begin::Within)),
            ("山田太郎", "花子", None),
            ("", "a", None),
        ] {
            assert_eq!(begin(text, sought), wanted, "{text} {sought}");
        }
    }

    #[test]
    fn of_a_name_of_any_length_few_short_pieces_are_made() {
        let user = <&UserId>::try_from("@a:b.test").unwrap();
        for letter in ["a", "a ", "山", "\u{fdfa}", "\u{301}", "..", "\u{0}", "\u{10ffff}"] {
            let name = letter.repeat(100_000);
            let words = words_elsewhere(user, [name.as_str(), name.as_str()].into_iter());
            assert!(words.len() <= NAME_LETTERS + 4, "{letter}: {}", words.len());
            assert!(words.keys().all(|(_, piece)| piece.chars().count() <= PIECE_LETTERS));
        }
    }

    #[test]
    fn what_two_names_have_in_common_is_not_written_again() {
        let user = <&UserId>::try_from("@a:b.test").unwrap();
        let profile = |name: &str| Profile { displayname: Some(name.to_owned()), avatar_url: None };
        let (was, is) =
            (words_of_ours(user, &profile("山田太郎")), words_of_ours(user, &profile("鈴木太郎")));
        let new = is.keys().filter(|key| !was.contains_key(*key)).count();
        assert_eq!(new, 2 * 2, "鈴木太郎 and 木太郎 in two scopes");
    }
}
