"""Owns measuring maintenance: compaction beside Python deltalake on identical input, and what it does for scans. Not its safety (live/test_maintenance).

`python -m bench.upkeep compaction|effect`; one JSON line per result. The table is written straight into its log, so that thousands of commits cost seconds.
"""

import json
import multiprocessing
import os
import resource
import shutil
import statistics
import sys
import time
import uuid
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable, WriterProperties

from components import run_folder
from live.readers import duckdb_connection, spark
from live.sink import Running, Sink, json_table

COMMITS = int(os.environ.get("SOAK_COMMITS") or 5_000)
ROWS = int(os.environ.get("SOAK_ROWS") or 400)
TARGET = 256 * 2**20
FIELDS = [("id", pa.int64(), "long"), ("status", pa.string(), "string"), ("amount", pa.float64(), "double"), ("note", pa.string(), "string"), ("at", pa.int64(), "long")]
STATUSES = np.array(["CREATED", "PAID", "PACKED", "SHIPPED", "DELIVERED"])


def rows(number: int, count: int) -> pa.Table:
    draw = np.random.default_rng([7, number])
    first = number * count
    columns = [
        np.arange(first, first + count),
        STATUSES[draw.integers(0, 5, count)],
        draw.integers(0, 10_000_000, count) / 100,
        np.char.add("note ", draw.integers(0, 10**9, count).astype(str)),
        1_767_225_600_000 + np.arange(first, first + count) * 3,
    ]
    return pa.table([pa.array(column, kind) for column, (_, kind, _) in zip(columns, FIELDS, strict=True)], names=[name for name, _, _ in FIELDS])


def write_table(path: Path, tables) -> None:
    """One commit for each table of rows, with statistics, as a sink would leave them."""
    log = path / "_delta_log"
    log.mkdir(parents=True)
    schema = {"type": "struct", "fields": [{"name": name, "type": kind, "nullable": True, "metadata": {}} for name, _, kind in FIELDS]}
    head = [
        {"protocol": {"minReaderVersion": 1, "minWriterVersion": 2}},
        {"metaData": {"id": str(uuid.uuid4()), "format": {"provider": "parquet", "options": {}}, "schemaString": json.dumps(schema), "partitionColumns": [], "configuration": {}}},
    ]
    for version, table in enumerate(tables):
        name = f"part-{uuid.uuid4()}.parquet"
        pq.write_table(table, path / name, compression="zstd", compression_level=1)
        low, high = table["id"][0].as_py(), table["id"][-1].as_py()
        stats = {"numRecords": table.num_rows, "minValues": {"id": low}, "maxValues": {"id": high}, "nullCount": {"id": 0}}
        then = int(time.time() * 1000) - 3_600_000
        add = {"path": name, "partitionValues": {}, "size": (path / name).stat().st_size, "modificationTime": then, "dataChange": True, "stats": json.dumps(stats)}
        actions = [{"commitInfo": {"timestamp": then, "operation": "WRITE"}}, *(head if version == 0 else []), {"add": add}]
        (log / f"{version:020}.json").write_text("".join(json.dumps(action) + "\n" for action in actions))


def size(path: Path) -> tuple[int, int]:
    files = [Path(uri.removeprefix("file://")) for uri in DeltaTable(path).file_uris()]
    return len(files), sum(file.stat().st_size for file in files)


def maintain(folder: Path, name: str, *argv: str):
    table = json_table(name, "none", ", ".join(f"{column} {kind}" for column, _, kind in FIELDS), maintenance={"compaction": {"cold_after": "100ms"}})
    sink = Sink(folder, "127.0.0.1:1", table)
    with Running(["maintain", "-c", sink.config, "--once", *argv, "--timeout", "600s"], folder) as running:
        return running.wait(1800).expect(0)


