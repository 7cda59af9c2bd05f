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

/// Smallest first. Those that the specification demands, and two larger squares, for pictures of rooms on fine screens.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#thumbnails>
const VARIANTS: [Variant; 7] = [
    Variant { number: 1, width: 32, height: 32, method: Method::Crop, moves: false },
    Variant { number: 2, width: 96, height: 96, method: Method::Crop, moves: false },
    Variant { number: 6, width: 240, height: 240, method: Method::Crop, moves: false },
    Variant { number: 7, width: 640, height: 640, method: Method::Crop, moves: false },
    Variant { number: 3, width: 320, height: 240, method: Method::Scale, moves: false },
    Variant { number: 4, width: 640, height: 480, method: Method::Scale, moves: false },
    Variant { number: 5, width: 800, height: 600, method: Method::Scale, moves: false },
];

impl Variant {
    pub(crate) fn number(self) -> u8 {
        self.number
    }

    /// The same for what moves. Where a picture does not, or too much to be made, a still one is kept under it.
    pub(crate) fn moving(self) -> Self {
        Self { number: self.number | MOVING, moves: true, ..self }
    }
}

impl Wanted {
    /// The smallest size that is as large as this, else the largest.
    pub(crate) fn variant(&self) -> Variant {
        let mut of_method = VARIANTS.iter().filter(|variant| variant.method == self.method);
        let fits = |variant: &&Variant| variant.width >= self.width && variant.height >= self.height;
        let largest = of_method.clone().next_back();
        // Both methods have sizes.
        *of_method.find(fits).or(largest).unwrap_or(&VARIANTS[0])
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
        assert_eq!(size(648, 710, Method::Scale), (800, 600));
        assert_eq!(size(32, 32, Method::Crop), (32, 32));
        assert_eq!(size(33, 1, Method::Crop), (96, 96));
        assert_eq!(size(9_000, 1, Method::Crop), (640, 640));
    }
}
