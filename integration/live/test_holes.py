"""Owns stored offsets that cannot simply be read on from, and the ways out: retention, truncation, lost txns, dropped and restored tables, `resume`, `offsets set`. Not identities."""

import json
import shutil
import time

import pytest
from confluent_kafka import TopicPartition
from deltalake import DeltaTable

from audit.audit import read_log

from .sink import Sink
from .test_identities import REFRESH, make, newest, numbers, payloads, recreate
from .test_rebalance import PROTOCOLS


def expire(kafka, topic: str, partition: int, low: int) -> None:
    """Retention, at once: the log begins at `low`."""
    for future in kafka.admin.delete_records([TopicPartition(topic, partition, low)]).values():
        future.result(30)


def foreign(sink: Sink, *actions: dict) -> None:
    """Somebody else's commit."""
    folder = sink.table("events") / "_delta_log"
    version = max(int(file.stem) for file in folder.glob("*.json")) + 1
    lines = [{"commitInfo": {"operation": "FOREIGN", "engineInfo": "a test"}}, *actions]
    (folder / f"{version:020}.json").write_text("".join(json.dumps(line) + "\n" for line in lines))


def metadata(sink: Sink) -> dict:
    found = [json.loads(line) for file in sorted((sink.table("events") / "_delta_log").glob("*.json")) for line in file.read_text().splitlines() if line.startswith('{"metaData"')]
    return found[-1]


def lost_spans(sink: Sink) -> list[tuple[int, int, int]]:
    return [(span["partition"], span["start"], span["end"]) for commit in read_log(sink.table("events")).commits for span in commit.spans if span["lost"]]


def filled(kafka, folder, topic, **settings) -> Sink:
    """100 records each in two topic partitions, all in the table."""
    kafka.create_topic(topic, 2)
    producer = kafka.producer()
    for number, payload in enumerate(payloads(0, 200)):
        producer.produce(topic, value=payload, partition=number % 2)
    assert producer.flush(30) == 0
    sink = make(kafka, folder, topic, **settings)
    sink.until_caught_up().expect(0)
    return sink


def more(kafka, topic: str, first: int, count: int, partition: int = 0) -> None:
    producer = kafka.producer()
    for payload in payloads(first, count):
        producer.produce(topic, value=payload, partition=partition)
    assert producer.flush(30) == 0


def test_retention_that_overtook_the_sink_suspends_with_the_hole_until_it_is_lifted(kafka, folder, topic):
    sink = filled(kafka, folder, topic)
    more(kafka, topic, 1000, 50)
    expire(kafka, topic, 0, 120)
    sink.until_caught_up().expect_error([5], f"the table has read {topic}[0] up to offset 100, but the log now begins at 120: offsets [100, 120) are gone", "on_lost_offsets: continue")
    said = sink.command("resume", "--table", "events").expect(0).stdout
    assert f"lifted expired/{topic}/0/100-120" in said, said
    sink.until_caught_up().expect(0)
    assert numbers(sink) == [*range(200), *range(1020, 1050)]
    assert lost_spans(sink) == [(0, 100, 120)]
    # A hole is declared, so the audit lists it and finds nothing wrong.
    assert "[100, 120) are declared lost" in sink.command("verify", "--deep", "--against-kafka").expect(0).stdout


def test_retention_that_overtook_the_sink_is_recorded_if_the_config_says_so(kafka, folder, topic):
    sink = filled(kafka, folder, topic, on_lost_offsets="continue")
    more(kafka, topic, 1000, 50)
    expire(kafka, topic, 0, 130)
    sink.until_caught_up().expect(0)
    assert numbers(sink) == [*range(200), *range(1030, 1050)]
    assert lost_spans(sink) == [(0, 100, 130)]


def test_a_log_that_ends_below_the_table_suspends_or_goes_on_as_the_next_incarnation(kafka, folder, topic):
    sink = filled(kafka, folder, topic)
    foreign(sink, {"txn": {"appId": f"lakeward/{topic}/0/0", "version": 140}})
    sink.until_caught_up().expect_error([5], f"the table has read {topic}[0] up to offset 140, but the log is another one from 100 on: it was truncated", "on_lost_offsets: continue")
    sink.document["tables"][0]["on_lost_offsets"] = "continue"
    sink.write()
    more(kafka, topic, 1000, 5)
    sink.until_caught_up().expect(0)
    ends = kafka.end_offsets(topic)
    assert newest(sink)[0] == (1, ends[0]) and newest(sink)[1] == (0, ends[1])


def test_a_lost_txn_of_a_known_topic_partition_suspends_and_never_starts_again(kafka, folder, topic):
    """OFF-8."""
    sink = filled(kafka, folder, topic)
    action = metadata(sink)
    sources = json.loads(action["metaData"]["configuration"]["lakeward.sources"])
    sources[topic]["topic_partitions"]["0"] = 4
    action["metaData"]["configuration"]["lakeward.sources"] = json.dumps(sources)
    foreign(sink, action)
    sink.until_caught_up().expect_error([5], f"names {topic}[0] as a source but has lost its committed offset (txn `lakeward/{topic}/4/0`)", "does not fall back to `start`")
    assert numbers(sink) == list(range(200))


