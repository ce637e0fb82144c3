"""Owns real input: three million flights, as JSON and as registry-framed Avro, read back exactly by three readers. Not nulls and nesting (test_orders).

The source's `date` has no zone. It is taken as UTC: ISO 8601 text with Z in JSON, micros since the epoch as `timestamp-micros` in Avro, and a Delta timestamp
in the table. The digest compares micros, and multisets: the source has equal rows.

LAKEWARD_FLIGHTS sets the number of rows (all of them by default).
"""

import io
import os
import time

import fastavro
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components import cache_folder
from components.registry import confluent_prefix

from .readers import assert_all_read, duckdb_connection
from .sink import Sink, avro_table, json_table

ROWS = int(os.environ.get("LAKEWARD_FLIGHTS") or 3_000_000)
PARTITIONS = 6
DDL = "date timestamp, delay long, distance long, origin string, destination string"
COLUMNS = ["date", "delay", "distance", "origin", "destination"]
AVRO = {
    "type": "record",
    "name": "Flight",
    "namespace": "live",
    "fields": [
        {"name": "date", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "delay", "type": "long"},
        {"name": "distance", "type": "long"},
        {"name": "origin", "type": "string"},
        {"name": "destination", "type": "string"},
    ],
}


@pytest.fixture(scope="module")
def flights() -> pa.Table:
    table = pq.read_table(cache_folder() / "datasets" / "flights-3m.parquet").slice(0, ROWS)
    assert table.num_rows == ROWS
    return table.set_column(0, "date", table["date"].cast(pa.timestamp("us", tz="UTC")))


def json_payloads(flights: pa.Table):
    connection = duckdb_connection()
    connection.register("flights", flights)
    texts = connection.sql(
        """SELECT to_json({date: strftime(date AT TIME ZONE 'UTC', '%Y-%m-%dT%H:%M:%S.%fZ'),
                           delay: delay, distance: distance, origin: origin, destination: destination})::VARCHAR AS text FROM flights"""
    ).to_arrow_reader(100_000)
    for batch in texts:
        for text in batch.column(0).to_pylist():
            yield text.encode()


def avro_payloads(flights: pa.Table):
    # The logical type is put on by hand (micros are what Arrow holds), which spares a datetime per record.
    plain = {**AVRO, "fields": [{"name": "date", "type": "long"}, *AVRO["fields"][1:]]}
    schema = fastavro.parse_schema(plain)
    numbers = flights.set_column(0, "date", flights["date"].cast(pa.int64()))
    buffer = io.BytesIO()
    for batch in numbers.to_batches(100_000):
        for row in batch.to_pylist():
            buffer.seek(0)
            buffer.truncate()
            fastavro.schemaless_writer(buffer, schema, row)
            yield buffer.getvalue()


def carry(kafka, folder, topic, payloads, table: dict, flights: pa.Table, prefix: bytes = b"", registry: str | None = None) -> None:
    kafka.create_topic(topic, PARTITIONS)
    started = time.monotonic()
    assert kafka.produce(topic, payloads, PARTITIONS, prefix) == ROWS
    print(f"\n[flights] produced {ROWS} records in {time.monotonic() - started:.1f} s", flush=True)
    sink = Sink(folder, kafka.bootstrap, table, registry=registry)
    ended = sink.until_caught_up(seconds_max=600).expect(0)
    cpu = ended.rusage.ru_utime + ended.rusage.ru_stime
    print(f"[flights] sunk in {ended.seconds:.1f} s, {cpu:.1f} s of CPU", flush=True)
    assert_all_read(sink.table("flights"), flights, COLUMNS)
    kafka.delete_topic(topic)


def test_every_flight_sent_as_json_is_read_back_exactly(kafka, folder, topic, flights):
    carry(kafka, folder, topic, json_payloads(flights), json_table("flights", topic, DDL), flights)


def test_every_flight_sent_as_registry_framed_avro_is_read_back_exactly(kafka, registry, folder, topic, flights):
    prefix = confluent_prefix(registry.register(f"{topic}-value", AVRO))
    carry(kafka, folder, topic, avro_payloads(flights), avro_table("flights", topic), flights, prefix, registry.url)
