"""Owns random schemas and values, written and read back by libraries that share nothing with the sink: fastavro, Python's json with Decimal, and Python protobuf say what a record
holds, the type mapping says what that becomes, and DuckDB and deltalake must read exactly that from the table. LAKEWARD_ORACLE_SCHEMAS=500 by hand; LAKEWARD_SEED replays."""

import datetime
import decimal
import io
import json
import os
import random
import struct
import time
import uuid
from decimal import Decimal

import fastavro
import pyarrow as pa
import pytest

from audit.rows import digest
from components.registry import confluent_prefix

from .readers import batches, first_difference
from .sink import Sink
from .test_formats import post

SCHEMAS = int(os.environ.get("LAKEWARD_ORACLE_SCHEMAS") or 8)
# One sink carries so many tables at a time.
AT_ONCE = 25
RECORDS = 40
# The first schema has every type, and Spark reads it too: a second a table is too long for many.
READERS = ("duckdb", "deltalake")
READERS_OF_EVERY_TYPE = (*READERS, "spark")
UTC = datetime.UTC
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=UTC)
EDGES = [0, -1, 1, 2**31 - 1, -(2**31), 2**63 - 1, -(2**63), 2**53 + 1]
TEXTS = ["", "a", "Grüße", "漢字", "🚢", 'q"\\/\n\t', "\u0000x", "ﷺ", "a" * 300]


class Kind:
    """A type in its schema language, its column type, values of it, and what a decoded value becomes."""

    def __init__(self, schema, arrow, value, row=lambda decoded: decoded):
        self.schema, self.arrow, self.value, self.row = schema, arrow, value, row


def whole(dice: random.Random, bits: int) -> int:
    edge = dice.choice(EDGES)
    return edge if dice.random() < 0.5 and -(2 ** (bits - 1)) <= edge < 2 ** (bits - 1) else dice.randrange(-(2 ** (bits - 1)), 2 ** (bits - 1))


def number(dice: random.Random) -> float:
    return dice.choice([0.0, 1.5, -1 / 3, 1e-300, 1.7976931348623157e308, 5e-324, dice.uniform(-1e9, 1e9), float(dice.randrange(2**53))])


def single(dice: random.Random) -> float:
    return struct.unpack("<f", struct.pack("<f", dice.choice([0.0, 0.1, -2.5, 3.4e38, 1e-40, dice.uniform(-1e6, 1e6)])))[0]


def text(dice: random.Random) -> str:
    return dice.choice(TEXTS) + dice.choice(["", str(dice.randrange(1000))])


def moment(dice: random.Random) -> datetime.datetime:
    return EPOCH + datetime.timedelta(microseconds=dice.choice([0, -1, dice.randrange(-(2**50), 2**51)]))


def micros(value: datetime.time) -> int:
    return ((value.hour * 60 + value.minute) * 60 + value.second) * 1_000_000 + value.microsecond


