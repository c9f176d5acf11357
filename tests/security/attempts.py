"""What has been tried as an attacker would, and the tests that try it again.

Handlers, whoever may write into a store, other roles of a database, producers, and other users of
the machine: each attempt is told as what would come of it, were it not held.
"""

from __future__ import annotations

HANDLERS: dict[str, tuple[str, ...]] = {
    "what a handler leaves in a folder is run by its supervisor, as root even": (
        "test_import_path.py::test_a_supervisor_imports_nothing_from_its_working_directory_and_"
        "handlers_do",
        "test_import_path.py::test_a_working_directory_of_the_workers_user_is_refused_and_nothing_"
        "of_it_is_run",
    ),
    "its answers, which it does not read, fill the supervisor's memory": (
        "test_requests.py::test_who_does_not_read_its_answers_is_given_no_more_until_it_does",
        "test_intake.py::test_what_a_worker_does_not_read_is_told_after_some_patience",
    ),
    "its requests do": (
        "test_requests.py::test_large_requests_are_carried_out_a_few_at_a_time_and_the_pipe_waits",
        "test_released_memory.py::test_a_draft_that_a_locked_file_refuses_is_let_go_of",
    ),
    "it reads and ends the jobs that wait in its worker": (
        "test_one_job_per_worker.py::test_a_worker_for_one_job_holds_no_other_that_could_be_read_"
        "or_ended",
    ),
    "it changes the handlers of later jobs": (
        "test_one_job_per_worker.py::test_what_a_job_does_to_the_handlers_of_its_worker_is_gone_"
        "with_it",
    ),
    "it writes its deadline away": (
        "test_one_job_per_worker.py::test_no_job_outlives_its_deadline_by_what_it_writes_into_its_"
        "page",
    ),
    "it forges, empties or shuts the log": (
        "test_log_pipes.py::test_a_line_that_a_handler_forges_is_told_as_its_own",
        "test_log_pipes.py::test_the_log_survives_a_handler_that_empties_shuts_or_closes_its_own_"
        "end",
    ),
    "what it prints holds up the supervisor's loop": (
        "test_log_pipes.py::test_a_flood_of_lines_is_held_up_and_nobody_elses_are_lost",
        "test_relay.py::test_a_turn_takes_milliseconds_whatever_there_is_to_read",
    ),
    "frames without end hold it up": (
        "test_intake.py::test_a_flood_of_frames_is_taken_a_few_in_a_turn_and_others_have_theirs",
    ),
    "whatever it writes makes the supervisor large, or slow, or costs another's job": (
        "test_hostile_workers.py::test_no_attack_makes_a_supervisor_large_or_its_loop_slow_or_"
        "harms_another_job",
    ),
    "what it leaves there runs in a worker that is not bound yet": (
        "test_import_path.py::test_a_worker_imports_nothing_from_there_before_its_limits_are_set",
    ),
    "what else its user may write is run by root, or read": (
        "test_import_path.py::test_whatever_of_a_supervisor_the_workers_user_can_change_is_refused",
        "test_import_path.py::test_as_root_nothing_is_opened_where_the_user_could_have_put_a_link",
    ),
    "it stops its supervisor for good": (
        "test_supervisor_service.py::test_the_service_manager_that_watches_is_given_signs_of_life_"
        "to_the_end",
    ),
    "it finds addresses and passwords in its environment": (
        "test_isolation.py::test_a_worker_has_no_socket_no_database_and_no_address_of_one",
        "test_surroundings.py::test_what_is_the_supervisors_stays_with_it_and_all_else_is_the_"
        "applications",
    ),
    "it looks into the supervisor, the zygote or a sibling, signals, limits or patches them": (
        "test_sandbox.py::test_a_handler_reaches_neither_its_supervisor_nor_the_zygote_nor_its_"
        "siblings",
    ),
    "it writes to the queue's file, or to the code": (
        "test_sandbox.py::test_a_handler_writes_only_where_it_may",
    ),
    "it makes the page that it shares with its supervisor larger, or smaller": (
        "test_claims_and_limits.py::test_a_worker_can_neither_cut_off_nor_grow_the_page_that_its_"
        "supervisor_reads",
        "test_without_rights.py::test_a_handler_without_rights_hurts_itself_alone",
    ),
    "what it starts inherits descriptors, joins the supervisor's group, forks without end": (
        "test_without_rights.py::test_a_handler_without_rights_hurts_itself_alone",
    ),
    "what it starts takes the memory that it may not have": (
        "test_scheduler_stops.py::test_what_a_worker_has_started_counts_towards_the_ceiling",
    ),
    "its bulk inserts keep everybody else waiting": (
        "test_requests.py::test_what_another_worker_asks_for_comes_after_a_share_of_a_flood_and_"
        "not_after_all",
        "test_bulk_steps.py::test_one_job_comes_in_between_the_steps_of_many",
    ),
    "frames that cannot be, claims to the jobs of others": (
        "test_untrusted_data.py::test_a_worker_that_sends_what_cannot_be_loses_its_own_job_and_no_"
        "other",
        "test_claims.py::test_a_worker_that_lies_again_and_again_is_killed_once",
    ),
    "results, errors and evidence that no store expects": (
        "exchange_rules.py::test_what_a_worker_has_forged_is_held_against_its_own_job_alone",
    ),
    "its jobs kill worker after worker, and everybody waits": (
        "test_crash_storm.py::test_a_type_that_kills_its_workers_is_confined_to_one_and_the_others_"
        "work_on_untouched",
    ),
    "its jobs kill their workers before they start": (
        "test_unstarted.py::test_a_job_whose_workers_die_before_they_start_anything_is_charged_in_"
        "the_end",
    ),
}
STORES: dict[str, tuple[str, ...]] = {
    "another role's functions are called in the place of the server's": (
        "test_search_path.py::test_what_runs_jobs_steps_past_the_traps_of_another_role",
        "test_search_path.py::test_jobs_created_within_a_callers_transaction_step_past_them_as_well",
    ),
    "keys of Redis of another kind, rows with odd values": (
        "test_damaged_keys_redis.py::test_a_key_of_a_job_that_is_of_another_kind_harms_no_other",
        "test_damaged_keys_redis.py::test_an_odd_value_in_any_field_of_a_row_harms_no_other_job",
        "test_damaged_redis.py::test_a_supervisor_outlives_whatever_is_written_into_its_namespace",
    ),
    "odd values in rows of a database stop the jobs beside them": (
        "test_sqlite_tables.py::test_nobody_can_write_what_portico_does_not",
        "test_damaged_columns.py::test_an_odd_value_in_any_column_stops_nothing_but_its_own_job",
        "test_damaged_columns.py::test_a_row_damaged_at_any_moment_keeps_no_neighbour_from_its_end",
        "test_damaged_rows_postgres.py::test_an_odd_value_in_any_column_stops_nothing_but_its_own_"
        "job",
    ),
    "places that a store has lost lose their jobs": (
        "test_damaged_keys_redis.py::test_a_store_of_which_only_the_rows_are_left_finds_all_its_"
        "jobs_again",
    ),
    "wake-ups for queues that there are not fill the memory": (
        "test_wake_floods.py::test_a_flood_of_names_on_redis_is_not_kept",
        "test_wake_floods.py::test_a_flood_of_names_on_postgresql_is_not_kept",
    ),
    "the queue's file is removed, replaced, cut off": (
        "test_store_faults.py::test_a_file_that_is_no_longer_the_same_ends_the_supervisor_and_is_"
        "left_alone",
        "test_prepared_files.py::test_a_database_that_somebody_cuts_off_while_it_is_used_is_told",
    ),
}
MACHINE: dict[str, tuple[str, ...]] = {
    "a frozen process keeps the lock of the wake file": (
        "test_held_locks.py::test_a_queue_that_is_made_is_used_while_a_frozen_process_keeps_its_"
        "lock",
        "test_held_locks.py::test_a_queue_that_is_to_be_made_is_refused_with_the_name_of_who_keeps_"
        "its_lock",
    ),
    "the wake file is touched without end": (
        "test_without_rights.py::test_a_flood_of_touches_of_the_wake_file_keeps_no_job_waiting",
    ),
    "pipes, devices, circles of links stand where files are looked for": (
        "test_prepared_files.py::test_no_command_waits_for_a_pipe_that_somebody_has_put_there",
        "test_prepared_files.py::test_what_is_no_file_beside_what_supervisors_tell_is_passed_over",
    ),
    "links are planted in the place of files that are to be written": (
        "test_files.py::test_a_link_in_the_place_of_the_pid_file_is_not_followed",
        "test_files.py::test_a_planted_link_beside_the_queue_makes_no_file_elsewhere",
    ),
    "a service manager reads no more": (
        "test_prepared_files.py::test_a_service_manager_that_reads_no_more_stops_nobody",
    ),
}
PRODUCERS: dict[str, tuple[str, ...]] = {
    "instants, priorities and limits that cannot be keep other jobs out": (
        "bulk_rules.py::test_what_is_just_possible_is_kept_and_what_is_not_holds_no_other_back",
    ),
    "names collide with keys, or with other names": (
        "bulk_rules.py::test_names_that_look_like_something_else_are_names_and_each_is_its_own",
    ),
    "a job lifts the operator's deadline": (
        "test_one_job_per_worker.py::test_no_producer_lifts_the_operators_deadline",
    ),
    "the bundled examples fetch what only the machine may": (
        "test_privileges.py::test_in_production_the_bundled_examples_are_refused",
    ),
    "texts of jobs drive a terminal, or cannot be seen": (
        "test_log_injection.py::test_the_command_shows_what_jobs_say_and_obeys_none_of_it",
        "test_log_injection.py::test_nothing_that_cannot_be_seen_stands_in_a_line",
    ),
    "what is installed brings along what nobody has chosen": (
        "test_supply_chain.py::test_a_deployment_can_pin_everything_that_it_installs_by_its_hash",
        "test_supply_chain.py::test_what_is_built_twice_is_the_same_to_the_byte",
    ),
}
ATTEMPTS = HANDLERS | STORES | MACHINE | PRODUCERS
