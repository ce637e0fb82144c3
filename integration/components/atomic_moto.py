"""Owns making moto's put-if-absent what a store's must be: moto looks whether a key exists and creates it in two steps, and between them two writers can both win.
Also its second dialect: the XML protocol of Google Cloud Storage is that of S3 with a precondition and a token of its own. Run as a program with moto_server's own arguments."""

import sys
import threading

import moto.server

one_writer = threading.Lock()
serve = moto.server.run_simple


def speak_google(environ) -> None:
    """Generation 0 is the one that an object has before it exists, so to match it is to create it (XML API, x-goog-if-generation-match)."""
    if environ.pop("HTTP_X_GOOG_IF_GENERATION_MATCH", None) == "0":
        environ["HTTP_IF_NONE_MATCH"] = "*"
    if source := environ.pop("HTTP_X_GOOG_COPY_SOURCE", None):
        environ["HTTP_X_AMZ_COPY_SOURCE"] = source
    if environ.get("HTTP_AUTHORIZATION", "").startswith("Bearer"):
        del environ["HTTP_AUTHORIZATION"]


def run_simple(host, port, app, **how):
    def call(environ, start_response):
        speak_google(environ)
        if environ["REQUEST_METHOD"] not in ("PUT", "POST"):
            return app(environ, start_response)
        with one_writer:
            # To its end within the lock: the answer may be made while it is read.
            return list(app(environ, start_response))

    serve(host, port, call, **how)


if __name__ == "__main__":
    moto.server.run_simple = run_simple
    sys.exit(moto.server.main())
