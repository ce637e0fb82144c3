"""Owns a table under everything at once: ingest ten times a second, the sidecar's own maintenance, two more maintainers that are killed, and Spark. Rows stay exact.

deltalake (Python) is a reader here and no writer: its DELETE and OPTIMIZE do not see winning removes without data change and would double rows by themselves.
"""

import json
import os
import random
import signal
import threading
import time
from pathlib import Path

import pyarrow.parquet as pq
from deltalake import DeltaTable, write_deltalake

from .readers import READERS, batches, spark
from .sink import Running, Sink, json_table
from .test_crash import SESSION, Load

SECONDS = float(os.environ.get("LAKEWARD_MAINTAIN_SECONDS") or 60)
VERSIONS = 50
DDL = "seq long, text string, amount decimal(9,2)"
# Retention cannot go below an hour: what is to be deleted is made older than that by its time stamp.
MAINTENANCE = {
    "compaction": {"target_file_size": "4MiB", "min_files": 4, "cold_after": "500ms"},
    "checkpoint_every_commits": 20,
    "log_retention": "1h",
    "vacuum": {"older_than": "1h", "interval": "1m"},
}


def entries(table: Path) -> list[tuple[int, list[dict]]]:
    """The retained log as (version, actions)."""
    found = []
    for file in sorted((table / "_delta_log").glob("*.json")):
        if file.stem.isdigit():
            found.append((int(file.stem), [json.loads(line) for line in file.read_text().splitlines() if line.strip()]))
    return found


def info(actions: list[dict]) -> dict:
    return next((action["commitInfo"] for action in actions if "commitInfo" in action), {})


class Maintainer(threading.Thread):
    """`lakeward maintain --once` again and again; killed at a random moment most of the time."""

    def __init__(self, sink: Sink, seed: int):
        super().__init__(daemon=True)
        self.sink, self.pick = sink, random.Random(seed)
        self.enough = threading.Event()
        self.kills = self.ended = 0
        self.failures: list = []

    def run(self) -> None:
        try:
            while not self.enough.is_set():
                self._one()
        except Exception as error:
            self.failures.append(error)

    def _one(self) -> None:
        with Running(["maintain", "-c", self.sink.config, "--once"], self.sink.folder) as running:
            if self.pick.random() < 0.6:
                time.sleep(self.pick.uniform(0.05, 1.5))
                if running.is_alive:
                    running.signal(signal.SIGKILL)
                    self.kills += 1
            ended = running.wait(90)
            if ended.code != -signal.SIGKILL:
                ended.expect(0)
                self.ended += 1


def backdate(table: Path, orphans: list[Path]) -> None:
    """Makes everything that the log names look ten hours old, as after a long life: only liveness and tombstones protect it from vacuum now."""
    named = {(action.get("add") or action.get("remove"))["path"] for _, actions in entries(table) for action in actions if "add" in action or "remove" in action}
    then = time.time() - 36_000
    for path in [*(table / name for name in named), *orphans]:
        if path.exists():
            os.utime(path, (then, then))


def expected_counts(table: Path) -> dict[int, int]:
    """Rows at each version, by what the commits say they added and deleted."""
    rows, counts = 0, {}
    for version, actions in entries(table):
        said = info(actions)
        metrics = said.get("operationMetrics", {})
        if said.get("operation") == "DELETE":
            rows -= int(metrics.get("numDeletedRows", 0))
        elif said.get("operation") == "STREAMING UPDATE":
            rows += sum(span["rows"] for span in said.get("lakeward", {}).get("spans", []))
        counts[version] = rows
    return counts


def sequence(reader: str, table: Path) -> list[int]:
    return sorted(number for batch in batches(reader, table, ["seq"]) for number in batch.column(0).to_pylist())


def delete_by_spark(table: Path, low: int, high: int) -> bool:
    """Deletes a range of rows, as a foreign engine does; a conflict is its own to notice."""
    try:
        spark().sql(f"DELETE FROM delta.`{table}` WHERE seq >= {low} AND seq < {high}")
        return True
    except Exception as error:
        assert "Concurrent" in str(error) or "DELTA_CONCURRENT" in str(error), error
        return False


