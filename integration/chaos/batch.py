"""Owns one batch: its surroundings, and its end, which is always the same: everybody has caught up within a bound, and the audit is clean. Not its faults (scenarios)."""

import dataclasses
import random
import secrets
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

import pyarrow.parquet as pq

from audit.audit import Report, audit, live_files
from audit.compare import json_record
from components import run_folder
from live.load import Load
from live.sink import Sink, json_table

from .fleet import DDL, PROTOCOLS, TABLE, Broken, Fleet
from .stores import FileStore, Tail
from .surroundings import Surroundings

TOPIC_PARTITIONS = 12
PER_SECOND = 2_000
# How long after the last fault the tables may take to reach the end of their topics.
CATCH_UP_SECONDS = 60


@dataclass
class Outcome:
    """What a batch came to; a line of the scoreboard."""

    scenario: str
    variant: str
    seed: int
    rounds: int = 0
    faults: Counter = field(default_factory=Counter)
    repeated: int = 0
    counts: Counter = field(default_factory=Counter)
    catch_up_seconds: float | None = None
    seconds: float = 0.0
    report: Report | None = None
    failure: str | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        return self.failure is None and (self.report is None or self.report.is_clean)

    def say(self, text: str) -> None:
        print(f"[{self.scenario} {self.variant}] {text}", flush=True)

    def __str__(self) -> str:
        counted = " ".join(f"{name}={number}" for name, number in sorted(self.counts.items()))
        faults = " ".join(f"{name}={number}" for name, number in sorted(self.faults.items()))
        verdict = "clean" if self.is_clean else f"FAILED: {self.failure or 'the audit'}"
        caught_up = "" if self.catch_up_seconds is None else f", caught up after {self.catch_up_seconds:.1f} s"
        head = f"{self.rounds} rounds in {self.seconds:.0f} s, faults: {faults or 'none'}, repeated: {self.repeated}, {counted}{caught_up}: {verdict}"
        return head if self.report is None else f"{head}\n{self.report}"


