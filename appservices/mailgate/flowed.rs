//! `format=flowed`: paragraphs that a mail program broke into lines, joined again.
//!
//! Spec: <https://www.rfc-editor.org/rfc/rfc3676#section-4>

/// What is broken off before a signature, which is a line of its own.
const SIGNATURE: &str = "-- ";

/// Whether the blank at which a line was broken was put there for that (`DelSp=yes`: texts of languages without blanks).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Blank {
    Kept,
    Added,
}

/// A text with its paragraphs on a line each; what is quoted begins with as many `>` as before.
pub(crate) fn joined(text: &str, blank: Blank) -> String {
    let mut all = String::with_capacity(text.len());
    // How deeply the line before is quoted, if it goes on.
    let mut open: Option<usize> = None;
    for (number, line) in text.lines().enumerate() {
        let content = line.trim_start_matches('>');
        let depth = line.len() - content.len();
        // One blank may be put before what would begin with a blank, a `>` or `From `.
        let content = content.strip_prefix(' ').unwrap_or(content);
        let is_signature = content == SIGNATURE;
        if open != Some(depth) || is_signature {
            if number > 0 {
                all.push('\n');
            }
            all.extend(std::iter::repeat_n('>', depth));
            if depth > 0 {
                all.push(' ');
            }
        }
        let goes_on = !is_signature && content.ends_with(' ');
        open = goes_on.then_some(depth);
        all.push_str(match blank {
            Blank::Added if goes_on => content.strip_suffix(' ').unwrap_or(content),
            _ => content,
        });
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paragraphs_are_joined_as_far_as_they_are_quoted_alike() {
        for (blank, broken, whole) in [
            (Blank::Kept, "The bridge \r\nis closed.\r\nTaro\r\n", "The bridge is closed.\nTaro"),
            (Blank::Added, "橋は通行止め \nです。\n\n太郎 ", "橋は通行止めです。\n\n太郎"),
            // Of two blanks one was there before.
            (Blank::Added, "a  \nb", "a b"),
            (
                Blank::Kept,
                "> quoted \n> on\n>> deeper \n> less\nmine \nagain",
                "> quoted on\n>> deeper \n> less\nmine again",
            ),
            // What looks quoted, and is not.
            (Blank::Kept, " > no quotation\n From here", "> no quotation\nFrom here"),
            (Blank::Kept, "text \n-- \nTaro \nYamada", "text \n-- \nTaro Yamada"),
            (Blank::Added, "text \n-- \nTaro", "text\n-- \nTaro"),
            (Blank::Kept, "> text \n> -- \n> Taro", "> text \n> -- \n> Taro"),
            (Blank::Kept, "\nlater", "\nlater"),
            (Blank::Kept, "", ""),
        ] {
            assert_eq!(joined(broken, blank), whole, "{broken:?}");
        }
    }
}
