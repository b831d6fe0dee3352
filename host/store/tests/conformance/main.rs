//! One list of store stories, told to SQLite and to PostgreSQL.
//!
//! Files: `cluster` and `house` open databases, `gateway` signs callbacks, `acts` are the verbs of the stories,
//! which follow by subject.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a story ends where something is not as it is told"
)]

mod cluster;

mod house;

mod gateway;

mod acts;

mod accepting;

mod foreseeing;

mod claiming;

mod holding;

mod settling;

mod lost;

mod unreadable;

mod weighing;

mod registering;

mod standing;

mod delivering;

mod opening;

mod archiving;

mod archiving_events;

mod calling;

mod operating;

mod certifying;

mod recording;

mod checkpointing;

mod copying;

mod counting;
mod memory;

mod model;

mod random;

mod plugins;

mod crowd;

mod filling;

mod working;

mod planning;

mod alerting;
mod inquiring;

/// Tells each story twice.
macro_rules! stories {
    ($($subject:ident: $($story:ident)+;)+) => {
        mod sqlite {
            $($(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $story() {
                    crate::$subject::$story(&crate::house::House::sqlite()).await;
                }
            )+)+
        }
        mod postgres {
            $($(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $story() {
                    if let Some(house) = crate::house::House::postgres().await {
                        crate::$subject::$story(&house).await;
                    }
                }
            )+)+
        }
    };
}

