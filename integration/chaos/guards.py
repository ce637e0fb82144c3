"""Owns the table of invariants: which guard keeps each, which test fails without it, and whether that was tried by taking the guard away. Not the tests."""

# "every run": the guard is taken away by order (`src/trial.rs`) in a test of its own, which passes only if the simulation then fails.
EVERY_RUN = "yes, in every `make test`"
NO = "no"

GUARDS = [
    ("OFF-1", "`Span::new`", "`off_1_a_reversed_or_negative_span_is_refused`", NO),
    ("OFF-2", "`Advance::extend`", "`off_2_a_hole_is_refused_and_changes_nothing`", NO),
    ("OFF-3", "`delta/change.rs`: `check_append`, `excluded_by`", "`off_3_a_commit_without_the_base_check_is_caught`, `off_3_a_lowered_txn_is_caught`", EVERY_RUN),
    ("OFF-4", "`delta/entry.rs`: one `Draft`", "`off_4_offsets_that_move_without_a_span_or_a_txn_are_found`", NO),
    ("OFF-5", "`source/group.rs`: `group_config`; `pipeline/settle.rs` reads the table", "`off_5_the_group_neither_keeps_nor_supplies_positions`", NO),
    ("OFF-6", "`delta/sources.rs`: `app_id`, `Sources`", "`off_6_app_ids_and_the_property_are_spelled_as_promised`", NO),
    ("OFF-7", "`pipeline/cause.rs`: `judge_position`; `pipeline/lane/reading.rs`", "`off_7_a_position_below_the_log_names_the_hole`, `test_retention_that_overtook_the_sink_suspends_with_the_hole_until_it_is_lifted`", NO),
    ("OFF-7", "`pipeline/settle.rs`: `diverging` (leader epochs)", "`off_7_a_truncation_that_is_noticed_by_the_logs_end_alone_is_caught`", EVERY_RUN),
    ("OFF-8", "`delta/replay.rs`: a known topic partition needs its txn", "`off_8_a_start_on_a_missing_txn_is_caught`", EVERY_RUN),
    ("EPOCH-1", "`delta/change.rs`: `may_start`", "`epoch_1_a_commit_after_a_revoke_is_caught`", EVERY_RUN),
    ("EPOCH-2", "`buffer/accumulator.rs`: `push`", "`epoch_2_rows_of_two_epochs_never_meet`", NO),
    ("DEC-1", "`pipeline/lane/reading.rs`: `decode_some`", "`dec_1_a_bad_record_costs_its_neighbours_nothing`", NO),
    ("MEM-1", "`model/memory.rs`: `Pool`; `buffer/budget.rs`", "`mem_1_the_shares_never_add_up_to_more_than_the_limit`", NO),
    ("ORD-1", "`pipeline/flusher`: one flush at a time", "`ord_1_a_span_that_is_ahead_of_its_predecessor_is_not_committed`", NO),
    ("COMMIT-1", "`delta/commit.rs`: `recognises`, `reopen`", "`commit_1_a_result_that_is_guessed_is_caught`", EVERY_RUN),
    ("COMMIT-2", "`delta/state.rs`: `holds`", "`commit_2_a_base_that_is_not_looked_at_is_caught`", EVERY_RUN),
    ("FILE-1", "staged files that have waited too long are dropped", "`file_1_a_commit_of_files_that_a_vacuum_took_for_orphans_is_caught`", EVERY_RUN),
    ("STAT-1", "`writer/stats`", "`stat_1_bounds_contain_every_value_and_counts_are_exact`", NO),
    ("COMP-1", "`model/commit.rs`: `Rewrite`", "`comp_1_a_merge_that_loses_rows_is_caught`", EVERY_RUN),
    ("COMP-2", "`delta/rewrite.rs`: `excluded_by`", "`comp_2_a_merge_of_files_that_are_gone_is_caught`", EVERY_RUN),
    ("DLQ-1", "`delta/outbox`", "`dlq_1_rejects_that_are_published_twice_are_caught`", EVERY_RUN),
    ("ENV-1", "`decode/registry.rs`; `pipeline/flusher/flush.rs`: `upload`; `pipeline/settle.rs`", "`env_1_an_outage_stalls_and_never_rejects`", NO),
    ("CFG-1", "`config/resolve`", "`cfg_1_wrong_configs_are_refused_with_exactly_these_messages`", NO),
    ("TIME-1", "`buffer/flush_policy.rs`, `maintenance/plan.rs`: pure", "`time_1_rows_are_flushed_when_target_lag_needs_it`", NO),
]


def lines() -> list[str]:
    return [
        "An invariant of ARCHITECTURE counts as held only if a test fails when its guard is taken away. *Every make test*: the guard is taken away by order (`src/trial.rs`) and the simulation",
        "must fail, by words that name the damage. *No*: the test names the invariant, but nobody has recorded taking its guard away.",
        "",
        "| id | guard | test | tried |",
        "|---|---|---|---|",
        *(f"| {name} | {guard} | {test} | {tried} |" for name, guard, test, tried in GUARDS),
    ]
