"""Owns a narrow record of five columns, as sensors send them."""

import numpy as np

from . import Workload, encode

SEED = 20260302
SCHEMA = {
    "type": "record",
    "name": "Reading",
    "namespace": "shop",
    "fields": [
        {"name": "sensor", "type": "long"},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "value", "type": "double"},
        {"name": "unit", "type": "string"},
        {"name": "is_valid", "type": "boolean"},
    ],
}
COLUMNS = [field["name"] for field in SCHEMA["fields"]]
UNITS = ["C", "hPa", "%", "m/s"]


def rows(start: int, count: int):
    draw = np.random.default_rng([SEED, start])
    at = (1_767_225_600_000_000 + 500 * np.arange(start, start + count)).tolist()
    columns = zip(draw.integers(0, 5_000, count).tolist(), at, draw.integers(0, 1_000_000, count).tolist(), draw.integers(0, 4, count).tolist(), draw.integers(0, 50, count).tolist(), strict=True)
    for sensor, when, value, unit, broken in columns:
        yield {"sensor": sensor, "at": when, "value": value / 1000, "unit": UNITS[unit], "is_valid": broken != 0}


WORKLOAD = Workload(
    name="narrow",
    edition=1,
    columns=COLUMNS,
    rows=rows,
    encoders={"avro": lambda: encode.avro(SCHEMA), "json": lambda: encode.json_text},
    ddl="sensor long, at timestamp, value double, unit string, is_valid boolean",
    schemas={"avro": SCHEMA},
)
