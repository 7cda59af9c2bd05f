//! Tables of cases for the six steps.
