"""Owns child processes that must not outlive the tests, their logs, ports and folders. Not what runs in them."""

import atexit
import ctypes
import os
import signal
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


def cache_folder() -> Path:
    return Path(os.environ.get("LAKEWARD_CACHE") or Path.home() / ".cache" / "lakeward")


_run_folder: Path | None = None


def run_folder() -> Path:
    """One folder per run for data and logs, removed at the end unless LAKEWARD_KEEP is set."""
    global _run_folder
    if _run_folder is None:
        parent = Path(os.environ.get("LAKEWARD_RUNS") or cache_folder() / "runs")
        parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(parent)
        _run_folder = Path(tempfile.mkdtemp(prefix=f"run-{os.getpid()}-", dir=parent))
        # A scenario runs the sink as a user without rights on the tables, who still has to reach its config.
        _run_folder.chmod(0o755)
        if os.environ.get("LAKEWARD_KEEP"):
            (_run_folder / ".keep").touch()
            print(f"[components] keeping {_run_folder}", flush=True)
        else:
            atexit.register(lambda: shutil.rmtree(_run_folder, ignore_errors=True))
    return _run_folder


def _remove_leftovers(parent: Path) -> None:
    """A run that was killed could not remove its folder, which may hold gigabytes."""
    for folder in parent.glob("run-*-*"):
        if not Path("/proc", folder.name.split("-")[1]).exists() and not (folder / ".keep").exists():
            shutil.rmtree(folder, ignore_errors=True)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def die_with_parent() -> None:
    # atexit does not run when the test process is killed, so the kernel is asked as well.
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


class Server:
    """A child process with its log, ready once `is_ready` says so, ended by pid at the latest when Python ends."""

    def __init__(self, name: str, argv: list, folder: Path, environment: dict | None = None):
        self.name = name
        self.argv = [str(argument) for argument in argv]
        self.folder = folder
        self.environment = {**os.environ, **(environment or {})}
        self.log = folder / f"{name}.log"
        self.child: subprocess.Popen | None = None
        folder.mkdir(parents=True, exist_ok=True)

    def start(self, is_ready, seconds_max: float = 90) -> None:
        started = time.monotonic()
        with self.log.open("ab") as log:
            self.child = subprocess.Popen(
                self.argv,
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=die_with_parent,
            )
        atexit.register(self.stop)
        while not self._answers(is_ready):
            if self.child.poll() is not None:
                raise RuntimeError(f"{self.name} ended with {self.child.returncode} before it was ready:\n{self.tail()}")
            if time.monotonic() - started > seconds_max:
                self.stop()
                raise RuntimeError(f"{self.name} was not ready after {seconds_max} s:\n{self.tail()}")
            time.sleep(0.1)
        print(f"[components] {self.name} is ready after {time.monotonic() - started:.1f} s (pid {self.child.pid})", flush=True)

    def stop(self) -> None:
        if self.child is None or self.child.poll() is not None:
            return
        self.child.terminate()
        try:
            self.child.wait(20)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait(20)

    def tail(self, lines: int = 40) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    @staticmethod
    def _answers(is_ready) -> bool:
        try:
            return bool(is_ready())
        except Exception:
            return False
