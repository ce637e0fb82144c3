"""Owns a topic that feeds several tables of one process: each table has every record once by its own progress, whatever dies, and they suspend and rest together. Not tables
without a topic in common (test_actions, test_holes)."""

import io
import json
import random
import re
import signal
import time

import fastavro
import pytest

from audit.audit import audit, read_log
from audit.compare import json_record

from components.registry import confluent_prefix

from .load import PARTITIONS, Load
from .sink import Sink, json_table
from .test_actions import post, state
from .test_crash import SESSION, commits
from .test_dlq import rows
from .test_formats import number
from .test_formats import post as register

KILLS = 6


def plain_table(name: str, topic: str, form: str, **settings) -> dict:
    return {"name": name, "topics": [topic], "value": {"format": form}, "errors": {"mode": "suspend"}, **settings}


def raw_record(payload: bytes, row: dict) -> str | None:
    return None if bytes(row["value"]) == payload else f"{payload!r} became {row['value']!r}"


def text_record(payload: bytes, row: dict) -> str | None:
    return raw_record(payload, {"value": row["value"].encode()})


def expect_each_once(sink: Sink, kafka, topic: str, records: int, **compared) -> None:
    for name, compare in compared.items():
        report = audit(sink.table(name), kafka.dump(topic), compare)
        print(name, report, flush=True)
        assert report.records == records and report.is_clean, report
    print(sink.command("verify", "--deep", "--against-kafka").expect(0).stdout, flush=True)
    lags = json.loads(sink.command("offsets show", "--format", "json").expect(0).stdout)
    assert {row["table"] for row in lags} == set(compared) and all(row["lag"] == 0 for row in lags), lags


def test_a_topic_feeds_several_tables_each_with_every_record_once_whatever_kills_them(kafka, folder, topic, seed):
    pick = random.Random(seed)
    kafka.create_topic(topic, PARTITIONS)
    # Lags that differ leave the tables at different offsets whenever the process dies.
    events = json_table("events", topic, "seq long, text string, amount decimal(9,2)", target_lag="1s")
    sink = Sink(folder, kafka.bootstrap, events, plain_table("bytes", topic, "raw", target_lag="4s"), properties=SESSION)
    load = Load(kafka, topic, per_second=1_000)
    load.start()
    try:
        for number in range(KILLS):
            before = commits(sink)
            with sink.start() as running:
                sink.wait_until(running, lambda: commits(sink) > before)
                time.sleep(pick.uniform(0.05, 3.0))
                running.signal(signal.SIGKILL)
                assert running.wait(10).code == -signal.SIGKILL
            if number == KILLS // 2:
                # A table that comes later begins at the beginning: what the others have already is read again, and dropped by them.
                sink.document["tables"].append(plain_table("texts", topic, "string", target_lag="2s"))
                sink.write()
    finally:
        load.end()
    sink.until_caught_up(seconds_max=240).expect(0)
    expect_each_once(sink, kafka, topic, load.count, events=json_record, bytes=raw_record, texts=text_record)


def test_two_instances_share_the_tables_of_one_topic_while_they_come_and_go(kafka, folder, topic, seed):
    pick = random.Random(seed)
    kafka.create_topic(topic, PARTITIONS)
    cooperative = {**SESSION, "partition.assignment.strategy": "cooperative-sticky"}
    events = json_table("events", topic, "seq long, text string, amount decimal(9,2)", target_lag="1s")
    sink = Sink(folder, kafka.bootstrap, events, plain_table("bytes", topic, "raw", target_lag="3s"), properties=cooperative)
    other = Sink(folder / "other", kafka.bootstrap, *sink.document["tables"], url=sink.lake.as_uri(), properties=cooperative)
    other.join(sink)
    load = Load(kafka, topic, per_second=1_000)
    load.start()
    try:
        with sink.start() as running:
            sink.wait_until(running, lambda: commits(sink) > 0)
            for is_killed in (False, True, False):
                with other.start() as second:
                    other.wait_until(second, lambda: any(place["owned"] for place in other.get("/api/v1/status").json()["tables"][0]["topic_partitions"]))
                    time.sleep(pick.uniform(0.5, 3.0))
                    if is_killed:
                        second.signal(signal.SIGKILL)
                        second.wait(10)
                    else:
                        second.drain().expect(0)
            running.drain().expect(0)
    finally:
        load.end()
    sink.until_caught_up(seconds_max=240).expect(0)
    expect_each_once(sink, kafka, topic, load.count, events=json_record, bytes=raw_record)


