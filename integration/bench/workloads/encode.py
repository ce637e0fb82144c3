"""Owns turning a row of plain values into bytes: Avro through fastavro, JSON, and Protobuf by hand. Not the rows."""

import io
import json
import struct

import fastavro


def avro(schema: dict):
    """Encodes against the schema without its logical types, which spares a Decimal and datetimes per record; the bytes are the same."""
    parsed = fastavro.parse_schema(_physical(schema))
    buffer = io.BytesIO()

    def encode(row: dict) -> bytes:
        buffer.seek(0)
        buffer.truncate()
        fastavro.schemaless_writer(buffer, parsed, row)
        return buffer.getvalue()

    return encode


def _physical(schema):
    if isinstance(schema, list):
        return [_physical(member) for member in schema]
    if isinstance(schema, dict):
        if "logicalType" in schema:
            return schema["type"]
        return {key: _physical(value) if key in ("type", "items", "fields") else value for key, value in schema.items()}
    return schema


def json_text(row: dict) -> bytes:
    """Absent fields are left out."""
    return json.dumps({name: value for name, value in row.items() if value is not None}, separators=(",", ":")).encode()


def varint(number: int) -> bytes:
    out = bytearray()
    number &= 0xFFFFFFFFFFFFFFFF
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def proto_number(field: int, value: int) -> bytes:
    """An integer, an enum or a boolean; a zero is not written, as every encoder of proto3 does it."""
    return bytes([field << 3]) + varint(value) if value else b""


def proto_double(field: int, value: float) -> bytes:
    return bytes([field << 3 | 1]) + struct.pack("<d", value) if value else b""


def proto_bytes(field: int, value: bytes) -> bytes:
    return bytes([field << 3 | 2]) + varint(len(value)) + value


def proto_text(field: int, value: str) -> bytes:
    return proto_bytes(field, value.encode()) if value else b""
