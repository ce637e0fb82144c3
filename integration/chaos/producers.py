"""Owns producers beside the steady one: transactions that end in every way, and keyed records whose every delivery is remembered. Not what is done to the sink."""

import base64
import random
import threading
import time
from collections import Counter
from pathlib import Path

from live.load import Load

RECORDS_MAX = 200


class Transactions(threading.Thread):
    """One transactional producer after another: transactions are committed, aborted, or left open by a producer that vanishes (its successor's start aborts them)."""

    def __init__(self, kafka, topic: str, partitions: int, pick: random.Random, name: str):
        super().__init__(daemon=True)
        self.kafka, self.topic, self.partitions, self.pick = kafka, topic, partitions, pick
        self.id = f"{topic}-{name}"
        self.ended: Counter = Counter()
        self.committed = 0
        self.failures: list = []
        self._enough = threading.Event()

    def end(self) -> None:
        self._enough.set()
        self.join(90)
        assert not self.is_alive() and not self.failures, self.failures

    def run(self) -> None:
        try:
            while not self._enough.is_set():
                self._life()
            # Whoever comes last aborts what was left open, so that the topic's end is stable.
            self._producer()
        except Exception as error:
            self.failures.append(error)

    def _producer(self):
        producer = self.kafka.producer(transactional_id=self.id, linger_ms=2)
        producer.init_transactions(60)
        return producer

    def _life(self) -> None:
        producer = self._producer()
        while not self._enough.is_set():
            producer.begin_transaction()
            count = self.pick.randrange(1, RECORDS_MAX)
            for number in range(count):
                payload = b'{"seq": %d, "text": "%d of %d", "amount": "1.25"}' % (self.committed + number, number, count)
                producer.produce(self.topic, payload, partition=self.pick.randrange(self.partitions))
            producer.flush(30)
            end = self.pick.random()
            if end < 0.5:
                producer.commit_transaction(60)
                self.committed += count
                self.ended["committed"] += 1
            elif end < 0.9:
                producer.abort_transaction(60)
                self.ended["aborted"] += 1
            else:
                self.ended["left open"] += 1
                time.sleep(self.pick.uniform(0.0, 1.0))
                return
            time.sleep(self.pick.uniform(0.0, 0.1))


class Keyed(Load):
    """Keyed records of a few keys; `delivered` is what a log that is compacted later held at some time. No tombstones: cleaned away, nobody could tell which were read."""

    def __init__(self, kafka, topic: str, partitions: int, per_second: int):
        super().__init__(kafka, topic, partitions, per_second)
        self.delivered: dict[tuple[int, int], tuple[int, bytes | None]] = {}

    def payload(self, number: int) -> tuple[bytes, bytes | None]:
        return b"key-%d" % (number // self.partitions % 17), super().payload(number)[1]

    def _delivered(self, error, message) -> None:
        super()._delivered(error, message)
        if error is None:
            self.delivered[(message.partition(), message.offset())] = (message.timestamp()[1], message.value())


def write_dump(target: Path, topic: str, records: dict, ranges: dict) -> Path:
    """A dump (see audit/Dump.java) of these records by (topic partition, offset), with these (start, end)."""
    text = lambda value: "-" if value is None else base64.b64encode(value).decode()  # noqa: E731
    with target.open("w") as out:
        for partition, (start, end) in sorted(ranges.items()):
            out.write(f"# {topic}\t{partition}\t{start}\t{end}\n")
        for (partition, offset), (timestamp, value) in sorted(records.items()):
            out.write(f"{topic}\t{partition}\t{offset}\t{timestamp}\t-\t{text(value)}\n")
    return target
