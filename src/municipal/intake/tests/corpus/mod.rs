//! Files as authorities send them, well and badly formed, each with what has to come of it.
//!
//! Each is made here by the code of its case, byte for byte; its mapping is the one that is proposed, unless the case says
//! otherwise.

mod columns;
mod dates;
mod encodings;
mod names;
mod numbers;
mod people;
mod shapes;

use std::fmt::Write as _;

use encoding_rs::SHIFT_JIS;

use crate::{FileError, How, Intake, Kind, Mapping, Problem, Proposal, Row, Severity, Sheet};

/// The columns that most files here have.
const HEADER: &str = "職員番号,氏名,フリガナ,所属コード,所属,職名,発令日,任期満了日\r\n";

/// A file and what comes of it.
struct Case {
    title: &'static str,
    file: Vec<u8>,
    how: How,
    mapping: Box<dyn Fn(&mut Mapping)>,
    wanted: Wanted,
}

enum Wanted {
    /// Nothing is taken, for this reason.
    Refused(&'static str),
    /// Rows and problems as [`shown`] has them.
    Read { rows: Vec<&'static str>, problems: Vec<&'static str> },
}

fn case(title: &'static str, file: impl Into<Vec<u8>>) -> Case {
    let wanted = Wanted::Read { rows: Vec::new(), problems: Vec::new() };
    Case { title, file: file.into(), how: How::default(), mapping: Box::new(|_| ()), wanted }
}

impl Case {
    fn refused(self, reason: &'static str) -> Self {
        Self { wanted: Wanted::Refused(reason), ..self }
    }

