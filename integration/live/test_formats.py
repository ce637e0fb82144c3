"""Owns every format on its way from a real registry and Kafka into a table that each reader reads: Protobuf, JSON Schema, raw, text, keys, subject names. Not corners of values (test_orders)."""

import contextlib
import datetime
import http.server
import io
import ipaddress
import json
import re
import ssl
import struct
import threading
from decimal import Decimal
from pathlib import Path

import fastavro
import pyarrow as pa
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from components.registry import confluent_prefix

from .readers import READERS, assert_all_read, batches
from .sink import Sink

ROWS = 500

MONEY = """syntax = "proto3";
package shop;
message Money { string currency = 1; int64 units = 2; }
"""
ORDER = """syntax = "proto3";
package shop;
import "shop/money.proto";
import "google/protobuf/timestamp.proto";
import "google/protobuf/duration.proto";
import "google/protobuf/wrappers.proto";
import "google/protobuf/struct.proto";
message Before { string not_this = 1; }
message Order {
  enum Status { NEW = 0; PAID = 1; }
  message Item { string sku = 1; optional int32 quantity = 2; }
  int64 id = 1; int32 small = 2; uint32 unsigned = 3; uint64 huge = 4; sint64 zigzag = 5; fixed64 fixed = 6; float ratio = 7; double weight = 8;
  bool flag = 9; string note = 10; bytes raw = 11; Status status = 12; Money price = 13; repeated Item items = 14; repeated sint32 packed = 15;
  map<string, int64> labels = 16; oneof payment { string card = 17; int64 voucher = 18; }
  google.protobuf.Timestamp at = 19; google.protobuf.Duration took = 20; google.protobuf.StringValue maybe = 21; google.protobuf.Struct open = 22;
}
"""
PROTOBUF_ARROW = pa.schema([
    ("id", pa.int64()), ("small", pa.int32()), ("unsigned", pa.int64()), ("huge", pa.decimal128(20, 0)), ("zigzag", pa.int64()), ("fixed", pa.decimal128(20, 0)),
    ("ratio", pa.float32()), ("weight", pa.float64()), ("flag", pa.bool_()), ("note", pa.string()), ("raw", pa.binary()), ("status", pa.string()),
    ("price", pa.struct([("currency", pa.string()), ("units", pa.int64())])),
    ("items", pa.list_(pa.struct([("sku", pa.string()), ("quantity", pa.int32())]))), ("packed", pa.list_(pa.int32())),
    ("labels", pa.map_(pa.string(), pa.int64())), ("card", pa.string()), ("voucher", pa.int64()), ("at", pa.timestamp("us", "UTC")), ("took", pa.int64()),
    ("maybe", pa.string()), ("open", pa.string()),
])  # fmt: skip


def post(registry, subject: str, kind: str, schema: str, references=()) -> int:
    body = {"schema": schema, "schemaType": kind, "references": list(references)}
    answer = requests.post(f"{registry.url}/subjects/{subject}/versions", json=body, timeout=30)
    assert answer.ok, answer.text
    return answer.json()["id"]


def varint(number: int) -> bytes:
    number &= 2**64 - 1
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def zigzag(number: int) -> bytes:
    return varint(number << 1 ^ number >> 63)


def number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value)


def delimited(field: int, value: bytes) -> bytes:
    return varint(field << 3 | 2) + varint(len(value)) + value


