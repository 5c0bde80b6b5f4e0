"""An S3 service on loopback that keeps objects in memory: as much of the API as pyarrow's filesystem asks for."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from typing import IO
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape


class Bucket:
    """``objects``: contents by key. ``url``: of a place within, with its options in the query."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.parts: dict[str, dict[int, bytes]] = {}
        self.port = 0
        self.is_read_only = False

    def url(self, path: str) -> str:
        options = f"endpoint_override=127.0.0.1:{self.port}&scheme=http&region=us-east-1"
        return f"s3://the-key:the-secret@bucket/{path}?{options}"


@contextmanager
def s3() -> Iterator[Bucket]:
    """Run a service with one bucket, which is called bucket."""
    bucket = Bucket()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            key = self._key()
            is_there = key in bucket.objects or not key
            self._answer(200 if is_there else 404, length=len(bucket.objects.get(key, b"")))

        def do_GET(self) -> None:
            key, query = self._key(), parse_qs(urlsplit(self.path).query)
            if key:
                self._answer(200 if key in bucket.objects else 404, bucket.objects.get(key, b""))
                return
            prefix = query.get("prefix", [""])[0]
            found = {it: len(data) for it, data in bucket.objects.items() if it.startswith(prefix)}
            listed = "".join(
                f"<Contents><Key>{escape(it)}</Key><Size>{size}</Size>"
                "<LastModified>2026-11-29T00:00:00.000Z</LastModified></Contents>"
                for it, size in sorted(found.items())
            )
            self._answer(
                200, f"<ListBucketResult><KeyCount>{len(found)}</KeyCount>{listed}</ListBucketResult>".encode()
            )

        def do_PUT(self) -> None:
            key, query, body = self._key(), parse_qs(urlsplit(self.path).query), self._body()
            if bucket.is_read_only:
                self._answer(403, b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>")
            elif "partNumber" in query:
                bucket.parts[key][int(query["partNumber"][0])] = body
                self._answer(200)
            else:
                if key:
                    bucket.objects[key] = body
                self._answer(200)

        def do_POST(self) -> None:
            key, body = self._key(), self._body()
            if bucket.is_read_only:
                self._answer(403, b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>")
            elif "uploadId" in self.path:
                bucket.objects[key] = b"".join(part for _, part in sorted(bucket.parts.pop(key).items()))
                self._answer(200, b"<CompleteMultipartUploadResult><ETag>e</ETag></CompleteMultipartUploadResult>")
            else:
                assert not body.startswith(b"<Delete")
                bucket.parts[key] = {}
                self._answer(
                    200, b"<InitiateMultipartUploadResult><UploadId>1</UploadId></InitiateMultipartUploadResult>"
                )

        def do_DELETE(self) -> None:
            bucket.objects.pop(self._key(), None)
            self._answer(204)

        def _key(self) -> str:
            return unquote(urlsplit(self.path).path).removeprefix("/bucket").removeprefix("/")

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding") == "chunked":
                body = _dechunk(self.rfile)
            else:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            is_signed_by_chunk = "x-amz-decoded-content-length" in self.headers
            return _dechunk(BytesIO(body)) if is_signed_by_chunk else body

        def _answer(self, status: int, body: bytes = b"", length: int | None = None) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body) if length is None else length))
            self.send_header("ETag", '"e"')
            self.send_header("Last-Modified", "Sun, 29 Nov 2026 00:00:00 GMT")
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    bucket.port = server.server_port
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield bucket
    finally:
        server.shutdown()
        server.server_close()


def _dechunk(file: IO[bytes]) -> bytes:
    chunks = []
    while length := int(file.readline().partition(b";")[0], 16):
        chunks.append(file.read(length))
        file.readline()
    while file.readline().strip():  # checksums
        pass
    return b"".join(chunks)