    fn rows(self, rows: &[&'static str]) -> Self {
        let problems = if let Wanted::Read { problems, .. } = self.wanted { problems } else { Vec::new() };
        Self { wanted: Wanted::Read { rows: rows.to_vec(), problems }, ..self }
    }

    fn problems(self, problems: &[&'static str]) -> Self {
        let rows = if let Wanted::Read { rows, .. } = self.wanted { rows } else { Vec::new() };
        Self { wanted: Wanted::Read { rows, problems: problems.to_vec() }, ..self }
    }

    fn how(self, how: How) -> Self {
        Self { how, ..self }
    }

    fn mapping(self, change: impl Fn(&mut Mapping) + 'static) -> Self {
        Self { mapping: Box::new(change), ..self }
    }

    fn run(&self) -> Result<Intake, FileError> {
        let sheet = Sheet::read(self.file.as_slice(), self.how)?;
        let mut mapping = Proposal::of(&sheet)?.mapping;
        (self.mapping)(&mut mapping);
        Intake::of(&sheet, &mapping)
    }
}

/// A file in CP932.
fn cp932(text: &str) -> Vec<u8> {
    let (bytes, _, lost) = SHIFT_JIS.encode(text);
    assert!(!lost, "CP932 lacks a letter of {text}");
    bytes.into_owned()
}

/// UTF-8 with its mark, as Excel writes "CSV UTF-8".
fn marked(text: &str) -> Vec<u8> {
    format!("\u{feff}{text}").into_bytes()
}

/// A file with the usual header, in UTF-8.
fn usual(rows: &str) -> Vec<u8> {
    format!("{HEADER}{rows}").into_bytes()
}

/// `2:00123 山田 花子 (ヤマダ ハナコ) Regular #0101 総務部/人事課 課長 <6> 兼 2026-04-01~2027-03-31 a@b.example @yamada`
fn shown(row: &Row) -> String {
    let mut text = format!("{}:{} {}", row.place.row, row.number, row.name);
    let mut add = |part: String| write!(text, " {part}").unwrap_or_default();
    row.reading.iter().for_each(|reading| add(format!("({reading})")));
    row.class.iter().for_each(|class| add(format!("{class:?}")));
    row.unit_code.iter().for_each(|code| add(format!("#{code}")));
    if !row.unit_path.is_empty() {
        add(row.unit_path.join("/"));
    }
    row.post.iter().for_each(|post| add(post.clone()));
    row.rank.iter().for_each(|rank| add(format!("<{rank}>")));
    if row.kind == Kind::Additional {
        add("兼".to_owned());
    }
    let day = |day: Option<crate::Date>| day.map_or_else(String::new, |day| day.to_string());
    if row.from.is_some() || row.until.is_some() {
        add(format!("{}~{}", day(row.from), day(row.until)));
    }
    row.mail.iter().for_each(|mail| add(mail.to_string()));
    row.account.iter().for_each(|account| add(format!("@{account}")));
    text
}

/// `! 2:7 Date Impossible`: whether it refuses the row, row and column, the reason without its values.
fn told(problem: &Problem) -> String {
    let mark = if problem.severity() == Severity::Refuses { '!' } else { '?' };
    let column = problem.column.map_or_else(String::new, |column| format!(":{column}"));
    let reason = format!("{:?}", problem.reason);
    let reason = reason.split(" {").next().unwrap_or_default().split('"').next().unwrap_or_default();
    let reason = reason.trim_end_matches("(Date").replace('(', " ").replace(')', "");
    format!("{mark} {}{column} {}", problem.place.row, reason.trim())
}

fn all() -> Vec<Case> {
    [
        encodings::cases(),
        shapes::cases(),
        dates::cases(),
        numbers::cases(),
        names::cases(),
        columns::cases(),
        people::cases(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

#[test]
fn every_file_is_read_right_or_refused_with_its_reason() {
    let mut wrong = String::new();
    for case in all() {
        let found = case.run();
        let (rows, problems) = match (&case.wanted, &found) {
            (Wanted::Refused(reason), Err(error)) if format!("{error:?}").starts_with(reason) => continue,
            (Wanted::Read { rows, problems }, Ok(intake)) => {
                let found: Vec<_> = intake.rows.iter().map(shown).collect();
                let told: Vec<_> = intake.problems.iter().map(told).collect();
                if found == *rows && told == *problems {
                    continue;
                }
                (found, told)
            }
            (_, Err(error)) => (vec![format!("{error:?}")], Vec::new()),
            (Wanted::Refused(_), Ok(intake)) => (intake.rows.iter().map(shown).collect(), Vec::new()),
        };
        writeln!(wrong, "{}\n    rows {rows:#?}\n    problems {problems:#?}", case.title).unwrap_or_default();
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[test]
fn the_corpus_is_as_large_as_was_asked_for_and_half_of_it_is_badly_formed() {
    let all = all();
    let titles: std::collections::BTreeSet<_> = all.iter().map(|case| case.title).collect();
    let is_bad = |case: &&Case| match &case.wanted {
        Wanted::Refused(_) => true,
        Wanted::Read { problems, .. } => !problems.is_empty(),
    };
    assert!(titles.len() >= 60 && titles.len() == all.len(), "{} of {}", titles.len(), all.len());
    assert!(all.iter().filter(is_bad).count() >= 30);
}

#[test]
fn everything_that_is_told_is_told_in_both_languages_with_its_place() {
    let is_japanese = |text: &str| text.contains(|letter| matches!(letter, 'ぁ'..='ん'));
    for case in all() {
        match case.run() {
            Err(error) => {
                let words = error.words();
                assert!(is_japanese(&words.ja) && !is_japanese(&words.en), "{words}");
            }
            Ok(intake) => {
                for problem in &intake.problems {
                    let (reason, words) = (problem.reason.words(), problem.words());
                    assert!(is_japanese(&reason.ja) && !is_japanese(&reason.en), "{words}");
                    let row = problem.place.row;
                    assert!(words.ja.starts_with(&format!("{row}行目")), "{words}");
                    assert!(words.en.starts_with(&format!("Row {row}")), "{words}");
                }
            }
        }
    }
}
