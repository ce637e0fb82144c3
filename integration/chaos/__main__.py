"""Owns `make chaos`: which scenarios run, how often, with which seed, and what they came to. Not the scenarios.

    make chaos CHAOS="--list"
    make chaos CHAOS="--only kill --rounds 200 --seed 7 --record"
"""

import argparse
import random
import sys
import time
import traceback

from . import scoreboard
from .batch import Batch, Outcome
from .fleet import Broken
from .scenarios import ALL, Scenario
from .surroundings import Surroundings

# What `make test` plays: rounds drawn from these scenarios and their variants.
SHORT = ("kill", "stop", "join-leave")


def main(arguments: list[str]) -> int:
    options = _options(arguments)
    if options.list:
        for scenario in ALL.values():
            print(f"{scenario.name:24} {scenario.rounds:5} rounds  {', '.join(scenario.variants)}\n    {scenario.says}")
        return 0
    if options.report:
        scoreboard.write()
        return 0
    seed = options.seed if options.seed is not None else random.randrange(2**32)
    print(f"[chaos] seed {seed}: --seed {seed} makes the same choices again (moments differ with the machine)", flush=True)
    outcomes = []
    with Surroundings() as around:
        for scenario, variant, rounds in _short(seed, options.rounds or 30) if options.short else _chosen(options):
            outcome = _play(scenario, variant, rounds, seed, around)
            outcomes.append(outcome)
            print(f"[{outcome.scenario} {outcome.variant}] {outcome}", flush=True)
            if options.record:
                scoreboard.record(outcome)
    if options.record:
        scoreboard.write()
    failed = [outcome for outcome in outcomes if not outcome.is_clean]
    rounds = sum(outcome.rounds for outcome in outcomes)
    print(f"[chaos] seed {seed}: {rounds} rounds in {len(outcomes)} batches, {sum(outcome.seconds for outcome in outcomes):.0f} s; {len(failed)} batches failed", flush=True)
    return 1 if failed else 0


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="chaos", description="Faults on real components, each batch ended by liveness and an independent audit.")
    parser.add_argument("--list", action="store_true", help="name the scenarios and end")
    parser.add_argument("--only", action="append", choices=list(ALL), help="this scenario (may be repeated); all if left out")
    parser.add_argument("--variant", action="append", help="this variant of it (may be repeated); all if left out")
    parser.add_argument("--rounds", type=int, help="rounds of each scenario, shared out over its variants")
    parser.add_argument("--seed", type=int, help="which faults come when; drawn and printed if left out")
    parser.add_argument("--short", action="store_true", help=f"--rounds (30) drawn from {', '.join(SHORT)}")
    parser.add_argument("--record", action="store_true", help="add the results to docs/reliability.jsonl and write docs/RELIABILITY.md anew")
    parser.add_argument("--report", action="store_true", help="write docs/RELIABILITY.md anew and end")
    return parser.parse_args(arguments)


def _chosen(options: argparse.Namespace):
    for scenario in ALL.values():
        if options.only and scenario.name not in options.only:
            continue
        variants = [variant for variant in scenario.variants if not options.variant or variant in options.variant]
        total = options.rounds or scenario.rounds
        for place, variant in enumerate(variants):
            if rounds := total // len(variants) + (place < total % len(variants)):
                yield scenario, variant, rounds


def _short(seed: int, total: int):
    """One protocol for each scenario, and how the rounds divide, both drawn from the seed: three batches instead of nine, since each costs a start and an audit."""
    pick = random.Random(seed)
    protocols = list(ALL[SHORT[0]].variants)
    pick.shuffle(protocols)
    shares = [total // 5] * len(SHORT)
    for _ in range(total - sum(shares)):
        shares[pick.randrange(len(SHORT))] += 1
    for name, protocol, rounds in zip(SHORT, protocols, shares):
        yield ALL[name], protocol, rounds


def _play(scenario: Scenario, variant: str, rounds: int, seed: int, around: Surroundings) -> Outcome:
    outcome = Outcome(scenario.name, variant, seed)
    outcome.say(f"{rounds} rounds: {scenario.says}")
    kafka = around.cluster if scenario.needs_cluster else around.kafka
    batch = Batch(outcome, around, kafka, rounds)
    began = time.monotonic()
    try:
        scenario.play(batch, variant)
    except Broken as broken:
        outcome.failure = str(broken)
    except Exception:
        # The harness failed, which proves nothing about the product and must not pass for a proof either.
        outcome.failure = f"the harness: {traceback.format_exc()}"
    finally:
        outcome.seconds = time.monotonic() - began
        batch.end()
    return outcome


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
