"""Owns schemas that change while a sink reads: new, gone and reordered fields at any depth in three formats, changes that do not fit, a registry that is away in the
middle, two instances at once, columns of another engine. Not random schemas (oracles), not random evolutions (src/decode/tests/evolution.rs)."""

import contextlib
import http.server
import io
import json
import struct
import threading
import time

import fastavro
import pyarrow as pa
import pytest
import requests

from audit.audit import audit, read_log
from components.registry import confluent_prefix

from .readers import assert_all_read, spark
from .sink import Sink
from .test_formats import delimited, number, post

NULL = "null"


def record(*fields, name: str = "Order") -> dict:
    return {"type": "record", "name": name, "fields": [{"name": field, "type": kind} for field, kind in fields]}


def optional(kind) -> dict:
    return [NULL, kind]


ITEM_1 = record(("sku", "string"), name="Item")
ITEM_2 = record(("price", optional("double")), ("sku", "string"), name="Item")
PLACE = record(("city", optional("string")), ("zip", optional("string")), name="Place")
ORDER_1 = record(("id", "long"), ("name", optional("string")), ("items", {"type": "array", "items": ITEM_1}))
# A new member inside of a struct in an array, a new column, another order.
ORDER_2 = record(("note", optional("string")), ("items", {"type": "array", "items": ITEM_2}), ("id", "long"), ("name", optional("string")))
# A new struct in a map; `name` is gone.
ORDER_3 = record(("id", "long"), ("note", optional("string")), ("places", {"type": "map", "values": PLACE}), ("items", {"type": "array", "items": ITEM_2}))
ARROW = pa.schema([
    ("id", pa.int64()), ("name", pa.string()), ("items", pa.list_(pa.struct([("sku", pa.string()), ("price", pa.float64())]))),
    ("note", pa.string()), ("places", pa.map_(pa.string(), pa.struct([("city", pa.string()), ("zip", pa.string())]))),
])  # fmt: skip
# What ORDER_1 makes: its items have no price.
ARROW_1 = [("id", pa.int64()), ("name", pa.string()), ("items", pa.list_(pa.struct([("sku", pa.string())])))]


def avro(schema: dict, value: dict) -> bytes:
    buffer = io.BytesIO()
    fastavro.schemaless_writer(buffer, fastavro.parse_schema(json.loads(json.dumps(schema))), value)
    return buffer.getvalue()


def order(version: int, index: int) -> dict:
    """A record of a version, as the row that it becomes."""
    items = [{"sku": f"s{index}", "price": index / 4 if version > 1 else None}]
    row = {"id": index, "name": None if version == 3 else f"n{index}", "items": items, "note": None, "places": None}
    if version > 1:
        row["note"] = f"ö{index}"
    if version == 3:
        row["places"] = [("home", {"city": f"c{index}", "zip": None})]
    return row


def avro_order(version: int, index: int) -> tuple[bytes, dict]:
    row = order(version, index)
    return avro((ORDER_1, ORDER_2, ORDER_3)[version - 1], {**row, "places": dict(row["places"] or [])}), row


def json_order(version: int, index: int) -> tuple[bytes, dict]:
    row = order(version, index)
    value = {**row, "places": dict(row["places"]) if row["places"] else None}
    return json.dumps({key: part for key, part in value.items() if part is not None}).encode(), row


def proto_order(version: int, index: int) -> tuple[bytes, dict]:
    row = order(version, index)
    [item] = row["items"]
    price = b"" if item["price"] is None else b"\x11" + struct.pack("<d", item["price"])
    # The message is the second of its file, in the last version the third.
    body = bytes([2, 4 if version == 3 else 2]) + number(1, index) + delimited(3, delimited(1, item["sku"].encode()) + price)
    if row["name"] is not None:
        body += delimited(2, row["name"].encode())
    if row["note"] is not None:
        body += delimited(4, row["note"].encode())
    if row["places"]:
        body += delimited(5, delimited(1, b"home") + delimited(2, delimited(1, f"c{index}".encode())))
    elif version == 3:
        row["places"] = []
    return body, row


