"""Owns faults of brokers, three of them: restarts one after another under load, and an election that loses acknowledged records. Not faults of sinks or topics."""

import time

from confluent_kafka import ElectionType, TopicPartition
from confluent_kafka.admin import NewTopic

from .batch import Batch
from .fleet import Broken, resume

INSTANCES = 2
SECONDS_MAX = 180
UNCLEAN = ("and ends there", "and grows on", "and grows on while it runs", "and grows on, config says continue")


def rolling(batch: Batch, protocol: str) -> None:
    """Brokers are stopped in an orderly way or killed, one at a time under load, and come back: whoever led or coordinated, every record is there once."""
    cluster = batch.kafka
    fleet = batch.begin(protocol, INSTANCES, per_second=1000, topic={"min_insync_replicas": 2})

    def play() -> str:
        fleet.await_at_work(SECONDS_MAX)
        number = batch.pick.choice(list(cluster.nodes))
        led = sum(leader == number for leader in cluster.leaders(batch.topic).values())
        before = batch.tail.read().appends
        is_kill = batch.pick.random() < 0.5
        cluster.kill(number) if is_kill else cluster.stop(number)
        time.sleep(batch.pick.uniform(0.5, 3.0))
        cluster.start(number)
        deadline = time.monotonic() + SECONDS_MAX
        while not cluster.is_in_sync(batch.topic):
            assert time.monotonic() < deadline, "the replicas are not in sync again"
            time.sleep(0.2)
        while batch.tail.read().appends < before + 2:
            fleet.check(INSTANCES)
            if time.monotonic() > deadline:
                raise Broken(f"no commit within {SECONDS_MAX} s after broker {number} was away: {fleet.picture()}")
            time.sleep(0.2)
        return f"broker {'killed' if is_kill else 'restarted'}{' that led' if led else ''}"

    batch.run(play)
    batch.finish(SECONDS_MAX)


def unclean(batch: Batch, variant: str) -> None:
    """An unclean election loses records that the table has: it is suspended with that sentence, also where the log has grown past its offset since; or goes on where a person says so."""
    cluster = batch.kafka
    is_continued = variant.endswith("config says continue")

    def play() -> str:
        sink, store, topic = batch.single(on_lost_offsets="continue" if is_continued else "suspend")
        # Broker 3 has no replica: it keeps the majority while the leader and its follower take turns.
        settings = {"min.insync.replicas": "1", "unclean.leader.election.enable": "true"}
        cluster.admin.create_topics([NewTopic(topic, 1, replica_assignment=[[1, 2]], config=settings)])[topic].result(30)
        until(lambda: cluster.is_in_sync(topic))
        produce(topic, 0, 300)
        until(lambda: cluster.is_in_sync(topic))
        cluster.stop(2)
        produce(topic, 300, 500)
        caught_up(sink)
        is_grown = variant != "and ends there"
        if variant == "and grows on while it runs":
            with sink.start() as running:
                sink.wait_until(running, lambda: sink.get("/readyz").ok)
                lose(topic, is_grown)
                sink.wait_until(running, lambda: "truncated" in sink.get("/api/v1/status").text, SECONDS_MAX)
        else:
            lose(topic, is_grown)
        cluster.start(1)
        until(lambda: cluster.is_in_sync(topic))
        if not is_continued:
            ended = sink.until_caught_up()
            if ended.code != 5 or "the log is another one from 300 on: it was truncated" not in ended.stderr:
                raise Broken(f"it should end with 5 and say where the log was truncated\n{ended}")
            resume(sink)
        caught_up(sink)
        rows = batch.rows_of(store)
        # Rows of the lost offsets stay; what came instead of them is there too.
        if rows != (500 + 400 if is_grown else 500):
            raise Broken(f"the table has {rows} rows after it went on")
        # Nothing that happens in an orderly way makes it stop again.
        cluster.stop(2)
        until(lambda: cluster.leaders(topic)[0] == 1)
        produce(topic, 2000, 2100)
        caught_up(sink)
        cluster.start(2)
        until(lambda: cluster.is_in_sync(topic))
        if batch.rows_of(store) != rows + 100:
            raise Broken(f"the table has {batch.rows_of(store)} rows after an orderly change of leader, not {rows + 100}")
        if (ended := sink.command("verify", "--deep")).code != 0:
            raise Broken(f"verify is not content\n{ended}")
        return "unclean election"

    def lose(topic: str, is_grown: bool) -> None:
        cluster.kill(1)
        cluster.start(2)
        elect(topic)
        until(lambda: cluster.leaders(topic)[0] == 2)
        if is_grown:
            # The offset is in the log again, but what lies before it is not what the table has: only leader epochs tell.
            produce(topic, 1000, 1400)

    def produce(topic: str, start: int, end: int) -> None:
        cluster.produce(topic, (b'{"seq": %d, "text": "t", "amount": "1.25"}' % number for number in range(start, end)), 1)

    def elect(topic: str) -> None:
        deadline = time.monotonic() + SECONDS_MAX
        while cluster.leaders(topic)[0] != 2:
            assert time.monotonic() < deadline, "nobody was elected"
            try:
                cluster.admin.elect_leaders(ElectionType.UNCLEAN, [TopicPartition(topic, 0)]).result(10)
            except Exception as error:
                print(f"[unclean] not elected yet: {error}", flush=True)
            time.sleep(0.5)

    def caught_up(sink) -> None:
        if (ended := sink.until_caught_up()).code != 0:
            raise Broken(f"it did not catch up\n{ended}")

    def until(is_so) -> None:
        deadline = time.monotonic() + SECONDS_MAX
        while not is_so():
            assert time.monotonic() < deadline, "the cluster did not come to where the scenario needs it"
            time.sleep(0.2)

    batch.run(play)
