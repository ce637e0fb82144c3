"""Owns the dry run: what it says of tables that are made, grown or in trouble, and that nothing is written or joined by it. Not what a run does then (other scenarios)."""

import json
from pathlib import Path

from .sink import Sink, avro_table, json_table

DDL = "id long, region string, at timestamp"


def record(number: int, **more) -> bytes:
    return json.dumps({"id": number, "region": ["eu", "us", "ap"][number % 3], "at": f"2026-01-0{1 + number % 2}T00:00:00Z", **more}).encode()


def contents(folder: Path) -> dict:
    """Every file with its bytes and time: the store, as it is."""
    return {str(path): (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else None) for path in sorted(folder.rglob("*"))}


def groups(kafka) -> set[str]:
    return {group.group_id for group in kafka.admin.list_consumer_groups().result().valid}


def plan(sink: Sink, *argv, code: int = 0) -> dict:
    before = contents(sink.lake)
    ended = sink.command("plan", "--format", "json", *argv).expect(code)
    assert contents(sink.lake) == before, "the dry run changed the store"
    return json.loads(ended.stdout)


def test_a_plan_says_what_a_run_does_and_writes_nothing(kafka, folder, topic):
    kafka.create_topic(topic, 2)
    bad = b'{"id": "seven"}'
    kafka.produce(topic, [*(record(number) for number in range(60)), bad], 1)
    table = json_table("orders", topic, DDL, partition_by=["region", "day = date(at)"], errors={"mode": "suspend"})
    sink = Sink(folder, kafka.bootstrap, table)
    [planned] = plan(sink)["tables"]
    assert planned["problems"] == [] and planned["plan"]["version"] is None
    statement = planned["plan"]["statement"]
    assert statement.startswith("CREATE TABLE orders (\n  id BIGINT,\n  region STRING,\n  at TIMESTAMP,") and "PARTITIONED BY (region, day)" in statement
    assert {column["change"] for column in planned["plan"]["columns"]} == {"create"}
    assert planned["plan"]["protocol"] == {"reader_version": 1, "writer_version": 2, "features": []}
    starts = {start["partition"]: start for start in planned["plan"]["starts"]}
    assert set(starts) == {0, 1} and all(start["by"] == "start" and start["offset"] == 0 for start in starts.values())
    assert sum(start["to_read"] for start in starts.values()) == 61
    sample = planned["plan"]["sample"]
    assert (sample["records"], sample["rows"], sample["skipped"], sample["rejected"]) == (61, 60, 0, 1), sample
    [reject] = sample["rejects"]
    assert (reject["topic"], reject["code"], reject["path"]) == (topic, "type_mismatch", "id") and reject["offset"] >= 0, reject
    assert sample["table_partitions"]["count"] == 6 and sum(one["rows"] for one in sample["table_partitions"]["largest"]) == 60
    assert sink.document["name"] not in str(groups(kafka))
    assert plan(sink, "--sample", "0")["tables"][0]["plan"]["sample"] is None
    assert plan(sink, "--sample", "10")["tables"][0]["plan"]["sample"]["records"] == 10
    print(sink.command("plan").expect(0).stdout)

    # What it said is what a run does.
    sink.document["tables"][0]["errors"] = {"mode": "skip"}
    sink.write()
    sink.until_caught_up(seconds_max=90).expect(0)
    kafka.produce(topic, [record(60, note="n")], 1)
    [planned] = plan(sink)["tables"]
    assert planned["plan"]["version"] is not None and planned["plan"]["statement"] is None
    assert {column["change"] for column in planned["plan"]["columns"]} == {"keep"}
    assert {start["by"] for start in planned["plan"]["starts"]} == {"table"}
    assert sum(start["to_read"] for start in planned["plan"]["starts"]) == 1

    sink.document["tables"][0]["value"]["schema"]["ddl"] += ", note string"
    sink.write()
    [planned] = plan(sink)["tables"]
    assert planned["plan"]["statement"].endswith("ADD COLUMNS (note STRING)")
    assert [column["column"] for column in planned["plan"]["columns"] if column["change"] == "add"] == ["note"]
    assert planned["plan"]["sample"]["rows"] == 1
    print(sink.command("plan").expect(0).stdout)


def test_a_plan_hides_what_the_table_hides(kafka, folder, topic):
    kafka.create_topic(topic, 1)
    kafka.produce(topic, [record(1, email="c4n4ry"), b'{"email": c4n4ry}'], 1)
    table = json_table("orders", topic, f"{DDL}, email string", columns={"mask": {"email": "hmac_sha256"}, "mask_key": "k3y", "exclude": ["region"]})
    sink = Sink(folder, kafka.bootstrap, table)
    ended = sink.command("plan").expect(0)
    assert "c4n4ry" not in ended.stdout + ended.stderr and "masked: email by hmac_sha256" in ended.stdout and "left out: region" in ended.stdout
    assert plan(sink)["tables"][0]["plan"]["sample"]["rejected"] == 1


def test_what_stands_in_the_way_is_said_with_the_plan_and_by_the_exit_code(kafka, registry, folder, topic):
    kafka.create_topic(topic, 1)
    kafka.produce(topic, [record(number) for number in range(10)], 1)
    # Invalid: no schema for the table. The other table is planned all the same.
    other = avro_table("other", topic + ".other")
    kafka.create_topic(topic + ".other", 1)
    sink = Sink(folder, kafka.bootstrap, json_table("orders", topic, DDL), other, registry=registry.url)
    answer = plan(sink, code=3)
    assert [len(table["problems"]) for table in answer["tables"]] == [0, 1] and answer["tables"][0]["plan"]["sample"]["rows"] == 10
    assert "has no subject" in answer["tables"][1]["problems"][0]["sentence"]

    sink.document["tables"] = sink.document["tables"][:1]
    sink.write()
    sink.until_caught_up(seconds_max=90).expect(0)
    # The table is partitioned in another way than the config says.
    sink.document["tables"][0]["partition_by"] = ["region"]
    sink.write()
    [table] = plan(sink, code=5)["tables"]
    assert "partitioned by" in table["problems"][0]["sentence"], table
    del sink.document["tables"][0]["partition_by"]
    sink.write()
    kafka.delete_topic(topic)
    kafka.create_topic(topic, 1)
    [table] = plan(sink, code=5)["tables"]
    assert table["problems"][0]["kind"] == "corrupt" and "deleted and created again" in table["problems"][0]["sentence"]

    sink.document["kafka"]["bootstrap_servers"] = "127.0.0.1:1"
    sink.write()
    ended = sink.command("plan", "--timeout", "3s", seconds_max=60)
    ended.expect(3)
    sink.document["tables"][0]["value"]["schema"]["ddl"] = "id"
    sink.write()
    sink.command("plan").expect(2)
