"""Owns columns that are left out or masked: what is nowhere in the store and the logs, and that hashes are those that Python computes, also after kills. Not every type (unit tests)."""

import hashlib
import hmac
import io
import json
import random
import time
from datetime import date, timedelta

import fastavro
import pyarrow.parquet as pq
import pytest

from components.registry import confluent_prefix

from .readers import READERS, batches
from .sink import Sink, avro_table, json_table

KEY = "an old key, kept in a file"
SCHEMA = {
    "type": "record",
    "name": "Order",
    "fields": [
        {"name": "id", "type": "long"},
        {
            "name": "customer",
            "type": {
                "type": "record",
                "name": "Customer",
                "fields": [
                    {"name": "email", "type": ["null", "string"]},
                    {"name": "phone", "type": "string"},
                    {"name": "number", "type": "long"},
                    {"name": "born", "type": {"type": "int", "logicalType": "date"}},
                ],
            },
        },
        {"name": "items", "type": {"type": "array", "items": {"type": "record", "name": "Item", "fields": [{"name": "sku", "type": "bytes"}, {"name": "note", "type": "string"}]}}},
        {"name": "iban", "type": ["null", "string"]},
    ],
}
CANARY = "c4n4ry"


def digest(value) -> str | None:
    """What the table should hold, computed apart from it."""
    if value is None:
        return None
    data = value if isinstance(value, bytes) else str(value).encode()
    return hmac.new(KEY.encode(), data, hashlib.sha256).hexdigest()


def order(number: int) -> dict:
    secret = f"{CANARY}-{number}"
    return {
        "id": number,
        "customer": {"email": None if number % 7 == 0 else f"{secret}@mail", "phone": secret, "number": -number, "born": number % 20_000},
        "items": [{"sku": f"{secret}-sku".encode(), "note": secret} for _ in range(number % 3)],
        "iban": None if number % 5 == 0 else secret,
    }


def expected(number: int) -> dict:
    record = order(number)
    customer = record["customer"]
    born = date(1970, 1, 1) + timedelta(days=customer["born"])
    return {
        "id": number,
        "customer": {"email": digest(customer["email"]), "number": digest(customer["number"]), "born": digest(born.isoformat())},
        "items": [{"sku": digest(item["sku"])} for item in record["items"]],
        "iban": None if record["iban"] is None else "[redacted]",
        "_kafka_key": digest(f"{CANARY}-key-{number}".encode()),
    }


def expect_nowhere(sink: Sink, *canaries: str) -> None:
    """Not in any file of the store, as it is or within Parquet's compression, and not in what the processes said."""
    files = [path for path in sink.folder.rglob("*") if path.is_file() and path != sink.config]
    assert any(path.suffix == ".parquet" for path in files)
    for path in files:
        assert not any(canary.encode() in path.read_bytes() for canary in canaries), path
        if path.suffix == ".parquet":
            shown = str(pq.read_table(path, partitioning=None).to_pylist())
            assert not any(canary in shown for canary in canaries), path


@pytest.fixture
def masked(kafka, registry, folder, topic):
    """A sink of Avro orders with hidden columns."""
    (folder / "key").write_text(KEY + "\n")
    schema_id = registry.register(f"{topic}-value", SCHEMA)
    parsed = fastavro.parse_schema(SCHEMA)

    def encode(number: int) -> bytes:
        out = io.BytesIO()
        fastavro.schemaless_writer(out, parsed, order(number))
        return confluent_prefix(schema_id) + out.getvalue()

    kafka.create_topic(topic, 3)
    producer = kafka.producer()

    def produce(numbers) -> None:
        for number in numbers:
            producer.produce(topic, key=f"{CANARY}-key-{number}".encode(), value=encode(number), partition=number % 3)
        assert producer.flush(60) == 0

    columns = {
        "exclude": ["customer.phone", "items.note"],
        "mask": {
            "customer.email": "hmac_sha256",
            "customer.number": "hmac_sha256",
            "customer.born": "hmac_sha256",
            "items.sku": "hmac_sha256",
            "_kafka_key": "hmac_sha256",
            "iban": "redact",
        },
        "mask_key": "${file:key}",
    }
    table = avro_table("orders", topic, columns=columns, metadata={"include": ["key"]}, errors={"mode": "dlq"}, target_lag="1s", partition_by=["part = bucket(3, customer.email)"])
    return Sink(folder, kafka.bootstrap, table, registry=registry.url), produce, encode


