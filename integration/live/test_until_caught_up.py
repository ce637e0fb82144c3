"""Owns `run --until-caught-up` on topics whose end no record marks: idle, empty, compacted, transactional. Not volume, not faults."""

import time
from contextlib import ExitStack

import pytest

from audit.audit import APP_ID, audit, read_log
from audit.compare import json_record

from .sink import Sink, json_table
from .test_rebalance import PROTOCOLS, instance

DDL = "n long"


def table(topic: str) -> dict:
    return json_table("events", topic, DDL)


def catch_up(kafka, sink: Sink, topic: str) -> None:
    """Ends with exit 0 at the last stable offsets, and the audit is clean."""
    sink.until_caught_up(seconds_max=120).expect(0)
    txns = {int(match["partition"]): version for app, version in final_txns(sink).items() if (match := APP_ID.match(app))}
    assert txns == kafka.end_offsets(topic)
    report = audit(sink.table("events"), kafka.dump(topic), json_record)
    print(f"\n{report}")
    assert report.is_clean, report


def final_txns(sink: Sink) -> dict[str, int]:
    log = read_log(sink.table("events"))
    txns = dict(log.txns)
    for commit in log.commits:
        txns.update(commit.txns)
    return txns


def rows(sink: Sink) -> int:
    return sum(span["rows"] for commit in read_log(sink.table("events")).commits for span in commit.spans)


def payloads(count: int):
    return (b'{"n": %d}' % number for number in range(count))


def test_an_idle_topic_ends_at_once_and_commits_nothing_new(kafka, folder, topic):
    kafka.create_topic(topic, 3)
    kafka.produce(topic, payloads(1000), 3)
    sink = Sink(folder, kafka.bootstrap, table(topic))
    catch_up(kafka, sink, topic)
    version = read_log(sink.table("events")).commits[-1].version
    catch_up(kafka, sink, topic)
    assert read_log(sink.table("events")).commits[-1].version == version


def test_an_empty_topic_ends_and_leaves_a_table_without_rows(kafka, folder, topic):
    kafka.create_topic(topic, 2)
    catch_up(kafka, Sink(folder, kafka.bootstrap, table(topic)), topic)


def test_a_topic_with_an_empty_topic_partition_among_full_ones_ends(kafka, folder, topic):
    kafka.create_topic(topic, 4)
    kafka.produce(topic, payloads(500), 2)
    catch_up(kafka, Sink(folder, kafka.bootstrap, table(topic)), topic)


def compacted(kafka, topic: str) -> None:
    """A topic that Kafka has compacted: most offsets below its end are gaps."""
    settings = {"cleanup_policy": "compact", "min_cleanable_dirty_ratio": 0.01, "segment_ms": 500, "max_compaction_lag_ms": 500, "delete_retention_ms": 100}
    kafka.create_topic(topic, 1, **settings)
    producer = kafka.producer()
    produced = 0
    deadline = time.monotonic() + 90
    while True:
        for number in range(produced, produced + 200):
            producer.produce(topic, key=b"key-%d" % (number % 7), value=b'{"n": %d}' % number, partition=0)
        produced += 200
        # Tombstones too: they are records without a row.
        producer.produce(topic, key=b"key-0", value=None, partition=0)
        produced += 1
        assert producer.flush(30) == 0
        dump = kafka.dump(topic).read_text().splitlines()[1:]
        if len(dump) < produced - 100:
            break
        assert time.monotonic() < deadline, "Kafka did not compact in time"
        time.sleep(1)
    print(f"\n[compacted] {len(dump)} of {produced} records are left")


def tailed_by_markers(kafka, topic: str) -> None:
    """150 committed records among aborted ones; the tail is nothing but an aborted transaction and its markers."""
    kafka.create_topic(topic, 2)
    producer = kafka.producer(transactional_id=f"{topic}-1")
    producer.init_transactions()

    def transact(values, commit: bool) -> None:
        producer.begin_transaction()
        for number in values:
            producer.produce(topic, value=b'{"n": %d}' % number, partition=number % 2)
        producer.flush(30)
        producer.commit_transaction() if commit else producer.abort_transaction()

    transact(range(100), commit=True)
    transact(range(1000, 1100), commit=False)
    transact(range(100, 150), commit=True)
    transact(range(2000, 2050), commit=False)


