//! Jw_cad's drawings: stepped over field by field from the first byte to the last.
//!
//! A drawing is a header of fixed fields and strings, a list of objects and one of blocks, as Microsoft's archives write
//! them: each class is named once, and later objects name it by a number. From version 7 on pictures follow, which are cut off.
//! Nothing else may stand before, between or behind, strings hold letters that no program follows, and where sizes stand are
//! sizes.
//!
//! Format: <https://www.jwcad.net/jwdatafmt.txt>; Microsoft's technical note 2 for objects and strings.

use std::collections::HashMap;

use encoding_rs::{SHIFT_JIS, UTF_16LE};

use crate::{
    markup, script,
    verdict::{Made, Part, Parts, Reason, Refusal, malformed, note},
};

/// The versions whose header is laid out as it is read here.
const VERSIONS: std::ops::RangeInclusive<u32> = 351..=999;

/// The first version whose dimensions have helping lines.
const WITH_HELP: u32 = 420;

/// The first version with pictures behind the drawing.
const WITH_PICTURES: u32 = 700;

/// Longest string, in bytes: a memo, a text of the drawing.
const LONGEST: usize = 16 << 10;

/// Lists in lists: blocks hold objects.
const DEEPEST: u32 = 8;

const DOUBLE: usize = 8;
const LONG: usize = 4;

/// Groups of layers, and layers in each.
const GROUPS: usize = 16;

/// Largest number of what has few values: a layer's state, its lock.
const LARGEST_STATE: u32 = 0xffff;

/// Largest and smallest length that is one: drawings are of things that people build, and of their parts.
const SIZES: std::ops::RangeInclusive<f64> = 1e-100..=1e30;

/// The names of layers and of their groups.
const LAYERS: usize = 16 * 16 + 16;
/// Colours that have names, then kinds of lines.
const COLOURS: usize = 257;
const LINES: usize = 33;
/// Largest colour, of red, green and blue in a byte each, and largest width of a pen.
const LARGEST_COLOUR: u32 = 0x01ff_ffff;

/// Whether a drawing is of a version that can be checked.
pub(crate) fn is_known(file: &[u8]) -> bool {
    let version = file.get(8..12).and_then(|four| four.try_into().ok()).map(u32::from_le_bytes);
    version.is_some_and(|version| VERSIONS.contains(&version))
}

/// Checks a drawing to its last byte, and cuts off pictures.
pub(crate) fn sanitise(file: &[u8]) -> Made {
    let mut reading = Reading { rest: file, version: 0, classes: HashMap::new(), next: 1 };
    reading.take(8)?;
    reading.version = reading.long()?;
    reading.header()?;
    reading.list(0)?;
    reading.list(0)?;
    let end = file.len() - reading.rest.len();
    if reading.version < WITH_PICTURES {
        return if reading.rest.is_empty() {
            Ok(Parts::as_is())
        } else {
            Err(malformed("something behind the drawing"))
        };
    }
    match (reading.long()?, reading.rest) {
        (0, []) => Ok(Parts::as_is()),
        (0, _) => Err(malformed("something behind the drawing")),
        _ => {
            let mut removed = Vec::new();
            note(&mut removed, Part::CadObject, "pictures");
            Ok(Parts::rebuilt([&file[..end], &0_u32.to_le_bytes()].concat(), removed))
        }
    }
}

/// Classes of objects.
#[derive(Clone, Copy)]
enum Class {
    Line,
    Arc,
    Point,
    Text,
    Dimension,
    Solid,
    Block,
    List,
}

const CLASSES: &[(&[u8], Class)] = &[
    (b"CDataSen", Class::Line),
    (b"CDataEnko", Class::Arc),
    (b"CDataTen", Class::Point),
    (b"CDataMoji", Class::Text),
    (b"CDataSunpou", Class::Dimension),
    (b"CDataSolid", Class::Solid),
    (b"CDataBlock", Class::Block),
    (b"CDataList", Class::List),
];

struct Reading<'a> {
    rest: &'a [u8],
    version: u32,
    /// Classes by the numbers that they have in the archive, which objects have as well.
    classes: HashMap<u32, Class>,
    next: u32,
}

