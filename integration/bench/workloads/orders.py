"""Owns the reference order: 15 fields, nested, the same records as Avro, JSON and Protobuf. Not caching or producing them.

JSON holds the decimal as a text and times as a long of micros; Protobuf holds the decimal as a text. Absent fields are left out.
"""

import json
import uuid
from pathlib import Path

import numpy as np

from . import Workload, encode

SEED = 20260301
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


def _avro():
    write = encode.avro(SCHEMA)

    def encode_row(row: dict) -> bytes:
        unscaled = row["amount"]
        row["amount"] = unscaled.to_bytes(unscaled.bit_length() // 8 + 1, "big", signed=True)
        return write(row)

    return encode_row


def _decimal(unscaled: int) -> str:
    whole, fraction = divmod(unscaled, 10_000)
    return f"{whole}.{fraction:04}"


def _json():
    def encode_row(row: dict) -> bytes:
        row["amount"] = _decimal(row["amount"])
        for name in ("created_at", "updated_at"):
            if row[name] is not None:
                row[name] *= 1000
        return encode.json_text(row)

    return encode_row


PROTO = """syntax = "proto3";
package shop;
import "google/protobuf/timestamp.proto";
message Order {
  message Address { string street = 1; string city = 2; string zip = 3; double lat = 4; double lon = 5; }
  message Item { string sku = 1; int32 qty = 2; double price = 3; }
  string order_id = 1;
  int64 customer_id = 2;
  string status = 3;
  string currency = 4;
  string amount = 5;
  optional double discount = 6;
  google.protobuf.Timestamp created_at = 7;
  google.protobuf.Timestamp updated_at = 8;
  int32 quantity = 9;
  double weight = 10;
  bool is_gift = 11;
  optional string note = 12;
  Address address = 13;
  repeated Item items = 14;
  repeated string tags = 15;
}
"""


def _protobuf():
    number, double, text, nested = encode.proto_number, encode.proto_double, encode.proto_text, encode.proto_bytes

    def time(field: int, millis: int | None) -> bytes:
        return b"" if millis is None else nested(field, number(1, millis // 1000) + number(2, millis % 1000 * 1_000_000))

    def encode_row(row: dict) -> bytes:
        address = row["address"]
        place = text(1, address["street"]) + text(2, address["city"]) + text(3, address["zip"]) + double(4, address["lat"]) + double(5, address["lon"])
        return b"".join([
            text(1, row["order_id"]), number(2, row["customer_id"]), text(3, row["status"]), text(4, row["currency"]), text(5, _decimal(row["amount"])),
            b"" if row["discount"] is None else double(6, row["discount"]), time(7, row["created_at"]), time(8, row["updated_at"]),
            number(9, row["quantity"]), double(10, row["weight"]), number(11, row["is_gift"]), b"" if row["note"] is None else text(12, row["note"]), nested(13, place),
            *(nested(14, text(1, item["sku"]) + number(2, item["qty"]) + double(3, item["price"])) for item in row["items"]),
            *(nested(15, tag.encode()) for tag in row["tags"]),
        ])  # fmt: skip

    return encode_row


WORKLOAD = Workload(
    name="orders",
    edition=2,
    columns=COLUMNS,
    rows=orders,
    encoders={"avro": _avro, "json": _json, "protobuf": _protobuf},
    ddl=DDL,
    schemas={"avro": SCHEMA, "protobuf": PROTO},
    differing=frozenset({"amount"}),
)
