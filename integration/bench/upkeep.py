"""Owns measuring maintenance: compaction beside Python deltalake and Spark on identical input, what it does for scans, what stays bounded. Not its safety (live/test_maintenance).

`python -m bench.upkeep compaction|effect|effect-s3|bounded`; one JSON line per result. The table is written straight into its log, so that thousands of commits cost seconds.
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

from components import S3, run_folder
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


def write_table(path: Path, tables, first: int = 0) -> None:
    """One commit for each table of rows, with statistics, as a sink would leave them; from version `first` on."""
    log = path / "_delta_log"
    log.mkdir(parents=True, exist_ok=True)
    schema = {"type": "struct", "fields": [{"name": name, "type": kind, "nullable": True, "metadata": {}} for name, _, kind in FIELDS]}
    head = [
        {"protocol": {"minReaderVersion": 1, "minWriterVersion": 2}},
        {"metaData": {"id": str(uuid.uuid4()), "format": {"provider": "parquet", "options": {}}, "schemaString": json.dumps(schema), "partitionColumns": [], "configuration": {}}},
    ]
    for version, table in enumerate(tables, first):
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


def maintain(folder: Path, name: str, *argv: str, where: dict | None = None, **maintenance):
    maintenance = {"compaction": {"cold_after": "100ms"}, **maintenance}
    table = json_table(name, "none", ", ".join(f"{column} {kind}" for column, _, kind in FIELDS), maintenance=maintenance)
    sink = Sink(folder, "127.0.0.1:1", table, **(where or {}))
    with Running(["maintain", "-c", sink.config, "--once", *argv, "--timeout", "600s"], folder) as running:
        return running.wait(1800).expect(0)


def by_lakeward(folder: Path, name: str) -> tuple[float, float, int]:
    """Seconds, CPU-seconds and peak MiB; the whole process."""
    ended = maintain(folder, name, "--only", "compact")
    return ended.seconds, ended.rusage.ru_utime + ended.rusage.ru_stime, ended.peak_memory_bytes // 2**20


def by_deltalake(folder: Path, name: str) -> tuple[float, float, int]:
    """The same of a process of its own, whose CPU counts from after its imports."""
    context = multiprocessing.get_context("spawn")
    answer = context.Queue()
    child = context.Process(target=_compact_by_deltalake, args=(str(folder / "lake" / name), answer))
    child.start()
    result = answer.get(timeout=1800)
    child.join()
    return result


def _compact_by_deltalake(path: str, answer) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF)
    started = time.monotonic()
    DeltaTable(path).optimize.compact(target_size=TARGET, max_concurrent_tasks=1, writer_properties=WriterProperties(compression="ZSTD", compression_level=1))
    seconds = time.monotonic() - started
    usage = resource.getrusage(resource.RUSAGE_SELF)
    peak = next(int(line.split()[1]) for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    answer.put((seconds, usage.ru_utime + usage.ru_stime - before.ru_utime - before.ru_stime, peak // 1024))


def by_spark(folder: Path, name: str) -> tuple[float, float, int]:
    """The same of Spark's JVM, warm: the session has optimised another table before."""
    session = spark()
    session.conf.set("spark.sql.parquet.compression.codec", "zstd")
    session.conf.set("parquet.compression.codec.zstd.level", "1")
    session.conf.set("spark.databricks.delta.optimize.maxFileSize", str(TARGET))
    jvm = session.sparkContext._gateway.jvm.java.lang.ProcessHandle.current().pid()
    if not (warm := folder / "lake" / "warm").exists():
        write_table(warm, (rows(number, 1_000) for number in range(20)))
        session.sql(f"OPTIMIZE delta.`{warm}`").collect()
    (Path(f"/proc/{jvm}/clear_refs")).write_text("5")
    started, before = time.monotonic(), _cpu_seconds(jvm)
    session.sql(f"OPTIMIZE delta.`{folder / 'lake' / name}`").collect()
    peak = next(int(line.split()[1]) for line in Path(f"/proc/{jvm}/status").read_text().splitlines() if line.startswith("VmHWM"))
    return time.monotonic() - started, _cpu_seconds(jvm) - before, peak // 1024


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def line(**what) -> None:
    print(json.dumps(what), flush=True)


