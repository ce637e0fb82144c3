"""Owns kill -9 at random moments under load: after every restart the table must hold each record once. Not crashes at named steps (offline, failpoints)."""

import os
import random
import signal
import time

from audit.audit import audit, read_log
from audit.compare import json_record

from .load import PARTITIONS, Load
from .sink import Sink, json_table

ROUNDS = int(os.environ.get("LAKEWARD_CRASH_ROUNDS") or 10)
# A killed member holds its topic partitions for this long: with the default of 45 s most rounds would kill a sink that waits.
SESSION = {"session.timeout.ms": "3000", "heartbeat.interval.ms": "500"}


def commits(sink: Sink) -> int:
    try:
        return len(read_log(sink.table("events")).commits)
    except ValueError:
        return 0


def test_every_record_is_there_once_after_ten_kills_under_load(kafka, folder, topic, seed):
    pick = random.Random(seed)
    kafka.create_topic(topic, PARTITIONS)
    table = json_table("events", topic, "seq long, text string, amount decimal(9,2)", target_lag="1s", maintenance={"checkpoint_every_commits": 10})
    sink = Sink(folder, kafka.bootstrap, table, properties=SESSION)
    load = Load(kafka, topic)
    load.start()
    delivered, repeated, moments = 0, 0, []
    try:
        while delivered < ROUNDS:
            # Most kills fall at random between the commits of a sink that is at work, every third at random while it starts and joins.
            is_at_work, moment = delivered % 3 != 2, pick.uniform(0.05, 3.0)
            before = commits(sink)
            with sink.start() as running:
                if is_at_work:
                    sink.wait_until(running, lambda: commits(sink) > before)
                time.sleep(moment)
                running.signal(signal.SIGKILL)
                ended = running.wait(10)
            if ended.code != -signal.SIGKILL:
                # It had ended before the fault could be delivered: that proves nothing, and it should not have.
                repeated += 1
                print(f"[crash] repeating a round whose kill hit a dead process\n{ended}", flush=True)
                assert repeated < 3, ended
                continue
            delivered += 1
            moments.append(("at work" if is_at_work else "starting", round(ended.seconds, 2), commits(sink)))
    finally:
        load.end()
    print(f"\n[crash] kills delivered: {delivered}, rounds repeated: {repeated}, (when, second, commits so far): {moments}", flush=True)
    # A member that was killed holds its topic partitions until its session times out.
    sink.until_caught_up(seconds_max=240).expect(0)
    report = audit(sink.table("events"), kafka.dump(topic), json_record)
    print(report, flush=True)
    assert report.records == load.count
    assert report.is_clean, report
    sink.command("verify", "--deep").expect(0)
