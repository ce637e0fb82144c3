"""Owns what a user gets wrong and what producers send wrong: one clear sentence and a fitting exit code, a counted reject, or a suspension. Never a panic, never
silence. Not golden messages of the YAML parser (offline)."""

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
from deltalake import DeltaTable

from audit.audit import audit, count, read_log
from audit.compare import avro_record, json_record
from components import free_port
from components.registry import confluent_prefix

from .sink import Sink, avro_table, binary, json_table

DDL = "n long, text string"
GIVE_UP = ("--timeout", "5s")
MIB = 1 << 20


def good(count: int, start: int = 0) -> list[bytes]:
    return [b'{"n": %d, "text": "x"}' % number for number in range(start, start + count)]


def simple(kafka, folder, topic, count: int = 100, **how) -> Sink:
    kafka.create_topic(topic, 1)
    kafka.produce(topic, good(count), 1)
    return Sink(folder, kafka.bootstrap, json_table("events", topic, DDL), **how)


def rejected_by_spans(sink: Sink) -> int:
    return sum(count(span.get("rejects")) for commit in read_log(sink.table("events")).commits for span in commit.spans)


# What is wrong around the sink.


def test_a_wrong_config_is_refused_with_line_and_column(folder, topic):
    sink = Sink(folder, "127.0.0.1:1", json_table("events", topic, DDL, flsh={"rows": 1}))
    for command in ("run", "validate"):
        ended = sink.command(command, seconds_max=30).expect(2)
        assert "flsh" in ended.stderr and "lakeward.yaml:" in ended.stderr, ended


def test_a_config_file_that_is_not_there_is_named(folder, topic):
    sink = Sink(folder, "127.0.0.1:1", json_table("events", topic, DDL))
    sink.config.unlink()
    sink.command("run", seconds_max=30).expect_error((2,), "lakeward.yaml")


def test_a_topic_that_does_not_exist_is_named(kafka, folder, topic):
    sink = Sink(folder, kafka.bootstrap, json_table("events", topic, DDL))
    sink.until_caught_up(*GIVE_UP, seconds_max=60).expect_error((2, 3), topic)


def test_a_broker_that_does_not_answer_is_named(folder, topic):
    address = f"127.0.0.1:{free_port()}"
    Sink(folder, address, json_table("events", topic, DDL)).until_caught_up(*GIVE_UP, seconds_max=60).expect_error((3,), address)


def test_a_running_sink_waits_for_its_broker_and_says_so(folder, topic):
    sink = Sink(folder, f"127.0.0.1:{free_port()}", json_table("events", topic, DDL))
    with sink.start() as running:
        sink.wait_until(running, lambda: sink.get("/healthz").ok)
        sink.wait_until(running, lambda: sink.get("/readyz").status_code == 503)
        # librdkafka takes ten seconds to give a request up.
        sink.wait_until(running, lambda: sink.document["kafka"]["bootstrap_servers"] in running.said(), seconds_max=15)
        time.sleep(3)
        assert running.is_alive and sink.get("/readyz").status_code == 503
        ended = running.drain(3).expect(0, 3)
    assert ended.stderr.count("does not answer") == 1, f"one sentence was promised\n{ended}"


def test_a_registry_that_does_not_answer_is_named(kafka, folder, topic):
    kafka.create_topic(topic, 1)
    kafka.produce(topic, [confluent_prefix(1) + b"\x02"], 1)
    url = f"http://127.0.0.1:{free_port()}"
    sink = Sink(folder, kafka.bootstrap, avro_table("events", topic), registry=url)
    sink.until_caught_up(*GIVE_UP, seconds_max=60).expect_error((3,), url.removeprefix("http://"))


def test_a_storage_path_that_is_a_file_is_named(kafka, folder, topic):
    file = folder / "not-a-folder"
    file.write_text("content")
    sink = simple(kafka, folder, topic, url=file.as_uri())
    sink.until_caught_up(*GIVE_UP, seconds_max=60).expect_error((2, 3, 5), "not-a-folder")
    assert file.read_text() == "content"