def test_a_family_suspends_and_rests_together_while_other_tables_go_on(kafka, folder, topic):
    kafka.create_topic(topic, 1)
    aside = kafka.create_topic(f"{topic}-aside", 1)
    values = [b'{"n": %d}' % number for number in range(20)]
    values[10] = b'{"n": "ten"}'
    kafka.produce(topic, values, 1, b"")
    kafka.produce(aside, [b"one"], 1, b"")
    sink = Sink(
        folder, kafka.bootstrap, json_table("events", topic, "n long", target_lag="1s"), plain_table("bytes", topic, "raw", target_lag="10m"), plain_table("aside", aside, "raw", target_lag="1s")
    )
    found = lambda name: [row["_kafka_offset"] for row in rows(sink.table(name), ["_kafka_offset"])]  # noqa: E731
    with sink.start() as running:
        sink.wait_until(running, lambda: state(sink) == "suspended")
        # The record stops the table that cannot take it before it, and the other with it, which has committed what it had in spite of its lag.
        assert sorted(found("events")) == list(range(10)) and state(sink, "bytes") == "suspended"
        had = sorted(found("bytes"))
        assert had == list(range(len(had))) and len(had) > 10, had
        assert "shares a topic with table `events`" in sink.get("/api/v1/status").text
        kafka.produce(aside, [b"two"], 1, b"")
        sink.wait_until(running, lambda: len(found("aside")) == 2)
        refused = post(sink, "flush", "bytes")
        assert refused.status_code == 409 and "shares a topic with table `events`" in refused.json()["error"]
        # Over the record, for this table alone.
        sink.command("offsets set", "--table", "events", "--topic", topic, "--partition", "0", "--to", "11", "--reason", "ticket 17").expect(0)
        sink.wait_until(running, lambda: sorted(found("events")) == [*range(10), *range(11, 20)])
        assert post(sink, "pause", "bytes").ok
        assert (state(sink), state(sink, "bytes"), state(sink, "aside")) == ("paused", "paused", "running")
        assert sorted(found("bytes")) == list(range(20))
        kafka.produce(topic, [b'{"n": 20}'], 1, b"")
        time.sleep(2)
        assert len(found("events")) == 19
        assert post(sink, "resume").ok
        sink.wait_until(running, lambda: sorted(found("events")) == [*range(10), *range(11, 21)])
        running.drain().expect(0)
    assert sorted(found("bytes")) == list(range(21))
    print(sink.command("verify", "--deep", "--against-kafka").expect(0).stdout, flush=True)


@pytest.mark.parametrize("asked", [(), ("--table", "events")], ids=["all", "one"])
def test_a_run_until_caught_up_waits_for_every_table_of_the_topic(kafka, folder, topic, asked):
    kafka.create_topic(topic, 3)
    for number in range(3):
        kafka.produce(topic, [b'{"n": %d}' % index for index in range(100)], 3, b"")
    sink = Sink(folder, kafka.bootstrap, json_table("events", topic, "n long"), plain_table("bytes", topic, "raw"))
    sink.until_caught_up(*asked).expect(0)
    assert len(rows(sink.table("events"), ["_kafka_offset"])) == len(rows(sink.table("bytes"), ["_kafka_offset"])) == 300
    for name in ("events", "bytes"):
        log = read_log(sink.table(name))
        spans = [(span["start"], span["end"]) for commit in log.commits for span in commit.spans]
        assert sum(end - start for start, end in spans) == 300, spans
    # Nothing is left to do, for either.
    before = len(read_log(sink.table("bytes")).commits)
    sink.until_caught_up(*asked).expect(0)
    assert len(read_log(sink.table("bytes")).commits) == before


