//! Tables as files that Excel opens right.

/// The type of such a file.
pub(crate) const KIND: &str = "text/csv; charset=utf-8";

/// What makes Excel take the file for UTF-8.
const MARK: &str = "\u{feff}";

/// Rows as a CSV file in UTF-8 with its mark; a row ends with CR LF.
pub(crate) fn written(heads: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut text = MARK.to_owned();
    row(&mut text, heads.iter().copied());
    for cells in rows {
        row(&mut text, cells.iter().map(String::as_str));
    }
    text
}

fn row<'a>(text: &mut String, cells: impl Iterator<Item = &'a str>) {
    for (place, cell) in cells.enumerate() {
        if place > 0 {
            text.push(',');
        }
        // What nobody sees is passed over by spreadsheets, and what stands behind it would be computed.
        let cell: String =
            cell.chars().filter(|letter| matches!(letter, '\n' | '\t') || !letter.is_control()).collect();
        text.push('"');
        if is_formula(&cell) {
            text.push('\'');
        }
        text.push_str(&cell.replace('"', "\"\""));
        text.push('"');
    }
    text.push_str("\r\n");
}

/// Whether a spreadsheet would compute a cell that begins so. Blanks before it change nothing, and the wide forms are taken
/// for the narrow ones where a file is read as a Japanese one.
fn is_formula(cell: &str) -> bool {
    let begins = |letter| {
        matches!(letter, '=' | '+' | '-' | '@' | '＝' | '＋' | '－' | '−' | '＠' | '\t' | '\r' | '\n')
    };
    let is_number = cell.strip_prefix('-').is_some_and(|rest| {
        !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
    });
    !is_number && (cell.starts_with(begins) || cell.trim_start().starts_with(begins))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_exported_and_brought_in_again_is_what_it_was() {
        let names =
            ["=花子", "+81 花子", "-花子", "@花子", "＝花子", "－花子", "髙﨑 葛\u{e0100}", "言\"う\",次"];
        // Blanks in front are none of a name's letters.
        let blank = ["\t=花子", "\r+花子"];
        let rows = (1..).zip(names.into_iter().chain(blank)).map(|(number, name): (u32, &str)| {
            vec![format!("{number:05}"), name.to_owned(), "防災課".to_owned(), "主査".to_owned()]
        });
        let file = written(&["職員番号", "氏名", "所属", "職名"], rows);
        let sheet = intake::Sheet::read(file.as_bytes(), intake::How::default()).expect("a table");
        let mapping = intake::Proposal::of(&sheet).expect("columns").mapping;
        let read = intake::Intake::of(&sheet, &mapping).expect("rows");
        let (numbers, read): (Vec<_>, Vec<_>) =
            read.rows.iter().map(|row| (row.number.as_str(), row.name.to_string())).unzip();
        let wanted: Vec<_> = names.into_iter().chain(["=花子", "+花子"]).collect();
        assert_eq!(
            (read, numbers.first(), numbers.len()),
            (wanted.iter().map(ToString::to_string).collect(), Some(&"00001"), 10)
        );
    }

    #[test]
    fn a_cell_is_never_computed_and_is_otherwise_as_it_was() {
        let one = |cell: &str| written(&["a"], [vec![cell.to_owned()]]).replace("\u{feff}\"a\"\r\n", "");
        assert_eq!(one("山田 花子"), "\"山田 花子\"\r\n");
        assert_eq!(one("言\"う\"\n次"), "\"言\"\"う\"\"\n次\"\r\n");
        assert_eq!(one("-12.5"), "\"-12.5\"\r\n");
        for formula in ["=1+1", "+1", "-1+1", "−1+1", "@SUM(A1)", "\t=1", "＝1", " =1", "　＋1", "-"] {
            assert_eq!(one(formula), format!("\"'{formula}\"\r\n"), "{formula:?}");
        }
        // Letters that Shift_JIS lacks neither end the file nor become others: 葛 with its selector, Ø, 𠮷.
        let hundred = (1..=100).map(|row| {
            vec![row.to_string(), if row == 40 { "葛\u{e0100}Ø𠮷".to_owned() } else { "山田".to_owned() }]
        });
        let text = written(&["番号", "氏名"], hundred);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!((lines.len(), lines[0]), (101, "\u{feff}\"番号\",\"氏名\""));
        assert_eq!((lines[40], lines[100]), ("\"40\",\"葛\u{e0100}Ø𠮷\"", "\"100\",\"山田\""));
        for hidden in ["\0=1+1", "\r=1+1", "\u{1}\u{2}=1+1"] {
            assert_eq!(one(hidden), "\"'=1+1\"\r\n", "{hidden:?}");
        }
    }
}