class Avro:
    """Random Avro schemas."""

    def __init__(self, dice: random.Random):
        self.dice, self.names = dice, 0

    def name(self) -> str:
        self.names += 1
        return f"n{self.names}"

    def record(self, depth: int) -> Kind:
        return self.record_of([(self.name(), self.any(depth + 1)) for _ in range(self.dice.randrange(1, 6))])

    def every_type(self) -> Kind:
        kinds = [one() for one in self.leaves()]
        kinds += [self.array(3), self.map(3), self.record(3), *(one() for one in self.unions())]
        return self.record_of([(self.name(), kind) for kind in [*kinds, *(self.nullable(kind) for kind in [one() for one in self.leaves()])]])

    def record_of(self, members: list[tuple[str, Kind]]) -> Kind:
        schema = {"type": "record", "name": self.name(), "fields": [{"name": name, "type": kind.schema} for name, kind in members]}
        return Kind(
            schema, pa.struct([(name, kind.arrow) for name, kind in members]), lambda: {name: kind.value() for name, kind in members},
            lambda decoded: {name: kind.row(decoded[name]) for name, kind in members},
        )  # fmt: skip

    def any(self, depth: int) -> Kind:
        dice = self.dice
        if depth < 4 and dice.random() < 0.35:
            return dice.choice([self.array, self.map, self.record, self.union])(depth)
        kind = self.leaf()
        return self.nullable(kind) if dice.random() < 0.4 else kind

    def nullable(self, kind: Kind) -> Kind:
        schema = ["null", kind.schema] if self.dice.random() < 0.7 else [kind.schema, "null"]
        return Kind(schema, kind.arrow, lambda: None if self.dice.random() < 0.3 else kind.value(), lambda decoded: None if decoded is None else kind.row(decoded))

    def leaf(self) -> Kind:
        return self.dice.choice(self.leaves())()

    def leaves(self) -> list:
        dice = self.dice
        precision = dice.randrange(1, 39)
        scale = dice.randrange(0, precision + 1)
        size = dice.randrange(1, 9)
        logical = lambda kind, name: {"type": kind, "logicalType": name}  # noqa: E731
        return [
            lambda: Kind("boolean", pa.bool_(), lambda: dice.random() < 0.5),
            lambda: Kind("int", pa.int32(), lambda: whole(dice, 32)),
            lambda: Kind("long", pa.int64(), lambda: whole(dice, 64)),
            lambda: Kind("float", pa.float32(), lambda: single(dice)),
            lambda: Kind("double", pa.float64(), lambda: number(dice)),
            lambda: Kind("string", pa.string(), lambda: text(dice)),
            lambda: Kind("bytes", pa.binary(), lambda: dice.randbytes(dice.randrange(9))),
            lambda: Kind({"type": "enum", "name": self.name(), "symbols": ["A", "b", "C_1"]}, pa.string(), lambda: dice.choice(["A", "b", "C_1"])),
            lambda: Kind({"type": "fixed", "name": self.name(), "size": size}, pa.binary(), lambda: dice.randbytes(size)),
            lambda: Kind({**logical("bytes", "decimal"), "precision": precision, "scale": scale}, pa.decimal128(precision, scale),
                         lambda: Decimal(dice.randrange(-(10**precision) + 1, 10**precision)).scaleb(-scale)),
            lambda: Kind(logical("int", "date"), pa.date32(), lambda: moment(dice).date()),
            lambda: Kind(logical("long", "timestamp-micros"), pa.timestamp("us", "UTC"), lambda: moment(dice)),
            lambda: Kind(logical("long", "timestamp-millis"), pa.timestamp("us", "UTC"), lambda: moment(dice).replace(microsecond=dice.randrange(1000) * 1000)),
            lambda: Kind(logical("long", "time-micros"), pa.int64(), lambda: moment(dice).time(), micros),
            lambda: Kind(logical("int", "time-millis"), pa.int64(), lambda: moment(dice).time().replace(microsecond=dice.randrange(1000) * 1000), micros),
            lambda: Kind(logical("string", "uuid"), pa.string(), lambda: uuid.UUID(int=dice.getrandbits(128)), str),
        ]  # fmt: skip

    def array(self, depth: int) -> Kind:
        item = self.any(depth + 1)
        return Kind(
            {"type": "array", "items": item.schema}, pa.list_(item.arrow), lambda: [item.value() for _ in range(self.dice.randrange(4))],
            lambda decoded: [item.row(one) for one in decoded],
        )  # fmt: skip

    def map(self, depth: int) -> Kind:
        inner = self.any(depth + 1)
        return Kind(
            {"type": "map", "values": inner.schema}, pa.map_(pa.string(), inner.arrow), lambda: {f"k{key}": inner.value() for key in range(self.dice.randrange(3))},
            lambda decoded: [(key, inner.row(one)) for key, one in decoded.items()],
        )  # fmt: skip

    def union(self, _depth: int) -> Kind:
        return self.dice.choice(self.unions())()

    def unions(self) -> list:
        dice = self.dice
        member = {bool: "boolean", int: "long", str: "string", bytes: "bytes"}
        arrow = pa.struct([("boolean", pa.bool_()), ("long", pa.int64()), ("string", pa.string()), ("bytes", pa.binary())])
        value = lambda: dice.choice([None, dice.random() < 0.5, whole(dice, 64), text(dice), dice.randbytes(3)])  # noqa: E731
        return [
            lambda: Kind(["null", "int", "long"], pa.int64(), lambda: dice.choice([None, whole(dice, 32), whole(dice, 64)])),
            lambda: Kind(["float", "double"], pa.float64(), lambda: number(dice)),
            lambda: Kind(["boolean", "null", "long", "string", "bytes"], arrow, value, lambda decoded: None if decoded is None else {member[type(decoded)]: decoded}),
        ]

    @staticmethod
    def write(kind: Kind, value) -> tuple[bytes, dict]:
        parsed = fastavro.parse_schema(json.loads(json.dumps(kind.schema)))
        buffer = io.BytesIO()
        with decimal.localcontext(prec=80):
            fastavro.schemaless_writer(buffer, parsed, value)
            buffer.seek(0)
            return buffer.getvalue(), kind.row(fastavro.schemaless_reader(buffer, parsed, None))

    def registered(self, has_every_type: bool) -> tuple[Kind, str]:
        kind = self.every_type() if has_every_type else self.record(0)
        return kind, json.dumps(kind.schema)


