"""Owns a wide record of 200 columns: 60 longs, 60 doubles, 60 texts of 50 to 5,000 different values, 20 booleans; one in ten is null."""

import numpy as np

from . import Workload, encode

SEED = 20260303
KINDS = ["long"] * 60 + ["double"] * 60 + ["string"] * 60 + ["boolean"] * 20
COLUMNS = [f"{kind}_{index:03}" for index, kind in enumerate(KINDS)]
SCHEMA = {
    "type": "record",
    "name": "Wide",
    "namespace": "shop",
    "fields": [{"name": name, "type": ["null", kind], "default": None} for name, kind in zip(COLUMNS, KINDS, strict=True)],
}


def rows(start: int, count: int):
    draw = np.random.default_rng([SEED, start])
    columns = [_column(draw, kind, index, count) for index, kind in enumerate(KINDS)]
    for values in zip(*columns, strict=True):
        yield dict(zip(COLUMNS, values, strict=True))


def _column(draw, kind: str, index: int, count: int) -> list:
    if kind == "long":
        values = draw.integers(0, 10 ** (2 + index % 8), count).tolist()
    elif kind == "double":
        values = (draw.integers(0, 10 ** (2 + index % 6), count) / 100).tolist()
    elif kind == "string":
        values = [f"value {number}" for number in draw.integers(0, 50 * 10 ** (index % 3), count).tolist()]
    else:
        values = (draw.integers(0, 2, count) == 1).tolist()
    return [None if null else value for null, value in zip((draw.integers(0, 10, count) == 0).tolist(), values, strict=True)]


WORKLOAD = Workload(
    name="wide",
    edition=1,
    columns=COLUMNS,
    rows=rows,
    encoders={"avro": lambda: encode.avro(SCHEMA), "json": lambda: encode.json_text},
    ddl=", ".join(f"{name} {kind}" for name, kind in zip(COLUMNS, KINDS, strict=True)),
    schemas={"avro": SCHEMA},
)
