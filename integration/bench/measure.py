"""Owns one measured row: fill the topic, run the sink to its end, read the table back, and say what it took. Not which rows there are (matrix)."""

import json
import os
import subprocess
from pathlib import Path

from components import S3, Kafka, Registry, run_folder
from components.registry import confluent_prefix
from audit.rows import digest
from live.readers import batches
from live.sink import Sink, avro_table, json_table

from .matrix import Row
from .workloads import Workload

BUCKET = "bench"


class Bench:
    """The components that all rows share; the S3 server starts with the first row that needs it."""

    def __init__(self, kafka: Kafka, registry: Registry, records: int):
        self.kafka = kafka
        self.registry = registry
        self.records = records
        self._s3: S3 | None = None

    def close(self) -> None:
        if self._s3 is not None:
            self._s3.__exit__(None, None, None)

    def s3(self) -> S3:
        if self._s3 is None:
            self._s3 = S3().__enter__()
            self._s3.create_bucket(BUCKET)
        return self._s3

    def prefix(self, workload: Workload, kind: str, topic: str) -> bytes:
        """What stands before each payload."""
        if kind == "json":
            return b""
        schema_id = self.registry.register(f"{topic}-value", workload.schemas[kind], kind)
        # Protobuf's message index: the first message of the schema.
        return confluent_prefix(schema_id) + (b"\x00" if kind == "protobuf" else b"")

    def table(self, workload: Workload, kind: str, topic: str, settings: dict) -> dict:
        if kind == "json":
            return json_table(workload.name, topic, workload.ddl, **settings)
        table = avro_table(workload.name, topic, **settings)
        return {**table, "value": {"format": kind}}

    def sink(self, row: Row, workload: Workload, topic: str) -> Sink:
        where = {}
        if row.store == "s3":
            s3 = self.s3()
            where = {"url": f"s3://{BUCKET}/{row.name}", "options": s3.options}
        limits = {"limits": row.limits} if row.limits else {}
        table = self.table(workload, row.kind, topic, row.settings)
        return Sink(run_folder() / f"bench-{row.name}", self.kafka.bootstrap, table, registry=self.registry.url, **where, **limits)

    def row(self, row: Row, workload: Workload) -> dict:
        topic = self.kafka.create_topic(f"bench.{row.name}", row.topic_partitions)
        records = max(1, int(self.records * row.share))
        prefix = self.prefix(workload, row.kind, topic)
        bytes_total = 0

        def flat():
            nonlocal bytes_total
            for chunk in workload.payloads(row.kind, records):
                bytes_total += sum(map(len, chunk)) + len(chunk) * len(prefix)
                yield from chunk

        self.kafka.produce(topic, flat(), row.topic_partitions, prefix)
        sink = self.sink(row, workload, topic)
        # Loopback and page cache are warm for all rows alike; nothing else of ours runs besides the broker.
        ended = sink.until_caught_up(seconds_max=1800).expect(0)
        table = sink.table(workload.name)
        if row.store == "s3":
            table = self.s3().download(BUCKET, f"{row.name}/{workload.name}", sink.lake / workload.name)
        rows, result = digest(batches("deltalake", table, workload.columns), workload.columns)
        if rows != records:
            raise SystemExit(f"bench: {rows} rows of {records} records are in the table of {row.name}")
        common = [column for column in workload.columns if column not in workload.differing]
        stages = self._stages(sink, records) if row.with_stages else {}
        self.kafka.delete_topic(topic)
        cpu_seconds = ended.rusage.ru_utime + ended.rusage.ru_stime
        files = list(table.rglob("*.parquet"))
        return {
            "bench": row.name,
            "records": records,
            "bytes_per_record": round(bytes_total / records, 1),
            "seconds": round(ended.seconds, 2),
            "records_per_second": round(records / ended.seconds),
            "mb_per_second": round(bytes_total / ended.seconds / 1e6, 1),
            "cpu_seconds": round(cpu_seconds, 2),
            "cpu_seconds_per_million": round(cpu_seconds / records * 1e6, 3),
            "records_per_cpu_second": round(records / cpu_seconds),
            "peak_rss_mib": round(ended.peak_memory_bytes / 2**20),
            "bytes_per_row": round(sum(file.stat().st_size for file in files) / records, 1),
            "files": len(files),
            **({"stages": {**stages, "of_pipeline": round(stages["sum_us"] / (cpu_seconds / records * 1e6), 3)}} if stages else {}),
            "rows_sha256": result,
            "common_sha256": digest(batches("deltalake", table, common), common)[1] if workload.differing else result,
        }

    @staticmethod
    def _stages(sink: Sink, records: int) -> dict:
        program = Path(os.environ["LAKEWARD_STAGES"])
        # Half a million records in memory are enough, and leave it to the broker.
        said = subprocess.run([program, sink.config, str(min(records, 500_000))], capture_output=True, text=True, timeout=600, cwd=sink.folder)
        if said.returncode != 0:
            raise SystemExit(f"bench: {program.name} ended with {said.returncode}: {said.stderr[-2000:]}")
        return json.loads(said.stdout)
