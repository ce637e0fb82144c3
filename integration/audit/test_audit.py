"""Owns the proof that the audit can fail: handmade tables with one fault each. Not the sink."""

import base64
import json
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from .audit import audit
from .compare import avro_row, json_record
from .rows import digest

SCHEMA = [("id", "long"), ("amount", "decimal(9,2)"), ("_kafka_topic", "string"), ("_kafka_partition", "integer"), ("_kafka_offset", "long")]
APP = "lakeward/t/0/0"


def payload(offset: int) -> bytes:
    return json.dumps({"id": offset, "amount": f"{offset}.25"}).encode()


class Table:
    """A table of one topic partition, written by hand."""

    def __init__(self, folder):
        self.folder = folder / "table"
        (self.folder / "_delta_log").mkdir(parents=True)
        self.dump = folder / "dump.tsv"
        fields = [{"name": name, "type": kind, "nullable": True, "metadata": {}} for name, kind in SCHEMA]
        schema = json.dumps({"type": "struct", "fields": fields})
        metadata = {"id": "x", "schemaString": schema, "partitionColumns": [], "configuration": {}, "format": {"provider": "parquet", "options": {}}}
        protocol = {"minReaderVersion": 1, "minWriterVersion": 2}
        self.version = 0
        self.commit([{"commitInfo": {"operation": "CREATE TABLE"}}, {"protocol": protocol}, {"metaData": metadata}, {"txn": {"appId": APP, "version": 0}}])

    def commit(self, actions):
        file = self.folder / "_delta_log" / f"{self.version:020}.json"
        file.write_text("\n".join(json.dumps(action) for action in actions))
        self.version += 1

    def file(self, name, offsets, amounts=None):
        amounts = amounts or {}
        rows = {
            "id": pa.array(offsets, pa.int64()),
            "amount": pa.array([amounts.get(offset, Decimal(f"{offset}.25")) for offset in offsets], pa.decimal128(9, 2)),
            "_kafka_topic": ["t"] * len(offsets),
            "_kafka_partition": pa.array([0] * len(offsets), pa.int32()),
            "_kafka_offset": pa.array(offsets, pa.int64()),
        }
        pq.write_table(pa.table(rows), self.folder / name)
        return {"add": {"path": name, "size": (self.folder / name).stat().st_size, "dataChange": True, "partitionValues": {}, "stats": json.dumps({"numRecords": len(offsets)})}}

    def append(self, adds, start, end, rows, txn=None, tail=None):
        span = {"topic": "t", "incarnation": 0, "partition": 0, "start": start, "end": end, "rows": rows, "rejects": 0, "skipped": 0, "lost": 0}
        info = {"commitInfo": {"operation": "STREAMING UPDATE", "lakeward": {"spans": [span]}}}
        tails = zip(("leader_epoch", "leader_epoch_end"), tail or (), strict=False)
        self.commit([info, *adds, {"txn": {"appId": APP, "version": end if txn is None else txn}}, *({"txn": {"appId": f"{APP}/{name}", "version": value}} for name, value in tails)])

    def write_dump(self, end, gaps=()):
        lines = [f"# t\t0\t0\t{end}"]
        for offset in range(end):
            if offset not in gaps:
                lines.append(f"t\t0\t{offset}\t1000\t-\t{base64.b64encode(payload(offset)).decode()}")
        self.dump.write_text("\n".join(lines) + "\n")

    def judge(self):
        return audit(self.folder, self.dump, json_record)


@pytest.fixture
def table(tmp_path):
    return Table(tmp_path)


def test_a_faultless_table_with_a_gap_in_the_offsets_is_clean(table):
    table.append([table.file("a", [0, 1, 2])], 0, 3, 3)
    table.append([table.file("b", [4, 5])], 3, 6, 2)
    table.write_dump(6, gaps=[3])
    report = table.judge()
    assert report.is_clean, report
    assert (report.records, report.rows, report.commits, report.files) == (5, 5, 3, 2)


def test_a_lost_row_is_reported(table):
    table.append([table.file("a", [0, 2])], 0, 3, 2)
    table.write_dump(3)
    report = table.judge()
    assert (report.lost, report.duplicated, report.altered) == (1, 0, 0)
    assert any("('t', 0, 1)" in finding for finding in report.findings)


def test_a_duplicated_row_is_reported(table):
    table.append([table.file("a", [0, 1, 1])], 0, 2, 3)
    table.write_dump(2)
    assert (table.judge().lost, table.judge().duplicated) == (0, 1)