def compaction() -> None:
    """Everybody merges a copy of the same files, in turns, so that what else runs on the machine meets all alike."""
    folder = run_folder() / "bench-compaction"
    shutil.rmtree(folder, ignore_errors=True)
    commits, count, turns = int(os.environ.get("BENCH_FILES") or 200), 20_000, int(os.environ.get("BENCH_TURNS") or 3)
    write_table(folder / "input", (rows(number, count) for number in range(commits)))
    files, size_bytes = size(folder / "input")
    expected = None
    results: dict[str, list] = {}
    for turn in range(turns):
        for who, merge in (("lakeward", by_lakeward), ("deltalake", by_deltalake), ("spark", by_spark)):
            name = f"{who}_{turn}"
            shutil.copytree(folder / "input", folder / "lake" / name)
            results.setdefault(who, []).append((*merge(folder, name), *size(folder / "lake" / name)))
            found = duckdb_connection().sql(QUERIES["full"].replace("{}", f"delta_scan('{(folder / 'lake' / name).as_uri()}')")).fetchall()
            expected = expected or found
            if [row[0] for row in found] != [row[0] for row in expected] or found[0][2] != expected[0][2]:
                raise SystemExit(f"bench: {name} holds {found}, and not {expected}")
            shutil.rmtree(folder / "lake" / name)
    for who, all_turns in results.items():
        took, used, memory, after, after_bytes = min(all_turns, key=lambda result: result[1])
        line(
            bench="compaction", who=who, files=files, mb=round(size_bytes / 1e6, 1), rows=commits * count, files_after=after, mb_after=round(after_bytes / 1e6, 1),
            seconds=round(took, 2), cpu_seconds=round(used, 2), mb_per_cpu_second=round(size_bytes / 1e6 / used, 1), peak_rss_mib=memory, turns=turns,
            all_cpu_seconds=[round(result[1], 2) for result in all_turns], load=round(os.getloadavg()[0], 1),
        )  # fmt: skip


QUERIES = {
    "full": "SELECT count(*), sum(amount), max(note) FROM {}",
    "filtered": "SELECT count(*), sum(amount) FROM {} WHERE id BETWEEN {low} AND {high}",
}


def timed(times: int, query) -> float:
    took = []
    for _ in range(times):
        started = time.monotonic()
        query()
        took.append(time.monotonic() - started)
    return round(statistics.median(took), 3)


