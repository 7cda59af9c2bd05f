//! Reading rooms.
