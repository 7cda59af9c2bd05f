//! What fax machines write: rows as runs of white and black, alone or by how they differ from the row above.
//!
//! A row that is broken ends white, and in Group 3 the next one begins at the next mark of a line's end, as on paper.
//!
//! Format: ITU-T T.4 (Group 3) and T.6 (Group 4); in TIFF: RFC 2306, TIFF 6.0 sections 10 and 11.

use fax::{
    BitReader,
    maps::{Mode, black, mode, white},
};

/// How rows are written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Coding {
    /// Runs alone, each row from a whole byte on.
    Runs,
    /// Group 3: runs alone, or where it says so by the row above as well.
    Group3 { by_above: bool },
    /// Group 4: each row by the one above.
    Group4,
}

/// The rows that data hold, a byte for each point: 1 where a run is black. Rows that are missing are white.
pub(super) fn rows(data: &[u8], coding: Coding, is_turned: bool, width: u16, count: usize) -> Vec<u8> {
    let mut reading = Reading {
        bits: Bits { data, is_turned, at: 0 },
        width: i32::from(width),
        above: Vec::new(),
        row: Vec::new(),
    };
    let across = usize::from(width);
    let mut out = vec![0; across * count];
    for row in out.chunks_exact_mut(across.max(1)) {
        let read = match coding {
            Coding::Runs => reading.runs(),
            Coding::Group3 { by_above } => reading.group3(by_above),
            Coding::Group4 => reading.by_above(),
        };
        if read == Read::End {
            break;
        }
        let mut colour = 0;
        let mut from = 0;
        for change in reading.row.iter().copied().chain([reading.width]) {
            // None is beyond the row.
            let to = usize::try_from(change).unwrap_or(0).min(across);
            if let Some(run) = row.get_mut(from..to) {
                run.fill(colour);
            }
            (from, colour) = (to, 1 - colour);
        }
        match (read, coding) {
            (Read::Broken, Coding::Group3 { .. }) if reading.next_end() => {}
            (Read::Broken, _) => break,
            _ if coding == Coding::Runs => reading.bits.at = reading.bits.at.next_multiple_of(8),
            _ => {}
        }
        std::mem::swap(&mut reading.above, &mut reading.row);
    }
    out
}

/// What came of a row.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Read {
    Whole,
    Broken,
    End,
}

struct Reading<'a> {
    bits: Bits<'a>,
    width: i32,
    /// Where the colour changes, beginning with white: in the row above, and in this one.
    above: Vec<i32>,
    row: Vec<i32>,
}

impl Reading<'_> {
    fn group3(&mut self, by_above: bool) -> Read {
        let (mut ends, mut is_alone) = (0, true);
        while self.bits.end_of_line() {
            ends += 1;
            if by_above {
                is_alone = self.bits.next() != Some(0);
            }
        }
        // Two at once begin the end of the page.
        match ends {
            2.. => Read::End,
            _ if is_alone => self.runs(),
            _ => self.by_above(),
        }
    }

    /// Steps to the next end of a line, which the next row looks for itself; whether there is one.
    fn next_end(&mut self) -> bool {
        let mut noughts = 0;
        while let Some(bit) = self.bits.next() {
            match bit {
                0 => noughts += 1,
                _ if noughts >= 11 => {
                    self.bits.at -= 12;
                    return true;
                }
                _ => noughts = 0,
            }
        }
        false
    }

    fn change(&mut self, at: i32) {
        // Two at one place are none.
        if self.row.last() == Some(&at) {
            self.row.pop();
        } else {
            self.row.push(at);
        }
    }

    fn run(&mut self, is_black: bool) -> Option<i32> {
        let mut sum = 0_i32;
        loop {
            let part = if is_black { black::decode(&mut self.bits) } else { white::decode(&mut self.bits) }?;
            sum = sum.checked_add(i32::from(part))?;
            if sum > self.width {
                return None;
            }
            if part < 64 {
                return Some(sum);
            }
        }
    }

    fn runs(&mut self) -> Read {
        self.row.clear();
        if self.bits.at >= self.bits.len() {
            return Read::End;
        }
        let (mut at, mut is_black) = (0, false);
        while at < self.width {
            let Some(run) = self.run(is_black).filter(|run| at + run <= self.width) else {
                return Read::Broken;
            };
            at += run;
            self.change(at);
            is_black = !is_black;
        }
        Read::Whole
    }

    fn by_above(&mut self) -> Read {
        self.row.clear();
        // Before the first point stands white.
        let (mut at, mut is_black, mut near) = (-1, false, 0_usize);
        while at < self.width {
            let Some(mode) = mode::decode(&mut self.bits) else { return Read::Broken };
            // The first change above that lies further, and is into the other colour.
            near = near.saturating_sub(2);
            while self.above.get(near).is_some_and(|change| *change <= at || (near % 2 == 1) != is_black) {
                near += 1;
            }
            let above = |place: usize| self.above.get(place).copied().unwrap_or(self.width);
            match mode {
                Mode::Pass => at = above(near + 1),
                Mode::Vertical(by) => {
                    let change = above(near) + i32::from(by);
                    if change < at.max(0) || change > self.width {
                        return Read::Broken;
                    }
                    self.change(change);
                    (at, is_black) = (change, !is_black);
                }
                Mode::Horizontal => {
                    let mut change = at.max(0);
                    for is_black in [is_black, !is_black] {
                        let run = self.run(is_black).filter(|run| change + run <= self.width);
                        let Some(run) = run else { return Read::Broken };
                        change += run;
                        self.change(change);
                    }
                    at = change;
                }
                Mode::Extension => return Read::Broken,
                Mode::EOF => return Read::End,
            }
        }
        Read::Whole
    }
}

