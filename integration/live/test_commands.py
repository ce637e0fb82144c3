"""Owns the commands around `run`: validate, offsets show, verify, demo, the HTTP pages and the drain. Not what `run` writes in detail (other scenarios)."""

import json
import shutil

import pyarrow.parquet as pq
import pytest

from audit.audit import audit, live_files, read_log
from audit.compare import json_record

from .load import Load
from .readers import READERS, batches, duckdb_connection
from .sink import Sink, json_table, lakeward
from .test_bad_input import good

DDL = "n long, text string"


@pytest.fixture
def sunk(kafka, folder, topic) -> Sink:
    """A good table of 300 records in 3 topic partitions."""
    kafka.create_topic(topic, 3)
    kafka.produce(topic, good(300), 3)
    sink = Sink(folder, kafka.bootstrap, json_table("events", topic, DDL))
    sink.until_caught_up().expect(0)
    return sink


def test_validate_accepts_a_good_config_and_connect_checks_the_world(kafka, folder, topic):
    kafka.create_topic(topic, 1)
    sink = Sink(folder, kafka.bootstrap, json_table("events", topic, DDL))
    sink.command("validate").expect(0)
    sink.command("validate", "--connect", seconds_max=90).expect(0)
    assert list(sink.lake.rglob("*.json")) == [], "validate wrote a table"
    sink.document["tables"][0]["topics"] = [f"{topic}.missing"]
    sink.write()
    sink.command("validate").expect(0)
    ended = sink.command("validate", "--connect", "--timeout", "5s", seconds_max=90).expect(2, 3)
    assert f"{topic}.missing" in ended.stderr + ended.stdout, ended


def test_offsets_show_names_committed_and_end_offsets(kafka, sunk, topic):
    shown = sunk.command("offsets show").expect(0)
    rows = {tuple(line.split()) for line in shown.stdout.splitlines()}
    for partition, end in kafka.end_offsets(topic).items():
        assert ("events", topic, str(partition), "0", str(end), str(end), "0") in rows, shown
    # One topic partition falls behind.
    kafka.produce(topic, good(7), 1)
    rows = {tuple(line.split()) for line in sunk.command("offsets show").expect(0).stdout.splitlines()}
    end = kafka.end_offsets(topic)[0]
    assert ("events", topic, "0", "0", str(end - 7), str(end), "7") in rows, rows


def test_verify_proves_a_good_table(sunk):
    sunk.command("verify").expect(0)
    sunk.command("verify", "--deep", "--against-kafka").expect(0)


def test_verify_finds_a_deleted_file(sunk):
    victim = next(iter(live_files(sunk.table("events"))))
    (sunk.table("events") / victim).unlink()
    ended = sunk.command("verify").expect(5)
    assert victim.split("/")[-1] in ended.stdout + ended.stderr, ended


def test_verify_finds_a_file_cut_short(sunk):
    victim = sunk.table("events") / next(iter(live_files(sunk.table("events"))))
    victim.write_bytes(victim.read_bytes()[:-100])
    sunk.command("verify").expect(5)


def test_deep_verify_finds_a_duplicated_row(sunk, topic):
    table = sunk.table("events")
    log = read_log(table)
    path, add = next(iter(live_files(table).items()))
    copy = "copy-of-a-row.parquet"
    row = pq.ParquetFile(table / path).read().slice(0, 1)
    pq.write_table(row, table / copy)
    action = {**add, "path": copy, "size": (table / copy).stat().st_size, "stats": json.dumps({"numRecords": 1})}
    version = log.commits[-1].version + 1
    entry = [{"commitInfo": {"operation": "WRITE", "timestamp": add["modificationTime"]}}, {"add": action}]
    (table / "_delta_log" / f"{version:020}.json").write_text("\n".join(map(json.dumps, entry)))
    ended = sunk.command("verify", "--deep").expect(5)
    assert str(row["_kafka_offset"][0].as_py()) in ended.stdout + ended.stderr and topic in ended.stdout + ended.stderr, ended