PROTO = (
    "message Item { optional string sku = 1; } message Order { int64 id = 1; optional string name = 2; repeated Item items = 3; }",
    "message Item { optional double price = 2; optional string sku = 1; } message Order { optional string note = 4; repeated Item items = 3; int64 id = 1; optional string name = 2; }",
    "message Item { optional double price = 2; optional string sku = 1; } message Place { optional string city = 1; optional string zip = 2; }"
    " message Order { int64 id = 1; optional string note = 4; map<string, Place> places = 5; repeated Item items = 3; }",
)


def json_schema(version: int) -> str:
    text = {"type": "string"}
    item = {"sku": text, **({"price": {"type": "number"}} if version > 1 else {})}
    properties = {"id": {"type": "integer"}, "items": {"type": "array", "items": {"type": "object", "properties": item}}}
    if version < 3:
        properties["name"] = text
    if version > 1:
        properties = {"note": text, **properties}
    if version > 2:
        properties["places"] = {"type": "object", "additionalProperties": {"type": "object", "properties": {"city": text, "zip": text}}}
    return json.dumps({"$schema": "http://json-schema.org/draft-07/schema#", "type": "object", "properties": properties})


FORMATS = {
    "avro": ("AVRO", lambda version: json.dumps((ORDER_1, ORDER_2, ORDER_3)[version - 1]), avro_order),
    "json_schema": ("JSON", json_schema, json_order),
    "protobuf": ("PROTOBUF", lambda version: f'syntax = "proto3"; {PROTO[version - 1]}', proto_order),
}


def free(registry, subject: str) -> None:
    """Any schema may follow any other: the sink is what is tested, not the registry's rules."""
    answer = requests.put(f"{registry.url}/config/{subject}", json={"compatibility": "NONE"}, timeout=30)
    assert answer.ok, answer.text


def table_of(topic: str, form: str = "avro", mode: str = "suspend", **settings) -> dict:
    value = {"format": form, **({"schema": {"message": "Order"}} if form == "protobuf" else {})}
    return {"name": "orders", "topics": [topic], "value": value, "errors": {"mode": mode}, "target_lag": "1s", **settings}


def metadata_changes(table) -> list[int]:
    """The versions that change the table's metadata, each with the number of files that it adds."""
    found = []
    for file in sorted((table / "_delta_log").glob("*.json")):
        actions = [json.loads(line) for line in file.read_text().splitlines()]
        if int(file.stem) and any("metaData" in action for action in actions):
            found.append((int(file.stem), sum("add" in action for action in actions)))
    return found


@pytest.mark.parametrize("form", FORMATS)
def test_fields_come_go_and_change_places_while_old_and_new_records_mix(kafka, registry, folder, topic, form):
    kind, schema, write = FORMATS[form]
    subject = f"{topic}-value"
    first = post(registry, subject, kind, schema(1))
    free(registry, subject)
    kafka.create_topic(topic, 2)
    orders = [write(1, index) for index in range(100)]
    kafka.produce(topic, [payload for payload, _ in orders], 2, confluent_prefix(first))
    sink = Sink(folder, kafka.bootstrap, table_of(topic, form), registry=registry.url)
    sink.until_caught_up().expect(0)
    ids = [first, post(registry, subject, kind, schema(2)), post(registry, subject, kind, schema(3))]
    payloads = []
    for index in range(100, 1000):
        version = index % 3 + 1
        payload, row = write(version, index)
        orders.append((payload, row))
        payloads.append(confluent_prefix(ids[version - 1]) + payload)
    kafka.produce(topic, payloads, 2)
    before = len(read_log(sink.table("orders")).commits)
    sink.until_caught_up().expect(0)
    source = pa.Table.from_pylist([row for _, row in orders], schema=ARROW)
    assert_all_read(sink.table("orders"), source, ARROW.names)
    changes = metadata_changes(sink.table("orders"))
    commits = read_log(sink.table("orders")).commits[before:]
    files = sum(len(commit.adds) for commit in commits)
    print(f"\n[evolution] {form}: metadata changes (version, files) {changes}, {len(commits)} commits, {files} files for 900 records of three schemas", flush=True)
    assert changes and all(files for _, files in changes), changes
    assert files <= len(commits) + 2 and len(changes) <= 3, "old and new schemas in one topic make neither tiny files nor flapping"


