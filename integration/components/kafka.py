"""Owns a Kafka node (KRaft), alone or as one of several (cluster), with topics, producing and the Apache consumer's dump. Not the registry; not judging what was read."""

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
node.id={node}
controller.quorum.voters={voters}
listeners=PLAINTEXT://127.0.0.1:{broker},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{broker}
inter.broker.listener.name=PLAINTEXT
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs={data}
num.network.threads=2
num.io.threads=4
auto.create.topics.enable=false
offsets.topic.replication.factor={replicas}
offsets.topic.num.partitions=4
transaction.state.log.replication.factor={replicas}
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
appender.o.target=SYSTEM_ERR
appender.o.layout.type=PatternLayout
appender.o.layout.pattern=%d %p %c %m%n
"""


def java(folder: Path) -> list[str]:
    logging = f"-Dlog4j2.configurationFile=file:{folder / 'log4j2.properties'}"
    return ["java", "-XX:+ExitOnOutOfMemoryError", "-Djava.awt.headless=true", f"-Dkafka.logs.dir={folder}", logging]


def java_tool(folder: Path) -> list[str]:
    # A tool that lives for a second or two gains nothing from the optimising compiler.
    return [*java(folder), "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"]


def new_cluster_id() -> str:
    # A first byte below 128, since one above may begin the id with a hyphen, which Kafka's tools take for an option.
    raw = bytes([secrets.randbelow(128)]) + secrets.token_bytes(15)
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


class Topics:
    """What is done with topics of a cluster that runs at `bootstrap`; files go to `folder`."""

    bootstrap: str
    folder: Path
    replicas: int = 1
    _admin: AdminClient | None = None

    @property
    def classpath(self) -> str:
        return f"{cache_folder() / 'kafka'}/*"

    @property
    def admin(self) -> AdminClient:
        if self._admin is None:
            # Before the broker listens every attempt is refused; librdkafka's lines about it would only be noise.
            self._admin = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0, "reconnect.backoff.max.ms": 200})
        return self._admin

    def create_topic(self, name: str, partitions: int = 1, **config: str) -> str:
        settings = {key.replace("_", "."): str(value) for key, value in config.items()}
        self.admin.create_topics([NewTopic(name, partitions, self.replicas, config=settings)])[name].result(30)
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
        argv = [*java_tool(self.folder), "-Xmx384m", "-cp", classpath, "Dump", self.bootstrap, *topics]
        with target.open("wb") as out:
            # Only the dump goes to stdout: what a consumer says of a broker that comes back goes to stderr, as log4j2.properties has it.
            ended = subprocess.run(argv, stdout=out, stderr=subprocess.PIPE, timeout=600)
        if ended.returncode != 0:
            raise RuntimeError(f"the dump of {topics} failed: {ended.stderr.decode(errors='replace')[-2000:]}")
        return target


class Kafka(Topics):
    """A real broker. `bootstrap` is where it listens. `settings` are further broker properties; the other arguments make it one of several nodes."""

    def __init__(self, heap_mib: int = 512, settings: dict | None = None, node: int = 1, replicas: int = 1, port: int | None = None, controller: int | None = None, voters: str | None = None):
        self.folder = run_folder() / f"kafka-{node}-{secrets.token_hex(3)}"
        self.folder.mkdir(parents=True)
        self.port = port or free_port()
        self.bootstrap = f"127.0.0.1:{self.port}"
        controller = controller or free_port()
        self.properties = self.folder / "server.properties"
        text = SERVER_PROPERTIES.format(
            broker=self.port, controller=controller, data=self.folder / "data", node=node, replicas=replicas, voters=voters or f"{node}@127.0.0.1:{controller}"
        )
        self.properties.write_text(text + "".join(f"{key}={value}\n" for key, value in (settings or {}).items()))
        (self.folder / "log4j2.properties").write_text(LOG4J)
        argv = [*java(self.folder), f"-Xms{min(heap_mib, 256)}m", f"-Xmx{heap_mib}m", "-cp", self.classpath, "kafka.Kafka", self.properties]
        self.server = Server("kafka", argv, self.folder)

    def __enter__(self) -> "Kafka":
        self.format(new_cluster_id())
        self.start()
        return self

    def __exit__(self, *_) -> None:
        self.server.stop()
        shutil.rmtree(self.folder / "data", ignore_errors=True)

    def format(self, cluster_id: str) -> None:
        argv = [*java_tool(self.folder), "-Xmx128m", "-cp", self.classpath, "kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", str(self.properties)]
        formatted = subprocess.run(argv, capture_output=True, text=True, timeout=120)
        if formatted.returncode != 0:
            raise RuntimeError(f"Kafka's storage could not be formatted:\n{formatted.stdout}{formatted.stderr}")

    def start(self) -> None:
        self.server.start(lambda: self.admin.list_topics(timeout=2).brokers, seconds_max=180)
