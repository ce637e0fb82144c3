"""Owns making moto's put-if-absent what a store's must be: moto looks whether a key exists and creates it in two steps, and between them two writers can both win.
Also its second dialect: the XML protocol of Google Cloud Storage is that of S3 with a precondition and a token of its own. Run as a program with moto_server's own arguments."""

import sys
import threading
import urllib.parse

import moto.server

one_writer = threading.Lock()
serve = moto.server.run_simple


def speak_google(environ) -> None:
    """Generation 0 is the one that an object has before it exists, so to match it is to create it (XML API, x-goog-if-generation-match)."""
    if environ.pop("HTTP_X_GOOG_IF_GENERATION_MATCH", None) == "0":
        environ["HTTP_IF_NONE_MATCH"] = "*"
    if source := environ.pop("HTTP_X_GOOG_COPY_SOURCE", None):
        environ["HTTP_X_AMZ_COPY_SOURCE"] = source
    # An account that asks for no token sends an empty one or none; a private bucket wants to hear from somebody. Signatures are not looked at.
    if environ.get("HTTP_AUTHORIZATION", "Bearer").startswith("Bearer"):
        environ["HTTP_AUTHORIZATION"] = "AWS4-HMAC-SHA256 Credential=lakeward-test/20260101/eu-central-1/s3/aws4_request, SignedHeaders=host, Signature=0"
    # A client of Google's escapes the whole name, slashes and hyphens too; moto looks at what was sent.
    query = f"?{environ['QUERY_STRING']}" if environ.get("QUERY_STRING") else ""
    name = environ["PATH_INFO"].encode("latin-1").decode()
    environ["RAW_URI"] = environ["REQUEST_URI"] = urllib.parse.quote(name, safe="/") + query


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
