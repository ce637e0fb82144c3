"""Owns rejected records in a table of their own: what lands there, exactly once whatever dies, and what a replay makes of it. Not which records are bad (test_bad_input)."""

import json
import os
import random
import re
import shutil
import signal
import tempfile
import time
from pathlib import Path

import pytest

from components.registry import confluent_prefix

from .readers import READERS, batches
from .sink import Running, Sink, binary, json_table
from .test_formats import post
from .test_bad_input import DDL, JSON_GARBAGE, among_neighbours, good

COLUMNS = ["_kafka_topic", "_kafka_partition", "_kafka_offset", "_kafka_key", "_kafka_value", "schema_id", "error_code", "error_path", "error_message", "failed_at"]
CORPUS = Path(__file__).parents[2] / "src" / "decode" / "tests" / "bad_records"
JSON_GOOD = b'{"id": 7, "tags": {"a": 1}}'
PATIENT = {"percent": 100, "window": "1m", "min_records": 1_000_000}


def rejecting(topic: str, **errors) -> dict:
    return json_table("events", topic, DDL, errors={"suspend_above": PATIENT, **errors}, target_lag="1s")


def rows(table: Path, columns: list[str], reader: str = "duckdb") -> list[dict]:
    if not (table / "_delta_log").is_dir():
        return []
    return [row for batch in batches(reader, table, columns) for row in batch.select(columns).to_pylist(maps_as_pydicts="lossy")]


def offsets(table: Path, reader: str = "duckdb") -> list[int]:
    return sorted(row["_kafka_offset"] for row in rows(table, ["_kafka_offset"], reader))


def entries(table: Path) -> list[list[dict]]:
    files = sorted((table / "_delta_log").glob("0*.json"))
    return [[json.loads(line) for line in file.read_text().splitlines()] for file in files]


def versions(table: Path) -> int:
    return sum(1 for _ in (table / "_delta_log").glob("0*.json"))


def outboxes(table: Path) -> list[dict]:
    infos = (action.get("commitInfo", {}).get("lakeward", {}) for actions in entries(table) for action in actions)
    return [info["outbox"] for info in infos if "outbox" in info]


def expect_exact(sink: Sink, good_offsets, bad_offsets) -> None:
    """Each record is a row or a rejected record, once, and the audit proves it."""
    found = (offsets(sink.table("events")), offsets(sink.table("events__dlq")))
    assert found == (sorted(good_offsets), sorted(bad_offsets)), f"rows {found[0][:20]}, rejected records {found[1][:20]}"
    print(sink.command("verify", "--deep", "--against-kafka", seconds_max=120).expect(0).stdout)


def test_bad_records_land_in_their_own_table_with_coordinates_code_and_path(kafka, folder, topic):
    payloads, bad = among_neighbours(list(JSON_GARBAGE.values()), lambda number: good(1, number)[0])
    payloads.append(b'{"n": "seven", "text": "x"}')
    bad.add(len(payloads) - 1)
    kafka.create_topic(topic, 1)
    producer = kafka.producer()
    for payload in payloads:
        producer.produce(topic, key=b"k", value=payload, partition=0, headers=[("source", b"test"), ("none", None)])
    assert producer.flush(60) == 0
    # The default is a table of rejected records.
    table = json_table("events", topic, DDL, target_lag="1s")
    del table["errors"]
    sink = Sink(folder, kafka.bootstrap, table)
    sink.until_caught_up(seconds_max=90).expect(0)
    expect_exact(sink, set(range(len(payloads))) - bad, bad)
    dlq = sink.table("events__dlq")
    found = {row["_kafka_offset"]: row for row in rows(dlq, [*COLUMNS, "_kafka_headers"])}
    for offset, row in found.items():
        assert (row["_kafka_topic"], row["_kafka_partition"], bytes(row["_kafka_key"])) == (topic, 0, b"k")
        assert bytes(row["_kafka_value"]) == payloads[offset] and row["error_code"] and row["error_message"] and row["failed_at"]
        assert [(header["key"], header["value"] and bytes(header["value"])) for header in row["_kafka_headers"]] == [("source", b"test"), ("none", None)]
    last = found[len(payloads) - 1]
    assert (last["error_code"], last["error_path"]) == ("type_mismatch", "n"), last
    for reader in READERS:
        assert offsets(dlq, reader) == sorted(bad), reader
    listed = json.loads(sink.command("dlq list", "--table", "events", "--format", "json").expect(0).stdout)
    assert listed["records"] == len(bad) and sum(group["records"] for group in listed["groups"]) == len(bad)
    print(sink.command("dlq list", "--table", "events").expect(0).stdout)
    shown = json.loads(sink.command("dlq show", "--table", "events", "--offset", str(len(payloads) - 1), "--format", "json").expect(0).stdout)
    assert [(one["code"], one["value"], one["has_bytes"]) for one in shown] == [("type_mismatch", {"text": payloads[-1].decode()}, True)]
    print(sink.command("dlq show", "--table", "events", "--limit", "3").expect(0).stdout)
    # The verdict is in the table: nothing is decided or stored again.
    sink.until_caught_up().expect(0)
    assert offsets(dlq) == sorted(bad)


