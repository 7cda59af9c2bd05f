//! What the columns of files mean: guessed for somebody to look at, and saved under a name for the next file.

use std::collections::BTreeMap;

use audit::{Action, Deed};
use intake::{Confidence, Date, Field, FileError, How, Intake, Mapping, Proposal, Sheet};
use organisation::{Error as OrganisationError, Organisation, Told};
use ruma::ServerName;
use store::{CommitError, Order as Direction, Range};

use crate::{
    answer::{Answer, Columns},
    by::By,
    error::Error,
    personnel::Personnel,
    tables::{MAPPINGS, MappingRow},
    words::{Words, names, words},
};

/// Most mappings of an authority.
const MOST_MAPPINGS: usize = 100;

/// Longest mapping, in bytes of its JSON: every column of the widest file, and some hundred words for classes.
const LONGEST_MAPPING: usize = 64 << 10;

/// Rows among which the headings are looked for.
const LOOKED_AT: usize = 30;

/// Rows that are shown of a file, columns of these, and letters of a cell.
const SAMPLES: usize = 3;
const MOST_SAMPLED: usize = 200;
const LONGEST_SAMPLE: usize = 30;

/// Most letters of a name.
const LONGEST_NAME: usize = 100;

/// How many digits the numbers of a file are to be filled up to: where none of them is that of somebody known, and some are but
/// for zeros in front, as spreadsheets leave them.
fn lost_zeros(known: &Organisation, intake: &Intake, day: Date) -> Option<usize> {
    let people = known.bodies(day).flat_map(|body| known.people(body.body, day));
    let numbers: Vec<&str> = people.map(|person| person.number.as_str()).collect();
    let by_value: BTreeMap<&str, &str> =
        numbers.iter().map(|number| (number.trim_start_matches('0'), *number)).collect();
    let mut width = None;
    for row in &intake.rows {
        let number = row.number.as_str();
        let Some(whole) = by_value.get(number) else { continue };
        if *whole == number || width.is_some_and(|width| width != whole.len()) {
            return None;
        }
        width = Some(whole.len());
    }
    width
}

impl Personnel {
    /// What the columns of a file probably mean.
    pub(crate) async fn columns(
        &self,
        authority: &ServerName,
        file: &[u8],
        how: How,
    ) -> Result<Answer, Error> {
        let sheet = Sheet::read(file, how)?;
        let proposal = Proposal::of(&sheet)?;
        let lost_zeros = match Intake::of(&sheet, &proposal.mapping) {
            Ok(intake) => {
                let known = self.inner.organisations.load(authority).await?;
                lost_zeros(&known.organisation, &intake, self.today()?)
            }
            // What is in the way is told otherwise.
            Err(_) => None,
        };
        let doubt = doubt(&proposal).map(Told::from);
        let Proposal { mapping, guesses, ambiguous, unused, .. } = proposal;
        let is_heading = |cells: &[&str]| {
            let is_there =
                |column: usize, header: &str| cells.get(column - 1).is_some_and(|cell| cell.trim() == header);
            guesses.iter().all(|guess| is_there(guess.column, &guess.header))
                && unused.iter().all(|(column, header)| is_there(*column, header))
        };
        let rows: Vec<_> = sheet.preview(LOOKED_AT).map(|(_, cells)| cells).collect();
        let below = rows.iter().position(|cells| is_heading(cells)).map_or(0, |at| at + 1);
        let cut = |cell: &&str| cell.chars().take(LONGEST_SAMPLE).collect::<String>();
        let samples = rows.iter().skip(below).take(SAMPLES);
        let samples = samples.map(|cells| cells.iter().take(MOST_SAMPLED).map(cut).collect()).collect();
        let columns = Columns {
            mapping: Mapping { how, ..mapping },
            found: guesses
                .into_iter()
                .map(|guess| (guess.column, guess.header, guess.field, guess.confidence))
                .collect(),
            ambiguous: ambiguous.into_iter().map(|one| (one.field, one.columns)).collect(),
            unused,
            encoding: sheet.encoding().name().to_owned(),
            doubt,
            lost_zeros,
            samples,
        };
        Ok(Answer::Columns(Box::new(columns)))
    }

    pub(crate) async fn save_mapping(
        &self,
        authority: &ServerName,
        name: &str,
        mapping: &Mapping,
        by: &By,
    ) -> Result<Answer, Error> {
        let name = named(name)?;
        if !mapping.is_complete() {
            return Err(FileError::MappingIncomplete.into());
        }
        let json = serde_json::to_string(mapping).map_err(|_| too_long())?;
        if json.len() > LONGEST_MAPPING {
            return Err(too_long());
        }
        let key = (authority.as_str(), name);
        let range = Range::prefix(authority.as_str());
        let known = self.inner.store.scan(&MAPPINGS, range, Direction::Ascending, MOST_MAPPINGS).await?;
        if known.len() == MOST_MAPPINGS && !known.iter().any(|((_, known), _)| known == name) {
            return Err(Error::Refused(words!(
                "保存できる列の対応は {MOST_MAPPINGS} 件までです。",
                "At most {MOST_MAPPINGS} mappings of columns can be saved."
            )));
        }
        let at = self.inner.clock.now();
        let columns = mapping.columns.len().to_string();
        let mut deed = Deed::new(Action::SaveMapping, by, name, at).after("columns", columns);
        if let Some(old) = self.inner.store.get(&MAPPINGS, &key).await? {
            deed = deed.before("saved_by", old.by);
        }
        let mut batch = by.written(&deed, authority);
        batch.put(&MAPPINGS, &key, &MappingRow { json, by: by.name().to_owned(), at });
        match self.inner.store.commit(batch).await {
            Ok(_) => Ok(Answer::Done),
            // Whoever saves it may not do so any more, or is somebody else by now.
            Err(CommitError::Conflict { .. }) => Err(OrganisationError::Changed.into()),
            Err(error) => Err(error.into()),
        }
    }

