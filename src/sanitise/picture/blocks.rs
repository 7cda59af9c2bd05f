//! Whether a JPEG's scan holds its blocks and nothing behind them. What decoders have read when the last block is there, they
//! look at no further, so anything can lie between it and the end marker.
//!
//! For what our encoder writes: one scan, baseline, Huffman codes, no restarts. Of others it says no.
//!
//! Format: ITU-T T.81, annexes B and F.

/// A code's symbol and its length, by the sixteen bits that begin with it; of length 0 where there is no such code.
pub(super) type Codes = Vec<(u8, u8)>;

/// How many points across and down one block of a part of the colours stands for, and the codes of its blocks.
struct Component {
    id: u8,
    across: u32,
    down: u32,
    dc: u8,
    ac: u8,
}

/// Whether the blocks of the only scan, which begins at `scan`, end where the end marker does that ends at `end`.
pub(super) fn fill_the_scan(file: &[u8], scan: usize, end: usize) -> bool {
    let parts = file.get(2..scan).zip(file.get(scan..end.saturating_sub(2)));
    parts.and_then(|(head, data)| walk(head, data)).is_some()
}

fn walk(head: &[u8], data: &[u8]) -> Option<()> {
    let (mut size, mut components, mut tables) = ((0, 0), Vec::new(), Vec::new());
    let mut rest = head;
    while !rest.is_empty() {
        let [0xff, marker, high, low, after @ ..] = rest else { return None };
        let length = usize::from(u16::from_be_bytes([*high, *low])).checked_sub(2)?;
        let segment = after.get(..length)?;
        rest = after.get(length..)?;
        match marker {
            0xc0 => (size, components) = frame(segment)?,
            0xc1..=0xc3 | 0xc5..=0xcf | 0xdd => return None,
            0xc4 => codes(segment, &mut tables)?,
            0xda => choose(segment, &mut components)?,
            _ => {}
        }
    }
    let most = |of: fn(&Component) -> u32| components.iter().map(of).max();
    let (across, down) = (most(|it| it.across)?, most(|it| it.down)?);
    // A single part of the colours comes block by block, whatever its numbers say.
    let blocks = |it: &Component| if components.len() == 1 { 1 } else { it.across * it.down };
    let (across, down) = if components.len() == 1 { (1, 1) } else { (across, down) };
    let units = u64::from(size.0.div_ceil(8 * across)) * u64::from(size.1.div_ceil(8 * down));
    let table =
        |class: u8, id: u8| tables.iter().find(|(name, _)| *name == (class, id)).map(|(_, codes)| codes);
    let mut plan = Vec::new();
    for component in &components {
        let pair: (&Codes, &Codes) = (table(0, component.dc)?, table(1, component.ac)?);
        plan.extend(std::iter::repeat_n(pair, usize::try_from(blocks(component)).ok()?));
    }
    let mut bits = Bits::new(data);
    for _ in 0..units {
        for (dc, ac) in &plan {
            bits.block(dc, ac)?;
        }
    }
    bits.is_at_end().then_some(())
}

fn frame(segment: &[u8]) -> Option<((u32, u32), Vec<Component>)> {
    let [8, h1, h0, w1, w0, count, rest @ ..] = segment else { return None };
    let number = |high: u8, low: u8| u32::from(u16::from_be_bytes([high, low]));
    let read = |part: &[u8]| {
        let [id, sampling, _] = part else { return None };
        let (across, down) = (u32::from(sampling >> 4), u32::from(sampling & 15));
        let is_sound = (1..=4).contains(&across) && (1..=4).contains(&down);
        is_sound.then_some(Component { id: *id, across, down, dc: 0, ac: 0 })
    };
    let components: Vec<Component> = rest.chunks(3).map(read).collect::<Option<_>>()?;
    (components.len() == usize::from(*count)).then_some(((number(*w1, *w0), number(*h1, *h0)), components))
}

pub(super) fn codes(mut segment: &[u8], tables: &mut Vec<((u8, u8), Codes)>) -> Option<()> {
    while let [name, rest @ ..] = segment {
        let counts = rest.get(..16)?;
        let total: usize = counts.iter().map(|count| usize::from(*count)).sum();
        let mut symbols = rest.get(16..16 + total)?.iter();
        let (mut found, mut code) = (vec![(0, 0); 1 << 16], 0_usize);
        for (length, count) in (1_u8..).zip(counts) {
            for symbol in symbols.by_ref().take(usize::from(*count)) {
                let wide = 1 << (16 - length);
                found.get_mut(code..code + wide)?.fill((*symbol, length));
                code += wide;
            }
        }
        tables.push(((name >> 4, name & 15), found));
        segment = rest.get(16 + total..)?;
    }
    Some(())
}

/// Which codes the scan uses, for all parts at once and whole.
fn choose(segment: &[u8], components: &mut [Component]) -> Option<()> {
    let [count, rest @ ..] = segment else { return None };
    let (chosen, [0, 63, 0]) = rest.split_at_checked(2 * components.len())? else { return None };
    if usize::from(*count) != components.len() {
        return None;
    }
    for (component, pair) in components.iter_mut().zip(chosen.chunks_exact(2)) {
        if pair[0] != component.id {
            return None;
        }
        (component.dc, component.ac) = (pair[1] >> 4, pair[1] & 15);
    }
    Some(())
}

