"""Owns a digest of a table's rows that does not depend on their order: a hash per row, sorted, then SHA-256. Not reading tables.

The hash of a value depends on its logical value only, not on how a reader represents it: all integer widths, dates, times and timestamps (as UTC micros)
hash as 64-bit integers, floats as the bits of a double, decimals as their unscaled 128 bits at their scale. Null differs from every value, a null struct from a
struct of nulls, and an empty list from a null one.
"""

import hashlib

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

NULL = np.uint64(0x9E3779B97F4A7C15)
BATCH_ROWS = 262_144


def row_hashes(batch: pa.RecordBatch, columns: list[str]) -> np.ndarray:
    total = np.zeros(batch.num_rows, dtype=np.uint64)
    for name in sorted(columns):
        total += _mix(_hashes(batch.column(name)) ^ _name_hash(name))
    return _mix(total)


def digest(batches, columns: list[str]) -> tuple[int, str]:
    """The number of rows and the digest of an iterable of record batches or tables."""
    parts = []
    for item in batches:
        for batch in item.to_batches(BATCH_ROWS) if isinstance(item, pa.Table) else [item]:
            parts.append(row_hashes(batch, columns))
    hashes = np.sort(np.concatenate(parts)) if parts else np.zeros(0, dtype=np.uint64)
    return len(hashes), hashlib.sha256(hashes.astype("<u8").tobytes()).hexdigest()


def _hashes(array: pa.Array) -> np.ndarray:
    kind = array.type
    if pa.types.is_dictionary(kind):
        return _hashes(array.dictionary_decode())
    if pa.types.is_null(kind):
        return np.full(len(array), NULL)
    if hasattr(kind, "storage_type"):
        return _hashes(array.storage)
    if array.null_count == 0:
        return _value_hashes(array, kind)
    validity = np.asarray(array.is_valid().to_numpy(zero_copy_only=False), dtype=bool)
    return np.where(validity, _value_hashes(array, kind), NULL)


def _value_hashes(array: pa.Array, kind: pa.DataType) -> np.ndarray:
    """Whatever stands at a null position is overwritten by the caller."""
    if pa.types.is_struct(kind):
        total = np.full(len(array), np.uint64(1))
        for index, field in enumerate(kind):
            total += _mix(_hashes(array.field(index)) ^ _name_hash(field.name))
        return _mix(total)
    if pa.types.is_map(kind):
        entries = _mix(_hashes(array.keys) * np.uint64(31) + _hashes(array.items))
        return _list_hashes(array, entries, is_ordered=False)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return _list_hashes(array, _hashes(array.values), is_ordered=True)
    if pa.types.is_decimal(kind):
        # Every precision up to 38 has the same 128 bits; only the scale changes the value.
        words = np.frombuffer(array.cast(pa.decimal128(38, kind.scale)).buffers()[1], dtype=np.uint64)
        offset = array.offset if array.type == pa.decimal128(38, kind.scale) else 0
        words = words[2 * offset : 2 * (offset + len(array))]
        return _mix(words[0::2] ^ _mix(words[1::2] + np.uint64(kind.scale)))
    if pa.types.is_floating(kind):
        values = array.cast(pa.float64()).fill_null(0.0).to_numpy(zero_copy_only=False).copy()
        values[np.isnan(values)] = np.nan
        return _mix(values.view(np.uint64))
    if _is_text(kind):
        return _text_hashes(array)
    return _mix(_integers(array, kind).view(np.uint64))


def _is_text(kind: pa.DataType) -> bool:
    checks = (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary)
    return any(check(kind) for check in checks) or "view" in str(kind)


def _integers(array: pa.Array, kind: pa.DataType) -> np.ndarray:
    if pa.types.is_timestamp(kind):
        array = array.cast(pa.timestamp("us", tz=kind.tz)).cast(pa.int64())
    elif pa.types.is_date(kind):
        array = array.cast(pa.date32()).cast(pa.int32())
    elif pa.types.is_time(kind):
        array = array.cast(pa.time64("us")).cast(pa.int64())
    elif pa.types.is_boolean(kind):
        array = array.cast(pa.int8())
    return np.ascontiguousarray(array.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False), dtype=np.int64)


def _text_hashes(array: pa.Array) -> np.ndarray:
    encoded = pc.dictionary_encode(array)
    words = [hashlib.blake2b(value if isinstance(value, bytes) else value.encode(), digest_size=8).digest() for value in encoded.dictionary.to_pylist()]
    table = np.frombuffer(b"".join(words) or b"\0" * 8, dtype="<u8")
    return table[encoded.indices.fill_null(0).to_numpy(zero_copy_only=False)]


def _list_hashes(array: pa.Array, children: np.ndarray, is_ordered: bool) -> np.ndarray:
    offsets = array.offsets.to_numpy(zero_copy_only=False).astype(np.int64)
    starts, ends = offsets[:-1], offsets[1:]
    lengths = ends - starts
    if is_ordered:
        # A position within its own list, so that equal elements in another order differ.
        position = np.arange(len(children), dtype=np.int64)
        covered = np.repeat(starts, lengths)
        place = np.zeros(len(children), dtype=np.uint64)
        if len(covered):
            first, last = int(starts[0]), int(ends[-1])
            place[first:last] = (position[first:last] - covered).astype(np.uint64)
        children = _mix(children + place * np.uint64(0xD1B54A32D192ED03))
    sums = np.concatenate([np.zeros(1, dtype=np.uint64), np.cumsum(children, dtype=np.uint64)])
    return _mix((sums[ends] - sums[starts]) + (lengths.astype(np.uint64) + np.uint64(1)) * np.uint64(0xBF58476D1CE4E5B9))


def _name_hash(name: str) -> np.uint64:
    return np.uint64(int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little"))


def _mix(values: np.ndarray) -> np.ndarray:
    """The finaliser of splitmix64: every bit of the input moves half of the output."""
    mixed = values.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    mixed ^= mixed >> np.uint64(30)
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    mixed ^= mixed >> np.uint64(27)
    mixed *= np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    return mixed
