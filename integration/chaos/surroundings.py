"""Owns the components that batches share, started on first use and stopped at the end. Not topics, tables or instances, which each batch has of its own."""

from contextlib import ExitStack
from functools import cached_property

from components import S3, Cluster, Kafka

from .fleet import BROKER_SETTINGS


class Surroundings:
    def __init__(self):
        self.stack = ExitStack()

    def __enter__(self) -> "Surroundings":
        return self

    def __exit__(self, *_) -> None:
        self.stack.close()

    @cached_property
    def kafka(self) -> Kafka:
        return self.stack.enter_context(Kafka(384, BROKER_SETTINGS))

    @cached_property
    def cluster(self) -> Cluster:
        return self.stack.enter_context(Cluster(3, 288, BROKER_SETTINGS))

    @cached_property
    def s3(self) -> S3:
        return self.stack.enter_context(S3())
