"""Owns tables on an S3 server: one writer, two instances of one group on one table, and users without rights. Not faults of a store (offline), not other clouds."""

import os

import pyarrow as pa

from audit.audit import audit
from audit.compare import json_record

from components import S3

from .load import Load, share
from .readers import assert_all_read, duckdb_connection
from .sink import Sink, json_table

DDL = "seq long, text string, amount decimal(9,2)"


def sink_on_s3(kafka, s3, folder, topic: str, bucket: str, **settings) -> Sink:
    table = json_table("events", topic, DDL, **settings)
    return Sink(folder, kafka.bootstrap, table, url=f"s3://{bucket}/bronze", options=s3.options)


def test_a_table_on_s3_is_read_back_exactly(kafka, s3, folder, topic):
    bucket = s3.create_bucket(f"lake-{os.urandom(4).hex()}")
    kafka.create_topic(topic, 4)
    kafka.produce(topic, (b'{"seq": %d, "text": "t", "amount": "1.25"}' % number for number in range(20_000)), 4)
    sink_on_s3(kafka, s3, folder, topic, bucket).until_caught_up().expect(0)
    table = s3.download(bucket, "bronze/events", folder / "copy")
    report = audit(table, kafka.dump(topic), json_record)
    print(f"\n{report}")
    assert report.is_clean, report
    kind = pa.schema([("seq", pa.int64()), ("text", pa.string())])
    assert_all_read(table, pa.table({"seq": range(20_000), "text": ["t"] * 20_000}, schema=kind), kind.names)
    # And where it lies, as users do.
    found = duckdb_connection(s3).sql(f"SELECT count(*), sum(seq), sum(amount) FROM delta_scan('s3://{bucket}/bronze/events')").fetchall()
    assert found == [(20_000, sum(range(20_000)), 25_000)]


def test_two_instances_of_one_group_share_a_table_without_loss_or_duplicates(kafka, s3, folder, topic):
    bucket = s3.create_bucket(f"lake-{os.urandom(4).hex()}")
    kafka.create_topic(topic, 8)
    first = sink_on_s3(kafka, s3, folder / "first", topic, bucket, target_lag="1s")
    second = sink_on_s3(kafka, s3, folder / "second", topic, bucket, target_lag="1s")
    load = Load(kafka, topic)
    # The first leaves in an orderly way, under load.
    share(load, first, second, lambda one: one.drain().expect(0))
    report = audit(s3.download(bucket, "bronze/events", folder / "copy"), kafka.dump(topic), json_record)
    print(f"\n{report}")
    assert report.records == load.count and report.is_clean, report


def test_a_user_without_rights_is_refused_in_one_sentence_and_the_right_user_goes_on(kafka, folder, topic):
    kafka.create_topic(topic, 4)
    kafka.produce(topic, (b'{"seq": %d, "text": "t", "amount": "1.25"}' % number for number in range(1_000)), 4)
    with S3() as s3:
        bucket = s3.create_bucket(f"lake-{os.urandom(4).hex()}")
        stranger = s3.create_user("stranger")
        reader = s3.create_user("reader", Action=["s3:Get*", "s3:List*"], Resource="*")
        writer = s3.create_user("writer", Action="s3:*", Resource="*")
        s3.check_rights()
        sink = sink_on_s3(kafka, s3, folder, topic, bucket)
        for options in (stranger, reader):
            sink.document["storage"]["options"] = options
            sink.write()
            ended = sink.until_caught_up("--timeout", "5s", seconds_max=60)
            ended.expect_error((2, 3), "denied")
            assert options["aws_secret_access_key"] not in ended.stderr + ended.stdout
        sink.document["storage"]["options"] = writer
        sink.write()
        sink.until_caught_up().expect(0)
        table = s3.download(bucket, "bronze/events", folder / "copy", writer)
    report = audit(table, kafka.dump(topic), json_record)
    print(f"\n{report}")
    assert report.is_clean, report


def test_a_bucket_that_is_not_there_is_one_clear_sentence(kafka, s3, folder, topic):
    kafka.create_topic(topic, 1)
    ended = sink_on_s3(kafka, s3, folder, topic, "no-such-bucket-here").until_caught_up("--timeout", "5s", seconds_max=60)
    ended.expect_error((2, 3), "no-such-bucket-here")