stories! {
    alerting: of_two_hosts_that_see_the_same_one_raises_it
        two_hosts_that_raise_at_the_same_moment_tell_once
        what_lasts_is_told_again_and_what_is_over_once
        only_who_has_an_alert_clears_it_until_that_host_is_silent
        a_webhook_that_is_down_hears_the_newest_and_no_flood
        a_webhook_hears_so_many_in_a_minute_and_no_more
        a_severity_that_is_too_low_is_not_told
        callbacks_are_counted_by_five_minutes_when_they_are_past
        what_never_moved_and_what_waits_are_measured;
    accepting:
        a_callback_is_stored_with_everything_it_says
        a_repeat_is_counted_and_not_stored_again
        concurrent_repeats_of_one_delivery_key_make_one_row
        two_hosts_that_hear_the_same_callbacks_store_each_once
        every_part_of_a_combined_callback_is_a_notification
        the_same_key_of_another_channel_is_another_message
        a_repeat_that_says_something_else_is_counted_and_the_first_one_stands
        an_impossible_callback_fails_alone_and_its_neighbours_are_stored
        what_was_accepted_is_there_after_closing_and_opening
        the_bell_rings_also_for_what_came_before_waiting;
    foreseeing:
        a_callback_and_its_decision_are_one_commit
        a_job_that_is_foreseen_is_the_one_that_is_claimed
        what_no_order_waits_for_is_not_foreseen
        many_who_foresee_at_once_get_their_own_order
        of_one_callback_on_ten_ways_one_decides
        of_two_messages_of_one_meaning_one_decides
        a_row_ends_the_same_however_it_was_decided
        a_decision_that_does_not_hold_leaves_the_callback_ready
        a_decision_to_come_again_leaves_the_callback_for_later
        what_is_put_off_before_it_is_stored_wakes_nobody
        an_impossible_decision_stores_the_callback_all_the_same
        a_decision_that_takes_long_follows_its_callback
        a_run_that_did_not_end_is_known_at_the_next;
    claiming:
        a_claim_carries_the_notification_and_its_order
        notifications_of_one_order_are_claimed_one_after_the_other
        different_orders_are_claimed_side_by_side
        a_limit_is_kept_and_claims_of_one_group_share
        a_lease_that_ran_out_is_claimed_again_and_the_old_owner_loses
        a_poisoned_notification_blocks_its_order_only_for_the_bound
        a_deferred_notification_lets_its_order_go_on
        ten_hosts_that_claim_one_order_get_it_once
        a_claim_that_finds_nothing_is_empty;
    certifying:
        of_all_hosts_one_asks_and_again_only_after_the_gap
        many_hosts_at_one_moment_make_one_question
        a_clock_that_was_far_ahead_keeps_nobody_from_asking
        a_certificate_stays_to_its_end_though_it_is_handed_out_no_more;
    holding:
        what_is_held_spends_nothing_and_keeps_its_place
        what_is_held_is_called_back_by_plugin_and_number
        a_last_phase_is_held_and_called_back_too;
    settling:
        an_advance_writes_state_documents_history_and_events_together
        a_meaning_advances_its_order_once
        two_messages_of_one_meaning_in_one_group_advance_once
        a_version_that_was_lost_is_run_again_and_wins
        races_that_are_lost_are_counted_until_something_else_happens
        an_expectation_that_fails_leaves_nothing_behind
        a_document_that_was_read_must_still_hold
        of_two_jobs_that_write_one_document_the_second_loses
        a_kept_notification_is_done_with_its_reason
        a_retry_is_due_later_and_not_before
        the_last_phase_runs_under_the_same_lease_and_commits_its_events
        a_settlement_that_makes_no_sense_spoils_no_neighbour
        events_keep_the_order_of_commits
        a_run_that_keeps_the_state_uses_its_meaning_up;
    lost:
        a_lost_lease_takes_nothing_from_the_one_that_holds
        a_lost_lease_of_a_last_phase_takes_nothing_from_the_one_that_holds
        a_settlement_that_makes_no_sense_leaves_its_lease_to_the_next_one
        a_last_phase_that_runs_again_is_told_the_facts_of_its_commit;
    unreadable:
        a_notification_that_cannot_be_read_goes_to_review_and_its_neighbours_run
        a_state_of_a_newer_host_goes_to_review
        an_order_that_cannot_be_read_stops_no_other
        a_replay_that_cannot_be_read_holds_up_no_other;
    weighing:
        a_group_is_bounded_in_bytes
        the_line_is_bounded_in_bytes
        what_is_larger_than_every_bound_is_stored_alone;
    registering:
        a_registration_repeated_is_the_same
        every_field_that_differs_is_named
        a_name_belongs_to_one_order
        a_parked_notification_runs_once_its_order_is_registered
        a_parked_notification_is_found_by_an_alias
        an_order_registered_during_the_run_releases_instead_of_parking
        a_parked_notification_is_due_when_its_wait_is_over
        registering_and_parking_on_two_hosts_never_miss_each_other
        an_order_shows_everything_about_itself;
    standing:
        orders_stand_where_they_were_left_under_every_name
        another_host_sees_what_changed_and_nothing_else
        an_order_is_as_registered_until_its_state_changes;
    delivering:
        a_sink_begins_with_the_first_event_or_with_the_next
        one_host_at_a_time_delivers_to_a_sink
        what_a_sink_did_not_take_is_there_for_the_next_host
        dead_letters_are_listed_and_sent_again
        dead_letters_are_given_up_and_every_act_is_written_down
        hosts_that_step_many_sinks_at_once_do_not_wait_for_each_other;
    operating:
        every_attempt_is_kept_with_its_reason_and_its_phases
        a_replay_of_what_is_done_doubles_nothing
        a_replay_of_a_failed_last_phase_runs_that_phase_alone
        an_act_is_done_once_it_makes_sense_and_is_written_down
        an_act_without_a_written_reason_is_refused
        a_search_finds_what_fits_newest_first_page_by_page
        a_replay_of_many_keeps_its_rate_and_takes_each_once
        a_cancelled_replay_takes_no_further_step
        replaying_one_for_ever_keeps_the_last_attempts;
    recording:
        what_a_run_was_told_is_read_back_page_by_page
        of_several_runs_the_last_one_is_read
        retention_takes_what_runs_were_told_with_the_content
        a_database_of_another_schema_is_not_read
        costs_are_read_from_the_last_notification_on
        a_shadow_is_started_reported_of_and_stopped;
    archiving:
        an_archive_reads_back_to_the_same_content
        a_repeat_after_archiving_is_still_seen
        an_order_that_lives_keeps_its_keys
        keys_are_forgotten_only_after_their_time
        what_is_young_open_or_for_a_person_stays
        a_crash_at_any_step_loses_nothing_and_doubles_nothing
        a_crash_between_archive_and_removal_is_mended_from_the_file
        a_row_that_a_days_file_lacks_gets_a_file_of_its_own
        a_day_with_many_rows_gets_several_files
        hosts_of_one_name_share_a_folder
        what_was_archived_cannot_run_again;
    archiving_events:
        an_event_goes_when_every_sink_is_past_it
        a_sink_that_nobody_has_any_more_keeps_no_event
        a_dead_letter_keeps_its_event
        a_crash_at_any_step_loses_no_event;
    calling:
        a_call_is_answered_from_the_log_ever_after
        a_call_whose_end_nobody_knows_is_sent_again_with_its_key
        only_the_last_call_is_sent_again_and_only_without_success
        something_else_under_a_name_that_is_taken_is_never_answered
        what_was_refused_may_be_asked_otherwise_under_another_key
        an_answer_that_was_too_large_is_asked_for_again_by_who_takes_more
        who_lost_the_lease_calls_nobody
        a_call_lengthens_the_lease_and_never_shortens_it
        two_hosts_that_work_on_many_calls_do_not_wait_for_each_other
        calls_leave_with_the_content_of_their_notification;
    counting:
        a_group_costs_the_same_statements_whatever_its_size;
    random:
        thousands_of_random_stories_agree_with_a_small_model
        a_difference_is_found_and_cut_down_to_a_few_acts;
    plugins:
        a_version_is_pushed_once_and_never_changes
        rollbacks_lead_back_step_by_step_to_the_configuration
        of_two_operators_one_is_told_to_look_again
        a_retired_version_is_never_activated_again
        a_canary_is_tried_changed_promoted_or_stopped
        a_canary_that_fails_too_often_is_stopped_by_what_all_hosts_counted
        a_canary_that_goes_bad_late_is_judged_by_its_last_minutes
        every_host_says_what_it_has_in_force;
    inquiring:
        a_question_belongs_to_one_host_until_its_lease_ends
        all_hosts_together_ask_no_more_than_a_merchant_may
        channels_of_one_merchant_take_from_one_bucket
        an_order_that_was_heard_of_is_asked_about_no_more
        a_question_out_of_turn_is_put_once_in_a_while
        a_question_that_is_over_can_be_put_on_the_schedule_again
        orders_that_were_registered_before_are_found_page_by_page;
    crowd:
        three_hosts_and_shuffled_repeats_pay_every_order_once;
}
