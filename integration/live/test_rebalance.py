"""Owns instances that join and leave under load, over every group protocol, judged by the independent audit. Not kills (test_crash) and not other owners' holes."""

import contextlib
import json
import threading
import time

import pytest

from audit.audit import audit, read_log
from audit.compare import json_record

from .sink import Sink, json_table

PARTITIONS = 6
PROTOCOLS = {
    "eager": {"partition.assignment.strategy": "range"},
    "cooperative": {"partition.assignment.strategy": "cooperative-sticky"},
    "static": {"partition.assignment.strategy": "cooperative-sticky", "group.instance.id": "{instance}", "session.timeout.ms": "6000"},
    "kip-848": {"group.protocol": "consumer"},
}


def instance(folder, kafka, first: Sink | None, name: str, table: dict, protocol: dict) -> Sink:
    properties = {key: value.format(instance=name) for key, value in protocol.items()}
    sink = Sink(folder / name, kafka.bootstrap, table, url=first.lake.as_uri() if first else None, properties=properties)
    if first:
        sink.join(first)
    return sink


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_instances_that_join_and_leave_under_load_lose_and_repeat_nothing(kafka, folder, topic, protocol):
    kafka.create_topic(topic, PARTITIONS)
    table = json_table("events", topic, "n long", target_lag="500ms")
    first = instance(folder, kafka, None, "first", table, PROTOCOLS[protocol])
    second = instance(folder, kafka, first, "second", table, PROTOCOLS[protocol])
    stop = threading.Event()

    def load() -> None:
        number = 0
        while not stop.is_set():
            kafka.produce(topic, (b'{"n": %d}' % value for value in range(number, number + 2000)), PARTITIONS)
            number += 2000
            time.sleep(0.2)

    producing = threading.Thread(target=load)
    producing.start()
    shared = 0
    try:
        with first.start() as stays:
            for _ in range(3):
                with second.start() as comes:
                    def owned(sink: Sink) -> int:
                        tables = sink.get("/api/v1/status").json()["tables"]
                        return sum(place["owned"] for table in tables for place in table["topic_partitions"])

                    second.wait_until(comes, lambda: owned(second) > 0 and owned(first) + owned(second) == PARTITIONS)
                    shared += 1
                    time.sleep(1.5)
                    comes.drain().expect(0)
            stop.set()
            producing.join()
            stays.drain().expect(0)
            said = stays.said()
    finally:
        stop.set()
        producing.join()
    first.until_caught_up().expect(0)
    report = audit(first.table("events"), kafka.dump(topic), json_record)
    superseded = said.count("the epoch ended at a commit")
    print(f"\n[{protocol}] joined {shared} times, {len(read_log(first.table('events')).commits)} commits, {superseded} epochs superseded\n{report}")
    assert shared == 3 and report.is_clean, report


def test_what_is_read_before_a_revocation_is_committed_and_not_read_again(kafka, folder, topic):
    """EPOCH-1: with a lag of minutes, nothing but the revocation makes a commit."""
    kafka.create_topic(topic, 2)
    kafka.produce(topic, (b'{"n": %d}' % value for value in range(1000)), 2)
    table = json_table("events", topic, "n long", target_lag="10m")
    first = instance(folder, kafka, None, "first", table, PROTOCOLS["eager"])
    second = instance(folder, kafka, first, "second", table, PROTOCOLS["eager"])

    def rows() -> int:
        return sum(span["rows"] for commit in read_log(first.table("events")).commits for span in commit.spans)

    def buffered(sink: Sink) -> int:
        return sink.get("/api/v1/status").json()["tables"][0]["buffered_rows"]

    with first.start() as stays:
        first.wait_until(stays, lambda: buffered(first) == 1000)
        assert rows() == 0
        with second.start() as comes:
            second.wait_until(comes, lambda: rows() == 1000)
            comes.drain().expect(0)
        stays.drain().expect(0)


def test_a_sink_that_another_owner_supersedes_every_time_ends_with_exit_4(kafka, folder, topic):
    kafka.create_topic(topic, 1)
    kafka.produce(topic, (b'{"n": %d}' % value for value in range(20_000)), 1)
    # Each turn waits twice as long, so ten of them take a minute; a lag of a second leaves room for somebody else's commit.
    sink = Sink(folder, kafka.bootstrap, json_table("events", topic, "n long", target_lag="1s"))
    log = sink.table("events") / "_delta_log"
    with sink.start() as running:
        sink.wait_until(running, lambda: any(log.glob("*.json")))
        moved = 0
        deadline = time.monotonic() + 240
        while running.is_alive and time.monotonic() < deadline:
            moved += 1
            lines = [{"commitInfo": {"operation": "FOREIGN", "engineInfo": "another owner"}}, {"txn": {"appId": f"lakeward/{topic}/0/0", "version": moved}}]
            version = max(int(file.stem) for file in log.glob("*.json")) + 1
            written = folder / "another-owner.json"
            written.write_text("".join(json.dumps(line) + "\n" for line in lines))
            # A link appears whole or not at all, as every writer's entry does: an entry that is read while it is written is a damaged log.
            with contextlib.suppress(FileExistsError):
                (log / f"{version:020}.json").hardlink_to(written)
            written.unlink()
            time.sleep(0.2)
        running.wait(10).expect_error([4], "another owner", "events")
    # Nothing of it is in the table: it never owned what it would have moved.
    assert all(not commit.spans for commit in read_log(sink.table("events")).commits)
