//! Simplified sliding sync: what clients are told of the rooms that they look at.
//!
//! A client names lists, which are windows over its user's rooms in the order of what last happened in them, and single
//! rooms; and what it wants of each. An answer tells of those of these rooms of which the client, as far as this connection
//! goes, does not know all: rooms never told, rooms in which something happened, and rooms of which it wants more than it
//! has. What happens in rooms that are not shown is noted, and told when they are shown again.
//!
//! An answer is as large as a few megabytes at most; what does not go into it goes into the next one, which the client is
//! not kept waiting for. So no room is lost, however large a window is.
//!
//! Nothing that has moved costs nothing: the windows are looked through when a room moved, when the client asks for something
//! else than before, or when it was not told all.
//!
//! Reading order: [`crate::Syncs::slide`], [`crate::connections`] (what clients were told), `view` (which rooms are shown), `plan`
//! (which are told), `read` (what they tell), `extensions`.
//!
//! Spec: <https://github.com/matrix-org/matrix-spec-proposals/pull/4186>

mod extensions;
mod order;
mod part;
mod plan;
mod read;
mod slide;
mod view;
mod write;
