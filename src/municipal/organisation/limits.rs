//! How much an organisation and its change sets may hold. What is over a bound is refused; nothing is cut off.

/// Most records of an authority: 12,000 people with their posts and thirty years of transfers are some 200,000.
pub const MAX_RECORDS: usize = 1_000_000;

/// Most items of a change set: the people and units that it looks at.
pub const MAX_ITEMS: usize = 200_000;

/// Most records that one item changes; the merger of two departments of 5,000 people is one item.
pub const MAX_CHANGES: usize = 20_000;

/// Most letters of a name, a title, or the name of a source.
pub const MAX_NAME: usize = 100;

/// Most change sets of an authority that wait for somebody or for their hour.
pub const MAX_WAITING: usize = 100;

/// Most steps from a unit up to the top of its tree.
pub const MAX_DEPTH: usize = 16;

/// So many changed records go into one batch, unless one item alone has more.
pub const SLICE: usize = 500;

/// Of so many percent of the people of a source that end at once, somebody has to say that it is meant so.
pub const ENDING_PERCENT: usize = 5;

/// Fewer people than this end without anybody being asked, whatever their share is.
pub const ENDING_FEW: usize = 3;

/// Of so many percent of a file's people that are wrong, somebody has to say that he knows.
pub const WRONG_PERCENT: usize = 10;

/// A unit that loses so many people or more, and all of them, is asked about.
pub const EMPTIED: usize = 3;

/// Most people whom a search of a page gives; how many more there are is counted.
pub const MAX_FOUND: usize = 50;

/// Most letters of an address.
pub const MAX_ADDRESS: usize = 64;

/// Most matters that one unit or post is responsible for.
pub const MAX_CHARGES: usize = 30;

/// Most words that a search looks for.
pub const MAX_WORDS: usize = 8;