def lose_a_row(table, operation: str, is_data_change: bool) -> int:
    """Replaces a file by one with a row less, in a commit that says it did something else. Returns the lost offset."""
    path, add = next((path, add) for path, add in live_files(table).items() if json.loads(add["stats"])["numRecords"] > 1)
    rows = pq.ParquetFile(table / path).read()
    shorter = "one-row-less.parquet"
    pq.write_table(rows.slice(1), table / shorter)
    remove = {"path": path, "deletionTimestamp": add["modificationTime"], "dataChange": is_data_change, "partitionValues": add["partitionValues"], "size": add["size"]}
    replaced = {"path": shorter, "size": (table / shorter).stat().st_size, "dataChange": is_data_change, "stats": json.dumps({"numRecords": rows.num_rows - 1})}
    entry = [
        {"commitInfo": {"operation": operation, "timestamp": add["modificationTime"]}},
        {"remove": remove},
        {"add": {**add, **replaced}},
    ]
    version = read_log(table).commits[-1].version + 1
    (table / "_delta_log" / f"{version:020}.json").write_text("\n".join(map(json.dumps, entry)))
    return rows["_kafka_offset"][0].as_py()


def test_verify_finds_a_row_that_a_compaction_lost(sunk):
    lost = lose_a_row(sunk.table("events"), "OPTIMIZE", is_data_change=False)
    sunk.command("verify", "--deep").expect(5)
    ended = sunk.command("verify", "--deep", "--against-kafka").expect(5)
    assert str(lost) in ended.stdout + ended.stderr, ended


def test_verify_finds_a_row_that_was_never_written(sunk):
    """A commit whose span holds a record that its file does not, with sizes and statistics that agree with the file."""
    table = sunk.table("events")
    path, add = next(iter(live_files(table).items()))
    rows = pq.ParquetFile(table / path).read()
    pq.write_table(rows.slice(1), table / path)
    version = next(commit.version for commit in read_log(table).commits if commit.adds)
    file = table / "_delta_log" / f"{version:020}.json"
    actions = [json.loads(line) for line in file.read_text().splitlines()]
    for action in actions:
        if action.get("add", {}).get("path") == path:
            action["add"].update(size=(table / path).stat().st_size, stats=json.dumps({"numRecords": rows.num_rows - 1}))
    file.write_text("\n".join(map(json.dumps, actions)))
    lost = str(rows["_kafka_offset"][0].as_py())
    sunk.command("verify", "--deep").expect(5)
    ended = sunk.command("verify", "--deep", "--against-kafka").expect(5)
    assert lost in ended.stdout + ended.stderr, f"{lost} is not named\n{ended}"


def test_verify_does_not_claim_the_presence_of_rows_that_a_user_deleted(sunk):
    lose_a_row(sunk.table("events"), "DELETE", is_data_change=True)
    ended = sunk.command("verify", "--deep", "--against-kafka").expect(0)
    proved = [line for line in ended.stdout.splitlines() if line.startswith("proved")]
    assert not [line for line in proved if "each is in the table" in line or "as many as the spans declare" in line], f"a row is gone\n{ended}"
    assert "deleted" in ended.stdout, ended


def test_the_demo_leaves_a_table_that_duckdb_reads_and_refuses_a_folder_with_content(folder):
    target = folder / "demo"
    ended = lakeward("demo", "--records", "20000", "--dir", target, folder=folder, seconds_max=180).expect(0)
    count = duckdb_connection().sql(f"SELECT count(*), count(DISTINCT (_kafka_partition, _kafka_offset)) FROM delta_scan('{(target / 'orders').as_uri()}')").fetchone()
    assert count == (20000, 20000)
    assert "delta_scan" in ended.stdout and "spark" in ended.stdout.lower(), ended
    lakeward("demo", "--dir", target, folder=folder, seconds_max=60).expect_error((2,), "demo")


