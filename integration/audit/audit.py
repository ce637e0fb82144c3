"""Owns the verdict whether a table holds every record of its topics exactly once. Not the truth about the topics (Dump.java), not comparing a value (compare).

Two views are judged, because each hides what the other shows: the snapshot (live files), and the stream of commits, where a file that was added twice or rows
that were removed again stay visible to whoever reads the table as a stream.

    python -m audit.audit TABLE DUMP        exit 0 when nothing is lost, duplicated or altered, else 1
"""

import base64
import datetime
import json
import re
import sys
from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from urllib.parse import unquote

import pyarrow.parquet as pq

COORDINATES = ("_kafka_topic", "_kafka_partition", "_kafka_offset")
APP_ID = re.compile(r"lakeward/(?P<topic>.+)/(?P<incarnation>\d+)/(?P<partition>\d+)$")
FINDINGS_MAX = 20


@dataclass
class Report:
    records: int = 0
    rows: int = 0
    rejects: int = 0
    commits: int = 0
    files: int = 0
    lost: int = 0
    duplicated: int = 0
    altered: int = 0
    extra: int = 0
    foreign: int = 0
    findings: list[str] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        return not (self.lost or self.duplicated or self.altered or self.extra or self.findings)

    def say(self, finding: str) -> None:
        if len(self.findings) < FINDINGS_MAX:
            self.findings.append(finding)

    def __str__(self) -> str:
        counts = " ".join(f"{name}={getattr(self, name)}" for name in ("records", "rows", "rejects", "commits", "files", "lost", "duplicated", "altered", "extra"))
        return "\n".join([f"audit: {counts}", *(f"audit: {finding}" for finding in self.findings)])


@dataclass
class Commit:
    version: int
    adds: list[dict]
    removes: list[dict]
    txns: dict[str, int]
    spans: list[dict]
    operation: str | None


@dataclass
class Log:
    """A Delta log: where it starts (empty, or the checkpoint that clean-up left), and every commit since."""

    live: dict[str, dict] = field(default_factory=dict)
    txns: dict[str, int] = field(default_factory=dict)
    schema: dict = field(default_factory=dict)
    partition_columns: list[str] = field(default_factory=list)
    properties: dict = field(default_factory=dict)
    commits: list[Commit] = field(default_factory=list)
    from_checkpoint: int | None = None


def read_log(table: Path) -> Log:
    folder = table / "_delta_log"
    entries = {int(file.stem): file for file in folder.glob("*.json") if file.stem.isdigit()}
    checkpoints: dict[int, list[Path]] = {}
    for file in folder.glob("*.checkpoint*.parquet"):
        checkpoints.setdefault(int(file.name.split(".")[0]), []).append(file)
    latest = max([*entries, *checkpoints], default=-1)
    if latest < 0:
        raise ValueError(f"{table} has no Delta log")
    log = Log()
    start = 0
    if 0 not in entries:
        # The oldest checkpoint from which every later entry is still there tells the longest story.
        start = next(version for version in sorted(checkpoints) if all(later in entries for later in range(version + 1, latest + 1)))
        _read_checkpoint(log, checkpoints[start])
        log.from_checkpoint = start
        start += 1
    for version in range(start, latest + 1):
        if version not in entries:
            raise ValueError(f"{table}: version {version} is missing below version {latest}")
        log.commits.append(_read_entry(log, version, entries[version]))
    return log


def live_files(table: Path) -> dict[str, dict]:
    """The adds of the newest snapshot, by path."""
    log = read_log(table)
    live = dict(log.live)
    for commit in log.commits:
        for remove in commit.removes:
            live.pop(remove["path"], None)
        live.update({add["path"]: add for add in commit.adds})
    return live


def _read_entry(log: Log, version: int, file: Path) -> Commit:
    commit = Commit(version, [], [], {}, [], None)
    for line in file.read_text().splitlines():
        if not line.strip():
            continue
        action = json.loads(line)
        if "add" in action:
            commit.adds.append(action["add"])
        elif "remove" in action:
            commit.removes.append(action["remove"])
        elif "txn" in action:
            commit.txns[action["txn"]["appId"]] = action["txn"]["version"]
        elif "metaData" in action:
            _read_metadata(log, action["metaData"])
        elif "commitInfo" in action:
            commit.operation = action["commitInfo"].get("operation")
            commit.spans = (action["commitInfo"].get("lakeward") or {}).get("spans") or []
    return commit


def _read_metadata(log: Log, metadata: dict) -> None:
    log.schema = json.loads(metadata["schemaString"])
    log.partition_columns = list(metadata.get("partitionColumns") or [])
    log.properties = dict(metadata.get("configuration") or {})


