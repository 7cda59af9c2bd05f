//! What a mapping is when it is saved.

use crate::{Assigned, Class, Column, Digits, Encoding, Field, How, Mapping, OwnLetters};

#[test]
fn a_saved_mapping_keeps_its_form() {
    let mapping = Mapping {
        columns: vec![
            Assigned { field: Field::Number, column: Column::Headed("職員番号".to_owned()) },
            Assigned { field: Field::UnitName, column: Column::HeadedAgain("所属".to_owned(), 2) },
            Assigned { field: Field::Name, column: Column::Numbered(3) },
        ],
        how: How { encoding: Some(Encoding::Cp932), separator: None },
        rows_above: 1,
        digits: Digits::FilledTo(6),
        own_letters: OwnLetters::Taken,
        classes: [("Ｂ職員".to_owned(), Class::FiscalYear)].into(),
    };
    let json = concat!(
        r#"{"columns":[{"field":"number","column":{"headed":"職員番号"}},"#,
        r#"{"field":"unit_name","column":{"headed_again":["所属",2]}},"#,
        r#"{"field":"name","column":{"numbered":3}}],"how":{"encoding":"cp932","separator":null},"rows_above":1,"#,
        r#""digits":{"filled_to":6},"own_letters":"taken","classes":{"Ｂ職員":"fiscal_year"}}"#,
    );
    assert_eq!(serde_json::to_string(&mapping).ok().as_deref(), Some(json));
    assert_eq!(serde_json::from_str::<Mapping>(json).ok(), Some(mapping));
    // What came later has a default, so that older ones are read.
    assert_eq!(serde_json::from_str::<Mapping>(r#"{"columns":[]}"#).ok(), Some(Mapping::default()));
}