def test_comp_2_rows_stay_exact_while_everything_maintains_at_once(kafka, folder, topic, seed):
    kafka.create_topic(topic, 4)
    table = json_table("events", topic, DDL, target_lag="100ms", maintenance=MAINTENANCE)
    sink = Sink(folder, kafka.bootstrap, table, properties=SESSION)
    spark().sql("SELECT 1").collect()
    path = sink.table("events")
    load = Load(kafka, topic, 4)
    load.start()
    maintainers = [Maintainer(sink, seed + number) for number in range(2)]
    deleted: list[range] = []
    conflicts = optimizes = 0
    with sink.start() as running:
        sink.wait_until(running, lambda: len(entries(path)) > 3)
        for maintainer in maintainers:
            maintainer.start()
        orphans = [path / f"part-orphan-{number}.parquet" for number in range(3)]
        for orphan in orphans:
            orphan.write_bytes(b"left by a crash")
        until = time.monotonic() + SECONDS
        step = 0
        while time.monotonic() < until:
            backdate(path, orphans)
            step += 1
            # Rows that are surely committed: the first of what was sent long ago.
            low = step * 500
            if sum(1 for _ in entries(path)) > 20 and load.count > low + 40_000:
                if delete_by_spark(path, low, low + 7):
                    deleted.append(range(low, low + 7))
                else:
                    conflicts += 1
                try:
                    spark().sql(f"OPTIMIZE delta.`{path}`")
                    optimizes += 1
                except Exception as error:
                    assert "Concurrent" in str(error) or "DELTA_CONCURRENT" in str(error), error
                    conflicts += 1
            time.sleep(0.5)
            assert running.is_alive, running.wait()
        for maintainer in maintainers:
            maintainer.enough.set()
        for maintainer in maintainers:
            maintainer.join(120)
            assert not maintainer.is_alive() and not maintainer.failures, maintainer.failures
        load.end()
        ended = running.drain()
        ended.expect(0)
    sink.until_caught_up(seconds_max=240).expect(0)
    log = entries(path)
    ours = [version for version, actions in log if info(actions).get("operation") == "OPTIMIZE" and info(actions).get("engineInfo", "").startswith("lakeward/")]
    appends = [version for version, actions in log if info(actions).get("operation") == "STREAMING UPDATE"]
    kills = sum(maintainer.kills for maintainer in maintainers)
    print(
        f"\n[maintain] {SECONDS:.0f} s: {len(appends)} appends, {len(ours)} compactions of ours, {optimizes} OPTIMIZE and {len(deleted)} DELETE by Spark, "
        f"{conflicts} conflicts of Spark, {kills} maintainers killed, {sum(maintainer.ended for maintainer in maintainers)} ended, {load.count} records",
        flush=True,
    )
    assert len(ours) >= 3, "the compactor makes no progress"
    assert kills >= 3, "no maintainer was killed"
    assert not any(orphan.exists() for orphan in orphans), "orphans of a crash are vacuumed"
    # Zero ingest aborts: an epoch that had to end is said.
    assert "the epoch ended at a commit" not in ended.stderr, ended
    gone = {number for numbers in deleted for number in numbers}
    wanted = [number for number in range(load.count) if number not in gone]
    for reader in READERS:
        assert sequence(reader, path) == wanted, f"{reader} does not read what was sent"
    counts = expected_counts(path)
    versions = sorted(counts)[:: max(1, len(counts) // VERSIONS)]
    for version in versions:
        at = DeltaTable(path, version=version)
        numbers = at.to_pyarrow_table(columns=["seq"]).column("seq").to_pylist()
        assert len(numbers) == len(set(numbers)) == counts[version], f"version {version} holds {len(numbers)} rows, {len(set(numbers))} of them distinct; the log says {counts[version]}"
    print(f"[maintain] {len(versions)} older versions are exact", flush=True)


def small_files(path: Path, count: int, rows: int) -> None:
    import pyarrow as pa

    for number in range(count):
        seq = list(range(number * rows, (number + 1) * rows))
        write_deltalake(path, pa.table({"seq": pa.array(seq, pa.int64()), "text": [f"t{one}" for one in seq]}), mode="append")


def maintained(folder: Path, **settings) -> Sink:
    """A table that others write: the broker of the config is never asked."""
    table = json_table("events", "none", "seq long, text string", maintenance={**MAINTENANCE, **settings})
    return Sink(folder, "127.0.0.1:1", table)


def test_maintain_forecasts_then_does_then_has_nothing_to_do(folder):
    sink = maintained(folder)
    path = sink.table("events")
    small_files(path, 12, 100)
    time.sleep(0.6)
    before = sorted(path.rglob("*"))
    forecast = sink.command("maintain", "--dry-run").expect(0).stdout
    print(f"\n{forecast}", flush=True)
    assert "merge 12 files" in forecast and "clean-log" in forecast and "vacuum" in forecast
    assert sorted(path.rglob("*")) == before, "a dry run writes nothing"
    done = sink.command("maintain", "--once", "--only", "compact").expect(0).stdout
    assert "compacted 12 files" in done, done
    assert "nothing to compact" in sink.command("maintain", "--once", "--only", "compact").expect(0).stdout
    assert len(DeltaTable(path).file_uris()) == 1
    for reader in READERS:
        assert sequence(reader, path) == list(range(1200)), reader
    [merged] = [Path(uri) for uri in DeltaTable(path).file_uris()]
    assert pq.ParquetFile(merged).metadata.row_group(0).column(0).compression == "ZSTD"


def test_a_truncated_file_is_named_and_left_alone(folder):
    sink = maintained(folder)
    path = sink.table("events")
    small_files(path, 6, 100)
    time.sleep(0.6)
    victim = next(iter(path.glob("*.parquet")))
    victim.write_bytes(victim.read_bytes()[:-11])
    ended = sink.command("maintain", "--once", "--only", "compact").expect(5)
    assert victim.name in ended.stdout, ended
    assert victim.exists() and any(uri.endswith(victim.name) for uri in DeltaTable(path).file_uris())


def test_maintain_names_a_hole_in_the_log_and_changes_nothing(folder):
    sink = maintained(folder)
    path = sink.table("events")
    small_files(path, 6, 100)
    (path / "_delta_log" / f"{3:020}.json").unlink()
    before = sorted(path.rglob("*"))
    sink.command("maintain", "--once").expect_error([5], "version 3", "missing")
    assert sorted(file for file in path.rglob("*") if "_lakeward_staging" not in str(file)) == before
