"""Owns topics that gain topic partitions, while the sink runs and while it does not. Not topics that are deleted or recreated."""

from audit.audit import APP_ID, audit, read_log
from audit.compare import json_record

from .sink import Sink, json_table
from .test_bad_input import good

# The client asks for metadata every five minutes by default, which is longer than a scenario may take.
REFRESH = {"topic.metadata.refresh.interval.ms": "1000"}


def committed(sink: Sink) -> dict[int, int]:
    found: dict[int, int] = {}
    for commit in read_log(sink.table("events")).commits:
        found.update({int(match["partition"]): version for app, version in commit.txns.items() if (match := APP_ID.match(app))})
    return found


def produce_to(kafka, topic: str, partitions: range, count: int) -> None:
    producer = kafka.producer()
    for partition in partitions:
        for payload in good(count):
            producer.produce(topic, value=payload, partition=partition)
    assert producer.flush(60) == 0


def test_every_record_of_new_topic_partitions_lands_although_the_table_starts_at_the_latest(kafka, folder, topic):
    kafka.create_topic(topic, 4)
    produce_to(kafka, topic, range(4), 50)
    before = kafka.end_offsets(topic)
    sink = Sink(folder, kafka.bootstrap, json_table("events", topic, "n long, text string", start="latest", target_lag="1s"), properties=REFRESH)
    with sink.start() as running:
        sink.wait_until(running, lambda: sink.get("/readyz").ok)
        produce_to(kafka, topic, range(4), 100)
        sink.wait_until(running, lambda: committed(sink) == kafka.end_offsets(topic))
        kafka.add_partitions(topic, 8)
        # Nobody has noticed them yet: "latest" must not mean that these are skipped.
        produce_to(kafka, topic, range(8), 100)
        sink.wait_until(running, lambda: committed(sink) == kafka.end_offsets(topic), seconds_max=90)
        produce_to(kafka, topic, range(8), 10)
        sink.wait_until(running, lambda: committed(sink) == kafka.end_offsets(topic))
        running.drain().expect(0)
    # Grown and filled while no sink ran.
    kafka.add_partitions(topic, 10)
    produce_to(kafka, topic, range(10), 20)
    sink.until_caught_up().expect(0)
    assert committed(sink) == kafka.end_offsets(topic)
    report = audit(sink.table("events"), kafka.dump(topic), json_record, is_rejected=lambda at, _payload: at[2] < before.get(at[1], 0))
    print(f"\n{report}")
    assert report.is_clean and report.rows == 4 * 100 + 8 * 110 + 10 * 20, report
