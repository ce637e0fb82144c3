"""Owns what topics do to a sink: transactions that end in every way or not at all, compaction, retention, a topic's deletion and growth. One broker; not faults of processes alone."""

import signal
import time

from confluent_kafka import TopicPartition

from audit.audit import read_dump

from .batch import TOPIC_PARTITIONS, Batch
from .fleet import Broken, resume
from .producers import Keyed, Transactions, write_dump

INSTANCES = 2
SECONDS_TO_SUSPEND = 60


def transactions(batch: Batch, protocol: str) -> None:
    """Three producers whose transactions are committed, aborted or left open at random, while instances are killed: only what was committed is there, once."""
    batch.kafka.create_topic(batch.topic, TOPIC_PARTITIONS)
    fleet = batch.deploy(protocol, INSTANCES)
    producers = [Transactions(batch.kafka, batch.topic, TOPIC_PARTITIONS, batch.child(), f"producer-{number}") for number in range(3)]
    for producer in producers:
        producer.start()
    fleet.start()
    try:
        while (ended := sum(sum(producer.ended.values()) for producer in producers)) < batch.rounds:
            target = batch.pick.choice(fleet.await_at_work())
            time.sleep(batch.pick.uniform(1.0, 4.0))
            if target.kill():
                batch.outcome.faults["kill"] += 1
            target.start()
            fleet.check(INSTANCES)
            batch.outcome.say(f"{ended} transactions, version {batch.tail.read().version}, rows {batch.tail.rows}")
    finally:
        for producer in producers:
            producer.end()
    batch.outcome.rounds = sum(sum(producer.ended.values()) for producer in producers)
    for producer in producers:
        batch.outcome.faults.update({f"transactions {end}": number for end, number in producer.ended.items()})
    batch.catch_up()
    fleet.drain()
    report = batch.judge(batch.kafka.dump(batch.topic))
    if report.records != sum(producer.committed for producer in producers):
        raise AssertionError(f"the topic has {report.records} committed records, producers committed {[producer.committed for producer in producers]}")


def hanging(batch: Batch, protocol: str) -> None:
    """A transaction hangs while others go on: the table stands at the last stable offset, without a row of it, until it is committed, aborted or timed out."""
    fleet = batch.begin(protocol, INSTANCES, per_second=500)
    fleet.await_owned(fleet.instances, TOPIC_PARTITIONS, 60)
    committed = 0

    def play() -> str:
        nonlocal committed
        partition = batch.pick.randrange(TOPIC_PARTITIONS)
        end = batch.pick.choice(["committed", "aborted", "timed out"])
        producer = batch.kafka.producer(transactional_id=f"{batch.topic}-{batch.outcome.rounds}", transaction_timeout_ms=3000 if end == "timed out" else 60000)
        producer.init_transactions(60)
        producer.begin_transaction()
        for _ in range(10):
            producer.produce(batch.topic, b'{"seq": -1, "text": "hangs", "amount": "0.25"}', partition=partition)
        producer.flush(30)
        stable = batch.kafka.end_offsets(batch.topic)[partition]
        time.sleep(1.5)
        position = batch.tail.position(batch.topic)
        if end != "timed out" and position.get(partition, 0) > stable:
            raise Broken(f"topic partition {partition} is committed up to {position[partition]}, behind its last stable offset {stable}")
        if end == "committed":
            producer.commit_transaction(60)
            committed += 10
        elif end == "aborted":
            producer.abort_transaction(60)
        else:
            deadline = time.monotonic() + 60
            while batch.kafka.end_offsets(batch.topic)[partition] <= stable:
                assert time.monotonic() < deadline, "the broker did not time the transaction out"
                time.sleep(0.2)
        if not batch.tail.wait_for(batch.topic, lambda at: at.get(partition, 0) > stable, 30):
            raise Broken(f"topic partition {partition} stays at {batch.tail.position(batch.topic).get(partition)} although its transaction {end}")
        fleet.check(INSTANCES)
        return f"hung, then {end}"

    batch.run(play)
    batch.load.end()
    batch.catch_up()
    fleet.drain()
    report = batch.judge(batch.kafka.dump(batch.topic))
    if report.records != batch.load.count + committed:
        raise AssertionError(f"the topic has {report.records} records, {batch.load.count} and {committed} were acknowledged")


