"""Owns the list of scenarios: name, what it tries, its variants, how many rounds it plays if nobody says. Not how they are played."""

from collections.abc import Callable
from dataclasses import dataclass

from . import brokers, responses, rounds, topics
from .fleet import PROTOCOLS


@dataclass(frozen=True)
class Scenario:
    name: str
    play: Callable
    variants: tuple[str, ...]
    rounds: int
    needs_cluster: bool = False

    @property
    def says(self) -> str:
        return self.play.__doc__.strip().splitlines()[0]


ALL = {
    scenario.name: scenario
    for scenario in [
        Scenario("kill", rounds.kill, tuple(PROTOCOLS), 30),
        Scenario("stop", rounds.stop, tuple(PROTOCOLS), 15),
        Scenario("join-leave", rounds.join_leave, tuple(PROTOCOLS), 15),
        Scenario("lost-responses", responses.lost_responses, tuple(responses.MODES), 500),
        Scenario("transactions", topics.transactions, ("cooperative",), 200),
        Scenario("hanging", topics.hanging, ("cooperative",), 10),
        Scenario("compacted", topics.compacted, ("cooperative",), 10),
        Scenario("retention", topics.retention, ("while it is down", "while it runs", "config says continue"), 9),
        Scenario("recreated", topics.recreated, ("while it is down", "while it runs", "config says continue"), 9),
        Scenario("growth", topics.growth, tuple(PROTOCOLS), 9),
        Scenario("rolling", brokers.rolling, tuple(PROTOCOLS), 6, needs_cluster=True),
        Scenario("unclean", brokers.unclean, brokers.UNCLEAN, len(brokers.UNCLEAN), needs_cluster=True),
    ]
}
