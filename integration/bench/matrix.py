"""Owns which rows `make bench` measures: declared once, run by `measure`, shown by `page`. Not how."""

from dataclasses import dataclass, field

TOPIC_PARTITIONS = 12


@dataclass(frozen=True)
class Row:
    """One run of the sink from a topic's start to its end."""

    name: str
    says: str
    workload: str
    kind: str
    topic_partitions: int = TOPIC_PARTITIONS
    # Part of the records that a whole row has: large records are fewer.
    share: float = 1.0
    limits: dict = field(default_factory=dict)
    settings: dict = field(default_factory=dict)
    store: str = "file"
    # Whether the stages alone are measured beside it, on its own topic.
    with_stages: bool = False


ROWS = [
    Row("orders_avro", "15 columns, nested; registry-framed", "orders", "avro", with_stages=True),
    Row("orders_json", "the same orders as JSON", "orders", "json", with_stages=True),
    Row("orders_protobuf", "the same orders as Protobuf, registry-framed", "orders", "protobuf", with_stages=True),
    Row("narrow_avro", "5 columns", "narrow", "avro"),
    Row("narrow_json", "5 columns", "narrow", "json"),
    Row("wide_avro", "200 nullable columns", "wide", "avro", share=0.1),
    Row("wide_json", "200 nullable columns", "wide", "json", share=0.1),
    Row("web_requests_json", "the closest peer's job: 296 B of JSON, 4 topic partitions, partitioned by date", "web_requests", "json", 4,
        settings={"partition_by": ["date = date(meta.producer.timestamp)"]}),
    Row("orders_avro_1_topic_partition", "1 topic partition, hence 1 lane", "orders", "avro", 1),
    Row("orders_avro_200_topic_partitions", "200 topic partitions", "orders", "avro", 200),
    Row("orders_avro_24_table_partitions", "24 table partitions", "orders", "avro", settings={"partition_by": ["part = bucket(24, customer_id)"]}),
    Row("orders_avro_1_lane", "`limits.lanes: 1`", "orders", "avro", limits={"lanes": 1}),
    Row("orders_avro_256MiB", "`limits.memory: 256MiB`", "orders", "avro", limits={"memory": "256MiB"}),
    Row("orders_avro_4GiB", "`limits.memory: 4GiB`", "orders", "avro", limits={"memory": "4GiB"}),
    Row("orders_avro_s3", "to an S3 server (moto) on the same machine", "orders", "avro", store="s3"),
]  # fmt: skip
