"""Owns making moto's put-if-absent what a store's must be: moto looks whether a key exists and creates it in two steps, and between them two writers can both win.
Run as a program with moto_server's own arguments."""

import sys
import threading

import moto.server

one_writer = threading.Lock()
serve = moto.server.run_simple


def run_simple(host, port, app, **how):
    def call(environ, start_response):
        if environ["REQUEST_METHOD"] not in ("PUT", "POST"):
            return app(environ, start_response)
        with one_writer:
            # To its end within the lock: the answer may be made while it is read.
            return list(app(environ, start_response))

    serve(host, port, call, **how)


if __name__ == "__main__":
    moto.server.run_simple = run_simple
    sys.exit(moto.server.main())
