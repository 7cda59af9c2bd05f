//! A JPEG's own blocks, bit for bit, and nothing beside them: for pictures that stay in the document that shows them, where
//! encoding anew would wear them down.
//!
//! Every scan is walked block by block, so what lies between the last block and the next marker is known and cut off; what
//! applications add (EXIF, profiles, comments) is left out, and of Adobe's segment and JFIF's only what says how the colours
//! are to be read. Baseline, extended and progressive pictures of Huffman codes and eight bits are walked; of others nothing
//! is said.
//!
//! Format: ITU-T T.81, annexes B, F and G.

use std::collections::BTreeMap;

use super::blocks::{Bits, Codes, codes};

/// Most scans; encoders write ten.
const MOST_SCANS: usize = 100;

/// Most blocks that are looked at, of all scans together: 120 million points in three colours and ten scans have fewer.
const MOST_BLOCKS: u64 = 100_000_000;

/// Most of them in all pictures of a document: a thousand scanned pages have an eighth of that.
pub(crate) const MOST_BLOCKS_OF_ALL: u64 = 2_000_000_000;

/// As many blocks are looked at in the time that a table of codes takes.
const TABLE: u64 = 4_000;

/// A picture without what lay beside it.
pub(crate) struct Stripped {
    pub(crate) bytes: Vec<u8>,
    /// Whether something of applications is gone.
    pub(crate) metadata: bool,
    /// How many bytes behind blocks, and behind the end, are gone.
    pub(crate) trailing: usize,
}

/// Why a picture was not walked to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unwalked {
    /// It is coded otherwise, or broken.
    Otherwise,
    /// It has more blocks than may be looked at: decoding it would take longer still.
    TooMuch,
}

/// The picture alone. Of the blocks that may still be looked at those are taken that were.
pub(crate) fn stripped(file: &[u8], most_pixels: u64, blocks_left: &mut u64) -> Result<Stripped, Unwalked> {
    let rest = file.strip_prefix(&[0xff, 0xd8]).ok_or(Unwalked::Otherwise)?;
    let mut walk = Walk {
        out: vec![0xff, 0xd8],
        rest,
        frame: None,
        tables: BTreeMap::new(),
        quantisers: 0,
        restarts: 0,
        scans: 0,
        blocks_left: MOST_BLOCKS.min(*blocks_left),
        metadata: false,
        trailing: 0,
        has_jfif: false,
        has_adobe: false,
        fresh: Vec::new(),
        most_pixels,
    };
    let most = walk.blocks_left;
    let is_walked = loop {
        match walk.segment() {
            Some(true) => {}
            Some(false) => break true,
            None => break false,
        }
    };
    *blocks_left -= most - walk.blocks_left;
    if !is_walked || walk.scans == 0 {
        return Err(if walk.blocks_left == 0 { Unwalked::TooMuch } else { Unwalked::Otherwise });
    }
    walk.out.extend([0xff, 0xd9]);
    Ok(Stripped { bytes: walk.out, metadata: walk.metadata, trailing: walk.trailing })
}

struct Component {
    id: u8,
    across: u32,
    down: u32,
    /// Of each block, which coefficients are not nought so far: what is refined later.
    known: Vec<u64>,
}

struct Frame {
    is_progressive: bool,
    width: u32,
    height: u32,
    components: Vec<Component>,
}

impl Frame {
    fn most(&self, of: fn(&Component) -> u32) -> u32 {
        self.components.iter().map(of).max().unwrap_or(1)
    }

    /// How many blocks across and down a component has where it comes alone.
    fn own_blocks(&self, component: &Component) -> (u32, u32) {
        let blocks = |size: u32, own: u32, most: u32| (size * own).div_ceil(most).div_ceil(8);
        (
            blocks(self.width, component.across, self.most(|it| it.across)),
            blocks(self.height, component.down, self.most(|it| it.down)),
        )
    }
}

