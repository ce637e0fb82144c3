"""Owns where a batch keeps its table: a folder, or a bucket behind a door that may be faulty; and following a table's log while it grows. Not faults (proxy)."""

import json
import secrets
import time
from pathlib import Path

from botocore.exceptions import ClientError

from audit.audit import APP_ID
from components import S3


class FileStore:
    """A folder."""

    name = "file"
    options = None

    def __init__(self, folder: Path):
        self.lake = folder / "lake"
        self.lake.mkdir(parents=True)
        self.url = self.lake.as_uri()

    def entry(self, table: str, version: int) -> str | None:
        try:
            return (self.lake / table / "_delta_log" / f"{version:020}.json").read_text()
        except FileNotFoundError:
            return None

    def local(self, table: str) -> Path:
        """The table as a folder, for the audit."""
        return self.lake / table


class S3Store:
    """A bucket. `endpoint` is the door that the sink goes through, the server's own if not given; we ourselves always take the server's own."""

    name = "s3"

    def __init__(self, folder: Path, s3: S3, endpoint: str | None = None):
        self.folder, self.s3 = folder, s3
        self.bucket = s3.create_bucket(f"lake-{secrets.token_hex(4)}")
        self.url = f"s3://{self.bucket}/bronze"
        self.options = {**s3.options, **({"aws_endpoint": endpoint} if endpoint else {})}
        self.client = s3.client

    def entry(self, table: str, version: int) -> str | None:
        try:
            answer = self.client.get_object(Bucket=self.bucket, Key=f"bronze/{table}/_delta_log/{version:020}.json")
        except ClientError as error:
            if error.response["Error"]["Code"] == "NoSuchKey":
                return None
            raise
        return answer["Body"].read().decode()

    def local(self, table: str) -> Path:
        return self.s3.download(self.bucket, f"bronze/{table}", self.folder / f"copy-{secrets.token_hex(3)}")


class Tail:
    """What a table's log says up to now: each entry is read once."""

    def __init__(self, store, table: str):
        self.store, self.table = store, table
        self.version = -1
        self.committed: dict[tuple[str, int], int] = {}
        self.rows = 0
        self.appends = 0

    def read(self) -> "Tail":
        while (text := self.store.entry(self.table, self.version + 1)) is not None:
            try:
                actions = [json.loads(line) for line in text.splitlines() if line.strip()]
            except ValueError:
                # Not written to its end yet; the product's own readers never see this, since its names appear with their content.
                break
            self.version += 1
            for action in actions:
                if "txn" in action and (of := APP_ID.match(action["txn"]["appId"])):
                    self.committed[(of["topic"], int(of["partition"]))] = action["txn"]["version"]
                if spans := (action.get("commitInfo") or {}).get("lakeward", {}).get("spans"):
                    self.appends += 1
                    self.rows += sum(span.get("rows") or 0 for span in spans)
        return self

    def position(self, topic: str) -> dict[int, int]:
        return {partition: offset for (of, partition), offset in self.read().committed.items() if of == topic}

    def wait_for(self, topic: str, is_so, seconds_max: float) -> bool:
        """Whether `is_so(committed offsets by topic partition)` came true in time."""
        deadline = time.monotonic() + seconds_max
        while not is_so(self.position(topic)):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        return True
