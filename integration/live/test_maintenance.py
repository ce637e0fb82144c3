"""Owns a table under everything at once: ingest ten times a second, the sidecar's own maintenance, two more maintainers that are killed, and Spark. Rows stay exact.

deltalake (Python) is a reader here and no writer: its DELETE and OPTIMIZE do not see winning removes without data change and would double rows by themselves.
"""

import collections
import json
import os
import random
import signal
import threading
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable, write_deltalake

from .readers import READERS, batches, spark
from .sink import Running, Sink, json_table
from .test_crash import SESSION, Load

SECONDS = float(os.environ.get("LAKEWARD_MAINTAIN_SECONDS") or 60)
# What a loaded machine of two cores still commits beside all this; a quiet one makes ten.
COMMITS_PER_SECOND = float(os.environ.get("LAKEWARD_MAINTAIN_RATE") or 2)
VERSIONS = 50
# Versions whose entries stay young when the rest of the log is made old.
VERSIONS_YOUNG = 150
BLOCK = 40_000
DDL = "seq long, text string, amount decimal(9,2)"
TASKS = ("compact", "checkpoint", "clean-log", "vacuum")
# Retention cannot go below an hour: what is to be deleted is made older than that by its time stamp.
MAINTENANCE = {
    "compaction": {"target_file_size": "128KiB", "min_files": 4, "cold_after": "500ms"},
    "checkpoint_every_commits": 20,
    "log_retention": "1h",
    "vacuum": {"older_than": "1h", "interval": "1m"},
}


class Log:
    """The log of a table, kept as it grows: clean-up takes entries away."""

    def __init__(self, table: Path):
        self.folder = table / "_delta_log"
        self.entries: dict[int, list[dict]] = {}

    def look(self) -> dict[int, list[dict]]:
        version = max(self.entries, default=-1) + 1
        while (file := self.folder / f"{version:020}.json").exists():
            self.entries[version] = [json.loads(line) for line in file.read_text().splitlines() if line.strip()]
            version += 1
        return self.entries

    def by(self, operation: str, engine: str) -> list[int]:
        """The versions at which an engine took files out, or put some in."""
        return [
            version
            for version, actions in self.entries.items()
            if info(actions).get("operation") == operation
            and info(actions).get("engineInfo", "").startswith(engine)
            and (operation == "STREAMING UPDATE" or any("remove" in action for action in actions))
        ]

    def committed_below(self, partitions: int) -> int:
        """Every record with a lower number is in the table."""
        ends = dict.fromkeys(range(partitions), 0)
        for actions in self.entries.values():
            ends.update({span["partition"]: span["end"] for span in info(actions).get("lakeward", {}).get("spans", [])})
        return min(ends.values()) * partitions

    def expected_counts(self) -> dict[int, int]:
        """Rows at each version, by what the commits say they added and deleted."""
        rows, counts = 0, {}
        for version, actions in sorted(self.entries.items()):
            said = info(actions)
            if said.get("operation") == "DELETE":
                rows -= int(said.get("operationMetrics", {}).get("numDeletedRows", 0))
            elif said.get("operation") == "STREAMING UPDATE":
                rows += sum(span["rows"] for span in said.get("lakeward", {}).get("spans", []))
            counts[version] = rows
        return counts


def info(actions: list[dict]) -> dict:
    return next((action["commitInfo"] for action in actions if "commitInfo" in action), {})


class Maintainer(threading.Thread):
    """`lakeward maintain --once` again and again, one task or all; killed at a random moment of its life most of the time."""

    def __init__(self, sink: Sink, seed: int):
        super().__init__(daemon=True)
        self.sink, self.pick = sink, random.Random(seed)
        self.enough = threading.Event()
        self.kills, self.ended = collections.Counter(), collections.Counter()
        self.lives = dict.fromkeys((*TASKS, "all"), 1.0)
        self.failures: list = []

    def run(self) -> None:
        try:
            while not self.enough.is_set():
                self._one()
                # Starting processes without a pause would take a core away from ingest.
                self.enough.wait(self.pick.uniform(0, 1.5))
        except Exception as error:
            self.failures.append(error)

    def _one(self) -> None:
        task = self.pick.choice((*TASKS, "all"))
        only = [] if task == "all" else ["--only", task]
        with Running(["maintain", "-c", self.sink.config, "--once", *only], self.sink.folder) as running:
            if self.pick.random() < 0.6:
                time.sleep(self.pick.uniform(0, 1.2) * self.lives[task])
                if running.is_alive:
                    running.signal(signal.SIGKILL)
                    self.kills[task] += 1
            ended = running.wait(90)
            if ended.code != -signal.SIGKILL:
                ended.expect(0)
                self.ended[task] += 1
                self.lives[task] = ended.seconds


