"""Owns several Kafka nodes as one cluster, each of which can be stopped, killed and started again. Not what happens to topics meanwhile."""

import secrets
import signal
import time
from concurrent.futures import ThreadPoolExecutor

from .kafka import Kafka, Topics, new_cluster_id
from .process import free_port, run_folder


class Cluster(Topics):
    """Nodes are broker and controller at once and are numbered from 1; a majority of them must run for anything to be decided."""

    def __init__(self, nodes: int = 3, heap_mib: int = 288, settings: dict | None = None):
        self.folder = run_folder() / f"cluster-{secrets.token_hex(3)}"
        self.folder.mkdir(parents=True)
        self.replicas = nodes
        controllers = {number: free_port() for number in range(1, nodes + 1)}
        voters = ",".join(f"{number}@127.0.0.1:{port}" for number, port in controllers.items())
        self.nodes = {
            number: Kafka(heap_mib, settings, node=number, replicas=nodes, controller=port, voters=voters) for number, port in controllers.items()
        }
        self.bootstrap = ",".join(node.bootstrap for node in self.nodes.values())
        # The dump needs its logging beside it.
        (self.folder / "log4j2.properties").write_text((self.nodes[1].folder / "log4j2.properties").read_text())

    def __enter__(self) -> "Cluster":
        cluster_id = new_cluster_id()
        for node in self.nodes.values():
            node.format(cluster_id)
        # None is ready before a majority runs. The threads are kept: the kernel ends a child when the thread that started it ends.
        self._starters = ThreadPoolExecutor(len(self.nodes))
        list(self._starters.map(lambda node: node.start(), self.nodes.values()))
        self._await_brokers(lambda brokers: len(brokers) == len(self.nodes))
        return self

    def _await_brokers(self, is_so) -> None:
        """A node answers for the others before it has joined them."""
        deadline = time.monotonic() + 90
        while not is_so(self.admin.list_topics(timeout=10).brokers):
            if time.monotonic() > deadline:
                raise RuntimeError("a node did not join the cluster")
            time.sleep(0.2)

    def __exit__(self, *_) -> None:
        for node in self.nodes.values():
            node.__exit__()

    def stop(self, number: int) -> None:
        """In an orderly way: its leaderships move first."""
        self.nodes[number].server.stop()

    def kill(self, number: int) -> None:
        child = self.nodes[number].server.child
        child.send_signal(signal.SIGKILL)
        child.wait(20)

    def start(self, number: int) -> None:
        self.nodes[number].start()
        self._await_brokers(lambda brokers: number in brokers)

    def leaders(self, topic: str) -> dict[int, int]:
        return {number: found.leader for number, found in self.admin.list_topics(topic, timeout=10).topics[topic].partitions.items()}

    def is_in_sync(self, topic: str) -> bool:
        """Whether every replica of the topic follows its leader, who is there."""
        partitions = self.admin.list_topics(topic, timeout=10).topics[topic].partitions.values()
        return all(found.leader in found.replicas and set(found.isrs) == set(found.replicas) for found in partitions)
