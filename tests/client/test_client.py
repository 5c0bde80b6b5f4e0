"""Both clients against real sockets: every test here is a claim about the blocking and the asyncio one alike."""

import asyncio
import contextlib
import socket
import ssl
import subprocess
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import uvloop
from support.api import CODE, Api, serving

from toolkit.api import wire
from toolkit.api.errors import (
    InputError,
    NotConnectedError,
    ProtocolError,
    ReturnCodeError,
    ToolkitError,
    TransportError,
)
from toolkit.api.return_codes import Kind, ReturnCode
from toolkit.api.wire import Endpoint, Refusal, ServerResponse
from toolkit.client import AsyncClient, Client, Sent, Timeout, Verification
from toolkit.records.call_record import CallRecord

MOBILE, TYPED, SECRET = "13812345678", "935617", "the-master-secret"
SEND, VERIFY = ("send_code", MOBILE, 1), ("verify_code", "7", TYPED)
HASTY = Timeout(connect_s=0.3, total_s=0.3)

Call = tuple[Any, ...]
Run = Callable[..., list[Any]]
Exchange = Callable[[socket.socket, bytes], object]


def run_blocking(url: str, *calls: Call, **options: Any) -> list[Any]:
    """Make calls one after the other with one client and return what they returned."""
    with Client(url, "key", SECRET, **options) as client:
        return [getattr(client, name)(*arguments) for name, *arguments in calls]


def run_asyncio(url: str, *calls: Call, **options: Any) -> list[Any]:
    return asyncio.run(_run(AsyncClient(url, "key", SECRET, **options), *calls))


def run_uvloop(url: str, *calls: Call, **options: Any) -> list[Any]:
    return uvloop.run(_run(AsyncClient(url, "key", SECRET, **options), *calls))


async def _run(client: AsyncClient, *calls: Call) -> list[Any]:
    async with client:
        return [await getattr(client, name)(*arguments) for name, *arguments in calls]


@pytest.fixture(params=[run_blocking, run_asyncio, run_uvloop])
def run(request: pytest.FixtureRequest) -> Run:
    return request.param


@pytest.fixture
def api() -> Iterator[Api]:
    with serving() as server:
        yield server


class Peer:
    """A server that answers each request as told, and then well; ``requests`` are those it has read."""

    def __init__(self, exchanges: list[Exchange], context: ssl.SSLContext | None) -> None:
        self.requests: list[bytes] = []
        self.connections = 0
        self._exchanges = exchanges
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()
        self.url = f"http{'s' if context else ''}://127.0.0.1:{self._listener.getsockname()[1]}"

    def stop(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(240)
            assert not thread.is_alive()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.connections += 1
                self._threads.append(threading.Thread(target=self._serve, args=(connection,)))
                self._threads[-1].start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            if self._context:
                connection = self._context.wrap_socket(connection, server_side=True)
            with connection:
                while request := self._read(connection):
                    self.requests.append(request)
                    (self._exchanges.pop(0) if self._exchanges else answer())(connection, request)

    def _read(self, connection: socket.socket) -> bytes:
        received = b""
        while chunk := connection.recv(4096):
            received += chunk
            head, end, body = received.partition(b"\r\n\r\n")
            if end and len(body) >= int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0]):
                return received
        return b""


@contextmanager
def peer(*exchanges: Exchange, context: ssl.SSLContext | None = None) -> Iterator[Peer]:
    server = Peer(list(exchanges), context)
    try:
        yield server
    finally:
        server.stop()


def http(body: bytes = b'{"msg_id":"7"}', head: bytes = b"200 OK") -> bytes:
    return b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s" % (head, len(body), body)


def answer(data: bytes = http(), *, close: bool = False) -> Exchange:
    """Send just these bytes."""

    def exchange(connection: socket.socket, _: bytes) -> None:
        connection.sendall(data)
        if close:
            connection.shutdown(socket.SHUT_RDWR)

    return exchange


def reset(connection: socket.socket, _: bytes) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    connection.close()