def backdate(table: Path, log: Log, orphans: list[Path], reads_from: int) -> None:
    """Makes everything that the log names, and all but its youngest entries, look ten hours old, as after a long life: only liveness and tombstones protect it now.

    Entries since `reads_from` stay young: Spark's put-if-absent rests on them. If they were cleaned up while its statement goes on, it would commit to a number that the table
    had long ago, and say that it is done. A real log keeps its entries for longer than any statement takes.
    """
    entries = log.look()
    named = {(action.get("add") or action.get("remove"))["path"] for actions in entries.values() for action in actions if "add" in action or "remove" in action}
    old = min(max(entries, default=0) - VERSIONS_YOUNG, reads_from)
    aged = [file for file in log.folder.glob("*.*") if file.name[:20].isdigit() and int(file.name[:20]) < old]
    then = time.time() - 36_000
    for path in [*(table / name for name in named), *aged, *orphans]:
        try:
            os.utime(path, (then, then))
        except FileNotFoundError:
            pass


def sequence(reader: str, table: Path) -> list[int]:
    return sorted(number for batch in batches(reader, table, ["seq"]) for number in batch.column(0).to_pylist())


class Foreign(threading.Thread):
    """Spark at work on the table: on the whole, where it meets our compactor, and on a cold table partition, where it must win. At its own pace: one statement may take
    as long as the load lasts, since it holds its commit against each of ours, ten a second."""

    def __init__(self, table: Path):
        super().__init__(daemon=True)
        self.enough = threading.Event()
        # Every record with a lower number is in the table, whose newest version this is.
        self.below = self.newest = 0
        # The version that its statement began with, or one before.
        self.reads_from = 0
        self.failures: list = []
        self.table = f"delta.`{table}`"
        self.deleted: list[range] = []
        self.conflicts = self.steps = 0
        self.next = 0

    def run(self) -> None:
        try:
            while not self.enough.wait(0.5):
                self._step(self.below)
        except Exception as error:
            self.failures.append(error)

    def _step(self, below: int) -> None:
        """Deletes a few rows that are surely committed, and optimizes."""
        self.steps += 1
        cold = below // BLOCK - 2
        where = ""
        if self.steps % 2 and cold >= 0:
            where = f" WHERE block = {cold * BLOCK}"
            low = cold * BLOCK + 10 * self.steps
        elif below > BLOCK:
            low = below - BLOCK // 2
            low -= low % 10
        else:
            return
        rows = range(low, low + 7)
        if not any(set(rows) & set(gone) for gone in self.deleted):
            block = rows.start - rows.start % BLOCK
            matching = f"WHERE block IN ({block}, {block + BLOCK}) AND seq >= {rows.start} AND seq < {rows.stop}"
            answer = self._wins(f"DELETE FROM {self.table} {matching}")
            if answer is not None:
                assert [row["num_affected_rows"] for row in answer] == [len(rows)], f"Spark deleted {answer} of {rows}"
                self.deleted.append(rows)
        self._wins(f"OPTIMIZE {self.table}{where}")

    def _wins(self, statement: str) -> list | None:
        """What Spark answers; a conflict is its own to notice."""
        # By default it goes on for ten million of them.
        spark().conf.set("spark.databricks.delta.maxCommitAttempts", "100")
        # What it reads now may have to be held against every version since.
        self.reads_from = self.newest
        try:
            return spark().sql(statement).collect()
        except Exception as error:
            assert any(words in str(error) for words in ("Concurrent", "DELTA_CONCURRENT", "DELTA_MAX_COMMIT_RETRIES_EXCEEDED")), str(error)
            self.conflicts += 1
            return None


