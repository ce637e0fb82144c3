"""Owns the reference order as payloads: 15 fields, from a fixed seed, the same records as Avro and as JSON, cached as a file. Not producing them.

JSON holds the decimal as a text and times as a long of micros, and leaves absent fields out.
"""

import io
import json
import uuid
from pathlib import Path

import fastavro
import numpy as np
import pyarrow as pa

from components import cache_folder

SEED = 20260301
CHUNK = 50_000
SCHEMA = json.loads((Path(__file__).parent / "orders.avsc").read_text())
DDL = (
    "order_id string, customer_id long, status string, currency string, amount decimal(18,4), discount double, created_at timestamp, updated_at timestamp, "
    "quantity int, weight double, is_gift boolean, note string, address struct<street: string, city: string, zip: string, lat: double, lon: double>, "
    "items array<struct<sku: string, qty: int, price: double>>, tags array<string>"
)
COLUMNS = [field["name"] for field in SCHEMA["fields"]]
STATUSES = ["CREATED", "PAID", "PACKED", "SHIPPED", "DELIVERED"]
CURRENCIES = ["EUR", "USD", "GBP", "CHF"]
CITIES = ["Berlin", "Hamburg", "Munich", "Vienna", "Zurich", "Paris", "London", "Madrid"]
TAGS = ["new", "vip", "sale", "b2b", "express", "fragile"]
STARTED_MS = 1_767_225_600_000
# Bump when the records change: the cached files are named by it.
EDITION = 2


def payloads(kind: str, records: int):
    """Chunks (lists) of `avro` payloads without framing, or of `json` payloads."""
    file = cache_folder() / "bench" / f"orders-{EDITION}-{records}.{kind}.arrow"
    if not file.exists():
        write(file, kind, records)
    with pa.memory_map(str(file)) as source:
        reader = pa.ipc.open_file(source)
        for index in range(reader.num_record_batches):
            yield reader.get_batch(index).column(0).to_pylist()


def write(file: Path, kind: str, records: int) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    staging = file.with_suffix(".staging")
    schema = pa.schema([("payload", pa.binary())])
    encode = avro_encoder() if kind == "avro" else json_payload
    with pa.OSFile(str(staging), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        for start in range(0, records, CHUNK):
            rows = orders(start, min(CHUNK, records - start))
            writer.write_batch(pa.record_batch([pa.array([encode(row) for row in rows], pa.binary())], schema=schema))
    staging.rename(file)


def orders(start: int, count: int):
    """Orders number start.. as plain values: the decimal is its unscaled number, times are millis. Each chunk has its own seed, so `start` may be any chunk's."""
    draw = np.random.default_rng([SEED, start])

    def integers(low, high, size=count):
        return draw.integers(low, high, size).tolist()

    ids = draw.bytes(16 * count)
    created = (STARTED_MS + 3 * np.arange(start, start + count) + draw.integers(0, 3, count)).tolist()
    items_count, tags_count = integers(1, 4), integers(0, 3)
    skus, quantities, prices = iter(integers(0, 50_000, 3 * count)), iter(integers(1, 6, 3 * count)), iter(integers(0, 100_000, 3 * count))
    tags = iter(integers(0, 6, 2 * count))
    columns = zip(
        integers(0, 200_000), integers(0, 5), integers(0, 4), integers(0, 100_000_000), integers(0, 3), integers(1, 100), integers(0, 2), integers(0, 86_400_000),
        integers(1, 21), integers(1, 50_000), integers(0, 10), integers(0, 4), integers(1, 1000), integers(0, 8), integers(0, 100_000),
        integers(-90_000, 90_000), integers(-180_000, 180_000), strict=True,
    )  # fmt: skip
    for index, column in enumerate(columns):
        customer, status, currency, amount, has_discount, discount, has_update, later, quantity, weight, gift, noted, street, city, code, lat, lon = column
        yield {
            "order_id": str(uuid.UUID(bytes=ids[16 * index : 16 * index + 16], version=4)),
            "customer_id": customer,
            "status": STATUSES[status],
            "currency": CURRENCIES[currency],
            "amount": amount,
            "discount": discount / 100 if has_discount == 0 else None,
            "created_at": created[index],
            "updated_at": created[index] + later if has_update else None,
            "quantity": quantity,
            "weight": weight / 1000,
            "is_gift": gift == 0,
            "note": f"please leave at door {street}" if noted == 0 else None,
            "address": {"street": f"{street} Long Street", "city": CITIES[city], "zip": f"{code:05}", "lat": lat / 1000, "lon": lon / 1000},
            "items": [{"sku": f"SKU-{next(skus):08}", "qty": next(quantities), "price": next(prices) / 100} for _ in range(items_count[index])],
            "tags": [TAGS[next(tags)] for _ in range(tags_count[index])],
        }


def avro_encoder():
    """Encodes against the schema without its logical types, which spares a Decimal and two datetimes per record; the bytes are the same."""
    schema = fastavro.parse_schema(_physical(SCHEMA))
    buffer = io.BytesIO()

    def encode(row: dict) -> bytes:
        unscaled = row["amount"]
        row["amount"] = unscaled.to_bytes(unscaled.bit_length() // 8 + 1, "big", signed=True)
        buffer.seek(0)
        buffer.truncate()
        fastavro.schemaless_writer(buffer, schema, row)
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


def json_payload(row: dict) -> bytes:
    whole, fraction = divmod(row["amount"], 10_000)
    row["amount"] = f"{whole}.{fraction:04}"
    for name in ("created_at", "updated_at"):
        if row[name] is not None:
            row[name] *= 1000
    return json.dumps({name: value for name, value in row.items() if value is not None}, separators=(",", ":")).encode()
