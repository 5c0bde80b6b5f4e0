"""A minimal load generator in Python: epoll, recv and send of the same bytes, and nothing else.

benchmarks/load.py runs it as the lower bound of the CPU time:
`python benchmarks/bare_loop.py URL SECONDS CONNECTIONS AUTHORIZATION`. It parses no answer and times, records or counts
no call; the server counts them. It prints the number of answers, the seconds and the CPU seconds.
"""

import select
import socket
import ssl
import sys
import time
from collections.abc import Callable
from urllib.parse import urlsplit

RECV_BYTES = 16 * 1024


def request(host: str, authorization: str, path: str, body: str) -> bytes:
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: {authorization}\r\nContent-Type: application/json\r\n"
    )
    return f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode()


def in_plain(connection: socket.socket, written: bytes) -> Callable[[], bool]:
    recv, send = connection.recv, connection.send

    def go_on() -> bool:
        recv(RECV_BYTES)
        send(written)
        return True

    send(written)
    return go_on


def over_tls(connection: socket.socket, written: bytes, host: str) -> Callable[[], bool]:
    """Use TLS on memory buffers, as the engine does: one recv and one send a call."""
    recv, send = connection.recv, connection.send
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    channel = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname=host)

    def say() -> None:
        channel.write(written)
        send(outgoing.read())

    def go_on() -> bool:
        incoming.write(recv(RECV_BYTES))
        try:
            channel.read(RECV_BYTES)
        except ssl.SSLWantReadError:  # a ticket for later
            return False
        say()
        return True

    while True:
        try:
            channel.do_handshake()
            break
        except ssl.SSLWantReadError:
            send(outgoing.read())
            incoming.write(recv(RECV_BYTES))
    say()
    return go_on


def main(url: str, seconds: float, connections: int, authorization: str) -> None:
    target = urlsplit(url)
    host, port = str(target.hostname), int(target.port or 0)
    calls = (
        request(target.netloc, authorization, "/v1/codes", '{"mobile":"13800138000","temp_id":1}'),
        request(target.netloc, authorization, "/v1/codes/123456789/valid", '{"code":"123456"}'),
    )
    poll, answered = select.epoll(), 0
    go_on: dict[int, Callable[[], bool]] = {}
    kept = []
    for number in range(connections):
        connection = socket.create_connection((host, port))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        written = calls[number % 2]
        is_tls = target.scheme == "https"
        go_on[connection.fileno()] = over_tls(connection, written, host) if is_tls else in_plain(connection, written)
        poll.register(connection.fileno(), select.EPOLLIN)
        kept.append(connection)
    began_s, began_cpu_s = time.perf_counter(), time.process_time()
    end_s = began_s + seconds
    while time.perf_counter() < end_s:
        for fileno, _ in poll.poll():
            answered += go_on[fileno]()
    print(answered, time.perf_counter() - began_s, time.process_time() - began_cpu_s)


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