def test_records_are_routed_to_tables_by_their_type(kafka, registry, folder, topic):
    unique = re.sub("[^a-z0-9]", "_", topic.lower())
    fields = {"Order": [{"name": "id", "type": "long"}, {"name": "total", "type": "double"}], "Refund": [{"name": "id", "type": "long"}, {"name": "why", "type": "string"}]}
    names, prefixes, schemas, tables = {}, {}, {}, []
    for kind, its_fields in fields.items():
        names[kind] = f"shop.live.{kind}_{unique}"
        schema = {"type": "record", "name": names[kind], "fields": its_fields}
        schemas[kind] = fastavro.parse_schema(schema)
        # Orders by TopicRecordNameStrategy, refunds by RecordNameStrategy.
        subject = f"{topic}-{names[kind]}" if kind == "Order" else names[kind]
        prefixes[kind] = confluent_prefix(registry.register(subject, schema))
        value = {"format": "avro", "schema": {"subject": subject, "message": names[kind]}}
        tables.append({"name": kind.lower(), "topics": [topic], "value": value, "errors": {"mode": "suspend"}, "target_lag": "1s"})
    kafka.create_topic(topic, 2)

    def produce(numbers: range) -> None:
        payloads = []
        for index in numbers:
            kind = "Order" if index % 3 else "Refund"
            record = {"id": index, "total": index / 2} if kind == "Order" else {"id": index, "why": f"reason {index}"}
            buffer = io.BytesIO()
            fastavro.schemaless_writer(buffer, schemas[kind], record)
            payloads.append(prefixes[kind] + buffer.getvalue())
        kafka.produce(topic, payloads, 2, b"")

    def expect(count: int) -> None:
        orders = {row["id"]: row["total"] for row in rows(sink.table("order"), ["id", "total"])}
        refunds = [(row["id"], row["why"]) for row in rows(sink.table("refund"), ["id", "why"])]
        assert orders == {index: index / 2 for index in range(count) if index % 3}
        assert sorted(refunds) == [(index, f"reason {index}") for index in range(count) if not index % 3]
        assert len(rows(sink.table("order"), ["id"])) == len(orders)
        for name, own in (("order", len(orders)), ("refund", len(refunds))):
            spans = [span for commit in read_log(sink.table(name)).commits for span in commit.spans]
            counts = [sum(span[key] for span in spans) for key in ("rows", "rejects", "skipped")]
            assert counts == [own, 0, count - own], counts
        # The skipped records are accounted for.
        print(sink.command("verify", "--deep", "--against-kafka").expect(0).stdout, flush=True)

    sink = Sink(folder, kafka.bootstrap, *tables, registry=registry.url)
    produce(range(300))
    sink.until_caught_up().expect(0)
    expect(300)
    with sink.start() as running:
        produce(range(300, 600))
        sink.wait_until(running, lambda: len(rows(sink.table("order"), ["id"])) > 200)
        running.signal(signal.SIGKILL)
        running.wait(10)
    produce(range(600, 700))
    sink.until_caught_up(seconds_max=120).expect(0)
    expect(700)
    # Without the word, the other type is not skipped.
    del sink.document["tables"][0]["value"]["schema"]["message"]
    sink.document["tables"][0] |= {"name": "all_orders", "evolution": {"allow": "none"}}
    sink.write()
    said = sink.until_caught_up("--table", "all_orders").expect(5).stderr
    assert "all_orders" in said and "why" in said, said


def test_protobuf_messages_are_routed_to_tables_by_their_type(kafka, registry, folder, topic):
    unique = re.sub("[^a-z0-9]", "_", topic.lower())
    proto = f'syntax = "proto3"; package {unique}; message Order {{ int64 id = 1; }} message Refund {{ int64 id = 1; string why = 2; }}'
    prefix = confluent_prefix(register(registry, f"{topic}-value", "PROTOBUF", proto))
    kafka.create_topic(topic, 1)
    # The message indexes: 0 alone for the first message, else their number and each of them.
    kafka.produce(topic, [prefix + (b"\x00" if index % 2 else b"\x02\x02") + number(1, index) for index in range(1, 101)], 1, b"")
    tables = [
        {"name": kind.lower(), "topics": [topic], "value": {"format": "protobuf", "schema": {"message": f"{unique}.{kind}"}}, "errors": {"mode": "suspend"}} for kind in ("Order", "Refund")
    ]
    sink = Sink(folder, kafka.bootstrap, *tables, registry=registry.url)
    sink.until_caught_up().expect(0)
    for name, remainder in (("order", 1), ("refund", 0)):
        assert sorted(row["id"] for row in rows(sink.table(name), ["id"])) == [index for index in range(1, 101) if index % 2 == remainder]
    sink.command("verify", "--deep", "--against-kafka").expect(0)
