//! Rooms of several servers.
