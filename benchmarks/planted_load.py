"""Send messages and nothing else, from a load generator whose speed may be planted.

With `--own-ms 5` each journey holds the generator up for 5 ms, so it begins at most 200 journeys a second, and reads
responses late before that. This needs no CPU, as the waiting does in planted_server.py.
"""

from typing import Any

from gevent.monkey import get_original
from locust import constant, events

from toolkit.load_test.generator.locust_plugin.context import LoadContext
from toolkit.load_test.generator.steps import Journey, Send
from toolkit.load_test.generator.user import SmsCodeUser

sleep = get_original("time", "sleep")  # gevent's own lets the generator go on
own_s = 0.0


@events.init_command_line_parser.add_listener
def add_options(parser: Any, **_: object) -> None:
    parser.add_argument("--own-ms", type=float, default=0.0, help="Time that the generator itself needs for a journey.")


@events.test_start.add_listener
def read_options(environment: Any, **_: object) -> None:
    global own_s
    own_s = environment.parsed_options.own_ms / 1e3


def send(context: LoadContext) -> Journey:
    if own_s:
        sleep(own_s)
    yield Send(context.next_mobile())


class Sender(SmsCodeUser):
    wait_time = constant(0)
    tasks = {send: 1}  # noqa: RUF012
