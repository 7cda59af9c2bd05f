//! How much a reader draws for a page: what draws others, which draw others, fills no file and all the time there is.
//!
//! Counted is what a reader goes through: the bytes of contents, those of a form, a glyph, a pattern or a mask each time that
//! it is drawn, and the points of pictures likewise. What a form costs is found once, and multiplied where it is used, so counting
//! takes as long as reading each of them once, whatever they add up to. A form, a glyph and a mask take what is set around them:
//! a pattern that a form is filled with is drawn once for each thing in it that has no colour of its own.
//!
//! A pattern is counted once for each thing that is filled with it: readers keep its cell as a picture. Its cells may not be too fine
//! for what it may fill.
//!
//! Format: ISO 32000-2, 8.4 (states), 8.7 (patterns), 8.10 (forms), 9.6.4 (glyphs), 11.6.5 (masks), 12.5.5 (looks).

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap, HashSet},
    ptr,
};

use lopdf::{Dictionary, Document, Object, Stream};

use super::{
    content::{Inline, Token, Tokens},
    jpx,
    stream::is_of_picture,
};
use crate::{
    picture,
    verdict::{Reason, Refusal},
};

/// Most bytes of contents that a page is drawn by. The plan of a city has some 50 MB, in which a tree is drawn 10,000 times by a
/// form of a kilobyte: a quarter of this. Readers take some ten seconds for it.
const MOST_OF_PAGE: u64 = 256 << 20;

/// Most of them for all pages: a thousand that each have a letterhead of a megabyte have a quarter of this.
const MOST_OF_ALL: u64 = 4 << 30;

/// Most points of pictures for a page: a scan of A0 at 600 points an inch, in three layers, has less than half of them.
const MOST_POINTS: u64 = 4_000_000_000;

/// As many bytes of contents are gone through in the time that a form, a glyph or a picture takes to begin.
const EACH: u64 = 256;

/// Most cells of a pattern that what it is drawn on has room for. A hatch of eight points of a printer with 1,200 points an inch has a
/// third of them on A0.
const MOST_CELLS: f64 = 1e8;

/// How deep forms may be drawn in forms; programs that put pages on pages make two more each time.
const DEEPEST: usize = 50;

/// Most states that differ and are kept at a time.
const MOST_SAVED: usize = 10_000;

/// How deep looks lie in what has them: by their use, and by a button's state.
const DEEPEST_LOOK: usize = 3;

/// How many dictionaries of a tree of pages are looked through for what a page has of them.
const MOST_PARENTS: usize = 100;

/// Refuses a document of which a page would keep a reader busy for longer than anybody waits.
///
/// # Errors
/// [`Reason::TooMuchDrawn`]; [`Reason::TooDeep`] where something draws itself, or others at any depth.
pub(super) fn check(new: &Document) -> Result<(), Refusal> {
    let mut counter = Counter {
        new,
        known: HashMap::new(),
        open: Vec::new(),
        read: 0,
        everywhere: None,
        most: HashMap::new(),
    };
    let mut all = 0_u64;
    for page in new.page_iter() {
        let Ok(page) = new.get_dictionary(page) else { continue };
        let drawn = counter.page(page)?;
        all = all.saturating_add(drawn.bytes);
        if drawn.points > MOST_POINTS {
            return Err(too_much(format!("{} points of pictures for a page", drawn.points)));
        }
        if drawn.bytes > MOST_OF_PAGE || all > MOST_OF_ALL {
            return Err(too_much(format!("{} bytes for a page, {all} for those before", drawn.bytes)));
        }
    }
    Ok(())
}

fn too_much(detail: impl ToString) -> Refusal {
    Refusal::new(Reason::TooMuchDrawn, detail)
}

/// What drawing something costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Drawn {
    bytes: u64,
    points: u64,
    /// How many things take the colours, the mask and the font that are set around it.
    coloured: u64,
    masked: u64,
    letters: u64,
}

