//! What is wrong with rows, each time with its place, its value and a sentence in both languages.

use crate::{
    cell, code, contact,
    date::{self, Date},
    field::Field,
    limits::{MAX_APPOINTMENTS, MAX_PROBLEMS, MAX_SHOWN},
    name,
    split::Damage,
    words::{Words, words},
};

/// What becomes of a row that has a problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The row is taken.
    Warns,
    /// The row is not taken.
    Refuses,
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// How the row is written.
    Damage(Damage),
    /// What a cell holds.
    Cell(cell::Fault),
    /// A letter that the sender defined himself, taken as the mapping says.
    OwnLetterTaken(cell::Fault),
    /// A number or code.
    Code(code::Fault),
    /// A name.
    Name(name::Fault),
    /// No day that can be taken.
    Date(date::Fault),
    /// A day that is taken, but was hardly written so on purpose.
    DateDoubt(date::Doubt),
    /// An address or an account.
    Contact(contact::Fault),
    /// A value has to be there.
    Missing(Field),
    /// There are values to the right of the last header.
    PastHeader,
    /// The headers again.
    HeaderAgain,
    /// A note below or between the rows.
    Note,
    /// The number has fewer digits than the others; so many it should have.
    ZerosLost(usize),
    /// Zeros were put before the number, up to so many digits.
    ZerosFilled(usize),
    /// Numbers have various lengths and none begins with a zero.
    LengthsVary,
    /// A reading with letters that are no kana.
    NotKana,
    /// A word that is no class of employment that is known.
    UnknownClass,
    /// Neither a main nor an additional appointment.
    UnknownKind,
    /// It ends before it begins.
    EndsFirst(Date),
    /// Another row has the same number and another name.
    OtherName(u32),
    /// Another row has the same number and the name in other letters (髙橋, 高橋).
    OtherLetters(u32),
    /// Another row has the same number and main appointment in the same days.
    SecondMain(u32),
    /// Another row says the same.
    Repeated(u32),
    /// Nothing says which appointments are additional; this is taken for one, as a row above it has the main one.
    TakenAsAdditional(u32),
    /// There are additional appointments and no main one.
    NoMain,
    /// Another person has the same mail address.
    SharedMail(u32),
    /// Another person has the same account.
    SharedAccount(u32),
    /// Another row has the same number and another account.
    OtherAccount(u32),
    /// Another person's number differs in capital and small letters alone.
    OtherCase(u32),
    /// The person has more appointments than [`MAX_APPOINTMENTS`].
    ManyAppointments,
    /// Another row of the same person was refused, and nobody is taken by half.
    HeldBack(u32),
}

impl Reason {
    /// What becomes of the row.
    #[must_use]
    pub fn severity(&self) -> Severity {
        match self {
            Self::Damage(_)
            | Self::Cell(_)
            | Self::Code(_)
            | Self::Name(_)
            | Self::Date(_)
            | Self::Contact(contact::Fault::Account)
            | Self::Missing(_)
            | Self::PastHeader
            | Self::ZerosLost(_)
            | Self::UnknownKind
            | Self::EndsFirst(_)
            | Self::OtherName(_)
            | Self::SecondMain(_)
            | Self::SharedAccount(_)
            | Self::OtherAccount(_)
            | Self::OtherCase(_)
            | Self::ManyAppointments
            | Self::HeldBack(_) => Severity::Refuses,
            // What is left out here is no person, or is there already.
            Self::HeaderAgain
            | Self::Note
            | Self::Repeated(_)
            | Self::OwnLetterTaken(_)
            | Self::DateDoubt(_)
            | Self::Contact(contact::Fault::Address)
            | Self::ZerosFilled(_)
            | Self::LengthsVary
            | Self::NotKana
            | Self::UnknownClass
            | Self::OtherLetters(_)
            | Self::TakenAsAdditional(_)
            | Self::NoMain
            | Self::SharedMail(_) => Severity::Warns,
        }
    }

