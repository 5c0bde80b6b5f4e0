"""The client works in any process that has a hub of gevent's; nothing need be patched for it."""

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import gevent
import pytest
from support.certificates import certificate

from toolkit.api.basic_auth import Credentials
from toolkit.api.errors import CallError, InputError, NotConnectedError, ProtocolError, TransportError
from toolkit.api.wire import build_send
from toolkit.load_test.generator.http.blocking import BlockingConnection
from toolkit.load_test.generator.http.call_outcome import classify
from toolkit.load_test.generator.http.connection import Connection
from toolkit.load_test.generator.http.response_parser import HttpResponse
from toolkit.load_test.plan.http_options import HttpOptions, tls_context

SEND = build_send(Credentials("key", "secret"), "13800138000", 1)
OK = b"HTTP/1.1 200 OK\r\nX-Odd: Yes\r\nContent-Length: 2\r\n\r\n{}"


@contextmanager
def server(*connections: Callable[[socket.socket], None], host: str = "127.0.0.1") -> Iterator[str]:
    """Serve one connection after the other as told, and give the URL."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET

    def serve() -> None:
        for serve_one in connections:
            connection, _ = listener.accept()
            with connection:
                serve_one(connection)

    with socket.create_server((host, 0), family=family) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}"
        thread.join(240)
        assert not thread.is_alive()


def read_request(connection: socket.socket) -> bytes:
    received = b""
    while not received.endswith(SEND.body):
        chunk = connection.recv(4096)
        assert chunk, "the connection was closed before the request was whole"
        received += chunk
    return received


def call(connection: BlockingConnection) -> HttpResponse:
    connection.connect()
    return connection.exchange(connection.origin.encode("POST", SEND.path, SEND.headers, SEND.body))


def test_a_connection_that_leads_back_to_itself_is_a_refused_one() -> None:
    # Linux tries the even ports for outgoing connections in turn, so one of them is soon the port that is asked for.
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = "127.0.0.1", free.getsockname()[1] & ~1
    for _ in range(70_000):
        with closing(Connection(socket.AF_INET, address)) as connection:
            with pytest.raises(ConnectionRefusedError) as refusal:
                connection.open()
            if "back to itself" in str(refusal.value):
                return
    pytest.fail("no connection led back to itself")


def test_a_connection_is_kept_for_the_next_call() -> None:
    def answer_twice(connection: socket.socket) -> None:
        for _ in range(2):
            read_request(connection)
            connection.sendall(OK)

    with server(answer_twice) as url, closing(BlockingConnection(url)) as client:
        for _ in range(2):
            assert call(client) == HttpResponse(200, {"x-odd": "Yes", "content-length": "2"}, b"{}")


def test_the_request_on_the_wire_is_whole() -> None:
    requests = []

    def answer(connection: socket.socket) -> None:
        requests.append(read_request(connection))
        connection.sendall(OK)

    with server(answer) as url, closing(BlockingConnection(url + "/base/")) as client:
        call(client)
    head, _, body = requests[0].partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert lines[0] == "POST /base/v1/codes HTTP/1.1"
    assert {"Host: " + url.removeprefix("http://"), f"Content-Length: {len(body)}"} <= set(lines[1:])
    assert {f"{name}: {value}" for name, value in SEND.headers.items()} <= set(lines[1:])
    assert body == SEND.body


def test_a_connection_that_the_server_closed_is_replaced_before_a_call() -> None:
    gone = threading.Event()

    def answer(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(OK)

    def answer_and_close(connection: socket.socket) -> None:
        answer(connection)
        connection.shutdown(socket.SHUT_RDWR)
        gone.set()

    with server(answer_and_close, answer) as url, closing(BlockingConnection(url)) as client:
        call(client)
        assert gone.wait(240)
        assert call(client).http_status == 200


def test_an_answer_that_ends_the_connection_is_read_and_the_connection_replaced() -> None:
    def answer(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(OK.replace(b"X-Odd: Yes", b"Connection: close"))

    with server(answer, answer) as url, closing(BlockingConnection(url)) as client:
        assert [call(client).http_status for _ in range(2)] == [200, 200]


def test_a_send_is_never_repeated_once_its_bytes_have_left() -> None:
    requests = []

    def take_and_hang_up(connection: socket.socket) -> None:
        requests.append(read_request(connection))

    with server(take_and_hang_up) as url, closing(BlockingConnection(url)) as client:
        with pytest.raises(TransportError) as caught:
            call(client)
        assert not isinstance(caught.value, NotConnectedError)
    assert len(requests) == 1


def test_an_answer_in_pieces_and_chunks_is_read() -> None:
    def drip(connection: socket.socket) -> None:
        read_request(connection)
        for byte in b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n":
            connection.sendall(bytes([byte]))

    with server(drip) as url, closing(BlockingConnection(url)) as client:
        assert call(client).body == b"{}"


def test_a_call_has_one_deadline_however_its_answer_drips() -> None:
    given_up = threading.Event()

    def drip(connection: socket.socket) -> None:
        read_request(connection)
        with suppress(OSError):
            while not given_up.wait(0.02):
                connection.sendall(b"\r\n")

    with server(drip) as url, closing(BlockingConnection(url, HttpOptions(timeout_s=0.2))) as client:
        with pytest.raises(TransportError) as caught:
            call(client)
        given_up.set()
    assert classify(caught.value) == "timeout"


def test_a_connection_with_unasked_bytes_is_replaced() -> None:
    said = threading.Event()

    def answer_and_talk(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(OK)
        connection.sendall(OK)
        said.set()

    def answer(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(OK.replace(b"{}", b"[]"))

    with server(answer_and_talk, answer) as url, closing(BlockingConnection(url)) as client:
        call(client)
        assert said.wait(240)
        assert call(client).body == b"[]"


def test_a_closed_port_says_that_nothing_was_sent() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(NotConnectedError):
        call(BlockingConnection(f"http://127.0.0.1:{port}"))


def test_ipv6_is_spoken() -> None:
    def answer(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(OK)

    with server(answer, host="::1") as url, closing(BlockingConnection(url)) as client:
        assert call(client).http_status == 200


def test_a_request_that_does_not_fit_the_socket_is_sent_in_pieces() -> None:
    received = []

    def read_slowly(connection: socket.socket) -> None:
        while sum(map(len, received)) < len(request):
            received.append(connection.recv(1 << 20))
        connection.sendall(OK)

    with server(read_slowly) as url, closing(BlockingConnection(url)) as client:
        request = client.origin.encode("POST", "/", {}, b"x" * 5_000_000)
        client.connect()  # the server reads from then on
        assert client.exchange(request).http_status == 200
    assert b"".join(received) == request


def test_a_greenlet_that_is_ended_in_a_call_leaves_no_connection_to_the_next() -> None:
    def take_and_wait(connection: socket.socket) -> None:
        read_request(connection)
        assert connection.recv(1) == b""

    def answer(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(OK)

    with server(take_and_wait, answer) as url, closing(BlockingConnection(url)) as client:
        caller = gevent.spawn(call, client)
        caller.join(0.1)
        caller.kill()
        assert call(client).http_status == 200


def test_tls_needs_a_trusted_certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known, context = certificate(tmp_path)

    def answer_twice(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as channel:
            for _ in range(2):
                read_request(channel)
                channel.sendall(OK)

    monkeypatch.setenv("SSL_CERT_FILE", str(known))
    tls_context.cache_clear()
    with (
        server(answer_twice) as url,
        closing(BlockingConnection(url.replace("http://127.0.0.1", "https://localhost"))) as it,
    ):
        assert [call(it).http_status for _ in range(2)] == [200, 200]
    tls_context.cache_clear()


def test_an_untrusted_certificate_is_refused(tmp_path: Path) -> None:
    _, context = certificate(tmp_path)

    def handshake(connection: socket.socket) -> None:
        with suppress(OSError), context.wrap_socket(connection, server_side=True):
            raise AssertionError("the client trusted the certificate")

    with server(handshake) as url, pytest.raises(NotConnectedError, match="SSLCertVerificationError"):
        call(BlockingConnection(url.replace("http://127.0.0.1", "https://localhost")))


@pytest.mark.parametrize("is_shown", [True, False])
def test_a_server_may_ask_for_the_clients_certificate(tmp_path: Path, is_shown: bool) -> None:
    cert, context = certificate(tmp_path)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cert)

    def answer(connection: socket.socket) -> None:
        with suppress(ssl.SSLError, OSError), context.wrap_socket(connection, server_side=True) as channel:
            read_request(channel)
            channel.sendall(OK)

    own = {"client_cert": cert, "client_key": tmp_path / "key.pem"} if is_shown else {}
    http = HttpOptions(ca_bundle=cert, **own)
    with (
        server(answer) as url,
        closing(BlockingConnection(url.replace("http://127.0.0.1", "https://localhost"), http)) as it,
    ):
        if is_shown:
            assert call(it).http_status == 200
        else:
            with pytest.raises(CallError):
                call(it)


@pytest.mark.parametrize("url", ["api.sms.example", "ftp://127.0.0.1", "http://", "http://127.0.0.1:port", ""])
def test_a_target_is_an_http_url(url: str) -> None:
    with pytest.raises(InputError):
        BlockingConnection(url)


@pytest.mark.parametrize(
    ("raised", "cause", "name"),
    [
        (NotConnectedError("no"), TimeoutError(), "connect"),
        (TransportError("no"), TimeoutError(), "timeout"),
        (TransportError("no"), ConnectionResetError(), "reset"),
        (ProtocolError("no", 200, b"<p>"), None, "protocol"),
        (TransportError("no"), KeyboardInterrupt(), "cancelled"),
    ],
)
def test_errors_are_named_as_the_client_names_them(raised: CallError, cause: BaseException | None, name: str) -> None:
    raised.__cause__ = cause
    assert classify(raised) == name


@pytest.mark.parametrize(
    ("answer", "name"), [(b"", "reset"), (OK[:-1], "reset"), (OK[:30], "reset"), (b"SMTP\r\n", "protocol")]
)
def test_half_a_response_and_bytes_that_are_not_http_differ(answer: bytes, name: str) -> None:
    def answer_and_close(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(answer)

    with (
        server(answer_and_close) as url,
        closing(BlockingConnection(url)) as client,
        pytest.raises(TransportError) as caught,
    ):
        call(client)
    assert classify(caught.value) == name
