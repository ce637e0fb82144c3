"""Owns running the built binary as a user would: a config file, a command, its exit code and what it said. Not what it wrote (readers, audit)."""

import json
import os
import re
import secrets
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import requests
import yaml

from components import free_port
from components.process import die_with_parent

# The last resort against a hang: a scenario states its own bound where it has one.
SECONDS_MAX = 120


def binary() -> Path:
    path = Path(os.environ.get("LAKEWARD_BIN", ""))
    if not path.is_file():
        raise RuntimeError(f"LAKEWARD_BIN is {str(path)!r}, which is not the built binary: run this by `make live`")
    return path


@dataclass
class Ended:
    """What a command left: `code` is negative for a signal."""

    argv: list[str]
    code: int
    stdout: str
    stderr: str
    seconds: float
    rusage: object = None
    peak_memory_bytes: int = 0

    def expect(self, *codes: int) -> "Ended":
        assert "panicked" not in self.stdout + self.stderr and "stack backtrace" not in self.stderr, self
        assert self.code in codes, f"exit code {self.code} instead of {codes}\n{self}"
        return self

    def sentence(self) -> str:
        """The one clear sentence of an error: all that stderr has beside log lines."""
        lines = [line for line in self.stderr.splitlines() if line.strip() and not _is_log(line)]
        assert len(lines) == 1, f"stderr should have one sentence, it has {len(lines)}\n{self}"
        assert 15 < len(lines[0]) < 1000, f"not a clear sentence: {lines[0]!r}\n{self}"
        return lines[0]

    def expect_error(self, codes, *words: str) -> str:
        self.expect(*codes)
        sentence = self.sentence()
        missing = [word for word in words if word.lower() not in sentence.lower()]
        assert not missing, f"the error does not name {missing}: {sentence}"
        # A passing run shows what a user would have read.
        print(f"\n[said] exit {self.code} after {self.seconds:.1f} s: {sentence}", flush=True)
        return sentence

    def __str__(self) -> str:
        return f"$ {' '.join(self.argv)}\nexit {self.code} after {self.seconds:.1f} s\n--- stdout\n{self.stdout[-4000:]}\n--- stderr\n{self.stderr[-6000:]}"


def _is_log(line: str) -> bool:
    if line.startswith("{"):
        try:
            return isinstance(json.loads(line), dict)
        except ValueError:
            return False
    return bool(re.match(r"\d{4}-\d{2}-\d{2}T[\d:.]+Z?\s", line))


class Running:
    """A sink in the background, with its output in files so that no pipe can fill."""

    def __init__(self, argv: list, folder: Path, wrapper: list | None = None, program: Path | None = None):
        self.argv = [*(str(part) for part in wrapper or []), str(program or binary()), *map(str, argv)]
        name = secrets.token_hex(3)
        self._out = folder / f"stdout-{name}"
        self._err = folder / f"stderr-{name}"
        self._peak_memory_bytes = 0
        self.started = time.monotonic()
        # A backtrace must not appear because nobody asked for one: users may have asked.
        environment = {**os.environ, "RUST_BACKTRACE": "1", "AWS_EC2_METADATA_DISABLED": "true"}
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.child = subprocess.Popen(
                self.argv, cwd=folder, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=environment, preexec_fn=die_with_parent
            )

    def __enter__(self) -> "Running":
        return self

    def __exit__(self, *_) -> None:
        if self.child.poll() is None:
            self.child.kill()
            self.child.wait()

    def said(self) -> str:
        """What it has written so far."""
        return "".join(file.read_text(errors="replace") for file in (self._out, self._err))

    @property
    def is_alive(self) -> bool:
        return self.child.poll() is None

    def wait(self, seconds_max: float = SECONDS_MAX) -> Ended:
        deadline = time.monotonic() + seconds_max
        rusage = None
        # wait4 instead of Popen.wait: only it tells the CPU time of this child alone.
        while self.child.returncode is None:
            pid, status, rusage = os.wait4(self.child.pid, os.WNOHANG)
            if pid:
                self.child.returncode = os.waitstatus_to_exitcode(status)
                break
            self._sample_memory()
            if time.monotonic() > deadline:
                self.child.kill()
                self.child.wait()
                raise AssertionError(f"it did not end within {seconds_max} s\n{self._ended(rusage)}")
            time.sleep(0.02)
        return self._ended(rusage)

    def _ended(self, rusage) -> Ended:
        out, err = (file.read_text(errors="replace") for file in (self._out, self._err))
        return Ended(self.argv, self.child.returncode, out, err, time.monotonic() - self.started, rusage, self._peak_memory_bytes)

    def signal(self, number: int) -> None:
        self.child.send_signal(number)

    def drain(self, seconds_max: float = 60) -> Ended:
        self.signal(signal.SIGTERM)
        return self.wait(seconds_max)

    def _sample_memory(self) -> None:
        # VmHWM never falls, so only what happens after the last look is missed. rusage's maximum would count Python's own memory from before the exec.
        try:
            match = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{self.child.pid}/status").read_text())
        except OSError:
            return
        if match:
            self._peak_memory_bytes = max(self._peak_memory_bytes, int(match[1]) * 1024)