def drip(start: bytes) -> Exchange:
    """Send the start of an answer, and then a byte now and then until the caller hangs up."""

    def exchange(connection: socket.socket, _: bytes) -> None:
        connection.sendall(start)
        while True:
            threading.Event().wait(0.02)
            connection.sendall(b" ")

    return exchange


# What is answered.


def test_a_code_is_sent_and_verified(run: Run, api: Api) -> None:
    assert run(api.target.base_url, SEND, ("verify_code", "0", CODE)) == [
        Sent("0"),
        Verification(True, ReturnCode.SUCCESS, "success"),
    ]
    assert api.mobiles == [MOBILE]
    assert api.connections == 1


@pytest.mark.parametrize("code", [code for code in ReturnCode if code.kind is Kind.VERDICT])
def test_a_verdict_on_a_code_is_a_value(run: Run, api: Api, code: ReturnCode) -> None:
    api.refuse[Endpoint.VERIFY] = 0, code
    assert run(api.target.base_url, VERIFY) == [Verification(False, code, code.message)]


@pytest.mark.parametrize("code", [code for code in ReturnCode if code.kind not in (Kind.OK, Kind.VERDICT)])
@pytest.mark.parametrize("call", [SEND, VERIFY])
def test_any_other_refusal_is_raised(run: Run, api: Api, code: ReturnCode, call: Call) -> None:
    api.reply = wire.refusal_response(Refusal(code, 42))
    with pytest.raises(ReturnCodeError) as caught:
        run(api.target.base_url, call)
    error = caught.value
    assert (error.return_code, error.http_status, error.message) == (code, code.http_status, code.message)
    assert (error.retry_after_s, error.kind) == (42, code.kind)


def test_a_verdict_on_a_send_is_raised(run: Run, api: Api) -> None:
    api.reply = wire.refusal_response(Refusal(ReturnCode.INVALID_CODE))
    with pytest.raises(ReturnCodeError, match="50010 invalid code"):
        run(api.target.base_url, SEND)


@pytest.mark.parametrize("call", [SEND, VERIFY])
def test_an_unknown_return_code_is_raised(run: Run, api: Api, call: Call) -> None:
    api.reply = _reply(403, b'{"error": {"code": 59101, "message": "blocked"}}')
    with pytest.raises(ReturnCodeError) as caught:
        run(api.target.base_url, call)
    assert (caught.value.return_code, caught.value.message, caught.value.kind) == (59101, "blocked", None)


def _reply(status: int, body: bytes) -> ServerResponse:
    return ServerResponse(status, ((b"content-length", b"%d" % len(body)),), body)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b""),
        (200, b"<html>"),
        (502, b"<html>"),
        (500, b"{}"),
        (200, b'{"is_valid": false}'),
        (200, b"\x1f\x8b"),
        (201, b'{"msg_id": "7", "is_valid": true}'),
    ],
)
@pytest.mark.parametrize("call", [SEND, VERIFY])
def test_a_response_that_is_not_the_apis_is_raised(run: Run, api: Api, call: Call, status: int, body: bytes) -> None:
    api.reply = _reply(status, body)
    with pytest.raises(ProtocolError) as caught:
        run(api.target.base_url, call)
    assert (caught.value.http_status, caught.value.body) == (status, body)


def test_an_endless_answer_is_not_read_to_its_end(run: Run) -> None:
    def flood(connection: socket.socket, _: bytes) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            connection.sendall(b" " * 65536)

    with peer(flood) as server, pytest.raises(ProtocolError):
        run(server.url, SEND)


def test_an_answer_that_ends_with_the_connection_is_read(run: Run) -> None:
    with peer(answer(b'HTTP/1.0 200 OK\r\n\r\n{"msg_id": 7}', close=True)) as server:
        assert run(server.url, SEND) == [Sent("7")]


def test_an_answer_in_chunks_is_read(run: Run) -> None:
    data = b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n7\r\n{"msg_i\r\n6\r\nd": 7}\r\n0\r\n\r\n'
    with peer(answer(data)) as server:
        assert run(server.url, SEND, SEND) == [Sent("7")] * 2
        assert server.connections == 1


