//! Whatever comes in, nothing panics, nothing is without its bound, and nobody is counted twice.

use std::collections::BTreeSet;

use proptest::{collection::vec, prelude::*};

use crate::{
    FileError, How, Intake, Mapping, Proposal, Reason, Severity, Sheet,
    limits::{MAX_BYTES, MAX_PROBLEMS},
};

/// The whole way, as far as it goes.
fn run(file: &[u8]) -> Result<(Mapping, Intake), FileError> {
    let sheet = Sheet::read(file, How::default())?;
    let mapping = Proposal::of(&sheet)?.mapping;
    let intake = Intake::of(&sheet, &mapping)?;
    Ok((mapping, intake))
}

/// What has to hold of everything that was read.
fn check(intake: &Intake) {
    assert!(intake.problems.len() <= MAX_PROBLEMS);
    assert!(intake.rows.is_sorted_by_key(|row| row.place) && intake.rows.len() <= intake.seen);
    let refused: BTreeSet<_> = intake
        .problems
        .iter()
        .filter(|problem| problem.severity() == Severity::Refuses)
        .map(|problem| problem.place)
        .collect();
    for row in &intake.rows {
        assert!(!refused.contains(&row.place), "{row:?} is taken and refused");
        assert!(!intake.held_back.contains_key(&row.number), "{row:?} is taken and held back");
        assert!(!row.name.is_empty() && row.from.zip(row.until).is_none_or(|(from, until)| from <= until));
    }
    let is_left_out =
        |reason: &Reason| matches!(reason, Reason::HeaderAgain | Reason::Note | Reason::Repeated(_));
    let left_out = intake.problems.iter().filter(|problem| is_left_out(&problem.reason)).count();
    // Whatever is not taken is told.
    assert!(intake.problems_left_out > 0 || refused.len() + left_out + intake.rows.len() == intake.seen);
    intake.problems.iter().for_each(|problem| assert!(problem.words().ja.contains("行目")));
}

/// Pieces of which files are made, whole and broken.
fn piece() -> impl Strategy<Value = String> {
    let pieces = [
        "職員番号",
        "氏名",
        "フリガナ",
        "所属",
        "兼務",
        "発令日",
        "任期満了日",
        "メール",
        "00123",
        "123",
        "1.2E+05",
        "山田 花子",
        "髙﨑",
        "ﾔﾏﾀﾞ",
        "令和8年4月1日",
        "平成31年5月1日",
        "2026/4/31",
        "46113",
        "9999/12/31",
        "○",
        "兼務",
        ",",
        ",",
        ",",
        "\t",
        ";",
        "\"",
        "\"\"",
        "\r\n",
        "\n",
        "\n",
        "\r",
        "=\"0",
        "#N/A",
        "\u{e000}",
        "\u{fffd}",
        "\0",
        "\u{7}",
        "〃",
        "sep=;",
        "'",
        " ",
        "\u{3000}",
        "a@b.example",
        "縺繧",
        "@",
        "年",
        "月",
        "曜",
        "日",
        "(",
        ")",
        ":",
        "T",
        "元",
        "十",
        "R",
        "㋿",
        "E+",
        ".",
        "/",
        "-",
    ];
    proptest::sample::select(pieces.to_vec()).prop_map(str::to_owned)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn random_bytes_do_no_harm(file in vec(any::<u8>(), 0..2_000)) {
        if let Ok((_, intake)) = run(&file) {
            check(&intake);
        }
    }

    #[test]
    fn files_of_random_pieces_do_no_harm(pieces in vec(piece(), 0..400)) {
        let text = format!("職員番号,氏名,フリガナ,所属,兼務,発令日,任期満了日,メール\n{}", pieces.concat());
        if let Ok((mapping, intake)) = run(text.as_bytes()) {
            check(&intake);
            prop_assert!(mapping.is_complete());
        }
    }

    #[test]
    fn random_values_in_each_column_do_no_harm(values in vec(vec(piece(), 1..4), 8..80)) {
        let cells: Vec<_> = values.iter().map(|parts| parts.concat().replace('"', "\"\"")).collect();
        let rows: String = cells.chunks(8).map(|row| format!("\"{}\"\n", row.join("\",\""))).collect();
        let text = format!("職員番号,氏名,フリガナ,所属,兼務,発令日,任期満了日,メール\n{rows}");
        if let Ok((_, intake)) = run(text.as_bytes()) {
            check(&intake);
        }
    }

    #[test]
    fn a_file_says_the_same_in_every_encoding_and_separator(
        names in vec("[一-龠]{1,3} [ぁ-ん]{1,3}", 1..20),
        separator in proptest::sample::select(vec![",", "\t", ";"]),
    ) {
        let header = ["職員番号", "氏名", "所属"].join(separator);
        let rows = names.iter().enumerate().map(|(at, name)| [&format!("{at:05}"), name, "総務課"].join(separator));
        let text = format!("{header}\n{}\n", rows.collect::<Vec<_>>().join("\n"));
        let utf16: Vec<u8> = format!("\u{feff}{text}").encode_utf16().flat_map(u16::to_le_bytes).collect();
        let wanted = run(text.as_bytes()).map(|(_, intake)| intake.rows).map_err(|error| error.to_string());
        prop_assert_eq!(wanted.as_ref().map(Vec::len), Ok(names.len()));
        let found = run(&utf16).map(|(_, intake)| intake.rows).map_err(|error| error.to_string());
        prop_assert_eq!(&found, &wanted);
        let (cp932, _, lost) = encoding_rs::SHIFT_JIS.encode(&text);
        if !lost {
            let found = run(&cp932).map(|(_, intake)| intake.rows).map_err(|error| error.to_string());
            prop_assert_eq!(&found, &wanted);
        }
    }
}

/// How long this thread has computed, whatever else the machine did meanwhile.
fn computed() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split(' ').next().and_then(|nanoseconds| nanoseconds.parse().ok()).unwrap_or(0)
}

/// Files that are made to be slow: each is read or refused about as fast as one of its size that is not.
#[test]
fn nothing_takes_longer_than_its_size() {
    let whole = usize::try_from(MAX_BYTES).unwrap_or(0) / 40;
    let fill = |piece: &str| piece.repeat(whole / piece.len());
    let header = "職員番号,氏名,所属\n";
    let begun = computed();
    let usual = run(format!("{header}{}", fill("00123,山田 花子,総務課\n")).as_bytes());
    let usual_takes = computed() - begun;
    assert!(usual.is_ok());
    let files = [
        fill("\""),
        fill("\"\n"),
        fill("\"a\n"),
        fill(","),
        fill(",\n"),
        fill("\r"),
        format!("{header}{}", fill("\"1,\n")),
        format!("{header}{}", fill("1,\"\"\"\n")),
        format!("{header}1,{}", fill("山")),
        format!("{header}1,\"{}", fill("山\n")),
        format!("{header}{}", fill("1,山田 花子,総務課\n")),
        fill("平成31年4月1日,"),
    ];
    for file in files {
        let begun = computed();
        if let Ok((_, intake)) = run(file.as_bytes()) {
            check(&intake);
        }
        let takes = computed() - begun;
        let begin: String = file.chars().take(40).collect();
        assert!(takes <= usual_takes * 10, "{takes} ns for {begin:?}, {usual_takes} ns for what is usual");
    }
}
