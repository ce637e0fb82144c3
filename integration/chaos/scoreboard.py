"""Owns docs/RELIABILITY.md, generated from docs/reliability.jsonl, and adding results to the latter. Not getting results."""

import datetime
import hashlib
import json
import os
import subprocess
from pathlib import Path

from . import guards
from .batch import Outcome
from .scenarios import ALL

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "docs" / "reliability.jsonl"
PAGE = ROOT / "docs" / "RELIABILITY.md"

# Before anything was recorded: what the first runs of the harness failed by, and what mended it.
FOUND = [
    "join-leave, cooperative and kip848, 3 rounds: up to 14 records lost. librdkafka went on one record too far behind an end, in every topic partition retained over a rebalance. Mended: `Control::beside_retained`.",
    "stop, cooperative, 3 rounds: a table suspended for an offset out of range although nothing was deleted. The same cause.",
    "stop, cooperative, 1 to 12 rounds: topic partitions never read again. What was paused when it was lost came back paused. Mended: `Group::assign` resumes first, and `Group::resume_at` waits for its seeks.",
    "lost-responses and stop: a drain while a checkpoint was being written ended with exit 70. Mended: the drain waits for it.",
    "growth, range, 2 rounds: superseded for ever after another instance had named a new topic partition. Mended: `Table::hand_out`.",
    "lost-responses: the S3 server of the tests (moto) let two writers win a put-if-absent, which the sink's probe at start refused. Mended: `components/atomic_moto.py`.",
    "live, eager, cooperative and kip848: a topic partition that retention overtook while the sink ran was never read again. librdkafka drops the forwarding of a queue when it stops its topic partition. Mended: `Group::take_back`.",
    "live, kip848, three instances that end by themselves: one that left while it was assigned something waited for ever. Mended: `Group::close` answers it, and waits 30 s at most; an assignment that was told before and not answered yet held them for just those 30 s, also under cooperative. Mended: `Group` remembers what is unanswered.",
    "simulation, 25,000 seeds: a commit on a late put that had landed below a newer checkpoint was reported as done, and read again later. Mended: `delta/replay.rs: load_once` looks at the newest checkpoint again.",
    "simulation, 25,000 seeds: a log truncated twice in a row lost the records between, where nothing of the new one was read yet; and one truncated where only markers had been read was not noticed. Mended: `Mend::Again` carries what lies below, `delta/change.rs: tail_txns` claims that there was none.",
    "simulation, 27,500 seeds more: a commit on a base whose entry had been cleaned up and come back by a late put of the same bytes was reported as done, below the newest checkpoint. Mended: `delta/state.rs: holds` looks at the object, too.",
    "simulation, 27,500 seeds more: markers that were read behind a table's last record and then truncated hid a record in their place, where the next commit began behind them. Mended: `model/lineage.rs: handovers` claims that there was none up to its first record.",
    "simulation, 28,000 seeds more: three loads in a row that each met a clean-up were taken for a damaged log, which ended an instance or a maintainer. Mended: `delta/log.rs: Doubts`.",
    "simulation, 66,000 seeds more: a load that read entries while a clean-up took them away, up to the newest version, took a late put in the place of one for progress, which left a topic partition named without an offset. Mended: `delta/log.rs: is_passed`, for file lists too.",
    "simulation, 101,500 seeds on the product with that (90,000,000 to 90,057,000, and 95,000,000 to 95,045,000): none of the product; one of the harness (90,039,011), mended before the second part.",
]


def record(outcome: Outcome) -> None:
    report = outcome.report
    line = {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M"),
        "revision": _revision(),
        "binary": hashlib.sha256(Path(os.environ["LAKEWARD_BIN"]).read_bytes()).hexdigest()[:12],
        "scenario": outcome.scenario,
        "variant": outcome.variant,
        "seed": outcome.seed,
        "rounds": outcome.rounds,
        "repeated": outcome.repeated,
        "faults": dict(sorted(outcome.faults.items())),
        "counts": dict(sorted(outcome.counts.items())),
        "seconds": round(outcome.seconds),
        "catch_up_seconds": outcome.catch_up_seconds and round(outcome.catch_up_seconds, 1),
        "audit": report and {key: getattr(report, key) for key in ("records", "rows", "commits", "lost", "duplicated", "altered", "extra")},
        "is_clean": outcome.is_clean,
        "failure": outcome.failure and _brief(outcome.failure),
        "findings": report.findings[:3] if report else [],
        "notes": outcome.notes,
    }
    RESULTS.parent.mkdir(exist_ok=True)
    with RESULTS.open("a") as results:
        results.write(json.dumps(line) + "\n")


