"""Owns what a bench reads: generated records as payloads of each format, from a fixed seed, cached as files. Not producing them, not which rows are measured (matrix)."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pyarrow as pa

from components import cache_folder

CHUNK = 50_000


@dataclass(frozen=True)
class Workload:
    """Records of one shape. `rows(start, count)` gives plain values; each chunk has its own seed, so `start` may be any chunk's."""

    name: str
    # Bump when the records change: the cached files are named by it.
    edition: int
    columns: list[str]
    rows: Callable[[int, int], Iterator[dict]]
    # By format, what makes a function from a row to its payload without framing.
    encoders: dict[str, Callable[[], Callable[[dict], bytes]]]
    # What JSON tables declare.
    ddl: str
    # What the registry is given, by format.
    schemas: dict[str, object] = field(default_factory=dict)
    # Columns that a format holds in another type, which a comparison between formats must leave out.
    differing: frozenset[str] = frozenset()

    def payloads(self, kind: str, records: int) -> Iterator[list[bytes]]:
        """Chunks (lists) of payloads."""
        file = cache_folder() / "bench" / f"{self.name}-{self.edition}-{records}.{kind}.arrow"
        if not file.exists():
            self._write(file, kind, records)
        with pa.memory_map(str(file)) as source:
            reader = pa.ipc.open_file(source)
            for index in range(reader.num_record_batches):
                yield reader.get_batch(index).column(0).to_pylist()

    def _write(self, file, kind: str, records: int) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        staging = file.with_suffix(".staging")
        schema = pa.schema([("payload", pa.binary())])
        encode = self.encoders[kind]()
        with pa.OSFile(str(staging), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
            for start in range(0, records, CHUNK):
                rows = self.rows(start, min(CHUNK, records - start))
                writer.write_batch(pa.record_batch([pa.array([encode(row) for row in rows], pa.binary())], schema=schema))
        staging.rename(file)


def all_workloads() -> dict[str, Workload]:
    from . import narrow, orders, web_requests, wide

    return {workload.name: workload for workload in (orders.WORKLOAD, narrow.WORKLOAD, wide.WORKLOAD, web_requests.WORKLOAD)}