def read(sink: Sink, reader: str) -> list[dict]:
    columns = ["id", "customer", "items", "iban", "_kafka_key"]
    rows = [row for batch in batches(reader, sink.table("orders"), columns) for row in batch.select(columns).to_pylist()]
    return sorted(rows, key=lambda row: row["id"])


def test_masked_columns_hold_what_python_computes_and_hidden_values_are_nowhere(masked, kafka, topic):
    sink, produce, encode = masked
    produce(range(1_000))
    kafka.produce(topic, [CANARY.encode(), encode(3)[:-4], b"\0\0\0\0\1" + CANARY.encode()], 1)
    print(sink.command("validate", "--connect").expect(0).stdout)
    sink.until_caught_up(seconds_max=90).expect(0)
    for reader in READERS:
        assert read(sink, reader) == [expected(number) for number in range(1_000)], reader
    [rejected] = [batch.to_pylist() for batch in batches("deltalake", sink.table("orders__dlq"), ["_kafka_key", "_kafka_value", "_kafka_headers", "error_code", "error_path", "error_message"])]
    assert len(rejected) == 3 and all(row["_kafka_value"] is None and row["_kafka_key"] is None and row["error_message"] for row in rejected), rejected
    print(rejected)
    shown = [sink.command("dlq show", "--table", "orders").expect(0), sink.command("dlq list", "--table", "orders").expect(0), sink.command("verify", "--deep", "--against-kafka").expect(0)]
    assert not any(CANARY in one.stdout + one.stderr or KEY in one.stdout + one.stderr for one in shown)
    (sink.folder / "key").unlink()
    expect_nowhere(sink, CANARY, KEY)


def test_kills_and_restarts_give_the_same_hashes(masked, seed):
    sink, produce, _ = masked
    chance = random.Random(seed)
    done = 0
    for _ in range(4):
        produce(range(done, done + 300))
        done += 300
        with sink.start() as running:
            sink.wait_until(running, lambda: sink.get("/readyz").ok)
            produce(range(done, done + 50))
            done += 50
            time.sleep(chance.uniform(0.2, 2.5))
            running.child.kill()
            running.child.wait()
    sink.until_caught_up(seconds_max=90).expect(0)
    assert read(sink, "duckdb") == [expected(number) for number in range(done)]
    sink.command("verify", "--deep", "--against-kafka").expect(0)
    (sink.folder / "key").unlink()
    expect_nowhere(sink, CANARY, KEY)


def test_excluded_fields_of_json_are_not_rescued(kafka, folder, topic):
    kafka.create_topic(topic, 1)
    kafka.produce(topic, [json.dumps({"id": number, "ssn": CANARY, "who": {"name": "n", "phone": CANARY}, "more": number}).encode() for number in range(100)], 1)
    table = json_table("people", topic, "id long, who struct<name string, phone string>", columns={"exclude": ["ssn", "who.phone"]})
    table["value"]["unknown_fields"] = "rescue"
    sink = Sink(folder, kafka.bootstrap, table)
    sink.until_caught_up(seconds_max=60).expect(0)
    columns = ["id", "who", "_rescued"]
    rows = [row for batch in batches("duckdb", sink.table("people"), columns) for row in batch.to_pylist()]
    assert sorted(rows, key=lambda row: row["id"]) == [{"id": number, "who": {"name": "n"}, "_rescued": f'{{"more":{number}}}'} for number in range(100)]
    expect_nowhere(sink, CANARY)


def test_a_rule_that_leads_nowhere_or_has_no_hash_is_refused_before_anything_is_written(kafka, folder, topic):
    kafka.create_topic(topic, 1)
    for columns, words in [
        ({"exclude": ["naem"]}, ["naem", "did you mean `name`"]),
        ({"mask": {"rate": "hmac_sha256"}, "mask_key": "k"}, ["rate", "hmac_sha256"]),
    ]:
        table = json_table("people", topic, "name string, rate double", columns=columns)
        sink = Sink(folder, kafka.bootstrap, table)
        sink.until_caught_up(seconds_max=60).expect_error((2,), *words)
        assert not sink.table("people").exists()