    /// The sentence for whoever sent the file.
    #[must_use]
    pub fn words(&self) -> Words {
        match self {
            Self::Damage(damage) => damage.words(),
            Self::Cell(fault) | Self::OwnLetterTaken(fault) => fault.words(),
            Self::Code(fault) => fault.words(),
            Self::Name(fault) => fault.words(),
            Self::Date(fault) => fault.words(),
            Self::DateDoubt(doubt) => doubt.words(),
            Self::Contact(fault) => fault.words(),
            Self::Missing(field) => {
                let Words { ja, en } = field.words();
                words!("「{ja}」が空です。", "The {en} is empty.")
            }
            Self::PastHeader => words!(
                "列の名前がない所に値があります。カンマや引用符で列がずれていないか確かめてください。",
                "There are values to the right of the last header; a comma or a quotation mark may be out of place."
            ),
            Self::HeaderAgain => words!(
                "列の名前の行が途中にもう一度あります。読み飛ばしました。",
                "The names of the columns stand here again; the row was left out."
            ),
            Self::Note => words!(
                "職員番号のない注記の行とみて、読み飛ばしました。",
                "This was taken for a note, as it has no number, and left out."
            ),
            Self::ZerosLost(width) => words!(
                "番号の先頭のゼロが失われています(ほかの番号は {width} 桁)。列を「文字列」として出し直すか、桁数をそろえる設定を使ってください。",
                "Zeros in front of the number were lost (others have {width} digits); please export the column as text, or have numbers filled up."
            ),
            Self::ZerosFilled(width) => words!(
                "先頭にゼロを補って {width} 桁にしました。",
                "Zeros were put in front, up to {width} digits."
            ),
            Self::LengthsVary => words!(
                "番号の桁数がそろわず、ゼロで始まる番号が一つもありません。Excel が先頭のゼロを消した可能性があります。",
                "Numbers have various lengths and none begins with a zero; Excel may have taken the zeros away."
            ),
            Self::NotKana => words!(
                "フリガナに仮名でない文字があります。そのまま取り込みます。",
                "The reading has letters that are no kana; it is taken as it is."
            ),
            Self::UnknownClass => words!(
                "知らない任用区分です。区分なしとして取り込みます(同じ語は最初の一回だけ表示します)。",
                "This class of employment is not known; rows with it are taken without a class (told once)."
            ),
            Self::UnknownKind => words!(
                "本務か兼務か判断できません。「本務」「兼務」または「○」で書いてください。",
                "This says neither that the appointment is the main one (本務) nor that it is additional (兼務)."
            ),
            Self::EndsFirst(from) => words!(
                "終わりの日が始まりの日({from})より前です。",
                "The last day is before the first, {from}."
            ),
            Self::OtherName(row) => words!(
                "{row}行目に同じ職員番号で別の氏名があります。どちらが正しいか決められないため、両方とも取り込みません。",
                "Row {row} has the same number with another name; neither is taken."
            ),
            Self::OtherLetters(row) => words!(
                "{row}行目と氏名の字体や空白が違います。先にある行の氏名を使います。",
                "The name is in other letters than in row {row}, whose name is taken."
            ),
            Self::SecondMain(row) => words!(
                "{row}行目と同じ期間に本務が二つあります。片方を兼務にするか、期間を分けてください。",
                "There are two main appointments at the same time, here and in row {row}."
            ),
            Self::Repeated(row) => words!(
                "{row}行目と同じ内容です。読み飛ばしました。",
                "This says the same as row {row}, and was left out."
            ),
            Self::TakenAsAdditional(row) => words!(
                "兼務の列がないため、{row}行目を本務、この行を兼務とみなしました。",
                "As no column says which appointments are additional, row {row} was taken for the main one and this for an additional one."
            ),
            Self::NoMain => words!(
                "この職員には兼務だけがあり、本務がありません。",
                "This person has additional appointments and no main one."
            ),
            Self::SharedMail(row) => words!(
                "{row}行目の別の職員と同じメールアドレスです。",
                "Another person, in row {row}, has the same mail address."
            ),
            Self::SharedAccount(row) => words!(
                "{row}行目の別の職員と同じアカウント名です。",
                "Another person, in row {row}, has the same account."
            ),
            Self::OtherAccount(row) => words!(
                "{row}行目に同じ職員番号で別のアカウント名があります。",
                "Row {row} has the same number with another account."
            ),
            Self::OtherCase(row) => words!(
                "{row}行目の職員番号と、英字の大文字・小文字だけが違います。どちらかにそろえてください。",
                "The number differs from that in row {row} in capital and small letters alone; please write one of both."
            ),
            Self::ManyAppointments => words!(
                "一人の職員の行が多すぎます(上限 {MAX_APPOINTMENTS} 行)。",
                "There are too many rows of one person (at most {MAX_APPOINTMENTS})."
            ),
            Self::HeldBack(row) => words!(
                "同じ職員の{row}行目に誤りがあるため、この行も取り込みません。",
                "Row {row}, of the same person, was refused, so this one is not taken either."
            ),
        }
    }
}