def texts(total: int) -> dict[str, str]:
    return {name: query.replace("{low}", str(total // 2)).replace("{high}", str(total // 2 + 1000)) for name, query in QUERIES.items()}


def duckdb_scans(connection, uri: str, total: int, times: int = 5) -> dict[str, float]:
    return {f"duckdb_{name}": timed(times, lambda text=text: connection.sql(text.replace("{}", f"delta_scan('{uri}')")).fetchall()) for name, text in texts(total).items()}


def spark_scans(path: Path, total: int) -> dict[str, float]:
    return {f"spark_{name}": timed(5, lambda text=text: spark().sql(text.replace("{}", f"delta.`{path}`")).collect()) for name, text in texts(total).items()}


def maintain_until_quiet(folder: Path, **how) -> None:
    for turn in ("first", "once it is quiet"):
        ended = maintain(folder, "kept", "--only", "compact,checkpoint", **how)
        line(soak="maintained", turn=turn, commits=COMMITS, seconds=round(ended.seconds, 2), peak_rss_mib=ended.peak_memory_bytes // 2**20, said=ended.stdout.strip())
        # A table partition is quiet after twelve times `cold_after`: what the first merges made is merged once more.
        time.sleep(2)


def ratios(table: str, kept: dict, ideal: dict) -> None:
    line(soak="effect", table=table, **{key: round(kept[key] / ideal[key], 2) for key in kept if "_" in key})


def small_and_ideal(lake: Path) -> int:
    """The same rows as thousands of commits and as one; answers how many."""
    shutil.rmtree(lake, ignore_errors=True)
    write_table(lake / "small", (rows(number, ROWS) for number in range(COMMITS)))
    write_table(lake / "ideal", [pa.concat_tables([rows(number, ROWS) for number in range(COMMITS)])])
    return COMMITS * ROWS


def effect() -> None:
    folder = run_folder() / "soak-effect"
    lake = folder / "lake"
    total = small_and_ideal(lake)
    shutil.copytree(lake / "small", lake / "kept")
    maintain_until_quiet(folder)
    results = {}
    for name in ("ideal", "kept", "small"):
        files, size_bytes = size(lake / name)
        took = {**duckdb_scans(duckdb_connection(), (lake / name).as_uri(), total), **spark_scans(lake / name, total)}
        results[name] = {"files": files, "mb": round(size_bytes / 1e6, 1), **took}
        line(soak="effect", table=name, **results[name])
    ratios("kept over ideal", results["kept"], results["ideal"])


def effect_on_s3() -> None:
    """The same on an S3 server, where a reader does not list what a checkpoint stands for but pays for each request."""
    folder = run_folder() / "soak-effect-s3"
    total = small_and_ideal(folder / "lake")
    with S3() as s3:
        bucket, client = s3.create_bucket("soak"), s3.client
        for source, name in (("ideal", "ideal"), ("small", "kept")):
            for file in (folder / "lake" / source).rglob("*.*"):
                client.put_object(Bucket=bucket, Key=f"{name}/{file.relative_to(folder / 'lake' / source)}", Body=file.read_bytes())
        connection = duckdb_connection(s3)
        scans = {"small": duckdb_scans(connection, f"s3://{bucket}/kept", total, times=1)}
        maintain_until_quiet(folder, where={"url": f"s3://{bucket}", "options": s3.options})
        # In turns, since the server has the same two cores.
        for turn in range(2):
            for name in ("ideal", "kept"):
                scans[name] = duckdb_scans(connection, f"s3://{bucket}/{name}", total, times=7)
                line(soak="effect on S3", table=name, turn=turn, **scans[name])
        line(soak="effect on S3", table="small", **scans["small"])
        ratios("kept over ideal, S3", scans["kept"], scans["ideal"])


def bounded() -> None:
    """Commits in batches, each followed by maintenance on what is made hours older: files and log may not grow with the number of commits."""
    folder = run_folder() / "soak-bounded"
    shutil.rmtree(folder, ignore_errors=True)
    total, batch, count = int(os.environ.get("SOAK_BOUNDED") or 50_000), 1_000, 20
    path = folder / "lake" / "kept"
    most = []
    version = numbers = 0
    while numbers < total:
        write_table(path, (rows(number, count) for number in range(numbers, numbers + batch)), version)
        numbers += batch
        then = time.time() - 36_000
        for file in path.rglob("*"):
            os.utime(file, (then, then))
        maintain(folder, "kept", checkpoint_every_commits=100, log_retention="1h", vacuum={"older_than": "1h", "interval": "1m"}, compaction={"cold_after": "100ms", "target_file_size": "1MiB"})
        table = DeltaTable(path)
        version = table.version() + 1
        log = [file.stat().st_size for file in (path / "_delta_log").iterdir()]
        most.append((len(table.file_uris()), len(log), sum(log)))
    [(rows_found,)] = duckdb_connection().sql(f"SELECT count(*) FROM delta_scan('{path.as_uri()}')").fetchall()
    half = len(most) // 2
    for name, some in (("first half", most[:half]), ("second half", most[half:])):
        files, objects, size_bytes = (max(values) for values in zip(*some, strict=True))
        line(soak="bounded", commits=total, part=name, files_max=files, log_objects_max=objects, log_mb_max=round(size_bytes / 1e6, 2))
    if rows_found != total * count:
        raise SystemExit(f"soak: {rows_found} rows are left of {total * count}")


if __name__ == "__main__":
    {"compaction": compaction, "effect": effect, "effect-s3": effect_on_s3, "bounded": bounded}[sys.argv[1]]()
