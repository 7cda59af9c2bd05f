//! What the crate promises, as tests.