class JsonSchema:
    """Random JSON Schemas."""

    SHAPES = ("array", "map", "record")

    def __init__(self, dice: random.Random):
        self.dice, self.names = dice, 0

    def record(self, depth: int) -> Kind:
        return self.record_of([self.any(depth + 1) for _ in range(self.dice.randrange(1, 6))])

    def every_type(self) -> Kind:
        return self.record_of([*(one() for one in self.leaves()), *(self.shaped(shape, 3) for shape in self.SHAPES)])

    def record_of(self, kinds: list[Kind]) -> Kind:
        members = {}
        for kind in kinds:
            self.names += 1
            members[f"p{self.names}"] = kind
        schema = {"type": "object", "properties": {name: kind.schema for name, kind in members.items()}}
        return Kind(
            schema, pa.struct([(name, kind.arrow) for name, kind in members.items()]),
            lambda: {name: kind.value() for name, kind in members.items() if self.dice.random() < 0.8},
            lambda decoded: {name: None if decoded.get(name) is None else kind.row(decoded[name]) for name, kind in members.items()},
        )  # fmt: skip

    def any(self, depth: int) -> Kind:
        dice = self.dice
        if depth < 4 and dice.random() < 0.35:
            return self.shaped(dice.choice(self.SHAPES), depth)
        return self.leaf()

    def shaped(self, shape: str, depth: int) -> Kind:
        if shape == "record":
            return self.record(depth)
        dice, inner = self.dice, self.any(depth + 1)
        row = lambda one: None if one is None else inner.row(one)  # noqa: E731
        if shape == "array":
            return Kind({"type": "array", "items": inner.schema}, pa.list_(inner.arrow), lambda: [dice.choice([inner.value(), inner.value(), None]) for _ in range(dice.randrange(4))],
                        lambda decoded: [row(one) for one in decoded])  # fmt: skip
        return Kind({"type": "object", "additionalProperties": inner.schema}, pa.map_(pa.string(), inner.arrow),
                    lambda: {f"k {key}": dice.choice([inner.value(), None]) for key in range(dice.randrange(3))}, lambda decoded: [(key, row(one)) for key, one in decoded.items()])  # fmt: skip

    def leaf(self) -> Kind:
        return self.dice.choice(self.leaves())()

    def leaves(self) -> list:
        dice = self.dice
        stamp = lambda: moment(dice).isoformat().replace("+00:00", dice.choice(["Z", "+00:00"]))  # noqa: E731
        form = lambda name: {"type": ["null", "string"], "format": name}  # noqa: E731
        return [
            lambda: Kind({"type": "boolean"}, pa.bool_(), lambda: dice.random() < 0.5),
            lambda: Kind({"type": "integer"}, pa.int64(), lambda: whole(dice, 64), int),
            lambda: Kind({"type": ["number", "null"]}, pa.float64(), lambda: dice.choice([number(dice), whole(dice, 60)]), float),
            lambda: Kind({"type": "string"}, pa.string(), lambda: text(dice)),
            lambda: Kind(form("date-time"), pa.timestamp("us", "UTC"), stamp, datetime.datetime.fromisoformat),
            lambda: Kind(form("date"), pa.date32(), lambda: moment(dice).date().isoformat(), datetime.date.fromisoformat),
            lambda: Kind(form("uuid"), pa.string(), lambda: str(uuid.UUID(int=dice.getrandbits(128)))),
            lambda: Kind({"type": "object"}, pa.string(), lambda: {"a": [dice.randrange(9), None, {"b": text(dice)}]}, json.dumps),
        ]  # fmt: skip

    @staticmethod
    def write(kind: Kind, value) -> tuple[bytes, dict]:
        payload = json.dumps(value)
        # Numbers of the open objects are whole, so that Python writes them as they came.
        return payload.encode(), kind.row(json.loads(payload, parse_float=Decimal))

    def registered(self, has_every_type: bool) -> tuple[Kind, str]:
        kind = self.every_type() if has_every_type else self.record(0)
        return kind, json.dumps({"$schema": "http://json-schema.org/draft-07/schema#", **kind.schema})


