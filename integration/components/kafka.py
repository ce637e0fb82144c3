"""Owns a one-node Kafka (KRaft) with topics, producing and the Apache consumer's dump. Not the registry; not judging what was read."""

import base64
import os
import secrets
import shutil
import subprocess
import time
from pathlib import Path

from confluent_kafka import OFFSET_INVALID, IsolationLevel, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic, OffsetSpec

from .process import Server, cache_folder, free_port, run_folder

SERVER_PROPERTIES = """
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{broker},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{broker}
inter.broker.listener.name=PLAINTEXT
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs={data}
num.network.threads=2
num.io.threads=4
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
log.cleaner.dedupe.buffer.size=8388608
log.cleaner.backoff.ms=1000
log.retention.ms=-1
group.min.session.timeout.ms=1000
"""

LOG4J = """
rootLogger.level=warn
rootLogger.appenderRef.o.ref=O
appender.o.type=Console
appender.o.name=O
appender.o.layout.type=PatternLayout
appender.o.layout.pattern=%d %p %c %m%n
"""


class Kafka:
    """A real broker. `bootstrap` is where it listens."""

    def __init__(self, heap_mib: int = 512):
        self.folder = run_folder() / f"kafka-{secrets.token_hex(3)}"
        self.folder.mkdir(parents=True)
        self.port = free_port()
        self.bootstrap = f"127.0.0.1:{self.port}"
        self.classpath = f"{cache_folder() / 'kafka'}/*"
        self.properties = self.folder / "server.properties"
        self.properties.write_text(SERVER_PROPERTIES.format(broker=self.port, controller=free_port(), data=self.folder / "data"))
        (self.folder / "log4j2.properties").write_text(LOG4J)
        logging = f"-Dlog4j2.configurationFile=file:{self.folder / 'log4j2.properties'}"
        self._java = ["java", "-XX:+ExitOnOutOfMemoryError", "-Djava.awt.headless=true", f"-Dkafka.logs.dir={self.folder}", logging]
        # A tool that lives for a second or two gains nothing from the optimising compiler.
        self._java_tool = [*self._java, "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"]
        argv = [*self._java, "-Xms256m", f"-Xmx{heap_mib}m", "-cp", self.classpath, "kafka.Kafka", self.properties]
        self.server = Server("kafka", argv, self.folder)
        self._admin: AdminClient | None = None

    def __enter__(self) -> "Kafka":
        cluster_id = base64.urlsafe_b64encode(secrets.token_bytes(16)).decode().rstrip("=")
        argv = [*self._java_tool, "-Xmx128m", "-cp", self.classpath, "kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", str(self.properties)]
        formatted = subprocess.run(argv, capture_output=True, text=True, timeout=120)
        if formatted.returncode != 0:
            raise RuntimeError(f"Kafka's storage could not be formatted:\n{formatted.stdout}{formatted.stderr}")
        self.server.start(lambda: self.admin.list_topics(timeout=2).brokers)
        return self

    def __exit__(self, *_) -> None:
        self.server.stop()
        shutil.rmtree(self.folder / "data", ignore_errors=True)

    @property
    def admin(self) -> AdminClient:
        if self._admin is None:
            # Before the broker listens every attempt is refused; librdkafka's lines about it would only be noise.
            self._admin = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0, "reconnect.backoff.max.ms": 200})
        return self._admin

    def create_topic(self, name: str, partitions: int = 1, **config: str) -> str:
        settings = {key.replace("_", "."): str(value) for key, value in config.items()}
        self.admin.create_topics([NewTopic(name, partitions, 1, config=settings)])[name].result(30)
        deadline = time.monotonic() + 30
        while len(self.admin.list_topics(name, timeout=5).topics[name].partitions) != partitions:
            if time.monotonic() > deadline:
                raise RuntimeError(f"topic {name} did not appear")
            time.sleep(0.05)
        return name

    def add_partitions(self, name: str, partitions: int) -> None:
        self.admin.create_partitions([NewPartitions(name, partitions)])[name].result(30)

    def delete_topic(self, name: str) -> None:
        """Frees the disk early: a run holds several millions of records."""
        self.admin.delete_topics([name])[name].result(30)

    def producer(self, **config) -> Producer:
        settings = {key.replace("_", "."): value for key, value in config.items()}
        return Producer({
            "bootstrap.servers": self.bootstrap,
            "compression.type": "lz4",
            "linger.ms": 20,
            "batch.size": 262144,
            "queue.buffering.max.messages": 200000,
            "acks": "all",
            **settings,
        })

    def produce(self, topic: str, values, partitions: int, prefix: bytes = b"") -> int:
        """Produces values (bytes, or None) round-robin and returns their number, once every one of them was acknowledged."""
        producer = self.producer()
        failures: list = []

        def delivered(error, _message):
            if error is not None:
                failures.append(error)

        count = 0
        for value in values:
            payload = None if value is None else prefix + value
            while True:
                try:
                    # 64 in a row to one topic partition keep batches large without losing the spread.
                    producer.produce(topic, value=payload, partition=(count >> 6) % partitions, on_delivery=delivered)
                    break
                except BufferError:
                    producer.poll(0.1)
            count += 1
            if count & 8191 == 0:
                producer.poll(0)
        remaining = producer.flush(120)
        if remaining or failures:
            raise RuntimeError(f"{remaining} records of {topic} were not delivered, {len(failures)} failed: {failures[:1]}")
        return count

    def end_offsets(self, topic: str) -> dict[int, int]:
        """The last stable offsets, which is where --until-caught-up must end."""
        partitions = self.admin.list_topics(topic, timeout=10).topics[topic].partitions
        request = {TopicPartition(topic, partition): OffsetSpec.latest() for partition in partitions}
        futures = self.admin.list_offsets(request, isolation_level=IsolationLevel.READ_COMMITTED)
        ends = {position.partition: future.result(30).offset for position, future in futures.items()}
        assert all(end != OFFSET_INVALID for end in ends.values())
        return ends

    def dump(self, *topics: str) -> Path:
        """What an Apache consumer reads, as a file of lines (see audit/Dump.java)."""
        target = self.folder / f"dump-{topics[0]}-{secrets.token_hex(3)}.tsv"
        classpath = f"{cache_folder() / 'audit'}{os.pathsep}{self.classpath}"
        argv = [*self._java_tool, "-Xmx384m", "-cp", classpath, "Dump", self.bootstrap, *topics]
        with target.open("wb") as out:
            # log4j writes to stdout as well, so its level must stay above what a consumer says.
            ended = subprocess.run(argv, stdout=out, stderr=subprocess.PIPE, timeout=600)
        if ended.returncode != 0:
            raise RuntimeError(f"the dump of {topics} failed: {ended.stderr.decode(errors='replace')[-2000:]}")
        return target