def test_a_redirect_is_not_followed(run: Run) -> None:
    with peer() as elsewhere, peer(answer(http(b"", b"307 Go\r\nLocation: " + elsewhere.url.encode()))) as server:
        with pytest.raises(ProtocolError, match="307"):
            run(server.url, SEND)
        assert not elsewhere.requests


def test_a_cookie_is_not_kept(run: Run) -> None:
    with peer(answer(http(head=b"200 OK\r\nSet-Cookie: a=b"))) as server:
        run(server.url, SEND, SEND)
        assert b"ookie" not in server.requests[1]


def test_a_proxy_in_the_environment_is_not_used(run: Run, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert run(api.target.base_url, SEND) == [Sent("0")]


# What is sent.


@pytest.mark.parametrize("base", ["", "/", "/sms", "/sms/"])
def test_a_request_is_what_wire_builds_below_the_base_url(run: Run, base: str) -> None:
    with peer() as server:
        run(server.url + base, SEND)
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, value in (line.split(": ") for line in lines)}
    built = wire.build_send(wire.Credentials("key", SECRET), MOBILE, 1)
    assert first == f"POST {base.rstrip('/')}{built.path} HTTP/1.1"
    assert body == built.body
    assert headers == {name.lower(): value for name, value in built.headers.items()} | {
        "host": server.url.removeprefix("http://"),
        "content-length": str(len(body)),
        "accept-encoding": "identity",
        "user-agent": f"sms-code-toolkit/{version('sms-code-toolkit')}",
    }


@pytest.mark.parametrize(
    "msg_id", ["a/b", "a b", "..%2f", "é", "?x#y", "a+b%20", "!~:@", "\0", "\udc80", "06890980-6789"]
)
def test_any_msg_id_arrives_as_it_was_given(run: Run, msg_id: str) -> None:
    with peer(answer(http(b'{"is_valid": true}'))) as server:
        run(server.url, ("verify_code", msg_id, TYPED))
    path = server.requests[0].split(b" ")[1]
    given = msg_id.encode("utf-8", "surrogatepass").decode("utf-8", "replace")
    assert wire.read_path(path) == (Endpoint.VERIFY, given)


# What is not answered.


