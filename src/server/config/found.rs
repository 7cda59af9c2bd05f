//! What was found wrong with a configuration, all of it at once.

use base::config::Problem;

/// What was found wrong.
#[derive(Default)]
pub(super) struct Found(pub(super) Vec<Problem>);

impl Found {
    pub(super) fn wrong(&mut self, key: String, message: String) {
        self.0.push(Problem::of_key(key, message));
    }

    /// A key that would be right but for these others.
    pub(super) fn contradiction(&mut self, key: String, with: Vec<String>, message: String) {
        self.0.push(Problem { with, ..Problem::of_key(key, message) });
    }
}