/// The bits of a scan.
pub(super) struct Bits<'a> {
    data: &'a [u8],
    at: usize,
    held: u64,
    count: u32,
}

impl<'a> Bits<'a> {
    pub(super) fn new(data: &'a [u8]) -> Self {
        Self { data, at: 0, held: 0, count: 0 }
    }

    /// Behind the byte whose bits were read last.
    pub(super) fn end(&self) -> usize {
        let mut at = self.at;
        for _ in 0..self.count / 8 {
            at -= 1;
            // Of two bytes that stand for one.
            if at > 0 && self.data[at] == 0 && self.data[at - 1] == 0xff {
                at -= 1;
            }
        }
        at
    }

    pub(super) fn block(&mut self, dc: &Codes, ac: &Codes) -> Option<()> {
        let bits = self.symbol(dc)?;
        self.skip(u32::from(bits))?;
        let mut place = 1;
        while place < 64 {
            let symbol = self.symbol(ac)?;
            match (symbol >> 4, symbol & 15) {
                (15, 0) => place += 16,
                (_, 0) => return Some(()),
                (zeros, bits) => {
                    place += zeros + 1;
                    self.skip(u32::from(bits))?;
                }
            }
        }
        (place == 64).then_some(())
    }

    pub(super) fn symbol(&mut self, codes: &Codes) -> Option<u8> {
        self.fill();
        // Behind the end, ones: no whole code is made of them.
        let next = match self.count {
            16.. => self.held >> (self.count - 16),
            count => (self.held << (16 - count)) | ((1 << (16 - count)) - 1),
        };
        let (symbol, length) = *codes.get(usize::try_from(next & 0xffff).ok()?)?;
        (length > 0).then_some(())?;
        self.skip(u32::from(length))?;
        Some(symbol)
    }

    pub(super) fn skip(&mut self, bits: u32) -> Option<()> {
        self.fill();
        self.count = self.count.checked_sub(bits)?;
        Some(())
    }

    /// A number of at most sixteen bits.
    pub(super) fn take(&mut self, bits: u32) -> Option<u32> {
        self.skip(bits)?;
        u32::try_from(self.held >> self.count & ((1 << bits) - 1)).ok()
    }

    fn fill(&mut self) {
        while self.count <= 48 {
            let byte = match self.data.get(self.at..self.at + 2) {
                Some([0xff, 0]) => {
                    self.at += 1;
                    0xff
                }
                // A marker: no more data.
                Some([0xff, _]) => return,
                Some([byte, _]) => *byte,
                _ => match self.data.get(self.at) {
                    Some(0xff) | None => return,
                    Some(byte) => *byte,
                },
            };
            self.at += 1;
            self.held = self.held << 8 | u64::from(byte);
            self.count += 8;
        }
    }

    /// Less than a byte is left, and ones, as encoders fill it.
    fn is_at_end(&mut self) -> bool {
        self.fill();
        let filling = (1 << self.count.min(8)) - 1;
        self.at == self.data.len() && self.count < 8 && self.held & filling == filling
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::picture::jpeg;

    /// Where the scan begins: behind its header, the only one.
    fn scan_of(file: &[u8]) -> usize {
        let header = memchr::memmem::find(file, &[0xff, 0xda]).unwrap();
        header + 2 + usize::from(u16::from_be_bytes([file[header + 2], file[header + 3]]))
    }

    #[test]
    fn what_was_encoded_fills_its_scan_and_nothing_fits_behind_or_is_missing() {
        for (width, height) in [(1, 1), (8, 8), (17, 9), (16, 33), (150, 75)] {
            let mark = |x: u32, y: u32| u8::try_from((x * x + y * 7 + x * y) % 256).unwrap();
            let grey = image::GrayImage::from_fn(width, height, |x, y| image::Luma([mark(x, y)]));
            let rgb = image::RgbImage::from_fn(width, height, |x, y| image::Rgb([mark(x, y), mark(y, x), 9]));
            for (picture, sampling) in
                [(grey.into(), 0x11), (rgb.clone().into(), 0x11), (rgb.into(), jpeg::SHARED_BY_FOUR)]
            {
                let file = jpeg::encode(&picture, None, sampling).unwrap();
                let (scan, end) = (scan_of(&file), file.len());
                assert!(fill_the_scan(&file, scan, end), "{width} x {height}, {sampling}");
                for more in [&b"<html>"[..], &[0], &[0xff, 0], &[0xff, 0xd0], &[0xff, 0xff]] {
                    let longer = [&file[..end - 2], more, &file[end - 2..]].concat();
                    assert!(!fill_the_scan(&longer, scan, longer.len()), "{width} x {height}, {more:?}");
                }
                let shorter = [&file[..end - 3], &file[end - 2..]].concat();
                assert!(!fill_the_scan(&shorter, scan, shorter.len()));
            }
        }
    }
}