def _by_deltalake(path: str, answer) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF)
    started = time.monotonic()
    DeltaTable(path).optimize.compact(target_size=TARGET, max_concurrent_tasks=1, writer_properties=WriterProperties(compression="ZSTD", compression_level=1))
    seconds = time.monotonic() - started
    usage = resource.getrusage(resource.RUSAGE_SELF)
    peak = next(int(line.split()[1]) for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    answer.put((seconds, usage.ru_utime + usage.ru_stime - before.ru_utime - before.ru_stime, peak // 1024))


def line(**what) -> None:
    print(json.dumps(what), flush=True)


def compaction() -> None:
    folder = run_folder() / "bench-compaction"
    shutil.rmtree(folder, ignore_errors=True)
    commits, count = int(os.environ.get("BENCH_FILES") or 200), 20_000
    write_table(folder / "lake" / "theirs", (rows(number, count) for number in range(commits)))
    shutil.copytree(folder / "lake" / "theirs", folder / "lake" / "ours")
    files, size_bytes = size(folder / "lake" / "ours")
    ended = maintain(folder, "ours", "--only", "compact")
    cpu = ended.rusage.ru_utime + ended.rusage.ru_stime
    context = multiprocessing.get_context("spawn")
    answer = context.Queue()
    child = context.Process(target=_by_deltalake, args=(str(folder / "lake" / "theirs"), answer))
    child.start()
    seconds, their_cpu, peak = answer.get(timeout=1800)
    child.join()
    for who, took, used, memory in (("lakeward", ended.seconds, cpu, ended.peak_memory_bytes // 2**20), ("deltalake", seconds, their_cpu, peak)):
        after, after_bytes = size(folder / "lake" / ("ours" if who == "lakeward" else "theirs"))
        line(
            bench="compaction", who=who, files=files, mb=round(size_bytes / 1e6, 1), rows=commits * count, files_after=after, mb_after=round(after_bytes / 1e6, 1),
            seconds=round(took, 2), cpu_seconds=round(used, 2), mb_per_cpu_second=round(size_bytes / 1e6 / used, 1), peak_rss_mib=memory,
        )  # fmt: skip


QUERIES = {
    "full": "SELECT count(*), sum(amount), max(note) FROM {}",
    "filtered": "SELECT count(*), sum(amount) FROM {} WHERE id BETWEEN {low} AND {high}",
}


def scans(path: Path, total: int) -> dict[str, float]:
    found = {}
    for name, query in QUERIES.items():
        text = query.replace("{low}", str(total // 2)).replace("{high}", str(total // 2 + 1000))
        connection = duckdb_connection()
        took = []
        for _ in range(5):
            started = time.monotonic()
            connection.sql(text.replace("{}", f"delta_scan('{path.as_uri()}')")).fetchall()
            took.append(time.monotonic() - started)
        found[f"duckdb_{name}"] = round(statistics.median(took), 3)
        took = []
        for _ in range(5):
            started = time.monotonic()
            spark().sql(text.replace("{}", f"delta.`{path}`")).collect()
            took.append(time.monotonic() - started)
        found[f"spark_{name}"] = round(statistics.median(took), 3)
    return found


def effect() -> None:
    folder = run_folder() / "soak-effect"
    shutil.rmtree(folder, ignore_errors=True)
    lake = folder / "lake"
    write_table(lake / "small", (rows(number, ROWS) for number in range(COMMITS)))
    write_table(lake / "ideal", [pa.concat_tables([rows(number, ROWS) for number in range(COMMITS)])])
    shutil.copytree(lake / "small", lake / "kept")
    total = COMMITS * ROWS
    ended = maintain(folder, "kept", "--only", "compact,checkpoint")
    line(soak="maintained", commits=COMMITS, seconds=round(ended.seconds, 2), peak_rss_mib=ended.peak_memory_bytes // 2**20, said=ended.stdout.strip())
    results = {name: {"files": size(lake / name)[0], "mb": round(size(lake / name)[1] / 1e6, 1), **scans(lake / name, total)} for name in ("ideal", "kept", "small")}
    for name, result in results.items():
        line(soak="effect", table=name, **result)
    line(soak="effect", table="kept over ideal", **{key: round(results["kept"][key] / results["ideal"][key], 2) for key in results["kept"] if "_" in key})


if __name__ == "__main__":
    {"compaction": compaction, "effect": effect}[sys.argv[1]]()
