"""Owns whether a row says what a record said: decodes the payload anew with Python's json or fastavro and compares each value. Not which rows there must be."""

import datetime
import io
import json
import uuid
from decimal import Decimal

import fastavro


def json_record(payload: bytes, row: dict) -> str | None:
    """None when equal, else what differs. Columns of the row that the record leaves out must be null."""
    record = json.loads(payload, parse_float=Decimal)
    return _differs_struct(record, row, "")


def avro_record(schema: dict, prefix_bytes: int = 0):
    """A comparison for records of one Avro schema behind a prefix of so many bytes."""
    parsed = fastavro.parse_schema(schema)

    def compare(payload: bytes, row: dict) -> str | None:
        record = fastavro.schemaless_reader(io.BytesIO(payload[prefix_bytes:]), parsed)
        return _differs_struct(avro_row(schema, record), row, "")

    return compare


def avro_row(schema, value):
    """The row that the type mapping promises for a decoded Avro value: a union of several types is a struct with a member per type."""
    if value is None:
        return None
    if isinstance(schema, list):
        members = [member for member in schema if member != "null"]
        if len(members) == 1:
            return avro_row(members[0], value)
        names = [_type_name(member) for member in members]
        if set(names) <= {"int", "long"} or set(names) <= {"float", "double"}:
            return value
        taken = _branch(members, value)
        return {name: (avro_row(member, value) if index == taken else None) for index, (name, member) in enumerate(zip(names, members))}
    kind = schema["type"] if isinstance(schema, dict) else schema
    if kind == "record":
        return {field["name"]: avro_row(field["type"], value[field["name"]]) for field in schema["fields"]}
    if kind == "array":
        return [avro_row(schema["items"], item) for item in value]
    if kind == "map":
        return {key: avro_row(schema["values"], item) for key, item in value.items()}
    if isinstance(kind, (dict, list)):
        return avro_row(kind, value)
    return value


def _type_name(schema) -> str:
    if isinstance(schema, dict):
        return schema.get("name") or schema["type"]
    return schema


def _branch(members: list, value) -> int:
    python_types = {"boolean": bool, "int": int, "long": int, "float": float, "double": float, "string": str, "bytes": bytes, "array": list, "map": dict}
    for index, member in enumerate(members):
        kind = member["type"] if isinstance(member, dict) else member
        wanted = python_types.get(kind, dict if kind == "record" else str)
        if isinstance(value, wanted) and not (wanted is int and isinstance(value, bool)):
            return index
    raise ValueError(f"no branch of {members} holds {value!r}")


def _differs_struct(record: dict, row: dict, path: str) -> str | None:
    for name, actual in row.items():
        if difference := differs(record.get(name), actual, f"{path}{name}"):
            return difference
    extra = [name for name in record if name not in row and record[name] is not None]
    return f"{path}{extra[0]} is not in the table" if extra else None


def differs(expected, actual, path: str) -> str | None:
    if actual is None or expected is None:
        return None if actual is expected else f"{path}: {expected!r} became {actual!r}"
    if isinstance(actual, dict):
        return _differs_struct(expected, actual, f"{path}.") if isinstance(expected, dict) else f"{path}: {expected!r} became {actual!r}"
    if isinstance(actual, list):
        if isinstance(expected, dict):
            return differs(sorted(expected.items()), sorted(actual), path)
        if len(expected) != len(actual):
            return f"{path}: {len(expected)} elements became {len(actual)}"
        for index, (left, right) in enumerate(zip(expected, actual)):
            if difference := differs(left, right, f"{path}[{index}]"):
                return difference
        return None
    return None if _equal(expected, actual) else f"{path}: {expected!r} became {actual!r}"


def _equal(expected, actual) -> bool:
    if isinstance(actual, bool) or isinstance(expected, bool):
        return expected is actual
    if isinstance(actual, Decimal):
        return not isinstance(expected, float) and Decimal(expected) == actual
    if isinstance(actual, float):
        return float(expected) == actual or (expected != expected and actual != actual)
    if isinstance(actual, datetime.datetime):
        return _instant(expected) == actual
    if isinstance(actual, datetime.date):
        return (datetime.date.fromisoformat(expected) if isinstance(expected, str) else expected) == actual
    if isinstance(expected, uuid.UUID):
        return str(expected) == actual
    if isinstance(expected, datetime.time):
        micros = ((expected.hour * 60 + expected.minute) * 60 + expected.second) * 1_000_000 + expected.microsecond
        return micros == actual
    return type(expected) is type(actual) and expected == actual


def _instant(value) -> datetime.datetime:
    """A timestamp as records carry it: a datetime (Avro), ISO 8601 text, or a long of micros since the epoch (JSON)."""
    if isinstance(value, datetime.datetime):
        return value
    if isinstance(value, str):
        return datetime.datetime.fromisoformat(value)
    return datetime.datetime.fromtimestamp(0, datetime.UTC) + datetime.timedelta(microseconds=int(value))
