"""Owns starting, watching and stopping the real components of the live tests, all on loopback. Not fetching them (fetch), not what is tested with them."""

from .azure import Azure
from .cluster import Cluster
from .kafka import Kafka
from .process import cache_folder, free_port, run_folder
from .registry import Registry
from .s3 import S3

__all__ = ["Azure", "Cluster", "Kafka", "Registry", "S3", "cache_folder", "free_port", "run_folder"]
