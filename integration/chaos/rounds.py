"""Owns faults of processes: kill -9, a stop past the session's end and back (zombie), joining and leaving, under load. Not faults of brokers, stores or topics."""

import signal
import time

from .batch import TOPIC_PARTITIONS, Batch
from .fleet import Broken

INSTANCES = 3
# The group's session is 1.5 s; a cut-off member must be replaced well within this.
TAKEN_OVER_SECONDS = 30


def kill(batch: Batch, protocol: str) -> None:
    """kill -9 at random: three of four in the middle of work, one of four while the process starts and joins."""
    fleet = batch.begin(protocol, INSTANCES)
    pick = batch.pick

    def play() -> str | None:
        at_work = fleet.await_at_work()
        if batch.outcome.rounds % 4 == 3:
            target, kind = pick.choice(fleet.instances), "kill while starting"
            if not target.kill():
                return None
            target.start()
            time.sleep(pick.uniform(0.0, 0.8))
            if target.is_at_work:
                kind = "kill at work"
        else:
            target, kind = pick.choice(at_work), "kill at work"
            time.sleep(pick.uniform(0.3, 2.3))
            if not target.is_at_work:
                return None
        if not target.kill():
            raise Broken(f"instance {target.number} had ended by itself\n{target.running.wait()}")
        time.sleep(pick.uniform(0.0, 1.5))
        target.start()
        fleet.check(INSTANCES)
        return kind

    batch.run(play)
    batch.finish()


def stop(batch: Batch, protocol: str) -> None:
    """SIGSTOP in the middle of work until the others have its topic partitions and have committed some; then SIGCONT: it wakes as a zombie with rows in hand."""
    fleet = batch.begin(protocol, INSTANCES)
    pick = batch.pick

    def play() -> str | None:
        fleet.await_owned(fleet.instances, TOPIC_PARTITIONS, TAKEN_OVER_SECONDS)
        target = pick.choice(fleet.await_at_work())
        time.sleep(pick.uniform(0.0, 1.2))
        owned = target.owned()
        if not owned or not target.is_at_work:
            return None
        before = batch.tail.position(batch.topic)
        target.signal(signal.SIGSTOP)
        try:
            others = [instance for instance in fleet.instances if instance is not target]
            if not target.is_stopped:
                return None
            # A topic partition has one owner in the group, so all of them being the others' means that the group has given this one up.
            if not fleet.await_owned(others, TOPIC_PARTITIONS, TAKEN_OVER_SECONDS):
                raise Broken(f"the others did not take over within {TAKEN_OVER_SECONDS} s: {fleet.picture()}")
            moved = batch.tail.wait_for(batch.topic, lambda at: any(at.get(partition, 0) > before.get(partition, 0) for partition in owned), TAKEN_OVER_SECONDS)
            if not moved:
                raise Broken(f"nothing of {sorted(owned)} was committed by the others: {fleet.picture()}")
            time.sleep(pick.uniform(0.0, 0.7))
        finally:
            target.signal(signal.SIGCONT)
        if not fleet.await_owned([target], 1, TAKEN_OVER_SECONDS):
            raise Broken(f"instance {target.number} did not come back into the group within {TAKEN_OVER_SECONDS} s: {fleet.picture()}")
        fleet.check(INSTANCES)
        return "stopped past its session"

    batch.run(play)
    batch.finish()


def join_leave(batch: Batch, protocol: str) -> None:
    """Members come and go: SIGTERM (which must drain and end with 0) and start, one at a time or two at once."""
    fleet = batch.begin(protocol, INSTANCES)
    pick = batch.pick

    def leave(target) -> None:
        target.signal(signal.SIGTERM)
        if (ended := target.running.wait(60)).code != 0:
            raise Broken(f"instance {target.number} did not drain\n{ended}")

    def play() -> str | None:
        at_work = fleet.await_at_work()
        time.sleep(pick.uniform(0.2, 1.5))
        absent = [instance for instance in fleet.instances if not instance.is_alive]
        if absent and (len(fleet.alive) == 1 or pick.random() < 0.5):
            for instance in absent:
                instance.start()
            if not fleet.await_owned(absent, len(absent), TAKEN_OVER_SECONDS):
                raise Broken(f"who joined was given nothing within {TAKEN_OVER_SECONDS} s: {fleet.picture()}")
            fleet.check()
            return "join"
        target = pick.choice(at_work)
        if len(fleet.alive) < 2 or not target.is_at_work:
            return None
        leave(target)
        if pick.random() < 0.3:
            # Back at once, into the rebalance that its leaving began.
            target.start()
            fleet.check()
            return "leave and come back"
        if not fleet.await_owned(fleet.alive, TOPIC_PARTITIONS, TAKEN_OVER_SECONDS):
            raise Broken(f"who stayed did not take over within {TAKEN_OVER_SECONDS} s: {fleet.picture()}")
        return "leave"

    batch.run(play)
    for instance in fleet.instances:
        if not instance.is_alive:
            instance.start()
    batch.finish()
