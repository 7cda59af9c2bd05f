//! In which sizes thumbnails are made.

/// How a picture is made to fit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Method {
    /// All of it, within the size.
    #[default]
    Scale,
    /// So much of it as fills the size.
    Crop,
}

/// What a client wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Width in points.
    pub width: u32,
    /// Height in points.
    pub height: u32,
    /// How it is made to fit.
    pub method: Method,
    /// Whether it may move.
    pub animated: bool,
}

/// One of the sizes; its number is stored and never changes its meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Variant {
    number: u8,
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) method: Method,
    /// Whether it may move.
    pub(crate) moves: bool,
}

/// What the number of a size is more by where it moves.
const MOVING: u8 = 128;

const fn scaled(number: u8, width: u32, height: u32) -> Variant {
    Variant { number, width, height, method: Method::Scale, moves: false }
}

const fn square(number: u8, side: u32) -> Variant {
    Variant { number, width: side, height: side, method: Method::Crop, moves: false }
}

/// Smallest first: those that the specification demands, and larger ones, for fine screens and whole windows.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#thumbnails>
const SCALED: [Variant; 5] = [
    scaled(3, 320, 240),
    scaled(4, 640, 480),
    scaled(5, 800, 600),
    scaled(8, 1_600, 1_200),
    scaled(9, 3_200, 2_400),
];
const SQUARES: [Variant; 6] =
    [square(1, 32), square(2, 96), square(6, 240), square(7, 640), square(10, 1_280), square(11, 2_560)];

/// Other shapes in which pictures are cropped: how their sides are to each other, and their longer sides in points. Shapes
/// between them get the next one, so that few are kept whoever asks.
const SHAPES: [(u32, u32); 8] = [(3, 1), (2, 1), (16, 9), (4, 3), (3, 4), (9, 16), (1, 2), (1, 3)];
const LONGER_SIDES: [u32; 3] = [360, 960, 2_880];
/// The number of the first of them.
const SHAPED: u8 = 16;

impl Variant {
    pub(crate) fn number(self) -> u8 {
        self.number
    }

    /// Whether a picture of this size is no larger.
    pub(crate) fn takes(self, width: u32, height: u32) -> bool {
        width <= self.width && height <= self.height
    }

    /// The same for what moves. Where a picture does not, or too much to be made, a still one is kept under it.
    pub(crate) fn moving(self) -> Self {
        Self { number: self.number | MOVING, moves: true, ..self }
    }

    /// All of a shape, smallest first.
    fn shaped(shape: usize) -> impl Iterator<Item = Self> {
        let (wide, high) = SHAPES.get(shape).copied().unwrap_or((1, 1));
        LONGER_SIDES.iter().zip(0_u8..).map(move |(side, nth)| Self {
            number: SHAPED + u8::try_from(shape).unwrap_or_default() * 4 + nth,
            width: side * wide / wide.max(high),
            height: side * high / wide.max(high),
            method: Method::Crop,
            moves: false,
        })
    }
}

impl Wanted {
    /// The smallest size that is as large as this, else the largest.
    pub(crate) fn variant(&self) -> Variant {
        let fits = |variant: &Variant| variant.takes_at_least(self);
        match (self.method, self.shape()) {
            (Method::Scale, _) => *SCALED.iter().find(|one| fits(one)).unwrap_or(&SCALED[SCALED.len() - 1]),
            (_, None) => *SQUARES.iter().find(|one| fits(one)).unwrap_or(&SQUARES[SQUARES.len() - 1]),
            (_, Some(shape)) => {
                let largest = Variant::shaped(shape).last().unwrap_or(SQUARES[0]);
                Variant::shaped(shape).find(fits).unwrap_or(largest)
            }
        }
    }

    /// Which of [`SHAPES`] is nearest, if none is nearer than a square.
    fn shape(&self) -> Option<usize> {
        let asked = f64::from(self.width) / f64::from(self.height);
        let distance = |(wide, high): (u32, u32)| (asked * f64::from(high) / f64::from(wide)).ln().abs();
        let nearest = SHAPES
            .iter()
            .enumerate()
            .map(|(shape, sides)| (shape, distance(*sides)))
            .min_by(|one, other| one.1.total_cmp(&other.1));
        nearest.filter(|(_, near)| *near < distance((1, 1))).map(|(shape, _)| shape)
    }