CHANGED = record(("id", "string"), ("name", optional("string")))


def test_what_does_not_fit_is_rejected_stops_the_table_or_gets_a_column(kafka, registry, folder, topic):
    subject = f"{topic}-value"
    old = record(("id", "long"), ("name", optional("string")))
    first = post(registry, subject, "AVRO", json.dumps(old))
    free(registry, subject)
    second = post(registry, subject, "AVRO", json.dumps(CHANGED))
    kafka.create_topic(topic, 1)
    payloads = [
        confluent_prefix(first) + avro(old, {"id": 1, "name": "a"}),
        confluent_prefix(second) + avro(CHANGED, {"id": "zwei", "name": "b"}),
        confluent_prefix(first) + avro(old, {"id": 3, "name": "c"}),
    ]
    # Before the change, so that the tables have the old column.
    kafka.produce(topic, payloads[:1], 1)
    names = ("reject", "suspend", "new_column")
    sinks = {}
    for name in names:
        table = table_of(topic, mode="skip", evolution={"on_incompatible": name}, value={"format": "avro", "schema": {"subject": f"{topic}-{name}"}})
        post(registry, f"{topic}-{name}", "AVRO", json.dumps(old))
        sinks[name] = Sink(folder / name, kafka.bootstrap, table, registry=registry.url)
        sinks[name].until_caught_up().expect(0)
    kafka.produce(topic, payloads[1:], 1)
    ended = sinks["reject"].until_caught_up().expect(0)
    assert "type_mismatch" in ended.stderr, ended
    kept = pa.table({"id": pa.array([1, 3], pa.int64()), "name": ["a", "c"]})
    assert_all_read(sinks["reject"].table("orders"), kept, ["id", "name"])
    ended = sinks["suspend"].until_caught_up().expect(5)
    assert "offset 1" in ended.stdout + ended.stderr and "type_mismatch" in ended.stdout + ended.stderr, ended
    sinks["new_column"].until_caught_up().expect(0)
    schema = pa.schema([("id", pa.int64()), ("name", pa.string()), ("id__string", pa.string())])
    rows = [{"id": 1, "name": "a"}, {"id": None, "name": "b", "id__string": "zwei"}, {"id": 3, "name": "c"}]
    assert_all_read(sinks["new_column"].table("orders"), pa.Table.from_pylist(rows, schema=schema), schema.names)


