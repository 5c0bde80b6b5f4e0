"""Get a code and type it, one call after the other; some people mistype it, and a few press the button twice.

With limits and a rising rate it reports the highest rate that met them.
smscode load
smscode load throughput --stages 2m@5000 --limit "p99(send.caller_ms) < 250" --limit "ok_ratio(send) >= 99.9%"
SMSCODE_APP_KEY=.. SMSCODE_MASTER_SECRET=.. SMSCODE_TEMP_ID=1 locust -f locustfiles/throughput.py --host http://..
"""

from locust import constant

from toolkit.load_test.generator.checks import registry
from toolkit.load_test.generator.journeys import people
from toolkit.load_test.generator.user import SmsCodeUser


class Person(SmsCodeUser):
    """Signs in."""

    wait_time = constant(0)
    check = registry.THROUGHPUT
    tasks = {people.verify_right: 90, people.verify_wrong_first: 8, people.verify_twice: 2}  # noqa: RUF012