def test_a_folder_that_is_not_a_table_is_refused_and_left_alone(kafka, folder, topic):
    sink = simple(kafka, folder, topic)
    sink.table("events").mkdir()
    (sink.table("events") / "holiday.jpg").write_bytes(b"not ours")
    sink.until_caught_up(*GIVE_UP, seconds_max=60).expect_error((2, 5), "events")
    assert [file.name for file in sink.table("events").iterdir()] == ["holiday.jpg"]


def test_a_table_whose_log_is_garbage_is_refused(kafka, folder, topic):
    sink = simple(kafka, folder, topic)
    log = sink.table("events") / "_delta_log"
    log.mkdir(parents=True)
    (log / f"{0:020}.json").write_bytes(b"\x00\xff garbage")
    sink.until_caught_up(*GIVE_UP, seconds_max=60).expect_error((5,), "events")


def test_a_store_without_permission_is_one_clear_sentence(kafka, topic):
    # Outside of the cache, which an unprivileged user need not be able to reach; the binary is copied for the same reason.
    folder = Path(tempfile.mkdtemp(prefix="lakeward-denied-"))
    try:
        folder.chmod(0o777)
        sink = simple(kafka, folder, topic)
        sink.config.chmod(0o644)
        sink.lake.chmod(0o555)
        program = folder / "lakeward"
        shutil.copy(binary(), program)
        program.chmod(0o755)
        nobody = 65534
        wrapper = ["setpriv", f"--reuid={nobody}", f"--regid={nobody}", "--clear-groups"] if os.getuid() == 0 else []
        ended = sink.until_caught_up(*GIVE_UP, seconds_max=60, wrapper=wrapper, program=program)
        ended.expect_error((2, 3), "permission")
        assert list(sink.lake.iterdir()) == []
        sink.lake.chmod(0o777)
        sink.until_caught_up(seconds_max=60, wrapper=wrapper, program=program).expect(0)
    finally:
        shutil.rmtree(folder)


def test_a_full_disk_is_one_clear_sentence_and_loses_nothing(kafka, folder, topic):
    # Mounting needs root; without it a file size limit makes the same writes fail, with another error of the kernel.
    small = folder / "small"
    small.mkdir()
    is_root = os.getuid() == 0
    kafka.create_topic(topic, 1)
    payloads = [json.dumps({"n": number, "text": os.urandom(512).hex()}).encode() for number in range(20_000)]
    kafka.produce(topic, payloads, 1)
    if is_root:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(small)], check=True)
        wrapper = []
    else:
        print("\n[full disk] NOT ROOT: no small file system can be mounted; a file size limit stands in for the full disk", flush=True)
        wrapper = ["prlimit", f"--fsize={MIB}"]
    try:
        sink = Sink(folder, kafka.bootstrap, json_table("events", topic, DDL, flush={"rows": 5000}), url=small.as_uri())
        sink.lake = small
        ended = sink.until_caught_up(*GIVE_UP, seconds_max=120, wrapper=wrapper)
        ended.expect_error((3,), "events")
        if is_root:
            assert "space" in ended.sentence().lower(), ended
            subprocess.run(["mount", "-o", "remount,size=128m", str(small)], check=True)
        sink.until_caught_up(seconds_max=120).expect(0)
        report = audit(sink.table("events"), kafka.dump(topic), json_record)
        print(f"\n{report}")
        assert report.is_clean, report
    finally:
        if is_root:
            subprocess.run(["umount", str(small)], check=True)


# What is wrong in the topic.