def protobuf_order(index: int) -> tuple[bytes, dict]:
    """An order on the wire, and the row that the type mapping promises for it. Every third one leaves out what may be left out."""
    full = index % 3 != 0
    row = {
        "id": index, "small": -index, "unsigned": 2**32 - 1 - index, "huge": Decimal(2**64 - 1 - index), "zigzag": -(2**62) - index,
        "fixed": Decimal(2**63 + index), "ratio": index / 4, "weight": index / 3, "flag": index % 2 == 1, "note": f"näh 🚢 {index}", "raw": bytes([index % 256, 255]),
        "status": "PAID" if index % 2 else "NEW", "price": {"currency": "EUR", "units": index} if full else None,
        "items": [{"sku": "a", "quantity": None}, {"sku": "", "quantity": index}] if full else [], "packed": [-1, index, 2] if full else [],
        "labels": [("k", index), ("j", 0)] if full else [], "card": f"c{index}" if full else None, "voucher": None if full else index,
        "at": pa.scalar(1_700_000_000_000_000 + index, pa.timestamp("us", "UTC")).as_py() if full else None, "took": -1_500_000 if full else None,
        "maybe": "" if full else None, "open": f'{{"a":{index},"b":[true,null]}}' if full else None,
    }  # fmt: skip
    parts = [
        number(1, index), number(2, -index), number(3, 2**32 - 1 - index), number(4, 2**64 - 1 - index), varint(5 << 3) + zigzag(row["zigzag"]),
        varint(6 << 3 | 1) + struct.pack("<Q", 2**63 + index), varint(7 << 3 | 5) + struct.pack("<f", index / 4), varint(8 << 3 | 1) + struct.pack("<d", index / 3),
        number(9, index % 2), delimited(10, row["note"].encode()), delimited(11, row["raw"]), number(12, index % 2),
    ]  # fmt: skip
    if full:
        field = lambda key, value: delimited(1, delimited(1, key.encode()) + delimited(2, value))  # noqa: E731
        listed = delimited(6, delimited(1, number(4, 1)) + delimited(1, number(1, 0)))
        parts += [
            delimited(13, delimited(1, b"EUR") + number(2, index)), delimited(14, delimited(1, b"a")), delimited(14, number(2, index)),
            delimited(15, zigzag(-1) + zigzag(index) + zigzag(2)), delimited(16, delimited(1, b"k") + number(2, index)), delimited(16, delimited(1, b"j")),
            delimited(17, row["card"].encode()), delimited(19, number(1, 1_700_000_000) + number(2, index * 1000)), delimited(20, number(1, -1) + number(2, -500_000_000)),
            delimited(21, b""), delimited(22, field("a", varint(2 << 3 | 1) + struct.pack("<d", index)) + field("b", listed)), delimited(400, b"unknown"),
        ]  # fmt: skip
    else:
        parts.append(number(18, index))
    if index % 5 == 0:
        # Fields may come in any order; items and entries keep theirs.
        parts = [*parts[13:], *reversed(parts[:13])]
    return b"".join(parts), row


def test_protobuf_with_references_and_message_indexes_is_read_back_exactly(kafka, registry, folder, topic):
    post(registry, f"{topic}-money", "PROTOBUF", MONEY)
    reference = {"name": "shop/money.proto", "subject": f"{topic}-money", "version": 1}
    schema_id = post(registry, f"{topic}-value", "PROTOBUF", ORDER, [reference])
    orders = [protobuf_order(index) for index in range(ROWS)]
    kafka.create_topic(topic, 2)
    kafka.produce(topic, [payload for payload, _ in orders], 2, confluent_prefix(schema_id) + b"\x02\x02")
    table = {"name": "orders", "topics": [topic], "value": {"format": "protobuf", "schema": {"message": "shop.Order"}}, "errors": {"mode": "suspend"}}
    sink = Sink(folder, kafka.bootstrap, table, registry=registry.url)
    sink.until_caught_up().expect(0)
    source = pa.Table.from_pylist([row for _, row in orders], schema=PROTOBUF_ARROW)
    assert_all_read(sink.table("orders"), source, PROTOBUF_ARROW.names)


def test_protobuf_of_a_file_without_a_registry_is_read_back_exactly(kafka, folder, topic):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "shop").mkdir(exist_ok=True)
    (folder / "shop" / "money.proto").write_text(MONEY)
    (folder / "order.proto").write_text(ORDER)
    orders = [protobuf_order(index) for index in range(50)]
    kafka.create_topic(topic, 1)
    kafka.produce(topic, [payload for payload, _ in orders], 1, b"")
    table = {"name": "orders", "topics": [topic], "value": {"format": "protobuf", "schema": {"file": "order.proto", "message": "shop.Order"}}, "errors": {"mode": "suspend"}}
    sink = Sink(folder, kafka.bootstrap, table)
    sink.until_caught_up().expect(0)
    source = pa.Table.from_pylist([row for _, row in orders], schema=PROTOBUF_ARROW)
    assert_all_read(sink.table("orders"), source, PROTOBUF_ARROW.names)


JSON_ARROW = pa.schema([
    ("id", pa.int64()), ("ratio", pa.float64()), ("name", pa.string()), ("at", pa.timestamp("us", "UTC")), ("day", pa.date32()), ("labels", pa.map_(pa.string(), pa.int64())),
    ("open", pa.string()), ("price", pa.struct([("units", pa.int64())])), ("_rescued", pa.string()),
])  # fmt: skip


