//! How much rules may hold, and how much is done at once. What is over a bound is refused; nothing is cut off.

/// Most rules of an authority, whether they hold or not.
pub const MAX_RULES: usize = 100;

/// Most entries in the history of a rule.
pub const MAX_ENTRIES: usize = 1_000;

/// Most rooms that one rule gives a unit.
pub const MAX_TEMPLATES: usize = 30;

/// Most rooms that the rules of an authority make: 900 units with thirty each are 27,000.
pub const MAX_ROOMS: usize = 100_000;

/// Most patterns in a list: names of units, titles, ranks.
pub const MAX_PATTERNS: usize = 50;

/// Most letters of a title, a pattern or the key of a room.
pub const MAX_NAME: usize = 100;

/// Most letters of the name of a room, as pattern and as it is made of one.
pub const MAX_ROOM_NAME: usize = 200;

/// Most letters of a topic, as pattern and as it is made of one.
pub const MAX_TOPIC: usize = 500;

/// Most days for which predecessors stay: ten years.
pub const MAX_HAND_OVER: u16 = 3_660;

/// Most types of events with a level of their own.
pub const MAX_EVENT_LEVELS: usize = 50;

/// Most bytes of names in the power levels of a room: an event takes 65,536 bytes in all.
pub const MAX_LEVEL_BYTES: usize = 40_000;

/// So many members or pieces of state are changed in one commit.
pub const SLICE: usize = 100;

/// So many member events a second go to other servers.
pub const MEMBERS_A_SECOND: u32 = 300;

/// Most steps that a preview tells one by one; all are counted.
pub const MAX_TOLD: usize = 2_000;