def corpus(form: str) -> tuple[list[tuple[bytes, str, str | None]], bytes]:
    """The bad records of the decoders' tests in a format, each with its code and path, and a good one."""
    lines = CORPUS.with_suffix(".txt").read_text().splitlines()
    fields = dict(field.split("=") for line in lines if line.startswith("# good avro: ") for field in line.removeprefix("# good avro: ").split())

    def payload(text: str) -> bytes:
        if form == "json":
            # An escape of the table, unless it is one of the record itself.
            return re.sub(rb"\\x([0-9a-f]{2})", lambda found: bytes.fromhex(found[1].decode()), text.encode())
        name, _, value = text.partition("=") if form == "avro" else ("raw", "", text)
        return bytes.fromhex(value if name == "raw" else "".join({**fields, name: value}.values()))

    found = (line.split(" | ") for line in lines if line.startswith(f"{form} | "))
    good = {"json": JSON_GOOD, "avro": bytes.fromhex("".join(fields.values())), "protobuf": b""}
    return [(payload(text), code, None if path == "-" else path) for _, _, text, code, path in found], good[form]


@pytest.mark.parametrize("form", ["json", "avro", "protobuf"])
def test_every_record_of_the_corpus_is_rejected_with_code_and_path_and_costs_no_neighbour(kafka, registry, folder, topic, form):
    records, good_one = corpus(form)
    prefix, settings = b"", {"errors": {"suspend_above": PATIENT}, "target_lag": "1s"}
    if form == "json":
        table = {**json_table("events", topic, CORPUS.with_suffix(".ddl").read_text()), **settings}
    else:
        schema = CORPUS.with_suffix(".avsc" if form == "avro" else ".proto").read_text()
        prefix = confluent_prefix(post(registry, f"{topic}-value", form.upper(), schema)) + (b"\x00" if form == "protobuf" else b"")
        table = {"name": "events", "topics": [topic], "value": {"format": form}, **settings}
    payloads, bad = among_neighbours([payload for payload, _, _ in records], lambda _: good_one)
    kafka.create_topic(topic, 1)
    kafka.produce(topic, payloads, 1, prefix)
    sink = Sink(folder, kafka.bootstrap, table, registry=registry.url)
    sink.until_caught_up(seconds_max=90).expect(0)
    expect_exact(sink, set(range(len(payloads))) - bad, bad)
    found = {row["_kafka_offset"]: (bytes(row["_kafka_value"]), row["error_code"], row["error_path"] or None) for row in rows(sink.table("events__dlq"), COLUMNS)}
    expected = {offset: (prefix + payload, code, path) for offset, (payload, code, path) in zip(sorted(bad), records, strict=True)}
    assert found == expected, {offset: (found.get(offset), expected[offset]) for offset in expected if found.get(offset) != expected[offset]}
    for reader in READERS:
        assert offsets(sink.table("events__dlq"), reader) == sorted(bad), reader
    print(f"\n[dlq] {len(records)} bad {form} records, {len(set(code for _, code, _ in records))} codes", flush=True)


def test_without_raw_only_coordinates_and_errors_are_kept_and_replay_says_so(kafka, folder, topic):
    kafka.create_topic(topic, 1)
    kafka.produce(topic, [*good(5), b"secret-and-bad", *good(5, 6)], 1)
    sink = Sink(folder, kafka.bootstrap, rejecting(topic, raw=False))
    sink.until_caught_up(seconds_max=90).expect(0)
    [row] = rows(sink.table("events__dlq"), [*COLUMNS, "_kafka_headers"])
    assert (row["_kafka_offset"], row["_kafka_key"], row["_kafka_value"], row["_kafka_headers"]) == (5, None, None, None)
    replayed = json.loads(sink.command("dlq replay", "--table", "events", "--format", "json").expect(0).stdout)
    assert (replayed["without_bytes"], replayed["rows"], replayed["commits"]) == (1, 0, 0)
    expect_exact(sink, set(range(11)) - {5}, {5})


