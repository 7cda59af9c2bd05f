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
    fn a_cell_is_never_computed_and_is_otherwise_as_it_was() {
        let one = |cell: &str| written(&["a"], [vec![cell.to_owned()]]).replace("\u{feff}\"a\"\r\n", "");
        assert_eq!(one("山田 花子"), "\"山田 花子\"\r\n");
        assert_eq!(one("言\"う\"\n次"), "\"言\"\"う\"\"\n次\"\r\n");
        assert_eq!(one("-12.5"), "\"-12.5\"\r\n");
        for formula in ["=1+1", "+1", "-1+1", "−1+1", "@SUM(A1)", "\t=1", "＝1", " =1", "　＋1", "-"] {
            assert_eq!(one(formula), format!("\"'{formula}\"\r\n"), "{formula:?}");
        }
        for hidden in ["\0=1+1", "\r=1+1", "\u{1}\u{2}=1+1"] {
            assert_eq!(one(hidden), "\"'=1+1\"\r\n", "{hidden:?}");
        }
    }
}
