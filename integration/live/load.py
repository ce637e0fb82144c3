"""Owns a producer that goes on at a steady rate while something happens to the sink. Not what happens to it, nor judging it."""

import threading
import time

PARTITIONS = 8
PER_SECOND = 4_000


def share(load: "Load", first, second, leave) -> None:
    """Two instances of one deployment under load; `leave` ends the first, the second drains, and what is left is caught up with."""
    second.join(first)
    load.start()
    try:
        with first.start() as one:
            first.wait_until(one, lambda: first.get("/readyz").ok)
            with second.start() as two:
                # Both ready means that the second's rebalance has happened under load.
                second.wait_until(two, lambda: second.get("/readyz").ok)
                load.go_on(6)
                leave(one)
                load.go_on(4)
                two.drain().expect(0)
    finally:
        load.end()
    first.until_caught_up().expect(0)


class Load(threading.Thread):
    """A producer that goes on while the sink dies."""

    def __init__(self, kafka, topic: str, partitions: int = PARTITIONS, per_second: int = PER_SECOND, **config):
        super().__init__(daemon=True)
        self.partitions = partitions
        self.per_second = per_second
        # A retry of a broker that starves must not put a record into the topic twice: that would be the producer's, and is counted as the sink's.
        self.producer = kafka.producer(**{"linger_ms": 5, "enable_idempotence": True, **config})
        self.topic = topic
        self._enough = threading.Event()
        self.count = 0
        self.failures: list = []

    def go_on(self, seconds: float) -> None:
        time.sleep(seconds)
        assert self.is_alive() and not self.failures, self.failures

    def end(self) -> None:
        """Every record is acknowledged after this, or the scenario proves nothing."""
        self._enough.set()
        self.join(90)
        assert not self.is_alive() and not self.failures, self.failures

    def run(self) -> None:
        try:
            self._produce()
        except Exception as error:
            self.failures.append(error)

    def payload(self, number: int) -> tuple[bytes | None, bytes | None]:
        """Key and value of a record."""
        return None, b'{"seq": %d, "text": "record %d", "amount": "%d.25"}' % (number, number, number % 1000)

    def _produce(self) -> None:
        started = time.monotonic()
        while not self._enough.is_set():
            due = int((time.monotonic() - started) * self.per_second)
            while self.count < due:
                number = self.count
                key, value = self.payload(number)
                self.producer.produce(self.topic, value, key, number % self.partitions, self._delivered)
                self.count += 1
            self.producer.poll(0.01)
        assert self.producer.flush(60) == 0

    def _delivered(self, error, _message) -> None:
        if error is not None:
            self.failures.append(error)