@contextlib.contextmanager
def front(target: str):
    """Stands before a registry; while `away` is set it gives that status, body and delay in seconds to all paths with `part`: schemas by id."""

    class Forward(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            # Once: the test may end the outage in between.
            away = server.away
            if away and server.part in self.path:
                status, body, delay = away
                time.sleep(delay)
                server.refused += 1
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    self.send_response(status)
                    self.send_header("content-length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)
                return
            answer = requests.get(target + self.path, timeout=10)
            self.send_response(answer.status_code)
            self.send_header("content-length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Forward)
    server.away, server.part, server.refused = None, "/schemas/ids/", 0
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


# A request may take 10 s. A 404 counts only in the registry's own words.
OUTAGES = {
    "503": (503, b"", 0),
    "429": (429, b"slow down", 0),
    "404 of something else": (404, b"<html>no such page</html>", 0),
    "garbage": (200, b"<html>maintenance</html>", 0),
    "slow": (200, b"{}", 11),
}


@pytest.mark.parametrize("outage", OUTAGES)
def test_env_1_an_outage_of_the_registry_in_the_middle_of_an_evolution_stalls_and_loses_nothing(kafka, registry, folder, topic, outage):
    subject = f"{topic}-value"
    first = post(registry, subject, "AVRO", json.dumps(ORDER_1))
    free(registry, subject)
    kafka.create_topic(topic, 1)
    orders = [avro_order(1, index) for index in range(50)]
    kafka.produce(topic, [payload for payload, _ in orders], 1, confluent_prefix(first))
    with front(registry.url) as server:
        sink = Sink(folder, kafka.bootstrap, table_of(topic), registry=f"http://127.0.0.1:{server.server_port}")
        with sink.start() as running:
            sink.wait_until(running, lambda: len(read_log(sink.table("orders")).commits) > 1)
            second = post(registry, subject, "AVRO", json.dumps(ORDER_2))
            server.away = OUTAGES[outage]
            for version, schema_id in ((1, first), (2, second), (1, first)):
                part = [avro_order(version, index) for index in range(len(orders), len(orders) + 20)]
                kafka.produce(topic, [payload for payload, _ in part], 1, confluent_prefix(schema_id))
                orders += part
            sink.wait_until(running, lambda: server.refused >= (2 if outage == "slow" else 3))
            time.sleep(3)
            reached = max(span["end"] for commit in read_log(sink.table("orders")).commits for span in commit.spans)
            assert reached == 70, f"it went on to {reached} without the schema (ENV-1)"
            server.away = None
            sink.wait_until(running, lambda: max(span["end"] for commit in read_log(sink.table("orders")).commits for span in commit.spans) == len(orders))
            running.drain().expect(0)
    columns = ["id", "name", "items", "note"]
    assert_all_read(sink.table("orders"), pa.Table.from_pylist([row for _, row in orders], schema=ARROW), columns)


def test_env_1_a_registry_that_is_away_at_the_start_is_waited_for(kafka, registry, folder, topic):
    first = post(registry, f"{topic}-value", "AVRO", json.dumps(ORDER_1))
    kafka.create_topic(topic, 1)
    orders = [avro_order(1, index) for index in range(50)]
    kafka.produce(topic, [payload for payload, _ in orders], 1, confluent_prefix(first))
    with front(registry.url) as server:
        server.away, server.part = OUTAGES["503"], "/"
        sink = Sink(folder, kafka.bootstrap, table_of(topic), registry=f"http://127.0.0.1:{server.server_port}")
        with sink.start() as running:
            sink.wait_until(running, lambda: server.refused >= 3)
            assert sink.get("/readyz").status_code == 503 and not (sink.table("orders") / "_delta_log").exists()
            server.away = None
            sink.wait_until(running, lambda: max(span["end"] for commit in read_log(sink.table("orders")).commits for span in commit.spans) == len(orders))
            running.drain().expect(0)
    assert_all_read(sink.table("orders"), pa.Table.from_pylist([row for _, row in orders], schema=pa.schema(ARROW_1)), ["id", "name", "items"])


def test_two_instances_evolve_at_once_and_agree(kafka, registry, folder, topic):
    subject = f"{topic}-value"
    first = post(registry, subject, "AVRO", json.dumps(ORDER_1))
    free(registry, subject)
    kafka.create_topic(topic, 8)
    orders = [avro_order(1, index) for index in range(200)]
    kafka.produce(topic, [payload for payload, _ in orders], 8, confluent_prefix(first))
    one, two = (Sink(folder / name, kafka.bootstrap, table_of(topic, target_lag="500ms"), registry=registry.url, url=(folder / "lake").as_uri()) for name in ("one", "two"))
    (folder / "lake").mkdir(exist_ok=True)
    two.join(one)
    table = folder / "lake" / "orders"
    with one.start() as running_one, two.start() as running_two:
        for sink, running in ((one, running_one), (two, running_two)):
            sink.wait_until(running, lambda sink=sink: sink.get("/readyz").ok)
        # Each round another field, to all topic partitions at once: both instances find it at the same moment.
        rounds = 8
        fields = list(ORDER_1["fields"])
        for turn in range(rounds):
            fields = [*fields, {"name": f"extra{turn}", "type": optional("string")}]
            schema = {**ORDER_1, "fields": fields}
            schema_id = post(registry, subject, "AVRO", json.dumps(schema))
            part = []
            for index in range(len(orders), len(orders) + 800):
                row = {**order(1, index), **{f"extra{place}": f"x{index}" for place in range(turn + 1)}}
                part.append((avro(schema, row), row))
            kafka.produce(topic, [payload for payload, _ in part], 8, confluent_prefix(schema_id))
            orders += part
            time.sleep(1)
        ends = lambda: sum({key: end for commit in read_log(table).commits for key, end in commit.txns.items() if key.count("/") == 3 and key.split("/")[-1].isdigit()}.values())  # noqa: E731
        one.wait_until(running_one, lambda: ends() == len(orders), seconds_max=90)
        ended = [running.drain().expect(0) for running in (running_one, running_two)]
    said = "".join(part.stdout + part.stderr for part in ended)
    conflicts = said.count("the schema changed")
    print(f"\n[evolution] {len(metadata_changes(table))} metadata changes by two instances in {rounds} evolutions, {conflicts} conflicts", flush=True)
    assert "suspended" not in said, said[-4000:]
    report = audit(table, kafka.dump(topic), lambda *_: None)
    assert report.records == len(orders) and report.is_clean, report
    arrow = pa.schema([*ARROW_1, *((f"extra{turn}", pa.string()) for turn in range(rounds))])
    assert_all_read(table, pa.Table.from_pylist([row for _, row in orders], schema=arrow), arrow.names)


def test_columns_and_comments_of_another_engine_are_respected(kafka, registry, folder, topic):
    subject = f"{topic}-value"
    first = post(registry, subject, "AVRO", json.dumps(ORDER_1))
    free(registry, subject)
    kafka.create_topic(topic, 1)
    orders = [avro_order(1, index) for index in range(20)]
    kafka.produce(topic, [payload for payload, _ in orders], 1, confluent_prefix(first))
    sink = Sink(folder, kafka.bootstrap, table_of(topic), registry=registry.url)
    with sink.start() as running:
        sink.wait_until(running, lambda: len(read_log(sink.table("orders")).commits) > 1)
        place = f"delta.`{sink.table('orders')}`"
        # Its own column, a comment, and ahead of the producers a column that they will have, wider than theirs.
        spark().sql(f"ALTER TABLE {place} ADD COLUMNS (theirs STRING, rank BIGINT COMMENT 'ahead')")
        spark().sql(f"ALTER TABLE {place} ALTER COLUMN id COMMENT 'the key'")
        newer = record(*((field["name"], field["type"]) for field in ORDER_1["fields"]), ("rank", "int"), ("late", optional("string")))
        second = post(registry, subject, "AVRO", json.dumps(newer))
        part = []
        for index in range(20, 60):
            row = {**order(1, index), "rank": index, "late": f"l{index}"}
            part.append((avro(newer, row), row))
        kafka.produce(topic, [payload for payload, _ in part], 1, confluent_prefix(second))
        orders += part
        sink.wait_until(running, lambda: max(span["end"] for commit in read_log(sink.table("orders")).commits for span in commit.spans) == len(orders))
        running.drain().expect(0)
    fields = {field["name"]: field for field in json.loads(last_metadata(sink.table("orders"))["schemaString"])["fields"]}
    assert fields["id"]["metadata"].get("comment") == "the key" and fields["rank"]["metadata"].get("comment") == "ahead", fields
    assert fields["rank"]["type"] == "long" and fields["late"]["type"] == "string" and list(fields)[-1] == "late", fields
    arrow = pa.schema([*ARROW_1, ("theirs", pa.string()), ("rank", pa.int64()), ("late", pa.string())])
    assert_all_read(sink.table("orders"), pa.Table.from_pylist([row for _, row in orders], schema=arrow), arrow.names)


def last_metadata(table) -> dict:
    found = None
    for file in sorted((table / "_delta_log").glob("*.json")):
        for line in file.read_text().splitlines():
            found = json.loads(line).get("metaData", found)
    return found