struct Walk<'a> {
    out: Vec<u8>,
    rest: &'a [u8],
    frame: Option<Frame>,
    /// Codes by class and number.
    tables: BTreeMap<(u8, u8), Codes>,
    /// Bits of the numbers of tables that there are.
    quantisers: u8,
    restarts: u32,
    scans: usize,
    blocks_left: u64,
    metadata: bool,
    trailing: usize,
    has_jfif: bool,
    has_adobe: bool,
    /// Tables that have come since the last scan: one that comes twice before it is used holds something else.
    fresh: Vec<(u8, u8)>,
    most_pixels: u64,
}

impl Walk<'_> {
    /// Takes the next segment; whether more may come.
    fn segment(&mut self) -> Option<bool> {
        let Some(at) = next_marker(self.rest) else {
            // Cut off behind whole blocks: readers show what there is.
            self.trailing += self.rest.len();
            return Some(false);
        };
        self.trailing += at;
        let marker = self.rest[at + 1];
        self.rest = &self.rest[at + 2..];
        match marker {
            0xd9 => {
                self.trailing += self.rest.len();
                return Some(false);
            }
            0x01 | 0xd0..=0xd7 => return Some(true),
            _ => {}
        }
        let length = usize::from(u16::from_be_bytes([*self.rest.first()?, *self.rest.get(1)?]));
        let segment = self.rest.get(2..length)?;
        self.rest = &self.rest[length..];
        match marker {
            0xe0 if !self.has_jfif && segment.starts_with(b"JFIF\0") && segment.len() >= 14 => {
                self.has_jfif = true;
                self.metadata |= segment.len() > 14;
                // Without a small picture of itself.
                let head = [&segment[..12], &[0, 0]].concat();
                self.write(marker, &head);
            }
            0xee if !self.has_adobe && segment.starts_with(b"Adobe") && segment.len() >= 12 => {
                self.has_adobe = true;
                self.write(marker, &[b"Adobe\0\x64\0\0\0\0".as_slice(), &segment[11..12]].concat());
            }
            0xe0..=0xef | 0xfe => self.metadata = true,
            0xdb => {
                self.quantise(segment)?;
                self.write(marker, segment);
            }
            0xc4 => {
                self.tables(segment)?;
                self.write(marker, segment);
            }
            0xdd => {
                let [high, low] = segment else { return None };
                self.restarts = u32::from(u16::from_be_bytes([*high, *low]));
                self.write(marker, segment);
            }
            0xc0..=0xc2 => {
                self.frame(marker == 0xc2, segment)?;
                self.write(marker, segment);
            }
            0xda => {
                self.write(marker, segment);
                self.scan(segment)?;
            }
            _ => return None,
        }
        Some(true)
    }

    fn write(&mut self, marker: u8, segment: &[u8]) {
        self.out.extend([0xff, marker]);
        // Each was one, or is shorter.
        let length = u16::try_from(segment.len() + 2).unwrap_or(u16::MAX);
        self.out.extend(length.to_be_bytes());
        self.out.extend(segment);
    }

    /// Takes some of the blocks that may be looked at; all that are left where they are too few.
    fn spend(&mut self, blocks: u64) -> Option<()> {
        let left = self.blocks_left.checked_sub(blocks);
        self.blocks_left = left.unwrap_or(0);
        left.map(drop)
    }

    /// Notes that a table comes; not where it came already and nothing has used it.
    fn is_fresh(&mut self, table: (u8, u8)) -> Option<()> {
        (!self.fresh.contains(&table)).then(|| self.fresh.push(table))
    }

    fn quantise(&mut self, mut segment: &[u8]) -> Option<()> {
        while let [name, rest @ ..] = segment {
            let (wide, number) = (name >> 4, name & 15);
            if wide > 1 || number > 3 {
                return None;
            }
            self.is_fresh((2, number))?;
            self.quantisers |= 1 << number;
            segment = rest.get(64 * (1 + usize::from(wide))..)?;
        }
        Some(())
    }

    fn tables(&mut self, segment: &[u8]) -> Option<()> {
        self.spend(count_of_tables(segment)? * TABLE)?;
        let mut found = Vec::new();
        codes(segment, &mut found)?;
        for (name, codes) in found {
            if name.0 > 1 || name.1 > 3 {
                return None;
            }
            self.is_fresh(name)?;
            self.tables.insert(name, codes);
        }
        Some(())
    }

    fn frame(&mut self, is_progressive: bool, segment: &[u8]) -> Option<()> {
        let [8, h1, h0, w1, w0, count, rest @ ..] = segment else { return None };
        let number = |high: u8, low: u8| u32::from(u16::from_be_bytes([high, low]));
        let (width, height) = (number(*w1, *w0), number(*h1, *h0));
        let is_sound = width > 0
            && height > 0
            && u64::from(width) * u64::from(height) <= self.most_pixels
            && (1..=4).contains(count)
            && rest.len() == 3 * usize::from(*count);
        if !is_sound || self.frame.is_some() {
            return None;
        }
        let read = |part: &[u8]| {
            let [id, sampling, _] = part else { return None };
            let (across, down) = (u32::from(sampling >> 4), u32::from(sampling & 15));
            let is_sound = (1..=4).contains(&across) && (1..=4).contains(&down);
            is_sound.then_some(Component { id: *id, across, down, known: Vec::new() })
        };
        let components = rest.chunks(3).map(read).collect::<Option<Vec<_>>>()?;
        let mut frame = Frame { is_progressive, width, height, components };
        if is_progressive {
            let sizes: Vec<_> = frame.components.iter().map(|it| frame.own_blocks(it)).collect();
            for (component, (across, down)) in frame.components.iter_mut().zip(sizes) {
                component.known = vec![0; usize::try_from(u64::from(across) * u64::from(down)).ok()?];
            }
        }
        self.frame = Some(frame);
        Some(())
    }

    fn scan(&mut self, segment: &[u8]) -> Option<()> {
        self.scans += 1;
        if self.scans > MOST_SCANS {
            return None;
        }
        self.fresh.clear();
        let mut frame = self.frame.take()?;
        let scan = Scan::read(segment, &frame)?;
        let end = self.blocks_of(&scan, &mut frame);
        self.frame = Some(frame);
        end
    }

    fn blocks_of(&mut self, scan: &Scan, frame: &mut Frame) -> Option<()> {
        let (across, down) = match scan.parts.as_slice() {
            [(one, ..)] => frame.own_blocks(frame.components.get(*one)?),
            _ => (
                frame.width.div_ceil(8 * frame.most(|it| it.across)),
                frame.height.div_ceil(8 * frame.most(|it| it.down)),
            ),
        };
        let units = u64::from(across) * u64::from(down);
        let mut plan = Vec::new();
        for (place, dc, ac) in &scan.parts {
            let component = frame.components.get(*place)?;
            // One that comes alone comes block by block, whatever its numbers say.
            let each = if scan.parts.len() == 1 { 1 } else { component.across * component.down };
            let (dc, ac) = (self.tables.get(&(0, *dc)), self.tables.get(&(1, *ac)));
            plan.extend(std::iter::repeat_n((*place, dc, ac), usize::try_from(each).ok()?));
        }
        let blocks = units.checked_mul(u64::try_from(plan.len()).ok()?)?;
        let left = self.blocks_left.checked_sub(blocks);
        self.blocks_left = left.unwrap_or(0);
        left?;
        let mut bits = Bits::new(self.rest);
        let (mut left, mut marks, mut run) = (self.restarts, 0_u8, 0_u32);
        for unit in 0..units {
            if self.restarts > 0 && left == 0 {
                let end = bits.end();
                self.out.extend(self.rest.get(..end)?);
                self.rest = &self.rest[end..];
                let at = memchr::memchr(0xff, self.rest)?;
                (self.rest.get(at + 1) == Some(&(0xd0 + marks))).then_some(())?;
                self.trailing += at;
                self.out.extend([0xff, 0xd0 + marks]);
                self.rest = &self.rest[at + 2..];
                bits = Bits::new(self.rest);
                (left, marks, run) = (self.restarts, (marks + 1) % 8, 0);
            }
            left = left.wrapping_sub(1);
            for (place, dc, ac) in &plan {
                match (frame.is_progressive, scan.first) {
                    (false, _) => bits.block((*dc)?, (*ac)?)?,
                    (true, 0) if scan.high == 0 => {
                        let count = bits.symbol((*dc)?)?;
                        bits.skip(u32::from(count))?;
                    }
                    (true, 0) => bits.skip(1)?,
                    (true, _) => {
                        let known =
                            frame.components.get_mut(*place)?.known.get_mut(usize::try_from(unit).ok()?)?;
                        match scan.high {
                            0 => first(&mut bits, (*ac)?, scan, known, &mut run)?,
                            _ => refined(&mut bits, (*ac)?, scan, known, &mut run)?,
                        }
                    }
                }
            }
        }
        let end = bits.end();
        self.out.extend(self.rest.get(..end)?);
        self.rest = &self.rest[end..];
        Some(())
    }
}