impl Drawn {
    fn add(&mut self, what: Self, times: u64) {
        self.bytes = self.bytes.saturating_add(what.bytes.saturating_mul(times));
        self.points = self.points.saturating_add(what.points.saturating_mul(times));
    }

    /// Things that are filled or lined.
    fn colour(&mut self, inks: &[Set], times: u64) {
        for ink in inks.iter().flatten() {
            self.add(*ink, times);
        }
        if inks.contains(&None) {
            self.coloured = self.coloured.saturating_add(times);
        }
    }

    /// Things that are drawn through the mask.
    fn mask(&mut self, state: &State, times: u64) {
        match state.mask {
            Some(mask) => self.add(mask, times),
            None => self.masked = self.masked.saturating_add(times),
        }
    }

    fn paint(&mut self, inks: &[Set], state: &State) {
        self.colour(inks, 1);
        self.mask(state, 1);
    }

    /// A form or a glyph.
    fn draw(&mut self, what: Self, times: u64, state: &State) {
        self.add(what, times);
        self.add(Self { bytes: EACH, ..Self::default() }, times);
        if what.coloured > 0 {
            self.colour(&[state.fill, state.line], what.coloured.saturating_mul(times));
        }
        if what.masked > 0 {
            self.mask(state, what.masked.saturating_mul(times));
        }
        self.write(what.letters.saturating_mul(times), state);
    }

    fn write(&mut self, letters: u64, state: &State) {
        match state.font {
            None => self.letters = self.letters.saturating_add(letters),
            // The font of glyphs that take letters from around them is set there.
            Some(glyph) if letters > 0 && glyph != Self::default() => {
                self.draw(Self { letters: 0, ..glyph }, letters, state);
            }
            Some(_) => {}
        }
    }

    /// The more costly of both, in each part.
    fn larger(self, other: Self) -> Self {
        Self {
            bytes: self.bytes.max(other.bytes),
            points: self.points.max(other.points),
            coloured: self.coloured.max(other.coloured),
            masked: self.masked.max(other.masked),
            letters: self.letters.max(other.letters),
        }
    }
}

/// What something that is set costs each time that it is used; nothing where it is set around the contents.
type Set = Option<Drawn>;

/// What contents have set so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct State {
    fill: Set,
    line: Set,
    mask: Set,
    font: Set,
}

/// A colour, a mask or a font of which nothing is drawn beside it.
const PLAIN: Set = Some(Drawn { bytes: 0, points: 0, coloured: 0, masked: 0, letters: 0 });

/// What contents call by a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Thing {
    XObject,
    Pattern,
    Shading,
    Font,
    Mask,
}

impl Thing {
    const ALL: [Self; 5] = [Self::XObject, Self::Pattern, Self::Shading, Self::Font, Self::Mask];

    /// Where resources have them.
    fn key(self) -> &'static [u8] {
        match self {
            Self::XObject => b"XObject",
            Self::Pattern => b"Pattern",
            Self::Shading => b"Shading",
            Self::Font => b"Font",
            Self::Mask => b"ExtGState",
        }
    }
}

/// All things of a document by what resources call them.
type Everywhere<'d> = HashMap<(Thing, &'d [u8]), Vec<&'d Object>>;

/// Where contents are drawn.
#[derive(Clone, Copy)]
struct Place<'d> {
    resources: Option<&'d Dictionary>,
    /// How much room there is.
    room: f64,
}

struct Counter<'d> {
    new: &'d Document,
    /// What is known of objects, with the resources that they were read with.
    known: HashMap<(*const Object, *const Dictionary), Drawn>,
    /// What is being read.
    open: Vec<*const Object>,
    /// How many bytes have been read.
    read: u64,
    everywhere: Option<Everywhere<'d>>,
    /// The most costly thing of a name.
    most: HashMap<(Thing, Vec<u8>), Drawn>,
}

