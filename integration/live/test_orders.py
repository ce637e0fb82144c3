"""Owns generated orders that visit every corner of the type mapping, as JSON and Avro, read back exactly and audited. Not volume (test_real_input)."""

import datetime
import io
import json
import random
import string
from decimal import Decimal

import fastavro
import pyarrow as pa
import pytest

from audit.audit import audit
from audit.compare import avro_record, json_record
from components.registry import confluent_prefix

from .readers import assert_all_read, batches
from .sink import Sink, avro_table, json_table

ROWS = 3_000
PARTITIONS = 3
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
# What breaks naive partition paths: separators, parents, escapes, nothing, other scripts, the look of a null and of a partition itself.
HOSTILE = ["a/b", "..", ".", "%", "%2F", "", "ü", "日本", " ", "a=b", "x y", "__HIVE_DEFAULT_PARTITION__", 'q"uote', "back\\slash", "#?&", "c:d", None]
UNICODE = ["", "plain", "Grüße", "日本語", "🚢🌊", "e\u0301", "tab\tline\n", '"quoted" \\ slashed', "\u0000null", "\u202eright to left"]


def nullable(kind):
    return ["null", kind]


DECIMAL = {"type": "bytes", "logicalType": "decimal", "precision": 38, "scale": 10}
AMOUNT = {"type": "bytes", "logicalType": "decimal", "precision": 18, "scale": 4}
TIMESTAMP = {"type": "long", "logicalType": "timestamp-micros"}
DATE = {"type": "int", "logicalType": "date"}
ITEM = {
    "type": "record",
    "name": "Item",
    "fields": [
        {"name": "sku", "type": nullable("string")},
        {"name": "qty", "type": nullable("int")},
        {"name": "price", "type": nullable({"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2})},
    ],
}
ADDRESS = {
    "type": "record",
    "name": "Address",
    "fields": [
        {"name": "street", "type": nullable("string")},
        {"name": "geo", "type": nullable({"type": "record", "name": "Geo", "fields": [{"name": "lat", "type": nullable("double")}, {"name": "lon", "type": nullable("float")}]})},
    ],
}
AVRO = {
    "type": "record",
    "name": "Order",
    "namespace": "live.orders",
    "fields": [
        {"name": "id", "type": "long"},
        {"name": "flag", "type": nullable("boolean")},
        {"name": "small", "type": nullable("int")},
        {"name": "large", "type": nullable("long")},
        {"name": "ratio", "type": nullable("float")},
        {"name": "weight", "type": nullable("double")},
        {"name": "note", "type": nullable("string")},
        {"name": "raw", "type": nullable("bytes")},
        {"name": "amount", "type": nullable(AMOUNT)},
        {"name": "huge", "type": nullable(DECIMAL)},
        {"name": "day", "type": nullable(DATE)},
        {"name": "at", "type": nullable(TIMESTAMP)},
        {"name": "at_millis", "type": nullable({"type": "long", "logicalType": "timestamp-millis"})},
        {"name": "status", "type": nullable({"type": "enum", "name": "Status", "symbols": ["NEW", "PAID", "SENT"]})},
        {"name": "address", "type": nullable(ADDRESS)},
        {"name": "items", "type": nullable({"type": "array", "items": nullable(ITEM)})},
        {"name": "tags", "type": {"type": "array", "items": "string"}},
        {"name": "grid", "type": nullable({"type": "array", "items": {"type": "array", "items": nullable("long")}})},
        {"name": "labels", "type": nullable({"type": "map", "values": nullable("long")})},
        {"name": "either", "type": ["null", "string", "long"]},
        {"name": "region", "type": nullable("string")},
    ],
}
ARROW = pa.schema([
    ("id", pa.int64()), ("flag", pa.bool_()), ("small", pa.int32()), ("large", pa.int64()), ("ratio", pa.float32()), ("weight", pa.float64()),
    ("note", pa.string()), ("raw", pa.binary()), ("amount", pa.decimal128(18, 4)), ("huge", pa.decimal128(38, 10)), ("day", pa.date32()),
    ("at", pa.timestamp("us", "UTC")), ("at_millis", pa.timestamp("us", "UTC")), ("status", pa.string()),
    ("address", pa.struct([("street", pa.string()), ("geo", pa.struct([("lat", pa.float64()), ("lon", pa.float32())]))])),
    ("items", pa.list_(pa.struct([("sku", pa.string()), ("qty", pa.int32()), ("price", pa.decimal128(9, 2))]))),
    ("tags", pa.list_(pa.string())), ("grid", pa.list_(pa.list_(pa.int64()))), ("labels", pa.map_(pa.string(), pa.int64())),
    ("either", pa.struct([("string", pa.string()), ("long", pa.int64())])), ("region", pa.string()),
])  # fmt: skip
# Each type that may be a partition value.
PARTITIONED = ["region", "day", "small", "flag", "large", "amount", "at"]
# What JSON's DDL can say: no bytes, no enum, no union.
JSON_COLUMNS = ["id", "flag", "small", "large", "ratio", "weight", "note", "amount", "huge", "day", "at", "address", "items", "tags", "grid", "labels", "region"]
DDL = (
    "id long, flag boolean, small int, large long, ratio float, weight double, note string, amount decimal(18,4), huge decimal(38,10), day date, at timestamp, "
    "address struct<street: string, geo: struct<lat: double, lon: float>>, items array<struct<sku: string, qty: int, price: decimal(9,2)>>, "
    "tags array<string>, grid array<array<long>>, labels map<string, long>, region string"
)


class Generator:
    """Orders as Python values. Every nullable place is null in about a sixth of the records."""

    def __init__(self, seed: int):
        self.random = random.Random(seed)

    def maybe(self, make):
        return None if self.random.random() < 0.17 else make()

    def decimal(self, precision: int, scale: int) -> Decimal:
        digits = self.random.choice([precision, precision, self.random.randint(1, precision), 1])
        unscaled = self.random.choice([10**digits - 1, self.random.randrange(10**digits), 0])
        # By digits and exponent: arithmetic would round to the context's 28 digits.
        return Decimal((self.random.randint(0, 1) if unscaled else 0, tuple(map(int, str(unscaled))), -scale))

    def instant(self, step_micros: int = 1) -> datetime.datetime:
        micros = self.random.choice([0, -1_000_000, self.random.randrange(-(10**15), 4 * 10**15)])
        return EPOCH + datetime.timedelta(microseconds=micros // step_micros * step_micros)

    def text(self) -> str:
        return self.random.choice([*UNICODE, "".join(self.random.choices(string.ascii_letters, k=20))])

    def float32(self) -> float:
        return self.random.choice([0.0, -1.5, self.random.randint(-(2**20), 2**20) / 64])

    def order(self, number: int) -> dict:
        pick, maybe = self.random, self.maybe
        return {
            "id": number,
            "flag": maybe(lambda: pick.random() < 0.5),
            "small": maybe(lambda: pick.choice([0, -(2**31), 2**31 - 1, pick.randint(-9, 9)])),
            "large": maybe(lambda: pick.choice([0, -(2**63), 2**63 - 1, pick.randint(-(10**12), 10**12)])),
            "ratio": maybe(self.float32),
            "weight": maybe(lambda: pick.choice([0.0, -0.0, 1e300, 5e-324, 0.1, pick.uniform(-1e6, 1e6)])),
            "note": maybe(self.text),
            "raw": maybe(lambda: pick.randbytes(pick.randint(0, 40))),
            "amount": maybe(lambda: self.decimal(18, 4)),
            "huge": maybe(lambda: self.decimal(38, 10)),
            "day": maybe(lambda: datetime.date(1969, 12, 25) + datetime.timedelta(days=pick.choice([0, 6, 7, 20_000 + number % 5]))),
            "at": maybe(self.instant),
            "at_millis": maybe(lambda: self.instant(1000)),
            "status": maybe(lambda: pick.choice(["NEW", "PAID", "SENT"])),
            "address": maybe(lambda: {"street": maybe(self.text), "geo": maybe(lambda: {"lat": maybe(lambda: pick.uniform(-90, 90)), "lon": maybe(self.float32)})}),
            "items": maybe(lambda: [maybe(self.item) for _ in range(pick.randint(0, 3))]),
            "tags": [self.text() for _ in range(pick.choice([0, 0, 1, 4]))],
            "grid": maybe(lambda: [[maybe(lambda: pick.randint(-9, 9)) for _ in range(pick.randint(0, 3))] for _ in range(pick.randint(0, 2))]),
            "labels": maybe(lambda: {self.text() + str(index): maybe(lambda: pick.randint(-9, 9)) for index in range(pick.randint(0, 2))}),
            "either": maybe(lambda: pick.choice(["text", "", 7, -(2**63)])),
            "region": pick.choice(HOSTILE),
        }

    def item(self) -> dict:
        pick, maybe = self.random, self.maybe
        return {"sku": maybe(self.text), "qty": maybe(lambda: pick.randint(-5, 5)), "price": maybe(lambda: self.decimal(9, 2))}


def arrow_rows(orders: list[dict], columns: list[str], empty_is_null: tuple[str, ...] = ()) -> pa.Table:
    """What the type mapping promises, as Arrow. Delta has no empty string in a partition column: it is null there."""
    rows = []
    for order in orders:
        row = dict(order)
        taken = row["either"]
        row["either"] = None if taken is None else {"string": taken if isinstance(taken, str) else None, "long": taken if isinstance(taken, int) else None}
        row["labels"] = None if row["labels"] is None else list(row["labels"].items())
        for name in empty_is_null:
            row[name] = None if row[name] == "" else row[name]
        rows.append(row)
    return pa.Table.from_pylist(rows, schema=ARROW).select(columns)


def json_payload(order: dict, pick: random.Random) -> bytes:
    """Nulls are written or left out; decimals are texts or, where JSON's number keeps every digit, numbers."""

    def encode(value):
        if isinstance(value, dict):
            return "{" + ", ".join(f"{json.dumps(key)}: {encode(item)}" for key, item in value.items() if item is not None or pick.random() < 0.5) + "}"
        if isinstance(value, list):
            return "[" + ", ".join(encode(item) for item in value) + "]"
        if isinstance(value, Decimal):
            text = format(value, "f")
            return text if pick.random() < 0.5 else f'"{text}"'
        if isinstance(value, datetime.datetime):
            return f'"{value.strftime("%Y-%m-%dT%H:%M:%S.%f")}Z"'
        if isinstance(value, datetime.date):
            return f'"{value.isoformat()}"'
        return json.dumps(value, ensure_ascii=pick.random() < 0.5)

    labels = order["labels"]
    # A map's null value is an entry and must not be left out.
    written = {name: order[name] for name in JSON_COLUMNS if name != "labels"}
    text = encode(written)
    if labels is not None:
        entries = ", ".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in labels.items())
        text = text[:-1] + f', "labels": {{{entries}}}}}'
    return text.encode()


def avro_payload(order: dict) -> bytes:
    buffer = io.BytesIO()
    fastavro.schemaless_writer(buffer, fastavro.parse_schema(AVRO), order)
    return buffer.getvalue()


def carry(kafka, folder, topic, orders, payloads, table: dict, columns, compare, prefix=b"", registry=None) -> None:
    kafka.create_topic(topic, PARTITIONS)
    kafka.produce(topic, payloads, PARTITIONS, prefix)
    sink = Sink(folder, kafka.bootstrap, table, registry=registry)
    sink.until_caught_up().expect(0)
    expect_clean(sink, "orders", kafka.dump(topic), compare)
    assert_all_read(sink.table("orders"), arrow_rows(orders, columns), columns)


def expect_clean(sink: Sink, name: str, dump, compare, topic: str | None = None) -> None:
    report = audit(sink.table(name), dump, compare, topics=topic and {topic})
    print(f"\n{name} {report}")
    assert report.is_clean, report


def test_orders_sent_as_json_are_read_back_exactly(kafka, folder, topic, seed):
    generator = Generator(seed)
    orders = [generator.order(number) for number in range(ROWS)]
    payloads = [json_payload(order, generator.random) for order in orders]
    carry(kafka, folder, topic, orders, payloads, json_table("orders", topic, DDL), JSON_COLUMNS, json_record)


def test_orders_sent_as_avro_are_read_back_exactly(kafka, registry, folder, topic, seed):
    generator = Generator(seed)
    orders = [generator.order(number) for number in range(ROWS)]
    prefix = confluent_prefix(registry.register(f"{topic}-value", AVRO))
    compare = avro_record(AVRO, prefix_bytes=5)
    carry(kafka, folder, topic, orders, map(avro_payload, orders), avro_table("orders", topic), ARROW.names, compare, prefix, registry.url)


def test_every_partition_value_type_is_read_back_exactly(kafka, folder, topic, seed):
    """One table per type of partition value, all in one sink."""
    generator = Generator(seed)
    orders = [generator.order(number) for number in range(120)]
    # Few distinct values each: a file is written per value. Every value and null must occur whatever the seed.
    orders = [{**order, **{column: orders[index % 20][column] for column in PARTITIONED if column != "region"}} for index, order in enumerate(orders)]
    for index, order in enumerate(orders):
        order["region"] = HOSTILE[index % len(HOSTILE)]
    for column in PARTITIONED:
        orders[7][column] = None
    topics = {column: f"{topic}.{column}" for column in PARTITIONED}
    for name in topics.values():
        kafka.create_topic(name, PARTITIONS)
        kafka.produce(name, [json_payload(order, generator.random) for order in orders], PARTITIONS)
    # A checkpoint after each commit: readers take the partition values from there, and the second run has to open it.
    settings = {"maintenance": {"checkpoint_every_commits": 1}}
    tables = [json_table(f"by_{column}", name, DDL, partition_by=[column], **settings) for column, name in topics.items()]
    sink = Sink(folder, kafka.bootstrap, *tables)
    sink.until_caught_up().expect(0)
    assert all(list((sink.table(f"by_{column}") / "_delta_log").glob("*.checkpoint*.parquet")) for column in topics)
    for name in topics.values():
        kafka.produce(name, [json_payload(order, generator.random) for order in orders], PARTITIONS)
    sink.until_caught_up().expect(0)
    orders = orders * 2
    dump = kafka.dump(*topics.values())
    for column, name in topics.items():
        expect_clean(sink, f"by_{column}", dump, json_record, name)
        assert_all_read(sink.table(f"by_{column}"), arrow_rows(orders, JSON_COLUMNS, (column,) if column == "region" else ()), JSON_COLUMNS)


def test_derived_partition_columns_hold_what_the_contract_says(kafka, folder, topic):
    instants = [datetime.datetime(2026, 2, 28, 23, 59, 59, tzinfo=datetime.UTC), datetime.datetime(1969, 12, 31, 23, 0, tzinfo=datetime.UTC), None]
    # The hashes of 34 and "iceberg" are the examples of Iceberg's specification.
    numbers = [(34, 2017239379 % 16, 30), (-1, None, -10), (None, None, None)]
    texts = [("iceberg", 1210000089 % 16, "ice"), ("日本語文", None, "日本語"), (None, None, None)]
    given, expected = [], []
    for index in range(15):
        at, (number, number_bucket, number_cut), (text, text_bucket, text_cut) = instants[index % 3], numbers[index % 3], texts[index % 3]
        given.append({"id": index, "at": None if at is None else at.isoformat().replace("+00:00", "Z"), "n": number, "s": text})
        derived = {} if at is None else {"y": at.year, "m": f"{at:%Y-%m}", "d": at.date(), "h": f"{at:%Y-%m-%d-%H}"}
        expected.append({"id": index, "at": at, "n": number, "s": text, **derived, "nb": number_bucket, "sb": text_bucket, "nt": number_cut, "st": text_cut})
    kafka.create_topic(topic, PARTITIONS)
    kafka.produce(topic, [json.dumps(row).encode() for row in given], PARTITIONS)
    by = ["y = year(at)", "m = month(at)", "d = date(at)", "h = hour(at)", "nb = bucket(16, n)", "sb = bucket(16, s)", "nt = truncate(10, n)", "st = truncate(3, s)"]
    sink = Sink(folder, kafka.bootstrap, json_table("orders", topic, "id long, at timestamp, n long, s string", partition_by=by))
    sink.until_caught_up().expect(0)
    kind = pa.schema([
        ("id", pa.int64()), ("at", pa.timestamp("us", "UTC")), ("n", pa.int64()), ("s", pa.string()), ("y", pa.int32()), ("m", pa.string()), ("d", pa.date32()), ("h", pa.string()),
        ("nb", pa.int32()), ("sb", pa.int32()), ("nt", pa.int64()), ("st", pa.string()),
    ])  # fmt: skip
    found = pa.Table.from_batches(list(batches("deltalake", sink.table("orders"), kind.names))).cast(kind).to_pylist()
    # The buckets of the other values are not known from the specification; that all readers agree on them is seen below.
    buckets = {row["id"]: row for row in found}
    for row in expected:
        for name, source in (("nb", "n"), ("sb", "s")):
            if row[name] is None and row[source] is not None:
                row[name] = buckets[row["id"]][name]
                assert 0 <= row[name] < 16
    assert_all_read(sink.table("orders"), pa.Table.from_pylist(expected, schema=kind), kind.names)