def test_comp_2_rows_stay_exact_while_everything_maintains_at_once(kafka, folder, topic, seed):
    kafka.create_topic(topic, 4)
    table = json_table("events", topic, DDL, target_lag="100ms", flush={"rows": 300}, partition_by=[f"block = truncate({BLOCK}, seq)"], maintenance=MAINTENANCE)
    sink = Sink(folder, kafka.bootstrap, table, properties=SESSION)
    spark().sql("SELECT 1").collect()
    path = sink.table("events")
    log, foreign = Log(path), Foreign(path)
    load = Load(kafka, topic, 4)
    load.start()
    maintainers = [Maintainer(sink, seed + number) for number in range(2)]
    with sink.start() as running:
        sink.wait_until(running, lambda: len(log.look()) > 3)
        first, began = max(log.entries), time.monotonic()
        for maintainer in maintainers:
            maintainer.start()
        foreign.start()
        orphans = [path / f"part-orphan-{number}.parquet" for number in range(3)]
        for orphan in orphans:
            orphan.write_bytes(b"left by a crash")
        while time.monotonic() < began + SECONDS:
            backdate(path, log, orphans, foreign.reads_from)
            foreign.newest, foreign.below = max(log.entries), log.committed_below(4)
            time.sleep(0.5)
            assert running.is_alive, running.wait()
            assert not foreign.failures, foreign.failures
        log.look()
        rate = len([version for version in log.by("STREAMING UPDATE", "lakeward/") if version > first]) / (time.monotonic() - began)
        for maintainer in maintainers:
            maintainer.enough.set()
        for maintainer in maintainers:
            maintainer.join(120)
            assert not maintainer.is_alive() and not maintainer.failures, maintainer.failures
        load.end()
        ended = running.drain()
        ended.expect(0)
    # Nothing outruns it any more.
    foreign.enough.set()
    foreign.join(180)
    assert not foreign.is_alive() and not foreign.failures, foreign.failures
    sink.until_caught_up(seconds_max=240).expect(0)
    log.look()
    ours, theirs = log.by("OPTIMIZE", "lakeward/"), {name: log.by(name, "Apache-Spark") for name in ("OPTIMIZE", "DELETE")}
    kills = sum((maintainer.kills for maintainer in maintainers), collections.Counter())
    oldest = min(int(file.stem) for file in log.folder.glob("*.json") if file.stem.isdigit())
    print(
        f"\n[maintain] {SECONDS:.0f} s: {rate:.1f} appends a second, {len(ours)} compactions of ours, {len(theirs['OPTIMIZE'])} OPTIMIZE and {len(theirs['DELETE'])} DELETE by Spark, "
        f"{foreign.conflicts} conflicts of Spark, maintainers killed {dict(kills)}, ended {dict(sum((one.ended for one in maintainers), collections.Counter()))}, "
        f"the log begins at version {oldest} of {max(log.entries)}, {load.count} records",
        flush=True,
    )
    assert rate >= COMMITS_PER_SECOND, f"{rate:.1f} commits a second"
    assert len(ours) >= 3, "the compactor makes no progress"
    # In a minute on two busy cores Spark may lose each of its few attempts; in the ten of the soak it must have won some.
    assert foreign.conflicts or any(theirs.values()), "Spark tried nothing"
    if SECONDS >= 300:
        assert theirs["OPTIMIZE"] and theirs["DELETE"], "Spark has won no commit"
    assert all(kills[task] for task in TASKS), f"a task was never killed: {kills}"
    assert not any(orphan.exists() for orphan in orphans), "orphans of a crash are vacuumed"
    assert oldest > 0, "the log was not cleaned up"
    # Zero ingest aborts: an epoch that had to end is said.
    assert "the epoch ended at a commit" not in ended.stderr, ended
    assert len(foreign.deleted) == len(theirs["DELETE"]), (foreign.deleted, theirs["DELETE"])
    gone = {number for numbers in foreign.deleted for number in numbers}
    wanted = [number for number in range(load.count) if number not in gone]
    for reader in READERS:
        assert sequence(reader, path) == wanted, f"{reader} does not read what was sent"
    check_versions(path, {version: count for version, count in log.expected_counts().items() if version > oldest})


def check_versions(path: Path, counts: dict[int, int]) -> None:
    """Older versions are still whole: as many rows as their commits say, no number twice."""
    versions = sorted(counts)[:: max(1, len(counts) // VERSIONS)]
    for version in versions:
        at = DeltaTable(path, version=version)
        numbers = at.to_pyarrow_table(columns=["seq"]).column("seq").to_pylist()
        assert len(numbers) == len(set(numbers)) == counts[version], f"version {version} holds {len(numbers)} rows, {len(set(numbers))} of them distinct; the log says {counts[version]}"
    print(f"[maintain] {len(versions)} older versions are exact", flush=True)
    assert len(versions) >= VERSIONS


def small_files(path: Path, count: int, rows: int) -> None:
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


def test_merges_on_s3_go_up_in_parts_and_checkpoints_get_their_names(s3, folder):
    """Files too large for one request: multipart, then a rename that S3 does by copying."""
    bucket = s3.create_bucket(f"lake-{os.urandom(4).hex()}")
    table = json_table("events", "none", "seq long, noise binary", maintenance={**MAINTENANCE, "compaction": {"min_files": 2, "cold_after": "100ms"}, "checkpoint_every_commits": 2})
    sink = Sink(folder, "127.0.0.1:1", table, url=f"s3://{bucket}/bronze", options=s3.options)
    rows = 600
    for number in range(3):
        seq = range(number * rows, (number + 1) * rows)
        noise = [random.Random(one).randbytes(20_000) for one in seq]
        written = pa.table({"seq": pa.array(seq, pa.int64()), "noise": pa.array(noise, pa.binary())})
        write_deltalake(f"s3://{bucket}/bronze/events", written, mode="append", storage_options=s3.options)
    time.sleep(0.2)
    said = sink.command("maintain", "--once").expect(0).stdout
    assert "compacted 3 files" in said, said
    found = s3.client.list_objects_v2(Bucket=bucket)["Contents"]
    keys = [each["Key"] for each in found]
    assert any(key.endswith(".checkpoint.parquet") for key in keys) and not any("_lakeward_staging" in key for key in keys), keys
    merged = max(found, key=lambda each: each["Size"])["Key"]
    head = s3.client.head_object(Bucket=bucket, Key=merged)
    assert head["ContentLength"] > 30_000_000, head
    # The copy has a plain ETag, so the server's own log says how the object went up.
    assert "?uploads" in s3.server.log.read_text(), "it went up in one request"
    copy = s3.download(bucket, "bronze/events", folder / "copy")
    for reader in READERS:
        assert sequence(reader, copy) == list(range(3 * rows)), reader