JSON_GARBAGE = {
    "bytes": b"\xff\xfe\x00\x01garbage",
    "empty": b"",
    "truncated": b'{"n": 1, "text": "x',
    "nested": b'{"n": 1, "text": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "nested_objects": b'{"n":' * 100_000,
    "array": b"[1, 2]",
    "number": b"17",
    "wrong_type": b'{"n": "seven", "text": "x"}',
    "too_large_number": b'{"n": 9223372036854775808, "text": "x"}',
    "fraction": b'{"n": 1.5, "text": "x"}',
    "overflow": b'{"n": 1e400, "text": "x"}',
    "trailing": b'{"n": 1, "text": "x"} {"n": 2}',
    "invalid_utf8": b'{"n": 1, "text": "\xc3\x28"}',
    "unknown_field": b'{"n": 1, "text": "x", "surprise": 1}',
}

AVRO = {"type": "record", "name": "Event", "fields": [{"name": "n", "type": "long"}, {"name": "texts", "type": {"type": "array", "items": "string"}}]}


def avro_good(number: int) -> bytes:
    zigzag = number << 1
    assert zigzag < 128
    return bytes([zigzag, 2, 2]) + b"x\x00"


AVRO_GARBAGE = {
    "empty": (True, b""),
    "truncated": (True, avro_good(1)[:-2]),
    "trailing": (True, avro_good(1) + b"\x00\x00"),
    "endless_block": (True, b"\x02" + b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01" + b"\x00"),
    "huge_string": (True, b"\x02\x02" + b"\xfe\xff\xff\xff\x0f" + b"x"),
    "negative_length": (True, b"\x02\x02\x03x\x00"),
    "long_varint": (True, b"\xff" * 11),
    "no_magic": (False, b"\x01\x00\x00\x00\x01" + avro_good(1)),
    "shorter_than_a_header": (False, b"\x00\x00"),
    "unknown_schema_id": (False, confluent_prefix(999_999) + avro_good(1)),
}


def among_neighbours(bad: list[bytes], neighbour) -> tuple[list[bytes], set[int]]:
    """Each bad payload between good ones, and the offsets of the bad ones."""
    payloads, offsets = [neighbour(0)], set()
    for index, payload in enumerate(bad):
        offsets.add(len(payloads))
        payloads += [payload, neighbour(index + 1)]
    return payloads, offsets


def expect_rejected(kafka, sink: Sink, topic: str, offsets: set[int], compare) -> None:
    """The neighbours are in the table, the rejects are counted there, and the status page names their coordinates."""
    with sink.start() as running:
        end = kafka.end_offsets(topic)[0]
        sink.wait_until(running, lambda: committed(sink, topic) == end, seconds_max=90)
        status = sink.get("/api/v1/status").json()
        running.drain().expect(0)
    report = audit(sink.table("events"), kafka.dump(topic), compare, is_rejected=lambda coordinates, _payload: coordinates[2] in offsets)
    print(f"\n{report}")
    assert report.is_clean, report
    assert report.rejects == len(offsets)
    named = reject_offsets(status, topic)
    assert offsets <= named, f"the status names rejects at {sorted(named)}, they are at {sorted(offsets)}: {json.dumps(status)[:2000]}"
    # The table has the verdict: nothing is decided, counted or stored again.
    sink.until_caught_up().expect(0)
    assert rejected_by_spans(sink) == len(offsets)


def committed(sink: Sink, topic: str) -> int | None:
    txns: dict = {}
    for commit in read_log(sink.table("events")).commits:
        txns.update(commit.txns)
    return txns.get(f"lakeward/{topic}/0/0")


def reject_offsets(value, topic: str) -> set[int]:
    """Offsets of whatever in the status is about a single record of the topic."""
    found: set[int] = set()
    if isinstance(value, dict):
        if "offset" in value and value.get("topic", topic) == topic:
            found.add(value["offset"])
        for item in value.values():
            found |= reject_offsets(item, topic)
    elif isinstance(value, list):
        for item in value:
            found |= reject_offsets(item, topic)
    return found


def test_bad_json_costs_no_neighbour_and_is_counted_with_its_coordinates(kafka, folder, topic):
    payloads, offsets = among_neighbours(list(JSON_GARBAGE.values()), lambda number: good(1, number)[0])
    kafka.create_topic(topic, 1)
    kafka.produce(topic, payloads, 1)
    sink = Sink(folder, kafka.bootstrap, json_table("events", topic, DDL, errors={"mode": "skip"}, target_lag="1s"))
    expect_rejected(kafka, sink, topic, offsets, json_record)


def test_bad_avro_costs_no_neighbour_and_is_counted_with_its_coordinates(kafka, registry, folder, topic):
    prefix = confluent_prefix(registry.register(f"{topic}-value", AVRO))
    bad = [prefix + payload if is_framed else payload for is_framed, payload in AVRO_GARBAGE.values()]
    payloads, offsets = among_neighbours(bad, lambda number: prefix + avro_good(number))
    kafka.create_topic(topic, 1)
    kafka.produce(topic, payloads, 1)
    sink = Sink(folder, kafka.bootstrap, avro_table("events", topic, errors={"mode": "skip"}, target_lag="1s"), registry=registry.url)
    expect_rejected(kafka, sink, topic, offsets, avro_record(AVRO, prefix_bytes=5))


@pytest.mark.parametrize("kind", ["bytes", "truncated", "nested"])
def test_a_bad_record_suspends_the_table_with_its_coordinates(kafka, folder, topic, kind):
    kafka.create_topic(topic, 1)
    kafka.produce(topic, [*good(10), JSON_GARBAGE[kind], *good(10, 10)], 1)
    sink = Sink(folder, kafka.bootstrap, json_table("events", topic, DDL))
    sink.until_caught_up(seconds_max=60).expect_error((5,), "events", topic, "10")
    # Suspended means that all before it is safe, and nothing after it is taken, however often one tries.
    sink.until_caught_up(seconds_max=60).expect_error((5,), topic, "10")
    assert committed(sink, topic) == 10


def test_a_record_above_the_limit_is_a_counted_reject_and_its_neighbours_land(kafka, folder, topic):
    kafka.create_topic(topic, 1, max_message_bytes=32 * MIB)
    payloads = [*good(5), b'{"n": 5, "text": "' + b"x" * (20 * MIB) + b'"}', *good(5, 6)]
    # Not compressed and not batched: it shall be as large on the wire as it is.
    producer = kafka.producer(message_max_bytes=33 * MIB, compression_type="none", batch_size=1)
    for payload in payloads:
        producer.produce(topic, value=payload, partition=0)
    assert producer.flush(60) == 0
    sink = Sink(folder, kafka.bootstrap, json_table("events", topic, DDL, errors={"mode": "skip"}, target_lag="1s"))
    expect_rejected(kafka, sink, topic, {5}, json_record)


def test_a_record_batch_that_unpacks_beyond_its_share_is_said_and_passed_by_a_person(kafka, folder, topic):
    """A hundred records of a mebibyte of zeros each, which are one batch of a few kilobytes."""
    kafka.create_topic(topic, 2)
    producer = kafka.producer(compression_type="zstd", message_max_bytes=512 * MIB, batch_size=512 * MIB, linger_ms=5_000, queue_buffering_max_kbytes=512 * 1024)
    for number in range(100):
        producer.produce(topic, value=b'{"n": %d, "text": "' % number + b"0" * MIB + b'"}', partition=0)
    assert producer.flush(60) == 0
    kafka.produce(topic, good(64, 100), 1)
    table = json_table("events", topic, DDL, target_lag="1s")
    small = Sink(folder / "small", kafka.bootstrap, table, limits={"memory": "256MiB"})
    ended = small.until_caught_up("--timeout", "15s", seconds_max=60)
    ended.expect_error([3], f"{topic}[0]", "quarter of limits.memory", "lakeward offsets set")
    print(f"\n[bomb] peak {ended.peak_memory_bytes >> 20} MiB of 256", flush=True)
    assert ended.peak_memory_bytes < 256 * MIB
    # With more memory it fits, and every record is there.
    large = Sink(folder / "large", kafka.bootstrap, table, limits={"memory": "1GiB"})
    large.until_caught_up(seconds_max=120).expect(0)
    assert audit(large.table("events"), kafka.dump(topic), json_record).is_clean
    # Or a person goes past it.
    small.command("offsets set", "--table", "events", "--topic", topic, "--partition", "0", "--to", "100", "--reason", "a bomb").expect(0)
    small.until_caught_up(seconds_max=60).expect(0)
    rows = DeltaTable(small.table("events")).to_pyarrow_dataset().to_table(["n"])
    assert sorted(rows["n"].to_pylist()) == list(range(100, 164))


def test_an_interrupt_while_waiting_ends_at_once(folder, topic):
    sink = Sink(folder, f"127.0.0.1:{free_port()}", json_table("events", topic, DDL))
    with sink.start() as running:
        sink.wait_until(running, lambda: sink.get("/healthz").ok)
        running.signal(signal.SIGTERM)
        # Two signals in one instant would be one: they do not queue.
        time.sleep(0.5)
        if running.is_alive:
            running.signal(signal.SIGTERM)
        ended = running.wait(2)
    assert "panicked" not in ended.stderr, ended
