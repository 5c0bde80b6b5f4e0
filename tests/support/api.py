"""A small real HTTP server that speaks the API through ``wire``, counts what it answered, and does as it is told."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count

from toolkit.api import wire
from toolkit.api.return_codes import ReturnCode
from toolkit.api.wire import Endpoint, Refusal, ServerResponse
from toolkit.settings import Target

CODE = "123456"


class Api(ThreadingHTTPServer):
    """``refuse``: what a call is refused with, after how many were accepted. ``sandbox``: whether codes can be read.

    ``state``: what it says of itself; None: nothing, as a production service does.
    ``connections``: how many were opened, without those that only ask for the state.
    ``latency_s``: how long a response takes.
    ``reply``: what every call gets instead, whatever it asks; with HTTP status 0 the connection is dropped.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.refuse: dict[Endpoint, tuple[int, ReturnCode]] = {}
        self.sandbox = True
        self.state: object = {"sandbox": True}
        self.latency_s = 0.0
        self.reply: ServerResponse | None = None
        self.answered: Counter[tuple[str, int]] = Counter()
        self.mobiles: list[str] = []
        self.connections = 0
        self.verified: set[str] = set()
        self.changed = threading.Condition()
        self._msg_ids = count()
        self._open = threading.Event()
        self._open.set()
        self._waiting = threading.Semaphore(0)

    @property
    def target(self) -> Target:
        return Target(f"http://127.0.0.1:{self.server_port}", "key", "the-master-secret", 1)

    def wait_until(self, is_so: Callable[[], bool]) -> None:
        """Wait until something is so that changes only with the responses."""
        with self.changed:
            assert self.changed.wait_for(is_so, timeout=240)

    def wait_for(self, calls: int) -> None:
        self.wait_until(lambda: self.answered.total() >= calls)

    def wait_for_connections(self, connections: int) -> None:
        self.wait_until(lambda: self.connections >= connections)

    @contextmanager
    def stalled(self) -> Iterator[None]:
        """Answer nothing until the block ends."""
        self._open.clear()
        try:
            yield
        finally:
            self._open.set()

    def wait_for_stalled(self, calls: int) -> None:
        for _ in range(calls):
            assert self._waiting.acquire(timeout=240)

    def answer(self, path: str, body: bytes) -> ServerResponse:
        time.sleep(self.latency_s)
        endpoint, msg_id = wire.read_path(path.encode())
        if not self._open.is_set():
            self._waiting.release()
            self._open.wait(240)
        with self.changed:
            code, reply = self._decide(endpoint, msg_id, json.loads(body))
            self.answered[endpoint.value, int(code)] += 1
            self.changed.notify_all()
        return reply

    def _decide(self, endpoint: Endpoint, msg_id: str, fields: dict[str, str]) -> tuple[ReturnCode, ServerResponse]:
        accepted, refusal = self.refuse.get(endpoint, (0, None))
        if refusal and self.answered[endpoint.value, ReturnCode.SUCCESS] >= accepted:
            return _refuse(refusal)
        if endpoint is Endpoint.SEND:
            self.mobiles.append(fields["mobile"])
            return ReturnCode.SUCCESS, wire.success_response({"msg_id": str(next(self._msg_ids))})
        if fields["code"] != CODE:
            return _refuse(ReturnCode.INVALID_CODE)
        if msg_id in self.verified:
            return _refuse(ReturnCode.VERIFIED_CODE)
        self.verified.add(msg_id)
        return ReturnCode.SUCCESS, wire.verified_response()


def _refuse(code: ReturnCode) -> tuple[ReturnCode, ServerResponse]:
    return code, wire.refusal_response(Refusal(code))


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: Api

    def setup(self) -> None:
        super().setup()
        self.server.connections += 1

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self._reply(self.server.reply or self.server.answer(self.path, body))

    def do_GET(self) -> None:
        message = {"code": CODE, "text": "..."} if self.server.sandbox else None
        found: object = message
        if self.path == wire.SANDBOX_STATE_PATH:
            found = self.server.state
            self.server.connections -= 1
        body = json.dumps(found).encode()
        reply = ServerResponse(200, ((b"content-length", b"%d" % len(body)),), body)
        self._reply(_refuse(ReturnCode.API_NOT_FOUND)[1] if found is None else reply)

    def _reply(self, reply: ServerResponse) -> None:
        if not reply.http_status:
            self.close_connection = True
            return
        self.send_response(reply.http_status)
        for name, value in reply.headers:
            self.send_header(name.decode(), value.decode())
        self.end_headers()
        self.wfile.write(reply.body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving(api: Api | None = None) -> Iterator[Api]:
    """Serve the API on a loopback port."""
    with api or Api() as api:
        thread = threading.Thread(target=api.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield api
        finally:
            api.shutdown()
            thread.join()