/// Which parts of the colours a scan holds, with the numbers of their codes, and which coefficients of them.
struct Scan {
    parts: Vec<(usize, u8, u8)>,
    first: u8,
    last: u8,
    /// The bit that came before, where it refines.
    high: u8,
}

impl Scan {
    fn read(segment: &[u8], frame: &Frame) -> Option<Self> {
        let [count, rest @ ..] = segment else { return None };
        let (chosen, [first, last, bits]) = rest.split_at_checked(2 * usize::from(*count))? else {
            return None;
        };
        let mut parts: Vec<(usize, u8, u8)> = Vec::new();
        for pair in chosen.chunks_exact(2) {
            let place = frame.components.iter().position(|it| it.id == pair[0])?;
            if parts.iter().any(|(one, ..)| *one == place) {
                return None;
            }
            parts.push((place, pair[1] >> 4, pair[1] & 15));
        }
        let is_sound = match (frame.is_progressive, *first, *last) {
            (false, 0, 63) => *bits == 0,
            (true, 0, 0) => true,
            (true, 1.., ..=63) => first <= last && parts.len() == 1,
            _ => false,
        };
        (is_sound && !parts.is_empty()).then_some(Self { parts, first: *first, last: *last, high: bits >> 4 })
    }
}

/// How many blocks more have nothing, with this one, by a symbol without a value.
fn run_of(bits: &mut Bits<'_>, zeros: u8) -> Option<u32> {
    Some((1 << zeros) + bits.take(u32::from(zeros))?)
}

