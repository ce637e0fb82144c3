"""Owns a door to an S3 server that loses, falsifies, delays or refuses answers. Knows HTTP and names of log entries; not the product, not the server.

    swallow    the server did it, the connection ends without an answer
    500, 503   the server did it, the answer says that it failed
    delay      the server did it, the answer comes seconds later
    refuse     the connection ends before the server hears of it
    cut        the answer of a read breaks off in its middle
"""

import http.client
import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

LOG_ENTRY = re.compile(r"/_delta_log/(\d{20})\.json$")
ANSWERED = ("swallow", "500", "503", "delay")
# Hop-by-hop, or set anew by us.
DROPPED = {"connection", "transfer-encoding", "content-length", "keep-alive", "expect"}
DELAY_SECONDS = 2.0


class Faults:
    """Which request meets which fault. Counts what it delivered: a fault that met nothing is not one."""

    def __init__(self, modes: list[str], every: int = 3):
        self.modes, self.every = modes, every
        self.lock = threading.Lock()
        self.is_on = True
        self.writes = 0
        self.requests = 0
        self.delivered: Counter = Counter()
        # Called with a version before its write reaches the server, and after it did.
        self.before: Callable[[int], None] | None = None
        self.after: Callable[[int], None] | None = None

    def of_written(self, version: int) -> str | None:
        """The fate of the answer to a log write that the server has done."""
        with self.lock:
            self.writes += 1
            if not self.is_on or self.writes % self.every:
                return None
            mode = self.modes[(self.writes // self.every) % len(self.modes)]
            if mode in ANSWERED:
                self.delivered[mode] += 1
                return mode
            return None

    def of_request(self) -> str | None:
        """The fate of any other request."""
        with self.lock:
            self.requests += 1
            others = [mode for mode in self.modes if mode not in ANSWERED]
            if not self.is_on or not others or self.requests % (self.every * 7):
                return None
            mode = others[(self.requests // (self.every * 7)) % len(others)]
            self.delivered[mode] += 1
            return mode


class Proxy:
    """Listens at `endpoint` for as long as the block lasts."""

    def __init__(self, upstream: str, faults: Faults):
        self.faults = faults
        host, _, port = upstream.removeprefix("http://").partition(":")
        self.server = _Server(("127.0.0.1", 0), _handler(host, int(port), faults))
        self.endpoint = f"http://127.0.0.1:{self.server.server_address[1]}"

    def __enter__(self) -> "Proxy":
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_) -> None:
        self.server.shutdown()
        self.server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def handle_error(self, _request, _client_address) -> None:
        """A client that was killed leaves a broken connection, which is no news here."""


def _handler(host: str, port: int, faults: Faults):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        upstream: http.client.HTTPConnection | None = None

        def log_message(self, *_) -> None:
            pass

        def any(self) -> None:
            entry = LOG_ENTRY.search(self.path.partition("?")[0]) if self.command == "PUT" else None
            fate = None if entry else faults.of_request()
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if fate == "refuse":
                return self.hang_up()
            if entry and faults.before:
                faults.before(int(entry[1]))
            status, headers, answer = self.ask(body)
            if entry and status == 200:
                version = int(entry[1])
                fate = faults.of_written(version)
                if faults.after and fate:
                    faults.after(version)
            if fate == "swallow":
                return self.hang_up()
            if fate == "delay":
                time.sleep(DELAY_SECONDS)
            if fate in ("500", "503"):
                code = "InternalError" if fate == "500" else "SlowDown"
                status, headers = int(fate), [("Content-Type", "application/xml")]
                answer = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>not really</Message></Error>".encode()
            self.answer(status, headers, answer, is_cut=fate == "cut")

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = any

        def ask(self, body: bytes):
            headers = {name: value for name, value in self.headers.items() if name.lower() not in DROPPED}
            headers["Content-Length"] = str(len(body))
            for attempt in range(2):
                if self.upstream is None:
                    self.upstream = http.client.HTTPConnection(host, port, timeout=60)
                    self.upstream.connect()
                    self.upstream.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                try:
                    self.upstream.request(self.command, self.path, body, headers)
                    response = self.upstream.getresponse()
                except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
                    # An idle connection that the server closed before it read the request; a second time it is trouble.
                    self.upstream.close()
                    self.upstream = None
                    if attempt:
                        raise
                    continue
                answer = response.read()
                length = response.getheader("Content-Length")
                kept = [(name, value) for name, value in response.getheaders() if name.lower() not in DROPPED]
                if response.will_close:
                    self.upstream.close()
                    self.upstream = None
                if self.command == "HEAD" and length:
                    kept.append(("Content-Length", length))
                return response.status, kept, answer
            raise AssertionError("unreachable")

        def answer(self, status: int, headers: list, body: bytes, is_cut: bool) -> None:
            self.send_response_only(status)
            for name, value in headers:
                self.send_header(name, value)
            if self.command != "HEAD":
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if is_cut and len(body) > 1:
                self.wfile.write(body[: len(body) // 2])
                return self.hang_up()
            if self.command != "HEAD":
                self.wfile.write(body)

        def hang_up(self) -> None:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)

    return Handler
