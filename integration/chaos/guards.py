"""Owns the table of invariants: which guard keeps each, which test fails without it, and whether that was tried by taking the guard away. Not the tests."""

# "every run": the guard is taken away by order (`src/trial.rs`) in a test of its own, which passes only if the simulation then fails.
EVERY_RUN = "yes, in every `make test`"
# `unguarded` takes them away in a copy of the source.
TRIED = "2026-11-30"
BY_HAND = "yes, by `make guards`"

GUARDS = [
    ("OFF-1", "`Span::new`", "`off_1_a_reversed_or_negative_span_is_refused`", BY_HAND),
    ("OFF-2", "`Advance::extend`", "`off_2_an_advance_takes_only_what_follows`", BY_HAND),
    ("OFF-2", "`buffer/accumulator.rs`: `check_adjacent`", "`off_2_a_hole_is_refused_and_changes_nothing`", BY_HAND),
    ("OFF-3", "`delta/change.rs`: `check_append`, `excluded_by`", "`off_3_a_commit_without_the_base_check_is_caught`, `off_3_a_lowered_txn_is_caught`", EVERY_RUN),
    ("OFF-4", "`delta/change.rs`: `check_append`; `delta/entry.rs`: one `Draft`", "`off_4_offsets_can_move_without_rows_but_no_file_without_them`, `off_6_entries_are_spelled_as_promised`", BY_HAND),
    ("OFF-5", "`source/group.rs`: `group_config`; `pipeline/settle.rs` reads the table", "`off_5_the_group_neither_keeps_nor_supplies_positions`", BY_HAND),
    ("OFF-6", "`delta/sources.rs`: `app_id`, `Sources`", "`off_6_app_ids_and_the_property_are_spelled_as_promised`", BY_HAND),
    ("OFF-7", "`pipeline/cause.rs`: `judge_position`", "`off_7_a_position_below_the_log_names_the_hole`, `off_7_a_position_above_the_log_is_a_truncation`", BY_HAND),
    ("OFF-7", "`pipeline/settle.rs`: `diverging` (leader epochs)", "`off_7_a_truncation_that_is_noticed_by_the_logs_end_alone_is_caught`", EVERY_RUN),
    ("OFF-8", "`delta/replay.rs`: a known topic partition needs its txn", "`off_8_a_start_on_a_missing_txn_is_caught`", EVERY_RUN),
    ("EPOCH-1", "`delta/change.rs`: `may_start`", "`epoch_1_a_commit_after_a_revoke_is_caught`", EVERY_RUN),
    ("EPOCH-2", "`buffer/accumulator.rs`: `push`", "`epoch_2_rows_of_two_epochs_never_meet`", BY_HAND),
    ("DEC-1", "`decode/decoder.rs`: `cut_back`, the counts", "`dec_1_a_bad_record_costs_its_neighbours_nothing`", BY_HAND),
    ("MEM-1", "`model/memory.rs`: `Pool`; `buffer/budget.rs`", "`mem_1_live_permits_stay_within_the_limit`, `mem_1_the_shares_never_add_up_to_more_than_the_limit`", BY_HAND),
    ("ORD-1", "`delta/change.rs`: `check_append` (and one flush at a time)", "`ord_1_a_span_that_is_ahead_of_its_predecessor_is_not_committed`", BY_HAND),
    ("COMMIT-1", "`delta/commit.rs`: `recognises`, `reopen`", "`commit_1_a_result_that_is_guessed_is_caught`", EVERY_RUN),
    ("COMMIT-2", "`delta/state.rs`: `holds`", "`commit_2_a_base_that_is_not_looked_at_is_caught`", EVERY_RUN),
    ("FILE-1", "staged files that have waited too long are dropped", "`file_1_a_commit_of_files_that_a_vacuum_took_for_orphans_is_caught`", EVERY_RUN),
    ("STAT-1", "`writer/stats`", "`stat_1_timestamps_are_rounded_outward_to_milliseconds`, `stat_1_bounds_contain_every_value_and_counts_are_exact`", BY_HAND),
    ("COMP-1", "`model/commit.rs`: `Rewrite`", "`comp_1_a_merge_that_loses_rows_is_caught`", EVERY_RUN),
    ("COMP-2", "`delta/rewrite.rs`: `excluded_by`", "`comp_2_a_merge_of_files_that_are_gone_is_caught`", EVERY_RUN),
    ("DLQ-1", "`delta/outbox`", "`dlq_1_rejects_that_are_published_twice_are_caught`", EVERY_RUN),
    ("ENV-1", "`decode/registry.rs`", "`env_1_an_outage_stalls_and_never_rejects`", BY_HAND),
    ("CFG-1", "`config/check`", "`cfg_1_wrong_configs_are_refused_with_exactly_these_messages`", BY_HAND),
    ("TIME-1", "`buffer/flush_policy.rs`", "`time_1_rows_are_flushed_when_target_lag_needs_it`", BY_HAND),
]


def lines() -> list[str]:
    return [
        "An invariant of ARCHITECTURE counts as held only if a test fails when its guard is taken away. *Every make test*: the guard is taken away by order (`src/trial.rs`) and the simulation",
        f"must fail, by words that name the damage. *By make guards*: the guard is taken away in a copy of the source, and the test named must fail; by hand, last on {TRIED}.",
        "",
        "| id | guard | test | tried |",
        "|---|---|---|---|",
        *(f"| {name} | {guard} | {test} | {tried} |" for name, guard, test, tried in GUARDS),
    ]