def full(kafka, topic: str) -> None:
    kafka.create_topic(topic, 5)
    kafka.produce(topic, payloads(1000), 4)


def empty(kafka, topic: str) -> None:
    kafka.create_topic(topic, 2)


def test_a_compacted_topic_ends_although_its_offsets_have_gaps(kafka, folder, topic):
    compacted(kafka, topic)
    catch_up(kafka, Sink(folder, kafka.bootstrap, table(topic)), topic)


def test_a_transactional_topic_ends_at_its_last_stable_offset_with_committed_rows_only(kafka, folder, topic):
    tailed_by_markers(kafka, topic)
    sink = Sink(folder, kafka.bootstrap, table(topic))
    catch_up(kafka, sink, topic)

    assert rows(sink) == 150


TOGETHER = [(full, "eager"), (full, "cooperative"), (full, "kip-848"), (empty, "kip-848"), (compacted, "cooperative"), (tailed_by_markers, "eager")]


@pytest.mark.parametrize(("prepare", "protocol"), TOGETHER, ids=lambda it: it if isinstance(it, str) else it.__name__)
def test_three_instances_that_start_together_all_end_there_also_on_a_second_run(kafka, folder, topic, prepare, protocol):
    """More instances than topic partitions, so some own nothing and must see in the table that it is done."""
    prepare(kafka, topic)
    first = instance(folder, kafka, None, "first", table(topic), PROTOCOLS[protocol])
    others = [instance(folder, kafka, first, name, table(topic), PROTOCOLS[protocol]) for name in ("second", "third")]
    for again in ("", "again"):
        with ExitStack() as stack:
            running = [stack.enter_context(sink.start("--until-caught-up", "--timeout", "60s")) for sink in (first, *others)]
            ended = [member.wait(120).expect(0) for member in running]
        took = [one.seconds for one in ended]
        print(f"\n[{prepare.__name__}, {protocol}] ended {again} after {', '.join(f'{seconds:.1f} s' for seconds in took)}")
        assert not any("did not close in time" in one.stderr for one in ended), "an assignment stayed unanswered"
    catch_up(kafka, first, topic)


def test_a_hanging_transaction_is_not_waited_for_and_what_follows_it_is_taken_once_it_ends(kafka, folder, topic):
    kafka.create_topic(topic, 2)
    kafka.produce(topic, payloads(150), 2)
    hanging = kafka.producer(transactional_id=topic)
    hanging.init_transactions()
    hanging.begin_transaction()
    hanging.produce(topic, value=b'{"n": 3000}', partition=0)
    hanging.flush(30)
    kafka.produce(topic, [b'{"n": 200}', b'{"n": 201}'], 1)
    # The last stable offset stays at the open transaction; the log goes on behind it.
    sink = Sink(folder, kafka.bootstrap, table(topic))
    catch_up(kafka, sink, topic)
    assert rows(sink) == 150
    catch_up(kafka, sink, topic)
    assert rows(sink) == 150
    hanging.commit_transaction()
    catch_up(kafka, sink, topic)
    assert rows(sink) == 150 + 3


def test_rows_below_a_tail_of_markers_are_committed_and_a_second_run_does_not_repeat_them(kafka, folder, topic):
    kafka.create_topic(topic, 1)
    producer = kafka.producer(transactional_id=topic)
    producer.init_transactions()
    for number in range(20):
        producer.begin_transaction()
        producer.produce(topic, value=b'{"n": %d}' % number, partition=0)
        producer.commit_transaction()
    sink = Sink(folder, kafka.bootstrap, table(topic))
    catch_up(kafka, sink, topic)
    catch_up(kafka, sink, topic)
