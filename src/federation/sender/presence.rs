//! Which servers are in a room at which place of a stretch of the log.
//!
//! The tables tell who is there now; what the last stretch left in memory tells who was there
//! before. For those that came or went in between the log says where. So nobody is sent what was said behind
//! his back, and nobody who was there is left out.

use room::tables::Membership;
use ruma::{OwnedServerName, ServerName};
use store::Position;

/// A change of somebody's membership, as the log has it.
pub(super) struct Change {
    pub(super) position: Position,
    pub(super) server: OwnedServerName,
    pub(super) membership: Membership,
}

/// The servers of a room over a stretch of the log.
#[derive(Debug, Default)]
pub(super) struct Presence(Vec<Stay>);

#[derive(Debug)]
struct Stay {
    server: OwnedServerName,
    from: Position,
    through: Position,
}

impl Presence {
    /// Puts together who was there before the stretch (if known), who is there after it, and what the
    /// stretch says of memberships.
    pub(super) fn new(
        before: Option<&[OwnedServerName]>,
        now: &[OwnedServerName],
        changes: &[Change],
    ) -> Self {
        let end = Position(u64::MAX);
        let mut stays = Vec::with_capacity(now.len());
        for server in now {
            let is_new = before.is_some_and(|before| !before.contains(server));
            let mut of_server = changes.iter().filter(|change| change.server == *server);
            let first_join = of_server.find(|change| change.membership == Membership::Join);
            let from = first_join.filter(|_| is_new).map_or(Position::START, |change| change.position);
            stays.push(Stay { server: server.clone(), from, through: end });
        }
        for server in before.unwrap_or_default().iter().filter(|server| !now.contains(server)) {
            let mut of_server = changes.iter().rev().filter(|change| change.server == *server);
            let is_gone = |change: &&Change| matches!(change.membership, Membership::Leave | Membership::Ban);
            let through = of_server.find(is_gone).map_or(end, |change| change.position);
            stays.push(Stay { server: server.clone(), from: Position::START, through });
        }
        Self(stays)
    }

    /// The servers in the room just before or just after the entry at this position.
    pub(super) fn at(&self, position: Position) -> impl Iterator<Item = &OwnedServerName> {
        let there = move |stay: &&Stay| stay.from <= position && position <= stay.through;
        self.0.iter().filter(there).map(|stay| &stay.server)
    }

    /// Whether this server is in the room just before or just after the entry at this position.
    pub(super) fn includes(&self, server: &ServerName, position: Position) -> bool {
        self.at(position).any(|known| known == server)
    }
}

#[cfg(test)]
mod tests {
    use ruma::owned_server_name;

    use super::*;

    fn at(presence: &Presence, position: u64) -> Vec<&str> {
        presence.at(Position(position)).map(|server| server.as_str()).collect()
    }

    fn change(position: u64, server: &OwnedServerName, membership: Membership) -> Change {
        Change { position: Position(position), server: server.clone(), membership }
    }

    #[test]
    fn servers_are_there_from_their_first_join_through_their_last_leave() {
        let [a, b, c] = [owned_server_name!("a"), owned_server_name!("b"), owned_server_name!("c")];
        let (before, now) = ([a.clone(), b.clone()], [a.clone(), c.clone()]);
        let changes = [
            change(3, &b, Membership::Leave),
            change(4, &c, Membership::Join),
            change(5, &b, Membership::Ban),
            change(6, &c, Membership::Leave),
            change(7, &c, Membership::Join),
            change(8, &a, Membership::Leave),
        ];
        let presence = Presence::new(Some(&before), &now, &changes);
        assert_eq!(at(&presence, 1), ["a", "b"]);
        assert_eq!(at(&presence, 4), ["a", "c", "b"]);
        assert_eq!(at(&presence, 5), ["a", "c", "b"]);
        assert_eq!(at(&presence, 6), ["a", "c"]);
        assert!(presence.includes(&a, Position(9)) && !presence.includes(&b, Position(9)));
    }

    #[test]
    fn without_knowledge_of_before_all_who_are_there_now_are_served() {
        let a = owned_server_name!("a");
        let changes = [change(4, &a, Membership::Join)];
        assert_eq!(at(&Presence::new(None, &[a], &changes), 1), ["a"]);
    }

    #[test]
    fn a_server_that_is_gone_for_no_reason_in_the_stretch_is_served_to_its_end() {
        let a = owned_server_name!("a");
        assert_eq!(at(&Presence::new(Some(&[a]), &[], &[]), 9), ["a"]);
    }
}