def _read_checkpoint(log: Log, files: list[Path]) -> None:
    for file in files:
        for row in pq.read_table(file).to_pylist(maps_as_pydicts="lossy"):
            if row.get("add"):
                log.live[row["add"]["path"]] = row["add"]
            if row.get("txn"):
                log.txns[row["txn"]["appId"]] = row["txn"]["version"]
            if row.get("metaData"):
                _read_metadata(log, row["metaData"])


def read_dump(dump: Path, topics: set[str] | None = None):
    """Records by coordinates as (timestamp, value), and the range of each topic partition; of these topics only, where they are given."""
    records: dict[tuple[str, int, int], tuple[int, bytes | None]] = {}
    ranges: dict[tuple[str, int], tuple[int, int]] = {}
    with dump.open() as lines:
        for line in lines:
            parts = line.rstrip("\n").split("\t")
            if topics is not None and parts[0].removeprefix("# ") not in topics:
                continue
            if line.startswith("# "):
                ranges[(parts[0][2:], int(parts[1]))] = (int(parts[2]), int(parts[3]))
                continue
            topic, partition, offset, timestamp, _key, value = parts
            records[(topic, int(partition), int(offset))] = (int(timestamp), None if value == "-" else base64.b64decode(value))
    return records, ranges


def audit(table: Path, dump: Path, compare=None, is_rejected=None, must_reach_end: bool = True, topics: set[str] | None = None, others_append: bool = False) -> Report:
    """Judges the table by the dump, or by its part about `topics`. `compare(payload, row)` says what differs in a row's own columns, `is_rejected(coordinates, payload)` which records must
    not have a row. Records without a value are tombstones, which are skipped. Where `others_append`, rows without coordinates are theirs: counted, not judged."""
    report = Report()
    records, ranges = read_dump(dump, topics)
    report.records = len(records)
    log = read_log(table)
    _judge_stream(log, report, table, others_append)
    _judge_spans(log, report, records, ranges, must_reach_end)
    seen = _judge_rows(log, report, records, table, compare, others_append)
    expected = {
        coordinates for coordinates, (_timestamp, value) in records.items() if value is not None and not (is_rejected and is_rejected(coordinates, value))
    }
    for coordinates in sorted(expected - seen.keys()):
        report.lost += 1
        report.say(f"lost: {coordinates}")
    for coordinates in sorted(seen.keys() - expected):
        report.extra += 1
        report.say(f"extra: {coordinates} is not a record of the topic that may be in the table")
    for coordinates, count in seen.items():
        if count > 1:
            report.duplicated += count - 1
            report.say(f"duplicated: {coordinates} stands {count} times")
    return report


def _judge_stream(log: Log, report: Report, table: Path, others_append: bool) -> None:
    ever_added = set(log.live)
    for commit in log.commits:
        report.commits += 1
        added_rows = 0
        removed = {remove["path"] for remove in commit.removes}
        for path in removed:
            if log.live.pop(path, None) is None:
                report.say(f"version {commit.version} removes {path}, which is not live")
        for add in commit.adds:
            if add["path"] in ever_added:
                report.duplicated += _stats_rows(add) or 1
                report.say(f"version {commit.version} adds {add['path']} for the second time")
            ever_added.add(add["path"])
            log.live[add["path"]] = add
            if add.get("dataChange", True):
                added_rows += _stats_rows(add) or 0
        if commit.operation == "STREAMING UPDATE":
            span_rows = sum(count(span.get("rows")) for span in commit.spans)
            if span_rows != added_rows:
                report.say(f"version {commit.version} adds {added_rows} rows, its spans say {span_rows}")
        elif any(add.get("dataChange", True) for add in commit.adds) and not (others_append and not commit.txns):
            report.say(f"version {commit.version} ({commit.operation}) adds rows outside of an append")


