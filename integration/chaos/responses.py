"""Owns lost and false answers of a store to log writes, and commits of others that land in the window between a write and its settling. A round is a commit of the sink."""

import threading
import time
from collections import Counter

import pyarrow as pa
from deltalake import DeltaTable, write_deltalake
from deltalake.exceptions import CommitFailedError

from .batch import Batch
from .fleet import TABLE, Broken
from .proxy import Faults, Proxy
from .stores import S3Store

INSTANCES = 2
PER_SECOND = 600
# Every third log write that succeeded, and of those every second with a commit of somebody else in the window.
EVERY = 3
MODES = {
    "swallowed": ["swallow"],
    "500": ["500"],
    "503": ["503"],
    "with others": ["swallow", "500", "503"],
    "any fault": ["swallow", "500", "503", "delay", "refuse", "cut"],
}


class Others:
    """Somebody else at the same table: sets a property, compacts, appends rows of their own, in turn."""

    def __init__(self, store: S3Store):
        self.uri, self.options = f"{store.url}/{TABLE}", {**store.options, "aws_endpoint": store.s3.endpoint}
        self.lock = threading.Lock()
        self.done: Counter = Counter()
        self.calls = 0

    def act(self) -> None:
        with self.lock:
            self.calls += 1
            kind = ("property", "compaction", "append")[self.calls % 3]
            table = DeltaTable(self.uri, storage_options=self.options)
            try:
                if kind == "property":
                    table.alter.set_table_properties({"chaos.note": str(self.calls)}, raise_if_not_exists=False)
                elif kind == "compaction":
                    table.optimize.compact(max_concurrent_tasks=1)
                else:
                    names = [field.name for field in table.schema().fields]
                    rows = {name: pa.array([-self.calls if name == "seq" else None], pa.int64() if name == "seq" else pa.null()) for name in names}
                    write_deltalake(table, pa.table({"seq": rows["seq"]}), mode="append", schema_mode="merge")
            except CommitFailedError as failed:
                # Losing a race is their affair, as long as ours is not lost.
                self.done[f"{kind} gave way"] += 1
                print(f"[others] {kind}: {str(failed)[:120]}", flush=True)
            else:
                self.done[kind] += 1


def lost_responses(batch: Batch, variant: str) -> None:
    """The answer to every third log write that succeeded is swallowed or turned into 500 or 503, also with commits of others in the window; no stop, no duplicate."""
    faults = Faults(MODES[variant], EVERY)
    with Proxy(batch.around.s3.endpoint, faults) as proxy:
        store = S3Store(batch.folder, batch.around.s3, proxy.endpoint)
        batch.use(store)
        others = Others(store)
        if variant == "with others":
            windows = iter(range(1, 10**9))

            def every(number: int, act) -> None:
                if number == 0:
                    act()

            # Before the write arrives, so that it loses a real race; and after it has arrived, before anybody is told.
            faults.before = lambda version: every(next(windows) % 7 if version > 5 else 1, others.act)
            faults.after = lambda version: every(next(windows) % 2, others.act)
        fleet = batch.begin("cooperative", INSTANCES, PER_SECOND, target_lag="200ms")
        try:
            _until(batch, fleet)
            batch.load.end()
            batch.catch_up()
            fleet.drain()
        finally:
            faults.is_on = False
            faults.before = faults.after = None
        batch.outcome.faults.update(faults.delivered)
        batch.outcome.counts.update({f"others: {kind}": number for kind, number in others.done.items()})
        batch.judge(batch.kafka.dump(batch.topic), others_append=variant == "with others")
    if batch.outcome.report.records != batch.load.count:
        raise AssertionError(f"the topic has {batch.outcome.report.records} records, {batch.load.count} were acknowledged")
    if sum(faults.delivered.values()) < batch.rounds // (EVERY + 1):
        raise AssertionError(f"only {dict(faults.delivered)} faults were delivered in {batch.outcome.rounds} commits")


def _until(batch: Batch, fleet) -> None:
    """Until the sink has made as many commits as there are rounds to play."""
    last, told, progressed = 0, 0, time.monotonic()
    while (appends := batch.tail.read().appends) < batch.rounds:
        fleet.check(INSTANCES)
        if appends > last:
            last, progressed = appends, time.monotonic()
        if time.monotonic() - progressed > 60:
            raise Broken(f"no commit for 60 s after {appends}: {fleet.picture()}")
        if appends >= told + 100:
            told = appends
            batch.outcome.say(f"{appends} commits, version {batch.tail.version}")
        time.sleep(0.2)
    batch.outcome.rounds = appends
