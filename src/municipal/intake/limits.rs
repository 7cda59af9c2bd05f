//! How much a file may hold. What is over a bound is refused with the bound in the message; nothing is cut off.

/// Most bytes of a file: 12,000 people with every column take 4 MiB.
pub const MAX_BYTES: u64 = 16 << 20;

/// Most rows with something in them.
pub const MAX_ROWS: usize = 100_000;

/// Most cells of all rows together, which bounds what a file takes in memory.
pub const MAX_CELLS: usize = 4_000_000;

/// Most columns of a row.
pub const MAX_COLUMNS: usize = 256;

/// Most bytes of a cell, as UTF-8: 4,000 kanji.
pub const MAX_CELL_BYTES: usize = 12_000;

/// Most lines of a cell in quotes. A quote that is not closed is found after as many.
pub const MAX_CELL_LINES: u32 = 100;

/// How many rows at the top of a file may stand above the one with the names of its columns.
pub const MAX_TITLES: usize = 20;

/// Most problems that are told one by one; how many more there are is counted.
pub const MAX_PROBLEMS: usize = 1_000;

/// How many letters of a value are shown with its problem.
pub const MAX_SHOWN: usize = 40;

/// Most letters of a number or code.
pub const MAX_CODE: usize = 32;

/// Most letters of a name, a reading, a unit's or a post's name.
pub const MAX_NAME: usize = 100;

/// Most units above each other in one cell.
pub const MAX_LEVELS: usize = 16;

/// Most rows of one person.
pub const MAX_APPOINTMENTS: usize = 50;
