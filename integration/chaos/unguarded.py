"""Owns taking guards away, one at a time and in a copy of the source, and showing that the test that names the invariant then fails. Not the table of guards (`guards`).

`python -m chaos.unguarded [ID …]`; ends with 1 where a test passes without its guard. A guard that has moved is an error: this list follows the code.
"""

import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from components import run_folder

ROOT = Path(__file__).parents[2]
# Compiled in seconds; whether a test fails does not depend on it. Cargo tells builds apart by their profile and not by their folder: with a number of units that nobody else
# asks for, a build without a guard is never taken for one of the project's own.
QUICK = [part for setting in ("opt-level=0", "debug=0", "codegen-units=101") for part in ("--config", f"profile.dev.package.lakeward.{setting}")]


@dataclass(frozen=True)
class Guard:
    invariant: str
    file: str
    guard: str
    without: str
    test: str


GUARDS = [
    Guard("OFF-1", "model/offset.rs", "if start < 0 || end < start {", "if start < 0 {", "off_1_a_reversed_or_negative_span_is_refused"),
    Guard("OFF-1", "model/offset.rs", "if start < 0 || end < start {", "if end < start {", "off_1_a_reversed_or_negative_span_is_refused"),
    Guard("OFF-2", "model/progress.rs", "if step.span.end() != next.span.start() {", "if false {", "off_2_an_advance_takes_only_what_follows"),
    Guard("OFF-2", "buffer/accumulator.rs", "self.check_adjacent(part.advance)?;", "", "off_2_a_hole_is_refused_and_changes_nothing"),
    Guard("OFF-4", "delta/change.rs", "if steps(append).next().is_none() {", "if false {", "off_4_offsets_can_move_without_rows_but_no_file_without_them"),
    Guard("OFF-4", "delta/change.rs", "version: step.span.end(),", "version: step.span.start(),", "off_6_entries_are_spelled_as_promised"),
    Guard("OFF-5", "source/group.rs", 'config.set("enable.auto.commit", "false");', "", "off_5_the_group_neither_keeps_nor_supplies_positions"),
    Guard("OFF-5", "source/group.rs", 'config.set("auto.offset.reset", "error");', "", "off_5_the_group_neither_keeps_nor_supplies_positions"),
    Guard("OFF-6", "delta/sources.rs", '"{APPLICATION}/{}/{incarnation}/{}"', '"{APPLICATION}/{}/{}/{incarnation}"', "off_6_app_ids_and_the_property_are_spelled_as_promised"),
    Guard("OFF-7", "pipeline/cause.rs", "if committed < marks.low {", "if false {", "off_7_a_position_below_the_log_names_the_hole"),
    Guard("OFF-7", "pipeline/cause.rs", "(committed > marks.high).then_some(marks.high)", "None", "off_7_a_position_above_the_log_is_a_truncation"),
    Guard("EPOCH-2", "buffer/accumulator.rs", "if !part.epoch.same_as(&self.epoch) {", "if false {", "epoch_2_rows_of_two_epochs_never_meet"),
    Guard("DEC-1", "decode/decoder.rs", "self.cut_back(self.rows);", "", "dec_1_a_bad_record_costs_its_neighbours_nothing"),
    Guard("DEC-1", "decode/decoder.rs", "appended.counts.rejects += 1;", "", "dec_1_a_bad_record_costs_its_neighbours_nothing"),
    Guard("MEM-1", "buffer/budget.rs", "const ROWS_PERCENT: u64 = 57;", "const ROWS_PERCENT: u64 = 67;", "mem_1_the_shares_never_add_up_to_more_than_the_limit"),
    Guard("MEM-1", "model/memory.rs", "used.saturating_add(bytes) <= self.inner.limit_bytes", "true", "mem_1_live_permits_stay_within_the_limit"),
    Guard("ORD-1", "delta/change.rs", "let is_base = committed == Some(step.span.start())", "let is_base = committed.is_some()", "ord_1_a_span_that_is_ahead_of_its_predecessor_is_not_committed"),
    Guard("STAT-1", "writer/stats/bound.rs", "micros.div_euclid(1000) + up", "micros.div_euclid(1000)", "stat_1_timestamps_are_rounded_outward_to_milliseconds"),
    Guard("STAT-1", "writer/stats/bound.rs", "(cut, true) => next_text(cut).map(|next| quoted(&next)),", "(cut, true) => Some(quoted(cut)),", "stat_1_bounds_contain_every_value_and_counts_are_exact"),
    Guard("ENV-1", "decode/registry.rs", "StatusCode::NOT_FOUND if is_registry_not_found(&body) =>", "StatusCode::NOT_FOUND | StatusCode::SERVICE_UNAVAILABLE =>", "env_1_an_outage_stalls_and_never_rejects"),
    Guard("CFG-1", "config/check/single.rs", "bounded(length, bounds.0, bounds.1, units::show_duration).map(Value::Duration)", "{ let _unchecked = bounds; Ok(Value::Duration(length)) }", "cfg_1_wrong_configs_are_refused_with_exactly_these_messages"),
    Guard("TIME-1", "buffer/flush_policy.rs", "if at <= now {", "if false {", "time_1_rows_are_flushed_when_target_lag_needs_it"),
]  # fmt: skip


def copy(to: Path) -> None:
    shutil.rmtree(to, ignore_errors=True)
    to.mkdir(parents=True)
    # With .cargo, whose flags decide whether what is built already can be used.
    for name in (".cargo", "src", "integration", "config", "docs"):
        # With a new time each: Cargo goes by it, and would take the last run's build, without a guard, for this one's.
        shutil.copytree(ROOT / name, to / name, copy_function=shutil.copyfile)
    for name in ("Cargo.toml", "Cargo.lock", "clippy.toml", "rustfmt.toml", "README.md"):
        shutil.copyfile(ROOT / name, to / name)


def tests(source: Path, name: str) -> subprocess.CompletedProcess:
    """Runs the tests of this name; one that does not compile or does not exist is no answer."""
    command = ["cargo", "test", "--locked", *QUICK, "--lib", "--", name]
    asked = subprocess.run(command, cwd=source, capture_output=True, text=True)
    if "running 0 tests" in asked.stdout or "test result:" not in asked.stdout:
        raise SystemExit(f"guards: {name} cannot be run\n{asked.stdout[-2000:]}{asked.stderr[-4000:]}")
    return asked


def main(wanted: list[str]) -> int:
    guards = [guard for guard in GUARDS if not wanted or guard.invariant in wanted]
    source = run_folder() / "unguarded"
    copy(source)
    for name in sorted({guard.test for guard in guards}):
        if (asked := tests(source, name)).returncode != 0:
            raise SystemExit(f"guards: {name} fails with its guard in place\n{asked.stdout[-2000:]}")
    useless = 0
    for guard in guards:
        path = source / "src" / guard.file
        text = path.read_text()
        if text.count(guard.guard) != 1:
            raise SystemExit(f"guards: {guard.file} has {text.count(guard.guard)} times: {guard.guard}")
        started = time.monotonic()
        path.write_text(text.replace(guard.guard, guard.without))
        is_caught = tests(source, guard.test).returncode != 0
        path.write_text(text)
        useless += not is_caught
        print(f"{guard.invariant:8} {'caught' if is_caught else 'NOT CAUGHT':10} {time.monotonic() - started:5.0f} s  {guard.test}  without `{guard.guard}`", flush=True)
    return 1 if useless else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
