//! Why a file as a whole is not taken.

use std::{fmt, io};

use crate::{
    encoding::Encoding,
    limits::{MAX_BYTES, MAX_CELLS, MAX_ROWS, MAX_TITLES},
    words::{Words, words},
};

/// Why nothing of a file is taken.
#[derive(Debug)]
pub enum FileError {
    /// It could not be read to its end.
    Unreadable(io::Error),
    /// It has more than [`MAX_BYTES`].
    TooLarge,
    /// There is nothing in it.
    Empty,
    /// It is a workbook of Excel and no text.
    Workbook,
    /// It is a web page, as some programs write under the name of a workbook.
    Page,
    /// Bytes in it are no letter in the encoding that fits it best.
    Undecodable {
        /// That encoding.
        encoding: Encoding,
        /// The row as a spreadsheet would show it, from 1.
        row: u32,
        /// The line as an editor shows it, from 1.
        line: u32,
        /// The column, from 1.
        column: usize,
        /// How many bytes come before them in the file.
        offset: usize,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// It may be in one of these encodings, and somebody has to choose.
    WhichEncoding(Vec<Encoding>),
    /// It looks like UTF-16, and lacks the mark that says which of a pair of bytes comes first.
    UnmarkedUtf16,
    /// It is ISO-2022-JP.
    Iso2022Jp,
    /// It has more than [`MAX_ROWS`] rows.
    TooManyRows,
    /// It has more than [`MAX_CELLS`] cells.
    TooManyCells,
    /// No row near its top has the names of the columns.
    NoHeader,
    /// Columns that the mapping names are not there, under these names.
    ColumnsMissing(Vec<String>),
    /// The mapping says of no column that it has the person's number, or of none that it has the name.
    MappingIncomplete,
    /// There are no rows below the names of the columns.
    NoRows,
}

impl FileError {
    /// The sentence for whoever sent the file.
    #[must_use]
    pub fn words(&self) -> Words {
        let mebibytes = MAX_BYTES >> 20;
        match self {
            Self::Unreadable(_) => words!(
                "ファイルを最後まで読み取れませんでした。もう一度送ってください。",
                "The file could not be read to its end; please send it again."
            ),
            Self::TooLarge => words!(
                "ファイルが大きすぎます(上限 {mebibytes} MiB)。",
                "The file is too large (at most {mebibytes} MiB)."
            ),
            Self::Empty => words!("ファイルが空です。", "The file is empty."),
            Self::Workbook => words!(
                "Excel のブックです。Excel で「CSV UTF-8(コンマ区切り)」として保存し直してください。",
                "This is an Excel workbook; please save it in Excel as \"CSV UTF-8 (comma delimited)\"."
            ),
            Self::Page => words!(
                "表ではなく、ウェブページ (HTML) のファイルです。Excel で開き、「CSV UTF-8」として保存し直してください。",
                "This is a web page (HTML) and no table; please open it in Excel and save it as \"CSV UTF-8\"."
            ),
            Self::Undecodable { encoding, row, line, column, offset, bytes } => {
                let (name, shown) = (encoding.name(), hex(bytes));
                words!(
                    "{row}行目(テキストでは{line}行目)の{column}列目に、{name} の文字として読めないバイト {shown} があります(先頭から {offset} バイト目)。文字コードを選び直すか、保存し直してください。",
                    "Row {row} (line {line} of the text), column {column} has the bytes {shown}, which are no letter of {name} (at byte {offset} of the file); please choose another encoding or save the file anew."
                )
            }
            Self::WhichEncoding(candidates) => {
                let names: Vec<_> = candidates.iter().map(|encoding| encoding.name()).collect();
                let (ja, en) = (names.join("、"), names.join(", "));
                words!(
                    "文字コードを自動では決められません(候補: {ja})。プレビューを見て選んでください。",
                    "The encoding cannot be told for certain (it may be {en}); please choose by the preview."
                )
            }
            Self::UnmarkedUtf16 => words!(
                "先頭の印 (BOM) がない UTF-16 のようです。UTF-8 または Shift_JIS で保存し直すか、文字コードを選んでください。",
                "This looks like UTF-16 without its mark (BOM); please save it as UTF-8 or Shift_JIS, or choose the encoding."
            ),
            Self::Iso2022Jp => words!(
                "ISO-2022-JP(JIS コード)のファイルは読めません。UTF-8 または Shift_JIS で保存し直してください。",
                "Files in ISO-2022-JP are not read; please save it as UTF-8 or Shift_JIS."
            ),
            Self::TooManyRows => words!(
                "行が多すぎます(上限 {MAX_ROWS} 行)。",
                "There are too many rows (at most {MAX_ROWS})."
            ),
            Self::TooManyCells => words!(
                "セルが多すぎます(上限 {MAX_CELLS} 個)。使わない列を削ってください。",
                "There are too many cells (at most {MAX_CELLS}); please take out columns that are not used."
            ),
            Self::NoHeader => words!(
                "先頭の {MAX_TITLES} 行に、列の名前の行が見つかりません。",
                "There is no row with the names of the columns among the first {MAX_TITLES}."
            ),
            Self::ColumnsMissing(names) => {
                let (ja, en) = (names.join("」「"), names.join(", "));
                words!(
                    "保存された列の対応にある列「{ja}」が、このファイルにありません。",
                    "Columns of the saved mapping are not in this file: {en}."
                )
            }
            Self::MappingIncomplete => words!(
                "職員番号の列と氏名の列を選んでください。",
                "Please say which columns have the person's number and the name."
            ),
            Self::NoRows => words!(
                "列の名前の下に、行が一つもありません。",
                "There are no rows below the names of the columns."
            ),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    let each: Vec<_> = bytes.iter().map(|byte| format!("{byte:02X}")).collect();
    each.join(" ")
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words().en)
    }
}

impl std::error::Error for FileError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        if let Self::Unreadable(cause) = self { Some(cause) } else { None }
    }
}
