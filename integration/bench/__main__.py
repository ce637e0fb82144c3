"""Owns `make bench`: one JSON line per format. BENCH_RECORDS sets the size, BENCH_FORMATS the formats. Not the records themselves (orders)."""

import json
import os
import sys
import time

from audit.rows import digest
from components import Kafka, Registry, run_folder
from components.registry import confluent_prefix
from live.readers import batches
from live.sink import Sink, avro_table, json_table

from .orders import COLUMNS, DDL, SCHEMA, payloads

PARTITIONS = 12


def measure(kind: str, records: int, kafka: Kafka, registry: Registry) -> dict:
    topic = kafka.create_topic(f"bench.{kind}", PARTITIONS)
    prefix = confluent_prefix(registry.register(f"{topic}-value", SCHEMA)) if kind == "avro" else b""
    bytes_total = 0

    def flat():
        nonlocal bytes_total
        for chunk in payloads(kind, records):
            for payload in chunk:
                bytes_total += len(payload) + len(prefix)
                yield payload

    kafka.produce(topic, flat(), PARTITIONS, prefix)
    table = avro_table("orders", topic) if kind == "avro" else json_table("orders", topic, DDL)
    sink = Sink(run_folder() / f"bench-{kind}", kafka.bootstrap, table, registry=registry.url if kind == "avro" else None)
    # Loopback and page cache are warm for both formats alike; nothing else of ours runs besides the broker.
    ended = sink.until_caught_up(seconds_max=1800).expect(0)
    rows, result = digest(batches("deltalake", sink.table("orders"), COLUMNS), COLUMNS)
    if rows != records:
        raise SystemExit(f"bench: {rows} rows of {records} records are in the table")
    kafka.delete_topic(topic)
    cpu_seconds = ended.rusage.ru_utime + ended.rusage.ru_stime
    return {
        "bench": f"orders_{kind}",
        "records": records,
        "bytes_per_record": round(bytes_total / records, 1),
        "seconds": round(ended.seconds, 2),
        "records_per_second": round(records / ended.seconds),
        "mb_per_second": round(bytes_total / ended.seconds / 1e6, 1),
        "cpu_seconds": round(cpu_seconds, 2),
        "cpu_seconds_per_million": round(cpu_seconds / records * 1e6, 3),
        "records_per_cpu_second": round(records / cpu_seconds),
        "peak_rss_mib": round(ended.peak_memory_bytes / 2**20),
        "rows_sha256": result,
    }


def main() -> int:
    records = int(os.environ.get("BENCH_RECORDS") or 2_000_000)
    kinds = (os.environ.get("BENCH_FORMATS") or "avro,json").split(",")
    for kind in kinds:
        started = time.monotonic()
        # Encoded before the broker runs: generating takes the memory and the cores that are measured.
        next(iter(payloads(kind, records)), None)
        print(f"[bench] {records} {kind} payloads are ready after {time.monotonic() - started:.1f} s", file=sys.stderr, flush=True)
    with Registry() as registry, Kafka() as kafka:
        results = [measure(kind, records, kafka, registry) for kind in kinds]
    for result in results:
        print(json.dumps(result), flush=True)
    # The same orders in both formats must be the same rows.
    if len({result["rows_sha256"] for result in results}) != 1:
        print("bench: the formats left different rows in their tables", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