    /// The names of the mappings that are saved.
    pub(crate) async fn mapping_names(&self, authority: &ServerName) -> Result<Vec<String>, Error> {
        let range = Range::prefix(authority.as_str());
        let known = self.inner.store.scan(&MAPPINGS, range, Direction::Ascending, MOST_MAPPINGS).await?;
        Ok(known.into_iter().map(|((_, name), _)| name).collect())
    }

    /// The mapping that was saved under a name.
    pub(crate) async fn mapping(&self, authority: &ServerName, name: &str) -> Result<Mapping, Error> {
        let row = self.inner.store.get(&MAPPINGS, &(authority.as_str(), name)).await?;
        let Some(row) = row else {
            let known = self.mapping_names(authority).await?;
            let known = names(&known.iter().map(String::as_str).collect::<Vec<_>>());
            return Err(Error::Refused(words!(
                "「{name}」という列の対応は保存されていません。保存済み: {known}",
                "No mapping of columns is saved as \"{name}\"; those that are: {known}"
            )));
        };
        serde_json::from_str(&row.json).map_err(|_| {
            Error::Refused(words!(
                "「{name}」の列の対応は新しいバージョンのもので、読めません。",
                "The mapping \"{name}\" is that of a newer version, and cannot be read."
            ))
        })
    }
}

/// The guessed mapping of a file, if it leaves nothing to choose.
pub(crate) fn guessed(sheet: &Sheet) -> Result<Mapping, Error> {
    let proposal = Proposal::of(sheet)?;
    match doubt(&proposal) {
        Some(doubt) => Err(Error::Refused(doubt)),
        None => Ok(proposal.mapping),
    }
}

/// Why somebody has to look at a guess before it is used.
fn doubt(proposal: &Proposal) -> Option<Words> {
    let both = |fields: Vec<Words>| {
        let (ja, en): (Vec<_>, Vec<_>) = fields.into_iter().map(|words| (words.ja, words.en)).unzip();
        (ja.join("、"), en.join(", "))
    };
    if !proposal.mapping.is_complete() {
        return Some(FileError::MappingIncomplete.words());
    }
    if !proposal.ambiguous.is_empty() {
        let (ja, en) = both(proposal.ambiguous.iter().map(|one| one.field.words()).collect());
        return Some(words!(
            "同じ意味に見える列が複数あります({ja})。列の対応を確かめて保存してください(コマンドでは `yakuba org columns`)。",
            "Several columns look alike ({en}); please look at them and save what they mean (`yakuba org columns`)."
        ));
    }
    // In any other column a wrong guess makes rows wrong, which are told; in these it makes people others.
    let says_who = |field| {
        matches!(
            field,
            Field::Number
                | Field::Name
                | Field::FamilyName
                | Field::GivenName
                | Field::UnitCode
                | Field::UnitName
        )
    };
    let is_unsure = |guess: &&intake::Guess| guess.confidence == Confidence::Low && says_who(guess.field);
    let unsure: Vec<_> = proposal.guesses.iter().filter(is_unsure).map(|guess| guess.field.words()).collect();
    if unsure.is_empty() {
        return None;
    }
    let (ja, en) = both(unsure);
    Some(words!(
        "意味の確かでない列があります({ja})。列の対応を確かめて保存してください(コマンドでは `yakuba org columns`)。",
        "It is not sure which columns mean this: {en}; please look at them and save what they mean (`yakuba org columns`)."
    ))
}

fn too_long() -> Error {
    Error::Refused(words!(
        "列の対応が長すぎます(上限 {LONGEST_MAPPING} バイト)。",
        "The mapping is too long (at most {LONGEST_MAPPING} bytes)."
    ))
}

/// Whether nobody sees a letter, or it turns round how others are shown: two names with it would look alike.
fn is_hidden(letter: char) -> bool {
    letter.is_control()
        || matches!(
            letter,
            '\u{ad}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{180e}' | '\u{200b}'..='\u{200f}'
        )
        || matches!(letter, '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}')
        || matches!(letter, '\u{e0000}'..='\u{e007f}')
}

/// A name of a mapping or of a source, as it may be.
pub(crate) fn named(name: &str) -> Result<&str, Error> {
    let name = name.trim();
    let is_name = (1..=LONGEST_NAME).contains(&name.chars().count()) && !name.contains(is_hidden);
    if is_name {
        return Ok(name);
    }
    Err(Error::Refused(words!(
        "名前は 1〜{LONGEST_NAME} 文字で、制御文字を含まないものにしてください。",
        "A name has 1 to {LONGEST_NAME} letters and no control characters."
    )))
}