class Batch:
    """Many rounds over one topic, one table and one fleet."""

    def __init__(self, outcome: Outcome, around: Surroundings, kafka, rounds: int):
        self.outcome, self.around, self.kafka, self.rounds = outcome, around, kafka, rounds
        self.pick = random.Random(f"{outcome.seed} {outcome.scenario} {outcome.variant}")
        token = secrets.token_hex(3)
        self.folder: Path = run_folder() / f"{outcome.scenario}-{token}"
        self.folder.mkdir()
        self.topic = f"chaos.{outcome.scenario}.{token}"
        self.use(FileStore(self.folder))
        self.fleet: Fleet | None = None
        self.load: Load | None = None

    def use(self, store) -> None:
        """Keeps the table there; before anything runs."""
        self.store = store
        self.tail = Tail(store, TABLE)

    def begin(self, protocol: str, instances: int, per_second: int = PER_SECOND, topic_partitions: int = TOPIC_PARTITIONS, topic: dict | None = None, producer: dict | None = None, **table) -> Fleet:
        """Topic, load and fleet, all of them running."""
        self.kafka.create_topic(self.topic, topic_partitions, **(topic or {}))
        self.deploy(protocol, instances, **table)
        self.load = Load(self.kafka, self.topic, topic_partitions, per_second, **(producer or {}))
        self.load.start()
        self.fleet.start()
        return self.fleet

    def deploy(self, protocol: str, instances: int, **table) -> Fleet:
        """The fleet, not started."""
        self.fleet = Fleet(self.folder, self.kafka, self.store, self.topic, instances, protocol, self.pick, **table)
        return self.fleet

    def single(self, **table) -> tuple[Sink, FileStore, str]:
        """A topic name, a store and an instance for one round."""
        token = secrets.token_hex(3)
        folder, topic = self.folder / token, f"{self.topic}.{token}"
        store = FileStore(folder)
        sink = Sink(folder / "instance", self.kafka.bootstrap, json_table(TABLE, topic, DDL, target_lag="1s", **table), url=store.url, properties=PROTOCOLS["cooperative"])
        return sink, store, topic

    def child(self) -> random.Random:
        """Choices of its own for a thread, so that threads do not take each other's."""
        return random.Random(self.pick.random())

    def run(self, play) -> None:
        """Plays rounds until enough of them met their target. A round says which fault it delivered, or None if it missed."""
        missed_in_row = 0
        while self.outcome.rounds < self.rounds:
            fault = play()
            if self.load:
                # Without load a fault meets nothing.
                self.load.go_on(0)
            if fault is None:
                self.outcome.repeated += 1
                missed_in_row += 1
                assert missed_in_row < 10, "ten faults in a row missed: the scenario proves nothing"
                continue
            missed_in_row = 0
            self.outcome.rounds += 1
            self.outcome.faults[fault] += 1
            if self.outcome.rounds % 10 == 0:
                self.outcome.say(f"round {self.outcome.rounds}, version {self.tail.read().version}, rows {self.tail.rows} of {self.load.count if self.load else '?'}, faults {dict(self.outcome.faults)}")

    def finish(self, seconds_max: float = CATCH_UP_SECONDS) -> None:
        """Ends the load, then: liveness, an orderly end of everybody, the audit."""
        self.load.end()
        self.catch_up(seconds_max)
        self.fleet.drain()
        self.judge(self.kafka.dump(self.topic))
        if self.outcome.report.records != self.load.count:
            raise AssertionError(f"the topic has {self.outcome.report.records} records, {self.load.count} were acknowledged")

    def catch_up(self, seconds_max: float = CATCH_UP_SECONDS) -> None:
        """Liveness: the table comes to the last stable offsets of the topic, with the fleet as it is."""
        ends = self.kafka.end_offsets(self.topic)
        began = time.monotonic()
        if not self.tail.wait_for(self.topic, lambda at: all(at.get(partition) == end for partition, end in ends.items()), seconds_max):
            self.fleet.check()
            at = self.tail.position(self.topic)
            behind = {partition: (at.get(partition), end) for partition, end in ends.items() if at.get(partition) != end}
            raise Broken(f"not caught up after {seconds_max} s (committed, end): {behind}; {self.fleet.picture()}")
        self.outcome.catch_up_seconds = max(self.outcome.catch_up_seconds or 0.0, time.monotonic() - began)

    def judge(self, dump: Path, **how) -> Report:
        self.outcome.report = audit(self.store.local(TABLE), dump, json_record, **how)
        dump.unlink()
        return self.outcome.report

    def judge_round(self, store, dump: Path, **how) -> None:
        """Adds one round's own table to the batch's report."""
        report, total = audit(store.local(TABLE), dump, json_record, **how), self.outcome.report or Report()
        for count in dataclasses.fields(Report):
            if count.name != "findings":
                setattr(total, count.name, getattr(total, count.name) + getattr(report, count.name))
        for finding in report.findings:
            total.say(finding)
        self.outcome.report = total

    @staticmethod
    def tail_of(store) -> Tail:
        return Tail(store, TABLE)

    @staticmethod
    def rows_of(store) -> int:
        return len(Batch._coordinates(store))

    def coordinates(self) -> set[tuple[int, int]]:
        """Topic partition and offset of every row of the table."""
        return set(Batch._coordinates(self.store))

    @staticmethod
    def _coordinates(store) -> list[tuple[int, int]]:
        table, found = store.local(TABLE), []
        for path in live_files(table):
            columns = pq.ParquetFile(table / unquote(path)).read(["_kafka_partition", "_kafka_offset"])
            found += zip(columns["_kafka_partition"].to_pylist(), columns["_kafka_offset"].to_pylist())
        return found

    def end(self) -> None:
        """Whatever happened: nothing of this batch goes on, and what was said is counted."""
        if self.load and self.load.is_alive():
            self.load._enough.set()
        if self.fleet:
            self.fleet.kill()
            self.outcome.counts.update(self.fleet.counts())
            if self.outcome.counts["panics"] and not self.outcome.failure:
                self.outcome.failure = f"{self.outcome.counts['panics']} panics"
            if not self.outcome.is_clean:
                self._keep_words()

    def _keep_words(self) -> None:
        """What the instances said outlives the run folder, if the batch failed."""
        kept = run_folder().parent / f"failed-{self.outcome.scenario}-{self.outcome.variant}-{self.folder.name[-6:]}"
        for file in sorted(self.folder.rglob("stderr-*"), key=lambda file: file.stat().st_mtime):
            kept.mkdir(exist_ok=True)
            with (kept / f"{file.parent.name}.log").open("a") as words:
                words.write(file.read_text(errors="replace"))
        self.outcome.say(f"what the instances said is in {kept}")
