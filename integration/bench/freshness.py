"""Owns how soon a record can be read: from its time stamp in Kafka to the commit that names its file, at a steady rate, with compaction on. And how soon a sink starts.

A record's time stamp is taken when it is handed to the producer, so batching and the broker are in the figure; the commit's time is that of its log entry's file.
"""

import json
import re
import time
from datetime import datetime
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pyarrow.parquet as pq

from components import run_folder
from live.sink import Running, Sink

from .matrix import TOPIC_PARTITIONS
from .measure import Bench
from .workloads import Workload

RATE = 50_000
TURN_SECONDS = 0.01


def measure(bench: Bench, workload: Workload, seconds: int) -> list[dict]:
    topic = bench.kafka.create_topic("bench.freshness", TOPIC_PARTITIONS)
    prefix = bench.prefix(workload, "avro", topic)
    payloads = [prefix + payload for chunk in workload.payloads("avro", RATE) for payload in chunk]
    settings = {"target_lag": "1s", "maintenance": {"compaction": {"cold_after": "2s"}}}
    sink = Sink(run_folder() / "bench-freshness", bench.kafka.bootstrap, bench.table(workload, "avro", topic, settings), registry=bench.registry.url)
    bench.kafka.produce(topic, payloads[:TOPIC_PARTITIONS], TOPIC_PARTITIONS)
    spawned = time.time()
    with sink.start() as running:
        sink.wait_until(running, lambda: list(commits(sink.table(workload.name))))
        start = started(running, sink.table(workload.name), spawned)
        produced = steadily(bench, topic, payloads, seconds)
        sink.wait_until(running, lambda: rows(sink.table(workload.name)) >= produced + TOPIC_PARTITIONS)
        compactions = sum(1 for _, actions in entries(sink.table(workload.name)) if operation(actions) == "OPTIMIZE")
        ended = running.drain().expect(0)
    cpu = ended.rusage.ru_utime + ended.rusage.ru_stime
    waits = np.sort(np.concatenate([wait for _, wait in list(commits(sink.table(workload.name)))[1:]]))
    bench.kafka.delete_topic(topic)
    fresh = {
        "bench": "freshness",
        "records": produced,
        "records_per_second": round(produced / seconds),
        "target_lag_ms": 1000,
        "commits": len(list(commits(sink.table(workload.name)))),
        "compactions": compactions,
        "p50_ms": round(float(waits[len(waits) // 2])),
        "p99_ms": round(float(waits[int(len(waits) * 0.99)])),
        "max_ms": round(float(waits[-1])),
        "cpu_seconds": round(cpu, 2),
        "peak_rss_mib": round(ended.peak_memory_bytes / 2**20),
    }
    return [fresh, {"bench": "start", **start}]


def steadily(bench: Bench, topic: str, payloads: list[bytes], seconds: int) -> int:
    """Produces at RATE for so long, and says how many."""
    producer = bench.kafka.producer(linger_ms=5)
    each = int(RATE * TURN_SECONDS)
    began, produced = time.monotonic(), 0
    for turn in range(int(seconds / TURN_SECONDS)):
        for index in range(produced, produced + each):
            producer.produce(topic, value=payloads[index % len(payloads)], partition=(index >> 6) % TOPIC_PARTITIONS)
        produced += each
        producer.poll(0)
        time.sleep(max(0.0, began + (turn + 1) * TURN_SECONDS - time.monotonic()))
    if producer.flush(60):
        raise SystemExit("bench: records were not delivered")
    return produced


def entries(table: Path):
    """The log's entries in order, with the time of each."""
    for file in sorted((table / "_delta_log").glob("*.json")):
        if re.fullmatch(r"\d{20}\.json", file.name):
            yield file.stat().st_mtime * 1000, [json.loads(line) for line in file.read_text().splitlines()]


def operation(actions: list[dict]) -> str:
    return next((action["commitInfo"]["operation"] for action in actions if "commitInfo" in action), "")


def appends(table: Path):
    for at_ms, actions in entries(table):
        added = [action["add"] for action in actions if "add" in action]
        if added and operation(actions) == "STREAMING UPDATE":
            yield at_ms, added


def rows(table: Path) -> int:
    return sum(json.loads(add["stats"])["numRecords"] for _, added in appends(table) for add in added)


def commits(table: Path):
    """Each append's time and how long each of its records had waited, in milliseconds."""
    for at_ms, added in appends(table):
        stamps = [pq.read_table(table / unquote(add["path"]), columns=["_kafka_timestamp"])["_kafka_timestamp"].cast("int64").to_numpy() for add in added]
        yield at_ms, at_ms - np.concatenate(stamps) / 1000


def started(running: Running, table: Path, spawned: float) -> dict:
    """From the process's start to the subscription, and from the assignment to the first commit, as its log has them."""
    first_commit = next(iter(appends(table)))[0] / 1000
    at = {}
    for line in running.said().splitlines():
        if line.startswith("{"):
            event = json.loads(line)
            message = event.get("message") or event.get("fields", {}).get("message")
            at.setdefault(message, datetime.fromisoformat(event["timestamp"]).timestamp())
    return {
        "start_to_subscribed_ms": round((at["subscribed"] - spawned) * 1000),
        "assigned_to_first_commit_ms": round((first_commit - at["assigned"]) * 1000),
    }
