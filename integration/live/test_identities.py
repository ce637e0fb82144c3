"""Owns topics that are not the ones the table knows: recreated while the sink runs or not, another cluster's. Not holes in the same topic (test_holes)."""

import time

import pytest

from audit.audit import APP_ID, read_log
from components import Kafka

from .readers import duckdb_connection
from .sink import Sink, json_table

# The client asks for metadata every five minutes by default, which is longer than a scenario may take.
REFRESH = {"topic.metadata.refresh.interval.ms": "500"}


def payloads(first: int, count: int):
    return (b'{"n": %d}' % number for number in range(first, first + count))


def newest(sink: Sink, table: str = "events") -> dict[int, tuple[int, int]]:
    """Incarnation and committed offset by topic partition."""
    found: dict[int, tuple[int, int]] = {}
    for commit in read_log(sink.table(table)).commits:
        for app, version in commit.txns.items():
            if match := APP_ID.match(app):
                partition, life = int(match["partition"]), (int(match["incarnation"]), version)
                found[partition] = max(found.get(partition, life), life)
    return found


def recreate(kafka, topic: str, partitions: int) -> None:
    kafka.delete_topic(topic)
    deadline = time.monotonic() + 30
    while True:
        try:
            kafka.create_topic(topic, partitions)
            return
        except Exception:
            # The name is free only some moments after the deletion.
            assert time.monotonic() < deadline
            time.sleep(0.1)


def numbers(sink: Sink, table: str = "events") -> list[int]:
    found = duckdb_connection().execute(f"SELECT n FROM delta_scan('{sink.table(table)}') ORDER BY n").fetchall()
    return [number for (number,) in found]


def make(kafka, folder, topic, **settings) -> Sink:
    table = json_table("events", topic, "n long", target_lag="300ms", **settings)
    return Sink(folder, kafka.bootstrap, table, properties=REFRESH)


@pytest.mark.parametrize("records", [10, 500])
def test_a_topic_recreated_while_no_sink_runs_suspends_with_both_ids(kafka, folder, topic, records):
    kafka.create_topic(topic, 2)
    kafka.produce(topic, payloads(0, 200), 2)
    sink = make(kafka, folder, topic)
    sink.until_caught_up().expect(0)
    recreate(kafka, topic, 2)
    # Fewer records than before, or more: neither end may be taken for the former topic's.
    kafka.produce(topic, payloads(1000, records), 2)
    for how in (sink.until_caught_up, lambda: sink.command("run")):
        said = how().expect_error([5], "table `events` is suspended", f"topic `{topic}` was deleted and created again: its id was", "on_source_change: continue")
        print(said)
    assert numbers(sink) == list(range(200))


def test_a_topic_recreated_while_no_sink_runs_is_taken_from_its_start_if_the_config_says_so(kafka, folder, topic):
    kafka.create_topic(topic, 2)
    kafka.produce(topic, payloads(0, 200), 2)
    sink = make(kafka, folder, topic, on_source_change="continue")
    sink.until_caught_up().expect(0)
    # It comes back with one topic partition more, which no table has seen.
    recreate(kafka, topic, 3)
    kafka.produce(topic, payloads(1000, 300), 3)
    sink.until_caught_up().expect(0)
    assert numbers(sink) == [*range(200), *range(1000, 1300)]
    ends = kafka.end_offsets(topic)
    assert newest(sink) == {0: (1, ends[0]), 1: (1, ends[1]), 2: (0, ends[2])}
    sink.command("verify --deep").expect(0)
    # Nothing is taken twice.
    sink.until_caught_up().expect(0)
    assert len(numbers(sink)) == 500


@pytest.mark.parametrize("response", ["suspend", "continue"])
def test_a_topic_recreated_while_the_sink_runs_never_mixes_its_records_with_the_former_ones(kafka, folder, topic, response):
    kafka.create_topic(topic, 2)
    kafka.produce(topic, payloads(0, 300), 2)
    sink = make(kafka, folder, topic, on_source_change=response)
    with sink.start() as running:
        sink.wait_until(running, lambda: {at: life[1] for at, life in newest(sink).items()} == kafka.end_offsets(topic))
        recreate(kafka, topic, 2)
        # Past the former end, where librdkafka goes on reading as if nothing had happened.
        kafka.produce(topic, payloads(1000, 2000), 2)
        if response == "suspend":
            ended = running.wait(60)
            ended.expect_error([5], f"topic `{topic}` was deleted and created again: its id was", "lakeward resume")
            assert numbers(sink) == list(range(300))
            return
        ends = kafka.end_offsets(topic)
        sink.wait_until(running, lambda: newest(sink) == {at: (1, end) for at, end in ends.items()})
        running.drain().expect(0)
    assert numbers(sink) == [*range(300), *range(1000, 3000)]
    sink.command("verify --deep").expect(0)


def test_a_topic_that_is_gone_is_waited_for(kafka, folder, topic):
    kafka.create_topic(topic, 1)
    kafka.produce(topic, payloads(0, 50), 1)
    sink = make(kafka, folder, topic)
    sink.until_caught_up().expect(0)
    kafka.delete_topic(topic)
    sink.command("run", "--until-caught-up", "--timeout", "3s").expect_error([3], topic)
    assert numbers(sink) == list(range(50))


def test_a_topic_of_the_same_name_on_another_cluster_suspends(kafka, folder, topic):
    kafka.create_topic(topic, 1)
    kafka.produce(topic, payloads(0, 50), 1)
    sink = make(kafka, folder, topic)
    sink.until_caught_up().expect(0)
    with Kafka(heap_mib=256) as other:
        other.create_topic(topic, 1)
        other.produce(topic, payloads(1000, 80), 1)
        sink.document["kafka"]["bootstrap_servers"] = other.bootstrap
        sink.write()
        sink.until_caught_up().expect_error([5], f"topic `{topic}` is another cluster's", "kafka.bootstrap_servers", "on_source_change: continue")
        assert numbers(sink) == list(range(50))
        sink.document["tables"][0]["on_source_change"] = "continue"
        sink.write()
        sink.until_caught_up().expect(0)
    assert numbers(sink) == [*range(50), *range(1000, 1080)]
