"""The locust users that benchmarks/load.py runs: each kind makes the same two calls in turn."""

import os
import time
from itertools import count
from pathlib import Path

from locust import FastHttpUser, HttpUser, constant, constant_throughput, events, task

from toolkit.load_test.generator.steps import Send, Verify
from toolkit.load_test.generator.user import SmsCodeUser

AUTH = (os.environ["SMSCODE_APP_KEY"], os.environ["SMSCODE_MASTER_SECRET"])
RATE_PER_USER = float(os.environ.get("RATE_PER_USER", 0))
mobiles = count(13_000_000_000)


@events.test_start.add_listener
def begin(environment, **_):
    environment.began_cpu_s = time.process_time()


@events.test_stop.add_listener
def end(environment, **_):
    """Write the CPU time of the test, without locust's start and end."""
    if "CPU_FILE" in os.environ:
        Path(os.environ["CPU_FILE"]).write_text(str(time.process_time() - environment.began_cpu_s))


def send_and_verify(worker):
    sent = yield Send(worker.next_mobile())
    if sent.msg_id:
        yield Verify(sent.msg_id, "123456")


def send(worker):
    yield Send(worker.next_mobile())


class Journeys(SmsCodeUser):
    wait_time = constant(0)
    tasks = [send_and_verify]  # noqa: RUF012


class Sends(SmsCodeUser):
    tasks = [send]  # noqa: RUF012


def call_twice(user, **options):
    sent = user.client.post("/v1/codes", json={"mobile": str(next(mobiles)), "temp_id": 1}, name="send", **options)
    path = f"/v1/codes/{sent.json()['msg_id']}/valid"
    user.client.post(path, json={"code": "123456"}, name="verify", **options)


class Http(HttpUser):
    wait_time = constant(0)

    @task
    def go(self):
        call_twice(self, auth=AUTH, verify=os.environ.get("SSL_CERT_FILE", True))


class FastHttp(FastHttpUser):
    wait_time = constant(0)

    @task
    def go(self):
        call_twice(self, auth=AUTH)


class PacedFastHttp(FastHttpUser):
    """A FastHttpUser at a rate, by locust's ``constant_throughput``: at most so many calls a second."""

    wait_time = constant_throughput(RATE_PER_USER) if RATE_PER_USER else constant(0)

    @task
    def go(self):
        self.client.post("/v1/codes", json={"mobile": "13800138000", "temp_id": 1}, name="send", auth=AUTH)