class Protobuf:
    """Random messages: a `.proto` for the registry, and the same as a descriptor for Python protobuf."""

    # Name, number in descriptors, column, bits (negative: unsigned).
    WHOLE = [("int32", 5, pa.int32(), 32), ("int64", 3, pa.int64(), 64), ("uint32", 13, pa.int64(), -32), ("uint64", 4, pa.decimal128(20, 0), -64), ("sint32", 17, pa.int32(), 32),
             ("sint64", 18, pa.int64(), 64), ("fixed32", 7, pa.int64(), -32), ("fixed64", 6, pa.decimal128(20, 0), -64), ("sfixed32", 15, pa.int32(), 32), ("sfixed64", 16, pa.int64(), 64)]  # fmt: skip

    def __init__(self, dice: random.Random):
        from google.protobuf import descriptor_pb2

        self.dice, self.names, self.pb = dice, 0, descriptor_pb2
        self.texts: list[str] = []
        self.file = descriptor_pb2.FileDescriptorProto(name=f"oracle{dice.getrandbits(60)}.proto", package=f"o{dice.getrandbits(60)}", syntax="proto3")

    def scalar(self) -> tuple[str, int, Kind]:
        dice = self.dice
        return dice.choice(self.whole_numbers() if dice.random() < 0.5 else self.others())

    def whole_numbers(self) -> list[tuple[str, int, Kind]]:
        def one(name: str, number_of: int, arrow, bits: int) -> tuple[str, int, Kind]:
            value = (lambda: whole(self.dice, bits)) if bits > 0 else (lambda: self.dice.choice([0, 1, 2**-bits - 1, self.dice.randrange(2**-bits)]))
            return name, number_of, Kind(None, arrow, value, Decimal if bits == -64 else int)

        return [one(*each) for each in self.WHOLE]

    def others(self) -> list[tuple[str, int, Kind]]:
        dice = self.dice
        return [
            ("float", 2, Kind(None, pa.float32(), lambda: single(dice))), ("double", 1, Kind(None, pa.float64(), lambda: number(dice))), ("bool", 8, Kind(None, pa.bool_(), lambda: dice.random() < 0.5)),
            ("string", 9, Kind(None, pa.string(), lambda: text(dice))), ("bytes", 12, Kind(None, pa.binary(), lambda: dice.randbytes(dice.randrange(5)))),
        ]  # fmt: skip

    def message(self, depth: int, scalars: list[tuple[str, int, Kind]] | None = None) -> tuple[str, Kind]:
        """With one field of each of these scalars in turn, or with random fields."""
        dice = self.dice
        self.names += 1
        name = f"M{self.names}"
        proto, lines, members, optionals = self.file.message_type.add(name=name), [], [], []
        hows = ["optional", "implicit", "repeated", "map"]
        count = dice.randrange(1, 6) if scalars is None else len(scalars) * len(hows)
        numbers = dice.sample([*range(1, 20), *range(1000, 1000 + count), 200_000], count)
        for place, field_number in enumerate(numbers):
            field_name = f"f{place}"
            how = dice.choice(hows) if scalars is None else hows[place % len(hows)]
            if scalars is not None:
                type_name, code, kind = scalars[place // len(hows)]
            elif depth < 3 and dice.random() < 0.3:
                type_name, kind = self.message(depth + 1)
                code = 11
            else:
                type_name, code, kind = self.scalar()
            field = proto.field.add(name=field_name, number=field_number, label=1, type=code)
            if code == 11:
                field.type_name = f".{self.file.package}.{type_name}"
            if how == "map":
                entry = proto.nested_type.add(name=f"F{place}Entry")
                entry.options.map_entry = True
                entry.field.add(name="key", number=1, label=1, type=9)
                value_field = entry.field.add(name="value", number=2, label=1, type=code)
                if code == 11:
                    value_field.type_name = field.type_name
                field.label, field.type, field.type_name = 3, 11, f".{self.file.package}.{name}.F{place}Entry"
                lines.append(f"map<string, {type_name}> {field_name} = {field_number};")
            elif how == "repeated":
                field.label = 3
                lines.append(f"repeated {type_name} {field_name} = {field_number};")
            elif how == "optional" and code != 11:
                field.proto3_optional = True
                optionals.append(field)
                lines.append(f"optional {type_name} {field_name} = {field_number};")
            else:
                lines.append(f"{type_name} {field_name} = {field_number};")
            members.append((field_name, how, code == 11, kind))
        for field in optionals:
            field.oneof_index = len(proto.oneof_decl)
            proto.oneof_decl.add(name=f"_{field.name}")
        self.texts.append(f"message {name} {{ {' '.join(lines)} }}")
        arrow = {"repeated": pa.list_, "map": lambda inner: pa.map_(pa.string(), inner)}
        fields = [(field_name, arrow.get(how, lambda inner: inner)(kind.arrow)) for field_name, how, _, kind in members]
        return name, Kind(None, pa.struct(fields), lambda: self.fill(members), lambda decoded: self.row(members, decoded))

    def fill(self, members) -> dict:
        dice, value = self.dice, {}
        for name, how, _, kind in members:
            if dice.random() < 0.25:
                continue
            if how == "repeated":
                value[name] = [kind.value() for _ in range(dice.randrange(4))]
            elif how == "map":
                value[name] = {f"k{key}": kind.value() for key in range(dice.randrange(3))}
            else:
                value[name] = kind.value()
        return value

    @staticmethod
    def row(members, decoded) -> dict:
        row = {}
        for name, how, is_message, kind in members:
            value = getattr(decoded, name)
            if how == "repeated":
                row[name] = [kind.row(one) for one in value]
            elif how == "map":
                row[name] = [(key, kind.row(one)) for key, one in value.items()]
            elif (is_message or how == "optional") and not decoded.HasField(name):
                row[name] = None
            else:
                row[name] = kind.row(value)
        return row

    def registered(self, has_every_type: bool) -> tuple[Kind, str]:
        from google.protobuf import descriptor_pool, message_factory

        name, kind = self.message(0, [*self.whole_numbers(), *self.others()] if has_every_type else None)
        pool = descriptor_pool.DescriptorPool()
        pool.Add(self.file)
        self.type = message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{self.file.package}.{name}"))
        # The outermost message comes last; its index precedes every value.
        self.index = len(self.texts) - 1
        return kind, f'syntax = "proto3"; package {self.file.package}; {" ".join(self.texts)}'

    def write(self, kind: Kind, value) -> tuple[bytes, dict]:
        payload = self.into(self.type(), value).SerializeToString()
        decoded = self.type()
        decoded.ParseFromString(payload)
        index = b"\x00" if self.index == 0 else bytes([2, self.index << 1])
        return index + payload, kind.row(decoded)

    def into(self, message, value: dict):
        for name, part in value.items():
            field = getattr(message, name)
            if isinstance(part, dict) and hasattr(field, "DESCRIPTOR"):
                field.SetInParent()
                self.into(field, part)
            elif isinstance(part, dict):
                for key, one in part.items():
                    if isinstance(one, dict):
                        self.into(field[key], one)
                    else:
                        field[key] = one
            elif isinstance(part, list):
                for one in part:
                    if isinstance(one, dict):
                        self.into(field.add(), one)
                    else:
                        field.append(one)
            else:
                setattr(message, name, part)
        return message


ORACLES = {"avro": ("AVRO", Avro), "json_schema": ("JSON", JsonSchema), "protobuf": ("PROTOBUF", Protobuf)}


@pytest.mark.parametrize("form", ORACLES)
def test_random_schemas_and_values_are_read_back_as_the_library_reads_them(kafka, registry, folder, topic, seed, form):
    kind_of_schema, oracle_of = ORACLES[form]
    dice = random.Random(seed)
    began, done = time.monotonic(), 0
    while done < SCHEMAS:
        tables, expected = [], {}
        for place in range(done, min(done + AT_ONCE, SCHEMAS)):
            name = f"t{place}"
            oracle = oracle_of(random.Random(dice.getrandbits(64)))
            kind, text_of_schema = oracle.registered(has_every_type=place == 0)
            its_topic = f"{topic}.{place}"
            schema_id = post(registry, f"{its_topic}-value", kind_of_schema, text_of_schema)
            written = [oracle.write(kind, kind.value()) for _ in range(RECORDS)]
            kafka.create_topic(its_topic, 1)
            kafka.produce(its_topic, [payload for payload, _ in written], 1, confluent_prefix(schema_id))
            value = {"format": form}
            if form == "protobuf":
                value["schema"] = {"message": oracle.type.DESCRIPTOR.full_name}
            tables.append({"name": name, "topics": [its_topic], "value": value, "errors": {"mode": "suspend"}})
            expected[name] = (pa.Table.from_pylist([row for _, row in written], schema=pa.schema(list(kind.arrow))), text_of_schema)
        sink = Sink(folder / str(done), kafka.bootstrap, *tables, registry=registry.url)
        sink.until_caught_up(seconds_max=300).expect(0)
        for name, (source, text_of_schema) in expected.items():
            columns = source.schema.names
            wanted = digest([source], columns)
            for reader in READERS_OF_EVERY_TYPE if name == "t0" else READERS:
                found = digest(batches(reader, sink.table(name), columns), columns)
                assert found == wanted, f"{reader} reads {name} otherwise (seed {seed})\n{text_of_schema}\n{first_difference(reader, sink.table(name), source, columns)}"
        done += len(tables)
    print(f"\n[oracle] {form}: {done} schemas of {RECORDS} records each, read back by {' and '.join(READERS)}, the one with every type also by Spark, in {time.monotonic() - began:.0f} s (LAKEWARD_ORACLE_SCHEMAS)", flush=True)