def compacted(batch: Batch, protocol: str) -> None:
    """A compacted topic whose cleaner overtakes a sink that is stopped and killed: every record that the log keeps is there once, nothing is there that never was."""
    settings = {"cleanup_policy": "compact", "min_cleanable_dirty_ratio": 0.01, "segment_ms": 500, "max_compaction_lag_ms": 500, "delete_retention_ms": 100}
    batch.kafka.create_topic(batch.topic, 4, **settings)
    fleet = batch.deploy(protocol, INSTANCES)
    batch.load = Keyed(batch.kafka, batch.topic, 4, 400)
    batch.load.start()
    fleet.start()

    def play() -> str:
        fleet.await_at_work()
        for instance in fleet.instances:
            instance.kill()
        # Long enough for segments to be rolled and cleaned before anybody has read them.
        time.sleep(batch.pick.uniform(2.0, 5.0))
        for instance in fleet.instances:
            instance.start()
        return "killed, then the cleaner went ahead"

    batch.run(play)
    batch.load.end()
    batch.catch_up()
    fleet.drain()
    kept, ranges = read_dump(batch.kafka.dump(batch.topic))
    ranges = {partition: span for (_topic, partition), span in ranges.items()}
    # The table may hold what was cleaned away after it was read, so the truth is: what the log keeps, and what the table has of all that was ever delivered.
    there = batch.coordinates()
    truth = {at: batch.load.delivered[at] for at in batch.load.delivered if at in there or (batch.topic, *at) in kept}
    gone = len(batch.load.delivered) - len(truth)
    if gone == 0 or len(kept) == len(batch.load.delivered):
        raise AssertionError("the cleaner never went ahead of the sink: the scenario proves nothing")
    batch.outcome.notes.append(f"{gone} records were cleaned away before they were read, {len(kept)} of {batch.load.count} are left in the log")
    batch.judge(write_dump(batch.folder / "truth.tsv", batch.topic, truth, ranges))


def retention(batch: Batch, variant: str) -> None:
    """Records are deleted before they were read: the table is suspended with the hole named and nothing skipped, or goes on with a recorded hole where config or a person says so."""

    def play() -> str:
        life = _Life(batch, on_lost_offsets="continue" if variant == "config says continue" else "suspend")
        life.produce(200)
        life.catch_up()
        before = life.dump()
        if variant == "while it runs":
            with life.sink.start() as running:
                life.sink.wait_until(running, lambda: life.sink.get("/readyz").ok)
                running.signal(signal.SIGSTOP)
                # A fetch that is under way (fetch.wait.max.ms, half a second) would be answered with records before they are deleted.
                time.sleep(1.5)
                life.produce(200)
                holes = life.delete(beyond=50)
                running.signal(signal.SIGCONT)
                life.await_suspended(running, "records were deleted", "outside of its log", "retention overtook")
        else:
            life.produce(200)
            holes = life.delete(beyond=50)
        if variant == "config says continue":
            life.catch_up()
        else:
            life.refused("retention overtook the sink", among=[f"[{start}, {end})" for start, end in holes.values()])
            life.expect_unmoved()
            life.resume()
            life.catch_up()
        life.judge(before)
        return "deleted before it was read"

    batch.run(play)


def recreated(batch: Batch, variant: str) -> None:
    """A topic is deleted and created again under its name: the table is suspended with that sentence, or takes the new topic from its start where config or a person says so."""

    def play() -> str:
        life = _Life(batch, on_source_change="continue" if variant == "config says continue" else "suspend")
        life.produce(200)
        life.catch_up()
        # Sometimes fewer records than were read, sometimes more: offsets alone cannot tell.
        again = batch.pick.choice([50, 400])
        if variant == "while it runs":
            with life.sink.start() as running:
                life.sink.wait_until(running, lambda: life.sink.get("/readyz").ok)
                life.recreate()
                life.produce(again)
                life.await_suspended(running, "deleted and created again")
        else:
            life.recreate()
            life.produce(again)
        if variant != "config says continue":
            life.refused("deleted and created again")
            life.expect_unmoved()
            life.resume()
        life.catch_up()
        if (rows := batch.rows_of(life.store)) != (200 + again) * life.partitions:
            raise Broken(f"the table has {rows} rows, both lives of the topic together {(200 + again) * life.partitions}")
        return f"recreated with {'fewer' if again < 200 else 'more'} records"

    batch.run(play)


