//! The list of the tests, for any backend.

/// All of the suite for one backend, as tests.
macro_rules! contract {
    ($backend:ty) => {
        use crate::store::contract;

        #[test]
        fn answers_are_those_of_the_rules() {
            contract::answers_are_those_of_the_rules::<$backend>();
        }
        #[test]
        fn paging_is_not_disturbed_by_newcomers() {
            contract::paging_is_not_disturbed_by_newcomers::<$backend>();
        }
        #[test]
        fn the_cursor_decides_what_is_written() {
            contract::the_cursor_decides_what_is_written::<$backend>();
        }
        #[test]
        fn admissions_of_one_call_are_written_in_order() {
            contract::admissions_of_one_call_are_written_in_order::<$backend>();
        }
        #[test]
        fn a_gap_makes_the_runs_around_it_incomplete() {
            contract::a_gap_makes_the_runs_around_it_incomplete::<$backend>();
        }
        #[test]
        fn an_entry_in_quarantine_takes_its_place() {
            contract::an_entry_in_quarantine_takes_its_place::<$backend>();
        }
        #[test]
        fn what_was_committed_survives_a_kill() {
            contract::what_was_committed_survives_a_kill::<$backend>();
        }
        #[test]
        fn the_last_word_on_what_is_expected_counts() {
            contract::the_last_word_on_what_is_expected_counts::<$backend>();
        }
        #[test]
        fn what_an_agent_says_of_its_host_is_kept() {
            contract::what_an_agent_says_of_its_host_is_kept::<$backend>();
        }
        #[test]
        fn the_inventory_tells_what_there_is() {
            contract::the_inventory_tells_what_there_is::<$backend>();
        }
        #[test]
        fn a_step_of_the_watchdog_is_there_whole_and_reads_back() {
            contract::a_step_of_the_watchdog_is_there_whole_and_reads_back::<$backend>();
        }
        #[test]
        fn runs_that_were_added_to_are_found_after_a_border() {
            contract::runs_that_were_added_to_are_found_after_a_border::<$backend>();
        }
        #[test]
        fn following_meets_every_event_once() {
            contract::following_meets_every_event_once::<$backend>();
        }
        #[test]
        fn the_end_of_the_log_grows_with_every_commit_of_events() {
            contract::the_end_of_the_log_grows_with_every_commit_of_events::<$backend>();
        }
        #[test]
        fn a_run_that_does_not_fit_says_how_many_events_are_left_out() {
            contract::a_run_that_does_not_fit_says_how_many_events_are_left_out::<$backend>();
        }
        #[test]
        fn a_list_without_pages_says_when_it_is_cut() {
            contract::a_list_without_pages_says_when_it_is_cut::<$backend>();
        }
        #[test]
        fn an_agent_cannot_touch_the_runs_of_another() {
            contract::an_agent_cannot_touch_the_runs_of_another::<$backend>();
        }
        #[test]
        fn answers_after_the_retention_are_those_over_what_stays() {
            contract::answers_after_the_retention_are_those_over_what_stays::<$backend>();
        }
        #[test]
        fn the_last_failed_runs_stay_and_so_does_what_is_open() {
            contract::the_last_failed_runs_stay_and_so_does_what_is_open::<$backend>();
        }
        #[test]
        fn what_is_untold_stays_longer_unless_room_is_wanted() {
            contract::what_is_untold_stays_longer_unless_room_is_wanted::<$backend>();
        }

        #[test]
        fn a_gap_is_never_forgotten() {
            contract::a_gap_is_never_forgotten::<$backend>();
        }
        #[test]
        fn what_is_sent_again_changes_no_run() {
            contract::what_is_sent_again_changes_no_run::<$backend>();
        }
        #[test]
        fn what_moved_into_a_successor_is_stored_once() {
            contract::what_moved_into_a_successor_is_stored_once::<$backend>();
        }
        #[test]
        fn another_event_at_the_old_place_is_no_double() {
            contract::another_event_at_the_old_place_is_no_double::<$backend>();
        }
        #[test]
        fn an_epoch_that_is_gone_is_counted_as_lost_until_it_comes_back() {
            contract::an_epoch_that_is_gone_is_counted_as_lost_until_it_comes_back::<$backend>();
        }
        #[test]
        fn the_state_of_a_task_is_that_of_the_run_that_started_last() {
            contract::the_state_of_a_task_is_that_of_the_run_that_started_last::<$backend>();
        }
    };
}
pub(in super::super) use contract;