/// Coefficients of a block that come for the first time.
fn first(bits: &mut Bits<'_>, ac: &Codes, scan: &Scan, known: &mut u64, run: &mut u32) -> Option<()> {
    if *run > 0 {
        *run -= 1;
        return Some(());
    }
    let mut place = scan.first;
    while place <= scan.last {
        let symbol = bits.symbol(ac)?;
        match (symbol >> 4, symbol & 15) {
            (15, 0) => place += 16,
            (zeros, 0) => {
                *run = run_of(bits, zeros)? - 1;
                return Some(());
            }
            (zeros, count) => {
                place += zeros;
                (place <= scan.last).then_some(())?;
                bits.skip(u32::from(count))?;
                *known |= 1 << place;
                place += 1;
            }
        }
    }
    Some(())
}

/// A bit more of coefficients, and those that are new with it.
fn refined(bits: &mut Bits<'_>, ac: &Codes, scan: &Scan, known: &mut u64, run: &mut u32) -> Option<()> {
    let mut place = scan.first;
    while *run == 0 && place <= scan.last {
        let symbol = bits.symbol(ac)?;
        let (mut zeros, count) = (symbol >> 4, symbol & 15);
        match (zeros, count) {
            (15, 0) => {}
            (zeros, 0) => {
                *run = run_of(bits, zeros)?;
                break;
            }
            (_, 1) => bits.skip(1)?,
            _ => return None,
        }
        while place <= scan.last {
            let is_known = *known >> place & 1 == 1;
            place += 1;
            if is_known {
                bits.skip(1)?;
            } else if zeros == 0 {
                if count > 0 {
                    *known |= 1 << (place - 1);
                }
                break;
            } else {
                zeros -= 1;
            }
        }
    }
    if *run > 0 {
        // Those from here on to the last.
        let rest = (*known << (63 - scan.last)) >> (63 - scan.last);
        let rest = if place > scan.last { 0 } else { (rest >> place).count_ones() };
        for _ in 0..rest {
            bits.skip(1)?;
        }
        *run -= 1;
    }
    Some(())
}

