//! What the kit promises, as tests.
