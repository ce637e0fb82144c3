"""Owns reading a Delta table as users do: DuckDB, Spark and deltalake (Python). Not judging what they read beyond a digest of all rows."""

import functools
import secrets
import shutil
import time
from pathlib import Path

import duckdb
import duckdb_extension_delta
import duckdb_extension_httpfs
import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable, QueryBuilder

from audit.rows import BATCH_ROWS, digest
from components import cache_folder, run_folder

READERS = ("duckdb", "spark", "deltalake")


def duckdb_connection(s3=None) -> duckdb.DuckDBPyConnection:
    """One that can read tables on the S3 server too, if one is given."""
    connection = duckdb.connect(config={"memory_limit": "2GB", "threads": 2})
    for package in (duckdb_extension_delta, *([duckdb_extension_httpfs] if s3 else [])):
        # By path: LOAD by name would ask the network.
        connection.execute(f"LOAD '{next(Path(package.__file__).parent.rglob('*.duckdb_extension'))}'")
    if s3:
        key, secret, region = (s3.options[f"aws_{name}"] for name in ("access_key_id", "secret_access_key", "region"))
        where = f"ENDPOINT '127.0.0.1:{s3.port}', URL_STYLE 'path', USE_SSL false"
        connection.execute(f"CREATE SECRET (TYPE s3, KEY_ID '{key}', SECRET '{secret}', REGION '{region}', {where})")
    connection.execute("SET TimeZone = 'UTC'")
    return connection


@functools.cache
def spark():
    """One session for all scenarios: its JVM takes seconds to start and ends with Python."""
    from pyspark.sql import SparkSession

    # Delta's jars are not ours to mix: only what spark-pom.xml copied.
    jars = ",".join(str(jar) for jar in sorted((cache_folder() / "delta-jars").glob("*.jar")))
    folder = run_folder() / "spark"
    settings = {
        "spark.jars": jars,
        "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
        "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
        "spark.sql.shuffle.partitions": "4",
        # The default of 50 is for large logs and costs ten seconds a read.
        "spark.databricks.delta.snapshotPartitions": "2",
        "spark.ui.showConsoleProgress": "false",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.memory": "1g",
        "spark.ui.enabled": "false",
        "spark.local.dir": str(folder / "local"),
        "spark.sql.warehouse.dir": str(folder / "warehouse"),
        # A session of seconds is mostly class loading: the optimising compiler and a parallel collector would take the cores that it needs for that.
        "spark.driver.extraJavaOptions": f"-Dderby.system.home={folder} -XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
    }
    builder = SparkSession.builder.master("local[2]").appName("lakeward-live")
    for key, value in settings.items():
        builder = builder.config(key, value)
    session = builder.getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    return session


def batches(reader: str, table: Path, columns: list[str]):
    if reader == "duckdb":
        names = ", ".join(f'"{name}"' for name in columns)
        yield from duckdb_connection().sql(f"SELECT {names} FROM delta_scan('{table.as_uri()}')").to_arrow_reader(BATCH_ROWS)
    elif reader == "deltalake":
        opened = DeltaTable(table)
        if any(str(field.type).startswith("PrimitiveType(\"decimal") for field in opened.schema().fields if field.name in opened.metadata().partition_columns):
            # Its Arrow dataset spells a negative partition value "-12.-3400" and fails on it (as its own writer does); its query engine reads it.
            names = ", ".join(f'"{name}"' for name in columns)
            yield from pa.table(QueryBuilder().register("read", opened).execute(f"SELECT {names} FROM read")).to_batches(BATCH_ROWS)
        else:
            yield from opened.to_pyarrow_dataset().to_batches(columns=columns, batch_size=BATCH_ROWS)
    else:
        # Through Parquet files instead of a collect: its heap stays small whatever the table's size.
        target = run_folder() / f"spark-read-{secrets.token_hex(4)}"
        try:
            spark().read.format("delta").load(str(table)).select(*[f"`{name}`" for name in columns]).write.parquet(str(target))
            for file in sorted(target.glob("*.parquet")):
                yield from pq.ParquetFile(file).iter_batches(BATCH_ROWS)
        finally:
            shutil.rmtree(target, ignore_errors=True)


def assert_all_read(table: Path, source, columns: list[str]) -> None:
    """Each reader finds exactly the rows of the source (record batches or a table), as a multiset."""
    expected = digest([source] if isinstance(source, (pa.Table, pa.RecordBatch)) else source, columns)
    print(f"\n[readers] {'source':10} {expected[0]:>9} rows {expected[1][:16]}", flush=True)
    for reader in READERS:
        started = time.monotonic()
        found = digest(batches(reader, table, columns), columns)
        print(f"[readers] {reader:10} {found[0]:>9} rows {found[1][:16]} in {time.monotonic() - started:.1f} s", flush=True)
        assert found == expected, f"{reader} reads {found} from {table.name}, the source is {expected}\n{first_difference(reader, table, source, columns)}"


def first_difference(reader: str, table: Path, source, columns: list[str]) -> str:
    """Rows of only one side, for tables small enough to look at."""
    if not isinstance(source, pa.Table) or source.num_rows > 200_000:
        return ""
    found = [repr(row) for batch in batches(reader, table, columns) for row in batch.select(columns).to_pylist(maps_as_pydicts="lossy")]
    wanted = [repr(row) for row in source.select(columns).to_pylist(maps_as_pydicts="lossy")]
    missing = sorted(set(wanted) - set(found))[:2]
    extra = sorted(set(found) - set(wanted))[:2]
    return f"only in the source: {missing}\nonly in the table: {extra}"