def test_json_schema_with_a_reference_is_read_back_and_unknown_fields_are_rescued(kafka, registry, folder, topic):
    money = {"$schema": "http://json-schema.org/draft-07/schema#", "type": "object", "properties": {"units": {"type": "integer"}}}
    order = {
        "$schema": "http://json-schema.org/draft-07/schema#", "type": "object",
        "properties": {
            "id": {"type": "integer"}, "ratio": {"type": "number"}, "name": {"type": ["null", "string"]}, "at": {"type": "string", "format": "date-time"},
            "day": {"type": "string", "format": "date"}, "labels": {"type": "object", "additionalProperties": {"type": "integer"}}, "open": {"type": "object"},
            "price": {"$ref": "money.json"},
        },
    }  # fmt: skip
    post(registry, f"{topic}-money", "JSON", json.dumps(money))
    reference = {"name": "money.json", "subject": f"{topic}-money", "version": 1}
    schema_id = post(registry, f"{topic}-value", "JSON", json.dumps(order), [reference])
    payloads, rows = [], []
    for index in range(ROWS):
        record = {
            "id": index, "ratio": index / 3, "name": None if index % 4 else "ä", "at": "2023-11-14T22:13:20.000001Z", "day": "2023-11-14", "labels": {"a": index},
            "open": {"k": [index]}, "price": {"units": index}, **({"new": [index]} if index % 2 else {}),
        }  # fmt: skip
        payloads.append(json.dumps(record).encode())
        row = {**record, "open": json.dumps(record["open"]), "labels": [("a", index)], "_rescued": f'{{"new":[{index}]}}' if index % 2 else None}
        row["at"] = pa.scalar(1_700_000_000_000_001, pa.timestamp("us", "UTC")).as_py()
        row["day"] = row["at"].date()
        row.pop("new", None)
        rows.append(row)
    kafka.create_topic(topic, 2)
    kafka.produce(topic, payloads, 2, confluent_prefix(schema_id))
    table = {"name": "orders", "topics": [topic], "value": {"format": "json_schema"}, "errors": {"mode": "suspend"}}
    sink = Sink(folder, kafka.bootstrap, table, registry=registry.url)
    sink.until_caught_up().expect(0)
    assert_all_read(sink.table("orders"), pa.Table.from_pylist(rows, schema=JSON_ARROW), JSON_ARROW.names)


def test_raw_and_text_values_are_read_back_exactly(kafka, folder, topic):
    values = [b"", b"plain", "Grüße 🚢".encode(), *(str(index).encode() for index in range(100))]
    raw = [*values, b"\xff\x00\xfe"]
    tables = []
    for name, payloads in (("raw", raw), ("string", values)):
        kafka.create_topic(f"{topic}-{name}", 1)
        kafka.produce(f"{topic}-{name}", payloads, 1, b"")
        tables.append({"name": name, "topics": [f"{topic}-{name}"], "value": {"format": name}, "errors": {"mode": "suspend"}})
    sink = Sink(folder, kafka.bootstrap, *tables)
    sink.until_caught_up().expect(0)
    assert_all_read(sink.table("raw"), pa.table({"value": pa.array(raw, pa.binary())}), ["value"])
    assert_all_read(sink.table("string"), pa.table({"value": pa.array([value.decode() for value in values])}), ["value"])


def test_every_subject_name_strategy_finds_the_schema_and_keys_are_decoded(kafka, registry, folder, topic):
    record = {"type": "record", "name": "Order_" + re.sub("[^a-z0-9]", "_", topic.lower()), "namespace": "shop.live", "fields": [{"name": "id", "type": "long"}]}
    full_name = f"shop.live.{record['name']}"
    key = {"type": "record", "name": "Key", "fields": [{"name": "part", "type": "string"}, {"name": "number", "type": "int"}]}
    topics = {"by_topic": f"{topic}-1", "by_record": f"{topic}-2", "by_both": f"{topic}-3"}
    subjects = {"by_topic": f"{topic}-1-value", "by_record": full_name, "by_both": f"{topic}-3-{full_name}"}
    written = {"by_record": full_name, "by_both": f"{{topic}}-{full_name}"}
    tables = []
    for name, its_topic in topics.items():
        schema_id = registry.register(subjects[name], record)
        key_id = registry.register(f"{its_topic}-key", key)
        payloads = []
        for index in range(20):
            buffer = io.BytesIO()
            fastavro.schemaless_writer(buffer, fastavro.parse_schema(key), {"part": f"p{index}", "number": index})
            payloads.append((confluent_prefix(key_id) + buffer.getvalue(), confluent_prefix(schema_id) + varint(index << 1)))
        kafka.create_topic(its_topic, 1)
        produce_with_keys(kafka, its_topic, payloads)
        value = {"format": "avro", **({"schema": {"subject": written[name]}} if name in written else {})}
        tables.append({"name": name, "topics": [its_topic], "value": value, "key": {"format": "avro"}, "errors": {"mode": "suspend"}})
    sink = Sink(folder, kafka.bootstrap, *tables, registry=registry.url)
    sink.until_caught_up().expect(0)
    rows = [{"id": index, "_kafka_key": {"part": f"p{index}", "number": index}} for index in range(20)]
    schema = pa.schema([("id", pa.int64()), ("_kafka_key", pa.struct([("part", pa.string()), ("number", pa.int32())]))])
    for name in topics:
        assert_all_read(sink.table(name), pa.Table.from_pylist(rows, schema=schema), ["id", "_kafka_key"])