impl<'d> Counter<'d> {
    fn page(&mut self, page: &'d Dictionary) -> Result<Drawn, Refusal> {
        let content = self.content_of(page)?;
        let place = Place {
            resources: self.inherited(page, b"Resources").and_then(|found| self.dictionary(found)),
            room: self.inherited(page, b"MediaBox").map_or(0.0, |size| self.room(size)),
        };
        let mut drawn = self.content(&content, place)?;
        drop(content);
        for note in self.list(page, b"Annots") {
            let Some(note) = self.dictionary(note) else { continue };
            for key in [&b"AP"[..], b"MK"] {
                if let Ok(looks) = note.get(key) {
                    drawn.add(self.looks(looks, 0)?, 1);
                }
            }
        }
        Ok(drawn)
    }

    /// All contents of a page, one behind the other, as readers take them.
    fn content_of(&self, page: &'d Dictionary) -> Result<Vec<u8>, Refusal> {
        let mut all = Vec::new();
        for part in self.list(page, b"Contents") {
            if let Some(Object::Stream(stream)) = self.find(part) {
                all.extend(unpacked(stream));
                all.push(b'\n');
            }
            if all.len() as u64 > MOST_OF_PAGE {
                return Err(too_much(format!("{} bytes of a page's own", all.len())));
            }
        }
        Ok(all)
    }