def lakeward(*argv, folder: Path, seconds_max: float = SECONDS_MAX, wrapper: list | None = None, program: Path | None = None) -> Ended:
    with Running(list(argv), folder, wrapper, program) as running:
        return running.wait(seconds_max)


class WithoutAliases(yaml.SafeDumper):
    """Writes a value that several tables share out for each of them, as a person would: the product refuses aliases."""

    def ignore_aliases(self, data) -> bool:
        return True


class Sink:
    """A config file with one storage location, and commands on it."""

    def __init__(self, folder: Path, bootstrap: str, *tables: dict, url: str | None = None, options: dict | None = None, registry: str | None = None, properties: dict | None = None, **top):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.lake = folder / "lake"
        self.port = free_port()
        self.config = folder / "lakeward.yaml"
        document = {
            "version": 1,
            "name": f"live-{secrets.token_hex(4)}",
            "kafka": {"bootstrap_servers": bootstrap, **({"properties": properties} if properties else {})},
            "storage": {"url": url or self.lake.as_uri(), **({"options": options} if options else {})},
            "http": {"listen": f"127.0.0.1:{self.port}"},
            "tables": list(tables),
            **top,
        }
        if registry:
            document["schema_registry"] = {"url": registry}
        if url is None:
            self.lake.mkdir(exist_ok=True)
        self.document = document
        self.write()

    def write(self) -> None:
        self.config.write_text(yaml.dump(self.document, Dumper=WithoutAliases, sort_keys=False, allow_unicode=True))

    def join(self, other: "Sink") -> None:
        """Makes it another instance of the other's deployment: the same name, so the same group."""
        self.document["name"] = other.document["name"]
        self.write()

    def table(self, name: str) -> Path:
        return self.lake / name

    def command(self, name: str, *argv, **how) -> Ended:
        first, *rest = name.split()
        return lakeward(first, *rest, "-c", self.config, *argv, folder=self.folder, **how)

    def until_caught_up(self, *argv, **how) -> Ended:
        return self.command("run", "--until-caught-up", *argv, **how)

    def start(self, *argv) -> Running:
        return Running(["run", "-c", self.config, *argv], self.folder)

    def get(self, path: str) -> requests.Response:
        return requests.get(f"http://127.0.0.1:{self.port}{path}", timeout=5)

    def wait_until(self, running: Running, is_so, seconds_max: float = 60) -> None:
        deadline = time.monotonic() + seconds_max
        while not self._holds(is_so):
            if not running.is_alive:
                raise AssertionError(f"the sink ended early\n{running.wait()}")
            if time.monotonic() > deadline:
                running.child.kill()
                raise AssertionError(f"it did not happen within {seconds_max} s\n{running.wait()}")
            time.sleep(0.1)

    @staticmethod
    def _holds(is_so) -> bool:
        try:
            return bool(is_so())
        except (requests.RequestException, FileNotFoundError, ValueError):
            return False


def json_table(name: str, topic: str, ddl: str, **settings) -> dict:
    """A table of JSON records. Rejecting instead of rescuing unknown fields: a scenario's records have none."""
    return {
        "name": name,
        "topics": [topic],
        "value": {"format": "json", "schema": {"ddl": ddl}, "unknown_fields": "reject"},
        "errors": {"mode": "suspend"},
        **settings,
    }


def avro_table(name: str, topic: str, **settings) -> dict:
    return {"name": name, "topics": [topic], "value": {"format": "avro"}, "errors": {"mode": "suspend"}, **settings}