def test_a_topic_of_bad_records_suspends_the_table_and_is_kept(kafka, folder, topic):
    kafka.create_topic(topic, 1)
    kafka.produce(topic, [b"no json"] * 500, 1)
    table = json_table("events", topic, DDL, errors={"mode": "dlq"}, target_lag="1s")
    sink = Sink(folder, kafka.bootstrap, table)
    sink.until_caught_up(seconds_max=60).expect_error((5,), "events", "errors.suspend_above")
    kept = offsets(sink.table("events__dlq"))
    assert 100 <= len(kept) and kept == list(range(len(kept)))


@pytest.mark.parametrize("settings", ["same", "another table and schema"])
def test_dlq_1_kill_9_between_the_main_commit_and_publishing_leaves_both_tables_exact(kafka, topic, settings):
    if os.getuid() != 0:
        pytest.skip("needs root, to run the sink as a user whom a folder can refuse")
    # Outside of the cache, which an unprivileged user need not be able to reach.
    folder = Path(tempfile.mkdtemp(prefix="lakeward-dlq-"))
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    try:
        folder.chmod(0o777)
        kafka.create_topic(topic, 1)
        sink = Sink(folder, kafka.bootstrap, rejecting(topic))
        sink.config.chmod(0o644)
        sink.lake.chmod(0o777)
        program = folder / "lakeward"
        shutil.copy(binary(), program)
        program.chmod(0o755)
        kafka.produce(topic, [*good(3), b"bad"], 1)
        sink.until_caught_up(seconds_max=60, wrapper=nobody, program=program).expect(0)
        log = sink.table("events__dlq") / "_delta_log"
        log.chmod(0o555)
        kafka.produce(topic, [b"worse", *good(3, 5)], 1)
        with Running(["run", "-c", sink.config], folder, nobody, program) as running:
            sink.wait_until(running, lambda: len(outboxes(sink.table("events"))) == 2)
            time.sleep(1)
            running.signal(signal.SIGKILL)
            running.child.wait()
        assert offsets(sink.table("events__dlq")) == [3], "it was published before the kill"
        named = sink.command("verify", "--deep", seconds_max=60).expect(0).stdout
        assert "1 of them wait to be published" in named, named
        log.chmod(0o777)
        if settings != "same":
            sink.document["tables"][0]["errors"]["table"] = "elsewhere"
            sink.document["tables"][0]["value"]["unknown_fields"] = "ignore"
            sink.document["tables"][0]["value"]["schema"]["ddl"] += ", more string"
            sink.write()
            kafka.produce(topic, [b'{"n": 8, "text": "x", "more": "y"}'], 1)
        sink.until_caught_up(seconds_max=60, wrapper=nobody, program=program).expect(0)
        assert offsets(sink.table("events__dlq")) == [3, 4]
        assert offsets(sink.table("events")) == [0, 1, 2, 5, 6, 7] + ([] if settings == "same" else [8])
        assert not sink.table("elsewhere").exists()
    finally:
        shutil.rmtree(folder)


