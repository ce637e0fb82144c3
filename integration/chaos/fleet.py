"""Owns the instances of one deployment: starting, killing, stopping and asking them, and what all of them said. Not which fault comes when (rounds)."""

import json
import random
import signal
import time
from collections import Counter
from pathlib import Path

import requests

from live.sink import Running, Sink, json_table

DDL = "seq long, text string, amount decimal(9,2)"
TABLE = "events"

# A member that is gone keeps its topic partitions until its session ends: short sessions make short rounds. Under KIP-848 the broker sets them.
SESSION = {"session.timeout.ms": "1500", "heartbeat.interval.ms": "300"}
PROTOCOLS = {
    "range": {"partition.assignment.strategy": "range", **SESSION},
    "cooperative": {"partition.assignment.strategy": "cooperative-sticky", **SESSION},
    "kip848": {"group.protocol": "consumer"},
}
BROKER_SETTINGS = {
    "group.consumer.min.session.timeout.ms": 1000,
    "group.consumer.session.timeout.ms": 1500,
    "group.consumer.min.heartbeat.interval.ms": 100,
    "group.consumer.heartbeat.interval.ms": 300,
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": 500,
}
# What a log line's message counts as.
COUNTED = {
    "assigned": "assignments",
    "revoked": "revocations",
    "the epoch ended at a commit; reading again from the table": "supersessions",
    "table suspended": "suspensions",
    "waiting for something outside": "outages",
}


class Instance:
    """One process of the deployment, and those that came before it in its place."""

    def __init__(self, number: int, sink: Sink):
        self.number, self.sink = number, sink
        self.running: Running | None = None
        self.past: list[Running] = []

    def start(self, *argv) -> None:
        assert not self.is_alive
        self.running = self.sink.start(*argv)
        self.past.append(self.running)

    @property
    def is_alive(self) -> bool:
        return self.running is not None and self.running.is_alive

    def table(self) -> dict:
        """Its table's status; empty while it does not answer."""
        try:
            return requests.get(f"http://127.0.0.1:{self.sink.port}/api/v1/status", timeout=2).json()["tables"][0]
        except (requests.RequestException, ValueError, LookupError):
            return {}

    def owned(self) -> dict[int, int | None]:
        """The topic partitions that it owns, with what it believes is committed."""
        return {of["partition"]: of["committed"] for of in self.table().get("topic_partitions", []) if of["owned"]}

    @property
    def is_at_work(self) -> bool:
        """Whether it owns topic partitions and has rows in hand or committed: a fault now is a fault in the middle."""
        table = self.table()
        owns = any(of["owned"] for of in table.get("topic_partitions", []))
        return owns and (table["buffered_rows"] > 0 or table["rows"] > 0) and self.is_alive

    @property
    def is_stopped(self) -> bool:
        return Path(f"/proc/{self.running.child.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"

    def kill(self) -> bool:
        """Whether the kill met a living process."""
        if not self.is_alive:
            return False
        self.running.signal(signal.SIGKILL)
        return self.running.wait(20).code == -signal.SIGKILL

    def signal(self, number: int) -> None:
        self.running.signal(number)


class Broken(Exception):
    """The product did what it must not do; everything else that fails is the harness."""


def resume(sink: Sink) -> None:
    """A person lifts the suspension."""
    if (ended := sink.command("resume", "--table", TABLE)).code != 0:
        raise Broken(f"the suspension was not lifted\n{ended}")


class Fleet:
    """Instances of one name, so of one group, on one table."""

    def __init__(self, folder: Path, kafka, store, topic: str, instances: int, protocol: str, pick: random.Random, ddl: str = DDL, **table):
        self.store, self.topic, self.pick = store, topic, pick
        self.name = f"chaos-{folder.name}"
        self.config = json_table(TABLE, topic, ddl, **{"target_lag": "1s", "maintenance": {"checkpoint_every_commits": 20}, **table})
        properties = {**PROTOCOLS[protocol], "topic.metadata.refresh.interval.ms": "2000"}
        top = {"name": self.name, "limits": {"memory": "256MiB"}}
        self.instances = [
            Instance(number, Sink(folder / f"instance-{number}", kafka.bootstrap, self.config, url=store.url, options=store.options, properties=properties, **top))
            for number in range(instances)
        ]

    def start(self) -> None:
        for instance in self.instances:
            instance.start()

    @property
    def alive(self) -> list[Instance]:
        return [instance for instance in self.instances if instance.is_alive]

    def check(self, expected: int | None = None) -> None:
        """Nobody may have ended who was not ended by us."""
        for instance in self.instances:
            if instance.running is not None and not instance.running.is_alive and instance.running.child.returncode not in (-signal.SIGKILL, 0):
                raise Broken(f"instance {instance.number} ended by itself\n{instance.running.wait()}")
        if expected is not None and len(self.alive) != expected:
            raise Broken(f"{len(self.alive)} of {expected} instances are alive")

    def await_at_work(self, seconds_max: float = 60) -> list[Instance]:
        """Those who own topic partitions and have rows; there must be one before long."""
        deadline = time.monotonic() + seconds_max
        while True:
            self.check()
            if found := [instance for instance in self.alive if instance.is_at_work]:
                return found
            if time.monotonic() > deadline:
                raise Broken(f"no instance was at work within {seconds_max} s: {self.picture()}")
            time.sleep(0.05)

    def await_owned(self, instances: list[Instance], topic_partitions: int, seconds_max: float) -> bool:
        """Whether these come to own so many topic partitions between them."""
        deadline = time.monotonic() + seconds_max
        while len({partition for instance in instances for partition in instance.owned()}) < topic_partitions:
            if time.monotonic() > deadline:
                return False
            self.check()
            time.sleep(0.05)
        return True

    def picture(self) -> list:
        return [(instance.number, instance.is_alive, instance.table().get("state"), instance.table().get("reason"), instance.owned()) for instance in self.instances]

    def drain(self) -> None:
        for instance in self.alive:
            instance.signal(signal.SIGTERM)
        for instance in self.instances:
            if instance.running is not None and instance.running.wait(60).code not in (0, -signal.SIGKILL):
                raise Broken(f"instance {instance.number} did not drain\n{instance.running.wait()}")

    def kill(self) -> None:
        """Ends what is left, whatever happened."""
        for instance in self.instances:
            if instance.running is not None:
                instance.running.__exit__()

    def counts(self) -> Counter:
        """What all processes logged, by what it counts as."""
        counts: Counter = Counter()
        for instance in self.instances:
            for running in instance.past:
                counts.update(counted(running.said()))
        return counts


def counted(text: str) -> Counter:
    counts: Counter = Counter()
    for line in text.splitlines():
        if "panicked" in line:
            counts["panics"] += 1
        try:
            said = json.loads(line)
        except ValueError:
            continue
        fields = said.get("fields", said) if isinstance(said, dict) else {}
        if name := COUNTED.get(fields.get("message")):
            counts[name] += 1
    return counts