CUT_OFF = {
    "closed unanswered": answer(b"", close=True),
    "closed in the head": answer(b"HTTP/1.1 200 OK\r\nContent-", close=True),
    "closed in the body": answer(b'HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"msg', close=True),
    "closed in a chunk": answer(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n{", close=True),
    "reset": reset,
}
SLOW = {
    "silent": lambda connection, _: connection.recv(1),
    "drips its head": drip(b"HTTP/1.1 200 OK\r\nServer: x"),
    "drips its body": drip(b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n"),
    "drips chunks": drip(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9999\r\n"),
}
NOT_HTTP = {"not HTTP": answer(b"220 mail.example ESMTP\r\n\r\n", close=True)}


@pytest.mark.parametrize("end", [*CUT_OFF, *NOT_HTTP])
def test_a_request_that_went_out_is_never_sent_again(run: Run, end: str) -> None:
    with peer((CUT_OFF | NOT_HTTP)[end]) as server:
        with pytest.raises(TransportError, match="whether the message was sent is not known") as caught:
            run(server.url, SEND)
        assert not isinstance(caught.value, NotConnectedError)
        assert len(server.requests) == 1


@pytest.mark.parametrize("end", CUT_OFF)
def test_a_request_on_a_kept_connection_is_never_sent_again(run: Run, end: str) -> None:
    with peer(answer(), CUT_OFF[end]) as server:
        with pytest.raises(TransportError) as caught:
            run(server.url, SEND, SEND)
        assert not isinstance(caught.value, NotConnectedError)
        assert (len(server.requests), server.connections) == (2, 1)


@pytest.mark.parametrize("slow", SLOW)
def test_a_call_ends_in_time_however_slowly_the_answer_comes(run: Run, slow: str) -> None:
    with peer(SLOW[slow]) as server:
        with pytest.raises(
            TransportError, match=r"no response within 0\.3 s; whether the code was used up is not known"
        ):
            run(server.url, VERIFY, timeout=HASTY)
        assert len(server.requests) == 1


def test_an_idle_connection_that_was_closed_is_replaced(api: Api) -> None:
    gone = threading.Event()

    def answer_and_close(connection: socket.socket, _: bytes) -> None:
        answer(close=True)(connection, b"")
        gone.set()

    async def run() -> None:
        async with AsyncClient(server.url, "key", SECRET) as client:
            await client.send_code(MOBILE, 1)
            await asyncio.to_thread(gone.wait)
            for _ in range(3):  # turns of the loop, which reads the end of the connection in one and acts on it later
                await asyncio.sleep(0)
            await client.send_code(MOBILE, 1)

    with peer(answer_and_close) as server, Client(server.url, "key", SECRET) as client:
        client.send_code(MOBILE, 1)
        gone.wait()
        client.send_code(MOBILE, 1)
        assert (len(server.requests), server.connections) == (2, 2)
    gone.clear()
    with peer(answer_and_close) as server:
        asyncio.run(run())
        assert (len(server.requests), server.connections) == (2, 2)


def test_a_refused_connection_says_that_nothing_was_sent(run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        place = f"127.0.0.1:{listener.getsockname()[1]}"
    with pytest.raises(NotConnectedError, match=f"^no connection to {place}: .*; nothing was sent$"):
        run("http://" + place, SEND)


def test_a_connection_that_is_not_taken_in_time_says_that_nothing_was_sent(run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=1) as listener, contextlib.ExitStack() as stack:
        for _ in range(8):  # more than it takes to fill the queue of connections
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        with pytest.raises(NotConnectedError, match="nothing was sent"):
            run(f"http://127.0.0.1:{listener.getsockname()[1]}", SEND, timeout=Timeout(0.2, 5))


def test_the_first_address_that_accepts_is_used(run: Run, api: Api) -> None:
    assert run(f"http://localhost:{api.server_port}", SEND) == [Sent("0")]


def test_more_calls_than_connections_wait_for_one(api: Api) -> None:
    async def run() -> list[Sent]:
        async with AsyncClient(api.target.base_url, "key", SECRET, timeout=Timeout(240, 240)) as client:
            return await asyncio.gather(*(client.send_code(MOBILE, 1) for _ in range(250)))

    assert len({sent.msg_id for sent in asyncio.run(run())}) == 250
    assert api.connections == 100


def test_a_call_that_gets_no_connection_says_that_nothing_was_sent(api: Api) -> None:
    async def run() -> None:
        async with AsyncClient(api.target.base_url, "key", SECRET, timeout=Timeout(1, 60)) as client:
            with api.stalled():
                busy = asyncio.gather(*(client.send_code(MOBILE, 1) for _ in range(100)))
                await asyncio.to_thread(api.wait_for_stalled, 100)
                with pytest.raises(NotConnectedError, match="all 100 connections of this client were busy"):
                    await client.send_code(MOBILE, 1)
            assert len(await busy) == 100

    asyncio.run(run())
    assert len(api.mobiles) == 100


def test_threads_share_a_blocking_client(api: Api) -> None:
    with Client(api.target.base_url, "key", SECRET) as client:
        threads = [threading.Thread(target=client.send_code, args=(MOBILE, 1)) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(api.mobiles) == 20


# TLS.


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate with its key for 127.0.0.1, in a folder of its own."""
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=here -addext subjectAltName=IP:127.0.0.1"
    made = subprocess.run([*command.split(), "-keyout", "-", "-out", "-"], check=True, capture_output=True)
    path.write_bytes(made.stdout)
    return path


@pytest.fixture(scope="session")
def tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


def test_an_unknown_certificate_is_refused_before_anything_is_sent(run: Run, tls: ssl.SSLContext) -> None:
    with peer(context=tls) as server:
        with pytest.raises(NotConnectedError, match="certificate verify failed"):
            run(server.url, SEND)
        assert not server.requests


@pytest.mark.parametrize("kind", ["path", "text", "context"])
def test_a_certificate_that_was_given_is_trusted(run: Run, tls: ssl.SSLContext, certificate: Path, kind: str) -> None:
    given = {"path": certificate, "text": str(certificate), "context": ssl.create_default_context(cafile=certificate)}
    with peer(context=tls) as server:
        assert run(server.url, SEND, SEND, verify=given[kind]) == [Sent("7")] * 2
        assert server.connections == 1


def test_a_folder_of_certificates_replaces_the_usual_ones(run: Run, tls: ssl.SSLContext, tmp_path: Path) -> None:
    with peer(context=tls) as server, pytest.raises(NotConnectedError, match="certificate verify failed"):
        run(server.url, SEND, verify=tmp_path)


def test_a_slow_response_over_tls_ends_in_time(run: Run, tls: ssl.SSLContext, certificate: Path) -> None:
    with peer(SLOW["drips its head"], context=tls) as server, pytest.raises(TransportError, match="no response within"):
        run(server.url, SEND, verify=certificate, timeout=Timeout(5, 0.5))


def test_a_server_without_tls_says_that_nothing_was_sent(run: Run) -> None:
    def refuse_tls(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(4096)
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=refuse_tls, args=(listener,))
        thread.start()
        with pytest.raises(NotConnectedError, match="nothing was sent"):
            run(f"https://127.0.0.1:{listener.getsockname()[1]}", SEND)
        thread.join()


def test_a_handshake_that_takes_too_long_says_that_nothing_was_sent(run: Run) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        pytest.raises(NotConnectedError, match="nothing was sent"),
    ):
        run(f"https://127.0.0.1:{listener.getsockname()[1]}", SEND, timeout=Timeout(0.2, 5))


# Records.


def record(run: Run, url: str, *calls: Call, **options: Any) -> list[CallRecord]:
    """Make calls, whatever comes of them, and return their records."""
    records: list[CallRecord] = []
    with contextlib.suppress(ToolkitError):
        run(url, *calls, on_call=records.append, run="r1", **options)
    return records


def test_a_success_is_recorded(run: Run, api: Api) -> None:
    sent, verified = record(run, api.target.base_url, SEND, ("verify_code", "0", CODE), source="me")
    assert (sent.run, sent.source, sent.app_key, sent.endpoint) == ("r1", "me", "key", Endpoint.SEND)
    assert (sent.http_status, sent.return_code, sent.kind, sent.error) == (200, 50000, Kind.OK, None)
    assert (sent.prefix, sent.temp_id, sent.msg_id, sent.wait_ns) == (MOBILE[:7], 1, "0", 0)
    assert (verified.endpoint, verified.msg_id, verified.return_code) == (Endpoint.VERIFY, "0", 50000)
    assert verified.msg_key == sent.msg_key
    assert sent.latency_ns > 0
    assert sent.started_ns < verified.started_ns


def test_the_default_source_is_the_host(run: Run, api: Api) -> None:
    assert [call.source for call in record(run, api.target.base_url, SEND)] == [socket.gethostname()]


def test_a_refusal_is_recorded(run: Run, api: Api) -> None:
    api.refuse[Endpoint.SEND] = 0, ReturnCode.OUT_OF_FREQ
    (call,) = record(run, api.target.base_url, SEND)
    assert (call.http_status, call.return_code, call.kind, call.error) == (403, 50009, Kind.RATE, None)


def test_an_answer_that_is_not_the_apis_is_recorded(run: Run, api: Api) -> None:
    api.reply = _reply(502, b"<html>")
    (call,) = record(run, api.target.base_url, SEND)
    assert (call.http_status, call.return_code, call.kind, call.error) == (502, None, None, "protocol")


NAMES = dict.fromkeys(CUT_OFF, "reset") | dict.fromkeys(SLOW, "timeout") | dict.fromkeys(NOT_HTTP, "protocol")


@pytest.mark.parametrize("end", NAMES)
def test_a_call_without_an_answer_is_recorded_under_a_short_name(run: Run, end: str) -> None:
    with peer((CUT_OFF | SLOW | NOT_HTTP)[end]) as server:
        (call,) = record(run, server.url, SEND, timeout=HASTY)
    assert (call.http_status, call.return_code, call.kind, call.error) == (None, None, None, NAMES[end])


def test_a_connection_that_was_not_made_is_recorded(run: Run) -> None:
    (call,) = record(run, "http://127.0.0.1:1", SEND)
    assert (call.http_status, call.error) == (None, "connect")


def test_a_cancelled_call_is_recorded_and_stays_cancelled() -> None:
    records: list[CallRecord] = []
    arrived = threading.Event()

    def stay_silent(connection: socket.socket, _: bytes) -> None:
        arrived.set()
        connection.recv(1)

    async def run() -> None:
        async with AsyncClient(server.url, "key", SECRET, on_call=records.append) as client:
            call = asyncio.create_task(client.send_code(MOBILE, 1))
            await asyncio.to_thread(arrived.wait)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call

    with peer(stay_silent) as server:
        asyncio.run(run())
    assert [call.error for call in records] == ["cancelled"]


# What is never shown, and what can't be used.


@pytest.mark.parametrize("end", [*NAMES, "refused"])
@pytest.mark.parametrize("call", [SEND, VERIFY])
def test_no_error_shows_a_mobile_a_code_or_a_secret(run: Run, end: str, call: Call) -> None:
    ends = CUT_OFF | SLOW | NOT_HTTP | {"refused": answer(http(b'{"error":{"code":50009,"message":"no"}}'))}
    with peer(ends[end]) as server, pytest.raises(ToolkitError) as caught:
        run(server.url, call, timeout=HASTY)
    shown = "".join(traceback.format_exception(caught.value))
    chain: BaseException | None = caught.value
    while chain:
        shown += repr(chain)
        chain = chain.__cause__
    token = wire.Credentials("key", SECRET).authorization.removeprefix("Basic ")
    assert not [word for word in (MOBILE, TYPED, SECRET, token) if word in shown]


@pytest.mark.parametrize("client", [Client, AsyncClient])
def test_the_repr_of_a_client_has_no_secret(client: type[Client]) -> None:
    made = client("https://sms.example/base/", "key", SECRET)
    assert repr(made) == f"{client.__name__}('https://sms.example/base', 'key')"


@pytest.mark.parametrize("client", [Client, AsyncClient])
@pytest.mark.parametrize(
    "options",
    [
        {"base_url": "sms.example"},
        {"base_url": "http://127.0.0.999"},
        {"base_url": "http://[1:2]"},
        {"base_url": "http://user:the-master-secret@sms.example"},
        {"app_key": "a:b"},
        {"app_key": ""},
        {"verify": False},
        {"verify": "/no/such/file"},
        {"verify": __file__},
    ],
)
def test_invalid_arguments_are_refused_at_once_and_not_repeated(client: type[Client], options: dict[str, Any]) -> None:
    with pytest.raises(InputError) as caught:
        client(**({"base_url": "https://127.0.0.1", "app_key": "key", "master_secret": SECRET} | options))
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["connect_s", "total_s"])
def test_a_timeout_is_above_zero(name: str, seconds: float) -> None:
    with pytest.raises(InputError, match="expected timeouts above 0 s"):
        Timeout(**{name: seconds})


def test_an_impossible_msg_id_makes_no_call(run: Run, api: Api) -> None:
    with pytest.raises(InputError, match="msg_id"):
        run(api.target.base_url, ("verify_code", "..", TYPED))
    assert not api.connections


def test_a_closed_client_makes_no_call(api: Api) -> None:
    with Client(api.target.base_url, "key", SECRET) as client:
        pass
    with pytest.raises(InputError, match="closed"):
        client.send_code(MOBILE, 1)

    async def run() -> None:
        async with AsyncClient(api.target.base_url, "key", SECRET) as client:
            pass
        with pytest.raises(InputError, match="closed"):
            await client.send_code(MOBILE, 1)

    asyncio.run(run())
    assert not api.connections


def test_an_asyncio_client_serves_one_event_loop(api: Api) -> None:
    client = AsyncClient(api.target.base_url, "key", SECRET)

    async def use() -> None:
        async with client:
            await client.send_code(MOBILE, 1)

    asyncio.run(use())
    with pytest.raises(InputError, match="event loop"):
        asyncio.run(client.send_code(MOBILE, 1))