    /// Whether it is one of the sizes.
    pub(crate) fn is_a_size(&self) -> bool {
        let variant = self.variant();
        (variant.width, variant.height) == (self.width, self.height)
    }

    /// What becomes of all of a picture that is made to fit this, and is no larger than the picture.
    pub(crate) fn fitted(&self, width: u32, height: u32) -> Self {
        let [has_width, has_height, most_wide, most_high] =
            [width, height, self.width, self.height].map(|side| u64::from(side.max(1)));
        let (width, height) = if has_width <= most_wide && has_height <= most_high {
            (has_width, has_height)
        } else if has_width * most_high >= has_height * most_wide {
            (most_wide, (has_height * most_wide).div_ceil(has_width))
        } else {
            ((has_width * most_high).div_ceil(has_height), most_high)
        };
        let side = |side: u64| u32::try_from(side).unwrap_or(u32::MAX);
        Self { width: side(width), height: side(height), ..*self }
    }

    /// Whether there is no size that is as large as this.
    pub(crate) fn is_beyond(&self) -> bool {
        !self.variant().takes_at_least(self)
    }

    /// Whether a picture of this size is no larger than what is wanted.
    pub(crate) fn takes(&self, width: u32, height: u32) -> bool {
        width <= self.width && height <= self.height
    }
}

impl Variant {
    fn takes_at_least(&self, wanted: &Wanted) -> bool {
        self.takes(wanted.width, wanted.height)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_size_that_is_large_enough_is_taken_else_the_largest() {
        let size = |width, height, method| {
            let variant = Wanted { width, height, method, animated: false }.variant();
            (variant.width, variant.height)
        };
        assert_eq!(size(32, 32, Method::Scale), (320, 240));
        assert_eq!(size(320, 241, Method::Scale), (640, 480));
        assert_eq!(size(648, 710, Method::Scale), (1_600, 1_200));
        assert_eq!(size(9_000, 1, Method::Scale), (3_200, 2_400));
        assert_eq!(size(32, 32, Method::Crop), (32, 32));
        assert_eq!(size(33, 33, Method::Crop), (96, 96));
        assert_eq!(size(641, 641, Method::Crop), (1_280, 1_280));
        assert_eq!(size(9_000, 9_000, Method::Crop), (2_560, 2_560));
        assert_eq!(size(800, 400, Method::Crop), (960, 480));
        assert_eq!(size(100, 150, Method::Crop), (270, 360));
        assert_eq!(size(9_000, 1, Method::Crop), (2_880, 960));
    }

    #[test]
    fn of_a_wide_picture_no_more_is_made_than_fits_what_is_wanted() {
        let fitted = |width, height, has_width, has_height| {
            let wanted = Wanted { width, height, method: Method::Scale, animated: false };
            let fitted = wanted.fitted(has_width, has_height);
            (fitted.width, fitted.height)
        };
        assert_eq!(fitted(800, 800, 4_000, 3_000), (800, 600));
        assert_eq!(fitted(1_080, 2_400, 4_000, 3_000), (1_080, 810));
        assert_eq!(fitted(1_080, 2_400, 3_000, 4_000), (1_080, 1_440));
        assert_eq!(fitted(9_000, 9_000, 1_200, 900), (1_200, 900));
        assert_eq!(fitted(u32::MAX, 1, u32::MAX, u32::MAX), (1, 1));
        assert_eq!(fitted(800, 600, 30_000, 1), (800, 1));
    }

    #[test]
    fn nothing_is_smaller_than_what_is_wanted_unless_it_is_beyond_all_sizes_and_numbers_are_of_one_size() {
        let mut numbers = std::collections::HashMap::new();
        for (width, height) in
            (1..3_000).step_by(37).flat_map(|w| (1..2_700).step_by(41).map(move |h| (w, h)))
        {
            for method in [Method::Scale, Method::Crop] {
                let wanted = Wanted { width, height, method, animated: false };
                let variant = wanted.variant();
                let size = (variant.width, variant.height, variant.method);
                assert_eq!(*numbers.entry(variant.number).or_insert(size), size);
                assert!(variant.number < MOVING);
                let is_large_enough = variant.width >= width && variant.height >= height;
                assert_eq!(is_large_enough, !wanted.is_beyond());
                if method == Method::Scale {
                    assert_eq!(is_large_enough, width <= 3_200 && height <= 2_400);
                } else {
                    assert!(is_large_enough || width > 900 || height > 900, "{width}x{height}");
                }
            }
        }
    }
}