def test_an_altered_value_is_reported(table):
    table.append([table.file("a", [0, 1], {1: Decimal("1.26")})], 0, 2, 2)
    table.write_dump(2)
    report = table.judge()
    assert report.altered == 1 and "amount" in report.findings[0]


def test_a_row_of_no_record_is_reported(table):
    table.append([table.file("a", [0, 1])], 0, 2, 2)
    table.write_dump(2, gaps=[1])
    assert table.judge().extra == 1


def test_a_file_committed_twice_is_reported_even_though_the_snapshot_has_it_once(table):
    added = table.file("a", [0, 1])
    table.append([added], 0, 2, 2)
    table.append([added], 2, 2, 2)
    table.write_dump(2)
    report = table.judge()
    assert report.rows == 2 and report.duplicated == 2


def test_a_gap_between_spans_is_reported(table):
    table.append([table.file("a", [0, 1])], 0, 2, 2)
    table.append([table.file("b", [3, 4])], 3, 5, 2)
    table.write_dump(5, gaps=[2])
    assert any("does not begin where" in finding for finding in table.judge().findings)


def test_a_txn_beside_its_span_is_reported(table):
    table.append([table.file("a", [0, 1])], 0, 2, 2, txn=3)
    table.write_dump(2)
    assert any("stands beside txn 3" in finding for finding in table.judge().findings)


def test_offsets_without_a_record_say_that_there_was_none_from_their_start_on_and_nothing_else_may(table):
    table.append([], 0, 2, 0, tail=(-1, 0))
    table.append([table.file("a", [2, 3])], 2, 4, 2, tail=(5, 4))
    table.write_dump(4, gaps=[0, 1])
    assert table.judge().findings == []
    table.append([], 4, 6, 0, tail=(5, 4))
    table.write_dump(6, gaps=[0, 1, 4, 5])
    assert any("has its last record before 4" in finding for finding in table.judge().findings)


def test_a_table_behind_the_last_stable_offset_is_reported(table):
    table.append([table.file("a", [0, 1])], 0, 2, 2)
    table.write_dump(2)
    table.dump.write_text(table.dump.read_text().replace("# t\t0\t0\t2", "# t\t0\t0\t4"))
    assert any("last stable offset is 4" in finding for finding in table.judge().findings)


def test_rows_that_the_spans_do_not_count_are_reported(table):
    table.append([table.file("a", [0, 1])], 0, 2, 1)
    table.write_dump(2)
    assert any("its spans say 1" in finding for finding in table.judge().findings)


def test_a_live_file_that_is_gone_is_reported(table):
    table.append([table.file("a", [0, 1])], 0, 2, 2)
    (table.folder / "a").unlink()
    table.write_dump(2)
    report = table.judge()
    assert report.lost == 2 and "not there" in report.findings[0]


def test_a_union_of_several_types_is_a_struct_of_members():
    assert avro_row(["null", "string", "long"], 7) == {"string": None, "long": 7}
    assert avro_row(["null", "string"], "x") == "x"


def test_the_digest_sees_every_change_but_the_order_of_rows():
    rows = [
        {"a": 1, "b": {"c": None, "d": [1, 2]}, "e": Decimal("1.10"), "f": "x"},
        {"a": None, "b": None, "e": Decimal("-99.99"), "f": ""},
        {"a": 3, "b": {"c": 2.5, "d": []}, "e": None, "f": None},
    ]
    kind = pa.schema([("a", pa.int64()), ("b", pa.struct([("c", pa.float64()), ("d", pa.list_(pa.int32()))])), ("e", pa.decimal128(9, 2)), ("f", pa.string())])

    def of(changed):
        return digest([pa.Table.from_pylist(changed, schema=kind)], kind.names)

    base = of(rows)
    assert of(rows[::-1]) == base
    sliced = pa.Table.from_pylist(rows[:1] + rows, schema=kind).slice(1)
    assert digest([sliced], kind.names) == base
    assert digest([sliced.slice(0, 1), sliced.slice(1)], kind.names) == base
    changes = [("a", 2), ("b", {"c": None, "d": [2, 1]}), ("b", {"c": None, "d": None}), ("b", {"c": None, "d": []}), ("b", None), ("e", Decimal("1.11")), ("f", None)]
    others = [of([{**rows[0], name: value}, *rows[1:]]) for name, value in changes]
    assert len({base, *others, of(rows[:2]), of([*rows, rows[0]])}) == len(changes) + 3