def produce_with_keys(kafka, topic: str, records: list[tuple[bytes, bytes]]) -> None:
    from confluent_kafka import Producer

    producer = Producer({"bootstrap.servers": kafka.bootstrap})
    for key, value in records:
        producer.produce(topic, value, key, 0)
    assert producer.flush(30) == 0


def test_a_bad_protobuf_record_costs_no_neighbour(kafka, registry, folder, topic):
    schema_id = post(registry, f"{topic}-value", "PROTOBUF", 'syntax = "proto3"; message A { int64 id = 1; } message B { string x = 1; }')
    prefix = confluent_prefix(schema_id)
    good = [prefix + b"\x00" + number(1, index) for index in range(1, 4)]
    bad = [prefix + b"\x02\x02", prefix + b"\x00\x08", prefix, b"{}", prefix + b"\x00\x0a\x05a"]
    kafka.create_topic(topic, 1)
    kafka.produce(topic, [good[0], bad[0], bad[1], good[1], bad[2], bad[3], good[2], bad[4]], 1, b"")
    table = {"name": "orders", "topics": [topic], "value": {"format": "protobuf"}, "errors": {"mode": "skip"}}
    sink = Sink(folder, kafka.bootstrap, table, registry=registry.url)
    ended = sink.until_caught_up().expect(0)
    for reader in READERS:
        found = sorted((row["id"] or 0) for batch in batches(reader, sink.table("orders"), ["id"]) for row in batch.to_pylist())
        # A length that is another kind of value than the number's is an unknown field: the record is what Protobuf says it is, if its length is right.
        assert found == [1, 2, 3], reader
    assert "message_index" in ended.stderr, ended


def test_a_registry_behind_mutual_tls_and_a_path_is_reached_only_with_the_certificate(kafka, registry, folder, topic):
    folder.mkdir(parents=True, exist_ok=True)
    write_certificates(folder)
    schema_id = post(registry, f"{topic}-value", "PROTOBUF", 'syntax = "proto3"; message A { int64 id = 1; }')
    kafka.create_topic(topic, 1)
    kafka.produce(topic, [number(1, 7)], 1, confluent_prefix(schema_id) + b"\x00")
    table = {"name": "orders", "topics": [topic], "value": {"format": "protobuf"}, "errors": {"mode": "suspend"}}
    with tls_front(folder, registry.url) as url:
        settings = {"url": url, "tls": {"ca": "ca.pem", "certificate": "client.pem", "key": "client.key"}}
        sink = Sink(folder, kafka.bootstrap, table, schema_registry=settings)
        sink.until_caught_up().expect(0)
        assert_all_read(sink.table("orders"), pa.table({"id": pa.array([7], pa.int64())}), ["id"])
        for left_out in (("ca",), ("certificate", "key")):
            sink.document["schema_registry"] = {"url": url, "tls": {key: value for key, value in settings["tls"].items() if key not in left_out}}
            sink.write()
            said = sink.command("validate", "--connect", "--timeout", "3s").expect(3)
            assert "registry" in said.stdout + said.stderr, said


@contextlib.contextmanager
def tls_front(folder: Path, target: str):
    """A server that wants a client certificate and hands GETs under /a/path on to the registry."""

    class Forward(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            answer = requests.get(target + self.path.removeprefix("/a/path"), timeout=10)
            self.send_response(answer.status_code)
            self.send_header("content-length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content)

        def log_message(self, *_):
            pass

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem", folder / "server.key")
    context.load_verify_locations(folder / "ca.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Forward)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"https://127.0.0.1:{server.server_port}/a/path"
    finally:
        server.shutdown()
        server.server_close()


def write_certificates(folder: Path) -> None:
    """A certificate authority of one day, and certificates of it for a server on loopback and for a client."""
    now = datetime.datetime.now(datetime.UTC)
    authority = None
    for name, usage in (("ca", None), ("server", ExtendedKeyUsageOID.SERVER_AUTH), ("client", ExtendedKeyUsageOID.CLIENT_AUTH)):
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"lakeward {name}")])
        issuer, signer = authority or (subject, key)
        builder = (
            x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key()).serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1)).not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=usage is None, path_length=None), critical=True)
        )  # fmt: skip
        if usage:
            address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
            builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False).add_extension(address, critical=False)
        certificate = builder.sign(signer, hashes.SHA256())
        authority = authority or (subject, key)
        (folder / f"{name}.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        plain = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        (folder / f"{name}.key").write_bytes(key.private_bytes(*plain))