def _judge_spans(log: Log, report: Report, records: dict, ranges: dict, must_reach_end: bool) -> None:
    positions = {app: version for app, version in log.txns.items() if APP_ID.match(app)}
    offsets: dict[tuple[str, int], list[int]] = {}
    for topic, partition, offset in records:
        offsets.setdefault((topic, partition), []).append(offset)
    for commit in log.commits:
        txns = {app: version for app, version in commit.txns.items() if APP_ID.match(app)}
        spanned = set()
        for span in commit.spans:
            app = f"lakeward/{span['topic']}/{span['incarnation']}/{span['partition']}"
            name = f"version {commit.version}: the span [{span['start']}, {span['end']}) of {app}"
            if app in spanned:
                report.say(f"{name} is not the only one of its topic partition")
            spanned.add(app)
            if span["start"] > span["end"]:
                report.say(f"{name} is reversed")
            if app in positions and positions[app] != span["start"]:
                report.say(f"{name} does not begin where the last one ended, at {positions[app]}")
            if txns.get(app) != span["end"]:
                report.say(f"{name} stands beside txn {txns.get(app)}")
            tail = commit.txns.get(f"{app}/leader_epoch_end")
            # Before the first record, it is said that there was none from there on.
            is_none_yet = commit.txns.get(f"{app}/leader_epoch") == -1 and tail == span["start"]
            if tail is not None and not span["start"] < tail <= span["end"] and not is_none_yet:
                report.say(f"{name} has its last record before {tail}")
            report.rejects += count(span.get("rejects"))
            topic_offsets = offsets.get((span["topic"], span["partition"]), [])
            within = bisect_left(topic_offsets, span["end"]) - bisect_left(topic_offsets, span["start"])
            counted = sum(count(span.get(key)) for key in ("rows", "rejects", "skipped"))
            if within != counted:
                report.say(f"{name} accounts for {counted} records, the topic has {within} there")
        for app, version in txns.items():
            if app not in spanned and positions.get(app, version) != version:
                report.say(f"version {commit.version} moves {app} from {positions[app]} to {version} without a span")
            positions[app] = version
        for app in spanned - txns.keys():
            report.say(f"version {commit.version} has a span but no txn for {app}")
    newest: dict[tuple[str, int], tuple[int, int]] = {}
    for app, version in positions.items():
        parts = APP_ID.match(app)
        key = (parts["topic"], int(parts["partition"]))
        newest[key] = max(newest.get(key, (-1, 0)), (int(parts["incarnation"]), version))
    for key, (_beginning, end) in ranges.items():
        committed = newest.get(key, (0, None))[1]
        if must_reach_end and committed != end:
            report.say(f"{key} is committed up to {committed}, its last stable offset is {end}")


def _judge_rows(log: Log, report: Report, records: dict, table: Path, compare, others_append: bool) -> Counter:
    seen: Counter = Counter()
    types = {column["name"]: column["type"] for column in log.schema["fields"]}
    for path, add in log.live.items():
        report.files += 1
        file = table / unquote(path)
        if not file.is_file():
            report.say(f"{path} is live but not there")
            continue
        if file.stat().st_size != add["size"]:
            report.say(f"{path} has {file.stat().st_size} bytes, the log says {add['size']}")
        # Not pq.read_table: it would take "key=value" folders of the path for columns.
        content = pq.ParquetFile(file).read()
        if (stated := _stats_rows(add)) is not None and stated != content.num_rows:
            report.say(f"{path} has {content.num_rows} rows, its statistics say {stated}")
        placed = {name: partition_value(text, types[name]) for name, text in (add.get("partitionValues") or {}).items()}
        missing = {name: None for name in types if name not in placed and name not in content.column_names}
        names = None if compare else [name for name in content.column_names if name.startswith("_kafka_")]
        for row in (content if names is None else content.select(names)).to_pylist(maps_as_pydicts="strict"):
            row = {**row, **placed, **missing}
            coordinates = tuple(row.pop(name) for name in COORDINATES)
            if others_append and coordinates == (None, None, None):
                report.foreign += 1
                continue
            report.rows += 1
            seen[coordinates] += 1
            if coordinates in records and (difference := _differs(records[coordinates], row, compare, log.partition_columns)):
                report.altered += 1
                report.say(f"altered: {coordinates}: {difference}")
    return seen


def _differs(record: tuple, row: dict, compare, partition_columns: list[str]) -> str | None:
    timestamp, value = record
    stored = row.get("_kafka_timestamp")
    if stored is not None and stored != datetime.datetime.fromtimestamp(0, datetime.UTC) + datetime.timedelta(milliseconds=timestamp):
        return f"_kafka_timestamp is {stored}, the record's is {timestamp} ms"
    if compare is None or value is None:
        return None
    own = {name: content for name, content in row.items() if not name.startswith("_kafka_")}
    difference = compare(value, own)
    # Delta cannot tell an empty string from null in a partition column.
    if difference and any(difference == f"{name}: '' became None" for name in partition_columns):
        return None
    return difference


def partition_value(text: str | None, kind):
    """The value that a Delta log writes as text."""
    if text is None or text == "":
        return None
    if kind in ("integer", "long", "short", "byte"):
        return int(text)
    if kind == "boolean":
        return {"true": True, "false": False}[text]
    if kind == "date":
        return datetime.date.fromisoformat(text)
    if kind == "timestamp":
        instant = datetime.datetime.fromisoformat(text)
        return instant if instant.tzinfo else instant.replace(tzinfo=datetime.UTC)
    if isinstance(kind, str) and kind.startswith("decimal"):
        return Decimal(text)
    return text


def _stats_rows(add: dict) -> int | None:
    return json.loads(add["stats"]).get("numRecords") if add.get("stats") else None


def count(value) -> int:
    """Spans count rejects either as a number or as the list of their offsets."""
    if value is None:
        return 0
    return len(value) if isinstance(value, (list, dict)) else int(value)


def main(arguments: list[str]) -> int:
    report = audit(Path(arguments[0]), Path(arguments[1]))
    print(report)
    return 0 if report.is_clean else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
