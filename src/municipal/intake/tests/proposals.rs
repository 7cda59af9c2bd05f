//! What is proposed for a file, how sure that is, and what somebody has to choose.

use crate::{Ambiguity, Confidence, Field, How, Proposal, Sheet};

fn proposal(text: &str) -> Proposal {
    let sheet = Sheet::read(text.as_bytes(), How::default()).unwrap_or_else(|error| panic!("{error}"));
    Proposal::of(&sheet).unwrap_or_else(|error| panic!("{error}"))
}

/// Column, field and confidence of each guess.
fn guesses(proposal: &Proposal) -> Vec<(usize, Field, Confidence)> {
    proposal.guesses.iter().map(|guess| (guess.column, guess.field, guess.confidence)).collect()
}

#[test]
fn a_word_that_means_one_thing_is_sure_and_one_of_many_meanings_is_not() {
    let found = proposal("ID,氏名,採用日,備考\n1,山田 花子,2001/4/1,育休\n");
    let wanted = [
        (1, Field::Number, Confidence::Low),
        (2, Field::Name, Confidence::High),
        (3, Field::From, Confidence::Medium),
    ];
    assert_eq!(guesses(&found), wanted);
    assert_eq!((found.header_row, found.unused), (Some(1), vec![(4, "備考".to_owned())]));
    assert!(found.ambiguous.is_empty() && found.mapping.is_complete());
}

#[test]
fn equals_are_told_and_the_first_is_proposed() {
    let found = proposal("職員番号,氏名,所属,職名,所属,職名\n1,山田 花子,防災課,課長,総務課,主幹\n");
    let wanted = [
        Ambiguity { field: Field::Post, columns: vec![4, 6] },
        Ambiguity { field: Field::UnitName, columns: vec![3, 5] },
    ];
    assert_eq!(found.ambiguous, wanted);
    assert!(guesses(&found).contains(&(3, Field::UnitName, Confidence::High)));
}

#[test]
fn levels_of_units_are_no_equals() {
    let found = proposal("職員番号,氏名,部,課,係\n1,山田 花子,総務部,人事課,\n");
    let units = found.guesses.iter().filter(|guess| guess.field == Field::UnitName).count();
    assert!(units == 3 && found.ambiguous.is_empty());
}

#[test]
fn values_that_do_not_fit_make_it_less_sure_or_take_the_meaning_away() {
    let found = proposal("職員番号,氏名,発令日,兼務\n1,山田 花子,未定,総務課\n2,田中 太郎,調整中,防災課\n");
    assert_eq!(guesses(&found)[2..], [(3, Field::From, Confidence::Low)]);
    assert_eq!(found.unused, [(4, "兼務".to_owned())]);
}

#[test]
fn columns_without_a_known_header_are_guessed_by_their_values() {
    let found = proposal(
        "職員番号,所属,おなまえ,連絡先\n1,総務課,山田 花子,h@city.example\n2,総務課,田中 太郎,t@city.example\n",
    );
    let by_values = [(3, Field::Name, Confidence::Low), (4, Field::Mail, Confidence::Low)];
    assert_eq!((found.header_row, &guesses(&found)[2..]), (Some(1), &by_values[..]));
}