/// Tables in a segment, which are as many as there are numbers for at most.
fn count_of_tables(mut segment: &[u8]) -> Option<u64> {
    let mut count = 0;
    while !segment.is_empty() {
        let symbols: usize = segment.get(1..17)?.iter().map(|count| usize::from(*count)).sum();
        segment = segment.get(17 + symbols..)?;
        count += 1;
    }
    (count <= 8).then_some(count)
}

/// Where the next marker is that is none of a scan's data.
fn next_marker(rest: &[u8]) -> Option<usize> {
    let is_marker = |at: &usize| !matches!(rest.get(at + 1), None | Some(0 | 0xff));
    memchr::memchr_iter(0xff, rest).find(is_marker)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use jpeg_encoder::{ColorType, Encoder, SamplingFactor};

    use super::*;

    const MOST: u64 = 1 << 20;

    fn whole_of(file: &[u8], most_pixels: u64) -> Option<Stripped> {
        stripped(file, most_pixels, &mut { MOST_BLOCKS_OF_ALL }).ok()
    }

    /// A picture as encoders write it, with this many points in each row of codes.
    fn encoded(
        size: (u16, u16),
        colour: ColorType,
        sampling: SamplingFactor,
        is_progressive: bool,
        restarts: u16,
    ) -> Vec<u8> {
        let (width, height) = size;
        let each = match colour {
            ColorType::Luma => 1,
            ColorType::Cmyk => 4,
            _ => 3,
        };
        let samples = usize::from(width) * usize::from(height) * each;
        let points: Vec<u8> = (0..samples).map(|at| u8::try_from(at * at / 3 % 251).unwrap()).collect();
        let mut file = Vec::new();
        let mut encoder = Encoder::new(&mut file, 85);
        encoder.set_sampling_factor(sampling);
        encoder.set_progressive(is_progressive);
        if restarts > 0 {
            encoder.set_restart_interval(restarts);
        }
        encoder.encode(&points, width, height, colour).unwrap();
        // The version of Adobe's segment, which this encoder leaves open.
        if let Some(at) = memchr::memmem::find(&file, b"Adobe\0\0") {
            file[at + 6] = 100;
        }
        file
    }

    /// Each with something in front of the end marker, behind it, and in a segment of its own.
    fn hiding(file: &[u8], what: &[u8]) -> Vec<u8> {
        let end = file.len() - 2;
        let comment = u16::try_from(what.len() + 2).unwrap().to_be_bytes();
        [&file[..2], &[0xff, 0xfe], &comment, what, &file[2..end], what, &file[end..], what].concat()
    }

    #[test]
    fn blocks_stay_bit_for_bit_and_nothing_lies_beside_them() {
        use ColorType::{Cmyk, Luma, Rgb};
        use SamplingFactor::{F_1_1, F_2_1, F_2_2, F_4_1};
        let what = b"Rar!\x1a\x07\x01 and much more that nobody shows";
        for size in [(1, 1), (8, 8), (17, 9), (16, 33), (150, 75)] {
            for (colour, sampling) in
                [(Luma, F_1_1), (Rgb, F_1_1), (Rgb, F_2_1), (Rgb, F_2_2), (Rgb, F_4_1), (Cmyk, F_1_1)]
            {
                for (is_progressive, restarts) in [(false, 0), (false, 1), (false, 3), (true, 0), (true, 2)] {
                    // The encoder has no codes for the fourth part of the colours there.
                    if is_progressive && colour == Cmyk {
                        continue;
                    }
                    let told = format!("{size:?} {colour:?} {sampling:?} {is_progressive} {restarts}");
                    let file = encoded(size, colour, sampling, is_progressive, restarts);
                    let bare = whole_of(&file, MOST).unwrap_or_else(|| panic!("{told}"));
                    assert_eq!(
                        (bare.bytes.as_slice(), bare.trailing, bare.metadata),
                        (file.as_slice(), 0, false),
                        "{told}"
                    );
                    let bare = whole_of(&hiding(&file, what), MOST).unwrap_or_else(|| panic!("{told}"));
                    assert_eq!(bare.bytes, file, "{told}");
                    assert_eq!((bare.trailing, bare.metadata), (2 * what.len(), true), "{told}");
                    // One byte less is a picture that breaks off.
                    let cut = [&file[..file.len() - 3], &file[file.len() - 2..]].concat();
                    assert!(whole_of(&cut, MOST).is_none_or(|bare| bare.bytes.len() <= file.len()), "{told}");
                }
            }
        }
    }

    /// Ten scans, which refine what came before, as libjpeg writes them.
    #[test]
    fn scans_that_refine_are_walked_to_their_last_bit() {
        let file = include_bytes!("../tests/progressive.jpg");
        let bare = whole_of(file, MOST).unwrap();
        assert_eq!((bare.bytes.as_slice(), bare.trailing), (file.as_slice(), 0));
        let scans: Vec<_> = memchr::memmem::find_iter(file, &[0xff, 0xda]).collect();
        assert_eq!(scans.len(), 10);
        for scan in &scans[1..] {
            // Behind the blocks of the scan before, and its tables.
            let at = memchr::memmem::rfind(&file[..*scan], &[0xff, 0xc4])
                .filter(|at| at + 60 > *scan)
                .unwrap_or(*scan);
            let hiding = [&file[..at], b"hidden", &file[at..]].concat();
            let bare = whole_of(&hiding, MOST).unwrap();
            assert!(bare.bytes == file && bare.trailing == 6, "{at}");
        }
    }

    #[test]
    fn what_cannot_be_walked_is_said_to_be_so() {
        let file = encoded((64, 64), ColorType::Rgb, SamplingFactor::F_2_2, false, 0);
        assert!(whole_of(&file, 64 * 64 - 1).is_none());
        for (at, byte) in [(0, 0), (memchr::memmem::find(&file, &[0xff, 0xc0]).unwrap() + 1, 0xc9)] {
            let mut other = file.clone();
            other[at] = byte;
            assert!(whole_of(&other, MOST).is_none(), "{at}");
        }
        // More than may be looked at, and what was.
        let (mut left, mut too_few) = (MOST_BLOCKS_OF_ALL, 4 * TABLE + 95);
        assert!(stripped(&file, MOST, &mut left).is_ok());
        assert_eq!(stripped(&file, MOST, &mut too_few).err(), Some(Unwalked::TooMuch));
        assert_eq!((MOST_BLOCKS_OF_ALL - left, too_few), (4 * TABLE + 96, 0));
        // A table that comes twice and is used once.
        let table = memchr::memmem::find(&file, &[0xff, 0xdb]).unwrap();
        let length = usize::from(u16::from_be_bytes([file[table + 2], file[table + 3]])) + 2;
        let twice = [&file[..table], &file[table..table + length], &file[table..]].concat();
        assert!(whole_of(&twice, MOST).is_none());
        // More tables than there are numbers.
        let codes = memchr::memmem::find(&file, &[0xff, 0xc4]).unwrap();
        let many = [&[0xff, 0xc4, 0, 2 + 9 * 17][..], &[0; 9 * 17]].concat();
        assert!(whole_of(&[&file[..codes], &many, &file[codes..]].concat(), MOST).is_none());
        for end in (0..file.len()).step_by(37) {
            drop(whole_of(&file[..end], MOST));
        }
    }
}