    /// What a page, or the tree above it, has under a key.
    fn inherited(&self, page: &'d Dictionary, key: &[u8]) -> Option<&'d Object> {
        let mut above = Some(page);
        for _ in 0..MOST_PARENTS {
            let one = above?;
            if let Ok(found) = one.get(key) {
                return Some(found);
            }
            above = one.get(b"Parent").ok().and_then(|parent| self.dictionary(parent));
        }
        None
    }

    /// The numbers of a list.
    fn numbers(&self, list: &'d Object) -> Vec<f64> {
        let list = self.find(list).and_then(|list| list.as_array().ok());
        let number = |value| self.find(value).and_then(|value| value.as_float().ok()).map_or(0.0, f64::from);
        list.map(|list| list.iter().map(number).collect()).unwrap_or_default()
    }

    /// How much room a box has.
    fn room(&self, corners: &'d Object) -> f64 {
        match self.numbers(corners).as_slice() {
            [left, bottom, right, top] => ((right - left) * (top - bottom)).abs(),
            _ => 0.0,
        }
    }

    /// Refuses a pattern whose cells are so fine that nobody sees them.
    fn check_cells(&self, pattern: &'d Object, room: f64) -> Result<(), Refusal> {
        let Some(Object::Stream(stream)) = self.find(pattern) else { return Ok(()) };
        let number = |key: &[u8]| {
            stream
                .dict
                .get(key)
                .ok()
                .and_then(|value| self.find(value))
                .and_then(|value| value.as_float().ok())
        };
        let step = |key: &[u8]| number(key).map_or(1.0, f64::from);
        let matrix = stream.dict.get(b"Matrix").ok().map(|matrix| self.numbers(matrix)).unwrap_or_default();
        let scale = match matrix.as_slice() {
            [a, b, c, d, ..] => a * d - b * c,
            _ => 1.0,
        };
        let cell = (step(b"XStep") * step(b"YStep") * scale).abs();
        match room > cell * MOST_CELLS {
            true => Err(too_much(format!("cells of a pattern with room for {cell}"))),
            false => Ok(()),
        }
    }

    /// All looks of an annotation.
    fn looks(&mut self, looks: &'d Object, depth: usize) -> Result<Drawn, Refusal> {
        match self.find(looks) {
            Some(object @ Object::Stream(_)) => {
                let mut drawn = Drawn::default();
                drawn.draw(self.stream(object, None)?, 1, &State::default());
                Ok(drawn)
            }
            Some(object @ Object::Dictionary(states)) if depth < DEEPEST_LOOK => {
                let key = (ptr::from_ref(object), ptr::null());
                if let Some(known) = self.known.get(&key) {
                    return Ok(*known);
                }
                let mut drawn = Drawn::default();
                for (_, state) in states {
                    drawn.add(self.looks(state, depth + 1)?, 1);
                }
                self.known.insert(key, drawn);
                Ok(drawn)
            }
            _ => Ok(Drawn::default()),
        }
    }

    /// A form, a pattern's cell or a glyph, the last with its font's resources.
    fn stream(&mut self, object: &'d Object, outer: Option<&'d Dictionary>) -> Result<Drawn, Refusal> {
        let Object::Stream(stream) = object else { return Ok(Drawn::default()) };
        let own = stream.dict.get(b"Resources").ok().and_then(|own| self.dictionary(own));
        let place = Place {
            resources: own.or(outer),
            room: stream.dict.get(b"BBox").map_or(0.0, |corners| self.room(corners)),
        };
        let key = (ptr::from_ref(object), place.resources.map_or(ptr::null(), ptr::from_ref));
        if let Some(known) = self.known.get(&key) {
            return Ok(*known);
        }
        if self.open.contains(&key.0) {
            return Err(Refusal::new(Reason::TooDeep, "something draws itself"));
        }
        if self.open.len() == DEEPEST {
            return Err(Refusal::new(Reason::TooDeep, format!("drawn more than {DEEPEST} deep")));
        }
        self.open.push(key.0);
        let mut drawn = self.content(&unpacked(stream), place)?;
        self.open.pop();
        if stream.dict.has(b"Group") {
            // It is made by itself, and drawn through the mask as a whole (11.6.6).
            drawn.masked = drawn.masked.min(1);
        }
        self.known.insert(key, drawn);
        Ok(drawn)
    }

    fn content(&mut self, bytes: &[u8], place: Place<'d>) -> Result<Drawn, Refusal> {
        let resources = place.resources;
        let length = bytes.len() as u64;
        self.read = self.read.saturating_add(length + EACH);
        if self.read > MOST_OF_ALL {
            return Err(too_much(format!("{} bytes to be read", self.read)));
        }
        let mut drawn = Drawn { bytes: length, ..Drawn::default() };
        let mut state = State::default();
        let mut saved: Vec<(State, usize)> = Vec::new();
        let (mut name, mut letters) = (None, 0_u64);
        let mut tokens = Tokens::new(bytes);
        while let Some(token) = tokens.next() {
            let operator = match token {
                Token::Operator(operator) => operator,
                Token::Name(found) => {
                    name = Some(found);
                    continue;
                }
                Token::Text(length) => {
                    letters = letters.saturating_add(length);
                    continue;
                }
                Token::Open | Token::Close | Token::Number => continue,
            };
            let named = name.take();
            let named = named.as_deref();
            match operator {
                b"q" => {
                    if let Some((_, times)) = saved.last_mut().filter(|(top, _)| *top == state) {
                        *times += 1;
                    } else if saved.len() < MOST_SAVED {
                        saved.push((state, 1));
                    } else {
                        return Err(Refusal::new(Reason::TooDeep, "too many states are kept"));
                    }
                }
                b"Q" => {
                    if let Some((top, times)) = saved.last_mut() {
                        state = *top;
                        *times -= 1;
                        if *times == 0 {
                            saved.pop();
                        }
                    }
                }
                b"Do" => drawn.draw(self.named(resources, Thing::XObject, named)?, 1, &state),
                b"sh" => {
                    drawn.add(self.named(resources, Thing::Shading, named)?, 1);
                    drawn.mask(&state, 1);
                }
                b"Tf" => state.font = Some(self.named(resources, Thing::Font, named)?),
                b"Tj" | b"TJ" | b"'" | b"\"" => {
                    drawn.paint(&[state.fill, state.line], &state);
                    drawn.write(letters, &state);
                }
                b"gs" => self.set(resources, named, &mut state)?,
                b"scn" | b"sc" => state.fill = self.ink(place, named)?,
                b"SCN" | b"SC" => state.line = self.ink(place, named)?,
                b"g" | b"rg" | b"k" | b"cs" => state.fill = PLAIN,
                b"G" | b"RG" | b"K" | b"CS" => state.line = PLAIN,
                b"f" | b"F" | b"f*" => drawn.paint(&[state.fill], &state),
                b"S" | b"s" => drawn.paint(&[state.line], &state),
                b"B" | b"B*" | b"b" | b"b*" => drawn.paint(&[state.fill, state.line], &state),
                b"BI" => {
                    let picture = tokens.picture();
                    let points = picture.as_ref().map_or(0, points_within);
                    drawn.add(Drawn { points, ..Drawn::default() }, 1);
                    drawn.paint(&[state.fill], &state);
                }
                _ => {}
            }
            letters = 0;
        }
        Ok(drawn)
    }

    /// A colour, which is a pattern's if it has a name.
    fn ink(&mut self, place: Place<'d>, name: Option<&[u8]>) -> Result<Set, Refusal> {
        Ok(match name {
            None => PLAIN,
            name => {
                if let Some(pattern) = self.called(place.resources, Thing::Pattern, name) {
                    self.check_cells(pattern, place.room)?;
                }
                let mut cell = Drawn::default();
                // A cell takes nothing from around it but its colour.
                cell.draw(self.named(place.resources, Thing::Pattern, name)?, 1, &State::default());
                Some(Drawn { coloured: 0, masked: 0, letters: 0, ..cell })
            }
        })
    }

    /// What is set by a dictionary of graphics.
    fn set(
        &mut self,
        resources: Option<&'d Dictionary>,
        name: Option<&[u8]>,
        state: &mut State,
    ) -> Result<(), Refusal> {
        let found = self.called(resources, Thing::Mask, name).and_then(|found| self.dictionary(found));
        let Some(graphics) = found else {
            let mask = self.most(Thing::Mask, name)?;
            if mask != Drawn::default() {
                state.mask = Some(mask);
            }
            return Ok(());
        };
        if graphics.has(b"SMask") {
            state.mask = Some(self.mask(graphics)?);
        }
        if let Some(font) = self.list(graphics, b"Font").first() {
            state.font = Some(self.font(font)?);
        }
        Ok(())
    }

    fn mask(&mut self, graphics: &'d Dictionary) -> Result<Drawn, Refusal> {
        let mask = graphics.get(b"SMask").ok().and_then(|mask| self.dictionary(mask));
        let form = mask.and_then(|mask| mask.get(b"G").ok()).and_then(|form| self.find(form));
        let Some(form) = form else { return Ok(Drawn::default()) };
        let mut mask = Drawn::default();
        mask.draw(self.stream(form, None)?, 1, &State::default());
        Ok(Drawn { coloured: 0, masked: 0, letters: 0, ..mask })
    }

    /// The most costly glyph of a font that is drawn by contents.
    fn font(&mut self, font: &'d Object) -> Result<Drawn, Refusal> {
        let Some(object @ Object::Dictionary(font)) = self.find(font) else { return Ok(Drawn::default()) };
        let Some(glyphs) = font.get(b"CharProcs").ok().and_then(|glyphs| self.dictionary(glyphs)) else {
            return Ok(Drawn::default());
        };
        let key = (ptr::from_ref(object), ptr::null());
        if let Some(known) = self.known.get(&key) {
            return Ok(*known);
        }
        let resources = font.get(b"Resources").ok().and_then(|own| self.dictionary(own));
        let mut most = Drawn::default();
        for (_, glyph) in glyphs {
            if let Some(glyph) = self.find(glyph) {
                most = most.larger(self.stream(glyph, resources)?);
            }
        }
        self.known.insert(key, most);
        Ok(most)
    }

    /// What resources have by a name.
    fn called(
        &self,
        resources: Option<&'d Dictionary>,
        thing: Thing,
        name: Option<&[u8]>,
    ) -> Option<&'d Object> {
        let things = resources?.get(thing.key()).ok().and_then(|things| self.dictionary(things))?;
        things.get(name?).ok()
    }