def test_a_table_restored_below_its_incarnation_suspends(kafka, folder, topic):
    sink = filled(kafka, folder, topic, on_source_change="continue")
    before = DeltaTable(sink.table("events")).version()
    recreate(kafka, topic, 2)
    sink.until_caught_up().expect(0)
    DeltaTable(sink.table("events")).restore(before)
    sink.until_caught_up().expect_error([5], "incarnation 1", "a RESTORE may have reverted it")


@pytest.mark.parametrize("again", [False, True])
def test_a_table_dropped_under_the_running_sink_suspends_and_is_not_written_to(kafka, folder, topic, again):
    sink = filled(kafka, folder, topic)
    with sink.start() as running:
        sink.wait_until(running, lambda: sink.get("/readyz").ok)
        shutil.rmtree(sink.table("events"))
        if again:
            other = Sink(folder / "other", kafka.bootstrap, sink.document["tables"][0])
            other.until_caught_up().expect(0)
            shutil.copytree(other.table("events"), sink.table("events"))
        more(kafka, topic, 1000, 50)
        words = "was dropped and created again while the sink used it: its id was" if again else "is gone: it was dropped while the sink used it"
        running.wait(60).expect_error([5], words)
    if again:
        assert numbers(sink) == list(range(200))


def test_offsets_are_set_forward_as_a_hole_and_backward_as_an_incarnation_under_a_live_owner(kafka, folder, topic):
    sink = filled(kafka, folder, topic)
    place = ["--table", "events", "--topic", topic, "--partition", "0", "--reason", "ticket 17"]
    sink.command("offsets set", *place, "--to", "101").expect_error([2], "holds the offsets [0, 100)")
    sink.command("offsets set", *place, "--to", "90").expect_error([2], "[90, 100) would be in the table twice", "--allow-duplicates")
    with sink.start() as running:
        sink.wait_until(running, lambda: sink.get("/readyz").ok)
        # Backward: the live owner has nothing to commit, and must notice all the same.
        assert "goes on at 90 in the next incarnation; it stood at 100" in sink.command("offsets set", *place, "--to", "90", "--allow-duplicates").expect(0).stdout
        sink.wait_until(running, lambda: newest(sink)[0] == (1, 100), seconds_max=40)
        assert numbers(sink) == sorted([*range(200), *range(180, 200, 2)])
        running.drain().expect(0)
    more(kafka, topic, 1000, 50)
    assert "offsets [100, 130) are recorded as lost" in sink.command("offsets set", *place, "--to", "130").expect(0).stdout
    sink.until_caught_up().expect(0)
    assert numbers(sink) == sorted([*range(200), *range(180, 200, 2), *range(1030, 1050)])
    assert lost_spans(sink) == [(0, 100, 130)]
    assert '"reason":"offsets set: ticket 17"' in "".join(file.read_text() for file in (sink.table("events") / "_delta_log").glob("*.json"))
    sink.command("verify").expect(0)


def test_one_of_two_tables_suspends_alone_and_goes_on_when_it_is_lifted(kafka, folder, topic):
    sink = filled(kafka, folder, topic)
    second = kafka.create_topic(f"{topic}-2", 1)
    sink.document["tables"].append({**sink.document["tables"][0], "name": "others", "topics": [second]})
    sink.write()
    more(kafka, topic, 1000, 50)
    expire(kafka, topic, 0, 120)

    def state(name: str) -> str:
        return next(table["state"] for table in sink.get("/api/v1/status").json()["tables"] if table["name"] == name)

    with sink.start() as running:
        sink.wait_until(running, lambda: state("events") == "suspended")
        more(kafka, second, 0, 100)
        sink.wait_until(running, lambda: len(numbers(sink, "others")) == 100)
        assert numbers(sink) == list(range(200)) and running.is_alive
        sink.command("resume", "--table", "events").expect(0)
        sink.wait_until(running, lambda: numbers(sink) == [*range(200), *range(1020, 1050)], seconds_max=30)
        running.drain().expect(0)


@pytest.mark.parametrize("protocol", ["eager", "cooperative", "kip-848"])
def test_retention_that_overtakes_a_running_sink_is_recorded_and_what_was_read_before_is_kept(kafka, folder, topic, protocol):
    """OFF-7. librdkafka forwards a queue of a topic partition that is assigned anew to nobody, unless it is attached to its lane again."""
    sink = filled(kafka, folder, topic, on_lost_offsets="continue")
    sink.document["kafka"]["properties"] = {**REFRESH, **PROTOCOLS[protocol]}
    sink.write()
    with sink.start() as running:
        sink.wait_until(running, lambda: sink.get("/readyz").ok)
        # What it has not fetched goes away under it: a stopped process is one that is slow.
        running.signal(19)
        # The fetch that waits at the broker is answered with the first records alone.
        more(kafka, topic, 1000, 5)
        time.sleep(0.5)
        more(kafka, topic, 1005, 495)
        expire(kafka, topic, 0, 400)
        running.signal(18)
        sink.wait_until(running, lambda: newest(sink)[0] == (0, 600))
        more(kafka, topic, 2000, 10)
        sink.wait_until(running, lambda: newest(sink)[0] == (0, 610))
        running.drain().expect(0)
    found = numbers(sink)
    ((partition, start, end),) = lost_spans(sink)
    assert (partition, end) == (0, 400) and 100 <= start < 400
    assert found == [*range(200), *range(1000, 1000 + start - 100), *range(1300, 1500), *range(2000, 2010)]
