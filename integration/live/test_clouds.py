"""Owns tables on Azure (Azurite) and on Google Cloud Storage (its dialect on a fake): what a run writes, a crash, two instances, maintenance. Not S3 (test_s3)."""

import os
import signal
from dataclasses import dataclass
from typing import Callable

import pyarrow as pa
import pytest

from audit.audit import audit
from audit.compare import json_record

from .load import Load, share
from .readers import assert_all_read
from .sink import Sink, json_table

DDL = "seq long, text string, amount decimal(9,2)"


@dataclass
class Lake:
    """A fresh bucket or container: the URL of its tables, the options to reach it, and how a table is copied out of it."""

    url: str
    options: dict
    download: Callable


@pytest.fixture(params=["azure", "google"])
def lake(request) -> Lake:
    name = f"lake-{os.urandom(4).hex()}"
    if request.param == "azure":
        azure = request.getfixturevalue("azure")
        azure.create_container(name)
        return Lake(f"az://{name}/bronze", azure.options, lambda target: azure.download(name, "bronze/events", target))
    s3 = request.getfixturevalue("s3")
    s3.create_bucket(name)
    return Lake(f"gs://{name}/bronze", s3.google_options, lambda target: s3.download(name, "bronze/events", target))


def sink_on(lake: Lake, kafka, folder, topic: str, **settings) -> Sink:
    return Sink(folder, kafka.bootstrap, json_table("events", topic, DDL, **settings), url=lake.url, options=lake.options)


def test_a_table_in_another_cloud_is_read_back_exactly(lake, kafka, folder, topic):
    kafka.create_topic(topic, 4)
    kafka.produce(topic, (b'{"seq": %d, "text": "a/b c%%20", "amount": "1.25"}' % number for number in range(20_000)), 4)
    # The partition value is hostile to a path, and the path to a URL.
    sink = sink_on(lake, kafka, folder, topic, partition_by=["text"])
    sink.until_caught_up().expect(0)
    sink.command("verify", "--deep").expect(0)
    table = lake.download(folder / "copy")
    report = audit(table, kafka.dump(topic), json_record)
    print(f"\n{report}")
    assert report.is_clean, report
    kind = pa.schema([("seq", pa.int64()), ("text", pa.string())])
    assert_all_read(table, pa.table({"seq": range(20_000), "text": ["a/b c%20"] * 20_000}, schema=kind), kind.names)


def test_two_instances_and_a_kill_leave_a_table_in_another_cloud_exact(lake, kafka, folder, topic):
    kafka.create_topic(topic, 8)
    first = sink_on(lake, kafka, folder / "first", topic, target_lag="1s")
    second = sink_on(lake, kafka, folder / "second", topic, target_lag="1s")
    load = Load(kafka, topic)
    share(load, first, second, lambda one: one.signal(signal.SIGKILL))
    report = audit(lake.download(folder / "copy"), kafka.dump(topic), json_record)
    print(f"\n{report}")
    assert report.records == load.count and report.is_clean, report


def test_maintenance_works_in_another_cloud(lake, kafka, folder, topic):
    kafka.create_topic(topic, 2)
    sink = sink_on(lake, kafka, folder, topic)
    for number in range(6):
        kafka.produce(topic, (b'{"seq": %d, "text": "t", "amount": "1.25"}' % seq for seq in range(number * 500, number * 500 + 500)), 2)
        sink.until_caught_up().expect(0)
    before = audit(lake.download(folder / "before"), kafka.dump(topic), json_record)
    sink.document["tables"][0]["maintenance"] = {"compaction": {"cold_after": "1s", "min_files": 4}, "checkpoint_every_commits": 5}
    sink.write()
    sink.command("maintain", "--once").expect(0)
    after = audit(lake.download(folder / "after"), kafka.dump(topic), json_record)
    print(f"\n{before}\n{after}")
    assert before.is_clean and after.is_clean, (before, after)
    assert after.files < before.files, (before, after)
    # Staged under another name, read back, then renamed, which a store does by copying.
    assert list((folder / "after" / "_delta_log").glob("*.checkpoint.parquet")), "no checkpoint was written"
    assert not list((folder / "after").rglob("_lakeward_staging*/*")), "what was staged is left"


def test_a_bucket_in_another_cloud_that_is_not_there_is_one_clear_sentence(lake, kafka, folder, topic):
    kafka.create_topic(topic, 1)
    lake.url = lake.url.replace("://lake-", "://no-such-")
    ended = sink_on(lake, kafka, folder, topic).until_caught_up("--timeout", "5s", seconds_max=60)
    ended.expect_error((2, 3), "no-such-")


def test_an_azure_key_that_is_wrong_is_refused_and_not_shown(azure, kafka, folder, topic):
    kafka.create_topic(topic, 1)
    container = azure.create_container(f"lake-{os.urandom(4).hex()}")
    wrong = "d3Jvbmcta2V5LXdyb25nLWtleQ=="
    lake = Lake(f"az://{container}/bronze", {**azure.options, "azure_storage_account_key": wrong}, lambda target: target)
    ended = sink_on(lake, kafka, folder, topic).until_caught_up("--timeout", "5s", seconds_max=60)
    ended.expect_error((2, 3), "AuthorizationFailure")
    assert wrong not in ended.stderr + ended.stdout