    fn named(
        &mut self,
        resources: Option<&'d Dictionary>,
        thing: Thing,
        name: Option<&[u8]>,
    ) -> Result<Drawn, Refusal> {
        match self.called(resources, thing, name) {
            Some(object) => self.thing(thing, object),
            None => self.most(thing, name),
        }
    }

    /// What something costs that contents do not find in their own resources: some readers look for it in those around them, so
    /// the most costly one counts that goes by the name anywhere.
    fn most(&mut self, thing: Thing, name: Option<&[u8]>) -> Result<Drawn, Refusal> {
        let Some(name) = name else { return Ok(Drawn::default()) };
        if let Some(known) = self.most.get(&(thing, name.to_vec())) {
            return Ok(*known);
        }
        let new = self.new;
        let everywhere: &Everywhere<'d> = self.everywhere.get_or_insert_with(|| everywhere(new));
        let mut most = Drawn::default();
        for object in everywhere.get(&(thing, name)).cloned().unwrap_or_default() {
            most = most.larger(self.thing(thing, object)?);
        }
        self.most.insert((thing, name.to_vec()), most);
        Ok(most)
    }

    fn thing(&mut self, thing: Thing, object: &'d Object) -> Result<Drawn, Refusal> {
        let Some(object) = self.find(object) else { return Ok(Drawn::default()) };
        match (thing, object) {
            (Thing::XObject, Object::Stream(stream)) if is_picture(stream) => {
                let key = (ptr::from_ref(object), ptr::null());
                if let Some(known) = self.known.get(&key) {
                    return Ok(*known);
                }
                let mut points = points(stream);
                for mask in [&b"SMask"[..], b"Mask"] {
                    if let Some(Object::Stream(mask)) =
                        stream.dict.get(mask).ok().and_then(|mask| self.find(mask))
                    {
                        points = points.saturating_add(self::points(mask));
                    }
                }
                let drawn = Drawn { points, coloured: 1, masked: 1, ..Drawn::default() };
                self.known.insert(key, drawn);
                Ok(drawn)
            }
            (Thing::XObject | Thing::Pattern, Object::Stream(_)) => self.stream(object, None),
            (Thing::Pattern, Object::Dictionary(pattern)) => {
                let shading = pattern.get(b"Shading").ok().and_then(|shading| self.find(shading));
                Ok(shading.map(|shading| self.shading(shading)).unwrap_or_default())
            }
            (Thing::Shading, object) => Ok(self.shading(object)),
            (Thing::Font, object) => self.font(object),
            (Thing::Mask, Object::Dictionary(graphics)) => self.mask(graphics),
            _ => Ok(Drawn::default()),
        }
    }

