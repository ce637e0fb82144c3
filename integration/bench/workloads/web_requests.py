"""Owns the web request of about 296 bytes of JSON that the closest peer is measured with."""

import uuid

import numpy as np

from . import Workload, encode

SEED = 20210301
METHODS = ["GET", "GET", "GET", "POST", "PUT", "DELETE"]
STATUSES = [200, 200, 200, 200, 201, 301, 404, 500]
COLUMNS = ["meta", "method", "session_id", "status", "url", "uuid", "seq"]


def rows(start: int, count: int):
    draw = np.random.default_rng([SEED, start])
    ids, sessions = draw.bytes(16 * count), draw.bytes(16 * 2_000)
    session = [str(uuid.UUID(bytes=sessions[16 * index : 16 * index + 16], version=4)) for index in range(2_000)]
    columns = zip(*(draw.integers(0, high, count).tolist() for high in (1_000_000, 6, 2_000, 8, 40, 2**48, 50, 30)), strict=True)
    for index, (micros, method, who, status, host, article, page, letter) in enumerate(columns):
        seconds = (start + index) // 300
        moment = f"2021-03-{1 + seconds // 86_400 % 28:02}T{seconds // 3600 % 24:02}:{seconds // 60 % 60:02}:{seconds % 60:02}.{micros:06}+00:00"
        yield {
            "meta": {"producer": {"timestamp": moment}},
            "method": METHODS[method],
            "session_id": session[who],
            "status": STATUSES[status],
            "url": f"http://www{host}.example.com/articles/{article:012x}/comments?page={page}&ref=newsletter-{letter}",
            "uuid": str(uuid.UUID(bytes=ids[16 * index : 16 * index + 16], version=4)),
            "seq": start + index,
        }


WORKLOAD = Workload(
    name="web_requests",
    edition=1,
    columns=COLUMNS,
    rows=rows,
    encoders={"json": lambda: encode.json_text},
    ddl="meta struct<producer: struct<timestamp: timestamp>>, method string, session_id string, status int, url string, uuid string, seq long",
)
