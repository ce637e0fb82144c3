"""Owns `make bench`: which rows run, how large, and what they came to, one JSON line each. Not how a row is measured.

    make bench BENCH="--list"
    make bench BENCH="--only orders_avro --only freshness --records 2000000 --record"
"""

import argparse
import json
import os
import sys
import time

from components import Kafka, Registry

from . import freshness, page
from .matrix import ROWS
from .measure import Bench
from .workloads import all_workloads

FRESHNESS = "freshness"


def main(arguments: list[str]) -> int:
    options = _options(arguments)
    if options.list:
        for row in ROWS:
            print(f"{row.name:36} {row.says}")
        print(f"{FRESHNESS:36} {freshness.RATE:,} records/s at target_lag 1s: how old a record is when it can be read; and how soon a sink starts")
        return 0
    if options.report:
        page.write()
        return 0
    workloads = all_workloads()
    chosen = [row for row in ROWS if not options.only or row.name in options.only]
    wants_freshness = not options.only or FRESHNESS in options.only
    for name, kind, records in sorted({(row.workload, row.kind, max(1, int(options.records * row.share))) for row in chosen} | ({("orders", "avro", freshness.RATE)} if wants_freshness else set())):
        started = time.monotonic()
        # Encoded before the broker runs: generating takes the memory and the cores that are measured.
        next(iter(workloads[name].payloads(kind, records)), None)
        _say(f"{records:,} {name} as {kind} are ready after {time.monotonic() - started:.1f} s")
    results = []
    with Registry() as registry, Kafka() as kafka:
        bench = Bench(kafka, registry, options.records)
        try:
            for place, row in enumerate(chosen):
                _say(f"{place + 1} of {len(chosen)}: {row.name}")
                results.append(bench.row(row, workloads[row.workload]))
                print(json.dumps(results[-1]), flush=True)
            if wants_freshness:
                _say(f"{FRESHNESS}: {options.seconds} s")
                for line in freshness.measure(bench, workloads["orders"], options.seconds):
                    results.append(line)
                    print(json.dumps(line), flush=True)
        finally:
            bench.close()
    differing = _differing(results)
    if options.record and not differing:
        page.record(results)
        page.write()
    for name, hashes in differing.items():
        print(f"bench: rows of the same records left different tables: {name}: {hashes}", file=sys.stderr)
    return 1 if differing else 0


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench", description="From real Kafka to a table: records/s, CPU, memory, bytes, freshness. One JSON line for each row.")
    names = [row.name for row in ROWS] + [FRESHNESS]
    parser.add_argument("--list", action="store_true", help="name the rows and end")
    parser.add_argument("--only", action="append", choices=names, help="this row (may be repeated); all if left out")
    parser.add_argument("--records", type=int, default=int(os.environ.get("BENCH_RECORDS") or 2_000_000), help="records of a whole row (BENCH_RECORDS, 2,000,000)")
    parser.add_argument("--seconds", type=int, default=30, help="how long the rate of the freshness row is held (30)")
    parser.add_argument("--record", action="store_true", help="add the results to docs/performance.jsonl and write docs/PERFORMANCE.md anew")
    parser.add_argument("--report", action="store_true", help="write docs/PERFORMANCE.md anew and end")
    return parser.parse_args(arguments)


def _differing(results: list[dict]) -> dict[str, set[str]]:
    """The same records must be the same rows, whatever they came by; formats are compared by the columns that they hold alike."""
    found: dict[str, set[str]] = {}
    for result in results:
        if "common_sha256" in result:
            workload = next(row.workload for row in ROWS if row.name == result["bench"])
            found.setdefault(f"{workload}, {result['records']} records", set()).add(result["common_sha256"])
    return {name: hashes for name, hashes in found.items() if len(hashes) > 1}


def _say(text: str) -> None:
    print(f"[bench] {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