impl<'a> Reading<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], Refusal> {
        let (taken, rest) =
            self.rest.split_at_checked(count).ok_or_else(|| malformed("the drawing is cut off"))?;
        self.rest = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, Refusal> {
        self.take(1).map(|one| one[0])
    }

    fn short(&mut self) -> Result<u16, Refusal> {
        self.take(2).map(|two| u16::from_le_bytes([two[0], two[1]]))
    }

    fn long(&mut self) -> Result<u32, Refusal> {
        self.take(4).map(|four| u32::from_le_bytes([four[0], four[1], four[2], four[3]]))
    }

    /// The length of a string; none where it says that letters of two bytes follow.
    fn length(&mut self) -> Result<Option<usize>, Refusal> {
        let length = match self.byte()? {
            0xff => match self.short()? {
                0xfffe => return Ok(None),
                0xffff => self.long()?,
                length => u32::from(length),
            },
            length => u32::from(length),
        };
        usize::try_from(length).map(Some).map_err(malformed)
    }

    fn string(&mut self) -> Result<(), Refusal> {
        let (length, encoding, size) = match self.length()? {
            Some(length) => (length, SHIFT_JIS, 1),
            None => (self.length()?.ok_or_else(|| malformed("a string without a length"))?, UTF_16LE, 2),
        };
        if length > LONGEST {
            return Err(malformed(format!("a string of {length}")));
        }
        let letters = encoding.decode_without_bom_handling_and_without_replacement(self.take(length * size)?);
        let letters = letters.ok_or_else(|| malformed("a string of no letters"))?;
        if letters.contains(|letter: char| letter.is_control() && !matches!(letter, '\t' | '\n' | '\r')) {
            return Err(malformed("a control character"));
        }
        // A text that begins so is a picture from a file, which is loaded when the drawing is shown.
        let picture =
            letters.get(..4).filter(|begin| begin.eq_ignore_ascii_case("^@bm")).map(|_| &letters[4..]);
        let is_slash = |letter| matches!(letter, '/' | '\\');
        let slashes =
            picture.map(|path| path.trim_start().chars().take_while(|letter| is_slash(*letter)).count());
        if slashes.is_some_and(|count| count > 1) {
            return Err(Refusal::new(Reason::NotAllowed, "a picture on another machine"));
        }
        markup::check(&letters)?;
        script::check(&letters, script::Under::AnyName)
    }

    /// Numbers of any value: flags, and times.
    fn longs(&mut self, count: usize) -> Result<(), Refusal> {
        self.take(count * LONG).map(drop)
    }

    /// Numbers from nought to the largest that they may be, with or without a sign.
    fn small(&mut self, count: usize, largest: u32) -> Result<(), Refusal> {
        (0..count).try_for_each(|_| {
            let number = self.long()?;
            match number <= largest || number.wrapping_neg() <= largest {
                true => Ok(()),
                false => Err(malformed(format!("{number} where none so large may be"))),
            }
        })
    }

    /// Sizes, places and turns.
    fn sizes(&mut self, count: usize) -> Result<(), Refusal> {
        for eight in self.take(count * DOUBLE)?.chunks_exact(DOUBLE) {
            let size = f64::from_le_bytes(eight.try_into().unwrap_or_default());
            if size != 0.0 && !SIZES.contains(&size.abs()) {
                return Err(malformed("a number that is no size"));
            }
        }
        Ok(())
    }

    fn header(&mut self) -> Result<(), Refusal> {
        self.string()?;
        self.longs(2)?;
        for _ in 0..GROUPS {
            self.small(2, LARGEST_STATE)?;
            self.sizes(1)?;
            self.small(1 + 16 * 2, LARGEST_STATE)?;
        }
        self.longs(14 + 5 + 2)?;
        self.sizes(3)?;
        self.longs(2)?;
        self.sizes(5)?;
        (0..LAYERS).try_for_each(|_| self.string())?;
        self.behind_layers()?;
        for _ in 0..COLOURS {
            self.string()?;
            self.longs(2)?;
            self.sizes(1)?;
        }
        self.longs(LINES * 4)?;
        for _ in 0..LINES {
            self.string()?;
            self.longs(1)?;
            self.sizes(10)?;
        }
        // Kinds of letters, and how the next text stands.
        for _ in 0..10 {
            self.sizes(3)?;
            self.longs(1)?;
        }
        self.sizes(3)?;
        self.longs(2)?;
        self.sizes(2)?;
        self.longs(1)?;
        self.sizes(6)
    }

    /// Shadows, scales and places kept, pens and lines.
    fn behind_layers(&mut self) -> Result<(), Refusal> {
        self.sizes(2)?;
        self.longs(1)?;
        self.sizes(3)?;
        self.longs(1)?;
        self.sizes(6)?;
        for _ in 0..8 + 2 {
            self.sizes(3)?;
            self.longs(1)?;
        }
        self.sizes(11)?;
        self.longs(10 * 2)?;
        for _ in 0..10 {
            self.longs(2)?;
            self.sizes(1)?;
        }
        self.longs(8 * 4 + 5 * 5 + 4 * 4 + 3 + 7 + 6)?;
        self.sizes(9)?;
        self.longs(2)?;
        self.small(257 * 2, LARGEST_COLOUR)
    }

    fn list(&mut self, depth: u32) -> Result<(), Refusal> {
        if depth > DEEPEST {
            return Err(malformed("lists too deep"));
        }
        let count = match self.short()? {
            0xffff => self.long()?,
            count => u32::from(count),
        };
        (0..count).try_for_each(|_| self.object(depth))
    }

    /// The class of the next object; none where there is none.
    fn class(&mut self) -> Result<Option<Class>, Refusal> {
        let tag = match self.short()? {
            0x7fff => self.long()?,
            0xffff => u32::MAX,
            tag => u32::from(tag & 0x8000) << 16 | u32::from(tag & 0x7fff),
        };
        let number = tag & 0x7fff_ffff;
        if tag == u32::MAX {
            self.short()?;
            let length = self.short()?;
            let name = self.take(usize::from(length))?;
            let class = CLASSES.iter().find(|(known, _)| *known == name).map(|(_, class)| *class);
            let class = class.ok_or_else(|| malformed("a class that is not known"))?;
            self.classes.insert(self.next, class);
            self.next += 1;
            return Ok(Some(class));
        }
        if number == 0 {
            return Ok(None);
        }
        // An object that stands in two places: nothing that the program writes.
        let class = (tag != number).then(|| self.classes.get(&number).copied()).flatten();
        class.map(Some).ok_or_else(|| malformed("an object of no class"))
    }

    fn object(&mut self, depth: u32) -> Result<(), Refusal> {
        let Some(class) = self.class()? else { return Ok(()) };
        self.next = self.next.checked_add(1).ok_or_else(|| malformed("too many objects"))?;
        match class {
            Class::Line => self.line(),
            Class::Arc => {
                self.base()?;
                self.sizes(7)?;
                self.longs(1)
            }
            Class::Point => self.point(),
            Class::Text => self.text(),
            Class::Dimension => {
                self.base()?;
                self.line()?;
                self.text()?;
                if self.version >= WITH_HELP {
                    self.short()?;
                    (0..2).try_for_each(|_| self.line())?;
                    (0..4).try_for_each(|_| self.point())?;
                }
                Ok(())
            }
            Class::Solid => {
                let (_, colour) = self.base()?;
                // One of any colour says which.
                self.sizes(8)?;
                self.longs(usize::from(colour == 10))
            }
            Class::Block => {
                self.base()?;
                self.sizes(5)?;
                self.longs(1)
            }
            Class::List => {
                self.base()?;
                self.take(3 * LONG)?;
                self.string()?;
                self.list(depth + 1)
            }
        }
    }

    /// What every object begins with: its kind of line and its colour.
    fn base(&mut self) -> Result<(u8, u16), Refusal> {
        self.long()?;
        let (line, colour) = (self.byte()?, self.short()?);
        self.take(4 * 2)?;
        Ok((line, colour))
    }

    fn line(&mut self) -> Result<(), Refusal> {
        self.base()?;
        self.sizes(4)
    }

    fn point(&mut self) -> Result<(), Refusal> {
        let (line, _) = self.base()?;
        // One of a kind says which, how large and how turned.
        self.sizes(2)?;
        self.longs(1)?;
        if line == 100 {
            self.longs(1)?;
            self.sizes(2)?;
        }
        Ok(())
    }

    fn text(&mut self) -> Result<(), Refusal> {
        self.base()?;
        self.sizes(4)?;
        self.longs(1)?;
        self.sizes(4)?;
        self.string()?;
        self.string()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// All of a header but its memo, with empty strings.
    const HEADER_BEHIND_MEMO: usize = 2 * LONG
        + GROUPS * (DOUBLE + 35 * LONG)
        + 23 * LONG
        + 8 * DOUBLE
        + LAYERS
        + (2 + 3 + 6 + 30 + 11 + 10 + 9) * DOUBLE
        + (1 + 1 + 10 + 20 + 20 + 89 + 2 + 514) * LONG
        + COLOURS * (1 + 2 * LONG + DOUBLE)
        + LINES * 4 * LONG
        + LINES * (1 + LONG + 10 * DOUBLE)
        + 10 * (3 * DOUBLE + LONG)
        + (3 + 2 + 6) * DOUBLE
        + 3 * LONG;

    /// A drawing of a version with a line, a text and a block that holds a line.
    pub(crate) fn drawing(version: u32, memo: &[u8], behind: &[u8]) -> Vec<u8> {
        let mut file = [&b"JwwData."[..], &version.to_le_bytes()].concat();
        let string = |file: &mut Vec<u8>, text: &[u8]| {
            file.push(u8::try_from(text.len()).unwrap_or(0));
            file.extend(text);
        };
        string(&mut file, memo);
        file.resize(file.len() + HEADER_BEHIND_MEMO, 0);
        let class = |file: &mut Vec<u8>, name: &[u8]| {
            file.extend(b"\xff\xff\x58\x02");
            file.extend(u16::try_from(name.len()).unwrap_or(0).to_le_bytes());
            file.extend(name);
            file.extend([0; 15]);
        };
        file.extend(3_u16.to_le_bytes());
        class(&mut file, b"CDataSen");
        file.extend([0; 4 * DOUBLE]);
        // Another one, by the number of its class.
        file.extend(b"\x01\x80");
        file.extend([0; 15 + 4 * DOUBLE]);
        class(&mut file, b"CDataMoji");
        file.extend([0; 8 * DOUBLE + LONG]);
        string(&mut file, b"\x82\x6c\x82\x72");
        string(&mut file, b"\x8a\x4f\x95\xc7");
        file.extend(1_u16.to_le_bytes());
        class(&mut file, b"CDataList");
        file.extend([0; 3 * LONG]);
        string(&mut file, b"a");
        file.extend(b"\x01\0\x01\x80");
        file.extend([0; 15 + 4 * DOUBLE]);
        file.extend(behind);
        file
    }

    #[test]
    fn a_drawing_is_read_to_its_last_byte_and_nothing_may_be_behind() {
        for (version, behind) in [(351, &b""[..]), (600, b""), (700, b"\0\0\0\0")] {
            let file = drawing(version, b"memo", behind);
            assert!(is_known(&file));
            assert!(
                matches!(sanitise(&file), Ok(Parts { bytes: None, .. })),
                "{version}: {:?}",
                sanitise(&file)
            );
            for more in [&b"\0"[..], b"\x7fELF", b"Rar!\x1a\x07", b"<html><script>"] {
                assert!(sanitise(&[&file, more].concat()).is_err(), "{version} {more:?}");
            }
            for cut in 1..40 {
                assert!(sanitise(&file[..file.len() - cut]).is_err(), "{version}: {cut} less");
            }
        }
        assert!(!is_known(b"JwwData.\xe6\0\0\0"));
    }

    #[test]
    fn where_sizes_and_states_stand_nothing_else_does() {
        let sound = drawing(600, b"", b"");
        let states = 12 + 1 + 2 * LONG;
        let line = memchr::memmem::find(&sound, b"CDataSen").map_or(0, |at| at + 8 + 15);
        for (at, bytes) in [
            (states, &b"\x7fELF"[..]),
            (states + 2 * LONG, b"\x7fELF\x02\x01\x01\0"),
            (line, b"Rar!\x1a\x07\x01\0"),
            (line + 3 * DOUBLE, &f64::NAN.to_le_bytes()),
            (line + DOUBLE, &1e300_f64.to_le_bytes()),
        ] {
            let mut file = sound.clone();
            file[at..at + bytes.len()].copy_from_slice(bytes);
            assert!(sanitise(&file).is_err(), "{at}");
        }
        for size in [0.0, -0.0, 1.5, -3.25e6, 1e-17] {
            let mut file = sound.clone();
            file[line..line + DOUBLE].copy_from_slice(&f64::to_le_bytes(size));
            assert!(sanitise(&file).is_ok(), "{size}");
        }
    }

    #[test]
    fn pictures_are_cut_off_and_strings_are_letters() {
        let with = drawing(700, b"", b"\x01\0\0\0\x05a.bmp\x1f\x8b\x08");
        let made = sanitise(&with).unwrap_or_else(|refusal| panic!("{refusal:?}"));
        assert_eq!(made.bytes, Some(drawing(700, b"", b"\0\0\0\0")));
        assert_eq!(made.removed.len(), 1);
        for memo in [
            &b"<script>alert(1)</script>"[..],
            b"\x7fELF\x02",
            b"\r\npowershell -enc A",
            b"^@BM\\\\evil\\a.bmp",
        ] {
            assert!(sanitise(&drawing(600, memo, b"")).is_err(), "{memo:?}");
        }
    }
}
