//! Files that stand in a text (`begin 644 name` … `end`), as mail programs of before MIME and many scheduled jobs send them.
//!
//! Format: <https://pubs.opengroup.org/onlinepubs/9799919799/utilities/uuencode.html>

/// Files that are taken out of one text; further ones stay in it.
const MOST: usize = 30;

/// Digits of the rights that stand before the name.
const RIGHTS: std::ops::RangeInclusive<usize> = 3..=4;

/// A file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// In the charset of the text.
    pub(crate) name: Vec<u8>,
    pub(crate) bytes: Vec<u8>,
}

/// The files, and the text without them. What is not whole stays in the text.
pub(crate) fn taken_out(text: &[u8]) -> (Vec<u8>, Vec<Found>) {
    let (mut kept, mut found) = (Vec::with_capacity(text.len()), Vec::new());
    let mut rest = text;
    while !rest.is_empty() {
        let (line, after) = line(rest);
        // A line of a file never looks like the beginning of one, so of what is not whole no line is read more than twice.
        let file = begin(line).filter(|_| found.len() < MOST).and_then(|name| Some((name, bytes(after)?)));
        rest = match file {
            Some((name, (bytes, after))) => {
                found.push(Found { name: name.to_vec(), bytes });
                after
            }
            None => {
                kept.extend(rest.get(..rest.len() - after.len()).unwrap_or_default());
                after
            }
        };
    }
    (kept, found)
}

/// The first line without its end, and what follows.
fn line(text: &[u8]) -> (&[u8], &[u8]) {
    let length = text.iter().position(|byte| *byte == b'\n').map_or(text.len(), |at| at + 1);
    let (line, after) = text.split_at(length);
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    (line.strip_suffix(b"\r").unwrap_or(line), after)
}

/// The name of the file that begins with a line.
fn begin(line: &[u8]) -> Option<&[u8]> {
    let rest = line.strip_prefix(b"begin ")?;
    let (rights, name) = rest.split_at_checked(rest.iter().position(|byte| *byte == b' ')?)?;
    let are_rights =
        RIGHTS.contains(&rights.len()) && rights.iter().all(|digit| (b'0'..=b'7').contains(digit));
    Some(name.trim_ascii()).filter(|name| are_rights && !name.is_empty())
}

/// The bytes of a file up to its end, and what follows upon it.
fn bytes(text: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let (mut all, mut rest) = (Vec::new(), text);
    while !rest.is_empty() {
        let (line, after) = line(rest);
        rest = after;
        match line.split_first() {
            Some((b'`', [])) => continue,
            Some((length, data)) if (b'!'..=b'M').contains(length) => {
                decode(usize::from(length - b' '), data, &mut all)?;
            }
            _ if line == b"end" => return Some((all, rest)),
            _ if line.iter().all(|byte| *byte == b' ') => {}
            _ => return None,
        }
    }
    None
}

/// Adds what a line says. Blanks at its end may have been lost on the way, and a sum may follow.
fn decode(length: usize, data: &[u8], all: &mut Vec<u8>) -> Option<()> {
    let end = all.len() + length;
    let needed = length.div_ceil(3) * 4;
    if data.len() > needed + 1 {
        return None;
    }
    for at in (0..needed).step_by(4) {
        let mut four = 0_u32;
        for place in at..at + 4 {
            let byte = data.get(place).copied().unwrap_or(b' ');
            let six = byte.checked_sub(b' ').filter(|six| *six <= 64)?;
            four = four << 6 | u32::from(six & 63);
        }
        let [_, three @ ..] = four.to_be_bytes();
        all.extend(three);
    }
    all.truncate(end);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_files_are_taken_out_of_a_text_and_nothing_else() {
        let (text, found) = taken_out(
            b"before\r\nbegin 644 a b.txt\r\n#0V%T\r\n\"0V$ \r\n`\r\nend\r\nbetween\nbegin 0600 c\n \nend\nafter",
        );
        assert_eq!(String::from_utf8_lossy(&text), "before\r\nbetween\nafter");
        let of = |name: &[u8], bytes: &[u8]| Found { name: name.to_vec(), bytes: bytes.to_vec() };
        assert_eq!(found, [of(b"a b.txt", b"CatCa"), of(b"c", b"")]);
        // The blank at the end of a line was lost.
        assert_eq!(taken_out(b"begin 644 x\n\"0V$\n`\nend\n").1, [of(b"x", b"Ca")]);
        for other in [
            &b"begin 644 x\n#0V%T\n`\n"[..],
            b"begin 644 x\n#0V%Tlong line\nend\n",
            b"begin 644 \nend\n",
            b"begin 999 x\nend\n",
            b"begin with a word\nend\n",
            b"> begin 644 x\n> #0V%T\n> `\n> end\n",
            b"begin 644 x\nbegin 644 y\nno\nend\n",
            b"begin 644 x\n#0V\xe5T\n`\nend\n",
        ] {
            assert_eq!(taken_out(other), (other.to_vec(), vec![]), "{}", String::from_utf8_lossy(other));
        }
    }

    #[test]
    fn no_more_than_so_many_are_taken_out_and_what_is_not_whole_costs_no_endless_time() {
        let many = b"begin 644 x\n#0V%T\n`\nend\n".repeat(MOST + 2);
        let (text, found) = taken_out(&many);
        assert_eq!((found.len(), text), (MOST, b"begin 644 x\n#0V%T\n`\nend\n".repeat(2)));
        let begun = std::time::Instant::now();
        let open = [&b"begin 644 x\n".repeat(100_000)[..], &b"#0V%T\n".repeat(100_000)].concat();
        assert_eq!(taken_out(&open), (open.clone(), vec![]));
        assert!(begun.elapsed().as_secs() < 5, "no quadratic work");
    }
}
