//! Groups of rooms, which are read and held in memory together, and whose turn it is.

use std::{num::NonZero, thread};

use base::Tasks;
use tokio::sync::Semaphore;

/// So many rooms are read, and held in memory, at a time.
pub(crate) const GROUP: usize = 50;

/// So many members too, of those rooms together, unless one room alone has more.
const GROUP_MEMBERS: u64 = 5_000;

/// So many groups of rooms are read at a time for all such answers together, for each processor; others wait their
/// turn. More would be faster for nobody, and a group takes some megabytes while it is read. A client that is slow to
/// take what was read for it holds up nobody.
const GROUPS_AT_ONCE: usize = 2;

/// Where groups of rooms are read.
pub(crate) struct Groups {
    pub(crate) turns: Semaphore,
    pub(crate) tasks: Tasks,
}

impl Groups {
    pub(crate) fn new(tasks: Tasks) -> Self {
        let processors = thread::available_parallelism().map_or(2, NonZero::get);
        Self { turns: Semaphore::new(GROUPS_AT_ONCE * processors), tasks }
    }
}

/// Groups of rooms, in their order, each given with the number of its members.
pub(crate) fn grouped<T>(rooms: impl Iterator<Item = (T, u64)>) -> Vec<Vec<T>> {
    let mut groups: Vec<Vec<T>> = Vec::new();
    let mut members = 0_u64;
    for (room, count) in rooms {
        members = members.saturating_add(count);
        match groups.last_mut().filter(|group| group.len() < GROUP && members <= GROUP_MEMBERS) {
            Some(group) => group.push(room),
            None => {
                groups.push(vec![room]);
                members = count;
            }
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_has_few_rooms_and_few_members_and_no_room_is_lost() {
        let sizes = |counts: &[u64]| -> Vec<usize> {
            let groups = grouped(counts.iter().copied().enumerate());
            assert!(groups.iter().flatten().copied().eq(0..counts.len()), "each once, in order");
            groups.iter().map(Vec::len).collect()
        };
        assert_eq!(sizes(&[]), [0; 0]);
        assert_eq!(sizes(&[3; 120]), [50, 50, 20]);
        assert_eq!(sizes(&[30_000, 1, 30_000, 30_000]), [1, 1, 1, 1]);
        assert_eq!(sizes(&[2_500, 2_500, 1, 4_999, u64::MAX, 1]), [2, 2, 1, 1]);
    }
}