    /// A shading costs what its mesh has.
    fn shading(&mut self, object: &'d Object) -> Drawn {
        let Object::Stream(stream) = object else { return Drawn::default() };
        let key = (ptr::from_ref(object), ptr::null());
        if let Some(known) = self.known.get(&key) {
            return *known;
        }
        let drawn = Drawn { bytes: unpacked(stream).len() as u64, ..Drawn::default() };
        self.known.insert(key, drawn);
        drawn
    }

    fn find(&self, object: &'d Object) -> Option<&'d Object> {
        self.new.dereference(object).ok().map(|(_, object)| object)
    }

    fn dictionary(&self, object: &'d Object) -> Option<&'d Dictionary> {
        self.find(object).and_then(|object| object.as_dict().ok())
    }

    /// The values of a key that has one or a list of them.
    fn list(&self, dictionary: &'d Dictionary, key: &[u8]) -> &'d [Object] {
        match dictionary.get(key) {
            Ok(value) => match self.find(value) {
                Some(Object::Array(values)) => values.as_slice(),
                _ => std::slice::from_ref(value),
            },
            Err(_) => &[],
        }
    }
}

/// Where all resources of a document are, and what they have.
fn everywhere<'d>(new: &'d Document) -> Everywhere<'d> {
    let dictionary = |object: &'d Object| -> Option<&'d Dictionary> {
        new.dereference(object).ok().and_then(|(_, object)| object.as_dict().ok())
    };
    let mut found: BTreeMap<*const Dictionary, &'d Dictionary> = BTreeMap::new();
    let mut waiting: Vec<&'d Object> = new.objects.values().collect();
    while let Some(object) = waiting.pop() {
        let inside = match object {
            Object::Dictionary(inside) => inside,
            Object::Stream(stream) => &stream.dict,
            Object::Array(values) => {
                waiting.extend(values);
                continue;
            }
            _ => continue,
        };
        for (key, value) in inside {
            if matches!(key.as_slice(), b"Resources" | b"DR")
                && let Some(resources) = dictionary(value)
            {
                found.insert(ptr::from_ref(resources), resources);
            }
            waiting.push(value);
        }
    }
    let mut everywhere = Everywhere::new();
    // Resources may share what they name.
    let mut seen = HashSet::new();
    for resources in found.into_values() {
        for thing in Thing::ALL {
            let things = resources.get(thing.key()).ok().and_then(dictionary);
            let Some(things) = things.filter(|things| seen.insert((thing, ptr::from_ref(*things)))) else {
                continue;
            };
            for (name, object) in things {
                everywhere.entry((thing, name.as_slice())).or_default().push(object);
            }
        }
    }
    everywhere
}

/// The contents of a stream of the new document, which unpacked when it was written.
fn unpacked(stream: &Stream) -> Vec<u8> {
    let most = usize::try_from(MOST_OF_PAGE).unwrap_or(usize::MAX);
    stream.decompressed_content_with_limit(most).unwrap_or_default()
}

fn is_picture(stream: &Stream) -> bool {
    matches!(stream.dict.get(b"Subtype"), Ok(Object::Name(name)) if name == b"Image")
}

/// How many points a picture has: as many as its document says, or as it says itself, since readers differ in whom they believe.
fn points(stream: &Stream) -> u64 {
    let number = |key: &[u8]| stream.dict.get(key).and_then(Object::as_i64).unwrap_or(0).unsigned_abs();
    let told = number(b"Width").saturating_mul(number(b"Height"));
    told.max(points_of_data(stream).unwrap_or(0))
}

fn points_of_data(stream: &Stream) -> Option<u64> {
    let mut outer = stream.filters().ok()?;
    let kind = outer.pop().filter(|kind| is_of_picture(kind))?;
    let bare = match outer.as_slice() {
        [] => Cow::Borrowed(stream.content.as_slice()),
        outer => {
            let names: Vec<Object> = outer.iter().map(|name| Object::Name(name.to_vec())).collect();
            let mut dictionary = Dictionary::new();
            dictionary.set("Filter", names);
            Cow::Owned(unpacked(&Stream::new(dictionary, stream.content.clone())))
        }
    };
    let (width, height) = match kind {
        b"DCTDecode" => picture::size_of_jpeg(&bare)?,
        b"JPXDecode" => jpx::size(&bare)?,
        _ => return None,
    };
    Some(u64::from(width).saturating_mul(u64::from(height)))
}

/// The same of one that stands in contents.
fn points_within(picture: &Inline<'_>) -> u64 {
    let number = |names| {
        let written = picture.value(names).and_then(|value| std::str::from_utf8(value).ok());
        written.and_then(|number| number.trim().parse::<i64>().ok()).unwrap_or(0).unsigned_abs()
    };
    number(("W", "Width")).saturating_mul(number(("H", "Height")))
}