struct Bits<'a> {
    data: &'a [u8],
    /// Whether each byte begins with its lowest bit.
    is_turned: bool,
    at: usize,
}

impl Bits<'_> {
    fn len(&self) -> usize {
        self.data.len() * 8
    }

    fn byte(&self, at: usize) -> u8 {
        let byte = self.data.get(at).copied().unwrap_or(0);
        if self.is_turned { byte.reverse_bits() } else { byte }
    }

    fn next(&mut self) -> Option<u16> {
        let bit = self.peek(1)?;
        self.at += 1;
        Some(bit)
    }

    /// Steps over the end of a line, with the noughts that fill it up; whether one was here.
    fn end_of_line(&mut self) -> bool {
        let begun = self.at;
        let is_end = loop {
            match self.next() {
                Some(0) => {}
                // Behind eleven noughts.
                Some(_) => break self.at - begun >= 12,
                None => break false,
            }
        };
        if !is_end {
            self.at = begun;
        }
        is_end
    }
}

impl BitReader for Bits<'_> {
    type Error = ();

    fn peek(&self, bits: u8) -> Option<u16> {
        // The last code may be shorter than what is looked at.
        if self.at >= self.len() {
            return None;
        }
        let three = (0..3).fold(0_u32, |all, i| all << 8 | u32::from(self.byte(self.at / 8 + i)));
        let behind = 24 - u32::try_from(self.at % 8).ok()? - u32::from(bits);
        u16::try_from(three >> behind & ((1 << bits) - 1)).ok()
    }

    fn consume(&mut self, bits: u8) -> Result<(), ()> {
        self.at += usize::from(bits);
        if self.at > self.len() { Err(()) } else { Ok(()) }
    }

    fn bits_to_byte_boundary(&self) -> u8 {
        u8::try_from((8 - self.at % 8) % 8).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use fax::{BitWriter, Bits as Code, Color, VecWriter, encoder::Encoder};

    use super::*;

    const WIDTH: u16 = 70;

    fn picture() -> Vec<u8> {
        let black = |x: usize, y: usize| (x * x + 3 * y) % 11 < 4 || y == 5 || y == 6 && x > 30;
        (0..9).flat_map(|y| (0..usize::from(WIDTH)).map(move |x| u8::from(black(x, y)))).collect()
    }

    fn write_run(out: &mut VecWriter, is_black: bool, mut run: u16) {
        let code = |run| if is_black { black::encode(run) } else { white::encode(run) };
        let mut write = |run| {
            if let Some(bits) = code(run) {
                let Ok(()) = out.write(bits);
            }
        };
        if run >= 64 {
            write(run / 64 * 64);
            run %= 64;
        }
        write(run);
    }

    fn write_runs(out: &mut VecWriter, row: &[u8]) {
        let (mut colour, mut from) = (0, 0);
        while from < row.len() {
            let run = row[from..].iter().take_while(|point| **point == colour).count();
            write_run(out, colour == 1, u16::try_from(run).unwrap_or(0));
            (from, colour) = (from + run, 1 - colour);
        }
    }

    const END: Code = Code { data: 1, len: 12 };
    const ONE: Code = Code { data: 1, len: 1 };

    #[test]
    fn rows_are_read_as_they_were_written_in_each_coding() {
        let picture = picture();
        let rows_of = || picture.chunks(usize::from(WIDTH));
        let mut group3 = VecWriter::new();
        for row in rows_of() {
            let Ok(()) = group3.write(END);
            write_runs(&mut group3, row);
        }
        for _ in 0..6 {
            let Ok(()) = group3.write(END);
        }
        let group3 = group3.finish();
        let mut aligned = Vec::new();
        for row in rows_of() {
            let mut out = VecWriter::new();
            write_runs(&mut out, row);
            aligned.extend(out.finish());
        }
        let mut group4 = Encoder::new(VecWriter::new());
        for row in rows_of() {
            let points = row.iter().map(|point| if *point == 1 { Color::Black } else { Color::White });
            let Ok(()) = group4.encode_line(points, WIDTH);
        }
        let group4 = group4.finish().map(VecWriter::finish).unwrap_or_default();
        // Each row says that it stands alone.
        let mut marked = VecWriter::new();
        for row in rows_of() {
            let Ok(()) = marked.write(END);
            let Ok(()) = marked.write(ONE);
            write_runs(&mut marked, row);
        }
        let marked = marked.finish();
        for (name, data, coding) in [
            ("group 3", &group3, Coding::Group3 { by_above: false }),
            ("runs", &aligned, Coding::Runs),
            ("group 4", &group4, Coding::Group4),
            ("marked", &marked, Coding::Group3 { by_above: true }),
        ] {
            let turned: Vec<u8> = data.iter().map(|byte| byte.reverse_bits()).collect();
            for (data, is_turned) in [(data, false), (&turned, true)] {
                assert!(rows(data, coding, is_turned, WIDTH, 9) == picture, "{name}, {is_turned}");
                // More rows than there are come out white, and half of the data gives half of them.
                let more = rows(data, coding, is_turned, WIDTH, 12);
                assert!(
                    more[..picture.len()] == picture && more[picture.len()..].iter().all(|it| *it == 0),
                    "{name}"
                );
                for end in 0..data.len() {
                    assert_eq!(rows(&data[..end], coding, is_turned, WIDTH, 9).len(), picture.len());
                }
            }
        }
        // A row that is broken costs itself alone.
        let mut broken = group3.clone();
        broken[4] = 0;
        broken[5] = 0;
        let read = rows(&broken, Coding::Group3 { by_above: false }, false, WIDTH, 9);
        let last = usize::from(WIDTH) * 2;
        assert!(read != picture && read.windows(last).any(|rows| rows == &picture[picture.len() - last..]));
    }
}