def growth(batch: Batch, protocol: str) -> None:
    """The topic gains topic partitions under load, while instances are killed: every record of the new ones is there, once."""
    fleet = batch.begin(protocol, INSTANCES, per_second=1000, topic_partitions=4, producer={"topic_metadata_refresh_interval_ms": 500})

    def play() -> str:
        fleet.await_at_work()
        more = batch.load.partitions + batch.pick.choice([1, 2, 3])
        batch.kafka.add_partitions(batch.topic, more)
        deadline = time.monotonic() + 60
        while len(batch.load.producer.list_topics(batch.topic, timeout=30).topics[batch.topic].partitions) < more:
            assert time.monotonic() < deadline, "the producer does not see the new topic partitions"
            time.sleep(0.1)
        batch.load.partitions = more
        if batch.pick.random() < 0.5:
            target = batch.pick.choice(fleet.instances)
            target.kill()
            target.start()
        if not batch.tail.wait_for(batch.topic, lambda at: all(at.get(partition, 0) > 0 for partition in range(more)), 60):
            raise Broken(f"not every one of {more} topic partitions has a commit after 60 s: {batch.tail.position(batch.topic)}; {fleet.picture()}")
        return "grown"

    batch.run(play)
    batch.finish()


class _Life:
    """One topic, one table and one instance for one round."""

    partitions = 2

    def __init__(self, batch: Batch, **table):
        self.batch, self.kafka = batch, batch.kafka
        self.sink, self.store, self.topic = batch.single(**table)
        self.kafka.create_topic(self.topic, self.partitions)
        self.position: dict[int, int] = {}

    def produce(self, each: int) -> None:
        self.kafka.produce(self.topic, (b'{"seq": %d, "text": "t", "amount": "1.25"}' % number for number in range(each * self.partitions)), self.partitions)

    def resume(self) -> None:
        resume(self.sink)

    def catch_up(self) -> None:
        ended = self.sink.until_caught_up()
        if ended.code != 0:
            raise Broken(f"it did not catch up\n{ended}")
        self.position = self.batch.tail_of(self.store).position(self.topic)

    def dump(self):
        return read_dump(self.kafka.dump(self.topic))[0]

    def delete(self, beyond: int) -> dict[int, tuple[int, int]]:
        """Deletes records up to some that were not read; answers the holes."""
        holes = {partition: (at, at + beyond) for partition, at in self.position.items() if self.kafka.end_offsets(self.topic)[partition] > at + beyond}
        assert holes, "nothing was deleted that had not been read"
        asked = self.kafka.admin.delete_records([TopicPartition(self.topic, partition, end) for partition, (_start, end) in holes.items()])
        for future in asked.values():
            future.result(30)
        return holes

    def recreate(self) -> None:
        self.kafka.delete_topic(self.topic)
        deadline = time.monotonic() + 30
        while self.topic in self.kafka.admin.list_topics(timeout=5).topics:
            assert time.monotonic() < deadline, "the topic was not deleted"
            time.sleep(0.05)
        self.kafka.create_topic(self.topic, self.partitions)

    def await_suspended(self, running, *words: str) -> None:
        def is_suspended() -> bool:
            table = self.sink.get("/api/v1/status").json()["tables"][0]
            return table["state"] == "suspended" and any(word in table["reason"] for word in words)

        try:
            self.sink.wait_until(running, is_suspended, SECONDS_TO_SUSPEND)
        except AssertionError as error:
            raise Broken(f"it was not suspended with one of {words}: {error}") from None
        running.drain()

    def refused(self, *words: str, among: list[str] | None = None) -> None:
        """It ends as suspended with all these words, and with one of `among`."""
        ended = self.sink.until_caught_up()
        if ended.code != 5 or any(word not in ended.stderr for word in words) or (among and not any(word in ended.stderr for word in among)):
            raise Broken(f"it should end with 5 and say {words} {among or ''}\n{ended}")

    def expect_unmoved(self) -> None:
        if (now := self.batch.tail_of(self.store).position(self.topic)) != self.position:
            raise Broken(f"a suspended table moved from {self.position} to {now}")

    def judge(self, before: dict) -> None:
        """What was read before the deletion, and what the log has now."""
        now, ranges = read_dump(self.kafka.dump(self.topic))
        records = {at[1:]: record for at, record in {**before, **now}.items()}
        truth = write_dump(self.sink.folder / "truth.tsv", self.topic, records, {partition: span for (_topic, partition), span in ranges.items()})
        self.batch.judge_round(self.store, truth)