def test_dlq_1_kill_9_at_any_moment_leaves_both_tables_exact(kafka, folder, topic, seed):
    dice = random.Random(seed)
    kafka.create_topic(topic, 2)
    sink = Sink(folder, kafka.bootstrap, json_table("events", topic, DDL, errors={"suspend_above": PATIENT}, target_lag="200ms"), properties={"session.timeout.ms": "2000", "heartbeat.interval.ms": "500"})
    produced = [b"bad" if dice.random() < 0.3 else good(1, number)[0] for number in range(6000)]
    producer = kafka.producer()
    kills = 0
    for start in range(0, len(produced), 500):
        for number, payload in enumerate(produced[start : start + 500], start):
            producer.produce(topic, value=payload, partition=number % 2)
        assert producer.flush(60) == 0
        before = versions(sink.table("events"))
        with sink.start() as running:
            # Around its first commit: soon after it, or at any moment.
            deadline = time.monotonic() + 20
            while running.is_alive and versions(sink.table("events")) == before and time.monotonic() < deadline:
                time.sleep(0.002)
            time.sleep(dice.choice([0, 0.005, 0.02, dice.uniform(0, 1)]))
            if running.is_alive:
                running.signal(signal.SIGKILL)
                kills += 1
            running.child.wait()
    sink.until_caught_up(seconds_max=120).expect(0)
    print(f"\n[dlq] {kills} kills, {len(outboxes(sink.table('events')))} commits with rejected records", flush=True)
    coordinates = ["_kafka_partition", "_kafka_offset"]
    expected = {False: [], True: []}
    for number, payload in enumerate(produced):
        expected[payload == b"bad"].append((number % 2, number // 2))
    for name, is_bad in (("events", False), ("events__dlq", True)):
        found = sorted(tuple(row[column] for column in coordinates) for row in rows(sink.table(name), coordinates))
        assert found == sorted(expected[is_bad]), name
    sink.command("verify", "--deep", "--against-kafka", seconds_max=120).expect(0)


def test_dlq_1_a_replay_after_a_mend_adds_each_record_once_whatever_kills_it(kafka, folder, topic, seed):
    dice = random.Random(seed)
    kafka.create_topic(topic, 1)
    # Half of them have a field too many, which the mended config leaves out; the others stay bad.
    payloads = [good(1, number)[0] if number % 3 else (b'{"n": %d, "text": "x", "new": 1}' % number if number % 2 else b"bad") for number in range(6000)]
    mended = {number for number in range(6000) if number % 3 == 0 and number % 2}
    bad = {number for number in range(6000) if number % 6 == 0}
    kafka.produce(topic, payloads, 1)
    sink = Sink(folder, kafka.bootstrap, rejecting(topic))
    sink.until_caught_up(seconds_max=90).expect(0)
    expect_exact(sink, set(range(6000)) - mended - bad, mended | bad)
    sink.document["tables"][0]["value"]["unknown_fields"] = "ignore"
    sink.write()
    kills = 0
    for _ in range(12):
        before = versions(sink.table("events"))
        with Running(["dlq", "replay", "-c", sink.config, "--table", "events"], folder) as running:
            # At any moment, or right after its commit.
            deadline = time.monotonic() + dice.choice([dice.uniform(0.02, 1), 5])
            while running.is_alive and versions(sink.table("events")) == before and time.monotonic() < deadline:
                time.sleep(0.002)
            if running.is_alive:
                running.signal(signal.SIGKILL)
                kills += 1
            running.child.wait()
        found = offsets(sink.table("events"))
        assert len(found) == len(set(found))
    replayed = sink.command("dlq replay", "--table", "events", seconds_max=60).expect(0)
    print(f"\n[dlq] {kills} kills, then: {replayed.stdout}", flush=True)
    expect_exact(sink, set(range(6000)) - bad, bad)
    # The sink goes on beside it, and a second replay finds nothing to do.
    kafka.produce(topic, [*good(1, 6000), b"bad"], 1)
    sink.until_caught_up(seconds_max=60).expect(0)
    again = json.loads(sink.command("dlq replay", "--table", "events", "--format", "json").expect(0).stdout)
    assert (again["rows"], again["commits"], again["still_rejected"]) == (0, 0, len(bad) + 1)
    expect_exact(sink, set(range(6001)) - bad, bad | {6001})
    for reader in READERS:
        assert offsets(sink.table("events__dlq"), reader) == sorted(bad | {6001}), reader


def test_mem_1_a_topic_of_large_bad_records_stays_within_the_memory_limit(kafka, folder, topic):
    limit_mib, records = 160, 120_000
    kafka.create_topic(topic, 1)
    dice = random.Random(1)
    # Random bytes: nothing that compression could hide.
    kafka.produce(topic, [dice.randbytes(4000) for _ in range(records)], 1)
    table = json_table("events", topic, DDL, errors={"suspend_above": PATIENT}, target_lag="60s", flush={"file_size": "16GiB", "rows": 1_000_000_000})
    sink = Sink(folder, kafka.bootstrap, table, limits={"memory": f"{limit_mib}MiB", "lanes": 2})
    ended = sink.until_caught_up(seconds_max=180).expect(0)
    commits = len(outboxes(sink.table("events")))
    print(f"\n[dlq] {records} bad records of 4 kB, peak {ended.peak_memory_bytes >> 20} MiB of {limit_mib}, {commits} commits, {ended.seconds:.1f} s", flush=True)
    assert ended.peak_memory_bytes <= limit_mib << 20
    assert sum(len(rows(sink.table("events__dlq"), ["_kafka_offset"])) for _ in range(1)) == records