def test_sigterm_commits_what_was_consumed_and_nothing_comes_twice(kafka, folder, topic):
    kafka.create_topic(topic, 4)
    sink = Sink(folder, kafka.bootstrap, json_table("events", topic, "seq long, text string, amount decimal(9,2)", target_lag="60s"))
    load = Load(kafka, topic, 4)
    load.start()
    try:
        with sink.start() as running:
            sink.wait_until(running, lambda: sink.get("/readyz").ok)
            load.go_on(3)
            ended = running.drain(40).expect(0)
        rows = sum(json.loads(add["stats"])["numRecords"] for add in live_files(sink.table("events")).values())
        print(f"\n[drain] {ended.seconds:.1f} s, {rows} rows of {load.count} records")
        # With a lag of a minute only the drain can have committed them.
        assert rows > 0, "the drain committed nothing"
    finally:
        load.end()
    sink.until_caught_up().expect(0)
    report = audit(sink.table("events"), kafka.dump(topic), json_record)
    print(report, flush=True)
    assert report.records == load.count and report.is_clean, report


def test_the_http_pages_tell_the_state_of_the_sink(kafka, folder, topic):
    kafka.create_topic(topic, 2)
    kafka.produce(topic, good(1000), 2)
    sink = Sink(folder, kafka.bootstrap, json_table("events", topic, DDL, target_lag="1s"))
    with sink.start() as running:
        sink.wait_until(running, lambda: sink.get("/readyz").ok)
        sink.wait_until(running, lambda: sum(span["rows"] for commit in read_log(sink.table("events")).commits for span in commit.spans) == 1000)
        assert sink.get("/healthz").ok
        page = sink.get("/metrics").text
        samples = {line.split("{")[0].split(" ")[0] for line in page.splitlines() if line and not line.startswith("#")}
        assert samples and all(name.startswith("lakeward_") for name in samples), samples
        assert any(line.startswith("lakeward_rows_total") and line.endswith(" 1000") for line in page.splitlines()), page
        status = json.dumps(sink.get("/api/v1/status").json())
        assert "events" in status and topic in status
        running.drain().expect(0)


def test_a_table_committed_often_has_checkpoints_that_every_reader_reads_and_opens_fast(kafka, folder, topic):
    kafka.create_topic(topic, 1)
    settings = {"target_lag": "60s", "flush": {"rows": 20}, "maintenance": {"checkpoint_every_commits": 10}}
    sink = Sink(folder, kafka.bootstrap, json_table("events", topic, DDL, **settings))
    # Run after run: each commits at least once, whatever the buffer makes of `flush`.
    for turn in range(12):
        kafka.produce(topic, good(100, turn * 100), 1)
        sink.until_caught_up().expect(0)
    log = sink.table("events") / "_delta_log"
    checkpoints = sorted(log.glob("*.checkpoint*.parquet"))
    commits = len(list(log.glob("*[0-9].json")))
    print(f"\n[checkpoints] {len(checkpoints)} after {commits} commits")
    assert checkpoints and json.loads((log / "_last_checkpoint").read_text())["version"] >= 10
    # Readers must stand on the checkpoint: the entries below it are gone in a copy.
    copy = folder / "copy" / "events"
    shutil.copytree(sink.table("events"), copy)
    newest = int(checkpoints[-1].name.split(".")[0])
    for entry in (copy / "_delta_log").glob("*[0-9].json"):
        if int(entry.stem) < newest:
            entry.unlink()
    for reader in READERS:
        numbers = sorted(number for batch in batches(reader, copy, ["n"]) for number in batch.column(0).to_pylist())
        assert numbers == list(range(1200)), f"{reader} read {len(numbers)} rows from the checkpoint"
    report = audit(copy, kafka.dump(topic), json_record)
    assert not (report.lost or report.duplicated or report.altered), report
    started = sink.until_caught_up().expect(0)
    print(f"[checkpoints] an idle run on {commits} commits took {started.seconds:.1f} s")
    assert started.seconds < 15
