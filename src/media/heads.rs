//! Heads of pictures: what reading one may take, whoever made the picture.

use image::Limits;

/// What reading the head may take, in bytes: colour profiles are packed, and unpack a thousandfold.
const LARGEST_HEAD: u64 = 4 << 20;

/// What reading the head of a picture may take, before there is room for more.
pub(crate) fn limits_of_head() -> Limits {
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(LARGEST_HEAD);
    limits
}
