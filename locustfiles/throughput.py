"""Throughput: people who get a code and type it, one after the other; some mistype it, a few press the button twice.

Run it with `smscode load`, or by locust alone: SMSCODE_APP_KEY=.. SMSCODE_MASTER_SECRET=.. SMSCODE_TEMP_ID=1
locust -f locustfiles/throughput.py --host http://127.0.0.1:8080
"""

from locust import constant

from toolkit.load import journeys
from toolkit.load.user import SmsCodeUser


class Person(SmsCodeUser):
    """Someone who signs in."""

    wait_time = constant(0)
    tasks = {journeys.verify_right: 90, journeys.verify_wrong_first: 8, journeys.verify_twice: 2}  # noqa: RUF012