def _brief(failure: str) -> str:
    """Its first line, and the error that a process said at its end or that stopped the harness."""
    first, *rest = failure.strip().splitlines()
    said = [line for line in rest if line.startswith("error: ") or "Error: " in line[:40]]
    return "; ".join(line[:300] for line in [first, *said[-1:]])


def _revision() -> str:
    asked = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    return asked.stdout.strip() or "unknown"


def write() -> None:
    PAGE.write_text(page([json.loads(line) for line in RESULTS.read_text().splitlines()]))


def page(results: list[dict]) -> str:
    """One row for each scenario and variant: all its runs that proved something, added up."""
    lines = [
        "# What was tried against the promise",
        "",
        "Generated by `make chaos CHAOS=--report` from [reliability.jsonl](reliability.jsonl), one line for each batch that was run with `--record`; do not edit. A batch is many",
        "rounds over one topic, one table and one fleet of instances, on a real Kafka, under load. A round counts only if its fault is proven to have met a sink at work;",
        "others are repeated. Every batch ends with liveness (the table comes to the topic's end within 60 s) and with an audit that shares no code with the sink, against what an Apache Java",
        "consumer reads. No failure in n rounds bounds the failures per round below 3/n (95 %).",
        "",
        "| scenario | variant | rounds | faults delivered | records | lost | duplicated | altered | supersessions | slowest catch-up | last run | repeat it |",
        "|---|---|---:|---|---:|---:|---:|---:|---:|---:|---|---|",
    ]
    lines += [_row(name, variant, runs) for (name, variant), runs in _grouped(results).items()]
    failed = [result for result in results if not result["is_clean"]]
    lines += ["", "## Batches that failed", ""]
    lines += [f"* {_failure(result, results)}" for result in failed] or ["None."]
    lines += ["", "## What it found", "", *(f"* {found}" for found in FOUND)]
    lines += ["", "## Invariants and their guards", "", *guards.lines()]
    lines += ["", "## What each scenario does", ""]
    lines += [f"* **{scenario.name}**: {scenario.says}" for scenario in ALL.values()]
    return "\n".join(lines) + "\n"


def _grouped(results: list[dict]) -> dict[tuple[str, str], list[dict]]:
    grouped: dict[tuple[str, str], list[dict]] = {}
    for scenario in ALL.values():
        for variant in scenario.variants:
            runs = [result for result in results if (result["scenario"], result["variant"]) == (scenario.name, variant)]
            # A failed batch stands in its own list until it was run clean; then in both.
            if runs:
                grouped[(scenario.name, variant)] = runs
    return grouped


def _row(name: str, variant: str, runs: list[dict]) -> str:
    clean = [run for run in runs if run["is_clean"]]
    audited = [run["audit"] for run in clean if run["audit"]]
    total = lambda key: f"{sum(audit[key] for audit in audited):,}"  # noqa: E731
    faults: dict[str, int] = {}
    for run in clean:
        for kind, number in run["faults"].items():
            faults[kind] = faults.get(kind, 0) + number
    rounds = sum(run["rounds"] for run in clean)
    last = max(runs, key=lambda run: run["date"])
    slowest = max((run["catch_up_seconds"] or 0 for run in clean), default=0)
    verdict = str(rounds) if last["is_clean"] else f"{rounds}, **the last run failed**"
    counted = ", ".join(f"{number} {kind}" for kind, number in sorted(faults.items()))
    superseded = sum(run["counts"].get("supersessions", 0) for run in clean)
    quoted = f"'{variant}'" if " " in variant else variant
    command = f'`make chaos CHAOS="--only {name} --variant {quoted} --rounds {last["rounds"]} --seed {last["seed"]}"`'
    return f"| {name} | {variant} | {verdict} | {counted} | {total('records')} | {total('lost')} | {total('duplicated')} | {total('altered')} | {superseded} | {slowest:.1f} s | {last['date']} | {command} |"


def _failure(result: dict, results: list[dict]) -> str:
    later = [other for other in results if (other["scenario"], other["variant"]) == (result["scenario"], result["variant"]) and other["date"] > result["date"] and other["is_clean"]]
    what = result["failure"] or "; ".join(result["findings"])
    what = "; ".join([what, *result["notes"]])
    since = f" Since then clean: {sum(run['rounds'] for run in later)} rounds." if later else " Not run clean since."
    return f"{result['date']}, revision {result['revision']}: {result['scenario']} {result['variant']} (seed {result['seed']}): {what}.{since}"