/// Where a row stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Its number as a spreadsheet shows it, from 1: empty rows count, and a cell with line breaks is one row.
    pub row: u32,
    /// The line on which it begins as an editor shows it, from 1.
    pub line: u32,
}

impl Place {
    /// `12行目`, with the line beside it where an editor shows another number.
    #[must_use]
    pub fn words(self) -> Words {
        let Self { row, line } = self;
        if row == line {
            return words!("{row}行目", "Row {row}");
        }
        words!("{row}行目(テキストでは{line}行目)", "Row {row} (line {line} of the text)")
    }
}

/// Something that is wrong with a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The row.
    pub place: Place,
    /// The column, from 1; none if it is the whole row.
    pub column: Option<usize>,
    /// What the column is called.
    pub header: String,
    /// The value, shortened, with control characters made visible.
    pub value: String,
    /// What is wrong.
    pub reason: Reason,
}

impl Problem {
    pub(crate) fn of_row(place: Place, value: &str, reason: Reason) -> Self {
        Self { place, column: None, header: String::new(), value: shown(value), reason }
    }

    pub(crate) fn of_cell(place: Place, column: usize, header: &str, value: &str, reason: Reason) -> Self {
        Self { place, column: Some(column + 1), header: shown(header), value: shown(value), reason }
    }

    /// What becomes of the row.
    #[must_use]
    pub fn severity(&self) -> Severity {
        self.reason.severity()
    }

    /// The whole sentence, with its place.
    #[must_use]
    pub fn words(&self) -> Words {
        let Self { header, value, .. } = self;
        let (place, Words { ja, en }) = (self.place.words(), self.reason.words());
        let Words { ja: at_ja, en: at_en } = place;
        match self.column {
            Some(column) if header.is_empty() => {
                words!("{at_ja} {column}列目「{value}」: {ja}", "{at_en}, column {column}, \"{value}\": {en}")
            }
            Some(column) => words!(
                "{at_ja} {column}列目({header})「{value}」: {ja}",
                "{at_en}, column {column} ({header}), \"{value}\": {en}"
            ),
            None if value.is_empty() => words!("{at_ja}: {ja}", "{at_en}: {en}"),
            None => words!("{at_ja}「{value}」: {ja}", "{at_en}, \"{value}\": {en}"),
        }
    }
}

fn shown(value: &str) -> String {
    let mut shown = String::new();
    for letter in value.chars().take(MAX_SHOWN) {
        if letter.is_control() {
            shown.extend(letter.escape_default());
        } else {
            shown.push(letter);
        }
    }
    if value.chars().nth(MAX_SHOWN).is_some() {
        shown.push('…');
    }
    shown
}

/// Problems as they are found: the first [`MAX_PROBLEMS`], and how many more there were. Those that refuse a row go before
/// those that warn, so that many warnings do not hide why people are missing.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    refusing: Vec<Problem>,
    warning: Vec<Problem>,
    left_out: usize,
}

impl Problems {
    pub(crate) fn add(&mut self, problem: Problem) {
        let list =
            if problem.severity() == Severity::Refuses { &mut self.refusing } else { &mut self.warning };
        if list.len() < MAX_PROBLEMS {
            list.push(problem);
        } else {
            self.left_out += 1;
        }
    }

    /// The problems by row, and how many were left out.
    pub(crate) fn into_told(self) -> (Vec<Problem>, usize) {
        let Self { refusing: mut told, mut warning, mut left_out } = self;
        let room = MAX_PROBLEMS.saturating_sub(told.len());
        left_out += warning.len().saturating_sub(room);
        warning.truncate(room);
        told.append(&mut warning);
        told.sort_by_key(|problem| (problem.place, problem.column));
        (told, left_out)
    }
}
