//! The suite that every back end must pass.
//!
//! A back end's tests name a [`Place`] and let [`conformance_tests!`](crate::conformance_tests)
//! make one test per law:
//!
//! ```ignore
//! store::conformance_tests!(async { MemoryPlace::default() });
//! ```

mod aging;
mod laws;
mod model;
mod random;
mod replicas;
mod telling;

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use base::{Metrics, Tasks};

pub use aging::*;
pub use laws::*;
pub use random::*;
pub use replicas::*;
pub use telling::*;

use crate::{
    backend::Backend,
    store::{Options, Store},
    table::{Table, Tuning},
    value::{Counter, Stamped},
};
use bytes::Bytes;

/// A place where data lie, of one kind of back end, at first empty.
pub trait Place: Send + Sync {
    /// Opens the data with a new back end. For data that cannot be shared, the last one is gone.
    fn open(&self) -> Pin<Box<dyn Future<Output = Arc<dyn Backend>> + Send + '_>>;

    /// Does to the data what a crash would do: nothing more is written out.
    ///
    /// The handles to the last back end may be used no longer.
    fn crash(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async {})
    }
}

pub(crate) static WORDS: Table<(u8, String), Bytes> = Table::new(190, "conformance.words", Tuning::Point);
pub(crate) static NUMBERS: Table<u64, Bytes> = Table::new(191, "conformance.numbers", Tuning::Large);
pub(crate) static COUNTERS: Table<u8, Counter> = Table::new(192, "conformance.counters", Tuning::Small);
pub(crate) static QUEUE: Table<(u8, crate::Position), Bytes> =
    Table::new(193, "conformance.queue", Tuning::Queue);
pub(crate) static STAMPS: Table<u8, Stamped<Bytes>> = Table::new(194, "conformance.stamps", Tuning::Append);

/// A store for a test, with its tasks.
pub(crate) struct Opened {
    pub(crate) store: Store,
    tasks: Tasks,
}

impl Opened {
    pub(crate) async fn at(place: &dyn Place) -> Self {
        Self::with(place, Options::default()).await
    }

    pub(crate) async fn with(place: &dyn Place, options: Options) -> Self {
        let metrics = Metrics::new();
        let tasks = Tasks::new(&metrics);
        let store = Store::open(place.open().await, options, &tasks, &metrics).await;
        Self { store: store.expect("the store opens"), tasks }
    }

    /// Ends without writing anything out.
    pub(crate) async fn crash(self, place: &dyn Place) {
        place.crash().await;
        drop(self.store);
        assert_eq!(self.tasks.stop(Duration::from_secs(10)).await, 0, "the committer ends with its store");
    }

    /// Ends in order.
    pub(crate) async fn close(self) {
        self.store.close().await.expect("the store closes");
        assert_eq!(self.tasks.stop(Duration::from_secs(10)).await, 0, "the committer ends with its store");
    }
}

/// Makes one test for each law of the suite; the argument is a future that makes a [`Place`].
#[macro_export]
macro_rules! conformance_tests {
    ($place:expr) => {
        $crate::conformance_tests!(@each $place;
            random_batches_do_what_the_model_does
            a_crash_loses_nothing_acknowledged_and_reuses_no_position
            racing_writers_lose_no_update
            a_group_is_decided_batch_by_batch
            failed_batches_leave_no_gap_in_the_positions
            a_pipeline_on_a_failed_batch_fails_with_it
            scans_follow_order_bounds_and_limit
            prefix_deletes_stop_at_the_prefix
            a_swath_goes_row_by_row_and_nothing_else
            rows_of_any_size_come_back
            the_log_is_read_in_order_and_in_pages
            readers_of_the_log_see_each_entry_once_while_writers_race
            rows_are_never_behind_the_head_and_the_head_reaches_them
            ephemeral_positions_are_not_given_again
            what_is_told_is_heard_once_and_before_its_position_shows
            rows_at_marked_positions_are_never_written_over
            cursors_and_sequences_survive
            watchers_are_woken_and_moves_are_known
            a_closed_store_refuses
            what_was_written_verifies
            a_trimmed_log_tells_who_reads_what_is_gone
            the_log_waits_for_its_readers_but_not_for_ever
            a_reader_that_comes_in_between_is_not_cut_off
            a_reader_that_nobody_has_any_more_is_forgotten
        );
    };
    (@each $place:expr; $($law:ident)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $law() {
            let place = $place.await;
            $crate::conformance::$law(&place).await;
        }
    )*};
}

/// Makes the tests for back ends whose data several processes share.
#[macro_export]
macro_rules! replica_tests {
    ($place:expr) => {
        $crate::conformance_tests!(@each $place;
            two_replicas_lose_no_update
            a_replica_wakes_for_the_commits_of_the_other
            a_replica_never_passes_over_a_commit_of_the_other
            what_one_replica_was_told_the_other_reaches
            two_replicas_share_sequences
            what_one_replica_tells_both_hear_at_its_position
            one_replica_at_a_time_does_a_consumers_work
            who_follows_a_log_that_was_trimmed_knows_that_something_is_missing
        );
    };
}
